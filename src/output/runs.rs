//! Tables and texts about runs: what list, describe and the end of a run print.

use std::fmt::Write;

use jiff::Timestamp;

use super::age::age;
use super::pods::pod_changes;
use super::table::Table;
use crate::escape::escape_line;
use crate::plan::{Location, location};
use crate::record::backup::{Backup, ClaimStatus};
use crate::record::item::Item;
use crate::typed::Typed;

/// The table of `list`.
pub fn list(items: &[Item], now: Timestamp, namespaces: bool, wide: bool) -> String {
    let mut headings = vec!["NAME", "KIND", "OUTCOME", "HELD", "CLAIMS", "READY", "VERIFIED", "AGE"];
    if namespaces {
        headings.insert(0, "NAMESPACE");
    }
    if wide {
        headings.extend(["REQUEST", "REASON"]);
    }
    let mut table = Table::new(headings);
    for item in items {
        let metadata = item.metadata();
        let mut row = vec![metadata.name.clone(), item.kind().to_owned(), item.outcome().to_owned()];
        match item {
            Item::Backup(backup) => row.extend([
                held(backup),
                backup.status.claims.len().to_string(),
                format!("{}/{}", backup.status.claims.iter().filter(|c| c.ready).count(), backup.status.claims.len()),
                verified(backup).to_owned(),
            ]),
            Item::Restore(restore) => {
                row.extend(["-".to_owned(), restore.status.claims.len().to_string(), "-".to_owned(), "-".to_owned()]);
            }
        }
        row.push(age(Some(metadata.creation_timestamp), now));
        if namespaces {
            row.insert(0, metadata.namespace.clone());
        }
        if wide {
            row.extend([item.request().to_owned(), item.reason().to_owned()]);
        }
        table.row(row);
    }
    table.to_string()
}

/// Whether its databases were started from copies and are well.
fn verified(backup: &Backup) -> &'static str {
    match &backup.status.verified {
        None => "-",
        Some(verified) if verified.ok => "yes",
        Some(_) => "no",
    }
}

/// The longest hold, as `0.21s`; `-` where nothing stopped commits, `unknown` where somebody was not seen released.
fn held(backup: &Backup) -> String {
    let each: Option<Vec<f64>> = backup.status.targets.iter().map(|t| t.held_seconds).collect();
    let Some(each) = each else { return "unknown".into() };
    let longest = each.into_iter().fold(0.0, f64::max);
    if longest > 0.0 { format!("{longest:.2}s") } else { "-".into() }
}

/// The targets of a backup with what is proved of each.
fn targets(backup: &Backup) -> String {
    let mut table = Table::new(["TARGET", "ADAPTER", "VERSION", "HOLD", "HELD", "SECONDS", "RECOVERY-POINT"]);
    for t in &backup.status.targets {
        // Whole files stand in `-o json` only.
        let short = t.recovery_point.iter().filter(|(_, v)| v.len() <= 64);
        let point: Vec<String> = short.map(|(k, v)| format!("{k}={v}")).collect();
        table.row([
            format!("{}/{}/{}", t.namespace, t.pod, t.container),
            t.adapter.clone(),
            t.version.clone(),
            match (t.stopped, t.stops_commits) {
                (true, _) => "stopped",
                (false, true) => "full",
                (false, false) => "light",
            }
            .to_owned(),
            match &t.held {
                serde_json::Value::Bool(true) => "yes".to_owned(),
                serde_json::Value::Bool(false) => "no".to_owned(),
                _ => "unknown".to_owned(),
            },
            t.held_seconds.map_or_else(|| "unknown".to_owned(), |held| format!("{held:.3}")),
            point.join(","),
        ]);
    }
    table.to_string()
}

/// An instant as finely as it is known: some drivers, and the VolumeSnapshot's own time, have whole seconds only.
fn cut_at(at: Timestamp) -> String {
    if at.subsec_nanosecond() == 0 { format!("{at:.0}") } else { format!("{at:.3}") }
}

