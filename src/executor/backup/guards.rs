//! The guard pod: started right before the first pause, and seen gone before anybody else may pause.

use std::time::{Duration, SystemTime};

use futures::future::join_all;
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::{DeleteParams, ListParams, PostParams};
use tokio::time::{Instant, sleep};

use super::Backup;
use crate::cluster::client::{Cluster, explain, is_already_exists};
use crate::cluster::discovery::reselect;
use crate::labels::{PART, RUN};
use crate::plan::Plan;
use crate::plan::guard_pod::{GUARD, LATE, Watched, guard_pod, is_of, namespaces, unlimited};
use crate::quiescer::Token;

/// How long it may take until it is armed: an image may have to be pulled.
const START: Duration = Duration::from_secs(90);
/// How long its end may take.
const END: Duration = Duration::from_secs(60);
/// Between two looks at one that is armed.
const WATCH: Duration = Duration::from_secs(1);
/// Between two looks.
const LOOK: Duration = Duration::from_millis(200);
/// It was armed at most so long before it was seen to be: the kubelet looks each second.
const UNSEEN: Duration = Duration::from_millis(1500);

impl Backup<'_> {
    /// Starts the guards of this attempt and waits until all are armed: until when they leave the pauses alone.
    pub(super) async fn start_guards(&self, token: &Token) -> Result<Option<(Instant, SystemTime)>, String> {
        let Some(image) = &self.plan.guard_image else { return Ok(None) };
        let all = self.watched().await?;
        // All at once: each counts from its own start.
        let starts = namespaces(&self.plan).into_iter().map(|namespace| {
            let watched: Vec<Watched> = all.iter().filter(|one| one.namespace == namespace).cloned().collect();
            let pod = guard_pod(&self.plan, image, token, namespace, &watched);
            async move { self.start_guard(&pod, namespace).await }
        });
        let until = join_all(starts).await.into_iter().collect::<Result<Vec<Instant>, String>>()?;
        let left = |at: Instant| at.saturating_duration_since(Instant::now());
        Ok(until.into_iter().min().map(|at| (at, SystemTime::now() + left(at))))
    }

    async fn start_guard(&self, pod: &Pod, namespace: &str) -> Result<Instant, String> {
        let api: Api<Pod> = Api::namespaced(self.cluster.api.clone(), namespace);
        let name = pod.metadata.name.clone().unwrap_or_default();
        self.progress.step(&format!("waiting until guard pod/{name} is armed"));
        // Not broken off by anything: a request that is dropped on its way makes a guard that nobody ends.
        match api.create(&PostParams::default(), pod).await {
            Err(e) if !is_already_exists(&e) => {
                return Err(format!("guard pod/{name} could not be made: {}", explain(&e)));
            }
            _ => {}
        }
        let end = Instant::now() + START;
        let mut why = String::from("it is not known to run");
        while Instant::now() < end {
            if self.signals.came() {
                return Err("interrupted".to_owned());
            }
            match api.get(&name).await {
                Ok(pod) if is_armed(&pod) => return Ok(Instant::now() - UNSEEN + self.plan.budget + LATE),
                Ok(pod) => match state(&pod) {
                    State::Ended(said) => return Err(format!("guard pod/{name} has ended: {said}")),
                    State::Waiting(said) => why = said,
                },
                Err(e) => why = explain(&e),
            }
            sleep(LOOK).await;
        }
        Err(format!("guard pod/{name} was not armed within {} s: {why}", START.as_secs()))
    }

    /// What is to be watched, with the addresses of now.
    async fn watched(&self) -> Result<Vec<Watched>, String> {
        let pods = reselect(&self.cluster.api, &self.plan.selections).await.map_err(|e| explain(&e))?;
        let mut watched = Vec::new();
        for target in unlimited(&self.plan) {
            let pod = pods.iter().find(|pod| pod.metadata.uid.as_deref() == Some(&target.pod_uid));
            let ip = pod.and_then(|pod| pod.status.as_ref()?.pod_ip.clone());
            watched.push(Watched {
                path: target.path(),
                namespace: target.namespace.clone(),
                ip: ip.ok_or_else(|| format!("{} has no address", target.path()))?,
                endpoint: target.endpoint.clone().ok_or_else(|| format!("{} has no admin port", target.path()))?,
                adapter: target.adapter.clone(),
                probe: target.probe.clone(),
            });
        }
        Ok(watched)
    }

    /// Ends when a guard is seen that would not act any more: the pause has no other net. Never where none was started.
    pub(super) async fn guard_lost(&self) -> String {
        if self.state.guarded.is_none() {
            return std::future::pending().await;
        }
        loop {
            sleep(WATCH).await;
            for namespace in namespaces(&self.plan) {
                let guards = of_run(self.cluster, &self.plan, namespace).await;
                // What does not answer says nothing of the guard.
                if let Ok(guards) = guards
                    && !guards.iter().any(is_armed)
                {
                    return format!("the guard pod in namespace {namespace} is gone, or not armed any more");
                }
            }
        }
    }

    /// Whether a guard may have released by now what it guards: this process may have been stopped, or its machine have
    /// slept, for which its own clock stands still.
    pub(super) fn may_be_released(&self) -> bool {
        self.state.guarded.is_some_and(|(at, wall)| Instant::now() >= at || SystemTime::now() >= wall)
    }

    /// Ends the run's guards.
    pub async fn end_guards(&self) -> Result<(), String> {
        end(self.cluster, &self.plan).await
    }
}

