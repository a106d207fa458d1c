//! The plan of `verify`: for each database of a backup a pod of its own, on copies of its claims. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use k8s_openapi::api::core::v1::{ConfigMap, Pod, PodSpec};
use k8s_openapi::api::networking::v1::NetworkPolicy;

use super::restore::anew::{self, There};
use super::restore::facts::{Facts, Found};
use super::restore::{Alias, CopyOf, Place, Source, Suffix, plan_copies};
use super::{Plan, Target};
use crate::error::Refusal;
use crate::labels::VERIFY;
use crate::manifests::Manifests;
use crate::manifests::uses::Uses;
use crate::quiescer::by_name;
use crate::quiescer::verify::Alone;

mod elsewhere;
mod mounts;
mod own;
mod pod;
mod policy;
pub mod query;

pub use own::{is_own, is_own_alias};
pub use pod::PREPARE;

/// Of what a copy's pod is made.
#[derive(Clone, Debug, PartialEq)]
pub struct Template {
    /// The pod's, or its workload's.
    pub spec: PodSpec,
    /// `Kind/name` of an operator that makes its pods itself.
    pub operator: Option<String>,
}

/// Of what copies are made, and where.
pub struct Wanted<'a> {
    /// What the pods of the backup's targets are made of, in their order.
    pub templates: &'a [Found<Template>],
    /// How long a copy may live if nobody removes it.
    pub limit: Option<Duration>,
    /// Another namespace than the backup's.
    pub namespace: Option<&'a str>,
    /// What is there already.
    pub there: &'a There,
    /// What the backup remembers.
    pub manifests: &'a Manifests,
    /// The namespace of the record is gone.
    pub record_gone: bool,
}

/// What is made, and removed again.
#[derive(Clone, Debug)]
pub struct VerifyPlan {
    /// The backup.
    pub run: String,
    /// Where its record lies.
    pub namespace: String,
    /// Where the lease lies that keeps others from it: beside the record, if that namespace is there.
    pub leased: String,
    /// In which other namespace than the backup's the copies are made.
    pub elsewhere: Option<String>,
    /// The databases, in the backup's order.
    pub targets: Vec<Copy>,
    /// Remarks, one line each.
    pub notes: Vec<String>,
}

/// A database to start alone.
#[derive(Clone, Debug)]
pub struct Copy {
    /// As it was backed up.
    pub target: Target,
    /// Where it is made.
    pub namespace: String,
    /// Its claims.
    pub claims: Vec<CopyOf>,
    /// What its pod needs and is not there.
    pub config_maps: Vec<ConfigMap>,
    /// What denies its pod all traffic: made before the pod, removed after it.
    pub policy: NetworkPolicy,
    /// Its pod.
    pub pod: Pod,
    /// The pod's name.
    pub name: String,
    /// How it is kept from doing harm.
    pub alone: Alone,
}

impl VerifyPlan {
    /// The namespaces in which something is made.
    pub fn namespaces(&self) -> Vec<String> {
        let all: BTreeSet<&String> = self.targets.iter().map(|copy| &copy.namespace).collect();
        all.into_iter().cloned().collect()
    }

    /// Everything that is made in a namespace, as kubectl names it, in the order of its removal: snapshots come after the
    /// claims that are made from them.
    pub fn objects(&self, namespace: &str) -> Vec<String> {
        let copies = || self.targets.iter().filter(|copy| copy.namespace == namespace);
        let claims = || copies().flat_map(|copy| &copy.claims);
        let maps = copies().flat_map(|copy| &copy.config_maps).filter_map(|map| map.metadata.name.as_ref());
        let aliases = || claims().filter_map(|claim| claim.alias.as_ref());
        let all = copies()
            .map(|copy| format!("pod/{}", copy.name))
            .chain(copies().map(|copy| format!("networkpolicy/{}", copy.name)))
            .chain(claims().map(|claim| format!("persistentvolumeclaim/{}", claim.new_name)))
            .chain(maps.map(|map| format!("configmap/{map}")))
            .chain(aliases().map(|alias| format!("volumesnapshot/{}", alias.snapshot)))
            .chain(aliases().map(|alias| format!("volumesnapshotcontent/{}", alias.content)));
        // Two databases may be on one claim.
        let mut seen = BTreeSet::new();
        all.filter(|object| seen.insert(object.clone())).collect()
    }
}

/// The namespaces of these targets, each once.
pub fn namespaces<'a>(targets: impl Iterator<Item = &'a Target>) -> Vec<String> {
    let mut all: Vec<String> = targets.map(|target| target.namespace.clone()).collect();
    all.sort();
    all.dedup();
    all
}

