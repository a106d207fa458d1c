//! A restore in place as a fold over its events, with the same loop as a backup.
//!
//! Forward: secure, read back, stop, replace, prepare where that is asked for, start, recover, open where applications
//! stand in front of the databases, compare, restate. Whatever fails before the comparison leads back to the old volumes ([`Event::Aborted`]); nothing interrupts the way back. So does
//! the user, also long after it succeeded ([`Event::UndoIntended`]): then all is secured again first, and whatever fails
//! before the stop leaves the workload as it is.
//!
//! What is promised, and walked through every reachable pair of journal and world in `restore/walk.rs`:
//!
//! * The old data exists at every moment, and while the workload is down or stands on other volumes, nothing that the
//!   cluster does by itself can delete it.
//! * So does what was written to restored volumes, once the workload was started on them.
//! * The durable journal says at every moment whatever is not as it was.
//! * What stands in front of the databases is started when they serve, and with the properties of the data that they hold.
//! * No claim is replaced under a running workload, and none is started on a mixture of old and new volumes.
//! * Restored volumes are prepared before a workload ever ran on them, or not at all; what prepares them is gone before
//!   anything is started or exchanged.
//! * `Restored`, `RestoredOldVolumes` and `Failed` are said only of a workload that runs on what they say.
//! * From every state there is a way to the end; `Stuck` only where the way back was given up.

mod apply;
mod event;
#[cfg(test)]
mod path;
#[cfg(test)]
mod walk;

pub use event::{ClaimPhase, Event, Outcome, Step};

use crate::protocol::{Abort, C, T};

/// An event that this fold refuses.
pub type IllegalEvent = crate::protocol::IllegalEvent<Event>;

/// What the fold has to know of a plan.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Shape {
    /// How many claims are replaced.
    pub claims: usize,
    /// How many databases have to recover.
    pub targets: usize,
    /// Whether the restored volumes are changed before the workload is started on them.
    pub prepares: bool,
    /// Whether applications in front of the databases are started once these have recovered.
    pub opens: bool,
}

/// How far it went forward. Ordered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Stage {
    Untouched,
    Securing,
    Secured,
    /// Read back.
    Safe,
    Stopping,
    Stopped,
    Prepared,
    Starting,
    Started,
    Opening,
    Opened,
}

/// How far it went back. Ordered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Back {
    /// Forward, or not begun: nothing was done yet.
    No,
    Begun,
    Stopped,
    Starting,
    Started,
}

/// How far taking back a restore is that had succeeded. Ordered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Undo {
    No,
    Intended,
    Secured,
    /// Read back: from here on it is a way back like others.
    Safe,
}

/// Where putting back the policies is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Restating {
    No,
    Begun,
    Done,
    Failed,
}

/// A restore: everything its events say.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
pub struct Run {
    stage: Stage,
    back: Back,
    undo: Undo,
    claims: Vec<ClaimPhase>,
    recovered: Vec<bool>,
    prepares: bool,
    opens: bool,
    /// Fixed at a comparison that found the pods the same.
    restored: bool,
    /// Broken off: from here it goes back, and never forward again, unless it was to be undone and nothing was stopped.
    failed: bool,
    abort: Option<Abort>,
    restating: Restating,
    given_up: bool,
    finished: Option<Outcome>,
}

impl Run {
    /// A restore of which nothing has happened yet.
    pub fn new(shape: &Shape) -> Self {
        Self {
            stage: Stage::Untouched,
            back: Back::No,
            undo: Undo::No,
            claims: vec![ClaimPhase::Old; shape.claims],
            recovered: vec![false; shape.targets],
            prepares: shape.prepares,
            opens: shape.opens,
            restored: false,
            failed: false,
            abort: None,
            restating: Restating::No,
            given_up: false,
            finished: None,
        }
    }

    /// What to do now. Asked again after every event: an abort changes the answer at once.
    pub fn next(&self) -> Step {
        if let Some(outcome) = self.finished {
            return Step::Finish(outcome);
        }
        if self.given_up {
            return Step::Finish(Outcome::Stuck);
        }
        if self.failed { self.next_back() } else { self.next_forward() }
    }

    /// What must be durable before `step` touches the world.
    pub fn intents(&self, step: &Step) -> Vec<Event> {
        let when = |missing: bool, intent: Event| if missing { vec![intent] } else { Vec::new() };
        match step {
            Step::Secure => when(self.stage < Stage::Securing, Event::SecureIntended),
            Step::Stop => when(self.stage < Stage::Stopping, Event::StopIntended),
            Step::Replace(claims) => {
                let untouched = claims.iter().copied().filter(|&c| self.claim(c) == ClaimPhase::Old);
                untouched.map(Event::ReplaceIntended).collect()
            }
            Step::Start => when(self.stage < Stage::Starting, Event::StartIntended),
            Step::Open => when(self.stage < Stage::Opening, Event::OpenIntended),
            // Without it a later process could take the last forward step of the journal for the present one.
            Step::BackStop | Step::BackClaims(_) => when(self.back < Back::Begun, Event::BackIntended),
            Step::BackStart => when(self.back < Back::Starting, Event::BackStartIntended),
            // Makes the comparison durable too: with the policies back, a second thought would stop an unsecured workload.
            Step::Restate => when(self.restating == Restating::No, Event::RestateIntended),
            Step::Finish(outcome) => when(self.finished.is_none(), Event::Finished(*outcome)),
            _ => Vec::new(),
        }
    }

