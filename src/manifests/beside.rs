//! The manifests of a copy: with other names beside the original, or the same ones in another namespace.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{OfWorkload, kind, name};
use crate::labels::COPY;
use crate::names::fnv;

/// Annotations by which other programs find the original: they would take the copy for it.
const OF_OTHERS: &[&str] =
    &["argocd.argoproj.io/", "kustomize.toolkit.fluxcd.io/", "helm.toolkit.fluxcd.io/", "meta.helm.sh/"];

/// The name of something's copy.
pub fn renamed(name: &str, suffix: Option<&str>) -> String {
    suffix.map_or_else(|| name.to_owned(), |suffix| format!("{name}-{suffix}"))
}

/// The name that the copy's claim must have: a StatefulSet's controller looks for `TEMPLATE-SET-ORDINAL`.
pub fn claim_name(of: Option<&OfWorkload>, claim: &str, suffix: Option<&str>) -> String {
    let Some(suffix) = suffix else { return claim.to_owned() };
    let templated = of.and_then(|of| {
        let object = of.object.as_ref().filter(|object| kind(object) == "StatefulSet")?;
        let templates = object["spec"]["volumeClaimTemplates"].as_array()?;
        templates.iter().find_map(|template| {
            let prefix = format!("{}-{}-", name(template), of.name);
            let ordinal = claim.strip_prefix(&prefix)?;
            ordinal.parse::<u32>().is_ok().then(|| format!("{prefix}{suffix}-{ordinal}"))
        })
    });
    templated.unwrap_or_else(|| renamed(claim, Some(suffix)))
}

/// The labels that the pods of a copy bear instead of the original's: no Service may find them.
pub fn copy_labels(name: &str) -> BTreeMap<String, String> {
    // A label's value has 63 characters at most.
    let value = if name.len() <= 63 { name.to_owned() } else { format!("{}-{:016x}", &name[..46], fnv(name)) };
    BTreeMap::from([(COPY.to_owned(), value)])
}

/// The workload and the Services of a copy beside the original: other names, other labels, one headless Service.
pub fn beside(of: &OfWorkload, suffix: &str) -> Option<(Value, Vec<Value>)> {
    let mut object = of.object.clone()?;
    let new_name = renamed(&of.name, Some(suffix));
    let labels = copy_labels(&new_name);
    object["metadata"]["name"] = json!(new_name);
    object["metadata"]["labels"] = json!(labels);
    without_others(&mut object["metadata"]);
    let mut services = Vec::new();
    if kind(&object) == "Pod" {
        mounted(&mut object["spec"], suffix);
        return Some((object, services));
    }
    object["spec"]["selector"] = json!({ "matchLabels": labels });
    object["spec"]["template"]["metadata"]["labels"] = json!(labels);
    mounted(&mut object["spec"]["template"]["spec"], suffix);
    if kind(&object) == "StatefulSet" {
        let of_original = object["spec"]["serviceName"].as_str().unwrap_or_default().to_owned();
        object["spec"]["serviceName"] = json!(new_name);
        let ports = of.services.iter().find(|service| name(service) == of_original).map(|s| s["spec"]["ports"].clone());
        let mut spec = json!({ "clusterIP": "None", "selector": labels });
        if let Some(ports) = ports.filter(Value::is_array) {
            spec["ports"] = ports;
        }
        let metadata = json!({ "name": new_name, "labels": labels });
        services.push(json!({ "apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": spec }));
    }
    Some((object, services))
}

/// Claims that the pods name themselves are the copies'.
fn mounted(spec: &mut Value, suffix: &str) {
    for volume in spec.get_mut("volumes").and_then(Value::as_array_mut).into_iter().flatten() {
        if let Some(claim) = volume["persistentVolumeClaim"]["claimName"].as_str().map(str::to_owned) {
            volume["persistentVolumeClaim"]["claimName"] = json!(renamed(&claim, Some(suffix)));
        }
    }
}

/// An object for another namespace. A Service there is for the cluster's inside only: a load balancer, a port of the nodes
/// or a name outside belongs to the original.
#[must_use]
pub fn moved(object: &Value) -> Value {
    let mut object = object.clone();
    without_others(&mut object["metadata"]);
    if kind(&object) == "Service" {
        if let Some(metadata) = object["metadata"].as_object_mut() {
            metadata.remove("annotations");
        }
        if let Some(spec) = object["spec"].as_object_mut() {
            let outside = [
                "type",
                "externalIPs",
                "externalName",
                "externalTrafficPolicy",
                "loadBalancerClass",
                "loadBalancerSourceRanges",
                "allocateLoadBalancerNodePorts",
            ];
            spec.retain(|field, _| !outside.contains(&field.as_str()));
        }
    }
    object
}

fn without_others(metadata: &mut Value) {
    if let Some(annotations) = metadata.get_mut("annotations").and_then(Value::as_object_mut) {
        annotations.retain(|key, _| !OF_OTHERS.iter().any(|prefix| key.starts_with(prefix)));
    }
}

