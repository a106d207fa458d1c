//! The plan of bringing a workload back where it is gone, into another namespace, or as a copy beside the original. It
//! destroys nothing: what is there and is not from this backup is a reason to refuse, never overwritten.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use k8s_openapi::api::networking::v1::NetworkPolicy;
use serde::Serialize;
use serde_json::{Value, json};

use super::copies::{Copies, Place, plan_copies};
use super::facts::{Facts, Found};
use super::source::Source;
use super::{RESTORED_FROM, Restored};
use super::{config_maps, fronts, policies, unarchived};
use crate::error::Refusal;
use crate::labels::RESTORING;
use crate::manifests::beside::{beside, contains, moved, renamed};
use crate::manifests::uses::{Uses, selects};
use crate::manifests::{OfWorkload, kind, name, pod_labels, pod_spec};
use crate::plan::{NO_ADAPTER, Target, Workload};
use crate::typed::kubectl;

/// What is said about the way out when a workload cannot be made.
const CLAIMS_ONLY: &str = "bring back its claims with --claims-only, and make the workload yourself";

/// Everything that is made.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Anew {
    /// The claims, and what they are made from.
    #[serde(flatten)]
    pub copies: Copies,
    /// Claims that the backup has no copy of, and that the pods name: empty ones.
    pub empty: Vec<Value>,
    /// ConfigMaps and Services, in the order in which they are made.
    pub objects: Vec<Value>,
    /// The workloads, which come last.
    pub workloads: Vec<New>,
    /// The databases that must have recovered.
    pub targets: Vec<Restored>,
    /// They are copies: none of them may archive.
    #[serde(skip)]
    pub beside: bool,
    /// How long starting and recovering may take.
    #[serde(skip)]
    pub wait: Duration,
}

/// A workload that is made.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct New {
    /// Its namespace.
    pub namespace: String,
    /// Its kind.
    pub kind: String,
    /// Its name.
    pub name: String,
    /// How many pods it is to have.
    pub replicas: i32,
    /// What to create.
    pub object: Value,
    /// An earlier call made it already.
    pub exists: bool,
}

impl New {
    /// `statefulset/postgres`, as kubectl names it.
    pub fn path(&self) -> String {
        format!("{}/{}", self.kind.to_lowercase(), self.name)
    }
}

/// What is there where the workloads are to be made, by `KIND/NAMESPACE/NAME`.
#[derive(Clone, Debug, Default)]
pub struct There {
    /// The namespaces.
    pub namespaces: BTreeMap<String, Found<()>>,
    /// Workloads, ConfigMaps, Services and claims of the names that are wanted.
    pub objects: BTreeMap<String, Found<Value>>,
    /// Secrets and ServiceAccounts that pods name; a Secret's values are never read.
    pub named: BTreeMap<String, Found<()>>,
    /// All Services of a namespace, or why they are not known.
    pub services: BTreeMap<String, Result<Vec<Value>, String>>,
    /// All NetworkPolicies of a namespace, or why they are not known; absent where nobody asks.
    pub policies: BTreeMap<String, Result<Vec<NetworkPolicy>, String>>,
}

/// How something there is named in [`There`].
pub fn key(kind: &str, namespace: &str, name: &str) -> String {
    format!("{kind}/{namespace}/{name}")
}

/// One workload of the backup as it would be made.
pub struct Wanted<'a> {
    /// As the backup had it.
    pub of: &'a Workload,
    /// Its manifests.
    pub manifests: &'a OfWorkload,
    /// Where.
    pub namespace: String,
    /// The workload.
    pub object: Value,
    /// Its Services.
    pub services: Vec<Value>,
    /// The ConfigMaps.
    pub config_maps: Vec<Value>,
    /// Claims that its pods name and that the backup has no copy of.
    pub empty: Vec<Value>,
}

