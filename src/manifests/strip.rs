//! What is true of one object only, and would be a lie on the next one, is taken off its manifest.

use serde_json::{Map, Value};

use super::annotations::take_out;
use super::kind;

/// Labels that this program writes about one run.
const OURS: &str = "consistent-backup/";

/// The manifest as somebody could have written it: without identity, status, owners and what the cluster chose.
#[must_use]
pub fn strip(object: &Value) -> Value {
    let object = &mut object.clone();
    take_out(object);
    let mut stripped = Map::new();
    for field in ["apiVersion", "kind", "spec", "data", "binaryData", "immutable"] {
        if let Some(value) = object.get(field) {
            stripped.insert(field.to_owned(), value.clone());
        }
    }
    stripped.insert("metadata".to_owned(), metadata(&object["metadata"]));
    let mut stripped = Value::Object(stripped);
    match kind(&stripped) {
        "Service" => service(&mut stripped["spec"]),
        "Pod" => pod(&mut stripped["spec"]),
        "PersistentVolumeClaim" => without(&mut stripped["spec"], &["volumeName", "dataSource", "dataSourceRef"]),
        _ => templates(&mut stripped["spec"]),
    }
    no_nulls(&mut stripped);
    stripped
}

/// Name, labels and annotations.
fn metadata(of: &Value) -> Value {
    let mut kept = Map::new();
    if let Some(name) = of.get("name") {
        kept.insert("name".to_owned(), name.clone());
    }
    let some = |field: &str, keep: fn(&str) -> bool| -> Option<Value> {
        let all = of[field].as_object()?;
        let some: Map<String, Value> =
            all.iter().filter(|(key, _)| keep(key)).map(|(k, v)| (k.clone(), v.clone())).collect();
        (!some.is_empty()).then_some(Value::Object(some))
    };
    let label = |key: &str| !key.starts_with(OURS);
    kept.extend(some("labels", label).map(|labels| ("labels".to_owned(), labels)));
    kept.extend(some("annotations", |_| true).map(|annotations| ("annotations".to_owned(), annotations)));
    Value::Object(kept)
}

/// Addresses and ports that the cluster gave this Service. Headless is what somebody chose.
fn service(spec: &mut Value) {
    let headless = spec["clusterIP"] == "None";
    let chosen = ["clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy", "healthCheckNodePort", "loadBalancerIP"];
    without(spec, &chosen);
    if headless && let Some(spec) = spec.as_object_mut() {
        spec.insert("clusterIP".to_owned(), "None".into());
    }
    for port in spec["ports"].as_array_mut().into_iter().flatten() {
        without(port, &["nodePort"]);
    }
}

/// What the scheduler and admission put into a pod that nobody's controller made.
fn pod(spec: &mut Value) {
    without(spec, &["nodeName", "serviceAccount", "priority", "preemptionPolicy", "ephemeralContainers"]);
    let is_token = |name: &Value| name.as_str().is_some_and(|name| name.starts_with("kube-api-access-"));
    if let Some(volumes) = spec["volumes"].as_array_mut() {
        volumes.retain(|volume| !is_token(&volume["name"]));
    }
    for containers in ["containers", "initContainers"] {
        for container in spec[containers].as_array_mut().into_iter().flatten() {
            if let Some(mounts) = container["volumeMounts"].as_array_mut() {
                mounts.retain(|mount| !is_token(&mount["name"]));
            }
        }
    }
}

/// The templates of pods and claims inside a workload.
fn templates(spec: &mut Value) {
    if let Some(template) = spec.get_mut("template") {
        without(&mut template["metadata"], &["creationTimestamp"]);
    }
    for template in spec.get_mut("volumeClaimTemplates").and_then(Value::as_array_mut).into_iter().flatten() {
        without(template, &["status"]);
        without(&mut template["metadata"], &["creationTimestamp"]);
    }
}

fn without(object: &mut Value, fields: &[&str]) {
    if let Some(object) = object.as_object_mut() {
        object.retain(|field, _| !fields.contains(&field.as_str()));
    }
}

