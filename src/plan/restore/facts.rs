//! What the cluster says now about everything that a restore needs. Pure: the types, and how to read an object.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet, StatefulSet};
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim, Pod, PodTemplateSpec, ResourceQuota};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::api::storage::v1::StorageClass;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta, OwnerReference};

use super::access::Access;
use super::{GitOps, Retention};
use crate::cluster::snapshots::{VolumeSnapshot, VolumeSnapshotContent};
use crate::plan::verify::Template;
use crate::plan::{Probed, selector_text};
use crate::typed::Typed;

/// What became of asking for one object.
#[derive(Clone, Debug, PartialEq)]
pub enum Found<T> {
    /// It is there.
    Yes(Box<T>),
    /// It is not.
    No,
    /// Nobody knows; the API server's words.
    Unknown(String),
}

impl<T> Found<T> {
    /// The object, if it is there.
    pub fn yes(&self) -> Option<&T> {
        match self {
            Self::Yes(object) => Some(object),
            _ => None,
        }
    }
}

/// Facts by `NAMESPACE/NAME`, or by name where there is no namespace. What was not asked for is absent.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    /// The API server's time.
    pub now: Timestamp,
    /// The backup's VolumeSnapshots.
    pub snapshots: BTreeMap<String, Found<VolumeSnapshot>>,
    /// Their contents.
    pub contents: BTreeMap<String, Found<VolumeSnapshotContent>>,
    /// Every VolumeSnapshot of the namespaces, whoever made it; empty where they may not be listed.
    pub snapshots_there: Vec<VolumeSnapshot>,
    /// The claims of the backup as they are now, and those of the names that copies would have.
    pub claims: BTreeMap<String, Found<PersistentVolumeClaim>>,
    /// The volumes of these claims.
    pub volumes: BTreeMap<String, Found<PersistentVolume>>,
    /// The storage classes of these claims and of the backup's.
    pub classes: BTreeMap<String, Found<StorageClass>>,
    /// Every pod of the namespaces.
    pub pods: Vec<Pod>,
    /// The ReplicaSets of the namespaces, by the Deployment that owns each.
    pub replica_sets: BTreeMap<String, String>,
    /// The backup's workloads as they are now, by `NAMESPACE/KIND/NAME`.
    pub workloads: BTreeMap<String, Found<WorkloadNow>>,
    /// What the backup's targets that run now say of themselves, in their order; no reason at all = not asked, or no
    /// answer.
    pub probes: Vec<Probed>,
    /// How the backup's targets are started now, in their order; only asked for where one is to go on from its archive.
    pub templates: Vec<Found<Template>>,
    /// The properties of the releases of which something is set, by `NAMESPACE/RELEASE`.
    pub properties: BTreeMap<String, Found<super::edits::Now>>,
    /// The volumes that a VolumeAttachment names; only asked for where a cold backup is planned.
    pub attached: BTreeSet<String>,
    /// The namespaces' quotas.
    pub quotas: Vec<ResourceQuota>,
    /// The namespaces' autoscalers.
    pub autoscalers: Vec<HorizontalPodAutoscaler>,
    /// The namespaces' disruption budgets.
    pub budgets: Vec<PodDisruptionBudget>,
    /// What could not be read of the two, one remark each: a restore can do without.
    pub unread: Vec<String>,
    /// What the user may not do of all that would be done.
    pub denied: Vec<Access>,
    /// Unfinished runs about the same claims or pods.
    pub unfinished: Vec<String>,
    /// How the user chose the cluster, for the commands that hints name.
    pub typed: Typed,
}

/// A workload as it is now.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct WorkloadNow {
    /// Its uid.
    pub uid: String,
    /// Its replicas.
    pub replicas: i32,
    /// Its pods' label selector.
    pub labels: String,
    /// `KIND.GROUP/NAME` of what owns it, if that is no built-in kind: an operator would undo what we do. Of a pod,
    /// whatever owns it.
    pub owner: Option<String>,
    /// A StatefulSet's retention policy.
    pub retention: Option<Retention>,
    /// Container and image, in order.
    pub images: Vec<(String, String)>,
    /// The longest time its pods may take to end.
    pub grace: Duration,
    /// Whether it is being deleted.
    pub deleting: bool,
    /// What keeps it as a repository has it.
    pub gitops: Option<GitOps>,
    /// The pod itself, if it is one.
    pub pod: Option<Box<Pod>>,
    /// Why a pod that nothing controls would not be taken again, if it were made once more.
    pub refused: Option<String>,
}

