//! `rbac`: the verbs that are used, as Roles and a ClusterRole.

use crate::cli::{Platform, Rbac};
use crate::cluster::access::EXPLAINED;
use crate::cluster::access::roles::{Names, roles};
use crate::error::ExitCode;
use crate::output;
use crate::plan::access::Purpose;

/// Prints them, the Role of the databases for this namespace if one was given.
pub(super) fn run(args: &Rbac, namespace: Option<&str>) -> ExitCode {
    if args.explain {
        output::to_stdout(EXPLAINED);
        return ExitCode::Done;
    }
    let purpose = Purpose {
        commands: args.commands.iter().copied().collect(),
        scalar: args.platforms.contains(&Platform::Scalar),
        guard: args.guard,
        cold: args.cold,
        retain: args.retain,
        elsewhere: args.to_namespace.is_some(),
        record_apart: args.record_namespace.is_some(),
        backup_only: args.backup_only,
        no_contents: args.no_contents,
    };
    let names = Names {
        roles: &args.name,
        databases: namespace,
        record: args.record_namespace.as_deref(),
        elsewhere: args.to_namespace.as_deref(),
    };
    output::to_stdout(&roles(&purpose.rights(), names));
    ExitCode::Done
}
