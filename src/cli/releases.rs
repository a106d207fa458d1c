//! What `quiesce-snapshot` is told of releases of ScalarDB and ScalarDL, in scalar-admin's words.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};

use super::duration;
use crate::error::Error;
use crate::plan::{DRAIN, Database, Encryption, ReleaseName};

/// The ways to copy that can be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum By {
    /// CSI snapshots of the claims.
    Csi,
    /// No copy: all is held for a while.
    Window,
    /// The user's own command.
    Command,
}

/// Releases whose pods are paused.
#[derive(Clone, Debug, Args)]
pub struct Releases {
    /// A Helm release of ScalarDB or ScalarDL whose pods are all paused, as NAME or NAMESPACE/NAME; may be repeated: all
    /// share one window
    #[arg(long = "release", value_name = "NAME", value_parser = ReleaseName::new)]
    pub releases: Vec<ReleaseName>,
    /// How long a server may wait for outstanding requests before it is paused [default: 30s]
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub max_pause_wait_time: Option<Duration>,
    /// The admin ports are encrypted; else the pods' health probes tell
    #[arg(long)]
    pub tls: bool,
    /// The CA's certificate by which the admin ports are trusted, PEM; else the Secret that the pods mount
    #[arg(long, value_name = "FILE")]
    pub ca_root_cert_path: Option<PathBuf>,
    /// The Secret with the CA's certificate in the release's namespace, as NAME or NAME/KEY [default key: ca.crt]
    #[arg(long, value_name = "SECRET", conflicts_with = "ca_root_cert_path")]
    pub ca_root_cert_secret: Option<String>,
    /// A database behind the releases, for the runbook, instead of what their properties tell: KIND=ENDPOINT (dynamo,
    /// cosmos, cassandra or jdbc), then ,table=NAMESPACE.TABLE as often as needed; may be repeated
    #[arg(long = "database", value_name = "DATABASE", value_parser = Database::parse)]
    pub databases: Vec<Database>,
    /// Start a guard pod of this image, whose entrypoint is this program: it unpauses at the budget, whatever becomes of
    /// the process that paused
    #[arg(long, value_name = "IMAGE")]
    pub guard_image: Option<String>,
    /// The Secret by which the guard's image is pulled; it must be in the releases' namespaces
    #[arg(long, value_name = "SECRET", requires = "guard_image")]
    pub guard_pull_secret: Option<String>,
    /// The name that the servers' certificates are for
    #[arg(long, value_name = "NAME")]
    pub override_authority: Option<String>,
}

impl Releases {
    /// How long a server may wait for outstanding requests.
    pub fn drain(&self) -> Duration {
        self.max_pause_wait_time.unwrap_or(DRAIN)
    }

    /// How the admin ports are encrypted. Reads the CA's file.
    pub fn encryption(&self) -> Result<Encryption, Error> {
        let ca = match &self.ca_root_cert_path {
            None => None,
            Some(path) => {
                let read = std::fs::read_to_string(path);
                let text = read.map_err(|e| Error::usage(format!("{} cannot be read", path.display())).cause(e))?;
                if !text.contains("-----BEGIN CERTIFICATE-----") {
                    return Err(Error::usage(format!("{} holds no certificate", path.display()))
                        .hint("--ca-root-cert-path takes the CA's certificate as PEM"));
                }
                Some(text)
            }
        };
        let secret = self.ca_root_cert_secret.as_ref().map(|typed| match typed.split_once('/') {
            Some((name, key)) => (name.to_owned(), key.to_owned()),
            None => (typed.clone(), "ca.crt".to_owned()),
        });
        Ok(Encryption { on: self.tls, ca, secret, authority: self.override_authority.clone() })
    }
}
