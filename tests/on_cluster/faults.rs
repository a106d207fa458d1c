//! A storage that is slow, fails or does not answer: databases are released in time, nothing is left, nothing is lied.

use std::time::Duration;

use crate::support::acks::now;
use crate::support::backup::{consistent, part, proved, written};
use crate::support::classes::FaultClass;
use crate::support::database::{Database, Kind};
use crate::support::journal;
use crate::support::leftovers::{backups, leases, unnamed};
use crate::support::plugin::{list, outcome_is, run_of, text};
use crate::support::scene::Scene;
use crate::support::wait::{seconds, until_none};
use crate::times;

/// The longest silence of each writer since then.
fn gaps(scene: &Scene, kinds: &[Kind], from: i128) -> Vec<(Kind, Duration)> {
    let gap = |kind: &Kind| (*kind, scene.acks(*kind).gap_since(from));
    kinds.iter().map(gap).collect()
}

#[test]
fn a_storage_that_misbehaves_holds_nothing_for_longer_than_promised() {
    let scene = Scene::new("misbehaves", &Kind::ALL.map(Database::new));
    for kind in Kind::ALL {
        written(&scene.acks(kind), kind.name());
    }
    part("a slow cut", || a_slow_cut_is_waited_for_and_held_through(&scene));
    part("a slow upload", || a_slow_upload_holds_nothing(&scene));
    part("a copy that never gets ready", || a_copy_that_never_gets_ready_holds_nothing_and_is_named(&scene));
    part("a cut that always fails", || a_cut_that_always_fails_leaves_nothing_and_says_why(&scene));
    part("a class that retains", || what_a_retaining_class_keeps_is_removed_too(&scene));
    part("a storage that never answers", || a_storage_that_never_answers_costs_the_budget(&scene));
}

fn a_slow_cut_is_waited_for_and_held_through(scene: &Scene) {
    let class = FaultClass::new(scene, "cut-delay-5s");
    let ended = scene.backup(&["--snapshot-class", &class.name]).run().done();
    let taken = proved(scene, &Kind::ALL, &ended);
    // The storage cuts 5 s after it was asked: a plugin that released at the object's appearance would be far off. The
    // budget is 30 s.
    let window = taken.record["status"]["window"]["seconds"].as_f64().unwrap();
    assert!((5.0..=30.0).contains(&window), "a window of {window} s around cuts that take 5 s");
    for kind in [Kind::Mariadb, Kind::Redis] {
        let held = taken.held_seconds(kind);
        assert!((5.0..=30.0).contains(&held), "{} was held {held} s", kind.name());
    }
    assert!(taken.held_seconds(Kind::Postgres) == 0.0, "PostgreSQL is not held");
    taken.copies_are_right(scene);
}

fn a_slow_upload_holds_nothing(scene: &Scene) {
    // A hold that lasted until the copies are ready would be longer than this.
    let upload = times(10, 60) as u64;
    let class = FaultClass::with(scene, "upload-delay-60s", Some(("uploadDelay", &format!("{upload}s"))));
    let begun = now();
    let ended = scene.backup(&["--snapshot-class", &class.name]).run().done();
    let taken = proved(scene, &Kind::ALL, &ended);
    assert!(ended.took > seconds(upload), "not waited for: {ended}");
    for kind in [Kind::Mariadb, Kind::Redis] {
        let held = taken.held_seconds(kind);
        assert!(held < seconds(upload).as_secs_f64(), "{} was held {held} s of an upload of {upload} s", kind.name());
    }
    for (kind, gap) in gaps(scene, &Kind::ALL, begun) {
        assert!(gap < seconds(upload), "{} took no write for {gap:?}", kind.name());
    }
}

/// The storage cuts and never says that its copy can be restored from: no database is held for that, and the record
/// does not say that it can.
fn a_copy_that_never_gets_ready_holds_nothing_and_is_named(scene: &Scene) {
    // A hold that lasted while the copies are waited for would be longer than this.
    const WAIT: u64 = 8;
    let class = FaultClass::new(scene, "never-ready");
    let begun = now();
    let ended = scene.backup(&["--snapshot-class", &class.name, "--wait", &format!("{WAIT}s")]).run().done();
    for (kind, gap) in gaps(scene, &Kind::ALL, begun) {
        assert!(gap < seconds(WAIT), "{} took no write for {gap:?}", kind.name());
    }
    let record = ended.json();
    outcome_is(&record, "ApplicationConsistent");
    for claim in list(&record, "/status/claims") {
        assert_eq!(claim["ready"], false, "{claim:#}");
    }
    ended.says(&["3 of 3 copies cannot be restored from yet"]);
    let run = run_of(&record);
    let copy = ["restore-from-snapshot", &run, "--claims-only", "--suffix", "x"];
    scene.plugin(&copy).run().exits(5).says(&["readyToUse"]);
    scene.plugin(&["delete", &run, "--yes"]).run().done();
    assert_eq!(unnamed(scene), Vec::<String>::new());
}

