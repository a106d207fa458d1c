//! `list`: backups, and restores among them.

use jiff::Timestamp;

use crate::cli::List;
use crate::cluster::client::Cluster;
use crate::error::{Error, ExitCode};
use crate::output::{self, Format};
use crate::record::item::{BackupList, Item};
use crate::runs::leader;
use crate::runs::orphans::{self, OrphanList};

/// What must be said of a run that is over and whose snapshots are not removed.
fn unremoved(cluster: &Cluster, item: &Item) -> Option<String> {
    let Item::Backup(backup) = item else { return None };
    let (metadata, status) = (&backup.metadata, &backup.status);
    (status.snapshots_removed == "pending" && status.outcome != "Running").then(|| {
        let left = status.snapshots_left.join("; ");
        let thaw = cluster.typed.thaw(&metadata.name, &metadata.namespace);
        format!("snapshots of {} are not removed yet: {left}; then finish it with: {thaw}", metadata.name)
    })
}

/// Lists the runs of a namespace, or of all.
pub(super) async fn run(cluster: &Cluster, args: List) -> Result<ExitCode, Error> {
    let namespace = (!args.all_namespaces).then_some(cluster.namespace.as_str());
    if args.orphans {
        return orphans(cluster, namespace, args.output.output).await;
    }
    let (items, damaged) = crate::runs::all(cluster, namespace).await?;
    let list = BackupList::new(items);
    let format = args.output.output;
    match format {
        Format::Json => output::to_stdout(&output::json(&list)?),
        Format::Yaml => output::to_stdout(&output::yaml(&list)?),
        Format::Name => {
            for item in &list.items {
                output::to_stdout(&output::name(&item.kind().to_lowercase(), &item.metadata().name));
            }
        }
        Format::Table | Format::Wide if list.items.is_empty() => output::to_stderr(&match namespace {
            Some(namespace) => format!("No backups found in {namespace} namespace."),
            None => "No backups found".to_owned(),
        }),
        Format::Table | Format::Wide => {
            let wide = format == Format::Wide;
            output::to_stdout(&output::runs::list(&list.items, Timestamp::now(), args.all_namespaces, wide));
        }
    }
    // Named, not skipped: a record that cannot be read is a backup that somebody counts on.
    let left: Vec<String> = list.items.iter().filter_map(|item| unremoved(cluster, item)).collect();
    for why in damaged.iter().chain(&leader::abandoned(cluster, &list.items).await).chain(&left) {
        output::warn(why);
    }
    Ok(ExitCode::Done)
}

async fn orphans(cluster: &Cluster, namespace: Option<&str>, format: Format) -> Result<ExitCode, Error> {
    let (found, unseen) = orphans::all(cluster, namespace).await;
    let list = OrphanList::new(found);
    match format {
        Format::Table | Format::Wide if list.items.is_empty() => {
            output::to_stderr("nothing is left that no record names");
        }
        Format::Name if list.items.is_empty() => {}
        format => output::to_stdout(&output::orphans::list(&list, format)?),
    }
    // What was not looked at is not called empty.
    for why in &unseen {
        output::warn(why);
    }
    Ok(if unseen.is_empty() { ExitCode::Done } else { ExitCode::Failed })
}
