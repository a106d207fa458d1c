//! After the release: the second pod table, removing a failed attempt's snapshots, keeping and settling a good one's.

use std::time::Duration;

use futures::future::join_all;
use tokio::time::{Instant, sleep};

use super::{Backup, failed};
use crate::backend::{Discard, Ran};
use crate::executor::{Log, Stop};
use crate::journal;
use crate::labels::{MANIFESTS, OUTCOME, RECORD, RECOVERY_POINT, WINDOW};
use crate::manifests::Manifests;
use crate::manifests::packed::pack;
use crate::plan::restore::only::uses;
use crate::pods::{differences, only_readiness, words};
use crate::protocol::Abort;
use crate::protocol::backup::{Event, Run};
use crate::record::backup::record;
use crate::record::entry::Detail;

/// How long readiness that a held target lost is waited for, at most (design 1).
const READINESS: Duration = Duration::from_secs(60);
/// All annotations of an object may have 256 KiB together; others have some there too.
const ROOM: usize = 200 << 10;

/// The annotations of one content, the manifests only where there is room for them. A content is read in the whole
/// cluster: the data of ConfigMaps does not leave the namespace of the record.
fn annotations(marks: &[(String, String)], manifests: &Manifests) -> Vec<(String, String)> {
    let used: usize = marks.iter().map(|(key, value)| key.len() + value.len()).sum();
    let manifests = Some(pack(&manifests.without_data()));
    let manifests = manifests.filter(|text| used + MANIFESTS.len() + text.len() <= ROOM);
    marks.iter().cloned().chain(manifests.map(|text| (MANIFESTS.to_owned(), text))).collect()
}

