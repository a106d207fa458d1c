//! MariaDB and MySQL, full: commits are stopped by `BACKUP STAGE BLOCK_COMMIT` (MariaDB from 10.4.1), elsewhere by
//! `FLUSH TABLES WITH READ LOCK`.
//!
//! The lock lives and dies with its session, so a session that still owns the token's user lock still holds. The
//! client must therefore end at the first error and never reconnect (`--force`, `--reconnect`): both would go on
//! without the lock.

use std::time::Duration;

use k8s_openapi::api::core::v1::{Container, Pod};

use super::detect::{self, Signs};
use super::shell::{self, ANSWER, FLUSH, PREPARE, SESSION, mark, reason};
use super::verify::{Alone, Check};
use super::{
    Act, Answer, Channel, End, Ending, Probe, Quiescer, Reason, RecoveryPoint, Released, Script, Thawed, Token,
};
use crate::protocol::Held;

mod probe;
#[cfg(test)]
mod tests;
mod verify;

/// MariaDB, MySQL and Percona Server.
pub struct Mysql;

const SIGNS: Signs = Signs {
    images: &["mysql", "mariadb"],
    names: &["percona", "percona-server", "percona-xtradb-cluster"],
    servers: &["mysqld", "mariadbd", "mysqld_safe", "mariadbd-safe"],
    clients: &[
        "mysql",
        "mariadb",
        "mysqldump",
        "mariadb-dump",
        "mysqladmin",
        "mariadb-admin",
        "mariabackup",
        "xtrabackup",
    ],
    port: 3306,
    ports: &["mysql", "mariadb", "tcp-mysql"],
    env: &["MYSQL_", "MARIADB_"],
};

/// Makes the client's command the positional parameters. `--host=localhost`: MYSQL_HOST may name another server.
///
/// The session's own settings come with its first statement. The server's may be those of applications: a `sql_mode` in
/// which our statements mean something else, or limits that would end a hold. MySQL takes what stands in `/*!…*/` from
/// that version on, MariaDB leaves versions from 50700 on out, and alone takes `/*M!…*/` ("Comment Syntax", MariaDB manual).
const CLIENT: &str = r#"value_of MARIADB_ROOT_USER MYSQL_ROOT_USER || value=root
user=$value
if value_of MARIADB_ROOT_PASSWORD MYSQL_ROOT_PASSWORD; then export MYSQL_PWD="$value"; fi
client=mariadb
command -v mariadb >/dev/null 2>&1 || client=mysql
set -- "$client" --host=localhost --user="$user" --connect-timeout=5 --batch --skip-column-names --unbuffered --skip-reconnect \
  --init-command="SET SESSION sql_mode = '', autocommit = 1, sql_select_limit = 18446744073709551615, wait_timeout = 28800, net_write_timeout = 60/*M!100101 , max_statement_time = 0*//*M!100301 , idle_transaction_timeout = 0*//*!50708 , max_execution_time = 0*/"
"#;

/// The script with the client as positional parameters.
fn with_client(script: &str) -> String {
    format!("{CLIENT}{script}")
}

/// What asks for the binary log's position: MySQL from 8.2, and all others.
const BINLOG: [&str; 2] = ["SHOW BINARY LOG STATUS", "SHOW MASTER STATUS"];

/// The line before the binary log's position, whose own line begins with a name that anybody may have chosen.
const BINLOG_FOLLOWS: &str = "binlog\tfollows";

/// Whether this server knows `BACKUP STAGE`.
fn stages(probe: &Probe) -> bool {
    let numbers = probe.version.split(|c: char| !c.is_ascii_digit()).map_while(|n| n.parse::<u32>().ok());
    probe.version.contains("MariaDB") && numbers.take(3).ge([10, 4, 1])
}

/// Sends statements and a mark behind them.
fn ask(lines: &str, token: &Token, what: &str, within: Duration) -> Act {
    shell::ask(SESSION, lines, |mark| format!("SELECT '{mark}';"), mark(token, what), within)
}

/// How long the lock is waited for: everything that writes waits behind us meanwhile, so a third of what is left,
/// never more than ten seconds.
fn lock_wait(left: Duration) -> u64 {
    (left.as_secs() / 3).clamp(1, 10)
}

/// How long until InnoDB has surely written its log by itself, if that can be waited for under the hold.
fn log_interval(seconds: &str) -> Option<Duration> {
    let seconds: u64 = seconds.parse().ok()?;
    (1..=5).contains(&seconds).then(|| Duration::from_secs(2 * seconds))
}

