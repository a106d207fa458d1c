//! Plain workloads: StatefulSet, Deployment and ReplicaSet are stopped by scaling to 0 and started by scaling back; a pod
//! that nothing controls is deleted, and made again from its recorded manifest.
//!
//! Every patch carries the uid: a workload that was deleted and made anew under the same name is never scaled.

use std::collections::BTreeSet;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet, StatefulSet};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::storage::v1::VolumeAttachment;
use kube::api::{Api, ApiResource, DynamicObject, ListParams, Patch, PatchParams};
use serde_json::{Value, json};
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep};

use crate::cluster::client::{Cluster, Persisted, explain, persist};
use crate::plan::restore::facts::{WorkloadNow, claims_of, has_ended};
use crate::plan::restore::{Retention, Workload};

mod pod;

/// How long one request is tried again.
const REQUEST: Duration = Duration::from_secs(30);
/// Pause between two looks at pods.
const LOOK: Duration = Duration::from_millis(500);

/// The kind of one that is deleted and made again.
const POD: &str = "Pod";

/// The API resource of a kind of workload; `None` for kinds that cannot be stopped.
fn resource(kind: &str) -> Option<ApiResource> {
    match kind {
        "StatefulSet" => Some(ApiResource::erase::<StatefulSet>(&())),
        "Deployment" => Some(ApiResource::erase::<Deployment>(&())),
        "ReplicaSet" => Some(ApiResource::erase::<ReplicaSet>(&())),
        POD => Some(ApiResource::erase::<Pod>(&())),
        _ => None,
    }
}

fn api(cluster: &Cluster, kind: &str, namespace: &str) -> Result<Api<DynamicObject>, String> {
    let resource = resource(kind).ok_or_else(|| format!("a {kind} cannot be stopped"))?;
    Ok(Api::namespaced_with(cluster.api.clone(), namespace, &resource))
}

/// The workload as it is now; `None` if it does not exist.
pub async fn read(cluster: &Cluster, kind: &str, namespace: &str, name: &str) -> Result<Option<WorkloadNow>, String> {
    let api = api(cluster, kind, namespace)?;
    let found = api.get_opt(name).await.map_err(|e| explain(&e))?;
    found.map(|object| parse(kind, object)).transpose()
}

fn parse(kind: &str, object: DynamicObject) -> Result<WorkloadNow, String> {
    let unreadable =
        |e: kube::core::dynamic::ParseDynamicObjectError| format!("the server's answer cannot be read: {e}");
    Ok(match kind {
        "StatefulSet" => WorkloadNow::of_stateful_set(&object.try_parse().map_err(unreadable)?),
        "Deployment" => WorkloadNow::of_deployment(&object.try_parse().map_err(unreadable)?),
        POD => WorkloadNow::of_pod(&object.try_parse().map_err(unreadable)?),
        _ => WorkloadNow::of_replica_set(&object.try_parse().map_err(unreadable)?),
    })
}

/// The writes of this process, one after the other.
static TURN: LazyLock<Arc<Mutex<()>>> = LazyLock::new(Arc::default);

/// Does this write to its end, also if nobody waits for it any more: the stop of an attempt that was broken off must not
/// take effect after the start that follows it.
pub async fn to_its_end<T: Send + 'static>(write: impl Future<Output = T> + Send + 'static) -> Result<T, String> {
    let turn = TURN.clone().lock_owned().await;
    let done = tokio::spawn(async move {
        let done = write.await;
        drop(turn);
        done
    });
    done.await.map_err(|e| format!("a request ended without an answer: {e}"))
}

/// Waits until no such write is on its way: what is read then is not changed by it any more.
pub async fn settled() {
    drop(TURN.lock().await);
}

/// Changes the workload, if it is still the same one. Safe to repeat, so it is repeated until the answer is known.
async fn patch(cluster: &Cluster, of: &Workload, spec: Value) -> Result<WorkloadNow, String> {
    let api = api(cluster, &of.kind, &of.namespace)?;
    let patch = Patch::Merge(json!({ "metadata": { "uid": of.uid }, "spec": spec }));
    let name = of.name.clone();
    let params = PatchParams::default();
    match to_its_end(async move { persist(REQUEST, || api.patch(&name, &params, &patch)).await }).await? {
        Persisted::Final(Ok(object)) => parse(&of.kind, object),
        Persisted::Final(Err(e)) => Err(format!("{}: {}", of.path(), explain(&e))),
        Persisted::Unknown(why) => Err(format!("{}: {why}", of.path())),
    }
}

