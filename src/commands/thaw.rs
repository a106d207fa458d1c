//! `thaw`: releases what a dead run may have left held and brings it to its end, from any machine.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::finish::{self, Ended};
use super::unproven::believed;
use crate::cli::Thaw;
use crate::cluster::client::Cluster;
use crate::cluster::discovery::namespace_refusal;
use crate::error::{Error, ExitCode};
use crate::executor::restore::RestoreJournal;
use crate::executor::signals::Signals;
use crate::journal::{Kind, Stored, release};
use crate::lease::Take;
use crate::output::progress::Progress;
use crate::output::{self, Format};
use crate::record::item::{BackupList, Item};
use crate::runs::BackupJournal;
use crate::runs::proof::{Believed, Wish, judge};

/// How long the leader of a detached run may take to release and compare.
const ANSWERED: Duration = Duration::from_secs(10);

/// How long it may take to compare then: readiness that the hold took is waited for, and a guard's end.
const COMPARED: Duration = Duration::from_secs(150);

/// Finishes one run, or all unfinished ones. 0 when nothing is held, whatever the runs' outcomes.
pub(super) async fn run(cluster: &Cluster, args: Thaw) -> Result<ExitCode, Error> {
    let progress = Progress::new();
    let namespace = (!args.all_namespaces).then_some(cluster.namespace.as_str());
    let open = match &args.run {
        Some(run) => vec![crate::runs::named(cluster, run).await.map_err(unseen)?],
        None => match crate::runs::open(cluster, namespace).await.map_err(unseen) {
            Err(error) if namespace.is_none() => return Err(error.hint("where not all may be listed: -n NAMESPACE")),
            open => open?,
        },
    };
    if open.is_empty() {
        progress.done();
        if let Some(namespace) = namespace
            && let Some(refusal) = namespace_refusal(&cluster.api, namespace).await.map_err(unseen)?
        {
            return Err(Error::refusals(vec![refusal]));
        }
        output::to_stderr(&nothing(namespace));
        return Ok(ExitCode::Done);
    }
    let take = if args.force { Take::Force } else { Take::AfterExpiry };
    let talk = progress.clone();
    let signals = Signals::listen(move |line| talk.say(line))?;
    let mut code = ExitCode::Done;
    let mut items = Vec::new();
    // Unproven runs come last: a question about one must not keep the others held.
    let mut rest: VecDeque<(&Stored, bool)> = open.iter().map(|header| (header, false)).collect();
    while let Some((header, asks)) = rest.pop_front() {
        if signals.came() {
            progress.say(&format!("{} in {}: left as it is", header.run, header.namespace));
            code = code.worse(if may_hold(header) { ExitCode::Held } else { ExitCode::Interrupted });
            continue;
        }
        let believed = match judged(cluster, header, asks.then_some(args.yes), &signals, &progress).await {
            Some(believed) => believed,
            None if asks => {
                rest.push_front((header, asks));
                continue;
            }
            None => {
                rest.push_back((header, true));
                continue;
            }
        };
        let detached = is_detached(header);
        let finished = match believed {
            Ok(believed) => {
                let how = (detached, args.run.is_some());
                Box::pin(finished(cluster, (header, &believed), how, take, &signals, &progress)).await
            }
            Err(error) => Err(error),
        };
        match finished {
            Ok(Ended { item, held }) => {
                if detached {
                    forget(cluster, header, &progress).await;
                }
                if held {
                    code = ExitCode::Held;
                } else if detached && !is_sound(&item) {
                    // Who copied meanwhile must not take his copy for what it is not.
                    code = code.worse(ExitCode::Failed);
                }
                items.push(item);
            }
            // The others may still hold something: they are finished all the same.
            Err(error) if open.len() > 1 => {
                progress.show(&output::error(&error));
                code = if error.code == ExitCode::Held || code == ExitCode::Held { ExitCode::Held } else { error.code };
            }
            Err(error) => {
                progress.done();
                return Err(error);
            }
        }
    }
    progress.done();
    let list = BackupList::new(items);
    // 0 means that nothing is held; what is left of the snapshots is told besides.
    for item in &list.items {
        if let Item::Backup(backup) = item
            && backup.status.snapshots_removed == "pending"
        {
            output::warn(&format!(
                "snapshots of backup {} are still not removed: {}",
                backup.metadata.name,
                backup.status.snapshots_left.join("; ")
            ));
        }
    }
    print(&list, &args)?;
    Ok(code)
}

/// Prints the runs that were finished.
fn print(list: &BackupList, args: &Thaw) -> Result<(), Error> {
    match (args.output.output, args.run.is_some().then(|| list.items.first()).flatten()) {
        (Format::Json, Some(item)) => output::to_stdout(&output::json(item)?),
        (Format::Yaml, Some(item)) => output::to_stdout(&output::yaml(item)?),
        (Format::Json, None) => output::to_stdout(&output::json(list)?),
        (Format::Yaml, None) => output::to_stdout(&output::yaml(list)?),
        (Format::Name, _) => {
            for item in &list.items {
                output::to_stdout(&output::name(&item.kind().to_lowercase(), &item.metadata().name));
            }
        }
        (Format::Table | Format::Wide, _) => {
            output::to_stdout(&output::runs::list(&list.items, jiff::Timestamp::now(), args.all_namespaces, true));
        }
    }
    Ok(())
}

