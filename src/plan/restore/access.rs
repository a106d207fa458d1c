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
}

/// Group, resource and verbs.
type Row = (&'static str, &'static str, &'static [&'static str]);

const SNAPSHOTS: &str = "snapshot.storage.k8s.io";

/// What a restore in place does in the namespaces of its claims.
pub const IN_PLACE: &[Row] = &[
    ("", "configmaps", &["create", "get", "list", "patch"]),
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

/// What stopping and starting releases does in their namespaces where no claim is restored.
pub const FRONTS: &[Row] = &[
    ("", "configmaps", &["create", "get", "list", "patch"]),
    ("", "pods", &["get", "list"]),
    ("apps", "deployments", &["get", "patch"]),
    ("coordination.k8s.io", "leases", &["create", "delete", "get", "patch"]),
];

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

/// Everything that a restore in place of these namespaces and kinds of workloads will do.
pub fn in_place(namespaces: &BTreeSet<String>, kinds: &BTreeSet<String>) -> Vec<Access> {
    let kinds = WORKLOADS.iter().filter(|(kind, _)| kinds.contains(*kind)).map(|(_, row)| row);
    let rows: Vec<&Row> = IN_PLACE.iter().chain(kinds).collect();
    let mut all: Vec<Access> = namespaces.iter().flat_map(|n| expand(&rows, Some(n))).collect();
    all.extend(expand(&IN_PLACE_CLUSTER.iter().collect::<Vec<_>>(), None));
    all
}

/// Everything that stopping and starting releases in these namespaces will do where no claim is restored.
pub fn fronts(namespaces: &BTreeSet<String>) -> Vec<Access> {
    let rows: Vec<&Row> = FRONTS.iter().collect();
    namespaces.iter().flat_map(|n| expand(&rows, Some(n))).collect()
}

/// Everything that setting properties in these objects, each with its namespace, will do.
pub fn edits<'a>(of: impl Iterator<Item = (&'a String, &'a Properties)>) -> Vec<Access> {
    let one = |(namespace, of): (&String, &Properties)| {
        let rows: Vec<&Row> = PROPERTIES.iter().filter(|(kind, _)| *kind == of.kind).map(|(_, row)| row).collect();
        expand(&rows, Some(namespace))
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

/// What the user may not do, one line an object.
pub fn refusals(denied: &[Access]) -> Vec<Refusal> {
    let mut by_resource: BTreeMap<(String, Option<String>), BTreeSet<&str>> = BTreeMap::new();
    for access in denied {
        let dot = if access.group.is_empty() { "" } else { "." };
        let resource = format!("{}{dot}{}", access.resource, access.group);
        by_resource.entry((resource, access.namespace.clone())).or_default().insert(access.verb);
    }
    let refusal = |((resource, namespace), verbs): ((String, Option<String>), BTreeSet<&str>)| {
        let verbs = verbs.into_iter().collect::<Vec<_>>().join(", ");
        let wherever = namespace.map_or_else(|| "in the cluster".to_owned(), |n| format!("in namespace {n}"));
        // Whoever may read Secrets at all may read every one: that is not asked for on the quiet.
        let hint = if resource == "secrets" {
            "`rbac` does not ask for Secrets: allow it for this one by hand, or edit its properties there by hand"
        } else {
            "`kubectl consistent-backup rbac` prints the roles that are needed"
        };
        Refusal::new(resource, format!("you may not {verbs} {wherever}")).hint(hint)
    };
    by_resource.into_iter().map(refusal).collect()
}

fn expand(rows: &[&Row], namespace: Option<&String>) -> Vec<Access> {
    let one = |(group, resource, verbs): &Row| {
        let (group, resource) = (*group, *resource);
        verbs.iter().map(|verb| Access { verb, group, resource, namespace: namespace.cloned() }).collect::<Vec<_>>()
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
}
