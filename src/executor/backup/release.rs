//! The thaw: check and release over the open session, else by token from outside, until it is seen released.

use std::time::Duration;

use futures::future::join_all;
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, timeout};

use super::Backup;
use super::window::complaint;
use crate::cluster::client::is_not_found;
use crate::exec;
use crate::executor::Log;
use crate::plan::Target;
use crate::pods::{PodState, running_containers};
use crate::protocol::backup::{Event, Held, Run};
use crate::quiescer::{Answer, Released, Token, by_name};
use crate::record::entry::Detail;

/// At least this many tries before a target counts as stuck.
const TRIES: u32 = 5;
/// And at least this long after the end of the budget: by then its own deadline has released it, if only we can see it.
const BEYOND: Duration = Duration::from_secs(15);
/// How long the first answer may take over the open session. A session that does not answer is left for the other way.
const SESSION: Duration = Duration::from_secs(3);

/// How long a hold that was never answered is looked for at most.
const ARRIVAL: Duration = Duration::from_secs(60);
/// Between two such looks.
const AGAIN: Duration = Duration::from_secs(1);

/// How long a Lease that may be lost is asked for.
const CONFIRM: Duration = Duration::from_secs(5);

/// How a target was seen released.
struct Outcome {
    held: Held,
    detail: Detail,
}

