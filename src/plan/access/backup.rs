//! What a backup takes, and what of it a request cannot do without.

use std::collections::BTreeSet;

use super::{CONTENTS, Place, Right, SNAPSHOTS};
use crate::plan::{Backend, Kind, Request};

/// What may be done with one kind of object, and what for.
#[derive(Debug)]
pub struct Rule {
    group: &'static str,
    resource: &'static str,
    verbs: &'static [&'static str],
    place: Place,
    /// What for.
    pub need: Need,
}

/// What a rule is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// No backup without it.
    Backup,
    /// No backup without it that makes copies of claims.
    Copy,
    /// No backup without it whose databases are held by commands in their pods.
    Command,
    /// No pause of a release without it.
    Pause,
    /// No guard pod without it.
    Guard,
    /// A backup without it knows or keeps less, and says so.
    Useful,
    /// The same where a class has deletionPolicy Retain. With Delete the snapshot-controller deletes the content together
    /// with its VolumeSnapshot, so nobody else needs the right to.
    Retained,
    /// A backup without it is the same; no preflight asks for it.
    Unasked,
}

/// An exec is a GET that is upgraded to a WebSocket, so it needs `get`; from Kubernetes 1.35 `create` is asked as well.
pub const RULES: &[Rule] = &[
    rule("", "pods", &["get", "list"], Place::Databases, Need::Backup),
    rule("", "pods/exec", &["get", "create"], Place::Databases, Need::Command),
    rule("", "configmaps", &["create", "get", "list", "patch"], Place::Record, Need::Backup),
    // Those that a workload uses are recorded with it.
    rule("", "configmaps", &["get"], Place::Databases, Need::Useful),
    rule("coordination.k8s.io", "leases", &["create", "get", "patch", "delete"], Place::Databases, Need::Backup),
    rule("", "persistentvolumeclaims", &["list"], Place::Databases, Need::Copy),
    rule(SNAPSHOTS, "volumesnapshots", &["create", "get", "list", "delete"], Place::Databases, Need::Copy),
    rule("apps", "statefulsets", &["get"], Place::Databases, Need::Useful),
    rule("apps", "deployments", &["get"], Place::Databases, Need::Useful),
    rule("apps", "daemonsets", &["get"], Place::Databases, Need::Useful),
    rule("apps", "replicasets", &["get", "list"], Place::Databases, Need::Useful),
    rule("", "services", &["list"], Place::Databases, Need::Useful),
    rule("events.k8s.io", "events", &["create", "patch"], Place::Databases, Need::Unasked),
    rule("", "namespaces", &["get"], Place::Cluster, Need::Useful),
    rule("", "persistentvolumes", &["get"], Place::Cluster, Need::Copy),
    rule(SNAPSHOTS, "volumesnapshotclasses", &["list"], Place::Cluster, Need::Copy),
    rule(SNAPSHOTS, CONTENTS, &["get", "list", "watch", "patch"], Place::Cluster, Need::Useful),
    rule(SNAPSHOTS, CONTENTS, &["delete"], Place::Cluster, Need::Retained),
    rule("", "pods", &["get", "list"], Place::Databases, Need::Pause),
    rule("", "pods/portforward", &["get", "create"], Place::Databases, Need::Pause),
    rule("apps", "deployments", &["list"], Place::Databases, Need::Pause),
    rule("", "services", &["list"], Place::Databases, Need::Pause),
    rule("coordination.k8s.io", "leases", &["create", "get", "patch", "delete"], Place::Databases, Need::Pause),
    rule("", "pods", &["create", "delete"], Place::Databases, Need::Guard),
];

const fn rule(
    group: &'static str,
    resource: &'static str,
    verbs: &'static [&'static str],
    place: Place,
    need: Need,
) -> Rule {
    Rule { group, resource, verbs, place, need }
}

impl Rule {
    /// One for each verb.
    pub fn rights(&self) -> impl Iterator<Item = Right> {
        let &Self { group, resource, place, .. } = self;
        self.verbs.iter().map(move |verb| Right { place, group, resource, verb })
    }
}

/// What a preflight asks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Questions {
    /// The rights that it requires.
    pub required: BTreeSet<Right>,
    /// All of it.
    pub asked: BTreeSet<Right>,
}

impl Questions {
    /// Those of a backup.
    pub fn of_backup(request: &Request) -> Self {
        let kinds: BTreeSet<Kind> = request.objects.iter().map(|o| o.kind).collect();
        let mut questions = Self::default();
        for rule in RULES {
            let required = match rule.need {
                Need::Backup => true,
                Need::Copy => request.backend == Backend::Csi,
                Need::Command => !request.objects.is_empty() || request.selector.is_some(),
                Need::Useful => rule.names(&kinds),
                Need::Pause | Need::Guard | Need::Retained | Need::Unasked => false,
            };
            if required || rule.need == Need::Useful {
                questions.asked.extend(rule.rights());
            }
            if required {
                questions.required.extend(rule.rights());
            }
        }
        questions
    }

    /// Those in a namespace whose releases are paused, with or without a guard pod.
    pub fn of_pause(guard: bool) -> Self {
        let used = RULES.iter().filter(|rule| rule.need == Need::Pause || (guard && rule.need == Need::Guard));
        let required: BTreeSet<Right> = used.flat_map(Rule::rights).collect();
        Self { asked: required.clone(), required }
    }

    /// What a class with deletionPolicy Retain takes beside that.
    pub fn of_retained() -> Self {
        let used = RULES.iter().filter(|rule| rule.need == Need::Retained);
        Self { asked: used.flat_map(Rule::rights).collect(), required: BTreeSet::new() }
    }
}

impl Rule {
    /// Whether objects of these types are read by it. The pods of a Deployment are found through its ReplicaSets.
    fn names(&self, kinds: &BTreeSet<Kind>) -> bool {
        let named = |kind: &Kind| {
            kind.plural() == self.resource || (*kind == Kind::Deployment && self.resource == Kind::ReplicaSet.plural())
        };
        self.group == "apps" && kinds.iter().any(named)
    }
}
