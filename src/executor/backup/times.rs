//! Whether the window's times can be gone by: the databases restore to an instant by their own clocks, not by ours.

use std::time::Duration;

use jiff::SignedDuration;
use tokio::time::Instant;

use super::Backup;
use crate::clock::Clock;
use crate::exec;
use crate::executor::Log;
use crate::plan::Backend;
use crate::protocol::Abort;
use crate::protocol::backup::Run;
use crate::record::backup::record;

/// Seconds and, where `date` knows them, nanoseconds.
const DATE: &str = "date -u +%s.%N";

impl Backup<'_> {
    /// How far the clock of a target's container is ahead of the server's, in seconds. Nothing where it cannot be asked,
    /// or where nobody goes by it; an error if it is too far off.
    pub(super) async fn container_clock(&self, t: usize, clock: &Clock) -> Result<Option<f64>, String> {
        let Backend::Window { hold } = &self.plan.backend else { return Ok(None) };
        let target = self.target(t);
        if target.endpoint.is_some() {
            return Ok(None);
        }
        let argv = ["sh", "-c", DATE].map(str::to_owned);
        let asked = Instant::now();
        let sent = clock.now();
        let answer = exec::run(self.cluster, &self.place(t), &argv, Duration::from_secs(5)).await;
        let half = asked.elapsed() / 2;
        // busybox prints no nanoseconds, or the letter.
        let told = answer.out.trim().trim_end_matches(['N', '%', '.']).parse::<f64>().ok().filter(|_| answer.ok());
        let Some(told) = told else { return Ok(None) };
        #[allow(clippy::cast_precision_loss, reason = "a clock of this century is whole in a double")]
        let ours = sent.as_microsecond() as f64 / 1e6 + half.as_secs_f64();
        let skew = told - ours;
        // It says whole seconds only, perhaps, and was asked over the network.
        let unknown = half.as_secs_f64() + if answer.out.contains('.') { 0.0 } else { 1.0 };
        // How long a detached run is held is not known yet.
        if !self.plan.detached && skew.abs() - unknown > hold.as_secs_f64() / 2.0 {
            return Err(format!(
                "its clock is {skew:.1} s off the API server's, and a window of {hold:?} is found again only if that is less \
                 than half of it: correct the clocks, or ask for more with --hold"
            ));
        }
        Ok(Some(skew))
    }

    /// Says that this machine's clock tells other times than the window's: which of the two is off only the user sees.
    pub(super) fn tell_skew(&self, clock: &Clock) {
        let Backend::Window { hold } = &self.plan.backend else { return };
        let skew = clock.skew.as_secs_f64();
        if skew.abs() - clock.width.as_secs_f64() > hold.as_secs_f64() / 2.0 {
            self.progress.say(&format!(
                "the API server's clock, which tells the window's times, is {:.1} s {} this machine's: if it is the one that \
                 is wrong, no database is restored by these times",
                skew.abs(),
                if skew > 0.0 { "behind" } else { "ahead of" }
            ));
        }
    }

    /// Whether the window was as long as it was asked for, by a clock that can be gone by. Breaks the run off if not.
    pub(super) async fn check_window(&self, log: &mut Log<Run>) -> bool {
        let Backend::Window { hold } = &self.plan.backend else { return true };
        if let Some(why) = self.window_is_wrong(log, *hold).await {
            log.abort(Abort::Step, why);
            return false;
        }
        true
    }

    async fn window_is_wrong(&self, log: &Log<Run>, hold: Duration) -> Option<String> {
        let window = record(&self.plan, &log.entries, Vec::new(), Vec::new()).ok().and_then(|r| r.status.window)?;
        let hold = if self.plan.detached { Duration::from_secs_f64(window.seconds) } else { hold };
        if let Some(skew) = window.database_skew_seconds.filter(|skew| skew.abs() - 1.0 > hold.as_secs_f64() / 2.0) {
            return Some(format!(
                "the clock of a database is {skew:.1} s off the API server's, more than half of the window"
            ));
        }
        if window.seconds < hold.as_secs_f64() {
            return Some(format!("all were held at once for {:.3} s only, not for {hold:?}", window.seconds));
        }
        // A clock that was set while they were held, the server's or, by a sleep, ours.
        match Clock::measure(self.cluster).await {
            Ok(now) => {
                let off = now.now().duration_since(log.clock.now()).abs();
                let known = SignedDuration::try_from(now.width + log.clock.width).unwrap_or_default();
                let too_far = off - known > SignedDuration::try_from(hold / 2).unwrap_or_default();
                too_far.then(|| format!("the API server's clock moved by {:.1} s meanwhile", off.as_secs_f64()))
            }
            Err(error) => Some(format!("the window's times could not be checked: {error}")),
        }
    }
}
