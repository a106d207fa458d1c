//! What is gone comes back: a namespace with all that was in it, a VolumeSnapshot; and copies elsewhere and beside, of which
//! the living original notices nothing.

use consistent_backup::manifests::packed::unpack;
use serde_json::{Value, json};

use crate::support::acks::Ack;
use crate::support::backup::{Taken, consistent};
use crate::support::cluster;
use crate::support::copies;
use crate::support::database::{Database, Kind};
use crate::support::kubectl::Kubectl;
use crate::support::leftovers::{records, state};
use crate::support::plugin::{list, outcome_is, run_of, text};
use crate::support::scene::Scene;
use crate::support::verdict::{Row, Verdict};
use crate::support::wait::{seconds, until, until_none};

/// The Secrets of a namespace, as somebody would make them elsewhere.
pub(super) fn secrets(scene: &Scene) -> Vec<Value> {
    let all = scene.kubectl.list(&["secrets"]);
    let bare = |secret: &Value| json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": secret["metadata"]["name"]}, "data": secret["data"]});
    all.iter().map(bare).collect()
}

/// The addresses of the pods that a Service finds.
fn endpoints(scene: &Scene, kind: Kind) -> Vec<String> {
    let slices = scene.kubectl.list(&["endpointslices", "-l", &format!("kubernetes.io/service-name={}", kind.name())]);
    let endpoints = slices.iter().flat_map(|slice| slice["endpoints"].as_array().cloned().unwrap_or_default());
    endpoints.map(|endpoint| endpoint["addresses"].to_string()).collect()
}

/// The same, once it finds one: its controller follows a pod a moment after it is ready.
#[track_caller]
fn endpoint(scene: &Scene, kind: Kind) -> Vec<String> {
    until(&format!("one pod behind the Service of {}", kind.name()), seconds(60), || match endpoints(scene, kind) {
        found if found.len() == 1 => Ok(found),
        found => Err(format!("{found:?}")),
    })
}

fn rows(kubectl: &Kubectl, kind: Kind, pod: &str) -> Vec<Row> {
    Row::parse(&kubectl.exec(pod, &["sh", "-c", &copies::loaded(kind, kind.rows())]).done().stdout)
}

/// Aliases of the backup that are left.
pub(super) fn aliases(run: &str) -> Vec<String> {
    let found =
        Kubectl::new("default").list(&["volumesnapshotcontents", "-l", &format!("consistent-backup/alias-of={run}")]);
    found.iter().map(|content| text(content, "/metadata/name").to_owned()).collect()
}

#[track_caller]
fn is_right(taken: &Taken, kind: Kind, acks: &[Ack], rows: &[Row], what: &str) {
    Verdict::of(acks, rows, taken.window, None).is_right(&format!("{} {what}, from {}", kind.name(), taken.run));
}

/// The configuration of MariaDB, with so many connections.
fn conf(connections: u32) -> Value {
    let text = format!("[mariadbd]\nmax_connections = {connections}\n");
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "mariadb-conf"}, "data": {"90-test.cnf": text}})
}

/// The three databases; a file of MariaDB's configuration is a ConfigMap.
fn databases() -> [Database; 3] {
    Kind::ALL.map(|kind| match Database::new(kind).every("40ms") {
        database if kind == Kind::Mariadb => database.with(conf(77)).edit(|set| {
            let spec = &mut set["spec"]["template"]["spec"];
            spec["volumes"] = json!([{"name": "conf", "configMap": {"name": "mariadb-conf"}}]);
            let path = "/etc/mysql/mariadb.conf.d/90-test.cnf";
            let mount = json!({"name": "conf", "mountPath": path, "subPath": "90-test.cnf", "readOnly": true});
            spec["containers"][0]["volumeMounts"].as_array_mut().unwrap().push(mount);
        }),
        database => database,
    })
}

/// How many connections the server takes.
#[track_caller]
fn connections(kubectl: &Kubectl) -> String {
    let asked = Kind::Mariadb.statement("SHOW VARIABLES LIKE \"max_connections\"");
    kubectl.exec(&Kind::Mariadb.pod(), &["sh", "-c", &asked]).done().stdout
}

/// What the contents of a backup say in the whole cluster of the objects in its namespace.
#[track_caller]
fn on_contents(run: &str) -> Vec<Value> {
    let of = Kubectl::new("default").list(&["volumesnapshotcontents", "-l", &format!("consistent-backup/run={run}")]);
    let manifests = of.iter().map(|content| text(content, "/metadata/annotations/consistent-backup~1manifests"));
    manifests.map(|packed| unpack(packed).unwrap()).collect()
}

