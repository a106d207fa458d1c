//! Facts from the cluster and a request become a `Plan`, or every reason why not. Pure.

use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::pods::Match;
use crate::protocol::backup::Targets;
use crate::quiescer::Probe;

pub mod access;
mod backend;
mod build;
mod claims;
mod class;
pub mod cold;
mod detect;
mod estimate;
mod facts;
#[cfg(test)]
mod fixture;
pub mod guard_pod;
mod holds;
mod left_out;
pub mod location;
mod loose;
mod notes;
mod object;
mod place;
pub mod policies;
pub mod quantity;
pub mod release;
mod replicas;
mod request;
pub mod restore;
mod selector;
mod targets;
mod uses;
pub mod verify;

pub use backend::Backend;
pub use build::plan;
pub use claims::ROLE;
pub use detect::{ADAPTER, Detected, Detection, NO_ADAPTER, detect};
pub use estimate::estimate;
pub use facts::{Facts, Probed, SnapshotClass, claims_of};
pub use location::Location;
pub use object::{Kind, Object};
pub use release::{Database, DatabaseKind, Endpoint, Release};
pub use replicas::Replica;
pub use request::{DRAIN, Encryption, ReleaseName, Request};
pub use selector::selector_text;

/// Everything a run decided before it touched anything. Stored in the journal: a later process needs nothing else.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Plan {
    /// The run's id, which names everything that it makes.
    pub run: String,
    /// When it was made, by the API server's clock.
    pub created: Timestamp,
    /// Where the journal lies: the first target's namespace, unless another one was asked for.
    pub namespace: String,
    /// What the user asked for, as typed (`statefulset/postgres`, `-l app=db`): for messages and the record.
    pub request: String,
    /// How the pods were selected; the second pod table is made by the same.
    pub selections: Vec<Selection>,
    /// The databases that are held.
    pub targets: Vec<Target>,
    /// Those of the first attempt, as the fold knows them, where they were others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_targets: Option<Targets>,
    /// Read replicas of these: neither held nor cut.
    #[serde(default)]
    pub replicas: Vec<Replica>,
    /// The claims that are cut.
    pub claims: Vec<Claim>,
    /// Pods whose claims are cut although nothing quiesces them (annotated `none`), as `NAMESPACE/POD`: with one of
    /// them the backup is crash-consistent at best.
    pub unheld: Vec<String>,
    /// Claims that something writes to that is not held, as `NAMESPACE/CLAIM`: beside a database's directories, or shared
    /// with pods in which nothing is held. With one of them, too, the backup is crash-consistent at best.
    #[serde(default)]
    pub unheld_claims: Vec<String>,
    /// The workloads that own the selected pods: what a restore stops and starts.
    pub workloads: Vec<Workload>,
    /// The releases of ScalarDB or ScalarDL whose pods are among the targets.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub releases: Vec<Release>,
    /// The databases behind them: read from their properties, or named by the user.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub databases: Vec<Database>,
    /// By what is copied.
    #[serde(default)]
    pub backend: Backend,
    /// The image of the pod that unpauses at the budget, if one is to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub guard_image: Option<String>,
    /// The Secret by which the guard's image is pulled, in the guard's namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub guard_pull_secret: Option<String>,
    /// It is held until `thaw` asks for the release, or the budget is over.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub detached: bool,
    /// What is stopped for the cut and started again (`--cold`); empty where databases are held instead.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub stopped: Vec<restore::Workload>,
    /// How long databases may be held, from the first quiesce intent.
    #[serde(with = "millis")]
    pub budget: Duration,
    /// Passes at most.
    pub attempts: u8,
    /// How long an error may stand on a content before the claim's cut counts as failed.
    #[serde(with = "millis")]
    pub cut_error_patience: Duration,
    /// By what the two pod tables are compared.
    #[serde(default)]
    pub pods_must_match: Match,
    /// An estimate of how long the databases will be held.
    #[serde(with = "millis")]
    pub estimate: Duration,
    /// Whether contents may be read and changed; otherwise the snapshot's own time is waited for and nothing is kept.
    pub contents: ContentAccess,
    /// Remarks, one line each.
    pub notes: Vec<String>,
}

impl Plan {
    /// Whether workloads are stopped instead of databases held.
    pub fn is_cold(&self) -> bool {
        !self.stopped.is_empty()
    }

    /// How long databases may be held in all if every attempt is needed and none ends before its budget.
    pub fn longest_hold(&self) -> Duration {
        self.budget * u32::from(self.attempts)
    }
}

/// One way in which pods were selected.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Selection {
    /// The namespace.
    pub namespace: String,
    /// `statefulset/postgres`, `pod/x`, or `-l SELECTOR`.
    pub object: String,
    /// A label selector, for workloads and `-l`.
    pub labels: Option<String>,
    /// A pod's name, for `pod/x`.
    pub pod: Option<String>,
}

