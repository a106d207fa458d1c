//! NetworkPolicies that protect the original and not its copy. A copy is for use and keeps its listener, so the plan says
//! who may reach it. Pure.

use std::collections::BTreeMap;

use k8s_openapi::api::networking::v1::NetworkPolicy;

use super::anew::{There, Wanted};
use crate::manifests::{kind, name, pod_labels};
use crate::plan::policies::{path, selects};

/// One note for each workload whose copy is less protected, or of which that is not known.
pub(super) fn notes(copies: &[Wanted], there: &There) -> Vec<String> {
    copies.iter().filter_map(|copy| note(copy, there)).collect()
}

fn note(copy: &Wanted, there: &There) -> Option<String> {
    let namespace = &copy.of.namespace;
    let made = format!("{}/{}", kind(&copy.object).to_lowercase(), name(&copy.object));
    let policies = match there.policies.get(namespace)? {
        Ok(policies) => policies,
        Err(why) => {
            return Some(format!(
                "{made}: which NetworkPolicies of namespace {namespace} protect {} and not this copy is not known: {why}",
                copy.manifests.path()
            ));
        }
    };
    let labels = pod_labels(copy.manifests.object.as_ref()?);
    let selecting = policies.iter().filter(|policy| selects(policy, &labels));
    let missing: Vec<String> = selecting.filter(|policy| !covers(policy, copy, there)).map(path).collect();
    (!missing.is_empty()).then(|| {
        format!(
            "{made}: its pods are not selected by {} of namespace {namespace}, which protects those of {}: make one for the \
             copy if not everybody may reach it",
            missing.join(", "),
            copy.manifests.path()
        )
    })
}

/// Whether the copy's pods are selected by this policy; in another namespace by the one of its name there.
fn covers(policy: &NetworkPolicy, copy: &Wanted, there: &There) -> bool {
    let labels: BTreeMap<String, String> = pod_labels(&copy.object);
    if copy.namespace == copy.of.namespace {
        return selects(policy, &labels);
    }
    let others = there.policies.get(&copy.namespace).and_then(|found| found.as_ref().ok());
    others.is_some_and(|others| {
        others.iter().any(|other| other.metadata.name == policy.metadata.name && selects(other, &labels))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifests::OfWorkload;
    use crate::plan::Workload;
    use serde_json::{Value, json};

    fn policy(name: &str, selector: &Value) -> NetworkPolicy {
        serde_json::from_value(json!({"metadata": {"name": name}, "spec": {"podSelector": selector}}))
            .expect("a policy")
    }

    fn notes_of(
        namespace: &str,
        labels: &Value,
        policies: &[(&str, Result<Vec<NetworkPolicy>, String>)],
    ) -> Vec<String> {
        let set = |name: &str, labels: &Value| json!({"kind": "StatefulSet", "metadata": {"name": name}, "spec": {"template": {"metadata": {"labels": labels}}}});
        let of: Workload = serde_json::from_value(
            json!({"namespace": "demo", "kind": "StatefulSet", "name": "pg", "uid": "u", "replicas": 1, "labels": ""}),
        )
        .expect("a workload");
        let manifests = OfWorkload {
            namespace: "demo".into(),
            kind: "StatefulSet".into(),
            name: "pg".into(),
            object: Some(set("pg", &json!({"app": "pg"}))),
            ..OfWorkload::default()
        };
        let wanted = Wanted {
            of: &of,
            manifests: &manifests,
            namespace: namespace.into(),
            object: set("pg-check", labels),
            services: Vec::new(),
            config_maps: Vec::new(),
            empty: Vec::new(),
        };
        let policies = policies.iter().map(|(namespace, found)| ((*namespace).to_owned(), found.clone())).collect();
        notes(&[wanted], &There { policies, ..There::default() })
    }

    #[test]
    fn a_policy_that_selects_the_original_only_is_named() {
        let all = vec![policy("by-label", &json!({"matchLabels": {"app": "pg"}})), policy("all", &json!({}))];
        let beside = notes_of("demo", &json!({"consistent-backup/copy": "pg-check"}), &[("demo", Ok(all.clone()))]);
        assert_eq!(beside.len(), 1, "{beside:?}");
        let named =
            "statefulset/pg-check: its pods are not selected by networkpolicy/by-label of namespace demo, which";
        assert!(beside[0].starts_with(named), "{beside:?}");
        // Elsewhere the labels are the same, but policies of another namespace select nothing there.
        let elsewhere = notes_of("two", &json!({"app": "pg"}), &[("demo", Ok(all.clone())), ("two", Ok(Vec::new()))]);
        assert!(elsewhere[0].contains(" by networkpolicy/by-label, networkpolicy/all of"), "{elsewhere:?}");
        assert_eq!(notes_of("two", &json!({"app": "pg"}), &[("demo", Ok(all.clone())), ("two", Ok(all))]), [""; 0]);
        assert_eq!(notes_of("demo", &json!({}), &[("demo", Ok(Vec::new()))]), [""; 0]);
    }

    #[test]
    fn policies_that_may_not_be_read_are_not_called_absent() {
        let unread = notes_of("demo", &json!({}), &[("demo", Err("forbidden".into()))]);
        assert!(unread[0].ends_with("is not known: forbidden"), "{unread:?}");
    }
}
