//! The command line as it is typed. Only this room and `commands/` know clap; nothing of it crosses into the rest.

use std::time::Duration;

use clap::{Args, Parser, Subcommand};

pub mod connection;
mod rbac;
mod recovery;
mod releases;
mod verify;

use connection::ConnectionFlags;
pub use rbac::{Platform, Rbac};
pub use recovery::FromArchive;
pub use releases::{By, Releases};
pub use verify::Verify;

use crate::plan::restore::Suffix;
use crate::runs::RunName;

/// Application-consistent backups of databases on Kubernetes, proved to be consistent, and their restore.
///
/// quiesce-snapshot holds every database of an application at the same time, has the storage cut its volumes, and
/// releases them the moment the cut is proved. restore-from-snapshot brings the backup back. Nothing is installed in
/// the cluster.
#[derive(Parser)]
#[command(name = "kubectl consistent-backup", bin_name = "kubectl consistent-backup", version, max_term_width = 100)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
    /// kubectl's own flags.
    #[command(flatten)]
    pub connection: ConnectionFlags,
}

/// The subcommands, one file each below `commands/`.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Take a backup: hold the databases, cut their volumes, release them, and prove it
    QuiesceSnapshot(QuiesceSnapshot),
    /// Bring a backup back: in place, where its namespace was deleted, elsewhere, or as a copy
    RestoreFromSnapshot(RestoreFromSnapshot),
    /// Start the databases of a backup alone, from copies, and let the engine's own checks judge them
    Verify(Verify),
    /// Release what a dead run may have left held, and bring the run to its end
    Thaw(Thaw),
    /// List backups and restores
    List(List),
    /// Show all that is known of one run
    Describe(Describe),
    /// Show the pod tables of a run, before and after, and their differences
    Compare(OfRun),
    /// Delete a backup with its snapshots, the stored copies and its record; or a restore with the volumes it kept
    Delete(Delete),
    /// Delete the backups that no rule keeps
    Prune(Prune),
    /// Print the Roles and the ClusterRole with the verbs that commands use, and no others
    Rbac(Rbac),
    /// What a guard pod runs
    #[command(hide = true)]
    Guard(Guard),
}

/// The flag of the process that leads a detached run.
pub const LEADER: &str = "--detached-leader";

/// How the result is printed.
#[derive(Clone, Debug, Args)]
pub struct OutputFlag {
    /// Output format: table, wide (of lists, with REQUEST and REASON), json, yaml or name
    #[arg(short = 'o', long = "output", value_name = "FORMAT", default_value = "table", hide_default_value = true)]
    pub output: crate::output::Format,
}

