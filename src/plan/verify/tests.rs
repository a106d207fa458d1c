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
        "serviceAccountName": "db", "automountServiceAccountToken": true, "nodeName": "n1", "hostNetwork": true, "priorityClassName": "high", "priority": 1000,
        "nodeSelector": {"disk": "ssd"}, "tolerations": [{"key": "db", "operator": "Exists"}], "subdomain": "pg",
        "imagePullSecrets": [{"name": "pull"}], "securityContext": {"fsGroup": 999},
        "affinity": {"nodeAffinity": {}, "podAntiAffinity": {}},
        "initContainers": [
            {"name": "chown", "image": "busybox", "volumeMounts": [{"name": "data", "mountPath": "/data"}]},
            {"name": "login", "image": "vault", "volumeMounts": [{"name": "cloud", "mountPath": "/token"}]},
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
                    {"name": "conf", "mountPath": "/conf"},
                    {"name": "host", "mountPath": "/host", "mountPropagation": "Bidirectional"},
                    {"name": "share", "mountPath": "/share"}, {"name": "keys", "mountPath": "/keys", "readOnly": true},
                    {"name": "cloud", "mountPath": "/cloud"}, {"name": "mixed", "mountPath": "/mixed"},
                    {"name": "kube-api-access-abc", "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount"},
                    {"name": "old-token", "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount/"}]}],
        "volumes": [
            {"name": "data", "persistentVolumeClaim": {"claimName": "data-pg-0"}},
            {"name": "archive", "persistentVolumeClaim": {"claimName": "archive-pg-0"}},
            {"name": "conf", "emptyDir": {}}, {"name": "spool", "emptyDir": {}},
            {"name": "host", "hostPath": {"path": "/srv"}},
            {"name": "share", "csi": {"driver": "nfs.csi.k8s.io", "volumeAttributes": {"server": "s", "share": "/"}}},
            {"name": "keys", "secret": {"secretName": "keys"}}, {"name": "old-token", "secret": {"secretName": "db-token"}},
            {"name": "cloud", "projected": {"sources": [{"serviceAccountToken": {"path": "token"}}]}},
            {"name": "mixed", "projected": {"sources": [{"serviceAccountToken": {"path": "token"}}, {"configMap": {"name": "c"}}]}},
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
        json!({"app.kubernetes.io/managed-by": "consistent-backup", "consistent-backup/verify": "20261120-101500-x7k2",
            "consistent-backup/verify-pod": copy.name, "sidecar.istio.io/inject": "false", "linkerd.io/inject": "disabled"})
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
            assert!(mount.get("mountPropagation").is_none(), "{mount}");
            let is_read_only = mount["readOnly"] == true && mount["recursiveReadOnly"] == "IfPossible";
            let is_shared = mount["name"] == "host" || mount["name"] == "share";
            assert!(!is_shared || is_read_only, "{mount}");
        }
    }
    let claims: Vec<&str> = plan.targets[0].claims.iter().map(|c| c.new_name.as_str()).collect();
    assert_eq!(claims, [copy], "claims of the backup that it does not mount are not copied");
    let labels = plan.targets[0].claims[0].new.metadata.labels.as_ref().unwrap();
    assert_eq!(labels[VERIFY], "20261120-101500-x7k2");
    assert!(!labels.contains_key("app"));
}

/// Whoever gets into a copy must not have production's rights, and our own script needs nothing but files.
#[test]
fn a_copy_has_no_token_and_its_prepare_container_no_secret() {
    let plan = planned(template(), &facts("Delete")).unwrap();
    let pod = serde_json::to_value(&plan.targets[0].pod).unwrap();
    assert_eq!(pod["spec"]["automountServiceAccountToken"], false);
    let text = pod["spec"]["volumes"].to_string();
    assert!(!text.contains("serviceAccountToken") && !text.contains("db-token"), "{text}");
    let volume = |name: &str| pod["spec"]["volumes"].as_array().unwrap().iter().find(|v| v["name"] == name).cloned();
    assert_eq!(volume("cloud").unwrap(), json!({"name": "cloud", "emptyDir": {}}), "its path is there");
    assert_eq!(volume("mixed").unwrap()["projected"]["sources"], json!([{"configMap": {"name": "c"}}]));

    let inits = pod["spec"]["initContainers"].as_array().unwrap();
    let prepare = inits.iter().find(|c| c["name"] == PREPARE).unwrap();
    assert!(prepare.get("env").is_none() && prepare.get("envFrom").is_none(), "{prepare}");
    let mut mounted: Vec<&str> =
        prepare["volumeMounts"].as_array().unwrap().iter().map(|m| m["name"].as_str().unwrap()).collect();
    mounted.sort_unstable();
    assert_eq!(mounted, ["archive", "cloud", "conf", "consistent-backup", "data"], "claims and emptyDirs only");
    assert_eq!(prepare["securityContext"]["runAsUser"], 999, "it writes what the server reads");
    assert!(pod["spec"]["containers"][0].get("env").is_some());
}

