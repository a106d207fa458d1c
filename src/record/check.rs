//! What a record may say. Records lie in ConfigMaps, and whoever may write those may write anything there. So what is read
//! is checked before anything else looks at it: names that are no names, uids that are empty (the API server takes such a
//! one for "any"), numbers that no run has, indices without an object. Pure.

use super::backup::Damaged;
use crate::names::{is_name, is_namespace};
use crate::plan::Kind;

mod backup;
mod restore;

pub use backup::backup;
pub use restore::{restore, volume};

/// The longest time that a run may hold, wait or be patient: a day. With more, a process that finishes the run would
/// wait for ever for a pod that does not answer.
const LONGEST: std::time::Duration = std::time::Duration::from_secs(24 * 3600);

/// As many targets, other objects and attempts a plan has at most. Each costs requests, and whoever finishes runs must not be
/// kept from the next one.
const TARGETS: usize = 500;
const OBJECTS: usize = 5000;
const ATTEMPTS: usize = 20;

/// Whether this is the uid of an object.
fn is_uid(text: &str) -> bool {
    (1..=64).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
}

/// Whether this is one line: no control characters.
fn is_line(text: &str) -> bool {
    !text.chars().any(char::is_control)
}

/// Whether this can be a Quantity, such as `1Gi`.
fn is_quantity(text: &str) -> bool {
    text.len() <= 32 && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'+' | b'-'))
}

/// One thing that is looked at, for messages.
struct Looked<'a>(&'a str);

impl Looked<'_> {
    fn wrong(&self, field: &str, text: &str) -> Damaged {
        // As Rust writes it: control characters are shown, not sent.
        let short: String = text.chars().take(80).collect();
        Damaged(format!("{} has an impossible {field}: {short:?}", self.0))
    }

    fn when(&self, fine: bool, field: &str, text: &str) -> Result<(), Damaged> {
        if fine { Ok(()) } else { Err(self.wrong(field, text)) }
    }

    fn namespace(&self, text: &str) -> Result<(), Damaged> {
        self.when(is_namespace(text), "namespace", text)
    }

    fn name(&self, text: &str) -> Result<(), Damaged> {
        self.named("name", text)
    }

    fn named(&self, field: &str, text: &str) -> Result<(), Damaged> {
        self.when(is_name(text), field, text)
    }

    fn uid(&self, text: &str) -> Result<(), Damaged> {
        self.when(is_uid(text), "uid", text)
    }

    fn kind(&self, text: &str) -> Result<(), Damaged> {
        self.when(Kind::of_name(text).is_some(), "kind", text)
    }

    fn line(&self, field: &str, text: &str) -> Result<(), Damaged> {
        self.when(is_line(text), field, text)
    }

    fn policy(&self, text: &str) -> Result<(), Damaged> {
        self.when(matches!(text, "Retain" | "Delete" | "Recycle"), "policy", text)
    }

    fn time(&self, field: &str, time: std::time::Duration) -> Result<(), Damaged> {
        self.when(time <= LONGEST, field, &format!("{} s", time.as_secs()))
    }

    fn count(&self, field: &str, count: usize, most: usize) -> Result<(), Damaged> {
        self.when(count <= most, &format!("number of {field}"), &count.to_string())
    }

    fn index(&self, field: &str, index: usize, of: usize) -> Result<(), Damaged> {
        self.when(index < of, field, &index.to_string())
    }
}