/// Arguments of `quiesce-snapshot`.
#[derive(Debug, Args)]
#[command(
    override_usage = "kubectl consistent-backup quiesce-snapshot [OPTIONS] <TYPE/NAME>...\n       \
    kubectl consistent-backup quiesce-snapshot [OPTIONS] -l <SELECTOR>\n       \
    kubectl consistent-backup quiesce-snapshot [OPTIONS] --release <NAME>... --backend window",
    after_help = "\
Examples:
  # What would be done, and whether it can be
  kubectl consistent-backup quiesce-snapshot statefulset/postgres statefulset/redis -n demo --dry-run
  # One backup of all databases of an application, held at the same time
  kubectl consistent-backup quiesce-snapshot -l app.kubernetes.io/part-of=demo -n demo
  # A window of 10 s in which ScalarDL writes nothing, for point-in-time recovery of its managed databases
  kubectl consistent-backup quiesce-snapshot --release ledger --release auditor --backend window --hold 10s -n scalar
  # A snapshot by the user's own tool while everything is held
  kubectl consistent-backup quiesce-snapshot statefulset/mysql -n demo --backend command -- ./snapshot.sh vol-1"
)]
#[allow(clippy::struct_excessive_bools, reason = "flags of a command line are independent")]
pub struct QuiesceSnapshot {
    /// Workloads or pods, as TYPE/NAME: all of them share one window; or select pods with -l
    // Whether one of the two is there is told by the request: clap's own error would not name -l.
    #[arg(value_name = "TYPE/NAME", conflicts_with = "selector")]
    pub objects: Vec<String>,
    /// Label selector of the pods
    #[arg(short = 'l', long, value_name = "SELECTOR")]
    pub selector: Option<String>,
    /// Releases of ScalarDB and ScalarDL.
    #[command(flatten)]
    pub releases: Releases,
    /// By what is copied: `csi` snapshots of the claims, nothing but a `window` in which all is held, for point-in-time
    /// recovery, or the user's own `command`, given behind --
    #[arg(long, value_enum, value_name = "BACKEND", default_value = "csi", hide_default_value = true)]
    pub backend: By,
    /// How long a window is held [default: 10s]
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub hold: Option<Duration>,
    /// With --backend window: end as soon as all is held, with exit code 0, and leave the release to `thaw RUN`, which tells
    /// by its exit code whether all were held throughout; for the pre and post scripts of other backup tools. At the budget
    /// it is released all the same [default budget then: 1m and --max-pause-wait-time]
    #[arg(long)]
    pub detach: bool,
    /// This process leads a detached run
    #[arg(long = "detached-leader", hide = true)]
    pub leader: bool,
    /// The command of --backend command with its arguments. It stands in the record, so it must hold no secret
    #[arg(last = true, value_name = "COMMAND")]
    pub command: Vec<String>,
    /// VolumeSnapshotClass for all claims; else the driver's default, else its only one
    #[arg(long, value_name = "CLASS")]
    pub snapshot_class: Option<String>,
    /// Keep the record in this namespace, not in the databases': it outlives theirs, and all other commands about the run
    /// are given this namespace
    #[arg(long, value_name = "NAMESPACE")]
    pub record_namespace: Option<String>,
    /// A claim that is neither cut nor replaced by a restore, such as one with a WAL archive; may be repeated
    #[arg(long, value_name = "NAME")]
    pub exclude_claim: Vec<String>,
    /// Stop the workloads for the cut and start them again, instead of holding their databases; also for databases of
    /// which no kind is known
    #[arg(long)]
    pub cold: bool,
    /// Stop workloads all the same that an operator manages, which may start them again; pause it first
    #[arg(long, requires = "cold")]
    pub force_owner: bool,
    /// How long databases may be held at most; they release themselves when it is over [default: 30s; with --cold 10m, in
    /// which the workloads are stopped and cut]
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub quiesce_budget: Option<Duration>,
    /// Passes at most: repeated when pods changed or a hold was lost [default: 3; 1 with --backend command, which would run
    /// it again]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=20))]
    pub attempts: Option<u8>,
    /// What may not change of a pod while databases are held: `state` (uid, STATUS, restarts, container ids, readiness,
    /// node, image), or `strict` (its resourceVersion too: any write to it)
    #[arg(long, value_name = "state|strict", default_value = "state")]
    pub pods_must_match: crate::pods::Match,
    /// How long an error may stand on a cut before it counts as failed: a passing one is retried by the storage's sidecar
    #[arg(long, value_name = "DURATION", default_value = "5s", value_parser = duration)]
    pub cut_error_patience: Duration,
    /// How long to wait at most until the copies can be restored from; nothing is held meanwhile [default: no limit]
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub wait: Option<Duration>,
    /// Verify the backup at once, as `verify` does; the exit code is 3 if that fails, for the backup is made
    #[arg(long, conflicts_with = "dry_run")]
    pub verify: bool,
    /// A command to run in a copy when it is verified; see `verify --help`
    #[arg(long, value_name = "[POD=]COMMAND", requires = "verify")]
    pub query: Vec<String>,
    /// Print the plan and stop; changes nothing
    #[arg(long)]
    pub dry_run: bool,
    /// How the result is printed.
    #[command(flatten)]
    pub output: OutputFlag,
}