    /// What a process that finds this journal applies first.
    ///
    /// It goes back, unless every database had recovered on the new volumes or the old ones are on their way already.
    /// To go forward instead, [`Event::TakenOver`] alone is applied: every step may be done twice.
    pub fn recovery(&self) -> Vec<Event> {
        if self.is_finished() && !self.has_leftovers() {
            return Vec::new();
        }
        if !self.is_undoing() && (self.failed || self.has_recovered()) {
            return vec![Event::TakenOver];
        }
        vec![Event::TakenOver, Event::Aborted(Abort::Died)]
    }

    /// What a process applies first that is to bring the old volumes back, however far the restore came.
    ///
    /// Nothing if it is over and they are in use.
    pub fn undoing(&self) -> Vec<Event> {
        if self.failed && self.is_finished() && !self.has_leftovers() {
            return Vec::new();
        }
        let mut events = vec![Event::TakenOver];
        if self.is_fixed() {
            events.push(Event::UndoIntended);
        } else if !self.failed {
            events.push(Event::Aborted(Abort::Undone));
        }
        events
    }

    /// Whether the workload may be down, as far as these events tell: from the intent until it was seen started.
    pub fn may_be_down(&self) -> bool {
        let up = if self.opens { Stage::Opened } else { Stage::Started };
        let forward = self.stage == up && self.back == Back::No;
        self.stage >= Stage::Stopping && !forward && self.back != Back::Started
    }

    /// The outcome as soon as it is certain, save that a way back may be given up.
    pub fn outcome(&self) -> Option<Outcome> {
        if self.given_up {
            return Some(Outcome::Stuck);
        }
        if self.is_undoing() {
            return None;
        }
        let back = if self.stage < Stage::Stopping { Outcome::Failed } else { Outcome::RestoredOldVolumes };
        self.finished.or(self.failed.then_some(back)).or(self.restored.then_some(Outcome::Restored))
    }

    /// Whether it is to be undone and nothing was stopped for that yet: what breaks it off leaves all as it is.
    pub fn is_undoing(&self) -> bool {
        self.undo != Undo::No && self.back == Back::No
    }

    /// Whether it is on its way back to the old volumes, which nothing ends.
    pub fn is_going_back(&self) -> bool {
        self.failed && !self.is_undoing()
    }

    /// Whether the workload may have written to the restored volumes: they stay after the way back, too.
    pub fn may_have_started(&self) -> bool {
        self.stage >= Stage::Starting
    }

    /// Whether what stands in front of the databases may have been started, and its properties set: these are put back on
    /// the way back.
    pub fn may_have_opened(&self) -> bool {
        self.stage >= Stage::Opening
    }

    /// Whether the workload stays on what was restored, whatever happens: a signal stops the program, not the restore.
    pub fn is_fixed(&self) -> bool {
        self.restored && !self.failed
    }

    /// Whether the journal says that the restore is over.
    pub fn is_finished(&self) -> bool {
        self.finished.is_some()
    }

    /// Whether another process could still do something: go the way back again, put back policies.
    pub fn has_leftovers(&self) -> bool {
        self.given_up || self.restating == Restating::Failed
    }

    /// Why it was broken off: the first reason.
    pub fn aborted(&self) -> Option<Abort> {
        self.abort
    }

    /// Which volume a claim stands for.
    ///
    /// # Panics
    ///
    /// If the plan has no such claim.
    pub fn claim(&self, c: C) -> ClaimPhase {
        self.claims[c]
    }
}

impl Run {
    fn next_forward(&self) -> Step {
        if self.restored {
            return self.restate_or(Outcome::Restored);
        }
        match self.stage {
            Stage::Untouched | Stage::Securing => Step::Secure,
            Stage::Secured => Step::ReadBack,
            Stage::Safe | Stage::Stopping => Step::Stop,
            Stage::Stopped => {
                let left = self.claims_where(|claim| claim != ClaimPhase::New);
                match (left.is_empty(), self.prepares) {
                    (false, _) => Step::Replace(left),
                    (true, true) => Step::Prepare,
                    (true, false) => Step::Start,
                }
            }
            Stage::Prepared | Stage::Starting => Step::Start,
            Stage::Started => {
                let left: Vec<T> = (0..self.recovered.len()).filter(|&t| !self.recovered[t]).collect();
                match (left.is_empty(), self.opens) {
                    (false, _) => Step::Recover(left),
                    (true, true) => Step::Open,
                    (true, false) => Step::Compare,
                }
            }
            Stage::Opening => Step::Open,
            Stage::Opened => Step::Compare,
        }
    }

    fn next_back(&self) -> Step {
        match self.undo {
            Undo::Intended => return Step::Secure,
            Undo::Secured => return Step::ReadBack,
            Undo::No | Undo::Safe => {}
        }
        match self.stage {
            Stage::Untouched => return Step::Finish(Outcome::Failed),
            Stage::Securing | Stage::Secured | Stage::Safe => {
                return self.restate_or(Outcome::Failed);
            }
            _ => {}
        }
        if self.back == Back::Started {
            return self.restate_or(Outcome::RestoredOldVolumes);
        }
        let left = self.claims_where(|claim| matches!(claim, ClaimPhase::Replacing | ClaimPhase::New));
        if left.is_empty() {
            return Step::BackStart;
        }
        if self.back < Back::Stopped { Step::BackStop } else { Step::BackClaims(left) }
    }

    fn restate_or(&self, outcome: Outcome) -> Step {
        match self.restating {
            Restating::No | Restating::Begun => Step::Restate,
            Restating::Done | Restating::Failed => Step::Finish(outcome),
        }
    }

    fn has_recovered(&self) -> bool {
        self.stage >= Stage::Started && self.recovered.iter().all(|recovered| *recovered)
    }

    fn claims_where(&self, wanted: impl Fn(ClaimPhase) -> bool) -> Vec<C> {
        (0..self.claims.len()).filter(|&c| wanted(self.claims[c])).collect()
    }
}
