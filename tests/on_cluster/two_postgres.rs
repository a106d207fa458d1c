//! Two PostgreSQL servers in one window: one goes on committing, the tables of the other are locked.

use crate::support::acks::now;
use crate::support::backup::{consistent, held, part};
use crate::support::classes::FaultClass;
use crate::support::database::{Database, Kind};
use crate::support::leftovers::{backups, unnamed};
use crate::support::plugin::{list, run_of, text};
use crate::support::scene::Scene;
use crate::support::wait::{seconds, until, until_none};
use crate::times;

const BOTH: [Kind; 2] = [Kind::Postgres, Kind::SecondPostgres];

#[test]
fn one_server_commits_while_the_tables_of_the_other_are_locked() {
    let scene = Scene::new("two-postgres", &BOTH.map(Database::new));
    part("one light hold and one full hold", || one_light_and_one_full(&scene));
    part("killed while the tables are locked", || killed_while_the_tables_are_locked(&scene));
    part("a table that another session has locked", || a_table_that_another_session_has_locked(&scene));
}

fn one_light_and_one_full(scene: &Scene) {
    // A database without a table, whose name must be quoted.
    scene.statement(Kind::SecondPostgres, "CREATE DATABASE \"odd |name\"");
    for round in 1..=times(1, 20) {
        let taken = consistent(scene, &BOTH, &[]);
        let full = |pod: String| {
            let targets = list(&taken.record, "/status/targets");
            targets.iter().any(|target| target["pod"] == pod && target["stopsCommits"] == true)
        };
        assert!(!full(Kind::Postgres.pod()) && full(Kind::SecondPostgres.pod()), "{:#}", taken.record);
        taken.copies_are_right(scene);
        println!("{round}: {} held {:.3} s", taken.run, taken.held_seconds(Kind::SecondPostgres));
    }
    // The user's choice.
    scene.kubectl.ok(&["annotate", "pod", &Kind::SecondPostgres.pod(), "consistent-backup/hold=light"]);
    let taken = consistent(scene, &BOTH, &[]);
    assert!(taken.held_seconds(Kind::Postgres) > 0.0 && taken.held_seconds(Kind::SecondPostgres) == 0.0);
    scene.kubectl.ok(&["annotate", "pod", &Kind::SecondPostgres.pod(), "consistent-backup/hold-"]);
}

fn killed_while_the_tables_are_locked(scene: &Scene) {
    let class = FaultClass::new(scene, "cut-delay-5s");
    let begun = now();
    let mut running = held(scene.backup(&["--snapshot-class", &class.name, "--quiesce-budget", "8s"]));
    let locks = "SELECT count(*) FROM pg_locks WHERE relation = 'writes'::regclass AND mode = 'ShareLock' AND granted";
    assert_eq!(asked(scene, Kind::SecondPostgres, locks), "1", "the run holds, but its tables are not locked");
    running.kill_hard();
    assert!(running.end(seconds(5)).was_killed(), "it was over before it was killed");
    // Budget and five seconds.
    let bound = seconds(8 + 5);
    scene.all_serve(bound);
    for kind in BOTH {
        let gap = scene.acks(kind).gap_since(begun);
        println!("{} took no write for {gap:?}", kind.name());
        assert!(gap < bound, "{} took no write for {gap:?}", kind.name());
    }
    let run = backups(scene).iter().map(run_of).max().expect("a run");
    scene.plugin(&["thaw", &run]).run().done();
    until_none("nothing left behind", seconds(30), || unnamed(scene));
}

/// A transaction that lasts longer than the plugin waits for the lock.
fn a_table_that_another_session_has_locked(scene: &Scene) {
    scene.statement(Kind::SecondPostgres, "CREATE TABLE busy (n int)");
    // The server is process 1 of its container and inherits what runs on alone: a psql that ended with 2 would be a crashed
    // backend to it, and it would restart.
    let long = "(psql -X -q -U app -d app -c \"BEGIN; INSERT INTO busy VALUES (1); SELECT pg_sleep(600)\"; true) \
        >/dev/null 2>&1 &";
    scene.kubectl.exec(&Kind::SecondPostgres.pod(), &["sh", "-c", long]).done();
    let sessions = "FROM pg_locks WHERE relation = 'busy'::regclass AND mode = 'RowExclusiveLock' AND granted";
    let until_locked = |locked: &str| {
        until(&format!("{locked} sessions that lock the table"), seconds(60), || {
            match asked(scene, Kind::SecondPostgres, &format!("SELECT count(*) {sessions}")) {
                count if count == locked => Ok(()),
                count => Err(count),
            }
        });
    };
    until_locked("1");
    let ended = scene.backup(&[]).run().exits(1);
    let record = ended.json();
    let why = text(&record, "/status/reason");
    assert!(
        why.contains("the tables of database app could not be locked") && why.contains("pg_prepared_xacts"),
        "{why}"
    );
    assert_eq!(text(&record, "/status/outcome"), "Failed");
    scene.statement(Kind::Postgres, "CREATE TABLE free (n int)");
    asked(scene, Kind::SecondPostgres, &format!("SELECT pg_terminate_backend(pid) {sessions}"));
    until_locked("0");
}

/// What this PostgreSQL answers.
fn asked(scene: &Scene, kind: Kind, question: &str) -> String {
    let psql = ["psql", "-X", "-At", "-U", "app", "-d", "app", "-c", question];
    scene.kubectl.exec(&kind.pod(), &psql).done().stdout.trim().to_owned()
}
