//! The names of labels and annotations on everything that a run makes: by them it is found again.

/// The label that every object of this program bears.
pub const MANAGED_BY: (&str, &str) = ("app.kubernetes.io/managed-by", "consistent-backup");
/// The label with the run's id.
pub const RUN: &str = "consistent-backup/run";
/// The annotation on a Lease with the runs whose records may act in its namespace.
pub const RECORDS: &str = "consistent-backup/records";
/// The label with what the run does, on its journal.
pub const KIND: &str = "consistent-backup/kind";
/// The label of an object that is only made to see who takes notice of it.
pub const PROBE: (&str, &str) = ("consistent-backup/probe", "true");
/// The label with the attempt.
pub const ATTEMPT: &str = "consistent-backup/attempt";
/// The label with the backup's id on everything that a verification makes: it is never there to stay.
pub const VERIFY: &str = "consistent-backup/verify";
/// The annotation with the claim's name: a label could be too short for it.
pub const CLAIM: &str = "consistent-backup/claim";
/// The annotation with the claim's namespace, on contents, which have none.
pub const NAMESPACE: &str = "consistent-backup/namespace";
/// The annotation with the namespace of the run's record, on VolumeSnapshots and contents. Whoever writes a record elsewhere
/// cannot speak for them: the id of a run is no secret.
pub const RECORD_NAMESPACE: &str = "consistent-backup/record-namespace";
/// The annotation with the recovery points of the run's targets, on contents.
pub const RECOVERY_POINT: &str = "consistent-backup/recovery-point";
/// The annotation with the outcome, on contents.
pub const OUTCOME: &str = "consistent-backup/outcome";
/// The annotation with the middle of the window, on contents.
pub const WINDOW: &str = "consistent-backup/window-middle";
/// The annotation that changes when a content in deletion is touched.
pub const TOUCHED: &str = "consistent-backup/touched";
/// The annotation with the backup's journal, packed: what its record is rebuilt from, on contents.
pub const RECORD: &str = "consistent-backup/record";
/// The annotation with the manifests of the claim's workload, packed, on contents.
pub const MANIFESTS: &str = "consistent-backup/manifests";
/// The annotation with the last verdict of a verification, packed, on contents.
pub const VERIFIED: &str = "consistent-backup/verified";
/// The label of what lies beside a journal and is none, with what it is.
pub const PART: &str = "consistent-backup/part";
/// The label with the backup's id, on a second VolumeSnapshot and content of the same stored copy.
pub const ALIAS_OF: &str = "consistent-backup/alias-of";
/// The label of the pods of a copy beside the original, with the copy's name.
pub const COPY: &str = "consistent-backup/copy";
/// The annotation on a workload that is being brought back, until it has recovered: the backup's id.
pub const RESTORING: &str = "consistent-backup/restoring";
/// The annotation with the pod's name that was backed up, on what a verification makes for its copy.
pub const POD: &str = "consistent-backup/pod";
/// The annotation with the ConfigMap's name that was backed up, on a verification's copy of it.
pub const CONFIG_MAP: &str = "consistent-backup/config-map";
/// The label with the name of a verification's pod, shortened where it is too long: its NetworkPolicy selects by it.
pub const VERIFY_POD: &str = "consistent-backup/verify-pod";
