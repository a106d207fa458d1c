//! The requests to the API server and their order, against one in memory.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use http::{Method, Request, Response};
use kube::client::Body;
use tower::service_fn;

use super::*;
use crate::labels::{CLAIM, POD, VERIFY, VERIFY_POD};

const RUN: &str = "20261120-101500-x7k2";

/// Objects by their path, and each request that changed something as `VERB RESOURCE/NAME`.
#[derive(Default)]
struct Server {
    objects: BTreeMap<String, Value>,
    changes: Vec<String>,
    forbidden: Option<&'static str>,
}

impl Server {
    fn put(&mut self, path: &str, object: Value) {
        self.objects.insert(path.to_owned(), object);
    }

    fn handle(&mut self, method: &Method, path: &str, body: &Value) -> (u16, Value) {
        let status = |code: u16, reason: &str| (code, json!({"kind": "Status", "code": code, "reason": reason}));
        if self.forbidden.is_some_and(|resource| path.contains(resource)) {
            return status(403, "Forbidden");
        }
        let last =
            |path: &str| path.rsplit('/').take(2).collect::<Vec<_>>().into_iter().rev().collect::<Vec<_>>().join("/");
        match *method {
            Method::POST => {
                let path = format!("{path}/{}", body["metadata"]["name"].as_str().unwrap_or_default());
                if self.objects.contains_key(&path) {
                    return status(409, "AlreadyExists");
                }
                self.changes.push(format!("create {}", last(&path)));
                self.put(&path, body.clone());
                (201, body.clone())
            }
            Method::DELETE => {
                self.changes.push(format!("delete {}", last(path)));
                self.objects.remove(path);
                status(200, "")
            }
            Method::PATCH => {
                self.changes.push(format!("patch {}", last(path)));
                (200, self.objects[path].clone())
            }
            _ => match self.objects.get(path) {
                Some(found) => (200, found.clone()),
                None if path.ends_with('s') => {
                    let inside = |at: &&String| at.rsplit_once('/').is_some_and(|(of, _)| of == path);
                    let items: Vec<&Value> = self.objects.keys().filter(inside).map(|at| &self.objects[at]).collect();
                    // Every list that is asked for here has this selector.
                    let items: Vec<&Value> =
                        items.into_iter().filter(|item| item["metadata"]["labels"][VERIFY] == RUN).collect();
                    (200, json!({"kind": "List", "apiVersion": "v1", "metadata": {}, "items": items}))
                }
                None => status(404, "NotFound"),
            },
        }
    }
}

fn cluster() -> (Cluster, Arc<Mutex<Server>>) {
    let server = Arc::<Mutex<Server>>::default();
    let serving = server.clone();
    let client = kube::Client::new(
        service_fn(move |request: Request<Body>| {
            let server = serving.clone();
            async move {
                let (parts, body) = request.into_parts();
                let body = serde_json::from_slice(&body.collect_bytes().await.unwrap()).unwrap_or_default();
                let (code, answer) = server.lock().unwrap().handle(&parts.method, parts.uri.path(), &body);
                let answer = Body::from(answer.to_string().into_bytes());
                Ok::<_, kube::Error>(Response::builder().status(code).body(answer).unwrap())
            }
        }),
        "demo",
    );
    (Cluster::of_client(&client, "demo"), server)
}

/// The copy of a pod, with its policy.
fn one() -> Copy {
    let name = format!("pg-0-verify-{RUN}");
    let meta = json!({"name": name, "namespace": "demo", "labels": {VERIFY: RUN, VERIFY_POD: name}, "annotations": {POD: "pg-0"}});
    let spec = json!({"podSelector": {"matchLabels": {VERIFY_POD: name}}, "policyTypes": ["Ingress", "Egress"]});
    Copy {
        pod: serde_json::from_value(json!({"metadata": meta, "spec": {"containers": []}})).unwrap(),
        policy: serde_json::from_value(json!({"metadata": meta, "spec": spec})).unwrap(),
        name,
        ..copy()
    }
}

async fn made(cluster: &Cluster) -> Result<(), String> {
    let plan = VerifyPlan {
        run: RUN.into(),
        namespace: "demo".into(),
        leased: "demo".into(),
        elsewhere: None,
        targets: vec![one()],
        notes: Vec::new(),
    };
    let (signals, progress) = (Signals::listen(|_| {}).unwrap(), Progress::new());
    let wait = Duration::from_secs(5);
    let verifier =
        Verifier { cluster, plan: &plan, queries: &[], wait, keep: false, signals: &signals, progress: &progress };
    let made = verifier.make_all(&plan.targets[0], Instant::now() + wait).await;
    made.map_err(|broken| match broken {
        Broken::Bad(why) | Broken::Undecided(why) => why,
    })
}

