//! Whether a restore that had succeeded can be taken back: its plan and what is there now become every reason why not.
//! Pure.

use k8s_openapi::api::core::v1::{ObjectReference, PersistentVolume, PersistentVolumeClaim, Pod};
use serde::Serialize;

use super::bare::{is_as_it_runs, restored_by};
use super::edits::Now;
use super::facts::{Facts, Found, WorkloadNow, claims_of, has_ended, owner_of};
use super::in_place::{denied, unfinished};
use super::protected::by_ended;
use super::{Claim, Edit, RESTORED_BY, RestorePlan, Volume, Workload};
use crate::error::Refusal;

/// What taking a restore back does, as it is printed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct UndoPlan {
    /// The restore's id.
    pub run: String,
    /// Where its record lies.
    pub namespace: String,
    /// The backup that it had restored.
    pub backup: String,
    /// What is stopped and started.
    pub workloads: Vec<Stop>,
    /// What is bound to its old volume again.
    pub claims: Vec<BackTo>,
    /// What is set to its old values again in the properties of releases.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub properties: Vec<Edit>,
    /// Remarks, one line each.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

/// A workload that is stopped.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Stop {
    /// The namespace.
    pub namespace: String,
    /// `StatefulSet`, `Deployment` or `ReplicaSet`.
    pub kind: String,
    /// The name.
    pub name: String,
    /// The replicas that it is started with.
    pub replicas: i32,
}

/// A claim that goes back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct BackTo {
    /// The namespace.
    pub namespace: String,
    /// The claim.
    pub claim: String,
    /// The volume with the data from before the restore.
    pub old_volume: Option<String>,
}

impl UndoPlan {
    /// What taking this restore back does.
    pub fn of(plan: &RestorePlan) -> Self {
        let stop = |of: &Workload| Stop {
            namespace: of.namespace.clone(),
            kind: of.kind.clone(),
            name: of.name.clone(),
            replicas: of.replicas,
        };
        let back = |of: &Claim| BackTo {
            namespace: of.namespace.clone(),
            claim: of.name.clone(),
            old_volume: of.old_volume().map(|old| old.name.clone()),
        };
        Self {
            run: plan.run.clone(),
            namespace: plan.namespace.clone(),
            backup: plan.backup.run.clone(),
            workloads: plan.workloads.iter().map(stop).collect(),
            claims: plan.claims.iter().map(back).collect(),
            properties: plan.edits.clone(),
            notes: Vec::new(),
        }
    }

    /// The same without what is not as the restore left it, and so is left alone.
    #[must_use]
    pub fn as_it_is(mut self, plan: &RestorePlan, facts: &Facts) -> Self {
        for of in plan.fronts().filter(|of| is_left_alone(of, facts)) {
            self.workloads
                .retain(|stop| (&stop.namespace, &stop.name) != (&of.namespace, &of.name) || stop.kind != of.kind);
            let is_there = facts.workloads.get(&key(of)).is_some_and(|now| now.yes().is_some());
            self.notes.push(if is_there {
                format!(
                    "{} is another one now, and stopped: it is left so; start it once the databases serve",
                    of.path()
                )
            } else {
                format!("{} is gone: nothing is stopped or started in its place", of.path())
            });
        }
        for edit in &mut self.properties {
            let Some(Found::Yes(now)) = facts.properties.get(&edit.of()).filter(|now| is_its(edit, now)) else {
                self.notes.push(format!("{} is gone, or another one now: it is left as it is", edit.path()));
                edit.values.clear();
                continue;
            };
            let text = now.text.as_deref().unwrap_or_default();
            let (path, changed) = (edit.path(), edit.changed_since(text));
            edit.values.retain(|value| !changed.contains(&value.key));
            self.notes.extend(changed.iter().map(|key| format!("{path}: {key} was changed since: it stays as it is")));
        }
        self.properties.retain(|edit| !edit.values.is_empty());
        self
    }
}

