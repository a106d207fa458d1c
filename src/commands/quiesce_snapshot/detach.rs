//! `--detach`: another process of this program leads the run, in a session of its own, and this one ends once all is held.

use std::ffi::OsString;
use std::process::Stdio;

use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::process::Command;
use tokio::signal::unix::{self, SignalKind, signal};

use crate::cli::LEADER;
use crate::error::{Error, ExitCode};
use crate::output;

/// The line with which the leader says that all is held; the run, its namespace and the command that ends it follow.
const HELD: &str = "consistent-backup: held ";

/// What the leader says once all is held.
pub(super) fn say_held(text: &str) {
    // A line of its own, as one write.
    output::to_stdout(&format!("{HELD}{}", text.replace('\n', "\t")));
}

/// Starts the leader and waits until all is held: 0 then, else what it ended with.
pub(super) async fn start() -> Result<ExitCode, Error> {
    let failed = |what: &str| Error::failed(what.to_owned());
    let program = std::env::current_exe().map_err(|e| failed("this program cannot be found again").cause(e))?;
    let mut child = Command::new(program)
        .args(arguments())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|e| failed("the process that would hold could not be started").cause(e))?;
    let (Some(out), Some(err)) = (child.stdout.take(), child.stderr.take()) else {
        return Err(failed("the process that would hold cannot be heard"));
    };
    let talk = tokio::spawn(async move {
        let mut lines = BufReader::new(err).lines();
        while let Ok(Some(line)) = lines.next_line().await {
            output::to_stderr(&format!("{line}\n"));
        }
    });
    let mut out = BufReader::new(out);
    let mut line = String::new();
    // Until all is held an interrupt is meant for it: it hears none of the terminal's.
    let mut signals =
        [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()].map(|kind| signal(kind).ok());
    let [interrupt, terminate, hangup] = &mut signals;
    loop {
        tokio::select! {
            _ = out.read_line(&mut line) => break,
            () = came(interrupt) => {}
            () = came(terminate) => {}
            () = came(hangup) => {}
        }
        if let Some(leader) = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw) {
            let _ = kill_process(leader, Signal::TERM);
        }
    }
    if let Some(told) = line.strip_prefix(HELD) {
        output::to_stdout(told.trim_end().replace('\t', "\n").as_str());
        return Ok(ExitCode::Done);
    }
    let _ = out.read_to_string(&mut line).await;
    let status = child.wait().await.map_err(|e| failed("the process that would hold was lost").cause(e))?;
    let _ = talk.await;
    if !line.trim().is_empty() {
        output::to_stdout(line.trim_end());
    }
    ExitCode::of(status.code()).ok_or_else(|| {
        Error::held(format!("the process that would hold died ({status}): what it held may still be held"))
            .hint("release it with: kubectl consistent-backup thaw")
    })
}

/// This program's own arguments with the word that makes it the leader, right behind the subcommand: nothing of another
/// program's may stand before it.
fn arguments() -> Vec<OsString> {
    let mut all: Vec<OsString> = std::env::args_os().skip(1).collect();
    let at = all.iter().position(|word| word == "quiesce-snapshot").map_or(all.len(), |at| at + 1);
    all.insert(at, LEADER.into());
    all
}

/// The next of a signal, or never.
async fn came(signal: &mut Option<unix::Signal>) {
    match signal {
        Some(signal) => _ = signal.recv().await,
        None => std::future::pending().await,
    }
}
