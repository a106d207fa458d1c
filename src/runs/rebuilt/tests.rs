use proptest::prelude::*;
use serde_json::{Value, json};

use super::super::item;
use super::*;
use crate::labels::{CLAIM, NAMESPACE};
use crate::manifests::OfWorkload;
use crate::manifests::packed::pack;
use crate::plan::restore::Source;

/// A backup as it lay in a cluster.
fn stored() -> Stored {
    let mut object: Value =
        serde_json::from_str(include_str!("../../../tests/fixtures/journals/backup-1.json")).unwrap();
    object["metadata"]["labels"] = json!({"consistent-backup/run": object["metadata"]["labels"]["consistent-backup/run"],
        "consistent-backup/kind": "backup"});
    Stored::new(serde_json::from_value(object).unwrap())
}

/// Its contents, marked when so many of its entries had happened.
fn contents(stored: &Stored, entries: usize) -> Vec<VolumeSnapshotContent> {
    let found = BackupJournal::read(stored).unwrap();
    let record = crate::journal::data(
        &found.plan,
        &found.loaded.entries[..entries],
        &[("pods.before", &found.pods("pods.before")), ("pods.after", &found.pods("pods.after"))],
    );
    let claims = &found.record().unwrap().status.claims;
    let content = |claim: &crate::record::backup::ClaimStatus| {
        serde_json::from_value(json!({
            "apiVersion": "snapshot.storage.k8s.io/v1", "kind": "VolumeSnapshotContent",
            "metadata": {"name": claim.content, "labels": {RUN: stored.run}, "annotations": {
                CLAIM: claim.claim, NAMESPACE: claim.namespace, RECORD: pack(&record)}},
            "spec": {"deletionPolicy": "Retain"},
            "status": {"readyToUse": true, "snapshotHandle": claim.handle}
        }))
        .unwrap()
    };
    claims.iter().map(content).collect()
}

/// The number of entries when the copies were about to be kept.
fn before_keeping(stored: &Stored) -> usize {
    let entries = BackupJournal::read(stored).unwrap().loaded.entries;
    entries.iter().position(|entry| matches!(entry.event, Event::Kept(_))).unwrap()
}

fn source(stored: &Stored) -> Source {
    crate::executor::restore::source_of(BackupJournal::read(stored).unwrap()).unwrap()
}

#[test]
fn a_record_comes_back_from_its_contents() {
    let stored = stored();
    let rebuilt = rebuild(&contents(&stored, before_keeping(&stored)));
    assert_eq!(rebuilt.len(), 1);
    let (then, now) = (item(&stored).unwrap(), item(&rebuilt[0]).unwrap());
    let mut now = serde_json::to_value(now).unwrap();
    assert_eq!(now["status"]["rebuilt"], true);
    now["status"]["rebuilt"] = json!(false);
    // What a copy needs was told with the settling, in other words.
    let mut then = serde_json::to_value(then).unwrap();
    for claims in [&mut now, &mut then].map(|record| record["status"]["claims"].as_array_mut().unwrap()) {
        for claim in claims {
            claim["restoreSize"] = json!(null);
        }
    }
    assert_eq!(now, then);
    let (then, now) = (source(&stored), source(&rebuilt[0]));
    assert_eq!((now.plan, now.proofs, now.instant, now.outcome), (then.plan, then.proofs, then.instant, then.outcome));
    assert_eq!(now.pods, then.pods);
}

#[test]
fn what_is_no_longer_there_is_not_called_ready_or_kept() {
    let stored = stored();
    let mut all = contents(&stored, before_keeping(&stored));
    let status = |contents: &[VolumeSnapshotContent]| {
        let rebuilt = rebuild(contents);
        serde_json::to_value(item(&rebuilt[0]).unwrap()).unwrap()["status"].clone()
    };
    let claims = all.len();
    all[0].status.as_mut().unwrap().ready_to_use = Some(false);
    let ready = |status: &Value| status["claims"].as_array().unwrap().iter().filter(|c| c["ready"] == true).count();
    assert_eq!((ready(&status(&all)), status(&all)["kept"].clone()), (claims - 1, json!(true)));
    all[0].spec.deletion_policy = "Delete".into();
    assert_eq!(status(&all)["kept"], false);
    assert!(status(&all)["outcome"].as_str().unwrap().ends_with("Consistent"));
}

