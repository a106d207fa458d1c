//! `restore-from-snapshot`: a backup back in place, or as copies of its claims.

use jiff::Timestamp;

use super::delete::confirm;
use super::quiesce_snapshot::{give_back, run_id, waiting};
use crate::cli::RestoreFromSnapshot;
use crate::clock::Clock;
use crate::cluster::anew_facts::workloads;
use crate::cluster::client::Cluster;
use crate::cluster::discovery::reselect;
use crate::cluster::restore_facts::{Wanted as Facts, collect, collect_properties, denied};
use crate::cluster::templates::templates;
use crate::error::{Error, ExitCode, Refusal};
use crate::executor::restore::{Restore, make_aliases, overlapping, remove_aliases, source, stopped, thaw_command};
use crate::executor::signals::Signals;
use crate::executor::{Log, execute};
use crate::journal::{self, Kind, New};
use crate::lease::{Leases, Left, Take, Waiting};
use crate::manifests::Manifests;
use crate::output::progress::Progress;
use crate::output::{self, Format, restores};
use crate::plan::restore::access::helper;
use crate::plan::restore::anew::are_gone;
use crate::plan::restore::only::Only;
use crate::plan::restore::{Force, Place, RESTORED_BY, Request, RestorePlan, Source, Workload, plan_in_place};
use crate::plan::{Object, is_release};
use crate::pods::PodState;
use crate::protocol::Abort;
use crate::protocol::restore::{Outcome, Run};
use crate::quiescer::recovery::Wanted;
use crate::record::restore::shape;
use crate::runs::RunName;

mod again;
mod anew;

/// Restores.
pub(super) async fn run(cluster: &Cluster, args: RestoreFromSnapshot) -> Result<ExitCode, Error> {
    let progress = Progress::new();
    progress.step("looking at the cluster");
    match (&args.run, &args.resume, &args.undo) {
        (_, Some(restore), _) => Box::pin(again::resume(cluster, restore, &args, progress)).await,
        (_, _, Some(restore)) => Box::pin(again::undo(cluster, restore, &args, progress)).await,
        (Some(backup), _, _) => Box::pin(restore(cluster, backup, &args, progress)).await,
        (None, None, None) => Err(Error::usage("name the backup that is to be restored")),
    }
}

async fn restore(
    cluster: &Cluster,
    backup: &RunName,
    args: &RestoreFromSnapshot,
    progress: Progress,
) -> Result<ExitCode, Error> {
    let objects: Result<_, Error> = args.only.iter().map(|typed| Object::read(typed)).collect();
    let only = Only { workloads: objects?, claims: args.claim.clone() };
    let clock = Clock::measure(cluster).await?;
    let source = only.of(&source(cluster, backup).await?).map_err(Error::refusals)?;
    let archive = args.archive.wanted();
    let databases = source.of_databases();
    let place = Place { namespace: args.to_namespace.as_deref(), suffix: args.suffix.as_ref(), manifests: None };
    if args.claims_only {
        return anew::claims(cluster, args, &databases, &place, &clock, &progress).await;
    }
    let elsewhere = place.namespace.is_some() || place.suffix.is_some();
    let has_copies = !databases.plan.claims.is_empty();
    if elsewhere || has_copies && are_gone(&databases, &workloads(cluster, &databases.plan.workloads).await) {
        if !args.set_property.is_empty() {
            let why = "the workload is gone, and properties are only set by a restore in place";
            let refusal = Refusal::new("--set-property", why);
            return Err(Error::refusals(vec![
                refusal.hint("bring it back without, then install the release with them"),
            ]));
        }
        if archive.is_some() {
            let why = "the workload is gone, and only a restore in place goes on from an archive";
            let refusal = Refusal::new("--restore-command", why);
            return Err(Error::refusals(vec![refusal.hint("bring it back without, then restore it in place")]));
        }
        return anew::workloads(cluster, args, &databases, place, &clock, &progress).await;
    }
    in_place(cluster, (args, archive), &source.in_place(), clock, &progress).await
}

