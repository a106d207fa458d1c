//! `--set-property KEY=VALUE`: a release's properties with some values replaced, after its databases were restored
//! elsewhere. All else stays byte for byte: comments, order, line ends.

use crate::error::Refusal;
use crate::plan::release::credentials;
use crate::plan::release::properties::{self, Definition};

/// One property that is to have another value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The key.
    pub key: String,
    /// The value, as the program is to read it.
    pub value: String,
}

/// A text with the changes made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Changed {
    /// The new text.
    pub text: String,
    /// Of each change the definition that was in force before, nothing where the key was new. For the record, and for the
    /// way back.
    pub old: Vec<Option<Old>>,
}

/// A definition that is replaced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Old {
    /// Its value, as the program read it.
    pub value: String,
    /// How it was written: the key, what stands between them, and the value with its escapes and line ends.
    pub written: String,
}

/// The changes that were asked for, or every reason why not: values on a command line are seen by all processes of the
/// machine, so a secret may not come this way.
pub fn changes(asked: &[String]) -> Result<Vec<Change>, Vec<Refusal>> {
    let mut refusals = Vec::new();
    let mut changes: Vec<Change> = Vec::new();
    for text in asked {
        match change(text) {
            Ok(change) if changes.iter().any(|c| c.key == change.key) => {
                refusals.push(refusal(&change.key, "is given more than once"));
            }
            Ok(change) => changes.push(change),
            Err(refusal) => refusals.push(refusal),
        }
    }
    if refusals.is_empty() { Ok(changes) } else { Err(refusals) }
}

fn refusal(key: &str, message: &str) -> Refusal {
    Refusal::new(format!("--set-property {key}"), message)
}

fn change(text: &str) -> Result<Change, Refusal> {
    // What stands after a missing `=` may be anything, so it is not repeated.
    let Some((key, value)) = text.split_once('=') else {
        return Err(Refusal::new("--set-property", "has no `=`")
            .hint("write KEY=VALUE, such as scalar.db.contact_points=new-host"));
    };
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    if key.is_empty() || !key.chars().all(plain) || key.split('.').any(str::is_empty) {
        return Err(refusal(key, "is no key of a property, such as scalar.db.contact_points"));
    }
    if credentials::is_named(key) {
        return Err(refusal(
            key,
            "is a secret by its name, and a command line is seen by every process of the machine",
        )
        .hint("change it in the Secret that the release takes it from"));
    }
    if credentials::are_in(value) {
        return Err(refusal(
            key,
            "has a user or a password in its value, which every process of the machine would see",
        )
        .hint("leave them out: the release has them in properties of their own, from its Secret"));
    }
    if value.chars().any(|c| c.is_control() && c != '\t') {
        return Err(refusal(key, "has a line end or another control character in its value"));
    }
    Ok(Change { key: key.to_owned(), value: value.to_owned() })
}

/// Makes the changes in a text: where a key is defined, its last definition, which is the one in force, has the new
/// value; where it is not, a line is appended.
///
/// Refused is a change of a value that holds credentials now: the old value goes into the record, they must not.
pub fn changed(text: &str, changes: &[Change]) -> Result<Changed, Vec<Refusal>> {
    let mut made = text.to_owned();
    let mut old = Vec::new();
    let mut refusals = Vec::new();
    for change in changes {
        let before = made.clone();
        let defined = last(&before, &change.key);
        match &defined {
            Some(definition) if credentials::are_in(&definition.value) => refusals.push(
                refusal(&change.key, "has a user or a password in its present value, which the record must not keep")
                    .hint("move them to properties of their own first, or edit the object by hand"),
            ),
            Some(definition) => {
                let separator = separator(&made, definition.at.start, &change.key);
                made.replace_range(definition.at.clone(), &format!("{separator}{}", escaped(&change.value)));
            }
            None => append(&mut made, change),
        }
        old.push(defined.map(|d| Old { value: d.value, written: before[d.whole].to_owned() }));
    }
    if refusals.is_empty() { Ok(Changed { text: made, old }) } else { Err(refusals) }
}