/// Arguments of `restore-from-snapshot`.
#[derive(Debug, Args)]
#[allow(clippy::struct_excessive_bools, reason = "each is a flag of its own")]
#[command(after_help = "\
Examples:
  # In place: the workload is stopped, its claims replaced, the old volumes kept
  kubectl consistent-backup restore-from-snapshot 20261120-101500-x7k2 -n demo
  # Copies of the claims beside the old ones (CLAIM-check); nothing is stopped
  kubectl consistent-backup restore-from-snapshot 20261120-101500-x7k2 -n demo --claims-only --suffix check
  # A copy of the workload in another namespace, or beside the original; nothing is stopped
  kubectl consistent-backup restore-from-snapshot 20261120-101500-x7k2 -n demo --to-namespace staging
  kubectl consistent-backup restore-from-snapshot 20261120-101500-x7k2 -n demo --suffix check
  # In place, and on from there with archived WAL, up to a moment (PostgreSQL, backed up in archive mode)
  kubectl consistent-backup restore-from-snapshot 20261120-101500-x7k2 -n demo \\
    --restore-command 'cp /archive/%f %p' --recovery-target 'time=2026-11-20 12:00:00+00'
  # Finish a restore whose process died, forward; or take it back, also after it succeeded
  kubectl consistent-backup restore-from-snapshot --resume 20261120-113000-p3wn -n demo
  kubectl consistent-backup restore-from-snapshot --undo 20261120-113000-p3wn -n demo")]
#[command(override_usage = "kubectl consistent-backup restore-from-snapshot [OPTIONS] <RUN>\n       \
    kubectl consistent-backup restore-from-snapshot [OPTIONS] --resume <RESTORE>\n       \
    kubectl consistent-backup restore-from-snapshot [OPTIONS] --undo <RESTORE>")]
pub struct RestoreFromSnapshot {
    /// The backup, as `list` names it; also as backup/RUN
    #[arg(value_name = "RUN", value_parser = RunName::new, required_unless_present_any = ["resume", "undo"])]
    pub run: Option<RunName>,
    /// Finish a restore in place that another process left: forward, unless it is on its way back already
    #[arg(long, value_name = "RESTORE", value_parser = RunName::new,
        conflicts_with_all = ["run", "undo", "claims_only", "dry_run"])]
    pub resume: Option<RunName>,
    /// Take a restore in place back: the workload runs on its old volumes again, and the restored ones are kept
    #[arg(long, value_name = "RESTORE", value_parser = RunName::new, conflicts_with_all = ["run", "claims_only"])]
    pub undo: Option<RunName>,
    /// Only this workload of the backup, with all its claims; may be repeated
    #[arg(long, value_name = "TYPE/NAME", conflicts_with_all = ["resume", "undo"])]
    pub only: Vec<String>,
    /// Only this claim of the backup, with its workload; may be repeated
    #[arg(long, value_name = "NAME", conflicts_with_all = ["resume", "undo"])]
    pub claim: Vec<String>,
    /// Only make the claims, and no workload; beside claims of the same names with --suffix
    #[arg(long)]
    pub claims_only: bool,
    /// Make a copy beside the original: NAME-SUFFIX, which no existing Service finds
    #[arg(long, value_name = "SUFFIX", conflicts_with_all = ["resume", "undo"], value_parser = Suffix::new)]
    pub suffix: Option<Suffix>,
    /// Restore workloads that an operator manages, too: pause it first, else it starts them again while they are down
    #[arg(long, conflicts_with_all = ["resume", "undo", "claims_only"])]
    pub force_owner: bool,
    /// Restore although image or engine are of another major version now than at the backup
    #[arg(long, conflicts_with_all = ["resume", "undo", "claims_only"])]
    pub force_version: bool,
    /// Delete the old volumes with their storage once the restore has succeeded: it cannot be undone then
    #[arg(long, conflicts_with_all = ["resume", "undo", "claims_only", "suffix", "to_namespace"])]
    pub discard_old: bool,
    /// Set this in the properties of a release of the backup while it is down; may be repeated, and be
    /// RELEASE:KEY=VALUE or NAMESPACE/RELEASE:KEY=VALUE
    #[arg(long, value_name = "KEY=VALUE", conflicts_with_all = ["resume", "undo", "claims_only", "suffix", "to_namespace"])]
    pub set_property: Vec<String>,
    /// Going on from archived WAL.
    #[command(flatten)]
    pub archive: FromArchive,
    /// Make it in another namespace, where its Secrets are already
    #[arg(long, value_name = "NAMESPACE", conflicts_with_all = ["resume", "undo"])]
    pub to_namespace: Option<String>,
    /// Do not ask
    #[arg(short = 'y', long)]
    pub yes: bool,
    /// Print what would be done and stop; changes nothing
    #[arg(long)]
    pub dry_run: bool,
    /// How long to wait at most until the restored databases serve
    #[arg(long, value_name = "DURATION", default_value = "10m", value_parser = duration)]
    pub wait: Duration,
    /// How the result is printed.
    #[command(flatten)]
    pub output: OutputFlag,
}

