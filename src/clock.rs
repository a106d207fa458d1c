//! The API server's time, kept by our own monotonic clock, and whether our process was stopped meanwhile.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use http::Request;
use http::header::DATE;
use jiff::{SignedDuration, Timestamp};
use kube::client::Body;
use tokio::task::JoinHandle;

use crate::cluster::client::{Cluster, explain};
use crate::error::Error;

/// Fine enough: the window's times are compared with cuts that take longer.
const FINE: Duration = Duration::from_millis(25);
/// Between two looks at the server's clock.
const PAUSE: Duration = Duration::from_millis(15);
/// One second must flip within one second; the rest is for a slow connection.
const MOST: Duration = Duration::from_secs(4);

/// The API server's clock as we know it.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    start: Instant,
    server: Timestamp,
    /// How well the server's time is known: nothing finer than this may be claimed.
    pub width: Duration,
    /// How far our own wall clock is ahead of the server's.
    pub skew: SignedDuration,
}

impl Clock {
    /// Learns the server's time from its Date header, which has whole seconds, by asking until the second flips.
    /// Takes up to about a second.
    pub async fn measure(cluster: &Cluster) -> Result<Self, Error> {
        let start = Instant::now();
        let wall = Timestamp::now();
        let mut bounds = Bounds::default();
        let mut last = None;
        while start.elapsed() < MOST {
            let asked = start.elapsed();
            match tokio::time::timeout(MOST.saturating_sub(asked), date(cluster)).await {
                Ok(Ok(second)) => bounds.narrow(second, asked, start.elapsed()),
                Ok(Err(why)) => last = Some(why),
                Err(_) => last = Some(format!("no answer within {MOST:?}")),
            }
            if bounds.width().is_some_and(|width| width <= FINE) {
                break;
            }
            tokio::time::sleep(PAUSE).await;
        }
        let failed = || Error::failed(format!("cannot read the clock of {}", cluster.server));
        let (server, width) = bounds.middle().ok_or_else(|| match &last {
            Some(why) => failed().cause(why),
            None => failed(),
        })?;
        Ok(Self { start, server, width, skew: wall.duration_since(server) })
    }

    /// The server's time now, by our monotonic clock.
    pub fn now(&self) -> Timestamp {
        self.at(Instant::now())
    }

    /// The server's time at a moment of ours.
    pub fn at(&self, moment: Instant) -> Timestamp {
        let since = moment.saturating_duration_since(self.start);
        self.server.checked_add(since).unwrap_or(self.server)
    }
}

/// The API server's time, to the second.
pub async fn second(cluster: &Cluster) -> Result<Timestamp, String> {
    Timestamp::from_second(date(cluster).await?).map_err(|e| e.to_string())
}

/// The second that stands in the server's Date header. Not repeated: a repetition would only widen what it says.
async fn date(cluster: &Cluster) -> Result<i64, String> {
    let request = Request::get("/version").body(Body::empty()).map_err(|e| e.to_string())?;
    // Any answer will do, a refusal too: the header stands on all.
    let answer = cluster.once.send(request).await.map_err(|e| explain(&e))?;
    let date = answer.headers().get(DATE).and_then(|d| d.to_str().ok()).ok_or("no Date header")?;
    let time = jiff::fmt::rfc2822::parse(date).map_err(|e| e.to_string())?;
    Ok(time.timestamp().as_second())
}

/// Between which times the server's clock was at our `start`, in nanoseconds.
#[derive(Default)]
struct Bounds {
    between: Option<(i128, i128)>,
}

impl Bounds {
    /// The server read `second` at some moment between `asked` and `answered`.
    fn narrow(&mut self, second: i64, asked: Duration, answered: Duration) {
        let second = i128::from(second) * 1_000_000_000;
        let lowest = second - nanos(answered);
        let highest = second + 1_000_000_000 - nanos(asked);
        let (low, high) = self.between.unwrap_or((lowest, highest));
        self.between = Some((low.max(lowest), high.min(highest)));
    }

    /// Several servers behind one address whose clocks differ make the bounds cross: then their distance is the width.
    fn width(&self) -> Option<Duration> {
        let (low, high) = self.between?;
        Some(Duration::from_nanos(u64::try_from((high - low).abs()).unwrap_or(u64::MAX)))
    }

    fn middle(&self) -> Option<(Timestamp, Duration)> {
        let (low, high) = self.between?;
        Some((Timestamp::from_nanosecond(i128::midpoint(low, high)).ok()?, self.width()?))
    }
}

fn nanos(duration: Duration) -> i128 {
    i128::try_from(duration.as_nanos()).unwrap_or(i128::MAX)
}

