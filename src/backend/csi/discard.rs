//! Removing an attempt's snapshots from cluster and storage: by label, not by record, because a request whose answer
//! was lost may have made one, and one left behind is retried by the sidecar: a late cut that looks healthy.
//!
//! A record alone decides about nothing: a snapshot goes only under the name that this run gives it, with the mark that this
//! record is its own, and a copy that is kept as a backup only if the user named the run.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use kube::api::{DeleteParams, ListParams, Patch, PatchParams, Preconditions};
use kube::core::ObjectMeta;
use serde_json::json;
use tokio::time::{Instant, sleep, timeout};

use super::{Csi, REQUEST, content_name, selector, snapshot_name};
use crate::backend::Discard;
use crate::cluster::client::{explain, is_forbidden, is_not_found};
use crate::cluster::snapshots::{VolumeSnapshot, VolumeSnapshotContent};
use crate::labels::{CLAIM, RECORD_NAMESPACE, RUN, TOUCHED};
use crate::plan::Claim;
use crate::quiescer::Token;

#[cfg(test)]
mod tests;

/// The finalizer of a VolumeSnapshot that a claim which is not bound yet is made from.
const AS_SOURCE: &str = "snapshot.storage.kubernetes.io/volumesnapshot-as-source-protection";

/// The finalizer with which a content waits for the sidecar. The snapshot-controller adds it a moment after it made the
/// content, or much later when it lost the API server in between. Deleted before, the content is gone at once, while the
/// sidecar may be cutting for it: a stored snapshot that nothing names (seen with external-snapshotter 8.6.0).
const PROTECTION: &str = "snapshot.storage.kubernetes.io/volumesnapshotcontent-bound-protection";
/// With this annotation the sidecar removes the stored copy of a content that is being deleted (its `shouldDelete`).
pub(super) const BEING_DELETED: &str = "snapshot.storage.kubernetes.io/volumesnapshot-being-deleted";
/// For how many rounds the finalizer is waited for, if we may not add it ourselves.
const UNPROTECTED: u32 = 50;

/// A snapshot that is being removed: what it was, and whether any of it is left.
struct Removal {
    claim: String,
    namespace: String,
    snapshot: String,
    uid: String,
    content: String,
    /// It does not bear the mark of this record.
    foreign: bool,
    left: Option<Left>,
}

/// What is not removed, and why.
#[derive(Clone, Debug)]
enum Left {
    /// Looking again may help.
    Yet(String),
    /// It stays: its deletionPolicy is Retain, and we may not change it.
    ForGood(String),
    /// This record has no say in it.
    NotOurs(String),
}

/// How much was seen in the last look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Seen {
    All,
    /// Contents may not be listed, or there was no time for it.
    Snapshots,
}

/// What became of a content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Content {
    /// It is there, and its deletionPolicy is Delete.
    There,
    Gone,
    /// We may not see it.
    Unseen,
}

impl Left {
    fn text(&self) -> &str {
        match self {
            Self::Yet(text) | Self::ForGood(text) | Self::NotOurs(text) => text,
        }
    }
}

