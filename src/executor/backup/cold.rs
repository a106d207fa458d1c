//! A cold attempt: the workloads are stopped before the cut and started after it, in place of hold and release.

use std::collections::BTreeSet;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep};

use super::{Backup, failed};
use crate::clock::Clock;
use crate::executor::{Log, Told};
use crate::platform::workload;
use crate::pods::{improves, restarted};
use crate::protocol::backup::{Event, Held, Run};
use crate::record::entry::Detail;

/// How often it is looked whether everything is still stopped.
const LOOK: Duration = Duration::from_millis(500);
/// How often ending databases are looked at: who was killed is gone within a second.
const ENDING: Duration = Duration::from_millis(200);
/// How long it is tried to start the workloads before they count as stuck.
const START: Duration = Duration::from_secs(600);
/// How long pods may take to look as they did: a database may have to recover first.
const SETTLING: Duration = Duration::from_secs(600);

impl Backup<'_> {
    /// Scales to 0 and waits until nothing is left that could write. Clean ends bring all to the device: a database
    /// writes what it has when it is told to end, and a file system when it is unmounted, so there is no flush.
    pub(super) async fn stop(&self, log: &mut Log<Run>, targets: &[usize]) {
        self.progress.step("stopping the workloads");
        let clock = log.clock;
        let sent = clock.now();
        let until = self.state.deadline.unwrap_or_else(Instant::now);
        let (tell, told) = mpsc::unbounded_channel();
        let (claims, volumes) = self.copied();
        let work = async {
            let stopped = async {
                self.keeps_claims().await?;
                tokio::select! {
                    biased;
                    why = self.killed(&clock) => Err(why),
                    stopped = self.stop_all(&claims, &volumes, until) => stopped,
                }
            };
            match stopped.await {
                Ok(()) => {
                    self.progress.say("stopped: no pod of theirs is left, and no VolumeAttachment");
                    for &t in targets {
                        let _ = tell.send((Event::Quiesced(t), Detail { sent: Some(sent), ..Detail::default() }));
                    }
                }
                Err(why) => {
                    let _ = tell.send(failed(why));
                }
            }
        };
        self.attend(log, work, told).await;
    }

    /// Tells if something is started while the storage cuts: those cuts are worth nothing.
    pub(super) async fn started_early(&self, tell: mpsc::UnboundedSender<Told<Event>>) {
        loop {
            if let Ok(Some(why)) = self.standing().await {
                let _ =
                    tell.send((Event::HoldLost(0), Detail::text(format!("it was started while it was cut: {why}"))));
                return;
            }
            sleep(LOOK).await;
        }
    }

    /// Looks whether everything is still stopped, and starts it. Not interrupted by anything.
    pub(super) async fn start(&self, log: &mut Log<Run>, targets: &[usize]) {
        for &t in targets {
            log.happened(Event::ThawSent(t), Detail::default());
        }
        let (held, why) = match self.standing().await {
            Ok(None) => (Held::Yes, None),
            Ok(Some(why)) => (Held::No, Some(why)),
            Err(why) => (Held::Unknown, Some(why)),
        };
        self.progress.step("starting the workloads");
        let started = tokio::select! {
            started = self.start_all() => started,
            why = self.leases.until_lost_for_good() => Err(why),
        };
        for &t in targets {
            match &started {
                Ok(()) => {
                    let detail = why.as_ref().map_or_else(Detail::default, |why| {
                        Detail::text(format!("it was not seen stopped until it was started: {why}"))
                    });
                    log.happened(Event::Thawed { target: t, held }, detail);
                }
                Err(why) => {
                    log.happened(Event::ThawGivenUp(t), Detail::text(format!("it could not be started again: {why}")));
                }
            }
        }
    }

    /// Takes the second pod table once the pods look as they did, or after the time that this may take. Number, STATUS,
    /// readiness and images count; that they are other pods is what was asked for.
    pub(super) async fn compare_restarted(&mut self, log: &mut Log<Run>) {
        self.progress.step("started: comparing the pods");
        let until = Instant::now() + SETTLING;
        let wanted = self.plan.stopped.iter().map(|w| usize::try_from(w.replicas).unwrap_or(0)).sum();
        loop {
            let late = Instant::now() >= until || self.signals.came();
            match self.pods().await {
                Ok(after) => {
                    let differ = restarted(&self.state.before, &after, wanted, &[]);
                    if differ.iter().all(improves) || late {
                        log.store("pods.after", &after);
                        self.state.after.clone_from(&after);
                        let (same, detail) = Detail::of_restart(differ);
                        log.happened(Event::Compared { same }, detail);
                        return;
                    }
                }
                Err(why) if late => {
                    let (event, detail) = failed(why);
                    log.happened(event, detail);
                    return;
                }
                Err(_) => {}
            }
            sleep(LOOK).await;
        }
    }

    /// A StatefulSet whose policy was changed since the plan would take its claims along.
    async fn keeps_claims(&self) -> Result<(), String> {
        for of in self.plan.stopped.iter().filter(|of| of.kind == "StatefulSet") {
            let now = workload::read(self.cluster, &of.kind, &of.namespace, &of.name).await?;
            if now.and_then(|now| now.retention).is_some_and(|retention| retention.when_scaled == "Delete") {
                return Err(format!("{}: whenScaled is Delete now: stopping it would delete its claims", of.path()));
            }
        }
        Ok(())
    }

    /// Ends when a database was seen killed, or still at work when its time to end was over: it has not written all that
    /// it would have.
    async fn killed(&self, clock: &Clock) -> String {
        loop {
            for of in &self.plan.stopped {
                let pods = workload::pods(self.cluster, of).await.unwrap_or_default();
                let of_it = |pod: &Pod| {
                    let targets = self.plan.targets.iter().filter(|t| pod.metadata.name.as_ref() == Some(&t.pod));
                    targets.into_iter().any(|t| was_killed(pod, &t.container, clock.now()))
                };
                if let Some(pod) = pods.iter().find(|pod| of_it(pod)) {
                    return format!(
                        "pod/{}: it was killed before it had ended by itself; its terminationGracePeriodSeconds is {}, raise that",
                        pod.metadata.name.as_deref().unwrap_or_default(),
                        of.grace.as_secs()
                    );
                }
            }
            sleep(ENDING).await;
        }
    }

    async fn stop_all(
        &self,
        claims: &BTreeSet<String>,
        volumes: &BTreeSet<String>,
        until: Instant,
    ) -> Result<(), String> {
        let say = |text: &str| self.progress.step(text);
        Box::pin(workload::stop(&self.leases.own(self.cluster), &self.plan.stopped, claims, volumes, until, say)).await
    }

    /// Starts what is down because of us: what is gone, or another one now, nothing of ours keeps down; and what somebody
    /// scaled up meanwhile stays so.
    async fn start_all(&self) -> Result<(), String> {
        let until = Instant::now() + START;
        loop {
            let mut wanted = Vec::new();
            let mut unseen = None;
            for of in &self.plan.stopped {
                match workload::read(self.cluster, &of.kind, &of.namespace, &of.name).await {
                    Ok(Some(now)) if now.uid == of.uid && now.replicas == 0 => wanted.push((of, of.replicas, of.ready)),
                    Ok(Some(now)) if now.uid == of.uid => wanted.push((of, now.replicas, of.ready.min(now.replicas))),
                    // A pod is gone when it is stopped.
                    Ok(_) if of.kind == "Pod" => wanted.push((of, 1, of.ready)),
                    Ok(_) => self.progress.say(&format!("{} is gone, or another one now: it is left alone", of.path())),
                    Err(why) => unseen = Some(why),
                }
            }
            let say = |text: &str| self.progress.step(text);
            match unseen {
                None => {
                    let own = self.leases.own(self.cluster);
                    let up: Vec<_> = wanted.iter().map(|(of, replicas, _)| (*of, *replicas, 0)).collect();
                    workload::start(&own, &up, until, say).await?;
                    // It is up: that it takes long to serve is told, and nothing that another start could help.
                    if let Err(why) = workload::start(&own, &wanted, until, say).await {
                        self.progress.say(&why);
                    }
                    return Ok(());
                }
                Some(why) if Instant::now() >= until => return Err(why),
                Some(why) => say(&format!("starting: {why}")),
            }
            sleep(LOOK).await;
        }
    }

    /// What could still write, or `None`.
    async fn standing(&self) -> Result<Option<String>, String> {
        let (claims, volumes) = self.copied();
        Box::pin(workload::standing(self.cluster, &self.plan.stopped, &claims, &volumes)).await
    }

    /// The claims that are cut, as `NAMESPACE/NAME`, and their volumes.
    fn copied(&self) -> (BTreeSet<String>, BTreeSet<String>) {
        let claims = &self.plan.claims;
        (
            claims.iter().map(|c| format!("{}/{}", c.namespace, c.name)).collect(),
            claims.iter().map(|c| c.volume.clone()).collect(),
        )
    }
}

