//! From kubeconfig files and options to kube's configuration, by kubectl's rules.
//!
//! kube's own loader is not used: it fails on a missing file of a `$KUBECONFIG` list, takes no overrides for most
//! flags, obeys debugging variables from the environment, and decides about proxies wrongly.

use std::io::ErrorKind;
use std::path::PathBuf;

use http::Uri;
use kube::Config;
use kube::config::{AuthInfo, Cluster, Context, ExecAuthCluster, Kubeconfig, KubeconfigError};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use super::client::Connection;
use super::errors::one_line;
use super::proxy::{self, Env};
use crate::error::Error;

/// Where to connect, and under which name the user knows it.
pub(crate) struct Chosen {
    pub(crate) config: Config,
    pub(crate) context: String,
}

/// The files kubectl would read, and what they say together.
struct Loaded {
    kubeconfig: Kubeconfig,
    files: Vec<PathBuf>,
}

/// Loads, chooses and overrides. Reads files; sends nothing.
pub(crate) fn choose(connection: &Connection, env: Env) -> Result<Chosen, Error> {
    let loaded = load(connection, env)?;
    let (context, mut cluster, mut user) = select(connection, &loaded)?;
    let namespace = context.1.namespace.filter(|n| !n.is_empty());
    override_cluster(connection, &mut cluster);
    override_user(connection, &mut user);

    let (mut config, context) = match cluster.server.clone().filter(|s| !s.is_empty()) {
        Some(server) => (config(&server, cluster, user, env)?, context.0),
        None => match in_cluster(connection, &loaded, user, env) {
            Some(config) => (config?, "in-cluster".to_owned()),
            None => return Err(no_server(&loaded, &context.0)),
        },
    };
    if let Some(namespace) = connection.namespace.clone().or(namespace) {
        config.default_namespace = namespace;
    }
    Ok(Chosen { config, context })
}

fn load(connection: &Connection, env: Env) -> Result<Loaded, Error> {
    let explicit = connection.kubeconfig.as_ref();
    let listed = env("KUBECONFIG").filter(|v| !v.is_empty());
    let files: Vec<PathBuf> = match (explicit, listed) {
        (Some(file), _) => vec![file.clone()],
        (None, Some(list)) => std::env::split_paths(&list).filter(|p| !p.as_os_str().is_empty()).collect(),
        (None, None) => {
            let home = env("HOME").map(PathBuf::from).or_else(std::env::home_dir);
            home.map(|h| h.join(".kube").join("config")).into_iter().collect()
        }
    };
    let mut kubeconfig = Kubeconfig::default();
    for file in &files {
        let next = match Kubeconfig::read_from(file) {
            // A list may name files that do not exist (yet); a flag may not.
            Err(KubeconfigError::ReadConfig(e, _)) if e.kind() == ErrorKind::NotFound && explicit.is_none() => {
                continue;
            }
            Err(KubeconfigError::ReadConfig(e, _)) => {
                return Err(Error::failed(format!("cannot read kubeconfig {}", file.display())).cause(e));
            }
            Err(e) => return Err(broken(file, &e)),
            // An empty name must not win over the next file's.
            Ok(mut next) => {
                next.current_context = next.current_context.filter(|c| !c.is_empty());
                next
            }
        };
        kubeconfig = kubeconfig.merge(next).map_err(|e| broken(file, &e))?;
    }
    Ok(Loaded { kubeconfig, files })
}

fn broken(file: &std::path::Path, error: &KubeconfigError) -> Error {
    // A parser quotes the lines around the fault, and those may be credentials: only its first line is shown.
    let text = error.to_string();
    Error::failed(format!("cannot understand kubeconfig {}", file.display()))
        .cause(one_line(text.lines().next().unwrap_or_default()))
}

