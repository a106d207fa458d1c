//! On which volume a directory of a container lies.

use k8s_openapi::api::core::v1::{Pod, Volume};

use crate::pods::running_containers;

/// Where a directory lies.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Place {
    /// On this claim.
    Claim(String),
    /// On something that cannot be cut, in words: "emptyDir `data`".
    Elsewhere(String),
}

/// A volume that a container mounts (or has as a device), with the path.
pub(super) struct Mount<'a> {
    pub(super) path: &'a str,
    pub(super) volume: &'a str,
}

pub(super) fn mounts<'a>(pod: &'a Pod, container: &str) -> Vec<Mount<'a>> {
    let containers = running_containers(pod);
    let of_it = containers.into_iter().filter(|c| c.name == container);
    of_it
        .flat_map(|c| {
            let mounts = c
                .volume_mounts
                .iter()
                .flatten()
                .map(|m| Mount { path: m.mount_path.trim_end_matches('/'), volume: &m.name });
            let devices = c
                .volume_devices
                .iter()
                .flatten()
                .map(|d| Mount { path: d.device_path.trim_end_matches('/'), volume: &d.name });
            mounts.chain(devices)
        })
        .collect()
}

/// Where the directory lies, and where everything lies that is mounted inside it (a log directory on a volume of its
/// own is part of the database too). The directory itself comes first.
pub(super) fn places(pod: &Pod, container: &str, dir: &str) -> Vec<(String, Place)> {
    let dir = dir.trim_end_matches('/');
    let mounts = mounts(pod, container);
    // The innermost mount is the one that the container sees.
    let around = mounts.iter().filter(|m| within(dir, m.path)).max_by_key(|m| m.path.len());
    let itself =
        around.map_or_else(|| Place::Elsewhere("the container's own file system".into()), |m| place(pod, m.volume));
    let mut places = vec![(dir.to_owned(), itself)];
    for mount in mounts.iter().filter(|m| m.path != dir && within(m.path, dir)) {
        if volume(pod, mount.volume).is_some_and(keeps_data) {
            places.push((mount.path.to_owned(), place(pod, mount.volume)));
        }
    }
    places
}

fn within(inner: &str, outer: &str) -> bool {
    inner.strip_prefix(outer).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

fn volume<'a>(pod: &'a Pod, name: &str) -> Option<&'a Volume> {
    let mut volumes = pod.spec.iter().flat_map(|s| s.volumes.iter().flatten());
    volumes.find(|v| v.name == name)
}

fn place(pod: &Pod, name: &str) -> Place {
    let Some(volume) = volume(pod, name) else {
        return Place::Elsewhere(format!("the unknown volume `{name}`"));
    };
    match &volume.persistent_volume_claim {
        Some(source) => Place::Claim(source.claim_name.clone()),
        None => Place::Elsewhere(format!("{} `{name}`", kind(volume))),
    }
}

/// Certificates and configuration are often mounted inside a data directory, and are no data.
fn keeps_data(volume: &Volume) -> bool {
    volume.config_map.is_none()
        && volume.secret.is_none()
        && volume.projected.is_none()
        && volume.downward_api.is_none()
}

/// The volume's type as it stands in the manifest: the one field beside the name.
fn kind(volume: &Volume) -> String {
    let fields = serde_json::to_value(volume).unwrap_or_default();
    let mut names = fields.as_object().into_iter().flat_map(|o| o.keys());
    names.find(|k| *k != "name").map_or_else(|| "volume".into(), Clone::clone)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pod() -> Pod {
        serde_json::from_value(json!({
            "metadata": {"name": "p"},
            "spec": {
                "containers": [
                    {"name": "db", "volumeMounts": [
                        {"name": "data", "mountPath": "/var/lib/db/"},
                        {"name": "log", "mountPath": "/var/lib/db/log", "subPath": "x"},
                        {"name": "certs", "mountPath": "/var/lib/db/certs"},
                        {"name": "scratch", "mountPath": "/scratch"},
                        {"name": "disk", "mountPath": "/disk"},
                        {"name": "own", "mountPath": "/own"},
                        {"name": "lost", "mountPath": "/lost"}
                    ], "volumeDevices": [{"name": "raw", "devicePath": "/dev/xvda"}]},
                    {"name": "bare"}
                ],
                "volumes": [
                    {"name": "data", "persistentVolumeClaim": {"claimName": "data-p"}},
                    {"name": "log", "persistentVolumeClaim": {"claimName": "log-p"}},
                    {"name": "raw", "persistentVolumeClaim": {"claimName": "raw-p"}},
                    {"name": "certs", "secret": {"secretName": "c"}},
                    {"name": "scratch", "emptyDir": {}},
                    {"name": "disk", "hostPath": {"path": "/mnt"}},
                    {"name": "own", "ephemeral": {}}
                ]
            }
        }))
        .unwrap()
    }

    fn first(container: &str, dir: &str) -> Place {
        places(&pod(), container, dir).remove(0).1
    }

    #[test]
    fn the_innermost_mount_counts() {
        let claim = |name: &str| Place::Claim(name.into());
        assert_eq!(first("db", "/var/lib/db"), claim("data-p"));
        assert_eq!(first("db", "/var/lib/db/base/"), claim("data-p"));
        assert_eq!(first("db", "/var/lib/db/log/1"), claim("log-p"));
        assert_eq!(first("db", "/var/lib/db/logs"), claim("data-p"));
        assert_eq!(first("db", "/dev/xvda"), claim("raw-p"));
    }

    #[test]
    fn what_is_no_claim_is_named() {
        let elsewhere = |text: &str| Place::Elsewhere(text.into());
        assert_eq!(first("db", "/scratch/db"), elsewhere("emptyDir `scratch`"));
        assert_eq!(first("db", "/disk"), elsewhere("hostPath `disk`"));
        assert_eq!(first("db", "/own"), elsewhere("ephemeral `own`"));
        assert_eq!(first("db", "/lost"), elsewhere("the unknown volume `lost`"));
        for (container, dir) in [("db", "/var/lib"), ("db", "/var/lib/dbx"), ("bare", "/var/lib/db")] {
            assert_eq!(first(container, dir), elsewhere("the container's own file system"), "{dir}");
        }
    }

    #[test]
    fn what_is_mounted_inside_belongs_to_the_directory() {
        let inside = places(&pod(), "db", "/var/lib/db");
        assert_eq!(inside[1..], [("/var/lib/db/log".into(), Place::Claim("log-p".into()))]);
    }
}
