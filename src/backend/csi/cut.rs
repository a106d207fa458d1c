//! Asking for the cuts of all claims at once, and seeing each proved.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use jiff::Timestamp;
use kube::api::{ListParams, PostParams, WatchEvent, WatchParams};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::{Csi, REQUEST, content_name, labels, snapshot_name};
use crate::backend::{Proof, Seen};
use crate::cluster::client::{explain, is_already_exists, is_forbidden, is_not_found};
use crate::cluster::snapshots::{VolumeSnapshot, VolumeSnapshotContent, VolumeSnapshotSource, VolumeSnapshotSpec};
use crate::labels::{CLAIM, RECORD_NAMESPACE};
use crate::quiescer::Token;

/// How often a claim's content is asked for beside the watch: a watch may be silent for ever.
const POLL: Duration = Duration::from_millis(250);

/// Contents by the uid of the VolumeSnapshot they are bound to, as the watch saw them.
type Contents = watch::Receiver<BTreeMap<String, VolumeSnapshotContent>>;

impl Csi<'_> {
    /// Cuts these claims concurrently and tells `seen` the moment something is known of one. Returns when all are
    /// proved, when one has failed, or when `until` is over; what was not told by then is not known.
    pub async fn cut(&self, token: &Token, claims: &[usize], until: Instant, mut seen: impl FnMut(Seen)) {
        let (found, contents) = watch::channel(BTreeMap::new());
        let (told, mut inbox) = tokio::sync::mpsc::unbounded_channel();
        let work = async {
            let mut all: FuturesUnordered<_> = claims
                .iter()
                .map(|&claim| {
                    let contents = contents.clone();
                    let told = told.clone();
                    async move {
                        // The receiver outlives all senders: it is in this function.
                        let result = match self.request(token, claim).await {
                            Ok(snapshot) => self.prove(claim, &snapshot, contents).await,
                            Err(why) => Err(why),
                        };
                        let _ = told.send(match result {
                            Ok(proof) => Seen::Cut { claim, proof },
                            Err(why) => Seen::Failed { claim, why },
                        });
                    }
                })
                .collect();
            while all.next().await.is_some() {}
        };
        let follow = async {
            if self.plan.contents.read {
                self.follow(&found).await;
            }
            // Polling goes on alone when the watch cannot.
            std::future::pending::<()>().await;
        };
        tokio::pin!(work);
        tokio::pin!(follow);
        loop {
            tokio::select! {
                biased;
                Some(event) = inbox.recv() => {
                    let failed = matches!(event, Seen::Failed { .. });
                    seen(event);
                    if failed {
                        return;
                    }
                }
                () = &mut work => {
                    while let Ok(event) = inbox.try_recv() {
                        seen(event);
                    }
                    return;
                }
                () = &mut follow => {}
                () = sleep_until(until) => return,
            }
        }
    }

    /// Creates the claim's VolumeSnapshot, or finds the one that an earlier, unanswered request made.
    async fn request(&self, token: &Token, claim: usize) -> Result<VolumeSnapshot, String> {
        let of = self.claim(claim);
        let api = self.snapshots(&of.namespace);
        let mut snapshot = VolumeSnapshot::new(
            &snapshot_name(token, &of.name),
            VolumeSnapshotSpec {
                source: VolumeSnapshotSource {
                    persistent_volume_claim_name: Some(of.name.clone()),
                    ..VolumeSnapshotSource::default()
                },
                volume_snapshot_class_name: Some(of.class.clone()),
            },
        );
        snapshot.metadata.labels = Some(labels(token));
        snapshot.metadata.annotations = Some(BTreeMap::from([
            (CLAIM.to_owned(), of.name.clone()),
            (RECORD_NAMESPACE.to_owned(), self.plan.namespace.clone()),
        ]));
        let name = snapshot.metadata.name.clone().unwrap_or_default();
        let mut pause = Duration::from_millis(50);
        // Ends by the caller's deadline: a passing error must not cost the backup, and nothing is known of a request
        // that was not answered until the object is seen or refused.
        loop {
            match timeout(REQUEST, api.create(&PostParams::default(), &snapshot)).await {
                Ok(Ok(made)) => return Ok(made),
                Ok(Err(e)) if is_already_exists(&e) => match timeout(REQUEST, api.get(&name)).await {
                    Ok(Ok(found)) if ours(&found, token) => return Ok(found),
                    Ok(Ok(_)) => {
                        return Err(format!("volumesnapshot/{name} exists already and is not of this attempt"));
                    }
                    _ => {}
                },
                Ok(Err(e)) if permanent(&e) => {
                    return Err(format!("volumesnapshot/{name} was refused: {}", explain(&e)));
                }
                _ => {}
            }
            sleep(pause).await;
            pause = (pause * 2).min(Duration::from_secs(1));
        }
    }

    /// Waits until the claim's cut is proved, or an error has stood on it for the patience.
    async fn prove(&self, claim: usize, snapshot: &VolumeSnapshot, mut contents: Contents) -> Result<Proof, String> {
        let mut error_since: Option<Instant> = None;
        loop {
            let uid = snapshot.metadata.uid.as_deref().unwrap_or_default();
            let watched = contents.borrow_and_update().get(uid).cloned();
            let state = match watched {
                Some(content) => judge(snapshot, &content),
                None => State::Waiting,
            };
            let state = match state {
                State::Cut(_) => state,
                _ => self.ask(claim, snapshot).await.unwrap_or(state),
            };
            match state {
                State::Cut(proof) => return Ok(proof),
                State::Waiting => error_since = None,
                State::Error(why) => {
                    let since = *error_since.get_or_insert_with(Instant::now);
                    if since.elapsed() >= self.plan.cut_error_patience {
                        return Err(why);
                    }
                }
            }
            // A closed channel (the watch ended) must not make this a busy loop.
            tokio::select! {
                Ok(()) = contents.changed() => {}
                () = sleep(POLL) => {}
            }
        }
    }

    /// Asks the API server for the content, and for the snapshot where there is none yet or contents may not be read.
    /// `None` = no answer this time.
    async fn ask(&self, claim: usize, snapshot: &VolumeSnapshot) -> Option<State> {
        let uid = snapshot.metadata.uid.as_deref().unwrap_or_default();
        if self.plan.contents.read {
            match timeout(REQUEST, self.contents().get(&content_name(uid))).await.ok()? {
                Ok(content) => return Some(judge(snapshot, &content)),
                Err(e) if is_not_found(&e) => {}
                Err(_) => return None,
            }
        }
        let name = snapshot.metadata.name.as_deref().unwrap_or_default();
        let api = self.snapshots(&self.claim(claim).namespace);
        match timeout(REQUEST, api.get(name)).await.ok()? {
            Ok(now) => Some(judge_snapshot(snapshot, &now, self.plan.contents.read)),
            Err(e) if is_not_found(&e) => Some(State::Error(format!("volumesnapshot/{name} was deleted"))),
            Err(_) => None,
        }
    }

    /// Feeds the contents that appear or change from now on to `found`, until the watch ends.
    async fn follow(&self, found: &watch::Sender<BTreeMap<String, VolumeSnapshotContent>>) {
        let api = kube::Api::<VolumeSnapshotContent>::all(self.cluster.stream.clone());
        let Ok(Ok(now)) = timeout(REQUEST, api.list_metadata(&ListParams::default().limit(1))).await else {
            return;
        };
        let from = now.metadata.resource_version.unwrap_or_default();
        let Ok(Ok(stream)) = timeout(REQUEST, api.watch(&WatchParams::default(), &from)).await else {
            return;
        };
        tokio::pin!(stream);
        while let Some(Ok(event)) = stream.next().await {
            if let WatchEvent::Added(content) | WatchEvent::Modified(content) = event {
                let uid = content.spec.volume_snapshot_ref.uid.clone().unwrap_or_default();
                found.send_modify(|all| {
                    all.insert(uid, content);
                });
            }
        }
    }
}

