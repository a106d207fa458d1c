//! One claim: from its old volume to the restored one, and back again.

use std::time::Duration;

use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim};
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams, Preconditions};
use serde_json::json;
use tokio::time::{Instant, sleep, timeout};

use super::Restore;
use super::secure::Kept;
use crate::cluster::client::{explain, is_already_exists, is_conflict, is_not_found, is_transient};
use crate::plan::restore::{Claim, RESTORED_BY, Volume};

/// How long one request may take.
const REQUEST: Duration = Duration::from_secs(10);
/// What takes no longer than this is not worth a line.
const QUIET: Duration = Duration::from_secs(2);
/// Pause between two looks.
const LOOK: Duration = Duration::from_millis(250);

/// What stands under a claim's name now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Now {
    /// Nothing.
    Nothing,
    /// The claim from before the restore.
    Old,
    /// One that is bound, or to be bound, to the old volume: the old one, made anew.
    OldAgain,
    /// The one that this restore made.
    Restored,
    /// Somebody else's.
    Foreign,
}

/// Tells whose claim this is. An old claim that had no volume cannot be told from a foreign one once it was deleted.
pub(super) fn whose(now: Option<&PersistentVolumeClaim>, of: &Claim, run: &str) -> Now {
    let Some(now) = now else { return Now::Nothing };
    let label = now.metadata.labels.as_ref().and_then(|l| l.get(RESTORED_BY));
    let volume = now.spec.as_ref().and_then(|s| s.volume_name.as_deref());
    let old = of.old.as_ref();
    if old.is_some_and(|old| now.metadata.uid.as_ref() == Some(&old.uid)) {
        Now::Old
    } else if label.map(String::as_str) == Some(run) {
        Now::Restored
    } else if of.old_volume().is_some_and(|old| volume == Some(&old.name)) {
        Now::OldAgain
    } else {
        Now::Foreign
    }
}

