//! What is asked of PostgreSQL before anything is touched, and what of its answers stands in the way.

use super::archive;
use super::client::{later_settings, with_any_client};
use super::full::{ATTEMPT, DATABASES, NAMES, TABLES};
use crate::quiescer::shell::{self, Facts, reason};
use crate::quiescer::{Act, Another, Answer, Probe, REPLICA, Reason};

/// Where credentials are looked for; named in refusals.
const LOOKED_AT: &str = "POSTGRESQL_POSTGRES_PASSWORD, POSTGRESQL_ADMIN_PASSWORD, POSTGRES_USER, \
    POSTGRES_PASSWORD, POSTGRESQL_PASSWORD, PGPASSWORD";

/// Settings in the record: what decides durability, and what a restored copy needs.
const SETTINGS: &str = "data_directory config_file data_checksums fsync full_page_writes synchronous_commit \
    wal_level wal_sync_method archive_mode archive_command wal_segment_size server_version_num \
    system_identifier checkpoint";

/// A database with the connection limit -2 is what an interrupted DROP DATABASE leaves: nobody can connect to it.
///
/// `archive_command` may contain secrets: only whether there is one is told, and the directories to which it copies.
const PROBE: &str = r#"facts=$($limit "$@" <<'END'
SELECT 'version', current_setting('server_version');
SELECT name, setting FROM pg_settings WHERE name IN ('data_directory', 'config_file', 'data_checksums', 'fsync',
  'full_page_writes', 'synchronous_commit', 'wal_level', 'wal_sync_method', 'archive_mode', 'server_version_num');
SELECT name, CASE WHEN setting IN ('', '(disabled)') THEN 'unset' ELSE 'set' END FROM pg_settings WHERE name = 'archive_command';
SELECT 'archive_library', 'set' FROM pg_settings WHERE name = 'archive_library' AND setting <> '';
SELECT 'backup', bool_and(has_function_privilege(oid, 'EXECUTE')) FROM pg_proc
  WHERE pronamespace = 'pg_catalog'::regnamespace AND (proname, pronargs) IN
  (('pg_backup_start', 2), ('pg_backup_stop', 1), ('pg_start_backup', 3), ('pg_stop_backup', 2));
SELECT 'recovery', pg_is_in_recovery();
SELECT 'wal_segment_size', pg_size_bytes(current_setting('wal_segment_size'));
SELECT 'system_identifier', system_identifier FROM pg_control_system();
SELECT 'checkpoint', EXISTS (SELECT FROM pg_roles WHERE rolname = current_user AND rolsuper)
  OR EXISTS (SELECT FROM pg_roles WHERE rolname = 'pg_checkpoint' AND pg_has_role(current_user, oid, 'USAGE'));
SELECT 'tablespace', oid FROM pg_tablespace WHERE pg_tablespace_location(oid) <> '';
SELECT 'locks', current_setting('max_locks_per_transaction')::bigint
  * (current_setting('max_connections')::bigint + current_setting('max_prepared_transactions')::bigint);
SELECT 'connections', current_setting('max_connections')::bigint - coalesce(sum(numbackends), 0)
  - CASE WHEN (SELECT rolsuper FROM pg_roles WHERE rolname = current_user) THEN 0
    ELSE current_setting('superuser_reserved_connections')::bigint END FROM pg_stat_database;
SELECT 'deadlock_timeout', setting FROM pg_settings WHERE name = 'deadlock_timeout';
SELECT CASE WHEN datname ~ '[[:cntrl:]]' THEN 'unnamed' ELSE 'database' END, datistemplate, datname
  FROM pg_database WHERE datallowconn AND datconnlimit <> -2 ORDER BY datname;
