//! The runs in the cluster, read from their journals.

use serde::de::DeserializeOwned;

use crate::cluster::client::Cluster;
use crate::error::{Error, ExitCode};
use crate::journal::{self, Kind, Loaded, Stored};
use crate::plan::Plan;
use crate::pods::PodState;
use crate::protocol::backup::{Event, Run};
use crate::record::backup::{self, Backup, replay};
use crate::record::check;
use crate::record::item::Item;
use crate::record::verified;

mod copies;
#[cfg(test)]
mod histories;
#[cfg(test)]
mod hostile;
pub mod leader;
mod name;
pub mod orphans;
pub mod proof;
pub mod rebuilt;
pub mod retention;

pub use name::RunName;

/// A backup's journal, understood.
pub struct BackupJournal {
    /// The plan.
    pub plan: Plan,
    /// The run that its entries tell.
    pub run: Run,
    /// Entries and named keys.
    pub loaded: Loaded<Event>,
}

impl BackupJournal {
    /// Understands it, or says what is damaged.
    pub fn read(stored: &Stored) -> Result<Self, Error> {
        Self::of(stored, stored.read()?)
    }

    /// The same for one that was read already.
    pub fn of(stored: &Stored, loaded: Loaded<Event>) -> Result<Self, Error> {
        let plan: Plan = serde_json::from_str(latest_plan(&loaded)).map_err(|e| damaged(stored, "its plan", e))?;
        check::backup(&plan).map_err(|e| damaged(stored, "its plan", e.0))?;
        stored.is_of(&plan.run, &plan.namespace)?;
        let run = replay(&plan, &loaded.entries).map_err(|e| damaged(stored, "its entries", e.0))?;
        Ok(Self { plan, run, loaded })
    }

    /// The plan as it stands there.
    pub fn plan_text(&self) -> &str {
        latest_plan(&self.loaded)
    }

    /// The plans of all attempts that can be read.
    pub fn plans(&self) -> Vec<Plan> {
        let later = (2..=self.run.attempt()).filter_map(|attempt| self.loaded.keys.get(&plan_key(attempt)));
        let all = std::iter::once(&self.loaded.plan).chain(later);
        all.filter_map(|text| serde_json::from_str(text).ok()).filter(|plan| check::backup(plan).is_ok()).collect()
    }

    /// A pod table that lies beside the entries; none if it was not stored yet.
    pub fn pods(&self, key: &str) -> Vec<PodState> {
        self.loaded.keys.get(key).and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default()
    }

    /// The record.
    pub fn record(&self) -> Result<Backup, Error> {
        let mut record =
            backup::record(&self.plan, &self.loaded.entries, self.pods("pods.before"), self.pods("pods.after"))
                .map_err(|e| Error::failed(e.0))?;
        // A newer version's words say nothing here, and are no reason to hide the backup.
        let verified = self.loaded.keys.get(verified::KEY);
        record.status.verified = verified.and_then(|text| serde_json::from_str(text).ok());
        Ok(record)
    }

    /// Whether something is left to do: the run is not over, or something is stuck or not removed.
    pub fn is_open(&self) -> bool {
        !self.run.is_finished() || self.run.has_leftovers()
    }
}

/// The key of the plan that a repeated attempt was made by: pods were replaced, so uids and answers are others.
pub fn plan_key(attempt: u8) -> String {
    format!("plan.{attempt}")
}

/// The plan of the last attempt that began.
fn latest_plan(loaded: &Loaded<Event>) -> &str {
    let mut attempts = loaded.entries.iter().rev().filter_map(|entry| match entry.event {
        Event::Attempt(n) => Some(plan_key(n)),
        _ => None,
    });
    attempts.find_map(|key| loaded.keys.get(&key)).unwrap_or(&loaded.plan)
}

/// One key of a journal as a value.
pub fn key<T: DeserializeOwned>(stored: &Stored, loaded: &Loaded<impl Sized>, key: &str) -> Result<Option<T>, Error> {
    match loaded.keys.get(key) {
        None => Ok(None),
        Some(text) => serde_json::from_str(text).map(Some).map_err(|e| damaged(stored, key, e)),
    }
}

fn damaged(stored: &Stored, what: &str, why: impl std::fmt::Display) -> Error {
    Error::failed(format!("the record of run {} (configmap/{}) cannot be read: {what}", stored.run, stored.name))
        .cause(why)
}

/// What this journal tells, whatever kind it is.
pub fn item(stored: &Stored) -> Result<Item, Error> {
    match stored.kind {
        Some(Kind::Backup) => {
            let mut backup = BackupJournal::read(stored)?.record()?;
            backup.status.rebuilt = stored.rebuilt;
            Ok(Item::Backup(Box::new(backup)))
        }
        Some(Kind::Restore) => Ok(Item::Restore(Box::new(crate::executor::restore::record(stored)?))),
        None => Err(damaged(stored, "its kind", "a newer version wrote it")),
    }
}

/// The journal of a run, unread; where it is gone, and the copies of the backup are not, what their contents tell.
pub async fn stored(cluster: &Cluster, namespace: &str, run: &str) -> Result<Stored, Error> {
    match find(cluster, namespace, run).await? {
        Ok(stored) => Ok(stored),
        Err(unknown) => Err(unknown),
    }
}

/// The same where nobody knows whether there is such a run: the inner error says that there is none.
async fn find(cluster: &Cluster, namespace: &str, run: &str) -> Result<Result<Stored, Error>, Error> {
    if let Some(stored) = journal::find(cluster, namespace, run).await? {
        return Ok(Ok(stored));
    }
    rebuilt::find(cluster, namespace, run).await
}

