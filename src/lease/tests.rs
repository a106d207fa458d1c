use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use http::{Method, Request, Response};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{DeleteParams, PostParams};
use kube::client::Body;
use serde_json::{Value, json};
use tower::service_fn;

use super::*;
use crate::cluster::client::explain;

/// What happens to one request.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Fault {
    None,
    NotSent,
    AnswerLost,
    Hangs,
    Status(u16),
}

const FAULTS: [Fault; 6] =
    [Fault::NotSent, Fault::AnswerLost, Fault::Hangs, Fault::Status(429), Fault::Status(500), Fault::Status(503)];

/// The Leases of one namespace, with the API server's preconditions.
#[derive(Default)]
struct Server {
    leases: BTreeMap<String, Value>,
    version: u64,
    requests: usize,
}

fn status(code: u16, reason: &str) -> (u16, Value) {
    (code, json!({"kind": "Status", "code": code, "reason": reason}))
}

impl Server {
    fn put(&mut self, name: &str, holder: &str) {
        self.version += 1;
        let uid = match self.leases.get(name) {
            Some(lease) => lease["metadata"]["uid"].clone(),
            None => json!(self.version.to_string()),
        };
        let notes = self.leases.get(name).map_or(json!({}), |lease| lease["metadata"]["annotations"].clone());
        let version = self.version.to_string();
        let meta = json!({"name": name, "uid": uid, "resourceVersion": version, "annotations": notes});
        let spec = json!({"holderIdentity": holder, "leaseDurationSeconds": 10});
        self.leases.insert(name.to_owned(), json!({"metadata": meta, "spec": spec}));
    }

    /// As a merge patch does it.
    fn annotate(&mut self, name: &str, body: &Value) -> Value {
        let lease = self.leases.get_mut(name).unwrap();
        for (key, value) in body["metadata"]["annotations"].as_object().into_iter().flatten() {
            match value {
                Value::Null => lease["metadata"]["annotations"].as_object_mut().unwrap().remove(key),
                value => lease["metadata"]["annotations"].as_object_mut().unwrap().insert(key.clone(), value.clone()),
            };
        }
        lease.clone()
    }

    fn holder(&self, pod: &str) -> Option<&str> {
        self.leases.get(&format!("consistent-backup-{pod}"))?["spec"]["holderIdentity"].as_str()
    }

    fn handle(&mut self, method: &Method, name: &str, body: &Value) -> (u16, Value) {
        let found = self.leases.get(name).cloned();
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        if *method == Method::POST {
            let name = text(&body["metadata"]["name"]);
            if self.leases.contains_key(&name) {
                return status(409, "AlreadyExists");
            }
            self.put(&name, &text(&body["spec"]["holderIdentity"]));
            return (201, self.annotate(&name, body));
        }
        let Some(found) = found else {
            return status(404, "NotFound");
        };
        let version = match *method {
            Method::PATCH => &body["metadata"]["resourceVersion"],
            Method::DELETE => &body["preconditions"]["resourceVersion"],
            _ => return (200, found),
        };
        if *version != found["metadata"]["resourceVersion"] {
            return status(409, "Conflict");
        }
        if *method == Method::DELETE {
            self.leases.remove(name);
            return status(200, "");
        }
        self.put(name, &text(&body["spec"]["holderIdentity"]));
        (200, self.annotate(name, body))
    }
}

type Shared = Arc<Mutex<Server>>;

fn cluster(fault: impl Fn(usize) -> Fault + Send + Sync + Copy + 'static) -> (Cluster, Shared) {
    let server = Shared::default();
    let serving = server.clone();
    let client = kube::Client::new(
        service_fn(move |request: Request<Body>| {
            let server = serving.clone();
            async move {
                let (parts, body) = request.into_parts();
                let body = serde_json::from_slice(&body.collect_bytes().await.unwrap()).unwrap_or_default();
                let name = parts.uri.path().rsplit('/').next().unwrap().to_owned();
                let fault = {
                    let mut server = server.lock().unwrap();
                    server.requests += 1;
                    fault(server.requests - 1)
                };
                let done = || server.lock().unwrap().handle(&parts.method, &name, &body);
                let (code, answer) = match fault {
                    Fault::None => done(),
                    Fault::Status(code) => status(code, ""),
                    Fault::NotSent => return Err(kube::Error::Service("not sent".into())),
                    Fault::AnswerLost => {
                        done();
                        return Err(kube::Error::Service("answer lost".into()));
                    }
                    Fault::Hangs => std::future::pending().await,
                };
                Ok(Response::builder().status(code).body(Body::from(answer.to_string().into_bytes())).unwrap())
            }
        }),
        "shop",
    );
    (Cluster::of_client(&client, "shop"), server)
}

