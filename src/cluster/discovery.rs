//! Collects from the cluster what the planner judges by. Everything that can be asked at the same time is.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures::future::{join_all, try_join_all};
use k8s_openapi::api::core::v1::{Namespace, PersistentVolume, PersistentVolumeClaim, Pod};
use kube::api::{Api, ListParams};

use super::access::Access;
use super::client::{explain, is_forbidden, is_not_found};
pub use super::selection::reselect;
use super::snapshots::VolumeSnapshotClass;
use super::{controller, selection, workloads};
use crate::error::{Error, Refusal};
use crate::plan::{Backend, Facts, Kind, Location, Object, Request, Selection, SnapshotClass, Workload, claims_of};
use crate::typed::kubectl;

/// Far more than it takes: a bound for a server that answers each call just in time.
const WITHIN: Duration = Duration::from_secs(90);

/// All facts about a request. What is missing or forbidden becomes a refusal among them; an error means that the
/// cluster cannot be asked at all, or that the selector is no selector.
pub async fn facts(client: &kube::Client, request: &Request, run: &str) -> Result<Facts, Error> {
    tokio::time::timeout(WITHIN, collect(client, request, run))
        .await
        .unwrap_or_else(|_| Err(Error::failed(format!("the cluster did not answer within {WITHIN:?}"))))
}

async fn collect(client: &kube::Client, request: &Request, run: &str) -> Result<Facts, Error> {
    let (absent, access, served, selected, all, claims, classes) = futures::join!(
        namespace_refusal(client, &request.namespace),
        Access::review(client, request),
        snapshots_served(client),
        select(client, request),
        listed::<Pod>(client, &request.namespace),
        listed::<PersistentVolumeClaim>(client, &request.namespace),
        snapshot_classes(client),
    );
    let access = access?;
    let mut record = Vec::new();
    if let Some(namespace) = request.record_namespace.as_deref().filter(|namespace| *namespace != request.namespace) {
        record.extend(namespace_refusal(client, namespace).await?);
    }
    let mut facts = Facts { contents: access.contents(), exec: true, ..Facts::default() };
    facts.exec = access.may("get", "pods/exec") && access.may("create", "pods/exec");
    facts.refusals = access.refusals();
    facts.refusals.extend(record);
    let copies = request.backend == Backend::Csi;
    facts.refusals.extend(served.as_ref().err().filter(|_| copies).cloned());
    if let Some(refusal) = absent? {
        // Everything else would only say the same in other words.
        facts.refusals.push(refusal);
        return Ok(facts);
    }
    // What is forbidden is refused above, verb by verb; what remains are calls that failed.
    let selected = selected?;
    facts.refusals.extend(selected.refusals);
    facts.selections = selected.selections;
    facts.pods = selected.pods;
    let is_selected = |pod: &Pod| facts.pods.iter().any(|p| p.metadata.uid == pod.metadata.uid);
    facts.others = all?.unwrap_or_default().into_iter().filter(|p| !is_selected(p)).collect();
    facts.claims = named(claims?.unwrap_or_default(), &facts.pods);
    facts.classes = if served.is_ok() { classes? } else { None };
    if copies && facts.classes.iter().flatten().any(|class| class.deletion_policy == "Retain") {
        facts.contents_stay = !Access::of_retained(client).await?;
    }

    let probed =
        copies && served.is_ok() && ["create", "get", "delete"].iter().all(|v| access.may(v, "volumesnapshots"));
    let (volumes, (workloads, unread), dead) = futures::join!(
        volumes(client, &facts, access.may("get", "persistentvolumes")),
        workloads::owners(client, &facts.pods),
        async {
            if probed && !request.dry_run { controller::missing(client, &request.namespace, run).await } else { None }
        },
    );
    facts.volumes = volumes?;
    facts.refusals.extend(unread.into_iter().map(|(kind, name, e)| unread_owner(kind, &name, &e)));
    facts.refusals.extend(selected.named.iter().filter_map(|w| incomplete(w, &facts.pods, &workloads)));
    facts.workloads = workloads;
    facts.refusals.extend(dead);
    if request.dry_run && probed {
        facts.notes.push("nothing was written, so whether a snapshot-controller is running was not tried".into());
    }
    Ok(facts)
}