/// What is known of a cut.
#[derive(Debug, PartialEq)]
enum State {
    Waiting,
    Error(String),
    Cut(Proof),
}

/// Whether an object of our name is really this attempt's: an earlier one in deletion has a cut from an old window.
fn ours(found: &VolumeSnapshot, token: &Token) -> bool {
    let have = found.metadata.labels.clone().unwrap_or_default();
    found.metadata.deletion_timestamp.is_none() && labels(token).iter().all(|(k, v)| have.get(k) == Some(v))
}

/// Whether asking again cannot help.
fn permanent(e: &kube::Error) -> bool {
    is_forbidden(e) || is_not_found(e) || matches!(e, kube::Error::Api(s) if matches!(s.code, 400 | 422))
}

/// A cut is proved when the content that is bound to *our* snapshot's uid has handle and time, and no error.
fn judge(snapshot: &VolumeSnapshot, content: &VolumeSnapshotContent) -> State {
    let bound = &content.spec.volume_snapshot_ref.uid;
    if bound.is_none() || *bound != snapshot.metadata.uid {
        return State::Waiting;
    }
    let Some(status) = &content.status else { return State::Waiting };
    if let Some(error) = &status.error {
        return State::Error(error.message.clone().unwrap_or_else(|| "the driver gave no reason".into()));
    }
    match (&status.snapshot_handle, status.creation_time) {
        (Some(handle), Some(nanos)) => State::Cut(Proof {
            snapshot: snapshot.metadata.name.clone().unwrap_or_default(),
            uid: snapshot.metadata.uid.clone().unwrap_or_default(),
            content: content.metadata.name.clone().unwrap_or_default(),
            handle: handle.clone(),
            cut_at: Timestamp::from_nanosecond(i128::from(nanos)).ok(),
            restore_size: status.restore_size,
        }),
        _ => State::Waiting,
    }
}

