//! What stops nothing: copies of claims, and workloads that are brought back where they are gone, elsewhere or as copies.

use std::collections::BTreeSet;

use futures::future::join_all;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use kube::api::{Api, ListParams};
use tokio::time::{Duration, Instant, sleep};

use crate::cli::RestoreFromSnapshot;
use crate::clock::Clock;
use crate::cluster::anew_facts::{self, namespaces_there};
use crate::cluster::client::Cluster;
use crate::cluster::policies::policies;
use crate::cluster::restore_facts::{Wanted, collect};
use crate::error::{Error, ExitCode};
use crate::escape::escape_line;
use crate::executor::restore::{bring_back, make_aliases, make_copies, manifests, remove_aliases};
use crate::executor::signals::Signals;
use crate::output::progress::Progress;
use crate::output::{self, Format, restores};
use crate::plan::restore::anew::{Anew, There, namespaces, plan_anew, wanted};
use crate::plan::restore::{Copies, Place, Source, is_copy, plan_copies};
use crate::pods::PodState;
use crate::record::restore::{of_anew, of_copies};

const LOOK: Duration = Duration::from_millis(500);

/// The namespaces in which something is made.
fn places(source: &Source, place: &Place) -> BTreeSet<String> {
    source.plan.claims.iter().map(|claim| place.namespace_of(claim).to_owned()).collect()
}

/// Copies of the claims.
pub(super) async fn claims(
    cluster: &Cluster,
    args: &RestoreFromSnapshot,
    source: &Source,
    place: &Place<'_>,
    clock: &Clock,
    progress: &Progress,
) -> Result<ExitCode, Error> {
    let facts = collect(cluster, source, Wanted::Copies(place), clock.now()).await;
    let there = There { namespaces: namespaces_there(cluster, &places(source, place)).await, ..There::default() };
    let mut refusals = namespaces(&there);
    let copies = match plan_copies(source, &facts, place) {
        Ok(copies) if refusals.is_empty() => copies,
        planned => {
            refusals.extend(planned.err().into_iter().flatten());
            return Err(Error::refusals(refusals));
        }
    };
    if !args.dry_run {
        for copy in copies.claims.iter().filter(|copy| copy.exists) {
            progress.say(&format!("persistentvolumeclaim/{} exists already", copy.new_name));
        }
        make(cluster, args, &copies, progress).await?;
    }
    progress.done();
    print_copies(cluster, &copies, &source.plan.run, clock.now(), args.output.output)?;
    Ok(ExitCode::Done)
}

async fn make(
    cluster: &Cluster,
    args: &RestoreFromSnapshot,
    copies: &Copies,
    progress: &Progress,
) -> Result<(), Error> {
    let made = make_aliases(cluster, &copies.needed(), progress).await;
    made.map_err(|why| Error::failed("no claim was made").cause(why).hint("the same command tries again"))?;
    if copies.claims.iter().any(|copy| !copy.exists) {
        progress.step("making the claims");
        make_copies(cluster, copies).await?;
    }
    let aliases = copies.aliases();
    if aliases.is_empty() {
        return Ok(());
    }
    // As long as a claim has no data it needs what it is made from.
    let late = copies.notes.iter().any(|note| note.contains("stay Pending"));
    let until = Instant::now() + if late { Duration::ZERO } else { args.wait };
    loop {
        let waiting = join_all(copies.claims.iter().map(|copy| async {
            let api: Api<PersistentVolumeClaim> = Api::namespaced(cluster.api.clone(), &copy.namespace);
            let bound = |claim: &PersistentVolumeClaim| {
                claim.status.as_ref().and_then(|s| s.phase.as_deref()) == Some("Bound")
                    && is_copy(claim, &copies.backup.run, &copy.claim)
            };
            !matches!(api.get(&copy.new_name).await, Ok(claim) if bound(&claim))
        }));
        if !waiting.await.contains(&true) {
            remove_aliases(cluster, &aliases, progress).await;
            return Ok(());
        }
        progress.step("waiting until the claims are bound");
        if Instant::now() >= until {
            break;
        }
        sleep(LOOK).await;
    }
    progress.say(
        "the claims are not bound yet: the VolumeSnapshots that they are made from stay until the same command is given \
         again, or the backup is deleted",
    );
    Ok(())
}

