//! CSI snapshots: one VolumeSnapshot a claim, all created at once; a cut is proved on the VolumeSnapshotContent.
//!
//! CSI says that CreateSnapshot blocks until the cut; the sidecar then writes handle and time on the content. The
//! VolumeSnapshot's own `creationTime` is copied later by another, throttled controller: waiting for that holds the
//! databases longer (0.6 to 1.0 s instead of 0.07 s with one claim).

use std::collections::BTreeMap;
use std::time::Duration;

use kube::api::Api;

use crate::cluster::client::Cluster;
use crate::cluster::snapshots::{VolumeSnapshot, VolumeSnapshotContent};
use crate::labels::{ATTEMPT, MANAGED_BY, RUN};
use crate::names::fnv;
use crate::plan::{Claim, Plan};
use crate::quiescer::Token;

pub mod alias;
mod cut;
mod discard;
mod keep;

pub use keep::Ready;

/// How long one request may take. The budget bounds the whole; this keeps one lost answer from eating it.
const REQUEST: Duration = Duration::from_secs(5);

/// The CSI backend of one run.
pub struct Csi<'a> {
    cluster: &'a Cluster,
    plan: &'a Plan,
    /// Whether the user named the run and wants it deleted.
    named: bool,
}

impl<'a> Csi<'a> {
    /// A backend for this plan's claims.
    pub fn new(cluster: &'a Cluster, plan: &'a Plan) -> Self {
        Self { cluster, plan, named: false }
    }

    /// The same for a run that the user named and wants deleted: copies that are kept may go, too.
    #[must_use]
    pub fn named(self) -> Self {
        Self { named: true, ..self }
    }

    fn claim(&self, claim: usize) -> &'a Claim {
        &self.plan.claims[claim]
    }

    fn snapshots(&self, namespace: &str) -> Api<VolumeSnapshot> {
        Api::namespaced(self.cluster.api.clone(), namespace)
    }

    fn contents(&self) -> Api<VolumeSnapshotContent> {
        Api::all(self.cluster.api.clone())
    }
}

/// The name of a claim's snapshot: made from run, attempt and claim, so that a repeated request meets its own object
/// and an earlier attempt's object (whose cut lies in an earlier window) has another name.
pub fn snapshot_name(token: &Token, claim: &str) -> String {
    let name = format!("{}-{}-{claim}", token.run, token.attempt);
    // VolumeSnapshot names are DNS subdomains of at most 253 characters, a claim's may have as many.
    if name.len() <= 253 { name } else { format!("{}-{:016x}", &name[..236], fnv(claim)) }
}

/// The name that the snapshot-controller gives to the content of a VolumeSnapshot
/// (external-snapshotter, `GetDynamicSnapshotContentNameForSnapshot`).
fn content_name(uid: &str) -> String {
    format!("snapcontent-{uid}")
}

fn labels(token: &Token) -> BTreeMap<String, String> {
    BTreeMap::from([
        (MANAGED_BY.0.to_owned(), MANAGED_BY.1.to_owned()),
        (RUN.to_owned(), token.run.clone()),
        (ATTEMPT.to_owned(), token.attempt.to_string()),
    ])
}

fn selector(run: &str, attempt: Option<u8>) -> String {
    match attempt {
        Some(attempt) => format!("{RUN}={run},{ATTEMPT}={attempt}"),
        None => format!("{RUN}={run}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_tell_run_attempt_and_claim_apart() {
        let token = |attempt| Token { run: "20261120-x1".into(), attempt };
        assert_eq!(snapshot_name(&token(1), "data-postgres-0"), "20261120-x1-1-data-postgres-0");
        assert_ne!(snapshot_name(&token(1), "data"), snapshot_name(&token(2), "data"));
        let long = "c".repeat(253);
        let other = format!("{}d", "c".repeat(252));
        assert!(snapshot_name(&token(1), &long).len() <= 253);
        assert_ne!(snapshot_name(&token(1), &long), snapshot_name(&token(1), &other));
    }
}
