//! A restore that goes on from the archive: what it plans, and what it refuses.

use serde_json::json;

use super::*;
use crate::plan::verify::Template;
use crate::quiescer::recovery::{self, Timeline, Wanted};

const LABEL: &str = "U1RBUlQgV0FMIExPQ0FUSU9OCg==";

fn archiving() -> Source {
    let mut source = source();
    source.plan.targets[0].probe.settings.extend(
        [("server_version_num", "150018"), ("data_directory", "/data/pg"), ("wal_segment_size", "16777216")]
            .map(|(n, v)| (n.to_owned(), v.to_owned())),
    );
    source.points =
        vec![from(json!({"lsn": "0/5000060", "timeline": "1", "startLsn": "0/5000028", "stopLsn": "0/6000100",
        "stopSegment": "000000010000000000000006", "backupLabel": LABEL}))];
    source.ends = vec![Some("2026-11-20T10:00:06Z".parse().unwrap())];
    source
}

fn template(edit: impl FnOnce(&mut serde_json::Value)) -> Found<Template> {
    let mut spec = json!({"nodeSelector": {"disk": "fast"}, "securityContext": {"fsGroup": 70},
        "containers": [{"name": "side", "image": "x"}, {"name": "db", "image": "postgres:15.3", "command": ["run"],
            "env": [{"name": "POSTGRES_PASSWORD", "value": "secret"}],
            "volumeMounts": [{"name": "data", "mountPath": "/data"}, {"name": "archive", "mountPath": "/archive"}]}],
        "volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": "data-pg-0"}},
            {"name": "archive", "persistentVolumeClaim": {"claimName": "archive-pg-0"}}]});
    edit(&mut spec);
    Found::Yes(Box::new(Template { spec: from(spec), operator: None }))
}

fn facts_with(template: Found<Template>) -> Facts {
    Facts { templates: vec![template], ..facts() }
}

fn asked(source: &Source, facts: &Facts, target: &str) -> Result<RestorePlan, String> {
    let archive = Wanted {
        command: "cp /archive/%f %p".into(),
        target: recovery::Target::read(target).unwrap(),
        timeline: Timeline::Latest,
    };
    let request = Request { archive: Some(archive), ..super::request() };
    plan_in_place(source, facts, &request)
        .map_err(|all| all.into_iter().map(|r| format!("{}: {}", r.object, r.message)).collect::<Vec<_>>().join("; "))
}

#[test]
fn the_copy_is_prepared_in_a_pod_of_its_own() {
    let mut source = archiving();
    let on = [("archive_mode".to_owned(), "on".to_owned())];
    source.plan.targets[0].probe.settings.extend(on);
    let plan = asked(&source, &facts_with(template(|_| {})), "latest").unwrap();
    assert!(plan.afterwards.is_empty(), "a new timeline collides with nothing: {:?}", plan.afterwards);
    let of = plan.archive.as_ref().unwrap();
    assert_eq!(of.pod(), ("demo", "consistent-backup-r1"));
    let spec = serde_json::to_value(of.pod.spec.as_ref().unwrap()).unwrap();
    assert_eq!(spec["nodeSelector"], json!({"disk": "fast"}));
    assert_eq!(spec["securityContext"], json!({"fsGroup": 70}));
    let container = &spec["containers"][0];
    assert_eq!((&container["name"], &container["image"]), (&json!("db"), &json!("postgres:15.3")));
    assert_eq!(
        (&container["command"][0], &container["env"]),
        (&json!("sleep"), &json!(null)),
        "it does nothing by itself"
    );
    assert_eq!(container["volumeMounts"].as_array().unwrap().len(), 1, "only what is restored");
    assert_eq!(of.pod.metadata.labels.as_ref().unwrap().get("app"), None);
    let stored: RestorePlan = from(serde_json::to_value(&plan).unwrap());
    assert_eq!(stored, plan, "who resumes it has the same plan");
}

#[test]
fn a_target_must_lie_between_the_backup_and_now() {
    let facts = facts_with(template(|_| {}));
    let refused = |target: &str| asked(&archiving(), &facts, target).unwrap_err();
    assert!(refused("time=2026-11-20 10:00:05+00").contains("before the end of backup b1 (2026-11-20T10:00:06.000Z)"));
    assert!(refused("time=2026-11-20 12:00:01+00").contains("has not come yet"));
    assert!(refused("lsn=0/60000FF").contains("before the end of the backup"));
    for target in ["time=2026-11-20 10:00:06+00", "lsn=0/6000100", "immediate", "name=x", "xid=900"] {
        asked(&archiving(), &facts, target).unwrap();
    }
}

#[test]
fn whatever_is_no_archive_mode_backup_of_one_database_is_refused_at_once() {
    let facts = facts_with(template(|_| {}));
    let mut light = archiving();
    light.points = source().points;
    assert!(asked(&light, &facts, "latest").unwrap_err().contains("pod/pg-0: it was not backed up in archive mode"));
    let mut two = light.clone();
    let mut other = two.plan.targets[0].clone();
    (other.pod, other.adapter) = ("my-0".into(), "mysql".into());
    two.plan.targets.push(other);
    two.points.push(crate::quiescer::RecoveryPoint::default());
    two.ends.push(None);
    let mut facts = facts;
    facts.templates.push(template(|_| {}));
    let all = asked(&two, &facts, "time=2026-11-20 10:00:05+00").unwrap_err();
    for part in
        ["it is for one database", "not backed up in archive mode", "adapter mysql knows no recovery", "before the end"]
    {
        assert!(all.contains(part), "{part} is not in: {all}");
    }
    let moved = template(|spec| spec["volumes"][0]["persistentVolumeClaim"]["claimName"] = json!("other"));
    assert!(asked(&archiving(), &facts_with(moved), "latest").unwrap_err().contains("no longer mounts the claims"));
    let by_name = template(|spec| spec["containers"][1]["volumeMounts"][0]["subPathExpr"] = json!("$(POD)"));
    assert!(asked(&archiving(), &facts_with(by_name), "latest").unwrap_err().contains("subPathExpr"));
    assert!(asked(&archiving(), &facts_with(Found::No), "latest").unwrap_err().contains("nobody knows its image"));
}
