//! What is written to a PostgreSQL copy before it goes on from its archive, by the shells in which that must work.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output};

use consistent_backup::quiescer::postgres::Postgres;
use consistent_backup::quiescer::recovery::{Target, Timeline, Wanted};
use consistent_backup::quiescer::{Probe, Quiescer, RecoveryPoint};
use tempfile::TempDir;

/// Bytes that no text of ours has.
const LABEL: &[u8] = b"START WAL LOCATION: 0/2000028 (file 000000010000000000000002)\nLABEL: it's \\ \xff\n";
const LABEL_CODED: &str =
    "U1RBUlQgV0FMIExPQ0FUSU9OOiAwLzIwMDAwMjggKGZpbGUgMDAwMDAwMDEwMDAwMDAwMDAwMDAwMDAyKQpMQUJFTDogaXQncyBcIP8K";

/// A data directory as the cut of a running server has it.
fn copied() -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    let at = |path: &str| dir.path().join(path);
    fs::create_dir_all(at("global")).unwrap();
    fs::create_dir_all(at("pg_wal/archive_status")).unwrap();
    let files = [
        ("PG_VERSION", "15\n"),
        ("global/pg_control", "x"),
        ("postmaster.pid", "1\n"),
        ("postmaster.opts", "postgres\n"),
        ("standby.signal", ""),
        (
            "postgresql.auto.conf",
            "# Do not edit\nwork_mem = '8MB'\nrecovery_target_time = '2020-01-01'\nRestore_Command='old'\nrestore_command_of_mine = '1'",
        ),
        ("pg_wal/000000010000000000000001", ""),
        ("pg_wal/archive_status/000000010000000000000001.ready", ""),
        ("pg_wal/000000010000000000000002", ""),
        ("pg_wal/000000010000000000000002.00000028.backup", ""),
        ("pg_wal/00000001.history", ""),
        ("pg_wal/0000000100000000000000A0", ""),
    ];
    for (path, content) in files {
        fs::write(at(path), content).unwrap();
    }
    dir
}

fn argv(dir: &Path, version: &str) -> Vec<String> {
    let settings =
        [("server_version_num", version), ("data_directory", dir.to_str().unwrap()), ("wal_segment_size", "16777216")];
    let probe = Probe { settings: settings.map(|(n, v)| (n.into(), v.into())).into(), ..Probe::default() };
    let point = [("timeline", "1"), ("startLsn", "0/2000028"), ("stopLsn", "0/2000100"), ("backupLabel", LABEL_CODED)];
    let point = RecoveryPoint(point.map(|(n, v)| (n.to_owned(), v.to_owned())).into());
    let wanted = Wanted {
        command: r#"sh -c 'cp "/archive/%f" "%p"' # C:\x $(touch /tmp/never) `id`"#.into(),
        target: Target::Name("it's".into()),
        timeline: Timeline::Latest,
    };
    let container = serde_json::from_value(serde_json::json!({"name": "db", "image": "postgres:15"})).unwrap();
    Postgres.recovery(&container, &probe, &point, &wanted).unwrap().argv
}

fn run(shell: &[&str], argv: &[String]) -> Output {
    assert_eq!(argv[0], "sh");
    Command::new(shell[0]).args(&shell[1..]).args(&argv[1..]).output().unwrap()
}

fn files(dir: &Path) -> Vec<String> {
    let mut all = Vec::new();
    for folder in ["", "pg_wal", "pg_wal/archive_status"] {
        for entry in fs::read_dir(dir.join(folder)).unwrap().map(Result::unwrap) {
            let text = fs::read(entry.path()).map(|t| String::from_utf8_lossy(&t).into_owned()).unwrap_or_default();
            all.push(format!("{folder}/{}: {text}", entry.file_name().into_string().unwrap()));
        }
    }
    all.sort();
    all
}

/// Those that are there: images have one of them as `sh`.
fn shells() -> Vec<Vec<&'static str>> {
    let is = |shell: &&[&str]| Command::new(shell[0]).args(&shell[1..]).args(["-c", "true"]).output().is_ok();
    let all: [&[&str]; 3] = [&["sh"], &["bash"], &["busybox", "sh"]];
    all.into_iter().filter(is).map(<[&str]>::to_vec).collect()
}

#[test]
fn a_copy_is_prepared_once_and_the_same_when_it_is_done_again() {
    for shell in shells() {
        let dir = copied();
        let at = |path: &str| dir.path().join(path);
        let argv = argv(dir.path(), "150018");
        let done = run(&shell, &argv);
        assert!(done.status.success() && done.stdout == b"prepared\n", "{shell:?}: {done:?}");
        assert_eq!(fs::read(at("backup_label")).unwrap(), LABEL, "byte for byte");
        assert_eq!(fs::metadata(at("backup_label")).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read(at("recovery.signal")).unwrap(), b"");
        let settings = fs::read_to_string(at("postgresql.auto.conf")).unwrap();
        let lines: Vec<&str> = settings.lines().collect();
        assert_eq!(lines[..3], ["# Do not edit", "work_mem = '8MB'", "restore_command_of_mine = '1'"]);
        let command = r#"restore_command = 'sh -c ''cp "/archive/%f" "%p"'' # C:\\x $(touch /tmp/never) `id`'"#;
        assert!(lines.contains(&command), "{settings}");
        assert_eq!(lines.last(), Some(&"recovery_target_name = 'it''s'"));
        for gone in ["postmaster.pid", "postmaster.opts", "standby.signal", "consistent-backup.new"] {
            assert!(!at(gone).exists(), "{shell:?}: {gone}");
        }
        let mut wal: Vec<_> = fs::read_dir(at("pg_wal")).unwrap().map(|e| e.unwrap().file_name()).collect();
        wal.sort();
        let left = ["00000001.history", "000000010000000000000002", "000000010000000000000002.00000028.backup"];
        assert_eq!(wal, [&left[..], &["0000000100000000000000A0", "archive_status"]].concat());
        assert_eq!(fs::read_dir(at("pg_wal/archive_status")).unwrap().count(), 0);

        let once = files(dir.path());
        assert!(run(&shell, &argv).status.success());
        assert_eq!(files(dir.path()), once, "{shell:?}");

        // Its server took the label over and ended: there is no way back to the copy.
        fs::remove_file(at("backup_label")).unwrap();
        let refused = run(&shell, &argv);
        assert_eq!(refused.status.code(), Some(4), "{refused:?}");
        assert!(!at("backup_label").exists());
    }
}

#[test]
fn before_version_12_it_is_a_file_of_its_own() {
    let dir = copied();
    let before = fs::read(dir.path().join("postgresql.auto.conf")).unwrap();
    let done = run(&["sh"], &argv(dir.path(), "110022"));
    assert!(done.status.success(), "{done:?}");
    let written = fs::read_to_string(dir.path().join("recovery.conf")).unwrap();
    assert!(written.starts_with("restore_command = '") && written.ends_with("recovery_target_name = 'it''s'\n"));
    assert_eq!(fs::read(dir.path().join("postgresql.auto.conf")).unwrap(), before);
    assert!(!dir.path().join("recovery.signal").exists());
}

#[test]
fn nothing_is_written_where_no_database_is() {
    let dir = tempfile::tempdir().unwrap();
    let refused = run(&["sh"], &argv(dir.path(), "150018"));
    assert_eq!(refused.status.code(), Some(3), "{refused:?}");
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    assert!(!run(&["sh"], &argv(&dir.path().join("gone"), "150018")).status.success());
}
