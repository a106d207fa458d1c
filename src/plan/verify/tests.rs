#![allow(clippy::unwrap_used)]
use serde_json::{Value, json};

use super::*;
use crate::manifests::OfWorkload;
use crate::manifests::config_map::ConfigMapReference;
use crate::plan::restore::facts::Facts;

fn source() -> Source {
    let probe = json!({"version": "15.1", "role": "primary", "stopsCommits": false, "dataDirs": ["/data"],
        "settings": [["data_directory", "/data/pg"], ["server_version_num", "150001"]], "notes": []});
    let claim = |name: &str| {
        json!({"namespace": "demo", "name": name, "uid": name, "volume": "pv", "storageClass": "fast", "request": "1Gi",
            "accessModes": ["ReadWriteOnce"], "volumeMode": "Filesystem", "labels": {"app": "pg"}, "driver": "d",
            "class": "c", "deletionPolicy": "Delete", "pods": ["pg-0"]})
    };
    let plan: Plan = serde_json::from_value(json!({
        "run": "20261120-101500-x7k2", "created": "2026-11-20T10:15:00Z", "namespace": "demo", "request": "sts/pg",
        "selections": [], "targets": [{"namespace": "demo", "pod": "pg-0", "podUid": "u", "container": "pg",
            "adapter": "postgres", "probe": probe, "wave": 0, "claims": [0]}],
        "claims": [claim("data-pg-0"), claim("other")], "unheld": [], "workloads": [], "budget": 30_000, "attempts": 1,
        "cutErrorPatience": 5000, "estimate": 100, "contents": {"read": true, "change": true}, "notes": []
    }))
    .unwrap();
    let proof = |name: &str| crate::backend::Proof {
        snapshot: format!("snap-{name}"),
        uid: name.into(),
        content: format!("content-{name}"),
        handle: "h".into(),
        ..crate::backend::Proof::default()
    };
    Source {
        plan,
        outcome: "ApplicationConsistent".into(),
        instant: "2026-11-20T10:15:05Z".parse().unwrap(),
        points: Vec::new(),
        ends: Vec::new(),
        proofs: vec![Some(proof("data-pg-0")), Some(proof("other"))],
        pods: Vec::new(),
        notes: Vec::new(),
    }
}

fn from<T: serde::de::DeserializeOwned>(value: Value) -> T {
    serde_json::from_value(value).unwrap()
}

/// A cluster in which everything is as the backup left it.
fn facts(reclaim: &str) -> Facts {
    let mut facts = Facts::default();
    for name in ["data-pg-0", "other"] {
        let snapshot = json!({"apiVersion": "snapshot.storage.k8s.io/v1", "kind": "VolumeSnapshot",
            "metadata": {"name": format!("snap-{name}"), "namespace": "demo", "uid": name}, "spec": {"source": {}},
            "status": {"readyToUse": true, "boundVolumeSnapshotContentName": format!("content-{name}")}});
        facts.snapshots.insert(format!("demo/snap-{name}"), Found::Yes(Box::new(from(snapshot))));
        let content = json!({"apiVersion": "snapshot.storage.k8s.io/v1", "kind": "VolumeSnapshotContent",
            "metadata": {"name": format!("content-{name}")},
            "spec": {"driver": "d", "deletionPolicy": "Retain", "source": {},
                "volumeSnapshotRef": {"name": format!("snap-{name}"), "namespace": "demo", "uid": name}},
            "status": {"snapshotHandle": "h", "readyToUse": true}});
        facts.contents.insert(format!("content-{name}"), Found::Yes(Box::new(from(content))));
    }
    let class = json!({"metadata": {"name": "fast"}, "provisioner": "d", "reclaimPolicy": reclaim});
    facts.classes.insert("fast".into(), Found::Yes(Box::new(from(class))));
    facts
}

