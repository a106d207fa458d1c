//! Which containers of the selected pods are which database: by the adapters' own eyes, or as annotations say.

use k8s_openapi::api::core::v1::{Container, Pod};

use super::facts::{annotation, name, namespace, object};
use super::{Endpoint, Facts};
use crate::error::Refusal;
use crate::pods::running_containers;
use crate::quiescer::{Quiescer, scalar};

/// The pod annotation that names the adapter; with `.CONTAINER` behind it, that of one container.
pub const ADAPTER: &str = "consistent-backup/adapter";
/// Its value for "no database, or none that is to be held".
pub const NO_ADAPTER: &str = "none";

/// A container that runs a database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Detected {
    /// The namespace.
    pub namespace: String,
    /// The pod.
    pub pod: String,
    /// The pod's uid.
    pub pod_uid: String,
    /// The container.
    pub container: String,
    /// The adapter's name.
    pub adapter: &'static str,
    /// Whether it runs and may be asked.
    pub running: bool,
    /// The release that it is a pod of; empty where it is of none.
    pub release: String,
    /// Its admin port, if it is spoken to there.
    pub endpoint: Option<Endpoint>,
}

/// What the selected pods run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Detection {
    /// The databases, in the pods' order.
    pub targets: Vec<Detected>,
    /// Containers that an annotation says not to hold, as namespace, pod and container.
    pub unheld: Vec<(String, String, String)>,
    /// Annotations that cannot be followed, containers that look like two databases.
    pub refusals: Vec<Refusal>,
}

