//! A restore's journal: reading it, finishing what a dead process left, and giving up what it kept.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::future::join_all;
use k8s_openapi::api::core::v1::PersistentVolume;
use kube::api::{Api, Patch, PatchParams};
use serde::de::DeserializeOwned;
use serde_json::json;
use tokio::time::{Instant, sleep, timeout};

use super::discard::DISCARDED;
use super::restored::KEPT;
use super::{Restore, undoable};
use crate::clock::Clock;
use crate::cluster::client::{Cluster, Persisted, explain, is_not_found, persist};
use crate::error::{Error, ExitCode, Refusal};
use crate::executor::signals::Signals;
use crate::executor::{Log, Stop, execute};
use crate::journal::{self, Loaded, Stored};
use crate::lease::{Leases, Left, Take, Waiting};
use crate::output::progress::Progress;
use crate::plan::leased_object;
use crate::plan::restore::{Claim, RestorePlan, Volume};
use crate::protocol::restore::{Event, Outcome, Run};
use crate::record::check;
use crate::record::restore::{self, Beside, replay};
use crate::runs::proof::Believed;

/// What takes no longer than this is not worth a line.
const QUIET: Duration = Duration::from_secs(2);
/// How long one question may take.
const REQUEST: Duration = Duration::from_secs(10);

/// A restore's journal, understood.
pub struct RestoreJournal {
    /// The plan.
    pub plan: RestorePlan,
    /// The run that its entries tell.
    pub run: Run,
    /// Entries and named keys.
    pub loaded: Loaded<Event>,
}

impl RestoreJournal {
    /// Understands it, or says what is damaged.
    pub fn read(stored: &Stored) -> Result<Self, Error> {
        Self::of(stored, stored.read()?)
    }

    /// The same for one that was read already.
    pub fn of(stored: &Stored, loaded: Loaded<Event>) -> Result<Self, Error> {
        let damaged = |what: &str, why: String| {
            Error::failed(format!(
                "the record of run {} (configmap/{}) cannot be read: {what}",
                stored.run, stored.name
            ))
            .cause(why)
        };
        let plan: RestorePlan = serde_json::from_str(&loaded.plan).map_err(|e| damaged("its plan", e.to_string()))?;
        check::restore(&plan).map_err(|e| damaged("its plan", e.0))?;
        stored.is_of(&plan.run, &plan.namespace)?;
        let kept: BTreeMap<String, Volume> = key(&loaded, KEPT);
        kept.values().try_for_each(check::volume).map_err(|e| damaged(KEPT, e.0))?;
        let run = replay(&plan, &loaded.entries).map_err(|e| damaged("its entries", e.0))?;
        Ok(Self { plan, run, loaded })
    }

    /// What lies beside the entries; what was not stored yet is empty.
    fn beside(&self) -> Beside {
        Beside {
            before: self.key("pods.before"),
            after: self.key("pods.after"),
            volumes: self.key("volumes"),
            kept: self.key(KEPT),
            discarded: self.discarded(),
        }
    }

    fn key<T: DeserializeOwned + Default>(&self, name: &str) -> T {
        key(&self.loaded, name)
    }

    /// The old volumes that were to be deleted with their storage, and whether they are gone. With any there is no way
    /// back any more.
    pub fn discarded(&self) -> BTreeMap<String, bool> {
        self.key(DISCARDED)
    }

    /// The volumes that are not in use any more: the old ones after a restore, the restored ones after the way back.
    pub fn unused(&self) -> Vec<Volume> {
        let discarded = self.discarded();
        let left = |volume: &Volume| Volume { reclaim_policy: "Delete".into(), ..volume.clone() };
        match self.run.outcome() {
            Some(Outcome::Restored) if !discarded.is_empty() => {
                self.plan.old_volumes().filter(|v| discarded.get(&v.name) == Some(&false)).map(left).collect()
            }
            Some(Outcome::Restored) => self.plan.old_volumes().cloned().collect(),
            Some(Outcome::RestoredOldVolumes) => self.beside().kept.into_values().collect(),
            _ => Vec::new(),
        }
    }

    /// Those of them that `delete` gives up: they were to be deleted with their claims.
    pub fn given_up(&self) -> Vec<Volume> {
        self.unused().into_iter().filter(|volume| volume.reclaim_policy == "Delete").collect()
    }

    /// Whether something is left to do.
    pub fn is_open(&self) -> bool {
        !self.run.is_finished() || self.run.has_leftovers()
    }
}

