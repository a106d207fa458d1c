//! One Lease of ours: renewed by a task of its own, given back in the end.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::api::{DeleteParams, Patch, PatchParams, Preconditions};
use kube::{Api, ResourceExt};
use serde_json::json;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};

use super::claim::Wanted;
use super::mark::{Mark, add, recorded, written};
use super::{DURATION, RENEWAL};
use crate::cluster::client::{Guard, explain, is_conflict, is_not_found};
use crate::labels::{RECORDS, RUN};

/// One try of a renewal: several fit into the duration.
const TRY: Duration = Duration::from_secs(2);
const AGAIN: Duration = Duration::from_millis(500);

pub(super) struct Held {
    api: Api<Lease>,
    wanted: Wanted,
    uid: Option<String>,
    known: Arc<Mutex<Known>>,
    lost: watch::Receiver<Option<String>>,
    asks: mpsc::UnboundedSender<oneshot::Sender<Result<(), String>>>,
    task: JoinHandle<()>,
}

/// What we know of it.
struct Known {
    version: String,
    /// When the last renewal that succeeded was sent: others may count from later moments only.
    renewed: Instant,
    /// The same by the wall clock, which goes on while a machine sleeps; the other does not.
    wall: SystemTime,
    /// Why the last renewal did not succeed.
    error: Option<String>,
    /// The marks on it, as they are or are to be.
    marks: Vec<Mark>,
    /// Whether the next renewal writes them.
    unwritten: bool,
}

impl Held {
    /// It is ours since `since` at the latest.
    pub(super) fn new(api: Api<Lease>, wanted: Wanted, lease: &Lease, since: Instant) -> Self {
        let known = Arc::new(Mutex::new(Known {
            version: lease.resource_version().unwrap_or_default(),
            renewed: since,
            wall: SystemTime::now().checked_sub(since.elapsed()).unwrap_or_else(SystemTime::now),
            error: None,
            marks: recorded(lease),
            unwritten: false,
        }));
        let (tell, lost) = watch::channel(None);
        let (asks, asked) = mpsc::unbounded_channel();
        let renewer = Renewer { api: api.clone(), wanted: wanted.clone(), known: known.clone(), tell };
        Self { api, wanted, uid: lease.uid(), known, lost, asks, task: tokio::spawn(renewer.run(asked)) }
    }

    /// Why it is not ours, or may not be. True at once after this process was stopped, before the task has noticed.
    pub(super) fn lost(&self) -> Option<String> {
        self.guard()()
    }

    /// The same for who asks later.
    pub(super) fn guard(&self) -> Guard {
        let (wanted, known, lost) = (self.wanted.clone(), self.known.clone(), self.lost.clone());
        Arc::new(move || {
            let told = lost.borrow().clone();
            told.or_else(|| late(&wanted, &lock(&known)))
        })
    }

    pub(super) async fn until_lost(&self) -> String {
        let mut lost = self.lost.clone();
        match lost.wait_for(Option::is_some).await {
            Ok(why) => why.clone().unwrap_or_default(),
            Err(_) => format!("lease/{} is not renewed any more", self.wanted.name),
        }
    }

    /// Renews it now.
    pub(super) async fn confirm(&self) -> Result<(), String> {
        let (reply, answer) = oneshot::channel();
        // The task has ended if the Lease was lost, and then it said why.
        let _ = self.asks.send(reply);
        match answer.await {
            Ok(answer) => answer,
            Err(_) => Err(self.lost().unwrap_or_else(|| format!("lease/{} is not renewed any more", self.wanted.name))),
        }
    }

    /// Writes the mark of this run's record and plan on it.
    pub(super) async fn mark(&self, namespace: &str, plan: &str) -> Result<(), String> {
        {
            let mut known = lock(&self.known);
            add(&mut known.marks, &self.wanted.run, namespace, plan);
            known.unwritten = true;
        }
        self.confirm().await
    }

    /// Gives it back if it is ours, and only as we know it: never the next holder's. It is deleted, unless marks of runs
    /// stay on it that nobody has finished: those of others, and where `unfinished` our own.
    pub(super) async fn release(self, end: Instant, unfinished: bool) -> Result<(), String> {
        self.task.abort();
        let (mut version, mut marks) = {
            let known = lock(&self.known);
            (known.version.clone(), known.marks.clone())
        };
        marks.retain(|mark| unfinished || mark.run != self.wanted.run);
        let mut error = "no answer".to_owned();
        while Instant::now() < end {
            match timeout(TRY, self.give_back(&version, &marks)).await {
                Ok(Ok(())) => return Ok(()),
                Ok(Err(e)) if is_not_found(&e) => return Ok(()),
                Ok(Err(e)) if is_conflict(&e) => {}
                Ok(Err(e)) => error = explain(&e),
                Err(_) => {}
            }
            // A renewal of ours that was under way has changed it, or somebody took it.
            match timeout(TRY, self.api.get_opt(&self.wanted.name)).await {
                Ok(Ok(Some(lease))) if holder(&lease) == self.wanted.holder => {
                    version = lease.resource_version().unwrap_or_default();
                }
                Ok(Ok(_)) => return Ok(()),
                Ok(Err(e)) => error = explain(&e),
                Err(_) => {}
            }
            sleep(Duration::from_millis(100)).await;
        }
        Err(format!("lease/{} in {}: {error}", self.wanted.name, self.wanted.namespace))
    }