/// What the names of everything end with that is made to verify this backup.
pub fn suffix(run: &str) -> Result<Suffix, String> {
    Suffix::new(&format!("verify-{run}"))
}

/// What the pods of the copies name: where they are made elsewhere it is looked for.
pub fn uses(plan: &Plan, templates: &[Found<Template>], place: &Place) -> Vec<Uses> {
    let each = plan.targets.iter().zip(templates);
    each.filter_map(|(target, template)| one(target, plan, template, place, None).ok())
        .map(|made| elsewhere::uses(&made.pod))
        .collect()
}

/// The plan, or all reasons why not at once.
pub fn plan_verify(source: &Source, facts: &Facts, wanted: &Wanted) -> Result<VerifyPlan, Vec<Refusal>> {
    let plan = &source.plan;
    let object = format!("backup/{}", plan.run);
    let suffix = suffix(&plan.run).map_err(|why| vec![Refusal::new(object.clone(), why)])?;
    let place = Place { namespace: wanted.namespace, suffix: Some(&suffix), ..Place::default() };
    let (mut refusals, mut notes) = (anew::namespaces(wanted.there), Vec::new());
    if plan.targets.is_empty() {
        refusals.push(Refusal::new(object, "it has no database that could be started").hint(
            "what was copied without an adapter is looked at by hand: restore-from-snapshot RUN --claims-only --suffix NAME",
        ));
    }
    let mut made = Vec::new();
    for (target, template) in plan.targets.iter().zip(wanted.templates) {
        match one(target, plan, template, &place, wanted.limit) {
            Ok(mut one) => {
                if let Some(namespace) = wanted.namespace.filter(|namespace| *namespace != target.namespace) {
                    let there = elsewhere::Elsewhere { target, plan, wanted, namespace, suffix: &suffix };
                    one.config_maps = there.needed(&mut one.pod, &mut refusals, &mut notes);
                }
                made.push(one);
            }
            Err(refusal) => refusals.push(refusal),
        }
    }
    // Only what a pod mounts is copied.
    let mounted: Vec<usize> = (0..plan.claims.len()).filter(|c| made.iter().any(|m| m.claims.contains(c))).collect();
    let mut part = source.clone();
    part.plan.claims = mounted.iter().map(|&c| plan.claims[c].clone()).collect();
    part.proofs = mounted.iter().map(|&c| source.proofs.get(c).cloned().flatten()).collect();
    let mut facts = facts.clone();
    // Its volumes would outlive their claims: their policy is changed first, which nobody need be allowed else.
    let retains = |c: &super::Claim| {
        let class = c.storage_class.as_ref().and_then(|class| facts.classes.get(class)).and_then(Found::yes);
        class.is_some_and(|class| class.reclaim_policy.as_deref() == Some("Retain"))
    };
    if !part.plan.claims.iter().any(retains) {
        facts.denied.retain(|access| (access.verb, access.resource) != ("patch", "persistentvolumes"));
    }
    let copies = match plan_copies(&part, &facts, &place) {
        Ok(copies) => copies,
        Err(why) => {
            // Of a backup whose databases are all refused no claim is wanted: that is no reason of its own.
            refusals
                .extend(why.into_iter().filter(|r| !(part.plan.claims.is_empty() && r.message.contains("copied no"))));
            return Err(refusals);
        }
    };
    // Its own claims are removed first: this one stays, and the copy would write into it.
    refusals.extend(copies.claims.iter().filter(|copy| copy.exists).map(|copy| {
        Refusal::new(
            format!("persistentvolumeclaim/{}", copy.new_name),
            "a restore made it: a copy would write into it",
        )
        .hint("delete it, or give what is restored another suffix")
    }));
    if let Some(namespace) = wanted.namespace {
        refusals.extend(elsewhere::different(made.iter().flat_map(|made| &made.config_maps), namespace));
        let pods = made.iter().map(|made| ("pod", made.pod.metadata.name.as_deref().unwrap_or_default()));
        let claims = copies.claims.iter().map(|copy| ("persistentvolumeclaim", copy.new_name.as_str()));
        refusals.extend(elsewhere::twice(pods.chain(claims), namespace));
        notes.push(format!("the copies are made in namespace {namespace}"));
    }
    let aliased = copies.claims.iter().filter(|copy| copy.alias.is_some()).count();
    if aliased > 0 {
        notes.push(format!("VolumeSnapshots made for it, and removed afterwards: {aliased}"));
    }
    let maps: BTreeSet<&str> =
        made.iter().flat_map(|made| &made.config_maps).filter_map(|map| map.metadata.name.as_deref()).collect();
    if !maps.is_empty() {
        let maps = maps.into_iter().collect::<Vec<_>>().join(", ");
        notes.push(format!("made as the backup remembers them, and removed afterwards: ConfigMaps {maps}"));
    }
    if !refusals.is_empty() {
        return Err(refusals);
    }
    let by_claim: BTreeMap<usize, CopyOf> =
        mounted.into_iter().zip(copies.claims.into_iter().map(|c| labelled(c, &plan.run))).collect();
    let targets = made.into_iter().map(|made| Copy {
        policy: policy::deny_all(&plan.run, &made.pod),
        claims: made.claims.iter().filter_map(|c| by_claim.get(c).cloned()).collect(),
        name: made.pod.metadata.name.clone().unwrap_or_default(),
        namespace: wanted.namespace.unwrap_or(&made.target.namespace).to_owned(),
        config_maps: made.config_maps,
        target: made.target,
        pod: made.pod,
        alone: made.alone,
    });
    let targets: Vec<Copy> = targets.collect();
    notes.extend(policy::notes(&targets, wanted.there));
    Ok(VerifyPlan {
        run: plan.run.clone(),
        namespace: plan.namespace.clone(),
        leased: wanted.namespace.filter(|_| wanted.record_gone).unwrap_or(&plan.namespace).to_owned(),
        elsewhere: wanted.namespace.map(str::to_owned),
        targets,
        notes,
    })
}

