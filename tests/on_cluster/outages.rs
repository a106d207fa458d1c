//! Parts of the cluster, of the network or of the plugin's own machine fail while every database is held. Each database
//! must take writes again within the budget by itself, and what the plugin says must be true.

use std::fs;

use serde_json::{Value, json};

use crate::restore::{GivenUp, rows_are_right};
use crate::support::acks::now;
use crate::support::backup::{Taken, consistent, holding, holding_by, part, proved, retaken};
use crate::support::cluster::{self, Down, Full};
use crate::support::database::{Database, Kind};
use crate::support::leftovers::{backups, unnamed};
use crate::support::network::Lost;
use crate::support::plugin::{outcome_is, run_of, text};
use crate::support::process::Ended;
use crate::support::random::Seeded;
use crate::support::scene::Scene;
use crate::support::strikes::{only, stopped_at};
use crate::support::verdict::{ROUNDING, Window};
use crate::support::wait::{seconds, until, until_none};
use crate::times;

type Outage = (&'static str, fn());

/// Outages of a part that all need: each has the cluster to itself.
const OF_ALL: [Outage; 5] = [
    ("api-server", the_api_server_is_killed),
    ("api-server-in-any-phase", the_api_server_is_killed_in_any_phase),
    ("kubelet", the_kubelet_is_killed),
    ("pods", a_pod_is_deleted_and_another_evicted),
    ("storage", snapshot_controller_and_driver_stop),
];

/// Outages of a test's own parts.
const OF_ONE: [Outage; 4] = [
    ("database", the_database_is_killed),
    ("replaced", pods_are_replaced_before_the_thaw),
    ("asleep", the_plugin_sleeps_and_wakes_up_after_a_takeover),
    ("network", the_network_is_lost),
];

/// The outage of the storage's space, which has the cluster to itself too.
const FULL: &str = "full";

/// The outages that `CONSISTENT_BACKUP_OUTAGE` names, if it is set.
fn named() -> Option<Vec<&'static str>> {
    let mut known: Vec<&'static str> = OF_ALL.iter().chain(&OF_ONE).map(|(name, _)| *name).collect();
    known.push(FULL);
    only("CONSISTENT_BACKUP_OUTAGE", &known)
}

/// One of these by the seed in the sample, all in the full set, or those that are named.
fn some_of(outages: &[Outage]) {
    let chosen: Vec<Outage> = match named() {
        Some(named) => outages.iter().filter(|(name, _)| named.contains(name)).copied().collect(),
        None if times(0, 1) == 1 => outages.to_vec(),
        None => vec![*Seeded::of_run().one_of(outages)],
    };
    for (name, outage) in chosen {
        part(name, outage);
    }
}

/// What breaks the cluster for all: `tests/run` gives these tests a cluster of their own.
mod alone {
    #[test]
    fn of_a_part_that_all_need() {
        super::some_of(&super::OF_ALL);
    }

    #[test]
    fn of_the_storages_space() {
        super::of_the_storages_space();
    }
}

#[test]
fn of_a_part_of_ones_own() {
    some_of(&OF_ONE);
}

const BUDGET: &[&str] = &["--quiesce-budget", "8s", "--attempts", "1"];
/// Budget and five seconds.
const BY_ITSELF: u64 = 8 + 5;

fn scene(test: &str) -> Scene {
    Scene::new(test, &Kind::ALL.map(Database::new))
}

/// With nobody else on the cluster, where a part of it is broken for all.
fn alone(test: &str) -> Scene {
    Scene::alone(test, &Kind::ALL.map(Database::new))
}

/// Fails unless these databases take writes again, by themselves.
fn serve(scene: &Scene, kinds: &[Kind], within: u64) {
    let from = now();
    for kind in kinds {
        scene.acks(*kind).serves_after(from, seconds(within));
    }
}

/// The newest run of the scene.
#[track_caller]
fn newest(scene: &Scene) -> String {
    // Ids begin with the time.
    backups(scene).iter().map(run_of).max().expect("the run is listed")
}

/// Waits until the API server answers: the process that starts in place of a killed one serves some seconds later.
fn until_answers(scene: &Scene) {
    let namespace = format!("/api/v1/namespaces/{}", scene.namespace());
    until("an API server that answers", seconds(120), || {
        let ended = scene.kubectl.run(&["get", "--raw", &namespace]);
        if ended.status.success() { Ok(()) } else { Err(ended) }
    });
}

