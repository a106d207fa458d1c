//! The hands of a backup: what each step of its fold does to the world.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use futures::future::BoxFuture;
use tokio::sync::{Mutex, mpsc};
use tokio::time::{Instant, sleep_until};

use super::signals::Signals;
use super::{Fold, Hands, Log, Stop, Told};
use crate::backend::Proof;
use crate::backend::command::Running;
use crate::backend::csi::Csi;
use crate::cluster::announce::{Announcer, Said};
use crate::cluster::client::Cluster;
use crate::cluster::pod_watch::{Changed, PodWatch};
use crate::exec::{Channels, Place};
use crate::lease::Leases;
use crate::manifests::Manifests;
use crate::output::progress::Progress;
use crate::plan::{Plan, Target, guard_pod};
use crate::pods::{PodState, words};
use crate::preflight::Planned;
use crate::protocol::backup::{Event, Outcome, Run, Step};
use crate::protocol::{Abort, IllegalEvent};
use crate::quiescer::{Answer, Quiescer, Token, by_name};
use crate::record::entry::Detail;
use crate::typed::Typed;

mod after;
mod archive;
mod begin;
mod cold;
pub mod guards;
mod release;
mod times;
mod window;

/// Makes the plan anew before an attempt is repeated: a replaced pod has another uid and perhaps another version.
pub type Replan<'a> = Box<dyn Fn() -> BoxFuture<'a, Result<Planned, String>> + Send + Sync + 'a>;

/// What a backup needs of the world.
pub struct Backup<'a> {
    /// The cluster.
    pub cluster: &'a Cluster,
    /// The plan; made anew before a repeated attempt.
    pub plan: Arc<Plan>,
    /// One lease for each pod with a target or a cut claim.
    pub leases: &'a Leases,
    /// Ctrl-C and its like.
    pub signals: Signals,
    /// What the user sees.
    pub progress: &'a Progress,
    /// How long to wait until copies can be restored from; `None` = as long as it takes.
    pub wait: Option<Duration>,
    /// Makes the plan anew; absent when an unfinished run is only brought to its end.
    pub replan: Option<Replan<'a>>,
    /// Told once all is held in a detached run.
    pub when_held: Option<Box<dyn Fn() + Send + Sync + 'a>>,
    announcer: Announcer,
    manifests: Manifests,
    removal: Duration,
    state: State,
}

/// How long the storage may take to remove a failed attempt's copies before they count as pending (design 5).
const REMOVAL: Duration = Duration::from_secs(60);

/// What this process knows beside the journal: open sessions, and when the budget ends.
#[derive(Default)]
struct State {
    /// The pods that the plan was made by.
    planned: Vec<PodState>,
    before: Vec<PodState>,
    after: Vec<PodState>,
    /// Follows the pods from the first table on.
    watch: Option<PodWatch>,
    sessions: Vec<Session>,
    /// The user's own command, while it runs.
    command: Arc<Mutex<Option<Running>>>,
    deadline: Option<Instant>,
    /// Until when the guard leaves alone what is held.
    guarded: Option<(Instant, SystemTime)>,
    /// Whether this process has held what is held, and so knows what it never asked for.
    own: bool,
}

/// What is open to one target.
#[derive(Clone, Default)]
struct Session {
    channels: Arc<Mutex<Option<Channels>>>,
    /// When the hold was begun.
    asked: Arc<Mutex<Option<Instant>>>,
    /// The hold's answers: some proofs are "still the same as then".
    at_hold: Arc<Mutex<Vec<Answer>>>,
}

impl<'a> Backup<'a> {
    /// The hands of this plan's run, and the pods that it was made by.
    pub fn new(
        cluster: &'a Cluster,
        Planned { plan, pods: planned, manifests }: Planned,
        leases: &'a Leases,
        signals: Signals,
        progress: &'a Progress,
        wait: Option<Duration>,
    ) -> Self {
        Self {
            cluster,
            announcer: Announcer::new(cluster, &plan),
            plan: Arc::new(plan),
            leases,
            signals,
            progress,
            wait,
            replan: None,
            when_held: None,
            manifests,
            removal: REMOVAL,
            state: State { planned, ..State::default() },
        }
    }

