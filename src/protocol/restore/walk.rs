//! Every reachable pair of journal and world of small restores, and mutations that each must break the walk.

mod mutations;
mod world;

use super::{Back, ClaimPhase, Event, Outcome, Run, Shape, Stage, Step};
use crate::protocol::Abort;
use crate::protocol::process::{self, Fold, Limits};
use crate::protocol::search::{self, Move, Moves, Walked};
use world::{Volume, World};

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

/// A restore to walk.
#[derive(Clone, Copy)]
struct Setup {
    claims: usize,
    targets: usize,
    deaths: u8,
    /// Whether the step that secures knows of the workload's retention policy.
    knows_retention: bool,
    /// Whether the restored volumes are changed before the start.
    prepares: bool,
    /// Whether an application stands in front of the databases, of which a property is set.
    opens: bool,
}

const TWO_CLAIMS: Setup =
    Setup { claims: 2, targets: 1, deaths: 1, knows_retention: true, prepares: false, opens: false };

struct Walk {
    rules: Rules,
    limits: Limits,
}

impl Walk {
    fn run(setup: Setup, rules: Rules) -> Result<Walked, String> {
        let Setup { claims, targets, prepares, opens, .. } = setup;
        let shape = Shape { claims, targets, prepares, opens };
        let limits = Limits { deaths: setup.deaths, lag: true };
        let world = World::new(setup.claims, setup.knows_retention, setup.prepares, setup.opens);
        let walk = Walk { rules, limits };
        search::walk(State::new(Run::new(&shape), world), |state| walk.moves(state))
    }

    fn moves(&self, state: &State) -> Result<Moves<State>, String> {
        state.world.keeps_old_data()?;
        journal_names_all(state)?;
        if state.alive && state.run.is_finished() {
            truthful(state)?;
            let again = (state.run.has_leftovers() || state.run.is_fixed()) && state.deaths < self.limits.deaths;
            return Ok(Moves::End(if again { self.take_over(state)? } else { Vec::new() }));
        }
        let mut moves = if state.alive { self.lead(state)? } else { self.take_over(state)? };
        if state.alive {
            if !state.run.failed || state.run.is_undoing() {
                moves.extend(self.happen(("abort", 0), state, state.world.clone(), Event::Aborted(Abort::Signal))?);
            }
            if state.deaths < self.limits.deaths {
                moves.push((("die", 0), state.die()));
            }
        }
        let stopping = state.run.stage >= Stage::Stopping && !state.run.is_undoing();
        let worlds = state.world.moves(state.alive, stopping).into_iter();
        moves.extend(worlds.map(|(by, world)| (by, state.with_world(world))));
        Ok(Moves::On(moves))
    }

    /// What the process does: writes the intents of the next step, or does a part of it.
    fn lead(&self, state: &State) -> Result<Vec<Move<State>>, String> {
        let step = (self.rules.next)(&state.run);
        if step == Step::BackStop && state.world.runs_on_old_by_us() {
            return Err("stopped on its old volumes for nothing".into());
        }
        let mut moves = state.intend(&step, &self.rules, self.limits)?;
        if moves.is_empty() {
            for (by, world, event) in state.world.effects(&step, &state.run)? {
                match event {
                    Some(event) => moves.extend(self.happen(by, state, world, event)?),
                    None => moves.push((by, state.with_world(world))),
                }
            }
        }
        Ok(moves)
    }

    /// Goes back or on as the fold says, or forward or back because the user wants it.
    fn take_over(&self, state: &State) -> Result<Vec<Move<State>>, String> {
        let mut moves = state.take_over(&(self.rules.recovery)(&state.run), &self.rules, self.limits)?;
        moves.extend(state.take_over(&[Event::TakenOver], &self.rules, self.limits)?);
        let undoing = state.run.undoing();
        if !undoing.is_empty() {
            moves.extend(state.come_back(&undoing, &self.rules, self.limits)?);
        }
        Ok(moves)
    }

