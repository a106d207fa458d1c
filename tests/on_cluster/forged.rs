//! Records that a writer of ConfigMaps has forged: whatever an operator does with them, nothing comes of it that its writer
//! could not do himself. And an honest run that died is finished without a question, over namespaces too.

use serde_json::{Value, json};

use crate::support::api;
use crate::support::backup::{consistent, held, part};
use crate::support::classes::FaultClass;
use crate::support::database::{Database, Kind};
use crate::support::leftovers::{backups, leases, unnamed};
use crate::support::plugin::{run_of, text};
use crate::support::scene::Scene;
use crate::support::wait::{seconds, until_none};

const REDIS: Kind = Kind::Redis;

/// A backup that died while it held.
fn died(scene: &Scene) -> String {
    let class = FaultClass::new(scene, "cut-delay-5s");
    let mut dies = held(scene.backup(&["--snapshot-class", &class.name]));
    dies.kill_hard();
    dies.end(seconds(5));
    backups(scene).iter().map(run_of).max().expect("a run")
}

fn record(scene: &Scene, run: &str) -> Value {
    api::get(scene.namespace(), &format!("configmap/consistent-backup-{run}")).unwrap_or_else(|e| panic!("{e}"))
}

/// A record that somebody writes into his own namespace; the change is made to its plan.
fn forge(from: &Value, into: &str, run: &str, change: impl FnOnce(&mut Value)) -> Value {
    let mut forged = json!({"apiVersion": "v1", "kind": "ConfigMap", "data": from["data"],
        "metadata": {"name": format!("consistent-backup-{run}"), "labels": from["metadata"]["labels"]}});
    forged["metadata"]["labels"]["consistent-backup/run"] = json!(run);
    let mut plan: Value = serde_json::from_str(from["data"]["plan"].as_str().unwrap()).unwrap();
    (plan["namespace"], plan["run"]) = (json!(into), json!(run));
    change(&mut plan);
    forged["data"]["plan"] = json!(plan.to_string());
    api::create(into, &forged).unwrap_or_else(|e| panic!("{e}"));
    forged
}

/// A restore that died right before it started what it had stopped: a pod that the record spells out.
fn restore_with_a_pod(into: &str, run: &str, namespace: &str) {
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "evil", "namespace": namespace},
        "spec": {"hostPID": true, "containers": [{"name": "c", "image": "localhost/redis:7",
            "command": ["sleep", "600"], "securityContext": {"privileged": true}}]}});
    let plan = json!({"run": run, "created": "2026-11-20T10:00:00Z", "namespace": into,
        "backup": {"run": "20261120-100000-aaaa", "outcome": "ApplicationConsistent", "instant": "2026-11-20T10:00:00Z"},
        "selections": [], "claims": [], "pods": [], "targets": [], "wait": 60_000, "notes": [],
        "workloads": [{"namespace": namespace, "kind": "Pod", "name": "evil", "uid": "u", "labels": "", "replicas": 1,
            "start": 1, "ready": 1, "retention": null, "grace": 0, "pod": pod}]});
    let mut data = json!({"format": "1", "plan": plan.to_string()});
    for (n, event) in ["secureIntended", "secured", "readBack", "stopIntended"].iter().enumerate() {
        data[format!("e{n:04}")] = json!(json!({"at": "2026-11-20T10:00:00Z", "event": event}).to_string());
    }
    let labels = json!({"app.kubernetes.io/managed-by": "consistent-backup", "consistent-backup/run": run,
        "consistent-backup/kind": "restore"});
    let map = json!({"apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": format!("consistent-backup-{run}"), "labels": labels}, "data": data});
    api::create(into, &map).unwrap_or_else(|e| panic!("{e}"));
}

