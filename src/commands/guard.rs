//! `guard`: what the guard pod runs. It arms itself once it has reached all that it watches, waits, and unpauses what is
//! paused then. Deleted before, it ends without doing anything.

use std::time::Duration;

use futures::future::join_all;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{Instant, sleep, timeout_at};

use crate::cli::Guard;
use crate::error::{Error, ExitCode};
use crate::escape::escape_line;
use crate::exec;
use crate::output;
use crate::plan::guard_pod::{ARMED, PATIENCE, WATCHED, Watched};
use crate::quiescer::{Answer, Quiescer, Released, Token, by_name};

/// How long it may take to reach all of them.
const REACH: Duration = Duration::from_secs(30);
/// Between two tries.
const PAUSE: Duration = Duration::from_millis(500);

/// Guards until it has released, or is told to end.
pub(super) async fn run(args: &Guard) -> Result<ExitCode, Error> {
    let told = std::env::var(WATCHED).unwrap_or_default();
    let watched: Vec<Watched> = serde_json::from_str(&told)
        .map_err(|e| Error::usage(format!("{WATCHED} does not say what to watch")).cause(e))?;
    let mut ended = signal(SignalKind::terminate()).map_err(|e| Error::failed("signals cannot be heard").cause(e))?;
    tokio::select! {
        result = guard(args.after, &watched) => result,
        _ = ended.recv() => {
            output::to_stderr("told to end: nothing was released");
            Ok(ExitCode::Done)
        }
    }
}

async fn guard(after: Duration, watched: &[Watched]) -> Result<ExitCode, Error> {
    let end = Instant::now() + REACH;
    let reached = join_all(watched.iter().map(|one| async move { timeout_at(end, reach(one)).await.is_ok() })).await;
    if let Some((one, _)) = watched.iter().zip(reached).find(|(_, reached)| !reached) {
        return Err(Error::failed(format!("{} cannot be reached at {}:{}", one.path, one.ip, one.endpoint.port)));
    }
    let begun = Instant::now();
    // The kubelet asks at the pod's address, whichever family that is of.
    let listening = match TcpListener::bind(("::", ARMED)).await {
        Err(_) => TcpListener::bind(("0.0.0.0", ARMED)).await,
        both => both,
    };
    let _armed = listening.map_err(|e| Error::failed(format!("cannot listen on port {ARMED}")).cause(e))?;
    output::to_stderr(&format!("armed: {} pods are unpaused in {after:?}", watched.len()));
    sleep(after.saturating_sub(begun.elapsed())).await;
    let end = Instant::now() + PATIENCE;
    let released = join_all(watched.iter().map(|one| async move { timeout_at(end, release(one)).await.is_ok() })).await;
    if released.iter().all(|released| *released) { Ok(ExitCode::Done) } else { Ok(ExitCode::Held) }
}

/// Until it has answered once.
async fn reach(one: &Watched) {
    while let Some(adapter) = by_name(&one.adapter) {
        // A refusal is an answer too: only that it can be spoken to counts.
        let answer = exec::directly(&one.ip, &one.endpoint, &adapter.probe()).await;
        if matches!(answer.end, crate::quiescer::End::Exited(_)) {
            return;
        }
        sleep(PAUSE).await;
    }
    std::future::pending::<()>().await;
}

/// Until it is seen released.
async fn release(one: &Watched) {
    loop {
        match try_release(one).await {
            Ok(()) => {
                output::to_stderr(&format!("{}: released", one.path));
                return;
            }
            Err(why) => output::to_stderr(&escape_line(&format!("{}: {why}", one.path))),
        }
        sleep(PAUSE).await;
    }
}

async fn try_release(one: &Watched) -> Result<(), String> {
    let adapter: &dyn Quiescer = by_name(&one.adapter).ok_or("this version has no such adapter")?;
    let mut answers: Vec<Answer> = Vec::new();
    // Its token is that it was not deleted: whoever has released deletes it first.
    for act in adapter.release(&one.probe, &Token { run: String::new(), attempt: 0 }) {
        let answer = exec::directly(&one.ip, &one.endpoint, &act).await;
        let ok = answer.ok();
        answers.push(answer);
        if !ok {
            break;
        }
    }
    match adapter.read_release(&answers) {
        Released::Gone => Ok(()),
        Released::Unknown(why) => Err(why),
    }
}
