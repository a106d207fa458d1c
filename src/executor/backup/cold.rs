//! A cold attempt: the workloads are stopped before the cut and started after it, in place of hold and release.

use std::collections::BTreeSet;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{Instant, sleep};

use super::{Backup, failed};
use crate::executor::{Log, Told};
use crate::platform::workload;
use crate::pods::{brief, improves, restarted};
use crate::protocol::backup::{Event, Held, Run};
use crate::record::entry::Detail;

/// How often it is looked whether everything is still stopped.
const LOOK: Duration = Duration::from_millis(500);
/// How long it is tried to start the workloads before they count as stuck.
const START: Duration = Duration::from_secs(600);
/// How long pods may take to look as they did: a database may have to recover first.
const SETTLING: Duration = Duration::from_secs(600);
/// How long a lost lease is waited for: an API server that was away for a while is no other process.
const LEASE_BACK: Duration = Duration::from_secs(30);

impl Backup<'_> {
    /// Scales to 0 and waits until nothing is left that could write. Clean ends bring all to the device: a database
    /// writes what it has when it is told to end, and a file system when it is unmounted, so there is no flush.
    pub(super) async fn stop(&self, log: &mut Log<Run>, targets: &[usize]) {
        self.progress.step("stopping the workloads");
        let sent = log.clock.now();
        let until = self.state.deadline.unwrap_or_else(Instant::now);
        let (tell, told) = mpsc::unbounded_channel();
        let (claims, volumes) = self.copied();
        let work = async {
            let stopped = async {
                self.keeps_claims().await?;
                let begun = Instant::now();
                self.stop_all(&BTreeSet::new(), &BTreeSet::new(), until).await?;
                // Whoever was killed at the end of his time has not written all that he would have.
                if let Some(late) = self.plan.stopped.iter().find(|w| begun.elapsed() >= w.grace) {
                    return Err(format!(
                        "{}: ending took the whole terminationGracePeriodSeconds of {} s, so it may have been killed \
                         before it had written everything; raise that",
                        late.path(),
                        late.grace.as_secs()
                    ));
                }
                self.stop_all(&claims, &volumes, until).await
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
            why = self.lost_for_good() => Err(why),
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
                    let differ = restarted(&self.state.before, &after, wanted);
                    let spoilt: Vec<_> = differ.iter().filter(|d| !improves(d)).collect();
                    if spoilt.is_empty() || late {
                        log.store("pods.after", &after);
                        self.state.after.clone_from(&after);
                        let same = spoilt.is_empty();
                        let mut detail = if same {
                            Detail::default()
                        } else {
                            Detail::text(format!("the pods are not as they were: {}", brief(&spoilt)))
                        };
                        detail.differences = (!differ.is_empty()).then_some(differ);
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

    async fn stop_all(
        &self,
        claims: &BTreeSet<String>,
        volumes: &BTreeSet<String>,
        until: Instant,
    ) -> Result<(), String> {
        let say = |text: &str| self.progress.step(text);
        let ours = || self.leases.lost();
        Box::pin(workload::stop(self.cluster, &self.plan.stopped, claims, volumes, until, &ours, say)).await
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
                    let ours = || self.leases.lost();
                    let up: Vec<_> = wanted.iter().map(|(of, replicas, _)| (*of, *replicas, 0)).collect();
                    workload::start(self.cluster, &up, until, &ours, say).await?;
                    // It is up: that it takes long to serve is told, and nothing that another start could help.
                    if let Err(why) = workload::start(self.cluster, &wanted, until, &ours, say).await {
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

    /// Ends when the leases have been lost for so long that another process has the run.
    async fn lost_for_good(&self) -> String {
        loop {
            let why = self.leases.until_lost().await;
            sleep(LEASE_BACK).await;
            if self.leases.lost().is_some() {
                return why;
            }
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