fn broken(what: &str, e: &kube::Error) -> Error {
    Error::failed(format!("{what} could not be read")).cause(explain(e))
}

/// Reading a namespace may be forbidden to somebody who may do everything in it: then what is found decides.
pub async fn namespace_refusal(client: &kube::Client, name: &str) -> Result<Option<Refusal>, Error> {
    let object = format!("namespace/{name}");
    match Api::<Namespace>::all(client.clone()).get(name).await {
        Ok(found) if found.metadata.deletion_timestamp.is_some() => Ok(Some(Refusal::new(object, "is being deleted"))),
        Ok(_) => Ok(None),
        Err(e) if is_forbidden(&e) => Ok(None),
        Err(e) if is_not_found(&e) => {
            Ok(Some(Refusal::new(object, "does not exist").hint("say which one with -n NAMESPACE")))
        }
        Err(e) => Err(broken(&object, &e)),
    }
}

async fn snapshots_served(client: &kube::Client) -> Result<(), Refusal> {
    match client.list_api_group_resources("snapshot.storage.k8s.io/v1").await {
        Err(e) if is_not_found(&e) => Err(Refusal::new(
            "snapshot.storage.k8s.io/v1",
            "the cluster has no VolumeSnapshot API, so no volume can be cut",
        )
        .hint("install the CRDs and the controller of kubernetes-csi/external-snapshotter, and a CSI driver with snapshots")),
        // Whoever may not even look is told by the calls that follow.
        _ => Ok(()),
    }
}

/// All classes; nothing where they may not be listed.
async fn snapshot_classes(client: &kube::Client) -> Result<Option<Vec<SnapshotClass>>, Error> {
    match Api::<VolumeSnapshotClass>::all(client.clone()).list(&ListParams::default()).await {
        Ok(list) => Ok(Some(
            list.items
                .into_iter()
                .map(|class| SnapshotClass {
                    default: class.is_default(),
                    location: Location::of(&class.driver, &class.parameters),
                    name: class.metadata.name.unwrap_or_default(),
                    driver: class.driver,
                    deletion_policy: class.deletion_policy,
                })
                .collect(),
        )),
        Err(e) if is_forbidden(&e) || is_not_found(&e) => Ok(None),
        Err(e) => Err(broken("volumesnapshotclasses", &e)),
    }
}

/// Everything of a type in a namespace; nothing where it may not be listed.
async fn listed<K>(client: &kube::Client, namespace: &str) -> Result<Option<Vec<K>>, Error>
where
    K: kube::Resource<Scope = k8s_openapi::NamespaceResourceScope, DynamicType = ()>
        + Clone
        + serde::de::DeserializeOwned
        + std::fmt::Debug,
{
    match Api::<K>::namespaced(client.clone(), namespace).list(&ListParams::default()).await {
        Ok(list) => Ok(Some(list.items)),
        Err(e) if is_forbidden(&e) => Ok(None),
        Err(e) => Err(broken(&K::plural(&()), &e)),
    }
}

/// The claims that these pods name.
fn named(claims: Vec<PersistentVolumeClaim>, pods: &[Pod]) -> BTreeMap<(String, String), PersistentVolumeClaim> {
    let used: BTreeSet<&str> = pods.iter().flat_map(claims_of).map(|(_, claim)| claim).collect();
    claims
        .into_iter()
        .filter_map(|claim| {
            let name = claim.metadata.name.clone()?;
            let key = (claim.metadata.namespace.clone()?, name);
            used.contains(key.1.as_str()).then_some((key, claim))
        })
        .collect()
}

