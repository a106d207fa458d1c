//! The planner against a small cluster in which everything is right, and then one thing is not.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};

use super::facts::{Facts, Found, WorkloadNow};
use super::*;
use crate::backend::Proof;
use crate::error::Refusal;
use crate::plan::Plan;
use crate::plan::restore::access::Access;
use crate::quiescer::{Probe, Reason};

mod archive;
mod fronts;
mod workloads;

fn from<T: serde::de::DeserializeOwned>(value: Value) -> T {
    serde_json::from_value(value).unwrap()
}

pub(super) fn source() -> Source {
    let claim = json!({"namespace": "demo", "name": "data-pg-0", "uid": "claim-then", "volume": "pv-then",
        "storageClass": "fast", "request": "1Gi", "accessModes": ["ReadWriteOnce"], "volumeMode": "Filesystem",
        "labels": {"app": "pg"}, "driver": "csi.test", "class": "snap", "deletionPolicy": "Delete", "pods": ["pg-0"]});
    let probe = json!({"version": "15.3", "role": "primary", "stopsCommits": false, "dataDirs": [], "settings": [["system_identifier", "7"]], "notes": []});
    let plan: Plan = from(json!({
        "run": "b1", "created": "2026-11-20T10:00:00Z", "namespace": "demo", "request": "statefulset/pg",
        "selections": [], "targets": [{"namespace": "demo", "pod": "pg-0", "podUid": "p", "container": "db",
            "adapter": "postgres", "probe": probe, "wave": 0, "claims": [0]}],
        "claims": [claim], "unheld": [], "budget": 30000, "attempts": 3, "cutErrorPatience": 5000, "estimate": 100,
        "workloads": [{"namespace": "demo", "kind": "StatefulSet", "name": "pg", "uid": "w", "replicas": 1,
            "labels": "app=pg", "owner": null}],
        "contents": {"read": true, "change": true}, "notes": []
    }));
    let proof = Proof {
        snapshot: "s".into(),
        uid: "s-uid".into(),
        content: "c".into(),
        handle: "h".into(),
        cut_at: None,
        restore_size: Some(1 << 30),
    };
    let pods = vec![from(
        json!({"namespace": "demo", "name": "pg-0", "uid": "p", "phase": "Running", "status": "Running",
        "ready": "1/1", "restarts": 0, "node": "n", "images": ["postgres:15.3"], "containers": ["x"], "created": null}),
    )];
    Source {
        plan,
        outcome: "ApplicationConsistent".into(),
        instant: "2026-11-20T10:00:05Z".parse().unwrap(),
        points: vec![from(json!({"lsn": "0/5000060", "timeline": "1"}))],
        ends: Vec::new(),
        proofs: vec![Some(proof)],
        pods,
        notes: Vec::new(),
    }
}

#[test]
fn archived_segments_that_collide_are_named() {
    let mut source = source();
    assert!(in_place(&source, &facts()).unwrap().afterwards.is_empty());
    let settings = [("archive_mode", "on"), ("wal_segment_size", "16777216")];
    source.plan.targets[0].probe.settings.extend(settings.map(|(name, value)| (name.into(), value.into())));
    let left = in_place(&source, &facts()).unwrap().afterwards;
    assert!(left[0].starts_with("demo/pg-0/db: ") && left[0].contains("000000010000000000000005"), "{left:?}");
}

pub(super) fn yes<T: serde::de::DeserializeOwned>(name: &str, value: Value) -> BTreeMap<String, Found<T>> {
    BTreeMap::from([(name.to_owned(), Found::Yes(Box::new(from(value))))])
}

fn beside(suffix: &Suffix) -> Place<'_> {
    Place { suffix: Some(suffix), ..Place::default() }
}

fn snapshot() -> Value {
    json!({"apiVersion": "snapshot.storage.k8s.io/v1", "kind": "VolumeSnapshot",
        "metadata": {"name": "s", "namespace": "demo", "uid": "s-uid"},
        "spec": {"source": {"persistentVolumeClaimName": "data-pg-0"}},
        "status": {"readyToUse": true, "boundVolumeSnapshotContentName": "c", "restoreSize": "1Gi"}})
}

