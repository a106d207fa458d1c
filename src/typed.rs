//! Commands that are printed for the user to type.

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

    /// A subcommand about one run.
    pub fn command(&self, subcommand: &str, run: &str, namespace: &str) -> String {
        format!("kubectl consistent-backup {subcommand} {run} -n {namespace}{}", self.flags)
    }

    /// A command of kubectl's own; `words` come before the options, `last` after them.
    pub fn kubectl(&self, words: &str, last: &str) -> String {
        format!("kubectl {words}{} {last}", self.flags).trim_end().to_owned()
    }

    /// The command that shows the runs of a namespace.
    pub fn list(&self, namespace: &str) -> String {
        format!("kubectl consistent-backup list -n {namespace}{}", self.flags)
    }

    /// The command that brings a run to its end, from any machine.
    pub fn thaw(&self, run: &str, namespace: &str) -> String {
        self.command("thaw", run, namespace)
    }
}

/// As one word for a shell.
pub(crate) fn quoted(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:@%+=,".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        text.to_owned()
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_goes_to_the_cluster_that_was_chosen() {
        assert_eq!(Typed::default().thaw("r1", "demo"), "kubectl consistent-backup thaw r1 -n demo");
        let typed = Typed::new([("--context", "arn:aws:eks:x/prod".to_owned()), ("--kubeconfig", "my conf".into())]);
        assert_eq!(
            typed.command("delete", "r1", "demo"),
            "kubectl consistent-backup delete r1 -n demo --context arn:aws:eks:x/prod --kubeconfig 'my conf'"
        );
        assert_eq!(
            typed.kubectl("exec pod -n demo", "-- sh"),
            "kubectl exec pod -n demo --context arn:aws:eks:x/prod --kubeconfig 'my conf' -- sh"
        );
        assert_eq!(quoted("it's"), r"'it'\''s'");
    }
}
