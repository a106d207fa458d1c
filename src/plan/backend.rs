//! By what a run copies.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// The way to copy that a plan chose.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "name")]
pub enum Backend {
    /// CSI snapshots of the claims.
    #[default]
    Csi,
    /// No copy: the databases are held for a while, for a recovery to a point in it.
    #[serde(rename_all = "camelCase")]
    Window {
        /// For how long.
        #[serde(with = "super::millis", rename = "holdMillis")]
        hold: Duration,
    },
    /// The user's own command copies while the databases are held.
    Command {
        /// The command with its arguments; run without a shell.
        argv: Vec<String>,
    },
}

impl Backend {
    /// As it is given to `--backend`.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Csi => "csi",
            Self::Window { .. } => "window",
            Self::Command { .. } => "command",
        }
    }
}
