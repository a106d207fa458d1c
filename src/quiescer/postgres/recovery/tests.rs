use super::super::Postgres;
use super::*;
use crate::quiescer::Quiescer;
use crate::quiescer::fixture::{answer, probe};
use crate::quiescer::{End, Reason};
use serde_json::json;

/// As it was backed up: the point that its hold and its release told.
fn point() -> RecoveryPoint {
    let mut probe = probe(&Postgres, "postgres/probe-databases");
    probe.hold_archiving();
    let thawed = Postgres.read_thaw(&probe, &[answer("postgres/archive-hold")], &[answer("postgres/archive-thaw")]);
    let mut point = thawed.point;
    point.0.extend([("lsn", "0/20000D8"), ("timeline", "1")].map(|(n, v)| (n.to_owned(), v.to_owned())));
    point
}

fn of_version(version: &str) -> Probe {
    let mut probe = probe(&Postgres, "postgres/probe-databases");
    probe.settings.iter_mut().filter(|s| s.0 == "server_version_num").for_each(|s| s.1 = version.into());
    probe
}

fn container(image: &str) -> Container {
    serde_json::from_value(json!({"name": "db", "image": image})).unwrap()
}

fn wanted(target: &str) -> Wanted {
    Wanted {
        command: "cp /archive/%f \"%p\" # it's C:\\ here".into(),
        target: Target::read(target).unwrap(),
        timeline: Timeline::Latest,
    }
}

fn planned(version: &str, wanted: &Wanted) -> Recovery {
    Postgres.recovery(&container("postgres:15"), &of_version(version), &point(), wanted).unwrap()
}

fn refused(image: &str, point: &RecoveryPoint, wanted: &Wanted) -> String {
    let reasons = Postgres.recovery(&container(image), &of_version("150018"), point, wanted).unwrap_err();
    reasons.into_iter().map(|Reason { message, .. }| message).collect::<Vec<_>>().join("; ")
}

#[test]
fn files_are_those_of_the_version() {
    let names = |version| {
        let files = planned(version, &wanted("time=2026-11-22 01:00:00+00")).files;
        files.iter().map(|f| f.path.rsplit('/').next().unwrap().to_owned()).collect::<Vec<_>>()
    };
    for version in ["100023", "110022"] {
        assert_eq!(names(version), ["backup_label", "recovery.conf"], "{version}");
    }
    for version in ["140011", "150018", "170002"] {
        assert_eq!(names(version), ["backup_label", "postgresql.auto.conf", "recovery.signal"], "{version}");
    }
}

#[test]
fn a_target_of_another_kind_is_emptied_before_the_asked_one() {
    let lines = &planned("150018", &wanted("time=2026-11-22 01:00:00.5+00")).files[1].content;
    assert_eq!(
        lines.lines().collect::<Vec<_>>(),
        [
            "recovery_target = ''",
            "recovery_target_name = ''",
            "recovery_target_xid = ''",
            "recovery_target_lsn = ''",
            r#"restore_command = 'cp /archive/%f "%p" # it''s C:\\ here'"#,
            "recovery_target_timeline = 'latest'",
            "recovery_target_inclusive = 'on'",
            "recovery_target_action = 'promote'",
            "recovery_target_time = '2026-11-22 01:00:00.5+00'",
        ]
    );
    let last =
        |version, target: &str| planned(version, &wanted(target)).files[1].content.lines().last().unwrap().to_owned();
    assert_eq!(last("150018", "lsn=0/2000100"), "recovery_target_lsn = '0/2000100'");
    assert_eq!(last("150018", "name=it's"), "recovery_target_name = 'it''s'");
    assert_eq!(last("170002", "xid=740"), "recovery_target_xid = '740'");
    assert_eq!(last("140011", "immediate"), "recovery_target = 'immediate'");
    assert_eq!(last("150018", "latest"), "recovery_target_timeline = 'latest'");
}

/// `current` is a word from 12 on.
#[test]
fn the_older_file_has_only_what_is_asked_for() {
    let current = Wanted { timeline: Timeline::Current, ..wanted("latest") };
    let lines = |version, wanted: &Wanted| planned(version, wanted).files[1].content.clone();
    assert_eq!(lines("110022", &current).lines().count(), 1, "the command");
    assert!(lines("110022", &wanted("latest")).ends_with("recovery_target_timeline = 'latest'\n"));
    assert!(lines("120001", &current).contains("recovery_target_timeline = 'current'\n"));
    assert!(!lines("100023", &wanted("xid=7")).contains("recovery_target_lsn"));
}

