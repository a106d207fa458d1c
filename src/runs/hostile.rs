//! Records that somebody else has written: whoever may write ConfigMaps may write these.
#![allow(clippy::unwrap_used)]

use serde_json::{Value, json};

use super::*;

fn stored(name: &str) -> Stored {
    let text = match name {
        "backup" => include_str!("../../tests/fixtures/journals/backup-1.json"),
        _ => include_str!("../../tests/fixtures/journals/restore-1.json"),
    };
    Stored::new(serde_json::from_str(text).unwrap())
}

/// The record with one field of its plan changed.
fn with(name: &str, field: &str, value: &Value) -> Stored {
    let mut stored = stored(name);
    let mut plan: Value = serde_json::from_str(&stored.data["plan"]).unwrap();
    if let Some(at) = plan.pointer_mut(field) {
        *at = value.clone();
    } else {
        let (parent, key) = field.rsplit_once('/').unwrap();
        plan.pointer_mut(parent).unwrap().as_object_mut().unwrap().insert(key.to_owned(), value.clone());
    }
    stored.data.insert("plan".into(), plan.to_string());
    stored
}

/// Every path to a value that is no map or list.
fn leaves(value: &Value, at: &str, all: &mut Vec<String>) {
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                leaves(value, &format!("{at}/{}", key.replace('~', "~0").replace('/', "~1")), all);
            }
        }
        Value::Array(list) => list.iter().enumerate().for_each(|(n, value)| leaves(value, &format!("{at}/{n}"), all)),
        _ => all.push(at.to_owned()),
    }
}

#[test]
fn a_record_with_an_impossible_field_is_refused_by_name() {
    let privileged = json!({"metadata": {"name": "evil", "namespace": "kube-system"},
        "spec": {"hostPID": true, "containers": [{"name": "c"}]}});
    for (name, field, value) in [
        ("backup", "/run", json!("another-run")),
        ("backup", "/run", json!("x$(touch /tmp/pwned)")),
        ("backup", "/namespace", json!("kube-system")),
        ("backup", "/budget", json!(u64::MAX)),
        ("backup", "/cutErrorPatience", json!(u64::MAX)),
        ("backup", "/targets", json!([])),
        ("backup", "/attempts", json!(255)),
        ("backup", "/claims/0/pods", json!(vec!["p"; 6000])),
        ("restore", "/pods", json!(vec!["a/b"; 6000])),
        ("backup", "/firstTargets", json!({"waves": [0], "stopsCommits": [true], "archives": []})),
        ("backup", "/firstTargets", json!({"waves": [0, 0, 0], "stopsCommits": [true], "archives": []})),
        ("backup", "/firstTargets", json!({"waves": [0, 0, 0], "stopsCommits": [true, true, true], "archives": [7]})),
        ("backup", "/targets/0/namespace", json!("a/../../kube-system")),
        ("backup", "/targets/0/pod", json!("x?fieldManager=y")),
        ("backup", "/targets/0/podUid", json!("")),
        ("backup", "/targets/0/container", json!("a b")),
        ("backup", "/targets/0/adapter", json!("$(id)")),
        ("backup", "/targets/0/claims", json!([99])),
        ("backup", "/targets/0/probe/dataDirs", json!(["--help"])),
        ("backup", "/targets/0/probe/settings/0/1", json!("a\nsystem id")),
        ("backup", "/claims/0/name", json!("")),
        ("backup", "/claims/0/uid", json!("")),
        ("backup", "/claims/0/volume", json!("../nodes")),
        ("backup", "/claims/0/deletionPolicy", json!("Maybe")),
        ("backup", "/workloads/0/uid", json!("")),
        ("backup", "/notes", json!(["\u{1b}]52;c;eA==\u{7}"])),
        (
            "backup",
            "/stopped",
            json!([{"namespace": "kube-system", "kind": "Pod", "name": "db", "uid": "u", "labels": "",
            "replicas": 1, "start": 1, "ready": 1, "retention": null, "grace": 0, "pod": privileged}]),
        ),
        ("restore", "/run", json!("another-run")),
        ("restore", "/backup/run", json!("`id`")),
        ("restore", "/namespace", json!("kube-system")),
        ("restore", "/wait", json!(u64::MAX)),
        ("restore", "/workloads/0/uid", json!("")),
        ("restore", "/workloads/0/kind", json!("ClusterRole")),
        ("restore", "/workloads/0/replicas", json!(-1)),
        ("restore", "/workloads/0/pod", privileged.clone()),
        ("restore", "/claims/0/old/uid", json!("")),
        ("restore", "/claims/0/old/volume/uid", json!("")),
        ("restore", "/claims/0/old/volume/name", json!("a/b")),
        ("restore", "/claims/0/old/volume/reclaimPolicy", json!("Scrub")),
        ("restore", "/claims/0/new/metadata/name", json!("another")),
        ("restore", "/claims/0/new/metadata/namespace", json!("kube-system")),
        ("restore", "/claims/0/old/claim/metadata/namespace", json!("kube-system")),
        ("restore", "/claims/0/snapshot", json!("a b")),
        ("restore", "/targets/0/workload", json!(9)),
        ("restore", "/pods/0", json!("no-namespace")),
        ("restore", "/selections/0/namespace", json!("")),
    ] {
        let forged = with(name, field, &value);
        let refused = item(&forged).err().unwrap_or_else(|| panic!("{name} with {field} = {value} is read"));
        let told = refused.to_string();
        assert!(told.contains(&forged.name), "{told}");
        assert!(!told.chars().any(char::is_control), "{told}");
    }
}

#[test]
fn a_record_is_of_the_run_that_its_name_and_label_say() {
    for name in ["backup", "restore"] {
        assert!(item(&stored(name)).is_ok());
        let mut elsewhere = stored(name);
        elsewhere.namespace = "another".into();
        assert!(item(&elsewhere).unwrap_err().to_string().contains("lies in namespace"));
        let mut labelled = stored(name);
        labelled.run = "20260101-000000-aaaa".into();
        assert!(item(&labelled).unwrap_err().to_string().contains("another run"));
        let mut named = stored(name);
        named.name = "consistent-backup-20260101-000000-aaaa".into();
        assert!(item(&named).unwrap_err().to_string().contains("another run"));
    }
}

#[test]
fn volumes_that_are_kept_are_checked_too() {
    let mut forged = stored("restore");
    let kept = json!({"golden/data-redis-0": {"name": "pv", "uid": "", "reclaimPolicy": "Delete"}});
    forged.data.insert("volumes.kept".into(), kept.to_string());
    assert!(item(&forged).unwrap_err().to_string().contains("uid"));
}

#[test]
fn whatever_stands_in_a_plan_nothing_panics() {
    let values = [
        json!(""),
        json!("\u{1b}[31m"),
        json!("../../x"),
        json!(-1),
        json!(u64::MAX),
        json!(i64::MIN),
        json!(null),
        json!([]),
        json!({}),
        json!(true),
        json!("x".repeat(70_000)),
    ];
    for name in ["backup", "restore"] {
        let plan: Value = serde_json::from_str(&stored(name).data["plan"]).unwrap();
        let mut all = Vec::new();
        leaves(&plan, "", &mut all);
        assert!(all.len() > 50);
        // The lists themselves: what has fewer targets or claims than its entries say.
        all.extend(["/targets", "/claims", "/workloads", "/selections", "/pods"].map(str::to_owned));
        for field in &all {
            for value in &values {
                if plan.pointer(field).is_none() {
                    continue;
                }
                let forged = with(name, field, value);
                let _ = item(&forged);
                let _ = left_open(vec![forged]);
            }
        }
    }
}
