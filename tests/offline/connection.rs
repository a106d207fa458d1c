//! The binary against a server of the test: which credentials arrive, and how often the credential plugin runs.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use serde_json::{Value, json};

use crate::support::plugin::{BINARY, Plugin};

const CERTIFICATE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/tls/server.crt");
const KEY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/tls/server.key");

/// A server that answers `/version`, forbids everything else, and keeps the requests.
struct Server {
    url: String,
    requests: Arc<Mutex<Vec<String>>>,
}

impl Server {
    fn start(tls: bool) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let scheme = if tls { "https" } else { "http" };
        let url = format!("{scheme}://{}", listener.local_addr().unwrap());
        let requests = Arc::<Mutex<Vec<String>>>::default();
        let config = tls.then(config);
        let heard = requests.clone();
        // The thread ends with the test program.
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (heard, config) = (heard.clone(), config.clone());
                std::thread::spawn(move || match config {
                    Some(config) => {
                        let connection = ServerConnection::new(config).unwrap();
                        serve(StreamOwned::new(connection, stream), &heard);
                    }
                    None => serve(stream, &heard),
                });
            }
        });
        Self { url, requests }
    }

    /// Request line and headers of each request, in lower case.
    fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap().clone()
    }
}

fn config() -> Arc<ServerConfig> {
    let certificate = CertificateDer::from_pem_file(CERTIFICATE).unwrap();
    let key = PrivateKeyDer::from_pem_file(KEY).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    Arc::new(config.with_no_client_auth().with_single_cert(vec![certificate], key).unwrap())
}

/// Answers one request and closes the connection.
fn serve(stream: impl Read + Write, heard: &Mutex<Vec<String>>) {
    let mut stream = BufReader::new(stream);
    let mut request = String::new();
    loop {
        let mut line = String::new();
        match stream.read_line(&mut line) {
            Ok(0) | Err(_) => return,
            Ok(_) if line.trim().is_empty() => break,
            Ok(_) => request.push_str(&line.to_ascii_lowercase()),
        }
    }
    let (code, body) = if request.contains(" /version ") {
        (
            "200 OK",
            json!({"major": "1", "minor": "34", "gitVersion": "v1.34.0", "gitCommit": "", "gitTreeState": "",
            "buildDate": "", "goVersion": "", "compiler": "", "platform": ""}),
        )
    } else {
        let message = "nobody may\u{1b}[2K\nerror: forged";
        (
            "403 Forbidden",
            json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": 403,
            "reason": "Forbidden", "message": message}),
        )
    };
    heard.lock().unwrap().push(request);
    let body = body.to_string();
    let head = format!("HTTP/1.1 {code}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n", body.len());
    let stream = stream.get_mut();
    let _ = stream.write_all(format!("{head}connection: close\r\n\r\n{body}").as_bytes());
    let _ = stream.flush();
}

/// A kubeconfig with this cluster and user.
fn kubeconfig(folder: &Path, cluster: &Value, user: &Value) -> PathBuf {
    let path = folder.join("config");
    let config = json!({"apiVersion": "v1", "kind": "Config", "current-context": "c",
        "clusters": [{"name": "c", "cluster": cluster}], "users": [{"name": "c", "user": user}],
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "c"}}]});
    std::fs::write(&path, config.to_string()).unwrap();
    path
}

/// A user with a credential plugin that runs this script and counts its runs in the file `runs`.
fn user_of(folder: &Path, script: &str, mode: &str) -> Value {
    let path = folder.join("plugin");
    std::fs::write(&path, format!("echo >> '{}'\n{script}\n", folder.join("runs").display())).unwrap();
    json!({"exec": {"apiVersion": "client.authentication.k8s.io/v1", "command": "/bin/sh", "args": [path, "arg-secret"],
        "env": [{"name": "PLUGIN_KEY", "value": "env-secret"}], "interactiveMode": mode}})
}

fn runs(folder: &Path) -> usize {
    std::fs::read_to_string(folder.join("runs")).unwrap_or_default().lines().count()
}

const GIVES: &str = "cat > /dev/null\necho '{\"kind\": \"ExecCredential\", \
    \"apiVersion\": \"client.authentication.k8s.io/v1\", \"status\": {\"token\": \"of-plugin\"}}'";

#[test]
fn a_credential_plugin_runs_once_and_its_token_is_sent() {
    let server = Server::start(true);
    let folder = tempfile::tempdir().unwrap();
    // The plugin's own stderr reaches the user.
    let user = user_of(folder.path(), &format!("echo log in please >&2\n{GIVES}"), "IfAvailable");
    let cluster = json!({"server": server.url, "certificate-authority": CERTIFICATE});
    let config = kubeconfig(folder.path(), &cluster, &user);
    let ended = Plugin::new().kubeconfig(&config).args(["list", "-n", "demo"]).run().exits(1).says(&["log in please"]);
    assert!(ended.took < Duration::from_secs(20), "{ended}");
    let requests = server.requests();
    assert!(requests.len() > 1, "{requests:?}");
    assert!(requests.iter().all(|r| r.contains("authorization: bearer of-plugin\r\n")), "{requests:?}");
    assert_eq!(runs(folder.path()), 1, "{ended}");
    // The server's message takes one line, escaped.
    assert!(ended.stderr.contains("\\u{1b}[2K"), "{ended}");
    assert!(
        !ended.stderr.contains('\u{1b}') && !ended.stderr.lines().any(|l| l.starts_with("error: forged")),
        "{ended}"
    );
}

