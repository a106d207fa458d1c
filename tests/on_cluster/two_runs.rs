//! Two runs on one database, and a user who changes their mind.

use crate::support::acks::{longest_gap, now};
use crate::support::backup::{Taken, held, holding, part, proved};
use crate::support::classes::FaultClass;
use crate::support::database::{Database, Kind};
use crate::support::leftovers::{backups, leases, state, unnamed};
use crate::support::plugin::{outcome_is, run_of, text};
use crate::support::process::Running;
use crate::support::scene::Scene;
use crate::support::wait::seconds;

/// How long the cuts of a run take that is struck while it holds: it has to release long before.
const CUT: u64 = 10;

#[test]
fn runs_leave_each_other_alone_and_can_be_interrupted() {
    let scene = Scene::new("two", &Kind::ALL.map(|kind| Database::new(kind).every("20ms").unprobed()));
    part("a second run is refused", || a_second_run_is_refused_and_names_the_first(&scene));
    part("runs on other databases", || runs_on_other_databases_do_not_disturb_each_other(&scene));
    part("an interrupted run", || an_interrupted_run_releases_all_and_leaves_nothing(&scene));
    part("an interrupted thaw", || an_interrupted_thaw_says_what_may_be_held(&scene));
}

/// A backup of all databases that holds them until its cuts come.
fn holding_for_long(scene: &Scene, more: &[&str]) -> Running {
    let cut = format!("{CUT}s");
    let class = FaultClass::with(scene, "cut-delay-5s", Some(("cutDelay", &cut)));
    held(scene.backup(&["--snapshot-class", &class.name]).args(more))
}

/// The run that is not over.
#[track_caller]
fn unfinished(scene: &Scene) -> String {
    let found = backups(scene).into_iter().find(|record| text(record, "/status/outcome") == "Running");
    run_of(&found.expect("the run is listed"))
}

fn a_second_run_is_refused_and_names_the_first(scene: &Scene) {
    let first = holding(scene, &[]);
    let run = unfinished(scene);
    let before = leases(scene);
    scene.backup_of(&[Kind::Redis], &[]).run().exits(5).says(&["redis-0", &run]);
    assert_eq!(leases(scene), before, "the second run changed the first one's leases");
    assert_eq!(backups(scene).len(), 1, "the second run left a record");
    proved(scene, &Kind::ALL, &first.end(seconds(60)).done());
    assert_eq!(leases(scene), Vec::<String>::new());
}

fn runs_on_other_databases_do_not_disturb_each_other(scene: &Scene) {
    let class = FaultClass::with(scene, "cut-delay-5s", Some(("cutDelay", "10s")));
    let kinds = [[Kind::Mariadb], [Kind::Redis], [Kind::Postgres]];
    let runs = kinds.map(|kind| scene.backup_of(&kind, &["--snapshot-class", &class.name]).start());
    let taken: Vec<Taken> =
        std::iter::zip(runs, kinds).map(|(run, kinds)| proved(scene, &kinds, &run.end(seconds(120)).done())).collect();
    let (latest_start, first_end) =
        (taken.iter().map(|t| t.window.start).max().unwrap(), taken.iter().map(|t| t.window.end).min().unwrap());
    assert!(latest_start < first_end, "they were not held at the same time");
    assert_eq!(leases(scene), Vec::<String>::new());
    for taken in &taken {
        taken.copies_are_right(scene);
    }
}

fn an_interrupted_run_releases_all_and_leaves_nothing(scene: &Scene) {
    let before = state(scene);
    let begun = now();
    let running = holding_for_long(scene, &[]);
    running.signal("INT");
    scene.all_serve(seconds(CUT));
    let served = now();
    let record = running.end(seconds(90)).exits(130).json();
    outcome_is(&record, "Failed");
    assert_eq!(text(&record, "/status/snapshotsRemoved"), "removed", "{record:#}");
    for kind in Kind::ALL {
        let gap = longest_gap(&scene.acks(kind).all(), begun, served);
        assert!(gap < seconds(CUT), "{} took no write for {gap:?}, until its cut", kind.name());
    }
    assert_eq!(unnamed(scene), Vec::<String>::new());
    let run = run_of(&record);
    scene.plugin(&["thaw", &run]).run().done();
    scene.plugin(&["delete", &run, "--yes"]).run().done();
    assert_eq!(state(scene), before);
}

/// Whoever interrupts the thaw of a dead run while it waits for the lease must not read that all is well.
fn an_interrupted_thaw_says_what_may_be_held(scene: &Scene) {
    let mut running = holding_for_long(scene, &["--quiesce-budget", "20s"]);
    running.kill_hard();
    running.end(seconds(10));
    let run = unfinished(scene);
    let thaw = scene.plugin(&["thaw", &run]).start();
    thaw.until_says("waiting", seconds(30));
    thaw.signal("INT");
    thaw.end(seconds(30)).exits(4).says(&["is not finished", &format!("thaw {run}")]);
    scene.plugin(&["thaw", &run, "--force"]).run().done();
    scene.all_serve(seconds(30));
    assert_eq!(unnamed(scene), Vec::<String>::new());
}
