//! The options' changes to the chosen cluster and user (client-go v0.34: `getCluster`, `getAuthInfo`).

use kube::config::{AuthInfo, Cluster};

use super::super::client::Connection;

/// Applies the options to the cluster.
pub(super) fn override_cluster(connection: &Connection, cluster: &mut Cluster) {
    if let Some(server) = &connection.server {
        cluster.server = Some(server.clone());
        // The kubeconfig's name belongs to the kubeconfig's server.
        cluster.tls_server_name = None;
    }
    if let Some(name) = &connection.tls_server_name {
        cluster.tls_server_name = Some(name.clone());
    }
    // Either option replaces the kubeconfig's verification. With a CA given, a kubeconfig that skips verification must not
    // send the user's token to an impostor.
    if connection.insecure_skip_tls_verify || connection.certificate_authority.is_some() {
        let file = connection.certificate_authority.as_ref();
        cluster.insecure_skip_tls_verify = connection.insecure_skip_tls_verify.then_some(true);
        cluster.certificate_authority = file.map(|file| file.display().to_string());
        cluster.certificate_authority_data = None;
    }
    if connection.disable_compression {
        cluster.disable_compression = Some(true);
    }
}

/// Applies the options to the user.
pub(super) fn override_user(connection: &Connection, user: &mut AuthInfo) {
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
