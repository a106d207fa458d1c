//! The commands, as far as rights are concerned.

/// A command of this program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Command {
    /// `quiesce-snapshot`.
    QuiesceSnapshot,
    /// `restore-from-snapshot`.
    RestoreFromSnapshot,
    /// `verify`.
    Verify,
    /// `thaw`.
    Thaw,
    /// `list`.
    List,
    /// `describe`.
    Describe,
    /// `compare`.
    Compare,
    /// `delete`.
    Delete,
    /// `prune`.
    Prune,
    /// `rbac`, which asks the API server nothing.
    Rbac,
    /// `guard`, which has no token.
    Guard,
}

impl Command {
    /// All of them, in the order of the help.
    pub const ALL: [Self; 11] = [
        Self::QuiesceSnapshot,
        Self::RestoreFromSnapshot,
        Self::Verify,
        Self::Thaw,
        Self::List,
        Self::Describe,
        Self::Compare,
        Self::Delete,
        Self::Prune,
        Self::Rbac,
        Self::Guard,
    ];

    /// As it is typed.
    pub fn name(self) -> &'static str {
        match self {
            Self::QuiesceSnapshot => "quiesce-snapshot",
            Self::RestoreFromSnapshot => "restore-from-snapshot",
            Self::Verify => "verify",
            Self::Thaw => "thaw",
            Self::List => "list",
            Self::Describe => "describe",
            Self::Compare => "compare",
            Self::Delete => "delete",
            Self::Prune => "prune",
            Self::Rbac => "rbac",
            Self::Guard => "guard",
        }
    }

    /// Reads it as typed.
    pub fn read(typed: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|command| command.name() == typed)
    }
}
