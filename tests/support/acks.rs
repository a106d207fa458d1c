//! What the writers were told is safe, and when.

use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom};
use std::path::PathBuf;
use std::time::Duration;

use jiff::Timestamp;

use super::wait;

/// One acknowledged row. Times are nanoseconds since 1970, of this machine's clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ack {
    pub number: i64,
    /// The write was begun.
    pub begun: i128,
    /// The database said that it is safe.
    pub acked: i128,
}

/// The file that a writer keeps in its pod's empty folder. It is read on the node, so that reading costs no exec.
#[derive(Clone, Debug)]
pub struct AckLog(PathBuf);

impl AckLog {
    pub fn new(path: PathBuf) -> Self {
        Self(path)
    }

    /// All rows that were acknowledged so far.
    pub fn all(&self) -> Vec<Ack> {
        parse(&fs::read_to_string(&self.0).unwrap_or_default())
    }

    /// The row that was acknowledged last.
    pub fn last(&self) -> Option<Ack> {
        self.tail(1000).0.last().copied()
    }

    /// The longest time without an acknowledgement since this moment.
    pub fn gap_since(&self, from: i128) -> Duration {
        // A log that grew for an hour is not read whole.
        let mut length = 1 << 16;
        loop {
            let (acks, whole) = self.tail(length);
            if whole || acks.first().is_some_and(|ack| ack.acked < from) {
                return longest_gap(&acks, from, now());
            }
            length *= 4;
        }
    }

    /// The rows in the last bytes of the file, and whether these are all.
    fn tail(&self, length: u64) -> (Vec<Ack>, bool) {
        let Ok(mut file) = File::open(&self.0) else { return (Vec::new(), true) };
        let size = file.metadata().unwrap().len();
        file.seek(SeekFrom::Start(size.saturating_sub(length))).unwrap();
        let mut tail = String::new();
        file.read_to_string(&mut tail).unwrap();
        let whole = size <= length;
        let lines = if whole { &tail } else { tail.split_once('\n').map_or("", |(_, rest)| rest) };
        (parse(lines), whole)
    }

    /// Waits for a row that was begun and acknowledged after this moment: the database takes writes.
    pub fn serves_after(&self, moment: i128, within: Duration) -> Ack {
        wait::until(&format!("a write acknowledged in {}", self.0.display()), within, || match self.last() {
            Some(ack) if ack.begun > moment => Ok(ack),
            Some(ack) => Err(format!("the last was acknowledged {} ms before", (moment - ack.acked) / 1_000_000)),
            None => Err("none was".to_owned()),
        })
    }
}

/// Now, as the writers write it.
pub fn now() -> i128 {
    Timestamp::now().as_nanosecond()
}

/// The longest time without an acknowledgement between the two moments.
pub fn longest_gap(acks: &[Ack], from: i128, to: i128) -> Duration {
    let mut gap = 0;
    let mut before = from;
    for ack in acks.iter().filter(|ack| ack.acked > from && ack.acked < to) {
        gap = gap.max(ack.acked - before);
        before = ack.acked;
    }
    Duration::from_nanos(u64::try_from(gap.max(to - before)).unwrap())
}

/// Lines of `ack NUMBER BEGUN ACKED`; the last one may be half written.
fn parse(text: &str) -> Vec<Ack> {
    let Some((whole, _)) = text.rsplit_once('\n') else { return Vec::new() };
    let ack = |line: &str| {
        let mut words = line.strip_prefix("ack ")?.split(' ');
        let number = words.next()?.parse().ok()?;
        Some(Ack { number, begun: words.next()?.parse().ok()?, acked: words.next()?.parse().ok()? })
    };
    whole.lines().map(|line| ack(line).unwrap_or_else(|| panic!("no acknowledgement: {line}"))).collect()
}

#[test]
fn acknowledgements_are_read_and_gaps_found() {
    let acks = parse("ack 1 10 20\nack 2 30 40\nack 3 90 100\nack 4 1");
    assert_eq!(acks.len(), 3);
    assert_eq!(acks[2], Ack { number: 3, begun: 90, acked: 100 });
    assert_eq!(longest_gap(&acks, 0, 110), Duration::from_nanos(60));
    assert_eq!(longest_gap(&acks, 0, 500), Duration::from_nanos(400), "silence at the end counts");
    assert_eq!(longest_gap(&acks, 35, 45), Duration::from_nanos(5));
}
