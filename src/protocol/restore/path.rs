//! Single histories, step by step: what the walk cannot say, because it asks only whether the end is true.

use super::*;

const SHAPE: Shape = Shape { claims: 2, targets: 1, prepares: false, opens: false };

fn happily(step: &Step) -> Vec<Event> {
    match step.clone() {
        Step::Secure => vec![Event::Secured],
        Step::ReadBack => vec![Event::ReadBack],
        Step::Stop => vec![Event::Stopped],
        Step::Replace(cs) => cs.into_iter().map(Event::Replaced).collect(),
        Step::Prepare => vec![Event::Prepared],
        Step::Start => vec![Event::Started],
        Step::Recover(ts) => ts.into_iter().map(Event::Recovered).collect(),
        Step::Open => vec![Event::Opened],
        Step::Compare => vec![Event::Compared { same: true }],
        Step::BackStop => vec![Event::BackStopped],
        Step::BackClaims(cs) => cs.into_iter().map(Event::ClaimBack).collect(),
        Step::BackStart => vec![Event::BackStarted],
        Step::Restate => vec![Event::Restated],
        Step::Finish(_) => vec![],
    }
}

/// More steps than any path here has.
const MOST: usize = 100;

/// Whether the run is not over; a path that never is fails its test instead of going on for ever.
fn goes_on(run: &Run, left: &mut usize) -> bool {
    *left = left.checked_sub(1).expect("a run without an end");
    !run.is_finished()
}

fn apply(run: &mut Run, events: &[Event]) {
    for event in events {
        run.apply(event).unwrap();
    }
}

/// Does one step well, and tells it with its intents.
fn go(run: &mut Run) -> (Step, Vec<Event>) {
    let step = run.next();
    let intents = run.intents(&step);
    apply(run, &intents);
    apply(run, &happily(&step));
    (step, intents)
}

fn until(run: &mut Run, there: &Step) {
    let mut left = MOST;
    while run.next() != *there && goes_on(run, &mut left) {
        go(run);
    }
}

fn rest(run: &mut Run) -> Vec<Step> {
    let mut steps = Vec::new();
    let mut left = MOST;
    while goes_on(run, &mut left) {
        steps.push(go(run).0);
    }
    steps
}

#[test]
fn happy_path() {
    let mut run = Run::new(&SHAPE);
    let mut seen = Vec::new();
    let mut left = MOST;
    while goes_on(&run, &mut left) {
        seen.push(go(&mut run));
    }
    let replaced = [0, 1].map(Event::ReplaceIntended).to_vec();
    assert_eq!(
        seen,
        [
            (Step::Secure, vec![Event::SecureIntended]),
            (Step::ReadBack, vec![]),
            (Step::Stop, vec![Event::StopIntended]),
            (Step::Replace(vec![0, 1]), replaced),
            (Step::Start, vec![Event::StartIntended]),
            (Step::Recover(vec![0]), vec![]),
            (Step::Compare, vec![]),
            (Step::Restate, vec![Event::RestateIntended]),
            (Step::Finish(Outcome::Restored), vec![Event::Finished(Outcome::Restored)]),
        ]
    );
    assert_eq!(run.recovery(), []);
}

#[test]
fn the_way_back() {
    let mut run = Run::new(&SHAPE);
    until(&mut run, &Step::Recover(vec![0]));
    apply(&mut run, &[Event::Aborted(Abort::Step), Event::Aborted(Abort::Signal)]);
    assert_eq!(run.aborted(), Some(Abort::Step), "the first reason is told");
    let mut seen = Vec::new();
    let mut left = MOST;
    while goes_on(&run, &mut left) {
        seen.push(go(&mut run));
    }
    let outcome = Outcome::RestoredOldVolumes;
    assert_eq!(
        seen,
        [
            (Step::BackStop, vec![Event::BackIntended]),
            (Step::BackClaims(vec![0, 1]), vec![]),
            (Step::BackStart, vec![Event::BackStartIntended]),
            (Step::Restate, vec![Event::RestateIntended]),
            (Step::Finish(outcome), vec![Event::Finished(outcome)]),
        ]
    );
}

