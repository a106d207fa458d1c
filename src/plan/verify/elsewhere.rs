//! What the pods of copies need in another namespace than the backup's: it is there, or the backup remembers it. Pure.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use serde_json::{Value, json};

use super::Wanted;
use crate::error::Refusal;
use crate::labels::{MANAGED_BY, VERIFY};
use crate::manifests::beside::{contains, moved};
use crate::manifests::name;
use crate::manifests::uses::Uses;
use crate::plan::restore::anew::key;
use crate::plan::restore::config_maps;
use crate::plan::restore::facts::Found;
use crate::plan::{Plan, Target};

/// What a copy's pod names.
pub(super) fn uses(pod: &Pod) -> Uses {
    Uses::of(&serde_json::to_value(&pod.spec).unwrap_or_default())
}

/// The ConfigMaps that have to be made for this pod; what is neither there nor remembered is refused.
pub(super) fn needed(
    pod: &Pod,
    target: &Target,
    plan: &Plan,
    wanted: &Wanted,
    namespace: &str,
    refusals: &mut Vec<Refusal>,
    notes: &mut Vec<String>,
) -> Vec<ConfigMap> {
    let uses = uses(pod);
    let secrets = uses.secrets.iter().filter(|(_, optional)| !**optional).map(|(name, _)| ("Secret", name));
    for (kind, name) in secrets.chain(uses.service_account.iter().map(|name| ("ServiceAccount", name))) {
        let path = format!("{}/{name}", kind.to_lowercase());
        match wanted.there.named.get(&key(kind, namespace, name)) {
            Some(Found::No) => refusals.push(missing(path, target, namespace)),
            Some(Found::Unknown(why)) => notes.push(format!(
                "{path}: pod {} needs it; whether it is in namespace {namespace} is not known: {why}",
                target.pod
            )),
            Some(Found::Yes(_)) | None => {}
        }
    }
    let of = plan.workloads.iter().filter(|of| of.namespace == target.namespace && of.owns(&target.pod));
    let of: Vec<_> = of.filter_map(|of| wanted.manifests.of(&of.namespace, &of.kind, &of.name)).collect();
    let user = format!("the copy of pod {}", target.pod);
    notes.extend(of.iter().flat_map(|of| config_maps::notes(of, wanted.there, namespace, &user)));
    let remembered: Vec<&Value> = of.into_iter().flat_map(|of| &of.config_maps).collect();
    let mut made = Vec::new();
    for (map, optional) in &uses.config_maps {
        let path = format!("configmap/{map}");
        let remembered = remembered.iter().find(|of| name(of) == map);
        match (wanted.there.objects.get(&key("ConfigMap", namespace, map)), remembered) {
            (Some(Found::Yes(found)), Some(remembered)) if !is_left(found, &plan.run) => {
                let same = ["data", "binaryData"]
                    .iter()
                    .all(|field| remembered.get(*field).is_none_or(|wanted| contains(&found[*field], wanted)));
                if !same {
                    refusals.push(
                        Refusal::new(path, format!("it is in namespace {namespace}, and not what the backup has"))
                            .hint("choose another namespace"),
                    );
                }
            }
            (Some(Found::Yes(_) | Found::No), Some(remembered)) => made.extend(copy(remembered, namespace, &plan.run)),
            (Some(Found::No), None) if !*optional => refusals.push(missing(path, target, namespace)),
            (Some(Found::Unknown(why)), _) if !*optional => {
                refusals.push(Refusal::new(path, format!("it could not be read: {why}")));
            }
            _ => {}
        }
    }
    made
}

fn missing(path: String, target: &Target, namespace: &str) -> Refusal {
    Refusal::new(path, format!("pod {} needs it, and it is not in namespace {namespace}", target.pod))
        .hint(format!("make it first, in namespace {namespace}"))
}

/// Whether an earlier verification of this backup made it: that one's are removed first.
fn is_left(found: &Value, run: &str) -> bool {
    found["metadata"]["labels"][VERIFY] == run
}

fn copy(remembered: &Value, namespace: &str, run: &str) -> Option<ConfigMap> {
    let mut map = moved(remembered);
    map["metadata"]["namespace"] = json!(namespace);
    map["metadata"]["labels"] = json!({ MANAGED_BY.0: MANAGED_BY.1, VERIFY: run });
    serde_json::from_value(map).ok()
}

/// Names that two copies would have: the backup's namespaces are one here.
pub(super) fn twice<'a>(names: impl Iterator<Item = (&'a str, &'a str)>, namespace: &str) -> Vec<Refusal> {
    let mut seen = BTreeSet::new();
    let twice: BTreeSet<(&str, &str)> = names.filter(|name| !seen.insert(*name)).collect();
    let refusal = |(kind, name): (&str, &str)| {
        Refusal::new(
            format!("{kind}/{name}"),
            format!("two of the backup would have this name in namespace {namespace}"),
        )
        .hint("verify it without --to-namespace")
    };
    twice.into_iter().map(refusal).collect()
}
