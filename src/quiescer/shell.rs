//! Shell text and reading that adapters share.
//!
//! The scripts must run in dash and busybox `sh`. They read secrets inside the container and hand them to the clients
//! in the environment, so that no secret ever stands in an argument, the journal or an error.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::time::Duration;

use super::{Act, Answer, Argv, Channel, End, Probe, Reason, RecoveryPoint, Released, Thawed, Token};
use crate::protocol::Held;

/// The channel with the session that holds.
pub(super) const SESSION: u8 = 0;
/// The channel with a plain shell, for `sync`.
pub(super) const SHELL: u8 = 1;

/// How long a one-shot command may take: a container that answers later than this cannot be held briefly.
pub(super) const ONE_SHOT: Duration = Duration::from_secs(20);
/// After how long it is ended in the container: earlier, so that its own exit code comes back before we give up.
const ONE_SHOT_LIMIT: Duration = Duration::from_secs(15);
/// How long an answer over an open channel may take where nothing has to be waited for.
pub(super) const ANSWER: Duration = Duration::from_secs(10);
/// How long preparing may take: a first checkpoint or sync writes all that is dirty.
pub(super) const PREPARE: Duration = Duration::from_secs(300);
/// How long the flush may take before the budget ends it anyway.
pub(super) const FLUSH: Duration = Duration::from_secs(60);

/// `value_of` sets `value` to the first variable that has one, or to the content of the file that `NAME_FILE` names.
/// An unreadable file is passed over: the local socket may still do, and if not the refusal names the variable.
///
/// `one_line` prints its argument without control characters: a file's name may hold a newline, and what follows it
/// would be read as a fact of its own.
const FUNCTIONS: &str = r#"value_of() {
  for name; do
    eval "value=\${$name-} file=\${${name}_FILE-}"
    if [ -z "$value" ] && [ -n "$file" ]; then value=$(cat "$file" 2>/dev/null) || value=; fi
    [ -z "$value" ] || return 0
  done
  return 1
}
one_line() { printf '%s' "$1" | tr '\000-\037\177' '?'; }
"#;

/// A shell that runs `script` with `value_of`, `one_line` and `$limit`, the prefix that ends a command after `limit`.
/// The old busybox takes other arguments, so it is tried; without `timeout` the server's own deadline remains.
pub(super) fn sh(limit: Duration, script: &str) -> Argv {
    let seconds = limit.as_secs().max(1);
    let text =
        format!("limit=\nif timeout 5 true 2>/dev/null; then limit='timeout {seconds}'; fi\n{FUNCTIONS}{script}");
    vec!["sh".into(), "-c".into(), text]
}

/// One-shot: `script` in a shell with `value_of`, `one_line` and `$limit`.
pub(super) fn once(script: &str) -> Act {
    Act::Exec { argv: sh(ONE_SHOT_LIMIT, script), within: ONE_SHOT }
}

/// A shell that reads commands from its stdin.
pub(super) fn shell_channel(left: Duration) -> Channel {
    Channel { id: SHELL, argv: sh(left, "exec $limit sh"), end: "exit\n" }
}

/// The line that ends the answer called `what`; contains the token, so another attempt's is never taken for it.
pub(super) fn mark(token: &Token, what: &str) -> String {
    format!("{token}:{what}")
}

/// Sends `lines` to a channel and then `end` of the mark `until`: what makes its program print that line.
pub(super) fn ask(on: u8, lines: &str, end: fn(&str) -> String, until: String, within: Duration) -> Act {
    Act::Ask { on, send: format!("{lines}{}\n", end(&until)), until, within }
}

