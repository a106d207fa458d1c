//! What the user asked for, valid by construction.

use std::time::Duration;

use super::{Backend, Database, Kind, Object, Target};
use crate::error::Error;
use crate::pods::Match;

/// How long a server waits for outstanding requests by itself (scalar-admin 2.2: 30 s in most products).
pub const DRAIN: Duration = Duration::from_secs(30);

/// `NAME` or `NAMESPACE/NAME` of a Helm release.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReleaseName {
    /// The namespace, if it was given.
    pub namespace: Option<String>,
    /// The release's name.
    pub name: String,
}

impl ReleaseName {
    /// Reads it as typed.
    pub fn new(typed: &str) -> Result<Self, String> {
        let (namespace, name) = match typed.split_once('/') {
            Some((namespace, name)) => (Some(namespace), name),
            None => (None, typed),
        };
        // They go into a label selector as they are.
        let valid = |text: &str| {
            !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_'))
        };
        if !valid(name) || !namespace.is_none_or(valid) {
            return Err(format!("`{typed}` is no release, which is NAME or NAMESPACE/NAME"));
        }
        Ok(Self { namespace: namespace.map(Into::into), name: name.into() })
    }
}

/// How admin ports are encrypted, as far as the user says it; else the pods' own probes tell.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Encryption {
    /// They are, whatever the pods tell.
    pub on: bool,
    /// The CA's certificates, PEM.
    pub ca: Option<String>,
    /// The Secret with them, and its key.
    pub secret: Option<(String, String)>,
    /// The name that the certificates are for.
    pub authority: Option<String>,
}

/// A request for a backup.
#[derive(Clone, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of its own")]
pub struct Request {
    /// The namespace.
    pub namespace: String,
    /// Workloads and pods, each once.
    pub objects: Vec<Object>,
    /// A label selector instead.
    pub selector: Option<String>,
    /// `--snapshot-class`.
    pub snapshot_class: Option<String>,
    /// Where the record lies, if not beside the first target.
    pub record_namespace: Option<String>,
    /// Claims that are not cut: `--exclude-claim`.
    pub exclude: Vec<String>,
    /// Releases of ScalarDB and ScalarDL whose pods are paused.
    pub releases: Vec<ReleaseName>,
    /// How their admin ports are encrypted, as far as the user says it.
    pub tls: Encryption,
    /// How long a server may wait for outstanding requests before it is paused.
    pub drain: Duration,
    /// The image of the pod that unpauses at the budget: this program is its entrypoint.
    pub guard_image: Option<String>,
    /// The Secret by which that image is pulled, in the releases' namespaces.
    pub guard_pull_secret: Option<String>,
    /// It is held until `thaw` asks for the release.
    pub detached: bool,
    /// Databases behind the releases that the user named.
    pub databases: Vec<Database>,
    /// By what is copied.
    pub backend: Backend,
    /// How long databases may be held.
    pub budget: Duration,
    /// Whether the user chose that; else the time that a pause may take is added.
    pub budget_chosen: bool,
    /// Passes at most.
    pub attempts: u8,
    /// By what the two pod tables are compared.
    pub pods_must_match: Match,
    /// How long an error may stand on a content.
    pub cut_error_patience: Duration,
    /// Workloads are stopped for the cut instead of databases held.
    pub cold: bool,
    /// What is stopped may be managed by something that is not built in.
    pub force_owner: bool,
    /// Nothing may be written, not even the probe that looks for a snapshot-controller.
    pub dry_run: bool,
}

impl Request {
    /// A request for these objects, or for the pods of a selector; everything else as it is by default.
    pub fn new(namespace: impl Into<String>, typed: &[String], selector: Option<String>) -> Result<Self, Error> {
        Self::with(namespace, typed, selector, Vec::new())
    }

