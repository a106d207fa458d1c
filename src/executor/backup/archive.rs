//! After the release: waiting until the log that the copies need is archived. Nothing is held meanwhile.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::Backup;
use crate::exec;
use crate::executor::{Log, Stop};
use crate::protocol::backup::{Event, Run};
use crate::quiescer::{ARCHIVED, Act, RecoveryPoint};
use crate::record::entry::Detail;

/// How long it may take before the backup counts as one without its archive.
const LIMIT: Duration = Duration::from_secs(60);
/// Pause between two questions.
const PAUSE: Duration = Duration::from_secs(1);

impl Backup<'_> {
    pub(super) async fn archive(&self, log: &mut Log<Run>, targets: &[usize]) -> Result<(), Stop> {
        self.progress.step("released; waiting until the log is archived");
        // Asked at least once, also by a process that waits for nothing.
        let until = Instant::now() + self.wait.unwrap_or(LIMIT).min(LIMIT);
        for &t in targets {
            let archived = tokio::select! {
                archived = self.archived(t, point(log, t), until) => archived,
                () = self.signals.first() => return Err(Stop::Left),
            };
            match archived {
                Ok(()) => log.happened(Event::Archived(t), Detail::default()),
                Err(why) => {
                    let path = self.target(t).path();
                    let text = format!("{path}: the last WAL segment that the copy needs was not seen archived: {why}");
                    log.happened(Event::NotArchived(t), Detail::text(text));
                    return Ok(());
                }
            };
        }
        Ok(())
    }

    async fn archived(&self, t: usize, point: Option<RecoveryPoint>, until: Instant) -> Result<(), String> {
        let (quiescer, target) = (self.quiescer(t)?, self.target(t));
        let point = point.ok_or("its name is not in the journal")?;
        let asked = quiescer.archived(&target.probe, &point);
        let Some(Act::Exec { argv, within }) = asked else { return Err("its name is not in the journal".into()) };
        loop {
            let answer = exec::run(self.cluster, &self.place(t), &argv, within).await;
            let said = answer.out.trim();
            if answer.ok() && said == ARCHIVED {
                return Ok(());
            }
            if Instant::now() >= until {
                return Err(match (answer.ok(), said) {
                    (true, "") => "it waits for the archiver".into(),
                    (true, said) => said.lines().last().unwrap_or_default().to_owned(),
                    (false, _) => super::window::complaint(&answer),
                });
            }
            sleep(PAUSE).await;
        }
    }
}

/// What the target's release said of its recovery point, in the last attempt.
fn point(log: &Log<Run>, t: usize) -> Option<RecoveryPoint> {
    let last = log.entries.iter().rev().take_while(|e| !matches!(e.event, Event::Attempt(_)));
    let mut thawed = last.filter(|e| matches!(e.event, Event::Thawed { target, .. } if target == t));
    thawed.find_map(|e| e.detail.point.clone())
}
