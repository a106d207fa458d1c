//! A backup as a fold over its events.
//!
//! [`Run::next`] says what to do, [`Run::intents`] what must be durable before it is done, [`Run::apply`] takes what
//! happened. A crash, Ctrl-C, a spent budget and a failed step are one thing ([`Event::Aborted`]); a new process applies
//! [`Run::recovery`] and goes on with the same loop.
//!
//! What is promised, and walked through every reachable pair of journal and world in `backup/walk.rs`:
//!
//! * Whatever is held, and whatever snapshot exists, is named by the durable journal at every moment.
//! * While something is held nothing is done but quiesce, flush, cut and thaw; a failed attempt thaws first.
//! * A consistent outcome is said only of cuts that all lie in a window in which every target was held.
//! * A failed run leaves no snapshot that its record does not name as pending.
//! * From every state there is a way to the end.
//!
//! The outcome is fixed at [`Event::Compared`]: any `Aborted` before it fails the run, none after it spoils it.

mod apply;
mod event;
#[cfg(test)]
mod path;
#[cfg(test)]
mod walk;

pub use event::{CutPhase, Event, Held, Outcome, Phase, Step, Targets};

use crate::protocol::{Abort, C, T};

/// An event that this fold refuses.
pub type IllegalEvent = crate::protocol::IllegalEvent<Event>;

/// What the fold has to know of a plan.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Shape {
    /// The wave of each target: lower ones are quiesced earlier and thawed later.
    pub waves: Vec<u8>,
    /// Whether the hold of each target stops commits; as long as `waves`.
    pub stops_commits: Vec<bool>,
    /// The targets whose copies count for what they are only once their log is seen archived.
    pub archives: Vec<T>,
    /// How many claims are copied. A run that copies none (backend `window`) has one cut too: the window itself.
    pub claims: usize,
    /// Whether all claims are cut at one instant (a group snapshot). Taken for granted of a single claim.
    pub one_instant: bool,
    /// How often the window is tried at most.
    pub attempts: u8,
    /// The best that can be said: `CrashConsistent` where a claim is copied whose database nothing quiesces (and whose
    /// claims the plan cuts at one instant, database by database), else `ApplicationConsistent`.
    pub best: Outcome,
}

/// How much of an attempt is lost. Ordered: what is worse stays.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Spoilt {
    No,
    /// Pods changed or a hold was lost: may be repeated, and its cuts may still be crash-consistent.
    Repeatable,
    /// Neither.
    Final,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Target {
    phase: Phase,
    prepared: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Copy {
    phase: CutPhase,
    /// Whether it outlives its namespace, once that is known.
    kept: Option<bool>,
    settled: bool,
}

/// A backup: everything its events say.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Run {
    shape: Shape,
    attempt: u8,
    targets: Vec<Target>,
    copies: Vec<Copy>,
    spoilt: Spoilt,
    abort: Option<Abort>,
    /// Fixed at the comparison; `SettleFailed` alone takes it back.
    verdict: Option<Outcome>,
    /// Whose log is still to be seen archived; until then a verdict that depends on it is not said.
    unarchived: Vec<T>,
    settle_skipped: bool,
    /// A run that changed hands is brought to an end, never repeated: nobody knows what else the gap changed.
    taken_over: bool,
    finished: Option<Outcome>,
}

impl Run {
    /// A run of which nothing has happened yet.
    pub fn new(shape: &Shape) -> Self {
        let mut run = Self {
            shape: shape.clone(),
            attempt: 0,
            targets: Vec::new(),
            copies: Vec::new(),
            spoilt: Spoilt::No,
            abort: None,
            verdict: None,
            unarchived: Vec::new(),
            settle_skipped: false,
            taken_over: false,
            finished: None,
        };
        run.begin(0);
        run
    }

    /// What to do now. Asked again after every event: an abort changes the answer at once.
    pub fn next(&self) -> Step {
        if let Some(outcome) = self.finished {
            return Step::Finish(outcome);
        }
        // Before anything else: every other step may take minutes, and a database would be held for them.
        if let Some(wave) = self.wave_to_thaw() {
            return Step::Thaw(wave);
        }
        if let Some(outcome @ (Outcome::ApplicationConsistent | Outcome::CrashConsistent)) = self.verdict {
            return self.next_of_kept(outcome);
        }
        if self.may_compare() {
            return Step::Compare;
        }
        if self.spoilt > Spoilt::No {
            return self.next_of_failed();
        }
        if self.attempt == 0 {
            return Step::Attempt(1);
        }
        let unprepared = self.targets_where(|target| !target.prepared);
        if !unprepared.is_empty() {
            return Step::Prepare(unprepared);
        }
        let waiting = self.targets_where(|target| matches!(target.phase, Phase::Serving | Phase::Quiescing));
        if let Some(wave) = waiting.iter().map(|&t| self.shape.waves[t]).min() {
            return Step::Quiesce(self.of_wave(waiting, wave));
        }
        let unflushed = self.targets_where(|target| target.phase == Phase::Quiesced);
        if !unflushed.is_empty() {
            return Step::Flush(unflushed);
        }
        Step::Cut(self.copies_where(|copy| copy.phase != CutPhase::Done))
    }

