//! What each command asks of the API server: the questions of its preflight and the rows that `rbac` prints. Pure.

use std::collections::BTreeSet;

pub mod backup;
mod command;
#[cfg(test)]
mod tests;

pub use command::Command;

use super::restore::access::{self as restore, Row, Stopped};

/// The API group of the snapshots.
pub const SNAPSHOTS: &str = "snapshot.storage.k8s.io";
/// The cluster-scoped half of a VolumeSnapshot: the row that is worth most to a thief.
pub const CONTENTS: &str = "volumesnapshotcontents";

/// Where a right is needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// The namespaces of the databases.
    Databases,
    /// The namespace of the record: the databases' own, unless `--record-namespace` names another one.
    Record,
    /// Another namespace in which copies are made: `--to-namespace`.
    Elsewhere,
    /// The whole cluster.
    Cluster,
}

/// One verb on one resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Right {
    /// Where.
    pub place: Place,
    /// The API group, empty for the core.
    pub group: &'static str,
    /// The resource, with its subresource: `pods/exec`.
    pub resource: &'static str,
    /// The verb.
    pub verb: &'static str,
}

/// What the rights are for.
#[derive(Clone, Debug, Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is an option of its own")]
pub struct Purpose {
    /// The commands; none means all.
    pub commands: BTreeSet<Command>,
    /// Releases of ScalarDB and ScalarDL are paused.
    pub scalar: bool,
    /// Guard pods are started.
    pub guard: bool,
    /// Workloads are stopped for the cut.
    pub cold: bool,
    /// A VolumeSnapshotClass or a StorageClass has the policy Retain.
    pub retain: bool,
    /// Copies are made in another namespace.
    pub elsewhere: bool,
    /// The record lies in a namespace of its own.
    pub record_apart: bool,
    /// Leave out what only restores and verifications take.
    pub backup_only: bool,
    /// Leave out the cluster-scoped contents.
    pub no_contents: bool,
}

impl Purpose {
    /// Exactly what these commands take.
    pub fn rights(&self) -> BTreeSet<Right> {
        let of = |command: Command| self.of(command);
        let mut rights: BTreeSet<Right> = match (self.commands.is_empty(), self.backup_only) {
            (true, true) => of(Command::QuiesceSnapshot),
            (true, false) => self.of_all(),
            (false, _) => self.commands.iter().flat_map(|command| of(*command)).collect(),
        };
        rights.retain(|right| !(self.no_contents && right.resource == CONTENTS));
        rights
    }

    /// Everything, in roles that serve any namespace: the databases', the record's and that of copies.
    fn of_all(&self) -> BTreeSet<Right> {
        let near = Self { cold: true, retain: true, elsewhere: false, ..self.clone() };
        let far = Self { elsewhere: true, ..near.clone() };
        let merged = |right: Right| match right.place {
            Place::Elsewhere if !self.elsewhere && !self.record_apart => Right { place: Place::Databases, ..right },
            _ => right,
        };
        let both = |command| near.of(command).into_iter().chain(far.of(command));
        let rights = Command::ALL.into_iter().flat_map(both).map(merged);
        rights.filter(|right| self.elsewhere || right.place != Place::Elsewhere).collect()
    }

    fn of(&self, command: Command) -> BTreeSet<Right> {
        match command {
            Command::QuiesceSnapshot => self.backup(),
            Command::RestoreFromSnapshot => self.restore(),
            Command::Verify => self.verify(),
            Command::Thaw => self.thaw(),
            Command::List => self.list(),
            Command::Describe => rows(DESCRIBE).collect(),
            Command::Compare => rows(COMPARE).collect(),
            Command::Delete => self.delete(!self.backup_only),
            // Restores are never pruned.
            Command::Prune => self.list().union(&self.delete(false)).copied().collect(),
            Command::Rbac | Command::Guard => BTreeSet::new(),
        }
    }

    fn backup(&self) -> BTreeSet<Right> {
        let rules = backup::RULES.iter().filter(|rule| match rule.need {
            backup::Need::Pause => self.scalar,
            backup::Need::Guard => self.guard,
            backup::Need::Retained => self.retain,
            _ => true,
        });
        let mut rights: BTreeSet<Right> = rules.flat_map(backup::Rule::rights).collect();
        if self.cold {
            rights.extend(placed(restore::cold(&here(), &kinds())));
        }
        rights
    }

    fn restore(&self) -> BTreeSet<Right> {
        let mut asked = restore::of_restore(&here(), &stopped(), RECORD);
        asked.extend(restore::helper(&here()));
        let places: BTreeSet<String> =
            here().into_iter().chain(there().into_iter().filter(|_| self.elsewhere)).collect();
        asked.extend(restore::copies(&places));
        asked.extend(restore::anew(&places, &kinds()));
        asked.extend(restore::aliases(&places));
        let mut rights: BTreeSet<Right> = placed(asked).chain(rows(RESTORE)).collect();
        if self.scalar {
            rights.extend(rows(PROPERTIES));
        }
        rights
    }

