//! Whether the workloads of the backup can be stopped and started, and whether nobody else uses their claims.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Pod;

use super::facts::{Facts, Found, WorkloadNow, claims_of, has_ended, owner_of};
use super::in_place::replaced;
use super::{Request, Restored, Retention, Workload, bare, operators, protected};
use crate::error::Refusal;
use crate::plan::{NO_ADAPTER, Plan, Target};

/// What can be done instead.
pub(in crate::plan) const BESIDE: &str = "make copies of the claims beside the old ones: --claims-only --suffix NAME";

/// What is stopped and started, from what the backup recorded and what is there now.
pub(super) fn workloads(
    plan: &Plan,
    facts: &Facts,
    asked: &Request,
    refusals: &mut Vec<Refusal>,
    notes: &mut Vec<String>,
) -> Vec<Workload> {
    let gone = |of: &&crate::plan::Workload| {
        plan.is_front(of)
            && facts.workloads.get(&format!("{}/{}/{}", of.namespace, of.kind, of.name)) == Some(&Found::No)
    };
    let (gone, there): (Vec<_>, Vec<_>) = plan.workloads.iter().partition(gone);
    notes.extend(gone.into_iter().map(|of| {
        format!(
            "deployment/{} is gone: nothing is started in front of the databases for it; install its release again when they \
             are restored",
            of.name
        )
    }));
    if there.is_empty() {
        refusals.push(Refusal::new(format!("backup/{}", plan.run), "it names no workload to stop").hint(BESIDE));
    }
    let there: Vec<crate::plan::Workload> = there.into_iter().cloned().collect();
    let mut all = stoppable(&there, facts, asked, refusals, notes);
    for stopped in &mut all {
        stopped.front = there.iter().any(|of| plan.is_front(of) && is(stopped, of));
    }
    // As they are stopped.
    all.sort_by_key(|of| !of.front);
    let fronts: Vec<String> = all.iter().filter(|of| of.front).map(Workload::path).collect();
    if !fronts.is_empty() && !plan.claims.is_empty() {
        notes.push(format!("{}: stopped before the databases, and started once these serve", fronts.join(", ")));
    }
    all
}

fn is(stopped: &Workload, of: &crate::plan::Workload) -> bool {
    (&stopped.namespace, &stopped.kind, &stopped.name) == (&of.namespace, &of.kind, &of.name)
}

/// These workloads as they are stopped and started; every reason why one cannot be is added to `refusals`.
pub(in crate::plan) fn stoppable(
    workloads: &[crate::plan::Workload],
    facts: &Facts,
    asked: &Request,
    refusals: &mut Vec<Refusal>,
    notes: &mut Vec<String>,
) -> Vec<Workload> {
    workloads.iter().filter_map(|of| workload(of, facts, asked, refusals, notes)).collect()
}

fn workload(
    of: &crate::plan::Workload,
    facts: &Facts,
    asked: &Request,
    refusals: &mut Vec<Refusal>,
    notes: &mut Vec<String>,
) -> Option<Workload> {
    let object = format!("{}/{}", of.kind.to_lowercase(), of.name);
    let mut refuse = |message: &str| refusals.push(Refusal::new(object.clone(), message).hint(BESIDE));
    if !matches!(of.kind.as_str(), "StatefulSet" | "Deployment" | "ReplicaSet" | "Pod") {
        refuse(&format!("a {} cannot be scaled to 0, so it cannot be stopped and restored in place", of.kind));
        return None;
    }
    let now = match facts.workloads.get(&format!("{}/{}/{}", of.namespace, of.kind, of.name)) {
        Some(Found::Yes(now)) => now,
        Some(Found::Unknown(why)) => {
            refuse(&format!("it could not be read: {why}"));
            return None;
        }
        Some(Found::No) | None => {
            refuse("it is gone");
            return None;
        }
    };
    if now.deleting {
        refuse("it is being deleted");
    }
    managed(&object, &of.namespace, now, asked, refusals, notes);
    let pod = now.pod.as_deref().map(|pod| bare_pod(pod, asked, refusals, notes));
    if let Some(why) = &now.refused {
        refusals.push(Refusal::new(object.clone(), format!("it could not be made again once it is deleted: {why}")));
    }
    if pod.is_some() {
        notes.push(format!(
            "{object}: it is stopped by deleting it, and made again from its manifest, which is recorded"
        ));
    }
    let start = if now.replicas == 0 { of.replicas.max(1) } else { now.replicas };
    if now.replicas == 0 {
        notes.push(format!(
            "{object} is stopped already; it is started with {start} replicas, as at the time of the backup"
        ));
    }
    Some(Workload {
        namespace: of.namespace.clone(),
        kind: of.kind.clone(),
        name: of.name.clone(),
        uid: now.uid.clone(),
        labels: now.labels.clone(),
        replicas: now.replicas,
        start,
        ready: ready(of, facts),
        retention: now.retention.clone().filter(Retention::deletes),
        grace: now.grace,
        pod,
        owner: now.owner.clone(),
        front: false,
    })
}