impl WorkloadNow {
    /// Reads a StatefulSet.
    pub fn of_stateful_set(set: &StatefulSet) -> Self {
        let spec = set.spec.clone();
        let policy = spec.persistent_volume_claim_retention_policy.unwrap_or_default();
        let word = |w: Option<String>| w.unwrap_or_else(|| "Retain".to_owned());
        let retention = Retention { when_deleted: word(policy.when_deleted), when_scaled: word(policy.when_scaled) };
        Self { retention: Some(retention), ..Self::of(&set.metadata, spec.replicas, &spec.selector, &spec.template) }
    }

    /// Reads a Deployment.
    pub fn of_deployment(deployment: &Deployment) -> Self {
        let spec = deployment.spec.clone();
        Self::of(&deployment.metadata, spec.replicas, &spec.selector, &spec.template)
    }

    /// Reads a ReplicaSet.
    pub fn of_replica_set(set: &ReplicaSet) -> Self {
        let spec = set.spec.clone();
        Self::of(&set.metadata, spec.replicas, &spec.selector, &spec.template.unwrap_or_default())
    }

    /// Reads a pod that stands for itself. One that has ended is there all the same: its name is taken.
    pub fn of_pod(pod: &Pod) -> Self {
        let spec = pod.spec.clone();
        let template = PodTemplateSpec { spec, ..PodTemplateSpec::default() };
        let owners = pod.metadata.owner_references.as_deref().unwrap_or_default();
        Self {
            owner: owners.iter().find(|o| o.controller == Some(true)).map(owner_text),
            pod: Some(Box::new(pod.clone())),
            ..Self::of(&pod.metadata, Some(1), &LabelSelector::default(), &template)
        }
    }

    fn of(meta: &ObjectMeta, replicas: Option<i32>, selector: &LabelSelector, template: &PodTemplateSpec) -> Self {
        let pod = template.spec.clone().unwrap_or_default();
        let grace = pod.termination_grace_period_seconds.unwrap_or(30);
        Self {
            uid: meta.uid.clone().unwrap_or_default(),
            replicas: replicas.unwrap_or(1),
            labels: selector_text(selector),
            owner: foreign_owner(meta.owner_references.as_deref().unwrap_or_default()),
            retention: None,
            images: pod.containers.into_iter().map(|c| (c.name, c.image.unwrap_or_default())).collect(),
            grace: Duration::from_secs(u64::try_from(grace).unwrap_or(0)),
            deleting: meta.deletion_timestamp.is_some(),
            gitops: GitOps::of(meta),
            pod: None,
            refused: None,
        }
    }
}

/// What controls an object, if that is of a kind that Kubernetes does not bring along.
pub fn foreign_owner(owners: &[OwnerReference]) -> Option<String> {
    let built_in = |version: &str| {
        let group = version.split_once('/').map_or("", |(group, _)| group);
        matches!(group, "" | "apps" | "batch")
    };
    owners.iter().find(|o| o.controller == Some(true) && !built_in(&o.api_version)).map(owner_text)
}

/// `cluster.postgresql.cnpg.io/pg`, as kubectl takes it.
fn owner_text(owner: &OwnerReference) -> String {
    let kind = owner.kind.to_lowercase();
    match owner.api_version.split_once('/') {
        Some((group, _)) => format!("{kind}.{group}/{}", owner.name),
        None => format!("{kind}/{}", owner.name),
    }
}

/// The claims that a pod mounts.
pub fn claims_of(pod: &Pod) -> impl Iterator<Item = String> + '_ {
    let volumes = pod.spec.iter().flat_map(|s| s.volumes.iter().flatten());
    let pod_name = pod.metadata.name.as_deref().unwrap_or_default();
    volumes.filter_map(move |volume| match (&volume.persistent_volume_claim, &volume.ephemeral) {
        (Some(claim), _) => Some(claim.claim_name.clone()),
        // A generic ephemeral volume's claim is named so by the ephemeral-volume controller.
        (_, Some(_)) => Some(format!("{pod_name}-{}", volume.name)),
        _ => None,
    })
}

/// Whether a pod has ended and holds nothing any more.
pub fn has_ended(pod: &Pod) -> bool {
    let phase = pod.status.as_ref().and_then(|s| s.phase.as_deref());
    matches!(phase, Some("Succeeded" | "Failed"))
}

