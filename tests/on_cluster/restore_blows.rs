//! Restores in place, and their undoing, are killed and stopped after every entry of their journal, and each of their
//! requests is broken in every way. At that moment the old data lies on volumes that nothing deletes and that the record
//! names; another process brings the run to an end; the workload serves, with the whole of either data; and nothing is
//! left that no record names.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;

use serde_json::{Value, json};

use crate::restore::{GivenUp, rows_are_right, rows_are_there, volumes};
use crate::support::acks::now;
use crate::support::backup::{Taken, consistent};
use crate::support::cluster;
use crate::support::database::{Database, Kind};
use crate::support::journal;
use crate::support::kubectl::name;
use crate::support::leftovers::{leases, records, unnamed};
use crate::support::plugin::{Plugin, list, run_of, text};
use crate::support::process::Ended;
use crate::support::random::Seeded;
use crate::support::scene::Scene;
use crate::support::strikes::{only, stopped_at, until_over};
use crate::support::user::Colleague;
use crate::support::wait::{seconds, until, until_none};
use crate::sweep::{KINDS, kinds};
use crate::times;

/// What is struck.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Course {
    Restore,
    Undo,
}

/// The courses that are struck: both, or those that `CONSISTENT_BACKUP_COURSE` names.
fn courses() -> Vec<Course> {
    let named = only("CONSISTENT_BACKUP_COURSE", &["restore", "undo"]).unwrap_or(vec!["restore", "undo"]);
    named.into_iter().map(|name| if name == "undo" { Course::Undo } else { Course::Restore }).collect()
}

/// With what.
#[derive(Clone, Debug)]
enum Blow {
    /// Killed right after this event of its journal, counted from its own first one.
    Killed(u32),
    /// Stopped there while another process ends the run, and then woken.
    Stopped(u32),
    /// This fault at this request.
    Fault(String, u32),
}

/// Who ends the run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Help {
    Thaw,
    Resume,
    Undo,
}

const HELP: [Help; 3] = [Help::Thaw, Help::Resume, Help::Undo];
const DATABASES: [Kind; 2] = [Kind::Redis, Kind::Postgres];

/// Two databases that are restored from one backup again and again. The controller of one deletes the claims of what is
/// scaled down.
struct Ground {
    scene: Scene,
    colleague: Colleague,
    taken: Taken,
    given_up: RefCell<GivenUp>,
}

/// One restore, as far as it must be known to be judged.
struct Before {
    /// The claims' volumes before the restore.
    old: BTreeMap<String, String>,
    /// When it began.
    began: i128,
}

/// The policy of a StatefulSet whose controller deletes the claims of what is scaled down.
fn deletes_claims() -> Value {
    json!({"whenScaled": "Delete", "whenDeleted": "Delete"})
}

impl Ground {
    fn new(test: &str) -> Self {
        let redis = Database::new(Kind::Redis)
            .edit(|set| set["spec"]["persistentVolumeClaimRetentionPolicy"] = deletes_claims());
        let databases = [redis, Database::new(Kind::Postgres)].map(|database| database.every("20ms").unprobed());
        let scene = Scene::new(test, &databases);
        until("the claim to belong to the StatefulSet", seconds(60), || {
            match &*scene.kubectl.value("pvc/data-redis-0", "/metadata/ownerReferences/0/kind") {
                "StatefulSet" => Ok(()),
                owner => Err(format!("its owner is `{owner}`")),
            }
        });
        let colleague = Colleague::of(&scene);
        let taken = consistent(&scene, &DATABASES, &[]);
        Self { scene, colleague, taken, given_up: RefCell::default() }
    }

    fn restore(&self) -> Plugin {
        self.scene.plugin(&["restore-from-snapshot", &self.taken.run, "--yes", "-o", "json"])
    }

    fn undo(&self, run: &str) -> Plugin {
        self.scene.plugin(&["restore-from-snapshot", "--undo", run, "--yes", "-o", "json"])
    }

    fn help(&self, help: Help, run: &str) -> Ended {
        let plugin = match help {
            // Who is sure that the first process is gone need not wait for its lease.
            Help::Thaw => self.scene.plugin(&["thaw", run, "--force", "-o", "json"]),
            Help::Resume => self.scene.plugin(&["restore-from-snapshot", "--resume", run, "-o", "json"]),
            Help::Undo => self.undo(run),
        };
        plugin.kubeconfig(&self.colleague.kubeconfig).run()
    }

