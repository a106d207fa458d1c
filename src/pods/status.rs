//! The words of kubectl's pod table: STATUS, READY and RESTARTS are not fields of a pod but are made from many.
//!
//! This follows what the API server's own printer does, so that an operator who looks beside it sees the same word.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::{ContainerStateTerminated, ContainerStatus, Pod, PodSpec, PodStatus};

use super::{restarts_always, running_containers};

/// What the table shows of a pod.
pub(super) struct Shown {
    pub(super) status: String,
    pub(super) ready: usize,
    pub(super) total: usize,
    pub(super) restarts: i32,
}

pub(super) fn shown(pod: &Pod) -> Shown {
    let none = (PodSpec::default(), PodStatus::default());
    let spec = pod.spec.as_ref().unwrap_or(&none.0);
    let status = pod.status.as_ref().unwrap_or(&none.1);

    let mut table = Shown { status: first_word(status), ready: 0, total: running_containers(pod).len(), restarts: 0 };
    let (initializing, sidecar_restarts) = init_containers(spec, status, &mut table);
    if !initializing || condition(status, "Initialized") == Some(true) {
        // Restarts of containers that have done their part are no longer counted once the pod runs.
        table.restarts = sidecar_restarts;
        containers(status, &mut table);
    }
    if pod.metadata.deletion_timestamp.is_some() {
        if status.reason.as_deref() == Some("NodeLost") {
            table.status = "Unknown".into();
        } else if !matches!(status.phase.as_deref(), Some("Succeeded" | "Failed")) {
            table.status = "Terminating".into();
        }
    }
    table
}

/// The phase, or the reason that stands for it (`Evicted`), or that the pod may not be scheduled yet.
fn first_word(status: &PodStatus) -> String {
    let gated = status
        .conditions
        .iter()
        .flatten()
        .any(|c| c.type_ == "PodScheduled" && c.reason.as_deref() == Some("SchedulingGated"));
    if gated {
        return "SchedulingGated".into();
    }
    let reason = status.reason.clone().filter(|r| !r.is_empty());
    reason.or_else(|| status.phase.clone()).unwrap_or_default()
}

/// Says whether the pod is still initializing, and how often its sidecars restarted.
fn init_containers(spec: &PodSpec, status: &PodStatus, table: &mut Shown) -> (bool, i32) {
    let declared = spec.init_containers.as_deref().unwrap_or_default();
    let sidecars: BTreeSet<&str> = declared.iter().filter(|c| restarts_always(c)).map(|c| c.name.as_str()).collect();
    let mut sidecar_restarts = 0;
    for (i, container) in status.init_container_statuses.iter().flatten().enumerate() {
        let is_sidecar = sidecars.contains(container.name.as_str());
        table.restarts += container.restart_count;
        if is_sidecar {
            sidecar_restarts += container.restart_count;
        }
        let state = container.state.as_ref();
        let terminated = state.and_then(|s| s.terminated.as_ref());
        let waiting = waiting_reason(container).filter(|r| *r != "PodInitializing");
        if terminated.is_some_and(|t| t.exit_code == 0) {
            continue;
        }
        if is_sidecar && container.started == Some(true) {
            table.ready += usize::from(container.ready);
            continue;
        }
        table.status = match (terminated, waiting) {
            (Some(t), _) => format!("Init:{}", ended(t)),
            (None, Some(reason)) => format!("Init:{reason}"),
            (None, None) => format!("Init:{i}/{}", declared.len()),
        };
        return (true, sidecar_restarts);
    }
    (false, sidecar_restarts)
}

fn containers(status: &PodStatus, table: &mut Shown) {
    let mut has_running = false;
    // From the last to the first: the first container's word wins.
    for container in status.container_statuses.iter().flatten().rev() {
        table.restarts += container.restart_count;
        let state = container.state.as_ref();
        if let Some(reason) = waiting_reason(container) {
            reason.clone_into(&mut table.status);
        } else if let Some(t) = state.and_then(|s| s.terminated.as_ref()) {
            table.status = ended(t);
        } else if container.ready && state.is_some_and(|s| s.running.is_some()) {
            has_running = true;
            table.ready += 1;
        }
    }
    // One container has completed, but another one still runs.
    if table.status == "Completed" && has_running {
        let ready = condition(status, "Ready") == Some(true);
        table.status = if ready { "Running" } else { "NotReady" }.into();
    }
}

