//! A cluster that lacks a part: each is noticed before anything is touched. The test has the cluster to itself, and puts
//! back what it takes away.

use serde_json::{Value, json};

use crate::support::backup::part;
use crate::support::cluster::{self, Down};
use crate::support::database::{Database, Kind};
use crate::support::kubectl::{Kubectl, name};
use crate::support::leftovers::state;
use crate::support::scene::Scene;
use crate::support::wait::{seconds, until};

const GROUP: &str = "snapshot.storage.k8s.io";

/// What breaks the cluster for all: `tests/run` gives these tests a cluster of their own.
mod alone {
    use super::{
        Database, Kind, Scene, no_snapshot_class_and_two_default_ones, no_snapshot_controller, no_snapshot_crds, part,
    };

    #[test]
    fn a_missing_part_of_the_cluster_is_noticed_before_anything_is_touched() {
        let scene = Scene::alone("parts", &[Database::new(Kind::Redis).idle().unprobed()]);
        part("no snapshot class, and two default ones", || no_snapshot_class_and_two_default_ones(&scene));
        part("no snapshot-controller", || no_snapshot_controller(&scene));
        part("no snapshot CRDs", || no_snapshot_crds(&scene));
    }
}

/// Backs up, and fails unless that is refused with these words and nothing was touched.
#[track_caller]
fn refused(scene: &Scene, words: &[&str]) {
    let before = state(scene);
    let ended = scene.backup(&[]).run().exits(5).says(words);
    assert_eq!(state(scene), before, "refused, but something was touched\n{ended}");
}

/// Controllers notice a moment later that the part is there again.
fn until_backed_up(scene: &Scene) {
    until("a backup once the part is back", seconds(120), || {
        let ended = scene.backup(&[]).run();
        if ended.code() == Some(0) { Ok(()) } else { Err(ended) }
    });
}

/// Objects as they were, put back at the end.
struct Put(Kubectl, Vec<Value>);

impl Put {
    /// Remembers them, without what the server adds.
    fn back(kubectl: &Kubectl, mut objects: Vec<Value>) -> Self {
        for object in &mut objects {
            let meta = object["metadata"].as_object_mut().unwrap();
            for field in ["uid", "resourceVersion", "creationTimestamp", "generation", "managedFields"] {
                meta.remove(field);
            }
        }
        Self(kubectl.clone(), objects)
    }
}

impl Drop for Put {
    fn drop(&mut self) {
        self.0.apply(&self.1);
    }
}

fn no_snapshot_class_and_two_default_ones(scene: &Scene) {
    let all = scene.kubectl.list(&["volumesnapshotclasses"]);
    let second = json!({"apiVersion": format!("{GROUP}/v1"), "kind": "VolumeSnapshotClass",
        "metadata": {"name": format!("{}-second", scene.namespace()), "labels": {"test": scene.namespace()},
            "annotations": {"snapshot.storage.kubernetes.io/is-default-class": "true"}},
        "driver": all[0]["driver"], "deletionPolicy": "Delete"});
    scene.kubectl.apply(std::slice::from_ref(&second));
    refused(scene, &["default", name(&second), "persistentvolumeclaim/data-redis-0"]);
    scene.backup(&["--snapshot-class", "test"]).run().done();
    scene.backup(&["--snapshot-class", "nosuch"]).run().exits(5).says(&["volumesnapshotclass/nosuch"]);
    scene.kubectl.ok(&["delete", "volumesnapshotclass", name(&second)]);

    let put = Put::back(&scene.kubectl, all);
    scene.kubectl.ok(&["delete", "volumesnapshotclasses", "--all"]);
    refused(scene, &["VolumeSnapshotClass", "persistentvolumeclaim/data-redis-0"]);
    drop(put);
    until_backed_up(scene);
}

fn no_snapshot_controller(scene: &Scene) {
    let before = scene.kubectl.list(&["volumesnapshots"]).len();
    let down = Down::take("snapshot-controller");
    refused(scene, &["snapshot-controller"]);
    assert_eq!(scene.kubectl.list(&["volumesnapshots"]).len(), before, "what was tried is still there");
    drop(down);
    until_backed_up(scene);
}

/// Snapshot CRDs that are not served: as good as not installed, and what is stored in them is not lost.
struct Unserved(Kubectl);

impl Unserved {
    const CRDS: [&str; 3] = ["volumesnapshots", "volumesnapshotcontents", "volumesnapshotclasses"];

    fn set(kubectl: &Kubectl, served: bool) {
        for crd in Self::CRDS {
            let object = format!("crd/{crd}.{GROUP}");
            let versions = kubectl.get(&object)["spec"]["versions"].as_array().unwrap().clone();
            // The only one that is stored is v1; older ones are not served to begin with.
            let at = versions.iter().position(|version| version["name"] == "v1").unwrap();
            let path = format!("/spec/versions/{at}/served");
            let patch = json!([{"op": "replace", "path": path, "value": served}]).to_string();
            kubectl.ok(&["patch", &object, "--type=json", "-p", &patch]);
        }
    }

    /// Each CRD is taken out of service by itself: the group may be gone while one of its resources still answers.
    fn until_served(kubectl: &Kubectl, served: bool) {
        until(&format!("{GROUP}/v1 served: {served}"), seconds(60), || {
            let paths = Self::CRDS.map(|crd| format!("/{crd}")).into_iter().chain([String::new()]);
            let answers = |path: &String| {
                kubectl.run(&["get", "--raw", &format!("/apis/{GROUP}/v1{path}")]).status.success() != served
            };
            let wrong: Vec<String> = paths.filter(answers).collect();
            if wrong.is_empty() { Ok(()) } else { Err(format!("not yet: {wrong:?}")) }
        });
    }

    fn take(kubectl: &Kubectl) -> Self {
        let unserved = Self(kubectl.clone());
        Self::set(kubectl, false);
        Self::until_served(kubectl, false);
        unserved
    }
}

impl Drop for Unserved {
    fn drop(&mut self) {
        Self::set(&self.0, true);
        Self::until_served(&self.0, true);
        // They would come back by themselves, after a long back-off.
        for component in ["snapshot-controller", "snapshotter"] {
            cluster::restart(component);
        }
    }
}

fn no_snapshot_crds(scene: &Scene) {
    let unserved = Unserved::take(&scene.kubectl);
    refused(scene, &[GROUP]);
    drop(unserved);
    until_backed_up(scene);
}
