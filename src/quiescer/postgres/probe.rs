//! What is asked of PostgreSQL before anything is touched, and what of its answers stands in the way.

use super::{APP, with_client};
use crate::quiescer::shell::{self, reason};
use crate::quiescer::{Act, Answer, Probe, Reason};

/// Where credentials are looked for; named in refusals.
const LOOKED_AT: &str = "POSTGRESQL_POSTGRES_PASSWORD, POSTGRESQL_ADMIN_PASSWORD, POSTGRES_USER, \
    POSTGRES_PASSWORD, POSTGRESQL_PASSWORD, PGPASSWORD";

/// Settings in the record: what decides durability, and what a restored copy needs.
const SETTINGS: &str = "data_directory config_file data_checksums fsync full_page_writes synchronous_commit \
    wal_level wal_sync_method archive_mode archive_command server_version_num \
    system_identifier checkpoint";

/// `archive_command` may contain secrets: only whether there is one is told.
const PROBE: &str = r#"facts=$($limit "$@" <<'END'
SELECT 'version', current_setting('server_version');
SELECT name, setting FROM pg_settings WHERE name IN ('data_directory', 'config_file', 'data_checksums', 'fsync',
  'full_page_writes', 'synchronous_commit', 'wal_level', 'wal_sync_method', 'archive_mode', 'server_version_num');
SELECT name, CASE WHEN setting IN ('', '(disabled)') THEN 'unset' ELSE 'set' END FROM pg_settings WHERE name = 'archive_command';
SELECT 'recovery', pg_is_in_recovery();
SELECT 'system_identifier', system_identifier FROM pg_control_system();
SELECT 'checkpoint', EXISTS (SELECT FROM pg_roles WHERE rolname = current_user AND rolsuper)
  OR EXISTS (SELECT FROM pg_roles WHERE rolname = 'pg_checkpoint' AND pg_has_role(current_user, oid, 'USAGE'));
SELECT 'tablespace', oid FROM pg_tablespace WHERE pg_tablespace_location(oid) <> '';
END
) || exit
printf '%s\n' "$facts"
data=$(printf '%s\n' "$facts" | sed -n 's/^data_directory|//p')
for dir in "$data" "$data/pg_wal" "$data"/pg_tblspc/*; do
  [ -d "$dir" ] || continue
  printf 'dir|%s\n' "$(readlink -f "$dir")"
  case $dir in */pg_wal) echo 'wal|yes';; */pg_tblspc/*) echo 'linked|yes';; esac
done
SYNC
echo end
"#;

/// The probe.
pub(super) fn act() -> Act {
    let script = PROBE.replace("SYNC\n", &shell::probe_sync('|'));
    shell::once(&with_client(APP, &script))
}

/// Reads its answer.
pub(super) fn read(answer: &Answer) -> Result<Probe, Vec<Reason>> {
    let facts = shell::facts(answer, '|', LOOKED_AT).map_err(|reason| vec![reason])?;
    let mut reasons = Vec::new();
    let is = |key: &str, value: &str| facts.get(key) == value;
    if facts.get("server_version_num").parse::<u32>().unwrap_or(0) < 100_000 {
        reasons.push(Reason::new(format!("PostgreSQL {} is older than 10", facts.get("version"))));
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
        stops_commits: false,
        data_dirs: facts.dirs(),
        settings: facts.settings(SETTINGS),
        flush_seconds: 0,
        notes,
    })
}
