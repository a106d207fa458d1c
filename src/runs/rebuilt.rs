//! Backups that outlived their records: a kept content carries its run's journal, so what its namespace took with it is
//! rebuilt from there.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use kube::api::{Api, ListParams};
use tokio::time::timeout;

use super::BackupJournal;
use crate::cluster::client::{Cluster, Unlisted, allowed};
use crate::cluster::snapshots::VolumeSnapshotContent;
use crate::error::Error;
use crate::journal::{self, Entry, Kind, Stored, unknown};
use crate::labels::{MANAGED_BY, MANIFESTS, RECORD, RUN, VERIFIED};
use crate::manifests::Manifests;
use crate::manifests::packed::unpack;
use crate::plan::{Claim, Plan, quantity};
use crate::protocol::backup::{Event, Step};
use crate::record::entry::Detail;
use crate::record::verified::{self, Verified};

/// How long one page may take.
const ASK: Duration = Duration::from_secs(20);
/// Contents in one answer: each may carry a quarter of a megabyte.
const PAGE: u32 = 50;

/// The kept contents of a run, or of all.
pub async fn contents(cluster: &Cluster, run: Option<&str>) -> Result<Vec<VolumeSnapshotContent>, Unlisted> {
    let api: Api<VolumeSnapshotContent> = Api::all(cluster.api.clone());
    let run = run.map_or_else(|| RUN.to_owned(), |run| format!("{RUN}={run}"));
    let mut params = ListParams::default().labels(&format!("{}={},{run}", MANAGED_BY.0, MANAGED_BY.1)).limit(PAGE);
    let mut found = Vec::new();
    loop {
        let page = match timeout(ASK, api.list(&params)).await {
            Ok(Ok(page)) => page,
            Ok(Err(e)) => return Err(Unlisted::of("volumesnapshotcontents", &e)),
            Err(_) => return Err(Unlisted::silent("volumesnapshotcontents")),
        };
        found.extend(page.items);
        match page.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => params.continue_token = Some(token),
            None => return Ok(found),
        }
    }
}

/// The run, if its record was in this namespace and is gone; else why there is no such run here.
pub(super) async fn find(cluster: &Cluster, namespace: &str, run: &str) -> Result<Result<Stored, Error>, Error> {
    // An id that is no label cannot stand on a content.
    let found = if is_label(run) { contents(cluster, Some(run)).await } else { Ok(Vec::new()) };
    // No answer is not "no such run".
    let found =
        allowed(found).map_err(|why| Error::failed(format!("whether there is a run {run} is not known: {why}")))?;
    let Some(stored) = rebuild(&found).into_iter().find(|stored| stored.run == run) else {
        return Ok(Err(unknown(cluster, namespace, run)));
    };
    if stored.namespace == namespace {
        return Ok(Ok(stored));
    }
    let elsewhere = unknown(cluster, namespace, run);
    let hint = format!("its record is in namespace {0}: add -n {0}", stored.namespace);
    Ok(Err(Error { hints: vec![hint], ..elsewhere }))
}

/// The runs of a namespace, or of all, that are not among these and whose copies are still there. Who may not look at
/// contents does not see them; otherwise it is told what could not be seen.
pub(super) async fn all(cluster: &Cluster, namespace: Option<&str>, known: &[Stored]) -> Result<Vec<Stored>, String> {
    let known: BTreeSet<(&str, &str)> = known.iter().map(|s| (s.namespace.as_str(), s.run.as_str())).collect();
    let contents = allowed(contents(cluster, None).await)?;
    let mut gone = rebuild(&contents);
    gone.retain(|stored| {
        namespace.is_none_or(|namespace| namespace == stored.namespace)
            && !known.contains(&(stored.namespace.as_str(), stored.run.as_str()))
    });
    let mut all = Vec::new();
    for stored in gone {
        // The records were listed a moment ago: since then it may have begun. No answer is no absence.
        if matches!(journal::find(cluster, &stored.namespace, &stored.run).await, Ok(None)) {
            all.push(stored);
        }
    }
    Ok(all)
}

/// The manifests that stand on these contents.
pub fn manifests(contents: &[VolumeSnapshotContent]) -> Manifests {
    Manifests::merged(contents.iter().filter_map(|content| unpack(annotation(content, MANIFESTS)?).ok()))
}

