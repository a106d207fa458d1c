//! `kind: Restore`: what is known of one restore, also while it runs.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::backup::{Damaged, Pods, abort_text};
use super::entry::Entry;
use super::{API_VERSION, Metadata, instant};
use crate::plan::restore::anew::Anew;
use crate::plan::restore::edits::Value;
use crate::plan::restore::{Copies, Edit, RestorePlan, Volume};
use crate::pods::PodState;
use crate::protocol::Abort;
use crate::protocol::restore::{ClaimPhase, Event, Outcome, Run, Shape};

/// A restore as it is printed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Restore {
    /// `consistent-backup/v1`.
    pub api_version: String,
    /// `Restore`.
    pub kind: String,
    /// Id, namespace and age.
    pub metadata: Metadata,
    /// What was asked for.
    pub spec: Spec,
    /// What came of it.
    pub status: Status,
}

/// What was asked for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Spec {
    /// The backup's id.
    pub backup: String,
    /// The instant of its data.
    #[serde(with = "instant")]
    pub backup_instant: Timestamp,
    /// Whether the workloads run on the copies; else they are claims beside the old ones.
    pub in_place: bool,
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Status {
    /// `Restored`, `RestoredOldVolumes`, `Failed`, `Stuck` or `Running`.
    pub outcome: String,
    /// Why it is not `Restored`, or empty.
    pub reason: String,
    /// The claims.
    pub claims: Vec<ClaimStatus>,
    /// What was stopped and started.
    pub workloads: Vec<WorkloadStatus>,
    /// What was to be set in the properties of releases while they are down: in force after `Restored`.
    #[serde(default)]
    pub properties: Vec<PropertyStatus>,
    /// The database that went on from its archived log, if one was to.
    #[serde(default)]
    pub recovery: Option<RecoveryStatus>,
    /// The pod tables: before the stop, and after the start.
    pub pods: Pods,
    /// Whether policies are not what they were, beside the reclaim policies of old volumes that are not in use.
    pub policies_pending: bool,
    /// What became of the old volumes by `--discard-old`: `kept`, `discarded`, or `pending` as long as some are left.
    #[serde(default = "kept")]
    pub old_volumes: String,
    /// What the plan remarked, one line each.
    #[serde(default)]
    pub notes: Vec<String>,
    /// What is left to do by hand after it, one line each.
    #[serde(default)]
    pub afterwards: Vec<String>,
}

fn kept() -> String {
    "kept".into()
}

/// One claim.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ClaimStatus {
    /// The namespace.
    pub namespace: String,
    /// The claim that was backed up.
    pub claim: String,
    /// The claim that stands for the copy: the same one in place.
    pub new_claim: String,
    /// The VolumeSnapshot.
    pub volume_snapshot: String,
    /// What the new claim asks for.
    pub size: String,
    /// Whether it was made empty: a read replica's, which copies its restored primary.
    #[serde(default)]
    pub empty: bool,
    /// The volume with the data from before the restore; kept until the restore is deleted.
    pub old_volume: Option<String>,
    /// Its reclaim policy before the restore.
    pub old_reclaim_policy: Option<String>,
    /// The restored volume, once it is known; after the way back only if it is kept until the restore is deleted, because
    /// the workload may have written to it, or by its class.
    pub new_volume: Option<String>,
    /// After the way back: the reclaim policy that it had before.
    #[serde(default)]
    pub new_reclaim_policy: Option<String>,
    /// Which volume the claim stands for: `Old`, `Replacing`, `New` or `Back`.
    pub volume: String,
}

/// One workload.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct WorkloadStatus {
    /// The namespace.
    pub namespace: String,
    /// Its kind.
    pub kind: String,
    /// Its name.
    pub name: String,
    /// Its replicas before the stop.
    pub replicas: i32,
    /// Whether it stands in front of the databases.
    #[serde(default)]
    pub front: bool,
}

/// One property of a release.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PropertyStatus {
    /// The release's namespace.
    pub namespace: String,
    /// The release.
    pub release: String,
    /// Where its properties lie: `configmap/NAME` or `secret/NAME`.
    pub object: String,
    /// The key.
    pub key: String,
    /// The value that was asked for.
    pub value: String,
    /// The value before; null where there was none.
    pub before: Option<String>,
}

/// A recovery from archived log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RecoveryStatus {
    /// The namespace.
    pub namespace: String,
    /// The pod that was backed up.
    pub pod: String,
    /// The container.
    pub container: String,
    /// The command with which its server got files of its archive.
    pub restore_command: String,
    /// Where it was to end.
    pub recovery_target: String,
    /// Which timeline it was to follow.
    pub recovery_target_timeline: String,
    /// Where it ended, once it had; null before.
    pub recovered_to: Option<BTreeMap<String, String>>,
}

