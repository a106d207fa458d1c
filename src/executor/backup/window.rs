//! The window: prepare, hold, flush, cut. All targets of a step at once; whatever breaks is told and ends the step.

use std::time::Duration;

use futures::future::{join_all, select_all};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, timeout};

use super::{Backup, failed};
use crate::backend::{Seen, command, window};
use crate::exec::{Channels, run_script};
use crate::executor::{Log, Told};
use crate::journal::release;
use crate::plan::Backend;
use crate::protocol::backup::{Event, Run};
use crate::quiescer::{Act, Answer, Script};
use crate::record::entry::Detail;

/// How often held sessions are looked at while the storage cuts.
const LOOK: Duration = Duration::from_millis(100);

/// How often a hold is asked after that has no session.
const ASK: Duration = Duration::from_secs(1);

/// How often it is looked whether a detached run is to be released.
const ASKED: Duration = Duration::from_millis(300);
/// How long preparing may take: opening sessions, a first checkpoint or sync. Nothing is held in it.
const PREPARE: Duration = Duration::from_secs(120);

impl Backup<'_> {
    /// Opens the sessions and does what makes the flush short.
    pub(super) async fn prepare(&mut self, log: &mut Log<Run>, targets: &[usize]) {
        if self.plan.is_cold() {
            for &t in targets {
                log.happened(Event::Prepared(t), Detail::default());
            }
            return;
        }
        self.progress.step("preparing: sessions, checkpoints, first syncs");
        let (token, clock) = (self.token(log), log.clock);
        // A guard is armed as late as can be: what it releases at the budget is the budget of then.
        let (last, first): (Vec<usize>, Vec<usize>) = targets.iter().partition(|&&t| self.target(t).endpoint.is_some());
        self.prepare_all(log, &first, &token, &clock).await;
        if log.run.aborted().is_some() || last.is_empty() {
            return;
        }
        match self.start_guards(&token).await {
            Ok(guarded) => self.state.guarded = guarded,
            Err(_) if self.signals.came() => {
                log.abort(crate::protocol::Abort::Signal, "interrupted");
                return;
            }
            Err(why) => {
                let (event, detail) = failed(why);
                log.happened(event, detail);
                return;
            }
        }
        self.prepare_all(log, &last, &token, &clock).await;
    }

    async fn prepare_all(
        &self,
        log: &mut Log<Run>,
        targets: &[usize],
        token: &crate::quiescer::Token,
        clock: &crate::clock::Clock,
    ) {
        let (tell, told) = mpsc::unbounded_channel();
        let work = join_all(targets.iter().map(|&t| {
            let tell = tell.clone();
            async move {
                let result = timeout(PREPARE, async {
                    let off = self.container_clock(t, clock).await?;
                    self.prepare_one(t, token).await.map(|()| off)
                })
                .await;
                let event = match result {
                    Ok(Ok(clock)) => (Event::Prepared(t), Detail { clock, ..Detail::default() }),
                    Ok(Err(why)) => failed(format!("{}: preparing failed: {why}", self.target(t).path())),
                    Err(_) => failed(format!("{}: preparing took too long", self.target(t).path())),
                };
                let _ = tell.send(event);
            }
        }));
        self.attend(log, async { drop(work.await) }, told).await;
    }

    async fn prepare_one(&self, t: usize, token: &crate::quiescer::Token) -> Result<(), String> {
        let (quiescer, target) = (self.quiescer(t)?, self.target(t));
        let wanted = quiescer.channels(&target.probe, token, self.plan.budget + PREPARE);
        let mut channels = Channels::open(self.cluster, &self.place(t), wanted, Duration::from_secs(15))
            .await
            .map_err(|answer| complaint(&answer))?;
        let mut script = quiescer.prepare(&target.probe, token);
        if crate::executor::testing::skip_flush() {
            // The first sync takes along what the flush would find: without it a test sees the flush's whole worth.
            script.retain(|act| !matches!(act, Act::Ask { until, .. } if until.contains("presync")));
        }
        let answers = run_script(&mut channels, self.cluster, &self.place(t), &script, Instant::now() + PREPARE).await;
        complete(&script, &answers)?;
        quiescer.read_prepare(&target.probe, &answers).map_err(reason)?;
        *self.state.sessions[t].channels.lock().await = Some(channels);
        Ok(())
    }

    /// Holds the targets of a wave.
    pub(super) async fn hold(&self, log: &mut Log<Run>, targets: &[usize]) {
        self.progress.step("quiescing");
        let token = self.token(log);
        let (clock, deadline) = (log.clock, self.deadline());
        let (tell, told) = mpsc::unbounded_channel();
        let work = join_all(targets.iter().map(|&t| {
            let (token, tell, clock) = (&token, tell.clone(), &clock);
            async move {
                let sent = clock.now();
                let event = match self.hold_one(t, token, deadline).await {
                    Ok(point) => {
                        (Event::Quiesced(t), Detail { sent: Some(sent), point: Some(point), ..Detail::default() })
                    }
                    Err(why) => failed(format!("{}: {why}", self.target(t).path())),
                };
                let _ = tell.send(event);
            }
        }));
        self.attend(log, async { drop(work.await) }, told).await;
    }

    async fn hold_one(
        &self,
        t: usize,
        token: &crate::quiescer::Token,
        deadline: Instant,
    ) -> Result<crate::quiescer::RecoveryPoint, String> {
        let (quiescer, target) = (self.quiescer(t)?, self.target(t));
        let left = deadline.saturating_duration_since(Instant::now());
        let script = quiescer.hold(&target.probe, token, left);
        *self.state.sessions[t].asked.lock().await = Some(Instant::now());
        let answers = self.talk(t, &script, deadline).await?;
        *self.state.sessions[t].at_hold.lock().await = answers.clone();
        quiescer.read_hold(&target.probe, &answers).map_err(reason)
    }

    /// Brings what the held targets acknowledged to the device.
    pub(super) async fn flush(&self, log: &mut Log<Run>, targets: &[usize]) {
        if self.plan.is_cold() {
            for &t in targets {
                log.happened(Event::Flushed(t), Detail::default());
            }
            return;
        }
        self.progress.step("held: flushing");
        let token = self.token(log);
        let deadline = self.deadline();
        let (tell, told) = mpsc::unbounded_channel();
        let work = join_all(targets.iter().map(|&t| {
            let (token, tell) = (&token, tell.clone());
            async move {
                let result = async {
                    let (quiescer, target) = (self.quiescer(t)?, self.target(t));
                    if crate::executor::testing::skip_flush() {
                        return Ok(());
                    }
                    let answers = self.talk(t, &quiescer.flush(&target.probe, token), deadline).await?;
                    quiescer.read_flush(&target.probe, &answers).map_err(reason)
                };
                let event = match result.await {
                    Ok(()) => (Event::Flushed(t), Detail::default()),
                    Err(why) => failed(format!("{}: flushing failed: {why}", self.target(t).path())),
                };
                let _ = tell.send(event);
            }
        }));
        self.attend(log, async { drop(work.await) }, told).await;
    }

    /// Asks for all cuts and sees each proved.
    pub(super) async fn cut(&self, log: &mut Log<Run>, claims: &[usize]) {
        let doing = match &self.plan.backend {
            Backend::Csi => format!("cutting {} claim{}", claims.len(), if claims.len() == 1 { "" } else { "s" }),
            Backend::Window { .. } if self.plan.detached => "until thaw".to_owned(),
            Backend::Window { hold } => format!("for {hold:?}"),
            Backend::Command { argv } => format!("running {}", argv.first().map_or("", String::as_str)),
        };
        self.progress.step(&format!("{}: {doing}", if self.plan.is_cold() { "stopped" } else { "held" }));
        let token = self.token(log);
        let (tell, told) = mpsc::unbounded_channel();
        let lost = async {
            if self.plan.is_cold() {
                self.started_early(tell.clone()).await;
            } else {
                self.hold_lost(tell.clone()).await;
            }
        };
        let copies = !self.plan.claims.is_empty();
        let seen = |seen: Seen| {
            let event = match seen {
                Seen::Cut { claim, proof } => {
                    (Event::Cut(claim), Detail { proof: copies.then_some(proof), ..Detail::default() })
                }
                Seen::Failed { claim, why } => {
                    let name = &self.plan.claims[claim].name;
                    (
                        Event::CutFailed(claim),
                        Detail::text(format!("the cut of persistentvolumeclaim/{name} failed: {why}")),
                    )
                }
            };
            let _ = tell.send(event);
        };
        let work = async {
            tokio::select! {
                () = self.copy(&token, claims, seen, &tell) => {}
                () = lost => {}
            }
        };
        self.attend(log, work, told).await;
    }

    /// The plan's way to copy, while everything is held.
    async fn copy(
        &self,
        token: &crate::quiescer::Token,
        claims: &[usize],
        seen: impl Fn(Seen),
        tell: &mpsc::UnboundedSender<Told<Event>>,
    ) {
        match &self.plan.backend {
            Backend::Csi => self.csi().cut(token, claims, self.deadline(), seen).await,
            Backend::Window { .. } if self.plan.detached => {
                self.until_asked().await;
                window::cut(Duration::ZERO, seen).await;
            }
            Backend::Window { hold } => window::cut(*hold, seen).await,
            Backend::Command { argv } => {
                let _ = tell.send(self.run_command(argv, token.attempt).await);
            }
        }
    }

    /// Until somebody asks for the release. The budget ends it otherwise.
    async fn until_asked(&self) {
        if let Some(said) = &self.when_held {
            said();
        }
        while !release::asked(self.cluster, &self.plan.namespace, &self.plan.run).await {
            sleep(ASKED).await;
        }
    }

    /// Runs the user's own command to its end. Whoever breaks that off leaves it running until all are released.
    async fn run_command(&self, argv: &[String], attempt: u8) -> Told<Event> {
        let progress = self.progress.clone();
        let started =
            command::start(argv, &self.plan.run, attempt, move |line| progress.say(&format!("command: {line}")));
        let mut running = match started {
            Ok(running) => running,
            Err(why) => return (Event::CutFailed(0), Detail::text(why)),
        };
        *self.state.command.lock().await = Some(running.clone());
        let ran = running.ended().await;
        *self.state.command.lock().await = None;
        let told = ran.told();
        let done = ran.exit_code == Some(0);
        let detail = Detail { command: Some(ran), ..if done { Detail::default() } else { Detail::text(told) } };
        (if done { Event::Cut(0) } else { Event::CutFailed(0) }, detail)
    }

    /// Tells of the first hold that ended before its release: its cuts are worth nothing, and the others need not be held
    /// for them.
    async fn hold_lost(&self, tell: mpsc::UnboundedSender<Told<Event>>) {
        tokio::select! {
            () = self.session_lost(&tell) => {}
            () = self.seen_open(&tell) => {}
        }
    }

    /// A pause that somebody else ended is seen by nothing but by asking. Each over a connection of its own: the one that
    /// releases stays free.
    async fn seen_open(&self, tell: &mpsc::UnboundedSender<Told<Event>>) {
        let watches = (0..self.plan.targets.len()).map(|t| Box::pin(self.until_open(t)));
        let watches: Vec<_> = watches.collect();
        if watches.is_empty() {
            return std::future::pending().await;
        }
        let ((t, why), _, _) = select_all(watches).await;
        let _ = tell.send((Event::HoldLost(t), Detail::text(format!("{}: {why}", self.target(t).path()))));
    }

    async fn until_open(&self, t: usize) -> (usize, String) {
        let target = self.target(t);
        let script = self.quiescer(t).map(|quiescer| quiescer.watch(&target.probe)).unwrap_or_default();
        if script.is_empty() {
            return std::future::pending().await;
        }
        let (mut channels, mut open) = (Channels::default(), false);
        loop {
            sleep(ASK).await;
            let end = Instant::now() + ASK * 5;
            let answers = run_script(&mut channels, self.cluster, &self.place(t), &script, end).await;
            let Some(why) = self.quiescer(t).ok().and_then(|quiescer| quiescer.read_watch(&answers)) else {
                open = false;
                continue;
            };
            // A pod that was restarted is open too: that is told by who follows the pods, and repeats the attempt.
            if open {
                return (t, why);
            }
            open = true;
        }
    }

    async fn session_lost(&self, tell: &mpsc::UnboundedSender<Told<Event>>) {
        loop {
            for (t, session) in self.state.sessions.iter().enumerate() {
                let ended = session.channels.lock().await.as_ref().and_then(Channels::ended);
                if let Some((_, end)) = ended {
                    let path = self.target(t).path();
                    let how = complaint(&Answer { end, ..Answer::default() });
                    let _ =
                        tell.send((Event::HoldLost(t), Detail::text(format!("{path}: its session was lost: {how}"))));
                    return;
                }
            }
            sleep(LOOK).await;
        }
    }

    /// Runs a script over the open channels of a target.
    pub(super) async fn talk(&self, t: usize, script: &Script, deadline: Instant) -> Result<Vec<Answer>, String> {
        let mut channels = self.state.sessions[t].channels.lock().await;
        let channels = channels.as_mut().ok_or("its session is not open")?;
        Ok(run_script(channels, self.cluster, &self.place(t), script, deadline).await)
    }

    /// The end of the budget. Set with the intent of the first quiesce, so it is there in the window.
    fn deadline(&self) -> Instant {
        self.state.deadline.unwrap_or_else(Instant::now)
    }
}

/// Every act answered as asked, or what the last one said.
fn complete(script: &Script, answers: &[Answer]) -> Result<(), String> {
    match answers.last() {
        Some(last) if !last.ok() => Err(complaint(last)),
        _ if answers.len() < script.len() => Err("it stopped answering".into()),
        _ => Ok(()),
    }
}

/// What an answer that is not as asked says.
pub(super) fn complaint(answer: &Answer) -> String {
    use crate::quiescer::End;
    let how = match &answer.end {
        End::Answered => "unexpected answer".to_owned(),
        End::Exited(code) => format!("the command ended with exit code {code}"),
        End::Refused(why) => format!("the command was not run: {why}"),
        End::Unknown(why) => format!("not known whether it worked: {why}"),
    };
    let said = answer.err.trim();
    if said.is_empty() { how } else { format!("{how}: {}", said.lines().last().unwrap_or_default()) }
}

fn reason(reason: crate::quiescer::Reason) -> String {
    match reason.hint {
        Some(hint) => format!("{} ({hint})", reason.message),
        None => reason.message,
    }
}
