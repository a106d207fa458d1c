//! What a restore does to the API, verb by verb: asked for beforehand, so that nothing stops half-way. Pure.

use std::collections::{BTreeMap, BTreeSet};

use crate::error::Refusal;
use crate::plan::release::Properties;

/// One verb on one resource.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Access {
    /// `get`, `patch` …
    pub verb: &'static str,
    /// The API group, empty for the core.
    pub group: &'static str,
    /// `persistentvolumeclaims`, `pods/exec` …
    pub resource: &'static str,
    /// The namespace; `None` = cluster-scoped.
    pub namespace: Option<String>,
    /// The one object that it is about: a role may name it. `None` = any.
    pub name: Option<String>,
}

/// Group, resource and verbs.
pub type Row = (&'static str, &'static str, &'static [&'static str]);

const SNAPSHOTS: &str = "snapshot.storage.k8s.io";

/// What a restore in place does in the namespaces of its claims. Other runs about them are looked for.
pub const IN_PLACE: &[Row] = &[
    ("", "configmaps", &["list"]),
    ("", "persistentvolumeclaims", &["create", "delete", "get"]),
    ("", "pods", &["get", "list"]),
    ("", "pods/exec", &["create", "get"]),
    ("coordination.k8s.io", "leases", &["create", "delete", "get", "patch"]),
    (SNAPSHOTS, "volumesnapshots", &["get"]),
];

/// What it does to the workloads, by their kind.
pub const WORKLOADS: &[(&str, Row)] = &[
    ("StatefulSet", ("apps", "statefulsets", &["get", "patch"])),
    ("Deployment", ("apps", "deployments", &["get", "patch"])),
    ("ReplicaSet", ("apps", "replicasets", &["get", "patch"])),
    ("Pod", ("", "pods", &["create", "delete"])),
];

/// What stopping and starting releases does in their namespaces where no claim is restored. Other runs about them are
/// looked for.
const FRONTS: &[Row] = &[
    ("", "configmaps", &["list"]),
    ("", "pods", &["get", "list"]),
    ("apps", "deployments", &["get", "patch"]),
    ("coordination.k8s.io", "leases", &["create", "delete", "get", "patch"]),
];

/// What it does where its record lies.
const RECORD: &[Row] = &[("", "configmaps", &["create", "get", "list", "patch"])];

/// What setting properties does to the objects that hold them, by their kind.
pub const PROPERTIES: &[(&str, Row)] =
    &[("ConfigMap", ("", "configmaps", &["get", "patch"])), ("Secret", ("", "secrets", &["get", "patch"]))];

/// What it does to objects without a namespace.
pub const IN_PLACE_CLUSTER: &[Row] = &[
    ("", "persistentvolumes", &["get", "patch"]),
    (SNAPSHOTS, "volumesnapshotcontents", &["get", "patch"]),
    ("storage.k8s.io", "storageclasses", &["get"]),
    ("storage.k8s.io", "volumeattachments", &["list"]),
];

/// What `--claims-only` does.
pub const COPIES: &[Row] =
    &[("", "persistentvolumeclaims", &["create", "get"]), (SNAPSHOTS, "volumesnapshots", &["get"])];

/// What bringing a workload back does beside that in the namespaces where it is made.
pub const ANEW: &[Row] = &[
    ("", "configmaps", &["create", "get"]),
    ("", "pods", &["get", "list"]),
    ("", "pods/exec", &["create", "get"]),
    ("", "serviceaccounts", &["get"]),
    ("", "services", &["create", "get", "list"]),
];

/// What it does to the workloads, by their kind.
pub const NEW: &[(&str, Row)] = &[
    ("StatefulSet", ("apps", "statefulsets", &["create", "get", "patch"])),
    ("Deployment", ("apps", "deployments", &["create", "get", "patch"])),
    ("ReplicaSet", ("apps", "replicasets", &["create", "get", "patch"])),
    ("Pod", ("", "pods", &["create", "get", "patch"])),
];

