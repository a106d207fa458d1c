//! Restores in place of every kind of workload, under load: Deployment, bare pod, primary with a replica; and every
//! reason why one cannot be, at once.

use serde_json::{Value, json};

use crate::support::acks::now;
use crate::support::backup::written;
use crate::support::database::{Database, Kind};
use crate::support::leftovers::{leases, records, state};
use crate::support::plugin::{list, outcome_is, run_of, text};
use crate::support::scene::Scene;
use crate::support::verdict::{Verdict, Window};
use crate::support::wait::{seconds, until, until_none};

const REDIS: Kind = Kind::Redis;

/// A claim of this name, of the cluster's default class or another.
fn claim(name: &str, class: Option<&str>) -> Value {
    let mut claim = json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": name},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "64Mi"}}}});
    if let Some(class) = class {
        claim["spec"]["storageClassName"] = json!(class);
    }
    claim
}

/// The StatefulSet's template as the spec of a pod on this claim.
fn on_claim(set: &Value, claim: &str) -> Value {
    let mut template = set["spec"]["template"].clone();
    template["spec"]["volumes"] = json!([{"name": "data", "persistentVolumeClaim": {"claimName": claim}}]);
    template
}

/// A Redis run in another way, with its writer: `change` makes the objects from the StatefulSet of the manifests.
fn scene(test: &str, change: impl Fn(&Value) -> Vec<Value>) -> Scene {
    let scene = Scene::new(test, &[]);
    let objects = Database::new(REDIS).every("20ms").objects(&scene.kubectl);
    let (sets, mut others): (Vec<Value>, Vec<Value>) = objects.into_iter().partition(|o| o["kind"] == "StatefulSet");
    others.extend(change(&sets[0]));
    scene.kubectl.apply(&others);
    scene.acks(REDIS).serves_after(now(), seconds(120));
    scene
}

/// The names of the pods that serve the writer.
fn pods(scene: &Scene) -> Vec<String> {
    let pods = scene.kubectl.list(&["pods", "-l", "app=redis"]);
    pods.iter().map(|pod| text(pod, "/metadata/name").to_owned()).collect()
}

fn redis(scene: &Scene, pod: &str, command: &[&str]) -> String {
    scene.kubectl.exec(pod, &[&["redis-cli", "--raw"], command].concat()).done().stdout.trim().to_owned()
}

/// A backup, and a mark in the database that is younger than it.
fn backed_up(scene: &Scene, objects: &[&str]) -> (String, Window) {
    written(&scene.acks(REDIS), "redis");
    let record = scene.plugin(&["quiesce-snapshot", "-o", "json"]).args(objects).run().done().json();
    outcome_is(&record, "ApplicationConsistent");
    redis(scene, &pods(scene)[0], &["SET", "younger", "yes"]);
    (run_of(&record), Window::of(&record))
}

/// Fails unless the database is that of the backup, up to what was written since it was `restored`, and serves.
#[track_caller]
fn is_restored(scene: &Scene, window: Window, restored: i128) {
    scene.acks(REDIS).serves_after(now(), seconds(60));
    let pod = &pods(scene)[0];
    assert_eq!(redis(scene, pod, &["GET", "younger"]), "", "written after the backup");
    let acks = scene.acks(REDIS).all();
    let verdict = Verdict::of(&acks, &scene.rows_in(REDIS, pod), window, Some(restored));
    verdict.is_right("what was restored");
}

/// Fails unless the old data is in use again, and serves.
#[track_caller]
fn is_old(scene: &Scene) {
    scene.acks(REDIS).serves_after(now(), seconds(60));
    assert_eq!(redis(scene, &pods(scene)[0], &["GET", "younger"]), "yes", "written before the restore");
}

fn restore(scene: &Scene, run: &str, more: &[&str]) -> Value {
    scene.plugin(&["restore-from-snapshot", run, "--yes", "-o", "json"]).args(more).run().done().json()
}

fn undo(scene: &Scene, run: &str) {
    let record = scene.plugin(&["restore-from-snapshot", "--undo", run, "--yes", "-o", "json"]).run().done().json();
    outcome_is(&record, "RestoredOldVolumes");
}

