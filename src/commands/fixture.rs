//! Journals for the tests of the commands, and a server that has nothing else.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use http::{Method, Request, Response};
use kube::client::Body;
use serde_json::{Value, json};
use tower::service_fn;

use crate::cluster::client::Cluster;
use crate::journal::{Kind, Stored};

fn stored(run: &str, kind: Kind, plan: &Value, events: &[Value]) -> Stored {
    let entry = |event: &Value| json!({"at": "2026-11-20T10:00:00Z", "event": event}).to_string();
    let entries = events.iter().enumerate().map(|(n, event)| (format!("e{n:04}"), entry(event)));
    let rest = [("format".to_owned(), "1".to_owned()), ("plan".to_owned(), plan.to_string())];
    Stored {
        namespace: "demo".into(),
        name: format!("consistent-backup-{run}"),
        run: run.into(),
        kind: Some(kind),
        uid: "u".into(),
        resource_version: "1".into(),
        created: None,
        data: entries.chain(rest).collect(),
        rebuilt: false,
    }
}

/// A backup of one database that is stopped for it.
pub(super) fn backup(run: &str, events: &[Value]) -> Stored {
    let probe =
        json!({"version": "11", "role": "primary", "stopsCommits": true, "dataDirs": [], "settings": [], "notes": []});
    let claim = json!({"namespace": "demo", "name": "data", "uid": "c", "volume": "pv", "storageClass": null,
        "request": "1Gi", "accessModes": [], "volumeMode": "Filesystem", "labels": {}, "driver": "d", "class": "c",
        "deletionPolicy": "Delete", "pods": ["my-0"]});
    let plan = json!({
        "run": run, "created": "2026-11-20T10:00:00Z", "namespace": "demo", "request": "sts/my", "selections": [],
        "targets": [{"namespace": "demo", "pod": "my-0", "podUid": "p", "container": "my", "adapter": "mysql",
            "probe": probe, "wave": 0, "claims": [0]}],
        "claims": [claim], "unheld": [], "workloads": [], "budget": 30_000, "attempts": 1, "cutErrorPatience": 5000,
        "estimate": 100, "contents": {"read": true, "change": true}, "notes": []
    });
    stored(run, Kind::Backup, &plan, events)
}

/// A restore of backup `b1`.
pub(super) fn restore(run: &str, events: &[Value]) -> Stored {
    stored(run, Kind::Restore, &restore_plan(run, &json!([])), events)
}

/// One that is done, and keeps a volume that was to be deleted with its claim, and one that was not.
pub(super) fn restored(run: &str) -> Stored {
    let claim = |name: &str, volume: &str, policy: &str| {
        let manifest = json!({"metadata": {"name": name, "namespace": "demo"}});
        let volume = json!({"name": volume, "uid": volume, "reclaimPolicy": policy});
        let old = json!({"uid": "c", "claim": manifest, "volume": volume});
        json!({"namespace": "demo", "name": name, "old": old, "new": manifest, "size": "1Gi", "snapshot": "s", "content": "c"})
    };
    let claims = json!([claim("data", "pv-old", "Delete"), claim("logs", "pv-kept", "Retain")]);
    let begun = ["secureIntended", "secured", "readBack", "stopIntended", "stopped"].map(|event| json!(event));
    let claims_of = |event: &'static str| [json!({event: 0}), json!({event: 1})];
    let ended = [
        json!("startIntended"),
        json!("started"),
        json!({"compared": {"same": true}}),
        json!("restateIntended"),
        json!("restated"),
        json!({"finished": "restored"}),
    ];
    let events = [&begun[..], &claims_of("replaceIntended"), &claims_of("replaced"), &ended].concat();
    stored(run, Kind::Restore, &restore_plan(run, &claims), &events)
}

fn restore_plan(run: &str, claims: &Value) -> Value {
    json!({
        "run": run, "created": "2026-11-20T12:00:00Z", "namespace": "demo", "selections": [], "pods": [],
        "backup": {"run": "b1", "outcome": "ApplicationConsistent", "instant": "2026-11-20T10:00:00Z"},
        "workloads": [], "claims": claims, "targets": [], "wait": 600_000, "notes": []
    })
}

/// An answer to anything but ConfigMaps.
type Others = Box<dyn FnMut(&Method, &str) -> Option<(u16, Value)> + Send>;

/// ConfigMaps by name; the deletion of one of them is forbidden.
pub(super) struct Server {
    pub(super) maps: BTreeMap<String, Value>,
    keeps: &'static str,
    /// What else is answered, by method and path; everything else is empty.
    pub(super) others: Others,
}

impl Server {
    fn handle(&mut self, method: &Method, path: &str) -> (u16, Value) {
        let status = |code: u16, reason: &str| (code, json!({"kind": "Status", "code": code, "reason": reason}));
        let name = path.rsplit('/').next().unwrap_or_default();
        if name == "configmaps" {
            return (200, json!({"metadata": {}, "items": self.maps.values().collect::<Vec<_>>()}));
        }
        if let Some(answer) = (self.others)(method, path) {
            return answer;
        }
        if !path.contains("/configmaps/") {
            return (200, json!({"metadata": {}, "items": []}));
        }
        match self.maps.get(name).cloned() {
            None => status(404, "NotFound"),
            Some(_) if *method == Method::DELETE && name.ends_with(self.keeps) => status(403, "Forbidden"),
            Some(found) => {
                if *method == Method::DELETE {
                    self.maps.remove(name);
                }
                (200, found)
            }
        }
    }
}

fn map(of: &Stored) -> (String, Value) {
    let labels = json!({"consistent-backup/run": of.run, "consistent-backup/kind": of.kind.unwrap().as_str()});
    let metadata =
        json!({"name": of.name, "namespace": "demo", "uid": of.uid, "resourceVersion": "1", "labels": labels});
    (of.name.clone(), json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": of.data}))
}

/// A cluster with these journals, and its server. The ConfigMap whose name ends with `keeps` cannot be deleted.
pub(super) fn serving(journals: &[Stored], keeps: &'static str) -> (Cluster, Arc<Mutex<Server>>) {
    let maps = journals.iter().map(map).collect();
    let server = Arc::new(Mutex::new(Server { maps, keeps, others: Box::new(|_, _| None) }));
    let serving = server.clone();
    let client = kube::Client::new(
        service_fn(move |request: Request<Body>| {
            let server = serving.clone();
            async move {
                let (code, answer) = server.lock().unwrap().handle(request.method(), request.uri().path());
                let body = Body::from(answer.to_string().into_bytes());
                Ok::<_, kube::Error>(Response::builder().status(code).body(body).unwrap())
            }
        }),
        "demo",
    );
    (Cluster::of_client(&client, "demo"), server)
}
