//! Which hold each database gets. Two that both go on committing have no common instant: their claims are cut one after
//! the other. So at most one of a window is held lightly.

use k8s_openapi::api::core::v1::Pod;

use super::facts::{Probed, annotation, name, namespace, object};
use super::{Backend, Detected, Detection, Facts};
use crate::error::Refusal;
use crate::quiescer::Probe;

/// The pod annotation that chooses the hold of a database that knows several: `light`, `full` or `archive`.
pub(super) const HOLD: &str = "consistent-backup/hold";

/// What a pod's annotation asks for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Wish {
    None,
    Light,
    Full,
    /// Light, with what a recovery from the archive needs.
    Archive,
}

/// The probes with the hold that each is to have. As long as they are asked for nothing else, the first in the order of
/// the plan stays light, unless another one cannot be held fully.
pub(super) fn holds(
    facts: &Facts,
    detection: &Detection,
    probes: &[Probed],
    backend: &Backend,
    refusals: &mut Vec<Refusal>,
) -> Vec<Probed> {
    let wishes: Vec<Wish> =
        detection.targets.iter().zip(probes).map(|(t, p)| wish(facts, t, p.as_ref().ok(), refusals)).collect();
    let mut probes = probes.to_vec();
    let light = |probe: &Probed| probe.as_ref().is_ok_and(is_light);
    let possible = |probe: &Probed| {
        let full = probe.as_ref().ok().and_then(|probe| probe.full.as_ref());
        full.is_some_and(|full| full.refused.is_empty())
    };
    let open: Vec<usize> = (0..probes.len()).filter(|&i| light(&probes[i]) && wishes[i] == Wish::None).collect();
    let taken = (0..probes.len()).any(|i| light(&probes[i]) && matches!(wishes[i], Wish::Light | Wish::Archive));
    // Only a copy of the storage's has an instant of its own, at which one may go on committing.
    let copied = *backend == Backend::Csi;
    let stays = open.iter().find(|&&i| !possible(&probes[i])).or(open.first()).filter(|_| !taken && copied).copied();
    for i in 0..probes.len() {
        let full = wishes[i] == Wish::Full || (open.contains(&i) && stays != Some(i));
        let Ok(probe) = &mut probes[i] else { continue };
        let (another, cannot) = match wishes[i] {
            Wish::Archive => (&probe.archiving, "it cannot be held as its annotation asks"),
            _ if full => (&probe.full, "its commits cannot be stopped"),
            _ => continue,
        };
        let pod = format!("pod/{}", detection.targets[i].pod);
        for reason in another.iter().flat_map(|another| &another.refused) {
            let mut refusal = reason.clone().refuse(&pod);
            refusal.message = format!("{cannot}: {}", refusal.message);
            refusals.push(refusal);
        }
        if full { probe.hold_fully() } else { probe.hold_archiving() }
    }
    refusals.extend(if copied { several(detection, &probes) } else { not_quiet(detection, &probes, backend) });
    probes
}

/// Whether it is held, and goes on committing meanwhile. A read replica is not held at all.
fn is_light(probe: &Probe) -> bool {
    !probe.stops_commits && !probe.is_replica()
}

/// What the annotation of its pod asks for; what cannot be followed is refused.
fn wish(facts: &Facts, target: &Detected, probe: Option<&Probe>, refusals: &mut Vec<Refusal>) -> Wish {
    let is_of = |pod: &&Pod| namespace(pod) == target.namespace && name(pod) == target.pod;
    let Some(pod) = facts.pods.iter().find(is_of) else { return Wish::None };
    // The annotation is in the template of all of a workload's pods.
    if probe.is_some_and(Probe::is_replica) {
        return Wish::None;
    }
    let Some(asked) = annotation(pod, HOLD).filter(|_| !probe.is_some_and(Probe::is_replica)) else {
        return Wish::None;
    };
    let full = probe.is_some_and(|probe| probe.stops_commits);
    match asked {
        "full" if full || probe.is_none_or(|probe| probe.full.is_some()) => return Wish::Full,
        "light" if !full => return Wish::Light,
        "archive" if probe.is_none_or(|probe| probe.archiving.is_some()) => return Wish::Archive,
        "light" | "full" | "archive" => refusals.push(
            Refusal::new(object(pod), format!("annotation {HOLD}={asked}: {} knows no such hold", target.adapter))
                .hint("remove the annotation"),
        ),
        _ => refusals.push(
            Refusal::new(object(pod), format!("annotation {HOLD} has the unknown value `{asked}`"))
                .hint("values are light, full and archive"),
        ),
    }
    Wish::None
}

/// More than one that goes on committing: two that were asked to, or that know no other hold.
fn several(detection: &Detection, probes: &[Probed]) -> Option<Refusal> {
    let of = detection.targets.iter().zip(probes);
    let lights: Vec<String> = of
        .filter(|(_, probe)| probe.as_ref().is_ok_and(is_light))
        .map(|(target, _)| format!("pod/{}", target.pod))
        .collect();
    (lights.len() > 1).then(|| {
        Refusal::new(
            lights.join(", "),
            "are not stopped for their cuts, so the cuts of more than one of them have no common instant",
        )
        .hint("take them in runs of their own if no transaction spans them")
    })
}

