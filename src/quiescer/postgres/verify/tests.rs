#![allow(clippy::unwrap_used)]
use serde_json::json;

use super::*;
use crate::quiescer::verify::Outcome;
use crate::quiescer::{Act, End};

fn probe(version: u32) -> Probe {
    let settings = [("data_directory", "/data/pg"), ("server_version_num", &version.to_string())];
    Probe { settings: settings.map(|(n, v)| (n.to_owned(), v.to_owned())).into(), ..Probe::default() }
}

fn alone_of(container: serde_json::Value, version: u32) -> Result<Alone, Reason> {
    alone(&serde_json::from_value(container).unwrap(), &probe(version))
}

fn answer(out: &str) -> Answer {
    Answer { out: out.into(), err: String::new(), end: End::Exited(0) }
}

fn outcomes(checked: &[Checked]) -> Vec<(&'static str, Outcome)> {
    checked.iter().map(|c| (c.name, c.outcome)).collect()
}

#[test]
fn a_copy_neither_archives_nor_replicates() {
    let alone = alone_of(json!({"name": "pg", "image": "postgres:15"}), 150_001).unwrap();
    let script = &alone.prepare[2];
    for setting in ["archive_mode = 'off'", "max_logical_replication_workers = '0'", "primary_conninfo = ''"] {
        assert!(script.contains(&setting.replace('\'', r"'\''")), "{setting} in {script}");
    }
    assert!(alone.arguments.windows(2).any(|two| two == ["-c", "archive_mode=off"]));
    // An unknown setting keeps a server from starting.
    let old = alone_of(json!({"name": "pg", "image": "postgres:11"}), 110_000).unwrap();
    assert!(!old.prepare[2].contains("primary_conninfo") && old.prepare[2].contains("archive_mode"));
}

/// pglogical, bdr, TimescaleDB, pg_cron and pg_net are libraries that register workers.
#[test]
fn a_copy_has_no_room_for_workers_and_listens_on_loopback() {
    let alone = alone_of(json!({"name": "pg", "args": ["postgres", "-c", "listen_addresses=*"]}), 150_001).unwrap();
    for setting in ["max_worker_processes=0", "listen_addresses=127.0.0.1"] {
        assert!(alone.arguments.iter().any(|argument| argument == setting), "{setting}: {:?}", alone.arguments);
        let (name, value) = setting.split_once('=').unwrap();
        assert!(alone.prepare[2].contains(&format!(r"{name} = '\''{value}'\''")), "{}", alone.prepare[2]);
    }
    assert!(!alone.arguments.iter().any(|argument| argument.contains("event_triggers")), "15 does not know it");
}

#[test]
fn a_start_program_that_would_win_over_the_copys_settings_is_refused() {
    let of = |container| alone_of(container, 150_001).map_err(|reason| reason.message);
    let shell = |text: &str| of(json!({"name": "pg", "command": ["sh", "-c", text]}));
    assert!(shell("exec postgres -c shared_buffers=1GB").is_ok());
    for setting in ["listen_addresses='*'", "archive_mode=on", "max_worker_processes=8"] {
        assert!(shell(&format!("exec postgres -c {setting}")).unwrap_err().contains("takes no arguments"), "{setting}");
    }
    assert!(of(json!({"name": "pg", "args": ["postgres", "-c", "archive_mode=on"]})).is_ok(), "the last one counts");
}

#[test]
fn who_would_join_a_cluster_is_refused() {
    for container in [
        json!({"name": "pg", "image": "registry/spilo-15:3.0"}),
        json!({"name": "pg", "image": "db:1", "env": [{"name": "PATRONI_SCOPE", "value": "x"}]}),
        json!({"name": "pg", "image": "bitnami/postgresql-repmgr:15"}),
        json!({"name": "pg", "image": "db:1", "command": ["stolon-keeper"]}),
    ] {
        assert!(alone_of(container.clone(), 150_001).is_err(), "{container}");
    }
}

#[test]
fn only_a_server_that_is_alone_is_asked_more() {
    let of = |out: &str| outcomes(&read_settings(&answer(out)));
    let well = "archive_mode|off\ndata_checksums|on\nlisten_addresses|127.0.0.1\nmax_logical_replication_workers|0\n\
        max_worker_processes|0\nrecovery|f\nports|seen\nlistens|0100007F:1538\nend\n";
    assert_eq!(of(well), [("isolated", Outcome::Passed), ("data-checksums", Outcome::Passed)]);
    assert_eq!(of(&well.replace("archive_mode|off", "archive_mode|on"))[0].1, Outcome::Failed);
    assert_eq!(of(&well.replace("archive_mode|off\n", ""))[0].1, Outcome::Failed, "not said is not off");
    assert_eq!(of(&well.replace("replication_workers|0", "replication_workers|4"))[0].1, Outcome::Failed);
    assert_eq!(of(&well.replace("processes|0", "processes|8"))[0].1, Outcome::Failed, "a preloaded library's worker");
    assert_eq!(of(&well.replace("addresses|127.0.0.1", "addresses|*"))[0].1, Outcome::Failed);
    assert_eq!(of(&well.replace("addresses|127.0.0.1", "addresses|"))[0].1, Outcome::Passed, "a Unix socket only");
    assert_eq!(of(&well.replace("listen_addresses|127.0.0.1\n", ""))[0].1, Outcome::Failed, "not said is not loopback");
    assert_eq!(of(&well.replace("0100007F", "00000000"))[0].1, Outcome::Failed, "a library listens as well");
    assert_eq!(of(&well.replace("ports|seen\n", ""))[0].1, Outcome::Unknown);
    assert_eq!(of(&well.replace("recovery|f", "recovery|t"))[0].1, Outcome::Failed);
    assert_eq!(of(&well.replace("checksums|on", "checksums|off"))[1].1, Outcome::NotAvailable);
}

