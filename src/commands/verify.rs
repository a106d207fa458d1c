//! `verify`: start each database of a backup alone, from copies, and let the engine's own checks judge it.

use std::collections::BTreeSet;
use std::time::Duration;

use k8s_openapi::api::core::v1::PersistentVolumeClaim;

use super::print;
use super::quiesce_snapshot::give_back;
use crate::cli::Verify;
use crate::clock::Clock;
use crate::cluster::anew_facts::{self, namespaces_there};
use crate::cluster::client::Cluster;
use crate::cluster::policies::policies;
use crate::cluster::restore_facts::{self, Wanted, collect};
use crate::cluster::templates::templates;
use crate::error::{Error, ExitCode, Refusal};
use crate::executor::restore::{manifests, source};
use crate::executor::signals::Signals;
use crate::executor::verify::{Found, Verifier, keep, lease, mark, remove};
use crate::journal;
use crate::lease::{Leases, Left};
use crate::manifests::Manifests;
use crate::output::progress::Progress;
use crate::output::{self, Format, verified};
use crate::plan::restore::anew::There;
use crate::plan::restore::facts as facts_of;
use crate::plan::verify::query::{self, Query};
use crate::plan::verify::{self, VerifyPlan, plan_verify};
use crate::plan::{Plan, restore};
use crate::quiescer::verify::capped;
use crate::record::verified::{KEY, Verified};
use crate::runs::RunName;

/// How long each database of a backup that was just taken may take: the default of `verify --wait`.
pub(super) const WAIT: Duration = Duration::from_secs(3600);
/// How long past its time a copy lives whose process died.
const AFTER: Duration = Duration::from_secs(300);
/// Of why a database is not well so much stands in the error; all of it in the record.
const MOST: usize = 250;
/// A lease that could not be renewed for so long more is lost.
const LEASE: Duration = Duration::from_secs(10);

/// What is asked for.
pub(super) struct Asked<'a> {
    pub(super) run: &'a RunName,
    pub(super) queries: &'a [String],
    pub(super) namespace: Option<&'a str>,
    pub(super) keep: bool,
    pub(super) wait: Duration,
}

/// Verifies a backup.
pub(super) async fn run(cluster: &Cluster, args: Verify) -> Result<ExitCode, Error> {
    let format = args.output.output;
    let namespace = args.to_namespace.as_deref();
    let asked = Asked { run: &args.run, queries: &args.query, namespace, keep: args.keep, wait: args.wait };
    let progress = Progress::new();
    progress.step("looking at the cluster");
    let clock = Clock::measure(cluster).await?;
    let planned = planned(cluster, &asked, &clock).await?;
    if args.dry_run {
        progress.done();
        output::to_stdout(&verified::dry_run(&planned.plan, format)?);
        return Ok(ExitCode::Done);
    }
    for note in &planned.plan.notes {
        progress.say(&format!("note: {note}"));
    }
    let talk = progress.clone();
    let signals = Signals::listen(move |line| talk.say(line))?;
    let ended = lead(cluster, &asked, &planned, &clock, &signals, &progress).await;
    progress.done();
    let found = ended?;
    let backup = crate::runs::backup(cluster, &planned.plan.namespace, &planned.plan.run).await?;
    match (format, &found.verdict) {
        // What is not in the record is told as a table only.
        (Format::Table | Format::Wide, _) => output::to_stdout(&verified::result(&planned.plan.run, &found.all)),
        (_, Some(_)) => print::backup(cluster, &backup, format)?,
        (_, None) => {}
    }
    finish(cluster, &planned.plan, found)
}

/// The end of a verification, as exit code or error.
fn finish(cluster: &Cluster, plan: &VerifyPlan, found: Ended) -> Result<ExitCode, Error> {
    let run = &plan.run;
    let reasons: Vec<String> = found
        .all
        .iter()
        .filter(|f| !f.target.ok)
        .map(|f| format!("{}: {}", f.target.path(), capped(&f.target.reason, MOST)))
        .collect();
    let error = match &found.verdict {
        Some(verdict) if verdict.ok => match found.left {
            None => return Ok(ExitCode::Done),
            Some(_) => Error::failed(format!("backup {run} is verified, but a copy is not removed")),
        },
        Some(_) => Error::failed(format!("backup {run} is not what it should be: {}", reasons.join("; ")))
            .hint(format!("look at the copies: {} --keep", cluster.typed.command("verify", run, &plan.namespace))),
        None => Error::failed(format!("backup {run} could not be verified: {}", reasons.join("; ")))
            .hint("nothing is known against the backup, and its record is as it was"),
    };
    Err(match found.left {
        Some(left) => {
            error.hint(format!("not removed: {left}; the next verify of it removes that, and so does delete"))
        }
        None => error,
    })
}

/// What is going to be done.
pub(super) struct Planned {
    pub(super) plan: VerifyPlan,
    queries: Vec<Query>,
}

