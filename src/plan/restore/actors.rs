//! Who else acts on what a restore stops: autoscalers, disruption budgets and GitOps. None of them forbids it; who reads
//! the plan must know what they do meanwhile.

use std::collections::BTreeMap;

use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};

use super::Workload;
use super::facts::{Facts, Found};
use super::workloads::owns;
use crate::plan::Plan;
use crate::typed::{kubectl, quoted};

/// One line for each that acts on these workloads, or on claims of this backup.
pub(in crate::plan) fn notes(plan: &Plan, workloads: &[Workload], facts: &Facts) -> Vec<String> {
    let mut notes = facts.unread.clone();
    for of in workloads {
        let scales = |hpa: &&HorizontalPodAutoscaler| {
            let target = &hpa.spec.scale_target_ref;
            hpa.metadata.namespace.as_ref() == Some(&of.namespace)
                && (&target.kind, &target.name) == (&of.kind, &of.name)
        };
        notes.extend(facts.autoscalers.iter().filter(scales).map(|hpa| autoscaler(hpa, of)));
        let backed_up =
            plan.workloads.iter().find(|w| (&w.namespace, &w.kind, &w.name) == (&of.namespace, &of.kind, &of.name));
        notes.extend(backed_up.into_iter().flat_map(|backed_up| budgets(backed_up, of, facts)));
    }
    notes.extend(gitops(plan, workloads, facts));
    notes
}

fn autoscaler(hpa: &HorizontalPodAutoscaler, of: &Workload) -> String {
    let name = hpa.metadata.name.as_deref().unwrap_or_default();
    let owners = hpa.metadata.owner_references.as_deref().unwrap_or_default();
    if let Some(owner) = owners.iter().find(|o| o.kind == "ScaledObject") {
        return format!(
            "{}: KEDA scales it by scaledobject/{}, also up from 0 while it is down; pause that first: {}",
            of.path(),
            owner.name,
            kubectl(&[
                "annotate",
                &format!("scaledobject/{}", owner.name),
                "-n",
                &of.namespace,
                "autoscaling.keda.sh/paused=true",
            ])
        );
    }
    if hpa.spec.min_replicas == Some(0) {
        return format!(
            "{}: horizontalpodautoscaler/{name} has minReplicas 0, so it may scale it up while it is down; set it to 1 first",
            of.path()
        );
    }
    format!(
        "{}: horizontalpodautoscaler/{name} scales it, but not while it is down: at 0 replicas it is disabled; it is started \
         with {}",
        of.path(),
        of.start
    )
}

/// Evictions are limited by it, and nothing else is: who relies on it must know.
fn budgets(plan_of: &crate::plan::Workload, of: &Workload, facts: &Facts) -> Vec<String> {
    let pods = facts.pods.iter().filter(|pod| owns(plan_of, pod, facts));
    let labels: Vec<_> = pods.map(|pod| pod.metadata.labels.clone().unwrap_or_default()).collect();
    let selecting = facts.budgets.iter().filter(|budget| {
        let selector = budget.spec.as_ref().and_then(|s| s.selector.as_ref());
        budget.metadata.namespace.as_ref() == Some(&of.namespace)
            && selector.is_some_and(|selector| labels.iter().any(|labels| selects(selector, labels)))
    });
    let note = |name: &str| {
        format!(
            "{}: poddisruptionbudget/{name} limits evictions only: it does not keep all its pods from being stopped",
            of.path()
        )
    };
    selecting.map(|budget| note(budget.metadata.name.as_deref().unwrap_or_default())).collect()
}

fn selects(selector: &LabelSelector, labels: &BTreeMap<String, String>) -> bool {
    let equal = selector.match_labels.iter().flatten().all(|(key, value)| labels.get(key) == Some(value));
    equal
        && selector.match_expressions.iter().flatten().all(|e| {
            let value = labels.get(&e.key);
            let among = value.is_some_and(|value| e.values.iter().flatten().any(|v| v == value));
            match e.operator.as_str() {
                "In" => among,
                "NotIn" => !among,
                "Exists" => value.is_some(),
                "DoesNotExist" => value.is_none(),
                _ => false,
            }
        })
}

/// What keeps an object as a repository has it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct GitOps {
    /// `Argo CD application shop`.
    name: String,
    /// The command that pauses it.
    pause: String,
}

