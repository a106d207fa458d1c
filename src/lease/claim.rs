//! Taking one Lease: make it, wait for it, or take it away from a run that is dead.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::api::{Patch, PatchParams, PostParams};
use kube::core::ObjectMeta;
use kube::{Api, ResourceExt};
use serde_json::json;
use tokio::time::{Instant, sleep, timeout};

use super::held::Held;
use super::mark::{Mark, marks, recorded, written};
use super::observed::{Observed, Verdict};
use super::{DURATION, Take, Waiting};
use crate::cluster::client::{Persisted, explain, is_already_exists, is_conflict, is_forbidden, is_not_found, persist};
use crate::error::Refusal;
use crate::labels::{MANAGED_BY, RECORDS, RUN};
use crate::names::fnv;
use crate::plan::leased_object;

/// How long one step of it is tried.
const WITHIN: Duration = Duration::from_secs(10);
/// Between two looks at a Lease that is waited for.
const LOOK: Duration = Duration::from_secs(1);
/// How long `AfterExpiry` waits for a run that lives.
const PATIENCE: Duration = Duration::from_secs(30);

/// A Lease to take.
#[derive(Clone, Debug)]
pub(super) struct Wanted {
    pub(super) namespace: String,
    pub(super) pod: String,
    pub(super) name: String,
    pub(super) run: String,
    /// `RUN/NONCE`: by it we know our own writes after a lost answer.
    pub(super) holder: String,
}

impl Wanted {
    pub(super) fn new(namespace: String, pod: String, run: &str, holder: &str) -> Self {
        Self { name: name_of(&pod), namespace, pod, run: run.to_owned(), holder: holder.to_owned() }
    }

    fn refusal(&self, message: String) -> Refusal {
        Refusal::new(format!("{} in {}", leased_object(&self.pod), self.namespace), message)
    }

    fn failed(&self, doing: &str, error: &kube::Error) -> Refusal {
        let refusal = self.refusal(format!("cannot {doing} lease/{}: {}", self.name, explain(error)));
        if is_forbidden(error) {
            refusal.hint("it needs get, create, patch and delete on leases.coordination.k8s.io there")
        } else {
            refusal
        }
    }
}

/// A Lease's name: the pod's, unless that makes it longer than a name may be.
fn name_of(pod: &str) -> String {
    const MOST: usize = 253;
    let name = format!("consistent-backup-{pod}");
    if name.len() <= MOST {
        return name;
    }
    let hash = fnv(pod);
    let short = name[..MOST - 17].trim_end_matches(|c: char| !c.is_ascii_alphanumeric());
    format!("{short}-{hash:016x}")
}

/// Takes it as `take` allows. Every step may be repeated: whose it is, the Lease itself says.
pub(super) async fn claim(
    api: Api<Lease>,
    wanted: Wanted,
    take: Take,
    say: &(dyn Fn(&Waiting) + Sync),
) -> Result<Held, Refusal> {
    let begin = Instant::now();
    let mut observed = Observed::default();
    let mut said = None;
    loop {
        // Before the question: what is ours is ours at least until a duration after that.
        let asked = Instant::now();
        let Some(lease) = look(&api, &wanted).await? else {
            if let Some(lease) = make(&api, &wanted).await? {
                return Ok(Held::new(api, wanted, &lease, asked));
            }
            continue;
        };
        let spec = lease.spec.clone().unwrap_or_default();
        let holder = spec.holder_identity.unwrap_or_default();
        if holder == wanted.holder {
            return Ok(Held::new(api, wanted, &lease, asked));
        }
        let run = holder.split('/').next().unwrap_or_default().to_owned();
        let seconds = u64::try_from(spec.lease_duration_seconds.unwrap_or_default()).unwrap_or(0);
        let duration = if seconds == 0 { DURATION } else { Duration::from_secs(seconds.min(60)) };
        let version = lease.resource_version().unwrap_or_default();
        let verdict = if take == Take::Force || holder.is_empty() {
            Verdict::Expired
        } else {
            observed.see(&version, duration, asked, Instant::now())
        };
        match verdict {
            Verdict::Expired => {
                if let Some(lease) = seize(&api, &wanted, &lease).await? {
                    return Ok(Held::new(api, wanted, &lease, asked));
                }
            }
            Verdict::Renewed if take == Take::IfFree || begin.elapsed() > PATIENCE => {
                let refusal = wanted.refusal(format!("run \"{run}\" holds it and is alive"));
                let force = if take == Take::AfterExpiry { ", or take it over with --force" } else { "" };
                return Err(refusal.hint(format!("wait until that run has ended{force}")));
            }
            Verdict::Renewed => sleep(LOOK).await,
            Verdict::Waiting(left) => {
                if said.as_ref() != Some(&run) {
                    say(&Waiting {
                        namespace: wanted.namespace.clone(),
                        pod: wanted.pod.clone(),
                        run: run.clone(),
                        left,
                    });
                    said = Some(run);
                }
                sleep(LOOK.min(left)).await;
            }
        }
    }
}

async fn look(api: &Api<Lease>, wanted: &Wanted) -> Result<Option<Lease>, Refusal> {
    match persist(WITHIN, || api.get_opt(&wanted.name)).await {
        Persisted::Final(lease) => lease.map_err(|e| wanted.failed("read", &e)),
        Persisted::Unknown(why) => Err(wanted.refusal(format!("cannot read lease/{}: {why}", wanted.name))),
    }
}

