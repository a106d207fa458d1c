//! Deleting against a server that has only journals.

use std::sync::{Arc, Mutex};

use serde_json::json;

use super::*;
use crate::cli::OutputFlag;
use crate::commands::fixture::{Server, backup, restore, restored, serving};
use crate::executor::restore::RestoreJournal;
use crate::journal::Stored;

/// What came of `delete RUNS --yes`, and the runs that are left.
async fn deleted(journals: &[Stored], keeps: &'static str, runs: &[&str]) -> (Result<ExitCode, Error>, Vec<String>) {
    let (cluster, server) = serving(journals, keeps);
    let ended = typed(&cluster, runs).await;
    (ended, left(&server))
}

async fn typed(cluster: &Cluster, runs: &[&str]) -> Result<ExitCode, Error> {
    let output = OutputFlag { output: Format::Name };
    run(cluster, Delete { runs: runs.iter().map(|&r| RunName::new(r).unwrap()).collect(), yes: true, output }).await
}

fn left(server: &Arc<Mutex<Server>>) -> Vec<String> {
    server.lock().unwrap().maps.keys().map(|name| name.replace("consistent-backup-", "")).collect()
}

/// A restore that failed before it changed anything.
fn failed(run: &str) -> Stored {
    let events = [json!({"aborted": "step"}), json!({"finished": "failed"})];
    restore(run, &events)
}

#[tokio::test(start_paused = true)]
async fn one_that_cannot_be_deleted_does_not_keep_the_others() {
    let journals = ["a", "b", "c"].map(failed);
    let (ended, left) = deleted(&journals, "-b", &["a", "b", "c", "a"]).await;
    let error = ended.unwrap_err();
    assert_eq!((error.code, left), (ExitCode::Failed, vec!["b".to_owned()]));
    assert!(error.message.contains("consistent-backup-b"), "{error}");
    let (ended, left) = deleted(&journals, "-none", &["a", "b", "c"]).await;
    assert_eq!((ended.unwrap(), left.len()), (ExitCode::Done, 0));
}

#[tokio::test(start_paused = true)]
async fn a_backup_stays_while_a_restore_of_it_is_open() {
    let over = [json!({"attempt": 1}), json!({"aborted": "step"}), json!({"finished": "failed"})];
    let backup = backup("b1", &over);
    let open = restore("r9", &[json!("secureIntended")]);
    let (ended, left) = deleted(&[backup.clone(), open], "-none", &["b1"]).await;
    let error = ended.unwrap_err();
    assert_eq!((error.code, left.len()), (ExitCode::Refused, 2));
    assert_eq!(error.refusals[0].message, "it is restored by run r9, which is not finished");
    let (ended, left) = deleted(&[backup, failed("r9")], "-none", &["b1"]).await;
    assert_eq!((ended.unwrap(), left), (ExitCode::Done, vec!["r9".to_owned()]));
}

#[tokio::test(start_paused = true)]
async fn what_is_printed_by_name_is_deleted_and_another_kind_is_not() {
    let (ended, left) = deleted(&["a", "b"].map(failed), "-none", &["restore/a", "a", "restore/b"]).await;
    assert_eq!((ended.unwrap(), left.len()), (ExitCode::Done, 0));
    let (ended, left) = deleted(&["a"].map(failed), "-none", &["a", "backup/a"]).await;
    let error = ended.unwrap_err();
    assert_eq!((error.code, left.len()), (ExitCode::Refused, 1));
    assert_eq!(error.refusals[0].message, "run a is a restore, not a backup");
}

#[tokio::test(start_paused = true)]
async fn an_unknown_run_is_refused_with_the_way_to_the_known_ones() {
    let (ended, _) = deleted(&[], "-none", &["r9"]).await;
    let error = ended.unwrap_err();
    assert_eq!((error.code, error.to_string().as_str()), (ExitCode::Refused, "run \"r9\" is not in namespace demo"));
    assert_eq!(error.hints, ["kubectl consistent-backup list -n demo"]);
    let (ended, left) = deleted(&["a"].map(failed), "-none", &["a", "r9"]).await;
    let error = ended.unwrap_err();
    assert_eq!((error.code, left.len()), (ExitCode::Refused, 1), "nothing is deleted");
    assert_eq!(error.refusals[0].message, "run \"r9\" is not in namespace demo");
}

