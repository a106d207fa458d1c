use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};

use super::super::tests::{content, facts, in_place, source, yes};
use super::super::{Place, Suffix, plan_copies};
use super::*;
use crate::manifests::Manifests;

fn of(change: impl Fn(&mut OfWorkload)) -> Manifests {
    let object = json!({"apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": {"name": "pg", "labels": {"app": "pg"}},
        "spec": {"replicas": 1, "serviceName": "pg", "selector": {"matchLabels": {"app": "pg"}},
            "template": {"metadata": {"labels": {"app": "pg"}}, "spec": {"serviceAccountName": "pg", "containers": [{"name": "db",
                "envFrom": [{"configMapRef": {"name": "conf"}}, {"secretRef": {"name": "pg"}}]}],
                "volumes": [{"name": "logs", "persistentVolumeClaim": {"claimName": "logs"}}]}},
            "volumeClaimTemplates": [{"metadata": {"name": "data"}}]}});
    let service = json!({"kind": "Service", "metadata": {"name": "pg"}, "spec": {"selector": {"app": "pg"}, "ports": [{"port": 1}]}});
    let logs = json!({"kind": "PersistentVolumeClaim", "metadata": {"name": "logs"}, "spec": {}});
    let mut of = OfWorkload {
        namespace: "demo".into(),
        kind: "StatefulSet".into(),
        name: "pg".into(),
        object: Some(object),
        claims: vec![logs],
        config_maps: vec![json!({"kind": "ConfigMap", "metadata": {"name": "conf"}, "data": {"a": "1"}})],
        services: vec![service],
        secrets: vec!["pg".into()],
        service_account: Some("pg".into()),
        ..OfWorkload::default()
    };
    change(&mut of);
    Manifests { workloads: vec![of] }
}

/// A namespace with nothing in it but what cannot be made.
fn there(namespace: &str) -> There {
    let yes = || Found::Yes(Box::new(()));
    There {
        namespaces: BTreeMap::from([(namespace.to_owned(), yes())]),
        objects: BTreeMap::new(),
        named: BTreeMap::from([
            (key("Secret", namespace, "pg"), yes()),
            (key("ServiceAccount", namespace, "pg"), yes()),
        ]),
        services: BTreeMap::from([(namespace.to_owned(), Ok(Vec::new()))]),
        ..There::default()
    }
}

fn planned(
    manifests: &Manifests,
    there: &There,
    namespace: Option<&str>,
    suffix: Option<&Suffix>,
) -> Result<Anew, Vec<Refusal>> {
    let mut facts = facts();
    if suffix.is_none() {
        facts.claims.clear();
    }
    let place = Place { namespace, suffix, manifests: Some(manifests) };
    plan_anew(&source(), &facts, there, &place, Duration::from_secs(1))
}

#[track_caller]
fn refused(manifests: &Manifests, there: &There, namespace: Option<&str>, suffix: Option<&Suffix>) -> String {
    let refusals = planned(manifests, there, namespace, suffix).unwrap_err();
    let all = refusals.into_iter().map(|r| format!("{}: {} ({})", r.object, r.message, r.hint.unwrap_or_default()));
    all.collect::<Vec<_>>().join("; ")
}

fn names(objects: &[Value]) -> Vec<String> {
    objects.iter().map(|object| format!("{}/{}", kind(object), name(object))).collect()
}

#[test]
fn all_comes_back_where_nothing_is() {
    let anew = planned(&of(|_| {}), &there("demo"), None, None).unwrap();
    assert_eq!(names(&anew.objects), ["ConfigMap/conf", "Service/pg"]);
    assert_eq!((names(&anew.empty), anew.copies.notes.len()), (vec!["PersistentVolumeClaim/logs".to_owned()], 1));
    let new = &anew.workloads[0];
    assert_eq!((new.path().as_str(), new.replicas, new.exists), ("statefulset/pg", 1, false));
    assert_eq!(new.object["metadata"]["labels"][RESTORED_FROM], "b1");
    assert_eq!(new.object["metadata"]["annotations"][RESTORING], "b1");
    assert_eq!(
        new.object["spec"]["template"]["metadata"]["labels"],
        json!({"app": "pg"}),
        "its Services find its pods"
    );
    assert_eq!((anew.targets[0].target.pod.as_str(), anew.targets[0].workload), ("pg-0", 0));
    let claim = &anew.copies.claims[0].new.metadata;
    assert_eq!(claim.name.as_deref(), Some("data-pg-0"));
    assert!(claim.labels.as_ref().unwrap().contains_key(RESTORED_FROM));
}

