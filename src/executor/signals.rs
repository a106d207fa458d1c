//! SIGINT, SIGTERM and SIGHUP: the first breaks the run off, the second says what may be held, the third exits.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use crate::error::ExitCode;

/// The signals that arrived, and what to say at the second.
#[derive(Clone)]
pub struct Signals {
    count: watch::Receiver<u32>,
    held: Arc<Mutex<Vec<String>>>,
}

impl Signals {
    /// Takes the signals over. From now on none of them ends the process by itself: a database may be held.
    ///
    /// `thaw` is the command that releases what this process leaves; `say` prints a line at once, whatever else is drawn.
    pub fn listen(thaw: String, say: impl Fn(&str) + Send + 'static) -> std::io::Result<Self> {
        let held: Arc<Mutex<Vec<String>>> = Arc::default();
        let (sender, count) = watch::channel(0);
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut terminate = signal(SignalKind::terminate())?;
        let mut hangup = signal(SignalKind::hangup())?;
        let names = held.clone();
        tokio::spawn(async move {
            loop {
                tokio::select! {
                    _ = interrupt.recv() => {}
                    _ = terminate.recv() => {}
                    _ = hangup.recv() => {}
                }
                sender.send_modify(|n| *n += 1);
                let held = names.lock().unwrap_or_else(PoisonError::into_inner).clone();
                let count = *sender.borrow();
                match (count, held.is_empty()) {
                    (1, true) => say("interrupted"),
                    (1, false) => say("interrupted: releasing what is held first"),
                    (2, true) => say("still finishing; nothing is held; once more exits at once"),
                    (2, false) => say(&format!(
                        "these may be held: {}; `{thaw}` releases them; once more exits at once",
                        held.join(", ")
                    )),
                    (_, clean) => std::process::exit(if clean { ExitCode::Interrupted } else { ExitCode::Held } as i32),
                }
            }
        });
        Ok(Self { count, held })
    }

    /// What a second signal names.
    pub fn set_held(&self, held: Vec<String>) {
        *self.held.lock().unwrap_or_else(PoisonError::into_inner) = held;
    }

    /// Whether one has arrived.
    pub fn came(&self) -> bool {
        *self.count.borrow() > 0
    }

    /// Waits for the first, for ever if there is none.
    pub async fn first(&self) {
        let mut count = self.count.clone();
        if count.wait_for(|n| *n > 0).await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}
