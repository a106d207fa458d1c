//! PostgreSQL, light: nothing is held, the cut is the instant, and the copy recovers to it like after a power loss.
//! Where the plan wants commits to be stopped, its tables are locked as well (`full`).
//!
//! That needs data directory, WAL and tablespaces cut at one instant, `fsync`, and every acknowledged commit in the
//! WAL on the device. Sessions may have set `synchronous_commit` off for themselves, so one synchronous commit of ours
//! is always made: it writes all WAL before it. Held is proved by "still the same": our session lives, and it sees the
//! same start of the server, the same timeline and no recovery.

use std::time::Duration;

use k8s_openapi::api::core::v1::{Container, Pod};

use super::detect::{self, Signs};
use super::recovery::{Recovered, Recovery, Wanted};
use super::shell::{self, ANSWER, FLUSH, PREPARE, SESSION, mark};
use super::verify::{Alone, Check, Unarchived};
use super::{
    Act, Answer, Channel, End, Ending, Probe, Quiescer, Reason, RecoveryPoint, Released, Script, Thawed, Token,
};
use crate::protocol::Held;
use client::{APP, with_client};

mod archive;
mod client;
mod full;
mod probe;
mod recovery;
#[cfg(test)]
mod tests;
mod unarchived;
mod verify;
mod wal;

/// PostgreSQL and what is built on it.
pub struct Postgres;

const SIGNS: Signs = Signs {
    images: &["postgres", "postgresql", "timescale", "timescaledb", "pgvector", "postgis", "citus", "spilo"],
    names: &[],
    servers: &["postgres", "postmaster"],
    clients: &["psql", "pg_dump", "pg_dumpall", "pg_basebackup", "pg_restore", "pg_isready"],
    port: 5432,
    ports: &["postgres", "pgsql", "tcp-postgres"],
    env: &["POSTGRES_", "POSTGRESQL_", "PGDATA"],
};

/// What must not change while it is held. The WAL file's name has the timeline at once; the control file has it only
/// after the first checkpoint that follows a promotion. The server cuts long names: `release` would not find them.
const STATE: &str = "SELECT 'state', extract(epoch FROM pg_postmaster_start_time()), pg_is_in_recovery(), \
current_setting('application_name') = 'TOKEN', \
CASE WHEN pg_is_in_recovery() THEN 0 ELSE ('x' || substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8))::bit(32)::int END, \
CASE WHEN pg_is_in_recovery() THEN NULL ELSE pg_current_wal_lsn() END;\n";

/// Whether a session outside a transaction can be given a deadline (`idle_session_timeout`, from 14).
fn idle_deadline(probe: &Probe) -> bool {
    probe.setting("server_version_num").parse::<u32>().is_ok_and(|version| version >= 140_000)
}

/// Asks for the state.
fn ask_state(token: &Token) -> String {
    STATE.replace("TOKEN", &token.to_string())
}

/// `(start, timeline, lsn)` if the state is that of a primary under this token's name.
fn state(out: &str) -> Option<[String; 3]> {
    let fields: Vec<&str> = shell::after(out, "state", '|')?.split('|').collect();
    let [start, "f", "t", timeline, lsn] = fields[..] else {
        return None;
    };
    let known = !start.is_empty() && timeline.parse::<u32>().is_ok_and(|n| n > 0) && lsn.contains('/');
    known.then(|| [start, timeline, lsn].map(str::to_owned))
}

/// Sends commands and a mark behind them.
fn ask(lines: &str, token: &Token, what: &str, within: Duration) -> Act {
    shell::ask(SESSION, lines, |mark| format!("\\echo {mark}"), mark(token, what), within)
}

impl Quiescer for Postgres {
    fn name(&self) -> &'static str {
        "postgres"
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

    fn channels(&self, probe: &Probe, token: &Token, left: Duration) -> Vec<Channel> {
        let script = with_client(probe, &token.to_string(), "exec $limit \"$@\"\n");
        let own = Channel { id: SESSION, argv: shell::sh(left, &script), end: "\\q\n" };
        [vec![own, shell::shell_channel(left)], full::channels(probe, token, left)].concat()
    }