/// Creates it; nothing if somebody was faster, who may be our own lost try.
async fn make(api: &Api<Lease>, wanted: &Wanted) -> Result<Option<Lease>, Refusal> {
    let lease = Lease {
        metadata: ObjectMeta {
            name: Some(wanted.name.clone()),
            labels: Some([(MANAGED_BY.0.to_owned(), MANAGED_BY.1.to_owned())].into()),
            annotations: Some([(RUN.to_owned(), wanted.run.clone())].into()),
            ..ObjectMeta::default()
        },
        spec: Some(LeaseSpec {
            holder_identity: Some(wanted.holder.clone()),
            lease_duration_seconds: i32::try_from(DURATION.as_secs()).ok(),
            acquire_time: Some(MicroTime(Timestamp::now())),
            renew_time: Some(MicroTime(Timestamp::now())),
            ..LeaseSpec::default()
        }),
    };
    let params = PostParams::default();
    match persist(WITHIN, || api.create(&params, &lease)).await {
        Persisted::Final(Ok(lease)) => Ok(Some(lease)),
        Persisted::Final(Err(e)) if is_already_exists(&e) => Ok(None),
        Persisted::Final(Err(e)) => Err(wanted.failed("create", &e)),
        Persisted::Unknown(why) => Err(wanted.refusal(format!("cannot create lease/{}: {why}", wanted.name))),
    }
}

/// Takes it away, if it is still as we saw it; nothing if it is not, maybe by our own lost try.
async fn seize(api: &Api<Lease>, wanted: &Wanted, found: &Lease) -> Result<Option<Lease>, Refusal> {
    let transitions = found.spec.as_ref().and_then(|s| s.lease_transitions).unwrap_or(0);
    let now = MicroTime(Timestamp::now());
    // Its last run may not be finished: whoever finishes it must still find its mark.
    let marks = recorded(found);
    let records = (!marks.is_empty()).then(|| written(&marks));
    let body = Patch::Merge(json!({
        "metadata": {
            "resourceVersion": found.resource_version(),
            "labels": { MANAGED_BY.0: MANAGED_BY.1 },
            "annotations": { RUN: wanted.run, RECORDS: records },
        },
        "spec": {
            "holderIdentity": wanted.holder,
            "leaseDurationSeconds": DURATION.as_secs(),
            "leaseTransitions": transitions.saturating_add(1),
            "acquireTime": now,
            "renewTime": now,
        },
    }));
    let params = PatchParams::default();
    match persist(WITHIN, || api.patch(&wanted.name, &params, &body)).await {
        Persisted::Final(Ok(lease)) => Ok(Some(lease)),
        Persisted::Final(Err(e)) if is_conflict(&e) || is_not_found(&e) => Ok(None),
        Persisted::Final(Err(e)) => Err(wanted.failed("take", &e)),
        Persisted::Unknown(why) => Err(wanted.refusal(format!("cannot take lease/{}: {why}", wanted.name))),
    }
}

/// The run that holds this pod, if its process lives: its Lease is renewed while we look. At most two renewals long,
/// and only where there is a Lease; a failed look counts as nobody, for taking the Lease is what decides.
pub(super) async fn holder(api: &Api<Lease>, pod: &str) -> Option<String> {
    let name = name_of(pod);
    let end = Instant::now() + super::RENEWAL * 2;
    let mut first: Option<String> = None;
    while Instant::now() < end {
        let Persisted::Final(Ok(Some(lease))) = persist(WITHIN, || api.get_opt(&name)).await else { return None };
        let run = lease.labels().get(RUN).or_else(|| lease.annotations().get(RUN)).cloned();
        match (&first, lease.resource_version()) {
            (Some(first), now) if now.as_ref() != Some(first) => return run,
            (None, now) => first = now,
            _ => {}
        }
        sleep(LOOK / 2).await;
    }
    None
}

/// The mark of this run on the Lease of this pod, if there is one.
pub(super) async fn mark(api: &Api<Lease>, pod: &str, run: &str) -> Result<Option<Mark>, String> {
    let name = name_of(pod);
    match persist(WITHIN, || api.get_opt(&name)).await {
        Persisted::Final(Ok(found)) => {
            Ok(found.and_then(|lease| marks(&lease).into_iter().find(|mark| mark.run == run)))
        }
        Persisted::Final(Err(e)) => Err(format!("lease/{name} could not be read: {}", explain(&e))),
        Persisted::Unknown(why) => Err(format!("lease/{name} could not be read: {why}")),
    }
}

/// The run whose Lease it is or was last, and when the API server took the last write to it.
pub(super) async fn last_heard(api: &Api<Lease>, pod: &str) -> Result<Option<(String, Option<Timestamp>)>, String> {
    let found = match timeout(WITHIN, api.get_opt(&name_of(pod))).await {
        Ok(found) => found.map_err(|e| explain(&e))?,
        Err(_) => return Err("the API server did not answer".to_owned()),
    };
    Ok(found.and_then(|lease| {
        let run = lease.annotations().get(RUN).cloned()?;
        // Not renewTime, which is of the clock of whoever renewed it.
        let written = lease.managed_fields().iter().filter_map(|by| by.time.as_ref().map(|time| time.0)).max();
        Some((run, written))
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_the_pods_or_hashed() {
        assert_eq!(name_of("postgres-0"), "consistent-backup-postgres-0");
        let (long, other) = (format!("{}-0", "x".repeat(251)), format!("{}-1", "x".repeat(251)));
        assert!(name_of(&long).len() <= 253 && name_of(&long) != name_of(&other));
        let dotted = name_of(&".".repeat(253));
        assert!(!dotted.contains(".-") && dotted.len() <= 253);
        // A change here would make two versions take the same pod at the same time.
        assert!(name_of(&long).ends_with("x-6be65c833a0ca3e2"), "{}", name_of(&long));
    }
}
