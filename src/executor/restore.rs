//! The hands of a restore in place: what each step of its fold does to the world.
//!
//! Every effect may have happened before, wholly or in part, by a process that died or by a request whose answer was
//! lost: deletes carry a uid, creates are recognised by a label, patches are repeated. Unknown is never success.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures::future::join_all;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

use super::signals::Signals;
use super::{Fold, Hands, Log, Stop};
use crate::cluster::client::Cluster;
use crate::lease::Leases;
use crate::output::progress::Progress;
use crate::plan::restore::{RestorePlan, Volume, Workload};
use crate::platform::workload;
use crate::pods::PodState;
use crate::protocol::restore::{Event, Outcome, Run, Step};
use crate::protocol::{Abort, IllegalEvent};
use crate::record::entry::Detail;
use open::Course;

mod anew;
mod archive;
mod claims;
mod compare;
mod copies;
mod discard;
mod open;
mod recover;
mod restored;
mod secure;
mod source;
mod stored;

pub use anew::{bring_back, make_aliases, remove_aliases};
pub use copies::{make_copies, make_copy};
pub use source::{manifests, overlapping, restoring, source, source_of, undoable};
pub use stored::{RestoreJournal, Way, delete, discarded, is_open, lead, record, stopped, thaw_command};

/// How long stopping may take beyond the pods' own grace period: detaching a volume takes its time.
const STOPPING: Duration = Duration::from_secs(180);
/// How long replacing a claim may take: its protection waits for the kubelet.
const REPLACING: Duration = Duration::from_secs(180);
/// How long each part of the way back is tried at least. It is the only way there is.
const BACK: Duration = Duration::from_secs(600);

/// How long the restored volumes are told to stay before a restore is undone.
const KEEPING: Duration = Duration::from_secs(60);

/// What a restore in place needs of the world.
pub struct Restore<'a> {
    /// The cluster, to which nothing is written that is not this process' own any more.
    pub cluster: Cluster,
    /// The plan.
    pub plan: RestorePlan,
    /// The pods before the stop.
    pub before: Vec<PodState>,
    /// One lease for each pod that is replaced.
    pub leases: &'a Leases,
    /// Ctrl-C and its like.
    pub signals: Signals,
    /// What the user sees.
    pub progress: &'a Progress,
    /// The restored volumes that stay after the way back, by `NAMESPACE/CLAIM`, as they were before they were told to.
    pub kept: BTreeMap<String, Volume>,
    /// When starting and recovering must be over; set with the intent to start.
    deadline: Option<Instant>,
}

/// Why a step of the way forward did not succeed.
type Broken = (Abort, String);

impl<'a> Restore<'a> {
    /// The hands of this plan's run.
    pub fn new(
        cluster: &Cluster,
        plan: RestorePlan,
        before: Vec<PodState>,
        leases: &'a Leases,
        signals: Signals,
        progress: &'a Progress,
    ) -> Self {
        let cluster = leases.own(cluster);
        Self { cluster, plan, before, leases, signals, progress, kept: BTreeMap::new(), deadline: None }
    }