/// What would be made of each workload, without a look at what is there; those that cannot be made are refused.
pub fn wanted<'a>(source: &'a Source, place: &Place<'a>, refusals: &mut Vec<Refusal>) -> Vec<Wanted<'a>> {
    let all = source.plan.workloads.iter().filter_map(|of| match one(source, of, place) {
        Ok(wanted) => Some(wanted),
        Err(refusal) => {
            refusals.push(refusal);
            None
        }
    });
    all.collect()
}

fn one<'a>(source: &'a Source, of: &'a Workload, place: &Place<'a>) -> Result<Wanted<'a>, Refusal> {
    let path = format!("{}/{}", of.kind.to_lowercase(), of.name);
    let refused = |why: String| Err(Refusal::new(path.clone(), why).hint(CLAIMS_ONLY));
    let found = place.manifests.and_then(|manifests| manifests.of(&of.namespace, &of.kind, &of.name));
    let Some(manifests) = found else {
        return refused(format!("its manifest is not in backup {}", source.plan.run));
    };
    let Some(recorded) = &manifests.object else {
        return refused(format!("its manifest is not in the backup: {}", manifests.missing.join("; ")));
    };
    if !manifests.withheld.is_empty() {
        return Err(Refusal::new(
            path.clone(),
            format!("it had {}, which looks like a secret and was not recorded", manifests.withheld.join(", ")),
        )
        .hint(format!("{CLAIMS_ONLY}; for later backups put the value into a Secret and name that with valueFrom")));
    }
    if let Some(owner) = &of.owner {
        return refused(format!("it was made by {owner}, which makes it again, or would change what is made here"));
    }
    if of.kind == "DaemonSet" {
        return refused("a DaemonSet is not made anew".to_owned());
    }
    let namespace = place.namespace.unwrap_or(&of.namespace).to_owned();
    let (mut object, services) = match place.suffix {
        Some(suffix) => match beside(manifests, suffix.as_str()) {
            Some(made) => made,
            None => return refused("its manifest is not in the backup".to_owned()),
        },
        None if place.namespace.is_some() => (moved(recorded), manifests.services.iter().map(moved).collect()),
        None => (recorded.clone(), manifests.services.clone()),
    };
    let run = &source.plan.run;
    mark(&mut object, &namespace, run);
    object["metadata"]["annotations"][RESTORING] = json!(run);
    let marked = |objects: Vec<Value>| {
        let all = objects.into_iter().map(|mut object| {
            mark(&mut object, &namespace, run);
            object
        });
        all.collect::<Vec<Value>>()
    };
    let suffix = place.suffix.map(super::Suffix::as_str);
    let mut empty = Vec::new();
    for claim in &manifests.claims {
        let is_copied = source.plan.claims.iter().any(|c| c.namespace == of.namespace && c.name == name(claim));
        // What a StatefulSet makes of its templates it makes by itself.
        let is_named = Uses::of(pod_spec(recorded)).claims.contains(name(claim));
        if is_named && !is_copied {
            let mut claim = claim.clone();
            claim["metadata"]["name"] = json!(renamed(name(&claim), suffix));
            empty.push(claim);
        }
    }
    Ok(Wanted {
        of,
        manifests,
        services: marked(services),
        config_maps: marked(manifests.config_maps.iter().map(moved).collect()),
        empty: marked(empty),
        object,
        namespace,
    })
}

fn mark(object: &mut Value, namespace: &str, run: &str) {
    object["metadata"]["namespace"] = json!(namespace);
    object["metadata"]["labels"][RESTORED_FROM] = json!(run);
}

/// Whether something was made from this backup.
pub fn is_ours(there: &Value, run: &str) -> bool {
    there["metadata"]["labels"][RESTORED_FROM] == run && there["metadata"]["deletionTimestamp"].is_null()
}

