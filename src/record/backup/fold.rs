//! What the entries of one attempt say, target by target and claim by claim.

use std::time::Duration;

use jiff::Timestamp;

use super::{AttemptStatus, ClaimStatus, TargetStatus, Window, abort_text, held_value, seconds};
use crate::backend::Ran;
use crate::plan::Plan;
use crate::plan::guard_pod::LATE;
use crate::plan::quantity::human;
use crate::pods::Difference;
use crate::protocol::Abort;
use crate::protocol::backup::{CutPhase, Event, Held, Outcome, Run};
use crate::record::entry::Entry;

/// The entries of one attempt.
pub(super) struct Attempt<'a> {
    entries: &'a [Entry<Event>],
    targets: usize,
}

impl<'a> Attempt<'a> {
    /// The last attempt's entries.
    pub(super) fn last(entries: &'a [Entry<Event>], plan: &Plan) -> Self {
        let from = entries.iter().rposition(|e| matches!(e.event, Event::Attempt(_))).unwrap_or(0);
        Self { entries: &entries[from..], targets: plan.targets.len() }
    }

    fn find(&self, wanted: impl Fn(&Event) -> bool) -> Option<&'a Entry<Event>> {
        self.entries.iter().find(|e| wanted(&e.event))
    }

    /// From the last flush to the first held-check; where nothing is held, from the request to the last proof.
    pub(super) fn window(&self) -> Option<Window> {
        let all = |wanted: fn(&Event) -> bool| self.entries.iter().filter(move |e| wanted(&e.event)).map(|e| e.at);
        let (start, end) = if self.targets == 0 {
            let start = all(|e| matches!(e, Event::CutIntended)).max()?;
            (start, all(|e| matches!(e, Event::Cut(_))).max()?)
        } else {
            if all(|e| matches!(e, Event::Flushed(_))).count() < self.targets {
                return None;
            }
            // Who was not held until its release was not held in any window.
            if all(|e| matches!(e, Event::Thawed { held: Held::No | Held::Unknown, .. })).next().is_some() {
                return None;
            }
            let start = all(|e| matches!(e, Event::Flushed(_))).max()?;
            (start, all(|e| matches!(e, Event::ThawSent(_))).min()?)
        };
        let begun = self.find(|e| matches!(e, Event::Attempt(_)))?;
        let half = end.duration_since(start) / 2;
        Some(Window {
            start,
            end,
            middle: start.checked_add(half).unwrap_or(start),
            seconds: seconds(start, end),
            accuracy_seconds: begun.detail.accuracy.unwrap_or_default(),
            client_skew_seconds: begun.detail.skew.unwrap_or_default(),
            database_skew_seconds: self
                .entries
                .iter()
                .filter_map(|e| e.detail.clock)
                .max_by(|a, b| a.abs().total_cmp(&b.abs())),
        })
    }

    pub(super) fn target(&self, plan: &Plan, t: usize) -> TargetStatus {
        let of = &plan.targets[t];
        let quiesced = self.find(|e| *e == Event::Quiesced(t));
        let thawed = self.find(|e| matches!(e, Event::Thawed { target, .. } if *target == t));
        let intended = self.find(|e| matches!(e, Event::WaveIntended(wave) if wave.contains(&t)));
        let held = match thawed.map(|e| &e.event) {
            Some(Event::Thawed { held, .. }) => Some(*held),
            // Nobody ever spoke to it: that is known.
            None if intended.is_none() => Some(Held::No),
            _ => None,
        };
        // A hold whose answer was lost counts from its intent.
        let sent: Option<Timestamp> = quiesced.and_then(|e| e.detail.sent).or_else(|| intended.map(|e| e.at));
        let held_seconds = match (sent, thawed) {
            _ if !of.probe.stops_commits => Some(0.0),
            (Some(sent), Some(thawed)) if held == Some(Held::Yes) => Some(seconds(sent, thawed.at)),
            (Some(sent), Some(thawed)) if plan.is_cold() => Some(seconds(sent, thawed.at)),
            // It was seen released, not how long before it released itself.
            (Some(sent), Some(thawed)) => {
                let longest = self.released_after(plan, t).map_or(f64::INFINITY, |limit| limit.as_secs_f64());
                Some(seconds(sent, thawed.at).min(longest))
            }
            (None, _) => Some(0.0),
            (Some(_), None) => None,
        };
        let mut recovery_point = std::collections::BTreeMap::new();
        for entry in [quiesced, thawed].into_iter().flatten() {
            recovery_point.extend(entry.detail.point.clone().unwrap_or_default().0);
        }
        TargetStatus {
            namespace: of.namespace.clone(),
            pod: of.pod.clone(),
            container: of.container.clone(),
            release: of.release.clone(),
            adapter: of.adapter.clone(),
            version: of.probe.version.clone(),
            stops_commits: of.probe.stops_commits,
            stopped: plan.is_cold(),
            quiesced_at: quiesced.map(|e| e.at),
            thawed_at: thawed.map(|e| e.at),
            held_seconds,
            held: held_value(held),
            released: thawed.and_then(|e| e.detail.text.clone()),
            recovery_point,
            settings: of.probe.settings.iter().cloned().collect(),
        }
    }

    /// When a target is released whatever becomes of the run: at the budget by its own limit, or by its guard pod. A pause
    /// without one lasts until somebody ends it, and so does one that the run tried in vain to end: so may the guard have.
    fn released_after(&self, plan: &Plan, t: usize) -> Option<Duration> {
        if plan.targets[t].endpoint.is_none() {
            return Some(plan.budget);
        }
        let in_vain = self.find(|e| *e == Event::ThawGivenUp(t)).is_some();
        (plan.guard_image.is_some() && !in_vain).then(|| plan.budget + LATE)
    }

    pub(super) fn claim(&self, plan: &Plan, run: &Run, c: usize) -> ClaimStatus {
        let of = &plan.claims[c];
        let cut = self.find(|e| *e == Event::Cut(c));
        let proof = cut.and_then(|e| e.detail.proof.clone());
        let gone = run.cut(c) == CutPhase::Discarded;
        let settled = self.find(|e| *e == Event::Settled(c));
        ClaimStatus {
            namespace: of.namespace.clone(),
            claim: of.name.clone(),
            volume_snapshot: proof.as_ref().map(|p| p.snapshot.clone()),
            content: proof.as_ref().map(|p| p.content.clone()),
            handle: proof.as_ref().map(|p| p.handle.clone()),
            cut_at: proof.as_ref().and_then(|p| p.cut_at),
            proved_at: cut.map(|e| e.at),
            ready: run.settled(c) && !gone,
            restore_size: settled
                .and_then(|e| e.detail.restore_size.clone())
                .or_else(|| proof.and_then(|p| p.restore_size).map(|bytes| human(i128::from(bytes)))),
            location: of.location,
            driver: of.driver.clone(),
            gone: None,
            seen: false,
        }
    }

    /// What the last try to remove said of each copy that is still there.
    pub(super) fn snapshots_left(&self, run: &Run, claims: usize) -> Vec<String> {
        let pending = (0..claims).filter(|&c| run.cut(c) == CutPhase::DiscardPending);
        let said = pending.filter_map(|c| self.entries.iter().rev().find(|e| e.event == Event::DiscardPending(c)));
        said.filter_map(|e| e.detail.text.clone()).collect()
    }

    /// What came of the user's own command.
    pub(super) fn command(&self) -> Option<Ran> {
        self.entries.iter().rev().find_map(|e| e.detail.command.clone())
    }

    pub(super) fn differences(&self) -> Vec<Difference> {
        let mut told = self.entries.iter().filter(|e| matches!(e.event, Event::Compared { .. } | Event::Aborted(_)));
        told.find_map(|e| e.detail.differences.clone()).unwrap_or_default()
    }

    /// Why this attempt is not what was asked for.
    fn reason(&self) -> Option<String> {
        // What was stuck and was seen released after all is no reason any more.
        let released = |from: usize, t: usize| {
            let later = &self.entries[from..];
            later.iter().any(|e| matches!(e.event, Event::Thawed { target, .. } if target == t))
        };
        let counts = |(n, e): &(usize, &Entry<Event>)| !matches!(e.event, Event::ThawGivenUp(t) if released(*n, t));
        let entries = self.entries.iter().enumerate().filter(counts);
        let ranked = entries.filter_map(|(_, e)| Some((rank(&e.event)?, e)));
        let (_, entry) = ranked.min_by_key(|(rank, _)| *rank)?;
        Some(entry.detail.text.clone().unwrap_or_else(|| match &entry.event {
            Event::Aborted(abort) => abort_text(*abort).into(),
            Event::CutFailed(_) => "a cut failed".into(),
            Event::SettleFailed(_) => "a copy was lost".into(),
            Event::ThawGivenUp(_) => "a database could not be seen released".into(),
            Event::Compared { .. } => "pods changed".into(),
            Event::NotArchived(_) => "its log was not seen archived".into(),
            _ => "a hold was lost".into(),
        }))
    }
}

