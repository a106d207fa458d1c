//! The backup that is restored, from its journal, and what else is under way on the same claims.

use std::collections::BTreeSet;

use jiff::Timestamp;

use super::stored::RestoreJournal;
use crate::cluster::client::{Cluster, allowed, explain, is_forbidden};
use crate::cluster::restore_facts::collect_undo;
use crate::error::{Error, ExitCode};
use crate::journal::{self, Kind, Stored, parts};
use crate::manifests::Manifests;
use crate::plan::is_release;
use crate::plan::restore::undo::{UndoPlan, refusals};
use crate::plan::restore::{RestorePlan, Source};
use crate::protocol::backup::Event;
use crate::quiescer::RecoveryPoint;
use crate::record::entry::Entry;
use crate::runs::proof::{Wish, judge};
use crate::runs::{self, BackupJournal, RunName, rebuilt};

/// Reads the backup. One that is unknown, or no backup, is refused: nothing was touched.
pub async fn source(cluster: &Cluster, run: &RunName) -> Result<Source, Error> {
    read(cluster, run).await.map_err(|error| Error { code: ExitCode::Refused, ..error })
}

async fn read(cluster: &Cluster, run: &RunName) -> Result<Source, Error> {
    let stored = runs::named(cluster, run).await?;
    if stored.kind == Some(Kind::Restore) {
        let of = RestoreJournal::read(&stored).map(|found| found.plan.backup.run);
        let error = Error::refused(format!("run {run} is a restore, not a backup"));
        return Err(match of {
            Ok(backup) => error.hint(format!("it restored backup {backup}")),
            Err(_) => error,
        });
    }
    source_of(BackupJournal::read(&stored)?)
}

/// The same of a journal.
pub fn source_of(backup: BackupJournal) -> Result<Source, Error> {
    let record = backup.record()?;
    let entries = &backup.loaded.entries;
    let proofs = (0..backup.plan.claims.len()).map(|c| proof(entries, c)).collect();
    let cut = record.status.claims.iter().filter_map(|c| c.cut_at).max();
    let window = record.status.window.as_ref().map(|w| w.middle);
    Ok(Source {
        instant: window.or(cut).unwrap_or(backup.plan.created),
        outcome: record.status.outcome.clone(),
        proofs,
        points: record.status.targets.iter().map(|t| RecoveryPoint(t.recovery_point.clone())).collect(),
        ends: record.status.targets.iter().map(|t| t.thawed_at).collect(),
        pods: backup.pods("pods.before"),
        notes: Vec::new(),
        plan: backup.plan,
    })
}

/// What the backup remembers of its workloads: beside its journal, in whatever namespace that is; else on its contents,
/// which have no data of ConfigMaps.
pub async fn manifests(cluster: &Cluster, source: &Source) -> Result<Manifests, Error> {
    let plan = &source.plan;
    match parts::read(cluster, &plan.namespace, &plan.run).await {
        Ok(Some(manifests)) => return Ok(manifests),
        Ok(None) => {}
        Err(why) => return Err(Error::failed(why)),
    }
    // Who may not look at contents has none from there.
    let contents = allowed(rebuilt::contents(cluster, Some(&plan.run)).await);
    let contents = contents.map_err(|why| Error::failed("what the backup remembers is not known").cause(why))?;
    Ok(rebuilt::manifests(&contents))
}

/// By what the last attempt's cut of this claim is proved.
fn proof(entries: &[Entry<Event>], c: usize) -> Option<crate::backend::Proof> {
    let last = entries.iter().rev().take_while(|e| !matches!(e.event, Event::Attempt(_)));
    last.filter(|e| e.event == Event::Cut(c)).find_map(|e| e.detail.proof.clone())
}

/// What taking back a restore that had succeeded does now, or every reason why it cannot be taken back.
pub async fn undoable(cluster: &Cluster, plan: &RestorePlan, now: Timestamp) -> Result<UndoPlan, Error> {
    let mut facts = collect_undo(cluster, plan, now).await;
    let leased: Vec<_> = plan.leased().into_iter().filter(|(_, name)| is_release(name)).collect();
    let claims = plan.claims.iter().map(|c| (c.namespace.as_str(), c.name.as_str()));
    let claims = claims.chain(leased.iter().map(|(n, name)| (n.as_str(), name.as_str()))).collect();
    facts.unfinished = overlapping(cluster, &plan.namespace, &plan.run, &claims).await?;
    let refusals = refusals(plan, &facts);
    if refusals.is_empty() { Ok(UndoPlan::of(plan).as_it_is(plan, &facts)) } else { Err(Error::refusals(refusals)) }
}