/// The plan, or every reason why not.
async fn planned(cluster: &Cluster, source: &Source, asked: &Request, now: Timestamp) -> Result<RestorePlan, Error> {
    let mut facts = collect(cluster, source, Facts::InPlace, now).await;
    collect_properties(cluster, source, &asked.properties, &mut facts).await;
    if asked.archive.is_some() {
        let namespaces = source.plan.targets.iter().map(|t| t.namespace.clone()).collect();
        facts.denied.extend(denied(cluster, helper(&namespaces)).await);
        facts.templates = templates(cluster, &source.plan, &Manifests::default()).await;
    }
    let leased = source.plan.targets.iter().map(|t| (t.namespace.clone(), t.leased()));
    let leased: Vec<_> = leased.filter(|(_, name)| is_release(name)).collect();
    let claims = source.plan.claims.iter().map(|c| (c.namespace.as_str(), c.name.as_str()));
    let claims = claims.chain(leased.iter().map(|(n, name)| (n.as_str(), name.as_str()))).collect();
    facts.unfinished = overlapping(cluster, &source.plan.namespace, &source.plan.run, &claims).await?;
    plan_in_place(source, &facts, asked).map_err(Error::refusals)
}

async fn in_place(
    cluster: &Cluster,
    (args, archive): (&RestoreFromSnapshot, Option<Wanted>),
    source: &Source,
    clock: Clock,
    progress: &Progress,
) -> Result<ExitCode, Error> {
    let force = Force { owner: args.force_owner, version: args.force_version };
    let asked = Request {
        run: run_id(clock.now()),
        mark: RESTORED_BY,
        wait: args.wait,
        force,
        archive,
        properties: args.set_property.clone(),
    };
    let plan = planned(cluster, source, &asked, clock.now()).await?;
    let pods = pods(cluster, &plan).await?;
    let text = restores::plan(&plan, &pods, clock.now());
    if args.dry_run {
        progress.done();
        output::to_stdout(&restores::dry_run(&plan, text, args.output.output)?);
        return Ok(ExitCode::Done);
    }
    progress.show(&text);
    if !args.yes {
        progress.done();
        confirm(&restores::question(&plan, args.discard_old, clock.now()))?;
    }
    // What moved was taken away for the question.
    let progress = &Progress::new();
    let talk = progress.clone();
    let signals = Signals::listen(move |line| talk.say(line))?;
    signals.lead(thaw_command(cluster, &plan));
    let (leased, say) = (plan.leased(), |w: &Waiting| progress.say(&waiting(w)));
    let taken = match signals.unless(Leases::take(cluster, &leased, &plan.run, Take::IfFree, &say)).await {
        Some(taken) => taken.map_err(Error::refusals),
        None => Err(Error::interrupted("interrupted: nothing was touched")),
    };
    // The signals' task keeps what moves alive: the error would be written onto its line.
    let leases = taken.inspect_err(|_| progress.done())?;
    let ended = lead(cluster, (source, args.discard_old), (&plan, &asked), &leases, signals, clock, progress).await;
    let left = match &ended {
        Ok(ended) if ended.outcome != Outcome::Stuck && !ended.leftovers => Left::Nothing,
        Ok(_) | Err(_) => Left::Unfinished,
    };
    give_back(leases, left, progress).await;
    progress.done();
    let Ended { outcome, aborted, discarded, .. } = ended?;
    let mut code = match outcome {
        Outcome::Restored => ExitCode::Done,
        Outcome::Stuck => ExitCode::Held,
        Outcome::RestoredOldVolumes | Outcome::Failed if aborted == Some(Abort::Signal) => ExitCode::Interrupted,
        Outcome::RestoredOldVolumes | Outcome::Failed => ExitCode::Failed,
    };
    // A record that cannot be read now takes nothing of what is known already.
    let printed = print(cluster, &plan.namespace, &plan.run, args.output.output).await.map(drop);
    let printed = printed.map_err(|error| Error { code: ExitCode::Lesser, ..error });
    for error in [printed, discarded].into_iter().filter_map(Result::err) {
        output::to_stderr(&output::error(&error));
        code = code.worse(error.code);
    }
    Ok(code)
}

