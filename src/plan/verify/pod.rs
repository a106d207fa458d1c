//! The pod of a copy, made from the workload's: the database's container and what it needs, and nothing by which
//! anything in the cluster would take it for the workload's own.

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::api::core::v1::{
    Affinity, Container, EmptyDirVolumeSource, EnvVar, PersistentVolumeClaimVolumeSource, Pod, PodSpec, Volume,
    VolumeMount,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use crate::error::Refusal;
use crate::labels::{MANAGED_BY, VERIFY};
use crate::manifests::beside::renamed;
use crate::plan::restore::{Place, Suffix};
use crate::plan::{Plan, Target};
use crate::quiescer::verify::{Alone, SHARED, takes_arguments};

/// Our own init container: it runs before the server, on the same files.
pub const PREPARE: &str = "consistent-backup-prepare";
/// The volume that only the copy's containers share.
const OURS: &str = "consistent-backup";
/// The annotation with the pod's name that was backed up.
const POD: &str = "consistent-backup/pod";

/// What it is made of.
pub(super) struct Make<'a> {
    pub(super) target: &'a Target,
    pub(super) plan: &'a Plan,
    pub(super) template: &'a PodSpec,
    pub(super) container: &'a Container,
    pub(super) alone: &'a Alone,
    pub(super) place: &'a Place<'a>,
    pub(super) limit: Option<Duration>,
}

impl Make<'_> {
    /// The name of the copy of something.
    fn copied(&self, name: &str) -> String {
        renamed(name, self.place.suffix.map(Suffix::as_str))
    }
}

/// The pod, and the numbers of the backup's claims that it mounts.
pub(super) fn make(of: &Make) -> Result<(Pod, Vec<usize>), Refusal> {
    let (target, template) = (of.target, of.template);
    let several =
        of.plan.targets.iter().filter(|t| (&t.namespace, &t.pod) == (&target.namespace, &target.pod)).count() > 1;
    let base = if several { format!("{}-{}", target.pod, target.container) } else { target.pod.clone() };
    let name = of.copied(&base);
    if name.len() > 253 {
        return Err(Refusal::new(format!("pod/{}", target.pod), "its name is too long for a copy's"));
    }
    let volumes: Vec<&Volume> = template.volumes.iter().flatten().filter(|v| !is_token(v)).collect();
    let mut before: Vec<Container> = template
        .init_containers
        .iter()
        .flatten()
        .filter(|init| init.restart_policy.is_none() && fills(init, of.container, &volumes))
        .map(|init| plain(init, &volumes))
        .collect();
    let mut server = plain(of.container, &volumes);
    server.env = Some(env(&server, of.alone)).filter(|env| !env.is_empty());
    server.volume_mounts.get_or_insert_default().push(mount(OURS, SHARED));
    let prepare = Container {
        name: PREPARE.to_owned(),
        command: Some(of.alone.prepare.clone()),
        args: None,
        working_dir: None,
        ..server.clone()
    };
    before.push(prepare);
    if takes_arguments(of.container, of.alone.servers) {
        server.args.get_or_insert_default().extend(of.alone.arguments.iter().cloned());
    }
    let mut claims = Vec::new();
    let mounted = |volume: &&&Volume| {
        let mut all = before.iter().chain([&server]);
        all.any(|c| uses(c, &volume.name))
    };
    let mut kept: Vec<Volume> =
        volumes.iter().filter(mounted).map(|volume| replaced(volume, of, &mut claims)).collect();
    kept.push(empty(OURS));
    let hostname = template.hostname.clone().unwrap_or_else(|| target.pod.clone());
    let pod = Pod {
        metadata: ObjectMeta {
            name: Some(name),
            namespace: Some(of.place.namespace.unwrap_or(&target.namespace).to_owned()),
            // None of the workload's: no Service, policy or controller may take it for its own.
            labels: Some(BTreeMap::from([
                (MANAGED_BY.0.to_owned(), MANAGED_BY.1.to_owned()),
                (VERIFY.to_owned(), of.plan.run.clone()),
            ])),
            annotations: Some(BTreeMap::from([(POD.to_owned(), target.pod.clone())])),
            ..ObjectMeta::default()
        },
        spec: Some(PodSpec {
            init_containers: Some(before),
            containers: vec![server],
            volumes: Some(kept),
            restart_policy: Some("Never".to_owned()),
            // Nothing of it is to be kept, and nobody waits for it.
            termination_grace_period_seconds: Some(1),
            // It ends by itself, should nobody be left to remove it.
            active_deadline_seconds: of.limit.and_then(|limit| i64::try_from(limit.as_secs()).ok()),
            // Servers name files after it.
            hostname: Some(hostname).filter(|name| name.len() <= 63 && !name.contains('.')),
            affinity: node_affinity(template),
            service_account_name: template.service_account_name.clone(),
            automount_service_account_token: template.automount_service_account_token,
            security_context: template.security_context.clone(),
            image_pull_secrets: template.image_pull_secrets.clone(),
            node_selector: template.node_selector.clone(),
            tolerations: template.tolerations.clone(),
            scheduler_name: template.scheduler_name.clone(),
            runtime_class_name: template.runtime_class_name.clone(),
            dns_policy: template.dns_policy.clone(),
            dns_config: template.dns_config.clone(),
            host_aliases: template.host_aliases.clone(),
            host_users: template.host_users,
            enable_service_links: template.enable_service_links,
            os: template.os.clone(),
            ..PodSpec::default()
        }),
        status: None,
    };
    claims.sort_unstable();
    claims.dedup();
    Ok((pod, claims))
}

