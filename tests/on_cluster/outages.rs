//! Parts of the cluster, of the network or of the plugin's own machine fail while every database is held. Each database
//! must take writes again within the budget by itself, and what the plugin says must be true.

use std::fs;

use serde_json::{Value, json};

use crate::support::acks::now;
use crate::support::backup::{Taken, holding, holding_by, proved};
use crate::support::cluster::{self, Down};
use crate::support::database::{Database, Kind};
use crate::support::leftovers::{backups, unnamed};
use crate::support::network::Lost;
use crate::support::plugin::{outcome_is, run_of, text};
use crate::support::process::{Ended, Running};
use crate::support::random::Seeded;
use crate::support::scene::Scene;
use crate::support::wait::{seconds, until, until_none};
use crate::times;

type Outage = (&'static str, fn());

/// Outages of a part that all need: each has the cluster to itself.
const OF_ALL: [Outage; 6] = [
    ("api-server", the_api_server_is_killed),
    ("api-server-in-any-phase", the_api_server_is_killed_in_any_phase),
    ("kubelet", the_kubelet_is_killed),
    ("pods", a_pod_is_deleted_and_another_evicted),
    ("storage", snapshot_controller_and_driver_stop),
    ("full", the_storage_is_full),
];

/// Outages of a test's own parts.
const OF_ONE: [Outage; 4] = [
    ("database", the_database_is_killed),
    ("replaced", pods_are_replaced_before_the_thaw),
    ("asleep", the_plugin_sleeps_and_wakes_up_after_a_takeover),
    ("network", the_network_is_lost),
];

/// Two of these in the sample, all in the full set, or the one that `CONSISTENT_BACKUP_OUTAGE` names.
fn some_of(outages: &[Outage]) {
    let wanted = std::env::var("CONSISTENT_BACKUP_OUTAGE").ok();
    let first = usize::try_from(Seeded::of_run().below(outages.len() as u64)).unwrap();
    let known = |wanted: &String| OF_ALL.iter().chain(&OF_ONE).any(|(name, _)| name == wanted);
    assert!(wanted.as_ref().is_none_or(known), "no such outage: {wanted:?}");
    let chosen: Vec<&Outage> = match wanted {
        Some(wanted) => outages.iter().filter(|(name, _)| *name == wanted).collect(),
        None => outages.iter().cycle().skip(first).take(times(1, outages.len())).collect(),
    };
    for (name, outage) in chosen {
        println!("outage: {name}");
        outage();
    }
}

#[test]
fn of_a_part_that_all_need() {
    some_of(&OF_ALL);
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

/// Fails unless exit code and record agree, and the run, brought to its end from elsewhere, leaves nothing.
#[track_caller]
fn ends_in_truth(scene: &Scene, ended: &Ended) -> String {
    let records = backups(scene);
    let record = records.last().unwrap_or_else(|| panic!("no run is listed\n{ended}"));
    match (ended.code(), text(record, "/status/outcome")) {
        (Some(0), "ApplicationConsistent") | (Some(1), "Failed" | "Running") | (Some(4), "Stuck" | "Running") => {}
        other => panic!("{other:?}\n{ended}\n{record:#}"),
    }
    let run = run_of(record);
    until_none("a thaw that leaves nothing", seconds(120), || {
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
    serve(scene, &Kind::ALL, 90);
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
    let one = usize::try_from(Seeded::of_run().below(events.len() as u64)).unwrap();
    let chosen = if times(0, 1) == 1 { &events[..] } else { &events[one..=one] };
    for &event in chosen {
        works(&scene);
        let (running, known) = stopped_at(&scene, event);
        running.signal("CONT");
        cluster::restart("apiserver");
        serve(&scene, &Kind::ALL, BY_ITSELF);
        let ended = running.end(seconds(180));
        println!("after event {event}:");
        assert_eq!(backups(&scene).len(), known + 1, "{ended}");
        ends_in_truth(&scene, &ended);
    }
    works(&scene);
}

/// A run that stands still after this event, and how many there were before. One that a busy machine failed by its
/// budget before is taken again.
fn stopped_at(scene: &Scene, event: u32) -> (Running, usize) {
    for _ in 0..5 {
        let known = backups(scene).len();
        let mut running = scene.backup(BUDGET).stops_at(event).start();
        if running.until_stopped(seconds(60)) {
            return (running, known);
        }
        let ended = running.end(seconds(60));
        assert_eq!(ended.code(), Some(1), "the run was over before its event {event}: {ended}");
        let record = ended.json();
        assert!(text(&record, "/status/reason").contains("budget"), "{record:#}");
    }
    panic!("five runs failed before their event {event}");
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
    let run = run_of(backups(&scene).last().expect("the run is listed"));
    let before = scene.uid("pod/mariadb-0");
    scene.kubectl.ok(&["delete", "pod", "mariadb-0", "redis-0", "--grace-period=0", "--force"]);
    until("another pod", seconds(60), || match scene.kubectl.value("pod/mariadb-0", "/metadata/uid") {
        uid if uid.is_empty() || uid == before => Err("the old one"),
        _ => Ok(()),
    });
    scene.plugin(&["thaw", &run, "--force"]).run().done();
    let record = described(&scene, &run);
    outcome_is(&record, "Failed");
    assert_eq!(record["status"]["mayBeHeld"], json!([]), "{record:#}");
    assert_eq!(text(&record, "/status/snapshotsRemoved"), "removed", "{record:#}");
    until_none("nothing left", seconds(30), || unnamed(&scene));
    serve(&scene, &Kind::ALL, 90);
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
    let run = run_of(backups(&scene).last().expect("the run is listed"));
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
    let run = run_of(backups(&scene).last().expect("the run is listed"));
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

/// The volumes of all databases are full, and then the storage itself. Whether a backup can be taken then is the
/// databases' and the storage's to say; what is said of it is true, and with space again everything goes on.
fn the_storage_is_full() {
    let scene = alone("full");
    for kind in Kind::ALL {
        let folder = kind.folder();
        let most = format!("$(($(df -P -B1 {folder} | awk 'NR==2 {{print $4}}') / 100 * 95))");
        // The rest is written until nothing more can be.
        let fill = format!("fallocate -l {most} {folder}/filler && ! cat /dev/zero >> {folder}/filler");
        scene.kubectl.exec(&kind.pod(), &["sh", "-c", &fill]).done();
    }
    truth_with_little_space(&scene);
    for kind in Kind::ALL {
        // A server that could not go on is started again, and then there is no container for a moment.
        let filler = format!("{}/filler", kind.folder());
        until_none("space again", seconds(60), || {
            let removed = scene.kubectl.exec(&kind.pod(), &["rm", "-f", &filler]);
            if removed.status.success() { vec![] } else { vec![removed.to_string()] }
        });
    }
    serve(&scene, &Kind::ALL, 120);
    works(&scene).copies_are_right(&scene);
}

fn truth_with_little_space(scene: &Scene) {
    let ended = scene.backup(BUDGET).run();
    println!("{ended}");
    if ended.code() != Some(5) {
        ends_in_truth(scene, &ended);
    }
}

/// The client's clock is an hour ahead: the times of the record are the server's, and the offset is in it.
#[test]
fn the_clients_clock_is_an_hour_ahead() {
    let scene = Scene::new("clock", &[Database::new(Kind::Redis)]);
    let before = now();
    let ended = scene.backup(&[]).clock_ahead("+3600s").run().done();
    let record = ended.json();
    outcome_is(&record, "ApplicationConsistent");
    let skew = record["status"]["window"]["clientSkewSeconds"].as_f64().unwrap();
    assert!((skew - 3600.0).abs() < 2.0, "a skew of {skew} s was recorded");
    for at in ["/status/window/start", "/status/window/end", "/status/targets/0/quiescedAt"] {
        let time: jiff::Timestamp = text(&record, at).parse().unwrap();
        let time = time.as_nanosecond();
        assert!(time > before && time < now(), "{at} is not of the server's clock: {record:#}");
    }
    until("the record to have its age", seconds(1), || match text(&record, "/metadata/creationTimestamp") {
        "" => Err("none"),
        _ => Ok(()),
    });
}
