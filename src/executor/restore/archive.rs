//! A restored copy that is to go on from its archive: it is prepared before its server is started for the first time, and
//! the server is watched until it has recovered.
//!
//! The pod in which that is done is named by the plan, so whoever leads the restore finds it. Every way past it, forward and
//! back, sees it gone first: it mounts the claims.

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use k8s_openapi::api::core::v1::{ContainerStatus, Pod};
use kube::api::{Api, DeleteParams, LogParams, PostParams, Preconditions};
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep, timeout};

use super::recover::place;
use super::{Broken, Restore};
use crate::cluster::client::{explain, is_already_exists, is_conflict, is_not_found, is_transient};
use crate::exec::{self, Place};
use crate::plan::restore::{FromArchive, RESTORED_BY};
use crate::platform::workload;
use crate::pods::PodState;
use crate::protocol::Abort;
use crate::quiescer::recovery::{PREPARED, Recovered};
use crate::quiescer::{Act, Answer, End, by_name};

/// How long one request may take.
const REQUEST: Duration = Duration::from_secs(10);
/// How long the command that prepares the copy may take.
const WRITING: Duration = Duration::from_secs(150);
/// How often it is tried where nobody knows what became of it.
const TRIES: usize = 3;
/// Pause between two looks.
const LOOK: Duration = Duration::from_millis(500);
/// Pause between two looks at whether the server has given up.
const WATCH: Duration = Duration::from_secs(2);
/// So much of a log is read.
const LINES: i64 = 200;

/// The making of the pod: one that was broken off is over before the pod is looked for again.
static MAKING: LazyLock<Arc<Mutex<()>>> = LazyLock::new(Arc::default);

