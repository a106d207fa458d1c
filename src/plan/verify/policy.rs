//! The NetworkPolicy of one copy: it denies all traffic in both directions, where the cluster's network enforces policies.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::networking::v1::{NetworkPolicy, NetworkPolicySpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};

use super::Copy;
use crate::labels::{MANAGED_BY, POD, VERIFY, VERIFY_POD};
use crate::names::fnv;
use crate::plan::policies::{allows, path, selects};
use crate::plan::restore::anew::There;

/// The labels by which exactly one copy's pod is selected. None of the workload's is among them.
pub(super) fn labels(run: &str, pod: &str) -> BTreeMap<String, String> {
    // A label's value has 63 characters at most.
    let one = if pod.len() <= 63 { pod.to_owned() } else { format!("{:016x}", fnv(pod)) };
    let labels = [MANAGED_BY, (VERIFY, run), (VERIFY_POD, &one)];
    labels.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
}

/// Denies this pod all traffic in both directions.
pub(super) fn deny_all(run: &str, pod: &Pod) -> NetworkPolicy {
    let name = pod.metadata.name.clone().unwrap_or_default();
    let labels = labels(run, &name);
    let selector = LabelSelector { match_labels: Some(labels.clone()), match_expressions: None };
    let original = pod.metadata.annotations.iter().flatten().filter(|(key, _)| *key == POD);
    NetworkPolicy {
        metadata: ObjectMeta {
            name: Some(name),
            namespace: pod.metadata.namespace.clone(),
            labels: Some(labels),
            annotations: Some(original.map(|(key, value)| (key.clone(), value.clone())).collect()),
            ..ObjectMeta::default()
        },
        spec: Some(NetworkPolicySpec {
            pod_selector: Some(selector),
            // Without `Egress` named a policy without rules limits what comes in only.
            policy_types: Some(vec!["Ingress".to_owned(), "Egress".to_owned()]),
            ..NetworkPolicySpec::default()
        }),
    }
}

/// Notes of the plan, one line each. Policies are added up, so one of the namespace that selects every pod opens what the
/// copy's own closes.
pub(super) fn notes(copies: &[Copy], there: &There) -> Vec<String> {
    let mut notes = Vec::new();
    for copy in copies {
        let labels = copy.pod.metadata.labels.clone().unwrap_or_default();
        match there.policies.get(&copy.namespace) {
            Some(Ok(policies)) => {
                let own = |policy: &&NetworkPolicy| policy.metadata.name == copy.policy.metadata.name;
                let open = policies.iter().filter(|policy| !own(policy) && allows(policy) && selects(policy, &labels));
                let open: Vec<String> = open.map(path).collect();
                if !open.is_empty() {
                    notes.push(format!("pod/{}: what {} allows is allowed to it as well", copy.name, open.join(", ")));
                }
            }
            Some(Err(why)) => notes.push(format!(
                "whether other NetworkPolicies of namespace {} select pod/{} is not known: {why}",
                copy.namespace, copy.name
            )),
            None => {}
        }
    }
    notes.push(
        "each copy has a NetworkPolicy that denies all traffic; it takes effect only in a network that enforces policies"
            .to_owned(),
    );
    notes
}
