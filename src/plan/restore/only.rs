//! A part of a backup: some of its workloads, or some of its claims. What is left reads like a smaller backup. Pure.

use std::collections::BTreeSet;

use super::Source;
use crate::error::Refusal;
use crate::plan::{Claim, Object, Plan, Replica, Selection, Target, Workload};
use crate::typed::quoted;

/// What is asked for; nothing = all.
#[derive(Clone, Debug, Default)]
pub struct Only {
    /// Workloads, with all their claims of the backup.
    pub workloads: Vec<Object>,
    /// Claims by name.
    pub claims: Vec<String>,
}

impl Only {
    /// Whether the whole backup is asked for.
    pub fn is_all(&self) -> bool {
        self.workloads.is_empty() && self.claims.is_empty()
    }

    /// The part of the backup that is asked for, with a remark on what it is no longer one with; or all reasons why not.
    pub fn of(&self, source: &Source) -> Result<Source, Vec<Refusal>> {
        if self.is_all() {
            return Ok(source.clone());
        }
        let plan = &source.plan;
        let wanted = self.claims_of(plan)?;
        let torn = torn(plan, &wanted);
        if !torn.is_empty() {
            return Err(torn);
        }
        let mut part = part(source, &wanted);
        let left: Vec<String> = plan.targets.iter().filter(|t| !stays(t, &wanted)).map(Target::path).collect();
        if !part.plan.targets.is_empty() && !left.is_empty() {
            part.notes.push(format!(
                "only a part of backup {} is restored: it does not share its instant with {}, which stays as it is now",
                plan.run,
                left.join(", ")
            ));
        }
        Ok(part)
    }

    /// The numbers of the claims that are asked for.
    fn claims_of(&self, plan: &Plan) -> Result<BTreeSet<usize>, Vec<Refusal>> {
        let mut refusals = Vec::new();
        let mut wanted = BTreeSet::new();
        for object in &self.workloads {
            let is = |w: &&Workload| w.kind == object.kind.name() && w.name == object.name;
            let of: Vec<&Workload> = plan.workloads.iter().filter(is).collect();
            if of.is_empty() {
                let all: Vec<String> = plan.workloads.iter().map(path).collect();
                refusals.push(
                    Refusal::new(object.to_string(), format!("is not in backup {}", plan.run))
                        .hint(format!("it has {}", all.join(", "))),
                );
            }
            let claims: Vec<usize> =
                (0..plan.claims.len()).filter(|&c| of.iter().any(|w| uses(w, &plan.claims[c]))).collect();
            let replica = plan
                .replicas
                .iter()
                .find(|r| of.iter().any(|w| w.namespace == r.target.namespace && w.owns(&r.target.pod)));
            if let Some(replica) = replica.filter(|_| claims.is_empty()) {
                refusals.push(
                    Refusal::new(
                        object.to_string(),
                        format!("is a read replica of {}, and was not copied", replica.of),
                    )
                    .hint("restore its primary: the replica is made anew with it"),
                );
            }
            if claims.is_empty() && of.iter().any(|w| plan.is_front(w)) {
                refusals.push(
                    Refusal::new(
                        object.to_string(),
                        "is a release in front of the databases, and has no data of its own",
                    )
                    .hint("name a database: the release is stopped for it, and started again"),
                );
            }
            wanted.extend(claims);
        }
        for name in &self.claims {
            let of: Vec<usize> = (0..plan.claims.len()).filter(|&c| plan.claims[c].name == *name).collect();
            if of.is_empty() {
                let all: Vec<&str> = plan.claims.iter().map(|c| c.name.as_str()).collect();
                refusals.push(
                    Refusal::new(format!("persistentvolumeclaim/{name}"), format!("is not in backup {}", plan.run))
                        .hint(format!("it has {}", all.join(", "))),
                );
            }
            wanted.extend(of);
        }
        if refusals.is_empty() { Ok(wanted) } else { Err(refusals) }
    }
}