#[test]
fn what_was_restored_is_prepared_once_and_never_after_the_start() {
    let shape = Shape { prepares: true, ..SHAPE };
    let mut run = Run::new(&shape);
    until(&mut run, &Step::Prepare);
    assert!(run.apply(&Event::StartIntended).is_err(), "unprepared");
    assert!(!run.may_have_started());
    let mut died = run.clone();
    apply(&mut run, &[Event::Prepared]);
    assert_eq!(run.next(), Step::Start);
    let mut later = run.clone();
    apply(&mut later, &[Event::StartIntended, Event::TakenOver]);
    assert_eq!(later.next(), Step::Start, "it may run already");
    // Somebody may have started it meanwhile: all is looked at again.
    apply(&mut run, &[Event::TakenOver]);
    assert_eq!(rest(&mut run)[..3], [Step::Stop, Step::Prepare, Step::Start]);
    apply(&mut died, &[Event::TakenOver, Event::Aborted(Abort::Died)]);
    assert_eq!(rest(&mut died)[..2], [Step::BackStop, Step::BackClaims(vec![0, 1])]);
    let mut without = Run::new(&SHAPE);
    until(&mut without, &Step::Start);
    assert!(without.apply(&Event::Prepared).is_err(), "there was nothing to prepare");
}

#[test]
fn what_stands_in_front_is_opened_when_the_databases_have_recovered() {
    let shape = Shape { opens: true, ..SHAPE };
    let mut run = Run::new(&shape);
    until(&mut run, &Step::Recover(vec![0]));
    assert!(run.may_be_down(), "the application is");
    assert!(run.apply(&Event::OpenIntended).is_err(), "nothing has recovered");
    apply(&mut run, &[Event::Recovered(0)]);
    assert_eq!((run.next(), run.may_have_opened()), (Step::Open, false));
    assert_eq!(run.recovery(), [Event::TakenOver], "every database had recovered");
    go(&mut run);
    assert_eq!((run.next(), run.may_have_opened(), run.may_be_down()), (Step::Compare, true, false));
    let mut back = run.clone();
    apply(&mut back, &[Event::Aborted(Abort::Step)]);
    assert_eq!(rest(&mut back)[..3], [Step::BackStop, Step::BackClaims(vec![0, 1]), Step::BackStart]);
    assert_eq!(rest(&mut run)[..2], [Step::Compare, Step::Restate]);
    let mut without = Run::new(&SHAPE);
    until(&mut without, &Step::Compare);
    assert!(without.apply(&Event::OpenIntended).is_err(), "nothing stands in front");
    let mut alone = Run::new(&Shape { claims: 0, targets: 0, prepares: false, opens: true });
    let steps = [Step::Secure, Step::ReadBack, Step::Stop, Step::Start, Step::Open, Step::Compare];
    assert_eq!(rest(&mut alone)[..6], steps);
}

#[test]
fn what_had_succeeded_is_undone() {
    let mut run = Run::new(&SHAPE);
    rest(&mut run);
    assert_eq!((run.outcome(), run.is_fixed()), (Some(Outcome::Restored), true));
    let undoing = run.undoing();
    assert_eq!(undoing, [Event::TakenOver, Event::UndoIntended]);
    apply(&mut run, &undoing);
    assert_eq!((run.outcome(), run.is_undoing(), run.may_be_down()), (None, true, false));
    assert!(!run.is_going_back(), "it may stay as it is");
    let steps = rest(&mut run);
    let outcome = Outcome::RestoredOldVolumes;
    let claims = Step::BackClaims(vec![0, 1]);
    let way = [Step::Secure, Step::ReadBack, Step::BackStop, claims, Step::BackStart, Step::Restate];
    assert_eq!(steps, [&way[..], &[Step::Finish(outcome)]].concat());
    assert_eq!((run.outcome(), run.is_undoing(), run.may_have_started()), (Some(outcome), false, true));
    assert_eq!((run.undoing(), run.recovery()), (vec![], vec![]), "once is enough");
}

#[test]
fn what_breaks_an_undoing_off_before_the_stop_leaves_all_as_it_is() {
    for there in [Step::Secure, Step::ReadBack, Step::BackStop] {
        let mut run = Run::new(&SHAPE);
        rest(&mut run);
        apply(&mut run, &[Event::TakenOver, Event::UndoIntended]);
        until(&mut run, &there);
        let mut died = run.clone();
        assert_eq!(died.recovery(), [Event::TakenOver, Event::Aborted(Abort::Died)]);
        apply(&mut died, &[Event::TakenOver, Event::Aborted(Abort::Died)]);
        apply(&mut run, &[Event::Aborted(Abort::Signal)]);
        for mut run in [run, died] {
            assert_eq!(rest(&mut run), [Step::Restate, Step::Finish(Outcome::Restored)]);
            assert_eq!(run.aborted(), None, "the restore itself was not");
        }
    }
    let mut run = Run::new(&SHAPE);
    rest(&mut run);
    apply(&mut run, &[Event::TakenOver, Event::UndoIntended]);
    until(&mut run, &Step::BackStop);
    apply(&mut run, &[Event::BackIntended, Event::Aborted(Abort::Signal)]);
    assert_eq!(run.next(), Step::BackStop, "nothing interrupts the way back");
    assert!(run.is_going_back());
}

