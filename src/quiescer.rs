//! What one kind of database needs to be held, copied and released: one file each below `quiescer/`.
//!
//! An adapter is pure. It says what to run and how to read the answer; the executor runs it. So `--dry-run` can
//! print the real commands, tests need no mocks, and somebody who knows only MySQL can review `mysql.rs`.
//! It never names a client, a clock or the environment, and its commands never contain a secret: credentials are
//! read by the shell inside the container.

use std::fmt;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Container, Pod};
use serde::{Deserialize, Serialize};

use crate::error::Refusal;
use crate::protocol::Held;

#[cfg(test)]
mod conformance;
mod detect;
#[cfg(test)]
mod fixture;
pub mod mysql;
pub mod postgres;
pub mod recovery;
pub mod redis;
pub mod scalar;
mod shell;
pub mod verify;

/// Every adapter this build knows; adding a database is one file and one line here.
pub static QUIESCERS: &[&dyn Quiescer] = &[&postgres::Postgres, &mysql::Mysql, &redis::Redis, &scalar::Scalar];

/// The adapter with this name (`postgres`, `mysql`, `redis`), as it stands in annotations and records.
pub fn by_name(name: &str) -> Option<&'static dyn Quiescer> {
    QUIESCERS.iter().copied().find(|q| q.name() == name)
}

/// One kind of database.
pub trait Quiescer: Sync {
    /// The name in annotations, plans and records.
    fn name(&self) -> &'static str;

    /// Whether this container runs this database, judged by image, command, arguments and ports.
    fn detects(&self, pod: &Pod, container: &Container) -> bool;

    /// A one-shot command or call that asks for version, role, privileges, directories and settings. Changes nothing.
    fn probe(&self) -> Act;

    /// Reads the probe's answer, or says every reason why this database cannot be held. A read replica never is: of one
    /// only role and directories are told ([`Probe::is_replica`]).
    fn read_probe(&self, answer: &Answer) -> Result<Probe, Vec<Reason>>;

    /// The sessions and shells to open while preparing: an exec costs 0.1 s, a line in an open one 1 to 4 ms.
    /// `left` is how long they may live at most (the budget and what preparing takes): each runs under
    /// `timeout(1)` where that exists, so that a lost network cannot keep one for ever.
    fn channels(&self, probe: &Probe, token: &Token, left: Duration) -> Vec<Channel>;

    /// What is done before the hold so that the flush inside it is short (a first checkpoint, a first sync).
    fn prepare(&self, probe: &Probe, token: &Token) -> Script;

    /// Whether it may be held now, from the answers to `prepare`.
    fn read_prepare(&self, _probe: &Probe, _answers: &[Answer]) -> Result<(), Reason> {
        Ok(())
    }

    /// Holds the database. Sets its own server-side deadline (`left`) before the lock.
    fn hold(&self, probe: &Probe, token: &Token, left: Duration) -> Script;

    /// Reads the recovery point (binlog position, LSN …) and whether the hold took, from the hold's answers.
    fn read_hold(&self, probe: &Probe, answers: &[Answer]) -> Result<RecoveryPoint, Reason>;

    /// Whether these answers to the hold prove that nothing of ours is held: then nothing is released, for what is held
    /// may be somebody else's.
    fn holds_nothing(&self, _at_hold: &[Answer]) -> bool {
        false
    }

    /// What is asked again and again while it is held, where no session tells by its end that it is not any more. Safe to
    /// repeat; changes nothing.
    fn watch(&self, _probe: &Probe) -> Script {
        Vec::new()
    }

    /// Why it is certain that it is not held any more, from the answers to `watch`.
    fn read_watch(&self, _answers: &[Answer]) -> Option<String> {
        None
    }

    /// Brings every acknowledged write from caches to the device, between hold and cut.
    fn flush(&self, probe: &Probe, token: &Token) -> Script;

    /// Whether the flush reached the device.
    fn read_flush(&self, probe: &Probe, answers: &[Answer]) -> Result<(), Reason>;

    /// Checks that it is still held and releases it, in one message where possible, over the open channels.
    fn thaw(&self, probe: &Probe, token: &Token) -> Script;

