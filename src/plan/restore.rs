//! A backup and facts from the cluster become the plan of a restore, or every reason why not. Pure.
//!
//! The plan holds all that a later process needs to go on or back: replicas, retention policies, reclaim policies and
//! the manifests of the old claims, recorded before anything is touched.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use serde::{Deserialize, Serialize};

use super::{Selection, Target, millis};

pub mod access;
mod actors;
mod alias;
pub mod anew;
mod archive;
pub mod bare;
mod claims;
pub mod config_maps;
mod copies;
mod copy;
pub mod edits;
pub mod engine;
pub mod facts;
#[cfg(test)]
pub(crate) mod fixture;
mod fronts;
mod helper;
mod in_place;
pub mod only;
mod operators;
mod policies;
pub mod properties;
pub mod protected;
mod quota;
mod replicas;
mod source;
#[cfg(test)]
mod tests;
mod unarchived;
pub mod undo;
mod workloads;

pub use actors::GitOps;
pub(super) use actors::notes as actors_notes;
pub use alias::Alias;
pub use archive::FromArchive;
pub use copies::{Copies, CopyOf, Place, Suffix, is_copy, plan_copies};
pub use copy::{MODE_CHANGE, needs_alias};
pub use edits::Edit;
pub(super) use in_place::denied;
pub use in_place::{Force, Request, plan_in_place};
pub use source::Source;
pub use workloads::pod_of;
pub(super) use workloads::{BESIDE, stoppable};

/// The label on every claim that a restore made: the backup's id.
pub const RESTORED_FROM: &str = "consistent-backup/restored-from";
/// The label on every claim that a restore made in place, and the annotation on every bare pod: the restore's id. Only
/// such a one is ever deleted again.
pub const RESTORED_BY: &str = "consistent-backup/restored-by";
/// The annotation on every bare pod that a cold backup made again: its id. Another one than a restore's, which an undoing
/// long afterwards has to find.
pub const RESTARTED_BY: &str = "consistent-backup/restarted-by";

/// Everything a restore in place decided before it touched anything. Stored in its journal.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RestorePlan {
    /// The restore's own id.
    pub run: String,
    /// When it was made, by the API server's clock.
    pub created: Timestamp,
    /// Where the journal lies: the backup's namespace.
    pub namespace: String,
    /// What is restored.
    pub backup: Backup,
    /// How the pods were selected; all pod tables are made by the same.
    pub selections: Vec<Selection>,
    /// What is stopped and started.
    pub workloads: Vec<Workload>,
    /// What is set in the properties of releases while they are down.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub edits: Vec<Edit>,
    /// What is replaced.
    pub claims: Vec<Claim>,
    /// What claims are made from whose VolumeSnapshot is gone.
    #[serde(default)]
    pub aliases: Vec<Alias>,
    /// The pods that are leased, as `NAMESPACE/POD`: those of the backup and those that are there now.
    pub pods: Vec<String>,
    /// The databases that must have recovered.
    pub targets: Vec<Restored>,
    /// The one of them that goes on from its archive first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub archive: Option<Box<FromArchive>>,
    /// Another version of the engine counts as recovered too: the user forced it.
    #[serde(default)]
    pub any_version: bool,
    /// How long starting and recovering may take.
    #[serde(with = "millis")]
    pub wait: Duration,
    /// Remarks, one line each.
    pub notes: Vec<String>,
    /// What is left to do by hand once it is restored, one line each.
    #[serde(default)]
    pub afterwards: Vec<String>,
}

/// The backup, as far as a reader of the restore has to know it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Backup {
    /// Its id.
    pub run: String,
    /// `ApplicationConsistent` or `CrashConsistent`.
    pub outcome: String,
    /// The instant of its data.
    pub instant: Timestamp,
}

