//! What can go wrong, in words: kind, message, cause, hints, and the exit code that each kind has.

use std::fmt;

/// One reason why a request is refused before anything was touched.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Refusal {
    /// The object that is at fault, as kubectl names it: `pod/postgres-0`, `persistentvolumeclaim/data`.
    pub object: String,
    /// Lower case, no full stop.
    pub message: String,
    /// What the user can do.
    pub hint: Option<String>,
}

impl Refusal {
    /// A refusal without a hint.
    pub fn new(object: impl Into<String>, message: impl Into<String>) -> Self {
        Self { object: object.into(), message: message.into(), hint: None }
    }

    /// The same with what the user can do.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

/// How the program ends. The numbers are documented and stay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExitCode {
    /// As asked.
    Done = 0,
    /// Failed; every database serves.
    Failed = 1,
    /// The command line was wrong.
    Usage = 2,
    /// Done, but consistent to a lesser degree than asked.
    Lesser = 3,
    /// Something may still be held.
    Held = 4,
    /// Refused before anything was touched.
    Refused = 5,
    /// Interrupted; all clean.
    Interrupted = 130,
}

impl ExitCode {
    /// That of another process of this program; nothing where it did not come to its end.
    pub fn of(code: Option<i32>) -> Option<Self> {
        let all = [Self::Done, Self::Failed, Self::Usage, Self::Lesser, Self::Held, Self::Refused, Self::Interrupted];
        all.into_iter().find(|known| code == Some(*known as i32))
    }

    /// The one of two that says more of what somebody must do: something held before a failure before a refusal.
    #[must_use]
    pub fn worse(self, other: Self) -> Self {
        let rank = |code| match code {
            Self::Done => 0,
            Self::Lesser => 1,
            Self::Interrupted => 2,
            Self::Usage => 3,
            Self::Refused => 4,
            Self::Failed => 5,
            Self::Held => 6,
        };
        if rank(other) > rank(self) { other } else { self }
    }
}

impl From<ExitCode> for std::process::ExitCode {
    fn from(code: ExitCode) -> Self {
        Self::from(code as u8)
    }
}

/// An error that ends the program.
#[derive(Debug)]
pub struct Error {
    /// The exit code.
    pub code: ExitCode,
    /// Lower case, names the object.
    pub message: String,
    /// The cause, once.
    pub cause: Option<String>,
    /// What the user can do.
    pub hints: Vec<String>,
    /// All refusals, for `ExitCode::Refused`.
    pub refusals: Vec<Refusal>,
}

impl Error {
    fn of(code: ExitCode, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), cause: None, hints: Vec::new(), refusals: Vec::new() }
    }

    /// Failed; every database serves.
    pub fn failed(message: impl Into<String>) -> Self {
        Self::of(ExitCode::Failed, message)
    }

    /// The command line was wrong in a way that the parser does not see.
    pub fn usage(message: impl Into<String>) -> Self {
        Self::of(ExitCode::Usage, message)
    }

    /// Something may still be held.
    pub fn held(message: impl Into<String>) -> Self {
        Self::of(ExitCode::Held, message)
    }

    /// Broken off by a signal, and clean.
    pub fn interrupted(message: impl Into<String>) -> Self {
        Self::of(ExitCode::Interrupted, message)
    }

    /// Refused with a single reason.
    pub fn refused(message: impl Into<String>) -> Self {
        Self::of(ExitCode::Refused, message)
    }

    /// Refused before anything was touched, with all reasons at once.
    pub fn refusals(mut refusals: Vec<Refusal>) -> Self {
        refusals.sort();
        refusals.dedup();
        let message = format!(
            "refused, nothing was touched: {} reason{}",
            refusals.len(),
            if refusals.len() == 1 { "" } else { "s" }
        );
        Self { refusals, ..Self::of(ExitCode::Refused, message) }
    }

    /// The same with its cause.
    #[must_use]
    pub fn cause(mut self, cause: impl fmt::Display) -> Self {
        self.cause = Some(cause.to_string());
        self
    }

    /// The same with what the user can do.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hints.push(hint.into());
        self
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        if let Some(cause) = &self.cause {
            write!(f, ": {cause}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Error {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_another_process_is_its_own_word_or_none() {
        for code in [0, 1, 2, 3, 4, 5, 130] {
            assert_eq!(ExitCode::of(Some(code)).map(|code| code as i32), Some(code));
        }
        // Killed, or by a panic: it has not said how it left things.
        assert_eq!((ExitCode::of(None), ExitCode::of(Some(101))), (None, None));
    }

    #[test]
    fn of_several_ends_the_worst_is_told() {
        use ExitCode::{Done, Failed, Held, Interrupted, Lesser, Refused, Usage};
        let rising = [Done, Lesser, Interrupted, Usage, Refused, Failed, Held];
        for (i, low) in rising.into_iter().enumerate() {
            for high in rising.into_iter().skip(i) {
                assert_eq!((low.worse(high), high.worse(low)), (high, high));
            }
        }
    }
}
