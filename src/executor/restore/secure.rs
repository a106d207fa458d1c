//! Before anything is stopped: the old volumes and the copies are told to stay, and that is read back. Afterwards:
//! what was changed for it is put back.

use std::time::Duration;

use futures::future::join_all;
use futures::stream::{StreamExt, TryStreamExt, iter};
use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim};
use kube::api::{Api, Patch, PatchParams};
use serde_json::json;
use tokio::time::{Instant, sleep, timeout};

use super::claims::{Now, whose};
use super::stored::set_reclaim_policy;
use super::{Broken, Restore};
use crate::cluster::client::{Persisted, explain, is_not_found, persist};
use crate::cluster::snapshots::VolumeSnapshotContent;
use crate::executor::Log;
use crate::plan::restore::{Claim, Retention, Volume, Workload};
use crate::platform::workload;
use crate::protocol::Abort;
use crate::protocol::restore::{ClaimPhase, Event, Outcome, Run};
use crate::record::entry::Detail;

/// How long one change is tried.
const CHANGE: Duration = Duration::from_secs(30);
/// How long one question is waited for.
const REQUEST: Duration = Duration::from_secs(10);
/// How long the StatefulSet's controller may take to give up its claims.
const OWNERS: Duration = Duration::from_secs(60);

/// Requests that are under way at once.
const AT_ONCE: usize = 8;

/// All of these, several at once; the first error.
pub(super) async fn all<T>(
    work: impl Iterator<Item = impl Future<Output = Result<T, String>>>,
) -> Result<Vec<T>, String> {
    iter(work).buffered(AT_ONCE).try_collect().await
}

/// What is known of a volume.
pub(super) enum Kept {
    /// It is there and outlives its claim.
    Yes(Box<PersistentVolume>),
    /// Not seen to be so, for now.
    NotSeen(String),
    /// It is gone, or going.
    Lost(String),
}