/// The plan, or every reason why not.
pub(super) async fn planned(cluster: &Cluster, asked: &Asked<'_>, clock: &Clock) -> Result<Planned, Error> {
    // Of what has no data of its own there is no copy to start.
    let source = source(cluster, asked.run).await?.of_databases();
    let wrong = |why: String| vec![Refusal::new(format!("backup/{}", asked.run), why)];
    let suffix = verify::suffix(&source.plan.run).map_err(wrong).map_err(Error::refusals)?;
    let place = restore::Place { namespace: asked.namespace, suffix: Some(&suffix), ..restore::Place::default() };
    let facts = collect(cluster, &source, Wanted::Verify(&place), clock.now()).await;
    let mut facts = facts;
    // An earlier verification's own are removed first.
    let own = |claim: &PersistentVolumeClaim| verify::is_own(&claim.metadata, &source.plan.run);
    facts.claims.retain(|_, found| !found.yes().is_some_and(own));
    let remembered = manifests(cluster, &source).await.unwrap_or_default();
    let templates = templates(cluster, &source.plan, &remembered).await;
    let limit = (!asked.keep).then(|| asked.wait + AFTER);
    let places = source.plan.claims.iter().map(|claim| place.namespace_of(claim).to_owned()).collect();
    let mut there = match asked.namespace {
        Some(namespace) => {
            let uses = verify::uses(&source.plan, &templates, &place);
            anew_facts::used(cluster, &uses, namespace, &places).await
        }
        None => There { namespaces: namespaces_there(cluster, &places).await, ..There::default() },
    };
    there.policies = policies(cluster, &places).await;
    let of_record = BTreeSet::from([source.plan.namespace.clone()]);
    let record_gone =
        namespaces_there(cluster, &of_record).await.into_values().any(|found| found == facts_of::Found::No);
    let wanted = verify::Wanted {
        templates: &templates,
        limit,
        namespace: asked.namespace,
        there: &there,
        manifests: &remembered,
        record_gone,
    };
    let plan = plan_verify(&source, &facts, &wanted);
    match (plan, queries(&source.plan, asked.queries)) {
        (Ok(plan), Ok(queries)) => Ok(Planned { plan, queries }),
        (plan, queries) => {
            let mut refusals = plan.err().unwrap_or_default();
            refusals.extend(queries.err().unwrap_or_default());
            Err(Error::refusals(refusals))
        }
    }
}

fn queries(plan: &Plan, typed: &[String]) -> Result<Vec<Query>, Vec<Refusal>> {
    let read: Vec<Result<Query, Refusal>> = typed
        .iter()
        .map(|typed| query::read(typed, &plan.targets).map_err(|why| Refusal::new("--query", why)))
        .collect();
    let refusals: Vec<Refusal> = read.iter().filter_map(|r| r.as_ref().err().cloned()).collect();
    if refusals.is_empty() { Ok(read.into_iter().flatten().collect()) } else { Err(refusals) }
}

/// What can be known before a backup is taken of why it could not be verified: rights, start programs, questions.
pub(super) async fn obstacles(cluster: &Cluster, plan: &Plan, typed: &[String]) -> Vec<Refusal> {
    let plan = &plan.of_databases();
    let mut refusals = queries(plan, typed).err().unwrap_or_default();
    let namespaces = verify::namespaces(plan.targets.iter());
    let needed = restore::access::verify(&namespaces.into_iter().collect(), None, &plan.namespace);
    let denied = restore_facts::denied(cluster, needed).await;
    let denied = denied.into_iter().filter(|access| (access.verb, access.resource) != ("patch", "persistentvolumes"));
    refusals.extend(restore::access::refusals(&denied.collect::<Vec<_>>()));
    refusals.extend(verify::obstacles(plan, &templates(cluster, plan, &Manifests::default()).await));
    refusals
}

/// What came of it.
pub(super) struct Ended {
    pub(super) all: Vec<Found>,
    /// What was recorded; nothing where there was no verdict.
    pub(super) verdict: Option<Verified>,
    /// What was not removed.
    pub(super) left: Option<String>,
}

/// Verifies, once it is ours alone, and records what was found.
pub(super) async fn lead(
    cluster: &Cluster,
    asked: &Asked<'_>,
    planned: &Planned,
    clock: &Clock,
    signals: &Signals,
    progress: &Progress,
) -> Result<Ended, Error> {
    let plan = &planned.plan;
    signals.lead(cluster.typed.command("verify", &plan.run, &plan.namespace));
    let say = |text: &str| progress.say(text);
    let Some(leases) = signals.unless(lease(cluster, &plan.leased, &plan.run, &say)).await else {
        return Err(Error::interrupted("interrupted: nothing was touched"));
    };
    let leases = leases.map_err(Error::refusals)?;
    let ended = led(cluster, asked, planned, clock, &leases, signals, progress).await;
    give_back(leases, Left::Nothing, progress).await;
    ended
}

