//! What the user asked for, valid by construction.

use std::time::Duration;

use super::{Kind, Object, Target};
use crate::error::Error;
use crate::pods::Match;

/// A request for a backup.
#[derive(Clone, Debug)]
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
    /// How long databases may be held.
    pub budget: Duration,
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
            None if objects.is_empty() => {
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
            budget: Duration::from_secs(30),
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
        asked.or(targets.first().map(|t| &t.namespace)).unwrap_or(&self.namespace).clone()
    }

    /// As typed: for messages and the record.
    pub fn text(&self) -> String {
        if let Some(selector) = &self.selector {
            return format!("-l {selector}");
        }
        let typed: Vec<&str> = self.objects.iter().map(|o| o.typed.as_str()).collect();
        typed.join(" ")
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
