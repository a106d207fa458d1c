//! Beginning an attempt: the first pod table, and, before a repeated one, quiet pods and a new plan.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};

use super::{Backup, Session, failed};
use crate::cluster::discovery::reselect;
use crate::cluster::pod_watch::PodWatch;
use crate::executor::Log;
use crate::plan::Plan;
use crate::pods::{PodState, differences, only_readiness, words};
use crate::preflight::Planned;
use crate::protocol::Abort;
use crate::protocol::backup::{Event, Run};
use crate::record::backup::targets;
use crate::record::entry::Detail;
use crate::runs::plan_key;

/// How long pods must be unchanged before an attempt is repeated (design 4).
const QUIET: Duration = Duration::from_secs(10);
/// How long to wait for that.
const PATIENCE: Duration = Duration::from_secs(300);

impl Backup<'_> {
    pub(super) async fn begin(&mut self, log: &mut Log<Run>, attempt: u8) {
        if attempt > 1 {
            // The last attempt's guard would end this one's pause.
            if let Err(why) = self.end_guards().await {
                log.abort(Abort::Step, format!("the guard is not seen gone: {why}"));
                return;
            }
            let why = log.why_repeated().unwrap_or_else(|| "the pods changed".into());
            self.progress.say(&format!(
                "attempt {} failed: {why}; attempt {attempt} of {} begins once the pods have been quiet for {} s",
                attempt - 1,
                self.plan.attempts,
                QUIET.as_secs()
            ));
            let ready = tokio::select! {
                ready = self.quiet_again() => ready,
                () = self.signals.first() => Err((Abort::Signal, "interrupted".into())),
            };
            match ready {
                Ok(Planned { plan, pods, .. }) => {
                    self.plan = Arc::new(plan);
                    self.state.planned = pods;
                }
                Err((reason, text)) => {
                    log.abort(reason, text);
                    return;
                }
            }
        }
        let pods = match self.pods().await {
            Ok(pods) => pods,
            Err(why) => {
                let (event, detail) = failed(why);
                log.happened(event, detail);
                return;
            }
        };
        // Who thaws from elsewhere must know the pods of this attempt: the first one's may be gone, and what is held in
        // them would count as gone with them.
        if attempt > 1
            && let Err(why) = self.keep_plan(log, attempt).await
        {
            let (event, detail) = failed(why);
            log.happened(event, detail);
            return;
        }
        let strange = differences(&self.state.planned, &pods);
        self.state.before = pods;
        self.state.sessions = self.plan.targets.iter().map(|_| Session::default()).collect();
        self.state.own = true;
        log.store("pods.before", &self.state.before);
        // An earlier attempt's would be taken for this one's.
        log.store("pods.after", &Vec::<PodState>::new());
        let detail = Detail {
            accuracy: Some(log.clock.width.as_secs_f64()),
            skew: Some(log.clock.skew.as_secs_f64()),
            ..Detail::default()
        };
        if attempt > 1 {
            log.happened(Event::Reshaped(targets(&self.plan)), Detail::default());
        }
        log.happened(Event::Attempt(attempt), detail);
        self.tell_skew(&log.clock);
        // What is stopped on purpose changes.
        if !self.plan.is_cold() {
            let (selections, by) = (self.plan.selections.clone(), self.plan.pods_must_match);
            self.state.watch = Some(PodWatch::start(self.cluster, selections, self.state.before.clone(), by));
        }
        // What the databases were asked before holds for these very containers only.
        if !strange.is_empty() && !only_readiness(&strange) {
            log.abort(Abort::PodsChanged, format!("pods changed since they were looked at: {}", words(&strange)));
        }
    }

    /// Writes the plan of a repeated attempt; its mark first, without which nobody else would believe it.
    async fn keep_plan(&self, log: &mut Log<Run>, attempt: u8) -> Result<(), String> {
        let text = serde_json::to_string(&*self.plan).map_err(|e| format!("the plan cannot be stored: {e}"))?;
        self.leases.mark(&self.plan.namespace, &text).await?;
        log.keep(&plan_key(attempt), &*self.plan).await
    }

    /// The pod table now.
    pub(super) async fn pods(&self) -> Result<Vec<PodState>, String> {
        let listed = timeout(Duration::from_secs(10), reselect(&self.cluster.api, &self.plan.selections)).await;
        match listed {
            Ok(Ok(pods)) => Ok(pods.iter().map(|pod| PodState::compared(pod, self.plan.pods_must_match)).collect()),
            Ok(Err(e)) => Err(format!("the pods could not be listed: {}", crate::cluster::client::explain(&e))),
            Err(_) => Err("the pods could not be listed: the API server did not answer".into()),
        }
    }

    /// Waits until the pods were unchanged for a while, and makes the plan anew.
    async fn quiet_again(&self) -> Result<Planned, (Abort, String)> {
        let begun = Instant::now();
        let mut last = self.pods().await.unwrap_or_default();
        let mut since = Instant::now();
        let mut last_refusal = String::new();
        loop {
            if since.elapsed() >= QUIET && !last.is_empty() {
                match self.plan_again().await {
                    Ok(planned) => return Ok(planned),
                    // Waiting does not make them the same again.
                    Err(Unplanned::ForGood(why)) => return Err((Abort::Step, why)),
                    // A pod that is not ready yet refuses the plan: it counts as not quiet.
                    Err(Unplanned::Yet(why)) => {
                        self.progress.step(&format!("waiting until the pods are quiet: {why}"));
                        last_refusal = why;
                        since = Instant::now();
                    }
                }
            }
            if begun.elapsed() > PATIENCE {
                let why = if last_refusal.is_empty() { String::new() } else { format!(": {last_refusal}") };
                return Err((Abort::Step, format!("the pods did not become quiet within 5 minutes{why}")));
            }
            sleep(Duration::from_secs(1)).await;
            let now = self.pods().await.unwrap_or_default();
            if !differences(&last, &now).is_empty() {
                since = Instant::now();
            }
            last = now;
        }
    }

    /// The plan of a repeated attempt must be about the same targets and claims: the fold counts them by number.
    async fn plan_again(&self) -> Result<Planned, Unplanned> {
        let Some(replan) = &self.replan else {
            return Err(Unplanned::ForGood("the run was taken over and is not repeated".into()));
        };
        let Planned { plan: new, pods, manifests } = replan().await.map_err(Unplanned::Yet)?;
        let key = |plan: &Plan| {
            // The pods of a release are whichever it has now.
            let own = plan.targets.iter().filter(|target| target.release.is_empty());
            let targets: Vec<String> = own.clone().map(crate::plan::Target::path).collect();
            let releases: Vec<String> = plan.releases.iter().map(crate::plan::Release::path).collect();
            let claims: Vec<String> = plan.claims.iter().map(|c| format!("{}/{}", c.namespace, c.name)).collect();
            // What was promised of the outcome was promised by what nothing holds, and by who stops commits.
            let stops: Vec<bool> = own.map(|t| t.probe.stops_commits).collect();
            (targets, releases, claims, plan.unheld.clone(), plan.unheld_claims.clone(), stops)
        };
        if key(&new) != key(&self.plan) {
            return Err(Unplanned::ForGood(format!(
                "{}: run the backup again",
                difference(&key(&self.plan).0, &key(&new).0)
            )));
        }
        let plan = Plan {
            run: self.plan.run.clone(),
            created: self.plan.created,
            namespace: self.plan.namespace.clone(),
            first_targets: self.plan.first_targets.clone().or_else(|| Some(targets(&self.plan))),
            ..new
        };
        Ok(Planned { plan, pods, manifests })
    }
}

