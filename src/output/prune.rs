//! What `prune` keeps and removes.

use jiff::Timestamp;
use serde::Serialize;

use super::Format;
use super::age::age;
use super::table::Table;
use crate::error::Error;
use crate::record::API_VERSION;
use crate::record::backup::Backup;
use crate::runs::retention::Verdict;

/// All of them as JSON.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Document<'a> {
    api_version: &'static str,
    kind: &'static str,
    items: Vec<Judged<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Judged<'a> {
    name: &'a str,
    namespace: &'a str,
    outcome: &'a str,
    keep: bool,
    reason: &'a str,
}

/// What becomes of each backup, before anything is deleted.
pub fn verdicts(backups: &[&Backup], verdicts: &[Verdict], now: Timestamp, format: Format) -> Result<String, Error> {
    let pairs = || backups.iter().zip(verdicts);
    let document = || Document {
        api_version: API_VERSION,
        kind: "PrunePlan",
        items: pairs()
            .map(|(backup, verdict)| Judged {
                name: &verdict.run,
                namespace: &backup.metadata.namespace,
                outcome: &backup.status.outcome,
                keep: verdict.keep,
                reason: &verdict.why,
            })
            .collect(),
    };
    match format {
        Format::Json => super::json(&document()),
        Format::Yaml => super::yaml(&document()),
        Format::Name => {
            let gone = verdicts.iter().filter(|v| !v.keep).map(|v| super::name("backup", &v.run));
            Ok(gone.collect::<Vec<_>>().join("\n"))
        }
        Format::Table | Format::Wide => {
            let mut table = Table::new(["NAME", "OUTCOME", "CLAIMS", "AGE", "ACTION", "REASON"]);
            for (backup, verdict) in pairs() {
                table.row([
                    verdict.run.clone(),
                    backup.status.outcome.clone(),
                    backup.status.claims.len().to_string(),
                    age(Some(backup.metadata.creation_timestamp), now),
                    if verdict.keep { "keep" } else { "delete" }.to_owned(),
                    verdict.why.clone(),
                ]);
            }
            Ok(table.to_string())
        }
    }
}
