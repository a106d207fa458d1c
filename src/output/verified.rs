//! What a verification found, and what one would make.

use std::fmt::Write;

use serde::Serialize;
use serde_json::Value;

use super::table::Table;
use super::{Format, json, yaml};
use crate::error::Error;
use crate::escape::escape_line;
use crate::executor::verify::Found;
use crate::plan::verify::VerifyPlan;
use crate::record::verified::{Query, TargetVerified, Verified};

/// Every check of every database.
fn checks<'a>(targets: impl Iterator<Item = &'a TargetVerified>) -> String {
    let mut table = Table::new(["TARGET", "CHECK", "OUTCOME", "OUTPUT"]);
    for target in targets {
        for check in &target.checks {
            let output = check.output.lines().map(str::trim).collect::<Vec<_>>().join("; ");
            table.row([target.path(), check.name.clone(), check.outcome.clone(), output]);
        }
    }
    table.to_string()
}

/// The user's questions with their answers.
fn queries<'a>(all: impl Iterator<Item = &'a Query>) -> String {
    let mut text = String::new();
    for query in all {
        let code = query.exit_code.map_or_else(|| "no exit code".to_owned(), |code| format!("exit code {code}"));
        let _ = writeln!(
            text,
            "{}: {} ({code})",
            escape_line(&format!("{}/{}", query.namespace, query.pod)),
            escape_line(&query.command)
        );
        for line in query.output.lines() {
            let _ = writeln!(text, "  {}", escape_line(line));
        }
    }
    text
}

fn seconds<'a>(targets: impl Iterator<Item = &'a TargetVerified>) -> String {
    let mut text = String::new();
    for target in targets {
        let word = if target.ok { "well" } else { "NOT well" };
        let _ = write!(text, "{}: {word}, after {:.1} s", escape_line(&target.path()), target.seconds);
        // What a check said stands in the table.
        let in_table = target.checks.iter().any(|check| target.reason.starts_with(&format!("{}: ", check.name)));
        text.push_str(&if target.ok || in_table {
            "\n".to_owned()
        } else {
            format!(": {}\n", escape_line(&target.reason))
        });
    }
    text
}

fn all<'a>(targets: &[&'a TargetVerified], asked: &[&'a Query]) -> String {
    let mut text = format!("{}\n", checks(targets.iter().copied()));
    let answers = queries(asked.iter().copied());
    if !answers.is_empty() {
        let _ = writeln!(text, "{answers}");
    }
    text.push_str(&seconds(targets.iter().copied()));
    text
}

/// What `verify` prints: also of databases about which nothing is known.
pub fn result(run: &str, found: &[Found]) -> String {
    let targets: Vec<&TargetVerified> = found.iter().map(|f| &f.target).collect();
    let asked: Vec<&Query> = found.iter().flat_map(|f| &f.queries).collect();
    let word = if targets.iter().all(|t| t.ok) {
        "verified"
    } else if found.iter().any(|f| !f.target.ok && !f.undecided) {
        "NOT well"
    } else {
        "not verified"
    };
    format!("{}\nbackup {}: {word}\n", all(&targets, &asked), escape_line(run))
}

/// What stands of it in the backup's description.
pub fn described(verified: &Verified) -> String {
    all(&verified.targets.iter().collect::<Vec<_>>(), &verified.queries.iter().collect::<Vec<_>>())
}

/// The objects that would be made.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct List {
    api_version: &'static str,
    kind: &'static str,
    items: Vec<Value>,
}

/// What would be made: the objects themselves, or a table of them.
pub fn dry_run(plan: &VerifyPlan, format: Format) -> Result<String, Error> {
    let mut table = Table::new(["TARGET", "POD", "CLAIM", "VOLUMESNAPSHOT", "SIZE"]);
    let (mut names, mut items) = (Vec::new(), Vec::new());
    let object = |kind: &str, value: Result<Value, serde_json::Error>| {
        let mut value = value.map_err(|e| Error::failed("the plan cannot be printed").cause(e))?;
        value["apiVersion"] = if kind == "NetworkPolicy" { "networking.k8s.io/v1" } else { "v1" }.into();
        value["kind"] = kind.into();
        Ok::<_, Error>(value)
    };
    for copy in &plan.targets {
        for map in &copy.config_maps {
            names.push(format!("configmap/{}", map.metadata.name.as_deref().unwrap_or_default()));
            items.push(object("ConfigMap", serde_json::to_value(map))?);
        }
        for claim in &copy.claims {
            if let Some(alias) = &claim.alias {
                names.push(format!("volumesnapshotcontent/{}", alias.content));
                names.push(format!("volumesnapshot/{}", alias.snapshot));
            }
            table.row([
                copy.target.path(),
                copy.name.clone(),
                claim.new_name.clone(),
                claim.snapshot.clone(),
                claim.size.clone(),
            ]);
            names.push(format!("persistentvolumeclaim/{}", claim.new_name));
            items.push(object("PersistentVolumeClaim", serde_json::to_value(&claim.new))?);
        }
        names.push(format!("networkpolicy/{}", copy.name));
        items.push(object("NetworkPolicy", serde_json::to_value(&copy.policy))?);
        names.push(format!("pod/{}", copy.name));
        items.push(object("Pod", serde_json::to_value(&copy.pod))?);
    }
    let list = || List { api_version: "v1", kind: "List", items: items.clone() };
    Ok(match format {
        Format::Json => json(&list())?,
        Format::Yaml => yaml(&list())?,
        Format::Name => names.iter().map(|name| escape_line(name)).collect::<Vec<_>>().join("\n"),
        Format::Table | Format::Wide => {
            let notes: Vec<String> = plan.notes.iter().map(|note| format!("note: {}", escape_line(note))).collect();
            if notes.is_empty() { table.to_string() } else { format!("{table}\n{}\n", notes.join("\n")) }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn verified() -> Verified {
        serde_json::from_value(json!({
            "at": "2026-11-20T10:00:00Z", "ok": false,
            "targets": [{"namespace": "demo", "pod": "pg-0", "container": "pg", "ok": false, "reason": "amcheck: torn",
                "checks": [{"name": "amcheck", "outcome": "failed", "output": "a\n b"}], "seconds": 3.25}],
            "queries": [{"namespace": "demo", "pod": "pg-0", "command": "psql -c x", "exitCode": 0, "output": "1\n2"}]
        }))
        .unwrap()
    }

    #[test]
    fn what_is_bad_is_said_with_its_reason() {
        let text = described(&verified());
        assert!(text.contains("demo/pg-0/pg   amcheck   failed    a; b\n"), "{text}");
        assert!(text.contains("demo/pg-0: psql -c x (exit code 0)\n  1\n  2\n"), "{text}");
        assert!(text.contains("demo/pg-0/pg: NOT well, after 3.2 s\n"), "{text}");
    }

    #[test]
    fn what_is_not_known_is_not_called_bad() {
        let target = verified().targets.remove(0);
        let found = |undecided| [Found { target: target.clone(), queries: Vec::new(), undecided }];
        assert!(result("r", &found(true)).ends_with("backup r: not verified\n"));
        assert!(result("r", &found(false)).ends_with("backup r: NOT well\n"));
    }
}