/// One journal for each run of which a content tells.
pub fn rebuild(contents: &[VolumeSnapshotContent]) -> Vec<Stored> {
    let mut runs: BTreeMap<&str, Vec<&VolumeSnapshotContent>> = BTreeMap::new();
    for content in contents {
        if let Some(run) = content.metadata.labels.as_ref().and_then(|labels| labels.get(RUN)) {
            runs.entry(run).or_default().push(content);
        }
    }
    runs.into_iter()
        .filter_map(|(run, contents)| contents.iter().find_map(|content| one(run, content, &contents)))
        .collect()
}

fn one(run: &str, content: &VolumeSnapshotContent, all: &[&VolumeSnapshotContent]) -> Option<Stored> {
    let data: BTreeMap<String, String> = unpack(annotation(content, RECORD)?).ok()?;
    let plan: Plan = serde_json::from_str(data.get("plan")?).ok()?;
    // Somebody may have put a label on it that is another run's.
    if plan.run != run {
        return None;
    }
    let mut stored = Stored {
        namespace: plan.namespace.clone(),
        name: format!("consistent-backup-{run}"),
        run: run.to_owned(),
        kind: Some(Kind::Backup),
        uid: String::new(),
        resource_version: String::new(),
        created: Some(plan.created),
        data,
        rebuilt: true,
    };
    let ended = ended(&stored, all)?;
    stored.data.extend(ended);
    if let Some(verdict) = verdict(all).and_then(|verdict| serde_json::to_string(&verdict).ok()) {
        stored.data.insert(verified::KEY.to_owned(), verdict);
    }
    Some(stored)
}

/// The last verdict on a backup: a process that died may have left an older one on some of its contents.
fn verdict(contents: &[&VolumeSnapshotContent]) -> Option<Verified> {
    let all = contents.iter().filter_map(|content| unpack::<Verified>(annotation(content, VERIFIED)?).ok());
    all.max_by_key(|verdict| verdict.at)
}

/// The journal was packed before the run was over: what came then is what the contents say now.
fn ended(stored: &Stored, contents: &[&VolumeSnapshotContent]) -> Option<BTreeMap<String, String>> {
    let found = BackupJournal::read(stored).ok()?;
    let (plan, mut run, mut entries) = (found.plan, found.run, found.loaded.entries);
    let at = entries.last().map_or(plan.created, |entry| entry.at);
    // It ends long before: each claim is kept and settled once.
    for _ in 0..plan.claims.len() * 4 + 8 {
        let step = run.next();
        let mut events: Vec<(Event, Detail)> = run.intents(&step).into_iter().map(|e| (e, Detail::default())).collect();
        let last = events.is_empty() && matches!(step, Step::Finish(_));
        match step {
            Step::Keep(claims) => events.extend(claims.into_iter().map(|c| {
                let kept = of_claim(&plan.claims[c], contents).is_some_and(|c| c.spec.deletion_policy == "Retain");
                (if kept { Event::Kept(c) } else { Event::NotKept(c) }, Detail::default())
            })),
            Step::Settle(claims) => {
                events.extend(claims.into_iter().filter_map(|c| {
                    let status = of_claim(&plan.claims[c], contents)?.status.as_ref()?;
                    let size = status.restore_size.map(|bytes| quantity::human(bytes.into()));
                    let detail = Detail { restore_size: size, ..Detail::default() };
                    (status.ready_to_use == Some(true)).then_some((Event::Settled(c), detail))
                }));
                if events.is_empty() {
                    events.push((Event::SettleSkipped, Detail::default()));
                }
            }
            Step::Finish(_) => {}
            // Contents are kept only once all is released and compared.
            _ => return None,
        }
        if last {
            break;
        }
        for (event, detail) in events {
            run.apply(&event).ok()?;
            entries.push(Entry { at, event, detail });
        }
    }
    let data = journal::data(&plan, &entries, &[] as &[(&str, &String)]);
    run.is_finished().then_some(data)
}

/// The content of this claim's copy.
fn of_claim<'a>(claim: &Claim, contents: &[&'a VolumeSnapshotContent]) -> Option<&'a VolumeSnapshotContent> {
    use crate::labels::{CLAIM, NAMESPACE};
    let is = |content: &&&VolumeSnapshotContent| {
        annotation(content, CLAIM) == Some(&claim.name) && annotation(content, NAMESPACE) == Some(&claim.namespace)
    };
    contents.iter().find(is).copied()
}

fn annotation<'a>(content: &'a VolumeSnapshotContent, key: &str) -> Option<&'a String> {
    content.metadata.annotations.as_ref()?.get(key)
}

/// Whether a text can be a label's value.
fn is_label(text: &str) -> bool {
    text.len() <= 63 && text.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
}

#[cfg(test)]
mod tests;
