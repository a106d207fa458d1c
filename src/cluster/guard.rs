//! Lets no write through that is not this process' own any more: one that was stopped for a while goes on in the middle of
//! a step, when another may have finished the run long ago and a third may have begun the next.

use std::sync::Arc;

use http::{Method, Request};
use kube::client::Body;
use tower::util::BoxCloneSyncService;
use tower::{Service, ServiceExt, service_fn};

use super::patience::Wire;

/// Why nothing may be written now, if that is so.
pub type Guard = Arc<dyn Fn() -> Option<String> + Send + Sync>;

/// Refuses writes while the guard says why. They were not sent, and may be tried again: what was lost by a slow API server
/// may be had again.
pub(super) fn guarding(wire: Wire, guard: Guard) -> Wire {
    BoxCloneSyncService::new(service_fn(move |request: Request<Body>| {
        let (mut wire, guard) = (wire.clone(), guard.clone());
        async move {
            let ready = wire.ready().await?;
            // After all waiting, and before nothing but the sending.
            if request.method() != Method::GET
                && let Some(why) = guard()
            {
                return Err(kube::Error::Service(format!("nothing is written: {why}").into()));
            }
            ready.call(request).await
        }
    }))
}

#[cfg(test)]
mod tests {
    use super::super::client::{Cluster, explain, is_transient};
    use super::*;
    use k8s_openapi::api::core::v1::ConfigMap;
    use kube::api::{Api, Patch, PatchParams};
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

    #[tokio::test]
    async fn only_reads_go_through_once_it_is_lost() {
        let sent = Arc::new(AtomicUsize::new(0));
        let counted = sent.clone();
        let service = service_fn(move |_: Request<Body>| {
            counted.fetch_add(1, Ordering::SeqCst);
            let object = serde_json::json!({"metadata": {"name": "c"}}).to_string();
            async move { Ok::<_, kube::Error>(http::Response::new(Body::from(object.into_bytes()))) }
        });
        let lost = Arc::new(AtomicBool::new(false));
        let asked = lost.clone();
        let guard: Guard = Arc::new(move || asked.load(Ordering::SeqCst).then(|| "lease/l was taken over".to_owned()));
        let cluster = Cluster::of_client(&kube::Client::new(service, "n"), "n").guarded(&guard);
        let api: Api<ConfigMap> = Api::namespaced(cluster.api, "n");
        let patch = Patch::Merge(serde_json::json!({}));
        let write = async || api.patch("c", &PatchParams::default(), &patch).await;
        write().await.unwrap();
        lost.store(true, Ordering::SeqCst);
        let refused = write().await.unwrap_err();
        assert!(explain(&refused).contains("nothing is written: lease/l was taken over"), "{refused}");
        assert!(is_transient(&refused), "it may be had again");
        assert_eq!(sent.load(Ordering::SeqCst), 1, "it was not sent");
        api.get("c").await.unwrap();
        lost.store(false, Ordering::SeqCst);
        write().await.unwrap();
    }
}