#[test]
fn a_plugin_does_not_wait_for_a_scripts_stdin() {
    let server = Server::start(true);
    let folder = tempfile::tempdir().unwrap();
    let cluster = json!({"server": server.url, "certificate-authority": CERTIFICATE});
    for mode in ["Never", "IfAvailable"] {
        let config = kubeconfig(folder.path(), &cluster, &user_of(folder.path(), GIVES, mode));
        let mut child = Command::new(BINARY)
            .args(["list", "--kubeconfig"])
            .arg(config)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        // The pipe stays open, and nothing is written to it.
        let open = child.stdin.take();
        let end = Instant::now() + Duration::from_secs(20);
        let ended = loop {
            match child.try_wait().unwrap() {
                None if Instant::now() < end => std::thread::sleep(Duration::from_millis(20)),
                status => break status,
            }
        };
        let _ = child.kill();
        let _ = child.wait();
        drop(open);
        assert!(ended.is_some(), "{mode}: it waits");
    }
}

#[test]
fn a_failing_plugin_is_named_without_its_secrets() {
    let folder = tempfile::tempdir().unwrap();
    let cluster = json!({"server": "https://127.0.0.1:1", "certificate-authority": CERTIFICATE});
    let failing = user_of(folder.path(), "echo out-secret; echo \"$PLUGIN_KEY\"; exit 3", "Never");
    let config = kubeconfig(folder.path(), &cluster, &failing);
    let ended = Plugin::new().kubeconfig(&config).args(["list"]).run().exits(1);
    assert!(!ended.stderr.contains("secret"), "{ended}");
    ended.says(&["error: ", "credential plugin sh: ended with exit code 3", "hint: "]);
    assert_eq!(runs(folder.path()), 1);

    let config = kubeconfig(folder.path(), &cluster, &user_of(folder.path(), GIVES, "Always"));
    let ended = Plugin::new().kubeconfig(&config).args(["list"]).run().exits(1);
    ended.says(&["its interactiveMode is Always, and stdin is not a terminal"]);
    // Exit code 1 of thaw would promise that every database serves.
    Plugin::new().kubeconfig(&config).args(["thaw"]).run().exits(4);
}

#[test]
fn no_credentials_are_sent_without_tls() {
    let server = Server::start(false);
    let folder = tempfile::tempdir().unwrap();
    let user = user_of(folder.path(), GIVES, "Never");
    for user in [user, json!({"token": "t-secret"}), json!({"username": "u", "password": "p-secret"})] {
        let config = kubeconfig(folder.path(), &json!({"server": server.url}), &user);
        let ended = Plugin::new().kubeconfig(&config).args(["list", "-n", "demo"]).run();
        ended.says(&["warning: ", "is not encrypted: the user's credentials are not sent"]);
    }
    let requests = server.requests();
    assert!(requests.len() > 2, "{requests:?}");
    assert!(!requests.iter().any(|r| r.contains("authorization")), "{requests:?}");
    assert_eq!(runs(folder.path()), 0);
}

#[test]
fn a_given_certificate_authority_ends_skipping() {
    let server = Server::start(true);
    let folder = tempfile::tempdir().unwrap();
    let cluster = json!({"server": server.url, "insecure-skip-tls-verify": true});
    let config = kubeconfig(folder.path(), &cluster, &json!({"token": "t"}));
    let list = |more: &[&str]| Plugin::new().kubeconfig(&config).args(["list"]).args(more).run();
    list(&["--certificate-authority", CERTIFICATE]).says(&["nobody may"]);
    let served = server.requests().len();
    // Another authority: the server fails verification and receives no request.
    let other = folder.path().join("other");
    std::fs::write(&other, include_str!("../fixtures/tls/other.crt")).unwrap();
    list(&["--certificate-authority", other.to_str().unwrap()]).exits(1).says(&["certificate"]);
    assert_eq!(server.requests().len(), served);
    let both = list(&["--certificate-authority", CERTIFICATE, "--insecure-skip-tls-verify"]).exits(1);
    both.says(&["a certificate authority and insecure-skip-tls-verify exclude each other", "hint: "]);
    assert_eq!(server.requests().len(), served);
}

#[test]
fn errors_hold_no_password_of_a_proxy_or_server() {
    for scheme in ["socks5h", "socks4"] {
        let folder = tempfile::tempdir().unwrap();
        let config = kubeconfig(folder.path(), &json!({"server": "https://10.1.2.3"}), &json!({}));
        let proxy = format!("{scheme}://user:secret@127.0.0.1:1");
        let ended = Plugin::new().kubeconfig(&config).env("HTTPS_PROXY", proxy).args(["list"]).run().exits(1);
        assert!(!ended.stderr.contains("secret"), "{ended}");
        ended.says(&["the proxy's URL has an unsupported scheme", "HTTPS_PROXY"]);
    }
    let ended = Plugin::new().args(["list", "--server", "https://user:secret@127.0.0.1:1"]).run().exits(1);
    assert!(!ended.stderr.contains("secret"), "{ended}");
}

#[test]
fn control_characters_in_arguments_are_escaped() {
    let obeyed = |c: char| c != '\n' && consistent_backup::escape::is_obeyed(c);
    for args in [["list", "\u{1b}[2Kx"], ["\u{9b}2J\u{7}", "x"], ["list", "\u{202e}x"]] {
        let ended = Plugin::new().args(args).run().exits(2);
        assert!(!ended.stderr.contains(obeyed), "{ended}");
    }
    // clap drops terminal sequences, and would print this one raw.
    Plugin::new().args(["list", "\u{202e}x"]).run().exits(2).says(&["\\u{202e}x"]);
}
