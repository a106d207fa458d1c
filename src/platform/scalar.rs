//! ScalarDB and ScalarDL as their Helm charts install them (scalar-labs/helm-charts, 2026-05): a release is found by
//! labels, and all its pods are paused or none. A pod that was left out would go on writing.

use std::collections::BTreeSet;

use futures::future::join_all;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Pod, Service};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::api::{Api, ListParams, ObjectMeta};

use crate::cluster::access::Access;
use crate::cluster::client::{explain, is_forbidden};
use crate::cluster::workloads;
use crate::error::{Error, Refusal};
use crate::plan::release::{APP, INSTANCE, Product, Release};
use crate::plan::{Backend, Endpoint, Facts, Request, Selection};

mod encrypted;
mod guards;
mod properties;

/// Finds the releases that were asked for, and those of the pods that were selected otherwise, and adds what they are made
/// of to the facts.
pub async fn complete(client: &kube::Client, request: &Request, run: &str, facts: &mut Facts) -> Result<(), Error> {
    let asked = request.releases.iter().map(|r| {
        let namespace = r.namespace.as_ref().unwrap_or(&request.namespace);
        (namespace.clone(), r.name.clone())
    });
    let wanted: BTreeSet<(String, String)> = asked.chain(facts.pods.iter().filter_map(belongs_to)).collect();
    let namespaces: BTreeSet<&String> = wanted.iter().map(|(namespace, _)| namespace).collect();
    for namespace in &namespaces {
        let access = Access::of_release(client, namespace, request.guard_image.is_some()).await?;
        facts.refusals.extend(access.refusals());
    }
    let found = join_all(wanted.iter().map(|(namespace, name)| find(client, request, namespace, name))).await;
    for found in found {
        match found? {
            Ok(found) => add(facts, found),
            Err(refusals) => facts.refusals.extend(refusals),
        }
    }
    let key = |pod: &Pod| (pod.metadata.namespace.clone(), pod.metadata.name.clone());
    facts.pods.sort_by_key(key);
    facts.pods.dedup_by_key(|pod| key(pod));
    for namespace in namespaces {
        facts.refusals.extend(guards::of_others(client, namespace, run, &facts.pods).await?);
    }
    let selected: BTreeSet<_> = facts.pods.iter().map(key).collect();
    facts.others.retain(|pod| !selected.contains(&key(pod)));
    if request.backend == Backend::Csi && request.objects.is_empty() && request.selector.is_none() && !wanted.is_empty()
    {
        facts
            .refusals
            .push(Refusal::new(request.text(), "a release keeps nothing itself, so there is nothing to copy").hint(
            "name the workload of its database too, or only hold it for point-in-time recovery with --backend window",
        ));
    }
    Ok(())
}

/// A release with its pods.
struct Found {
    release: Release,
    endpoint: Endpoint,
    pods: Vec<Pod>,
    workloads: Vec<crate::plan::Workload>,
    databases: Vec<crate::plan::Database>,
    notes: Vec<String>,
}

fn add(facts: &mut Facts, found: Found) {
    let Found { release, endpoint, pods, workloads, databases, notes } = found;
    facts.selections.push(Selection {
        namespace: release.namespace.clone(),
        object: format!("release/{}", release.name),
        labels: Some(labels(&release.name, release.product)),
        pod: None,
    });
    facts.pods.extend(pods);
    for workload in workloads {
        if !facts.workloads.iter().any(|known| known.uid == workload.uid) {
            facts.workloads.push(workload);
        }
    }
    facts.databases.extend(databases);
    facts.notes.extend(notes);
    facts.releases.push((release, endpoint));
}

/// The release that a pod says it is of.
fn belongs_to(pod: &Pod) -> Option<(String, String)> {
    label(&pod.metadata, APP).and_then(Product::of_app)?;
    Some((pod.metadata.namespace.clone()?, label(&pod.metadata, INSTANCE)?.to_owned()))
}

fn label<'a>(metadata: &'a ObjectMeta, key: &str) -> Option<&'a str> {
    metadata.labels.as_ref()?.get(key).map(String::as_str)
}

fn product(pod: &Pod) -> Option<Product> {
    label(&pod.metadata, APP).and_then(Product::of_app)
}

fn labels(name: &str, product: Product) -> String {
    format!("{INSTANCE}={name},{APP}={}", product.app())
}