/// A workload that is stopped and started.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Workload {
    /// The namespace.
    pub namespace: String,
    /// `StatefulSet`, `Deployment`, `ReplicaSet` or `Pod`.
    pub kind: String,
    /// The name.
    pub name: String,
    /// Its uid: another one of the same name is never scaled or deleted.
    pub uid: String,
    /// Its pods' label selector.
    pub labels: String,
    /// Its replicas before the stop: what it is brought back to if the restore fails.
    pub replicas: i32,
    /// Its replicas after the restore: the same, or the backup's when it was stopped already.
    pub start: i32,
    /// Its pods that were ready before the stop: what coming back means for it.
    pub ready: i32,
    /// A StatefulSet's `persistentVolumeClaimRetentionPolicy`, if that deletes anything.
    pub retention: Option<Retention>,
    /// The longest time its pods may take to end.
    #[serde(with = "millis")]
    pub grace: Duration,
    /// What to create to have a pod again that nothing controls: stopped, it is gone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod: Option<Box<Pod>>,
    /// What manages it, `KIND.GROUP/NAME`, where the user forced the restore all the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    /// Whether it stands in front of the databases: stopped before them, and started when they serve.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub front: bool,
}

/// `persistentVolumeClaimRetentionPolicy`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Retention {
    /// `Retain` or `Delete`.
    pub when_deleted: String,
    /// `Retain` or `Delete`.
    pub when_scaled: String,
}

/// A claim that is replaced.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Claim {
    /// The namespace.
    pub namespace: String,
    /// The name, which the new one has too.
    pub name: String,
    /// The claim that is there now; absent when it was lost.
    pub old: Option<Old>,
    /// The claim to create, complete.
    pub new: PersistentVolumeClaim,
    /// What the new one asks for, as a Quantity.
    pub size: String,
    /// The VolumeSnapshot; empty for a claim that starts empty.
    pub snapshot: String,
    /// Its content.
    pub content: String,
    /// Whether it starts empty: a read replica's, which copies its restored primary.
    #[serde(default)]
    pub empty: bool,
}

/// A claim as it was before the restore, and its volume.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Old {
    /// The claim's uid: only this one is deleted.
    pub uid: String,
    /// What to create to bring it back, complete.
    pub claim: PersistentVolumeClaim,
    /// The volume with the old data; absent when it was never bound.
    pub volume: Option<Volume>,
}

/// An old volume.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Volume {
    /// The PersistentVolume.
    pub name: String,
    /// Its uid.
    pub uid: String,
    /// Its reclaim policy before the restore: what `delete` puts back.
    pub reclaim_policy: String,
}

/// A database that must have recovered before the restore counts as done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Restored {
    /// The target of the backup: its pod is another one now, its container, adapter and probe are the same.
    pub target: Target,
    /// Index of its workload.
    pub workload: usize,
    /// Whether it has to be a read replica again, instead of what was backed up.
    #[serde(default)]
    pub replica: bool,
}

impl Workload {
    /// `statefulset/postgres`, as kubectl names it.
    pub fn path(&self) -> String {
        format!("{}/{}", self.kind.to_lowercase(), self.name)
    }
}

impl Claim {
    /// `persistentvolumeclaim/data`, as kubectl names it.
    pub fn path(&self) -> String {
        format!("persistentvolumeclaim/{}", self.name)
    }

    /// The volume with the old data.
    pub fn old_volume(&self) -> Option<&Volume> {
        self.old.as_ref()?.volume.as_ref()
    }
}

impl RestorePlan {
    /// The pods that are leased, by namespace and name.
    pub fn leased(&self) -> Vec<(String, String)> {
        self.pods.iter().filter_map(|p| p.split_once('/')).map(|(n, p)| (n.to_owned(), p.to_owned())).collect()
    }

    /// The workloads with the databases.
    pub fn databases(&self) -> impl Iterator<Item = &Workload> {
        self.workloads.iter().filter(|of| !of.front)
    }

    /// Those in front of them.
    pub fn fronts(&self) -> impl Iterator<Item = &Workload> {
        self.workloads.iter().filter(|of| of.front)
    }

    /// The old volumes, which nothing may lose.
    pub fn old_volumes(&self) -> impl Iterator<Item = &Volume> {
        self.claims.iter().filter_map(Claim::old_volume)
    }
}