    fn verify(&self) -> BTreeSet<Right> {
        let mut asked = restore::verify(&here(), self.elsewhere.then_some(ELSEWHERE), RECORD);
        if self.elsewhere {
            asked.extend(restore::aliases(&there()));
        }
        let mut rights: BTreeSet<Right> = placed(asked).chain(rows(VERIFY)).collect();
        // Only the copies' volumes of a class that keeps them are changed.
        rights.retain(|right| self.retain || (right.verb, right.resource) != ("patch", "persistentvolumes"));
        rights
    }

    /// What finishes a run: releases, discards and records; of a restore the whole way back. No content is created.
    fn thaw(&self) -> BTreeSet<Right> {
        let mut rights: BTreeSet<Right> = rows(THAW).collect();
        if self.scalar {
            rights.extend(rows(&[PORT_FORWARD]));
        }
        if self.guard {
            rights.extend(rows(&[(Place::Databases, ("", "pods", &["delete"]))]));
        }
        if self.retain {
            rights.extend(rows(&[(Place::Cluster, (SNAPSHOTS, CONTENTS, &["delete"]))]));
        }
        if self.cold {
            rights.extend(placed(restore::cold(&here(), &kinds())));
        }
        if !self.backup_only {
            rights.extend(placed(restore::of_restore(&here(), &stopped(), RECORD)));
            rights.extend(placed(restore::helper(&here())));
        }
        rights
    }

    /// What a verification makes and somebody may have to remove, whatever that is.
    fn made_by_verify(&self) -> BTreeSet<Right> {
        let mut made: BTreeSet<Right> = placed(restore::verify(&here(), None, RECORD)).collect();
        if self.elsewhere {
            made.extend(placed(restore::verify(&here(), Some(ELSEWHERE), RECORD)));
            made.extend(placed(restore::aliases(&there())).filter(|right| right.place == Place::Elsewhere));
        }
        let all = made.clone();
        made.retain(|right| {
            matches!(right.place, Place::Databases | Place::Elsewhere)
                && all.contains(&Right { verb: "delete", ..*right })
                && right.verb != "create"
        });
        made
    }

    fn list(&self) -> BTreeSet<Right> {
        rows(LIST).chain(self.made_by_verify().into_iter().filter(|right| right.verb == "list")).collect()
    }

    fn delete(&self, restores: bool) -> BTreeSet<Right> {
        let mut rights: BTreeSet<Right> = rows(DELETE).chain(self.made_by_verify()).collect();
        if restores {
            rights.extend(rows(DELETE_RESTORE));
        }
        if self.retain {
            rights.extend(rows(&[(Place::Cluster, ("", "persistentvolumes", &["patch"]))]));
        }
        rights
    }
}

/// A row and where it is needed.
type Placed = (Place, Row);

const PORT_FORWARD: Placed = (Place::Databases, ("", "pods/portforward", &["create", "get"]));

/// What `list` reads, with `--orphans`, beside what verifications left.
const LIST: &[Placed] = &[
    (Place::Record, ("", "configmaps", &["get", "list"])),
    (Place::Databases, ("", "persistentvolumeclaims", &["list"])),
    (Place::Databases, ("coordination.k8s.io", "leases", &["get"])),
    (Place::Databases, (SNAPSHOTS, "volumesnapshots", &["list"])),
    (Place::Cluster, (SNAPSHOTS, CONTENTS, &["get", "list"])),
];

const DESCRIBE: &[Placed] = &[
    (Place::Record, ("", "configmaps", &["get"])),
    (Place::Databases, ("coordination.k8s.io", "leases", &["get"])),
    (Place::Databases, (SNAPSHOTS, "volumesnapshots", &["list"])),
    (Place::Cluster, (SNAPSHOTS, CONTENTS, &["get", "list"])),
];

const COMPARE: &[Placed] = &[
    (Place::Record, ("", "configmaps", &["get"])),
    (Place::Databases, (SNAPSHOTS, "volumesnapshots", &["list"])),
    (Place::Cluster, (SNAPSHOTS, CONTENTS, &["get", "list"])),
];

/// What finishing a backup takes.
const THAW: &[Placed] = &[
    // `create` and `delete`: the request to the process that leads a detached run.
    (Place::Record, ("", "configmaps", &["create", "delete", "get", "list", "patch"])),
    (Place::Databases, ("", "pods", &["get", "list"])),
    (Place::Databases, ("", "pods/exec", &["create", "get"])),
    (Place::Databases, ("apps", "replicasets", &["get", "list"])),
    (Place::Databases, ("coordination.k8s.io", "leases", &["create", "delete", "get", "patch"])),
    (Place::Databases, ("events.k8s.io", "events", &["create", "patch"])),
    (Place::Databases, (SNAPSHOTS, "volumesnapshots", &["delete", "get", "list"])),
    (Place::Cluster, ("", "namespaces", &["get"])),
    (Place::Cluster, (SNAPSHOTS, CONTENTS, &["get", "list", "patch"])),
];

