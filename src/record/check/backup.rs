//! What the plan of a backup may say.

use super::{ATTEMPTS, Damaged, Looked, OBJECTS, TARGETS, is_line, is_quantity};
use crate::names::{is_namespace, is_run};
use crate::plan::{Claim, Plan, Release, Selection, Target};
use crate::quiescer::Probe;

/// Checks a backup's plan.
///
/// # Errors
///
/// The first thing in it that no run of this program has.
pub fn backup(plan: &Plan) -> Result<(), Damaged> {
    let it = Looked("its plan");
    it.when(is_run(&plan.run), "run", &plan.run)?;
    it.namespace(&plan.namespace)?;
    it.line("request", &plan.request)?;
    it.time("budget", plan.budget)?;
    it.time("patience", plan.cut_error_patience)?;
    it.time("estimate", plan.estimate)?;
    it.count("targets", plan.targets.len(), TARGETS)?;
    it.count("claims", plan.claims.len(), OBJECTS)?;
    it.count("workloads", plan.workloads.len() + plan.stopped.len() + plan.replicas.len(), OBJECTS)?;
    it.count("pods", plan.claims.iter().map(|claim| claim.pods.len()).sum(), OBJECTS)?;
    it.count("attempts", usize::from(plan.attempts), ATTEMPTS)?;
    plan.selections.iter().try_for_each(selection)?;
    plan.targets.iter().try_for_each(|of| target(of, plan.claims.len()))?;
    if let Some(first) = &plan.first_targets {
        let even = first.waves.len() == first.stops_commits.len();
        let known = first.archives.iter().all(|&t| t < first.waves.len());
        it.when(even && known, "first shape", &format!("{} targets", first.waves.len()))?;
    }
    for replica in &plan.replicas {
        target(&replica.target, usize::MAX)?;
        replica.claims.iter().try_for_each(|claim| Looked("a replica").named("claim", claim))?;
    }
    plan.claims.iter().try_for_each(claim)?;
    for of in &plan.workloads {
        let it = Looked("a workload");
        it.namespace(&of.namespace)?;
        it.name(&of.name)?;
        it.uid(&of.uid)?;
        it.when(of.kind.bytes().all(|b| b.is_ascii_alphanumeric()), "kind", &of.kind)?;
        it.when(of.replicas >= 0, "number of replicas", &of.replicas.to_string())?;
    }
    plan.releases.iter().try_for_each(release)?;
    plan.stopped.iter().try_for_each(super::restore::workload)?;
    plan.notes.iter().try_for_each(|note| it.line("note", note))
}

pub(super) fn selection(of: &Selection) -> Result<(), Damaged> {
    let it = Looked("a selection");
    it.namespace(&of.namespace)?;
    it.line("object", &of.object)?;
    of.pod.iter().try_for_each(|pod| it.named("pod", pod))?;
    of.labels.iter().try_for_each(|labels| it.line("selector", labels))
}

/// A target, whose claims are among so many.
pub(super) fn target(of: &Target, claims: usize) -> Result<(), Damaged> {
    let it = Looked("a target");
    it.namespace(&of.namespace)?;
    it.named("pod", &of.pod)?;
    it.uid(&of.pod_uid)?;
    it.when(is_namespace(&of.container), "container", &of.container)?;
    it.when(is_namespace(&of.adapter), "adapter", &of.adapter)?;
    of.claims.iter().try_for_each(|&claim| it.index("claim", claim, claims))?;
    if !of.release.is_empty() {
        it.named("release", &of.release)?;
    }
    probe(&of.probe)
}

/// What stands there comes into commands and messages. Directories are absolute: `sync` would read another text as an
/// option.
fn probe(of: &Probe) -> Result<(), Damaged> {
    let it = Looked("a probe");
    for (field, text) in [("version", &of.version), ("role", &of.role), ("replication", &of.replication)] {
        it.line(field, text)?;
    }
    for dir in of.data_dirs.iter().chain(&of.archive_dirs) {
        it.when(dir.starts_with('/') && is_line(dir), "directory", dir)?;
    }
    for (name, value) in &of.settings {
        it.line("setting", name)?;
        it.line("setting", value)?;
    }
    of.notes.iter().chain(&of.leftovers).try_for_each(|text| it.line("note", text))
}

fn claim(of: &Claim) -> Result<(), Damaged> {
    let it = Looked("a claim");
    it.namespace(&of.namespace)?;
    it.name(&of.name)?;
    it.uid(&of.uid)?;
    it.named("volume", &of.volume)?;
    it.when(is_quantity(&of.request), "size", &of.request)?;
    it.named("class", &of.class)?;
    it.policy(&of.deletion_policy)?;
    it.line("driver", &of.driver)?;
    of.storage_class.iter().filter(|class| !class.is_empty()).try_for_each(|class| it.named("storage class", class))?;
    of.pods.iter().try_for_each(|pod| it.named("pod", pod))
}

fn release(of: &Release) -> Result<(), Damaged> {
    let it = Looked("a release");
    it.namespace(&of.namespace)?;
    for (field, text) in [("name", &of.name), ("deployment", &of.deployment), ("service", &of.service)] {
        it.named(field, text)?;
    }
    it.line("chart", &of.chart)?;
    it.line("version", &of.app_version)?;
    let Some(properties) = &of.properties else { return Ok(()) };
    it.when(matches!(properties.kind.as_str(), "ConfigMap" | "Secret"), "kind", &properties.kind)?;
    it.named("properties", &properties.name)
}
