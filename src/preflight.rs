//! From a request to a plan: facts, databases, their answers, the planner.

use futures::future::join_all;
use jiff::Timestamp;

use crate::cluster::client::Cluster;
use crate::cluster::discovery::facts;
use crate::cluster::{manifests, restore_facts};
use crate::error::Error;
use crate::exec::{self, Place};
use crate::lease::holder;
use crate::manifests::Manifests;
use crate::plan::cold::plan_cold;
use crate::plan::{Detected, Plan, Probed, Request, detect, leased, plan};
use crate::platform::scalar;
use crate::pods::PodState;
use crate::quiescer::{QUIESCERS, Quiescer, Reason, by_name};

/// A plan with the pod table that it was made from.
pub struct Planned {
    /// The plan.
    pub plan: Plan,
    /// The selected pods.
    pub pods: Vec<PodState>,
    /// What the workloads are made of.
    pub manifests: Manifests,
}

/// Plans a run with this id, at this time by the API server's clock; or says every reason why it cannot be.
pub async fn planned(cluster: &Cluster, request: &Request, run: &str, now: Timestamp) -> Result<Planned, Error> {
    let mut facts = facts(&cluster.api, request, run).await?;
    scalar::complete(&cluster.api, request, run, &mut facts).await?;
    let detection = detect(&facts, QUIESCERS);
    let asked = detection.targets.iter().map(|target| async {
        match by_name(target.adapter) {
            // What may not be run is refused once for all; a container that does not run has no answer.
            Some(adapter) if (facts.exec || target.endpoint.is_some()) && target.running => {
                ask(cluster, target, adapter, run).await
            }
            _ => Err(Vec::new()),
        }
    });
    let probes = join_all(asked).await;
    let plan = if request.cold {
        let workloads = restore_facts::collect_cold(cluster, &facts, now).await;
        plan_cold(&facts, &detection, &probes, &workloads, request, run, now)
    } else {
        plan(&facts, &detection, &probes, request, run, now)
    };
    let mut plan = plan.map_err(Error::refusals)?;
    let manifests = manifests::collect(&cluster.api, &plan, &facts.claims).await;
    let notes = manifests.notes(&plan.namespace);
    plan.notes.extend(notes);
    let pods = facts.pods.iter().map(|pod| PodState::compared(pod, request.pods_must_match)).collect();
    Ok(Planned { plan, pods, manifests })
}

async fn ask(cluster: &Cluster, target: &Detected, adapter: &dyn Quiescer, own: &str) -> Probed {
    let at = Place {
        namespace: target.namespace.clone(),
        pod: target.pod.clone(),
        container: target.container.clone(),
        endpoint: target.endpoint.clone(),
    };
    // Before the database is asked: it would tell of a pause by somebody else, and to end that would break his backup.
    if let Some(run) =
        holder(cluster, &target.namespace, &leased(&target.pod, &target.release)).await.filter(|run| run != own)
    {
        return Err(vec![
            Reason::new(format!("it is leased by run {run}, which is at work"))
                .hint("wait for its end; only one run at a time may hold a database"),
        ]);
    }
    adapter.read_probe(&exec::once(cluster, &at, &adapter.probe()).await)
}