fn key<T: DeserializeOwned + Default>(loaded: &Loaded<Event>, name: &str) -> T {
    loaded.keys.get(name).and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default()
}

/// The record of a restore.
pub fn record(stored: &Stored) -> Result<restore::Restore, Error> {
    let found = RestoreJournal::read(stored)?;
    restore::record(&found.plan, &found.loaded.entries, found.beside()).map_err(|e| Error::failed(e.0))
}

/// Whether something is left to do. One that cannot be read counts: a workload may be down because of it.
pub fn is_open(stored: &Stored) -> bool {
    RestoreJournal::read(stored).map_or(true, |found| found.is_open())
}

/// Where a restore is to go that another process left, or that is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// Forward where every database had recovered, else back to the old volumes.
    Safe,
    /// Forward, if it is not on its way back.
    Forward,
    /// Back to the old volumes, also when it had succeeded.
    Back,
}

impl Way {
    /// What a process records first; nothing where nothing is left to do.
    fn events(self, found: &RestoreJournal) -> Vec<Event> {
        match self {
            Self::Safe => found.run.recovery(),
            Self::Forward if found.is_open() => vec![Event::TakenOver],
            Self::Forward => Vec::new(),
            Self::Back => found.run.undoing(),
        }
    }
}

/// Brings a restore to an end, whoever began it. An error with exit code 4 says that the workload may be down.
pub async fn lead(
    cluster: &Cluster,
    (stored, believed): (&Stored, &Believed),
    way: Way,
    take: Take,
    signals: &Signals,
    progress: &Progress,
) -> Result<(), Error> {
    let found = RestoreJournal::read(stored).map_err(unseen)?;
    if way.events(&found).is_empty() {
        return Ok(());
    }
    let down = found.run.may_be_down();
    let ended = take_and_lead(cluster, (stored, believed), &found, way, take, signals, progress).await;
    // Whatever stood in the way: what the journal says is not done yet.
    ended.map_err(|error| if down { unseen(error) } else { error })
}

/// A workload may be down, whatever the error is.
fn unseen(error: Error) -> Error {
    Error { code: ExitCode::Held, ..error }
}

async fn take_and_lead(
    cluster: &Cluster,
    (stored, believed): (&Stored, &Believed),
    found: &RestoreJournal,
    way: Way,
    take: Take,
    signals: &Signals,
    progress: &Progress,
) -> Result<(), Error> {
    let plan = &found.plan;
    // From here on: what a signal says while the leases are waited for must be what the journal says.
    signals.lead(thaw_command(cluster, plan));
    let down = found.run.may_be_down();
    signals.set_held(plan.workloads.iter().filter(|_| down).map(|w| format!("{} is stopped", w.path())).collect());
    let clock = Clock::measure(cluster).await?;
    let waiting = |w: &Waiting| {
        progress.step(&format!("waiting until the lease of run {} on {} expires", w.run, leased_object(&w.pod)));
    };
    // A run that touches nothing takes no leases in namespaces that only its record names: it would block others.
    let all = plan.leased().into_iter();
    let wide = believed.acts() || way != Way::Safe;
    let pods: Vec<_> = all.filter(|(namespace, _)| wide || *namespace == plan.namespace).collect();
    let Some(leases) = signals.unless(Leases::take(cluster, &pods, &plan.run, take, &waiting)).await else {
        if !found.is_open() {
            return Err(Error::interrupted("interrupted: nothing was touched"));
        }
        return Err(Error::interrupted(format!("interrupted: restore {} is not finished", plan.run))
            .hint(format!("finish it with: {}", thaw_command(cluster, plan))));
    };
    let leases = leases.map_err(Error::refusals)?;
    let result = led(cluster, (stored, believed), way, &leases, clock, signals, progress).await;
    // What is not given back expires by itself.
    let left = if matches!(result, Ok(false)) { Left::Nothing } else { Left::Unfinished };
    let _ = leases.release(left).await;
    result.map(drop)
}

