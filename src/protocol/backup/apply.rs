//! What an event does to a backup, and which events are impossible.

use super::{Copy, CutPhase, Event, Held, IllegalEvent, Outcome, Phase, Run, Spoilt, Step, Target, is_held, may_exist};
use crate::protocol::{Abort, C, T};

impl Run {
    /// Takes what happened, or refuses what cannot have happened; a refused event changes nothing.
    pub fn apply(&mut self, event: &Event) -> Result<(), IllegalEvent> {
        self.accept(event).ok_or_else(|| crate::protocol::IllegalEvent(event.clone()))
    }

    /// A clean slate for an attempt. Only reached when nothing is held and no snapshot is left.
    pub(super) fn begin(&mut self, attempt: u8) {
        let target = Target { phase: Phase::Serving, prepared: false };
        let copy = Copy { phase: CutPhase::NotStarted, kept: None, settled: false };
        self.attempt = attempt;
        self.targets = vec![target; self.shape.waves.len()];
        self.copies = vec![copy; self.shape.claims.max(1)];
        self.spoilt = Spoilt::No;
        self.abort = None;
    }

    /// `None` if the event was impossible.
    fn accept(&mut self, event: &Event) -> Option<()> {
        // Over is over; only a process that can still thaw or discard something opens it again.
        when(!self.is_finished() || *event == Event::TakenOver)?;
        match event {
            Event::Attempt(n) => {
                when(self.next() == Step::Attempt(*n))?;
                self.begin(*n);
            }
            Event::WaveIntended(wave) => self.intend(wave)?,
            Event::Aborted(reason) => self.abort(*reason),
            Event::Reshaped(targets) => self.reshape(targets)?,
            Event::TakenOver => self.take_over(),
            Event::Compared { same } => {
                when(self.next() == Step::Compare)?;
                self.judge(*same);
            }
            Event::Finished(outcome) => {
                when(self.next() == Step::Finish(*outcome))?;
                self.finished = Some(*outcome);
            }
            Event::Prepared(_)
            | Event::Quiesced(_)
            | Event::Flushed(_)
            | Event::HoldLost(_)
            | Event::ThawSent(_)
            | Event::Thawed { .. }
            | Event::ThawGivenUp(_)
            | Event::Archived(_)
            | Event::NotArchived(_) => self.accept_of_target(event)?,
            _ => self.accept_of_copy(event)?,
        }
        Some(())
    }

    fn accept_of_target(&mut self, event: &Event) -> Option<()> {
        match *event {
            Event::Prepared(t) => {
                let begun = self.attempt > 0;
                let target = self.targets.get_mut(t)?;
                when(begun && !target.prepared && target.phase == Phase::Serving)?;
                target.prepared = true;
            }
            Event::Quiesced(t) => {
                self.advance(t, |from| from == Phase::Quiescing, Phase::Quiesced)?;
            }
            Event::Flushed(t) => self.advance(t, |from| from == Phase::Quiesced, Phase::Flushed)?,
            Event::ThawSent(t) => self.advance(t, is_held, Phase::Thawing)?,
            Event::HoldLost(t) => {
                when(is_held(self.targets.get(t)?.phase))?;
                self.spoil(Spoilt::Repeatable);
            }
            Event::Thawed { target, held } => {
                self.advance(target, is_held, Phase::Thawed(held))?;
                if held != Held::Yes {
                    self.spoil(Spoilt::Repeatable);
                }
            }
            Event::Archived(t) | Event::NotArchived(t) => {
                when(self.is_fixed() && self.unarchived.contains(&t))?;
                self.unarchived.retain(|other| *other != t);
                if matches!(event, Event::NotArchived(_)) {
                    self.verdict = Some(Outcome::CrashConsistent);
                    // What the others archived does not make it better.
                    self.unarchived.clear();
                }
            }
            Event::ThawGivenUp(t) => {
                self.advance(t, is_held, Phase::Stuck)?;
                self.spoil(Spoilt::Final);
            }
            _ => return None,
        }
        Some(())
    }

