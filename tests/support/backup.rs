//! A backup under load, and everything that can be proved of it without opening a copy.

use std::thread;
use std::time::Instant;

use serde_json::Value;

use super::acks::{Ack, AckLog};
use super::classes::FaultClass;
use super::cluster;
use super::copies;
use super::database::Kind;
use super::plugin::{Plugin, list, outcome_is, run_of, text};
use super::process::{Ended, Running};
use super::scene::Scene;
use super::verdict::{Verdict, Window, acknowledged_inside, busy_before};
use super::wait::{seconds, until};

/// A backup that succeeded.
pub struct Taken {
    pub run: String,
    pub record: Value,
    pub window: Window,
    pub kinds: Vec<Kind>,
}

/// Takes a backup and fails unless the record proves it, its storage agrees and the writers felt the hold.
#[track_caller]
pub fn consistent(scene: &Scene, kinds: &[Kind], more: &[&str]) -> Taken {
    for kind in kinds {
        written(&scene.acks(*kind), kind.name());
    }
    let ended = scene.backup_of(kinds, more).run();
    proved(scene, kinds, &ended.done())
}

/// How many rows a writer has to have written before a backup, so that its copy can be judged (`Verdict::is_right`).
const PROMISED: usize = 60;

/// Waits until so many rows are acknowledged that a copy can be judged by them.
#[track_caller]
pub fn written(acks: &AckLog, of: &str) {
    until(&format!("{PROMISED} rows of {of}"), seconds(120), || match acks.all().len() {
        rows if rows > PROMISED => Ok(()),
        rows => Err(format!("{rows} rows")),
    });
}

/// A backup that holds all databases of the scene for 5 s, from the moment at which all of them are held.
pub fn holding(scene: &Scene, more: &[&str]) -> Running {
    holding_by(scene, more, |plugin| plugin)
}

/// The same by a plugin that runs in another way.
pub fn holding_by(scene: &Scene, more: &[&str], how: impl FnOnce(Plugin) -> Plugin) -> Running {
    let class = FaultClass::new(scene, "cut-delay-5s");
    held(how(scene.backup(&["--snapshot-class", &class.name]).args(more)))
}

/// A backup that has all that it holds, and waits for its cuts. A writer's silence would not tell: a busy machine lets
/// one rest for as long.
pub fn held(plugin: Plugin) -> Running {
    let running = plugin.start();
    running.until_says("held: cutting", seconds(60));
    running
}

/// Whether this backup failed by its budget alone. A machine that has too much to do makes a run fail so, and this is
/// what the plugin promises then: how long a run takes on an idle machine is no promise.
pub fn failed_by_budget(ended: &Ended) -> bool {
    let record: Value = serde_json::from_str(&ended.stdout).unwrap_or_default();
    let reason = match text(&record, "/status/reason") {
        "" => &ended.stderr,
        reason => reason,
    };
    ended.code() == Some(1) && reason.contains("budget") && reason.contains("was spent")
}

/// How often a run is taken that fails by its budget.
const RUNS: usize = 5;

/// Takes runs until one comes as far as a test needs it. A run that ended before may have failed by its budget alone.
#[track_caller]
pub fn retaken<T>(what: &str, mut take: impl FnMut() -> Result<T, Ended>) -> T {
    for _ in 0..RUNS {
        match take() {
            Ok(taken) => return taken,
            Err(ended) => {
                assert!(failed_by_budget(&ended), "{what}: the run ended before: {ended}");
                println!("{what}: taken again, the run failed by its budget before");
            }
        }
    }
    panic!("{what}: {RUNS} runs failed by their budget before");
}

/// A named part of a test: what it prints tells which part failed.
pub fn part<T>(name: &str, run: impl FnOnce() -> T) -> T {
    struct Part<'a>(&'a str, Instant);
    impl Drop for Part<'_> {
        fn drop(&mut self) {
            let end = if thread::panicking() { "FAILED" } else { "passed" };
            println!("part `{}` {end} after {:.1} s", self.0, self.1.elapsed().as_secs_f64());
        }
    }
    println!("part `{name}` begins");
    let _part = Part(name, Instant::now());
    run()
}

/// The same of a run that ended with an exit code of its own.
#[track_caller]
pub fn proved(scene: &Scene, kinds: &[Kind], ended: &Ended) -> Taken {
    let taken = recorded(scene, kinds, ended);
    for target in list(&taken.record, "/status/targets") {
        let kind = *kinds.iter().find(|kind| target["pod"] == kind.pod()).unwrap_or_else(|| panic!("{target:#}"));
        let full = target["stopsCommits"] == true;
        assert!(full || !kind.stops_commits(), "{target:#}");
        let held = Window::at(&taken.record, text(target, "/quiescedAt"));
        felt(kind, &scene.acks(kind).all(), held, taken.window, full);
    }
    taken
}

