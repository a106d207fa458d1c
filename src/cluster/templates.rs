//! How the databases of a backup are started now: their pods, or the workloads that would make them.

use std::fmt::Debug;
use std::time::Duration;

use futures::future::join_all;
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::apps::v1::{DaemonSet, Deployment, ReplicaSet, StatefulSet};
use k8s_openapi::api::core::v1::{PersistentVolumeClaimVolumeSource, Pod, PodSpec, Volume};
use kube::Resource;
use kube::api::Api;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::time::timeout;

use super::client::{Cluster, explain};
use crate::manifests::Manifests;
use crate::plan::restore::facts::{Found, foreign_owner};
use crate::plan::verify::Template;
use crate::plan::{Plan, Target, Workload};

/// How long one question may take.
const ASK: Duration = Duration::from_secs(20);

/// Of what a copy of each target's pod is made, in their order: the pod, its workload, or what the backup remembers of
/// that.
pub async fn templates(cluster: &Cluster, plan: &Plan, remembered: &Manifests) -> Vec<Found<Template>> {
    join_all(plan.targets.iter().map(|target| template(cluster, plan, target, remembered))).await
}

async fn template(cluster: &Cluster, plan: &Plan, target: &Target, remembered: &Manifests) -> Found<Template> {
    let api: Api<Pod> = Api::namespaced(cluster.api.clone(), &target.namespace);
    match timeout(ASK, api.get_opt(&target.pod)).await {
        Ok(Ok(Some(pod))) => {
            let operator = foreign_owner(pod.metadata.owner_references.as_deref().unwrap_or_default());
            return Found::Yes(Box::new(Template { spec: pod.spec.unwrap_or_default(), operator }));
        }
        Ok(Ok(None)) => {}
        Ok(Err(e)) => return Found::Unknown(explain(&e)),
        Err(_) => return Found::Unknown("the API server did not answer".into()),
    }
    // A workload that is scaled down has no pod, but says what one would be.
    let of = plan.workloads.iter().filter(|w| w.namespace == target.namespace && w.owns(&target.pod));
    for workload in of {
        let object = match timeout(ASK, now(cluster, workload)).await {
            Ok(Ok(Some(object))) => Some(object),
            Ok(Ok(None)) => match remembered.of(&workload.namespace, &workload.kind, &workload.name) {
                Some(of) if !of.withheld.is_empty() => {
                    let names = of.withheld.join(", ");
                    return Found::Unknown(format!("its workload is gone, and {names} in it was not remembered"));
                }
                of => of.and_then(|of| of.object.clone()),
            },
            Ok(Err(e)) => return Found::Unknown(explain(&e)),
            Err(_) => return Found::Unknown("the API server did not answer".into()),
        };
        if let Some(spec) = object.and_then(|object| spec(&workload.kind, object, &target.pod)) {
            return Found::Yes(Box::new(Template { spec, operator: None }));
        }
    }
    Found::No
}

/// The workload as it is now.
async fn now(cluster: &Cluster, of: &Workload) -> Result<Option<Value>, kube::Error> {
    async fn get<K>(cluster: &Cluster, of: &Workload) -> Result<Option<Value>, kube::Error>
    where
        K: Resource<Scope = NamespaceResourceScope> + Clone + Debug + DeserializeOwned + Serialize,
        K::DynamicType: Default,
    {
        let found = Api::<K>::namespaced(cluster.api.clone(), &of.namespace).get_opt(&of.name).await?;
        Ok(found.and_then(|found| serde_json::to_value(found).ok()))
    }
    match of.kind.as_str() {
        "StatefulSet" => get::<StatefulSet>(cluster, of).await,
        "Deployment" => get::<Deployment>(cluster, of).await,
        "ReplicaSet" => get::<ReplicaSet>(cluster, of).await,
        "DaemonSet" => get::<DaemonSet>(cluster, of).await,
        _ => Ok(None),
    }
}

/// The pod of this name that a workload would make.
fn spec(kind: &str, object: Value, pod: &str) -> Option<PodSpec> {
    match kind {
        "StatefulSet" => serde_json::from_value(object).ok().map(|set| of_stateful_set(set, pod)),
        "Pod" => serde_json::from_value::<Pod>(object).ok()?.spec,
        // All others have it in the same place, and nothing that is made for each pod.
        _ => serde_json::from_value(object.pointer("/spec/template/spec")?.clone()).ok(),
    }
}

/// The pod of this name that the StatefulSet would make: its claims are named after the pod.
fn of_stateful_set(set: StatefulSet, pod: &str) -> PodSpec {
    let mut spec = set.spec.template.spec.unwrap_or_default();
    let volumes = spec.volumes.get_or_insert_default();
    for template in set.spec.volume_claim_templates.into_iter().flatten() {
        let name = template.metadata.name.unwrap_or_default();
        volumes.retain(|volume| volume.name != name);
        volumes.push(Volume {
            persistent_volume_claim: Some(PersistentVolumeClaimVolumeSource {
                claim_name: format!("{name}-{pod}"),
                read_only: None,
            }),
            name,
            ..Volume::default()
        });
    }
    spec
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_stateful_set_says_which_claims_its_pod_would_have() {
        let set: StatefulSet = serde_json::from_value(json!({"metadata": {"name": "pg"}, "spec": {"serviceName": "",
            "selector": {}, "volumeClaimTemplates": [{"metadata": {"name": "data"}}],
            "template": {"spec": {"containers": [], "volumes": [{"name": "conf", "emptyDir": {}}]}}}}))
        .unwrap();
        let object = serde_json::to_value(&set).unwrap();
        let volumes = serde_json::to_value(spec("StatefulSet", object, "pg-1").unwrap().volumes).unwrap();
        assert_eq!(volumes[0]["name"], "conf");
        assert_eq!(volumes[1], json!({"name": "data", "persistentVolumeClaim": {"claimName": "data-pg-1"}}));
    }
}
