//! The pod that unpauses when the budget is over, whatever became of the run: a pause has no time limit of its own.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use k8s_openapi::api::core::v1::{
    Capabilities, Container, EnvVar, LocalObjectReference, Pod, PodSecurityContext, PodSpec, Probe as PodProbe,
    ResourceRequirements, SeccompProfile, SecurityContext, TCPSocketAction,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use serde::{Deserialize, Serialize};

use super::{Endpoint, Plan, Target};
use crate::labels::{MANAGED_BY, PART, RECORD_NAMESPACE, RUN};
use crate::quiescer::{Probe, Token};

/// The value of label [`PART`] on it.
pub const GUARD: &str = "guard";
/// The annotation with the pods that it would unpause, `NAMESPACE/POD`, and their addresses, between commas.
pub const WATCHES: &str = "consistent-backup/watches";
/// The variable with what it watches, as JSON.
pub const WATCHED: &str = "CONSISTENT_BACKUP_WATCHED";
/// Where it listens once it is armed: the kubelet looks there.
pub const ARMED: u16 = 8086;
/// How much later than the budget it acts: by then the run itself has tried.
pub const LATE: Duration = Duration::from_secs(2);
/// What it asks for, and may use. Requests equal to limits make the pod Guaranteed: a node that is short of memory evicts
/// others first, and a quota that wants requests and limits takes it.
const NEEDS: [(&str, &str); 2] = [("cpu", "200m"), ("memory", "64Mi")];
/// How long it goes on trying.
pub const PATIENCE: Duration = Duration::from_secs(600);

/// One pod that it would unpause. Nothing in it is secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Watched {
    /// `NAMESPACE/POD/CONTAINER`.
    pub path: String,
    /// The namespace.
    pub namespace: String,
    /// The pod's address.
    pub ip: String,
    /// Its admin port.
    pub endpoint: Endpoint,
    /// The adapter's name.
    pub adapter: String,
    /// What the adapter learned.
    pub probe: Probe,
}

/// The pods that a guard watches and their addresses, as its annotation says.
pub fn watches(pod: &Pod) -> Vec<String> {
    let told = pod.metadata.annotations.as_ref().and_then(|a| a.get(WATCHES));
    told.iter().flat_map(|told| told.split(',')).map(str::to_owned).collect()
}

/// Targets that only a guard can release by itself.
pub fn unlimited(plan: &Plan) -> Vec<&Target> {
    plan.targets.iter().filter(|t| t.endpoint.is_some()).collect()
}

/// Where guards run: one beside the pods that it watches, so that who looks there for another's guard finds it.
pub fn namespaces(plan: &Plan) -> BTreeSet<&str> {
    unlimited(plan).into_iter().map(|t| t.namespace.as_str()).collect()
}

/// Whether this guard says that its record lies where this plan's does. Those of older versions say nothing: their record is
/// believed beside them only. Without its guard a pause of another run would have no end.
pub fn is_of(pod: &Pod, plan: &Plan) -> bool {
    let record = pod.metadata.annotations.as_ref().and_then(|notes| notes.get(RECORD_NAMESPACE));
    record.or(pod.metadata.namespace.as_ref()) == Some(&plan.namespace)
}

