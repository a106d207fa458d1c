//! The restored volumes: their names for the record, and what keeps them after the way back.
//!
//! The workload may have written to them, for a moment or for weeks: they are as little ours to lose as the old ones.

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim};
use kube::api::Api;
use tokio::time::{Instant, sleep, timeout};

use super::Restore;
use super::secure::Kept;
use crate::cluster::client::explain;
use crate::executor::Log;
use crate::plan::restore::{Claim, RESTORED_BY, Volume};
use crate::protocol::restore::{ClaimPhase, Run};

/// How long one question may take.
const ASK: Duration = Duration::from_secs(5);
/// Under which key of the journal they are named that stay after the way back, by `NAMESPACE/CLAIM`.
pub(super) const KEPT: &str = "volumes.kept";

impl Restore<'_> {
    /// The volumes that the restored claims are bound to, for the record.
    pub(super) async fn store_volumes(&self, log: &mut Log<Run>) {
        log.store("volumes", &self.restored_volumes().await);
    }

    /// The volumes of the claims that this restore made, by `NAMESPACE/CLAIM`.
    async fn restored_volumes(&self) -> BTreeMap<String, String> {
        let mut volumes = BTreeMap::new();
        for claim in &self.plan.claims {
            if let Ok(Some(volume)) = self.restored_volume(claim).await {
                volumes.insert(key(claim), volume);
            }
        }
        volumes
    }

    /// The volume of this claim, if this restore made it and it is bound.
    async fn restored_volume(&self, of: &Claim) -> Result<Option<String>, String> {
        let api: Api<PersistentVolumeClaim> = Api::namespaced(self.cluster.api.clone(), &of.namespace);
        let now = match timeout(ASK, api.get_opt(&of.name)).await {
            Ok(Ok(now)) => now,
            Ok(Err(e)) => return Err(format!("{}: {}", of.path(), explain(&e))),
            Err(_) => return Err(format!("{}: the API server does not answer", of.path())),
        };
        let ours = |now: &PersistentVolumeClaim| {
            now.metadata.labels.as_ref().and_then(|l| l.get(RESTORED_BY)) == Some(&self.plan.run)
        };
        Ok(now.filter(ours).and_then(|now| now.spec?.volume_name))
    }

    /// Names, durably, what stays after the way back: what the workload may have written to, and what its class does not
    /// let go with its claim. What was named before stays as it was: its policy may have been changed since.
    async fn name_kept(&mut self, log: &Log<Run>) -> Result<(), String> {
        let api: Api<PersistentVolume> = Api::all(self.cluster.api.clone());
        let mut kept = self.kept.clone();
        for (c, of) in self.plan.claims.iter().enumerate() {
            if log.run.claim(c) == ClaimPhase::Back || kept.contains_key(&key(of)) {
                continue;
            }
            let Some(name) = self.restored_volume(of).await? else { continue };
            let volume = match timeout(ASK, api.get_opt(&name)).await {
                Ok(Ok(Some(now))) => Volume {
                    uid: now.metadata.uid.unwrap_or_default(),
                    reclaim_policy: now.spec.and_then(|s| s.persistent_volume_reclaim_policy).unwrap_or_default(),
                    name,
                },
                Ok(Ok(None)) => continue,
                Ok(Err(e)) => return Err(format!("persistentvolume/{name}: {}", explain(&e))),
                Err(_) => return Err(format!("persistentvolume/{name}: the API server does not answer")),
            };
            if log.run.may_have_started() || volume.reclaim_policy == "Retain" {
                kept.insert(key(of), volume);
            }
        }
        if kept.len() > self.kept.len() {
            log.keep(KEPT, &kept).await?;
            // Not before: what is not in the journal is not named.
            self.kept = kept;
        }
        Ok(())
    }

    /// Names what stays and sees that it does, before the workload is stopped: its controller may be told meanwhile to
    /// delete the claims of what is scaled down. Tries until then.
    pub(super) async fn keep_all(&mut self, log: &Log<Run>, until: Instant) -> Result<(), String> {
        loop {
            let why = match self.kept_once(log).await {
                Ok(None) => return Ok(()),
                Ok(Some(why)) | Err(why) => why,
            };
            if log.taken_over() || Instant::now() >= until {
                return Err(why);
            }
            sleep(Duration::from_millis(500)).await;
        }
    }

    async fn kept_once(&mut self, log: &Log<Run>) -> Result<Option<String>, String> {
        self.name_kept(log).await?;
        for (c, of) in self.plan.claims.iter().enumerate() {
            if log.run.claim(c) != ClaimPhase::Back
                && let Some(waiting) = self.keep_restored(of).await?
            {
                return Ok(Some(waiting));
            }
        }
        Ok(None)
    }

    /// Names no volume any more that somebody deleted meanwhile.
    pub(super) async fn forget_lost(&mut self, log: &Log<Run>) {
        let mut lost = Vec::new();
        for (of, volume) in &self.kept {
            if let Kept::Lost(_) = self.kept(volume).await {
                lost.push(of.clone());
            }
        }
        if !lost.is_empty() {
            self.kept.retain(|of, _| !lost.contains(of));
            log.store(KEPT, &self.kept);
        }
    }

    /// Sees that the restored volume of a claim outlives it, if it is to; says what it is waiting for.
    pub(super) async fn keep_restored(&self, of: &Claim) -> Result<Option<String>, String> {
        let Some(volume) = self.kept.get(&key(of)) else { return Ok(None) };
        match self.kept(volume).await {
            // Whoever deleted it did so before the restore was taken back: the way to the old data is not to end there.
            Kept::Yes(_) | Kept::Lost(_) => Ok(None),
            Kept::NotSeen(_) => match self.set_reclaim_policy(volume, "Retain").await {
                Ok(()) => Ok(Some(format!("persistentvolume/{} is being told to stay", volume.name))),
                Err(why) => Ok(Some(why)),
            },
        }
    }
}

/// How a claim is named in the journal.
pub(super) fn key(of: &Claim) -> String {
    format!("{}/{}", of.namespace, of.name)
}
