//! Releases of ScalarDB and ScalarDL are paused together: nothing is acknowledged in the window, nothing is lost, and
//! whatever changes a pod or kills the plugin is noticed and undone. The servers are stand-ins with a real gate.

use serde_json::Value;

use crate::support::acks::{AckLog, now};
use crate::support::backup::{failed_by_budget, part, retaken};
use crate::support::copies;
use crate::support::database::{Database, Kind};
use crate::support::guard;
use crate::support::kubectl::names;
use crate::support::plugin::{Plugin, list, outcome_is, run_of, text};
use crate::support::process::Ended;
use crate::support::random::Seeded;
use crate::support::scalar::{Product, Release};
use crate::support::scene::Scene;
use crate::support::verdict::{Row, Verdict, Window, acknowledged_inside, busy_before};
use crate::support::wait::{seconds, until, until_none};
use crate::times;

/// A release of three pods with its database, busy.
struct Ground {
    scene: Scene,
    release: Release,
    acks: AckLog,
}

const WINDOW: &[&str] = &["quiesce-snapshot", "--backend", "window", "-o", "json"];
/// What the plugin says once all are paused.
const IN_THE_WINDOW: &str = "held: for";
/// The entry of the journal after which all three pods are paused: attempt, three prepared, two intents, three quiesced.
const PAUSED: u32 = 9;

impl Ground {
    fn new(test: &str) -> Self {
        let scene = Scene::new(test, &[Database::new(Kind::Postgres).idle()]);
        let release = Release::new(&scene.kubectl, Product::ScalarDbCluster, "shop", &[]);
        let acks = release.busy();
        Self { scene, release, acks }
    }

    /// A window of the release.
    fn window(&self, more: &[&str]) -> Plugin {
        self.scene.plugin(WINDOW).args(["--release", "shop"]).args(more)
    }

    /// Rows as the database has them.
    fn rows(&self) -> Vec<Row> {
        self.scene.rows_in(Kind::Postgres, &Kind::Postgres.pod())
    }

    /// How many requests each pod's server has not let through.
    fn turned_away(&self) -> Vec<u64> {
        self.release.states().iter().map(|state| state["refused"].as_u64().unwrap()).collect()
    }

    /// No pod is paused, and rows are taken.
    #[track_caller]
    fn serves(&self) {
        self.release.are_paused(false);
        self.acks.serves_after(now(), seconds(30));
    }

    /// Starts a window that is held until `thaw`; its run.
    #[track_caller]
    fn detached(&self, more: &[&str]) -> String {
        let detached = ["quiesce-snapshot", "--release", "shop", "--backend", "window", "--detach", "-o", "name"];
        let ended = retaken("a detached window", || match self.scene.plugin(&detached).args(more).run() {
            ended if failed_by_budget(&ended) => Err(ended),
            ended => Ok(ended.done()),
        });
        ended.stdout.trim().to_owned()
    }

    /// The plugin dies once all three pods are paused.
    #[track_caller]
    fn paused_by_the_dead(&self, more: &[&str]) -> Ended {
        retaken("a death while all are paused", || match self.window(more).dies_at(PAUSED).run() {
            ended if ended.was_killed() => Ok(ended),
            ended => Err(ended),
        })
    }

    fn guards(&self) -> Vec<String> {
        names(&self.scene.kubectl.list(&["pods", "-l", "consistent-backup/part=guard"]))
    }

    /// The run that is not over.
    #[track_caller]
    fn unfinished(&self) -> String {
        let listed = self.scene.plugin(&["list", "-o", "json"]).run().done().json();
        let running = list(&listed, "/items").iter().find(|item| text(item, "/status/outcome") == "Running");
        run_of(running.unwrap_or_else(|| panic!("{listed:#}")))
    }
}

