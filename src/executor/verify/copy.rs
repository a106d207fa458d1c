//! One copy: its claims, its policy and its pod, until its server was started.

use std::time::Duration;

use futures::future::join_all;
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::core::v1::{ConfigMap, ContainerState, ContainerStatus, Pod};
use kube::api::{Api, PostParams};
use kube::{Resource, ResourceExt};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::time::{Instant, sleep, timeout};

use super::{Broken, Verifier};
use crate::backend::csi::alias;
use crate::cluster::client::{Persisted, explain, is_already_exists, persist};
use crate::executor::restore::make_copy;
use crate::plan::verify::{Copy, PREPARE, is_own};
use crate::quiescer::verify::Checked;

/// How long one request is tried.
const REQUEST: Duration = Duration::from_secs(30);
/// How long what claims are made from may take: its two controllers are throttled.
const ALIASED: Duration = Duration::from_secs(180);
/// Pause between two looks.
const LOOK: Duration = Duration::from_millis(500);

/// What a pod's status says of its server.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Server {
    /// Not started; the text says what for it waits.
    Waiting(String),
    /// It runs.
    Runs,
    /// It was started, and has ended.
    Ended(String),
    /// It will never be started: what prepares it ended with this code.
    NotPrepared(i32),
    /// It was never started, and never will be.
    Never(String),
}

impl Verifier<'_> {
    /// Makes the claims, the policy and the pod. Never dropped while a request is on its way: it may be done after all was
    /// removed.
    pub(super) async fn make_all(&self, copy: &Copy, until: Instant) -> Result<(), Broken> {
        self.tell(copy, "making the copy");
        self.goes_on()?;
        // First: by them another process finds the namespace.
        let until = until.min(Instant::now() + ALIASED);
        let stops = || self.signals.came();
        let aliases = copy.claims.iter().filter_map(|claim| claim.alias.as_ref());
        let made = join_all(aliases.map(|of| alias::make(self.cluster, of, until, &stops))).await;
        let failed: Vec<String> = made.into_iter().filter_map(Result::err).collect();
        if !failed.is_empty() {
            return Err(Broken::Undecided(failed.join("; ")));
        }
        for map in &copy.config_maps {
            self.goes_on()?;
            // Another database's of this backup may have it too.
            self.make(map, |made| has_same_data(made, map)).await?;
        }
        for claim in &copy.claims {
            self.goes_on()?;
            let made = make_copy(self.cluster, claim, &self.plan.run).await;
            made.map_err(|why| Broken::Undecided(format!("persistentvolumeclaim/{}: {why}", claim.new_name)))?;
        }
        self.goes_on()?;
        // Before the pod: it is never reachable without its policy.
        let policy = &copy.policy;
        self.make(policy, |made| made.spec == policy.spec && made.metadata.deletion_timestamp.is_none()).await?;
        self.goes_on()?;
        self.make(&copy.pod, |_| true).await
    }

    /// Makes an object of the copy. One that is there already is an earlier try's whose answer was lost, or somebody else's.
    /// Only the object itself can tell: it must be a verification's own, and as `wanted`.
    async fn make<K>(&self, object: &K, wanted: impl Fn(&K) -> bool) -> Result<(), Broken>
    where
        K: Resource<Scope = NamespaceResourceScope> + Clone + std::fmt::Debug + DeserializeOwned + Serialize,
        K::DynamicType: Default,
    {
        let (namespace, name) = (object.namespace().unwrap_or_default(), object.name_any());
        let api: Api<K> = Api::namespaced(self.cluster.api.clone(), &namespace);
        let tried = persist(REQUEST, async || match api.create(&PostParams::default(), object).await {
            Err(e) if is_already_exists(&e) => api.get(&name).await,
            answer => answer,
        });
        let why = match tried.await {
            Persisted::Final(Ok(made)) if is_own(made.meta(), &self.plan.run) && wanted(&made) => return Ok(()),
            Persisted::Final(Ok(_)) => "one of this name was made by somebody else".to_owned(),
            Persisted::Final(Err(e)) => explain(&e),
            Persisted::Unknown(why) => format!("not known whether it was made: {why}"),
        };
        let kind = K::kind(&K::DynamicType::default()).to_lowercase();
        Err(Broken::Undecided(format!("{kind}/{name}: {why}")))
    }

    fn goes_on(&self) -> Result<(), Broken> {
        if self.signals.came() { Err(Broken::interrupted()) } else { Ok(()) }
    }

    /// Waits until the server runs. What was prepared before it is judged.
    pub(super) async fn start(&self, copy: &Copy, until: Instant, checks: &mut Vec<Checked>) -> Result<(), Broken> {
        let mut told = String::new();
        let mut judged = false;
        loop {
            let now = self.pod(copy).await?;
            if let Some(text) = now.as_ref().and_then(prepared).filter(|_| !judged) {
                checks.extend((copy.alone.read)(&text));
                judged = true;
            }
            let waiting = match now.as_ref().map(|pod| server(pod, &copy.target.container)) {
                Some(Server::Runs) => return Ok(()),
                Some(Server::Ended(why)) => return Err(Broken::Bad(why)),
                Some(Server::NotPrepared(code)) => {
                    return Err(Broken::Undecided(format!("it could not be prepared (exit code {code})")));
                }
                Some(Server::Never(why)) => return Err(Broken::Undecided(why)),
                Some(Server::Waiting(why)) => why,
                None => "the API server does not answer".to_owned(),
            };
            if Instant::now() >= until {
                return Err(Broken::Undecided(format!(
                    "it was not started within {} s: {waiting}",
                    self.wait.as_secs()
                )));
            }
            if told != waiting {
                self.tell(copy, &waiting);
                told = waiting;
            }
            sleep(LOOK).await;
        }
    }

    /// The pod now, or nothing where there was no answer. One that is gone or going was removed by somebody.
    async fn pod(&self, copy: &Copy) -> Result<Option<Pod>, Broken> {
        let api: Api<Pod> = Api::namespaced(self.cluster.api.clone(), &copy.namespace);
        let removed = || Broken::Undecided(format!("pod/{} was removed by somebody else", copy.name));
        match timeout(REQUEST, api.get_opt(&copy.name)).await {
            Ok(Ok(Some(pod))) if pod.metadata.deletion_timestamp.is_none() => Ok(Some(pod)),
            Ok(Ok(_)) => Err(removed()),
            Ok(Err(_)) | Err(_) => Ok(None),
        }
    }

    /// Why the server serves no more, if that can be seen.
    pub(super) async fn ended(&self, copy: &Copy) -> Result<(), Broken> {
        match self.pod(copy).await?.as_ref().map(|pod| server(pod, &copy.target.container)) {
            Some(Server::Ended(why)) => Err(Broken::Bad(why)),
            Some(Server::Never(why)) => Err(Broken::Undecided(why)),
            _ => Ok(()),
        }
    }
}

