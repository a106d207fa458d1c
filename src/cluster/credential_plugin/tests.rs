#![allow(clippy::unwrap_used)]

use serde_json::Value;

use super::*;

/// More time than any script here needs.
const SOON: Duration = Duration::from_secs(20);

/// A plugin that runs this shell script; `$1` is the folder.
pub(in super::super) fn scripted(folder: &Path, script: &str, more: &Value) -> Plugin {
    let args = json!(["-c", script, "plugin", folder, "arg-secret"]);
    let mut exec = json!({"apiVersion": VERSIONS[0], "command": "/bin/sh", "args": args,
        "env": [{"name": "PLUGIN_SECRET", "value": "env-secret"}], "interactiveMode": "IfAvailable"});
    for (key, value) in more.as_object().into_iter().flatten() {
        exec[key] = value.clone();
    }
    let cluster = ExecAuthCluster { server: Some("https://s".into()), ..ExecAuthCluster::default() };
    Plugin::new(serde_json::from_value(exec).unwrap(), &cluster).unwrap()
}

/// A script that prints an ExecCredential with this status.
pub(in super::super) fn prints(status: &Value) -> String {
    let answer = json!({"kind": "ExecCredential", "apiVersion": VERSIONS[0], "status": status});
    format!("cat <<'END'\n{answer}\nEND")
}

async fn fails(script: &str, limit: Duration) -> String {
    let folder = tempfile::tempdir().unwrap();
    let failure = scripted(folder.path(), script, &json!({})).run_with(false, limit).await.err().unwrap();
    let text = failure.to_string();
    assert!(!format!("{failure:?} {text}").contains("secret"), "{text}");
    assert!(text.starts_with("credential plugin sh: "), "no folder: {text}");
    text
}

#[tokio::test]
async fn the_plugin_learns_whether_stdin_is_a_terminal() {
    let folder = tempfile::tempdir().unwrap();
    let script = format!("printf %s \"$KUBERNETES_EXEC_INFO\" > \"$1/info\"\n{}", prints(&json!({"token": "t"})));
    for (mode, terminal, told) in [
        ("Never", false, Some(false)),
        ("Never", true, Some(false)),
        ("IfAvailable", false, Some(false)),
        ("IfAvailable", true, Some(true)),
        ("Always", true, Some(true)),
        ("Always", false, None),
    ] {
        let plugin = scripted(folder.path(), &script, &json!({"interactiveMode": mode, "provideClusterInfo": true}));
        let ran = plugin.run_with(terminal, SOON).await;
        let Some(told) = told else {
            assert!(ran.err().unwrap().to_string().contains("stdin is not a terminal"));
            continue;
        };
        assert!(ran.is_ok(), "{mode} {terminal}");
        let info: Value = serde_json::from_str(&std::fs::read_to_string(folder.path().join("info")).unwrap()).unwrap();
        let wanted = json!({"kind": "ExecCredential", "apiVersion": VERSIONS[0],
            "spec": {"interactive": told, "cluster": {"server": "https://s"}}});
        assert_eq!(info, wanted, "{mode} {terminal}");
    }
}

#[tokio::test]
async fn a_plugin_that_reads_stdin_does_not_hang_without_a_terminal() {
    let folder = tempfile::tempdir().unwrap();
    let script = format!("cat > /dev/null\n{}", prints(&json!({"token": "t"})));
    for mode in ["Never", "IfAvailable"] {
        let plugin = scripted(folder.path(), &script, &json!({"interactiveMode": mode}));
        assert!(plugin.run_with(false, SOON).await.is_ok(), "{mode}");
    }
}

#[tokio::test]
async fn a_failure_reveals_no_environment_argument_or_output() {
    let limit = Duration::from_millis(300);
    assert!(fails("echo out-secret; echo \"$PLUGIN_SECRET\"; exit 3", SOON).await.ends_with("exit code 3"));
    assert!(fails("kill -KILL $$", SOON).await.ends_with("by a signal"));
    assert!(fails("exec sleep 600", limit).await.ends_with("did not end within 300ms"));
    for (script, what) in [
        ("echo 'token: [out-secret'", "not an ExecCredential"),
        ("echo out-secret", "not an ExecCredential"),
        ("echo '{\"kind\": \"ExecCredential\", \"apiVersion\": \"secret\"}'", "another apiVersion"),
        ("echo '{\"kind\": \"ExecCredential\", \"apiVersion\": \"client.authentication.k8s.io/v1\"}'", "no status"),
    ] {
        assert!(fails(script, SOON).await.contains(what), "{script}");
    }
    for (status, what) in [
        (json!({}), "neither a token nor"),
        (json!({"token": null, "clientKeyData": ""}), "neither a token nor"),
        (json!({"clientKeyData": "key-secret"}), "not both"),
        (json!({"token": "a\nsecret"}), "no header may have"),
        (json!({"token": "secret", "expirationTimestamp": "secret"}), "not a time"),
    ] {
        assert!(fails(&prints(&status), SOON).await.contains(what), "{status}");
    }
}

#[tokio::test]
async fn a_missing_plugin_is_named_and_has_its_install_hint() {
    let exec =
        json!({"apiVersion": VERSIONS[1], "command": "/nonexistent/kubelogin", "installHint": "brew install it"});
    let plugin = Plugin::new(serde_json::from_value(exec).unwrap(), &ExecAuthCluster::default()).unwrap();
    let failure = plugin.run_with(false, SOON).await.err().unwrap();
    assert_eq!(failure.to_string(), "credential plugin kubelogin: program not found");
    assert!(failure.is_missing());
    assert_eq!(plugin.install_hint(), Some("brew install it"));
}

#[tokio::test]
async fn token_certificate_and_expiry_are_read() {
    let folder = tempfile::tempdir().unwrap();
    let status = json!({"token": "t1", "clientCertificateData": "c", "clientKeyData": "k",
        "expirationTimestamp": "2030-01-01T00:00:00Z"});
    let given = scripted(folder.path(), &prints(&status), &json!({})).run_with(false, SOON).await;
    let given = given.map_err(|e| e.to_string()).unwrap();
    let token = given.token.unwrap();
    assert_eq!(token.to_str().unwrap(), "Bearer t1");
    assert!(token.is_sensitive(), "else a trace would show it");
    assert!(given.identity.is_some_and(|i| (i.certificate.as_str(), i.key.as_str()) == ("c", "k")));
    assert_eq!(given.expires, "2030-01-01T00:00:00Z".parse().ok());

    // client-go accepts YAML too.
    let yaml = format!("cat <<'END'\nkind: ExecCredential\napiVersion: {}\nstatus:\n  token: t2\nEND", VERSIONS[0]);
    let given =
        scripted(folder.path(), &yaml, &json!({})).run_with(false, SOON).await.map_err(|e| e.to_string()).unwrap();
    assert_eq!(given.token.unwrap().to_str().unwrap(), "Bearer t2");
    assert_eq!(given.expires, None);
}

#[test]
fn an_unknown_api_version_is_refused() {
    for version in [None, Some("client.authentication.k8s.io/v1alpha1")] {
        let exec = json!({"apiVersion": version, "command": "x"});
        let error = Plugin::new(serde_json::from_value(exec).unwrap(), &ExecAuthCluster::default()).err().unwrap();
        assert!(error.to_string().contains("apiVersion"), "{error}");
    }
}