/// Sets its replicas.
pub async fn scale(cluster: &Cluster, of: &Workload, replicas: i32) -> Result<(), String> {
    let now = patch(cluster, of, json!({ "replicas": replicas })).await?;
    if now.replicas == replicas {
        Ok(())
    } else {
        Err(format!("{}: it was scaled to {replicas}, but something set it to {} at once", of.path(), now.replicas))
    }
}

/// Sets a StatefulSet's `persistentVolumeClaimRetentionPolicy` and reads the answer.
pub async fn set_retention(cluster: &Cluster, of: &Workload, to: &Retention) -> Result<(), String> {
    let policy = json!({ "whenDeleted": to.when_deleted, "whenScaled": to.when_scaled });
    let now = patch(cluster, of, json!({ "persistentVolumeClaimRetentionPolicy": policy })).await?;
    if now.retention.as_ref() == Some(to) {
        Ok(())
    } else {
        Err(format!("{}: persistentVolumeClaimRetentionPolicy was not taken", of.path()))
    }
}

/// Its pods that have not ended, those included that are on their way out.
pub async fn pods(cluster: &Cluster, of: &Workload) -> Result<Vec<Pod>, String> {
    if of.kind == POD {
        return Ok(pod::now(cluster, of).await?.into_iter().filter(|pod| !has_ended(pod)).collect());
    }
    let api: Api<Pod> = Api::namespaced(cluster.api.clone(), &of.namespace);
    let listed = api.list(&ListParams::default().labels(&of.labels)).await;
    let listed = listed.map_err(|e| format!("pods could not be listed: {}", explain(&e)))?;
    Ok(listed.items.into_iter().filter(|pod| !has_ended(pod) && made_by(pod, of)).collect())
}

/// Whether the workload made this pod. A Deployment's pods belong to its ReplicaSets, which are named after it.
fn made_by(pod: &Pod, of: &Workload) -> bool {
    let owners = pod.metadata.owner_references.as_deref().unwrap_or_default();
    owners.iter().filter(|o| o.controller == Some(true)).any(|owner| match of.kind.as_str() {
        "Deployment" => {
            owner.kind == "ReplicaSet"
                && owner
                    .name
                    .strip_prefix(&of.name)
                    .is_some_and(|hash| hash.starts_with('-') && !hash[1..].contains('-'))
        }
        kind => owner.kind == kind && owner.name == of.name,
    })
}

/// Whether a pod's `Ready` condition is true and it is there to stay.
pub fn is_ready(pod: &Pod) -> bool {
    let conditions = pod.status.as_ref().and_then(|s| s.conditions.as_deref()).unwrap_or_default();
    pod.metadata.deletion_timestamp.is_none() && conditions.iter().any(|c| c.type_ == "Ready" && c.status == "True")
}

/// Scales to 0 and waits until no pod of the workloads, no other pod that mounts these claims (`NAMESPACE/NAME`), and
/// no VolumeAttachment of these volumes is left: before that, data may still be written.
pub async fn stop(
    cluster: &Cluster,
    workloads: &[Workload],
    claims: &BTreeSet<String>,
    volumes: &BTreeSet<String>,
    until: Instant,
    say: impl Fn(&str),
) -> Result<(), String> {
    let mut last;
    loop {
        last = match Box::pin(stop_round(cluster, workloads, claims, volumes)).await {
            Ok(None) => return Ok(()),
            Ok(Some(left)) => left,
            Err(why) => why,
        };
        say(&format!("stopping: {last}"));
        if Instant::now() >= until {
            return Err(format!("it could not be stopped in time: {last}"));
        }
        sleep(LOOK).await;
    }
}

/// One look; scaled again in each, since a request that was thought lost may have scaled it up in between.
async fn stop_round(
    cluster: &Cluster,
    workloads: &[Workload],
    claims: &BTreeSet<String>,
    volumes: &BTreeSet<String>,
) -> Result<Option<String>, String> {
    let mut left = None;
    for of in workloads {
        if of.kind == POD {
            left = left.or(pod::remove(cluster, of).await?);
            continue;
        }
        let now = read(cluster, &of.kind, &of.namespace, &of.name).await?;
        let now = now.ok_or_else(|| format!("{} is gone", of.path()))?;
        if now.replicas != 0 {
            scale(cluster, of, 0).await?;
        }
    }
    if left.is_some() {
        return Ok(left);
    }
    standing(cluster, workloads, claims, volumes).await
}