/// Whether the backup's workloads are gone, or are being brought back by an earlier call: then there is nothing to stop.
pub fn are_gone(source: &Source, workloads: &[Found<Value>]) -> bool {
    let run = &source.plan.run;
    let gone_or_ours = |found: &Found<Value>| match found {
        Found::No => true,
        Found::Yes(there) => is_ours(there, run),
        Found::Unknown(_) => false,
    };
    let unfinished = |found: &Found<Value>| match found {
        Found::Yes(there) => there["metadata"]["annotations"][RESTORING] == run.as_str(),
        other => *other == Found::No,
    };
    !workloads.is_empty() && workloads.iter().all(gone_or_ours) && workloads.iter().any(unfinished)
}

/// The plan, or all reasons why not at once.
pub fn plan_anew(
    source: &Source,
    facts: &Facts,
    there: &There,
    place: &Place,
    wait: Duration,
) -> Result<Anew, Vec<Refusal>> {
    let mut refusals = Vec::new();
    let mut notes = Vec::new();
    let copies = plan_copies(source, facts, place).unwrap_or_else(|several| {
        refusals.extend(several);
        Copies { backup: source.backup(), claims: Vec::new(), notes: Vec::new() }
    });
    refusals.extend(namespaces(there));
    let all = wanted(source, place, &mut refusals);
    let beside = place.suffix.is_some() || place.namespace.is_some();
    let (empty, objects) = (Vec::new(), Vec::new());
    let mut anew = Anew { copies, empty, objects, workloads: Vec::new(), targets: Vec::new(), beside, wait };
    let mut seen = BTreeSet::new();
    for wanted in &all {
        needed(wanted, there, &mut refusals, &mut notes);
        unrecorded(wanted, there, &mut notes);
        found_by(wanted, there, place, &mut refusals);
        for object in wanted.config_maps.iter().chain(&wanted.services) {
            // Two workloads may share one.
            if seen.insert(key(kind(object), &wanted.namespace, name(object)))
                && made(object, wanted, source, there, place, &mut refusals, &mut notes)
            {
                anew.objects.push(object.clone());
            }
        }
        for claim in &wanted.empty {
            if seen.insert(key(kind(claim), &wanted.namespace, name(claim))) {
                self::empty(claim, wanted, there, &mut anew, &mut refusals, &mut notes);
            }
        }
        let exists = workload(wanted, source, there, &mut refusals);
        anew.workloads.push(New {
            namespace: wanted.namespace.clone(),
            kind: wanted.of.kind.clone(),
            name: name(&wanted.object).to_owned(),
            replicas: if wanted.of.kind == "Pod" {
                1
            } else {
                wanted.object["spec"]["replicas"].as_i64().map_or(1, |n| i32::try_from(n).unwrap_or(1))
            },
            object: wanted.object.clone(),
            exists,
        });
    }
    anew.targets = targets(source, &all);
    if beside {
        for of in &source.plan.targets {
            if let Some((index, _)) = workload_of(of, &all) {
                unarchived::off(&mut anew.workloads[index].object, of, &mut refusals, &mut notes);
            }
        }
    }
    if beside {
        notes.extend(policies::notes(&all, there));
    }
    notes.extend(if beside {
        fronts::beside_copies(&source.plan, &all)
    } else {
        fronts::in_front_of_anew(&source.plan)
    });
    anew.copies.notes.extend(notes);
    if refusals.is_empty() { Ok(anew) } else { Err(refusals) }
}

/// Namespaces that are not there.
pub fn namespaces(there: &There) -> Vec<Refusal> {
    let missing = there.namespaces.iter().filter(|(_, found)| **found == Found::No);
    missing
        .map(|(namespace, _)| {
            Refusal::new(format!("namespace/{namespace}"), "does not exist, or is being deleted")
                .hint(format!("make it first: {}", kubectl(&["create", "namespace", namespace])))
        })
        .collect()
}

