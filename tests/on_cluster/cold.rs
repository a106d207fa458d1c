//! Cold backups: the workloads are stopped for the cut and started again, whatever happens meanwhile.

use serde_json::Value;

use crate::support::backup::{Taken, cut_inside, part, written};
use crate::support::database::{Database, Kind};
use crate::support::leftovers::unnamed;
use crate::support::plugin::{list, outcome_is, run_of, text};
use crate::support::random::Seeded;
use crate::support::scene::Scene;
use crate::support::verdict::Window;
use crate::support::wait::{seconds, until, until_none};
use crate::times;

const KINDS: [Kind; 2] = [Kind::Redis, Kind::Postgres];

#[test]
fn a_cold_backup_stops_the_workloads_and_starts_them_again() {
    // Rows that only a clean end brings to the device: nothing flushes them here.
    let redis = Database::new(Kind::Redis).argument("--appendfsync", "no");
    let scene = Scene::new("cold", &[redis, Database::new(Kind::Postgres)].map(|database| database.every("20ms")));
    part("a cold backup", || it_has_all_that_was_acknowledged_before_the_stop(&scene));
    part("a death while the workloads are stopped", || a_death_leaves_them_to_thaw(&scene));
    part("an interrupted stop", || an_interrupted_stop_starts_them_again(&scene));
}

/// Every database runs, with as many replicas as before, and takes writes.
#[track_caller]
fn serves(scene: &Scene) {
    for kind in KINDS {
        assert_eq!(scene.kubectl.value(&kind.object(), "/spec/replicas"), "1", "{}", kind.name());
        scene.wait_ready(kind);
    }
    scene.all_serve(seconds(60));
}

fn it_has_all_that_was_acknowledged_before_the_stop(scene: &Scene) {
    for kind in KINDS {
        written(&scene.acks(kind), kind.name());
    }
    let uids: Vec<String> = KINDS.iter().map(|kind| scene.uid(&format!("pod/{}", kind.pod()))).collect();
    let said = ["stopped: no pod of theirs is left, and no VolumeAttachment"];
    let ended = scene.backup(&["--cold"]).run().done().says(&said);
    let record = ended.json();
    outcome_is(&record, "ApplicationConsistent");
    let window = Window::of(&record);
    for target in list(&record, "/status/targets") {
        assert_eq!((&target["held"], &target["stopped"]), (&Value::Bool(true), &Value::Bool(true)), "{target:#}");
    }
    for claim in list(&record, "/status/claims") {
        cut_inside(claim, window);
    }
    serves(scene);
    // Other pods now, which otherwise look the same.
    for (kind, uid) in KINDS.iter().zip(&uids) {
        assert_ne!(scene.uid(&format!("pod/{}", kind.pod())), *uid);
    }
    assert_eq!(list(&record, "/status/pods/differences"), &[] as &[Value]);
    assert_eq!(list(&record, "/status/pods/before").len(), 2);
    assert_eq!(list(&record, "/status/pods/after").len(), 2);
    let taken = Taken { run: run_of(&record), record, window, kinds: KINDS.to_vec() };
    taken.copies_are_right(scene);
    scene.plugin(&["verify", &taken.run]).run().done();
}

/// Killed at any moment; whatever is down then is started by `thaw`, and by nothing else.
fn a_death_leaves_them_to_thaw(scene: &Scene) {
    // From the intent to stop until the cuts are there; the whole row are all events of a run.
    let one = 4 + u32::try_from(Seeded::of_run().below(7)).unwrap();
    let moments: Vec<u32> = if times(0, 1) == 1 { (1..=20).collect() } else { vec![one] };
    for event in moments {
        println!("killed after event {event}");
        let died = scene.backup(&["--cold"]).dies_at(event).run();
        if died.code() == Some(0) {
            continue;
        }
        assert!(died.was_killed(), "{died}");
        let thawed = scene.plugin(&["thaw", "-o", "json"]).run().done();
        serves(scene);
        let runs = thawed.json();
        for run in list(&runs, "/items") {
            let outcome = text(run, "/status/outcome");
            assert!(matches!(outcome, "Failed" | "ApplicationConsistent"), "{run:#}");
        }
        until_none("what nobody names", seconds(60), || unnamed(scene));
    }
}

fn an_interrupted_stop_starts_them_again(scene: &Scene) {
    let running = scene.backup(&["--cold"]).start();
    until("a workload that is being stopped", seconds(60), || {
        let replicas = scene.kubectl.value(&Kind::Postgres.object(), "/spec/replicas");
        if replicas == "0" { Ok(()) } else { Err(format!("{replicas} replicas")) }
    });
    running.signal("INT");
    let ended = running.end(seconds(180)).exits(130);
    serves(scene);
    outcome_is(&ended.json(), "Failed");
    until_none("what nobody names", seconds(60), || unnamed(scene));
}
