use serde_json::json;

use super::super::fixture::{backup, serving};
use super::*;
use crate::runs::BackupJournal;

fn plan() -> Plan {
    BackupJournal::read(&backup("r1", &[])).unwrap().plan
}

#[tokio::test(start_paused = true)]
async fn a_record_that_cannot_be_read_takes_nothing_of_what_is_known() {
    let (cluster, _) = serving(&[], "-none");
    for (outcome, code, says) in [
        (Outcome::ApplicationConsistent, ExitCode::Lesser, "is made and ApplicationConsistent"),
        (Outcome::CrashConsistent, ExitCode::Lesser, "is made and CrashConsistent"),
        (Outcome::Failed, ExitCode::Failed, "every database serves"),
        (Outcome::Stuck, ExitCode::Held, "something may still be held"),
    ] {
        let error = report(&cluster, &plan(), Ok(outcome), false, Format::Json).await.unwrap_err();
        assert_eq!(error.code, code, "{error}");
        assert!(error.to_string().contains(says), "{error}");
        assert_eq!(error.hints.len(), 1, "{error}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_run_that_was_taken_over_holds_what_its_record_says() {
    let begun =
        [json!({"attempt": 1}), json!({"prepared": 0}), json!({"waveIntended": [0]}), json!({"aborted": "died"})];
    let ended = [json!({"thawed": {"target": 0, "held": "no"}})];
    for (journals, held, code) in [
        (vec![backup("r1", &begun)], true, ExitCode::Held),
        (vec![backup("r1", &[&begun[..], &ended].concat())], true, ExitCode::Failed),
        (vec![], true, ExitCode::Held),
        (vec![], false, ExitCode::Failed),
    ] {
        let (cluster, _) = serving(&journals, "-none");
        let error = report(&cluster, &plan(), Err((Stop::TakenOver, held)), false, Format::Json).await.unwrap_err();
        assert_eq!(error.code, code, "{journals:?}");
    }
}
