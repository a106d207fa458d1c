//! The user's credential plugin (`exec` in the kubeconfig): one run of it, and the credential that it returns.
//!
//! kube 5.0.0 can run plugins too, and is not used for it: it runs the plugin three times for each client, declares every
//! run interactive unless the mode is `Never`, has no time limit, and prints the plugin's environment, arguments and output
//! when it fails. This room follows client-go v0.34 (plugin/pkg/client/auth/exec) and adds a time limit.

use std::fmt;
use std::io::IsTerminal;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use http::HeaderValue;
use jiff::Timestamp;
use kube::config::{ExecAuthCluster, ExecConfig, ExecInteractiveMode};
use serde::Deserialize;
use serde_json::json;
use tokio::io::AsyncReadExt;
use tokio::process::Command;
use tokio::time::timeout;

use crate::error::Error;

/// The environment variable that carries the request to a plugin.
const INFO: &str = "KUBERNETES_EXEC_INFO";
/// The API versions that client-go accepts.
const VERSIONS: [&str; 2] = ["client.authentication.k8s.io/v1", "client.authentication.k8s.io/v1beta1"];
/// How many bytes of a plugin's output are read. Tokens and certificates take a few kilobytes.
const MOST: u64 = 1 << 20;
/// How long a plugin may run when no terminal is attached.
const ALONE: Duration = Duration::from_mins(1);
/// How long a plugin may run on a terminal, where a person may have to log in, for example in a browser.
const ATTENDED: Duration = Duration::from_mins(5);

/// A credential plugin as the kubeconfig configures it.
#[derive(Clone)]
pub(crate) struct Plugin {
    version: String,
    command: String,
    args: Vec<String>,
    env: Vec<(String, String)>,
    mode: ExecInteractiveMode,
    install_hint: Option<String>,
    cluster: Option<serde_json::Value>,
}

/// The credential that a plugin returned.
#[derive(Clone)]
pub(crate) struct Credential {
    /// The value of the `Authorization` header.
    pub(crate) token: Option<HeaderValue>,
    /// A client certificate and its key.
    pub(crate) identity: Option<Identity>,
    /// When it expires, if the plugin says so.
    pub(crate) expires: Option<Timestamp>,
}

/// A client certificate and its key, both as PEM.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) certificate: String,
    pub(crate) key: String,
}

/// Why a plugin returned no credential. It holds nothing of the plugin's environment, arguments or output: those are secrets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    /// The plugin's file name without its folder: errors are stored in records, and paths name the operator's machine.
    plugin: String,
    why: Why,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Why {
    /// It requires a terminal, and stdin is not one.
    NoTerminal,
    /// The program does not exist.
    Missing,
    /// It could not be started, or its output could not be read.
    Unstarted(std::io::ErrorKind),
    /// It failed with this exit code; none if a signal ended it.
    Ended(Option<i32>),
    /// It exceeded the time limit.
    Silent(Duration),
    /// Its output is not a usable ExecCredential.
    Answer(&'static str),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "credential plugin {}: ", self.plugin)?;
        match &self.why {
            Why::NoTerminal => f.write_str("its interactiveMode is Always, and stdin is not a terminal"),
            Why::Missing => f.write_str("program not found"),
            Why::Unstarted(kind) => write!(f, "cannot be run: {kind}"),
            Why::Ended(Some(code)) => write!(f, "ended with exit code {code}"),
            Why::Ended(None) => f.write_str("was ended by a signal"),
            Why::Silent(limit) => write!(f, "did not end within {limit:?}"),
            Why::Answer(what) => f.write_str(what),
        }
    }
}

impl std::error::Error for Failure {}

impl Failure {
    /// Whether the program does not exist.
    pub(crate) fn is_missing(&self) -> bool {
        self.why == Why::Missing
    }
}

/// The fields of an ExecCredential that are read.
#[derive(Deserialize)]
struct Answer {
    kind: Option<String>,
    #[serde(rename = "apiVersion")]
    version: Option<String>,
    status: Option<Status>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Status {
    expiration_timestamp: Option<String>,
    token: Option<String>,
    client_certificate_data: Option<String>,
    client_key_data: Option<String>,
}

impl Plugin {
    /// Reads the kubeconfig's settings. `cluster` is passed on to plugins with `provideClusterInfo`.
    pub(crate) fn new(exec: ExecConfig, cluster: &ExecAuthCluster) -> Result<Self, Error> {
        let wrong = |why: String| Error::failed("cannot use the user's credential plugin").cause(why);
        let command = exec.command.filter(|c| !c.is_empty()).ok_or_else(|| wrong("it has no command".into()))?;
        let version = exec.api_version.unwrap_or_default();
        if !VERSIONS.contains(&version.as_str()) {
            return Err(
                wrong(format!("its apiVersion is \"{version}\"")).hint(format!("known are {}", VERSIONS.join(", ")))
            );
        }
        let told = exec.provide_cluster_info.then(|| serde_json::to_value(cluster)).transpose();
        let cluster = told.map_err(|e| wrong(e.to_string()))?;
        let variable =
            |of: std::collections::HashMap<String, String>| Some((of.get("name")?.clone(), of.get("value")?.clone()));
        Ok(Self {
            version,
            command,
            args: exec.args.unwrap_or_default(),
            env: exec.env.unwrap_or_default().into_iter().filter_map(variable).collect(),
            // client-go's default for v1beta1; v1 requires a mode.
            mode: exec.interactive_mode.unwrap_or(ExecInteractiveMode::IfAvailable),
            install_hint: exec.install_hint.filter(|hint| !hint.trim().is_empty()),
            cluster,
        })
    }

