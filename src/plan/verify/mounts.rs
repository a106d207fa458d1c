//! The volumes of a copy's pod, and how its containers may mount them: nothing that somebody else sees is writable, and
//! there is no token.

use k8s_openapi::api::core::v1::{
    Container, EmptyDirVolumeSource, PersistentVolumeClaimVolumeSource, Volume, VolumeMount,
};

use super::pod::Make;

/// Where a token lies that the API server puts into every pod, whatever volume it is in.
const TOKEN: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

/// The template's volumes without tokens of its service account: the server alone needs none, and whoever gets into the
/// copy would have production's rights.
pub(super) fn without_tokens(volumes: Option<&Vec<Volume>>) -> Vec<Volume> {
    volumes.into_iter().flatten().filter_map(without_token).collect()
}

fn without_token(volume: &Volume) -> Option<Volume> {
    // The API server made this one for the pod that was the template.
    if volume.projected.is_some() && volume.name.starts_with("kube-api-access-") {
        return None;
    }
    let mut volume = volume.clone();
    let Some(sources) = volume.projected.as_mut().and_then(|projected| projected.sources.as_mut()) else {
        return Some(volume);
    };
    sources.retain(|source| source.service_account_token.is_none() && source.pod_certificate.is_none());
    // The path still exists: a container that mounts nothing there may not start.
    Some(if sources.is_empty() { empty(&volume.name) } else { volume })
}

/// The mounts of a container as its copy has them.
pub(super) fn mounts(of: &Container, volumes: &[Volume]) -> Vec<VolumeMount> {
    let all = of.volume_mounts.iter().flatten().filter_map(|mount| {
        let volume = volumes.iter().find(|volume| volume.name == mount.name)?;
        (mount.mount_path.trim_end_matches('/') != TOKEN).then(|| copied(mount, volume))
    });
    all.collect()
}

fn copied(mount: &VolumeMount, volume: &Volume) -> VolumeMount {
    // With propagation the node would see what the container mounts.
    let mount = VolumeMount { mount_propagation: None, ..mount.clone() };
    if is_private(volume) {
        return mount;
    }
    VolumeMount {
        read_only: Some(true),
        // Else what is mounted below a host path stays writable. An API server that does not know the field drops it.
        recursive_read_only: Some("IfPossible".to_owned()),
        ..mount
    }
}

/// The mounts of the container that prepares the copy: it changes the database's files, and needs nothing else. It has no
/// environment, so a mount whose path is made from that is left out.
pub(super) fn of_files(mounts: &[VolumeMount], volumes: &[Volume]) -> Vec<VolumeMount> {
    let has_files = |name: &str| {
        let mut named = volumes.iter().filter(|volume| volume.name == name);
        named.any(|v| v.persistent_volume_claim.is_some() || v.ephemeral.is_some() || v.empty_dir.is_some())
    };
    mounts.iter().filter(|mount| has_files(&mount.name) && mount.sub_path_expr.is_none()).cloned().collect()
}

/// Whether a claim's path is made from the environment: the pod's name is often in it, and the copy has another one.
pub(super) fn has_path_of_its_own(of: &Container, volumes: &[Volume]) -> bool {
    let claim = |name: &String| {
        volumes.iter().any(|v| v.name == *name && (v.persistent_volume_claim.is_some() || v.ephemeral.is_some()))
    };
    of.volume_mounts.iter().flatten().any(|mount| mount.sub_path_expr.is_some() && claim(&mount.name))
}

/// Whether nobody else sees what a pod writes there. Nobody does in claims, once they are replaced. An inline CSI volume
/// may be a share of the network.
fn is_private(volume: &Volume) -> bool {
    volume.config_map.is_some()
        || volume.secret.is_some()
        || volume.projected.is_some()
        || volume.downward_api.is_some()
        || volume.empty_dir.is_some()
        || volume.ephemeral.is_some()
        || volume.image.is_some()
        || volume.persistent_volume_claim.is_some()
}

/// A claim's volume with its copy; one that was not backed up, such as an archive, is empty: nothing of production is
/// mounted where it could be written to.
pub(super) fn replaced(volume: &Volume, of: &Make, claims: &mut Vec<usize>) -> Volume {
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

pub(super) fn mount(name: &str, path: &str) -> VolumeMount {
    VolumeMount { name: name.to_owned(), mount_path: path.to_owned(), ..VolumeMount::default() }
}

pub(super) fn empty(name: &str) -> Volume {
    Volume { name: name.to_owned(), empty_dir: Some(EmptyDirVolumeSource::default()), ..Volume::default() }
}
