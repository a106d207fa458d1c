//! Bringing a run to its end that another process left: what `thaw` does, and `quiesce-snapshot` for snapshots that
//! an earlier run could not remove.

use std::time::Duration;

use super::quiesce_snapshot::{give_back, leased, thaw_command, waiting};
use crate::clock::Clock;
use crate::cluster::client::Cluster;
use crate::error::Error;
use crate::executor::backup::Backup;
use crate::executor::signals::Signals;
use crate::executor::{Log, Stop, execute};
use crate::journal::{self, Kind, Stored};
use crate::lease::{Leases, Take};
use crate::output::progress::Progress;
use crate::protocol::backup::Event;
use crate::record::item::Item;
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
    stored: &Stored,
    take: Take,
    progress: &Progress,
) -> Result<Ended, Error> {
    let held = match stored.kind {
        Some(Kind::Restore) => {
            crate::executor::restore::resume(cluster, stored, take, progress).await?;
            false
        }
        _ => finish_backup(cluster, stored, take, progress, None).await?,
    };
    let item = runs::one(cluster, &stored.namespace, &stored.run).await?;
    Ok(Ended { item, held })
}

/// Finishes a backup; whether something may still be held.
async fn finish_backup(
    cluster: &Cluster,
    stored: &Stored,
    take: Take,
    progress: &Progress,
    removal: Option<Duration>,
) -> Result<bool, Error> {
    let found = BackupJournal::read(stored)?;
    if !found.is_open() {
        return Ok(false);
    }
    let plan = found.plan;
    let clock = Clock::measure(cluster).await?;
    let leases = Leases::take(cluster, &leased(&plan), &plan.run, take, &|w| progress.say(&waiting(w)))
        .await
        .map_err(Error::refusals)?;
    let result = async {
        // Read again: between the first look and the lease the run may have gone on.
        let (stored, loaded, journal) = journal::take_over::<Event>(cluster, &stored.namespace, &stored.run).await?;
        let found = BackupJournal::of(&stored, loaded)?;
        let talk = progress.clone();
        let signals = Signals::listen(thaw_command(&plan), move |line| talk.say(line))
            .map_err(|e| Error::failed("signals cannot be received").cause(e))?;
        let before = found.pods("pods.before");
        let mut log = Log::new(found.run, found.loaded.entries, journal, clock);
        // Nobody waits for uploads here: what has to be done is done, the copies become ready by themselves.
        let mut hands = Backup::new(cluster, found.plan, &leases, signals, progress, Some(Duration::ZERO));
        hands.resume_with(before, removal);
        let ended = match log.recover().await {
            Ok(()) => execute(&mut log, &mut hands).await.map(|_| ()),
            Err(stop) => Err(stop),
        };
        let _ = log.written().await;
        match ended {
            Ok(()) | Err(Stop::Left) => Ok(!log.run.may_be_held().is_empty()),
            Err(Stop::TakenOver) => {
                Err(Error::failed(format!("run {} is being finished by another process", plan.run)))
            }
            Err(Stop::Unwritable(why)) => {
                Err(Error::held(format!("run {} cannot be recorded any more", plan.run)).cause(why))
            }
        }
    }
    .await;
    give_back(leases, progress).await;
    result
}

/// Tries once more to remove what earlier runs of this namespace could not: their drivers may answer now. Never an
/// obstacle to the backup that is asked for.
pub(super) async fn remove_pending(cluster: &Cluster, namespace: &str, progress: &Progress) {
    let Ok(open) = runs::open(cluster, Some(namespace)).await else { return };
    for stored in open.iter().filter(|s| s.kind == Some(Kind::Backup)) {
        let Ok(found) = BackupJournal::read(stored) else { continue };
        if !found.run.is_finished() || !found.run.may_be_held().is_empty() {
            continue;
        }
        progress.step(&format!("removing what run {} left", stored.run));
        let tried = finish_backup(cluster, stored, Take::IfFree, progress, Some(Duration::from_secs(5))).await;
        if let Err(error) = tried {
            progress.say(&format!("run {} still has snapshots that are not removed: {error}", stored.run));
        }
    }
}
