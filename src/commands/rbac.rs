//! `rbac`: the verbs that are used, as a Role and a ClusterRole.

use crate::cli::Rbac;
use crate::cluster::access;
use crate::error::ExitCode;
use crate::output;

/// Prints them, the Role for this namespace if one was given.
pub(super) fn run(args: &Rbac, namespace: Option<&str>) -> ExitCode {
    output::to_stdout(&access::roles(!args.backup_only, namespace));
    ExitCode::Done
}