    /// What must be durable before `step` touches the world.
    ///
    /// Empty for a thaw: a thaw waits for no write. The end is written too, so that a journal says by itself that it is over.
    pub fn intents(&self, step: &Step) -> Vec<Event> {
        let unstarted = self.copies.iter().any(|copy| copy.phase == CutPhase::NotStarted);
        match step {
            Step::Quiesce(wave) => {
                let serving: Vec<T> = wave.iter().copied().filter(|&t| self.target(t) == Phase::Serving).collect();
                let mut intents = Vec::new();
                if !serving.is_empty() {
                    intents.push(Event::WaveIntended(serving));
                }
                // Before the hold: a write between hold and cut would lengthen the hold.
                if unstarted {
                    intents.push(Event::CutIntended);
                }
                intents
            }
            Step::Cut(_) if unstarted => vec![Event::CutIntended],
            Step::Discard(claims) if claims.iter().any(|&c| self.cut(c) != CutPhase::Discarding) => {
                vec![Event::DiscardIntended]
            }
            Step::Finish(outcome) if self.finished.is_none() => vec![Event::Finished(*outcome)],
            _ => Vec::new(),
        }
    }

    /// What a process that finds this journal applies first.
    ///
    /// The run fails unless it was past its window: then nothing is lost but the second pod table, and a later one
    /// counts as long as it is equal.
    pub fn recovery(&self) -> Vec<Event> {
        if self.is_finished() && !self.has_leftovers() {
            return Vec::new();
        }
        let all_held = self.targets.iter().all(|target| target.phase == Phase::Thawed(Held::Yes));
        if self.verdict.is_some() || self.spoilt == Spoilt::Final || (all_held && self.all_cut()) {
            return vec![Event::TakenOver];
        }
        vec![Event::TakenOver, Event::Aborted(Abort::Died)]
    }

    /// How many targets this attempt has.
    pub fn targets(&self) -> usize {
        self.targets.len()
    }

    /// Every target that may be held, as far as these events tell: from the intent until it was seen released.
    pub fn may_be_held(&self) -> Vec<T> {
        self.targets_where(|target| !matches!(target.phase, Phase::Serving | Phase::Thawed(_)))
    }

    /// The attempt, counted from 1; 0 before the first.
    pub fn attempt(&self) -> u8 {
        self.attempt
    }

    /// The outcome as soon as it is certain: no event but `SettleFailed`, or a thaw of what was stuck, changes it.
    pub fn outcome(&self) -> Option<Outcome> {
        let failing = self.spoilt > Spoilt::No && !self.may_retry() && !self.may_be_crash_consistent();
        if self.targets.iter().any(|target| target.phase == Phase::Stuck) {
            return Some(Outcome::Stuck);
        }
        if self.is_fixed() && !self.unarchived.is_empty() {
            return None;
        }
        self.finished.or(self.verdict).or(failing.then_some(Outcome::Failed))
    }

    /// Whether a backup is there, whatever happens: from now on a signal stops the program, not the run.
    pub fn is_fixed(&self) -> bool {
        matches!(self.verdict, Some(Outcome::ApplicationConsistent | Outcome::CrashConsistent))
    }

    /// Whether the journal says that the run is over.
    pub fn is_finished(&self) -> bool {
        self.finished.is_some()
    }

    /// Whether another process could still do something: thaw what is stuck, discard what is pending.
    pub fn has_leftovers(&self) -> bool {
        self.targets.iter().any(|target| target.phase == Phase::Stuck)
            || self.copies.iter().any(|copy| copy.phase == CutPhase::DiscardPending)
    }

    /// Why this attempt was broken off: the first reason.
    pub fn aborted(&self) -> Option<Abort> {
        self.abort
    }

    /// Where a target is.
    ///
    /// # Panics
    ///
    /// If the plan has no such target.
    pub fn target(&self, t: T) -> Phase {
        self.targets[t].phase
    }