/// Whether something is left to do.
async fn led(
    cluster: &Cluster,
    (stored, believed): (&Stored, &Believed),
    way: Way,
    leases: &Leases,
    clock: Clock,
    signals: &Signals,
    progress: &Progress,
) -> Result<bool, Error> {
    // Read again: between the first look and the lease the run may have gone on.
    let (stored, loaded, journal) = journal::take_over::<Event>(cluster, &stored.namespace, &stored.run).await?;
    let found = RestoreJournal::of(&stored, loaded)?;
    let events = way.events(&found);
    if events.is_empty() {
        return Ok(found.run.has_leftovers());
    }
    believed.holds(&stored)?;
    if events.contains(&Event::UndoIntended) {
        if !found.discarded().is_empty() {
            return Err(Error::refusals(vec![discarded(&found.plan.run)]));
        }
        // A question may stand for an hour, and another run may have ended just before our lease.
        undoable(cluster, &found.plan, clock.now()).await?;
    }
    // A run of an older version, and one that is undone after its end, has no mark yet: without it a later process asks.
    if believed.acts() || way == Way::Back {
        let _ = leases.mark(&stored.namespace, &found.loaded.plan).await;
    }
    let Beside { before, kept, .. } = found.beside();
    let RestoreJournal { plan, run, loaded } = found;
    let mut log = Log::new(run, loaded.entries, journal, clock);
    let mut hands = Restore::new(cluster, plan, before, leases, signals.clone(), progress);
    hands.kept = kept;
    let ended = match log.begin(events).await {
        Ok(()) => execute(&mut log, &mut hands).await,
        Err(stop) => Err(stop),
    };
    let _ = log.written().await;
    match ended {
        Ok(outcome) => over(cluster, &hands.plan, outcome).map(|()| log.run.has_leftovers()),
        Err(stop) => Err(stopped(cluster, &hands.plan, stop, log.run.may_be_down())),
    }
}

/// Why there is no way back any more.
pub fn discarded(run: &str) -> Refusal {
    Refusal::new(
        format!("restore/{run}"),
        "its old volumes were deleted, as --discard-old asked: there is nothing to go back to",
    )
}

/// Only `Stuck` is no end.
fn over(cluster: &Cluster, plan: &RestorePlan, outcome: Outcome) -> Result<(), Error> {
    match outcome {
        Outcome::Stuck => {
            Err(Error::held(format!("restore {} is stuck: the workload may be down", plan.run)).hint(format!(
                "the old volumes are kept; see why with: {}; then again: {}",
                cluster.typed.command("describe", &plan.run, &plan.namespace),
                thaw_command(cluster, plan)
            )))
        }
        _ => Ok(()),
    }
}

/// Why a process no longer leads the restore. `down`: whether the workload may have been down when it ended to.
pub fn stopped(cluster: &Cluster, plan: &RestorePlan, stop: Stop, down: bool) -> Error {
    match stop {
        Stop::TakenOver => {
            let text = format!("restore {} was taken over by another process: this one did nothing more", plan.run);
            if down {
                Error::held(text).hint(format!(
                    "how that goes on: {}",
                    cluster.typed.command("describe", &plan.run, &plan.namespace)
                ))
            } else {
                Error::failed(text)
            }
        }
        Stop::Left => Error::failed(format!("restore {} was left", plan.run)).hint(thaw_command(cluster, plan)),
        Stop::Unwritable(why) => Error::held(format!("restore {} cannot be recorded any more", plan.run))
            .cause(why)
            .hint(format!("the workload may be down; finish with: {}", thaw_command(cluster, plan))),
    }
}

/// The command that brings this restore to its end, from any machine.
pub fn thaw_command(cluster: &Cluster, plan: &RestorePlan) -> String {
    cluster.typed.thaw(&plan.run, &plan.namespace)
}

/// Gives up the volumes that a restore kept: puts their recorded reclaim policies back and waits until those are gone
/// that are to be deleted. A Retain volume that was merely deleted would leak its storage. The names of those that are
/// gone.
pub async fn delete(
    cluster: &Cluster,
    stored: &Stored,
    within: Duration,
    tell: impl Fn(&str),
) -> Result<Vec<String>, Error> {
    let found = RestoreJournal::read(stored)?;
    let unused = found.unused();
    let until = Instant::now() + within;
    // All at once: one that stays must not take the others' time.
    let given_up = join_all(unused.iter().map(|volume| give_up(cluster, &found.plan, volume, until, &tell))).await;
    let (mut gone, mut left) = (Vec::new(), Vec::new());
    for (volume, result) in unused.iter().zip(given_up) {
        match result {
            Ok(true) => gone.push(volume.name.clone()),
            Ok(false) => {}
            Err(why) => left.push(why),
        }
    }
    if left.is_empty() {
        return Ok(gone);
    }
    Err(Error::failed(format!("restore {} is not deleted: {}", found.plan.run, left.join("; ")))
        .hint("its record stays until the volumes that it kept are gone: try again later"))
}