/// What something manages that is not built in is started again by that while it is down.
fn managed(
    object: &str,
    namespace: &str,
    now: &WorkloadNow,
    asked: &Request,
    refusals: &mut Vec<Refusal>,
    notes: &mut Vec<String>,
) {
    let Some(owner) = &now.owner else { return };
    let why = format!("it is managed by {owner}, which would start it again while it is down");
    if asked.force.owner {
        notes.push(format!("{object}: {why}; restored all the same, as --force-owner asks"));
    } else {
        let pause = operators::pause(owner, namespace);
        refusals.push(Refusal::new(object, why).hint(format!("{pause}; then add --force-owner")));
    }
}

/// What is recorded of a pod that nothing controls. Its record is no place for credentials.
fn bare_pod(pod: &Pod, asked: &Request, refusals: &mut Vec<Refusal>, notes: &mut Vec<String>) -> Box<Pod> {
    let object = format!("pod/{}", pod.metadata.name.as_deref().unwrap_or_default());
    let unknown = bare::unknown_annotations(pod);
    if !unknown.is_empty() {
        notes.push(format!(
            "{object}: unknown annotations may hold secrets and are not recorded: {}; the pod is created again without them",
            unknown.join(", ")
        ));
    }
    let spelt = bare::credentials(pod);
    if !spelt.is_empty() {
        let why = format!(
            "stopped, it is gone, so its manifest has to be recorded, and that spells credentials out: {}",
            spelt.join(", ")
        );
        refusals.push(Refusal::new(object, why).hint("let it take them from a Secret, or run it by a StatefulSet"));
    }
    Box::new(bare::manifest(pod, asked.mark, &asked.run))
}

/// How many pods of the workload are ready now.
fn ready(of: &crate::plan::Workload, facts: &Facts) -> i32 {
    let is = |pod: &&Pod| {
        let conditions = pod.status.as_ref().and_then(|s| s.conditions.as_deref()).unwrap_or_default();
        pod.metadata.deletion_timestamp.is_none()
            && owns(of, pod, facts)
            && conditions.iter().any(|c| c.type_ == "Ready" && c.status == "True")
    };
    i32::try_from(facts.pods.iter().filter(is).count()).unwrap_or(i32::MAX)
}

/// Whether this is one of the workload's pods.
pub(super) fn owns(of: &crate::plan::Workload, pod: &Pod, facts: &Facts) -> bool {
    // A pod that something foreign owns stands for itself.
    let is = |owner: String| owner == format!("{}/{}", of.kind, of.name);
    pod.metadata.namespace.as_ref() == Some(&of.namespace)
        && if of.kind == "Pod" {
            pod.metadata.name.as_ref() == Some(&of.name)
        } else {
            is(owner_of(pod, &facts.replica_sets))
        }
}

impl Retention {
    /// Whether it lets the StatefulSet's controller delete a claim at all.
    fn deletes(&self) -> bool {
        self.when_deleted != "Retain" || self.when_scaled != "Retain"
    }
}

