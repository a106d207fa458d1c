//! Mistakes that somebody may make in the fold: each must break the walk, and for the right reason.

use super::{AS_WRITTEN, Rules, Setup, TWO_CLAIMS, Walk};
use crate::protocol::restore::{Back, ClaimPhase, Event, IllegalEvent, Outcome, Restating, Run, Stage, Step, Undo};

fn breaks(setup: Setup, rules: Rules, reason: &str) {
    let broken = Walk::run(setup, rules).expect_err("the walk did not see it");
    let first = broken.lines().next().unwrap_or_default();
    assert!(first.contains(reason), "broken by another reason: {first}");
}

fn breaks_in(apply: fn(&mut Run, &Event) -> Result<(), IllegalEvent>, reason: &str) {
    breaks(TWO_CLAIMS, Rules { apply, ..AS_WRITTEN }, reason);
}

#[test]
fn an_answer_is_as_good_as_a_look() {
    breaks_in(
        |run, event| {
            run.apply(event)?;
            if *event == Event::Secured {
                run.stage = Stage::Safe;
            }
            Ok(())
        },
        "nothing keeps the",
    );
}

#[test]
fn the_retention_policy_is_nobodys_business() {
    let setup = Setup { knows_retention: false, ..TWO_CLAIMS };
    breaks(setup, AS_WRITTEN, "nothing keeps the claims");
}

#[test]
fn replace_before_stop() {
    breaks_in(
        |run, event| {
            run.apply(event)?;
            if *event == Event::StopIntended {
                run.stage = Stage::Stopped;
            }
            Ok(())
        },
        "exchanged under a running workload",
    );
}

#[test]
fn start_with_what_is_replaced() {
    breaks_in(
        |run, event| {
            run.apply(event)?;
            if let Event::Replaced(_) = event {
                run.claims.fill(ClaimPhase::New);
            }
            Ok(())
        },
        "mixture",
    );
}

#[test]
fn back_without_stop() {
    breaks_in(
        |run, event| {
            run.apply(event)?;
            if *event == Event::BackIntended {
                run.back = Back::Stopped;
            }
            Ok(())
        },
        "exchanged under a running workload",
    );
}

#[test]
fn a_claim_that_was_only_intended_is_the_old_one() {
    breaks_in(
        |run, event| {
            run.apply(event)?;
            let replacing = |claim: &&mut ClaimPhase| **claim == ClaimPhase::Replacing;
            if let Event::Aborted(_) = event {
                run.claims.iter_mut().filter(replacing).for_each(|claim| *claim = ClaimPhase::Old);
            }
            Ok(())
        },
        "a claim is not the old one and no journal says so",
    );
}

#[test]
fn a_failure_is_the_end() {
    let next = |run: &Run| match run.next() {
        Step::BackStop => Step::Finish(Outcome::RestoredOldVolumes),
        step => step,
    };
    let apply = |run: &mut Run, event: &Event| match event {
        Event::Finished(outcome) => {
            run.finished = Some(*outcome);
            Ok(())
        }
        _ => run.apply(event),
    };
    breaks(TWO_CLAIMS, Rules { next, apply, ..AS_WRITTEN }, "RestoredOldVolumes is not true");
}

#[test]
fn giving_up_is_an_end_like_others() {
    breaks_in(
        |run, event| match event {
            Event::GivenUp => {
                run.back = Back::Started;
                Ok(())
            }
            _ => run.apply(event),
        },
        "no journal says so",
    );
}

#[test]
fn policies_are_put_back_before_the_start() {
    breaks_in(
        |run, event| {
            run.apply(event)?;
            if *event == Event::BackStartIntended {
                run.back = Back::Started;
            }
            Ok(())
        },
        "no journal says so",
    );
}

#[test]
fn an_interrupt_after_the_comparison_goes_back() {
    breaks_in(
        |run, event| {
            run.apply(event)?;
            if let Event::Aborted(_) = event {
                run.failed = true;
            }
            Ok(())
        },
        "nothing keeps the claims",
    );
}

#[test]
fn pods_need_not_be_compared() {
    breaks_in(
        |run, event| match event {
            Event::Compared { .. } => run.apply(&Event::Compared { same: true }),
            _ => run.apply(event),
        },
        "Restored is not true",
    );
}

#[test]
fn what_a_dead_process_saw_is_still_so() {
    breaks_in(
        |run, event| {
            let (stage, back) = (run.stage, run.back);
            run.apply(event)?;
            if *event == Event::TakenOver {
                (run.stage, run.back) = (stage, back);
            }
            Ok(())
        },
        "exchanged under a running workload",
    );
}

#[test]
fn what_a_dead_process_read_back_is_still_so() {
    breaks_in(
        |run, event| {
            let stage = run.stage;
            run.apply(event)?;
            if *event == Event::TakenOver && stage == Stage::Safe {
                run.stage = stage;
            }
            Ok(())
        },
        "nothing keeps the claims",
    );
}

const PREPARES: Setup = Setup { prepares: true, ..TWO_CLAIMS };

