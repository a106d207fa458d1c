//! A window over a release is struck at every event of its journal, and every request of it is broken in every way. A
//! pause has no limit of its own: without a guard it stays until `thaw`, and then the record says which pods it may be;
//! with one the release serves again whatever became of the plugin.

use serde_json::Value;

use crate::support::acks::{AckLog, now};
use crate::support::backup::{failed_by_budget, retaken};
use crate::support::database::{Database, Kind};
use crate::support::guard;
use crate::support::leftovers::{backups, leases};
use crate::support::plugin::{Plugin, list, outcome_is, run_of, text, told_truly};
use crate::support::process::Ended;
use crate::support::random::Seeded;
use crate::support::scalar::{Product, Release};
use crate::support::scene::Scene;
use crate::support::user::Colleague;
use crate::support::wait::{seconds, until_none};
use crate::sweep::{KINDS, kinds};
use crate::times;

const WINDOW: &[&str] = &["quiesce-snapshot", "--release", "shop", "--backend", "window", "-o", "json"];
const LIMITS: &[&str] =
    &["--hold", "1s", "--max-pause-wait-time", "2s", "--quiesce-budget", "6s", "--request-timeout", "3s"];
/// The budget and five seconds.
const BY_ITSELF: u64 = 6 + 5;

/// A busy release of three pods, and somebody else who may help.
struct Ground {
    scene: Scene,
    release: Release,
    acks: AckLog,
    colleague: Colleague,
}

impl Ground {
    fn new(test: &str) -> Self {
        let scene = Scene::new(test, &[Database::new(Kind::Postgres).idle()]);
        let release = Release::new(&scene.kubectl, Product::ScalarDbCluster, "shop", &[]);
        let acks = release.busy();
        let colleague = Colleague::with(&scene, "colleague", &["--platform", "scalar", "--guard"]);
        Self { scene, release, acks, colleague }
    }

    fn window(&self, guarded: bool) -> Plugin {
        let guard: &[&str] = if guarded { &["--guard-image", guard::image()] } else { &[] };
        self.scene.plugin(WINDOW).args(LIMITS).args(guard)
    }

    /// Takes a window and judges everything after it.
    #[track_caller]
    fn survived(&self, guarded: bool, what: &str, strike: impl FnOnce(Plugin) -> Plugin) -> Ended {
        let known: Vec<String> = backups(&self.scene).iter().map(run_of).collect();
        let begun = now();
        let mut ended = strike(self.window(guarded)).run();
        if guarded {
            // By itself: nothing was called since. Of a pause that came to some pods only the others' rows tell nothing.
            until_none("pods that are paused", seconds(BY_ITSELF), || self.release.paused());
            self.acks.serves_after(now(), seconds(BY_ITSELF));
        }
        let paused = self.release.paused();
        let new: Vec<Value> =
            backups(&self.scene).into_iter().filter(|record| !known.contains(&run_of(record))).collect();
        assert!(new.len() <= 1, "{what}: {ended}");
        let outcome = new.first().map(|record| text(record, "/status/outcome").to_owned());
        told_truly(&ended, outcome.as_deref(), what);
        // Whatever is paused is known to be, by the record alone.
        let record = new.first();
        let held = record.map_or_else(Vec::new, |record| list(record, "/status/mayBeHeld").to_vec());
        let named = |pod: &String| held.iter().any(|held| held.as_str().is_some_and(|held| held.contains(pod)));
        assert!(paused.iter().all(named), "{what}: {paused:?} are paused, and {held:?} may be: {ended}");
        if guarded || matches!(ended.code(), Some(0 | 1 | 5)) {
            assert!(paused.is_empty(), "{what}: {paused:?} are paused: {ended}");
            let gap = self.acks.gap_since(begun);
            assert!(gap < seconds(BY_ITSELF), "{what}: no row for {gap:?}: {ended}");
        }
        if !guarded && ended.stderr.contains("plan of run") {
            ended = ended.says(&["only `thaw` releases it"]);
        }
        let mut after = "-".to_owned();
        if let Some(run) = record.map(run_of) {
            let thaw = ["thaw", &run, "--force", "-o", "json"];
            self.scene.plugin(&thaw).kubeconfig(&self.colleague.kubeconfig).run().done();
            let record = self.scene.plugin(&["describe", &run, "-o", "json"]).run().done().json();
            text(&record, "/status/outcome").clone_into(&mut after);
            assert!(["Failed", "ApplicationConsistent"].contains(&after.as_str()), "{what}: {record:#}");
            assert_eq!(list(&record, "/status/mayBeHeld").len(), 0, "{what}: {record:#}");
        }
        self.release.are_paused(false);
        self.acks.serves_after(now(), seconds(30));
        until_none("no guard", seconds(30), || self.guards());
        if !ended.was_killed() {
            until_none("no lease", seconds(30), || leases(&self.scene));
        }
        self.scene.kubectl.ok(&["delete", "leases", "--all"]);
        println!(
            "{what}: {} in {:.1} s, {} paused, {}, then {after}",
            ended.status,
            ended.took.as_secs_f64(),
            paused.len(),
            outcome.as_deref().unwrap_or("-")
        );
        ended
    }

