//! What the plan of a restore may say.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::backup::{selection, target};
use super::{Damaged, Looked, OBJECTS, TARGETS, is_quantity};
use crate::names::{is_name, is_namespace, is_run};
use crate::plan::restore::{Alias, Claim, Edit, RestorePlan, Volume, Workload};

/// Checks a restore's plan.
///
/// # Errors
///
/// The first thing in it that no restore of this program has.
pub fn restore(plan: &RestorePlan) -> Result<(), Damaged> {
    let it = Looked("its plan");
    it.when(is_run(&plan.run), "run", &plan.run)?;
    it.when(is_run(&plan.backup.run), "backup", &plan.backup.run)?;
    it.namespace(&plan.namespace)?;
    it.time("wait", plan.wait)?;
    it.count("targets", plan.targets.len(), TARGETS)?;
    it.count("claims", plan.claims.len() + plan.aliases.len(), OBJECTS)?;
    it.count("workloads", plan.workloads.len() + plan.edits.len(), OBJECTS)?;
    it.count("pods", plan.pods.len(), OBJECTS)?;
    plan.selections.iter().try_for_each(selection)?;
    plan.workloads.iter().try_for_each(workload)?;
    plan.edits.iter().try_for_each(edit)?;
    plan.claims.iter().try_for_each(claim)?;
    plan.aliases.iter().try_for_each(alias)?;
    for pod in &plan.pods {
        let known = pod.split_once('/').is_some_and(|(namespace, pod)| is_namespace(namespace) && is_name(pod));
        it.when(known, "pod", pod)?;
    }
    for of in &plan.targets {
        // Its claims are the backup's.
        target(&of.target, usize::MAX)?;
        it.index("workload of a target", of.workload, plan.workloads.len())?;
    }
    if let Some(archive) = &plan.archive {
        let it = Looked("its recovery");
        it.index("target", archive.target, plan.targets.len())?;
        let Some(of) = plan.targets.get(archive.target) else { return Ok(()) };
        same(&archive.pod.metadata, &of.target.namespace, &format!("consistent-backup-{}", plan.run), "helper pod")?;
        it.line("command", &archive.wanted.command)?;
    }
    plan.notes.iter().chain(&plan.afterwards).try_for_each(|note| it.line("note", note))
}

/// A workload that is stopped and started.
pub(super) fn workload(of: &Workload) -> Result<(), Damaged> {
    let it = Looked("a workload");
    it.namespace(&of.namespace)?;
    it.name(&of.name)?;
    it.kind(&of.kind)?;
    it.uid(&of.uid)?;
    it.line("selector", &of.labels)?;
    for (field, number) in [("replicas", of.replicas), ("replicas to start", of.start), ("ready pods", of.ready)] {
        it.when(number >= 0, field, &number.to_string())?;
    }
    it.time("grace", of.grace)?;
    if let Some(retention) = &of.retention {
        it.policy(&retention.when_deleted)?;
        it.policy(&retention.when_scaled)?;
    }
    let is_pod = of.kind == "Pod";
    it.when(is_pod || of.pod.is_none(), "manifest", &of.kind)?;
    match &of.pod {
        Some(pod) => same(&pod.metadata, &of.namespace, &of.name, "manifest of a pod"),
        None => Ok(()),
    }
}

fn claim(of: &Claim) -> Result<(), Damaged> {
    let it = Looked("a claim");
    it.namespace(&of.namespace)?;
    it.name(&of.name)?;
    it.when(is_quantity(&of.size), "size", &of.size)?;
    for (field, text) in [("snapshot", &of.snapshot), ("content", &of.content)] {
        if !text.is_empty() {
            it.named(field, text)?;
        }
    }
    same(&of.new.metadata, &of.namespace, &of.name, "manifest of a claim")?;
    let Some(old) = &of.old else { return Ok(()) };
    it.uid(&old.uid)?;
    same(&old.claim.metadata, &of.namespace, &of.name, "manifest of an old claim")?;
    old.volume.iter().try_for_each(volume)
}

/// A volume whose policy is set.
pub fn volume(of: &Volume) -> Result<(), Damaged> {
    let it = Looked("a volume");
    it.name(&of.name)?;
    it.uid(&of.uid)?;
    it.policy(&of.reclaim_policy)
}

fn alias(of: &Alias) -> Result<(), Damaged> {
    let it = Looked("a second snapshot");
    it.when(is_run(&of.run), "run", &of.run)?;
    it.namespace(&of.namespace)?;
    for (field, text) in [("claim", &of.claim), ("name", &of.snapshot), ("content", &of.content)] {
        it.named(field, text)?;
    }
    it.line("driver", &of.driver)?;
    it.line("handle", &of.handle)
}

fn edit(of: &Edit) -> Result<(), Damaged> {
    let it = Looked("a property");
    it.namespace(&of.namespace)?;
    it.named("release", &of.release)?;
    it.named("object", &of.properties.name)?;
    it.when(matches!(of.properties.kind.as_str(), "ConfigMap" | "Secret"), "kind", &of.properties.kind)?;
    it.uid(&of.uid)
}

/// A manifest is of the object that it stands for: else another one would be made under the first one's rights.
fn same(metadata: &ObjectMeta, namespace: &str, name: &str, what: &str) -> Result<(), Damaged> {
    let it = Looked(what);
    let found = metadata.name.as_deref().unwrap_or_default();
    it.when(found == name, "name", found)?;
    let found = metadata.namespace.as_deref().unwrap_or_default();
    it.when(found == namespace, "namespace", found)
}
