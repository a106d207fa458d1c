//! The plan of a restore in place.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use k8s_openapi::api::core::v1::PersistentVolumeClaim;

use super::claims::{Make, bring_back, from_snapshot, request};
use super::copy::{Wanted, check};
use super::facts::{Facts, Found, claims_of, has_ended};
use super::quota::Need;
use super::source::Source;
use super::{
    Alias, Claim, Old, RestorePlan, Volume, actors, archive, edits, engine, protected, quota, replicas, workloads,
};
use crate::error::Refusal;
use crate::plan::{Plan, Replica};
use crate::quiescer::by_name;
use crate::quiescer::recovery;

/// What is asked for.
#[derive(Clone, Debug)]
pub struct Request {
    /// The run's own id.
    pub run: String,
    /// The annotation by which a bare pod is known again that it makes.
    pub mark: &'static str,
    /// How long starting and recovering may take.
    pub wait: Duration,
    /// What is done although it may end badly.
    pub force: Force,
    /// A recovery from archived log that is to follow.
    pub archive: Option<recovery::Wanted>,
    /// What is set in the properties of releases, as the user typed it.
    pub properties: Vec<String>,
}

/// What the user takes upon himself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Force {
    /// Workloads that something manages which is not built in.
    pub owner: bool,
    /// Another major version of image or engine than the backup's.
    pub version: bool,
}

/// The plan, or all reasons why not at once.
pub fn plan_in_place(source: &Source, facts: &Facts, asked: &Request) -> Result<RestorePlan, Vec<Refusal>> {
    let mut refusals = Vec::new();
    let mut notes = Vec::new();
    source.check(&facts.typed, !asked.properties.is_empty(), &mut refusals, &mut notes);
    denied(facts, &mut refusals);
    unfinished(facts, &source.plan.namespace, &mut refusals);
    let stopped = workloads::workloads(&source.plan, facts, asked, &mut refusals, &mut notes);
    workloads::users(&source.plan, facts, &mut refusals, &mut notes);
    refusals.extend(workloads::scaled_away(&source.plan, &stopped, facts));
    let images = source.pods.iter().map(|p| (p.path(), p.images.clone())).collect();
    let mut other_version = Vec::new();
    workloads::images(&source.plan, &images, facts, (&mut other_version, &mut refusals), &mut notes);
    engine::check(&source.plan, facts, &mut other_version, &mut refusals, &mut notes);
    if asked.force.version {
        let note = |r: &Refusal| format!("{}: {}; restored all the same, as --force-version asks", r.object, r.message);
        notes.extend(other_version.iter().map(note));
    } else {
        refusals.extend(other_version);
    }
    let mut needs: BTreeMap<String, Need> = BTreeMap::new();
    let mut aliases = Vec::new();
    let claims: Vec<Claim> = (0..source.plan.claims.len())
        .filter_map(|c| claim(c, source, facts, asked, &mut needs, &mut refusals, &mut notes, &mut aliases))
        .collect();
    let mut claims = claims;
    claims.extend(replicas::claims(&source.plan, facts, asked, &mut needs, &mut refusals));
    quota::check(&needs, &facts.quotas, &mut refusals);
    notes.extend(actors::notes(&source.plan, &stopped, facts));
    remarks(source, &mut notes);
    let targets = workloads::targets(&source.plan, &stopped, facts);
    let archive = archive::plan(source, facts, asked, &targets, &mut refusals, &mut notes);
    let edits = edits::plan(&source.plan, &asked.properties, &stopped, facts, &mut refusals, &mut notes);
    if !refusals.is_empty() {
        return Err(refusals);
    }
    Ok(RestorePlan {
        run: asked.run.clone(),
        created: facts.now,
        namespace: source.plan.namespace.clone(),
        backup: source.backup(),
        selections: source.plan.selections.clone(),
        pods: pods(source, facts).into_iter().collect(),
        targets,
        workloads: stopped,
        edits,
        claims,
        any_version: asked.force.version,
        aliases,
        wait: asked.wait,
        notes,
        // On a timeline of its own it archives nothing under a name that is there.
        afterwards: if archive.is_some() { Vec::new() } else { afterwards(source) },
        archive: archive.map(Box::new),
    })
}