    /// Where the copy of a claim is.
    ///
    /// # Panics
    ///
    /// If the plan has no such claim.
    pub fn cut(&self, c: C) -> CutPhase {
        self.copies[c].phase
    }

    /// Whether the copy of a claim outlives its namespace; `None` while nobody knows.
    pub fn kept(&self, c: C) -> Option<bool> {
        self.copies.get(c).and_then(|copy| copy.kept)
    }

    /// Whether the copy of a claim was seen ready to be restored from.
    pub fn settled(&self, c: C) -> bool {
        self.copies.get(c).is_some_and(|copy| copy.settled)
    }
}

impl Run {
    /// The targets to release now, if it is time: the highest wave that may be held.
    fn wave_to_thaw(&self) -> Option<Vec<T>> {
        if self.spoilt == Spoilt::No && !self.all_cut() {
            return None;
        }
        let held = self.targets_where(|target| is_held(target.phase));
        let wave = held.iter().map(|&t| self.shape.waves[t]).max()?;
        Some(self.of_wave(held, wave))
    }

    fn next_of_kept(&self, outcome: Outcome) -> Step {
        // Before they are kept: what is written on them then is the outcome.
        if !self.unarchived.is_empty() {
            return Step::Archive(self.unarchived.clone());
        }
        // Kept before settled: an upload may take hours, and the namespace may be deleted meanwhile.
        let unkept = self.copies_where(|copy| copy.kept.is_none());
        if !unkept.is_empty() {
            return Step::Keep(unkept);
        }
        let unsettled = self.copies_where(|copy| !copy.settled);
        if !unsettled.is_empty() && !self.settle_skipped {
            return Step::Settle(unsettled);
        }
        Step::Finish(outcome)
    }

    fn next_of_failed(&self) -> Step {
        let left = self.copies_where(|copy| may_exist(copy.phase) || copy.phase == CutPhase::Discarding);
        if !left.is_empty() {
            return Step::Discard(left);
        }
        if self.may_retry() {
            return Step::Attempt(self.attempt + 1);
        }
        let stuck = self.targets.iter().any(|target| target.phase == Phase::Stuck);
        Step::Finish(if stuck { Outcome::Stuck } else { Outcome::Failed })
    }

    /// Whether the attempt may be repeated. Not while a snapshot of it is left: its driver does not answer.
    fn may_retry(&self) -> bool {
        self.spoilt == Spoilt::Repeatable
            && !self.taken_over
            && self.attempt < self.shape.attempts
            && !self.copies.iter().any(|copy| copy.phase == CutPhase::DiscardPending)
    }

    /// Whether the cuts are worth being kept although a hold was lost or pods changed.
    fn may_be_crash_consistent(&self) -> bool {
        self.spoilt < Spoilt::Final && self.one_instant() && self.all_cut()
    }

    fn may_compare(&self) -> bool {
        let sound = self.spoilt == Spoilt::No || (!self.may_retry() && self.may_be_crash_consistent());
        self.verdict.is_none() && sound && self.all_cut()
    }

    fn one_instant(&self) -> bool {
        // A window that copies nothing is no instant: what makes it a point to go back to is that all are held in all of it.
        self.shape.claims > 0 && (self.shape.one_instant || self.copies.len() == 1)
    }

    fn all_cut(&self) -> bool {
        self.copies.iter().all(|copy| copy.phase == CutPhase::Done)
    }

    fn of_wave(&self, mut targets: Vec<T>, wave: u8) -> Vec<T> {
        targets.retain(|&t| self.shape.waves[t] == wave);
        targets
    }

    fn targets_where(&self, wanted: impl Fn(&Target) -> bool) -> Vec<T> {
        (0..self.targets.len()).filter(|&t| wanted(&self.targets[t])).collect()
    }

    fn copies_where(&self, wanted: impl Fn(&Copy) -> bool) -> Vec<C> {
        (0..self.copies.len()).filter(|&c| wanted(&self.copies[c])).collect()
    }
}

/// Whether a thaw is due in this phase. A stuck target was given up: only another process tries again.
fn is_held(phase: Phase) -> bool {
    matches!(phase, Phase::Quiescing | Phase::Quiesced | Phase::Flushed | Phase::Thawing)
}

/// Whether a snapshot may exist that nobody has begun to delete.
fn may_exist(phase: CutPhase) -> bool {
    matches!(phase, CutPhase::Started | CutPhase::Done | CutPhase::Failed)
}