impl Csi<'_> {
    /// Removes every snapshot of this attempt (`None`: of the run) and waits, at most `within`, until snapshots and contents are gone.
    /// One answer a claim of the plan. Safe to repeat, by any process.
    pub async fn discard(&self, attempt: Option<u8>, within: Duration) -> Vec<Discard> {
        self.discard_telling(attempt, within, |_| {}).await
    }

    /// The same, with a word about what is waited for: somebody watches.
    pub async fn discard_telling(&self, attempt: Option<u8>, within: Duration, tell: impl Fn(&str)) -> Vec<Discard> {
        let until = Instant::now() + within;
        let mut removals: BTreeMap<String, Removal> = BTreeMap::new();
        let mut trouble = None;
        let mut clean_before = false;
        let mut seen = Seen::All;
        for round in 0_u32.. {
            // Listed again in each round: an unanswered create may arrive late.
            // All contents of the cluster only before it is said that nothing is left.
            trouble = match self.find(attempt, clean_before, &mut removals).await {
                Ok(now) => {
                    seen = now;
                    None
                }
                Err(why) => Some(why),
            };
            for removal in removals.values_mut() {
                removal.left = self.remove(removal, round).await.err();
            }
            // What stays for good is not waited for, but told.
            let done = |r: &Removal| !matches!(r.left, Some(Left::Yet(_)));
            let clean = trouble.is_none() && removals.values().all(done);
            // Twice, also when the time is up: the controller may make a content out of its cache for a snapshot that was
            // just removed, and nothing is called gone before the whole look.
            if clean_before && clean || !clean && Instant::now() >= until {
                break;
            }
            clean_before = clean;
            let waiting: Vec<&str> = removals.values().filter_map(|r| r.left.as_ref()).map(Left::text).collect();
            // What was deleted a moment ago is no news.
            if round >= 10 && (trouble.is_some() || !waiting.is_empty()) {
                tell(&trouble.iter().map(String::as_str).chain(waiting).collect::<Vec<_>>().join("; "));
            }
            sleep(Duration::from_millis(if clean { 600 } else { 200 })).await;
        }
        self.plan
            .claims
            .iter()
            .map(|claim| {
                let of = |r: &Removal| r.claim == claim.name && r.namespace == claim.namespace;
                let mine = removals.values().find(|r| of(r) && r.left.is_some());
                match (mine.and_then(|r| r.left.as_ref()), &trouble) {
                    (Some(left), _) => Discard::Pending(left.text().to_owned()),
                    (None, Some(trouble)) => Discard::Pending(trouble.clone()),
                    // An earlier process may have removed the VolumeSnapshot: only the contents would tell of its copy.
                    (None, None) if seen == Seen::Snapshots && retained(claim) && !removals.values().any(of) => {
                        Discard::Pending(format!(
                            "not all volumesnapshotcontents were listed, and class {} keeps them: nobody saw whether a copy \
                             of persistentvolumeclaim/{} is left",
                            claim.class, claim.name
                        ))
                    }
                    (None, None) => Discard::Gone,
                }
            })
            .collect()
    }

    async fn find(
        &self,
        attempt: Option<u8>,
        whole: bool,
        removals: &mut BTreeMap<String, Removal>,
    ) -> Result<Seen, String> {
        let namespaces: BTreeSet<&str> = self.plan.claims.iter().map(|c| c.namespace.as_str()).collect();
        let selector = selector(&self.plan.run, attempt);
        for namespace in namespaces {
            let listed = timeout(REQUEST, self.snapshots(namespace).list(&ListParams::default().labels(&selector)))
                .await
                .map_err(|_| "the API server did not answer".to_owned())?
                .map_err(|e| format!("volumesnapshots could not be listed: {}", explain(&e)))?;
            for snapshot in listed {
                let name = snapshot.metadata.name.as_deref().unwrap_or_default();
                let Some(claim) = self.claim_named(namespace, name, attempt) else { continue };
                let foreign = !self.is_marked(&snapshot.metadata, namespace);
                let removal = Removal { claim: claim.name.clone(), foreign, ..Removal::of(&snapshot, namespace) };
                removals.entry(removal.uid.clone()).or_insert(removal);
            }
        }
        // A kept copy outlives its VolumeSnapshot, when its namespace was deleted: only its content is left then.
        if attempt.is_none() {
            let Some(listed) = self.list_contents(&ListParams::default().labels(&selector)).await? else {
                return Ok(Seen::Snapshots);
            };
            for content in listed {
                let Some(claim) = self.claim_of(&content, attempt) else { continue };
                let foreign = !self.is_marked(&content.metadata, &claim.namespace);
                let removal = Removal { claim: claim.name.clone(), foreign, ..Removal::of_content(&content) };
                removals.entry(removal.uid.clone()).or_insert(removal);
            }
        }
        // A content bears no label of ours before it is kept. Once its VolumeSnapshot is gone only the reference to that
        // tells whose it is; without this look a second process would call a copy removed that is still there.
        if whole {
            let Some(listed) = self.list_contents(&ListParams::default()).await? else {
                return Ok(Seen::Snapshots);
            };
            for content in listed {
                if let Some(claim) = self.claim_of(&content, attempt) {
                    let removal = Removal { claim: claim.name.clone(), ..Removal::of_content(&content) };
                    removals.entry(removal.uid.clone()).or_insert(removal);
                }
            }
        }
        Ok(if whole { Seen::All } else { Seen::Snapshots })
    }

    /// The contents; `None` where they may not be listed, as the plan of the run foresaw. Asked all the same: who finishes
    /// the run may be allowed more than who began it.
    async fn list_contents(&self, params: &ListParams) -> Result<Option<Vec<VolumeSnapshotContent>>, String> {
        match timeout(REQUEST, self.contents().list(params)).await {
            Ok(Ok(listed)) => Ok(Some(listed.items)),
            Ok(Err(e)) if is_forbidden(&e) && !self.plan.contents.read => Ok(None),
            Ok(Err(e)) => Err(format!("volumesnapshotcontents could not be listed: {}", explain(&e))),
            Err(_) => Err("the API server did not answer".to_owned()),
        }
    }

    /// The claim whose snapshot of this attempt (`None`: of any) the content is bound to.
    fn claim_of(&self, content: &VolumeSnapshotContent, attempt: Option<u8>) -> Option<&Claim> {
        let bound = &content.spec.volume_snapshot_ref;
        self.claim_named(bound.namespace.as_deref()?, bound.name.as_deref()?, attempt)
    }

    /// The claim whose snapshot of this attempt (`None`: of any) bears this name.
    pub(super) fn claim_named(&self, namespace: &str, name: &str, attempt: Option<u8>) -> Option<&Claim> {
        let attempts = attempt.map_or(1..=self.plan.attempts, |attempt| attempt..=attempt);
        let tokens: Vec<Token> = attempts.map(|attempt| Token { run: self.plan.run.clone(), attempt }).collect();
        self.plan.claims.iter().find(|claim| {
            claim.namespace == namespace && tokens.iter().any(|token| snapshot_name(token, &claim.name) == name)
        })
    }

    /// Whether this object says that its record is ours. Those of older versions say nothing: theirs lies where they do.
    fn is_marked(&self, object: &ObjectMeta, namespace: &str) -> bool {
        let record = object.annotations.as_ref().and_then(|annotations| annotations.get(RECORD_NAMESPACE));
        record.map_or(namespace, String::as_str) == self.plan.namespace
    }

    /// One round of removing; the error says what is left. The content's policy is set to Delete *before* the snapshot
    /// goes: with Retain (its class's, or ours) the content and the stored copy would stay for ever.
    async fn remove(&self, removal: &Removal, round: u32) -> Result<(), Left> {
        if removal.foreign {
            return Err(Left::NotOurs(format!(
                "volumesnapshot/{} in namespace {} does not say that its record lies in namespace {} (annotation {})",
                removal.snapshot, removal.namespace, self.plan.namespace, RECORD_NAMESPACE
            )));
        }
        let content = self.release_content(removal, round).await;
        // One that the run could never touch is no obstacle: then the class's policy decides what becomes of it.
        let could = self.plan.contents.read && self.plan.contents.change;
        if let Err(left) = &content
            && (could || !matches!(left, Left::ForGood(_)))
        {
            return Err(left.clone());
        }
        let api = self.snapshots(&removal.namespace);
        let params = DeleteParams {
            preconditions: Some(Preconditions { uid: Some(removal.uid.clone()), resource_version: None }),
            ..DeleteParams::default()
        };
        let kept_by = match timeout(REQUEST, api.get(&removal.snapshot)).await {
            Ok(Ok(now)) if now.metadata.uid.as_deref() != Some(&removal.uid) => None,
            Ok(Ok(now)) => {
                if now.metadata.deletion_timestamp.is_none() {
                    let _ = timeout(REQUEST, api.delete(&removal.snapshot, &params)).await;
                }
                Some(kept_by(&now))
            }
            Ok(Err(e)) if is_not_found(&e) => None,
            Ok(Err(e)) => return Err(Left::Yet(format!("volumesnapshot/{}: {}", removal.snapshot, explain(&e)))),
            Err(_) => {
                return Err(Left::Yet(format!("volumesnapshot/{}: the API server did not answer", removal.snapshot)));
            }
        };
        if let Some(why) = kept_by {
            return Err(Left::Yet(format!("volumesnapshot/{} is still being removed{why}", removal.snapshot)));
        }
        let content = content?;
        if content == Content::There {
            // The snapshot is gone and its content is not: nobody else deletes it then. If the snapshot-controller did
            // not see the snapshot go, it has not told the sidecar either, which waits for this word.
            let word = json!({ "metadata": { "annotations": { BEING_DELETED: "yes" } } });
            let api = self.contents();
            let _ = timeout(REQUEST, api.patch(&removal.content, &PatchParams::default(), &Patch::Merge(&word))).await;
            let _ = timeout(REQUEST, api.delete(&removal.content, &DeleteParams::default())).await;
            return Err(Left::Yet(format!(
                "volumesnapshotcontent/{} is still there: the storage driver has not removed its copy",
                removal.content
            )));
        }
        // Not seen, so not claimed: with Retain the snapshot-controller leaves the content and the stored copy behind.
        let of = |claim: &&Claim| claim.name == removal.claim && claim.namespace == removal.namespace;
        if content == Content::Unseen && self.plan.claims.iter().find(of).is_none_or(retained) {
            return Err(stays(removal));
        }
        Ok(())
    }

    /// Whether the content was made to outlive its namespace: only copies of a backup that succeeded are.
    fn is_kept(&self, content: &VolumeSnapshotContent) -> bool {
        content.metadata.labels.as_ref().and_then(|labels| labels.get(RUN)) == Some(&self.plan.run)
    }

    /// Adds the finalizer. Best effort: the next round looks again.
    async fn protect(&self, content: &VolumeSnapshotContent) {
        let finalizers: Vec<&str> =
            content.metadata.finalizers.iter().flatten().map(String::as_str).chain([PROTECTION]).collect();
        // With the version: a finalizer that somebody adds meanwhile must not be lost.
        let patch =
            json!({ "metadata": { "resourceVersion": content.metadata.resource_version, "finalizers": finalizers } });
        let name = content.metadata.name.as_deref().unwrap_or_default();
        let api = self.contents();
        let _ = timeout(REQUEST, api.patch(name, &PatchParams::default(), &Patch::Merge(&patch))).await;
    }

    /// What became of the content, after its policy was set to Delete.
    ///
    /// A content that is being deleted is touched now and then: the csi-snapshotter (8.6.0) may have judged it by a
    /// stale cache, and does not look again for 15 minutes unless something on it changes.
    async fn release_content(&self, removal: &Removal, round: u32) -> Result<Content, Left> {
        let api = self.contents();
        match timeout(REQUEST, api.get(&removal.content)).await {
            Ok(Ok(content)) => {
                if !self.named && self.is_kept(&content) {
                    return Err(Left::NotOurs(format!(
                        "volumesnapshotcontent/{} is kept as a backup: only deleting the run by its name removes it",
                        removal.content
                    )));
                }
                if content.spec.deletion_policy != "Delete" {
                    let patch = json!({ "spec": { "deletionPolicy": "Delete" } });
                    let patched =
                        timeout(REQUEST, api.patch(&removal.content, &PatchParams::default(), &Patch::Merge(&patch)))
                            .await;
                    match patched {
                        Ok(Ok(_)) => {}
                        Ok(Err(e)) if is_forbidden(&e) => return Err(stays(removal)),
                        _ => {
                            let content = &removal.content;
                            let text = format!("volumesnapshotcontent/{content} keeps deletionPolicy Retain");
                            return Err(Left::Yet(text));
                        }
                    }
                }
                // None can be added any more once it is being deleted.
                let is_going = content.metadata.deletion_timestamp.is_some();
                if !is_protected(&content) && !is_going && round < UNPROTECTED {
                    self.protect(&content).await;
                    let text = format!("volumesnapshotcontent/{} is not protected yet", removal.content);
                    return Err(Left::Yet(text));
                }
                if is_going && round % 10 == 9 {
                    let touch = json!({ "metadata": { "annotations": { TOUCHED: round.to_string() } } });
                    let _ =
                        timeout(REQUEST, api.patch(&removal.content, &PatchParams::default(), &Patch::Merge(&touch)))
                            .await;
                }
                Ok(Content::There)
            }
            Ok(Err(e)) if is_not_found(&e) => Ok(Content::Gone),
            // Asked all the same: who finishes the run may be allowed more than who began it.
            Ok(Err(e)) if is_forbidden(&e) && !self.plan.contents.read => Ok(Content::Unseen),
            Ok(Err(e)) => Err(Left::Yet(format!("volumesnapshotcontent/{}: {}", removal.content, explain(&e)))),
            Err(_) => {
                Err(Left::Yet(format!("volumesnapshotcontent/{}: the API server did not answer", removal.content)))
            }
        }
    }
}

