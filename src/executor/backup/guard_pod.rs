//! The guard pod: started right before the first pause, and seen gone before anybody else may pause.

use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::{DeleteParams, ListParams, PostParams};
use tokio::time::{Instant, sleep};

use super::Backup;
use crate::cluster::client::{explain, is_already_exists};
use crate::cluster::discovery::reselect;
use crate::labels::{PART, RUN};
use crate::plan::guard_pod::{GUARD, LATE, Watched, guard_pod, namespace, unlimited};
use crate::quiescer::Token;

/// How long it may take until it is armed: an image may have to be pulled.
const START: Duration = Duration::from_secs(90);
/// How long its end may take.
const END: Duration = Duration::from_secs(60);
/// Between two looks.
const LOOK: Duration = Duration::from_millis(200);
/// It was armed at most so long before it was seen to be: the kubelet looks each second.
const UNSEEN: Duration = Duration::from_millis(1500);

impl Backup<'_> {
    fn guards(&self) -> Option<Api<Pod>> {
        self.plan.guard_image.as_ref()?;
        Some(Api::namespaced(self.cluster.api.clone(), namespace(&self.plan)?))
    }

    /// Starts the guard of this attempt and waits until it is armed: until when it leaves the pauses alone.
    pub(super) async fn start_guard(&self, token: &Token) -> Result<Option<Instant>, String> {
        let (Some(api), Some(image)) = (self.guards(), &self.plan.guard_image) else { return Ok(None) };
        let pod = guard_pod(&self.plan, image, token, &self.watched().await?);
        let name = pod.metadata.name.clone().unwrap_or_default();
        self.progress.step(&format!("waiting until guard pod/{name} is armed"));
        match api.create(&PostParams::default(), &pod).await {
            Err(e) if !is_already_exists(&e) => {
                return Err(format!("guard pod/{name} could not be made: {}", explain(&e)));
            }
            _ => {}
        }
        let end = Instant::now() + START;
        let mut why = String::from("it is not known to run");
        while Instant::now() < end {
            match api.get(&name).await {
                Ok(pod) if is_armed(&pod) => return Ok(Some(Instant::now() - UNSEEN + self.plan.budget + LATE)),
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

    /// What it is to watch, with the addresses of now.
    async fn watched(&self) -> Result<Vec<Watched>, String> {
        let pods = reselect(&self.cluster.api, &self.plan.selections).await.map_err(|e| explain(&e))?;
        let mut watched = Vec::new();
        for target in unlimited(&self.plan) {
            let pod = pods.iter().find(|pod| pod.metadata.uid.as_deref() == Some(&target.pod_uid));
            let ip = pod.and_then(|pod| pod.status.as_ref()?.pod_ip.clone());
            watched.push(Watched {
                path: target.path(),
                ip: ip.ok_or_else(|| format!("{} has no address", target.path()))?,
                endpoint: target.endpoint.clone().ok_or_else(|| format!("{} has no admin port", target.path()))?,
                adapter: target.adapter.clone(),
                probe: target.probe.clone(),
            });
        }
        Ok(watched)
    }

    /// Ends the run's guards, and waits until they are gone: one that is left would end somebody else's pause.
    pub async fn end_guard(&self) -> Result<(), String> {
        let Some(api) = self.guards() else { return Ok(()) };
        let of_run = ListParams::default().labels(&format!("{RUN}={},{PART}={GUARD}", self.plan.run));
        let end = Instant::now() + END;
        let mut last = String::new();
        while Instant::now() < end {
            match api.list(&of_run).await {
                Ok(guards) if guards.items.is_empty() => return Ok(()),
                Ok(guards) => {
                    for name in guards.items.iter().filter_map(|pod| pod.metadata.name.as_deref()) {
                        last = format!("pod/{name} is still there");
                        let _ = api.delete(name, &DeleteParams::default()).await;
                    }
                }
                Err(e) => last = explain(&e),
            }
            sleep(LOOK).await;
        }
        Err(last)
    }
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
        return State::Ended(format!("exit code {}: see its log", terminated.exit_code));
    }
    let waiting = container.and_then(|state| state.waiting.as_ref());
    let said = waiting
        .map(|w| [w.reason.as_deref(), w.message.as_deref()].into_iter().flatten().collect::<Vec<_>>().join(": "));
    let phase = status.and_then(|s| s.phase.clone()).unwrap_or_default();
    State::Waiting(said.filter(|said| !said.is_empty()).unwrap_or(phase))
}
