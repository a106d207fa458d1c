//! Breaks the n-th request of a client: below retries and bounds, above the network.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use consistent_backup::cluster::client::{Around, Wire};
use http::Request;
use kube::client::Body;
use tower::util::BoxCloneSyncService;
use tower::{Service, ServiceExt, service_fn};

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Fault {
    NotSent,
    AnswerLost,
    Hangs,
    Status(u16),
}

pub(crate) const FAULTS: [Fault; 6] =
    [Fault::NotSent, Fault::AnswerLost, Fault::Hangs, Fault::Status(429), Fault::Status(500), Fault::Status(503)];

/// Breaks one request, counted from 0, and counts.
pub(crate) fn breaking(nth: usize, fault: Fault) -> (Around, Arc<AtomicUsize>) {
    let count = Arc::new(AtomicUsize::new(0));
    let counted = count.clone();
    let around: Around = Arc::new(move |wire: Wire| {
        let count = counted.clone();
        BoxCloneSyncService::new(service_fn(move |request: Request<Body>| {
            let (mut wire, broken) = (wire.clone(), count.fetch_add(1, Ordering::SeqCst) == nth);
            async move {
                let answer = async { wire.ready().await?.call(request).await };
                if !broken {
                    return answer.await;
                }
                match fault {
                    Fault::NotSent => Err(kube::Error::Service("not sent".into())),
                    Fault::AnswerLost => {
                        answer.await?;
                        Err(kube::Error::Service("answer lost".into()))
                    }
                    Fault::Hangs => std::future::pending().await,
                    Fault::Status(code) => {
                        let text = format!(r#"{{"kind":"Status","status":"Failure","code":{code}}}"#);
                        Ok(http::Response::builder().status(code).body(Body::from(text.into_bytes())).unwrap())
                    }
                }
            }
        }))
    });
    (around, count)
}