    /// The same with releases beside them, or alone.
    pub fn with(
        namespace: impl Into<String>,
        typed: &[String],
        selector: Option<String>,
        releases: Vec<ReleaseName>,
    ) -> Result<Self, Error> {
        let mut objects: Vec<Object> = Vec::new();
        for (n, text) in typed.iter().enumerate() {
            // kubectl takes `sts redis` too: who is used to that is told the form in which it is taken here.
            if let Some(name) = typed.get(n + 1).filter(|name| Kind::read(text).is_some() && !name.contains('/')) {
                return Err(
                    Error::usage(format!("`{text}` has no name")).hint(format!("write {text}/{name}, as one word"))
                );
            }
            let object = Object::read(text)?;
            if !objects.iter().any(|o| o.to_string() == object.to_string()) {
                objects.push(object);
            }
        }
        match &selector {
            Some(_) if !objects.is_empty() => {
                return Err(Error::usage("a selector cannot be given together with TYPE/NAME"));
            }
            // kubectl takes an empty selector for "everything", which nobody wants to hold by mistake.
            Some(text) if text.trim().is_empty() => {
                return Err(Error::usage("the selector is empty"));
            }
            None if objects.is_empty() && releases.is_empty() => {
                return Err(Error::usage("nothing was named that could be backed up")
                    .hint("write TYPE/NAME, such as statefulset/postgres, or select pods with -l"));
            }
            _ => {}
        }
        Ok(Self {
            namespace: namespace.into(),
            objects,
            selector,
            snapshot_class: None,
            record_namespace: None,
            exclude: Vec::new(),
            releases,
            tls: Encryption::default(),
            drain: DRAIN,
            detached: false,
            guard_image: None,
            guard_pull_secret: None,
            databases: Vec::new(),
            backend: Backend::Csi,
            budget: Duration::from_secs(30),
            budget_chosen: false,
            attempts: 3,
            pods_must_match: Match::State,
            cut_error_patience: Duration::from_secs(5),
            cold: false,
            force_owner: false,
            dry_run: false,
        })
    }

    /// Where the record of these targets lies.
    pub(super) fn record_in(&self, targets: &[Target]) -> String {
        let asked = self.record_namespace.as_ref();
        // Where the user looks first, if anything of it is there.
        let own = targets.iter().map(|t| &t.namespace).find(|namespace| **namespace == self.namespace);
        asked.or(own).or(targets.first().map(|t| &t.namespace)).unwrap_or(&self.namespace).clone()
    }

    /// As typed: for messages and the record.
    pub fn text(&self) -> String {
        let selector = self.selector.iter().map(|selector| format!("-l {selector}"));
        let objects = self.objects.iter().map(|o| o.typed.clone());
        let releases = self.releases.iter().map(|r| match &r.namespace {
            Some(namespace) => format!("--release {namespace}/{}", r.name),
            None => format!("--release {}", r.name),
        });
        selector.chain(objects).chain(releases).collect::<Vec<_>>().join(" ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(typed: &[&str], selector: Option<&str>) -> Result<Request, String> {
        let typed: Vec<String> = typed.iter().map(|&t| t.into()).collect();
        Request::new("demo", &typed, selector.map(Into::into)).map_err(|e| e.message)
    }

    #[test]
    fn the_same_object_twice_is_one() {
        let request = request(&["sts/db", "statefulset/db", "pod/x"], None).unwrap();
        let objects: Vec<String> = request.objects.iter().map(ToString::to_string).collect();
        assert_eq!(objects, ["statefulset/db", "pod/x"]);
        assert_eq!(request.text(), "sts/db pod/x");
    }

    #[test]
    fn a_type_and_a_name_apart_are_joined_in_the_hint() {
        let hint = |typed: &[&str]| {
            let typed: Vec<String> = typed.iter().map(|&t| t.into()).collect();
            Request::new("demo", &typed, None).unwrap_err().hints.join("")
        };
        assert_eq!(hint(&["sts", "redis"]), "write sts/redis, as one word");
        assert_eq!(hint(&["pod/x", "statefulset", "redis"]), "write statefulset/redis, as one word");
        assert!(hint(&["redis", "sts/x"]).contains("statefulset/redis"));
        assert!(hint(&["redis"]).contains("-l SELECTOR"));
    }

    #[test]
    fn objects_or_a_selector_but_not_both_or_none() {
        assert_eq!(request(&[], Some("app=db")).unwrap().text(), "-l app=db");
        for (typed, selector, message) in [
            (&["sts/db"][..], Some("a=b"), "a selector cannot be given together with TYPE/NAME"),
            (&[], Some(" "), "the selector is empty"),
            (&[], None, "nothing was named that could be backed up"),
            (&["db"], None, "`db` has no type"),
        ] {
            assert_eq!(request(typed, selector).unwrap_err(), message);
        }
    }
}
