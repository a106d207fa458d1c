//! A pod that nothing controls: what is recorded of it, so that it can be made again. Pure.

use k8s_openapi::api::core::v1::{Container, Pod, PodSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::RESTORED_BY;

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
    let spec = pod.spec.as_ref();
    let containers = spec.into_iter().flat_map(|s| s.containers.iter().chain(s.init_containers.iter().flatten()));
    containers.flat_map(in_container).collect()
}

fn in_container(container: &Container) -> Vec<String> {
    let mut found = Vec::new();
    for variable in container.env.iter().flatten() {
        let value = variable.value.as_deref().unwrap_or_default();
        if names_credential(&variable.name) && is_literal(value) || in_address(value) {
            found.push(format!("variable {} of container {}", variable.name, container.name));
        }
    }
    let probes = [&container.liveness_probe, &container.readiness_probe, &container.startup_probe];
    let probes = probes.into_iter().flatten().filter_map(|p| p.exec.as_ref()?.command.as_ref());
    let commands = [&container.command, &container.args].into_iter().flatten();
    if commands.chain(probes).any(|command| in_command(command)) {
        found.push(format!("a command of container {}", container.name));
    }
    found
}

fn names_credential(name: &str) -> bool {
    let name = name.to_ascii_uppercase();
    let parts = ["PASS", "PWD", "SECRET", "TOKEN", "CREDENTIAL"];
    let ends = ["_AUTH", "_KEY", "APIKEY"];
    !name.ends_with("_FILE") && (parts.iter().any(|p| name.contains(p)) || ends.iter().any(|e| name.ends_with(e)))
}

/// Whether this says something by itself: no switch, no other variable, no path.
fn is_literal(value: &str) -> bool {
    let switch = ["", "0", "1", "true", "false", "yes", "no", "on", "off"];
    !switch.contains(&value.to_ascii_lowercase().as_str()) && !value.starts_with(['$', '/'])
}

/// `scheme://user:secret@host`.
fn in_address(value: &str) -> bool {
    let Some((user, _)) = value.split_once("://").and_then(|(_, rest)| rest.rsplit_once('@')) else { return false };
    user.split_once(':').is_some_and(|(_, secret)| is_literal(secret))
}

/// `--requirepass X`, `--password=X`, in words or in a script.
fn in_command(command: &[String]) -> bool {
    let text = command.join(" ");
    let word = |c: char| c.is_ascii_alphanumeric() || "_-$({".contains(c);
    let apart = |c: char| c.is_whitespace() || "=\"':".contains(c);
    let mut rest = text.as_str();
    while let Some(at) = rest.find(word) {
        let from = &rest[at..];
        let end = from.find(|c: char| !word(c)).unwrap_or(from.len());
        let (name, after) = from.split_at(end);
        rest = after;
        let value = after.trim_start_matches(apart);
        let value = value.split(|c: char| c.is_whitespace() || "\"';|&)".contains(c)).next().unwrap_or_default();
        // A flag or an assignment, not a word of a sentence or a variable that is used.
        let assigns = name.starts_with("--") || after.starts_with('=');
        if assigns && !name.contains('$') && names_credential(name) && is_literal(value) && !value.starts_with('-') {
            return true;
        }
    }
    command.iter().any(|word| in_address(word))
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