/// The workload that a pod belongs to, as `KIND/NAME`; `Pod/NAME` for one that nobody owns.
pub fn owner_of(pod: &Pod, replica_sets: &BTreeMap<String, String>) -> String {
    let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
    let owners = pod.metadata.owner_references.as_deref().unwrap_or_default();
    let Some(owner) = owners.iter().find(|o| o.controller == Some(true)) else {
        return format!("Pod/{}", pod.metadata.name.as_deref().unwrap_or_default());
    };
    if owner.kind == "ReplicaSet"
        && let Some(deployment) = replica_sets.get(&format!("{namespace}/{}", owner.name))
    {
        return format!("Deployment/{deployment}");
    }
    format!("{}/{}", owner.kind, owner.name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_stateful_set_tells_replicas_retention_and_its_operator() {
        let set: StatefulSet = serde_json::from_value(json!({
            "metadata": {"name": "pg", "uid": "u", "ownerReferences": [
                {"apiVersion": "acid.zalan.do/v1", "kind": "postgresql", "name": "pg", "uid": "o", "controller": true}]},
            "spec": {"replicas": 3, "serviceName": "", "selector": {"matchLabels": {"app": "pg"}},
                "persistentVolumeClaimRetentionPolicy": {"whenScaled": "Delete"},
                "template": {"spec": {"terminationGracePeriodSeconds": 1800, "containers": [{"name": "c", "image": "i:1"}]}}}
        }))
        .unwrap();
        let now = WorkloadNow::of_stateful_set(&set);
        assert_eq!((now.replicas, now.labels.as_str()), (3, "app=pg"));
        assert_eq!(now.owner.as_deref(), Some("postgresql.acid.zalan.do/pg"));
        let retention = now.retention.unwrap();
        assert_eq!((retention.when_deleted.as_str(), retention.when_scaled.as_str()), ("Retain", "Delete"));
        assert_eq!(now.grace, Duration::from_secs(1800));
        assert_eq!(now.images, [("c".to_owned(), "i:1".to_owned())]);
    }

    #[test]
    fn a_built_in_owner_is_no_operator() {
        let owner = |version: &str, controller| OwnerReference {
            api_version: version.into(),
            kind: "K".into(),
            name: "n".into(),
            controller: Some(controller),
            ..OwnerReference::default()
        };
        assert_eq!(foreign_owner(&[owner("apps/v1", true)]), None);
        assert_eq!(foreign_owner(&[owner("acid.zalan.do/v1", false)]), None, "owns, but does not control");
        assert_eq!(foreign_owner(&[owner("x.io/v1", true)]), Some("k.x.io/n".into()));
    }

    #[test]
    fn whatever_controls_a_pod_would_make_it_again() {
        let pod = |owner: serde_json::Value| -> Pod {
            serde_json::from_value(json!({"metadata": {"name": "x", "uid": "u", "ownerReferences": [owner]},
                "spec": {"terminationGracePeriodSeconds": 5, "containers": [{"name": "c", "image": "i"}]}}))
            .unwrap()
        };
        let owner = |version: &str, kind: &str| json!({"apiVersion": version, "kind": kind, "name": "n", "uid": "o", "controller": true});
        let now = WorkloadNow::of_pod(&pod(owner("batch/v1", "Job")));
        assert_eq!((now.owner.as_deref(), now.replicas), (Some("job.batch/n"), 1));
        assert_eq!(WorkloadNow::of_pod(&pod(owner("v1", "Node"))).owner.as_deref(), Some("node/n"), "a static pod");
        assert_eq!(
            WorkloadNow::of_pod(&pod(json!({"apiVersion": "v1", "kind": "X", "name": "n", "uid": "o"}))).owner,
            None
        );
        assert_eq!((now.grace, now.pod.is_some()), (Duration::from_secs(5), true));
    }

    #[test]
    fn a_pod_of_a_deployment_is_found_through_its_replica_set() {
        let pod: Pod = serde_json::from_value(json!({"metadata": {"name": "web-1-x", "namespace": "demo",
            "ownerReferences": [{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web-1", "uid": "u", "controller": true}]}}))
        .unwrap();
        let sets = BTreeMap::from([("demo/web-1".to_owned(), "web".to_owned())]);
        assert_eq!(owner_of(&pod, &sets), "Deployment/web");
        assert_eq!(owner_of(&pod, &BTreeMap::new()), "ReplicaSet/web-1");
        let bare: Pod = serde_json::from_value(json!({"metadata": {"name": "x", "namespace": "demo"}})).unwrap();
        assert_eq!(owner_of(&bare, &sets), "Pod/x");
    }
}