/// The claims that are replaced, as `NAMESPACE/NAME`: those of the backup, and its replicas'.
pub(super) fn replaced(plan: &Plan) -> BTreeSet<String> {
    let copied = plan.claims.iter().map(|c| format!("{}/{}", c.namespace, c.name));
    let of_replica = |r: &Replica| {
        let namespace = r.target.namespace.clone();
        r.claims.iter().map(move |name| format!("{namespace}/{name}")).collect::<Vec<_>>()
    };
    copied.chain(plan.replicas.iter().flat_map(of_replica)).collect()
}

/// Other runs that are in the way.
pub(super) fn unfinished(facts: &Facts, namespace: &str, refusals: &mut Vec<Refusal>) {
    for run in &facts.unfinished {
        refusals.push(
            Refusal::new(format!("run/{run}"), "it is about the same databases and is not finished")
                .hint(format!("`{}` brings it to its end", facts.typed.thaw(run, namespace))),
        );
    }
}

/// The pods of the backup, and those that mount its claims now.
fn pods(source: &Source, facts: &Facts) -> BTreeSet<String> {
    let plan = &source.plan;
    let claims = replaced(plan);
    let mut pods: BTreeSet<String> = plan.targets.iter().map(|t| format!("{}/{}", t.namespace, t.leased())).collect();
    pods.extend(plan.claims.iter().flat_map(|c| c.pods.iter().map(|pod| format!("{}/{pod}", c.namespace))));
    for pod in facts.pods.iter().filter(|pod| !has_ended(pod)) {
        let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
        if claims_of(pod).any(|name| claims.contains(&format!("{namespace}/{name}"))) {
            pods.insert(format!("{namespace}/{}", pod.metadata.name.as_deref().unwrap_or_default()));
        }
    }
    pods
}

/// What the user may not do.
pub(in crate::plan) fn denied(facts: &Facts, refusals: &mut Vec<Refusal>) {
    refusals.extend(super::access::refusals(&facts.denied));
}

#[expect(clippy::too_many_arguments, reason = "each is a thing of its own, and there is one caller")]
fn claim(
    c: usize,
    source: &Source,
    facts: &Facts,
    asked: &Request,
    needs: &mut BTreeMap<String, Need>,
    refusals: &mut Vec<Refusal>,
    notes: &mut Vec<String>,
    aliases: &mut Vec<Alias>,
) -> Option<Claim> {
    let of = &source.plan.claims[c];
    let now = match facts.claims.get(&format!("{}/{}", of.namespace, of.name)) {
        Some(Found::Yes(now)) => Some(&**now),
        Some(Found::Unknown(why)) => {
            refusals.push(Refusal::new(
                format!("persistentvolumeclaim/{}", of.name),
                format!("it could not be read: {why}"),
            ));
            return None;
        }
        Some(Found::No) | None => {
            notes.push(format!(
                "persistentvolumeclaim/{} is gone: it is made anew, and nothing can be brought back if that fails",
                of.name
            ));
            None
        }
    };
    let spec = now.and_then(|now| now.spec.as_ref());
    let wanted = Wanted {
        claim: of,
        class: spec.and_then(|s| s.storage_class_name.as_deref()).or(of.storage_class.as_deref()),
        request: now.and_then(request).unwrap_or(&of.request),
        mode: spec.and_then(|s| s.volume_mode.as_deref()).unwrap_or(&of.volume_mode),
        namespace: &of.namespace,
        run: &source.plan.run,
        record: &source.plan.namespace,
    };
    // Both, even if one refuses: all reasons at once.
    let copy = check(&wanted, source.proofs.get(c).and_then(Option::as_ref), facts, refusals);
    if let Some(now) = now {
        protected::check(now, facts, refusals);
    }
    let old = now.map(|now| old(now, facts, refusals));
    let need = needs.entry(of.namespace.clone()).or_default();
    if now.is_some() {
        need.remove(wanted.class, wanted.request);
    }
    need.add(wanted.class, copy.as_ref().map_or(wanted.request, |copy| &copy.size));
    let (copy, old) = (copy?, old.map_or(Some(None), |old| old.map(Some))?);
    let make = Make { run: Some(&asked.run), backup: &source.plan.run, snapshot: &copy.snapshot, size: &copy.size };
    aliases.extend(copy.alias);
    Some(Claim {
        namespace: of.namespace.clone(),
        name: of.name.clone(),
        old,
        new: from_snapshot(of, now, &make),
        size: copy.size,
        snapshot: copy.snapshot,
        content: copy.content,
        empty: false,
    })
}

