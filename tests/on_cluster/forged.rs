//! Records that a writer of ConfigMaps has forged: whatever an operator does with them, nothing comes of it that its writer
//! could not do himself. And an honest run that died is finished without a question, over namespaces too.

use serde_json::{Value, json};

use crate::support::api;
use crate::support::backup::{Taken, consistent, held, part};
use crate::support::classes::FaultClass;
use crate::support::database::{Database, Kind};
use crate::support::leftovers::{backups, leases, unnamed};
use crate::support::plugin::{run_of, text};
use crate::support::process::Ended;
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

/// A restore that died after these events: of a pod that the record spells out.
fn restore_with_a_pod(into: &str, run: &str, namespace: &str, events: &[&str]) {
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "evil", "namespace": namespace},
        "spec": {"hostPID": true, "containers": [{"name": "c", "image": "localhost/redis:7",
            "command": ["sleep", "600"], "securityContext": {"privileged": true}}]}});
    let plan = json!({"run": run, "created": "2026-11-20T10:00:00Z", "namespace": into,
        "backup": {"run": "20261120-100000-aaaa", "outcome": "ApplicationConsistent", "instant": "2026-11-20T10:00:00Z"},
        "selections": [], "claims": [], "pods": [], "targets": [], "wait": 60_000, "notes": [],
        "workloads": [{"namespace": namespace, "kind": "Pod", "name": "evil", "uid": "u", "labels": "", "replicas": 1,
            "start": 1, "ready": 1, "retention": null, "grace": 0, "pod": pod}]});
    let mut data = json!({"format": "1", "plan": plan.to_string()});
    for (n, event) in events.iter().enumerate() {
        data[format!("e{n:04}")] = json!(json!({"at": "2026-11-20T10:00:00Z", "event": event}).to_string());
    }
    let labels = json!({"app.kubernetes.io/managed-by": "consistent-backup", "consistent-backup/run": run,
        "consistent-backup/kind": "restore"});
    let map = json!({"apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": format!("consistent-backup-{run}"), "labels": labels}, "data": data});
    api::create(into, &map).unwrap_or_else(|e| panic!("{e}"));
}

/// A namespace with a backup, and one whose ConfigMaps somebody else writes.
struct Ground {
    victim: Scene,
    attacker: Scene,
    taken: Taken,
}

impl Ground {
    fn namespace(&self) -> &str {
        self.attacker.namespace()
    }

    /// What an operator calls in the attacker's namespace.
    fn run(&self, args: &[&str]) -> Ended {
        self.attacker.plugin(args).run()
    }

    fn forget(&self, run: &str) {
        self.attacker.kubectl.ok(&["delete", "configmap", &format!("consistent-backup-{run}")]);
    }
}

#[test]
fn a_writer_of_config_maps_gains_nothing() {
    let victim = Scene::new("victim", &[Database::new(REDIS)]);
    let attacker = Scene::new("attacker", &[Database::new(REDIS)]);
    let taken = consistent(&victim, &[REDIS], &[]);
    let ground = Ground { victim, attacker, taken };
    part("a pod that a record spells out", || a_pod_that_a_record_spells_out(&ground));
    part("a run that died, beside a forged record", || a_dead_run_beside_a_forged_record(&ground));
    part("a restore that had not begun", || a_restore_that_had_not_begun(&ground));
    part("a record that cannot be read, in a namespace of its writer", || a_record_that_cannot_be_read(&ground));
    part("a record without databases, about another tenant's copy", || a_record_about_another_tenants_copy(&ground));
    part("the record of a run that died, written once more elsewhere", || {
        a_record_written_once_more_elsewhere(&ground);
    });
    part("the record of a run that died, changed where it lies", || a_record_changed_where_it_lies(&ground));
    part("a good backup that is called failed", || a_good_backup_that_is_called_failed(&ground));
    part("another tenant's copy", || another_tenants_copy(&ground));
}