impl Backup<'_> {
    /// Releases these targets, all at once. Not interrupted by anything: this is the one step that must come to its end.
    pub(super) async fn thaw(&self, log: &mut Log<Run>, targets: &[usize]) {
        self.progress.step("releasing");
        let token = self.token(log);
        let (tell, mut told) = mpsc::unbounded_channel();
        // Before anything is sent: the window ends here. Its write is on its way and is not waited for.
        for &t in targets {
            log.happened(Event::ThawSent(t), Detail::default());
        }
        {
            let work = join_all(targets.iter().map(|&t| {
                let (token, tell) = (&token, tell.clone());
                async move {
                    let _ = tell.send((t, self.thaw_one(t, token).await));
                }
            }));
            tokio::pin!(work);
            let mut left = targets.len();
            while left > 0 {
                tokio::select! {
                    biased;
                    Some((t, outcome)) = told.recv() => {
                        left -= 1;
                        match outcome {
                            Ok(Outcome { held, detail }) => {
                                // Who thaws must see what was done, and where nothing was to be done any more.
                                if let Some(text) = &detail.text {
                                    self.progress.say(text);
                                }
                                log.happened(Event::Thawed { target: t, held }, detail);
                            }
                            Err(why) => {
                                let path = self.target(t).path();
                                log.happened(Event::ThawGivenUp(t), Detail::text(format!("{path} could not be seen released: {why}")));
                            }
                        }
                    }
                    _ = &mut work => {}
                }
            }
        }
        // Closing waits for the other side: in the background, nothing is held any more.
        for &t in targets {
            let session = self.state.sessions[t].channels.clone();
            tokio::spawn(async move {
                if let Some(channels) = session.lock().await.take() {
                    channels.close().await;
                }
            });
        }
    }

    async fn thaw_one(&self, t: usize, token: &Token) -> Result<Outcome, String> {
        let at_hold = self.state.sessions[t].at_hold.lock().await.clone();
        if self.quiescer(t)?.holds_nothing(&at_hold) {
            return Ok(Outcome {
                held: Held::No,
                detail: Detail::text(format!("{}: it was not held", self.target(t).path())),
            });
        }
        let asked = *self.state.sessions[t].asked.lock().await;
        if self.state.own && asked.is_none() && self.target(t).endpoint.is_some() {
            // What is paused there is somebody else's.
            return Ok(Outcome {
                held: Held::No,
                detail: Detail::text(format!("{}: it was not asked", self.target(t).path())),
            });
        }
        // A hold that was never answered may be on its way still: not before its connection is gone is it looked for. What
        // a network that stood still has kept comes when it goes on, after as long again at most (TCP doubles its waits).
        let unanswered = self.target(t).endpoint.is_some() && !at_hold.first().is_some_and(Answer::ok);
        let mut late = None;
        if unanswered {
            self.state.sessions[t].channels.lock().await.take();
            late = asked.map(|asked| Instant::now() + asked.elapsed().min(ARRIVAL));
        }
        let (lost, mut last) = match self.thaw_by_session(t, token).await {
            Ok(outcome) => return Ok(outcome),
            // Seen lost is known, however it is released then; everything else is not.
            Err((held, why)) => (if held == Held::No { Held::No } else { Held::Unknown }, why),
        };
        let begun = Instant::now();
        let patience = [self.state.deadline, late].into_iter().flatten().fold(begun, Instant::max) + BEYOND;
        let mut pause = Duration::from_millis(100);
        for n in 1_u32.. {
            match self.release(t, token).await {
                // A hold whose answer never came may still be on its way in an open session: closed, and looked at again.
                Ok(_) if self.state.sessions[t].channels.lock().await.take().is_some() => continue,
                Ok(_) if late.is_some_and(|late| Instant::now() < late) => {
                    self.progress.step(&format!("seeing that no pause of {} arrives late", self.target(t).path()));
                    sleep(AGAIN).await;
                    continue;
                }
                Ok(why) => {
                    let text = if last.is_empty() { why } else { format!("{last}; {why}") };
                    let path = self.target(t).path();
                    return Ok(Outcome { held: lost, detail: Detail::text(format!("{path}: {text}")) });
                }
                Err(why) => {
                    // Who waits for seconds wants to know for what.
                    if n > 1 {
                        self.progress.step(&format!("releasing {}: {why}", self.target(t).path()));
                    }
                    last = why;
                }
            }
            // Not before: an open connection of the token is what proves a Redis pause to be ours. But where nothing
            // from outside gets through, the end of its input still ends a session that holds a lock.
            if n == 2 {
                self.state.sessions[t].channels.lock().await.take();
            }
            if n >= TRIES && Instant::now() >= patience {
                break;
            }
            sleep(pause).await;
            pause = (pause * 2).min(Duration::from_secs(2));
        }
        Err(last)
    }

    /// The way of the happy path: one message checks and releases.
    async fn thaw_by_session(&self, t: usize, token: &Token) -> Result<Outcome, (Held, String)> {
        let unknown = |why: String| (Held::Unknown, why);
        let (quiescer, target) = (self.quiescer(t).map_err(unknown)?, self.target(t));
        if self.state.sessions[t].channels.lock().await.is_none() {
            return Err(unknown(String::new()));
        }
        let script = quiescer.thaw(&target.probe, token);
        let answers = timeout(SESSION, self.talk(t, &script, Instant::now() + SESSION))
            .await
            .map_err(|_| unknown("its session did not answer".to_owned()))?
            .map_err(unknown)?;
        let at_hold = self.state.sessions[t].at_hold.lock().await.clone();
        let thawed = quiescer.read_thaw(&target.probe, &at_hold, &answers);
        let why = thawed.why.or_else(|| answers.last().filter(|a| !a.ok()).map(complaint)).unwrap_or_default();
        if !thawed.released {
            return Err((thawed.held, why));
        }
        // A release that is answered proves nothing where another one is, too.
        let (held, why) = if thawed.held == Held::Yes && only_by_guard(target) && self.may_be_released() {
            (Held::Unknown, "its guard may have released it before".to_owned())
        } else {
            (thawed.held, why)
        };
        let mut detail = match held {
            Held::Yes => Detail::default(),
            _ => Detail::text(format!("{}: the hold was lost before the release: {why}", target.path())),
        };
        detail.point = Some(thawed.point);
        Ok(Outcome { held, detail })
    }

    /// From outside: finds the owner by token, ends it, sees that it is gone. Says how it was found.
    async fn release(&self, t: usize, token: &Token) -> Result<String, String> {
        let (quiescer, target) = (self.quiescer(t)?, self.target(t));
        let pods: Api<Pod> = Api::namespaced(self.cluster.api.clone(), &target.namespace);
        match timeout(Duration::from_secs(5), pods.get(&target.pod)).await {
            Ok(Ok(pod)) => {
                if let Some(ended) = self.ended_with(target, &pod) {
                    return Ok(format!("{ended}: what was held ended with it"));
                }
            }
            Ok(Err(e)) if is_not_found(&e) => return Ok("the pod is gone: what was held ended with it".into()),
            // Not known: the database itself is asked.
            _ => {}
        }
        // A pause bears no name: who does not hold the Lease any more would end the next run's.
        if target.endpoint.is_some() && self.leases.lost().is_some() {
            self.leases.confirm(CONFIRM).await?;
        }
        let mut answers: Vec<Answer> = Vec::new();
        for act in quiescer.release(&target.probe, token) {
            let answer = exec::once(self.cluster, &self.place(t), &act).await;
            let ok = answer.ok();
            answers.push(answer);
            if !ok {
                break;
            }
        }
        match quiescer.read_release(&answers) {
            // A pause bears none.
            Released::Gone if target.endpoint.is_some() => Ok("it is not paused any more".into()),
            Released::Gone => Ok("released by its token".into()),
            Released::Unknown(why) => Err(why),
        }
    }

    /// What ended every process that this run spoke to, if the pod as it is now shows that.
    fn ended_with(&self, target: &Target, pod: &Pod) -> Option<&'static str> {
        if pod.metadata.uid.as_deref() != Some(&target.pod_uid) {
            return Some("the pod was replaced");
        }
        let now = PodState::of(pod);
        let number = running_containers(pod).iter().position(|c| c.name == target.container)?;
        let id = |state: &PodState| state.containers.get(number).filter(|id| !id.is_empty()).cloned();
        let before = self.state.before.iter().find(|p| p.path() == now.path()).and_then(id);
        if let (Some(before), Some(now)) = (before, id(&now))
            && before != now
        {
            return Some("the container was restarted");
        }
        let statuses = pod.status.iter().flat_map(|s| s.container_statuses.iter().flatten());
        let state = statuses.filter(|s| s.name == target.container).find_map(|s| s.state.as_ref())?;
        state.terminated.is_some().then_some("the container has ended")
    }
}

/// Whether nothing but a guard ends its hold, and its server does not tell if one did.
fn only_by_guard(target: &Target) -> bool {
    let told = by_name(&target.adapter).is_some_and(|quiescer| !quiescer.watch(&target.probe).is_empty());
    target.endpoint.is_some() && !told
}
