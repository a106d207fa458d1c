//! The one task that writes a journal: what is queued goes in one patch, and again until it is known to be written.

use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, sleep_until, timeout};

use super::Append;
use super::ledger::{Content, Found, Ledger};
use super::store::ConfigMaps;
use crate::cluster::client::{explain, is_conflict, is_not_found, is_transient};

/// One try. A write that takes longer may still happen; the next try finds it.
const TRY: Duration = Duration::from_secs(2);
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(3);
/// How long the rest is tried after the last handle was dropped.
const LAST_WORDS: Duration = Duration::from_secs(5);

pub(super) enum Command {
    Later(Result<Content, String>),
    Durable { contents: Vec<Content>, deadline: Instant, reply: oneshot::Sender<Append> },
    Settle(oneshot::Sender<Result<(), String>>),
}

/// Somebody who waits until his contents are written.
struct Waiting {
    /// The id of the last of them.
    last: u64,
    deadline: Instant,
    reply: oneshot::Sender<Append>,
}

pub(super) struct Writer {
    store: ConfigMaps,
    ledger: Ledger,
    commands: mpsc::UnboundedReceiver<Command>,
    taken: watch::Sender<bool>,
    waiting: Vec<Waiting>,
    settling: Vec<(u64, oneshot::Sender<Result<(), String>>)>,
    /// Why something that was sent with `later` will never be written.
    lost: Option<String>,
    /// Why nothing can be written any more.
    gone: Option<String>,
    last_error: String,
}

/// What became of one try.
enum Tried {
    Progress,
    Again(String),
    Refused(String),
    Gone(String),
    TakenOver,
}

impl Writer {
    pub(super) fn new(
        store: ConfigMaps,
        ledger: Ledger,
        commands: mpsc::UnboundedReceiver<Command>,
        taken: watch::Sender<bool>,
    ) -> Self {
        Self {
            store,
            ledger,
            commands,
            taken,
            waiting: Vec::new(),
            settling: Vec::new(),
            lost: None,
            gone: None,
            last_error: "no answer yet".to_owned(),
        }
    }

    /// Until the last handle is dropped and everything is written, or cannot be.
    pub(super) async fn run(mut self) {
        let mut pause = FIRST_PAUSE;
        let mut due = Instant::now();
        let mut end: Option<Instant> = None;
        loop {
            self.reply_to_the_done();
            let idle = self.ledger.is_empty() || self.stopped();
            if end.is_some_and(|end| idle || Instant::now() >= end) {
                return;
            }
            if idle && end.is_none() {
                match self.commands.recv().await {
                    Some(command) => self.accept(command),
                    None => end = Some(Instant::now()),
                }
                due = Instant::now();
                continue;
            }
            // Everything that is there goes into one write.
            while let Ok(command) = self.commands.try_recv() {
                self.accept(command);
            }
            if due > Instant::now() {
                tokio::select! {
                    () = sleep_until(self.wake_before(due)) => {}
                    command = self.commands.recv(), if end.is_none() => match command {
                        // Whoever waits does not wait for our pause.
                        Some(command) => {
                            if matches!(command, Command::Durable { .. }) {
                                due = Instant::now();
                            }
                            self.accept(command);
                        }
                        None => end = Some(Instant::now() + LAST_WORDS),
                    },
                }
                continue;
            }
            if self.ledger.is_empty() {
                continue;
            }
            match self.attempt().await {
                Tried::Progress => pause = FIRST_PAUSE,
                Tried::Again(why) => {
                    self.last_error = why;
                    due = Instant::now() + pause;
                    pause = (pause * 2).min(LONGEST_PAUSE);
                }
                Tried::Refused(why) => {
                    self.fail_all(&why);
                    self.last_error = why;
                    due = Instant::now() + LONGEST_PAUSE;
                }
                Tried::Gone(why) => {
                    self.fail_all(&why);
                    self.gone = Some(why);
                }
                Tried::TakenOver => {
                    self.taken.send_replace(true);
                }
            }
        }
    }

