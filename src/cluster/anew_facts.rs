//! What is there where workloads are to be made anew. Changes nothing; of a Secret only its name is read.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures::StreamExt;
use futures::stream::iter;
use k8s_openapi::api::core::v1::{Namespace, PersistentVolumeClaim, Secret, ServiceAccount};
use kube::api::{Api, ApiResource, DynamicObject};
use serde_json::Value;
use tokio::time::timeout;

use super::client::{Cluster, explain, is_not_found};
use super::manifests::{all_services, resource};
use crate::manifests::{kind, name, pod_spec, uses::Uses};
use crate::plan::Workload;
use crate::plan::restore::anew::{There, Wanted, key};
use crate::plan::restore::facts::Found;

/// How long one question may take.
const ASK: Duration = Duration::from_secs(20);
/// Questions that are under way at once.
const AT_ONCE: usize = 8;

/// What is there of all that would be made, and what the pods need.
pub async fn collect(cluster: &Cluster, wanted: &[Wanted<'_>], namespaces: &BTreeSet<String>, beside: bool) -> There {
    let mut objects = BTreeSet::new();
    let mut named = BTreeSet::new();
    for of in wanted {
        let maps = Uses::of(pod_spec(&of.object)).config_maps.into_keys().map(|map| ("ConfigMap".to_owned(), map));
        let made = of.config_maps.iter().chain(&of.services).chain(&of.empty).chain([&of.object]);
        let made = made.map(|object| (kind(object).to_owned(), name(object).to_owned()));
        objects.extend(made.chain(maps).map(|(kind, name)| (kind, of.namespace.clone(), name)));
        let secrets = of.manifests.secrets.iter().map(|name| ("Secret", name));
        let accounts = of.manifests.service_account.iter().map(|name| ("ServiceAccount", name));
        named.extend(secrets.chain(accounts).map(|(kind, name)| (kind, of.namespace.clone(), name.clone())));
    }
    let mut there = gathered(cluster, objects, named, namespaces).await;
    for namespace in namespaces.iter().filter(|_| beside) {
        there.services.insert(namespace.clone(), all_services(&cluster.api, namespace).await);
    }
    there
}

/// What is there of all that pods name in a namespace.
pub async fn used(cluster: &Cluster, uses: &[Uses], namespace: &str, namespaces: &BTreeSet<String>) -> There {
    let here = |kind: &str, name: &String| (kind.to_owned(), namespace.to_owned(), name.clone());
    let objects = uses.iter().flat_map(|of| of.config_maps.keys()).map(|name| here("ConfigMap", name)).collect();
    let secrets = uses.iter().flat_map(|of| of.secrets.keys()).map(|name| ("Secret", name));
    let accounts = uses.iter().flat_map(|of| &of.service_account).map(|name| ("ServiceAccount", name));
    let named = secrets.chain(accounts).map(|(kind, name)| (kind, namespace.to_owned(), name.clone())).collect();
    gathered(cluster, objects, named, namespaces).await
}

async fn gathered(
    cluster: &Cluster,
    objects: BTreeSet<(String, String, String)>,
    named: BTreeSet<(&str, String, String)>,
    namespaces: &BTreeSet<String>,
) -> There {
    let objects = iter(objects).map(|(kind, namespace, name)| async move {
        let found = object(cluster, &kind, &namespace, &name).await;
        (key(&kind, &namespace, &name), found)
    });
    let named = iter(named).map(|(kind, namespace, name)| async move {
        let resource = match kind {
            "Secret" => ApiResource::erase::<Secret>(&()),
            _ => ApiResource::erase::<ServiceAccount>(&()),
        };
        (key(kind, &namespace, &name), there(cluster, &resource, &namespace, &name).await)
    });
    let (objects, named, namespaces_there) = futures::join!(
        objects.buffer_unordered(AT_ONCE).collect(),
        named.buffer_unordered(AT_ONCE).collect(),
        namespaces_there(cluster, namespaces),
    );
    There { namespaces: namespaces_there, objects, named, ..There::default() }
}

/// Whether these namespaces are there, and to stay.
pub async fn namespaces_there(cluster: &Cluster, namespaces: &BTreeSet<String>) -> BTreeMap<String, Found<()>> {
    let api: Api<Namespace> = Api::all(cluster.api.clone());
    let mut found = BTreeMap::new();
    for namespace in namespaces {
        let there = match timeout(ASK, api.get(namespace)).await {
            Ok(Ok(there)) if there.metadata.deletion_timestamp.is_some() => Found::No,
            answer => judged(answer.map(|answer| answer.map(drop))),
        };
        found.insert(namespace.clone(), there);
    }
    found
}

/// The backup's workloads as they are now, in their order.
pub async fn workloads(cluster: &Cluster, workloads: &[Workload]) -> Vec<Found<Value>> {
    let one = |of: &Workload| {
        let of = of.clone();
        async move { object(cluster, &of.kind, &of.namespace, &of.name).await }
    };
    futures::future::join_all(workloads.iter().map(one)).await
}

async fn object(cluster: &Cluster, kind: &str, namespace: &str, name: &str) -> Found<Value> {
    let claims = || ApiResource::erase::<PersistentVolumeClaim>(&());
    let resource = if kind == "PersistentVolumeClaim" { Some(claims()) } else { resource(kind) };
    let Some(resource) = resource else { return Found::Unknown(format!("nobody knows the kind {kind}")) };
    let api: Api<DynamicObject> = Api::namespaced_with(cluster.api.clone(), namespace, &resource);
    match judged(timeout(ASK, api.get(name)).await) {
        Found::Yes(found) => match serde_json::to_value(found) {
            Ok(value) => Found::Yes(Box::new(value)),
            Err(e) => Found::Unknown(e.to_string()),
        },
        Found::No => Found::No,
        Found::Unknown(why) => Found::Unknown(why),
    }
}

/// Only whether it is there: the server sends nothing but its metadata.
async fn there(cluster: &Cluster, resource: &ApiResource, namespace: &str, name: &str) -> Found<()> {
    let api: Api<DynamicObject> = Api::namespaced_with(cluster.api.clone(), namespace, resource);
    judged(timeout(ASK, api.get_metadata(name)).await.map(|answer| answer.map(drop)))
}

fn judged<T>(answer: Result<Result<T, kube::Error>, tokio::time::error::Elapsed>) -> Found<T> {
    match answer {
        Ok(Ok(found)) => Found::Yes(Box::new(found)),
        Ok(Err(e)) if is_not_found(&e) => Found::No,
        Ok(Err(e)) => Found::Unknown(explain(&e)),
        Err(_) => Found::Unknown("the API server did not answer".into()),
    }
}
