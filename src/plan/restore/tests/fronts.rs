//! A release in front of the database: stopped first, started last, and with other properties.

use super::*;
use crate::plan::restore::edits::Now;
use crate::plan::restore::fronts as told;
use crate::plan::restore::only::Only;

/// The backup of a release, too.
fn of_release() -> (Source, Facts) {
    let (mut source, mut facts) = (source(), facts());
    let plan = &mut source.plan;
    plan.releases = vec![from(json!({"namespace": "demo", "name": "shop", "product": "ScalarDbCluster",
        "chart": "", "appVersion": "3.18", "deployment": "shop-node", "service": "shop-headless",
        "properties": {"kind": "ConfigMap", "name": "shop-p", "key": "database.properties"}}))];
    plan.workloads.push(from(json!({"namespace": "demo", "kind": "Deployment", "name": "shop-node", "uid": "d",
        "replicas": 3, "labels": "app=shop", "owner": null})));
    let probe = json!({"version": "3.18", "role": "server", "stopsCommits": true, "keepsNothing": true, "dataDirs": [],
        "settings": [], "notes": []});
    plan.targets.insert(
        0,
        from(json!({"namespace": "demo", "pod": "shop-node-5d8-x", "podUid": "q", "container": "node",
            "adapter": "scalar", "probe": probe, "wave": 0, "claims": [], "release": "shop"})),
    );
    source.points.insert(0, crate::quiescer::RecoveryPoint::default());
    facts.probes.insert(0, Err(Vec::new()));
    let now = WorkloadNow {
        uid: "d".into(),
        replicas: 3,
        labels: "app=shop".into(),
        images: vec![("node".into(), "standin:1".into())],
        ..WorkloadNow::default()
    };
    facts.workloads.insert("demo/Deployment/shop-node".into(), Found::Yes(Box::new(now)));
    (source, facts)
}

fn properties(facts: &mut Facts, text: &str, immutable: bool, helm: bool) {
    let now = Now { uid: "m".into(), version: "7".into(), text: Some(text.into()), immutable, helm };
    facts.properties.insert("demo/shop".into(), Found::Yes(Box::new(now)));
}

fn with(source: &Source, facts: &Facts, set: &[&str]) -> Result<RestorePlan, String> {
    let asked = Request { properties: set.iter().map(|s| (*s).to_owned()).collect(), ..request() };
    let said = |r: Refusal| format!("{} {} ({})", r.object, r.message, r.hint.unwrap_or_default());
    plan_in_place(source, facts, &asked).map_err(|all| all.into_iter().map(said).collect::<Vec<_>>().join("\n"))
}

#[test]
fn it_is_stopped_first_and_never_asked_what_only_a_database_knows() {
    let (source, facts) = of_release();
    let plan = with(&source, &facts, &[]).unwrap();
    let stopped: Vec<(String, bool)> = plan.workloads.iter().map(|w| (w.path(), w.front)).collect();
    assert_eq!(stopped, [("deployment/shop-node".into(), true), ("statefulset/pg".into(), false)]);
    assert_eq!((plan.targets.len(), plan.targets[0].target.pod.as_str(), plan.targets[0].workload), (1, "pg-0", 1));
    let leased = plan.leased();
    assert!(leased.contains(&("demo".into(), "release-shop".into())) && leased.len() == 2, "{leased:?}");
    let again: RestorePlan = serde_json::from_str(&serde_json::to_string(&plan).unwrap()).unwrap();
    assert_eq!(again, plan);
}

#[test]
fn copies_are_of_the_databases_only() {
    let (source, _) = of_release();
    let of = source.of_databases();
    assert_eq!((of.plan.targets.len(), of.plan.workloads.len(), of.points.len()), (1, 1, 1));
    assert_eq!((of.plan.targets[0].pod.as_str(), &of.points[0]), ("pg-0", &source.points[1]));
}