/// Unfinished restores of these claims, by namespace and name. A backup in the middle of one would be of neither data; and
/// the leases of both are of pods, which a Deployment names anew at every start.
pub async fn restoring(
    cluster: &Cluster,
    namespace: &str,
    claims: &BTreeSet<(&str, &str)>,
) -> Result<Vec<String>, Error> {
    let open = open_about(cluster, namespace, claims).await?;
    let restores = open.into_iter().filter(|stored| {
        // One that only has policies to put back yet is in nobody's way.
        let ours = |r: RestoreJournal| {
            (!r.run.is_finished() || r.run.may_be_down())
                && r.plan.claims.iter().any(|c| claims.contains(&(c.namespace.as_str(), c.name.as_str())))
        };
        stored.kind == Some(Kind::Restore) && RestoreJournal::read(stored).map_or(true, ours)
    });
    Ok(restores.map(|stored| stored.run).collect())
}

/// Unfinished runs, other than `run`, about these claims, or releases as they are leased, by namespace and name. One that cannot be read is about
/// everything.
pub async fn overlapping(
    cluster: &Cluster,
    namespace: &str,
    run: &str,
    claims: &BTreeSet<(&str, &str)>,
) -> Result<Vec<String>, Error> {
    let shares = |namespace: &str, name: &str| claims.contains(&(namespace, name));
    let mut found = Vec::new();
    for stored in open_about(cluster, namespace, claims).await? {
        let same = match stored.kind {
            // Also one that only has policies to put back: it would do so to volumes that are kept by then.
            Some(Kind::Restore) => RestoreJournal::read(&stored).map_or(true, |r| {
                r.plan.claims.iter().any(|c| shares(&c.namespace, &c.name))
                    || r.plan.leased().iter().any(|(n, name)| is_release(name) && shares(n, name))
            }),
            // A failed backup whose snapshots are not removed yet holds nothing.
            Some(Kind::Backup) => BackupJournal::read(&stored).map_or(true, |b| {
                let done = b.run.is_finished() && b.run.may_be_held().is_empty();
                let mut releases = b.plan.targets.iter().filter(|t| !t.release.is_empty());
                !done
                    && (b.plan.claims.iter().any(|c| shares(&c.namespace, &c.name))
                        || releases.any(|t| shares(&t.namespace, &t.leased())))
            }),
            None => false,
        };
        if same && stored.run != run {
            found.push(stored.run);
        }
    }
    Ok(found)
}

/// Unfinished runs wherever their records may lie: everywhere, for who may look everywhere; else in this namespace and in
/// those of the claims.
async fn open_about(cluster: &Cluster, namespace: &str, claims: &BTreeSet<(&str, &str)>) -> Result<Vec<Stored>, Error> {
    let near =
        |of: &Stored| of.namespace == namespace || claims.iter().any(|(namespace, _)| *namespace == of.namespace);
    match journal::listed(cluster, None).await {
        // One of another namespace counts only if it can be read and is proven: else any writer of ConfigMaps could keep
        // everybody from backing up.
        Ok(all) => {
            let (mut open, far): (Vec<Stored>, Vec<Stored>) = runs::left_open(all).into_iter().partition(near);
            for of in far {
                let counts = match judge(cluster, &of, Wish::Finish).await {
                    Ok(Ok(believed)) => believed.acts(),
                    Ok(Err(_)) => false,
                    // Its leases could not be read, or the record itself.
                    Err(_) => is_readable(&of),
                };
                if counts {
                    open.push(of);
                }
            }
            return Ok(open);
        }
        Err(e) if is_forbidden(&e) => {}
        // Who may look everywhere must not miss a run because the API server failed for a moment.
        Err(e) => return Err(Error::failed("cannot list the runs of all namespaces").cause(explain(&e))),
    }
    let mut open = Vec::new();
    for namespace in claims.iter().map(|(namespace, _)| *namespace).chain([namespace]).collect::<BTreeSet<_>>() {
        open.extend(runs::open(cluster, Some(namespace)).await?);
    }
    Ok(open)
}

