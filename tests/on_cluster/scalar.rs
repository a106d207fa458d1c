//! Releases of ScalarDB and ScalarDL are paused together: nothing is acknowledged in the window, nothing is lost, and
//! whatever changes a pod or kills the plugin is noticed and undone. The servers are stand-ins with a real gate.

use serde_json::Value;

use crate::support::acks::{AckLog, now};
use crate::support::copies;
use crate::support::database::{Database, Kind};
use crate::support::guard;
use crate::support::plugin::{list, outcome_is, run_of, text};
use crate::support::process::Ended;
use crate::support::scalar::{Product, Release};
use crate::support::scene::Scene;
use crate::support::verdict::{Row, Verdict, Window, acknowledged_inside, busy_before};
use crate::support::wait::{seconds, until};
use crate::times;

/// A release of three pods with its database, busy.
fn scene(test: &str, options: &[&str]) -> (Scene, Release, AckLog) {
    let scene = Scene::new(test, &[Database::new(Kind::Postgres).idle()]);
    let release = Release::new(&scene.kubectl, Product::ScalarDbCluster, "shop", options);
    let acks = release.busy();
    (scene, release, acks)
}

const WINDOW: &[&str] = &["quiesce-snapshot", "--backend", "window", "-o", "json"];

/// A window of these releases.
fn window(scene: &Scene, releases: &[&str], more: &[&str]) -> Ended {
    plugin(scene, releases, more).run()
}

fn plugin(scene: &Scene, releases: &[&str], more: &[&str]) -> crate::support::plugin::Plugin {
    let named: Vec<&str> = releases.iter().flat_map(|release| ["--release", release]).collect();
    scene.plugin(WINDOW).args(named).args(more)
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
    assert!(busy >= 5, "only {busy} rows in the second before the pause");
    println!(
        "held {:.3} s, window {:.3} s",
        held.iter().copied().fold(0.0, f64::max),
        (window.end - window.start) as f64 / 1e9
    );
    window
}

fn rows(scene: &Scene) -> Vec<Row> {
    scene.rows_in(Kind::Postgres, &Kind::Postgres.pod())
}

#[test]
fn windows_and_backups_under_load() {
    let (scene, release, acks) = scene("scalar-load", &[]);
    for _ in 0..times(1, 20) {
        let running = plugin(&scene, &["shop"], &["--hold", "15s"]).start();
        running.until_says(IN_THE_WINDOW, seconds(60));
        let (there, refused) = (rows(&scene).len(), turned_away(&release));
        until("requests at every closed gate", seconds(10), || {
            let now = turned_away(&release);
            if now.iter().zip(&refused).all(|(now, then)| now > then) { Ok(()) } else { Err(format!("{now:?}")) }
        });
        assert_eq!(rows(&scene).len(), there, "rows came while it was paused");
        let record = running.end(seconds(60)).done().json();
        let window = quiet(&record, 3, &acks);
        assert!(window.end - window.start >= 15_000_000_000, "{record:#}");
        // The keys that users of scalar-admin-for-kubernetes read.
        assert_eq!(record["helm_release_name"], "shop");
        let milliseconds = |key: &str| i128::from(record[key].as_i64().unwrap());
        let asked = milliseconds("pause_end_timestamp_ms") - milliseconds("pause_start_timestamp_ms");
        assert!(asked >= 15_000, "{record:#}");
        acks.serves_after(now(), seconds(10));
    }
    for _ in 0..times(1, 20) {
        let ended =
            scene.plugin(&["quiesce-snapshot", "statefulset/postgres", "--release", "shop", "-o", "json"]).run().done();
        let record = ended.json();
        let window = quiet(&record, 3, &acks);
        let run = run_of(&record);
        let suffix = run.rsplit('-').next().unwrap();
        scene.plugin(&["restore-from-snapshot", &run, "--claims-only", "--suffix", suffix]).run().done();
        let verdict = Verdict::of(&acks.all(), &copies::rows(&scene, Kind::Postgres, suffix), window, None);
        verdict.is_right(&format!("copy of the database behind the release from {run}"));
        copies::delete(&scene, &[Kind::Postgres], suffix);
        acks.serves_after(now(), seconds(10));
    }
    let (told, there) = (acks.all(), rows(&scene));
    let verdict = Verdict::of(&told, &there, Window { start: now(), end: now() }, None);
    verdict.is_right("the database itself");
    release.are_paused(false);
}

