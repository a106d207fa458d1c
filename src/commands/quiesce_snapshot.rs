//! `quiesce-snapshot`: plan, print, and run a backup.

use std::time::Duration;

use jiff::Timestamp;

use super::{finish, print, verify};
use crate::cli::{By, QuiesceSnapshot};
use crate::clock::Clock;
use crate::cluster::client::Cluster;
use crate::error::{Error, ExitCode, Refusal};
use crate::executor::backup::Backup;
use crate::executor::restore::restoring;
use crate::executor::signals::Signals;
use crate::executor::{Log, Stop, execute};
use crate::journal::{self, Kind, New, release};
use crate::lease::{Leases, Left, Take, Waiting};
use crate::output::progress::Progress;
use crate::output::{self, Format};
use crate::plan::{Backend, Plan, Request, guard_pod, leased_object};
use crate::preflight;
use crate::protocol::backup::{Outcome, Run};
use crate::record::backup::shape;
use crate::runs::RunName;

mod detach;
#[cfg(test)]
mod tests;

/// How long databases may be held unless asked otherwise.
const BUDGET: Duration = Duration::from_secs(30);
/// How long a detached run may hold beside the time to pause: what takes a snapshot does so within a minute.
const DETACHED_BUDGET: Duration = Duration::from_secs(60);
/// How often a backup is tried unless asked otherwise.
const ATTEMPTS: u8 = 3;
/// How long a window is held unless asked otherwise (document 000: about 10 s).
const HOLD: Duration = Duration::from_secs(10);
/// How long workloads may be down for a cold backup unless asked otherwise: ending a database takes minutes.
const COLD_BUDGET: Duration = Duration::from_secs(600);

/// Takes a backup.
pub(super) async fn run(cluster: &Cluster, args: QuiesceSnapshot) -> Result<ExitCode, Error> {
    let format = args.output.output;
    if args.leader {
        // The terminal's end, and its interrupts, are not for this process.
        let _ = rustix::process::setsid();
    } else if args.detach && !args.dry_run {
        return detach::start().await;
    }
    let request = request(&cluster.namespace, &args)?;
    let progress = Progress::new();
    progress.step("looking at the cluster");
    let clock = Clock::measure(cluster).await?;
    let id = run_id(clock.now());
    let planned = Box::pin(preflight::planned(cluster, &request, &id, clock.now())).await?;
    let plan = planned.plan.clone();
    refuse(cluster, &args, &plan).await?;
    let text = output::plan::plan(&plan, &planned.pods, clock.now());
    if args.dry_run {
        progress.done();
        output::to_stdout(&output::plan::dry_run(&plan, text, format)?);
        return Ok(ExitCode::Done);
    }
    progress.show(&text);
    let talk = progress.clone();
    let signals = Signals::listen(move |line| talk.say(line))?;
    finish::remove_pending(cluster, &plan.namespace, &signals, &progress).await;
    signals.lead(thaw_command(cluster, &plan));
    let (pods, say) = (leased(&plan), |w: &Waiting| progress.say(&waiting(w)));
    let Some(leases) = signals.unless(Leases::take(cluster, &pods, &plan.run, Take::IfFree, &say)).await else {
        return Err(Error::interrupted("interrupted: nothing was touched"));
    };
    let leases = leases.map_err(Error::refusals)?;
    let new = New {
        namespace: plan.namespace.clone(),
        run: plan.run.clone(),
        kind: Kind::Backup,
        plan: serde_json::to_string(&plan).map_err(|e| Error::failed("the plan cannot be stored").cause(e))?,
        keys: Vec::new(),
    };
    let journal = match journal::create(cluster, &new).await {
        Ok(journal) => journal,
        Err(error) => {
            let _ = leases.release(Left::Nothing).await;
            return Err(error);
        }
    };
    // Before anything is touched: by this mark whoever finishes the run knows that its record is no forgery.
    if let Err(why) = leases.mark(&new.namespace, &new.plan).await {
        let _ = leases.release(Left::Nothing).await;
        return Err(Error::failed("nothing was touched: the leases cannot be marked").cause(why));
    }
    // Before anything is held; the journal names them. A backup without them has its data all the same.
    if let Err(why) = journal::parts::write(cluster, &plan.namespace, &plan.run, &planned.manifests).await {
        progress.say(&format!("the manifests are not recorded: {why}"));
    }
    let mut log = Log::new(Run::new(&shape(&plan)), Vec::new(), journal, clock);
    let mut hands = Backup::new(cluster, planned, &leases, signals.clone(), &progress, args.wait);
    if args.leader {
        let (plan, thaw) = (plan.clone(), thaw_command(cluster, &plan));
        hands.when_held = Some(Box::new(move || detach::say_held(&held_text(&plan, &thaw, format))));
    }
    hands.replan = Some(Box::new(|| {
        let (request, id, clock) = (&request, &id, &clock);
        Box::pin(async move {
            let again = preflight::planned(cluster, request, id, clock.now()).await;
            again.map_err(|e| e.refusals.first().map_or(e.to_string(), |r| format!("{}: {}", r.object, r.message)))
        })
    }));
    let ended = Box::pin(execute(&mut log, &mut hands)).await;
    let interrupted = hands.signals.came();
    if plan.detached {
        // Who asked for the release may be gone before he could take his word back. It harms nothing where it is left.
        let _ = release::forget(cluster, &plan.namespace, &plan.run).await;
    }
    // Also where another process leads the run now: it knows nothing of this one's command.
    if let Some(ran) = hands.end_command().await {
        progress.say(&ran.told());
    }
    let _ = log.written().await;
    end_guard(&hands, &log, &progress).await;
    hands.announce_end(&log, ended.as_ref().ok().copied()).await;
    give_back(leases, left(&log.run), &progress).await;
    let verified = match &ended {
        Ok(outcome) if args.verify && *outcome < Outcome::Failed => {
            let verified = verified(cluster, &args, &plan, &signals, &progress).await;
            Some(verified)
        }
        _ => None,
    };
    progress.done();
    let held = !log.run.may_be_held().is_empty();
    let code = report(cluster, &plan, ended.map_err(|stop| (stop, held)), interrupted, format).await?;
    Ok(match verified {
        Some(Err(error)) => {
            output::to_stderr(&output::error(&error));
            // The backup is made: a failure of the verification takes nothing of it back.
            let interrupted = error.code == ExitCode::Interrupted;
            code.worse(if interrupted { ExitCode::Interrupted } else { ExitCode::Lesser })
        }
        _ => code,
    })
}

