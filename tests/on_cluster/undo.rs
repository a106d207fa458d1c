//! A restore is taken back: byte for byte, not under the hands of somebody else, and with a record that is true.

use serde_json::{Value, json};

use crate::restore::{GivenUp, rows_are_there, volumes};
use crate::support::acks::now;
use crate::support::backup::{Taken, consistent, part};
use crate::support::cluster;
use crate::support::copies::pod_of;
use crate::support::database::{Database, Kind};
use crate::support::journal;
use crate::support::leftovers::records;
use crate::support::plugin::{Plugin, list, outcome_is, run_of, text};
use crate::support::process::Running;
use crate::support::scene::Scene;
use crate::support::strikes;
use crate::support::wait::{seconds, until};

const REDIS: [Kind; 1] = [Kind::Redis];

#[test]
fn the_old_volume_comes_back_and_no_used_claim_is_taken_away() {
    let scene = Scene::new("undo", &[Database::new(Kind::Redis).unprobed()]);
    let taken = consistent(&scene, &REDIS, &[]);
    part("the old data comes back byte for byte", || the_old_data_comes_back_byte_for_byte(&scene, &taken));
    part("a claim that a pod uses is not taken away", || a_claim_that_a_pod_uses_is_not_taken_away(&scene, &taken));
}

/// The plugin, stopped right after an event of its journal that is this one, and its run.
fn stopped_at(scene: &Scene, plugin: Plugin, nth: u32, event: &str) -> (Running, String) {
    let stopped = strikes::stopped_at(nth, plugin);
    let running = stopped.unwrap_or_else(|ended| panic!("it was over before its event {nth}: {ended}"));
    let records = records(scene);
    let run = records.iter().filter(|record| record["kind"] == "Restore").map(run_of).max().unwrap();
    let events = journal::events(scene, &run);
    let last = journal::word(events.last().unwrap());
    assert_eq!(last, event, "event {nth} is another one");
    (running, run)
}

/// All bytes of the volume, not the rows that a database finds in them: compared between the moment at which the workload
/// was stopped for the restore and the one at which its claim is bound to the old volume again and nothing is started
/// yet. In between the volume was mounted nowhere.
fn the_old_data_comes_back_byte_for_byte(scene: &Scene, taken: &Taken) {
    let before = volumes(scene, &REDIS);
    let old = &before["data-redis-0"];
    let handle = scene.kubectl.value(&format!("pv/{old}"), "/spec/csi/volumeHandle");
    let began = now();
    let restore = scene.plugin(&["restore-from-snapshot", &taken.run, "--yes", "-o", "json"]);
    // Secured and read back, stopped; then the claim is to be replaced.
    let (running, run) = stopped_at(scene, restore, 6, "replaceIntended");
    let sum = cluster::checksum(&handle);
    running.signal("CONT");
    running.end(seconds(180)).done();
    scene.all_serve(seconds(60));

    let undo = scene.plugin(&["restore-from-snapshot", "--undo", &run, "--yes", "-o", "json"]);
    let so_far = journal::count(scene, &run);
    // Taken over, intended, secured and read back, stopped, the claim back; then it is to be started.
    let (running, _) = stopped_at(scene, undo, so_far + 8, "backStartIntended");
    assert_eq!(volumes(scene, &REDIS), before);
    assert_eq!(cluster::checksum(&handle), sum, "the old volume is not what it was");
    // Meanwhile somebody deletes what the restore had made: the record must not promise it.
    let claims = |record: &Value| list(record, "/status/claims").to_vec();
    let kept = claims(&scene.plugin(&["describe", &run, "-o", "json"]).run().done().json());
    let kept = text(&kept[0], "/newVolume").to_owned();
    scene.kubectl.ok(&["delete", "pv", &kept]);
    running.signal("CONT");
    let record = running.end(seconds(180)).done().json();
    outcome_is(&record, "RestoredOldVolumes");
    assert_eq!(text(&claims(&record)[0], "/newVolume"), "", "{kept} is gone: {record:#}");
    scene.all_serve(seconds(60));
    rows_are_there(scene, Kind::Redis, began, &mut GivenUp::default());
    scene.plugin(&["delete", &run, "--yes"]).run().done();
}

