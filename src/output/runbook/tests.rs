//! What a runbook says, of every kind of database, and that a shell reads it.
#![allow(clippy::unwrap_used)]

use std::io::Write;
use std::process::{Command, Stdio};

use serde_json::json;

use super::*;
use crate::error::ExitCode;

mod run;

const RUN: &str = "20261120-101500-x7k2";

/// A backup of one release whose window was 10 s.
pub(super) fn backup() -> Backup {
    let pod = |name: &str| {
        json!({"namespace": "demo", "name": name, "uid": "u", "phase": "Running", "status": "Running", "ready": "1/1",
            "restarts": 0, "node": "n", "images": [], "containers": []})
    };
    let pods = [pod("led-ledger-5d8f9c-abcde"), pod("led-ledger-5d8f9c-fghij"), pod("led-ledger-x-5d8f9c-klmno")];
    serde_json::from_value(json!({
        "apiVersion": "consistent-backup/v1", "kind": "Backup",
        "metadata": {"name": RUN, "namespace": "demo", "creationTimestamp": "2026-11-20T10:15:00Z"},
        "spec": {"request": "--release led", "quiesceBudgetSeconds": 50.0, "attempts": 3},
        "status": {
            "outcome": "ApplicationConsistent", "reason": "", "attempt": 1, "mayBeHeld": [],
            "window": {"start": "2026-11-20T10:15:00.400Z", "end": "2026-11-20T10:15:10.400Z",
                "middle": "2026-11-20T10:15:05.400Z", "seconds": 10.0, "accuracySeconds": 0.02, "clientSkewSeconds": 0.0},
            "releases": [{"namespace": "demo", "name": "led", "product": "Ledger", "chart": "scalardl-4.5.1",
                "appVersion": "3.7.1", "deployment": "led-ledger", "service": "led-headless",
                "properties": {"kind": "ConfigMap", "name": "led-ledger-properties", "key": "ledger.properties"}}],
            "databases": [database("dynamo=ap-northeast-1,table=coordinator.state,table=scalar.asset,table=user.*")],
            "backend": {"name": "window", "holdMillis": 10000},
            "targets": [], "claims": [], "pods": {"before": pods, "after": [], "differences": []},
            "snapshotsRemoved": "notNeeded", "kept": false, "attempts": []
        }
    }))
    .unwrap()
}

fn database(text: &str) -> Database {
    Database { release: "demo/led".into(), ..Database::parse(text).unwrap() }
}

fn with(databases: &[&str]) -> Backup {
    let mut backup = backup();
    backup.status.databases = databases.iter().map(|text| database(text)).collect();
    backup
}

fn text(backup: &Backup) -> String {
    let text = runbook(backup, None, &Typed::default()).unwrap();
    reads(&text);
    text
}