/// Whether an init container writes what the server reads: an emptyDir that both mount. All others are left out: they
/// mend production's volumes, wait for it, or tell it that they are there.
fn fills(init: &Container, server: &Container, volumes: &[&Volume]) -> bool {
    volumes.iter().any(|v| v.empty_dir.is_some() && uses(init, &v.name) && uses(server, &v.name))
}

fn uses(container: &Container, volume: &str) -> bool {
    container.volume_mounts.iter().flatten().any(|m| m.name == volume)
        || container.volume_devices.iter().flatten().any(|d| d.name == volume)
}

/// The container without what tells others of it (ports), what judges it (probes), and what it tells others
/// (lifecycle).
fn plain(of: &Container, volumes: &[&Volume]) -> Container {
    let known = |name: &String| volumes.iter().find(|v| v.name == *name);
    let mounts = of.volume_mounts.iter().flatten().filter_map(|mount| {
        let volume = known(&mount.name)?;
        let read_only = if is_private(volume) { mount.read_only } else { Some(true) };
        Some(VolumeMount { read_only, ..mount.clone() })
    });
    let devices = of.volume_devices.iter().flatten().filter(|device| known(&device.name).is_some()).cloned();
    Container {
        name: of.name.clone(),
        image: of.image.clone(),
        image_pull_policy: of.image_pull_policy.clone(),
        command: of.command.clone(),
        args: of.args.clone(),
        working_dir: of.working_dir.clone(),
        env: of.env.clone(),
        env_from: of.env_from.clone(),
        resources: of.resources.clone(),
        security_context: of.security_context.clone(),
        volume_mounts: Some(mounts.collect()),
        volume_devices: Some(devices.collect::<Vec<_>>()).filter(|all| !all.is_empty()),
        // Why a server did not start stands in its log, which not everybody may read.
        termination_message_policy: Some("FallbackToLogsOnError".to_owned()),
        ..Container::default()
    }
}

fn env(server: &Container, alone: &Alone) -> Vec<EnvVar> {
    let mut all = server.env.clone().unwrap_or_default();
    for (name, value) in &alone.env {
        if !all.iter().any(|env| env.name == *name) {
            all.push(EnvVar { name: (*name).to_owned(), value: Some(value.clone()), value_from: None });
        }
    }
    all
}

fn mount(name: &str, path: &str) -> VolumeMount {
    VolumeMount { name: name.to_owned(), mount_path: path.to_owned(), ..VolumeMount::default() }
}

fn empty(name: &str) -> Volume {
    Volume { name: name.to_owned(), empty_dir: Some(EmptyDirVolumeSource::default()), ..Volume::default() }
}

/// The API server makes a new one for each pod.
fn is_token(volume: &Volume) -> bool {
    volume.projected.is_some() && volume.name.starts_with("kube-api-access-")
}

/// Whether what a pod writes there is seen by nobody else. Claims are, once they are replaced.
fn is_private(volume: &Volume) -> bool {
    volume.config_map.is_some()
        || volume.secret.is_some()
        || volume.projected.is_some()
        || volume.downward_api.is_some()
        || volume.empty_dir.is_some()
        || volume.ephemeral.is_some()
        || volume.csi.is_some()
        || volume.image.is_some()
        || volume.persistent_volume_claim.is_some()
}

/// A claim's volume with its copy; one that was not backed up, such as an archive, is empty: nothing of production is
/// mounted where it could be written to.
fn replaced(volume: &Volume, of: &Make, claims: &mut Vec<usize>) -> Volume {
    let claim = match (&volume.persistent_volume_claim, &volume.ephemeral) {
        (Some(claim), _) => claim.claim_name.clone(),
        (_, Some(_)) => format!("{}-{}", of.target.pod, volume.name),
        _ => return volume.clone(),
    };
    let found = of.plan.claims.iter().position(|c| (&c.namespace, &c.name) == (&of.target.namespace, &claim));
    match found {
        Some(c) => {
            claims.push(c);
            let read_only = volume.persistent_volume_claim.as_ref().and_then(|claim| claim.read_only);
            Volume {
                name: volume.name.clone(),
                persistent_volume_claim: Some(PersistentVolumeClaimVolumeSource {
                    claim_name: of.copied(&claim),
                    read_only,
                }),
                ..Volume::default()
            }
        }
        None if volume.ephemeral.is_some() => volume.clone(),
        None => empty(&volume.name),
    }
}

/// To which nodes it may go; not beside or apart from which pods, for it is none of them.
fn node_affinity(template: &PodSpec) -> Option<Affinity> {
    let node = template.affinity.as_ref()?.node_affinity.clone()?;
    Some(Affinity { node_affinity: Some(node), ..Affinity::default() })
}