/// Fails unless exit code and record agree, and the run, brought to its end from elsewhere, leaves nothing.
#[track_caller]
fn ends_in_truth(scene: &Scene, ended: &Ended) -> String {
    until_answers(scene);
    let records = backups(scene);
    let record = records.iter().max_by_key(|record| run_of(record));
    let record = record.unwrap_or_else(|| panic!("no run is listed\n{ended}"));
    match (ended.code(), text(record, "/status/outcome")) {
        (Some(0), "ApplicationConsistent") | (Some(1), "Failed" | "Running") | (Some(4), "Stuck" | "Running") => {}
        other => panic!("{other:?}\n{ended}\n{record:#}"),
    }
    let run = run_of(record);
    until_none("a thaw that leaves nothing", seconds(180), || {
        let thawed = scene.plugin(&["thaw", &run, "--force"]).run();
        if thawed.code() == Some(0) { unnamed(scene) } else { vec![thawed.to_string()] }
    });
    let record = scene.plugin(&["describe", &run, "-o", "json"]).run().done().json();
    let outcome = text(&record, "/status/outcome").to_owned();
    assert!(["ApplicationConsistent", "Failed"].contains(&outcome.as_str()), "{record:#}");
    println!("exit code {:?}, {outcome}: {}", ended.code(), text(&record, "/status/reason"));
    outcome
}

/// Breaks something while all is held, and judges everything after it.
fn broken(scene: &Scene, serving: &[Kind], what: impl FnOnce()) -> String {
    let running = holding(scene, BUDGET);
    what();
    serve(scene, serving, BY_ITSELF);
    let outcome = ends_in_truth(scene, &running.end(seconds(120)));
    serve(scene, &Kind::ALL, 120);
    works(scene);
    outcome
}

/// A backup that succeeds again. Controllers come back long after the API server, and without them a run is refused.
fn works(scene: &Scene) -> Taken {
    let ended = until("a cluster that can be backed up", seconds(180), || {
        let ended = scene.backup(&[]).run();
        if ended.code() == Some(0) { Ok(ended) } else { Err(ended) }
    });
    proved(scene, &Kind::ALL, &ended)
}

fn the_api_server_is_killed() {
    let scene = alone("no-api");
    broken(&scene, &Kind::ALL, || cluster::restart("apiserver"));
}

/// In every phase but the one above: where sessions are opened, before and after the hold, while it releases, compares,
/// keeps and waits for the copies. In the sample in one of them.
fn the_api_server_is_killed_in_any_phase() {
    let scene = alone("no-api-phase");
    let events = [1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25];
    let one = [*Seeded::of_run().one_of(&events)];
    let chosen = if times(0, 1) == 1 { &events[..] } else { &one };
    for &event in chosen {
        works(&scene);
        let (running, known) = retaken(&format!("event {event}"), || {
            let known = backups(&scene).len();
            stopped_at(event, scene.backup(BUDGET)).map(|running| (running, known))
        });
        running.signal("CONT");
        cluster::restart("apiserver");
        serve(&scene, &Kind::ALL, BY_ITSELF);
        let ended = running.end(seconds(180));
        println!("after event {event}:");
        until_answers(&scene);
        assert_eq!(backups(&scene).len(), known + 1, "{ended}");
        ends_in_truth(&scene, &ended);
    }
    works(&scene);
}

fn the_kubelet_is_killed() {
    let scene = alone("no-kubelet");
    broken(&scene, &Kind::ALL, || cluster::restart("kubelet"));
}

fn the_database_is_killed() {
    let scene = scene("no-database");
    let outcome = broken(&scene, &[Kind::Postgres, Kind::Redis], || {
        let processes = cluster::processes(&scene.uid("pod/mariadb-0"), Kind::Mariadb.server());
        assert!(!processes.is_empty(), "no MariaDB to kill");
        assert!(std::process::Command::new("kill").arg("-KILL").args(&processes).status().unwrap().success());
    });
    assert_eq!(outcome, "Failed", "a database that died was not held");
}

fn a_pod_is_deleted_and_another_evicted() {
    let scene = alone("no-pod");
    let outcome = broken(&scene, &[Kind::Postgres, Kind::Mariadb], || {
        scene.kubectl.ok(&["delete", "pod", "redis-0", "--wait=false"]);
    });
    assert_eq!(outcome, "Failed", "a pod that was deleted was not held");

    let node = scene.kubectl.value("pod/postgres-0", "/spec/nodeName");
    let outcome = broken(&scene, &[Kind::Mariadb, Kind::Redis], || {
        scene.kubectl.ok(&["cordon", &node]);
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("eviction.json");
        let eviction = json!({"apiVersion": "policy/v1", "kind": "Eviction",
            "metadata": {"name": "postgres-0", "namespace": scene.namespace()}});
        fs::write(&file, eviction.to_string()).unwrap();
        let path = format!("/api/v1/namespaces/{}/pods/postgres-0/eviction", scene.namespace());
        let evicted = scene.kubectl.run(&["create", "--raw", &path, "-f", file.to_str().unwrap()]);
        scene.kubectl.ok(&["uncordon", &node]);
        evicted.done();
    });
    assert_eq!(outcome, "Failed", "a pod that was evicted was not held");
}

