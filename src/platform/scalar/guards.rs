//! Guard pods that other runs have left: one that is still armed would end a new pause.

use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, ListParams};

use crate::cluster::client::{explain, is_forbidden};
use crate::error::{Error, Refusal};
use crate::labels::{PART, RUN};
use crate::plan::guard_pod::{GUARD, watches};
use crate::typed::kubectl;

/// A refusal for each guard of another run that watches one of these pods and has not ended.
pub(super) async fn of_others(
    client: &kube::Client,
    namespace: &str,
    run: &str,
    pods: &[Pod],
) -> Result<Vec<Refusal>, Error> {
    let guards = ListParams::default().labels(&format!("{PART}={GUARD}"));
    match Api::<Pod>::namespaced(client.clone(), namespace).list(&guards).await {
        Ok(list) => Ok(list.items.iter().filter_map(|guard| refusal(guard, run, pods)).collect()),
        // Refused with the release itself.
        Err(e) if is_forbidden(&e) => Ok(Vec::new()),
        Err(e) => {
            Err(Error::failed(format!("guard pods in namespace {namespace} could not be read")).cause(explain(&e)))
        }
    }
}

fn refusal(guard: &Pod, run: &str, pods: &[Pod]) -> Option<Refusal> {
    let of = guard.metadata.labels.as_ref()?.get(RUN)?;
    let phase = guard.status.as_ref().and_then(|status| status.phase.as_deref()).unwrap_or_default();
    if of == run || matches!(phase, "Succeeded" | "Failed") {
        return None;
    }
    let watched = watches(guard);
    let path = |pod: &Pod| {
        let metadata = &pod.metadata;
        format!(
            "{}/{}",
            metadata.namespace.as_deref().unwrap_or_default(),
            metadata.name.as_deref().unwrap_or_default()
        )
    };
    let address = |pod: &Pod| pod.status.as_ref().and_then(|status| status.pod_ip.clone()).unwrap_or_default();
    pods.iter().any(|pod| watched.contains(&path(pod)) || watched.contains(&address(pod))).then(|| {
        let name = guard.metadata.name.as_deref().unwrap_or_default();
        Refusal::new(format!("pod/{name}"), format!("guards pauses of run {of}, and would end this one's too")).hint(
            format!(
                "finish that run with `{}`, or wait until the pod has ended",
                kubectl(&["consistent-backup", "thaw", of])
            ),
        )
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn only_an_armed_guard_of_another_run_over_the_same_pods_is_in_the_way() {
        let pod = |name: &str| -> Pod {
            serde_json::from_value(json!({"metadata": {"namespace": "scalar", "name": name}})).unwrap()
        };
        let guard = |run: &str, phase: &str| -> Pod {
            serde_json::from_value(json!({
                "metadata": {"name": "g", "labels": {RUN: run}, "annotations": {"consistent-backup/watches": "scalar/a,scalar/b"}},
                "status": {"phase": phase}
            }))
            .unwrap()
        };
        let refused = |guard: &Pod, pods: &[Pod]| refusal(guard, "new", pods).map(|r| r.message);
        let own = [pod("b")];
        assert_eq!(
            refused(&guard("old", "Running"), &own).as_deref(),
            Some("guards pauses of run old, and would end this one's too")
        );
        assert!(refused(&guard("old", "Pending"), &own).is_some());
        for (guard, pods) in [
            (guard("old", "Succeeded"), &own[..]),
            (guard("new", "Running"), &own[..]),
            (guard("old", "Running"), &[pod("c")][..]),
        ] {
            assert_eq!(refused(&guard, pods), None);
        }
    }
}
