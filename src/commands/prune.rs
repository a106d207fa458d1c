//! `prune`: deletes the backups that no rule keeps.

use jiff::Timestamp;

use super::delete::{self, confirm, deletable};
use crate::cli::Prune;
use crate::cluster::client::Cluster;
use crate::error::{Error, ExitCode};
use crate::journal::Kind;
use crate::output::progress::Progress;
use crate::output::{self, Format};
use crate::record::backup::Backup;
use crate::record::item::Item;
use crate::runs::RunName;
use crate::runs::retention::{Keep, Verdict, judge};

/// Deletes what no rule keeps. What cannot be deleted, because something needs it, stays and is named.
pub(super) async fn run(cluster: &Cluster, args: Prune) -> Result<ExitCode, Error> {
    let keep = rules(&args)?;
    let progress = Progress::new();
    progress.step("looking at the backups");
    let (items, damaged) = crate::runs::all(cluster, Some(&cluster.namespace)).await?;
    let backups: Vec<&Backup> = items.iter().filter_map(of_backup).collect();
    let mut verdicts = judge(&backups, &keep);
    for verdict in verdicts.iter_mut().filter(|v| !v.keep) {
        if let Err(why) = deletable(cluster, &name(verdict)).await {
            let refusals = why.refusals(&name(verdict));
            verdict.keep = true;
            verdict.why = refusals.into_iter().map(|r| r.message).collect::<Vec<_>>().join("; ");
        }
    }
    progress.done();
    for why in &damaged {
        output::warn(why);
    }
    if args.output.output != Format::Name || args.dry_run {
        output::to_stdout(&output::prune::verdicts(&backups, &verdicts, Timestamp::now(), args.output.output)?);
    }
    let gone: Vec<&Verdict> = verdicts.iter().filter(|v| !v.keep).collect();
    if args.dry_run || gone.is_empty() {
        return Ok(ExitCode::Done);
    }
    if !args.yes {
        let runs: Vec<&str> = gone.iter().map(|v| v.run.as_str()).collect();
        confirm(&format!("delete backups {} with the copies of the data? this cannot be undone", runs.join(", ")))?;
        // The question may have stood for an hour, and what was to stay may be gone, or have failed its verification.
        let (items, _) = crate::runs::all(cluster, Some(&cluster.namespace)).await?;
        let backups: Vec<&Backup> = items.iter().filter_map(of_backup).collect();
        if let Some(kept) = kept_now(&gone, &judge(&backups, &keep)) {
            return Err(Error::refused(format!("backup {kept} is to be kept now: the backups have changed since"))
                .hint("run it again"));
        }
    }
    delete_all(cluster, &gone, args.output.output).await
}

/// One of those that were to be deleted and now is to be kept.
fn kept_now<'a>(gone: &[&'a Verdict], now: &[Verdict]) -> Option<&'a str> {
    let kept = |run: &str| now.iter().any(|verdict| verdict.run == run && verdict.keep);
    gone.iter().map(|verdict| verdict.run.as_str()).find(|run| kept(run))
}

fn rules(args: &Prune) -> Result<Keep, Error> {
    let keep = Keep { last: args.keep_last.map(Into::into), within: args.keep_within };
    if keep == Keep::default() {
        return Err(Error::usage("no rule says what is to be kept").hint("add --keep-last N or --keep-within 7d"));
    }
    Ok(keep)
}

fn of_backup(item: &Item) -> Option<&Backup> {
    match item {
        Item::Backup(backup) => Some(backup),
        Item::Restore(_) => None,
    }
}

fn name(verdict: &Verdict) -> RunName {
    RunName { kind: Some(Kind::Backup), id: verdict.run.clone() }
}

/// One that cannot be deleted does not keep the others.
async fn delete_all(cluster: &Cluster, gone: &[&Verdict], format: Format) -> Result<ExitCode, Error> {
    let progress = Progress::new();
    let mut failed: Option<Error> = None;
    for verdict in gone {
        progress.step(&format!("deleting {}", verdict.run));
        match delete::delete(cluster, &name(verdict), &progress).await {
            // The documents have told it already.
            Ok(deleted) if !matches!(format, Format::Json | Format::Yaml) => progress.data(&deleted.line(format)),
            Ok(_) => {}
            Err(error) => {
                if let Some(earlier) = failed.take() {
                    progress.show(&output::error(&earlier));
                    failed = Some(Error { code: error.code.worse(earlier.code), ..error });
                } else {
                    failed = Some(error);
                }
            }
        }
    }
    progress.done();
    failed.map_or(Ok(ExitCode::Done), Err)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_needed_now_stops_the_deletion() {
        let verdict = |run: &str, keep| Verdict { run: run.into(), keep, why: String::new() };
        let gone = [verdict("b1", false), verdict("b2", false)];
        let gone: Vec<&Verdict> = gone.iter().collect();
        assert_eq!(kept_now(&gone, &[verdict("b1", false), verdict("b2", false), verdict("b3", true)]), None);
        assert_eq!(kept_now(&gone, &[verdict("b1", false), verdict("b2", true)]), Some("b2"));
    }
}