#[test]
fn a_backup_outlives_its_namespace() {
    let elsewhere = Scene::new("elsewhere", &[]);
    let scene = Scene::new("outlives", &databases());
    let space = scene.namespace().to_owned();
    let taken = consistent(&scene, &Kind::ALL, &[]);
    let run = taken.run.as_str();
    let (keys, uids) = (secrets(&scene), Kind::ALL.map(|kind| scene.uid(&kind.object())));
    let found = Kind::ALL.map(|kind| endpoint(&scene, kind));
    let restore = |more: &[&str]| scene.plugin(&["restore-from-snapshot", run]).args(more);

    // In another namespace, beside the living original.
    let there = ["--only", "sts/mariadb", "--to-namespace", elsewhere.namespace()];
    restore(&["--to-namespace", "no-such-namespace"]).run().exits(5).says(&[
        "kubectl create namespace no-such-namespace",
        "secret/mariadb",
        "secret/redis",
    ]);
    restore(&there).run().exits(5).says(&["secret/mariadb"]);
    elsewhere.kubectl.apply(&keys);
    let before = (state(&scene), state(&elsewhere));
    let plan = restore(&there).args(["--dry-run", "-o", "name"]).run().done().stdout;
    assert!(plan.lines().any(|line| line == "statefulset/mariadb"), "{plan}");
    assert_eq!((state(&scene), state(&elsewhere)), before);
    outcome_is(&restore(&there).args(["-o", "json"]).run().done().json(), "Restored");
    let copied = rows(&elsewhere.kubectl, Kind::Mariadb, "mariadb-0");
    is_right(&taken, Kind::Mariadb, &scene.acks(Kind::Mariadb).all(), &copied, "elsewhere");
    assert!(connections(&elsewhere.kubectl).contains("\t77"), "its ConfigMap comes from beside the record");
    let said = json!(on_contents(run)).to_string();
    assert!(said.contains("mariadb-conf") && !said.contains("max_connections"), "{said}");

    // Beside it in the same namespace; killed in the middle, and the same command goes on.
    let beside = ["--only", "sts/redis", "--suffix", "check"];
    let mut running = restore(&beside).start();
    running.until_says("making statefulset/redis-check", seconds(60));
    running.kill_hard();
    assert!(running.end(seconds(10)).was_killed());
    outcome_is(&restore(&beside).args(["-o", "json"]).run().done().json(), "Restored");
    let copied = rows(&scene.kubectl, Kind::Redis, "redis-check-0");
    is_right(&taken, Kind::Redis, &scene.acks(Kind::Redis).all(), &copied, "beside");
    assert_eq!(Kind::ALL.map(|kind| endpoints(&scene, kind)), found, "a Service finds a copy");
    assert_eq!(Kind::ALL.map(|kind| scene.uid(&kind.object())), uids, "the original was touched");
    scene.all_serve(seconds(30));
    assert_eq!(aliases(run), Vec::<String>::new());

    // Its namespace goes, with record, VolumeSnapshots, workloads and volumes.
    let acks = Kind::ALL.map(|kind| scene.acks(kind).all());
    scene.kubectl.ok(&["delete", "namespace", &space, "--wait", "--timeout=240s"]);
    assert_eq!(records(&scene).iter().map(run_of).collect::<Vec<_>>(), [run]);
    let described = scene.plugin(&["describe", run, "-o", "json"]).run().done().json();
    outcome_is(&described, "ApplicationConsistent");
    assert_eq!(described["status"]["rebuilt"], true);
    for field in ["window", "targets", "pods", "reason"] {
        assert_eq!(described["status"][field], taken.record["status"][field], "{field}");
    }
    assert!(list(&described, "/status/claims").iter().all(|claim| claim["ready"] == true), "{described:#}");
    let orphans = scene.plugin(&["list", "--orphans", "-o", "json"]).run().done().json();
    assert_eq!(list(&orphans, "/items").len(), 1, "{orphans:#}");
    assert_eq!(orphans["items"][0]["object"], format!("backup/{run}"));
    assert!(text(&orphans, "/items/0/remove").ends_with(&format!("delete {run} -n {space}")), "{orphans:#}");
    scene.plugin(&["thaw", run]).run().done();
    restore(&[]).run().exits(5).says(&[&format!("kubectl create namespace {space}"), "secret/postgres"]);
    scene.kubectl.ok(&["create", "namespace", &space]);
    scene.kubectl.apply(&keys);
    restore(&[]).run().exits(5).says(&["configmap/mariadb-conf", "its data is not in the backup"]);
    scene.kubectl.apply(&[conf(78)]);
    let plan = restore(&["--dry-run"]).run().done().stdout;
    assert!(plan.contains("configmap/mariadb-conf has changed since the backup"), "{plan}");
    outcome_is(&restore(&["-o", "json"]).run().done().json(), "Restored");
    assert!(connections(&scene.kubectl).contains("\t78"), "an existing ConfigMap is not replaced");
    for (kind, acks) in Kind::ALL.into_iter().zip(&acks) {
        scene.wait_ready(kind);
        is_right(&taken, kind, acks, &rows(&scene.kubectl, kind, &kind.pod()), "brought back");
        endpoint(&scene, kind);
    }
    assert_eq!(aliases(run), Vec::<String>::new());

    // Then the backup itself goes, and with it what the storage had.
    let handles: Vec<&str> = list(&taken.record, "/status/claims").iter().map(|claim| text(claim, "/handle")).collect();
    assert!(handles.iter().all(|handle| cluster::stored_snapshot(handle).is_some()));
    scene.plugin(&["delete", run]).run().exits(5).says(&["--yes"]);
    scene.plugin(&["delete", run, "--yes"]).run().done();
    until_none("the stored copies to be gone", seconds(120), || {
        let left = handles.iter().filter(|handle| cluster::stored_snapshot(handle).is_some());
        left.map(|handle| (*handle).to_owned()).collect()
    });
    assert_eq!(records(&scene), Vec::<Value>::new());
    scene.plugin(&["list", "--orphans"]).run().done().says(&["nothing is left"]);
    scene.plugin(&["describe", run]).run().exits(5).says(&[run]);
}