    /// The only restore that there is.
    fn record(&self) -> Option<Value> {
        let mut restores: Vec<Value> = records(&self.scene).into_iter().filter(|r| r["kind"] == "Restore").collect();
        assert!(restores.len() <= 1, "{restores:#?}");
        restores.pop()
    }

    /// Strikes one run and judges everything after it; whether it was struck before it was over.
    #[track_caller]
    fn survived(&self, course: Course, blow: &Blow, help: Help) -> bool {
        let scene = &self.scene;
        let before = Before { old: volumes(scene, &DATABASES), began: now() };
        let (plugin, so_far) = match course {
            Course::Restore => (self.restore(), 0),
            Course::Undo => {
                let run = run_of(&self.restore().run().done().json());
                scene.all_serve(seconds(60));
                (self.undo(&run), journal::count(scene, &run))
            }
        };
        let at = |what: &dyn std::fmt::Display| format!("{course:?} {blow:?} {help:?}: {what}");
        let mut helped = None;
        let ended = match blow {
            Blow::Killed(event) => plugin.dies_at(so_far + event).run(),
            Blow::Fault(kind, n) => plugin.env("CONSISTENT_BACKUP_TEST_FAULT", format!("{kind}@{n}")).run(),
            Blow::Stopped(event) => stopped_at(so_far + event, plugin).map_or_else(
                |ended| ended,
                |running| {
                    let record = self.record().expect("it is in the journal");
                    self.old_data_is_safe(&before, Some(&record));
                    helped = Some(self.help(help, &run_of(&record)));
                    running.signal("CONT");
                    running.end(seconds(180))
                },
            ),
        };
        let found = self.record();
        self.old_data_is_safe(&before, found.as_ref());
        let outcome = found.as_ref().map(|record| text(record, "/status/outcome").to_owned());
        let undone = course == Course::Undo;
        let struck = match blow {
            Blow::Fault(..) => ended.stderr.contains("\ntest: ") || ended.stderr.starts_with("test: "),
            Blow::Killed(_) => ended.was_killed(),
            Blow::Stopped(_) => helped.is_some(),
        };
        // What the exit code says is true, before anybody helps.
        match (ended.code(), outcome.as_deref()) {
            (None, _) if ended.was_killed() => {}
            _ if helped.is_some() => assert!(matches!(ended.code(), Some(0 | 1 | 4)), "{}", at(&ended)),
            (Some(0), Some("Restored")) | (Some(1), None | Some("Failed" | "RestoredOldVolumes")) | (Some(5), None)
                if !undone => {}
            // Or it was broken off before anything was stopped.
            (Some(0), Some("RestoredOldVolumes")) | (Some(1 | 5), Some("Restored")) if undone => {}
            (Some(1 | 4), Some("Running")) | (Some(4), Some("Stuck")) => {}
            other => panic!("{}\n{other:?}\n{found:#?}", at(&ended)),
        }
        if !struck {
            assert_eq!(ended.code(), Some(0), "nothing was broken, and yet: {}", at(&ended));
        }
        let needs_help = matches!(outcome.as_deref(), Some("Running" | "Stuck"));
        if helped.is_none() && (needs_help || help == Help::Undo) {
            helped = found.as_ref().map(|record| self.help(help, &run_of(record)));
        }
        let last = if helped.is_some() { self.record() } else { found };
        self.judged(&before, help, helped.is_some(), last.as_ref(), &at);
        let last = last.as_ref().map(|record| text(record, "/status/outcome"));
        if let (Some(helped), Some(last)) = (&helped, &last) {
            // 1 is the truth where it went the other way than this command wanted.
            let way = (help == Help::Resume && *last != "Restored") || (help == Help::Undo && *last == "Restored");
            assert!(helped.code() == Some(i32::from(way)), "{}", at(helped));
        }
        let hit = ended.stderr.lines().find(|line| line.starts_with("test: ")).unwrap_or("");
        let code = ended.code().map_or("killed".to_owned(), |code| code.to_string());
        let (outcome, last) = (outcome.as_deref().unwrap_or("-"), last.unwrap_or("-"));
        println!(
            "{course:?} {blow:?} {help:?} in {:.0} s: {code} {outcome}, then {last} {hit}",
            ended.took.as_secs_f64()
        );
        struck
    }