/// The volumes of the claims; nothing where they may not be read. One that does not exist is left out.
async fn volumes(
    client: &kube::Client,
    facts: &Facts,
    may: bool,
) -> Result<Option<BTreeMap<String, PersistentVolume>>, Error> {
    if !may {
        return Ok(None);
    }
    let api: Api<PersistentVolume> = Api::all(client.clone());
    let names = facts.claims.values().filter_map(|c| c.spec.as_ref()?.volume_name.clone());
    let reads = names.map(|name| {
        let api = &api;
        async move {
            match api.get(&name).await {
                Ok(volume) => Ok(Some((name, volume))),
                Err(e) if is_not_found(&e) => Ok(None),
                Err(e) => Err(broken(&format!("persistentvolume/{name}"), &e)),
            }
        }
    });
    Ok(Some(try_join_all(reads).await?.into_iter().flatten().collect()))
}

/// What the request selects.
#[derive(Default)]
struct Selected {
    selections: Vec<Selection>,
    pods: Vec<Pod>,
    /// The workloads that were named.
    named: Vec<Workload>,
    refusals: Vec<Refusal>,
}

async fn select(client: &kube::Client, request: &Request) -> Result<Selected, Error> {
    let mut selected = Selected::default();
    if let Some(selector) = &request.selector {
        selected.selections.push(Selection {
            namespace: request.namespace.clone(),
            object: format!("-l {selector}"),
            labels: Some(selector.clone()),
            pod: None,
        });
    }
    let read = request.objects.iter().map(|object| async move {
        (object, workloads::read(client, &request.namespace, object.kind, &object.name).await)
    });
    for (object, answer) in join_all(read).await {
        match answer {
            Ok(found) => {
                let workload = found.map(|f| f.workload);
                selected.selections.push(Selection {
                    namespace: request.namespace.clone(),
                    object: object.to_string(),
                    pod: workload.is_none().then(|| object.name.clone()),
                    labels: workload.as_ref().map(|w| w.labels.clone()),
                });
                selected.named.extend(workload);
            }
            Err(e) if is_not_found(&e) => selected.refusals.push(absent(object, &request.namespace)),
            Err(e) if is_forbidden(&e) => {}
            Err(e) => return Err(broken(&object.to_string(), &e)),
        }
    }
    let found = selected.selections.iter().map(|s| async move { (s, selection::pods_of(client, s).await) });
    let mut pods = Vec::new();
    for (of, answer) in join_all(found).await {
        match answer {
            Ok(found) if found.is_empty() => selected.refusals.push(empty(of, &selected.named)),
            Ok(found) => pods.extend(found),
            Err(e) if is_forbidden(&e) => {}
            Err(kube::Error::Api(status)) if status.code == 400 && of.pod.is_none() => {
                return Err(Error::usage(format!("`{}` is no label selector", of.object)).cause(status.message));
            }
            Err(e) => return Err(broken(&of.object, &e)),
        }
    }
    selected.pods = selection::once(pods.into_iter());
    Ok(selected)
}

fn absent(object: &Object, namespace: &str) -> Refusal {
    Refusal::new(object.to_string(), format!("does not exist in namespace {namespace}"))
        .hint("say in which one it is with -n NAMESPACE")
}

fn empty(of: &Selection, named: &[Workload]) -> Refusal {
    if of.pod.is_some() {
        return Refusal::new(&of.object, format!("does not exist in namespace {}", of.namespace))
            .hint("say in which one it is with -n NAMESPACE");
    }
    match named.iter().find(|w| is_of(&of.object, w)) {
        Some(w) if w.replicas == 0 => Refusal::new(&of.object, "is scaled to 0: there is no database to ask").hint(
            "start it, or `thaw` if an unfinished run stopped it; --cold stops it for the cut, and starts it again",
        ),
        Some(_) => Refusal::new(&of.object, "has no pods"),
        None => Refusal::new(&of.object, format!("selects no pods in namespace {}", of.namespace)).hint(format!(
            "`{}` shows the labels there",
            kubectl(&["get", "pods", "-n", &of.namespace, "--show-labels"])
        )),
    }
}

fn is_of(object: &str, workload: &Workload) -> bool {
    object == format!("{}/{}", workload.kind.to_lowercase(), workload.name)
}

