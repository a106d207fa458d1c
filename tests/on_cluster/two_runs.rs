//! Two runs on one database, and a user who changes their mind.

use crate::support::acks::{longest_gap, now};
use crate::support::backup::{Taken, holding, proved};
use crate::support::classes::FaultClass;
use crate::support::database::{Database, Kind};
use crate::support::leftovers::{backups, leases, state, unnamed};
use crate::support::plugin::{outcome_is, run_of, text};
use crate::support::scene::Scene;
use crate::support::wait::seconds;

#[test]
fn a_second_run_is_refused_and_names_the_first() {
    let scene = Scene::new("two", &Kind::ALL.map(Database::new));
    let first = holding(&scene, &[]);
    let run = run_of(backups(&scene).first().expect("the first run is listed"));
    let before = leases(&scene);
    scene.backup_of(&[Kind::Redis], &[]).run().exits(5).says(&["redis-0", &run]);
    assert_eq!(leases(&scene), before, "the second run changed the first one's leases");
    assert_eq!(backups(&scene).len(), 1, "the second run left a record");
    proved(&scene, &Kind::ALL, &first.end(seconds(60)).done());
    assert_eq!(leases(&scene), Vec::<String>::new());
}

#[test]
fn runs_on_other_databases_do_not_disturb_each_other() {
    let scene = Scene::new("disjoint", &Kind::ALL.map(Database::new));
    let class = FaultClass::new(&scene, "cut-delay-5s");
    let kinds = [[Kind::Mariadb], [Kind::Redis], [Kind::Postgres]];
    let runs = kinds.map(|kind| scene.backup_of(&kind, &["--snapshot-class", &class.name]).start());
    let taken: Vec<Taken> =
        std::iter::zip(runs, kinds).map(|(run, kinds)| proved(&scene, &kinds, &run.end(seconds(120)).done())).collect();
    let (latest_start, first_end) =
        (taken.iter().map(|t| t.window.start).max().unwrap(), taken.iter().map(|t| t.window.end).min().unwrap());
    assert!(latest_start < first_end, "they were not held at the same time");
    assert_eq!(leases(&scene), Vec::<String>::new());
    for taken in &taken {
        taken.copies_are_right(&scene);
    }
}

#[test]
fn an_interrupted_run_releases_all_and_leaves_nothing() {
    let scene = Scene::new("interrupted", &Kind::ALL.map(Database::new));
    let before = state(&scene);
    let begun = now();
    let running = holding(&scene, &[]);
    running.signal("INT");
    let interrupted = now();
    scene.all_serve(seconds(3));
    let ended = running.end(seconds(60)).exits(130);
    let record = ended.json();
    outcome_is(&record, "Failed");
    assert_eq!(text(&record, "/status/snapshotsRemoved"), "removed", "{record:#}");
    for kind in Kind::ALL {
        let gap = longest_gap(&scene.acks(kind).all(), begun, interrupted + 3_000_000_000);
        assert!(gap < seconds(5), "{} took no write for {gap:?}", kind.name());
    }
    assert_eq!(unnamed(&scene), Vec::<String>::new());
    let run = run_of(&record);
    scene.plugin(&["thaw", &run]).run().done();
    scene.plugin(&["delete", &run, "--yes"]).run().done();
    assert_eq!(state(&scene), before);
}

/// Who thaws a run that is dead and thinks better of it while the lease is waited for must not read that all is well.
#[test]
fn an_interrupted_thaw_says_what_may_be_held() {
    let scene = Scene::new("interrupted-thaw", &Kind::ALL.map(Database::new));
    let mut running = holding(&scene, &["--quiesce-budget", "20s"]);
    running.kill_hard();
    running.end(seconds(5));
    let run = run_of(backups(&scene).first().expect("the run is listed"));
    let thaw = scene.plugin(&["thaw", &run]).start();
    thaw.until_says("waiting", seconds(10));
    thaw.signal("INT");
    thaw.end(seconds(5)).exits(4).says(&["is not finished", &format!("thaw {run}")]);
    scene.plugin(&["thaw", &run, "--force"]).run().done();
    scene.all_serve(seconds(3));
    assert_eq!(unnamed(&scene), Vec::<String>::new());
}
