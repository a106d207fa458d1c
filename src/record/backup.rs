//! `kind: Backup`: what is known of one backup, also while it runs.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::entry::Entry;
use super::paused::Paused;
use super::verified::Verified;
use super::{API_VERSION, Metadata, instant, seconds};
use crate::backend::Ran;
use crate::plan::{Backend, Database, Location, Plan, Release};
use crate::pods::{Difference, PodState};
use crate::protocol::Abort;
use crate::protocol::backup::{Event, Held, Outcome, Run, Shape, Targets};

mod fold;
#[cfg(test)]
mod tests;

/// A backup as it is printed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Backup {
    /// `consistent-backup/v1`.
    pub api_version: String,
    /// `Backup`.
    pub kind: String,
    /// Id, namespace and age.
    pub metadata: Metadata,
    /// What was asked for.
    pub spec: Spec,
    /// What came of it.
    pub status: Status,
    /// The window of paused releases, in scalar-admin-for-kubernetes' words.
    #[serde(flatten, default, skip_serializing_if = "Option::is_none")]
    pub paused: Option<Paused>,
}

/// What was asked for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Spec {
    /// The objects as typed.
    pub request: String,
    /// How long databases may be held, in seconds.
    pub quiesce_budget_seconds: f64,
    /// Passes at most.
    pub attempts: u8,
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Status {
    /// `ApplicationConsistent`, `CrashConsistent`, `Failed`, `Stuck` or `Running`.
    pub outcome: String,
    /// Why it is not better, or empty.
    pub reason: String,
    /// The last attempt, counted from 1.
    pub attempt: u8,
    /// Targets that may be held, as far as the journal tells: `NAMESPACE/POD/CONTAINER`.
    pub may_be_held: Vec<String>,
    /// In which every target was held; absent until there was one.
    pub window: Option<Window>,
    /// The releases of ScalarDB or ScalarDL whose pods were paused.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub releases: Vec<Release>,
    /// The databases behind them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub databases: Vec<Database>,
    /// By what was copied.
    #[serde(default)]
    pub backend: Backend,
    /// What came of the user's own command.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command: Option<Ran>,
    /// The databases.
    pub targets: Vec<TargetStatus>,
    /// The copies.
    pub claims: Vec<ClaimStatus>,
    /// The pod tables.
    pub pods: Pods,
    /// `notNeeded`, `removed` or `pending`.
    pub snapshots_removed: String,
    /// What of them is left, and why; only with `pending`.
    #[serde(default)]
    pub snapshots_left: Vec<String>,
    /// Whether the copies outlive their namespace.
    pub kept: bool,
    /// The record is gone, and this was rebuilt from what stands on the copies' contents.
    #[serde(default)]
    pub rebuilt: bool,
    /// Each attempt that was not the last, and why it was repeated.
    pub attempts: Vec<AttemptStatus>,
    /// What the plan remarked, one line each.
    #[serde(default)]
    pub notes: Vec<String>,
    /// What came of starting its databases from copies; null when nobody did.
    #[serde(default)]
    pub verified: Option<Verified>,
}

/// The window of the last attempt.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Window {
    /// The last target was held and flushed.
    #[serde(with = "instant")]
    pub start: Timestamp,
    /// The first held-check was sent.
    #[serde(with = "instant")]
    pub end: Timestamp,
    /// The point for point-in-time recovery.
    #[serde(with = "instant")]
    pub middle: Timestamp,
    /// From start to end.
    pub seconds: f64,
    /// How well the API server's clock is known: nothing finer is claimed of the three times.
    pub accuracy_seconds: f64,
    /// How far the clock of the machine that ran the plugin was off the server's.
    pub client_skew_seconds: f64,
    /// How far the clock of a database was off the server's, at most; absent where none could be asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub database_skew_seconds: Option<f64>,
}

/// One database.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TargetStatus {
    /// The namespace.
    pub namespace: String,
    /// The pod.
    pub pod: String,
    /// The container.
    pub container: String,
    /// The release that it is a pod of, if it is of one.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub release: String,
    /// The adapter.
    pub adapter: String,
    /// The engine's version.
    pub version: String,
    /// Whether its hold stops commits.
    pub stops_commits: bool,
    /// Whether it was stopped for the cut instead of held.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub stopped: bool,
    /// When it said that it is held.
    #[serde(with = "instant::option")]
    pub quiesced_at: Option<Timestamp>,
    /// When it was seen released.
    #[serde(with = "instant::option")]
    pub thawed_at: Option<Timestamp>,
    /// From the hold sent to the thaw answered; 0 when light; null where nobody saw it released.
    pub held_seconds: Option<f64>,
    /// `true`, `false` or `"unknown"`: whether it was held until it was released.
    pub held: serde_json::Value,
    /// How it was found released, if not by its own session while it was held.
    #[serde(default)]
    pub released: Option<String>,
    /// Where a recovery can go on from.
    pub recovery_point: BTreeMap<String, String>,
    /// Settings that decide durability and what a restored copy needs.
    pub settings: BTreeMap<String, String>,
}

/// One copy.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ClaimStatus {
    /// The namespace.
    pub namespace: String,
    /// The claim.
    pub claim: String,
    /// The VolumeSnapshot, once it was proved.
    pub volume_snapshot: Option<String>,
    /// The VolumeSnapshotContent.
    pub content: Option<String>,
    /// The storage's name of the copy.
    pub handle: Option<String>,
    /// When the driver says that it cut.
    #[serde(with = "instant::option")]
    pub cut_at: Option<Timestamp>,
    /// When we saw the proof.
    #[serde(with = "instant::option")]
    pub proved_at: Option<Timestamp>,
    /// Whether it was seen ready to be restored from.
    pub ready: bool,
    /// The smallest claim that can take it, as a Quantity.
    pub restore_size: Option<String>,
    /// Where it lies, seen from its volume.
    #[serde(default)]
    pub location: Location,
    /// The CSI driver that made it; empty where an older record does not say.
    #[serde(default)]
    pub driver: String,
    /// Why it can not be restored from any more, as far as was seen when this was printed.
    #[serde(default)]
    pub gone: Option<String>,
    /// Whether it was found, and can be restored from, just now; no record says so.
    #[serde(skip)]
    pub seen: bool,
}

