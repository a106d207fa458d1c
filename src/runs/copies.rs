//! What has become of the copies of backups since their records were written: somebody may have deleted them.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures::future::join_all;
use kube::api::{Api, ListParams};
use kube::core::ObjectMeta;
use tokio::time::timeout;

use crate::cluster::client::{Cluster, is_not_found};
use crate::cluster::snapshots::{VolumeSnapshot, VolumeSnapshotContent};
use crate::labels::{RECORD_NAMESPACE, RUN};
use crate::record::backup::ClaimStatus;
use crate::record::item::Item;

/// How long one question may take. These commands only read: without an answer the record says what it knew.
const LOOK: Duration = Duration::from_secs(5);

/// The VolumeSnapshots of each namespace by name; a namespace that gave no answer is absent.
type Seen = BTreeMap<String, BTreeMap<String, VolumeSnapshot>>;

/// Brings the claims of finished backups up to date: what got ready meanwhile, and what is gone.
pub(super) async fn look_again(cluster: &Cluster, items: &mut [Item]) {
    let mut claims: Vec<(Record, &mut ClaimStatus)> = items
        .iter_mut()
        .filter_map(|item| match item {
            Item::Backup(backup) if backup.status.outcome.ends_with("Consistent") => {
                let of = Record { run: backup.metadata.name.clone(), namespace: backup.metadata.namespace.clone() };
                Some(backup.status.claims.iter_mut().map(move |claim| (of.clone(), claim)))
            }
            _ => None,
        })
        .flatten()
        .collect();
    let namespaces: BTreeSet<String> = claims.iter().map(|(_, claim)| claim.namespace.clone()).collect();
    let seen: Seen = join_all(namespaces.into_iter().map(|namespace| async {
        let listed = snapshots(cluster, &namespace).await?;
        Some((namespace, listed))
    }))
    .await
    .into_iter()
    .flatten()
    .collect();
    for (of, claim) in &mut claims {
        if let Some(there) = seen.get(&claim.namespace) {
            compare(of, claim, there);
        }
    }
    // Their VolumeSnapshots are gone, with their namespace perhaps; the stored copy may have outlived them.
    let gone = claims.into_iter().filter(|(_, claim)| claim.gone.is_some());
    join_all(gone.map(|(of, claim)| async move { stored(cluster, &of, claim).await })).await;
}

/// The record that speaks of a copy.
#[derive(Clone)]
struct Record {
    run: String,
    namespace: String,
}

impl Record {
    /// Whether this snapshot or content says that it is of that run, as far as it says anything. A record that somebody else
    /// has written may name any, and an honest one would be pruned for it.
    fn is_of(&self, object: &ObjectMeta) -> bool {
        let run = object.labels.as_ref().and_then(|labels| labels.get(RUN));
        let record = object.annotations.as_ref().and_then(|notes| notes.get(RECORD_NAMESPACE));
        run.is_none_or(|run| *run == self.run) && record.is_none_or(|record| *record == self.namespace)
    }
}

async fn snapshots(cluster: &Cluster, namespace: &str) -> Option<BTreeMap<String, VolumeSnapshot>> {
    let api: Api<VolumeSnapshot> = Api::namespaced(cluster.api.clone(), namespace);
    let listed = timeout(LOOK, api.list(&ListParams::default())).await.ok()?.ok()?;
    Some(listed.items.into_iter().filter_map(|found| Some((found.metadata.name.clone()?, found))).collect())
}

/// One claim against the VolumeSnapshots that are there.
fn compare(of: &Record, claim: &mut ClaimStatus, there: &BTreeMap<String, VolumeSnapshot>) {
    let Some(name) = &claim.volume_snapshot else { return };
    let object = format!("volumesnapshot/{name}");
    let Some(found) = there.get(name) else {
        claim.gone = Some(format!("{object} is gone"));
        claim.ready = false;
        return;
    };
    let status = found.status.clone().unwrap_or_default();
    if !of.is_of(&found.metadata) {
        claim.gone = Some(format!("{object} is another run's"));
        claim.ready = false;
    } else if found.metadata.deletion_timestamp.is_some() {
        claim.gone = Some(format!("{object} is being deleted"));
        claim.ready = false;
    } else if claim.content.is_some() && status.bound_volume_snapshot_content_name != claim.content {
        claim.gone = Some(format!("{object} is another one now, not the backup's"));
        claim.ready = false;
    } else if status.ready_to_use == Some(true) && status.error.is_none() {
        claim.ready = true;
        claim.seen = true;
        claim.restore_size = status.restore_size.or_else(|| claim.restore_size.take());
    }
}