    /// Ends when the restore must not go on: a signal, the time, a lost lease.
    async fn broken(&self) -> Broken {
        let late = async {
            match self.deadline {
                // A little later than the steps themselves, which know what they were waiting for.
                Some(at) => sleep_until(at + Duration::from_secs(5)).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = self.signals.first() => (Abort::Signal, "interrupted".to_owned()),
            () = late => (Abort::Budget, format!("it did not serve within {} s", self.plan.wait.as_secs())),
            why = self.never_recovers(), if self.deadline.is_some() => (Abort::Step, why),
            // Nothing is held here, so a slow API server is no reason to go back; and who takes the run over takes its
            // journal, so that this process cannot write its next intent.
            why = self.leases.until_lost_for_good() => (Abort::Step, why),
        }
    }

    /// A step forward: what breaks it leads back.
    async fn forward(&self, log: &mut Log<Run>, event: Event, work: impl Future<Output = Result<(), Broken>>) {
        let result = tokio::select! {
            biased;
            broken = self.broken() => Err(broken),
            result = work => result,
        };
        match result {
            Ok(()) => {
                log.happened(event, Detail::default());
            }
            Err((reason, text)) => log.abort(reason, text),
        }
    }

    /// A step back. Nothing interrupts it: there is no other way to the old data.
    fn back(log: &mut Log<Run>, event: Event, result: Result<(), String>) {
        match result {
            Ok(()) => log.happened(event, Detail::default()),
            Err(why) => log.happened(Event::GivenUp, Detail::text(why)),
        };
    }

    /// Scales to 0 and waits until nothing is left that could write.
    async fn stop(&self, course: Course, beyond: Duration) -> Result<(), String> {
        let grace = self.plan.workloads.iter().map(|w| w.grace).max().unwrap_or_default();
        let claims: BTreeSet<String> = self.plan.claims.iter().map(|c| format!("{}/{}", c.namespace, c.name)).collect();
        let volumes: BTreeSet<String> = self.plan.old_volumes().map(|v| v.name.clone()).collect();
        let until = Instant::now() + grace + beyond;
        self.no_helper(until).await?;
        self.stop_fronts(course, until).await?;
        let databases: Vec<Workload> = self.plan.databases().cloned().collect();
        let say = |text: &str| self.progress.step(text);
        workload::stop(&self.cluster, &databases, &claims, &volumes, until, say).await
    }

    /// Scales up the databases and waits until all their pods are ready.
    async fn start(&self) -> Result<(), Broken> {
        let wanted: Vec<_> = self.plan.databases().map(|w| (w, w.start, w.start)).collect();
        let until = self.deadline.unwrap_or_else(Instant::now);
        workload::start(&self.cluster, &wanted, until, |text| self.progress.step(text))
            .await
            .map_err(|why| (Abort::Budget, why))
    }

    /// Scales to what it was, and waits until as many pods are ready as were before the stop.
    ///
    /// What stands in front of the databases follows, with the properties that it had.
    async fn start_again(&self, opened: bool) -> Result<(), String> {
        fn as_before(w: &Workload) -> (&Workload, i32, i32) {
            (w, w.replicas, w.ready.min(w.replicas))
        }
        let until = Instant::now() + self.plan.wait.max(BACK);
        let databases: Vec<_> = self.plan.databases().map(as_before).collect();
        workload::start(&self.cluster, &databases, until, |text| self.progress.step(text)).await?;
        if opened {
            self.edit_all(Course::Back, until).await?;
        }
        let fronts = self.fronts(Course::Back, until).await?;
        let fronts: Vec<_> = fronts.iter().map(as_before).collect();
        workload::start(&self.cluster, &fronts, until, |text| self.progress.step(text)).await
    }

    async fn replace(&self, log: &mut Log<Run>, claims: &[usize]) {
        self.progress.step(&format!("replacing {} claim{}", claims.len(), if claims.len() == 1 { "" } else { "s" }));
        let (tell, told) = mpsc::unbounded_channel();
        let until = Instant::now() + REPLACING;
        let work = join_all(claims.iter().map(|&c| {
            let tell = tell.clone();
            async move {
                let event = match self.replace_claim(&self.plan.claims[c], until).await {
                    Ok(()) => (Event::Replaced(c), Detail::default()),
                    Err(why) => (Event::Aborted(Abort::Step), Detail::text(why)),
                };
                // The receiver is in this function and outlives all senders.
                let _ = tell.send(event);
            }
        }));
        let is_last = |event: &Event| matches!(event, Event::Aborted(_));
        log.attend(async { drop(work.await) }, told, self.broken(), is_last).await;
    }

    async fn claims_back(&self, log: &mut Log<Run>, claims: &[usize]) {
        self.progress.step("going back to the old volumes");
        let until = Instant::now() + BACK;
        let results = join_all(claims.iter().map(|&c| self.bring_back(&self.plan.claims[c], until))).await;
        // All that worked first: giving up ends the run.
        let mut given_up = None;
        for (&c, result) in claims.iter().zip(results) {
            match result {
                Ok(()) => {
                    log.happened(Event::ClaimBack(c), Detail::default());
                }
                Err(why) => given_up = Some(why),
            }
        }
        if let Some(why) = given_up {
            log.happened(Event::GivenUp, Detail::text(why));
        }
    }
}

impl Fold for Run {
    type Event = Event;
    type Step = Step;
    type Outcome = Outcome;

