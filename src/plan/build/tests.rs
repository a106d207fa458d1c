//! The planner's rules, one by one and all together.

use std::time::Duration;

use serde_json::{Value, json};

use super::super::fixture::{FAKES, facts, full, light, pod};
use super::super::{Facts, Plan, Probed, Request, detect};
use super::*;
use crate::quiescer::{Probe, Reason};

fn request() -> Request {
    Request::new("demo", &["statefulset/db".into()], None).unwrap()
}

fn planned(facts: &Facts, probes: &[Probed]) -> Result<Plan, Vec<String>> {
    planned_as(facts, probes, &request())
}

/// Refusals as `OBJECT: MESSAGE`.
fn planned_as(facts: &Facts, probes: &[Probed], request: &Request) -> Result<Plan, Vec<String>> {
    let detection = detect(facts, FAKES);
    assert_eq!(detection.targets.len(), probes.len());
    plan(facts, &detection, probes, request, "r1", "2026-11-20T10:00:00Z".parse().unwrap()).map_err(|refusals| {
        let texts = refusals.into_iter().map(|r| format!("{}: {}", r.object, r.message));
        texts.collect()
    })
}

fn refused(pods: &[Value], probes: &[Probed]) -> Vec<String> {
    planned(&facts(pods), probes).unwrap_err()
}

/// Says what is on a claim.
fn annotate(facts: &mut Facts, claim: &str, role: &str) {
    let claim = facts.claims.get_mut(&("demo".into(), claim.into())).unwrap();
    claim.metadata.annotations = Some([(super::super::ROLE.to_owned(), role.to_owned())].into());
}

#[test]
fn a_plan_of_two_databases() {
    let pods = [pod("a", &["mysql"], &["my"]), pod("b", &["postgres"], &["pg"]), pod("c", &["app"], &[])];
    let plan = planned(&facts(&pods), &[full(&["/my/data"]), light(&["/pg"])]).unwrap();
    let targets: Vec<_> = plan.targets.iter().map(|t| (t.path(), t.adapter.as_str(), t.claims.clone())).collect();
    assert_eq!(targets, [("demo/a/mysql".into(), "mysql", vec![0]), ("demo/b/postgres".into(), "postgres", vec![1])]);
    let claims: Vec<_> = plan.claims.iter().map(|c| (c.name.as_str(), c.driver.as_str(), c.class.as_str())).collect();
    assert_eq!(claims, [("my", "d1", "fast"), ("pg", "d1", "fast")]);
    assert_eq!((plan.claims[0].request.as_str(), plan.claims[0].volume_mode.as_str()), ("1Gi", "Filesystem"));
    assert_eq!(plan.claims[0].pods, ["a"]);
    assert_eq!(plan.claims[0].labels.get("app").map(String::as_str), Some("db"));
    assert_eq!((plan.namespace.as_str(), plan.request.as_str()), ("demo", "statefulset/db"));
    assert!(plan.notes.is_empty() && plan.unheld.is_empty(), "{:?}", plan.notes);
    assert_eq!(plan.longest_hold(), Duration::from_secs(90));
    assert_eq!(plan.targets[0].pod_uid, "uid-a");
}

/// A pod of a StatefulSet, whose database is a replica or says what its replicas know it by.
fn member(name: &str, claims: &[&str], role: &str, replication: &str) -> (Value, Probed) {
    let mut value = pod(name, &["redis"], claims);
    value["metadata"]["ownerReferences"] =
        json!([{"apiVersion": "apps/v1", "kind": "StatefulSet", "name": "redis", "uid": "set", "controller": true}]);
    let probe = full(&[&format!("/{}", claims[0])]).map(|probe| Probe {
        role: role.into(),
        replication: replication.into(),
        ..probe
    });
    (value, probe)
}