    /// Whether the target was held until the thaw, and whether it is released now.
    /// `at_hold` are the hold's answers, for adapters whose proof is "still the same" (PostgreSQL's postmaster).
    fn read_thaw(&self, probe: &Probe, at_hold: &[Answer], answers: &[Answer]) -> Thawed;

    /// The same without channels, from another process: finds the owner by token, ends it, sees that it is gone.
    /// One-shot commands and calls only.
    fn release(&self, probe: &Probe, token: &Token) -> Script;

    /// Reads the answers of `release`.
    fn read_release(&self, answers: &[Answer]) -> Released;

    /// What a clean end brings to the device by itself, for a copy of what is stopped.
    fn ending(&self, probe: &Probe) -> Ending;

    /// What asks whether all of the log that a copy with this recovery point needs is archived: it prints [`ARCHIVED`] then.
    fn archived(&self, _probe: &Probe, _point: &RecoveryPoint) -> Option<Act> {
        None
    }

    /// What is left to do by hand once a copy of it, with this recovery point, is restored in its place.
    fn after_restore(&self, _probe: &Probe, _point: &RecoveryPoint) -> Option<String> {
        None
    }

    /// What has to be done to a copy with this recovery point so that its server goes on from its archived log; or every
    /// reason why it cannot.
    fn recovery(
        &self,
        _container: &Container,
        _probe: &Probe,
        _point: &RecoveryPoint,
        _wanted: &recovery::Wanted,
    ) -> Result<recovery::Recovery, Vec<Reason>> {
        Err(vec![
            Reason::new(format!("adapter {} knows no recovery from an archive", self.name()))
                .hint("restore it by itself, without --restore-command"),
        ])
    }

    /// What to ask such a copy once it serves; this also puts away what only its recovery needed.
    fn recovered_by_log(&self, _probe: &Probe) -> Option<Act> {
        None
    }

    /// Whether a copy with this recovery point did go on from its archived log, from the answer to `recovered_by_log`.
    fn read_recovered_by_log(&self, _point: &RecoveryPoint, _answer: &Answer) -> Result<recovery::Recovered, String> {
        Err(format!("adapter {} knows no recovery from an archive", self.name()))
    }

    /// The line of a server's log with which it said that it will never recover as it is asked to.
    fn recovery_failed(&self, _log: &str) -> Option<String> {
        None
    }

    /// What to ask a restored copy for, until it has recovered. One-shot command; it prints [`SERVES`] once it serves.
    fn recovered(&self, probe: &Probe) -> Act;

    /// How a copy is started beside the real one so that it harms nobody, or why none can be.
    fn alone(&self, container: &Container, probe: &Probe) -> Result<verify::Alone, Reason>;

    /// How a copy that runs on beside the real one is kept out of its archive, or why it cannot be; nothing where it has
    /// none.
    fn unarchived(&self, _container: &Container, _probe: &Probe) -> Option<Result<verify::Unarchived, Reason>> {
        None
    }

    /// What is asked of a copy that serves; each may take this long.
    fn checks(&self, probe: &Probe, time: Duration) -> Vec<verify::Check>;
}

/// The role of a server that follows another one.
pub const REPLICA: &str = "replica";
/// The same of one that should, and does not.
pub const LOST_REPLICA: &str = "lost replica";

/// What of the acknowledged writes is on the device once a database has ended cleanly.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ending {
    /// All: it syncs what it has, and then ends.
    OnDevice,
    /// All of it is written, but some may be in the node's cache until the volume is unmounted.
    Written,
    /// Not all.
    Lost(Reason),
}

/// What the answer to a call begins with: an empty message is an answer, an empty answer is none.
pub const MESSAGE: &str = "message ";

/// What the answer to `archived` is once it is.
pub const ARCHIVED: &str = "archived";

/// What the answer to `recovered` is once the database serves.
pub const SERVES: &str = "serves";

