//! Answers of MariaDB 10.11. No real MySQL was asked: its words are tested against its manual only.
#![allow(clippy::unwrap_used)]

use super::*;
use crate::quiescer::fixture::{answer, probe, refused, refused_answer, with};

fn good() -> Probe {
    probe(&Mysql, "mariadb/probe")
}

fn token() -> Token {
    Token { run: "r".into(), attempt: 1 }
}

fn held_with(left: u64, probe: &Probe) -> String {
    let hold = Mysql.hold(probe, &token(), Duration::from_secs(left));
    let [Act::Ask { send, .. }] = &hold[..] else { panic!("{hold:?}") };
    send.clone()
}

#[test]
fn a_primary_is_accepted() {
    let probe = good();
    assert!(probe.version.starts_with("10.11.") && probe.stops_commits);
    assert_eq!(probe.data_dirs, ["/tmp/dbs/my/data"]);
    assert_eq!(probe.setting("binlog_status"), "SHOW MASTER STATUS");
    let stopped = super::tests::probe(&Mysql, "mariadb/probe-replica-stopped");
    assert!(stopped.notes.iter().any(|note| note.contains("stopped")));
}

#[test]
fn a_running_replica_is_told_with_its_directories() {
    let replica = probe(&Mysql, "mariadb/probe-replica");
    assert_eq!((replica.role.as_str(), replica.replication.as_str()), ("lost replica", ""), "it is connecting");
    assert_eq!(replica.data_dirs, ["/tmp/dbs/my/data"]);
    let follows = with("mariadb/probe-replica", "running\tConnecting", "primary_id\t7\nrunning\tYes");
    let follows = Mysql.read_probe(&follows).unwrap();
    assert_eq!((follows.role.as_str(), follows.replication.as_str()), ("replica", "7"));
    assert_eq!((good().role.as_str(), good().replication.as_str()), ("primary", "1"));
}

#[test]
fn directories_outside_are_reported() {
    let probe = probe(&Mysql, "mariadb/probe-no-binlog");
    let expected = ["data", "elsewhere", "redo", "undo", "undo/app"].map(|dir| format!("/tmp/dbs/my2/{dir}"));
    assert_eq!(probe.data_dirs, expected);
}

#[test]
fn what_cannot_be_held_is_refused_with_its_reason() {
    for (fixture, words) in [
        ("mariadb/probe-unprivileged", "RELOAD"),
        ("mariadb/probe-unprivileged", "does not tell whether it is a replica"),
        ("mariadb/probe-login-refused", "Access denied"),
        ("mariadb/probe-not-running", "ERROR 2002"),
    ] {
        assert!(refused(&Mysql, fixture).contains(words), "{fixture}: {}", refused(&Mysql, fixture));
    }
    let hint = Mysql.read_probe(&answer("mariadb/probe-login-refused")).unwrap_err().remove(0).hint;
    assert!(hint.is_some_and(|hint| hint.contains("MARIADB_ROOT_PASSWORD")));
    for (from, to, words) in [
        ("wsrep_on\tOFF", "wsrep_on\tON", "Galera"),
        ("sync\tyes", "sync\tno", "sync -f"),
        ("readable\tyes\n", "", "cannot be read"),
        ("replication\tasked\n", "", "does not tell"),
        ("\nend\n", "\n", "not understood"),
    ] {
        let changed = with("mariadb/probe", from, to);
        assert!(refused_answer(&Mysql, &changed).contains(words), "{words}");
    }
    let slow = with("mariadb/probe-no-binlog", "innodb_flush_log_at_timeout\t1", "innodb_flush_log_at_timeout\t600");
    assert!(refused_answer(&Mysql, &slow).contains("too long"));
}

#[test]
fn the_lock_is_the_versions_own() {
    let at = |version: &str| held_with(30, &Probe { version: version.into(), ..good() });
    assert!(at("10.4.1-MariaDB-log").contains("BACKUP STAGE BLOCK_COMMIT"));
    assert!(at("11.4.2-MariaDB").contains("BACKUP STAGE BLOCK_COMMIT"));
    for old in ["10.3.39-MariaDB", "10.4.0-MariaDB", "8.0.36", "8.4.0", "5.7.44-log"] {
        assert!(at(old).contains("FLUSH TABLES WITH READ LOCK") && !at(old).contains("max_statement_time"), "{old}");
    }
    assert!(at("8.0.36").contains("gtid_executed"));
    let thaw = Mysql.thaw(&Probe { version: "8.0.36".into(), ..good() }, &token());
    assert!(format!("{thaw:?}").contains("UNLOCK TABLES"));
}

#[test]
fn deadlines_come_before_the_lock() {
    let sent = held_with(30, &good());
    let at = |text: &str| sent.find(text).unwrap_or_else(|| panic!("no {text} in {sent}"));
    assert!(at("wait_timeout = 30") < at("BACKUP STAGE START"));
    assert!(at("lock_wait_timeout = 10") < at("BACKUP STAGE START"));
    // Waiting for the lock costs of the session's time: it is set again to what is left.
    assert!(at("SET @asked = SYSDATE();") < at("BACKUP STAGE START"));
    let left = "wait_timeout = GREATEST(1, LEAST(30, 30 - TIMESTAMPDIFF(SECOND, @asked, SYSDATE())))";
    assert!(at("BACKUP STAGE BLOCK_COMMIT") < at(left));
    assert!(at("GET_LOCK") < at("BACKUP STAGE START"));
    // A third of what is left, and never 0.
    assert!(held_with(6, &good()).contains("lock_wait_timeout = 2"));
    assert!(held_with(1, &good()).contains("lock_wait_timeout = 1"));
}

