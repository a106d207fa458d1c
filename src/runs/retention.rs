//! Which backups `prune` keeps, in restic's words. Pure.
//!
//! Backups of the same claims are a group, and each group is judged by itself: one application's backups never push out
//! another's. Only whole backups count; whatever is not understood to be one is kept, and a backup that failed goes once
//! a later whole one is there.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;

use crate::plan::Backend;
use crate::record::backup::Backup;

/// What is kept: what any of the rules keeps.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Keep {
    /// So many of the newest of each group.
    pub last: Option<usize>,
    /// Those not older than this, counted back from the newest of their group.
    pub within: Option<Duration>,
}

/// What becomes of a backup, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// Its id.
    pub run: String,
    /// Whether it stays.
    pub keep: bool,
    /// Why.
    pub why: String,
}

/// Judges all backups; the verdicts are in their order.
pub fn judge(backups: &[&Backup], keep: &Keep) -> Vec<Verdict> {
    let mut groups: BTreeMap<Vec<String>, Vec<usize>> = BTreeMap::new();
    for (n, backup) in backups.iter().enumerate() {
        groups.entry(group(backup)).or_default().push(n);
    }
    let mut verdicts: Vec<(usize, Verdict)> =
        groups.into_values().flat_map(|members| of_group(backups, &members, keep)).collect();
    verdicts.sort_by_key(|(n, _)| *n);
    verdicts.into_iter().map(|(_, verdict)| verdict).collect()
}

/// The claims that it is of; where it copied none, what was held.
fn group(backup: &Backup) -> Vec<String> {
    let status = &backup.status;
    if status.claims.is_empty() {
        let releases = status.releases.iter().map(|release| format!("release {}", release.path()));
        let targets = status.targets.iter().filter(|target| target.release.is_empty());
        let targets = targets.map(|t| format!("target {}/{}/{}", t.namespace, t.pod, t.container));
        let mut held: Vec<String> = releases.chain(targets).collect();
        held.sort();
        return held;
    }
    let mut claims: Vec<String> = status.claims.iter().map(|c| format!("{}/{}", c.namespace, c.claim)).collect();
    claims.sort();
    claims
}

fn of_group(backups: &[&Backup], members: &[usize], keep: &Keep) -> Vec<(usize, Verdict)> {
    let mut newest_first = members.to_vec();
    newest_first.sort_by_key(|&n| std::cmp::Reverse(made(backups[n])));
    let whole: Vec<usize> = newest_first.iter().copied().filter(|&n| is_whole(backups[n])).collect();
    // However many lesser ones came after it.
    let best = whole.iter().copied().find(|&n| backups[n].status.outcome == "ApplicationConsistent");
    let newest = whole.first().map(|&n| made(backups[n]));
    let judged = newest_first.iter().map(|&n| {
        let backup = backups[n];
        let place = whole.iter().position(|&w| w == n);
        let age = newest.map(|newest| newest.duration_since(made(backup)));
        let (keep, why) = match (place, backup.status.outcome.as_str()) {
            (Some(place), _) if keep.last.is_some_and(|last| place < last) => {
                (true, format!("number {} of the last {}", place + 1, keep.last.unwrap_or_default()))
            }
            (Some(_), _) if keep.within.is_some_and(|within| age.is_some_and(|age| age.unsigned_abs() <= within)) => {
                (true, "within the time that is kept".into())
            }
            (Some(_), _) if best == Some(n) => (true, "the newest that is application-consistent".into()),
            (Some(_), _) => (false, "no rule keeps it".into()),
            (None, "Failed") if newest.is_some_and(|newest| newest > made(backup)) => {
                (false, "it failed, and a later backup is there".into())
            }
            (None, "Failed") => (true, "it failed, and no later backup is there".into()),
            (None, "ApplicationConsistent" | "CrashConsistent") if is_bad(backup) => {
                (true, "its verification failed: whoever knows why may delete it".into())
            }
            (None, "ApplicationConsistent" | "CrashConsistent") if is_unseen(backup) => {
                (true, "not all of its copies were found in the cluster".into())
            }
            (None, "ApplicationConsistent" | "CrashConsistent") => (true, "not all of its copies are ready".into()),
            (None, outcome) => (true, format!("its outcome is {outcome}")),
        };
        (n, Verdict { run: backup.metadata.name.clone(), keep, why })
    });
    judged.collect()
}