/// What the adapter learned of a database before it is touched. Part of the plan and of the record.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Probe {
    /// The engine's own version text, such as `10.11.14-MariaDB`.
    pub version: String,
    /// `primary`, `master`, `replica`; of a replica that does not follow its primary now: `lost replica`.
    pub role: String,
    /// What a primary has in common with its replicas; empty where it is not told.
    #[serde(default)]
    pub replication: String,
    /// Whether the hold stops commits (full) or not (light).
    pub stops_commits: bool,
    /// Every directory that belongs to the database, links resolved: each must lie on one claim.
    pub data_dirs: Vec<String>,
    /// Settings that decide durability and what a restored copy needs, in a stable order.
    pub settings: Vec<(String, String)>,
    /// How long the flush takes under the hold, in seconds, as far as that is known beforehand; beside what every flush
    /// takes.
    #[serde(default)]
    pub flush_seconds: u64,
    /// It keeps nothing itself, and stands in front of databases that do: nothing of it is cut.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub keeps_nothing: bool,
    /// Directories to which it archives its log, and does nothing else.
    #[serde(default)]
    pub archive_dirs: Vec<String>,
    /// Files among its data that belong to no table, left by statements that never ended.
    #[serde(default)]
    pub leftovers: Vec<String>,
    /// Remarks for the plan, one line each.
    pub notes: Vec<String>,
    /// Whether a copy of it counts for what it is only once its log is seen archived.
    #[serde(default)]
    pub archives: bool,
    /// The other holds of a database that is held lightly: only the planner asks for them, and decides.
    #[serde(skip)]
    pub full: Option<Another>,
    /// The light hold with what a recovery from the archive needs.
    #[serde(skip)]
    pub archiving: Option<Another>,
}

/// What another hold of a database would be than the one that it has unless it is asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Another {
    /// What stands in its way.
    pub refused: Vec<Reason>,
    /// Settings that its scripts need.
    pub settings: Vec<(String, String)>,
    /// Remarks for the plan, one line each.
    pub notes: Vec<String>,
}

impl Probe {
    /// Whether it only follows another server.
    pub fn is_replica(&self) -> bool {
        self.role == REPLICA || self.role == LOST_REPLICA
    }

    /// From now on a database whose hold stops commits; nothing where there is no such hold.
    pub fn hold_fully(&mut self) {
        if let Some(full) = self.full.take() {
            self.stops_commits = true;
            self.settings.extend(full.settings);
            self.notes.extend(full.notes);
        }
    }

    /// From now on a database whose log must be archived too; nothing where there is no such hold.
    pub fn hold_archiving(&mut self) {
        if let Some(archiving) = self.archiving.take() {
            self.archives = true;
            self.settings.extend(archiving.settings);
            self.notes.extend(archiving.notes);
        }
    }

    /// The value of a recorded setting, or the empty text.
    pub fn setting(&self, name: &str) -> &str {
        self.settings.iter().find(|(n, _)| n == name).map_or("", |(_, v)| v.as_str())
    }
}

/// What marks a hold as this run's: session name, lock name or client name in the database.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Token {
    /// The run's id.
    pub run: String,
    /// The attempt, from 1.
    pub attempt: u8,
}

impl fmt::Display for Token {
    /// `consistent-backup/RUN/ATTEMPT`: letters, digits, dashes and slashes only, so it needs no quoting anywhere. The id
    /// may come from a record that somebody else has written: what no id of ours has stands there as `_`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plain = |c: char| if c.is_ascii_alphanumeric() || c == '-' { c } else { '_' };
        let run: String = self.run.chars().map(plain).collect();
        write!(f, "consistent-backup/{run}/{}", self.attempt)
    }
}

/// A command with its arguments, run without a shell of ours around it.
pub type Argv = Vec<String>;

/// An interactive command with attached stdin in the target's container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Channel {
    /// How acts name it.
    pub id: u8,
    /// What runs in the container.
    pub argv: Argv,
    /// The line, with its newline, that ends it without end of file (protocol v4 has none): `\q`, `quit`, `exit`.
    pub end: &'static str,
}

/// Acts in order. The executor stops at the first one that does not answer as asked.
pub type Script = Vec<Act>;

