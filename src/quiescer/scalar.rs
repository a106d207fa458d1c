//! ScalarDB and ScalarDL, full: an admin call makes each server let its outstanding requests end and refuse new ones
//! (`rpc.Admin`, scalar-labs/scalar-admin 2.2). It keeps nothing itself; the databases behind it are quiet then.
//!
//! A pause has no time limit and bears no name. What makes it ours is the Lease on the pod: who unpauses holds it. And
//! whoever was told that a pause is somebody else's leaves it alone.

use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use k8s_openapi::api::core::v1::{Container, Pod};
use prost::Message;

use super::verify::{Alone, Check};
use super::{
    Act, Answer, Channel, End, Ending, Probe, Quiescer, Reason, RecoveryPoint, Released, Script, Thawed, Token,
};
use crate::plan::release::{APP, Product};
use crate::protocol::Held;

#[cfg(test)]
mod tests;

/// ScalarDB Server, ScalarDB Cluster, ScalarDL Ledger and ScalarDL Auditor.
pub struct Scalar;

/// The adapter's name.
pub const NAME: &str = "scalar";
/// The setting with how long a server may wait for outstanding requests, in milliseconds.
pub const DRAIN: &str = "maxPauseWaitMillis";
/// The setting that says whether the server tells if it is paused.
const CHECKED: &str = "checkPaused";

const PAUSE: &str = "/rpc.Admin/Pause";
const UNPAUSE: &str = "/rpc.Admin/Unpause";
const CHECK_PAUSED: &str = "/rpc.Admin/CheckPaused";

/// How long an answer may take where nothing is waited for.
const ANSWER: Duration = Duration::from_secs(5);
/// How much longer than the server's own limit a pause is waited for.
const LATE: Duration = Duration::from_secs(3);

/// How long a call may be on its way whose connection is gone.
const ARRIVAL: Duration = Duration::from_secs(1);

/// gRPC's numbers.
const FAILED_PRECONDITION: i32 = 9;
const UNIMPLEMENTED: i32 = 12;

/// Reasons of `google.rpc.ErrorInfo`, domain `com.scalar.dl.admin` (ScalarDL).
mod reasons {
    /// Outstanding requests did not end; it serves again.
    pub(super) const TIMED_OUT: &str = "TIMED_OUT";
    /// The same, but another pause keeps it closed.
    pub(super) const TIMED_OUT_STILL_PAUSED: &str = "TIMED_OUT_STILL_PAUSED";
    /// It was not paused; or somebody else ended the pause while it waited.
    pub(super) const GATE_OPEN: &str = "GATE_OPEN";
    /// Another pause is at work.
    pub(super) const PAUSE_IN_PROGRESS: &str = "PAUSE_IN_PROGRESS";
}

/// `rpc.PauseRequest`.
#[derive(Clone, PartialEq, Message)]
struct PauseRequest {
    #[prost(bool, tag = "1")]
    wait_outstanding: bool,
    /// Milliseconds.
    #[prost(int64, optional, tag = "2")]
    max_pause_wait_time: Option<i64>,
}

/// `rpc.CheckPausedResponse`.
#[derive(Clone, PartialEq, Message)]
struct CheckPausedResponse {
    #[prost(bool, tag = "1")]
    paused: bool,
}

fn call(method: &'static str, message: Vec<u8>, within: Duration) -> Act {
    Act::Call { method, message, within }
}

fn check() -> Act {
    call(CHECK_PAUSED, Vec::new(), ANSWER)
}

fn unpause() -> Act {
    call(UNPAUSE, Vec::new(), ANSWER)
}

/// Whether it is paused; nothing where it did not say.
fn paused(answer: Option<&Answer>) -> Option<bool> {
    let answer = answer.filter(|answer| answer.ok())?;
    let message = BASE64_STANDARD.decode(answer.out.strip_prefix(super::MESSAGE)?).ok()?;
    CheckPausedResponse::decode(message.as_slice()).ok().map(|response| response.paused)
}

/// Whether the call was answered with a message.
fn done(answer: Option<&Answer>) -> bool {
    answer.is_some_and(|answer| answer.ok() && answer.out.starts_with(super::MESSAGE))
}

/// The server's own reason for a refusal.
fn reason(answer: Option<&Answer>) -> &str {
    answer.filter(|answer| matches!(answer.end, End::Exited(code) if code != 0)).map_or("", |a| a.out.as_str())
}

fn is_checked(probe: &Probe) -> bool {
    probe.setting(CHECKED) == "yes"
}