#[test]
fn in_another_namespace_all_has_that_namespace() {
    let anew = planned(&of(|_| {}), &there("two"), Some("two"), None).unwrap();
    let all = anew.objects.iter().chain(&anew.empty).chain([&anew.workloads[0].object]);
    assert!(all.into_iter().all(|object| object["metadata"]["namespace"] == "two"));
    assert_eq!(anew.targets[0].target.namespace, "two");
    assert!(anew.copies.claims[0].alias.is_some());
}

#[test]
fn what_is_missing_is_refused_together() {
    let mut nothing = there("two");
    nothing.namespaces.insert("two".into(), Found::No);
    nothing.named = nothing.named.into_keys().map(|key| (key, Found::No)).collect();
    nothing.objects.insert(key("ConfigMap", "two", "conf"), Found::No);
    let unrecorded = of(|of| of.config_maps.clear());
    let said = refused(&unrecorded, &nothing, Some("two"), None);
    for part in [
        "namespace/two: does not exist",
        "kubectl create namespace two",
        "secret/pg: statefulset/pg needs it",
        "serviceaccount/pg",
        "configmap/conf: statefulset/pg needs it",
    ] {
        assert!(said.contains(part), "no `{part}` in {said}");
    }
    let mut unknown = there("two");
    unknown.named.insert(key("Secret", "two", "pg"), Found::Unknown("forbidden".into()));
    let notes = planned(&of(|_| {}), &unknown, Some("two"), None).unwrap().copies.notes;
    assert!(notes.iter().any(|note| note.contains("secret/pg") && note.contains("forbidden")), "{notes:?}");
}

/// Once the record is gone, only the names and digests of its ConfigMaps are left, on the contents.
#[test]
fn a_config_map_without_its_data_must_be_there() {
    let named = of(|of| {
        let maps = std::mem::take(&mut of.config_maps);
        for map in maps {
            of.add_config_map(map, false);
        }
        *of = of.without_data();
        of.left_out = vec!["annotation x of its pods".into()];
    });
    let with = |found: Found<Value>| {
        let mut there = there("demo");
        there.objects.insert(key("ConfigMap", "demo", "conf"), found);
        there
    };
    let said = refused(&named, &with(Found::No), None, None);
    assert!(said.contains("configmap/conf: statefulset/pg needs it, and it is not in namespace demo"), "{said}");
    assert!(said.contains("its data is not in the backup: make it first, in namespace demo"), "{said}");
    for (data, changed) in [(json!({"a": "1"}), false), (json!({"a": "2"}), true)] {
        let anew = planned(&named, &with(Found::Yes(Box::new(json!({"data": data})))), None, None).unwrap();
        assert_eq!(names(&anew.objects), ["Service/pg"], "an existing ConfigMap is not replaced");
        let notes = &anew.copies.notes;
        assert_eq!(
            notes.iter().any(|note| note.contains("configmap/conf has changed since the backup")),
            changed,
            "{notes:?}"
        );
        assert!(notes.iter().any(|note| note.contains("annotation x of its pods")), "{notes:?}");
    }
}

#[test]
fn a_workload_that_was_not_recorded_whole_is_refused() {
    for (change, why) in [
        (
            (|of| of.withheld = vec!["PGPASSWORD of container db".into()]) as fn(&mut OfWorkload),
            "PGPASSWORD of container db",
        ),
        (|of| of.object = None, "its manifest is not in the backup"),
        (|of| of.name = "other".into(), "its manifest is not in backup b1"),
    ] {
        let said = refused(&of(change), &there("demo"), None, None);
        assert!(said.contains(why) && said.contains("--claims-only"), "{said}");
    }
    let mut operated = source();
    operated.plan.workloads[0].owner = Some("Cluster/pg".into());
    let (manifests, mut facts) = (of(|_| {}), facts());
    facts.claims.clear();
    let place = Place { manifests: Some(&manifests), ..Place::default() };
    let refusals = plan_anew(&operated, &facts, &there("demo"), &place, Duration::ZERO).unwrap_err();
    assert!(refusals[0].message.contains("made by Cluster/pg"), "{refusals:?}");
}

