//! The plugin is killed with SIGKILL, stopped for a minute or cut off from the network for one, in and around the
//! window. The databases must serve again by themselves, and anybody else must be able to bring the run to its end.

use std::thread::sleep;
use std::time::Duration;

use crate::support::acks::now;
use crate::support::backup::consistent;
use crate::support::database::{Database, Kind};
use crate::support::leftovers::{backups, leases, unnamed};
use crate::support::network::Lost;
use crate::support::plugin::{outcome_is, run_of, text};
use crate::support::process::Ended;
use crate::support::random::Seeded;
use crate::support::scene::Scene;
use crate::support::user::Colleague;
use crate::support::wait::{seconds, until_none};
use crate::times;

const BUDGET: &[&str] = &["--quiesce-budget", "5s", "--request-timeout", "5s"];
/// Budget and five seconds.
const BY_ITSELF: Duration = Duration::from_secs(5 + 5);

/// A minute; in the sample long enough for all that ends by itself.
fn a_minute() -> Duration {
    seconds(times(15, 60) as u64)
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
}

impl Ground {
    fn new(test: &str) -> Self {
        let scene = Scene::new(test, &Database::with_four_claims());
        let colleague = Colleague::of(&scene);
        Self { scene, colleague }
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

    /// One backup under this blow, and what it said; `early` also ends the run while the plugin is not there to.
    /// None if its run was over before; one that the busy machine failed by its budget is no such run.
    fn struck(&self, blow: Blow, early: bool, known: &[String]) -> Option<Ended> {
        for _ in 0..5 {
            match self.struck_once(blow, early, known) {
                Ok(struck) => return struck,
                Err(late) => println!("{blow:?}: again, it failed before: {}", late.status),
            }
        }
        panic!("{blow:?}: five runs failed before they came so far");
    }

    fn struck_once(&self, blow: Blow, early: bool, known: &[String]) -> Result<Option<Ended>, Ended> {
        let plugin = self.scene.backup(BUDGET);
        let begun = now();
        let over = |ended: Ended| match ended.code() {
            Some(0) => Ok(None),
            Some(1) if ended.json().pointer("/status/reason").is_some_and(|why| why.to_string().contains("budget")) => {
                Err(ended)
            }
            _ => panic!("{blow:?}: {ended}"),
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
                let mut running = plugin.stops_at(event).start();
                if running.until_stopped(seconds(60)) {
                    self.serve(blow, begun);
                    if early && let Some(run) = self.runs(known).into_iter().max() {
                        self.thaw(&run, true);
                    }
                    // As long as the lid of a laptop was closed.
                    sleep(a_minute());
                    running.signal("CONT");
                    running.end(seconds(180))
                } else {
                    return over(running.end(seconds(60)));
                }
            }
            Blow::OfflineAt(event) => {
                let network = Lost::new();
                let mut running = plugin.inside(&network).stops_at(event).start();
                if running.until_stopped(seconds(60)) {
                    // It stands still only until its network is gone.
                    network.down();
                    running.signal("CONT");
                    self.serve(blow, begun);
                    if early && let Some(run) = self.runs(known).into_iter().max() {
                        self.thaw(&run, true);
                    }
                    sleep(a_minute());
                    network.up();
                    running.end(seconds(180))
                } else {
                    return over(running.end(seconds(60)));
                }
            }
        };
        self.serve(blow, begun);
        if matches!(blow, Blow::KilledAt(_) | Blow::KilledAfter(_)) && !ended.was_killed() {
            return over(ended);
        }
        Ok(Some(ended))
    }

    /// Runs that are not among these.
    fn runs(&self, known: &[String]) -> Vec<String> {
        backups(&self.scene).iter().map(run_of).filter(|run| !known.contains(run)).collect()
    }