impl Restore<'_> {
    fn helpers(&self, of: &FromArchive) -> Api<Pod> {
        Api::namespaced(self.cluster.api.clone(), of.pod().0)
    }

    /// Writes what the server needs to go on from its archive.
    pub(super) async fn prepare(&self) -> Result<(), Broken> {
        let Some(of) = &self.plan.archive else { return Ok(()) };
        let until = Instant::now() + self.plan.wait;
        self.prepared(of, until).await.map_err(|why| (Abort::Step, why))
    }

    async fn prepared(&self, of: &FromArchive, until: Instant) -> Result<(), String> {
        // An earlier process may have left one, of which nobody knows what it still does.
        self.no_helper(until).await?;
        self.make_helper(of, until).await?;
        if let Some(why) = self.leases.lost() {
            return Err(why);
        }
        let (namespace, pod) = of.pod();
        let container = &self.plan.targets[of.target].target.container;
        let place =
            Place { namespace: namespace.into(), pod: pod.into(), container: container.clone(), endpoint: None };
        self.progress.step("writing what the recovery from the archive needs");
        let mut answer = Answer::default();
        for _ in 0..TRIES {
            answer = exec::run(&self.cluster, &place, &of.recovery.argv, WRITING).await;
            // It may be done twice.
            if !matches!(answer.end, End::Refused(_) | End::Unknown(_)) {
                break;
            }
            sleep(WATCH).await;
        }
        if !answer.ok() || answer.out.lines().last() != Some(PREPARED) {
            let path = self.plan.targets[of.target].target.path();
            return Err(format!("{path} could not be prepared for its recovery: {}", said(&answer)));
        }
        self.no_helper(until).await
    }

    /// Makes the pod and waits until it runs.
    async fn make_helper(&self, of: &FromArchive, until: Instant) -> Result<(), String> {
        let mut told = String::new();
        loop {
            let waiting = self.make_helper_once(of).await?;
            let Some(waiting) = waiting else { return Ok(()) };
            if Instant::now() >= until {
                return Err(format!("it took too long: {waiting}"));
            }
            if told != waiting {
                self.progress.step(&format!("preparing the recovery from the archive: {waiting}"));
                told = waiting;
            }
            sleep(LOOK).await;
        }
    }

    async fn make_helper_once(&self, of: &FromArchive) -> Result<Option<String>, String> {
        let (api, name) = (self.helpers(of), of.pod().1);
        let found = match timeout(REQUEST, api.get_opt(name)).await {
            Ok(Ok(found)) => found,
            Ok(Err(e)) => return Ok(Some(format!("pod/{name}: {}", explain(&e)))),
            Err(_) => return Ok(Some("the API server does not answer".into())),
        };
        let Some(pod) = found else {
            let turn = MAKING.clone().lock_owned().await;
            let manifest = of.pod.clone();
            let made = tokio::spawn(async move {
                let made = timeout(REQUEST, api.create(&PostParams::default(), &manifest)).await;
                drop(turn);
                made
            });
            return match made.await {
                Ok(Ok(Err(e))) if is_transient(&e) => Ok(Some(format!("pod/{name} is not seen made: {}", explain(&e)))),
                Ok(Ok(Err(e))) if !is_already_exists(&e) => {
                    Err(format!("pod/{name} could not be made: {}", explain(&e)))
                }
                _ => Ok(Some(format!("pod/{name} is being made"))),
            };
        };
        if !self.is_ours(&pod) {
            return Err(format!("a pod/{name} was made by somebody else"));
        }
        let phase = pod.status.as_ref().and_then(|s| s.phase.as_deref()).unwrap_or_default();
        let state = PodState::of(&pod);
        match phase {
            _ if pod.metadata.deletion_timestamp.is_some() => Err(format!("pod/{name} was removed by somebody else")),
            "Running" if workload::is_ready(&pod) => Ok(None),
            "Failed" | "Succeeded" => Err(format!("pod/{name} ended before it was of use ({})", state.status)),
            _ => Ok(Some(format!("pod/{name} is {}", state.status))),
        }
    }

    fn is_ours(&self, pod: &Pod) -> bool {
        pod.metadata.labels.as_ref().and_then(|l| l.get(RESTORED_BY)) == Some(&self.plan.run)
    }

    /// Sees that the pod in which a copy is prepared is gone.
    pub(super) async fn no_helper(&self, until: Instant) -> Result<(), String> {
        loop {
            let Some(waiting) = self.remove_helper().await? else { return Ok(()) };
            if Instant::now() >= until {
                return Err(format!("it took too long: {waiting}"));
            }
            sleep(LOOK).await;
        }
    }

    /// One look at it; what is waited for, if it is still there.
    pub(super) async fn remove_helper(&self) -> Result<Option<String>, String> {
        let Some(of) = &self.plan.archive else { return Ok(None) };
        drop(MAKING.lock().await);
        let (api, name) = (self.helpers(of), of.pod().1);
        let found = match timeout(REQUEST, api.get_opt(name)).await {
            Ok(Ok(found)) => found,
            Ok(Err(e)) => return Ok(Some(format!("pod/{name}: {}", explain(&e)))),
            Err(_) => return Ok(Some("the API server does not answer".into())),
        };
        let Some(pod) = found.filter(|pod| self.is_ours(pod)) else { return Ok(None) };
        if pod.metadata.deletion_timestamp.is_none() {
            let only = Preconditions { uid: pod.metadata.uid, resource_version: None };
            let params = DeleteParams { preconditions: Some(only), ..DeleteParams::default() };
            match timeout(REQUEST, api.delete(name, &params)).await {
                Ok(Err(e)) if !is_not_found(&e) && !is_conflict(&e) && !is_transient(&e) => {
                    return Err(format!("pod/{name} could not be removed: {}", explain(&e)));
                }
                _ => {}
            }
        }
        Ok(Some(format!("pod/{name} is ending")))
    }

    /// Ends when the server has said that it will never recover as it was asked to.
    pub(super) async fn never_recovers(&self) -> String {
        let Some(of) = &self.plan.archive else { return std::future::pending().await };
        let target = &self.plan.targets[of.target];
        loop {
            sleep(WATCH).await;
            if let Some(line) = self.last_words(of).await {
                return format!(
                    "{} does not recover from its archive to {}: {line}",
                    target.target.path(),
                    of.wanted.target
                );
            }
        }
    }

    /// The line of the log with which its server ended. What cannot be read says nothing: it is waited for then.
    async fn last_words(&self, of: &FromArchive) -> Option<String> {
        let target = &self.plan.targets[of.target];
        let adapter = by_name(&target.target.adapter)?;
        let pods =
            timeout(REQUEST, workload::pods(&self.cluster, &self.plan.workloads[target.workload])).await.ok()?.ok()?;
        for pod in &pods {
            let Some(previous) = ended(pod, &target.target.container) else { continue };
            let params = LogParams {
                container: Some(target.target.container.clone()),
                previous,
                tail_lines: Some(LINES),
                ..LogParams::default()
            };
            let api: Api<Pod> = Api::namespaced(self.cluster.api.clone(), &target.target.namespace);
            let name = pod.metadata.name.as_deref().unwrap_or_default();
            if let Ok(Ok(log)) = timeout(REQUEST, api.logs(name, &params)).await
                && let Some(line) = adapter.recovery_failed(&log)
            {
                return Some(line);
            }
        }
        None
    }

    /// What the server that serves says of its recovery; nothing of one that was not to go on from its archive.
    pub(super) async fn recovered_by_log(&self, target: usize) -> Result<Option<Recovered>, Broken> {
        let Some(of) = self.plan.archive.as_ref().filter(|of| of.target == target) else { return Ok(None) };
        let broken = |why: String| (Abort::Step, why);
        let restored = &self.plan.targets[target];
        let adapter = by_name(&restored.target.adapter);
        let act = adapter.and_then(|adapter| adapter.recovered_by_log(&restored.target.probe));
        let (Some(adapter), Some(Act::Exec { argv, within })) = (adapter, act) else { return Ok(None) };
        let mut answer = Answer::default();
        for _ in 0..TRIES {
            let of_workload = &self.plan.workloads[restored.workload];
            let place = place(&self.cluster, of_workload, &restored.target).await.map_err(broken)?;
            answer = exec::run(&self.cluster, &place, &argv, within).await;
            if answer.ok() {
                break;
            }
            sleep(WATCH).await;
        }
        adapter.read_recovered_by_log(&of.point, &answer).map(Some).map_err(broken)
    }
}

