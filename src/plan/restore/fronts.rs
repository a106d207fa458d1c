//! The releases in front of the databases of a backup: they have no data of their own, so nothing of them is copied or
//! recovered; a restore in place stops and starts them.

use super::Source;
use crate::plan::{Plan, Workload};

impl Plan {
    /// Whether this workload is a release in front of the databases.
    pub(in crate::plan) fn is_front(&self, of: &Workload) -> bool {
        let is = |namespace: &str, deployment: &str| of.namespace == namespace && of.name == deployment;
        of.kind == "Deployment" && self.releases.iter().any(|r| is(&r.namespace, &r.deployment))
    }

    /// The same without the releases: what copies are made of.
    #[must_use]
    pub fn of_databases(&self) -> Self {
        let mut plan = self.clone();
        plan.workloads.retain(|of| !self.is_front(of));
        plan.targets.retain(|target| !target.probe.keeps_nothing);
        plan
    }
}

impl Source {
    /// The same without the releases: what copies are made of.
    #[must_use]
    pub fn of_databases(&self) -> Self {
        let keeps: Vec<bool> = self.plan.targets.iter().map(|target| !target.probe.keeps_nothing).collect();
        let mut source = Self { plan: self.plan.of_databases(), ..self.clone() };
        let mut of = keeps.iter();
        source.points.retain(|_| *of.next().unwrap_or(&true));
        let mut of = keeps.iter();
        source.ends.retain(|_| *of.next().unwrap_or(&true));
        source
    }
}