/// How many requests each pod's server has not let through.
fn turned_away(release: &Release) -> Vec<u64> {
    release.states().iter().map(|state| state["refused"].as_u64().unwrap()).collect()
}

/// What it says once all are paused.
const IN_THE_WINDOW: &str = "held: for";

#[test]
fn a_pod_that_is_restarted_added_or_removed_in_the_window_repeats_it() {
    let (scene, release, acks) = scene("scalar-pods", &[]);
    let changes: [(&str, usize, &dyn Fn()); 3] = [
        ("restarted", 3, &|| release.restart(&release.pods()[0])),
        ("added", 4, &|| _ = release.kubectl.ok(&["scale", &release.deployment(), "--replicas=4"])),
        ("removed", 4, &|| _ = release.kubectl.ok(&["delete", "pod", &release.pods()[1], "--wait=false"])),
    ];
    for (what, pods, change) in changes {
        let running = plugin(&scene, &["shop"], &["--hold", "8s"]).start();
        running.until_says(IN_THE_WINDOW, seconds(60));
        change();
        let ended = running.end(seconds(180)).done();
        let record = ended.json();
        assert_eq!(record["status"]["attempt"], 2, "{what}: {record:#}");
        let attempts = list(&record, "/status/attempts");
        assert!(text(&attempts[0], "/reason").contains("shop-scalardb-cluster"), "{what}: {record:#}");
        assert_eq!(list(&record, "/status/pods/before").len(), pods, "{what}: {record:#}");
        quiet(&record, pods, &acks);
        release.wait_ready();
        release.are_paused(false);
    }
    // Without another attempt it is none.
    let running = plugin(&scene, &["shop"], &["--hold", "8s", "--attempts", "1"]).start();
    running.until_says(IN_THE_WINDOW, seconds(60));
    release.restart(&release.pods()[0]);
    let ended = running.end(seconds(60)).exits(1);
    outcome_is(&ended.json(), "Failed");
    release.are_paused(false);
}

/// How often a pod's server was asked to unpause.
fn unpauses(release: &Release, pod: &str) -> u64 {
    release.state(pod)["unpauses"].as_u64().unwrap()
}

#[test]
fn two_releases_in_two_namespaces_share_one_window() {
    let (scene, shop, acks) = scene("scalar-two", &[]);
    let other = Scene::new("scalar-other", &[Database::new(Kind::Postgres).idle()]);
    let books = Release::new(&other.kubectl, Product::Ledger, "books", &["--tls"]);
    let other_acks = books.busy();
    let elsewhere = format!("{}/books", other.namespace());
    let both = ["shop", elsewhere.as_str()];
    let record = window(&scene, &both, &["--hold", "2s"]).done().json();
    quiet(&record, 6, &acks);
    quiet(&record, 6, &other_acks);

    // One that does not drain in time: all others are unpaused too.
    books.switch(&books.pods()[2], &["drain=20s"]);
    until("a slow request", seconds(30), || match books.state(&books.pods()[2]) {
        state if state["outstanding"].as_u64().unwrap() > 0 => Ok(()),
        state => Err(state),
    });
    let ended = window(&scene, &both, &["--hold", "2s", "--max-pause-wait-time", "1s"]).exits(1);
    outcome_is(&ended.json(), "Failed");
    ended.says(&["outstanding requests did not end within 1000 ms, and it serves again"]);
    shop.are_paused(false);
    books.are_paused(false);
    books.switch_all(&["drain=0s"]);

    // One that is not unpaused: tried again and again, then told, and released by somebody else.
    let stuck = books.pods()[0].clone();
    books.switch(&stuck, &["unpause=error"]);
    let before = unpauses(&books, &stuck);
    let ended =
        window(&scene, &both, &["--hold", "1s", "--max-pause-wait-time", "5s", "--quiesce-budget", "8s"]).exits(4);
    let record = ended.json();
    outcome_is(&record, "Stuck");
    assert_eq!(list(&record, "/status/mayBeHeld").len(), 1, "{record:#}");
    assert!(text(&record, "/status/mayBeHeld/0").contains(&stuck), "{record:#}");
    let tries = unpauses(&books, &stuck) - before;
    assert!(tries >= 5, "only {tries} tries");
    ended.says(&[&stuck, "thaw"]);
    shop.are_paused(false);
    assert_eq!(books.state(&stuck)["paused"], true);
    books.switch(&stuck, &["unpause=ok"]);
    scene.plugin(&["thaw", &run_of(&record)]).run().done();
    books.are_paused(false);
    other_acks.serves_after(now(), seconds(10));
}