/// What of these workloads, claims (`NAMESPACE/NAME`) and volumes could still write, or is being started; `None` if nothing.
pub async fn standing(
    cluster: &Cluster,
    workloads: &[Workload],
    claims: &BTreeSet<String>,
    volumes: &BTreeSet<String>,
) -> Result<Option<String>, String> {
    for of in workloads {
        if let Some(pod) = pods(cluster, of).await?.first() {
            return Ok(Some(format!("pod/{} is still there", pod.metadata.name.as_deref().unwrap_or_default())));
        }
    }
    let namespaces: BTreeSet<&str> = claims.iter().filter_map(|c| c.split_once('/')).map(|(n, _)| n).collect();
    for namespace in namespaces {
        if let Some(pod) = user(cluster, namespace, claims).await? {
            return Ok(Some(format!("pod/{pod} still mounts a claim")));
        }
    }
    attached(cluster, volumes).await
}

/// A pod that mounts one of these claims.
async fn user(cluster: &Cluster, namespace: &str, claims: &BTreeSet<String>) -> Result<Option<String>, String> {
    let api: Api<Pod> = Api::namespaced(cluster.api.clone(), namespace);
    let listed = api.list(&ListParams::default()).await;
    let listed = listed.map_err(|e| format!("pods could not be listed: {}", explain(&e)))?;
    let uses =
        |pod: &Pod| !has_ended(pod) && claims_of(pod).any(|name| claims.contains(&format!("{namespace}/{name}")));
    Ok(listed.items.iter().find(|pod| uses(pod)).and_then(|pod| pod.metadata.name.clone()))
}

async fn attached(cluster: &Cluster, volumes: &BTreeSet<String>) -> Result<Option<String>, String> {
    // Who restores no volume need not be allowed to list what is attached.
    if volumes.is_empty() {
        return Ok(None);
    }
    let api: Api<VolumeAttachment> = Api::all(cluster.api.clone());
    let listed = api.list(&ListParams::default()).await;
    let listed = listed.map_err(|e| format!("volumeattachments could not be listed: {}", explain(&e)))?;
    let of = |a: &VolumeAttachment| a.spec.source.persistent_volume_name.clone().filter(|v| volumes.contains(v));
    Ok(listed.items.iter().find_map(of).map(|volume| format!("persistentvolume/{volume} is still attached to a node")))
}

/// Scales to `replicas` of each and waits until `ready` pods of each are ready and none too many is there. Pods that
/// are missing beyond `ready` are not waited for: on the way back there may never have been as many.
pub async fn start(
    cluster: &Cluster,
    wanted: &[(&Workload, i32, i32)],
    until: Instant,
    say: impl Fn(&str),
) -> Result<(), String> {
    let mut last;
    loop {
        last = match Box::pin(start_round(cluster, wanted)).await {
            Ok(None) => return Ok(()),
            Ok(Some(waiting)) => waiting,
            Err(why) => why,
        };
        say(&format!("starting: {last}"));
        if Instant::now() >= until {
            return Err(format!("it did not become ready in time: {last}"));
        }
        sleep(LOOK).await;
    }
}

async fn start_round(cluster: &Cluster, wanted: &[(&Workload, i32, i32)]) -> Result<Option<String>, String> {
    // What a stop that was broken off still does comes first.
    settled().await;
    let mut missing = None;
    let mut counts = Vec::new();
    for (of, replicas, _) in wanted {
        if of.kind == POD {
            missing = missing.or(pod::make(cluster, of).await?);
            counts.push(*replicas);
            continue;
        }
        let now = read(cluster, &of.kind, &of.namespace, &of.name).await?;
        let now = now.ok_or_else(|| format!("{} is gone", of.path()))?;
        let left = autoscaled(of, now.replicas, *replicas);
        counts.push(if left { now.replicas } else { *replicas });
        if !left && now.replicas != *replicas {
            scale(cluster, of, *replicas).await?;
        }
    }
    if missing.is_some() {
        return Ok(missing);
    }
    for ((of, _, ready), count) in wanted.iter().zip(counts) {
        if let Some(waiting) = waiting(of, &pods(cluster, of).await?, count, *ready) {
            return Ok(Some(format!("{}: {waiting}", of.path())));
        }
    }
    Ok(None)
}

/// Whether how many pods it has now is left to who scaled it since it was started. An application in front of the databases
/// has no data that more pods could spoil, and its autoscaler would scale it again and again.
fn autoscaled(of: &Workload, now: i32, replicas: i32) -> bool {
    of.front && now > 0 && replicas > 0
}

