//! No effect without its cause: money is moved between databases while they are backed up, and every copy can have been
//! true at one moment. The same judgement finds what is wrong with copies that nobody quiesced.

use std::time::Duration;

use crate::support::backup::part;
use crate::support::bank::{Bank, Findings};
use crate::support::classes::FaultClass;
use crate::support::database::Kind;
use crate::support::strikes::only;
use crate::times;

/// Between two transfers of a writer. Eight writers that never rest take most of a small machine.
fn pause() -> Duration {
    Duration::from_millis(times(10, 2) as u64)
}

#[test]
fn every_copy_was_true_at_one_moment_and_none_that_nobody_quiesced() {
    let banks = only("CONSISTENT_BACKUP_BANK", &BANKS).unwrap_or(BANKS.to_vec());
    let mut scene = Bank::scene("bank");
    if banks.contains(&"mixed") {
        scene = part("PostgreSQL and MariaDB", || {
            let bank = Bank::open(scene, [Kind::Postgres, Kind::Mariadb], pause());
            of_postgres_and_mariadb(&bank);
            bank.close()
        });
    }
    if banks.contains(&"postgres") {
        part("two PostgreSQL", || of_two_postgres(&Bank::open(scene, [Kind::Postgres, Kind::SecondPostgres], pause())));
    }
}

/// `CONSISTENT_BACKUP_BANK` names those that are opened.
const BANKS: [&str; 2] = ["mixed", "postgres"];

/// A row of backups of this bank, each verified as a copy.
fn backed_up_in_a_row(bank: &Bank, times: usize) {
    let begun = std::time::Instant::now();
    let mut wrong = 0;
    for round in 1..=times {
        let (taken, findings) = bank.backed_up();
        wrong += usize::from(told(&format!("{round}: {}", taken.run), &findings));
        bank.scene.plugin(&["delete", &taken.run, "--yes"]).run().done();
    }
    let moved = bank.acks().len();
    println!("{times} backups in {} s, {moved} transfers: {wrong} wrong", begun.elapsed().as_secs());
    assert_eq!(wrong, 0, "backups that were never true at one moment");
}

/// Says what was found, and whether anything is wrong.
fn told(what: &str, findings: &Findings) -> bool {
    let wrong = findings.wrong();
    println!("{what}: {} promised, {} in flight {wrong:#?}", findings.promised, findings.in_flight.len());
    !wrong.is_empty()
}

/// PostgreSQL is held lightly: the window is that of MariaDB and Redis, and its cut is the instant. The same bank without
/// quiescing: snapshots in a row, as the scripts of the field take them.
fn of_postgres_and_mariadb(bank: &Bank) {
    backed_up_in_a_row(bank, times(1, 50));
    let mut effects = Vec::new();
    for trial in 1..=times(1, 10) {
        bank.moves();
        let findings = bank.snapshots_in_a_row(&format!("row{trial}"));
        told(&format!("not quiesced {trial}"), &findings);
        effects.push(findings.credits_alone.len() + findings.counts_alone.len() + findings.unreadable.len());
    }
    println!("not quiesced: effects without their cause: {effects:?}");
    assert!(effects.iter().all(|effects| *effects > 0), "a copy that nobody quiesced was right: {effects:?}");
}

/// Of two PostgreSQL one is held fully: it is constant around the cut of the other. Two light holds, which the plugin does
/// not make: each copy recovers to its own cut, and nothing joins these.
fn of_two_postgres(bank: &Bank) {
    backed_up_in_a_row(bank, times(1, 50));
    let late = FaultClass::with(&bank.scene, "cut-delay-5s", Some(("cutDelay", "2s")));
    let mut effects = Vec::new();
    for trial in 1..=times(1, 10) {
        bank.moves();
        let findings = bank.snapshots_at_once(&format!("light{trial}"), &late.name);
        told(&format!("two light holds {trial}"), &findings);
        effects.push(findings.credits_alone.len());
    }
    println!("two light holds: credits without their debit: {effects:?}");
    assert!(effects.iter().all(|effects| *effects > 0), "two light holds were enough: {effects:?}");
}