fn select(connection: &Connection, loaded: &Loaded) -> Result<((String, Context), Cluster, AuthInfo), Error> {
    let kubeconfig = &loaded.kubeconfig;
    let context_name = connection.context.clone().or(kubeconfig.current_context.clone());
    let context = match &context_name {
        None => Context::default(),
        Some(name) => kubeconfig
            .contexts
            .iter()
            .find(|c| c.name == *name)
            .and_then(|c| c.context.clone())
            .ok_or_else(|| missing("context", name, kubeconfig.contexts.iter().map(|c| &c.name), loaded))?,
    };
    let cluster_name = connection.cluster.clone().or(Some(context.cluster.clone()).filter(|c| !c.is_empty()));
    let cluster = match &cluster_name {
        None => Cluster::default(),
        Some(name) => kubeconfig
            .clusters
            .iter()
            .find(|c| c.name == *name)
            .and_then(|c| c.cluster.clone())
            .ok_or_else(|| missing("cluster", name, kubeconfig.clusters.iter().map(|c| &c.name), loaded))?,
    };
    let found = |name: &String| {
        let mut users = kubeconfig.auth_infos.iter();
        users.find(|u| u.name == *name).and_then(|u| u.auth_info.clone())
    };
    let user = match (&connection.user, &context.user) {
        (Some(name), _) => {
            found(name).ok_or_else(|| missing("user", name, kubeconfig.auth_infos.iter().map(|u| &u.name), loaded))?
        }
        // Like kubectl: a context that names a missing user is an anonymous one.
        (None, Some(name)) => found(name).unwrap_or_default(),
        (None, None) => AuthInfo::default(),
    };
    Ok(((context_name.unwrap_or_default(), context), cluster, user))
}

fn missing<'a>(kind: &str, name: &str, known: impl Iterator<Item = &'a String>, loaded: &Loaded) -> Error {
    let known: Vec<&str> = known.map(String::as_str).collect();
    let error = Error::failed(format!("{kind} \"{name}\" is not in {}", loaded.named()));
    if known.is_empty() { error } else { error.hint(format!("{kind}s there: {}", known.join(", "))) }
}

impl Loaded {
    fn named(&self) -> String {
        let files: Vec<String> = self.files.iter().map(|f| f.display().to_string()).collect();
        format!("kubeconfig {}", files.join(", "))
    }
}

fn no_server(loaded: &Loaded, context: &str) -> Error {
    if loaded.kubeconfig.clusters.is_empty() {
        Error::failed(format!("no cluster to talk to: {} is missing or empty", loaded.named()))
            .hint("name one with --kubeconfig, $KUBECONFIG or --server")
    } else if context.is_empty() {
        let known: Vec<&str> = loaded.kubeconfig.contexts.iter().map(|c| c.name.as_str()).collect();
        Error::failed(format!("{} has no current context", loaded.named()))
            .hint(format!("choose one with --context: {}", known.join(", ")))
    } else {
        Error::failed(format!("context \"{context}\" in {} has no server", loaded.named()))
    }
}

fn override_cluster(connection: &Connection, cluster: &mut Cluster) {
    if let Some(server) = &connection.server {
        cluster.server = Some(server.clone());
    }
    if let Some(name) = &connection.tls_server_name {
        cluster.tls_server_name = Some(name.clone());
    }
    if let Some(file) = &connection.certificate_authority {
        cluster.certificate_authority = Some(file.display().to_string());
        cluster.certificate_authority_data = None;
    }
    if connection.insecure_skip_tls_verify {
        cluster.insecure_skip_tls_verify = Some(true);
        cluster.certificate_authority = None;
        cluster.certificate_authority_data = None;
    }
    if connection.disable_compression {
        cluster.disable_compression = Some(true);
    }
}