/// What a second VolumeSnapshot of a stored copy takes.
pub const ALIAS: &[Row] = &[(SNAPSHOTS, "volumesnapshots", &["create", "delete", "get"])];
/// The same of objects without a namespace.
pub const ALIAS_CLUSTER: &[Row] = &[(SNAPSHOTS, "volumesnapshotcontents", &["create", "delete", "get", "patch"])];

/// Everything that bringing back workloads of these kinds will do in these namespaces.
pub fn anew(namespaces: &BTreeSet<String>, kinds: &BTreeSet<String>) -> Vec<Access> {
    let kinds = NEW.iter().filter(|(kind, _)| kinds.contains(*kind)).map(|(_, row)| row);
    let rows: Vec<&Row> = COPIES.iter().chain(ANEW).chain(kinds).collect();
    namespaces.iter().flat_map(|n| expand(&rows, Some(n))).collect()
}

/// Everything that aliases in these namespaces will take.
pub fn aliases(namespaces: &BTreeSet<String>) -> Vec<Access> {
    if namespaces.is_empty() {
        return Vec::new();
    }
    let rows: Vec<&Row> = ALIAS.iter().collect();
    let mut all: Vec<Access> = namespaces.iter().flat_map(|n| expand(&rows, Some(n))).collect();
    all.extend(expand(&ALIAS_CLUSTER.iter().collect::<Vec<_>>(), None));
    all
}

/// What `verify` does where the copies are made.
pub const VERIFY: &[Row] = &[
    ("", "persistentvolumeclaims", &["create", "delete", "get", "list"]),
    ("", "pods", &["create", "delete", "get", "list"]),
    ("", "pods/exec", &["create", "get"]),
    ("networking.k8s.io", "networkpolicies", &["create", "delete", "get", "list"]),
];

/// The same in another namespace than the backup's, where nothing of what the pods need may be yet.
pub const VERIFY_ELSEWHERE: &[Row] =
    &[("", "configmaps", &["create", "delete", "get", "list"]), ("", "serviceaccounts", &["get"])];

/// What it does in the namespaces of the backup's databases.
pub const VERIFIED: &[Row] = &[(SNAPSHOTS, "volumesnapshots", &["get"])];

/// What it does where the record lies.
pub const VERDICT: &[Row] =
    &[("", "configmaps", &["get", "patch"]), ("coordination.k8s.io", "leases", &["create", "delete", "get", "patch"])];

/// What it does to objects without a namespace; the volumes of copies are changed only where their class keeps them.
pub const VERIFY_CLUSTER: &[Row] = &[("", "persistentvolumes", &["get", "patch"])];

/// What preparing a restored copy in a pod of its own takes.
pub const HELPER: &[Row] = &[("", "pods", &["create", "delete"])];

/// The same in these namespaces.
pub fn helper(namespaces: &BTreeSet<String>) -> Vec<Access> {
    let rows: Vec<&Row> = HELPER.iter().collect();
    namespaces.iter().flat_map(|n| expand(&rows, Some(n))).collect()
}

/// What a restore in place stops and starts.
#[derive(Clone, Copy, Debug)]
pub struct Stopped<'a> {
    /// The namespace.
    pub namespace: &'a str,
    /// The kind.
    pub kind: &'a str,
    /// Whether it only stands in front of the databases.
    pub front: bool,
}

/// Everything that a restore in place of claims in these namespaces will do, with these workloads and its record in
/// `record`. In the namespace of a release that only stands in front of them nothing is asked for but to stop and start it.
pub fn of_restore(claims: &BTreeSet<String>, stopped: &[Stopped], record: &str) -> Vec<Access> {
    let of_databases = stopped.iter().filter(|of| !of.front).map(|of| of.namespace.to_owned());
    let databases: BTreeSet<String> = claims.iter().cloned().chain(of_databases).collect();
    let (there, elsewhere): (Vec<&Stopped>, Vec<&Stopped>) =
        stopped.iter().partition(|of| databases.contains(of.namespace));
    let kinds = there.iter().map(|of| of.kind.to_owned()).collect();
    let mut all: BTreeSet<Access> =
        expand(&RECORD.iter().collect::<Vec<_>>(), Some(&record.to_owned())).into_iter().collect();
    if !databases.is_empty() {
        all.extend(in_place(&databases, &kinds));
    }
    let fronts: Vec<&Row> = FRONTS.iter().collect();
    all.extend(elsewhere.iter().flat_map(|of| expand(&fronts, Some(&of.namespace.to_owned()))));
    all.into_iter().collect()
}

