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
/// How long the workloads may take to serve again before they count as stuck.
const START: Duration = Duration::from_secs(600);
/// How long pods may take to look as they did: STATUS and readiness settle after the start.
const SETTLING: Duration = Duration::from_secs(60);

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
            let say = |text: &str| self.progress.step(text);
            match workload::stop(self.cluster, &self.plan.stopped, &claims, &volumes, until, say).await {
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
        let wanted: Vec<_> = self.plan.stopped.iter().map(|w| (w, w.replicas, w.ready)).collect();
        let say = |text: &str| self.progress.step(text);
        let started = workload::start(self.cluster, &wanted, Instant::now() + START, say).await;
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
    pub(super) async fn compare_restarted(&self, log: &mut Log<Run>) {
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
