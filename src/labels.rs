//! The names of labels and annotations on everything that a run makes: by them it is found again.

/// The label that every object of this program bears.
pub const MANAGED_BY: (&str, &str) = ("app.kubernetes.io/managed-by", "consistent-backup");
/// The label with the run's id.
pub const RUN: &str = "consistent-backup/run";
/// The label with what the run does, on its journal.
pub const KIND: &str = "consistent-backup/kind";
/// The label of an object that is only made to see who takes notice of it.
pub const PROBE: (&str, &str) = ("consistent-backup/probe", "true");
/// The label with the attempt.
pub const ATTEMPT: &str = "consistent-backup/attempt";
/// The annotation with the claim's name: a label could be too short for it.
pub const CLAIM: &str = "consistent-backup/claim";
/// The annotation with the claim's namespace, on contents, which have none.
pub const NAMESPACE: &str = "consistent-backup/namespace";
/// The annotation with the recovery points of the run's targets, on contents.
pub const RECOVERY_POINT: &str = "consistent-backup/recovery-point";
/// The annotation with the outcome, on contents.
pub const OUTCOME: &str = "consistent-backup/outcome";
/// The annotation with the middle of the window, on contents.
pub const WINDOW: &str = "consistent-backup/window-middle";
/// The annotation that changes when a content in deletion is touched.
pub const TOUCHED: &str = "consistent-backup/touched";
