//! Every request of a run is broken in every way, one run each. Whatever the plugin says afterwards must be true, the
//! databases must serve without any help, and another machine must be able to bring the run to its end.

use std::collections::BTreeSet;
use std::sync::Mutex;

use serde_json::Value;

use crate::support::acks::now;
use crate::support::backup::{failed_by_budget, proved, retaken};
use crate::support::cluster;
use crate::support::database::{Database, Kind};
use crate::support::leftovers::{backups, unnamed};
use crate::support::plugin::{list, run_of, text, told_truly};
use crate::support::process::Ended;
use crate::support::random::Seeded;
use crate::support::scene::Scene;
use crate::support::strikes::{only_from, until_over};
use crate::support::user::Colleague;
use crate::support::wait::{seconds, until};
use crate::times;

/// Not sent; sent and the answer lost; never answered; answers that the API server did not give; and the process killed
/// once the request was answered.
pub(crate) const KINDS: [&str; 7] = ["lost", "die", "hang", "unsent", "500", "409", "429"];

const BUDGET: u64 = 5;
const SLACK: u64 = 5;

/// Three databases with four claims, and somebody else who may help.
struct Ground {
    scene: Scene,
    colleague: Colleague,
    /// The runs that there are.
    known: BTreeSet<String>,
    /// What runs that were killed left behind.
    left: Vec<String>,
    /// Whether both are of now: a run that failed its test ended before they were noted.
    noted: bool,
}

impl Ground {
    fn new() -> Self {
        let scene = Scene::new("sweep", &Database::with_four_claims());
        let colleague = Colleague::of(&scene);
        Self { scene, colleague, known: BTreeSet::new(), left: Vec::new(), noted: true }
    }

    /// Breaks one request of one backup and judges everything after it; whether the run had such a request. One that a
    /// busy machine failed by its budget before that request is judged too, and another one is struck.
    #[track_caller]
    fn survived(&mut self, kind: &str, n: u32, force: bool) -> bool {
        retaken(&format!("{kind}@{n}"), || {
            let (hit, ended) = self.survived_once(kind, n, force);
            if !hit && failed_by_budget(&ended) { Err(ended) } else { Ok((hit, ended)) }
        })
        .0
    }

    #[track_caller]
    fn survived_once(&mut self, kind: &str, n: u32, force: bool) -> (bool, Ended) {
        let scene = &self.scene;
        if !std::mem::replace(&mut self.noted, false) {
            self.known = backups(scene).iter().map(run_of).collect();
            self.left = unnamed(scene);
        }
        let begun = now();
        let ended = scene
            .backup(&["--quiesce-budget", &format!("{BUDGET}s"), "--request-timeout", "3s", "--attempts", "2"])
            .env("CONSISTENT_BACKUP_TEST_FAULT", format!("{kind}@{n}"))
            .run();
        let at = |ended: &dyn std::fmt::Display| format!("{kind}@{n}: {ended}");
        let hit = ended.stderr.lines().find(|line| line.starts_with("test: "));

        // By themselves: nothing was called since.
        scene.all_serve(seconds(BUDGET + SLACK));
        for database in Kind::ALL {
            let gap = scene.acks(database).gap_since(begun);
            assert!(gap < seconds(BUDGET + SLACK), "{}: no write for {gap:?}", at(&database.name()));
        }
        let is_new = |record: &Value| !self.known.contains(&run_of(record));
        let new: Vec<Value> = backups(scene).into_iter().filter(is_new).collect();
        assert!(new.len() <= 1, "{}", at(&ended));
        // What the exit code says is true, before anybody helps.
        let outcome = new.first().map_or("-", |record| text(record, "/status/outcome"));
        told_truly(&ended, new.first().map(|_| outcome), &at(&""));
        let mut after = "-".to_owned();
        if let Some(record) = new.first() {
            let run = run_of(record);
            let mut thaw = vec!["thaw", &run, "-o", "json"];
            thaw.extend(force.then_some("--force"));
            scene.plugin(&thaw).kubeconfig(&self.colleague.kubeconfig).run().done();
            let record = scene.plugin(&["describe", &run, "-o", "json"]).run().done().json();
            text(&record, "/status/outcome").clone_into(&mut after);
            match after.as_str() {
                "ApplicationConsistent" => copies_are_there(&record),
                "Failed" => assert_ne!(text(&record, "/status/snapshotsRemoved"), "pending", "{}", at(&ended)),
                _ => panic!("{after} after thaw: {}", at(&ended)),
            }
            self.known.insert(run);
        }
        // Leases of a process that was killed expire, and its question whether a snapshot-controller lives is taken back
        // by a later run, once it is old enough to be nobody's.
        let of_the_dead = |left: &String| {
            (ended.was_killed() || self.left.contains(left)) && (left.starts_with("lease/") || left.contains("-probe-"))
        };
        let mut left = until("nothing left behind", seconds(60), || {
            let left = unnamed(scene);
            if left.iter().all(of_the_dead) { Ok(left) } else { Err(left.join(", ")) }
        });
        // The next run would wait for them to expire, and have other requests than this one.
        scene.kubectl.ok(&["delete", "leases", "--all"]);
        left.retain(|left| !left.starts_with("lease/"));
        let code = ended.code().map_or("killed".to_owned(), |code| code.to_string());
        let line = hit.unwrap_or("not reached");
        println!("{kind}@{n} in {:.1} s: {code} {outcome}, then {after} ({line})", ended.took.as_secs_f64());
        let broken = hit.is_some();
        if !broken && !failed_by_budget(&ended) {
            assert_eq!(ended.code(), Some(0), "nothing was broken, and yet: {}", at(&ended));
        }
        (self.left, self.noted) = (left, true);
        (broken, ended)
    }

