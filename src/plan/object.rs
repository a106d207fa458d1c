//! `TYPE/NAME` as kubectl takes it, for the types whose pods can be backed up.

use std::fmt;

use crate::error::Error;

/// The types that own pods, and the pod itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// `statefulset`, `sts`.
    StatefulSet,
    /// `deployment`, `deploy`.
    Deployment,
    /// `daemonset`, `ds`.
    DaemonSet,
    /// `replicaset`, `rs`.
    ReplicaSet,
    /// `pod`, `po`.
    Pod,
}

impl Kind {
    const ALL: [Self; 5] = [Self::StatefulSet, Self::Deployment, Self::DaemonSet, Self::ReplicaSet, Self::Pod];

    /// `StatefulSet`, as it stands in `kind:`.
    pub fn name(self) -> &'static str {
        match self {
            Self::StatefulSet => "StatefulSet",
            Self::Deployment => "Deployment",
            Self::DaemonSet => "DaemonSet",
            Self::ReplicaSet => "ReplicaSet",
            Self::Pod => "Pod",
        }
    }

    /// `statefulset`, as kubectl prints it in `statefulset/NAME`.
    pub fn word(self) -> &'static str {
        match self {
            Self::StatefulSet => "statefulset",
            Self::Deployment => "deployment",
            Self::DaemonSet => "daemonset",
            Self::ReplicaSet => "replicaset",
            Self::Pod => "pod",
        }
    }

    /// The resource's name in access rules.
    pub fn plural(self) -> &'static str {
        match self {
            Self::StatefulSet => "statefulsets",
            Self::Deployment => "deployments",
            Self::DaemonSet => "daemonsets",
            Self::ReplicaSet => "replicasets",
            Self::Pod => "pods",
        }
    }

    /// The API group; the core group is the empty text.
    pub fn group(self) -> &'static str {
        if self == Self::Pod { "" } else { "apps" }
    }

    fn short(self) -> &'static str {
        match self {
            Self::StatefulSet => "sts",
            Self::Deployment => "deploy",
            Self::DaemonSet => "ds",
            Self::ReplicaSet => "rs",
            Self::Pod => "po",
        }
    }

    /// Reads `statefulset`, `StatefulSets`, `sts`, `statefulset.apps`, `statefulset.v1.apps`.
    pub fn read(text: &str) -> Option<Self> {
        let text = text.to_ascii_lowercase();
        let (name, group) = text.split_once('.').unwrap_or((&text, ""));
        Self::ALL.into_iter().find(|kind| {
            let named = [kind.word(), kind.plural(), kind.short()].contains(&name);
            let qualified = match kind.group() {
                "" => ["", "v1", "v1."].contains(&group),
                of => group.is_empty() || group == of || group == format!("v1.{of}"),
            };
            named && qualified
        })
    }

    /// Whether a controller of this `kind:` is one of these.
    pub fn of_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }
}

/// One object of the request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Object {
    /// Its type.
    pub kind: Kind,
    /// Its name.
    pub name: String,
    /// As the user typed it: for messages.
    pub typed: String,
}

impl fmt::Display for Object {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.kind.word(), self.name)
    }
}

impl Object {
    /// Reads `TYPE/NAME`.
    pub fn read(typed: &str) -> Result<Self, Error> {
        let known = "types are pod, statefulset, deployment, daemonset and replicaset";
        let Some((kind, name)) = typed.split_once('/') else {
            return Err(Error::usage(format!("`{typed}` has no type")).hint(format!(
                "write TYPE/NAME, such as statefulset/{typed}, or select pods with -l SELECTOR; {known}"
            )));
        };
        if kind.is_empty() || name.is_empty() || name.contains('/') || kind.contains(',') {
            return Err(Error::usage(format!("`{typed}` is not one type and one name"))
                .hint("write TYPE/NAME, such as statefulset/postgres"));
        }
        let Some(kind) = Kind::read(kind) else {
            return Err(Error::usage(format!("`{typed}` is of a type whose pods are not known"))
                .hint(format!("{known}; pods of anything else can be selected with -l")));
        };
        Ok(Self { kind, name: name.into(), typed: typed.into() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_are_read_as_kubectl_reads_them() {
        for (typed, kind, text) in [
            ("statefulset/db", Kind::StatefulSet, "statefulset/db"),
            ("statefulsets/db", Kind::StatefulSet, "statefulset/db"),
            ("StatefulSet/db", Kind::StatefulSet, "statefulset/db"),
            ("sts/db", Kind::StatefulSet, "statefulset/db"),
            ("statefulset.apps/db", Kind::StatefulSet, "statefulset/db"),
            ("statefulsets.v1.apps/db", Kind::StatefulSet, "statefulset/db"),
            ("deploy/db", Kind::Deployment, "deployment/db"),
            ("deployments/db", Kind::Deployment, "deployment/db"),
            ("ds/db", Kind::DaemonSet, "daemonset/db"),
            ("rs/db", Kind::ReplicaSet, "replicaset/db"),
            ("po/db-0", Kind::Pod, "pod/db-0"),
            ("pods/db-0", Kind::Pod, "pod/db-0"),
            ("pods.v1./db-0", Kind::Pod, "pod/db-0"),
        ] {
            let object = Object::read(typed).unwrap();
            assert_eq!((object.kind, object.to_string()), (kind, text.into()), "{typed}");
        }
    }

    #[test]
    fn everything_else_is_a_usage_error() {
        for (typed, message) in [
            ("db", "`db` has no type"),
            ("/db", "`/db` is not one type and one name"),
            ("sts/", "`sts/` is not one type and one name"),
            ("sts/a/b", "`sts/a/b` is not one type and one name"),
            ("sts,deploy/a", "`sts,deploy/a` is not one type and one name"),
            ("job/a", "`job/a` is of a type whose pods are not known"),
            ("pod.apps/a", "`pod.apps/a` is of a type whose pods are not known"),
            ("statefulset.example.com/a", "`statefulset.example.com/a` is of a type whose pods are not known"),
        ] {
            let error = Object::read(typed).unwrap_err();
            assert_eq!(error.message, message);
            assert_eq!(error.hints.len(), 1);
        }
    }
}