/// Fails unless every pod was held in a window in which nothing was acknowledged although much was before.
#[track_caller]
fn quiet(record: &Value, pods: usize, acks: &AckLog) -> Window {
    outcome_is(record, "ApplicationConsistent");
    let targets = list(record, "/status/targets");
    let paused: Vec<&Value> = targets.iter().filter(|target| target["adapter"] == "scalar").collect();
    assert!(paused.len() == pods && paused.iter().all(|target| target["held"] == true), "{record:#}");
    let held: Vec<f64> = paused.iter().map(|target| target["heldSeconds"].as_f64().unwrap()).collect();
    let window = Window::of(record);
    let quiesced = paused.iter().map(|target| Window::at(record, text(target, "/quiescedAt"))).min().unwrap();
    let acks = acks.all();
    assert_eq!(acknowledged_inside(&acks, window), Vec::<i64>::new(), "acknowledged although all were paused");
    let busy = busy_before(&acks, quiesced);
    assert!(busy >= 10, "only {busy} rows in the 10 s before the pause");
    println!(
        "held {:.3} s, window {:.3} s",
        held.iter().copied().fold(0.0, f64::max),
        (window.end - window.start) as f64 / 1e9
    );
    window
}

#[test]
fn a_release_is_paused_for_a_window_a_backup_and_a_command_and_serves_again() {
    let ground = Ground::new("scalar-load");
    for round in 1..=times(1, 20) {
        println!("round {round}");
        part("a detached window", || a_detached_window(&ground));
        part("a window of 2 s", || a_window_of_two_seconds(&ground));
        part("a backup of its database", || a_backup_of_its_database(&ground));
    }
    part("no row is lost", || {
        let (told, there) = (ground.acks.all(), ground.rows());
        let verdict = Verdict::of(&told, &there, Window { start: now(), end: now() }, None);
        verdict.is_right("the database itself");
    });
    part("the user's own command", || the_users_own_command(&ground));
    part("a command that takes too long", || a_command_that_takes_too_long(&ground));
    part("a detached window at its budget", || a_detached_window_ends_at_its_budget(&ground));
    part("two releases in two namespaces", || two_releases_share_one_window(&ground));
}

/// It is held for as long as the looks at it take, however busy the machine is.
fn a_detached_window(ground: &Ground) {
    let run = ground.detached(&[]);
    ground.release.are_paused(true);
    let (there, refused) = (ground.rows().len(), ground.turned_away());
    until("requests at every closed gate", seconds(45), || {
        let now = ground.turned_away();
        if now.iter().zip(&refused).all(|(now, then)| now > then) { Ok(()) } else { Err(format!("{now:?}")) }
    });
    assert_eq!(ground.rows().len(), there, "rows came while it was paused");
    let record = ground.scene.plugin(&["thaw", &run, "-o", "json"]).run().done().json();
    quiet(&record, 3, &ground.acks);
    ground.serves();
}

fn a_window_of_two_seconds(ground: &Ground) {
    let record = ground.window(&["--hold", "2s"]).run().done().json();
    let window = quiet(&record, 3, &ground.acks);
    assert!(window.end - window.start >= 2_000_000_000, "{record:#}");
    // The keys that users of scalar-admin-for-kubernetes read.
    assert_eq!(record["helm_release_name"], "shop");
    let milliseconds = |key: &str| i128::from(record[key].as_i64().unwrap());
    let asked = milliseconds("pause_end_timestamp_ms") - milliseconds("pause_start_timestamp_ms");
    assert!(asked >= 2_000, "{record:#}");
    ground.serves();
}

fn a_backup_of_its_database(ground: &Ground) {
    let scene = &ground.scene;
    let backup = ["quiesce-snapshot", "statefulset/postgres", "--release", "shop", "-o", "json"];
    let record = scene.plugin(&backup).run().done().json();
    let window = quiet(&record, 3, &ground.acks);
    let run = run_of(&record);
    let suffix = run.rsplit('-').next().unwrap();
    scene.plugin(&["restore-from-snapshot", &run, "--claims-only", "--suffix", suffix]).run().done();
    let verdict = Verdict::of(&ground.acks.all(), &copies::rows(scene, Kind::Postgres, suffix), window, None);
    verdict.is_right(&format!("copy of the database behind the release from {run}"));
    copies::delete(scene, &[Kind::Postgres], suffix);
    ground.serves();
}

