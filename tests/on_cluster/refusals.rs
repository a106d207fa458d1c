//! What cannot end well is refused before anything is touched, with every reason at once.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::support::backup::part;
use crate::support::cluster;
use crate::support::copies::pod_of;
use crate::support::database::{Database, Kind};
use crate::support::leftovers::state;
use crate::support::plugin::{Plugin, text};
use crate::support::process::Ended;
use crate::support::scene::{Scene, Stopped};
use crate::support::user;
use crate::support::wait::{seconds, until};

/// Runs it, and fails unless it is refused, says all of this, and has touched nothing.
#[track_caller]
fn refused(scene: &Scene, plugin: Plugin, words: &[&str]) -> Ended {
    let before = state(scene);
    let ended = plugin.run().exits(5).says(words);
    assert_eq!(state(scene), before, "refused, but something was touched\n{ended}");
    assert!(ended.stdout.is_empty(), "a refusal is no data\n{ended}");
    ended
}

fn backup(scene: &Scene, objects: &[&str]) -> Plugin {
    scene.plugin(&["quiesce-snapshot"]).args(objects)
}

/// A pod of its own like the ones of the StatefulSet `redis`, on a claim of its own, with a change.
fn redis_pod(scene: &Scene, name: &str, change: impl FnOnce(&mut Value)) {
    let claim = json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": name},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "64Mi"}}}});
    let mut pod = pod_of(&scene.kubectl.get("statefulset/redis"), name, name);
    pod["spec"]["terminationGracePeriodSeconds"] = json!(0);
    change(&mut pod);
    scene.kubectl.apply(&[claim, pod]);
}

fn container(pod: &mut Value) -> &mut Value {
    &mut pod["spec"]["containers"][0]
}

fn until_shows(scene: &Scene, pod: &str, columns: &str) {
    until(&format!("{pod} to be {columns}"), seconds(60), || {
        let table = scene.kubectl.ok(&["get", "pod", pod, "--no-headers"]);
        let shown: Vec<&str> = table.split_whitespace().skip(1).take(2).collect();
        if shown.join(" ") == columns { Ok(()) } else { Err(shown.join(" ")) }
    });
}

#[test]
fn what_cannot_end_well_is_refused() {
    let scene = Scene::new("refused", &Kind::ALL.map(|kind| Database::new(kind).idle().unprobed()));
    part("a namespace that does not exist", a_namespace_that_does_not_exist);
    part("pods without claims", || pods_without_claims(&scene));
    part("a database that does not answer", || a_database_that_does_not_answer(&scene));
    part("every reason is said at once", || every_reason_is_said_at_once(&scene));
}

/// A database that accepts connections and answers nothing.
fn a_database_that_does_not_answer(scene: &Scene) {
    for kind in Kind::ALL {
        let backup = || scene.backup_of(&[kind], &[]);
        let stopped = Stopped::servers(scene, kind);
        refused(scene, backup(), &[&kind.pod()]);
        drop(stopped);
        backup().run().done();
    }
}

fn every_reason_is_said_at_once(scene: &Scene) {
    let names = ["pending", "unready", "leaving", "elsewhere"];
    redis_pod(scene, "pending", |pod| pod["spec"]["nodeSelector"] = json!({"no": "such-node"}));
    redis_pod(scene, "unready", |pod| {
        container(pod).as_object_mut().unwrap().remove("startupProbe");
        container(pod)["readinessProbe"] = json!({"exec": {"command": ["false"]}, "periodSeconds": 1});
    });
    redis_pod(scene, "leaving", |pod| {
        pod["spec"]["terminationGracePeriodSeconds"] = json!(600);
        container(pod)["lifecycle"] = json!({"preStop": {"exec": {"command": ["sleep", "600"]}}});
    });
    redis_pod(scene, "elsewhere", |pod| {
        pod["spec"]["volumes"].as_array_mut().unwrap().push(json!({"name": "fast", "emptyDir": {}}));
        container(pod)["volumeMounts"] =
            json!([{"name": "fast", "mountPath": "/data"}, {"name": "data", "mountPath": "/other"}]);
    });
    until_shows(scene, "pending", "0/1 Pending");
    until_shows(scene, "unready", "0/1 Running");
    until_shows(scene, "leaving", "1/1 Running");
    until_shows(scene, "elsewhere", "1/1 Running");
    scene.kubectl.ok(&["delete", "pod", "leaving", "--wait=false"]);
    until_shows(scene, "leaving", "1/1 Terminating");
    let stopped = Stopped::servers(scene, Kind::Mariadb);

    let objects = [
        "statefulset/redis",
        "statefulset/mariadb",
        "statefulset/nosuch",
        "pod/pending",
        "pod/unready",
        "pod/leaving",
        "pod/elsewhere",
    ];
    let absent = format!("statefulset/nosuch: does not exist in namespace {}", scene.namespace());
    let ended = refused(
        scene,
        backup(scene, &objects),
        &[
            &absent,
            "pod/pending",
            "Pending",
            "pod/unready",
            "not ready",
            "pod/leaving",
            "Terminating",
            "pod/elsewhere",
            "/data",
            "fast",
            "pod/mariadb-0",
        ],
    );
    // The one database with which nothing is wrong is not named as a reason.
    assert!(!ended.stderr.contains("pod/redis-0"), "{ended}");
    drop(stopped);
    for name in names {
        scene.kubectl.ok(&["delete", "pod", name, "--grace-period=0", "--force"]);
        scene.kubectl.ok(&["delete", "pvc", name]);
    }
}

