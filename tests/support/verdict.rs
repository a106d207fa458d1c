//! Whether a copy holds what it must, and nothing that it must not.
//!
//! The promise of a record is about its window: every row that was acknowledged before the start is in the copy, none
//! that was begun after the end is. A row in flight at the start, or begun inside the window, may be in it or not.
//!
//! Writers, plugin and API server run on one machine here. The window's times are the server's as the plugin knows
//! them: its own clock less `clientSkewSeconds`. So adding that again gives exact times of this machine, to the
//! millisecond that the record prints, and the judgement needs no other tolerance. How well the plugin knows the
//! server's clock is judged apart: both are one clock here, so the skew must lie within what the record claims.

use std::collections::HashSet;

use jiff::Timestamp;
use serde_json::Value;

use super::acks::Ack;

/// A row as a database has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row {
    pub number: i64,
    pub begun: i128,
}

impl Row {
    /// Out of `NUMBER TIME` lines.
    pub fn parse(text: &str) -> Vec<Self> {
        let row = |line: &str| {
            let (number, begun) = line.trim().split_once(' ')?;
            Some(Self { number: number.parse().ok()?, begun: begun.parse().ok()? })
        };
        text.lines().map(|line| row(line).unwrap_or_else(|| panic!("no row: {line}"))).collect()
    }
}

/// A record's window on this machine's clock, in nanoseconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    pub start: i128,
    pub end: i128,
}

/// The record rounds its times to a millisecond, and the skew is one more rounded figure.
pub const ROUNDING: i128 = 2_000_000;

impl Window {
    /// Of a backup's record.
    #[track_caller]
    pub fn of(record: &Value) -> Self {
        let window = &record["status"]["window"];
        let accuracy = window["accuracySeconds"].as_f64().unwrap_or_else(|| panic!("no window in {record:#}"));
        let skew = window["clientSkewSeconds"].as_f64().expect("clientSkewSeconds is a number");
        assert!(skew.abs() <= accuracy + 0.005, "one clock, but a skew of {skew} s where {accuracy} s is claimed");
        let at = |field: &str| Self::at(record, window[field].as_str().unwrap_or_default());
        let window = Self { start: at("start"), end: at("end") };
        assert!(window.start <= window.end, "the window ends before it starts: {record:#}");
        window
    }

    /// A time of a record on this machine's clock.
    #[track_caller]
    pub fn at(record: &Value, time: &str) -> i128 {
        let skew = record["status"]["window"]["clientSkewSeconds"].as_f64().expect("clientSkewSeconds is a number");
        let time: Timestamp = time.parse().unwrap_or_else(|e| panic!("`{time}`: {e} in {record:#}"));
        #[allow(clippy::cast_possible_truncation, reason = "a skew is a fraction of a second")]
        let skew = (skew * 1e9) as i128;
        time.as_nanosecond() + skew
    }
}

/// What a copy lacks and what it has too much.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    /// Rows that had to be there.
    pub promised: usize,
    /// Of these, what is missing.
    pub lost: Vec<i64>,
    /// Rows that were begun after the window, before `until`.
    pub too_many: Vec<i64>,
    /// Rows that are there twice.
    pub twice: usize,
}

impl Verdict {
    /// Judges a copy. `until` is when a restored database began to take new rows, which are no part of the copy.
    pub fn of(acks: &[Ack], rows: &[Row], window: Window, until: Option<i128>) -> Self {
        let there: HashSet<i64> = rows.iter().map(|row| row.number).collect();
        let promised: Vec<&Ack> = acks.iter().filter(|ack| ack.acked < window.start - ROUNDING).collect();
        let late = |row: &&Row| row.begun > window.end + ROUNDING && until.is_none_or(|until| row.begun < until);
        Self {
            promised: promised.len(),
            lost: promised.iter().map(|ack| ack.number).filter(|number| !there.contains(number)).collect(),
            too_many: rows.iter().filter(late).map(|row| row.number).collect(),
            twice: rows.len() - there.len(),
        }
    }

    /// Fails unless the copy is right. A copy of which nothing was asked proves nothing, so that fails too.
    #[track_caller]
    pub fn is_right(&self, of: &str) {
        assert!(self.promised > 50, "{of}: only {} rows were acknowledged before the window", self.promised);
        assert!(self.lost.is_empty(), "{of}: {} of {} rows lost: {:?}", self.lost.len(), self.promised, self.lost);
        assert!(self.too_many.is_empty(), "{of}: {} rows too many: {:?}", self.too_many.len(), self.too_many);
        assert!(self.twice == 0, "{of}: {} rows are there twice", self.twice);
    }
}

/// How long an answer may be on its way to a writer that the busy machine does not let run.
const ON_ITS_WAY: i128 = 1_000_000_000;

/// Rows that a database acknowledged although it was held. What was asked for before, and heard of right after the start,
/// may have been answered before: with a writer that never rests most rows of a window are begun in it.
pub fn acknowledged_inside(acks: &[Ack], window: Window) -> Vec<i64> {
    let inside = |ack: &&Ack| ack.acked > window.start + ROUNDING && ack.acked < window.end - ROUNDING;
    let late = |ack: &Ack| ack.begun < window.start && ack.acked < window.start + ON_ITS_WAY;
    acks.iter().filter(inside).filter(|ack| !late(ack)).map(|ack| ack.number).collect()
}

/// How long before a hold rows are counted: a machine under load may let a writer rest for a second or two.
const BUSY: i128 = 10_000_000_000;

/// How many rows were acknowledged in the 10 s before the hold: a database that was not busy proves little.
pub fn busy_before(acks: &[Ack], held: i128) -> usize {
    acks.iter().filter(|ack| ack.acked < held && ack.acked > held - BUSY).count()
}

#[test]
fn a_copy_is_judged_by_the_window() {
    const MS: i128 = 1_000_000;
    let ack = |number, begun: i128, acked: i128| Ack { number, begun: begun * MS, acked: acked * MS };
    let row = |number, begun: i128| Row { number, begun: begun * MS };
    let window = Window { start: 100 * MS, end: 200 * MS };
    let acks = [ack(1, 10, 20), ack(2, 50, 60), ack(3, 90, 110), ack(4, 120, 130), ack(5, 300, 310)];

    let right = Verdict::of(&acks, &[row(1, 10), row(2, 50), row(4, 120)], window, None);
    assert_eq!(right, Verdict { promised: 2, ..Verdict::default() });
    let lost = Verdict::of(&acks, &[row(1, 10)], window, None);
    assert_eq!(lost.lost, [2]);
    let late = Verdict::of(&acks, &[row(1, 10), row(2, 50), row(5, 300)], window, None);
    assert_eq!(late.too_many, [5]);
    let new = Verdict::of(&acks, &[row(1, 10), row(2, 50), row(6, 400)], window, Some(350 * MS));
    assert_eq!(new.too_many, Vec::<i64>::new(), "what was written after the restore is no part of the copy");
    let twice = Verdict::of(&acks, &[row(1, 10), row(2, 50), row(2, 50)], window, None);
    assert_eq!(twice.twice, 1);
    assert_eq!(acknowledged_inside(&acks, window), [4], "the third was asked for before");
    let long = Window { end: 3000 * MS, ..window };
    assert_eq!(
        acknowledged_inside(&[ack(1, 90, 1090), ack(2, 90, 1110)], long),
        [2],
        "no answer is so long on its way"
    );
    assert_eq!(busy_before(&acks, window.start), 2);
}