impl Restore<'_> {
    fn claims(&self, namespace: &str) -> Api<PersistentVolumeClaim> {
        Api::namespaced(self.cluster.api.clone(), namespace)
    }

    /// Makes the claim stand for the restored volume. Does not wait until it is bound: with WaitForFirstConsumer that
    /// happens when a pod wants it.
    pub(super) async fn replace_claim(&self, of: &Claim, until: Instant) -> Result<(), String> {
        self.again_until("replacing", until, || self.replace_once(of)).await
    }

    /// Makes the claim stand for its old volume again.
    pub(super) async fn bring_back(&self, of: &Claim, until: Instant) -> Result<(), String> {
        self.again_until("going back to the old volumes", until, || self.back_once(of)).await
    }

    /// Looks and does the next thing, until it is done, cannot be done, or the time is over. What is waited for is said
    /// meanwhile: the application is down, and who watches must see what keeps it so.
    async fn again_until<F>(&self, doing: &str, until: Instant, once: impl Fn() -> F) -> Result<(), String>
    where
        F: Future<Output = Result<Look, String>>,
    {
        let said_from = Instant::now() + QUIET;
        let mut said = String::new();
        loop {
            let waiting = match timeout(REQUEST * 3, once()).await {
                Ok(Ok(Look::Done)) => return Ok(()),
                Ok(Ok(Look::Waiting(for_what))) => for_what,
                Ok(Err(why)) => return Err(why),
                Err(_) => "the API server does not answer".to_owned(),
            };
            if Instant::now() >= until {
                return Err(format!("it took too long: {waiting}"));
            }
            if said != waiting && Instant::now() >= said_from {
                self.progress.step(&format!("{doing}: {waiting}"));
                said = waiting;
            }
            sleep(LOOK).await;
        }
    }

    async fn replace_once(&self, of: &Claim) -> Result<Look, String> {
        let now = match self.look(of).await {
            Ok(now) => now,
            Err(waiting) => return Ok(waiting),
        };
        if let Some(going) = now.as_ref().filter(|now| now.metadata.deletion_timestamp.is_some()) {
            return Ok(Look::Waiting(still_there(of, going)));
        }
        match whose(now.as_ref(), of, &self.plan.run) {
            Now::Restored => Ok(Look::Done),
            Now::Nothing => self.create(of, &of.new).await,
            Now::Old => {
                // The last moment at which it can be seen that the data outlives its claim.
                if let Some(volume) = of.old_volume() {
                    match self.kept(volume).await {
                        Kept::Yes(_) => {}
                        Kept::NotSeen(why) => return Ok(Look::Waiting(why)),
                        Kept::Lost(why) => return Err(why),
                    }
                }
                self.delete(of, now.as_ref()).await
            }
            Now::OldAgain | Now::Foreign => Err(format!("{} was made by somebody else meanwhile", of.path())),
        }
    }

    async fn back_once(&self, of: &Claim) -> Result<Look, String> {
        // One whose making was thought lost may come late: it would keep the claim from going.
        if let Some(waiting) = self.remove_helper().await? {
            return Ok(Look::Waiting(waiting));
        }
        let now = match self.look(of).await {
            Ok(now) => now,
            Err(waiting) => return Ok(waiting),
        };
        if let Some(going) = now.as_ref().filter(|now| now.metadata.deletion_timestamp.is_some()) {
            return Ok(Look::Waiting(still_there(of, going)));
        }
        let phase = now.as_ref().and_then(|n| n.status.as_ref()).and_then(|s| s.phase.as_deref());
        match (whose(now.as_ref(), of, &self.plan.run), &of.old) {
            (Now::Restored, _) => {
                // The last moment at which it can be seen that there is something to go back to.
                if let Some(volume) = of.old_volume() {
                    match self.kept(volume).await {
                        Kept::Yes(_) => {}
                        Kept::NotSeen(why) => return Ok(Look::Waiting(why)),
                        Kept::Lost(why) => return Err(why),
                    }
                }
                match self.keep_restored(of).await? {
                    Some(waiting) => Ok(Look::Waiting(waiting)),
                    None => self.delete(of, now.as_ref()).await,
                }
            }
            // It was lost before the restore: that is how it was found.
            (Now::Nothing, None) => Ok(Look::Done),
            (Now::Nothing, Some(old)) => {
                if let Some(volume) = &old.volume
                    && let Some(waiting) = self.free(of, volume).await?
                {
                    return Ok(Look::Waiting(waiting));
                }
                self.create(of, &old.claim).await
            }
            // It was not bound before the restore either.
            (Now::Old, Some(old)) if old.volume.is_none() => Ok(Look::Done),
            (Now::Foreign, Some(old)) if old.volume.is_none() => Ok(Look::Done),
            (Now::Old | Now::OldAgain, _) => match phase {
                Some("Bound") => Ok(Look::Done),
                Some("Lost") => Err(format!("{} has lost its volume", of.path())),
                _ => Ok(Look::Waiting(format!("{} is not bound to its old volume yet", of.path()))),
            },
            (Now::Foreign, _) => Err(in_the_way(of)),
        }
    }

    /// The claim now. No answer is something to wait for.
    async fn look(&self, of: &Claim) -> Result<Option<PersistentVolumeClaim>, Look> {
        match timeout(REQUEST, self.claims(&of.namespace).get_opt(&of.name)).await {
            Ok(Ok(found)) => Ok(found),
            Ok(Err(e)) => Err(Look::Waiting(format!("{}: {}", of.path(), explain(&e)))),
            Err(_) => Err(Look::Waiting("the API server does not answer".into())),
        }
    }

    /// Deletes this very claim. Whether it is gone is seen at the next look.
    async fn delete(&self, of: &Claim, now: Option<&PersistentVolumeClaim>) -> Result<Look, String> {
        let params = DeleteParams {
            preconditions: Some(Preconditions {
                uid: now.and_then(|now| now.metadata.uid.clone()),
                resource_version: None,
            }),
            ..DeleteParams::default()
        };
        let waiting = Ok(Look::Waiting(format!("{} is being deleted", of.path())));
        match timeout(REQUEST, self.claims(&of.namespace).delete(&of.name, &params)).await {
            Ok(Err(e)) if !is_not_found(&e) && !is_conflict(&e) && !is_transient(&e) => {
                Err(format!("{} could not be deleted: {}", of.path(), explain(&e)))
            }
            _ => waiting,
        }
    }

    /// Creates a claim of this name. Whether it is there, and whose it is, is seen at the next look.
    async fn create(&self, of: &Claim, claim: &PersistentVolumeClaim) -> Result<Look, String> {
        match timeout(REQUEST, self.claims(&of.namespace).create(&PostParams::default(), claim)).await {
            Ok(Err(e)) if !is_already_exists(&e) && !is_transient(&e) => {
                Err(format!("{} could not be created: {}", of.path(), explain(&e)))
            }
            _ => Ok(Look::Waiting(format!("{} is being created", of.path()))),
        }
    }

    /// Takes the deleted claim's uid off its old volume, so that one of the same name can bind it; the name stays, so
    /// that nobody else can. Says what it is waiting for.
    async fn free(&self, of: &Claim, volume: &Volume) -> Result<Option<String>, String> {
        let now = match self.kept(volume).await {
            Kept::Yes(now) => now,
            Kept::NotSeen(why) => return Ok(Some(why)),
            Kept::Lost(why) => return Err(why),
        };
        let api: Api<PersistentVolume> = Api::all(self.cluster.api.clone());
        let bound = now.spec.as_ref().and_then(|s| s.claim_ref.as_ref());
        if let Some(bound) = bound
            && (bound.name.as_ref() != Some(&of.name) || bound.namespace.as_ref() != Some(&of.namespace))
        {
            return Err(format!(
                "persistentvolume/{} is bound to {}/{} now",
                volume.name,
                bound.namespace.as_deref().unwrap_or_default(),
                bound.name.as_deref().unwrap_or_default()
            ));
        }
        if bound.is_some_and(|b| b.uid.is_none()) {
            return Ok(None);
        }
        let patch = Patch::Merge(json!({
            "metadata": { "uid": volume.uid, "resourceVersion": now.metadata.resource_version },
            "spec": { "claimRef": {
                "apiVersion": "v1", "kind": "PersistentVolumeClaim",
                "name": of.name, "namespace": of.namespace, "uid": null, "resourceVersion": null,
            } },
        }));
        match timeout(REQUEST, api.patch(&volume.name, &PatchParams::default(), &patch)).await {
            Ok(Err(e)) if !is_conflict(&e) && !is_transient(&e) => {
                Err(format!("persistentvolume/{} could not be freed: {}", volume.name, explain(&e)))
            }
            _ => Ok(Some(format!("persistentvolume/{} is being freed", volume.name))),
        }
    }
}