/// The restore that a killed process left.
fn last_restore(scene: &Scene) -> Value {
    records(scene).into_iter().rfind(|record| record["kind"] == "Restore").expect("a restore is listed")
}

/// Its pods have new names at every start. Then what was before is given up for good.
#[test]
fn a_deployment() {
    let scene = scene("deployment", |set| {
        let deployment = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": set["metadata"], "spec": {
            "replicas": 1, "strategy": {"type": "Recreate"}, "selector": set["spec"]["selector"],
            "template": on_claim(set, "store")}});
        vec![claim("store", None), deployment]
    });
    let (backup, window) = backed_up(&scene, &["deployment/redis"]);
    let began = now();
    let restored = restore(&scene, &backup, &[]);
    outcome_is(&restored, "Restored");
    is_restored(&scene, window, began);
    undo(&scene, &run_of(&restored));
    is_old(&scene);

    let old = scene.kubectl.value("pvc/store", "/spec/volumeName");
    let began = now();
    let restored = restore(&scene, &backup, &["--discard-old"]);
    assert_eq!(text(&restored, "/status/oldVolumes"), "discarded");
    is_restored(&scene, window, began);
    assert_eq!(scene.kubectl.value(&format!("pv/{old}"), "/metadata/name"), "", "the old volume is there still");
    let again = scene.plugin(&["restore-from-snapshot", "--undo", &run_of(&restored), "--yes"]).run().exits(5);
    again.says(&["--discard-old", "nothing to go back to"]);
    until_none("no lease", seconds(20), || leases(&scene));
}

/// Nothing would bring it back by itself: killed while the pod is gone, and taken back by another process.
#[test]
fn a_pod_that_nothing_controls() {
    let scene = scene("bare", |set| {
        let mut pod = on_claim(set, "store");
        pod["apiVersion"] = json!("v1");
        pod["kind"] = json!("Pod");
        pod["metadata"]["name"] = json!("redis");
        vec![claim("store", None), pod]
    });
    let (backup, window) = backed_up(&scene, &["pod/redis"]);
    let volume = scene.kubectl.value("pvc/store", "/spec/volumeName");
    // What would not be made again is not deleted.
    let before = scene.kubectl.value("pod/redis", "/metadata/uid");
    let policy = format!("namespace/{}", scene.namespace());
    scene.kubectl.ok(&["label", &policy, "pod-security.kubernetes.io/enforce=restricted"]);
    let refused = scene.plugin(&["restore-from-snapshot", &backup, "--yes"]).run().exits(5);
    refused.says(&["pod/redis", "could not be made again once it is deleted", "PodSecurity"]);
    scene.kubectl.ok(&["label", &policy, "pod-security.kubernetes.io/enforce-"]);
    assert_eq!(scene.kubectl.value("pod/redis", "/metadata/uid"), before);

    let killed =
        scene.plugin(&["restore-from-snapshot", &backup, "--yes"]).dies_at(if crate::times(0, 1) == 1 { 8 } else { 5 });
    let killed = killed.run();
    assert!(killed.was_killed(), "{killed}");
    assert_eq!(pods(&scene), Vec::<String>::new(), "the pod is gone, and only the record can bring it back");
    scene.plugin(&["thaw"]).run().done();
    outcome_is(&last_restore(&scene), "RestoredOldVolumes");
    assert_eq!(scene.kubectl.value("pvc/store", "/spec/volumeName"), volume);
    is_old(&scene);

    let began = now();
    let restored = restore(&scene, &backup, &[]);
    outcome_is(&restored, "Restored");
    is_restored(&scene, window, began);
    // A cold backup makes the pod once more; the restore's undoing finds it all the same.
    scene.plugin(&["quiesce-snapshot", "pod/redis", "--cold", "--quiesce-budget", "120s"]).run().done();
    undo(&scene, &run_of(&restored));
    is_old(&scene);
}

