//! Marks on a Lease: the runs whose records may act in its namespace.
//!
//! A record lies in a ConfigMap, and whoever may write that may write anything into it. So a run also writes a mark on the
//! Lease of each of its targets before it touches anything: which record is its own, and which plan stands there. That
//! takes the right to write Leases in the target's own namespace. A process that finishes the run believes the record as
//! far as marks say the same.

use k8s_openapi::api::coordination::v1::Lease;
use kube::ResourceExt;
use ring::digest::{SHA256, digest};

use crate::labels::{RECORDS, RUN};
use crate::names::{is_namespace, is_run};

/// The most marks on one Lease. Each belongs to an unfinished run; the oldest is dropped first.
const MOST: usize = 16;
/// The most plans of one run: one for each attempt.
const PLANS: usize = 32;

/// The mark of one run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mark {
    /// The run.
    pub run: String,
    /// Its record; `None` if an older version took the Lease.
    pub record: Option<Record>,
}

/// The record of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// The namespace of its ConfigMap.
    pub namespace: String,
    /// Digests of its plans: each attempt may have another one.
    pub plans: Vec<String>,
}

/// The digest of a plan, as it stands in the record: SHA-256, in hexadecimal.
pub fn plan_digest(text: &str) -> String {
    digest(&SHA256, text.as_bytes()).as_ref().iter().fold(String::new(), |hex, byte| hex + &format!("{byte:02x}"))
}

/// The marks on a Lease. Text that is no mark is ignored: anyone who can write Leases may have written it.
pub fn marks(lease: &Lease) -> Vec<Mark> {
    let text = lease.annotations().get(RECORDS).map_or("", String::as_str);
    let mut all: Vec<Mark> = text.split_whitespace().filter_map(read).collect();
    if let Some(run) = lease.annotations().get(RUN).filter(|run| is_run(run))
        && all.iter().all(|mark| mark.run != *run)
    {
        all.push(Mark { run: run.clone(), record: None });
    }
    all
}

/// The marks that name a record. They stay on a Lease that another run takes over.
pub(super) fn recorded(lease: &Lease) -> Vec<Mark> {
    marks(lease).into_iter().filter(|mark| mark.record.is_some()).collect()
}

/// `RUN`, or `RUN@NAMESPACE:DIGEST,DIGEST`.
fn read(text: &str) -> Option<Mark> {
    let Some((run, record)) = text.split_once('@') else {
        return is_run(text).then(|| Mark { run: text.to_owned(), record: None });
    };
    let (namespace, plans) = record.split_once(':')?;
    let plans: Vec<String> = plans.split(',').map(str::to_owned).collect();
    let known = |plan: &String| plan.len() == 64 && plan.bytes().all(|b| b.is_ascii_hexdigit());
    let fine = is_run(run) && is_namespace(namespace) && plans.len() <= PLANS && plans.iter().all(known);
    fine.then(|| Mark { run: run.to_owned(), record: Some(Record { namespace: namespace.to_owned(), plans }) })
}

/// The annotation with these marks.
pub(super) fn written(marks: &[Mark]) -> String {
    let one = |mark: &Mark| match &mark.record {
        None => mark.run.clone(),
        Some(record) => format!("{}@{}:{}", mark.run, record.namespace, record.plans.join(",")),
    };
    marks[marks.len().saturating_sub(MOST)..].iter().map(one).collect::<Vec<_>>().join(" ")
}

/// Adds this plan of this run's record.
pub(super) fn add(marks: &mut Vec<Mark>, run: &str, namespace: &str, plan: &str) {
    let known = marks.iter().position(|mark| mark.run == run).map(|at| marks.remove(at));
    let mut record = known.and_then(|mark| mark.record).filter(|record| record.namespace == namespace);
    let record = record.get_or_insert_with(|| Record { namespace: namespace.to_owned(), plans: Vec::new() });
    if !record.plans.iter().any(|known| known == plan) {
        record.plans.push(plan.to_owned());
    }
    marks.push(Mark { run: run.to_owned(), record: Some(record.clone()) });
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn lease(annotations: &serde_json::Value) -> Lease {
        serde_json::from_value(json!({"metadata": {"name": "l", "annotations": annotations}})).unwrap()
    }

    #[test]
    fn marks_of_several_runs_come_back() {
        let mut all = marks(&lease(&json!({RUN: "old-1"})));
        assert_eq!(all, [Mark { run: "old-1".into(), record: None }]);
        let (first, second) = (plan_digest("{}"), plan_digest("[]"));
        assert_eq!(first, "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a");
        add(&mut all, "r1", "demo", &first);
        add(&mut all, "r1", "demo", &second);
        add(&mut all, "r1", "demo", &second);
        let text = written(&all);
        assert_eq!(text, format!("old-1 r1@demo:{first},{second}"));
        assert_eq!(marks(&lease(&json!({RUN: "r1", RECORDS: text}))), all);
        // Another record of the same run does not inherit the first one's plans.
        add(&mut all, "r1", "elsewhere", &first);
        assert_eq!(written(&all), format!("old-1 r1@elsewhere:{first}"));
    }

    #[test]
    fn what_is_no_mark_is_left_out() {
        let digest = "a".repeat(64);
        let long = format!("r1@demo:{}", vec![digest.as_str(); PLANS + 1].join(","));
        for none in ["R1", "r1@demo", "r1@demo:", "r1@demo:abc", "r1@de_mo:x", "$(id)@demo:x", long.as_str()] {
            assert_eq!(marks(&lease(&json!({RECORDS: none}))), [], "{none}");
        }
        assert_eq!(marks(&lease(&json!({RUN: "x y", RECORDS: format!("r1@demo:{digest}")}))).len(), 1);
        assert_eq!(marks(&Lease::default()), []);
    }

    #[test]
    fn the_oldest_marks_go_first() {
        let all: Vec<Mark> = (0..MOST + 3).map(|n| Mark { run: format!("r{n}"), record: None }).collect();
        let text = written(&all);
        assert!(text.starts_with("r3 r4 ") && text.ends_with(" r18"), "{text}");
    }
}
