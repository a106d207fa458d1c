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
        vec![Event::ThawGivenUp(0)],
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

#[test]
fn pods_that_changed_in_the_window_are_in_the_record() {
    let plan: Plan = serde_json::from_value(json!({
        "run": "r", "created": "2026-11-20T10:00:00Z", "namespace": "demo", "request": "-l a=b", "selections": [],
        "targets": [], "claims": [], "unheld": [], "workloads": [], "budget": 30000, "attempts": 1,
        "cutErrorPatience": 5000, "estimate": 100, "contents": {"read": true, "change": true}, "notes": [],
    }))
    .unwrap();
    let differ = Difference { pod: "demo/a".into(), field: "restarts".into(), before: None, after: None };
    let mut aborted = entry(Event::Aborted(Abort::PodsChanged), "pods changed");
    aborted.detail.differences = Some(vec![differ.clone()]);
    let entries = [entry(Event::Attempt(1), "-"), aborted];
    let record = record(&plan, &entries, Vec::new(), Vec::new()).unwrap();
    assert_eq!(record.status.pods.differences, [differ]);
    assert_eq!(record.status.reason, "pods changed");
}

/// A stopped database on claim `data`, and a claim `logs` beside it.
fn plan(unheld_claims: &[&str]) -> Plan {
    let claim = |name: &str| {
        json!({"namespace": "demo", "name": name, "uid": name, "volume": name, "storageClass": null, "request": "1Gi",
            "accessModes": [], "volumeMode": "Filesystem", "labels": {}, "driver": "d", "class": "c",
            "deletionPolicy": "Delete", "pods": ["my-0"]})
    };
    let probe =
        json!({"version": "11", "role": "primary", "stopsCommits": true, "dataDirs": [], "settings": [], "notes": []});
    serde_json::from_value(json!({
        "run": "r1", "created": "2026-11-20T10:00:00Z", "namespace": "demo", "request": "sts/my", "selections": [],
        "targets": [{"namespace": "demo", "pod": "my-0", "podUid": "p", "container": "my", "adapter": "mysql",
            "probe": probe, "wave": 0, "claims": [0]}],
        "claims": [claim("data"), claim("logs")], "unheld": [], "unheldClaims": unheld_claims, "workloads": [],
        "budget": 30_000, "attempts": 1, "cutErrorPatience": 5000, "estimate": 100,
        "contents": {"read": true, "change": true}, "notes": ["a remark"]
    }))
    .unwrap()
}

fn told(plan: &Plan, outcome: Outcome) -> Result<Status, Damaged> {
    use Event::{
        Attempt, Compared, Cut, CutIntended, Finished, Flushed, Kept, Prepared, Quiesced, Settled, ThawSent,
        WaveIntended,
    };
    let thawed = Event::Thawed { target: 0, held: Held::Yes };
    let events = [
        vec![Attempt(1), Prepared(0), WaveIntended(vec![0]), CutIntended, Quiesced(0), Flushed(0), Cut(0), Cut(1)],
        vec![ThawSent(0), thawed, Compared { same: true }, Kept(0), Kept(1), Settled(0), Settled(1), Finished(outcome)],
    ];
    let at = plan.created;
    let entries: Vec<_> =
        events.concat().into_iter().map(|event| Entry { at, event, detail: Detail::default() }).collect();
    record(plan, &entries, Vec::new(), Vec::new()).map(|backup| backup.status)
}

#[test]
fn what_is_written_to_beside_the_hold_makes_it_crash_consistent() {
    let loose = plan(&["demo/logs"]);
    assert!(told(&loose, Outcome::ApplicationConsistent).is_err(), "the fold does not say so");
    let status = told(&loose, Outcome::CrashConsistent).unwrap();
    assert_eq!(
        (status.outcome.as_str(), status.reason.as_str()),
        (
            "CrashConsistent",
            "nothing holds what is written to claim demo/logs: its copy is as it was on the device at its cut (the notes say \
             more)"
        )
    );
    let status = told(&plan(&[]), Outcome::ApplicationConsistent).unwrap();
    assert_eq!((status.outcome.as_str(), status.reason.as_str()), ("ApplicationConsistent", ""));
}

#[test]
fn the_plans_remarks_are_in_the_record() {
    assert_eq!(told(&plan(&[]), Outcome::ApplicationConsistent).unwrap().notes, ["a remark"]);
}

#[test]
fn what_is_left_of_a_failed_run_is_named() {
    let plan = plan(&[]);
    let pending = "volumesnapshotcontent/x keeps deletionPolicy Retain";
    let entry = |event, text: Option<&str>| Entry {
        at: plan.created,
        event,
        detail: text.map(Detail::text).unwrap_or_default(),
    };
    let mut entries: Vec<_> = [
        Event::Attempt(1),
        Event::Prepared(0),
        Event::WaveIntended(vec![0]),
        Event::CutIntended,
        Event::Aborted(crate::protocol::Abort::Step),
        Event::Thawed { target: 0, held: Held::No },
        Event::DiscardIntended,
        Event::Discarded(0),
    ]
    .into_iter()
    .map(|event| entry(event, None))
    .collect();
    entries.push(entry(Event::DiscardPending(1), Some(pending)));
    entries.push(entry(Event::Finished(Outcome::Failed), None));
    let status = record(&plan, &entries, Vec::new(), Vec::new()).unwrap().status;
    assert_eq!((status.snapshots_removed.as_str(), &status.snapshots_left[..]), ("pending", &[pending.to_owned()][..]));
}

#[test]
fn a_plan_of_an_earlier_version_is_read() {
    let mut text = serde_json::to_value(plan(&[])).unwrap();
    text.as_object_mut().unwrap().remove("unheldClaims");
    assert_eq!(serde_json::from_value::<Plan>(text).unwrap(), plan(&[]));
}