/// Refuses what stands in the way of the plan beside the plan itself.
async fn refuse(cluster: &Cluster, args: &QuiesceSnapshot, plan: &Plan) -> Result<(), Error> {
    let being_restored = being_restored(cluster, plan).await?;
    if !being_restored.is_empty() {
        return Err(Error::refusals(being_restored));
    }
    if args.verify {
        // Whatever can be known of it is said now, not when the backup is made.
        let why_not = verify::obstacles(cluster, plan, &args.query).await;
        if !why_not.is_empty() {
            return Err(Error::refusals(why_not));
        }
    }
    Ok(())
}

/// What `--detach` prints once all is held.
fn held_text(plan: &Plan, thaw: &str, format: Format) -> String {
    match format {
        Format::Name => format!("backup/{}", plan.run),
        Format::Json | Format::Yaml => {
            format!("{{\"name\": \"{}\", \"namespace\": \"{}\", \"held\": true}}", plan.run, plan.namespace)
        }
        Format::Table | Format::Wide => {
            let end = if only_thaw(plan) { ", unless the process that leads the run dies" } else { "" };
            let budget = plan.budget.as_secs();
            format!("backup {}: all are held, for {budget} s at most{end}\nrelease with: {thaw}", plan.run)
        }
    }
}

/// Whether something is held that has no limit of its own, and no guard.
fn only_thaw(plan: &Plan) -> bool {
    plan.guard_image.is_none() && !guard_pod::unlimited(plan).is_empty()
}