#[test]
fn a_read_replica_is_left_out_in_one_line() {
    // Told by what both know; or, where nothing is told, by their workload. Independent ones are all held.
    for (theirs, ours) in [("7f", "7f"), ("", ""), ("7f", "")] {
        let (a, of_a) = member("r-0", &["d0"], "master", theirs);
        let (b, of_b) = member("r-1", &["d1", "log"], "replica", ours);
        let plan = planned(&facts(&[a, b]), &[of_a, of_b]).unwrap();
        assert_eq!(
            (plan.targets.len(), plan.targets[0].pod.as_str(), plan.targets[0].claims.clone()),
            (1, "r-0", vec![0])
        );
        assert_eq!(plan.claims.iter().map(|c| c.name.as_str()).collect::<Vec<_>>(), ["d0"]);
        let replica = &plan.replicas[0];
        assert_eq!((replica.of.as_str(), replica.claims.as_slice()), ("demo/r-0/redis", &["d1".to_owned()][..]));
        assert_eq!(
            plan.notes,
            [
                "persistentvolumeclaim/log: is not cut (mounted by a read replica), and a restore does not replace it",
                "pod/r-1: a read replica of demo/r-0/redis: it is not held, and persistentvolumeclaim/d1 is not cut; a \
                 restore replaces that by an empty one, from which the replica has to start by itself"
            ]
        );
    }
    let (a, of_a) = member("r-0", &["d0"], "master", "1");
    let (b, of_b) = member("r-1", &["d1"], "master", "2");
    let plan = planned(&facts(&[a, b]), &[of_a, of_b]).unwrap();
    assert_eq!((plan.targets.len(), plan.claims.len(), plan.replicas.len()), (2, 2, 0));
}

#[test]
fn a_replica_without_its_primary_is_refused() {
    let (a, of_a) = member("r-0", &["d0"], "master", "7f");
    let (b, of_b) = member("r-1", &["d1"], "lost replica", "80");
    let expected = ["pod/r-1: is a replica, and its primary is not among what is to be backed up"];
    assert_eq!(planned(&facts(&[a, b.clone()]), &[of_a, of_b.clone()]).unwrap_err(), expected);
    assert_eq!(planned(&facts(&[b]), &[of_b]).unwrap_err(), expected);
    // Another kind of database, and no workload in common.
    let (c, of_c) = member("r-1", &["d1"], "replica", "");
    let other = pod("m-0", &["mysql"], &["my"]);
    assert_eq!(planned(&facts(&[other, c]), &[full(&["/my"]), of_c]).unwrap_err(), expected);
}

#[test]
fn two_databases_of_one_pod_share_a_claim_that_is_cut_once() {
    let mut value = pod("a", &["mysql", "redis"], &["data"]);
    value["spec"]["containers"][1]["volumeMounts"] = json!([{"name": "data", "mountPath": "/r", "subPath": "redis"}]);
    let plan = planned(&facts(&[value]), &[full(&["/data/mysql"]), full(&["/r"])]).unwrap();
    assert_eq!(plan.claims.len(), 1);
    assert!(plan.targets.iter().all(|t| t.claims == [0]));
}

#[test]
fn a_pod_that_does_not_serve_is_refused() {
    let with = |change: &dyn Fn(&mut Value)| {
        let mut value = pod("a", &["mysql"], &["my"]);
        change(&mut value);
        refused(&[value], &[full(&["/my"])])
    };
    assert_eq!(with(&|p| p["status"]["phase"] = json!("Pending")), ["pod/a: is Pending, not Running"]);
    assert_eq!(
        with(&|p| p["metadata"]["deletionTimestamp"] = json!("2026-11-20T10:00:00Z")),
        ["pod/a: is Terminating, not Running"]
    );
    assert_eq!(
        with(&|p| {
            p["status"]["conditions"][0]["status"] = json!("False");
            p["status"]["containerStatuses"][0]["ready"] = json!(false);
        }),
        ["pod/a: is not ready (Running 0/1)"]
    );
}

