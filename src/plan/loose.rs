//! Claims that are written to while nothing holds the writer: what lies on them is as it happened to be at the cut.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::{Container, Pod};

use super::facts::{claims_of, name, namespace};
use super::targets::Held;
use super::uses::Uses;
use super::{Claim, Facts};

/// A claim that is copied although not all that writes to it is held.
pub(super) struct Loose {
    /// `NAMESPACE/CLAIM`.
    pub(super) claim: String,
    /// What the reader of the plan must know, and how to get rid of it.
    pub(super) note: String,
}

/// In the order of the claims.
pub(super) fn loose(facts: &Facts, held: &[Held], uses: &Uses, claims: &[Claim]) -> Vec<Loose> {
    claims.iter().flat_map(|claim| [beside(uses, claim), shared(facts, held, claim)]).flatten().collect()
}

/// A database's container writes to it (logs, temporary files, dumps), but its hold says nothing about that.
fn beside(uses: &Uses, claim: &Claim) -> Option<Loose> {
    let (_, _, pod) = uses.beside.iter().find(|(ns, name, _)| *ns == claim.namespace && *name == claim.name)?;
    Some(Loose {
        claim: path(claim),
        note: format!(
            "persistentvolumeclaim/{}: holds no directory of the database in pod/{pod}, and nothing holds what is written \
             to it: the backup is crash-consistent at best; {}",
            claim.name, LEAVE_OUT
        ),
    })
}

const LEAVE_OUT: &str = "if a restore does not need it, leave it out with the claim's annotation \
                         consistent-backup/role=none";

/// Pods write to it in which nothing is held. A sidecar in the database's own pod is taken for a part of the database.
fn shared(facts: &Facts, held: &[Held], claim: &Claim) -> Option<Loose> {
    let holders: BTreeSet<&str> = held
        .iter()
        .filter(|h| h.detected.namespace == claim.namespace && h.claims.contains(&claim.name))
        .map(|h| h.detected.pod.as_str())
        .collect();
    // Selected pods that mount a claim without a database on it were judged by what they are.
    let judged = |pod: &Pod| holders.is_empty() && facts.pods.iter().any(|p| name(p) == name(pod) && same(p, claim));
    let writers: BTreeSet<String> = facts
        .pods
        .iter()
        .chain(&facts.others)
        .filter(|pod| same(pod, claim) && claim.pods.iter().any(|p| p == name(pod)))
        .filter(|pod| !holders.contains(name(pod)) && !judged(pod) && writes(pod, &claim.name))
        .map(|pod| format!("pod/{}", name(pod)))
        .collect();
    if writers.is_empty() {
        return None;
    }
    let list = writers.into_iter().collect::<Vec<_>>().join(", ");
    let way_out = if holders.is_empty() {
        LEAVE_OUT.to_owned()
    } else {
        "let only the database write there meanwhile, or mount the claim read-only in the other pods".to_owned()
    };
    Some(Loose {
        claim: path(claim),
        note: format!(
            "persistentvolumeclaim/{}: is also mounted by {list}, where nothing is held: the backup is crash-consistent at \
             best; {way_out}",
            claim.name
        ),
    })
}

fn path(claim: &Claim) -> String {
    format!("{}/{}", claim.namespace, claim.name)
}

fn same(pod: &Pod, claim: &Claim) -> bool {
    namespace(pod) == claim.namespace
}

/// Whether any container of the pod, the first ones included, could write to the claim.
fn writes(pod: &Pod, claim: &str) -> bool {
    let containers = pod.spec.iter().flat_map(|s| s.containers.iter().chain(s.init_containers.iter().flatten()));
    let containers: Vec<&Container> = containers.collect();
    claims_of(pod).iter().any(|(volume, of)| *of == claim && containers.iter().any(|c| can_write(pod, c, volume)))
}

/// Whether this container mounts the volume, and not only to read.
pub(super) fn can_write(pod: &Pod, container: &Container, volume: &str) -> bool {
    let volumes = pod.spec.iter().flat_map(|s| s.volumes.iter().flatten());
    let source = volumes.filter(|v| v.name == volume).find_map(|v| v.persistent_volume_claim.as_ref());
    if source.is_some_and(|s| s.read_only == Some(true)) {
        return false;
    }
    let mut mounts = container.volume_mounts.iter().flatten();
    let mut devices = container.volume_devices.iter().flatten();
    mounts.any(|m| m.name == volume && m.read_only != Some(true)) || devices.any(|d| d.name == volume)
}

#[cfg(test)]
mod tests {
    use super::super::ROLE;
    use super::*;

    #[test]
    fn the_way_out_is_the_annotation() {
        assert!(LEAVE_OUT.contains(&format!("{ROLE}=none")));
    }
}