/// A pod with everything that must not be in a copy of it.
fn template() -> Template {
    let probe = json!({"exec": {"command": ["pg_isready"]}});
    let spec = json!({
        "serviceAccountName": "db", "nodeName": "n1", "hostNetwork": true, "priorityClassName": "high", "priority": 1000,
        "nodeSelector": {"disk": "ssd"}, "tolerations": [{"key": "db", "operator": "Exists"}], "subdomain": "pg",
        "imagePullSecrets": [{"name": "pull"}], "securityContext": {"fsGroup": 999},
        "affinity": {"nodeAffinity": {}, "podAntiAffinity": {}},
        "initContainers": [
            {"name": "chown", "image": "busybox", "volumeMounts": [{"name": "data", "mountPath": "/data"}]},
            {"name": "render", "image": "busybox", "volumeMounts": [{"name": "conf", "mountPath": "/out"}]},
            {"name": "mesh", "image": "mesh", "restartPolicy": "Always", "volumeMounts": [{"name": "conf", "mountPath": "/out"}]},
        ],
        "containers": [
            {"name": "exporter", "image": "exporter", "volumeMounts": [{"name": "spool", "mountPath": "/spool"}]},
            {"name": "pg", "image": "postgres:15", "args": ["postgres", "-c", "archive_mode=on"],
                "env": [{"name": "POSTGRES_PASSWORD", "valueFrom": {"secretKeyRef": {"name": "pg", "key": "p"}}}],
                "ports": [{"containerPort": 5432, "hostPort": 5432}], "livenessProbe": probe, "readinessProbe": probe,
                "startupProbe": probe, "lifecycle": {"preStop": {"exec": {"command": ["failover"]}}},
                "securityContext": {"runAsUser": 999}, "resources": {"requests": {"cpu": "1"}},
                "volumeMounts": [{"name": "data", "mountPath": "/data"}, {"name": "archive", "mountPath": "/archive"},
                    {"name": "conf", "mountPath": "/conf"}, {"name": "host", "mountPath": "/host"},
                    {"name": "kube-api-access-abc", "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount"}]}],
        "volumes": [
            {"name": "data", "persistentVolumeClaim": {"claimName": "data-pg-0"}},
            {"name": "archive", "persistentVolumeClaim": {"claimName": "archive-pg-0"}},
            {"name": "conf", "emptyDir": {}}, {"name": "spool", "emptyDir": {}},
            {"name": "host", "hostPath": {"path": "/srv"}},
            {"name": "kube-api-access-abc", "projected": {"sources": []}}],
    });
    Template { spec: from(spec), operator: None }
}

fn wanted<'a>(
    templates: &'a [Found<Template>],
    namespace: Option<&'a str>,
    there: &'a There,
    manifests: &'a Manifests,
) -> Wanted<'a> {
    let limit = Some(Duration::from_secs(60));
    Wanted { templates, limit, namespace, there, manifests, record_gone: false }
}

fn planned(template: Template, facts: &Facts) -> Result<VerifyPlan, Vec<String>> {
    let found = [Found::Yes(Box::new(template))];
    let (there, manifests) = (There::default(), Manifests::default());
    plan_verify(&source(), facts, &wanted(&found, None, &there, &manifests))
        .map_err(|refusals| refusals.into_iter().map(|r| format!("{}: {}", r.object, r.message)).collect())
}

