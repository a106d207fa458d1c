//! Rules about databases: where their directories lie.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::Pod;

use super::facts::{Probed, claims_of, name, namespace, object};
use super::left_out::LeftOut;
use super::place::{Place, mounts, places};
use super::{Detected, Detection, Facts};
use crate::error::Refusal;
use crate::pods::running_containers;
use crate::quiescer::Probe;

/// A database that answered, with the claims that hold its directories.
pub(super) struct Held {
    pub(super) detected: Detected,
    pub(super) probe: Probe,
    pub(super) claims: BTreeSet<String>,
}

impl Held {
    pub(super) fn is_of(&self, pod: &Pod) -> bool {
        self.detected.namespace == namespace(pod) && self.detected.pod == name(pod)
    }
}

/// The databases that answered; what stands in their way goes to `refusals`.
pub(super) fn held(
    facts: &Facts,
    detection: &Detection,
    probes: &[Probed],
    left_out: &LeftOut,
    refusals: &mut Vec<Refusal>,
) -> Vec<Held> {
    let mut all = Vec::new();
    for (detected, probed) in detection.targets.iter().zip(probes) {
        let mut pods = facts.pods.iter();
        let of_it = |p: &&Pod| namespace(p) == detected.namespace && name(p) == detected.pod;
        let Some(pod) = pods.find(of_it) else {
            continue;
        };
        match probed {
            // Judged once its primary is known.
            Ok(probe) if probe.is_replica() => {}
            Ok(probe) if probe.keeps_nothing => {
                all.push(Held { detected: detected.clone(), probe: probe.clone(), claims: BTreeSet::new() });
            }
            Ok(probe) => {
                let claims = directories(pod, detected, probe, left_out, refusals);
                all.push(Held { detected: detected.clone(), probe: probe.clone(), claims });
            }
            Err(reasons) => refusals.extend(reasons.iter().map(|reason| Refusal {
                hint: reason.hint.clone(),
                ..refusal(pod, &detected.container, &reason.message)
            })),
        }
    }
    all
}

/// Names the container only where there are several.
pub(super) fn refusal(pod: &Pod, container: &str, message: &str) -> Refusal {
    if running_containers(pod).len() > 1 {
        Refusal::new(object(pod), format!("container {container}: {message}"))
    } else {
        Refusal::new(object(pod), message)
    }
}

/// The claims that hold a database's directories; each directory must lie on one.
pub(super) fn on_claims(
    pod: &Pod,
    detected: &Detected,
    probe: &Probe,
    refusals: &mut Vec<Refusal>,
) -> BTreeSet<String> {
    let mut on = BTreeSet::new();
    let mut refuse = |message: String, hint: &str| {
        refusals.push(refusal(pod, &detected.container, &message).hint(hint));
    };
    if probe.data_dirs.is_empty() {
        refuse(
            format!("{} names no directory of its own", detected.adapter),
            "without it nobody knows which claims to cut",
        );
    }
    for dir in &probe.data_dirs {
        for (path, place) in places(pod, &detected.container, dir) {
            match place {
                Place::Elsewhere(volume) => refuse(
                    format!("directory {path} lies on {volume}, which cannot be cut"),
                    "only directories on PersistentVolumeClaims can be backed up",
                ),
                Place::Claim(claim) => _ = on.insert(claim),
            }
        }
    }
    on
}

fn directories(
    pod: &Pod,
    detected: &Detected,
    probe: &Probe,
    left_out: &LeftOut,
    refusals: &mut Vec<Refusal>,
) -> BTreeSet<String> {
    let on = on_claims(pod, detected, probe, refusals);
    let mut refuse = |message: String, hint: &str| {
        refusals.push(refusal(pod, &detected.container, &message).hint(hint));
    };
    let list = |claims: &BTreeSet<String>| claims.iter().cloned().collect::<Vec<_>>().join(", ");
    if probe.stops_commits && on.len() > 1 {
        refuse(
            format!("its directories lie on several claims ({}), which cannot be cut at one instant", list(&on)),
            "commits are stopped meanwhile, but background writes between two cuts would tear the copy; keep the database \
             on one claim",
        );
    }
    // Nothing is held here: what makes the copy consistent is that all of it was cut at one instant.
    let mounted = mounted(pod, &detected.container, left_out);
    if !probe.stops_commits && mounted.len() > 1 {
        refuse(
            format!(
                "{} is not stopped for the cut, and its container mounts several claims ({}), which cannot be cut at one \
                 instant",
                detected.adapter,
                list(&mounted)
            ),
            "keep data, WAL and tablespaces on one claim; a claim with nothing but a WAL archive can be annotated with \
             consistent-backup/role=archive, one that a restore does not need with consistent-backup/role=none, or be \
             left out with --exclude-claim",
        );
    }
    on
}

/// The claims that a container mounts, without those that are left out.
fn mounted(pod: &Pod, container: &str, left_out: &LeftOut) -> BTreeSet<String> {
    let claims = claims_of(pod);
    mounts(pod, container)
        .iter()
        .filter_map(|m| claims.iter().find(|(volume, _)| *volume == m.volume))
        .map(|(_, claim)| (*claim).to_owned())
        .filter(|claim| left_out.why(namespace(pod), claim).is_none())
        .collect()
}
