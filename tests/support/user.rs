//! Another user of the cluster, who has what the plugin's `rbac` prints and nothing else.

use std::path::PathBuf;

use serde_json::{Value, json};
use tempfile::TempDir;

use super::cluster;
use super::plugin::Plugin;
use super::scene::Scene;

/// Binds this user to the roles that `rbac` prints with these options; the roles as they were applied.
pub fn give(scene: &Scene, user: &str, options: &[&str]) -> Vec<Value> {
    let printed = Plugin::new().args(["rbac"]).args(options).run().done().stdout;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("rbac.yaml");
    std::fs::write(&file, printed).unwrap();
    let mut roles = scene.kubectl.read(&file);
    assert_eq!(roles.len(), 2, "a Role and a ClusterRole: {roles:#?}");
    let mut bindings = Vec::new();
    for role in &mut roles {
        let kind = role["kind"].as_str().unwrap().to_owned();
        role["metadata"] = json!({"name": user, "labels": {"test": scene.namespace()}});
        bindings.push(json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": format!("{kind}Binding"),
            "metadata": {"name": user, "labels": {"test": scene.namespace()}},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": user},
            "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": user}]}));
    }
    scene.kubectl.apply(&roles);
    scene.kubectl.apply(&bindings);
    roles
}

/// Somebody else on another machine, with these rights in the scene's namespace.
pub struct Colleague {
    /// Their kubeconfig.
    pub kubeconfig: PathBuf,
    _folder: TempDir,
}

impl Colleague {
    pub fn of(scene: &Scene) -> Self {
        let user = format!("colleague-of-{}", scene.namespace());
        let folder = tempfile::tempdir().unwrap();
        let kubeconfig = cluster::kubeconfig_of(&user, folder.path());
        give(scene, &user, &[]);
        Self { kubeconfig, _folder: folder }
    }
}