    fn taken_over(&self) -> bool {
        *self.taken.borrow()
    }

    fn stopped(&self) -> bool {
        self.taken_over() || self.gone.is_some()
    }

    fn accept(&mut self, command: Command) {
        match command {
            Command::Later(content) => {
                let queued = content.and_then(|content| self.ledger.push(vec![content]));
                if let Err(why) = queued {
                    self.lost.get_or_insert(why);
                }
            }
            Command::Durable { contents, deadline, reply } => {
                let pushed = self.gone.clone().map_or_else(|| self.ledger.push(contents), Err);
                match (pushed, self.lost.take()) {
                    (Ok(last), None) => self.waiting.push(Waiting { last, deadline, reply }),
                    // Whoever wants to do something upon what stands in the journal hears that something is missing.
                    (Err(why), _) | (Ok(_), Some(why)) => {
                        let _ = reply.send(Append::Failed(why));
                    }
                }
            }
            Command::Settle(reply) => self.settling.push((self.ledger.last_id(), reply)),
        }
    }

    /// Answers whoever waits for what is written by now, or has waited long enough.
    fn reply_to_the_done(&mut self) {
        let taken = self.taken_over();
        let now = Instant::now();
        for waiting in std::mem::take(&mut self.waiting) {
            let answer = if taken {
                Append::TakenOver
            } else if !self.ledger.waits_for(waiting.last) {
                Append::Written
            } else if waiting.deadline <= now {
                // Not taken back: a try whose answer was lost may have written it, and the entries that follow must
                // fit either way.
                Append::Failed(self.last_error.clone())
            } else {
                self.waiting.push(waiting);
                continue;
            };
            let _ = waiting.reply.send(answer);
        }
        for (id, reply) in std::mem::take(&mut self.settling) {
            let answer = match (&self.gone, &self.lost) {
                _ if taken => Err("another process took the run over".to_owned()),
                (Some(why), _) | (None, Some(why)) => Err(why.clone()),
                (None, None) if !self.ledger.waits_for(id) => Ok(()),
                (None, None) => {
                    self.settling.push((id, reply));
                    continue;
                }
            };
            let _ = reply.send(answer);
        }
    }

    fn fail_all(&mut self, why: &str) {
        for waiting in std::mem::take(&mut self.waiting) {
            let _ = waiting.reply.send(Append::Failed(why.to_owned()));
        }
    }

    /// The next moment at which something is due.
    fn wake_before(&self, due: Instant) -> Instant {
        self.waiting.iter().map(|w| w.deadline).fold(due, Instant::min)
    }

    async fn attempt(&mut self) -> Tried {
        let (mark, patch) = self.ledger.patch();
        let error = match timeout(TRY, self.store.patch(&patch)).await {
            Ok(Ok(version)) => {
                self.ledger.written(mark, version);
                return Tried::Progress;
            }
            Ok(Err(e)) if is_conflict(&e) => return self.look().await,
            Ok(Err(e)) => e,
            Err(_) => return Tried::Again(format!("no answer in {TRY:?}")),
        };
        self.judge(&error)
    }

    /// After a conflict: whose write was it?
    async fn look(&mut self) -> Tried {
        let stored = match timeout(TRY, self.store.read()).await {
            Ok(Ok(stored)) => stored,
            Ok(Err(e)) => return self.judge(&e),
            Err(_) => return Tried::Again(format!("no answer in {TRY:?}")),
        };
        match self.ledger.conflict(stored.writer(), stored.resource_version.clone()) {
            Found::Ours => Tried::Progress,
            Found::Untouched => Tried::Again("it was changed by somebody else".to_owned()),
            Found::TakenOver => Tried::TakenOver,
        }
    }

    fn judge(&self, error: &kube::Error) -> Tried {
        match error {
            e if is_not_found(e) => Tried::Gone(format!("{} was deleted", self.store.title())),
            e if is_transient(e) => Tried::Again(explain(e)),
            e => Tried::Refused(explain(e)),
        }
    }
}

#[cfg(test)]
mod tests;