const COMMAND: &[&str] = &["quiesce-snapshot", "--release", "shop", "--backend", "command", "-o", "json"];

fn the_users_own_command(ground: &Ground) {
    let told = ["--", "sh", "-c", "echo snapshot of $CONSISTENT_BACKUP_RUN; sleep 1"];
    let record = ground.scene.plugin(COMMAND).args(told).run().done().json();
    quiet(&record, 3, &ground.acks);
    assert_eq!(record["status"]["command"]["exitCode"], 0);
    let output = format!("snapshot of {}\n", run_of(&record));
    assert_eq!(text(&record, "/status/command/output"), output);

    let failing = ["--", "sh", "-c", "echo no room; exit 3"];
    let record = ground.scene.plugin(COMMAND).args(failing).run().exits(1).json();
    assert!(text(&record, "/status/reason").contains("exit code 3: no room"), "{record:#}");
    assert_eq!(record["status"]["command"]["exitCode"], 3);
    ground.serves();
}

/// The pods serve before the command ends. It notes when SIGTERM came, and goes on for 1.5 s: a plugin that waited
/// for its end would unpause after that.
fn a_command_that_takes_too_long(ground: &Ground) {
    let file = tempfile::NamedTempFile::new().unwrap();
    let ends = format!("date +%s%N > {}; sleep 1.5; exit 0", file.path().display());
    let command = format!("trap '{ends}' TERM; while :; do sleep 0.05; done");
    let budget = ["--quiesce-budget", "5s", "--max-pause-wait-time", "1s"];
    let record = retaken("a command until the budget", || {
        let ended = ground.scene.plugin(COMMAND).args(budget).args(["--", "bash", "-c", &command]).run().exits(1);
        let record = ended.json();
        if record["status"]["command"].is_null() { Err(ended) } else { Ok(record) }
    });
    assert!(text(&record, "/status/reason").contains("budget"), "{record:#}");
    let told: i128 = std::fs::read_to_string(file.path()).unwrap().trim().parse().unwrap();
    let targets = list(&record, "/status/targets").iter();
    let thawed = targets.map(|target| text(target, "/thawedAt").parse::<jiff::Timestamp>().unwrap());
    // The record's times are of the API server's clock, as well as the plugin knows it.
    assert!(thawed.map(jiff::Timestamp::as_nanosecond).all(|at| at < told + 1_000_000_000), "{told}: {record:#}");
    assert_eq!(record["status"]["command"]["killed"], true);
    ground.serves();
}

/// It is released by itself, and the `thaw` of whoever copied until then fails.
fn a_detached_window_ends_at_its_budget(ground: &Ground) {
    let run = ground.detached(&["--quiesce-budget", "5s", "--max-pause-wait-time", "1s"]);
    ground.acks.serves_after(now(), seconds(5 + 5));
    until("the end of the run", seconds(60), || {
        let record = ground.scene.plugin(&["describe", &run, "-o", "json"]).run().done().json();
        let outcome = text(&record, "/status/outcome").to_owned();
        if outcome == "Failed" { Ok(()) } else { Err(outcome) }
    });
    ground.scene.plugin(&["thaw", &run]).run().exits(1);
    ground.serves();
}