pub(super) fn content() -> Value {
    json!({"apiVersion": "snapshot.storage.k8s.io/v1", "kind": "VolumeSnapshotContent", "metadata": {"name": "c"},
        "spec": {"deletionPolicy": "Retain", "driver": "csi.test", "source": {"volumeHandle": "v"},
            "sourceVolumeMode": "Filesystem", "volumeSnapshotRef": {"name": "s", "namespace": "demo", "uid": "s-uid"}},
        "status": {"snapshotHandle": "h", "readyToUse": true, "restoreSize": 1 << 30}})
}

fn claim() -> Value {
    json!({"metadata": {"name": "data-pg-0", "namespace": "demo", "uid": "claim-now",
            "labels": {"app": "pg", "consistent-backup/restored-from": "older"},
            "annotations": {"pv.kubernetes.io/bind-completed": "yes", "volume.kubernetes.io/selected-node": "n", "team": "db"}},
        "spec": {"accessModes": ["ReadWriteOnce"], "storageClassName": "fast", "volumeMode": "Filesystem",
            "volumeName": "pv-now", "resources": {"requests": {"storage": "2Gi"}}},
        "status": {"phase": "Bound"}})
}

fn pod() -> Value {
    json!({"metadata": {"name": "pg-0", "namespace": "demo", "uid": "p2", "ownerReferences": [
            {"apiVersion": "apps/v1", "kind": "StatefulSet", "name": "pg", "uid": "w", "controller": true}]},
        "spec": {"containers": [{"name": "db"}],
            "volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": "data-pg-0"}}]},
        "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}})
}

fn workload() -> WorkloadNow {
    WorkloadNow {
        uid: "w2".into(),
        replicas: 1,
        labels: "app=pg".into(),
        retention: Some(Retention { when_deleted: "Retain".into(), when_scaled: "Delete".into() }),
        images: vec![("db".into(), "postgres:15.3".into())],
        grace: Duration::from_secs(30),
        ..WorkloadNow::default()
    }
}

pub(super) fn facts() -> Facts {
    Facts {
        now: "2026-11-20T12:00:00Z".parse().unwrap(),
        snapshots: yes("demo/s", snapshot()),
        contents: yes("c", content()),
        claims: yes("demo/data-pg-0", claim()),
        volumes: yes(
            "pv-now",
            json!({"metadata": {"name": "pv-now", "uid": "pv-uid"},
            "spec": {"persistentVolumeReclaimPolicy": "Delete", "claimRef": {"uid": "claim-now"}}}),
        ),
        classes: yes("fast", json!({"metadata": {"name": "fast"}, "provisioner": "csi.test"})),
        pods: vec![from(pod())],
        workloads: BTreeMap::from([("demo/StatefulSet/pg".to_owned(), Found::Yes(Box::new(workload())))]),
        ..Facts::default()
    }
}

pub(super) fn in_place(source: &Source, facts: &Facts) -> Result<RestorePlan, Vec<Refusal>> {
    plan_in_place(source, facts, &request())
}

pub(super) fn request() -> Request {
    Request {
        run: "r1".into(),
        mark: RESTORED_BY,
        wait: Duration::from_secs(600),
        force: Force::default(),
        archive: None,
        properties: Vec::new(),
    }
}

fn refused(source: &Source, facts: &Facts) -> Vec<String> {
    let words = |r: Refusal| format!("{}: {}", r.object, r.message);
    in_place(source, facts).err().unwrap_or_default().into_iter().map(words).collect()
}

/// The only refusal after one thing was changed.
#[track_caller]
fn only(change: impl FnOnce(&mut Source, &mut Facts), part: &str) {
    let (mut source, mut facts) = (source(), facts());
    change(&mut source, &mut facts);
    let refused = refused(&source, &facts);
    assert!(refused.len() == 1 && refused[0].contains(part), "{refused:?}");
}

/// A value with a part replaced, by JSON pointer.
fn with(mut value: Value, pointer: &str, part: Value) -> Value {
    let (parent, key) = pointer.rsplit_once('/').unwrap();
    value.pointer_mut(parent).unwrap()[key] = part;
    value
}