fn print_copies(cluster: &Cluster, copies: &Copies, run: &str, now: Timestamp, format: Format) -> Result<(), Error> {
    let record = || of_copies(copies, run, &cluster.namespace, now);
    output::to_stdout(&match format {
        Format::Json => output::json(&record())?,
        Format::Yaml => output::yaml(&record())?,
        Format::Name => {
            let names = copies.claims.iter().map(|c| output::name("persistentvolumeclaim", &c.new_name));
            names.collect::<Vec<_>>().join("\n")
        }
        Format::Table | Format::Wide => restores::copies(copies),
    });
    Ok(())
}

/// Workloads with their claims.
pub(super) async fn workloads(
    cluster: &Cluster,
    args: &RestoreFromSnapshot,
    source: &Source,
    place: Place<'_>,
    clock: &Clock,
    progress: &Progress,
) -> Result<ExitCode, Error> {
    let manifests = manifests(cluster, source).await.map_err(|error| Error { code: ExitCode::Refused, ..error })?;
    let place = Place { manifests: Some(&manifests), ..place };
    let facts = collect(cluster, source, Wanted::Anew(&place), clock.now()).await;
    let all = wanted(source, &place, &mut Vec::new());
    let mut there = anew_facts::collect(cluster, &all, &places(source, &place), place.suffix.is_some()).await;
    if place.suffix.is_some() || place.namespace.is_some() {
        let originals = source.plan.workloads.iter().map(|of| of.namespace.clone());
        there.policies = policies(cluster, &places(source, &place).into_iter().chain(originals).collect()).await;
    }
    let anew = plan_anew(source, &facts, &there, &place, args.wait).map_err(Error::refusals)?;
    if args.dry_run {
        progress.done();
        output::to_stdout(&restores::dry_run_anew(&anew, args.output.output)?);
        return Ok(ExitCode::Done);
    }
    progress.show(&restores::anew(&anew));
    let talk = progress.clone();
    let signals = Signals::listen(move |line| talk.say(line))?;
    let Some(made) = signals.unless(bring_back(cluster, &anew, progress)).await else {
        progress.done();
        return Err(Error::interrupted("interrupted: nothing was destroyed, and what was made stays")
            .hint("the same command goes on"));
    };
    made.inspect_err(|_| progress.done())?;
    let pods = pods(cluster, &anew).await;
    progress.done();
    let record = of_anew(&anew, &source.plan.run, &cluster.namespace, clock.now(), pods);
    output::to_stdout(&match args.output.output {
        Format::Json => output::json(&record)?,
        Format::Yaml => output::yaml(&record)?,
        Format::Name => anew.workloads.iter().map(|w| escape_line(&w.path())).collect::<Vec<_>>().join("\n"),
        Format::Table | Format::Wide => restores::result(&record, &cluster.typed, Timestamp::now()),
    });
    Ok(ExitCode::Done)
}

/// The pods of what was made, for the record. Without an answer it names none.
async fn pods(cluster: &Cluster, anew: &Anew) -> Vec<PodState> {
    let mut pods = Vec::new();
    for new in &anew.workloads {
        let api: Api<Pod> = Api::namespaced(cluster.api.clone(), &new.namespace);
        let labels = crate::manifests::pod_labels(&new.object);
        let selector: Vec<String> = labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
        let listed = api.list(&ListParams::default().labels(&selector.join(","))).await;
        let ours = |pod: &&Pod| pod.metadata.name.as_deref().is_some_and(|name| name.starts_with(&new.name));
        pods.extend(listed.iter().flat_map(|list| &list.items).filter(ours).map(PodState::of));
    }
    pods
}