/// How a workload is named in the facts.
fn key(of: &Workload) -> String {
    format!("{}/{}/{}", of.namespace, of.kind, of.name)
}

/// Whether this is the object in which the properties were set.
fn is_its(edit: &Edit, now: &Found<Now>) -> bool {
    now.yes().is_some_and(|now| now.uid == edit.uid)
}

/// A release that was uninstalled since, or installed anew and is stopped: nothing of it writes meanwhile.
fn is_left_alone(of: &Workload, facts: &Facts) -> bool {
    match facts.workloads.get(&key(of)) {
        Some(Found::No) => of.front,
        Some(Found::Yes(now)) => of.front && now.uid != of.uid && now.replicas == 0,
        _ => false,
    }
}

/// Every reason why this restore cannot be taken back.
pub fn refusals(plan: &RestorePlan, facts: &Facts) -> Vec<Refusal> {
    let mut refusals = Vec::new();
    denied(facts, &mut refusals);
    unfinished(facts, &plan.namespace, &mut refusals);
    for of in plan.workloads.iter().filter(|of| !is_left_alone(of, facts)) {
        let now = facts.workloads.get(&key(of));
        refusals.extend(workload(of, now, &plan.run).map(|why| Refusal::new(of.path(), why)));
    }
    for of in &plan.claims {
        let now = facts.claims.get(&format!("{}/{}", of.namespace, of.name));
        refusals.extend(claim(of, now, &plan.run).map(|why| Refusal::new(of.path(), why)));
        if let Some(old) = of.old_volume() {
            let why = volume(old, of, facts.volumes.get(&old.name));
            refusals.extend(why.map(|why| Refusal::new(format!("persistentvolume/{}", old.name), why)));
        }
    }
    refusals.extend(plan.edits.iter().filter_map(|edit| properties(edit, facts)));
    let claims = plan.claims.iter().map(|c| format!("{}/{}", c.namespace, c.name)).collect();
    // A Deployment forgets its pods once they have ended.
    let deleted = |of: &&Workload| matches!(of.kind.as_str(), "StatefulSet" | "Pod");
    let goes = |pod: &Pod| plan.workloads.iter().filter(deleted).any(|of| owns(of, pod, facts));
    refusals.extend(by_ended(&claims, facts, goes));
    refusals.extend(facts.pods.iter().filter(|pod| !has_ended(pod)).flat_map(|pod| user(pod, plan, facts)));
    refusals
}

/// Whether a pod is of this workload.
fn owns(of: &Workload, pod: &Pod, facts: &Facts) -> bool {
    pod.metadata.namespace.as_ref() == Some(&of.namespace)
        && if of.kind == "Pod" {
            // Whatever owns it: it was restored as one that stands for itself.
            pod.metadata.name.as_ref() == Some(&of.name)
        } else {
            owner_of(pod, &facts.replica_sets) == format!("{}/{}", of.kind, of.name)
        }
}

/// The restored claims that a pod of nobody's workload mounts: it would write on while they go, and keep all waiting.
fn user(pod: &Pod, plan: &RestorePlan, facts: &Facts) -> Vec<Refusal> {
    if plan.workloads.iter().any(|of| owns(of, pod, facts)) {
        return Vec::new();
    }
    let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
    let object = format!("pod/{}", pod.metadata.name.as_deref().unwrap_or_default());
    let used =
        claims_of(pod).filter_map(|name| plan.claims.iter().find(|c| c.namespace == namespace && c.name == name));
    let refusal = |of: &Claim| {
        Refusal::new(of.path(), format!("{object} mounts it, which is not of what was restored"))
            .hint(format!("stop {object} first"))
    };
    used.map(refusal).collect()
}

/// The object, or why it is not known.
fn there<T>(now: Option<&Found<T>>) -> Result<Option<&T>, String> {
    match now {
        Some(Found::Yes(now)) => Ok(Some(now)),
        Some(Found::No) => Ok(None),
        Some(Found::Unknown(why)) => Err(format!("could not be read: {why}")),
        None => Err("was not looked for".into()),
    }
}

