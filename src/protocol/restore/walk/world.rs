//! What is really so, whatever the journal says: volumes, claims, policies, the workload.
//!
//! It is the worst cluster that is allowed: the class deletes a volume with its claim, and the workload's retention
//! policy deletes its claims when it is scaled down.

use super::super::{Event, Run, Step};
use crate::protocol::{Abort, C, process};

/// What a claim's name stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Volume {
    None,
    Old,
    New,
}

#[derive(Clone, Debug, Hash)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own, and all combinations exist")]
pub(super) struct World {
    pub(super) claims: Vec<Volume>,
    /// Whether the old volumes still hold their data.
    data: Vec<bool>,
    /// Whether the old volumes outlive their claims.
    retained: bool,
    /// Whether the workload ever ran on restored volumes.
    wrote: bool,
    /// Whether the restored volumes outlive their claims.
    new_retained: Vec<bool>,
    /// Whether something that was written to restored volumes is gone.
    new_lost: bool,
    /// Whether the claims outlive the scaling of their workload.
    kept: bool,
    knows_retention: bool,
    pub(super) running: bool,
    pub(super) was_stopped: bool,
    /// Somebody started the workload while no process led the restore.
    pub(super) by_user: bool,
    /// The pods were not what they had been when they were last compared.
    pub(super) differs: bool,
    /// Whether restored volumes must be changed before anything runs on them.
    prepares: bool,
    /// Whether they are.
    prepared: bool,
    /// What changes them is there: a pod that mounts them, and does its work sooner or later.
    pub(super) helper: bool,
    /// Whether anything ran on the restored volumes that are there now.
    ran: bool,
    /// What stands in front of the databases, if anything does.
    front: Front,
    /// Whether its property is the one that is asked for.
    pub(super) is_set: bool,
}

/// The application in front of the databases. It reads its properties when it starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Front {
    None,
    Down,
    Up { is_set: bool },
}

type Effect = process::Effect<Run, World>;

impl World {
    pub(super) fn new(claims: usize, knows_retention: bool, prepares: bool, opens: bool) -> Self {
        Self {
            claims: vec![Volume::Old; claims],
            data: vec![true; claims],
            retained: false,
            wrote: false,
            new_retained: vec![false; claims],
            new_lost: false,
            kept: false,
            knows_retention,
            running: true,
            was_stopped: false,
            by_user: false,
            differs: false,
            prepares,
            prepared: false,
            helper: false,
            ran: false,
            front: if opens { Front::Up { is_set: false } } else { Front::None },
            is_set: false,
        }
    }

    pub(super) fn is_front_down(&self) -> bool {
        self.front == Front::Down
    }

    /// Whether the application runs with the property as it should be.
    pub(super) fn serves(&self, is_set: bool) -> bool {
        self.front == Front::None || self.front == Front::Up { is_set } && self.is_set == is_set
    }

    /// The old data is there, and stays there if everybody goes away now.
    pub(super) fn keeps_old_data(&self) -> Result<(), String> {
        if self.data.contains(&false) {
            return Err("old data is lost".into());
        }
        if self.new_lost {
            return Err("what was written since is lost".into());
        }
        let untouched = self.running && self.claims.iter().all(|claim| *claim == Volume::Old);
        if !untouched && !self.retained {
            return Err("nothing keeps the old volumes".into());
        }
        if !self.running && !self.kept {
            return Err("nothing keeps the claims".into());
        }
        Ok(())
    }

    pub(super) fn is_secured_in_part(&self) -> bool {
        self.retained || self.kept
    }

    /// Whether the policies are what they were; volumes that are not in use any more stay retained.
    pub(super) fn is_restated(&self, restored: bool) -> bool {
        !self.kept && self.retained == restored
    }

    pub(super) fn runs_on_old_by_us(&self) -> bool {
        self.running
            && !self.by_user
            && !self.claims.is_empty()
            && self.claims.iter().all(|claim| *claim == Volume::Old)
    }