async fn take(cluster: &Cluster, pods: &[&str], how: Take) -> Result<Leases, Vec<Refusal>> {
    take_by(cluster, "r1", pods, how).await
}

async fn take_by(cluster: &Cluster, run: &str, pods: &[&str], how: Take) -> Result<Leases, Vec<Refusal>> {
    let pods: Vec<_> = pods.iter().map(|pod| ("shop".to_owned(), (*pod).to_owned())).collect();
    Leases::take(cluster, &pods, run, how, &|_| {}).await
}

/// The plans of this run's mark on a Lease, and where its record lies.
async fn marked(cluster: &Cluster, pod: &str, run: &str) -> Option<(String, usize)> {
    let record = super::mark(cluster, "shop", pod, run).await.unwrap()?.record?;
    Some((record.namespace, record.plans.len()))
}

/// Somebody else's Lease, renewed every 3 s for so long.
fn other(server: &Shared, pod: &str, alive: u64) {
    let (server, name) = (server.clone(), format!("consistent-backup-{pod}"));
    server.lock().unwrap().put(&name, "r0/other");
    tokio::spawn(async move {
        for _ in 0..alive / 3 {
            tokio::time::sleep(RENEWAL).await;
            let mut server = server.lock().unwrap();
            if server.leases[&name]["spec"]["holderIdentity"] != "r0/other" {
                return;
            }
            server.put(&name, "r0/other");
        }
    });
}

impl Leases {
    /// `until_lost`, but a Lease that is never lost is a failure and no endless test.
    async fn lost_soon(&self) -> String {
        tokio::time::timeout(Duration::from_secs(120), self.until_lost()).await.expect("it was never lost")
    }
}

async fn seconds(seconds: u64) {
    tokio::time::sleep(Duration::from_secs(seconds)).await;
}

#[tokio::test(start_paused = true)]
async fn what_is_free_is_taken_renewed_and_given_back() {
    let (cluster, server) = cluster(|_| Fault::None);
    let leases = take(&cluster, &["a", "b", "a"], Take::IfFree).await.unwrap();
    let before = server.lock().unwrap().version;
    seconds(31).await;
    assert_eq!(leases.lost(), None);
    // Two Leases, each renewed ten times.
    assert_eq!(server.lock().unwrap().version - before, 20);
    assert!(server.lock().unwrap().holder("a").unwrap().starts_with("r1/"));
    leases.release(Left::Nothing).await.unwrap();
    assert!(server.lock().unwrap().leases.is_empty());
}

