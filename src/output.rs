//! What is printed: texts, tables, JSON and YAML are made here as strings, and written in one place.
//!
//! stdout is data, stderr is talk.

use std::fmt;
use std::io::{self, Write};
use std::str::FromStr;

use serde::Serialize;

use crate::error::Error;
use crate::escape::{escape_block, escape_json, escape_line, is_obeyed};

pub mod age;
#[cfg(test)]
mod hostile;
pub mod orphans;
pub mod plan;
pub mod pods;
pub mod progress;
pub mod prune;
pub mod restores;
pub mod runbook;
pub mod runs;
pub mod table;
pub mod verified;

/// The values of `-o`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// A table for people.
    #[default]
    Table,
    /// The same with more columns.
    Wide,
    /// JSON, indented like kubectl's.
    Json,
    /// YAML.
    Yaml,
    /// `kind/name`, one a line.
    Name,
}

impl Format {
    const ALL: [(&str, Self); 5] = [
        ("table", Self::Table),
        ("wide", Self::Wide),
        ("json", Self::Json),
        ("yaml", Self::Yaml),
        ("name", Self::Name),
    ];
}

impl FromStr for Format {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = Self::ALL.iter().find(|(name, _)| *name == text);
        found.map(|(_, format)| *format).ok_or_else(|| {
            let names: Vec<&str> = Self::ALL.iter().map(|(name, _)| *name).collect();
            let what = if text == RUNBOOK { "an output format of describe only" } else { "no output format" };
            format!("`{text}` is {what}, allowed are: {}", names.join(", "))
        })
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = Self::ALL.iter().find(|(_, format)| format == self);
        f.write_str(name.map_or("table", |(name, _)| name))
    }
}

/// The value that only `describe` takes.
const RUNBOOK: &str = "runbook";

/// The values of `describe -o`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Described {
    /// As all commands print.
    As(Format),
    /// The commands that restore the databases behind a backup.
    Runbook,
}

impl FromStr for Described {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == RUNBOOK {
            return Ok(Self::Runbook);
        }
        text.parse().map(Self::As).map_err(|wrong: String| format!("{wrong}, {RUNBOOK}"))
    }
}

/// JSON with four spaces and a newline at the end, as kubectl prints it.
pub fn json(value: &impl Serialize) -> Result<String, Error> {
    let mut bytes = Vec::new();
    let indent = serde_json::ser::PrettyFormatter::with_indent(b"    ");
    let mut serializer = serde_json::Serializer::with_formatter(&mut bytes, indent);
    value.serialize(&mut serializer).map_err(|e| Error::failed("the result cannot be printed as JSON").cause(e))?;
    bytes.push(b'\n');
    let text = String::from_utf8(bytes).map_err(|e| Error::failed("the result cannot be printed as JSON").cause(e))?;
    // serde_json escapes only C0.
    Ok(escape_json(&text))
}

/// YAML with a newline at the end.
pub fn yaml(value: &impl Serialize) -> Result<String, Error> {
    let mut text =
        serde_saphyr::to_string(value).map_err(|e| Error::failed("the result cannot be printed as YAML").cause(e))?;
    if !text.ends_with('\n') {
        text.push('\n');
    }
    // The YAML writer leaves bidirectional marks raw, and only quoted strings could escape them. JSON is valid YAML.
    if text.contains(|c| is_obeyed(c) && c != '\n') { json(value) } else { Ok(text) }
}

/// Formats an error: the message with its cause, every refusal, the hints. Each takes one line, so that a line end in a
/// database's answer cannot forge a hint.
pub fn error(error: &Error) -> String {
    let mut text = format!("error: {}\n", escape_line(&error.to_string()));
    for refusal in &error.refusals {
        text.push_str(&format!("  {}: {}\n", escape_line(&refusal.object), escape_line(&refusal.message)));
        if let Some(hint) = &refusal.hint {
            text.push_str(&format!("    hint: {}\n", escape_line(hint)));
        }
    }
    for hint in &error.hints {
        text.push_str(&format!("hint: {}\n", escape_line(hint)));
    }
    text
}

/// `kind/name` as `-o name` prints it. It is always one line, because each line becomes an argument of the next command.
pub fn name(kind: &str, name: &str) -> String {
    escape_line(&format!("{kind}/{name}"))
}

/// Prints a warning to stderr, as one line.
pub fn warn(text: &str) {
    to_stderr(&format!("warning: {}", escape_line(text)));
}

