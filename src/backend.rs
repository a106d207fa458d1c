//! Ways to copy a claim: one file each below `backend/`. The rule of proof belongs to the backend.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

pub mod csi;

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