/// What deleting a backup takes. A kept content has deletionPolicy Retain, whatever its class says.
const DELETE: &[Placed] = &[
    (Place::Record, ("", "configmaps", &["delete", "get", "list"])),
    (Place::Record, ("coordination.k8s.io", "leases", &["create", "delete", "get", "patch"])),
    (Place::Databases, (SNAPSHOTS, "volumesnapshots", &["delete", "get", "list"])),
    (Place::Cluster, ("", "namespaces", &["get"])),
    (Place::Cluster, ("", "persistentvolumes", &["get"])),
    (Place::Cluster, (SNAPSHOTS, CONTENTS, &["delete", "get", "list", "patch"])),
];

/// The same of a restore, whose old volumes go.
const DELETE_RESTORE: &[Placed] = &[
    (Place::Databases, ("coordination.k8s.io", "leases", &["create", "delete", "get", "patch"])),
    (Place::Cluster, ("", "persistentvolumes", &["get", "patch"])),
];

/// What a restore reads beside that; its plan names what it could not read.
const RESTORE: &[Placed] = &[
    (Place::Databases, ("", "pods/log", &["get"])),
    (Place::Databases, ("", "resourcequotas", &["list"])),
    (Place::Databases, ("apps", "daemonsets", &["get"])),
    (Place::Databases, ("apps", "replicasets", &["list"])),
    (Place::Databases, ("autoscaling", "horizontalpodautoscalers", &["list"])),
    (Place::Databases, ("networking.k8s.io", "networkpolicies", &["list"])),
    (Place::Databases, ("policy", "poddisruptionbudgets", &["list"])),
    (Place::Databases, (SNAPSHOTS, "volumesnapshots", &["list"])),
    (Place::Cluster, ("", "namespaces", &["get"])),
    (Place::Cluster, (SNAPSHOTS, CONTENTS, &["list"])),
    (Place::Cluster, (SNAPSHOTS, "volumesnapshotclasses", &["list"])),
];

/// What setting the properties of a release takes, where they lie in a ConfigMap: asked for by name.
const PROPERTIES: &[Placed] = &[(Place::Databases, ("", "configmaps", &["get", "patch"]))];

/// What a verification reads and marks beside that; it goes on without.
const VERIFY: &[Placed] = &[
    (Place::Record, ("", "configmaps", &["list"])),
    (Place::Databases, ("", "resourcequotas", &["list"])),
    (Place::Databases, ("apps", "daemonsets", &["get"])),
    (Place::Databases, ("apps", "deployments", &["get"])),
    (Place::Databases, ("apps", "replicasets", &["get"])),
    (Place::Databases, ("apps", "statefulsets", &["get"])),
    (Place::Cluster, ("", "namespaces", &["get"])),
    (Place::Cluster, (SNAPSHOTS, CONTENTS, &["get", "list", "patch"])),
    (Place::Cluster, ("storage.k8s.io", "storageclasses", &["get"])),
];

fn rows(of: &[Placed]) -> impl Iterator<Item = Right> {
    of.iter().flat_map(|&(place, (group, resource, verbs))| {
        verbs.iter().map(move |verb| Right { place, group, resource, verb })
    })
}

/// Stand for the namespaces, so that what a preflight asks tells where. No namespace has such a name.
const HERE: &str = "<databases>";
const RECORD: &str = "<record>";
const ELSEWHERE: &str = "<elsewhere>";

fn here() -> BTreeSet<String> {
    BTreeSet::from([HERE.to_owned()])
}

fn there() -> BTreeSet<String> {
    BTreeSet::from([ELSEWHERE.to_owned()])
}

fn kinds() -> BTreeSet<String> {
    restore::WORKLOADS.iter().map(|(kind, _)| (*kind).to_owned()).collect()
}

/// Workloads of every kind.
fn stopped() -> Vec<Stopped<'static>> {
    restore::WORKLOADS.iter().map(|(kind, _)| Stopped { namespace: HERE, kind, front: false }).collect()
}

fn placed(asked: Vec<restore::Access>) -> impl Iterator<Item = Right> {
    asked.into_iter().map(|access| {
        let place = match access.namespace.as_deref() {
            None => Place::Cluster,
            Some(RECORD) => Place::Record,
            Some(ELSEWHERE) => Place::Elsewhere,
            Some(_) => Place::Databases,
        };
        Right { place, group: access.group, resource: access.resource, verb: access.verb }
    })
}
