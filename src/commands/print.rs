//! Printing a run in the format that was asked for.

use jiff::Timestamp;

use crate::cluster::client::Cluster;
use crate::error::Error;
use crate::output::{self, Format};
use crate::record::backup::Backup;

/// The end of a run, or its description.
pub(super) fn backup(cluster: &Cluster, backup: &Backup, format: Format) -> Result<(), Error> {
    match format {
        Format::Json => output::to_stdout(&output::json(backup)?),
        Format::Yaml => output::to_stdout(&output::yaml(backup)?),
        Format::Name => output::to_stdout(&output::name("backup", &backup.metadata.name)),
        Format::Table | Format::Wide => {
            output::to_stdout(&output::runs::result(backup, &cluster.typed, Timestamp::now()));
        }
    }
    Ok(())
}