#[test]
fn the_plan_records_all_that_the_way_back_needs() {
    let plan = in_place(&source(), &facts()).unwrap();
    let claim = &plan.claims[0];
    let old = claim.old.as_ref().unwrap();
    assert_eq!((old.uid.as_str(), claim.size.as_str()), ("claim-now", "2Gi"), "it has grown since");
    assert_eq!(
        old.volume,
        Some(Volume { name: "pv-now".into(), uid: "pv-uid".into(), reclaim_policy: "Delete".into() })
    );
    let spec = old.claim.spec.as_ref().unwrap();
    assert_eq!(spec.volume_name.as_deref(), Some("pv-now"));
    assert_eq!(old.claim.metadata.annotations, Some(BTreeMap::from([("team".to_owned(), "db".to_owned())])));
    assert!(old.claim.metadata.uid.is_none() && old.claim.status.is_none());

    let new = claim.new.spec.as_ref().unwrap();
    assert_eq!(new.data_source.as_ref().unwrap().name, "s");
    assert_eq!(new.volume_name, None, "else nothing would be provisioned");
    let labels = claim.new.metadata.labels.as_ref().unwrap();
    assert_eq!(
        (labels["app"].as_str(), labels[RESTORED_FROM].as_str(), labels[RESTORED_BY].as_str()),
        ("pg", "b1", "r1")
    );

    let workload = &plan.workloads[0];
    assert_eq!((workload.uid.as_str(), workload.replicas, workload.start, workload.ready), ("w2", 1, 1, 1));
    assert_eq!(workload.retention.as_ref().unwrap().when_scaled, "Delete");
    assert_eq!((plan.targets[0].workload, plan.leased()), (0, vec![("demo".to_owned(), "pg-0".to_owned())]));
    let text = serde_json::to_string(&plan).unwrap();
    assert_eq!(serde_json::from_str::<RestorePlan>(&text).unwrap(), plan, "a later process reads the same");
}

#[test]
fn each_thing_that_the_provisioner_would_refuse_is_refused_before() {
    let snap = |pointer: &'static str, part: Value| {
        move |_: &mut Source, f: &mut Facts| f.snapshots = yes("demo/s", with(snapshot(), pointer, part))
    };
    only(|_, f| f.snapshots = BTreeMap::from([("demo/s".into(), Found::Unknown("x".into()))]), "could not be read: x");
    only(snap("/metadata/uid", json!("other")), "another one of the same name");
    only(snap("/metadata/deletionTimestamp", json!("2026-11-20T11:00:00Z")), "being deleted");
    only(snap("/status/readyToUse", json!(false)), "not ready");
    only(snap("/status/boundVolumeSnapshotContentName", json!("d")), "not bound to volumesnapshotcontent/c");
    let cont = |pointer: &'static str, part: Value| {
        move |_: &mut Source, f: &mut Facts| f.contents = yes("c", with(content(), pointer, part))
    };
    only(|_, f| f.contents = BTreeMap::from([("c".into(), Found::No)]), "volumesnapshotcontent/c: it is gone");
    only(cont("/metadata/deletionTimestamp", json!("2026-11-20T11:00:00Z")), "being deleted");
    only(cont("/spec/volumeSnapshotRef/uid", json!("other")), "not bound to volumesnapshot/s");
    only(cont("/status/snapshotHandle", json!("other")), "another copy than the proved one");
    only(cont("/spec/driver", json!("csi.other")), "its provisioner is csi.test");
    only(cont("/spec/sourceVolumeMode", json!("Block")), "cut from a Block volume");
    only(|_, f| f.classes = BTreeMap::from([("fast".into(), Found::No)]), "storageclass/fast: it is gone");
    only(|s, _| s.proofs = vec![None], "no proved copy");
    for outcome in ["Failed", "Stuck", "Running"] {
        only(|s, _| s.outcome = outcome.into(), "backup/b1");
    }
}

#[test]
fn the_size_is_the_greatest_that_anybody_asks_for() {
    let size = |snapshot: Value, content: Value, proof: Option<i64>| {
        let (mut source, mut facts) = (source(), facts());
        facts.snapshots = yes("demo/s", with(self::snapshot(), "/status/restoreSize", snapshot));
        facts.contents = yes("c", with(self::content(), "/status/restoreSize", content));
        source.proofs[0].as_mut().unwrap().restore_size = proof;
        in_place(&source, &facts).unwrap().claims[0].size.clone()
    };
    assert_eq!(size(json!("1Gi"), json!(1 << 30), None), "2Gi", "the old claim's");
    assert_eq!(size(json!("3G"), json!(0), None), "3G");
    assert_eq!(size(json!(null), json!(5_i64 << 30), Some(1)), "5Gi");
    assert_eq!(size(json!("1Gi"), json!(null), Some(4 << 30)), "4Gi");
}