    async fn give_back(&self, version: &str, marks: &[Mark]) -> Result<(), kube::Error> {
        let Some(last) = marks.last() else {
            let only = Preconditions { uid: self.uid.clone(), resource_version: Some(version.to_owned()) };
            let params = DeleteParams { preconditions: Some(only), ..DeleteParams::default() };
            return self.api.delete(&self.wanted.name, &params).await.map(drop);
        };
        let body = Patch::Merge(json!({
            "metadata": { "resourceVersion": version, "annotations": { RUN: last.run, RECORDS: written(marks) } },
            "spec": { "holderIdentity": null },
        }));
        self.api.patch(&self.wanted.name, &PatchParams::default(), &body).await.map(drop)
    }
}

impl Drop for Held {
    /// Without a release it expires, and the next run waits for that.
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn lock(known: &Mutex<Known>) -> MutexGuard<'_, Known> {
    known.lock().unwrap_or_else(PoisonError::into_inner)
}

fn holder(lease: &Lease) -> &str {
    lease.spec.as_ref().and_then(|s| s.holder_identity.as_deref()).unwrap_or_default()
}

fn late(wanted: &Wanted, known: &Known) -> Option<String> {
    let since = known.renewed.elapsed().max(known.wall.elapsed().unwrap_or_default());
    (since >= DURATION).then(|| {
        let error = known.error.as_deref().unwrap_or("the process was stopped");
        format!("lease/{} was not renewed for {}s: {error}", wanted.name, since.as_secs())
    })
}

struct Renewer {
    api: Api<Lease>,
    wanted: Wanted,
    known: Arc<Mutex<Known>>,
    tell: watch::Sender<Option<String>>,
}

/// What became of one renewal.
enum Renewal {
    Done,
    /// Ours, but changed since: renew again with what was read.
    Stale,
    NotYet(String),
    Lost(String),
}

impl Renewer {
    async fn run(self, mut asked: mpsc::UnboundedReceiver<oneshot::Sender<Result<(), String>>>) {
        let mut asks: Vec<oneshot::Sender<Result<(), String>>> = Vec::new();
        let mut pause = RENEWAL.saturating_sub(lock(&self.known).renewed.elapsed());
        loop {
            tokio::select! {
                () = sleep(pause) => {}
                Some(ask) = asked.recv() => asks.push(ask),
            }
            let begun = Instant::now();
            match self.renew().await {
                Renewal::Done => {
                    self.tell.send_if_modified(|told| told.take().is_some());
                    asks.drain(..).for_each(|ask| _ = ask.send(Ok(())));
                    pause = RENEWAL.saturating_sub(begun.elapsed());
                }
                Renewal::Stale => pause = Duration::from_millis(50),
                Renewal::NotYet(why) => {
                    lock(&self.known).error = Some(why);
                    pause = AGAIN.min(self.left());
                }
                Renewal::Lost(why) => {
                    asks.drain(..).for_each(|ask| _ = ask.send(Err(why.clone())));
                    self.tell.send_replace(Some(why));
                    return;
                }
            }
            let late = late(&self.wanted, &lock(&self.known));
            if late.is_some() {
                self.tell.send_replace(late);
            }
        }
    }

    /// Time until it counts as lost; then time to try again all the same.
    fn left(&self) -> Duration {
        match DURATION.saturating_sub(lock(&self.known).renewed.elapsed()) {
            Duration::ZERO => TRY,
            left => left,
        }
    }

    async fn renew(&self) -> Renewal {
        let (sent, wall) = (Instant::now(), SystemTime::now());
        let (version, marks) = {
            let known = lock(&self.known);
            (known.version.clone(), known.unwritten.then(|| written(&known.marks)))
        };
        let mut body = json!({
            "metadata": { "resourceVersion": version },
            "spec": { "holderIdentity": self.wanted.holder, "renewTime": MicroTime(Timestamp::now()) },
        });
        if let Some(marks) = &marks {
            body["metadata"]["annotations"] = json!({ RECORDS: marks });
        }
        let body = Patch::Merge(body);
        let params = PatchParams::default();
        let tried = self.api.patch(&self.wanted.name, &params, &body);
        match timeout(TRY.min(self.left()), tried).await {
            Ok(Ok(lease)) => {
                let mut known = lock(&self.known);
                known.version = lease.resource_version().unwrap_or_default();
                known.renewed = sent;
                known.wall = wall;
                known.error = None;
                // Another one may have been added meanwhile.
                if marks.is_some_and(|marks| marks == written(&known.marks)) {
                    known.unwritten = false;
                }
                Renewal::Done
            }
            Ok(Err(e)) if is_conflict(&e) || is_not_found(&e) => self.look().await,
            Ok(Err(e)) => Renewal::NotYet(explain(&e)),
            Err(_) => Renewal::NotYet("no answer".to_owned()),
        }
    }

    /// After a conflict: our own renewal whose answer was lost, somebody's label, or another holder?
    async fn look(&self) -> Renewal {
        match timeout(TRY.min(self.left()), self.api.get_opt(&self.wanted.name)).await {
            Ok(Ok(Some(lease))) if holder(&lease) == self.wanted.holder => {
                lock(&self.known).version = lease.resource_version().unwrap_or_default();
                Renewal::Stale
            }
            Ok(Ok(Some(lease))) => {
                let run = holder(&lease).split('/').next().unwrap_or_default().to_owned();
                Renewal::Lost(format!("lease/{} was taken over by run \"{run}\"", self.wanted.name))
            }
            Ok(Ok(None)) => Renewal::Lost(format!("lease/{} was deleted", self.wanted.name)),
            Ok(Err(e)) => Renewal::NotYet(explain(&e)),
            Err(_) => Renewal::NotYet("no answer".to_owned()),
        }
    }
}