#[test]
fn a_pause_whose_program_dies_is_ended_by_its_guard_or_by_thaw() {
    let (scene, release, acks) = scene("scalar-dies", &[]);
    let budget = ["--hold", "2s", "--max-pause-wait-time", "2s", "--quiesce-budget", "8s"];

    // Without a guard: said beforehand, and so it is.
    let died = plugin(&scene, &["shop"], &budget).dies_at(PAUSED).run();
    assert!(died.was_killed(), "{died}");
    died.says(&["if this program dies while", "only `thaw` releases it"]);
    let silent = now();
    release.are_paused(true);
    // Long past the budget.
    until("12 s without a row", seconds(30), || {
        let gap = acks.gap_since(silent);
        if gap > seconds(12) { Ok(()) } else { Err(format!("{gap:?}")) }
    });
    release.are_paused(true);
    let run = unfinished(&scene);
    scene.plugin(&["thaw"]).run().done();
    release.are_paused(false);
    acks.serves_after(now(), seconds(10));
    // Nothing ended it at the budget of 8 s, and the record does not say so.
    let record = scene.plugin(&["describe", &run, "-o", "json"]).run().done().json();
    let targets = list(&record, "/status/targets").iter();
    let held: Vec<f64> = targets.map(|target| target["heldSeconds"].as_f64().unwrap()).collect();
    assert!(held.len() == 3 && held.iter().all(|held| *held > 12.0), "{record:#}");

    // With one: it serves again within the budget and five seconds, whatever became of the run.
    let guarded = [&budget[..], &["--guard-image", guard::image()]].concat();
    let died = plugin(&scene, &["shop"], &guarded).dies_at(PAUSED).run();
    assert!(died.was_killed(), "{died}");
    release.are_paused(true);
    let (begun, run) = (now(), unfinished(&scene));

    // Nobody may pause while an old guard is there: it would end the new pause.
    let refused = window(&scene, &["shop"], &["--hold", "1s"]).exits(5);
    refused.says(&["guards pauses of run", &format!("thaw {run}")]);
    acks.serves_after(begun, seconds(8 + 5));
    release.are_paused(false);
    scene.plugin(&["thaw", &run]).run().done();
    assert_eq!(guards(&scene), Vec::<String>::new());

    // A pause whose guard is gone has no net, and is ended.
    let running =
        plugin(&scene, &["shop"], &["--hold", "30s", "--attempts", "1", "--guard-image", guard::image()]).start();
    running.until_says(IN_THE_WINDOW, seconds(60));
    scene.kubectl.ok(&["delete", "pods", "-l", "consistent-backup/part=guard", "--wait=false"]);
    let record = running.end(seconds(60)).exits(1).json();
    assert!(text(&record, "/status/reason").contains("guard pod in namespace"), "{record:#}");
    release.are_paused(false);

    // The guard of a run that is over is gone: a longer pause after it is not ended by it.
    window(&scene, &["shop"], &guarded).done();
    assert_eq!(guards(&scene), Vec::<String>::new());
    let record = window(&scene, &["shop"], &["--hold", "9s"]).done().json();
    quiet(&record, 3, &acks);
}

