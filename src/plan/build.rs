//! The planner: every rule is asked, and only if none refuses there is a plan.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;

use super::facts::{Probed, object};
use super::targets::{Held, held};
use super::{
    Detection, Facts, Plan, Replica, Request, Target, claims, estimate, holds, left_out, loose, notes, replicas, uses,
};
use crate::error::Refusal;
use crate::pods::PodState;

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

    let probes = holds::holds(facts, detection, probes, &mut refusals);
    let left_out = left_out::left_out(facts, detection, &probes, request, &mut refusals);
    let held = held(facts, detection, &probes, &left_out, &mut refusals);
    let replicas = replicas::replicas(facts, detection, &probes, &held, &left_out, &mut refusals);
    let uses = uses::uses(facts, detection, (&held, &replicas), &left_out, &mut refusals);
    let mut planned = Vec::new();
    for (namespace, name) in &uses.copied {
        match claims::claim(facts, request, namespace, name) {
            Ok(claim) => planned.push(claim),
            Err(several) => refusals.extend(several),
        }
    }
    let flush = Duration::from_secs(held.iter().map(|h| h.probe.flush_seconds).max().unwrap_or_default());
    let estimate = estimate(uses.copied.len(), facts.contents) + flush;
    refusals.extend(too_long(estimate, flush, uses.copied.len(), request));
    if refusals.is_empty() && planned.is_empty() {
        refusals.push(Refusal::new(request.text(), "there is nothing to back up: no selected pod has a claim"));
    }
    if !refusals.is_empty() {
        return Err(refusals);
    }

    let loose = loose::loose(facts, &held, &uses, &planned);
    let mut notes = notes::notes(facts, &held, &uses, &loose, &planned, request);
    notes.extend(replicas.iter().map(Replica::note));
    let mut unheld_claims: Vec<String> = loose.into_iter().map(|l| l.claim).collect();
    unheld_claims.dedup();
    let targets: Vec<Target> = held.into_iter().map(|h| target(h, &uses.copied)).collect();
    Ok(Plan {
        run: run.into(),
        created,
        namespace: request.record_in(&targets),
        request: request.text(),
        selections: facts.selections.clone(),
        targets,
        replicas,
        claims: planned,
        unheld: uses.unheld.into_iter().collect(),
        unheld_claims,
        workloads: facts.workloads.clone(),
        releases: Vec::new(),
        databases: Vec::new(),
        backend: super::Backend::Csi,
        stopped: Vec::new(),
        budget: request.budget,
        attempts: request.attempts,
        pods_must_match: request.pods_must_match,
        cut_error_patience: request.cut_error_patience,
        estimate,
        contents: facts.contents,
        notes,
    })
}

fn target(held: Held, copied: &std::collections::BTreeSet<(String, String)>) -> Target {
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
        probe: held.probe,
        wave: 0,
        claims,
        endpoint: None,
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

fn too_long(estimate: Duration, flush: Duration, claims: usize, request: &Request) -> Option<Refusal> {
    if estimate <= request.budget {
        return None;
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
                request.budget
            ),
        )
        .hint(format!(
            "allow more with --quiesce-budget {enough}s, select less, or raise --kube-api-qps and --kube-api-burst of the \
             snapshot-controller and of the driver's csi-snapshotter"
        )),
    )
}

#[cfg(test)]
mod tests;
