//! kubectl's standard options, which kubectl does not read for its plugins.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use crate::cluster::client::Connection;

/// The options every kubectl command has, with kubectl's own words.
#[derive(Args, Clone, Default)]
#[command(next_help_heading = "Connection")]
pub struct ConnectionFlags {
    /// Path to the kubeconfig file to use for CLI requests.
    #[arg(long, global = true, value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,
    /// The name of the kubeconfig context to use
    #[arg(long, global = true, value_name = "NAME")]
    pub context: Option<String>,
    /// The name of the kubeconfig cluster to use
    #[arg(long, global = true, value_name = "NAME")]
    pub cluster: Option<String>,
    /// The name of the kubeconfig user to use
    #[arg(long, global = true, value_name = "NAME")]
    pub user: Option<String>,
    /// If present, the namespace scope for this CLI request
    #[arg(short, long, global = true, value_name = "NAMESPACE")]
    pub namespace: Option<String>,
    /// The address and port of the Kubernetes API server
    #[arg(short, long, global = true, value_name = "URL")]
    pub server: Option<String>,
    /// Server name to use for server certificate validation. If it is not provided, the hostname used to contact the
    /// server is used
    #[arg(long, global = true, value_name = "NAME")]
    pub tls_server_name: Option<String>,
    /// If true, the server's certificate will not be checked for validity. This will make your HTTPS connections
    /// insecure
    #[arg(long, global = true, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL", hide_possible_values = true)]
    pub insecure_skip_tls_verify: Option<bool>,
    /// Path to a cert file for the certificate authority
    #[arg(long, global = true, value_name = "FILE")]
    pub certificate_authority: Option<PathBuf>,
    /// Path to a client certificate file for TLS
    #[arg(long, global = true, value_name = "FILE")]
    pub client_certificate: Option<PathBuf>,
    /// Path to a client key file for TLS
    #[arg(long, global = true, value_name = "FILE")]
    pub client_key: Option<PathBuf>,
    /// Bearer token for authentication to the API server
    #[arg(long, global = true, value_name = "TOKEN")]
    pub token: Option<String>,
    /// Username to impersonate for the operation. User could be a regular user or a service account in a namespace.
    #[arg(long = "as", global = true, value_name = "USER")]
    pub as_: Option<String>,
    /// UID to impersonate for the operation.
    #[arg(long, global = true, value_name = "UID")]
    pub as_uid: Option<String>,
    /// Group to impersonate for the operation, this flag can be repeated to specify multiple groups.
    #[arg(long = "as-group", global = true, value_name = "GROUP")]
    pub as_groups: Vec<String>,
    /// User extras to impersonate for the operation, this flag can be repeated to specify multiple values for the same
    /// key.
    #[arg(long, global = true, value_name = "KEY=VALUE", value_parser = key_value)]
    pub as_user_extra: Vec<(String, String)>,
    /// The length of time to wait before giving up on a single server request. Non-zero values should contain a
    /// corresponding time unit (e.g. 1s, 2m, 3h). A value of zero means the plugin's own limit of 30s.
    #[arg(long, global = true, value_name = "DURATION", default_value = "0", value_parser = request_timeout)]
    pub request_timeout: Duration,
    /// Default cache directory (accepted as kubectl's; nothing is cached)
    #[arg(long, global = true, value_name = "DIR")]
    pub cache_dir: Option<PathBuf>,
    /// If true, opt-out of response compression for all requests to the server
    #[arg(long, global = true, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL", hide_possible_values = true)]
    pub disable_compression: Option<bool>,
}

impl From<ConnectionFlags> for Connection {
    fn from(flags: ConnectionFlags) -> Self {
        Self {
            kubeconfig: flags.kubeconfig,
            context: flags.context,
            cluster: flags.cluster,
            user: flags.user,
            namespace: flags.namespace,
            server: flags.server,
            tls_server_name: flags.tls_server_name,
            insecure_skip_tls_verify: flags.insecure_skip_tls_verify.unwrap_or(false),
            certificate_authority: flags.certificate_authority,
            client_certificate: flags.client_certificate,
            client_key: flags.client_key,
            token: flags.token,
            as_: flags.as_,
            as_uid: flags.as_uid,
            as_groups: flags.as_groups,
            as_user_extra: flags.as_user_extra,
            request_timeout: Some(flags.request_timeout).filter(|t| !t.is_zero()),
            cache_dir: flags.cache_dir,
            disable_compression: flags.disable_compression.unwrap_or(false),
        }
    }
}

