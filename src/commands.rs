//! One subcommand, one file: arguments in, request out, result printed.

use std::time::Duration;

use tokio::time::timeout;

use crate::cli::{Cli, Command};
use crate::cluster::client::{Cluster, explain, is_unsent};
use crate::error::{Error, ExitCode};
use crate::output;

mod compare;
mod delete;
mod describe;
mod finish;
#[cfg(test)]
mod fixture;
mod guard;
mod list;
mod print;
mod prune;
mod quiesce_snapshot;
mod rbac;
mod restore_from_snapshot;
mod thaw;
mod unproven;
mod verify;

/// Runs what was asked for.
pub async fn run(cli: Cli) -> Result<ExitCode, Error> {
    if let Command::Rbac(args) = cli.command {
        return Ok(rbac::run(&args, cli.connection.namespace.as_deref()));
    }
    if let Command::Guard(args) = &cli.command {
        return guard::run(args).await;
    }
    if let Command::QuiesceSnapshot(args) = &cli.command {
        // What is typed wrong is said before anything is read or asked: a kubeconfig that is wrong too is another error.
        quiesce_snapshot::request("", args)?;
    }
    // Who thaws is told by 1 that every database serves: not by who could not look.
    let unseen = |error| if matches!(cli.command, Command::Thaw(_)) { thaw::unseen(error) } else { error };
    let cluster = Cluster::connect(&cli.connection.into()).await.map_err(unseen)?;
    for warning in &cluster.warnings {
        output::warn(warning);
    }
    reachable(&cluster).await.map_err(unseen)?;
    match cli.command {
        // Boxed: it is by far the largest, and every command would carry its room on the stack.
        Command::QuiesceSnapshot(args) => Box::pin(quiesce_snapshot::run(&cluster, args)).await,
        Command::RestoreFromSnapshot(args) => Box::pin(restore_from_snapshot::run(&cluster, args)).await,
        Command::Verify(args) => Box::pin(verify::run(&cluster, args)).await,
        Command::Thaw(args) => Box::pin(thaw::run(&cluster, args)).await,
        Command::List(args) => list::run(&cluster, args).await,
        Command::Describe(args) => describe::run(&cluster, args).await,
        Command::Compare(args) => compare::run(&cluster, args).await,
        Command::Delete(args) => delete::run(&cluster, args).await,
        Command::Prune(args) => prune::run(&cluster, args).await,
        Command::Rbac(_) | Command::Guard(_) => Ok(ExitCode::Done),
    }
}

/// A server that is not there is named at once: with several contexts it is easily the wrong one. What comes later is
/// tried for longer, because then something may have begun.
async fn reachable(cluster: &Cluster) -> Result<(), Error> {
    let Ok(Err(error)) = timeout(Duration::from_secs(10), cluster.once.apiserver_version()).await else {
        return Ok(());
    };
    if !is_unsent(&error) {
        // Who may not read /version may still do all that is needed.
        return Ok(());
    }
    let context = format!("it is the one of context {}", cluster.context);
    let unreached = Error::failed(format!("the API server {} cannot be reached", cluster.server));
    Err(unreached.cause(explain(&error)).hint(context))
}
