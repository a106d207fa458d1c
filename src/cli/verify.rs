//! The arguments of `verify`.

use std::time::Duration;

use clap::Args;

use super::{OutputFlag, duration};
use crate::runs::RunName;

/// Arguments of `verify`.
#[derive(Debug, Args)]
#[command(after_help = "\
Each database of the backup is started alone: a pod of its own, made from the workload's, on copies of its claims,
without the workload's labels, sidecars, probes and ports. The engine's own checks judge it, and it is removed again.
What came of it stands in the backup's record: see list and describe.

Examples:
  kubectl consistent-backup verify 20261120-101500-x7k2 -n demo
  # A question of your own, whose answer is recorded; it must end with exit code 0
  kubectl consistent-backup verify 20261120-101500-x7k2 -n demo \\
    --query \"postgres-0=psql -U app -Atc 'SELECT count(*) FROM orders'\"
  # In a namespace of its own
  kubectl consistent-backup verify 20261120-101500-x7k2 -n demo --to-namespace staging
  # Have a look at the copies
  kubectl consistent-backup verify 20261120-101500-x7k2 -n demo --keep")]
pub struct Verify {
    /// The backup, as `list` names it; also as backup/RUN
    #[arg(value_name = "RUN", value_parser = RunName::new)]
    pub run: RunName,
    /// A command to run in a copy, without a shell around it; it and what it prints are recorded. May be repeated; POD=
    /// may be left out where the backup has one database
    #[arg(long, value_name = "[POD=]COMMAND")]
    pub query: Vec<String>,
    /// Make the copies in this namespace; what their pods need (Secrets, ServiceAccount) must be there, and ConfigMaps are
    /// made as the backup remembers them
    #[arg(long, value_name = "NAMESPACE")]
    pub to_namespace: Option<String>,
    /// Leave the copies there, and say how to look at them and how to remove them
    #[arg(long)]
    pub keep: bool,
    /// How long each database may take at most, from making its claims to the last check
    #[arg(long, value_name = "DURATION", default_value = "1h", value_parser = duration)]
    pub wait: Duration,
    /// Print what would be made and stop; changes nothing
    #[arg(long)]
    pub dry_run: bool,
    /// How the result is printed.
    #[command(flatten)]
    pub output: OutputFlag,
}