/// Says of a copy whose VolumeSnapshot is gone whether the storage still has it.
async fn stored(cluster: &Cluster, of: &Record, claim: &mut ClaimStatus) {
    let (Some(why), Some(name)) = (&mut claim.gone, &claim.content) else { return };
    let api: Api<VolumeSnapshotContent> = Api::all(cluster.api.clone());
    match timeout(LOOK, api.get(name)).await {
        Ok(Ok(content)) if !of.is_of(&content.metadata) => {
            why.push_str(&format!(", and volumesnapshotcontent/{name} is another run's"));
        }
        Ok(Ok(content)) if content.metadata.deletion_timestamp.is_none() => {
            why.push_str(&format!(
                ", but volumesnapshotcontent/{name} with the stored copy is there: a restore makes another from it"
            ));
            claim.ready = content.status.as_ref().is_some_and(|s| s.ready_to_use == Some(true) && s.error.is_none());
        }
        Ok(Ok(_)) => why.push_str(&format!(", and volumesnapshotcontent/{name} is being deleted")),
        Ok(Err(e)) if is_not_found(&e) => why.push_str(&format!(", and so is volumesnapshotcontent/{name}")),
        Ok(Err(_)) | Err(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn claim(ready: bool) -> ClaimStatus {
        serde_json::from_value(json!({"namespace": "demo", "claim": "data", "volumeSnapshot": "s", "content": "c",
            "handle": "h", "cutAt": null, "provedAt": null, "ready": ready, "restoreSize": "1Gi"}))
        .expect("a claim")
    }

    fn there(object: serde_json::Value) -> BTreeMap<String, VolumeSnapshot> {
        BTreeMap::from([("s".to_owned(), serde_json::from_value(object).expect("a VolumeSnapshot"))])
    }

    fn of() -> Record {
        Record { run: "r1".into(), namespace: "demo".into() }
    }

    #[test]
    fn a_snapshot_of_another_run_is_no_copy_of_this_one() {
        let with = |labels: serde_json::Value, notes: serde_json::Value| {
            after(
                true,
                Some(json!({"metadata": {"name": "s", "labels": labels, "annotations": notes}, "spec": {"source": {}},
                "status": {"boundVolumeSnapshotContentName": "c", "readyToUse": true}})),
            )
        };
        assert_eq!(with(json!({RUN: "r1"}), json!({RECORD_NAMESPACE: "demo"})), (true, None));
        assert_eq!(with(json!({RUN: "r0"}), json!({})).1.as_deref(), Some("volumesnapshot/s is another run's"));
        assert!(with(json!({RUN: "r1"}), json!({RECORD_NAMESPACE: "victim"})).1.is_some());
    }

    fn after(ready: bool, object: Option<serde_json::Value>) -> (bool, Option<String>) {
        let mut claim = claim(ready);
        compare(&of(), &mut claim, &object.map(there).unwrap_or_default());
        (claim.ready, claim.gone)
    }

    #[test]
    fn a_snapshot_that_somebody_deleted_is_no_backup_any_more() {
        assert_eq!(after(true, None), (false, Some("volumesnapshot/s is gone".into())));
        let going = json!({"metadata": {"name": "s", "deletionTimestamp": "2026-11-20T11:00:00Z"}, "spec": {"source": {}},
            "status": {"boundVolumeSnapshotContentName": "c", "readyToUse": true}});
        assert_eq!(after(true, Some(going)), (false, Some("volumesnapshot/s is being deleted".into())));
        let other = json!({"metadata": {"name": "s"}, "spec": {"source": {}},
            "status": {"boundVolumeSnapshotContentName": "x", "readyToUse": true}});
        let said = Some("volumesnapshot/s is another one now, not the backup's".into());
        assert_eq!(after(true, Some(other)), (false, said));
    }

    #[test]
    fn one_that_got_ready_after_the_run_is() {
        let object = |ready: bool| {
            json!({"metadata": {"name": "s"}, "spec": {"source": {}},
                "status": {"boundVolumeSnapshotContentName": "c", "readyToUse": ready}})
        };
        assert_eq!(after(false, Some(object(true))), (true, None));
        assert_eq!(after(false, Some(object(false))), (false, None));
        assert_eq!(after(true, Some(object(false))), (true, None), "the record saw it ready");
    }
}
