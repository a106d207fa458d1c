//! Beginning an attempt: the first pod table, and, before a repeated one, quiet pods and a new plan.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};

use super::{Backup, failed};
use crate::cluster::discovery::reselect;
use crate::executor::Log;
use crate::plan::Plan;
use crate::pods::{PodState, differences};
use crate::protocol::Abort;
use crate::protocol::backup::{Event, Run};
use crate::record::entry::Detail;

/// How long pods must be unchanged before an attempt is repeated (design 4).
const QUIET: Duration = Duration::from_secs(10);
/// How long to wait for that.
const PATIENCE: Duration = Duration::from_secs(300);

impl Backup<'_> {
    pub(super) async fn begin(&mut self, log: &mut Log<Run>, attempt: u8) {
        if attempt > 1 {
            self.progress.say(&format!("attempt {} is repeated as soon as the pods are quiet", attempt - 1));
            let ready = tokio::select! {
                ready = self.quiet_again() => ready,
                () = self.signals.first() => Err((Abort::Signal, "interrupted".into())),
            };
            match ready {
                Ok(plan) => self.plan = Arc::new(plan),
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
        self.state.before = pods;
        self.forget_sessions();
        log.store("plan", &*self.plan);
        log.store("pods.before", &self.state.before);
        let detail = Detail {
            accuracy: Some(log.clock.width.as_secs_f64()),
            skew: Some(log.clock.skew.as_secs_f64()),
            ..Detail::default()
        };
        log.happened(Event::Attempt(attempt), detail);
    }

    /// The pod table now.
    pub(super) async fn pods(&self) -> Result<Vec<PodState>, String> {
        let listed = timeout(Duration::from_secs(10), reselect(&self.cluster.api, &self.plan.selections)).await;
        match listed {
            Ok(Ok(pods)) => Ok(pods.iter().map(PodState::of).collect()),
            Ok(Err(e)) => Err(format!("the pods could not be listed: {}", crate::cluster::client::explain(&e))),
            Err(_) => Err("the pods could not be listed: the API server did not answer".into()),
        }
    }

    /// Waits until the pods were unchanged for a while, and makes the plan anew.
    async fn quiet_again(&self) -> Result<Plan, (Abort, String)> {
        let begun = Instant::now();
        let mut last = self.pods().await.unwrap_or_default();
        let mut since = Instant::now();
        loop {
            if since.elapsed() >= QUIET && !last.is_empty() {
                match self.plan_again().await {
                    Ok(plan) => return Ok(plan),
                    Err(why) if begun.elapsed() > PATIENCE => return Err((Abort::Step, why)),
                    // A pod that is not ready yet refuses the plan: it counts as not quiet.
                    Err(_) => since = Instant::now(),
                }
            }
            if begun.elapsed() > PATIENCE {
                return Err((Abort::Step, "the pods did not become quiet within 5 minutes".into()));
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
    async fn plan_again(&self) -> Result<Plan, String> {
        let Some(replan) = &self.replan else {
            return Err("the run was taken over and is not repeated".into());
        };
        let new = replan().await?;
        let key = |plan: &Plan| {
            let targets: Vec<String> = plan.targets.iter().map(crate::plan::Target::path).collect();
            let claims: Vec<String> = plan.claims.iter().map(|c| format!("{}/{}", c.namespace, c.name)).collect();
            (targets, claims)
        };
        if key(&new) != key(&self.plan) {
            return Err("the databases or claims are others now: run the backup again".into());
        }
        Ok(Plan {
            run: self.plan.run.clone(),
            created: self.plan.created,
            namespace: self.plan.namespace.clone(),
            ..new
        })
    }
}
