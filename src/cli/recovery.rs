//! What `restore-from-snapshot` is told of archived WAL, in PostgreSQL's words.

use clap::Args;

use crate::quiescer::recovery::{Target, Timeline, Wanted, command};

const ELSEWHERE: [&str; 5] = ["resume", "undo", "claims_only", "suffix", "to_namespace"];

/// A recovery that goes on from the archive.
#[derive(Clone, Debug, Args)]
pub struct FromArchive {
    /// Go on from the WAL archive of a PostgreSQL that was backed up in archive mode: the server's own restore_command,
    /// such as `cp /archive/%f %p`. It stands in the record, so it must hold no secret
    #[arg(long, value_name = "COMMAND", value_parser = command, conflicts_with_all = ELSEWHERE)]
    pub restore_command: Option<String>,
    /// Where that ends: latest, immediate (with the end of the backup), 'time=2026-11-22 01:00:00+00', lsn=0/5000060,
    /// name=RESTORE-POINT or xid=NUMBER [default: latest]
    #[arg(long, value_name = "TARGET", value_parser = Target::read, requires = "restore_command",
        conflicts_with_all = ELSEWHERE)]
    pub recovery_target: Option<Target>,
    /// Which timeline it follows: latest, current (that of the backup) or a number [default: latest]
    #[arg(long, value_name = "TIMELINE", value_parser = Timeline::read, requires = "restore_command",
        conflicts_with_all = ELSEWHERE)]
    pub recovery_target_timeline: Option<Timeline>,
}

impl FromArchive {
    /// What is asked for, if anything is.
    pub fn wanted(&self) -> Option<Wanted> {
        Some(Wanted {
            command: self.restore_command.clone()?,
            target: self.recovery_target.clone().unwrap_or(Target::Latest),
            timeline: self.recovery_target_timeline.unwrap_or(Timeline::Latest),
        })
    }
}
