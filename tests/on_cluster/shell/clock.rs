use std::time::{Duration, Instant};

use consistent_backup::clock::Clock;

use super::cluster;
use crate::support::cluster::Turn;

#[tokio::test]
async fn two_measurements_agree_within_their_widths() {
    let _turn = Turn::shared();
    let cluster = cluster().await;
    let begin = Instant::now();
    let first = Clock::measure(&cluster).await.unwrap();
    let took = begin.elapsed();
    let second = Clock::measure(&cluster).await.unwrap();
    eprintln!(
        "{took:?}: width {:?} skew {:?}; then width {:?} skew {:?}",
        first.width, first.skew, second.width, second.skew
    );
    let difference = first.now().duration_since(second.now()).unsigned_abs();
    assert!(difference <= (first.width + second.width) / 2 + Duration::from_millis(2), "{difference:?}");
    assert!(first.width < Duration::from_secs(1), "no more exact than the second of the header");
}
