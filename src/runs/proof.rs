//! Whether a record may be acted on without a question: only where objects say the same that lie beside what would be
//! touched. Whoever may write ConfigMaps can write a record of any run, about any namespace.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::Pod;

use super::BackupJournal;
use crate::cluster::client::Cluster;
use crate::error::Error;
use crate::executor::restore::RestoreJournal;
use crate::journal::{Kind, Stored};
use crate::lease::{self, Mark, plan_digest};
use crate::plan::Plan;
use crate::plan::restore::bare::asks_for_more;
use crate::plan::restore::{RestorePlan, Workload};

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
    /// It may make a pod that gets more of its node than other pods.
    asks_for_more: bool,
}

/// What the user wants of a run that another process left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish {
    /// That it is finished: what had not begun is called failed, and touches nothing.
    Finish,
    /// That it is led on: what had not begun begins now.
    Lead,
}

/// A record that may be acted on: proven, confirmed by the user, or one that needs neither.
///
/// The record is read again once the Leases are taken. Somebody may have changed it meanwhile: a question can stand for an
/// hour.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Believed {
    wish: Wish,
    /// The digest of its plan.
    plan: String,
    /// Whether it acts on anything that needs proof.
    acts: bool,
}

impl Believed {
    /// Believes the record without a proof: the user confirmed it, or it is over.
    pub fn confirmed(stored: &Stored, wish: Wish) -> Result<Self, Error> {
        Ok(Self { wish, plan: plan_of(stored)?, acts: claimed(stored, wish)?.is_some() })
    }

    /// Whether it acts on anything that needs proof.
    pub fn acts(&self) -> bool {
        self.acts
    }

    /// Fails if this later state of the record has another plan, or needs proof where the judged one did not.
    pub fn holds(&self, later: &Stored) -> Result<(), Error> {
        let holds = match claimed(later, self.wish)? {
            Some(claimed) => self.acts && claimed.plan == self.plan,
            // Another process may have finished it, in a later attempt with another plan.
            None => self.wish == Wish::Finish || plan_of(later)? == self.plan,
        };
        if holds {
            return Ok(());
        }
        Err(Error::failed(format!("the record of run {} was changed a moment ago", later.run)))
    }
}

/// The digest of the plan that a process follows.
fn plan_of(stored: &Stored) -> Result<String, Error> {
    Ok(match stored.kind {
        Some(Kind::Restore) => plan_digest(&RestoreJournal::read(stored)?.loaded.plan),
        _ => plan_digest(BackupJournal::read(stored)?.plan_text()),
    })
}

/// Whether a record is proven; if not, the namespaces in which nothing says that its run acts there.
///
/// # Errors
///
/// If a Lease could not be read, or the record.
pub async fn judge(cluster: &Cluster, stored: &Stored, wish: Wish) -> Result<Result<Believed, Vec<String>>, Error> {
    let Some(claimed) = claimed(stored, wish)? else { return Believed::confirmed(stored, wish).map(Ok) };
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
    let left: Vec<String> = claimed.namespaces.difference(&proven).cloned().collect();
    // Whoever can write Leases can mark any plan, but need not be allowed to run such a pod.
    let left = if claimed.asks_for_more { claimed.namespaces.into_iter().collect() } else { left };
    Ok(if left.is_empty() { Ok(Believed { wish, plan: claimed.plan, acts: true }) } else { Err(left) })
}

