//! The releases in front of the databases of a backup: they have no data of their own, so nothing of them is copied or
//! recovered; a restore in place stops and starts them.

use serde_json::Value;

use super::access::Stopped;
use super::anew::Wanted;
use super::only::selections;
use super::{RestorePlan, Source};
use crate::manifests::name;
use crate::plan::{Plan, Release, Target, Workload};
use crate::typed::kubectl;

impl Plan {
    /// Whether this workload is a release in front of the databases.
    pub(in crate::plan) fn is_front(&self, of: &Workload) -> bool {
        let is = |namespace: &str, deployment: &str| of.namespace == namespace && of.name == deployment;
        of.kind == "Deployment" && self.releases.iter().any(|r| is(&r.namespace, &r.deployment))
    }

    /// What a restore in place stops and starts.
    pub fn stopped(&self) -> Vec<Stopped<'_>> {
        let all = self.workloads.iter();
        all.map(|of| Stopped { namespace: &of.namespace, kind: &of.kind, front: self.is_front(of) }).collect()
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
        let mut source = self.only(|target| !target.probe.keeps_nothing);
        source.plan = self.plan.of_databases();
        source
    }

    /// The same of these targets only, with what is known of them.
    fn only(&self, keeps: impl Fn(&Target) -> bool) -> Self {
        let mut source = self.clone();
        let kept: Vec<bool> = self.plan.targets.iter().map(keeps).collect();
        source.plan.targets = retained(&self.plan.targets, &kept);
        source.points = retained(&self.points, &kept);
        source.ends = retained(&self.ends, &kept);
        source
    }

    /// What a restore in place stops and starts. Of a window, of which no claim was copied, only the releases: what else
    /// was held in it goes back by its own means, and to stop it would restore nothing.
    #[must_use]
    pub fn in_place(&self) -> Self {
        if !self.plan.claims.is_empty() || self.plan.releases.is_empty() {
            return self.clone();
        }
        let mut source = self.only(|target| target.probe.keeps_nothing);
        let plan = &mut source.plan;
        let (fronts, others): (Vec<Workload>, Vec<Workload>) =
            self.plan.workloads.iter().cloned().partition(|of| self.plan.is_front(of));
        plan.selections = selections(&fronts);
        plan.workloads = fronts;
        plan.replicas.clear();
        let is_its =
            |namespace: &str, pod: &str| plan.workloads.iter().any(|w| w.namespace == namespace && w.owns(pod));
        source.pods.retain(|pod| is_its(&pod.namespace, &pod.name));
        if !others.is_empty() {
            let names: Vec<String> = others.iter().map(|w| format!("{}/{}", w.kind.to_lowercase(), w.name)).collect();
            source.notes.push(format!(
                "backup {} copied no claim: {} stays as it is now, and is restored by its own means",
                plan.run,
                names.join(", ")
            ));
        }
        source
    }
}

fn retained<T: Clone>(all: &[T], kept: &[bool]) -> Vec<T> {
    all.iter().zip(kept).filter(|(_, kept)| **kept).map(|(one, _)| one.clone()).collect()
}

impl RestorePlan {
    /// What is stopped and started.
    pub fn stopped(&self) -> Vec<Stopped<'_>> {
        let all = self.workloads.iter();
        all.map(|of| Stopped { namespace: &of.namespace, kind: &of.kind, front: of.front }).collect()
    }
}

/// What becomes of the releases where only the claims of their databases are copied.
pub(super) fn beside_claims(plan: &Plan) -> Option<String> {
    let (releases, are, them) = named(plan)?;
    Some(format!("{releases} {are} not touched, and nothing changes for {them}"))
}

/// What becomes of them where their databases are copied too, and how one of their kind finds the copies.
pub(super) fn beside_copies(plan: &Plan, made: &[Wanted]) -> Option<String> {
    let (releases, are, them) = named(plan)?;
    let hosts: Vec<String> = made.iter().filter_map(host).collect();
    let hosts = if hosts.is_empty() { String::new() } else { format!(": {}", hosts.join(", ")) };
    Some(format!(
        "{releases} {are} not copied, and nothing changes for {them}; to use the copies, install another release whose contact \
         points name their Services{hosts}"
    ))
}

/// What becomes of them where their databases are brought back because they were gone: nothing of them is stopped.
pub(super) fn in_front_of_anew(plan: &Plan) -> Option<String> {
    let (releases, are, them) = named(plan)?;
    let stop =
        |r: &Release| kubectl(&["scale", &format!("deployment/{}", r.deployment), "-n", &r.namespace, "--replicas=0"]);
    let stop: Vec<String> = plan.releases.iter().map(stop).collect();
    Some(format!(
        "{releases} {are} neither stopped nor made here: keep what runs of {them} stopped until all databases serve ({}), and \
         install again what is gone",
        stop.join("; ")
    ))
}

/// The releases, with the words that go with one or several.
fn named(plan: &Plan) -> Option<(String, &'static str, &'static str)> {
    let paths: Vec<String> = plan.releases.iter().map(Release::path).collect();
    match &paths[..] {
        [] => None,
        [one] => Some((format!("release {one}"), "is", "it")),
        _ => Some((format!("releases {}", paths.join(", ")), "are", "them")),
    }
}

/// By which name clients find a workload: a headless Service finds each pod for itself.
fn host(of: &Wanted) -> Option<String> {
    let is_headless = |service: &&Value| service["spec"]["clusterIP"] == "None";
    let service = of.services.iter().find(|service| !is_headless(service)).or(of.services.first())?;
    Some(format!("{}.{}", name(service), of.namespace))
}