/// A primary and a read replica that copies it when it starts empty.
fn replicated(test: &str) -> Scene {
    scene(test, |set| {
        let mut set = set.clone();
        set["spec"]["replicas"] = json!(2);
        set["spec"]["persistentVolumeClaimRetentionPolicy"] = json!({"whenScaled": "Delete"});
        set["spec"]["template"]["spec"]["containers"][0]["args"] = json!([
            "bash",
            "-c",
            "set -- --appendonly yes; [ \"$HOSTNAME\" = redis-0 ] || set -- \"$@\" --replicaof \"$PRIMARY_SERVICE_HOST\" \
             6379 --masterauth \"$REDIS_PASSWORD\"; exec redis-entrypoint.sh \"$@\""
        ]);
        let of_primary = json!({"statefulset.kubernetes.io/pod-name": "redis-0"});
        let service = |name: &str| {
            json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": name},
                "spec": {"selector": of_primary, "ports": [{"port": 6379}]}})
        };
        // The writer's Service leads to the primary, too.
        vec![service("primary"), service("redis"), set]
    })
}

/// The primary comes back, and the replica copies it from nothing; killed on the way, and taken back.
#[test]
fn a_primary_and_its_replica() {
    let scene = replicated("replica");
    let follows = |what: &str| {
        until(what, seconds(90), || {
            let told = scene.kubectl.exec("redis-1", &["redis-cli", "INFO", "replication"]);
            let linked = told.stdout.contains("role:slave") && told.stdout.contains("master_link_status:up");
            if linked { Ok(()) } else { Err(format!("{}{}", told.stdout, told.stderr)) }
        });
    };
    follows("a replica");
    // It follows before its probe says that it is ready.
    scene.wait_ready(REDIS);
    scene.plugin(&["quiesce-snapshot", "pod/redis-1"]).run().exits(5).says(&["pod/redis-1", "is a replica"]);
    let (backup, window) = backed_up(&scene, &["statefulset/redis"]);
    let volumes =
        || ["data-redis-0", "data-redis-1"].map(|c| scene.kubectl.value(&format!("pvc/{c}"), "/spec/volumeName"));
    let before = volumes();

    let killed = scene.plugin(&["restore-from-snapshot", &backup, "--yes"]).dies_at(8).run();
    assert!(killed.was_killed(), "{killed}");
    scene.plugin(&["thaw"]).run().done();
    outcome_is(&last_restore(&scene), "RestoredOldVolumes");
    assert_eq!(volumes(), before);
    is_old(&scene);

    let began = now();
    let restored = restore(&scene, &backup, &[]);
    outcome_is(&restored, "Restored");
    let claims = list(&restored, "/status/claims");
    assert_eq!(claims.iter().map(|c| c["empty"] == true).collect::<Vec<_>>(), [false, true]);
    assert!(volumes().iter().zip(&before).all(|(new, old)| new != old));
    is_restored(&scene, window, began);
    follows("the replica to follow the restored primary");
    until("the replica to have what its primary has", seconds(30), || {
        let rows = |pod: &str| redis(&scene, pod, &["LRANGE", "writes", "0", "40"]);
        if rows("redis-0") == rows("redis-1") { Ok(()) } else { Err("it has other rows") }
    });
    assert_eq!(redis(&scene, "redis-1", &["GET", "younger"]), "");
    if crate::times(0, 1) == 1 {
        undo(&scene, &run_of(&restored));
        assert_eq!(volumes(), before);
        is_old(&scene);
    }
}

