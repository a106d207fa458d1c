//! The properties of a release: which databases are behind it. Credentials among them are never taken.

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, Secret, Volume};
use kube::Api;

use crate::cluster::client::explain;
use crate::plan::Database;
use crate::plan::release::databases::databases;
use crate::plan::release::{Product, Properties};

/// How the file's name ends.
const FILE: &str = ".properties";

/// What was found.
#[derive(Default)]
pub(super) struct Read {
    /// Where the properties lie.
    pub(super) properties: Option<Properties>,
    /// The databases that they name.
    pub(super) databases: Vec<Database>,
    /// Remarks for the plan.
    pub(super) notes: Vec<String>,
}

/// Reads the file that the pods of this Deployment mount. What cannot be read is a remark: a window needs none of it.
pub(super) async fn read(
    client: &kube::Client,
    namespace: &str,
    name: &str,
    product: Product,
    deployment: &Deployment,
) -> Read {
    let unknown = |why: String| Read {
        notes: vec![format!(
            "release {namespace}/{name}: which databases are behind it is not known ({why}): name them with --database for \
             the runbook"
        )],
        ..Read::default()
    };
    let Some(properties) = mounted(deployment) else {
        return unknown(format!("no file *{FILE} of a ConfigMap or Secret is mounted"));
    };
    let text = match text(client, namespace, &properties).await {
        Ok(text) => text,
        Err(why) => {
            let unread = unknown(format!("{} {}: {why}", properties.kind, properties.name));
            return Read { properties: Some(properties), ..unread };
        }
    };
    let found = databases(product, &format!("{namespace}/{name}"), &text);
    Read { properties: Some(properties), databases: found.databases, notes: found.unread }
}

async fn text(client: &kube::Client, namespace: &str, of: &Properties) -> Result<String, String> {
    if of.kind == "Secret" {
        let secret =
            Api::<Secret>::namespaced(client.clone(), namespace).get(&of.name).await.map_err(|e| explain(&e))?;
        let data =
            secret.data.unwrap_or_default().remove(&of.key).ok_or_else(|| format!("it has no key {}", of.key))?;
        return String::from_utf8(data.0).map_err(|_| format!("its key {} is no text", of.key));
    }
    let map = Api::<ConfigMap>::namespaced(client.clone(), namespace).get(&of.name).await.map_err(|e| explain(&e))?;
    map.data.unwrap_or_default().remove(&of.key).ok_or_else(|| format!("it has no key {}", of.key))
}

/// The object and key of the properties file among what the containers mount.
fn mounted(deployment: &Deployment) -> Option<Properties> {
    let spec = deployment.spec.template.spec.as_ref()?;
    let mounts = spec.containers.iter().flat_map(|container| container.volume_mounts.iter().flatten());
    mounts.into_iter().find_map(|mount| {
        let volume = spec.volumes.iter().flatten().find(|volume| volume.name == mount.name)?;
        // The charts mount the one file, by its key.
        let file = mount.sub_path.as_deref().or(mount.mount_path.rsplit('/').next())?;
        file.ends_with(FILE).then(|| of_volume(volume, file)).flatten()
    })
}

fn of_volume(volume: &Volume, file: &str) -> Option<Properties> {
    let of = |kind: &str, name: &str, items: Option<&Vec<k8s_openapi::api::core::v1::KeyToPath>>| {
        let renamed = items.into_iter().flatten().find(|item| item.path == file).map(|item| item.key.as_str());
        Properties { kind: kind.into(), name: name.into(), key: renamed.unwrap_or(file).into() }
    };
    if let Some(map) = &volume.config_map {
        return Some(of("ConfigMap", &map.name, map.items.as_ref()));
    }
    let secret = volume.secret.as_ref()?;
    Some(of("Secret", secret.secret_name.as_deref()?, secret.items.as_ref()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn found(mount: &Value, volume: &Value) -> Option<(String, String, String)> {
        let deployment = serde_json::from_value(json!({"metadata": {}, "spec": {"selector": {}, "template": {"spec": {
            "containers": [{"name": "c", "volumeMounts": [{"name": "tls", "mountPath": "/tls"}, mount]}],
            "volumes": [{"name": "tls", "secret": {"secretName": "t"}}, volume]
        }}}}))
        .unwrap();
        mounted(&deployment).map(|p| (p.kind, p.name, p.key))
    }

    #[test]
    fn the_properties_are_the_file_that_is_mounted() {
        let mount =
            json!({"name": "p", "mountPath": "/scalar/ledger/ledger.properties", "subPath": "ledger.properties"});
        let triple = |kind: &str, name: &str, key: &str| Some((kind.to_owned(), name.to_owned(), key.to_owned()));
        assert_eq!(
            found(&mount, &json!({"name": "p", "configMap": {"name": "l-ledger-properties"}})),
            triple("ConfigMap", "l-ledger-properties", "ledger.properties")
        );
        assert_eq!(
            found(
                &mount,
                &json!({"name": "p", "secret": {"secretName": "s", "items": [
                {"key": "own", "path": "ledger.properties"}]}})
            ),
            triple("Secret", "s", "own")
        );
        assert_eq!(found(&json!({"name": "p", "mountPath": "/etc/p"}), &json!({"name": "p", "emptyDir": {}})), None);
    }
}
