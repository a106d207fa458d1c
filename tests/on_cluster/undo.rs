//! A restore is taken back: byte for byte, not under the hands of somebody else, and with a record that is true.

use serde_json::{Value, json};

use crate::restore::{GivenUp, rows_are_there, volumes};
use crate::support::acks::now;
use crate::support::backup::consistent;
use crate::support::cluster;
use crate::support::copies::pod_of;
use crate::support::database::{Database, Kind};
use crate::support::leftovers::records;
use crate::support::plugin::{Plugin, list, outcome_is, run_of, text};
use crate::support::process::Running;
use crate::support::scene::Scene;
use crate::support::wait::{seconds, until, until_none};

const REDIS: [Kind; 1] = [Kind::Redis];

/// What a run's journal says last.
fn last_event(scene: &Scene, run: &str) -> (u32, String) {
    let journal = scene.kubectl.get(&format!("configmap/consistent-backup-{run}"));
    let entries = journal["data"].as_object().unwrap().iter();
    let is_entry = |key: &str| key.strip_prefix('e').is_some_and(|n| n.len() == 4 && n.parse::<u32>().is_ok());
    let entries: Vec<_> = entries.filter(|(key, _)| is_entry(key)).collect();
    let (_, last) = entries.iter().max_by_key(|(key, _)| key.as_str()).expect("a journal has entries");
    (u32::try_from(entries.len()).unwrap(), last.as_str().unwrap().to_owned())
}

/// The plugin, stopped right after an event of its journal that is this one.
fn stopped_at(scene: &Scene, plugin: Plugin, nth: u32, event: &str) -> (Running, String) {
    let mut running = plugin.stops_at(nth).start();
    assert!(running.until_stopped(seconds(180)), "it was over before its event {nth}");
    let run = run_of(records(scene).iter().rfind(|record| record["kind"] == "Restore").unwrap());
    let (_, last) = last_event(scene, &run);
    assert!(last.contains(event), "{event} was expected to be event {nth}, which is {last}");
    (running, run)
}

/// All bytes of the volume, not the rows that a database finds in them: compared between the moment at which the workload
/// was stopped for the restore and the one at which its claim is bound to the old volume again and nothing is started
/// yet. In between the volume was mounted nowhere.
#[test]
fn the_old_data_comes_back_byte_for_byte() {
    let scene = Scene::new("bytes", &[Database::new(Kind::Redis)]);
    let taken = consistent(&scene, &REDIS, &[]);
    let before = volumes(&scene, &REDIS);
    let old = &before["data-redis-0"];
    let handle = scene.kubectl.value(&format!("pv/{old}"), "/spec/csi/volumeHandle");
    let began = now();
    let restore = scene.plugin(&["restore-from-snapshot", &taken.run, "--yes", "-o", "json"]);
    // Secured and read back, stopped; then the claim is to be replaced.
    let (running, run) = stopped_at(&scene, restore, 6, "replaceIntended");
    let sum = cluster::checksum(&handle);
    running.signal("CONT");
    running.end(seconds(180)).done();
    scene.all_serve(seconds(60));

    let undo = scene.plugin(&["restore-from-snapshot", "--undo", &run, "--yes", "-o", "json"]);
    let (so_far, _) = last_event(&scene, &run);
    // Taken over, intended, secured and read back, stopped, the claim back; then it is to be started.
    let (running, _) = stopped_at(&scene, undo, so_far + 8, "backStartIntended");
    assert_eq!(volumes(&scene, &REDIS), before);
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
    rows_are_there(&scene, Kind::Redis, began, &mut GivenUp::default());
    scene.plugin(&["delete", &run, "--yes"]).run().done();
}

/// A pod that mounts the restored claim writes on while it goes, and keeps the workload down for as long as it stays. That
/// is looked for before the question, and once more when nobody else can begin anything.
#[test]
fn a_claim_that_somebody_else_uses_is_not_taken_away() {
    let scene = Scene::new("in-use", &[Database::new(Kind::Redis)]);
    let taken = consistent(&scene, &REDIS, &[]);
    let restored = scene.plugin(&["restore-from-snapshot", &taken.run, "--yes", "-o", "json"]).run().done().json();
    let run = run_of(&restored);
    let after = volumes(&scene, &REDIS);
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

    // It comes while the undoing waits for a lease that a dead process left.
    let lease = json!({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
        "metadata": {"name": "consistent-backup-redis-0"},
        "spec": {"holderIdentity": "20260101-000000-dead/x", "leaseDurationSeconds": 10,
            "renewTime": "2026-01-01T00:00:00.000000Z"}});
    scene.kubectl.apply(&[lease]);
    let running = undo(&["--yes"]).start();
    running.until_says("waiting until the lease", seconds(60));
    scene.kubectl.apply(&[shell]);
    running.end(seconds(120)).exits(5).says(&["pod/shell mounts it"]);
    assert_eq!(volumes(&scene, &REDIS), after, "nothing was touched");
    outcome_is(&scene.plugin(&["describe", &run, "-o", "json"]).run().done().json(), "Restored");
    scene.all_serve(seconds(30));
    until("the pod to be gone", seconds(60), || {
        scene.kubectl.ok(&["delete", "pod", "shell", "--ignore-not-found"]);
        if scene.kubectl.value("pod/shell", "/metadata/name").is_empty() { Ok(()) } else { Err("there") }
    });
    undo(&["--yes"]).run().done();
    scene.all_serve(seconds(60));
    until_none("the old volume", seconds(10), || {
        let now = volumes(&scene, &REDIS);
        if now == after { vec!["the restored one".to_owned()] } else { Vec::new() }
    });
}