/// The copies of a backup.
fn claims(backup: &Backup) -> String {
    let mut table = Table::new(["CLAIM", "VOLUMESNAPSHOT", "CUT-AT", "READY", "SIZE"]);
    for c in &backup.status.claims {
        table.row([
            format!("{}/{}", c.namespace, c.claim),
            c.volume_snapshot.clone().unwrap_or_default(),
            c.cut_at.map(cut_at).unwrap_or_default(),
            c.ready.to_string(),
            c.restore_size.clone().unwrap_or_default(),
        ]);
    }
    table.to_string()
}

/// What stands at the end of `quiesce-snapshot` and in `describe`.
pub fn outcome(backup: &Backup, typed: &Typed) -> String {
    let status = &backup.status;
    let mut text = format!("backup {}: {}", escape_line(&backup.metadata.name), escape_line(&status.outcome));
    if !status.reason.is_empty() {
        let _ = write!(text, "\nreason: {}", escape_line(&status.reason));
    }
    if let Some(window) = &status.window {
        let _ = write!(
            text,
            "\nwindow: {:.3} to {:.3} ({:.3} s; recovery point {:.3}, within {:.3} s)",
            window.start, window.end, window.seconds, window.middle, window.accuracy_seconds
        );
    }
    for released in status.targets.iter().filter_map(|t| t.released.as_ref()) {
        let _ = write!(text, "\n{}", escape_line(released));
    }
    if !status.may_be_held.is_empty() {
        let _ = write!(
            text,
            "\nmay be held: {}\nrelease with: {}",
            escape_line(&status.may_be_held.join(", ")),
            typed.thaw(&backup.metadata.name, &backup.metadata.namespace)
        );
    }
    match status.snapshots_removed.as_str() {
        "removed" => text.push_str("\nsnapshots of the failed attempt: removed"),
        "pending" => {
            let _ = write!(
                text,
                "\nsnapshots of the failed attempt: NOT removed yet: {}\nfinish with: {}",
                match status.snapshots_left.join("; ") {
                    none if none.is_empty() && status.outcome == "Running" => "the run is not over".to_owned(),
                    none if none.is_empty() => "the storage driver does not answer".to_owned(),
                    left => escape_line(&left),
                },
                typed.thaw(&backup.metadata.name, &backup.metadata.namespace)
            );
        }
        _ => {}
    }
    text.push('\n');
    text
}

/// What `quiesce-snapshot` prints when it is over.
pub fn result(backup: &Backup, typed: &Typed, now: Timestamp) -> String {
    let status = &backup.status;
    let mut text = String::new();
    for attempt in &status.attempts {
        let _ = writeln!(text, "attempt {} was repeated: {}", attempt.attempt, escape_line(&attempt.reason));
    }
    if !status.targets.is_empty() {
        let _ = writeln!(text, "{}\n", targets(backup).trim_end());
    }
    if !status.claims.is_empty() {
        let _ = writeln!(text, "{}\n", claims(backup).trim_end());
    }
    if let Some(ran) = &status.command {
        let _ = writeln!(text, "{}\n", escape_line(&ran.told()));
    }
    let stopped = status.targets.iter().any(|t| t.stopped);
    if stopped && !status.pods.after.is_empty() && status.pods.differences.is_empty() {
        let _ = writeln!(text, "pods: stopped and started again, otherwise unchanged ({})\n", status.pods.after.len());
    } else if !status.pods.after.is_empty() {
        let _ = writeln!(text, "{}\n", pod_changes(&status.pods.before, &status.pods.after, now).trim_end());
    }
    if let Some(verified) = &status.verified {
        let _ = writeln!(text, "{}", super::verified::described(verified));
    }
    text.push_str(&outcome(backup, typed));
    text
}

/// Where a copy lies, and the driver that made it.
fn made_by(claim: &ClaimStatus) -> (Location, &str) {
    (claim.location, if claim.driver.is_empty() { "their driver" } else { &claim.driver })
}