/// Whether the volume is gone; if not, it is to stay.
pub(super) async fn give_up(
    cluster: &Cluster,
    plan: &RestorePlan,
    volume: &Volume,
    until: Instant,
    tell: &impl Fn(&str),
) -> Result<bool, String> {
    let api: Api<PersistentVolume> = Api::all(cluster.api.clone());
    let name = format!("persistentvolume/{}", volume.name);
    if !set_reclaim_policy(cluster, plan, volume, &volume.reclaim_policy).await? {
        return Ok(true);
    }
    let told_from = Instant::now() + QUIET;
    let mut told = String::new();
    loop {
        let waiting = match timeout(REQUEST, api.get(&volume.name)).await {
            Ok(Err(e)) if is_not_found(&e) => return Ok(true),
            Ok(Ok(now)) if now.metadata.uid.as_ref() != Some(&volume.uid) => return Ok(true),
            // Somebody bound it again, or it was never to be deleted: it stays.
            Ok(Ok(now))
                if volume.reclaim_policy != "Delete"
                    || phase(&now) != Some("Released") && phase(&now) != Some("Failed") =>
            {
                return Ok(false);
            }
            Ok(Ok(now)) => kept(&name, &now),
            Ok(Err(e)) => format!("{name}: {}", explain(&e)),
            Err(_) => format!("{name}: the API server does not answer"),
        };
        if Instant::now() >= until {
            return Err(waiting);
        }
        if told != waiting && Instant::now() >= told_from {
            tell(&waiting);
            told = waiting;
        }
        sleep(Duration::from_millis(500)).await;
    }
}

/// Sets the reclaim policy of this very volume; whether it is there. A volume that was not bound to a claim of the plan is
/// never changed: a record can name any volume of the cluster.
pub(super) async fn set_reclaim_policy(
    cluster: &Cluster,
    plan: &RestorePlan,
    volume: &Volume,
    policy: &str,
) -> Result<bool, String> {
    let api: Api<PersistentVolume> = Api::all(cluster.api.clone());
    let name = format!("persistentvolume/{}", volume.name);
    let patch = Patch::Merge(json!({
        "metadata": { "uid": volume.uid },
        "spec": { "persistentVolumeReclaimPolicy": policy },
    }));
    let params = PatchParams::default();
    let changed = persist(REQUEST * 3, async || match api.get_opt(&volume.name).await? {
        Some(now) if is_of(&now, plan) => api.patch(&volume.name, &params, &patch).await.map(|_| Some(true)),
        Some(_) => Ok(Some(false)),
        None => Ok(None),
    });
    match changed.await {
        Persisted::Final(Ok(Some(true))) => Ok(true),
        Persisted::Final(Ok(Some(false))) => Err(format!("{name} was not bound to a claim of this restore")),
        Persisted::Final(Ok(None)) => Ok(false),
        Persisted::Final(Err(e)) if is_not_found(&e) => Ok(false),
        Persisted::Final(Err(e)) => Err(format!("{name}: {}", explain(&e))),
        Persisted::Unknown(why) => Err(format!("{name}: {why}")),
    }
}

/// Whether the volume was made for one of these claims. The reference to its claim outlives the claim.
fn is_of(volume: &PersistentVolume, plan: &RestorePlan) -> bool {
    let bound = volume.spec.as_ref().and_then(|spec| spec.claim_ref.as_ref());
    bound.is_some_and(|bound| {
        let is = |claim: &Claim| {
            bound.name.as_ref() == Some(&claim.name) && bound.namespace.as_ref() == Some(&claim.namespace)
        };
        plan.claims.iter().any(is)
    })
}

/// Why a volume that was given up is there still, in the cluster's own words where it has any.
fn kept(name: &str, now: &PersistentVolume) -> String {
    let finalizers = now.metadata.finalizers.as_deref().unwrap_or_default().join(", ");
    let said = now.status.as_ref().and_then(|s| s.message.as_deref()).unwrap_or_default();
    let said = if said.is_empty() { String::new() } else { format!(": {said}") };
    format!("{name} is still there: the storage driver has not removed it (finalizers: {finalizers}){said}")
}

fn phase(volume: &PersistentVolume) -> Option<&str> {
    volume.status.as_ref()?.phase.as_deref()
}
