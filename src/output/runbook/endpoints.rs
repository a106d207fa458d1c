//! A database that was restored as another one has another address, which its release has to be told: in the last part, once
//! all databases are restored, for that starts the release.

use super::page::Page;
use super::{Restoring, jdbc};
use crate::plan::{Database, DatabaseKind};
use crate::typed::quoted;

/// The end of a database's part, where its address is another one now; and what is set in the last part, as a word of the
/// shell: `RELEASE:KEY=ADDRESS`.
pub(super) fn part(page: &mut Page, database: &Database, restoring: &Restoring<'_>) -> Option<String> {
    let address = match database.kind {
        // The same tables, and the same nodes.
        DatabaseKind::Dynamo | DatabaseKind::Cassandra => return None,
        DatabaseKind::Cosmos => Some("\"${ENDPOINT:?}\"".to_owned()),
        DatabaseKind::Jdbc => jdbc::elsewhere(&database.endpoint),
    };
    let key = match database.storage.as_str() {
        "" => "scalar.db.contact_points".to_owned(),
        storage => format!("scalar.db.multi_storage.storages.{storage}.contact_points"),
    };
    page.say("");
    let releases = &restoring.backup.status.releases;
    let Some(release) = releases.iter().find(|r| r.path() == database.release) else {
        page.say(&format!(
            "Whatever uses it has to be told the new address, in its own properties ({key}), before it is started."
        ));
        return None;
    };
    if database.endpoint.contains("${") {
        page.say(&format!(
            "The new address goes to where the environment of the pods is made, before the last part: the properties say {}.",
            database.endpoint
        ));
        return None;
    }
    let Some(object) = &release.properties else {
        page.say(&format!(
            "The new address ({key}) goes into the properties of release {} by hand, before the last part: the record does \
             not know where they lie.",
            release.path()
        ));
        return None;
    };
    page.say(&format!(
        "The last part sets the new address in {}/{} ({}) of namespace {}. It has to go into the values file of the release \
         as well: else the next helm upgrade brings the old one back.",
        object.kind.to_lowercase(),
        object.name,
        object.key,
        release.namespace
    ));
    if database.kind == DatabaseKind::Jdbc {
        page.say("Parameters that the URL has there are not in the record: add them to it here.");
    }
    let variable = format!("ADDRESS_{}", page.number());
    page.run(&match address {
        Some(address) => format!("{variable}={address}"),
        None => format!("{variable}=  # the JDBC URL, with the new host"),
    });
    Some(format!("{}\"${{{variable}:?}}\"", quoted(&format!("{}:{key}=", release.among(releases)))))
}