/// The record lies elsewhere, the VolumeSnapshot is deleted by somebody, the password stands in the manifest.
#[test]
fn a_record_elsewhere_and_a_snapshot_that_is_gone() {
    let elsewhere = Scene::new("record", &[]);
    let redis = Database::new(Kind::Redis).every("40ms").edit(|set| {
        let env = set["spec"]["template"]["spec"]["containers"][0]["env"].as_array_mut().unwrap();
        env.push(json!({"name": "SIDECAR_PASSWORD", "value": "geheim-4711"}));
    });
    let scene = Scene::new("recorded", &[redis]);
    let space = ["--record-namespace", elsewhere.namespace()];
    scene.backup(&["--record-namespace", "no-such-namespace"]).run().exits(5).says(&["namespace/no-such-namespace"]);
    let ended = scene.backup(&space).run().done();
    assert!(ended.stderr.contains("SIDECAR_PASSWORD"), "{ended}");
    let record = ended.json();
    outcome_is(&record, "ApplicationConsistent");
    let run = run_of(&record);
    assert_eq!(text(&record, "/metadata/namespace"), elsewhere.namespace());
    assert_eq!(records(&scene), Vec::<Value>::new());
    assert_eq!(records(&elsewhere).iter().map(run_of).collect::<Vec<_>>(), std::slice::from_ref(&run));
    scene.plugin(&["describe", &run]).run().exits(5).says(&[&format!("-n {}", elsewhere.namespace())]);
    let maps = elsewhere.kubectl.list(&["configmaps", "-l", &format!("consistent-backup/run={run}")]);
    assert_eq!(maps.len(), 2, "the journal and the manifests");
    let contents = elsewhere.kubectl.list(&["volumesnapshotcontents", "-l", &format!("consistent-backup/run={run}")]);
    assert!(!json!([maps, contents]).to_string().contains("geheim-4711"), "a secret was recorded");

    // Its VolumeSnapshot is gone, its content is not.
    let claim = &list(&record, "/status/claims")[0];
    scene.kubectl.ok(&["delete", "volumesnapshot", text(claim, "/volumeSnapshot")]);
    elsewhere.plugin(&["verify", &run]).run().done();
    assert_eq!(aliases(&run), Vec::<String>::new());
    let before = scene.kubectl.value("pvc/data-redis-0", "/spec/volumeName");
    let restore = |more: &[&str]| elsewhere.plugin(&["restore-from-snapshot", &run, "--yes", "-o", "json"]).args(more);
    let restored = restore(&[]).run().done().json();
    outcome_is(&restored, "Restored");
    assert_ne!(scene.kubectl.value("pvc/data-redis-0", "/spec/volumeName"), before);
    scene.all_serve(seconds(30));
    until_none("aliases that are left", seconds(120), || aliases(&run));

    // The workload had a password in its manifest: its claims come back elsewhere, it does not.
    restore(&["--to-namespace", elsewhere.namespace()]).run().exits(5).says(&["SIDECAR_PASSWORD", "--claims-only"]);
    restore(&["--to-namespace", elsewhere.namespace(), "--claims-only"]).run().done();
    assert_eq!(elsewhere.kubectl.value("pvc/data-redis-0", "/spec/dataSource/kind"), "VolumeSnapshot");
    let delete = || elsewhere.plugin(&["delete", &run, "--yes"]);
    delete().run().exits(5).says(&["data-redis-0", "not bound yet"]);
    elsewhere.kubectl.ok(&["delete", "pvc", "data-redis-0"]);
    delete().run().done();
    assert_eq!(aliases(&run), Vec::<String>::new());
    let left = elsewhere.kubectl.list(&["configmaps", "-l", &format!("consistent-backup/run={run}")]);
    assert_eq!(left, Vec::<Value>::new());
}
