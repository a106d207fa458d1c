//! The built-in workloads that own pods: what a restore stops and starts.

use std::collections::{BTreeMap, BTreeSet};

use futures::future::join_all;
use k8s_openapi::api::apps::v1::{DaemonSet, Deployment, ReplicaSet, StatefulSet};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta, OwnerReference};
use kube::api::Api;

use super::selection::{built_in, controller};
use crate::plan::{Kind, Workload, selector_text};

/// A workload with the reference to what owns it.
#[derive(Clone, Debug)]
pub(super) struct Found {
    pub(super) workload: Workload,
    owner: Option<OwnerReference>,
}

/// A workload that could not be read.
pub(crate) type Unread = (Kind, String, kube::Error);

/// Reads one. A pod is none.
pub(super) async fn read(
    client: &kube::Client,
    namespace: &str,
    kind: Kind,
    name: &str,
) -> Result<Option<Found>, kube::Error> {
    let client = client.clone();
    let found = match kind {
        Kind::StatefulSet => {
            let o = Api::<StatefulSet>::namespaced(client, namespace).get(name).await?;
            let spec = o.spec;
            found(kind, &o.metadata, spec.replicas.unwrap_or(1), &spec.selector)
        }
        Kind::Deployment => {
            let o = Api::<Deployment>::namespaced(client, namespace).get(name).await?;
            let spec = o.spec;
            found(kind, &o.metadata, spec.replicas.unwrap_or(1), &spec.selector)
        }
        Kind::ReplicaSet => {
            let o = Api::<ReplicaSet>::namespaced(client, namespace).get(name).await?;
            let spec = o.spec;
            found(kind, &o.metadata, spec.replicas.unwrap_or(1), &spec.selector)
        }
        Kind::DaemonSet => {
            let o = Api::<DaemonSet>::namespaced(client, namespace).get(name).await?;
            let replicas = o.status.unwrap_or_default().desired_number_scheduled;
            found(kind, &o.metadata, replicas, &o.spec.selector)
        }
        Kind::Pod => return Ok(None),
    };
    Ok(Some(found))
}

fn found(kind: Kind, metadata: &ObjectMeta, replicas: i32, selector: &LabelSelector) -> Found {
    let owner = controller(metadata).cloned();
    Found {
        workload: Workload {
            namespace: metadata.namespace.clone().unwrap_or_default(),
            kind: kind.name().into(),
            name: metadata.name.clone().unwrap_or_default(),
            uid: metadata.uid.clone().unwrap_or_default(),
            replicas,
            labels: selector_text(selector),
            owner: owner.as_ref().filter(|o| built_in(o).is_none()).map(owner_text),
        },
        owner,
    }
}

fn owner_text(owner: &OwnerReference) -> String {
    format!("{}/{}", owner.kind, owner.name)
}

/// The topmost built-in workloads of these pods, each once: a Deployment rather than its ReplicaSet. A pod that no
/// built-in workload owns stands for itself.
pub(crate) async fn owners(client: &kube::Client, pods: &[Pod]) -> (Vec<Workload>, Vec<Unread>) {
    let mut unread = Vec::new();
    let mut workloads = BTreeMap::new();
    let mut wanted: BTreeSet<(String, Kind, String)> = BTreeSet::new();
    for pod in pods {
        if let Some((kind, name)) = controller(&pod.metadata).and_then(|o| Some((built_in(o)?, &o.name))) {
            wanted.insert((pod.metadata.namespace.clone().unwrap_or_default(), kind, name.clone()));
        } else {
            let workload = bare(pod);
            workloads.insert(key(&workload), workload);
        }
    }
    // Twice at most: a pod's ReplicaSet, and that one's Deployment.
    while !wanted.is_empty() {
        let reads = wanted.iter().map(|(ns, kind, name)| async move {
            (ns.clone(), *kind, name.clone(), read(client, ns, *kind, name).await)
        });
        let mut next = BTreeSet::new();
        for (namespace, kind, name, answer) in join_all(reads).await {
            let found = answer.unwrap_or_else(|e| {
                unread.push((kind, name.clone(), e));
                None
            });
            let above = found.as_ref().and_then(|f| f.owner.as_ref());
            if let Some((above, kind)) = above.and_then(|o| Some((o, built_in(o)?))) {
                next.insert((namespace.clone(), kind, above.name.clone()));
            } else if let Some(found) = &found {
                workloads.insert(key(&found.workload), found.workload.clone());
            }
        }
        wanted = next;
    }
    (workloads.into_values().collect(), unread)
}

fn key(w: &Workload) -> (String, String, String) {
    (w.namespace.clone(), w.kind.clone(), w.name.clone())
}

fn bare(pod: &Pod) -> Workload {
    Workload {
        namespace: pod.metadata.namespace.clone().unwrap_or_default(),
        kind: Kind::Pod.name().into(),
        name: pod.metadata.name.clone().unwrap_or_default(),
        uid: pod.metadata.uid.clone().unwrap_or_default(),
        replicas: 1,
        labels: String::new(),
        owner: controller(&pod.metadata).map(owner_text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_operator_is_named() {
        let metadata = |version: &str, kind: &str| -> ObjectMeta {
            serde_json::from_value(json!({"name": "db", "ownerReferences": [
                {"apiVersion": version, "kind": kind, "name": "x", "uid": "u", "controller": true}
            ]}))
            .unwrap()
        };
        let owner = |m: ObjectMeta| found(Kind::ReplicaSet, &m, 1, &LabelSelector::default()).workload.owner;
        assert_eq!(owner(metadata("example.com/v1", "Rollout")).as_deref(), Some("Rollout/x"));
        assert_eq!(owner(metadata("apps/v1", "Deployment")), None);
        let pod = Pod { metadata: metadata("postgresql.cnpg.io/v1", "Cluster"), ..Pod::default() };
        let workload = bare(&pod);
        assert_eq!((workload.kind.as_str(), workload.owner.as_deref()), ("Pod", Some("Cluster/x")));
    }
}
