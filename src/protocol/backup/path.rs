//! Single histories, step by step: what the walk cannot say, because it asks only whether the end is true.

use super::*;

/// A full target behind a light one, two claims.
fn shape() -> Shape {
    Shape {
        waves: vec![0, 1],
        stops_commits: vec![true, false],
        archives: Vec::new(),
        claims: 2,
        one_instant: false,
        attempts: 2,
        best: Outcome::ApplicationConsistent,
    }
}

fn yes(target: T) -> Event {
    Event::Thawed { target, held: Held::Yes }
}

/// Everything goes well: writes the intents, then answers the step as asked.
fn happily(step: &Step) -> Vec<Event> {
    match step.clone() {
        Step::Attempt(n) => vec![Event::Attempt(n)],
        Step::Prepare(ts) => ts.into_iter().map(Event::Prepared).collect(),
        Step::Quiesce(ts) => ts.into_iter().map(Event::Quiesced).collect(),
        Step::Flush(ts) => ts.into_iter().map(Event::Flushed).collect(),
        Step::Cut(cs) => cs.into_iter().map(Event::Cut).collect(),
        Step::Thaw(ts) => ts.into_iter().map(yes).collect(),
        Step::Compare => vec![Event::Compared { same: true }],
        Step::Discard(cs) => cs.into_iter().map(Event::Discarded).collect(),
        Step::Archive(ts) => ts.into_iter().map(Event::Archived).collect(),
        Step::Keep(cs) => cs.into_iter().map(Event::Kept).collect(),
        Step::Settle(cs) => cs.into_iter().map(Event::Settled).collect(),
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

/// Goes on well until `next` is such a step, and leaves it undone.
fn until(run: &mut Run, there: impl Fn(&Step) -> bool) {
    let mut left = MOST;
    while !there(&run.next()) && goes_on(run, &mut left) {
        let step = run.next();
        apply(run, &run.intents(&step));
        apply(run, &happily(&step));
    }
}

fn to_end(run: &mut Run) -> Outcome {
    until(run, |step| matches!(step, Step::Finish(_)));
    run.outcome().unwrap()
}

#[test]
fn happy_path() {
    let mut run = Run::new(&shape());
    let mut seen = Vec::new();
    let mut left = MOST;
    while goes_on(&run, &mut left) {
        let step = run.next();
        let intents = run.intents(&step);
        apply(&mut run, &intents);
        apply(&mut run, &happily(&step));
        seen.push((step, intents));
    }
    let wave = |t| Event::WaveIntended(vec![t]);
    let outcome = Outcome::ApplicationConsistent;
    assert_eq!(
        seen,
        [
            (Step::Attempt(1), vec![]),
            (Step::Prepare(vec![0, 1]), vec![]),
            (Step::Quiesce(vec![0]), vec![wave(0), Event::CutIntended]),
            (Step::Quiesce(vec![1]), vec![wave(1)]),
            (Step::Flush(vec![0, 1]), vec![]),
            (Step::Cut(vec![0, 1]), vec![]),
            (Step::Thaw(vec![1]), vec![]),
            (Step::Thaw(vec![0]), vec![]),
            (Step::Compare, vec![]),
            (Step::Keep(vec![0, 1]), vec![]),
            (Step::Settle(vec![0, 1]), vec![]),
            (Step::Finish(outcome), vec![Event::Finished(outcome)]),
        ]
    );
}

#[test]
fn nothing_is_said_before_it_is_certain_and_nothing_asked_when_it_is_over() {
    let mut run = Run::new(&Shape { attempts: 1, ..shape() });
    let mut left = MOST;
    while goes_on(&run, &mut left) {
        let step = run.next();
        let fixed = matches!(step, Step::Keep(_) | Step::Settle(_) | Step::Finish(_));
        assert_eq!(run.outcome(), fixed.then_some(Outcome::ApplicationConsistent), "{step:?}");
        let first = run.intents(&step);
        apply(&mut run, &first);
        apply(&mut run, &happily(&step));
    }
    assert_eq!(run.intents(&run.next()), [], "it was said that it is over");
}

#[test]
fn consistent_is_not_said_before_the_log_is_archived() {
    for (event, outcome) in
        [(Event::Archived(1), Outcome::ApplicationConsistent), (Event::NotArchived(1), Outcome::CrashConsistent)]
    {
        let mut run = Run::new(&Shape { archives: vec![1], ..shape() });
        until(&mut run, |step| matches!(step, Step::Archive(_)));
        assert_eq!((run.next(), run.outcome(), run.is_fixed()), (Step::Archive(vec![1]), None, true));
        assert!(run.apply(&Event::Archived(0)).is_err(), "that was not asked");
        // Another process goes on waiting, and does not begin anew.
        assert_eq!(run.recovery(), [Event::TakenOver]);
        apply(&mut run, &[Event::TakenOver, event.clone()]);
        assert_eq!(run.outcome(), Some(outcome));
        assert!(run.apply(&event).is_err(), "twice");
        assert_eq!(to_end(&mut run), outcome);
    }
}

#[test]
fn a_target_is_prepared_once_in_an_attempt() {
    let mut run = Run::new(&shape());
    assert!(run.apply(&Event::Prepared(0)).is_err(), "before the first");
    apply(&mut run, &[Event::Attempt(1), Event::Prepared(0)]);
    assert!(run.apply(&Event::Prepared(0)).is_err(), "twice");
}

#[test]
fn a_wave_is_begun_in_its_turn_and_once() {
    let mut run = Run::new(&shape());
    until(&mut run, |step| matches!(step, Step::Quiesce(_)));
    for wave in [vec![], vec![1], vec![7], vec![0, 1], vec![0, 7]] {
        assert!(run.apply(&Event::WaveIntended(wave.clone())).is_err(), "{wave:?}");
    }
    apply(&mut run, &[Event::WaveIntended(vec![0])]);
    assert!(run.apply(&Event::WaveIntended(vec![0])).is_err(), "twice");
}

#[test]
fn only_copies_that_there_are_fail_to_settle() {
    let mut run = Run::new(&shape());
    until(&mut run, |step| matches!(step, Step::Settle(_)));
    for c in [2, 7] {
        assert!(run.apply(&Event::SettleFailed(c)).is_err(), "{c}");
    }
    apply(&mut run, &[Event::SettleFailed(1)]);
    assert_eq!(to_end(&mut run), Outcome::Failed);
}

#[test]
fn the_verdict_is_no_better_than_the_plan() {
    let nothing = Shape { waves: vec![], stops_commits: vec![], best: Outcome::CrashConsistent, ..shape() };
    assert_eq!(to_end(&mut Run::new(&nothing)), Outcome::CrashConsistent);
    // No planner allows it: two that are only light have no instant in common.
    let lights = Shape { stops_commits: vec![false, false], ..shape() };
    assert_eq!(to_end(&mut Run::new(&lights)), Outcome::Failed);
    let at_once = Shape { one_instant: true, ..lights };
    assert_eq!(to_end(&mut Run::new(&at_once)), Outcome::ApplicationConsistent);
}

#[test]
fn who_takes_over_what_had_failed_adds_no_reason() {
    for reason in [Abort::Signal, Abort::PodsChanged] {
        let mut run = Run::new(&shape());
        until(&mut run, |step| matches!(step, Step::Cut(_)));
        apply(&mut run, &[Event::Aborted(reason)]);
        let again = [Event::TakenOver, Event::Aborted(Abort::Died)];
        // An attempt that would have been repeated is not, without the process that led it.
        assert_eq!(run.recovery(), if reason == Abort::Signal { &again[..1] } else { &again[..] });
        assert_eq!(run.aborted(), Some(reason));
    }
}

#[test]
fn a_lost_hold_is_thawed_discarded_and_repeated() {
    let mut run = Run::new(&shape());
    until(&mut run, |step| matches!(step, Step::Cut(_)));
    apply(&mut run, &[Event::Cut(0), Event::HoldLost(0)]);
    assert_eq!(run.next(), Step::Thaw(vec![1]));
    apply(&mut run, &[yes(1)]);
    assert_eq!(run.next(), Step::Thaw(vec![0]));
    apply(&mut run, &[Event::Thawed { target: 0, held: Held::No }]);
    assert_eq!(run.next(), Step::Discard(vec![0, 1]));
    assert_eq!(run.intents(&run.next()), [Event::DiscardIntended]);
    apply(&mut run, &[Event::DiscardIntended, Event::Discarded(0)]);
    assert_eq!(run.next(), Step::Discard(vec![1]));
    assert_eq!(run.intents(&run.next()), []);
    apply(&mut run, &[Event::Discarded(1)]);
    assert_eq!((run.next(), run.outcome()), (Step::Attempt(2), None));
    assert_eq!(to_end(&mut run), Outcome::ApplicationConsistent);
    assert_eq!(run.attempt(), 2);
}

#[test]
fn the_last_attempt_keeps_what_was_cut_at_one_instant() {
    for (one_instant, outcome) in [(true, Outcome::CrashConsistent), (false, Outcome::Failed)] {
        let mut run = Run::new(&Shape { one_instant, attempts: 1, ..shape() });
        until(&mut run, |step| matches!(step, Step::Thaw(_)));
        apply(&mut run, &[Event::Aborted(Abort::PodsChanged)]);
        assert_eq!(to_end(&mut run), outcome);
        assert_eq!(run.aborted(), Some(Abort::PodsChanged));
    }
}

#[test]
fn an_interrupt_spoils_what_is_not_compared_and_nothing_else() {
    let mut run = Run::new(&shape());
    until(&mut run, |step| *step == Step::Compare);
    let mut fixed = run.clone();
    apply(&mut run, &[Event::Aborted(Abort::PodsChanged), Event::Aborted(Abort::Signal)]);
    assert_eq!(run.outcome(), Some(Outcome::Failed));
    assert_eq!(run.aborted(), Some(Abort::PodsChanged), "the first reason is told");
    assert_eq!(to_end(&mut run), Outcome::Failed);
    apply(&mut fixed, &[Event::Compared { same: true }, Event::Aborted(Abort::Signal)]);
    assert!(fixed.is_fixed() && fixed.aborted().is_none());
    assert_eq!(to_end(&mut fixed), Outcome::ApplicationConsistent);
}

#[test]
fn what_is_stuck_is_thawed_by_the_next_process() {
    let mut run = Run::new(&shape());
    until(&mut run, |step| *step == Step::Thaw(vec![1]));
    apply(&mut run, &[Event::ThawGivenUp(1)]);
    assert_eq!(run.next(), Step::Thaw(vec![0]), "the others are not kept waiting");
    assert_eq!(to_end(&mut run), Outcome::Stuck);
    apply(&mut run, &[Event::Finished(Outcome::Stuck)]);
    assert_eq!(run.may_be_held(), [1]);
    let first = run.recovery();
    apply(&mut run, &first);
    assert_eq!(run.next(), Step::Thaw(vec![1]));
    assert_eq!(to_end(&mut run), Outcome::Failed);
}

#[test]
fn pending_discards_are_taken_up_again() {
    let mut run = Run::new(&shape());
    until(&mut run, |step| matches!(step, Step::Flush(_)));
    apply(&mut run, &[Event::Aborted(Abort::Budget), yes(1), yes(0), Event::DiscardIntended]);
    apply(&mut run, &[Event::Discarded(0), Event::DiscardPending(1)]);
    assert_eq!(run.next(), Step::Finish(Outcome::Failed));
    apply(&mut run, &[Event::Finished(Outcome::Failed)]);
    let first = run.recovery();
    apply(&mut run, &first);
    assert_eq!(run.next(), Step::Discard(vec![1]));
    assert_eq!(run.aborted(), Some(Abort::Budget));
    assert_eq!(to_end(&mut run), Outcome::Failed);
    assert!(!run.has_leftovers());
}

#[test]
fn a_broken_copy_takes_the_backup_back() {
    let mut run = Run::new(&shape());
    until(&mut run, |step| matches!(step, Step::Settle(_)));
    apply(&mut run, &[Event::Settled(0), Event::SettleFailed(1)]);
    assert_eq!(run.next(), Step::Discard(vec![0, 1]));
    assert_eq!(to_end(&mut run), Outcome::Failed);
}

#[test]
fn nobody_need_wait_for_uploads() {
    let mut run = Run::new(&shape());
    until(&mut run, |step| matches!(step, Step::Settle(_)));
    apply(&mut run, &[Event::Settled(0), Event::SettleSkipped]);
    assert_eq!(run.next(), Step::Finish(Outcome::ApplicationConsistent));
    assert_eq!((run.settled(0), run.settled(1), run.kept(1)), (true, false, Some(true)));
}

#[test]
fn who_takes_over_fails_what_was_not_past_its_window() {
    let died = vec![Event::TakenOver, Event::Aborted(Abort::Died)];
    let mut run = Run::new(&shape());
    let mut left = MOST;
    while goes_on(&run, &mut left) {
        let step = run.next();
        let past = matches!(step, Step::Compare | Step::Keep(_) | Step::Settle(_) | Step::Finish(_));
        assert_eq!(run.recovery(), if past { vec![Event::TakenOver] } else { died.clone() }, "{step:?}");
        let first = run.intents(&step);
        apply(&mut run, &first);
        apply(&mut run, &happily(&step));
    }
    assert_eq!(run.recovery(), []);
    let before = run.clone();
    apply(&mut run, &[Event::TakenOver]);
    assert_eq!(run, before);
}

#[test]
fn a_window_that_copies_nothing_is_a_cut() {
    let mut run = Run::new(&Shape { claims: 0, ..shape() });
    until(&mut run, |step| matches!(step, Step::Cut(_)));
    assert_eq!(run.next(), Step::Cut(vec![0]));
}

#[test]
fn another_attempt_may_have_other_targets() {
    let others = Event::Reshaped(Targets { waves: vec![0; 3], stops_commits: vec![true; 3], archives: vec![] });
    let mut run = Run::new(&Shape { attempts: 2, ..shape() });
    assert!(run.apply(&others).is_err(), "the first attempt is of its plan");
    until(&mut run, |step| matches!(step, Step::Cut(_)));
    apply(&mut run, &[Event::Aborted(Abort::PodsChanged)]);
    assert!(run.apply(&others).is_err(), "they are still held");
    until(&mut run, |step| *step == Step::Attempt(2));
    let uneven = Event::Reshaped(Targets { waves: vec![0; 3], stops_commits: vec![true], archives: vec![] });
    assert!(run.apply(&uneven).is_err());
    apply(&mut run, &[others, Event::Attempt(2)]);
    assert_eq!(run.next(), Step::Prepare(vec![0, 1, 2]));
}

#[test]
fn impossible_events_are_refused_and_change_nothing() {
    let mut run = Run::new(&shape());
    until(&mut run, |step| matches!(step, Step::Flush(_)));
    apply(&mut run, &[Event::Flushed(0)]);
    let before = run.clone();
    for event in [
        Event::Attempt(1),
        Event::Attempt(2),
        Event::Prepared(0),
        Event::WaveIntended(vec![]),
        Event::WaveIntended(vec![0]),
        Event::WaveIntended(vec![7]),
        Event::Quiesced(0),
        Event::Flushed(7),
        Event::CutIntended,
        Event::Cut(0),
        Event::Cut(7),
        Event::Compared { same: true },
        Event::Kept(0),
        Event::Settled(0),
        Event::SettleFailed(0),
        Event::SettleSkipped,
        Event::DiscardIntended,
        Event::Discarded(0),
        Event::ThawSent(7),
        Event::Finished(Outcome::ApplicationConsistent),
    ] {
        assert_eq!(run.apply(&event), Err(crate::protocol::IllegalEvent(event)));
        assert_eq!(run, before);
    }
    apply(&mut run, &[Event::Flushed(1), Event::ThawSent(0)]);
    assert!(run.apply(&Event::Cut(0)).is_err(), "a cut seen after the release was sent proves nothing");
}

#[test]
fn the_journal_reads_the_same_in_every_version() {
    let lines = [
        (Event::Attempt(1), r#"{"attempt":1}"#),
        (Event::WaveIntended(vec![0, 2]), r#"{"waveIntended":[0,2]}"#),
        (Event::CutIntended, r#""cutIntended""#),
        (Event::Cut(3), r#"{"cut":3}"#),
        (Event::ThawSent(1), r#"{"thawSent":1}"#),
        (Event::Thawed { target: 1, held: Held::Unknown }, r#"{"thawed":{"target":1,"held":"unknown"}}"#),
        (Event::Compared { same: false }, r#"{"compared":{"same":false}}"#),
        (Event::Aborted(Abort::PodsChanged), r#"{"aborted":"podsChanged"}"#),
        (Event::NotArchived(1), r#"{"notArchived":1}"#),
        (Event::TakenOver, r#""takenOver""#),
        (
            Event::Reshaped(Targets { waves: vec![0], stops_commits: vec![true], archives: vec![] }),
            r#"{"reshaped":{"waves":[0],"stopsCommits":[true],"archives":[]}}"#,
        ),
        (Event::Finished(Outcome::CrashConsistent), r#"{"finished":"crashConsistent"}"#),
    ];
    for (event, line) in lines {
        assert_eq!(serde_json::to_string(&event).unwrap(), line);
        assert_eq!(serde_json::from_str::<Event>(line).unwrap(), event);
    }
}