/// Looks at every selected pod.
pub fn detect(facts: &Facts, quiescers: &[&'static dyn Quiescer]) -> Detection {
    let mut detection = Detection::default();
    for pod in &facts.pods {
        let containers = running_containers(pod);
        detection.refusals.extend(misplaced(pod, &containers, quiescers));
        let (mut found, mut paused) = (0, false);
        for container in &containers {
            match judge(pod, container, &containers, quiescers) {
                Ok(Judgement::Nothing) => {}
                Ok(Judgement::Unheld) => {
                    detection.unheld.push((namespace(pod).into(), name(pod).into(), container.name.clone()));
                }
                Ok(Judgement::Database(adapter)) => {
                    found += 1;
                    // A sidecar has no admin port.
                    let release = facts.release_of(pod).filter(|_| adapter == scalar::NAME);
                    paused |= release.is_some();
                    detection.targets.push(Detected {
                        namespace: namespace(pod).into(),
                        pod: name(pod).into(),
                        pod_uid: pod.metadata.uid.clone().unwrap_or_default(),
                        container: container.name.clone(),
                        adapter,
                        running: is_running(pod, &container.name),
                        release: release.map(|(release, _)| release.name.clone()).unwrap_or_default(),
                        endpoint: release.map(|(_, endpoint)| endpoint.clone()),
                    });
                }
                Err(refusal) => {
                    found += 1;
                    detection.refusals.push(refusal);
                }
            }
        }
        if let Some((release, _)) = facts.release_of(pod)
            && !paused
        {
            // It would go on writing while the others are paused.
            detection.refusals.push(
                Refusal::new(
                    object(pod),
                    format!("is a pod of release {}, and none of its containers would be paused", release.path()),
                )
                .hint(format!(
                    "all of a release's pods are paused, or none: remove the annotation {ADAPTER}=none, or name the server's \
                     container with {ADAPTER}.CONTAINER={}",
                    scalar::NAME
                )),
            );
        }
        if let Some(asked) = annotation(pod, ADAPTER)
            && found == 0
            && quiescers.iter().any(|q| q.name() == asked)
        {
            detection.refusals.push(
                Refusal::new(
                    object(pod),
                    format!("is annotated as {asked}, but none of its containers looks like one"),
                )
                .hint(format!("say which with the pod annotation {ADAPTER}.CONTAINER={asked}")),
            );
        }
    }
    detection
}

enum Judgement {
    Nothing,
    Unheld,
    Database(&'static str),
}

fn judge(
    pod: &Pod,
    container: &Container,
    all: &[&Container],
    quiescers: &[&'static dyn Quiescer],
) -> Result<Judgement, Refusal> {
    let by_name = |name: &str| quiescers.iter().find(|q| q.name() == name);
    if let Some(own) = annotation(pod, &of_container(&container.name)) {
        // An unknown value is refused where annotations are read; here it is no database.
        return Ok(match by_name(own) {
            _ if own == NO_ADAPTER => Judgement::Unheld,
            Some(q) => Judgement::Database(q.name()),
            None => Judgement::Nothing,
        });
    }
    if let Some(whole) = annotation(pod, ADAPTER) {
        let open = all.iter().filter(|c| annotation(pod, &of_container(&c.name)).is_none());
        let alone = open.count() == 1;
        return Ok(match by_name(whole) {
            _ if whole == NO_ADAPTER => Judgement::Unheld,
            Some(q) if alone || q.detects(pod, container) => Judgement::Database(q.name()),
            _ => Judgement::Nothing,
        });
    }
    let found: Vec<&str> = quiescers.iter().filter(|q| q.detects(pod, container)).map(|q| q.name()).collect();
    match found[..] {
        [] => Ok(Judgement::Nothing),
        [_] => Ok(by_name(found[0]).map_or(Judgement::Nothing, |q| Judgement::Database(q.name()))),
        _ => Err(Refusal::new(
            object(pod),
            format!("container {} looks like {} at once", container.name, found.join(" and ")),
        )
        .hint(format!("say which with the pod annotation {}", of_container(&container.name)))),
    }
}

fn of_container(container: &str) -> String {
    format!("{ADAPTER}.{container}")
}

/// Annotations with a value that no adapter has, or for a container that does not exist: a typing error must not
/// silently leave a database unheld.
fn misplaced(pod: &Pod, containers: &[&Container], quiescers: &[&'static dyn Quiescer]) -> Vec<Refusal> {
    let mut refusals = Vec::new();
    for (key, value) in pod.metadata.annotations.iter().flatten() {
        let Some(rest) = key.strip_prefix(ADAPTER) else {
            continue;
        };
        if let Some(container) = rest.strip_prefix('.') {
            if !containers.iter().any(|c| c.name == container) {
                let names: Vec<&str> = containers.iter().map(|c| c.name.as_str()).collect();
                refusals.push(
                    Refusal::new(object(pod), format!("annotation {key} is for a container that it does not have"))
                        .hint(format!("its containers are {}", names.join(", "))),
                );
            }
        } else if !rest.is_empty() {
            continue;
        }
        if value != NO_ADAPTER && !quiescers.iter().any(|q| q.name() == value) {
            let names: Vec<&str> = quiescers.iter().map(|q| q.name()).collect();
            refusals.push(
                Refusal::new(object(pod), format!("annotation {key} names the unknown adapter `{value}`"))
                    .hint(format!("adapters are {}, or {NO_ADAPTER}", names.join(", "))),
            );
        }
    }
    refusals
}

fn is_running(pod: &Pod, container: &str) -> bool {
    let statuses = pod.status.iter().flat_map(|s| {
        let init = s.init_container_statuses.iter().flatten();
        init.chain(s.container_statuses.iter().flatten())
    });
    let mut of_it = statuses.filter(|s| s.name == container);
    pod.metadata.deletion_timestamp.is_none() && of_it.any(|s| s.state.as_ref().is_some_and(|s| s.running.is_some()))
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{FAKES, facts, pod};
    use super::*;
    use serde_json::json;

    /// `CONTAINER=ADAPTER` of all targets, then the containers that are not held, then the refusals.
    fn seen(annotations: &serde_json::Value, containers: &[&str]) -> (String, String, Vec<String>) {
        let mut value = pod("p", containers, &[]);
        value["metadata"]["annotations"] = annotations.clone();
        let detection = detect(&facts(&[value]), FAKES);
        let targets: Vec<String> = detection.targets.iter().map(|t| format!("{}={}", t.container, t.adapter)).collect();
        let unheld: Vec<String> = detection.unheld.into_iter().map(|u| u.2).collect();
        let refusals = detection.refusals.into_iter().map(|r| r.message).collect();
        (targets.join(" "), unheld.join(" "), refusals)
    }

    fn targets(annotations: &serde_json::Value, containers: &[&str]) -> String {
        let (targets, _, refusals) = seen(annotations, containers);
        assert!(refusals.is_empty(), "{refusals:?}");
        targets
    }

    // The fakes detect a container whose name contains theirs: `postgres`, `mysql`, `redis`.

    #[test]
    fn databases_are_detected() {
        assert_eq!(targets(&json!({}), &["postgres"]), "postgres=postgres");
        assert_eq!(targets(&json!({}), &["app"]), "");
        assert_eq!(targets(&json!({}), &["postgres", "app", "redis"]), "postgres=postgres redis=redis");
    }

    #[test]
    fn annotations_overrule_what_is_seen() {
        assert_eq!(targets(&json!({ADAPTER: "mysql"}), &["app"]), "app=mysql");
        assert_eq!(targets(&json!({ADAPTER: "mysql"}), &["postgres"]), "postgres=mysql");
        assert_eq!(targets(&json!({ADAPTER: "mysql"}), &["mysql", "redis"]), "mysql=mysql");
        assert_eq!(
            targets(&json!({"consistent-backup/adapter.app": "mysql"}), &["app", "redis"]),
            "app=mysql redis=redis"
        );
        assert_eq!(
            targets(&json!({ADAPTER: "mysql", "consistent-backup/adapter.redis": "redis"}), &["app", "redis"]),
            "app=mysql redis=redis"
        );
    }

    #[test]
    fn none_is_remembered() {
        assert_eq!(seen(&json!({ADAPTER: "none"}), &["postgres", "x"]), (String::new(), "postgres x".into(), vec![]));
        let one = json!({"consistent-backup/adapter.redis": "none"});
        assert_eq!(seen(&one, &["postgres", "redis"]), ("postgres=postgres".into(), "redis".into(), vec![]));
    }

    #[test]
    fn what_cannot_be_followed_is_refused() {
        let refusal = |annotations, containers: &[&str]| seen(&annotations, containers).2.join("; ");
        assert_eq!(
            refusal(json!({ADAPTER: "oracle"}), &["postgres"]),
            "annotation consistent-backup/adapter names the unknown adapter `oracle`"
        );
        assert_eq!(
            refusal(json!({"consistent-backup/adapter.bd": "redis"}), &["db"]),
            "annotation consistent-backup/adapter.bd is for a container that it does not have"
        );
        assert_eq!(
            refusal(json!({ADAPTER: "mysql"}), &["a", "b"]),
            "is annotated as mysql, but none of its containers looks like one"
        );
        assert_eq!(
            refusal(json!({}), &["redis-on-mysql"]),
            "container redis-on-mysql looks like mysql and redis at once"
        );
    }

    #[test]
    fn what_does_not_run_is_not_asked() {
        let mut value = pod("p", &["postgres"], &[]);
        value["status"]["containerStatuses"][0]["state"] = json!({"waiting": {"reason": "CrashLoopBackOff"}});
        assert!(!detect(&facts(&[value]), FAKES).targets[0].running);
        assert!(detect(&facts(&[pod("p", &["postgres"], &[])]), FAKES).targets[0].running);
    }
}
