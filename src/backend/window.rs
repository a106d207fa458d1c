//! Copies nothing: holds for the asked time, so that a recovery of the databases to an instant of it is consistent.

use std::time::Duration;

use super::{Proof, Seen};

/// Lets the time pass. What proves this window is that everything was held in all of it.
pub async fn cut(hold: Duration, seen: impl Fn(Seen)) {
    tokio::time::sleep(hold).await;
    seen(Seen::Cut { claim: 0, proof: Proof::default() });
}
