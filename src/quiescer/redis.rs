//! Redis and Valkey, full: `CLIENT PAUSE … WRITE`, which ends by itself after its limit. With an append-only file that is
//! flushed under the pause; without one a dump is written under it.
//!
//! No command tells whether a pause lasts, and another's `CLIENT UNPAUSE` would end ours unseen. So a witness, a
//! harmless write on a connection of its own, waits from the hold to the thaw: while `CLIENT LIST` shows that very
//! connection blocked, the pause was never interrupted. A `redis-cli` that lost its connection makes a new one
//! without a word, but the new one does not bear the witness's name.

use std::time::Duration;

use k8s_openapi::api::core::v1::{Container, Pod};

use super::detect::{self, Signs};
use super::shell::{self, ANSWER, FLUSH, PREPARE, SESSION, SHELL, mark, reason};
use super::verify::{Alone, Check};
use super::{Act, Answer, Channel, Ending, Probe, Quiescer, Reason, RecoveryPoint, Released, Script, Thawed, Token};
use crate::protocol::Held;

mod aof;
mod probe;
mod rdb;
#[cfg(test)]
mod tests;
mod verify;
mod witness;

/// Redis and Valkey.
pub struct Redis;

/// How long a dump may take: the longest budget that makes sense.
const SAVE: Duration = Duration::from_secs(600);

const SIGNS: Signs = Signs {
    images: &["redis", "valkey"],
    names: &[],
    servers: &["redis-server", "valkey-server"],
    clients: &["redis-cli", "valkey-cli", "redis-benchmark", "valkey-benchmark"],
    port: 6379,
    ports: &["redis", "valkey", "tcp-redis"],
    env: &["REDIS_", "VALKEY_"],
};

/// Makes the client's command the positional parameters. Kubernetes sets REDIS_PORT to `tcp://…` where a Service is
/// named redis, so only digits count.
const CLIENT: &str = r#"if value_of REDIS_PASSWORD REDIS_MASTER_PASSWORD VALKEY_PASSWORD REDISCLI_AUTH; then export REDISCLI_AUTH="$value"; fi
port=6379
for number in "${REDIS_PORT-}" "${REDIS_PORT_NUMBER-}" "${VALKEY_PORT_NUMBER-}"; do
  case $number in ''|*[!0-9]*) ;; *) port=$number;; esac
done
client=redis-cli
command -v redis-cli >/dev/null 2>&1 || client=valkey-cli
set -- "$client" -h 127.0.0.1 -p "$port" --raw
"#;

/// The script with the client as positional parameters.
fn with_client(script: &str) -> String {
    format!("{CLIENT}{script}")
}

/// Sends commands and a mark behind them.
fn ask(on: u8, lines: &str, token: &Token, what: &str) -> Act {
    shell::ask(on, lines, |mark| format!("ECHO {mark}"), mark(token, what), ANSWER)
}

