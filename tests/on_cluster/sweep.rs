//! Every request of a run is broken in every way, one run each. Whatever the plugin says afterwards must be true, the
//! databases must serve without any help, and another machine must be able to bring the run to its end.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;

use serde_json::Value;

use crate::support::acks::now;
use crate::support::backup::consistent;
use crate::support::cluster;
use crate::support::database::{Database, Kind};
use crate::support::leftovers::{backups, unnamed};
use crate::support::plugin::{list, run_of, text, told_truly};
use crate::support::random::Seeded;
use crate::support::scene::Scene;
use crate::support::user::Colleague;
use crate::support::wait::{seconds, until_none};
use crate::times;

/// Not sent; sent and the answer lost; never answered; answers that the API server did not give; and the process killed
/// once the request was answered.
pub(crate) const KINDS: [&str; 7] = ["lost", "die", "hang", "unsent", "500", "409", "429"];

const BUDGET: u64 = 5;
const SLACK: u64 = 5;

/// Breaks one request of one backup and judges everything after it; whether the run had such a request.
#[track_caller]
fn survived(scene: &Scene, colleague: &Colleague, kind: &str, n: u32, force: bool) -> bool {
    let known: Vec<String> = backups(scene).iter().map(run_of).collect();
    let left_before = unnamed(scene);
    let begun = now();
    let ended = scene
        .backup(&["--quiesce-budget", &format!("{BUDGET}s"), "--request-timeout", "3s", "--attempts", "2"])
        .env("CONSISTENT_BACKUP_TEST_FAULT", format!("{kind}@{n}"))
        .run();
    let at = |ended: &dyn std::fmt::Display| format!("{kind}@{n}: {ended}");
    let hit = ended.stderr.lines().find(|line| line.starts_with("test: ")).map(str::to_owned);

    // By themselves: nothing was called since.
    scene.all_serve(seconds(BUDGET + SLACK));
    for database in Kind::ALL {
        let gap = scene.acks(database).gap_since(begun);
        assert!(gap < seconds(BUDGET + SLACK), "{}: no write for {gap:?}", at(&database.name()));
    }
    let new: Vec<Value> = backups(scene).into_iter().filter(|record| !known.contains(&run_of(record))).collect();
    assert!(new.len() <= 1, "{}", at(&ended));
    // What the exit code says is true, before anybody helps.
    let outcome = new.first().map(|record| text(record, "/status/outcome").to_owned());
    told_truly(&ended, outcome.as_deref(), &at(&""));
    let mut after = "-".to_owned();
    if let Some(record) = new.first() {
        let run = run_of(record);
        let mut thaw = vec!["thaw", &run, "-o", "json"];
        thaw.extend(force.then_some("--force"));
        scene.plugin(&thaw).kubeconfig(&colleague.kubeconfig).run().done();
        let record = scene.plugin(&["describe", &run, "-o", "json"]).run().done().json();
        text(&record, "/status/outcome").clone_into(&mut after);
        match after.as_str() {
            "ApplicationConsistent" => copies_are_there(&record),
            "Failed" => assert_ne!(text(&record, "/status/snapshotsRemoved"), "pending", "{}", at(&ended)),
            _ => panic!("{after} after thaw: {}", at(&ended)),
        }
    }
    // Leases of a process that was killed expire, and its question whether a snapshot-controller lives is taken back by a
    // later run, once it is old enough to be nobody's.
    until_none("nothing left behind", seconds(30), || {
        let of_the_dead = |left: &String| {
            (ended.was_killed() || left_before.contains(left))
                && (left.starts_with("lease/") || left.contains("-probe-"))
        };
        unnamed(scene).into_iter().filter(|left| !of_the_dead(left)).collect()
    });
    // The next run would wait for them to expire, and have other requests than this one.
    scene.kubectl.ok(&["delete", "leases", "--all"]);
    let code = ended.code().map_or("killed".to_owned(), |code| code.to_string());
    let (outcome, line) = (outcome.as_deref().unwrap_or("-"), hit.as_deref().unwrap_or("not reached"));
    println!("{kind}@{n} in {:.1} s: {code} {outcome}, then {after} ({line})", ended.took.as_secs_f64());
    if hit.is_none() {
        assert_eq!(ended.code(), Some(0), "nothing was broken, and yet: {}", at(&ended));
    }
    hit.is_some()
}

