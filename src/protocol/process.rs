//! The executor as the walks of both folds model it: a process, its memory, a journal that lags, and a world.

use super::IllegalEvent;
use super::search::Move;
use std::fmt::Debug;
use std::hash::Hash;

/// What the two folds have in common.
pub(super) trait Fold: Clone + Debug + Hash {
    type Event: Clone + Debug + PartialEq;
    type Step: Debug;
    fn intents(&self, step: &Self::Step) -> Vec<Self::Event>;
}

type Apply<F> = fn(&mut F, &<F as Fold>::Event) -> Result<(), IllegalEvent<<F as Fold>::Event>>;

/// The fold as the executor uses it. A mutation replaces one of these.
pub(super) struct Rules<F: Fold> {
    pub(super) next: fn(&F) -> F::Step,
    pub(super) apply: Apply<F>,
    pub(super) recovery: fn(&F) -> Vec<F::Event>,
    /// Whether the executor waits until this intent is written.
    pub(super) durable: fn(&F::Event) -> bool,
}

/// What may go wrong with processes.
#[derive(Clone, Copy)]
pub(super) struct Limits {
    pub(super) deaths: u8,
    /// Whether events may be lost from the journal's tail; else it is as good as the process's memory.
    pub(super) lag: bool,
}

#[derive(Clone, Debug, Hash)]
pub(super) struct State<F, W> {
    /// What the process knows; without one, what the next process will read.
    pub(super) run: F,
    pub(super) alive: bool,
    /// What the journal says if it lags: all since is lost if the process dies before its next durable write.
    lagging: Option<F>,
    pub(super) world: W,
    pub(super) deaths: u8,
}

/// What a part of a step does to the world, and what the executor hears of it.
pub(super) type Effect<F, W> = ((&'static str, usize), W, Option<<F as Fold>::Event>);

impl<F: Fold, W: Clone> State<F, W> {
    pub(super) fn new(run: F, world: W) -> Self {
        Self { run, alive: true, lagging: None, world, deaths: 0 }
    }

    /// What a process would read that came now.
    pub(super) fn journal(&self) -> &F {
        self.lagging.as_ref().unwrap_or(&self.run)
    }

    pub(super) fn with_world(&self, world: W) -> Self {
        Self { world, ..self.clone() }
    }

    /// Writes the intents of a step; empty if none is missing, and the step itself may be done.
    pub(super) fn intend(&self, step: &F::Step, rules: &Rules<F>, limits: Limits) -> Result<Vec<Move<Self>>, String> {
        let intents = self.run.intents(step);
        if intents.is_empty() || !intents.iter().all(rules.durable) {
            return self.happen(("intend", 0), self.world.clone(), &intents, rules, limits);
        }
        self.write(("write", 0), &intents, rules)
    }

    /// Applies events that are durable at once.
    fn write(
        &self,
        by: (&'static str, usize),
        events: &[F::Event],
        rules: &Rules<F>,
    ) -> Result<Vec<Move<Self>>, String> {
        let mut written = self.clone();
        written.lagging = None;
        for event in events {
            apply(&mut written.run, event, rules)?;
        }
        Ok(vec![(by, written)])
    }

    /// Applies events that are written when there is time: the journal has them, or lags from one of them on.
    pub(super) fn happen(
        &self,
        by: (&'static str, usize),
        world: W,
        events: &[F::Event],
        rules: &Rules<F>,
        limits: Limits,
    ) -> Result<Vec<Move<Self>>, String> {
        if events.is_empty() {
            return Ok(Vec::new());
        }
        let mut after = self.with_world(world);
        let mut behind = Vec::new();
        for event in events {
            if limits.lag && self.lagging.is_none() && self.deaths < limits.deaths {
                behind.push(after.run.clone());
            }
            apply(&mut after.run, event, rules)?;
        }
        let lags = behind.into_iter().map(|lagging| {
            let lagging = Some(lagging);
            let after = after.clone();
            (by, Self { lagging, ..after })
        });
        let lags: Vec<_> = lags.collect();
        // The first is the good one: nothing is lost.
        Ok(std::iter::once((by, after)).chain(lags).collect())
    }

    /// The process is gone, and with it all that was not written.
    pub(super) fn die(&self) -> Self {
        Self { run: self.journal().clone(), alive: false, lagging: None, deaths: self.deaths + 1, ..self.clone() }
    }

    /// The same, led by another process.
    fn another(&self) -> Self {
        Self { alive: true, deaths: self.deaths + u8::from(self.alive), ..self.clone() }
    }

    /// Another process comes, after a death or after an end, and does nothing before these events are durable.
    pub(super) fn come_back(
        &self,
        events: &[F::Event],
        rules: &Rules<F>,
        limits: Limits,
    ) -> Result<Vec<Move<Self>>, String> {
        let come = self.another();
        if events.iter().all(rules.durable) {
            return come.write(("come back", 0), events, rules);
        }
        come.happen(("come back", 0), self.world.clone(), events, rules, limits)
    }

    /// Another process comes, after a death or after an end.
    pub(super) fn take_over(
        &self,
        events: &[F::Event],
        rules: &Rules<F>,
        limits: Limits,
    ) -> Result<Vec<Move<Self>>, String> {
        self.another().happen(("take over", 0), self.world.clone(), events, rules, limits)
    }
}

fn apply<F: Fold>(run: &mut F, event: &F::Event, rules: &Rules<F>) -> Result<(), String> {
    (rules.apply)(run, event).map_err(|illegal| illegal.to_string())
}
