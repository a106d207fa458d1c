//! Every reachable pair of journal and world of small runs, and mutations that each must break the walk.

mod mutations;
mod runs;
mod world;

use super::{CutPhase, Event, Outcome, Phase, Run, Shape, Spoilt, Step};
use crate::protocol::Abort;
use crate::protocol::process::{self, Fold, Limits};
use crate::protocol::search::{self, Move, Moves, Walked};
use world::{Real, Snap, World};

type State = process::State<Run, World>;
type Rules = process::Rules<Run>;

impl Fold for Run {
    type Event = Event;
    type Step = Step;
    fn intents(&self, step: &Step) -> Vec<Event> {
        Run::intents(self, step)
    }
}

const AS_WRITTEN: Rules = Rules { next: Run::next, apply: Run::apply, recovery: Run::recovery, durable: |_| true };

/// A run to walk, and how much may go wrong in it.
#[derive(Clone)]
struct Setup {
    shape: Shape,
    limits: Limits,
    /// What may break the run off at any moment.
    aborts: &'static [Abort],
    /// Whether events are told apart that the fold treats alike.
    fine: bool,
}

struct Walk<'a> {
    setup: &'a Setup,
    rules: Rules,
}

impl Walk<'_> {
    fn run(setup: &Setup, rules: Rules) -> Result<Walked, String> {
        let start = State::new(Run::new(&setup.shape), World::new(&setup.shape));
        let walk = Walk { setup, rules };
        search::walk(start, |state| walk.moves(state))
    }

    fn moves(&self, state: &State) -> Result<Moves<State>, String> {
        self.journal_names_all(state)?;
        if state.alive && state.run.is_finished() {
            self.truthful(state)?;
            let again = state.run.has_leftovers() && state.deaths < self.setup.limits.deaths;
            return Ok(Moves::End(if again { self.take_over(state)? } else { Vec::new() }));
        }
        let mut moves = if state.alive { self.lead(state)? } else { self.take_over(state)? };
        if state.alive {
            moves.extend(self.disturb(state)?);
        }
        let may_change = state.run.verdict.is_none() && state.run.attempt > 0;
        for (by, world) in state.world.moves(may_change) {
            let awaited = by.0 == "cut" && state.alive && matches!(state.run.next(), Step::Cut(_));
            let at = if awaited { 0 } else { moves.len() };
            moves.insert(at, (by, state.with_world(world)));
        }
        Ok(Moves::On(moves))
    }

    /// What the process does: writes the intents of the next step, or does a part of it.
    fn lead(&self, state: &State) -> Result<Vec<Move<State>>, String> {
        let step = (self.rules.next)(&state.run);
        self.fits(&step, state)?;
        let mut moves = state.intend(&step, &self.rules, self.setup.limits)?;
        if moves.is_empty() {
            for (by, world, event) in state.world.effects(&step, &state.run, self.setup.fine) {
                match event {
                    Some(event) => moves.extend(self.happen(by, state, world, &event)?),
                    None => moves.push((by, state.with_world(world))),
                }
            }
        }
        Ok(moves)
    }

    /// Nothing but the window is gone through while something is held, and nothing is repeated that must not be.
    fn fits(&self, step: &Step, state: &State) -> Result<(), String> {
        let held =
            (0..self.setup.shape.waves.len()).any(|t| state.world.is_held(t) && state.run.target(t) != Phase::Stuck);
        let in_window = matches!(step, Step::Quiesce(_) | Step::Flush(_) | Step::Cut(_) | Step::Thaw(_));
        if held && !in_window {
            return Err(format!("{step:?} while something is held"));
        }
        let repeated = matches!(step, Step::Attempt(2..));
        if repeated && (state.world.forbidden || state.world.has_copies()) {
            return Err("repeated, though it must not be".into());
        }
        Ok(())
    }

    /// What comes from outside: aborts, lost holds, death.
    fn disturb(&self, state: &State) -> Result<Vec<Move<State>>, String> {
        let open = !state.run.is_fixed();
        let mut events = Vec::new();
        if open && state.run.spoilt < Spoilt::Final {
            events.extend(self.setup.aborts.iter().map(|&abort| Event::Aborted(abort)));
        }
        if open && state.run.spoilt == Spoilt::No {
            if state.world.changed {
                events.push(Event::Aborted(Abort::PodsChanged));
            }
            let mut held = state.run.may_be_held();
            held.retain(|&t| state.world.targets[t] == Real::Released);
            events.extend(held.into_iter().map(Event::HoldLost));
        }
        let mut moves = Vec::new();
        for event in events {
            moves.extend(self.happen(("outside", 0), state, state.world.clone(), &event)?);
        }
        if state.deaths < self.setup.limits.deaths {
            let mut dead = state.die();
            dead.world.died_holding |= dead.world.any_held();
            moves.push((("die", 0), dead));
        }
        Ok(moves)
    }

    fn take_over(&self, state: &State) -> Result<Vec<Move<State>>, String> {
        let events = (self.rules.recovery)(&state.run);
        let mut state = state.clone();
        state.world.note(&Event::TakenOver);
        state.take_over(&events, &self.rules, self.setup.limits)
    }

    fn happen(
        &self,
        by: (&'static str, usize),
        state: &State,
        mut world: World,
        event: &Event,
    ) -> Result<Vec<Move<State>>, String> {
        world.note(event);
        let events = std::slice::from_ref(event);
        state.happen(by, world, events, &self.rules, self.setup.limits)
    }

    /// At every moment, whoever reads the journal finds what is held and what exists.
    fn journal_names_all(&self, state: &State) -> Result<(), String> {
        let journal = state.journal();
        let named = journal.may_be_held();
        for t in 0..self.setup.shape.waves.len() {
            if state.world.is_held(t) && !named.contains(&t) {
                return Err(format!("target {t} is held and no journal says so"));
            }
        }
        for c in 0..state.world.copies.len() {
            let unnamed = matches!(journal.cut(c), CutPhase::NotStarted | CutPhase::Discarded);
            if state.world.copies[c] != Snap::None && unnamed {
                return Err(format!("claim {c} has a snapshot and no journal says so"));
            }
        }
        Ok(())
    }

    /// At every end, what is said is so.
    fn truthful(&self, state: &State) -> Result<(), String> {
        let Step::Finish(outcome) = state.run.next() else {
            return Err("finished, and something is left to do".into());
        };
        let (world, shape) = (&state.world, &self.setup.shape);
        let all_cut = world.copies.iter().all(|copy| *copy == Snap::Cut);
        let copied = shape.claims > 0;
        let instant = copied && (shape.one_instant || world.copies.len() == 1);
        let lights = shape.stops_commits.iter().filter(|stops| !**stops).count();
        let held = !shape.waves.is_empty() && !world.torn && !world.lost && !world.died_holding;
        let said = match outcome {
            Outcome::ApplicationConsistent => {
                all_cut && held && !world.changed && (lights <= usize::from(copied) || instant) && !world.unarchived
            }
            Outcome::CrashConsistent => {
                all_cut && (instant || shape.best == Outcome::CrashConsistent || (held && world.unarchived))
            }
            Outcome::Failed | Outcome::Stuck => (0..world.copies.len())
                .all(|c| world.copies[c] == Snap::None || state.run.cut(c) == CutPhase::DiscardPending),
        };
        if !said {
            return Err(format!("{outcome:?} is not true"));
        }
        // What is really held is among what may be held: see `journal_names_all`.
        if (outcome == Outcome::Stuck) == state.run.may_be_held().is_empty() {
            return Err(format!("{outcome:?} while something may be held, or nothing may"));
        }
        Ok(())
    }
}
