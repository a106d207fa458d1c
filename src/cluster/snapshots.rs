//! `snapshot.storage.k8s.io/v1`, as far as this program reads and writes it.
//!
//! Written by hand because the published types follow an older kube. Unknown fields are ignored on reading, so
//! objects are only created, patched and deleted, never replaced.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use kube::CustomResource;
use serde::{Deserialize, Serialize};

/// A request for a snapshot of one claim.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "snapshot.storage.k8s.io",
    version = "v1",
    kind = "VolumeSnapshot",
    namespaced,
    status = "VolumeSnapshotStatus",
    schema = "disabled"
)]
#[serde(rename_all = "camelCase")]
pub struct VolumeSnapshotSpec {
    /// What is cut.
    pub source: VolumeSnapshotSource,
    /// The class; absent = the driver's default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub volume_snapshot_class_name: Option<String>,
}

/// Exactly one of the two.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct VolumeSnapshotSource {
    /// A claim in the same namespace.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub persistent_volume_claim_name: Option<String>,
    /// An existing content.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub volume_snapshot_content_name: Option<String>,
}

/// What the snapshot-controller copies from the content, later and throttled.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct VolumeSnapshotStatus {
    /// The content's name.
    pub bound_volume_snapshot_content_name: Option<String>,
    /// When it was cut, in whole seconds.
    pub creation_time: Option<Time>,
    /// Whether it can be restored from.
    pub ready_to_use: Option<bool>,
    /// The smallest claim that can take it, as a Quantity.
    pub restore_size: Option<String>,
    /// The last error; cleared when a retry succeeds.
    pub error: Option<SnapshotError>,
}

/// An error that stands on a snapshot or a content.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SnapshotError {
    /// When.
    pub time: Option<Time>,
    /// What.
    pub message: Option<String>,
}

/// The storage's side of a snapshot; cluster-scoped.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "snapshot.storage.k8s.io",
    version = "v1",
    kind = "VolumeSnapshotContent",
    status = "VolumeSnapshotContentStatus",
    schema = "disabled"
)]
#[serde(rename_all = "camelCase")]
pub struct VolumeSnapshotContentSpec {
    /// The snapshot it is bound to; the uid is what binds.
    #[serde(default)]
    pub volume_snapshot_ref: SnapshotRef,
    /// `Delete` or `Retain`.
    #[serde(default)]
    pub deletion_policy: String,
    /// The CSI driver.
    #[serde(default)]
    pub driver: String,
    /// The class.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub volume_snapshot_class_name: Option<String>,
    /// Where it came from.
    #[serde(default)]
    pub source: ContentSource,
    /// `Filesystem` or `Block`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source_volume_mode: Option<String>,
}

/// A reference to a VolumeSnapshot.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SnapshotRef {
    /// The name.
    pub name: Option<String>,
    /// The namespace.
    pub namespace: Option<String>,
    /// The uid.
    pub uid: Option<String>,
}

/// Exactly one of the two.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ContentSource {
    /// The volume that is cut.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub volume_handle: Option<String>,
    /// An existing copy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub snapshot_handle: Option<String>,
}

/// What the driver's sidecar writes once CreateSnapshot has answered: the proof of a cut.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct VolumeSnapshotContentStatus {
    /// The storage's name of the copy.
    pub snapshot_handle: Option<String>,
    /// When it was cut, in nanoseconds since 1970, by the driver's clock.
    pub creation_time: Option<i64>,
    /// The smallest volume that can take it, in bytes.
    pub restore_size: Option<i64>,
    /// Whether it can be restored from.
    pub ready_to_use: Option<bool>,
    /// The last error; cleared when a retry succeeds.
    pub error: Option<SnapshotError>,
}

/// How snapshots are taken; cluster-scoped, without a spec.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct VolumeSnapshotClass {
    /// Name and annotations.
    #[serde(default)]
    pub metadata: ObjectMeta,
    /// The CSI driver.
    pub driver: String,
    /// `Delete` or `Retain`.
    pub deletion_policy: String,
    /// The driver's own parameters.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub parameters: BTreeMap<String, String>,
}

/// The annotation that makes a class the default of its driver.
pub const DEFAULT_CLASS: &str = "snapshot.storage.kubernetes.io/is-default-class";

impl VolumeSnapshotClass {
    /// Whether it is marked as its driver's default.
    pub fn is_default(&self) -> bool {
        self.metadata.annotations.as_ref().and_then(|a| a.get(DEFAULT_CLASS)).is_some_and(|v| v == "true")
    }
}

impl kube::Resource for VolumeSnapshotClass {
    type DynamicType = ();
    type Scope = k8s_openapi::ClusterResourceScope;

    fn kind((): &()) -> std::borrow::Cow<'_, str> {
        "VolumeSnapshotClass".into()
    }
    fn group((): &()) -> std::borrow::Cow<'_, str> {
        "snapshot.storage.k8s.io".into()
    }
    fn version((): &()) -> std::borrow::Cow<'_, str> {
        "v1".into()
    }
    fn plural((): &()) -> std::borrow::Cow<'_, str> {
        "volumesnapshotclasses".into()
    }
    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }
    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}
