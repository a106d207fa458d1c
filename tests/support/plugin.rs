//! The plugin's binary, and the JSON that it promises.

use std::ffi::OsStr;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use super::cluster;
use super::network::Lost;
use super::process::{Ended, Running};

pub const BINARY: &str = env!("CARGO_BIN_EXE_kubectl-consistent_backup");

/// Longer than any run here takes; what a run promises is asserted apart.
const PATIENCE: Duration = Duration::from_mins(5);

/// A call of the plugin.
pub struct Plugin(Command);

impl Plugin {
    /// With nothing of the caller's environment but the way to kubectl and the cluster.
    pub fn new() -> Self {
        let mut command = Command::new(BINARY);
        command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
        // Without a home there is no cache and no other kubeconfig.
        command.env("HOME", "/nonexistent");
        Self(command)
    }

    /// On the test cluster.
    pub fn on_cluster() -> Self {
        Self::new().kubeconfig(&cluster::kubeconfig())
    }

    pub fn kubeconfig(self, path: &Path) -> Self {
        self.env("KUBECONFIG", path)
    }

    pub fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.0.env(name, value);
        self
    }

    /// The start of the databases' hold as a debug build allows it: nothing is flushed between hold and cut.
    pub fn without_flush(self) -> Self {
        self.env("CONSISTENT_BACKUP_TEST_SKIP_FLUSH", "1")
    }

    /// The process kills itself right after it handed over this many events of its journal (debug builds only).
    pub fn dies_at(self, event: u32) -> Self {
        self.env("CONSISTENT_BACKUP_TEST_DIE_AT", event.to_string())
    }

    /// The process stops itself right after it handed over this event of its journal (debug builds only).
    pub fn stops_at(self, event: u32) -> Self {
        self.env("CONSISTENT_BACKUP_TEST_STOP_AT", event.to_string())
    }

    pub fn args<S: AsRef<OsStr>>(mut self, args: impl IntoIterator<Item = S>) -> Self {
        self.0.args(args);
        self
    }

    /// In a network of its own.
    pub fn inside(self, network: &Lost) -> Self {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net={}", network.file())).arg(self.0.get_program()).args(self.0.get_args());
        command.env_clear().envs(self.0.get_envs().filter_map(|(name, value)| Some((name, value?))));
        Self(command)
    }

    /// On a machine whose clock is that much ahead, such as `+3600s`.
    pub fn clock_ahead(self, by: &str) -> Self {
        let library = "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1";
        assert!(Path::new(library).is_file(), "no {library}: tests/cluster/up installs it");
        self.env("LD_PRELOAD", library).env("FAKETIME", by).env("FAKETIME_DONT_FAKE_MONOTONIC", "1")
    }

    pub fn start(mut self) -> Running {
        Running::start(&mut self.0)
    }

    pub fn run(self) -> Ended {
        self.start().end(PATIENCE)
    }
}

/// A field of a record's status that is a list.
#[track_caller]
pub fn list<'a>(record: &'a Value, pointer: &str) -> &'a [Value] {
    let found = record.pointer(pointer).and_then(Value::as_array);
    found.unwrap_or_else(|| panic!("no list {pointer} in {record:#}"))
}

/// A text out of a record, empty when it is not there.
pub fn text<'a>(record: &'a Value, pointer: &str) -> &'a str {
    record.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

/// The run's id.
#[track_caller]
pub fn run_of(record: &Value) -> String {
    let run = text(record, "/metadata/name");
    assert!(!run.is_empty(), "a record without a name: {record:#}");
    run.to_owned()
}

/// Fails unless the record is of this outcome.
#[track_caller]
pub fn outcome_is(record: &Value, outcome: &str) {
    assert_eq!(text(record, "/status/outcome"), outcome, "{record:#}");
}

/// Fails unless the exit code of a backup that was struck says what its record says, before anybody helps.
#[track_caller]
pub fn told_truly(ended: &Ended, outcome: Option<&str>, what: &str) {
    match (ended.code(), outcome) {
        // Its record could not be read in the end.
        (Some(3), Some("ApplicationConsistent")) if ended.stderr.contains("is made and ApplicationConsistent") => {}
        (Some(0), Some("ApplicationConsistent"))
        | (Some(1), Some("Failed" | "Running"))
        // Refused, or failed before there was anything to record.
        | (Some(1 | 5), None)
        | (Some(4), Some("Stuck" | "Running")) => {}
        (None, _) if ended.was_killed() => {}
        other => panic!("{what}: {other:?}: {ended}"),
    }
}