impl Quiescer for Redis {
    fn name(&self) -> &'static str {
        "redis"
    }

    fn detects(&self, _pod: &Pod, container: &Container) -> bool {
        detect::runs(&SIGNS, container)
    }

    fn probe(&self) -> Act {
        probe::act()
    }

    fn read_probe(&self, answer: &Answer) -> Result<Probe, Vec<Reason>> {
        probe::read(answer)
    }

    fn channels(&self, _probe: &Probe, _token: &Token, left: Duration) -> Vec<Channel> {
        let client = |id| Channel { id, argv: shell::sh(left, &with_client("exec $limit \"$@\"\n")), end: "quit\n" };
        vec![client(SESSION), shell::shell_channel(left), client(witness::CHANNEL)]
    }

    fn prepare(&self, probe: &Probe, token: &Token) -> Script {
        let every = Duration::from_millis(500);
        vec![
            // A connection that is lost loses its name: what redis-cli opens instead is not taken for it.
            ask(SESSION, &format!("CLIENT SETNAME {token}/session\n"), token, "session"),
            ask(witness::CHANNEL, &format!("CLIENT SETNAME {token}/witness\n"), token, "witness"),
            if rdb::only_dump(probe) {
                rdb::idle(token, "no-dump", every, PREPARE)
            } else {
                aof::poll(token, "not-rewriting", aof::not_rewriting, every, PREPARE)
            },
            shell::sync(probe, token, "presync", PREPARE),
        ]
    }

    fn hold(&self, probe: &Probe, token: &Token, left: Duration) -> Script {
        let manifest = format!("cat {} 2>/dev/null\n", shell::quote(&aof::manifest(probe)));
        let (every, within) = (Duration::from_millis(2), Duration::from_secs(5));
        vec![
            ask(SESSION, &format!("CLIENT PAUSE {} WRITE\n", left.as_millis().max(1)), token, "hold"),
            witness::send(probe, token),
            // It must be seen waiting now: a witness that came late would prove only the end of the hold.
            witness::seen(token, "witness-waits", "INFO replication\n", every, within),
            shell::ask(SHELL, &manifest, |mark| format!("echo {mark}"), mark(token, "manifest"), ANSWER),
        ]
    }

    fn read_hold(&self, probe: &Probe, answers: &[Answer]) -> Result<RecoveryPoint, Reason> {
        let listed = match answers {
            [paused, _, listed, ..] if paused.ok() && paused.out.trim() == "OK" => listed,
            _ => {
                let told = shell::told(answers.first());
                return Err(Reason::new(format!("the pause was not granted: {told}")));
            }
        };
        if !listed.ok() || !witness::waits(&listed.out) {
            return Err(Reason::new("a write sent after the pause was not held back"));
        }
        let info = |key| shell::after(&listed.out, key, ':').unwrap_or_default().trim_end();
        if info("role") != "master" {
            return Err(Reason::new("the server is no longer a master"));
        }
        let (id, offset) = (info("master_replid"), info("master_repl_offset"));
        let mut point = shell::point([("replicationId", id), ("replicationOffset", offset)]);
        if rdb::only_dump(probe) {
            point.0.insert("dump".into(), probe.setting("dbfilename").into());
        } else {
            aof::add_files(answers.get(3).map_or("", |answer| &answer.out), &mut point);
        }
        Ok(point)
    }

    fn flush(&self, probe: &Probe, token: &Token) -> Script {
        let (every, within) = (Duration::from_millis(20), Duration::from_secs(30));
        if rdb::only_dump(probe) {
            // The budget ends it: how long a dump takes is the data's size.
            let [begin, end] = rdb::save(token, every, SAVE);
            return vec![
                rdb::idle(token, "no-other-dump", every, SAVE),
                begin,
                end,
                shell::sync(probe, token, "flushed", FLUSH),
            ];
        }
        // First to the kernel, then to the device: `everysec` may leave both for later.
        vec![
            aof::poll(token, "handed-over", aof::handed_over, every, within),
            shell::sync(probe, token, "flushed", FLUSH),
        ]
    }

    fn read_flush(&self, probe: &Probe, answers: &[Answer]) -> Result<(), Reason> {
        if rdb::only_dump(probe) {
            return match answers {
                [_, _, saved, synced] if saved.ok() && rdb::saved(&saved.out) => shell::read_sync(Some(synced)),
                _ => Err(reason(
                    "the dump was not written in time, or not all of it",
                    "see rdb_last_bgsave_status in INFO persistence, and allow more with --quiesce-budget",
                )),
            };
        }
        match answers {
            [written, synced] if written.ok() && aof::handed_over(&written.out) => shell::read_sync(Some(synced)),
            _ => Err(reason(
                "the append-only file was not written in time",
                "see aof_last_write_status in INFO persistence",
            )),
        }
    }

    fn thaw(&self, _probe: &Probe, token: &Token) -> Script {
        let (every, within) = (Duration::from_millis(100), Duration::from_secs(2));
        vec![
            // The unpause follows only if it is still our pause: it would end anybody's.
            witness::seen(token, "still-waits", "", every, within),
            ask(SESSION, "CLIENT UNPAUSE\n", token, "thaw"),
            Act::Expect { on: witness::CHANNEL, until: witness::answered(token), within: ANSWER },
        ]
    }

    fn read_thaw(&self, _probe: &Probe, _at_hold: &[Answer], answers: &[Answer]) -> Thawed {
        let (listed, unpaused, answered) = (answers.first(), answers.get(1), answers.get(2));
        let released = unpaused.is_some_and(|answer| answer.ok() && answer.out.trim() == "OK");
        let out = listed.map_or("", |answer| answer.out.as_str());
        let (held, why) = match answered {
            Some(answer) if witness::waits(out) && answer.ok() && answer.out.trim() == "0" => (Held::Yes, None),
            Some(answer) if witness::waits(out) && answer.ok() => {
                (Held::No, Some(format!("the witness was refused: {}", shell::told(Some(answer)))))
            }
            _ if witness::waits(out) => {
                let told = shell::told(answered.or(unpaused));
                (Held::Unknown, Some(format!("the witness was not answered: {told}")))
            }
            _ if witness::listed(out) => {
                let why = "the witness no longer waited: the pause had ended or its connection was lost";
                (Held::No, Some(why.to_owned()))
            }
            _ => (Held::Unknown, Some(format!("the clients were not listed: {}", shell::told(listed)))),
        };
        shell::thawed(held, released, why)
    }

    fn release(&self, probe: &Probe, token: &Token) -> Script {
        // Three things must be seen together: no client of this run, and a write that is answered. UNPAUSE is sent
        // only while a client of this run is there: it would end anybody's pause.
        let script = format!(
            r#"brief=
if [ -n "$limit" ]; then brief='timeout 1'; fi
n=0
while [ $n -lt 5 ]; do
  list=$($limit "$@" CLIENT LIST) || exit
  case $list in id=*) ;; *) echo "the clients were not listed"; exit 4;; esac
  ours=$(printf '%s\n' "$list" | sed -n 's/^id=\([0-9]*\) .* name={pattern}\/.*/\1/p')
  if [ -n "$ours" ]; then
    $limit "$@" CLIENT UNPAUSE >/dev/null
    for id in $ours; do $limit "$@" CLIENT KILL ID "$id" >/dev/null; done
  else
    answer=$($brief "$@" {write})
    if [ "$answer" = 0 ]; then echo gone; exit 0; fi
    if [ -n "$answer" ]; then echo "a write that changes nothing is refused: $answer"; exit 4; fi
    echo "writes are paused, but no session of this run is there: somebody else's pause, or one that ends at its limit"
    exit 4
  fi
  n=$((n + 1)); sleep 0.1
