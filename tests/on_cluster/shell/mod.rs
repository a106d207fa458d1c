//! The shell against a real cluster: what the API server, the kubelet and the container runtime really answer.
//!
//! Takes KUBECONFIG from the environment, and only a cluster whose context is called `test`: it makes and deletes a
//! namespace. Without one every test here fails.

mod clock;
mod connect;
mod exec;
mod fault;
mod journal;
mod lease;
mod network;
mod session;
mod stopped;

use std::time::Duration;

use consistent_backup::cluster::client::{Around, Cluster, Connection, explain, is_already_exists};
use consistent_backup::exec::{Place, run};
use consistent_backup::quiescer::{Answer, End};
use k8s_openapi::api::core::v1::{Namespace, Pod};
use kube::Api;
use kube::api::{DeleteParams, PostParams};
use serde_json::json;

use crate::support::cluster::Turn;

/// The cluster for tests.
pub(crate) async fn cluster() -> Cluster {
    cluster_through(None).await
}

pub(crate) async fn cluster_through(around: Option<Around>) -> Cluster {
    assert!(std::env::var_os("KUBECONFIG").is_some(), "no KUBECONFIG: start the cluster with tests/cluster/up");
    let cluster = Cluster::connect_through(&Connection::default(), around).await.unwrap();
    assert_eq!(cluster.context, "test", "not the cluster for tests");
    cluster
}

/// A namespace of a test's own, with a pod that has a shell.
pub(crate) struct Ground {
    pub(crate) cluster: Cluster,
    pub(crate) namespace: String,
    _turn: Turn,
}

impl Ground {
    pub(crate) async fn new(name: &str) -> Self {
        let turn = Turn::shared();
        let cluster = cluster().await;
        let namespace = format!("shell-{name}-{}", std::process::id());
        let api: Api<Namespace> = Api::all(cluster.api.clone());
        let object = serde_json::from_value(json!({ "metadata": { "name": namespace } })).unwrap();
        api.create(&PostParams::default(), &object).await.unwrap();
        Self { cluster, namespace, _turn: turn }
    }

    pub(crate) async fn pod(&self, name: &str) -> Place {
        let api: Api<Pod> = Api::namespaced(self.cluster.api.clone(), &self.namespace);
        let object: Pod = serde_json::from_value(json!({
            "metadata": { "name": name },
            "spec": {
                "terminationGracePeriodSeconds": 0,
                "containers": [{
                    "name": "main", "image": "localhost/postgres:15", "imagePullPolicy": "Never",
                    "command": ["sh", "-c", "sleep 1000000"],
                }],
            },
        }))
        .unwrap();
        // The namespace's service account is made a moment after the namespace.
        for _ in 0..100 {
            match api.create(&PostParams::default(), &object).await {
                Err(e) if !is_already_exists(&e) => eprintln!("{}", explain(&e)),
                _ => break,
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        for _ in 0..300 {
            let pod = api.get(name).await.unwrap();
            if pod.status.and_then(|s| s.phase).as_deref() == Some("Running") {
                return Place {
                    namespace: self.namespace.clone(),
                    pod: name.into(),
                    container: "main".into(),
                    endpoint: None,
                };
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("pod {name} does not start");
    }

    pub(crate) async fn end(self) {
        let api: Api<Namespace> = Api::all(self.cluster.api.clone());
        api.delete(&self.namespace, &DeleteParams::default()).await.unwrap();
    }
}

pub(crate) fn argv(words: &[&str]) -> Vec<String> {
    words.iter().map(|w| (*w).to_owned()).collect()
}

/// Whether a session's process is still in the container.
pub(crate) async fn lives(cluster: &Cluster, at: &Place, pid: &str) -> bool {
    let script = sh(&format!("if kill -0 {pid} 2>/dev/null; then echo lives; else echo gone; fi"));
    let answer = run(cluster, at, &script, Duration::from_secs(10)).await;
    match answer.out.trim() {
        "lives" => true,
        "gone" => false,
        _ => panic!("{answer:?}"),
    }
}

/// Whether the answer to a command that is not there is right: a refusal with the reason, or nothing known where the
/// cluster lost the reason on its way (kubernetes/kubectl#1726).
pub(crate) fn never_succeeded(answer: &Answer) -> bool {
    matches!(&answer.end, End::Refused(_) | End::Unknown(_))
}

pub(crate) fn sh(script: &str) -> Vec<String> {
    argv(&["sh", "-c", script])
}
