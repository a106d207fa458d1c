//! An adapter's script, act by act, over the channels it asked for.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::future::join_all;
use tokio::time::{Instant, sleep_until};

use super::call::{Connection, call};
use super::{Place, Session, run, unanswered};
use crate::cluster::client::Cluster;
use crate::quiescer::{Act, Answer, Argv, Channel, End};

/// What is open to one target.
#[derive(Default)]
pub struct Channels {
    /// The sessions, by their channel's id.
    sessions: BTreeMap<u8, Session>,
    /// To its admin port, once a call was made. Losing it ends no hold.
    connection: Option<Connection>,
}

impl Channels {
    /// Opens all at once. If one cannot be opened the others are closed again, and its answer says why.
    pub async fn open(cluster: &Cluster, at: &Place, channels: Vec<Channel>, within: Duration) -> Result<Self, Answer> {
        let opened = channels.into_iter().map(|channel| async move {
            let session = Session::open(cluster, at, &channel, within).await?;
            Ok((channel.id, session))
        });
        let sessions = join_all(opened).await.into_iter().collect::<Result<_, _>>()?;
        Ok(Self { sessions, connection: None })
    }

    /// How the first session that has ended did so: what it held is held no more.
    pub fn ended(&self) -> Option<(u8, End)> {
        self.sessions.iter().find_map(|(id, session)| Some((*id, session.ended()?)))
    }

    /// Ends all sessions by their own commands, at once; bounded.
    pub async fn close(self) {
        join_all(self.sessions.into_values().map(Session::close)).await;
    }
}

/// Does the acts in order, one answer each, and stops after the first answer that is not ok. Nothing is sent after
/// the deadline, and no act waits past it.
pub async fn run_script(
    channels: &mut Channels,
    cluster: &Cluster,
    at: &Place,
    script: &[Act],
    deadline: impl Into<Instant>,
) -> Vec<Answer> {
    let exec = async |argv: &Argv, within| run(cluster, at, argv, within).await;
    let calling = async |open: &mut Option<Connection>, method, message: &[u8], within| {
        call(cluster, at, open, method, message, within).await
    };
    play(channels, script, deadline.into(), exec, calling).await
}

async fn play(
    channels: &mut Channels,
    script: &[Act],
    deadline: Instant,
    exec: impl AsyncFn(&Argv, Duration) -> Answer,
    calling: impl AsyncFn(&mut Option<Connection>, &'static str, &[u8], Duration) -> Answer,
) -> Vec<Answer> {
    let mut answers = Vec::with_capacity(script.len());
    for act in script {
        let left = deadline.saturating_duration_since(Instant::now());
        let answer = match act {
            _ if left.is_zero() => spent(),
            Act::Exec { argv, within } => exec(argv, left.min(*within)).await,
            Act::Call { method, message, within } => {
                calling(&mut channels.connection, method, message, left.min(*within)).await
            }
            Act::Wait(time) => {
                tokio::time::sleep(left.min(*time)).await;
                if *time < left { Answer::default() } else { spent() }
            }
            Act::Ask { on, .. } | Act::Tell { on, .. } | Act::Expect { on, .. } | Act::Poll { on, .. } => {
                match channels.sessions.get_mut(on) {
                    Some(session) => converse(session, act, left).await,
                    None => unanswered(End::Refused(format!("channel {on} is not open"))),
                }
            }
        };
        let ok = answer.ok();
        answers.push(answer);
        if !ok {
            break;
        }
    }
    answers
}

fn spent() -> Answer {
    unanswered(End::Unknown("the budget was spent".to_owned()))
}

async fn converse(session: &mut Session, act: &Act, left: Duration) -> Answer {
    match act {
        Act::Ask { send, until, within, .. } => session.ask(send, until, left.min(*within)).await,
        Act::Tell { send, .. } => session.tell(send),
        Act::Expect { until, within, .. } => session.expect(until, left.min(*within)).await,
        Act::Poll { send, until, done, every, within, .. } => {
            let end = Instant::now() + left.min(*within);
            loop {
                let asked = Instant::now();
                let mut answer = session.ask(send, until, end.saturating_duration_since(asked)).await;
                if !answer.ok() || done(&answer.out) {
                    return answer;
                }
                // Whoever must be asked again after the end is not going to be asked again.
                if asked + *every >= end {
                    answer.end = End::Unknown(format!("not as awaited within {:?}", left.min(*within)));
                    return answer;
                }
                sleep_until(asked + *every).await;
            }
        }
        Act::Exec { .. } | Act::Call { .. } | Act::Wait(_) => unanswered(End::Refused("not for a channel".to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::super::link::tests::server;
    use super::super::session::tests::echo;
    use super::*;

    fn ask(send: &str, until: &str, seconds: u64) -> Act {
        Act::Ask { on: 1, send: send.into(), until: until.into(), within: Duration::from_secs(seconds) }
    }

    /// Acts on channel 1, whose other side says back what it is told, and the time they took.
    async fn played(script: &[Act], deadline: u64) -> (Vec<Answer>, u64) {
        let (link, socket) = server();
        tokio::spawn(echo(socket));
        let mut channels = Channels { sessions: [(1, Session::on(link, "exit"))].into(), connection: None };
        let begin = Instant::now();
        let end = begin + Duration::from_secs(deadline);
        let exec = async |_: &Argv, within| {
            tokio::time::sleep(within).await;
            unanswered(End::Exited(0))
        };
        let calling = async |_: &mut Option<Connection>, _: &'static str, _: &[u8], _| unanswered(End::Exited(0));
        (play(&mut channels, script, end, exec, calling).await, begin.elapsed().as_secs())
    }

    fn poll(done: fn(&str) -> bool) -> Act {
        Act::Poll {
            on: 1,
            send: "x\nA\n".into(),
            until: "A".into(),
            done,
            every: Duration::from_secs(1),
            within: Duration::from_secs(5),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_script_stops_at_the_first_act_that_fails() {
        let script = [ask("x\nA\n", "A", 1), ask("y\n", "B", 1), ask("C\n", "C", 1)];
        let (answers, _) = played(&script, 60).await;
        assert_eq!(answers.len(), 2);
        assert!(answers[0].ok() && !answers[1].ok());
        let mut absent = ask("x\n", "A", 1);
        if let Act::Ask { on, .. } = &mut absent {
            *on = 7;
        }
        assert!(matches!(played(&[absent], 60).await.0[0].end, End::Refused(_)));
    }

    #[tokio::test(start_paused = true)]
    async fn polling_goes_on_until_it_likes_the_answer() {
        let (answers, _) = played(&[poll(|out| out == "x\n"), ask("y\nB\n", "B", 1)], 60).await;
        assert_eq!(answers[1].out, "y\n");
        let (answers, took) = played(&[poll(|_| false)], 60).await;
        assert!(matches!(&answers[0].end, End::Unknown(why) if why.starts_with("not as awaited")));
        assert_eq!(took, 4);
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_waits_past_the_deadline_or_is_sent_after_it() {
        let command = Act::Exec { argv: vec!["true".into()], within: Duration::from_secs(100) };
        for act in [ask("x\n", "never", 100), Act::Wait(Duration::from_secs(100)), poll(|_| false)] {
            let (answers, took) = played(&[act, ask("A\n", "A", 1)], 3).await;
            assert!(answers.len() == 1 && took <= 3, "{answers:?} after {took} s");
        }
        let (answers, took) = played(&[command, ask("A\n", "A", 1)], 3).await;
        assert_eq!((answers[1].clone(), took), (spent(), 3));
    }
}
