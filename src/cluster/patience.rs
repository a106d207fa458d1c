//! What kube leaves out: a bound on every answer, and retries that cannot do a thing twice.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use http::{Method, Request, Response, StatusCode, header::RETRY_AFTER};
use hyper::body::{Bytes, Frame, SizeHint};
use kube::client::Body;
use tokio::time::{Instant, Sleep, sleep, timeout};
use tower::util::BoxCloneSyncService;
use tower::{Service, ServiceExt, service_fn};

use super::errors::{explain, is_transient};

/// What a request is sent through. A test breaks requests by putting a service of its own around it.
pub type Wire = BoxCloneSyncService<Request<Body>, Response<Body>, kube::Error>;

/// The client as a wire.
pub(crate) fn wire(client: kube::Client) -> Wire {
    BoxCloneSyncService::new(service_fn(move |request: Request<Body>| {
        let client = client.clone();
        async move { client.send(request).await }
    }))
}

/// Bounds the time until the answer begins: kube has no timeout, and a server that never answers would hang us.
pub(crate) fn answering(wire: Wire, within: Duration) -> Wire {
    BoxCloneSyncService::new(service_fn(move |request: Request<Body>| {
        let mut wire = wire.clone();
        async move {
            let answer = async { wire.ready().await?.call(request).await };
            match timeout(within, answer).await {
                Ok(answer) => answer,
                Err(_) => Err(kube::Error::Service(format!("no answer within {within:?}").into())),
            }
        }
    }))
}

/// Repeats what cannot do harm: reads after any passing failure, everything else only after 429 (which means that
/// nothing was done). A write whose answer was lost is its caller's to judge.
pub(crate) fn retrying(wire: Wire) -> Wire {
    BoxCloneSyncService::new(service_fn(move |request: Request<Body>| {
        let mut wire = wire.clone();
        async move {
            // What one may do is asked by POST, and changes nothing.
            let reads = request.method() == Method::GET || request.uri().path().ends_with("/selfsubjectaccessreviews");
            let (parts, body) = request.into_parts();
            for pause in [100, 200, 400, 800, 1600].map(Duration::from_millis) {
                let Some(copy) = body.try_clone() else { break };
                let answer = wire.ready().await?.call(Request::from_parts(parts.clone(), copy)).await;
                let pause = match &answer {
                    Ok(a) if a.status() == StatusCode::TOO_MANY_REQUESTS => asked_pause(a).unwrap_or(pause),
                    Ok(a) if reads && a.status().is_server_error() => pause,
                    Err(e) if reads && is_transient(e) => pause,
                    _ => return answer,
                };
                sleep(pause).await;
            }
            wire.ready().await?.call(Request::from_parts(parts, body)).await
        }
    }))
}

fn asked_pause(answer: &Response<Body>) -> Option<Duration> {
    let seconds: u64 = answer.headers().get(RETRY_AFTER)?.to_str().ok()?.parse().ok()?;
    Some(Duration::from_secs(seconds.min(5)))
}

/// An answer whose body ends with an error when nothing of it came for a while.
pub(crate) struct Patient {
    body: Body,
    idle: Duration,
    alarm: Pin<Box<Sleep>>,
}

impl Patient {
    pub(crate) fn new(body: Body, idle: Duration) -> Self {
        Self { body, idle, alarm: Box::pin(sleep(idle)) }
    }
}

