//! Tables and texts about restores: the plan, the result, and what `describe` prints.

use std::fmt::Write;

use jiff::Timestamp;

use super::Format;
use super::age::age;
use super::pods::pod_table;
use super::table::Table;
use crate::error::Error;
use crate::escape::escape_line;
use crate::plan::restore::anew::{Anew, New};
use crate::plan::restore::undo::UndoPlan;
use crate::plan::restore::{Claim, Copies, FromArchive, RestorePlan, Workload};
use crate::pods::PodState;
use crate::record::restore::Restore;
use crate::typed::Typed;

/// What stands for the snapshot of a claim that starts empty.
const EMPTY: &str = "<empty>";

/// The plan of a restore in place.
pub fn plan(plan: &RestorePlan, pods: &[PodState], now: Timestamp) -> String {
    let mut text = format!(
        "restore {} of backup {} ({}, {} old)\n\n",
        escape_line(&plan.run),
        escape_line(&plan.backup.run),
        escape_line(&plan.backup.outcome),
        age(Some(plan.backup.instant), now)
    );
    let mut table = Table::new(["STOP", "NAMESPACE", "REPLICAS", "THEN"]);
    for w in &plan.workloads {
        table.row([w.path(), w.namespace.clone(), w.replicas.to_string(), w.start.to_string()]);
    }
    let _ = writeln!(text, "{}\n", table.to_string().trim_end());
    let mut table = Table::new(["SET", "RELEASE", "IN", "NOW", "TO"]);
    for edit in &plan.edits {
        for value in &edit.values {
            let now = value.old.clone().unwrap_or_default();
            table.row([value.key.clone(), edit.of(), edit.path(), now, value.new.clone()]);
        }
    }
    if !plan.edits.is_empty() {
        let _ = writeln!(text, "{}\n", table.to_string().trim_end());
    }
    let mut table = Table::new(["REPLACE", "NAMESPACE", "SIZE", "SNAPSHOT", "OLD-VOLUME", "RECLAIM"]);
    for c in &plan.claims {
        let old = c.old_volume();
        table.row([
            c.name.clone(),
            c.namespace.clone(),
            c.size.clone(),
            if c.empty { EMPTY.to_owned() } else { c.snapshot.clone() },
            old.map(|v| v.name.clone()).unwrap_or_default(),
            old.map(|v| retained(&v.reclaim_policy)).unwrap_or_default(),
        ]);
    }
    if !plan.claims.is_empty() {
        let _ = writeln!(text, "{}\n", table.to_string().trim_end());
    }
    let _ = writeln!(text, "{}", pod_table(pods, now).trim_end());
    if let Some(of) = &plan.archive {
        text.push_str(&recovery(plan, of));
    }
    for note in &plan.notes {
        let _ = write!(text, "\nnote: {}", escape_line(note));
    }
    for left in &plan.afterwards {
        let _ = write!(text, "\nto do afterwards: {}", escape_line(left));
    }
    if !plan.notes.is_empty() || !plan.afterwards.is_empty() {
        text.push('\n');
    }
    text
}

/// What is written to a copy before its server goes on from its archive.
fn recovery(plan: &RestorePlan, of: &FromArchive) -> String {
    let path = plan.targets.get(of.target).map(|t| t.target.path()).unwrap_or_default();
    let (_, pod) = of.pod();
    let (path, pod) = (escape_line(&path), escape_line(pod));
    let mut text = format!("\nbefore {path} is started on its copy, pod/{pod} writes:\n");
    for file in &of.recovery.files {
        let empty = if file.content.is_empty() { " (empty)" } else { "" };
        let _ = writeln!(text, "  {}{empty}", escape_line(&file.path));
        for line in file.content.lines() {
            let _ = writeln!(text, "    {}", escape_line(line));
        }
    }
    text
}

/// What `--dry-run` prints of a restore in place in this format; the plan for people is `text`.
pub fn dry_run(plan: &RestorePlan, text: String, format: Format) -> Result<String, Error> {
    let names = plan.workloads.iter().map(Workload::path).chain(plan.claims.iter().map(Claim::path));
    super::plan::document("RestorePlan", plan, names, text, format)
}

/// What becomes of a reclaim policy.
fn retained(policy: &str) -> String {
    if policy == "Retain" { policy.to_owned() } else { format!("{policy} -> Retain") }
}