done
echo "sessions of this run come back"
exit 4
"#,
            write = witness::in_shell(probe),
            pattern = token.to_string().replace('/', r"\/"),
        );
        vec![shell::once(&with_client(&script))]
    }

    fn read_release(&self, answers: &[Answer]) -> Released {
        shell::read_release(answers)
    }

    /// At SIGTERM it syncs its append-only file and, with save points, saves; without either it just ends
    /// ("Redis signal handling", redis.io).
    fn ending(&self, probe: &Probe) -> Ending {
        if probe.setting("appendonly") == "yes" || !probe.setting("save").is_empty() {
            return Ending::OnDevice;
        }
        Ending::Lost(
            Reason::new("it has neither an append-only file nor save points, so it ends without writing what it has")
                .hint("back it up without --cold: it is made to save then"),
        )
    }

    fn recovered(&self, _probe: &Probe) -> Act {
        let script = "[ \"$($limit \"$@\" PING)\" = PONG ] || exit\n\
            case $($limit \"$@\" INFO persistence | tr -d '\\r') in *loading:1*) exit 1;; *loading:0*) echo serves;; *) exit 2;; esac\n";
        shell::once(&with_client(script))
    }

    fn alone(&self, container: &Container, probe: &Probe) -> Result<Alone, Reason> {
        verify::alone(container, probe)
    }

    fn checks(&self, _probe: &Probe, time: Duration) -> Vec<Check> {
        verify::checks(time)
    }
}
