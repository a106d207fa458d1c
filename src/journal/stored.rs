//! A journal as it lies in its ConfigMap, and how it is read: completely, or not at all.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::ConfigMap;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::Entry;
use super::store::name_of;
use crate::error::Error;
use crate::labels::{KIND, RUN};

/// The only format there is.
pub(super) const FORMAT: &str = "1";
pub(super) const KEY_FORMAT: &str = "format";
pub(super) const KEY_PLAN: &str = "plan";
pub(super) const KEY_WRITER: &str = "writer";

/// What a run does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// A backup.
    Backup,
    /// A restore.
    Restore,
}

impl Kind {
    /// The word on the label.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Backup => "backup",
            Self::Restore => "restore",
        }
    }

    fn from_label(label: &str) -> Option<Self> {
        [Self::Backup, Self::Restore].into_iter().find(|k| k.as_str() == label)
    }
}

/// A journal's ConfigMap, not read yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// The namespace.
    pub namespace: String,
    /// The ConfigMap's name.
    pub name: String,
    /// The run.
    pub run: String,
    /// What the run does, if its label is one this version knows.
    pub kind: Option<Kind>,
    /// The ConfigMap's uid.
    pub uid: String,
    /// Its resourceVersion when it was read.
    pub resource_version: String,
    /// When it was created.
    pub created: Option<Timestamp>,
    /// All keys.
    pub data: BTreeMap<String, String>,
    /// There is no such ConfigMap any more: it was rebuilt from the annotations of the backup's contents.
    pub rebuilt: bool,
}

/// A journal that was read.
#[derive(Clone, Debug, PartialEq)]
pub struct Loaded<E> {
    /// The plan's text.
    pub plan: String,
    /// Further named keys.
    pub keys: BTreeMap<String, String>,
    /// All entries, in order.
    pub entries: Vec<Entry<E>>,
}

/// What a journal with this plan, these entries and these keys has in its ConfigMap.
pub fn data<E: Serialize>(
    plan: &impl Serialize,
    entries: &[Entry<E>],
    keys: &[(&str, &impl Serialize)],
) -> BTreeMap<String, String> {
    // Values of ours: writing them as JSON cannot fail.
    let text = |value: serde_json::Result<String>| value.unwrap_or_default();
    let mut data = BTreeMap::from([(KEY_FORMAT.to_owned(), FORMAT.to_owned())]);
    data.insert(KEY_PLAN.to_owned(), text(serde_json::to_string(plan)));
    data.extend(keys.iter().map(|(key, value)| ((*key).to_owned(), text(serde_json::to_string(value)))));
    data.extend(entries.iter().enumerate().map(|(n, entry)| (entry_key(n), text(serde_json::to_string(entry)))));
    data
}

/// An entry's key.
pub(super) fn entry_key(number: usize) -> String {
    format!("e{number:04}")
}

fn entry_number(key: &str) -> Option<usize> {
    let digits = key.strip_prefix('e')?;
    (digits.len() >= 4 && digits.bytes().all(|b| b.is_ascii_digit())).then(|| digits.parse().ok())?
}

/// Whether a named key is free for callers and possible in a ConfigMap.
pub(super) fn key_allowed(key: &str) -> bool {
    let reserved = [KEY_FORMAT, KEY_PLAN, KEY_WRITER].contains(&key) || entry_number(key).is_some();
    let letters = key.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b));
    !reserved && letters && !key.is_empty() && key.len() <= 253
}

impl Stored {
    pub(crate) fn new(object: ConfigMap) -> Self {
        let meta = object.metadata;
        let label = |name: &str| meta.labels.as_ref().and_then(|l| l.get(name)).cloned();
        let name = meta.name.unwrap_or_default();
        let run = label(RUN);
        let run = run.or_else(|| name.strip_prefix("consistent-backup-").map(str::to_owned));
        Self {
            namespace: meta.namespace.unwrap_or_default(),
            run: run.unwrap_or_default(),
            kind: label(KIND).as_deref().and_then(Kind::from_label),
            name,
            uid: meta.uid.unwrap_or_default(),
            resource_version: meta.resource_version.unwrap_or_default(),
            created: meta.creation_timestamp.map(|t| t.0),
            data: object.data.unwrap_or_default(),
            rebuilt: false,
        }
    }

    /// Fails unless it is the journal of this run, and lies where its plan says: another one could speak for a run whose
    /// marks others have put on their objects.
    pub fn is_of(&self, run: &str, namespace: &str) -> Result<(), Error> {
        if run != self.run || self.name != name_of(run) {
            return Err(self.damaged("its plan is of another run than its label and name"));
        }
        if namespace != self.namespace {
            return Err(self.damaged(format!("its plan lies in namespace {namespace:?}")));
        }
        Ok(())
    }

    /// Who wrote last.
    pub(super) fn writer(&self) -> &str {
        self.data.get(KEY_WRITER).map_or("", String::as_str)
    }

