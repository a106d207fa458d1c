#![allow(clippy::unwrap_used)]
use serde_json::json;

use super::*;
use crate::quiescer::End;
use crate::quiescer::verify::Outcome;

fn tables(out: &str) -> (Outcome, String) {
    let answer = Answer { out: out.into(), err: String::new(), end: End::Exited(0) };
    let checked = read_tables(&answer);
    (checked[0].outcome, checked[0].output.clone())
}

/// The lines are MariaDB 10.11's of a MyISAM table whose file was cut short; its exit code is 0 all the same.
#[test]
fn a_damaged_table_is_found() {
    assert_eq!(tables("code|0\nwell|30\nend\n"), (Outcome::Passed, "30 tables OK".into()));
    let damaged = "code|0\nwell|2\nsaid|app.m\nsaid|error    : Size of datafile is:     13000         Should be: 13251\n\
        said|error    : Corrupt\nend\n";
    let (outcome, output) = tables(damaged);
    assert_eq!(outcome, Outcome::Failed);
    assert!(output.starts_with("app.m: Size of datafile is:     13000"), "{output}");
    assert_eq!(tables("code|0\nwell|2\nsaid|app.x                  Needs upgrade\nend\n").0, Outcome::Failed);
    assert_eq!(tables("code|2\nwell|\nsaid|mariadb-check: Got error: 1045\nend\n").0, Outcome::Failed);
    assert_eq!(tables("code|0\nwell|0\nend\n").0, Outcome::Unknown);
    assert_eq!(tables("none|the image has no mariadb-check\nend\n").0, Outcome::NotAvailable);
    assert_eq!(tables("code|0\nwell|2\n").0, Outcome::Unknown, "the answer is not whole");
}

#[test]
fn a_remark_is_no_damage() {
    let note =
        "code|0\nwell|2\nsaid|app.b\nsaid|note     : The storage engine for the table doesn't support check\nend\n";
    let (outcome, output) = tables(note);
    assert_eq!(outcome, Outcome::Passed);
    assert!(output.contains("app.b: The storage engine"), "{output}");
    let closed =
        "code|0\nwell|3\nsaid|app.m\nsaid|warning  : 1 client is using or hasn't closed the table properly\nend\n";
    assert_eq!(tables(closed).0, Outcome::Passed, "the line `status   : OK` after it is among those that are well");
}

#[test]
fn leftovers_are_named() {
    let answer = Answer {
        out: "code|0\nwell|3\nleft|app/#sql-alter-1a2b.frm\nend\n".into(),
        err: String::new(),
        end: End::Exited(0),
    };
    let leftovers = read_tables(&answer).remove(1);
    assert_eq!((leftovers.name, leftovers.outcome), ("leftovers", Outcome::Passed));
    assert!(leftovers.output.contains("app/#sql-alter-1a2b.frm"));
}

/// The lines are MariaDB 10.11's, with those that only MySQL 8 has.
#[test]
fn only_a_server_that_is_alone_is_asked_more() {
    let of = |out: &str| {
        let answer = Answer { out: out.into(), err: String::new(), end: End::Exited(0) };
        read_isolated(&answer)[0].outcome
    };
    let well = "bind_address|127.0.0.1\nevent_scheduler|OFF\nwsrep_on|OFF\nmember|OFFLINE\nreplication|asked\nports|seen\n\
        listens|0100007F:0CEA\nend\n";
    assert_eq!(of(well), Outcome::Passed);
    let with = |line: &str| of(&well.replace("ports|seen", &format!("{line}\nports|seen")));
    assert_eq!(with("running|No"), Outcome::Passed);
    assert_eq!(with("running|Connecting"), Outcome::Failed);
    assert_eq!(with("mysqlx_bind_address|*"), Outcome::Failed);
    assert_eq!(with("admin_address|10.0.0.7"), Outcome::Failed);
    assert_eq!(with("admin_address|"), Outcome::Passed, "there is no such listener");
    assert_eq!(with("member|ONLINE"), Outcome::Failed);
    assert_eq!(with("member|RECOVERING"), Outcome::Failed);
    assert_eq!(with("listens|00000000:8124"), Outcome::Failed, "a plugin that no variable tells of");
    assert_eq!(of(&well.replace("event_scheduler|OFF", "event_scheduler|ON")), Outcome::Failed);
    assert_eq!(of(&well.replace("bind_address|127.0.0.1", "bind_address|0.0.0.0")), Outcome::Failed);
    assert_eq!(of(&well.replace("wsrep_on|OFF", "wsrep_on|ON")), Outcome::Failed);
    assert_eq!(of(&well.replace("replication|asked\n", "")), Outcome::Unknown);
    assert_eq!(of(&well.replace("event_scheduler|OFF\n", "")), Outcome::Unknown);
    assert_eq!(of(&well.replace("ports|seen\n", "")), Outcome::Unknown);
}