/// Verifies the backup that was just taken.
async fn verified(
    cluster: &Cluster,
    args: &QuiesceSnapshot,
    plan: &Plan,
    signals: &Signals,
    progress: &Progress,
) -> Result<ExitCode, Error> {
    if signals.came() {
        return Err(Error::interrupted(format!("interrupted: backup {} is not verified", plan.run)));
    }
    let run = RunName { kind: Some(Kind::Backup), id: plan.run.clone() };
    let asked = verify::Asked { run: &run, queries: &args.query, namespace: None, keep: false, wait: verify::WAIT };
    let clock = Clock::measure(cluster).await?;
    verify::just_taken(cluster, &asked, &clock, signals, progress).await.map_err(|error| {
        let command = cluster.typed.command("verify", &plan.run, &plan.namespace);
        if error.code == ExitCode::Failed {
            error
        } else {
            error.hint(format!("the backup is made; verify it later: {command}"))
        }
    })
}

/// Restores that are not over, of what is to be copied.
async fn being_restored(cluster: &Cluster, plan: &Plan) -> Result<Vec<Refusal>, Error> {
    if plan.claims.is_empty() {
        return Ok(Vec::new());
    }
    let claims = plan.claims.iter().map(|c| (c.namespace.as_str(), c.name.as_str())).collect();
    let runs = restoring(cluster, &plan.namespace, &claims).await?;
    let refusal = |run: String| {
        let thaw = cluster.typed.thaw(&run, &plan.namespace);
        Refusal::new(format!("run/{run}"), "it restores the same claims and is not finished")
            .hint(format!("wait for its end; if its process died, `{thaw}` brings it there"))
    };
    Ok(runs.into_iter().map(refusal).collect())
}

/// Prints what came of the run, and says it by the exit code. A run that did not come to its end says whether something
/// may be held.
async fn report(
    cluster: &Cluster,
    plan: &Plan,
    ended: Result<Outcome, (Stop, bool)>,
    interrupted: bool,
    format: Format,
) -> Result<ExitCode, Error> {
    let outcome = match ended {
        Ok(outcome) => outcome,
        Err((Stop::TakenOver, held)) => {
            let text = format!("run {} was taken over by another process: this one did nothing more", plan.run);
            let describe = cluster.typed.command("describe", &plan.run, &plan.namespace);
            // What this one held is that one's to release, and its record says whether it has.
            let held = held
                && match crate::runs::backup(cluster, &plan.namespace, &plan.run).await {
                    Ok(backup) => !backup.status.may_be_held.is_empty(),
                    Err(_) => true,
                };
            let error = if held { Error::held(text) } else { Error::failed(text) };
            return Err(error.hint(format!("how that goes on: {describe}")));
        }
        Err((Stop::Left, _)) => {
            output::to_stderr(&format!(
                "backup {}: the databases serve; the copies are not ready yet\nfinish with: {}",
                plan.run,
                thaw_command(cluster, plan)
            ));
            return Ok(ExitCode::Interrupted);
        }
        Err((Stop::Unwritable(why), false)) => {
            return Err(Error::failed(format!("run {} cannot be recorded any more; nothing is held", plan.run))
                .cause(why)
                .hint(format!("finish it with: {}", thaw_command(cluster, plan))));
        }
        Err((Stop::Unwritable(why), true)) => {
            let until = if plan.is_cold() {
                "workloads may be stopped".to_owned()
            } else if only_thaw(plan) {
                "nothing releases a pause by itself".to_owned()
            } else {
                format!("what may be held releases itself within {} s", plan.budget.as_secs())
            };
            return Err(Error::held(format!("run {} cannot be recorded any more", plan.run))
                .cause(why)
                .hint(format!("{until}; then: {}", thaw_command(cluster, plan))));
        }
    };
    let backup = crate::runs::backup(cluster, &plan.namespace, &plan.run).await;
    let backup = backup.map_err(|why| unread(cluster, plan, outcome, &why))?;
    print::backup(cluster, &backup, format)?;
    let pending = backup.status.snapshots_removed == "pending";
    // On stderr whatever `-o` is: scripts and logs show that, and look at the exit code.
    let (name, reason) = (&plan.run, &backup.status.reason);
    let waiting = backup.status.claims.iter().filter(|claim| !claim.ready).count();
    if outcome < Outcome::Failed && waiting > 0 {
        output::warn(&format!(
            "{waiting} of {} copies cannot be restored from yet: `list` and `describe` show when they can",
            backup.status.claims.len()
        ));
    }
    match outcome {
        Outcome::ApplicationConsistent => {}
        Outcome::CrashConsistent => {
            output::warn(&format!("backup {name} is only crash-consistent: {reason}"));
        }
        Outcome::Failed => {
            let error = Error::failed(format!("backup {name} failed, every database serves: {reason}"));
            output::to_stderr(&output::error(&error));
        }
        Outcome::Stuck => {
            let error = Error::held(format!("backup {name} failed, and something may still be held: {reason}"));
            output::to_stderr(&output::error(&error.hint(thaw_command(cluster, plan))));
        }
    }
    if pending {
        output::warn(&format!(
            "snapshots of backup {name} are not removed yet: {}",
            backup.status.snapshots_left.join("; ")
        ));
        output::to_stderr(&format!("hint: once what is named there is mended: {}", thaw_command(cluster, plan)));
    }
    Ok(match outcome {
        Outcome::ApplicationConsistent => ExitCode::Done,
        Outcome::CrashConsistent => ExitCode::Lesser,
        Outcome::Failed if interrupted && !pending => ExitCode::Interrupted,
        Outcome::Failed => ExitCode::Failed,
        Outcome::Stuck => ExitCode::Held,
    })
}

