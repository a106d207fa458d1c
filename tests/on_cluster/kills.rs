//! The plugin is killed with SIGKILL, stopped for a minute or cut off from the network for one, in and around the
//! window. The databases must serve again by themselves, and anybody else must be able to bring the run to its end.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::acks::now;
use crate::support::backup::{consistent, retaken};
use crate::support::database::{Database, Kind};
use crate::support::leftovers::{backups, leases, unnamed};
use crate::support::network::Lost;
use crate::support::plugin::{run_of, text};
use crate::support::process::Ended;
use crate::support::random::Seeded;
use crate::support::scene::Scene;
use crate::support::strikes::{only, stopped_at, until_over};
use crate::support::user::Colleague;
use crate::support::wait::{seconds, until_none};
use crate::times;

const BUDGET: &[&str] = &["--quiesce-budget", "5s", "--request-timeout", "5s"];
/// Budget and five seconds.
const BY_ITSELF: Duration = Duration::from_secs(5 + 5);

/// How long the plugin is away: a minute, in the sample until its budget is over and its leases have expired.
fn away_since(moment: Instant) {
    let length = seconds(times(15, 60) as u64);
    // How long it is away is what is tried here: this waits for nothing.
    sleep((moment + length).saturating_duration_since(Instant::now()));
}

/// What happens to the plugin.
#[derive(Clone, Copy, Debug)]
enum Blow {
    /// Killed right after this event of its journal.
    KilledAt(u32),
    /// Killed so long after it printed its plan, which is the last it does before it touches anything.
    KilledAfter(Duration),
    /// Stopped for a minute right after this event.
    StoppedAt(u32),
    /// Without its network for a minute right after this event.
    OfflineAt(u32),
}

/// Three databases with four claims, and somebody else who may help.
struct Ground {
    scene: Scene,
    colleague: Colleague,
    /// The runs that were judged.
    known: RefCell<BTreeSet<String>>,
}

impl Ground {
    fn new(test: &str) -> Self {
        let scene = Scene::new(test, &Database::with_four_claims());
        let colleague = Colleague::of(&scene);
        Self { scene, colleague, known: RefCell::default() }
    }

    /// Brings a run to its end from elsewhere.
    fn thaw(&self, run: &str, force: bool) -> Ended {
        let mut thaw = vec!["thaw", run, "-o", "json"];
        thaw.extend(force.then_some("--force"));
        self.scene.plugin(&thaw).kubeconfig(&self.colleague.kubeconfig).run().done()
    }

    /// Fails unless every database takes writes by itself, and always did within that time.
    #[track_caller]
    fn serve(&self, blow: Blow, begun: i128) {
        self.scene.all_serve(BY_ITSELF);
        for kind in Kind::ALL {
            let gap = self.scene.acks(kind).gap_since(begun);
            assert!(gap < BY_ITSELF, "{blow:?}: {} took no write for {gap:?}", kind.name());
        }
    }

    /// One backup under this blow, and its end; `early` also ends the run while the plugin is away. None if the run was
    /// over before.
    fn struck(&self, blow: Blow, early: bool) -> Option<Ended> {
        retaken(&format!("{blow:?}"), || match self.struck_once(blow, early) {
            Err(ended) if ended.code() == Some(0) => Ok(None),
            Ok(ended) => Ok(Some(ended)),
            Err(ended) => Err(ended),
        })
    }

    /// The same, or the end of a run that was over before.
    fn struck_once(&self, blow: Blow, early: bool) -> Result<Ended, Ended> {
        let plugin = self.scene.backup(BUDGET);
        let begun = now();
        let while_away = |moment: Instant| {
            self.serve(blow, begun);
            if early && let Some(run) = self.new_runs().iter().map(run_of).max() {
                self.thaw(&run, true);
            }
            away_since(moment);
        };
        let ended = match blow {
            Blow::KilledAt(event) => plugin.dies_at(event).run(),
            Blow::KilledAfter(after) => {
                let mut running = plugin.start();
                running.until_says("plan of run", seconds(60));
                // The moment of death is what is tried here: it is no wait for anything.
                sleep(after);
                running.kill_hard();
                running.end(seconds(5))
            }
            Blow::StoppedAt(event) => {
                let running = stopped_at(event, plugin)?;
                // As long as the lid of a laptop was closed.
                while_away(Instant::now());
                running.signal("CONT");
                running.end(seconds(180))
            }
            Blow::OfflineAt(event) => {
                let network = Lost::new();
                let running = stopped_at(event, plugin.inside(&network))?;
                // It stands still only until its network is gone.
                network.down();
                running.signal("CONT");
                while_away(Instant::now());
                network.up();
                running.end(seconds(180))
            }
        };
        self.serve(blow, begun);
        let killed = matches!(blow, Blow::KilledAt(_) | Blow::KilledAfter(_));
        if killed && !ended.was_killed() { Err(ended) } else { Ok(ended) }
    }

    /// The records of runs that were not judged yet.
    fn new_runs(&self) -> Vec<Value> {
        let known = self.known.borrow();
        backups(&self.scene).into_iter().filter(|record| !known.contains(&run_of(record))).collect()
    }