/// The same without asking the writers.
#[track_caller]
pub fn recorded(scene: &Scene, kinds: &[Kind], ended: &Ended) -> Taken {
    let record = ended.json();
    outcome_is(&record, "ApplicationConsistent");
    assert_eq!(record["apiVersion"], "consistent-backup/v1");
    assert_eq!(record["kind"], "Backup");
    assert_eq!(text(&record, "/metadata/namespace"), scene.namespace());
    let window = Window::of(&record);

    let targets = list(&record, "/status/targets");
    assert_eq!(targets.len(), kinds.len(), "{record:#}");
    for target in targets {
        assert_eq!(target["held"], true, "{target:#}");
    }
    let claims = list(&record, "/status/claims");
    assert_eq!(claims.len(), scene.claims(kinds), "{record:#}");
    for claim in claims {
        cut_inside(claim, window);
        assert_eq!(claim["ready"], true, "{claim:#}");
    }
    assert_eq!(list(&record, "/status/pods/differences"), &[] as &[Value]);
    let before = list(&record, "/status/pods/before");
    assert_eq!(before.len(), list(&record, "/status/pods/after").len());
    assert_eq!(before.len(), kinds.len(), "{record:#}");
    Taken { run: run_of(&record), record, window, kinds: kinds.to_vec() }
}

/// The storage's own times of the cut, which the plugin never sees, lie in the window that it claims.
#[track_caller]
pub fn cut_inside(claim: &Value, window: Window) {
    let handle = text(claim, "/handle");
    let stored = cluster::stored_snapshot(handle).unwrap_or_else(|| panic!("no stored snapshot {handle}: {claim:#}"));
    let at = |field: &str| {
        let time: jiff::Timestamp = stored[field].as_str().unwrap().parse().unwrap();
        time.as_nanosecond()
    };
    let (begin, end) = (at("cutBegin"), at("cutEnd"));
    assert!(begin >= window.start, "{} was cut {} ns before its window", claim["claim"], window.start - begin);
    assert!(end <= window.end, "{} was cut {} ns after its window", claim["claim"], end - window.end);
}

/// A hold that stops commits was felt by the writers: nothing was acknowledged in the window, much before the hold.
#[track_caller]
fn felt(kind: Kind, acks: &[Ack], held: i128, window: Window, full: bool) {
    let busy = busy_before(acks, held);
    assert!(busy >= 10, "{} was not busy: {busy} rows in the 10 s before the hold", kind.name());
    if full {
        let inside = acknowledged_inside(acks, window);
        assert!(inside.is_empty(), "{} was held, but acknowledged rows {inside:?}", kind.name());
    }
}

impl Taken {
    /// Judges copies of all claims: `--claims-only`, opened by throw-away pods.
    #[track_caller]
    pub fn copies_are_right(&self, scene: &Scene) {
        let suffix = self.copied(scene);
        for kind in &self.kinds {
            let rows = copies::rows(scene, *kind, &suffix);
            let verdict = Verdict::of(&scene.acks(*kind).all(), &rows, self.window, None);
            verdict.is_right(&format!("copy of {} from {}", kind.name(), self.run));
        }
        copies::delete(scene, &self.kinds, &suffix);
    }

    /// How many of the rows that were promised are not in the copy of this database.
    #[track_caller]
    pub fn lost(&self, scene: &Scene, kind: Kind) -> usize {
        let suffix = self.copied(scene);
        let acks = scene.acks(kind).all();
        // A copy that cannot be opened, or has no table, has no row.
        let rows = copies::tried(scene, kind, &suffix).unwrap_or_default();
        copies::delete(scene, &[kind], &suffix);
        let verdict = Verdict::of(&acks, &rows, self.window, None);
        assert!(verdict.promised > 50, "only {} rows were acknowledged before the window", verdict.promised);
        verdict.lost.len()
    }

    /// Makes copies of the claims; the suffix they got.
    #[track_caller]
    pub fn copied(&self, scene: &Scene) -> String {
        let suffix = self.run.rsplit('-').next().unwrap().to_owned();
        let restore = ["restore-from-snapshot", &self.run, "--claims-only", "--suffix", &suffix];
        scene.plugin(&restore).run().done();
        suffix
    }

    /// The seconds that the record says this database was held.
    #[track_caller]
    pub fn held_seconds(&self, kind: Kind) -> f64 {
        let target = list(&self.record, "/status/targets").iter().find(|target| target["pod"] == kind.pod());
        target.unwrap_or_else(|| panic!("no {} in {:#}", kind.pod(), self.record))["heldSeconds"].as_f64().unwrap()
    }
}
