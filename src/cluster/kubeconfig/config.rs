//! kube's configuration from a cluster and a user.

use http::Uri;
use kube::Config;
use kube::config::{AuthInfo, Cluster, ExecAuthCluster};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use super::super::client::Connection;
use super::super::credential_plugin::Plugin;
use super::super::proxy::{self, Env};
use super::{Loaded, without_userinfo};
use crate::error::Error;

/// How to connect.
pub(super) struct Configured {
    /// kube's configuration, without the credential plugin: kube must not run it.
    pub(super) config: Config,
    /// The user's credential plugin, if the user has no other credentials.
    pub(super) plugin: Option<Plugin>,
    /// Warnings for the user, one line each.
    pub(super) warnings: Vec<String>,
}

/// The configuration for a server from a kubeconfig or from `--server`.
pub(super) fn config(server: &str, cluster: Cluster, mut user: AuthInfo, env: Env) -> Result<Configured, Error> {
    let shown = without_userinfo(server);
    let wrong = |cause: String| Error::failed(format!("cannot use the server {shown}")).cause(cause);
    let given = |text: &Option<String>| text.as_ref().is_some_and(|text| !text.is_empty());
    let has_ca = given(&cluster.certificate_authority) || given(&cluster.certificate_authority_data);
    let tls = has_ca
        || cluster.insecure_skip_tls_verify.is_some()
        || user.client_certificate.is_some()
        || user.client_certificate_data.is_some();
    // kubectl's rule for a bare host: https only if something about TLS was said.
    let scheme = if tls { "https" } else { "http" };
    let url = if server.contains("://") { server.to_owned() } else { format!("{scheme}://{server}") };
    let url: Uri = url.parse().map_err(|e: http::uri::InvalidUri| wrong(e.to_string()))?;
    let encrypted = url.scheme_str() == Some("https");
    let insecure = cluster.insecure_skip_tls_verify.unwrap_or(false);
    if encrypted && insecure && has_ca {
        return Err(both(wrong));
    }
    let mut warnings = Vec::new();
    if !encrypted {
        if has_credentials(&user) {
            let url = without_userinfo(url.to_string().trim_end_matches('/'));
            warnings.push(format!("{url} is not encrypted: the user's credentials are not sent"));
        }
        user = anonymous(user);
    }
    check_provider(&user)?;
    let mut config = Config::new(url.clone());
    config.proxy_url = proxy::decide(&url, cluster.proxy_url.as_deref(), env)
        .map_err(|e| wrong(e).hint("look at HTTPS_PROXY and at the kubeconfig's proxy-url"))?;
    let mut for_plugin = ExecAuthCluster::try_from(&cluster).map_err(|e| wrong(e.to_string()))?;
    for_plugin.proxy_url = config.proxy_url.as_ref().map(Uri::to_string);
    config.root_cert =
        for_plugin.certificate_authority_data.as_deref().map(|pem| certificates(pem, wrong)).transpose()?;
    config.accept_invalid_certs = insecure;
    config.disable_compression = cluster.disable_compression.unwrap_or(false);
    config.tls_server_name = cluster.tls_server_name.filter(|name| !name.is_empty());
    let exec = user.exec.take();
    // As client-go: any other credential takes precedence over the plugin.
    let plugin = exec.filter(|_| !has_credentials(&user)).map(|exec| Plugin::new(exec, &for_plugin)).transpose()?;
    config.auth_info = user;
    Ok(Configured { config, plugin, warnings })
}

fn both(wrong: impl Fn(String) -> Error) -> Error {
    wrong("a certificate authority and insecure-skip-tls-verify exclude each other".to_owned())
        .hint("leave one of them out; --certificate-authority FILE alone verifies the server")
}

fn certificates(pem: &[u8], wrong: impl Fn(String) -> Error) -> Result<Vec<Vec<u8>>, Error> {
    CertificateDer::pem_slice_iter(pem)
        .map(|c| c.map(|c| c.to_vec()))
        .collect::<Result<_, _>>()
        .map_err(|e| wrong(format!("the certificate authority is not PEM: {e}")))
}