fn waiting_reason(container: &ContainerStatus) -> Option<&str> {
    let waiting = container.state.as_ref()?.waiting.as_ref()?;
    waiting.reason.as_deref().filter(|r| !r.is_empty())
}

fn ended(t: &ContainerStateTerminated) -> String {
    match (t.reason.as_deref(), t.signal) {
        (Some(reason), _) if !reason.is_empty() => reason.into(),
        (_, Some(signal)) if signal != 0 => format!("Signal:{signal}"),
        _ => format!("ExitCode:{}", t.exit_code),
    }
}

fn condition(status: &PodStatus, name: &str) -> Option<bool> {
    let mut found = status.conditions.iter().flatten().filter(|c| c.type_ == name);
    found.next().map(|c| c.status == "True")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    /// `STATUS READY RESTARTS` of a pod with this spec and status.
    fn table(metadata: &Value, spec: &Value, status: &Value) -> String {
        let pod = json!({"metadata": metadata, "spec": spec, "status": status});
        let shown = shown(&serde_json::from_value(pod).unwrap());
        format!("{} {}/{} {}", shown.status, shown.ready, shown.total, shown.restarts)
    }

    fn one(state: &Value, ready: bool, restarts: i32) -> Value {
        json!({"name": "c", "image": "", "imageID": "", "ready": ready, "restartCount": restarts, "state": state})
    }

    fn init(name: &str, state: &Value, restarts: i32) -> Value {
        json!({"name": name, "image": "", "imageID": "", "ready": false, "restartCount": restarts, "state": state})
    }

    #[test]
    fn words_of_a_single_container() {
        let spec = json!({"containers": [{"name": "c"}]});
        let alive = json!({});
        let dying = json!({"deletionTimestamp": "2026-11-20T10:00:00Z"});
        let running = json!({"running": {}});
        let waits = |reason: &str| json!({"waiting": {"reason": reason}});
        let phase = |phase: &str, c: Value| json!({"phase": phase, "containerStatuses": [c]});
        let cases = [
            (&alive, json!({"phase": "Pending"}), "Pending 0/1 0"),
            (&alive, phase("Running", one(&running, true, 0)), "Running 1/1 0"),
            (&alive, phase("Running", one(&running, false, 2)), "Running 0/1 2"),
            (&alive, phase("Pending", one(&waits("ContainerCreating"), false, 0)), "ContainerCreating 0/1 0"),
            (&alive, phase("Running", one(&waits("CrashLoopBackOff"), false, 7)), "CrashLoopBackOff 0/1 7"),
            (&alive, phase("Pending", one(&waits("ImagePullBackOff"), false, 0)), "ImagePullBackOff 0/1 0"),
            (
                &alive,
                phase("Succeeded", one(&json!({"terminated": {"exitCode": 0, "reason": "Completed"}}), false, 0)),
                "Completed 0/1 0",
            ),
            (
                &alive,
                phase("Running", one(&json!({"terminated": {"exitCode": 137, "reason": "OOMKilled"}}), false, 1)),
                "OOMKilled 0/1 1",
            ),
            (&alive, phase("Running", one(&json!({"terminated": {"exitCode": 3}}), false, 0)), "ExitCode:3 0/1 0"),
            (
                &alive,
                phase("Running", one(&json!({"terminated": {"exitCode": 137, "signal": 9}}), false, 0)),
                "Signal:9 0/1 0",
            ),
            (&alive, json!({"phase": "Failed", "reason": "Evicted"}), "Evicted 0/1 0"),
            (&alive, json!({"phase": "Running", "reason": "NodeLost"}), "NodeLost 0/1 0"),
            (&dying, json!({"phase": "Running", "reason": "NodeLost"}), "Unknown 0/1 0"),
            (&dying, phase("Running", one(&running, true, 0)), "Terminating 1/1 0"),
            (
                &dying,
                phase("Succeeded", one(&json!({"terminated": {"exitCode": 0, "reason": "Completed"}}), false, 0)),
                "Completed 0/1 0",
            ),
            (
                &alive,
                json!({"phase": "Pending", "conditions": [{"type": "PodScheduled", "status": "False", "reason": "SchedulingGated"}]}),
                "SchedulingGated 0/1 0",
            ),
        ];
        for (metadata, status, expected) in cases {
            assert_eq!(table(metadata, &spec, &status), expected, "{status}");
        }
    }

    #[test]
    fn words_while_initializing() {
        let spec = json!({"containers": [{"name": "c"}], "initContainers": [{"name": "a"}, {"name": "b"}]});
        let done = json!({"terminated": {"exitCode": 0, "reason": "Completed"}});
        let running = json!({"running": {}});
        let waits = json!({"waiting": {"reason": "PodInitializing"}});
        let cases = [
            ([init("a", &running, 0), init("b", &waits, 0)], "Init:0/2 0/1 0"),
            ([init("a", &done, 0), init("b", &running, 0)], "Init:1/2 0/1 0"),
            (
                [init("a", &json!({"terminated": {"exitCode": 1, "reason": "Error"}}), 0), init("b", &waits, 0)],
                "Init:Error 0/1 0",
            ),
            ([init("a", &json!({"terminated": {"exitCode": 1}}), 0), init("b", &waits, 0)], "Init:ExitCode:1 0/1 0"),
            (
                [init("a", &json!({"terminated": {"exitCode": 1, "signal": 9}}), 0), init("b", &waits, 0)],
                "Init:Signal:9 0/1 0",
            ),
            (
                [init("a", &json!({"waiting": {"reason": "CrashLoopBackOff"}}), 4), init("b", &waits, 0)],
                "Init:CrashLoopBackOff 0/1 4",
            ),
        ];
        let pending = one(&waits, false, 0);
        for (inits, expected) in cases {
            let status = json!({"phase": "Pending", "initContainerStatuses": inits, "containerStatuses": [pending]});
            assert_eq!(table(&json!({}), &spec, &status), expected);
        }
        let status = json!({"phase": "Pending", "initContainerStatuses": [init("a", &done, 3), init("b", &done, 0)],
                            "containerStatuses": [pending]});
        assert_eq!(table(&json!({}), &spec, &status), "PodInitializing 0/1 0");
    }

    #[test]
    fn sidecars_count_as_containers() {
        let spec = json!({"containers": [{"name": "c"}], "initContainers": [{"name": "a", "restartPolicy": "Always"}]});
        let sidecar = |started: bool, ready: bool| {
            json!({"name": "a", "image": "", "imageID": "", "ready": ready, "started": started, "restartCount": 2,
                   "state": {"running": {}}})
        };
        let running = one(&json!({"running": {}}), true, 1);
        let status =
            |s: Value| json!({"phase": "Running", "initContainerStatuses": [s], "containerStatuses": [running]});
        assert_eq!(table(&json!({}), &spec, &status(sidecar(true, true))), "Running 2/2 3");
        assert_eq!(table(&json!({}), &spec, &status(sidecar(true, false))), "Running 1/2 3");
        assert_eq!(table(&json!({}), &spec, &status(sidecar(false, false))), "Init:0/1 0/2 2");
    }

    #[test]
    fn a_sidecar_that_restarts_in_an_initialized_pod_does_not_hide_the_containers() {
        let spec = json!({"containers": [{"name": "c"}], "initContainers": [{"name": "a", "restartPolicy": "Always"}]});
        let status = json!({
            "phase": "Running",
            "conditions": [{"type": "Initialized", "status": "True"}],
            "initContainerStatuses": [init("a", &json!({"terminated": {"exitCode": 1, "reason": "Error"}}), 5)],
            "containerStatuses": [one(&json!({"running": {}}), true, 0)]
        });
        assert_eq!(table(&json!({}), &spec, &status), "Init:Error 1/2 5");
    }

    #[test]
    fn a_completed_container_beside_a_running_one() {
        let spec = json!({"containers": [{"name": "c"}, {"name": "d"}]});
        let done = one(&json!({"terminated": {"exitCode": 0, "reason": "Completed"}}), false, 0);
        let running = one(&json!({"running": {}}), true, 0);
        for (ready, expected) in [("True", "Running 1/2 0"), ("False", "NotReady 1/2 0")] {
            let status = json!({"phase": "Running", "conditions": [{"type": "Ready", "status": ready}],
                                "containerStatuses": [done, running]});
            assert_eq!(table(&json!({}), &spec, &status), expected);
        }
    }
}