/// Prints a question to stderr without a line end, so that the answer follows it.
pub fn ask(question: &str) {
    let mut stderr = io::stderr().lock();
    let _ = write!(stderr, "{} [y/N] ", escape_line(question)).and_then(|()| stderr.flush());
}

/// Writes data to stdout, with a newline at the end if the text has none.
pub fn to_stdout(text: &str) {
    write(io::stdout().lock(), text);
}

/// Writes talk to stderr, with a newline at the end if the text has none.
pub fn to_stderr(text: &str) {
    write(io::stderr().lock(), text);
}

/// A reader that has seen enough (`| head`) is no error: what cannot be written is not wanted. A panic here, as the
/// standard macros have it, could end the program while a database is held.
///
/// Everything printed passes here, so that the terminal obeys no text.
fn write(mut to: impl Write, text: &str) {
    let text = escape_block(text);
    let end = if text.is_empty() || text.ends_with('\n') { "" } else { "\n" };
    let _ = to.write_all(format!("{text}{end}").as_bytes()).and_then(|()| to.flush());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Refusal;
    use serde_json::json;

    #[test]
    fn formats_are_read_and_written_by_name() {
        for (name, format) in Format::ALL {
            assert_eq!(name.parse(), Ok(format));
            assert_eq!(format.to_string(), name);
        }
        assert_eq!(
            "xml".parse::<Format>(),
            Err("`xml` is no output format, allowed are: table, wide, json, yaml, name".into())
        );
    }

    #[test]
    fn a_runbook_is_for_describe_only() {
        assert_eq!("runbook".parse(), Ok(Described::Runbook));
        assert_eq!("json".parse(), Ok(Described::As(Format::Json)));
        assert_eq!(
            "xml".parse::<Described>(),
            Err("`xml` is no output format, allowed are: table, wide, json, yaml, name, runbook".into())
        );
        assert_eq!(
            "runbook".parse::<Format>(),
            Err("`runbook` is an output format of describe only, allowed are: table, wide, json, yaml, name".into())
        );
    }

    #[test]
    fn json_looks_like_kubectls() {
        assert_eq!(
            json(&json!({"a": [1], "b": "x"})).unwrap(),
            "{\n    \"a\": [\n        1\n    ],\n    \"b\": \"x\"\n}\n"
        );
    }

    #[test]
    fn yaml_keeps_texts_that_look_like_something_else() {
        let value = json!({"a": "1", "b": "no", "c": null, "d": [{"e": true}], "f": "x: y", "g": "1e3"});
        let text = yaml(&value).unwrap();
        assert!(text.ends_with('\n') && !text.ends_with("\n\n"), "{text}");
        assert_eq!(serde_saphyr::from_str::<serde_json::Value>(&text).unwrap(), value, "{text}");
    }

    #[test]
    fn everything_written_is_escaped() {
        let hostile = "a\u{1b}[31m\nhint: b\u{202e}";
        let refused = Error::refusals(vec![Refusal::new(hostile, hostile).hint(hostile)]).cause(hostile).hint(hostile);
        let text = error(&refused);
        assert_eq!(text.lines().count(), 4, "{text}");
        let shown = "a\\u{1b}[31m\\nhint: b\\u{202e}";
        assert_eq!(text.matches(shown).count(), 5, "{text}");
        assert_eq!(name("backup", hostile), format!("backup/{shown}"));
        let mut bytes = Vec::new();
        write(&mut bytes, "a\tb\u{1b}]52;c;x\u{7}\nc\r");
        assert_eq!(String::from_utf8(bytes).unwrap(), "a\tb\\u{1b}]52;c;x\\u{7}\nc\\r\n");
    }

    #[test]
    fn a_closed_pipe_is_a_quiet_end() {
        struct Closed;
        impl Write for Closed {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(io::ErrorKind::BrokenPipe.into())
            }
            fn flush(&mut self) -> io::Result<()> {
                Err(io::ErrorKind::BrokenPipe.into())
            }
        }
        write(Closed, "x");
    }

    #[test]
    fn a_text_ends_with_one_newline() {
        for (text, written) in [("a", "a\n"), ("a\n", "a\n"), ("", "")] {
            let mut bytes = Vec::new();
            write(&mut bytes, text);
            assert_eq!(bytes, written.as_bytes());
        }
    }
}
