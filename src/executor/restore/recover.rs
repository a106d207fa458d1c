//! After the start: each database is asked until it has recovered, and whether it is the backed-up one.

use std::time::Duration;

use futures::future::join_all;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep};

use super::Restore;
use crate::cluster::client::Cluster;
use crate::exec::{self, Place};
use crate::executor::Log;
use crate::plan::Target;
use crate::plan::restore::{Restored, Workload, engine};
use crate::platform::workload::{self, is_ready};
use crate::protocol::Abort;
use crate::protocol::restore::{Event, Run};
use crate::quiescer::{Act, Answer, End, Probe, Quiescer, REPLICA, SERVES, by_name};
use crate::record::entry::Detail;

/// Pause between two questions.
const PAUSE: Duration = Duration::from_secs(1);

/// Why a database does not serve.
pub(super) enum Not {
    /// It may, later.
    Yet(String),
    /// It never will: it is not the backed-up one.
    Ever(String),
}

impl Not {
    /// Why.
    pub(super) fn text(&self) -> &str {
        match self {
            Self::Yet(why) | Self::Ever(why) => why,
        }
    }
}

impl Restore<'_> {
    pub(super) async fn recover(&self, log: &mut Log<Run>, targets: &[usize]) {
        self.progress.step("waiting until the databases have recovered");
        let (tell, told) = mpsc::unbounded_channel();
        let until = self.deadline.unwrap_or_else(Instant::now);
        let work = join_all(targets.iter().map(|&t| {
            let tell = tell.clone();
            async move {
                let recovered = match self.recover_one(&self.plan.targets[t], until).await {
                    Ok(now) => self.recovered_by_log(t).await.map(|by_log| (now, by_log)),
                    Err(broken) => Err(broken),
                };
                let event = match recovered {
                    Ok((now, by_log)) => {
                        let of = &self.plan.targets[t];
                        let (point, left) = by_log.map_or((None, None), |by_log| (Some(by_log.point), by_log.left));
                        let left = left.map(|left| format!("{}: {left}", of.target.path()));
                        let afterwards = leftovers(of, &now).or(left);
                        (Event::Recovered(t), Detail { point, afterwards, ..Detail::text(now.version) })
                    }
                    Err((reason, why)) => {
                        let path = self.plan.targets[t].target.path();
                        (Event::Aborted(reason), Detail::text(format!("{path}: {why}")))
                    }
                };
                // The receiver is in this function and outlives all senders.
                let _ = tell.send(event);
            }
        }));
        let is_last = |event: &Event| matches!(event, Event::Aborted(_));
        log.attend(async { drop(work.await) }, told, self.broken(), is_last).await;
    }

    /// Asks until it serves, or the time is over.
    async fn recover_one(&self, of: &Restored, until: Instant) -> Result<Probe, super::Broken> {
        match until_it_serves(&self.cluster, &self.plan.workloads[of.workload], of, self.plan.any_version, until).await
        {
            Ok(now) => Ok(now),
            Err(Not::Ever(why)) => Err((Abort::Step, why)),
            Err(Not::Yet(last)) => {
                Err((Abort::Budget, format!("it has not recovered within {} s: {last}", self.plan.wait.as_secs())))
            }
        }
    }
}

/// Asks a database of this workload until it serves as the backed-up one did; the error is what it said last.
pub(super) async fn until_it_serves(
    cluster: &Cluster,
    workload: &Workload,
    of: &Restored,
    any_version: bool,
    until: Instant,
) -> Result<Probe, Not> {
    loop {
        match ask(cluster, workload, of, any_version).await {
            Err(Not::Yet(_)) if Instant::now() < until => sleep(PAUSE).await,
            answer => return answer,
        }
    }
}

