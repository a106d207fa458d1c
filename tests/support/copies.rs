//! Copies of claims, opened by a throw-away pod of the same image.

use serde_json::{Value, json};

use super::database::Kind;
use super::scene::Scene;
use super::verdict::Row;
use super::wait::{self, seconds};

/// The rows of the claim `CLAIM-SUFFIX`. The pod is the StatefulSet's own but for its labels, so no Service finds it.
#[track_caller]
pub fn rows(scene: &Scene, kind: Kind, suffix: &str) -> Vec<Row> {
    tried(scene, kind, suffix).unwrap_or_else(|why| panic!("the copy of {} cannot be read: {why}", kind.name()))
}

/// The same, or why the copy cannot be read.
pub fn tried(scene: &Scene, kind: Kind, suffix: &str) -> Result<Vec<Row>, String> {
    asked(scene, kind, suffix, kind.rows()).map(|rows| Row::parse(&rows))
}

/// What this command prints in the database of the claim `CLAIM-SUFFIX`, or why not.
pub fn asked(scene: &Scene, kind: Kind, suffix: &str, command: &str) -> Result<String, String> {
    let set = scene.kubectl.get(&kind.object());
    let pod = format!("copy-{}-{suffix}", kind.name());
    scene.kubectl.apply(&[pod_of(&set, &pod, &format!("{}-{suffix}", kind.claim()))]);
    let opened = wait::tried(seconds(180), || {
        let status = scene.kubectl.get(&format!("pod/{pod}"))["status"].clone();
        let ready = status["containerStatuses"][0]["ready"] == true;
        if ready { Ok(()) } else { Err(status["containerStatuses"].to_string()) }
    });
    let read = opened.and_then(|()| {
        let read = scene.kubectl.exec(&pod, &["sh", "-c", &loaded(kind, command)]);
        if read.status.success() { Ok(read.stdout) } else { Err(read.to_string()) }
    });
    scene.kubectl.ok(&["delete", "pod", &pod, "--grace-period=0", "--force"]);
    read
}

/// This command, run once the server has loaded its data: the probe of Redis passes while it still answers LOADING.
pub fn loaded(kind: Kind, command: &str) -> String {
    match kind {
        Kind::Redis => format!("until redis-cli ping | grep -q PONG; do sleep 0.1; done; {command}"),
        _ => command.to_owned(),
    }
}

/// Makes the claim `CLAIM-SUFFIX` from a VolumeSnapshot of the database's claim.
pub fn of_snapshot(scene: &Scene, kind: Kind, snapshot: &str, suffix: &str) {
    let claim = scene.kubectl.get(&format!("pvc/{}", kind.claim()));
    let name = format!("{}-{suffix}", kind.claim());
    scene.kubectl.apply(&[json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": name},
        "spec": {"accessModes": claim["spec"]["accessModes"], "resources": claim["spec"]["resources"],
            "dataSource": {"apiGroup": "snapshot.storage.k8s.io", "kind": "VolumeSnapshot", "name": snapshot}}})]);
}

/// Deletes the copies of these databases' claims.
pub fn delete(scene: &Scene, kinds: &[Kind], suffix: &str) {
    for kind in kinds {
        scene.kubectl.ok(&["delete", "pvc", "--wait=false", &format!("{}-{suffix}", kind.claim())]);
    }
}

/// A pod like those of a StatefulSet, on this claim.
pub fn pod_of(set: &Value, name: &str, claim: &str) -> Value {
    let mut spec = set["spec"]["template"]["spec"].clone();
    let templates = set["spec"]["volumeClaimTemplates"].as_array().unwrap();
    let volume = |(nth, template): (usize, &Value)| match (&template["metadata"]["name"], nth) {
        (name, 0) => json!({"name": name, "persistentVolumeClaim": {"claimName": claim}}),
        (name, _) => json!({"name": name, "emptyDir": {}}),
    };
    spec["volumes"] = templates.iter().enumerate().map(volume).collect();
    spec["restartPolicy"] = json!("Never");
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": {"copy": name}}, "spec": spec})
}