/// A backup that is said to be one is in the storage.
#[track_caller]
fn copies_are_there(record: &Value) {
    for claim in list(record, "/status/claims") {
        let handle = text(claim, "/handle");
        assert!(cluster::stored_snapshot(handle).is_some(), "{handle} is not stored: {record:#}");
    }
}

/// All kinds of faults from the first request on, or those of `CONSISTENT_BACKUP_FAULTS`, apart by commas: `hang,lost@62`.
pub(crate) fn kinds() -> Vec<(String, u32)> {
    let wanted = std::env::var("CONSISTENT_BACKUP_FAULTS").unwrap_or_else(|_| KINDS.join(","));
    let read = |one: &str| match one.split_once('@') {
        Some((kind, from)) => (kind.to_owned(), from.parse().unwrap_or_else(|_| panic!("{one} is no fault"))),
        None => (one.to_owned(), 1),
    };
    wanted.split(',').map(read).collect()
}

#[test]
fn any_broken_request_is_survived() {
    let mut broken = 0;
    if times(0, 1) == 1 {
        // Three at a time: a run mostly waits.
        let queue = Mutex::new(kinds());
        let next = || queue.lock().unwrap().pop();
        std::thread::scope(|scope| {
            let worker = || std::iter::from_fn(next).map(|(kind, from)| swept(&kind, from)).sum::<usize>();
            let workers: Vec<_> = (0..3).map(|_| scope.spawn(worker)).collect();
            broken = workers.into_iter().map(|worker| worker.join().unwrap()).sum();
        });
    } else {
        let scene = Scene::new("sweep", &Database::with_four_claims());
        let colleague = Colleague::of(&scene);
        let mut random = Seeded::of_run();
        for turn in 0..8_usize {
            let n = 1 + u32::try_from(random.below(110)).unwrap();
            broken += usize::from(survived(&scene, &colleague, KINDS[turn % KINDS.len()], n, turn % 2 == 0));
        }
        assert!(broken >= 4, "only {broken} requests were broken");
        nothing_is_left(&scene);
        consistent(&scene, &Kind::ALL, &[]).copies_are_right(&scene);
    }
    println!("{broken} runs with a broken request");
}

/// After another backup, once what the dead left is old enough to be nobody's, nothing is there that no record names.
fn nothing_is_left(scene: &Scene) {
    until_none("a backup that leaves nothing", seconds(120), || {
        scene.backup(&[]).run().done();
        unnamed(scene)
    });
}

/// Breaks every request of a run in this way, until a run needs fewer. A run that does not survive fails the test in the
/// end: what the others find is worth knowing, too.
fn swept(kind: &str, from: u32) -> usize {
    let scene = Scene::new("sweep", &Database::with_four_claims());
    let colleague = Colleague::of(&scene);
    let begun = std::time::Instant::now();
    let mut failed = Vec::new();
    let reached = (from..1000)
        .take_while(|&n| {
            let survived = || survived(&scene, &colleague, kind, n, n % 2 == 0);
            catch_unwind(AssertUnwindSafe(survived)).unwrap_or_else(|_| {
                failed.push(n);
                failed.len() < 5
            })
        })
        .count();
    println!("{kind} from {from}: {reached} requests in {} s, not survived: {failed:?}", begun.elapsed().as_secs());
    assert!(failed.is_empty(), "{kind}: not survived: {failed:?}");
    assert!(from > 1 || reached > 50, "only {reached} requests were broken");
    nothing_is_left(&scene);
    consistent(&scene, &Kind::ALL, &[]).copies_are_right(&scene);
    reached
}
