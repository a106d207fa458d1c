//! Which pods a NetworkPolicy selects, and whether it allows anything. Pure.

use std::collections::BTreeMap;

use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, LabelSelectorRequirement};

type Labels = BTreeMap<String, String>;

/// Whether the policy selects a pod of its namespace with these labels. An empty selector selects every pod.
pub fn selects(policy: &NetworkPolicy, labels: &Labels) -> bool {
    let Some(spec) = &policy.spec else { return false };
    spec.pod_selector.as_ref().is_none_or(|selector| matches(selector, labels))
}

/// Whether the policy has a rule that allows traffic: policies are added up, so it opens what another one closes.
pub fn allows(policy: &NetworkPolicy) -> bool {
    let spec = policy.spec.as_ref();
    spec.is_some_and(|s| s.ingress.iter().flatten().next().is_some() || s.egress.iter().flatten().next().is_some())
}

/// `networkpolicy/NAME`, as kubectl names it.
pub fn path(policy: &NetworkPolicy) -> String {
    format!("networkpolicy/{}", policy.metadata.name.as_deref().unwrap_or_default())
}

fn matches(selector: &LabelSelector, labels: &Labels) -> bool {
    let equal = |(key, value): (&String, &String)| labels.get(key) == Some(value);
    selector.match_labels.iter().flatten().all(equal)
        && selector.match_expressions.iter().flatten().all(|requirement| holds(requirement, labels))
}

/// As `metav1.LabelSelectorAsSelector` has it: `NotIn` holds for a label that is missing, too.
fn holds(requirement: &LabelSelectorRequirement, labels: &Labels) -> bool {
    let value = labels.get(&requirement.key);
    let listed = || value.is_some_and(|value| requirement.values.iter().flatten().any(|v| v == value));
    match requirement.operator.as_str() {
        "In" => listed(),
        "NotIn" => !listed(),
        "Exists" => value.is_some(),
        "DoesNotExist" => value.is_none(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn policy(spec: &Value) -> NetworkPolicy {
        serde_json::from_value(json!({"metadata": {"name": "p"}, "spec": spec})).expect("a policy")
    }

    #[test]
    fn a_policy_selects_pods_as_the_api_server_does() {
        let labels = Labels::from([("app".to_owned(), "pg".to_owned()), ("tier".to_owned(), "db".to_owned())]);
        let of = |selector: Value| selects(&policy(&json!({ "podSelector": selector })), &labels);
        let expression = |key: &str, operator: &str, values: &[&str]| json!({"matchExpressions": [{"key": key, "operator": operator, "values": values}]});
        assert!(of(json!({})) && of(json!({"matchLabels": {"app": "pg"}})));
        assert!(!of(json!({"matchLabels": {"app": "pg", "tier": "web"}})));
        assert!(of(expression("app", "In", &["my", "pg"])) && !of(expression("app", "In", &["my"])));
        assert!(of(expression("x", "NotIn", &["y"])) && !of(expression("app", "NotIn", &["pg"])));
        assert!(of(expression("tier", "Exists", &[])) && !of(expression("tier", "DoesNotExist", &[])));
        assert!(selects(&policy(&json!({})), &labels), "without a selector it selects every pod");
        assert!(!selects(&NetworkPolicy::default(), &labels));
    }

    #[test]
    fn a_policy_without_rules_allows_nothing() {
        assert!(!allows(&policy(&json!({"policyTypes": ["Ingress", "Egress"]}))));
        assert!(!allows(&policy(&json!({"ingress": [], "egress": []}))));
        assert!(allows(&policy(&json!({"ingress": [{}]}))) && allows(&policy(&json!({"egress": [{}]}))));
    }
}