    /// Fails unless the record names each old volume, and nothing can delete it or the workload was never touched.
    #[track_caller]
    fn old_data_is_safe(&self, before: &Before, record: Option<&Value>) {
        let kubectl = &self.scene.kubectl;
        for (claim, old) in &before.old {
            let volume = kubectl.get(&format!("pv/{old}"));
            assert!(volume["metadata"]["deletionTimestamp"].is_null(), "{volume:#}");
            let handle = text(&volume, "/spec/csi/volumeHandle");
            let stored = cluster::state().join(format!("csi/volumes/{handle}.json"));
            assert!(stored.is_file(), "no {} for {claim}", stored.display());
            if volume["spec"]["persistentVolumeReclaimPolicy"] == "Retain" {
                let claims = list(record.expect("who told it to stay has a record"), "/status/claims");
                let named = claims.iter().find(|of| of["claim"] == **claim).map(|of| text(of, "/oldVolume"));
                assert_eq!(named, Some(&**old), "{record:#?}");
                continue;
            }
            let bound = kubectl.get(&format!("pvc/{claim}"));
            assert_eq!(text(&bound, "/spec/volumeName"), old, "its data is not retained: {volume:#}\n{bound:#}");
            assert!(bound["metadata"]["deletionTimestamp"].is_null(), "{bound:#}");
        }
    }

    /// Judges the end, as this record tells it if there was anything to end: the workload serves the whole of one data,
    /// and nothing is left that is not named; then deletes the restore, and judges that nothing is left at all.
    #[track_caller]
    fn judged(
        &self,
        before: &Before,
        help: Help,
        helped: bool,
        record: Option<&Value>,
        at: &dyn Fn(&dyn std::fmt::Display) -> String,
    ) {
        let scene = &self.scene;
        scene.all_serve(seconds(60));
        self.old_data_is_safe(before, record);
        let mut given_up = self.given_up.borrow_mut();
        match record.map(|record| text(record, "/status/outcome")) {
            Some("Restored") => {
                assert!(help != Help::Undo || !helped, "{}", at(&format!("{record:#?}")));
                rows_are_right(scene, &self.taken, before.began, &mut given_up);
                assert!(volumes(scene, &DATABASES).iter().all(|(claim, now)| before.old[claim] != *now));
            }
            Some("RestoredOldVolumes" | "Failed") | None => {
                for kind in DATABASES {
                    rows_are_there(scene, kind, before.began, &mut given_up);
                }
                assert_eq!(volumes(scene, &DATABASES), before.old, "{}", at(&"other volumes"));
            }
            Some(other) => panic!("{}", at(&format!("{other} after help: {record:#?}"))),
        }
        until_none("all volumes are in use or named", seconds(30), || self.volumes_without_a_name(record));
        if let Some(record) = record {
            assert_eq!(record["status"]["policiesPending"], false, "{record:#}");
            // The lease of one that was killed after its last event expires.
            scene.kubectl.ok(&["delete", "leases", "--all"]);
            scene.plugin(&["delete", &run_of(record), "--yes"]).run().done();
        }
        until_none("all volumes are in use", seconds(60), || self.volumes_without_a_name(None));
        scene.kubectl.ok(&["delete", "leases", "--all"]);
        until_none("nothing that no record names", seconds(30), || {
            unnamed(scene).into_iter().chain(leases(scene)).collect()
        });
        let policy = scene.kubectl.get("statefulset/redis")["spec"]["persistentVolumeClaimRetentionPolicy"].clone();
        assert_eq!(policy, deletes_claims(), "{}", at(&"the retention policy"));
        for (claim, volume) in volumes(scene, &DATABASES) {
            let policy = scene.kubectl.value(&format!("pv/{volume}"), "/spec/persistentVolumeReclaimPolicy");
            assert_eq!(policy, "Delete", "{}", at(&format!("the volume of {claim}")));
        }
    }

    /// Volumes of the scene that no claim is bound to and that this record does not name.
    fn volumes_without_a_name(&self, record: Option<&Value>) -> Vec<String> {
        let mut known: BTreeSet<String> = volumes(&self.scene, &DATABASES).into_values().collect();
        for claim in record.iter().flat_map(|record| list(record, "/status/claims")) {
            known.extend(["/oldVolume", "/newVolume"].map(|field| text(claim, field).to_owned()));
        }
        let all = self.scene.kubectl.list(&["persistentvolumes"]);
        let ours = all.iter().filter(|volume| volume["spec"]["claimRef"]["namespace"] == *self.scene.namespace());
        ours.map(|volume| name(volume).to_owned()).filter(|volume| !known.contains(volume)).collect()
    }