fn snapshot_controller_and_driver_stop() {
    let scene = alone("no-storage");
    broken(&scene, &Kind::ALL, || {
        let stopped = Down::take("snapshot-controller");
        serve(&scene, &Kind::ALL, BY_ITSELF);
        drop(stopped);
    });
    // The driver is away in the midst of its cuts, and for as long as the run lasts.
    let running = holding(&scene, BUDGET);
    let down = Down::take("driver");
    serve(&scene, &Kind::ALL, BY_ITSELF);
    let ended = running.end(seconds(120)).exits(1);
    let record = ended.json();
    outcome_is(&record, "Failed");
    let left = unnamed(&scene);
    if text(&record, "/status/snapshotsRemoved") == "removed" {
        assert_eq!(left, Vec::<String>::new(), "said to be removed\n{ended}");
    }
    drop(down);
    ends_in_truth(&scene, &ended);
    works(&scene);
}

/// The plugin dies while it holds, and before anybody thaws the run its pods are others.
fn pods_are_replaced_before_the_thaw() {
    let scene = scene("replaced");
    let mut running = holding(&scene, BUDGET);
    running.kill_hard();
    let run = newest(&scene);
    let pods = ["mariadb-0", "redis-0"];
    let before = pods.map(|pod| scene.uid(&format!("pod/{pod}")));
    for (pod, before) in pods.iter().zip(&before) {
        scene.kubectl.ok(&["delete", "pod", pod, "--grace-period=0", "--force"]);
        until(&format!("another {pod}"), seconds(60), || {
            match scene.kubectl.value(&format!("pod/{pod}"), "/metadata/uid") {
                uid if uid.is_empty() || uid == *before => Err("the old one"),
                _ => Ok(()),
            }
        });
    }
    scene.plugin(&["thaw", &run, "--force"]).run().done();
    let record = described(&scene, &run);
    outcome_is(&record, "Failed");
    assert_eq!(record["status"]["mayBeHeld"], json!([]), "{record:#}");
    assert_eq!(text(&record, "/status/snapshotsRemoved"), "removed", "{record:#}");
    until_none("nothing left", seconds(30), || unnamed(&scene));
    serve(&scene, &Kind::ALL, 120);
    scene.wait_ready(Kind::Mariadb);
    scene.wait_ready(Kind::Redis);
    works(&scene);
}

/// A laptop's lid: the plugin is stopped while it holds, somebody else finishes the run, and it wakes up.
fn the_plugin_sleeps_and_wakes_up_after_a_takeover() {
    let scene = scene("asleep");
    let running = holding(&scene, BUDGET);
    running.signal("STOP");
    serve(&scene, &Kind::ALL, BY_ITSELF);
    let run = newest(&scene);
    let folder = tempfile::tempdir().unwrap();
    let elsewhere = folder.path().join("elsewhere.conf");
    fs::copy(cluster::kubeconfig(), &elsewhere).unwrap();
    scene.plugin(&["thaw", &run]).kubeconfig(&elsewhere).run().done().says(&["lease"]);
    let finished = described(&scene, &run);
    outcome_is(&finished, "Failed");
    if times(0, 1) == 1 {
        // For so long that the API server has forgotten everything about it.
        std::thread::sleep(seconds(60));
    }
    running.signal("CONT");
    let ended = running.end(seconds(60));
    assert!(ended.code() == Some(1), "{ended}");
    ended.says(&["taken over"]);
    assert_eq!(described(&scene, &run), finished, "who woke up changed the record");
    assert_eq!(unnamed(&scene), Vec::<String>::new());
    works(&scene);
}

fn described(scene: &Scene, run: &str) -> Value {
    scene.plugin(&["describe", run, "-o", "json"]).run().done().json()
}

/// The plugin's own network goes down without a word, and comes back.
fn the_network_is_lost() {
    let scene = scene("no-network");
    let network = Lost::new();
    let patience = [BUDGET, &["--request-timeout", "5s"]].concat();
    let running = holding_by(&scene, &patience, |plugin| plugin.inside(&network));
    network.down();
    serve(&scene, &Kind::ALL, BY_ITSELF);
    let run = newest(&scene);
    if times(0, 1) == 1 {
        std::thread::sleep(seconds(60));
    }
    network.up();
    let ended = running.end(seconds(180));
    assert!(matches!(ended.code(), Some(1 | 4)), "{ended}");
    ends_in_truth(&scene, &ended);
    outcome_is(&described(&scene, &run), "Failed");
    works(&scene);
}

