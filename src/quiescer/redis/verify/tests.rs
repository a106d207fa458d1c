#![allow(clippy::unwrap_used)]
use serde_json::json;

use super::*;
use crate::quiescer::End;
use crate::quiescer::verify::Outcome;

fn probe(more: &[(&str, &str)]) -> Probe {
    let base = [
        ("dir", "/data"),
        ("appendonly", "yes"),
        ("appenddirname", "appendonlydir"),
        ("appendfilename", "a.aof"),
        ("dbfilename", "dump.rdb"),
        ("bind", "127.0.0.1"),
    ];
    let mut settings: Vec<(String, String)> = Vec::new();
    for (name, value) in base.iter().chain(more) {
        settings.retain(|(n, _)| n != name);
        settings.push(((*name).to_owned(), (*value).to_owned()));
    }
    Probe { settings, ..Probe::default() }
}

fn alone_of(container: serde_json::Value, more: &[(&str, &str)]) -> Result<String, String> {
    let alone = alone(&serde_json::from_value(container).unwrap(), &probe(more));
    alone.map(|alone| alone.prepare[2].clone()).map_err(|reason| reason.message)
}

#[test]
fn the_files_that_a_server_would_read_are_checked() {
    let plain = || json!({"name": "r", "args": ["--appendonly", "yes"]});
    let script = alone_of(plain(), &[]).unwrap();
    assert!(
        script.contains("file='/data/appendonlydir/a.aof.manifest'") && script.contains("redis-check-aof"),
        "{script}"
    );
    assert!(alone_of(plain(), &[("appenddirname", "")]).unwrap().contains("file='/data/a.aof'"));
    let dump = alone_of(plain(), &[("appendonly", "no")]).unwrap();
    assert!(dump.contains("file='/data/dump.rdb'") && dump.contains("redis-check-rdb"), "{dump}");
}

#[test]
fn who_could_follow_the_real_one_is_refused() {
    let shell = || json!({"name": "r", "command": ["sh", "-c", "redis-server /conf/redis.conf"]});
    assert!(alone_of(shell(), &[]).is_ok());
    assert!(alone_of(shell(), &[("connected_slaves", "0")]).is_ok());
    assert!(alone_of(shell(), &[("connected_slaves", "1")]).unwrap_err().contains("replicas"));
    assert!(alone_of(json!({"name": "r", "args": ["redis-server"]}), &[("connected_slaves", "1")]).is_ok());
    assert!(alone_of(shell(), &[("cluster_enabled", "1")]).unwrap_err().contains("cluster mode"));
}

/// The copy has none of the labels by which a NetworkPolicy protects the real one.
#[test]
fn a_copy_listens_on_loopback_only() {
    let container = serde_json::from_value(json!({"name": "r", "args": ["--bind", "0.0.0.0"]})).unwrap();
    let alone = alone(&container, &probe(&[("bind", "0.0.0.0")])).unwrap();
    assert!(alone.arguments.windows(2).any(|two| two == ["--bind", "127.0.0.1"]), "{:?}", alone.arguments);
    let scripts =
        [json!({"name": "r", "command": ["sh", "-c", "redis-server /conf/redis.conf"]}), json!({"name": "r"})];
    for container in scripts {
        for bind in ["* -::*", "0.0.0.0", "127.0.0.1 10.0.0.7", ""] {
            let refused = alone_of(container.clone(), &[("bind", bind)]).unwrap_err();
            assert!(refused.contains("loopback"), "{refused}");
        }
        assert!(alone_of(container, &[("bind", "127.0.0.1 -::1")]).is_ok());
    }
}

/// The lines are those of redis-check-aof 7.0.15 on a file with a torn end, which a server cuts off without a word.
#[test]
fn a_torn_end_is_found() {
    let of = |text: &str| {
        let checked = read_files(text).remove(0);
        (checked.outcome, checked.output)
    };
    let well = "file|/data/a.manifest\nfiles|yes\ncode|0\nsaid|INCR AOF a.1.incr.aof is valid\nsaid|All AOF files and manifest are valid\nend\n";
    assert_eq!(of(well), (Outcome::Passed, "/data/a.manifest: All AOF files and manifest are valid".into()));
    let torn = "file|/data/a.manifest\nfiles|yes\ncode|1\nsaid|0x          296476: Expected to read 5 bytes, got 3 bytes\n\
        said|AOF a.1.incr.aof is not valid. Use the --fix option to try fixing it.\nend\n";
    let (outcome, output) = of(torn);
    assert_eq!(outcome, Outcome::Failed);
    assert!(output.contains("exit code 1") && output.contains("Expected to read 5 bytes"), "{output}");
    assert_eq!(of("file|/data/a.manifest\nfiles|no\nend\n").0, Outcome::Failed);
    assert_eq!(of("file|/data/a.manifest\nfiles|yes\nend\n").0, Outcome::NotAvailable);
    assert_eq!(of("file|/data/a.manifest\nfiles|yes\ncode|0\n").0, Outcome::Unknown, "the answer is not whole");
}

#[test]
fn keys_are_counted_by_nobodys_replica() {
    let of = |out: &str| {
        let answer = Answer { out: out.into(), err: String::new(), end: End::Exited(0) };
        read_keys(&answer).into_iter().map(|c| (c.outcome, c.output)).collect::<Vec<_>>()
    };
    let text = "role|master\nkeys|db0:keys=2,expires=0,avg_ttl=0\nsize|2\nbind|127.0.0.1\nports|seen\nlistens|0100007F:18EB\nend\n";
    let well = of(text);
    assert_eq!(well[0], (Outcome::Passed, "listens on loopback only, nobody's replica, bind=127.0.0.1".into()));
    assert_eq!(well[1], (Outcome::Passed, "db0:keys=2,expires=0,avg_ttl=0".into()));
    assert_eq!(of(&text.replace("role|master", "role|slave"))[0].0, Outcome::Failed);
    assert_eq!(of(&text.replace("size|2", "size|LOADING"))[1].0, Outcome::Failed);
    assert_eq!(of(&text.replace("bind|127.0.0.1", "bind|* -::*"))[0].0, Outcome::Failed);
    assert_eq!(of(&text.replace("bind|127.0.0.1", "bind|"))[0].0, Outcome::Unknown, "CONFIG may be forbidden");
    assert_eq!(of(&text.replace("0100007F", "00000000"))[0].0, Outcome::Failed, "a module may listen as well");
}
