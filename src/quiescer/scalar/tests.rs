//! Answers of `rpc.Admin`.
#![allow(clippy::unwrap_used)]

use super::*;

fn message(bytes: &[u8]) -> Answer {
    Answer {
        out: format!("{}{}", super::super::MESSAGE, BASE64_STANDARD.encode(bytes)),
        end: End::Exited(0),
        ..Answer::default()
    }
}

/// As protobuf encodes it: a false is not sent.
fn is_paused(paused: bool) -> Answer {
    if paused { message(&[0x08, 0x01]) } else { message(&[]) }
}

fn status(code: i32, reason: &str) -> Answer {
    Answer { out: reason.into(), err: "FailedPrecondition: words".into(), end: End::Exited(code) }
}

fn lost() -> Answer {
    Answer { end: End::Unknown("no answer in 5s".into()), ..Answer::default() }
}

fn token() -> Token {
    Token { run: "r".into(), attempt: 1 }
}

fn probe() -> Probe {
    let mut probe = Scalar.read_probe(&is_paused(false)).unwrap();
    probe.settings.push((DRAIN.into(), "7000".into()));
    probe
}

/// One that cannot be asked whether it is paused.
fn mute() -> Probe {
    Scalar.read_probe(&status(UNIMPLEMENTED, "")).unwrap()
}

#[test]
fn one_that_serves_is_accepted_and_one_that_is_paused_is_not() {
    let probe = probe();
    assert!(probe.stops_commits && probe.keeps_nothing && probe.data_dirs.is_empty() && probe.notes.is_empty());
    let refused = |answer: &Answer| Scalar.read_probe(answer).unwrap_err().remove(0).message;
    assert_eq!(refused(&is_paused(true)), "it is paused already, by somebody else");
    assert_eq!(refused(&lost()), "its admin port does not answer: no answer in 5s");
    assert!(mute().notes[0].contains("CheckPaused"));
}

#[test]
fn the_request_is_encoded_as_the_servers_read_it() {
    let script = Scalar.hold(&probe(), &token(), Duration::from_secs(60));
    let Act::Call { method, message, within } = &script[0] else { panic!("{script:?}") };
    // Field 1, varint 1; field 2, varint 7000 = 0xd8 0x36.
    assert_eq!((*method, message.as_slice()), ("/rpc.Admin/Pause", &[0x08, 0x01, 0x10, 0xd8, 0x36][..]));
    assert_eq!(*within, Duration::from_secs(10));
    let script = Scalar.hold(&probe(), &token(), Duration::from_secs(2));
    let Act::Call { within, .. } = &script[0] else { panic!("{script:?}") };
    assert_eq!(*within, Duration::from_secs(5), "the budget bounds the drain");
}

#[test]
fn it_is_held_once_it_says_so_itself() {
    assert!(Scalar.read_hold(&probe(), &[message(&[]), is_paused(true)]).is_ok());
    assert!(Scalar.read_hold(&mute(), &[message(&[])]).is_ok());
    for answers in [vec![message(&[]), is_paused(false)], vec![message(&[]), lost()], vec![message(&[])], vec![lost()]]
    {
        assert!(Scalar.read_hold(&probe(), &answers).is_err(), "{answers:?}");
    }
}

#[test]
fn refusals_are_told_apart() {
    for (answer, words, nothing) in [
        (status(FAILED_PRECONDITION, "TIMED_OUT"), "within 7000 ms, and it serves again", true),
        (status(FAILED_PRECONDITION, ""), "within 7000 ms, and it serves again", false),
        (status(FAILED_PRECONDITION, "TIMED_OUT_STILL_PAUSED"), "somebody else's pause keeps it closed", true),
        (status(FAILED_PRECONDITION, "PAUSE_IN_PROGRESS"), "somebody else is pausing it now", true),
        (status(10, "GATE_OPEN"), "somebody else ended the pause while it waited", true),
        (status(UNIMPLEMENTED, ""), "it has no such admin service", false),
        (lost(), "no answer in 5s", false),
    ] {
        let said = Scalar.read_hold(&probe(), std::slice::from_ref(&answer)).unwrap_err().message;
        assert!(said.contains(words), "{said}");
        // What may be held is released, what is certainly not ours is left alone.
        assert_eq!(Scalar.holds_nothing(&[answer]), nothing, "{words}");
    }
    assert!(!Scalar.holds_nothing(&[]));
}