/// Tells when this process was stopped: by SIGSTOP, by a debugger, by a laptop's lid. What it believed before, that
/// its Leases are its own and that nobody took over its journal, has to be looked up again.
pub struct Pulse {
    beats: Arc<Mutex<Beats>>,
    task: JoinHandle<()>,
}

const BEAT: Duration = Duration::from_millis(500);

impl Pulse {
    /// Starts beating.
    pub fn start() -> Self {
        let beats = Arc::new(Mutex::new(Beats::at(Instant::now(), SystemTime::now())));
        let beating = beats.clone();
        let task = tokio::spawn(async move {
            loop {
                tokio::time::sleep(BEAT).await;
                lock(&beating).beat(Instant::now(), SystemTime::now());
            }
        });
        Self { beats, task }
    }

    /// The longest gap since this was asked last, if it was longer than `limit`. Also true in the first moment after
    /// the gap, when no beat has come yet.
    pub fn gap(&self, limit: Duration) -> Option<Duration> {
        let mut beats = lock(&self.beats);
        beats.beat(Instant::now(), SystemTime::now());
        Some(std::mem::take(&mut beats.longest)).filter(|gap| *gap > limit)
    }
}

impl Drop for Pulse {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn lock(beats: &Mutex<Beats>) -> std::sync::MutexGuard<'_, Beats> {
    beats.lock().unwrap_or_else(PoisonError::into_inner)
}

struct Beats {
    last: Instant,
    wall: SystemTime,
    longest: Duration,
}

impl Beats {
    fn at(last: Instant, wall: SystemTime) -> Self {
        Self { last, wall, longest: Duration::ZERO }
    }

    /// The monotonic clock stands still while the machine sleeps, so the wall clock is looked at too. That it was set
    /// forward looks the same and costs one superfluous look at the Lease.
    fn beat(&mut self, now: Instant, wall: SystemTime) {
        let awake = now.saturating_duration_since(self.last);
        let passed = wall.duration_since(self.wall).unwrap_or_default();
        self.longest = self.longest.max(awake).max(passed);
        (self.last, self.wall) = (now, wall);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    /// A server whose clock was at `server` ms when ours was at 0, asked every 20 ms for `asked` ms.
    fn asked(server: i64, asked: u64, trip: u64) -> Bounds {
        let mut bounds = Bounds::default();
        for at in (0..asked).step_by(20) {
            let read = (server + i64::try_from(at + trip / 2).unwrap()).div_euclid(1000);
            bounds.narrow(read, ms(at), ms(at + trip));
        }
        bounds
    }

    #[test]
    fn the_true_offset_lies_between_the_bounds() {
        for server in (1_700_000_000_000..1_700_000_001_000).step_by(37) {
            for trip in [0, 2, 10, 300] {
                let bounds = asked(server, 1200, trip);
                let (low, high) = bounds.between.unwrap();
                let truth = i128::from(server) * 1_000_000;
                assert!(low <= truth && truth <= high, "{server} {trip}: {low} {high}");
                assert!(bounds.width().unwrap() <= ms(20 + trip), "{server} {trip}");
            }
        }
    }

    #[test]
    fn before_the_flip_only_the_second_is_known() {
        assert!(asked(1_700_000_000_100, 500, 2).width().unwrap() > ms(400));
        assert!(Bounds::default().middle().is_none());
    }

    #[test]
    fn servers_that_disagree_make_it_wider_not_finer() {
        let mut bounds = asked(1_700_000_000_500, 1200, 2);
        bounds.narrow(1_700_000_009, ms(1200), ms(1202));
        assert!(bounds.width().unwrap() > Duration::from_secs(6));
    }

    #[test]
    fn time_goes_on_by_the_monotonic_clock() {
        let start = Instant::now();
        let clock = Clock { start, server: Timestamp::UNIX_EPOCH, width: ms(1), skew: SignedDuration::ZERO };
        assert_eq!(clock.at(start + ms(1500)).as_millisecond(), 1500);
    }

    #[test]
    fn a_gap_is_seen_on_either_clock() {
        let (now, wall) = (Instant::now(), SystemTime::now());
        let gap = |awake: u64, passed: u64| {
            let mut beats = Beats::at(now, wall);
            beats.beat(now + ms(500), wall + ms(500));
            beats.beat(now + ms(500 + awake), wall + ms(500 + passed));
            beats.longest
        };
        assert_eq!(gap(600, 600), ms(600));
        assert_eq!(gap(12_000, 12_000), ms(12_000));
        assert_eq!(gap(10, 60_000), ms(60_000));
    }

    #[tokio::test]
    async fn a_gap_is_told_once() {
        let pulse = Pulse::start();
        assert_eq!(pulse.gap(ms(300)), None);
        std::thread::sleep(ms(400));
        assert!(pulse.gap(ms(300)).is_some());
        assert_eq!(pulse.gap(ms(300)), None);
    }
}