    fn apply(&mut self, event: &Event) -> Result<(), IllegalEvent<Event>> {
        Run::apply(self, event)
    }
    fn next(&self) -> Step {
        Run::next(self)
    }
    fn intents(&self, step: &Step) -> Vec<Event> {
        Run::intents(self, step)
    }
    fn recovery(&self) -> Vec<Event> {
        Run::recovery(self)
    }
    fn aborted(reason: Abort) -> Event {
        Event::Aborted(reason)
    }
    fn outcome(step: &Step) -> Option<Outcome> {
        match step {
            Step::Finish(outcome) => Some(*outcome),
            _ => None,
        }
    }
}

impl Hands<Run> for Restore<'_> {
    fn intending(&mut self, step: &Step) {
        // A process that takes over starts anew: what the dead one waited is not known.
        if matches!(step, Step::Start | Step::Recover(_) | Step::Open | Step::Compare) && self.deadline.is_none() {
            self.deadline = Some(Instant::now() + self.plan.wait);
        }
    }

    async fn perform(&mut self, log: &mut Log<Run>, step: Step) -> Result<(), Stop> {
        if log.run.may_be_down() {
            self.signals.set_held(self.plan.workloads.iter().map(|w| format!("{} is stopped", w.path())).collect());
        }
        match step {
            Step::Secure => {
                if !self.plan.claims.is_empty() {
                    self.progress.step("securing the old volumes: reclaim policy Retain");
                }
                let undoing = log.run.is_undoing();
                if undoing && let Err(why) = self.keep_all(log, Instant::now() + KEEPING).await {
                    log.abort(Abort::Step, why);
                    return Ok(());
                }
                self.forward(log, Event::Secured, self.secure(!undoing)).await;
            }
            Step::ReadBack => {
                if !self.plan.claims.is_empty() {
                    self.progress.step("reading back that nothing can delete the old volumes");
                }
                let run = log.run.clone();
                self.forward(log, Event::ReadBack, self.read_back(&run)).await;
            }
            Step::Stop => {
                self.progress.step("stopping");
                let stopping = async { self.stop(Course::Forward, STOPPING).await.map_err(|why| (Abort::Step, why)) };
                self.forward(log, Event::Stopped, stopping).await;
            }
            Step::Replace(claims) => self.replace(log, &claims).await,
            Step::Prepare => {
                self.progress.step("preparing the recovery from the archive");
                self.forward(log, Event::Prepared, self.prepare()).await;
            }
            Step::Start => {
                if !self.plan.claims.is_empty() {
                    self.progress.step("starting on the restored volumes");
                }
                self.forward(log, Event::Started, self.start()).await;
            }
            Step::Recover(targets) => self.recover(log, &targets).await,
            Step::Open => {
                self.progress.step("starting what stands in front of the databases");
                self.forward(log, Event::Opened, self.open()).await;
            }
            Step::Compare => self.compare(log).await,
            Step::BackStop => {
                self.progress.step("going back: stopping");
                let stopped = match self.keep_all(log, Instant::now() + BACK).await {
                    Ok(()) => self.stop(Course::Back, BACK).await,
                    Err(why) => Err(why),
                };
                Self::back(log, Event::BackStopped, stopped);
            }
            Step::BackClaims(claims) => self.claims_back(log, &claims).await,
            Step::BackStart => {
                self.progress.step(if self.plan.claims.is_empty() {
                    "starting again"
                } else {
                    "starting on the old volumes"
                });
                let result = self.start_again(log.run.may_have_opened()).await;
                self.show_pods_after(log).await;
                Self::back(log, Event::BackStarted, result);
            }
            Step::Restate => self.restate(log).await,
            Step::Finish(_) => {}
        }
        // The next intent may take long to be written, and what is down stays so meanwhile.
        if !log.run.may_be_down() {
            self.signals.set_held(Vec::new());
        }
        Ok(())
    }
}
