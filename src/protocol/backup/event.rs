//! The vocabulary of a backup: what happened ([`Event`]), what to do ([`Step`]), what came of it ([`Outcome`]).

use crate::protocol::{Abort, C, T};
use serde::{Deserialize, Serialize};

/// What happened in a run, by ids only: the journal is a list of these.
///
/// Times, names and texts lie beside an event in the journal, so that equal histories are equal values.
/// The serialized form is the journal's format: variants are added, never renamed.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Event {
    /// An attempt began, counted from 1; the pod table to compare with was taken.
    Attempt(u8),
    /// Session open, first checkpoint or sync done: what can be done before the hold need not be done in it.
    Prepared(T),
    /// Durable before its effect: these targets are about to be quiesced, and may be held from now on.
    WaveIntended(Vec<T>),
    /// The target said that it is held.
    Quiesced(T),
    /// What the target had acknowledged is on the device.
    Flushed(T),
    /// Durable before its effect: snapshots of this attempt may exist from now on. In the first wave's write.
    CutIntended,
    /// The claim's cut is proved.
    Cut(C),
    /// The claim's cut failed, or what became of it is unknown: it may still come late.
    CutFailed(C),
    /// The hold was seen lost before it was checked; the target may be held nevertheless and is thawed like the others.
    HoldLost(T),
    /// Optional: check and release were sent. No cut seen after this is a proof.
    ThawSent(T),
    /// The target serves, and this is what the check said before the release.
    #[serde(rename_all = "camelCase")]
    Thawed {
        /// Which one.
        target: T,
        /// Whether it was held until then.
        held: Held,
    },
    /// No way to thaw the target is left to this process.
    ThawGivenUp(T),
    /// The second pod table was taken and compared. Fixes the outcome, unless the attempt is repeated.
    Compared {
        /// Whether it equals the first.
        same: bool,
    },
    /// All of the target's log that its copy needs is seen archived.
    Archived(T),
    /// It was not seen archived in time: the backup is no better than crash-consistent.
    NotArchived(T),
    /// The copy survives its namespace: deletionPolicy Retain and annotations are on its content.
    Kept(C),
    /// The content may not be changed: the copy dies with its namespace, and the record says so.
    NotKept(C),
    /// The copy can be restored from.
    Settled(C),
    /// The copy is broken for good (content gone, handle changed): nobody may take this run for a backup.
    SettleFailed(C),
    /// Nobody waits for the copies any longer; the record tells claim by claim which were ready.
    SettleSkipped,
    /// Durable before its effect: the attempt's snapshots are being deleted, and none of them counts any more.
    DiscardIntended,
    /// Snapshot and content are gone, seen gone.
    Discarded(C),
    /// The driver does not answer: the snapshot is still there, and the record names it.
    DiscardPending(C),
    /// The run was broken off.
    Aborted(Abort),
    /// The next attempt has other targets: a pod of a Deployment comes back under another name.
    Reshaped(Targets),
    /// Another process leads the run from here on.
    TakenOver,
    /// The run is over with this outcome: a journal says so by itself.
    Finished(Outcome),
}

/// What the fold has to know of the targets.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Targets {
    /// The wave of each target: lower ones are quiesced earlier and thawed later.
    pub waves: Vec<u8>,
    /// Whether the hold of each target stops commits; as long as `waves`.
    pub stops_commits: Vec<bool>,
    /// The targets whose copies count for what they are only once their log is seen archived.
    pub archives: Vec<T>,
}

/// What the check at the release said of a hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Held {
    /// The target was held until it was released by us.
    Yes,
    /// It was not.
    No,
    /// The target serves, but nobody saw until when it was held. Never taken for `Yes`.
    Unknown,
}

/// How a run ended, the best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Outcome {
    /// One instant across all databases, everything acknowledged before it included.
    ApplicationConsistent,
    /// What each database's own recovery makes of a cut at one instant.
    CrashConsistent,
    /// No backup; everything serves; what is left of snapshots is named.
    Failed,
    /// Something may still be held.
    Stuck,
}

/// What to do next. The executor does it and applies what happened.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Step {
    /// Take the first pod table and begin this attempt; above 1 only after the pods were unchanged for a while.
    Attempt(u8),
    /// Do before the hold what can be done before it.
    Prepare(Vec<T>),
    /// Quiesce these targets, all at once.
    Quiesce(Vec<T>),
    /// Bring acknowledged writes of these targets to the device, all at once.
    Flush(Vec<T>),
    /// Copy these claims, all at once.
    Cut(Vec<C>),
    /// Check and release these targets, all at once; waits for no write.
    Thaw(Vec<T>),
    /// Take the second pod table and compare.
    Compare,
    /// Delete what this attempt made of these claims, and see it gone.
    Discard(Vec<C>),
    /// Wait until the log that the copies of these targets need is archived; nothing is held.
    Archive(Vec<T>),
    /// Make these copies outlive their namespace.
    Keep(Vec<C>),
    /// Wait until these copies can be restored from.
    Settle(Vec<C>),
    /// Report; nothing is left to do.
    Finish(Outcome),
}

/// Where a target is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Phase {
    /// Untouched in this attempt.
    Serving,
    /// About to be quiesced: may be held, because a command that timed out may have worked.
    Quiescing,
    /// Held.
    Quiesced,
    /// Held, and on the device.
    Flushed,
    /// Being released.
    Thawing,
    /// Released.
    Thawed(Held),
    /// May be held, and this process knows no further way to release it.
    Stuck,
}

/// Where the copy of a claim is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CutPhase {
    /// Nothing exists.
    NotStarted,
    /// Something may exist.
    Started,
    /// Proved to be cut while every target was held.
    Done,
    /// Something may exist, and may yet be cut: late, outside the window, and looking healthy.
    Failed,
    /// Being deleted.
    Discarding,
    /// Gone.
    Discarded,
    /// Not gone: the driver does not answer.
    DiscardPending,
}
