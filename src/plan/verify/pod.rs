//! The pod of a copy, made from the workload's: the database's container and what it needs, and nothing by which
//! anything in the cluster would take it for the workload's own.

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Affinity, Container, EnvVar, Pod, PodSpec, Volume};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::mounts::{self, empty, mount, mounts, replaced};
use super::policy;
use crate::error::Refusal;
use crate::labels::POD;
use crate::manifests::beside::renamed;
use crate::plan::restore::{Place, Suffix};
use crate::plan::{Plan, Target};
use crate::quiescer::verify::{Alone, SHARED, takes_arguments};

/// Our own init container: it runs before the server, on the same files.
pub const PREPARE: &str = "consistent-backup-prepare";
/// The volume that only the copy's containers share.
const OURS: &str = "consistent-backup";
/// Keeps a service mesh (Istio, Linkerd) out of the pod: its sidecar would listen for the whole network, and hand all that
/// arrives to the copy's loopback.
const NO_MESH: [(&str, &str); 2] = [("sidecar.istio.io/inject", "false"), ("linkerd.io/inject", "disabled")];

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
    pub(super) fn copied(&self, name: &str) -> String {
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
    let volumes = mounts::without_tokens(template.volumes.as_ref());
    let mut before: Vec<Container> = template
        .init_containers
        .iter()
        .flatten()
        .filter(|init| init.restart_policy.is_none() && fills(init, of.container, template))
        .map(|init| plain(init, &volumes))
        .collect();
    let mut server = plain(of.container, &volumes);
    if before.iter().chain([&server]).any(|container| mounts::has_path_of_its_own(container, &volumes)) {
        return Err(Refusal::new(
            format!("pod/{}", target.pod),
            "a mount of its claim uses subPathExpr, which another pod reads otherwise",
        )
        .hint("make copies of the claims: restore-from-snapshot RUN --claims-only --suffix NAME"));
    }
    let mut claims = Vec::new();
    let mounted = |volume: &&Volume| {
        let mut all = before.iter().chain([&server]);
        all.any(|c| uses(c, &volume.name))
    };
    let mut kept: Vec<Volume> =
        volumes.iter().filter(mounted).map(|volume| replaced(volume, of, &mut claims)).collect();
    kept.push(empty(OURS));
    server.env = Some(env(&server, of.alone)).filter(|env| !env.is_empty());
    server.volume_mounts.get_or_insert_default().push(mount(OURS, SHARED));
    // Only our own script runs in it: neither environment nor Secrets, and nothing of production in reach.
    let prepare = Container {
        name: PREPARE.to_owned(),
        image: server.image.clone(),
        image_pull_policy: server.image_pull_policy.clone(),
        command: Some(of.alone.prepare.clone()),
        resources: server.resources.clone(),
        security_context: server.security_context.clone(),
        volume_mounts: Some(mounts::of_files(server.volume_mounts.as_deref().unwrap_or_default(), &kept)),
        ..Container::default()
    };
    before.push(prepare);
    if takes_arguments(of.container, of.alone.servers) {
        server.args.get_or_insert_default().extend(of.alone.arguments.iter().cloned());
    }
    let hostname = template.hostname.clone().unwrap_or_else(|| target.pod.clone());
    // None of the workload's: no Service, policy or controller may take it for its own.
    let mut labels = policy::labels(&of.plan.run, &name);
    let mut annotations = BTreeMap::from([(POD.to_owned(), target.pod.clone())]);
    for (key, value) in NO_MESH {
        labels.insert(key.to_owned(), value.to_owned());
        annotations.insert(key.to_owned(), value.to_owned());
    }
    let pod = Pod {
        metadata: ObjectMeta {
            name: Some(name),
            namespace: Some(of.place.namespace.unwrap_or(&target.namespace).to_owned()),
            labels: Some(labels),
            annotations: Some(annotations),
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
            automount_service_account_token: Some(false),
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
fn fills(init: &Container, server: &Container, template: &PodSpec) -> bool {
    let mut volumes = template.volumes.iter().flatten();
    volumes.any(|v| v.empty_dir.is_some() && uses(init, &v.name) && uses(server, &v.name))
}

fn uses(container: &Container, volume: &str) -> bool {
    container.volume_mounts.iter().flatten().any(|m| m.name == volume)
        || container.volume_devices.iter().flatten().any(|d| d.name == volume)
}

/// The container without what tells others of it (ports), what judges it (probes), and what it tells others
/// (lifecycle).
fn plain(of: &Container, volumes: &[Volume]) -> Container {
    let known = |name: &String| volumes.iter().any(|v| v.name == *name);
    let devices = of.volume_devices.iter().flatten().filter(|device| known(&device.name)).cloned();
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
        volume_mounts: Some(mounts(of, volumes)),
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

/// To which nodes it may go; not beside or apart from which pods, for it is none of them.
fn node_affinity(template: &PodSpec) -> Option<Affinity> {
    let node = template.affinity.as_ref()?.node_affinity.clone()?;
    Some(Affinity { node_affinity: Some(node), ..Affinity::default() })
}