    fn guards(&self) -> Vec<String> {
        crate::support::kubectl::names(&self.scene.kubectl.list(&["pods", "-l", "consistent-backup/part=guard"]))
    }

    fn works(&self) {
        outcome_is(&self.window(false).run().done().json(), "ApplicationConsistent");
    }
}

/// Dies after this event; whether it came so far.
fn killed(ground: &Ground, event: u32, guarded: bool) -> bool {
    let what = format!("killed at event {event}, {}", if guarded { "guarded" } else { "no guard" });
    retaken(&what, || match ground.survived(guarded, &what, |plugin| plugin.dies_at(event)) {
        ended if failed_by_budget(&ended) => Err(ended),
        ended => Ok(ended.was_killed()),
    })
}

/// Breaks this request; whether there was one.
fn broken(ground: &Ground, kind: &str, n: u32, guarded: bool) -> bool {
    let fault = format!("{kind}@{n}");
    let what = format!("{fault}{}", if guarded { ", guarded" } else { "" });
    retaken(&what, || {
        let ended =
            ground.survived(guarded, &what, |plugin| plugin.env("CONSISTENT_BACKUP_TEST_FAULT", fault.as_str()));
        let hit = ended.stderr.lines().find(|line| line.starts_with("test: ")).map(str::to_owned);
        println!("  {}", hit.as_deref().unwrap_or("not reached"));
        match hit {
            Some(_) => Ok(true),
            None if failed_by_budget(&ended) => Err(ended),
            None => Ok(false),
        }
    })
}

#[test]
fn whatever_strikes_a_window_its_pauses_are_known_and_end() {
    if times(0, 1) == 1 {
        std::thread::scope(|scope| {
            scope.spawn(killed_at_every_event);
            scope.spawn(every_request_broken);
        });
        return;
    }
    let ground = Ground::new("scalar-struck");
    let mut random = Seeded::of_run();
    for guarded in [false, false, true] {
        let event = 1 + u32::try_from(random.below(12)).unwrap();
        assert!(killed(&ground, event, guarded), "the run was over before its event {event}");
    }
    // A number that no run reaches ends the draw below it: how many requests there are is the plugin's own business.
    let (mut reached, mut end) = (0, 60);
    while reached < 4 {
        let kind = KINDS[usize::try_from(random.below(KINDS.len() as u64)).unwrap()];
        let n = 1 + u32::try_from(random.below(end)).unwrap();
        if broken(&ground, kind, n, false) {
            reached += 1;
        } else {
            end = u64::from(n - 1);
            assert!(end >= 30, "a run has no more than {end} requests");
        }
    }
    ground.works();
}

fn killed_at_every_event() {
    let ground = Ground::new("scalar-killed");
    for guarded in [false, true] {
        let events = (1..100).take_while(|&event| killed(&ground, event, guarded)).count();
        println!("killed at {events} events, guarded: {guarded}");
        assert!(events >= 12, "killed at {events} events only");
    }
    ground.works();
}

fn every_request_broken() {
    let ground = Ground::new("scalar-broken");
    for (kind, from) in kinds() {
        let requests = (from..1000).take_while(|&n| broken(&ground, &kind, n, n % 5 == 0)).count();
        println!("{kind} from {from}: {requests} requests");
        assert!(from > 1 || requests > 30, "only {requests} requests were broken");
    }
    ground.works();
}
