//! What the pods of copies need in another namespace than the backup's: it is there, or the backup remembers it. Pure.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use serde_json::{Value, json};

use super::Wanted;
use crate::error::Refusal;
use crate::labels::{CONFIG_MAP, MANAGED_BY, VERIFY};
use crate::manifests::beside::moved;
use crate::manifests::name;
use crate::manifests::uses::Uses;
use crate::plan::restore::Suffix;
use crate::plan::restore::anew::key;
use crate::plan::restore::config_maps;
use crate::plan::restore::facts::Found;
use crate::plan::{Plan, Target};

/// What a copy's pod names.
pub(super) fn uses(pod: &Pod) -> Uses {
    Uses::of(&serde_json::to_value(&pod.spec).unwrap_or_default())
}

/// Where a copy of this database is made.
pub(super) struct Elsewhere<'a> {
    pub(super) target: &'a Target,
    pub(super) plan: &'a Plan,
    pub(super) wanted: &'a Wanted<'a>,
    pub(super) namespace: &'a str,
    pub(super) suffix: &'a Suffix,
}

impl Elsewhere<'_> {
    /// The ConfigMaps that have to be made for this pod, which is changed to name them; what is neither there nor
    /// remembered is refused.
    pub(super) fn needed(&self, pod: &mut Pod, refusals: &mut Vec<Refusal>, notes: &mut Vec<String>) -> Vec<ConfigMap> {
        let (target, there, namespace) = (self.target, self.wanted.there, self.namespace);
        let uses = uses(pod);
        let secrets = uses.secrets.iter().filter(|(_, optional)| !**optional).map(|(name, _)| ("Secret", name));
        for (kind, name) in secrets.chain(uses.service_account.iter().map(|name| ("ServiceAccount", name))) {
            let path = format!("{}/{name}", kind.to_lowercase());
            match there.named.get(&key(kind, namespace, name)) {
                Some(Found::No) => refusals.push(missing(path, target, namespace)),
                Some(Found::Unknown(why)) => notes.push(format!(
                    "{path}: pod {} needs it; whether it is in namespace {namespace} is not known: {why}",
                    target.pod
                )),
                Some(Found::Yes(_)) | None => {}
            }
        }
        let of = self.plan.workloads.iter().filter(|of| of.namespace == target.namespace && of.owns(&target.pod));
        let of: Vec<_> = of.filter_map(|of| self.wanted.manifests.of(&of.namespace, &of.kind, &of.name)).collect();
        let user = format!("the copy of pod {}", target.pod);
        notes.extend(of.iter().flat_map(|of| config_maps::notes(of, there, namespace, &user)));
        let remembered: Vec<&Value> = of.into_iter().flat_map(|of| &of.config_maps).collect();
        let mut made = Vec::new();
        for (map, optional) in &uses.config_maps {
            let path = format!("configmap/{map}");
            if let Some(remembered) = remembered.iter().find(|of| name(of) == map) {
                match self.copy(remembered, map) {
                    Some(copy) => {
                        named_instead(pod, map, &self.suffix.name(map));
                        made.push(copy);
                    }
                    None => refusals.push(Refusal::new(path, "it cannot be read from the backup's manifests")),
                }
                continue;
            }
            match there.objects.get(&key("ConfigMap", namespace, map)) {
                Some(Found::No) if !*optional => refusals.push(missing(path, target, namespace)),
                Some(Found::Unknown(why)) if !*optional => {
                    refusals.push(Refusal::new(path, format!("it could not be read: {why}")));
                }
                _ => {}
            }
        }
        made
    }

    /// The ConfigMap under a name of its own: one with the original's name there is somebody else's.
    fn copy(&self, remembered: &Value, of: &str) -> Option<ConfigMap> {
        let mut map = moved(remembered);
        map["metadata"]["name"] = json!(self.suffix.name(of));
        map["metadata"]["namespace"] = json!(self.namespace);
        map["metadata"]["labels"] = json!({ MANAGED_BY.0: MANAGED_BY.1, VERIFY: self.plan.run });
        map["metadata"]["annotations"] = json!({ CONFIG_MAP: of });
        serde_json::from_value(map).ok()
    }
}

/// Has the pod read another ConfigMap wherever it names this one.
fn named_instead(pod: &mut Pod, of: &str, other: &str) {
    let Some(spec) = &pod.spec else { return };
    let Ok(mut value) = serde_json::to_value(spec) else { return };
    rename(&mut value, of, other);
    if let Ok(spec) = serde_json::from_value(value) {
        pod.spec = Some(spec);
    }
}

fn rename(value: &mut Value, of: &str, other: &str) {
    match value {
        Value::Object(fields) => {
            for (field, value) in fields {
                let is_reference = matches!(field.as_str(), "configMap" | "configMapRef" | "configMapKeyRef");
                if is_reference && value["name"] == of {
                    value["name"] = json!(other);
                } else {
                    rename(value, of, other);
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| rename(item, of, other)),
        _ => {}
    }
}

fn missing(path: String, target: &Target, namespace: &str) -> Refusal {
    Refusal::new(path, format!("pod {} needs it, and it is not in namespace {namespace}", target.pod))
        .hint(format!("make it first, in namespace {namespace}"))
}

/// Refuses ConfigMaps of one name with different content: all the backup's namespaces are one here, and a server would
/// start with another one's configuration.
pub(super) fn different<'a>(all: impl Iterator<Item = &'a ConfigMap>, namespace: &str) -> Vec<Refusal> {
    let mut seen: BTreeMap<&str, &ConfigMap> = BTreeMap::new();
    let mut refusals = Vec::new();
    for map in all {
        let name = map.metadata.name.as_deref().unwrap_or_default();
        if seen.insert(name, map).is_some_and(|other| other != map) {
            refusals.push(two_of(&format!("configmap/{name}"), namespace));
        }
    }
    refusals
}

/// Names that two copies would have: the backup's namespaces are one here.
pub(super) fn twice<'a>(names: impl Iterator<Item = (&'a str, &'a str)>, namespace: &str) -> Vec<Refusal> {
    let mut seen = BTreeSet::new();
    let twice: BTreeSet<(&str, &str)> = names.filter(|name| !seen.insert(*name)).collect();
    twice.into_iter().map(|(kind, name)| two_of(&format!("{kind}/{name}"), namespace)).collect()
}

fn two_of(object: &str, namespace: &str) -> Refusal {
    Refusal::new(object, format!("two of the backup would have this name in namespace {namespace}"))
        .hint("verify it without --to-namespace")
}