fn key_value(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("expected KEY=VALUE".to_owned()),
    }
}

/// kubectl's durations: a bare number is seconds, else Go's units, several of them one after another.
fn request_timeout(text: &str) -> Result<Duration, String> {
    if let Ok(seconds) = text.parse::<u64>() {
        return Ok(Duration::from_secs(seconds));
    }
    let wrong = || "expected a number of seconds, or a duration such as 1s, 2m or 1h30m".to_owned();
    // jiff reads more than Go writes (spaces, words, ISO 8601, a sign); kubectl's users get kubectl's language.
    if text.contains(|c: char| !(c.is_ascii_digit() || "hmsuµn.".contains(c))) {
        return Err(wrong());
    }
    let duration: jiff::SignedDuration = text.parse().map_err(|_| wrong())?;
    Duration::try_from(duration).map_err(|_| wrong())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        connection: ConnectionFlags,
        #[command(subcommand)]
        command: Command,
    }

    #[derive(clap::Subcommand)]
    enum Command {
        Thaw,
    }

    fn parsed(args: &[&str]) -> Result<Connection, clap::Error> {
        let cli = Cli::try_parse_from([&["x"], args].concat())?;
        let Command::Thaw = cli.command;
        Ok(cli.connection.into())
    }

    #[test]
    fn durations_are_kubectls() {
        for (text, seconds) in [
            ("0", 0.0),
            ("5", 5.0),
            ("1s", 1.0),
            ("2m", 120.0),
            ("3h", 10800.0),
            ("1h30m", 5400.0),
            ("1.5s", 1.5),
            ("500ms", 0.5),
        ] {
            assert_eq!(request_timeout(text), Ok(Duration::from_secs_f64(seconds)), "{text}");
        }
        for text in ["", "x", "-1s", "1 s", "PT5S", "2d", "1.5"] {
            assert!(request_timeout(text).is_err(), "{text}");
        }
    }

    #[test]
    fn flags_may_stand_before_and_after_the_command() {
        for args in [&["-n", "shop", "thaw", "--context=c"], &["--context", "c", "thaw", "--namespace=shop"]] {
            let connection = parsed(args).unwrap();
            assert_eq!(connection.namespace.as_deref(), Some("shop"));
            assert_eq!(connection.context.as_deref(), Some("c"));
            assert_eq!(connection.request_timeout, None);
        }
    }

    #[test]
    fn every_flag_of_kubectl_is_known() {
        let connection = parsed(&[
            "thaw",
            "--kubeconfig=k",
            "--context=c",
            "--cluster=l",
            "--user=u",
            "-n=n",
            "-s=https://s",
            "--tls-server-name=t",
            "--insecure-skip-tls-verify",
            "--certificate-authority=ca",
            "--client-certificate=cc",
            "--client-key=ck",
            "--token=secret",
            "--as=a",
            "--as-uid=i",
            "--as-group=g",
            "--as-group=h",
            "--as-user-extra=k=v=w",
            "--request-timeout=7",
            "--cache-dir=d",
            "--disable-compression=false",
        ])
        .unwrap();
        assert!(connection.insecure_skip_tls_verify && !connection.disable_compression);
        assert_eq!(connection.as_groups, ["g", "h"]);
        assert_eq!(connection.as_user_extra, [("k".to_owned(), "v=w".to_owned())]);
        assert_eq!(connection.request_timeout, Some(Duration::from_secs(7)));
        assert!(!format!("{connection:?}").contains("secret"));
        assert!(parsed(&["thaw", "--as-user-extra=x"]).is_err());
    }
}