#[test]
fn what_was_restored_need_not_be_prepared() {
    let next = |run: &Run| match run.next() {
        Step::Prepare => Step::Start,
        step => step,
    };
    let apply = |run: &mut Run, event: &Event| {
        if *event == Event::StartIntended && run.stage == Stage::Stopped {
            run.stage = Stage::Prepared;
        }
        run.apply(event)
    };
    breaks(PREPARES, Rules { next, apply, ..AS_WRITTEN }, "not prepared");
}

#[test]
fn what_a_dead_process_prepared_nobody_has_started_since() {
    let apply = |run: &mut Run, event: &Event| {
        let stage = run.stage;
        run.apply(event)?;
        let replaced = run.claims.iter().all(|claim| *claim == ClaimPhase::New);
        if *event == Event::TakenOver && stage == Stage::Stopped && replaced {
            run.stage = stage;
        }
        Ok(())
    };
    breaks(PREPARES, Rules { apply, ..AS_WRITTEN }, "in use");
}

#[test]
fn it_may_be_prepared_again_once_it_was_started() {
    let apply = |run: &mut Run, event: &Event| {
        run.apply(event)?;
        if *event == Event::TakenOver && run.stage == Stage::Starting {
            run.stage = Stage::Stopped;
        }
        Ok(())
    };
    breaks(PREPARES, Rules { apply, ..AS_WRITTEN }, "in use");
}

#[test]
fn undoing_needs_no_securing() {
    breaks_in(
        |run, event| {
            run.apply(event)?;
            if *event == Event::UndoIntended {
                run.undo = Undo::Safe;
            }
            Ok(())
        },
        "nothing keeps the claims",
    );
}

#[test]
fn nothing_was_written_to_what_is_taken_back() {
    breaks_in(
        |run, event| {
            run.apply(event)?;
            // As if it had come no further than to new claims.
            if *event == Event::BackStopped {
                run.stage = Stage::Stopped;
            }
            Ok(())
        },
        "what was written since is lost",
    );
}

#[test]
fn an_undoing_that_was_broken_off_leaves_nothing_to_put_back() {
    breaks_in(
        |run, event| {
            let undo = run.undo;
            run.apply(event)?;
            if undo != Undo::No && run.undo == Undo::No {
                run.restating = Restating::Done;
            }
            Ok(())
        },
        "a policy was changed and no journal says so",
    );
}

#[test]
fn what_a_dead_process_secured_for_undoing_is_still_so() {
    let apply = |run: &mut Run, event: &Event| {
        let undo = run.undo;
        run.apply(event)?;
        if *event == Event::TakenOver && undo == Undo::Safe {
            run.undo = undo;
        }
        Ok(())
    };
    let setup = Setup { claims: 1, deaths: 2, ..TWO_CLAIMS };
    breaks(setup, Rules { apply, ..AS_WRITTEN }, "nothing keeps the claims");
}

#[test]
fn what_is_replaced_is_replaced_again() {
    breaks_in(
        |run, event| match event {
            Event::Replaced(_) => Ok(()),
            _ => run.apply(event),
        },
        "a circle without an end",
    );
}

#[test]
fn intents_wait_for_no_write() {
    let lazy = |durable| Rules { durable, ..AS_WRITTEN };
    let silent = "no journal says so";
    breaks(TWO_CLAIMS, lazy(|event| *event != Event::SecureIntended), silent);
    breaks(TWO_CLAIMS, lazy(|event| *event != Event::StopIntended), silent);
    breaks(TWO_CLAIMS, lazy(|event| !matches!(event, Event::ReplaceIntended(_))), silent);
    breaks(TWO_CLAIMS, lazy(|event| *event != Event::StartIntended), silent);
    breaks(TWO_CLAIMS, lazy(|event| *event != Event::BackIntended), "mixture");
    breaks(TWO_CLAIMS, lazy(|event| *event != Event::BackStartIntended), "for nothing");
    breaks(TWO_CLAIMS, lazy(|event| *event != Event::RestateIntended), "nothing keeps");
    let dies_twice = Setup { claims: 1, deaths: 2, ..TWO_CLAIMS };
    breaks(dies_twice, lazy(|event| *event != Event::UndoIntended), silent);
}

#[test]
fn the_application_is_open_as_soon_as_it_is_intended() {
    let setup = Setup { opens: true, ..TWO_CLAIMS };
    let apply = |run: &mut Run, event: &Event| {
        run.apply(event)?;
        if *event == Event::OpenIntended {
            run.stage = Stage::Opened;
        }
        Ok(())
    };
    breaks(setup, Rules { apply, ..AS_WRITTEN }, "down and no journal says so");
}

#[test]
fn the_application_is_forgotten() {
    let setup = Setup { opens: true, ..TWO_CLAIMS };
    let next = |run: &Run| match run.next() {
        Step::Open => Step::Compare,
        step => step,
    };
    let apply = |run: &mut Run, event: &Event| {
        if matches!(event, Event::Compared { .. }) && run.stage == Stage::Started {
            run.stage = Stage::Opened;
        }
        run.apply(event)
    };
    breaks(setup, Rules { next, apply, ..AS_WRITTEN }, "down and no journal says so");
}