/// Arguments of `thaw`.
#[derive(Debug, Args)]
pub struct Thaw {
    /// The run; without it all unfinished runs of the namespace
    #[arg(value_name = "RUN", conflicts_with = "all_namespaces", value_parser = RunName::new)]
    pub run: Option<RunName>,
    /// All unfinished runs of all namespaces
    #[arg(short = 'A', long)]
    pub all_namespaces: bool,
    /// Do not wait until the lease of the process that led the run has expired
    #[arg(long)]
    pub force: bool,
    /// Do not ask about runs whose record no lease confirms: finish them
    #[arg(short, long)]
    pub yes: bool,
    /// How the result is printed.
    #[command(flatten)]
    pub output: OutputFlag,
}

/// Arguments of `list`.
#[derive(Debug, Args)]
pub struct List {
    /// Of all namespaces
    #[arg(short = 'A', long)]
    pub all_namespaces: bool,
    /// Instead, what no record names: backups whose record is gone, and what restores and verifications left; each with
    /// the command that removes it
    #[arg(long)]
    pub orphans: bool,
    /// How the result is printed.
    #[command(flatten)]
    pub output: OutputFlag,
}

/// Arguments of commands about one run.
#[derive(Debug, Args)]
pub struct OfRun {
    /// The run, as `list` names it; also as backup/RUN or restore/RUN
    #[arg(value_name = "RUN", value_parser = RunName::new)]
    pub run: RunName,
    /// How the result is printed.
    #[command(flatten)]
    pub output: OutputFlag,
}

/// Arguments of `describe`.
#[derive(Debug, Args)]
#[command(after_help = "\
A runbook has the commands that restore the databases behind a backup (DynamoDB, Cosmos DB, Cassandra, relational ones) to
one instant of its window, with names and times filled in. It changes nothing by itself.

Examples:
  kubectl consistent-backup describe 20261120-101500-x7k2 -n demo
  kubectl consistent-backup describe 20261120-101500-x7k2 -n demo -o runbook > restore.txt")]
pub struct Describe {
    /// The run, as `list` names it; also as backup/RUN or restore/RUN
    #[arg(value_name = "RUN", value_parser = RunName::new)]
    pub run: RunName,
    /// Output format: table, wide, json, yaml, name or runbook
    #[arg(short = 'o', long = "output", value_name = "FORMAT", default_value = "table", hide_default_value = true)]
    pub output: crate::output::Described,
    /// The instant of the runbook, inside the backup's window [default: its middle]
    #[arg(long, value_name = "TIME", value_parser = instant)]
    pub target: Option<jiff::Timestamp>,
}

/// Arguments of `delete`.
#[derive(Debug, Args)]
#[command(after_help = "\
Of a backup the VolumeSnapshots, the stored copies and the record are deleted. Of a restore the record and the
volumes that it kept and that are not in use, where their reclaim policy was Delete: the old ones, or after the way
back the restored ones.

Examples:
  kubectl consistent-backup delete 20261120-101500-x7k2 -n demo
  kubectl consistent-backup list -n demo -o name | xargs kubectl consistent-backup delete -n demo --yes")]
