//! How long a restore in place takes for 1, 10 and 40 claims, beside what the provisioner alone takes for them.
//!
//! `cargo bench --bench restore [-- RUNS]`, on the cluster of `tests/cluster/up`. One pod mounts all claims; nothing is
//! held and nothing recovers, so that only the claims are measured. In seconds:
//!
//! * PROVISIONER: claims made by kubectl from the same snapshots, all at once, until a pod that mounts them all is ready:
//!   what nobody can undercut.
//! * CLAIMS: of the restore, from the stopped workload until its pod is ready on the new claims.
//! * SECURE: from the first entry of the journal until everything is read back: the workload serves meanwhile.
//! * DOWN: from the intent to stop until the pod is ready.
//! * WHOLE: as the user sees it.

#![allow(clippy::unwrap_used, reason = "a benchmark that cannot go on has failed")]
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a benchmark prints what it measured")]

#[path = "../tests/support/mod.rs"]
mod support;

use std::thread::sleep;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use serde_json::{Value, json};

use support::plugin::{list, run_of, text};
use support::scene::Scene;
use support::wait::{seconds, until};

const COLUMNS: [&str; 5] = ["PROVISIONER", "CLAIMS", "SECURE", "DOWN", "WHOLE"];
/// Controllers are throttled: none is to pay for the measurement before.
const IDLE: Duration = Duration::from_secs(5);

fn main() {
    let runs: usize = std::env::args().skip(1).find_map(|word| word.parse().ok()).unwrap_or(3);
    println!("seconds, median of {runs} runs\n{:<8}{}", "claims", COLUMNS.map(|c| format!("{c:>13}")).concat());
    for claims in [1, 10, 40] {
        let scene = Scene::alone("bench-restore", &[]);
        scene.kubectl.apply(&[stateful_set(claims)]);
        ready(&scene, "pod/many-0");
        let backup = backed_up(&scene);
        let mut measured = Vec::new();
        for run in 0..runs {
            sleep(IDLE);
            let provisioner = provisioned(&scene, &backup, run);
            sleep(IDLE);
            let [secure, claims, down, whole] = restored(&scene, &backup);
            measured.push([provisioner, claims, secure, down, whole]);
            eprintln!("{claims} claims: {:?}", measured[run]);
        }
        let median = |column: usize| {
            let mut all: Vec<f64> = measured.iter().map(|of: &[f64; 5]| of[column]).collect();
            all.sort_by(f64::total_cmp);
            format!("{:>13.2}", all[all.len() / 2])
        };
        println!("{claims:<8}{}", (0..5).map(median).collect::<String>());
    }
}

/// One pod with so many claims, which holds nothing that has to be quiesced.
fn stateful_set(claims: usize) -> Value {
    let name = |n: usize| format!("data{n}");
    let mounts = |n: usize| json!({"name": name(n), "mountPath": format!("/data/{n}")});
    let template = |n: usize| {
        json!({"metadata": {"name": name(n)},
            "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "64Mi"}}}})
    };
    json!({"apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": {"name": "many"}, "spec": {
        "serviceName": "many", "selector": {"matchLabels": {"app": "many"}},
        "template": {
            "metadata": {"labels": {"app": "many"}, "annotations": {"consistent-backup/adapter": "none"}},
            "spec": spec(&(0..claims).map(mounts).collect::<Vec<Value>>()),
        },
        "volumeClaimTemplates": (0..claims).map(template).collect::<Vec<Value>>(),
    }})
}

fn spec(mounts: &[Value]) -> Value {
    json!({"dnsPolicy": "Default", "terminationGracePeriodSeconds": 0, "containers": [{
        "name": "shell", "image": "localhost/writer:1", "command": ["sleep", "infinity"], "volumeMounts": mounts}]})
}

fn ready(scene: &Scene, pod: &str) {
    until(&format!("a ready {pod}"), seconds(300), || {
        match scene.kubectl.value(pod, "/status/containerStatuses/0/ready") {
            ready if ready == "true" => Ok(()),
            _ => Err(scene.kubectl.value(pod, "/status/phase")),
        }
    });
}

/// The record of a backup of the stopped workload: there is no other way to copy 40 claims that nothing holds. It knows no
/// database, so it is crash-consistent.
fn backed_up(scene: &Scene) -> Value {
    let backup = ["quiesce-snapshot", "statefulset/many", "--cold", "-o", "json"];
    scene.plugin(&backup).run().exits(3).json()
}

/// Seconds for claims from the same snapshots, made by kubectl.
fn provisioned(scene: &Scene, backup: &Value, run: usize) -> f64 {
    let snapshots: Vec<&str> =
        list(backup, "/status/claims").iter().map(|claim| text(claim, "/volumeSnapshot")).collect();
    let name = |n: usize| format!("plain-{run}-{n}");
    let claim = |(n, snapshot): (usize, &&str)| {
        json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim",
            "metadata": {"name": name(n), "labels": {"plain": "yes"}},
            "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "64Mi"}},
                "dataSource": {"apiGroup": "snapshot.storage.k8s.io", "kind": "VolumeSnapshot", "name": snapshot}}})
    };
    let mut objects: Vec<Value> = snapshots.iter().enumerate().map(claim).collect();
    let mount = |n: usize| json!({"name": name(n), "mountPath": format!("/data/{n}")});
    let mut spec = spec(&(0..snapshots.len()).map(mount).collect::<Vec<Value>>());
    let volume = |n: usize| json!({"name": name(n), "persistentVolumeClaim": {"claimName": name(n)}});
    spec["volumes"] = (0..snapshots.len()).map(volume).collect();
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "plain"}, "spec": spec});
    objects.push(pod);
    let begun = Instant::now();
    scene.kubectl.apply(&objects);
    ready(scene, "pod/plain");
    let took = begun.elapsed().as_secs_f64();
    scene.kubectl.ok(&["delete", "pod", "plain"]);
    scene.kubectl.ok(&["delete", "pvc", "-l", "plain=yes"]);
    took
}

/// Secure, claims, down and whole of a restore in place, which is then deleted.
fn restored(scene: &Scene, backup: &Value) -> [f64; 4] {
    let ended = scene.plugin(&["restore-from-snapshot", &run_of(backup), "--yes", "-o", "json"]).run().done();
    let run = run_of(&ended.json());
    let journal = scene.kubectl.get(&format!("configmap/consistent-backup-{run}"));
    let mut entries: Vec<(&String, &Value)> = journal["data"].as_object().unwrap().iter().collect();
    entries.sort_by_key(|(key, _)| key.as_str());
    let at = |event: &str| {
        let entry = entries.iter().find(|(key, value)| key.starts_with('e') && value.as_str().unwrap().contains(event));
        let entry: Value =
            serde_json::from_str(entry.unwrap_or_else(|| panic!("no {event}")).1.as_str().unwrap()).unwrap();
        let at: Timestamp = text(&entry, "/at").parse().unwrap();
        at.as_duration().as_secs_f64()
    };
    let secure = at("\"readBack\"") - at("\"secureIntended\"");
    let claims = at("\"started\"") - at("\"stopped\"");
    let down = at("\"started\"") - at("\"stopIntended\"");
    scene.plugin(&["delete", &run, "--yes"]).run().done();
    [secure, claims, down, ended.took.as_secs_f64()]
}
