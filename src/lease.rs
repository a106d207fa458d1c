//! One run at a time for each target: a Lease per pod, renewed while the run lives.
//!
//! Clocks of different machines are never compared. A Lease has expired when we ourselves saw it unchanged for its
//! duration; ours counts as lost when we could not renew it for as long, by our own clocks, which begin before the
//! other's can: the monotonic one, and the wall's, as the first stands while a machine sleeps.

use std::sync::Arc;
use std::time::Duration;

use futures::future::{join_all, select_all};
use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::Lease;
use kube::Api;
use tokio::time::{Instant, timeout_at};

use crate::cluster::client::{Cluster, Guard};
use crate::cluster::nonce::nonce;
use crate::error::Refusal;

mod claim;
mod held;
mod mark;
mod observed;

use claim::Wanted;
use held::Held;
pub use mark::{Mark, Record, marks, plan_digest};

/// How long a Lease lasts without renewal.
pub const DURATION: Duration = Duration::from_secs(10);
/// How often it is renewed.
pub const RENEWAL: Duration = Duration::from_secs(3);
/// How long a lost one is waited for, where nothing is held.
const BACK: Duration = Duration::from_secs(30);
/// How long giving back is tried. What is not given back expires by itself.
const RELEASE: Duration = Duration::from_secs(5);

/// What to do about a Lease that somebody holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Take {
    /// Refuse one that is renewed while we look; take one that expires.
    IfFree,
    /// Wait longer for one that is still renewed: its run may be about to end.
    AfterExpiry,
    /// Take it at once.
    Force,
}

/// What a run leaves behind that gives its Leases back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Left {
    /// It is over.
    Nothing,
    /// Another process has to finish it, and must find its marks.
    Unfinished,
}

/// Why taking a Lease is not over yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Waiting {
    /// The namespace.
    pub namespace: String,
    /// The pod.
    pub pod: String,
    /// The run that holds it.
    pub run: String,
    /// How long until it has expired, if it is not renewed.
    pub left: Duration,
}

/// The Leases of one run's targets.
pub struct Leases {
    held: Vec<Held>,
}

/// The run whose process holds this pod now, seen by a renewal of its Lease.
pub async fn holder(cluster: &Cluster, namespace: &str, pod: &str) -> Option<String> {
    claim::holder(&Api::namespaced(cluster.api.clone(), namespace), pod).await
}

/// The run that holds this pod or did last, and when the API server took the last renewal, by its own clock. None
/// without a Lease.
pub async fn last_heard(
    cluster: &Cluster,
    namespace: &str,
    pod: &str,
) -> Result<Option<(String, Option<Timestamp>)>, String> {
    claim::last_heard(&Api::namespaced(cluster.api.clone(), namespace), pod).await
}

/// The mark of this run on the Lease of this pod, if there is one: which record its own is.
pub async fn mark(cluster: &Cluster, namespace: &str, pod: &str, run: &str) -> Result<Option<Mark>, String> {
    claim::mark(&Api::namespaced(cluster.api.clone(), namespace), pod, run).await
}

impl Leases {
    /// Takes the Leases of all pods at once, and tells through `say` what is waited for. All or none: if one is
    /// refused the others are given back. Each is renewed from the moment it was taken.
    pub async fn take(
        cluster: &Cluster,
        pods: &[(String, String)],
        run: &str,
        take: Take,
        say: &(dyn Fn(&Waiting) + Sync),
    ) -> Result<Self, Vec<Refusal>> {
        let mut pods = pods.to_vec();
        pods.sort();
        pods.dedup();
        let holder = format!("{run}/{}", nonce());
        let claims = pods.into_iter().map(|(namespace, pod)| {
            let api: Api<Lease> = Api::namespaced(cluster.once.clone(), &namespace);
            let wanted = Wanted::new(namespace, pod, run, &holder);
            async move { claim::claim(api, wanted, take, say).await }
        });
        let mut held = Vec::new();
        let mut refusals = Vec::new();
        for claimed in join_all(claims).await {
            match claimed {
                Ok(lease) => held.push(lease),
                Err(refusal) => refusals.push(refusal),
            }
        }
        if refusals.is_empty() {
            Ok(Self { held })
        } else {
            // The run may be one that died: whoever tries again must find its marks.
            let _ = Self { held }.release(Left::Unfinished).await;
            Err(refusals)
        }
    }

    /// Why a Lease is not ours any more, or may not be: another run holds it, or it could not be renewed in time.
    /// The second passes if a renewal succeeds after all, for then nobody has touched it in between.
    pub fn lost(&self) -> Option<String> {
        self.held.iter().find_map(Held::lost)
    }

    /// The same for who asks later, whatever becomes of these.
    pub fn guard(&self) -> Guard {
        let all: Vec<_> = self.held.iter().map(Held::guard).collect();
        Arc::new(move || all.iter().find_map(|lost| lost()))
    }

    /// The cluster, to which nothing is written once one of these may be another's: a process that was stopped for a
    /// while goes on in the middle of a step.
    pub fn own(&self, cluster: &Cluster) -> Cluster {
        cluster.guarded(&self.guard())
    }

    /// Waits until `lost` has something to say.
    pub async fn until_lost(&self) -> String {
        if self.held.is_empty() {
            return std::future::pending().await;
        }
        let waits = self.held.iter().map(|held| Box::pin(held.until_lost()));
        select_all(waits).await.0
    }

    /// Waits until one is lost and stays so: an API server that was away for a while is no other process.
    pub async fn until_lost_for_good(&self) -> String {
        loop {
            let why = self.until_lost().await;
            tokio::time::sleep(BACK).await;
            if self.lost().is_some() {
                return why;
            }
        }
    }

    /// Renews all at once, after a gap in which this process may have been stopped: only a renewal shows that nobody
    /// took them meanwhile.
    pub async fn confirm(&self, within: Duration) -> Result<(), String> {
        let end = Instant::now() + within;
        let all = join_all(self.held.iter().map(Held::confirm));
        match timeout_at(end, all).await {
            Ok(answers) => answers.into_iter().collect(),
            Err(_) => Err(format!("the leases could not be renewed within {within:?}")),
        }
    }

    /// Writes on each which record is this run's, and which plan stands there: before the first thing is touched by it,
    /// and before the record has another plan.
    pub async fn mark(&self, namespace: &str, plan: &str) -> Result<(), String> {
        let plan = plan_digest(plan);
        let marked = join_all(self.held.iter().map(|held| held.mark(namespace, &plan))).await;
        marked.into_iter().collect()
    }

    /// Gives back what is ours; bounded. The error names what was not given back, which expires by itself.
    pub async fn release(self, left: Left) -> Result<(), String> {
        let end = Instant::now() + RELEASE;
        let unfinished = left == Left::Unfinished;
        let released = join_all(self.held.into_iter().map(|held| held.release(end, unfinished))).await;
        let failed: Vec<String> = released.into_iter().filter_map(Result::err).collect();
        if failed.is_empty() { Ok(()) } else { Err(failed.join("; ")) }
    }
}

#[cfg(test)]
mod tests;