#[test]
fn undoing_what_had_not_succeeded_breaks_it_off() {
    let mut run = Run::new(&SHAPE);
    until(&mut run, &Step::Recover(vec![0]));
    let undoing = run.undoing();
    assert_eq!(undoing, [Event::TakenOver, Event::Aborted(Abort::Undone)]);
    apply(&mut run, &undoing);
    assert_eq!(run.undoing(), [Event::TakenOver], "it is on its way");
    assert_eq!(rest(&mut run).last(), Some(&Step::Finish(Outcome::RestoredOldVolumes)));
}

#[test]
fn how_far_it_goes_back_depends_on_how_far_it_came() {
    let failed = |step: &Step| {
        let mut run = Run::new(&SHAPE);
        until(&mut run, step);
        apply(&mut run, &[Event::Aborted(Abort::Step)]);
        rest(&mut run)
    };
    let end = || Step::Finish(Outcome::Failed);
    assert_eq!(failed(&Step::Secure), [end()]);
    assert_eq!(failed(&Step::ReadBack), [Step::Restate, end()]);
    assert_eq!(failed(&Step::Stop), [Step::Restate, end()]);
    let end = Step::Finish(Outcome::RestoredOldVolumes);
    let untouched = [Step::BackStart, Step::Restate, end];
    assert_eq!(failed(&Step::Replace(vec![0, 1])), untouched);
    let back = failed(&Step::Start);
    assert_eq!(back[..2], [Step::BackStop, Step::BackClaims(vec![0, 1])]);
    assert_eq!(failed(&Step::Compare), back);
    assert_eq!(failed(&Step::Restate), [Step::Restate, Step::Finish(Outcome::Restored)]);
}

#[test]
fn the_outcome_is_told_as_soon_as_it_is_certain() {
    let mut run = Run::new(&SHAPE);
    until(&mut run, &Step::Stop);
    let failed = |mut run: Run| {
        apply(&mut run, &[Event::Aborted(Abort::Signal)]);
        run.outcome()
    };
    assert_eq!((run.outcome(), failed(run.clone())), (None, Some(Outcome::Failed)));
    // From its intent on the workload may be down.
    apply(&mut run, &[Event::StopIntended]);
    assert_eq!((run.outcome(), failed(run.clone())), (None, Some(Outcome::RestoredOldVolumes)));
    until(&mut run, &Step::Start);
    assert_eq!((run.outcome(), failed(run.clone())), (None, Some(Outcome::RestoredOldVolumes)));
    until(&mut run, &Step::Compare);
    assert!(!run.is_fixed());
    go(&mut run);
    assert!(run.is_fixed());
    assert_eq!((run.outcome(), failed(run)), (Some(Outcome::Restored), Some(Outcome::Restored)));
}

#[test]
fn the_way_back_is_gone_only_as_it_was_intended() {
    let mut run = Run::new(&SHAPE);
    until(&mut run, &Step::Recover(vec![0]));
    apply(&mut run, &[Event::Aborted(Abort::Step)]);
    assert_eq!(run.next(), Step::BackStop);
    assert!(run.apply(&Event::BackStopped).is_err(), "without its intent");
    apply(&mut run, &[Event::BackIntended]);
    assert!(run.apply(&Event::BackIntended).is_err(), "twice");
    assert!(run.apply(&Event::BackStarted).is_err() && run.apply(&Event::ClaimBack(0)).is_err());
    until(&mut run, &Step::BackStart);
    assert!(run.apply(&Event::BackStopped).is_err(), "twice");
    assert!(run.apply(&Event::BackStarted).is_err(), "without its intent");
    assert_eq!(rest(&mut run).last(), Some(&Step::Finish(Outcome::RestoredOldVolumes)));
}

#[test]
fn only_claims_that_were_touched_come_back() {
    let mut run = Run::new(&SHAPE);
    until(&mut run, &Step::Replace(vec![0, 1]));
    apply(&mut run, &[Event::ReplaceIntended(1), Event::Aborted(Abort::Signal)]);
    assert_eq!(run.claim(0), ClaimPhase::Old);
    until(&mut run, &Step::BackClaims(vec![1]));
}

