//! The same cuts by plain VolumeSnapshots, watched as anybody could.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::process::{Child, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::spawn;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::kubectl;
use crate::support::leftovers::unnamed;
use crate::support::scene::Scene;
use crate::support::wait::{seconds, until_none};

/// From the first VolumeSnapshot that exists.
pub(crate) struct Plain {
    /// The last content bears handle and time.
    pub content: Duration,
    /// The last VolumeSnapshot bears its own creationTime.
    pub snapshot: Duration,
    /// The last VolumeSnapshot is ready to use.
    pub ready: Duration,
}

/// One line of a watch, and when it came.
struct Seen {
    at: Instant,
    /// Whether it is a content.
    content: bool,
    words: Vec<String>,
}

/// A kubectl that watches until this is dropped.
struct Watch(Child);

impl Watch {
    fn start(namespace: &str, kind: &str, columns: &str, content: bool, tell: Sender<Seen>) -> Self {
        let mut command = kubectl::binary();
        command.args(["-n", namespace, "get", kind, "--watch", "-o", &format!("jsonpath={columns}{{\"\\n\"}}")]);
        // At this level it logs each answered request, so that we know when it watches.
        command.arg("-v=6");
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut log = BufReader::new(child.stderr.take().unwrap()).lines();
        let watches = log.by_ref().map_while(Result::ok).any(|line| line.contains("watch=true"));
        assert!(watches, "kubectl does not watch {kind}");
        spawn(move || log.count());
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        spawn(move || {
            for line in lines.map_while(Result::ok) {
                let words = line.split('|').map(str::to_owned).collect();
                if tell.send(Seen { at: Instant::now(), content, words }).is_err() {
                    return;
                }
            }
        });
        Self(child)
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Cuts these claims by VolumeSnapshots, all created at once, and removes them.
pub(crate) fn measured(scene: &Scene, claims: &[String]) -> Plain {
    let (tell, seen) = channel();
    let space = scene.namespace();
    let snapshots = "{.metadata.name}|{.status.creationTime}|{.status.readyToUse}";
    let contents = "{.spec.volumeSnapshotRef.name}|{.status.snapshotHandle}|{.status.creationTime}\
                    |{.spec.volumeSnapshotRef.namespace}";
    let _watches = [
        Watch::start(space, "volumesnapshots", snapshots, false, tell.clone()),
        Watch::start(space, "volumesnapshotcontents", contents, true, tell),
    ];
    let objects: Vec<Value> = claims
        .iter()
        .map(|claim| {
            json!({"apiVersion": "snapshot.storage.k8s.io/v1", "kind": "VolumeSnapshot",
                "metadata": {"name": format!("plain-{claim}")},
                "spec": {"source": {"persistentVolumeClaimName": claim}}})
        })
        .collect();
    scene.kubectl.apply(&objects);
    let measured = follow(&seen, space, claims.len());
    scene.kubectl.ok(&["delete", "volumesnapshots", "--all"]);
    until_none("the snapshots to be gone", seconds(120), || unnamed(scene));
    measured
}

fn follow(seen: &Receiver<Seen>, namespace: &str, claims: usize) -> Plain {
    let (mut cut, mut timed, mut ready) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    let mut begun = None;
    let (mut content, mut snapshot) = (None, None);
    loop {
        let event = seen.recv_timeout(Duration::from_mins(3)).expect("snapshots of a healthy storage");
        let [name, first, second, rest @ ..] = event.words.as_slice() else { continue };
        if !name.starts_with("plain-") || (event.content && rest != [namespace]) {
            continue;
        }
        let begun = *begun.get_or_insert(event.at);
        let since = event.at - begun;
        if event.content {
            if !first.is_empty() && !second.is_empty() && cut.insert(name.clone()) && cut.len() == claims {
                content = Some(since);
            }
            continue;
        }
        if !first.is_empty() && timed.insert(name.clone()) && timed.len() == claims {
            snapshot = Some(since);
        }
        if second == "true" && ready.insert(name.clone()) && ready.len() == claims {
            return Plain { content: content.unwrap_or(since), snapshot: snapshot.unwrap_or(since), ready: since };
        }
    }
}
