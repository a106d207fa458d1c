//! Mistakes that somebody may make in the fold: each must break the walk, and for the right reason.

use super::runs::{NO_LAG, setup, shape};
use super::{AS_WRITTEN, Rules, Setup, Walk};
use crate::protocol::Abort;
use crate::protocol::backup::{CutPhase, Event, Held, IllegalEvent, Outcome, Phase, Run, Shape, Spoilt, Step};

/// What `next` says of the run when something in it is overlooked.
fn overlooking(run: &Run, what: impl Fn(&mut Run)) -> Step {
    let mut seen = run.clone();
    what(&mut seen);
    seen.next()
}

fn without_phase(run: &mut Run, overlooked: Phase) {
    for target in run.targets.iter_mut().filter(|target| target.phase == overlooked) {
        target.phase = Phase::Serving;
    }
}

fn without_cut(run: &mut Run, overlooked: CutPhase) {
    for copy in run.copies.iter_mut().filter(|copy| copy.phase == overlooked) {
        copy.phase = CutPhase::Discarded;
    }
}

/// As written, but believes what it refuses: who gets `next` wrong gets the check of it wrong in the same way.
#[expect(clippy::unnecessary_wraps, reason = "takes the place of `Run::apply`")]
fn believing(run: &mut Run, event: &Event) -> Result<(), IllegalEvent> {
    if run.apply(event).is_err() {
        match *event {
            Event::Finished(outcome) => run.finished = Some(outcome),
            Event::Attempt(n) => run.begin(n),
            Event::Cut(c) => run.copies[c].phase = CutPhase::Done,
            Event::Settled(c) => run.copies[c].settled = true,
            Event::DiscardIntended => {
                for copy in &mut run.copies {
                    copy.phase = CutPhase::Discarding;
                }
            }
            _ => {}
        }
    }
    Ok(())
}

/// The steps in another order.
fn ordering(next: fn(&Run) -> Step) -> Rules {
    Rules { next, apply: believing, ..AS_WRITTEN }
}

fn one() -> Setup {
    setup(shape(1, 1))
}

fn repeated() -> Setup {
    Setup { aborts: &[Abort::Budget], ..setup(Shape { attempts: 2, ..shape(1, 1) }) }
}

fn breaks(setup: &Setup, rules: Rules, reason: &str) {
    let broken = Walk::run(setup, rules).expect_err("the walk did not see it");
    let first = broken.lines().next().unwrap_or_default();
    assert!(first.contains(reason), "broken by another reason: {first}");
}

fn breaks_in(setup: &Setup, apply: fn(&mut Run, &Event) -> Result<(), IllegalEvent>, reason: &str) {
    breaks(setup, Rules { apply, ..AS_WRITTEN }, reason);
}

#[test]
fn a_command_that_timed_out_did_nothing() {
    let next = |run: &Run| {
        overlooking(run, |run| {
            if run.spoilt > Spoilt::No {
                without_phase(run, Phase::Quiescing);
            }
        })
    };
    breaks(&one(), ordering(next), "while something");
}

#[test]
fn a_thaw_needs_no_check() {
    breaks_in(
        &one(),
        |run, event| match *event {
            Event::Thawed { target, .. } => run.apply(&Event::Thawed { target, held: Held::Yes }),
            _ => run.apply(event),
        },
        "ApplicationConsistent is not true",
    );
}

#[test]
fn what_nobody_saw_was_held() {
    breaks_in(
        &one(),
        |run, event| match *event {
            Event::Thawed { target, held: Held::Unknown } => run.apply(&Event::Thawed { target, held: Held::Yes }),
            _ => run.apply(event),
        },
        "ApplicationConsistent is not true",
    );
}

#[test]
fn what_failed_is_not_discarded() {
    let next = |run: &Run| match run.next() {
        Step::Discard(_) if run.may_be_held().is_empty() => Step::Finish(Outcome::Failed),
        step => step,
    };
    breaks(&one(), ordering(next), "is not true");
}

#[test]
fn a_failed_cut_leaves_nothing() {
    let next = |run: &Run| overlooking(run, |run| without_cut(run, CutPhase::Failed));
    breaks(&one(), ordering(next), "is not true");
}

#[test]
fn a_cut_that_was_only_intended_leaves_nothing() {
    let next = |run: &Run| {
        overlooking(run, |run| {
            if run.spoilt > Spoilt::No {
                without_cut(run, CutPhase::Started);
            }
        })
    };
    breaks(&one(), ordering(next), "is not true");
}

#[test]
fn a_deletion_asked_for_is_done() {
    breaks_in(
        &one(),
        |run, event| {
            run.apply(event)?;
            if *event == Event::DiscardIntended {
                without_cut(run, CutPhase::Discarding);
            }
            Ok(())
        },
        "has a snapshot and no journal says so",
    );
}

#[test]
fn a_silent_driver_has_deleted() {
    breaks_in(
        &one(),
        |run, event| match *event {
            Event::DiscardPending(c) => run.apply(&Event::Discarded(c)),
            _ => run.apply(event),
        },
        "has a snapshot and no journal says so",
    );
}

#[test]
fn a_cut_needs_no_flush() {
    breaks_in(
        &one(),
        |run, event| {
            run.apply(event)?;
            if let Event::Quiesced(t) = *event {
                run.targets[t].phase = Phase::Flushed;
            }
            Ok(())
        },
        "ApplicationConsistent is not true",
    );
}

