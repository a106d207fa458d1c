//! The planner: every rule is asked, and only if none refuses there is a plan.

use std::collections::BTreeSet;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;

use super::facts::{Probed, name, object};
use super::release::expiry;
use super::release::pause::Pause;
use super::targets::{Held, held};
use super::{
    Backend, Detection, Facts, Plan, Release, Replica, Request, Target, claims, estimate, holds, left_out, loose,
    notes, replicas, uses,
};
use crate::error::Refusal;
use crate::pods::PodState;
use crate::quiescer::scalar::DRAIN as DRAIN_SETTING;

/// What a window may take beside the drain and the hold.
const MARGIN: Duration = Duration::from_secs(10);
/// Less than that all are never paused in.
const PAUSING: Duration = Duration::from_secs(1);

/// A plan, or all reasons why there is none. `probes` are the answers of `detection.targets`, in their order; `run` is
/// the id that the run will have, `created` the time by the API server's clock.
pub fn plan(
    facts: &Facts,
    detection: &Detection,
    probes: &[Probed],
    request: &Request,
    run: &str,
    created: Timestamp,
) -> Result<Plan, Vec<Refusal>> {
    let mut refusals = facts.refusals.clone();
    refusals.extend(detection.refusals.iter().cloned());
    refusals.extend(facts.pods.iter().filter_map(serves));

    let probes = holds::holds(facts, detection, probes, &request.backend, &mut refusals);
    let left_out = left_out::left_out(facts, detection, &probes, request, &mut refusals);
    let held = held(facts, detection, &probes, &left_out, &mut refusals);
    let replicas = replicas::replicas(facts, detection, &probes, &held, &left_out, &mut refusals);
    let uses = uses::uses(facts, detection, (&held, &replicas), &left_out, &mut refusals);
    let mut planned = Vec::new();
    let copied = if request.backend == Backend::Csi { uses.copied.clone() } else { BTreeSet::new() };
    for (namespace, name) in &copied {
        match claims::claim(facts, request, namespace, name) {
            Ok(claim) => planned.push(claim),
            Err(several) => refusals.extend(several),
        }
    }
    let flush = Duration::from_secs(held.iter().map(|h| h.probe.flush_seconds).max().unwrap_or_default());
    let estimate = flush
        + match &request.backend {
            Backend::Csi => estimate(copied.len(), facts.contents),
            Backend::Window { hold } => *hold + PAUSING,
            // How long the user's command takes only the user knows.
            Backend::Command { .. } => Duration::ZERO,
        };
    let budget = budget(request, &held);
    refusals.extend(too_long(estimate, flush, copied.len(), request, budget));
    if refusals.is_empty() && planned.is_empty() && request.backend == Backend::Csi {
        refusals.push(Refusal::new(request.text(), "there is nothing to back up: no selected pod has a claim"));
    }
    if request.backend != Backend::Csi {
        refusals.extend(uses.unheld.iter().map(|pod| {
            Refusal::new(
                format!("pod/{pod}"),
                format!("is annotated not to be held, and --backend {} needs all held", request.backend.name()),
            )
            .hint("select without it, or remove the annotation")
        }));
    }
    if refusals.is_empty() && held.is_empty() && request.backend != Backend::Csi {
        refusals.push(Refusal::new(request.text(), "there is nothing to hold: no selected pod has a known database"));
    }
    if !refusals.is_empty() {
        return Err(refusals);
    }

    let loose = loose::loose(facts, &held, &uses, &planned);
    let mut notes = notes::notes(facts, &held, &uses, &loose, &planned, budget);
    notes.extend(replicas.iter().map(Replica::note));
    let mut unheld_claims: Vec<String> = loose.into_iter().map(|l| l.claim).collect();
    unheld_claims.dedup();
    let fronted = held.iter().any(|h| h.probe.keeps_nothing);
    let targets: Vec<Target> = held.into_iter().map(|h| target(facts, request, h, &copied, fronted)).collect();
    let releases: Vec<Release> = facts.releases.iter().map(|(release, _)| release.clone()).collect();
    let databases = if request.databases.is_empty() { &facts.databases } else { &request.databases };
    // What is held or copied beside the releases shares no transaction with their database, for all that is known.
    let alone = targets.iter().all(|t| t.probe.keeps_nothing) && planned.is_empty();
    notes.extend(Pause::of(&releases, databases).note().filter(|_| alone).map(str::to_owned));
    notes.extend(expiry::note(databases).map(str::to_owned));
    notes.extend(unlimited(request, &targets, &releases));
    Ok(Plan {
        run: run.into(),
        created,
        namespace: request.record_in(&targets),
        request: request.text(),
        selections: facts.selections.clone(),
        targets,
        first_targets: None,
        replicas,
        claims: planned,
        // Where nothing is copied nothing unheld is copied.
        unheld: if copied.is_empty() { Vec::new() } else { uses.unheld.into_iter().collect() },
        unheld_claims,
        workloads: facts.workloads.clone(),
        releases,
        databases: databases.clone(),
        backend: request.backend.clone(),
        guard_image: request.guard_image.clone().filter(|_| fronted),
        guard_pull_secret: request.guard_pull_secret.clone().filter(|_| fronted),
        detached: request.detached,
        stopped: Vec::new(),
        budget,
        // Whoever copies meanwhile copies once: another window is no use to him.
        attempts: if request.detached { 1 } else { request.attempts },
        pods_must_match: request.pods_must_match,
        cut_error_patience: request.cut_error_patience,
        estimate,
        contents: facts.contents,
        notes,
    })
}