/// A database of which some claims are old and some restored is neither.
fn torn(plan: &Plan, wanted: &BTreeSet<usize>) -> Vec<Refusal> {
    let mut refusals = replicas(plan, wanted);
    let some = plan.targets.iter().filter(|t| t.claims.iter().any(|c| wanted.contains(c)) && !holds(t, wanted));
    refusals.extend(some.map(|target| {
        let missing: Vec<&str> = target
            .claims
            .iter()
            .filter(|c| !wanted.contains(c))
            .filter_map(|&c| plan.claims.get(c))
            .map(|c| c.name.as_str())
            .collect();
        Refusal::new(target.path(), format!("its data lies on claim {} too", missing.join(", ")))
            .hint("a database is restored whole: name all of its claims, or its workload")
    }));
    refusals
}

/// One replica's claims without another's: started together, one would have newer data than the other.
fn replicas(plan: &Plan, wanted: &BTreeSet<usize>) -> Vec<Refusal> {
    let mut refusals = Vec::new();
    for of in &plan.workloads {
        let claims: Vec<usize> = (0..plan.claims.len()).filter(|&c| uses(of, &plan.claims[c])).collect();
        let pods: BTreeSet<&String> =
            claims.iter().filter(|c| wanted.contains(c)).flat_map(|&c| &plan.claims[c].pods).collect();
        let others =
            claims.iter().filter(|&&c| !wanted.contains(&c) && !plan.claims[c].pods.iter().any(|p| pods.contains(p)));
        let others: Vec<&str> = others.map(|&c| plan.claims[c].name.as_str()).collect();
        if !pods.is_empty() && !others.is_empty() {
            refusals.push(
                Refusal::new(path(of), format!("claim {} of its other pods is not named", others.join(", ")))
                    .hint(format!("its replicas are restored together: --only {}", quoted(&path(of)))),
            );
        }
    }
    refusals
}

/// Whether all of its claims are among these.
fn holds(target: &Target, wanted: &BTreeSet<usize>) -> bool {
    !target.claims.is_empty() && target.claims.iter().all(|c| wanted.contains(c))
}

/// Whether it is restored with these claims, or stands in front of what is.
fn stays(target: &Target, wanted: &BTreeSet<usize>) -> bool {
    target.probe.keeps_nothing || holds(target, wanted)
}

/// How the pods of these workloads are selected.
pub(super) fn selections(workloads: &[Workload]) -> Vec<Selection> {
    let selection = |w: &Workload| Selection {
        namespace: w.namespace.clone(),
        object: path(w),
        labels: (w.kind != "Pod").then(|| w.labels.clone()),
        pod: (w.kind == "Pod").then(|| w.name.clone()),
    };
    workloads.iter().map(selection).collect()
}

fn part(source: &Source, wanted: &BTreeSet<usize>) -> Source {
    let plan = &source.plan;
    let renumbered = |c: &usize| wanted.iter().position(|w| w == c);
    let targets = plan
        .targets
        .iter()
        .filter(|t| stays(t, wanted))
        .map(|t| Target { claims: t.claims.iter().filter_map(renumbered).collect(), ..t.clone() });
    let claims: Vec<Claim> = wanted.iter().map(|&c| plan.claims[c].clone()).collect();
    let used = |w: &&Workload| claims.iter().any(|claim| uses(w, claim));
    let targets: Vec<Target> = targets.collect();
    // With data from after the instant to which its primary goes back, a replica would be ahead of it.
    let follows = |r: &&Replica| targets.iter().any(|t| t.path() == r.of);
    let replicas: Vec<Replica> = plan.replicas.iter().filter(follows).cloned().collect();
    let replicated =
        |w: &&Workload| replicas.iter().any(|r| r.target.namespace == w.namespace && w.owns(&r.target.pod));
    let workloads: Vec<Workload> =
        plan.workloads.iter().filter(|w| used(w) || replicated(w) || plan.is_front(w)).cloned().collect();
    let is_ours = |namespace: &str, pod: &str| workloads.iter().any(|w| w.namespace == namespace && w.owns(pod));
    Source {
        proofs: wanted.iter().map(|&c| source.proofs.get(c).cloned().flatten()).collect(),
        points: {
            let of = plan.targets.iter().zip(&source.points).filter(|(t, _)| stays(t, wanted));
            of.map(|(_, point)| point.clone()).collect()
        },
        ends: {
            let of = plan.targets.iter().zip(&source.ends).filter(|(t, _)| stays(t, wanted));
            of.map(|(_, end)| *end).collect()
        },
        pods: source.pods.iter().filter(|p| is_ours(&p.namespace, &p.name)).cloned().collect(),
        plan: Plan {
            targets,
            replicas,
            selections: selections(&workloads),
            unheld_claims: {
                let among = |path: &&String| claims.iter().any(|c| **path == format!("{}/{}", c.namespace, c.name));
                plan.unheld_claims.iter().filter(among).cloned().collect()
            },
            claims,
            workloads,
            ..plan.clone()
        },
        ..source.clone()
    }
}