/// A claim that was deleted and stays: its finalizers say for whom.
fn still_there(of: &Claim, going: &PersistentVolumeClaim) -> String {
    let finalizers = going.metadata.finalizers.as_deref().unwrap_or_default();
    let named = if finalizers.is_empty() { "none".to_owned() } else { finalizers.join(", ") };
    format!("{} is still there (finalizers: {named})", of.path())
}

/// A claim of this name that is nobody's we know: a StatefulSet that something scaled up makes an empty one. It is not
/// ours to delete, so the way back ends here, and the reader must be told how it goes on.
fn in_the_way(of: &Claim) -> String {
    let old = of.old_volume().map(|v| format!("; the old data is on persistentvolume/{}", v.name)).unwrap_or_default();
    format!(
        "{} was made by somebody else meanwhile: see that nothing scales the workload, delete that claim if it is empty, \
         then thaw{old}",
        of.path()
    )
}

/// What one look came to.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Look {
    Done,
    Waiting(String),
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::restore::Old;
    use serde_json::Value;

    fn claim(value: Value) -> PersistentVolumeClaim {
        serde_json::from_value(value).unwrap()
    }

    fn of(there: bool, volume_of_old: Option<&str>) -> Claim {
        let volume = |name: &str| Volume { name: name.into(), uid: "v".into(), reclaim_policy: "Delete".into() };
        Claim {
            namespace: "demo".into(),
            name: "data".into(),
            old: there.then(|| Old {
                uid: "old".into(),
                claim: PersistentVolumeClaim::default(),
                volume: volume_of_old.map(volume),
            }),
            new: PersistentVolumeClaim::default(),
            size: "1Gi".into(),
            snapshot: "s".into(),
            content: "c".into(),
            empty: false,
        }
    }

    #[test]
    fn a_foreign_claim_in_the_way_is_no_dead_end() {
        assert_eq!(
            in_the_way(&of(true, Some("pv"))),
            "persistentvolumeclaim/data was made by somebody else meanwhile: see that nothing scales the workload, delete \
             that claim if it is empty, then thaw; the old data is on persistentvolume/pv"
        );
    }

    #[test]
    fn a_claim_that_stays_says_for_whom() {
        let going = claim(json!({"metadata": {"uid": "old", "deletionTimestamp": "2026-11-20T11:00:00Z", "finalizers":
            ["kubernetes.io/pvc-protection", "snapshot.storage.kubernetes.io/pvc-as-source-protection"]}}));
        assert_eq!(
            still_there(&of(true, Some("pv")), &going),
            "persistentvolumeclaim/data is still there (finalizers: kubernetes.io/pvc-protection, \
             snapshot.storage.kubernetes.io/pvc-as-source-protection)"
        );
    }

    #[test]
    fn whose_a_claim_is_decides_whether_it_is_deleted() {
        let bound = of(true, Some("pv"));
        let old = claim(json!({"metadata": {"uid": "old"}, "spec": {"volumeName": "pv"}}));
        // An earlier restore made it: its label is another's, and it is the old claim of this one.
        let earlier =
            claim(json!({"metadata": {"uid": "old", "labels": {RESTORED_BY: "r0"}}, "spec": {"volumeName": "pv"}}));
        let ours =
            claim(json!({"metadata": {"uid": "new", "labels": {RESTORED_BY: "r1"}}, "spec": {"volumeName": "pv-new"}}));
        let again =
            claim(json!({"metadata": {"uid": "x", "labels": {RESTORED_BY: "r0"}}, "spec": {"volumeName": "pv"}}));
        let foreign = claim(json!({"metadata": {"uid": "x"}, "spec": {}}));
        assert_eq!(whose(None, &bound, "r1"), Now::Nothing);
        assert_eq!(whose(Some(&old), &bound, "r1"), Now::Old);
        assert_eq!(whose(Some(&earlier), &bound, "r1"), Now::Old);
        assert_eq!(whose(Some(&ours), &bound, "r1"), Now::Restored);
        assert_eq!(whose(Some(&ours), &bound, "r2"), Now::Foreign);
        assert_eq!(whose(Some(&again), &bound, "r1"), Now::OldAgain);
        assert_eq!(whose(Some(&foreign), &bound, "r1"), Now::Foreign);
        assert_eq!(whose(Some(&foreign), &of(true, None), "r1"), Now::Foreign);
        assert_eq!(whose(Some(&ours), &of(false, None), "r1"), Now::Restored);
    }
}