fn two_releases_share_one_window(ground: &Ground) {
    let shop = &ground.release;
    let other = Scene::new("scalar-other", &[Database::new(Kind::Postgres).idle()]);
    let books = Release::new(&other.kubectl, Product::Ledger, "books", &["--tls"]);
    let other_acks = books.busy();
    let elsewhere = format!("{}/books", other.namespace());
    let both = |more: &[&str]| ground.window(&["--release", &elsewhere]).args(more).run();
    let record = both(&["--hold", "1s"]).done().json();
    quiet(&record, 6, &ground.acks);
    quiet(&record, 6, &other_acks);

    // One that does not drain in time: all others are unpaused too.
    books.switch(&books.pods()[2], &["drain=20s"]);
    until("a slow request", seconds(30), || match books.state(&books.pods()[2]) {
        state if state["outstanding"].as_u64().unwrap() > 0 => Ok(()),
        state => Err(state),
    });
    let ended = both(&["--hold", "1s", "--max-pause-wait-time", "1s"]).exits(1);
    outcome_is(&ended.json(), "Failed");
    ended.says(&["outstanding requests did not end within 1000 ms, and it serves again"]);
    shop.are_paused(false);
    books.are_paused(false);
    books.switch_all(&["drain=0s"]);

    // One that is not unpaused: tried again and again, then told, and released by somebody else.
    let unpauses = |pod: &str| books.state(pod)["unpauses"].as_u64().unwrap();
    let stuck = books.pods()[0].clone();
    books.switch(&stuck, &["unpause=error"]);
    let before = unpauses(&stuck);
    let ended = both(&["--hold", "1s", "--max-pause-wait-time", "5s", "--quiesce-budget", "8s"]).exits(4);
    let record = ended.json();
    outcome_is(&record, "Stuck");
    assert_eq!(list(&record, "/status/mayBeHeld").len(), 1, "{record:#}");
    assert!(text(&record, "/status/mayBeHeld/0").contains(&stuck), "{record:#}");
    let tries = unpauses(&stuck) - before;
    assert!(tries >= 5, "only {tries} tries");
    ended.says(&[&stuck, "thaw"]);
    shop.are_paused(false);
    assert_eq!(books.state(&stuck)["paused"], true);
    books.switch(&stuck, &["unpause=ok"]);
    ground.scene.plugin(&["thaw", &run_of(&record)]).run().done();
    books.are_paused(false);
    other_acks.serves_after(now(), seconds(30));
}

#[test]
fn a_release_whose_plugin_dies_or_whose_pods_change_is_not_left_paused() {
    let ground = Ground::new("scalar-dies");
    part("a death without a guard", || without_a_guard(&ground));
    part("a death with a guard", || with_a_guard(&ground));
    part("a guard that is gone", || a_guard_that_is_gone(&ground));
    part("pods change", || pods_change(&ground));
    part("pods change, without another attempt", || pods_change_without_another_attempt(&ground));
}

/// Budget in seconds, and the options of a window that keeps to it.
const BUDGET: u64 = 8;
const LIMITS: &[&str] = &["--hold", "1s", "--max-pause-wait-time", "2s", "--quiesce-budget", "8s"];

/// The release stays paused until `thaw`, and the plan warns of it.
fn without_a_guard(ground: &Ground) {
    let died = ground.paused_by_the_dead(LIMITS);
    let silent = now();
    died.says(&["if this program dies while", "only `thaw` releases it"]);
    ground.release.are_paused(true);
    // Past the budget, and past the 2 s after which a guard would have acted.
    let long = seconds(BUDGET + 3);
    until("a silence longer than the budget", long + seconds(60), || {
        let gap = ground.acks.gap_since(silent);
        if gap > long { Ok(()) } else { Err(format!("{gap:?}")) }
    });
    ground.release.are_paused(true);
    let run = ground.unfinished();
    ground.scene.plugin(&["thaw"]).run().done();
    ground.serves();
    // Nothing ended it at its budget, and the record does not say so.
    let record = ground.scene.plugin(&["describe", &run, "-o", "json"]).run().done().json();
    let targets = list(&record, "/status/targets").iter();
    let held: Vec<f64> = targets.map(|target| target["heldSeconds"].as_f64().unwrap()).collect();
    assert!(held.len() == 3 && held.iter().all(|held| *held > long.as_secs_f64()), "{record:#}");
}

