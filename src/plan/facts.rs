//! What discovery collected: objects as the API server gave them, and what it already found wrong.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim, Pod};

use super::release::{APP, INSTANCE};
use super::{ContentAccess, Database, Endpoint, Location, Release, Selection, Workload};
use crate::error::Refusal;
use crate::quiescer::{Probe, Reason};

/// Everything the planner judges by. Nothing else is asked later.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    /// How the pods were selected, one entry for each object.
    pub selections: Vec<Selection>,
    /// The selected pods, each once, sorted by namespace and name.
    pub pods: Vec<Pod>,
    /// The other pods of the same namespaces: who else uses a claim.
    pub others: Vec<Pod>,
    /// The workloads that own selected pods.
    pub workloads: Vec<Workload>,
    /// Claims that selected pods name, by namespace and name; one that is missing does not exist.
    pub claims: BTreeMap<(String, String), PersistentVolumeClaim>,
    /// The volumes of these claims by name; nothing when they may not be read.
    pub volumes: Option<BTreeMap<String, PersistentVolume>>,
    /// The snapshot classes; nothing when they could not be read.
    pub classes: Option<Vec<SnapshotClass>>,
    /// What may be done with VolumeSnapshotContents.
    pub contents: ContentAccess,
    /// Whether those of a class with deletionPolicy Retain may not be deleted.
    pub contents_stay: bool,
    /// The releases of the selected pods, each with the admin port of its pods.
    pub releases: Vec<(Release, Endpoint)>,
    /// The databases behind them, as far as their properties tell.
    pub databases: Vec<Database>,
    /// Whether commands may be run in the pods; otherwise probing them would repeat one refusal for each.
    pub exec: bool,
    /// What is already known to stand in the way.
    pub refusals: Vec<Refusal>,
    /// Remarks for the plan.
    pub notes: Vec<String>,
}

impl Facts {
    /// The release that a pod belongs to, with its admin port.
    pub(super) fn release_of(&self, pod: &Pod) -> Option<&(Release, Endpoint)> {
        let label = |key: &str| pod.metadata.labels.as_ref()?.get(key).map(String::as_str);
        self.releases.iter().find(|(release, _)| {
            release.namespace == namespace(pod)
                && label(INSTANCE) == Some(&release.name)
                && label(APP) == Some(release.product.app())
        })
    }
}

/// A VolumeSnapshotClass, as far as it decides something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnapshotClass {
    /// Its name.
    pub name: String,
    /// Its driver.
    pub driver: String,
    /// `Delete` or `Retain`.
    pub deletion_policy: String,
    /// Whether it is marked as its driver's default.
    pub default: bool,
    /// Where its copies lie.
    pub location: Location,
}

/// What came of asking a database: its probe, or every reason why it cannot be held. No reason at all means that it
/// was not asked, because something else already stands in the way.
pub type Probed = Result<Probe, Vec<Reason>>;

/// The claims that a pod names, as volume and claim, mounted or not. A generic ephemeral volume is none of them: its
/// claim is deleted with the pod, so there is nothing that a backup could be restored to.
pub fn claims_of(pod: &Pod) -> Vec<(&str, &str)> {
    let volumes = pod.spec.iter().flat_map(|s| s.volumes.iter().flatten());
    volumes
        .filter_map(|volume| {
            let source = volume.persistent_volume_claim.as_ref()?;
            Some((volume.name.as_str(), source.claim_name.as_str()))
        })
        .collect()
}

pub(super) fn namespace(pod: &Pod) -> &str {
    pod.metadata.namespace.as_deref().unwrap_or_default()
}

pub(super) fn name(pod: &Pod) -> &str {
    pod.metadata.name.as_deref().unwrap_or_default()
}

/// `pod/NAME`.
pub(super) fn object(pod: &Pod) -> String {
    format!("pod/{}", name(pod))
}

pub(super) fn annotation<'a>(pod: &'a Pod, key: &str) -> Option<&'a str> {
    pod.metadata.annotations.as_ref()?.get(key).map(String::as_str)
}