/// A shell can read it, which runs nothing of it; and no remark does harm where it is taken for a command.
fn reads(text: &str) {
    let mut bash = Command::new("bash").arg("-n").stdin(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    bash.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let said = bash.wait_with_output().unwrap();
    assert!(said.status.success(), "{}\n{text}", String::from_utf8_lossy(&said.stderr));
    for line in text.lines() {
        let remark = line.find("# ").map_or("", |at| &line[at..]);
        let open = ['\'', '"'].iter().any(|q| remark.matches(*q).count() % 2 == 1);
        assert!(!open && !remark.contains('`'), "opens a quote: {line}");
        // A shell that is typed into takes it for an event of its history.
        assert!(!line.contains('!') || line.starts_with('#'), "{line}");
    }
}

/// The first place of each, which must be in this order.
fn in_order(text: &str, expected: &[&str]) {
    let places: Vec<usize> =
        expected.iter().map(|e| text.find(e).unwrap_or_else(|| panic!("`{e}` is missing:\n{text}"))).collect();
    assert!(places.is_sorted(), "{expected:?} at {places:?}:\n{text}");
}

#[test]
fn a_table_of_dynamodb_takes_both_hops_after_the_releases_were_stopped() {
    let text = text(&backup());
    in_order(
        &text,
        &[
            "to 2026-11-20T10:15:05Z",
            "Point-in-time recovery must have been enabled",
            "kubectl scale deployment/led-ledger -n demo --replicas=0",
            "kubectl wait pod -n demo -l app.kubernetes.io/instance=led,app.kubernetes.io/app=ledger --for=delete",
            "REGION=ap-northeast-1",
            "AT=2026-11-20T10:15:05Z",
            "TABLES=(coordinator.state scalar.asset)",
            "user.*) TABLES+=(\"$table\") ;;",
            "First hop",
            "aws dynamodb restore-table-to-point-in-time",
            "made \"$table-$RUN\" && again aws dynamodb create-backup",
            "says AVAILABLE",
            "aws dynamodb describe-time-to-live",
            "is NOT deleted",
            "aws dynamodb delete-table --region \"$REGION\" --table-name \"$table\"",
            "again aws dynamodb restore-table-from-backup --region \"$REGION\" --target-table-name \"$table\"",
            "aws dynamodb delete-table --region \"$REGION\" --table-name \"$table-$RUN\"",
            "PointInTimeRecoveryEnabled=true",
            "register-scalable-target",
            "tag-resource",
            "update-time-to-live",
            "StreamEnabled=true",
            "kubectl scale deployment/led-ledger -n demo --replicas=2",
            "kubectl rollout status deployment/led-ledger -n demo",
            "led-ledger-5d8f9c-abcde Running 1/1",
        ],
    );
    assert!(!text.contains("--set-property"), "the endpoint stays");
    let remarks = text.replace("\n# ", " ");
    assert!(remarks.contains("must be done before 2026-12-25T10:15:05Z at the latest"), "{text}");
    let templates = text.lines().filter(|line| line.starts_with("#   aws "));
    assert!(templates.clone().count() > 5 && templates.clone().all(|line| line.contains("--region \"$REGION\"")));
    assert!(!text.contains("klmno"), "another deployment's");
}

#[test]
fn cosmos_is_another_account_with_strong_consistency_and_its_stored_procedures() {
    let text = text(&with(&["cosmos=https://shop.documents.azure.com:443/"]));
    in_order(
        &text,
        &[
            "ACCOUNT=shop\nNEW=shop-20261120-101500-x7k2\nAT=2026-11-20T10:15:05Z",
            "az cosmosdb restore --resource-group",
            "--restore-timestamp \"$AT\"",
            "--default-consistency-level Strong",
            "az cosmosdb keys list",
            "schemaLoading.commandArgs={--repair-all}",
            "configmap/led-ledger-properties (ledger.properties) of namespace demo",
            "ADDRESS_2=\"${ENDPOINT:?}\"",
            "kubectl consistent-backup restore-from-snapshot 20261120-101500-x7k2 -n demo \\\n  --set-property \
             led:scalar.db.contact_points=\"${ADDRESS_2:?}\"",
        ],
    );
}

#[test]
fn cassandra_has_its_snapshots_put_aside_before_it_is_cleaned() {
    let mut backup = with(&["cassandra=node1,node2"]);
    let plain = text(&backup);
    in_order(
        &plain,
        &[
            "between 2026-11-20T10:15:00.400Z and 2026-11-20T10:15:10.400Z",
            "This run copied nothing by itself",
            "Contact points: node1,node2",
            "systemctl stop cassandra",
            "/restore/${from%/snapshots/*}",
            "-mindepth 1 -delete",
            "systemctl start cassandra",
        ],
    );
    backup.status.backend = Backend::Command { argv: vec!["snap-all.sh".into(), "ring1".into()] };
    assert!(text(&backup).contains("Inside the window ran: snap-all.sh ring1"));
}

#[test]
fn a_managed_relational_database_is_restored_as_another_and_any_other_by_its_logs() {
    let rds = text(&with(&["jdbc=jdbc:postgresql://shop.c1a2.us-east-1.rds.amazonaws.com:5432/x"]));
    in_order(
        &rds,
        &[
            "OLD=shop\nNEW=shop-20261120-101500-x7k2",
            "aws rds restore-db-instance-to-point-in-time",
            "--restore-time \"$AT\"",
            "HOST=$(",
            "ADDRESS_2=jdbc:postgresql://\"${HOST:?}\":5432/x",
            "--set-property led:scalar.db.contact_points=\"${ADDRESS_2:?}\"",
        ],
    );
    let aurora = text(&with(&["jdbc=jdbc:mysql://shop.cluster-c1.us-east-1.rds.amazonaws.com/"]));
    in_order(&aurora, &["restore-db-cluster-to-point-in-time", "--restore-to-time \"$AT\"", "create-db-instance"]);
    let azure = text(&with(&["jdbc=jdbc:mysql://shop.mysql.database.azure.com:3306/x"]));
    in_order(&azure, &["az mysql flexible-server restore", "--restore-time \"$AT\""]);
    let own = text(&with(&["jdbc=jdbc:postgresql://db.demo:5432/x"]));
    assert!(own.contains("recovery_target_time = '2026-11-20 10:15:05+00'"), "{own}");
    assert!(!own.contains("mysqlbinlog"));
    let mysql = text(&with(&["jdbc=jdbc:mysql://db.demo:3306/x"]));
    assert!(mysql.contains("--stop-datetime='2026-11-20 10:15:05'"), "{mysql}");
}

#[test]
fn all_databases_go_to_the_same_instant() {
    let backup = with(&[
        "dynamo=us-east-1",
        "cosmos=https://a.documents.azure.com/",
        "jdbc=jdbc:x://a.b.us-east-1.rds.amazonaws.com/",
    ]);
    let text = runbook(&backup, Some("2026-11-20T10:15:07Z".parse().unwrap()), &Typed::default()).unwrap();
    assert_eq!(text.matches("AT=2026-11-20T10:15:07Z").count(), 3);
    assert!(!text.contains("10:15:05"));
    let outside = runbook(&backup, Some("2026-11-20T10:16:00Z".parse().unwrap()), &Typed::default()).unwrap_err();
    assert_eq!(outside.code, ExitCode::Refused);
}

#[test]
fn what_is_not_known_is_a_line_to_be_filled_in() {
    let mut backup = with(&["dynamo", "cosmos", "jdbc"]);
    backup.status.databases[2].endpoint = "${env:SCALAR_DB_CONTACT_POINTS}".into();
    let filled = text(&backup);
    for line in
        ["REGION=  # the AWS region: fill it in", "TABLES=()", "ACCOUNT=  # the account", "HOST=  # of the restored"]
    {
        assert!(filled.contains(line), "{line}:\n{filled}");
    }
    let remarks = filled.replace("\n# ", " ");
    assert!(remarks.contains("the properties say ${env:SCALAR_DB_CONTACT_POINTS}"), "{filled}");
    assert!(remarks.contains("PostgreSQL:") && remarks.contains("mysqlbinlog"), "either may be behind a placeholder");
    backup.status.databases.clear();
    backup.status.releases.clear();
    let none = text(&backup);
    assert!(none.contains("The record names none") && none.contains("names no release"), "{none}");
}

#[test]
fn a_lesser_backup_is_warned_of_and_commands_go_to_the_cluster_that_was_chosen() {
    let mut backup = with(&["cosmos=https://a.documents.azure.com/"]);
    backup.status.outcome = "CrashConsistent".into();
    backup.status.reason = "nothing was held in demo/x".into();
    let typed = Typed::new([("--context", "prod".to_owned())]);
    let text = runbook(&backup, None, &typed).unwrap();
    reads(&text);
    assert!(text.contains("WARNING: the backup is CrashConsistent only: nothing was held in demo/x"));
    for line in text.lines().filter(|line| line.starts_with("kubectl")) {
        assert!(line.contains("--context prod"), "{line}");
    }
}

#[test]
fn with_claims_one_command_restores_them_sets_the_address_and_starts() {
    let mut backup = with(&["cosmos=https://a.documents.azure.com/"]);
    let claim = json!({"namespace": "demo", "claim": "data-pg-0", "volumeSnapshot": "s", "content": "c", "handle": "h",
        "cutAt": null, "provedAt": null, "ready": true, "restoreSize": null});
    backup.status.claims = vec![serde_json::from_value(claim).unwrap()];
    let command = "consistent-backup restore-from-snapshot";
    let whole = text(&backup);
    assert_eq!(whole.matches(command).count(), 1, "{whole}");
    in_order(&whole, &["== 3. Start", "brings the claims back", command, "--set-property led:"]);
    assert!(!whole.contains("--replicas=2"), "{whole}");
    backup.status.databases.clear();
    let copied = text(&backup);
    assert!(copied.matches(command).count() == 1 && !copied.contains("--set-property"), "{copied}");
    backup.status.releases.clear();
    in_order(&text(&backup), &["The claims in the cluster", command, "start the application"]);
}

#[test]
fn each_release_is_told_its_own_database() {
    let mut backup = with(&["jdbc=jdbc:mysql://a/x", "jdbc=jdbc:mysql://b/y"]);
    let mut auditor = backup.status.releases[0].clone();
    auditor.name = "aud".into();
    backup.status.releases.push(auditor);
    backup.status.databases[1].release = "demo/aud".into();
    in_order(
        &text(&backup),
        &["== 4. Start", "led:scalar.db.contact_points=\"${ADDRESS_2:?}\" \\", "aud:scalar.db.contact"],
    );
    backup.status.releases[1].name = "led".into();
    backup.status.releases[1].namespace = "two".into();
    backup.status.databases[1].release = "two/led".into();
    in_order(&text(&backup), &["--set-property demo/led:scalar", "--set-property two/led:scalar"]);
    backup.status.releases[1].properties = None;
    let unknown = text(&backup);
    assert!(
        !unknown.contains("two/led:scalar") && unknown.replace("\n# ", " ").contains("by hand, before the last part")
    );
    backup.status.outcome = "Failed".into();
    in_order(&text(&backup), &["nothing is restored by the plugin", "--replicas=2"]);
}
