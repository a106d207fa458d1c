//! A command that is over in time, with everything it said.

use std::io::Read;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::{JoinHandle, sleep, spawn};
use std::time::{Duration, Instant};

use super::wait;

/// A command that runs, and is listened to.
pub struct Running {
    shown: String,
    child: Child,
    begun: Instant,
    stdout: Listener,
    stderr: Listener,
}

/// A command that ended.
#[derive(Debug)]
pub struct Ended {
    /// As it was typed.
    pub shown: String,
    pub status: ExitStatus,
    pub stdout: String,
    pub stderr: String,
    pub took: Duration,
}

impl Running {
    /// Starts it with nothing on stdin.
    pub fn start(command: &mut Command) -> Self {
        Self::start_with(command, Stdio::null())
    }

    fn start_with(command: &mut Command, stdin: Stdio) -> Self {
        let shown = shown(command);
        let mut child = command
            .stdin(stdin)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|e| panic!("{shown}: {e}"));
        let stdout = Listener::start(child.stdout.take().unwrap());
        let stderr = Listener::start(child.stderr.take().unwrap());
        Self { shown, child, begun: Instant::now(), stdout, stderr }
    }

    /// Whether it goes on.
    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// Waits until it has said this on stderr.
    pub fn until_says(&self, words: &str, within: Duration) {
        wait::until(&format!("`{words}` from {}", self.shown), within, || {
            let said = self.stderr.so_far();
            if said.contains(words) { Ok(()) } else { Err(said) }
        });
    }

    /// SIGKILL: it gets no chance to clean up.
    pub fn kill_hard(&mut self) {
        self.child.kill().unwrap();
    }

    /// Sends a signal by its name, such as INT.
    pub fn signal(&self, name: &str) {
        let id = self.child.id().to_string();
        run(Command::new("kill").args([&format!("-{name}"), &id])).done();
    }

    /// Waits until it is stopped; false if it ended instead.
    pub fn until_stopped(&mut self, within: Duration) -> bool {
        let stat = format!("/proc/{}/stat", self.child.id());
        wait::until(&format!("{} to be stopped", self.shown), within, || {
            let state = std::fs::read_to_string(&stat).unwrap_or_default();
            match state.rsplit_once(") ").map(|(_, rest)| rest.chars().next()) {
                Some(Some('T')) => Ok(true),
                _ if !self.is_running() => Ok(false),
                _ => Err(state),
            }
        })
    }

    /// Waits for its end; past `within` it is killed and the test fails.
    pub fn end(mut self, within: Duration) -> Ended {
        let end = Instant::now() + within;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                let took = self.begun.elapsed();
                let (stdout, stderr) = (self.stdout.all(), self.stderr.all());
                return Ended { shown: self.shown.clone(), status, stdout, stderr, took };
            }
            if Instant::now() >= end {
                let _ = self.child.kill();
                panic!("{} did not end within {} s; it said:\n{}", self.shown, within.as_secs(), self.stderr.so_far());
            }
            sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Running {
    /// A test that fails must not leave a plugin behind that holds databases.
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Ended {
    /// The exit code; a signal has none.
    pub fn code(&self) -> Option<i32> {
        self.status.code()
    }

    /// Whether SIGKILL ended it.
    pub fn was_killed(&self) -> bool {
        self.status.signal() == Some(9)
    }

    /// Fails unless the exit code is this.
    #[track_caller]
    pub fn exits(self, code: i32) -> Self {
        assert!(self.code() == Some(code), "expected exit code {code}\n{self}");
        self
    }

    /// Fails unless it succeeded.
    #[track_caller]
    pub fn done(self) -> Self {
        self.exits(0)
    }

    /// Fails unless stderr holds each of these.
    #[track_caller]
    pub fn says(self, words: &[&str]) -> Self {
        for word in words {
            assert!(self.stderr.contains(word), "expected `{word}` in what it says\n{self}");
        }
        self
    }

    /// Stdout as JSON.
    #[track_caller]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|e| panic!("no JSON: {e}\n{self}"))
    }
}

impl std::fmt::Display for Ended {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "$ {}\n{} after {:.1} s", self.shown, self.status, self.took.as_secs_f64())?;
        write!(f, "\n--- stdout\n{}\n--- stderr\n{}", self.stdout.trim_end(), self.stderr.trim_end())
    }
}

/// Runs a command that has a minute.
pub fn run(command: &mut Command) -> Ended {
    Running::start(command).end(Duration::from_mins(1))
}

/// Runs a command with this on its stdin.
pub fn run_with(command: &mut Command, stdin: &str) -> Ended {
    use std::io::Write;
    let mut running = Running::start_with(command, Stdio::piped());
    let mut pipe = running.child.stdin.take().unwrap();
    // A command that does not read its input says why on stderr.
    let _ = pipe.write_all(stdin.as_bytes());
    drop(pipe);
    running.end(Duration::from_mins(1))
}

/// What a pipe said so far, read by a thread.
struct Listener {
    said: Arc<Mutex<Vec<u8>>>,
    thread: Option<JoinHandle<()>>,
}

impl Listener {
    fn start(mut from: impl Read + Send + 'static) -> Self {
        let said = Arc::new(Mutex::new(Vec::new()));
        let heard = said.clone();
        let thread = spawn(move || {
            let mut part = [0; 8192];
            while let Ok(length @ 1..) = from.read(&mut part) {
                heard.lock().unwrap().extend_from_slice(&part[..length]);
            }
        });
        Self { said, thread: Some(thread) }
    }

    fn so_far(&self) -> String {
        String::from_utf8_lossy(&self.said.lock().unwrap()).into_owned()
    }

    /// Everything, once the command has ended.
    fn all(&mut self) -> String {
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
        self.so_far()
    }
}

fn shown(command: &Command) -> String {
    let program = std::path::Path::new(command.get_program()).file_name().unwrap_or_default();
    let words = std::iter::once(program).chain(command.get_args());
    words.map(|word| word.to_string_lossy().into_owned()).collect::<Vec<_>>().join(" ")
}
