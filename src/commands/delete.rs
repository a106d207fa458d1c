//! `delete`: a backup with its snapshots, stored copies and record; a restore with the old volumes that it kept.

use std::io::{BufRead, IsTerminal, Write};
use std::time::Duration;

use crate::backend::Discard;
use crate::backend::csi::Csi;
use crate::cli::Delete;
use crate::cluster::client::Cluster;
use crate::error::{Error, ExitCode};
use crate::journal::{self, Kind};
use crate::output::progress::Progress;
use crate::output::{self, Format};
use crate::runs::BackupJournal;

#[cfg(test)]
mod fixture;
mod obstacles;
#[cfg(test)]
mod tests;

use obstacles::deletable;

/// How long the storage may take to remove a copy.
const REMOVAL: Duration = Duration::from_secs(120);

/// Deletes runs. One that cannot be deleted does not keep the others.
pub(super) async fn run(cluster: &Cluster, args: Delete) -> Result<ExitCode, Error> {
    let mut runs: Vec<String> = Vec::new();
    for run in &args.runs {
        if !runs.contains(run) {
            runs.push(run.clone());
        }
    }
    let mut refusals = Vec::new();
    for run in &runs {
        refusals.extend(deletable(cluster, run).await.err().into_iter().flatten());
    }
    if !refusals.is_empty() {
        return Err(Error::refusals(refusals));
    }
    if !args.yes {
        confirm(&format!("delete {} and the copies of the data? this cannot be undone", runs.join(", ")))?;
    }
    let progress = Progress::new();
    let mut failed = Vec::new();
    for run in &runs {
        progress.step(&format!("deleting {run}"));
        match delete(cluster, run).await {
            Ok(kind) => output::to_stdout(&deleted(kind, run, args.output.output)?),
            Err(error) => failed.push(error),
        }
    }
    progress.done();
    // The last one is printed by who prints the error of any command.
    let last = failed.pop();
    for error in &failed {
        output::to_stderr(&output::error(error));
    }
    let Some(last) = last else { return Ok(ExitCode::Done) };
    Err(Error { code: failed.iter().fold(last.code, |worst, error| worst.worse(error.code)), ..last })
}

/// Deletes one run and says what it was.
async fn delete(cluster: &Cluster, run: &str) -> Result<Kind, Error> {
    // Asked again: a question may stand for an hour and a removal for minutes, and a restore may have begun meanwhile.
    let stored = deletable(cluster, run).await.map_err(Error::refusals)?;
    let kind = stored.kind.unwrap_or(Kind::Backup);
    match kind {
        Kind::Restore => crate::executor::restore::delete(cluster, &stored, REMOVAL).await?,
        Kind::Backup => remove_copies(cluster, &BackupJournal::read(&stored)?).await?,
    }
    // The record last: as long as something is left, something names it.
    journal::delete(cluster, &stored).await?;
    Ok(kind)
}

fn deleted(kind: Kind, run: &str, format: Format) -> Result<String, Error> {
    let kind = kind.as_str();
    let value = || serde_json::json!({"kind": kind, "name": run, "deleted": true});
    Ok(match format {
        Format::Json => output::json(&value())?,
        Format::Yaml => output::yaml(&value())?,
        Format::Name => format!("{kind}/{run}"),
        Format::Table | Format::Wide => format!("{kind} \"{run}\" deleted"),
    })
}

async fn remove_copies(cluster: &Cluster, backup: &BackupJournal) -> Result<(), Error> {
    let left: Vec<String> = Csi::new(cluster, &backup.plan)
        .discard(None, REMOVAL)
        .await
        .into_iter()
        .filter_map(|discard| match discard {
            Discard::Gone => None,
            Discard::Pending(why) => Some(why),
        })
        .collect();
    if left.is_empty() {
        return Ok(());
    }
    Err(Error::failed(format!("backup {} is not deleted: {}", backup.plan.run, left.join("; ")))
        .hint("its record stays until the storage has removed the copies: try again later"))
}

/// Asks on the terminal; without one, and without `--yes`, nothing is done.
pub(super) fn confirm(question: &str) -> Result<(), Error> {
    let stdin = std::io::stdin();
    if !stdin.is_terminal() {
        return Err(Error::refused("there is no terminal to ask on").hint("add --yes"));
    }
    let mut stderr = std::io::stderr();
    let _ = write!(stderr, "{question} [y/N] ").and_then(|()| stderr.flush());
    let mut line = String::new();
    let _ = stdin.lock().read_line(&mut line);
    if matches!(line.trim(), "y" | "Y" | "yes") { Ok(()) } else { Err(Error::refused("answered with no")) }
}
