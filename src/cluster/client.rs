//! The connection to one cluster, made from the options that kubectl has too.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD as STANDARD;
use http::header::{HeaderValue, USER_AGENT};
use kube::client::{Body, ClientBuilder};
use kube::config::AuthInfo;
use kube::{Client, Config};
use tower::service_fn;
use tower::{Service, ServiceExt};

use super::credential_plugin::{Identity, Plugin};
use super::credentials;
pub use super::errors::{
    Unlisted, allowed, explain, is_already_exists, is_conflict, is_forbidden, is_not_found, is_transient, is_unsent,
};
use super::errors::{is_plugin_missing, is_without_credentials, one_line};
pub use super::guard::Guard;
use super::guard::guarding;
use super::kubeconfig::{self, without_userinfo};
use super::patience::{Patient, answering, retrying, wire};
pub use super::patience::{Persisted, Wire, persist};
use crate::error::Error;
use crate::typed::Typed;

/// How long an answer may take, unless `--request-timeout` says otherwise. A server that is silent for longer is not
/// waited for: something may be held meanwhile.
const ANSWER: Duration = Duration::from_secs(30);
/// How long making a connection may take.
const CONNECT: Duration = Duration::from_secs(10);

/// kubectl's standard options, as plain values.
#[derive(Clone, Default)]
pub struct Connection {
    /// `--kubeconfig`.
    pub kubeconfig: Option<PathBuf>,
    /// `--context`.
    pub context: Option<String>,
    /// `--cluster`.
    pub cluster: Option<String>,
    /// `--user`.
    pub user: Option<String>,
    /// `--namespace`.
    pub namespace: Option<String>,
    /// `--server`.
    pub server: Option<String>,
    /// `--tls-server-name`.
    pub tls_server_name: Option<String>,
    /// `--insecure-skip-tls-verify`.
    pub insecure_skip_tls_verify: bool,
    /// `--certificate-authority`.
    pub certificate_authority: Option<PathBuf>,
    /// `--client-certificate`.
    pub client_certificate: Option<PathBuf>,
    /// `--client-key`.
    pub client_key: Option<PathBuf>,
    /// `--token`.
    pub token: Option<String>,
    /// `--as`.
    pub as_: Option<String>,
    /// `--as-uid`.
    pub as_uid: Option<String>,
    /// `--as-group`, as often as given.
    pub as_groups: Vec<String>,
    /// `--as-user-extra`, as often as given.
    pub as_user_extra: Vec<(String, String)>,
    /// `--request-timeout`; absent or zero leaves our own bound.
    pub request_timeout: Option<Duration>,
    /// `--cache-dir`: accepted, for nothing is cached.
    pub cache_dir: Option<PathBuf>,
    /// `--disable-compression`.
    pub disable_compression: bool,
}

impl Connection {
    /// What chooses the cluster, as it was given. The environment and the current context are the user's still.
    fn typed(&self) -> Typed {
        let file = self.kubeconfig.as_ref().map(|file| file.display().to_string());
        let given = [
            ("--context", self.context.clone()),
            ("--kubeconfig", file),
            ("--cluster", self.cluster.clone()),
            // It may hold a password.
            ("--server", self.server.as_deref().map(without_userinfo)),
        ];
        Typed::new(given.into_iter().filter_map(|(name, value)| Some((name, value?))))
    }
}

impl fmt::Debug for Connection {
    /// Without the token.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection")
            .field("kubeconfig", &self.kubeconfig)
            .field("context", &self.context)
            .field("namespace", &self.namespace)
            .field("server", &self.server)
            .finish_non_exhaustive()
    }
}

/// A cluster, by three clients that share their connections and credentials.
#[derive(Clone)]
pub struct Cluster {
    /// For most calls: every answer is bounded; reads are repeated after a passing failure, writes only after 429.
    pub api: Client,
    /// The same without any repetition: for writes whose lost answers the caller judges itself.
    pub once: Client,
    /// For watches and exec: no repetition, and no bound on how long an answer may be silent once it has begun.
    pub stream: Client,
    /// The namespace that was asked for, or the context's.
    pub namespace: String,
    /// The context's name; `in-cluster` for a service account, empty when only a server was given.
    pub context: String,
    /// The API server's URL.
    pub server: String,
    /// How the user chose this cluster, for the commands that are printed.
    pub typed: Typed,
    /// Warnings about the connection for the user, one line each.
    pub warnings: Vec<String>,
    /// How long one answer may take.
    bound: Duration,
}

/// What a test puts between the clients and the network.
pub type Around = Arc<dyn Fn(Wire) -> Wire + Send + Sync>;

impl Cluster {
    /// Connects as kubectl would with these options. Reads files and may run a credential plugin; asks the API server
    /// nothing. Build it before anything draws on the terminal: a plugin may ask for a login.
    pub async fn connect(connection: &Connection) -> Result<Self, Error> {
        Self::connect_through(connection, None).await
    }