END
) || exit
printf '%s\n' "$facts"
data=$(printf '%s\n' "$facts" | sed -n 's/^data_directory|//p')
for dir in "$data" "$data/pg_wal" "$data"/pg_tblspc/*; do
  [ -d "$dir" ] || continue
  printf 'dir|%s\n' "$(one_line "$(readlink -f "$dir")")"
  case $dir in */pg_wal) echo 'wal|yes';; */pg_tblspc/*) echo 'linked|yes';; esac
done
set -f
for word in $($limit "$@" -c "SELECT setting FROM pg_settings WHERE name = 'archive_command'" | tr -d \''"'); do
  case $word in /*%f*) dir=${word%/*}; if [ -d "$dir" ]; then printf 'archive|%s\n' "$(one_line "$(readlink -f "$dir")")"; fi;; esac
done
set +f
number=$(printf '%s\n' "$facts" | sed -n 's/^server_version_num|//p')
LATER
begun=$(date +%s)
printf '%s\n' "$facts" | sed -n 's/^database|[tf]|//p' | head -n MOST | while IFS= read -r PGDATABASE; do
  [ $(($(date +%s) - begun)) -lt 8 ] || break
  export PGDATABASE
  $limit "$@" -c "SELECT 'tables', count(*), count(*) FILTER (WHERE NOT has_schema_privilege(n.oid, 'USAGE')
    OR NOT has_table_privilege(c.oid, 'UPDATE, DELETE, TRUNCATE')), current_database() FROM TABLES" \
    -c "SET deadlock_timeout = '100ms'" -c "SELECT 'lockable', current_database()" </dev/null 2>/dev/null
done
SYNC
echo end
"#;

/// As much of the lock table is taken at most: the rest is the application's.
const SHARE: u64 = 2;

/// The probe.
pub(super) fn act() -> Act {
    // One too many tells that there are too many. A server may have thousands, and most are asked for no full hold.
    let most = (DATABASES + 1).to_string();
    let script = PROBE.replace("SYNC\n", &shell::probe_sync('|')).replace("TABLES", TABLES).replace("MOST", &most);
    let script = script.replace("LATER\n", &later_settings());
    shell::once(&with_any_client(&script))
}

/// Reads its answer.
pub(super) fn read(answer: &Answer) -> Result<Probe, Vec<Reason>> {
    let facts = shell::facts(answer, '|', LOOKED_AT).map_err(|reason| vec![reason])?;
    let mut reasons = Vec::new();
    let is = |key: &str, value: &str| facts.get(key) == value;
    if facts.get("server_version_num").parse::<u32>().unwrap_or(0) < 100_000 {
        reasons.push(Reason::new(format!("PostgreSQL {} is older than 10", facts.get("version"))));
    }
    if is("recovery", "t") && !facts.get("data_directory").is_empty() {
        return Ok(Probe {
            version: facts.get("version").to_owned(),
            role: REPLICA.into(),
            replication: facts.get("system_identifier").to_owned(),
            data_dirs: facts.dirs(),
            settings: facts.settings(SETTINGS),
            ..Probe::default()
        });
    }
    if !is("recovery", "f") {
        reasons.push(reason("the server is in recovery: a replica", "back up its primary instead").in_data());
    }
    if !is("fsync", "on") {
        reasons.push(reason("fsync is off: no cut of it can be trusted", "set fsync=on"));
    }
    if !is("sync", "yes") {
        reasons.push(shell::no_sync());
    }
    if facts.get("data_directory").is_empty() {
        reasons.push(
            reason(
                "the user may not read data_directory",
                "grant pg_read_all_settings to it, or give a superuser's credentials",
            )
            .in_data(),
        );
    } else if !is("wal", "yes") || facts.all("linked").len() != facts.all("tablespace").len() {
        reasons.push(reason(
            "the data directory, pg_wal or a tablespace cannot be read in the container",
            "commands must run there as root or as the server's user",
        ));
    }
    if !reasons.is_empty() {
        return Err(reasons);
    }
    let mut notes = Vec::new();
    if !is("checkpoint", "t") {
        let why = "the user is neither superuser nor in pg_checkpoint";
        notes.push(format!("no CHECKPOINT before the cut, so a copy recovers longer: {why}"));
    }
    if !is("full_page_writes", "on") {
        let only = "a copy is sound only where the file system never tears a page";
        notes.push(format!("full_page_writes is off: {only}"));
    }
    if !is("synchronous_commit", "on") {
        let value = facts.get("synchronous_commit");
        notes.push(format!("synchronous_commit is {value}; commits are flushed before the cut"));
    }
    Ok(Probe {
        version: facts.get("version").to_owned(),
        role: "primary".into(),
        replication: facts.get("system_identifier").to_owned(),
        stops_commits: false,
        data_dirs: facts.dirs(),
        settings: facts.settings(SETTINGS),
        flush_seconds: 0,
        archive_dirs: archives(&facts),
        notes,
        full: Some(full(&facts)),
        archiving: Some(archiving(&facts)),
        ..Probe::default()
    })
}

/// What the light hold inside a backup of the server's own would be.
fn archiving(facts: &Facts) -> Another {
    let note = "a backup of the server's own is begun and ended around the cut: its label is in the record, and the last WAL \
        segment that it needs is waited for until it is archived";
    Another { refused: archive::refused(facts), settings: Vec::new(), notes: vec![note.into()] }
}

/// Where its WAL is archived, each directory once.
fn archives(facts: &Facts) -> Vec<String> {
    let on = matches!(facts.get("archive_mode"), "on" | "always");
    let mut dirs = if on { facts.all("archive").to_vec() } else { Vec::new() };
    dirs.dedup();
    dirs
}

/// What a full hold of it would be, and what stands in its way.
fn full(facts: &Facts) -> Another {
    let mut refused = Vec::new();
    let (mut names, mut all): (Vec<&str>, u64) = (Vec::new(), 0);
    for database in facts.all("database") {
        let Some((template, name)) = database.split_once('|') else { continue };
        let row = facts.all("tables").iter().find_map(|row| {
            let (tables, rest) = row.split_once('|')?;
            let (denied, of) = rest.split_once('|')?;
            (of == name).then_some((tables.parse::<u64>().ok()?, denied.parse::<u64>().ok()?))
        });
        let Some((tables, denied)) = row else {
            refused.push(reason(
                format!("the user may not connect to database {name}"),
                "its tables are locked by a session of its own: give a superuser's credentials",
            ));
            continue;
        };
        // A session in it would keep others from making databases of it.
        if template == "t" && tables == 0 {
            continue;
        }
        names.push(name);
        all += tables;
        if denied > 0 {
            refused.push(reason(
                format!("the user may not lock {denied} of {tables} tables of database {name}"),
                "give a superuser's credentials, or grant UPDATE on them to it, and USAGE on their schemas",
            ));
        } else if !facts.all("lockable").iter().any(|lockable| lockable == name) {
            refused.push(reason(
                format!("the user may not set deadlock_timeout in database {name}, so the application could be a deadlock's victim"),
                "give a superuser's credentials, or, from version 15 on, grant SET ON PARAMETER deadlock_timeout to it",
            ));
        }
    }
    if names.is_empty() {
        refused.push(Reason::new("no database is known whose tables could be locked"));
    }
    if !facts.all("unnamed").is_empty() {
        refused.push(reason("the name of a database has a control character", "rename it"));
    }
    if names.len() > DATABASES {
        refused
            .push(Reason::new(format!("it has {} databases, of which {DATABASES} can be held at most", names.len())));
    }
    let locks: u64 = facts.get("locks").parse().unwrap_or_default();
    if all > locks / SHARE {
        refused.push(reason(
            format!("it has {all} tables to be locked, more than half of what its lock table takes ({locks})"),
            "raise max_locks_per_transaction",
        ));
    }
    // One in each database, that of the light hold, and another to look with.
    let sessions = names.len() + 2;
    if let Ok(free) = facts.get("connections").parse::<i64>()
        && free < i64::try_from(sessions).unwrap_or(i64::MAX)
    {
        refused.push(reason(
            format!("{sessions} sessions would hold it, and {} of its connections are free", free.max(0)),
            "raise max_connections, or end sessions that are idle",
        ));
    }
    let databases = if names.len() == 1 { "database" } else { "databases" };
    let mut notes = vec![format!(
        "held fully: its tables ({all} in {} {databases}) are locked against writes; what only sequences, large objects or \
         materialized views tell is not held, and a table that is created meanwhile spoils the attempt",
        names.len()
    )];
    if let Ok(looks) = facts.get("deadlock_timeout").parse::<u64>()
        && looks < ATTEMPT
    {
        notes.push(format!(
            "deadlock_timeout is {looks} ms: a transaction of the application that locks tables in another order may be the \
             deadlock's victim, instead of this hold, which waits for {ATTEMPT} ms"
        ));
    }
    let names = serde_json::to_string(&names).unwrap_or_default();
    Another { refused, settings: vec![(NAMES.into(), names)], notes }
}
