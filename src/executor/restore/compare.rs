//! After the start: the pods are compared with those before the stop.

use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};

use super::{Broken, Restore};
use crate::cluster::client::explain;
use crate::cluster::discovery::reselect;
use crate::executor::Log;
use crate::plan::restore::Workload;
use crate::pods::{Difference, PodState};
use crate::protocol::Abort;
use crate::protocol::restore::{Event, Run};
use crate::record::entry::Detail;

/// How long pods may take to look as they did: STATUS and readiness settle after the start.
const SETTLING: Duration = Duration::from_secs(60);

impl Restore<'_> {
    /// Takes the second pod table and compares.
    pub(super) async fn compare(&self, log: &mut Log<Run>) {
        self.progress.step("comparing the pods");
        let result = tokio::select! {
            biased;
            broken = self.broken() => Err(broken),
            result = self.compared() => result,
        };
        self.store_volumes(log).await;
        match result {
            Ok((after, differ)) => {
                log.store("pods.after", &after);
                let spoilt: Vec<&Difference> = differ.iter().filter(|d| !improves(d)).collect();
                let same = spoilt.is_empty();
                let mut detail = if same {
                    Detail::default()
                } else {
                    Detail::text(format!("the pods are not as they were: {}", words(&spoilt)))
                };
                detail.differences = (!differ.is_empty()).then_some(differ);
                log.happened(Event::Compared { same }, detail);
            }
            Err((reason, text)) => log.abort(reason, text),
        }
    }

    /// The pods once nothing is worse than before, or after the time that this may take.
    async fn compared(&self) -> Result<(Vec<PodState>, Vec<Difference>), Broken> {
        let until = Instant::now() + SETTLING;
        loop {
            let late = Instant::now() >= until;
            match self.pods().await {
                Ok(after) => {
                    let differ = differences(&self.before, &after, &self.plan.workloads);
                    if late || differ.iter().all(improves) {
                        return Ok((after, differ));
                    }
                }
                Err(why) if late => return Err((Abort::Step, why)),
                Err(_) => {}
            }
            sleep(Duration::from_millis(500)).await;
        }
    }

    /// The pod table now.
    async fn pods(&self) -> Result<Vec<PodState>, String> {
        let listed = timeout(Duration::from_secs(10), reselect(&self.cluster.api, &self.plan.selections)).await;
        match listed {
            Ok(Ok(pods)) => Ok(pods.iter().map(PodState::of).collect()),
            Ok(Err(e)) => Err(format!("the pods could not be listed: {}", explain(&e))),
            Err(_) => Err("the pods could not be listed: the API server did not answer".into()),
        }
    }

    /// On the way back: the pods as they are then, for the record.
    pub(super) async fn show_pods_after(&self, log: &mut Log<Run>) {
        if let Ok(after) = self.pods().await {
            log.store("pods.after", &after);
        }
    }
}

/// What differs, where a restart may differ: uid, name, container ids, restarts and node are expected to be others.
/// Number, STATUS, readiness and images are not.
fn differences(before: &[PodState], after: &[PodState], workloads: &[Workload]) -> Vec<Difference> {
    let mut left: Vec<&PodState> = after.iter().collect();
    let mut pairs = Vec::new();
    let mut alone = Vec::new();
    for old in before {
        match left.iter().position(|new| new.path() == old.path()) {
            Some(n) => pairs.push((old, left.remove(n))),
            None => alone.push(old),
        }
    }
    let mut all = Vec::new();
    // A Deployment's pods have new names: the one that is most like the old one is taken for it.
    for old in alone {
        let like = |new: &&PodState| new.namespace == old.namespace && maker(&new.name) == maker(&old.name);
        match left.iter().position(like) {
            Some(n) => pairs.push((old, left.remove(n))),
            None => all.push(Difference {
                pod: old.path(),
                field: "pod".into(),
                before: Some(old.status.clone()),
                after: None,
            }),
        }
    }
    for (old, new) in pairs {
        let fields = [
            ("status", old.status.clone(), new.status.clone()),
            ("ready", old.ready.clone(), new.ready.clone()),
            ("images", old.images.join(","), new.images.join(",")),
        ];
        for (field, before, after) in fields.into_iter().filter(|(_, before, after)| before != after) {
            all.push(Difference { pod: new.path(), field: field.into(), before: Some(before), after: Some(after) });
        }
    }
    // More pods than before are right where a workload was stopped, or short of pods.
    let wanted: usize = workloads.iter().map(|w| usize::try_from(w.start).unwrap_or(0)).sum();
    for new in left {
        let after = if after.len() <= wanted && serves(new) { "Running" } else { "unexpected" };
        all.push(Difference { pod: new.path(), field: "pod".into(), before: None, after: Some(after.into()) });
    }
    all
}

