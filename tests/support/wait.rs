//! Waiting for a condition, never for a time.

use std::fmt::Display;
use std::thread::sleep;
use std::time::{Duration, Instant};

const BETWEEN: Duration = Duration::from_millis(100);
/// The longest pause between two looks.
const LONGEST: Duration = Duration::from_secs(1);

/// Looks until `look` gives a value; past `within` the test fails with the reason that was seen last.
pub fn until<T, E: Display>(what: &str, within: Duration, mut look: impl FnMut() -> Result<T, E>) -> T {
    match tried(within, &mut look) {
        Ok(value) => value,
        Err(last) => panic!("waited {} s for {what}: {last}", within.as_secs_f64()),
    }
}

/// The same, and the reason instead of a failure.
pub fn tried<T, E: Display>(within: Duration, mut look: impl FnMut() -> Result<T, E>) -> Result<T, E> {
    let end = Instant::now() + within;
    loop {
        let begun = Instant::now();
        match look() {
            Ok(value) => return Ok(value),
            Err(last) if Instant::now() >= end => return Err(last),
            // A look that costs a process takes the machine from what is waited for, so it is rare.
            Err(_) => sleep(begun.elapsed().mul_f32(2.0).clamp(BETWEEN, LONGEST)),
        }
    }
}

/// Looks until `look` says nothing is wrong.
pub fn until_none(what: &str, within: Duration, mut look: impl FnMut() -> Vec<String>) {
    until(what, within, || {
        let wrong = look();
        if wrong.is_empty() { Ok(()) } else { Err(wrong.join(", ")) }
    });
}

/// Seconds, for call sites.
pub const fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}