/// All that is known of a backup.
pub fn describe(backup: &Backup, typed: &Typed, now: Timestamp) -> String {
    let (metadata, status) = (&backup.metadata, &backup.status);
    let mut text = String::new();
    let _ = writeln!(text, "Name:        {}", escape_line(&metadata.name));
    let _ = writeln!(text, "Namespace:   {}", escape_line(&metadata.namespace));
    let _ = writeln!(
        text,
        "Created:     {:.3} ({} ago)",
        metadata.creation_timestamp,
        age(Some(metadata.creation_timestamp), now)
    );
    let _ = writeln!(text, "Request:     {}", escape_line(&backup.spec.request));
    if status.rebuilt {
        let _ = writeln!(text, "Record:      gone; this is rebuilt from the annotations of its volumesnapshotcontents");
    }
    for release in &status.releases {
        let about = escape_line([release.chart.as_str(), release.app_version.as_str()].join(" ").trim());
        let path = escape_line(&release.path());
        let _ = writeln!(text, "Release:     {path} ({}, {about})", release.product.title());
    }
    if status.outcome.ends_with("Consistent") && !status.claims.is_empty() {
        let _ = writeln!(
            text,
            "Kept:        {}",
            if status.kept {
                "yes, the copies outlive their namespace (deletionPolicy Retain)"
            } else {
                "no, the copies are deleted with their VolumeSnapshots, also with the namespace"
            }
        );
        for line in location::lines(status.claims.iter().map(made_by)) {
            let _ = writeln!(text, "Location:    {}", escape_line(&line));
        }
        let gone: Vec<&str> = status.claims.iter().filter_map(|c| c.gone.as_deref()).collect();
        if !gone.is_empty() {
            let _ = writeln!(text, "Gone:        {}", escape_line(&gone.join("; ")));
        }
        let _ = match &status.verified {
            None => writeln!(text, "Verified:    no: no copy of it was opened"),
            Some(v) if v.ok => writeln!(text, "Verified:    yes, at {:.0} ({} ago)", v.at, age(Some(v.at), now)),
            Some(v) => writeln!(text, "Verified:    IT FAILED, at {:.0}: {}", v.at, escape_line(&v.bad().join(", "))),
        };
    }
    let _ = writeln!(text, "\n{}", result(backup, typed, now).trim_end());
    for note in &status.notes {
        let _ = writeln!(text, "note: {}", escape_line(note));
    }
    let settings: Vec<String> = status
        .targets
        .iter()
        .flat_map(|t| t.settings.iter().map(move |(k, v)| escape_line(&format!("  {}/{} {k}={v}", t.pod, t.container))))
        .collect();
    if !settings.is_empty() {
        let _ = writeln!(text, "\nsettings of the databases at the time:\n{}", settings.join("\n"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn stuck() -> Backup {
        serde_json::from_value(json!({
            "apiVersion": "consistent-backup/v1", "kind": "Backup",
            "metadata": {"name": "r1", "namespace": "demo", "creationTimestamp": "2026-11-20T10:00:00Z"},
            "spec": {"request": "sts/db", "quiesceBudgetSeconds": 30.0, "attempts": 1},
            "status": {"outcome": "Stuck", "reason": "no answer", "attempt": 1, "mayBeHeld": ["demo/db-0/db"],
                "window": null, "targets": [], "claims": [], "pods": {"before": [], "after": [], "differences": []},
                "snapshotsRemoved": "pending", "snapshotsLeft": ["x keeps Retain"], "kept": false, "attempts": [], "notes": ["a remark"]}
        }))
        .unwrap()
    }

    #[test]
    fn what_may_be_held_comes_with_the_command_for_its_cluster() {
        let typed = Typed::new([("--context", "prod".to_owned())]);
        let text = outcome(&stuck(), &typed);
        assert!(text.contains("\nrelease with: kubectl consistent-backup thaw r1 -n demo --context prod\n"), "{text}");
        assert!(text.contains("NOT removed yet: x keeps Retain\n"), "{text}");
        assert!(text.contains("\nfinish with: kubectl consistent-backup thaw r1 -n demo --context prod\n"), "{text}");
    }

    #[test]
    fn describe_shows_the_plans_remarks() {
        let now = "2026-11-20T10:00:00Z".parse().unwrap();
        let text = describe(&stuck(), &Typed::default(), now);
        assert!(text.ends_with("note: a remark\n"), "{text}");
    }
}
