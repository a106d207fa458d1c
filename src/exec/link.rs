//! One exec connection: a task that drains both streams, writes what it is given, and notices when the other side is
//! gone.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::{Sink, SinkExt, Stream, StreamExt};
use kube::api::AttachParams;
use kube::core::Request;
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinHandle;
use tokio::time::{Instant, MissedTickBehavior, interval_at, timeout};
use tokio_tungstenite::tungstenite::{Error, Message};

use super::Place;
use super::frames::{Frame, decode, encode, never_ran};
use super::heard::Heard;
use crate::cluster::client::{Cluster, explain, is_unsent};
use crate::cluster::errors::plain;
use crate::quiescer::End;

/// A lost network closes nothing. So we ask, and whoever has not answered by the next time is gone.
const PING: Duration = Duration::from_secs(10);

pub(super) struct Link {
    shared: Arc<Shared>,
    said: mpsc::UnboundedSender<String>,
    task: JoinHandle<()>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    news: Notify,
}

#[derive(Default)]
struct State {
    heard: Heard,
    end: Option<End>,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn finish(&self, end: End) {
        self.state().end.get_or_insert(end);
        self.news.notify_one();
    }
}

impl Link {
    /// Starts a command. `Refused` only if it certainly never ran.
    pub(super) async fn open(
        cluster: &Cluster,
        at: &Place,
        argv: &[String],
        stdin: bool,
        within: Duration,
    ) -> Result<Self, End> {
        let params = AttachParams::default().container(&at.container).stdin(stdin);
        let request = Request::new(format!("/api/v1/namespaces/{}/pods", at.namespace))
            .exec(&at.pod, argv, &params)
            .map_err(|e| End::Refused(e.to_string()))?;
        match timeout(within, cluster.stream.connect(request)).await {
            Ok(Ok(connection)) => Ok(Self::over(connection.into_stream())),
            Ok(Err(e)) => Err(not_opened(&e)),
            Err(_) => Err(End::Unknown(format!("no answer in {within:?}"))),
        }
    }

    /// Over an open WebSocket.
    fn over<S>(socket: S) -> Self
    where
        S: Stream<Item = Result<Message, Error>> + Sink<Message, Error = Error> + Send + 'static,
    {
        let shared = Arc::new(Shared::default());
        let (said, to_say) = mpsc::unbounded_channel();
        let task = tokio::spawn(pump(socket, to_say, shared.clone()));
        Self { shared, said, task }
    }

    /// Sends lines. Whether they arrived only an answer can tell.
    pub(super) fn say(&self, text: &str) {
        // A failure means that the task is gone, and then the end is set.
        let _ = self.said.send(text.to_owned());
    }

    /// The end, if it has come.
    pub(super) fn end(&self) -> Option<End> {
        self.shared.state().end.clone()
    }

    /// Waits for the end.
    pub(super) async fn ended(&mut self) -> End {
        loop {
            if let Some(end) = self.end() {
                return end;
            }
            self.shared.news.notified().await;
        }
    }

    /// Waits for a line that equals `until`, and gives what stood before it; or the end, if that comes first.
    pub(super) async fn until(&mut self, until: &str) -> Result<String, End> {
        let mut from = 0;
        loop {
            {
                let mut state = self.shared.state();
                if let Some(answer) = state.heard.until(until, &mut from) {
                    return Ok(answer);
                }
                if state.heard.too_long() {
                    return Err(End::Unknown("its answer is too long".to_owned()));
                }
                if let Some(end) = &state.end {
                    return Err(end.clone());
                }
            }
            self.shared.news.notified().await;
        }
    }

    pub(super) fn forget_out(&self) {
        self.shared.state().heard.forget_out();
    }

    pub(super) fn take_err(&self) -> String {
        self.shared.state().heard.take_err()
    }