/// Nothing where the run is over, or had not begun to touch anything and is only to be finished.
fn claimed(stored: &Stored, wish: Wish) -> Result<Option<Claimed>, Error> {
    Ok(match stored.kind {
        Some(Kind::Restore) => {
            let found = RestoreJournal::read(stored)?;
            let open = found.is_open() && (wish == Wish::Lead || !found.loaded.entries.is_empty());
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
    let namespaces = namespaces.chain(plan.claims.iter().map(|c| &c.namespace));
    Claimed {
        run: plan.run.clone(),
        record: plan.namespace.clone(),
        plan: plan_digest(text),
        namespaces: namespaces.cloned().collect(),
        leased: leases.into_iter().collect(),
        spells_out: plan.stopped.iter().any(|of| of.pod.is_some()),
        asks_for_more: pods(&plan.stopped).any(asks_for_more),
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
        asks_for_more: pods(&plan.workloads).chain(plan.archive.iter().map(|of| &of.pod)).any(asks_for_more),
    }
}

fn pods(workloads: &[Workload]) -> impl Iterator<Item = &Pod> {
    workloads.iter().filter_map(|of| of.pod.as_deref())
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
    use k8s_openapi::api::coordination::v1::Lease;

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
            asks_for_more: false,
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

    /// Records of a version whose leases say only the run, captured where its process was killed after so many events. One
    /// is finished without a question where all that it can have done is to release databases and to scale workloads back in
    /// its own namespace.
    #[test]
    fn what_an_earlier_version_left_is_finished_without_a_question_where_that_is_safe() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/journals/1606963");
        let (mut finished, mut asked) = (0, 0);
        for file in std::fs::read_dir(folder).unwrap() {
            let path = file.unwrap().path();
            let state: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
            let stored = Stored::new(serde_json::from_value(state["configMap"].clone()).unwrap());
            let leases: Vec<Lease> = serde_json::from_value(state["leases"].clone()).unwrap();
            let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
            let claimed = super::claimed(&stored, Wish::Finish).unwrap_or_else(|e| panic!("{name}: {e}"));
            let Some(claimed) = claimed else {
                // Killed right before it began, or right after its end.
                finished += 1;
                continue;
            };
            let marked = |namespace: &String| {
                let there = leases.iter().filter(|of| of.metadata.namespace.as_ref() == Some(namespace));
                let mut marks = there.flat_map(lease::marks).filter(|mark| mark.run == claimed.run);
                marks.any(|mark| claimed.is_proven_by(&mark, namespace))
            };
            // The record lies elsewhere; a pod is to be made that the record alone describes.
            let asks = ["elsewhere-", "cold-", "bare-"].iter().any(|kind| name.starts_with(kind));
            assert_eq!(claimed.namespaces.iter().all(marked), !asks, "{name}");
            if asks { asked += 1 } else { finished += 1 }
        }
        assert!(finished >= 14 && asked >= 4, "{finished} and {asked}");
    }

    #[test]
    fn a_run_that_is_over_needs_no_proof() {
        let of = |text: &str| super::claimed(&Stored::new(serde_json::from_str(text).unwrap()), Wish::Finish).unwrap();
        assert!(of(include_str!("../../tests/fixtures/journals/backup-1.json")).is_none());
        assert!(of(include_str!("../../tests/fixtures/journals/restore-1.json")).is_none());
    }

    #[test]
    fn everything_that_would_be_touched_counts() {
        let mut stored =
            Stored::new(serde_json::from_str(include_str!("../../tests/fixtures/journals/restore-1.json")).unwrap());
        stored.data.retain(|key, _| !matches!(key.as_str(), "e0013" | "e0012" | "e0011" | "e0010"));
        let of = super::claimed(&stored, Wish::Finish).unwrap().unwrap();
        assert_eq!(of.namespaces.into_iter().collect::<Vec<_>>(), ["golden"]);
        assert_eq!(of.leased, [("golden".to_owned(), "redis-0".to_owned())]);
        assert!(!of.spells_out);
    }
    /// Between two looks somebody may write another record.
    #[test]
    fn belief_is_of_one_plan_only() {
        let text = include_str!("../../tests/fixtures/journals/restore-1.json");
        let mut open = Stored::new(serde_json::from_str(text).unwrap());
        open.data.retain(|key, _| !matches!(key.as_str(), "e0013" | "e0012" | "e0011" | "e0010"));
        let mut begun = open.clone();
        begun.data.retain(|key, _| !(key.len() == 5 && key.starts_with("e0")));
        let finish = |stored: &Stored| Believed::confirmed(stored, Wish::Finish).unwrap();
        assert!(finish(&open).acts() && finish(&open).holds(&open).is_ok());
        // One that touches nothing becomes one that does.
        assert!(!finish(&begun).acts() && finish(&begun).holds(&begun).is_ok());
        assert!(finish(&begun).holds(&open).is_err());
        let changed = |of: &Stored| {
            let mut changed = of.clone();
            changed.data.insert("plan".into(), changed.data["plan"].replace("\"wait\":600000", "\"wait\":600001"));
            assert_ne!(&changed, of);
            changed
        };
        assert!(finish(&open).holds(&changed(&open)).is_err());
        // The plan that the user was shown before he confirmed an undoing is the one that is followed.
        let over = Stored::new(serde_json::from_str(text).unwrap());
        let undo = Believed::confirmed(&over, Wish::Lead).unwrap();
        assert!(!undo.acts() && undo.holds(&over).is_ok() && undo.holds(&changed(&over)).is_err());
        // Led on, what had not begun begins.
        assert!(Believed::confirmed(&begun, Wish::Lead).unwrap().acts());
    }
}