/// Everything that a restore in place of these namespaces and kinds of workloads will do.
pub fn in_place(namespaces: &BTreeSet<String>, kinds: &BTreeSet<String>) -> Vec<Access> {
    let kinds = WORKLOADS.iter().filter(|(kind, _)| kinds.contains(*kind)).map(|(_, row)| row);
    let rows: Vec<&Row> = IN_PLACE.iter().chain(kinds).collect();
    let mut all: Vec<Access> = namespaces.iter().flat_map(|n| expand(&rows, Some(n))).collect();
    all.extend(expand(&IN_PLACE_CLUSTER.iter().collect::<Vec<_>>(), None));
    all
}

/// Everything that setting properties in these objects, each with its namespace, will do.
pub fn edits<'a>(of: impl Iterator<Item = (&'a String, &'a Properties)>) -> Vec<Access> {
    let one = |(namespace, of): (&String, &Properties)| {
        let rows: Vec<&Row> = PROPERTIES.iter().filter(|(kind, _)| *kind == of.kind).map(|(_, row)| row).collect();
        let named = |access| Access { name: Some(of.name.clone()), ..access };
        expand(&rows, Some(namespace)).into_iter().map(named).collect::<Vec<_>>()
    };
    of.flat_map(one).collect::<BTreeSet<_>>().into_iter().collect()
}

/// What a cold backup does beside what any backup does.
pub fn cold(namespaces: &BTreeSet<String>, kinds: &BTreeSet<String>) -> Vec<Access> {
    let kinds: Vec<&Row> = WORKLOADS.iter().filter(|(kind, _)| kinds.contains(*kind)).map(|(_, row)| row).collect();
    let mut all: Vec<Access> = namespaces.iter().flat_map(|n| expand(&kinds, Some(n))).collect();
    all.extend(expand(&[&("storage.k8s.io", "volumeattachments", &["list"])], None));
    all
}

/// Everything that `--claims-only` will do.
pub fn copies(namespaces: &BTreeSet<String>) -> Vec<Access> {
    let rows: Vec<&Row> = COPIES.iter().collect();
    namespaces.iter().flat_map(|n| expand(&rows, Some(n))).collect()
}

/// Everything that verifying a backup of these namespaces will do, in them or `elsewhere`; its record lies in `record`.
pub fn verify(namespaces: &BTreeSet<String>, elsewhere: Option<&str>, record: &str) -> Vec<Access> {
    let in_all = |rows: &[Row], namespaces: &BTreeSet<String>| -> Vec<Access> {
        let rows: Vec<&Row> = rows.iter().collect();
        namespaces.iter().flat_map(|n| expand(&rows, Some(n))).collect()
    };
    let places = elsewhere.map_or_else(|| namespaces.clone(), |place| BTreeSet::from([place.to_owned()]));
    let mut all = in_all(VERIFY, &places);
    if elsewhere.is_some() {
        all.extend(in_all(VERIFY_ELSEWHERE, &places));
    }
    all.extend(in_all(VERIFIED, namespaces));
    all.extend(in_all(VERDICT, &BTreeSet::from([record.to_owned()])));
    all.extend(expand(&VERIFY_CLUSTER.iter().collect::<Vec<_>>(), None));
    all
}

/// A resource, its namespace, and the one object of it that is meant.
type Object = (String, Option<String>, Option<String>);

