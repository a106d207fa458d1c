//! A run's events in the cluster: one ConfigMap, written by one process at a time.
//!
//! Every write carries only its new keys and the resourceVersion it builds upon, so that two processes can never
//! both write, and the writer's own mark, so that a process whose answer was lost can tell its own write from
//! another's. The first write of another process ends ours for good.

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, timeout_at};

mod ledger;
pub mod parts;
pub mod release;
mod store;
mod stored;
mod writer;

pub use store::{New, create, delete, find, list, listed, load, put, take_over, unknown};
pub use stored::{Kind, Loaded, Stored, data};

use ledger::Content;
use writer::Command;

pub use crate::record::entry::Entry;

/// The answer to a write that had to be durable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Append {
    /// It is in the journal.
    Written,
    /// Another process took the run over. Nothing is written by this one any more.
    TakenOver,
    /// It is not known to be in the journal: what it was the intent of must not be done. It may be there, or come to
    /// be there with a later write.
    Failed(String),
}

/// The writing end of a journal; cheap to clone, usable from any task.
pub struct Journal<E> {
    commands: mpsc::UnboundedSender<Command>,
    taken: watch::Receiver<bool>,
    name: Arc<str>,
    events: PhantomData<fn(E)>,
}

impl<E> Clone for Journal<E> {
    fn clone(&self) -> Self {
        Self {
            commands: self.commands.clone(),
            taken: self.taken.clone(),
            name: self.name.clone(),
            events: PhantomData,
        }
    }
}

impl<E> fmt::Debug for Journal<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Journal({})", self.name)
    }
}

impl<E: Serialize + DeserializeOwned + Clone + Send> Journal<E> {
    /// The ConfigMap, as `NAMESPACE/NAME`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Writes these entries, after everything that was sent with `later`, and waits until that is certain.
    pub async fn durable(&self, entries: Vec<Entry<E>>, within: Duration) -> Append {
        self.durable_with(entries, Vec::new(), within).await
    }

    /// Writes one named key and waits until that is certain.
    pub async fn put(&self, key: &str, value: String, within: Duration) -> Append {
        self.durable_with(Vec::new(), vec![(key.to_owned(), value)], within).await
    }

    /// Writes entries and named keys in one go.
    pub async fn durable_with(&self, entries: Vec<Entry<E>>, keys: Vec<(String, String)>, within: Duration) -> Append {
        let deadline = Instant::now() + within;
        let mut contents = Vec::with_capacity(entries.len() + keys.len());
        for entry in &entries {
            match serde_json::to_string(entry) {
                Ok(text) => contents.push(Content::Entry(text)),
                Err(e) => return Append::Failed(format!("an event cannot be written: {e}")),
            }
        }
        contents.extend(keys.into_iter().map(|(key, value)| Content::Key(key, value)));
        let (reply, answer) = oneshot::channel();
        let command = Command::Durable { contents, deadline, reply };
        // Both fail only if the writer's task died, which only a bug can do.
        if self.commands.send(command).is_err() {
            return Append::Failed("the journal's writer stopped".to_owned());
        }
        match timeout_at(deadline, answer).await {
            Ok(Ok(append)) => append,
            Ok(Err(_)) => Append::Failed("the journal's writer stopped".to_owned()),
            Err(_) => Append::Failed(format!("{} did not answer in {within:?}", self.name)),
        }
    }

    /// Writes an entry soon, in order, without waiting. It may be lost if this process dies.
    pub fn later(&self, entry: &Entry<E>) {
        let content = serde_json::to_string(entry).map(Content::Entry);
        let _ = self.commands.send(Command::Later(content.map_err(|e| e.to_string())));
    }

    /// Writes a named key soon, in order with the entries, without waiting.
    pub fn later_put(&self, key: &str, value: String) {
        let content = Content::Key(key.to_owned(), value);
        let _ = self.commands.send(Command::Later(Ok(content)));
    }

    /// Waits until everything that was sent so far is written. An error says what is not.
    pub async fn settle(&self, within: Duration) -> Result<(), String> {
        let (reply, answer) = oneshot::channel();
        let stopped = || "the journal's writer stopped".to_owned();
        self.commands.send(Command::Settle(reply)).map_err(|_| stopped())?;
        match tokio::time::timeout(within, answer).await {
            Ok(answer) => answer.unwrap_or_else(|_| Err(stopped())),
            Err(_) => Err(format!("{} was not written within {within:?}", self.name)),
        }
    }

    /// Whether another process took the run over.
    pub fn taken_over(&self) -> bool {
        *self.taken.borrow()
    }

    /// Waits until another process has taken the run over. Only a write can find that out.
    pub async fn until_taken_over(&self) {
        let mut taken = self.taken.clone();
        if taken.wait_for(|taken| *taken).await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}