    /// Strikes one backup and judges everything after it; whether it was struck before it was over.
    #[track_caller]
    fn survived(&self, blow: Blow, odd: bool) -> bool {
        let scene = &self.scene;
        let struck = self.struck(blow, odd);
        let new = self.new_runs();
        self.known.borrow_mut().extend(new.iter().map(run_of));
        let Some(ended) = struck else { return false };
        // Ids begin with the time.
        let Some(listed) = new.into_iter().max_by_key(run_of) else {
            // It died before its journal was made: then it had touched nothing but Leases, which expire.
            assert!(matches!(blow, Blow::KilledAfter(_)), "{blow:?}: no run is listed: {ended}");
            return true;
        };
        let run = run_of(&listed);
        let before = text(&listed, "/status/outcome");
        match (ended.code(), before) {
            (None, "Running" | "ApplicationConsistent" | "Failed") if ended.was_killed() => {}
            (Some(0), "ApplicationConsistent") | (Some(1), "Failed" | "Running") | (Some(4), "Stuck" | "Running") => {}
            // It does not know, and says so; somebody else has ended the run meanwhile.
            (Some(4), _) if odd => {}
            // Its backup was past its window, and was finished by who took the run over.
            (Some(1), "ApplicationConsistent") if odd && ended.stderr.contains("taken over") => {}
            other => panic!("{blow:?}: {other:?}: {ended}\n{listed:#}"),
        }
        let thawed = self.thaw(&run, odd);
        let record = scene.plugin(&["describe", &run, "-o", "json"]).run().done().json();
        let after = text(&record, "/status/outcome");
        println!(
            "{blow:?}: {} after {:.1} s, {before}, then {after} (thaw took {:.1} s)",
            ended.status,
            ended.took.as_secs_f64(),
            thawed.took.as_secs_f64()
        );
        match after {
            "ApplicationConsistent" => {}
            "Failed" => assert_ne!(text(&record, "/status/snapshotsRemoved"), "pending", "{blow:?}: {record:#}"),
            _ => panic!("{blow:?}: {record:#}"),
        }
        until_none("nothing left behind", seconds(60), || unnamed(scene));
        true
    }

    fn works(&self) {
        until_none("no lease", seconds(30), || leases(&self.scene));
        consistent(&self.scene, &Kind::ALL, &[]).copies_are_right(&self.scene);
    }
}

/// A blow at each event, until a run is over before.
fn at_every_event(test: &str, blow: fn(u32) -> Blow) {
    let ground = Ground::new(test);
    until_over(1..100, 1, |&event| ground.survived(blow(event), event % 2 == 1)).all_survived(test, 20);
    ground.works();
}

fn at_random_times() {
    let ground = Ground::new("killed-any");
    let mut random = Seeded::of_run();
    for turn in 0..20 {
        // Idle, a whole run takes this long from its plan to its end.
        ground.survived(Blow::KilledAfter(Duration::from_millis(random.below(2500))), turn % 2 == 1);
    }
    ground.works();
}

/// Some of each in one scene: three kills at events, a kill at any time, and by the seed a stop or a loss of the
/// network.
fn sample() {
    let ground = Ground::new("struck");
    let mut random = Seeded::of_run();
    // With three databases: intents, some held, all flushed, some cut, some released, settled.
    let events = [5, 9, 13, 16, 21];
    let first = usize::try_from(random.below(events.len() as u64)).unwrap();
    let mut blows: Vec<Blow> = (0..3).map(|n| Blow::KilledAt(events[(first + n * 2) % events.len()])).collect();
    blows.push(Blow::KilledAfter(Duration::from_millis(random.below(2500))));
    let away: [fn(u32) -> Blow; 2] = [Blow::StoppedAt, Blow::OfflineAt];
    blows.push(random.one_of(&away)(4 + u32::try_from(random.below(20)).unwrap()));
    // The help comes while the plugin is away, or after it.
    let early = random.below(2) == 0;
    for (turn, blow) in blows.into_iter().enumerate() {
        let is_away = matches!(blow, Blow::StoppedAt(_) | Blow::OfflineAt(_));
        let struck = ground.survived(blow, if is_away { early } else { turn % 2 == 1 });
        assert!(struck || matches!(blow, Blow::KilledAfter(_)), "the run was over before {blow:?}");
    }
    ground.works();
}

/// The parts of the full row, of which `CONSISTENT_BACKUP_BLOWS` names some.
const ROWS: [&str; 4] = ["killed", "stopped", "offline", "random"];

#[test]
fn the_databases_serve_whatever_strikes_the_plugin() {
    let rows = only("CONSISTENT_BACKUP_BLOWS", &ROWS).unwrap_or(ROWS.to_vec());
    if times(0, 1) == 0 {
        return sample();
    }
    // At the same time: most of it is waiting.
    std::thread::scope(|scope| {
        for row in rows {
            scope.spawn(move || match row {
                "killed" => at_every_event("killed", Blow::KilledAt),
                "stopped" => at_every_event("stopped", Blow::StoppedAt),
                "offline" => at_every_event("offline", Blow::OfflineAt),
                _ => at_random_times(),
            });
        }
    });
}
