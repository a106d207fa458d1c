//! `describe`: all that is known of one run.

use jiff::Timestamp;

use crate::cli::Describe;
use crate::cluster::client::Cluster;
use crate::error::{Error, ExitCode};
use crate::output::{self, Described, Format};
use crate::record::item::Item;
use crate::runs::leader;

/// Describes a run.
pub(super) async fn run(cluster: &Cluster, args: Describe) -> Result<ExitCode, Error> {
    if args.target.is_some() && args.output != Described::Runbook {
        return Err(Error::usage("--target is the instant of a runbook").hint("give it together with -o runbook"));
    }
    let item = crate::runs::as_it_is(cluster, &crate::runs::named(cluster, &args.run).await?).await?;
    let text = match args.output {
        Described::Runbook => runbook(&item, args.target, cluster)?,
        Described::As(Format::Json) => output::json(&item)?,
        Described::As(Format::Yaml) => output::yaml(&item)?,
        Described::As(Format::Name) => output::name(&item.kind().to_lowercase(), &item.metadata().name),
        Described::As(Format::Table | Format::Wide) => match &item {
            Item::Backup(backup) => output::runs::describe(backup, &cluster.typed, Timestamp::now()),
            Item::Restore(restore) => output::restores::describe(restore, &cluster.typed, Timestamp::now()),
        },
    };
    output::to_stdout(&text);
    for why in leader::abandoned(cluster, std::slice::from_ref(&item)).await {
        output::warn(&why);
    }
    Ok(ExitCode::Done)
}

/// Only what was backed up can be restored.
fn runbook(item: &Item, target: Option<Timestamp>, cluster: &Cluster) -> Result<String, Error> {
    match item {
        Item::Backup(backup) => output::runbook::runbook(backup, target, &cluster.typed),
        Item::Restore(restore) => Err(Error::refused(format!("restore {} is no backup", restore.metadata.name))
            .hint("a runbook is made of a backup: `list` names them")),
    }
}
