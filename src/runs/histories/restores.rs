//! The same for journals of restores.

use proptest::prelude::*;

use super::{Stored, item, led_to_its_end};
use crate::executor::restore::RestoreJournal;
use crate::journal::Entry;
use crate::protocol::Abort;
use crate::protocol::restore::{Event, Outcome, Step};
use crate::record::entry::Detail;

/// A journal as it lay in a cluster, whose entries are replaced.
fn journal(events: &[Event]) -> Stored {
    let object = serde_json::from_str(include_str!("../../../tests/fixtures/journals/restore-1.json")).unwrap();
    let mut stored = Stored::new(object);
    stored.data.retain(|key, _| !is_entry(key));
    for (number, event) in events.iter().enumerate() {
        let entry = Entry { at: jiff::Timestamp::UNIX_EPOCH, event: event.clone(), detail: Detail::default() };
        stored.data.insert(format!("e{number:04}"), serde_json::to_string(&entry).unwrap());
    }
    stored
}

fn is_entry(key: &str) -> bool {
    key.strip_prefix('e').is_some_and(|number| number.len() == 4 && number.parse::<u32>().is_ok())
}

/// What a step may answer; which of it, `choice` says.
fn answer(step: &Step, choice: u8) -> Vec<Event> {
    let rarely = choice.is_multiple_of(8);
    match step.clone() {
        Step::BackStop | Step::BackClaims(_) | Step::BackStart if rarely => vec![Event::GivenUp],
        Step::Restate if rarely => vec![Event::NotRestated],
        Step::Secure | Step::Recover(_) if rarely => vec![Event::Aborted(Abort::Step)],
        Step::Secure => vec![Event::Secured],
        Step::ReadBack => vec![Event::ReadBack],
        Step::Stop => vec![Event::Stopped],
        Step::Prepare => vec![Event::Prepared],
        Step::Start => vec![Event::Started],
        Step::Replace(cs) => cs.into_iter().map(Event::Replaced).collect(),
        Step::Recover(ts) => ts.into_iter().map(Event::Recovered).collect(),
        Step::Open => vec![Event::Opened],
        Step::Compare => vec![Event::Compared { same: !choice.is_multiple_of(4) }],
        Step::BackStop => vec![Event::BackStopped],
        Step::BackClaims(cs) => cs.into_iter().map(Event::ClaimBack).collect(),
        Step::BackStart => vec![Event::BackStarted],
        Step::Restate => vec![Event::Restated],
        Step::Finish(_) => Vec::new(),
    }
}

/// A history that these choices make: steps that succeed or fail, signals, and other processes that take over.
fn history(choices: &[u8]) -> Vec<Event> {
    let mut run = RestoreJournal::read(&journal(&[])).unwrap().run;
    let mut events = Vec::new();
    for &choice in choices {
        let step = run.next();
        let wanted = match choice {
            0..=5 => vec![Event::Aborted([Abort::Signal, Abort::Budget][usize::from(choice) % 2])],
            6..=12 => run.recovery(),
            _ => [run.intents(&step), answer(&step, choice)].concat(),
        };
        for event in wanted {
            if run.apply(&event).is_ok() {
                events.push(event);
            }
        }
    }
    events
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_prefix_is_led_to_an_end(choices in prop::collection::vec(any::<u8>(), 0..50)) {
        let events = history(&choices);
        for length in 0..=events.len() {
            let stored = journal(&events[..length]);
            let record = serde_json::to_value(item(&stored).unwrap()).unwrap();
            let found = RestoreJournal::read(&stored).unwrap();
            prop_assert_eq!(record["status"]["outcome"] == "Running", !found.run.is_finished(), "{:?}", &events[..length]);
            let end = led_to_its_end(found.run, answer);
            prop_assert!(end.outcome().is_some_and(|outcome| outcome != Outcome::Stuck), "{:?}", end);
        }
    }

    #[test]
    fn a_damaged_journal_is_refused_by_name(
        choices in prop::collection::vec(any::<u8>(), 4..50), at in any::<usize>(), text in prop::option::of(".{0,40}"),
    ) {
        let events = history(&choices);
        prop_assume!(events.len() > 1);
        let mut stored = journal(&events);
        let key = format!("e{:04}", at % (events.len() - 1));
        match text {
            Some(text) => stored.data.insert(key.clone(), text),
            None => stored.data.remove(&key),
        };
        let refused = item(&stored).expect_err("what is damaged is refused").to_string();
        prop_assert!(refused.contains(&stored.name) && refused.contains(&stored.run), "{}", refused);
    }
}