/// A snapshot whose driver is silent: a minute, then the next run.
#[tokio::test(start_paused = true)]
async fn a_copy_that_stays_is_named_and_does_not_keep_the_other_runs() {
    let over = [json!({"attempt": 1}), json!({"aborted": "step"}), json!({"finished": "failed"})];
    let (cluster, server) = serving(&[backup("b1", &over), failed("r9")], "-none");
    let snapshot = json!({"metadata": {"name": "b1-1-data", "namespace": "demo", "uid": "u1",
        "deletionTimestamp": "2026-11-20T11:00:00Z", "annotations": {"consistent-backup/claim": "data"},
        "finalizers": ["snapshot.storage.kubernetes.io/volumesnapshot-as-source-protection"]}, "spec": {"source": {}}});
    server.lock().unwrap().others = Box::new(move |_, path| match path.rsplit('/').next() {
        Some("volumesnapshots") => Some((200, json!({"metadata": {}, "items": [snapshot]}))),
        Some("b1-1-data") => Some((200, snapshot.clone())),
        Some(name) if name.starts_with("snapcontent-") => Some((404, json!({"kind": "Status", "code": 404}))),
        _ => None,
    });
    let begun = tokio::time::Instant::now();
    let error = typed(&cluster, &["b1", "r9"]).await.unwrap_err();
    assert!(begun.elapsed() < Duration::from_secs(70), "{:?}", begun.elapsed());
    assert_eq!((error.code, left(&server)), (ExitCode::Failed, vec!["b1".to_owned()]));
    assert!(error.message.contains("volumesnapshot/b1-1-data is still being removed: a claim is still"), "{error}");
    assert_eq!(error.hints.len(), 1);
    let told = Mutex::new(Vec::new());
    let b1 = BackupJournal::read(&backup("b1", &over)).unwrap();
    let _ = remove_copies(&cluster, &b1, |text| told.lock().unwrap().push(text.to_owned())).await;
    let told = told.into_inner().unwrap();
    assert!(
        told.iter().all(|text| text.contains("(finalizers: snapshot.storage.kubernetes.io/volumesnapshot-as-source"))
    );
    assert!(!told.is_empty(), "a minute without a word");
}

/// The old volume of a restore goes with it; while it stays, the reason is said.
#[tokio::test(start_paused = true)]
async fn a_volume_that_stays_is_told_with_its_reason() {
    let stored = restored("r1");
    let volumes: Vec<String> =
        RestoreJournal::read(&stored).unwrap().given_up().into_iter().map(|volume| volume.name.clone()).collect();
    assert_eq!(volumes, ["pv-old"], "what was Retain before the restore stays");
    let (cluster, server) = serving(std::slice::from_ref(&stored), "-none");
    let stays = Arc::new(Mutex::new(true));
    let bound = Arc::new(Mutex::new("another"));
    let (staying, bound_to) = (stays.clone(), bound.clone());
    server.lock().unwrap().others = Box::new(move |_, path| {
        let name = path.rsplit('/').next().filter(|name| name.starts_with("pv-"))?;
        let volume = json!({"metadata": {"name": name, "uid": name, "finalizers": ["external-provisioner.volume.kubernetes.io/finalizer"]},
            "spec": {"claimRef": {"namespace": "demo", "name": *bound_to.lock().unwrap()}}, "status": {"phase": "Failed", "message": "no answer of the driver"}});
        let there = name != "pv-old" || *staying.lock().unwrap();
        Some(if there { (200, volume) } else { (404, json!({"kind": "Status", "code": 404, "reason": "NotFound"})) })
    });
    let told = Mutex::new(Vec::new());
    let tell = |text: &str| told.lock().unwrap().push(text.to_owned());
    // Somebody else's, whatever the record says.
    let error = crate::executor::restore::delete(&cluster, &stored, REMOVAL, tell).await.unwrap_err();
    assert!(error.to_string().contains("was not bound to a claim of this restore"), "{error}");
    *bound.lock().unwrap() = "data";
    let error = crate::executor::restore::delete(&cluster, &stored, REMOVAL, tell).await.unwrap_err();
    let why = "persistentvolume/pv-old is still there: the storage driver has not removed it (finalizers: \
               external-provisioner.volume.kubernetes.io/finalizer): no answer of the driver";
    assert_eq!(*told.lock().unwrap(), [why]);
    assert!(error.to_string().ends_with(why), "{error}");
    *stays.lock().unwrap() = false;
    let gone = crate::executor::restore::delete(&cluster, &stored, REMOVAL, |_| {}).await.unwrap();
    assert_eq!(gone, ["pv-old"]);
}
