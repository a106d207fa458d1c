//! Removing copies that we may not release: a server with one VolumeSnapshot and its content.

use std::sync::{Arc, Mutex};

use http::{Method, Request, Response};
use kube::client::Body;
use serde_json::{Value, json};
use tower::service_fn;

use super::*;
use crate::cluster::client::Cluster;
use crate::plan::Plan;

const SNAPSHOT: &str = "r1-1-data";

fn plan(policy: &str, read: bool, change: bool) -> Plan {
    let claim = json!({"namespace": "demo", "name": "data", "uid": "c", "volume": "pv", "storageClass": null,
        "request": "1Gi", "accessModes": [], "volumeMode": "Filesystem", "labels": {}, "driver": "d", "class": "c",
        "deletionPolicy": policy, "pods": []});
    serde_json::from_value(json!({
        "run": "r1", "created": "2026-11-20T10:00:00Z", "namespace": "demo", "request": "sts/my", "selections": [],
        "targets": [], "claims": [claim], "unheld": [], "workloads": [], "budget": 30_000, "attempts": 1,
        "cutErrorPatience": 5000, "estimate": 100, "contents": {"read": read, "change": change}, "notes": []
    }))
    .unwrap()
}

/// What is left in the cluster, and what we may do with contents.
#[allow(clippy::struct_excessive_bools, reason = "two objects and two permissions, each there or not")]
struct Server {
    snapshot: bool,
    policy: &'static str,
    content: bool,
    read: bool,
    change: bool,
    /// Whether the content waits for the sidecar when it is deleted.
    protected: bool,
    /// The stored copy, if the sidecar was never asked to remove it.
    leaked: bool,
    /// Whether the sidecar was told that the content is to go.
    told: bool,
    /// Whether the content is kept as a backup.
    kept: bool,
    /// Where the snapshot says that its record lies; empty where it says nothing.
    record: &'static str,
    /// The snapshot's name.
    name: &'static str,
}

impl Server {
    fn content(&self) -> Value {
        let finalizers = if self.protected { vec![PROTECTION] } else { Vec::new() };
        let labels = if self.kept { json!({RUN: "r1"}) } else { json!({}) };
        json!({"metadata": {"name": "snapcontent-u1", "uid": "x", "finalizers": finalizers, "labels": labels}, "spec": {"deletionPolicy": self.policy, "driver": "d",
            "source": {"volumeHandle": "v"}, "volumeSnapshotRef": {"name": self.name, "namespace": "demo", "uid": "u1"}}})
    }

    fn handle(&mut self, method: &Method, path: &str) -> (u16, Value) {
        let mut annotations = json!({CLAIM: "data"});
        if !self.record.is_empty() {
            annotations[RECORD_NAMESPACE] = json!(self.record);
        }
        let snapshot = json!({"metadata": {"name": self.name, "namespace": "demo", "uid": "u1",
            "annotations": annotations}, "spec": {"source": {}}});
        let contents = path.contains("/volumesnapshotcontents");
        let listed = path.ends_with("/volumesnapshots") || path.ends_with("/volumesnapshotcontents");
        let verb_allowed = if *method == Method::GET { self.read } else { self.change };
        let there = if contents { self.content } else { self.snapshot };
        let object = if contents { self.content() } else { snapshot };
        match (contents, listed) {
            (true, _) if !verb_allowed => (403, json!({"kind": "Status", "code": 403, "reason": "Forbidden"})),
            (_, true) => (200, json!({"metadata": {}, "items": if there { vec![object] } else { Vec::new() }})),
            _ if !there => (404, json!({"kind": "Status", "code": 404, "reason": "NotFound"})),
            (false, _) if *method == Method::DELETE => {
                // As the snapshot-controller does it: with Delete the content and the stored copy go too.
                self.snapshot = false;
                self.content = self.policy == "Retain";
                self.leaked = !self.protected;
                (200, object)
            }
            (true, _) if *method == Method::DELETE && self.told => {
                self.content = false;
                (200, object)
            }
            (true, _) if *method == Method::PATCH => {
                self.policy = "Delete";
                self.protected = true;
                self.told = true;
                (200, self.content())
            }
            _ => (200, object),
        }
    }
}

async fn discarded(server: &Arc<Mutex<Server>>, plan: &Plan) -> Discard {
    discarded_by(server, plan, false).await
}

/// `named`: the user wants the run deleted.
async fn discarded_by(server: &Arc<Mutex<Server>>, plan: &Plan, named: bool) -> Discard {
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
    let csi = Csi::new(&cluster, plan);
    let csi = if named { csi.named() } else { csi };
    let all = csi.discard(Some(1), Duration::from_secs(60)).await;
    all.into_iter().next().unwrap()
}

fn server(policy: &'static str, read: bool, change: bool) -> Arc<Mutex<Server>> {
    Arc::new(Mutex::new(Server {
        snapshot: true,
        content: true,
        policy,
        read,
        change,
        protected: true,
        leaked: false,
        told: false,
        kept: false,
        record: "",
        name: SNAPSHOT,
    }))
}

#[tokio::test(start_paused = true)]
async fn a_copy_that_its_class_keeps_is_not_called_removed() {
    let server = server("Retain", true, false);
    let plan = plan("Retain", true, false);
    let begun = Instant::now();
    for _ in 0..2 {
        let Discard::Pending(why) = discarded(&server, &plan).await else { panic!("the stored copy is still there") };
        assert!(why.starts_with("volumesnapshotcontent/snapcontent-u1 keeps deletionPolicy Retain"), "{why}");
        assert!(!server.lock().unwrap().snapshot, "the snapshot itself is removed");
    }
    assert!(begun.elapsed() < Duration::from_secs(10), "nothing changes by waiting");
    server.lock().unwrap().content = false;
    assert_eq!(discarded(&server, &plan).await, Discard::Gone, "somebody with the power has removed it");
}