    fn prepare(&self, probe: &Probe, token: &Token) -> Script {
        let checkpoint = if probe.setting("checkpoint") == "t" { "CHECKPOINT;\n" } else { "" };
        let first =
            if probe.archives { archive::start(probe, token) } else { ask(checkpoint, token, "prepared", PREPARE) };
        vec![first, shell::sync(probe, token, "presync", PREPARE)]
    }

    fn hold(&self, probe: &Probe, token: &Token, left: Duration) -> Script {
        let ms = left.as_millis().max(1);
        // Before 14 only a session inside a transaction can be given a deadline.
        let deadline =
            if idle_deadline(probe) { "idle_session_timeout" } else { "idle_in_transaction_session_timeout" };
        let begin = if idle_deadline(probe) { "" } else { "BEGIN;\n" };
        // statement_timeout: a commit that hangs in the device must not outlive the budget either.
        let limits = format!("SET {deadline} = {ms}; SET statement_timeout = {ms};\n");
        let mut script = full::hold(probe, token, left);
        script.push(ask(&(limits + begin + &ask_state(token)), token, "hold", ANSWER));
        script
    }

    fn read_hold(&self, probe: &Probe, answers: &[Answer]) -> Result<RecoveryPoint, Reason> {
        full::read_hold(probe, answers)?;
        let Some(answer) = answers.last().filter(|answer| answer.ok()) else {
            let told = shell::told(answers.last());
            return Err(Reason::new(format!("the session did not answer: {told}")));
        };
        match state(&answer.out) {
            Some([_, timeline, lsn]) => Ok(shell::point([("lsn", lsn), ("timeline", timeline)])),
            None => Err(Reason::new("the server is in recovery, or its state was not understood")),
        }
    }

    fn flush(&self, probe: &Probe, token: &Token) -> Script {
        let (end, begin) = if idle_deadline(probe) { ("", "") } else { ("COMMIT;\n", "BEGIN;\n") };
        // `local`: waiting for a standby that is gone would hang here; the copy is of this server alone.
        let lines = format!(
            "{end}BEGIN READ WRITE; SET LOCAL synchronous_commit = local; \
             SELECT 'message', pg_logical_emit_message(true, '{APP}', '{token}'); COMMIT;\n\
             SELECT 'flushed', pg_current_wal_flush_lsn();\n{begin}"
        );
        // The server syncs its data and WAL, but nobody syncs an edited postgresql.conf: a copy was seen whose last line
        // was zeros, and which did not start.
        vec![ask(&lines, token, "flushed", FLUSH), shell::sync(probe, token, "synced", FLUSH)]
    }

    fn read_flush(&self, _probe: &Probe, answers: &[Answer]) -> Result<(), Reason> {
        let answer = answers.first();
        let flushed = answer.filter(|answer| answer.ok()).and_then(|answer| shell::after(&answer.out, "flushed", '|'));
        match flushed {
            Some(lsn) if lsn.contains('/') => shell::read_sync(answers.get(1)),
            _ => Err(Reason::new(format!("the flushing commit failed: {}", shell::told(answer)))),
        }
    }

    fn thaw(&self, probe: &Probe, token: &Token) -> Script {
        let end = if idle_deadline(probe) { "" } else { "COMMIT;\n" };
        let mut script = full::thaw(probe, token);
        let stop = if probe.archives { archive::stop(probe) } else { String::new() };
        script.push(ask(&(ask_state(token) + &full::ask_others(probe) + &stop + end), token, "thaw", ANSWER));
        script
    }