fn a_pod_that_a_record_spells_out(ground: &Ground) {
    let there = ground.namespace();
    for (run, namespace) in [("20261120-100001-aaaa", "kube-system"), ("20261120-100002-aaaa", there)] {
        // Right before it started what it had stopped.
        restore_with_a_pod(there, run, namespace, &["secureIntended", "secured", "readBack", "stopIntended"]);
        ground.run(&["thaw", run]).exits(4).says(&["no lease in namespace", namespace, "--yes"]);
        ground.run(&["thaw"]).exits(4).says(&["no lease in namespace"]);
        ground.run(&["restore-from-snapshot", "--resume", run]).exits(4).says(&["no lease in namespace"]);
        ground.run(&["restore-from-snapshot", "--undo", run]).exits(4).says(&["no lease in namespace"]);
        ground.run(&["list"]).done().says(&[]);
        ground.run(&["delete", run, "--yes"]).exits(5);
        assert!(api::get(namespace, "pod/evil").is_err(), "the pod was made");
        ground.forget(run);
    }
}

fn a_dead_run_beside_a_forged_record(ground: &Ground) {
    let Ground { attacker, .. } = ground;
    let (run, honest) = ("20261120-100005-aaaa", died(attacker));
    restore_with_a_pod(
        ground.namespace(),
        run,
        "kube-system",
        &["secureIntended", "secured", "readBack", "stopIntended"],
    );
    ground.run(&["thaw"]).exits(4).says(&["no lease in namespace kube-system"]);
    let record = ground.run(&["describe", &honest, "-o", "json"]).done().json();
    assert_eq!(text(&record, "/status/outcome"), "Failed", "{record:#}");
    assert_eq!(leases(attacker), Vec::<String>::new());
    ground.forget(run);
}

fn a_restore_that_had_not_begun(ground: &Ground) {
    let Ground { attacker, .. } = ground;
    let there = ground.namespace();
    let run = "20261120-100003-aaaa";
    restore_with_a_pod(there, run, "kube-system", &[]);
    ground.run(&["restore-from-snapshot", "--resume", run]).exits(5).says(&["no lease in namespace kube-system"]);
    ground.run(&["thaw"]).done();
    assert!(api::get("kube-system", "pod/evil").is_err(), "the pod was made");
    assert_eq!(leases(attacker), Vec::<String>::new());
    ground.forget(run);
}

fn a_record_that_cannot_be_read(ground: &Ground) {
    let Ground { victim, attacker, .. } = ground;
    let there = ground.namespace();
    let labels = json!({"app.kubernetes.io/managed-by": "consistent-backup", "consistent-backup/run": "x",
        "consistent-backup/kind": "restore"});
    let map = json!({"apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": "consistent-backup-x", "labels": labels}});
    api::create(there, &map).unwrap_or_else(|e| panic!("{e}"));
    victim.backup(&["--dry-run"]).run().done();
    ground.run(&["list"]).done().says(&["consistent-backup-x"]);
    attacker.kubectl.ok(&["delete", "configmap", "consistent-backup-x"]);
}

fn a_record_about_another_tenants_copy(ground: &Ground) {
    let Ground { victim, taken, .. } = ground;
    let there = ground.namespace();
    let from = record(victim, &taken.run);
    let run = "20261120-100004-aaaa";
    let mut forged = forge(&from, there, run, |plan| plan["targets"] = json!([]));
    let entries = from["data"].as_object().unwrap().iter().filter(|(key, _)| key.len() == 5 && key.starts_with('e'));
    let of = |entry: &str, word: &str| serde_json::from_str::<Value>(entry).unwrap()["event"].get(word).is_some();
    let cut = entries.map(|(_, text)| text.as_str().unwrap()).find(|entry| of(entry, "cut")).unwrap().to_owned();
    let event = |event: Value| json!({"at": "2026-11-20T10:00:00Z", "event": event}).to_string();
    let data = forged["data"].as_object_mut().unwrap();
    data.retain(|key, _| !(key.len() == 5 && key.starts_with('e')));
    let all =
        [event(json!({"attempt": 1})), event(json!("cutIntended")), cut, event(json!({"compared": {"same": true}}))];
    data.extend(all.into_iter().enumerate().map(|(n, text)| (format!("e{n:04}"), json!(text))));
    ground.forget(run);
    api::create(there, &forged).unwrap_or_else(|e| panic!("{e}"));
    ground.run(&["thaw", run]).exits(5).says(&[&format!("no lease in namespace {}", victim.namespace())]);
    // Even `--yes` does not let it relabel another run's copy.
    let _ = ground.run(&["thaw", run, "--yes"]);
    let content = text(&taken.record, "/status/claims/0/content");
    let label =
        victim.kubectl.value(&format!("volumesnapshotcontent/{content}"), "/metadata/labels/consistent-backup~1run");
    assert_eq!(label, taken.run);
    ground.forget(run);
}