/// What the fold has to know of a plan.
pub fn shape(plan: &RestorePlan) -> Shape {
    Shape {
        claims: plan.claims.len(),
        targets: plan.targets.len(),
        prepares: plan.archive.is_some(),
        opens: plan.workloads.iter().any(|w| w.front),
    }
}

/// The run that these entries tell, or the first entry that is impossible.
pub fn replay(plan: &RestorePlan, entries: &[Entry<Event>]) -> Result<Run, Damaged> {
    let mut run = Run::new(&shape(plan));
    for (number, entry) in entries.iter().enumerate() {
        run.apply(&entry.event).map_err(|e| Damaged(format!("entry {number} of the journal of {}: {e}", plan.run)))?;
    }
    Ok(run)
}

/// What lies beside the entries.
#[derive(Clone, Debug, Default)]
pub struct Beside {
    /// The pods before the stop.
    pub before: Vec<PodState>,
    /// The pods after the last start.
    pub after: Vec<PodState>,
    /// The restored volumes, by `NAMESPACE/CLAIM`.
    pub volumes: BTreeMap<String, String>,
    /// Those that stay after the way back, as they were before they were told to.
    pub kept: BTreeMap<String, Volume>,
    /// The old volumes that were to be deleted, and whether they are gone.
    pub discarded: BTreeMap<String, bool>,
}

/// The record of a restore in place, from its journal.
pub fn record(plan: &RestorePlan, entries: &[Entry<Event>], beside: Beside) -> Result<Restore, Damaged> {
    let run = replay(plan, entries)?;
    let outcome = run.is_finished().then(|| run.outcome()).flatten();
    let differences = entries.iter().rev().find(|e| matches!(e.event, Event::Compared { .. }));
    let differences = differences.and_then(|e| e.detail.differences.clone()).unwrap_or_default();
    let claims = (0..plan.claims.len()).map(|c| claim(plan, &run, &beside, c)).collect();
    let workloads = plan.workloads.iter().map(|w| WorkloadStatus {
        namespace: w.namespace.clone(),
        kind: w.kind.clone(),
        name: w.name.clone(),
        replicas: w.replicas,
        front: w.front,
    });
    Ok(Restore {
        api_version: API_VERSION.into(),
        kind: "Restore".into(),
        metadata: Metadata {
            name: plan.run.clone(),
            namespace: plan.namespace.clone(),
            creation_timestamp: plan.created,
        },
        spec: Spec { backup: plan.backup.run.clone(), backup_instant: plan.backup.instant, in_place: true },
        status: Status {
            outcome: outcome.map_or_else(|| "Running".into(), |o| format!("{o:?}")),
            reason: reason(entries, outcome),
            claims,
            workloads: workloads.collect(),
            properties: properties(plan),
            recovery: recovery(plan, entries),
            old_volumes: old_volumes(&beside.discarded),
            pods: Pods { before: beside.before, after: beside.after, differences },
            policies_pending: run.has_leftovers(),
            notes: plan.notes.clone(),
            afterwards: afterwards(plan, entries, outcome),
        },
    })
}

fn properties(plan: &RestorePlan) -> Vec<PropertyStatus> {
    let of_edit = |edit: &Edit| {
        let of_value = |value: &Value| PropertyStatus {
            namespace: edit.namespace.clone(),
            release: edit.release.clone(),
            object: edit.path(),
            key: value.key.clone(),
            value: value.new.clone(),
            before: value.old.clone(),
        };
        edit.values.iter().map(of_value).collect::<Vec<_>>()
    };
    plan.edits.iter().flat_map(of_edit).collect()
}

fn recovery(plan: &RestorePlan, entries: &[Entry<Event>]) -> Option<RecoveryStatus> {
    let of = plan.archive.as_ref()?;
    let target = &plan.targets.get(of.target)?.target;
    let recovered = entries.iter().rev().find(|e| e.event == Event::Recovered(of.target));
    Some(RecoveryStatus {
        namespace: target.namespace.clone(),
        pod: target.pod.clone(),
        container: target.container.clone(),
        restore_command: of.wanted.command.clone(),
        recovery_target: of.wanted.target.to_string(),
        recovery_target_timeline: of.wanted.timeline.to_string(),
        recovered_to: recovered.and_then(|e| e.detail.point.clone()).map(|point| point.0),
    })
}

fn old_volumes(discarded: &BTreeMap<String, bool>) -> String {
    match (discarded.is_empty(), discarded.values().all(|gone| *gone)) {
        (true, _) => kept(),
        (false, true) => "discarded".into(),
        (false, false) => "pending".into(),
    }
}