/// Where nothing is cut the window itself is the point to go back to: whoever commits in it makes it none.
fn not_quiet(detection: &Detection, probes: &[Probed], backend: &Backend) -> Option<Refusal> {
    let of = detection.targets.iter().zip(probes);
    let lights: Vec<String> = of
        .filter(|(_, probe)| probe.as_ref().is_ok_and(is_light))
        .map(|(target, _)| format!("pod/{}", target.pod))
        .collect();
    (!lights.is_empty()).then(|| {
        Refusal::new(
            lights.join(", "),
            format!("goes on committing while it is held, and --backend {} needs all commits stopped", backend.name()),
        )
        .hint("remove the annotation that asks for another hold, or back it up without --backend")
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::detect;
    use super::super::fixture::{FAKES, facts, light, pod};
    use super::*;
    use crate::quiescer::{Another, Reason};

    /// A database that can be held in both ways, or not fully for this reason.
    fn either(refused: Option<&str>) -> Probed {
        let refused = refused.into_iter().map(Reason::new).collect();
        light(&["/x"]).map(|probe| Probe { full: Some(Another { refused, ..Another::default() }), ..probe })
    }

    /// Which of the databases stop commits, and the refusals. The annotations are those of their pods.
    fn held(databases: &[(&str, Probed)]) -> (Vec<bool>, Vec<String>) {
        let pods: Vec<serde_json::Value> = databases
            .iter()
            .enumerate()
            .map(|(n, (annotation, _))| {
                let mut pod = pod(&format!("p{n}"), &["postgres"], &["x"]);
                if !annotation.is_empty() {
                    pod["metadata"]["annotations"] = json!({HOLD: annotation});
                }
                pod
            })
            .collect();
        let facts = facts(&pods);
        let probes: Vec<Probed> = databases.iter().map(|(_, probe)| probe.clone()).collect();
        let mut refusals = Vec::new();
        let held = holds(&facts, &detect(&facts, FAKES), &probes, &Backend::Csi, &mut refusals);
        let full = held.into_iter().map(|probe| probe.unwrap().stops_commits).collect();
        (full, refusals.into_iter().map(|r| format!("{}: {}", r.object, r.message)).collect())
    }

    #[test]
    fn all_but_one_are_held_fully() {
        assert_eq!(held(&[("", either(None))]), (vec![false], vec![]));
        assert_eq!(
            held(&[("", either(None)), ("", either(None)), ("", either(None))]),
            (vec![false, true, true], vec![])
        );
        // The one that cannot be.
        assert_eq!(held(&[("", either(None)), ("", either(Some("no")))]), (vec![true, false], vec![]));
        assert_eq!(held(&[("", either(None)), ("", light(&["/x"]))]), (vec![true, false], vec![]));
    }

    #[test]
    fn an_annotation_chooses() {
        assert_eq!(held(&[("full", either(None))]), (vec![true], vec![]));
        assert_eq!(held(&[("", either(None)), ("light", either(None))]), (vec![true, false], vec![]));
        assert_eq!(held(&[("full", either(None)), ("", either(None))]), (vec![true, false], vec![]));
    }

    #[test]
    fn one_that_archives_goes_on_committing() {
        let archiving = either(None).map(|probe| Probe { archiving: Some(Another::default()), ..probe });
        assert_eq!(held(&[("", either(None)), ("archive", archiving.clone())]), (vec![true, false], vec![]));
        let why = archiving.map(|probe| {
            let refused = vec![Reason::new("archive_mode is off")];
            Probe { archiving: Some(Another { refused, ..Another::default() }), ..probe }
        });
        assert_eq!(
            held(&[("archive", why)]).1,
            ["pod/p0: it cannot be held as its annotation asks: archive_mode is off"]
        );
    }

    #[test]
    fn what_cannot_be_followed_is_refused() {
        let refused = |databases: &[(&str, Probed)]| held(databases).1.join("; ");
        let none =
            "p0, pod/p1: are not stopped for their cuts, so the cuts of more than one of them have no common instant";
        assert_eq!(refused(&[("light", either(None)), ("light", either(None))]), format!("pod/{none}"));
        assert_eq!(refused(&[("", light(&["/x"])), ("", light(&["/x"]))]), format!("pod/{none}"));
        assert_eq!(
            refused(&[("", either(Some("no right"))), ("", either(Some("no right")))]),
            "pod/p1: its commits cannot be stopped: no right"
        );
        assert_eq!(
            refused(&[("full", light(&["/x"]))]),
            "pod/p0: annotation consistent-backup/hold=full: postgres knows no such hold"
        );
        assert_eq!(
            refused(&[("archive", either(None))]),
            "pod/p0: annotation consistent-backup/hold=archive: postgres knows no such hold"
        );
        assert_eq!(
            refused(&[("ful", either(None))]),
            "pod/p0: annotation consistent-backup/hold has the unknown value `ful`"
        );
    }
}
