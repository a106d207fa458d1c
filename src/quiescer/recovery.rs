//! A restored copy that goes on from its archived log: what is asked for, and what an adapter answers.

use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::Argv;

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Wanted {
    /// The command with which the server itself gets a file of its archive.
    pub command: String,
    /// Where the recovery ends.
    pub target: Target,
    /// Which timeline it follows.
    pub timeline: Timeline,
}

/// Where a recovery ends.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Target {
    /// With the last that the archive has.
    Latest,
    /// As soon as the copy is consistent: with the end of the backup.
    Immediate,
    /// With the last commit up to this moment.
    Time(Timestamp),
    /// With this position.
    Lsn(u64),
    /// With this restore point.
    Name(String),
    /// With the end of this transaction.
    Xid(u64),
}

/// Which timeline a recovery follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Timeline {
    /// The newest that the archive has.
    Latest,
    /// That of the backup.
    Current,
    /// This one.
    Number(u32),
}

/// The command as it is typed. It becomes one line of a configuration file.
pub fn command(typed: &str) -> Result<String, String> {
    if typed.chars().any(char::is_control) {
        return Err("it must be one line".into());
    }
    match ["%f", "%p"].into_iter().find(|mark| !typed.contains(mark)) {
        Some(mark) => Err(format!("it has no {mark}; `cp /archive/%f %p` gets file %f of the archive to path %p")),
        None => Ok(typed.to_owned()),
    }
}

impl Target {
    /// As it is typed.
    pub fn read(typed: &str) -> Result<Self, String> {
        let (kind, value) = typed.split_once('=').unwrap_or((typed, ""));
        let value = value.trim();
        match (kind.trim(), value) {
            ("latest", "") => Ok(Self::Latest),
            ("immediate", "") => Ok(Self::Immediate),
            ("time", text) => text
                .parse()
                .map(Self::Time)
                .map_err(|_| format!("`{text}` is no time with an offset, such as `2026-11-22 01:00:00+00`")),
            ("lsn", text) => {
                lsn(text).map(Self::Lsn).ok_or_else(|| format!("`{text}` is no position, such as 0/5000060"))
            }
            // The server takes no longer one.
            ("name", text) if text.is_empty() || text.len() > 63 || text.chars().any(char::is_control) => {
                Err(format!("`{text}` is no name of a restore point: one line, at most 63 bytes"))
            }
            ("name", text) => Ok(Self::Name(text.to_owned())),
            ("xid", text) => text.parse().map(Self::Xid).map_err(|_| format!("`{text}` is no transaction's number")),
            _ => Err("latest, immediate, time=…, lsn=…, name=… or xid=…".into()),
        }
    }
}

/// A position as the server writes it.
pub fn lsn(text: &str) -> Option<u64> {
    let (high, low) = text.split_once('/')?;
    let part = |text: &str| u32::from_str_radix(text, 16).ok().filter(|_| !text.starts_with('+'));
    Some((u64::from(part(high)?) << 32) | u64::from(part(low)?))
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Latest => f.write_str("latest"),
            Self::Immediate => f.write_str("immediate"),
            Self::Time(at) => write!(f, "time={at}"),
            Self::Lsn(lsn) => write!(f, "lsn={:X}/{:X}", lsn >> 32, lsn & 0xFFFF_FFFF),
            Self::Name(name) => write!(f, "name={name}"),
            Self::Xid(xid) => write!(f, "xid={xid}"),
        }
    }
}

impl Timeline {
    /// As it is typed.
    pub fn read(typed: &str) -> Result<Self, String> {
        match typed {
            "latest" => Ok(Self::Latest),
            "current" => Ok(Self::Current),
            number => match number.parse() {
                Ok(number) if number > 0 => Ok(Self::Number(number)),
                _ => Err("latest, current or a timeline's number".into()),
            },
        }
    }
}

impl fmt::Display for Timeline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Latest => f.write_str("latest"),
            Self::Current => f.write_str("current"),
            Self::Number(number) => number.fmt(f),
        }
    }
}

impl TryFrom<String> for Target {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        Self::read(&text)
    }
}

impl From<Target> for String {
    fn from(target: Target) -> Self {
        target.to_string()
    }
}

impl TryFrom<String> for Timeline {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        Self::read(&text)
    }
}

impl From<Timeline> for String {
    fn from(timeline: Timeline) -> Self {
        timeline.to_string()
    }
}

/// What has to be done to a copy before its server is started for the first time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Recovery {
    /// What is written, for people to read.
    pub files: Vec<File>,
    /// What writes it, in a container that mounts the copy. Done again it changes nothing; it refuses a copy that a server
    /// ran on, and prints [`PREPARED`] once all of it is on the device.
    pub argv: Argv,
}

/// A file of the data directory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct File {
    /// Its path.
    pub path: String,
    /// What is written to it.
    pub content: String,
}

/// The last word of what prepares a copy.
pub const PREPARED: &str = "prepared";

/// What a server says that has recovered from its archive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recovered {
    /// Where it is now.
    pub point: super::RecoveryPoint,
    /// What is left to do by hand.
    pub left: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_typed_as_they_are_printed() {
        for text in
            ["latest", "immediate", "time=2026-11-22T01:00:00Z", "lsn=2A/FF000028", "name=before the move", "xid=7"]
        {
            assert_eq!(Target::read(text).unwrap().to_string(), text);
        }
        let at = |text: &str| Target::read(text).unwrap().to_string();
        assert_eq!(at("time=2026-11-22 01:00:00+00"), "time=2026-11-22T01:00:00Z");
        assert_eq!(at("time = 2026-11-22 03:00:00.25+02:00"), "time=2026-11-22T01:00:00.25Z");
        assert_eq!(at("lsn=0/5000060"), "lsn=0/5000060");
        for text in
            ["", "later", "latest=1", "time=", "time=2026-11-22 01:00:00", "lsn=5", "lsn=+1/0", "name=", "xid=-1"]
        {
            assert!(Target::read(text).is_err(), "{text}");
        }
        assert!(Target::read(&format!("name={}", "x".repeat(64))).is_err());
    }

    #[test]
    fn timelines_are_words_or_numbers() {
        for text in ["latest", "current", "3"] {
            assert_eq!(Timeline::read(text).unwrap().to_string(), text);
        }
        assert!(Timeline::read("0").is_err() && Timeline::read("newest").is_err());
    }

    #[test]
    fn a_command_is_one_line_with_both_marks() {
        assert!(command("cp /archive/%f %p").is_ok());
        assert!(command("cp /archive/%f \"%p\" # it's fine").is_ok());
        assert!(command("cp /archive/%f").unwrap_err().contains("%p"));
        assert!(command("cp %f %p\nrecovery_target = ''").is_err());
    }
}