#[test]
fn a_directory_must_lie_on_a_claim() {
    let mut value = pod("a", &["mysql"], &["my"]);
    value["spec"]["volumes"][0] = json!({"name": "my", "emptyDir": {}});
    assert_eq!(
        refused(&[value], &[full(&["/my/data"])]),
        ["pod/a: directory /my/data lies on emptyDir `my`, which cannot be cut"]
    );
    assert_eq!(
        refused(&[pod("a", &["mysql", "x"], &["my"])], &[full(&["/var/lib/mysql"])]),
        [
            "pod/a: container mysql: directory /var/lib/mysql lies on the container's own file system, which cannot be cut"
        ]
    );
    assert_eq!(refused(&[pod("a", &["mysql"], &["my"])], &[full(&[])]), ["pod/a: mysql names no directory of its own"]);
}

#[test]
fn several_claims_of_one_database_are_refused() {
    let value = pod("a", &["mysql"], &["data", "log"]);
    assert_eq!(
        refused(&[value], &[full(&["/data", "/log"])]),
        ["pod/a: its directories lie on several claims (data, log), which cannot be cut at one instant"]
    );
    let value = pod("a", &["postgres"], &["data", "wal"]);
    assert_eq!(
        refused(std::slice::from_ref(&value), &[light(&["/data"])]),
        [
            "pod/a: postgres is not stopped for the cut, and its container mounts several claims (data, wal), which cannot be \
          cut at one instant"
        ]
    );
    let mut facts = facts(&[value]);
    annotate(&mut facts, "wal", "archive");
    let plan = planned(&facts, &[light(&["/data"])]).unwrap();
    assert_eq!(plan.claims.len(), 1);
    assert_eq!(
        plan.notes,
        ["persistentvolumeclaim/wal: is not cut (annotated as an archive), and a restore does not replace it"]
    );
    assert_eq!(
        planned(&facts, &[light(&["/data", "/wal"])]).unwrap_err(),
        ["pod/a: directory /wal lies on claim wal, which is left out (annotated as an archive)"]
    );
}

#[test]
fn a_claim_to_which_wal_is_archived_is_left_out() {
    let archiving = |dirs: &[&str], archive: &str| {
        light(dirs).map(|probe| Probe { archive_dirs: vec![archive.to_owned()], ..probe })
    };
    let pods = [pod("a", &["postgres"], &["data", "wal"])];
    let plan = planned(&facts(&pods), &[archiving(&["/data/pg"], "/wal/of/a")]).unwrap();
    assert_eq!(plan.claims.iter().map(|c| c.name.as_str()).collect::<Vec<_>>(), ["data"]);
    assert_eq!(
        plan.notes,
        [
            "persistentvolumeclaim/wal: is not cut (pod/a archives its WAL in /wal/of/a on it), and a restore does not replace it"
        ]
    );
    // Beside its data, or beside another's, it is no archive.
    assert_eq!(
        planned(&facts(&[pod("a", &["postgres"], &["data"])]), &[archiving(&["/data"], "/data/wal")])
            .unwrap()
            .claims
            .len(),
        1
    );
    let two = [pod("a", &["postgres"], &["data", "wal"]), pod("b", &["mysql"], &["wal"])];
    assert!(planned(&facts(&two), &[archiving(&["/data"], "/wal"), full(&["/wal/my"])]).is_err());
}

#[test]
fn a_claim_is_excluded_by_hand() {
    let excluding = |claims: &[&str], probe: Probed| {
        let exclude = claims.iter().map(|&c| c.to_owned()).collect();
        planned_as(&facts(&[pod("a", &["postgres"], &["data", "wal"])]), &[probe], &Request { exclude, ..request() })
    };
    let plan = excluding(&["wal"], light(&["/data"])).unwrap();
    assert_eq!(plan.claims.len(), 1);
    assert_eq!(
        plan.notes,
        ["persistentvolumeclaim/wal: is not cut (excluded by --exclude-claim), and a restore does not replace it"]
    );
    assert_eq!(
        excluding(&["wal", "wall"], light(&["/data", "/wal"])).unwrap_err(),
        [
            "persistentvolumeclaim/wall: is to be excluded, but no selected pod mounts it",
            "pod/a: directory /wal lies on claim wal, which is left out (excluded by --exclude-claim)"
        ]
    );
}