    /// Goes on with a run of another process: its pod table is the one to compare with; `after` is the second one, if it
    /// was taken.
    pub fn resume(&mut self, log: &Log<Run>, after: Vec<PodState>, removal: Option<Duration>) {
        self.state.before = std::mem::take(&mut self.state.planned);
        self.state.after = after;
        self.state.sessions = self.plan.targets.iter().map(|_| Session::default()).collect();
        self.removal = removal.unwrap_or(REMOVAL);
        // Until then a hold that nothing from outside can end may still end by itself.
        let held_since = log.entries.iter().rev().find(|e| matches!(e.event, Event::WaveIntended(_))).map(|e| e.at);
        self.state.deadline = held_since.map(|since| {
            let past = Duration::try_from(log.clock.now().duration_since(since)).unwrap_or_default();
            Instant::now() + self.plan.budget.saturating_sub(past)
        });
    }

    /// Says on the workloads how it ended.
    pub async fn announce_end(self, log: &Log<Run>, outcome: Option<Outcome>) {
        let run = &self.plan.run;
        let said = match outcome {
            Some(Outcome::Stuck) => {
                let held: Vec<String> =
                    log.run.may_be_held().into_iter().map(|t| self.plan.targets[t].path()).collect();
                let thaw = self.thaw_command();
                Some((Said::Stuck, format!("{} may still be held; release with: {thaw}", held.join(", "))))
            }
            Some(Outcome::Failed) => Some((Said::Failed, format!("run {run} is no backup"))),
            Some(outcome) => Some((Said::Done, format!("backup {run}: {outcome:?}"))),
            None => None,
        };
        if let Some((what, note)) = said {
            self.announcer.say(what, &note);
        }
        self.announcer.done().await;
    }

    fn thaw_command(&self) -> String {
        announced_thaw(&self.plan)
    }

    fn token(&self, log: &Log<Run>) -> Token {
        Token { run: self.plan.run.clone(), attempt: log.run.attempt() }
    }

