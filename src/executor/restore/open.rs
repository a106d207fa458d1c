//! The releases in front of the databases: stopped first, started last, and their properties edited in between.

use std::collections::BTreeSet;
use std::time::Duration;

use kube::api::{Patch, PatchParams};
use tokio::time::{Instant, sleep};

use super::recover::Not;
use super::{Broken, Restore};
use crate::cluster::client::{Persisted, explain, persist};
use crate::cluster::properties;
use crate::plan::restore::{Edit, Workload};
use crate::platform::workload;
use crate::protocol::Abort;

/// How long one request is tried again.
const REQUEST: Duration = Duration::from_secs(30);
/// Pause between two tries.
const PAUSE: Duration = Duration::from_millis(500);

/// Where it goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Course {
    /// All of them are there, and their properties are to have the values that are asked for.
    Forward,
    /// What of them is there still, and the values from before.
    Back,
}

impl Restore<'_> {
    /// Scales them to 0 and waits until no pod of them is left.
    pub(super) async fn stop_fronts(&self, course: Course, until: Instant) -> Result<(), String> {
        let fronts = self.fronts(course, until).await?;
        if fronts.is_empty() {
            return Ok(());
        }
        let none = BTreeSet::new();
        let say = |text: &str| self.progress.step(text);
        workload::stop(&self.cluster, &fronts, &none, &none, until, say).await
    }

    /// Those that are stopped and started. One that was uninstalled since, or installed anew, keeps nobody from the old data.
    pub(super) async fn fronts(&self, course: Course, until: Instant) -> Result<Vec<Workload>, String> {
        let mut all: Vec<Workload> = self.plan.fronts().cloned().collect();
        if course == Course::Back {
            let mut left = Vec::new();
            for of in all {
                if self.is_there(&of, until).await? {
                    left.push(of);
                } else {
                    self.progress.step(&format!("{} is gone, or another one now: it is left as it is", of.path()));
                }
            }
            all = left;
        }
        Ok(all)
    }

    /// Whether it is the one of the plan. Asked until then: without an answer nothing is concluded.
    async fn is_there(&self, of: &Workload, until: Instant) -> Result<bool, String> {
        loop {
            match workload::read(&self.cluster, &of.kind, &of.namespace, &of.name).await {
                Ok(now) => return Ok(now.is_some_and(|now| now.uid == of.uid)),
                Err(why) if Instant::now() >= until => return Err(format!("{}: {why}", of.path())),
                Err(_) => sleep(PAUSE).await,
            }
        }
    }

    /// Sets their properties, scales them up and waits until all their pods are ready.
    pub(super) async fn open(&self) -> Result<(), Broken> {
        let until = self.deadline.unwrap_or_else(Instant::now);
        self.edit_all(Course::Forward, until).await.map_err(|why| (Abort::Step, why))?;
        let wanted: Vec<_> = self.plan.fronts().map(|w| (w, w.start, w.start)).collect();
        workload::start(&self.cluster, &wanted, until, |text| self.progress.step(text))
            .await
            .map_err(|why| (Abort::Budget, why))
    }

    /// Edits the properties of all of them. Tried again until then: a conflict is looked at anew.
    pub(super) async fn edit_all(&self, course: Course, until: Instant) -> Result<(), String> {
        for edit in &self.plan.edits {
            while let Err(not) = self.edit(edit, course, until).await {
                self.progress.step(&format!("editing {}: {}", edit.path(), not.text()));
                if matches!(not, Not::Ever(_)) || Instant::now() >= until {
                    return Err(not.text().to_owned());
                }
                sleep(PAUSE).await;
            }
        }
        Ok(())
    }

    async fn edit(&self, edit: &Edit, course: Course, until: Instant) -> Result<(), Not> {
        // A write of an attempt that was broken off may still arrive, and would not be seen by what is read now.
        workload::settled().await;
        let now = properties::read(&self.cluster, &edit.namespace, &edit.properties).await.map_err(Not::Yet)?;
        let now = now.filter(|now| now.uid == edit.uid);
        let text = now.as_ref().and_then(|now| now.text.as_ref());
        let made = match (course, text) {
            (Course::Forward, None) => {
                return Err(Not::Ever(format!("{} is gone, or is another one now", edit.path())));
            }
            (Course::Forward, Some(text)) => edit.set(text).map_err(Not::Ever)?,
            // Nobody reads the old values there any more.
            (Course::Back, None) => None,
            (Course::Back, Some(text)) => edit.put_back(text),
        };
        let (Some(now), Some(made)) = (now, made) else { return Ok(()) };
        // Whoever started a pod before this has given it the other values.
        self.stop_fronts(course, until).await.map_err(Not::Yet)?;
        let doing = if course == Course::Forward { "setting" } else { "setting back" };
        self.progress.step(&format!("{doing} properties of release {} in {}", edit.of(), edit.path()));
        let api = properties::api(&self.cluster, &edit.namespace, &edit.properties);
        let patch = Patch::Merge(properties::patch(&edit.properties, &now, &made));
        let name = edit.properties.name.clone();
        let params = PatchParams::default();
        let write = async move { persist(REQUEST, || api.patch(&name, &params, &patch)).await };
        match workload::to_its_end(write).await.map_err(Not::Yet)? {
            Persisted::Final(Ok(_)) => Ok(()),
            Persisted::Final(Err(e)) => Err(Not::Yet(explain(&e))),
            Persisted::Unknown(why) => Err(Not::Yet(why)),
        }
    }
}
