//! Requests with the credential of a plugin. The plugin runs once, and again only when its credential has expired.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use http::header::AUTHORIZATION;
use http::{HeaderValue, Request, Response, StatusCode};
use jiff::Timestamp;
use kube::Client;
use kube::client::Body;
use tokio::sync::Mutex;
use tokio::time::Instant;
use tower::service_fn;
use tower::util::BoxCloneSyncService;

use super::credential_plugin::{Credential, Failure, Identity, Plugin};
use super::patience::Wire;

/// How long a failure is reported again without another run: requests are retried, and each run may prompt a person.
const PAUSE: Duration = Duration::from_secs(2);

/// Builds a client that authenticates with this certificate, if there is one.
pub(super) type Make = Box<dyn Fn(Option<&Identity>) -> Result<Client, kube::Error> + Send + Sync>;

/// A plugin and its latest credential.
struct Credentials {
    plugin: Plugin,
    make: Make,
    held: Mutex<Held>,
}

struct Held {
    current: Arc<Current>,
    failed: Option<(Instant, Failure)>,
}

/// The credential in use, and the client that goes with it.
struct Current {
    client: Client,
    token: Option<HeaderValue>,
    identity: Option<Identity>,
    expires: Option<Timestamp>,
    /// Whether the server has accepted it.
    accepted: AtomicBool,
}

impl Current {
    fn new(client: Client, given: Credential) -> Self {
        // An expiry in the past comes from a clock that differs from ours. The server decides then; obeyed, it would run the
        // plugin for every request.
        let expires = given.expires.filter(|at| *at > Timestamp::now());
        Self { client, token: given.token, identity: given.identity, expires, accepted: AtomicBool::new(false) }
    }

    fn is_expired(&self) -> bool {
        self.expires.is_some_and(|at| at <= Timestamp::now())
    }

    async fn send(&self, mut request: Request<Body>) -> Result<Response<Body>, kube::Error> {
        if let Some(token) = &self.token {
            request.headers_mut().insert(AUTHORIZATION, token.clone());
        }
        let answer = self.client.send(request).await?;
        if answer.status() != StatusCode::UNAUTHORIZED {
            self.accepted.store(true, Ordering::Relaxed);
        }
        Ok(answer)
    }
}

/// Runs the plugin and returns a wire that uses its credential.
pub(super) async fn wire(plugin: Plugin, make: Make) -> Result<Wire, kube::Error> {
    let given = plugin.run().await.map_err(failed)?;
    with(plugin, make, given)
}

fn with(plugin: Plugin, make: Make, given: Credential) -> Result<Wire, kube::Error> {
    let client = client(&plugin, &make, given.identity.as_ref())?;
    let held = Mutex::new(Held { current: Arc::new(Current::new(client, given)), failed: None });
    let credentials = Arc::new(Credentials { plugin, make, held });
    Ok(BoxCloneSyncService::new(service_fn(move |request| credentials.clone().send(request))))
}

/// Builds a client. An error that concerns the plugin's certificate is replaced, because it may quote the plugin's output.
fn client(plugin: &Plugin, make: &Make, identity: Option<&Identity>) -> Result<Client, kube::Error> {
    let made = make(identity);
    if identity.is_some() { made.map_err(|_| failed(plugin.unusable())) } else { made }
}

fn failed(failure: Failure) -> kube::Error {
    kube::Error::Service(failure.into())
}

impl Credentials {
    async fn send(self: Arc<Self>, request: Request<Body>) -> Result<Response<Body>, kube::Error> {
        let mut current = self.held.lock().await.current.clone();
        if current.is_expired() {
            current = self.clone().renewed(current).await.map_err(failed)?;
        }
        let (parts, body) = request.into_parts();
        let again = body.try_clone().map(|copy| Request::from_parts(parts.clone(), copy));
        let answer = current.send(Request::from_parts(parts, body)).await?;
        // A credential that the server once accepted and now refuses has expired, even if the plugin gave no time. One that
        // the server never accepted would only be returned again.
        let expired = answer.status() == StatusCode::UNAUTHORIZED && current.accepted.load(Ordering::Relaxed);
        match again {
            // Repeating is safe: the server refuses a request before it acts on it.
            Some(again) if expired => match self.renewed(current).await {
                Ok(current) => current.send(again).await,
                Err(_) => Ok(answer),
            },
            _ => Ok(answer),
        }
    }

