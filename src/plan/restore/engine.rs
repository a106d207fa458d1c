//! Whether an engine would read the restored files as the backed-up one did.

use super::facts::Facts;
use crate::error::Refusal;
use crate::plan::Plan;
use crate::quiescer::Probe;

/// Settings that decide which files an engine reads, or say which database the files are. A Redis that was backed up
/// with only dump.rdb and starts with `appendonly yes` is empty, and says nothing about it.
const FILES: &[&str] = &[
    "appenddirname",
    "appendfilename",
    "appendonly",
    "data_directory",
    "datadir",
    "dbfilename",
    "dir",
    "innodb_data_file_path",
    "innodb_page_size",
];
/// Says which database the files are; the one that is being replaced may be another.
const IDENTITY: &[&str] = &["system_identifier"];

/// Refuses engines that run now and would read other files than were backed up, are of another major version, or say
/// something of their image or configuration for which the restored one would not count as recovered either. One that
/// does not answer, or is ill for what lies in its data, is perhaps why the restore is asked for: it is judged after the
/// start, by [`other_database`]. What lies in the version alone, the user may force: that goes to `versions`.
pub(super) fn check(
    plan: &Plan,
    facts: &Facts,
    versions: &mut Vec<Refusal>,
    refusals: &mut Vec<Refusal>,
    notes: &mut Vec<String>,
) {
    for (target, now) in plan.targets.iter().zip(&facts.probes) {
        let object = format!("pod/{}", target.pod);
        let now = match now {
            Ok(now) => now,
            Err(reasons) => {
                for reason in reasons {
                    if reason.in_data {
                        notes.push(format!("{object} now: {}", reason.message));
                    } else {
                        refusals.push(reason.clone().refuse(object.clone()));
                    }
                }
                continue;
            }
        };
        if now.is_replica() && !target.probe.is_replica() {
            notes.push(format!(
                "{object} is a read replica now, but was the primary at the backup: what gives the roles must give it that \
                 one again, or the restore goes back"
            ));
        } else if let Some(why) = other_files(&target.probe, now) {
            refusals
                .push(Refusal::new(object, why).hint("configure it as it was at the time of the backup, then restore"));
        } else if let Some(why) = other_version(&target.probe, now) {
            versions.push(Refusal::new(object, why).hint(
                "set the image back, make copies of the claims (--claims-only --suffix NAME), or take the risk with \
                 --force-version",
            ));
        }
    }
}

/// Why this engine would not read what the backed-up one wrote.
pub fn other_files(then: &Probe, now: &Probe) -> Option<String> {
    differ(FILES, then, now)
}

/// Why this is not the backed-up database. Another version of it may be allowed.
pub fn other_database(then: &Probe, now: &Probe, any_version: bool) -> Option<String> {
    let version = || other_version(then, now).filter(|_| !any_version);
    other_files(then, now).or_else(|| differ(IDENTITY, then, now)).or_else(version)
}

fn differ(names: &[&str], then: &Probe, now: &Probe) -> Option<String> {
    let has = |probe: &Probe, name: &str| probe.settings.iter().any(|(n, _)| n == name);
    let other = |name: &&&str| has(then, name) && has(now, name) && then.setting(name) != now.setting(name);
    let name = names.iter().find(other)?;
    Some(format!("{name} is {} now, but was {} at the backup", quoted(now.setting(name)), quoted(then.setting(name))))
}

fn quoted(text: &str) -> &str {
    if text.is_empty() { "empty" } else { text }
}

fn other_version(then: &Probe, now: &Probe) -> Option<String> {
    let (then, now) = (&then.version, &now.version);
    let differ = major(then) != major(now) || family(then) != family(now);
    differ.then(|| format!("its version is {now} now, but was {then} at the backup"))
}

/// The leading number. MariaDB and PostgreSQL before 10 count major versions by two numbers; a step between these is
/// an upgrade that the engine does by itself, so it is left to the engine.
fn major(version: &str) -> &str {
    version.split(|c: char| !c.is_ascii_digit()).next().unwrap_or_default()
}

fn family(version: &str) -> bool {
    version.to_ascii_lowercase().contains("mariadb")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn probe(version: &str, settings: &[(&str, &str)]) -> Probe {
        let settings = settings.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
        Probe { version: version.into(), settings, ..Probe::default() }
    }

    #[test]
    fn a_redis_that_would_start_empty_is_seen() {
        let then = probe("7.0.15", &[("appendonly", "no"), ("save", "900 1")]);
        let now = probe("7.0.15", &[("appendonly", "yes"), ("save", "")]);
        assert_eq!(other_files(&then, &now).as_deref(), Some("appendonly is yes now, but was no at the backup"));
        assert_eq!(other_files(&then, &probe("7", &[])), None, "not asked for is not different");
    }

    #[test]
    fn another_cluster_or_major_version_is_another_database() {
        let then = probe("15.18", &[("system_identifier", "1")]);
        assert_eq!(other_database(&then, &probe("15.19", &[("system_identifier", "1")]), false), None);
        assert!(other_database(&then, &probe("15.18", &[("system_identifier", "2")]), true).is_some());
        let upgraded = probe("16.1", &[("system_identifier", "1")]);
        assert!(other_database(&then, &upgraded, false).is_some());
        assert_eq!(other_database(&then, &upgraded, true), None);
        assert!(other_database(&probe("10.11.1-MariaDB", &[]), &probe("10.2.1", &[]), false).is_some());
    }
}
