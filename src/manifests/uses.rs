//! What pods cannot do without, read off their spec, and which Services find them.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

/// Objects that a pod's spec names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Uses {
    /// ConfigMaps, with whether the pod can start without.
    pub config_maps: BTreeMap<String, bool>,
    /// Secrets, with whether the pod can start without.
    pub secrets: BTreeMap<String, bool>,
    /// Claims.
    pub claims: BTreeSet<String>,
    /// The ServiceAccount, if it is not the one that every namespace has.
    pub service_account: Option<String>,
}

impl Uses {
    /// Reads a pod's spec.
    pub fn of(spec: &Value) -> Self {
        let mut uses = Self::default();
        for containers in ["initContainers", "containers"] {
            for container in items(&spec[containers]) {
                for from in items(&container["envFrom"]) {
                    uses.config_map(&from["configMapRef"], "name");
                    uses.secret(&from["secretRef"], "name");
                }
                for variable in items(&container["env"]) {
                    uses.config_map(&variable["valueFrom"]["configMapKeyRef"], "name");
                    uses.secret(&variable["valueFrom"]["secretKeyRef"], "name");
                }
            }
        }
        for volume in items(&spec["volumes"]) {
            uses.config_map(&volume["configMap"], "name");
            uses.secret(&volume["secret"], "secretName");
            for source in items(&volume["projected"]["sources"]) {
                uses.config_map(&source["configMap"], "name");
                uses.secret(&source["secret"], "name");
            }
            uses.claims.extend(volume["persistentVolumeClaim"]["claimName"].as_str().map(str::to_owned));
        }
        // Without it the kubelet tries to pull all the same: the image may be there.
        for secret in items(&spec["imagePullSecrets"]) {
            if let Some(name) = secret["name"].as_str() {
                uses.secrets.entry(name.to_owned()).or_insert(true);
            }
        }
        let account = spec["serviceAccountName"].as_str().filter(|name| !matches!(*name, "" | "default"));
        uses.service_account = account.map(str::to_owned);
        uses
    }

    /// The Secrets that it cannot start without.
    pub fn needed_secrets(&self) -> Vec<String> {
        self.secrets.iter().filter(|(_, optional)| !**optional).map(|(name, _)| name.clone()).collect()
    }

    fn config_map(&mut self, reference: &Value, field: &str) {
        add(&mut self.config_maps, reference, field);
    }

    fn secret(&mut self, reference: &Value, field: &str) {
        add(&mut self.secrets, reference, field);
    }
}

/// Needed once is needed.
fn add(to: &mut BTreeMap<String, bool>, reference: &Value, field: &str) {
    let Some(name) = reference[field].as_str() else { return };
    // Every namespace has it.
    if name == "kube-root-ca.crt" {
        return;
    }
    let optional = reference["optional"].as_bool().unwrap_or_default();
    let known = to.entry(name.to_owned()).or_insert(optional);
    *known &= optional;
}

fn items(list: &Value) -> impl Iterator<Item = &Value> {
    list.as_array().into_iter().flatten()
}

/// Whether a Service finds pods with these labels. One without a selector finds none by itself.
pub fn selects(service: &Value, labels: &BTreeMap<String, String>) -> bool {
    let Some(selector) = service["spec"]["selector"].as_object().filter(|selector| !selector.is_empty()) else {
        return false;
    };
    selector.iter().all(|(key, value)| labels.get(key).map(String::as_str) == value.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn every_way_to_name_an_object_is_found() {
        let spec = json!({
            "serviceAccountName": "pg",
            "imagePullSecrets": [{"name": "pull"}],
            "initContainers": [{"envFrom": [{"configMapRef": {"name": "init"}}, {"secretRef": {"name": "s1", "optional": true}}]}],
            "containers": [{"env": [
                {"name": "A", "valueFrom": {"configMapKeyRef": {"name": "conf", "key": "a", "optional": true}}},
                {"name": "B", "valueFrom": {"secretKeyRef": {"name": "s2", "key": "b"}}}]}],
            "volumes": [
                {"name": "c", "configMap": {"name": "conf"}},
                {"name": "s", "secret": {"secretName": "s3"}},
                {"name": "p", "projected": {"sources": [{"configMap": {"name": "kube-root-ca.crt"}},
                    {"configMap": {"name": "proj"}}, {"secret": {"name": "s4"}}]}},
                {"name": "d", "persistentVolumeClaim": {"claimName": "data"}}]
        });
        let uses = Uses::of(&spec);
        assert_eq!(
            uses.config_maps.iter().map(|(name, optional)| (name.as_str(), *optional)).collect::<Vec<_>>(),
            [("conf", false), ("init", false), ("proj", false)]
        );
        assert_eq!(uses.needed_secrets(), ["s2", "s3", "s4"]);
        assert_eq!(uses.claims.iter().collect::<Vec<_>>(), ["data"]);
        assert_eq!(uses.service_account.as_deref(), Some("pg"));
        assert_eq!(Uses::of(&json!({"serviceAccountName": "default"})), Uses::default());
    }

    #[test]
    fn a_service_finds_pods_with_all_of_its_labels() {
        let labels = BTreeMap::from([("app".to_owned(), "pg".to_owned()), ("tier".to_owned(), "db".to_owned())]);
        let service = |selector: Value| json!({"kind": "Service", "spec": {"selector": selector}});
        assert!(selects(&service(json!({"app": "pg"})), &labels));
        assert!(!selects(&service(json!({"app": "pg", "tier": "web"})), &labels));
        assert!(!selects(&service(json!({})), &labels));
        assert!(!selects(&json!({"spec": {"type": "ExternalName"}}), &labels));
    }
}
