//! `--discard-old`: the old volumes are deleted with their storage, once it is durable that the workload runs on what was
//! restored. Nobody can go back to them afterwards, so what is to go is named in the journal first.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::future::join_all;
use tokio::time::Instant;

use super::Restore;
use super::stored::give_up;
use crate::error::Error;
use crate::executor::Log;
use crate::plan::restore::Volume;
use crate::protocol::restore::{Outcome, Run};

/// Under which key of the journal the old volumes are named that are deleted, and whether they are gone.
pub(super) const DISCARDED: &str = "volumes.discarded";
/// How long the storage may take.
const REMOVAL: Duration = Duration::from_secs(60);

impl Restore<'_> {
    /// Deletes them. The error says what is left; the workload runs on what was restored all the same.
    pub async fn discard_old(&self, log: &Log<Run>) -> Result<(), Error> {
        if !log.run.is_finished() || log.run.outcome() != Some(Outcome::Restored) {
            return Ok(());
        }
        let volumes: Vec<&Volume> = self.plan.old_volumes().collect();
        let mut gone: BTreeMap<&str, bool> = volumes.iter().map(|v| (v.name.as_str(), false)).collect();
        let failed = |why: &str| {
            Error::failed(format!("restore {} succeeded, but not all old volumes are deleted: {why}", self.plan.run))
                .hint(format!(
                    "delete them with: {}",
                    self.cluster.typed.command("delete", &self.plan.run, &self.plan.namespace)
                ))
        };
        log.keep(DISCARDED, &gone).await.map_err(|why| failed(&why))?;
        self.progress.step("deleting the old volumes");
        let until = Instant::now() + REMOVAL;
        let tell = |what: &str| self.progress.step(&format!("deleting the old volumes: {what}"));
        let results = join_all(volumes.iter().map(|&volume| {
            // Asked for whatever their class wants.
            let volume = Volume { reclaim_policy: "Delete".into(), ..volume.clone() };
            let tell = &tell;
            async move { give_up(&self.cluster, &self.plan, &volume, until, tell).await }
        }));
        let mut left = Vec::new();
        for (volume, result) in volumes.iter().zip(results.await) {
            match result {
                Ok(true) => drop(gone.insert(&volume.name, true)),
                Ok(false) => left.push(format!("persistentvolume/{} is in use again", volume.name)),
                Err(why) => left.push(why),
            }
        }
        log.keep(DISCARDED, &gone).await.map_err(|why| failed(&why))?;
        if left.is_empty() { Ok(()) } else { Err(failed(&left.join("; "))) }
    }
}
