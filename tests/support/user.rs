//! Another user of the cluster, who has what the plugin's `rbac` prints and nothing else.

use std::path::PathBuf;

use serde_json::{Value, json};
use tempfile::TempDir;

use super::cluster;
use super::kubectl::Kubectl;
use super::plugin::Plugin;
use super::scene::Scene;
use super::wait::{seconds, until};

/// Binds this user to the Role and the ClusterRole that `rbac` prints with these options; the roles as they were applied.
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
    for role in &roles {
        until_may(&scene.kubectl, user, role);
    }
    roles
}

/// Waits until the API server's authoriser grants this role to the user. It learns of roles and bindings by watching, a
/// moment after they are stored, and refuses until then.
#[track_caller]
pub fn until_may(kubectl: &Kubectl, user: &str, role: &Value) {
    let plain =
        |rule: &&Value| rule["resourceNames"].is_null() && !rule["resources"][0].as_str().unwrap().contains('/');
    let rule = role["rules"].as_array().unwrap().iter().find(plain).unwrap_or_else(|| panic!("no rule in {role:#}"));
    let word = |list: &str| rule[list][0].as_str().unwrap();
    let resource = match word("apiGroups") {
        "" => word("resources").to_owned(),
        group => format!("{}.{group}", word("resources")),
    };
    until(&format!("{user} to be allowed to {} {resource}", word("verbs")), seconds(60), || {
        let asked = kubectl.run(&["auth", "can-i", word("verbs"), &resource, "--as", user]);
        if asked.stdout.trim() == "yes" { Ok(()) } else { Err(asked.to_string()) }
    });
}

/// Waits until the API server refuses this user what a rule allowed before: it learns of a changed role a moment later.
#[track_caller]
pub fn until_may_not(kubectl: &Kubectl, user: &str, rule: &Value) {
    let verb = rule["verbs"][0].as_str().unwrap();
    let resource = rule["resources"][0].as_str().unwrap();
    let (resource, part) = resource.split_once('/').unwrap_or((resource, ""));
    let resource = match rule["apiGroups"][0].as_str().unwrap() {
        "" => resource.to_owned(),
        group => format!("{resource}.{group}"),
    };
    let question = ["auth", "can-i", verb, &resource, "--subresource", part, "--as", user];
    until(&format!("{user} not to be allowed to {verb} {resource}"), seconds(60), || {
        let asked = kubectl.run(&question);
        if asked.stdout.starts_with("no") { Ok(()) } else { Err(asked.to_string()) }
    });
}

/// Somebody else on another machine, with these rights in the scene's namespace.
pub struct Colleague {
    /// Their name.
    pub user: String,
    /// Their kubeconfig.
    pub kubeconfig: PathBuf,
    roles: Vec<Value>,
    _folder: TempDir,
}

impl Colleague {
    /// With what `rbac` prints for all commands.
    pub fn of(scene: &Scene) -> Self {
        Self::with(scene, "colleague", &[])
    }

    /// With what `rbac` prints with these options.
    pub fn with(scene: &Scene, name: &str, options: &[&str]) -> Self {
        let user = format!("{name}-of-{}", scene.namespace());
        let folder = tempfile::tempdir().unwrap();
        let kubeconfig = cluster::kubeconfig_of(&user, folder.path());
        let roles = give(scene, &user, options);
        Self { user, kubeconfig, roles, _folder: folder }
    }

    /// Does this while they lack the rule for a resource.
    #[track_caller]
    pub fn without(&self, scene: &Scene, resource: &str, act: impl FnOnce()) {
        let of_it = |rule: &Value| rule["resources"][0] == resource;
        let role = self.roles.iter().find(|role| role["rules"].as_array().unwrap().iter().any(of_it));
        let role = role.unwrap_or_else(|| panic!("{} has no rule for {resource}: {:#?}", self.user, self.roles));
        let mut less = role.clone();
        less["rules"].as_array_mut().unwrap().retain(|rule| !of_it(rule));
        scene.kubectl.apply(&[less]);
        let rule = role["rules"].as_array().unwrap().iter().find(|rule| of_it(rule)).unwrap();
        until_may_not(&scene.kubectl, &self.user, rule);
        act();
        scene.kubectl.apply(std::slice::from_ref(role));
    }
}