/// The errors are those of PostgreSQL 15 with a leaf page overwritten by another one, and a table's page zeroed in part.
#[test]
fn damaged_indexes_and_tables_are_found() {
    let of = |out: &str| {
        let checked = read_amcheck(&answer(out));
        (checked[0].outcome, checked[0].output.clone())
    };
    let well = "database|app\nchecked|272\nexpected|272\nother|0\ndatabase|postgres\nchecked|270\nexpected|270\nother|2\nend\n";
    let (outcome, output) = of(well);
    assert_eq!(outcome, Outcome::Passed);
    assert_eq!(output, "542 tables and B-trees of 2 databases; 2 indexes of other kinds are not looked at");
    let damaged = "database|app\nchecked|270\nexpected|272\nother|0\n\
        bad|leftmost down link for level points to block in index \"d_n\" whose level is not one level down\n\
        bad|invalid page in block 10 of relation base/13572/16399\nend\n";
    let (outcome, output) = of(damaged);
    assert_eq!(outcome, Outcome::Failed);
    assert!(output.contains("\"d_n\"") && output.contains("invalid page in block 10"), "{output}");
    assert_eq!(of("database|app\nchecked|100\nexpected|272\nend\n").0, Outcome::Failed, "it went away in between");
    assert_eq!(of("database|app\nend\n").0, Outcome::Failed, "nothing was looked at");
    let none = "none|app: ERROR:  could not open extension control file\nend\n";
    assert_eq!(of(none).0, Outcome::NotAvailable);
    // One that crashes it leaves the next in recovery, and what is short is short whatever else is missing.
    let crashed = "database|app\nchecked|100\nexpected|272\n";
    assert_eq!(
        of(&format!("{crashed}lost|postgres: FATAL:  the database system is in recovery mode\nend\n")).0,
        Outcome::Failed
    );
    assert_eq!(of(&format!("{crashed}{none}")).0, Outcome::Failed);
    assert_eq!(of(&format!("{crashed}late|app\nend\n")).0, Outcome::Unknown, "no time is no damage");
    assert_eq!(
        of(&format!("{damaged}{none}").replace("end\n", "").replace("none|", "end2|x\nnone|")).0,
        Outcome::Unknown
    );
}

#[test]
fn a_table_that_cannot_be_read_is_found() {
    let of = |out: &str| outcomes(&read_dump(&answer(out)))[0].1;
    assert_eq!(of("read|app\nread|postgres\nend\n"), Outcome::Passed);
    let bad = "read|postgres\nbad|Dumping the contents of table \"h\" failed: PQgetResult() failed.\nunread|app\nend\n";
    assert_eq!(of(bad), Outcome::Failed);
    assert_eq!(of("end\n"), Outcome::Unknown);
    assert_eq!(of("read|app\nlate|big\nend\n"), Outcome::Unknown);
    assert_eq!(of("none|the image has no pg_dump\nend\n"), Outcome::NotAvailable);
}

#[test]
fn pages_with_another_checksum_are_counted() {
    let of = |out: &str| outcomes(&read_failures(&answer(out)))[0].1;
    assert_eq!(of("checksums|on\nfailures|0\nend\n"), Outcome::Passed);
    assert_eq!(of("checksums|on\nfailures|3\nend\n"), Outcome::Failed);
    assert_eq!(of("checksums|on\nend\n"), Outcome::Unknown);
    assert_eq!(of("checksums|off\nfailures|0\nend\n"), Outcome::NotAvailable);
}

#[test]
fn each_version_is_asked_what_it_knows() {
    let script = |version: u32, name: &str| {
        let check = checks(&probe(version), Duration::from_secs(60)).into_iter().find(|c| c.name == name);
        check.map(|check| match check.act {
            Act::Exec { argv, .. } => argv[2].clone(),
            other => panic!("{other:?}"),
        })
    };
    assert!(script(150_001, "amcheck").unwrap().contains("relkind IN ('r', 't', 'm')"));
    assert!(!script(130_000, "amcheck").unwrap().contains("relkind IN ('r', 't', 'm')"), "verify_heapam came with 14");
    assert!(script(130_000, "amcheck").unwrap().contains("bt_index_check(%s::regclass, true)"));
    assert!(script(100_000, "amcheck").unwrap().contains("bt_index_check(%s::regclass)"));
    assert!(script(110_000, "checksum-failures").is_none());
}
