//! The plan of `--claims-only`: copies of the claims beside the old ones. Nothing is stopped.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use serde::Serialize;

use super::claims::{Make, from_snapshot, request};
use super::copy::{Wanted, check};
use super::facts::{Facts, Found};
use super::in_place::denied;
use super::only::uses;
use super::quota::Need;
use super::source::Source;
use super::{Alias, Backup, RESTORED_FROM, fronts, quota};
use crate::error::Refusal;
use crate::labels::{CLAIM, MANAGED_BY};
use crate::manifests::Manifests;
use crate::manifests::beside::{claim_name, renamed};
use crate::plan::{Claim, Plan};

/// Copies to make.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Copies {
    /// What they are made from.
    pub backup: Backup,
    /// One a claim.
    pub claims: Vec<CopyOf>,
    /// Remarks, one line each.
    pub notes: Vec<String>,
}

/// One copy.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CopyOf {
    /// The namespace.
    pub namespace: String,
    /// The claim that was backed up.
    pub claim: String,
    /// What to create.
    pub new: PersistentVolumeClaim,
    /// Its name.
    pub new_name: String,
    /// What it asks for.
    pub size: String,
    /// The VolumeSnapshot.
    pub snapshot: String,
    /// An earlier call made it already.
    pub exists: bool,
    /// It is bound to its volume, and has its data.
    pub bound: bool,
    /// What it is made from, if that is not the backup's own VolumeSnapshot.
    pub alias: Option<Alias>,
}

impl Copies {
    /// What claims are made from that have no data yet.
    pub fn needed(&self) -> Vec<Alias> {
        self.claims.iter().filter(|claim| !claim.bound).filter_map(|claim| claim.alias.clone()).collect()
    }

    /// All that claims are or were made from.
    pub fn aliases(&self) -> Vec<Alias> {
        self.claims.iter().filter_map(|claim| claim.alias.clone()).collect()
    }
}

/// Where copies are made, and under which names.
#[derive(Clone, Copy, Debug, Default)]
pub struct Place<'a> {
    /// In another namespace than the backup's.
    pub namespace: Option<&'a str>,
    /// Beside what has the names already.
    pub suffix: Option<&'a Suffix>,
    /// For the workloads that these make: a StatefulSet looks for claims of certain names, with its own labels.
    pub manifests: Option<&'a Manifests>,
}

impl Place<'_> {
    /// The namespace of this claim's copy.
    pub fn namespace_of<'a>(&'a self, of: &'a Claim) -> &'a str {
        self.namespace.unwrap_or(&of.namespace)
    }

    /// The name of this claim's copy.
    pub fn name_of(&self, plan: &Plan, of: &Claim) -> String {
        let suffix = self.suffix.map(|suffix| suffix.0.as_str());
        let Some(manifests) = self.manifests else { return renamed(&of.name, suffix) };
        let workload = plan.workloads.iter().find(|workload| uses(workload, of));
        let of_workload = workload.and_then(|w| manifests.of(&w.namespace, &w.kind, &w.name));
        claim_name(of_workload, &of.name, suffix)
    }
}

/// What stands behind the claims' names: valid in a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Suffix(String);