/// What is asked before anything is stopped.
pub fn question(plan: &RestorePlan, discard_old: bool, now: Timestamp) -> String {
    let names: Vec<String> = plan.workloads.iter().map(Workload::path).collect();
    if plan.claims.is_empty() {
        return format!("stop {}, set its properties and start it again?", names.join(", "));
    }
    let volumes: Vec<&str> = plan.old_volumes().map(|v| v.name.as_str()).collect();
    let afterwards = if discard_old && !volumes.is_empty() {
        format!(", and these are deleted when it has succeeded: {}; this cannot be undone", volumes.join(", "))
    } else {
        String::new()
    };
    let (then, since) = match &plan.archive {
        Some(of) => (format!(", and go on from the archive to {}", of.wanted.target), "everything written after that"),
        None => (String::new(), "everything written since then"),
    };
    format!(
        "stop {} and put the data of {:.0} back, {} ago{then}? {since} will only be on the old volumes{afterwards}",
        names.join(", "),
        plan.backup.instant,
        age(Some(plan.backup.instant), now)
    )
}

/// What is done to take a restore back.
pub fn undo(plan: &UndoPlan) -> String {
    let mut text = format!("undoing restore {} of backup {}\n\n", escape_line(&plan.run), escape_line(&plan.backup));
    let mut table = Table::new(["STOP", "NAMESPACE", "THEN"]);
    for w in &plan.workloads {
        table.row([format!("{}/{}", w.kind.to_lowercase(), w.name), w.namespace.clone(), w.replicas.to_string()]);
    }
    let _ = writeln!(text, "{}\n", table.to_string().trim_end());
    let mut table = Table::new(["CLAIM", "NAMESPACE", "BACK-TO"]);
    for c in &plan.claims {
        table.row([c.claim.clone(), c.namespace.clone(), c.old_volume.clone().unwrap_or_default()]);
    }
    if !plan.claims.is_empty() {
        let _ = write!(text, "{}", table.to_string().trim_end());
    }
    let mut table = Table::new(["SET-BACK", "RELEASE", "IN", "TO"]);
    for edit in &plan.properties {
        for value in &edit.values {
            let old = value.old.clone().unwrap_or_default();
            table.row([value.key.clone(), edit.of(), edit.path(), old]);
        }
    }
    if !plan.properties.is_empty() {
        let _ = write!(text, "\n\n{}", table.to_string().trim_end());
    }
    for note in &plan.notes {
        let _ = write!(text, "\nnote: {}", escape_line(note));
    }
    for w in plan.workloads.iter().filter(|w| w.replicas == 0) {
        let _ = write!(
            text,
            "\nnote: {} was stopped when it was restored: it is left stopped, as it was",
            escape_line(&format!("{}/{}", w.kind.to_lowercase(), w.name))
        );
    }
    text
}

/// What `--dry-run` prints of taking a restore back in this format; the plan for people is `text`.
pub fn dry_run_undo(plan: &UndoPlan, text: String, format: Format) -> Result<String, Error> {
    let workloads = plan.workloads.iter().map(|w| format!("{}/{}", w.kind.to_lowercase(), w.name));
    let names = workloads.chain(plan.claims.iter().map(|c| format!("persistentvolumeclaim/{}", c.claim)));
    super::plan::document("UndoPlan", plan, names, text, format)
}

/// What is asked before a restore is taken back.
pub fn question_undo(plan: &RestorePlan) -> String {
    let names: Vec<String> = plan.workloads.iter().map(Workload::path).collect();
    let stopped: Vec<String> = plan.workloads.iter().filter(|w| w.replicas == 0).map(Workload::path).collect();
    let left = if stopped.is_empty() {
        String::new()
    } else {
        format!("; {} was stopped then, and is left stopped", stopped.join(", "))
    };
    format!(
        "stop {} and go back to the volumes of before {:.0}? everything written since then will only be on the restored \
         volumes, which are kept{left}",
        names.join(", "),
        plan.created
    )
}

