//! Answers of PostgreSQL 15.
#![allow(clippy::unwrap_used)]

use super::*;
use crate::quiescer::fixture::{answer, probe, refused, with};

fn read_thaw(hold: &str, thaw: Answer) -> Thawed {
    Postgres.read_thaw(&probe(&Postgres, "postgres/probe"), &[answer(hold)], &[thaw])
}

#[test]
fn a_primary_is_accepted() {
    let probe = probe(&Postgres, "postgres/probe");
    assert!(probe.version.starts_with("15."));
    assert_eq!(probe.role, "primary");
    assert!(!probe.stops_commits && probe.notes.is_empty());
    assert_eq!(probe.data_dirs, ["/tmp/dbs/pg/data", "/tmp/dbs/pg/data/pg_wal"]);
    assert_eq!((probe.setting("fsync"), probe.setting("archive_command")), ("on", "unset"));
}

/// Captured from 10.23, 14.19 and 17.6.
#[test]
fn every_version_is_spoken_to_in_its_own_words() {
    let container = serde_json::from_value(serde_json::json!({"name": "db", "image": "postgres"})).unwrap();
    let wanted = crate::quiescer::recovery::Wanted {
        command: "cp /archive/%f %p".into(),
        target: crate::quiescer::recovery::Target::Latest,
        timeline: crate::quiescer::recovery::Timeline::Latest,
    };
    let point = ["timeline|1", "startLsn|0/2000028", "stopLsn|0/20001A8", "backupLabel|bGFiZWw="]
        .map(|pair| pair.split_once('|').map(|(name, value)| (name.to_owned(), value.to_owned())).unwrap());
    let point = RecoveryPoint(point.into());
    for (version, start, file) in [
        ("10", "pg_start_backup('consistent-backup/r/1', true, false)", "recovery.conf"),
        ("14", "pg_start_backup('consistent-backup/r/1', true, false)", "recovery.signal"),
        ("17", "pg_backup_start(", "recovery.signal"),
    ] {
        let mut probe = probe(&Postgres, &format!("postgres/probe-{version}"));
        assert!(probe.version.starts_with(version) && probe.role == "primary", "{probe:?}");
        assert!(probe.full.as_ref().unwrap().refused.is_empty(), "{:?}", probe.full);
        assert!(probe.archiving.as_ref().unwrap().refused.is_empty(), "{:?}", probe.archiving);
        assert_eq!(probe.archive_dirs, ["/archive"]);
        probe.hold_archiving();
        let token = Token { run: "r".into(), attempt: 1 };
        let sent = format!("{:?}", Postgres.prepare(&probe, &token));
        assert!(sent.contains(start), "{version}: {sent}");
        let files = Postgres.recovery(&container, &probe, &point, &wanted).unwrap().files;
        assert!(files.iter().any(|of| of.path.ends_with(file)), "{version}: {files:?}");
    }
}

#[test]
fn the_archive_is_told_without_its_command() {
    let probe = probe(&Postgres, "postgres/probe-databases");
    assert_eq!(probe.archive_dirs, ["/tmp/dbs/archive"]);
    assert_eq!((probe.setting("archive_command"), probe.setting("wal_segment_size")), ("set", "16777216"));
    let off = with("postgres/probe-databases", "archive_mode|on", "archive_mode|off");
    assert!(Postgres.read_probe(&off).unwrap().archive_dirs.is_empty());
}

#[test]
fn every_tablespace_is_reported_where_it_really_lies() {
    let probe = probe(&Postgres, "postgres/probe-tablespace");
    assert!(probe.data_dirs.contains(&"/tmp/dbs/pg/ts".to_owned()));
    assert_eq!(probe.notes.len(), 2, "{:?}", probe.notes);
    // One that cannot be found is not left out in silence.
    let lost = with("postgres/probe-tablespace", "linked|yes\n", "");
    assert!(Postgres.read_probe(&lost).unwrap_err()[0].message.contains("tablespace"));
}

#[test]
fn a_standby_is_told_with_its_directories_and_whom_it_follows() {
    let standby = probe(&Postgres, "postgres/probe-replica");
    assert_eq!((standby.role.as_str(), standby.replication.as_str()), ("replica", "7710376134777660746"));
    assert_eq!(standby.data_dirs, ["/tmp/dbs/pg/standby", "/tmp/dbs/pg/standby/pg_wal"]);
    let primary = probe(&Postgres, "postgres/probe");
    assert!(!primary.is_replica() && primary.replication == primary.setting("system_identifier"));
}