    fn csi(&self) -> Csi<'_> {
        Csi::new(self.cluster, &self.plan)
    }

    fn target(&self, t: usize) -> &Target {
        &self.plan.targets[t]
    }

    fn place(&self, t: usize) -> Place {
        Place::from(self.target(t))
    }

    /// The adapter of a target. Plans come from this program's planner or its journal: the name is a known one, or
    /// the journal was refused when it was loaded.
    fn quiescer(&self, t: usize) -> Result<&'static dyn Quiescer, String> {
        let name = &self.target(t).adapter;
        by_name(name).ok_or_else(|| format!("this version has no adapter {name}"))
    }

    /// Ends when the attempt must not go on: a signal, the budget, a lost lease, a pod that is not as it was.
    async fn broken(&self) -> (Abort, Detail) {
        let deadline = async {
            match self.state.deadline {
                Some(at) => sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        let changed = async {
            match &self.state.watch {
                Some(watch) => watch.changed().await,
                None => std::future::pending().await,
            }
        };
        let (reason, text) = tokio::select! {
            Changed { differences, .. } = changed => {
                let mut detail = Detail::text(format!("pods changed: {}", words(&differences)));
                detail.differences = Some(differences);
                return (Abort::PodsChanged, detail);
            }
            () = self.signals.first() => (Abort::Signal, "interrupted".to_owned()),
            () = deadline => (
                Abort::Budget,
                format!("the quiesce budget of {} s was spent", self.plan.budget.as_secs_f64()),
            ),
            why = self.leases.until_lost() => (Abort::Step, why),
            why = self.guard_lost() => (Abort::Step, why),
        };
        (reason, Detail::text(text))
    }

    /// Runs `work`, which tells its events, as long as nothing breaks the attempt off.
    async fn attend(
        &self,
        log: &mut Log<Run>,
        work: impl Future<Output = ()>,
        told: mpsc::UnboundedReceiver<Told<Event>>,
    ) {
        let last = |event: &Event| matches!(event, Event::Aborted(_) | Event::CutFailed(_) | Event::HoldLost(_));
        let before = log.run.aborted().is_some();
        log.attend(work, told, self.broken(), last).await;
        if let (false, Some(_), Some(why)) = (before, log.run.aborted(), log.why_repeated()) {
            self.progress.say(&format!("giving this attempt up: {why}"));
        }
        if let Some(Changed { now, .. }) = self.state.watch.as_ref().and_then(PodWatch::seen) {
            log.store("pods.after", &now);
        }
    }
}

/// The command that releases a run, for Events. It has no connection options: those would show paths, contexts and servers of
/// the operator's machine to every reader of Events.
fn announced_thaw(plan: &Plan) -> String {
    Typed::default().thaw(&plan.run, &plan.namespace)
}

impl Log<Run> {
    /// Why the last attempt is repeated.
    pub fn why_repeated(&self) -> Option<String> {
        crate::record::backup::why(&self.entries)
    }

    /// By what the cut of this claim is proved, in the last attempt.
    pub fn proof(&self, claim: usize) -> Option<Proof> {
        self.entries
            .iter()
            .rev()
            .take_while(|e| !matches!(e.event, Event::Attempt(_)))
            .find(|e| e.event == Event::Cut(claim))
            .and_then(|e| e.detail.proof.clone())
    }
}

/// A step that failed, as the event that breaks the attempt off.
fn failed(text: impl Into<String>) -> Told<Event> {
    (Event::Aborted(Abort::Step), Detail::text(text))
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

impl Hands<Run> for Backup<'_> {
    fn intending(&mut self, step: &Step) {
        // The budget runs from the first intent: its write is already time in which nobody may know better.
        if matches!(step, Step::Quiesce(_) | Step::Cut(_)) && self.state.deadline.is_none() {
            let end = Instant::now() + self.plan.budget;
            // What the guard releases is held no more, whoever thinks so.
            self.state.deadline = Some(self.state.guarded.map_or(end, |(guarded, _)| end.min(guarded)));
        }
        if matches!(step, Step::Attempt(_)) {
            self.state.deadline = None;
            self.state.guarded = None;
        }
    }

    async fn perform(&mut self, log: &mut Log<Run>, step: Step) -> Result<(), Stop> {
        let held = log.run.may_be_held().into_iter().map(|t| self.plan.targets[t].path()).collect();
        self.signals.set_held(held);
        match step {
            Step::Attempt(n) => self.begin(log, n).await,
            Step::Prepare(targets) => self.prepare(log, &targets).await,
            Step::Quiesce(targets) => {
                if self.plan.is_cold() {
                    self.stop(log, &targets).await;
                } else {
                    self.hold(log, &targets).await;
                }
                if matches!(log.run.next(), Step::Flush(_)) {
                    let (run, budget) = (&self.plan.run, self.plan.budget.as_secs());
                    let full = self.plan.targets.iter().filter(|t| t.probe.stops_commits);
                    let full: Vec<String> = full.map(crate::plan::Target::path).collect();
                    let held = if self.plan.is_cold() {
                        format!("stopped until its copies are cut; {} starts it again", self.thaw_command())
                    } else if full.is_empty() {
                        "no commit is held up".to_owned()
                    } else {
                        let net = guard_pod::unlimited(&self.plan).is_empty() || self.plan.guard_image.is_some();
                        let or = if net { String::new() } else { format!(" or until {}", self.thaw_command()) };
                        format!("commits are held up, for {budget} s at most{or}, in {}", full.join(", "))
                    };
                    self.announcer.say(Said::Quiesced, &format!("by backup {run}: {held}"));
                }
            }
            Step::Flush(targets) => self.flush(log, &targets).await,
            Step::Cut(claims) => self.cut(log, &claims).await,
            Step::Thaw(targets) => {
                if self.plan.is_cold() {
                    self.start(log, &targets).await;
                } else {
                    self.thaw(log, &targets).await;
                }
                if log.run.may_be_held().is_empty() {
                    self.announcer.say(Said::Thawed, &format!("by backup {}", self.plan.run));
                }
            }
            Step::Compare if self.plan.is_cold() => self.compare_restarted(log).await,
            Step::Compare => self.compare(log).await,
            Step::Discard(claims) => self.discard(log, &claims).await,
            Step::Archive(targets) => return self.archive(log, &targets).await,
            Step::Keep(claims) => self.keep(log, &claims).await,
            Step::Settle(claims) => return self.settle(log, &claims).await,
            Step::Finish(_) => {}
        }
        self.signals.set_held(Vec::new());
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn events_have_no_connection_options() {
        let journal: serde_json::Value =
            serde_json::from_str(include_str!("../../tests/fixtures/journals/backup-1.json")).unwrap();
        let plan: Plan = serde_json::from_str(journal["data"]["plan"].as_str().unwrap()).unwrap();
        let said = announced_thaw(&plan);
        assert!(said.contains(&plan.run) && said.ends_with(&plan.namespace) && !said.contains("--"), "{said}");
    }
}