/// What pods name and nobody makes: Secrets and a ServiceAccount, and ConfigMaps that were not recorded.
fn needed(wanted: &Wanted, there: &There, refusals: &mut Vec<Refusal>, notes: &mut Vec<String>) {
    let namespace = &wanted.namespace;
    let mut named: Vec<(&str, &String)> = wanted.manifests.secrets.iter().map(|name| ("Secret", name)).collect();
    named.extend(wanted.manifests.service_account.iter().map(|name| ("ServiceAccount", name)));
    let uses = Uses::of(pod_spec(&wanted.object));
    let recorded = |name: &&String| wanted.config_maps.iter().any(|map| crate::manifests::name(map) == **name);
    let maps = uses.config_maps.iter().filter(|(name, optional)| !**optional && !recorded(name)).map(|(name, _)| name);
    named.extend(maps.map(|name| ("ConfigMap", name)));
    for (kind, name) in named {
        let path = format!("{}/{name}", kind.to_lowercase());
        let found = match kind {
            "ConfigMap" => there.objects.get(&key(kind, namespace, name)).map(|found| match found {
                Found::Yes(_) => Found::Yes(Box::new(())),
                Found::No => Found::No,
                Found::Unknown(why) => Found::Unknown(why.clone()),
            }),
            _ => there.named.get(&key(kind, namespace, name)).cloned(),
        };
        match found {
            Some(Found::No) => refusals.push(
                Refusal::new(
                    path,
                    format!("{} needs it, and it is not in namespace {namespace}", workload_path(wanted)),
                )
                .hint(match kind {
                    "Secret" => format!("its values are not in the backup: make it first, in namespace {namespace}"),
                    "ConfigMap" => format!("its data is not in the backup: make it first, in namespace {namespace}"),
                    _ => format!("make it first, in namespace {namespace}"),
                }),
            ),
            Some(Found::Unknown(why)) => notes.push(format!(
                "{path}: {} needs it; whether it is in namespace {namespace} is not known: {why}",
                workload_path(wanted)
            )),
            Some(Found::Yes(_)) | None => {}
        }
    }
}

/// Notes what may differ from the time of the backup, because the backup recorded only its name.
fn unrecorded(wanted: &Wanted, there: &There, notes: &mut Vec<String>) {
    let path = workload_path(wanted);
    notes.extend(config_maps::notes(wanted.manifests, there, &wanted.namespace, &path));
    if !wanted.manifests.left_out.is_empty() {
        notes.push(format!(
            "{path}: not in the backup, set it again if it is needed: {}",
            wanted.manifests.left_out.join(", ")
        ));
    }
}

fn workload_path(wanted: &Wanted) -> String {
    format!("{}/{}", wanted.of.kind.to_lowercase(), name(&wanted.object))
}

/// Beside the original no Service may find the copy's pods: it would get the original's clients.
fn found_by(wanted: &Wanted, there: &There, place: &Place, refusals: &mut Vec<Refusal>) {
    if place.suffix.is_none() {
        return;
    }
    let labels = pod_labels(&wanted.object);
    match there.services.get(&wanted.namespace) {
        Some(Ok(services)) => {
            let own = |service: &Value| wanted.services.iter().any(|own| name(own) == name(service));
            for service in services.iter().filter(|service| !own(service) && selects(service, &labels)) {
                refusals.push(
                    Refusal::new(
                        format!("service/{}", name(service)),
                        format!("it would find the pods of {}", workload_path(wanted)),
                    )
                    .hint("make the copy in another namespace: --to-namespace NAMESPACE"),
                );
            }
        }
        Some(Err(why)) => refusals.push(Refusal::new(
            format!("namespace/{}", wanted.namespace),
            format!("whether a Service would find the copy is not known: {why}"),
        )),
        None => {}
    }
}

