//! What a copy of a database is started with, and what is asked of it. The types and what all adapters share; each
//! adapter's own part is its `verify.rs`.
//!
//! A copy runs beside production with production's secrets. It may write to itself only: no WAL into the real archive,
//! no replica of the real primary, no job that the real one has. It listens on loopback only: policies that protect the
//! real one select that one's labels, which the copy does not have.

use std::time::Duration;

use k8s_openapi::api::core::v1::Container;

use super::{Act, Answer, Argv, End, shell};

mod isolation;

pub(super) use isolation::{Isolation, LISTENERS, is_loopback};

/// Where a folder lies that only the copy's containers share, for what must be there before the server starts.
pub const SHARED: &str = "/consistent-backup";
/// Where Kubernetes takes a container's last words from: so nobody needs to read logs.
const LAST_WORDS: &str = "/dev/termination-log";
/// How long preparing may take: a check of all files may read all of them.
const PREPARE: Duration = Duration::from_secs(24 * 3600);
/// The check whether a copy is kept apart: nothing more is asked of one that is not.
pub const ISOLATED: &str = "isolated";
/// What is said of a check that was ended: it has found nothing yet, and that is no result.
pub(super) const OVER: &str = "its time was over (--wait)";
/// How `timeout` ends (GNU, busybox), and what a signal did that nobody can be asked about.
pub(super) const ENDED: [i32; 3] = [124, 143, 137];
/// Of a check's output so much is kept.
const MOST: usize = 1500;

/// What is left of a database that cannot be started alone.
pub(super) const BY_HAND: &str = "make copies of the claims (`restore-from-snapshot RUN --claims-only --suffix NAME`) and check them in a namespace of their own";

/// How a copy is started so that it harms nobody.
#[derive(Clone, Debug)]
pub struct Alone {
    /// Runs in the database's image before the server, and must end with 0: without it the server never starts.
    pub prepare: Argv,
    /// Judges what it said.
    pub read: fn(&str) -> Vec<Checked>,
    /// Arguments that must win over the workload's own.
    pub arguments: Vec<String>,
    /// Server programs: where one of them is called, or options are handed to the image, `arguments` follow.
    pub servers: &'static [&'static str],
    /// Variables, where the container has none of these names.
    pub env: Vec<(&'static str, String)>,
}

/// How a copy that runs on beside the original is kept out of the original's archive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unarchived {
    /// In a word, for the plan.
    pub told: &'static str,
    /// Arguments that follow the workload's own.
    pub arguments: Vec<String>,
    /// Runs in the database's image before the server, and must end with 0.
    pub prepare: Option<Argv>,
}

/// A question to a copy that serves.
#[derive(Clone, Debug)]
pub struct Check {
    /// What is said while it runs.
    pub name: &'static str,
    /// The command. It must print something.
    pub act: Act,
    /// Judges the answer.
    pub read: fn(&Answer) -> Vec<Checked>,
}

/// What came of one check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checked {
    /// The check.
    pub name: &'static str,
    /// What came of it.
    pub outcome: Outcome,
    /// What it said, in few words.
    pub output: String,
}

/// What came of a check. Only `Passed` says that something is well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It ran, and found nothing.
    Passed,
    /// It found damage, or the copy is not what was backed up.
    Failed,
    /// The image or the database has no such check.
    NotAvailable,
    /// It is not known what it found: that is no success.
    Unknown,
}

impl Outcome {
    /// The word in records and tables.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Failed => "failed",
            Self::NotAvailable => "not available",
            Self::Unknown => "unknown",
        }
    }
}

impl Checked {
    /// A result with its words, capped.
    pub fn new(name: &'static str, outcome: Outcome, output: impl Into<String>) -> Self {
        Self { name, outcome, output: capped(&output.into(), MOST) }
    }

    pub(super) fn passed(name: &'static str, output: impl Into<String>) -> Self {
        Self::new(name, Outcome::Passed, output)
    }

    pub(super) fn failed(name: &'static str, output: impl Into<String>) -> Self {
        Self::new(name, Outcome::Failed, output)
    }

    pub(super) fn missing(name: &'static str, output: impl Into<String>) -> Self {
        Self::new(name, Outcome::NotAvailable, output)
    }

    /// A check whose answer did not come, or makes no sense.
    pub fn unknown(name: &'static str, output: impl Into<String>) -> Self {
        Self::new(name, Outcome::Unknown, output)
    }
}

/// At most so many bytes of a text, whole characters.
pub fn capped(text: &str, most: usize) -> String {
    let text = text.trim();
    if text.len() <= most {
        return text.to_owned();
    }
    let end = (0..=most).rev().find(|&i| text.is_char_boundary(i)).unwrap_or(0);
    format!("{}…", &text[..end])
}

/// Whether options that follow this container's arguments reach the server: they are options already, or it is called
/// by name. What a shell or a start script of its own makes of more words nobody knows.
pub fn takes_arguments(container: &Container, servers: &[&str]) -> bool {
    let is_server = |word: &String| servers.contains(&word.rsplit('/').next().unwrap_or_default());
    let command = container.command.as_deref().unwrap_or_default();
    let args = container.args.as_deref().unwrap_or_default();
    let in_a_shell = command.first().is_some_and(|c| {
        ["sh", "bash", "ash", "dash", "ksh", "zsh"].contains(&c.rsplit('/').next().unwrap_or_default())
    });
    match args.first() {
        _ if in_a_shell => false,
        _ if command.iter().any(is_server) => true,
        Some(first) => is_server(first) || (command.is_empty() && first.starts_with('-')),
        None => false,
    }
}

