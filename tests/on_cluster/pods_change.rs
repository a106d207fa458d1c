//! A pod that is replaced inside the window spoils the attempt: the new one ran unpaused. Everything is repeated.

use serde_json::{Value, json};

use crate::support::acks::now;
use crate::support::backup::proved;
use crate::support::classes::FaultClass;
use crate::support::database::{Database, Kind};
use crate::support::leftovers::unnamed;
use crate::support::plugin::{list, text};
use crate::support::process::{Ended, Running};
use crate::support::scene::Scene;
use crate::support::wait::{seconds, until};

/// Redis, and a pod without claims beside it that is only watched.
fn scene(test: &str) -> Scene {
    let scene = Scene::new(test, &[Database::new(Kind::Redis)]);
    let labels = json!({"app": "front"});
    scene.kubectl.apply(&[json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "front"},
        "spec": {"replicas": 1, "selector": {"matchLabels": labels}, "template": {"metadata": {"labels": labels},
            "spec": {"dnsPolicy": "Default", "terminationGracePeriodSeconds": 0,
                "containers": [{"name": "shell", "image": "localhost/writer:1", "command": ["sleep", "infinity"]}]}}}})]);
    scene.kubectl.ok(&["rollout", "status", "deployment/front", "--timeout=60s"]);
    scene
}

/// Backs both up with slow cuts, and replaces the watched pod while Redis is held.
fn disturbed(scene: &Scene, more: &[&str]) -> Ended {
    let class = FaultClass::new(scene, "cut-delay-5s");
    let args = [&["quiesce-snapshot", "statefulset/redis", "deployment/front", "-o", "json"], more].concat();
    let running = scene.plugin(&args).args(["--snapshot-class", &class.name]).start();
    replace_while_held(scene, &running);
    running.end(seconds(180))
}

fn replace_while_held(scene: &Scene, running: &Running) {
    running.until_says("plan of run", seconds(60));
    until("a held Redis", seconds(30), || match scene.acks(Kind::Redis).last() {
        Some(ack) if now() - ack.acked > 700_000_000 => Ok(()),
        _ => Err("it takes writes"),
    });
    scene.kubectl.ok(&["delete", "pod", "-l", "app=front", "--grace-period=0", "--force"]);
}

#[test]
fn the_attempt_is_repeated_with_its_reason() {
    let scene = scene("repeated");
    let ended = disturbed(&scene, &[]).done();
    let record = ended.json();
    assert_eq!(record["status"]["attempt"], 2, "{record:#}");
    let attempts = list(&record, "/status/attempts");
    assert_eq!(attempts.len(), 1, "{record:#}");
    let reason = text(&attempts[0], "/reason");
    assert!(reason.contains("front-"), "the pod is not named in `{reason}`");
    // Two pods in the tables, one of them a database.
    let pods = list(&record, "/status/pods/before");
    assert_eq!(pods.len(), 2, "{pods:#?}");
    assert_eq!(list(&record, "/status/pods/differences"), &[] as &[Value]);
    assert_eq!(text(&record, "/status/outcome"), "ApplicationConsistent");
    scene.all_serve(seconds(5));
    assert_eq!(unnamed(&scene), Vec::<String>::new(), "the first attempt's snapshot is not removed");
}

#[test]
fn without_another_attempt_it_is_no_more_than_it_is() {
    let scene = scene("once");
    let ended = disturbed(&scene, &["--attempts", "1"]);
    let record = ended.json();
    // The cut takes 5 s: a change that is seen only after it would leave a copy, and Redis held for all of it.
    assert_eq!((ended.code(), text(&record, "/status/outcome")), (Some(1), "Failed"), "{ended}");
    let held = list(&record, "/status/targets")[0]["heldSeconds"].as_f64().unwrap();
    assert!(held < 4.0, "Redis was held {held} s, although its attempt was spoilt at once");
    let differences = list(&record, "/status/pods/differences");
    assert!(differences.iter().any(|d| text(d, "/pod").contains("front-")), "{record:#}");
    assert!(text(&record, "/status/reason").contains("front-"), "{record:#}");
    ended.says(&["front-"]);
    scene.all_serve(seconds(5));
    proved(&scene, &[Kind::Redis], &scene.backup(&[]).run().done());
}
