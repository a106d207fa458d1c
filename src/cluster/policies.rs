//! Reads the NetworkPolicies of namespaces. A restore succeeds without them: its plan notes what could not be read.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use k8s_openapi::api::networking::v1::NetworkPolicy;
use kube::api::{Api, ListParams};
use tokio::time::timeout;

use super::client::{Cluster, explain};

/// How long one question may take.
const ASK: Duration = Duration::from_secs(20);

/// The policies of each namespace, or why they are not known.
pub async fn policies(
    cluster: &Cluster,
    namespaces: &BTreeSet<String>,
) -> BTreeMap<String, Result<Vec<NetworkPolicy>, String>> {
    let mut all = BTreeMap::new();
    for namespace in namespaces {
        let api: Api<NetworkPolicy> = Api::namespaced(cluster.api.clone(), namespace);
        let found = match timeout(ASK, api.list(&ListParams::default())).await {
            Ok(Ok(listed)) => Ok(listed.items),
            Ok(Err(e)) => Err(explain(&e)),
            Err(_) => Err("the API server did not answer".to_owned()),
        };
        all.insert(namespace.clone(), found);
    }
    all
}
