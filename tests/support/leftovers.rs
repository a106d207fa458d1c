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
    let mut unnamed = Vec::new();
    for snapshot in names(&scene.kubectl.list(&["volumesnapshots"])) {
        if !snapshots.contains(&snapshot) {
            unnamed.push(format!("volumesnapshot/{snapshot}"));
        }
    }
    for content in scene.kubectl.list(&["volumesnapshotcontents"]) {
        let ours = content["spec"]["volumeSnapshotRef"]["namespace"] == *scene.namespace();
        if ours && !contents.contains(name(&content)) {
            unnamed.push(format!("volumesnapshotcontent/{}", name(&content)));
        }
    }
    let volumes = volumes(scene);
    for (handle, volume) in cluster::stored_snapshots() {
        if volumes.contains(&volume) && !handles.contains(&handle) {
            unnamed.push(format!("stored snapshot {handle} of volume {volume}"));
        }
    }
    unnamed.extend(leases(scene));
    unnamed
}

/// The Leases of the namespace that somebody holds, or that are there at all.
pub fn leases(scene: &Scene) -> Vec<String> {
    names(&scene.kubectl.list(&["leases"])).into_iter().map(|lease| format!("lease/{lease}")).collect()
}

/// The storage's names of the namespace's volumes.
fn volumes(scene: &Scene) -> BTreeSet<String> {
    let all = scene.kubectl.list(&["persistentvolumes"]);
    let ours = all.iter().filter(|volume| volume["spec"]["claimRef"]["namespace"] == *scene.namespace());
    ours.map(|volume| text(volume, "/spec/csi/volumeHandle").to_owned()).collect()
}

/// Everything in the namespace and of it that a run could have touched: kind, name, uid and version.
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
    objects.iter().map(line).collect()
}
