//! `--resume` and `--undo`: a restore in place that another process left, or that is over, is led to an end.

use jiff::Timestamp;

use super::super::delete::confirm;
use super::super::unproven::believed;
use crate::cli::RestoreFromSnapshot;
use crate::cluster::client::Cluster;
use crate::error::{Error, ExitCode};
use crate::executor::restore::{RestoreJournal, Way, discarded, lead, undoable};
use crate::executor::signals::Signals;
use crate::journal::{Kind, Stored};
use crate::lease::Take;
use crate::output::progress::Progress;
use crate::output::{self, Format, restores};
use crate::plan::restore::undo::UndoPlan;
use crate::runs::proof::{Believed, Wish};
use crate::runs::{self, RunName};

/// The restore's journal. One that is unknown, or no restore in place, is refused: nothing was touched.
async fn found(cluster: &Cluster, name: &RunName) -> Result<(Stored, RestoreJournal), Error> {
    let refused = |error: Error| Error { code: ExitCode::Refused, ..error };
    let stored = runs::named(cluster, name).await.map_err(refused)?;
    if stored.kind != Some(Kind::Restore) {
        return Err(Error::refused(format!("run {name} is a backup, not a restore"))
            .hint(cluster.typed.list(&stored.namespace)));
    }
    let journal = RestoreJournal::read(&stored).map_err(refused)?;
    Ok((stored, journal))
}

/// Goes on with a restore whose process is gone: forward, unless it is on its way back.
pub(super) async fn resume(
    cluster: &Cluster,
    name: &RunName,
    args: &RestoreFromSnapshot,
    progress: Progress,
) -> Result<ExitCode, Error> {
    let (stored, journal) = found(cluster, name).await?;
    let wish = (Wish::Lead, journal.run.may_be_down());
    let believed = believed(cluster, &stored, wish, args.yes, &progress).await?;
    if !journal.is_open() {
        progress.say(&format!("restore {} is over: nothing is left to do", stored.run));
    }
    ended(cluster, (&stored, &believed), Way::Forward, "Restored", args.output.output, progress).await
}

/// Brings the old volumes back, also long after the restore had succeeded.
pub(super) async fn undo(
    cluster: &Cluster,
    name: &RunName,
    args: &RestoreFromSnapshot,
    progress: Progress,
) -> Result<ExitCode, Error> {
    let (stored, journal) = found(cluster, name).await?;
    let wish = (Wish::Lead, journal.run.may_be_down());
    let believed = believed(cluster, &stored, wish, args.yes, &progress).await?;
    let run = &journal.run;
    if !journal.discarded().is_empty() {
        return Err(Error::refusals(vec![discarded(&stored.run)]));
    }
    let plan = if run.is_fixed() {
        undoable(cluster, &journal.plan, Timestamp::now()).await?
    } else {
        UndoPlan::of(&journal.plan)
    };
    if run.undoing().is_empty() {
        progress.say(&format!("restore {} is over, and the old volumes are in use: nothing is left to do", stored.run));
    } else if !run.is_going_back() {
        // What is on its way back has been asked for already, and nothing ends it.
        let text = restores::undo(&plan);
        if args.dry_run {
            progress.done();
            output::to_stdout(&restores::dry_run_undo(&plan, text, args.output.output)?);
            return Ok(ExitCode::Done);
        }
        progress.show(&text);
        if !args.yes {
            progress.done();
            confirm(&restores::question_undo(&journal.plan))?;
        }
    } else if args.dry_run {
        return Err(Error::refused(format!("restore {} is on its way back already", stored.run))
            .hint(cluster.typed.command("describe", &stored.run, &stored.namespace)));
    }
    // What moved was taken away for the question.
    let (stored, format) = ((&stored, &believed), args.output.output);
    ended(cluster, stored, Way::Back, "RestoredOldVolumes", format, Progress::new()).await
}

/// Leads it, and prints what came of it: 0 if that is what was asked for.
async fn ended(
    cluster: &Cluster,
    (stored, believed): (&Stored, &Believed),
    way: Way,
    wanted: &str,
    format: Format,
    progress: Progress,
) -> Result<ExitCode, Error> {
    let talk = progress.clone();
    let signals = Signals::listen(move |line| talk.say(line))?;
    let led = Box::pin(lead(cluster, (stored, believed), way, Take::AfterExpiry, &signals, &progress)).await;
    progress.done();
    led?;
    let outcome = super::print(cluster, &stored.namespace, &stored.run, format).await?;
    Ok(match outcome {
        _ if outcome == wanted => ExitCode::Done,
        // It had not come to the stop: all is as it was.
        _ if wanted == "RestoredOldVolumes" && outcome == "Failed" => ExitCode::Done,
        _ if signals.came() => ExitCode::Interrupted,
        _ => ExitCode::Failed,
    })
}
