//! SIGINT, SIGTERM and SIGHUP: the first breaks the run off, the second says what may be held, the third exits.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;

use crate::error::{Error, ExitCode};

/// The signals that arrived, and what to say at the second. One for the whole process: a second listener would count
/// and answer on its own, with what was held long ago.
#[derive(Clone)]
pub struct Signals {
    count: watch::Receiver<u32>,
    led: Arc<Mutex<Led>>,
}

/// What this process leads at the moment.
#[derive(Clone, Default)]
struct Led {
    /// The command that releases what this process would leave.
    thaw: String,
    /// What may be held.
    held: Vec<String>,
}

/// The next signal, or never.
async fn received(signal: Option<&mut Signal>) -> Option<()> {
    match signal {
        Some(signal) => signal.recv().await,
        None => std::future::pending().await,
    }
}

/// Whether SIGHUP was ignored when this process began, as far as the system tells (Linux: proc(5), SigIgn).
fn ignores_hangup() -> bool {
    std::fs::read_to_string("/proc/self/status")
        .is_ok_and(|status| ignored(&status, SignalKind::hangup().as_raw_value()))
}

/// Whether the mask of ignored signals has this number.
fn ignored(status: &str, number: i32) -> bool {
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or_default();
    mask >> (number - 1) & 1 == 1
}

impl Signals {
    /// Takes the signals over. From now on none of them ends the process by itself: a database may be held.
    ///
    /// `say` prints a line at once, whatever else is drawn.
    pub fn listen(say: impl Fn(&str) + Send + 'static) -> Result<Self, Error> {
        Self::take(say).map_err(|e| Error::failed("signals cannot be received").cause(e))
    }

    fn take(say: impl Fn(&str) + Send + 'static) -> std::io::Result<Self> {
        let led: Arc<Mutex<Led>> = Arc::default();
        let (sender, count) = watch::channel(0);
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut terminate = signal(SignalKind::terminate())?;
        // Who started it with nohup wants it to outlive the terminal: then it stays ignored.
        let mut hangup = if ignores_hangup() { None } else { Some(signal(SignalKind::hangup())?) };
        let now = led.clone();
        tokio::spawn(async move {
            loop {
                tokio::select! {
                    _ = interrupt.recv() => {}
                    _ = terminate.recv() => {}
                    Some(()) = received(hangup.as_mut()) => {}
                }
                sender.send_modify(|n| *n += 1);
                let Led { thaw, held } = now.lock().unwrap_or_else(PoisonError::into_inner).clone();
                let count = *sender.borrow();
                match (count, held.is_empty()) {
                    (1, true) => say("interrupted"),
                    (1, false) => say("interrupted: first what is held is released, and what is stopped is started"),
                    (2, true) => say("still finishing; nothing is held; once more exits at once"),
                    (2, false) => say(&format!(
                        "these may be held or stopped: {}; `{thaw}` brings them back; once more exits at once",
                        held.join(", ")
                    )),
                    (_, clean) => {
                        say(&format!("exiting; finish with: {thaw}"));
                        std::process::exit(if clean { ExitCode::Interrupted } else { ExitCode::Held } as i32);
                    }
                }
            }
        });
        Ok(Self { count, led })
    }

    /// From now on this process leads the run that this command finishes.
    pub fn lead(&self, thaw: String) {
        *self.led.lock().unwrap_or_else(PoisonError::into_inner) = Led { thaw, held: Vec::new() };
    }

    /// What a second signal names.
    pub fn set_held(&self, held: Vec<String>) {
        self.led.lock().unwrap_or_else(PoisonError::into_inner).held = held;
    }

    /// Whether one has arrived.
    pub fn came(&self) -> bool {
        *self.count.borrow() > 0
    }

    /// What `work` comes to, unless a signal comes first: for waiting that nothing depends on yet.
    pub async fn unless<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        tokio::select! {
            biased;
            () = self.first() => None,
            done = work => Some(done),
        }
    }

    /// Waits for the first, for ever if there is none.
    pub async fn first(&self) {
        let mut count = self.count.clone();
        if count.wait_for(|n| *n > 0).await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::ignored;

    #[test]
    fn nohup_is_seen() {
        let status = |mask: &str| format!("Name:\tx\nSigBlk:\t0000000000000001\nSigIgn:\t{mask}\nSigCgt:\t0\n");
        assert!(ignored(&status("0000000000000001"), 1));
        assert!(!ignored(&status("0000000000001000"), 1) && ignored(&status("0000000000001000"), 13));
        assert!(!ignored("", 1));
    }
}
