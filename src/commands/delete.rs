//! `delete`: a backup with its snapshots, stored copies and record; a restore with the old volumes that it kept.

use std::io::{BufRead, IsTerminal, Write};
use std::time::Duration;

use crate::backend::Discard;
use crate::backend::csi::Csi;
use crate::cli::Delete;
use crate::cluster::client::Cluster;
use crate::error::{Error, ExitCode, Refusal};
use crate::journal::{self, Kind, Stored};
use crate::output::progress::Progress;
use crate::output::{self, Format};
use crate::runs::{self, BackupJournal};

/// How long the storage may take to remove a copy.
const REMOVAL: Duration = Duration::from_secs(120);

/// Deletes runs.
pub(super) async fn run(cluster: &Cluster, args: Delete) -> Result<ExitCode, Error> {
    let mut found = Vec::new();
    let mut refusals = Vec::new();
    for run in &args.runs {
        match deletable(cluster, run).await {
            Ok(stored) => found.push(stored),
            Err(refusal) => refusals.push(refusal),
        }
    }
    if !refusals.is_empty() {
        return Err(Error::refusals(refusals));
    }
    if !args.yes {
        confirm(&format!("delete {} and the copies of the data? this cannot be undone", args.runs.join(", ")))?;
    }
    let progress = Progress::new();
    for stored in &found {
        progress.step(&format!("deleting {}", stored.run));
        match stored.kind {
            Some(Kind::Restore) => crate::executor::restore::delete(cluster, stored, REMOVAL).await?,
            _ => remove_copies(cluster, &BackupJournal::read(stored)?).await?,
        }
        // The record last: as long as something is left, something names it.
        journal::delete(cluster, stored).await?;
        let kind = stored.kind.map_or("run", Kind::as_str);
        output::to_stdout(&match args.output.output {
            Format::Json => output::json(&serde_json::json!({"kind": kind, "name": stored.run, "deleted": true}))?,
            Format::Yaml => output::yaml(&serde_json::json!({"kind": kind, "name": stored.run, "deleted": true}))?,
            Format::Name => format!("{kind}/{}", stored.run),
            Format::Table | Format::Wide => format!("{kind} \"{}\" deleted", stored.run),
        });
    }
    progress.done();
    Ok(ExitCode::Done)
}

/// A run that may be deleted: one that is over. A running one still needs its record.
async fn deletable(cluster: &Cluster, run: &str) -> Result<Stored, Refusal> {
    let object = format!("run {run}");
    let stored =
        runs::stored(cluster, &cluster.namespace, run).await.map_err(|e| Refusal::new(&object, e.to_string()))?;
    let running = match stored.kind {
        Some(Kind::Backup) => BackupJournal::read(&stored).map(|j| !j.run.is_finished()),
        Some(Kind::Restore) => Ok(crate::executor::restore::is_open(&stored)),
        None => return Err(Refusal::new(object, "its record was written by a newer version")),
    };
    match running {
        Ok(false) => Ok(stored),
        Ok(true) => Err(Refusal::new(object, "it is not finished")
            .hint(format!("finish it first: {}", cluster.typed.thaw(run, &cluster.namespace)))),
        Err(error) => Err(Refusal::new(object, error.to_string())),
    }
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
