//! Each text of a record is replaced by a hostile one in turn: none reaches the terminal raw, and none forges a line.
#![allow(clippy::unwrap_used)]

use jiff::Timestamp;
use serde_json::{Value, json};

use super::{Format, json as to_json, plan, restores, runbook, runs, verified, yaml};
use crate::escape::is_obeyed;
use crate::plan::Plan;
use crate::plan::restore::RestorePlan;
use crate::record::backup::Backup;
use crate::record::item::Item;
use crate::record::restore::Restore;
use crate::typed::Typed;

/// A line end and characters that a terminal obeys.
const HOSTILE: &str = "a\nerror: forged\r\u{1b}[2K\u{9b}1A\u{202e}\u{7f}";

fn now() -> Timestamp {
    "2026-11-20T10:00:00Z".parse().unwrap()
}

fn read(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

fn backup() -> Value {
    let mut backup = read(include_str!("../../tests/fixtures/journals/backup-1.record.json"));
    let status = &mut backup["status"];
    status["mayBeHeld"] = json!(["demo/db-0/db"]);
    status["reason"] = "no answer".into();
    status["snapshotsRemoved"] = "pending".into();
    status["snapshotsLeft"] = json!(["x keeps Retain"]);
    status["attempts"] = json!([{"attempt": 1, "reason": "lost"}]);
    status["notes"] = json!(["a remark"]);
    status["command"] = json!({"exitCode": 3, "output": "first\nlast", "killed": false});
    status["releases"] = json!([{"namespace": "demo", "name": "led", "product": "Ledger", "chart": "scalardl-4.5.1",
        "appVersion": "3.7.1", "deployment": "led-ledger", "service": "led-headless",
        "properties": {"kind": "ConfigMap", "name": "led-ledger-properties", "key": "ledger.properties"}}]);
    status["targets"][0]["released"] = "its session was gone".into();
    status["claims"][0]["gone"] = "its content is gone".into();
    status["verified"] = json!({"at": "2026-11-20T10:00:00Z", "ok": false,
        "targets": [{"namespace": "demo", "pod": "pg-0", "container": "pg", "ok": false, "reason": "not started",
            "checks": [{"name": "amcheck", "outcome": "failed", "output": "a\n b"}], "seconds": 3.25}],
        "queries": [{"namespace": "demo", "pod": "pg-0", "command": "psql -c x", "exitCode": 0, "output": "1\n2"}]});
    backup
}

fn restore() -> Value {
    let mut restore = read(include_str!("../../tests/fixtures/journals/restore-1.record.json"));
    let status = &mut restore["status"];
    status["reason"] = "no answer".into();
    status["notes"] = json!(["a remark"]);
    status["afterwards"] = json!(["start the job"]);
    status["properties"] = json!([{"namespace": "demo", "release": "led", "object": "configmap/p", "key": "k", "value": "v",
        "before": "w"}]);
    status["recovery"] = json!({"namespace": "demo", "pod": "pg-0", "container": "pg", "restoreCommand": "cp",
        "recoveryTarget": "name=x", "recoveryTargetTimeline": "latest", "recoveredTo": {"lsn": "0/1"}});
    status["pods"]["differences"] = json!([{"pod": "demo/redis-0", "field": "node", "before": "a", "after": "b"}]);
    restore
}

/// Copies of the document, each with another text replaced.
fn each_replaced(document: &Value, by: &str) -> Vec<(String, Value)> {
    fn pointers(value: &Value, at: &str, into: &mut Vec<String>) {
        match value {
            Value::String(_) => into.push(at.to_owned()),
            Value::Array(all) => all.iter().enumerate().for_each(|(n, v)| pointers(v, &format!("{at}/{n}"), into)),
            Value::Object(all) => {
                for (key, v) in all {
                    pointers(v, &format!("{at}/{}", key.replace('~', "~0").replace('/', "~1")), into);
                }
            }
            _ => {}
        }
    }
    let mut all = Vec::new();
    pointers(document, "", &mut all);
    let replaced = |pointer: String| {
        let mut copy = document.clone();
        *copy.pointer_mut(&pointer).unwrap() = by.into();
        (pointer, copy)
    };
    all.into_iter().map(replaced).collect()
}

/// Fails if the text holds an obeyed character or a forged line.
#[track_caller]
fn holds(text: &str, pointer: &str) {
    assert!(!text.contains(|c| is_obeyed(c) && c != '\n'), "{pointer} is printed raw:\n{text:?}");
    assert!(!text.lines().any(|line| line.starts_with("error: forged")), "{pointer} forges a line:\n{text}");
}

#[test]
fn no_text_of_a_backup_is_printed_raw() {
    let mut seen = 0;
    for (pointer, document) in each_replaced(&backup(), HOSTILE) {
        // A record with a damaged instant or kind is refused when it is read.
        let Ok(backup) = serde_json::from_value::<Backup>(document) else { continue };
        seen += 1;
        let typed = Typed::default();
        holds(&runs::describe(&backup, &typed, now()), &pointer);
        holds(&runs::list(&[Item::Backup(Box::new(backup.clone()))], now(), true, true), &pointer);
        holds(&verified::described(backup.status.verified.as_ref().unwrap()), &pointer);
        if let Ok(page) = runbook::runbook(&backup, None, &typed) {
            holds(&page, &pointer);
        }
    }
    assert!(seen > 50, "{seen}");
}

#[test]
fn no_text_of_a_restore_is_printed_raw() {
    let mut seen = 0;
    for (pointer, document) in each_replaced(&restore(), HOSTILE) {
        let Ok(restore) = serde_json::from_value::<Restore>(document) else { continue };
        seen += 1;
        holds(&restores::describe(&restore, &Typed::default(), now()), &pointer);
    }
    assert!(seen > 30, "{seen}");
}

#[test]
fn no_text_of_a_plan_is_printed_raw() {
    let plan_of = |journal: &str| read(read(journal)["data"]["plan"].as_str().unwrap());
    let mut seen = 0;
    for (pointer, document) in
        each_replaced(&plan_of(include_str!("../../tests/fixtures/journals/backup-1.json")), HOSTILE)
    {
        let Ok(of) = serde_json::from_value::<Plan>(document) else { continue };
        seen += 1;
        let text = plan::plan(&of, &[], now());
        holds(&text, &pointer);
        holds(&plan::dry_run(&of, text, Format::Name).unwrap(), &pointer);
    }
    for (pointer, document) in
        each_replaced(&plan_of(include_str!("../../tests/fixtures/journals/restore-1.json")), HOSTILE)
    {
        let Ok(of) = serde_json::from_value::<RestorePlan>(document) else { continue };
        seen += 1;
        let text = restores::plan(&of, &[], now());
        holds(&text, &pointer);
        holds(&restores::dry_run(&of, text, Format::Name).unwrap(), &pointer);
    }
    assert!(seen > 50, "{seen}");
}

#[test]
fn escaped_documents_have_the_same_content() {
    let document = json!({"a": HOSTILE, "\u{202e}b": ["\u{2066}"], "c": "\u{9b}", "d": "\u{7f}"});
    for text in [to_json(&document).unwrap(), yaml(&document).unwrap()] {
        assert!(!text.contains(|c| is_obeyed(c) && c != '\n'), "{text:?}");
        assert_eq!(serde_saphyr::from_str::<Value>(&text).unwrap(), document, "{text}");
    }
}
