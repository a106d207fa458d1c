//! `describe`: all that is known of one run.

use jiff::Timestamp;

use crate::cli::OfRun;
use crate::cluster::client::Cluster;
use crate::error::{Error, ExitCode};
use crate::output::{self, Format};
use crate::record::item::Item;
use crate::runs::leader;

/// Describes a run.
pub(super) async fn run(cluster: &Cluster, args: OfRun) -> Result<ExitCode, Error> {
    let item = crate::runs::as_it_is(cluster, &crate::runs::named(cluster, &args.run).await?).await?;
    let text = match args.output.output {
        Format::Json => output::json(&item)?,
        Format::Yaml => output::yaml(&item)?,
        Format::Name => format!("{}/{}", item.kind().to_lowercase(), item.metadata().name),
        Format::Table | Format::Wide => match &item {
            Item::Backup(backup) => output::runs::describe(backup, &cluster.typed, Timestamp::now()),
            Item::Restore(restore) => output::restores::describe(restore, &cluster.typed, Timestamp::now()),
        },
    };
    output::to_stdout(&text);
    for why in leader::abandoned(cluster, std::slice::from_ref(&item)).await {
        output::to_stderr(&format!("warning: {why}"));
    }
    Ok(ExitCode::Done)
}