/// What the plan knew beforehand, and what was found in the restored databases. After the way back none of it is to do.
fn afterwards(plan: &RestorePlan, entries: &[Entry<Event>], outcome: Option<Outcome>) -> Vec<String> {
    if outcome != Some(Outcome::Restored) {
        return Vec::new();
    }
    let found = entries.iter().filter_map(|entry| entry.detail.afterwards.clone());
    plan.afterwards.iter().cloned().chain(found).collect()
}

fn claim(plan: &RestorePlan, run: &Run, beside: &Beside, c: usize) -> ClaimStatus {
    let of = &plan.claims[c];
    let old = of.old_volume();
    let phase = run.claim(c);
    let key = format!("{}/{}", of.namespace, of.name);
    // As soon as it is named: its claim may be gone before the old one is back.
    let kept = beside.kept.get(&key).filter(|_| phase != ClaimPhase::Old && run.outcome() != Some(Outcome::Restored));
    let new = beside.volumes.get(&key).filter(|_| phase == ClaimPhase::New);
    ClaimStatus {
        namespace: of.namespace.clone(),
        claim: of.name.clone(),
        new_claim: of.name.clone(),
        volume_snapshot: of.snapshot.clone(),
        size: of.size.clone(),
        empty: of.empty,
        old_volume: old.map(|v| v.name.clone()),
        old_reclaim_policy: old.map(|v| v.reclaim_policy.clone()),
        new_volume: kept.map(|v| v.name.clone()).or(new.cloned()),
        new_reclaim_policy: kept.map(|v| v.reclaim_policy.clone()),
        volume: format!("{phase:?}"),
    }
}

/// Why it is not `Restored`: giving up first, then what broke it off, then the pods.
fn reason(entries: &[Entry<Event>], outcome: Option<Outcome>) -> String {
    let rank = |event: &Event| match event {
        Event::GivenUp => 0,
        Event::Aborted(_) => 1,
        Event::Compared { same: false } => 2,
        Event::NotRestated => 3,
        _ => 9,
    };
    let counts = |entry: &&Entry<Event>| match outcome {
        Some(Outcome::Restored) => entry.event == Event::NotRestated,
        // Given up once, and gone all the same by a later process.
        Some(Outcome::RestoredOldVolumes | Outcome::Failed) => entry.event != Event::GivenUp && rank(&entry.event) < 9,
        _ => rank(&entry.event) < 9,
    };
    let undoing = entries.iter().rposition(|entry| entry.event == Event::UndoIntended);
    let undone = undoing.is_some();
    let broken = undoing.and_then(|at| entries[at..].iter().find(|e| matches!(e.event, Event::Aborted(_))));
    if let (Some(Outcome::Restored), Some(Entry { event: Event::Aborted(abort), detail, .. })) = (outcome, broken) {
        let why = detail.text.clone().unwrap_or_else(|| abort_text(*abort).into());
        return format!("it was to be undone, and that failed before anything was stopped: {why}");
    }
    if undone && outcome == Some(Outcome::RestoredOldVolumes) {
        return abort_text(Abort::Undone).into();
    }
    // Of those with the same rank the first: what follows an abort only follows from it.
    let Some(entry) = entries.iter().filter(counts).min_by_key(|e| rank(&e.event)) else { return String::new() };
    entry.detail.text.clone().unwrap_or_else(|| match &entry.event {
        Event::Aborted(reason) => abort_text(*reason).into(),
        Event::GivenUp => "the way back was given up".into(),
        Event::NotRestated => "policies could not be put back".into(),
        _ => "the pods are not as they were".into(),
    })
}

/// The record of copies beside the old claims: nothing is stored of it, the claims' labels say what they are.
pub fn of_copies(copies: &Copies, name: &str, namespace: &str, now: Timestamp) -> Restore {
    let claims = copies.claims.iter().map(|c| ClaimStatus {
        namespace: c.namespace.clone(),
        claim: c.claim.clone(),
        new_claim: c.new_name.clone(),
        volume_snapshot: c.snapshot.clone(),
        size: c.size.clone(),
        empty: false,
        old_volume: None,
        old_reclaim_policy: None,
        new_volume: None,
        new_reclaim_policy: None,
        volume: "New".into(),
    });
    Restore {
        api_version: API_VERSION.into(),
        kind: "Restore".into(),
        metadata: Metadata { name: name.to_owned(), namespace: namespace.to_owned(), creation_timestamp: now },
        spec: Spec { backup: copies.backup.run.clone(), backup_instant: copies.backup.instant, in_place: false },
        status: Status {
            outcome: "Restored".into(),
            reason: String::new(),
            claims: claims.collect(),
            workloads: Vec::new(),
            properties: Vec::new(),
            recovery: None,
            pods: Pods::default(),
            policies_pending: false,
            old_volumes: kept(),
            notes: copies.notes.clone(),
            afterwards: Vec::new(),
        },
    }
}

