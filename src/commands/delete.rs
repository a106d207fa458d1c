//! `delete`: a backup with its snapshots, stored copies and record; a restore with the volumes that it kept.

use std::io::{BufRead, IsTerminal};
use std::time::Duration;

use k8s_openapi::api::core::v1::Namespace;
use kube::api::Api;

use crate::backend::Discard;
use crate::backend::csi::{Csi, alias};
use crate::cli::Delete;
use crate::cluster::client::{Cluster, allowed};
use crate::error::{Error, ExitCode};
use crate::executor::restore::RestoreJournal;
use crate::executor::verify;
use crate::journal::{self, Kind, Stored};
use crate::lease::{Leases, Left, Take};
use crate::output::progress::Progress;
use crate::output::{self, Format};
use crate::plan::verify::namespaces;
use crate::runs::{BackupJournal, RunName};

mod obstacles;
#[cfg(test)]
mod tests;
mod told;

pub(super) use obstacles::deletable;

use obstacles::NotDeletable;
use told::Deleted;

/// How long the storage may take to remove what belongs to one run, as long as when an attempt is discarded: what is
/// not gone then waits for something else.
const REMOVAL: Duration = Duration::from_secs(60);

/// Deletes runs. One that cannot be deleted does not keep the others.
pub(super) async fn run(cluster: &Cluster, args: Delete) -> Result<ExitCode, Error> {
    let (mut runs, mut planned) = (Vec::new(), Vec::new());
    let mut refusals = Vec::new();
    for name in &args.runs {
        match deletable(cluster, name).await {
            // `list -o name` and a hand may name the same run.
            Ok(found) if planned.iter().any(|p: &Deleted| p.run == found.stored.run) => {}
            Ok(found) => {
                planned.push(Deleted::new(&found.stored, found.volumes));
                runs.push(name);
            }
            // As every other command says it.
            Err(NotDeletable::Unknown(error)) if args.runs.len() == 1 => return Err(error),
            Err(why) => refusals.extend(why.refusals(name)),
        }
    }
    if !refusals.is_empty() {
        return Err(Error::refusals(refusals));
    }
    if !args.yes {
        confirm(&told::question(&planned))?;
    }
    let format = args.output.output;
    let progress = Progress::new();
    let (mut done, mut failed) = (Vec::new(), Vec::new());
    for &run in &runs {
        progress.step(&format!("deleting {run}"));
        match delete(cluster, run, &progress).await {
            Ok(deleted) => {
                if !matches!(format, Format::Json | Format::Yaml) {
                    progress.data(&deleted.line(format));
                }
                done.push(deleted);
            }
            Err(error) => failed.push(error),
        }
    }
    progress.done();
    if let Some(document) = told::document(&done, runs.len(), format)? {
        output::to_stdout(&document);
    }
    // The last one is printed by who prints the error of any command.
    let last = failed.pop();
    for error in &failed {
        output::to_stderr(&output::error(error));
    }
    let Some(last) = last else { return Ok(ExitCode::Done) };
    Err(Error { code: failed.iter().fold(last.code, |worst, error| worst.worse(error.code)), ..last })
}

