//! Breaks one request of this process on purpose, if a test asked for it. In release builds there is nothing of this.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use http::{Request, Response, header::RETRY_AFTER};
use kube::client::Body;
use tower::util::BoxCloneSyncService;
use tower::{Service, ServiceExt, service_fn};

use super::patience::Wire;

/// `KIND@N`: what happens to the N-th request. The clock's own are not counted: how many it takes is chance.
const WANTED: &str = "CONSISTENT_BACKUP_TEST_FAULT";

/// Puts the fault that the environment asks for around the wire.
pub(super) fn around(wire: Wire) -> Wire {
    let wanted = std::env::var(WANTED).ok();
    let wanted = wanted.as_deref().and_then(|text| text.split_once('@'));
    match wanted.and_then(|(kind, n)| Some((kind.to_owned(), n.parse().ok()?))) {
        Some((kind, n)) => broken(wire, kind, n),
        None => wire,
    }
}

fn broken(wire: Wire, kind: String, n: u32) -> Wire {
    let (kind, sent) = (Arc::<str>::from(kind), Arc::new(AtomicU32::new(0)));
    BoxCloneSyncService::new(service_fn(move |request: Request<Body>| {
        let (mut wire, kind, sent) = (wire.clone(), kind.clone(), sent.clone());
        async move {
            let counts = request.uri().path() != "/version";
            if !counts || sent.fetch_add(1, Ordering::SeqCst) + 1 != n {
                return wire.ready().await?.call(request).await;
            }
            crate::output::to_stderr(&format!(
                "test: {kind} at request {n}: {} {}",
                request.method(),
                request.uri().path()
            ));
            match &*kind {
                "unsent" => Err(failure("connection refused")),
                "lost" => {
                    // The answer, and with it an upgraded connection, is dropped.
                    let _ = wire.ready().await?.call(request).await;
                    Err(failure("connection reset"))
                }
                "hang" => std::future::pending().await,
                "die" => {
                    let answer = wire.ready().await?.call(request).await;
                    crate::executor::testing::signal("-KILL");
                    answer
                }
                code => status(code),
            }
        }
    }))
}

fn failure(text: &str) -> kube::Error {
    kube::Error::Service(std::io::Error::new(std::io::ErrorKind::ConnectionReset, text).into())
}

/// An answer that the API server never gave.
fn status(code: &str) -> Result<Response<Body>, kube::Error> {
    let number: u16 = code.parse().map_err(|_| failure("no such fault"))?;
    let reason = match number {
        409 => "Conflict",
        429 => "TooManyRequests",
        _ => "InternalError",
    };
    let body = serde_json::json!({
        "kind": "Status", "apiVersion": "v1", "status": "Failure", "code": number, "reason": reason,
        "message": "a fault of the test",
    });
    let mut answer = Response::builder().status(number);
    if number == 429 {
        answer = answer.header(RETRY_AFTER, Duration::from_secs(1).as_secs());
    }
    answer.body(Body::from(body.to_string().into_bytes())).map_err(|e| kube::Error::Service(e.into()))
}
