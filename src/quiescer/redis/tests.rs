//! Answers of Redis 7.0.
#![allow(clippy::unwrap_used)]

use super::*;
use crate::quiescer::fixture::{answer, probe, refused, refused_answer, with};

fn good() -> Probe {
    probe(&Redis, "redis/probe")
}

fn held() -> Vec<Answer> {
    vec![answer("redis/hold-0"), Answer::default(), answer("redis/hold-2"), answer("redis/hold-3")]
}

fn thawed() -> Vec<Answer> {
    vec![answer("redis/thaw-0"), answer("redis/thaw-1"), answer("redis/thaw-2")]
}

#[test]
fn a_master_with_its_file_is_accepted() {
    let probe = good();
    assert_eq!((probe.version.as_str(), probe.role.as_str(), probe.stops_commits), ("7.0.15", "master", true));
    assert_eq!(probe.data_dirs, ["/tmp/dbs/rd/data"]);
    assert_eq!(probe.setting("appenddirname"), "appendonlydir");
    assert!(super::tests::probe(&Redis, "redis/probe-cluster").notes.iter().any(|note| note.contains("cluster")));
}

#[test]
fn a_replica_is_told_with_its_directory() {
    let replica = probe(&Redis, "redis/probe-replica");
    assert!(replica.is_replica() && !good().is_replica());
    assert_eq!((replica.role.as_str(), replica.data_dirs.as_slice()), ("replica", &["/tmp/dbs/rd2".to_owned()][..]));
    let told = with("redis/probe-replica", "role:slave", "role:slave\nmaster_replid:7f\nmaster_link_status:down");
    let lost = Redis.read_probe(&told).unwrap();
    assert_eq!((lost.role.as_str(), lost.replication.as_str()), ("lost replica", "7f"));
    assert_eq!(
        Redis.read_probe(&with("redis/probe", "role:master", "role:master\nmaster_replid:7f")).unwrap().replication,
        "7f"
    );
}

#[test]
fn what_cannot_be_held_is_refused_with_its_reason() {
    for (fixture, words) in [
        ("redis/probe-paused", "paused already"),
        ("redis/probe-no-password", "NOAUTH"),
        ("redis/probe-wrong-password", "WRONGPASS"),
        ("redis/probe-not-running", "Could not connect"),
    ] {
        assert!(refused(&Redis, fixture).contains(words), "{fixture}: {}", refused(&Redis, fixture));
    }
    let hint = Redis.read_probe(&answer("redis/probe-no-password")).unwrap_err().remove(0).hint;
    assert!(hint.is_some_and(|hint| hint.contains("REDIS_PASSWORD")));
    for (from, to, words) in [
        ("redis_version:7.0.15", "redis_version:6.0.16", "6.0.16"),
        ("\nloading:0", "\nloading:1", "loading"),
        ("aof_last_write_status:ok", "aof_last_write_status:err", "failed"),
        ("dir_real:/tmp/dbs/rd/data\n", "", "directory"),
        ("witness:0,0", "witness:0,NOPERM this user", "refused"),
        ("sync:yes", "sync:no", "sync -f"),
        ("\nend\n", "\n", "not understood"),
    ] {
        let changed = with("redis/probe", from, to);
        assert!(refused_answer(&Redis, &changed).contains(words), "{words}");
    }
}

#[test]
fn both_connections_are_named_before_the_hold() {
    let prepare = format!("{:?}", Redis.prepare(&good(), &Token { run: "r".into(), attempt: 1 }));
    for name in ["session", "witness"] {
        assert!(prepare.contains(&format!("CLIENT SETNAME consistent-backup/r/1/{name}")), "{prepare}");
    }
}

#[test]
fn the_hold_took_only_if_the_witness_waits() {
    let point = Redis.read_hold(&good(), &held()).unwrap();
    assert!(point.0["aofIncrement"].ends_with(".incr.aof") && point.0["aofBase"].contains(".base."));
    assert_eq!(point.0["replicationId"].len(), 40);
    let changed = |at: usize, answer: Answer| {
        let mut answers = held();
        answers[at] = answer;
        Redis.read_hold(&good(), &answers)
    };
    assert!(changed(0, with("redis/hold-0", "OK", "NOPERM")).is_err());
    assert!(changed(2, with("redis/hold-2", "flags=b", "flags=N")).is_err());
    assert!(changed(2, with("redis/hold-2", "/1/witness age", "/2/witness age")).is_err(), "another attempt's");
    assert!(changed(2, with("redis/hold-2", "role:master", "role:slave")).is_err());
    assert!(Redis.read_hold(&good(), &held()[..2]).is_err());
    // A version without a manifest has no file names.
    assert!(changed(3, Answer::default()).is_ok_and(|point| !point.0.contains_key("aofBase")));
}