/// The pod tables of the last attempt.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Pods {
    /// Before the quiesce.
    pub before: Vec<PodState>,
    /// Right after the release.
    pub after: Vec<PodState>,
    /// What differs.
    pub differences: Vec<Difference>,
}

/// An attempt that was repeated.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AttemptStatus {
    /// Counted from 1.
    pub attempt: u8,
    /// Why it was repeated.
    pub reason: String,
}

/// What the fold has to know of a plan's targets.
pub fn targets(plan: &Plan) -> Targets {
    Targets {
        waves: plan.targets.iter().map(|t| t.wave).collect(),
        stops_commits: plan.targets.iter().map(|t| t.probe.stops_commits).collect(),
        archives: (0..plan.targets.len()).filter(|&t| plan.targets[t].probe.archives).collect(),
    }
}

/// The shape of a plan: what the fold has to know of it. The run began with the targets of its first attempt.
pub fn shape(plan: &Plan) -> Shape {
    let Targets { waves, stops_commits, archives } = plan.first_targets.clone().unwrap_or_else(|| targets(plan));
    Shape {
        waves,
        stops_commits,
        archives,
        claims: plan.claims.len(),
        one_instant: plan.claims.len() == 1,
        attempts: plan.attempts,
        best: if plan.unheld.is_empty() && plan.unheld_claims.is_empty() {
            Outcome::ApplicationConsistent
        } else {
            Outcome::CrashConsistent
        },
    }
}

/// Why the last attempt in these entries is not what was asked for, if it is not.
pub fn why(entries: &[Entry<Event>]) -> Option<String> {
    fold::why(entries)
}

/// The words of an abort that has no text of its own.
pub fn abort_text(abort: Abort) -> &'static str {
    match abort {
        Abort::Signal => "interrupted",
        Abort::Budget => "the quiesce budget was spent",
        Abort::Step => "a step failed",
        Abort::Died => "the process that led the run was not heard of any more",
        Abort::PodsChanged => "pods changed inside the window",
        Abort::Undone => "undone",
    }
}

/// A journal that this program did not write, or not in this order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damaged(pub String);

/// The run that these entries tell, or the first entry that is impossible.
pub fn replay(plan: &Plan, entries: &[Entry<Event>]) -> Result<Run, Damaged> {
    let mut run = Run::new(&shape(plan));
    for (number, entry) in entries.iter().enumerate() {
        run.apply(&entry.event).map_err(|e| Damaged(format!("entry {number} of the journal of {}: {e}", plan.run)))?;
    }
    // Whoever asks the plan for the targets of the run must find them.
    if run.targets() != plan.targets.len() {
        return Err(Damaged(format!("the plan has {} targets, and the run {}", plan.targets.len(), run.targets())));
    }
    Ok(run)
}

/// The record of a backup, from its journal.
pub fn record(
    plan: &Plan,
    entries: &[Entry<Event>],
    before: Vec<PodState>,
    after: Vec<PodState>,
) -> Result<Backup, Damaged> {
    let run = replay(plan, entries)?;
    let last = fold::Attempt::last(entries, plan);
    let outcome = run.is_finished().then(|| run.outcome()).flatten();
    // Of what is no backup nothing can be recovered, at no point in time.
    let window = last.window().filter(|_| !matches!(outcome, Some(Outcome::Failed | Outcome::Stuck)));
    let paused = window.as_ref().and_then(|window| Paused::of(&plan.releases, window));
    Ok(Backup {
        paused,
        api_version: API_VERSION.into(),
        kind: "Backup".into(),
        metadata: Metadata {
            name: plan.run.clone(),
            namespace: plan.namespace.clone(),
            creation_timestamp: plan.created,
        },
        spec: Spec {
            request: plan.request.clone(),
            quiesce_budget_seconds: plan.budget.as_secs_f64(),
            attempts: plan.attempts,
        },
        status: Status {
            outcome: outcome.map_or_else(|| "Running".into(), |o| format!("{o:?}")),
            reason: fold::reason(plan, entries, outcome),
            attempt: run.attempt(),
            may_be_held: run.may_be_held().into_iter().map(|t| plan.targets[t].path()).collect(),
            window,
            releases: plan.releases.clone(),
            databases: plan.databases.clone(),
            backend: plan.backend.clone(),
            command: last.command(),
            targets: (0..plan.targets.len()).map(|t| last.target(plan, t)).collect(),
            claims: (0..plan.claims.len()).map(|c| last.claim(plan, &run, c)).collect(),
            pods: Pods { differences: last.differences(), before, after },
            snapshots_removed: fold::snapshots_removed(&run, plan.claims.len()).into(),
            snapshots_left: last.snapshots_left(&run, plan.claims.len()),
            kept: !plan.claims.is_empty() && (0..plan.claims.len()).all(|c| run.kept(c) == Some(true)),
            rebuilt: false,
            attempts: fold::repeated(entries),
            notes: plan.notes.clone(),
            verified: None,
        },
    })
}

/// `held` as it is printed.
fn held_value(held: Option<Held>) -> serde_json::Value {
    match held {
        Some(Held::Yes) => true.into(),
        Some(Held::No) => false.into(),
        Some(Held::Unknown) | None => "unknown".into(),
    }
}
