//! The plan of a cold backup: the workloads are stopped for the cut, so nothing has to be held, and databases that this
//! version does not know are copied as well as those that it knows.

use std::collections::BTreeSet;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;

use super::facts::{Probed, claims_of, name, namespace, object};
use super::restore::{self, stoppable};
use super::{Claim, Detection, Facts, NO_ADAPTER, Plan, Request, Target, build, claims};
use crate::error::Refusal;
use crate::quiescer::Probe;

/// The plan, or all reasons why not. `now` are the workloads as they are and what may be done with them.
pub fn plan_cold(
    facts: &Facts,
    detection: &Detection,
    probes: &[Probed],
    now: &restore::facts::Facts,
    request: &Request,
    run: &str,
    created: Timestamp,
) -> Result<Plan, Vec<Refusal>> {
    let mut refusals = facts.refusals.clone();
    let mut notes = facts.notes.clone();
    refusals.extend(facts.pods.iter().filter_map(build::serves));
    let planned = claims_of_pods(facts, request, &mut refusals, &mut notes);
    refusals.extend(other_users(facts, &planned));
    refusals.extend(unselected(facts, now));
    let asked = restore::Request {
        run: run.into(),
        wait: request.budget,
        force: restore::Force { owner: request.force_owner, version: false },
    };
    let stopped = stoppable(&facts.workloads, now, &asked, &mut refusals, &mut notes);
    refusals.extend(stopped.iter().filter_map(deletes_claims));
    restore::denied(now, &mut refusals);
    for refusal in &mut refusals {
        if refusal.hint.as_deref() == Some(restore::BESIDE) {
            refusal.hint = Some("without --cold nothing is stopped".into());
        }
    }
    if refusals.is_empty() && planned.is_empty() {
        refusals.push(Refusal::new(request.text(), "there is nothing to back up: no selected pod has a claim"));
    }
    if !refusals.is_empty() {
        return Err(refusals);
    }
    let targets: Vec<Target> = facts.pods.iter().flat_map(|pod| targets(pod, detection, probes, &planned)).collect();
    let unheld_claims = unflushed(&targets, &planned, now, &mut notes);
    let names: Vec<String> = stopped.iter().map(restore::Workload::path).collect();
    notes.push(format!(
        "{} will be down until the copies are cut; if this program dies meanwhile, only `thaw` starts them again",
        names.join(", ")
    ));
    let mut plan = Plan {
        run: run.into(),
        created,
        namespace: targets.first().map_or_else(|| request.namespace.clone(), |t| t.namespace.clone()),
        request: request.text(),
        selections: facts.selections.clone(),
        estimate: super::estimate(planned.len(), facts.contents),
        targets,
        replicas: Vec::new(),
        claims: planned,
        stopped,
        unheld: Vec::new(),
        unheld_claims,
        workloads: facts.workloads.clone(),
        budget: request.budget,
        // Another attempt would stop everything once more.
        attempts: 1,
        pods_must_match: request.pods_must_match,
        cut_error_patience: request.cut_error_patience,
        contents: facts.contents,
        notes,
    };
    let others = restore::actors_notes(&plan, &plan.stopped, now);
    plan.notes.extend(others);
    Ok(plan)
}

/// Every claim of the selected pods, save those that are left out.
fn claims_of_pods(
    facts: &Facts,
    request: &Request,
    refusals: &mut Vec<Refusal>,
    notes: &mut Vec<String>,
) -> Vec<Claim> {
    let used: BTreeSet<(&str, &str)> =
        facts.pods.iter().flat_map(|pod| claims_of(pod).into_iter().map(move |(_, c)| (namespace(pod), c))).collect();
    let mut planned = Vec::new();
    for (of, name) in used {
        if let Some(why) = claims::left_out(facts, of, name) {
            notes.push(format!("persistentvolumeclaim/{name}: is not cut ({why}), and a restore does not replace it"));
            continue;
        }
        match claims::claim(facts, request, of, name) {
            Ok(claim) => planned.push(claim),
            Err(several) => refusals.extend(several),
        }
    }
    planned
}

