//! Two pod tables with a stop and a start between them.

use super::{Difference, PodState};

/// What differs after a stop and a start: uid, name, container ids, restarts and node are expected to be others.
/// Number, STATUS, readiness and images are not.
///
/// `wanted` is how many pods there should be: more than before are right where a workload was stopped, or short of pods.
pub fn restarted(before: &[PodState], after: &[PodState], wanted: usize) -> Vec<Difference> {
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
pub fn improves(difference: &Difference) -> bool {
    match (difference.field.as_str(), difference.after.as_deref()) {
        ("status" | "pod", Some(after)) => after == "Running",
        ("ready", Some(after)) => after.split_once('/').is_some_and(|(ready, all)| ready == all),
        _ => false,
    }
}

/// The first of these differences in words.
pub fn brief(differences: &[&Difference]) -> String {
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

    #[test]
    fn a_restarted_pod_is_the_same() {
        let before = [pod("pg-0", "Running", "1/1", "pg:15")];
        let mut after = before.clone();
        after[0].uid = "other".into();
        after[0].containers = vec!["x://2".into()];
        after[0].restarts = 3;
        after[0].node = "n2".into();
        assert_eq!(restarted(&before, &after, 1), []);
    }

    #[test]
    fn a_deployments_pod_may_have_another_name() {
        let before = [pod("web-5d8f7c-abcde", "Running", "1/1", "web:1")];
        let after = [pod("web-5d8f7c-xyzvw", "Running", "1/1", "web:1")];
        assert_eq!(restarted(&before, &after, 1), []);
        assert_eq!(restarted(&before, &[pod("api-1-x", "Running", "1/1", "web:1")], 1).len(), 2);
    }

    #[test]
    fn image_number_status_and_readiness_count() {
        let before = [pod("pg-0", "Running", "1/1", "pg:15"), pod("pg-1", "Running", "1/1", "pg:15")];
        let spoilt = |after: &[PodState]| {
            restarted(&before, after, 2).into_iter().filter(|d| !improves(d)).map(|d| d.field).collect::<Vec<_>>()
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
        let differ = restarted(&before, &after, 1);
        assert_eq!(differ.len(), 2);
        assert!(differ.iter().all(improves));
        let stopped = restarted(&[], &after, 1);
        assert!(stopped.len() == 1 && stopped.iter().all(improves), "it was stopped by hand before");
    }
}
