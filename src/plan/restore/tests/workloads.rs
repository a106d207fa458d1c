//! What else acts on a workload, what is forced, and pods that stand for themselves.

use super::*;

/// As the user asked; and said in the plan.
#[test]
fn what_is_forced_is_a_remark() {
    let mut facts = facts();
    let now = WorkloadNow {
        owner: Some("cluster.postgresql.cnpg.io/pg".into()),
        images: vec![("db".to_owned(), "postgres:16.1".to_owned())],
        ..workload()
    };
    facts.workloads = BTreeMap::from([("demo/StatefulSet/pg".to_owned(), Found::Yes(Box::new(now)))]);
    facts.probes = vec![Ok(Probe { version: "16.1".into(), ..Probe::default() })];
    let refusals = in_place(&source(), &facts).unwrap_err();
    let hints: Vec<&str> = refusals.iter().filter_map(|r| r.hint.as_deref()).collect();
    assert_eq!(hints.len(), 3, "{refusals:?}");
    assert!(
        hints[0].contains("cnpg.io/reconciliationLoop=disabled") && hints[0].ends_with("--force-owner"),
        "{hints:?}"
    );
    assert!(hints[1..].iter().all(|hint| hint.contains("--force-version")), "{hints:?}");

    let force = |force| plan_in_place(&source(), &facts, &Request { force, ..request() });
    assert_eq!(force(Force { owner: true, version: false }).unwrap_err().len(), 2);
    let plan = force(Force { owner: true, version: true }).unwrap();
    assert!(plan.any_version && plan.workloads[0].owner.is_some());
    for part in ["as --force-owner asks", "runs postgres:16.1 now", "its version is 16.1 now"] {
        assert!(plan.notes.iter().any(|note| note.contains(part)), "{part}: {:?}", plan.notes);
    }
}

#[test]
fn who_else_acts_on_the_workload_is_told() {
    let mut facts = facts();
    let pod = with(pod(), "/metadata/labels", json!({"app": "pg"}));
    facts.pods = vec![from(pod)];
    let scaler = |name: &str, target: &str, least: Value, owners: Value| {
        from(json!({"metadata": {"name": name, "namespace": "demo", "ownerReferences": owners},
            "spec": {"maxReplicas": 3, "minReplicas": least, "scaleTargetRef": {"kind": "StatefulSet", "name": target}}}))
    };
    let keda = json!([{"apiVersion": "keda.sh/v1alpha1", "kind": "ScaledObject", "name": "busy", "uid": "k"}]);
    facts.autoscalers = vec![
        scaler("other", "my", json!(1), json!(null)),
        scaler("plain", "pg", json!(1), json!(null)),
        scaler("zero", "pg", json!(0), json!(null)),
        scaler("keda-hpa", "pg", json!(1), keda),
    ];
    let budget = |name: &str, app: &str| {
        from(
            json!({"metadata": {"name": name, "namespace": "demo"}, "spec": {"selector": {"matchLabels": {"app": app}}}}),
        )
    };
    facts.budgets = vec![budget("ours", "pg"), budget("theirs", "my")];
    let argo = json!({"argocd.argoproj.io/tracking-id": "shop:apps/StatefulSet:demo/pg"});
    facts.claims = yes("demo/data-pg-0", with(claim(), "/metadata/annotations", argo.clone()));
    let gitops = GitOps::of(&from(json!({"annotations": argo})));
    let now = WorkloadNow { gitops, ..workload() };
    facts.workloads = BTreeMap::from([("demo/StatefulSet/pg".to_owned(), Found::Yes(Box::new(now)))]);
    facts.unread = vec!["x could not be read".into()];
    let notes = in_place(&source(), &facts).unwrap().notes;
    assert_eq!(
        notes,
        [
            "x could not be read",
            "statefulset/pg: horizontalpodautoscaler/plain scales it, but not while it is down: at 0 replicas it is \
             disabled; it is started with 1",
            "statefulset/pg: horizontalpodautoscaler/zero has minReplicas 0, so it may scale it up while it is down; set it \
             to 1 first",
            "statefulset/pg: KEDA scales it by scaledobject/busy, also up from 0 while it is down; pause that first: kubectl \
             annotate scaledobject/busy -n demo autoscaling.keda.sh/paused=true",
            "statefulset/pg: poddisruptionbudget/ours limits evictions only: it does not keep all its pods from being \
             stopped",
            "statefulset/pg, persistentvolumeclaim/data-pg-0: managed by Argo CD application shop; where that heals by itself \
             it starts or makes again what is stopped or replaced, so pause it first: argocd app set shop --sync-policy none",
        ]
    );
}