/// A pod that is not stopped with them could write to a claim while it is cut.
fn other_users<'a>(facts: &'a Facts, planned: &'a [Claim]) -> impl Iterator<Item = Refusal> + 'a {
    planned.iter().flat_map(move |claim| {
        let others = claim.pods.iter().filter(move |user| {
            !facts.pods.iter().any(|pod| namespace(pod) == claim.namespace && name(pod) == user.as_str())
        });
        others.map(|user| {
            Refusal::new(
                format!("persistentvolumeclaim/{}", claim.name),
                format!("pod/{user} mounts it and is not selected"),
            )
            .hint("select its workload too: it is stopped with the others")
        })
    })
}

/// Scaling stops all pods of a workload, not only the selected ones.
fn unselected<'a>(facts: &'a Facts, now: &'a restore::facts::Facts) -> impl Iterator<Item = Refusal> + 'a {
    let of = |pod: &Pod| (namespace(pod).to_owned(), restore::facts::owner_of(pod, &now.replica_sets));
    let stopped: BTreeSet<(String, String)> = facts.pods.iter().map(of).collect();
    let others = facts.others.iter().filter(move |pod| !restore::facts::has_ended(pod) && stopped.contains(&of(pod)));
    others.map(|pod| {
        Refusal::new(object(pod), "it belongs to a workload that would be stopped, and is not selected")
            .hint("name the workload instead of the pod")
    })
}

/// A claim that goes when its pod goes would be gone before it is cut.
fn deletes_claims(of: &restore::Workload) -> Option<Refusal> {
    let retention = of.retention.as_ref().filter(|r| r.when_scaled == "Delete")?;
    Some(
        Refusal::new(
            of.path(),
            format!("its persistentVolumeClaimRetentionPolicy is whenScaled: {}: stopping it would delete its claims", retention.when_scaled),
        )
        .hint(format!(
            "kubectl patch {} -n {} --type=merge -p '{{\"spec\":{{\"persistentVolumeClaimRetentionPolicy\":{{\"whenScaled\":\"Retain\"}}}}}}'",
            of.path(),
            of.namespace
        )),
    )
}

/// The databases of a pod as they told of themselves; else the pod's container that mounts its claims, of no known kind.
fn targets(pod: &Pod, detection: &Detection, probes: &[Probed], planned: &[Claim]) -> Vec<Target> {
    let used: BTreeSet<&str> = claims_of(pod).into_iter().map(|(_, claim)| claim).collect();
    let claims: Vec<usize> = (0..planned.len())
        .filter(|&c| planned[c].namespace == namespace(pod) && used.contains(planned[c].name.as_str()))
        .collect();
    if claims.is_empty() {
        return Vec::new();
    }
    let target = |container: &str, adapter: &str, probe: Probe| Target {
        namespace: namespace(pod).into(),
        pod: name(pod).into(),
        pod_uid: pod.metadata.uid.clone().unwrap_or_default(),
        container: container.into(),
        adapter: adapter.into(),
        // While it is stopped nothing commits.
        probe: Probe { stops_commits: true, notes: Vec::new(), ..probe },
        wave: 0,
        claims: claims.clone(),
    };
    let known: Vec<Target> = detection
        .targets
        .iter()
        .zip(probes)
        .filter(|(d, _)| d.namespace == namespace(pod) && d.pod == name(pod))
        .filter_map(|(d, probed)| Some(target(&d.container, d.adapter, probed.as_ref().ok()?.clone())))
        .collect();
    if !known.is_empty() {
        return known;
    }
    let container = pod.spec.as_ref().and_then(|s| s.containers.first()).map_or("", |c| c.name.as_str());
    vec![target(container, NO_ADAPTER, Probe::default())]
}

