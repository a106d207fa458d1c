//! What `list` lists: backups, and restores among them.

use serde::Serialize;

use super::backup::Backup;
use super::restore::Restore;
use super::{API_VERSION, Metadata};

/// A run of either kind.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Item {
    /// A backup.
    Backup(Box<Backup>),
    /// A restore.
    Restore(Box<Restore>),
}

/// `kind: BackupList`.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct BackupList {
    api_version: &'static str,
    kind: &'static str,
    /// The runs, oldest first.
    pub items: Vec<Item>,
}

impl BackupList {
    /// A list, oldest first.
    pub fn new(mut items: Vec<Item>) -> Self {
        items.sort_by_key(|item| (item.metadata().creation_timestamp, item.metadata().name.clone()));
        Self { api_version: API_VERSION, kind: "BackupList", items }
    }
}

impl Item {
    /// Id, namespace and age.
    pub fn metadata(&self) -> &Metadata {
        match self {
            Self::Backup(backup) => &backup.metadata,
            Self::Restore(restore) => &restore.metadata,
        }
    }

    /// `Backup` or `Restore`.
    pub fn kind(&self) -> &str {
        match self {
            Self::Backup(backup) => &backup.kind,
            Self::Restore(restore) => &restore.kind,
        }
    }

    /// The outcome's word.
    pub fn outcome(&self) -> &str {
        match self {
            Self::Backup(backup) => &backup.status.outcome,
            Self::Restore(restore) => &restore.status.outcome,
        }
    }

    /// Why it is not better, or empty.
    pub fn reason(&self) -> &str {
        match self {
            Self::Backup(backup) => &backup.status.reason,
            Self::Restore(restore) => &restore.status.reason,
        }
    }

    /// What was asked for.
    pub fn request(&self) -> &str {
        match self {
            Self::Backup(backup) => &backup.spec.request,
            Self::Restore(restore) => &restore.spec.backup,
        }
    }
}
