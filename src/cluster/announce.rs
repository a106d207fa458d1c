//! Events on the workloads of a run: `kubectl describe statefulset/…` shows who holds a database, and that it serves
//! again. They never delay a run, and a user who may not make them takes backups all the same.

use std::sync::Mutex;
use std::time::Duration;

use k8s_openapi::api::core::v1::ObjectReference;
use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::client::Cluster;
use crate::plan::Plan;

/// How long one event is tried, and how long the last ones are waited for.
const WITHIN: Duration = Duration::from_secs(3);

/// What is said of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Said {
    /// Every database of the run is held.
    Quiesced,
    /// Every database serves again.
    Thawed,
    /// The run came to its end as a backup.
    Done,
    /// The run came to its end, and is no backup.
    Failed,
    /// Something may still be held.
    Stuck,
}

impl Said {
    fn reason(self) -> &'static str {
        match self {
            Self::Quiesced => "Quiesced",
            Self::Thawed => "Thawed",
            Self::Done => "BackupDone",
            Self::Failed => "BackupFailed",
            Self::Stuck => "BackupStuck",
        }
    }

    fn event_type(self) -> EventType {
        match self {
            Self::Quiesced | Self::Thawed | Self::Done => EventType::Normal,
            Self::Failed | Self::Stuck => EventType::Warning,
        }
    }
}

/// Says what happens to the workloads of one run.
pub struct Announcer {
    recorder: Recorder,
    objects: Vec<ObjectReference>,
    sending: Mutex<JoinSet<()>>,
}

impl Announcer {
    /// For the workloads of this plan.
    pub fn new(cluster: &Cluster, plan: &Plan) -> Self {
        let reporter = Reporter { controller: "kubectl-consistent-backup".into(), instance: Some(plan.run.clone()) };
        let objects = plan.workloads.iter().map(|workload| ObjectReference {
            api_version: Some(if workload.kind == "Pod" { "v1" } else { "apps/v1" }.into()),
            kind: Some(workload.kind.clone()),
            namespace: Some(workload.namespace.clone()),
            name: Some(workload.name.clone()),
            uid: Some(workload.uid.clone()),
            ..ObjectReference::default()
        });
        Self {
            recorder: Recorder::new(cluster.once.clone(), reporter),
            objects: objects.collect(),
            sending: Mutex::default(),
        }
    }

    /// Says it, some time soon. Whether it arrives is nobody's business: the record is what counts.
    pub fn say(&self, what: Said, note: &str) {
        let mut sending = self.sending.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        for object in &self.objects {
            let (recorder, object) = (self.recorder.clone(), object.clone());
            let event = Event {
                type_: what.event_type(),
                reason: what.reason().into(),
                note: Some(note.chars().take(1000).collect()),
                action: "Backup".into(),
                secondary: None,
            };
            sending.spawn(async move {
                let _ = timeout(WITHIN, recorder.publish(&event, &object)).await;
            });
        }
    }

    /// Waits a moment for what is still on its way.
    pub async fn done(self) {
        let mut sending = self.sending.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
        let _ = timeout(WITHIN, async { while sending.join_next().await.is_some() {} }).await;
    }
}