/// Why there is no plan for another attempt.
enum Unplanned {
    /// There may be one later.
    Yet(String),
    /// There will be none.
    ForGood(String),
}

/// How the targets of another plan differ.
fn difference(before: &[String], now: &[String]) -> String {
    let only = |these: &[String], those: &[String]| -> Vec<String> {
        these.iter().filter(|target| !those.contains(target)).cloned().collect()
    };
    let (gone, added) = (only(before, now), only(now, before));
    match (gone.is_empty(), added.is_empty()) {
        (true, true) => "the claims, or what holds them, are others now".into(),
        (false, true) => format!("these databases are gone: {}", gone.join(", ")),
        (true, false) => format!("these databases were added: {}", added.join(", ")),
        (false, false) => format!("the databases are others now: {} instead of {}", added.join(", "), gone.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::difference;

    #[test]
    fn what_became_of_the_databases_is_named() {
        let of = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>();
        let said = |before: &[&str], now: &[&str]| difference(&of(before), &of(now));
        assert_eq!(said(&["a"], &["a", "b"]), "these databases were added: b");
        assert_eq!(said(&["a", "b"], &["a"]), "these databases are gone: b");
        assert_eq!(said(&["a"], &["b"]), "the databases are others now: b instead of a");
        assert_eq!(said(&["a"], &["a"]), "the claims, or what holds them, are others now");
    }
}
