//! Whether a snapshot-controller lives in the cluster: without one every cut would only run into the budget.

use std::time::Duration;

use kube::api::{Api, DeleteParams, ObjectMeta, PostParams};
use tokio::time::{Instant, sleep, timeout};

use super::client::{explain, is_not_found};
use super::nonce::nonce;
use super::snapshots::{VolumeSnapshot, VolumeSnapshotSource, VolumeSnapshotSpec};
use crate::error::Refusal;
use crate::labels::RUN;

/// A living controller answers in about 0.1 s; one that is throttled (5 requests a second) may be behind for long.
const PATIENCE: Duration = Duration::from_secs(20);
const EVERY: Duration = Duration::from_millis(100);
const REQUEST: Duration = Duration::from_secs(10);

/// Creates a VolumeSnapshot of a claim that does not exist. A controller writes an error on it; nothing is ever cut.
/// The object is deleted in any case.
pub(super) async fn missing(client: &kube::Client, namespace: &str, run: &str) -> Option<Refusal> {
    let api: Api<VolumeSnapshot> = Api::namespaced(client.clone(), namespace);
    // A repeated attempt plans again, and must not take an earlier probe's answer for its own.
    let name = format!("consistent-backup-{run}-probe-{}", nonce());
    let refusal = ask(&api, &name, run).await.err();
    let removed = timeout(REQUEST, api.delete(&name, &DeleteParams::default())).await;
    match (refusal, removed) {
        (Some(refusal), _) => Some(refusal),
        (None, Ok(Ok(_))) => None,
        (None, Ok(Err(e))) if is_not_found(&e) => None,
        (None, removed) => {
            let why =
                removed.map_or_else(|_| "no answer".into(), |r| r.map_or_else(|e| explain(&e), |_| String::new()));
            Some(
                Refusal::new(format!("volumesnapshot/{name}"), format!("the probe could not be deleted: {why}"))
                    .hint("it is of a claim that does not exist and can be deleted by hand"),
            )
        }
    }
}

async fn ask(api: &Api<VolumeSnapshot>, name: &str, run: &str) -> Result<(), Refusal> {
    let failed =
        |why: &str| Refusal::new("volumesnapshots.snapshot.storage.k8s.io", format!("cannot be created: {why}"));
    match timeout(REQUEST, api.create(&PostParams::default(), &probe(name, run))).await {
        Ok(Ok(_)) => {}
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

fn probe(name: &str, run: &str) -> VolumeSnapshot {
    // The label by which everything of a run is removed: one that we could not delete goes with the rest.
    let labels = [(RUN.to_owned(), run.to_owned())];
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
