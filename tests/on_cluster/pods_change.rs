//! A pod that is replaced inside the window spoils the attempt: the new one ran unpaused. Everything is repeated.

use serde_json::{Value, json};

use crate::support::backup::{held, part, proved};
use crate::support::classes::FaultClass;
use crate::support::database::{Database, Kind};
use crate::support::leftovers::unnamed;
use crate::support::plugin::{list, text};
use crate::support::process::Ended;
use crate::support::scene::Scene;
use crate::support::wait::seconds;

/// Redis, and a pod without claims beside it that is only watched.
fn scene() -> Scene {
    let scene = Scene::new("pods-change", &[Database::new(Kind::Redis).every("20ms")]);
    let labels = json!({"app": "front"});
    scene.kubectl.apply(&[json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "front"},
        "spec": {"replicas": 1, "selector": {"matchLabels": labels}, "template": {"metadata": {"labels": labels},
            "spec": {"dnsPolicy": "Default", "terminationGracePeriodSeconds": 0,
                "containers": [{"name": "shell", "image": "localhost/writer:1", "command": ["sleep", "infinity"]}]}}}})]);
    scene
}

/// Backs both up with cuts that take this long, and replaces the watched pod once Redis is held.
fn disturbed(scene: &Scene, cut: &str, more: &[&str]) -> Ended {
    // Also after the pod that was replaced before.
    scene.kubectl.ok(&["rollout", "status", "deployment/front", "--timeout=60s"]);
    let class = FaultClass::with(scene, "cut-delay-5s", Some(("cutDelay", cut)));
    let args = ["quiesce-snapshot", "statefulset/redis", "deployment/front", "-o", "json"];
    let running = held(scene.plugin(&args).args(["--snapshot-class", &class.name]).args(more));
    scene.kubectl.ok(&["delete", "pod", "-l", "app=front", "--grace-period=0", "--force", "--wait=false"]);
    running.end(seconds(240))
}

#[test]
fn a_pod_that_is_replaced_in_the_window_spoils_the_attempt() {
    let scene = scene();
    part("the attempt is repeated with its reason", || is_repeated(&scene));
    part("without another attempt it fails", || without_another_attempt(&scene));
}

fn is_repeated(scene: &Scene) {
    let record = disturbed(scene, "5s", &[]).done().json();
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
    scene.all_serve(seconds(30));
    assert_eq!(unnamed(scene), Vec::<String>::new(), "the first attempt's snapshot is not removed");
}

fn without_another_attempt(scene: &Scene) {
    let ended = disturbed(scene, "15s", &["--attempts", "1"]);
    let record = ended.json();
    assert_eq!((ended.code(), text(&record, "/status/outcome")), (Some(1), "Failed"), "{ended}");
    // A change that is seen only after the cut would leave a copy, and Redis held for all of it.
    let held = list(&record, "/status/targets")[0]["heldSeconds"].as_f64().unwrap();
    assert!(
        held < 15.0,
        "Redis was held {held} s, for as long as the cut takes, although its attempt was spoilt at once"
    );
    let differences = list(&record, "/status/pods/differences");
    assert!(differences.iter().any(|d| text(d, "/pod").contains("front-")), "{record:#}");
    assert!(text(&record, "/status/reason").contains("front-"), "{record:#}");
    ended.says(&["front-"]);
    scene.all_serve(seconds(30));
    proved(scene, &[Kind::Redis], &scene.backup(&[]).run().done());
}