/// The guard of an attempt in a namespace. Its image's entrypoint is this program.
pub fn guard_pod(plan: &Plan, image: &str, token: &Token, namespace: &str, watched: &[Watched]) -> Pod {
    let text = |text: &str| Some(text.to_owned());
    let after = plan.budget + LATE;
    let own = unlimited(plan).into_iter().filter(|target| target.namespace == namespace);
    let mut pods: Vec<String> = own.map(|target| format!("{}/{}", target.namespace, target.pod)).collect();
    // It knows them by address, which another pod may have by the time that it acts.
    pods.extend(watched.iter().map(|one| one.ip.clone()));
    let labels = BTreeMap::from([
        (MANAGED_BY.0.to_owned(), MANAGED_BY.1.to_owned()),
        (RUN.to_owned(), token.run.clone()),
        (PART.to_owned(), GUARD.to_owned()),
    ]);
    let needs: BTreeMap<String, Quantity> =
        NEEDS.iter().map(|(what, much)| ((*what).to_owned(), Quantity((*much).to_owned()))).collect();
    let container = Container {
        name: "guard".into(),
        image: text(image),
        // The pod is deleted with its log before anybody could read that.
        termination_message_policy: text("FallbackToLogsOnError"),
        args: Some(vec!["guard".into(), "--after".into(), format!("{}ms", after.as_millis())]),
        env: Some(vec![EnvVar {
            name: WATCHED.into(),
            value: serde_json::to_string(watched).ok(),
            ..EnvVar::default()
        }]),
        readiness_probe: Some(PodProbe {
            tcp_socket: Some(TCPSocketAction { port: IntOrString::Int(ARMED.into()), host: None }),
            period_seconds: Some(1),
            ..PodProbe::default()
        }),
        resources: Some(ResourceRequirements {
            requests: Some(needs.clone()),
            limits: Some(needs),
            ..ResourceRequirements::default()
        }),
        security_context: Some(SecurityContext {
            allow_privilege_escalation: Some(false),
            capabilities: Some(Capabilities { drop: Some(vec!["ALL".into()]), add: None }),
            read_only_root_filesystem: Some(true),
            ..SecurityContext::default()
        }),
        ..Container::default()
    };
    Pod {
        metadata: ObjectMeta {
            name: Some(format!("consistent-backup-{}-{}-guard", token.run, token.attempt)),
            namespace: text(namespace),
            labels: Some(labels),
            annotations: Some(BTreeMap::from([
                (WATCHES.to_owned(), pods.join(",")),
                (RECORD_NAMESPACE.to_owned(), plan.namespace.clone()),
            ])),
            ..ObjectMeta::default()
        },
        spec: Some(PodSpec {
            containers: vec![container],
            image_pull_secrets: plan.guard_pull_secret.clone().map(|name| vec![LocalObjectReference { name }]),
            restart_policy: text("Never"),
            automount_service_account_token: Some(false),
            enable_service_links: Some(false),
            termination_grace_period_seconds: Some(2),
            // Whatever happens to it, it does not stay for ever.
            active_deadline_seconds: i64::try_from((after + PATIENCE * 2).as_secs()).ok(),
            security_context: Some(PodSecurityContext {
                run_as_non_root: Some(true),
                run_as_user: Some(65532),
                seccomp_profile: Some(SeccompProfile { type_: "RuntimeDefault".into(), localhost_profile: None }),
                ..PodSecurityContext::default()
            }),
            ..PodSpec::default()
        }),
        status: None,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::plan::Backend;
    use crate::plan::release::Tls;

    #[test]
    fn it_says_what_it_watches_and_acts_after_the_budget() {
        let endpoint = Endpoint { port: 60053, tls: Some(Tls { ca: "PEM".into(), authority: None }) };
        let target = |pod: &str, endpoint: Option<Endpoint>| -> Target {
            serde_json::from_value(serde_json::json!({
                "namespace": "scalar", "pod": pod, "podUid": "u", "container": "c", "adapter": "scalar",
                "probe": serde_json::to_value(Probe::default()).unwrap(), "wave": 0, "claims": [], "endpoint": endpoint
            }))
            .unwrap()
        };
        let mut plan = super::super::fixture::empty_plan();
        plan.budget = Duration::from_secs(20);
        plan.backend = Backend::Window { hold: Duration::from_secs(1) };
        plan.targets =
            vec![target("postgres-0", None), target("a", Some(endpoint.clone())), target("b", Some(endpoint.clone()))];
        let watched = vec![Watched {
            path: "scalar/a/c".into(),
            namespace: "scalar".into(),
            ip: "10.0.0.1".into(),
            endpoint,
            adapter: "scalar".into(),
            probe: Probe::default(),
        }];
        let pod = guard_pod(&plan, "image:1", &Token { run: "r".into(), attempt: 2 }, "scalar", &watched);
        assert_eq!(pod.metadata.name.as_deref(), Some("consistent-backup-r-2-guard"));
        assert_eq!(namespaces(&plan), BTreeSet::from(["scalar"]));
        let elsewhere = Plan { namespace: "another".into(), ..plan.clone() };
        assert!(is_of(&pod, &plan) && !is_of(&pod, &elsewhere), "a forged record of the same run");
        assert_eq!(watches(&pod), ["scalar/a", "scalar/b", "10.0.0.1"]);
        let spec = pod.spec.unwrap();
        let container = &spec.containers[0];
        assert_eq!(container.args, Some(["guard", "--after", "22000ms"].map(str::to_owned).into()));
        let told = container.env.as_ref().unwrap()[0].value.as_deref().unwrap();
        assert_eq!(serde_json::from_str::<Vec<Watched>>(told).unwrap(), watched);
        // Nothing is evicted before a BestEffort pod, and this one is all that ends a pause.
        let resources = container.resources.clone().unwrap();
        assert_eq!(resources.requests, resources.limits);
        let needs = resources.limits.unwrap();
        let needs: Vec<(&str, &str)> = needs.iter().map(|(what, much)| (what.as_str(), much.0.as_str())).collect();
        assert_eq!(needs, NEEDS);
        assert_eq!(spec.image_pull_secrets, None);
        plan.guard_pull_secret = Some("registry".into());
        let pod = guard_pod(&plan, "image:1", &Token { run: "r".into(), attempt: 2 }, "scalar", &watched);
        assert_eq!(pod.spec.unwrap().image_pull_secrets.unwrap()[0].name, "registry");
        // It needs nothing of the API server, so it gets nothing.
        assert_eq!(spec.automount_service_account_token, Some(false));
        assert!(spec.active_deadline_seconds.unwrap() > 23 + 600);
    }
}
