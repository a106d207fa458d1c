//! How a release's admin port is encrypted: as the user says, else as its own probe connects to it.

use k8s_openapi::api::core::v1::{Container, Pod, Secret, Volume};
use kube::Api;

use crate::cluster::client::explain;
use crate::error::Refusal;
use crate::plan::Request;
use crate::plan::release::Tls;

/// Where the charts mount certificates.
const MOUNTED: &str = "/tls/";
/// The key of a CA's certificate (cert-manager and the charts).
const KEY: &str = "ca.crt";

/// Nothing for plain text. The refusal's object is the caller's to name.
pub(super) async fn encryption(
    client: &kube::Client,
    request: &Request,
    namespace: &str,
    pod: Option<&Pod>,
) -> Result<Option<Tls>, Refusal> {
    let asked = &request.tls;
    let probed = pod.and_then(probe_encryption);
    let said = asked.on || asked.ca.is_some() || asked.secret.is_some() || asked.authority.is_some();
    if !said && probed.is_none() {
        return Ok(None);
    }
    let authority = asked.authority.clone().or(probed.and_then(|probed| probed.name));
    if let Some(ca) = &asked.ca {
        return Ok(Some(Tls { ca: ca.clone(), authority }));
    }
    let Some((secret, key)) = asked.secret.clone().or_else(|| pod.and_then(mounted)) else {
        return Err(Refusal::new("", "its admin port is encrypted, and no CA is known by which to trust it")
            .hint("give the CA's certificate with --ca-root-cert-path FILE or --ca-root-cert-secret SECRET"));
    };
    let unread = |why: String| {
        Refusal::new("", format!("the CA of its admin port could not be read from secret/{secret}: {why}"))
            .hint("give the CA's certificate with --ca-root-cert-path FILE")
    };
    let read = Api::<Secret>::namespaced(client.clone(), namespace).get(&secret).await;
    let data = read.map_err(|e| unread(explain(&e)))?.data.unwrap_or_default();
    let ca = data.get(&key).ok_or_else(|| unread(format!("it has no key {key}")))?;
    let ca = String::from_utf8(ca.0.clone()).map_err(|_| unread(format!("its key {key} is no text")))?;
    Ok(Some(Tls { ca, authority }))
}

/// How a health probe connects.
#[derive(Debug, PartialEq, Eq)]
struct Probed {
    /// The name that the certificate is to be for.
    name: Option<String>,
}

/// Whether the health probe of one of its containers connects with TLS (grpc_health_probe's `-tls`), and to what name.
fn probe_encryption(pod: &Pod) -> Option<Probed> {
    let containers = pod.spec.iter().flat_map(|spec| spec.containers.iter());
    let mut commands = containers.flat_map(probe_commands);
    let command = commands.find(|command| command.iter().any(|word| is_flag(word, "tls")))?;
    let at = command.iter().position(|word| is_flag(word, "tls-server-name"));
    let name = at.and_then(|at| {
        let own = command[at].split_once('=').map(|(_, value)| value.to_owned());
        own.or_else(|| command.get(at + 1).cloned())
    });
    Some(Probed { name })
}

fn probe_commands(container: &Container) -> Vec<Vec<String>> {
    let probes = [&container.readiness_probe, &container.liveness_probe, &container.startup_probe];
    let execs = probes.into_iter().flatten().filter_map(|probe| probe.exec.as_ref()?.command.clone());
    execs.collect()
}

/// `-tls`, `--tls` or `-tls=…`.
fn is_flag(word: &str, name: &str) -> bool {
    let Some(word) = word.strip_prefix('-') else { return false };
    let word = word.strip_prefix('-').unwrap_or(word);
    word.split('=').next() == Some(name) && !word.ends_with("=false")
}

/// The Secret with a CA that its containers mount where the charts do, and the key.
fn mounted(pod: &Pod) -> Option<(String, String)> {
    let spec = pod.spec.as_ref()?;
    let volumes: Vec<&Volume> = spec.volumes.iter().flatten().collect();
    let mounts = spec.containers.iter().flat_map(|container| container.volume_mounts.iter().flatten());
    let below = mounts.filter(|mount| mount.mount_path.starts_with(MOUNTED));
    below.filter_map(|mount| volumes.iter().find(|volume| volume.name == mount.name)).find_map(|volume| ca_of(volume))
}

fn ca_of(volume: &Volume) -> Option<(String, String)> {
    let of = |name: Option<&String>, items: Option<&Vec<k8s_openapi::api::core::v1::KeyToPath>>| {
        // Without a list of keys all are mounted under their own names.
        let key = match items {
            None => KEY.to_owned(),
            Some(items) => items.iter().find(|item| item.path.ends_with(KEY))?.key.clone(),
        };
        Some((name?.clone(), key))
    };
    if let Some(secret) = &volume.secret {
        return of(secret.secret_name.as_ref(), secret.items.as_ref());
    }
    let sources = volume.projected.iter().flat_map(|projected| projected.sources.iter().flatten());
    let mut secrets = sources.filter_map(|source| source.secret.as_ref());
    secrets.find_map(|secret| of(Some(&secret.name), secret.items.as_ref()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pod(command: &[&str], volume: &serde_json::Value) -> Pod {
        serde_json::from_value(json!({"metadata": {}, "spec": {
            "containers": [{"name": "scalardl-ledger", "livenessProbe": {"exec": {"command": command}},
                            "volumeMounts": [{"name": "certs", "mountPath": "/tls/scalardl-ledger/certs"}]}],
            "volumes": [volume]
        }}))
        .unwrap()
    }

    #[test]
    fn the_probe_tells_whether_and_for_what_name() {
        let of = |command: &[&str]| probe_encryption(&pod(command, &json!({"name": "certs"})));
        assert_eq!(of(&["/usr/local/bin/grpc_health_probe", "-addr=localhost:50051"]), None);
        assert_eq!(of(&["grpc_health_probe", "-addr=localhost:50051", "-tls"]), Some(Probed { name: None }));
        let named = || Some(Probed { name: Some("cluster.example.com".to_owned()) });
        assert_eq!(of(&["p", "-tls", "-tls-server-name=cluster.example.com"]), named());
        assert_eq!(of(&["p", "--tls", "--tls-server-name", "cluster.example.com"]), named());
        assert_eq!(of(&["p", "-tls=false"]), None);
    }

    #[test]
    fn the_ca_is_the_one_that_the_pod_mounts() {
        let of = |volume: serde_json::Value| mounted(&pod(&[], &volume));
        let found = |secret: &str, key: &str| Some((secret.to_owned(), key.to_owned()));
        assert_eq!(
            of(json!({"name": "certs", "secret": {"secretName": "ledger-tls-cert"}})),
            found("ledger-tls-cert", "ca.crt")
        );
        let projected = json!({"name": "certs", "projected": {"sources": [
            {"secret": {"name": "chain", "items": [{"key": "tls.crt", "path": "tls.crt"}]}},
            {"secret": {"name": "root", "items": [{"key": "certificate", "path": "ca.crt"}]}}
        ]}});
        assert_eq!(of(projected), found("root", "certificate"));
        assert_eq!(of(json!({"name": "other", "secret": {"secretName": "x"}})), None);
    }
}