#[test]
fn a_copy_is_the_database_alone() {
    let plan = planned(template(), &facts("Delete")).unwrap();
    let [copy] = &plan.targets[..] else { panic!("{plan:?}") };
    let pod = serde_json::to_value(&copy.pod).unwrap();
    assert_eq!(copy.name, "pg-0-verify-20261120-101500-x7k2");
    assert_eq!(
        pod["metadata"]["labels"],
        json!({"app.kubernetes.io/managed-by": "consistent-backup", "consistent-backup/verify": "20261120-101500-x7k2"})
    );
    assert!(pod["metadata"].get("ownerReferences").is_none());
    let spec = &pod["spec"];
    for gone in ["nodeName", "hostNetwork", "priority", "priorityClassName", "subdomain"] {
        assert!(spec.get(gone).is_none(), "{gone}");
    }
    assert_eq!(spec["affinity"], json!({"nodeAffinity": {}}));
    assert_eq!((&spec["serviceAccountName"], &spec["restartPolicy"]), (&json!("db"), &json!("Never")));
    assert_eq!((&spec["nodeSelector"]["disk"], &spec["tolerations"][0]["key"]), (&json!("ssd"), &json!("db")));
    assert_eq!(
        (&spec["securityContext"]["fsGroup"], &spec["imagePullSecrets"][0]["name"]),
        (&json!(999), &json!("pull"))
    );
    assert_eq!((&spec["hostname"], &spec["activeDeadlineSeconds"]), (&json!("pg-0"), &json!(60)));

    let names = |list: &Value| {
        list.as_array().unwrap().iter().map(|c| c["name"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(names(&spec["containers"]), ["pg"], "no sidecars");
    assert_eq!(
        names(&spec["initContainers"]),
        ["render", PREPARE],
        "only what writes what the server reads, then ours"
    );
    let server = &spec["containers"][0];
    for gone in ["ports", "livenessProbe", "readinessProbe", "startupProbe", "lifecycle"] {
        assert!(server.get(gone).is_none(), "{gone}");
    }
    assert_eq!(server["env"][0]["valueFrom"]["secretKeyRef"]["name"], "pg");
    assert_eq!(server["securityContext"]["runAsUser"], 999);
    let args: Vec<&str> = server["args"].as_array().unwrap().iter().map(|a| a.as_str().unwrap()).collect();
    let (on, off) =
        (args.iter().position(|a| *a == "archive_mode=on"), args.iter().position(|a| *a == "archive_mode=off"));
    assert!(on < off, "the last one wins: {args:?}");
}

#[test]
fn nothing_of_production_can_be_written_to() {
    let plan = planned(template(), &facts("Delete")).unwrap();
    let pod = serde_json::to_value(&plan.targets[0].pod).unwrap();
    let volume = |name: &str| pod["spec"]["volumes"].as_array().unwrap().iter().find(|v| v["name"] == name).cloned();
    let copy = "data-pg-0-verify-20261120-101500-x7k2";
    assert_eq!(volume("data").unwrap()["persistentVolumeClaim"]["claimName"], copy);
    assert_eq!(volume("archive").unwrap(), json!({"name": "archive", "emptyDir": {}}), "it is not in the backup");
    assert!(volume("spool").is_none() && volume("kube-api-access-abc").is_none());
    for container in
        ["initContainers", "containers"].iter().flat_map(|list| pod["spec"][list].as_array().unwrap().clone())
    {
        for mount in container["volumeMounts"].as_array().unwrap() {
            assert_ne!(mount["name"], "kube-api-access-abc");
            assert!(mount["name"] != "host" || mount["readOnly"] == true, "{mount}");
        }
    }
    let claims: Vec<&str> = plan.targets[0].claims.iter().map(|c| c.new_name.as_str()).collect();
    assert_eq!(claims, [copy], "claims of the backup that it does not mount are not copied");
    let labels = plan.targets[0].claims[0].new.metadata.labels.as_ref().unwrap();
    assert_eq!(labels[VERIFY], "20261120-101500-x7k2");
    assert!(!labels.contains_key("app"));
}

#[test]
fn what_cannot_be_started_alone_is_refused() {
    let refused = |change: &dyn Fn(&mut Template)| {
        let mut template = template();
        change(&mut template);
        planned(template, &facts("Delete")).unwrap_err().join("\n")
    };
    let operator = refused(&|t| t.operator = Some("Cluster/pg".into()));
    assert!(operator.contains("pod/pg-0: it is made by Cluster/pg"), "{operator}");
    let manager = refused(&|t| t.spec.containers[1].image = Some("ghcr.io/zalando/spilo-15:3.0".into()));
    assert!(manager.contains("it is run by spilo"), "{manager}");
    assert!(refused(&|t| t.spec.containers[1].name = "x".into()).contains("no container pg any more"));
    let moved = refused(&|t| {
        t.spec.volumes.as_mut().unwrap()[0].persistent_volume_claim.as_mut().unwrap().claim_name = "new".into();
    });
    assert!(moved.contains("no longer mounts"), "{moved}");
    let (there, manifests) = (There::default(), Manifests::default());
    let gone = plan_verify(&source(), &facts("Delete"), &wanted(&[Found::No], None, &there, &manifests)).unwrap_err();
    assert!(gone.iter().all(|r| r.object == "pod/pg-0"), "{gone:?}");
    let mut bad = facts("Delete");
    bad.snapshots.clear();
    bad.contents.clear();
    let refusals = planned(template(), &bad).unwrap_err().join("\n");
    assert!(refusals.contains("it is gone"), "{refusals}");
}

/// The claims are then made from a VolumeSnapshot of the stored copy that a restore never uses.
#[test]
fn where_only_the_content_is_left_it_gets_a_snapshot_for_it() {
    let mut facts = facts("Delete");
    facts.snapshots.clear();
    let plan = planned(template(), &facts).unwrap();
    let claim = &plan.targets[0].claims[0];
    let alias = claim.alias.as_ref().unwrap();
    assert!(alias.verify && alias.snapshot.starts_with("20261120-101500-x7k2-verify-"), "{alias:?}");
    assert_eq!(claim.new.spec.as_ref().unwrap().data_source.as_ref().unwrap().name, alias.snapshot);
    assert_eq!(plan.notes[0], "VolumeSnapshots made for it, and removed afterwards: 1");
}

/// A namespace in which there is nothing, and a backup that remembers one ConfigMap.
fn elsewhere(change: impl Fn(&mut There)) -> Result<VerifyPlan, Vec<String>> {
    let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "conf"}, "data": {"a": "1"}});
    elsewhere_with((vec![map], Vec::new()), change)
}

