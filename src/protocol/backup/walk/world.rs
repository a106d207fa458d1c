//! What is really so, whatever the journal says: databases, snapshots, pods.

use super::super::{Event, Held, Phase, Run, Shape, Step};
use crate::protocol::{Abort, C, T, process};

/// A target as it really is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Real {
    Serving,
    Held,
    Flushed,
    /// It was held in this attempt, and was let go.
    Released,
}

/// A snapshot as it really is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Snap {
    None,
    /// Asked for: cut now, or later, or never.
    Asked,
    Cut,
}

#[derive(Clone, Debug, Hash)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own, and all combinations exist")]
pub(super) struct World {
    pub(super) targets: Vec<Real>,
    pub(super) copies: Vec<Snap>,
    one_instant: bool,
    /// A cut lies where some target was not held and flushed, or a target was let go between two cuts.
    pub(super) torn: bool,
    /// A target let go by itself in this attempt.
    pub(super) lost: bool,
    /// Pods changed since this attempt's first table.
    pub(super) changed: bool,
    /// Something happened after which no attempt may follow.
    pub(super) forbidden: bool,
    /// A process died while something was held.
    pub(super) died_holding: bool,
    /// The log that a copy needs was not archived when it was last asked for.
    pub(super) unarchived: bool,
}

type Effect = process::Effect<Run, World>;

impl World {
    pub(super) fn new(shape: &Shape) -> Self {
        Self {
            targets: vec![Real::Serving; shape.waves.len()],
            copies: vec![Snap::None; shape.claims.max(1)],
            one_instant: shape.one_instant,
            torn: false,
            lost: false,
            changed: false,
            unarchived: false,
            forbidden: false,
            died_holding: false,
        }
    }

    pub(super) fn is_held(&self, t: T) -> bool {
        matches!(self.targets[t], Real::Held | Real::Flushed)
    }

    pub(super) fn any_held(&self) -> bool {
        (0..self.targets.len()).any(|t| self.is_held(t))
    }

    pub(super) fn has_copies(&self) -> bool {
        self.copies.iter().any(|copy| *copy != Snap::None)
    }