/// Everything that the provisioner, the quota or the next start would stumble over, all said in one call, and nothing is
/// touched.
#[test]
fn all_that_stands_in_the_way_of_a_restore() {
    let scene = Scene::new("no-restore", &[]);
    let class = format!("{}-class", scene.namespace());
    let class_by = |provisioner: &str| {
        let mut class_of = scene.kubectl.get("storageclass/test");
        class_of["metadata"] = json!({"name": class, "labels": {"test": scene.namespace()}});
        class_of["provisioner"] = json!(provisioner);
        class_of
    };
    let by = text(&scene.kubectl.get("storageclass/test"), "/provisioner").to_owned();
    scene.kubectl.apply(&[class_by(&by)]);
    let objects = Database::new(REDIS).idle().unprobed().objects(&scene.kubectl);
    let set = objects.iter().find(|o| o["kind"] == "StatefulSet").unwrap().clone();
    let bare = |name: &str| {
        let mut pod = on_claim(&set, name);
        pod["apiVersion"] = json!("v1");
        pod["kind"] = json!("Pod");
        pod["metadata"] = json!({"name": name, "labels": {"bare": "yes"}});
        pod
    };
    let mut all: Vec<Value> = objects.into_iter().filter(|o| o["kind"] == "Secret").collect();
    let names = ["gone", "shared", "moded", "lost", "classed"];
    for name in names {
        all.extend([claim(name, (name == "classed").then_some(class.as_str())), bare(name)]);
    }
    scene.kubectl.apply(&all);
    until("all databases", seconds(180), || {
        let ready = scene.kubectl.list(&["pods", "-l", "bare=yes"]);
        let ready = ready.iter().filter(|pod| pod["status"]["containerStatuses"][0]["ready"] == true).count();
        if ready == names.len() { Ok(()) } else { Err(format!("{ready} are ready")) }
    });
    let record = scene.plugin(&["quiesce-snapshot", "-l", "bare=yes", "-o", "json"]).run().done().json();
    let backup = run_of(&record);
    let of_gone = list(&record, "/status/claims").iter().find(|c| c["claim"] == "gone").unwrap();
    let (snapshot, content) = (text(of_gone, "/volumeSnapshot"), text(of_gone, "/content"));

    // The copy of one is gone; another's claim is used by a foreign pod; one is of another mode now; one is lost and does
    // not fit into the quota; the class of one is another driver's now.
    let delete = r#"{"spec":{"deletionPolicy":"Delete"}}"#;
    scene.kubectl.ok(&["patch", "volumesnapshotcontent", content, "--type=merge", "-p", delete]);
    scene.kubectl.ok(&["delete", "volumesnapshot", snapshot]);
    until("the copy to be gone", seconds(60), || {
        let found = scene.kubectl.run(&["get", "volumesnapshotcontent", content]);
        if found.status.success() { Err(found.stdout) } else { Ok(()) }
    });
    let mut dump = on_claim(&set, "shared");
    dump["apiVersion"] = json!("v1");
    dump["kind"] = json!("Pod");
    dump["metadata"] = json!({"name": "dump"});
    scene.kubectl.apply(&[dump]);
    for name in ["moded", "lost"] {
        scene.kubectl.ok(&["delete", "pod", name, "--grace-period=0", "--force"]);
        scene.kubectl.ok(&["delete", "pvc", name, "--timeout=60s"]);
    }
    let mut block = claim("moded", None);
    block["spec"]["volumeMode"] = json!("Block");
    scene.kubectl.apply(&[block]);
    scene.kubectl.ok(&["delete", "storageclass", &class]);
    scene.kubectl.apply(&[class_by("other.example.com")]);
    let quota = json!({"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "full"},
        "spec": {"hard": {"persistentvolumeclaims": "4"}}});
    scene.kubectl.apply(&[quota]);
    until("the quota to be counted, and the foreign pod", seconds(60), || {
        let used = scene.kubectl.value("resourcequota/full", "/status/used/persistentvolumeclaims");
        let phase = scene.kubectl.value("pod/dump", "/status/phase");
        if used == "4" && phase == "Running" { Ok(()) } else { Err(format!("{used} {phase}")) }
    });

    let before = state(&scene);
    let words = [
        &format!("volumesnapshotcontent/{content}: it is gone"),
        "pod/dump mounts it",
        "the claim's mode is Block",
        "resourcequota/full",
        "its provisioner is other.example.com",
        "pod/lost: it is gone",
    ];
    let ended = scene.plugin(&["restore-from-snapshot", &backup, "--yes"]).run().exits(5);
    ended.says(&words);
    assert_eq!(state(&scene), before, "something was touched");
    assert_eq!(records(&scene).len(), 1, "no restore was begun");

    scene.kubectl.ok(&["delete", "storageclass", &class]);
    let gone = format!("storageclass/{class}: it is gone");
    scene.plugin(&["restore-from-snapshot", &backup, "--yes"]).run().exits(5).says(&[&gone, "pod/dump mounts it"]);
}