async fn led(
    cluster: &Cluster,
    asked: &Asked<'_>,
    planned: &Planned,
    clock: &Clock,
    leases: &Leases,
    signals: &Signals,
    progress: &Progress,
) -> Result<Ended, Error> {
    let plan = &planned.plan;
    let namespaces = plan.namespaces();
    let tell = |what: &str| progress.step(&format!("removing the copies: {what}"));
    let queries = &planned.queries;
    let verifier = Verifier { cluster, plan, queries, wait: asked.wait, keep: asked.keep, signals, progress };
    let work = async {
        // Of a process that died, or kept.
        let removed = Box::pin(remove(cluster, &namespaces, &plan.run, None, tell));
        match signals.unless(removed).await {
            Some(removed) => removed?,
            None => return Ok(Vec::new()),
        }
        Ok::<_, String>(verifier.run().await)
    };
    let worked = tokio::select! {
        why = lost(leases) => {
            return Err(Error::failed(format!("verifying backup {} was broken off", plan.run)).cause(why)
                .hint("what is left is removed by the next verify of it, and by delete"));
        }
        worked = work => worked,
    };
    if signals.came() {
        return Err(match remove(cluster, &namespaces, &plan.run, None, tell).await {
            Ok(()) => Error::interrupted("interrupted: every copy is removed, the record is as it was"),
            Err(left) => Error::failed(format!("interrupted, and not removed: {left}"))
                .hint("the next verify of it removes that, and so does delete"),
        });
    }
    let all =
        worked.map_err(|left| Error::failed("what an earlier verification left could not be removed").cause(left))?;
    let left = if asked.keep {
        said_kept(cluster, plan, progress).await
    } else {
        remove(cluster, &namespaces, &plan.run, None, tell).await.err()
    };
    let bad = all.iter().any(|f| !f.target.ok && !f.undecided);
    let verdict = (bad || all.iter().all(|f| f.target.ok)).then(|| Verified {
        at: clock.now(),
        ok: !bad,
        targets: all.iter().map(|f| f.target.clone()).collect(),
        queries: all.iter().flat_map(|f| f.queries.clone()).collect(),
    });
    if let Some(verdict) = &verdict {
        record(cluster, plan, verdict, progress).await?;
    }
    Ok(Ended { all, verdict, left })
}

/// Writes the verdict into the record, and onto the contents, from which that is rebuilt.
async fn record(cluster: &Cluster, plan: &VerifyPlan, verdict: &Verified, progress: &Progress) -> Result<(), Error> {
    let gone = journal::find(cluster, &plan.namespace, &plan.run).await?.is_none();
    if !gone {
        let text =
            serde_json::to_string(verdict).map_err(|e| Error::failed("the result cannot be recorded").cause(e))?;
        journal::put(cluster, &plan.namespace, &plan.run, KEY, &text).await?;
    }
    let (marked, failed) = mark(cluster, &plan.run, verdict).await;
    for why in &failed {
        progress.say(&format!("the verdict does not stand on what the record is rebuilt from: {why}"));
    }
    if gone && marked == 0 {
        progress.say("the backup's record is gone: what was found is not recorded");
    }
    Ok(())
}

/// Ends when the lease is lost and stays so: a slow API server alone is no reason to stop.
async fn lost(leases: &Leases) -> String {
    loop {
        let why = leases.until_lost().await;
        tokio::time::sleep(LEASE).await;
        if leases.lost().is_some() {
            return why;
        }
    }
}

/// Says how kept copies are looked at and removed. Their volumes go with their claims.
async fn said_kept(cluster: &Cluster, plan: &VerifyPlan, progress: &Progress) -> Option<String> {
    for copy in &plan.targets {
        let (namespace, container) = (&copy.namespace, &copy.target.container);
        progress.say(&format!(
            "kept: pod/{}; look at it: {}",
            copy.name,
            cluster.typed.kubectl(&["exec", "-it", &copy.name, "-c", container, "-n", namespace], &["--", "sh"])
        ));
    }
    for namespace in plan.namespaces() {
        let objects = plan.objects(&namespace);
        let objects = objects.iter().map(String::as_str);
        let words: Vec<&str> =
            ["delete"].into_iter().chain(objects).chain(["-n", &namespace, "--ignore-not-found"]).collect();
        progress.say(&format!("remove all of it: {}", cluster.typed.kubectl(&words, &[])));
    }
    keep(cluster, &plan.namespaces(), &plan.run).await.err()
}

/// Verifies a backup that was just taken: whatever comes of that, the backup is made.
pub(super) async fn just_taken(
    cluster: &Cluster,
    asked: &Asked<'_>,
    clock: &Clock,
    signals: &Signals,
    progress: &Progress,
) -> Result<ExitCode, Error> {
    let planned = planned(cluster, asked, clock).await?;
    finish(cluster, &planned.plan, lead(cluster, asked, &planned, clock, signals, progress).await?)
}