async fn removed(cluster: &Cluster) -> Result<(), String> {
    remove(cluster, &["demo".to_owned()], RUN, None, |_| {}).await
}

#[tokio::test(start_paused = true)]
async fn a_copys_policy_is_made_before_its_pod_and_removed_after_it() {
    let (cluster, server) = cluster();
    made(&cluster).await.unwrap();
    removed(&cluster).await.unwrap();
    let of = |verb: &str, resource: &str| format!("{verb} {resource}/pg-0-verify-{RUN}");
    assert_eq!(
        server.lock().unwrap().changes,
        [of("create", "networkpolicies"), of("create", "pods"), of("delete", "pods"), of("delete", "networkpolicies")]
    );
}

/// A policy of the same name that allows something would open the copy.
#[tokio::test(start_paused = true)]
async fn without_its_own_policy_no_pod_is_made() {
    let policies = "/apis/networking.k8s.io/v1/namespaces/demo/networkpolicies";
    let (cluster, server) = cluster();
    let mut open = serde_json::to_value(&one().policy).unwrap();
    open["spec"]["ingress"] = json!([{}]);
    server.lock().unwrap().put(&format!("{policies}/pg-0-verify-{RUN}"), open);
    assert!(made(&cluster).await.unwrap_err().contains("made by somebody else"));
    assert_eq!(server.lock().unwrap().changes, [""; 0]);
    server.lock().unwrap().forbidden = Some("networkpolicies");
    assert!(made(&cluster).await.unwrap_err().starts_with("networkpolicy/"));
    assert_eq!(server.lock().unwrap().changes, [""; 0]);
}

/// A user may label a claim who may neither delete it nor change its volume.
#[tokio::test(start_paused = true)]
async fn an_object_with_only_the_label_stays_and_so_does_its_volumes_policy() {
    let (cluster, server) = cluster();
    let claim = |name: &str, of: Value| {
        json!({"metadata": {"name": name, "namespace": "demo", "uid": name, "labels": {VERIFY: RUN}, "annotations": of,
            "creationTimestamp": "2026-11-20T10:00:00Z"}, "spec": {"volumeName": format!("pv-{name}"),
            "dataSource": {"apiGroup": "snapshot.storage.k8s.io", "kind": "VolumeSnapshot", "name": "s"}}})
    };
    let volume = |name: &str, at: &str| {
        json!({"metadata": {"name": format!("pv-{name}"), "uid": name, "creationTimestamp": at},
            "spec": {"claimRef": {"uid": name}, "persistentVolumeReclaimPolicy": "Retain"}})
    };
    let (own, old) = (format!("data-verify-{RUN}"), format!("old-verify-{RUN}"));
    {
        let mut server = server.lock().unwrap();
        for (name, of, at) in [
            ("data", json!({CLAIM: "data"}), "2026-11-20T10:00:02Z"),
            (own.as_str(), json!({CLAIM: "data"}), "2026-11-20T10:00:02Z"),
            (old.as_str(), json!({CLAIM: "old"}), "2026-01-01T10:00:00Z"),
        ] {
            server.put(&format!("/api/v1/namespaces/demo/persistentvolumeclaims/{name}"), claim(name, of));
            server.put(&format!("/api/v1/persistentvolumes/pv-{name}"), volume(name, at));
        }
    }
    let deletes = server.clone();
    // The driver deletes what is let go.
    let driver = tokio::spawn(async move {
        loop {
            let patched = deletes.lock().unwrap().changes.iter().any(|change| change.starts_with("patch "));
            if patched {
                let path = format!("/api/v1/persistentvolumes/pv-data-verify-{RUN}");
                deletes.lock().unwrap().objects.remove(&path);
                return;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    });
    removed(&cluster).await.unwrap();
    driver.await.unwrap();
    let server = server.lock().unwrap();
    let of_claim = |name: &str| format!("delete persistentvolumeclaims/{name}");
    let changes = [format!("patch persistentvolumes/pv-{own}"), of_claim(&own), of_claim(&old)];
    assert_eq!(server.changes, changes, "a volume that was there before the claim is somebody's");
}

#[tokio::test(start_paused = true)]
async fn the_rights_of_an_earlier_version_still_remove_its_copies() {
    let (cluster, server) = cluster();
    {
        let mut server = server.lock().unwrap();
        server.forbidden = Some("networkpolicies");
        let pod = serde_json::to_value(&one().pod).unwrap();
        server.put(&format!("/api/v1/namespaces/demo/pods/pg-0-verify-{RUN}"), pod);
    }
    removed(&cluster).await.unwrap();
    assert_eq!(server.lock().unwrap().changes, [format!("delete pods/pg-0-verify-{RUN}")]);
}
