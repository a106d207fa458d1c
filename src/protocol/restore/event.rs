//! The vocabulary of a restore in place: what happened ([`Event`]), what to do ([`Step`]), what came of it ([`Outcome`]).

use crate::protocol::{Abort, C, T};
use serde::{Deserialize, Serialize};

/// What happened in a restore, by ids only: its journal is a list of these.
///
/// Names of old volumes and what has to be put back lie in the plan, which is durable before the first event.
/// The serialized form is the journal's format: variants are added, never renamed.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Event {
    /// Durable before its effect: reclaim and retention policies are no longer what they were.
    SecureIntended,
    /// Old volumes, contents and claims were told to stay.
    Secured,
    /// Seen, not believed: every policy was read back, and no claim has an owner that takes it along.
    ReadBack,
    /// Durable before its effect: the workload may be down from now on.
    StopIntended,
    /// No pod and no `VolumeAttachment` is left.
    Stopped,
    /// Durable before its effect: the claim may be gone, or be the new one.
    ReplaceIntended(C),
    /// The claim of the same name is made from the snapshot.
    Replaced(C),
    /// The restored volumes are as they must be before the start, and what made them so is gone.
    Prepared,
    /// Durable before its effect: the workload may write to the new volumes.
    StartIntended,
    /// Its pods are ready.
    Started,
    /// The database recovered and is what the backup says.
    Recovered(T),
    /// Durable before its effect: the applications in front of the databases may have other properties, and write to the
    /// restored volumes.
    OpenIntended,
    /// Their properties are set, and their pods are ready.
    Opened,
    /// The pods were compared with those before the stop. Fixes the outcome if they are the same.
    Compared {
        /// Whether they are as they were, as far as a restart lets them be.
        same: bool,
    },
    /// Durable before its effect: the user wants the old volumes back, though the restore had succeeded. Retention
    /// policies are no longer what they were.
    UndoIntended,
    /// Durable before its effect: the old volumes are on their way back, and nobody may go forward from here.
    BackIntended,
    /// No pod and no `VolumeAttachment` is left.
    BackStopped,
    /// The claim is bound to its old volume again.
    ClaimBack(C),
    /// Durable before its effect: every claim is back, and the workload may write to the old volumes.
    BackStartIntended,
    /// Its pods are ready, on the old volumes.
    BackStarted,
    /// Durable before its effect: the policies are being put back, so nothing may be stopped or replaced any more.
    RestateIntended,
    /// The policies are what they were: all of them where the old volumes are in use, else the workload's only.
    Restated,
    /// They are not, and no way to put them back is left: the record names them.
    NotRestated,
    /// The way back cannot be gone by this process.
    GivenUp,
    /// The restore was broken off.
    Aborted(Abort),
    /// Another process leads the restore from here on.
    TakenOver,
    /// The restore is over with this outcome: a journal says so by itself.
    Finished(Outcome),
}

/// How a restore ended. The old volumes exist after each of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Outcome {
    /// The workload runs on what was restored.
    Restored,
    /// The workload runs on its old volumes again.
    RestoredOldVolumes,
    /// The workload was never stopped.
    Failed,
    /// The workload may be down; its old volumes are kept and named.
    Stuck,
}

/// What to do next. Each may have been done before, in part or wholly, by a process that died: all are idempotent.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Step {
    /// Old volumes and contents to Retain; the workload's claims outlive its scaling, without owners.
    Secure,
    /// Read all that back; it fails if anything is not so.
    ReadBack,
    /// Scale to 0, what stands in front of the databases first; wait until no pod and no `VolumeAttachment` is left, nor anything of `Prepare`.
    Stop,
    /// Delete each old claim, wait until it is gone, create the new one of the same name.
    Replace(Vec<C>),
    /// Change what has to be changed on the restored volumes before the workload is started. Done again it changes nothing,
    /// and it refuses volumes on which the workload ran already.
    Prepare,
    /// Scale up the databases; wait until the pods are ready.
    Start,
    /// Check that these databases recovered, and what they hold.
    Recover(Vec<T>),
    /// Set the properties of the applications in front of the databases, scale them up, wait until the pods are ready. One
    /// that somebody started before its properties were set is stopped for that.
    Open,
    /// Compare the pods with those before the stop.
    Compare,
    /// Scale to 0 again; wait as in `Stop`.
    BackStop,
    /// Delete each new claim if there is one, wait until it is gone, bind the old volume to a claim of the same name. If
    /// the workload may have written to it, its volume is told to stay first.
    BackClaims(Vec<C>),
    /// Scale up and wait until the pods are ready: the databases; then, with the properties that they had, the applications
    /// in front of them.
    BackStart,
    /// Put back the workload's retention policy, and, if the old volumes are in use, their reclaim policies.
    Restate,
    /// Report; nothing is left to do.
    Finish(Outcome),
}

/// Which volume a claim stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ClaimPhase {
    /// The old one: the claim was never touched.
    Old,
    /// None, or either.
    Replacing,
    /// The restored one.
    New,
    /// The old one again.
    Back,
}
