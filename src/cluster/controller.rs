//! Whether a snapshot-controller lives in the cluster: without one every cut would only run into the budget.

use std::time::Duration;

use kube::api::{Api, DeleteParams, ListParams, ObjectMeta, PostParams};
use tokio::time::{Instant, sleep, timeout};

use super::client::{explain, is_not_found};
use super::nonce::nonce;
use super::snapshots::{VolumeSnapshot, VolumeSnapshotSource, VolumeSnapshotSpec};
use crate::error::Refusal;
use crate::labels::{PROBE, RUN};

/// A living controller answers in about 0.1 s; one that is throttled (5 requests a second) may be behind for long.
const PATIENCE: Duration = Duration::from_secs(20);
const EVERY: Duration = Duration::from_millis(100);
/// After how many seconds a probe is nobody's any more: longer than asking and deleting take.
const LEFT: i64 = 60;
const REQUEST: Duration = Duration::from_secs(10);
/// How often its deletion is asked for.
const REMOVALS: usize = 3;

/// Creates a VolumeSnapshot of a claim that does not exist. A controller writes an error on it; nothing is ever cut.
/// The object is deleted in any case.
pub(super) async fn missing(client: &kube::Client, namespace: &str, run: &str) -> Option<Refusal> {
    let api: Api<VolumeSnapshot> = Api::namespaced(client.clone(), namespace);
    // A repeated attempt plans again, and must not take an earlier probe's answer for its own.
    let name = format!("consistent-backup-{run}-probe-{}", nonce());
    let refusal = ask(&api, &name, run).await.err();
    let removed = remove(&api, &name).await;
    refusal.or_else(|| {
        let why = removed.err()?;
        Some(
            Refusal::new(format!("volumesnapshot/{name}"), format!("the probe could not be deleted: {why}"))
                .hint("it is of a claim that does not exist and can be deleted by hand"),
        )
    })
}

/// Deletes the probe; what is refused once is asked for again, as nothing else names it.
async fn remove(api: &Api<VolumeSnapshot>, name: &str) -> Result<(), String> {
    let mut why = String::new();
    for _ in 0..REMOVALS {
        why = match timeout(REQUEST, api.delete(name, &DeleteParams::default())).await {
            Ok(Ok(_)) => return Ok(()),
            Ok(Err(e)) if is_not_found(&e) => return Ok(()),
            Ok(Err(e)) => explain(&e),
            Err(_) => "no answer".into(),
        };
        sleep(EVERY).await;
    }
    Err(why)
}

async fn ask(api: &Api<VolumeSnapshot>, name: &str, run: &str) -> Result<(), Refusal> {
    let failed =
        |why: &str| Refusal::new("volumesnapshots.snapshot.storage.k8s.io", format!("cannot be created: {why}"));
    match timeout(REQUEST, api.create(&PostParams::default(), &probe(name, run))).await {
        Ok(Ok(ours)) => remove_older(api, &ours).await,
        Ok(Err(e)) => return Err(failed(&explain(&e))),
        Err(_) => return Err(failed("the API server does not answer")),
    }
    let end = Instant::now() + PATIENCE;
    while Instant::now() < end {
        sleep(EVERY).await;
        if let Ok(Ok(found)) = timeout(PATIENCE, api.get(name)).await
            && found.status.is_some_and(|s| s.error.is_some())
        {
            return Ok(());
        }
    }
    Err(Refusal::new(
        "snapshot-controller",
        format!("nothing took notice of a new VolumeSnapshot within {PATIENCE:?}: no snapshot-controller is running"),
    )
    .hint("install it (kubernetes-csi/external-snapshotter), or see why its pods do not run"))
}

/// Removes what processes that died while they asked have left: no record names it. Who asks now is younger.
async fn remove_older(api: &Api<VolumeSnapshot>, ours: &VolumeSnapshot) {
    let all = ListParams::default().labels(&format!("{}={}", PROBE.0, PROBE.1));
    // Best effort: the next run tries again.
    let Ok(Ok(found)) = timeout(REQUEST, api.list(&all)).await else { return };
    for left in found.items.iter().filter(|other| is_left(other, ours)) {
        let name = left.metadata.name.as_deref().unwrap_or_default();
        let _ = timeout(REQUEST, api.delete(name, &DeleteParams::default())).await;
    }
}

/// Whether it is so much older, by the API server's clock, that nobody can be asking with it any more.
fn is_left(other: &VolumeSnapshot, ours: &VolumeSnapshot) -> bool {
    let created = |snapshot: &VolumeSnapshot| snapshot.metadata.creation_timestamp.as_ref().map(|time| time.0);
    let (Some(other), Some(ours)) = (created(other), created(ours)) else { return false };
    ours.duration_since(other).as_secs() > LEFT
}

fn probe(name: &str, run: &str) -> VolumeSnapshot {
    // The label by which everything of a run is removed: one that we could not delete goes with the rest.
    let labels = [(RUN, run), PROBE].map(|(key, value)| (key.to_owned(), value.to_owned()));
    VolumeSnapshot {
        metadata: ObjectMeta { name: Some(name.into()), labels: Some(labels.into()), ..ObjectMeta::default() },
        spec: VolumeSnapshotSpec {
            source: VolumeSnapshotSource {
                persistent_volume_claim_name: Some(name.into()),
                ..VolumeSnapshotSource::default()
            },
            volume_snapshot_class_name: None,
        },
        status: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_probe_that_nobody_can_be_using_is_removed() {
        let made = |second: i64| {
            let mut snapshot = probe("p", "r");
            let time = jiff::Timestamp::from_second(second).map(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time);
            snapshot.metadata.creation_timestamp = time.ok();
            snapshot
        };
        assert!(is_left(&made(0), &made(61)));
        assert!(!is_left(&made(0), &made(60)), "somebody else may be asking");
        assert!(!is_left(&made(61), &made(0)));
        assert!(!is_left(&probe("p", "r"), &made(1000)), "of unknown age");
    }

    #[tokio::test(start_paused = true)]
    async fn a_deletion_that_is_refused_once_is_asked_for_again() {
        use std::sync::Arc;
        use std::sync::atomic::{AtomicUsize, Ordering};

        for (refused, gone) in [(0, true), (1, true), (REMOVALS, false)] {
            let asked = Arc::new(AtomicUsize::new(0));
            let counted = asked.clone();
            let service = tower::service_fn(move |_: http::Request<kube::client::Body>| {
                let code: u16 = if counted.fetch_add(1, Ordering::SeqCst) < refused { 409 } else { 200 };
                let body = serde_json::json!({"kind": "Status", "code": code, "reason": "Conflict"}).to_string();
                let answer = http::Response::builder().status(code);
                async move { answer.body(kube::client::Body::from(body.into_bytes())) }
            });
            let api = Api::namespaced(kube::Client::new(service, "demo"), "demo");
            assert_eq!(remove(&api, "p").await.is_ok(), gone, "refused {refused} times");
            assert_eq!(asked.load(Ordering::SeqCst), REMOVALS.min(refused + 1));
        }
    }
}