/// A backup of a pod that nothing controls, and the pod as it is now.
fn bare() -> (Source, Facts) {
    let (mut source, mut facts) = (source(), facts());
    source.plan.workloads[0].kind = "Pod".into();
    source.plan.workloads[0].name = "pg-0".into();
    let pod =
        with(with(pod(), "/metadata/ownerReferences", json!(null)), "/spec/containers/0/image", json!("postgres:15.3"));
    facts.pods = vec![from(pod)];
    let now = WorkloadNow::of_pod(&facts.pods[0]);
    facts.workloads = BTreeMap::from([("demo/Pod/pg-0".to_owned(), Found::Yes(Box::new(now)))]);
    (source, facts)
}

#[test]
fn a_bare_pod_is_recorded_before_it_is_deleted() {
    let (source, facts) = bare();
    let plan = in_place(&source, &facts).unwrap();
    let of = &plan.workloads[0];
    assert_eq!((of.path().as_str(), of.uid.as_str(), of.replicas, of.ready), ("pod/pg-0", "p2", 1, 1));
    let pod = of.pod.as_deref().unwrap();
    assert_eq!((pod.metadata.uid.as_ref(), bare::restored_by(pod)), (None, Some("r1")));
    assert_eq!((plan.targets[0].workload, plan.leased()), (0, vec![("demo".to_owned(), "pg-0".to_owned())]));

    let (source, mut facts) = bare();
    let mut now = WorkloadNow::of_pod(&facts.pods[0]);
    now.refused = Some("violates PodSecurity".into());
    facts.workloads = BTreeMap::from([("demo/Pod/pg-0".to_owned(), Found::Yes(Box::new(now)))]);
    let whole = refused(&source, &facts);
    assert_eq!(whole, ["pod/pg-0: it could not be made again once it is deleted: violates PodSecurity"]);

    let (source, mut facts) = bare();
    let spelt = with(
        serde_json::to_value(&facts.pods[0]).unwrap(),
        "/spec/containers/0/env",
        json!([
        {"name": "POSTGRES_PASSWORD", "value": "hunter2"}]),
    );
    let now = WorkloadNow::of_pod(&from(spelt));
    facts.workloads = BTreeMap::from([("demo/Pod/pg-0".to_owned(), Found::Yes(Box::new(now)))]);
    let refused = refused(&source, &facts);
    assert!(refused.len() == 1 && refused[0].contains("POSTGRES_PASSWORD of container db"), "{refused:?}");
    assert!(!refused[0].contains("hunter2"));
}

/// Deleted, it would be made again at once by what owns it.
#[test]
fn a_pod_that_something_controls_is_refused() {
    for (version, kind, owner) in
        [("batch/v1", "Job", "job.batch/x"), ("postgresql.cnpg.io/v1", "Cluster", "cluster.postgresql.cnpg.io/x")]
    {
        let (source, mut facts) = bare();
        let owners = json!([{"apiVersion": version, "kind": kind, "name": "x", "uid": "o", "controller": true}]);
        facts.pods =
            vec![from(with(serde_json::to_value(&facts.pods[0]).unwrap(), "/metadata/ownerReferences", owners))];
        let now = WorkloadNow::of_pod(&facts.pods[0]);
        facts.workloads = BTreeMap::from([("demo/Pod/pg-0".to_owned(), Found::Yes(Box::new(now)))]);
        let refused = refused(&source, &facts);
        assert!(refused.len() == 1 && refused[0].contains(&format!("managed by {owner}")), "{refused:?}");
    }
}

/// A primary and its replica, each with a claim, of one StatefulSet.
fn replicated() -> (Source, Facts) {
    let (mut source, mut facts) = (source(), facts());
    source.plan.replicas = vec![from(json!({"of": "demo/pg-0/db", "claims": ["data-pg-1"],
        "target": {"namespace": "demo", "pod": "pg-1", "podUid": "r", "container": "db", "adapter": "postgres", "wave": 0,
            "claims": [], "probe": {"version": "15.3", "role": "replica", "stopsCommits": false, "dataDirs": [],
                "settings": [], "notes": []}}}))];
    let mut second = with(claim(), "/metadata/name", json!("data-pg-1"));
    second["metadata"]["uid"] = json!("second");
    second["spec"]["volumeName"] = json!("pv-second");
    // Made by an earlier restore from a snapshot that may be gone.
    second["spec"]["dataSource"] =
        json!({"apiGroup": "snapshot.storage.k8s.io", "kind": "VolumeSnapshot", "name": "gone"});
    facts.claims.insert("demo/data-pg-1".into(), Found::Yes(Box::new(from(second))));
    let volume = json!({"metadata": {"name": "pv-second", "uid": "v2"},
        "spec": {"persistentVolumeReclaimPolicy": "Delete", "claimRef": {"uid": "second"}}});
    facts.volumes.insert("pv-second".into(), Found::Yes(Box::new(from(volume))));
    let volumes = json!([{"name": "d", "persistentVolumeClaim": {"claimName": "data-pg-1"}}]);
    facts.pods.push(from(with(with(pod(), "/spec/volumes", volumes), "/metadata/name", json!("pg-1"))));
    let now = WorkloadNow { replicas: 2, ..workload() };
    facts.workloads = BTreeMap::from([("demo/StatefulSet/pg".to_owned(), Found::Yes(Box::new(now)))]);
    (source, facts)
}

