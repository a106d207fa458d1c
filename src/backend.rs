//! Ways to copy a claim: one file each below `backend/`. The rule of proof belongs to the backend.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

pub mod command;
pub mod csi;
pub mod window;

/// What proves a claim's cut, and what a restore needs to find the copy again. Stands in the journal.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Proof {
    /// The VolumeSnapshot's name; its namespace is the claim's.
    pub snapshot: String,
    /// The VolumeSnapshot's uid: only this object's cut counts.
    pub uid: String,
    /// The VolumeSnapshotContent's name.
    pub content: String,
    /// The storage's own name of the copy.
    pub handle: String,
    /// When the driver says that it cut; its clock, not ours.
    pub cut_at: Option<Timestamp>,
    /// The smallest claim that can take it, in bytes.
    pub restore_size: Option<i64>,
}

/// The user's own command, once it has ended.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Ran {
    /// Its exit code; nothing where a signal ended it.
    pub exit_code: Option<i32>,
    /// The end of what it wrote, standard output and error as they came.
    pub output: String,
    /// Whether it was ended because the databases were released.
    pub killed: bool,
}

impl Ran {
    /// How it ended, in words.
    pub fn told(&self) -> String {
        let how = match (self.killed, self.exit_code) {
            (true, _) => "was ended: the databases are released".to_owned(),
            (false, Some(code)) => format!("ended with exit code {code}"),
            (false, None) => "was ended by a signal".to_owned(),
        };
        match self.output.trim_end().lines().last() {
            Some(last) if self.exit_code != Some(0) => format!("the command {how}: {last}"),
            _ => format!("the command {how}"),
        }
    }
}

/// What happened to one claim while cutting; told the moment it is seen.
#[derive(Clone, Debug)]
pub enum Seen {
    /// The cut is proved.
    Cut {
        /// Index of the claim in the plan.
        claim: usize,
        /// By what.
        proof: Proof,
    },
    /// The cut has failed: an error stood for longer than the patience, or the request was refused.
    Failed {
        /// Index of the claim in the plan.
        claim: usize,
        /// The storage's or the API server's words.
        why: String,
    },
}

/// What became of one snapshot that was to be removed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Discard {
    /// No VolumeSnapshot, no content: the storage has removed it.
    Gone,
    /// Still there when the time was over; the text says what and why.
    Pending(String),
}
