//! Journals of any history: each prefix is read, understood and led to an end; what is damaged is refused by name.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::executor::Fold;
use crate::journal::{Entry, Stored};
use crate::protocol::Abort;
use crate::protocol::backup::{Held, Outcome, Step};
use crate::record::entry::Detail;

mod restores;

/// Two databases, one of them light, and three claims.
fn plan() -> Plan {
    let target = |pod: &str, stops: bool| {
        json!({"namespace": "demo", "pod": pod, "podUid": "u", "container": "db", "adapter": "redis", "wave": 0,
            "claims": [0], "probe": {"version": "7", "role": "master", "stopsCommits": stops, "dataDirs": [],
            "settings": [], "notes": []}})
    };
    let claim = |name: &str| {
        json!({"namespace": "demo", "name": name, "uid": "u", "volume": "v", "storageClass": null, "request": "1Gi",
            "accessModes": [], "volumeMode": "Filesystem", "labels": {}, "driver": "d", "class": "c",
            "deletionPolicy": "Delete", "pods": []})
    };
    serde_json::from_value(json!({
        "run": "r", "created": "2026-11-20T10:00:00Z", "namespace": "demo", "request": "-l a=b", "selections": [],
        "targets": [target("a-0", true), target("b-0", false)], "claims": [claim("a"), claim("b"), claim("c")],
        "unheld": [], "workloads": [], "budget": 30000, "attempts": 3, "cutErrorPatience": 5000, "estimate": 100,
        "contents": {"read": true, "change": true}, "notes": [],
    }))
    .unwrap()
}

/// What a step may answer; which of it, `choice` says.
fn answer(step: &Step, choice: u8) -> Vec<Event> {
    let held = [Held::Yes, Held::Yes, Held::Yes, Held::No, Held::Unknown][usize::from(choice) % 5];
    let rarely = choice.is_multiple_of(16);
    match step.clone() {
        Step::Attempt(n) => vec![Event::Attempt(n)],
        Step::Prepare(ts) => ts.into_iter().map(Event::Prepared).collect(),
        Step::Quiesce(ts) => ts.into_iter().map(Event::Quiesced).collect(),
        Step::Flush(ts) => ts.into_iter().map(Event::Flushed).collect(),
        Step::Cut(cs) if rarely => vec![Event::CutFailed(cs[0])],
        Step::Cut(cs) => cs.into_iter().map(Event::Cut).collect(),
        Step::Thaw(ts) if rarely => ts.into_iter().map(Event::ThawGivenUp).collect(),
        Step::Thaw(ts) => {
            let thawed = ts.iter().map(|&target| Event::Thawed { target, held });
            ts.iter().map(|&t| Event::ThawSent(t)).chain(thawed).collect()
        }
        Step::Compare => vec![Event::Compared { same: !choice.is_multiple_of(4) }],
        Step::Discard(cs) if rarely => cs.into_iter().map(Event::DiscardPending).collect(),
        Step::Discard(cs) => cs.into_iter().map(Event::Discarded).collect(),
        Step::Archive(ts) if rarely => vec![Event::NotArchived(ts[0])],
        Step::Archive(ts) => ts.into_iter().map(Event::Archived).collect(),
        Step::Keep(cs) => cs.into_iter().map(Event::Kept).collect(),
        Step::Settle(cs) if rarely => vec![Event::SettleFailed(cs[0])],
        Step::Settle(cs) => cs.into_iter().map(Event::Settled).collect(),
        Step::Finish(_) => Vec::new(),
    }
}

/// A history that these choices make: steps that succeed or fail, signals, budgets, and other processes that take over.
fn history(choices: &[u8]) -> Vec<Event> {
    let mut run = Run::new(&backup::shape(&plan()));
    let mut events = Vec::new();
    for &choice in choices {
        let step = run.next();
        let mut wanted = match choice {
            0..=5 => vec![Event::Aborted([Abort::Signal, Abort::Budget, Abort::PodsChanged][usize::from(choice) % 3])],
            6..=10 => run.recovery(),
            11..=13 => vec![Event::HoldLost(usize::from(choice) % 2)],
            _ => run.intents(&step),
        };
        if choice > 13 {
            wanted.extend(answer(&step, choice));
        }
        for event in wanted {
            if run.apply(&event).is_ok() {
                events.push(event);
            }
        }
    }
    events
}

