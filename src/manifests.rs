//! What a backup remembers of a workload beside its data: the objects that it is made of, so that it can be made anew
//! where they are gone. Pure.
//!
//! A Secret is remembered by its name only, and so is a value that stands in a manifest although it looks like a secret:
//! then the workload itself cannot be made anew from here, and the record says why.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

pub mod beside;
pub mod credentials;
pub mod packed;
pub mod strip;
pub mod uses;

/// The manifests of a backup.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Manifests {
    /// One for each of the backup's workloads.
    pub workloads: Vec<OfWorkload>,
}

/// One workload and what belongs to it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OfWorkload {
    /// Its namespace.
    pub namespace: String,
    /// `StatefulSet`, `Deployment` …
    pub kind: String,
    /// Its name.
    pub name: String,
    /// The workload itself; absent when it could not be read.
    pub object: Option<Value>,
    /// The claims that its pods mount.
    #[serde(default)]
    pub claims: Vec<Value>,
    /// The ConfigMaps that its pods cannot start without, and those that they may use.
    #[serde(default)]
    pub config_maps: Vec<Value>,
    /// The Services that select its pods, and the one that a StatefulSet names.
    #[serde(default)]
    pub services: Vec<Value>,
    /// The Secrets that its pods cannot start without, by name.
    #[serde(default)]
    pub secrets: Vec<String>,
    /// Its ServiceAccount, if it names one.
    #[serde(default)]
    pub service_account: Option<String>,
    /// Values that stood in the workload's manifest and look like secrets: they are not remembered.
    #[serde(default)]
    pub withheld: Vec<String>,
    /// What is not remembered for another reason, one line each.
    #[serde(default)]
    pub missing: Vec<String>,
}

impl OfWorkload {
    /// `statefulset/postgres`, as kubectl names it.
    pub fn path(&self) -> String {
        format!("{}/{}", self.kind.to_lowercase(), self.name)
    }

    /// The same without the contents of ConfigMaps, where there is no room for them.
    #[must_use]
    pub fn without_data(&self) -> Self {
        let names: Vec<String> = self.config_maps.iter().map(|map| format!("configmap/{}", name(map))).collect();
        let mut less = Self { config_maps: Vec::new(), ..self.clone() };
        if !names.is_empty() {
            less.missing.push(format!("there was no room for the contents of {}", names.join(", ")));
        }
        less
    }
}

impl Manifests {
    /// What belongs to this workload.
    pub fn of(&self, namespace: &str, kind: &str, name: &str) -> Option<&OfWorkload> {
        self.workloads
            .iter()
            .find(|of| (of.namespace.as_str(), of.kind.as_str(), of.name.as_str()) == (namespace, kind, name))
    }

    /// Remarks for the plan of the backup, one line each.
    pub fn notes(&self) -> Vec<String> {
        let mut notes = Vec::new();
        for of in &self.workloads {
            if !of.withheld.is_empty() {
                notes.push(format!(
                    "{}: {} looks like a secret and is not recorded: the backup can bring back its claims, but not the \
                     workload itself; put such a value into a Secret, and name that with valueFrom",
                    of.path(),
                    of.withheld.join(", ")
                ));
            }
            notes.extend(
                of.missing.iter().map(|why| format!("{}: its manifests are not recorded in full: {why}", of.path())),
            );
        }
        notes
    }

    /// The same without the contents of ConfigMaps.
    #[must_use]
    pub fn without_data(&self) -> Self {
        Self { workloads: self.workloads.iter().map(OfWorkload::without_data).collect() }
    }

    /// Several parts of the same backup's manifests together: of a workload that is in several, what is most.
    #[must_use]
    pub fn merged(parts: impl IntoIterator<Item = Self>) -> Self {
        let mut all: BTreeMap<(String, String, String), OfWorkload> = BTreeMap::new();
        for of in parts.into_iter().flat_map(|part| part.workloads) {
            let key = (of.namespace.clone(), of.kind.clone(), of.name.clone());
            let more = all.get(&key).is_none_or(|known| known.config_maps.len() < of.config_maps.len());
            if more {
                all.insert(key, of);
            }
        }
        Self { workloads: all.into_values().collect() }
    }
}

/// The name of an object.
pub fn name(object: &Value) -> &str {
    object["metadata"]["name"].as_str().unwrap_or_default()
}

/// The kind of an object.
pub fn kind(object: &Value) -> &str {
    object["kind"].as_str().unwrap_or_default()
}

/// The spec of the pods that a workload makes, or of the pod itself.
pub fn pod_spec(workload: &Value) -> &Value {
    match kind(workload) {
        "Pod" => &workload["spec"],
        _ => &workload["spec"]["template"]["spec"],
    }
}

/// The labels of the pods that a workload makes, or of the pod itself.
pub fn pod_labels(workload: &Value) -> BTreeMap<String, String> {
    let meta = match kind(workload) {
        "Pod" => &workload["metadata"],
        _ => &workload["spec"]["template"]["metadata"],
    };
    let labels = meta["labels"].as_object().into_iter().flatten();
    labels.filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned()))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn of(name: &str, maps: usize) -> OfWorkload {
        OfWorkload {
            namespace: "demo".into(),
            kind: "StatefulSet".into(),
            name: name.into(),
            config_maps: vec![json!({"kind": "ConfigMap", "metadata": {"name": "conf"}}); maps],
            ..OfWorkload::default()
        }
    }

    #[test]
    fn of_two_parts_the_fuller_counts() {
        let part = |workloads: &[OfWorkload]| Manifests { workloads: workloads.to_vec() };
        let less = of("pg", 1).without_data();
        assert_eq!(less.missing, ["there was no room for the contents of configmap/conf"]);
        let merged = Manifests::merged([
            part(std::slice::from_ref(&less)),
            part(&[of("my", 0)]),
            part(&[of("pg", 1)]),
            part(&[less]),
        ]);
        assert_eq!(merged.workloads, [of("my", 0), of("pg", 1)]);
        assert!(merged.of("demo", "StatefulSet", "pg").is_some() && merged.of("demo", "Deployment", "pg").is_none());
    }

    #[test]
    fn what_is_not_recorded_is_said() {
        let mut pg = of("pg", 0);
        pg.withheld = vec!["PGPASSWORD of container db".into()];
        pg.missing = vec!["configmaps: forbidden".into()];
        let notes = Manifests { workloads: vec![pg, of("my", 1)] }.notes();
        assert_eq!(notes.len(), 2);
        assert!(notes[0].starts_with("statefulset/pg: PGPASSWORD of container db looks like a secret"), "{}", notes[0]);
        assert!(notes[1].ends_with("not recorded in full: configmaps: forbidden"), "{}", notes[1]);
    }
}
