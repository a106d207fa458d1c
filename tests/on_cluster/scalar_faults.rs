//! Servers that answer wrongly or not at all, releases that are found by their pods, pauses of other people, and clocks
//! that are off.

use serde_json::{Value, json};

use crate::support::acks::{AckLog, now};
use crate::support::backup::part;
use crate::support::database::{Database, Kind};
use crate::support::plugin::{list, outcome_is, text};
use crate::support::process::Running;
use crate::support::scalar::{Product, Release};
use crate::support::scene::Scene;
use crate::support::wait::{seconds, until};

const WINDOW: &[&str] = &["quiesce-snapshot", "--backend", "window", "--hold", "1s", "-o", "json"];
/// So that a call that is never answered is not waited for long.
const SHORT: &[&str] = &["--release", "shop", "--max-pause-wait-time", "2s"];

#[test]
fn faults_of_servers_pauses_of_others_and_wrong_clocks_are_noticed() {
    let scene = Scene::new("scalar-faults", &[Database::new(Kind::Postgres).idle()]);
    let shop = Release::new(&scene.kubectl, Product::ScalarDbCluster, "shop", &[]);
    let acks = shop.busy();
    part("a pause that is not answered", || a_pause_that_is_not_answered(&scene, &shop, &acks));
    part("a server without CheckPaused", || a_server_without_check_paused(&scene, &shop));
    part("a client whose clock is off", || a_client_whose_clock_is_off(&scene, &shop));
    part("a pod without an address", || a_pod_without_an_address(&scene, &shop));
    part("somebody else unpauses", || somebody_else_unpauses(&scene, &shop));
    part("a database whose clock is off", || a_database_whose_clock_is_off(&scene, &acks));

    // Two writers of one table would take each other's numbers.
    scene.kubectl.ok(&["delete", "pod", &format!("writer-{}", shop.full_name), "--now"]);
    let books = Release::new(&scene.kubectl, Product::Ledger, "books", &["--replicas", "1"]);
    let _acks = books.busy();
    let ledger = Ledger { scene: &scene, pod: books.pods().remove(0), release: books };
    part("the gate of a ledger is opened", || ledger.is_opened_while_our_pause_waits());
    part("the gate of a ledger is closed", || ledger.is_closed_by_somebody_else());
    part("another pause of a ledger is at work", || ledger.is_being_paused_by_somebody_else());
}

/// It is released, and named in the record.
fn a_pause_that_is_not_answered(scene: &Scene, release: &Release, acks: &AckLog) {
    let pod = release.pods()[1].clone();
    for fault in ["pause=error:1", "pause=lost:1", "pause=hang:1"] {
        release.switch(&pod, &[fault]);
        let ended = scene.plugin(WINDOW).args(SHORT).run().exits(1);
        let record = ended.json();
        outcome_is(&record, "Failed");
        assert!(text(&record, "/status/reason").contains(&pod), "{fault}: {record:#}");
        assert_eq!(list(&record, "/status/mayBeHeld").len(), 0, "{fault}: {record:#}");
        release.are_paused(false);
        acks.serves_after(now(), seconds(30));
    }
    // Nobody else's pause is ended: it is refused before anything is touched.
    release.pause_by_others(Some(seconds(30)));
    let refused = scene.plugin(WINDOW).args(SHORT).run().exits(5);
    refused.says(&["is paused already, by somebody else"]);
    release.are_paused(true);
    release.unpause_by_others();
}

fn a_server_without_check_paused(scene: &Scene, release: &Release) {
    release.switch_all(&["check=unimplemented"]);
    let ended = scene.plugin(WINDOW).args(SHORT).run().done();
    let ended = ended.says(&["it cannot be asked whether it is paused (no CheckPaused)"]);
    outcome_is(&ended.json(), "ApplicationConsistent");
    release.switch_all(&["check=ok"]);
    release.are_paused(false);
}

/// An hour off, it plays no part. In the same run the release is found by the pods that are selected; the proxy in front
/// is only watched.
fn a_client_whose_clock_is_off(scene: &Scene, release: &Release) {
    let selected = ["-l", "app.kubernetes.io/instance=shop"];
    let record = scene.plugin(WINDOW).args(selected).clock_ahead("+3600s").run().done().json();
    assert_eq!(list(&record, "/status/targets").len(), 3, "{record:#}");
    assert_eq!(list(&record, "/status/releases").len(), 1, "{record:#}");
    let skew = record["status"]["window"]["clientSkewSeconds"].as_f64().unwrap();
    assert!((skew - 3600.0).abs() < 2.0, "{record:#}");
    let start: jiff::Timestamp = text(&record, "/status/window/start").parse().unwrap();
    assert!((now() - start.as_nanosecond()).abs() < 60_000_000_000, "{record:#}");
    release.are_paused(false);
}

fn a_pod_without_an_address(scene: &Scene, release: &Release) {
    let pauses = || release.states().iter().map(|state| state["pauses"].clone()).collect::<Vec<_>>();
    let before = pauses();
    let template = scene.kubectl.get(&release.deployment())["spec"]["template"].clone();
    let labels = &template["metadata"]["labels"];
    let mut pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "nowhere", "labels": labels}});
    pod["spec"] = template["spec"].clone();
    pod["spec"]["nodeSelector"] = json!({"no": "such"});
    scene.kubectl.apply(&[pod]);
    scene.plugin(WINDOW).args(SHORT).run().exits(5).says(&["pod/nowhere: of release/shop has no address"]);
    scene.kubectl.ok(&["delete", "pod", "nowhere", "--now"]);
    assert_eq!(pauses(), before, "a pod was paused all the same");
}