#[test]
fn what_exists_is_used_or_refused_and_never_overwritten() {
    let with = |kind: &str, name: &str, object: Value| {
        let mut there = there("demo");
        there.objects.insert(key(kind, "demo", name), Found::Yes(Box::new(object)));
        there
    };
    let ours = json!({"metadata": {"labels": {RESTORED_FROM: "b1"}}});
    let same = json!({"metadata": {}, "data": {"a": "1"}});
    for object in [&ours, &same] {
        let anew = planned(&of(|_| {}), &with("ConfigMap", "conf", object.clone()), None, None).unwrap();
        assert_eq!(names(&anew.objects), ["Service/pg"]);
    }
    assert!(planned(&of(|_| {}), &with("StatefulSet", "pg", ours), None, None).unwrap().workloads[0].exists);
    let other = json!({"metadata": {}, "data": {"a": "2"}, "spec": {"selector": {"app": "other"}}});
    for (kind, name) in [("ConfigMap", "conf"), ("Service", "pg"), ("StatefulSet", "pg")] {
        let said = refused(&of(|_| {}), &with(kind, name, other.clone()), None, None);
        assert!(said.contains(&format!("{}/{name}: it exists already", kind.to_lowercase())), "{said}");
    }
}

#[test]
fn beside_the_original_no_service_may_find_the_copy() {
    let suffix = Suffix::new("check").unwrap();
    let anew = planned(&of(|_| {}), &there("demo"), None, Some(&suffix)).unwrap();
    assert_eq!(anew.copies.claims[0].new_name, "data-pg-check-0");
    assert_eq!(anew.targets[0].target.pod, "pg-check-0");
    assert_eq!(anew.workloads[0].path(), "statefulset/pg-check");
    assert_eq!(names(&anew.objects), ["ConfigMap/conf", "Service/pg-check"], "nothing of the original's");
    let mut others = there("demo");
    let service =
        |selector: Value| json!({"kind": "Service", "metadata": {"name": "all"}, "spec": {"selector": selector}});
    others.services.insert("demo".into(), Ok(vec![service(json!({"app": "pg"}))]));
    assert!(planned(&of(|_| {}), &others, None, Some(&suffix)).is_ok());
    let finds = service(json!({"consistent-backup/copy": "pg-check"}));
    others.services.insert("demo".into(), Ok(vec![finds]));
    assert!(refused(&of(|_| {}), &others, None, Some(&suffix)).contains("service/all: it would find the pods"));
    others.services.insert("demo".into(), Err("forbidden".into()));
    assert!(refused(&of(|_| {}), &others, None, Some(&suffix)).contains("is not known: forbidden"));
}

/// What is written into the archive of the living original cannot be taken out again.
#[test]
fn a_copy_archives_nothing() {
    let with = |command: &Value| {
        of(|of| {
            let container = of.object.as_mut().unwrap().pointer_mut("/spec/template/spec/containers/0").unwrap();
            container["command"] = command.clone();
            container["volumeMounts"] = json!([{"name": "data", "mountPath": "/data"}]);
        })
    };
    let (suffix, mut facts) = (Suffix::new("check").unwrap(), facts());
    let mut archiving = source();
    archiving.plan.targets[0].probe.settings.push(("archive_mode".into(), "on".into()));
    let mut planned = |command: &Value, namespace: Option<&str>, suffix: Option<&Suffix>| {
        facts.claims.retain(|_, _| suffix.is_some());
        let manifests = with(command);
        let place = Place { namespace, suffix, manifests: Some(&manifests) };
        plan_anew(&archiving, &facts, &there(namespace.unwrap_or("demo")), &place, Duration::ZERO)
    };
    let script = json!(["/start.sh"]);
    for (namespace, suffix) in [(None, Some(&suffix)), (Some("two"), None)] {
        let anew = planned(&json!(["postgres"]), namespace, suffix).unwrap();
        let spec = pod_spec(&anew.workloads[0].object);
        assert_eq!(spec["containers"][0]["args"], json!(["-c", "archive_mode=off"]));
        assert!(anew.copies.notes.iter().any(|note| note.ends_with("archives nothing: archive_mode=off")), "{anew:?}");
        let anew = planned(&json!([]), namespace, suffix).unwrap();
        let first = &pod_spec(&anew.workloads[0].object)["initContainers"][0];
        assert_eq!(first["volumeMounts"], json!([{"name": "data", "mountPath": "/data"}]), "{first}");
        let refusals = planned(&script, namespace, suffix).unwrap_err();
        assert!(refusals.iter().any(|r| r.message.contains("archive_mode is on")), "{refusals:?}");
    }
    let anew = planned(&script, None, None).unwrap();
    assert_eq!(anew.workloads[0].object["spec"], with(&script).workloads[0].object.as_ref().unwrap()["spec"]);
}

