//! How long databases will be held, guessed from the number of claims.
//!
//! What makes many claims slow is not the storage but the snapshot-controller and the csi-snapshotter, which send 5
//! requests a second by default (burst 10). Measured with these settings, from the creation of all VolumeSnapshots to
//! the last proof: on the contents 0.07 s, 6 s and 35 s for 1, 10 and 40 claims; on the snapshots, which another
//! throttled controller writes later, 1 s, 16 s and 70 s. Between these the model is a straight line, beyond them it
//! goes on with the last slope. Controllers with higher limits are faster; slower storage is not known beforehand.

use std::time::Duration;

use super::ContentAccess;

/// Hold, flush and release themselves, whatever the number of claims.
const FLOOR: Duration = Duration::from_millis(500);

const ON_CONTENTS: [(f64, f64); 3] = [(1.0, 0.07), (10.0, 6.0), (40.0, 35.0)];
const ON_SNAPSHOTS: [(f64, f64); 3] = [(1.0, 1.0), (10.0, 16.0), (40.0, 70.0)];

/// An estimate of the hold for this number of claims.
pub fn estimate(claims: usize, contents: ContentAccess) -> Duration {
    let Some(more) = u32::try_from(claims).ok().filter(|n| *n > 0) else {
        return FLOOR;
    };
    let points = if contents.read { ON_CONTENTS } else { ON_SNAPSHOTS };
    FLOOR + Duration::from_secs_f64(line(points, f64::from(more)))
}

fn line([a, b, c]: [(f64, f64); 3], x: f64) -> f64 {
    let (from, to) = if x <= b.0 { (a, b) } else { (b, c) };
    from.1 + (x - from.0) * (to.1 - from.1) / (to.0 - from.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_goes_through_what_was_measured() {
        let millis = |claims, read| {
            let contents = ContentAccess { read, change: read };
            estimate(claims, contents).as_millis()
        };
        for (claims, on_contents, on_snapshots) in [
            (0, 500, 500),
            (1, 570, 1_500),
            (10, 6_500, 16_500),
            (25, 21_000, 43_500),
            (40, 35_500, 70_500),
            (70, 64_500, 124_500),
        ] {
            assert_eq!((millis(claims, true), millis(claims, false)), (on_contents, on_snapshots), "{claims}");
        }
    }
}
