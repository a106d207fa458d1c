//! Whether somebody else's Lease is alive, judged by our own clock alone. Pure.

use std::time::Duration;

use tokio::time::Instant;

/// What the looks at a Lease so far show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Unchanged so far; expired if it stays so for this long.
    Waiting(Duration),
    /// Unchanged for its whole duration.
    Expired,
    /// Changed while we looked: its holder lives.
    Renewed,
}

/// A Lease's resourceVersion, and since when we know it.
#[derive(Debug, Default)]
pub(super) struct Observed {
    seen: Option<(String, Instant)>,
}

impl Observed {
    /// One more look, asked and answered at these moments. It is counted from the first answer to the last question:
    /// the times on the way could hide a renewal.
    pub(super) fn see(&mut self, version: &str, duration: Duration, asked: Instant, answered: Instant) -> Verdict {
        match &self.seen {
            Some((seen, since)) if seen == version => {
                let unchanged = asked.saturating_duration_since(*since);
                match duration.checked_sub(unchanged) {
                    None | Some(Duration::ZERO) => Verdict::Expired,
                    Some(left) => Verdict::Waiting(left),
                }
            }
            before => {
                let renewed = before.is_some();
                self.seen = Some((version.to_owned(), answered));
                if renewed { Verdict::Renewed } else { Verdict::Waiting(duration) }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEN: Duration = Duration::from_secs(10);

    fn looks(looks: &[(&str, u64, u64)]) -> Verdict {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut observed = Observed::default();
        let verdicts =
            looks.iter().map(|(version, asked, answered)| observed.see(version, TEN, at(*asked), at(*answered)));
        verdicts.last().unwrap()
    }

    #[test]
    fn unchanged_for_its_duration_is_expired() {
        assert_eq!(looks(&[("1", 0, 0)]), Verdict::Waiting(TEN));
        assert_eq!(looks(&[("1", 0, 0), ("1", 4_000, 4_001)]), Verdict::Waiting(Duration::from_secs(6)));
        assert_eq!(looks(&[("1", 0, 0), ("1", 10_000, 10_001)]), Verdict::Expired);
    }

    #[test]
    fn the_way_of_question_and_answer_does_not_count() {
        // Answered at 3 s and asked at 12 s: only 9 s are certain, however long the answers took.
        assert_eq!(looks(&[("1", 0, 3_000), ("1", 12_000, 20_000)]), Verdict::Waiting(Duration::from_secs(1)));
    }

    #[test]
    fn a_change_is_life_and_begins_anew() {
        assert_eq!(looks(&[("1", 0, 0), ("2", 9_999, 10_000)]), Verdict::Renewed);
        assert_eq!(
            looks(&[("1", 0, 0), ("2", 9_000, 9_000), ("2", 18_999, 18_999)]),
            Verdict::Waiting(Duration::from_millis(1))
        );
        assert_eq!(looks(&[("1", 0, 0), ("2", 9_000, 9_000), ("2", 19_000, 19_000)]), Verdict::Expired);
    }
}