/// One database instance that is held.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Target {
    /// The namespace.
    pub namespace: String,
    /// The pod.
    pub pod: String,
    /// The pod's uid: a pod of the same name that is another one is never spoken to.
    pub pod_uid: String,
    /// The container.
    pub container: String,
    /// The adapter's name.
    pub adapter: String,
    /// What the adapter learned.
    pub probe: Probe,
    /// Targets of a lower wave are held first and released last.
    pub wave: u8,
    /// Indices into `Plan::claims` that hold this database's directories.
    pub claims: Vec<usize>,
    /// The release that it is a pod of; empty where it is of none.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub release: String,
    /// Where its admin port is; of what is held by commands in its container, nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<Endpoint>,
}

impl Target {
    /// What a Lease is taken on: its pod, or its release, whose pods come and go under other names.
    pub fn leased(&self) -> String {
        leased(&self.pod, &self.release)
    }

    /// `NAMESPACE/POD/CONTAINER`.
    pub fn path(&self) -> String {
        format!("{}/{}/{}", self.namespace, self.pod, self.container)
    }
}

/// Whether a Lease of this name of what it is taken on is a release's.
pub fn is_release(leased: &str) -> bool {
    leased.starts_with(RELEASE)
}

/// What a Lease of this name is taken on, as it is told: `pod/postgres-0`, `release/shop`.
pub fn leased_object(leased: &str) -> String {
    leased.strip_prefix(RELEASE).map_or_else(|| format!("pod/{leased}"), |release| format!("release/{release}"))
}

/// What the names begin with under which releases are leased. A pod may be called so too: then more is refused.
const RELEASE: &str = "release-";

/// What a Lease is taken on of a pod, which is of this release or, with an empty name, of none.
pub fn leased(pod: &str, release: &str) -> String {
    if release.is_empty() { pod.to_owned() } else { format!("{RELEASE}{release}") }
}

/// One claim that is cut.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Claim {
    /// The namespace.
    pub namespace: String,
    /// The claim's name.
    pub name: String,
    /// Its uid.
    pub uid: String,
    /// The volume it is bound to.
    pub volume: String,
    /// The storage class.
    pub storage_class: Option<String>,
    /// What it asked for, as a Quantity.
    pub request: String,
    /// Access modes.
    pub access_modes: Vec<String>,
    /// `Filesystem` or `Block`.
    pub volume_mode: String,
    /// Its labels, which a restored claim carries too (a StatefulSet's controller expects nothing less).
    pub labels: std::collections::BTreeMap<String, String>,
    /// The CSI driver.
    pub driver: String,
    /// The VolumeSnapshotClass.
    pub class: String,
    /// That class's deletionPolicy, `Delete` or `Retain`.
    pub deletion_policy: String,
    /// Where its copy lies.
    #[serde(default)]
    pub location: Location,
    /// The pods that mount it.
    pub pods: Vec<String>,
}

/// A workload that owns selected pods.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Workload {
    /// The namespace.
    pub namespace: String,
    /// `StatefulSet`, `Deployment`, `DaemonSet`, `ReplicaSet` or `Pod`.
    pub kind: String,
    /// The name.
    pub name: String,
    /// Its uid.
    pub uid: String,
    /// Its replicas at the time.
    pub replicas: i32,
    /// Its pods' label selector.
    pub labels: String,
    /// The object that owns it, `Kind/name`, when it is not a built-in one: an operator.
    pub owner: Option<String>,
}

impl Workload {
    /// Whether a pod of this name is one of the workload's: controllers make the names.
    pub fn owns(&self, pod: &str) -> bool {
        let Some(rest) = pod.strip_prefix(&self.name) else { return false };
        let parts: Vec<&str> = rest.split('-').collect();
        match (self.kind.as_str(), parts.as_slice()) {
            ("Pod", [""]) => true,
            ("StatefulSet", ["", ordinal]) => ordinal.parse::<u32>().is_ok(),
            ("ReplicaSet" | "DaemonSet", ["", random]) => !random.is_empty(),
            ("Deployment", ["", hash, random]) => !hash.is_empty() && !random.is_empty(),
            _ => false,
        }
    }
}

/// What may be done with cluster-scoped VolumeSnapshotContents.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ContentAccess {
    /// get, list, watch: the cut is proved on the content.
    pub read: bool,
    /// patch: the backup is kept (Retain) and survives its namespace.
    pub change: bool,
}

/// Durations as whole milliseconds.
pub(crate) mod millis {
    use serde::{Deserialize, Deserializer, Serializer};
    use std::time::Duration;

    #[allow(clippy::missing_errors_doc)]
    pub(crate) fn serialize<S: Serializer>(d: &Duration, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_u64(u64::try_from(d.as_millis()).unwrap_or(u64::MAX))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Duration, D::Error> {
        Ok(Duration::from_millis(u64::deserialize(d)?))
    }
}