/// A pod that mounts the restored claim goes on writing, and keeps the workload down for as long as it stays. The plugin
/// looks for such pods before it asks, and once more when no other run can begin anything.
fn a_claim_that_a_pod_uses_is_not_taken_away(scene: &Scene, taken: &Taken) {
    let restored = scene.plugin(&["restore-from-snapshot", &taken.run, "--yes", "-o", "json"]).run().done().json();
    let run = run_of(&restored);
    let after = volumes(scene, &REDIS);
    let undo = |more: &[&str]| scene.plugin(&["restore-from-snapshot", "--undo", &run]).args(more);
    let plan = undo(&["--dry-run", "-o", "json"]).run().done().json();
    assert_eq!(plan["kind"], "UndoPlan");
    assert_eq!(plan["claims"][0]["oldVolume"], list(&restored, "/status/claims")[0]["oldVolume"]);
    let names = undo(&["--dry-run", "-o", "name"]).run().done().stdout;
    assert_eq!(names.lines().collect::<Vec<_>>(), ["statefulset/redis", "persistentvolumeclaim/data-redis-0"]);

    let pod = |command: &[&str]| {
        let mut pod = pod_of(&scene.kubectl.get("statefulset/redis"), "shell", "data-redis-0");
        pod["spec"]["terminationGracePeriodSeconds"] = json!(0);
        let container = pod["spec"]["containers"][0].as_object_mut().unwrap();
        container.insert("command".into(), json!(command));
        for field in ["args", "startupProbe", "readinessProbe", "livenessProbe"] {
            container.remove(field);
        }
        pod
    };
    let shell = pod(&["sleep", "infinity"]);
    scene.kubectl.apply(std::slice::from_ref(&shell));
    undo(&["--yes"]).run().exits(5).says(&["persistentvolumeclaim/data-redis-0", "pod/shell mounts it"]);
    scene.kubectl.ok(&["delete", "pod", "shell"]);
    // The cluster keeps the claim for a pod that has ended, too, forward and back.
    scene.kubectl.apply(&[pod(&["true"])]);
    until("the pod to have ended", seconds(60), || match scene.kubectl.value("pod/shell", "/status/phase") {
        phase if phase == "Succeeded" => Ok(()),
        phase => Err(phase),
    });
    undo(&["--yes"]).run().exits(5).says(&["pod/shell has ended", "delete pod/shell first"]);
    scene.plugin(&["restore-from-snapshot", &taken.run, "--yes"]).run().exits(5).says(&["pod/shell has ended"]);
    scene.kubectl.ok(&["delete", "pod", "shell"]);

    // The pod comes while the undo waits for the lease of a dead process.
    let lease = json!({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
        "metadata": {"name": "consistent-backup-redis-0"},
        "spec": {"holderIdentity": "20260101-000000-dead/x", "leaseDurationSeconds": 10,
            "renewTime": "2026-01-01T00:00:00.000000Z"}});
    scene.kubectl.apply(&[lease]);
    let running = undo(&["--yes"]).start();
    running.until_says("waiting until the lease", seconds(60));
    scene.kubectl.apply(&[shell]);
    running.end(seconds(120)).exits(5).says(&["pod/shell mounts it"]);
    assert_eq!(volumes(scene, &REDIS), after, "nothing was touched");
    outcome_is(&scene.plugin(&["describe", &run, "-o", "json"]).run().done().json(), "Restored");
    scene.all_serve(seconds(30));
    until("the pod to be gone", seconds(60), || {
        scene.kubectl.ok(&["delete", "pod", "shell", "--ignore-not-found"]);
        if scene.kubectl.value("pod/shell", "/metadata/name").is_empty() { Ok(()) } else { Err("there") }
    });
    undo(&["--yes"]).run().done();
    scene.all_serve(seconds(60));
    assert_ne!(volumes(scene, &REDIS), after, "the restored volume is still in use");
    scene.plugin(&["delete", &run, "--yes"]).run().done();
}
