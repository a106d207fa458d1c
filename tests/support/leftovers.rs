//! What a run has left behind, in the namespace, beside it and in the storage itself.

use std::collections::BTreeSet;

use serde_json::Value;

use super::cluster;
use super::kubectl::{name, names};
use super::plugin::{list, text};
use super::scene::Scene;

/// Records of the backups of a namespace, as `list` gives them.
#[track_caller]
pub fn records(scene: &Scene) -> Vec<Value> {
    let listed = scene.plugin(&["list", "-o", "json"]).run().done().json();
    assert_eq!(listed["kind"], "BackupList");
    list(&listed, "/items").to_vec()
}

/// The backups among them.
#[track_caller]
pub fn backups(scene: &Scene) -> Vec<Value> {
    records(scene).into_iter().filter(|record| record["kind"] == "Backup").collect()
}

/// Everything that is there and that no backup which succeeded names, one line each.
#[track_caller]
pub fn unnamed(scene: &Scene) -> Vec<String> {
    let mut snapshots = BTreeSet::new();
    let mut contents = BTreeSet::new();
    let mut handles = BTreeSet::new();
    for record in backups(scene) {
        if ["ApplicationConsistent", "CrashConsistent"].contains(&text(&record, "/status/outcome")) {
            for claim in list(&record, "/status/claims") {
                snapshots.insert(text(claim, "/volumeSnapshot").to_owned());
                contents.insert(text(claim, "/content").to_owned());
                handles.insert(text(claim, "/handle").to_owned());
            }
        }
    }
    let objects = scene.kubectl.list(&["volumesnapshots,volumesnapshotcontents,persistentvolumes,leases"]);
    let ours = |object: &Value, reference: &str| object["spec"][reference]["namespace"] == *scene.namespace();
    let mut unnamed = Vec::new();
    let mut volumes = BTreeSet::new();
    for object in &objects {
        let name = name(object);
        match object["kind"].as_str().unwrap() {
            "VolumeSnapshot" if !snapshots.contains(name) => unnamed.push(format!("volumesnapshot/{name}")),
            "VolumeSnapshotContent" if ours(object, "volumeSnapshotRef") && !contents.contains(name) => {
                unnamed.push(format!("volumesnapshotcontent/{name}"));
            }
            "PersistentVolume" if ours(object, "claimRef") => {
                volumes.insert(text(object, "/spec/csi/volumeHandle").to_owned());
            }
            "Lease" => unnamed.push(format!("lease/{name}")),
            _ => {}
        }
    }
    for (handle, volume) in cluster::stored_snapshots() {
        if volumes.contains(&volume) && !handles.contains(&handle) {
            unnamed.push(format!("stored snapshot {handle} of volume {volume}"));
        }
    }
    unnamed
}

/// The Leases of the namespace that somebody holds, or that are there at all.
pub fn leases(scene: &Scene) -> Vec<String> {
    names(&scene.kubectl.list(&["leases"])).into_iter().map(|lease| format!("lease/{lease}")).collect()
}

/// The ConfigMap that a controller makes in every namespace, at any time after it was created.
const OF_THE_CLUSTER: &str = "kube-root-ca.crt";

/// Everything in the namespace and of it that a run could have touched: kind, name, uid and generation.
#[track_caller]
pub fn state(scene: &Scene) -> BTreeSet<String> {
    let kinds = "configmaps,secrets,leases,persistentvolumeclaims,statefulsets,deployments,serviceaccounts";
    let mut objects = scene.kubectl.list(&[kinds]);
    if scene.kubectl.run(&["get", "--raw", "/apis/snapshot.storage.k8s.io/v1"]).status.success() {
        objects.extend(scene.kubectl.list(&["volumesnapshots"]));
    }
    let line = |object: &Value| {
        let meta = &object["metadata"];
        // Not the version: controllers write the status of workloads at any time.
        format!("{} {} {} {}", object["kind"], name(object), meta["uid"], meta["generation"])
    };
    objects.iter().filter(|object| name(object) != OF_THE_CLUSTER).map(line).collect()
}