/// What an answer says that is not as asked.
fn told(answer: Option<&Answer>) -> String {
    match answer {
        None => "it was not asked".to_owned(),
        Some(Answer { end: End::Refused(why) | End::Unknown(why), .. }) => why.clone(),
        Some(Answer { end: End::Exited(UNIMPLEMENTED), .. }) => "it has no such admin service".to_owned(),
        Some(answer) if !answer.err.is_empty() => answer.err.clone(),
        Some(_) => "its answer cannot be read".to_owned(),
    }
}

/// Why a pause was not granted.
fn not_paused(probe: &Probe, answer: Option<&Answer>) -> Reason {
    let limit = probe.setting(DRAIN);
    let outstanding = format!("outstanding requests did not end within {limit} ms");
    let longer = "allow more with --max-pause-wait-time, or try when there is less load";
    match (reason(answer), answer.map(|answer| &answer.end)) {
        (reasons::TIMED_OUT_STILL_PAUSED, _) => {
            Reason::new(format!("{outstanding}, and somebody else's pause keeps it closed: that one is left as it is"))
                .hint("wait until that pause ends")
        }
        (reasons::PAUSE_IN_PROGRESS, _) => Reason::new("somebody else is pausing it now: that pause is left as it is")
            .hint("try again when it is over"),
        (reasons::GATE_OPEN, _) => Reason::new("somebody else ended the pause while it waited, and it serves again")
            .hint("find out who unpauses it, and try again"),
        (reasons::TIMED_OUT, _) | ("", Some(End::Exited(FAILED_PRECONDITION))) => {
            Reason::new(format!("{outstanding}, and it serves again")).hint(longer)
        }
        _ => Reason::new(format!("the pause was not granted: {}", told(answer))),
    }
}

