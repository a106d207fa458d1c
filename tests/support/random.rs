//! Numbers that look random, the same for the same seed.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::thread;

use super::acks::now;

/// A generator with a seed.
pub struct Seeded(u64);

impl Seeded {
    /// With `CONSISTENT_BACKUP_SEED`, or a new seed, which is printed. Each test draws for itself: one seed for all of a run
    /// would always draw the same things together.
    pub fn of_run() -> Self {
        let seed = std::env::var("CONSISTENT_BACKUP_SEED").ok().and_then(|text| text.parse().ok());
        let seed: u64 = seed.unwrap_or_else(|| u64::try_from(now() / 1_000_000).unwrap());
        println!("CONSISTENT_BACKUP_SEED={seed}");
        let mut hasher = DefaultHasher::new();
        (seed, thread::current().name()).hash(&mut hasher);
        Self(hasher.finish())
    }

    /// A number below `end`.
    pub fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % end
    }

    /// One of these.
    pub fn one_of<'a, T>(&mut self, all: &'a [T]) -> &'a T {
        &all[usize::try_from(self.below(all.len() as u64)).unwrap()]
    }
}