    /// The kubeconfig's hint how to install the program.
    pub(crate) fn install_hint(&self) -> Option<&str> {
        self.install_hint.as_deref()
    }

    /// Runs the plugin once. It inherits our stderr, because its prompts are for the user.
    pub(crate) async fn run(&self) -> Result<Credential, Failure> {
        let (stdin, stderr) = (std::io::stdin().is_terminal(), std::io::stderr().is_terminal());
        self.run_with(stdin, if stdin || stderr { ATTENDED } else { ALONE }).await
    }

    /// The same; `terminal` says whether stdin is one.
    pub(super) async fn run_with(&self, terminal: bool, limit: Duration) -> Result<Credential, Failure> {
        let interactive = is_interactive(&self.mode, terminal).map_err(|why| self.failure(why))?;
        let mut command = Command::new(&self.command);
        command
            .args(&self.args)
            .envs(self.env.iter().map(|(name, value)| (name, value)))
            .env(INFO, self.info(interactive))
            // A plugin that reads a script's pipe would swallow its content, or wait forever.
            .stdin(if interactive { Stdio::inherit() } else { Stdio::null() })
            .stdout(Stdio::piped())
            .kill_on_drop(true);
        let said = match timeout(limit, output(command)).await {
            Ok(said) => said.map_err(|why| self.failure(why))?,
            Err(_) => return Err(self.failure(Why::Silent(limit))),
        };
        self.read(&said).map_err(|what| self.failure(Why::Answer(what)))
    }

    /// The failure of a client that cannot use the plugin's certificate or key.
    pub(crate) fn unusable(&self) -> Failure {
        self.failure(Why::Answer("its client certificate or key cannot be used"))
    }

    fn failure(&self, why: Why) -> Failure {
        let name = Path::new(&self.command).file_name().map(|name| name.to_string_lossy().into_owned());
        Failure { plugin: name.unwrap_or_default(), why }
    }

    fn info(&self, interactive: bool) -> String {
        let mut spec = json!({ "interactive": interactive });
        if let Some(cluster) = &self.cluster {
            spec["cluster"] = cluster.clone();
        }
        json!({ "kind": "ExecCredential", "apiVersion": self.version, "spec": spec }).to_string()
    }

    /// Reads the plugin's output. The errors are fixed texts, because a parser's own text would quote the token.
    fn read(&self, said: &[u8]) -> Result<Credential, &'static str> {
        let answer: Answer = serde_saphyr::from_slice(said).map_err(|_| "its output is not an ExecCredential")?;
        if answer.kind.as_deref() != Some("ExecCredential") {
            return Err("its output is not an ExecCredential");
        }
        if answer.version.as_ref() != Some(&self.version) {
            return Err("its output has another apiVersion than the kubeconfig");
        }
        let status = answer.status.ok_or("its output has no status")?;
        // Go treats a missing field, null and an empty text alike.
        let given = |text: Option<String>| text.filter(|text| !text.is_empty());
        let identity = match (given(status.client_certificate_data), given(status.client_key_data)) {
            (None, None) => None,
            (Some(certificate), Some(key)) => Some(Identity { certificate, key }),
            _ => return Err("its output has a client certificate or a key, not both"),
        };
        let token = given(status.token);
        if token.is_none() && identity.is_none() {
            return Err("its output has neither a token nor a client certificate");
        }
        let token = token.map(|token| HeaderValue::from_str(&format!("Bearer {token}")));
        let mut token = token.transpose().map_err(|_| "its token has characters that no header may have")?;
        if let Some(token) = &mut token {
            token.set_sensitive(true);
        }
        let expires = status.expiration_timestamp.map(|at| at.parse::<Timestamp>()).transpose();
        let expires = expires.map_err(|_| "its expirationTimestamp is not a time")?;
        Ok(Credential { token, identity, expires })
    }
}

/// Whether a plugin may use stdin (client-go: `isInteractive`).
fn is_interactive(mode: &ExecInteractiveMode, terminal: bool) -> Result<bool, Why> {
    match mode {
        ExecInteractiveMode::Never => Ok(false),
        ExecInteractiveMode::IfAvailable => Ok(terminal),
        ExecInteractiveMode::Always if terminal => Ok(true),
        ExecInteractiveMode::Always => Err(Why::NoTerminal),
    }
}

/// Runs the command and returns its output. Dropping the future kills the process.
async fn output(mut command: Command) -> Result<Vec<u8>, Why> {
    let mut child = command.spawn().map_err(|e| match e.kind() {
        std::io::ErrorKind::NotFound => Why::Missing,
        kind => Why::Unstarted(kind),
    })?;
    let mut said = Vec::new();
    if let Some(pipe) = child.stdout.take() {
        let read = pipe.take(MOST).read_to_end(&mut said).await;
        read.map_err(|e| Why::Unstarted(e.kind()))?;
    }
    let status = child.wait().await.map_err(|e| Why::Unstarted(e.kind()))?;
    if status.success() { Ok(said) } else { Err(Why::Ended(status.code())) }
}

#[cfg(test)]
pub(super) mod tests;
