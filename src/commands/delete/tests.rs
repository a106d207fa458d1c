//! Deleting against a server that has only journals.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use http::{Method, Request, Response};
use kube::client::Body;
use serde_json::{Value, json};
use tower::service_fn;

use super::fixture::{backup, restore};
use super::*;
use crate::cli::OutputFlag;
use crate::journal::Stored;

/// ConfigMaps by name; the deletion of one of them is forbidden.
struct Server {
    maps: BTreeMap<String, Value>,
    keeps: &'static str,
}

impl Server {
    fn handle(&mut self, method: &Method, path: &str) -> (u16, Value) {
        let status = |code: u16, reason: &str| (code, json!({"kind": "Status", "code": code, "reason": reason}));
        let name = path.rsplit('/').next().unwrap_or_default();
        if name == "configmaps" {
            return (200, json!({"metadata": {}, "items": self.maps.values().collect::<Vec<_>>()}));
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

/// What came of `delete RUNS --yes`, and the runs that are left.
async fn deleted(journals: &[Stored], keeps: &'static str, runs: &[&str]) -> (Result<ExitCode, Error>, Vec<String>) {
    let server = Arc::new(Mutex::new(Server { maps: journals.iter().map(map).collect(), keeps }));
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
    let cluster = Cluster::of_client(&client, "demo");
    let output = OutputFlag { output: Format::Name };
    let args = Delete { runs: runs.iter().map(|&r| r.to_owned()).collect(), yes: true, output };
    let ended = run(&cluster, args).await;
    let left = server.lock().unwrap().maps.keys().map(|name| name.replace("consistent-backup-", "")).collect();
    (ended, left)
}

/// A restore that failed before it changed anything.
fn failed(run: &str) -> Stored {
    let events = [json!({"aborted": "step"}), json!({"finished": "failed"})];
    restore(run, &events)
}

#[tokio::test(start_paused = true)]
async fn one_that_cannot_be_deleted_does_not_keep_the_others() {
    let journals = ["a", "b", "c"].map(failed);
    let (ended, left) = deleted(&journals, "-b", &["a", "b", "c", "a"]).await;
    let error = ended.unwrap_err();
    assert_eq!((error.code, left), (ExitCode::Failed, vec!["b".to_owned()]));
    assert!(error.message.contains("consistent-backup-b"), "{error}");
    let (ended, left) = deleted(&journals, "-none", &["a", "b", "c"]).await;
    assert_eq!((ended.unwrap(), left.len()), (ExitCode::Done, 0));
}

#[tokio::test(start_paused = true)]
async fn a_backup_stays_while_a_restore_of_it_is_open() {
    let over = [json!({"attempt": 1}), json!({"aborted": "step"}), json!({"finished": "failed"})];
    let backup = backup("b1", &over);
    let open = restore("r9", &[json!("secureIntended")]);
    let (ended, left) = deleted(&[backup.clone(), open], "-none", &["b1"]).await;
    let error = ended.unwrap_err();
    assert_eq!((error.code, left.len()), (ExitCode::Refused, 2));
    assert_eq!(error.refusals[0].message, "it is restored by run r9, which is not finished");
    let (ended, left) = deleted(&[backup, failed("r9")], "-none", &["b1"]).await;
    assert_eq!((ended.unwrap(), left), (ExitCode::Done, vec!["r9".to_owned()]));
}