#[test]
fn a_claim_beside_a_stopped_database_is_cut_and_told() {
    let plan = planned(&facts(&[pod("a", &["mysql"], &["data", "dumps"])]), &[full(&["/data"])]).unwrap();
    assert_eq!((plan.claims.len(), &plan.targets[0].claims[..]), (2, &[0][..]));
    assert_eq!(
        plan.notes,
        [
            "persistentvolumeclaim/dumps: holds no directory of the database in pod/a, and nothing holds what is written to \
          it: the backup is crash-consistent at best; if a restore does not need it, leave it out with the claim's annotation \
          consistent-backup/role=none"
        ]
    );
    assert_eq!(plan.unheld_claims, ["demo/dumps"]);
}

#[test]
fn a_claim_beside_a_database_that_is_not_needed_or_not_written_to_spoils_nothing() {
    let mut value = pod("a", &["mysql"], &["data", "logs"]);
    let mut without = facts(std::slice::from_ref(&value));
    annotate(&mut without, "logs", "none");
    let plan = planned(&without, &[full(&["/data"])]).unwrap();
    assert_eq!((plan.claims.len(), plan.unheld_claims.len()), (1, 0));
    assert_eq!(
        plan.notes,
        ["persistentvolumeclaim/logs: is not cut (annotated as not needed), and a restore does not replace it"]
    );
    value["spec"]["containers"][0]["volumeMounts"][1]["readOnly"] = json!(true);
    let plan = planned(&facts(&[value]), &[full(&["/data"])]).unwrap();
    assert_eq!((plan.claims.len(), plan.unheld_claims.len(), plan.notes.len()), (2, 0, 0));
}

#[test]
fn only_one_database_may_go_on_committing() {
    let pods = [pod("a", &["postgres"], &["a1"]), pod("b", &["postgres"], &["b1"])];
    assert_eq!(
        refused(&pods, &[light(&["/a1"]), light(&["/b1"])]),
        ["pod/a, pod/b: are not stopped for their cuts, so the cuts of more than one of them have no common instant"]
    );
}

#[test]
fn an_unknown_writer_is_refused_unless_annotated() {
    assert_eq!(
        refused(&[pod("a", &["app"], &["files"])], &[]),
        ["pod/a: container app mounts claim files and is no database that is known"]
    );
    let mut value = pod("a", &["mysql"], &["files"]);
    value["metadata"]["annotations"] = json!({super::super::ADAPTER: "none"});
    let plan = planned(&facts(&[value.clone()]), &[]).unwrap();
    assert_eq!((plan.unheld, plan.claims.len(), plan.targets.len()), (vec!["demo/a".to_owned()], 1, 0));
    assert_eq!(plan.notes, ["demo/a: nothing is held, as its annotation asks: the backup is crash-consistent at best"]);

    let mut two = pod("a", &["mysql"], &["x", "y"]);
    two["metadata"]["annotations"] = value["metadata"]["annotations"].clone();
    assert_eq!(
        refused(&[two.clone()], &[]),
        ["pod/a: nothing is held, and its claims (x, y) cannot be cut at one instant: the copy would not even be \
          crash-consistent"]
    );
    let mut without = facts(&[two]);
    annotate(&mut without, "y", "archive");
    assert_eq!(planned(&without, &[]).unwrap().claims.len(), 1);
}

#[test]
fn a_writer_beside_a_database() {
    let mut value = pod("a", &["mysql", "app"], &["my", "files"]);
    let mounts = value["spec"]["containers"][0]["volumeMounts"].as_array().unwrap().clone();
    value["spec"]["containers"][0]["volumeMounts"] = json!([mounts[0]]);
    value["spec"]["containers"][1]["volumeMounts"] = json!(mounts);
    assert_eq!(
        refused(&[value.clone()], &[full(&["/my"])]),
        ["pod/a: container app mounts claim files and is no database that is known"]
    );
    value["metadata"]["annotations"] = json!({"consistent-backup/adapter.app": "none"});
    let plan = planned(&facts(&[value]), &[full(&["/my"])]).unwrap();
    assert_eq!((plan.unheld.len(), plan.claims.len()), (1, 2));
}