#[test]
fn a_changed_volume_mode_may_be_allowed_and_a_crash_consistent_backup_is_a_remark() {
    let (mut source, mut facts) = (source(), facts());
    source.outcome = "CrashConsistent".into();
    source.plan.unheld_claims = vec!["demo/logs".into()];
    let allowed = with(
        content(),
        "/metadata/annotations",
        json!({"snapshot.storage.kubernetes.io/allow-volume-mode-change": "true"}),
    );
    facts.contents = yes("c", with(allowed, "/spec/sourceVolumeMode", json!("Block")));
    let plan = in_place(&source, &facts).unwrap();
    for note in ["only CrashConsistent", "nothing held what was written to claim demo/logs"] {
        assert!(plan.notes.iter().any(|n| n.contains(note)), "{:?}", plan.notes);
    }
}

#[test]
fn what_would_undo_or_suffer_from_the_restore_is_refused() {
    let now = |f: &mut Facts, now: WorkloadNow| {
        f.workloads = BTreeMap::from([("demo/StatefulSet/pg".to_owned(), Found::Yes(Box::new(now)))]);
    };
    only(|_, f| now(f, WorkloadNow { owner: Some("postgresql/pg".into()), ..workload() }), "managed by postgresql/pg");
    only(|_, f| now(f, WorkloadNow { deleting: true, ..workload() }), "statefulset/pg: it is being deleted");
    only(
        |_, f| f.workloads = BTreeMap::from([("demo/StatefulSet/pg".to_owned(), Found::Unknown("403".into()))]),
        "403",
    );
    only(
        |s, f| {
            s.plan.workloads[0].kind = "DaemonSet".into();
            f.pods.clear();
        },
        "cannot be scaled to 0",
    );
    let images = vec![("db".to_owned(), "postgres:16.1".to_owned())];
    only(|_, f| now(f, WorkloadNow { images, ..workload() }), "runs postgres:16.1 now");
    let probe = Probe { version: "16.1".into(), ..Probe::default() };
    only(|_, f| f.probes = vec![Ok(probe)], "its version is 16.1 now");
    only(
        |_, f| f.probes = vec![Err(vec![Reason::new("the append-only file is off")])],
        "pod/pg-0: the append-only file is off",
    );
    // What lies in the data is what a restore is for.
    only(
        |_, f| f.probes = vec![Err(vec![Reason::new("the last write failed").in_data(), Reason::new("fsync is off")])],
        "pod/pg-0: fsync is off",
    );
    only(|_, f| f.unfinished = vec!["b0".into()], "run/b0");
    let owner = json!([{"apiVersion": "batch/v1", "kind": "Job", "name": "dump", "uid": "j", "controller": true}]);
    only(
        |_, f| {
            f.pods.push(from(with(with(pod(), "/metadata/ownerReferences", owner), "/metadata/name", json!("dump-x"))));
        },
        "pod/dump-x mounts it",
    );
    let replica =
        with(pod(), "/spec/volumes", json!([{"name": "d", "persistentVolumeClaim": {"claimName": "data-pg-1"}}]));
    only(
        |_, f| f.pods.push(from(with(replica, "/metadata/name", json!("pg-1")))),
        "its claims (data-pg-1) are not in the backup",
    );
    only(
        |_, f| {
            f.denied = vec![
                Access { verb: "patch", group: "", resource: "persistentvolumes", namespace: None, name: None },
                Access { verb: "get", group: "", resource: "persistentvolumes", namespace: None, name: None },
            ];
        },
        "persistentvolumes: you may not get, patch in the cluster",
    );
}

#[test]
fn old_claims_that_are_no_way_back_are_refused() {
    let change = |pointer: &'static str, part: Value| {
        move |_: &mut Source, f: &mut Facts| f.claims = yes("demo/data-pg-0", with(claim(), pointer, part))
    };
    only(change("/metadata/deletionTimestamp", json!("2026-11-20T11:00:00Z")), "being deleted");
    only(|_, f| f.volumes = BTreeMap::from([("pv-now".into(), Found::No)]), "its volume pv-now is gone");
    only(
        |_, f| {
            f.volumes = yes("pv-now", json!({"metadata": {"name": "pv-now"}, "spec": {"claimRef": {"uid": "other"}}}));
        },
        "is not bound to",
    );
}