fn a_cut_that_always_fails_leaves_nothing_and_says_why(scene: &Scene) {
    let class = FaultClass::new(scene, "always-error");
    let begun = now();
    let ended = scene.backup(&["--snapshot-class", &class.name]).run().exits(1);
    let record = ended.json();
    outcome_is(&record, "Failed");
    assert_eq!(text(&record, "/status/snapshotsRemoved"), "removed", "{record:#}");
    let reason = text(&record, "/status/reason");
    assert!(reason.contains("fault on demand: always an error"), "the storage's words are not in `{reason}`");
    assert!(Kind::ALL.iter().any(|kind| reason.contains(&kind.claim())), "no claim is named in `{reason}`");
    ended.says(&["fault on demand: always an error"]);
    scene.all_serve(seconds(5));
    // The error stands for 5 s before it counts; the budget is far longer.
    for (kind, gap) in gaps(scene, &Kind::ALL, begun) {
        assert!(gap < seconds(15), "{} took no write for {gap:?}", kind.name());
    }
    assert_eq!(unnamed(scene), Vec::<String>::new());
}

/// A class of deletionPolicy Retain: what an attempt that failed had cut is removed from the storage all the same, also
/// by another process after one that died while it removed.
fn what_a_retaining_class_keeps_is_removed_too(scene: &Scene) {
    let class = FaultClass::retaining(scene);
    // All is cut by then.
    let died = scene.backup(&["--snapshot-class", &class.name]).dies_at(18).run();
    assert!(died.was_killed(), "{died}");
    // Ids begin with the time.
    let run = backups(scene).iter().map(run_of).max().expect("the run is listed");
    let kept = |line: &String| line.starts_with("stored snapshot");
    assert_eq!(unnamed(scene).iter().filter(|line| kept(line)).count(), 3);
    // When it has taken the run over, before it removes anything, when it removed one of three, and at once again.
    for more in [1, 7, 3, 2] {
        let at = journal::count(scene, &run) + more;
        let thawed = scene.plugin(&["thaw", &run, "--force"]).dies_at(at).run();
        assert!(thawed.was_killed(), "{thawed}");
        let record = scene.plugin(&["describe", &run, "-o", "json"]).run().done().json();
        let (outcome, removed) = (text(&record, "/status/outcome"), text(&record, "/status/snapshotsRemoved"));
        println!("died after {at} entries: {outcome}, snapshots {removed}");
        assert_eq!((outcome, removed), ("Running", "pending"), "{record:#}");
    }
    scene.plugin(&["thaw", &run, "--force"]).run().done();
    let record = scene.plugin(&["describe", &run, "-o", "json"]).run().done().json();
    outcome_is(&record, "Failed");
    assert_eq!(text(&record, "/status/snapshotsRemoved"), "removed", "{record:#}");
    assert_eq!(unnamed(scene), Vec::<String>::new());
}

/// The storage never answers: the budget ends it. A snapshot that cannot be removed while the storage is silent is
/// named as pending, and removed by `thaw` once it answers.
fn a_storage_that_never_answers_costs_the_budget(scene: &Scene) {
    let class = FaultClass::new(scene, "never-answer");
    let begun = now();
    let budget = ["--quiesce-budget", "8s", "--snapshot-class", &class.name];
    let ended = scene.backup(&budget).run().exits(1);
    let record = ended.json();
    outcome_is(&record, "Failed");
    assert_eq!(text(&record, "/status/snapshotsRemoved"), "pending", "{record:#}");
    scene.all_serve(seconds(5));
    for (kind, gap) in gaps(scene, &Kind::ALL, begun) {
        assert!(gap < seconds(8 + 5), "{} took no write for {gap:?}", kind.name());
    }
    let run = run_of(&record);
    let listed = backups(scene).into_iter().find(|record| run_of(record) == run).expect("the run is listed");
    assert_eq!(text(&listed, "/status/snapshotsRemoved"), "pending");
    let left = unnamed(scene);
    assert_eq!(left.iter().filter(|line| line.starts_with("volumesnapshotcontent/")).count(), 3, "{left:?}");
    assert_eq!(leases(scene), Vec::<String>::new());

    class.heal(scene);
    // The snapshotter gives an answer 20 s and then asks again.
    until_none("thaw to remove what was left", seconds(240), || {
        let thawed = scene.plugin(&["thaw", &run, "-o", "json"]).run();
        if thawed.code() == Some(0) { unnamed(scene) } else { vec![thawed.to_string()] }
    });
    let record = scene.plugin(&["describe", &run, "-o", "json"]).run().done().json();
    outcome_is(&record, "Failed");
    assert_eq!(text(&record, "/status/snapshotsRemoved"), "removed", "{record:#}");
    let taken = proved(scene, &Kind::ALL, &scene.backup(&[]).run().done());
    assert_ne!(taken.run, run);
    assert_eq!(list(&taken.record, "/status/claims").len(), 3);
}

#[test]
fn a_storage_whose_error_passes_costs_no_backup() {
    let scene = Scene::new("passing", &[Database::new(Kind::Redis).unprobed()]);
    part("three errors, then a cut", || an_error_that_passes_is_waited_out(&scene));
    part("a cut whose answer is lost", || an_answer_that_is_lost_after_the_cut_is_waited_for(&scene));
}

fn an_error_that_passes_is_waited_out(scene: &Scene) {
    let class = FaultClass::new(scene, "errors-3");
    let more = ["--snapshot-class", &class.name, "--cut-error-patience", "25s"];
    consistent(scene, &[Kind::Redis], &more).copies_are_right(scene);
}

/// The first answer is an error although the storage cut: only the answer that proves the cut counts.
fn an_answer_that_is_lost_after_the_cut_is_waited_for(scene: &Scene) {
    let class = FaultClass::new(scene, "error-after-cut");
    consistent(scene, &[Kind::Redis], &["--snapshot-class", &class.name]).copies_are_right(scene);
}
