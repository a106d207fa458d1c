//! What forbids deleting a run: something that only its record names, or somebody who still needs its copies.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use kube::api::{Api, ListParams};

use crate::backend::csi::alias;
use crate::cluster::client::{Cluster, allowed, explain};
use crate::error::{Error, Refusal};
use crate::executor::restore::RestoreJournal;
use crate::journal::{Kind, Stored};
use crate::labels::VERIFY;
use crate::plan::restore::RESTORED_FROM;
use crate::runs::{self, BackupJournal, RunName};
use crate::typed::Typed;

/// A run that may be deleted, and the old volumes that go with it.
pub(in crate::commands) struct Deletable {
    pub(super) stored: Stored,
    pub(super) volumes: Vec<String>,
}

/// Why one may not.
pub(in crate::commands) enum NotDeletable {
    /// It was not found, or could not be read.
    Unknown(Error),
    /// Something forbids it.
    Refused(Vec<Refusal>),
}

impl NotDeletable {
    /// As reasons among those of other runs.
    pub(in crate::commands) fn refusals(self, run: &RunName) -> Vec<Refusal> {
        match self {
            Self::Refused(refusals) => refusals,
            Self::Unknown(error) => {
                let refusal = Refusal::new(run.id.clone(), error.to_string());
                vec![Refusal { hint: error.hints.into_iter().next(), ..refusal }]
            }
        }
    }
}

/// The run, if it may be deleted; else all reasons why not.
pub(in crate::commands) async fn deletable(cluster: &Cluster, run: &RunName) -> Result<Deletable, NotDeletable> {
    let stored = runs::named(cluster, run).await.map_err(NotDeletable::Unknown)?;
    let mut refusals: Vec<Refusal> = unfinished(&stored, &cluster.typed).into_iter().collect();
    if stored.kind == Some(Kind::Backup)
        && let Ok(backup) = BackupJournal::read(&stored)
    {
        refusals.extend(restores(cluster, &stored).await);
        refusals.extend(copies(cluster, &backup).await);
    }
    if !refusals.is_empty() {
        return Err(NotDeletable::Refused(refusals));
    }
    let restore = (stored.kind == Some(Kind::Restore)).then(|| RestoreJournal::read(&stored).ok()).flatten();
    let volumes = restore.iter().flat_map(RestoreJournal::given_up).map(|v| v.name).collect();
    Ok(Deletable { stored, volumes })
}

/// A run that is not over: its record is all that names what is held, or how the old data comes back.
fn unfinished(stored: &Stored, typed: &Typed) -> Option<Refusal> {
    let refusal = |why: String| Refusal::new(format!("run {}", stored.run), why);
    let first = |why: String| {
        Some(refusal(why).hint(format!("finish it first: {}", typed.thaw(&stored.run, &stored.namespace))))
    };
    match stored.kind {
        None => Some(refusal("its record was written by a newer version".into())),
        Some(Kind::Backup) => match BackupJournal::read(stored) {
            Err(error) => Some(refusal(error.to_string())),
            // Also one that is over: it ended stuck, and who reads its record can still release what it names.
            Ok(backup) if !backup.run.may_be_held().is_empty() => {
                let held: Vec<String> =
                    backup.run.may_be_held().into_iter().map(|t| backup.plan.targets[t].path()).collect();
                first(format!("something may still be held, which only its record names: {}", held.join(", ")))
            }
            Ok(backup) if !backup.run.is_finished() => first("it is not finished".into()),
            Ok(_) => None,
        },
        Some(Kind::Restore) => match RestoreJournal::read(stored) {
            Err(error) => Some(refusal(error.to_string())),
            Ok(restore) if restore.run.may_be_down() => {
                first("its workload may be down, and only its record says how the old data comes back".into())
            }
            Ok(restore) if restore.is_open() => first("it is not finished".into()),
            Ok(_) => None,
        },
    }
}

/// Unfinished restores of this backup: forward they need its copies.
async fn restores(cluster: &Cluster, backup: &Stored) -> Vec<Refusal> {
    let open = match runs::open(cluster, Some(&backup.namespace)).await {
        Ok(open) => open,
        Err(error) => return vec![Refusal::new("restores", error.to_string())],
    };
    let using = open.iter().filter(|stored| is_restore_of(stored, &backup.run));
    using
        .map(|stored| {
            let why = format!("it is restored by run {}, which is not finished", stored.run);
            let thaw = cluster.typed.thaw(&stored.run, &stored.namespace);
            Refusal::new(format!("run {}", backup.run), why).hint(format!("finish that first: {thaw}"))
        })
        .collect()
}

/// Whether this run restores that backup. One that cannot be read may.
fn is_restore_of(stored: &Stored, backup: &str) -> bool {
    stored.kind == Some(Kind::Restore)
        && RestoreJournal::read(stored).map_or(true, |restore| restore.plan.backup.run == backup)
}