/// `text` as one word of a shell.
pub(super) fn quote(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

/// Asks the shell to write back the file systems of all directories; `synced` comes first if all were.
/// Never plain `sync`: it does not report an error of the device.
pub(super) fn sync(probe: &Probe, token: &Token, what: &str, within: Duration) -> Act {
    let all: Vec<String> = probe.data_dirs.iter().map(|dir| format!("sync -f {}", quote(dir))).collect();
    let until = mark(token, what);
    let send = format!("{} && echo synced; echo {until}\n", all.join(" && "));
    Act::Ask { on: SHELL, send, until, within }
}

/// Whether the answer to [`sync`] says that all was written back.
pub(super) fn read_sync(answer: Option<&Answer>) -> Result<(), Reason> {
    match answer {
        Some(answer) if answer.ok() && answer.out.trim() == "synced" => Ok(()),
        other => Err(Reason::new(format!("the data did not reach the device: {}", told(other)))),
    }
}

/// Shell text that prints `sync SEPARATOR yes|no`: whether `sync -f` is there, tried where nothing is dirty.
pub(super) fn probe_sync(separator: char) -> String {
    format!("if sync -f /proc/version 2>/dev/null; then echo 'sync{separator}yes'; else echo 'sync{separator}no'; fi\n")
}

/// The refusal where `sync -f` is missing.
pub(super) fn no_sync() -> Reason {
    Reason::new("the container has no `sync -f`, so acknowledged writes may stay in the page cache")
        .hint("use an image with coreutils 8.24 or later, or a busybox with it")
}

/// `KEY SEPARATOR VALUE` lines up to the line `end`, in order of arrival for repeated keys.
pub(super) struct Facts(BTreeMap<String, Vec<String>>);

impl Facts {
    /// Reads a probe's answer, which is complete only with its last line.
    pub(super) fn read(out: &str, separator: char) -> Option<Self> {
        let mut facts: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for line in out.lines().map(|line| line.trim_end_matches('\r')) {
            if line == "end" {
                return Some(Self(facts));
            }
            if let Some((key, value)) = line.split_once(separator) {
                facts.entry(key.to_owned()).or_default().push(value.to_owned());
            }
        }
        None
    }

    /// The first value, or the empty text.
    pub(super) fn get(&self, key: &str) -> &str {
        self.all(key).first().map_or("", String::as_str)
    }

    /// All values.
    pub(super) fn all(&self, key: &str) -> &[String] {
        self.0.get(key).map_or(&[], Vec::as_slice)
    }

    /// The values of these keys (apart by blanks) that were answered, in this order.
    pub(super) fn settings(&self, keys: &str) -> Vec<(String, String)> {
        let answered = keys.split_whitespace().filter(|key| self.0.contains_key(*key));
        answered.map(|key| (key.to_owned(), self.get(key).to_owned())).collect()
    }

    /// The directories, each once.
    pub(super) fn dirs(&self) -> Vec<String> {
        let mut dirs: Vec<String> = self.all("dir").iter().filter(|dir| dir.starts_with('/')).cloned().collect();
        dirs.sort();
        dirs.dedup();
        dirs
    }
}

/// The answer of a one-shot that succeeded as facts, or why the database cannot be asked. `looked_at` are the
/// variables that may hold the credentials.
pub(super) fn facts(answer: &Answer, separator: char, looked_at: &str) -> Result<Facts, Reason> {
    match &answer.end {
        End::Exited(0) => Facts::read(&answer.out, separator)
            .ok_or_else(|| Reason::new(format!("the answer to the probe was not understood: {}", told(Some(answer))))),
        End::Exited(127) => Err(Reason::new(format!("the container lacks a program: {}", told(Some(answer))))
            .hint("the database's own client must be in its image")),
        End::Exited(124) => Err(Reason::new("the database did not answer in time")),
        End::Exited(_) => Err(Reason::new(format!("the database cannot be asked: {}", told(Some(answer)))).hint(format!(
            "looked for credentials in {looked_at}, each also as NAME_FILE, inside the container, then tried without a password"
        ))),
        End::Refused(_) | End::Unknown(_) | End::Answered => {
            Err(Reason::new(format!("the probe could not be run: {}", told(Some(answer)))))
        }
    }
}

/// What stands in a client's error line, in the languages that clients are started with.
const ERRORS: &str = "error,fatal,denied,not found,could not,err ,noauth,noperm,wrongpass";

/// What an answer says about its failure, in one line: the client's error, else how it ended.
/// Our own commands and the server's errors hold no secrets, and nothing else is repeated.
pub(super) fn told(answer: Option<&Answer>) -> String {
    let Some(answer) = answer else {
        return "it was not asked".into();
    };
    let error = |line: &&str| {
        let line = line.to_lowercase();
        ERRORS.split(',').any(|word| line.contains(word))
    };
    let said = answer.err.lines().find(error).or_else(|| answer.out.lines().find(error));
    let ended: String = match &answer.end {
        End::Answered => "an unexpected answer".into(),
        End::Exited(code) => format!("exit code {code}"),
        End::Refused(why) | End::Unknown(why) => why.clone(),
    };
    said.map_or(ended, |line| line.trim().chars().take(200).collect())
}

/// The value behind `key` and the separator among an answer's lines.
pub(super) fn after<'a>(out: &'a str, key: &str, separator: char) -> Option<&'a str> {
    out.lines().find_map(|line| line.split_once(separator).filter(|(name, _)| *name == key).map(|(_, value)| value))
}

/// The last answer of a release: exactly `gone` is proof, everything else is not.
pub(super) fn read_release(answers: &[Answer]) -> Released {
    match answers.last() {
        Some(answer) if answer.end == End::Exited(0) && answer.out.trim() == "gone" => Released::Gone,
        Some(answer) if answer.ok() || !answer.out.trim().is_empty() => {
            Released::Unknown(answer.out.trim().lines().last().unwrap_or("no answer").chars().take(200).collect())
        }
        other => Released::Unknown(told(other)),
    }
}

/// A reason with what the user can do.
pub(super) fn reason(message: impl Into<String>, hint: &str) -> Reason {
    Reason::new(message).hint(hint)
}

/// A thaw's answer without additions to the recovery point.
pub(super) fn thawed(held: Held, released: bool, why: Option<String>) -> Thawed {
    Thawed { held, released, why, point: RecoveryPoint::default() }
}

/// Whole seconds for a server-side deadline: never longer than what is left, never 0, which means "none".
pub(super) fn seconds(left: Duration) -> u64 {
    left.as_secs().max(1)
}

/// `name: value` pairs as a recovery point, without the empty ones.
pub(super) fn point<V: Display>(pairs: impl IntoIterator<Item = (&'static str, V)>) -> RecoveryPoint {
    let texts = pairs.into_iter().map(|(name, value)| (name.to_owned(), value.to_string()));
    RecoveryPoint(texts.filter(|(_, value)| !value.is_empty()).collect())
}