/// One thing to do in a container.
#[derive(Clone, Debug)]
pub enum Act {
    /// Sends lines to a channel and waits for a line that equals `until`; the answer is what came before it.
    Ask {
        /// The channel.
        on: u8,
        /// Complete lines, each with its newline.
        send: String,
        /// The line that ends the answer. Differs between the acts of one channel, so that a late answer is not
        /// taken for the next one's.
        until: String,
        /// How long to wait at most.
        within: Duration,
    },
    /// Sends lines to a channel that must stay unanswered (Redis's witness). Its answer is empty and never waited for.
    Tell {
        /// The channel.
        on: u8,
        /// Complete lines, each with its newline.
        send: String,
    },
    /// Waits, on a channel to which `Tell` spoke, for a line that equals `until`.
    Expect {
        /// The channel.
        on: u8,
        /// The awaited line.
        until: String,
        /// How long to wait at most.
        within: Duration,
    },
    /// `Ask` again and again until `done` likes the answer; the last answer counts. If `done` never liked one, it ends
    /// as `Unknown` with the last answer in `out`, and the script stops there.
    Poll {
        /// The channel.
        on: u8,
        /// Complete lines, each with its newline.
        send: String,
        /// The line that ends each answer.
        until: String,
        /// Whether this answer is the awaited one.
        done: fn(&str) -> bool,
        /// Pause between two questions.
        every: Duration,
        /// How long to wait at most in all.
        within: Duration,
    },
    /// A one-shot command without stdin.
    Exec {
        /// What runs in the container.
        argv: Argv,
        /// How long to wait at most.
        within: Duration,
    },
    /// A unary gRPC call to the target's admin port.
    Call {
        /// The path, as `/rpc.Admin/Pause`.
        method: &'static str,
        /// The request, encoded.
        message: Vec<u8>,
        /// How long to wait at most. A call that is given up may still have its effect.
        within: Duration,
    },
    /// Lets time pass (MariaDB's log flush interval).
    Wait(Duration),
}

/// What came back for one act.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// Standard output: up to the awaited line for an `Ask`, whole for an `Exec`. What came before a failure too. Of a
    /// `Call` [`MESSAGE`] and the response in base64; where the server refused, its reason (`google.rpc.ErrorInfo`), if it
    /// gave one.
    pub out: String,
    /// Standard error that arrived meanwhile, capped; of a `Call` the status in words.
    pub err: String,
    /// How the act ended.
    pub end: End,
}

/// How an act ended.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum End {
    /// The awaited line came (or nothing was awaited).
    #[default]
    Answered,
    /// The command ended with this exit code. For an `Ask` this means that the session is gone. Of a `Call` the status
    /// that the server itself gave, as gRPC numbers them.
    Exited(i32),
    /// The command never ran (no permission, no such container): nothing happened.
    Refused(String),
    /// Nobody knows whether it had an effect: deadline, lost connection.
    Unknown(String),
}

impl Answer {
    /// Whether the act did what it was asked: the awaited line came, or the command ended with 0.
    pub fn ok(&self) -> bool {
        matches!(self.end, End::Answered | End::Exited(0))
    }
}

/// Why something cannot be done, before the object's name is put in front of it. Contains no secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reason {
    /// Lower case, no full stop.
    pub message: String,
    /// What the user can do.
    pub hint: Option<String>,
    /// It lies in the data or in what the server is doing now, which a restore replaces; not in image or configuration.
    pub in_data: bool,
}

impl Reason {
    /// A reason without a hint.
    pub fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), hint: None, in_data: false }
    }

    /// The same with what the user can do.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// The same as one that a restore ends.
    #[must_use]
    pub fn in_data(mut self) -> Self {
        self.in_data = true;
        self
    }

    /// The reason as a refusal that names its object.
    pub fn refuse(self, object: impl Into<String>) -> Refusal {
        Refusal { object: object.into(), message: self.message, hint: self.hint }
    }
}

/// Where a recovery can go on from: `binlogFile`/`binlogPosition`, `lsn`/`timeline` … as name and value.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecoveryPoint(pub std::collections::BTreeMap<String, String>);

/// The answer to a thaw.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Thawed {
    /// Whether it was held until now.
    pub held: Held,
    /// Whether it is known to be released now. If not, the thaw is tried again by other paths.
    pub released: bool,
    /// Why it was not held, or not released.
    pub why: Option<String>,
    /// Additions to the recovery point that only the thaw's answer gives.
    pub point: RecoveryPoint,
}

/// The answer to a release from another process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Released {
    /// Nothing of this token is held any more.
    Gone,
    /// Not known; the text says why.
    Unknown(String),
}