/// Policies that select all pods of a namespace would be added to it: they are named.
#[test]
fn a_copys_policy_selects_its_pod_alone_and_denies_both_directions() {
    let mut template = template();
    template.spec.containers[0] = from(json!({"name": "second", "image": "postgres:15",
        "volumeMounts": [{"name": "other", "mountPath": "/data"}]}));
    template
        .spec
        .volumes
        .as_mut()
        .unwrap()
        .push(from(json!({"name": "other", "persistentVolumeClaim": {"claimName": "other"}})));
    let mut source = source();
    let mut second = source.plan.targets[0].clone();
    (second.container, second.claims) = ("second".into(), vec![1]);
    source.plan.targets.push(second);
    let found = || Found::Yes(Box::new(template.clone()));
    let policy = |name: &str, spec: Value| from(json!({"metadata": {"name": name}, "spec": spec}));
    let open = vec![
        policy("dns", json!({"podSelector": {}, "egress": [{}]})),
        policy("closed", json!({"podSelector": {}, "policyTypes": ["Egress"]})),
        policy("others", json!({"podSelector": {"matchLabels": {"app": "pg"}}, "ingress": [{}]})),
    ];
    let there = There { policies: [("demo".to_owned(), Ok(open))].into(), ..There::default() };
    let (templates, manifests) = ([found(), found()], Manifests::default());
    let plan = plan_verify(&source, &facts("Delete"), &wanted(&templates, None, &there, &manifests)).unwrap();
    let labels = |copy: &Copy| copy.pod.metadata.labels.clone().unwrap();
    for copy in &plan.targets {
        let of_pod: Vec<&String> = plan
            .targets
            .iter()
            .filter(|other| crate::plan::policies::selects(&copy.policy, &labels(other)))
            .map(|other| &other.name)
            .collect();
        assert_eq!(of_pod, [&copy.name]);
        let policy = serde_json::to_value(&copy.policy).unwrap();
        assert_eq!(policy["spec"]["policyTypes"], json!(["Ingress", "Egress"]));
        assert!(policy["spec"].get("ingress").is_none() && policy["spec"].get("egress").is_none(), "{policy}");
        assert_eq!(copy.policy.metadata.namespace, copy.pod.metadata.namespace);
        assert!(is_own(&copy.policy.metadata, &plan.run) && is_own(&copy.pod.metadata, &plan.run), "found again");
        assert!(copy.claims.iter().all(|claim| is_own(&claim.new.metadata, &plan.run)), "found again");
    }
    let notes = plan.notes.join("\n");
    assert!(notes.contains("what networkpolicy/dns allows is allowed to it as well"), "{notes}");
    assert!(!notes.contains("networkpolicy/closed") && !notes.contains("networkpolicy/others"), "{notes}");
    assert!(notes.contains("only in a network that enforces policies"), "{notes}");
    assert!(plan.objects("demo").contains(&format!("networkpolicy/{}", plan.targets[0].name)));
}

/// It would be written into, and stay.
#[test]
fn a_claim_that_a_restore_made_is_not_verified_on() {
    let name = "data-pg-0-verify-20261120-101500-x7k2";
    let claim = json!({"metadata": {"name": name, "namespace": "demo",
        "labels": {"consistent-backup/restored-from": "20261120-101500-x7k2"},
        "annotations": {"consistent-backup/claim": "data-pg-0"}}});
    let mut facts = facts("Delete");
    facts.claims.insert(format!("demo/{name}"), Found::Yes(Box::new(from(claim))));
    let refused = planned(template(), &facts).unwrap_err().join("\n");
    assert!(refused.contains(&format!("persistentvolumeclaim/{name}: a restore made it")), "{refused}");
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
    let by_name = refused(&|t| {
        t.spec.containers[1].volume_mounts.as_mut().unwrap()[0].sub_path_expr = Some("$(POD_NAME)".into());
    });
    assert!(by_name.contains("subPathExpr"), "the copy's pod has another name: {by_name}");
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
    let name = "conf-verify-20261120-101500-x7k2";
    assert_eq!((map.metadata.name.as_deref(), map.metadata.namespace.as_deref()), (Some(name), Some("two")));
    assert!(is_own(&map.metadata, "20261120-101500-x7k2"), "it is found again");
    let from = serde_json::to_value(&copy.pod.spec.as_ref().unwrap().containers[0].env_from).unwrap();
    assert_eq!((&from[0]["configMapRef"]["name"], &from[1]["configMapRef"]["name"]), (&json!(name), &json!("other")));
    // What has the original's name there is somebody else's: it is neither read nor removed.
    let found = Found::Yes(Box::new(json!({"data": {"a": "2"}})));
    let beside = elsewhere(|there| drop(there.objects.insert(anew::key("ConfigMap", "two", "conf"), found.clone())));
    assert_eq!(beside.unwrap().targets[0].config_maps.len(), 1);
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

/// The second server would start with the first one's configuration.
#[test]
fn two_config_maps_of_one_name_are_refused_unless_they_are_the_same() {
    let map = |value: &str| -> ConfigMap { from(json!({"metadata": {"name": "conf"}, "data": {"a": value}})) };
    let refused = |maps: &[ConfigMap]| super::elsewhere::different(maps.iter(), "two").len();
    assert_eq!((refused(&[map("1"), map("1")]), refused(&[map("1"), map("2")])), (0, 1));
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
