//! What is asked of MariaDB or MySQL before anything is touched, and what of its answers stands in the way.

use super::{log_interval, with_client};
use crate::quiescer::shell::{self, Facts, reason};
use crate::quiescer::{Act, Answer, LOST_REPLICA, Probe, REPLICA, Reason};

/// Where credentials are looked for; named in refusals.
const LOOKED_AT: &str = "MARIADB_ROOT_PASSWORD, MYSQL_ROOT_PASSWORD (user: MARIADB_ROOT_USER, MYSQL_ROOT_USER, root)";

/// Settings in the record: what decides durability, and what a restored copy needs.
const SETTINGS: &str = "datadir version_comment innodb_flush_log_at_trx_commit innodb_flush_log_at_timeout \
    innodb_flush_method innodb_doublewrite innodb_page_size innodb_data_file_path log_bin \
    sync_binlog binlog_format server_id gtid_mode gtid_domain_id lower_case_table_names \
    character_set_server read_only binlog_status";

/// Directories with data beside `datadir`; tables may also live behind links in it (`DATA DIRECTORY`).
/// The replica's status is asked in every version's words; if none is understood, nothing is known.
const PROBE: &str = r#"facts=$($limit "$@" <<'END'
SELECT 'version', VERSION();
SELECT 'privilege', PRIVILEGE_TYPE FROM information_schema.USER_PRIVILEGES
  WHERE GRANTEE = CONCAT('''', REPLACE(CURRENT_USER(), '@', '''@'''), '''');
SHOW GLOBAL VARIABLES WHERE Variable_name IN ('datadir', 'version_comment', 'innodb_flush_log_at_trx_commit',
  'innodb_flush_log_at_timeout', 'innodb_flush_method', 'innodb_doublewrite', 'innodb_page_size', 'innodb_data_file_path',
  'log_bin', 'log_bin_basename', 'sync_binlog', 'binlog_format', 'server_id', 'gtid_mode', 'gtid_domain_id',
  'lower_case_table_names', 'character_set_server', 'read_only', 'wsrep_on', 'innodb_data_home_dir',
  'innodb_log_group_home_dir', 'innodb_undo_directory', 'innodb_doublewrite_dir', 'aria_log_dir_path');
END
) || exit
printf '%s\n' "$facts"
tab=$(printf '\t')
of() { printf '%s\n' "$facts" | sed -n "s/^$1$tab//p"; }
data=$(of datadir)
if cd "$data" && [ -r . ]; then echo "readable${tab}yes"; fi
found() { printf 'dir\t%s\n' "$(one_line "$(readlink -f "$1")")"; }
for dir in . "$(of innodb_data_home_dir)" "$(of innodb_log_group_home_dir)" "$(of innodb_undo_directory)" \
  "$(of innodb_doublewrite_dir)" "$(of aria_log_dir_path)" "$(dirname "$(of log_bin_basename)")"; do
  if [ -n "$dir" ] && [ -d "$dir" ]; then found "$dir"; fi
done
for link in * */*; do
  if [ -L "$link" ] && [ -d "$link" ]; then found "$link";
  elif [ -L "$link" ]; then found "$(dirname "$(readlink -f "$link")")"; fi
  case $link in *.isl) printf 'dir\t%s\n' "$(one_line "$(dirname "$(head -c 4096 "$link")")")";; esac
done
for file in '#sql'* */'#sql'*; do
  if [ -f "$file" ]; then printf 'leftover\t%s\n' "$(one_line "$file")"; fi
done
for words in 'ALL SLAVES' 'REPLICA' 'SLAVE'; do
  if status=$($limit "$@" --vertical --column-names -e "SHOW $words STATUS" 2>/dev/null); then
    echo "replication${tab}asked"
    printf '%s\n' "$status" | sed -n "s/^ *[A-Za-z]*_\(IO\|SQL\)_Running: */running$tab/p"
    printf '%s\n' "$status" | sed -n "s/^ *\(Master\|Source\)_Server_Id: */primary_id$tab/p"
    break
  fi
done
for words in 'BINARY LOG' 'MASTER'; do
  if $limit "$@" -e "SHOW $words STATUS" >/dev/null 2>&1; then echo "binlog_status${tab}SHOW $words STATUS"; break; fi
