//! The pod that unpauses when the budget is over, whatever became of the run: a pause has no time limit of its own.

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::api::core::v1::{
    Capabilities, Container, EnvVar, Pod, PodSecurityContext, PodSpec, Probe as PodProbe, SeccompProfile,
    SecurityContext, TCPSocketAction,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use serde::{Deserialize, Serialize};

use super::{Endpoint, Plan, Target};
use crate::labels::{MANAGED_BY, PART, RUN};
use crate::quiescer::{Probe, Token};

/// The value of label [`PART`] on it.
pub const GUARD: &str = "guard";
/// The annotation with the pods that it would unpause, `NAMESPACE/POD`, each with a comma.
pub const WATCHES: &str = "consistent-backup/watches";
/// The variable with what it watches, as JSON.
pub const WATCHED: &str = "CONSISTENT_BACKUP_WATCHED";
/// Where it listens once it is armed: the kubelet looks there.
pub const ARMED: u16 = 8086;
/// How much later than the budget it acts: by then the run itself has tried.
pub const LATE: Duration = Duration::from_secs(3);
/// How long it goes on trying.
pub const PATIENCE: Duration = Duration::from_secs(600);

/// One pod that it would unpause. Nothing in it is secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Watched {
    /// `NAMESPACE/POD/CONTAINER`.
    pub path: String,
    /// The pod's address.
    pub ip: String,
    /// Its admin port.
    pub endpoint: Endpoint,
    /// The adapter's name.
    pub adapter: String,
    /// What the adapter learned.
    pub probe: Probe,
}

/// The pods that a guard watches, as its annotation says.
pub fn watches(pod: &Pod) -> Vec<String> {
    let told = pod.metadata.annotations.as_ref().and_then(|a| a.get(WATCHES));
    told.iter().flat_map(|told| told.split(',')).map(str::to_owned).collect()
}

/// Targets that only a guard can release by itself.
pub fn unlimited(plan: &Plan) -> Vec<&Target> {
    plan.targets.iter().filter(|t| t.endpoint.is_some()).collect()
}

/// Where the guard runs: beside the first pods that it watches.
pub fn namespace(plan: &Plan) -> Option<&str> {
    unlimited(plan).first().map(|t| t.namespace.as_str())
}

/// The guard of an attempt. Its image's entrypoint is this program.
pub fn guard_pod(plan: &Plan, image: &str, token: &Token, watched: &[Watched]) -> Pod {
    let text = |text: &str| Some(text.to_owned());
    let after = plan.budget + LATE;
    let pods: Vec<String> =
        unlimited(plan).iter().map(|target| format!("{}/{}", target.namespace, target.pod)).collect();
    let labels = BTreeMap::from([
        (MANAGED_BY.0.to_owned(), MANAGED_BY.1.to_owned()),
        (RUN.to_owned(), token.run.clone()),
        (PART.to_owned(), GUARD.to_owned()),
    ]);
    let container = Container {
        name: "guard".into(),
        image: text(image),
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
            namespace: namespace(plan).map(str::to_owned),
            labels: Some(labels),
            annotations: Some(BTreeMap::from([(WATCHES.to_owned(), pods.join(","))])),
            ..ObjectMeta::default()
        },
        spec: Some(PodSpec {
            containers: vec![container],
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
