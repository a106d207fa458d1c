//! A pod that nothing controls: what is recorded of it, so that it can be made again. Pure.

use k8s_openapi::api::core::v1::{Container, Pod, PodSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::{RESTARTED_BY, RESTORED_BY};
use crate::manifests::annotations::{Fate, fate};
use crate::manifests::credentials::withhold;

/// What to create to have this pod again: without what the API server, the scheduler, the network and the kubelet wrote
/// into it, without unknown annotations, and marked with the run (`RESTORED_BY` or `RESTARTED_BY`), by which it is known
/// again.
pub fn manifest(pod: &Pod, mark: &str, run: &str) -> Pod {
    let meta = &pod.metadata;
    let mut annotations = meta.annotations.clone().unwrap_or_default();
    annotations.retain(|key, value| key == RESTORED_BY || fate(key, value) == Fate::Kept);
    annotations.insert(mark.to_owned(), run.to_owned());
    let spec = pod.spec.clone().map(|spec| PodSpec {
        node_name: spec.node_name.filter(|_| is_pinned(pod)),
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

/// The unknown annotations of this pod. They may hold secrets, and its manifest is recorded, so it is made again without.
pub(super) fn unknown_annotations(pod: &Pod) -> Vec<&str> {
    let all = pod.metadata.annotations.iter().flatten();
    all.filter(|(key, value)| fate(key, value) == Fate::Unknown).map(|(key, _)| key.as_str()).collect()
}

/// Whether who made the pod chose its node. The scheduler does so by a binding, which no manager's fields tell of.
fn is_pinned(pod: &Pod) -> bool {
    let mut managers = pod.metadata.managed_fields.iter().flatten().filter_map(|of| of.fields_v1.as_ref());
    managers.any(|fields| fields.0.pointer("/f:spec/f:nodeName").is_some())
}

/// Whether this manifest asks for what the pod has, and nothing else. A manifest that only a record speaks for could ask for
/// more than whoever wrote it may: the node, a service account, somebody's Secrets.
pub fn is_as_it_runs(manifest_of: &Pod, pod: &Pod) -> bool {
    manifest(pod, RESTORED_BY, "").spec == manifest_of.spec
}

/// Whether a pod would get more of its node than other pods: its namespaces, its files, or rights that containers lack.
pub fn asks_for_more(pod: &Pod) -> bool {
    let Some(spec) = &pod.spec else { return false };
    let containers = spec.containers.iter().chain(spec.init_containers.iter().flatten());
    let privileged = |container: &Container| {
        container.security_context.as_ref().is_some_and(|of| {
            let added = of.capabilities.as_ref().and_then(|of| of.add.as_ref()).is_some_and(|added| !added.is_empty());
            of.privileged == Some(true) || added || of.proc_mount.is_some()
        })
    };
    [spec.host_network, spec.host_pid, spec.host_ipc].contains(&Some(true))
        || spec.volumes.iter().flatten().any(|volume| volume.host_path.is_some())
        || containers.into_iter().any(privileged)
}

/// By which restore this pod was made, if it was.
pub fn restored_by(pod: &Pod) -> Option<&str> {
    annotation(pod, RESTORED_BY)
}

/// Whether this pod was made from this manifest, as far as its mark tells.
pub fn is_made_from(pod: &Pod, manifest: &Pod) -> bool {
    let mark = if annotation(manifest, RESTARTED_BY).is_some() { RESTARTED_BY } else { RESTORED_BY };
    annotation(manifest, mark).is_some_and(|run| annotation(pod, mark) == Some(run))
}

fn annotation<'a>(pod: &'a Pod, key: &str) -> Option<&'a str> {
    pod.metadata.annotations.as_ref()?.get(key).map(String::as_str)
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
                "creationTimestamp": "2026-11-20T10:00:00Z",
                "annotations": {RESTORED_BY: "r0", RESTARTED_BY: "c0", "cni.projectcalico.org/podIP": "10.0.0.1/32",
                    "prometheus.io/scrape": "true", "consistent-backup/hold": "light", "team": "geheim",
                    "kubectl.kubernetes.io/last-applied-configuration": "geheim"},
                "managedFields": [{"manager": "kubectl", "fieldsV1": {"f:spec": {"f:containers": {}}}}]},
            "spec": {"nodeName": "n1", "priority": 0, "preemptionPolicy": "PreemptLowerPriority",
                "containers": [container], "ephemeralContainers": [{"name": "debug"}],
                "volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": "data"}}]},
            "status": {"phase": "Running", "podIP": "10.0.0.1"}
        }))
        .unwrap()
    }

    #[test]
    fn what_other_pods_do_not_get_is_more() {
        let with = |spec: Value| asks_for_more(&serde_json::from_value(json!({"metadata": {}, "spec": spec})).unwrap());
        let container = |security: Value| json!({"containers": [{"name": "c", "securityContext": security}]});
        assert!(!with(container(json!({"runAsUser": 0, "capabilities": {"drop": ["ALL"]}}))));
        assert!(with(container(json!({"privileged": true}))));
        assert!(with(container(json!({"capabilities": {"add": ["SYS_ADMIN"]}}))));
        for field in ["hostPID", "hostNetwork", "hostIPC"] {
            assert!(with(json!({"containers": [], field: true})), "{field}");
        }
        let volumes = json!([{"name": "v", "hostPath": {"path": "/"}}]);
        assert!(with(json!({"containers": [], "volumes": volumes})));
        let init = json!([{"name": "c", "securityContext": {"privileged": true}}]);
        assert!(with(json!({"containers": [], "initContainers": init})));
    }

    #[test]
    fn the_manifest_is_what_a_user_would_have_written() {
        let made =
            serde_json::to_value(manifest(&pod(&json!({"name": "db", "image": "pg:15"})), RESTORED_BY, "r1")).unwrap();
        assert_eq!(
            made,
            json!({"apiVersion": "v1", "kind": "Pod",
                "metadata": {"name": "db", "namespace": "demo", "labels": {"app": "db"},
                    "annotations": {RESTORED_BY: "r1", "prometheus.io/scrape": "true", "consistent-backup/hold": "light"}},
                "spec": {"containers": [{"name": "db", "image": "pg:15"}],
                    "volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": "data"}}]}})
        );
    }

    #[test]
    fn an_annotation_that_nobody_knows_is_named() {
        assert_eq!(unknown_annotations(&pod(&json!({"name": "db"}))), ["team"]);
    }

    #[test]
    fn a_node_that_the_user_chose_stays() {
        let mut pinned = serde_json::to_value(pod(&json!({"name": "db", "image": "pg:15"}))).unwrap();
        pinned["metadata"]["managedFields"][0]["fieldsV1"]["f:spec"]["f:nodeName"] = json!({});
        let made = manifest(&serde_json::from_value(pinned).unwrap(), RESTORED_BY, "r1");
        assert_eq!(made.spec.unwrap().node_name.as_deref(), Some("n1"));
    }

    #[test]
    fn an_earlier_restore_still_finds_its_pod_after_a_cold_backup() {
        let restored = manifest(&pod(&json!({"name": "db"})), RESTORED_BY, "r1");
        let cold = manifest(&restored, RESTARTED_BY, "c1");
        assert!(is_made_from(&restored, &restored) && is_made_from(&cold, &cold) && is_made_from(&cold, &restored));
        assert!(!is_made_from(&restored, &cold), "the cold backup has not made it yet");
        assert!(!is_made_from(&manifest(&cold, RESTORED_BY, "r2"), &restored));
        assert!(!is_made_from(&Pod::default(), &Pod::default()), "no mark is no match");
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
