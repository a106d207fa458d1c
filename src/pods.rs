//! The state of a pod as an operator sees it, and the differences between two tables of pods. Pure.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Container, ContainerStatus, Pod};
use serde::{Deserialize, Serialize};

mod differences;
mod restart;
mod status;

pub use differences::{differences, only_readiness, words};
pub use restart::{Elastic, brief, improves, restarted};

/// One pod, as it stands in the pod table and in the record (`status.pods.before[]`, `after[]`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PodState {
    /// The namespace.
    pub namespace: String,
    /// The name.
    pub name: String,
    /// The uid.
    pub uid: String,
    /// `status.phase`.
    pub phase: String,
    /// The word that kubectl prints in its STATUS column.
    pub status: String,
    /// Ready containers of all, like `1/1`.
    pub ready: String,
    /// Restarts of all containers, as kubectl counts them.
    pub restarts: i32,
    /// The node.
    pub node: String,
    /// The containers' images, in order.
    pub images: Vec<String>,
    /// The containers' ids, in order: a restart changes them.
    pub containers: Vec<String>,
    /// When it was created; AGE is printed from it and never counts as a difference.
    pub created: Option<Timestamp>,
    /// The object's version, where tables are compared by it too (`--pods-must-match strict`).
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub resource_version: String,
}

/// By what two pod tables are compared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Match {
    /// By what an operator sees of a pod.
    #[default]
    State,
    /// By its resourceVersion too: any write to the pod counts, as with scalar-admin-for-kubernetes.
    Strict,
}

impl std::str::FromStr for Match {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "state" => Ok(Self::State),
            "strict" => Ok(Self::Strict),
            other => Err(format!("`{other}` is neither state nor strict")),
        }
    }
}

/// One thing that differs between two tables (`status.pods.differences[]`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Difference {
    /// `NAMESPACE/NAME`.
    pub pod: String,
    /// The field, or `pod` when the whole pod was added or removed.
    pub field: String,
    /// Its value before, or nothing.
    pub before: Option<String>,
    /// Its value after, or nothing.
    pub after: Option<String>,
}

impl PodState {
    /// The state that this object shows.
    pub fn of(pod: &Pod) -> Self {
        let shown = status::shown(pod);
        let running = running_containers(pod);
        Self {
            namespace: pod.metadata.namespace.clone().unwrap_or_default(),
            name: pod.metadata.name.clone().unwrap_or_default(),
            uid: pod.metadata.uid.clone().unwrap_or_default(),
            phase: pod.status.as_ref().and_then(|s| s.phase.clone()).unwrap_or_default(),
            status: shown.status,
            ready: format!("{}/{}", shown.ready, shown.total),
            restarts: shown.restarts,
            node: pod.spec.as_ref().and_then(|s| s.node_name.clone()).unwrap_or_default(),
            images: running.iter().map(|c| c.image.clone().unwrap_or_default()).collect(),
            containers: running.iter().map(|c| container_id(pod, &c.name)).collect(),
            created: pod.metadata.creation_timestamp.as_ref().map(|t| t.0),
            resource_version: String::new(),
        }
    }

    /// The state that this object shows, with all that it is to be compared by.
    pub fn compared(pod: &Pod, by: Match) -> Self {
        let resource_version = match by {
            Match::State => String::new(),
            Match::Strict => pod.metadata.resource_version.clone().unwrap_or_default(),
        };
        Self { resource_version, ..Self::of(pod) }
    }

    /// `NAMESPACE/NAME`.
    pub fn path(&self) -> String {
        format!("{}/{}", self.namespace, self.name)
    }
}

/// The containers that run as long as the pod does: sidecars first, as they start.
pub(crate) fn running_containers(pod: &Pod) -> Vec<&Container> {
    let Some(spec) = &pod.spec else {
        return Vec::new();
    };
    let sidecars = spec.init_containers.iter().flatten();
    sidecars.filter(|c| restarts_always(c)).chain(&spec.containers).collect()
}

fn restarts_always(container: &Container) -> bool {
    container.restart_policy.as_deref() == Some("Always")
}

/// Empty while there is none: a container that waits.
fn container_id(pod: &Pod, name: &str) -> String {
    let statuses = pod.status.iter().flat_map(|s| {
        let init = s.init_container_statuses.iter().flatten();
        init.chain(s.container_statuses.iter().flatten())
    });
    let mut ids = statuses.filter(|s: &&ContainerStatus| s.name == name);
    ids.next().and_then(|s| s.container_id.clone()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_and_images_follow_the_spec_not_the_status() {
        let pod: Pod = serde_json::from_value(serde_json::json!({
            "metadata": {"name": "db-0", "namespace": "demo", "uid": "u1", "creationTimestamp": "2026-11-20T10:00:00Z"},
            "spec": {
                "nodeName": "n1",
                "initContainers": [
                    {"name": "setup", "image": "setup:1"},
                    {"name": "proxy", "image": "proxy:1", "restartPolicy": "Always"}
                ],
                "containers": [{"name": "db", "image": "db:1"}, {"name": "agent", "image": "agent:1"}]
            },
            "status": {
                "phase": "Running",
                "initContainerStatuses": [
                    {"name": "setup", "image": "", "imageID": "", "ready": true, "restartCount": 0, "containerID": "x://s",
                     "state": {"terminated": {"exitCode": 0}}},
                    {"name": "proxy", "image": "", "imageID": "", "ready": true, "started": true, "restartCount": 0, "containerID": "x://p"}
                ],
                "containerStatuses": [
                    {"name": "agent", "image": "", "imageID": "", "ready": true, "restartCount": 1, "containerID": "x://a", "state": {"running": {}}},
                    {"name": "db", "image": "", "imageID": "", "ready": true, "restartCount": 0, "containerID": "x://d", "state": {"running": {}}}
                ]
            }
        }))
        .unwrap();
        let state = PodState::of(&pod);
        assert_eq!(state.images, ["proxy:1", "db:1", "agent:1"]);
        assert_eq!(state.containers, ["x://p", "x://d", "x://a"]);
        assert_eq!((state.status.as_str(), state.ready.as_str(), state.restarts), ("Running", "3/3", 1));
        assert_eq!(state.path(), "demo/db-0");
        assert_eq!(state.created, "2026-11-20T10:00:00Z".parse().ok());
    }

    #[test]
    fn an_object_without_anything_is_no_panic() {
        assert_eq!(PodState::of(&Pod::default()).ready, "0/0");
    }
}