    /// Everything that came, and whether standard output was longer than what is kept.
    pub(super) fn take_all(&self) -> (String, String, bool) {
        let heard = &mut self.shared.state().heard;
        let too_long = heard.too_long();
        (heard.take_out(), heard.take_err(), too_long)
    }
}

impl Drop for Link {
    /// Disconnects: a command that reads its standard input gets end of file within a fraction of a second.
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Whether an error before the upgrade proves that nothing ran. A 5xx does not: behind a gateway the command may run.
fn not_opened(error: &kube::Error) -> End {
    let text = explain(error);
    match error {
        kube::Error::Api(s) if (400..500).contains(&s.code) || never_ran(&s.message) => End::Refused(text),
        kube::Error::Auth(_) | kube::Error::BuildRequest(_) | kube::Error::HttpError(_) => End::Refused(text),
        e if is_unsent(e) => End::Refused(text),
        _ => End::Unknown(text),
    }
}

/// Reads and writes side by side, so that a full stdin cannot keep us from draining what blocks it.
async fn pump<S>(socket: S, to_say: mpsc::UnboundedReceiver<String>, shared: Arc<Shared>)
where
    S: Stream<Item = Result<Message, Error>> + Sink<Message, Error = Error>,
{
    /// Even a panic in here must end the wait of whoever asks.
    struct Last(Arc<Shared>);
    impl Drop for Last {
        fn drop(&mut self) {
            self.0.finish(End::Unknown("the connection's task stopped".to_owned()));
        }
    }
    let _last = Last(shared.clone());
    let (sink, stream) = socket.split();
    let alive = Mutex::new(Instant::now());
    let end = tokio::select! {
        end = read(stream, &shared, &alive) => end,
        end = write(sink, to_say, &alive) => end,
    };
    shared.finish(end);
}

async fn read<S>(mut stream: S, shared: &Shared, alive: &Mutex<Instant>) -> End
where
    S: Stream<Item = Result<Message, Error>> + Unpin,
{
    loop {
        let message = stream.next().await;
        *alive.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
        match message {
            Some(Ok(Message::Binary(bytes))) => match decode(&bytes) {
                Frame::Out(bytes) => shared.state().heard.out(bytes),
                Frame::Err(bytes) => shared.state().heard.err(bytes),
                Frame::End(end) => return end,
                Frame::Nothing => continue,
            },
            // Its own end of the connection: what the command did, it did not say.
            None | Some(Ok(Message::Close(_)) | Err(Error::ConnectionClosed | Error::AlreadyClosed)) => {
                return End::Unknown("the connection was closed without an exit code".to_owned());
            }
            Some(Err(e)) => return End::Unknown(format!("the connection was lost: {}", plain(&e.to_string()))),
            Some(Ok(_)) => continue,
        }
        shared.news.notify_one();
    }
}

async fn write<S>(mut sink: S, mut to_say: mpsc::UnboundedReceiver<String>, alive: &Mutex<Instant>) -> End
where
    S: Sink<Message, Error = Error> + Unpin,
{
    let mut pings = interval_at(Instant::now() + PING, PING);
    pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut asked: Option<Instant> = None;
    loop {
        let message = tokio::select! {
            Some(text) = to_say.recv() => Message::binary(encode(&text)),
            _ = pings.tick() => {
                let heard = *alive.lock().unwrap_or_else(PoisonError::into_inner);
                if asked.is_some_and(|asked| heard < asked) {
                    return End::Unknown(format!("the connection was lost: silent for {PING:?}"));
                }
                asked = Some(Instant::now());
                Message::Ping(Vec::new().into())
            }
        };
        // A peer that takes nothing is as gone as one that says nothing.
        match timeout(PING, sink.send(message)).await {
            Ok(Ok(())) => {}
            Ok(Err(e)) => return End::Unknown(format!("the connection was lost: {}", plain(&e.to_string()))),
            Err(_) => {
                return End::Unknown(format!("the connection was lost: it took nothing for {PING:?}"));
            }
        }
    }
}

#[cfg(test)]
pub(super) mod tests;