    fn read_thaw(&self, probe: &Probe, at_hold: &[Answer], answers: &[Answer]) -> Thawed {
        if let (held @ (Held::No | Held::Unknown), released, why) = full::read_thaw(probe, at_hold, answers) {
            return shell::thawed(held, released, why);
        }
        let answer = answers.get(full::databases(probe).len());
        let then = at_hold.last().and_then(|answer| state(&answer.out));
        let now = answer.and_then(|answer| state(&answer.out));
        // This session holds nothing, so nothing is left once it is gone or has answered.
        let released = matches!(answer.map(|answer| &answer.end), Some(End::Answered | End::Exited(_)));
        let (held, why) = match (answer.map(|answer| &answer.end), then, now) {
            (Some(End::Answered), Some([start, timeline, _]), Some([start_now, timeline_now, _])) => {
                let same = start == start_now && timeline == timeline_now;
                let why = "the server was restarted or changed its timeline".to_owned();
                if same { (Held::Yes, None) } else { (Held::No, Some(why)) }
            }
            (Some(End::Answered), Some(_), None) => {
                (Held::No, Some("the server is in recovery, or its state was not understood".into()))
            }
            (Some(End::Answered), None, _) => (Held::Unknown, Some("the state at the hold is not known".into())),
            (Some(End::Exited(_)), ..) => (Held::No, Some(format!("the session was lost: {}", shell::told(answer)))),
            (Some(End::Refused(_) | End::Unknown(_)) | None, ..) => {
                (Held::Unknown, Some(format!("the session did not answer: {}", shell::told(answer))))
            }
        };
        let mut thawed = shell::thawed(held, released, why);
        if probe.archives && thawed.held == Held::Yes {
            match archive::read_stop(answer) {
                Ok(point) => thawed.point = point,
                Err(why) => (thawed.held, thawed.why) = (Held::No, Some(why)),
            }
        }
        thawed
    }

    fn release(&self, probe: &Probe, token: &Token) -> Script {
        // Asked again until none is listed: a terminated backend is there for some moments.
        let script = format!(
            r#"n=0
while [ $n -lt 50 ]; do
  left=$($limit "$@" -c "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE application_name = '{token}' AND pid <> pg_backend_pid()") || exit
  if [ "$left" = 0 ]; then echo gone; exit 0; fi
  n=$((n + 1)); sleep 0.1
done
echo "$left sessions of this run are still there"
exit 4
"#
        );
        vec![shell::once(&with_client(probe, APP, &script))]
    }

    fn read_release(&self, answers: &[Answer]) -> Released {
        shell::read_release(answers)
    }

    /// The shutdown checkpoint syncs every file ("Shutting Down the Server", PostgreSQL manual).
    fn ending(&self, _probe: &Probe) -> Ending {
        Ending::OnDevice
    }

    fn archived(&self, probe: &Probe, point: &RecoveryPoint) -> Option<Act> {
        archive::archived(probe, point)
    }

    fn after_restore(&self, probe: &Probe, point: &RecoveryPoint) -> Option<String> {
        wal::collisions(probe, point)
    }

    fn recovery(
        &self,
        container: &Container,
        probe: &Probe,
        point: &RecoveryPoint,
        wanted: &Wanted,
    ) -> Result<Recovery, Vec<Reason>> {
        recovery::recovery(container, probe, point, wanted)
    }

    fn recovered_by_log(&self, probe: &Probe) -> Option<Act> {
        Some(recovery::recovered(probe))
    }

    fn read_recovered_by_log(&self, point: &RecoveryPoint, answer: &Answer) -> Result<Recovered, String> {
        recovery::read_recovered(point, answer)
    }

    fn recovery_failed(&self, log: &str) -> Option<String> {
        recovery::failed(log)
    }

    fn recovered(&self, probe: &Probe) -> Act {
        let script = "[ \"$($limit \"$@\" -c 'SELECT NOT pg_is_in_recovery()')\" = t ] && echo serves\n";
        shell::once(&with_client(probe, APP, script))
    }

    fn alone(&self, container: &Container, probe: &Probe) -> Result<Alone, Reason> {
        verify::alone(container, probe)
    }

    fn unarchived(&self, container: &Container, probe: &Probe) -> Option<Result<Unarchived, Reason>> {
        unarchived::unarchived(container, probe)
    }

    fn checks(&self, probe: &Probe, time: Duration) -> Vec<Check> {
        verify::checks(probe, time)
    }
}
