//! The walks of the fold as it is: each must find no broken promise, and must have gone far enough to mean something.

use super::{AS_WRITTEN, Setup, Walk};
use crate::protocol::Abort;
use crate::protocol::backup::{Outcome, Shape};
use crate::protocol::process::Limits;

pub(super) const NO_LAG: Limits = Limits { deaths: 1, lag: false };

/// So many targets in one wave, so many claims, one attempt.
pub(super) fn shape(targets: usize, claims: usize) -> Shape {
    Shape {
        waves: vec![0; targets],
        stops_commits: vec![true; targets],
        archives: Vec::new(),
        claims,
        one_instant: false,
        attempts: 1,
        best: Outcome::ApplicationConsistent,
    }
}

/// One death, a lagging journal, interrupts.
pub(super) fn setup(shape: Shape) -> Setup {
    Setup { shape, limits: Limits { deaths: 1, lag: true }, aborts: &[Abort::Signal], fine: true }
}

fn holds(setup: &Setup, at_least: usize) {
    let walked = Walk::run(setup, AS_WRITTEN).unwrap_or_else(|broken| panic!("{broken}"));
    assert!(walked.states >= at_least && walked.ends > 100, "{walked:?}");
}

#[test]
fn one_target_dies_twice_and_is_repeated() {
    let shape = Shape { attempts: 2, ..shape(1, 1) };
    let setup =
        Setup { limits: Limits { deaths: 2, lag: true }, aborts: &[Abort::Signal, Abort::Budget], ..setup(shape) };
    holds(&setup, 50_000);
}

/// A full target and a light one, a claim each.
fn two() -> Setup {
    setup(Shape { stops_commits: vec![true, false], ..shape(2, 2) })
}

#[test]
fn two_targets_and_a_lagging_journal() {
    holds(&Setup { fine: false, ..two() }, 100_000);
}

#[test]
fn two_targets_in_every_detail() {
    holds(&Setup { limits: NO_LAG, ..two() }, 100_000);
}

#[test]
fn one_whose_log_is_to_be_archived() {
    let shape = Shape { archives: vec![0], ..shape(1, 2) };
    holds(&setup(shape), 10_000);
}

#[test]
fn two_waves() {
    let shape = Shape { waves: vec![0, 1], ..shape(2, 1) };
    holds(&setup(shape), 50_000);
}

#[test]
fn a_window_that_copies_nothing() {
    let shape = Shape { attempts: 2, ..shape(2, 0) };
    holds(&Setup { limits: NO_LAG, ..setup(shape.clone()) }, 10_000);
    // A planner's mistake: whoever goes on committing makes it no window.
    holds(&Setup { fine: false, limits: NO_LAG, ..setup(Shape { stops_commits: vec![true, false], ..shape }) }, 10_000);
}

/// The second is a planner's mistake: where nothing is held, nothing is application-consistent.
#[test]
fn nothing_to_hold() {
    for best in [Outcome::CrashConsistent, Outcome::ApplicationConsistent] {
        let shape = Shape { attempts: 2, best, ..shape(0, 1) };
        let limits = Limits { deaths: 2, lag: true };
        let setup = setup(shape);
        holds(&Setup { limits, ..setup }, 1_000);
    }
}

#[test]
fn a_group_snapshot_is_worth_keeping() {
    let shape = Shape { one_instant: true, attempts: 2, ..shape(1, 2) };
    holds(&Setup { fine: false, ..setup(shape) }, 10_000);
}

#[test]
fn two_lights_that_no_planner_would_allow() {
    let shape = Shape { stops_commits: vec![false, false], ..shape(2, 2) };
    holds(&Setup { limits: Limits { deaths: 0, lag: false }, fine: false, ..setup(shape) }, 10_000);
}