/// Which of these settings a container's own command line names. Where [`takes_arguments`] is false nothing can follow
/// that command line, and it wins over every file that is written for the copy.
pub(super) fn named<'a>(container: &Container, settings: &[&'a str]) -> Option<&'a str> {
    let words = container.command.iter().flatten().chain(container.args.iter().flatten());
    // Servers take `bind-address` and `bind_address` for one name.
    let words: Vec<String> = words.map(|word| word.to_lowercase().replace('-', "_")).collect();
    settings.iter().copied().find(|name| words.iter().any(|word| word.contains(&name.replace('-', "_"))))
}

/// A shell that runs `script`, whose output is the container's last words; they are whole only with the line `end`.
/// The script must end with another code than 0 if what keeps the copy from harm could not be done.
pub(super) fn preparing(script: &str) -> Argv {
    shell::sh(
        PREPARE,
        &format!("say() {{\n{script}\n}}\nsay >{LAST_WORDS}\ncode=$?\necho end >>{LAST_WORDS}\nexit $code\n"),
    )
}

/// The facts that [`preparing`] left, if they are whole.
pub(super) fn prepared(text: &str, name: &'static str) -> Result<shell::Facts, Vec<Checked>> {
    shell::Facts::read(text, '|')
        .ok_or_else(|| vec![Checked::unknown(name, format!("its answer is not whole: {text}"))])
}

/// A one-shot command that may take this long.
pub(super) fn within(script: &str, within: Duration) -> Act {
    // Ended in the container before we give up, so that its own exit code comes back.
    let limit = within.saturating_sub(Duration::from_secs(5)).max(Duration::from_secs(1));
    Act::Exec { argv: shell::sh(limit, script), within }
}

/// The facts in a check's answer. An answer that is not whole says nothing of the data, unless the server itself said
/// that it is damaged.
pub(super) fn facts(answer: &Answer, name: &'static str) -> Result<shell::Facts, Vec<Checked>> {
    match &answer.end {
        End::Exited(0) => shell::Facts::read(&answer.out, '|').ok_or_else(|| {
            vec![Checked::unknown(name, format!("its answer was not understood: {}", shell::told(Some(answer))))]
        }),
        End::Exited(code) if ENDED.contains(code) => Err(vec![Checked::unknown(
            name,
            format!("it was ended with exit code {code}: {OVER}, or its container was"),
        )]),
        End::Exited(_) => Err(vec![Checked::failed(name, shell::told(Some(answer)))]),
        _ => Err(vec![Checked::unknown(name, shell::told(Some(answer)))]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn more_arguments_are_given_only_to_who_takes_them() {
        let takes = |container: serde_json::Value| {
            let mut container = container;
            container["name"] = json!("c");
            takes_arguments(&serde_json::from_value(container).unwrap(), &["redis-server"])
        };
        assert!(takes(json!({"args": ["--appendonly", "yes"]})));
        assert!(takes(json!({"args": ["redis-server", "/etc/redis.conf"]})));
        assert!(takes(json!({"command": ["/usr/bin/redis-server"]})));
        assert!(takes(json!({"command": ["docker-entrypoint.sh"], "args": ["redis-server"]})));
        assert!(takes(json!({"command": ["docker-entrypoint.sh", "redis-server", "/x"], "args": ["--port", "1"]})));
        assert!(!takes(json!({})), "the image's own arguments would be lost");
        assert!(!takes(json!({"command": ["sh", "-c", "redis-server /etc/redis.conf"]})));
        assert!(!takes(json!({"command": ["/bin/bash"], "args": ["-c", "/start.sh"]})));
        assert!(!takes(json!({"command": ["/start.sh"], "args": ["--replica"]})));
    }

    #[test]
    fn a_setting_is_found_in_whatever_way_a_command_line_names_it() {
        let of = |words: &[&str]| {
            let container =
                Container { args: Some(words.iter().map(|w| (*w).to_owned()).collect()), ..Container::default() };
            named(&container, &["bind-address", "listen_addresses"])
        };
        assert_eq!(of(&["-c", "exec mysqld --bind_address=0.0.0.0"]), Some("bind-address"));
        assert_eq!(of(&["postgres --listen-addresses='*'"]), Some("listen_addresses"));
        assert_eq!(of(&["exec mysqld --port=3307"]), None);
    }

    #[test]
    fn what_is_cut_off_is_whole_characters() {
        assert_eq!(capped(" abc \n", 3), "abc");
        assert_eq!(capped("aäb", 2), "a…");
    }

    #[test]
    fn an_answer_that_is_not_whole_is_no_result() {
        let answer = |out: &str, end| Answer { out: out.into(), err: "ERROR:  damaged".into(), end };
        let read = |out: &str, end| facts(&answer(out, end), "x").err().map(|checked| checked[0].outcome);
        assert_eq!(read("a|1\nend\n", End::Exited(0)), None);
        assert_eq!(read("a|1\n", End::Exited(0)), Some(Outcome::Unknown));
        assert_eq!(read("a|1\nend\n", End::Unknown("lost".into())), Some(Outcome::Unknown));
        assert_eq!(read("a|1\nend\n", End::Exited(1)), Some(Outcome::Failed));
        assert_eq!(read("a|1\n", End::Exited(124)), Some(Outcome::Unknown), "no time is no damage");
    }
}
