//! Rights as Roles and a ClusterRole, in YAML.

use std::collections::BTreeSet;

use k8s_openapi::api::rbac::v1::{ClusterRole, PolicyRule, Role};
use kube::api::ObjectMeta;

use crate::plan::access::{Place, Right};

/// The name of the roles, and their namespaces.
#[derive(Clone, Copy, Debug)]
pub struct Names<'a> {
    /// The name of all of them.
    pub roles: &'a str,
    /// The databases' namespace: none leaves it to `kubectl apply`.
    pub databases: Option<&'a str>,
    /// The record's, where it is another one.
    pub record: Option<&'a str>,
    /// That of copies.
    pub elsewhere: Option<&'a str>,
}

/// A Role for each namespace and a ClusterRole with exactly these rights. A given namespace is written
/// into its Role: otherwise `kubectl apply` would create the Role in the namespace of the context.
pub fn roles(rights: &BTreeSet<Right>, names: Names) -> String {
    let mut places: Vec<(Option<&str>, Vec<Place>)> = vec![(names.databases, vec![Place::Databases])];
    for (place, namespace) in [(Place::Record, names.record), (Place::Elsewhere, names.elsewhere)] {
        let namespace = namespace.or(names.databases);
        match places.iter_mut().find(|(of, _)| *of == namespace) {
            Some((_, same)) => same.push(place),
            None => places.push((namespace, vec![place])),
        }
    }
    let metadata = |namespace: Option<&str>| ObjectMeta {
        name: Some(names.roles.to_owned()),
        namespace: namespace.map(str::to_owned),
        ..ObjectMeta::default()
    };
    let role = |(namespace, places): (Option<&str>, Vec<Place>)| Role {
        metadata: metadata(namespace),
        rules: Some(policy(rights, &places)),
    };
    // Plain maps and lists of texts: there is nothing in them that YAML could not say.
    let mut documents: Vec<String> =
        places.into_iter().map(|of| serde_saphyr::to_string(&role(of)).unwrap_or_default()).collect();
    let rules = Some(policy(rights, &[Place::Cluster]));
    let cluster = ClusterRole { metadata: metadata(None), rules, ..ClusterRole::default() };
    documents.push(serde_saphyr::to_string(&cluster).unwrap_or_default());
    documents.iter().map(|document| format!("{}\n", document.trim_end())).collect::<Vec<_>>().join("---\n")
}

/// One rule for each kind of object of these places.
fn policy(rights: &BTreeSet<Right>, places: &[Place]) -> Vec<PolicyRule> {
    let objects: BTreeSet<(&str, &str)> = rights
        .iter()
        .filter(|right| places.contains(&right.place))
        .map(|right| (right.group, right.resource))
        .collect();
    let rule = |(group, resource): (&str, &str)| {
        let of_it =
            |right: &&Right| (right.group, right.resource) == (group, resource) && places.contains(&right.place);
        let verbs: BTreeSet<&str> = rights.iter().filter(of_it).map(|right| right.verb).collect();
        PolicyRule {
            api_groups: Some(vec![group.to_owned()]),
            resources: Some(vec![resource.to_owned()]),
            verbs: verbs.into_iter().map(str::to_owned).collect(),
            ..PolicyRule::default()
        }
    };
    objects.into_iter().map(rule).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::plan::access::{Command, Purpose};

    const NAMES: Names = Names { roles: "consistent-backup", databases: None, record: None, elsewhere: None };

    fn documents(purpose: &Purpose, names: Names) -> Vec<Value> {
        let text = roles(&purpose.rights(), names);
        text.split("---\n").map(|document| serde_saphyr::from_str(document).unwrap()).collect()
    }

    /// The verbs on this resource, between blanks; empty without a rule.
    fn verbs(role: &Value, resource: &str) -> String {
        let rules = role["rules"].as_array().unwrap();
        let rule = rules.iter().find(|r| r["resources"][0] == resource);
        let verbs: Option<Vec<&str>> =
            rule.map(|rule| rule["verbs"].as_array().unwrap().iter().map(|v| v.as_str().unwrap()).collect());
        verbs.unwrap_or_default().join(" ")
    }

    #[test]
    fn a_backup_gets_less_than_all_commands_together() {
        let all = documents(&Purpose::default(), NAMES);
        let backup = documents(&Purpose { backup_only: true, ..Purpose::default() }, NAMES);
        let alias = documents(&Purpose { commands: [Command::QuiesceSnapshot].into(), ..Purpose::default() }, NAMES);
        assert_eq!(backup, alias);
        let kinds: Vec<&Value> = all.iter().map(|document| &document["kind"]).collect();
        assert_eq!(kinds, ["Role", "ClusterRole"]);
        assert_eq!(verbs(&backup[0], "persistentvolumeclaims"), "list");
        assert_eq!(verbs(&all[0], "persistentvolumeclaims"), "create delete get list");
        assert_eq!(verbs(&backup[0], "pods"), "get list");
        assert_eq!(verbs(&all[0], "pods"), "create delete get list patch");
        assert_eq!(verbs(&backup[0], "pods/exec"), "create get");
        assert_eq!(verbs(&all[1], "persistentvolumes"), "get patch");
        assert_eq!(
            (verbs(&backup[1], "storageclasses"), verbs(&all[1], "storageclasses")),
            (String::new(), "get".into())
        );
    }

    #[test]
    fn a_namespace_of_the_record_gets_a_role_of_its_own() {
        let purpose = Purpose { backup_only: true, record_apart: true, ..Purpose::default() };
        let names = Names { databases: Some("demo"), record: Some("records"), ..NAMES };
        let documents_of = documents(&purpose, names);
        let [databases, record, cluster] = &documents_of[..] else { panic!("three roles") };
        assert_eq!(
            (&databases["metadata"]["namespace"], &record["metadata"]["namespace"]),
            (&Value::from("demo"), &Value::from("records"))
        );
        assert!(cluster["metadata"]["namespace"].is_null());
        assert_eq!(verbs(databases, "configmaps"), "get");
        assert_eq!(verbs(record, "configmaps"), "create get list patch");
        assert_eq!(record["rules"].as_array().unwrap().len(), 1, "nothing else is done there");
        // The record's namespace may also be the databases' namespace.
        let same = documents(&purpose, Names { record: Some("demo"), ..names });
        assert_eq!((same.len(), verbs(&same[0], "configmaps").as_str()), (2, "create get list patch"));
    }

    #[test]
    fn a_command_that_asks_for_nothing_gets_roles_without_rules() {
        let purpose = Purpose { commands: [Command::Guard, Command::Rbac].into(), ..Purpose::default() };
        for role in documents(&purpose, Names { roles: "on-call", ..NAMES }) {
            assert_eq!(role["rules"], serde_json::json!([]), "{role}");
            assert_eq!(role["metadata"]["name"], "on-call");
        }
    }
}