/// The claims of which nobody can tell that all of them reached the device, as `NAMESPACE/CLAIM`. A `VolumeAttachment`
/// goes only after the node has unmounted the volume; a driver without them leaves nothing to see. Databases that are
/// known write all they have to the device when they are told to end.
fn unflushed(
    targets: &[Target],
    planned: &[Claim],
    now: &restore::facts::Facts,
    notes: &mut Vec<String>,
) -> Vec<String> {
    let attached = |c: &usize| now.attached.contains(&planned[*c].volume);
    let mut loose = BTreeSet::new();
    for target in targets {
        for c in target.claims.iter().filter(|c| !attached(c)) {
            let claim = &planned[*c];
            if target.adapter == NO_ADAPTER {
                loose.insert(format!("{}/{}", claim.namespace, claim.name));
                notes.push(format!(
                    "persistentvolumeclaim/{}: its driver has no VolumeAttachments, so nobody can see when the node has \
                     unmounted it, and the database on it is not known: the backup is crash-consistent at best",
                    claim.name
                ));
            }
        }
    }
    loose.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{FAKES, facts, full, pod};
    use super::super::{Workload, detect};
    use super::*;
    use crate::plan::restore::facts::{Found, WorkloadNow};
    use serde_json::{Value, json};

    /// Pods of the StatefulSet `db`, and it as it is now.
    fn scene(pods: &[Value]) -> (Facts, restore::facts::Facts) {
        let mut facts = facts(pods);
        facts.workloads = vec![Workload {
            namespace: "demo".into(),
            kind: "StatefulSet".into(),
            name: "db".into(),
            uid: "u".into(),
            replicas: 1,
            labels: "app=db".into(),
            owner: None,
        }];
        let set = WorkloadNow { uid: "u".into(), replicas: 1, labels: "app=db".into(), ..WorkloadNow::default() };
        let now = restore::facts::Facts {
            workloads: [("demo/StatefulSet/db".to_owned(), Found::Yes(Box::new(set)))].into(),
            ..restore::facts::Facts::default()
        };
        (facts, now)
    }

    fn of_db(name: &str, containers: &[&str], claims: &[&str]) -> Value {
        let mut value = pod(name, containers, claims);
        value["metadata"]["ownerReferences"] =
            json!([{"apiVersion": "apps/v1", "kind": "StatefulSet", "name": "db", "uid": "u", "controller": true}]);
        value
    }

    fn planned(facts: &Facts, now: &restore::facts::Facts, probes: &[Probed]) -> Result<Plan, Vec<String>> {
        let request = Request::new("demo", &["statefulset/db".into()], None).unwrap();
        let detection = detect(facts, FAKES);
        plan_cold(facts, &detection, probes, now, &request, "r1", Timestamp::UNIX_EPOCH)
            .map_err(|all| all.into_iter().map(|r| format!("{}: {}", r.object, r.message)).collect())
    }

    #[test]
    fn several_claims_and_unknown_databases_are_copied_as_well() {
        let (facts, mut now) =
            scene(&[of_db("db-0", &["mysql"], &["data", "log"]), of_db("db-1", &["oracle"], &["ora"])]);
        now.attached = ["pv-ora".to_owned()].into();
        let plan = planned(&facts, &now, &[full(&["/data", "/log"])]).unwrap();
        let targets: Vec<_> = plan.targets.iter().map(|t| (t.path(), t.adapter.as_str(), t.claims.len())).collect();
        assert_eq!(targets, [("demo/db-0/mysql".into(), "mysql", 2), ("demo/db-1/oracle".into(), NO_ADAPTER, 1)]);
        assert_eq!((plan.stopped.len(), plan.attempts, plan.claims.len()), (1, 1, 3));
        assert!(plan.unheld_claims.is_empty(), "a VolumeAttachment goes after the unmount: {:?}", plan.unheld_claims);
        assert!(plan.notes.last().unwrap().starts_with("statefulset/db will be down"), "{:?}", plan.notes);
    }

    #[test]
    fn what_nobody_sees_unmounted_is_not_claimed_of_an_unknown_database() {
        let (facts, now) = scene(&[of_db("db-0", &["oracle"], &["ora"])]);
        assert_eq!(planned(&facts, &now, &[]).unwrap().unheld_claims, ["demo/ora"]);
    }

    #[test]
    fn nothing_is_stopped_that_would_lose_its_claims_or_leaves_a_writer() {
        let (mut facts, mut now) = scene(&[of_db("db-0", &["mysql"], &["data"])]);
        let others = [of_db("db-1", &["mysql"], &[]), pod("dump", &["app"], &["data"])];
        facts.others = others.into_iter().map(|other| serde_json::from_value(other).unwrap()).collect();
        let Some(Found::Yes(set)) = now.workloads.get_mut("demo/StatefulSet/db") else { panic!("no set") };
        set.retention = Some(restore::Retention { when_deleted: "Retain".into(), when_scaled: "Delete".into() });
        assert_eq!(
            planned(&facts, &now, &[full(&["/data"])]).unwrap_err(),
            [
                "persistentvolumeclaim/data: pod/dump mounts it and is not selected",
                "pod/db-1: it belongs to a workload that would be stopped, and is not selected",
                "statefulset/db: its persistentVolumeClaimRetentionPolicy is whenScaled: Delete: stopping it would delete \
                 its claims",
            ]
        );
    }
}