/// Whether its server has ended, and whether another one runs in its place by now, so that the log is the previous one.
fn ended(pod: &Pod, container: &str) -> Option<bool> {
    let all = pod.status.as_ref()?.container_statuses.as_deref()?;
    let status: &ContainerStatus = all.iter().find(|s| s.name == container)?;
    if status.state.as_ref().is_some_and(|s| s.terminated.is_some()) {
        return Some(false);
    }
    status.last_state.as_ref()?.terminated.as_ref().map(|_| true)
}

/// Why what was asked did not come about.
fn said(answer: &Answer) -> String {
    let how = match &answer.end {
        End::Answered => "unexpected answer".to_owned(),
        End::Exited(code) => format!("exit code {code}"),
        End::Refused(why) | End::Unknown(why) => why.clone(),
    };
    match answer.err.trim().lines().last() {
        Some(line) => format!("{} ({how})", line.trim_start_matches("error: ")),
        None => how,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_log_of_the_server_that_ended_is_read() {
        let of = |state: serde_json::Value, last: serde_json::Value| {
            let pod: Pod = serde_json::from_value(json!({"status": {"containerStatuses": [{"name": "db", "image": "i",
                "imageID": "", "ready": false, "restartCount": 1, "state": state, "lastState": last}]}}))
            .unwrap();
            ended(&pod, "db")
        };
        let (up, down) = (json!({"running": {}}), json!({"terminated": {"exitCode": 1}}));
        assert_eq!(of(up.clone(), json!({})), None, "it never ended");
        assert_eq!(of(down.clone(), json!({})), Some(false));
        assert_eq!(of(up, down.clone()), Some(true));
        assert_eq!(of(json!({"waiting": {"reason": "CrashLoopBackOff"}}), down), Some(true));
    }
}
