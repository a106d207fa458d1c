//! Long rows of runs, each of which is stopped, killed or otherwise struck at its own moment.

use std::fmt::Debug;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use super::plugin::Plugin;
use super::process::{Ended, Running};
use super::wait::seconds;

/// A run that is stopped right after this event of its journal; or its end, if it came first.
pub fn stopped_at(event: u32, plugin: Plugin) -> Result<Running, Ended> {
    let mut running = plugin.stops_at(event).start();
    if running.until_stopped(seconds(180)) { Ok(running) } else { Err(running.end(seconds(60))) }
}

/// What became of a row of runs.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Struck {
    /// How many runs were struck and survived.
    pub survived: usize,
    /// Where a run was struck and did not survive.
    pub failed: Vec<String>,
    /// Where another sitting goes on, if the time was up before the row was.
    pub goes_on_at: Option<String>,
}

/// Whether a sitting is over: `CONSISTENT_BACKUP_MINUTES` since the first row of this process began. Without it none is.
fn time_is_up() -> bool {
    static BEGUN: OnceLock<Instant> = OnceLock::new();
    let begun = BEGUN.get_or_init(Instant::now);
    let Ok(minutes) = std::env::var("CONSISTENT_BACKUP_MINUTES") else { return false };
    let minutes = minutes.parse().unwrap_or_else(|_| panic!("CONSISTENT_BACKUP_MINUTES={minutes} is no number"));
    begun.elapsed() > Duration::from_mins(minutes)
}

/// Strikes at one of these after the other, until a run is over before: `survived` gives whether it was struck. A run
/// that does not survive ends the row only if it is the `most`th: what the others show is worth knowing, too.
pub fn until_over<P: Debug>(
    points: impl IntoIterator<Item = P>,
    most: usize,
    mut survived: impl FnMut(&P) -> bool,
) -> Struck {
    let mut row = Struck::default();
    for point in points {
        if time_is_up() {
            row.goes_on_at = Some(format!("{point:?}"));
            break;
        }
        match catch_unwind(AssertUnwindSafe(|| survived(&point))) {
            Ok(true) => row.survived += 1,
            Ok(false) => break,
            Err(_) => row.failed.push(format!("{point:?}")),
        }
        if row.failed.len() >= most {
            break;
        }
    }
    row
}

impl Struck {
    /// Fails unless all survived, and there were enough of them; how many.
    #[track_caller]
    pub fn all_survived(self, what: &str, least: usize) -> usize {
        println!("{what}: {} struck, not survived: {:?}", self.survived, self.failed);
        assert!(self.failed.is_empty(), "{what}: not survived: {:?}", self.failed);
        if let Some(at) = &self.goes_on_at {
            println!("the time is up: {what} goes on @{at}");
        } else {
            assert!(self.survived >= least, "{what}: struck only {} times", self.survived);
        }
        self.survived
    }
}

/// The parts of a long row that an environment variable limits it to, separated by commas; None without it. A name that
/// is unknown fails the test.
#[track_caller]
pub fn only(variable: &str, known: &[&'static str]) -> Option<Vec<&'static str>> {
    let only = only_from(variable, known)?;
    let name = |(name, from): (&'static str, Option<u32>)| {
        assert!(from.is_none(), "{variable}: {name} takes no number");
        name
    };
    Some(only.into_iter().map(name).collect())
}

/// The same where `NAME@NUMBER` begins a part at a later place.
#[track_caller]
pub fn only_from(variable: &str, known: &[&'static str]) -> Option<Vec<(&'static str, Option<u32>)>> {
    let value = std::env::var(variable).ok()?;
    Some(parts(&value, known).unwrap_or_else(|wrong| panic!("{variable}: {wrong}; known are {}", known.join(", "))))
}

fn parts(value: &str, known: &[&'static str]) -> Result<Vec<(&'static str, Option<u32>)>, String> {
    let part = |part: &str| {
        let (name, from) = part.split_once('@').map_or((part, None), |(name, from)| (name, Some(from)));
        let name = known.iter().find(|known| **known == name).ok_or_else(|| format!("`{name}` is unknown"))?;
        let from = from.map(|from| from.parse().map_err(|_| format!("`{from}` is no number"))).transpose()?;
        Ok((*name, from))
    };
    value.split(',').map(part).collect()
}

#[test]
fn a_row_is_limited_to_known_parts() {
    assert_eq!(parts("b,a@7", &["a", "b"]), Ok(vec![("b", None), ("a", Some(7))]));
    assert_eq!(parts("c", &["a", "b"]), Err("`c` is unknown".to_owned()));
    assert_eq!(parts("", &["a", "b"]), Err("`` is unknown".to_owned()));
    assert_eq!(parts("a@x", &["a", "b"]), Err("`x` is no number".to_owned()));
}

#[test]
fn a_row_ends_where_a_run_is_over_before_and_after_enough_failures() {
    let row = until_over(1..10, 2, |&n| {
        assert!(n != 2, "the second does not survive");
        n < 4
    });
    assert_eq!(row, Struck { survived: 2, failed: vec!["2".to_owned()], goes_on_at: None });
    let row = until_over(1..10, 2, |n| panic!("{n} does not survive"));
    assert_eq!(row, Struck { survived: 0, failed: vec!["1".to_owned(), "2".to_owned()], goes_on_at: None });
}
