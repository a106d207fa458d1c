//! Who uses a claim decides whether it is copied, and whether what is written to it is held.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::Pod;

use super::facts::{claims_of, name, namespace, object};
use super::left_out::LeftOut;
use super::loose::can_write;
use super::place::mounts;
use super::targets::Held;
use super::{ADAPTER, Detection, Facts, Replica};
use crate::error::Refusal;
use crate::pods::running_containers;

/// What becomes of the selected pods' claims.
#[derive(Default)]
pub(super) struct Uses {
    /// The claims that are cut, by namespace and name.
    pub(super) copied: BTreeSet<(String, String)>,
    /// Pods that write to a claim while nothing is held, as asked: `NAMESPACE/POD`.
    pub(super) unheld: BTreeSet<String>,
    /// Claims that are not cut, and why.
    pub(super) left_out: BTreeSet<(String, String)>,
    /// Claims that a database's container writes to, but which hold none of its directories: namespace, claim, pod.
    pub(super) beside: BTreeSet<(String, String, String)>,
}

/// `known` are the databases that are held, and the read replicas.
pub(super) fn uses(
    facts: &Facts,
    detection: &Detection,
    known: (&[Held], &[Replica]),
    left_out: &LeftOut,
    refusals: &mut Vec<Refusal>,
) -> Uses {
    let (held, replicas) = known;
    let mut uses = Uses::default();
    for pod in &facts.pods {
        let mut open = BTreeSet::new();
        for (volume, claim) in claims_of(pod) {
            if let Some(why) = left_out.why(namespace(pod), claim) {
                uses.left_out.insert((claim.into(), why.into()));
                continue;
            }
            let is_held = |h: &Held| h.detected.namespace == namespace(pod) && h.claims.contains(claim);
            if held.iter().any(is_held) {
                uses.copied.insert((namespace(pod).into(), claim.into()));
                continue;
            }
            if replicas.iter().any(|r| r.keeps(namespace(pod), claim)) {
                continue;
            }
            if replicas.iter().any(|r| r.mounts(pod, claim)) {
                uses.left_out.insert((claim.into(), "mounted by a read replica".into()));
                continue;
            }
            uses.copied.insert((namespace(pod).into(), claim.into()));
            open.insert((volume, claim));
        }
        judge(pod, &open, detection, known, &mut uses, refusals);
    }
    uses
}

/// `open` are the pod's claims that hold no database's directory.
fn judge(
    pod: &Pod,
    open: &BTreeSet<(&str, &str)>,
    detection: &Detection,
    (held, replicas): (&[Held], &[Replica]),
    uses: &mut Uses,
    refusals: &mut Vec<Refusal>,
) {
    let is_of = |ns: &str, p: &str| ns == namespace(pod) && p == name(pod);
    let detected = detection.targets.iter().filter(|t| is_of(&t.namespace, &t.pod));
    let targets: BTreeSet<&str> = detected.map(|t| t.container.as_str()).collect();
    let answered = held.iter().filter(|h| h.is_of(pod)).count() + replicas.iter().filter(|r| r.is_in(pod)).count();
    if answered < targets.len() {
        // One of its databases did not answer, which is refused already: nobody knows what lies on which claim.
        return;
    }
    let none: BTreeSet<&str> =
        detection.unheld.iter().filter(|(ns, p, _)| is_of(ns, p)).map(|(_, _, container)| container.as_str()).collect();
    let mut written = BTreeSet::new();
    for container in running_containers(pod) {
        let mounted = mounts(pod, &container.name);
        let claims: BTreeSet<&str> = open
            .iter()
            .filter(|(volume, _)| mounted.iter().any(|m| m.volume == *volume))
            .map(|(_, claim)| *claim)
            .collect();
        let list: Vec<&str> = claims.iter().copied().collect();
        if claims.is_empty() {
            continue;
        }
        if targets.contains(container.name.as_str()) {
            let written = open.iter().filter(|(volume, _)| can_write(pod, container, volume));
            uses.beside.extend(written.map(|(_, c)| (namespace(pod).into(), (*c).to_owned(), name(pod).into())));
        } else if none.contains(container.name.as_str()) {
            written.extend(claims);
        } else {
            refusals.push(
                Refusal::new(
                    object(pod),
                    format!(
                        "container {} mounts claim {} and is no database that is known",
                        container.name,
                        list.join(", ")
                    ),
                )
                .hint(format!(
                    "name the database with the pod annotation {ADAPTER}.{}, or say `none` there: then the claim is cut \
                     while nothing is held (crash-consistent)",
                    container.name
                )),
            );
        }
    }
    if written.len() > 1 {
        let list: Vec<&str> = written.iter().copied().collect();
        refusals.push(
            Refusal::new(
                object(pod),
                format!(
                    "nothing is held, and its claims ({}) cannot be cut at one instant: the copy would not even be \
                     crash-consistent",
                    list.join(", ")
                ),
            )
            .hint("a claim that need not be copied can be annotated with consistent-backup/role=none"),
        );
    } else if !written.is_empty() {
        uses.unheld.insert(format!("{}/{}", namespace(pod), name(pod)));
    }
}
