//! Read replicas: never held and never cut, because what they have their primary has. A restore brings the primary back,
//! and they start empty and copy it.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::Pod;
use serde::{Deserialize, Serialize};

use super::facts::{Probed, claims_of, name, namespace, object};
use super::left_out::LeftOut;
use super::place::{Place, mounts, places};
use super::targets::Held;
use super::{Detected, Detection, Facts, Target};
use crate::error::Refusal;
use crate::quiescer::{LOST_REPLICA, Probe};

/// A database that only follows another one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Replica {
    /// The database itself; it has no claim in the plan.
    pub target: Target,
    /// Its primary, as `NAMESPACE/POD/CONTAINER`.
    pub of: String,
    /// The claims with its directories: a restore replaces them by empty ones.
    pub claims: Vec<String>,
}

/// The replicas among the databases; one whose primary is not among the held ones is refused.
pub(super) fn replicas(
    facts: &Facts,
    detection: &Detection,
    probes: &[Probed],
    held: &[Held],
    left_out: &LeftOut,
    refusals: &mut Vec<Refusal>,
) -> Vec<Replica> {
    let mut all = Vec::new();
    for (detected, probe) in detection.targets.iter().zip(probes) {
        let Ok(probe) = probe else { continue };
        let mut pods = facts.pods.iter();
        let Some(pod) = pods.find(|p| namespace(p) == detected.namespace && name(p) == detected.pod) else { continue };
        if !probe.is_replica() {
            continue;
        }
        match held.iter().find(|h| is_primary(h, detected, probe, pod, facts)) {
            Some(primary) => all.push(replica(detected, probe, pod, primary, left_out)),
            None => refusals.push(
                Refusal::new(object(pod), "is a replica, and its primary is not among what is to be backed up").hint(
                    if probe.role == LOST_REPLICA {
                        "select the primary too, and wait until the replica follows it: then it is left out"
                    } else {
                        "select the primary too: it is what is held and copied, and the replica is left out"
                    },
                ),
            ),
        }
    }
    all
}

/// By what both say of their replication; where that is not told, by the workload that they share.
fn is_primary(held: &Held, detected: &Detected, probe: &Probe, pod: &Pod, facts: &Facts) -> bool {
    if held.detected.adapter != detected.adapter || held.detected.namespace != detected.namespace {
        return false;
    }
    let (theirs, ours) = (&held.probe.replication, &probe.replication);
    if !theirs.is_empty() && !ours.is_empty() {
        return theirs == ours;
    }
    let controller = |pod: &Pod| {
        let owners = pod.metadata.owner_references.as_deref().unwrap_or_default();
        owners.iter().find(|o| o.controller == Some(true)).map(|o| o.uid.clone())
    };
    let own = controller(pod);
    own.is_some() && facts.pods.iter().any(|other| held.is_of(other) && controller(other) == own)
}

fn replica(detected: &Detected, probe: &Probe, pod: &Pod, primary: &Held, left_out: &LeftOut) -> Replica {
    let places = probe.data_dirs.iter().flat_map(|dir| places(pod, &detected.container, dir));
    let on: BTreeSet<String> = places
        .filter_map(|(_, place)| match place {
            Place::Claim(claim) => Some(claim),
            Place::Elsewhere(_) => None,
        })
        .filter(|claim| left_out.why(namespace(pod), claim).is_none() && !primary.claims.contains(claim))
        .collect();
    let of = &primary.detected;
    Replica {
        target: Target {
            namespace: detected.namespace.clone(),
            pod: detected.pod.clone(),
            pod_uid: detected.pod_uid.clone(),
            container: detected.container.clone(),
            adapter: detected.adapter.into(),
            probe: probe.clone(),
            wave: 0,
            claims: Vec::new(),
            release: String::new(),
            endpoint: None,
        },
        of: format!("{}/{}/{}", of.namespace, of.pod, of.container),
        claims: on.into_iter().collect(),
    }
}

impl Replica {
    /// Whether this is one of the claims with its directories.
    pub(super) fn keeps(&self, namespace: &str, claim: &str) -> bool {
        self.target.namespace == namespace && self.claims.iter().any(|c| c == claim)
    }

    /// The claims that its container mounts beside those: nothing of the primary is on them.
    pub(super) fn mounts(&self, pod: &Pod, claim: &str) -> bool {
        let mounted = mounts(pod, &self.target.container);
        self.is_in(pod)
            && claims_of(pod).iter().any(|(volume, of)| *of == claim && mounted.iter().any(|m| m.volume == *volume))
    }

    /// Whether it runs in this pod.
    pub(super) fn is_in(&self, pod: &Pod) -> bool {
        self.target.namespace == namespace(pod) && self.target.pod == name(pod)
    }

    /// What the reader of a plan must know of it.
    pub(super) fn note(&self) -> String {
        let pod = &self.target.pod;
        if self.claims.is_empty() {
            return format!("pod/{pod}: a read replica of {}: it is not held", self.of);
        }
        format!(
            "pod/{pod}: a read replica of {}: it is not held, and persistentvolumeclaim/{} is not cut; a restore replaces \
             that by an empty one, from which the replica has to start by itself",
            self.of,
            self.claims.join(", ")
        )
    }
}
