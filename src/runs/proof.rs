//! Whether a record may be acted on without a question: only where objects say the same that lie beside what would be
//! touched. Whoever may write ConfigMaps can write a record of any run, about any namespace.

use std::collections::BTreeSet;

use super::BackupJournal;
use crate::cluster::client::Cluster;
use crate::error::Error;
use crate::executor::restore::RestoreJournal;
use crate::journal::{Kind, Stored};
use crate::lease::{self, Mark, plan_digest};
use crate::plan::Plan;
use crate::plan::restore::RestorePlan;

/// What a process that finishes a run has to know of its record.
struct Claimed {
    run: String,
    /// Where the record lies.
    record: String,
    /// The digest of the plan that it would follow.
    plan: String,
    /// Where it would stop, start, create or run something.
    namespaces: BTreeSet<String>,
    /// On what its Leases lie.
    leased: Vec<(String, String)>,
    /// It may make a pod, or run a command, that the record spells out: not even in its own namespace is an older version's
    /// mark enough for that, because it does not say which plan is its own.
    spells_out: bool,
}

/// The namespaces in which nothing says that this run acts there; none where the record is proven, or nothing is left to
/// do.
///
/// # Errors
///
/// If a Lease could not be read, or the record.
pub async fn unproven(cluster: &Cluster, stored: &Stored) -> Result<Vec<String>, Error> {
    let Some(claimed) = claimed(stored)? else { return Ok(Vec::new()) };
    let mut proven = BTreeSet::new();
    for (namespace, of) in &claimed.leased {
        if !claimed.namespaces.contains(namespace) || proven.contains(namespace) {
            continue;
        }
        let mark = lease::mark(cluster, namespace, of, &claimed.run).await;
        let mark = mark.map_err(|why| {
            Error::held(format!("run {} cannot be finished", claimed.run))
                .cause(format!("in namespace {namespace}: {why}"))
        })?;
        if mark.is_some_and(|mark| claimed.is_proven_by(&mark, namespace)) {
            proven.insert(namespace.clone());
        }
    }
    Ok(claimed.namespaces.difference(&proven).cloned().collect())
}

/// Nothing where the run is over, or had not begun to touch anything.
fn claimed(stored: &Stored) -> Result<Option<Claimed>, Error> {
    Ok(match stored.kind {
        Some(Kind::Restore) => {
            let found = RestoreJournal::read(stored)?;
            let open = found.is_open() && !found.loaded.entries.is_empty();
            open.then(|| of_restore(&found.plan, &found.loaded.plan))
        }
        Some(Kind::Backup) => {
            let found = BackupJournal::read(stored)?;
            // What is over may only have copies to remove, which bear marks of their own.
            let over = found.run.is_finished() && found.run.may_be_held().is_empty();
            (!over && found.run.attempt() > 0).then(|| of_backup(&found.plan, found.plan_text(), &found.plans()))
        }
        None => None,
    })
}

/// `earlier` are plans of attempts before: a repeated one may be about other pods, and its Leases lie on the first one's.
fn of_backup<'a>(plan: &'a Plan, text: &str, earlier: &'a [Plan]) -> Claimed {
    let leases: BTreeSet<(String, String)> = earlier.iter().chain([plan]).flat_map(leased_pods).collect();
    let namespaces = plan.targets.iter().map(|t| &t.namespace).chain(plan.stopped.iter().map(|w| &w.namespace));
    Claimed {
        run: plan.run.clone(),
        record: plan.namespace.clone(),
        plan: plan_digest(text),
        namespaces: namespaces.cloned().collect(),
        leased: leases.into_iter().collect(),
        spells_out: plan.stopped.iter().any(|of| of.pod.is_some()),
    }
}

fn of_restore(plan: &RestorePlan, text: &str) -> Claimed {
    let namespaces = plan
        .workloads
        .iter()
        .map(|of| &of.namespace)
        .chain(plan.claims.iter().map(|of| &of.namespace))
        .chain(plan.edits.iter().map(|of| &of.namespace))
        .chain(plan.targets.iter().map(|of| &of.target.namespace));
    Claimed {
        run: plan.run.clone(),
        record: plan.namespace.clone(),
        plan: plan_digest(text),
        namespaces: namespaces.cloned().collect(),
        leased: plan.leased(),
        spells_out: plan.archive.is_some() || plan.workloads.iter().any(|of| of.pod.is_some()),
    }
}

fn leased_pods(plan: &Plan) -> impl Iterator<Item = (String, String)> {
    let targets = plan.targets.iter().map(|t| (t.namespace.clone(), t.leased()));
    targets.chain(plan.claims.iter().flat_map(|c| c.pods.iter().map(|pod| (c.namespace.clone(), pod.clone()))))
}

impl Claimed {
    fn is_proven_by(&self, mark: &Mark, namespace: &str) -> bool {
        match &mark.record {
            Some(record) => record.namespace == self.record && record.plans.contains(&self.plan),
            None => namespace == self.record && !self.spells_out,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::lease::Record;

    fn claimed(spells_out: bool) -> Claimed {
        Claimed {
            run: "r1".into(),
            record: "demo".into(),
            plan: plan_digest("{}"),
            namespaces: BTreeSet::new(),
            leased: Vec::new(),
            spells_out,
        }
    }

    fn mark(namespace: &str, plan: &str) -> Mark {
        let plans = vec![plan_digest("older"), plan_digest(plan)];
        Mark { run: "r1".into(), record: Some(Record { namespace: namespace.into(), plans }) }
    }

    #[test]
    fn a_mark_proves_its_own_record_and_plan_only() {
        let of = claimed(true);
        assert!(of.is_proven_by(&mark("demo", "{}"), "another-namespace"));
        assert!(!of.is_proven_by(&mark("demo", "{\"forged\": true}"), "demo"));
        assert!(!of.is_proven_by(&mark("attacker", "{}"), "attacker"), "a record of the same run elsewhere");
    }

    #[test]
    fn an_older_versions_mark_proves_little() {
        let old = Mark { run: "r1".into(), record: None };
        assert!(claimed(false).is_proven_by(&old, "demo"));
        assert!(!claimed(false).is_proven_by(&old, "another-namespace"));
        assert!(!claimed(true).is_proven_by(&old, "demo"), "its plan is not known to be its own");
    }

    #[test]
    fn a_run_that_is_over_needs_no_proof() {
        let of = |text: &str| super::claimed(&Stored::new(serde_json::from_str(text).unwrap())).unwrap();
        assert!(of(include_str!("../../tests/fixtures/journals/backup-1.json")).is_none());
        assert!(of(include_str!("../../tests/fixtures/journals/restore-1.json")).is_none());
    }

    #[test]
    fn everything_that_would_be_touched_counts() {
        let mut stored =
            Stored::new(serde_json::from_str(include_str!("../../tests/fixtures/journals/restore-1.json")).unwrap());
        stored.data.retain(|key, _| !matches!(key.as_str(), "e0013" | "e0012" | "e0011" | "e0010"));
        let of = super::claimed(&stored).unwrap().unwrap();
        assert_eq!(of.namespaces.into_iter().collect::<Vec<_>>(), ["golden"]);
        assert_eq!(of.leased, [("golden".to_owned(), "redis-0".to_owned())]);
        assert!(!of.spells_out);
    }
}
