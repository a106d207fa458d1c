//! The plugin on a real Kubernetes: real databases under load, real snapshots, faults and kills.
//!
//! Needs the cluster of `tests/cluster/up`; without it every test here fails. A small sample of the long rows runs
//! unless `CONSISTENT_BACKUP_FULL=1`.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]
#![allow(clippy::cast_precision_loss, reason = "times of a test are printed, not computed with")]
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a long test says how far it is")]

mod support;

#[path = "on_cluster/as_plugin.rs"]
mod as_plugin;
#[path = "on_cluster/bank.rs"]
mod bank;
#[path = "on_cluster/cold.rs"]
mod cold;
#[path = "on_cluster/consistency.rs"]
mod consistency;
#[path = "on_cluster/durability.rs"]
mod durability;
#[path = "on_cluster/faults.rs"]
mod faults;
#[path = "on_cluster/forged.rs"]
mod forged;
#[path = "on_cluster/from_archive.rs"]
mod from_archive;
#[path = "on_cluster/gone.rs"]
mod gone;
#[path = "on_cluster/harness.rs"]
mod harness;
#[path = "on_cluster/hostile_owner.rs"]
mod hostile_owner;
#[path = "on_cluster/kills.rs"]
mod kills;
#[path = "on_cluster/outages.rs"]
mod outages;
#[path = "on_cluster/pods_change.rs"]
mod pods_change;
#[path = "on_cluster/refusals.rs"]
mod refusals;
#[path = "on_cluster/restore.rs"]
mod restore;
#[path = "on_cluster/restore_blows.rs"]
mod restore_blows;
#[path = "on_cluster/rights.rs"]
mod rights;
#[path = "on_cluster/scalar.rs"]
mod scalar;
#[path = "on_cluster/scalar_faults.rs"]
mod scalar_faults;
#[path = "on_cluster/scalar_restore.rs"]
mod scalar_restore;
#[path = "on_cluster/scalar_struck.rs"]
mod scalar_struck;
#[path = "on_cluster/shell/mod.rs"]
mod shell;
#[path = "on_cluster/standin.rs"]
mod standin;
#[path = "on_cluster/sweep.rs"]
mod sweep;
#[path = "on_cluster/two_postgres.rs"]
mod two_postgres;
#[path = "on_cluster/two_runs.rs"]
mod two_runs;
#[path = "on_cluster/undo.rs"]
mod undo;
#[path = "on_cluster/verify.rs"]
mod verify;
#[path = "on_cluster/wal_archive.rs"]
mod wal_archive;
#[path = "on_cluster/without_parts.rs"]
mod without_parts;
#[path = "on_cluster/workloads.rs"]
mod workloads;

/// How often: a sample, or the full row of `CONSISTENT_BACKUP_FULL=1`.
fn times(sample: usize, full: usize) -> usize {
    if std::env::var("CONSISTENT_BACKUP_FULL").as_deref() == Ok("1") { full } else { sample }
}
