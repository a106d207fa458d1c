//! Claims that are neither cut nor replaced by a restore, and why.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1::Pod;

use super::claims::ROLE;
use super::facts::{Probed, claims_of, name, namespace};
use super::place::{Place, places};
use super::targets::refusal;
use super::{Detected, Detection, Facts, Request};
use crate::error::Refusal;
use crate::quiescer::Probe;

/// The reason by namespace and name of the claim.
#[derive(Default)]
pub(super) struct LeftOut(BTreeMap<(String, String), String>);

impl LeftOut {
    /// Why this claim is not cut, if it is not.
    pub(super) fn why(&self, namespace: &str, claim: &str) -> Option<&str> {
        self.0.get(&(namespace.to_owned(), claim.to_owned())).map(String::as_str)
    }
}

/// By its annotation, by `--exclude-claim`, or because a database does nothing on it but archive its WAL.
pub(super) fn left_out(
    facts: &Facts,
    detection: &Detection,
    probes: &[Probed],
    request: &Request,
    refusals: &mut Vec<Refusal>,
) -> LeftOut {
    let mut all = archives(facts, detection, probes);
    let named: BTreeSet<(&str, &str)> = facts
        .pods
        .iter()
        .flat_map(|pod| claims_of(pod).into_iter().map(|(_, claim)| (namespace(pod), claim)))
        .collect();
    for (namespace, claim) in &named {
        let key = ((*namespace).to_owned(), (*claim).to_owned());
        let annotations = facts.claims.get(&key).and_then(|claim| claim.metadata.annotations.as_ref());
        let why = match annotations.and_then(|all| all.get(ROLE)).map(String::as_str) {
            Some("archive") => "annotated as an archive",
            Some("none") => "annotated as not needed",
            _ if request.exclude.iter().any(|excluded| excluded == claim) => "excluded by --exclude-claim",
            _ => continue,
        };
        all.insert(key, why.into());
    }
    for excluded in request.exclude.iter().filter(|excluded| !named.iter().any(|(_, claim)| claim == excluded)) {
        let names: Vec<&str> = named.iter().map(|(_, claim)| *claim).collect();
        refusals.push(
            Refusal::new(
                format!("persistentvolumeclaim/{excluded}"),
                "is to be excluded, but no selected pod mounts it",
            )
            .hint(format!("they mount {}", names.join(", "))),
        );
    }
    let all = LeftOut(all);
    refusals.extend(lost(facts, detection, probes, &all));
    all
}

/// Where the directories of the databases that answered lie: number of the target, path, claim.
fn directories<'a>(
    facts: &'a Facts,
    detection: &'a Detection,
    probes: &'a [Probed],
    of: fn(&Probe) -> &[String],
) -> impl Iterator<Item = (&'a Detected, &'a Pod, String, String)> {
    detection.targets.iter().zip(probes).flat_map(move |(target, probe)| {
        let is_of = |pod: &&Pod| namespace(pod) == target.namespace && name(pod) == target.pod;
        let pod = facts.pods.iter().find(is_of);
        let dirs = probe.iter().flat_map(of);
        let places = pod.into_iter().flat_map(move |pod| {
            let of_dir = dirs.clone().flat_map(move |dir| places(pod, &target.container, dir));
            of_dir.map(move |(path, place)| (pod, path, place))
        });
        places.filter_map(move |(pod, path, place)| match place {
            Place::Claim(claim) => Some((target, pod, path, claim)),
            Place::Elsewhere(_) => None,
        })
    })
}

/// A backup without a claim that holds a database's directory could not be restored.
fn lost(facts: &Facts, detection: &Detection, probes: &[Probed], left_out: &LeftOut) -> Vec<Refusal> {
    // A read replica is not copied anyway.
    directories(facts, detection, probes, |probe| if probe.is_replica() { &[] } else { &probe.data_dirs })
        .filter_map(|(target, pod, path, claim)| {
            let why = left_out.why(&target.namespace, &claim)?;
            let message = format!("directory {path} lies on claim {claim}, which is left out ({why})");
            Some(refusal(pod, &target.container, &message).hint("a backup without it could not be restored"))
        })
        .collect()
}

/// Claims to which a database archives its WAL, and on which no database has a directory.
fn archives(facts: &Facts, detection: &Detection, probes: &[Probed]) -> BTreeMap<(String, String), String> {
    let mut archives: BTreeMap<(String, String), String> =
        directories(facts, detection, probes, |probe| &probe.archive_dirs)
            .map(|(target, _, path, claim)| {
                let why = format!("pod/{} archives its WAL in {path} on it", target.pod);
                ((target.namespace.clone(), claim), why)
            })
            .collect();
    for (target, _, _, claim) in directories(facts, detection, probes, |probe| &probe.data_dirs) {
        archives.remove(&(target.namespace.clone(), claim));
    }
    archives
}
