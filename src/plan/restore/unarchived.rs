//! A copy of a workload whose database archives: it is made as one that does not. Pure.

use k8s_openapi::api::core::v1::Container;
use serde_json::{Value, json};

use crate::error::Refusal;
use crate::manifests::kind;
use crate::plan::Target;
use crate::quiescer::by_name;
use crate::quiescer::verify::Unarchived;

/// What turns the archive off before the server starts.
const NAME: &str = "consistent-backup-archives-nothing";

/// Turns the archive of this database off in the manifest of its copy. What is done is noted; what cannot be is refused.
pub(super) fn off(copy: &mut Value, target: &Target, refusals: &mut Vec<Refusal>, notes: &mut Vec<String>) {
    let Some(adapter) = by_name(&target.adapter) else { return };
    let spec = match kind(copy) {
        "Pod" => copy.get_mut("spec"),
        _ => copy.pointer_mut("/spec/template/spec"),
    };
    let Some(spec) = spec else { return };
    let containers = spec["containers"].as_array_mut().into_iter().flatten();
    let found = containers.into_iter().find(|container| container["name"] == target.container.as_str());
    let container = found.and_then(|value| Some((serde_json::from_value::<Container>(value.clone()).ok()?, value)));
    let Some((typed, container)) = container else {
        refusals.push(Refusal::new(target.path(), "its container is not in the manifest that the backup has"));
        return;
    };
    let Unarchived { told, arguments, prepare } = match adapter.unarchived(&typed, &target.probe) {
        None => return,
        Some(Err(reason)) => return refusals.push(reason.refuse(target.path())),
        Some(Ok(how)) => how,
    };
    if !arguments.is_empty() {
        let mut args = typed.args.unwrap_or_default();
        args.extend(arguments);
        container["args"] = json!(args);
    }
    if let Some(command) = prepare {
        let mut first = json!({ "name": NAME, "command": command });
        for same in ["image", "imagePullPolicy", "resources", "securityContext", "volumeMounts"] {
            if let Some(value) = container.get(same) {
                first[same] = value.clone();
            }
        }
        match spec.get_mut("initContainers").and_then(Value::as_array_mut) {
            Some(all) => all.push(first),
            None => spec["initContainers"] = json!([first]),
        }
    }
    notes.push(format!("{}: the copy archives nothing: {told}", target.path()));
}