fn a_record_written_once_more_elsewhere(ground: &Ground) {
    let Ground { victim, .. } = ground;
    let there = ground.namespace();
    let run = died(victim);
    let from = record(victim, &run);
    forge(&from, there, &run, |_| {});
    ground.run(&["thaw", &run]).exits(4).says(&[&format!("no lease in namespace {}", victim.namespace())]);
    // Where it lies nothing was changed: its own record is finished, without a question.
    victim.plugin(&["thaw"]).run().done();
    victim.all_serve(seconds(30));
    until_none("nothing left behind", seconds(30), || unnamed(victim));
    ground.forget(&run);
}

fn a_record_changed_where_it_lies(ground: &Ground) {
    let Ground { victim, .. } = ground;
    let run = died(victim);
    let from = record(victim, &run);
    let mut plan: Value = serde_json::from_str(from["data"]["plan"].as_str().unwrap()).unwrap();
    plan["notes"] = json!(["not what its mark says"]);
    let patch = json!({"data": {"plan": plan.to_string()}}).to_string();
    victim.kubectl.ok(&["patch", "configmap", &format!("consistent-backup-{run}"), "--type=merge", "-p", &patch]);
    victim.plugin(&["thaw"]).run().exits(4).says(&["no lease in namespace"]);
    // Whoever knows what he does says so.
    victim.plugin(&["thaw", "--yes"]).run().done();
}

fn a_good_backup_that_is_called_failed(ground: &Ground) {
    let Ground { victim, attacker, taken, .. } = ground;
    let there = ground.namespace();
    let from = record(victim, &taken.run);
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
    ground.forget(&taken.run);
    api::create(there, &forged).unwrap_or_else(|e| panic!("{e}"));
    // Else it proves nothing.
    let read = ground.run(&["describe", &taken.run, "-o", "json"]).done().json();
    assert_eq!(text(&read, "/status/snapshotsRemoved"), "pending", "{read:#}");
    attacker.backup(&[]).run().done().says(&["still has snapshots that are not removed"]);
    ground.run(&["thaw", &taken.run]).done();
    let kept = victim.plugin(&["describe", &taken.run, "-o", "json"]).run().done().json();
    assert!(kept["status"]["claims"][0]["gone"].is_null(), "its copy is gone: {kept:#}");
    ground.forget(&taken.run);
}

fn another_tenants_copy(ground: &Ground) {
    let Ground { victim, attacker, taken, .. } = ground;
    let there = ground.namespace();
    forge(&record(victim, &taken.run), there, &taken.run, |_| {});
    ground
        .run(&["restore-from-snapshot", &taken.run, "--claims-only", "--to-namespace", there, "--suffix", "x"])
        .exits(5)
        .says(&["does not say that it is the copy of claim"]);
    let copies = attacker.kubectl.list(&["persistentvolumeclaims"]);
    assert_eq!(copies.len(), 1, "{copies:#?}");
    // Nor does it go with a record that its owner did not write.
    ground.run(&["delete", &taken.run, "--yes"]).exits(1).says(&["does not say that its record lies in namespace"]);
    let kept = victim.plugin(&["describe", &taken.run, "-o", "json"]).run().done().json();
    assert!(kept["status"]["claims"][0]["gone"].is_null(), "its copy is gone: {kept:#}");
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