/// Whether all that is wanted stands in what is there: an object that has more, because the cluster added defaults, is the
/// same.
pub fn contains(there: &Value, wanted: &Value) -> bool {
    match (there, wanted) {
        (Value::Object(there), Value::Object(wanted)) => {
            wanted.iter().all(|(field, wanted)| there.get(field).is_some_and(|there| contains(there, wanted)))
        }
        (Value::Array(there), Value::Array(wanted)) => {
            there.len() == wanted.len() && there.iter().zip(wanted).all(|(there, wanted)| contains(there, wanted))
        }
        _ => there == wanted,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifests::pod_labels;
    use crate::manifests::uses::selects;
    use proptest::prelude::*;

    fn set(labels: &Value) -> OfWorkload {
        let object = json!({"apiVersion": "apps/v1", "kind": "StatefulSet",
            "metadata": {"name": "pg", "labels": {"app": "pg"}, "annotations": {"argocd.argoproj.io/tracking-id": "x", "a": "b"}},
            "spec": {"serviceName": "pg-headless", "selector": {"matchLabels": {"app": "pg"}},
                "template": {"metadata": {"labels": labels}, "spec": {"containers": [], "volumes": [
                    {"name": "logs", "persistentVolumeClaim": {"claimName": "logs"}}]}},
                "volumeClaimTemplates": [{"metadata": {"name": "data"}}]}});
        let service = |name: &str| {
            json!({"kind": "Service", "metadata": {"name": name},
            "spec": {"clusterIP": "None", "selector": {"app": "pg"}, "ports": [{"port": 5432}]}})
        };
        OfWorkload {
            namespace: "demo".into(),
            kind: "StatefulSet".into(),
            name: "pg".into(),
            object: Some(object),
            services: vec![service("pg-headless")],
            ..OfWorkload::default()
        }
    }

    #[test]
    fn a_copy_has_other_names_throughout() {
        let of = set(&json!({"app": "pg"}));
        let (copy, services) = beside(&of, "check").unwrap();
        let labels = json!({"consistent-backup/copy": "pg-check"});
        assert_eq!(copy["metadata"], json!({"name": "pg-check", "labels": labels, "annotations": {"a": "b"}}));
        assert_eq!(copy["spec"]["selector"]["matchLabels"], labels);
        assert_eq!(copy["spec"]["template"]["metadata"]["labels"], labels);
        assert_eq!(copy["spec"]["serviceName"], "pg-check");
        assert_eq!(copy["spec"]["template"]["spec"]["volumes"][0]["persistentVolumeClaim"]["claimName"], "logs-check");
        assert_eq!(services.len(), 1);
        assert_eq!(services[0]["metadata"]["name"], "pg-check");
        assert_eq!(services[0]["spec"], json!({"clusterIP": "None", "selector": labels, "ports": [{"port": 5432}]}));
        assert_eq!(claim_name(Some(&of), "data-pg-0", Some("check")), "data-pg-check-0");
        assert_eq!(claim_name(Some(&of), "data-pg-old-0", Some("check")), "data-pg-old-0-check");
        assert_eq!(claim_name(Some(&of), "logs", Some("check")), "logs-check");
        assert_eq!(claim_name(Some(&of), "logs", None), "logs");
        assert_eq!(claim_name(None, "data-pg-0", Some("check")), "data-pg-0-check");
    }

    proptest! {
        #[test]
        fn no_service_of_the_original_finds_the_copy(
            labels in prop::collection::btree_map("[a-z]{1,4}", "[a-z]{1,4}", 1..6), some in prop::collection::vec(any::<bool>(), 6),
        ) {
            let of = set(&json!(labels));
            let chosen = labels.iter().zip(some).filter(|(_, chosen)| *chosen).map(|(label, _)| label);
            let selector: BTreeMap<&String, &String> = chosen.collect();
            let service = json!({"spec": {"selector": selector}});
            let (copy, own) = beside(&of, "s").unwrap();
            prop_assert_eq!(selects(&service, &labels), !selector.is_empty());
            prop_assert!(!selects(&service, &pod_labels(&copy)));
            prop_assert!(selects(&own[0], &pod_labels(&copy)));
        }
    }

    #[test]
    fn a_name_of_any_length_makes_a_label() {
        assert_eq!(copy_labels("pg-check")[COPY], "pg-check");
        let (one, two) = (format!("{}a", "x".repeat(80)), format!("{}b", "x".repeat(80)));
        assert!(copy_labels(&one)[COPY].len() <= 63 && copy_labels(&one) != copy_labels(&two));
    }

    #[test]
    fn elsewhere_a_service_is_for_the_inside() {
        let service = json!({"kind": "Service", "metadata": {"name": "pg", "annotations": {"external-dns.alpha.kubernetes.io/hostname": "db.example"}},
            "spec": {"type": "LoadBalancer", "externalIPs": ["1.2.3.4"], "selector": {"app": "pg"}, "ports": [{"port": 1}]}});
        assert_eq!(
            moved(&service),
            json!({"kind": "Service", "metadata": {"name": "pg"}, "spec": {"selector": {"app": "pg"}, "ports": [{"port": 1}]}})
        );
    }

    #[test]
    fn what_the_cluster_added_makes_no_other_object() {
        let wanted = json!({"data": {"a": "1"}, "spec": {"ports": [{"port": 1}]}});
        assert!(contains(
            &json!({"data": {"a": "1"}, "spec": {"ports": [{"port": 1, "protocol": "TCP"}], "x": 1}}),
            &wanted
        ));
        assert!(!contains(&json!({"data": {"a": "2"}, "spec": {"ports": [{"port": 1}]}}), &wanted));
        assert!(!contains(&json!({"data": {"a": "1"}, "spec": {"ports": []}}), &wanted));
    }
}
