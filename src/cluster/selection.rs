//! The pods of a selection, by the same rule before and after the window: otherwise two tables would differ by the way
//! they were made.

use std::collections::{BTreeMap, BTreeSet};

use futures::future::try_join_all;
use k8s_openapi::api::apps::v1::ReplicaSet;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube::api::{Api, ListParams};

use super::client::is_not_found;
use crate::plan::{Kind, Object, Selection};

/// The pods of all selections, each once, sorted by namespace and name. A pod that is gone is left out.
pub async fn reselect(client: &kube::Client, selections: &[Selection]) -> Result<Vec<Pod>, kube::Error> {
    let found = try_join_all(selections.iter().map(|s| pods_of(client, s))).await?;
    Ok(once(found.into_iter().flatten()))
}

pub(super) fn once(pods: impl Iterator<Item = Pod>) -> Vec<Pod> {
    let key = |m: &ObjectMeta| (m.namespace.clone().unwrap_or_default(), m.name.clone().unwrap_or_default());
    let pods: BTreeMap<_, Pod> = pods.map(|p| (key(&p.metadata), p)).collect();
    pods.into_values().collect()
}

pub(super) async fn pods_of(client: &kube::Client, selection: &Selection) -> Result<Vec<Pod>, kube::Error> {
    let api: Api<Pod> = Api::namespaced(client.clone(), &selection.namespace);
    if let Some(name) = &selection.pod {
        return match api.get(name).await {
            Ok(pod) => Ok(vec![pod]),
            Err(e) if is_not_found(&e) => Ok(Vec::new()),
            Err(e) => Err(e),
        };
    }
    let params = ListParams::default().labels(selection.labels.as_deref().unwrap_or_default());
    let pods = api.list(&params).await?.items;
    let Ok(object) = Object::read(&selection.object) else {
        // `-l`: whatever bears the labels.
        return Ok(pods);
    };
    let (kind, names) = match object.kind {
        Kind::Deployment => {
            let api: Api<ReplicaSet> = Api::namespaced(client.clone(), &selection.namespace);
            let sets = api.list(&params).await?.items;
            let own = sets.iter().filter(|s| is_controlled(&s.metadata, Kind::Deployment, &object.name));
            (Kind::ReplicaSet, own.filter_map(|s| s.metadata.name.clone()).collect())
        }
        kind => (kind, BTreeSet::from([object.name])),
    };
    Ok(controlled(pods, kind, &names))
}

/// Labels alone do not make a pod a workload's: another one may bear them too.
fn controlled(pods: Vec<Pod>, kind: Kind, names: &BTreeSet<String>) -> Vec<Pod> {
    let is_own = |pod: &Pod| names.iter().any(|name| is_controlled(&pod.metadata, kind, name));
    pods.into_iter().filter(is_own).collect()
}

fn is_controlled(metadata: &ObjectMeta, kind: Kind, name: &str) -> bool {
    controller(metadata).is_some_and(|owner| built_in(owner) == Some(kind) && owner.name == name)
}

/// The one owner that manages this object.
pub(super) fn controller(metadata: &ObjectMeta) -> Option<&OwnerReference> {
    let mut owners = metadata.owner_references.iter().flatten();
    owners.find(|o| o.controller == Some(true))
}

/// The built-in type of an owner: a `StatefulSet` of another API group is another thing.
pub(super) fn built_in(owner: &OwnerReference) -> Option<Kind> {
    let kind = Kind::of_name(&owner.kind)?;
    (kind != Kind::Pod && owner.api_version.starts_with("apps/")).then_some(kind)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pod(name: &str, owner: Option<(&str, &str, &str)>) -> Pod {
        let owners: Vec<_> = owner
            .iter()
            .map(|(version, kind, name)| {
                json!({"apiVersion": version, "kind": kind, "name": name, "uid": "u", "controller": true})
            })
            .collect();
        let metadata = json!({"name": name, "namespace": "demo", "ownerReferences": owners});
        serde_json::from_value(json!({ "metadata": metadata })).unwrap()
    }

    #[test]
    fn labels_without_ownership_are_not_enough() {
        let pods = vec![
            pod("own", Some(("apps/v1", "StatefulSet", "db"))),
            pod("bare", None),
            pod("other", Some(("apps/v1", "StatefulSet", "db2"))),
            pod("set", Some(("apps/v1", "ReplicaSet", "db"))),
            pod("foreign", Some(("example.com/v1", "StatefulSet", "db"))),
        ];
        let own = controlled(pods, Kind::StatefulSet, &["db".to_owned()].into());
        assert_eq!(own.iter().filter_map(|p| p.metadata.name.as_deref()).collect::<Vec<_>>(), ["own"]);
    }

    #[test]
    fn a_pod_that_is_selected_twice_is_one() {
        let pods = once([pod("b", None), pod("a", None), pod("b", None)].into_iter());
        assert_eq!(pods.iter().filter_map(|p| p.metadata.name.as_deref()).collect::<Vec<_>>(), ["a", "b"]);
    }
}