    /// The same with every request going through `around`, below retries and bounds: the seam for fault injection.
    pub async fn connect_through(connection: &Connection, around: Option<Around>) -> Result<Self, Error> {
        // Another crate that brings a second provider would else make rustls panic at the first connection.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let chosen = kubeconfig::choose(connection, &|name| std::env::var(name).ok())?;
        let mut config = chosen.config;
        config.connect_timeout = Some(CONNECT);
        config.read_timeout = None;
        config.default_retry = false;
        config.headers.push((USER_AGENT, user_agent()));
        let server = without_userinfo(config.cluster_url.to_string().trim_end_matches('/'));
        let namespace = config.default_namespace.clone();

        let hint = chosen.plugin.as_ref().and_then(Plugin::install_hint).map(one_line);
        let direct = match chosen.plugin {
            None => build(config).await.map(wire),
            Some(plugin) => {
                credentials::wire(plugin, Box::new(move |identity: Option<&Identity>| identified(&config, identity)))
                    .await
            }
        };
        let direct = direct.map_err(|e| unconnected(&server, &e, hint))?;
        #[cfg(debug_assertions)]
        let direct = super::faults::around(direct);
        let direct = around.map_or(direct.clone(), |around| around(direct));
        let bound = connection.request_timeout.filter(|t| !t.is_zero()).unwrap_or(ANSWER);
        let bounded = answering(direct, bound);
        Ok(Self {
            // The repetitions are bounded in all, too: a server that is silent each time is not waited for six times.
            api: patient(answering(retrying(bounded.clone()), 2 * bound), bound, &namespace),
            once: patient(bounded.clone(), bound, &namespace),
            stream: Client::new(bounded, namespace.clone()),
            namespace,
            context: chosen.context,
            server,
            typed: connection.typed(),
            warnings: chosen.warnings,
            bound,
        })
    }

    /// The same cluster, to which `api` sends a write only while this guard has nothing against it: asked right before
    /// each one is sent, also where it is repeated.
    #[must_use]
    pub fn guarded(&self, guard: &Guard) -> Self {
        let guarded = retrying(guarding(wire(self.once.clone()), guard.clone()));
        Self { api: patient(answering(guarded, 2 * self.bound), self.bound, &self.namespace), ..self.clone() }
    }

    /// A cluster that is only this client: for tests with a server of their own.
    #[cfg(test)]
    pub(crate) fn of_client(client: &Client, namespace: &str) -> Self {
        Self {
            api: client.clone(),
            once: client.clone(),
            stream: client.clone(),
            namespace: namespace.to_owned(),
            context: String::new(),
            server: String::new(),
            typed: Typed::default(),
            warnings: Vec::new(),
            bound: ANSWER,
        }
    }
}

/// Builds a client on a blocking thread, because kube reads certificate files while it builds one.
async fn build(config: Config) -> Result<Client, kube::Error> {
    tokio::task::spawn_blocking(move || ClientBuilder::try_from(config).map(ClientBuilder::build))
        .await
        .unwrap_or_else(|e| Err(kube::Error::Service(e.into())))
}

/// A client that authenticates with the credential plugin's client certificate, if the plugin returned one.
fn identified(config: &Config, identity: Option<&Identity>) -> Result<Client, kube::Error> {
    let mut config = config.clone();
    if let Some(Identity { certificate, key }) = identity {
        // A kubeconfig holds both as base64.
        let data = serde_json::json!({
            "client-certificate-data": STANDARD.encode(certificate),
            "client-key-data": STANDARD.encode(key),
        });
        let shown: AuthInfo = serde_json::from_value(data).map_err(kube::Error::SerdeError)?;
        config.auth_info.client_certificate_data = shown.client_certificate_data;
        config.auth_info.client_key_data = shown.client_key_data;
    }
    ClientBuilder::try_from(config).map(ClientBuilder::build)
}

/// The error for a connection that cannot be made. `install` is the kubeconfig's hint how to install the plugin.
fn unconnected(server: &str, error: &kube::Error, install: Option<String>) -> Error {
    let told = Error::failed(format!("cannot connect to {server}")).cause(explain(error));
    match install {
        Some(install) if is_plugin_missing(error) => told.hint(install),
        _ if is_without_credentials(error) => told.hint("check the user's credentials: does kubectl work?"),
        _ => told,
    }
}

/// A client whose answers may not stop half-way either.
fn patient(wire: Wire, idle: Duration, namespace: &str) -> Client {
    let service = service_fn(move |request: http::Request<Body>| {
        let mut wire = wire.clone();
        async move {
            let answer = wire.ready().await?.call(request).await?;
            Ok::<_, kube::Error>(answer.map(|body| Patient::new(body, idle)))
        }
    });
    Client::new(service, namespace)
}

/// What the audit log shows: kube sends none.
fn user_agent() -> HeaderValue {
    HeaderValue::from_static(concat!("kubectl-consistent-backup/", env!("CARGO_PKG_VERSION")))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_client_is_built_with_the_plugins_certificate_and_refused_with_a_broken_key() {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let config = Config::new("https://10.0.0.1".parse().unwrap());
        let (certificate, key) =
            (include_str!("../../tests/fixtures/tls/server.crt"), include_str!("../../tests/fixtures/tls/server.key"));
        let identity = |key: &str| Identity { certificate: certificate.into(), key: key.into() };
        assert!(identified(&config, None).is_ok());
        assert!(identified(&config, Some(&identity(key))).is_ok());
        assert!(identified(&config, Some(&identity("no key"))).is_err());
    }

    #[test]
    fn printed_commands_have_no_password_of_the_server() {
        let connection = Connection { server: Some("https://u:secret@h:6443".into()), ..Connection::default() };
        assert!(connection.typed().thaw("r1", "demo").ends_with(" --server https://h:6443"));
    }

    #[test]
    fn what_chose_the_cluster_is_typed_again() {
        let connection = Connection {
            context: Some("prod".into()),
            kubeconfig: Some("/k".into()),
            namespace: Some("shop".into()),
            token: Some("secret".into()),
            ..Connection::default()
        };
        assert_eq!(
            connection.typed().thaw("r1", "demo"),
            "kubectl consistent-backup thaw r1 -n demo --context prod --kubeconfig /k"
        );
        assert_eq!(Connection::default().typed(), Typed::default());
    }
}
