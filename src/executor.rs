//! The loop: ask the fold for the next step, make its intents durable, do it, tell the fold what happened.
//!
//! There is no other clean-up code. A crash, Ctrl-C, a spent budget and a failed step are events, and a process that
//! finds an unfinished journal goes on with this same loop.

use std::fmt::Debug;
use std::future::Future;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::mpsc;

use crate::clock::{Clock, Pulse};
use crate::journal::{Append, Journal};
use crate::protocol::{Abort, IllegalEvent};
use crate::record::entry::{Detail, Entry};

pub mod backup;
pub mod restore;
pub mod signals;
pub(crate) mod testing;
pub mod verify;

/// What the loop needs of a fold. Both protocols are one.
pub trait Fold {
    /// What happened.
    type Event: Clone + Debug + Send + Sync + Serialize + DeserializeOwned + 'static;
    /// What to do.
    type Step: Clone + Debug;
    /// How it ended.
    type Outcome;

    /// Takes what happened, or refuses what cannot have happened.
    fn apply(&mut self, event: &Self::Event) -> Result<(), IllegalEvent<Self::Event>>;
    /// What to do now.
    fn next(&self) -> Self::Step;
    /// What must be durable before the step touches the world.
    fn intents(&self, step: &Self::Step) -> Vec<Self::Event>;
    /// What a process that finds this journal records first.
    fn recovery(&self) -> Vec<Self::Event>;
    /// The event that breaks the run off.
    fn aborted(reason: Abort) -> Self::Event;
    /// The outcome, if this step is the last.
    fn outcome(step: &Self::Step) -> Option<Self::Outcome>;
}

/// The part that touches the world.
pub trait Hands<F: Fold> {
    /// Called after the intents of a step are durable; does the step and tells the log what happened.
    fn perform(&mut self, log: &mut Log<F>, step: F::Step) -> impl Future<Output = Result<(), Stop>>;
    /// Called before the intents of a step are written (the budget runs from there).
    fn intending(&mut self, step: &F::Step);
}

/// Why the loop ended before the run did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stop {
    /// Another process leads the run now: this one does nothing more.
    TakenOver,
    /// The user does not wait for the copies; the run can be finished later.
    Left,
    /// The journal can no longer be written.
    Unwritable(String),
}

/// After a gap of this length somebody else may lead the run: a Lease lasts as long.
const GAP: Duration = Duration::from_secs(8);

/// How long an intent may take to become durable, outside of the window. In it the budget is shorter.
const DURABLE: Duration = Duration::from_secs(30);

/// The run and its journal, which always say the same but for what is still on its way.
pub struct Log<F: Fold> {
    /// The fold.
    pub run: F,
    /// The server's clock.
    pub clock: Clock,
    /// Everything that was taken so far.
    pub entries: Vec<Entry<F::Event>>,
    journal: Journal<F::Event>,
    pulse: Pulse,
}

/// An event on its way from a task to the log.
pub type Told<E> = (E, Detail);

impl<F: Fold> Log<F> {
    /// A log over a journal of which `run` is the fold of `entries`.
    pub fn new(run: F, entries: Vec<Entry<F::Event>>, journal: Journal<F::Event>, clock: Clock) -> Self {
        Self { run, clock, entries, journal, pulse: Pulse::start() }
    }

    /// Takes an event; its write is on its way when this returns. False = it cannot have happened (any more), as with
    /// an answer that comes after the attempt was given up.
    pub fn happened(&mut self, event: F::Event, detail: Detail) -> bool {
        let fits = self.run.apply(&event).is_ok();
        if fits {
            let entry = Entry { at: self.clock.now(), event, detail };
            self.journal.later(&entry);
            self.entries.push(entry);
            testing::entered(self.entries.len() - 1, self.entries.len());
        }
        fits
    }

    /// Breaks the run off.
    pub fn abort(&mut self, reason: Abort, text: impl Into<String>) {
        self.happened(F::aborted(reason), Detail::text(text));
    }

    /// Stores a named text beside the entries, some time.
    pub fn store(&self, key: &str, value: &impl Serialize) {
        self.journal.later_put(key, serde_json::to_string(value).unwrap_or_default());
    }

    /// Stores a named text beside the entries, and waits until that is certain.
    pub async fn keep(&self, key: &str, value: &impl Serialize) -> Result<(), String> {
        let text = serde_json::to_string(value).map_err(|e| e.to_string())?;
        match self.journal.put(key, text, DURABLE).await {
            Append::Written => Ok(()),
            Append::TakenOver => Err("another process took the run over".into()),
            Append::Failed(why) => Err(format!("the journal could not be written: {why}")),
        }
    }