fn path(of: &Workload) -> String {
    format!("{}/{}", of.kind.to_lowercase(), of.name)
}

/// Whether pods of the workload mount the claim.
pub fn uses(of: &Workload, claim: &Claim) -> bool {
    of.namespace == claim.namespace && claim.pods.iter().any(|pod| of.owns(pod))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn source() -> Source {
        let claim = |name: &str, pod: &str| {
            json!({"namespace": "demo", "name": name, "uid": name, "volume": "pv", "storageClass": "fast",
                "request": "1Gi", "accessModes": [], "volumeMode": "Filesystem", "labels": {}, "driver": "d", "class": "c",
                "deletionPolicy": "Delete", "pods": [pod]})
        };
        let probe = json!({"version": "15", "role": "primary", "stopsCommits": false, "dataDirs": [], "settings": [], "notes": []});
        let target = |pod: &str, claims: &[usize]| {
            json!({"namespace": "demo", "pod": pod, "podUid": "u", "container": "db", "adapter": "a", "probe": probe,
                "wave": 0, "claims": claims})
        };
        let workload = |kind: &str, name: &str| {
            json!({"namespace": "demo", "kind": kind, "name": name, "uid": name, "replicas": 1,
                "labels": format!("app={name}"), "owner": null})
        };
        let pod = |name: &str| {
            json!({"namespace": "demo", "name": name, "uid": "u", "phase": "Running", "status": "Running", "ready": "1/1",
                "restarts": 0, "node": "n", "images": [], "containers": [], "created": null})
        };
        let from = |value: Value| serde_json::from_value(value).unwrap();
        let plan: Plan = serde_json::from_value(json!({
            "run": "b1", "created": "2026-11-20T10:00:00Z", "namespace": "demo", "request": "all", "selections": [],
            "targets": [target("pg-0", &[0]), target("my-0", &[1, 2]), target("web-5d8f7c-abcde", &[3])],
            "claims": [claim("data-pg-0", "pg-0"), claim("data-my-0", "my-0"), claim("log-my-0", "my-0"),
                claim("web", "web-5d8f7c-abcde")],
            "unheld": [], "unheldClaims": ["demo/web"], "budget": 30_000, "attempts": 1, "cutErrorPatience": 5000,
            "estimate": 100, "workloads": [workload("StatefulSet", "pg"), workload("StatefulSet", "my"),
                workload("Deployment", "web")],
            "contents": {"read": true, "change": true}, "notes": []
        }))
        .unwrap();
        Source {
            plan,
            outcome: "ApplicationConsistent".into(),
            instant: "2026-11-20T10:00:05Z".parse().unwrap(),
            points: Vec::new(),
            ends: Vec::new(),
            proofs: vec![None; 4],
            pods: ["pg-0", "my-0", "web-5d8f7c-abcde"].map(|name| from(pod(name))).into(),
            notes: Vec::new(),
        }
    }

    fn only(workloads: &[&str], claims: &[&str]) -> Only {
        Only {
            workloads: workloads.iter().map(|typed| Object::read(typed).unwrap()).collect(),
            claims: claims.iter().map(|&name| name.to_owned()).collect(),
        }
    }

    fn refused(only: &Only) -> Vec<String> {
        only.of(&source()).unwrap_err().into_iter().map(|r| format!("{} {}", r.object, r.message)).collect()
    }

    #[test]
    fn a_workload_comes_with_all_that_is_its_own() {
        let part = only(&["sts/my"], &[]).of(&source()).unwrap();
        let names = |claims: &[Claim]| claims.iter().map(|c| c.name.clone()).collect::<Vec<_>>();
        assert_eq!(names(&part.plan.claims), ["data-my-0", "log-my-0"]);
        assert_eq!((part.plan.targets.len(), part.plan.targets[0].claims.clone()), (1, vec![0, 1]));
        assert_eq!((part.plan.workloads.len(), part.proofs.len(), part.pods[0].name.as_str()), (1, 2, "my-0"));
        assert_eq!(part.plan.selections[0].object, "statefulset/my");
        assert_eq!(part.plan.selections[0].labels.as_deref(), Some("app=my"));
        assert!(part.plan.unheld_claims.is_empty());
        assert_eq!(
            part.notes,
            ["only a part of backup b1 is restored: it does not share its instant with demo/pg-0/db, \
              demo/web-5d8f7c-abcde/db, which stays as it is now"]
        );
        let whole = only(&[], &[]).of(&source()).unwrap();
        assert_eq!((whole.plan, whole.notes), (source().plan, vec![]));
        let two = only(&["deploy/web"], &["data-pg-0"]).of(&source()).unwrap();
        assert_eq!(names(&two.plan.claims), ["data-pg-0", "web"]);
        assert_eq!(two.plan.targets.iter().map(|t| t.claims.clone()).collect::<Vec<_>>(), [[0], [1]]);
    }

    #[test]
    fn a_database_is_not_torn_apart() {
        assert_eq!(refused(&only(&[], &["log-my-0"])), ["demo/my-0/db its data lies on claim data-my-0 too"]);
    }

    #[test]
    fn replicas_are_restored_together() {
        let mut source = source();
        source.plan.claims[1].pods = vec!["my-1".into()];
        source.plan.targets[1].claims = vec![2];
        let refused = only(&[], &["log-my-0"]).of(&source).unwrap_err();
        assert_eq!(
            refused[0],
            Refusal::new("statefulset/my", "claim data-my-0 of its other pods is not named")
                .hint("its replicas are restored together: --only statefulset/my")
        );
        assert!(only(&["sts/my"], &[]).of(&source).is_ok());
    }

    #[test]
    fn what_is_not_in_the_backup_is_named_with_what_is() {
        assert_eq!(
            refused(&only(&["sts/web", "deploy/pg"], &["data"])),
            [
                "statefulset/web is not in backup b1",
                "deployment/pg is not in backup b1",
                "persistentvolumeclaim/data is not in backup b1"
            ]
        );
        let hints = only(&["sts/x"], &[]).of(&source()).unwrap_err();
        assert_eq!(hints[0].hint.as_deref(), Some("it has statefulset/pg, statefulset/my, deployment/web"));
    }

    #[test]
    fn pods_are_told_by_the_names_that_controllers_make() {
        let of = |kind: &str, name: &str| Workload {
            kind: kind.into(),
            name: name.into(),
            ..source().plan.workloads[0].clone()
        };
        assert!(of("StatefulSet", "pg").owns("pg-10") && !of("StatefulSet", "pg").owns("pg-a-0"));
        assert!(of("Deployment", "web").owns("web-5d8-x") && !of("Deployment", "web").owns("web-api-5d8-x"));
        assert!(of("Pod", "x-0").owns("x-0") && !of("Pod", "x").owns("x-0"));
        assert!(of("ReplicaSet", "rs").owns("rs-abc") && !of("ReplicaSet", "rs").owns("rs"));
    }
}