impl Quiescer for Scalar {
    fn name(&self) -> &'static str {
        NAME
    }

    /// The charts give the container the chart's name; a pod of one container needs none.
    fn detects(&self, pod: &Pod, container: &Container) -> bool {
        let app = pod.metadata.labels.as_ref().and_then(|labels| labels.get(APP));
        let alone = pod.spec.as_ref().is_some_and(|spec| spec.containers.len() == 1);
        app.and_then(|app| Product::of_app(app)).is_some() && (alone || container.name.starts_with("scalar"))
    }

    fn probe(&self) -> Act {
        check()
    }

    fn read_probe(&self, answer: &Answer) -> Result<Probe, Vec<Reason>> {
        let probe = |checked: &str, notes: Vec<String>| Probe {
            role: "server".into(),
            stops_commits: true,
            keeps_nothing: true,
            settings: vec![(CHECKED.into(), checked.into())],
            notes,
            ..Probe::default()
        };
        match (paused(Some(answer)), &answer.end) {
            (Some(false), _) => Ok(probe("yes", Vec::new())),
            (Some(true), _) => Err(vec![Reason::new("it is paused already, by somebody else").hint(
                "wait until that pause ends; if a run of this program left it, end it with `kubectl \
                         consistent-backup thaw`, else with `scalar-admin -c unpause -a IP:PORT`",
            )]),
            (None, End::Exited(UNIMPLEMENTED)) => Ok(probe(
                "no",
                vec![
                    "it cannot be asked whether it is paused (no CheckPaused): that it was held is concluded from its \
                     answers to Pause and Unpause, and somebody else's unpause in between would not be seen"
                        .into(),
                ],
            )),
            (None, _) => {
                Err(vec![Reason::new(format!("its admin port does not answer: {}", told(Some(answer)))).hint(
                    "is it the right port, and is it encrypted (--tls, --ca-root-cert-path, --override-authority)?",
                )])
            }
        }
    }

    fn channels(&self, _: &Probe, _: &Token, _: Duration) -> Vec<Channel> {
        Vec::new()
    }

    /// Makes the connection: through the API server that takes a tenth of a second.
    fn prepare(&self, probe: &Probe, _: &Token) -> Script {
        if is_checked(probe) { vec![check()] } else { Vec::new() }
    }

    /// Since it was asked first somebody else may have paused it: that pause would be ended with ours.
    fn read_prepare(&self, probe: &Probe, answers: &[Answer]) -> Result<(), Reason> {
        if is_checked(probe) && paused(answers.first()) != Some(false) {
            let why = "it is not known to serve any more: somebody else may have paused it";
            return Err(Reason::new(why).hint("wait until that pause ends"));
        }
        Ok(())
    }

    fn hold(&self, probe: &Probe, _: &Token, left: Duration) -> Script {
        let limit = probe.setting(DRAIN).parse().map_or(left, Duration::from_millis).min(left);
        let request = PauseRequest {
            wait_outstanding: true,
            max_pause_wait_time: Some(i64::try_from(limit.as_millis()).unwrap_or(i64::MAX)),
        };
        let mut script = vec![call(PAUSE, request.encode_to_vec(), limit + LATE)];
        if is_checked(probe) {
            script.push(check());
        }
        script
    }

    fn read_hold(&self, probe: &Probe, answers: &[Answer]) -> Result<RecoveryPoint, Reason> {
        if !done(answers.first()) {
            return Err(not_paused(probe, answers.first()));
        }
        if !is_checked(probe) {
            return Ok(RecoveryPoint::default());
        }
        match paused(answers.get(1)) {
            Some(true) => Ok(RecoveryPoint::default()),
            Some(false) => Err(Reason::new("it is not paused although it said so: somebody else ended the pause")),
            None => Err(Reason::new(format!("it does not tell whether it is paused: {}", told(answers.get(1))))),
        }
    }

    /// The server itself said that no pause of ours is there, or that the one that is there is not ours.
    fn holds_nothing(&self, at_hold: &[Answer]) -> bool {
        let nothing =
            [reasons::TIMED_OUT, reasons::TIMED_OUT_STILL_PAUSED, reasons::PAUSE_IN_PROGRESS, reasons::GATE_OPEN];
        nothing.contains(&reason(at_hold.first()))
    }

    fn watch(&self, probe: &Probe) -> Script {
        if is_checked(probe) { vec![check()] } else { Vec::new() }
    }

    fn read_watch(&self, answers: &[Answer]) -> Option<String> {
        (paused(answers.first()) == Some(false)).then(|| "somebody else ended its pause".to_owned())
    }

    /// Nothing: what it acknowledged is with the databases, and those are flushed by their own adapters.
    fn flush(&self, _: &Probe, _: &Token) -> Script {
        Vec::new()
    }

    fn read_flush(&self, _: &Probe, answers: &[Answer]) -> Result<(), Reason> {
        if answers.is_empty() { Ok(()) } else { Err(Reason::new("it was asked what it was not to be asked")) }
    }

    fn thaw(&self, probe: &Probe, _: &Token) -> Script {
        if is_checked(probe) { vec![check(), unpause(), check()] } else { vec![unpause()] }
    }

    fn read_thaw(&self, probe: &Probe, _: &[Answer], answers: &[Answer]) -> Thawed {
        let (held, sent, why) = if is_checked(probe) {
            match paused(answers.first()) {
                Some(true) => (Held::Yes, answers.get(1), None),
                Some(false) => (Held::No, answers.get(1), Some("it was no longer paused".to_owned())),
                None => (Held::Unknown, answers.get(1), Some(told(answers.first()))),
            }
        } else if done(answers.first()) {
            (Held::Yes, answers.first(), None)
        } else {
            (Held::Unknown, answers.first(), Some(told(answers.first())))
        };
        let thawed = |held, released, why| Thawed { held, released, why, point: RecoveryPoint::default() };
        if reason(sent) == reasons::GATE_OPEN {
            return thawed(Held::No, true, Some("it was no longer paused".to_owned()));
        }
        let released = done(sent) && (!is_checked(probe) || paused(answers.get(2)) == Some(false));
        let why = why.or_else(|| (!released).then(|| told(answers.last())));
        thawed(held, released, why)
    }

    /// A pause whose answer never came may be on its way still, and would close the gate after its release: so it is given
    /// time to arrive.
    fn release(&self, probe: &Probe, token: &Token) -> Script {
        [vec![Act::Wait(ARRIVAL)], self.thaw(probe, token)].concat()
    }

    fn read_release(&self, answers: &[Answer]) -> Released {
        let last = answers.last();
        let gone = match answers {
            [_, sent] => done(Some(sent)),
            [_, _, sent, after] => done(Some(sent)) && paused(Some(after)) == Some(false),
            _ => false,
        };
        if gone || reason(last) == reasons::GATE_OPEN {
            return Released::Gone;
        }
        Released::Unknown(told(last))
    }

    fn ending(&self, _: &Probe) -> Ending {
        Ending::OnDevice
    }

    fn recovered(&self, _: &Probe) -> Act {
        check()
    }

    fn alone(&self, _: &Container, _: &Probe) -> Result<Alone, Reason> {
        Err(Reason::new("it keeps nothing itself: there is no copy that could be started"))
    }

    fn checks(&self, _: &Probe, _: Duration) -> Vec<Check> {
        Vec::new()
    }
}