    /// Strikes with one blow after the other until a run is over before. What a run leaves that does not survive is in
    /// the way of all others.
    fn swept(&self, course: Course, blow: fn(u32) -> Blow, least: usize) {
        let row =
            until_over(EVENTS, 1, |&event| self.survived(course, &blow(event), HELP[event as usize % HELP.len()]));
        row.all_survived(&format!("{course:?} {:?}", blow(0)), least);
    }
}

/// The most events that a course can have.
const EVENTS: std::ops::Range<u32> = 1..60;

#[test]
fn a_restore_survives_being_killed_and_stopped() {
    let courses = courses();
    let ground = Ground::new("restore-killed");
    if times(0, 1) == 1 {
        for course in courses {
            // A restore of two claims and two databases has 18, its undoing 12.
            let least = if course == Course::Restore { 15 } else { 10 };
            ground.swept(course, Blow::Killed, least);
            ground.swept(course, Blow::Stopped, least);
        }
        return;
    }
    // Stopped, replaced in part, started; its undoing secured, and gone back in part.
    for (blow, help) in [(5, Help::Resume), (8, Help::Undo), (11, Help::Thaw)] {
        assert!(ground.survived(Course::Restore, &Blow::Killed(blow), help), "it was over before its event {blow}");
    }
    assert!(ground.survived(Course::Undo, &Blow::Killed(7), Help::Undo), "it was over before its event 7");
    let event = 1 + u32::try_from(Seeded::of_run().below(15)).unwrap();
    let stopped = ground.survived(Course::Restore, &Blow::Stopped(event), HELP[event as usize % HELP.len()]);
    assert!(stopped, "it was over before its event {event}");
}

#[test]
fn a_restore_survives_any_broken_request() {
    let (courses, kinds) = (courses(), kinds());
    if times(0, 1) == 1 {
        // Three at a time: a restore mostly waits.
        let rows = courses.iter().rev().flat_map(|course| kinds.iter().map(move |kind| (*course, kind)));
        let queue = Mutex::new(rows.collect::<Vec<_>>());
        let next = || queue.lock().unwrap().pop();
        let work = || std::iter::from_fn(next).map(|(course, kind)| swept_through(course, kind)).collect::<Vec<_>>();
        let failed: Vec<String> = std::thread::scope(|scope| {
            let workers: Vec<_> = (0..3).map(|_| scope.spawn(work)).collect();
            workers.into_iter().flat_map(|worker| worker.join().unwrap()).flatten().collect()
        });
        assert!(failed.is_empty(), "not survived: {failed:?}");
        return;
    }
    let ground = Ground::new("restore-sweep");
    let mut random = Seeded::of_run();
    // Most requests before these only look.
    for course in [Course::Restore, Course::Undo, Course::Restore] {
        let kind = *random.one_of(&KINDS);
        let n = 90 + u32::try_from(random.below(90)).unwrap();
        ground.survived(course, &Blow::Fault(kind.to_owned(), n), HELP[n as usize % HELP.len()]);
    }
}

/// Breaks every request of such a run in this way, until a run needs fewer; what was not survived. Such a run leaves its
/// ground in an unknown state, so the next one gets another.
fn swept_through(course: Course, (kind, from): &(String, u32)) -> Vec<String> {
    let mut spare = None;
    let row = until_over(*from..1000, 5, |&n| {
        let ground = spare.take().unwrap_or_else(|| Ground::new("restore-sweep"));
        let struck = ground.survived(course, &Blow::Fault(kind.clone(), n), HELP[n as usize % HELP.len()]);
        spare = Some(ground);
        struck
    });
    println!("{course:?} {kind}: {} requests from {from}, not survived: {:?}", row.survived, row.failed);
    if let Some(at) = &row.goes_on_at {
        println!("the time is up: {course:?} {kind} goes on @{at}");
    } else {
        assert!(*from > 1 || row.survived + row.failed.len() > 40, "only {} requests were broken", row.survived);
    }
    row.failed.into_iter().map(|n| format!("{course:?} {kind}@{n}")).collect()
}
