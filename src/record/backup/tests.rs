//! What a record says of a run that went well, and of histories in which several things went wrong.
#![allow(clippy::unwrap_used)]

use serde_json::json;

use super::*;
use crate::record::entry::Detail;

fn entry(event: Event, text: &str) -> Entry<Event> {
    Entry { at: Timestamp::UNIX_EPOCH, event, detail: Detail::text(text) }
}

/// Everything that can be wrong with an attempt, the most urgent first: what may still be held, then what broke the
/// window, in the order of the protocol; what the pods tell explains a hold that was lost.
fn wrongs() -> Vec<Vec<Event>> {
    let aborts = [Abort::Signal, Abort::Budget, Abort::Step, Abort::Died];
    let not_held = |held| Event::Thawed { target: 0, held };
    vec![
        vec![Event::ThawGivenUp(1)],
        aborts.map(Event::Aborted).to_vec(),
        vec![Event::CutFailed(0)],
        vec![Event::SettleFailed(0)],
        vec![Event::Aborted(Abort::PodsChanged), Event::Compared { same: false }],
        vec![Event::HoldLost(0), not_held(Held::No), not_held(Held::Unknown)],
    ]
}

#[test]
fn of_several_failures_the_most_urgent_is_told() {
    let wrongs = wrongs();
    for (rank, urgent) in wrongs.iter().enumerate() {
        for lesser in wrongs[rank + 1..].iter().flatten() {
            for urgent in urgent {
                let mut entries = vec![entry(Event::Attempt(1), "-"), entry(lesser.clone(), "lesser")];
                entries.push(entry(urgent.clone(), "urgent"));
                assert_eq!(why(&entries).as_deref(), Some("urgent"), "{urgent:?} after {lesser:?}");
                entries.swap(1, 2);
                assert_eq!(why(&entries).as_deref(), Some("urgent"), "{urgent:?} before {lesser:?}");
            }
        }
    }
}

#[test]
fn of_equals_the_first_is_told_and_of_an_earlier_attempt_nothing() {
    let wrong = |text| entry(Event::CutFailed(0), text);
    assert_eq!(why(&[entry(Event::Attempt(1), "-"), wrong("first"), wrong("second")]).as_deref(), Some("first"));
    assert_eq!(why(&[entry(Event::Attempt(1), "-"), wrong("old"), entry(Event::Attempt(2), "-")]), None);
}

#[test]
fn whatever_is_told_the_exit_code_is_that_of_the_worst() {
    // Cut failed, pods changed, and the release given up: the outcome, and with it the exit code, is the last one's.
    let shape = Shape {
        waves: vec![0],
        stops_commits: vec![true],
        archives: Vec::new(),
        claims: 1,
        one_instant: true,
        attempts: 1,
        best: Outcome::ApplicationConsistent,
    };
    let mut run = Run::new(&shape);
    for event in [
        Event::Attempt(1),
        Event::Prepared(0),
        Event::WaveIntended(vec![0]),
        Event::CutIntended,
        Event::Quiesced(0),
        Event::Flushed(0),
        Event::CutFailed(0),
        Event::Aborted(Abort::PodsChanged),
        Event::ThawGivenUp(0),
    ] {
        run.apply(&event).unwrap();
    }
    assert_eq!(run.outcome(), Some(Outcome::Stuck));
}

/// A plan with these targets and no claim.
fn plan(targets: &serde_json::Value) -> Plan {
    serde_json::from_value(json!({
        "run": "r", "created": "2026-11-20T10:00:00Z", "namespace": "demo", "request": "-l a=b", "selections": [],
        "targets": targets, "claims": [], "unheld": [], "workloads": [], "budget": 30000, "attempts": 1,
        "cutErrorPatience": 5000, "estimate": 100, "contents": {"read": true, "change": true}, "notes": [],
    }))
    .unwrap()
}

#[test]
fn pods_that_changed_in_the_window_are_in_the_record() {
    let plan = plan(&json!([]));
    let differ = Difference { pod: "demo/a".into(), field: "restarts".into(), before: None, after: None };
    let mut aborted = entry(Event::Aborted(Abort::PodsChanged), "pods changed");
    aborted.detail.differences = Some(vec![differ.clone()]);
    let entries = [entry(Event::Attempt(1), "-"), aborted];
    let record = record(&plan, &entries, Vec::new(), Vec::new()).unwrap();
    assert_eq!(record.status.pods.differences, [differ]);
    assert_eq!(record.status.reason, "pods changed");
}

/// The record of a run with one database, whose events happened at these seconds.
fn told(events: &[(i64, Event)]) -> Backup {
    told_of(&plan(&redis()), events)
}