async fn ask(cluster: &Cluster, workload: &Workload, of: &Restored, any_version: bool) -> Result<Probe, Not> {
    let target = &of.target;
    let adapter = &target.adapter;
    let quiescer = by_name(adapter).ok_or_else(|| Not::Ever(format!("this version has no adapter {adapter}")))?;
    let place = place(cluster, workload, target).await.map_err(Not::Yet)?;
    // A cold backup copies replicas too.
    if of.replica || target.probe.is_replica() {
        return ask_replica(cluster, quiescer, &place).await;
    }
    let recovered = run(cluster, &place, quiescer.recovered(&target.probe)).await.map_err(Not::Ever)?;
    if !recovered.ok() || recovered.out.trim() != SERVES {
        return Err(Not::Yet(said(&recovered)));
    }
    // Not only up: an engine that found none of its files starts as well, and is empty.
    let probed = run(cluster, &place, quiescer.probe()).await.map_err(Not::Ever)?;
    let now = quiescer
        .read_probe(&probed)
        .map_err(|reasons| Not::Yet(reasons.into_iter().map(|r| r.message).collect::<Vec<_>>().join("; ")))?;
    if now.is_replica() {
        return Err(Not::Yet("it is a read replica, but was the primary at the backup".into()));
    }
    match engine::other_database(&target.probe, &now, any_version) {
        Some(why) => Err(Not::Ever(why)),
        None => Ok(now),
    }
}

/// Whether it follows a primary again: one that found its volume empty and cannot copy may serve as well, and serve
/// nothing.
async fn ask_replica(cluster: &Cluster, quiescer: &dyn Quiescer, place: &Place) -> Result<Probe, Not> {
    let probed = run(cluster, place, quiescer.probe()).await.map_err(Not::Ever)?;
    match quiescer.read_probe(&probed) {
        Ok(now) if now.role == REPLICA => Ok(now),
        Ok(now) if now.is_replica() => Err(Not::Yet("it does not follow its primary yet".into())),
        Ok(_) => Err(Not::Yet("it is no read replica any more, and serves what is not the restored data".into())),
        Err(reasons) => Err(Not::Yet(reasons.into_iter().map(|r| r.message).collect::<Vec<_>>().join("; "))),
    }
}

async fn run(cluster: &Cluster, place: &Place, act: Act) -> Result<Answer, String> {
    match act {
        Act::Exec { argv, within } => Ok(exec::run(cluster, place, &argv, within).await),
        _ => Err("its adapter does not ask by a command".into()),
    }
}

/// Where the database runs now: its old pod's name, or, as a Deployment's pods have new ones, the pod that is ready.
pub(super) async fn place(cluster: &Cluster, workload: &Workload, target: &Target) -> Result<Place, String> {
    let pods = workload::pods(cluster, workload).await?;
    let has = |pod: &&k8s_openapi::api::core::v1::Pod| {
        let containers = pod.spec.iter().flat_map(|s| s.containers.iter());
        is_ready(pod) && containers.into_iter().any(|c| c.name == target.container)
    };
    let name = |pod: &k8s_openapi::api::core::v1::Pod| pod.metadata.name.clone().unwrap_or_default();
    let found = pods.iter().filter(has).map(name);
    let all: Vec<String> = found.collect();
    // Any other pod of a StatefulSet is another database.
    let renamed = matches!(workload.kind.as_str(), "Deployment" | "ReplicaSet");
    let pod = all.iter().find(|n| **n == target.pod).or_else(|| all.first().filter(|_| renamed));
    let pod = pod.ok_or_else(|| format!("no ready pod has a container {}", target.container))?;
    Ok(Place {
        namespace: target.namespace.clone(),
        pod: pod.clone(),
        container: target.container.clone(),
        endpoint: None,
    })
}

/// Files that the copy has of statements which ran at the cut, and which the engine's own recovery has left.
fn leftovers(of: &Restored, now: &Probe) -> Option<String> {
    const NAMED: usize = 10;
    let all = &now.leftovers;
    if all.is_empty() {
        return None;
    }
    let more = if all.len() > NAMED { format!(" and {} more", all.len() - NAMED) } else { String::new() };
    Some(format!(
        "{}: files of statements that were not finished at the cut are left in {}, and take space: {}{more}; remove them as \
         the engine's manual says, once no ALTER TABLE runs",
        of.target.path(),
        now.setting("datadir"),
        all.iter().take(NAMED).cloned().collect::<Vec<_>>().join(", ")
    ))
}

/// What an answer that is not as asked says.
fn said(answer: &Answer) -> String {
    let how = match &answer.end {
        End::Answered => "unexpected answer".to_owned(),
        End::Exited(code) => format!("its check ended with exit code {code}"),
        End::Refused(why) => format!("its check was not run: {why}"),
        End::Unknown(why) => format!("its check did not answer: {why}"),
    };
    match answer.err.trim().lines().last() {
        Some(line) => format!("{how}: {line}"),
        None => how,
    }
}