/// Whether the record is believed; nothing where it is unproven and not to be asked about yet, or where a signal came
/// instead of an answer. `asks`: ask about it, unless the user said `--yes`.
async fn judged(
    cluster: &Cluster,
    header: &Stored,
    asks: Option<bool>,
    signals: &Signals,
    progress: &Progress,
) -> Option<Result<Believed, Error>> {
    match asks {
        Some(yes) => {
            let asked = believed(cluster, header, (Wish::Finish, may_hold(header)), yes, progress);
            signals.unless(asked).await
        }
        None => judge(cluster, header, Wish::Finish).await.ok()?.ok().map(Ok),
    }
}

/// Brings a run to its end. `named`: the user named it.
async fn finished(
    cluster: &Cluster,
    (header, believed): (&Stored, &Believed),
    (detached, named): (bool, bool),
    take: Take,
    signals: &Signals,
    progress: &Progress,
) -> Result<Ended, Error> {
    progress.say(&format!("{} in {}: finishing", header.run, header.namespace));
    // Named by nobody, it is not over for anybody who copies.
    if detached && named {
        release(cluster, header, signals, progress).await;
    }
    // Once more: what it holds may be released by now.
    let again = if detached { crate::runs::stored(cluster, &header.namespace, &header.run).await.ok() } else { None };
    finish::finish(cluster, (again.as_ref().unwrap_or(header), believed), take, signals, progress).await
}

/// Whether it is held until it is asked to be released.
fn is_detached(stored: &Stored) -> bool {
    stored.kind == Some(Kind::Backup) && BackupJournal::read(stored).is_ok_and(|found| found.plan.detached)
}

/// Whether all were held throughout.
fn is_sound(item: &Item) -> bool {
    matches!(item, Item::Backup(backup) if backup.status.outcome == "ApplicationConsistent")
}

/// Asks the process that leads a detached run to release, and waits for it. If there is none any more, or it does not
/// answer, the run is finished as any other.
async fn release(cluster: &Cluster, header: &Stored, signals: &Signals, progress: &Progress) {
    let (namespace, run) = (&header.namespace, &header.run);
    // Whether it is over, and whether something may be held.
    let state = async || match crate::runs::stored(cluster, namespace, run).await.map(|s| BackupJournal::read(&s)) {
        Ok(Ok(found)) => (!found.is_open(), !found.run.may_be_held().is_empty()),
        _ => (false, true),
    };
    if state().await.0 {
        return;
    }
    if let Err(why) = release::ask(cluster, namespace, run).await {
        progress.say(&format!("the process that leads run {run} could not be told: {why}"));
        return;
    }
    let asked = Instant::now();
    let mut over = false;
    while !signals.came() {
        let held;
        (over, held) = state().await;
        let patience = if held { ANSWERED } else { COMPARED };
        if over || asked.elapsed() > patience {
            break;
        }
        progress.step(if held { "waiting until it is released" } else { "released; waiting for the comparison" });
        sleep(Duration::from_millis(200)).await;
    }
    // One that lives and does not hear shall find it yet, and takes it back itself.
    if over {
        forget(cluster, header, progress).await;
    }
}

async fn forget(cluster: &Cluster, header: &Stored, progress: &Progress) {
    if let Err(why) = release::forget(cluster, &header.namespace, &header.run).await {
        progress.say(&format!("the word to release run {} is left, and harms nothing: {why}", header.run));
    }
}

/// Whether a run that is not finished may hold something. One that cannot be read may.
fn may_hold(stored: &Stored) -> bool {
    match stored.kind {
        Some(Kind::Restore) => RestoreJournal::read(stored).map_or(true, |found| found.run.may_be_down()),
        _ => BackupJournal::read(stored).map_or(true, |found| !found.run.may_be_held().is_empty()),
    }
}

/// What failed before it was seen what is held: that everything serves, as exit code 1 says, nobody knows then.
pub(super) fn unseen(error: Error) -> Error {
    match error.code {
        ExitCode::Failed => {
            Error { code: ExitCode::Held, ..error }.hint("nothing was looked at: something may still be held")
        }
        _ => error,
    }
}

/// Nothing is open where it was looked for. Who runs this because a database hangs must see that it was elsewhere.
fn nothing(namespace: Option<&str>) -> String {
    match namespace {
        None => "nothing to thaw: every run of all namespaces is finished".to_owned(),
        Some(namespace) => format!(
            "nothing to thaw in namespace {namespace}: every run there is finished\nhint: -n NAMESPACE looks in another \
             one, -A in all"
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{restore, serving};
    use super::*;
    use crate::cli::OutputFlag;
    use crate::runs::RunName;

    #[test]
    fn nothing_to_do_says_where_it_was_looked_for() {
        assert_eq!(
            nothing(Some("demo")),
            "nothing to thaw in namespace demo: every run there is finished\nhint: -n NAMESPACE looks in another one, -A \
             in all"
        );
        assert_eq!(nothing(None), "nothing to thaw: every run of all namespaces is finished");
    }

    #[tokio::test(start_paused = true)]
    async fn a_run_that_is_not_there_is_refused_in_the_words_of_all_commands() {
        let (cluster, _) = serving(&[restore("r1", &[])], "-none");
        let thaw = async |run: &str| {
            let output = OutputFlag { output: Format::Name };
            let args =
                Thaw { run: Some(RunName::new(run).unwrap()), all_namespaces: false, force: false, yes: false, output };
            Box::pin(super::run(&cluster, args)).await.unwrap_err()
        };
        let error = thaw("r9").await;
        assert_eq!(
            (error.code, error.to_string().as_str()),
            (ExitCode::Refused, "run \"r9\" is not in namespace demo")
        );
        assert_eq!(error.hints, ["kubectl consistent-backup list -n demo"]);
        assert_eq!(thaw("backup/r1").await.to_string(), "run r1 is a restore, not a backup");
    }
}
