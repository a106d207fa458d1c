//! What a backup remembers of a workload beside its data: the objects that it is made of, so that it can be made anew
//! where they are gone. Pure.
//!
//! A Secret is remembered by its name only, and so is a value that stands in a manifest although it looks like a secret:
//! then the workload itself cannot be made anew from here, and the record says why.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use config_map::ConfigMapReference;

pub mod annotations;
pub mod beside;
pub mod config_map;
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
    /// The ConfigMaps that its pods cannot start without, and those that they may use, with their data: beside the record
    /// only, and none in which something looks like a secret. Earlier versions wrote them onto the contents too.
    #[serde(default)]
    pub config_maps: Vec<Value>,
    /// All of them by name and digest.
    #[serde(default)]
    pub config_map_references: Vec<ConfigMapReference>,
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
    /// Unknown annotations, which may hold secrets: they are not recorded.
    #[serde(default)]
    pub left_out: Vec<String>,
    /// What is not remembered for another reason, one line each.
    #[serde(default)]
    pub missing: Vec<String>,
}

impl OfWorkload {
    /// `statefulset/postgres`, as kubectl names it.
    pub fn path(&self) -> String {
        format!("{}/{}", self.kind.to_lowercase(), self.name)
    }

    /// Adds a ConfigMap that its pods name, with its data unless something in it looks like a secret.
    pub fn add_config_map(&mut self, map: Value, optional: bool) {
        let reference = ConfigMapReference::of(&map, optional);
        if reference.withheld.is_empty() {
            self.config_maps.push(map);
        }
        self.config_map_references.push(reference);
    }

    /// The same as it may stand where more people read than in its namespace: of ConfigMaps the names and digests.
    #[must_use]
    pub fn without_data(&self) -> Self {
        Self { config_maps: Vec::new(), ..self.clone() }
    }

    /// The remarks about its ConfigMaps, for the plan of a backup whose record lies in this namespace.
    fn config_map_notes(&self, namespace: &str) -> Vec<String> {
        let mut notes = Vec::new();
        let (mut named, mut beside) = (Vec::new(), Vec::new());
        for map in &self.config_map_references {
            if map.withheld.is_empty() {
                beside.push(map.path());
            } else {
                named.push(format!("{} ({})", map.path(), map.withheld.join(", ")));
            }
        }
        if !named.is_empty() {
            notes.push(format!(
                "{}: {} looks like a secret, so the data is not recorded: if the ConfigMap is gone, create it before a \
                 restore; put such a value into a Secret",
                self.path(),
                named.join(", ")
            ));
        }
        if !beside.is_empty() && namespace == self.namespace {
            notes.push(format!(
                "{}: the data of {} is recorded in namespace {namespace} only: if the namespace is deleted, create the \
                 ConfigMap before a restore, or record elsewhere with --record-namespace",
                self.path(),
                beside.join(", ")
            ));
        }
        notes
    }
}

impl Manifests {
    /// What belongs to this workload.
    pub fn of(&self, namespace: &str, kind: &str, name: &str) -> Option<&OfWorkload> {
        self.workloads
            .iter()
            .find(|of| (of.namespace.as_str(), of.kind.as_str(), of.name.as_str()) == (namespace, kind, name))
    }

    /// Remarks for the plan of a backup whose record lies in this namespace, one line each.
    pub fn notes(&self, namespace: &str) -> Vec<String> {
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
            if !of.left_out.is_empty() {
                notes.push(format!(
                    "{}: unknown annotations may hold secrets and are not recorded: {}; if the workload is gone, a restore \
                     creates it without them",
                    of.path(),
                    of.left_out.join(", ")
                ));
            }
            notes.extend(of.config_map_notes(namespace));
            notes.extend(
                of.missing.iter().map(|why| format!("{}: its manifests are not recorded in full: {why}", of.path())),
            );
        }
        notes
    }

    /// The same as it may stand on contents, which people of every namespace read.
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

