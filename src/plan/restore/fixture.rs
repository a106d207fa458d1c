//! A restore of one claim, for tests.

use serde_json::{Value, json};

use super::RestorePlan;

/// With this as the claim from before.
pub(crate) fn plan(old: &Value) -> RestorePlan {
    serde_json::from_value(json!({
        "run": "r1", "created": "2026-11-20T12:00:00Z", "namespace": "demo", "selections": [], "pods": [],
        "backup": {"run": "b1", "outcome": "ApplicationConsistent", "instant": "2026-11-20T10:00:00Z"},
        "workloads": [{"namespace": "demo", "kind": "StatefulSet", "name": "pg", "uid": "w", "labels": "", "replicas": 1,
            "start": 1, "ready": 1, "retention": null, "grace": 30000}],
        "claims": [{"namespace": "demo", "name": "data", "new": {}, "size": "1Gi", "snapshot": "s", "content": "c",
            "old": old}],
        "targets": [], "wait": 600_000, "notes": []
    }))
    .unwrap()
}

/// With the old claim bound to volume `pv`.
pub(crate) fn bound() -> RestorePlan {
    plan(&json!({"uid": "o", "claim": {}, "volume": {"name": "pv", "uid": "v", "reclaimPolicy": "Delete"}}))
}