/// The same by the VolumeSnapshot alone. Where contents may be read it tells errors only: its time comes late.
fn judge_snapshot(ours: &VolumeSnapshot, now: &VolumeSnapshot, errors_only: bool) -> State {
    if now.metadata.uid != ours.metadata.uid {
        return State::Error("the volumesnapshot was replaced by another one of the same name".into());
    }
    let Some(status) = &now.status else { return State::Waiting };
    if let Some(error) = &status.error {
        return State::Error(error.message.clone().unwrap_or_else(|| "the driver gave no reason".into()));
    }
    match (&status.bound_volume_snapshot_content_name, &status.creation_time) {
        (Some(content), Some(time)) if !errors_only => State::Cut(Proof {
            snapshot: now.metadata.name.clone().unwrap_or_default(),
            uid: now.metadata.uid.clone().unwrap_or_default(),
            content: content.clone(),
            handle: String::new(),
            cut_at: Some(time.0),
            restore_size: None,
        }),
        _ => State::Waiting,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn snapshot() -> VolumeSnapshot {
        serde_json::from_value(json!({
            "apiVersion": "snapshot.storage.k8s.io/v1", "kind": "VolumeSnapshot",
            "metadata": {"name": "s", "namespace": "demo", "uid": "u1",
                "labels": {"app.kubernetes.io/managed-by": "consistent-backup",
                    "consistent-backup/run": "r", "consistent-backup/attempt": "2"}},
            "spec": {"source": {"persistentVolumeClaimName": "data"}}
        }))
        .unwrap()
    }

    fn content(uid: &str, status: &serde_json::Value) -> VolumeSnapshotContent {
        serde_json::from_value(json!({
            "apiVersion": "snapshot.storage.k8s.io/v1", "kind": "VolumeSnapshotContent",
            "metadata": {"name": "snapcontent-u1"},
            "spec": {"deletionPolicy": "Delete", "driver": "d", "source": {"volumeHandle": "v"},
                "volumeSnapshotRef": {"name": "s", "namespace": "demo", "uid": uid}},
            "status": status
        }))
        .unwrap()
    }

    #[test]
    fn only_handle_and_time_on_the_content_of_our_uid_prove_a_cut() {
        let done = json!({"snapshotHandle": "h", "creationTime": 1_700_000_000_000_000_000_i64, "readyToUse": false});
        assert!(matches!(judge(&snapshot(), &content("u1", &done)), State::Cut(p) if p.handle == "h"));
        assert_eq!(judge(&snapshot(), &content("u0", &done)), State::Waiting, "another object's cut");
        for unproved in
            [json!({}), json!({"readyToUse": true}), json!({"snapshotHandle": "h"}), json!({"creationTime": 1})]
        {
            assert_eq!(judge(&snapshot(), &content("u1", &unproved)), State::Waiting);
        }
        let failed = json!({"snapshotHandle": "h", "creationTime": 1, "error": {"message": "no room"}});
        assert_eq!(judge(&snapshot(), &content("u1", &failed)), State::Error("no room".into()));
    }

    #[test]
    fn an_object_of_our_name_is_ours_only_with_run_and_attempt_and_alive() {
        let token = |attempt| Token { run: "r".into(), attempt };
        assert!(ours(&snapshot(), &token(2)));
        assert!(!ours(&snapshot(), &token(1)), "an earlier attempt's");
        let mut deleting = snapshot();
        deleting.metadata.deletion_timestamp =
            Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(Timestamp::UNIX_EPOCH));
        assert!(!ours(&deleting, &token(2)));
    }

    #[test]
    fn the_snapshots_own_time_counts_only_where_contents_may_not_be_read() {
        let mut now = snapshot();
        now.status = serde_json::from_value(json!({
            "boundVolumeSnapshotContentName": "snapcontent-u1", "creationTime": "2026-11-20T00:00:00Z"
        }))
        .unwrap();
        assert_eq!(judge_snapshot(&snapshot(), &now, true), State::Waiting);
        assert!(matches!(judge_snapshot(&snapshot(), &now, false), State::Cut(_)));
        now.metadata.uid = Some("u2".into());
        assert!(matches!(judge_snapshot(&snapshot(), &now, false), State::Error(_)));
    }
}
