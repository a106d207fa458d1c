//! Plans with releases in front of databases.
#![allow(clippy::unwrap_used)]

use std::time::Duration;

use serde_json::{Value, json};

use super::super::fixture::{facts, full, light, pod};
use super::super::release::{APP, INSTANCE, Product, Release};
use super::super::{Backend, Database, Endpoint, Facts, Plan, Probed, Request, detect};
use super::plan;
use crate::quiescer::{Another, Answer, End, MESSAGE, QUIESCERS, Quiescer, scalar::Scalar};

fn server(name: &str) -> Value {
    let mut server = pod(name, &["scalardb"], &[]);
    server["metadata"]["labels"] = json!({INSTANCE: "shop", APP: "scalardb"});
    server
}

fn postgres() -> Value {
    let mut pod = pod("pg-0", &["postgres"], &["data"]);
    pod["spec"]["containers"][0]["image"] = json!("postgres:15");
    pod
}

fn with_release(pods: &[Value]) -> Facts {
    let release = Release {
        namespace: "demo".into(),
        name: "shop".into(),
        product: Product::ScalarDbServer,
        chart: "scalardb-2.5.0".into(),
        app_version: "3.8.0".into(),
        deployment: "shop".into(),
        service: "shop-headless".into(),
        properties: None,
    };
    Facts { releases: vec![(release, Endpoint { port: 60051, tls: None })], ..facts(pods) }
}

fn serving() -> Probed {
    let answer = Answer { out: MESSAGE.into(), end: End::Exited(0), ..Answer::default() };
    Scalar.read_probe(&answer)
}

fn planned(pods: &[Value], probes: &[Probed], change: impl FnOnce(&mut Request)) -> Result<Plan, Vec<String>> {
    let facts = with_release(pods);
    let mut request = Request::new("demo", &["pod/x".to_owned()], None).unwrap();
    change(&mut request);
    let detection = detect(&facts, QUIESCERS);
    assert_eq!(detection.targets.len(), probes.len(), "{detection:?}");
    let now = "2026-11-22T00:00:00Z".parse().unwrap();
    plan(&facts, &detection, probes, &request, "r", now)
        .map_err(|refusals| refusals.into_iter().map(|r| format!("{}: {}", r.object, r.message)).collect())
}

const WINDOW: Backend = Backend::Window { hold: Duration::from_secs(10) };

#[test]
fn the_application_is_held_before_its_database_and_released_after_it() {
    let plan =
        planned(&[postgres(), server("a"), server("b")], &[light(&["/data"]), serving(), serving()], |_| {}).unwrap();
    let waves: Vec<(&str, u8)> = plan.targets.iter().map(|t| (t.pod.as_str(), t.wave)).collect();
    assert_eq!(waves, [("pg-0", 1), ("a", 0), ("b", 0)]);
    let (first, server) = (&plan.targets[0], &plan.targets[1]);
    assert_eq!((first.endpoint.as_ref(), first.leased().as_str()), (None, "pg-0"));
    assert_eq!(server.endpoint, Some(Endpoint { port: 60051, tls: None }));
    assert_eq!((server.leased().as_str(), server.probe.version.as_str()), ("release-shop", "3.8.0"));
    assert_eq!(server.probe.setting("maxPauseWaitMillis"), "30000");
    // The time that a pause may take comes on top.
    assert_eq!(plan.budget, Duration::from_secs(60));
    assert_eq!(plan.claims.len(), 1);
    assert!(plan.notes.iter().any(|note| note.contains("only `thaw` releases it")), "{:?}", plan.notes);
}