/// Seen with a driver that did not answer: the claim stayed Terminating, and the application was down.
#[test]
fn a_claim_that_is_still_cut_is_refused_before_anything_stops() {
    let cut = |ready: Value, labels: Value| -> crate::cluster::snapshots::VolumeSnapshot {
        let metadata = json!({"name": "mine", "namespace": "demo", "uid": "m", "labels": labels});
        from(with(with(snapshot(), "/metadata", metadata), "/status/readyToUse", ready))
    };
    let of_another = from(with(snapshot(), "/spec/source/persistentVolumeClaimName", json!("data-pg-1")));
    let mut facts = facts();
    facts.snapshots_there = vec![cut(json!(true), json!({})), of_another];
    assert!(in_place(&source(), &facts).is_ok(), "what is ready keeps no claim");
    for (labels, hint) in [
        (json!({}), "wait until it is ready, or delete it: kubectl delete volumesnapshot/mine -n demo"),
        (
            json!({"consistent-backup/run": "b7"}),
            "wait until it is ready, or give its backup up: kubectl consistent-backup delete b7 -n demo",
        ),
    ] {
        facts.snapshots_there[0] = cut(json!(null), labels);
        let refusals = in_place(&source(), &facts).unwrap_err();
        assert_eq!(refusals.len(), 1, "{refusals:?}");
        assert_eq!(refusals[0].object, "persistentvolumeclaim/data-pg-0");
        assert!(refusals[0].message.contains("volumesnapshot/mine"), "{refusals:?}");
        assert_eq!(refusals[0].hint.as_deref(), Some(hint));
    }
    let kept = json!(["kubernetes.io/pvc-protection", "snapshot.storage.kubernetes.io/pvc-as-source-protection"]);
    only(
        |_, f| f.claims = yes("demo/data-pg-0", with(claim(), "/metadata/finalizers", kept)),
        "finalizer snapshot.storage.kubernetes.io/pvc-as-source-protection",
    );
}

#[test]
fn a_lost_claim_is_made_anew_from_what_the_backup_recorded() {
    let mut facts = facts();
    facts.claims = BTreeMap::from([("demo/data-pg-0".into(), Found::No)]);
    facts.pods.clear();
    let plan = in_place(&source(), &facts).unwrap();
    assert_eq!((plan.claims[0].old.as_ref(), plan.claims[0].size.as_str()), (None, "1Gi"));
    assert_eq!(plan.claims[0].new.spec.as_ref().unwrap().storage_class_name.as_deref(), Some("fast"));
    assert_eq!((plan.workloads[0].ready, plan.workloads[0].start), (0, 1));
}

#[test]
fn a_workload_that_was_stopped_by_hand_is_started() {
    let mut facts = facts();
    facts.pods.clear();
    let stopped = WorkloadNow { replicas: 0, ..workload() };
    facts.workloads = BTreeMap::from([("demo/StatefulSet/pg".to_owned(), Found::Yes(Box::new(stopped)))]);
    let plan = in_place(&source(), &facts).unwrap();
    assert_eq!((plan.workloads[0].replicas, plan.workloads[0].start), (0, 1));
}

#[test]
fn all_refusals_come_at_once() {
    let (mut source, mut facts) = (source(), facts());
    source.outcome = "Failed".into();
    facts.snapshots.clear();
    facts.contents.clear();
    facts.classes = BTreeMap::from([("fast".into(), Found::No)]);
    facts.workloads.clear();
    facts.volumes.clear();
    let objects: Vec<String> = in_place(&source, &facts).unwrap_err().into_iter().map(|r| r.object).collect();
    for object in [
        "backup/b1",
        "volumesnapshotcontent/c",
        "storageclass/fast",
        "statefulset/pg",
        "persistentvolumeclaim/data-pg-0",
    ] {
        assert!(objects.iter().any(|o| o == object), "{object} is not among {objects:?}");
    }
}