fn override_user(connection: &Connection, user: &mut AuthInfo) {
    if let Some(file) = &connection.client_certificate {
        user.client_certificate = Some(file.display().to_string());
        user.client_certificate_data = None;
    }
    if let Some(file) = &connection.client_key {
        user.client_key = Some(file.display().to_string());
        user.client_key_data = None;
    }
    if let Some(token) = &connection.token {
        // A token on the command line means it, and not a login by the kubeconfig's plugin.
        let given: Option<AuthInfo> = serde_json::from_value(serde_json::json!({ "token": token })).ok();
        user.token = given.and_then(|g| g.token);
        user.token_file = None;
        user.exec = None;
        user.auth_provider = None;
        user.username = None;
        user.password = None;
    }
    if let Some(name) = &connection.as_ {
        user.impersonate = Some(name.clone());
    }
    if let Some(uid) = &connection.as_uid {
        user.impersonate_uid = Some(uid.clone());
    }
    if !connection.as_groups.is_empty() {
        user.impersonate_groups = Some(connection.as_groups.clone());
    }
    for (key, value) in &connection.as_user_extra {
        let extra = user.impersonate_user_extra.get_or_insert_default();
        extra.entry(key.clone()).or_default().push(value.clone());
    }
}

fn config(server: &str, cluster: Cluster, mut user: AuthInfo, env: Env) -> Result<Config, Error> {
    let wrong = |cause: String| Error::failed(format!("cannot use the server {server}")).cause(cause);
    let tls = cluster.certificate_authority.is_some()
        || cluster.certificate_authority_data.is_some()
        || cluster.insecure_skip_tls_verify.is_some()
        || user.client_certificate.is_some()
        || user.client_certificate_data.is_some();
    // kubectl's rule for a bare host: https only if something about TLS was said.
    let scheme = if tls { "https" } else { "http" };
    let url = if server.contains("://") { server.to_owned() } else { format!("{scheme}://{server}") };
    let url: Uri = url.parse().map_err(|e: http::uri::InvalidUri| wrong(e.to_string()))?;
    let mut config = Config::new(url.clone());
    config.proxy_url = proxy::decide(&url, cluster.proxy_url.as_deref(), env)
        .map_err(|e| wrong(e).hint("look at HTTPS_PROXY and at the kubeconfig's proxy-url"))?;
    let for_plugin = ExecAuthCluster::try_from(&cluster).map_err(|e| wrong(e.to_string()))?;
    config.root_cert = match &for_plugin.certificate_authority_data {
        None => None,
        Some(pem) => Some(
            CertificateDer::pem_slice_iter(pem)
                .map(|c| c.map(|c| c.to_vec()))
                .collect::<Result<_, _>>()
                .map_err(|e| wrong(format!("the certificate authority is not PEM: {e}")))?,
        ),
    };
    if let Some(exec) = user.exec.as_mut().filter(|e| e.provide_cluster_info) {
        exec.cluster = Some(for_plugin);
    }
    config.accept_invalid_certs = cluster.insecure_skip_tls_verify.unwrap_or(false);
    config.disable_compression = cluster.disable_compression.unwrap_or(false);
    config.tls_server_name = cluster.tls_server_name;
    config.auth_info = user;
    Ok(config)
}

/// The service account, when there is no kubeconfig at all and we run in a pod.
fn in_cluster(connection: &Connection, loaded: &Loaded, user: AuthInfo, env: Env) -> Option<Result<Config, Error>> {
    let nothing = loaded.kubeconfig.clusters.is_empty() && loaded.kubeconfig.contexts.is_empty();
    if !nothing || connection.kubeconfig.is_some() || env("KUBERNETES_SERVICE_HOST").is_none() {
        return None;
    }
    Some(with_service_account(connection, user, env))
}

fn with_service_account(connection: &Connection, user: AuthInfo, env: Env) -> Result<Config, Error> {
    let failed = |cause: String| Error::failed("cannot use the pod's service account").cause(cause);
    let mut config = Config::incluster().map_err(|e| failed(e.to_string()))?;
    let account = std::mem::replace(&mut config.auth_info, user);
    if connection.token.is_none() {
        config.auth_info.token_file = account.token_file;
    }
    config.proxy_url = proxy::decide(&config.cluster_url, None, env).map_err(failed)?;
    config.accept_invalid_certs |= connection.insecure_skip_tls_verify;
    config.disable_compression |= connection.disable_compression;
    Ok(config)
}

#[cfg(test)]
mod tests;
