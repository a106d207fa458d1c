//! Servers that answer wrongly or not at all, releases that are found by their pods, and clocks that are off.

use serde_json::{Value, json};

use crate::support::acks::now;
use crate::support::database::{Database, Kind};
use crate::support::plugin::{list, outcome_is, text};
use crate::support::scalar::{Product, Release};
use crate::support::scene::Scene;
use crate::support::wait::{seconds, until};

const WINDOW: &[&str] = &["quiesce-snapshot", "--backend", "window", "--hold", "1s", "-o", "json"];
/// So that a call that is never answered is not waited for long.
const SHORT: &[&str] = &["--release", "shop", "--max-pause-wait-time", "2s"];

#[test]
fn a_pause_that_is_not_answered_is_released_and_a_server_without_checkpaused_is_told() {
    let scene = Scene::new("scalar-faults", &[Database::new(Kind::Postgres).idle()]);
    let release = Release::new(&scene.kubectl, Product::ScalarDbCluster, "shop", &[]);
    let acks = release.busy();
    let pod = release.pods()[1].clone();
    for fault in ["pause=error:1", "pause=lost:1", "pause=hang:1"] {
        release.switch(&pod, &[fault]);
        let ended = scene.plugin(WINDOW).args(SHORT).run().exits(1);
        let record = ended.json();
        outcome_is(&record, "Failed");
        assert!(text(&record, "/status/reason").contains(&pod), "{fault}: {record:#}");
        assert_eq!(list(&record, "/status/mayBeHeld").len(), 0, "{fault}: {record:#}");
        release.are_paused(false);
        acks.serves_after(now(), seconds(10));
    }
    // Nobody else's pause is ended: it is refused before anything is touched.
    release.scalar_admin("pause", &[]).done();
    let refused = scene.plugin(WINDOW).args(SHORT).run().exits(5);
    refused.says(&["is paused already, by somebody else"]);
    release.are_paused(true);
    release.scalar_admin("unpause", &[]).done();

    release.switch_all(&["check=unimplemented"]);
    let ended = scene.plugin(WINDOW).args(SHORT).run().done();
    let ended = ended.says(&["it cannot be asked whether it is paused (no CheckPaused)"]);
    outcome_is(&ended.json(), "ApplicationConsistent");
    release.switch_all(&["check=ok"]);

    // Found by the pods that are selected; the proxy in front is only watched.
    let selected = ["-l", "app.kubernetes.io/instance=shop"];
    let record = scene.plugin(WINDOW).args(selected).run().done().json();
    assert_eq!(list(&record, "/status/targets").len(), 3, "{record:#}");
    assert_eq!(list(&record, "/status/releases").len(), 1, "{record:#}");

    // An hour off, the clock of the user's machine plays no part.
    let record = scene.plugin(WINDOW).args(SHORT).clock_ahead("+3600s").run().done().json();
    let skew = record["status"]["window"]["clientSkewSeconds"].as_f64().unwrap();
    assert!((skew - 3600.0).abs() < 2.0, "{record:#}");
    let start: jiff::Timestamp = text(&record, "/status/window/start").parse().unwrap();
    assert!((now() - start.as_nanosecond()).abs() < 60_000_000_000, "{record:#}");
    release.are_paused(false);
}

#[test]
fn a_pod_without_an_address_is_refused_and_whoever_unpauses_in_the_window_is_noticed() {
    let scene = Scene::new("scalar-meddled", &[Database::new(Kind::Postgres).idle()]);
    let release = Release::new(&scene.kubectl, Product::ScalarDbCluster, "shop", &[]);
    let template = scene.kubectl.get(&release.deployment())["spec"]["template"].clone();
    let labels = &template["metadata"]["labels"];
    let mut pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "nowhere", "labels": labels}});
    pod["spec"] = template["spec"].clone();
    pod["spec"]["nodeSelector"] = json!({"no": "such"});
    scene.kubectl.apply(&[pod]);
    scene.plugin(WINDOW).args(SHORT).run().exits(5).says(&["pod/nowhere: of release/shop has no address"]);
    scene.kubectl.ok(&["delete", "pod", "nowhere", "--now"]);
    assert!(release.states().iter().all(|state| state["pauses"] == 0), "{:?}", release.states());

    let long = ["quiesce-snapshot", "--backend", "window", "--hold", "30s", "--attempts", "1", "-o", "json"];
    let running = scene.plugin(&long).args(SHORT).start();
    running.until_says("held: for", seconds(60));
    scene.plugin(WINDOW).args(SHORT).run().exits(5).says(&["is leased by run"]);
    release.are_paused(true);
    release.scalar_admin("unpause", &[]).done();
    let record = running.end(seconds(90)).exits(1).json();
    outcome_is(&record, "Failed");
    assert!(text(&record, "/status/reason").contains("somebody else ended its pause"), "{record:#}");
    assert_eq!(record["pause_start_timestamp_ms"], Value::Null, "{record:#}");
    release.are_paused(false);
}