    /// Makes events durable and takes them, also when it is not known whether they are: they may come to stand in the
    /// journal, and the entries that follow must fit.
    async fn durable(&mut self, events: Vec<F::Event>) -> Append {
        if events.is_empty() {
            return Append::Written;
        }
        let at = self.clock.now();
        let entries: Vec<Entry<F::Event>> =
            events.into_iter().map(|event| Entry { at, event, detail: Detail::default() }).collect();
        let append = self.journal.durable(entries.clone(), DURABLE).await;
        testing::entered(self.entries.len(), self.entries.len() + entries.len());
        if append != Append::TakenOver {
            for entry in entries {
                // The fold asked for these events, so it takes them.
                if self.run.apply(&entry.event).is_ok() {
                    self.entries.push(entry);
                }
            }
        }
        append
    }

    /// After this process was stopped for a while (SIGSTOP, a laptop's lid): whether the run is still ours. Only a
    /// write can tell.
    async fn awake(&mut self) -> Result<(), Stop> {
        let Some(gap) = self.pulse.gap(GAP) else { return Ok(()) };
        match self.journal.put("woke", format!("{} after {gap:?}", self.clock.now()), DURABLE).await {
            Append::TakenOver => Err(Stop::TakenOver),
            Append::Written | Append::Failed(_) => Ok(()),
        }
    }

    /// Waits until everything that happened is in the journal.
    pub async fn written(&mut self) -> Append {
        self.journal.durable(Vec::new(), DURABLE).await
    }

    /// Whether another process is known to lead the run.
    pub fn taken_over(&self) -> bool {
        self.journal.taken_over()
    }

    /// What a process records first that found this journal.
    pub async fn recover(&mut self) -> Result<(), Stop> {
        self.begin(self.run.recovery()).await
    }

    /// The same with what the user wants of it.
    pub async fn begin(&mut self, events: Vec<F::Event>) -> Result<(), Stop> {
        match self.durable(events).await {
            Append::Written => Ok(()),
            Append::TakenOver => Err(Stop::TakenOver),
            Append::Failed(why) => Err(Stop::Unwritable(why)),
        }
    }

    /// Takes events as they are told, until `work` is done, an event breaks the attempt off, or `broken` says so.
    pub async fn attend(
        &mut self,
        work: impl Future<Output = ()>,
        mut told: mpsc::UnboundedReceiver<Told<F::Event>>,
        broken: impl Future<Output = (Abort, impl Into<Detail>)>,
        is_last: impl Fn(&F::Event) -> bool,
    ) {
        tokio::pin!(work);
        tokio::pin!(broken);
        loop {
            tokio::select! {
                biased;
                Some((event, detail)) = told.recv() => {
                    let last = is_last(&event);
                    self.happened(event, detail);
                    if last {
                        return;
                    }
                }
                (reason, detail) = &mut broken => {
                    self.happened(F::aborted(reason), detail.into());
                    return;
                }
                () = &mut work => {
                    while let Ok((event, detail)) = told.try_recv() {
                        self.happened(event, detail);
                    }
                    return;
                }
            }
        }
    }
}

/// Goes on until the fold says that the run is over.
pub async fn execute<F: Fold, H: Hands<F>>(log: &mut Log<F>, hands: &mut H) -> Result<F::Outcome, Stop> {
    loop {
        log.awake().await?;
        let step = log.run.next();
        hands.intending(&step);
        let intents = log.run.intents(&step);
        match log.durable(intents).await {
            Append::Written => {}
            Append::TakenOver => return Err(Stop::TakenOver),
            Append::Failed(why) => {
                // Unknown is not written: the step is not done. If giving up asks for the same step, nothing is left to
                // do here; what is durable names everything that exists, and `thaw` goes on from it.
                if F::outcome(&step).is_some() {
                    return Err(Stop::Unwritable(why));
                }
                log.abort(Abort::Step, format!("the journal could not be written: {why}"));
                if format!("{:?}", log.run.next()) == format!("{step:?}") {
                    return Err(Stop::Unwritable(why));
                }
                continue;
            }
        }
        // Writing may have taken long, and this process may have been stopped meanwhile.
        log.awake().await?;
        if let Some(outcome) = F::outcome(&step) {
            return Ok(outcome);
        }
        let before = log.entries.len();
        hands.perform(log, step.clone()).await?;
        if log.entries.len() == before {
            // A step that came to nothing would be asked for again for ever.
            log.abort(Abort::Step, format!("step {step:?} came to nothing"));
            if log.entries.len() == before {
                return Err(Stop::Unwritable(format!("step {step:?} came to nothing")));
            }
        }
    }
}
