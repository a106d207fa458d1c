//! Two pod tables with a stop and a start between them.

use super::{Difference, PodState};

/// A Deployment without data of its own: as many pods as it needs serve, and an autoscaler may have added or removed others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Elastic {
    /// The namespace.
    pub namespace: String,
    /// The Deployment.
    pub name: String,
    /// How many pods it needs.
    pub needed: usize,
}

impl Elastic {
    fn owns(&self, pod: &PodState) -> bool {
        pod.namespace == self.namespace && maker(&pod.name) == self.name
    }

    fn has_enough(&self, pods: &[PodState]) -> bool {
        pods.iter().filter(|pod| self.owns(pod) && serves(pod)).count() >= self.needed
    }
}

/// What differs after a stop and a start: uid, name, container ids, restarts and node are expected to be others.
/// Number, STATUS, readiness and images are not.
///
/// `wanted` is how many pods there should be beside those of `elastic`: more than before are right where a workload was
/// stopped, or short of pods.
pub fn restarted(before: &[PodState], after: &[PodState], wanted: usize, elastic: &[Elastic]) -> Vec<Difference> {
    // One more than the pods before is not to be the one that serves already.
    let mut left: Vec<&PodState> = after.iter().collect();
    left.sort_by_key(|pod| !serves(pod));
    let enough: Vec<&Elastic> = elastic.iter().filter(|of| of.has_enough(after)).collect();
    let is_elastic = |pod: &PodState| enough.iter().any(|of| of.owns(pod));
    let others = after.iter().filter(|pod| !elastic.iter().any(|of| of.owns(pod))).count();
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
                after: is_elastic(old).then(|| SCALED_DOWN.into()),
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
        let after = match (serves(new), is_elastic(new)) {
            (true, true) => "Running",
            (true, false) if others <= wanted => "Running",
            (false, true) => SCALED_UP,
            _ => "unexpected",
        };
        all.push(Difference { pod: new.path(), field: "pod".into(), before: None, after: Some(after.into()) });
    }
    all
}

/// What is said of a pod that an autoscaler added, and that does not serve yet.
const SCALED_UP: &str = "scaled up";
/// What is said of one that it removed.
const SCALED_DOWN: &str = "scaled down";

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
        ("pod", Some(SCALED_UP | SCALED_DOWN)) => true,
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
        assert_eq!(restarted(&before, &after, 1, &[]), []);
    }

    #[test]
    fn a_deployments_pod_may_have_another_name() {
        let before = [pod("web-5d8f7c-abcde", "Running", "1/1", "web:1")];
        let after = [pod("web-5d8f7c-xyzvw", "Running", "1/1", "web:1")];
        assert_eq!(restarted(&before, &after, 1, &[]), []);
        assert_eq!(restarted(&before, &[pod("api-1-x", "Running", "1/1", "web:1")], 1, &[]).len(), 2);
    }

    #[test]
    fn image_number_status_and_readiness_count() {
        let before = [pod("pg-0", "Running", "1/1", "pg:15"), pod("pg-1", "Running", "1/1", "pg:15")];
        let spoilt = |after: &[PodState]| {
            restarted(&before, after, 2, &[]).into_iter().filter(|d| !improves(d)).map(|d| d.field).collect::<Vec<_>>()
        };
        assert_eq!(spoilt(&before[..1]), ["pod"]);
        assert_eq!(spoilt(&[before[0].clone(), pod("pg-1", "Running", "1/1", "pg:16")]), ["images"]);
        assert_eq!(spoilt(&[before[0].clone(), pod("pg-1", "CrashLoopBackOff", "0/1", "pg:15")]), ["status", "ready"]);
        let three = [before[0].clone(), before[1].clone(), pod("pg-2", "Running", "1/1", "pg:15")];
        assert_eq!(spoilt(&three), ["pod"], "one more than there should be");
    }

    #[test]
    fn what_an_autoscaler_changes_of_what_has_no_data_is_told_and_spoils_nothing() {
        let web = |n: &str, ready: &str| pod(&format!("web-5d8f7c-{n}"), "Running", ready, "web:1");
        let elastic = |needed| [Elastic { namespace: "demo".into(), name: "web".into(), needed }];
        let database = pod("pg-0", "Running", "1/1", "pg:15");
        let before = [web("a", "1/1"), web("b", "1/1"), database.clone()];
        let differ = |after: &[PodState], needed| {
            let all = restarted(&before, after, 1, &elastic(needed));
            let fields: Vec<_> = all.iter().map(|d| d.after.clone().unwrap_or_default()).collect();
            (fields.join(","), all.iter().all(improves))
        };
        let one = [web("c", "1/1"), database.clone()];
        assert_eq!(differ(&one, 1), ("scaled down".into(), true));
        assert_eq!(differ(&one, 2), (String::new(), false), "one of two is missing");
        let three = [web("c", "0/1"), web("d", "1/1"), web("e", "1/1"), database.clone()];
        assert_eq!(differ(&three, 2), ("scaled up".into(), true));
        assert_eq!(differ(&three, 3), ("unexpected".into(), false), "it needs all three");
        let another = [web("c", "1/1"), web("d", "1/1"), database.clone(), pod("pg-1", "Running", "1/1", "pg:15")];
        assert_eq!(differ(&another, 2), ("unexpected".into(), false), "a database more");
    }

    #[test]
    fn a_database_that_serves_again_is_no_spoilt_restore() {
        let before = [pod("pg-0", "CrashLoopBackOff", "0/1", "pg:15")];
        let after = [pod("pg-0", "Running", "1/1", "pg:15")];
        let differ = restarted(&before, &after, 1, &[]);
        assert_eq!(differ.len(), 2);
        assert!(differ.iter().all(improves));
        let stopped = restarted(&[], &after, 1, &[]);
        assert!(stopped.len() == 1 && stopped.iter().all(improves), "it was stopped by hand before");
    }
}