fn made(backup: &Backup) -> Timestamp {
    backup.metadata.creation_timestamp
}

/// Whether it can be restored from. Records are older than what somebody may have deleted since: no answer counts as not
/// found.
fn is_whole(backup: &Backup) -> bool {
    let status = &backup.status;
    matches!(status.outcome.as_str(), "ApplicationConsistent" | "CrashConsistent")
        // What copied nothing is all there is.
        && (status.backend != Backend::Csi || !status.claims.is_empty())
        && status.claims.iter().all(|claim| claim.ready && claim.seen)
        && !is_bad(backup)
}

/// Whether a copy of it was started and is not well.
fn is_bad(backup: &Backup) -> bool {
    backup.status.verified.as_ref().is_some_and(|verified| !verified.ok)
}

/// Whether a copy that was ready once was not found now.
fn is_unseen(backup: &Backup) -> bool {
    backup.status.claims.iter().any(|claim| claim.gone.is_some() || (claim.ready && !claim.seen))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// A backup of these claims, made at this hour of a day.
    fn backup(run: &str, hour: u32, outcome: &str, claims: &[&str], ready: bool) -> Backup {
        let claims: Vec<_> = claims
            .iter()
            .map(|claim| {
                json!({"namespace": "demo", "claim": claim, "volumeSnapshot": null, "content": null, "handle": null,
                    "cutAt": null, "provedAt": null, "ready": ready, "restoreSize": null})
            })
            .collect();
        let mut backup: Backup = serde_json::from_value(json!({
            "apiVersion": "consistent-backup/v1", "kind": "Backup",
            "metadata": {"name": run, "namespace": "demo", "creationTimestamp": format!("2026-11-20T{hour:02}:00:00Z")},
            "spec": {"request": "x", "quiesceBudgetSeconds": 30.0, "attempts": 3},
            "status": {"outcome": outcome, "reason": "", "mayBeHeld": [], "window": null, "targets": [], "claims": claims,
                "pods": {"before": [], "after": [], "differences": []}, "attempt": 1, "snapshotsRemoved": "notNeeded", "kept": true,
                "attempts": []}
        }))
        .unwrap();
        backup.status.claims.iter_mut().for_each(|claim| claim.seen = ready && run != "lost");
        backup
    }

    /// A window of this release.
    fn window(run: &str, hour: u32, release: &str, outcome: &str) -> Backup {
        let mut window = backup(run, hour, outcome, &[], true);
        window.status.backend = Backend::Window { hold: std::time::Duration::from_secs(10) };
        window.status.releases = serde_json::from_value(json!([{
            "namespace": "demo", "name": release, "product": "Ledger", "chart": "", "appVersion": "", "deployment": "",
            "service": "", "properties": null
        }]))
        .unwrap();
        window
    }

    #[test]
    fn windows_are_judged_by_what_was_held() {
        let consistent = "ApplicationConsistent";
        let runs = [
            window("a1", 1, "a", consistent),
            window("a2", 2, "a", "Failed"),
            window("b1", 2, "b", consistent),
            window("a3", 3, "a", consistent),
        ];
        let rules = Keep { last: Some(1), within: None };
        let kept: Vec<String> = judge(&runs.each_ref(), &rules).into_iter().filter(|v| v.keep).map(|v| v.run).collect();
        assert_eq!(kept, ["b1", "a3"]);
    }

    fn whole(run: &str, hour: u32) -> Backup {
        backup(run, hour, "ApplicationConsistent", &["a"], true)
    }

    /// The runs that go.
    fn gone(backups: &[Backup], keep: &Keep) -> Vec<String> {
        let verdicts = judge(&backups.iter().collect::<Vec<_>>(), keep);
        assert_eq!(verdicts.len(), backups.len());
        verdicts.into_iter().filter(|v| !v.keep).map(|v| v.run).collect()
    }

    fn last(n: usize) -> Keep {
        Keep { last: Some(n), within: None }
    }

    #[test]
    fn the_newest_of_each_group_stay() {
        let mut all = vec![whole("a1", 1), whole("a3", 3), whole("a2", 2)];
        all.extend([1, 2].map(|n| backup(&format!("b{n}"), n, "CrashConsistent", &["b", "c"], true)));
        assert_eq!(gone(&all, &last(1)), ["a1", "a2", "b1"]);
        assert_eq!(gone(&all, &last(2)), ["a1"]);
        assert_eq!(gone(&all, &last(9)), Vec::<String>::new());
    }

    #[test]
    fn time_counts_back_from_the_newest_and_any_rule_keeps() {
        let all = [whole("a1", 1), whole("a2", 2), whole("a5", 5)];
        let hours = |hours: u64| Duration::from_secs(hours * 3600);
        assert_eq!(gone(&all, &Keep { last: None, within: Some(hours(3)) }), ["a1"]);
        assert_eq!(gone(&all, &Keep { last: None, within: Some(hours(0)) }), ["a1", "a2"]);
        assert_eq!(gone(&all, &Keep { last: Some(2), within: Some(hours(0)) }), ["a1"]);
    }

    #[test]
    fn what_is_no_whole_backup_neither_counts_nor_goes_for_a_rule() {
        let all = [
            whole("good", 2),
            backup("uploading", 5, "ApplicationConsistent", &["a"], false),
            backup("running", 6, "Running", &["a"], false),
            backup("stuck", 1, "Stuck", &["a"], false),
        ];
        assert_eq!(gone(&all, &last(1)), Vec::<String>::new());
    }

    #[test]
    fn what_was_not_found_in_the_cluster_does_not_count() {
        assert_eq!(gone(&[whole("a1", 1), whole("lost", 2)], &last(1)), Vec::<String>::new());
        assert_eq!(gone(&[whole("a1", 1), whole("a2", 2), whole("lost", 3)], &last(1)), ["a1"]);
    }

    #[test]
    fn one_whose_verification_failed_is_not_the_last_good_one() {
        let verified = |run: &str, hour, ok| {
            let mut backup = whole(run, hour);
            let at = backup.metadata.creation_timestamp;
            backup.status.verified =
                Some(crate::record::verified::Verified { at, ok, targets: Vec::new(), queries: Vec::new() });
            backup
        };
        assert_eq!(gone(&[whole("a1", 1), verified("bad", 2, false)], &last(1)), Vec::<String>::new());
        assert_eq!(gone(&[whole("a1", 1), verified("good", 2, true)], &last(1)), ["a1"]);
        assert_eq!(gone(&[verified("bad", 1, false), whole("a2", 2)], &last(1)), Vec::<String>::new());
    }

    #[test]
    fn the_newest_application_consistent_one_stays() {
        let lesser = |run: &str, hour| backup(run, hour, "CrashConsistent", &["a"], true);
        assert_eq!(gone(&[whole("a1", 1), whole("a2", 2), lesser("c3", 3), lesser("c4", 4)], &last(1)), ["a1", "c3"]);
    }

    #[test]
    fn a_failed_one_goes_once_a_later_one_is_whole() {
        let failed = |run: &str, hour| backup(run, hour, "Failed", &["a"], false);
        assert_eq!(gone(&[failed("f1", 1), whole("a2", 2), failed("f3", 3)], &last(1)), ["f1"]);
        assert_eq!(gone(&[failed("f1", 1), failed("f2", 2)], &last(1)), Vec::<String>::new());
        let other = backup("b2", 2, "ApplicationConsistent", &["b"], true);
        assert_eq!(gone(&[failed("f1", 1), other], &last(1)), Vec::<String>::new(), "of another group");
    }
}
