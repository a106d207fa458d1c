//! The dump, where there is no append-only file: one `BGSAVE` under the pause, which then holds everything.

use std::time::Duration;

use crate::quiescer::shell::{SESSION, mark};
use crate::quiescer::{Act, Probe, Token};

/// Whether the server keeps no append-only file: a copy has only what the last dump has.
pub(super) fn only_dump(probe: &Probe) -> bool {
    probe.setting("appendonly") == "no"
}

/// Waits until no dump is being written: one that was begun before the pause would be taken for ours.
pub(super) fn idle(token: &Token, what: &str, every: Duration, within: Duration) -> Act {
    poll(token, what, not_saving, every, within)
}

/// Writes a dump and waits for its end. Whether it was begun by us or by one of the server's own rules is all the same:
/// under the pause nothing is written, so a dump that leaves no change behind has them all.
pub(super) fn save(token: &Token, every: Duration, within: Duration) -> [Act; 2] {
    let until = mark(token, "saving");
    let send = format!("BGSAVE\nECHO {until}\n");
    [Act::Ask { on: SESSION, send, until, within: Duration::from_secs(10) }, poll(token, "saved", over, every, within)]
}

fn poll(token: &Token, what: &str, done: fn(&str) -> bool, every: Duration, within: Duration) -> Act {
    let until = mark(token, what);
    Act::Poll { on: SESSION, send: format!("INFO persistence\nECHO {until}\n"), until, done, every, within }
}

/// Whether no dump is being written.
pub(super) fn not_saving(out: &str) -> bool {
    super::aof::has(out, "rdb_bgsave_in_progress:0")
}

/// Whether the dump has everything.
pub(super) fn saved(out: &str) -> bool {
    super::aof::has(out, "rdb_bgsave_in_progress:0 rdb_changes_since_last_save:0 rdb_last_bgsave_status:ok")
}

/// Whether waiting any longer changes nothing.
fn over(out: &str) -> bool {
    saved(out) || super::aof::has(out, "rdb_bgsave_in_progress:0 rdb_last_bgsave_status:err")
}

/// How long the last dump took, in seconds; `None` if there was none since the server's start.
pub(super) fn last_took(text: &str) -> Option<u64> {
    text.parse().ok()
}