/// A pod's name without what is random in it.
fn maker(name: &str) -> &str {
    name.rsplitn(3, '-').nth(2).unwrap_or(name)
}

fn serves(pod: &PodState) -> bool {
    let ready = pod.ready.split_once('/').is_some_and(|(ready, all)| ready == all);
    pod.status == "Running" && ready
}

/// Whether this difference is only for the better: a restore is often asked for because a database did not serve.
fn improves(difference: &Difference) -> bool {
    match (difference.field.as_str(), difference.after.as_deref()) {
        ("status" | "pod", Some(after)) => after == "Running",
        ("ready", Some(after)) => after.split_once('/').is_some_and(|(ready, all)| ready == all),
        _ => false,
    }
}

fn words(differences: &[&Difference]) -> String {
    let none = "nothing".to_owned();
    let all: Vec<String> = differences
        .iter()
        .take(3)
        .map(|d| {
            let (before, after) = (d.before.as_ref().unwrap_or(&none), d.after.as_ref().unwrap_or(&none));
            format!("{} {} {before} -> {after}", d.pod, d.field)
        })
        .collect();
    all.join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(name: &str, status: &str, ready: &str, image: &str) -> PodState {
        PodState {
            namespace: "demo".into(),
            name: name.into(),
            uid: format!("{name}-{status}"),
            phase: "Running".into(),
            status: status.into(),
            ready: ready.into(),
            restarts: 0,
            node: "n1".into(),
            images: vec![image.into()],
            containers: vec!["x://1".into()],
            resource_version: String::new(),
            created: None,
        }
    }

    fn workload(start: i32) -> Workload {
        Workload {
            namespace: "demo".into(),
            kind: "StatefulSet".into(),
            name: "pg".into(),
            uid: "u".into(),
            labels: String::new(),
            replicas: start,
            start,
            ready: start,
            retention: None,
            grace: Duration::ZERO,
        }
    }

    #[test]
    fn a_restarted_pod_is_the_same() {
        let before = [pod("pg-0", "Running", "1/1", "pg:15")];
        let mut after = before.clone();
        after[0].uid = "other".into();
        after[0].containers = vec!["x://2".into()];
        after[0].restarts = 3;
        after[0].node = "n2".into();
        assert_eq!(differences(&before, &after, &[workload(1)]), []);
    }

    #[test]
    fn a_deployments_pod_may_have_another_name() {
        let before = [pod("web-5d8f7c-abcde", "Running", "1/1", "web:1")];
        let after = [pod("web-5d8f7c-xyzvw", "Running", "1/1", "web:1")];
        assert_eq!(differences(&before, &after, &[workload(1)]), []);
        assert_eq!(differences(&before, &[pod("api-1-x", "Running", "1/1", "web:1")], &[workload(1)]).len(), 2);
    }

    #[test]
    fn image_number_status_and_readiness_count() {
        let before = [pod("pg-0", "Running", "1/1", "pg:15"), pod("pg-1", "Running", "1/1", "pg:15")];
        let spoilt = |after: &[PodState]| {
            differences(&before, after, &[workload(2)])
                .into_iter()
                .filter(|d| !improves(d))
                .map(|d| d.field)
                .collect::<Vec<_>>()
        };
        assert_eq!(spoilt(&before[..1]), ["pod"]);
        assert_eq!(spoilt(&[before[0].clone(), pod("pg-1", "Running", "1/1", "pg:16")]), ["images"]);
        assert_eq!(spoilt(&[before[0].clone(), pod("pg-1", "CrashLoopBackOff", "0/1", "pg:15")]), ["status", "ready"]);
        let three = [before[0].clone(), before[1].clone(), pod("pg-2", "Running", "1/1", "pg:15")];
        assert_eq!(spoilt(&three), ["pod"], "one more than there should be");
    }

    #[test]
    fn a_database_that_serves_again_is_no_spoilt_restore() {
        let before = [pod("pg-0", "CrashLoopBackOff", "0/1", "pg:15")];
        let after = [pod("pg-0", "Running", "1/1", "pg:15")];
        let differ = differences(&before, &after, &[workload(1)]);
        assert_eq!(differ.len(), 2);
        assert!(differ.iter().all(improves));
        let stopped = differences(&[], &after, &[workload(1)]);
        assert!(stopped.len() == 1 && stopped.iter().all(improves), "it was stopped by hand before");
    }
}
