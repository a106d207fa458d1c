//! What `delete` asks and what it says when it is done: which data goes is named, not only which run.

use serde::Serialize;

use crate::error::Error;
use crate::journal::{Kind, Stored};
use crate::output::{self, Format};
use crate::record::API_VERSION;

/// A run that is deleted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::commands) struct Deleted {
    pub(super) kind: Kind,
    pub(super) run: String,
    pub(super) namespace: String,
    /// The volumes that a restore kept and that go with it.
    pub(super) volumes: Vec<String>,
}

/// One as JSON.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Item<'a> {
    api_version: &'static str,
    kind: &'static str,
    metadata: Metadata<'a>,
    deleted: bool,
    deleted_volumes: &'a [String],
}

#[derive(Serialize)]
struct Metadata<'a> {
    name: &'a str,
    namespace: &'a str,
}

/// Several as JSON: one document, as `list` prints it.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct List<'a> {
    api_version: &'static str,
    kind: &'static str,
    items: Vec<Item<'a>>,
}

impl Deleted {
    /// The run, and the volumes that go with it.
    pub(super) fn new(stored: &Stored, volumes: Vec<String>) -> Self {
        let kind = stored.kind.unwrap_or(Kind::Backup);
        Self { kind, run: stored.run.clone(), namespace: stored.namespace.clone(), volumes }
    }

    /// With all that goes with it, for the question.
    fn with_its_data(&self) -> String {
        match (self.kind, self.volumes.as_slice()) {
            (Kind::Backup, _) => format!("backup {} with the copies of the data", self.run),
            (Kind::Restore, []) => format!("the record of restore {} (no volume goes with it)", self.run),
            (Kind::Restore, volumes) => format!("restore {} with the kept {}", self.run, named(volumes)),
        }
    }

    /// As a line for people.
    pub(in crate::commands) fn line(&self, format: Format) -> String {
        let kind = self.kind.as_str();
        match format {
            Format::Name => output::name(kind, &self.run),
            _ if self.volumes.is_empty() => format!("{kind} \"{}\" deleted", self.run),
            _ => format!("{kind} \"{}\" deleted, with the kept {}", self.run, named(&self.volumes)),
        }
    }

    fn item(&self) -> Item<'_> {
        Item {
            api_version: API_VERSION,
            kind: match self.kind {
                Kind::Backup => "Backup",
                Kind::Restore => "Restore",
            },
            metadata: Metadata { name: &self.run, namespace: &self.namespace },
            deleted: true,
            deleted_volumes: &self.volumes,
        }
    }
}

fn named(volumes: &[String]) -> String {
    format!("volume{} {}", if volumes.len() == 1 { "" } else { "s" }, volumes.join(", "))
}

/// What is asked before anything is deleted.
pub(super) fn question(all: &[Deleted]) -> String {
    let all: Vec<String> = all.iter().map(Deleted::with_its_data).collect();
    format!("delete {}? this cannot be undone", all.join(", and "))
}

/// JSON or YAML of all that was deleted: one document, whatever became of the others that were `asked` for. Nothing in
/// the other formats, which have a line for each.
pub(super) fn document(done: &[Deleted], asked: usize, format: Format) -> Result<Option<String>, Error> {
    let list =
        || List { api_version: API_VERSION, kind: "BackupList", items: done.iter().map(Deleted::item).collect() };
    Ok(match (format, done) {
        (Format::Json, [one]) if asked == 1 => Some(output::json(&one.item())?),
        (Format::Yaml, [one]) if asked == 1 => Some(output::yaml(&one.item())?),
        (Format::Json, _) if asked > 1 => Some(output::json(&list())?),
        (Format::Yaml, _) if asked > 1 => Some(output::yaml(&list())?),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn deleted(kind: Kind, run: &str, volumes: &[&str]) -> Deleted {
        let volumes = volumes.iter().map(|&v| v.to_owned()).collect();
        Deleted { kind, run: run.into(), namespace: "demo".into(), volumes }
    }

    #[test]
    fn the_question_names_the_data_that_goes() {
        let all = [
            deleted(Kind::Backup, "b1", &[]),
            deleted(Kind::Restore, "r1", &["pv-a", "pv-b"]),
            deleted(Kind::Restore, "r2", &[]),
        ];
        assert_eq!(
            question(&all),
            "delete backup b1 with the copies of the data, and restore r1 with the kept volumes pv-a, pv-b, and the record \
             of restore r2 (no volume goes with it)? this cannot be undone"
        );
        assert_eq!(all[1].line(Format::Table), "restore \"r1\" deleted, with the kept volumes pv-a, pv-b");
        assert_eq!(all[0].line(Format::Table), "backup \"b1\" deleted");
        assert_eq!(all[0].line(Format::Name), "backup/b1");
    }

    #[test]
    fn several_are_one_document() {
        let all = [deleted(Kind::Backup, "b1", &[]), deleted(Kind::Restore, "r1", &["pv-a"])];
        let read = |done: &[Deleted], asked| {
            let text = document(done, asked, Format::Json).unwrap()?;
            Some(serde_json::from_str::<serde_json::Value>(&text).unwrap())
        };
        let list = read(&all, 2).unwrap();
        assert_eq!((&list["apiVersion"], &list["kind"]), (&"consistent-backup/v1".into(), &"BackupList".into()));
        assert_eq!(list["items"][1]["kind"], "Restore");
        assert_eq!(list["items"][1]["deletedVolumes"][0], "pv-a");
        assert_eq!(read(&all[..1], 2).unwrap()["items"].as_array().unwrap().len(), 1, "a list, though one failed");
        assert_eq!(read(&all[..1], 1).unwrap()["metadata"]["name"], "b1");
        assert_eq!(read(&[], 1), None);
        let yaml = document(&all, 2, Format::Yaml).unwrap().unwrap();
        assert_eq!(serde_saphyr::from_str::<serde_json::Value>(&yaml).unwrap(), list);
    }
}