    /// What happens by itself: a workload that is down loses its claims; while nobody leads, somebody may start it, or undo
    /// what secures it before it was stopped.
    pub(super) fn moves(&self, led: bool, stopping: bool) -> Vec<((&'static str, usize), World)> {
        let mut moves = Vec::new();
        if !self.running && !self.kept {
            for c in 0..self.claims.len() {
                moves.push((("cluster deletes claim", c), self.without(c)));
            }
        }
        if !led && !stopping && self.kept {
            let mut world = self.clone();
            world.kept = false;
            moves.push((("somebody undoes it", 0), world));
        }
        if !led && !self.running && !self.claims.contains(&Volume::None) {
            let mut world = self.clone();
            (world.running, world.by_user) = (true, true);
            world.ran |= self.claims.contains(&Volume::New);
            moves.push((("somebody starts it", 0), world));
        }
        if !led && self.is_front_down() {
            let mut world = self.clone();
            world.front = Front::Up { is_set: self.is_set };
            moves.push((("somebody starts the application", 0), world));
        }
        if self.helper && !self.prepared && !self.ran {
            let mut world = self.clone();
            world.prepared = true;
            moves.push((("it is prepared", 0), world));
        }
        moves
    }

    /// Each way in which a part of the step may go; what fails without a trace is the `Aborted` that may always come.
    pub(super) fn effects(&self, step: &Step, run: &Run) -> Result<Vec<Effect>, String> {
        Ok(match step {
            Step::Secure => self.secure(),
            Step::ReadBack => {
                let secured = self.retained && (self.kept || !self.knows_retention);
                let seen = if secured { Event::ReadBack } else { Event::Aborted(Abort::Step) };
                vec![self.heard("read back", seen)]
            }
            Step::Stop => vec![self.stop("stop", Event::Stopped)],
            Step::Replace(cs) => self.exchange(cs, Volume::New, false, Event::Replaced)?,
            Step::Prepare => vec![self.prepare()?],
            Step::Start => vec![self.start("start", Volume::New, Event::Started)?],
            Step::Recover(ts) => {
                let recovered = |&t| self.heard("recovered", Event::Recovered(t));
                ts.iter().map(recovered).collect()
            }
            Step::Open => vec![self.open("open", true, Event::Opened)?],
            Step::Compare => [true, false].map(|same| self.heard("compare", Event::Compared { same })).into(),
            Step::BackStop => {
                let mut told = self.clone();
                told.new_retained.fill(run.may_have_started());
                let stop = if told.new_retained == self.new_retained {
                    self.stop("back: stop", Event::BackStopped)
                } else {
                    (("back: retain what was restored", 0), told, None)
                };
                vec![stop, self.heard("give up", Event::GivenUp)]
            }
            Step::BackClaims(cs) => {
                let mut all = self.exchange(cs, Volume::Old, run.may_have_started(), Event::ClaimBack)?;
                all.push(self.heard("give up", Event::GivenUp));
                all
            }
            Step::BackStart => {
                let started = self.start("back: start", Volume::Old, Event::BackStarted)?;
                let started = match started.2 {
                    Some(event) => self.open("back: open", false, event)?,
                    None => started,
                };
                vec![started, self.heard("give up", Event::GivenUp)]
            }
            Step::Restate => {
                let mut world = self.clone();
                (world.kept, world.retained) = (false, self.retained && !run.failed);
                let done = (("restate", 0), world.clone(), Some(Event::Restated));
                vec![done, (("restate unheard", 0), world, None), self.heard("not restated", Event::NotRestated)]
            }
            Step::Finish(_) => Vec::new(),
        })
    }

    /// Both policies, one of them, or none: an answer proves nothing, which is why they are read back.
    fn secure(&self) -> Vec<Effect> {
        let mut all = Vec::new();
        for (name, retain, keep) in [("both", true, true), ("volumes", true, false), ("claims", false, true)] {
            let mut world = self.clone();
            world.retained |= retain;
            world.kept |= keep && self.knows_retention;
            all.push(((name, 0), world.clone(), Some(Event::Secured)));
            if (world.retained, world.kept) != (self.retained, self.kept) {
                all.push(((name, 1), world, None));
            }
        }
        all
    }

    /// A pod is made, does its work, is removed; it finds out by itself that something ran on the volumes.
    fn prepare(&self) -> Result<Effect, String> {
        if self.running || self.claims.contains(&Volume::Old) {
            return Err("prepared what is not restored, or in use".into());
        }
        if self.ran {
            return Ok(self.heard("it was started before", Event::Aborted(Abort::Step)));
        }
        let mut world = self.clone();
        world.helper = !self.helper;
        Ok(match (self.helper, self.prepared) {
            (false, true) => self.heard("prepare", Event::Prepared),
            (false, false) => (("make the helper", 0), world, None),
            (true, true) => (("remove the helper", 0), world, None),
            (true, false) => {
                (world.helper, world.prepared) = (true, true);
                (("prepare", 1), world, None)
            }
        })
    }

    fn stop(&self, name: &'static str, stopped: Event) -> Effect {
        if self.helper {
            let mut world = self.clone();
            world.helper = false;
            return (("stop: remove the helper", 0), world, None);
        }
        if matches!(self.front, Front::Up { .. }) {
            return self.stop_front();
        }
        if !self.running {
            return self.heard(name, stopped);
        }
        let mut world = self.clone();
        (world.running, world.was_stopped) = (false, true);
        ((name, 1), world, None)
    }

    fn stop_front(&self) -> Effect {
        let mut world = self.clone();
        (world.front, world.was_stopped) = (Front::Down, true);
        (("stop the application", 0), world, None)
    }

    /// The property first: what runs already has read the other one, and is stopped for that.
    fn open(&self, name: &'static str, wanted: bool, opened: Event) -> Result<Effect, String> {
        if !self.running {
            return Err("the application is started before its databases".into());
        }
        let mut world = self.clone();
        Ok(match self.front {
            Front::Up { .. } if self.is_set != wanted => self.stop_front(),
            Front::Down if self.is_set != wanted => {
                world.is_set = wanted;
                (("set the property", 0), world, None)
            }
            Front::Down => {
                world.front = Front::Up { is_set: self.is_set };
                ((name, 1), world, None)
            }
            Front::None | Front::Up { .. } => self.heard(name, opened),
        })
    }

    fn start(&self, name: &'static str, on: Volume, started: Event) -> Result<Effect, String> {
        if self.claims.iter().any(|claim| *claim != on) {
            return Err("started on a mixture of volumes".into());
        }
        if self.helper {
            return Err("started beside what prepares the volumes".into());
        }
        if on == Volume::New && self.prepares && !self.prepared {
            return Err("started on volumes that are not prepared".into());
        }
        if self.running {
            return Ok(self.heard(name, started));
        }
        let mut world = self.clone();
        (world.running, world.by_user) = (true, false);
        world.wrote |= on == Volume::New;
        world.ran |= on == Volume::New;
        Ok(((name, 1), world, None))
    }

    /// Claim by claim: deletes what is not wanted, creates what is, says so; `keep`: what is deleted leaves its volume.
    fn exchange(&self, cs: &[C], wanted: Volume, keep: bool, event: fn(C) -> Event) -> Result<Vec<Effect>, String> {
        if self.running {
            return Err("a claim is exchanged under a running workload".into());
        }
        if self.helper {
            return Err("a claim is exchanged under what prepares it".into());
        }
        let part = |&c: &C| match self.claims[c] {
            claim if claim == wanted => (("exchanged", c), self.clone(), Some(event(c))),
            Volume::None => {
                let mut world = self.clone();
                world.claims[c] = wanted;
                (("create claim", c), world, None)
            }
            Volume::New if keep && !self.new_retained[c] => {
                let mut world = self.clone();
                world.new_retained[c] = true;
                (("retain what was restored", c), world, None)
            }
            _ => (("delete claim", c), self.without(c), None),
        };
        Ok(cs.iter().map(part).collect())
    }

    fn without(&self, c: C) -> World {
        let mut world = self.clone();
        world.data[c] &= self.retained || self.claims[c] != Volume::Old;
        world.new_lost |= self.wrote && !self.new_retained[c] && self.claims[c] == Volume::New;
        world.claims[c] = Volume::None;
        (world.prepared, world.ran) = (false, false);
        world
    }

    fn heard(&self, name: &'static str, event: Event) -> Effect {
        ((name, 0), self.clone(), Some(event))
    }
}