#[test]
fn only_what_is_gone_or_being_brought_back_needs_no_stop() {
    let there = |labels: Value, annotations: Value| {
        Found::Yes(Box::new(json!({"metadata": {"labels": labels, "annotations": annotations}})))
    };
    let (ours, restoring) = (json!({RESTORED_FROM: "b1"}), json!({RESTORING: "b1"}));
    let gone = |all: &[Found<Value>]| are_gone(&source(), all);
    assert!(gone(&[Found::No]) && gone(&[there(ours.clone(), restoring.clone())]));
    assert!(gone(&[there(ours.clone(), json!({})), Found::No]), "an earlier call was on its way");
    assert!(!gone(&[there(ours.clone(), json!({}))]), "it is back: restored in place from now on");
    assert!(!gone(&[there(json!({}), json!({})), Found::No]), "somebody else's is stopped, or refused");
    assert!(!gone(&[Found::Unknown("x".into()), Found::No]) && !gone(&[]));
}

/// The VolumeSnapshot went with its namespace, or somebody deleted it: its content has the copy still.
#[test]
fn where_only_the_snapshot_is_gone_another_is_made_of_its_content() {
    let mut facts = facts();
    facts.snapshots = BTreeMap::from([("demo/s".into(), Found::No)]);
    let plan = in_place(&source(), &facts).unwrap();
    let alias = &plan.aliases[0];
    assert_eq!((alias.handle.as_str(), alias.driver.as_str(), alias.namespace.as_str()), ("h", "csi.test", "demo"));
    assert_eq!((&plan.claims[0].snapshot, &plan.claims[0].content), (&alias.snapshot, &alias.content));
    let source_of = |claim: &k8s_openapi::api::core::v1::PersistentVolumeClaim| {
        claim.spec.as_ref().unwrap().data_source.as_ref().unwrap().name.clone()
    };
    assert_eq!(source_of(&plan.claims[0].new), alias.snapshot);
    let refused = |change: &dyn Fn(&mut Value)| {
        let mut of = content();
        change(&mut of);
        let mut facts = facts.clone();
        facts.contents = yes("c", of);
        let refusals = in_place(&source(), &facts).unwrap_err();
        refusals.into_iter().map(|r| r.message).collect::<Vec<_>>().join("; ")
    };
    assert!(refused(&|c| c["status"]["readyToUse"] = json!(false)).contains("not ready"));
    assert!(refused(&|c| c["spec"]["deletionPolicy"] = json!("Delete")).contains("not Retain"));
    assert!(refused(&|c| c["status"]["error"] = json!({"message": "lost"})).contains("lost"));
    let mut lost = facts.clone();
    lost.contents = BTreeMap::from([("c".into(), Found::No)]);
    assert_eq!(in_place(&source(), &lost).unwrap_err().len(), 1, "one reason is enough");
}

#[test]
fn in_another_namespace_every_claim_needs_one() {
    let mut facts = facts();
    facts.claims.clear();
    let place = Place { namespace: Some("two"), ..Place::default() };
    let copies = plan_copies(&source(), &facts, &place).unwrap();
    let copy = &copies.claims[0];
    assert_eq!((copy.namespace.as_str(), copy.new_name.as_str()), ("two", "data-pg-0"));
    assert_eq!(copy.new.metadata.namespace.as_deref(), Some("two"));
    let alias = copy.alias.clone().unwrap();
    assert_eq!((alias.namespace.as_str(), &alias.snapshot), ("two", &copy.snapshot));
    assert_eq!(copies.needed(), std::slice::from_ref(&alias));
    let mut bound = copy.new.clone();
    bound.status = serde_json::from_value(json!({"phase": "Bound"})).unwrap();
    facts.claims.insert("two/data-pg-0".into(), Found::Yes(Box::new(bound)));
    let again = plan_copies(&source(), &facts, &place).unwrap();
    assert_eq!(
        (again.needed(), again.aliases()),
        (Vec::new(), vec![alias]),
        "it has its data; what it was made from goes"
    );
}

/// A copy is for use: it keeps its listener, and whoever makes it must know what no longer protects it.
#[test]
fn the_plan_of_a_copy_names_the_policies_that_do_not_select_it() {
    let policy = json!({"metadata": {"name": "guard"}, "spec": {"podSelector": {"matchLabels": {"app": "pg"}}}});
    let with = |found: Result<Vec<NetworkPolicy>, String>| {
        let there = There { policies: BTreeMap::from([("demo".to_owned(), found)]), ..there("demo") };
        let copy = planned(&of(|_| {}), &there, None, Some(&Suffix::new("check").unwrap())).unwrap();
        copy.copies.notes.join("; ")
    };
    let named = with(Ok(vec![serde_json::from_value(policy).unwrap()]));
    assert!(named.contains("not selected by networkpolicy/guard of namespace demo"), "{named}");
    assert!(!with(Ok(Vec::new())).contains("networkpolicy"));
    assert!(with(Err("networkpolicies is forbidden".into())).contains("is not known: networkpolicies is forbidden"));
}