#[tokio::test(start_paused = true)]
async fn any_broken_request_is_made_good() {
    for broken in 0..12 {
        for fault in FAULTS {
            let (cluster, server) = cluster(move |n| if n == broken { fault } else { Fault::None });
            let leases = take(&cluster, &["a"], Take::IfFree).await.unwrap();
            for _ in 0..20 {
                seconds(1).await;
                assert_eq!(leases.lost(), None, "{broken} {fault:?}");
            }
            leases.release(Left::Nothing).await.unwrap();
            assert!(server.lock().unwrap().leases.is_empty(), "{broken} {fault:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn all_refusals_come_at_once_and_what_was_taken_is_given_back() {
    let (cluster, server) = cluster(|_| Fault::None);
    other(&server, "b", 600);
    other(&server, "c", 600);
    let begin = Instant::now();
    let refusals = take(&cluster, &["a", "b", "c"], Take::IfFree).await.err().unwrap();
    assert!(begin.elapsed() < Duration::from_secs(5));
    let objects: Vec<_> = refusals.iter().map(|r| r.object.as_str()).collect();
    assert_eq!(objects, ["pod/b in shop", "pod/c in shop"]);
    assert!(refusals[0].message.contains("run \"r0\""), "{refusals:?}");
    assert_eq!(server.lock().unwrap().holder("a"), None);
    assert_eq!(server.lock().unwrap().holder("b"), Some("r0/other"));
}

#[tokio::test(start_paused = true)]
async fn a_dead_runs_lease_is_taken_after_its_duration_and_the_others_live_meanwhile() {
    for how in [Take::IfFree, Take::AfterExpiry] {
        let (cluster, server) = cluster(|_| Fault::None);
        other(&server, "b", 0);
        let said = Mutex::new(Vec::new());
        let pods = ["a", "b"].map(|pod| ("shop".to_owned(), pod.to_owned()));
        let begin = Instant::now();
        let say = |waiting: &Waiting| said.lock().unwrap().push(waiting.clone());
        let leases = Leases::take(&cluster, &pods, "r1", how, &say).await.unwrap();
        assert_eq!(begin.elapsed().as_secs(), 10);
        assert_eq!(leases.lost(), None);
        let said = said.into_inner().unwrap();
        assert_eq!((said.len(), said[0].run.as_str(), said[0].left), (1, "r0", DURATION));
        // The first has been renewed while the second was waited for.
        assert_eq!(server.lock().unwrap().version, 1 + 1 + 3 + 1);
    }
}

#[tokio::test(start_paused = true)]
async fn a_run_that_ends_soon_is_waited_for_and_one_that_lives_is_not_for_ever() {
    let (cluster, server) = cluster(|_| Fault::None);
    other(&server, "a", 12);
    let begin = Instant::now();
    assert!(take(&cluster, &["a"], Take::AfterExpiry).await.is_ok());
    assert!((22..=24).contains(&begin.elapsed().as_secs()));

    other(&server, "b", 600);
    let begin = Instant::now();
    assert!(take(&cluster, &["b"], Take::AfterExpiry).await.is_err());
    assert!((30..=35).contains(&begin.elapsed().as_secs()));
}

#[tokio::test(start_paused = true)]
async fn force_does_not_wait_and_the_loser_notices() {
    let (cluster, server) = cluster(|_| Fault::None);
    let first = take(&cluster, &["a"], Take::IfFree).await.unwrap();
    let begin = Instant::now();
    let second = take(&cluster, &["a"], Take::Force).await.unwrap();
    assert!(begin.elapsed() < Duration::from_millis(1));
    assert!(first.lost_soon().await.contains("taken over by run \"r1\""));
    assert!(begin.elapsed() <= RENEWAL);
    assert!(first.confirm(DURATION).await.is_err());
    // What is the other's is not given back.
    first.release(Left::Nothing).await.unwrap();
    assert!(server.lock().unwrap().holder("a").is_some());
    assert_eq!(second.lost(), None);
    second.confirm(DURATION).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn nothing_is_written_once_a_lease_is_anothers() {
    let (cluster, server) = cluster(|_| Fault::None);
    let leases = take(&cluster, &["a", "b"], Take::IfFree).await.unwrap();
    let own: Api<Lease> = Api::namespaced(leases.own(&cluster).api, "shop");
    let made = Lease { metadata: ObjectMeta { name: Some("x".into()), ..ObjectMeta::default() }, spec: None };
    own.create(&PostParams::default(), &made).await.unwrap();
    server.lock().unwrap().put("consistent-backup-b", "r2/other");
    leases.lost_soon().await;
    let requests = server.lock().unwrap().requests;
    let refused = own.delete("x", &DeleteParams::default()).await.unwrap_err();
    assert!(explain(&refused).contains("nothing is written: lease/consistent-backup-b was taken over"), "{refused}");
    assert_eq!(server.lock().unwrap().requests, requests, "it was not sent");
    own.get("x").await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_deleted_lease_is_lost() {
    let (cluster, server) = cluster(|_| Fault::None);
    let leases = take(&cluster, &["a"], Take::IfFree).await.unwrap();
    server.lock().unwrap().leases.clear();
    assert!(leases.lost_soon().await.contains("was deleted"));
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_renewed_counts_as_lost_before_another_can_take_it() {
    for fault in [Fault::NotSent, Fault::Hangs, Fault::Status(500), Fault::Status(403)] {
        // Two requests to take it; then nothing works for a while.
        let (cluster, server) = cluster(move |n| if (2..25).contains(&n) { fault } else { Fault::None });
        let begin = Instant::now();
        let leases = take(&cluster, &["a"], Take::IfFree).await.unwrap();
        let why = leases.lost_soon().await;
        assert!(why.contains("was not renewed for 10s"), "{fault:?}: {why}");
        assert!((DURATION..DURATION + Duration::from_millis(600)).contains(&begin.elapsed()), "{fault:?}");
        // Nobody took it: a renewal that succeeds after all proves that.
        seconds(60).await;
        assert_eq!(leases.lost(), None, "{fault:?}");
        server.lock().unwrap().put("consistent-backup-a", "r0/other");
        assert!(leases.lost_soon().await.contains("taken over"), "{fault:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn giving_back_does_not_wait_for_ever() {
    let (cluster, _) = cluster(|n| if n < 2 { Fault::None } else { Fault::Hangs });
    let leases = take(&cluster, &["a"], Take::IfFree).await.unwrap();
    let begin = Instant::now();
    assert!(leases.release(Left::Nothing).await.is_err());
    assert!(begin.elapsed() < Duration::from_secs(10));
}

#[tokio::test(start_paused = true)]
async fn the_mark_of_a_run_stays_until_somebody_finishes_it() {
    let (cluster, server) = cluster(|_| Fault::None);
    let first = take(&cluster, &["a", "b"], Take::IfFree).await.unwrap();
    assert_eq!(marked(&cluster, "a", "r1").await, None, "it has no record yet");
    first.mark("records", "{}").await.unwrap();
    first.mark("records", "[]").await.unwrap();
    for pod in ["a", "b"] {
        assert_eq!(marked(&cluster, pod, "r1").await, Some(("records".into(), 2)));
    }
    // It dies; another run takes one of them, and comes to its end.
    drop(first);
    let second = take_by(&cluster, "r2", &["a"], Take::IfFree).await.unwrap();
    second.mark("shop", "{}").await.unwrap();
    assert_eq!(marked(&cluster, "a", "r2").await, Some(("shop".into(), 1)));
    second.release(Left::Nothing).await.unwrap();
    assert_eq!(marked(&cluster, "a", "r2").await, None);
    assert_eq!(marked(&cluster, "a", "r1").await, Some(("records".into(), 2)));
    assert_eq!(server.lock().unwrap().holder("a"), Some(""), "nobody has to wait for it");
    // Somebody finishes the first, but not at once.
    let third = take(&cluster, &["a", "b"], Take::AfterExpiry).await.unwrap();
    third.release(Left::Unfinished).await.unwrap();
    assert_eq!(marked(&cluster, "b", "r1").await, Some(("records".into(), 2)));
    let last = take(&cluster, &["a", "b"], Take::AfterExpiry).await.unwrap();
    last.release(Left::Nothing).await.unwrap();
    assert!(server.lock().unwrap().leases.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_mark_is_written_whatever_request_is_broken() {
    for broken in 0..10 {
        for fault in FAULTS {
            let (cluster, _) = cluster(move |n| if n == broken { fault } else { Fault::None });
            let leases = take(&cluster, &["a"], Take::IfFree).await.unwrap();
            leases.mark("records", "{}").await.unwrap();
            assert_eq!(marked(&cluster, "a", "r1").await, Some(("records".into(), 1)), "{broken} {fault:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_run_that_cannot_take_all_its_leases_keeps_its_marks() {
    let (cluster, server) = cluster(|_| Fault::None);
    let died = take(&cluster, &["a", "b"], Take::IfFree).await.unwrap();
    died.mark("records", "{}").await.unwrap();
    drop(died);
    seconds(11).await;
    other(&server, "b", 600);
    assert!(take(&cluster, &["a", "b"], Take::IfFree).await.is_err());
    assert_eq!(marked(&cluster, "a", "r1").await, Some(("records".into(), 1)), "else nobody could finish it unasked");
}