fn is_readable(stored: &Stored) -> bool {
    match stored.kind {
        Some(Kind::Restore) => RestoreJournal::read(stored).is_ok(),
        Some(Kind::Backup) => BackupJournal::read(stored).is_ok(),
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::labels::{MANAGED_BY, MANIFESTS, PART, RUN};
    use crate::manifests::OfWorkload;
    use crate::manifests::packed::pack;
    use http::{Request, Response};
    use kube::client::Body;
    use serde_json::{Value, json};
    use tower::service_fn;

    /// A server that answers with this code to who asks in all namespaces.
    fn cluster(everywhere: u16) -> Cluster {
        let service = service_fn(move |request: Request<Body>| {
            let code = if request.uri().path() == "/api/v1/configmaps" { everywhere } else { 200 };
            let answer = match code {
                200 => json!({"metadata": {}, "items": []}),
                _ => json!({"kind": "Status", "code": code, "reason": "", "message": "no"}),
            };
            let answer = Response::builder().status(code).body(Body::from(answer.to_string().into_bytes()));
            async move { Ok::<_, kube::Error>(answer.unwrap()) }
        });
        Cluster::of_client(&kube::Client::new(service, "demo"), "demo")
    }

    /// What is found where the record has these parts, and a content these manifests.
    async fn found(beside: &[Value], on_content: &Manifests) -> Manifests {
        let object = include_str!("../../../tests/fixtures/journals/backup-1.json");
        let stored = Stored::new(serde_json::from_str(object).unwrap());
        let content = json!({"metadata": {"name": "c", "labels": {RUN: stored.run}, "annotations": {MANIFESTS: pack(on_content)}},
            "spec": {"deletionPolicy": "Retain", "driver": "d", "source": {}, "volumeSnapshotRef": {}}});
        let beside = json!({"metadata": {}, "items": beside});
        let contents = json!({"metadata": {}, "items": [content]});
        let service = service_fn(move |request: Request<Body>| {
            let answer = if request.uri().path().ends_with("/configmaps") { &beside } else { &contents };
            let answer = Response::builder().status(200).body(Body::from(answer.to_string().into_bytes()));
            async move { Ok::<_, kube::Error>(answer.unwrap()) }
        });
        let cluster = Cluster::of_client(&kube::Client::new(service, "demo"), "demo");
        manifests(&cluster, &source_of(BackupJournal::read(&stored).unwrap()).unwrap()).await.unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn the_data_of_config_maps_comes_from_beside_the_record_only() {
        let object = include_str!("../../../tests/fixtures/journals/backup-1.json");
        let run = Stored::new(serde_json::from_str(object).unwrap()).run;
        let mut of = OfWorkload { name: "pg".into(), ..OfWorkload::default() };
        of.add_config_map(json!({"metadata": {"name": "conf"}, "data": {"a": "1"}}), false);
        let whole = Manifests { workloads: vec![of] };
        let part = json!({"metadata": {"name": "p", "labels": {MANAGED_BY.0: MANAGED_BY.1, RUN: run, PART: "manifests"}},
            "data": {"manifests": pack(&whole), "number": "0", "count": "1"}});
        assert_eq!(found(&[part], &whole.without_data()).await, whole);
        assert_eq!(found(&[], &whole.without_data()).await, whole.without_data());
        // An earlier version wrote it onto the contents.
        assert_eq!(found(&[], &whole).await, whole);
    }

    #[tokio::test(start_paused = true)]
    async fn only_who_may_not_look_everywhere_looks_at_less() {
        let found = async |code| restoring(&cluster(code), "demo", &[("demo", "data")].into()).await;
        assert_eq!(found(200).await.unwrap(), Vec::<String>::new());
        assert_eq!(found(403).await.unwrap(), Vec::<String>::new());
        let why = found(500).await.unwrap_err().to_string();
        assert!(why.starts_with("cannot list the runs of all namespaces"), "{why}");
    }
}
