//! Commands that are printed for the user to type.

use crate::escape::is_obeyed;

/// The options by which the user chose the cluster. A printed command repeats them: without them it would be sent to
/// the current context's cluster, which knows nothing of the run, while its database stays held.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Typed {
    flags: String,
}

impl Typed {
    /// The options that were given, as name and value.
    pub fn new<'a>(given: impl IntoIterator<Item = (&'a str, String)>) -> Self {
        let flags = given.into_iter().map(|(name, value)| format!(" {name} {}", quoted(&value)));
        Self { flags: flags.collect() }
    }

    /// A subcommand about one run. Run and namespace are quoted: they come from a record that others may have written.
    pub fn command(&self, subcommand: &str, run: &str, namespace: &str) -> String {
        let (run, namespace) = (quoted(run), quoted(namespace));
        format!("kubectl consistent-backup {subcommand} {run} -n {namespace}{}", self.flags)
    }

    /// A kubectl command with each word quoted; `words` stand before the connection options, `last` behind them.
    pub fn kubectl(&self, words: &[&str], last: &[&str]) -> String {
        let mut command = format!("{}{}", kubectl(words), self.flags);
        for word in last {
            command.push_str(&format!(" {}", quoted(word)));
        }
        command
    }

    /// The command that shows the runs of a namespace.
    pub fn list(&self, namespace: &str) -> String {
        format!("kubectl consistent-backup list -n {}{}", quoted(namespace), self.flags)
    }

    /// The command that brings a run to its end, from any machine.
    pub fn thaw(&self, run: &str, namespace: &str) -> String {
        self.command("thaw", run, namespace)
    }
}

/// A kubectl command without connection options, each word quoted.
pub(crate) fn kubectl(words: &[&str]) -> String {
    let words = words.iter().map(|word| format!(" {}", quoted(word)));
    format!("kubectl{}", words.collect::<String>())
}

/// Quotes a text as one word for a shell. Control characters become `$'\033'`, which bash and zsh read: a raw `ESC[201~`
/// would end a bracketed paste, and the shell would run the rest.
pub(crate) fn quoted(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:@%+=,".contains(c);
    // zsh expands a word that begins with `=` to the path of a program.
    if !text.is_empty() && !text.starts_with('=') && text.chars().all(plain) {
        text.to_owned()
    } else if text.contains(is_obeyed) {
        format!("$'{}'", coded(text))
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}

/// The text between `$'` and `'`, obeyed characters byte by byte: bash before 4.2 has no `\u`.
fn coded(text: &str) -> String {
    let mut coded = String::new();
    for c in text.chars() {
        if is_obeyed(c) {
            // Always three digits, because a digit may follow.
            for byte in c.encode_utf8(&mut [0; 4]).bytes() {
                coded.push_str(&format!("\\{byte:03o}"));
            }
        } else {
            if matches!(c, '\'' | '\\') {
                coded.push('\\');
            }
            coded.push(c);
        }
    }
    coded
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use std::process::Command;

    #[test]
    fn a_command_goes_to_the_cluster_that_was_chosen() {
        assert_eq!(Typed::default().thaw("r1", "demo"), "kubectl consistent-backup thaw r1 -n demo");
        let typed = Typed::new([("--context", "arn:aws:eks:x/prod".to_owned()), ("--kubeconfig", "my conf".into())]);
        assert_eq!(
            typed.command("delete", "r1", "demo"),
            "kubectl consistent-backup delete r1 -n demo --context arn:aws:eks:x/prod --kubeconfig 'my conf'"
        );
        assert_eq!(
            typed.kubectl(&["exec", "pod", "-n", "demo"], &["--", "sh"]),
            "kubectl exec pod -n demo --context arn:aws:eks:x/prod --kubeconfig 'my conf' -- sh"
        );
        assert_eq!(quoted("it's"), r"'it'\''s'");
    }

    #[test]
    fn names_from_records_are_quoted() {
        let typed = Typed::default();
        let hostile = "x; touch y";
        for command in [typed.thaw(hostile, "demo"), typed.thaw("r1", hostile)] {
            assert!(command.contains("'x; touch y'"), "{command}");
        }
        assert_eq!(typed.list(hostile), "kubectl consistent-backup list -n 'x; touch y'");
        assert_eq!(typed.kubectl(&["get", hostile], &[hostile]), "kubectl get 'x; touch y' 'x; touch y'");
    }

    #[test]
    fn bash_reads_a_quoted_text_unchanged() {
        for text in [
            "",
            "it's",
            "$(x) `x` \\ \"",
            "a\nb",
            "\u{1b}[201~1",
            "'\u{7f}\\\u{9b}2\u{202e}8'",
            "é \u{2066}",
            "~",
            "{a,b}",
        ] {
            let word = quoted(text);
            assert!(!word.contains(is_obeyed), "{word}");
            let said = Command::new("bash").args(["-c", &format!("printf %s {word}")]).output().unwrap();
            assert_eq!(String::from_utf8(said.stdout).unwrap(), text, "{word}");
        }
    }
}
