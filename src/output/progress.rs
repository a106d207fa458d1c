//! What the user sees while something happens: on a terminal a line that moves, otherwise one plain line an event.
//! All of it goes to stderr; stdout is for data.

use std::io::IsTerminal;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use crate::escape::escape_line;

/// How often the line moves.
const TICK: Duration = Duration::from_millis(120);

/// Where progress is told.
#[derive(Clone)]
pub struct Progress {
    bar: Option<ProgressBar>,
    begun: Instant,
    last: Arc<Mutex<String>>,
}

impl Default for Progress {
    fn default() -> Self {
        Self::new()
    }
}

impl Progress {
    /// Progress on stderr.
    pub fn new() -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::new_spinner();
            bar.set_style(
                ProgressStyle::with_template("{spinner} {elapsed:>4} {msg}")
                    .unwrap_or_else(|_| ProgressStyle::default_spinner()),
            );
            bar.enable_steady_tick(TICK);
            bar
        });
        Self { bar, begun: Instant::now(), last: Arc::default() }
    }

    /// What is being done now.
    pub fn step(&self, text: &str) {
        if let Some(bar) = &self.bar {
            bar.set_message(escape_line(text));
            return;
        }
        // One line an event: the same text again is no event.
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if *last != text {
            text.clone_into(&mut last);
            self.line(text);
        }
    }

    /// A line that stays. Line ends in it are escaped: a database's answer must not forge a line.
    pub fn say(&self, text: &str) {
        match &self.bar {
            Some(bar) => bar.suspend(|| super::to_stderr(&escape_line(text))),
            None => self.line(text),
        }
    }

    /// Several lines that stay: a plan, an error with its hints.
    pub fn show(&self, text: &str) {
        match &self.bar {
            Some(bar) => bar.suspend(|| super::to_stderr(text)),
            None => super::to_stderr(&self.stamped(text)),
        }
    }

    /// Data, on stdout. What moves is taken away meanwhile: both may be the same terminal, and would share a line.
    pub fn data(&self, text: &str) {
        match &self.bar {
            Some(bar) => bar.suspend(|| super::to_stdout(text)),
            None => super::to_stdout(text),
        }
    }

    /// Nothing more will be told; what moved is taken away.
    pub fn done(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }

    /// Goes on after [`done`](Self::done): a question stood there.
    pub fn go_on(&self) {
        if let Some(bar) = &self.bar {
            bar.reset();
            bar.enable_steady_tick(TICK);
        }
    }

    fn line(&self, text: &str) {
        super::to_stderr(&self.stamped(&escape_line(text)));
    }

    fn stamped(&self, text: &str) -> String {
        format!("{:7.3}s {text}", self.begun.elapsed().as_secs_f64())
    }
}