/// Whether this container was ended by SIGKILL, or works on past the time that its pod was given to end.
fn was_killed(pod: &Pod, container: &str, now: Timestamp) -> bool {
    let Some(deadline) = &pod.metadata.deletion_timestamp else { return false };
    let statuses = pod.status.iter().flat_map(|s| s.container_statuses.iter().flatten());
    let state = statuses.filter(|s| s.name == container).find_map(|s| s.state.as_ref());
    match state.and_then(|s| s.terminated.as_ref()) {
        Some(ended) => ended.exit_code == 128 + 9,
        None => deadline.0 <= now,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_database_that_was_killed_has_not_ended() {
        let at = |time: &str| -> Timestamp { time.parse().unwrap() };
        let pod = |state: serde_json::Value| -> Pod {
            serde_json::from_value(json!({"metadata": {"name": "db-0", "deletionTimestamp": "2026-11-20T10:00:30Z"},
                "status": {"containerStatuses": [{"name": "db", "image": "x", "imageID": "", "ready": false,
                    "restartCount": 0, "state": state}]}}))
            .unwrap()
        };
        let (early, late) = (at("2026-11-20T10:00:10Z"), at("2026-11-20T10:00:30Z"));
        let works = pod(json!({"running": {}}));
        assert!(!was_killed(&works, "db", early) && was_killed(&works, "db", late));
        let ended = |code: i32| pod(json!({"terminated": {"exitCode": code}}));
        assert!(was_killed(&ended(137), "db", early));
        // Its pod may stay for its volumes.
        assert!(!was_killed(&ended(0), "db", late));
        assert!(!was_killed(&ended(143), "db", late));
        assert!(!was_killed(&Pod::default(), "db", late), "nobody ends it");
    }
}