/// All reasons why a release cannot be paused, or what it is made of. What may not be listed is refused elsewhere.
async fn find(
    client: &kube::Client,
    request: &Request,
    namespace: &str,
    name: &str,
) -> Result<Result<Found, Vec<Refusal>>, Error> {
    let object = format!("release/{name}");
    let unread = |e: kube::Error| -> Result<Vec<Refusal>, Error> {
        if is_forbidden(&e) {
            return Ok(Vec::new());
        }
        Err(Error::failed(format!("{object} in namespace {namespace} could not be read")).cause(explain(&e)))
    };
    let params = ListParams::default().labels(&format!("{INSTANCE}={name}"));
    let (pods, deployments, services) = futures::join!(
        async { Api::<Pod>::namespaced(client.clone(), namespace).list(&params).await },
        async { Api::<Deployment>::namespaced(client.clone(), namespace).list(&params).await },
        async { Api::<Service>::namespaced(client.clone(), namespace).list(&params).await },
    );
    let (pods, deployments, services) = match (pods, deployments, services) {
        (Ok(pods), Ok(deployments), Ok(services)) => (pods.items, deployments.items, services.items),
        (Err(e), _, _) | (_, Err(e), _) | (_, _, Err(e)) => return unread(e).map(Err),
    };
    let refuse = |message: String| Refusal::new(&object, message);
    // The proxy in front has the release's name too, and nothing to pause.
    let pods: Vec<Pod> = pods.into_iter().filter(|pod| product(pod).is_some()).collect();
    let deployments: Vec<Deployment> =
        deployments.into_iter().filter(|d| label(&d.metadata, APP).and_then(Product::of_app).is_some()).collect();
    let products: BTreeSet<Product> = pods.iter().filter_map(product).collect();
    let product = match products.iter().collect::<Vec<_>>()[..] {
        [product] => *product,
        [] if !deployments.is_empty() => {
            return Ok(Err(vec![refuse(format!("has no pods in namespace {namespace}")).hint("start it first")]));
        }
        [] => return Ok(Err(vec![absent(client, namespace, name).await])),
        ref several => {
            let titles: Vec<&str> = several.iter().map(|product| product.title()).collect();
            return Ok(Err(vec![
                refuse(format!("runs {} at once", titles.join(" and ")))
                    .hint("one release runs one product: give each a release of its own"),
            ]));
        }
    };
    let is_its = |metadata: &ObjectMeta| label(metadata, APP) == Some(product.app());
    let deployments: Vec<Deployment> = deployments.into_iter().filter(|d| is_its(&d.metadata)).collect();
    let headless: Vec<Service> = services.into_iter().filter(|s| is_its(&s.metadata) && is_headless(s)).collect();
    let mut refusals = Vec::new();
    let of_name = |metadata: &ObjectMeta| metadata.name.clone().unwrap_or_default();
    if deployments.len() != 1 {
        let names: Vec<String> = deployments.iter().map(|d| of_name(&d.metadata)).collect();
        refusals.push(refuse(several("Deployment", &names, &labels(name, product))));
    }
    if headless.len() != 1 {
        let names: Vec<String> = headless.iter().map(|s| of_name(&s.metadata)).collect();
        refusals.push(refuse(several("headless Service", &names, &labels(name, product))));
    }
    for pod in pods.iter().filter(|pod| address(pod).is_none()) {
        refusals.push(
            Refusal::new(format!("pod/{}", of_name(&pod.metadata)), format!("of {object} has no address"))
                .hint("wait until it runs, or delete it: a pod that is left out would run unpaused"),
        );
    }
    let (Some(deployment), Some(service)) = (deployments.first(), headless.first()) else {
        return Ok(Err(refusals));
    };
    let replicas = deployment.spec.replicas.unwrap_or(1);
    if i32::try_from(pods.len()).ok() != Some(replicas) {
        refusals.push(
            refuse(format!("has {} of {replicas} pods: it is being scaled or rolled out", pods.len()))
                .hint("wait until `kubectl rollout status` says that it is done"),
        );
    }
    let port = admin_port(service, product, pods.first());
    if port.is_none() {
        refusals.push(refuse(format!(
            "service/{} has no port named {}, by which the admin port is known",
            of_name(&service.metadata),
            product.port_name()
        )));
    }
    let tls = match encrypted::encryption(client, request, namespace, pods.first()).await {
        Ok(tls) => tls,
        Err(refusal) => {
            refusals.push(refuse(refusal.message).hint(refusal.hint.unwrap_or_default()));
            None
        }
    };
    let (Some(port), true) = (port, refusals.is_empty()) else {
        return Ok(Err(refusals));
    };
    let (workloads, _) = workloads::owners(client, &pods).await;
    let read = properties::read(client, namespace, name, product, deployment).await;
    let release = Release {
        namespace: namespace.into(),
        name: name.into(),
        product,
        chart: label(&deployment.metadata, "helm.sh/chart").unwrap_or_default().into(),
        app_version: label(&deployment.metadata, "app.kubernetes.io/version").unwrap_or_default().into(),
        deployment: of_name(&deployment.metadata),
        service: of_name(&service.metadata),
        properties: read.properties,
    };
    let endpoint = Endpoint { port, tls };
    Ok(Ok(Found { release, endpoint, pods, workloads, databases: read.databases, notes: read.notes }))
}

fn several(what: &str, names: &[String], labels: &str) -> String {
    if names.is_empty() {
        format!("has no {what} with labels {labels}")
    } else {
        format!("has {} {what}s with labels {labels}: {}", names.len(), names.join(", "))
    }
}

fn address(pod: &Pod) -> Option<&str> {
    pod.status.as_ref()?.pod_ip.as_deref().filter(|ip| !ip.is_empty())
}