/// The same to be changed.
fn pod_spec_mut(workload: &mut Value) -> &mut Value {
    match kind(workload) {
        "Pod" => &mut workload["spec"],
        _ => &mut workload["spec"]["template"]["spec"],
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

    fn map(text: &str) -> Value {
        json!({"kind": "ConfigMap", "metadata": {"name": "conf"}, "data": {"db.conf": text}})
    }

    fn of(name: &str, maps: &[&str]) -> OfWorkload {
        let mut of = OfWorkload {
            namespace: "demo".into(),
            kind: "StatefulSet".into(),
            name: name.into(),
            ..OfWorkload::default()
        };
        for text in maps {
            of.add_config_map(map(text), false);
        }
        of
    }

    #[test]
    fn of_two_parts_the_fuller_counts() {
        let part = |workloads: &[OfWorkload]| Manifests { workloads: workloads.to_vec() };
        let less = of("pg", &["a=1"]).without_data();
        let merged = Manifests::merged([
            part(std::slice::from_ref(&less)),
            part(&[of("my", &[])]),
            part(&[of("pg", &["a=1"])]),
            part(&[less]),
        ]);
        assert_eq!(merged.workloads, [of("my", &[]), of("pg", &["a=1"])]);
        assert!(merged.of("demo", "StatefulSet", "pg").is_some() && merged.of("demo", "Deployment", "pg").is_none());
    }

    #[test]
    fn the_data_of_a_config_map_stays_beside_the_record() {
        let pg = of("pg", &["work_mem = 8MB"]);
        assert_eq!((pg.config_maps.len(), pg.config_map_references.len()), (1, 1));
        let less = serde_json::to_string(&pg.without_data()).unwrap();
        assert!(!less.contains("work_mem") && less.contains("sha256:") && less.contains("conf"), "{less}");
        let secret = of("pg", &["requirepass geheim"]);
        assert!(secret.config_maps.is_empty() && !serde_json::to_string(&secret).unwrap().contains("geheim"));
    }

    /// What an earlier version wrote has neither references nor annotations that were left out.
    #[test]
    fn manifests_of_earlier_versions_are_read() {
        let written = json!({"workloads": [{"namespace": "demo", "kind": "StatefulSet", "name": "pg", "object": {"kind": "StatefulSet"},
            "claims": [], "configMaps": [map("a=1")], "services": [], "secrets": ["pg"], "serviceAccount": null,
            "withheld": [], "missing": ["there was no room for the contents of configmap/x"]}]});
        let read: Manifests = serde_json::from_value(written.clone()).unwrap();
        assert_eq!((read.workloads[0].config_maps.len(), read.workloads[0].config_map_references.len()), (1, 0));
        let again = serde_json::to_value(read).unwrap();
        for (field, value) in written["workloads"][0].as_object().unwrap() {
            assert_eq!(again["workloads"][0][field], *value, "{field}");
        }
    }

    #[test]
    fn what_is_not_recorded_is_said() {
        let mut pg = of("pg", &["a=1", "password=geheim"]);
        pg.withheld = vec!["PGPASSWORD of container db".into()];
        pg.left_out = vec!["annotation x of its pods".into()];
        pg.missing = vec!["configmaps: forbidden".into()];
        let manifests = Manifests { workloads: vec![pg, of("my", &[])] };
        let notes = manifests.notes("demo");
        assert_eq!(notes.len(), 5, "{notes:?}");
        assert!(notes[0].starts_with("statefulset/pg: PGPASSWORD of container db looks like a secret"), "{}", notes[0]);
        assert!(notes[1].contains("annotation x of its pods"), "{}", notes[1]);
        assert!(notes[2].contains("configmap/conf (password in db.conf) looks like a secret"), "{}", notes[2]);
        assert!(notes[3].contains("the data of configmap/conf is recorded in namespace demo only"), "{}", notes[3]);
        assert!(notes[4].ends_with("not recorded in full: configmaps: forbidden"), "{}", notes[4]);
        assert!(!notes.concat().contains("geheim"));
        assert_eq!(manifests.notes("records").len(), 4, "the record outlives the namespace");
    }
}