/// The definition of a key that is in force.
fn last(text: &str, key: &str) -> Option<Definition> {
    properties::definitions(text).into_iter().rev().find(|d| d.key == key)
}

/// The text with the definition of a key that is in force written as it was before [`changed`].
pub fn rewritten(text: &str, key: &str, written: &str) -> String {
    let mut made = text.to_owned();
    if let Some(last) = last(text, key) {
        made.replace_range(last.whole, written);
    }
    made
}

/// The text without the last definition of a key, which [`changed`] appended; one that somebody wrote otherwise since stays.
pub fn removed(text: &str, key: &str) -> String {
    let mut made = text.to_owned();
    let Some(last) = last(text, key) else { return made };
    let start = text[..last.at.start].rfind('\n').map_or(0, |end| end + 1);
    if text[start..last.at.start] != format!("{key}=") {
        return made;
    }
    if let Some(end) = text[last.at.end..].find('\n') {
        made.replace_range(start..=last.at.end + end, "");
    } else {
        // The text before it had no line end.
        let before = text[..start].strip_suffix('\n').unwrap_or_default();
        made.truncate(before.strip_suffix('\r').unwrap_or(before).len());
    }
    made
}

/// `=` where the definition is a bare key, to which a value cannot be set otherwise.
fn separator(text: &str, value: usize, key: &str) -> &'static str {
    if text[..value].ends_with(key) { "=" } else { "" }
}

fn append(text: &mut String, change: &Change) {
    let end = if text.contains("\r\n") { "\r\n" } else { "\n" };
    let last = text.trim_end_matches(['\r', '\n']);
    let open = last.chars().rev().take_while(|c| *c == '\\').count() % 2 == 1 && text.len() - last.len() <= end.len();
    let ends = text.is_empty() || text.ends_with('\n');
    if !ends {
        text.push_str(end);
    }
    // A backslash at the end of the last line would make the new one a part of it: a blank line ends it.
    if open {
        text.push_str(end);
    }
    text.push_str(&format!("{}={}", change.key, escaped(&change.value)));
    // Whoever ends his file without a line end gets it back so.
    if ends {
        text.push_str(end);
    }
}