fn entry(event: Event) -> Entry<Event> {
    Entry { at: jiff::Timestamp::UNIX_EPOCH, event, detail: Detail::default() }
}

fn journal(events: &[Event]) -> Stored {
    let mut data = BTreeMap::from([
        ("format".to_owned(), "1".to_owned()),
        ("plan".to_owned(), serde_json::to_string(&plan()).unwrap()),
    ]);
    for (number, event) in events.iter().enumerate() {
        data.insert(format!("e{number:04}"), serde_json::to_string(&entry(event.clone())).unwrap());
    }
    Stored {
        namespace: "demo".into(),
        name: "consistent-backup-r".into(),
        run: "r".into(),
        kind: Some(Kind::Backup),
        uid: "u".into(),
        resource_version: "1".into(),
        created: None,
        data,
        rebuilt: false,
    }
}

/// Leads a run on as a process does that found its journal, without any further fault.
fn led_to_its_end<F: Fold>(mut run: F, answer: impl Fn(&F::Step, u8) -> Vec<F::Event>) -> F {
    let mut todo = run.recovery();
    for _ in 0..100 {
        for event in todo {
            run.apply(&event).unwrap();
        }
        let step = run.next();
        todo = run.intents(&step);
        if todo.is_empty() && F::outcome(&step).is_some() {
            return run;
        }
        todo.extend(answer(&step, 101));
    }
    panic!("no end");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_prefix_is_led_to_an_end(choices in prop::collection::vec(any::<u8>(), 0..60)) {
        let events = history(&choices);
        for length in 0..=events.len() {
            let found = BackupJournal::read(&journal(&events[..length])).unwrap();
            let before = found.record().unwrap();
            prop_assert_eq!(before.status.outcome == "Running", !found.run.is_finished());
            let end = led_to_its_end(found.run, answer);
            prop_assert!(end.may_be_held().is_empty(), "{:?} holds after {:?}", end.may_be_held(), &events[..length]);
            prop_assert!(end.outcome() != Some(Outcome::Stuck));
        }
    }

    #[test]
    fn a_journal_with_a_gap_is_refused_by_name(choices in prop::collection::vec(any::<u8>(), 4..60), at in any::<usize>()) {
        let events = history(&choices);
        prop_assume!(events.len() > 1);
        let mut stored = journal(&events);
        let lost = format!("e{:04}", at % (events.len() - 1));
        stored.data.remove(&lost);
        let refused = BackupJournal::read(&stored).err().expect("a gap is refused").to_string();
        prop_assert!(refused.contains("consistent-backup-r") && refused.contains(&lost), "{}", refused);
    }

    #[test]
    fn whatever_stands_in_an_entry_nothing_panics(
        choices in prop::collection::vec(any::<u8>(), 4..40), at in any::<usize>(), text in ".{0,40}",
    ) {
        let events = history(&choices);
        prop_assume!(!events.is_empty());
        let mut stored = journal(&events);
        stored.data.insert(format!("e{:04}", at % events.len()), text);
        let refused = BackupJournal::read(&stored).err().expect("no entry is made of such a text");
        prop_assert!(refused.to_string().contains("consistent-backup-r"), "{}", refused);
    }

    #[test]
    fn entries_in_another_order_are_refused_or_mean_the_same(
        choices in prop::collection::vec(any::<u8>(), 4..60), one in any::<usize>(), other in any::<usize>(),
    ) {
        let events = history(&choices);
        prop_assume!(events.len() > 1);
        let mut swapped = events.clone();
        swapped.swap(one % events.len(), other % events.len());
        if let Ok(found) = BackupJournal::read(&journal(&swapped)) {
            // Only what the fold itself could have said: it still finds its end.
            prop_assert!(led_to_its_end(found.run, answer).may_be_held().is_empty());
        }
    }
}
