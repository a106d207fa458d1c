//! Options and credentials as the API server sees them, and what is said when it is not reached.

use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};

use consistent_backup::cluster::client::{Cluster, Connection, explain, is_forbidden};
use k8s_openapi::api::authentication::v1::SelfSubjectReview;
use k8s_openapi::api::core::v1::{Namespace, Secret};
use kube::api::{ListParams, PostParams};
use kube::{Api, Client};
use serde_json::{Value, json};

use super::cluster;
use crate::support::cluster::Turn;

async fn who(client: &Client) -> Result<(String, Vec<String>), String> {
    let api: Api<SelfSubjectReview> = Api::all(client.clone());
    let review = api.create(&PostParams::default(), &SelfSubjectReview::default()).await.map_err(|e| explain(&e))?;
    let user = review.status.and_then(|s| s.user_info).unwrap_or_default();
    Ok((user.username.unwrap_or_default(), user.groups.unwrap_or_default()))
}

#[tokio::test]
async fn options_reach_the_server() {
    let _turn = Turn::shared();
    cluster().await;
    let jane = Connection {
        as_: Some("jane".into()),
        as_groups: vec!["dev".into(), "ops".into()],
        namespace: Some("elsewhere".into()),
        ..Connection::default()
    };
    let cluster = Cluster::connect(&jane).await.unwrap();
    assert_eq!(cluster.namespace, "elsewhere");
    let (name, groups) = who(&cluster.api).await.unwrap();
    assert_eq!(name, "jane");
    assert!(groups.contains(&"dev".to_owned()) && groups.contains(&"ops".to_owned()));
    let secrets: Api<Secret> = Api::all(cluster.api.clone());
    let error = secrets.list(&ListParams::default()).await.unwrap_err();
    assert!(is_forbidden(&error));
    eprintln!("forbidden: {}", explain(&error));
}

#[tokio::test]
async fn what_goes_wrong_is_said_in_one_line() {
    let _turn = Turn::shared();
    let right = cluster().await;
    let bare = |server: &str| Connection {
        kubeconfig: Some("/dev/null".into()),
        server: Some(server.into()),
        request_timeout: Some(Duration::from_secs(3)),
        ..Connection::default()
    };
    let cases = [
        ("refused", bare("https://127.0.0.1:1"), "refused"),
        ("untrusted", bare(&right.server), "certificate"),
        (
            "unauthorized",
            Connection { insecure_skip_tls_verify: true, token: Some("x".into()), ..bare(&right.server) },
            "nauthorized",
        ),
    ];
    for (name, connection, want) in cases {
        let begin = Instant::now();
        let cluster = Cluster::connect(&connection).await.unwrap();
        let namespaces: Api<Namespace> = Api::all(cluster.once.clone());
        let text = explain(&namespaces.list(&ListParams::default()).await.unwrap_err());
        eprintln!("{name}: {text}");
        assert!(text.contains(want) && !text.contains('\n') && text.len() < 300, "{name}: {text}");
        assert!(begin.elapsed() < Duration::from_secs(15), "{name}");
    }
}

/// A kubeconfig whose user is a plugin that gives what the test cluster's own user has.
#[tokio::test]
async fn a_credential_plugin_is_run() {
    let _turn = Turn::shared();
    cluster().await;
    let text = std::fs::read_to_string(std::env::var("KUBECONFIG").unwrap()).unwrap();
    let mut config: Value = serde_saphyr::from_str(&text).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let (plugin, count) = (dir.path().join("plugin"), dir.path().join("count"));
    let user = config["users"][0]["user"].clone();
    let pem = |key: &str| {
        // The plugin's answer has PEM text, the kubeconfig base64 of it.
        let output = std::process::Command::new("sh")
            .args(["-c", "printf %s \"$1\" | base64 -d", "sh", user[key].as_str().unwrap()])
            .output()
            .unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    let credential = json!({
        "apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential",
        "status": {
            "clientCertificateData": pem("client-certificate-data"),
            "clientKeyData": pem("client-key-data"),
        },
    });
    let script = format!("#!/bin/sh\necho >> {}\ncat <<'END'\n{credential}\nEND\n", count.display());
    std::fs::write(&plugin, script).unwrap();
    std::fs::set_permissions(&plugin, std::fs::Permissions::from_mode(0o755)).unwrap();
    config["users"][0]["user"] = json!({ "exec": {
        "apiVersion": "client.authentication.k8s.io/v1", "command": "./plugin", "interactiveMode": "Never",
    }});
    let path = dir.path().join("config");
    std::fs::write(&path, config.to_string()).unwrap();

    let cluster = Cluster::connect(&Connection { kubeconfig: Some(path), ..Connection::default() }).await.unwrap();
    let (name, _) = who(&cluster.api).await.unwrap();
    assert_eq!(std::fs::read_to_string(count).unwrap().lines().count(), 1, "runs of the plugin");
    assert!(!name.is_empty() && name != "system:anonymous");
}