    /// After another backup, once what the dead left is old enough to be nobody's, nothing is there that no record names,
    /// and that backup is as good as any.
    fn works(&self) {
        let ended = until("a backup that leaves nothing", seconds(120), || {
            let ended = self.scene.backup(&[]).run().done();
            let left = unnamed(&self.scene);
            if left.is_empty() { Ok(ended) } else { Err(left.join(", ")) }
        });
        proved(&self.scene, &Kind::ALL, &ended).copies_are_right(&self.scene);
    }
}

fn copies_are_there(record: &Value) {
    for claim in list(record, "/status/claims") {
        let handle = text(claim, "/handle");
        assert!(cluster::stored_snapshot(handle).is_some(), "{handle} is not stored: {record:#}");
    }
}

/// All kinds of faults from the first request on, or those of `CONSISTENT_BACKUP_FAULTS`, apart by commas: `hang,lost@62`.
pub(crate) fn kinds() -> Vec<(String, u32)> {
    let all = KINDS.iter().map(|kind| (*kind, None)).collect();
    let kinds = only_from("CONSISTENT_BACKUP_FAULTS", &KINDS).unwrap_or(all);
    kinds.into_iter().map(|(kind, from)| (kind.to_owned(), from.unwrap_or(1))).collect()
}

#[test]
fn a_backup_survives_any_broken_request() {
    let kinds = kinds();
    if times(0, 1) == 0 {
        return sample();
    }
    // Three at a time: a run mostly waits.
    let queue = Mutex::new(kinds);
    let next = || queue.lock().unwrap().pop();
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| std::iter::from_fn(next).for_each(|(kind, from)| swept(&kind, from)));
        }
    });
}

/// Breaks eight requests, drawn among those that a run makes.
fn sample() {
    let mut ground = Ground::new();
    let mut random = Seeded::of_run();
    let (mut broken, mut end) = (0, 110);
    while broken < 8 {
        let n = 1 + u32::try_from(random.below(end)).unwrap();
        if ground.survived(KINDS[broken % KINDS.len()], n, broken % 2 == 0) {
            broken += 1;
        } else {
            // A run makes fewer requests than that.
            end = u64::from(n) - 1;
            assert!(end > 50, "a run of {end} requests cannot be swept: does it still read the environment?");
        }
    }
    ground.works();
}

/// Breaks every request of a run in this way, until a run needs fewer. A run that does not survive fails the test in the
/// end: what the others find is worth knowing, too.
fn swept(kind: &str, from: u32) {
    let mut ground = Ground::new();
    let begun = std::time::Instant::now();
    let row = until_over(from..1000, 5, |&n| ground.survived(kind, n, n % 2 == 0));
    println!("{kind}: {} s", begun.elapsed().as_secs());
    row.all_survived(&format!("{kind} from {from}"), if from > 1 { 0 } else { 50 });
    ground.works();
}