#[test]
fn what_becomes_of_it_beside_copies_of_its_databases_is_told() {
    let (source, _) = of_release();
    let plan = &source.of_databases().plan;
    assert_eq!(told::beside_claims(plan).unwrap(), "release demo/shop is not touched, and nothing changes for it");
    let manifests = crate::manifests::OfWorkload::default();
    let service = |name: &str, ip: &str| json!({"metadata": {"name": name}, "spec": {"clusterIP": ip}});
    let made = anew::Wanted {
        of: &plan.workloads[0],
        manifests: &manifests,
        namespace: "other".into(),
        object: json!({}),
        services: vec![service("pg-headless", "None"), service("pg", "")],
        config_maps: Vec::new(),
        empty: Vec::new(),
    };
    let said = told::beside_copies(plan, &[made]).unwrap();
    assert!(said.contains("is not copied") && said.ends_with("name their Services: pg.other"), "{said}");
    let said = told::in_front_of_anew(plan).unwrap();
    assert!(said.contains("(kubectl scale deployment/shop-node -n demo --replicas=0)"), "{said}");
    assert_eq!(told::beside_claims(&super::source().plan), None);
}

#[test]
fn it_is_stopped_for_a_part_too() {
    let (source, facts) = of_release();
    let object = |typed: &str| crate::plan::Object::read(typed).unwrap();
    let only = |typed: &str| Only { workloads: vec![object(typed)], claims: Vec::new() }.of(&source);
    let part = only("statefulset/pg").unwrap();
    assert_eq!((part.plan.workloads.len(), part.plan.targets.len(), part.notes.len()), (2, 2, 0));
    assert_eq!(with(&part, &facts, &[]).unwrap().workloads.len(), 2);
    let refused = only("deployment/shop-node").unwrap_err();
    assert!(refused[0].message.contains("has no data of its own"), "{refused:?}");
}

#[test]
fn one_that_is_gone_is_left_out() {
    let (source, mut facts) = of_release();
    facts.workloads.insert("demo/Deployment/shop-node".into(), Found::No);
    let plan = with(&source, &facts, &[]).unwrap();
    assert!(plan.workloads.len() == 1 && plan.notes.iter().any(|n| n.contains("shop-node is gone")), "{plan:?}");
    assert!(with(&source, &facts, &["a=1"]).unwrap_err().contains("cannot be stopped"));
}

#[test]
fn properties_are_set_with_their_old_values_remembered_and_nothing_else_of_them() {
    let (source, mut facts) = of_release();
    properties(&mut facts, "a=old\nscalar.db.password=sesame\n", false, true);
    let plan = with(&source, &facts, &["a=new", "shop:b=2"]).unwrap();
    let of = |v: &edits::Value| (v.key.clone(), v.new.clone(), v.old.clone());
    let of: Vec<_> = plan.edits[0].values.iter().map(of).collect();
    assert_eq!(of, [("a".into(), "new".into(), Some("old".into())), ("b".into(), "2".into(), None)]);
    assert_eq!((plan.edits[0].uid.as_str(), plan.edits[0].path().as_str()), ("m", "configmap/shop-p"));
    assert!(plan.notes.iter().any(|n| n.contains("next `helm upgrade` of release shop sets it back")));
    assert!(!serde_json::to_string(&plan).unwrap().contains("sesame"));
}

