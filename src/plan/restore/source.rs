//! What a restore reads of a backup.

use jiff::Timestamp;

use super::Backup;
use crate::backend::Proof;
use crate::error::Refusal;
use crate::plan::Plan;
use crate::pods::PodState;
use crate::quiescer::RecoveryPoint;
use crate::typed::Typed;

/// A backup as its journal tells it.
#[derive(Clone, Debug)]
pub struct Source {
    /// Its plan.
    pub plan: Plan,
    /// Its outcome, as it is printed.
    pub outcome: String,
    /// The instant of its data: the middle of the window.
    pub instant: Timestamp,
    /// By what each claim's cut is proved.
    pub proofs: Vec<Option<Proof>>,
    /// Where a recovery of each target can go on from.
    pub points: Vec<RecoveryPoint>,
    /// When each target was released: its own backup had ended by then.
    pub ends: Vec<Option<Timestamp>>,
    /// Its pods before the quiesce.
    pub pods: Vec<PodState>,
    /// What the reader of a plan must know of it.
    pub notes: Vec<String>,
}

impl Source {
    /// What stands of it in the restore's plan.
    pub(super) fn backup(&self) -> Backup {
        Backup { run: self.plan.run.clone(), outcome: self.outcome.clone(), instant: self.instant }
    }

    /// Why nothing can be restored from it at all. A crash-consistent one can: with a remark.
    /// `sets`: something is to be done that needs no copy.
    pub(super) fn check(&self, typed: &Typed, sets: bool, refusals: &mut Vec<Refusal>, notes: &mut Vec<String>) {
        notes.extend(self.notes.iter().cloned());
        let run = &self.plan.run;
        let refusal = match self.outcome.as_str() {
            "ApplicationConsistent" => None,
            "CrashConsistent" => {
                notes.push(format!(
                    "backup {run} is only CrashConsistent: its data is what the database's own recovery makes of it"
                ));
                if !self.plan.unheld_claims.is_empty() {
                    let claims = self.plan.unheld_claims.join(", ");
                    notes.push(format!("backup {run}: nothing held what was written to claim {claims}"));
                }
                None
            }
            "Running" => Some(
                Refusal::new(format!("backup/{run}"), "it is not finished")
                    .hint(format!("`{}` brings a dead run to its end", typed.thaw(run, &self.plan.namespace))),
            ),
            other => Some(Refusal::new(format!("backup/{run}"), format!("its outcome is {other}: there is no backup"))),
        };
        refusals.extend(refusal);
        if self.plan.claims.is_empty() && (!sets || self.plan.releases.is_empty()) {
            let runbook = typed.command("describe", run, &self.plan.namespace);
            let hint = if self.plan.releases.is_empty() {
                "a window is for point-in-time recovery by the database's own means".to_owned()
            } else {
                format!(
                    "`{runbook} -o runbook` prints how its databases are restored; the releases are brought to them with \
                     --set-property KEY=VALUE"
                )
            };
            refusals.push(Refusal::new(format!("backup/{run}"), "it copied no claim").hint(hint));
        }
    }
}
