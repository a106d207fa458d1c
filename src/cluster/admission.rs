//! Whether the cluster would take a pod again that has to be deleted to stop it.

use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, PostParams};
use tokio::time::timeout;

use super::client::{Cluster, explain, is_already_exists};
use crate::plan::restore::RESTORED_BY;
use crate::plan::restore::bare::manifest;

/// How long the question may take: webhooks have up to 30 s.
const ASK: Duration = Duration::from_secs(40);

/// Why this pod would not be made again, asked by a creation that is not carried out. Policies, webhooks and classes may
/// have changed since it was made, and deleted, it would be gone.
pub(super) async fn refused(cluster: &Cluster, pod: &Pod) -> Option<String> {
    let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
    let api: Api<Pod> = Api::namespaced(cluster.api.clone(), namespace);
    let asked = PostParams { dry_run: true, ..PostParams::default() };
    match timeout(ASK, api.create(&asked, &manifest(pod, RESTORED_BY, "asked"))).await {
        Ok(Ok(_)) => None,
        Ok(Err(e)) => judged(&e),
        Err(_) => Some("the API server did not answer whether it would take it".into()),
    }
}

/// Everything that judges a new pod has done so before its name is found taken.
fn judged(error: &kube::Error) -> Option<String> {
    let said = error.to_string();
    // The old pod is still counted; a webhook that cannot be asked so says nothing.
    let says_nothing = said.contains("exceeded quota") || said.contains("does not support dry run");
    (!is_already_exists(error) && !says_nothing).then(|| explain(error))
}

#[cfg(test)]
mod tests {
    use super::*;
    use kube::core::Status;

    #[test]
    fn only_a_judgement_refuses() {
        let api = |message: &str, reason: &str, code: u16| {
            judged(&kube::Error::Api(Status::failure(message, reason).with_code(code).boxed()))
        };
        assert_eq!(api("pods \"db\" already exists", "AlreadyExists", 409), None);
        assert_eq!(api("pods \"db\" is forbidden: exceeded quota: q, requested: pods=1", "Forbidden", 403), None);
        assert_eq!(api("admission webhook \"w\" does not support dry run", "BadRequest", 400), None);
        let told = api("pods \"db\" is forbidden: violates PodSecurity", "Forbidden", 403).unwrap();
        assert!(told.contains("violates PodSecurity"), "{told}");
        assert!(api("failed calling webhook", "InternalError", 500).is_some());
    }
}