#[test]
fn what_was_given_up_is_tried_again_by_the_next_process() {
    let mut run = Run::new(&SHAPE);
    until(&mut run, &Step::Compare);
    apply(&mut run, &[Event::Compared { same: false }]);
    until(&mut run, &Step::BackClaims(vec![0, 1]));
    apply(&mut run, &[Event::ClaimBack(0), Event::GivenUp]);
    assert!(run.may_be_down());
    assert_eq!(rest(&mut run), [Step::Finish(Outcome::Stuck)]);
    let first = run.recovery();
    assert_eq!(first, [Event::TakenOver]);
    apply(&mut run, &first);
    let steps = rest(&mut run);
    assert_eq!(steps[..2], [Step::BackStop, Step::BackClaims(vec![1])]);
    assert_eq!(run.outcome(), Some(Outcome::RestoredOldVolumes));
    assert!(!run.may_be_down());
}

#[test]
fn policies_that_were_not_put_back_are_put_back_later() {
    let mut run = Run::new(&SHAPE);
    until(&mut run, &Step::Restate);
    apply(&mut run, &[Event::RestateIntended, Event::NotRestated]);
    assert_eq!(rest(&mut run), [Step::Finish(Outcome::Restored)]);
    let first = run.recovery();
    apply(&mut run, &first);
    assert_eq!(rest(&mut run), [Step::Restate, Step::Finish(Outcome::Restored)]);
    assert!(!run.has_leftovers());
}

#[test]
fn who_takes_over_goes_back_unless_all_had_recovered() {
    let mut run = Run::new(&SHAPE);
    let mut left = MOST;
    while goes_on(&run, &mut left) {
        let mut events = vec![Event::TakenOver];
        if !matches!(run.next(), Step::Compare | Step::Restate | Step::Finish(_)) {
            events.push(Event::Aborted(Abort::Died));
        }
        assert_eq!(run.recovery(), events);
        go(&mut run);
    }
}

#[test]
fn who_goes_forward_instead_looks_again() {
    let mut run = Run::new(&SHAPE);
    until(&mut run, &Step::Stop);
    apply(&mut run, &[Event::TakenOver]);
    assert_eq!(run.next(), Step::Secure);
    until(&mut run, &Step::Replace(vec![0, 1]));
    apply(&mut run, &[Event::ReplaceIntended(0), Event::Replaced(0), Event::TakenOver]);
    assert_eq!(rest(&mut run)[..2], [Step::Stop, Step::Replace(vec![1])]);
}

#[test]
fn impossible_events_are_refused_and_change_nothing() {
    let mut run = Run::new(&SHAPE);
    until(&mut run, &Step::Replace(vec![0, 1]));
    let before = run.clone();
    for event in [
        Event::SecureIntended,
        Event::Secured,
        Event::ReadBack,
        Event::StopIntended,
        Event::Stopped,
        Event::ReplaceIntended(7),
        Event::Replaced(0),
        Event::Prepared,
        Event::StartIntended,
        Event::Started,
        Event::Recovered(0),
        Event::Compared { same: true },
        Event::UndoIntended,
        Event::BackIntended,
        Event::BackStopped,
        Event::ClaimBack(0),
        Event::BackStartIntended,
        Event::BackStarted,
        Event::RestateIntended,
        Event::Restated,
        Event::NotRestated,
        Event::GivenUp,
        Event::Finished(Outcome::Restored),
    ] {
        assert_eq!(run.apply(&event), Err(crate::protocol::IllegalEvent(event)));
        assert_eq!(run, before);
    }
}

#[test]
fn the_journal_reads_the_same_in_every_version() {
    let lines = [
        (Event::SecureIntended, r#""secureIntended""#),
        (Event::ReplaceIntended(1), r#"{"replaceIntended":1}"#),
        (Event::Compared { same: true }, r#"{"compared":{"same":true}}"#),
        (Event::Aborted(Abort::Died), r#"{"aborted":"died"}"#),
        (Event::Prepared, r#""prepared""#),
        (Event::GivenUp, r#""givenUp""#),
        (Event::UndoIntended, r#""undoIntended""#),
        (Event::Aborted(Abort::Undone), r#"{"aborted":"undone"}"#),
        (Event::Finished(Outcome::RestoredOldVolumes), r#"{"finished":"restoredOldVolumes"}"#),
    ];
    for (event, line) in lines {
        assert_eq!(serde_json::to_string(&event).unwrap(), line);
        assert_eq!(serde_json::from_str::<Event>(line).unwrap(), event);
    }
}
