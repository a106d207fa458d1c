//! The claims that are created: the new one from the snapshot, and the old one for the way back.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{
    PersistentVolumeClaim, PersistentVolumeClaimSpec, TypedLocalObjectReference, VolumeResourceRequirements,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::{RESTORED_BY, RESTORED_FROM};
use crate::plan::Claim;

/// Written by controllers about one binding: on a new claim each of them would be a lie.
const OF_THE_BINDING: &[&str] =
    &["pv.kubernetes.io/", "volume.kubernetes.io/", "volume.beta.kubernetes.io/", "control-plane.alpha.kubernetes.io/"];
/// Written by this program about one run.
const OURS: &str = "consistent-backup/";

/// What a new claim is made of.
pub(super) struct Make<'a> {
    /// The restore's id, for a claim in place.
    pub(super) run: Option<&'a str>,
    /// The backup's id.
    pub(super) backup: &'a str,
    /// The VolumeSnapshot.
    pub(super) snapshot: &'a str,
    /// What it asks for.
    pub(super) size: &'a str,
}

/// The claim from the snapshot, with the spec of the claim that is there now, or of the backed-up one.
pub(super) fn from_snapshot(of: &Claim, now: Option<&PersistentVolumeClaim>, make: &Make) -> PersistentVolumeClaim {
    let mut labels = now.map_or_else(|| of.labels.clone(), |now| now.metadata.labels.clone().unwrap_or_default());
    labels.retain(|key, _| !key.starts_with(OURS));
    labels.insert(RESTORED_FROM.to_owned(), make.backup.to_owned());
    if let Some(run) = make.run {
        labels.insert(RESTORED_BY.to_owned(), run.to_owned());
    }
    let spec = now.and_then(|now| now.spec.clone());
    let modes = spec.as_ref().and_then(|s| s.access_modes.clone()).unwrap_or_else(|| of.access_modes.clone());
    let class = spec.as_ref().and_then(|s| s.storage_class_name.clone()).or_else(|| of.storage_class.clone());
    let mode = spec.as_ref().and_then(|s| s.volume_mode.clone()).unwrap_or_else(|| of.volume_mode.clone());
    PersistentVolumeClaim {
        metadata: ObjectMeta {
            name: Some(of.name.clone()),
            namespace: Some(of.namespace.clone()),
            labels: Some(labels),
            annotations: now.map(|now| annotations(&now.metadata)).filter(|a| !a.is_empty()),
            ..ObjectMeta::default()
        },
        spec: Some(PersistentVolumeClaimSpec {
            access_modes: Some(modes),
            storage_class_name: class,
            volume_mode: Some(mode),
            volume_attributes_class_name: spec.and_then(|s| s.volume_attributes_class_name),
            data_source: Some(TypedLocalObjectReference {
                api_group: Some("snapshot.storage.k8s.io".into()),
                kind: "VolumeSnapshot".into(),
                name: make.snapshot.to_owned(),
            }),
            resources: Some(VolumeResourceRequirements {
                requests: Some(BTreeMap::from([("storage".to_owned(), Quantity(make.size.to_owned()))])),
                ..VolumeResourceRequirements::default()
            }),
            ..PersistentVolumeClaimSpec::default()
        }),
        status: None,
    }
}

/// The same claim with nothing on it.
pub(super) fn empty(now: &PersistentVolumeClaim, backup: &str, run: &str) -> PersistentVolumeClaim {
    let mut labels = now.metadata.labels.clone().unwrap_or_default();
    labels.retain(|key, _| !key.starts_with(OURS));
    labels.insert(RESTORED_FROM.to_owned(), backup.to_owned());
    labels.insert(RESTORED_BY.to_owned(), run.to_owned());
    let spec = now.spec.clone().unwrap_or_default();
    let requests = spec.resources.and_then(|r| r.requests);
    PersistentVolumeClaim {
        metadata: ObjectMeta {
            name: now.metadata.name.clone(),
            namespace: now.metadata.namespace.clone(),
            labels: Some(labels),
            annotations: Some(annotations(&now.metadata)).filter(|a| !a.is_empty()),
            ..ObjectMeta::default()
        },
        // Neither volume nor source: an earlier restore may have made it from a snapshot.
        spec: Some(PersistentVolumeClaimSpec {
            access_modes: spec.access_modes,
            storage_class_name: spec.storage_class_name,
            volume_mode: spec.volume_mode,
            volume_attributes_class_name: spec.volume_attributes_class_name,
            resources: Some(VolumeResourceRequirements { requests, ..VolumeResourceRequirements::default() }),
            ..PersistentVolumeClaimSpec::default()
        }),
        status: None,
    }
}

/// What to create to bring the old claim back: the same, with the volume named, so that nothing is provisioned.
pub(super) fn bring_back(now: &PersistentVolumeClaim, volume: Option<&str>) -> PersistentVolumeClaim {
    let spec = now.spec.clone().map(|mut spec| {
        spec.volume_name = volume.map(str::to_owned);
        spec
    });
    PersistentVolumeClaim {
        metadata: ObjectMeta {
            name: now.metadata.name.clone(),
            namespace: now.metadata.namespace.clone(),
            labels: now.metadata.labels.clone(),
            annotations: Some(annotations(&now.metadata)).filter(|a| !a.is_empty()),
            ..ObjectMeta::default()
        },
        spec,
        status: None,
    }
}

fn annotations(meta: &ObjectMeta) -> BTreeMap<String, String> {
    let mut all = meta.annotations.clone().unwrap_or_default();
    all.retain(|key, _| !OF_THE_BINDING.iter().any(|prefix| key.starts_with(prefix)));
    all
}

/// What a claim asks for, as a Quantity.
pub(super) fn request(claim: &PersistentVolumeClaim) -> Option<&str> {
    let requests = claim.spec.as_ref()?.resources.as_ref()?.requests.as_ref()?;
    requests.get("storage").map(|q| q.0.as_str())
}