    /// The successor of `old`. It is fetched in a task of its own: a request that times out must not abort a login.
    async fn renewed(self: Arc<Self>, old: Arc<Current>) -> Result<Arc<Current>, Failure> {
        let lost = self.plugin.unusable();
        tokio::spawn(async move { self.renew(&old).await }).await.unwrap_or(Err(lost))
    }

    async fn renew(&self, old: &Arc<Current>) -> Result<Arc<Current>, Failure> {
        let mut held = self.held.lock().await;
        // Another request has renewed it meanwhile.
        if !Arc::ptr_eq(&held.current, old) {
            return Ok(held.current.clone());
        }
        if let Some((at, failure)) = &held.failed
            && at.elapsed() < PAUSE
        {
            return Err(failure.clone());
        }
        match self.run(old).await {
            Ok(current) => {
                *held = Held { current: Arc::new(current), failed: None };
                Ok(held.current.clone())
            }
            Err(failure) => {
                held.failed = Some((Instant::now(), failure.clone()));
                Err(failure)
            }
        }
    }

    async fn run(&self, old: &Current) -> Result<Current, Failure> {
        let given = self.plugin.run().await?;
        // Connections with the old certificate close with their client.
        let client = if given.identity == old.identity {
            old.client.clone()
        } else {
            (self.make)(given.identity.as_ref()).map_err(|_| self.plugin.unusable())?
        };
        Ok(Current::new(client, given))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::path::Path;

    use jiff::SignedDuration;
    use serde_json::json;
    use tower::ServiceExt;

    use super::super::credential_plugin::tests::{prints, scripted};
    use super::super::errors::{explain, is_unsent};
    use super::*;

    /// A plugin that numbers its tokens: `token-1`, `token-2`.
    fn counting(folder: &Path, expires: Option<Timestamp>) -> Plugin {
        let expires = expires.map_or(String::new(), |at| format!(", \"expirationTimestamp\": \"{at}\""));
        let script = format!(
            "echo >> \"$1/runs\"\n[ -e \"$1/broken\" ] && exit 1\nn=$(($(wc -l < \"$1/runs\")))\n\
             echo '{{\"kind\": \"ExecCredential\", \"apiVersion\": \"client.authentication.k8s.io/v1\", \"status\": \
             {{\"token\": \"token-'$n'\"{expires}}}}}'"
        );
        scripted(folder, &script, &json!({"interactiveMode": "Never"}))
    }

    fn runs(folder: &Path) -> usize {
        std::fs::read_to_string(folder.join("runs")).unwrap_or_default().lines().count()
    }

    /// A server that accepts these tokens and echoes the received one.
    fn server(valid: &Arc<std::sync::Mutex<Vec<&'static str>>>) -> Make {
        let valid = valid.clone();
        Box::new(move |_| {
            let valid = valid.clone();
            let service = service_fn(move |request: Request<Body>| {
                let came = request.headers().get(AUTHORIZATION).unwrap().to_str().unwrap().to_owned();
                let takes = valid.lock().unwrap().iter().any(|token| came == format!("Bearer {token}"));
                let code = if takes { 200 } else { 401 };
                let answer = Response::builder().status(code).header("came", came).body(Body::empty()).unwrap();
                async move { Ok::<_, kube::Error>(answer) }
            });
            Ok(Client::new(service, "n"))
        })
    }

    fn valid(tokens: &[&'static str]) -> Arc<std::sync::Mutex<Vec<&'static str>>> {
        Arc::new(std::sync::Mutex::new(tokens.to_vec()))
    }

    async fn sent(wire: &Wire) -> Result<(u16, String), kube::Error> {
        let request = Request::builder().uri("/x").body(Body::from(b"body".to_vec())).unwrap();
        let answer = wire.clone().oneshot(request).await?;
        Ok((answer.status().as_u16(), answer.headers()["came"].to_str().unwrap().to_owned()))
    }

    fn in_an_hour() -> Timestamp {
        Timestamp::now() + SignedDuration::from_hours(1)
    }

    #[tokio::test]
    async fn the_plugin_runs_once_for_all_requests() {
        for expires in [None, Some(in_an_hour())] {
            let folder = tempfile::tempdir().unwrap();
            let wire = wire(counting(folder.path(), expires), server(&valid(&["token-1"]))).await.unwrap();
            for _ in 0..5 {
                assert_eq!(sent(&wire).await.unwrap(), (200, "Bearer token-1".into()));
            }
            assert_eq!(runs(folder.path()), 1);
        }
    }

    #[tokio::test]
    async fn an_expired_token_is_renewed_once_for_concurrent_requests() {
        let folder = tempfile::tempdir().unwrap();
        let soon = Timestamp::now() + SignedDuration::from_millis(1500);
        let wire = wire(counting(folder.path(), Some(soon)), server(&valid(&["token-1", "token-2"]))).await.unwrap();
        assert_eq!(sent(&wire).await.unwrap().1, "Bearer token-1");
        tokio::time::sleep(Duration::from_secs(2)).await;
        // The second token has expired on arrival: it is used, and the plugin does not run for every request.
        let all = futures::future::join_all((0..5).map(|_| sent(&wire))).await;
        assert!(all.into_iter().all(|answer| answer.unwrap() == (200, "Bearer token-2".into())));
        assert_eq!(runs(folder.path()), 2);
    }

    #[tokio::test]
    async fn a_token_that_the_server_stops_accepting_is_renewed() {
        let folder = tempfile::tempdir().unwrap();
        let valid = valid(&["token-1"]);
        let wire = wire(counting(folder.path(), None), server(&valid)).await.unwrap();
        assert_eq!(sent(&wire).await.unwrap().0, 200);
        *valid.lock().unwrap() = vec!["token-2"];
        assert_eq!(sent(&wire).await.unwrap(), (200, "Bearer token-2".into()), "sent again with the new one");
        assert_eq!(runs(folder.path()), 2);
    }

    #[tokio::test]
    async fn a_token_that_the_server_never_accepted_is_not_renewed() {
        let folder = tempfile::tempdir().unwrap();
        let wire = wire(counting(folder.path(), None), server(&valid(&[]))).await.unwrap();
        for _ in 0..3 {
            assert_eq!(sent(&wire).await.unwrap().0, 401);
        }
        assert_eq!(runs(folder.path()), 1);
    }

    #[tokio::test]
    async fn a_failing_plugin_does_not_run_for_every_request() {
        let folder = tempfile::tempdir().unwrap();
        let soon = Timestamp::now() + SignedDuration::from_millis(1500);
        let wire = wire(counting(folder.path(), Some(soon)), server(&valid(&["token-1", "token-3"]))).await.unwrap();
        std::fs::write(folder.path().join("broken"), "").unwrap();
        tokio::time::sleep(Duration::from_secs(2)).await;
        for _ in 0..3 {
            let error = sent(&wire).await.unwrap_err();
            assert_eq!(explain(&error), "credential plugin sh: ended with exit code 1");
            assert!(is_unsent(&error), "nothing was sent");
        }
        assert_eq!(runs(folder.path()), 2);
        std::fs::remove_file(folder.path().join("broken")).unwrap();
        tokio::time::sleep(PAUSE).await;
        assert_eq!(sent(&wire).await.unwrap(), (200, "Bearer token-3".into()));
    }

    #[tokio::test]
    async fn an_unusable_certificate_is_not_quoted() {
        let folder = tempfile::tempdir().unwrap();
        let status = json!({"clientCertificateData": "cert-secret", "clientKeyData": "key-secret"});
        let plugin = scripted(folder.path(), &prints(&status), &json!({}));
        let make: Make = Box::new(|identity| Err(kube::Error::Service(identity.unwrap().key.clone().into())));
        let text = explain(&wire(plugin, make).await.err().unwrap());
        assert_eq!(text, "credential plugin sh: its client certificate or key cannot be used");
    }
}
