//! The word to the process that leads a detached run that it is to release: a ConfigMap of its own, for a journal is written
//! by its leader alone.

use std::time::Duration;

use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use kube::api::{DeleteParams, PostParams};
use kube::core::ObjectMeta;
use tokio::time::timeout;

use super::store::name_of;
use crate::cluster::client::{Cluster, Persisted, explain, is_already_exists, is_not_found, persist};
use crate::labels::{MANAGED_BY, PART, RUN};

/// The label's value.
const WHAT: &str = "release";
/// How long a look at it may take: while one hangs, another would see it.
const LOOK: Duration = Duration::from_secs(2);
/// How long one request is tried.
const WITHIN: Duration = Duration::from_secs(10);

fn name(run: &str) -> String {
    format!("{}-{WHAT}", name_of(run))
}

fn api(cluster: &Cluster, namespace: &str) -> Api<ConfigMap> {
    Api::namespaced(cluster.api.clone(), namespace)
}

/// Asks for it. Safe to repeat.
pub async fn ask(cluster: &Cluster, namespace: &str, run: &str) -> Result<(), String> {
    let labels = [MANAGED_BY, (RUN, run), (PART, WHAT)];
    let map = ConfigMap {
        metadata: ObjectMeta {
            name: Some(name(run)),
            labels: Some(labels.map(|(k, v)| (k.to_owned(), v.to_owned())).into()),
            ..ObjectMeta::default()
        },
        ..ConfigMap::default()
    };
    let api = api(cluster, namespace);
    let made = persist(WITHIN, async || match api.create(&PostParams::default(), &map).await {
        Err(e) if is_already_exists(&e) => Ok(()),
        answer => answer.map(drop),
    });
    match made.await {
        Persisted::Final(Ok(())) => Ok(()),
        Persisted::Final(Err(e)) => Err(explain(&e)),
        Persisted::Unknown(why) => Err(why),
    }
}

/// Whether it was asked for. Nobody knows that of a server that does not answer, and then it was not seen.
pub async fn asked(cluster: &Cluster, namespace: &str, run: &str) -> bool {
    matches!(timeout(LOOK, api(cluster, namespace).get_opt(&name(run))).await, Ok(Ok(Some(_))))
}

/// Takes the word back, once there is nothing to release.
pub async fn forget(cluster: &Cluster, namespace: &str, run: &str) -> Result<(), String> {
    let (api, name) = (api(cluster, namespace), name(run));
    match persist(WITHIN, async || api.delete(&name, &DeleteParams::default()).await).await {
        Persisted::Final(Err(e)) if !is_not_found(&e) => Err(explain(&e)),
        Persisted::Unknown(why) => Err(why),
        Persisted::Final(_) => Ok(()),
    }
}