pub struct Delete {
    /// The runs, as `list` names them; also as backup/RUN or restore/RUN
    #[arg(value_name = "RUN", required = true, value_parser = RunName::new)]
    pub runs: Vec<RunName>,
    /// Do not ask
    #[arg(short = 'y', long)]
    pub yes: bool,
    /// How the result is printed.
    #[command(flatten)]
    pub output: OutputFlag,
}

/// Arguments of `prune`.
#[derive(Debug, Args)]
#[command(after_help = "\
Backups of the same claims are judged together, and what any rule keeps stays. Only backups with all their copies ready
count; one that failed goes once a later whole one is there. Restores are never pruned: their old volumes go with
delete only.

Examples:
  kubectl consistent-backup prune --keep-last 7 --keep-within 14d -n demo --dry-run")]
pub struct Prune {
    /// Keep so many of the newest backups of the same claims
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..), required_unless_present = "keep_within")]
    pub keep_last: Option<u16>,
    /// Keep backups that are not older than this, counted back from the newest of the same claims, such as 36h or 7d
    #[arg(long, value_name = "DURATION", value_parser = long_duration)]
    pub keep_within: Option<Duration>,
    /// Print what would be deleted and stop; changes nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Do not ask
    #[arg(short = 'y', long)]
    pub yes: bool,
    /// How the result is printed.
    #[command(flatten)]
    pub output: OutputFlag,
}

/// Arguments of `guard`; what it watches stands in its environment.
#[derive(Debug, Args)]
pub struct Guard {
    /// When it releases what is paused then, from now on
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub after: Duration,
}

/// An instant with its offset: without one it would be another one on each machine.
fn instant(text: &str) -> Result<jiff::Timestamp, String> {
    text.parse().map_err(|_| format!("`{text}` is no instant such as 2026-11-20T10:15:05Z"))
}

/// A duration as kubectl takes it: `30s`, `1m30s`, `500ms`, or bare seconds.
fn duration(text: &str) -> Result<Duration, String> {
    if let Ok(seconds) = text.parse::<u32>() {
        return Ok(Duration::from_secs(u64::from(seconds)));
    }
    let parsed: jiff::SignedDuration =
        text.parse().map_err(|_| format!("`{text}` is no duration such as 30s or 1m30s"))?;
    Duration::try_from(parsed).map_err(|_| format!("`{text}` is negative"))
}

/// A duration of hours, days and weeks, a day having 24 hours: `36h`, `7d`, `2w`, `1d12h`.
fn long_duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("`{text}` is no duration such as 36h, 7d or 2w");
    let span: jiff::Span = text.parse().map_err(|_| wrong())?;
    let duration = span.to_duration(jiff::SpanRelativeTo::days_are_24_hours()).map_err(|_| wrong())?;
    Duration::try_from(duration).map_err(|_| format!("`{text}` is negative"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn days_have_24_hours() {
        let hours = |hours: u64| Ok(Duration::from_secs(hours * 3600));
        assert_eq!(long_duration("36h"), hours(36));
        assert_eq!(long_duration("7d"), hours(7 * 24));
        assert_eq!(long_duration("2w"), hours(14 * 24));
        assert_eq!(long_duration("1d12h"), hours(36));
        for wrong in ["7", "1month", "soon", "-1d"] {
            assert!(long_duration(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn an_instant_has_an_offset() {
        assert_eq!(instant("2026-11-20T10:15:05Z"), instant("2026-11-20T19:15:05+09:00"));
        for wrong in ["2026-11-20T10:15:05", "10:15", "now"] {
            assert_eq!(instant(wrong), Err(format!("`{wrong}` is no instant such as 2026-11-20T10:15:05Z")));
        }
    }

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn durations_are_kubectls() {
        assert_eq!(duration("30s"), Ok(Duration::from_secs(30)));
        assert_eq!(duration("1m30s"), Ok(Duration::from_secs(90)));
        assert_eq!(duration("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(duration("7"), Ok(Duration::from_secs(7)));
        assert!(duration("soon").is_err());
        assert!(duration("-5s").is_err());
    }
}