    fn happen(
        &self,
        by: (&'static str, usize),
        state: &State,
        mut world: World,
        event: Event,
    ) -> Result<Vec<Move<State>>, String> {
        if let Event::Compared { same } = event {
            world.differs = !same;
        }
        state.happen(by, world, &[event], &self.rules, self.limits)
    }
}

/// At every moment, whoever reads the journal finds what is not as it was.
fn journal_names_all(state: &State) -> Result<(), String> {
    let (journal, world) = (state.journal(), &state.world);
    let replaced = |c: usize| matches!(journal.claim(c), ClaimPhase::Replacing | ClaimPhase::New);
    if (0..world.claims.len()).any(|c| world.claims[c] != Volume::Old && !replaced(c)) {
        return Err("a claim is not the old one and no journal says so".into());
    }
    if (!world.running || world.is_front_down()) && !journal.may_be_down() {
        return Err("the workload is down and no journal says so".into());
    }
    if world.is_set && !journal.may_have_opened() {
        return Err("a property was set and no journal says so".into());
    }
    let over = journal.is_finished() && !journal.has_leftovers();
    let of_restored = over && !journal.failed && !world.is_restated(true);
    if world.is_secured_in_part() && journal.stage < Stage::Securing || of_restored {
        return Err("a policy was changed and no journal says so".into());
    }
    let writes_new = world.running && !world.by_user && world.claims.contains(&Volume::New);
    if writes_new && journal.stage < Stage::Starting {
        return Err("the workload writes to new volumes and no journal says so".into());
    }
    Ok(())
}

/// At every end, what is said is so.
fn truthful(state: &State) -> Result<(), String> {
    let Step::Finish(outcome) = state.run.next() else {
        return Err("finished, and something is left to do".into());
    };
    let (run, world) = (&state.run, &state.world);
    let runs_on = |volume| {
        world.running && world.claims.iter().all(|claim| *claim == volume) && world.serves(volume == Volume::New)
    };
    let restated = world.is_restated(outcome == Outcome::Restored) || run.has_leftovers();
    let said = match outcome {
        Outcome::Restored => runs_on(Volume::New) && !world.differs && restated,
        Outcome::RestoredOldVolumes => runs_on(Volume::Old) && restated && run.back == Back::Started,
        Outcome::Failed => runs_on(Volume::Old) && restated && !world.was_stopped,
        Outcome::Stuck => run.given_up,
    };
    if world.helper && outcome != Outcome::Stuck {
        return Err("what prepares the volumes is left behind".into());
    }
    if said { Ok(()) } else { Err(format!("{outcome:?} is not true")) }
}

fn holds(setup: Setup, at_least: usize) {
    let walked = Walk::run(setup, AS_WRITTEN).unwrap_or_else(|broken| panic!("{broken}"));
    assert!(walked.states >= at_least && walked.ends > 100, "{walked:?}");
}

#[test]
fn one_claim_dies_twice() {
    let setup = Setup { claims: 1, deaths: 2, ..TWO_CLAIMS };
    holds(setup, 5_000);
}

#[test]
fn two_claims() {
    holds(TWO_CLAIMS, 5_000);
}

#[test]
fn volumes_that_are_prepared() {
    let setup = Setup { prepares: true, ..TWO_CLAIMS };
    holds(setup, 5_000);
    holds(Setup { claims: 1, deaths: 2, ..setup }, 5_000);
}

#[test]
fn two_databases_on_a_claim_each() {
    holds(Setup { targets: 2, deaths: 2, ..TWO_CLAIMS }, 10_000);
}

#[test]
fn an_application_in_front_of_the_databases() {
    let setup = Setup { opens: true, ..TWO_CLAIMS };
    holds(setup, 5_000);
    holds(Setup { claims: 1, deaths: 2, ..setup }, 5_000);
}

/// Its databases were restored elsewhere: only a property is set.
#[test]
fn an_application_alone() {
    holds(Setup { claims: 0, targets: 0, deaths: 2, opens: true, ..TWO_CLAIMS }, 1_000);
}
