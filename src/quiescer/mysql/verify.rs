//! A copy of MariaDB or MySQL: started without replication, events and network; then `CHECK TABLE` of every table.

use std::time::Duration;

use k8s_openapi::api::core::v1::Container;

use super::{SIGNS, with_client};
use crate::quiescer::verify::{
    Alone, BY_HAND, Check, Checked, ENDED, Isolation, LISTENERS, OVER, SHARED, facts, is_loopback, named, prepared,
    preparing, takes_arguments, within,
};
use crate::quiescer::{Answer, Probe, Reason, shell};

/// As options of a file and of the command line; `loose` lets a server start that does not know the option.
const OPTIONS: &[&str] = &[
    // A replica would take the real one's place at its primary. MySQL says `replica` from 8.0.26 on, MariaDB `slave`.
    "loose-skip-slave-start",
    "loose-skip-replica-start",
    // It would do its work a second time, maybe on other servers (FEDERATED, CONNECT).
    "event-scheduler=OFF",
    // Statements that somebody wrote for production's start.
    "init-file=",
    "bind-address=127.0.0.1",
    // X protocol (on by default from 8.0), the administrative interface and plugins do not heed `bind-address`.
    "loose-mysqlx=OFF",
    "loose-mysqlx-bind-address=127.0.0.1",
    "loose-admin-address=127.0.0.1",
    "loose-handlersocket=OFF",
    "loose-daemon-memcached=OFF",
    // On by default: the copy would join the real group as this very member ("Group Replication System Variables").
    "loose-group-replication-start-on-boot=OFF",
    "loose-wsrep-on=OFF",
    "loose-wsrep-provider=none",
    // MariaDB's own report about the server, sent over the network.
    "loose-feedback=OFF",
    // `mysqld-auto.cnf` is read last and wins over the command line ("Specifying Program Options").
    "loose-persisted-globals-load=OFF",
];

/// Options that a start program must not name itself where no arguments can follow it: they win over the copy's file, or
/// name files that are read instead of it or after it.
const ITS_OWN: &[&str] = &[
    "no-defaults",
    "defaults-file",
    "defaults-extra-file",
    "bind-address",
    "mysqlx",
    "admin-address",
    "event-scheduler",
    "init-file",
    "group-replication",
    "wsrep",
];
/// Where the server looks for the file with the copy's options.
const HOME: &str = "MYSQL_HOME";

/// How it is started, or why a copy of it would not be alone.
pub(super) fn alone(container: &Container, probe: &Probe) -> Result<Alone, Reason> {
    if !takes_arguments(container, SIGNS.servers) {
        if let Some(option) = named(container, ITS_OWN) {
            return Err(shell::reason(
                format!(
                    "its start program names `{option}` itself and takes no arguments, so a copy could not be kept on loopback"
                ),
                BY_HAND,
            ));
        }
        if container.env.iter().flatten().any(|env| env.name == HOME) {
            return Err(shell::reason(
                format!(
                    "its environment has {HOME} and its start program takes no arguments, so the copy's options would not be read"
                ),
                BY_HAND,
            ));
        }
    }
    let script = format!(
        r"cd {data} || {{ echo 'files|no'; return 1; }}
if [ -d mysql ]; then echo 'files|yes'; else echo 'files|no'; fi
rm -f master.info relay-log.info multi-master.info master-*.info relay-log-*.info mysqld-auto.cnf mysqld-auto.cnf.backup || return
printf '[mysqld]\n%s\n' {options} >{SHARED}/my.cnf && chmod 644 {SHARED}/my.cnf",
        data = shell::quote(probe.setting("datadir")),
        options = shell::quote(&OPTIONS.join("\n")),
    );
    Ok(Alone {
        prepare: preparing(&script),
        read: read_files,
        arguments: OPTIONS.iter().map(|option| format!("--{option}")).collect(),
        servers: SIGNS.servers,
        // The server reads my.cnf there, whatever its image's start script is.
        env: vec![(HOME, SHARED.to_owned())],
    })
}

/// Without its system tables a server is made anew by most images' start scripts: it would be empty, and well.
fn read_files(text: &str) -> Vec<Checked> {
    let facts = match prepared(text, "files") {
        Ok(facts) => facts,
        Err(checked) => return checked,
    };
    vec![match facts.get("files") {
        "yes" => Checked::passed("files", "the system tables are there"),
        _ => Checked::failed("files", "the data directory has no system tables (mysql)"),
    }]
}

/// Names that one server does not know are simply not answered. A member that was never started is OFFLINE.
const ISOLATED: &str = r#"said=$($limit "$@" -e "SHOW GLOBAL VARIABLES WHERE Variable_name IN ('event_scheduler', 'bind_address',
  'mysqlx_bind_address', 'admin_address', 'wsrep_on')") || exit
printf '%s\n' "$said" | tr '\t' '|'
$limit "$@" -e "SELECT CONCAT('member|', MEMBER_STATE) FROM performance_schema.replication_group_members" 2>/dev/null
for words in 'ALL SLAVES' 'REPLICA' 'SLAVE'; do
  if status=$($limit "$@" --vertical --column-names -e "SHOW $words STATUS" 2>/dev/null); then
    echo 'replication|asked'
    printf '%s\n' "$status" | sed -n 's/^ *[A-Za-z]*_\(IO\|SQL\)_Running: */running|/p'
    break
  fi
done
"#;