impl hyper::body::Body for Patient {
    type Data = Bytes;
    type Error = kube::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, kube::Error>>> {
        let this = &mut *self;
        if let Poll::Ready(frame) = Pin::new(&mut this.body).poll_frame(cx) {
            this.alarm.as_mut().reset(Instant::now() + this.idle);
            return Poll::Ready(frame);
        }
        match this.alarm.as_mut().poll(cx) {
            Poll::Ready(()) => {
                let text = format!("the answer stopped for {:?}", this.idle);
                Poll::Ready(Some(Err(kube::Error::Service(text.into()))))
            }
            Poll::Pending => Poll::Pending,
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// How something that was tried again and again ended.
#[derive(Debug)]
pub enum Persisted<T> {
    /// The last try's answer, which is final: success, or an error that trying again does not mend.
    Final(Result<T, kube::Error>),
    /// Time ran out. Whether the last tries had an effect is not known.
    Unknown(String),
}

/// Does an idempotent thing again until its answer is final or `within` has passed. Each try is bounded too.
pub async fn persist<T, F>(within: Duration, mut what: impl FnMut() -> F) -> Persisted<T>
where
    F: Future<Output = Result<T, kube::Error>>,
{
    const TRY: Duration = Duration::from_secs(5);
    let end = Instant::now() + within;
    let mut pause = Duration::from_millis(100);
    let mut last = format!("no answer within {within:?}");
    loop {
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Persisted::Unknown(last);
        }
        match timeout(TRY.min(left), what()).await {
            Ok(Err(e)) if is_transient(&e) => last = explain(&e),
            Ok(answer) => return Persisted::Final(answer),
            Err(_) => last = format!("no answer within {:?}", TRY.min(left)),
        }
        sleep(pause.min(end.saturating_duration_since(Instant::now()))).await;
        pause = (pause * 2).min(Duration::from_secs(2));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    /// A wire that answers with these codes in turn (0 = a lost connection), then 200, and counts.
    fn scripted(codes: &'static [u16]) -> (Wire, Arc<AtomicUsize>) {
        let calls = Arc::new(AtomicUsize::new(0));
        let counted = calls.clone();
        let wire = BoxCloneSyncService::new(service_fn(move |_: Request<Body>| {
            let n = counted.fetch_add(1, Ordering::SeqCst);
            async move {
                match codes.get(n).copied().unwrap_or(200) {
                    0 => Err(kube::Error::Service("reset".into())),
                    code => Ok(Response::builder().status(code).body(Body::empty()).unwrap()),
                }
            }
        }));
        (wire, calls)
    }

    async fn sent(method: Method, codes: &'static [u16]) -> (Option<u16>, usize) {
        sent_to("/x", method, codes).await
    }

    async fn sent_to(path: &str, method: Method, codes: &'static [u16]) -> (Option<u16>, usize) {
        let (wire, calls) = scripted(codes);
        let request = Request::builder().method(method).uri(path).body(Body::empty()).unwrap();
        let answer = retrying(wire).oneshot(request).await;
        (answer.ok().map(|a| a.status().as_u16()), calls.load(Ordering::SeqCst))
    }

    #[tokio::test(start_paused = true)]
    async fn reads_are_repeated() {
        assert_eq!(sent(Method::GET, &[503, 0, 500, 429]).await, (Some(200), 5));
        assert_eq!(sent(Method::GET, &[0; 9]).await, (None, 6));
        assert_eq!(sent(Method::GET, &[404]).await, (Some(404), 1));
        let review = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews";
        assert_eq!(sent_to(review, Method::POST, &[0, 500]).await, (Some(200), 3), "a question, by POST");
    }

    #[tokio::test(start_paused = true)]
    async fn a_write_that_may_have_happened_is_not_repeated() {
        for lost in [&[0][..], &[500], &[503], &[504]] {
            let (_, calls) = sent(Method::POST, Box::leak(lost.to_vec().into_boxed_slice())).await;
            assert_eq!(calls, 1, "{lost:?}");
        }
        assert_eq!(sent(Method::POST, &[429]).await, (Some(200), 2));
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_that_never_begins_is_an_error() {
        let silent = BoxCloneSyncService::new(service_fn(|_: Request<Body>| std::future::pending()));
        let answer = answering(silent, Duration::from_secs(30)).oneshot(Request::new(Body::empty())).await;
        assert_eq!(answer.err().map(|e| explain(&e)).as_deref(), Some("no answer within 30s"));
    }

    #[tokio::test(start_paused = true)]
    async fn persisting_ends_with_the_time() {
        let tries = AtomicUsize::new(0);
        let hang = persist::<(), _>(Duration::from_secs(12), || {
            tries.fetch_add(1, Ordering::SeqCst);
            std::future::pending()
        });
        assert!(matches!(hang.await, Persisted::Unknown(why) if why.starts_with("no answer")));
        assert_eq!(tries.load(Ordering::SeqCst), 3);
    }
}