impl GitOps {
    /// By the marks that Argo CD and Flux leave on what they manage.
    pub fn of(meta: &ObjectMeta) -> Option<Self> {
        let label = |key: &str| meta.labels.as_ref().and_then(|l| l.get(key)).map(String::as_str);
        let annotation = |key: &str| meta.annotations.as_ref().and_then(|a| a.get(key)).map(String::as_str);
        // `APP:GROUP/KIND:NAMESPACE/NAME`. The label app.kubernetes.io/instance alone says nothing: Helm writes it too.
        let tracked = annotation("argocd.argoproj.io/tracking-id").and_then(|id| id.split(':').next());
        if let Some(app) = tracked.or_else(|| label("argocd.argoproj.io/instance")) {
            return Some(Self {
                name: format!("Argo CD application {app}"),
                pause: format!("argocd app set {} --sync-policy none", quoted(app)),
            });
        }
        [("kustomize", "kustomization"), ("helm", "helmrelease")].into_iter().find_map(|(group, kind)| {
            let name = label(&format!("{group}.toolkit.fluxcd.io/name"))?;
            let namespace = label(&format!("{group}.toolkit.fluxcd.io/namespace")).unwrap_or("flux-system");
            Some(Self {
                name: format!("Flux {kind} {namespace}/{name}"),
                pause: format!("flux suspend {kind} {} -n {}", quoted(name), quoted(namespace)),
            })
        })
    }
}

fn gitops(plan: &Plan, workloads: &[Workload], facts: &Facts) -> Vec<String> {
    let mut managed: BTreeMap<GitOps, Vec<String>> = BTreeMap::new();
    for of in workloads {
        let now = facts.workloads.get(&format!("{}/{}/{}", of.namespace, of.kind, of.name)).and_then(Found::yes);
        if let Some(by) = now.and_then(|now| now.gitops.clone()) {
            managed.entry(by).or_default().push(of.path());
        }
    }
    for of in &plan.claims {
        let now = facts.claims.get(&format!("{}/{}", of.namespace, of.name)).and_then(Found::yes);
        if let Some(by) = now.and_then(|now| GitOps::of(&now.metadata)) {
            managed.entry(by).or_default().push(format!("persistentvolumeclaim/{}", of.name));
        }
    }
    let line = |(by, objects): (GitOps, Vec<String>)| {
        format!(
            "{}: managed by {}; where that heals by itself it starts or makes again what is stopped or replaced, so pause \
             it first: {}",
            objects.join(", "),
            by.name,
            by.pause
        )
    };
    managed.into_iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn meta(value: Value) -> ObjectMeta {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn argo_and_flux_are_told_by_their_own_marks() {
        let pause = |value: Value| GitOps::of(&meta(value)).map(|g| g.pause);
        let tracking = json!({"annotations": {"argocd.argoproj.io/tracking-id": "shop:apps/StatefulSet:demo/pg"}});
        assert_eq!(pause(tracking).as_deref(), Some("argocd app set shop --sync-policy none"));
        let label = json!({"labels": {"argocd.argoproj.io/instance": "shop"}});
        assert_eq!(pause(label).as_deref(), Some("argocd app set shop --sync-policy none"));
        let flux =
            json!({"labels": {"kustomize.toolkit.fluxcd.io/name": "a", "kustomize.toolkit.fluxcd.io/namespace": "f"}});
        assert_eq!(pause(flux).as_deref(), Some("flux suspend kustomization a -n f"));
        // An annotation may hold any text.
        let hostile = json!({"annotations": {"argocd.argoproj.io/tracking-id": "$(x);y:apps/StatefulSet:demo/pg"}});
        assert_eq!(pause(hostile).as_deref(), Some("argocd app set '$(x);y' --sync-policy none"));
        let helm = json!({"labels": {"helm.toolkit.fluxcd.io/name": "a"}});
        assert_eq!(pause(helm).as_deref(), Some("flux suspend helmrelease a -n flux-system"));
        assert_eq!(pause(json!({"labels": {"app.kubernetes.io/instance": "x"}})), None, "Helm writes that too");
    }

    #[test]
    fn a_selector_selects_as_kubernetes_does() {
        let labels = BTreeMap::from([("app".to_owned(), "pg".to_owned())]);
        let selects = |value: Value| selects(&serde_json::from_value(value).unwrap(), &labels);
        assert!(selects(json!({})));
        assert!(selects(json!({"matchLabels": {"app": "pg"}})));
        assert!(!selects(json!({"matchLabels": {"app": "my"}})));
        for (operator, values, expected) in [
            ("In", json!(["pg", "x"]), true),
            ("NotIn", json!(["pg"]), false),
            ("Exists", json!(null), true),
            ("DoesNotExist", json!(null), false),
            ("Later", json!(null), false),
        ] {
            let expression = json!({"key": "app", "operator": operator, "values": values});
            assert_eq!(selects(json!({"matchExpressions": [expression]})), expected, "{operator}");
        }
    }
}
