//! Reads the manifests that a backup remembers. A backup succeeds without them: the plan notes what could not be read.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::future::join_all;
use k8s_openapi::api::apps::v1::{DaemonSet, Deployment, ReplicaSet, StatefulSet};
use k8s_openapi::api::core::v1::{ConfigMap, PersistentVolumeClaim, Pod, Service};
use kube::api::{Api, ApiResource, DynamicObject, ListParams};
use serde_json::Value;
use tokio::time::timeout;

use super::client::{explain, is_not_found};
use crate::manifests::annotations::unknown;
use crate::manifests::credentials::withhold;
use crate::manifests::strip::strip;
use crate::manifests::uses::{Uses, selects};
use crate::manifests::{Manifests, OfWorkload, name, pod_labels, pod_spec};
use crate::plan::{Plan, Workload};

/// How long one question may take.
const ASK: Duration = Duration::from_secs(10);

/// The kinds of objects that are read, as the API names them.
pub fn resource(kind: &str) -> Option<ApiResource> {
    Some(match kind {
        "StatefulSet" => ApiResource::erase::<StatefulSet>(&()),
        "Deployment" => ApiResource::erase::<Deployment>(&()),
        "ReplicaSet" => ApiResource::erase::<ReplicaSet>(&()),
        "DaemonSet" => ApiResource::erase::<DaemonSet>(&()),
        "Pod" => ApiResource::erase::<Pod>(&()),
        "ConfigMap" => ApiResource::erase::<ConfigMap>(&()),
        "Service" => ApiResource::erase::<Service>(&()),
        _ => return None,
    })
}

/// The manifests of the plan's workloads and of what belongs to them.
pub async fn collect(
    client: &kube::Client,
    plan: &Plan,
    claims: &BTreeMap<(String, String), PersistentVolumeClaim>,
) -> Manifests {
    let workloads = join_all(plan.workloads.iter().map(|of| workload(client, plan, of, claims))).await;
    Manifests { workloads }
}

async fn workload(
    client: &kube::Client,
    plan: &Plan,
    of: &Workload,
    claims: &BTreeMap<(String, String), PersistentVolumeClaim>,
) -> OfWorkload {
    let mut found = OfWorkload {
        namespace: of.namespace.clone(),
        kind: of.kind.clone(),
        name: of.name.clone(),
        ..OfWorkload::default()
    };
    let mut object = match get(client, &of.kind, &of.namespace, &of.name).await {
        Ok(object) => object,
        Err(why) => {
            found.missing.push(why);
            return found;
        }
    };
    found.withheld = withhold(&mut object);
    found.left_out = unknown(&object);
    let object = strip(&object);
    let uses = Uses::of(pod_spec(&object));
    let (maps, services) =
        futures::join!(
            join_all(uses.config_maps.iter().map(|(name, optional)| async move {
                (optional, get(client, "ConfigMap", &of.namespace, name).await)
            })),
            services(client, &of.namespace, &object),
        );
    for (optional, map) in maps {
        match map {
            Ok(map) => {
                found.left_out.extend(unknown(&map));
                found.add_config_map(strip(&map), *optional);
            }
            Err(_) if *optional => {}
            Err(why) => found.missing.push(why),
        }
    }
    match services {
        Ok(services) => {
            found.left_out.extend(services.iter().flat_map(unknown));
            found.services = services.iter().map(strip).collect();
        }
        Err(why) => found.missing.push(why),
    }
    let ours = |claim: &PersistentVolumeClaim| {
        let name = claim.metadata.name.as_deref().unwrap_or_default();
        let namespace = claim.metadata.namespace.as_deref().unwrap_or_default();
        let copied = plan
            .claims
            .iter()
            .any(|c| c.namespace == namespace && c.name == name && crate::plan::restore::only::uses(of, c));
        namespace == of.namespace && (copied || uses.claims.contains(name))
    };
    let claims = claims.values().filter(|claim| ours(claim)).filter_map(|claim| serde_json::to_value(claim).ok());
    found.claims = claims.map(|claim| strip(&claim)).collect();
    found.secrets = uses.needed_secrets();
    found.service_account = uses.service_account;
    found.object = Some(object);
    found
}

/// An object, or why it cannot be read.
async fn get(client: &kube::Client, kind: &str, namespace: &str, name: &str) -> Result<Value, String> {
    let path = format!("{}/{name}", kind.to_lowercase());
    let resource = resource(kind).ok_or_else(|| format!("{path}: nobody knows this kind"))?;
    let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), namespace, &resource);
    match timeout(ASK, api.get(name)).await {
        Ok(Ok(object)) => serde_json::to_value(named(object, &resource)).map_err(|e| format!("{path}: {e}")),
        Ok(Err(e)) if is_not_found(&e) => Err(format!("{path} does not exist")),
        Ok(Err(e)) => Err(format!("{path}: {}", explain(&e))),
        Err(_) => Err(format!("{path}: the API server did not answer")),
    }
}

/// An item of a list says nothing of its kind.
fn named(mut object: DynamicObject, resource: &ApiResource) -> DynamicObject {
    object.types.get_or_insert_with(|| kube::core::TypeMeta {
        api_version: resource.api_version.clone(),
        kind: resource.kind.clone(),
    });
    object
}

/// The Services that find this workload's pods, and the one that a StatefulSet names, as they are.
async fn services(client: &kube::Client, namespace: &str, object: &Value) -> Result<Vec<Value>, String> {
    let mut all = all_services(client, namespace).await?;
    let labels = pod_labels(object);
    let own = object["spec"]["serviceName"].as_str().filter(|_| object["kind"] == "StatefulSet");
    all.retain(|service| selects(service, &labels) || own == Some(name(service)));
    Ok(all)
}

/// Every Service of a namespace.
pub async fn all_services(client: &kube::Client, namespace: &str) -> Result<Vec<Value>, String> {
    let resource = ApiResource::erase::<Service>(&());
    let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), namespace, &resource);
    match timeout(ASK, api.list(&ListParams::default())).await {
        Ok(Ok(list)) => {
            let values = list.items.into_iter().map(|service| serde_json::to_value(named(service, &resource)));
            values.collect::<Result<_, _>>().map_err(|e| format!("services cannot be read: {e}"))
        }
        Ok(Err(e)) => Err(format!("services could not be listed: {}", explain(&e))),
        Err(_) => Err("services could not be listed: the API server did not answer".into()),
    }
}
