//! The append-only file, as `INFO persistence` and its manifest tell of it.

use std::time::Duration;

use crate::quiescer::shell::{SESSION, mark};
use crate::quiescer::{Act, Probe, RecoveryPoint, Token};

/// Asks `INFO persistence` until `done` likes it.
pub(super) fn poll(token: &Token, what: &str, done: fn(&str) -> bool, every: Duration, within: Duration) -> Act {
    let until = mark(token, what);
    Act::Poll { on: SESSION, send: format!("INFO persistence\nECHO {until}\n"), until, done, every, within }
}

/// Whether everything written was handed to the kernel.
pub(super) fn handed_over(out: &str) -> bool {
    has(out, "aof_enabled:1 aof_last_write_status:ok aof_buffer_length:0 aof_pending_bio_fsync:0")
}

/// Whether no rewrite runs. Just after `appendonly` was switched on the file is no copy before the first one ends.
pub(super) fn not_rewriting(out: &str) -> bool {
    has(out, "aof_rewrite_in_progress:0 aof_rewrite_scheduled:0 aof_last_bgrewrite_status:ok")
}

/// Whether all these lines are in the answer.
pub(super) fn has(out: &str, all: &str) -> bool {
    all.split(' ').all(|wanted| out.lines().any(|line| line.trim_end() == wanted))
}

/// Where the manifest lies, from version 7 on.
pub(super) fn manifest(probe: &Probe) -> String {
    let (dir, sub, file) = (probe.setting("dir"), probe.setting("appenddirname"), probe.setting("appendfilename"));
    format!("{dir}/{sub}/{file}.manifest")
}

/// Adds the files that the manifest names: `file NAME seq N type b|i|h`.
pub(super) fn add_files(manifest: &str, point: &mut RecoveryPoint) {
    for line in manifest.lines() {
        let words: Vec<&str> = line.split(' ').collect();
        match words[..] {
            ["file", file, "seq", _, "type", "b"] => point.0.insert("aofBase".into(), file.into()),
            ["file", file, "seq", _, "type", "i"] => point.0.insert("aofIncrement".into(), file.into()),
            _ => None,
        };
    }
}