#[test]
fn what_cannot_be_held_is_refused_with_its_reason() {
    for (fixture, words) in [
        ("postgres/probe-fsync-off", "fsync is off"),
        ("postgres/probe-unprivileged", "may not read data_directory"),
        ("postgres/probe-login-refused", "password authentication failed"),
        ("postgres/probe-not-running", "Connection refused"),
    ] {
        assert!(refused(&Postgres, fixture).contains(words), "{fixture}: {}", refused(&Postgres, fixture));
    }
    let hint = Postgres.read_probe(&answer("postgres/probe-login-refused")).unwrap_err().remove(0).hint;
    assert!(hint.is_some_and(|hint| hint.contains("POSTGRES_PASSWORD")));
    assert!(Postgres.read_probe(&with("postgres/probe", "\nend\n", "\n")).is_err(), "a cut off answer");
    assert!(Postgres.read_probe(&with("postgres/probe", "|150", "|90")).is_err(), "an old version");
}

#[test]
fn the_archive_command_is_never_repeated() {
    assert_eq!(super::shell::after(&answer("postgres/probe-fsync-off").out, "archive_command", '|'), Some("set"));
}

#[test]
fn without_the_privilege_there_is_a_note_and_no_checkpoint() {
    let token = Token { run: "r".into(), attempt: 1 };
    let sent = |probe: &Probe| format!("{:?}", Postgres.prepare(probe, &token));
    let without = probe(&Postgres, "postgres/probe-no-checkpoint");
    assert!(without.notes[0].contains("CHECKPOINT") && !sent(&without).contains("CHECKPOINT"));
    assert!(sent(&probe(&Postgres, "postgres/probe")).contains("CHECKPOINT"));
}

#[test]
fn before_14_the_deadline_is_that_of_a_transaction() {
    let mut probe = probe(&Postgres, "postgres/probe");
    let token = Token { run: "r".into(), attempt: 1 };
    let hold = |probe: &Probe| format!("{:?}", Postgres.hold(probe, &token, Duration::from_secs(3)));
    assert!(hold(&probe).contains("idle_session_timeout = 3000") && !hold(&probe).contains("BEGIN"));
    probe
        .settings
        .iter_mut()
        .filter(|(name, _)| name == "server_version_num")
        .for_each(|setting| setting.1 = "130004".into());
    assert!(hold(&probe).contains("idle_in_transaction_session_timeout = 3000"));
    assert!(hold(&probe).contains("BEGIN"));
    // The flush must not commit inside that transaction, and must leave one behind.
    assert!(format!("{:?}", Postgres.flush(&probe, &token)).contains("COMMIT;\\nBEGIN READ WRITE"));
}

#[test]
fn the_point_is_position_and_timeline() {
    let probe = probe(&Postgres, "postgres/probe");
    let point = Postgres.read_hold(&probe, &[answer("postgres/hold")]).unwrap();
    assert_eq!(point.0["timeline"], "1");
    assert!(point.0["lsn"].starts_with("0/"));
    assert!(Postgres.read_flush(&probe, &[answer("postgres/flush"), answer("mariadb/flush")]).is_ok());
    // The commit alone leaves files that nobody synced.
    assert!(Postgres.read_flush(&probe, &[answer("postgres/flush")]).is_err());
    // A name that the server cut would not be found by a release.
    assert!(Postgres.read_hold(&probe, &[with("postgres/hold", "|f|t|", "|f|f|")]).is_err());
    assert!(Postgres.read_hold(&probe, &[with("postgres/hold", "|f|t|", "|t|t|")]).is_err());
}

#[test]
fn held_is_still_the_same() {
    let thawed = read_thaw("postgres/hold", answer("postgres/thaw"));
    assert_eq!((thawed.held, thawed.released, thawed.why), (Held::Yes, true, None));
    for other in [
        read_thaw("postgres/hold-before-restart", answer("postgres/thaw-after-restart")),
        read_thaw("postgres/hold", with("postgres/thaw", "|f|t|1|", "|f|t|2|")),
        read_thaw("postgres/hold", with("postgres/thaw", "|f|t|1|", "|t|t|0|")),
        read_thaw("postgres/hold", answer("postgres/thaw-terminated")),
        read_thaw("postgres/hold", answer("postgres/thaw-idle-timeout")),
    ] {
        assert_eq!((other.held, other.released), (Held::No, true), "{other:?}");
        assert!(other.why.is_some());
    }
    assert_eq!(read_thaw("postgres/flush", answer("postgres/thaw")).held, Held::Unknown);
    assert_eq!(Postgres.read_release(&[answer("postgres/release")]), Released::Gone);
}
