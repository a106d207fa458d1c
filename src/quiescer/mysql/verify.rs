//! A copy of MariaDB or MySQL: started without replication, events and network; then `CHECK TABLE` of every table.

use std::time::Duration;

use k8s_openapi::api::core::v1::Container;

use super::{SIGNS, with_client};
use crate::quiescer::verify::{Alone, Check, Checked, ENDED, OVER, SHARED, facts, prepared, preparing, within};
use crate::quiescer::{Answer, Probe, shell};

/// As options of a file and of the command line. A replica would take the real one's place at its primary; an event
/// would do its work a second time, maybe on other servers (FEDERATED, CONNECT).
const OPTIONS: [&str; 3] = ["skip-slave-start", "event-scheduler=OFF", "bind-address=127.0.0.1"];

/// How it is started.
pub(super) fn alone(_container: &Container, probe: &Probe) -> Alone {
    let script = format!(
        r"cd {data} || {{ echo 'files|no'; return 1; }}
if [ -d mysql ]; then echo 'files|yes'; else echo 'files|no'; fi
rm -f master.info relay-log.info multi-master.info master-*.info relay-log-*.info || return
printf '[mysqld]\n%s\n' {options} >{SHARED}/my.cnf && chmod 644 {SHARED}/my.cnf",
        data = shell::quote(probe.setting("datadir")),
        options = shell::quote(&OPTIONS.join("\n")),
    );
    Alone {
        prepare: preparing(&script),
        read: read_files,
        arguments: OPTIONS.iter().map(|option| format!("--{option}")).collect(),
        servers: SIGNS.servers,
        // The server reads my.cnf there, whatever its image's start script is.
        env: vec![("MYSQL_HOME", SHARED.to_owned())],
    }
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

const ISOLATED: &str = r#"$limit "$@" -e "SELECT CONCAT('events|', @@event_scheduler)" || exit
for words in 'ALL SLAVES' 'REPLICA' 'SLAVE'; do
  if status=$($limit "$@" --vertical --column-names -e "SHOW $words STATUS" 2>/dev/null); then
    echo 'replication|asked'
    printf '%s\n' "$status" | sed -n 's/^ *[A-Za-z]*_\(IO\|SQL\)_Running: */running|/p'
    break
  fi
done
echo end
"#;

/// The tool prints a line a table: those that are well are only counted.
const TABLES: &str = r#"check=mariadb-check
command -v mariadb-check >/dev/null 2>&1 || check=mysqlcheck
command -v "$check" >/dev/null 2>&1 || { echo 'none|the image has neither mariadb-check nor mysqlcheck'; echo end; exit; }
said=$($limit "$check" --host=localhost --user="$user" --all-databases 2>&1)
echo "code|$?"
printf '%s\n' "$said" | grep -c ' OK$' | sed 's/^/well|/'
printf '%s\n' "$said" | grep -v ' OK$' | head -n 60 | sed 's/^/said|/'
data=$($limit "$@" -e 'SELECT @@datadir')
for file in "$data"/'#sql'* "$data"/*/'#sql'*; do
  if [ -e "$file" ]; then echo "left|${file#"$data"/}"; fi
done | head -n 20
echo end
"#;

/// What is asked once it serves.
pub(super) fn checks(time: Duration) -> Vec<Check> {
    let act = |script: &str| within(&with_client(script), time);
    vec![
        Check { name: "isolated", act: act(ISOLATED), read: read_isolated },
        Check { name: "tables", act: act(TABLES), read: read_tables },
    ]
}

fn read_isolated(answer: &Answer) -> Vec<Checked> {
    const NAME: &str = "isolated";
    let facts = match facts(answer, NAME) {
        Ok(facts) => facts,
        Err(checked) => return checked,
    };
    let events = facts.get("events");
    let runs = facts.all("running").iter().any(|running| running != "No");
    vec![if !matches!(events, "OFF" | "DISABLED" | "0") {
        Checked::failed(NAME, format!("event_scheduler is {events}"))
    } else if runs {
        Checked::failed(NAME, "it replicates from another server")
    } else if facts.get("replication") != "asked" {
        Checked::unknown(NAME, "it does not tell whether it replicates")
    } else {
        Checked::passed(NAME, "no replication, no events")
    }]
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