/// Refuses claims that pods of other workloads mount: they would be pulled away from under them. And pods of the
/// restored workloads whose claims are not in the backup: a replica with newer data than its primary is corrupt.
pub(super) fn users(plan: &Plan, facts: &Facts, refusals: &mut Vec<Refusal>, notes: &mut Vec<String>) {
    let ours = replaced(plan);
    // A Deployment forgets its pods once they have ended.
    let deleted = |of: &&crate::plan::Workload| matches!(of.kind.as_str(), "StatefulSet" | "Pod");
    let goes = |pod: &Pod| plan.workloads.iter().filter(deleted).any(|of| owns(of, pod, facts));
    refusals.extend(protected::by_ended(&ours, facts, goes));
    for pod in facts.pods.iter().filter(|pod| !has_ended(pod)) {
        let namespace = pod.metadata.namespace.clone().unwrap_or_default();
        let restored = plan.workloads.iter().any(|w| owns(w, pod, facts));
        let (copied, other): (Vec<String>, Vec<String>) =
            claims_of(pod).partition(|name| ours.contains(&format!("{namespace}/{name}")));
        let object = format!("pod/{}", pod.metadata.name.as_deref().unwrap_or_default());
        if !restored {
            for name in copied {
                refusals.push(
                    Refusal::new(
                        format!("persistentvolumeclaim/{name}"),
                        format!("{object} mounts it, which the backup does not know"),
                    )
                    .hint(format!("stop {object} first")),
                );
            }
        } else if copied.is_empty() && !other.is_empty() {
            refusals.push(
                Refusal::new(
                    object,
                    format!(
                        "its claims ({}) are not in the backup: its data would be newer than what it is restored with",
                        other.join(", ")
                    ),
                )
                .hint("scale the workload to the number of replicas that it had at the backup, or use --claims-only"),
            );
        } else if !other.is_empty() {
            notes.push(format!("{object}: {} is not in the backup and stays as it is", other.join(", ")));
        }
    }
}

/// Refuses a database whose image has another major version now than at the backup: it could refuse the old data,
/// or change it for good. That goes to the first of `refusals`, as the user may force it. Another minor version is a
/// remark.
pub(super) fn images(
    plan: &Plan,
    backed_up: &BTreeMap<String, Vec<String>>,
    facts: &Facts,
    refusals: (&mut Vec<Refusal>, &mut Vec<Refusal>),
    notes: &mut Vec<String>,
) {
    let (versions, refusals) = refusals;
    for target in &plan.targets {
        let then = backed_up.get(&format!("{}/{}", target.namespace, target.pod)).map_or(&[][..], Vec::as_slice);
        let Some(of) = workload_of(target, &plan.workloads) else { continue };
        let of = &plan.workloads[of];
        let Some(now) = facts.workloads.get(&format!("{}/{}/{}", of.namespace, of.kind, of.name)).and_then(Found::yes)
        else {
            continue;
        };
        let Some((_, image)) = now.images.iter().find(|(container, _)| *container == target.container) else {
            let object = format!("{}/{}", of.kind.to_lowercase(), of.name);
            refusals
                .push(Refusal::new(object, format!("it has no container {} any more", target.container)).hint(BESIDE));
            continue;
        };
        if then.is_empty() || then.contains(image) {
            continue;
        }
        let known = then
            .iter()
            .any(|old| repository(old) == repository(image) && major(old).is_some() && major(old) == major(image));
        let text =
            format!("container {} runs {image} now, but ran {} at the backup", target.container, then.join(", "));
        if known {
            notes.push(text);
        } else {
            let object = format!("{}/{}", of.kind.to_lowercase(), of.name);
            versions.push(
                Refusal::new(object, text)
                    .hint(format!("set the image back, {BESIDE}, or take the risk with --force-version")),
            );
        }
    }
}

/// An image without its tag and digest.
fn repository(image: &str) -> &str {
    let image = image.split('@').next().unwrap_or_default();
    match image.rsplit_once(':') {
        Some((repository, tag)) if !tag.contains('/') => repository,
        _ => image,
    }
}

/// The number with which an image's tag begins.
fn major(image: &str) -> Option<u32> {
    let image = image.split('@').next()?;
    let (_, tag) = image.rsplit_once(':').filter(|(_, tag)| !tag.contains('/'))?;
    let tag = tag.strip_prefix('v').unwrap_or(tag);
    tag.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

/// The ready pod in which this database of the backup runs now: that of its name, or, as a Deployment's pods have new
/// ones, another of its workload.
pub fn pod_of<'a>(target: &Target, plan: &Plan, facts: &'a Facts) -> Option<&'a Pod> {
    let of = &plan.workloads[workload_of(target, &plan.workloads)?];
    let has = |pod: &&Pod| {
        let conditions = pod.status.as_ref().and_then(|s| s.conditions.as_deref()).unwrap_or_default();
        pod.metadata.deletion_timestamp.is_none()
            && conditions.iter().any(|c| c.type_ == "Ready" && c.status == "True")
            && pod.spec.iter().flat_map(|s| &s.containers).any(|c| c.name == target.container)
            && owns(of, pod, facts)
    };
    let mut ready = facts.pods.iter().filter(has);
    let named = ready.clone().find(|pod| pod.metadata.name.as_ref() == Some(&target.pod));
    named.or_else(|| ready.next().filter(|_| matches!(of.kind.as_str(), "Deployment" | "ReplicaSet")))
}