#[test]
fn what_cannot_be_set_is_refused_beforehand() {
    let (mut source, mut facts) = of_release();
    let refused = |source: &Source, facts: &Facts, set: &[&str]| with(source, facts, set).unwrap_err();
    assert!(refused(&source, &facts, &["a=1"]).contains("was not looked for"));
    properties(&mut facts, "a=1\n", true, false);
    assert!(refused(&source, &facts, &["a=2"]).contains("configmap/shop-p it is immutable,"));
    properties(&mut facts, "a=1\n", false, false);
    assert!(refused(&source, &facts, &["other:a=2"]).contains("release other is not in backup b1 (it has shop)"));
    assert!(refused(&source, &facts, &["scalar.db.password=sesame"]).contains("is a secret by its name"));
    facts.properties.insert("demo/shop".into(), Found::No);
    assert!(refused(&source, &facts, &["a=2"]).contains("it is gone"));
    let mut second = source.plan.releases[0].clone();
    second.name = "audit".into();
    source.plan.releases.push(second);
    let several = refused(&source, &facts, &["a=2", "sesame"]);
    assert!(several.contains("say of which: --set-property shop:a=VALUE"), "{several}");
    assert!(several.contains("has no `=`") && !several.contains("sesame"), "{several}");
    source.plan.releases[0].properties = None;
    assert!(refused(&source, &facts, &["shop:a=2"]).contains("does not know where its properties lie"));
    let (mut source, facts) = (super::source(), super::facts());
    assert!(refused(&source, &facts, &["a=2"]).contains("has no release of ScalarDB or ScalarDL"));
    source.plan.claims.clear();
    assert!(refused(&source, &facts, &["a=2"]).contains("it copied no claim"));
}

#[test]
fn a_backup_without_copies_only_sets_properties() {
    let (mut source, mut facts) = of_release();
    source.plan.claims.clear();
    source.plan.workloads.remove(0);
    source.plan.targets.truncate(1);
    source.points.truncate(1);
    source.proofs.clear();
    facts.probes.truncate(1);
    properties(&mut facts, "a=1\n", false, false);
    let refused = with(&source, &facts, &[]).unwrap_err();
    assert!(
        refused.contains("it copied no claim")
            && refused.contains("describe b1 -n demo")
            && refused.contains("-o runbook")
    );
    let plan = with(&source, &facts, &["a=2"]).unwrap();
    assert!(plan.claims.is_empty() && plan.targets.is_empty() && plan.workloads[0].front && plan.edits.len() == 1);
}

#[test]
fn of_a_window_what_is_no_release_stays_as_it_is() {
    let (mut source, mut facts) = of_release();
    source.plan.claims.clear();
    source.proofs.clear();
    properties(&mut facts, "a=1\n", false, false);
    let refused = with(&source, &facts, &["a=2"]).unwrap_err();
    assert!(refused.contains("are not in the backup"), "the database's pod is there, with its claim: {refused}");
    let window = source.in_place();
    assert_eq!((window.plan.targets.len(), window.points.len(), window.pods.len()), (1, 1, 0));
    let selected: Vec<&str> = window.plan.selections.iter().map(|s| s.object.as_str()).collect();
    assert_eq!(selected, ["deployment/shop-node"], "its pods alone are compared");
    facts.probes.truncate(1);
    let plan = with(&window, &facts, &["a=2"]).unwrap();
    let stopped: Vec<String> = plan.workloads.iter().map(Workload::path).collect();
    assert_eq!(stopped, ["deployment/shop-node"]);
    assert!(plan.targets.is_empty() && plan.claims.is_empty() && plan.edits.len() == 1);
    assert!(plan.leased().iter().all(|(_, pod)| pod == "release-shop"), "{:?}", plan.pods);
    assert!(
        plan.notes.iter().any(|n| n.contains("copied no claim: statefulset/pg stays as it is")),
        "{:?}",
        plan.notes
    );
    let (copied, _) = of_release();
    assert_eq!(copied.in_place().plan, copied.plan, "where claims were copied all is stopped");
}

#[test]
fn a_release_of_two_by_the_same_name_is_told_by_its_namespace() {
    let (mut source, mut facts) = of_release();
    properties(&mut facts, "a=1\n", false, false);
    let mut second = source.plan.releases[0].clone();
    second.namespace = "audit".into();
    source.plan.releases.push(second);
    let refused = with(&source, &facts, &["shop:a=2"]).unwrap_err();
    assert!(refused.contains("say of which: --set-property demo/shop:a=VALUE"), "{refused}");
    let plan = with(&source, &facts, &["demo/shop:a=2"]).unwrap();
    assert_eq!((plan.edits.len(), plan.edits[0].namespace.as_str()), (1, "demo"));
}