#[test]
fn a_writer_of_config_maps_gains_nothing() {
    let victim = Scene::new("victim", &[Database::new(REDIS)]);
    let attacker = Scene::new("attacker", &[Database::new(REDIS)]);
    let there = attacker.namespace();
    let in_namespace = |args: &[&str]| attacker.plugin(args).run();
    let taken = consistent(&victim, &[REDIS], &[]);

    part("a pod that a record spells out", || {
        for (run, namespace) in [("20261120-100001-aaaa", "kube-system"), ("20261120-100002-aaaa", there)] {
            restore_with_a_pod(there, run, namespace);
            in_namespace(&["thaw", run]).exits(4).says(&["no lease in namespace", namespace, "--yes"]);
            in_namespace(&["thaw"]).exits(4).says(&["no lease in namespace"]);
            in_namespace(&["restore-from-snapshot", "--resume", run]).exits(4).says(&["no lease in namespace"]);
            in_namespace(&["restore-from-snapshot", "--undo", run]).exits(4).says(&["no lease in namespace"]);
            in_namespace(&["list"]).done().says(&[]);
            in_namespace(&["delete", run, "--yes"]).exits(5);
            assert!(api::get(namespace, "pod/evil").is_err(), "the pod was made");
            attacker.kubectl.ok(&["delete", "configmap", &format!("consistent-backup-{run}")]);
        }
    });

    part("the record of a run that died, written once more elsewhere", || {
        let run = died(&victim);
        let from = record(&victim, &run);
        forge(&from, there, &run, |_| {});
        in_namespace(&["thaw", &run]).exits(4).says(&[&format!("no lease in namespace {}", victim.namespace())]);
        // Where it lies nothing was changed: its own record is finished, without a question.
        victim.plugin(&["thaw"]).run().done();
        victim.all_serve(seconds(30));
        until_none("nothing left behind", seconds(30), || unnamed(&victim));
        attacker.kubectl.ok(&["delete", "configmap", &format!("consistent-backup-{run}")]);
    });

    part("the record of a run that died, changed where it lies", || {
        let run = died(&victim);
        let from = record(&victim, &run);
        let mut plan: Value = serde_json::from_str(from["data"]["plan"].as_str().unwrap()).unwrap();
        plan["notes"] = json!(["not what its mark says"]);
        let patch = json!({"data": {"plan": plan.to_string()}}).to_string();
        victim.kubectl.ok(&["patch", "configmap", &format!("consistent-backup-{run}"), "--type=merge", "-p", &patch]);
        victim.plugin(&["thaw"]).run().exits(4).says(&["no lease in namespace"]);
        // Whoever knows what he does says so.
        victim.plugin(&["thaw", "--yes"]).run().done();
    });

    part("a good backup that is called failed", || {
        let from = record(&victim, &taken.run);
        let mut forged = forge(&from, there, &taken.run, |_| {});
        // Its copies are to be removed still.
        let mut events: Vec<Value> = vec![
            json!({"attempt": 1}),
            json!({"prepared": 0}),
            json!({"waveIntended": [0]}),
            json!("cutIntended"),
            json!({"aborted": "signal"}),
            json!({"thawSent": 0}),
            json!({"thawed": {"target": 0, "held": "yes"}}),
            json!("discardIntended"),
            json!({"discardPending": 0}),
            json!({"finished": "failed"}),
        ];
        let data = forged["data"].as_object_mut().unwrap();
        data.retain(|key, _| !(key.len() == 5 && key.starts_with('e')));
        for (n, event) in events.drain(..).enumerate() {
            data.insert(format!("e{n:04}"), json!(json!({"at": "2026-11-20T10:00:00Z", "event": event}).to_string()));
        }
        attacker.kubectl.ok(&["delete", "configmap", &format!("consistent-backup-{}", taken.run)]);
        api::create(there, &forged).unwrap_or_else(|e| panic!("{e}"));
        // Else it proves nothing.
        let read = in_namespace(&["describe", &taken.run, "-o", "json"]).done().json();
        assert_eq!(text(&read, "/status/snapshotsRemoved"), "pending", "{read:#}");
        attacker.backup(&[]).run().done().says(&["still has snapshots that are not removed"]);
        in_namespace(&["thaw", &taken.run]).done();
        let kept = victim.plugin(&["describe", &taken.run, "-o", "json"]).run().done().json();
        assert!(kept["status"]["claims"][0]["gone"].is_null(), "its copy is gone: {kept:#}");
        attacker.kubectl.ok(&["delete", "configmap", &format!("consistent-backup-{}", taken.run)]);
    });

    part("another tenant's copy", || {
        forge(&record(&victim, &taken.run), there, &taken.run, |_| {});
        in_namespace(&["restore-from-snapshot", &taken.run, "--claims-only", "--to-namespace", there, "--suffix", "x"])
            .exits(5)
            .says(&["does not say that it is the copy of claim"]);
        let copies = attacker.kubectl.list(&["persistentvolumeclaims"]);
        assert_eq!(copies.len(), 1, "{copies:#?}");
    });
}

#[test]
fn a_run_over_two_namespaces_is_finished_without_a_question() {
    let records = Scene::new("records", &[]);
    let scene = Scene::new("databases", &[Database::new(REDIS), Database::new(Kind::Postgres)]);
    let class = FaultClass::new(&scene, "cut-delay-5s");
    let elsewhere = ["--record-namespace", records.namespace(), "--snapshot-class", &class.name];
    let mut dies = held(scene.backup(&elsewhere));
    dies.kill_hard();
    dies.end(seconds(5));
    // As cron calls it: no terminal, no name, no --yes.
    records.plugin(&["thaw"]).run().done();
    scene.all_serve(seconds(30));
    assert_eq!(leases(&scene), Vec::<String>::new());
    until_none("nothing left behind", seconds(30), || unnamed(&scene));
}
