//! `compare`: the pod tables of a run, before and after, and their differences.

use jiff::Timestamp;
use serde::Serialize;

use crate::cli::OfRun;
use crate::cluster::client::Cluster;
use crate::error::{Error, ExitCode};
use crate::output::{self, Format};
use crate::record::API_VERSION;
use crate::record::backup::Pods;
use crate::record::item::Item;

/// `kind: PodComparison`.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct PodComparison<'a> {
    api_version: &'static str,
    kind: &'static str,
    metadata: &'a crate::record::Metadata,
    #[serde(flatten)]
    pods: &'a Pods,
}

/// Compares the pods of a run.
pub(super) async fn run(cluster: &Cluster, args: OfRun) -> Result<ExitCode, Error> {
    let item = crate::runs::as_it_is(cluster, &crate::runs::named(cluster, &args.run).await?).await?;
    let pods = match &item {
        Item::Backup(backup) => &backup.status.pods,
        Item::Restore(restore) => &restore.status.pods,
    };
    let comparison = PodComparison { api_version: API_VERSION, kind: "PodComparison", metadata: item.metadata(), pods };
    let text = match args.output.output {
        Format::Json => output::json(&comparison)?,
        Format::Yaml => output::yaml(&comparison)?,
        Format::Name => output::name(&item.kind().to_lowercase(), &item.metadata().name),
        Format::Table | Format::Wide => table(pods),
    };
    output::to_stdout(&text);
    Ok(ExitCode::Done)
}

fn table(pods: &Pods) -> String {
    let now = Timestamp::now();
    let mut text = format!("before:\n{}\n", output::pods::pod_table(&pods.before, now).trim_end());
    if pods.after.is_empty() {
        text.push_str("\nafter: not recorded\n");
        return text;
    }
    text += &format!("\nafter:\n{}\n", output::pods::pod_table(&pods.after, now).trim_end());
    text += &format!("\n{}\n", output::pods::pod_changes(&pods.before, &pods.after, now).trim_end());
    text
}