#[test]
fn it_is_asked_again_while_it_is_held_and_only_a_certain_answer_ends_that() {
    assert!(Scalar.watch(&mute()).is_empty());
    assert!(matches!(Scalar.watch(&probe())[..], [Act::Call { method: CHECK_PAUSED, .. }]));
    assert!(Scalar.read_watch(&[is_paused(false)]).is_some());
    for unknown in [vec![is_paused(true)], vec![lost()], vec![]] {
        assert_eq!(Scalar.read_watch(&unknown), None, "{unknown:?}");
    }
}

#[test]
fn it_was_held_if_it_was_paused_when_it_was_released() {
    let read = |probe: &Probe, answers: &[Answer]| {
        let thawed = Scalar.read_thaw(probe, &[], answers);
        assert_eq!(thawed.why.is_none(), thawed.held == Held::Yes && thawed.released, "{thawed:?}");
        (thawed.held, thawed.released)
    };
    let (yes, no, ok) = (is_paused(true), is_paused(false), message(&[]));
    let open = status(FAILED_PRECONDITION, "GATE_OPEN");
    for (probe, answers, held, released) in [
        (probe(), vec![yes.clone(), ok.clone(), no.clone()], Held::Yes, true),
        (probe(), vec![no.clone(), ok.clone(), no.clone()], Held::No, true),
        (probe(), vec![no.clone(), open.clone()], Held::No, true),
        (probe(), vec![yes.clone(), ok.clone(), yes.clone()], Held::Yes, false),
        (probe(), vec![yes.clone(), lost()], Held::Yes, false),
        (probe(), vec![yes, ok.clone(), lost()], Held::Yes, false),
        (probe(), vec![lost()], Held::Unknown, false),
        (mute(), vec![ok], Held::Yes, true),
        (mute(), vec![open], Held::No, true),
        (mute(), vec![lost()], Held::Unknown, false),
    ] {
        assert_eq!(read(&probe, &answers), (held, released), "{answers:?}");
    }
}

#[test]
fn released_is_what_says_that_it_is_not_paused() {
    let (yes, no, ok) = (is_paused(true), is_paused(false), message(&[]));
    let open = status(FAILED_PRECONDITION, "GATE_OPEN");
    let waited = Answer::default();
    for gone in [
        vec![waited.clone(), yes.clone(), ok.clone(), no.clone()],
        vec![waited.clone(), no.clone(), open],
        vec![waited.clone(), ok.clone()],
    ] {
        assert_eq!(Scalar.read_release(&gone), Released::Gone, "{gone:?}");
    }
    for held in [
        vec![waited.clone(), yes.clone(), ok.clone(), yes.clone()],
        vec![waited.clone(), yes.clone(), ok.clone()],
        vec![waited.clone(), yes, lost()],
        vec![waited.clone(), lost()],
        vec![waited],
        vec![],
    ] {
        assert_ne!(Scalar.read_release(&held), Released::Gone, "{held:?}");
    }
}

#[test]
fn one_that_somebody_else_has_paused_meanwhile_is_not_paused_again() {
    assert!(Scalar.read_prepare(&probe(), &[is_paused(false)]).is_ok());
    assert!(Scalar.read_prepare(&mute(), &[]).is_ok());
    for answers in [vec![is_paused(true)], vec![lost()], vec![]] {
        assert!(Scalar.read_prepare(&probe(), &answers).is_err(), "{answers:?}");
    }
}

#[test]
fn pods_are_known_by_the_charts_label() {
    let detected = |app: &str, containers: &[&str]| {
        let containers: Vec<_> = containers.iter().map(|name| serde_json::json!({ "name": name })).collect();
        let pod: Pod = serde_json::from_value(
            serde_json::json!({"metadata": {"labels": {APP: app}}, "spec": {"containers": containers}}),
        )
        .unwrap();
        let all = pod.spec.as_ref().unwrap().containers.iter();
        all.filter(|container| Scalar.detects(&pod, container)).map(|c| c.name.clone()).collect::<Vec<_>>()
    };
    for app in ["scalardb-cluster", "scalardb", "ledger", "auditor"] {
        assert_eq!(detected(app, &["any"]), ["any"], "{app}");
    }
    assert_eq!(detected("ledger", &["scalardl-ledger", "istio-proxy"]), ["scalardl-ledger"]);
    assert!(detected("envoy", &["scalardl-envoy"]).is_empty());
}