/// The entry of the journal after which a single pod is prepared, and its pause not yet intended: attempt, prepared.
const PREPARED: u32 = 2;

/// Somebody else's pauses are left as they are, and told apart, as far as ScalarDL tells them.
#[test]
fn a_ledger_that_somebody_else_pauses_too_is_left_to_them() {
    let scene = Scene::new("scalar-others", &[Database::new(Kind::Postgres).idle()]);
    let release = Release::new(&scene.kubectl, Product::Ledger, "books", &[]);
    scene.kubectl.ok(&["scale", &release.deployment(), "--replicas=1"]);
    release.wait_ready();
    let _acks = release.busy();
    let pod = release.pods()[0].clone();
    let window = |limit: &str| scene.plugin(WINDOW).args(["--release", "books", "--max-pause-wait-time", limit]);
    let state = |what: &str, wanted: &dyn Fn(&Value) -> bool| {
        until(what, seconds(30), || match release.state(&pod) {
            state if wanted(&state) => Ok(()),
            state => Err(state),
        });
    };
    let closed = || state("a closed gate", &|state| state["paused"] == true);
    // Right before its pause, with a request that just came and takes long.
    let about_to_pause = |limit: &str| {
        release.switch(&pod, &["drain=0s"]);
        state("no slow request", &|state| state["outstanding"] == 0);
        let mut running = window(limit).stops_at(PREPARED).start();
        assert!(running.until_stopped(seconds(60)));
        release.switch(&pod, &["drain=15s"]);
        state("a slow request", &|state| state["outstanding"].as_u64().unwrap() > 0);
        running
    };

    // Its gate is opened while our pause waits.
    let running = about_to_pause("30s");
    running.signal("CONT");
    closed();
    release.scalar_admin("unpause", &[]).done();
    running.end(seconds(60)).exits(1).says(&[&pod, "somebody else ended the pause while it waited"]);

    // It is closed by somebody else after we saw it open, and does not drain.
    let running = about_to_pause("1s");
    release.scalar_admin("pause", &["-n"]).done();
    running.signal("CONT");
    running.end(seconds(60)).exits(1).says(&[&pod, "somebody else's pause keeps it closed"]);
    release.are_paused(true);
    release.scalar_admin("unpause", &[]).done();

    // Somebody else's pause is at work.
    let running = about_to_pause("1s");
    std::thread::scope(|scope| {
        let theirs = scope.spawn(|| release.scalar_admin("pause", &["-m", "60000"]));
        closed();
        running.signal("CONT");
        running.end(seconds(60)).exits(1).says(&[&pod, "somebody else is pausing it now"]);
        theirs.join().unwrap().done();
    });
    release.are_paused(true);
    release.scalar_admin("unpause", &[]).done();
}

#[test]
fn a_database_whose_clock_is_off_has_no_window() {
    let scene = Scene::new("scalar-clock", &[Database::new(Kind::Postgres)]);
    let window = || scene.plugin(WINDOW).args(["statefulset/postgres"]).run();
    let record = window().done().json();
    let skew = record["status"]["window"]["databaseSkewSeconds"].as_f64().unwrap();
    assert!(skew.abs() < 0.5, "one clock, but a skew of {skew} s");
    let fast =
        "printf '#!/bin/sh\\nexec /bin/date -d +1hour \"$@\"\\n' >/usr/local/bin/date && chmod 755 /usr/local/bin/date";
    scene.kubectl.exec(&Kind::Postgres.pod(), &["sh", "-c", fast]).done();
    let ended = window().exits(1);
    let record = ended.json();
    outcome_is(&record, "Failed");
    let reason = text(&record, "/status/reason");
    assert!(reason.contains("its clock is 3600") && reason.contains("off the API server's"), "{reason}");
    scene.all_serve(seconds(10));
}