/// The entry of the journal after which all three pods are paused: attempt, three prepared, two intents, three quiesced.
const PAUSED: u32 = 9;

fn unfinished(scene: &Scene) -> String {
    let listed = scene.plugin(&["list", "-o", "json"]).run().done().json();
    let running = list(&listed, "/items").iter().find(|item| text(item, "/status/outcome") == "Running");
    run_of(running.unwrap_or_else(|| panic!("{listed:#}")))
}

fn guards(scene: &Scene) -> Vec<String> {
    crate::support::kubectl::names(&scene.kubectl.list(&["pods", "-l", "consistent-backup/part=guard"]))
}

#[test]
fn the_users_own_command_runs_in_the_window_and_is_ended_after_it() {
    let (scene, release, acks) = scene("scalar-command", &[]);
    let asked = ["quiesce-snapshot", "--release", "shop", "--backend", "command", "-o", "json"];
    let told = ["--", "sh", "-c", "echo snapshot of $CONSISTENT_BACKUP_RUN; sleep 1"];
    let record = scene.plugin(&asked).args(told).run().done().json();
    quiet(&record, 3, &acks);
    assert_eq!(record["status"]["command"]["exitCode"], 0);
    let output = format!("snapshot of {}\n", run_of(&record));
    assert_eq!(text(&record, "/status/command/output"), output);

    let record = scene.plugin(&asked).args(["--", "sh", "-c", "echo no room; exit 3"]).run().exits(1).json();
    assert!(text(&record, "/status/reason").contains("exit code 3: no room"), "{record:#}");
    assert_eq!(record["status"]["command"]["exitCode"], 3);
    release.are_paused(false);

    // One that takes too long: the pods serve before it is ended.
    let file = tempfile::NamedTempFile::new().unwrap();
    let trap = format!("trap 'date +%s%N > {}; exit 0' TERM; while :; do sleep 0.05; done", file.path().display());
    let budget = ["--quiesce-budget", "5s", "--max-pause-wait-time", "1s"];
    let record = scene.plugin(&asked).args(budget).args(["--", "bash", "-c", &trap]).run().exits(1).json();
    assert!(text(&record, "/status/reason").contains("budget"), "{record:#}");
    let ended: i128 = std::fs::read_to_string(file.path()).unwrap().trim().parse().unwrap();
    let thawed =
        list(&record, "/status/targets").iter().map(|t| text(t, "/thawedAt").parse::<jiff::Timestamp>().unwrap());
    assert!(thawed.map(jiff::Timestamp::as_nanosecond).all(|at| at < ended + 50_000_000), "{record:#}");
    assert_eq!(record["status"]["command"]["killed"], true);
    release.are_paused(false);
}

#[test]
fn a_detached_window_is_held_until_thaw_says_how_it_was() {
    let (scene, release, acks) = scene("scalar-detached", &[]);
    let detached = ["--detach", "-o", "name"];
    let start = |more: &[&str]| {
        let named = [&detached[..], more].concat();
        let held =
            scene.plugin(&["quiesce-snapshot", "--release", "shop", "--backend", "window"]).args(named).run().done();
        held.stdout.trim().to_owned()
    };
    let run = start(&[]);
    release.are_paused(true);
    let record = scene.plugin(&["thaw", &run, "-o", "json"]).run().done().json();
    quiet(&record, 3, &acks);
    release.are_paused(false);

    // At its budget it is released by itself, and whoever copied until then is told.
    let from = now();
    let run = start(&["--quiesce-budget", "4s", "--max-pause-wait-time", "1s"]);
    acks.serves_after(from + 1_000_000_000, seconds(4 + 5));
    until("the end of the run", seconds(30), || {
        let record = scene.plugin(&["describe", &run, "-o", "json"]).run().done().json();
        let outcome = text(&record, "/status/outcome").to_owned();
        if outcome == "Failed" { Ok(()) } else { Err(outcome) }
    });
    scene.plugin(&["thaw", &run]).run().exits(1);
    release.are_paused(false);
}