impl Restore<'_> {
    /// Old volumes and contents to Retain; the StatefulSets' claims outlive scaling and deleting.
    ///
    /// Who takes a restore back needs the old volumes only: the copies may be deleted by then.
    pub(super) async fn secure(&self, copies: bool) -> Result<(), Broken> {
        let step = |why| (Abort::Step, why);
        let volumes = self.plan.old_volumes().map(|volume| self.set_reclaim_policy(volume, "Retain"));
        all(volumes).await.map_err(step)?;
        let contents = self
            .plan
            .claims
            .iter()
            .filter(|claim| copies && !claim.empty)
            .map(|claim| self.retain_content(&claim.content));
        all(contents).await.map_err(step)?;
        let retain = Retention { when_deleted: "Retain".into(), when_scaled: "Retain".into() };
        for of in self.plan.workloads.iter().filter(|w| w.retention.is_some()) {
            workload::set_retention(&self.cluster, of, &retain).await.map_err(step)?;
        }
        Ok(())
    }

    /// Sets the reclaim policy of this very volume.
    pub(super) async fn set_reclaim_policy(&self, volume: &Volume, policy: &str) -> Result<(), String> {
        match set_reclaim_policy(&self.cluster, &self.plan, volume, policy).await {
            Ok(true) => Ok(()),
            Ok(false) => Err(format!("persistentvolume/{} is gone", volume.name)),
            Err(why) => Err(why),
        }
    }

    /// Stays so afterwards: a backup that was needed once is not to go with its namespace.
    async fn retain_content(&self, content: &str) -> Result<(), String> {
        let api: Api<VolumeSnapshotContent> = Api::all(self.cluster.api.clone());
        let patch = Patch::Merge(json!({ "spec": { "deletionPolicy": "Retain" } }));
        let params = PatchParams::default();
        match persist(CHANGE, || api.patch(content, &params, &patch)).await {
            Persisted::Final(Ok(_)) => Ok(()),
            Persisted::Final(Err(e)) => Err(format!("volumesnapshotcontent/{content}: {}", explain(&e))),
            Persisted::Unknown(why) => Err(format!("volumesnapshotcontent/{content}: {why}")),
        }
    }

    /// Seen, not believed: asks for everything again, until it is so or the time is over.
    pub(super) async fn read_back(&self, run: &Run) -> Result<(), Broken> {
        let until = Instant::now() + OWNERS;
        loop {
            match self.unsafe_yet(run).await {
                Ok(None) => return Ok(()),
                Ok(Some(why)) | Err(why) if Instant::now() >= until => {
                    return Err((Abort::Step, format!("the old data could not be secured: {why}")));
                }
                _ => sleep(Duration::from_millis(300)).await,
            }
        }
    }

    /// What could still delete an old volume or a copy.
    async fn unsafe_yet(&self, run: &Run) -> Result<Option<String>, String> {
        for of in self.plan.workloads.iter().filter(|w| w.retention.is_some()) {
            let now = workload::read(&self.cluster, &of.kind, &of.namespace, &of.name).await?;
            let retention = now
                .and_then(|now| now.retention)
                .unwrap_or(Retention { when_deleted: String::new(), when_scaled: String::new() });
            if retention.when_scaled != "Retain" || retention.when_deleted != "Retain" {
                return Ok(Some(format!("{} still deletes its claims", of.path())));
            }
        }
        let claims = self.plan.claims.iter().enumerate();
        let looked =
            all(claims.map(|(c, claim)| self.claim_unsafe_yet(claim, run.claim(c) == ClaimPhase::New))).await?;
        Ok(looked.into_iter().flatten().next())
    }

    /// The same of one claim.
    async fn claim_unsafe_yet(&self, claim: &Claim, restored: bool) -> Result<Option<String>, String> {
        if !restored && !claim.empty {
            let api: Api<VolumeSnapshotContent> = Api::all(self.cluster.api.clone());
            let content = api.get(&claim.content).await.map_err(|e| explain(&e))?;
            if content.spec.deletion_policy != "Retain" || content.metadata.deletion_timestamp.is_some() {
                return Ok(Some(format!("volumesnapshotcontent/{} is not retained", claim.content)));
            }
        }
        if let Some(volume) = claim.old_volume()
            && let Kept::NotSeen(why) | Kept::Lost(why) = self.kept(volume).await
        {
            return Ok(Some(why));
        }
        if !restored && claim.old.is_none() {
            return Ok(None);
        }
        let api: Api<PersistentVolumeClaim> = Api::namespaced(self.cluster.api.clone(), &claim.namespace);
        let now = api.get(&claim.name).await.map_err(|e| format!("{}: {}", claim.path(), explain(&e)))?;
        let expected = if restored { Now::Restored } else { Now::Old };
        if whose(Some(&now), claim, &self.plan.run) != expected || now.metadata.deletion_timestamp.is_some() {
            return Ok(Some(format!("{} is another one now, or being deleted", claim.path())));
        }
        let owners = now.metadata.owner_references.unwrap_or_default();
        let owner = owners.iter().find(|o| matches!(o.kind.as_str(), "StatefulSet" | "Pod"));
        Ok(owner.map(|owner| format!("{} would be deleted with {}/{}", claim.path(), owner.kind, owner.name)))
    }

    /// Whether this volume outlives its claim.
    pub(super) async fn kept(&self, volume: &Volume) -> Kept {
        let api: Api<PersistentVolume> = Api::all(self.cluster.api.clone());
        let name = format!("persistentvolume/{}", volume.name);
        let now = match timeout(REQUEST, api.get(&volume.name)).await {
            Ok(Ok(now)) => now,
            Ok(Err(e)) if is_not_found(&e) => return Kept::Lost(format!("{name} is gone")),
            Ok(Err(e)) => return Kept::NotSeen(format!("{name}: {}", explain(&e))),
            Err(_) => return Kept::NotSeen(format!("{name}: the API server does not answer")),
        };
        let policy = now.spec.as_ref().and_then(|s| s.persistent_volume_reclaim_policy.as_deref());
        if now.metadata.uid.as_ref() != Some(&volume.uid) {
            Kept::Lost(format!("{name} is another one now"))
        } else if now.metadata.deletion_timestamp.is_some() {
            Kept::Lost(format!("{name} is being deleted"))
        } else if policy != Some("Retain") {
            Kept::NotSeen(format!("the reclaim policy of {name} is {}", policy.unwrap_or("Delete")))
        } else {
            Kept::Yes(Box::new(now))
        }
    }

    /// Puts back what securing changed: the retention policies always, the reclaim policies only where the old volumes
    /// are in use again. After a restore they stay Retain until the restore is deleted.
    pub(super) async fn restate(&mut self, log: &mut Log<Run>) {
        self.progress.step("putting back the policies");
        self.forget_lost(log).await;
        let mut failed = Vec::new();
        for of in &self.plan.workloads {
            if let Some(was) = &of.retention
                && let Err(why) = self.retain_again(of, was).await
            {
                failed.push(why);
            }
        }
        if log.run.outcome() == Some(Outcome::Restored) {
            // They were told to stay for an undoing that was broken off.
            let put_back = join_all(self.kept.values().map(|volume| self.put_back(volume))).await;
            failed.extend(put_back.into_iter().filter_map(Result::err));
        } else {
            let old = self.plan.claims.iter().filter_map(Claim::old_volume);
            let put_back = join_all(old.map(|volume| self.put_back(volume))).await;
            failed.extend(put_back.into_iter().filter_map(Result::err));
        }
        let (event, detail) = if failed.is_empty() {
            (Event::Restated, Detail::default())
        } else {
            (Event::NotRestated, Detail::text(failed.join("; ")))
        };
        log.happened(event, detail);
    }

    /// The retention policy of a StatefulSet that was deleted and made anew is its user's.
    async fn retain_again(&self, of: &Workload, was: &Retention) -> Result<(), String> {
        let now = workload::read(&self.cluster, &of.kind, &of.namespace, &of.name).await?;
        if now.is_none_or(|now| now.uid != of.uid) {
            return Ok(());
        }
        workload::set_retention(&self.cluster, of, was).await
    }

    /// Puts the reclaim policy of a volume back that is in use again. One that nothing is bound to would be deleted at
    /// once by a policy of Delete: it stays.
    async fn put_back(&self, volume: &Volume) -> Result<(), String> {
        match self.kept(volume).await {
            Kept::Yes(now) if !is_bound(&now) => {
                self.progress.say(&format!("persistentvolume/{} is not in use: it stays Retain", volume.name));
                Ok(())
            }
            // Gone, or another one: there is nothing to put back.
            Kept::Lost(_) => Ok(()),
            Kept::Yes(_) | Kept::NotSeen(_) => self.set_reclaim_policy(volume, &volume.reclaim_policy).await,
        }
    }
}

/// Whether a claim has it, as far as the controller of volumes has seen.
fn is_bound(volume: &PersistentVolume) -> bool {
    volume.status.as_ref().and_then(|status| status.phase.as_deref()) == Some("Bound")
}