fn no_nulls(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.retain(|_, value| !value.is_null());
            fields.values_mut().for_each(no_nulls);
        }
        Value::Array(items) => items.iter_mut().for_each(no_nulls),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn meta(more: &Value) -> Value {
        let mut meta = json!({"name": "x", "namespace": "demo", "uid": "u", "resourceVersion": "7", "generation": 3,
            "creationTimestamp": "2026-11-20T10:00:00Z", "managedFields": [{}], "finalizers": ["f"],
            "ownerReferences": [{"kind": "Release", "name": "r"}]});
        meta.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        meta
    }

    #[test]
    fn a_workload_keeps_what_somebody_wrote() {
        let spec = json!({"replicas": 1, "serviceName": "x", "template": {"metadata": {"creationTimestamp": null,
            "annotations": {"consistent-backup/adapter": "postgres", "consistent-backup/hold": "archive",
                "ad.datadoghq.com/db.checks": "{\"db\": {\"instances\": [{\"password\": \"geheim\"}]}}"}}, "spec": {"containers": []}},
            "volumeClaimTemplates": [{"metadata": {"name": "data", "creationTimestamp": null, "annotations": {"x": "geheim"}}, "spec": {}, "status": {"phase": "Pending"}}]});
        let annotations = json!({"annotations": {"kubectl.kubernetes.io/last-applied-configuration": "geheim",
            "note": "geheim", "prometheus.io/scrape": "true", "consistent-backup/restoring": "r", "consistent-backup/role": "none"},
            "labels": {"app": "x", "consistent-backup/restored-from": "b1"}});
        let set = json!({"apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": meta(&annotations), "spec": spec,
            "status": {"replicas": 1}});
        assert_eq!(
            strip(&set),
            json!({"apiVersion": "apps/v1", "kind": "StatefulSet",
                "metadata": {"name": "x", "labels": {"app": "x"},
                    "annotations": {"prometheus.io/scrape": "true", "consistent-backup/role": "none"}},
                "spec": {"replicas": 1, "serviceName": "x",
                    "template": {"metadata": {"annotations": {"consistent-backup/adapter": "postgres",
                        "consistent-backup/hold": "archive"}}, "spec": {"containers": []}},
                    "volumeClaimTemplates": [{"metadata": {"name": "data"}, "spec": {}}]}})
        );
        assert_eq!(strip(&strip(&set)), strip(&set));
        assert!(!strip(&set).to_string().contains("geheim"));
    }

    #[test]
    fn a_service_loses_the_addresses_that_it_was_given() {
        let service = |spec: Value| {
            strip(&json!({"kind": "Service", "metadata": meta(&json!({})), "spec": spec}))["spec"].clone()
        };
        let spec = json!({"clusterIP": "10.0.0.1", "clusterIPs": ["10.0.0.1"], "ipFamilies": ["IPv4"], "type": "NodePort",
            "ipFamilyPolicy": "SingleStack", "selector": {"app": "x"}, "ports": [{"port": 1, "nodePort": 30000}]});
        assert_eq!(service(spec), json!({"type": "NodePort", "selector": {"app": "x"}, "ports": [{"port": 1}]}));
        let headless = json!({"clusterIP": "None", "clusterIPs": ["None"], "selector": {"app": "x"}});
        assert_eq!(service(headless), json!({"clusterIP": "None", "selector": {"app": "x"}}));
    }

    #[test]
    fn a_pod_and_a_claim_lose_what_bound_them() {
        let token = json!({"name": "kube-api-access-x", "projected": {}});
        let pod = json!({"kind": "Pod", "metadata": meta(&json!({})), "spec": {"nodeName": "n1", "priority": 0,
            "volumes": [{"name": "data"}, token], "containers": [{"volumeMounts": [{"name": "data"}, {"name": "kube-api-access-x"}]}]}});
        assert_eq!(
            strip(&pod)["spec"],
            json!({"volumes": [{"name": "data"}], "containers": [{"volumeMounts": [{"name": "data"}]}]})
        );
        let bound = json!({"annotations": {"pv.kubernetes.io/bind-completed": "yes"}});
        let claim = json!({"kind": "PersistentVolumeClaim", "metadata": meta(&bound), "status": {"phase": "Bound"},
            "spec": {"volumeName": "pv-1", "accessModes": ["ReadWriteOnce"], "dataSource": {"name": "s"}}});
        assert_eq!(
            strip(&claim),
            json!({"kind": "PersistentVolumeClaim", "metadata": {"name": "x"}, "spec": {"accessModes": ["ReadWriteOnce"]}})
        );
    }
}
