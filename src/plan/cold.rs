//! The plan of a cold backup: the workloads are stopped for the cut, so nothing has to be held, and databases that this
//! version does not know are copied as well as those that it knows.

use std::collections::BTreeSet;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;

use super::facts::{Probed, claims_of, name, namespace, object};
use super::left_out::{LeftOut, left_out};
use super::restore::{self, stoppable};
use super::{Claim, Detection, Facts, NO_ADAPTER, Plan, Request, Target, build, claims, targets};
use crate::error::Refusal;
use crate::quiescer::{Ending, Probe, by_name};
use crate::typed::kubectl;

const WITHOUT: &str = "without --cold nothing is stopped";
/// What stopping takes beside the pods' own end: controllers, detaching.
const MARGIN: Duration = Duration::from_secs(60);

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
    refusals.extend(facts.pods.iter().flat_map(|pod| goes_with_it(facts, pod)));
    let left_out = left_out(facts, detection, probes, request, &mut refusals);
    databases(facts, detection, probes, &mut refusals);
    let planned = claims_of_pods(facts, request, &left_out, &mut refusals, &mut notes);
    refusals.extend(other_users(facts, &planned));
    refusals.extend(unselected(facts, now));
    let asked = restore::Request {
        archive: None,
        properties: Vec::new(),
        run: run.into(),
        mark: restore::RESTARTED_BY,
        wait: request.budget,
        force: restore::Force { owner: request.force_owner, version: false },
    };
    let stopped = stoppable(&facts.workloads, now, &asked, &mut refusals, &mut notes);
    refusals.extend(stopped.iter().filter_map(deletes_claims));
    refusals.extend(stopped.iter().filter_map(killed_at_once));
    restore::denied(now, &mut refusals);
    for refusal in &mut refusals {
        if refusal.hint.as_deref() == Some(restore::BESIDE) {
            refusal.hint = Some(WITHOUT.into());
        }
    }
    if refusals.is_empty() && planned.is_empty() {
        refusals.push(Refusal::new(request.text(), "there is nothing to back up: no selected pod has a claim"));
    }
    let estimate = super::estimate(planned.len(), facts.contents);
    refusals.extend(too_long(&stopped, estimate, request));
    let targets: Vec<Target> = facts.pods.iter().flat_map(|pod| stopped_in(pod, detection, probes, &planned)).collect();
    let unheld_claims = unflushed(&targets, &planned, now, &mut notes);
    refusals.extend(torn(&targets, &planned, &unheld_claims));
    if !refusals.is_empty() {
        return Err(refusals);
    }
    let names: Vec<String> = stopped.iter().map(restore::Workload::path).collect();
    notes.push(format!(
        "{} will be down until the copies are cut; if this program dies meanwhile, only `thaw` starts them again",
        names.join(", ")
    ));
    let mut plan = Plan {
        run: run.into(),
        created,
        namespace: request.record_in(&targets),
        request: request.text(),
        selections: facts.selections.clone(),
        estimate,
        targets,
        first_targets: None,
        replicas: Vec::new(),
        claims: planned,
        releases: Vec::new(),
        databases: Vec::new(),
        backend: super::Backend::Csi,
        guard_image: None,
        guard_pull_secret: None,
        detached: false,
        stopped,
        unheld: Vec::new(),
        unheld_claims: unheld_claims.into_iter().collect(),
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
    left_out: &LeftOut,
    refusals: &mut Vec<Refusal>,
    notes: &mut Vec<String>,
) -> Vec<Claim> {
    let used: BTreeSet<(&str, &str)> =
        facts.pods.iter().flat_map(|pod| claims_of(pod).into_iter().map(move |(_, c)| (namespace(pod), c))).collect();
    let mut planned = Vec::new();
    for (of, name) in used {
        if let Some(why) = left_out.why(of, name) {
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
            format!(
                "its persistentVolumeClaimRetentionPolicy is whenScaled: {}: stopping it would delete its claims",
                retention.when_scaled
            ),
        )
        .hint(kubectl(&[
            "patch",
            &of.path(),
            "-n",
            &of.namespace,
            "--type=merge",
            "-p",
            r#"{"spec":{"persistentVolumeClaimRetentionPolicy":{"whenScaled":"Retain"}}}"#,
        ])),
    )
}