    /// How many entries there are, and how much room all keys take.
    pub(super) fn extent(&self) -> (usize, usize) {
        let entries = self.data.keys().filter(|k| entry_number(k).is_some()).count();
        (entries, self.data.iter().map(|(k, v)| k.len() + v.len()).sum())
    }

    fn damaged(&self, what: impl Into<String>) -> Error {
        Error::failed(format!("configmap/{} in {} is damaged", self.name, self.namespace)).cause(what.into())
    }

    /// Reads it. A journal with a gap or an entry that cannot be understood is refused: what it does not say could be
    /// that a database is held.
    pub fn read<E: DeserializeOwned>(&self) -> Result<Loaded<E>, Error> {
        match self.data.get(KEY_FORMAT).map(String::as_str) {
            Some(FORMAT) => {}
            Some(other) => {
                return Err(Error::failed(format!(
                    "configmap/{} in {} has format {other}, which this version cannot read",
                    self.name, self.namespace
                ))
                .hint("use the version of this plugin that wrote it, or a newer one"));
            }
            None => return Err(self.damaged("it has no format")),
        }
        let mut data = self.data.clone();
        data.remove(KEY_FORMAT);
        data.remove(KEY_WRITER);
        let plan = data.remove(KEY_PLAN).ok_or_else(|| self.damaged("it has no plan"))?;
        let (numbered, keys): (BTreeMap<_, _>, BTreeMap<_, _>) =
            data.into_iter().partition(|(key, _)| entry_number(key).is_some());
        let mut texts: Vec<(usize, String)> =
            numbered.into_iter().filter_map(|(key, text)| Some((entry_number(&key)?, text))).collect();
        texts.sort_unstable();
        let mut entries = Vec::with_capacity(texts.len());
        for (expected, (number, text)) in texts.into_iter().enumerate() {
            if number != expected {
                return Err(self.damaged(format!("entry {} is missing", entry_key(expected))));
            }
            let entry = serde_json::from_str(&text)
                .map_err(|e| self.damaged(format!("entry {} cannot be read: {e}", entry_key(number))))?;
            entries.push(entry);
        }
        Ok(Loaded { plan, keys, entries })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stored(pairs: &[(&str, &str)]) -> Stored {
        let data = pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
        let mut object = ConfigMap { data: Some(data.collect()), ..ConfigMap::default() };
        object.metadata.name = Some("consistent-backup-r1".into());
        object.metadata.namespace = Some("shop".into());
        Stored::new(object)
    }

    const ENTRY: &str = r#"{"at":"2026-01-02T03:04:05Z","event":"Aborted"}"#;

    #[test]
    fn entries_come_back_in_order_beside_the_other_keys() {
        let entry = |n: u32| format!(r#"{{"at":"2026-01-02T03:04:05Z","event":{n},"detail":{{"text":"why"}}}}"#);
        let mut journal =
            stored(&[("format", "1"), ("plan", "{}"), ("pods.before", "[]"), ("writer", "x/1"), ("edition", "2")]);
        for n in 0..12_000_u32 {
            journal.data.insert(entry_key(n as usize), entry(n));
        }
        let loaded: Loaded<u32> = journal.read().unwrap();
        assert!(loaded.entries.iter().map(|e| e.event).eq(0..12_000));
        assert_eq!(loaded.entries[0].detail, crate::record::entry::Detail::text("why"));
        assert_eq!(loaded.keys.keys().collect::<Vec<_>>(), ["edition", "pods.before"]);
        assert_eq!(journal.run, "r1");
        assert_eq!(journal.extent().0, 12_000);
    }

    #[test]
    fn damage_is_named() {
        let read = |pairs: &[(&str, &str)]| stored(pairs).read::<String>().unwrap_err().to_string();
        let whole = [("format", "1"), ("plan", "{}"), ("e0000", ENTRY), ("e0001", ENTRY)];
        assert!(stored(&whole).read::<String>().is_ok());
        assert!(read(&whole[1..]).ends_with("it has no format"));
        assert!(read(&[("format", "1")]).ends_with("it has no plan"));
        assert!(read(&[("format", "2"), ("plan", "{}")]).contains("has format 2"));
        assert!(read(&[whole[0], whole[1], whole[3]]).ends_with("entry e0000 is missing"));
        assert!(read(&[whole[0], whole[1], whole[2], ("e0002", ENTRY)]).ends_with("entry e0001 is missing"));
        assert!(read(&[whole[0], whole[1], ("e0000", "{")]).contains("entry e0000 cannot be read"));
    }

    #[test]
    fn callers_keys_cannot_be_taken_for_ours() {
        for key in ["pods.before", "e1", "edition", "e12x45"] {
            assert!(key_allowed(key), "{key}");
        }
        for key in ["", "format", "plan", "writer", "e0000", "e12345", "a/b", "a b"] {
            assert!(!key_allowed(key), "{key}");
        }
    }
}
