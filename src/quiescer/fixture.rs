//! Answers captured from real servers (`tests/fixtures/ADAPTER/NAME.txt`): standard output, then `--- stderr` and
//! standard error, then `--- ` and how it ended.
#![allow(clippy::unwrap_used)]

use super::{Answer, End, Probe, Quiescer, Reason};

/// The captured answer.
pub(super) fn answer(name: &str) -> Answer {
    let path = format!("{}/tests/fixtures/{name}.txt", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
    let (out, rest) = text.split_once("--- stderr\n").unwrap();
    let (err, end) = rest.rsplit_once("--- ").unwrap();
    let end = match end.trim() {
        "Answered" => End::Answered,
        other => match other.strip_prefix("Exited(").and_then(|code| code.trim_end_matches(')').parse().ok()) {
            Some(code) => End::Exited(code),
            None => End::Unknown(other.to_owned()),
        },
    };
    Answer { out: out.to_owned(), err: err.to_owned(), end }
}

/// The captured probe, which must be read without a reason against it.
pub(super) fn probe(quiescer: &dyn Quiescer, name: &str) -> Probe {
    quiescer.read_probe(&answer(name)).unwrap_or_else(|reasons| panic!("{name}: {reasons:?}"))
}

/// The messages of the reasons against a captured probe.
pub(super) fn refused(quiescer: &dyn Quiescer, name: &str) -> String {
    refused_answer(quiescer, &answer(name))
}

/// The messages of the reasons against an answer.
pub(super) fn refused_answer(quiescer: &dyn Quiescer, answer: &Answer) -> String {
    let reasons = quiescer.read_probe(answer).expect_err("must be refused");
    let messages: Vec<String> = reasons.into_iter().map(|Reason { message, .. }| message).collect();
    messages.join("; ")
}

/// The answer with a line of its output replaced, for settings that no server here has.
pub(super) fn with(name: &str, from: &str, to: &str) -> Answer {
    let mut answer = answer(name);
    assert!(answer.out.contains(from), "{name} has no {from:?}");
    answer.out = answer.out.replace(from, to);
    answer
}