/// What is still waited for until these pods are a started workload.
fn waiting(of: &Workload, pods: &[Pod], replicas: i32, ready: i32) -> Option<String> {
    let there = i32::try_from(pods.len()).unwrap_or(i32::MAX);
    let ready = ready.min(replicas);
    let serving = i32::try_from(pods.iter().filter(|pod| is_ready(pod)).count()).unwrap_or(i32::MAX);
    if serving < ready {
        let waits = pods.iter().find(|pod| !is_ready(pod)).map(reason).unwrap_or_default();
        return Some(format!("{serving} of {ready} pods are ready{waits}"));
    }
    (there > replicas && (!of.front || replicas == 0)).then(|| format!("{there} pods are there instead of {replicas}"))
}

/// Why a pod is not ready, as kubectl would show it.
fn reason(pod: &Pod) -> String {
    let state = crate::pods::PodState::of(pod);
    format!(" ({} is {} {})", state.name, state.status, state.ready)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(kind: &str, owner: &str) -> Pod {
        serde_json::from_value(json!({"metadata": {"name": "p", "ownerReferences": [
            {"apiVersion": "apps/v1", "kind": kind, "name": owner, "uid": "u", "controller": true}]}}))
        .unwrap()
    }

    fn workload(kind: &str) -> Workload {
        Workload {
            namespace: "demo".into(),
            kind: kind.into(),
            name: "web".into(),
            uid: "u".into(),
            labels: "app=web".into(),
            replicas: 1,
            start: 1,
            ready: 1,
            retention: None,
            grace: Duration::ZERO,
            pod: None,
            owner: None,
            front: false,
        }
    }

    #[test]
    fn pods_of_another_workload_with_the_same_labels_are_not_waited_for() {
        assert!(made_by(&pod("StatefulSet", "web"), &workload("StatefulSet")));
        assert!(!made_by(&pod("StatefulSet", "web-two"), &workload("StatefulSet")));
        assert!(made_by(&pod("ReplicaSet", "web-5d8f"), &workload("Deployment")));
        assert!(!made_by(&pod("ReplicaSet", "web-two-5d8f"), &workload("Deployment")));
        assert!(!made_by(&Pod::default(), &workload("Deployment")));
    }

    /// A StatefulSet with OrderedReady makes its second pod only when its first is ready: with a first one that
    /// crashed before the restore already, all replicas never come, and the way back would end stuck for ever.
    #[test]
    fn on_the_way_back_only_what_was_there_is_waited_for() {
        let pod = |ready: &str| -> Pod {
            serde_json::from_value(json!({"metadata": {"name": "p"}, "status": {"phase": "Running",
                "conditions": [{"type": "Ready", "status": ready}]}}))
            .unwrap()
        };
        let (up, down) = (pod("True"), pod("False"));
        let set = workload("StatefulSet");
        let waiting = |pods: &[Pod], replicas, ready| waiting(&set, pods, replicas, ready);
        assert_eq!(waiting(std::slice::from_ref(&down), 2, 0), None, "none was ready before");
        assert_eq!(waiting(&[up.clone(), down.clone()], 3, 1), None);
        assert!(waiting(&[up.clone(), down.clone()], 2, 2).unwrap().starts_with("1 of 2 pods are ready (p is"));
        assert!(waiting(std::slice::from_ref(&up), 2, 2).is_some(), "forward all of them must serve");
        assert_eq!(waiting(&[up.clone(), up.clone()], 1, 1).unwrap(), "2 pods are there instead of 1");
        assert_eq!(waiting(&[up.clone(), up], 2, 2), None);
    }

    #[test]
    fn how_many_pods_stand_in_front_is_the_autoscalers_to_say() {
        let front = Workload { front: true, ..workload("Deployment") };
        assert!(autoscaled(&front, 3, 2) && autoscaled(&front, 1, 2));
        assert!(!autoscaled(&front, 0, 2), "it is down: it is started");
        assert!(!autoscaled(&front, 2, 0), "it was down before: on the way back it is stopped");
        assert!(!autoscaled(&workload("Deployment"), 3, 2));
        let up: Pod =
            serde_json::from_value(json!({"status": {"conditions": [{"type": "Ready", "status": "True"}]}})).unwrap();
        assert_eq!(waiting(&front, &[up.clone(), up.clone(), up.clone()], 2, 2), None, "one is being removed");
        assert_eq!(waiting(&front, std::slice::from_ref(&up), 1, 2), None, "it was scaled down");
        assert!(waiting(&front, &[up], 2, 2).is_some());
    }

    #[test]
    fn a_pod_on_its_way_out_is_not_ready() {
        let mut pod: Pod =
            serde_json::from_value(json!({"status": {"conditions": [{"type": "Ready", "status": "True"}]}})).unwrap();
        assert!(is_ready(&pod));
        pod.metadata.deletion_timestamp =
            Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(jiff::Timestamp::UNIX_EPOCH));
        assert!(!is_ready(&pod));
    }
}