/// The tool prints a line a table: those that are well are only counted. A file's name may have a line break in it, and
/// would then answer in the tool's place.
const TABLES: &str = r#"check=mariadb-check
command -v mariadb-check >/dev/null 2>&1 || check=mysqlcheck
command -v "$check" >/dev/null 2>&1 || { echo 'none|the image has neither mariadb-check nor mysqlcheck'; echo end; exit; }
said=$($limit "$check" --host=localhost --user="$user" --all-databases 2>&1)
echo "code|$?"
printf '%s\n' "$said" | grep -c ' OK$' | sed 's/^/well|/'
printf '%s\n' "$said" | grep -v ' OK$' | head -n 60 | sed 's/^/said|/'
data=$($limit "$@" -e 'SELECT @@datadir')
for file in "$data"/'#sql'* "$data"/*/'#sql'*; do
  if [ -e "$file" ]; then printf 'left|%s\n' "$(printf '%s' "${file#"$data"/}" | tr -d '\000-\037\177')"; fi
done | head -n 20
echo end
"#;

/// What is asked once it serves.
pub(super) fn checks(time: Duration) -> Vec<Check> {
    let act = |script: &str| within(&with_client(script), time);
    vec![
        Check { name: "isolated", act: act(&format!("{ISOLATED}{LISTENERS}echo end\n")), read: read_isolated },
        Check { name: "tables", act: act(TABLES), read: read_tables },
    ]
}

fn read_isolated(answer: &Answer) -> Vec<Checked> {
    const NAME: &str = "isolated";
    let facts = match facts(answer, NAME) {
        Ok(facts) => facts,
        Err(checked) => return checked,
    };
    let mut isolated = Isolation::of(&facts);
    match facts.get("event_scheduler") {
        "" => isolated.unknown("it does not tell event_scheduler"),
        events => isolated.must(matches!(events, "OFF" | "DISABLED" | "0"), format!("event_scheduler={events}")),
    }
    for name in ["bind_address", "mysqlx_bind_address", "admin_address"] {
        // Without a value there is no such listener, or none that this server tells of.
        for addresses in facts.all(name).iter().filter(|addresses| !addresses.is_empty()) {
            isolated.must(is_loopback(addresses), format!("{name}={addresses}"));
        }
    }
    if facts.get("wsrep_on") == "ON" {
        isolated.must(false, "wsrep_on=ON");
    }
    for state in facts.all("member").iter().filter(|state| !matches!(state.as_str(), "" | "OFFLINE")) {
        isolated.must(false, format!("it is a member of a replication group ({state})"));
    }
    if facts.all("running").iter().any(|running| running != "No") {
        isolated.must(false, "it replicates from another server");
    } else if facts.get("replication") == "asked" {
        isolated.must(true, "no replication");
    } else {
        isolated.unknown("it does not tell whether it replicates");
    }
    vec![isolated.checked()]
}

fn read_tables(answer: &Answer) -> Vec<Checked> {
    const NAME: &str = "tables";
    let facts = match facts(answer, NAME) {
        Ok(facts) => facts,
        Err(checked) => return checked,
    };
    let left = match facts.all("left") {
        [] => Checked::passed("leftovers", "no #sql files"),
        some => Checked::passed("leftovers", format!("of statements that were under way: {}", some.join(", "))),
    };
    let (well, said) = (facts.get("well"), facts.all("said"));
    let (bad, remarks) = judged(said);
    let tables = if let Some(none) = facts.all("none").first() {
        Checked::missing(NAME, none.clone())
    } else if !bad.is_empty() {
        Checked::failed(NAME, bad.join("; "))
    } else if facts.get("code").parse().is_ok_and(|code| ENDED.contains(&code)) {
        Checked::unknown(NAME, format!("{OVER} after {well} tables"))
    } else if facts.get("code") != "0" {
        Checked::failed(NAME, format!("the check ended with exit code {}: {}", facts.get("code"), said.join("; ")))
    } else if matches!(well, "" | "0") {
        Checked::unknown(NAME, "no table was looked at")
    } else if remarks.is_empty() {
        Checked::passed(NAME, format!("{well} tables OK"))
    } else {
        Checked::passed(NAME, format!("{well} tables OK; {}", remarks.join("; ")))
    };
    vec![tables, left]
}

/// Of the lines that are not `TABLE OK`, those that tell of damage, and remarks. A table's name alone on a line is
/// followed by lines `KIND : TEXT` about it.
fn judged(lines: &[String]) -> (Vec<String>, Vec<String>) {
    let (mut bad, mut remarks) = (Vec::new(), Vec::new());
    let mut table: Option<&str> = None;
    for line in lines.iter().map(|line| line.trim()).filter(|line| !line.is_empty()) {
        let kind = line.split_once(':').map(|(kind, text)| (kind.trim().to_lowercase(), text.trim()));
        match kind {
            Some((kind, text)) if matches!(kind.as_str(), "note" | "info" | "warning") => {
                remarks.push(format!("{}: {text}", table.unwrap_or("?")));
                table = table.filter(|_| kind == "warning");
            }
            Some((kind, text)) if matches!(kind.as_str(), "error" | "status") => {
                bad.push(format!("{}: {text}", table.unwrap_or("?")));
                table = None;
            }
            // A name, or what the tool itself says; after another name nothing was said of that one.
            _ => {
                bad.extend(table.filter(|t| !bad.iter().chain(&remarks).any(|b| b.starts_with(*t))).map(str::to_owned));
                table = Some(line);
            }
        }
    }
    bad.extend(table.filter(|t| !bad.iter().chain(&remarks).any(|b| b.starts_with(*t))).map(str::to_owned));
    (bad, remarks)
}

#[cfg(test)]
mod tests;