#[test]
fn label_and_map_are_written_as_they_came() {
    let argv = planned("150018", &wanted("latest")).argv;
    let script = &argv[2];
    let label = &point().0["backupLabel"];
    assert!(script.contains(&format!("printf %s '{label}' | base64 -d >\"$new\" && put backup_label")), "{script}");
    assert!(script.contains("rm -f tablespace_map"), "there is none");
    // The first segment that is needed, and what may go before it.
    assert!(script.contains("'/^000000010000000000000002$/q;p'"), "{script}");
    // What says that no server ran there goes last, and on the device.
    let at = |text: &str| script.find(text).unwrap_or_else(|| panic!("no {text} in {script}"));
    assert!(at("put recovery.signal") < at("rm -f postmaster.opts postmaster.pid"), "{script}");
    let mut with = point();
    with.0.insert("tablespaceMap".into(), STANDARD.encode("16400 /srv/fast\n"));
    let planned =
        Postgres.recovery(&container("postgres:15"), &of_version("150018"), &with, &wanted("latest")).unwrap();
    assert_eq!(planned.files[1].content, "16400 /srv/fast\n");
    assert!(planned.argv[2].contains("put tablespace_map"));
}

#[test]
fn what_cannot_be_recovered_is_refused() {
    let none = RecoveryPoint([("lsn".to_owned(), "0/1".to_owned())].into());
    assert!(refused("postgres:15", &none, &wanted("latest")).contains("not backed up in archive mode"));
    let early = refused("postgres:15", &point(), &wanted("lsn=0/20000FF"));
    assert!(early.contains("lsn=0/20000FF lies before the end of the backup (0/2000100)"), "{early}");
    let mut third = point();
    third.0.insert("timeline".into(), "3".into());
    let old = Wanted { timeline: Timeline::Number(2), ..wanted("lsn=0/1") };
    let both = refused("spilo:15", &third, &old);
    assert!(both.contains("run by spilo") && both.contains("before the end") && both.contains("timeline 2"), "{both}");
}

#[test]
fn only_a_new_timeline_proves_it() {
    let told = |out: &str| {
        let answer = Answer { out: out.into(), err: String::new(), end: End::Exited(0) };
        Postgres.read_recovered_by_log(&point(), &answer)
    };
    let well = told("timeline|2\nlsn|0/5000060\nend\n").unwrap();
    assert_eq!((well.point.0["timeline"].as_str(), well.left), ("2", None));
    assert!(told("timeline|1\nlsn|0/5000060\nend\n").unwrap_err().contains("still on timeline 1"));
    assert!(told("timeline|2\n").is_err(), "not whole");
    let left = told("timeline|2\nlsn|0/1\nleft|ERROR:  permission denied\nend\n").unwrap().left.unwrap();
    assert!(left.contains("ALTER SYSTEM RESET") && left.contains("permission denied"), "{left}");
    let act = |version| format!("{:?}", Postgres.recovered_by_log(&of_version(version)));
    assert!(act("150018").contains("ALTER SYSTEM RESET recovery_target_time;"));
    assert!(!act("110022").contains("ALTER SYSTEM"), "the server itself has put its file away");
}

#[test]
fn the_line_that_says_why_is_found_in_the_log() {
    let log = "2026-11-22 01:00:00 UTC [1] LOG:  starting archive recovery\n\
        2026-11-22 01:00:00 UTC [9] FATAL:  the database system is starting up\n\
        2026-11-22 01:00:01 UTC [1] FATAL:  recovery ended before configured recovery target was reached\n\
        2026-11-22 01:00:01 UTC [9] FATAL:  the database system is shutting down\n";
    assert!(Postgres.recovery_failed(log).unwrap().ends_with("recovery target was reached"));
    // Words that nobody here knows, of a server that gave up.
    let log = "LOG:  starting archive recovery\nFATAL:  something else\nFATAL:  the database system is starting up\n\
        LOG:  shutting down due to startup process failure\nFATAL:  too late\n";
    assert_eq!(Postgres.recovery_failed(log).unwrap(), "FATAL:  something else");
    assert_eq!(Postgres.recovery_failed("FATAL:  password authentication failed for user \"x\"\n"), None);
}
