#![allow(clippy::unwrap_used)]
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

#[test]
fn only_a_server_that_is_alone_is_asked_more() {
    let of = |out: &str| {
        let answer = Answer { out: out.into(), err: String::new(), end: End::Exited(0) };
        read_isolated(&answer)[0].outcome
    };
    assert_eq!(of("events|OFF\nreplication|asked\nend\n"), Outcome::Passed);
    assert_eq!(of("events|OFF\nreplication|asked\nrunning|No\nend\n"), Outcome::Passed);
    assert_eq!(of("events|OFF\nreplication|asked\nrunning|Connecting\nend\n"), Outcome::Failed);
    assert_eq!(of("events|ON\nreplication|asked\nend\n"), Outcome::Failed);
    assert_eq!(of("events|OFF\nend\n"), Outcome::Unknown);
}

#[test]
fn an_empty_folder_is_no_database() {
    assert_eq!(read_files("files|yes\nend\n")[0].outcome, Outcome::Passed);
    assert_eq!(read_files("files|no\nend\n")[0].outcome, Outcome::Failed);
    assert_eq!(read_files("files|yes\n")[0].outcome, Outcome::Unknown);
}
