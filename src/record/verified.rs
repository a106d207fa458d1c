//! `status.verified` of a backup: what came of starting its databases from copies.
//!
//! It is no part of the fold: a verification may come weeks later and be repeated; the last one counts.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::instant;

/// The key of the run's journal that it lies in.
pub const KEY: &str = "verified";

/// The last verification that came to a verdict.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Verified {
    /// When it ended, by the API server's clock.
    #[serde(with = "instant")]
    pub at: Timestamp,
    /// Whether every database of it is well.
    pub ok: bool,
    /// The databases.
    pub targets: Vec<TargetVerified>,
    /// The user's own questions.
    #[serde(default)]
    pub queries: Vec<Query>,
}

/// One database.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TargetVerified {
    /// The namespace.
    pub namespace: String,
    /// The pod that was backed up.
    pub pod: String,
    /// The container.
    pub container: String,
    /// Whether it started, recovered, is the backed-up one, and no check failed.
    pub ok: bool,
    /// Why not, or empty.
    pub reason: String,
    /// Each check.
    pub checks: Vec<CheckResult>,
    /// From making the claims to the last answer.
    pub seconds: f64,
}

/// One check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CheckResult {
    /// Its name.
    pub name: String,
    /// `passed`, `failed`, `not available` or `unknown`.
    pub outcome: String,
    /// What it said, capped.
    pub output: String,
}

/// One command of the user's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Query {
    /// The namespace.
    pub namespace: String,
    /// The pod that was backed up.
    pub pod: String,
    /// As it was typed.
    pub command: String,
    /// Its exit code; null when it did not come.
    pub exit_code: Option<i32>,
    /// What it printed, capped.
    pub output: String,
}

impl TargetVerified {
    /// `NAMESPACE/POD/CONTAINER`.
    pub fn path(&self) -> String {
        format!("{}/{}/{}", self.namespace, self.pod, self.container)
    }
}

impl Verified {
    /// The same without what checks and questions printed, where there is little room.
    #[must_use]
    pub fn brief(&self) -> Self {
        let mut brief = Self { queries: Vec::new(), ..self.clone() };
        for check in brief.targets.iter_mut().flat_map(|target| &mut target.checks) {
            check.output.clear();
        }
        brief
    }

    /// The databases that are not well, with the checks that say so.
    pub fn bad(&self) -> Vec<String> {
        let bad = self.targets.iter().filter(|target| !target.ok);
        let named = |target: &TargetVerified| {
            let failed: Vec<&str> =
                target.checks.iter().filter(|c| c.outcome == "failed").map(|c| c.name.as_str()).collect();
            let why = if failed.is_empty() { target.reason.clone() } else { failed.join(", ") };
            format!("{} ({why})", target.path())
        };
        bad.map(named).collect()
    }
}