/// What is told when several things failed: the lowest first, and of one rank what came first.
fn rank(event: &Event) -> Option<u8> {
    match event {
        Event::ThawGivenUp(_) => Some(0),
        Event::Aborted(Abort::Signal | Abort::Budget | Abort::Step | Abort::Died) => Some(1),
        Event::CutFailed(_) => Some(2),
        Event::SettleFailed(_) => Some(3),
        Event::Aborted(Abort::PodsChanged) | Event::Compared { same: false } => Some(4),
        Event::NotArchived(_) => Some(6),
        Event::HoldLost(_) | Event::Thawed { held: Held::No | Held::Unknown, .. } => Some(5),
        _ => None,
    }
}

/// Why the last of these attempts is not what was asked for.
pub(super) fn why(entries: &[Entry<Event>]) -> Option<String> {
    let from = entries.iter().rposition(|e| matches!(e.event, Event::Attempt(_)))?;
    Attempt { entries: &entries[from..], targets: 0 }.reason()
}

/// Why the outcome is not better, or empty.
pub(super) fn reason(plan: &Plan, entries: &[Entry<Event>], outcome: Option<Outcome>) -> String {
    match outcome {
        Some(Outcome::ApplicationConsistent) => String::new(),
        _ => Attempt::last(entries, plan).reason().unwrap_or_else(|| match outcome {
            Some(Outcome::CrashConsistent) => unheld(plan),
            Some(_) => "no backup was made".into(),
            None => String::new(),
        }),
    }
}

