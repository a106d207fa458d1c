//! Objects for the planner's tests: a pod is healthy, its claims are bound and can be cut, until a test changes them.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Container, Pod};
use serde_json::{Value, json};

use super::{ContentAccess, Facts, SnapshotClass};
use crate::quiescer::verify::{Alone, Check};
use crate::quiescer::{
    Act, Answer, Channel, Ending, Probe, Quiescer, Reason, RecoveryPoint, Released, Script, Thawed, Token,
};

/// Detects containers whose name contains its own.
struct Fake(&'static str);

pub(super) const FAKES: &[&dyn Quiescer] = &[&Fake("postgres"), &Fake("mysql"), &Fake("redis")];

/// The planner asks an adapter for its name and what it detects, and for nothing else.
fn unasked() -> ! {
    panic!("the planner speaks to no database")
}

impl Quiescer for Fake {
    fn name(&self) -> &'static str {
        self.0
    }
    fn detects(&self, _: &Pod, container: &Container) -> bool {
        container.name.contains(self.0)
    }
    fn probe(&self) -> Act {
        unasked()
    }
    fn read_probe(&self, _: &Answer) -> Result<Probe, Vec<Reason>> {
        unasked()
    }
    fn channels(&self, _: &Probe, _: &Token, _: std::time::Duration) -> Vec<Channel> {
        unasked()
    }
    fn prepare(&self, _: &Probe, _: &Token) -> Script {
        unasked()
    }
    fn hold(&self, _: &Probe, _: &Token, _: std::time::Duration) -> Script {
        unasked()
    }
    fn read_hold(&self, _: &Probe, _: &[Answer]) -> Result<RecoveryPoint, Reason> {
        unasked()
    }
    fn flush(&self, _: &Probe, _: &Token) -> Script {
        unasked()
    }
    fn read_flush(&self, _: &Probe, _: &[Answer]) -> Result<(), Reason> {
        unasked()
    }
    fn thaw(&self, _: &Probe, _: &Token) -> Script {
        unasked()
    }
    fn read_thaw(&self, _: &Probe, _: &[Answer], _: &[Answer]) -> Thawed {
        unasked()
    }
    fn release(&self, _: &Probe, _: &Token) -> Script {
        unasked()
    }
    fn read_release(&self, _: &[Answer]) -> Released {
        unasked()
    }
    fn ending(&self, _: &Probe) -> Ending {
        unasked()
    }
    fn recovered(&self, _: &Probe) -> Act {
        unasked()
    }
    fn alone(&self, _: &Container, _: &Probe) -> Result<Alone, Reason> {
        unasked()
    }
    fn checks(&self, _: &Probe, _: std::time::Duration) -> Vec<Check> {
        unasked()
    }
}

/// A healthy pod. Each claim is a volume of the same name, mounted at `/CLAIM` in the first container.
pub(super) fn pod(name: &str, containers: &[&str], claims: &[&str]) -> Value {
    let mounts: Vec<Value> = claims.iter().map(|c| json!({"name": c, "mountPath": format!("/{c}")})).collect();
    let volumes: Vec<Value> =
        claims.iter().map(|c| json!({"name": c, "persistentVolumeClaim": {"claimName": c}})).collect();
    let specs: Vec<Value> = containers
        .iter()
        .enumerate()
        .map(|(i, c)| {
            let mounts = if i == 0 { mounts.clone() } else { Vec::new() };
            json!({"name": c, "image": "x", "volumeMounts": mounts})
        })
        .collect();
    let statuses: Vec<Value> = containers
        .iter()
        .map(|c| {
            json!({"name": c, "image": "x", "imageID": "", "ready": true, "restartCount": 0,
                   "containerID": format!("x://{name}-{c}"), "state": {"running": {}}})
        })
        .collect();
    json!({
        "metadata": {"name": name, "namespace": "demo", "uid": format!("uid-{name}")},
        "spec": {"containers": specs, "volumes": volumes},
        "status": {
            "phase": "Running",
            "conditions": [{"type": "Ready", "status": "True"}],
            "containerStatuses": statuses
        }
    })
}

/// The facts about these pods: every claim that they name is bound to a volume of driver `d1`, whose only class is `fast`.
pub(super) fn facts(pods: &[Value]) -> Facts {
    let pods: Vec<Pod> = pods.iter().map(|p| serde_json::from_value(p.clone()).unwrap()).collect();
    let names: Vec<String> = pods.iter().flat_map(super::claims_of).map(|(_, claim)| claim.to_owned()).collect();
    let claim = |name: &String| {
        let value = json!({
            "metadata": {"name": name, "namespace": "demo", "uid": format!("uid-{name}"), "labels": {"app": "db"}},
            "spec": {"volumeName": format!("pv-{name}"), "storageClassName": "block", "accessModes": ["ReadWriteOnce"],
                     "resources": {"requests": {"storage": "1Gi"}}},
            "status": {"phase": "Bound"}
        });
        let key = ("demo".to_owned(), name.clone());
        (key, serde_json::from_value(value).unwrap())
    };
    let volume = |name: &String| {
        let name = format!("pv-{name}");
        let value = json!({
            "metadata": {"name": name},
            "spec": {"capacity": {"storage": "1Gi"}, "csi": {"driver": "d1", "volumeHandle": "h"}}
        });
        (name, serde_json::from_value(value).unwrap())
    };
    Facts {
        selections: Vec::new(),
        claims: names.iter().map(claim).collect(),
        volumes: Some(names.iter().map(volume).collect::<BTreeMap<_, _>>()),
        pods,
        others: Vec::new(),
        workloads: Vec::new(),
        classes: Some(vec![SnapshotClass {
            name: "fast".into(),
            driver: "d1".into(),
            deletion_policy: "Delete".into(),
            default: false,
            location: super::Location::StorageSystem,
        }]),
        contents: ContentAccess { read: true, change: true },
        contents_stay: false,
        releases: Vec::new(),
        databases: Vec::new(),
        exec: true,
        refusals: Vec::new(),
        notes: Vec::new(),
    }
}

/// What a database says that stops commits, with these directories.
#[allow(clippy::unnecessary_wraps, reason = "tests write it where a failed probe may stand")]
pub(super) fn full(dirs: &[&str]) -> Result<Probe, Vec<Reason>> {
    Ok(Probe {
        version: "1.0".into(),
        role: "primary".into(),
        stops_commits: true,
        data_dirs: dirs.iter().map(|&d| d.into()).collect(),
        ..Probe::default()
    })
}

/// The same for one that does not.
pub(super) fn light(dirs: &[&str]) -> Result<Probe, Vec<Reason>> {
    full(dirs).map(|probe| Probe { stops_commits: false, ..probe })
}

/// A plan of nothing.
pub(super) fn empty_plan() -> super::Plan {
    serde_json::from_value(json!({
        "run": "r", "created": "2026-11-22T00:00:00Z", "namespace": "demo", "request": "", "selections": [], "targets": [],
        "claims": [], "unheld": [], "workloads": [], "budget": 30000, "attempts": 1, "cutErrorPatience": 5000,
        "estimate": 0, "contents": {"read": true, "change": true}, "notes": []
    }))
    .unwrap()
}
