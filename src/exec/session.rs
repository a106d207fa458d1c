//! A command with attached standard input that is kept open: what is held by it ends with it.

use std::time::Duration;

use tokio::time::timeout;

use super::link::Link;
use super::{Place, told, unanswered};
use crate::cluster::client::Cluster;
use crate::quiescer::{Answer, Channel, End};

/// How long a polite end may take before we disconnect.
const FAREWELL: Duration = Duration::from_secs(1);

/// An open session. Dropping it disconnects: the command gets end of file and ends.
///
/// Once a question was given up, by its time or because its future was dropped, every later one is answered with
/// `Unknown` and not sent: its answer could be the earlier one's.
pub struct Session {
    link: Link,
    farewell: &'static str,
    /// Why nothing may be asked any more. Set while a question is open, so that a dropped future leaves it set.
    spoiled: Option<&'static str>,
}

impl Session {
    /// Starts the channel's command. The error is `Refused` if it certainly never ran, else `Unknown`.
    pub async fn open(cluster: &Cluster, at: &Place, channel: &Channel, within: Duration) -> Result<Self, Answer> {
        match Link::open(cluster, at, &channel.argv, true, within).await {
            Ok(link) => Ok(Self::on(link, channel.end)),
            Err(end) => Err(unanswered(end)),
        }
    }

    pub(super) fn on(link: Link, farewell: &'static str) -> Self {
        Self { link, farewell, spoiled: None }
    }

    /// Sends lines and waits for a line that equals `until`; the answer is what came before it. What had come
    /// unasked is dropped. If the session ends first, the answer says how: `Exited` with the code, but `Unknown` for
    /// code 0, which is no success when an answer was due.
    pub async fn ask(&mut self, send: &str, until: &str, within: Duration) -> Answer {
        if let Some(answer) = self.unusable() {
            return answer;
        }
        self.link.forget_out();
        self.link.say(send);
        self.wait(until, within).await
    }

    /// Sends lines that stay unanswered for now.
    pub fn tell(&mut self, send: &str) -> Answer {
        if let Some(answer) = self.unusable() {
            return answer;
        }
        self.link.say(send);
        Answer::default()
    }

    /// Waits for the answer to what was told: everything that came since the last answer, up to the line `until`.
    pub async fn expect(&mut self, until: &str, within: Duration) -> Answer {
        if let Some(why) = self.spoiled {
            return unanswered(End::Unknown(why.to_owned()));
        }
        self.wait(until, within).await
    }

    async fn wait(&mut self, until: &str, within: Duration) -> Answer {
        self.spoiled = Some("an earlier question was given up");
        let answered = timeout(within, self.link.until(until)).await;
        let (out, end) = match answered {
            Ok(Ok(out)) => {
                self.spoiled = None;
                (out, End::Answered)
            }
            Ok(Err(end)) => (self.link.take_all().0, gone(end)),
            Err(_) => (self.link.take_all().0, End::Unknown(format!("no answer in {within:?}"))),
        };
        Answer { out, err: self.link.take_err(), end }
    }

    /// The answer to everything, once the session has ended or is spoiled.
    fn unusable(&self) -> Option<Answer> {
        let end = match (self.link.end(), self.spoiled) {
            (Some(end), _) => gone(end),
            (None, Some(why)) => End::Unknown(why.to_owned()),
            (None, None) => return None,
        };
        Some(Answer { out: String::new(), err: self.link.take_err(), end })
    }

    /// How the session ended, if it has.
    pub fn ended(&self) -> Option<End> {
        self.link.end()
    }

    /// Ends the session by its own command, waits a moment for it, and disconnects.
    pub async fn close(mut self) -> End {
        self.link.say(&format!("{}\n", self.farewell));
        match timeout(FAREWELL, self.link.ended()).await {
            Ok(end) => end,
            Err(_) => End::Unknown("did not end by itself; disconnected".to_owned()),
        }
    }
}

/// The end of a session that owed an answer. `Answer::ok` takes exit code 0 for success, and here it is none.
fn gone(end: End) -> End {
    match end {
        End::Exited(0) => End::Unknown(format!("the session ended before it answered ({})", told(&end))),
        end => end,
    }
}

#[cfg(test)]
pub(super) mod tests;