fn labelled(run: &str) -> ListParams {
    ListParams::default().labels(&format!("{RUN}={run},{PART}={GUARD}"))
}

async fn of_run(cluster: &Cluster, plan: &Plan, namespace: &str) -> Result<Vec<Pod>, kube::Error> {
    let api: Api<Pod> = Api::namespaced(cluster.api.clone(), namespace);
    Ok(api.list(&labelled(&plan.run)).await?.items.into_iter().filter(|pod| is_of(pod, plan)).collect())
}

/// Ends the guards of a run, and waits until they are gone: one that is left would end somebody else's pause.
pub async fn end(cluster: &Cluster, plan: &Plan) -> Result<(), String> {
    if plan.guard_image.is_none() {
        return Ok(());
    }
    let until = Instant::now() + END;
    let mut last = String::new();
    while Instant::now() < until {
        let mut left = false;
        for namespace in namespaces(plan) {
            match of_run(cluster, plan, namespace).await {
                Ok(guards) => {
                    let api: Api<Pod> = Api::namespaced(cluster.api.clone(), namespace);
                    for name in guards.iter().filter_map(|pod| pod.metadata.name.as_deref()) {
                        (left, last) = (true, format!("pod/{name} in namespace {namespace} is still there"));
                        let _ = api.delete(name, &DeleteParams::default()).await;
                    }
                }
                Err(e) => (left, last) = (true, explain(&e)),
            }
        }
        if !left {
            return Ok(());
        }
        sleep(LOOK).await;
    }
    Err(last)
}

fn is_armed(pod: &Pod) -> bool {
    let conditions = pod.status.iter().flat_map(|status| status.conditions.iter().flatten());
    conditions.into_iter().any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

enum State {
    Ended(String),
    Waiting(String),
}

/// Why it is not armed yet, or will never be.
fn state(pod: &Pod) -> State {
    let status = pod.status.as_ref();
    let container = status.and_then(|s| s.container_statuses.as_ref()?.first()?.state.as_ref());
    if let Some(terminated) = container.and_then(|state| state.terminated.as_ref()) {
        let said = terminated.message.as_deref().and_then(|text| text.trim().lines().last()).unwrap_or_default();
        return State::Ended(format!("exit code {}: {said}", terminated.exit_code));
    }
    let waiting = container.and_then(|state| state.waiting.as_ref());
    let said = waiting
        .map(|w| [w.reason.as_deref(), w.message.as_deref()].into_iter().flatten().collect::<Vec<_>>().join(": "));
    let phase = status.and_then(|s| s.phase.clone()).unwrap_or_default();
    State::Waiting(said.filter(|said| !said.is_empty()).unwrap_or(phase))
}
