//! Bringing a run to its end that another process left: what `thaw` does, and `quiesce-snapshot` for snapshots that
//! an earlier run could not remove.

use std::time::Duration;

use super::quiesce_snapshot::{end_guard, give_back, leased, left, thaw_command, waiting};
use crate::clock::Clock;
use crate::cluster::client::Cluster;
use crate::error::{Error, ExitCode};
use crate::executor::backup::{Backup, guards};
use crate::executor::restore;
use crate::executor::signals::Signals;
use crate::executor::{Log, Stop, execute};
use crate::journal::{self, Kind, Stored, parts};
use crate::lease::{Leases, Left, Take, Waiting};
use crate::output::progress::Progress;
use crate::plan::Plan;
use crate::preflight::Planned;
use crate::protocol::backup::Event;
use crate::record::item::Item;
use crate::runs::proof::{Believed, Wish};
use crate::runs::{self, BackupJournal};

/// A run that was brought to its end.
pub(super) struct Ended {
    /// Its record.
    pub(super) item: Item,
    /// Whether something of it may still be held.
    pub(super) held: bool,
}

/// Finishes a run, of either kind.
pub(super) async fn finish(
    cluster: &Cluster,
    (stored, believed): (&Stored, &Believed),
    take: Take,
    signals: &Signals,
    progress: &Progress,
) -> Result<Ended, Error> {
    let held = match stored.kind {
        Some(Kind::Restore) => {
            restore::lead(cluster, (stored, believed), restore::Way::Safe, take, signals, progress).await?;
            false
        }
        _ => finish_backup(cluster, (stored, believed), take, signals, progress, None).await?,
    };
    let item = runs::one(cluster, &stored.namespace, &stored.run).await;
    // That it cannot be read takes nothing of what is known.
    let item = item.map_err(|error| if held { Error { code: ExitCode::Held, ..error } } else { error })?;
    Ok(Ended { item, held })
}

/// Finishes a backup; whether something may still be held. An error says by its exit code whether it may.
async fn finish_backup(
    cluster: &Cluster,
    (stored, believed): (&Stored, &Believed),
    take: Take,
    signals: &Signals,
    progress: &Progress,
    removal: Option<Duration>,
) -> Result<bool, Error> {
    let found = BackupJournal::read(stored)?;
    if !found.is_open() {
        // Its guard may be left where the cluster did not answer at its end.
        if let Err(why) = guards::end(cluster, &found.plan).await {
            progress.say(&format!("the guard of run {} is not seen gone: {why}", stored.run));
        }
        return Ok(false);
    }
    let held: Vec<String> = found.run.may_be_held().into_iter().map(|t| found.plan.targets[t].path()).collect();
    let may_be = !held.is_empty();
    let ended = lead(cluster, (stored, believed), found.plan, held, take, signals, progress, removal).await;
    // Whatever stood in the way: what the journal says is not done yet.
    ended.map_err(|error| if may_be { Error { code: ExitCode::Held, ..error } } else { error })
}

