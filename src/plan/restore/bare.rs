//! A pod that nothing controls: what is recorded of it, so that it can be made again. Pure.

use k8s_openapi::api::core::v1::{Pod, PodSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::RESTORED_BY;
use crate::manifests::credentials::withhold;

/// What to create to have this pod again: without what the API server, the scheduler and the kubelet wrote into it, and
/// marked with the restore, by which it is known again.
pub(super) fn manifest(pod: &Pod, run: &str) -> Pod {
    let meta = &pod.metadata;
    let mut annotations = meta.annotations.clone().unwrap_or_default();
    annotations.insert(RESTORED_BY.to_owned(), run.to_owned());
    let spec = pod.spec.clone().map(|spec| PodSpec {
        node_name: None,
        // Worked out again from the classes' names; another value than theirs would be refused.
        priority: None,
        preemption_policy: None,
        overhead: None,
        // May not be there when a pod is made.
        ephemeral_containers: None,
        ..spec
    });
    Pod {
        metadata: ObjectMeta {
            name: meta.name.clone(),
            namespace: meta.namespace.clone(),
            labels: meta.labels.clone(),
            annotations: Some(annotations),
            owner_references: meta.owner_references.clone(),
            finalizers: meta.finalizers.clone(),
            ..ObjectMeta::default()
        },
        spec,
        status: None,
    }
}

/// By which restore this pod was made, if it was.
pub fn restored_by(pod: &Pod) -> Option<&str> {
    pod.metadata.annotations.as_ref()?.get(RESTORED_BY).map(String::as_str)
}

/// Where a pod spells a credential out, as far as that can be told: a manifest with one must not be recorded.
pub(super) fn credentials(pod: &Pod) -> Vec<String> {
    // A pod is an object of plain maps, lists and texts: there is nothing in it that JSON could not say.
    serde_json::to_value(pod).map(|mut pod| withhold(&mut pod)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn pod(container: &Value) -> Pod {
        serde_json::from_value(json!({
            "metadata": {"name": "db", "namespace": "demo", "uid": "u", "resourceVersion": "7", "labels": {"app": "db"},
                "creationTimestamp": "2026-11-20T10:00:00Z", "annotations": {RESTORED_BY: "r0", "team": "db"},
                "managedFields": [{"manager": "kubectl"}]},
            "spec": {"nodeName": "n1", "priority": 0, "preemptionPolicy": "PreemptLowerPriority",
                "containers": [container], "ephemeralContainers": [{"name": "debug"}],
                "volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": "data"}}]},
            "status": {"phase": "Running", "podIP": "10.0.0.1"}
        }))
        .unwrap()
    }

    #[test]
    fn the_manifest_is_what_a_user_would_have_written() {
        let made = serde_json::to_value(manifest(&pod(&json!({"name": "db", "image": "pg:15"})), "r1")).unwrap();
        assert_eq!(
            made,
            json!({"apiVersion": "v1", "kind": "Pod",
                "metadata": {"name": "db", "namespace": "demo", "labels": {"app": "db"},
                    "annotations": {RESTORED_BY: "r1", "team": "db"}},
                "spec": {"containers": [{"name": "db", "image": "pg:15"}],
                    "volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": "data"}}]}})
        );
    }

    #[track_caller]
    fn spells(container: &Value, out: bool) {
        assert_eq!(!credentials(&pod(container)).is_empty(), out, "{container}");
    }

    #[test]
    fn a_credential_that_is_spelt_out_is_found() {
        let variable = |name: &str, value: &str| json!({"name": "c", "env": [{"name": name, "value": value}]});
        for (name, value) in [
            ("POSTGRES_PASSWORD", "hunter2"),
            ("MYSQL_PWD", "x"),
            ("REDISCLI_AUTH", "x"),
            ("API_KEY", "x"),
            ("DATABASE_URL", "postgres://app:hunter2@pg/app"),
        ] {
            spells(&variable(name, value), true);
        }
        for (name, value) in [
            ("POSTGRES_PASSWORD_FILE", "/run/secrets/pg"),
            ("ALLOW_EMPTY_PASSWORD", "yes"),
            ("POSTGRES_HOST_AUTH_METHOD", "trust"),
            ("DATABASE_URL", "postgres://app:$(PASSWORD)@pg/app"),
            ("DATABASE_URL", "postgres://pg/app"),
            ("PGDATA", "/data"),
        ] {
            spells(&variable(name, value), false);
        }
        let from = json!({"name": "POSTGRES_PASSWORD", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}});
        spells(&json!({"name": "c", "env": [from]}), false);
        for args in [json!(["--requirepass", "hunter2"]), json!(["--password=x"]), json!(["-c", "PGPASSWORD=x psql"])] {
            spells(&json!({"name": "c", "args": args}), true);
            spells(&json!({"name": "c", "livenessProbe": {"exec": {"command": args}}}), true);
        }
        for args in [
            json!(["--requirepass", "$(REDIS_PASSWORD)"]),
            json!(["-c", "redis-server --requirepass \"$REDIS_PASSWORD\" --appendonly yes"]),
            json!(["-c", "test -n \"${REDIS_PASSWORD}\" && echo the password is set"]),
            json!(["--no-password", "--port", "1"]),
            json!(["--appendonly", "yes"]),
        ] {
            spells(&json!({"name": "c", "args": args}), false);
        }
    }
}
