//! A database that goes on from its archived log before it serves: what is asked for, and whether it can be.

use k8s_openapi::api::core::v1::Pod;
use serde::{Deserialize, Serialize};

use super::facts::{Facts, Found};
use super::{Request, Restored, Source, helper};
use crate::error::Refusal;
use crate::plan::Target;
use crate::quiescer::recovery::{self, Recovery, Wanted};
use crate::quiescer::{RecoveryPoint, by_name};

/// How the user names what he asks for.
const FLAG: &str = "--restore-command";

/// Everything that is needed to prepare one database's copy, and to judge what its server made of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FromArchive {
    /// Index of the database among those that must have recovered.
    pub target: usize,
    /// Where its backup ended.
    pub point: RecoveryPoint,
    /// What is asked for.
    pub wanted: Wanted,
    /// What is written to its copy before the start.
    pub recovery: Recovery,
    /// The pod in which that is done.
    pub pod: Pod,
}

impl FromArchive {
    /// The pod's namespace and name.
    pub fn pod(&self) -> (&str, &str) {
        let metadata = &self.pod.metadata;
        (metadata.namespace.as_deref().unwrap_or_default(), metadata.name.as_deref().unwrap_or_default())
    }
}

/// What is done of what is asked for; every reason why it cannot be is added to `refusals`.
pub(super) fn plan(
    source: &Source,
    facts: &Facts,
    asked: &Request,
    restored: &[Restored],
    refusals: &mut Vec<Refusal>,
    notes: &mut Vec<String>,
) -> Option<FromArchive> {
    let wanted = asked.archive.as_ref()?;
    let plan = &source.plan;
    let databases: Vec<&Target> = plan.targets.iter().filter(|target| !target.probe.keeps_nothing).collect();
    if databases.len() != 1 {
        let all: Vec<String> = databases.iter().map(|target| target.path()).collect();
        let what = if all.is_empty() { "no database".to_owned() } else { all.join(", ") };
        let of = Refusal::new(FLAG, format!("it is for one database, and backup {} has {what}", plan.run));
        refusals.push(of.hint("name the one with --only TYPE/NAME"));
    }
    for replica in plan.replicas.iter().filter(|r| !r.claims.is_empty()) {
        refusals.push(
            Refusal::new(
                format!("pod/{}", replica.target.pod),
                format!("a read replica of {} would copy it, and its settings, while it still recovers", replica.of),
            )
            .hint(format!("restore without {FLAG}, or take the replicas away before the backup")),
        );
    }
    let of_databases = plan.targets.iter().enumerate().filter(|(_, target)| !target.probe.keeps_nothing);
    let made = of_databases.filter_map(|(t, target)| {
        let of = one(t, target, source, facts, (asked, wanted), refusals)?;
        let index = restored.iter().position(|r| !r.replica && r.target.path() == target.path())?;
        Some(FromArchive { target: index, ..of })
    });
    // All of them, for all reasons.
    let made: Vec<FromArchive> = made.collect();
    let of = made.into_iter().next()?;
    notes.push(format!(
        "{}: it goes on from its archive ({}), and ends on a new timeline. What stands only in the WAL that was not archived \
         when it stops stays on the old volumes. The command stands in the record: it must hold no secret",
        databases[0].path(),
        of.wanted.target
    ));
    Some(of)
}

fn one(
    t: usize,
    target: &Target,
    source: &Source,
    facts: &Facts,
    (asked, wanted): (&Request, &Wanted),
    refusals: &mut Vec<Refusal>,
) -> Option<FromArchive> {
    let object = format!("pod/{}", target.pod);
    if let recovery::Target::Time(at) = wanted.target {
        let run = &source.plan.run;
        let refuse = |why: String, hint: &str| Refusal::new("--recovery-target", why).hint(hint);
        match source.ends.get(t).copied().flatten() {
            Some(end) if at < end => refusals.push(refuse(
                format!(
                    "{at} lies before the end of backup {run} ({end:.3}), to which its copy must be recovered at least"
                ),
                "take a later time, or an earlier backup",
            )),
            Some(_) if at > facts.now => refusals.push(refuse(
                format!("{at} has not come yet: nothing is archived of it"),
                "take an earlier time, or `latest`",
            )),
            Some(_) => {}
            None => refusals.push(refuse(
                format!("nobody knows when backup {run} of {} ended", target.path()),
                "take another target, such as lsn=…",
            )),
        }
    }
    let template = match facts.templates.get(t) {
        Some(Found::Yes(template)) => template,
        Some(Found::Unknown(why)) => {
            refusals.push(Refusal::new(object, format!("it could not be read: {why}")));
            return None;
        }
        Some(Found::No) | None => {
            refusals.push(Refusal::new(object, "neither it nor its workload is there, so nobody knows its image"));
            return None;
        }
    };
    // That it is gone is told with the images.
    let container = template.spec.containers.iter().find(|c| c.name == target.container)?;
    let adapter = by_name(&target.adapter);
    let point = source.points.get(t).cloned().unwrap_or_default();
    let recovery = match adapter.map(|adapter| adapter.recovery(container, &target.probe, &point, wanted)) {
        Some(Ok(recovery)) => Some(recovery),
        Some(Err(reasons)) => {
            refusals.extend(reasons.into_iter().map(|reason| reason.refuse(object.clone())));
            None
        }
        None => {
            refusals.push(Refusal::new(object.clone(), "no adapter knows its database").hint("restore it without it"));
            None
        }
    };
    let claims = target.claims.iter().filter_map(|&c| source.plan.claims.get(c)).map(|c| c.name.as_str()).collect();
    let pod = match helper::pod(&asked.run, target, &template.spec, container, &claims) {
        Ok(pod) => pod,
        Err(refusal) => {
            refusals.push(refusal);
            return None;
        }
    };
    Some(FromArchive { target: t, point, wanted: wanted.clone(), recovery: recovery?, pod })
}