/// Claims that are still to be filled from its snapshots: without them they would wait for ever.
async fn copies(cluster: &Cluster, backup: &BackupJournal) -> Vec<Refusal> {
    let mut namespaces: BTreeSet<String> = backup.plan.claims.iter().map(|c| c.namespace.clone()).collect();
    // Claims of other namespaces are made by way of these.
    let aliases = match allowed(alias::list(cluster, Some(&backup.plan.run)).await) {
        Ok(aliases) => aliases,
        Err(why) => {
            let unknown = format!("whether claims elsewhere are still made from it is not known: {why}");
            return vec![Refusal::new(format!("run {}", backup.plan.run), unknown)];
        }
    };
    namespaces.extend(aliases.iter().map(|content| alias::read(content).namespace));
    // What a verification left is deleted first.
    let ours = ListParams::default().labels(&format!("{RESTORED_FROM}={},!{VERIFY}", backup.plan.run));
    let mut refusals = Vec::new();
    for namespace in namespaces {
        let api: Api<PersistentVolumeClaim> = Api::namespaced(cluster.api.clone(), &namespace);
        match api.list(&ours).await {
            Ok(listed) => refusals.extend(listed.items.iter().filter_map(|c| unfilled(c, &backup.plan.run))),
            Err(e) => refusals.push(Refusal::new(
                format!("run {}", backup.plan.run),
                format!("whether claims in {namespace} are still made from it is not known: {}", explain(&e)),
            )),
        }
    }
    refusals
}

fn unfilled(claim: &PersistentVolumeClaim, backup: &str) -> Option<Refusal> {
    let phase = claim.status.as_ref().and_then(|s| s.phase.as_deref()).unwrap_or("Pending");
    let waits = phase == "Pending" && claim.metadata.deletion_timestamp.is_none();
    let name = claim.metadata.name.as_deref().unwrap_or_default();
    waits.then(|| {
        Refusal::new(
            format!("persistentvolumeclaim/{name}"),
            format!("it is to be made from backup {backup}, and is not bound yet"),
        )
        .hint("wait until it is Bound, for which a pod may have to use it, or delete it")
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::fixture::{backup, restore};
    use serde_json::{Value, json};

    fn why_not(stored: &Stored) -> Option<(String, String)> {
        let typed = Typed::new([("--context", "prod".to_owned())]);
        unfinished(stored, &typed).map(|r| (r.message, r.hint.unwrap_or_default()))
    }

    /// Held, given up, the snapshot removed, over: its record is the only thing that names the held database.
    #[test]
    fn a_stuck_backup_is_not_deleted() {
        let begun = [
            json!({"attempt": 1}),
            json!({"prepared": 0}),
            json!({"waveIntended": [0]}),
            json!("cutIntended"),
            json!({"aborted": "step"}),
        ];
        let stuck = [
            json!({"thawGivenUp": 0}),
            json!("discardIntended"),
            json!({"discarded": 0}),
            json!({"finished": "stuck"}),
        ];
        let (why, hint) = why_not(&backup("r1", &[&begun[..], &stuck].concat())).unwrap();
        assert_eq!(why, "something may still be held, which only its record names: demo/my-0/my");
        assert_eq!(hint, "finish it first: kubectl consistent-backup thaw r1 -n demo --context prod");
        let (why, _) = why_not(&backup("r1", &begun[..2])).unwrap();
        assert_eq!(why, "it is not finished");
        let thawed = json!({"thawed": {"target": 0, "held": "no"}});
        let over = [thawed, json!("discardIntended"), json!({"discarded": 0}), json!({"finished": "failed"})];
        assert_eq!(why_not(&backup("r1", &[&begun[..], &over].concat())), None);
    }

    #[test]
    fn a_stuck_restore_is_not_deleted() {
        let begun = ["secureIntended", "secured", "readBack", "stopIntended"].map(|event| json!(event));
        let stuck =
            [json!({"aborted": "step"}), json!("backStartIntended"), json!("givenUp"), json!({"finished": "stuck"})];
        let (why, _) = why_not(&restore("r1", &[&begun[..], &stuck].concat())).unwrap();
        assert!(why.starts_with("its workload may be down"), "{why}");
        assert_eq!(why_not(&restore("r1", &begun[..1])).unwrap().0, "it is not finished");
        let over =
            [json!({"aborted": "step"}), json!("restateIntended"), json!("restated"), json!({"finished": "failed"})];
        assert_eq!(why_not(&restore("r1", &[&begun[..1], &over].concat())), None);
    }

    #[test]
    fn a_backup_that_is_being_restored_is_not_deleted() {
        assert!(is_restore_of(&restore("r1", &[]), "b1"));
        assert!(!is_restore_of(&restore("r1", &[]), "b2"));
        assert!(!is_restore_of(&backup("r1", &[]), "b1"));
        let mut damaged = restore("r1", &[]);
        damaged.data.remove("plan");
        assert!(is_restore_of(&damaged, "b2"), "nobody knows what it restores");
    }

    #[test]
    fn a_claim_that_waits_for_its_copy_keeps_the_backup() {
        let claim = |value: Value| serde_json::from_value::<PersistentVolumeClaim>(value).unwrap();
        let waits = |value: Value| unfilled(&claim(value), "b1").is_some();
        assert!(waits(json!({"metadata": {"name": "data-check"}, "status": {"phase": "Pending"}})));
        assert!(waits(json!({"metadata": {"name": "data-check"}})));
        assert!(!waits(json!({"metadata": {"name": "data-check"}, "status": {"phase": "Bound"}})));
        let going = json!({"name": "x", "deletionTimestamp": "2026-11-20T10:00:00Z"});
        assert!(!waits(json!({"metadata": going, "status": {"phase": "Pending"}})));
    }
}