/// What of these databases could not be started alone: what is known of a backup before it is taken.
pub fn obstacles(plan: &Plan, templates: &[Found<Template>]) -> Vec<Refusal> {
    let Ok(suffix) = suffix(&plan.run) else { return Vec::new() };
    let place = Place { suffix: Some(&suffix), ..Place::default() };
    let each = plan.targets.iter().zip(templates);
    each.filter_map(|(target, template)| one(target, plan, template, &place, None).err()).collect()
}

struct Made {
    target: Target,
    claims: Vec<usize>,
    pod: Pod,
    alone: Alone,
    config_maps: Vec<ConfigMap>,
}

fn one(
    target: &Target,
    plan: &Plan,
    template: &Found<Template>,
    place: &Place,
    limit: Option<Duration>,
) -> Result<Made, Refusal> {
    let object = format!("pod/{}", target.pod);
    let template = match template {
        Found::Yes(template) => template,
        Found::No => {
            return Err(Refusal::new(object, "neither it nor its workload is there, so nobody knows how to start it")
                .hint("make copies of the claims: restore-from-snapshot RUN --claims-only --suffix NAME"));
        }
        Found::Unknown(why) => return Err(Refusal::new(object, format!("it could not be read: {why}"))),
    };
    if let Some(operator) = &template.operator {
        return Err(Refusal::new(
            object,
            format!("it is made by {operator}: its start program would make the copy a member of the real cluster"),
        )
        .hint("make copies of the claims: restore-from-snapshot RUN --claims-only --suffix NAME"));
    }
    let Some(container) = template.spec.containers.iter().find(|c| c.name == target.container) else {
        return Err(Refusal::new(object, format!("it has no container {} any more", target.container)));
    };
    let Some(adapter) = by_name(&target.adapter) else {
        return Err(Refusal::new(
            object,
            format!("no adapter knows its database ({}), so nobody can judge it", target.adapter),
        )
        .hint("make copies of the claims: restore-from-snapshot RUN --claims-only --suffix NAME"));
    };
    if target.probe.settings.is_empty() {
        return Err(Refusal::new(object, "it was stopped when it was backed up, so nobody knows where its data lies")
            .hint("make copies of the claims: restore-from-snapshot RUN --claims-only --suffix NAME"));
    }
    let alone = adapter.alone(container, &target.probe).map_err(|reason| reason.refuse(object.clone()))?;
    let (pod, claims) =
        pod::make(&pod::Make { target, plan, template: &template.spec, container, alone: &alone, place, limit })?;
    if target.claims.iter().any(|c| !claims.contains(c)) {
        return Err(Refusal::new(object, "it no longer mounts the claims that were backed up")
            .hint("its workload was changed since: make copies of the claims and look at them by hand"));
    }
    Ok(Made { target: target.clone(), claims, pod, alone, config_maps: Vec::new() })
}

/// The copy as one that is never there to stay, made from what is never there to stay.
fn labelled(mut copy: CopyOf, run: &str) -> CopyOf {
    if let Some(alias) = copy.alias.take().map(Alias::for_verification) {
        copy.snapshot.clone_from(&alias.snapshot);
        if let Some(source) = copy.new.spec.as_mut().and_then(|spec| spec.data_source.as_mut()) {
            source.name.clone_from(&alias.snapshot);
        }
        copy.alias = Some(alias);
    }
    copy.new.metadata.labels.get_or_insert_default().insert(VERIFY.to_owned(), run.to_owned());
    copy
}

#[cfg(test)]
mod tests;
