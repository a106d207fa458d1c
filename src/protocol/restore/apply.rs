//! What an event does to a restore, and which events are impossible.

use super::{Back, ClaimPhase, Event, IllegalEvent, Restating, Run, Stage, Step, Undo};
use crate::protocol::{Abort, C};

impl Run {
    /// Takes what happened, or refuses what cannot have happened; a refused event changes nothing.
    pub fn apply(&mut self, event: &Event) -> Result<(), IllegalEvent> {
        self.accept(event).ok_or_else(|| crate::protocol::IllegalEvent(event.clone()))
    }

    /// `None` if the event was impossible.
    fn accept(&mut self, event: &Event) -> Option<()> {
        // Over is over; only a process that can still do something opens it again, or the user who thinks better of it.
        when(!self.is_finished() || matches!(event, Event::TakenOver | Event::UndoIntended))?;
        // Each event answers the step that is due, or is its intent: nothing happens out of turn.
        let due = self.next();
        match *event {
            Event::SecureIntended => {
                self.go(due == Step::Secure, Stage::Untouched, Stage::Securing)?;
            }
            Event::Secured if self.undo != Undo::No => self.undo(due == Step::Secure, Undo::Intended, Undo::Secured)?,
            Event::Secured => self.go(due == Step::Secure, Stage::Securing, Stage::Secured)?,
            Event::ReadBack if self.undo != Undo::No => self.undo(due == Step::ReadBack, Undo::Secured, Undo::Safe)?,
            Event::ReadBack => self.go(due == Step::ReadBack, Stage::Secured, Stage::Safe)?,
            Event::StopIntended => self.go(due == Step::Stop, Stage::Safe, Stage::Stopping)?,
            Event::Stopped => self.go(due == Step::Stop, Stage::Stopping, Stage::Stopped)?,
            Event::ReplaceIntended(c) => {
                self.turn(matches!(due, Step::Replace(_)), c, ClaimPhase::Old, ClaimPhase::Replacing)?;
            }
            Event::Replaced(c) => {
                self.turn(matches!(due, Step::Replace(_)), c, ClaimPhase::Replacing, ClaimPhase::New)?;
            }
            Event::Prepared => self.go(due == Step::Prepare, Stage::Stopped, Stage::Prepared)?,
            Event::StartIntended => {
                let before = if self.prepares { Stage::Prepared } else { Stage::Stopped };
                self.go(due == Step::Start, before, Stage::Starting)?;
            }
            Event::Started => self.go(due == Step::Start, Stage::Starting, Stage::Started)?,
            Event::Recovered(t) => {
                when(matches!(&due, Step::Recover(left) if left.contains(&t)))?;
                self.recovered[t] = true;
            }
            Event::OpenIntended => self.go(due == Step::Open, Stage::Started, Stage::Opening)?,
            Event::Opened => self.go(due == Step::Open, Stage::Opening, Stage::Opened)?,
            Event::Compared { same } => {
                when(due == Step::Compare)?;
                self.restored = same;
                self.failed = !same;
            }
            Event::UndoIntended => {
                self.undo(self.is_fixed(), Undo::No, Undo::Intended)?;
                self.finished = None;
                self.restating = Restating::No;
                self.failed = true;
            }
            Event::BackIntended => self.go_back(matches!(due, Step::BackStop | Step::BackClaims(_)), Back::Begun)?,
            Event::BackStopped => self.go_back(due == Step::BackStop && self.back == Back::Begun, Back::Stopped)?,
            Event::ClaimBack(c) => {
                when(matches!(&due, Step::BackClaims(left) if left.contains(&c)))?;
                self.claims[c] = ClaimPhase::Back;
            }
            Event::BackStartIntended => self.go_back(due == Step::BackStart, Back::Starting)?,
            Event::BackStarted => self.go_back(due == Step::BackStart && self.back == Back::Starting, Back::Started)?,
            Event::RestateIntended => self.restate(&due, Restating::No, Restating::Begun)?,
            Event::Restated => self.restate(&due, Restating::Begun, Restating::Done)?,
            Event::NotRestated => self.restate(&due, Restating::Begun, Restating::Failed)?,
            Event::GivenUp => {
                when(matches!(due, Step::BackStop | Step::BackClaims(_) | Step::BackStart))?;
                self.given_up = true;
            }
            Event::Aborted(reason) => self.abort(reason),
            Event::TakenOver => self.take_over(),
            Event::Finished(outcome) => {
                when(due == Step::Finish(outcome))?;
                self.finished = Some(outcome);
            }
        }
        Some(())
    }

    fn go(&mut self, due: bool, from: Stage, to: Stage) -> Option<()> {
        when(due && self.stage == from)?;
        self.stage = to;
        Some(())
    }

    fn undo(&mut self, due: bool, from: Undo, to: Undo) -> Option<()> {
        when(due && self.undo == from)?;
        self.undo = to;
        Some(())
    }

    fn go_back(&mut self, due: bool, to: Back) -> Option<()> {
        when(due && self.back < to)?;
        self.back = to;
        Some(())
    }

    fn turn(&mut self, due: bool, c: C, from: ClaimPhase, to: ClaimPhase) -> Option<()> {
        let claim = self.claims.get_mut(c)?;
        when(due && *claim == from)?;
        *claim = to;
        Some(())
    }

    fn restate(&mut self, due: &Step, from: Restating, to: Restating) -> Option<()> {
        when(*due == Step::Restate && self.restating == from)?;
        self.restating = to;
        Some(())
    }

    fn abort(&mut self, reason: Abort) {
        // The databases recovered and were compared: going back now would throw away what was written since.
        if self.is_fixed() {
            return;
        }
        if self.is_undoing() {
            self.undo = Undo::No;
            self.failed = false;
            return;
        }
        self.abort.get_or_insert(reason);
        self.failed = true;
    }

    fn take_over(&mut self) {
        if self.is_finished() && !self.has_leftovers() {
            return;
        }
        self.finished = None;
        self.given_up = false;
        if self.restating == Restating::Failed {
            self.restating = Restating::Begun;
        }
        // What a dead process saw was so then: policies may have been put back since, and pods started.
        match self.stage {
            Stage::Secured | Stage::Safe => self.stage = Stage::Securing,
            Stage::Stopped | Stage::Prepared => self.stage = Stage::Stopping,
            _ => {}
        }
        if self.is_undoing() {
            self.undo = Undo::Intended;
        }
        if self.back == Back::Stopped {
            self.back = Back::Begun;
        }
    }
}

/// A condition as something that `?` leaves on.
fn when(possible: bool) -> Option<()> {
    possible.then_some(())
}