fn is_headless(service: &Service) -> bool {
    let named = service.metadata.name.as_deref().is_some_and(|name| name.ends_with("-headless"));
    named && service.spec.as_ref().and_then(|spec| spec.cluster_ip.as_deref()) == Some("None")
}

/// The port of the pods behind the Service's port of the product's name. The number is the user's to choose.
fn admin_port(service: &Service, product: Product, pod: Option<&Pod>) -> Option<u16> {
    let ports = service.spec.iter().flat_map(|spec| spec.ports.iter().flatten());
    let port = ports.into_iter().find(|port| port.name.as_deref() == Some(product.port_name()))?;
    let number = match &port.target_port {
        Some(IntOrString::Int(number)) => *number,
        Some(IntOrString::String(name)) => {
            let containers = pod.iter().flat_map(|pod| pod.spec.iter()).flat_map(|spec| spec.containers.iter());
            let mut ports = containers.flat_map(|container| container.ports.iter().flatten());
            ports.find(|port| port.name.as_ref() == Some(name))?.container_port
        }
        None => port.port,
    };
    u16::try_from(number).ok()
}

/// A release that is not there: a typing error is best answered with those that are.
async fn absent(client: &kube::Client, namespace: &str, name: &str) -> Refusal {
    let refusal = Refusal::new(format!("release/{name}"), format!("does not exist in namespace {namespace}"));
    let apps: Vec<&str> = Product::ALL.iter().map(|product| product.app()).collect();
    let params = ListParams::default().labels(&format!("{APP} in ({})", apps.join(",")));
    let listed = Api::<Deployment>::namespaced(client.clone(), namespace).list(&params).await;
    let mut there: Vec<String> = listed.map(|list| list.items).unwrap_or_default().iter().filter_map(told).collect();
    there.sort();
    if there.is_empty() {
        return refusal.hint(
            "no release of ScalarDB or ScalarDL is there; say in which namespace it is with --release NAMESPACE/NAME",
        );
    }
    refusal.hint(format!("there are: {}", there.join(", ")))
}

/// As `helm list` tells of it: name, chart and version.
fn told(deployment: &Deployment) -> Option<String> {
    let of = |key| label(&deployment.metadata, key);
    let name = of(INSTANCE)?;
    let more: Vec<&str> = ["helm.sh/chart", "app.kubernetes.io/version"].into_iter().filter_map(of).collect();
    Some(if more.is_empty() { name.to_owned() } else { format!("{name} ({})", more.join(", ")) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn service(name: &str, ip: &str, ports: &serde_json::Value) -> Service {
        serde_json::from_value(json!({"metadata": {"name": name}, "spec": {"clusterIP": ip, "ports": ports}})).unwrap()
    }

    #[test]
    fn the_headless_service_is_known_by_both_signs() {
        let none = json!([]);
        assert!(is_headless(&service("a-headless", "None", &none)));
        assert!(!is_headless(&service("a-headless", "10.0.0.1", &none)));
        assert!(!is_headless(&service("a-envoy", "None", &none)));
    }

    #[test]
    fn the_admin_port_is_known_by_its_name() {
        let ports = json!([
            {"name": "scalardl", "port": 50051, "targetPort": 50051},
            {"name": "scalardl-admin", "port": 50053, "targetPort": 51053},
            {"name": "scalardb", "port": 60051},
            {"name": "scalardl-auditor-admin", "port": 40053, "targetPort": "admin"}
        ]);
        let pod = serde_json::from_value(json!({"metadata": {}, "spec": {"containers": [
            {"name": "a", "ports": [{"containerPort": 7}]}, {"name": "b", "ports": [{"name": "admin", "containerPort": 41053}]}
        ]}}))
        .unwrap();
        let port = |product| admin_port(&service("a-headless", "None", &ports), product, Some(&pod));
        assert_eq!(port(Product::Ledger), Some(51053));
        assert_eq!(port(Product::ScalarDbServer), Some(60051));
        assert_eq!(port(Product::Auditor), Some(41053));
        assert_eq!(port(Product::ScalarDbCluster), None);
    }

    #[test]
    fn a_pod_of_the_proxy_belongs_to_no_release() {
        let pod = |app: &str| -> Pod {
            serde_json::from_value(json!({"metadata": {"namespace": "ns", "labels": {INSTANCE: "ledger-1", APP: app}}}))
                .unwrap()
        };
        assert_eq!(belongs_to(&pod("ledger")), Some(("ns".to_owned(), "ledger-1".to_owned())));
        assert_eq!(belongs_to(&pod("envoy")), None);
    }

    #[test]
    fn releases_are_told_as_helm_does() {
        let deployment = json!({"metadata": {"labels": {INSTANCE: "scalardb", "helm.sh/chart": "scalardb-2.5.0",
            "app.kubernetes.io/version": "3.8.0"}}});
        let told = told(&serde_json::from_value(deployment).unwrap());
        assert_eq!(told.as_deref(), Some("scalardb (scalardb-2.5.0, 3.8.0)"));
    }
}
