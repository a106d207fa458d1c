//! The pod in which a restored copy is changed before its server is started: the database's own container on its claims,
//! which does nothing by itself.
//!
//! What it is made for is done by a command in it. So one whose making was thought lost, and that comes late, only sleeps,
//! and cannot write to volumes that are others by then.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1::{Container, Pod, PodSpec, Volume, VolumeMount};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::RESTORED_BY;
use crate::error::Refusal;
use crate::labels::MANAGED_BY;
use crate::plan::Target;

/// After so many seconds it ends by itself, should nobody be left to remove it.
const LONGEST: i64 = 3600;

/// The pod of this restore. `claims` are those with the database's directories.
pub(super) fn pod(
    run: &str,
    target: &Target,
    template: &PodSpec,
    container: &Container,
    claims: &BTreeSet<&str>,
) -> Result<Pod, Refusal> {
    let object = format!("pod/{}", target.pod);
    let volumes: Vec<Volume> = template
        .volumes
        .iter()
        .flatten()
        .filter(|v| v.persistent_volume_claim.as_ref().is_some_and(|c| claims.contains(c.claim_name.as_str())))
        .cloned()
        .collect();
    let known = |mount: &&VolumeMount| volumes.iter().any(|v| v.name == mount.name);
    let mounts: Vec<VolumeMount> = container.volume_mounts.iter().flatten().filter(known).cloned().collect();
    let mounted: BTreeSet<&str> = mounts.iter().map(|m| m.name.as_str()).collect();
    if mounts.is_empty() || mounted.len() < claims.len() {
        return Err(Refusal::new(object, "it no longer mounts the claims that were backed up")
            .hint("mount them as at the time of the backup, then restore"));
    }
    if mounts.iter().any(|m| m.sub_path_expr.is_some()) {
        return Err(Refusal::new(object, "a mount of its claim uses subPathExpr, which another pod reads otherwise")
            .hint("make copies of the claims (--claims-only --suffix NAME) and recover by hand"));
    }
    let sleeping = Container {
        name: container.name.clone(),
        image: container.image.clone(),
        image_pull_policy: container.image_pull_policy.clone(),
        command: Some(vec!["sleep".to_owned(), LONGEST.to_string()]),
        // Where it goes its volumes are made, and the database must find room there too.
        resources: container.resources.clone(),
        security_context: container.security_context.clone(),
        volume_mounts: Some(mounts),
        ..Container::default()
    };
    Ok(Pod {
        metadata: ObjectMeta {
            name: Some(format!("consistent-backup-{run}")),
            namespace: Some(target.namespace.clone()),
            // None of the workload's: no Service, policy or controller may take it for its own.
            labels: Some(BTreeMap::from([
                (MANAGED_BY.0.to_owned(), MANAGED_BY.1.to_owned()),
                (RESTORED_BY.to_owned(), run.to_owned()),
            ])),
            ..ObjectMeta::default()
        },
        spec: Some(PodSpec {
            containers: vec![sleeping],
            volumes: Some(volumes),
            restart_policy: Some("Never".to_owned()),
            termination_grace_period_seconds: Some(1),
            active_deadline_seconds: Some(LONGEST),
            automount_service_account_token: Some(false),
            service_account_name: template.service_account_name.clone(),
            security_context: template.security_context.clone(),
            image_pull_secrets: template.image_pull_secrets.clone(),
            affinity: template.affinity.clone(),
            node_selector: template.node_selector.clone(),
            tolerations: template.tolerations.clone(),
            topology_spread_constraints: template.topology_spread_constraints.clone(),
            priority_class_name: template.priority_class_name.clone(),
            scheduler_name: template.scheduler_name.clone(),
            runtime_class_name: template.runtime_class_name.clone(),
            host_users: template.host_users,
            os: template.os.clone(),
            ..PodSpec::default()
        }),
        status: None,
    })
}
