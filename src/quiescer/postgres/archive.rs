//! PostgreSQL, archiving: the light hold inside a backup of the server's own (`pg_backup_start` to `pg_backup_stop`, one
//! session), so that the copy can also be the base of a recovery with archived WAL, to any moment after it.
//!
//! Label and tablespace map are in no file of the copy: they go into the journal with the release. Without them, and
//! without the archive, the copy still recovers to its cut like any other light one.

use super::super::shell::{self, quote};
use super::super::{Act, Answer, Probe, Reason, RecoveryPoint, Token};
use super::client::{APP, with_client};
use super::{PREPARE, ask, wal};

/// Whether this server has the names from 15 on, without exclusive backups.
fn renamed(probe: &Probe) -> bool {
    probe.setting("server_version_num").parse::<u32>().is_ok_and(|version| version >= 150_000)
}

/// Begins the backup, which makes a checkpoint at once. It ends with the session, whatever becomes of us.
pub(super) fn start(probe: &Probe, token: &Token) -> Act {
    let call = if renamed(probe) {
        format!("pg_backup_start('{token}', true)")
    } else {
        // The third argument: not exclusive. An exclusive one outlives its session, and keeps a server from starting.
        format!("pg_start_backup('{token}', true, false)")
    };
    ask(&format!("SELECT 'started', {call};\n"), token, "prepared", PREPARE)
}

/// Ends it without waiting for the archive: that is done once nothing is held. In one row, because one answer is read.
pub(super) fn stop(probe: &Probe) -> String {
    let call = if renamed(probe) { "pg_backup_stop(false)" } else { "pg_stop_backup(false, false)" };
    let text = |column| format!("translate(encode(convert_to({column}, 'UTF8'), 'base64'), E'\\n', '')");
    format!(
        "SELECT 'stopped', lsn, pg_walfile_name(lsn), substring(labelfile FROM 'START WAL LOCATION: ([0-9A-F/]+)'), \
         {}, {} FROM {call};\n",
        text("labelfile"),
        text("coalesce(spcmapfile, '')")
    )
}

/// What the end of the backup says of it.
pub(super) fn read_stop(answer: Option<&Answer>) -> Result<RecoveryPoint, String> {
    let row = answer.and_then(|answer| shell::after(&answer.out, "stopped", '|')).unwrap_or_default();
    let fields: Vec<&str> = row.split('|').collect();
    let [stop, segment, start, label, map] = fields[..] else {
        return Err(format!("the server's own backup did not end as asked: {}", shell::told(answer)));
    };
    let whole = is_lsn(stop) && is_lsn(start) && wal::is_segment(segment) && !label.is_empty();
    if !whole || ![label, map].iter().all(|text| text.bytes().all(is_base64)) {
        return Err("the label of the server's own backup was not understood".into());
    }
    Ok(shell::point([
        ("startLsn", start),
        ("stopLsn", stop),
        ("stopSegment", segment),
        ("backupLabel", label),
        ("tablespaceMap", map),
    ]))
}

/// Whether this is a position in the WAL, such as `2A/FF000028`.
fn is_lsn(text: &str) -> bool {
    let hex = |part: &str| !part.is_empty() && part.len() <= 8 && part.bytes().all(|b| b.is_ascii_hexdigit());
    text.split_once('/').is_some_and(|(high, low)| hex(high) && hex(low))
}

fn is_base64(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'=')
}

/// Prints `archived` once the last segment that the copy needs is. The archiver takes them in order. `.done` goes away
/// with the segment, so both gone is done too.
pub(super) fn archived(probe: &Probe, point: &RecoveryPoint) -> Option<Act> {
    // It may come from a record, and stands in a shell's text.
    let segment = point.0.get("stopSegment").filter(|name| wal::is_segment(name))?;
    let wal = quote(&format!("{}/pg_wal", probe.setting("data_directory")));
    let script = format!(
        r#"cd {wal} || exit
if [ -e archive_status/{segment}.done ] || {{ [ ! -e archive_status/{segment}.ready ] && [ ! -e {segment} ]; }}; then
  echo archived
else
  $limit "$@" -c "SELECT concat_ws(' ', failed_count, 'failed, the last one at', last_failed_wal) FROM pg_stat_archiver WHERE failed_count > 0"
fi
"#
    );
    Some(shell::once(&with_client(probe, APP, &script)))
}

