//! The claims of read replicas: with data from after the restored instant a replica would be ahead of its primary, so each
//! is replaced by an empty one.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::PersistentVolumeClaim;

use super::claims::{empty, request};
use super::facts::{Facts, Found};
use super::in_place::old;
use super::quota::Need;
use super::{Claim, Request, protected};
use crate::error::Refusal;
use crate::plan::Plan;

/// One for each that is there now; what is gone is made anew by its workload, if at all.
pub(super) fn claims(
    plan: &Plan,
    facts: &Facts,
    asked: &Request,
    needs: &mut BTreeMap<String, Need>,
    refusals: &mut Vec<Refusal>,
) -> Vec<Claim> {
    let mut all = Vec::new();
    for replica in &plan.replicas {
        for name in &replica.claims {
            let namespace = &replica.target.namespace;
            match facts.claims.get(&format!("{namespace}/{name}")) {
                Some(Found::Yes(now)) => all.extend(claim(plan, now, facts, asked, needs, refusals)),
                Some(Found::Unknown(why)) => refusals.push(Refusal::new(
                    format!("persistentvolumeclaim/{name}"),
                    format!("it could not be read: {why}"),
                )),
                Some(Found::No) | None => {}
            }
        }
    }
    all
}

fn claim(
    plan: &Plan,
    now: &PersistentVolumeClaim,
    facts: &Facts,
    asked: &Request,
    needs: &mut BTreeMap<String, Need>,
    refusals: &mut Vec<Refusal>,
) -> Option<Claim> {
    let name = now.metadata.name.clone().unwrap_or_default();
    let namespace = now.metadata.namespace.clone().unwrap_or_default();
    let class = now.spec.as_ref().and_then(|s| s.storage_class_name.as_deref());
    let missing = match class {
        None => Some((
            format!("persistentvolumeclaim/{name}"),
            "it has no storage class, so nothing would provision a new volume",
        )),
        Some(class) if facts.classes.get(class) == Some(&Found::No) => {
            Some((format!("storageclass/{class}"), "it is gone"))
        }
        Some(_) => None,
    };
    refusals.extend(missing.map(|(object, why)| Refusal::new(object, why)));
    protected::check(now, facts, refusals);
    let old = old(now, facts, refusals)?;
    let size = request(now).unwrap_or_default().to_owned();
    let need = needs.entry(namespace.clone()).or_default();
    need.remove(class, &size);
    need.add(class, &size);
    Some(Claim {
        new: empty(now, &plan.run, &asked.run),
        namespace,
        name,
        old: Some(old),
        size,
        snapshot: String::new(),
        content: String::new(),
        empty: true,
    })
}