fn workload(of: &Workload, now: Option<&Found<WorkloadNow>>, run: &str) -> Option<String> {
    let now = there(now);
    if let (Some(recorded), Ok(now)) = (&of.pod, &now)
        && !now.and_then(|now| now.pod.as_deref()).is_some_and(|pod| is_as_it_runs(recorded, pod))
    {
        let what = if now.is_some() { "is not as the record says" } else { "is gone" };
        return Some(format!(
            "{what}: undoing makes it again, and only a pod that runs now shows that it may be as the record says"
        ));
    }
    match now {
        Err(why) => Some(why),
        Ok(None) => Some("is gone".into()),
        Ok(Some(now)) if now.pod.as_deref().is_some_and(|pod| restored_by(pod) == Some(run)) => None,
        Ok(Some(now)) if now.uid != of.uid && of.front => {
            Some("is another one now, which this restore cannot stop and start: scale it to 0 first".into())
        }
        Ok(Some(now)) if now.uid != of.uid => Some("is another one now: it was deleted and made anew".into()),
        Ok(Some(now)) if now.deleting => Some("is being deleted".into()),
        Ok(Some(now)) if now.owner.is_some() && now.owner != of.owner => {
            let owner = now.owner.as_deref().unwrap_or_default();
            Some(format!("is managed by {owner} now: its operator would start it again"))
        }
        // Replicas that came since have newer data than what it goes back to.
        Ok(Some(now)) if now.replicas > of.start && !of.front => Some(format!(
            "has {} replicas now and had {} after the restore: scale it back first",
            now.replicas, of.start
        )),
        Ok(Some(_)) => None,
    }
}

/// Why the properties that were set cannot be set back.
fn properties(edit: &Edit, facts: &Facts) -> Option<Refusal> {
    let why = match there(facts.properties.get(&edit.of())) {
        Err(why) => why,
        Ok(Some(now)) if now.uid == edit.uid && now.immutable => {
            let back = edit.put_back(now.text.as_deref().unwrap_or_default());
            back.map(|_| "is immutable now, so its properties cannot be set back".to_owned())?
        }
        Ok(_) => return None,
    };
    Some(Refusal::new(edit.path(), why))
}

fn claim(of: &Claim, now: Option<&Found<PersistentVolumeClaim>>, run: &str) -> Option<String> {
    if of.old_volume().is_none() {
        return Some("had no volume before the restore: there is nothing to go back to".into());
    }
    let now = match there(now) {
        Err(why) => return Some(why),
        Ok(None) => return Some("is gone".into()),
        Ok(Some(now)) => now,
    };
    let by = now.metadata.labels.as_ref().and_then(|l| l.get(RESTORED_BY));
    match by {
        Some(by) if by == run => now.metadata.deletion_timestamp.as_ref().map(|_| "is being deleted".into()),
        Some(by) => Some(format!(
            "was restored once more since, by run {by}: undo that one first; where that cannot be any more, the data of before \
             is on persistentvolume/{}",
            of.old_volume().map_or("", |old| &old.name)
        )),
        None => Some("is not the one that this restore made any more".into()),
    }
}