#[test]
fn a_name_without_a_blocked_client_is_no_witness() {
    let list = |lines: &str| witness::waits(&format!("name=consistent-backup/r/1/witness\n{lines}"));
    assert!(list("id=3 name=consistent-backup/r/1/witness flags=b cmd=del"));
    assert!(!list("id=3 name=consistent-backup/r/1/witness flags=N cmd=del"));
    assert!(!list("id=3 name=consistent-backup/r/1/session flags=b cmd=del"));
    assert!(!list("id=3 name=consistent-backup/r/1/witness2 flags=b\nid=4 name= flags=b"));
    assert!(!list(""));
    assert!(!witness::waits("id=3 name=consistent-backup/r/1/witness flags=b"));
}

#[test]
fn flushed_is_handed_over_and_synced() {
    let read = |answers: &[Answer]| Redis.read_flush(&good(), answers);
    assert!(read(&[answer("redis/flush-0"), answer("redis/flush-1")]).is_ok());
    assert!(read(&[answer("redis/flush-0")]).is_err());
    for (from, to) in [
        ("aof_buffer_length:0", "aof_buffer_length:17"),
        ("aof_pending_bio_fsync:0", "aof_pending_bio_fsync:1"),
        ("aof_last_write_status:ok", "aof_last_write_status:err"),
        ("aof_enabled:1", "aof_enabled:0"),
        ("aof_pending_bio_fsync:0\n", ""),
    ] {
        assert!(read(&[with("redis/flush-0", from, to), answer("redis/flush-1")]).is_err(), "{to:?}");
    }
}

#[test]
fn without_an_append_only_file_the_dump_holds_everything() {
    let probe = probe(&Redis, "redis/probe-no-aof");
    assert!(probe.notes.iter().any(|note| note.contains("a dump is written while it is held")), "{:?}", probe.notes);
    let took = |seconds: &str| {
        let answer = with("redis/probe-no-aof", "rdb_last_bgsave_time_sec:-1", seconds);
        Redis.read_probe(&answer).unwrap().flush_seconds
    };
    assert_eq!((took("rdb_last_bgsave_time_sec:-1"), took("rdb_last_bgsave_time_sec:41")), (1, 42));
    assert_eq!(good().flush_seconds, 0);
    let failed = with("redis/probe-no-aof", "rdb_last_bgsave_status:ok", "rdb_last_bgsave_status:err");
    assert!(refused_answer(&Redis, &failed).contains("the last dump failed"));

    let point = Redis.read_hold(&probe, &held()).unwrap();
    assert_eq!((point.0["dump"].as_str(), point.0.contains_key("aofBase")), ("dump.rdb", false));

    let flush = Redis.flush(&probe, &Token { run: "r".into(), attempt: 1 });
    let [Act::Poll { done: idle, .. }, Act::Ask { send, .. }, Act::Poll { done, .. }, _] = &flush[..] else {
        panic!("{flush:?}")
    };
    assert!(send.starts_with("BGSAVE\n"), "{send}");
    let (running, saved) = (answer("redis/dump-running"), answer("redis/dump-saved"));
    assert!(!idle(&running.out) && !done(&running.out) && idle(&saved.out) && done(&saved.out));

    let read = |end: &Answer| {
        let synced = answer("redis/flush-1");
        Redis.read_flush(&probe, &[saved.clone(), Answer::default(), end.clone(), synced])
    };
    assert!(read(&saved).is_ok());
    assert!(read(&running).is_err());
    // A dump that was begun before the pause leaves a change behind; one that failed is over, and nothing.
    assert!(read(&with("redis/dump-saved", "rdb_changes_since_last_save:0", "rdb_changes_since_last_save:3")).is_err());
    let failed = with("redis/dump-saved", "rdb_last_bgsave_status:ok", "rdb_last_bgsave_status:err");
    assert!(done(&failed.out) && read(&failed).is_err());
    assert!(Redis.read_flush(&probe, std::slice::from_ref(&saved)).is_err());
}

#[test]
fn held_is_a_witness_that_waited_until_the_release() {
    let read = |answers: &[Answer]| Redis.read_thaw(&good(), &held(), answers);
    let good = read(&thawed());
    assert_eq!((good.held, good.released, good.why), (Held::Yes, true, None));
    for lost in ["redis/thaw-expired", "redis/thaw-witness-killed"] {
        // The script ended at its first act, so nothing was released by it.
        let thawed = read(&[answer(lost)]);
        assert_eq!((thawed.held, thawed.released), (Held::No, false), "{lost}");
    }
    let mut answers = thawed();
    answers[2].out = "READONLY You can't write against a read only replica.\n".into();
    assert_eq!(read(&answers).held, Held::No);
    answers[2] = Answer { end: crate::quiescer::End::Unknown("no answer".into()), ..Answer::default() };
    assert_eq!((read(&answers).held, read(&answers).released), (Held::Unknown, true));
    answers.truncate(1);
    assert_eq!((read(&answers).held, read(&answers).released), (Held::Unknown, false));
}

#[test]
fn a_pause_that_is_not_ours_is_not_ended() {
    assert_eq!(Redis.read_release(&[answer("redis/release")]), Released::Gone);
    let Released::Unknown(why) = Redis.read_release(&[answer("redis/release-not-ours")]) else { panic!() };
    assert!(why.contains("somebody else"), "{why}");
}
