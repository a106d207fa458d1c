//! What a database acknowledges before it is on the device is in the copy because the plugin flushes it. The same
//! setting without the flush must lose rows: a test that cannot see the loss would not see a missing flush either.

use crate::support::backup::{consistent, proved};
use crate::support::database::{Database, Kind};
use crate::support::random::Seeded;
use crate::support::scene::Scene;
use crate::times;

/// Loss is a race between the writers and the kernel's own writing; it is seen within a few trials.
const TRIALS: usize = 10;

/// A setting under which a database acknowledges early.
struct Setting {
    name: &'static str,
    database: fn() -> Database,
}

const REDIS: [Setting; 2] = [
    Setting {
        name: "redis-syncs-every-second",
        database: || Database::new(Kind::Redis).argument("--appendfsync", "everysec"),
    },
    // The copy has what the dump has that is written under the pause.
    Setting {
        name: "redis-without-append-only-file",
        database: || Database::new(Kind::Redis).argument("--appendonly", "no"),
    },
];

const MARIADB: [Setting; 3] = [
    Setting {
        name: "mariadb-syncs-every-second",
        database: || Database::new(Kind::Mariadb).argument("--innodb-flush-log-at-trx-commit", "2"),
    },
    Setting {
        name: "mariadb-writes-every-second",
        database: || Database::new(Kind::Mariadb).argument("--innodb-flush-log-at-trx-commit", "0"),
    },
    Setting { name: "mariadb-without-transactions", database: || Database::new(Kind::Mariadb).engine("MyISAM") },
];

/// Tests one of these settings in the sample, all of them in the full set.
fn flush_decides(settings: &[Setting]) {
    if times(0, 1) == 1 {
        settings.iter().for_each(flush_decides_under);
    } else {
        flush_decides_under(Seeded::of_run().one_of(settings));
    }
}

fn flush_decides_under(setting: &Setting) {
    println!("setting: {}", setting.name);
    let database = (setting.database)().every("5ms").unprobed();
    let kind = database.kind;
    let scene = Scene::new(setting.name, &[database]);
    for _ in 0..times(1, 20) {
        consistent(&scene, &[kind], &[]).copies_are_right(&scene);
    }
    let mut lost = Vec::new();
    while lost.len() < TRIALS && lost.iter().sum::<usize>() == 0 {
        let taken = proved(&scene, &[kind], &scene.backup_of(&[kind], &[]).without_flush().run().done());
        lost.push(taken.lost(&scene, kind));
    }
    println!("{}: rows lost without the flush: {lost:?}", setting.name);
    assert!(lost.iter().sum::<usize>() > 0, "no row was lost without the flush in {TRIALS} trials");
}

#[test]
fn only_the_flush_saves_what_redis_acknowledged_early() {
    flush_decides(&REDIS);
}

#[test]
fn only_the_flush_saves_what_mariadb_acknowledged_early() {
    flush_decides(&MARIADB);
}
