//! Claims that a snapshot is still cut from, or that a pod names which has ended. The cluster keeps such a claim, however
//! often it is deleted: a restore would wait for its absence for ever, with the application down.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};

use super::facts::{Facts, claims_of, has_ended};
use crate::cluster::snapshots::VolumeSnapshot;
use crate::error::Refusal;
use crate::labels::RUN;
use crate::typed::kubectl;

/// The finalizer by which the snapshot-controller keeps a claim.
const PROTECTION: &str = "snapshot.storage.kubernetes.io/pvc-as-source-protection";

/// Whether the snapshot-controller keeps the claim now.
pub fn is_protected(claim: &PersistentVolumeClaim) -> bool {
    claim.metadata.finalizers.iter().flatten().any(|finalizer| finalizer == PROTECTION)
}

/// The snapshots of this claim that are not ready to use: as long as there is one, the claim is kept.
pub fn unfinished<'a>(claim: &PersistentVolumeClaim, snapshots: &'a [VolumeSnapshot]) -> Vec<&'a VolumeSnapshot> {
    let of_claim = |snapshot: &&VolumeSnapshot| {
        snapshot.metadata.namespace == claim.metadata.namespace
            && snapshot.spec.source.persistent_volume_claim_name == claim.metadata.name
    };
    let ready = |snapshot: &VolumeSnapshot| snapshot.status.as_ref().is_some_and(|s| s.ready_to_use == Some(true));
    snapshots.iter().filter(of_claim).filter(|snapshot| !ready(snapshot)).collect()
}

/// Refuses claims (`NAMESPACE/NAME`) that are kept by pods which have ended, such as of jobs. `goes` says of a pod that it
/// is deleted when the workloads are stopped.
pub(super) fn by_ended(claims: &BTreeSet<String>, facts: &Facts, goes: impl Fn(&Pod) -> bool) -> Vec<Refusal> {
    let stays = |pod: &&Pod| has_ended(pod) && pod.metadata.deletion_timestamp.is_none() && !goes(pod);
    let refusals = facts.pods.iter().filter(stays).flat_map(|pod| {
        let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
        let object = format!("pod/{}", pod.metadata.name.as_deref().unwrap_or_default());
        let kept = claims_of(pod).filter(move |name| claims.contains(&format!("{namespace}/{name}")));
        kept.map(move |name| {
            let why = format!("{object} has ended, and keeps it from being replaced for as long as it is there");
            Refusal::new(format!("persistentvolumeclaim/{name}"), why).hint(format!("delete {object} first"))
        })
    });
    refusals.collect()
}

/// Refuses a claim that could not go.
pub(super) fn check(claim: &PersistentVolumeClaim, facts: &Facts, refusals: &mut Vec<Refusal>) {
    let object = format!("persistentvolumeclaim/{}", claim.metadata.name.as_deref().unwrap_or_default());
    let unfinished = unfinished(claim, &facts.snapshots_there);
    if unfinished.is_empty() && is_protected(claim) {
        let why = format!("it cannot be replaced while it has the finalizer {PROTECTION}: a snapshot is cut from it");
        let namespace = claim.metadata.namespace.as_deref().unwrap_or_default();
        let hint = format!(
            "wait until the snapshot-controller takes that off; `{}` shows which are not ready to use",
            kubectl(&["get", "volumesnapshots", "-n", namespace])
        );
        refusals.push(Refusal::new(object.clone(), why).hint(hint));
    }
    for snapshot in unfinished {
        let name = snapshot.metadata.name.as_deref().unwrap_or_default();
        let namespace = snapshot.metadata.namespace.as_deref().unwrap_or_default();
        let why =
            format!("it cannot be replaced while volumesnapshot/{name}, which is cut from it, is not ready to use");
        // One that a record names is removed with that record.
        let remove = match snapshot.metadata.labels.as_ref().and_then(|labels| labels.get(RUN)) {
            Some(run) => format!("give its backup up: {}", facts.typed.command("delete", run, namespace)),
            None => {
                format!("delete it: {}", kubectl(&["delete", &format!("volumesnapshot/{name}"), "-n", namespace]))
            }
        };
        refusals.push(Refusal::new(object.clone(), why).hint(format!("wait until it is ready, or {remove}")));
    }
}