#[test]
fn a_claim_that_nobody_mounts_is_cut_too() {
    let mut value = pod("a", &["mysql"], &["my", "spare"]);
    value["spec"]["containers"][0]["volumeMounts"].as_array_mut().unwrap().pop();
    let plan = planned(&facts(&[value]), &[full(&["/my"])]).unwrap();
    assert_eq!((plan.claims.len(), plan.notes.len()), (2, 0));
}

#[test]
fn a_claim_must_be_bound_to_a_volume_that_can_be_cut() {
    let with = |change: &dyn Fn(&mut Facts)| {
        let mut facts = facts(&[pod("a", &["mysql"], &["my"])]);
        change(&mut facts);
        planned(&facts, &[full(&["/my"])]).unwrap_err()
    };
    let claim = |facts: &mut Facts, text: Value| {
        let key = ("demo".to_owned(), "my".to_owned());
        let mut value = serde_json::to_value(&facts.claims[&key]).unwrap();
        for (field, new) in text.as_object().unwrap() {
            value[field] = new.clone();
        }
        facts.claims.insert(key, serde_json::from_value(value).unwrap());
    };
    let volume = |facts: &mut Facts, value: Value| {
        let volumes = facts.volumes.as_mut().unwrap();
        volumes.insert("pv-my".into(), serde_json::from_value(value).unwrap());
    };
    let my = |text: &str| vec![format!("persistentvolumeclaim/my: {text}")];
    assert_eq!(with(&|f| f.claims.clear()), my("does not exist"));
    assert_eq!(with(&|f| claim(f, json!({"status": {"phase": "Pending"}}))), my("is Pending, not Bound"));
    assert_eq!(with(&|f| claim(f, json!({"status": {"phase": "Lost"}}))), my("is Lost, not Bound"));
    assert_eq!(
        with(&|f| claim(f, json!({"metadata": {"deletionTimestamp": "2026-11-20T10:00:00Z"}}))),
        my("is being deleted")
    );
    assert_eq!(
        with(&|f| volume(f, json!({"metadata": {}, "spec": {"capacity": {}, "hostPath": {"path": "/x"}}}))),
        my("its volume pv-my is of type hostPath, not CSI")
    );
    assert_eq!(with(&|f| f.volumes.as_mut().unwrap().clear()), my("its volume pv-my does not exist"));
    assert_eq!(
        with(&|f| volume(f, json!({"metadata": {"deletionTimestamp": "2026-11-20T10:00:00Z"}}))),
        ["persistentvolume/pv-my: is being deleted"]
    );
    assert_eq!(
        with(&|f| f.classes.as_mut().unwrap().clear()),
        my("there is no VolumeSnapshotClass for its volume's driver d1")
    );
}

#[test]
fn what_could_not_be_read_is_refused_once() {
    let mut facts = facts(&[pod("a", &["mysql"], &["my"]), pod("b", &["redis"], &["re"])]);
    (facts.volumes, facts.classes) = (None, None);
    facts.refusals.push(Refusal::new("persistentvolumes", "may not be read"));
    let refusals = planned(&facts, &[full(&["/my"]), full(&["/re"])]).unwrap_err();
    assert_eq!(refusals, ["persistentvolumes: may not be read"]);
}

#[test]
fn a_long_hold_is_refused_with_the_figures() {
    let claims: Vec<String> = (0..10).map(|i| format!("c{i}")).collect();
    let pods: Vec<Value> = claims.iter().map(|c| pod(c, &["redis"], &[c])).collect();
    let probes: Vec<Probed> = claims.iter().map(|c| full(&[&format!("/{c}")])).collect();
    let short = Request { budget: Duration::from_secs(5), ..request() };
    assert_eq!(
        planned_as(&facts(&pods), &probes, &short).unwrap_err(),
        ["statefulset/db: the cuts of 10 claims are estimated to take 6.5s, longer than databases may be held (5s)"]
    );
    assert!(planned(&facts(&pods), &probes).is_ok());
}

#[test]
fn nothing_to_back_up_is_said() {
    assert_eq!(
        refused(&[pod("a", &["app"], &[])], &[]),
        ["statefulset/db: there is nothing to back up: no selected pod has a claim"]
    );
}