/// The copies that are made beside the old claims.
pub fn copies(copies: &Copies) -> String {
    let mut table = Table::new(["NAMESPACE", "CLAIM", "NEW-CLAIM", "SIZE", "SNAPSHOT"]);
    for c in &copies.claims {
        table.row([&c.namespace, &c.claim, &c.new_name, &c.size, &c.snapshot].map(Clone::clone));
    }
    let mut text = table.to_string();
    for note in &copies.notes {
        let _ = writeln!(text, "note: {}", escape_line(note));
    }
    text
}

/// What is made anew.
pub fn anew(anew: &Anew) -> String {
    let mut text = copies(&anew.copies);
    let mut table = Table::new(["MAKE", "NAMESPACE", "REPLICAS"]);
    let named = |object: &serde_json::Value| {
        let kind = crate::manifests::kind(object).to_lowercase();
        let namespace = object["metadata"]["namespace"].as_str().unwrap_or_default().to_owned();
        [format!("{kind}/{}", crate::manifests::name(object)), namespace, "-".to_owned()]
    };
    for object in anew.empty.iter().chain(&anew.objects) {
        table.row(named(object));
    }
    for new in &anew.workloads {
        table.row([new.path(), new.namespace.clone(), new.replicas.to_string()]);
    }
    let _ = write!(text, "\n{table}");
    text
}

/// What `--dry-run` prints of it in this format.
pub fn dry_run_anew(plan: &Anew, format: Format) -> Result<String, Error> {
    let claims = plan.copies.claims.iter().map(|c| format!("persistentvolumeclaim/{}", c.new_name));
    let named = |object: &serde_json::Value| {
        format!("{}/{}", crate::manifests::kind(object).to_lowercase(), crate::manifests::name(object))
    };
    let objects = plan.empty.iter().chain(&plan.objects).map(named);
    let names = claims.chain(objects).chain(plan.workloads.iter().map(New::path));
    super::plan::document("RestorePlan", plan, names, anew(plan), format)
}

/// What a restore prints when it is over.
pub fn result(restore: &Restore, typed: &Typed, now: Timestamp) -> String {
    let status = &restore.status;
    let mut text = String::new();
    let mut table = Table::new(["CLAIM", "VOLUME", "NEW-VOLUME", "OLD-VOLUME", "SIZE", "SNAPSHOT"]);
    for c in &status.claims {
        table.row([
            format!("{}/{}", c.namespace, c.new_claim),
            c.volume.clone(),
            c.new_volume.clone().unwrap_or_default(),
            c.old_volume.clone().unwrap_or_default(),
            c.size.clone(),
            if c.empty { EMPTY.to_owned() } else { c.volume_snapshot.clone() },
        ]);
    }
    if !status.claims.is_empty() {
        let _ = writeln!(text, "{}\n", table.to_string().trim_end());
    }
    for (when, pods) in [("before the stop", &status.pods.before), ("after the start", &status.pods.after)] {
        if !pods.is_empty() {
            let _ = writeln!(text, "pods {when}:\n{}\n", pod_table(pods, now).trim_end());
        }
    }
    for d in &status.pods.differences {
        let none = "<none>".to_owned();
        let (before, after) = (d.before.as_ref().unwrap_or(&none), d.after.as_ref().unwrap_or(&none));
        let line = format!("differs: {} {}: {before} -> {after}", d.pod, d.field);
        let _ = writeln!(text, "{}", escape_line(&line));
    }
    if let Some(of) = &status.recovery {
        let path = escape_line(&format!("{}/{}/{}", of.namespace, of.pod, of.container));
        let target = escape_line(&of.recovery_target);
        let _ = match &of.recovered_to {
            Some(point) => {
                let ended = point.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(",");
                writeln!(text, "{path} recovered from its archive to {target}: {}\n", escape_line(&ended))
            }
            None => writeln!(text, "{path} was to recover from its archive to {target}\n"),
        };
    }
    for of in &status.properties {
        let what = match status.outcome.as_str() {
            "Restored" => "set",
            "RestoredOldVolumes" | "Failed" => "not set",
            _ => "asked for",
        };
        let before = of.before.as_ref().map_or("not there".to_owned(), Clone::clone);
        let before = if what == "set" { format!(" ({before} before)") } else { String::new() };
        let release = format!("{}/{}", of.namespace, of.release);
        let line = format!("{what} in {} of release {release}: {}={}{before}", of.object, of.key, of.value);
        let _ = writeln!(text, "{}", escape_line(&line));
    }
    text.push_str(&outcome(restore, typed));
    text
}