    /// What happens whether a process is there or not: late cuts, guards, changing pods.
    pub(super) fn moves(&self, may_change: bool) -> Vec<((&'static str, usize), World)> {
        let mut moves = Vec::new();
        for c in 0..self.copies.len() {
            if self.copies[c] == Snap::Asked {
                moves.push((("cut", c), self.cut(c)));
            }
        }
        for t in (0..self.targets.len()).filter(|&t| self.is_held(t)) {
            let mut world = self.released(t);
            world.lost = true;
            moves.push((("guard", t), world));
        }
        if !self.changed && may_change {
            let mut world = self.clone();
            world.changed = true;
            moves.push((("pods change", 0), world));
        }
        moves
    }

    /// Each way in which a part of the step may go. A part that fails without a trace is the `Aborted` that may always come.
    pub(super) fn effects(&self, step: &Step, run: &Run, fine: bool) -> Vec<Effect> {
        let mut all = Vec::new();
        match step {
            Step::Attempt(n) => {
                let mut world = self.clone();
                (world.torn, world.lost, world.changed) = (false, false, false);
                all.push((("attempt", usize::from(*n)), world, Some(Event::Attempt(*n))));
            }
            Step::Prepare(ts) => {
                all.extend(ts.iter().map(|&t| self.heard("prepared", t, Event::Prepared(t))));
            }
            Step::Quiesce(ts) => all.extend(ts.iter().map(|&t| match self.targets[t] {
                Real::Serving => (("quiesce", t), self.with(t, Real::Held), None),
                _ => self.heard("quiesced", t, Event::Quiesced(t)),
            })),
            Step::Flush(ts) => all.extend(ts.iter().map(|&t| match self.targets[t] {
                Real::Held => (("flush", t), self.with(t, Real::Flushed), None),
                _ => self.heard("flushed", t, Event::Flushed(t)),
            })),
            Step::Cut(cs) => cs.iter().for_each(|&c| self.effects_of_cut(c, &mut all)),
            Step::Thaw(ts) => ts.iter().for_each(|&t| self.effects_of_thaw(t, run, &mut all)),
            Step::Compare => {
                let same = !self.changed;
                all.push(self.heard("compare", 0, Event::Compared { same }));
            }
            Step::Discard(cs) => cs.iter().for_each(|&c| {
                let mut gone = self.clone();
                gone.copies[c] = Snap::None;
                all.push((("discard", c), gone.clone(), Some(Event::Discarded(c))));
                all.push((("discard unheard", c), gone, None));
                all.push(self.heard("driver silent", c, Event::DiscardPending(c)));
            }),
            Step::Archive(ts) => ts.iter().for_each(|&t| {
                let now = |unarchived| Self { unarchived, ..self.clone() };
                all.push((("archived", t), now(false), Some(Event::Archived(t))));
                all.push((("not archived", t), now(true), Some(Event::NotArchived(t))));
            }),
            Step::Keep(cs) => cs.iter().for_each(|&c| {
                all.push(self.heard("keep", c, Event::Kept(c)));
                all.push(self.heard("not keep", c, Event::NotKept(c)));
            }),
            Step::Settle(cs) => {
                for &c in cs {
                    all.push(self.heard("settle", c, Event::Settled(c)));
                    all.push(self.heard("broken", c, Event::SettleFailed(c)));
                }
                all.push(self.heard("skip", 0, Event::SettleSkipped));
            }
            Step::Finish(_) => {}
        }
        if !fine {
            all.retain(|(_, _, event)| !event.as_ref().is_some_and(is_fine));
        }
        all
    }

    /// Remembers what may not be followed by another attempt.
    pub(super) fn note(&mut self, event: &Event) {
        self.forbidden |= match event {
            Event::Aborted(reason) => *reason != Abort::PodsChanged,
            Event::CutFailed(_) | Event::ThawGivenUp(_) | Event::TakenOver => true,
            _ => false,
        };
    }

    fn effects_of_cut(&self, c: C, all: &mut Vec<Effect>) {
        match self.copies[c] {
            Snap::None => {
                let mut world = self.clone();
                for other in 0..self.copies.len() {
                    if other == c || self.one_instant {
                        world.copies[other] = Snap::Asked;
                    }
                }
                all.push((("ask", c), world, None));
            }
            Snap::Asked => {}
            Snap::Cut => all.push(self.heard("cut seen", c, Event::Cut(c))),
        }
        all.push(self.heard("cut failed", c, Event::CutFailed(c)));
    }

    fn effects_of_thaw(&self, t: T, run: &Run, all: &mut Vec<Effect>) {
        let thawed = |held| Some(Event::Thawed { target: t, held });
        if self.is_held(t) {
            let released = self.released(t);
            let serving = released.with(t, Real::Serving);
            all.push((("thaw", t), serving.clone(), thawed(Held::Yes)));
            all.push((("thaw unseen", t), serving, thawed(Held::Unknown)));
            all.push((("thaw unheard", t), released, None));
        } else {
            let serving = self.with(t, Real::Serving);
            all.push((("not held", t), serving.clone(), thawed(Held::No)));
            all.push((("nothing seen", t), serving, thawed(Held::Unknown)));
        }
        if run.target(t) != Phase::Thawing {
            all.push(self.heard("thaw sent", t, Event::ThawSent(t)));
        }
        all.push(self.heard("give up", t, Event::ThawGivenUp(t)));
    }

    fn heard(&self, name: &'static str, of: usize, event: Event) -> Effect {
        ((name, of), self.clone(), Some(event))
    }

    fn with(&self, t: T, real: Real) -> World {
        let mut world = self.clone();
        world.targets[t] = real;
        world
    }

    /// The storage cuts: one claim, or all of a group.
    fn cut(&self, c: C) -> World {
        let mut world = self.clone();
        for other in 0..world.copies.len() {
            if (other == c || self.one_instant) && world.copies[other] == Snap::Asked {
                world.copies[other] = Snap::Cut;
            }
        }
        world.torn |= self.targets.iter().any(|target| *target != Real::Flushed);
        world
    }

    fn released(&self, t: T) -> World {
        let mut world = self.with(t, Real::Released);
        let cut = self.copies.iter().filter(|copy| **copy == Snap::Cut).count();
        world.torn |= cut > 0 && cut < self.copies.len();
        world
    }
}

/// Whether the fold treats the event like another one, or like none.
fn is_fine(event: &Event) -> bool {
    match event {
        Event::ThawSent(_) | Event::NotKept(_) => true,
        Event::Thawed { held, .. } => *held == Held::Unknown,
        _ => false,
    }
}