#[test]
fn the_point_is_the_binary_logs_position() {
    let point = Mysql.read_hold(&good(), &[answer("mariadb/hold")]).unwrap();
    assert_eq!(point.0["binlogFile"], "bin.000001");
    assert!(point.0["binlogPosition"].parse::<u64>().is_ok() && point.0["gtid"].starts_with("0-1-"));
    for without in ["mariadb/hold-no-binlog", "mariadb/hold-no-position"] {
        assert_eq!(Mysql.read_hold(&good(), &[answer(without)]), Ok(RecoveryPoint::default()), "{without}");
    }
    assert!(Mysql.read_hold(&good(), &[with("mariadb/hold", "bin.000001\t", "bin.000001\tx")]).is_err());
    assert!(Mysql.read_hold(&good(), &[with("mariadb/hold", "token\t1", "token\t0")]).is_err());
}

#[test]
fn a_lock_that_is_not_granted_says_how_long_was_waited() {
    for (fixture, waited) in [("mariadb/hold-lock-wait", "1 s"), ("mariadb/hold-lock-wait-ftwrl", "1 s")] {
        let reason = Mysql.read_hold(&good(), &[answer(fixture)]).unwrap_err();
        assert!(reason.message.ends_with(waited), "{reason:?}");
        assert!(reason.hint.is_some_and(|hint| hint.contains("SHOW PROCESSLIST")));
    }
}

#[test]
fn the_log_interval_is_waited_for_only_at_0() {
    assert!(matches!(&Mysql.flush(&good(), &token())[..], [Act::Ask { .. }]));
    let probe = probe(&Mysql, "mariadb/probe-no-binlog");
    let flush = Mysql.flush(&probe, &token());
    assert!(matches!(&flush[..], [Act::Wait(two), Act::Ask { .. }] if two.as_secs() == 2), "{flush:?}");
    let answers = [Answer::default(), answer("mariadb/flush-interval-1")];
    assert!(Mysql.read_flush(&probe, &answers).is_ok());
    assert!(Mysql.read_flush(&good(), &[answer("mariadb/flush")]).is_ok());
    assert!(Mysql.read_flush(&good(), &[with("mariadb/flush", "synced\n", "")]).is_err());
}

#[test]
fn held_is_the_same_session_with_its_token() {
    let read = |thaw: Answer| Mysql.read_thaw(&good(), &[answer("mariadb/hold")], &[thaw]);
    let thawed = read(answer("mariadb/thaw"));
    assert_eq!((thawed.held, thawed.released, thawed.why), (Held::Yes, true, None));
    for lost in ["mariadb/thaw-killed", "mariadb/thaw-wait-timeout"] {
        let thawed = read(answer(lost));
        // The release by token must see for itself that the session is gone.
        assert_eq!((thawed.held, thawed.released), (Held::No, false), "{lost}");
    }
    let session =
        super::shell::after(&answer("mariadb/thaw").out, "held", '\t').unwrap().split_once('\t').unwrap().0.to_owned();
    let with_owner =
        |owner: &str| with("mariadb/thaw", &format!("{session}\t{session}"), &format!("{session}\t{owner}"));
    assert_eq!(read(with_owner("NULL")).held, Held::No);
    assert_eq!(read(with_owner("7")).held, Held::No);
    // A session that is not the one of the hold may own the token, and yet not the lock.
    let other = with("mariadb/thaw", &format!("{session}\t{session}"), "7\t7");
    assert_eq!(read(other).held, Held::No);
    // Checked, but the end of the answer was lost: held it was, released it may not be.
    let mut cut = with("mariadb/thaw", "released\tyes\n", "");
    cut.end = End::Unknown("connection lost".into());
    assert_eq!((read(cut.clone()).held, read(cut).released), (Held::Yes, false));
    assert_eq!(Mysql.read_release(&[answer("mariadb/release")]), Released::Gone);
}

#[test]
fn files_of_unfinished_statements_are_seen() {
    assert!(good().leftovers.is_empty());
    let left = with("mariadb/probe", "sync\tyes\n", "leftover\tapp/#sql-alter-1-2.ibd\nsync\tyes\n");
    assert_eq!(Mysql.read_probe(&left).unwrap().leftovers, ["app/#sql-alter-1-2.ibd"]);
}

/// A file's name may hold newlines and tabs, and a record any text: the client would run `system` as a command of its own.
#[test]
fn only_a_known_statement_asks_for_the_binary_log() {
    let sent = |status: &str| {
        let mut probe = probe(&Mysql, "mariadb/probe");
        probe.settings.retain(|(name, _)| name != "binlog_status");
        probe.settings.push(("binlog_status".into(), status.into()));
        held_with(9, &probe)
    };
    assert!(sent("SHOW MASTER STATUS").contains("SHOW MASTER STATUS;"));
    for forged in ["system id", "SHOW MASTER STATUS; system id", ""] {
        let sent = sent(forged);
        assert!(!sent.contains("system") && !sent.contains("MASTER STATUS"), "{sent}");
    }
    let act = Mysql.probe();
    let Act::Exec { argv, .. } = act else { panic!("{act:?}") };
    assert!(argv[2].contains(r#"printf 'leftover\t%s\n' "$(one_line "$file")""#), "{}", argv[2]);
}