/// The same with these ConfigMaps, and these that it only names.
fn elsewhere_with(
    (maps, named): (Vec<Value>, Vec<ConfigMapReference>),
    change: impl Fn(&mut There),
) -> Result<VerifyPlan, Vec<String>> {
    let mut template = template();
    let from = json!([{"configMapRef": {"name": "conf"}}, {"configMapRef": {"name": "other", "optional": true}}]);
    template.spec.containers[1].env_from = serde_json::from_value(from).unwrap();
    let mut source = source();
    let workload =
        json!({"namespace": "demo", "kind": "StatefulSet", "name": "pg", "uid": "u", "replicas": 1, "labels": ""});
    source.plan.workloads = vec![serde_json::from_value(workload).unwrap()];
    let of = json!({"namespace": "demo", "kind": "StatefulSet", "name": "pg", "object": null, "configMaps": maps,
        "configMapReferences": named});
    let manifests = Manifests { workloads: vec![serde_json::from_value(of).unwrap()] };
    let yes = || Found::Yes(Box::new(()));
    let mut there = There { namespaces: [("two".to_owned(), yes())].into(), ..There::default() };
    for (kind, name) in [("Secret", "pg"), ("ServiceAccount", "db")] {
        there.named.insert(anew::key(kind, "two", name), yes());
    }
    for name in ["conf", "other"] {
        there.objects.insert(anew::key("ConfigMap", "two", name), Found::No);
    }
    change(&mut there);
    let found = [Found::Yes(Box::new(template))];
    let all = plan_verify(&source, &facts("Delete"), &wanted(&found, Some("two"), &there, &manifests));
    all.map_err(|refusals| refusals.into_iter().map(|r| format!("{}: {}", r.object, r.message)).collect())
}