/// The record of workloads that were made anew, with their pods as they are now.
pub fn of_anew(anew: &Anew, name: &str, namespace: &str, now: Timestamp, pods: Vec<PodState>) -> Restore {
    let mut restore = of_copies(&anew.copies, name, namespace, now);
    restore.status.workloads = anew
        .workloads
        .iter()
        .map(|new| WorkloadStatus {
            namespace: new.namespace.clone(),
            kind: new.kind.clone(),
            name: new.name.clone(),
            replicas: new.replicas,
            front: false,
        })
        .collect();
    restore.status.pods.after = pods;
    restore
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::restore::fixture::bound;
    use crate::protocol::Abort;
    use crate::record::entry::Detail;

    fn told(events: &[(Event, &str)]) -> Restore {
        let entry = |(event, text): &(Event, &str)| Entry {
            at: "2026-11-20T12:00:01Z".parse().unwrap(),
            event: event.clone(),
            detail: if text.is_empty() { Detail::default() } else { Detail::text(*text) },
        };
        let entries: Vec<_> = events.iter().map(entry).collect();
        let volumes = BTreeMap::from([("demo/data".to_owned(), "pv-new".to_owned())]);
        record(&bound(), &entries, Beside { volumes, ..Beside::default() }).unwrap()
    }

    fn forward() -> Vec<(Event, &'static str)> {
        use Event::{
            ReadBack, ReplaceIntended, Replaced, SecureIntended, Secured, StartIntended, StopIntended, Stopped,
        };
        [SecureIntended, Secured, ReadBack, StopIntended, Stopped, ReplaceIntended(0), Replaced(0), StartIntended]
            .map(|event| (event, ""))
            .to_vec()
    }

    #[test]
    fn a_restore_names_both_volumes() {
        let mut events = forward();
        assert_eq!(told(&events).status.outcome, "Running");
        events.extend([(Event::Started, ""), (Event::Compared { same: true }, ""), (Event::RestateIntended, "")]);
        events.extend([(Event::Restated, ""), (Event::Finished(Outcome::Restored), "")]);
        let status = told(&events).status;
        assert_eq!((status.outcome.as_str(), status.reason.as_str(), status.policies_pending), ("Restored", "", false));
        let claim = &status.claims[0];
        assert_eq!((claim.old_volume.as_deref(), claim.new_volume.as_deref()), (Some("pv"), Some("pv-new")));
        assert_eq!((claim.old_reclaim_policy.as_deref(), claim.volume.as_str()), (Some("Delete"), "New"));
    }

    #[test]
    fn the_reason_is_what_broke_it_off_not_what_followed() {
        let mut events = forward();
        events.extend([(Event::Aborted(Abort::Budget), "not ready"), (Event::Aborted(Abort::Signal), "interrupted")]);
        events.extend([(Event::BackIntended, ""), (Event::GivenUp, "no way")]);
        events.push((Event::Finished(Outcome::Stuck), ""));
        let stuck = told(&events).status;
        assert_eq!((stuck.outcome.as_str(), stuck.reason.as_str()), ("Stuck", "no way"));
        events.extend([(Event::TakenOver, ""), (Event::BackStopped, ""), (Event::ClaimBack(0), "")]);
        events.extend([(Event::BackStartIntended, ""), (Event::BackStarted, ""), (Event::RestateIntended, "")]);
        events.extend([(Event::Restated, ""), (Event::Finished(Outcome::RestoredOldVolumes), "")]);
        let back = told(&events).status;
        assert_eq!((back.outcome.as_str(), back.reason.as_str()), ("RestoredOldVolumes", "not ready"));
        assert_eq!(back.claims[0].volume, "Back");
    }

    #[test]
    fn what_became_of_the_old_volumes_is_told() {
        let gone = |gone: &[bool]| {
            let names = gone.iter().enumerate().map(|(n, gone)| (format!("pv-{n}"), *gone));
            old_volumes(&names.collect())
        };
        assert_eq!(
            (gone(&[]), gone(&[true, false]), gone(&[true, true])),
            ("kept".into(), "pending".into(), "discarded".into())
        );
    }

    #[test]
    fn an_impossible_journal_is_damaged() {
        let entry = Entry { at: Timestamp::UNIX_EPOCH, event: Event::Started, detail: Detail::default() };
        let damaged = record(&bound(), &[entry], Beside::default()).unwrap_err();
        assert!(damaged.0.contains("entry 0"), "{}", damaged.0);
    }
}