impl Backup<'_> {
    /// Takes the second pod table at once and compares.
    pub(super) async fn compare(&mut self, log: &mut Log<Run>) {
        self.state.watch = None;
        self.progress.step("released: comparing the pods");
        let begun = Instant::now();
        let mut waited = false;
        loop {
            match self.pods().await {
                Ok(after) => {
                    let differ = differences(&self.state.before, &after);
                    if only_readiness(&differ) && begun.elapsed() < READINESS && !self.signals.came() {
                        waited = true;
                        sleep(Duration::from_millis(500)).await;
                        continue;
                    }
                    log.store("pods.after", &after);
                    self.state.after.clone_from(&after);
                    let same = differ.is_empty();
                    let mut detail = match (same, waited) {
                        (false, _) => Detail::text(format!("pods changed: {}", words(&differ))),
                        (true, true) => Detail::text("readiness was lost during the hold and came back"),
                        (true, false) => Detail::default(),
                    };
                    detail.differences = (!same).then_some(differ);
                    if same && !self.check_window(log).await {
                        return;
                    }
                    log.happened(Event::Compared { same }, detail);
                    return;
                }
                Err(why) if begun.elapsed() >= READINESS => {
                    let (event, detail) = failed(why);
                    log.happened(event, detail);
                    return;
                }
                Err(_) => sleep(Duration::from_millis(500)).await,
            }
            if self.signals.came() {
                log.abort(Abort::Signal, "interrupted before the pods could be compared");
                return;
            }
        }
    }

    /// Removes what this attempt made.
    pub(super) async fn discard(&self, log: &mut Log<Run>, claims: &[usize]) {
        if self.plan.claims.is_empty() {
            // The databases are released by now, and only now it is ended.
            let command = self.end_command().await;
            for &c in claims {
                log.happened(Event::Discarded(c), Detail { command: command.clone(), ..Detail::default() });
            }
            return;
        }
        self.progress.step("removing the snapshots of the failed attempt");
        let done = self.csi().discard(Some(log.run.attempt()), self.removal).await;
        for &c in claims {
            match done.get(c) {
                Some(Discard::Gone) | None => log.happened(Event::Discarded(c), Detail::default()),
                Some(Discard::Pending(why)) => log.happened(Event::DiscardPending(c), Detail::text(why.clone())),
            };
        }
    }

    /// Ends the user's own command, if it still runs.
    pub async fn end_command(&self) -> Option<Ran> {
        let running = self.state.command.lock().await.take()?;
        Some(running.kill().await)
    }

    /// Makes the copies outlive their namespace.
    pub(super) async fn keep(&self, log: &mut Log<Run>, claims: &[usize]) {
        // Settling may take hours, and in them a guard that is left would end somebody else's pause. What is not seen gone
        // now is ended once more at the end of the run.
        let _ = self.end_guards().await;
        if self.plan.claims.is_empty() {
            for &c in claims {
                log.happened(Event::Kept(c), Detail::default());
            }
            return;
        }
        self.progress.step("keeping the copies");
        let marks = self.marks(log);
        let csi = self.csi();
        let results = join_all(claims.iter().map(|&c| {
            let proof = log.proof(c);
            let (csi, marks) = (&csi, &marks);
            async move {
                match proof {
                    _ if !self.plan.contents.change => Err("contents may not be changed".to_owned()),
                    None => Err("its proof is not in the journal".to_owned()),
                    Some(proof) => csi.keep(c, &proof, &annotations(marks, &self.manifests_of(c))).await,
                }
            }
        }))
        .await;
        for (&c, result) in claims.iter().zip(results) {
            match result {
                Ok(()) => log.happened(Event::Kept(c), Detail::default()),
                Err(why) => log.happened(Event::NotKept(c), Detail::text(why)),
            };
        }
    }

    /// What stands on the contents, so that the record can be rebuilt from them.
    fn marks(&self, log: &Log<Run>) -> Vec<(String, String)> {
        let record = record(&self.plan, &log.entries, Vec::new(), Vec::new()).ok();
        let mut marks = Vec::new();
        if let Some(outcome) = log.run.outcome() {
            marks.push((OUTCOME.to_owned(), format!("{outcome:?}")));
        }
        if let Some(record) = record {
            if let Some(window) = &record.status.window {
                marks.push((WINDOW.to_owned(), format!("{:.3}", window.middle)));
            }
            let points: serde_json::Map<String, serde_json::Value> = record
                .status
                .targets
                .iter()
                .map(|t| (format!("{}/{}/{}", t.namespace, t.pod, t.container), serde_json::json!(t.recovery_point)))
                .collect();
            marks.push((RECOVERY_POINT.to_owned(), serde_json::Value::Object(points).to_string()));
        }
        let before = [("pods.before", &self.state.before), ("pods.after", &self.state.after)];
        marks.push((RECORD.to_owned(), pack(&journal::data(&*self.plan, &log.entries, &before))));
        marks
    }

    /// The manifests of the workloads whose pods mount this claim.
    fn manifests_of(&self, claim: usize) -> Manifests {
        let claim = &self.plan.claims[claim];
        let users = self.plan.workloads.iter().filter(|of| uses(of, claim));
        let workloads = users.filter_map(|of| self.manifests.of(&of.namespace, &of.kind, &of.name)).cloned().collect();
        Manifests { workloads }
    }

    /// Waits until the copies can be restored from. Nothing is held: a signal leaves a run that can be finished.
    pub(super) async fn settle(&self, log: &mut Log<Run>, claims: &[usize]) -> Result<(), Stop> {
        use crate::backend::csi::Ready;
        if self.plan.claims.is_empty() {
            for &c in claims {
                log.happened(Event::Settled(c), Detail::default());
            }
            return Ok(());
        }
        let begun = Instant::now();
        let mut left: Vec<usize> = claims.to_vec();
        let mut pause = Duration::from_millis(200);
        let csi = self.csi();
        loop {
            let mut waiting = Vec::new();
            for c in left {
                let Some(proof) = log.proof(c) else {
                    log.happened(Event::SettleFailed(c), Detail::text("its proof is not in the journal"));
                    return Ok(());
                };
                match csi.ready(c, &proof).await {
                    Ready::Yes { restore_size } => {
                        log.happened(Event::Settled(c), Detail { restore_size, ..Detail::default() });
                    }
                    Ready::NotYet(_) => waiting.push(c),
                    Ready::Lost(why) => {
                        log.happened(Event::SettleFailed(c), Detail::text(why));
                        return Ok(());
                    }
                }
            }
            left = waiting;
            if left.is_empty() {
                return Ok(());
            }
            self.progress.step(&format!(
                "released; waiting until {} of {} copies can be restored from",
                left.len(),
                self.plan.claims.len()
            ));
            // Somebody else may have finished the run meanwhile; only a write can tell.
            if let Some(why) = self.leases.lost() {
                let _ = self.signals.unless(log.keep("woke", &why)).await;
                if log.taken_over() {
                    return Err(Stop::TakenOver);
                }
            }
            let bound = self.wait.map_or(Duration::MAX, |wait| wait.saturating_sub(begun.elapsed()));
            if bound.is_zero() {
                log.happened(Event::SettleSkipped, Detail::text("not waited for any longer"));
                return Ok(());
            }
            tokio::select! {
                () = sleep(pause.min(bound)) => {}
                () = self.signals.first() => return Err(Stop::Left),
            }
            pause = (pause * 2).min(Duration::from_secs(2));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifests::OfWorkload;
    use crate::manifests::packed::unpack;
    use serde_json::json;

    fn manifests(name: &str) -> Manifests {
        let mut of = OfWorkload { name: name.to_owned(), ..OfWorkload::default() };
        let map = json!({"kind": "ConfigMap", "metadata": {"name": "conf"}, "data": {"db.conf": "work_mem = 8MB"}});
        of.add_config_map(map, false);
        Manifests { workloads: vec![of] }
    }

    #[test]
    fn the_data_of_config_maps_stands_on_no_content() {
        let all = annotations(&[], &manifests("pg"));
        assert_eq!(all.len(), 1);
        let read: Manifests = unpack(&all[0].1).unwrap();
        assert_eq!(read, manifests("pg").without_data());
        assert!(!serde_json::to_string(&read).unwrap().contains("work_mem"));
        assert_eq!(read.workloads[0].config_map_references[0].name, "conf");
    }

    #[test]
    fn annotations_have_the_room_that_there_is() {
        let kept = |record: usize| {
            let marks = [("record".to_owned(), "r".repeat(record))];
            let all = annotations(&marks, &manifests("pg"));
            assert_eq!(all[0], marks[0]);
            all.len()
        };
        assert_eq!((kept(1000), kept(ROOM)), (2, 1));
    }
}
