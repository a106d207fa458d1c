//! What happens when, as two pure folds: events in, the next step out.
//!
//! A run is nothing but its events. [`backup::Run`] and [`restore::Run`] are rebuilt from a journal by the same `apply`
//! that built them, so a process that takes over a dead run knows exactly what its predecessor made durable, and no
//! clean-up code exists beside the loop. Nothing here knows a cluster, a clock or a terminal: both folds are walked
//! through every reachable pair of journal and world in their tests.
//!
//! What the loop around them owes, and the walks take for granted:
//!
//! * Events enter the journal in the order in which they were applied, and a durable write takes all earlier ones along.
//! * `next` is asked again after every event. An event that changes the answer ends the step: its other parts are
//!   cancelled, and what they still say is not applied.
//! * Intents are written and applied before the step, with no event in between.
//! * An effect cannot come true after the event that undoes it: who says `Thawed` has made sure that the command to
//!   quiesce is dead, and who says `Discarded` that nobody will take the snapshot any more.
//! * A process applies `recovery` first, and stops for good when its journal was written by another.

pub mod backup;
#[cfg(test)]
mod process;
pub mod restore;
#[cfg(test)]
mod search;

pub use backup::Held;

use serde::{Deserialize, Serialize};
use std::fmt;

/// Index of a target in the plan.
pub type T = usize;
/// Index of a claim in the plan.
pub type C = usize;

/// Why a run was broken off. The first one is reported; what it forbids, each of them forbids.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Abort {
    /// The user asked for it (SIGINT, SIGTERM, SIGHUP).
    Signal,
    /// The time in which databases may be held was over.
    Budget,
    /// A step failed for good.
    Step,
    /// The process that led the run was gone.
    Died,
    /// A pod was added, removed or changed in the window.
    PodsChanged,
    /// The user wants what was there before.
    Undone,
}

/// An event that cannot have happened in this state.
///
/// A journal that holds one was not written by this fold, or not in this order: it is refused, never guessed at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IllegalEvent<E>(pub E);

impl<E: fmt::Debug> fmt::Display for IllegalEvent<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "event {:?} is impossible in the state of the run", self.0)
    }
}

impl<E: fmt::Debug> std::error::Error for IllegalEvent<E> {}
