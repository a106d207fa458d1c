//! `verify`: each database of a backup is started alone on copies of its claims, asked, and removed again.
//!
//! There is no fold and no journal of it: the labels on what it makes say what there is, and whatever is left is removed
//! by the next verification or by `delete`. What it found is written once, when all is over.

use std::collections::BTreeSet;
use std::time::Duration;

use futures::{StreamExt, stream};
use tokio::time::Instant;

use crate::cluster::client::Cluster;
use crate::error::Refusal;
use crate::executor::signals::Signals;
use crate::lease::{Leases, Take};
use crate::output::progress::Progress;
use crate::plan::verify::{Copy, VerifyPlan, query};
use crate::quiescer::verify::{Checked, ISOLATED, Outcome};
use crate::record::verified::{CheckResult, Query, TargetVerified};

mod ask;
mod copy;
mod remove;
mod verdict;

pub use remove::{REMOVAL, keep, remove};
pub use verdict::mark;

/// How many databases are started at once: each takes what the real one takes.
const AT_ONCE: usize = 3;

/// Verifies the databases of one backup.
#[derive(Clone, Copy)]
pub struct Verifier<'a> {
    /// The cluster.
    pub cluster: &'a Cluster,
    /// What is made.
    pub plan: &'a VerifyPlan,
    /// The user's questions.
    pub queries: &'a [query::Query],
    /// How long each database may take, from its claims to the last answer.
    pub wait: Duration,
    /// Whether the copies stay.
    pub keep: bool,
    /// A signal ends it early.
    pub signals: &'a Signals,
    /// Where is told what happens.
    pub progress: &'a Progress,
}

/// What was found of one database.
#[derive(Clone, Debug)]
pub struct Found {
    /// For the record.
    pub target: TargetVerified,
    /// The answers to the user's questions.
    pub queries: Vec<Query>,
    /// It is not well, and nobody knows whether the backup is to blame: the cluster did not start it, or an answer did
    /// not come.
    pub undecided: bool,
}

/// Why a copy was not looked at to the end.
enum Broken {
    /// Its data is to blame, as far as anybody can tell: the server was started and does not serve.
    Bad(String),
    /// It was never started, or lost on the way.
    Undecided(String),
}

impl Verifier<'_> {
    /// Looks at all of them, in the backup's order. What was made for one is removed with it, unless it is kept. A signal
    /// ends it once what was asked of the API server is answered: a copy that came later nobody would remove.
    pub async fn run(&self) -> Vec<Found> {
        let targets = self.plan.targets.iter().enumerate();
        stream::iter(targets.map(|(t, copy)| self.one(t, copy))).buffered(AT_ONCE).collect().await
    }

    async fn one(&self, t: usize, copy: &Copy) -> Found {
        let begun = Instant::now();
        let (mut checks, mut queries) = (Vec::new(), Vec::new());
        let until = begun + self.wait;
        let looked = async {
            self.make_all(copy, until).await?;
            let looked = self.signals.unless(self.look(t, copy, until, &mut checks, &mut queries)).await;
            looked.unwrap_or_else(|| Err(Broken::interrupted()))
        };
        let looked = looked.await;
        let seconds = begun.elapsed().as_secs_f64();
        if !self.keep {
            self.tell(copy, "removing the copy");
            // What is not gone in time is told at the end, when all is looked for again.
            let _ =
                remove(self.cluster, std::slice::from_ref(&copy.namespace), &self.plan.run, Some(&self.own(t)), |_| {})
                    .await;
        }
        judged(copy, looked, &checks, queries, seconds)
    }

    /// The names of its pod and of its claims that no other copy has.
    fn own(&self, t: usize) -> BTreeSet<String> {
        let names = |copy: &Copy| copy.claims.iter().map(|c| c.new_name.clone()).collect::<BTreeSet<_>>();
        let mut own = names(&self.plan.targets[t]);
        for (other, copy) in self.plan.targets.iter().enumerate() {
            if other != t {
                own = &own - &names(copy);
            }
        }
        own.insert(self.plan.targets[t].name.clone());
        own
    }

    fn tell(&self, copy: &Copy, what: &str) {
        self.progress.step(&format!("{}: {what}", copy.target.path()));
    }
}

impl Broken {
    fn interrupted() -> Self {
        Self::Undecided("interrupted".to_owned())
    }
}

fn judged(copy: &Copy, looked: Result<(), Broken>, checks: &[Checked], queries: Vec<Query>, seconds: f64) -> Found {
    let with = |wanted: &dyn Fn(&Checked) -> bool| {
        let found = checks.iter().filter(|c| wanted(c));
        found.map(|c| format!("{}: {}", c.name, c.output)).collect::<Vec<_>>()
    };
    // That it could not be kept apart says nothing of its data.
    let apart = |c: &Checked| c.name == ISOLATED;
    let failed = with(&|c| c.outcome == Outcome::Failed && !apart(c));
    let unknown = with(&|c| c.outcome == Outcome::Unknown || c.outcome == Outcome::Failed && apart(c));
    let (bad, broken) = match looked {
        Ok(()) => (None, None),
        Err(Broken::Bad(why)) => (Some(why), None),
        Err(Broken::Undecided(why)) => (None, Some(why)),
    };
    let is_bad = bad.is_some() || !failed.is_empty();
    let reasons: Vec<String> = failed.into_iter().chain(bad).chain(broken).chain(unknown).collect();
    let result = |c: &Checked| CheckResult {
        name: c.name.to_owned(),
        outcome: c.outcome.as_str().to_owned(),
        output: c.output.clone(),
    };
    Found {
        undecided: !is_bad && !reasons.is_empty(),
        target: TargetVerified {
            namespace: copy.target.namespace.clone(),
            pod: copy.target.pod.clone(),
            container: copy.target.container.clone(),
            ok: reasons.is_empty(),
            reason: reasons.join("; "),
            checks: checks.iter().map(result).collect(),
            // To the millisecond, as all times of a record.
            seconds: (seconds * 1000.0).round() / 1000.0,
        },
        queries,
    }
}

/// Keeps everybody else from verifying or deleting this backup meanwhile.
pub async fn lease(
    cluster: &Cluster,
    namespace: &str,
    run: &str,
    tell: &(dyn Fn(&str) + Sync),
) -> Result<Leases, Vec<Refusal>> {
    let name = [(namespace.to_owned(), format!("verify-{run}"))];
    let waiting = |waiting: &crate::lease::Waiting| {
        tell(&format!(
            "another process was verifying it: waiting up to {} s to see whether it lives",
            waiting.left.as_secs()
        ));
    };
    let taken = Leases::take(cluster, &name, run, Take::IfFree, &waiting).await;
    taken.map_err(|refusals| {
        let own = |refusal: Refusal| {
            // The lease is of no pod: it has a pod's name so that leases are of one kind.
            if refusal.message.contains("is alive") {
                Refusal::new(format!("backup/{run}"), "another process is verifying or deleting it")
                    .hint("wait until that has ended")
            } else {
                Refusal { object: format!("backup/{run}"), ..refusal }
            }
        };
        refusals.into_iter().map(own).collect()
    })
}

#[cfg(test)]
mod tests;