fn a_namespace_that_does_not_exist() {
    Plugin::on_cluster()
        .args(["quiesce-snapshot", "statefulset/redis", "-n", "no-such-space"])
        .run()
        .exits(5)
        .says(&["namespace/no-such-space", "does not exist"]);
}

fn pods_without_claims(scene: &Scene) {
    scene.kubectl.apply(&[
        json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "plain", "labels": {"app": "plain"}},
        "spec": {"dnsPolicy": "Default", "terminationGracePeriodSeconds": 0,
            "containers": [{"name": "shell", "image": "localhost/writer:1", "command": ["sleep", "infinity"]}]}}),
    ]);
    until_shows(scene, "plain", "1/1 Running");
    refused(scene, backup(scene, &["pod/plain"]), &["claim"]);
    refused(scene, backup(scene, &["-l", "app=plain"]), &["claim"]);
    refused(scene, backup(scene, &["-l", "app=nobody"]), &["app=nobody"]);
    scene.kubectl.ok(&["delete", "pod", "plain"]);
}

/// `rbac` prints what is needed and no more: with it a backup succeeds, without the right to exec it is refused.
#[test]
fn a_user_who_may_not_exec_is_refused() {
    let scene = Scene::new("rights", &[Database::new(Kind::Redis).idle().unprobed()]);
    let user = format!("user-of-{}", scene.namespace());
    let folder = tempfile::tempdir().unwrap();
    let kubeconfig = cluster::kubeconfig_of(&user, folder.path());
    let as_user = || scene.backup(&[]).kubeconfig(&kubeconfig);

    refused(&scene, as_user(), &["pods/exec"]);

    let mut roles = user::give(&scene, &user, &["--backup-only"]);
    as_user().run().done();
    // Whoever looks at the workload sees what was done to it.
    until("the events on the StatefulSet", seconds(30), || {
        let seen = events(&scene);
        if ["Quiesced", "Thawed", "BackupDone"].iter().all(|reason| seen.contains(*reason)) {
            Ok(())
        } else {
            Err(format!("{seen:?}"))
        }
    });

    let namespaced = roles.iter_mut().find(|role| role["kind"] == "Role").unwrap();
    let mut without = |resource: &str| {
        let rules = namespaced["rules"].as_array_mut().unwrap();
        let at = rules.iter().position(|rule| rule["resources"].as_array().unwrap().contains(&json!(resource)));
        let rule = rules.remove(at.unwrap_or_else(|| panic!("the Role has no rule for {resource}")));
        assert!(!rules.iter().any(|rule| rule["resources"].as_array().unwrap().contains(&json!(resource))));
        scene.kubectl.apply(std::slice::from_ref(namespaced));
        user::until_may_not(&scene.kubectl, &user, &rule);
    };
    // Who may not make events takes backups all the same.
    without("events");
    scene.kubectl.ok(&["delete", "events", "--all"]);
    as_user().run().done();
    assert!(!events(&scene).contains("BackupDone"), "an event that may not be made");

    without("pods/exec");
    let ended = refused(&scene, as_user(), &["pods/exec"]);
    assert!(!ended.stderr.contains("leases"), "only what is missing is named\n{ended}");
}

/// The reasons of the events on the scene's StatefulSets.
fn events(scene: &Scene) -> BTreeSet<String> {
    let all = scene.kubectl.list(&["events.events.k8s.io"]);
    let ours = all.iter().filter(|event| event["regarding"]["kind"] == "StatefulSet");
    ours.map(|event| text(event, "/reason").to_owned()).collect()
}