/// The journal of the run that the user named. One that is not there, or is of another kind, is refused: nothing was
/// touched.
pub async fn named(cluster: &Cluster, name: &RunName) -> Result<Stored, Error> {
    let found = find(cluster, &cluster.namespace, &name.id).await?;
    let stored = found.map_err(|unknown| Error { code: ExitCode::Refused, ..unknown })?;
    name.fits(&stored)?;
    Ok(stored)
}

/// One run's record.
pub async fn one(cluster: &Cluster, namespace: &str, run: &str) -> Result<Item, Error> {
    as_it_is(cluster, &stored(cluster, namespace, run).await?).await
}

/// What this journal tells, with what has become of its copies since.
pub async fn as_it_is(cluster: &Cluster, stored: &Stored) -> Result<Item, Error> {
    let mut item = item(stored)?;
    copies::look_again(cluster, std::slice::from_mut(&mut item)).await;
    Ok(item)
}

/// One backup's record.
pub async fn backup(cluster: &Cluster, namespace: &str, run: &str) -> Result<Backup, Error> {
    match one(cluster, namespace, run).await? {
        Item::Backup(backup) => Ok(*backup),
        Item::Restore(_) => Err(Error::failed(format!("run {run} is a restore, not a backup"))),
    }
}

/// All runs, and what cannot be read, in words.
pub async fn all(cluster: &Cluster, namespace: Option<&str>) -> Result<(Vec<Item>, Vec<String>), Error> {
    let (mut items, mut unread) = (Vec::new(), Vec::new());
    let mut runs = journal::list(cluster, namespace).await?;
    match rebuilt::all(cluster, namespace, &runs).await {
        Ok(gone) => runs.extend(gone),
        Err(why) => unread.push(format!("backups whose record is gone are not looked for: {why}")),
    }
    for stored in runs {
        match item(&stored) {
            Ok(item) => items.push(item),
            Err(error) => unread.push(error.to_string()),
        }
    }
    copies::look_again(cluster, &mut items).await;
    Ok((items, unread))
}

/// Every run with something left to do: those first that may hold something, for the others may take minutes; then by
/// age. One that cannot be read counts as such.
pub async fn open(cluster: &Cluster, namespace: Option<&str>) -> Result<Vec<Stored>, Error> {
    Ok(left_open(journal::list(cluster, namespace).await?))
}

/// Those of them with something left to do, in the same order.
pub fn left_open(runs: Vec<Stored>) -> Vec<Stored> {
    let mut open: Vec<Stored> = runs
        .into_iter()
        .filter(|stored| match stored.kind {
            Some(Kind::Backup) => BackupJournal::read(stored).map_or(true, |j| j.is_open()),
            Some(Kind::Restore) => crate::executor::restore::is_open(stored),
            None => false,
        })
        .collect();
    open.sort_by_key(|stored| (!may_hold(stored), stored.created, stored.run.clone()));
    open
}

/// Whether a database may be held, or a workload be down.
fn may_hold(stored: &Stored) -> bool {
    match stored.kind {
        Some(Kind::Backup) => BackupJournal::read(stored).map_or(true, |j| !j.run.may_be_held().is_empty()),
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::record::entry::{Detail, Entry};

    /// Fails unless everything that was printed once is still there, with the same value; more may be added.
    fn still_says(now: &serde_json::Value, then: &serde_json::Value, at: &str) {
        match (now, then) {
            (serde_json::Value::Object(now), serde_json::Value::Object(then)) => {
                for (field, value) in then {
                    let here = format!("{at}.{field}");
                    still_says(now.get(field).unwrap_or_else(|| panic!("no {here} any more")), value, &here);
                }
            }
            (serde_json::Value::Array(now), serde_json::Value::Array(then)) => {
                assert_eq!(now.len(), then.len(), "{at}");
                now.iter().zip(then).for_each(|(now, then)| still_says(now, then, at));
            }
            _ => assert_eq!(now, then, "{at}"),
        }
    }

    /// ConfigMaps as they lay in a cluster, and what `describe -o json` printed of them that day: backups that succeeded
    /// and failed, restores that succeeded and went back after they were killed.
    #[test]
    fn journals_of_the_first_format_still_tell_the_same() {
        macro_rules! golden {
            ($($name:literal)*) => {
                [$((
                    $name,
                    include_str!(concat!("../tests/fixtures/journals/", $name, ".json")),
                    include_str!(concat!("../tests/fixtures/journals/", $name, ".record.json")),
                )),*]
            };
        }
        for (name, object, printed) in golden!("backup-1" "backup-2" "restore-1" "restore-2") {
            let stored = Stored::new(serde_json::from_str(object).unwrap());
            let printed = serde_json::from_str(printed).unwrap();
            still_says(&serde_json::to_value(item(&stored).unwrap()).unwrap(), &printed, name);
        }
    }

    #[test]
    fn a_repeated_attempt_is_led_by_its_own_plan() {
        let attempt =
            |n| Entry { at: jiff::Timestamp::UNIX_EPOCH, event: Event::Attempt(n), detail: Detail::default() };
        let mut loaded = Loaded { plan: "first".into(), keys: [].into(), entries: vec![attempt(1)] };
        // Its plan is written before it begins; until then the first one counts.
        loaded.keys.insert(plan_key(2), "second".into());
        assert_eq!(latest_plan(&loaded), "first");
        loaded.entries.push(attempt(2));
        assert_eq!(latest_plan(&loaded), "second");
        // Attempts whose plan nobody wrote: none is invented.
        loaded.entries.push(attempt(3));
        assert_eq!(latest_plan(&loaded), "second");
    }
}