/// Whether its deletion waits until the driver's sidecar has seen to the stored copy.
fn is_protected(content: &VolumeSnapshotContent) -> bool {
    content.metadata.finalizers.as_deref().unwrap_or_default().iter().any(|finalizer| finalizer == PROTECTION)
}

/// Whether the class keeps the stored copy when its VolumeSnapshot is deleted.
fn retained(claim: &Claim) -> bool {
    claim.deletion_policy == "Retain"
}

/// Who keeps a VolumeSnapshot that is deleted: without it nobody knows whom to ask.
fn kept_by(snapshot: &VolumeSnapshot) -> String {
    let finalizers = snapshot.metadata.finalizers.as_deref().unwrap_or_default();
    if finalizers.iter().any(|f| f == AS_SOURCE) {
        return format!(": a claim is still to be made from it (finalizers: {})", finalizers.join(", "));
    }
    if finalizers.is_empty() {
        return String::new();
    }
    format!(": the storage driver has not removed its copy (finalizers: {})", finalizers.join(", "))
}

fn stays(removal: &Removal) -> Left {
    Left::ForGood(format!(
        "volumesnapshotcontent/{} keeps deletionPolicy Retain, and may not be changed: with it stays the stored copy",
        removal.content
    ))
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
            foreign: false,
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
            foreign: false,
            left: None,
        }
    }
}