/// Why a backup that went well is no better than crash-consistent.
fn unheld(plan: &Plan) -> String {
    let mut why = Vec::new();
    if !plan.unheld.is_empty() {
        why.push(format!("nothing quiesces {}: the copy is what its own recovery makes of it", plan.unheld.join(", ")));
    }
    if !plan.unheld_claims.is_empty() {
        why.push(format!(
            "nothing holds what is written to claim {}: its copy is as it was on the device at its cut (the notes say more)",
            plan.unheld_claims.join(", ")
        ));
    }
    why.join("; ")
}

/// The attempts before the last, with the reason of each.
pub(super) fn repeated(entries: &[Entry<Event>]) -> Vec<AttemptStatus> {
    let starts: Vec<usize> = (0..entries.len()).filter(|&i| matches!(entries[i].event, Event::Attempt(_))).collect();
    starts
        .windows(2)
        .filter_map(|pair| {
            let part = Attempt { entries: &entries[pair[0]..pair[1]], targets: 0 };
            let Event::Attempt(attempt) = part.entries[0].event else { return None };
            Some(AttemptStatus { attempt, reason: part.reason().unwrap_or_default() })
        })
        .collect()
}

/// What became of the snapshots of a run that is no backup; as long as it may still become one there is nothing to
/// remove.
pub(super) fn snapshots_removed(run: &Run, claims: usize) -> &'static str {
    let any = |wanted: &[CutPhase]| (0..claims).any(|c| wanted.contains(&run.cut(c)));
    let failed = matches!(run.outcome(), Some(Outcome::Failed | Outcome::Stuck));
    if any(&[CutPhase::DiscardPending, CutPhase::Discarding])
        // Its process may have died between failing and removing.
        || failed && any(&[CutPhase::Started, CutPhase::Done, CutPhase::Failed])
    {
        "pending"
    } else if any(&[CutPhase::Discarded]) {
        "removed"
    } else {
        "notNeeded"
    }
}