    fn accept_of_copy(&mut self, event: &Event) -> Option<()> {
        match *event {
            Event::CutIntended => {
                when(matches!(self.next(), Step::Quiesce(_) | Step::Cut(_)))?;
                self.turn(|from| from == CutPhase::NotStarted, CutPhase::Started)?;
            }
            // Seen earlier it may lie before the hold or the flush, seen later after the release.
            Event::Cut(c) => {
                when(self.targets.iter().all(|target| target.phase == Phase::Flushed))?;
                self.move_copy(c, CutPhase::Started, CutPhase::Done)?;
            }
            // Not repeated: the driver may still take it, and a late cut looks healthy.
            Event::CutFailed(c) => {
                self.move_copy(c, CutPhase::Started, CutPhase::Failed)?;
                self.spoil(Spoilt::Final);
            }
            Event::Kept(c) | Event::NotKept(c) => {
                when(self.is_fixed() && self.kept(c).is_none())?;
                self.copies.get_mut(c)?.kept = Some(matches!(event, Event::Kept(_)));
            }
            Event::Settled(c) => {
                when(self.is_fixed() && !self.settled(c))?;
                self.copies.get_mut(c)?.settled = true;
            }
            Event::SettleFailed(c) => {
                when(self.is_fixed() && c < self.copies.len())?;
                self.verdict = Some(Outcome::Failed);
                self.spoil(Spoilt::Final);
            }
            Event::SettleSkipped => {
                when(self.is_fixed())?;
                self.settle_skipped = true;
            }
            Event::DiscardIntended => {
                when(matches!(self.next(), Step::Discard(_)))?;
                self.turn(may_exist, CutPhase::Discarding)?;
            }
            Event::Discarded(c) => self.move_copy(c, CutPhase::Discarding, CutPhase::Discarded)?,
            Event::DiscardPending(c) => {
                self.move_copy(c, CutPhase::Discarding, CutPhase::DiscardPending)?;
            }
            _ => return None,
        }
        Some(())
    }

    /// A wave is begun in its turn or not at all: the intent of a failed attempt must not stand in a journal.
    fn intend(&mut self, wave: &[T]) -> Option<()> {
        let Step::Quiesce(due) = self.next() else {
            return None;
        };
        when(!wave.is_empty() && wave.iter().all(|t| due.contains(t) && self.targets[*t].phase == Phase::Serving))?;
        for &t in wave {
            self.targets[t].phase = Phase::Quiescing;
        }
        Some(())
    }

    fn advance(&mut self, t: T, from: impl Fn(Phase) -> bool, to: Phase) -> Option<()> {
        let target = self.targets.get_mut(t)?;
        when(from(target.phase))?;
        target.phase = to;
        Some(())
    }

    fn move_copy(&mut self, c: C, from: CutPhase, to: CutPhase) -> Option<()> {
        let copy = self.copies.get_mut(c)?;
        when(copy.phase == from)?;
        copy.phase = to;
        Some(())
    }

    /// Turns every copy that is `from`; `None` if there was none.
    fn turn(&mut self, from: impl Fn(CutPhase) -> bool, to: CutPhase) -> Option<()> {
        let mut turned = None;
        for copy in self.copies.iter_mut().filter(|copy| from(copy.phase)) {
            copy.phase = to;
            turned = Some(());
        }
        turned
    }

    fn spoil(&mut self, how: Spoilt) {
        self.spoilt = self.spoilt.max(how);
    }

    fn abort(&mut self, reason: Abort) {
        // What is proved stays proved: the databases serve, and only the upload is still going on.
        if self.is_fixed() {
            return;
        }
        self.abort.get_or_insert(reason);
        self.spoil(if reason == Abort::PodsChanged { Spoilt::Repeatable } else { Spoilt::Final });
    }

    fn judge(&mut self, same: bool) {
        if !same {
            self.spoil(Spoilt::Repeatable);
        }
        // An attempt that will be repeated has no verdict.
        if self.may_retry() {
            return;
        }
        let lights = self.shape.stops_commits.iter().filter(|stops| !**stops).count();
        let most = usize::from(self.shape.claims > 0);
        let one_point = !self.targets.is_empty() && (lights <= most || self.one_instant());
        let verdict = match (self.spoilt, self.shape.best) {
            (Spoilt::No, Outcome::ApplicationConsistent) if one_point => Outcome::ApplicationConsistent,
            (Spoilt::No, Outcome::CrashConsistent) => Outcome::CrashConsistent,
            _ if self.may_be_crash_consistent() => Outcome::CrashConsistent,
            _ => Outcome::Failed,
        };
        self.verdict = Some(verdict);
        if verdict == Outcome::ApplicationConsistent {
            self.unarchived.clone_from(&self.shape.archives);
        }
        if verdict == Outcome::Failed {
            self.spoil(Spoilt::Final);
        }
    }

    /// Only between two attempts: then nothing is held by anybody whose number changes.
    fn reshape(&mut self, to: &super::Targets) -> Option<()> {
        when(matches!(self.next(), Step::Attempt(n) if n > 1))?;
        when(to.stops_commits.len() == to.waves.len() && to.archives.iter().all(|&t| t < to.waves.len()))?;
        self.shape.waves.clone_from(&to.waves);
        self.shape.stops_commits.clone_from(&to.stops_commits);
        self.shape.archives.clone_from(&to.archives);
        Some(())
    }

    fn take_over(&mut self) {
        if self.is_finished() && !self.has_leftovers() {
            return;
        }
        self.taken_over = true;
        self.finished = None;
        for target in self.targets.iter_mut().filter(|target| target.phase == Phase::Stuck) {
            target.phase = Phase::Thawing;
        }
        self.turn(|from| from == CutPhase::DiscardPending, CutPhase::Discarding);
    }
}

/// A condition as something that `?` leaves on.
fn when(possible: bool) -> Option<()> {
    possible.then_some(())
}
