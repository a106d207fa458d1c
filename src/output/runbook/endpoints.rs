//! A database that was restored as another one has another address, which its release has to be told.

use super::page::Page;
use super::{Restoring, jdbc};
use crate::plan::{Database, DatabaseKind};

/// The end of a database's part, where its address is another one now.
pub(super) fn part(page: &mut Page, database: &Database, restoring: &Restoring<'_>) {
    let value = match database.kind {
        // The same tables, and the same nodes.
        DatabaseKind::Dynamo | DatabaseKind::Cassandra => return,
        DatabaseKind::Cosmos => "$ENDPOINT".to_owned(),
        DatabaseKind::Jdbc => jdbc::elsewhere(&database.endpoint).unwrap_or_else(|| "JDBC-URL-WITH-$HOST".to_owned()),
    };
    let key = match database.storage.as_str() {
        "" => "scalar.db.contact_points".to_owned(),
        storage => format!("scalar.db.multi_storage.storages.{storage}.contact_points"),
    };
    page.say("");
    let Some(release) = restoring.backup.status.releases.iter().find(|r| r.path() == database.release) else {
        page.say(&format!(
            "Whatever used it has to be told the new address: {key}={value} in each release's properties."
        ));
        return;
    };
    if database.endpoint.contains("${") {
        page.say(&format!(
            "The new address goes to where the pods' environment is made: the properties say {}.",
            database.endpoint
        ));
        return;
    }
    let object = release.properties.as_ref().map_or_else(
        || "its properties".to_owned(),
        |p| format!("{}/{} ({}) of namespace {}", p.kind.to_lowercase(), p.name, p.key, release.namespace),
    );
    let parameters = match database.kind {
        DatabaseKind::Jdbc => " with the parameters that the URL has there and that the record does not keep,",
        _ => "",
    };
    page.say(&format!(
        "The new address goes into {object},{parameters} and into the values file of the release: else the next `helm \
         upgrade` brings the old one back."
    ));
    let command =
        restoring.typed.command("restore-from-snapshot", restoring.run(), &restoring.backup.metadata.namespace);
    page.run(&format!("{command} --set-property \"{key}={value}\""));
}
