//! A second VolumeSnapshot and content of a stored copy: a claim can be made from it where the backup's own VolumeSnapshot
//! is gone, or is in another namespace.

use serde::{Deserialize, Serialize};

use super::copy::MODE_CHANGE;
use crate::cluster::snapshots::VolumeSnapshotContent;
use crate::names::fnv;
use crate::plan::Claim;

/// What to make. Its deletionPolicy is always Retain: with Delete the stored copy would go with it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Alias {
    /// The backup.
    pub run: String,
    /// The claim that was backed up.
    pub claim: String,
    /// Where the VolumeSnapshot is made.
    pub namespace: String,
    /// The VolumeSnapshot.
    pub snapshot: String,
    /// Its content.
    pub content: String,
    /// The CSI driver.
    pub driver: String,
    /// The storage's name of the copy.
    pub handle: String,
    /// The class, if the content names one.
    pub class: Option<String>,
    /// The volume mode of the source.
    pub mode: Option<String>,
    /// Whether a claim of another volume mode may be made from it.
    pub mode_change: bool,
    /// Whether a verification uses it: then it goes with that, and no restore waits for it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub verify: bool,
}

impl Alias {
    /// The alias of this claim's copy in a namespace, under names that a repeated request makes again.
    pub(super) fn new(run: &str, claim: &Claim, namespace: &str, of: &VolumeSnapshotContent, handle: &str) -> Self {
        let snapshot = format!("{run}-alias-{}", claim.name);
        let long = snapshot.len() > 253;
        let place = fnv(&format!("{namespace}/{}/{}", claim.namespace, claim.name));
        let annotations = of.metadata.annotations.as_ref();
        Self {
            run: run.to_owned(),
            claim: claim.name.clone(),
            namespace: namespace.to_owned(),
            snapshot: if long { format!("{run}-alias-{place:016x}") } else { snapshot },
            content: format!("consistent-backup-{run}-{place:016x}"),
            driver: of.spec.driver.clone(),
            handle: handle.to_owned(),
            class: of.spec.volume_snapshot_class_name.clone(),
            mode: of.spec.source_volume_mode.clone(),
            mode_change: annotations.and_then(|a| a.get(MODE_CHANGE)).is_some_and(|value| value == "true"),
            verify: false,
        }
    }

    /// The same for a verification, under names of its own: a restore may use the other at the same time.
    #[must_use]
    pub fn for_verification(self) -> Self {
        let place = self.content.rsplit('-').next().unwrap_or_default();
        Self {
            snapshot: format!("{}-verify-{place}", self.run),
            content: format!("consistent-backup-{}-verify-{place}", self.run),
            verify: true,
            ..self
        }
    }
}
