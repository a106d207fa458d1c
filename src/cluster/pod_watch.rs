//! Follows the pods of a run from its first pod table on: what changes while databases are held spoils the attempt at
//! once, instead of after all the cuts.

use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use super::client::Cluster;
use super::selection::reselect;
use crate::plan::Selection;
use crate::pods::{Difference, Match, PodState, differences, only_readiness};

/// How often the pods are listed. A watch would be a further verb to ask for, and may be silent for ever.
const EVERY: Duration = Duration::from_millis(500);

/// Pods that are not as they were.
#[derive(Clone, Debug)]
pub struct Changed {
    /// What differs.
    pub differences: Vec<Difference>,
    /// The table that shows it.
    pub now: Vec<PodState>,
}

/// A task that compares the pods with a table until it is dropped.
pub struct PodWatch {
    changed: watch::Receiver<Option<Changed>>,
    task: JoinHandle<()>,
}

impl PodWatch {
    /// Compares with this table.
    pub fn start(cluster: &Cluster, selections: Vec<Selection>, before: Vec<PodState>, by: Match) -> Self {
        let (tell, changed) = watch::channel(None);
        let api = cluster.api.clone();
        let task = tokio::spawn(async move {
            loop {
                // Without an answer nothing is known; the table after the release is taken in any case.
                if let Ok(Ok(pods)) = timeout(Duration::from_secs(5), reselect(&api, &selections)).await {
                    let now: Vec<PodState> = pods.iter().map(|pod| PodState::compared(pod, by)).collect();
                    let differences = differences(&before, &now);
                    if !differences.is_empty() && !only_readiness(&differences) {
                        tell.send_replace(Some(Changed { differences, now }));
                        return;
                    }
                }
                sleep(EVERY).await;
            }
        });
        Self { changed, task }
    }

    /// What was seen so far.
    pub fn seen(&self) -> Option<Changed> {
        self.changed.borrow().clone()
    }

    /// Waits until a pod is not as it was. Readiness that was lost without a restart does not count: the hold itself may
    /// cost it.
    pub async fn changed(&self) -> Changed {
        let mut changed = self.changed.clone();
        let seen = changed.wait_for(Option::is_some).await.ok().and_then(|seen| seen.clone());
        match seen {
            Some(changed) => changed,
            None => std::future::pending().await,
        }
    }
}

impl Drop for PodWatch {
    fn drop(&mut self) {
        self.task.abort();
    }
}