/// The outcome, and what is left to do.
pub fn outcome(restore: &Restore, typed: &Typed) -> String {
    let (metadata, status) = (&restore.metadata, &restore.status);
    let mut text = format!("restore {}: {}", escape_line(&metadata.name), escape_line(&status.outcome));
    if !status.reason.is_empty() {
        let _ = write!(text, "\nreason: {}", escape_line(&status.reason));
    }
    // What is not in use any more: the old volumes, or after the way back what the workload may have written to.
    let unused = |what: &str, names: Vec<(&str, Option<&str>)>| {
        let mut text = String::new();
        if !names.is_empty() {
            let listed: Vec<&str> = names.iter().map(|(name, _)| *name).collect();
            let _ = write!(text, "\nthe {what} volumes are kept: {}", escape_line(&listed.join(", ")));
            // What was Retain before the restore is so again afterwards, and stays.
            if names.iter().any(|(_, policy)| *policy == Some("Delete")) {
                let delete = typed.command("delete", &metadata.name, &metadata.namespace);
                let _ = write!(text, "\ngive them up with: {delete}");
            }
        }
        text
    };
    let claims = |phase: &'static str| status.claims.iter().filter(move |c| c.volume == phase);
    if status.outcome == "Restored" && status.old_volumes != "kept" {
        let names: Vec<&str> = claims("New").filter_map(|c| c.old_volume.as_deref()).collect();
        if status.old_volumes == "discarded" {
            let _ = write!(text, "\nthe old volumes were deleted: {}", escape_line(&names.join(", ")));
        } else {
            let delete = typed.command("delete", &metadata.name, &metadata.namespace);
            let names = escape_line(&names.join(", "));
            let _ = write!(text, "\nthe old volumes are not all deleted yet: {names}\nfinish with: {delete}");
        }
    } else if status.outcome == "Restored" {
        let old = claims("New").filter_map(|c| Some((c.old_volume.as_deref()?, c.old_reclaim_policy.as_deref())));
        text.push_str(&unused("old", old.collect()));
        if claims("New").any(|c| c.old_volume.is_some()) {
            let undo = typed.command("restore-from-snapshot --undo", &metadata.name, &metadata.namespace);
            let _ = write!(text, "\ngo back to them with: {undo}");
        }
    }
    let kept = status.claims.iter().filter(|c| c.new_reclaim_policy.is_some());
    let new = kept.filter_map(|c| Some((c.new_volume.as_deref()?, c.new_reclaim_policy.as_deref())));
    text.push_str(&unused("restored", new.collect()));
    for left in &status.afterwards {
        let _ = write!(text, "\nleft to do: {}", escape_line(left));
    }
    if matches!(status.outcome.as_str(), "Running" | "Stuck") || status.policies_pending {
        let _ = write!(text, "\nfinish with: {}", typed.thaw(&metadata.name, &metadata.namespace));
    }
    text.push('\n');
    text
}

/// All that is known of a restore.
pub fn describe(restore: &Restore, typed: &Typed, now: Timestamp) -> String {
    let metadata = &restore.metadata;
    let mut text = String::new();
    let _ = writeln!(text, "Name:        {}", escape_line(&metadata.name));
    let _ = writeln!(text, "Namespace:   {}", escape_line(&metadata.namespace));
    let created = age(Some(metadata.creation_timestamp), now);
    let _ = writeln!(text, "Created:     {:.3} ({created} ago)", metadata.creation_timestamp);
    let _ = writeln!(
        text,
        "Backup:      {} (data of {:.3})",
        escape_line(&restore.spec.backup),
        restore.spec.backup_instant
    );
    for w in &restore.status.workloads {
        let _ = writeln!(
            text,
            "Workload:    {} ({} replicas{})",
            escape_line(&format!("{}/{} in {}", w.kind.to_lowercase(), w.name, w.namespace)),
            w.replicas,
            if w.front { ", in front of the databases" } else { "" }
        );
    }
    let _ = writeln!(text, "\n{}", result(restore, typed, now).trim_end());
    for note in &restore.status.notes {
        let _ = writeln!(text, "note: {}", escape_line(note));
    }
    text
}