impl Suffix {
    /// Takes what can end an object's name.
    pub fn new(text: &str) -> Result<Self, String> {
        let ends = |c: Option<char>| c.is_some_and(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
        let inner = text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-');
        if inner && ends(text.chars().next()) && ends(text.chars().last()) {
            Ok(Self(text.to_owned()))
        } else {
            Err(format!("`{text}` cannot end a name: lower-case letters, digits and dashes, no dash at its ends"))
        }
    }

    /// The name of a copy.
    pub fn name(&self, of: &str) -> String {
        renamed(of, Some(&self.0))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The copies, or all reasons why not at once.
pub fn plan_copies(source: &Source, facts: &Facts, place: &Place) -> Result<Copies, Vec<Refusal>> {
    let mut refusals = Vec::new();
    let mut notes = Vec::new();
    source.check(&facts.typed, false, &mut refusals, &mut notes);
    denied(facts, &mut refusals);
    let mut needs: BTreeMap<String, Need> = BTreeMap::new();
    let claims = (0..source.plan.claims.len())
        .filter_map(|c| copy_of(c, source, facts, place, &mut needs, &mut refusals))
        .collect();
    quota::check(&needs, &facts.quotas, &mut refusals);
    // What the workload's pods use is filled at once.
    notes.extend(bound_late(source, facts).filter(|_| place.manifests.is_none()));
    notes.extend(fronts::beside_claims(&source.plan).filter(|_| place.manifests.is_none()));
    if refusals.is_empty() { Ok(Copies { backup: source.backup(), claims, notes }) } else { Err(refusals) }
}

/// Claims that stay Pending look broken to who does not know their class.
fn bound_late(source: &Source, facts: &Facts) -> Option<String> {
    let late = |class: &String| {
        let class = facts.classes.get(class).and_then(Found::yes);
        class.is_some_and(|class| class.volume_binding_mode.as_deref() == Some("WaitForFirstConsumer"))
    };
    let classes: BTreeSet<&String> =
        source.plan.claims.iter().filter_map(|c| c.storage_class.as_ref()).filter(|class| late(class)).collect();
    let classes: Vec<&str> = classes.into_iter().map(String::as_str).collect();
    (!classes.is_empty()).then(|| {
        format!(
            "claims of storage class {} stay Pending until a pod uses them: only then are they filled",
            classes.join(", ")
        )
    })
}

fn copy_of(
    c: usize,
    source: &Source,
    facts: &Facts,
    place: &Place,
    needs: &mut BTreeMap<String, Need>,
    refusals: &mut Vec<Refusal>,
) -> Option<CopyOf> {
    let of = &source.plan.claims[c];
    let namespace = place.namespace_of(of);
    let new_name = place.name_of(&source.plan, of);
    let object = format!("persistentvolumeclaim/{new_name}");
    if new_name.len() > 253 {
        refusals.push(Refusal::new(object, "the name has more than 253 characters").hint("choose a shorter suffix"));
        return None;
    }
    // The old claim may have grown since; where it is gone or unreadable, what the backup recorded counts.
    let now = facts.claims.get(&format!("{}/{}", of.namespace, of.name)).and_then(Found::yes);
    let wanted = Wanted {
        claim: of,
        class: of.storage_class.as_deref(),
        request: now.and_then(request).unwrap_or(&of.request),
        mode: &of.volume_mode,
        namespace,
        run: &source.plan.run,
        record: &source.plan.namespace,
    };
    let copy = check(&wanted, source.proofs.get(c).and_then(Option::as_ref), facts, refusals);
    let (exists, bound) = match facts.claims.get(&format!("{namespace}/{new_name}")) {
        Some(Found::Yes(found)) if is_copy(found, &source.plan.run, &of.name) => {
            (true, found.status.as_ref().and_then(|s| s.phase.as_deref()) == Some("Bound"))
        }
        Some(Found::Yes(_)) => {
            let hint = if place.suffix.is_some() {
                "choose another suffix"
            } else {
                "make a copy beside it with --suffix NAME"
            };
            refusals.push(Refusal::new(object, "it exists already and is no copy from this backup").hint(hint));
            return None;
        }
        Some(Found::Unknown(why)) => {
            refusals.push(Refusal::new(object, format!("it could not be read: {why}")));
            return None;
        }
        Some(Found::No) | None => (false, false),
    };
    let copy = copy?;
    if !exists {
        needs.entry(namespace.to_owned()).or_default().add(wanted.class, &copy.size);
    }
    let make = Make { run: None, backup: &source.plan.run, snapshot: &copy.snapshot, size: &copy.size };
    let mut new = from_snapshot(of, None, &make);
    new.metadata.name = Some(new_name.clone());
    new.metadata.namespace = Some(namespace.to_owned());
    new.metadata.annotations = Some(BTreeMap::from([(CLAIM.to_owned(), of.name.clone())]));
    // Without the workload's labels: no StatefulSet, Service or policy may take it for its own.
    if place.manifests.is_none() || place.suffix.is_some() {
        new.metadata.labels = Some(BTreeMap::from([
            (MANAGED_BY.0.to_owned(), MANAGED_BY.1.to_owned()),
            (RESTORED_FROM.to_owned(), source.plan.run.clone()),
        ]));
    }
    Some(CopyOf {
        namespace: namespace.to_owned(),
        claim: of.name.clone(),
        new,
        new_name,
        size: copy.size,
        snapshot: copy.snapshot,
        exists,
        bound,
        alias: copy.alias,
    })
}

/// Whether this is the copy of this claim from this backup, and is there to stay.
pub fn is_copy(found: &PersistentVolumeClaim, backup: &str, claim: &str) -> bool {
    let meta = &found.metadata;
    let label = meta.labels.as_ref().and_then(|l| l.get(RESTORED_FROM));
    let annotation = meta.annotations.as_ref().and_then(|a| a.get(CLAIM));
    meta.deletion_timestamp.is_none()
        && label.map(String::as_str) == Some(backup)
        && annotation.map(String::as_str) == Some(claim)
}
