//! Commands in containers, with three results that are never mixed up: it exited with a code, it never ran, or
//! nobody knows.
//!
//! kube's own exec is not used: since 5.0.0 reading from it never returns when the connection is lost, and an unread
//! standard error blocks everything. Here both streams are always drained, the connection is pinged, and every wait
//! ends.

use std::fmt;
use std::time::Duration;

use crate::cluster::client::Cluster;
use crate::plan::{Endpoint, Target};
use crate::quiescer::{Act, Answer, End};

mod call;
mod frames;
mod heard;
mod link;
mod script;
mod session;

pub use script::{Channels, run_script};
pub use session::Session;

use link::Link;

/// A container in the cluster.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Place {
    /// The namespace.
    pub namespace: String,
    /// The pod.
    pub pod: String,
    /// The container.
    pub container: String,
    /// Its admin port, if it is spoken to there.
    pub endpoint: Option<Endpoint>,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.namespace, self.pod, self.container)
    }
}

impl From<&Target> for Place {
    fn from(target: &Target) -> Self {
        Self {
            namespace: target.namespace.clone(),
            pod: target.pod.clone(),
            container: target.container.clone(),
            endpoint: target.endpoint.clone(),
        }
    }
}

/// What a command that ended without a word says. The API server reports success too when its own connection to the
/// kubelet was lost before the exit code came (kubernetes/kubectl#1726), so code 0 alone proves nothing.
const SILENT: &str = "it ended without a word: its connection may have been lost on the way";

/// Runs a command without standard input and waits for its end, at most `within`. It must print something on success:
/// what printed nothing and ended with code 0 is `Unknown`, and only the last line of the output shows that it is whole.
///
/// A command that is given up goes on running in its container: one without standard input does not notice that we
/// are gone. What must not run on needs `timeout(1)` in its own arguments.
pub async fn run(cluster: &Cluster, at: &Place, argv: &[String], within: Duration) -> Answer {
    let end = tokio::time::Instant::now() + within;
    let mut link = match Link::open(cluster, at, argv, false, within).await {
        Ok(link) => link,
        Err(end) => return unanswered(end),
    };
    let ended = tokio::time::timeout_at(end, link.ended()).await;
    let (out, err, too_long) = link.take_all();
    let end = match ended {
        Ok(End::Exited(0)) if out.is_empty() => End::Unknown(SILENT.to_owned()),
        Ok(end) if too_long => End::Unknown(format!("its output is too long ({})", told(&end))),
        Ok(end) => end,
        Err(_) => End::Unknown(format!("no answer in {within:?}")),
    };
    Answer { out, err, end }
}

/// Does an act that needs nothing open: a command, a call over a connection of its own, or waiting.
pub async fn once(cluster: &Cluster, at: &Place, act: &Act) -> Answer {
    match act {
        Act::Exec { argv, within } => run(cluster, at, argv, *within).await,
        Act::Call { method, message, within } => call::call(cluster, at, &mut None, method, message, *within).await,
        Act::Wait(time) => waited(*time).await,
        _ => unanswered(End::Refused("it needs an open session".to_owned())),
    }
}

/// A call straight to an address, without the API server: for who runs in the cluster.
pub async fn directly(ip: &str, endpoint: &Endpoint, act: &Act) -> Answer {
    match act {
        Act::Call { method, message, within } => call::directly(ip, endpoint, method, message, *within).await,
        Act::Wait(time) => waited(*time).await,
        _ => unanswered(End::Refused("only calls go to an address".to_owned())),
    }
}

async fn waited(time: Duration) -> Answer {
    tokio::time::sleep(time).await;
    Answer::default()
}

/// An answer without any output.
fn unanswered(end: End) -> Answer {
    Answer { end, ..Answer::default() }
}

/// An end in words.
fn told(end: &End) -> String {
    match end {
        End::Answered => "answered".to_owned(),
        End::Exited(code) => format!("exit code {code}"),
        End::Refused(why) | End::Unknown(why) => why.clone(),
    }
}