#[test]
fn a_window_needs_no_claim_and_no_snapshot_class() {
    let plan = planned(&[server("a")], &[serving()], |request| request.backend = WINDOW).unwrap();
    assert_eq!((plan.claims.len(), plan.budget), (0, Duration::from_secs(50)));
    let asked = planned(&[server("a")], &[serving()], |request| {
        request.backend = WINDOW;
        request.budget_chosen = true;
        request.budget = Duration::from_secs(5);
    });
    assert_eq!(
        asked.unwrap_err(),
        ["pod/x: is to be held for 10s once all are held: with that, longer than it may be (5s)"]
    );
    let guarded = planned(&[server("a")], &[serving()], |request| {
        request.backend = WINDOW;
        request.guard_image = Some("image:1".into());
    })
    .unwrap();
    assert!(guarded.notes.iter().any(|note| note.starts_with("a guard pod (image:1) unpauses")), "{:?}", guarded.notes);
    let detached = planned(&[server("a")], &[serving()], |request| {
        request.backend = WINDOW;
        request.detached = true;
    })
    .unwrap();
    assert_eq!(detached.attempts, 1, "a second window is none that was copied in");
}

#[test]
fn in_a_window_nobody_goes_on_committing() {
    let refused = planned(&[postgres()], &[light(&["/data"])], |request| request.backend = WINDOW).unwrap_err();
    assert_eq!(
        refused,
        ["pod/pg-0: goes on committing while it is held, and --backend window needs all commits stopped"]
    );
    let lockable = light(&["/data"]).map(|probe| crate::quiescer::Probe { full: Some(Another::default()), ..probe });
    let plan = planned(&[postgres()], &[lockable], |request| request.backend = WINDOW).unwrap();
    assert!(plan.targets[0].probe.stops_commits);
    assert!(planned(&[postgres()], &[full(&["/data"])], |request| request.backend = WINDOW).is_ok());
}

#[test]
fn a_pod_of_a_release_that_would_not_be_paused_is_refused() {
    let mut open = server("b");
    open["metadata"]["annotations"] = json!({"consistent-backup/adapter": "none"});
    // Another database in it pauses nothing.
    let mut beside = server("c");
    beside["spec"]["containers"][0]["name"] = json!("cache");
    beside["metadata"]["annotations"] = json!({"consistent-backup/adapter.cache": "redis"});
    let facts = with_release(&[server("a"), open, beside]);
    let detection = detect(&facts, QUIESCERS);
    let refused: Vec<String> = detection.refusals.iter().map(|r| format!("{}: {}", r.object, r.message)).collect();
    let said = |pod: &str| format!("{pod}: is a pod of release demo/shop, and none of its containers would be paused");
    assert_eq!(refused, [said("pod/b"), said("pod/c")], "{detection:?}");
}

#[test]
fn that_no_pause_is_needed_is_said_of_releases_alone() {
    let said = |pods: &[Value], probes: &[Probed], releases: bool| {
        let facts = if releases { with_release(pods) } else { facts(pods) };
        let mut request = Request::new("demo", &["pod/x".to_owned()], None).unwrap();
        request.backend = WINDOW;
        request.databases = vec![Database::parse("jdbc=jdbc:postgresql://db/x").unwrap()];
        let now = "2026-11-22T00:00:00Z".parse().unwrap();
        let plan = plan(&facts, &detect(&facts, QUIESCERS), probes, &request, "r", now).unwrap();
        plan.notes.iter().any(|note| note.contains("no pause is needed"))
    };
    let held = || full(&["/data"]);
    assert!(said(&[server("a")], &[serving()], true));
    assert!(!said(&[postgres(), server("a")], &[held(), serving()], true), "another database is held beside it");
    assert!(!said(&[postgres()], &[held()], false), "there is no release");
}

#[test]
fn what_a_window_is_worth_for_how_long_is_said() {
    let noted = |database: &str| {
        let plan = planned(&[server("a")], &[serving()], |request| {
            request.backend = WINDOW;
            request.databases = vec![Database::parse(database).unwrap()];
        });
        plan.unwrap().notes.iter().any(|note| note.contains("35 days"))
    };
    assert!(noted("dynamo=us-east-1") && !noted("jdbc"));
}