#[test]
fn a_replicas_claim_is_replaced_by_an_empty_one() {
    let (source, mut facts) = replicated();
    let plan = in_place(&source, &facts).unwrap();
    let claim = &plan.claims[1];
    assert_eq!((claim.name.as_str(), claim.empty, claim.size.as_str()), ("data-pg-1", true, "2Gi"));
    assert_eq!(claim.old_volume().unwrap().name, "pv-second");
    let spec = claim.new.spec.as_ref().unwrap();
    assert!(spec.data_source.is_none() && spec.data_source_ref.is_none() && spec.volume_name.is_none());
    assert_eq!(spec.storage_class_name.as_deref(), Some("fast"));
    assert_eq!(claim.new.metadata.labels.as_ref().unwrap()[RESTORED_BY], "r1");
    let targets: Vec<_> = plan.targets.iter().map(|t| (t.target.pod.as_str(), t.replica)).collect();
    assert_eq!(targets, [("pg-0", false), ("pg-1", true)]);
    assert_eq!(plan.leased().len(), 2, "nobody else may work with the replica meanwhile");
    assert!(plan.notes.iter().any(|n| n.contains("pod/pg-1: a read replica of demo/pg-0/db")), "{:?}", plan.notes);

    // Its claim may be gone, and it may have been scaled away: then it is nobody's business.
    facts.claims.insert("demo/data-pg-1".into(), Found::No);
    facts.pods.pop();
    let plan = in_place(&source, &facts).unwrap();
    assert_eq!((plan.claims.len(), plan.targets.len()), (1, 1));
}

#[test]
fn a_replicas_claim_that_could_not_be_replaced_is_refused_too() {
    let (source, mut facts) = replicated();
    facts.volumes.insert("pv-second".into(), Found::No);
    assert_eq!(refused(&source, &facts), ["persistentvolumeclaim/data-pg-1: its volume pv-second is gone"]);
    let (source, mut facts) = replicated();
    facts.probes = vec![Ok(Probe { role: "replica".into(), ..Probe::default() })];
    let notes = in_place(&source, &facts).unwrap().notes;
    assert!(notes.iter().any(|n| n.contains("pod/pg-0 is a read replica now")), "{notes:?}");
}

#[test]
fn a_part_of_a_backup_takes_its_replicas_along() {
    let (mut source, _) = replicated();
    let mut set = source.plan.workloads[0].clone();
    set.name = "reads".into();
    source.plan.workloads.push(set);
    source.plan.replicas[0].target.pod = "reads-0".into();
    let only =
        |name: &str| only::Only { workloads: vec![crate::plan::Object::read(name).unwrap()], claims: Vec::new() };
    let part = only("sts/pg").of(&source).unwrap();
    assert_eq!((part.plan.workloads.len(), part.plan.replicas.len()), (2, 1), "else it would be ahead of its primary");
    let refusals = only("sts/reads").of(&source).unwrap_err();
    assert!(refusals[0].message.contains("is a read replica of demo/pg-0/db"), "{refusals:?}");
}

/// It would be waited for while all is down, and then everything would go back.
#[test]
fn a_database_that_would_not_be_started_is_refused_before() {
    let (mut source, mut facts) = (source(), facts());
    source.plan.targets[0].pod = "pg-2".into();
    facts.pods = vec![from(with(pod(), "/metadata/name", json!("pg-0")))];
    let refused = refused(&source, &facts).join("; ");
    assert!(refused.contains("pod/pg-2: statefulset/pg has 1 replicas now, so it would not be started"), "{refused}");
    // Its numbers begin with 2.
    facts.pods = vec![from(with(pod(), "/metadata/name", json!("pg-2")))];
    let there = in_place(&source, &facts).map_err(|all| format!("{all:?}"));
    assert!(!there.err().unwrap_or_default().contains("would not be started"));
}