#[test]
fn an_unselected_writer_to_a_claim_is_told() {
    let mut facts = facts(&[pod("a", &["mysql"], &["my"])]);
    facts.others = vec![serde_json::from_value(pod("z", &["x"], &["my"])).unwrap()];
    let plan = planned(&facts, &[full(&["/my"])]).unwrap();
    assert_eq!(plan.claims[0].pods, ["a", "z"]);
    assert_eq!(
        plan.notes,
        [
            "persistentvolumeclaim/my: is also mounted by pod/z, where nothing is held: the backup is crash-consistent at \
          best; let only the database write there meanwhile, or mount the claim read-only in the other pods"
        ]
    );
    assert_eq!(plan.unheld_claims, ["demo/my"]);

    let mut reader = pod("z", &["x"], &["my"]);
    reader["spec"]["volumes"][0]["persistentVolumeClaim"]["readOnly"] = json!(true);
    facts.others = vec![serde_json::from_value(reader).unwrap()];
    let plan = planned(&facts, &[full(&["/my"])]).unwrap();
    assert!(plan.notes.is_empty() && plan.unheld_claims.is_empty(), "one that only reads spoils nothing");
}

#[test]
fn a_selected_pod_that_writes_to_a_databases_claim_is_no_part_of_the_hold() {
    let plan =
        planned(&facts(&[pod("a", &["mysql"], &["my"]), pod("b", &["app"], &["my"])]), &[full(&["/my"])]).unwrap();
    assert_eq!(plan.unheld_claims, ["demo/my"]);
    assert!(plan.notes[0].contains("also mounted by pod/b, where nothing is held"), "{:?}", plan.notes);
    let sidecar = pod("a", &["mysql", "exporter"], &["my"]);
    assert!(planned(&facts(&[sidecar]), &[full(&["/my"])]).unwrap().unheld_claims.is_empty());
}

#[test]
fn contents_out_of_reach_are_told() {
    let mut facts = facts(&[pod("a", &["mysql"], &["my"])]);
    (facts.contents.read, facts.contents.change) = (false, false);
    let plan = planned(&facts, &[full(&["/my"])]).unwrap();
    assert_eq!(plan.notes.len(), 2);
    assert_eq!(plan.notes[1], "volumesnapshotcontents may not be changed: the backup dies with its namespace");
    assert_eq!(plan.estimate, Duration::from_millis(1500));
}

#[test]
fn contents_that_their_class_keeps_and_nobody_may_delete_are_told() {
    let mut facts = facts(&[pod("a", &["mysql"], &["my"])]);
    facts.contents_stay = true;
    assert_eq!(planned(&facts, &[full(&["/my"])]).unwrap().notes, Vec::<String>::new());
    facts.classes.as_mut().unwrap()[0].deletion_policy = "Retain".into();
    let notes = planned(&facts, &[full(&["/my"])]).unwrap().notes;
    assert!(notes.len() == 1 && notes[0].contains("may not be deleted, and class fast"), "{notes:?}");
}

#[test]
fn all_reasons_come_at_once() {
    let mut ill = pod("b", &["postgres"], &["pg"]);
    ill["status"]["phase"] = json!("Pending");
    let mut facts = facts(&[pod("a", &["mysql"], &["my"]), ill, pod("c", &["app"], &["files"])]);
    facts.claims.get_mut(&("demo".into(), "my".into())).unwrap().status = None;
    facts.refusals.push(Refusal::new("pods", "may not be watched"));
    let probes = [Err(vec![Reason::new("no password"), Reason::new("is a replica")]), Err(vec![])];
    let mut refusals = planned(&facts, &probes).unwrap_err();
    refusals.sort();
    assert_eq!(
        refusals,
        [
            "persistentvolumeclaim/my: is Pending, not Bound",
            "pod/a: is a replica",
            "pod/a: no password",
            "pod/b: is Pending, not Running",
            "pod/c: container app mounts claim files and is no database that is known",
            "pods: may not be watched",
        ]
    );
}
