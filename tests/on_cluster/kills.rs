//! The plugin is killed with SIGKILL in and around the window. The databases must serve again by themselves, and any
//! machine must be able to bring the run to its end.

use std::thread::sleep;
use std::time::Duration;

use crate::support::acks::{longest_gap, now};
use crate::support::backup::consistent;
use crate::support::database::{Database, Kind};
use crate::support::leftovers::{backups, leases, unnamed};
use crate::support::plugin::{outcome_is, run_of, text};
use crate::support::random::Seeded;
use crate::support::scene::Scene;
use crate::support::wait::{seconds, until_none};
use crate::times;

const BUDGET: Duration = Duration::from_secs(10);
const SLACK: Duration = Duration::from_secs(5);

/// Where the plugin died.
#[derive(Clone, Copy, Debug)]
enum Death {
    /// Right after this event of its journal.
    Event(u32),
    /// So long after it printed its plan, which is the last it does before it touches anything.
    Time(Duration),
}

/// Kills one backup and judges everything after it; whether it was killed before it was over.
fn survived(scene: &Scene, death: Death, force: bool) -> bool {
    let known: Vec<String> = backups(scene).iter().map(run_of).collect();
    let plugin = scene.backup(&["--quiesce-budget", "10s"]);
    let begun = now();
    let ended = match death {
        Death::Event(event) => plugin.dies_at(event).run(),
        Death::Time(after) => {
            let mut running = plugin.start();
            running.until_says("plan of run", seconds(60));
            // The moment of death is what is tried here: it is no wait for anything.
            sleep(after);
            running.kill_hard();
            running.end(seconds(5))
        }
    };
    let died = now();
    let killed = ended.was_killed();
    assert!(killed || ended.code() == Some(0), "{death:?}: {ended}");

    // By themselves: nothing was called since.
    scene.all_serve(BUDGET + SLACK);
    for kind in Kind::ALL {
        let gap = longest_gap(&scene.acks(kind).all(), begun, now());
        assert!(gap < BUDGET + SLACK, "{death:?}: {} took no write for {gap:?}", kind.name());
    }
    let new: Vec<_> = backups(scene).into_iter().filter(|record| !known.contains(&run_of(record))).collect();
    let Some(record) = new.first() else {
        // It died before its journal was made: then it had touched nothing but Leases, which expire.
        assert!(killed && matches!(death, Death::Time(_)), "{death:?}: no run is listed: {ended}");
        return true;
    };
    let run = run_of(record);
    let outcome = text(record, "/status/outcome").to_owned();
    if killed && matches!(death, Death::Event(_)) {
        // After its last event it is over, and says so by itself.
        let over = ["Running", "ApplicationConsistent"].contains(&outcome.as_str());
        assert!(over, "{death:?}: a run that was killed is unfinished: {record:#}");
    }
    let mut thaw = vec!["thaw", &run, "-o", "json"];
    thaw.extend(force.then_some("--force"));
    let thawed = scene.plugin(&thaw).run().done();
    let record = scene.plugin(&["describe", &run, "-o", "json"]).run().done().json();
    let after = text(&record, "/status/outcome").to_owned();
    println!(
        "{death:?} after {:.1} s: {outcome}, then {after} (thaw took {:.1} s)",
        (died - begun) as f64 / 1e9,
        thawed.took.as_secs_f64()
    );
    assert!(["ApplicationConsistent", "Failed"].contains(&after.as_str()), "{death:?}: {record:#}");
    if after == "Failed" {
        assert_ne!(text(&record, "/status/snapshotsRemoved"), "pending", "{death:?}: {record:#}");
    }
    until_none("nothing left behind", seconds(30), || unnamed(scene));
    killed
}

#[test]
fn after_events_of_the_journal() {
    let scene = Scene::new("killed", &Kind::ALL.map(Database::new));
    let full = times(0, 1) == 1;
    // With three databases: intents, some held, all flushed, some cut, some released, settled.
    let sample = [5, 9, 13, 16, 21].into_iter();
    let moments: Vec<u32> = if full { (1..100).collect() } else { sample.collect() };
    let mut killed = 0;
    for (turn, event) in moments.into_iter().enumerate() {
        if !survived(&scene, Death::Event(event), turn % 2 == 1) {
            assert!(full, "the run was over before its event {event}");
            break;
        }
        killed += 1;
    }
    assert!(killed >= times(5, 20), "killed at {killed} moments only");
    let taken = consistent(&scene, &Kind::ALL, &[]);
    outcome_is(&taken.record, "ApplicationConsistent");
    taken.copies_are_right(&scene);
}

#[test]
fn at_random_times() {
    let scene = Scene::new("killed-any", &Kind::ALL.map(Database::new));
    let mut random = Seeded::of_run();
    for turn in 0..times(2, 20) {
        // Idle, a whole run takes this long from its plan to its end.
        survived(&scene, Death::Time(Duration::from_millis(random.below(2500))), turn % 2 == 1);
    }
    until_none("no lease", seconds(20), || leases(&scene));
    consistent(&scene, &Kind::ALL, &[]).copies_are_right(&scene);
}
