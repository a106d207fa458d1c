//! What a database acknowledges before it is on the device is in the copy because the plugin flushes it. The same
//! setting without the flush must lose rows: a test that cannot see the loss would not see a missing flush either.

use crate::support::backup::{consistent, proved};
use crate::support::database::{Database, Kind};
use crate::support::scene::Scene;
use crate::times;

/// Loss is a race between the writers and the kernel's own writing; it is seen within a few trials.
const TRIALS: usize = 10;

fn flush_decides(setting: &str, database: Database) {
    let kind = database.kind;
    let scene = Scene::new(setting, &[database.every("1ms")]);
    for _ in 0..times(1, 20) {
        consistent(&scene, &[kind], &[]).copies_are_right(&scene);
    }
    let mut lost = Vec::new();
    while lost.len() < TRIALS && lost.iter().sum::<usize>() == 0 {
        let taken = proved(&scene, &[kind], &scene.backup_of(&[kind], &[]).without_flush().run().done());
        lost.push(taken.lost(&scene, kind));
    }
    println!("{setting}: rows lost without the flush: {lost:?}");
    assert!(lost.iter().sum::<usize>() > 0, "no row was lost without the flush in {TRIALS} trials");
}

#[test]
fn redis_that_syncs_every_second() {
    flush_decides("everysec", Database::new(Kind::Redis).argument("--appendfsync", "everysec"));
}

/// Without an append-only file: the copy has what the dump has that is written under the pause.
#[test]
fn redis_that_keeps_no_file() {
    flush_decides("dump", Database::new(Kind::Redis).argument("--appendonly", "no"));
}

#[test]
fn mariadb_that_syncs_every_second() {
    flush_decides("trx-2", Database::new(Kind::Mariadb).argument("--innodb-flush-log-at-trx-commit", "2"));
}

#[test]
fn mariadb_that_writes_every_second() {
    flush_decides("trx-0", Database::new(Kind::Mariadb).argument("--innodb-flush-log-at-trx-commit", "0"));
}

#[test]
fn mariadb_with_a_table_that_knows_no_transactions() {
    flush_decides("myisam", Database::new(Kind::Mariadb).engine("MyISAM"));
}