/// Whether a ConfigMap or a Service has to be made.
fn made(
    object: &Value,
    wanted: &Wanted,
    source: &Source,
    there: &There,
    place: &Place,
    refusals: &mut Vec<Refusal>,
    notes: &mut Vec<String>,
) -> bool {
    let path = format!("{}/{}", kind(object).to_lowercase(), name(object));
    let is_own = kind(object) == "Service" && place.suffix.is_some();
    match there.objects.get(&key(kind(object), &wanted.namespace, name(object))) {
        Some(Found::No) | None => true,
        Some(Found::Yes(found)) if is_ours(found, &source.plan.run) => false,
        Some(Found::Yes(found)) if !found["metadata"]["deletionTimestamp"].is_null() => {
            refusals.push(Refusal::new(path, "it is being deleted").hint("wait until it is gone"));
            false
        }
        Some(Found::Yes(found)) => {
            let fields = ["spec", "data", "binaryData"];
            let same =
                fields.iter().all(|field| object.get(field).is_none_or(|wanted| contains(&found[field], wanted)));
            if same && !is_own {
                return false;
            }
            // Beside the original a copy reads the same ConfigMaps.
            if place.suffix.is_some() && !is_own {
                notes.push(format!("{path} is not as it was at the backup: the copy uses it as it is now"));
                return false;
            }
            refusals.push(Refusal::new(path, "it exists already, and is not what the backup has").hint(if is_own {
                "choose another suffix"
            } else {
                "delete it to have it made as it was, or restore into another namespace: --to-namespace NAMESPACE"
            }));
            false
        }
        Some(Found::Unknown(why)) => {
            refusals.push(Refusal::new(path, format!("it could not be read: {why}")));
            false
        }
    }
}

/// A claim that was left out of the backup, and without which the pods would wait for ever.
fn empty(
    claim: &Value,
    wanted: &Wanted,
    there: &There,
    anew: &mut Anew,
    refusals: &mut Vec<Refusal>,
    notes: &mut Vec<String>,
) {
    let path = format!("persistentvolumeclaim/{}", name(claim));
    match there.objects.get(&key(kind(claim), &wanted.namespace, name(claim))) {
        Some(Found::Yes(_)) => {}
        Some(Found::Unknown(why)) => refusals.push(Refusal::new(path, format!("it could not be read: {why}"))),
        Some(Found::No) | None => {
            notes.push(format!("{path} is not in the backup: it is made empty"));
            anew.empty.push(claim.clone());
        }
    }
}

/// Whether the workload was made by an earlier call.
fn workload(wanted: &Wanted, source: &Source, there: &There, refusals: &mut Vec<Refusal>) -> bool {
    let path = workload_path(wanted);
    match there.objects.get(&key(&wanted.of.kind, &wanted.namespace, name(&wanted.object))) {
        Some(Found::No) | None => false,
        Some(Found::Yes(found)) if is_ours(found, &source.plan.run) => true,
        Some(Found::Yes(_)) => {
            refusals.push(
                Refusal::new(
                    path,
                    format!("it exists already in namespace {}, and is not from this backup", wanted.namespace),
                )
                .hint(
                    "restore into another namespace (--to-namespace NAMESPACE), or under another name (--suffix NAME)",
                ),
            );
            false
        }
        Some(Found::Unknown(why)) => {
            refusals.push(Refusal::new(path, format!("it could not be read: {why}")));
            false
        }
    }
}

/// The workload of this database.
fn workload_of<'a>(target: &Target, all: &'a [Wanted<'a>]) -> Option<(usize, &'a Wanted<'a>)> {
    all.iter().enumerate().find(|(_, w)| w.of.namespace == target.namespace && w.of.owns(&target.pod))
}

/// The databases, under the names that their pods will have.
fn targets(source: &Source, all: &[Wanted]) -> Vec<Restored> {
    let mut targets = Vec::new();
    for target in &source.plan.targets {
        let Some((index, wanted)) = workload_of(target, all) else { continue };
        let mut target = target.clone();
        let ordinal = target.pod.strip_prefix(&wanted.of.name).unwrap_or_default().to_owned();
        target.pod = format!("{}{ordinal}", name(&wanted.object));
        target.namespace.clone_from(&wanted.namespace);
        // Of a kind that nobody knows: ready is all that can be asked.
        if target.adapter != NO_ADAPTER {
            targets.push(Restored { target, workload: index, replica: false });
        }
    }
    targets
}

#[cfg(test)]
mod tests;