/// Databases of the backup whose pods would not be there after the start: they would be waited for while all is down.
pub(super) fn scaled_away(plan: &Plan, workloads: &[Workload], facts: &Facts) -> Vec<Refusal> {
    let ordinal = |pod: &str| pod.rsplit('-').next().and_then(|n| n.parse::<i32>().ok());
    let gone = |target: &Target| {
        let of = &plan.workloads[workload_of(target, &plan.workloads)?];
        let mut sets = workloads.iter().filter(|w| w.kind == "StatefulSet");
        let set = sets.find(|w| (&w.namespace, &w.kind, &w.name) == (&of.namespace, &of.kind, &of.name))?;
        let mut there = facts.pods.iter().filter(|pod| owns(of, pod, facts)).filter_map(|p| p.metadata.name.as_deref());
        // Where its numbers do not begin with 0, only its pods tell them.
        let counted = there.clone().filter_map(ordinal).all(|n| n < set.start);
        let comes = there.any(|name| name == target.pod) || ordinal(&target.pod).is_none_or(|n| n < set.start);
        (counted && !comes).then(|| {
            Refusal::new(
                format!("pod/{}", target.pod),
                format!("{} has {} replicas now, so it would not be started", set.path(), set.start),
            )
            .hint("scale it to as many as at the backup, or restore the claims of the others: --claim NAME")
        })
    };
    plan.targets.iter().filter(|target| target.adapter != NO_ADAPTER).filter_map(gone).collect()
}

/// The databases that must have recovered, each with its workload; and the replicas that must follow them again.
pub(super) fn targets(plan: &Plan, workloads: &[Workload], facts: &Facts) -> Vec<Restored> {
    let known: Vec<crate::plan::Workload> = plan.workloads.clone();
    // A replica that was scaled away since does not come back.
    let there = |target: &Target| {
        let is = |pod: &Pod| {
            pod.metadata.name.as_ref() == Some(&target.pod)
                && pod.metadata.namespace.as_ref() == Some(&target.namespace)
        };
        let of = workload_of(target, &known).map(|w| &known[w]);
        let stopped =
            |w: &&Workload| of.is_some_and(|of| (&w.kind, &w.name) == (&of.kind, &of.name)) && w.replicas == 0;
        facts.pods.iter().any(is) || workloads.iter().any(|w| stopped(&w))
    };
    let replicas = plan.replicas.iter().map(|r| &r.target).filter(|target| there(target)).map(|target| (target, true));
    plan.targets
        .iter()
        .map(|target| (target, false))
        .chain(replicas)
        // A cold backup copies databases of unknown kinds too: nobody can be asked whether they have recovered.
        .filter(|(target, _)| target.adapter != NO_ADAPTER && !target.probe.keeps_nothing)
        .filter_map(|(target, replica)| {
            let of = &known[workload_of(target, &known)?];
            let workload = workloads
                .iter()
                .position(|w| (&w.namespace, &w.kind, &w.name) == (&of.namespace, &of.kind, &of.name))?;
            Some(Restored { target: target.clone(), workload, replica })
        })
        .collect()
}

/// The workload whose pod this target's was: pods are named after what made them.
fn workload_of(target: &Target, workloads: &[crate::plan::Workload]) -> Option<usize> {
    let made = |w: &crate::plan::Workload| {
        if w.kind == "Pod" {
            return (target.pod == w.name).then_some(w.name.len() + 1);
        }
        let rest = target.pod.strip_prefix(&w.name)?.strip_prefix('-')?;
        let fits = w.kind != "StatefulSet" || rest.bytes().all(|b| b.is_ascii_digit());
        fits.then_some(w.name.len())
    };
    (0..workloads.len())
        .filter(|&w| workloads[w].namespace == target.namespace)
        .filter_map(|w| Some((made(&workloads[w])?, w)))
        .max()
        .map(|(_, w)| w)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_are_compared_by_repository_and_major_version() {
        assert_eq!(repository("reg:5000/postgres:15.3"), "reg:5000/postgres");
        assert_eq!(repository("reg:5000/postgres"), "reg:5000/postgres");
        assert_eq!(repository("postgres@sha256:abc"), "postgres");
        assert_eq!(major("postgres:15.3-bookworm"), Some(15));
        assert_eq!(major("reg:5000/postgres"), None);
        assert_eq!(major("x:v7"), Some(7));
        assert_eq!(major("x:latest"), None);
    }
}