/// The binary log's position, if the hold's answer has it in the form asked for.
fn binlog(out: &str) -> Option<(&str, &str)> {
    let row = out.lines().skip_while(|line| *line != BINLOG_FOLLOWS).nth(1)?;
    let mut columns = row.split('\t');
    let (file, position) = (columns.next()?, columns.next()?);
    position.parse::<u64>().is_ok().then_some((file, position))
}

impl Quiescer for Mysql {
    fn name(&self) -> &'static str {
        "mysql"
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
        let argv = shell::sh(left, &with_client("exec $limit \"$@\"\n"));
        vec![Channel { id: SESSION, argv, end: "\\q\n" }, shell::shell_channel(left)]
    }

    fn prepare(&self, probe: &Probe, token: &Token) -> Script {
        // The token is taken before the hold: a release must find the session whose hold is still on its way.
        let lock = format!("SELECT 'token', GET_LOCK('{token}', 0);\n");
        vec![shell::sync(probe, token, "presync", PREPARE), ask(&lock, token, "prepared", ANSWER)]
    }

    fn hold(&self, probe: &Probe, token: &Token, left: Duration) -> Script {
        let (left, wait) = (shell::seconds(left), lock_wait(left));
        let mut lines =
            vec![format!("SET @asked = SYSDATE();\nSET SESSION wait_timeout = {left}, lock_wait_timeout = {wait};")];
        if stages(probe) {
            // A stage waits several times, each up to lock_wait_timeout: this limits them together.
            lines.push(format!("SET SESSION max_statement_time = {wait};"));
        }
        lines.push(format!("SELECT 'wait', {wait};\nSELECT 'token', GET_LOCK('{token}', 0);"));
        let stage = "BACKUP STAGE START;\nBACKUP STAGE BLOCK_COMMIT;";
        lines.push(if stages(probe) { stage } else { "FLUSH TABLES WITH READ LOCK;" }.into());
        // The wait for the lock is part of the budget: without this a session whose client died meanwhile would hold
        // for as long again.
        lines.push(format!(
            "SET SESSION wait_timeout = GREATEST(1, LEAST({left}, {left} - TIMESTAMPDIFF(SECOND, @asked, SYSDATE())));"
        ));
        lines.push("SELECT 'session', CONNECTION_ID();".into());
        // It may come from a record, and the client would run a command of its own there (`system`).
        let status = BINLOG.iter().find(|statement| **statement == probe.setting("binlog_status"));
        if let Some(status) = status.filter(|_| probe.setting("log_bin") == "ON") {
            let gtid = if probe.version.contains("MariaDB") { "gtid_binlog_pos" } else { "gtid_executed" };
            lines.push(format!("SELECT 'binlog', 'follows';\n{status};"));
            lines.push(format!("SELECT 'gtid', REPLACE(@@global.{gtid}, CHAR(10), '');"));
        }
        // The lock may be waited for at each of three steps where the statement itself has no limit.
        let within = ANSWER + Duration::from_secs(3 * wait);
        vec![ask(&(lines.join("\n") + "\n"), token, "hold", within)]
    }

    fn read_hold(&self, _probe: &Probe, answers: &[Answer]) -> Result<RecoveryPoint, Reason> {
        let Some(answer) = answers.last() else {
            return Err(Reason::new("the hold was not asked for"));
        };
        let value = |key| shell::after(&answer.out, key, '\t');
        // Numbers, because the texts are translated: lock wait timeout, statement time exceeded.
        let waited = ["ERROR 1205 ", "ERROR 1969 "].iter().any(|number| answer.err.contains(number));
        if !answer.ok() && waited {
            return Err(reason(
                format!("the lock was not granted within {} s", value("wait").unwrap_or("some")),
                "a long statement, DDL or another backup is in the way: see SHOW PROCESSLIST",
            ));
        }
        if !answer.ok() {
            let told = shell::told(Some(answer));
            return Err(Reason::new(format!("the lock was not granted: {told}")));
        }
        if value("token") != Some("1") || value("session").is_none() {
            return Err(Reason::new("the answer to the hold was not understood, or the token is another session's"));
        }
        let asked = answer.out.lines().any(|line| line == BINLOG_FOLLOWS);
        match binlog(&answer.out) {
            None if asked => Err(Reason::new("the binary log's position was not understood")),
            None => Ok(RecoveryPoint::default()),
            Some((file, position)) => {
                let gtid = value("gtid").unwrap_or_default();
                Ok(shell::point([("binlogFile", file), ("binlogPosition", position), ("gtid", gtid)]))
            }
        }
    }

    fn flush(&self, probe: &Probe, token: &Token) -> Script {
        let mut script = Vec::new();
        // At 0 InnoDB's log is written by a background thread only, and FLUSH ENGINE LOGS hangs under the stage.
        if probe.setting("innodb_flush_log_at_trx_commit") == "0" {
            let interval = log_interval(probe.setting("innodb_flush_log_at_timeout"));
            script.extend(interval.map(Act::Wait));
        }
        script.push(shell::sync(probe, token, "flushed", FLUSH));
        script
    }

    fn read_flush(&self, _probe: &Probe, answers: &[Answer]) -> Result<(), Reason> {
        shell::read_sync(answers.last())
    }

    fn thaw(&self, probe: &Probe, token: &Token) -> Script {
        let end = if stages(probe) { "BACKUP STAGE END" } else { "UNLOCK TABLES" };
        // The user lock was taken twice, by prepare and hold.
        let lines = format!(
            "SELECT 'held', CONNECTION_ID(), IS_USED_LOCK('{token}');\n{end};\n\
             DO RELEASE_LOCK('{token}'), RELEASE_LOCK('{token}');\nSELECT 'released', 'yes';\n"
        );
        vec![ask(&lines, token, "thaw", ANSWER)]
    }

    fn read_thaw(&self, _probe: &Probe, at_hold: &[Answer], answers: &[Answer]) -> Thawed {
        let session = at_hold.last().and_then(|answer| shell::after(&answer.out, "session", '\t'));
        let answer = answers.last();
        let out = answer.map_or("", |answer| answer.out.as_str());
        let lock = shell::after(out, "held", '\t').and_then(|ids| ids.split_once('\t'));
        // A lost session is released by the server once it notices that: the release by token looks.
        let released = answer.is_some_and(Answer::ok) && shell::after(out, "released", '\t') == Some("yes");
        let lost = matches!(answer.map(|answer| &answer.end), Some(End::Exited(_)));
        let (held, why) = match (lock, session) {
            (Some((own, owner)), Some(session)) if own == owner && own == session => {
                let why = || format!("the release was not answered: {}", shell::told(answer));
                (Held::Yes, (!released).then(why))
            }
            (Some(_), Some(_)) => (Held::No, Some("the session no longer owned its token".into())),
            (Some(_), None) => (Held::Unknown, Some("the session at the hold is not known".into())),
            (None, _) if lost => (Held::No, Some(format!("the session was lost: {}", shell::told(answer)))),
            (None, _) => (Held::Unknown, Some(format!("the session did not answer: {}", shell::told(answer)))),
        };
        shell::thawed(held, released, why)
    }

    fn release(&self, _probe: &Probe, token: &Token) -> Script {
        // KILL may fail because the session has just gone. Proof is that neither the user lock nor its owner is there:
        // the user lock may be dropped a moment before the stage.
        let script = format!(
            r#"n=0 owner=0
while [ $n -lt 50 ]; do
  owner=$($limit "$@" -e "SELECT COALESCE(IS_USED_LOCK('{token}'), (SELECT ID FROM information_schema.PROCESSLIST WHERE ID = $owner))") || exit
  case $owner in
    NULL) echo gone; exit 0;;
    ''|*[!0-9]*) echo "the owner of the token was not understood"; exit 4;;
  esac
  $limit "$@" -e "KILL $owner" || :
  n=$((n + 1)); sleep 0.1
done
echo "session $owner still holds"
exit 4
"#
        );
        vec![shell::once(&with_client(&script))]
    }

    fn read_release(&self, answers: &[Answer]) -> Released {
        shell::read_release(answers)
    }

    /// InnoDB and Aria sync at a clean end; MyISAM only closes its files.
    fn ending(&self, _probe: &Probe) -> Ending {
        Ending::Written
    }

    fn recovered(&self, _probe: &Probe) -> Act {
        shell::once(&with_client("[ \"$($limit \"$@\" -e 'SELECT 1')\" = 1 ] && echo serves\n"))
    }

    fn alone(&self, container: &Container, probe: &Probe) -> Result<Alone, Reason> {
        verify::alone(container, probe)
    }

    fn checks(&self, _probe: &Probe, time: Duration) -> Vec<Check> {
        verify::checks(time)
    }
}