/// A workload that is being scaled or rolled out will change its pods inside the window. `tops` are the pods' topmost
/// workloads: the pods of a named ReplicaSet are counted under its Deployment, and that one is left alone here.
fn incomplete(named: &Workload, pods: &[Pod], tops: &[Workload]) -> Option<Refusal> {
    if !tops.iter().any(|w| w.uid == named.uid) || named.kind == Kind::Deployment.name() {
        return None;
    }
    let owns = |p: &&Pod| selection::controller(&p.metadata).is_some_and(|o| o.uid == named.uid);
    let there = pods.iter().filter(owns).count();
    let wanted = usize::try_from(named.replicas).unwrap_or_default();
    (there > 0 && there != wanted).then(|| {
        Refusal::new(
            format!("{}/{}", named.kind.to_lowercase(), named.name),
            format!("has {there} of {wanted} pods: it is being scaled or rolled out"),
        )
        .hint("wait until it is complete")
    })
}

fn unread_owner(kind: Kind, name: &str, e: &kube::Error) -> Refusal {
    let refusal = Refusal::new(
        format!("{}/{name}", kind.word()),
        format!("owns a selected pod and cannot be read: {}", explain(e)),
    );
    if is_forbidden(e) {
        refusal.hint("`kubectl consistent-backup rbac --for quiesce-snapshot` prints all rules that are needed")
    } else {
        refusal
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn workload(kind: &str, name: &str, replicas: i32) -> Workload {
        Workload {
            namespace: "demo".into(),
            kind: kind.into(),
            name: name.into(),
            uid: format!("uid-{name}"),
            replicas,
            labels: "app=db".into(),
            owner: None,
        }
    }

    fn pod(name: &str, owner: &str) -> Pod {
        let owners = json!([{"apiVersion": "apps/v1", "kind": "StatefulSet", "name": owner, "uid": format!("uid-{owner}"),
                             "controller": true}]);
        let metadata = json!({"name": name, "namespace": "demo", "ownerReferences": owners});
        serde_json::from_value(json!({ "metadata": metadata })).unwrap()
    }

    fn selection(object: &str, pod: Option<&str>) -> Selection {
        Selection { namespace: "demo".into(), object: object.into(), labels: None, pod: pod.map(Into::into) }
    }

    #[test]
    fn a_selection_without_pods_says_why() {
        let named = [workload("StatefulSet", "off", 0), workload("StatefulSet", "new", 2)];
        for (object, pod, message) in [
            ("pod/x", Some("x"), "does not exist in namespace demo"),
            ("statefulset/off", None, "is scaled to 0: there is no database to ask"),
            ("statefulset/new", None, "has no pods"),
            ("-l app=x", None, "selects no pods in namespace demo"),
        ] {
            assert_eq!(empty(&selection(object, pod), &named).message, message);
        }
    }

    #[test]
    fn a_workload_that_is_being_scaled_is_refused() {
        let pods = [pod("a-0", "a"), pod("a-1", "a"), pod("b-0", "b")];
        let message = |named: &Workload, tops: &[Workload]| incomplete(named, &pods, tops).map(|r| r.message);
        let of = |replicas| workload("StatefulSet", "a", replicas);
        assert_eq!(message(&of(2), &[of(2)]), None);
        assert_eq!(message(&of(3), &[of(3)]).as_deref(), Some("has 2 of 3 pods: it is being scaled or rolled out"));
        assert_eq!(message(&of(1), &[of(1)]).as_deref(), Some("has 2 of 1 pods: it is being scaled or rolled out"));
        // A ReplicaSet below a Deployment is that one's business.
        assert_eq!(message(&of(3), &[workload("Deployment", "d", 2)]), None);
    }

    #[test]
    fn only_the_claims_of_the_pods_are_facts() {
        let claim =
            |name: &str| serde_json::from_value(json!({"metadata": {"name": name, "namespace": "demo"}})).unwrap();
        let pod = serde_json::from_value(json!({
            "metadata": {"name": "p", "namespace": "demo"},
            "spec": {"containers": [], "volumes": [{"name": "v", "persistentVolumeClaim": {"claimName": "used"}}]}
        }));
        let named = named(vec![claim("used"), claim("other")], &[pod.unwrap()]);
        assert_eq!(named.keys().collect::<Vec<_>>(), [&("demo".to_owned(), "used".to_owned())]);
    }
}