done
"#;

/// The probe.
pub(super) fn act() -> Act {
    shell::once(&with_client(&format!("{PROBE}{}echo end\n", shell::probe_sync('\t'))))
}

/// Reads its answer.
pub(super) fn read(answer: &Answer) -> Result<Probe, Vec<Reason>> {
    let facts = shell::facts(answer, '\t', LOOKED_AT).map_err(|reason| vec![reason])?;
    let reasons = obstacles(&facts);
    if reasons.is_empty() && facts.all("running").iter().any(|running| running != "No") {
        return Ok(replica(&facts));
    }
    if !reasons.is_empty() {
        return Err(reasons);
    }
    let mut notes = Vec::new();
    let at_commit = facts.get("innodb_flush_log_at_trx_commit");
    if at_commit != "1" {
        notes.push(format!("innodb_flush_log_at_trx_commit is {at_commit}; commits are flushed before the cut"));
    }
    if facts.get("log_bin") != "ON" {
        notes.push("the binary log is off: no recovery to a point after the backup".into());
    } else if facts.get("binlog_status").is_empty() {
        notes.push("the user may not see the binary log's position: it is not recorded".into());
    }
    if !facts.all("running").is_empty() {
        notes.push("replication is configured, but stopped".into());
    }
    Ok(Probe {
        version: facts.get("version").to_owned(),
        role: "primary".into(),
        replication: facts.get("server_id").to_owned(),
        stops_commits: true,
        data_dirs: facts.dirs(),
        settings: facts.settings(SETTINGS),
        // What is waited for at `innodb_flush_log_at_trx_commit = 0`.
        flush_seconds: match (at_commit, log_interval(facts.get("innodb_flush_log_at_timeout"))) {
            ("0", Some(interval)) => interval.as_secs(),
            _ => 0,
        },
        leftovers: facts.all("leftover").to_vec(),
        notes,
        ..Probe::default()
    })
}

/// One that is stopped counts as a primary: it can be written to, and says nothing of what it will do.
fn replica(facts: &Facts) -> Probe {
    let follows = facts.all("running").iter().all(|running| running == "Yes");
    Probe {
        version: facts.get("version").to_owned(),
        role: if follows { REPLICA } else { LOST_REPLICA }.into(),
        // Its primary's: 0 until it was connected once.
        replication: Some(facts.get("primary_id")).filter(|id| *id != "0").unwrap_or_default().to_owned(),
        data_dirs: facts.dirs(),
        settings: facts.settings(SETTINGS),
        ..Probe::default()
    }
}

/// Reasons that lie in the server's role, rights and settings.
fn obstacles(facts: &Facts) -> Vec<Reason> {
    let is = |key: &str, value: &str| facts.get(key) == value;
    let mut reasons = Vec::new();
    if facts.get("datadir").is_empty() || !is("readable", "yes") || facts.dirs().is_empty() {
        reasons.push(reason(
            "the data directory cannot be read in the container",
            "commands must run there as root or as the server's user",
        ));
    }
    if !facts.all("privilege").iter().any(|held| held == "RELOAD" || held == "FLUSH_TABLES") {
        reasons.push(
            reason("the user lacks the privilege RELOAD", "give root's password, or GRANT RELOAD ON *.* to the user")
                .in_data(),
        );
    }
    if !is("replication", "asked") {
        reasons.push(
            reason(
                "the server does not tell whether it is a replica",
                "GRANT REPLICA MONITOR (MySQL: REPLICATION CLIENT) ON *.* to the user",
            )
            .in_data(),
        );
    }
    if is("wsrep_on", "ON") {
        reasons.push(reason(
            "Galera is on: one held node would stop the whole cluster by flow control",
            "a node must be desynchronised first, which is not supported yet",
        ));
    }
    if !is("sync", "yes") {
        reasons.push(shell::no_sync());
    }
    let by_interval = is("innodb_flush_log_at_trx_commit", "0");
    if by_interval && log_interval(facts.get("innodb_flush_log_at_timeout")).is_none() {
        reasons.push(reason(
            "innodb_flush_log_at_timeout is too long to be waited for twice under the hold",
            "set it to 5 or less, or innodb_flush_log_at_trx_commit to 1 or 2",
        ));
    }
    reasons
}