/// Whether the user has any credentials.
fn has_credentials(user: &AuthInfo) -> bool {
    user.token.is_some()
        || user.token_file.is_some()
        || user.username.is_some()
        || user.password.is_some()
        || user.client_certificate.is_some()
        || user.client_certificate_data.is_some()
        || user.auth_provider.is_some()
        || user.exec.is_some()
}

/// The user without credentials. Impersonation is not a secret, and stays.
fn anonymous(user: AuthInfo) -> AuthInfo {
    AuthInfo {
        impersonate: user.impersonate,
        impersonate_uid: user.impersonate_uid,
        impersonate_groups: user.impersonate_groups,
        impersonate_user_extra: user.impersonate_user_extra,
        ..AuthInfo::default()
    }
}

/// Refuses providers that kubectl dropped in 1.26: kube still runs the programs of `gcp`, and prints their output on failure.
fn check_provider(user: &AuthInfo) -> Result<(), Error> {
    match &user.auth_provider {
        Some(provider) if provider.name != "oidc" => {
            Err(Error::failed(format!("the user's auth-provider \"{}\" is not supported", provider.name))
                .hint("use its credential plugin, as kubectl does: gke-gcloud-auth-plugin, kubelogin"))
        }
        _ => Ok(()),
    }
}

/// The service account, when there is no kubeconfig at all and we run in a pod.
pub(super) fn in_cluster(
    connection: &Connection,
    loaded: &Loaded,
    user: AuthInfo,
    env: Env,
) -> Option<Result<Configured, Error>> {
    let nothing = loaded.kubeconfig.clusters.is_empty() && loaded.kubeconfig.contexts.is_empty();
    if !nothing || connection.kubeconfig.is_some() || env("KUBERNETES_SERVICE_HOST").is_none() {
        return None;
    }
    let config = Config::incluster().map_err(|e| unusable(e.to_string()));
    Some(config.and_then(|config| with_service_account(config, connection, user, env)))
}

fn unusable(cause: String) -> Error {
    Error::failed("cannot use the pod's service account").cause(cause)
}

fn with_service_account(
    mut config: Config,
    connection: &Connection,
    user: AuthInfo,
    env: Env,
) -> Result<Configured, Error> {
    let account = std::mem::replace(&mut config.auth_info, user);
    if connection.token.is_none() {
        config.auth_info.token_file = account.token_file;
    }
    if let Some(file) = &connection.certificate_authority {
        if connection.insecure_skip_tls_verify {
            return Err(both(unusable));
        }
        let pem = std::fs::read(file).map_err(|e| unusable(format!("{}: {e}", file.display())))?;
        config.root_cert = Some(certificates(&pem, unusable)?);
        config.root_cert_file = Some(file.clone());
    }
    config.proxy_url = proxy::decide(&config.cluster_url, None, env).map_err(unusable)?;
    config.accept_invalid_certs |= connection.insecure_skip_tls_verify;
    config.disable_compression |= connection.disable_compression;
    Ok(Configured { config, plugin: None, warnings: Vec::new() })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_given_certificate_authority_replaces_the_pods_own() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("ca");
        std::fs::write(&file, include_str!("../../../tests/fixtures/tls/server.crt")).unwrap();
        let given = Connection { certificate_authority: Some(file.clone()), ..Connection::default() };
        let pod = || Config::new("https://10.0.0.1".parse().unwrap());
        let configured =
            |connection: &Connection| with_service_account(pod(), connection, AuthInfo::default(), &|_| None);
        let config = configured(&given).unwrap().config;
        assert_eq!((config.root_cert.unwrap().len(), config.root_cert_file), (1, Some(file)));
        assert!(configured(&Connection { insecure_skip_tls_verify: true, ..given }).is_err());
        let missing = Connection { certificate_authority: Some("/nonexistent/ca".into()), ..Connection::default() };
        assert!(configured(&missing).err().unwrap().to_string().contains("/nonexistent/ca"));
    }
}
