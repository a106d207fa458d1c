//! Values in a workload's manifest that look like secrets. They are taken out before anything is recorded: a record is
//! read by more people than a Secret.
//!
//! A false positive makes a workload impossible to restore, and a false negative stores a secret. So the tests have two
//! tables of examples: values that must not be recorded, and values that must be.

use serde_json::Value;

use super::pod_spec_mut;

mod commands;
mod files;
mod names;
mod places;
mod references;
mod shell;
mod values;

pub(super) use files::of_config_map;
use references::Place;

/// Takes the secrets out of a workload's manifest and names them.
pub fn withhold(workload: &mut Value) -> Vec<String> {
    let spec = pod_spec_mut(workload);
    let mut withheld = places::volumes(spec);
    for containers in ["initContainers", "containers"] {
        let Some(containers) = spec.get_mut(containers).and_then(Value::as_array_mut) else { continue };
        for container in containers {
            let of = container["name"].as_str().unwrap_or_default().to_owned();
            let mut found = places::variables(container);
            found.extend(places::words(container, &["/command", "/args"]));
            let probes = ["livenessProbe", "readinessProbe", "startupProbe"].map(|probe| format!("/{probe}"));
            let hooks = ["postStart", "preStop"].map(|hook| format!("/lifecycle/{hook}"));
            for place in probes.into_iter().chain(hooks) {
                found.extend(places::words(container, &[&format!("{place}/exec/command")]));
                found.extend(places::request(container.pointer_mut(&format!("{place}/httpGet"))));
            }
            found.sort();
            found.dedup();
            withheld.extend(found.into_iter().map(|what| format!("{what} of container {of}")));
        }
    }
    withheld
}

/// Whether the value of an annotation holds a secret. Some are commands, as a text or as a list of words.
pub(super) fn is_in_annotation(value: &str) -> bool {
    if let Ok(words) = serde_json::from_str::<Vec<String>>(value) {
        return !commands::find(&words.iter().map(String::as_str).collect::<Vec<_>>()).is_empty();
    }
    values::find(value, Place::Variable).is_some() || commands::in_script(value).is_some()
}

/// Whether an annotation of this name would hold a secret.
pub(super) fn is_secret_name(name: &str) -> bool {
    names::is_secret(name)
}

#[cfg(test)]
mod tests;