/// What stands in the way of it.
pub(super) fn refused(facts: &shell::Facts) -> Vec<Reason> {
    let mut reasons = Vec::new();
    if !matches!(facts.get("archive_mode"), "on" | "always") {
        reasons.push(shell::reason("archive_mode is off: there is no archive to recover from", "set archive_mode=on"));
    } else if facts.get("archive_command") != "set" && facts.get("archive_library") != "set" {
        reasons.push(shell::reason("archive_mode is on, but nothing says how to archive", "set archive_command"));
    }
    if facts.get("backup") != "t" {
        reasons.push(shell::reason(
            "the user may not begin a backup of the server's own",
            "give a superuser's credentials, or grant EXECUTE on the functions that begin and end one",
        ));
    }
    reasons
}

#[cfg(test)]
mod tests {
    use super::super::Postgres;
    use super::*;
    use crate::protocol::Held;
    use crate::quiescer::Quiescer;
    use crate::quiescer::fixture::{answer, probe, with};

    fn archiving(version: &str) -> Probe {
        let mut probe = probe(&Postgres, "postgres/probe-databases");
        assert_eq!(probe.archiving.as_ref().unwrap().refused, []);
        probe.hold_archiving();
        probe.settings.iter_mut().filter(|s| s.0 == "server_version_num").for_each(|s| s.1 = version.into());
        probe
    }

    #[test]
    fn functions_are_called_as_the_version_names_them() {
        let token = Token { run: "r".into(), attempt: 1 };
        let sent = |version| {
            let probe = archiving(version);
            format!("{:?}", [Postgres.prepare(&probe, &token), Postgres.thaw(&probe, &token)])
        };
        for version in ["150018", "170000"] {
            let sent = sent(version);
            assert!(sent.contains("pg_backup_start('consistent-backup/r/1', true)"), "{sent}");
            assert!(sent.contains("FROM pg_backup_stop(false)") && !sent.contains("CHECKPOINT"), "{sent}");
        }
        for version in ["100004", "140000"] {
            let sent = sent(version);
            assert!(sent.contains("pg_start_backup('consistent-backup/r/1', true, false)"), "{sent}");
            assert!(sent.contains("FROM pg_stop_backup(false, false)"), "{sent}");
        }
        let light = probe(&Postgres, "postgres/probe-databases");
        assert!(!format!("{:?}", Postgres.thaw(&light, &token)).contains("backup_stop"));
    }

    #[test]
    fn the_label_comes_with_the_release() {
        let thaw = |thaw| Postgres.read_thaw(&archiving("150018"), &[answer("postgres/archive-hold")], &[thaw]);
        let thawed = thaw(answer("postgres/archive-thaw"));
        assert_eq!((thawed.held, thawed.released), (Held::Yes, true), "{:?}", thawed.why);
        let point = &thawed.point.0;
        assert_eq!((point["startLsn"].as_str(), point["stopLsn"].as_str()), ("0/2000028", "0/2000100"));
        assert_eq!(point["stopSegment"], "000000010000000000000002");
        // "START WAL LOCATION", as the file begins.
        assert!(point["backupLabel"].starts_with("U1RBUlQgV0FMIExPQ0FUSU9O"), "{}", point["backupLabel"]);
        assert!(!point.contains_key("tablespaceMap"), "there is no tablespace");
        assert!(Postgres.archived(&archiving("150018"), &thawed.point).is_some());
        // What is not the name of a segment comes into no command, whoever says it.
        let mut forged = thawed.point.clone();
        forged.0.insert("stopSegment".into(), "$(id)00000000000000000000".into());
        assert!(Postgres.archived(&archiving("150018"), &forged).is_none());
        let said = thaw(with("postgres/archive-thaw", "000000010000000000000002", "$(id)0010000000000000002"));
        assert_eq!((said.held, said.released), (Held::No, true));
        // Same server, same session, but no label: this is no base backup.
        let without = thaw(with("postgres/archive-thaw", "stopped|", "stop|"));
        assert_eq!((without.held, without.released), (Held::No, true));
        assert!(Postgres.archived(&archiving("150018"), &without.point).is_none());
    }

    #[test]
    fn without_an_archive_it_is_refused() {
        let refused = |from: &str, to: &str| {
            let probe = Postgres.read_probe(&with("postgres/probe-databases", from, to)).unwrap();
            probe.archiving.unwrap().refused.into_iter().map(|reason| reason.message).collect::<Vec<_>>().join("; ")
        };
        assert!(refused("archive_mode|on", "archive_mode|off").starts_with("archive_mode is off"));
        assert!(refused("archive_command|set", "archive_command|unset").contains("nothing says how to archive"));
        assert!(refused("backup|t", "backup|f").contains("may not begin a backup"));
    }
}