/// As the program reads it back: a backslash would be taken for an escape, a leading blank be skipped, and whether the
/// file is read as UTF-8 or Latin-1 is not known.
fn escaped(value: &str) -> String {
    let mut made = String::new();
    for (at, c) in value.char_indices() {
        match c {
            '\\' => made.push_str(r"\\"),
            '\t' => made.push_str(r"\t"),
            ' ' if at == 0 => made.push_str(r"\ "),
            _ if c.is_ascii() => made.push(c),
            _ => {
                let mut units = [0; 2];
                for unit in c.encode_utf16(&mut units) {
                    made.push_str(&format!("\\u{unit:04x}"));
                }
            }
        }
    }
    made
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(key: &str, value: &str) -> Change {
        Change { key: key.into(), value: value.into() }
    }

    fn set(text: &str, key: &str, value: &str) -> String {
        changed(text, &[change(key, value)]).unwrap().text
    }

    #[test]
    fn only_the_value_in_force_changes() {
        let text = "# contact points: a=0\r\na = 1\r\n\r\n!x\r\na : 2,\\\r\n    3\r\nb=4";
        let found = changed(text, &[change("a", "new"), change("c", "5")]).unwrap();
        assert_eq!(found.text, "# contact points: a=0\r\na = 1\r\n\r\n!x\r\na : new\r\nb=4\r\nc=5");
        let old = Old { value: "2,3".into(), written: "a : 2,\\\r\n    3".into() };
        assert_eq!(found.old, [Some(old), None]);
    }

    #[test]
    fn any_place_of_a_value_can_be_set() {
        for (text, changed) in [
            ("a", "a=x"),
            ("a\nb=1\n", "a=x\nb=1\n"),
            ("a=", "a=x"),
            ("a ", "a x"),
            ("a=\\\n", "a=\\\nx"),
            ("", "a=x\n"),
            ("b=1", "b=1\na=x"),
            ("b=1\\", "b=1\\\n\na=x"),
            ("b=1\\\n", "b=1\\\n\na=x\n"),
            ("b=1\\\\", "b=1\\\\\na=x"),
            ("# a=1", "# a=1\na=x"),
        ] {
            let made = set(text, "a", "x");
            assert_eq!(properties::effective(&made)["a"], "x", "{text:?}");
            assert_eq!(made, changed, "{text:?}");
        }
    }

    #[test]
    fn values_are_read_back_as_they_were_given() {
        for value in
            ["", " a", "a ", r"c:\x\", "日😀é", "a=b:c #d", "jdbc:postgresql://b:5432/x?ssl=true", "a\tb", "${env:X}"]
        {
            for text in ["", "k=1\nother=2", "other=2\nk : 1\n"] {
                let read = properties::effective(&set(text, "k", value));
                assert_eq!(read["k"], value, "{text:?}");
                assert_eq!(read.get("other").map(String::as_str), text.contains("other").then_some("2"));
            }
        }
    }

    #[test]
    fn what_was_changed_can_be_changed_back() {
        for written in
            ["a=2", "a", "a ", "  a : 2", "a=\\u65e5\\:", "\\u0061 = 2", "a=1\na=2,\\\n   3", "a\\\n =\\\n 1", "a=\\"]
        {
            for (before, after) in [("", ""), ("x=1\n", "\ny=2\n"), ("# a=0\r\n", "\r\n")] {
                let text = format!("{before}{written}{after}");
                let there = changed(&text, &[change("a", "new")]).unwrap();
                let old = there.old[0].as_ref().unwrap();
                assert_ne!(there.text, text);
                assert_eq!(rewritten(&there.text, "a", &old.written), text);
            }
        }
    }

    #[test]
    fn what_was_appended_can_be_removed() {
        for text in ["", "x=1\n", "x=1", "x=1\r\ny=2\r\n", "x=1\\\n"] {
            for value in ["", "new", " a\\"] {
                let back = removed(&set(text, "a", value), "a");
                assert_eq!(properties::effective(&back), properties::effective(text), "{text:?} {value:?}");
                assert!(text.ends_with("\\\n") || back == text, "{back:?}");
            }
        }
        assert_eq!(removed("a : 1\na = 2\n", "a"), "a : 1\na = 2\n", "somebody else's");
        assert_eq!(removed("b=1\n", "a"), "b=1\n");
    }

    #[test]
    fn secrets_and_what_is_no_property_are_refused_all_at_once() {
        let asked = [
            "scalar.db.password=sesame",
            "scalar.dl.ledger.servers.authentication.hmac.secret_key=sesame",
            "scalar.db.contact_points=jdbc:mysql://root:sesame@db/",
            "sesame",
            "=sesame",
            "a b=1",
            "a..b=1",
            "a=1\nb=2",
            "twice=1",
            "twice=2",
        ]
        .map(str::to_owned);
        let refused = changes(&asked).unwrap_err();
        assert_eq!(refused.len(), 9);
        let text = format!("{refused:?}");
        assert!(!text.contains("sesame"), "{text}");
        assert!(text.contains("in the Secret") && text.contains("KEY=VALUE") && text.contains("more than once"));
        let good = changes(&["scalar.db.contact_points=jdbc:mysql://b:3306/?x=y".to_owned()]).unwrap();
        assert_eq!(good, [change("scalar.db.contact_points", "jdbc:mysql://b:3306/?x=y")]);
    }

    #[test]
    fn an_old_value_with_a_password_never_leaves_the_text() {
        let refused = changed("a=jdbc:mysql://root:sesame@db/", &[change("a", "jdbc:mysql://db/")]).unwrap_err();
        assert!(!format!("{refused:?}").contains("sesame"));
        assert!(refused[0].message.contains("which the record must not keep"));
    }
}