/// Whether two ConfigMaps say the same; the API server drops an empty field.
fn has_same_data(one: &ConfigMap, other: &ConfigMap) -> bool {
    let data = |map: &ConfigMap| (map.data.clone().unwrap_or_default(), map.binary_data.clone().unwrap_or_default());
    data(one) == data(other)
}

/// What our own container said, once it has ended.
fn prepared(pod: &Pod) -> Option<String> {
    let ended = status(pod, PREPARE)?.state.as_ref()?.terminated.as_ref()?;
    Some(ended.message.clone().unwrap_or_default())
}

fn status<'a>(pod: &'a Pod, container: &str) -> Option<&'a ContainerStatus> {
    let status = pod.status.as_ref()?;
    let mut all = status.init_container_statuses.iter().flatten().chain(status.container_statuses.iter().flatten());
    all.find(|s| s.name == container)
}

/// Why the cluster, and not its data, ended this server.
fn taken_away(pod: &Pod, reason: Option<&str>) -> Option<String> {
    // Evicted, Preempting, NodeShutdown, Terminated, DeadlineExceeded and their like: of a pod whose containers merely
    // ended nothing is said.
    let of_pod = pod.status.as_ref().and_then(|status| status.reason.clone());
    let deleted = pod.metadata.deletion_timestamp.as_ref().map(|_| "it was deleted".to_owned());
    let memory =
        reason.filter(|reason| *reason == "OOMKilled").map(|_| "it had too little memory (OOMKilled)".to_owned());
    of_pod.map(|reason| format!("its pod was ended: {reason}")).or(deleted).or(memory)
}

/// What the pod's status says of its server.
pub(super) fn server(pod: &Pod, container: &str) -> Server {
    let state = |name: &str| status(pod, name).and_then(|s| s.state.clone());
    match state(container) {
        Some(ContainerState { running: Some(_), .. }) => return Server::Runs,
        Some(ContainerState { terminated: Some(ended), .. }) if ended.started_at.is_some() => {
            if let Some(why) = taken_away(pod, ended.reason.as_deref()) {
                return Server::Never(why);
            }
            let said = ended.message.unwrap_or_default();
            let said = crate::quiescer::verify::capped(said.trim(), 600);
            let why = format!("the server ended with exit code {}", ended.exit_code);
            return Server::Ended(if said.is_empty() { why } else { format!("{why}: {said}") });
        }
        _ => {}
    }
    if let Some(code) = state(PREPARE).and_then(|s| s.terminated).map(|ended| ended.exit_code).filter(|code| *code != 0)
    {
        return Server::NotPrepared(code);
    }
    let status = pod.status.clone().unwrap_or_default();
    if matches!(status.phase.as_deref(), Some("Failed" | "Succeeded")) {
        let why = [status.reason, status.message].into_iter().flatten().collect::<Vec<_>>().join(": ");
        let failed = status.init_container_statuses.iter().flatten().find_map(|s| {
            let ended = s.state.as_ref()?.terminated.as_ref().filter(|ended| ended.exit_code != 0)?;
            Some(format!("its init container {} ended with exit code {}", s.name, ended.exit_code))
        });
        return Server::Never(failed.unwrap_or(if why.is_empty() { "its pod ended".to_owned() } else { why }));
    }
    let all = status.init_container_statuses.iter().flatten().chain(status.container_statuses.iter().flatten());
    let waits = all.filter_map(|s| {
        let waiting = s.state.as_ref()?.waiting.as_ref()?;
        let reason = waiting.reason.as_deref().filter(|r| !matches!(*r, "PodInitializing" | "ContainerCreating"))?;
        Some(format!("{reason}: {}", waiting.message.as_deref().unwrap_or_default()))
    });
    let unscheduled = status.conditions.iter().flatten().find(|c| c.type_ == "PodScheduled" && c.status == "False");
    let unscheduled =
        unscheduled.map(|c| format!("it is on no node yet: {}", c.message.as_deref().unwrap_or_default()));
    let checking = state(PREPARE).is_some_and(|s| s.running.is_some()).then(|| "preparing it".to_owned());
    let plain = || "waiting for its volumes and its image".to_owned();
    Server::Waiting(waits.into_iter().next().or(unscheduled).or(checking).unwrap_or_else(plain))
}
