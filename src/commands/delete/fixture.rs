//! Journals for the tests of `delete`.

use serde_json::{Value, json};

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
    let plan = json!({
        "run": run, "created": "2026-11-20T12:00:00Z", "namespace": "demo", "selections": [], "pods": [],
        "backup": {"run": "b1", "outcome": "ApplicationConsistent", "instant": "2026-11-20T10:00:00Z"},
        "workloads": [], "claims": [], "targets": [], "wait": 600_000, "notes": []
    });
    stored(run, Kind::Restore, &plan, events)
}