fn alone_of(container: serde_json::Value) -> Result<Alone, String> {
    let mut container = container;
    container["name"] = "db".into();
    let probe = Probe { settings: vec![("datadir".into(), "/var/lib/mysql".into())], ..Probe::default() };
    alone(&serde_json::from_value(container).unwrap(), &probe).map_err(|reason| reason.message)
}

/// On the command line and in the file alike: which of them reaches the server is not known.
#[test]
fn a_copy_listens_on_loopback_and_joins_no_group() {
    let alone = alone_of(json!({"args": ["mysqld", "--bind-address=*"]})).unwrap();
    let script = &alone.prepare[2];
    for option in [
        "bind-address=127.0.0.1",
        "loose-mysqlx=OFF",
        "loose-admin-address=127.0.0.1",
        "loose-group-replication-start-on-boot=OFF",
        "loose-wsrep-on=OFF",
        "event-scheduler=OFF",
        "loose-skip-replica-start",
        "loose-persisted-globals-load=OFF",
    ] {
        assert!(alone.arguments.contains(&format!("--{option}")), "{option}: {:?}", alone.arguments);
        assert!(script.contains(option), "{option}: {script}");
    }
}

/// A variable of `SET PERSIST` wins over the command line.
#[test]
fn persisted_variables_are_removed_from_the_copy() {
    let script = alone_of(json!({})).unwrap().prepare.remove(2);
    let removes = script.lines().find(|line| line.starts_with("rm -f")).unwrap();
    assert!(removes.split(' ').any(|word| word == "mysqld-auto.cnf"), "{removes}");
}

#[test]
fn a_start_program_that_would_win_over_the_copys_options_is_refused() {
    let shell = |text: &str| alone_of(json!({"command": ["sh", "-c", text]}));
    assert!(shell("exec mysqld").is_ok());
    for text in ["mysqld --defaults-file=/etc/x.cnf", "mysqld --no-defaults", "mariadbd --bind_address=0.0.0.0"] {
        assert!(shell(text).unwrap_err().contains("takes no arguments"), "{text}");
    }
    let home = json!([{"name": "MYSQL_HOME", "value": "/conf"}]);
    assert!(alone_of(json!({"command": ["/start.sh"], "env": home})).unwrap_err().contains("MYSQL_HOME"));
    // Arguments that follow win over all of it.
    assert!(alone_of(json!({"args": ["mysqld", "--defaults-file=/etc/x.cnf"], "env": home})).is_ok());
}

#[test]
fn the_name_of_a_file_is_one_line() {
    assert!(TABLES.contains(r"tr -d '\000-\037\177'"));
}

#[test]
fn an_empty_folder_is_no_database() {
    assert_eq!(read_files("files|yes\nend\n")[0].outcome, Outcome::Passed);
    assert_eq!(read_files("files|no\nend\n")[0].outcome, Outcome::Failed);
    assert_eq!(read_files("files|yes\n")[0].outcome, Outcome::Unknown);
}