/// How a run ended whose record cannot be read back: what is known without it is said, by the exit code too.
fn unread(cluster: &Cluster, plan: &Plan, outcome: Outcome, why: &Error) -> Error {
    let run = &plan.run;
    let describe = cluster.typed.command("describe", run, &plan.namespace);
    let error = match outcome {
        Outcome::ApplicationConsistent | Outcome::CrashConsistent => {
            let text = format!("backup {run} is made and {outcome:?}, but its record cannot be read now");
            Error { code: ExitCode::Lesser, ..Error::failed(text) }.hint(describe)
        }
        Outcome::Failed => {
            let text = format!("backup {run} failed, every database serves, and its record cannot be read now");
            Error::failed(text).hint(describe)
        }
        Outcome::Stuck => {
            let text = format!("backup {run} failed, something may still be held, and its record cannot be read now");
            Error::held(text).hint(thaw_command(cluster, plan))
        }
    };
    error.cause(why.to_string())
}

/// The command that brings this run to its end, from any machine.
pub(super) fn thaw_command(cluster: &Cluster, plan: &Plan) -> String {
    cluster.typed.thaw(&plan.run, &plan.namespace)
}

/// The pods that this run leases: those with a target, and those whose claims are cut.
pub(super) fn leased(plan: &Plan) -> Vec<(String, String)> {
    let mut pods: Vec<(String, String)> = plan
        .targets
        .iter()
        .map(|t| (t.namespace.clone(), t.leased()))
        .chain(plan.claims.iter().flat_map(|c| c.pods.iter().map(|pod| (c.namespace.clone(), pod.clone()))))
        .collect();
    pods.sort();
    pods.dedup();
    pods
}

/// `20261120-101500-x7k2`: sorts by time, and is unique enough for objects of one namespace.
pub(super) fn run_id(now: Timestamp) -> String {
    let nonce = crate::cluster::nonce::nonce();
    format!("{}-{}", now.strftime("%Y%m%d-%H%M%S"), &nonce[..4])
}

/// What was asked for in this namespace, or what is wrong with it.
pub(super) fn request(namespace: &str, args: &QuiesceSnapshot) -> Result<Request, Error> {
    let detached = args.detach.then(|| args.releases.drain() + DETACHED_BUDGET);
    let budget = args.quiesce_budget.or(detached).unwrap_or(if args.cold { COLD_BUDGET } else { BUDGET });
    let backend = backend(args)?;
    if budget < Duration::from_secs(1) {
        return Err(Error::usage("--quiesce-budget must be at least 1s"));
    }
    let releases = args.releases.releases.clone();
    // What a command has copied it copies again, under the same run.
    let attempts = if matches!(backend, Backend::Command { .. }) { 1 } else { ATTEMPTS };
    let request = Request::with(namespace, &args.objects, args.selector.clone(), releases)?;
    Ok(Request {
        snapshot_class: args.snapshot_class.clone(),
        record_namespace: args.record_namespace.clone(),
        exclude: args.exclude_claim.clone(),
        tls: args.releases.encryption()?,
        drain: args.releases.drain(),
        databases: args.releases.databases.clone(),
        guard_image: args.releases.guard_image.clone(),
        guard_pull_secret: args.releases.guard_pull_secret.clone(),
        backend,
        detached: args.detach,
        budget,
        budget_chosen: args.quiesce_budget.is_some() || args.detach,
        cold: args.cold,
        force_owner: args.force_owner,
        attempts: args.attempts.unwrap_or(attempts),
        pods_must_match: args.pods_must_match,
        cut_error_patience: args.cut_error_patience,
        dry_run: args.dry_run,
        ..request
    })
}