#[test]
fn the_commands_in_hints_go_to_the_cluster_that_was_chosen() {
    let (mut source, mut facts) = (source(), facts());
    source.outcome = "Running".into();
    facts.unfinished = vec!["b0".into()];
    facts.typed = crate::typed::Typed::new([("--context", "prod".to_owned())]);
    let hints: Vec<String> = in_place(&source, &facts).unwrap_err().into_iter().filter_map(|r| r.hint).collect();
    for run in ["b0", "b1"] {
        let thaw = format!("`kubectl consistent-backup thaw {run} -n demo --context prod`");
        assert!(hints.iter().any(|hint| hint.contains(&thaw)), "no {thaw} in {hints:?}");
    }
}

#[test]
fn a_quota_counts_only_what_is_added() {
    let quota = |hard: Value, used: Value| {
        from(json!({"metadata": {"name": "q", "namespace": "demo"}, "status": {"hard": hard, "used": used}}))
    };
    let mut facts = facts();
    facts.quotas = vec![quota(
        json!({"persistentvolumeclaims": "1", "requests.storage": "2Gi", "fast.storageclass.storage.k8s.io/requests.storage": "2Gi"}),
        json!({"persistentvolumeclaims": "1", "requests.storage": "2Gi", "fast.storageclass.storage.k8s.io/requests.storage": "2Gi"}),
    )];
    assert!(in_place(&source(), &facts).is_ok(), "the old claim goes first");
    let suffix = Suffix::new("x").unwrap();
    let refusals = plan_copies(&source(), &facts, &beside(&suffix)).unwrap_err();
    assert_eq!(refusals.len(), 3, "a copy comes on top: {refusals:?}");
}

#[test]
fn copies_bear_no_label_of_the_workload_and_are_known_again() {
    let suffix = Suffix::new("check").unwrap();
    let mut facts = facts();
    let copies = plan_copies(&source(), &facts, &beside(&suffix)).unwrap();
    let copy = &copies.claims[0];
    assert_eq!((copy.new_name.as_str(), copy.size.as_str(), copy.exists), ("data-pg-0-check", "2Gi", false));
    let labels = copy.new.metadata.labels.as_ref().unwrap();
    assert!(!labels.contains_key("app") && labels[RESTORED_FROM] == "b1");
    facts.claims.insert("demo/data-pg-0-check".into(), Found::Yes(Box::new(copy.new.clone())));
    assert!(plan_copies(&source(), &facts, &beside(&suffix)).unwrap().claims[0].exists, "made by an earlier call");
    facts.classes = BTreeMap::from([("fast".into(), Found::Unknown("403".into()))]);
    assert!(plan_copies(&source(), &facts, &beside(&suffix)).is_ok(), "not everybody may read classes");
    let mut foreign = copy.new.clone();
    foreign.metadata.labels = None;
    facts.claims.insert("demo/data-pg-0-check".into(), Found::Yes(Box::new(foreign)));
    assert!(plan_copies(&source(), &facts, &beside(&suffix)).unwrap_err()[0].message.contains("exists already"));
}

#[test]
fn copies_that_bind_when_they_are_used_are_told_once() {
    let suffix = Suffix::new("check").unwrap();
    let (mut source, mut facts) = (source(), facts());
    assert!(plan_copies(&source, &facts, &beside(&suffix)).unwrap().notes.is_empty());
    let class =
        json!({"metadata": {"name": "fast"}, "provisioner": "csi.test", "volumeBindingMode": "WaitForFirstConsumer"});
    facts.classes = yes("fast", class);
    let (second, proof) = (source.plan.claims[0].clone(), source.proofs[0].clone());
    source.plan.claims.push(second);
    source.proofs.push(proof);
    let notes = plan_copies(&source, &facts, &beside(&suffix)).unwrap().notes;
    assert_eq!(notes, ["claims of storage class fast stay Pending until a pod uses them: only then are they filled"]);
}

#[test]
fn suffixes_must_end_a_name() {
    for text in ["", "-a", "a-", "A", "a b", "a_b", "a/b"] {
        assert!(Suffix::new(text).is_err(), "{text}");
    }
    assert_eq!(Suffix::new("2").unwrap().as_str(), "2");
    let mut source = source();
    source.plan.claims[0].name = "c".repeat(252);
    let refusals = plan_copies(&source, &facts(), &beside(&Suffix::new("xx").unwrap())).unwrap_err();
    assert!(refusals.iter().any(|r| r.message.contains("253")), "{refusals:?}");
}
