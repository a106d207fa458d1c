#![allow(clippy::unwrap_used)]
use serde_json::{Value, json};

use super::ask::answered;
use super::copy::{Server, server};
use super::*;
use crate::plan::Target;
use crate::plan::verify::PREPARE;
use crate::quiescer::verify::Alone;
use crate::quiescer::{Answer, End, Probe};

mod requests;

fn copy() -> Copy {
    Copy {
        target: Target {
            namespace: "demo".into(),
            pod: "pg-0".into(),
            pod_uid: "u".into(),
            container: "pg".into(),
            adapter: "postgres".into(),
            probe: Probe::default(),
            wave: 0,
            claims: Vec::new(),
            release: String::new(),
            endpoint: None,
        },
        namespace: "demo".into(),
        claims: Vec::new(),
        config_maps: Vec::new(),
        policy: k8s_openapi::api::networking::v1::NetworkPolicy::default(),
        pod: k8s_openapi::api::core::v1::Pod::default(),
        name: "pg-0-verify".into(),
        alone: Alone {
            prepare: Vec::new(),
            read: |_| Vec::new(),
            arguments: Vec::new(),
            servers: &[],
            env: Vec::new(),
        },
    }
}

fn of_status(status: &Value) -> Server {
    server(&serde_json::from_value(json!({"metadata": {}, "status": status})).unwrap(), "pg")
}

fn state(name: &str, state: &Value) -> Value {
    json!([{"name": name, "image": "", "imageID": "", "ready": false, "restartCount": 0, "state": state}])
}

/// Whether a server was started is what decides whether the backup may be to blame.
#[test]
fn a_server_that_was_never_started_says_nothing_of_the_backup() {
    let ended = |code: i32| json!({"terminated": {"exitCode": code, "startedAt": "2026-11-20T10:00:00Z", "message": "FATAL: torn\n"}});
    assert_eq!(of_status(&json!({"containerStatuses": state("pg", &json!({"running": {}}))})), Server::Runs);
    assert_eq!(
        of_status(&json!({"phase": "Failed", "containerStatuses": state("pg", &ended(1))})),
        Server::Ended("the server ended with exit code 1: FATAL: torn".into())
    );
    assert_eq!(
        of_status(&json!({"phase": "Failed", "initContainerStatuses": state(PREPARE, &ended(3)),
            "containerStatuses": state("pg", &json!({"waiting": {"reason": "PodInitializing"}}))})),
        Server::NotPrepared(3)
    );
    let evicted = json!({"phase": "Failed", "reason": "Evicted", "message": "low on memory"});
    assert_eq!(of_status(&evicted), Server::Never("Evicted: low on memory".into()));
    for (reason, ended) in [
        (Value::from("Evicted"), ended(137)),
        (
            Value::Null,
            json!({"terminated":
        {"exitCode": 137, "startedAt": "2026-11-20T10:00:00Z", "reason": "OOMKilled"}}),
        ),
    ] {
        let status = json!({"phase": "Failed", "reason": reason, "containerStatuses": state("pg", &ended)});
        assert!(matches!(of_status(&status), Server::Never(_)), "{status}");
    }
    let pull = json!({"waiting": {"reason": "ImagePullBackOff", "message": "no such image"}});
    assert_eq!(
        of_status(&json!({"phase": "Pending", "containerStatuses": state("pg", &pull)})),
        Server::Waiting("ImagePullBackOff: no such image".into())
    );
    let unscheduled = json!({"phase": "Pending", "conditions": [{"type": "PodScheduled", "status": "False", "message": "0/1 nodes"}]});
    assert_eq!(of_status(&unscheduled), Server::Waiting("it is on no node yet: 0/1 nodes".into()));
}

#[test]
fn only_what_is_known_is_a_verdict() {
    let of = |looked, checks: &[Checked]| {
        let found = judged(&copy(), looked, checks, Vec::new(), 1.0);
        (found.target.ok, found.undecided, found.target.reason)
    };
    let passed = || Checked::new("amcheck", Outcome::Passed, "3 tables");
    let missing = Checked::new("pg_dump", Outcome::NotAvailable, "no pg_dump");
    let failed = || Checked::new("amcheck", Outcome::Failed, "torn");
    let unknown = || Checked::unknown("identity", "connection lost");
    assert_eq!(of(Ok(()), &[passed(), missing]), (true, false, String::new()));
    assert_eq!(of(Ok(()), &[failed(), unknown()]), (false, false, "amcheck: torn; identity: connection lost".into()));
    assert_eq!(of(Ok(()), &[passed(), unknown()]), (false, true, "identity: connection lost".into()));
    assert_eq!(of(Err(Broken::Bad("it ended".into())), &[]), (false, false, "it ended".into()));
    assert_eq!(of(Err(Broken::Undecided("no node".into())), &[]), (false, true, "no node".into()));
    let apart = Checked::new("isolated", Outcome::Failed, "event_scheduler is ON");
    let told = "stopped; isolated: event_scheduler is ON".to_owned();
    assert_eq!(of(Err(Broken::Undecided("stopped".into())), &[apart]), (false, true, told), "nothing of its data");
    assert!(!of(Err(Broken::Undecided("no node".into())), &[failed()]).1, "damaged files are, whatever came after");
}

#[test]
fn a_question_is_well_answered_only_with_code_0() {
    let answer = |out: &str, end| Answer { out: out.into(), err: "denied".into(), end };
    let (query, checked) = answered(&copy(), "psql", &answer("42\n", End::Exited(0)));
    assert_eq!((query.exit_code, query.output.as_str(), checked.outcome), (Some(0), "42", Outcome::Passed));
    let (query, checked) = answered(&copy(), "psql", &answer("", End::Exited(2)));
    assert_eq!((query.exit_code, query.output.as_str(), checked.outcome), (Some(2), "denied", Outcome::Failed));
    let (query, checked) = answered(&copy(), "psql", &answer("", End::Unknown("lost".into())));
    assert_eq!((query.exit_code, query.output.as_str(), checked.outcome), (None, "lost", Outcome::Unknown));
    let (query, _) = answered(&copy(), "psql", &answer(&"x".repeat(100_000), End::Exited(0)));
    assert!(query.output.len() < 5000, "a record has little room");
}
