//! How the databases of a backup are started now: their pods, or the workloads that would make them.

use futures::future::join_all;
use k8s_openapi::api::apps::v1::{DaemonSet, Deployment, ReplicaSet, StatefulSet};
use k8s_openapi::api::core::v1::{PersistentVolumeClaimVolumeSource, Pod, PodSpec, PodTemplateSpec, Volume};
use kube::api::Api;
use tokio::time::timeout;

use super::client::{Cluster, explain};
use crate::plan::restore::facts::{Found, foreign_owner};
use crate::plan::verify::Template;
use crate::plan::{Plan, Target, Workload};

/// How long one question may take.
const ASK: std::time::Duration = std::time::Duration::from_secs(20);

/// Of what a copy of each target's pod is made, in their order.
pub async fn templates(cluster: &Cluster, plan: &Plan) -> Vec<Found<Template>> {
    join_all(plan.targets.iter().map(|target| template(cluster, plan, target))).await
}

async fn template(cluster: &Cluster, plan: &Plan, target: &Target) -> Found<Template> {
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
    for workload in plan.workloads.iter().filter(|w| w.namespace == target.namespace && w.owns(&target.pod)) {
        match timeout(ASK, of_workload(cluster, workload, &target.pod)).await {
            Ok(Ok(Some(spec))) => return Found::Yes(Box::new(Template { spec, operator: None })),
            Ok(Ok(None)) => {}
            Ok(Err(e)) => return Found::Unknown(explain(&e)),
            Err(_) => return Found::Unknown("the API server did not answer".into()),
        }
    }
    Found::No
}

async fn of_workload(cluster: &Cluster, of: &Workload, pod: &str) -> Result<Option<PodSpec>, kube::Error> {
    let client = cluster.api.clone();
    let spec_of = |template: PodTemplateSpec| template.spec;
    Ok(match of.kind.as_str() {
        "StatefulSet" => {
            let found = Api::<StatefulSet>::namespaced(client, &of.namespace).get_opt(&of.name).await?;
            found.map(|set| of_stateful_set(set, pod))
        }
        "Deployment" => {
            let found = Api::<Deployment>::namespaced(client, &of.namespace).get_opt(&of.name).await?;
            found.and_then(|deployment| spec_of(deployment.spec.template))
        }
        "ReplicaSet" => {
            let found = Api::<ReplicaSet>::namespaced(client, &of.namespace).get_opt(&of.name).await?;
            found.and_then(|set| set.spec.template.and_then(spec_of))
        }
        "DaemonSet" => {
            let found = Api::<DaemonSet>::namespaced(client, &of.namespace).get_opt(&of.name).await?;
            found.and_then(|set| spec_of(set.spec.template))
        }
        _ => None,
    })
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
        let volumes = serde_json::to_value(of_stateful_set(set, "pg-1").volumes).unwrap();
        assert_eq!(volumes[0]["name"], "conf");
        assert_eq!(volumes[1], json!({"name": "data", "persistentVolumeClaim": {"claimName": "data-pg-1"}}));
    }
}