/// What the user may not do, one line an object.
pub fn refusals(denied: &[Access]) -> Vec<Refusal> {
    let mut by_object: BTreeMap<Object, BTreeSet<&str>> = BTreeMap::new();
    for access in denied {
        let dot = if access.group.is_empty() { "" } else { "." };
        let resource = format!("{}{dot}{}", access.resource, access.group);
        let key = (resource, access.namespace.clone(), access.name.clone());
        by_object.entry(key).or_default().insert(access.verb);
    }
    let refusal = |((resource, namespace, name), verbs): (Object, BTreeSet<&str>)| {
        let verbs = verbs.into_iter().collect::<Vec<_>>().join(", ");
        let wherever = namespace.map_or_else(|| "in the cluster".to_owned(), |n| format!("in namespace {n}"));
        // Whoever may read Secrets at all may read every one: that is not asked for on the quiet.
        let it = if name.is_some() { "it " } else { "" };
        let hint = if resource == "secrets" {
            "`rbac` does not ask for Secrets: allow it for this one by hand, or edit its properties there by hand"
        } else {
            "`kubectl consistent-backup rbac` prints the roles that are needed"
        };
        let one = |name| format!("{}/{name}", resource.trim_end_matches('s'));
        let object = name.map_or_else(|| resource.clone(), one);
        Refusal::new(object, format!("you may not {verbs} {it}{wherever}")).hint(hint)
    };
    by_object.into_iter().map(refusal).collect()
}

fn expand(rows: &[&Row], namespace: Option<&String>) -> Vec<Access> {
    let one = |(group, resource, verbs): &Row| {
        let (group, resource) = (*group, *resource);
        verbs
            .iter()
            .map(|verb| Access { verb, group, resource, namespace: namespace.cloned(), name: None })
            .collect::<Vec<_>>()
    };
    rows.iter().flat_map(|row| one(row)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_kinds_that_are_stopped_are_asked_for() {
        let names = BTreeSet::from(["demo".to_owned()]);
        let all = in_place(&names, &BTreeSet::from(["StatefulSet".to_owned()]));
        assert!(all.iter().any(|a| a.resource == "statefulsets" && a.verb == "patch"));
        assert!(!all.iter().any(|a| a.resource == "deployments"));
        assert!(all.iter().any(|a| a.resource == "persistentvolumes" && a.namespace.is_none()));
        assert!(copies(&names).iter().all(|a| a.namespace.as_deref() == Some("demo")));
    }

    #[test]
    fn a_secret_is_asked_for_by_its_name() {
        let secret = Properties { kind: "Secret".into(), name: "props".into(), key: "k".into() };
        let asked = edits([(&"demo".to_owned(), &secret)].into_iter());
        assert!(asked.len() == 2 && asked.iter().all(|a| a.name.as_deref() == Some("props")), "{asked:?}");
        let refused = &refusals(&asked)[0];
        assert_eq!(
            (refused.object.as_str(), &*refused.message),
            ("secret/props", "you may not get, patch it in namespace demo")
        );
    }

    #[test]
    fn where_only_a_release_is_nothing_is_asked_for_that_only_databases_need() {
        let of = |namespace, kind, front| Stopped { namespace, kind, front };
        let (shop, pg) = (of("apps", "Deployment", true), of("demo", "StatefulSet", false));
        let asked = |claims: &[&str], stopped: &[Stopped], resource: &str, namespace: &str| {
            let claims = claims.iter().map(|n| (*n).to_owned()).collect();
            let all = of_restore(&claims, stopped, "demo");
            let of = all.iter().filter(|a| a.resource == resource && a.namespace.as_deref() == Some(namespace));
            of.map(|a| a.verb).collect::<Vec<_>>().join(",")
        };
        let both = |resource: &str, namespace: &str| asked(&["demo"], &[shop, pg], resource, namespace);
        assert_eq!((both("persistentvolumeclaims", "apps"), both("pods/exec", "apps")), (String::new(), String::new()));
        assert_eq!((both("deployments", "apps"), both("deployments", "demo")), ("get,patch".into(), String::new()));
        assert_eq!(
            (both("leases", "apps"), both("configmaps", "apps")),
            ("create,delete,get,patch".into(), "list".into())
        );
        assert_eq!(both("configmaps", "demo"), "create,get,list,patch");
        let beside = asked(&["apps", "demo"], &[shop, pg], "deployments", "apps");
        assert_eq!(beside, "get,patch");
        // Of a window only properties are set.
        assert_eq!(asked(&[], &[shop], "configmaps", "demo"), "create,get,list,patch");
        assert!(of_restore(&BTreeSet::new(), &[shop], "demo").iter().all(|a| a.namespace.is_some()));
    }
}