#[test]
fn cut_before_quiesce() {
    let next = |run: &Run| match run.next() {
        Step::Thaw(_) if run.spoilt == Spoilt::No && run.target(0) == Phase::Quiescing => Step::Quiesce(vec![0]),
        Step::Thaw(_) if run.spoilt == Spoilt::No && run.target(0) == Phase::Quiesced => Step::Flush(vec![0]),
        Step::Quiesce(_) if run.cut(0) == CutPhase::Started => Step::Cut(vec![0]),
        step => step,
    };
    breaks(&one(), ordering(next), "ApplicationConsistent is not true");
}

#[test]
fn thaw_after_compare() {
    let next = |run: &Run| {
        overlooking(run, |run| {
            if run.spoilt == Spoilt::No && run.all_cut() {
                run.targets.iter_mut().for_each(|target| target.phase = Phase::Thawed(Held::Yes));
            }
        })
    };
    breaks(&one(), ordering(next), "Compare while something is held");
}

#[test]
fn discard_before_thaw() {
    let next = |run: &Run| match run.spoilt {
        Spoilt::No => run.next(),
        _ => run.next_of_failed(),
    };
    breaks(&one(), ordering(next), "while something");
}

#[test]
fn settle_before_thaw() {
    let next = |run: &Run| match run.next() {
        Step::Thaw(_) if run.spoilt == Spoilt::No => Step::Settle(vec![0]),
        step => step,
    };
    breaks(&one(), ordering(next), "Settle([0]) while something is held");
}

#[test]
fn a_spent_budget_may_be_spent_again() {
    breaks_in(
        &repeated(),
        |run, event| match event {
            Event::Aborted(Abort::Budget) => run.apply(&Event::Aborted(Abort::PodsChanged)),
            _ => run.apply(event),
        },
        "repeated, though it must not be",
    );
}

#[test]
fn a_failed_cut_may_be_repeated() {
    breaks_in(
        &repeated(),
        |run, event| {
            let before = run.spoilt;
            run.apply(event)?;
            if matches!(event, Event::CutFailed(_)) {
                run.spoilt = before.max(Spoilt::Repeatable);
            }
            Ok(())
        },
        "repeated, though it must not be",
    );
}

#[test]
fn who_takes_over_may_repeat() {
    let rules = Rules {
        recovery: |_| vec![Event::TakenOver, Event::Aborted(Abort::PodsChanged)],
        apply: |run, event| {
            run.apply(event)?;
            run.taken_over = false;
            Ok(())
        },
        ..AS_WRITTEN
    };
    breaks(&repeated(), rules, "repeated, though it must not be");
}

#[test]
fn repeated_while_a_snapshot_is_left() {
    let next = |run: &Run| overlooking(run, |run| without_cut(run, CutPhase::DiscardPending));
    breaks(&repeated(), ordering(next), "repeated, though it must not be");
}

#[test]
fn a_death_changes_nothing() {
    let recovery = |_: &Run| vec![Event::TakenOver];
    breaks(&one(), Rules { recovery, ..AS_WRITTEN }, "ApplicationConsistent is not true");
}

#[test]
fn what_is_stuck_serves() {
    breaks_in(
        &one(),
        |run, event| match *event {
            Event::ThawGivenUp(target) => run.apply(&Event::Thawed { target, held: Held::No }),
            _ => run.apply(event),
        },
        "is held and no journal says so",
    );
}

#[test]
fn intents_wait_for_no_write() {
    let lazy = |durable| Rules { durable, ..AS_WRITTEN };
    let wave = lazy(|event| !matches!(event, Event::WaveIntended(_)));
    breaks(&one(), wave, "is held and no journal says so");
    let cut = lazy(|event| *event != Event::CutIntended);
    let bare = Shape { best: Outcome::CrashConsistent, ..shape(0, 1) };
    breaks(&setup(bare), cut, "has a snapshot and no journal says so");
    let discard = lazy(|event| *event != Event::DiscardIntended);
    breaks(&repeated(), discard, "CrashConsistent is not true");
}

#[test]
fn pods_need_not_be_compared() {
    breaks_in(
        &one(),
        |run, event| match event {
            Event::Compared { .. } => run.apply(&Event::Compared { same: true }),
            _ => run.apply(event),
        },
        "ApplicationConsistent is not true",
    );
}

#[test]
fn two_cuts_are_one_instant() {
    let two = Setup { fine: false, ..setup(shape(1, 2)) };
    breaks_in(
        &two,
        |run, event| {
            run.shape.one_instant = true;
            run.apply(event)
        },
        "CrashConsistent is not true",
    );
}

#[test]
fn two_lights_are_one_point() {
    let lights = Shape { stops_commits: vec![false, false], ..shape(2, 2) };
    breaks_in(
        &Setup { limits: NO_LAG, fine: false, ..setup(lights) },
        |run, event| {
            run.shape.stops_commits = vec![true, true];
            run.apply(event)
        },
        "ApplicationConsistent is not true",
    );
}

#[test]
fn what_is_discarded_is_discarded_again() {
    breaks_in(
        &one(),
        |run, event| match event {
            Event::Discarded(_) => Ok(()),
            _ => run.apply(event),
        },
        "a circle without an end",
    );
}
