//! Removing an attempt's snapshots from cluster and storage: by label, not by record, because a request whose answer
//! was lost may have made one, and one left behind is retried by the sidecar: a late cut that looks healthy.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use kube::api::{DeleteParams, ListParams, Patch, PatchParams, Preconditions};
use serde_json::json;
use tokio::time::{Instant, sleep, timeout};

use super::{Csi, REQUEST, content_name, selector};
use crate::backend::Discard;
use crate::cluster::client::{explain, is_not_found};
use crate::cluster::snapshots::{VolumeSnapshot, VolumeSnapshotContent};
use crate::labels::{CLAIM, TOUCHED};

/// A snapshot that is being removed: what it was, and whether any of it is left.
struct Removal {
    claim: String,
    namespace: String,
    snapshot: String,
    uid: String,
    content: String,
    left: Option<String>,
}

impl Csi<'_> {
    /// Removes every snapshot of this attempt (`None`: of the run) and waits, at most `within`, until snapshots and contents are gone.
    /// One answer a claim of the plan. Safe to repeat, by any process.
    pub async fn discard(&self, attempt: Option<u8>, within: Duration) -> Vec<Discard> {
        let until = Instant::now() + within;
        let mut removals: BTreeMap<String, Removal> = BTreeMap::new();
        let mut trouble = None;
        let mut clean_before = false;
        for round in 0_u32.. {
            // Listed again in each round: an unanswered create may arrive late.
            trouble = self.find(attempt, &mut removals).await.err();
            for removal in removals.values_mut() {
                removal.left = self.remove(removal, round).await.err();
            }
            let clean = trouble.is_none() && removals.values().all(|r| r.left.is_none());
            // Twice: the controller may make a content out of its cache for a snapshot that was just removed.
            if (clean && clean_before) || Instant::now() >= until {
                break;
            }
            clean_before = clean;
            sleep(Duration::from_millis(if clean { 600 } else { 200 })).await;
        }
        self.plan
            .claims
            .iter()
            .map(|claim| {
                let mine = removals
                    .values()
                    .find(|r| r.claim == claim.name && r.namespace == claim.namespace && r.left.is_some());
                match (mine.and_then(|r| r.left.clone()), &trouble) {
                    (Some(left), _) => Discard::Pending(left),
                    (None, Some(trouble)) => Discard::Pending(trouble.clone()),
                    (None, None) => Discard::Gone,
                }
            })
            .collect()
    }

    async fn find(&self, attempt: Option<u8>, removals: &mut BTreeMap<String, Removal>) -> Result<(), String> {
        let namespaces: BTreeSet<&str> = self.plan.claims.iter().map(|c| c.namespace.as_str()).collect();
        let selector = selector(&self.plan.run, attempt);
        for namespace in namespaces {
            let listed = timeout(REQUEST, self.snapshots(namespace).list(&ListParams::default().labels(&selector)))
                .await
                .map_err(|_| "the API server did not answer".to_owned())?
                .map_err(|e| format!("volumesnapshots could not be listed: {}", explain(&e)))?;
            for snapshot in listed {
                let removal = Removal::of(&snapshot, namespace);
                removals.entry(removal.uid.clone()).or_insert(removal);
            }
        }
        // A kept copy outlives its VolumeSnapshot, when its namespace was deleted: only its content is left then.
        if attempt.is_none() && self.plan.contents.read {
            let listed = timeout(REQUEST, self.contents().list(&ListParams::default().labels(&selector)))
                .await
                .map_err(|_| "the API server did not answer".to_owned())?
                .map_err(|e| format!("volumesnapshotcontents could not be listed: {}", explain(&e)))?;
            for content in listed {
                let removal = Removal::of_content(&content);
                removals.entry(removal.uid.clone()).or_insert(removal);
            }
        }
        Ok(())
    }

    /// One round of removing; the error says what is left. The content's policy is set to Delete *before* the snapshot
    /// goes: with Retain (its class's, or ours) the content and the stored copy would stay for ever.
    async fn remove(&self, removal: &Removal, round: u32) -> Result<(), String> {
        let content = self.release_content(removal, round).await;
        if matches!(content, Ok(false)) || !self.plan.contents.read || !self.plan.contents.change {
            // No content (yet), or none that we may touch: then the class's policy decides.
        } else if let Err(why) = &content {
            return Err(why.clone());
        }
        let api = self.snapshots(&removal.namespace);
        let params = DeleteParams {
            preconditions: Some(Preconditions { uid: Some(removal.uid.clone()), resource_version: None }),
            ..DeleteParams::default()
        };
        let gone = match timeout(REQUEST, api.get(&removal.snapshot)).await {
            Ok(Ok(now)) if now.metadata.uid.as_deref() != Some(&removal.uid) => true,
            Ok(Ok(now)) => {
                if now.metadata.deletion_timestamp.is_none() {
                    let _ = timeout(REQUEST, api.delete(&removal.snapshot, &params)).await;
                }
                false
            }
            Ok(Err(e)) if is_not_found(&e) => true,
            Ok(Err(e)) => return Err(format!("volumesnapshot/{}: {}", removal.snapshot, explain(&e))),
            Err(_) => return Err(format!("volumesnapshot/{}: the API server did not answer", removal.snapshot)),
        };
        if !gone {
            return Err(format!("volumesnapshot/{} is still being removed", removal.snapshot));
        }
        if matches!(content, Ok(true)) {
            // The snapshot is gone and its content is not: nobody else deletes it then.
            let _ = timeout(REQUEST, self.contents().delete(&removal.content, &DeleteParams::default())).await;
            return Err(format!(
                "volumesnapshotcontent/{} is still there: the storage driver has not removed its copy",
                removal.content
            ));
        }
        Ok(())
    }

    /// Whether there is a content, after its policy was set to Delete.
    ///
    /// A content that is being deleted is touched now and then: the csi-snapshotter (8.6.0) may have judged it by a
    /// stale cache, and does not look again for 15 minutes unless something on it changes.
    async fn release_content(&self, removal: &Removal, round: u32) -> Result<bool, String> {
        if !self.plan.contents.read {
            return Ok(false);
        }
        let api = self.contents();
        match timeout(REQUEST, api.get(&removal.content)).await {
            Ok(Ok(content)) => {
                if content.spec.deletion_policy != "Delete" {
                    let patch = json!({ "spec": { "deletionPolicy": "Delete" } });
                    let patched =
                        timeout(REQUEST, api.patch(&removal.content, &PatchParams::default(), &Patch::Merge(&patch)))
                            .await;
                    if !matches!(patched, Ok(Ok(_))) {
                        return Err(format!("volumesnapshotcontent/{} keeps deletionPolicy Retain", removal.content));
                    }
                }
                if content.metadata.deletion_timestamp.is_some() && round % 10 == 9 {
                    let touch = json!({ "metadata": { "annotations": { TOUCHED: round.to_string() } } });
                    let _ =
                        timeout(REQUEST, api.patch(&removal.content, &PatchParams::default(), &Patch::Merge(&touch)))
                            .await;
                }
                Ok(true)
            }
            Ok(Err(e)) if is_not_found(&e) => Ok(false),
            Ok(Err(e)) => Err(format!("volumesnapshotcontent/{}: {}", removal.content, explain(&e))),
            Err(_) => Err(format!("volumesnapshotcontent/{}: the API server did not answer", removal.content)),
        }
    }
}

impl Removal {
    fn of(snapshot: &VolumeSnapshot, namespace: &str) -> Self {
        let uid = snapshot.metadata.uid.clone().unwrap_or_default();
        let bound = snapshot.status.as_ref().and_then(|s| s.bound_volume_snapshot_content_name.clone());
        Self {
            claim: snapshot.metadata.annotations.as_ref().and_then(|a| a.get(CLAIM)).cloned().unwrap_or_default(),
            namespace: namespace.to_owned(),
            snapshot: snapshot.metadata.name.clone().unwrap_or_default(),
            content: bound.unwrap_or_else(|| content_name(&uid)),
            uid,
            left: None,
        }
    }

    fn of_content(content: &VolumeSnapshotContent) -> Self {
        let bound = content.spec.volume_snapshot_ref.clone();
        let note = |key| content.metadata.annotations.as_ref().and_then(|a| a.get(key)).cloned().unwrap_or_default();
        Self {
            claim: note(CLAIM),
            namespace: bound.namespace.unwrap_or_default(),
            snapshot: bound.name.unwrap_or_default(),
            uid: bound.uid.unwrap_or_default(),
            content: content.metadata.name.clone().unwrap_or_default(),
            left: None,
        }
    }
}