/// The storage fills up under running databases, which break. The record of a backup is true then, the damaged ones
/// are no reason to refuse a restore, and it brings back all that was promised before. Full volumes are tried by the
/// seed, one run in six.
fn of_the_storages_space() {
    if named().is_some_and(|named| !named.contains(&FULL)) {
        return;
    }
    let volumes = named().is_some() || times(0, 1) == 1 || Seeded::of_run().below(6) == 0;
    let scene = alone("full");
    if volumes {
        part("the volumes are full", || the_volumes_are_full(&scene));
    }
    part("the storage is full", || the_storage_is_full(&scene));
}

fn the_storage_is_full(scene: &Scene) {
    let good = consistent(scene, &Kind::ALL, &[]);
    let running = holding(scene, BUDGET);
    let full = Full::take();
    // At the brink: it is a backup or none, and says which.
    let ended = running.end(seconds(120));
    println!("with no space left: {}", ended.status);
    let last = match ended.code() {
        Some(0) => Some(recorded_only(scene, &ended)),
        Some(1) => None,
        _ => panic!("{ended}"),
    };
    until("a database that breaks", seconds(120), || {
        let silent = |kind: &Kind| scene.acks(*kind).last().is_none_or(|ack| now() - ack.acked > 5_000_000_000);
        if Kind::ALL.iter().any(silent) { Ok(()) } else { Err("all take writes") }
    });
    drop(full);
    let mut given_up = GivenUp::default();
    for taken in last.iter().chain([&good]) {
        let began = now();
        scene.plugin(&["restore-from-snapshot", &taken.run, "--yes"]).run().done();
        rows_are_right(scene, taken, began, &mut given_up);
        scene.all_serve(seconds(60));
    }
}

/// The backup that this run took, without asking whether its writers were busy.
fn recorded_only(scene: &Scene, ended: &Ended) -> Taken {
    let record = ended.json();
    outcome_is(&record, "ApplicationConsistent");
    let window = Window::of(&record);
    Taken { run: run_of(&record), record, window, kinds: scene.kinds() }
}

/// The volumes of all databases are full. The databases decide whether a backup can be taken then. Exit code and record
/// are true, and with space again every database serves.
fn the_volumes_are_full(scene: &Scene) {
    for kind in Kind::ALL {
        let folder = kind.folder();
        let most = format!("$(($(df -P -B1 {folder} | awk 'NR==2 {{print $4}}') / 100 * 95))");
        // The rest is written until nothing more can be.
        let fill = format!("fallocate -l {most} {folder}/filler && ! cat /dev/zero >> {folder}/filler");
        scene.kubectl.exec(&kind.pod(), &["sh", "-c", &fill]).done();
    }
    let ended = scene.backup(BUDGET).run();
    println!("{ended}");
    if ended.code() != Some(5) {
        ends_in_truth(scene, &ended);
    }
    for kind in Kind::ALL {
        // A server that could not go on is started again, and then there is no container for a moment.
        let filler = format!("{}/filler", kind.folder());
        until_none("space again", seconds(120), || {
            let removed = scene.kubectl.exec(&kind.pod(), &["rm", "-f", &filler]);
            if removed.status.success() { vec![] } else { vec![removed.to_string()] }
        });
    }
    serve(scene, &Kind::ALL, 120);
    works(scene).copies_are_right(scene);
}

/// The client's clock is an hour ahead: the times of the record are the server's, and the offset is in it.
#[test]
fn the_clients_clock_is_an_hour_ahead() {
    let scene = Scene::new("clock", &[Database::new(Kind::Redis).idle().unprobed()]);
    let before = now();
    let ended = scene.backup(&[]).clock_ahead("+3600s").run().done();
    let after = now();
    let record = ended.json();
    outcome_is(&record, "ApplicationConsistent");
    let figure = |field: &str| record["status"]["window"][field].as_f64().unwrap();
    let (skew, accuracy) = (figure("clientSkewSeconds"), figure("accuracySeconds"));
    // The record rounds both.
    assert!((skew - 3600.0).abs() <= accuracy + 0.005, "a skew of {skew} s was recorded, accurate to {accuracy} s");
    #[allow(clippy::cast_possible_truncation, reason = "an accuracy is a fraction of a second")]
    let tolerance = (accuracy * 1e9) as i128 + ROUNDING;
    for at in ["/status/window/start", "/status/window/end", "/status/targets/0/quiescedAt"] {
        let time: jiff::Timestamp = text(&record, at).parse().unwrap();
        let time = time.as_nanosecond();
        assert!(time > before - tolerance && time < after + tolerance, "{at} is not of the server's clock: {record:#}");
    }
    assert!(!text(&record, "/metadata/creationTimestamp").is_empty(), "a record without an age: {record:#}");
}
