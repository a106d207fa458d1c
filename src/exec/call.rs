//! Unary gRPC calls to a pod's admin port, through the API server's port-forward: from wherever kubectl works.
//!
//! A connection is made once and never again by itself: a call that was repeated unseen could end what another one began.

use std::error::Error as _;
use std::net::IpAddr;
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use hyper_util::rt::TokioIo;
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};
use tonic::client::Grpc;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint as Transport};
use tonic::{Code, Request, Status};
use tonic_types::StatusExt;

use super::{Place, unanswered};
use crate::cluster::client::{Cluster, explain};
use crate::plan::Endpoint;
use crate::quiescer::{Answer, End, MESSAGE};

mod raw;

/// How long making a connection may take.
const CONNECT: Duration = Duration::from_secs(10);

/// An open connection to one pod's admin port.
pub(super) struct Connection(Grpc<Channel>);

/// Calls over what is open, or over a connection that is made for it and left open if the server answered.
pub(super) async fn call(
    cluster: &Cluster,
    at: &Place,
    open: &mut Option<Connection>,
    method: &'static str,
    message: &[u8],
    within: Duration,
) -> Answer {
    let end = Instant::now() + within;
    let mut connection = match open.take() {
        Some(connection) => connection,
        // Nothing was sent yet, so nothing has happened.
        None => match timeout(within.min(CONNECT), forwarded(cluster, at)).await {
            Ok(Ok(connection)) => connection,
            Ok(Err(why)) => return unanswered(End::Refused(why)),
            Err(_) => return unanswered(End::Refused("no connection to its admin port in time".to_owned())),
        },
    };
    let answer = connection.call(method, message, end.saturating_duration_since(Instant::now())).await;
    // Of a connection that failed nobody knows what it does next.
    if !matches!(answer.end, End::Unknown(_)) {
        *open = Some(connection);
    }
    answer
}

/// One call over a connection of its own to this address.
pub(super) async fn directly(
    ip: &str,
    endpoint: &Endpoint,
    method: &'static str,
    message: &[u8],
    within: Duration,
) -> Answer {
    let connected = timeout(within.min(CONNECT), async {
        let ip = ip.parse::<IpAddr>().map_err(|e| format!("{ip}: {e}"))?;
        let stream = TcpStream::connect((ip, endpoint.port)).await.map_err(|e| e.to_string())?;
        Connection::over(stream, endpoint).await
    });
    match connected.await {
        Ok(Ok(mut connection)) => connection.call(method, message, within).await,
        Ok(Err(why)) => unanswered(End::Refused(why)),
        Err(_) => unanswered(End::Refused("no connection to its admin port in time".to_owned())),
    }
}

/// A connection through the API server.
async fn forwarded(cluster: &Cluster, at: &Place) -> Result<Connection, String> {
    let endpoint = at.endpoint.as_ref().ok_or("its admin port is not known")?;
    let pods: Api<Pod> = Api::namespaced(cluster.stream.clone(), &at.namespace);
    let mut forwarder = pods.portforward(&at.pod, &[endpoint.port]).await.map_err(|e| explain(&e))?;
    let stream = forwarder.take_stream(endpoint.port).ok_or("the port was not forwarded")?;
    let said = forwarder.take_error(endpoint.port);
    let connected = Connection::over(stream, endpoint).await;
    match (connected, said) {
        // The kubelet says there why nothing answers at the port; it comes with the end of the stream.
        (Err(why), Some(said)) => match timeout(Duration::from_millis(200), said).await {
            Ok(Some(kubelets)) => Err(format!("port {}: {}", endpoint.port, kubelets.trim())),
            _ => Err(why),
        },
        (connected, _) => connected,
    }
}

impl Connection {
    /// HTTP/2, with TLS where the endpoint has it, over a stream.
    pub(super) async fn over<S>(stream: S, endpoint: &Endpoint) -> Result<Self, String>
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let scheme = if endpoint.tls.is_some() { "https" } else { "http" };
        let mut transport = Transport::from_shared(format!("{scheme}://localhost:{}", endpoint.port))
            .map_err(|e| e.to_string())?
            .connect_timeout(CONNECT);
        if let Some(tls) = &endpoint.tls {
            let mut config = ClientTlsConfig::new();
            if !tls.ca.is_empty() {
                config = config.ca_certificate(Certificate::from_pem(&tls.ca));
            }
            if let Some(authority) = &tls.authority {
                config = config.domain_name(authority);
            }
            transport = transport.tls_config(config).map_err(|e| chain(&e))?;
        }
        let mut stream = Some(stream);
        let once = tower::service_fn(move |_: http::Uri| {
            let stream = stream.take().map(TokioIo::new).ok_or("the connection was lost");
            async move { stream.map_err(std::io::Error::other) }
        });
        let channel = transport.connect_with_connector(once).await.map_err(|e| chain(&e))?;
        Ok(Self(Grpc::new(channel)))
    }

    /// One call. `Unknown` whenever the server itself did not say how it ended.
    async fn call(&mut self, method: &'static str, message: &[u8], within: Duration) -> Answer {
        let path = http::uri::PathAndQuery::from_static(method);
        let answered = timeout(within, async {
            self.0.ready().await.map_err(|e| Status::from_error(Box::new(e)))?;
            self.0.unary(Request::new(message.to_vec()), path, raw::Raw).await
        });
        match answered.await {
            Ok(Ok(response)) => {
                let out = format!("{MESSAGE}{}", BASE64_STANDARD.encode(response.into_inner()));
                Answer { out, end: End::Exited(0), ..Answer::default() }
            }
            Ok(Err(status)) => refused(&status),
            Err(_) => unanswered(End::Unknown(format!("no answer in {:.1} s", within.as_secs_f64()))),
        }
    }
}

/// A status as an answer: the server's own word, or none.
fn refused(status: &Status) -> Answer {
    if status.source().is_some() || matches!(status.code(), Code::Cancelled | Code::DeadlineExceeded) {
        return unanswered(End::Unknown(format!("the connection failed: {}", chain(status))));
    }
    let reason = status.get_details_error_info().map(|info| info.reason).unwrap_or_default();
    let message: String = status.message().chars().take(300).collect();
    let code = status.code();
    let err = if message.is_empty() { format!("{code:?}") } else { format!("{code:?}: {message}") };
    Answer { out: reason, err, end: End::Exited(code as i32) }
}

/// An error with its causes, in one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let said = error.to_string();
        if !text.contains(&said) {
            text = format!("{text}: {said}");
        }
        cause = error.source();
    }
    text
}
