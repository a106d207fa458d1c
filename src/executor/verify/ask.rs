//! A copy whose server runs: until it serves, then every check and every question.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::{Broken, Verifier};
use crate::exec::{self, Place};
use crate::plan::restore::engine;
use crate::plan::verify::Copy;
use crate::quiescer::verify::{Checked, ISOLATED, Outcome, capped};
use crate::quiescer::{Act, Answer, End, Quiescer, SERVES, by_name};
use crate::record::verified::Query;

/// Pause between two questions.
const PAUSE: Duration = Duration::from_secs(1);
/// How often a question that got no answer is asked again.
const ASKED_AGAIN: u32 = 3;
/// Of an answer to the user's question so much is recorded.
const MOST: usize = 4096;

impl Verifier<'_> {
    /// Starts it and asks everything. What was learned before it broke stands in `checks`.
    pub(super) async fn look(
        &self,
        t: usize,
        copy: &Copy,
        until: Instant,
        checks: &mut Vec<Checked>,
        queries: &mut Vec<Query>,
    ) -> Result<(), Broken> {
        let adapter = by_name(&copy.target.adapter)
            .ok_or_else(|| Broken::Undecided(format!("this version has no adapter {}", copy.target.adapter)))?;
        self.start(copy, until, checks).await?;
        let place = Place {
            namespace: copy.namespace.clone(),
            pod: copy.name.clone(),
            container: copy.target.container.clone(),
            endpoint: None,
        };
        self.serves(copy, adapter, &place, until).await?;
        for check in adapter.checks(&copy.target.probe, left(until)) {
            self.tell(copy, &format!("checking: {}", check.name));
            let answer = self.run_act(&place, check.act, until).await;
            // A check that did not come to its end may have ended the server.
            if !answer.ok() {
                self.ended(copy).await?;
            }
            checks.extend((check.read)(&answer));
            if checks.iter().any(|c| c.name == ISOLATED && c.outcome != Outcome::Passed) {
                return Err(Broken::Undecided("it could have done harm, so nothing more was asked".to_owned()));
            }
        }
        checks.push(self.identity(copy, adapter, &place, until).await);
        for query in self.queries.iter().filter(|query| query.target == t) {
            self.tell(copy, &format!("asking: {}", query.command));
            let answer = exec::run(self.cluster, &place, &query.argv, left(until)).await;
            let (query, checked) = answered(copy, &query.command, &answer);
            queries.push(query);
            checks.push(checked);
        }
        Ok(())
    }

    /// Asks until it serves, has ended, or the time is over.
    async fn serves(&self, copy: &Copy, adapter: &dyn Quiescer, place: &Place, until: Instant) -> Result<(), Broken> {
        self.tell(copy, "waiting until it has recovered");
        loop {
            let answer = self.run_act(place, adapter.recovered(&copy.target.probe), until).await;
            if answer.ok() && answer.out.trim() == SERVES {
                return Ok(());
            }
            self.ended(copy).await?;
            if Instant::now() >= until {
                let said = answer.err.trim().lines().last().unwrap_or("no answer").to_owned();
                let why = format!("it did not serve within {} s: {said}", self.wait.as_secs());
                // A command that was never run says nothing of the server.
                return Err(match answer.end {
                    End::Exited(_) | End::Answered => Broken::Bad(why),
                    End::Refused(_) | End::Unknown(_) => Broken::Undecided(why),
                });
            }
            sleep(PAUSE).await;
        }
    }

    /// Whether it is the backed-up one: an engine that found none of its files starts as well, and is empty.
    async fn identity(&self, copy: &Copy, adapter: &dyn Quiescer, place: &Place, until: Instant) -> Checked {
        const NAME: &str = "identity";
        let mut answer = self.run_act(place, adapter.probe(), until).await;
        // It has seconds to answer, as a database that is to be held: a busy node is no reason to know nothing.
        for _ in 0..ASKED_AGAIN {
            if answer.ok() || Instant::now() >= until {
                break;
            }
            sleep(PAUSE).await;
            answer = self.run_act(place, adapter.probe(), until).await;
        }
        if !answer.ok() {
            return Checked::unknown(NAME, ended(&answer));
        }
        match adapter.read_probe(&answer) {
            Err(reasons) => {
                let all: Vec<String> = reasons.into_iter().map(|r| r.message).collect();
                Checked::new(NAME, Outcome::Failed, all.join("; "))
            }
            Ok(now) => match engine::other_database(&copy.target.probe, &now, false) {
                Some(why) => Checked::new(NAME, Outcome::Failed, why),
                None => Checked::new(NAME, Outcome::Passed, now.version),
            },
        }
    }

    async fn run_act(&self, place: &Place, act: Act, until: Instant) -> Answer {
        match act {
            Act::Exec { argv, within } => exec::run(self.cluster, place, &argv, within.min(left(until))).await,
            _ => Answer { end: End::Refused("its adapter does not ask by a command".into()), ..Answer::default() },
        }
    }
}

/// Never none: a question that cannot be asked any more is answered by the time, as one that hangs.
fn left(until: Instant) -> Duration {
    until.saturating_duration_since(Instant::now()).max(Duration::from_secs(1))
}

fn ended(answer: &Answer) -> String {
    match &answer.end {
        End::Answered => "answered".to_owned(),
        End::Exited(code) => format!("exit code {code}"),
        End::Refused(why) | End::Unknown(why) => why.clone(),
    }
}

/// The answer to the user's own question, for the record and as a check.
pub(super) fn answered(copy: &Copy, command: &str, answer: &Answer) -> (Query, Checked) {
    let exit_code = if let End::Exited(code) = answer.end { Some(code) } else { None };
    let output = match exit_code {
        Some(0) => capped(&answer.out, MOST),
        Some(_) => capped(&format!("{}\n{}", answer.out.trim(), answer.err.trim()), MOST),
        None => ended(answer),
    };
    let told = output.lines().next().unwrap_or_default().to_owned();
    let checked = match exit_code {
        Some(0) => Checked::new("query", Outcome::Passed, told),
        Some(code) => {
            Checked::new("query", Outcome::Failed, format!("`{command}` ended with exit code {code}: {told}"))
        }
        None => Checked::unknown("query", format!("`{command}`: {told}")),
    };
    let query = Query {
        namespace: copy.target.namespace.clone(),
        pod: copy.target.pod.clone(),
        command: command.to_owned(),
        exit_code,
        output,
    };
    (query, checked)
}