/// Prints what its record says of a restore in place; what its outcome is.
async fn print(cluster: &Cluster, namespace: &str, run: &str, format: Format) -> Result<String, Error> {
    let stored = crate::runs::stored(cluster, namespace, run).await?;
    let restore = crate::executor::restore::record(&stored)?;
    output::to_stdout(&match format {
        Format::Json => output::json(&restore)?,
        Format::Yaml => output::yaml(&restore)?,
        Format::Name => output::name("restore", run),
        Format::Table | Format::Wide => restores::result(&restore, &cluster.typed, Timestamp::now()),
    });
    Ok(restore.status.outcome)
}

/// What came of a restore.
struct Ended {
    outcome: Outcome,
    aborted: Option<Abort>,
    /// Whether policies are still to be put back.
    leftovers: bool,
    /// Whether the old volumes are gone, if that was asked for.
    discarded: Result<(), Error>,
}

/// Runs the restore, once it is ours alone; and deletes the old volumes afterwards, if that is asked for.
async fn lead(
    cluster: &Cluster,
    (source, discard_old): (&Source, bool),
    (shown, asked): (&RestorePlan, &Request),
    leases: &Leases,
    signals: Signals,
    clock: Clock,
    progress: &Progress,
) -> Result<Ended, Error> {
    // A question may stand for an hour, and another run may have ended just before our lease.
    let plan = planned(cluster, source, asked, shown.created).await?;
    if !is_as_shown(&plan, shown) {
        return Err(Error::refused("workloads or claims have changed since the plan was shown").hint("run it again"));
    }
    // Harmless, and named by the backup's id, whatever becomes of the restore.
    let aliased = make_aliases(cluster, &plan.aliases, progress).await;
    aliased.map_err(|why| Error::failed("nothing was stopped: the snapshots cannot be made").cause(why))?;
    let before = pods(cluster, &plan).await?;
    let text = |e: serde_json::Error| Error::failed("the plan cannot be written").cause(e);
    let new = New {
        namespace: plan.namespace.clone(),
        run: plan.run.clone(),
        kind: Kind::Restore,
        plan: serde_json::to_string(&plan).map_err(text)?,
        keys: vec![("pods.before".to_owned(), serde_json::to_string(&before).map_err(text)?)],
    };
    let journal = journal::create(cluster, &new).await?;
    // Before anything is touched: by this mark whoever finishes the run knows that its record is no forgery.
    let marked = leases.mark(&new.namespace, &new.plan).await;
    marked.map_err(|why| Error::failed("nothing was stopped: the leases cannot be marked").cause(why))?;
    let mut log = Log::new(Run::new(&shape(&plan)), Vec::new(), journal, clock);
    let mut hands = Restore::new(cluster, plan, before, leases, signals, progress);
    let ended = execute(&mut log, &mut hands).await;
    let _ = log.written().await;
    if let Ok(Outcome::Restored) = ended {
        remove_aliases(cluster, &hands.plan.aliases, progress).await;
    }
    match ended {
        Ok(outcome) => {
            let discarded = if discard_old { hands.discard_old(&log).await } else { Ok(()) };
            Ok(Ended { outcome, aborted: log.run.aborted(), leftovers: log.run.has_leftovers(), discarded })
        }
        Err(stop) => Err(stopped(cluster, &hands.plan, stop, log.run.may_be_down())),
    }
}

/// Whether the same would be done. How many pods are ready changes by itself, above all where a database is ill.
fn is_as_shown(plan: &RestorePlan, shown: &RestorePlan) -> bool {
    let same = |(now, then): (&Workload, &Workload)| Workload { ready: then.ready, ..now.clone() } == *then;
    plan.workloads.len() == shown.workloads.len()
        && plan.workloads.iter().zip(&shown.workloads).all(same)
        && plan.claims == shown.claims
        && plan.edits == shown.edits
}

async fn pods(cluster: &Cluster, plan: &RestorePlan) -> Result<Vec<PodState>, Error> {
    let pods = reselect(&cluster.api, &plan.selections).await;
    let pods =
        pods.map_err(|e| Error::failed("the pods could not be listed").cause(crate::cluster::client::explain(&e)))?;
    Ok(pods.iter().map(PodState::of).collect())
}