#[test]
fn elsewhere_a_copy_brings_what_the_backup_remembers() {
    let plan = elsewhere(|_| {}).unwrap();
    let copy = &plan.targets[0];
    assert_eq!((copy.namespace.as_str(), copy.pod.metadata.namespace.as_deref()), ("two", Some("two")));
    assert_eq!((plan.namespaces(), plan.leased.as_str()), (vec!["two".to_owned()], "demo"));
    assert!(copy.claims[0].alias.is_some() && copy.claims[0].new.metadata.namespace.as_deref() == Some("two"));
    let [map] = &copy.config_maps[..] else { panic!("{copy:?}") };
    assert_eq!((map.metadata.name.as_deref(), map.metadata.namespace.as_deref()), (Some("conf"), Some("two")));
    assert_eq!(map.metadata.labels.as_ref().unwrap()[VERIFY], "20261120-101500-x7k2", "it is found again");
    let with = |found: Value| {
        let found = Found::Yes(Box::new(found));
        elsewhere(|there| drop(there.objects.insert(anew::key("ConfigMap", "two", "conf"), found.clone())))
    };
    assert_eq!(with(json!({"data": {"a": "1"}})).unwrap().targets[0].config_maps, []);
    let left = json!({"metadata": {"labels": {VERIFY: "20261120-101500-x7k2"}}, "data": {"a": "0"}});
    assert_eq!(with(left).unwrap().targets[0].config_maps.len(), 1, "a killed one's is removed first");
    assert!(with(json!({"data": {"a": "2"}})).unwrap_err()[0].contains("not what the backup has"));
}

/// Where its record is gone the backup knows the name of a ConfigMap only.
#[test]
fn elsewhere_a_config_map_without_its_data_must_be_there() {
    let map = || json!({"metadata": {"name": "conf"}, "data": {"a": "1"}});
    let mut named = OfWorkload::default();
    named.add_config_map(map(), false);
    let named = named.without_data();
    let with = |found: Found<Value>| {
        let maps = (Vec::new(), named.config_map_references.clone());
        elsewhere_with(maps, |there| {
            there.objects.insert(anew::key("ConfigMap", "two", "conf"), found.clone());
        })
    };
    assert!(with(Found::No).unwrap_err()[0].starts_with("configmap/conf: pod pg-0 needs it"));
    let same = with(Found::Yes(Box::new(map()))).unwrap();
    assert!(
        same.targets[0].config_maps.is_empty() && !same.notes.concat().contains("configmap/conf"),
        "{:?}",
        same.notes
    );
    let other = with(Found::Yes(Box::new(json!({"data": {"a": "2"}})))).unwrap();
    assert!(other.notes.concat().contains("configmap/conf has changed since the backup"), "{:?}", other.notes);
}

#[test]
fn what_is_missing_elsewhere_is_refused_at_once() {
    let refusals = elsewhere(|there| {
        there.namespaces.insert("two".into(), Found::No);
        there.named.values_mut().for_each(|found| *found = Found::No);
    });
    let refusals = refusals.unwrap_err().join("\n");
    for object in ["namespace/two", "secret/pg", "serviceaccount/db"] {
        assert!(refusals.contains(object), "{refusals}");
    }
    assert!(!refusals.contains("secret/pull"), "the image may be there: {refusals}");
}

/// A volume that outlived its claim would be nobody's: where the class keeps them, who verifies must be allowed to
/// change that; else nobody need be.
#[test]
fn the_right_to_change_volumes_is_needed_only_where_they_would_stay() {
    let denied = || crate::plan::restore::access::Access {
        verb: "patch",
        group: "",
        resource: "persistentvolumes",
        namespace: None,
        name: None,
    };
    let with = |reclaim| Facts { denied: vec![denied()], ..facts(reclaim) };
    assert!(planned(template(), &with("Delete")).is_ok());
    assert!(planned(template(), &with("Retain")).unwrap_err()[0].contains("persistentvolumes"));
}
