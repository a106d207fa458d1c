//! A run as it is typed: its id, or `backup/ID` and `restore/ID`, as `-o name` prints them.

use std::fmt;

use crate::error::Error;
use crate::journal::{Kind, Stored};

/// What the user names a run by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunName {
    /// What it must be, if that was typed.
    pub kind: Option<Kind>,
    /// Its id.
    pub id: String,
}

impl RunName {
    /// Reads it.
    pub fn new(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is no run, which is RUN, backup/RUN or restore/RUN");
        let (kind, id) = match text.split_once('/') {
            None => (None, text),
            Some(("backup", id)) => (Some(Kind::Backup), id),
            Some(("restore", id)) => (Some(Kind::Restore), id),
            Some(_) => return Err(wrong()),
        };
        if id.is_empty() || id.contains('/') {
            return Err(wrong());
        }
        Ok(Self { kind, id: id.to_owned() })
    }

    /// Refuses a run of another kind than was typed: to delete a restore for a backup would delete other data.
    pub fn fits(&self, stored: &Stored) -> Result<(), Error> {
        match (self.kind, stored.kind) {
            (Some(typed), Some(found)) if typed != found => {
                Err(Error::refused(format!("run {} is a {}, not a {}", self.id, found.as_str(), typed.as_str())))
            }
            _ => Ok(()),
        }
    }
}

impl fmt::Display for RunName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_printed_by_name_is_taken_again() {
        let read = |text: &str| RunName::new(text).map(|name| (name.kind, name.id));
        assert_eq!(read("20261120-101500-x7k2"), Ok((None, "20261120-101500-x7k2".into())));
        assert_eq!(read("backup/r1"), Ok((Some(Kind::Backup), "r1".into())));
        assert_eq!(read("restore/r1"), Ok((Some(Kind::Restore), "r1".into())));
        for wrong in ["", "backup/", "pod/r1", "backup/r1/x", "/r1"] {
            assert!(read(wrong).unwrap_err().contains("backup/RUN or restore/RUN"), "{wrong}");
        }
    }
}