/// Whoever unpauses in the window is noticed. Until then another run is refused.
fn somebody_else_unpauses(scene: &Scene, release: &Release) {
    // The window ends when it is noticed.
    let long = ["quiesce-snapshot", "--backend", "window", "--hold", "120s", "--attempts", "1", "-o", "json"];
    let running = scene.plugin(&long).args(SHORT).start();
    running.until_says("held: for", seconds(60));
    scene.plugin(WINDOW).args(SHORT).run().exits(5).says(&["is leased by run"]);
    release.are_paused(true);
    release.unpause_by_others();
    let record = running.end(seconds(90)).exits(1).json();
    outcome_is(&record, "Failed");
    assert!(text(&record, "/status/reason").contains("somebody else ended its pause"), "{record:#}");
    assert_eq!(record["pause_start_timestamp_ms"], Value::Null, "{record:#}");
    release.are_paused(false);
}

/// It has no window. A window of 4 s, so that the time that a busy machine takes to tell its clock is none to be off.
fn a_database_whose_clock_is_off(scene: &Scene, acks: &AckLog) {
    let window = ["quiesce-snapshot", "--backend", "window", "--hold", "4s", "-o", "json", "statefulset/postgres"];
    let record = scene.plugin(&window).run().done().json();
    let skew = record["status"]["window"]["databaseSkewSeconds"].as_f64().unwrap();
    assert!(skew.abs() < 2.0, "one clock, but a skew of {skew} s");
    let fast =
        "printf '#!/bin/sh\\nexec /bin/date -d +1hour \"$@\"\\n' >/usr/local/bin/date && chmod 755 /usr/local/bin/date";
    let in_postgres = |script: &str| scene.kubectl.exec(&Kind::Postgres.pod(), &["sh", "-c", script]).done();
    in_postgres(fast);
    let record = scene.plugin(&window).run().exits(1).json();
    outcome_is(&record, "Failed");
    let reason = text(&record, "/status/reason");
    let off = reason.split_once("its clock is ").and_then(|(_, rest)| rest.split_once(" s off the API server's"));
    let off: f64 = off.unwrap_or_else(|| panic!("no clock in `{reason}`")).0.parse().unwrap();
    assert!((off - 3600.0).abs() < 2.0, "{reason}");
    acks.serves_after(now(), seconds(30));
    in_postgres("rm /usr/local/bin/date");
}

/// The entry of the journal after which a single pod is prepared, and its pause not yet intended: attempt, prepared.
const PREPARED: u32 = 2;

/// A ledger of a single pod, busy. Somebody else's pauses of it are left as they are, and told apart, as far as ScalarDL
/// tells them.
struct Ledger<'a> {
    scene: &'a Scene,
    release: Release,
    pod: String,
}

impl Ledger<'_> {
    #[track_caller]
    fn until(&self, what: &str, wanted: impl Fn(&Value) -> bool) {
        until(what, seconds(60), || match self.release.state(&self.pod) {
            state if wanted(&state) => Ok(()),
            state => Err(state),
        });
    }

    /// A run right before its pause, which may take this long, with a request that just came and takes longer.
    fn about_to_pause(&self, limit: &str) -> Running {
        self.release.switch(&self.pod, &["drain=0s"]);
        self.until("no slow request", |state| state["outstanding"] == 0);
        let window = self.scene.plugin(WINDOW).args(["--release", "books", "--max-pause-wait-time", limit]);
        let mut running = window.stops_at(PREPARED).start();
        assert!(running.until_stopped(seconds(60)), "the run was over before its pause");
        // Its leases last for 10 s from here.
        self.release.switch(&self.pod, &["drain=15s"]);
        self.until("a slow request", |state| state["outstanding"].as_u64().unwrap() > 0);
        running
    }

    #[track_caller]
    fn fails(&self, running: Running, why: &str) {
        running.end(seconds(90)).exits(1).says(&[&self.pod, why]);
    }

    fn is_opened_while_our_pause_waits(&self) {
        let running = self.about_to_pause("30s");
        running.signal("CONT");
        self.until("a closed gate", |state| state["paused"] == true);
        self.release.unpause_by_others();
        self.fails(running, "somebody else ended the pause while it waited");
    }

    /// After we saw it open, and it does not drain.
    fn is_closed_by_somebody_else(&self) {
        let running = self.about_to_pause("1s");
        self.release.pause_by_others(None);
        running.signal("CONT");
        self.fails(running, "somebody else's pause keeps it closed");
        self.release.are_paused(true);
        self.release.unpause_by_others();
    }

    fn is_being_paused_by_somebody_else(&self) {
        let running = self.about_to_pause("1s");
        std::thread::scope(|scope| {
            let theirs = scope.spawn(|| self.release.pause_by_others(Some(seconds(60))));
            self.until("a closed gate", |state| state["paused"] == true);
            running.signal("CONT");
            self.fails(running, "somebody else is pausing it now");
            theirs.join().unwrap();
        });
        self.release.are_paused(true);
        self.release.unpause_by_others();
    }
}