fn volume(of: &Volume, claim: &Claim, now: Option<&Found<PersistentVolume>>) -> Option<String> {
    let now = match there(now) {
        Err(why) => return Some(why),
        Ok(None) => return Some("is gone, and the old data with it".into()),
        Ok(Some(now)) => now,
    };
    if now.metadata.uid.as_ref() != Some(&of.uid) {
        return Some("is another one now: the old data is not there any more".into());
    }
    if now.metadata.deletion_timestamp.is_some() {
        return Some("is being deleted".into());
    }
    let policy = now.spec.as_ref().and_then(|s| s.persistent_volume_reclaim_policy.as_deref());
    if policy != Some("Retain") {
        let policy = policy.unwrap_or("Delete");
        return Some(format!("is retained no more: its reclaim policy is {policy}, so somebody has given it up"));
    }
    let bound = now.spec.as_ref().and_then(|s| s.claim_ref.as_ref());
    let ours =
        |b: &&ObjectReference| b.name.as_ref() == Some(&claim.name) && b.namespace.as_ref() == Some(&claim.namespace);
    bound.filter(|b| !ours(b)).map(|b| {
        let word = |text: &Option<String>| text.clone().unwrap_or_default();
        format!("is bound to {}/{} now", word(&b.namespace), word(&b.name))
    })
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{bound, plan};
    use super::*;
    use serde_json::{Value, json};

    fn facts(workload: Found<WorkloadNow>, claim: &Value, volume: &Value) -> Facts {
        let found = |value: &Value| match value {
            Value::Null => Found::No,
            value => Found::Yes(Box::new(serde_json::from_value(value.clone()).unwrap())),
        };
        let volume = match volume {
            Value::Null => Found::No,
            value => Found::Yes(Box::new(serde_json::from_value(value.clone()).unwrap())),
        };
        Facts {
            workloads: [("demo/StatefulSet/pg".to_owned(), workload)].into(),
            claims: [("demo/data".to_owned(), found(claim))].into(),
            volumes: [("pv".to_owned(), volume)].into(),
            ..Facts::default()
        }
    }

    fn pg(uid: &str) -> Found<WorkloadNow> {
        Found::Yes(Box::new(WorkloadNow { uid: uid.into(), ..WorkloadNow::default() }))
    }

    fn said(plan: &RestorePlan, facts: &Facts) -> Vec<String> {
        refusals(plan, facts).into_iter().map(|r| format!("{} {}", r.object, r.message)).collect()
    }

    #[test]
    fn all_that_stands_in_the_way_is_said_at_once() {
        let ours = json!({"metadata": {"labels": {RESTORED_BY: "r1"}}});
        let retained = |claim: &str| {
            let bound = json!({"namespace": "demo", "name": claim, "uid": "o"});
            json!({"metadata": {"uid": "v"}, "spec": {"persistentVolumeReclaimPolicy": "Retain", "claimRef": bound}})
        };
        let old = retained("data");
        assert_eq!(said(&bound(), &facts(pg("w"), &ours, &old)), Vec::<String>::new());
        let mut crowded = facts(pg("other"), &json!({"metadata": {"labels": {RESTORED_BY: "r2"}}}), &Value::Null);
        crowded.unfinished = vec!["b2".into()];
        assert_eq!(
            said(&bound(), &crowded),
            [
                "run/b2 it is about the same databases and is not finished",
                "statefulset/pg is another one now: it was deleted and made anew",
                "persistentvolumeclaim/data was restored once more since, by run r2: undo that one first; where that cannot be any \
                 more, the data of before is on persistentvolume/pv",
                "persistentvolume/pv is gone, and the old data with it",
            ]
        );
        let elsewhere = retained("y");
        let given_up = json!({"metadata": {"uid": "v"}, "spec": {"persistentVolumeReclaimPolicy": "Delete"}});
        assert_eq!(
            said(&bound(), &facts(pg("w"), &ours, &given_up)),
            ["persistentvolume/pv is retained no more: its reclaim policy is Delete, so somebody has given it up"]
        );
        let more = Found::Yes(Box::new(WorkloadNow { uid: "w".into(), replicas: 3, ..WorkloadNow::default() }));
        assert_eq!(
            said(&bound(), &facts(more, &ours, &old)),
            ["statefulset/pg has 3 replicas now and had 1 after the restore: scale it back first"]
        );
        assert_eq!(
            said(&bound(), &facts(Found::No, &Value::Null, &elsewhere)),
            [
                "statefulset/pg is gone",
                "persistentvolumeclaim/data is gone",
                "persistentvolume/pv is bound to demo/y now"
            ]
        );
        let going = json!({"metadata": {"labels": {RESTORED_BY: "r1"}, "deletionTimestamp": "2026-11-20T11:00:00Z"}});
        let another = json!({"metadata": {"uid": "w"}});
        assert_eq!(
            said(&bound(), &facts(Found::Unknown("no".into()), &going, &another)),
            [
                "statefulset/pg could not be read: no",
                "persistentvolumeclaim/data is being deleted",
                "persistentvolume/pv is another one now: the old data is not there any more",
            ]
        );
    }

    #[test]
    fn a_release_that_is_gone_or_was_installed_anew_keeps_nobody_from_the_old_data() {
        let mut plan = bound();
        let front =
            Workload { kind: "Deployment".into(), name: "shop".into(), front: true, ..plan.workloads[0].clone() };
        plan.workloads.insert(0, front);
        let properties = json!({"namespace": "demo", "release": "shop", "uid": "m",
                "properties": {"kind": "ConfigMap", "name": "p", "key": "k"},
                "values": [{"key": "a", "new": "2", "old": "1", "written": "a=1"}, {"key": "b", "new": "2"}]});
        plan.edits = vec![serde_json::from_value(properties).unwrap()];
        let ours = json!({"metadata": {"labels": {RESTORED_BY: "r1"}}});
        let old = json!({"metadata": {"uid": "v"}, "spec": {"persistentVolumeReclaimPolicy": "Retain"}});
        let judged = |uid: Option<&str>, replicas: i32, text: &str, immutable: bool| {
            let mut facts = facts(pg("w"), &ours, &old);
            let shop = WorkloadNow { uid: uid.unwrap_or_default().into(), replicas, ..WorkloadNow::default() };
            let shop = uid.map_or(Found::No, |_| Found::Yes(Box::new(shop)));
            facts.workloads.insert("demo/Deployment/shop".into(), shop);
            let now = Now { uid: "m".into(), version: "7".into(), text: Some(text.into()), immutable, helm: false };
            facts.properties.insert("demo/shop".into(), Found::Yes(Box::new(now)));
            let undo = UndoPlan::of(&plan).as_it_is(&plan, &facts);
            let keys: Vec<String> = undo.properties.iter().flat_map(|e| &e.values).map(|v| v.key.clone()).collect();
            (said(&plan, &facts), undo.workloads.len(), keys.join(","), undo.notes.join("; "))
        };
        let all = (Vec::new(), 2, "a,b".to_owned(), String::new());
        assert_eq!(judged(Some("w"), 1, "a=2\nb=2\n", false), all);
        assert_eq!(judged(Some("w"), 7, "a=2\nb=2\n", false), all, "an autoscaler's");
        for (uid, said) in [(None, "is gone"), (Some("other"), "is another one now, and stopped")] {
            let (refused, stopped, _, notes) = judged(uid, 0, "a=2\nb=2\n", false);
            assert!(
                refused.is_empty() && stopped == 1 && notes.contains(&format!("deployment/shop {said}")),
                "{notes}"
            );
        }
        let (refused, ..) = judged(Some("other"), 1, "a=2\nb=2\n", false);
        assert!(refused.len() == 1 && refused[0].contains("scale it to 0 first"), "{refused:?}");
        let (refused, _, keys, notes) = judged(Some("w"), 1, "a=theirs\nb=2\n", false);
        assert_eq!((refused, keys.as_str()), (Vec::new(), "b"));
        assert_eq!(notes, "configmap/p: a was changed since: it stays as it is");
        let (refused, ..) = judged(Some("w"), 1, "a=2\n", true);
        assert_eq!(refused, ["configmap/p is immutable now, so its properties cannot be set back"]);
        assert_eq!(judged(Some("w"), 1, "a=1\n", true).0, Vec::<String>::new(), "they are back");
    }

    /// A record that somebody else has written could ask for any pod.
    #[test]
    fn a_pod_is_made_again_only_as_it_runs() {
        let pod = |spec: Value| -> Pod {
            let notes = json!({RESTORED_BY: "r1"});
            let object = json!({"metadata": {"name": "db", "namespace": "demo", "uid": "n", "annotations": notes}, "spec": spec});
            serde_json::from_value(object).unwrap()
        };
        let plain = json!({"containers": [{"name": "db", "image": "redis:7"}]});
        let mut plan = bound();
        plan.workloads[0].kind = "Pod".into();
        plan.workloads[0].name = "db".into();
        let ours = json!({"metadata": {"labels": {RESTORED_BY: "r1"}}});
        let old = json!({"metadata": {"uid": "v"}, "spec": {"persistentVolumeReclaimPolicy": "Retain"}});
        let mut judged = |recorded: Value, running: Option<Value>| {
            plan.workloads[0].pod = Some(Box::new(pod(recorded)));
            let mut facts = facts(pg("w"), &ours, &old);
            let now = running.map_or(Found::No, |spec| {
                let now = WorkloadNow { uid: "n".into(), pod: Some(Box::new(pod(spec))), ..WorkloadNow::default() };
                Found::Yes(Box::new(now))
            });
            facts.workloads = [("demo/Pod/db".to_owned(), now)].into();
            said(&plan, &facts).join("; ")
        };
        assert_eq!(judged(plain.clone(), Some(plain.clone())), "");
        let mut more = plain.clone();
        more["hostPID"] = json!(true);
        assert!(judged(more, Some(plain.clone())).starts_with("pod/db is not as the record says: "));
        assert!(judged(plain, None).starts_with("pod/db is gone: "));
    }

    #[test]
    fn a_pod_of_somebody_else_keeps_its_claim() {
        let ours = json!({"metadata": {"labels": {RESTORED_BY: "r1"}}});
        let old = json!({"metadata": {"uid": "v"}, "spec": {"persistentVolumeReclaimPolicy": "Retain"}});
        let pod = |name: &str, owner: Value, claim: &str, phase: &str| -> Pod {
            serde_json::from_value(json!({
                "metadata": {"name": name, "namespace": "demo", "ownerReferences": owner}, "status": {"phase": phase},
                "spec": {"containers": [], "volumes": [{"name": "d", "persistentVolumeClaim": {"claimName": claim}}]}
            }))
            .unwrap()
        };
        let set =
            json!([{"apiVersion": "apps/v1", "kind": "StatefulSet", "name": "pg", "uid": "w", "controller": true}]);
        let mut facts = facts(pg("w"), &ours, &old);
        facts.pods = vec![
            pod("pg-0", set.clone(), "data", "Running"),
            pod("pg-0", set, "data", "Failed"),
            pod("other", json!([]), "other", "Running"),
        ];
        assert_eq!(said(&bound(), &facts), Vec::<String>::new());
        facts.pods.push(pod("shell", json!([]), "data", "Running"));
        facts.pods.push(pod("job", json!([]), "data", "Succeeded"));
        assert_eq!(
            said(&bound(), &facts),
            [
                "persistentvolumeclaim/data pod/job has ended, and keeps it from being replaced for as long as it is there",
                "persistentvolumeclaim/data pod/shell mounts it, which is not of what was restored"
            ]
        );
    }

    #[test]
    fn without_an_old_volume_there_is_no_way_back() {
        let ours = json!({"metadata": {"labels": {RESTORED_BY: "r1"}}});
        assert_eq!(
            said(&plan(&Value::Null), &facts(pg("w"), &ours, &Value::Null)),
            ["persistentvolumeclaim/data had no volume before the restore: there is nothing to go back to"]
        );
        assert_eq!(
            said(&bound(), &Facts::default()),
            [
                "statefulset/pg was not looked for",
                "persistentvolumeclaim/data was not looked for",
                "persistentvolume/pv was not looked for"
            ]
        );
    }
}