fn redis() -> serde_json::Value {
    json!([{"namespace": "demo", "pod": "a-0", "podUid": "u", "container": "db", "adapter": "redis",
        "wave": 0, "claims": [], "probe": {"version": "7", "role": "master", "stopsCommits": true, "dataDirs": [],
        "settings": [], "notes": []}}])
}

fn told_of(plan: &Plan, events: &[(i64, Event)]) -> Backup {
    let at = |seconds: i64| Timestamp::from_second(seconds).unwrap();
    let entries: Vec<Entry<Event>> =
        events.iter().map(|(s, event)| Entry { at: at(*s), event: event.clone(), detail: Detail::default() }).collect();
    record(plan, &entries, Vec::new(), Vec::new()).unwrap()
}

const HELD: [(i64, Event); 6] = [
    (0, Event::Attempt(1)),
    (0, Event::Prepared(0)),
    (10, Event::CutIntended),
    (11, Event::Quiesced(0)),
    (12, Event::Flushed(0)),
    (13, Event::Cut(0)),
];

fn held_until(thawed: i64, held: Held) -> Vec<(i64, Event)> {
    let mut events = HELD.to_vec();
    events.insert(2, (10, Event::WaveIntended(vec![0])));
    events.extend([(thawed, Event::ThawSent(0)), (thawed, Event::Thawed { target: 0, held })]);
    events
}

#[test]
fn a_hold_that_nobody_saw_end_is_no_longer_than_its_budget() {
    let mut seen = held_until(15, Held::Yes);
    seen.push((15, Event::Compared { same: true }));
    let seen = told(&seen).status;
    assert_eq!((seen.targets[0].held_seconds, &seen.targets[0].held), (Some(5.0), &json!(true)));
    assert_eq!(seen.window.map(|window| window.seconds), Some(3.0));
    // Thawed from elsewhere, an hour after its process died: the budget is 30 s, and there was no window.
    let late = told(&held_until(3600, Held::Unknown)).status;
    assert_eq!((late.targets[0].held_seconds, &late.targets[0].held), (Some(30.0), &json!("unknown")));
    assert_eq!(late.window, None);
}

#[test]
fn a_pause_lasts_until_somebody_ends_it() {
    let mut targets = redis();
    targets[0]["endpoint"] = json!({"port": 60053, "tls": null});
    let mut plan = plan(&targets);
    let held = |plan: &Plan, events: &[(i64, Event)]| told_of(plan, events).status.targets[0].held_seconds;
    let late = held_until(3610, Held::Unknown);
    assert_eq!(held(&plan, &late), Some(3600.0));
    // A guard pod ends it two seconds after the budget, if it can: where the run could not, nobody knows.
    plan.guard_image = Some("guard:1".into());
    assert_eq!(held(&plan, &late), Some(32.0));
    let mut stuck = late;
    let before = stuck.len() - 1;
    stuck.splice(before..before, [(60, Event::ThawGivenUp(0)), (3610, Event::TakenOver), (3610, Event::ThawSent(0))]);
    assert_eq!(held(&plan, &stuck), Some(3600.0));
}

#[test]
fn what_was_stuck_and_was_released_after_all_is_no_reason() {
    let of = |events: &[(Event, &str)]| {
        let entries: Vec<_> = events.iter().map(|(event, text)| entry(event.clone(), text)).collect();
        why(&entries).unwrap()
    };
    let stuck = [
        (Event::Attempt(1), ""),
        (Event::Aborted(Abort::Budget), "spent"),
        (Event::ThawGivenUp(0), "could not be seen released"),
    ];
    assert_eq!(of(&stuck), "could not be seen released");
    let released = (Event::Thawed { target: 0, held: Held::Unknown }, "released by its token");
    assert_eq!(of(&[&stuck[..], &[released]].concat()), "spent");
}

#[test]
fn what_was_never_touched_was_not_held() {
    let events = [(0, Event::Attempt(1)), (1, Event::Aborted(Abort::Signal)), (1, Event::Finished(Outcome::Failed))];
    let status = told(&events).status;
    assert_eq!((status.targets[0].held_seconds, &status.targets[0].held), (Some(0.0), &json!(false)));
}

#[test]
fn what_is_no_backup_has_no_point_to_recover_to() {
    let mut events = held_until(15, Held::Yes);
    events.extend([(15, Event::Aborted(Abort::Signal)), (16, Event::DiscardIntended), (17, Event::Discarded(0))]);
    assert!(told(&events).status.window.is_some(), "until it is over");
    events.push((17, Event::Finished(Outcome::Failed)));
    assert_eq!(told(&events).status.window, None);
}