/// Deletes one run and says what went.
pub(super) async fn delete(cluster: &Cluster, run: &RunName, progress: &Progress) -> Result<Deleted, Error> {
    // Asked again: a question may stand for an hour and a removal for minutes, and a restore may have begun meanwhile.
    let stored = match deletable(cluster, run).await {
        Ok(found) => found.stored,
        Err(why) => return Err(Error::refusals(why.refusals(run))),
    };
    let tell = |what: &str| progress.step(&format!("deleting {run}: {what}"));
    if stored.kind == Some(Kind::Restore) {
        // Nobody may take the restore back meanwhile: the volumes that it would go back to are given up here.
        let pods = RestoreJournal::read(&stored)?.plan.leased();
        let leases = Leases::take(cluster, &pods, &stored.run, Take::IfFree, &|_| {}).await.map_err(Error::refusals)?;
        let deleted = delete_restore(cluster, run, tell).await;
        // What is not given back expires by itself.
        let _ = leases.release(Left::Nothing).await;
        return deleted;
    }
    // Nobody may begin to verify it meanwhile.
    let backup = BackupJournal::read(&stored)?;
    if stored.rebuilt && is_gone(cluster, &stored.namespace).await {
        // No lease can lie there, and nobody verifies it there.
        return delete_backup(cluster, &stored, &backup, tell).await;
    }
    let say = |text: &str| progress.say(text);
    let leases = verify::lease(cluster, &stored.namespace, &stored.run, &say).await.map_err(Error::refusals)?;
    let deleted = delete_backup(cluster, &stored, &backup, tell).await;
    let _ = leases.release(Left::Nothing).await;
    deleted
}

/// Whether this namespace is known not to be there.
async fn is_gone(cluster: &Cluster, namespace: &str) -> bool {
    let api: Api<Namespace> = Api::all(cluster.api.clone());
    matches!(api.get_opt(namespace).await, Ok(None))
}

async fn delete_backup(
    cluster: &Cluster,
    stored: &Stored,
    backup: &BackupJournal,
    tell: impl Fn(&str),
) -> Result<Deleted, Error> {
    // Left by one that died, or kept to be looked at.
    let namespaces = namespaces(backup.plan.targets.iter());
    verify::remove(cluster, &namespaces, &stored.run, None, &tell).await.map_err(|left| {
        Error::failed(format!("backup {} is not deleted: what verified it is still there", stored.run)).cause(left)
    })?;
    remove_aliases(cluster, &stored.run).await?;
    remove_copies(cluster, backup, tell).await?;
    journal::parts::delete(cluster, &stored.namespace, &stored.run)
        .await
        .map_err(|why| undeleted(&stored.run, &why))?;
    // The record last: as long as something is left, something names it.
    if !stored.rebuilt {
        journal::delete(cluster, stored).await?;
    }
    Ok(Deleted::new(stored, Vec::new()))
}

/// The same of a restore that is ours alone now: asked once more, for it may have gone on before.
async fn delete_restore(cluster: &Cluster, run: &RunName, tell: impl Fn(&str)) -> Result<Deleted, Error> {
    let stored = match deletable(cluster, run).await {
        Ok(found) => found.stored,
        Err(why) => return Err(Error::refusals(why.refusals(run))),
    };
    let volumes = crate::executor::restore::delete(cluster, &stored, REMOVAL, tell).await?;
    journal::delete(cluster, &stored).await?;
    Ok(Deleted::new(&stored, volumes))
}

fn undeleted(run: &str, why: &str) -> Error {
    Error::failed(format!("backup {run} is not deleted: {why}"))
        .hint("its record stays until all of it is gone: try again later")
}

/// Second VolumeSnapshots of its stored copies. Who may not look at contents made none.
async fn remove_aliases(cluster: &Cluster, run: &str) -> Result<(), Error> {
    for content in allowed(alias::list(cluster, Some(run)).await).map_err(|why| undeleted(run, &why))? {
        alias::remove(cluster, &alias::read(&content)).await.map_err(|why| undeleted(run, &why))?;
    }
    Ok(())
}

async fn remove_copies(cluster: &Cluster, backup: &BackupJournal, tell: impl Fn(&str)) -> Result<(), Error> {
    let left: Vec<String> = Csi::new(cluster, &backup.plan)
        .named()
        .discard_telling(None, REMOVAL, tell)
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
        return Err(Error::refused("cannot ask for confirmation: stdin is not a terminal").hint("add --yes"));
    }
    output::ask(question);
    let mut line = String::new();
    let _ = stdin.lock().read_line(&mut line);
    if matches!(line.trim(), "y" | "Y" | "yes") { Ok(()) } else { Err(Error::refused("cancelled")) }
}
