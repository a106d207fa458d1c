//! What differs between two pod tables, as far as it says that a pod is not the one that was held, or not as it was.

use std::collections::{BTreeMap, BTreeSet};

use super::{Difference, PodState};

/// Every difference but age and phase (STATUS tells more than the phase), sorted by pod.
pub fn differences(before: &[PodState], after: &[PodState]) -> Vec<Difference> {
    let before: BTreeMap<String, &PodState> = before.iter().map(|p| (p.path(), p)).collect();
    let after: BTreeMap<String, &PodState> = after.iter().map(|p| (p.path(), p)).collect();
    let paths: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    let mut all = Vec::new();
    for path in paths {
        match (before.get(path), after.get(path)) {
            (Some(b), Some(a)) => {
                for ((field, before), (_, after)) in fields(b).into_iter().zip(fields(a)) {
                    if before != after {
                        all.push(difference(path, field, Some(before), Some(after)));
                    }
                }
            }
            (b, a) => all.push(difference(path, "pod", b.map(|p| summary(p)), a.map(|p| summary(p)))),
        }
    }
    all
}

/// Whether all that differs is readiness that was lost without a restart: a held database may fail its readiness
/// probe, and is waited for instead of spoiling the attempt.
pub fn only_readiness(differences: &[Difference]) -> bool {
    !differences.is_empty() && differences.iter().all(lost_readiness)
}

/// The first differences in words.
pub fn words(differences: &[Difference]) -> String {
    let mut words: Vec<String> = differences
        .iter()
        .take(3)
        .map(|d| match (&d.before, &d.after) {
            (Some(before), Some(after)) => format!("{} {} {before} -> {after}", d.pod, d.field),
            (None, _) => format!("{} was added", d.pod),
            (_, None) => format!("{} was removed", d.pod),
        })
        .collect();
    if differences.len() > 3 {
        words.push(format!("and {} more", differences.len() - 3));
    }
    words.join("; ")
}

fn lost_readiness(d: &Difference) -> bool {
    let (Some(before), Some(after)) = (&d.before, &d.after) else {
        return false;
    };
    match d.field.as_str() {
        "ready" => {
            let counts = |text: &str| {
                let (ready, total) = text.split_once('/')?;
                Some((ready.parse::<usize>().ok()?, total.parse::<usize>().ok()?))
            };
            counts(before).zip(counts(after)).is_some_and(|(b, a)| b.1 == a.1 && a.0 < b.0)
        }
        // kubectl's word for a pod with a completed container whose others run, unready.
        "status" => before == "Running" && after == "NotReady",
        _ => false,
    }
}

/// Named as in the record's pod tables.
fn fields(p: &PodState) -> [(&'static str, String); 8] {
    [
        ("uid", p.uid.clone()),
        ("status", p.status.clone()),
        ("ready", p.ready.clone()),
        ("restarts", p.restarts.to_string()),
        ("containers", p.containers.join(",")),
        ("images", p.images.join(",")),
        ("node", p.node.clone()),
        ("resourceVersion", p.resource_version.clone()),
    ]
}

fn difference(pod: &str, field: &str, before: Option<String>, after: Option<String>) -> Difference {
    Difference { pod: pod.into(), field: field.into(), before, after }
}

fn summary(p: &PodState) -> String {
    format!("{} {}", p.status, p.ready)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pods::Match;

    fn pod(name: &str) -> PodState {
        PodState {
            namespace: "demo".into(),
            name: name.into(),
            uid: format!("uid-{name}"),
            phase: "Running".into(),
            status: "Running".into(),
            ready: "1/1".into(),
            restarts: 0,
            node: "n1".into(),
            images: vec!["db:1".into()],
            containers: vec!["x://1".into()],
            resource_version: String::new(),
            created: None,
        }
    }

    fn differing(change: impl Fn(&mut PodState)) -> Vec<String> {
        let before = [pod("b"), pod("a")];
        let mut after = [pod("a"), pod("b")];
        change(&mut after[0]);
        differences(&before, &after)
            .into_iter()
            .map(|d| {
                let side = |s: Option<String>| s.unwrap_or_else(|| "-".into());
                format!("{} {} {} {}", d.pod, d.field, side(d.before), side(d.after))
            })
            .collect()
    }

    #[test]
    fn order_age_and_phase_do_not_count() {
        assert!(differing(|_| ()).is_empty());
        assert!(differing(|p| p.created = "2026-11-20T10:00:00Z".parse().ok()).is_empty());
        assert!(differing(|p| p.phase = "Pending".into()).is_empty());
    }

    #[test]
    fn each_field_counts() {
        assert_eq!(differing(|p| p.uid = "new".into()), ["demo/a uid uid-a new"]);
        assert_eq!(differing(|p| p.status = "Terminating".into()), ["demo/a status Running Terminating"]);
        assert_eq!(differing(|p| p.ready = "0/1".into()), ["demo/a ready 1/1 0/1"]);
        assert_eq!(differing(|p| p.restarts = 1), ["demo/a restarts 0 1"]);
        assert_eq!(differing(|p| p.containers = vec!["x://2".into()]), ["demo/a containers x://1 x://2"]);
        assert_eq!(differing(|p| p.images = vec!["db:2".into()]), ["demo/a images db:1 db:2"]);
        assert_eq!(differing(|p| p.node = "n2".into()), ["demo/a node n1 n2"]);
    }

    #[test]
    fn the_version_counts_where_it_was_asked_for() {
        let mut object = k8s_openapi::api::core::v1::Pod::default();
        let mut tables = |by| {
            object.metadata.resource_version = Some("1".into());
            let before = PodState::compared(&object, by);
            object.metadata.resource_version = Some("2".into());
            differences(&[before], &[PodState::compared(&object, by)]).len()
        };
        assert_eq!((tables(Match::State), tables(Match::Strict)), (0, 1));
        assert_eq!("strict".parse(), Ok(Match::Strict));
        assert!("loose".parse::<Match>().is_err());
    }

    #[test]
    fn a_pod_came_or_went() {
        assert_eq!(differing(|p| p.name = "c".into()), ["demo/a pod Running 1/1 -", "demo/c pod - Running 1/1"]);
        // The same name in another namespace is another pod.
        assert_eq!(differing(|p| p.namespace = "e".into()).len(), 2);
    }

    #[test]
    fn only_lost_readiness_is_waited_for() {
        let waited = |change: &dyn Fn(&mut PodState)| {
            let mut after = pod("a");
            change(&mut after);
            only_readiness(&differences(&[pod("a")], &[after]))
        };
        assert!(waited(&|p| p.ready = "0/1".into()));
        assert!(waited(&|p| (p.ready, p.status) = ("0/1".into(), "NotReady".into())));
        assert!(!waited(&|_| ()));
        assert!(!waited(&|p| p.ready = "2/2".into()));
        assert!(!waited(&|p| p.ready = "1/2".into()));
        assert!(!waited(&|p| (p.ready, p.restarts) = ("0/1".into(), 1)));
        assert!(!waited(&|p| (p.ready, p.status) = ("0/1".into(), "CrashLoopBackOff".into())));
        assert!(!only_readiness(&differences(&[pod("a")], &[])));
    }
}