/// The old claim with its volume. A volume that is bound to another claim, or was lost, is no way back.
pub(super) fn old(now: &PersistentVolumeClaim, facts: &Facts, refusals: &mut Vec<Refusal>) -> Option<Old> {
    let object = format!("persistentvolumeclaim/{}", now.metadata.name.as_deref().unwrap_or_default());
    if now.metadata.deletion_timestamp.is_some() {
        refusals.push(
            Refusal::new(object, "it is being deleted")
                .hint("wait until it is gone; set its volume's reclaim policy to Retain first if its data is wanted"),
        );
        return None;
    }
    let uid = now.metadata.uid.clone().unwrap_or_default();
    let name = now.spec.as_ref().and_then(|s| s.volume_name.clone()).filter(|v| !v.is_empty());
    let Some(name) = name else {
        return Some(Old { uid, claim: bring_back(now, None), volume: None });
    };
    let refusal = match facts.volumes.get(&name) {
        Some(Found::Yes(volume)) => {
            let spec = volume.spec.clone().unwrap_or_default();
            let bound = spec.claim_ref.and_then(|c| c.uid);
            if bound.as_deref() == Some(&uid) && volume.metadata.deletion_timestamp.is_none() {
                let volume = Volume {
                    uid: volume.metadata.uid.clone().unwrap_or_default(),
                    reclaim_policy: spec.persistent_volume_reclaim_policy.unwrap_or_else(|| "Retain".into()),
                    name: name.clone(),
                };
                return Some(Old { uid, claim: bring_back(now, Some(&name)), volume: Some(volume) });
            }
            Refusal::new(
                format!("persistentvolume/{name}"),
                format!("it is being deleted, or is not bound to {object}"),
            )
        }
        Some(Found::Unknown(why)) => {
            Refusal::new(format!("persistentvolume/{name}"), format!("it could not be read: {why}"))
        }
        Some(Found::No) | None => Refusal::new(object, format!("its volume {name} is gone"))
            .hint("delete the claim: a restore then makes it anew"),
    };
    refusals.push(refusal);
    None
}

/// What one should know beforehand about these databases.
fn remarks(source: &Source, notes: &mut Vec<String>) {
    for replica in source.plan.replicas.iter().filter(|r| !r.claims.is_empty()) {
        notes.push(format!(
            "pod/{}: a read replica of {}: its claim starts empty, and it has to copy its primary by itself; where it cannot, \
             the restore goes back",
            replica.target.pod, replica.of
        ));
    }
}

/// What is left to do by hand once the databases are restored.
fn afterwards(source: &Source) -> Vec<String> {
    let of = source.plan.targets.iter().zip(&source.points);
    of.filter_map(|(target, point)| {
        let left = by_name(&target.adapter)?.after_restore(&target.probe, point)?;
        Some(format!("{}: {left}", target.path()))
    })
    .collect()
}