/// It serves again within the budget and five seconds, whatever became of the run.
fn with_a_guard(ground: &Ground) {
    let guarded = [LIMITS, &["--guard-image", guard::image()]].concat();
    let died = ground.paused_by_the_dead(&guarded);
    let begun = now();
    ground.release.are_paused(true);
    // Nobody may pause while an old guard is there: it would end the new pause. At once, before it has acted and ended.
    let refused = ground.window(&["--hold", "1s"]).run().exits(5);
    let run = ground.unfinished();
    refused.says(&["guards pauses of run", &format!("thaw {run}")]);
    // A row may come through one pod while the guard releases the next.
    until_none("pods that are paused", seconds(BUDGET + 5), || ground.release.paused());
    ground.acks.serves_after(begun, seconds(BUDGET + 5));
    ground.scene.plugin(&["thaw", &run]).run().done();
    assert_eq!(ground.guards(), Vec::<String>::new(), "{died}");

    // The guard of a run that is over is gone: a longer pause after it is not ended by it.
    retaken("a guarded window", || match ground.window(&guarded).run() {
        ended if ended.code() == Some(0) => Ok(()),
        ended => Err(ended),
    });
    assert_eq!(ground.guards(), Vec::<String>::new());
    let record = ground.window(&["--hold", &format!("{}s", BUDGET + 3)]).run().done().json();
    quiet(&record, 3, &ground.acks);
}

/// A pause whose guard is gone has no net, and is ended at once.
fn a_guard_that_is_gone(ground: &Ground) {
    let long = ["--hold", "120s", "--attempts", "1", "--guard-image", guard::image()];
    let running = ground.window(&long).start();
    running.until_says(IN_THE_WINDOW, seconds(90));
    ground.scene.kubectl.ok(&["delete", "pods", "-l", "consistent-backup/part=guard", "--wait=false"]);
    let record = running.end(seconds(90)).exits(1).json();
    assert!(text(&record, "/status/reason").contains("guard pod in namespace"), "{record:#}");
    ground.serves();
}

/// How long a pod has for its change: the attempt is given up at once when it is seen, but its repetition takes as long.
const FOR_A_CHANGE: &str = "12s";

/// A pod that is restarted, added or removed in the window repeats it: all three in the full row, one in the sample.
fn pods_change(ground: &Ground) {
    let release = &ground.release;
    let added = || {
        release.kubectl.ok(&["scale", &release.deployment(), "--replicas=4"]);
        until("a fourth pod", seconds(10), || match release.pods().len() {
            4 => Ok(()),
            pods => Err(format!("{pods} pods")),
        });
    };
    let changes: [(&str, &dyn Fn()); 3] = [
        ("restarted", &|| release.restart(&release.pods()[0])),
        ("added", &added),
        ("removed", &|| _ = release.kubectl.ok(&["delete", "pod", &release.pods()[1], "--wait=false"])),
    ];
    let one = usize::try_from(Seeded::of_run().below(changes.len() as u64)).unwrap();
    for (what, change) in if times(0, 1) == 1 { &changes[..] } else { &changes[one..=one] } {
        println!("a pod is {what}");
        let running = ground.window(&["--hold", FOR_A_CHANGE]).start();
        running.until_says(IN_THE_WINDOW, seconds(60));
        change();
        let ended = running.end(seconds(240)).done();
        let (record, pods) = (ended.json(), release.replicas());
        assert_eq!(record["status"]["attempt"], 2, "{what}: {record:#}");
        let attempts = list(&record, "/status/attempts");
        assert!(text(&attempts[0], "/reason").contains("shop-scalardb-cluster"), "{what}: {record:#}");
        assert_eq!(list(&record, "/status/pods/before").len(), pods, "{what}: {record:#}");
        quiet(&record, pods, &ground.acks);
        release.wait_ready();
        ground.serves();
    }
}

fn pods_change_without_another_attempt(ground: &Ground) {
    let running = ground.window(&["--hold", "60s", "--attempts", "1"]).start();
    running.until_says(IN_THE_WINDOW, seconds(60));
    // Not the one that was restarted before: the kubelet would let it wait for its second time.
    ground.release.restart(ground.release.pods().last().unwrap());
    let ended = running.end(seconds(90)).exits(1);
    outcome_is(&ended.json(), "Failed");
    ground.serves();
}