#[expect(clippy::too_many_arguments, reason = "each is a thing of its own, and there is one caller")]
async fn lead(
    cluster: &Cluster,
    (stored, believed): (&Stored, &Believed),
    plan: Plan,
    held: Vec<String>,
    take: Take,
    signals: &Signals,
    progress: &Progress,
    removal: Option<Duration>,
) -> Result<bool, Error> {
    // From here on: what a signal says while the leases are waited for must be what the journal says.
    signals.lead(thaw_command(cluster, &plan));
    signals.set_held(held);
    let clock = Clock::measure(cluster).await?;
    // A run with nothing left to release takes no leases in namespaces that only its record names: it would block others.
    let all = leased(&plan).into_iter().filter(|(namespace, _)| believed.acts() || *namespace == plan.namespace);
    let (pods, say): (Vec<_>, _) = (all.collect(), |w: &Waiting| progress.say(&waiting(w)));
    let Some(leases) = signals.unless(Leases::take(cluster, &pods, &plan.run, take, &say)).await else {
        return Err(Error::interrupted(format!("interrupted: run {} is not finished", plan.run))
            .hint(format!("finish it with: {}", thaw_command(cluster, &plan))));
    };
    let leases = leases.map_err(Error::refusals)?;
    let mut leaves = Left::Unfinished;
    let result = async {
        // Read again: between the first look and the lease the run may have gone on.
        let (stored, loaded, journal) = journal::take_over::<Event>(cluster, &stored.namespace, &stored.run).await?;
        let found = BackupJournal::of(&stored, loaded)?;
        let again = || format!("if no process leads it any more: {}", thaw_command(cluster, &plan));
        believed.holds(&stored).map_err(|error| error.hint(again()))?;
        // One of an older version gets its mark now. Without it a later process only has to ask.
        if believed.acts() {
            let _ = leases.mark(&stored.namespace, found.plan_text()).await;
        }
        let after = found.pods("pods.after");
        // Without them the copies are kept all the same.
        let manifests = parts::read(cluster, &stored.namespace, &stored.run).await.ok().flatten().unwrap_or_default();
        let planned = Planned { pods: found.pods("pods.before"), plan: found.plan, manifests };
        let mut log = Log::new(found.run, found.loaded.entries, journal, clock);
        // Nobody waits for uploads here: what has to be done is done, the copies become ready by themselves.
        let mut hands = Backup::new(cluster, planned, &leases, signals.clone(), progress, Some(Duration::ZERO));
        hands.resume(&log, after, removal);
        let ended = match log.recover().await {
            Ok(()) => Box::pin(execute(&mut log, &mut hands)).await,
            Err(stop) => Err(stop),
        };
        let _ = log.written().await;
        leaves = left(&log.run);
        end_guard(&hands, &log, progress).await;
        hands.announce_end(&log, ended.as_ref().ok().copied()).await;
        match ended {
            Ok(_) | Err(Stop::Left) => Ok(!log.run.may_be_held().is_empty()),
            Err(Stop::TakenOver) => {
                Err(Error::failed(format!("run {} is being finished by another process", plan.run)))
            }
            Err(Stop::Unwritable(why)) => {
                let error = Error::failed(format!("run {} cannot be recorded any more", plan.run)).cause(why);
                let held = !log.run.may_be_held().is_empty();
                Err(if held { Error { code: ExitCode::Held, ..error } } else { error })
            }
        }
    }
    .await;
    give_back(leases, leaves, progress).await;
    result
}

/// Tries once more to remove what earlier runs of this namespace could not: their drivers may answer now. Never an
/// obstacle to the backup that is asked for.
pub(super) async fn remove_pending(cluster: &Cluster, namespace: &str, signals: &Signals, progress: &Progress) {
    let Ok(open) = runs::open(cluster, Some(namespace)).await else { return };
    for stored in open.iter().filter(|s| s.kind == Some(Kind::Backup)) {
        let Ok(found) = BackupJournal::read(stored) else { continue };
        if !found.run.is_finished() || !found.run.may_be_held().is_empty() {
            // Another run may go on beside this one; whether a process leads it, its leases tell.
            let thaw = thaw_command(cluster, &found.plan);
            progress.say(&format!("run {} is not finished; if no process leads it any more: {thaw}", stored.run));
            continue;
        }
        progress.step(&format!("removing what run {} left", stored.run));
        let within = Some(Duration::from_secs(5));
        let Ok(believed) = Believed::confirmed(stored, Wish::Finish) else { continue };
        let tried = finish_backup(cluster, (stored, &believed), Take::IfFree, signals, progress, within).await;
        let left = match (tried, runs::backup(cluster, namespace, &stored.run).await) {
            (Ok(_), Ok(backup)) if backup.status.snapshots_removed == "pending" => {
                backup.status.snapshots_left.join("; ")
            }
            (Err(error), _) => error.to_string(),
            _ => continue,
        };
        progress.say(&format!("run {} still has snapshots that are not removed: {left}", stored.run));
    }
}