/// The databases of a pod as they told of themselves; else the pod's container that mounts its claims, of no known kind.
fn stopped_in(pod: &Pod, detection: &Detection, probes: &[Probed], planned: &[Claim]) -> Vec<Target> {
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
        release: String::new(),
        endpoint: None,
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

/// What stopping a pod would take away before it is cut: claims and volumes that go with it.
fn goes_with_it(facts: &Facts, pod: &Pod) -> Vec<Refusal> {
    let ephemeral = pod.spec.iter().flat_map(|s| s.volumes.iter().flatten()).filter(|v| v.ephemeral.is_some());
    let mut refusals: Vec<Refusal> = ephemeral
        .map(|volume| {
            Refusal::new(object(pod), format!("its ephemeral volume {} is deleted when it is stopped", volume.name))
                .hint(WITHOUT)
        })
        .collect();
    for (_, claim) in claims_of(pod) {
        let found = facts.claims.get(&(namespace(pod).to_owned(), claim.to_owned()));
        let owners = found.into_iter().flat_map(|c| c.metadata.owner_references.iter().flatten());
        if let Some(owner) = owners.into_iter().find(|owner| owner.kind == "Pod") {
            refusals.push(
                Refusal::new(
                    format!("persistentvolumeclaim/{claim}"),
                    format!("pod/{} owns it: it is deleted when that pod is stopped", owner.name),
                )
                .hint(WITHOUT),
            );
        }
    }
    refusals
}

/// Whether the databases that are known have their files on claims that are copied, and write them when they end.
fn databases(facts: &Facts, detection: &Detection, probes: &[Probed], refusals: &mut Vec<Refusal>) {
    refusals.extend(detection.refusals.iter().cloned());
    for (detected, probed) in detection.targets.iter().zip(probes) {
        let of_it = |pod: &&Pod| namespace(pod) == detected.namespace && name(pod) == detected.pod;
        let (Some(pod), Ok(probe)) = (facts.pods.iter().find(of_it), probed) else { continue };
        targets::on_claims(pod, detected, probe, refusals);
        if let Some(Ending::Lost(reason)) = ending(detected.adapter, probe) {
            let refusal = targets::refusal(pod, &detected.container, &reason.message);
            refusals.push(Refusal { hint: reason.hint, ..refusal });
        }
    }
}

/// How a database of this kind ends; of an unknown kind nobody knows.
fn ending(adapter: &str, probe: &Probe) -> Option<Ending> {
    by_name(adapter).map(|quiescer| quiescer.ending(probe))
}

/// The claims of which nobody can tell that all of them reached the device, as `NAMESPACE/CLAIM`. A `VolumeAttachment`
/// goes only after the node has unmounted the volume; a driver without them leaves nothing to see.
fn unflushed(
    targets: &[Target],
    planned: &[Claim],
    now: &restore::facts::Facts,
    notes: &mut Vec<String>,
) -> BTreeSet<String> {
    let mut loose = BTreeSet::new();
    for target in targets.iter().filter(|t| ending(&t.adapter, &t.probe) != Some(Ending::OnDevice)) {
        for claim in target.claims.iter().map(|&c| &planned[c]).filter(|claim| !now.attached.contains(&claim.volume)) {
            loose.insert(format!("{}/{}", claim.namespace, claim.name));
            notes.push(format!(
                "persistentvolumeclaim/{}: its driver has no VolumeAttachments, so nobody can see when the node has unmounted \
                 it and written what it cached: the backup is crash-consistent at best",
                claim.name
            ));
        }
    }
    loose
}

/// Claims that are cut one after the other while a node may still write to them fit together by luck only.
fn torn(targets: &[Target], planned: &[Claim], loose: &BTreeSet<String>) -> Vec<Refusal> {
    let path = |c: &usize| format!("{}/{}", planned[*c].namespace, planned[*c].name);
    let torn = targets.iter().filter(|t| t.claims.len() > 1 && t.claims.iter().any(|c| loose.contains(&path(c))));
    torn.map(|target| {
        Refusal::new(
            format!("pod/{}", target.pod),
            "it has several claims, and nobody can see when its node has unmounted them: their driver has no \
             VolumeAttachments",
        )
        .hint("keep the database on one claim")
    })
    .collect()
}

/// Without any time to end a database is killed, and has not written all that it would have.
fn killed_at_once(of: &restore::Workload) -> Option<Refusal> {
    of.grace.is_zero().then(|| {
        Refusal::new(
            of.path(),
            "its terminationGracePeriodSeconds is 0: its pods are killed, so they do not end cleanly",
        )
        .hint("raise it")
    })
}

/// Whether there is time enough to end, to be cut and to say so.
fn too_long(stopped: &[restore::Workload], estimate: Duration, request: &Request) -> Option<Refusal> {
    // A StatefulSet ends its pods one after the other, unless told otherwise.
    let ending = |w: &restore::Workload| {
        let one_by_one = if w.kind == "StatefulSet" { w.replicas.max(1).unsigned_abs() } else { 1 };
        w.grace * one_by_one
    };
    let slowest = stopped.iter().max_by_key(|w| ending(w))?;
    let needed = ending(slowest) + estimate + MARGIN;
    (needed > request.budget).then(|| {
        Refusal::new(
            slowest.path(),
            format!(
                "its pods may take {} s to end, and the cut takes about {} s, but the budget is {} s",
                ending(slowest).as_secs(),
                estimate.as_secs().max(1),
                request.budget.as_secs()
            ),
        )
        .hint(format!("--quiesce-budget {}s", needed.as_secs()))
    })
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
        let set = WorkloadNow {
            uid: "u".into(),
            replicas: 1,
            labels: "app=db".into(),
            grace: Duration::from_secs(30),
            ..WorkloadNow::default()
        };
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
        let request = Request { budget: Duration::from_secs(600), ..request };
        let detection = detect(facts, FAKES);
        plan_cold(facts, &detection, probes, now, &request, "r1", Timestamp::UNIX_EPOCH)
            .map_err(|all| all.into_iter().map(|r| format!("{}: {}", r.object, r.message)).collect())
    }

    #[test]
    fn several_claims_and_unknown_databases_are_copied_as_well() {
        let (facts, mut now) =
            scene(&[of_db("db-0", &["mysql"], &["data", "log"]), of_db("db-1", &["oracle"], &["ora"])]);
        let refused = planned(&facts, &now, &[full(&["/data", "/log"])]).unwrap_err().join("; ");
        assert!(refused.starts_with("pod/db-0: it has several claims, and nobody can see"), "{refused}");
        now.attached = ["pv-ora", "pv-data", "pv-log"].map(str::to_owned).into();
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
        let (facts, now) = scene(&[of_db("db-0", &["postgres"], &["pg"])]);
        assert!(planned(&facts, &now, &[full(&["/pg"])]).unwrap().unheld_claims.is_empty(), "it syncs when it ends");
    }

    #[test]
    fn what_would_be_lost_by_stopping_is_refused_before() {
        let mut value = of_db("db-0", &["mysql"], &["data"]);
        value["spec"]["volumes"].as_array_mut().unwrap().push(json!({"name": "tmp", "ephemeral": {}}));
        let (mut facts, now) = scene(&[value]);
        let claim = facts.claims.get_mut(&("demo".into(), "data".into())).unwrap();
        claim.metadata.owner_references = serde_json::from_value(json!([
            {"apiVersion": "v1", "kind": "Pod", "name": "db-0", "uid": "u"}]))
        .unwrap();
        let refused = planned(&facts, &now, &[full(&["/elsewhere"])]).unwrap_err();
        assert_eq!(
            refused[..2],
            [
                "pod/db-0: its ephemeral volume tmp is deleted when it is stopped",
                "persistentvolumeclaim/data: pod/db-0 owns it: it is deleted when that pod is stopped",
            ]
        );
        assert!(refused[2].starts_with("pod/db-0: directory /elsewhere lies on"), "{refused:?}");
        assert_eq!(refused.len(), 3);
    }

    #[test]
    fn the_pods_own_time_to_end_counts() {
        let (facts, mut now) = scene(&[of_db("db-0", &["postgres"], &["pg"])]);
        let Some(Found::Yes(set)) = now.workloads.get_mut("demo/StatefulSet/db") else { panic!("no set") };
        set.grace = Duration::ZERO;
        let refused = planned(&facts, &now, &[full(&["/pg"])]).unwrap_err().join("; ");
        assert!(refused.starts_with("statefulset/db: its terminationGracePeriodSeconds is 0"), "{refused}");
        let Some(Found::Yes(set)) = now.workloads.get_mut("demo/StatefulSet/db") else { panic!("no set") };
        set.grace = Duration::from_secs(1800);
        let refused = planned(&facts, &now, &[full(&["/pg"])]).unwrap_err();
        assert_eq!(
            refused,
            ["statefulset/db: its pods may take 1800 s to end, and the cut takes about 1 s, but the budget is 600 s"]
        );
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