/// A verification that died may have written its verdict onto some of them only.
#[test]
fn the_last_verdict_on_any_content_counts() {
    let stored = stored();
    let mut all = contents(&stored, before_keeping(&stored));
    assert!(all.len() > 1, "the fixture has several copies");
    let verdict = |at: &str, ok| Verified { at: at.parse().unwrap(), ok, targets: Vec::new(), queries: Vec::new() };
    let mut mark = |n: usize, text: String| {
        all[n].metadata.annotations.as_mut().unwrap().insert(VERIFIED.to_owned(), text);
        let rebuilt = rebuild(&all);
        serde_json::to_value(item(&rebuilt[0]).unwrap()).unwrap()["status"]["verified"].clone()
    };
    assert_eq!(mark(0, "damaged".into()), Value::Null);
    assert_eq!(mark(0, pack(&verdict("2026-11-21T00:00:00Z", true)))["ok"], true);
    assert_eq!(mark(1, pack(&verdict("2026-11-22T00:00:00Z", false)))["ok"], false);
    assert_eq!(mark(1, pack(&verdict("2026-11-20T00:00:00Z", false)))["ok"], true);
}

#[test]
fn manifests_are_put_together_from_all_contents() {
    let of = |name: &str| OfWorkload { name: name.into(), ..OfWorkload::default() };
    let mut all = contents(&stored(), 0);
    for (n, content) in all.iter_mut().enumerate() {
        let part = Manifests { workloads: vec![of(&format!("w{n}"))] };
        content.metadata.annotations.as_mut().unwrap().insert(MANIFESTS.to_owned(), pack(&part));
    }
    assert_eq!(manifests(&all).workloads.len(), all.len());
    all[0].metadata.annotations.as_mut().unwrap().insert(MANIFESTS.to_owned(), "damaged".into());
    assert_eq!(manifests(&all).workloads.len(), all.len() - 1);
}

/// Earlier versions wrote the data of ConfigMaps onto the contents.
#[test]
fn the_data_that_earlier_versions_wrote_onto_contents_is_read() {
    let map = json!({"kind": "ConfigMap", "metadata": {"name": "conf"}, "data": {"a": "1"}});
    let written = json!({"workloads": [{"namespace": "demo", "kind": "StatefulSet", "name": "pg", "object": {},
        "configMaps": [map]}]});
    let mut named =
        OfWorkload { namespace: "demo".into(), kind: "StatefulSet".into(), name: "pg".into(), ..OfWorkload::default() };
    named.add_config_map(map.clone(), false);
    let named = Manifests { workloads: vec![named.without_data()] };
    let mut all = contents(&stored(), 0);
    for (content, text) in all.iter_mut().zip([pack(&named), pack(&written)]) {
        content.metadata.annotations.as_mut().unwrap().insert(MANIFESTS.to_owned(), text);
    }
    let read = manifests(&all);
    assert_eq!(read.of("demo", "StatefulSet", "pg").unwrap().config_maps, [map]);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, failure_persistence: None, ..ProptestConfig::default() })]

    /// Marked at any moment from the comparison on, with any of the contents left: the same backup.
    #[test]
    fn whatever_is_left_tells_of_the_same_backup(later in any::<usize>(), left in prop::collection::vec(any::<bool>(), 8), ready in any::<bool>()) {
        let stored = stored();
        let last = BackupJournal::read(&stored).unwrap().loaded.entries.len();
        let from = before_keeping(&stored);
        let mut some = contents(&stored, from + later % (last - from + 1));
        let mut left = left.into_iter();
        some.retain(|_| left.next().unwrap_or_default());
        for content in &mut some {
            content.status.as_mut().unwrap().ready_to_use = Some(ready);
        }
        let rebuilt = rebuild(&some);
        prop_assert_eq!(rebuilt.len(), usize::from(!some.is_empty()));
        if let Some(rebuilt) = rebuilt.first() {
            let (then, now) = (source(&stored), source(rebuilt));
            prop_assert_eq!((now.plan, now.proofs, now.instant, now.outcome), (then.plan, then.proofs, then.instant, then.outcome));
            prop_assert!(BackupJournal::read(rebuilt).unwrap().run.is_finished());
        }
    }

    #[test]
    fn whatever_stands_in_the_annotation_nothing_panics(text in ".{0,80}", cut in any::<usize>(), label in "[a-z]{1,3}") {
        let stored = stored();
        let mut all = contents(&stored, before_keeping(&stored));
        let annotations = all[0].metadata.annotations.as_mut().unwrap();
        let whole = annotations[RECORD].clone();
        annotations.insert(RECORD.to_owned(), text);
        prop_assert!(rebuild(&all[..1]).is_empty());
        all[0].metadata.annotations.as_mut().unwrap().insert(RECORD.to_owned(), whole[..cut % whole.len()].to_owned());
        prop_assert!(rebuild(&all[..1]).is_empty());
        all[0].metadata.annotations.as_mut().unwrap().insert(RECORD.to_owned(), whole);
        all[0].metadata.labels.as_mut().unwrap().insert(RUN.to_owned(), label);
        prop_assert!(rebuild(&all[..1]).is_empty(), "another run's label");
    }
}
