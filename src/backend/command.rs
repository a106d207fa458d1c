//! The user's own command copies: a cloud's client, a vendor's tool. Exit code 0 is the proof.
//!
//! It runs in a process group of its own: an interrupt at the terminal ends the run, which releases the databases first
//! and the command after them.

use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::{Notify, watch};
use tokio::time::timeout;

use super::Ran;

/// What of the output is kept: its end, where failures are told.
const KEPT: usize = 8 << 10;
/// How long it has to end itself before it is killed.
const GRACE: Duration = Duration::from_secs(3);
/// How long output that is on its way is waited for: a process that it left behind may keep the pipe open.
const REST: Duration = Duration::from_millis(500);

/// A command that was started.
#[derive(Clone)]
pub struct Running {
    kill: Arc<Notify>,
    done: watch::Receiver<Option<Ran>>,
}

/// Starts it for this run and attempt. `say` is told each line that it writes.
pub fn start(
    argv: &[String],
    run: &str,
    attempt: u8,
    say: impl Fn(&str) + Send + Sync + 'static,
) -> Result<Running, String> {
    let (program, arguments) = argv.split_first().ok_or("no command was given")?;
    let mut child = Command::new(program)
        .args(arguments)
        .env("CONSISTENT_BACKUP_RUN", run)
        // What an earlier attempt's command made is no backup: who makes another must not take that one for it.
        .env("CONSISTENT_BACKUP_ATTEMPT", attempt.to_string())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .spawn()
        .map_err(|e| format!("the command could not be started: {program}: {e}"))?;
    let heard = Arc::new(Mutex::new(String::new()));
    let say = Arc::new(say);
    let pumps = [
        child.stdout.take().map(|out| tokio::spawn(pump(out, heard.clone(), say.clone()))),
        child.stderr.take().map(|err| tokio::spawn(pump(err, heard.clone(), say))),
    ];
    let (kill, (tell, done)) = (Arc::new(Notify::new()), watch::channel(None));
    let killed = kill.clone();
    tokio::spawn(async move {
        let (exit_code, killed) = ended(&mut child, &killed).await;
        for pump in pumps.into_iter().flatten() {
            let _ = timeout(REST, pump).await;
        }
        let output = heard.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let _ = tell.send(Some(Ran { exit_code, output, killed }));
    });
    Ok(Running { kill, done })
}

impl Running {
    /// Waits for its end.
    pub async fn ended(&mut self) -> Ran {
        match self.done.wait_for(Option::is_some).await {
            Ok(ran) => ran.clone().unwrap_or_default(),
            Err(_) => Ran::default(),
        }
    }

    /// Ends it with all that it started, if it has not ended yet.
    pub async fn kill(mut self) -> Ran {
        self.kill.notify_one();
        self.ended().await
    }
}

/// Waits for the end of the process, or for the word to end it.
async fn ended(child: &mut Child, kill: &Notify) -> (Option<i32>, bool) {
    let code = |status: std::io::Result<std::process::ExitStatus>| status.ok().and_then(|status| status.code());
    tokio::select! {
        status = child.wait() => return (code(status), false),
        () = kill.notified() => {}
    }
    let group = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
    if let Some(group) = group {
        let _ = kill_process_group(group, Signal::TERM);
        if let Ok(status) = timeout(GRACE, child.wait()).await {
            // What it started may not have ended with it.
            let _ = kill_process_group(group, Signal::KILL);
            return (code(status), true);
        }
        let _ = kill_process_group(group, Signal::KILL);
    }
    (code(child.wait().await), true)
}

async fn pump(from: impl AsyncRead + Unpin, heard: Arc<Mutex<String>>, say: Arc<impl Fn(&str)>) {
    let mut lines = BufReader::new(from).split(b'\n');
    while let Ok(Some(line)) = lines.next_segment().await {
        let line = String::from_utf8_lossy(&line);
        say(&line);
        let mut heard = heard.lock().unwrap_or_else(PoisonError::into_inner);
        heard.push_str(&line);
        heard.push('\n');
        if heard.len() > KEPT {
            let from = (heard.len() - KEPT..heard.len()).find(|&at| heard.is_char_boundary(at)).unwrap_or(0);
            heard.drain(..from);
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn argv(script: &str) -> Vec<String> {
        ["sh", "-c", script].map(str::to_owned).into()
    }

    #[tokio::test]
    async fn exit_code_and_output_are_told() {
        let said = Arc::new(Mutex::new(Vec::new()));
        let hear = said.clone();
        let mut running = start(
            &argv("echo $CONSISTENT_BACKUP_RUN $CONSISTENT_BACKUP_ATTEMPT; echo no >&2; exit 3"),
            "r1",
            2,
            move |line: &str| {
                hear.lock().unwrap().push(line.to_owned());
            },
        )
        .unwrap();
        let ran = running.ended().await;
        assert_eq!((ran.exit_code, ran.killed), (Some(3), false));
        let mut lines: Vec<&str> = ran.output.lines().collect();
        lines.sort_unstable();
        assert_eq!(lines, ["no", "r1 2"]);
        assert_eq!(said.lock().unwrap().len(), 2);
        assert!(ran.told().starts_with("the command ended with exit code 3: "));
    }

    #[tokio::test]
    async fn it_is_ended_with_all_that_it_started() {
        // The child of the command holds the pipe: only its own end closes it.
        let (tell, told) = std::sync::mpsc::channel();
        let running =
            start(&argv("sleep 1000 & echo $!; trap '' TERM; wait; sleep 1000"), "r1", 2, move |line: &str| {
                tell.send(line.to_owned()).unwrap();
            })
            .unwrap();
        let child = tokio::task::spawn_blocking(move || told.recv().unwrap()).await.unwrap();
        let ran = running.kill().await;
        assert!(ran.killed && ran.exit_code.is_none(), "{ran:?}");
        let ended = || {
            let state = std::fs::read_to_string(format!("/proc/{child}/stat")).unwrap_or_default();
            state.is_empty() || state.contains(") Z ")
        };
        while !ended() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    #[tokio::test]
    async fn what_cannot_be_started_is_named() {
        let why = start(&["/no/such/tool".to_owned()], "r1", 1, |_: &str| {}).err().unwrap();
        assert!(why.contains("/no/such/tool"), "{why}");
    }
}
