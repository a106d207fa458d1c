//! After the start: the pods are compared with those before the stop.

use std::time::Duration;

use futures::future::join_all;
use tokio::time::{Instant, sleep, timeout};

use super::{Broken, Restore};
use crate::cluster::client::explain;
use crate::cluster::discovery::reselect;
use crate::executor::Log;
use crate::plan::restore::Workload;
use crate::platform::workload;
use crate::pods::{Difference, Elastic, PodState, improves, restarted};
use crate::protocol::Abort;
use crate::protocol::restore::{Event, Run};
use crate::record::entry::Detail;

/// How long pods may take to look as they did: STATUS and readiness settle after the start.
const SETTLING: Duration = Duration::from_secs(60);

impl Restore<'_> {
    /// Takes the second pod table and compares.
    pub(super) async fn compare(&self, log: &mut Log<Run>) {
        self.progress.step("comparing the pods");
        let result = tokio::select! {
            biased;
            broken = self.broken() => Err(broken),
            result = self.compared() => result,
        };
        self.store_volumes(log).await;
        match result {
            Ok((after, differ)) => {
                log.store("pods.after", &after);
                let (same, detail) = Detail::of_restart(differ);
                log.happened(Event::Compared { same }, detail);
            }
            Err((reason, text)) => log.abort(reason, text),
        }
    }

    /// The pods once nothing is worse than before, or after the time that this may take.
    async fn compared(&self) -> Result<(Vec<PodState>, Vec<Difference>), Broken> {
        let until = Instant::now() + SETTLING;
        let wanted = self.plan.databases().map(|w| count(w.start)).sum();
        loop {
            let late = Instant::now() >= until;
            match self.pods().await {
                Ok(after) => {
                    let differ = restarted(&self.before, &after, wanted, &self.elastic().await);
                    if late || differ.iter().all(improves) {
                        return Ok((after, differ));
                    }
                }
                Err(why) if late => return Err((Abort::Step, why)),
                Err(_) => {}
            }
            sleep(Duration::from_millis(500)).await;
        }
    }

    /// What stands in front of the databases, and how many pods of it are to serve: an autoscaler may have other thoughts
    /// of that since it was started.
    async fn elastic(&self) -> Vec<Elastic> {
        let one = |of: &Workload| {
            let (kind, namespace, name, start) = (of.kind.clone(), of.namespace.clone(), of.name.clone(), of.start);
            async move {
                let now = workload::read(&self.cluster, &kind, &namespace, &name).await;
                let replicas = now.ok().flatten().map_or(start, |now| now.replicas);
                Elastic { namespace, name, needed: count(start.min(replicas).max(1)) }
            }
        };
        join_all(self.plan.fronts().map(one)).await
    }

    /// The pod table now.
    async fn pods(&self) -> Result<Vec<PodState>, String> {
        let listed = timeout(Duration::from_secs(10), reselect(&self.cluster.api, &self.plan.selections)).await;
        match listed {
            Ok(Ok(pods)) => Ok(pods.iter().map(PodState::of).collect()),
            Ok(Err(e)) => Err(format!("the pods could not be listed: {}", explain(&e))),
            Err(_) => Err("the pods could not be listed: the API server did not answer".into()),
        }
    }

    /// On the way back: the pods as they are then, for the record.
    pub(super) async fn show_pods_after(&self, log: &mut Log<Run>) {
        if let Ok(after) = self.pods().await {
            log.store("pods.after", &after);
        }
    }
}

fn count(pods: i32) -> usize {
    usize::try_from(pods).unwrap_or(0)
}