/// How long databases may be held: as the user says, else with the time that servers may take to be paused.
fn budget(request: &Request, held: &[Held]) -> Duration {
    let pauses = held.iter().any(|h| h.probe.keeps_nothing);
    match &request.backend {
        _ if request.budget_chosen => request.budget,
        Backend::Window { hold } => request.drain + *hold + MARGIN,
        _ if pauses => request.drain + request.budget,
        _ => request.budget,
    }
}

/// What can only be released by somebody: the one thing to know beforehand.
fn unlimited(request: &Request, targets: &[Target], releases: &[Release]) -> Option<String> {
    targets.iter().any(|t| t.probe.keeps_nothing).then(|| {
        let names: Vec<String> = releases.iter().map(Release::path).collect();
        let names = names.join(", ");
        if let Some(image) = &request.guard_image {
            return format!("a guard pod ({image}) unpauses {names} at the budget, whatever becomes of this program");
        }
        let (are, them) = if releases.len() == 1 { ("is", "it") } else { ("are", "them") };
        format!(
            "a pause has no time limit of its own: if this program dies while {names} {are} paused, only `thaw` releases \
             {them}, unless a guard pod does (--guard-image)"
        )
    })
}

fn target(facts: &Facts, request: &Request, held: Held, copied: &BTreeSet<(String, String)>, fronted: bool) -> Target {
    let is_its = |pod: &&Pod| name(pod) == held.detected.pod && super::facts::namespace(pod) == held.detected.namespace;
    let release = facts.pods.iter().find(is_its).and_then(|pod| facts.release_of(pod));
    let mut probe = held.probe;
    // An application before its databases: what it has begun is written while they still take it.
    let wave = u8::from(fronted && !probe.keeps_nothing);
    if probe.keeps_nothing {
        probe.settings.push((DRAIN_SETTING.into(), request.drain.as_millis().to_string()));
        probe.version = release.map(|(release, _)| release.app_version.clone()).unwrap_or_default();
    }
    let namespace = held.detected.namespace;
    let claims = copied
        .iter()
        .enumerate()
        .filter(|(_, (ns, name))| *ns == namespace && held.claims.contains(name))
        .map(|(i, _)| i)
        .collect();
    Target {
        namespace,
        pod: held.detected.pod,
        pod_uid: held.detected.pod_uid,
        container: held.detected.container,
        adapter: held.detected.adapter.into(),
        probe,
        wave,
        claims,
        release: held.detected.release,
        endpoint: held.detected.endpoint,
    }
}

/// A selected pod that does not serve is a reason to stop, never a pod that is skipped: nobody knows what it does next.
pub(super) fn serves(pod: &Pod) -> Option<Refusal> {
    let state = PodState::of(pod);
    let conditions = pod.status.iter().flat_map(|s| s.conditions.iter().flatten());
    let ready = conditions.filter(|c| c.type_ == "Ready").any(|c| c.status == "True");
    if state.phase != "Running" || pod.metadata.deletion_timestamp.is_some() {
        let refusal = Refusal::new(object(pod), format!("is {}, not Running", state.status));
        return Some(if matches!(state.phase.as_str(), "Succeeded" | "Failed") {
            refusal.hint("delete it, or select without it")
        } else {
            refusal
        });
    }
    (!ready).then(|| Refusal::new(object(pod), format!("is not ready ({} {})", state.status, state.ready)))
}

fn too_long(
    estimate: Duration,
    flush: Duration,
    claims: usize,
    request: &Request,
    budget: Duration,
) -> Option<Refusal> {
    if estimate <= budget {
        return None;
    }
    if let Backend::Window { hold } = &request.backend {
        return Some(
            Refusal::new(
                request.text(),
                format!("is to be held for {hold:?} once all are held: with that, longer than it may be ({budget:?})"),
            )
            .hint("ask for less with --hold, or allow more with --quiesce-budget"),
        );
    }
    let enough = (estimate.as_secs_f64() * 1.5 / 5.0).ceil() * 5.0;
    Some(
        Refusal::new(
            request.text(),
            format!(
                "the cuts of {claims} claim{}{} are estimated to take {:.1}s, longer than databases may be held ({:?})",
                if claims == 1 { "" } else { "s" },
                if flush.is_zero() { String::new() } else { format!(", with {flush:?} to write what is in memory,") },
                estimate.as_secs_f64(),
                budget
            ),
        )
        .hint(format!(
            "allow more with --quiesce-budget {enough}s, select less, or raise --kube-api-qps and --kube-api-burst of the \
             snapshot-controller and of the driver's csi-snapshotter"
        )),
    )
}

#[cfg(test)]
mod releases;
#[cfg(test)]
mod tests;