#[tokio::test(start_paused = true)]
async fn a_copy_that_may_not_be_seen_is_named_where_its_class_keeps_it() {
    let (seen, unseen) = (plan("Delete", false, false), plan("Retain", false, false));
    let Discard::Pending(why) = discarded(&server("Retain", false, false), &unseen).await else {
        panic!("nobody has seen it gone")
    };
    assert!(why.starts_with("volumesnapshotcontent/snapcontent-u1 keeps deletionPolicy Retain"), "{why}");
    assert_eq!(discarded(&server("Delete", false, false), &seen).await, Discard::Gone);
}

#[tokio::test(start_paused = true)]
async fn somebody_who_may_more_removes_what_the_run_could_not() {
    let server = server("Retain", true, true);
    assert_eq!(discarded(&server, &plan("Retain", false, false)).await, Discard::Gone);
    assert!(!server.lock().unwrap().content);
}

#[tokio::test(start_paused = true)]
async fn a_content_that_was_ours_to_change_keeps_its_snapshot_until_it_is_released() {
    let server = server("Retain", true, false);
    let left = discarded(&server, &plan("Delete", true, true)).await;
    assert!(matches!(left, Discard::Pending(_)), "{left:?}");
    assert!(server.lock().unwrap().snapshot, "else nothing would name the stored copy any more");
}

#[tokio::test(start_paused = true)]
async fn a_content_goes_only_when_the_sidecar_must_see_it_go() {
    // The snapshot-controller has not come round to it: deleted now, a cut under way would be nobody's.
    let server = server("Delete", true, true);
    server.lock().unwrap().protected = false;
    assert_eq!(discarded(&server, &plan("Delete", true, true)).await, Discard::Gone);
    assert!(!server.lock().unwrap().leaked);
}

#[tokio::test(start_paused = true)]
async fn a_content_whose_snapshot_is_gone_is_found_and_removed() {
    // Neither a label nor a VolumeSnapshot names it, and nobody told the sidecar.
    let server = server("Delete", true, true);
    server.lock().unwrap().snapshot = false;
    assert_eq!(discarded(&server, &plan("Delete", true, true)).await, Discard::Gone);
    assert!(!server.lock().unwrap().content, "said to be gone");
}

#[tokio::test(start_paused = true)]
async fn a_copy_whose_snapshot_is_gone_is_not_called_removed_by_who_may_not_look() {
    let server = server("Retain", false, false);
    let plan = plan("Retain", false, false);
    for _ in 0..2 {
        let left = discarded(&server, &plan).await;
        assert!(matches!(left, Discard::Pending(_)), "the copy is there: {left:?}");
        assert!(!server.lock().unwrap().snapshot, "the second time nothing but the content tells of it");
    }
    let Discard::Pending(why) = discarded(&server, &plan).await else { panic!("nobody has seen it gone") };
    assert_eq!(
        why,
        "not all volumesnapshotcontents were listed, and class c keeps them: nobody saw whether a copy of \
         persistentvolumeclaim/data is left"
    );
    // Somebody comes who may do all.
    let allowed = |server: &mut Server| (server.read, server.change) = (true, true);
    allowed(&mut server.lock().unwrap());
    assert_eq!(discarded(&server, &plan).await, Discard::Gone);
    assert!(!server.lock().unwrap().content, "found by its reference, and removed");
}

#[tokio::test(start_paused = true)]
async fn a_copy_that_is_kept_goes_only_where_the_user_named_its_run() {
    // A record that somebody else has written calls a good backup failed; who reads it may or may not look at contents.
    for plan in [plan("Delete", true, true), plan("Delete", false, false)] {
        let server = server("Retain", true, true);
        server.lock().unwrap().kept = true;
        let Discard::Pending(why) = discarded(&server, &plan).await else { panic!("a backup is deleted") };
        assert!(why.contains("kept as a backup"), "{why}");
        assert!(server.lock().unwrap().snapshot && server.lock().unwrap().content);
        assert_eq!(server.lock().unwrap().policy, "Retain");
        assert_eq!(discarded_by(&server, &plan, true).await, Discard::Gone);
        assert!(!server.lock().unwrap().snapshot && !server.lock().unwrap().content);
    }
}

#[tokio::test(start_paused = true)]
async fn a_record_does_not_speak_for_snapshots_of_another_records_run() {
    let elsewhere = |record: &'static str| {
        let server = server("Delete", true, true);
        server.lock().unwrap().record = record;
        server
    };
    assert_eq!(discarded(&elsewhere("demo"), &plan("Delete", true, true)).await, Discard::Gone);
    let victim = elsewhere("victim");
    let Discard::Pending(why) = discarded(&victim, &plan("Delete", true, true)).await else { panic!("it is deleted") };
    assert!(why.contains("does not say that its record lies in namespace demo"), "{why}");
    assert!(victim.lock().unwrap().snapshot && victim.lock().unwrap().content);
    // An older version's snapshot says nothing: its record is believed in its own namespace only.
    let forged = Plan { namespace: "attacker".into(), ..plan("Delete", true, true) };
    let old = elsewhere("");
    assert!(matches!(discarded(&old, &forged).await, Discard::Pending(_)));
    assert!(old.lock().unwrap().snapshot);
}

#[tokio::test(start_paused = true)]
async fn a_snapshot_under_another_name_stays_whatever_its_labels_say() {
    let server = server("Delete", true, true);
    server.lock().unwrap().name = "somebody-elses";
    assert_eq!(discarded(&server, &plan("Delete", true, true)).await, Discard::Gone, "there is none of ours");
    assert!(server.lock().unwrap().snapshot && server.lock().unwrap().content);
}