    /// Strikes one backup and judges everything after it; whether it was struck before it was over.
    #[track_caller]
    fn survived(&self, blow: Blow, odd: bool) -> bool {
        let scene = &self.scene;
        let known: Vec<String> = self.runs(&[]);
        let Some(ended) = self.struck(blow, odd, &known) else { return false };
        // Ids begin with the time.
        let Some(run) = self.runs(&known).into_iter().max() else {
            // It died before its journal was made: then it had touched nothing but Leases, which expire.
            assert!(matches!(blow, Blow::KilledAfter(_)), "{blow:?}: no run is listed: {ended}");
            return true;
        };
        let listed = scene.plugin(&["describe", &run, "-o", "json"]).run().done().json();
        let before = text(&listed, "/status/outcome").to_owned();
        match (ended.code(), before.as_str()) {
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
        let after = text(&record, "/status/outcome").to_owned();
        println!(
            "{blow:?}: {} after {:.1} s, {before}, then {after} (thaw took {:.1} s)",
            ended.status,
            ended.took.as_secs_f64(),
            thawed.took.as_secs_f64()
        );
        match after.as_str() {
            "ApplicationConsistent" => {}
            "Failed" => assert_ne!(text(&record, "/status/snapshotsRemoved"), "pending", "{blow:?}: {record:#}"),
            _ => panic!("{blow:?}: {record:#}"),
        }
        until_none("nothing left behind", seconds(30), || unnamed(scene));
        true
    }

    fn works(&self) {
        let taken = consistent(&self.scene, &Kind::ALL, &[]);
        outcome_is(&taken.record, "ApplicationConsistent");
        taken.copies_are_right(&self.scene);
    }
}

/// A blow at each event, until a run is over before.
fn at_every_event(test: &str, blow: fn(u32) -> Blow) {
    let ground = Ground::new(test);
    let struck = (1..100).take_while(|&event| ground.survived(blow(event), event % 2 == 1)).count();
    println!("{test}: {struck} events");
    assert!(struck >= 20, "struck at {struck} events only");
    ground.works();
}

fn at_random_times() {
    let ground = Ground::new("killed-any");
    let mut random = Seeded::of_run();
    for turn in 0..20 {
        // Idle, a whole run takes this long from its plan to its end.
        ground.survived(Blow::KilledAfter(Duration::from_millis(random.below(2500))), turn % 2 == 1);
    }
    until_none("no lease", seconds(20), || leases(&ground.scene));
    ground.works();
}

/// Some of each in one scene.
fn sample() {
    let ground = Ground::new("struck");
    let mut random = Seeded::of_run();
    // With three databases: intents, some held, all flushed, some cut, some released, settled.
    let events = [5, 9, 13, 16, 21];
    let first = usize::try_from(random.below(events.len() as u64)).unwrap();
    let mut blows: Vec<Blow> = (0..3).map(|n| Blow::KilledAt(events[(first + n * 2) % events.len()])).collect();
    blows.push(Blow::KilledAfter(Duration::from_millis(random.below(2500))));
    blows.push(Blow::StoppedAt(4 + u32::try_from(random.below(20)).unwrap()));
    blows.push(Blow::OfflineAt(4 + u32::try_from(random.below(20)).unwrap()));
    for (turn, blow) in blows.into_iter().enumerate() {
        let struck = ground.survived(blow, turn % 2 == 1);
        assert!(struck || matches!(blow, Blow::KilledAfter(_)), "the run was over before {blow:?}");
    }
    until_none("no lease", seconds(20), || leases(&ground.scene));
    ground.works();
}

#[test]
fn whatever_strikes_the_plugin_the_databases_serve() {
    if times(0, 1) == 0 {
        return sample();
    }
    // Beside each other: most of their time is waiting.
    std::thread::scope(|scope| {
        scope.spawn(|| at_every_event("killed", Blow::KilledAt));
        scope.spawn(|| at_every_event("stopped", Blow::StoppedAt));
        scope.spawn(|| at_every_event("offline", Blow::OfflineAt));
        at_random_times();
    });
}