/// By what is to be copied. What belongs to another way is refused: who asks for it means something by it.
fn backend(args: &QuiesceSnapshot) -> Result<Backend, Error> {
    let chosen = match args.backend {
        By::Csi => Backend::Csi,
        By::Window if args.detach && args.hold.is_none() => Backend::Window { hold: Duration::ZERO },
        By::Window => Backend::Window { hold: args.hold.unwrap_or(HOLD) },
        By::Command => Backend::Command { argv: args.command.clone() },
    };
    let misplaced = |what: &str, of: &str| Err(Error::usage(format!("{what} is for --backend {of} only")));
    match &chosen {
        Backend::Command { argv } if argv.is_empty() => {
            return Err(Error::usage("--backend command has no command").hint("write it behind --, at the very end"));
        }
        Backend::Csi | Backend::Window { .. } if !args.command.is_empty() => {
            return misplaced("a command behind --", "command");
        }
        Backend::Csi | Backend::Command { .. } if args.hold.is_some() => return misplaced("--hold", "window"),
        Backend::Csi | Backend::Command { .. } if args.detach => return misplaced("--detach", "window"),
        Backend::Window { .. } if args.detach && args.hold.is_some() => {
            return Err(Error::usage(
                "--hold does not go with --detach: that ends with `thaw`, or with --quiesce-budget",
            ));
        }
        Backend::Window { .. } if args.detach => {}
        Backend::Window { hold } if *hold < Duration::from_secs(1) => {
            return Err(Error::usage("--hold must be at least 1s: point-in-time recovery is not finer"));
        }
        _ => {}
    }
    if chosen != Backend::Csi {
        let of_copies = [
            (args.cold, "--cold"),
            (args.verify, "--verify"),
            (args.snapshot_class.is_some(), "--snapshot-class"),
            (!args.exclude_claim.is_empty(), "--exclude-claim"),
        ];
        if let Some((_, flag)) = of_copies.iter().find(|(given, _)| *given) {
            return misplaced(flag, "csi");
        }
    }
    if args.cold && !args.releases.releases.is_empty() {
        return Err(
            Error::usage("--cold stops workloads, and --release pauses pods instead").hint("leave one of them out")
        );
    }
    Ok(chosen)
}

/// What is waited for while a Lease is somebody else's.
pub(super) fn waiting(waiting: &Waiting) -> String {
    format!(
        "{} in {} is leased by run {}: waiting up to {} s for that to expire",
        leased_object(&waiting.pod),
        waiting.namespace,
        waiting.run,
        waiting.left.as_secs()
    )
}

/// Ends the run's guard, unless something may still be held: then it is the last who may release it.
pub(super) async fn end_guard(hands: &Backup<'_>, log: &Log<Run>, progress: &Progress) {
    if !log.run.may_be_held().is_empty() || log.taken_over() {
        return;
    }
    if let Err(why) = hands.end_guards().await {
        progress.say(&format!(
            "the guard is not seen gone ({why}): until it has ended by itself, other runs of these pods are refused"
        ));
    }
}

/// What this run leaves to another process.
pub(super) fn left(run: &Run) -> Left {
    if run.is_finished() && run.may_be_held().is_empty() { Left::Nothing } else { Left::Unfinished }
}

/// Gives the leases back; what is not given back expires by itself, so this is said and no error.
pub(super) async fn give_back(leases: Leases, left: Left, progress: &Progress) {
    if let Err(why) = leases.release(left).await {
        progress.say(&format!("a lease was not given back and expires by itself: {why}"));
    }
}
