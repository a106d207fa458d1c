//! A pod that nothing controls: deleted to stop it, made again from its recorded manifest to start it.

use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, DeleteParams, PostParams, Preconditions};

use super::to_its_end;
use crate::cluster::client::{Cluster, explain, is_already_exists, is_conflict, is_not_found, is_transient};
use crate::plan::restore::Workload;
use crate::plan::restore::bare::is_made_from;

fn api(cluster: &Cluster, of: &Workload) -> Api<Pod> {
    Api::namespaced(cluster.api.clone(), &of.namespace)
}

/// Whether this is the pod from before the run, or one that it made. Nobody else's is ever deleted.
fn is_ours(pod: &Pod, of: &Workload) -> bool {
    pod.metadata.uid.as_ref() == Some(&of.uid) || of.pod.as_deref().is_some_and(|made| is_made_from(pod, made))
}

/// The pod now. An error if somebody else's stands under its name.
pub(super) async fn now(cluster: &Cluster, of: &Workload) -> Result<Option<Pod>, String> {
    let found = api(cluster, of).get_opt(&of.name).await.map_err(|e| format!("{}: {}", of.path(), explain(&e)))?;
    match found {
        Some(pod) if !is_ours(&pod, of) => Err(format!(
            "{} was made by somebody else meanwhile: delete it, it is made again from its record",
            of.path()
        )),
        found => Ok(found),
    }
}

/// Sees that it goes; what is left of it, if it is not gone yet.
pub(super) async fn remove(cluster: &Cluster, of: &Workload) -> Result<Option<String>, String> {
    let Some(pod) = now(cluster, of).await? else { return Ok(None) };
    if pod.metadata.deletion_timestamp.is_none() {
        let only = Preconditions { uid: pod.metadata.uid, resource_version: None };
        let params = DeleteParams { preconditions: Some(only), ..DeleteParams::default() };
        let (api, name) = (api(cluster, of), of.name.clone());
        match to_its_end(async move { api.delete(&name, &params).await }).await? {
            Err(e) if is_transient(&e) => return Ok(Some(format!("{} is still there: {}", of.path(), explain(&e)))),
            Err(e) if !is_not_found(&e) && !is_conflict(&e) => {
                return Err(format!("{} could not be deleted: {}", of.path(), explain(&e)));
            }
            _ => {}
        }
    }
    Ok(Some(format!("{} is still there", of.path())))
}

/// Sees that it is there; what is waited for, if it is not yet.
pub(super) async fn make(cluster: &Cluster, of: &Workload) -> Result<Option<String>, String> {
    if let Some(pod) = now(cluster, of).await? {
        let going = pod.metadata.deletion_timestamp.is_some();
        return Ok(going.then(|| format!("{} is still there, and on its way out", of.path())));
    }
    let manifest = of.pod.as_deref().ok_or_else(|| format!("{}: its manifest was not recorded", of.path()))?;
    match api(cluster, of).create(&PostParams::default(), manifest).await {
        // It may be made all the same, or nothing was sent because the run is another's: the next look tells.
        Err(e) if is_transient(&e) => Ok(Some(format!("{} is not seen made: {}", of.path(), explain(&e)))),
        Err(e) if !is_already_exists(&e) => Err(format!("{} could not be made again: {}", of.path(), explain(&e))),
        _ => Ok(Some(format!("{} is being made", of.path()))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use std::time::Duration;

    #[test]
    fn nobody_elses_pod_is_ever_deleted() {
        let pod = |uid: &str, run: &str| -> Pod {
            let annotations = json!({"consistent-backup/restored-by": run});
            serde_json::from_value(json!({"metadata": {"name": "db", "uid": uid, "annotations": annotations}})).unwrap()
        };
        let of = Workload {
            namespace: "demo".into(),
            kind: "Pod".into(),
            name: "db".into(),
            uid: "old".into(),
            labels: String::new(),
            replicas: 1,
            start: 1,
            ready: 1,
            retention: None,
            grace: Duration::ZERO,
            pod: Some(Box::new(pod("", "r1"))),
            owner: None,
            front: false,
        };
        assert!(is_ours(&pod("old", "r0"), &of), "from before, made by an earlier restore");
        assert!(is_ours(&pod("new", "r1"), &of), "made by this one");
        assert!(!is_ours(&pod("new", "r2"), &of));
        assert!(!is_ours(&Pod::default(), &of));
        assert!(!is_ours(&Pod::default(), &Workload { pod: None, ..of }), "no mark is no match");
    }
}
