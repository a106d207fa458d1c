//! Rules about a claim: bound, on a volume that can be cut, with a class to cut it.

use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim};

use super::facts::{claims_of, name, namespace};
use super::{Claim, Facts, Request, class};
use crate::error::Refusal;

/// The claim annotation that says what is on it. `archive`: nothing but archived WAL, which is neither backed up nor
/// replaced, because a recovery needs what was archived after the backup. `none`: nothing that a restore needs (logs,
/// temporary files), which stays as it is too.
pub const ROLE: &str = "consistent-backup/role";

/// The claim as it stands in the plan, or all reasons why it cannot be cut.
pub(super) fn claim(facts: &Facts, request: &Request, namespace: &str, name: &str) -> Result<Claim, Vec<Refusal>> {
    let object = format!("persistentvolumeclaim/{name}");
    let Some(found) = facts.claims.get(&(namespace.to_owned(), name.to_owned())) else {
        return Err(vec![Refusal::new(object, "does not exist")]);
    };
    let phase = found.status.as_ref().and_then(|s| s.phase.as_deref());
    let spec = found.spec.clone().unwrap_or_default();
    let volume = spec.volume_name.clone().unwrap_or_default();
    let mut refusals = Vec::new();
    if found.metadata.deletion_timestamp.is_some() {
        refusals.push(Refusal::new(&object, "is being deleted"));
    }
    if phase != Some("Bound") || volume.is_empty() {
        refusals.push(Refusal::new(&object, format!("is {}, not Bound", phase.unwrap_or("Pending"))));
        return Err(refusals);
    }
    let driver = driver(facts, &object, &volume).unwrap_or_else(|r| {
        refusals.extend(r);
        None
    });
    let chosen = driver
        .zip(facts.classes.as_ref())
        .map(|(driver, classes)| class::choose(&object, driver, request.snapshot_class.as_deref(), classes));
    let class = match chosen {
        Some(Ok(class)) if refusals.is_empty() => class,
        Some(Err(refusal)) => {
            refusals.push(refusal);
            return Err(refusals);
        }
        _ => return Err(refusals),
    };
    Ok(Claim {
        namespace: namespace.into(),
        name: name.into(),
        uid: found.metadata.uid.clone().unwrap_or_default(),
        volume,
        storage_class: spec.storage_class_name.clone(),
        request: requested(found),
        access_modes: spec.access_modes.clone().unwrap_or_default(),
        volume_mode: spec.volume_mode.unwrap_or_else(|| "Filesystem".into()),
        labels: found.metadata.labels.clone().unwrap_or_default(),
        driver: class.driver.clone(),
        class: class.name.clone(),
        deletion_policy: class.deletion_policy.clone(),
        location: class.location,
        pods: users(facts, namespace, name),
    })
}

/// The volume's CSI driver. Nothing, without a refusal, where volumes may not be read: that is refused once for all.
fn driver<'a>(facts: &'a Facts, claim: &str, volume: &str) -> Result<Option<&'a str>, Vec<Refusal>> {
    let Some(volumes) = &facts.volumes else {
        return Ok(None);
    };
    let object = format!("persistentvolume/{volume}");
    let Some(found) = volumes.get(volume) else {
        return Err(vec![Refusal::new(claim, format!("its volume {volume} does not exist"))]);
    };
    if found.metadata.deletion_timestamp.is_some() {
        return Err(vec![Refusal::new(object, "is being deleted")]);
    }
    match found.spec.as_ref().and_then(|s| s.csi.as_ref()) {
        Some(csi) => Ok(Some(&csi.driver)),
        None => Err(vec![
            Refusal::new(claim, format!("its volume {volume} is of type {}, not CSI", source(found)))
                .hint("only volumes of a CSI driver that knows snapshots can be cut"),
        ]),
    }
}

/// The volume's type as it stands in the manifest.
fn source(volume: &PersistentVolume) -> String {
    const OTHERS: [&str; 9] = [
        "accessModes",
        "capacity",
        "claimRef",
        "mountOptions",
        "nodeAffinity",
        "persistentVolumeReclaimPolicy",
        "storageClassName",
        "volumeAttributesClassName",
        "volumeMode",
    ];
    let spec = serde_json::to_value(&volume.spec).unwrap_or_default();
    let mut fields = spec.as_object().into_iter().flat_map(|o| o.keys());
    fields.find(|f| !OTHERS.contains(&f.as_str())).map_or_else(|| "unknown".into(), Clone::clone)
}

fn requested(claim: &PersistentVolumeClaim) -> String {
    let resources = claim.spec.as_ref().and_then(|s| s.resources.as_ref());
    let requests = resources.and_then(|r| r.requests.as_ref());
    requests.and_then(|r| r.get("storage")).map_or_else(String::new, |q| q.0.clone())
}

/// Every pod that names the claim and has not ended, selected or not.
fn users(facts: &Facts, of: &str, claim: &str) -> Vec<String> {
    let mut users: Vec<String> = facts
        .pods
        .iter()
        .chain(&facts.others)
        .filter(|pod| namespace(pod) == of && claims_of(pod).iter().any(|(_, c)| *c == claim))
        .filter(|pod| {
            let phase = pod.status.as_ref().and_then(|s| s.phase.as_deref());
            !matches!(phase, Some("Succeeded" | "Failed"))
        })
        .map(|pod| name(pod).to_owned())
        .collect();
    users.sort();
    users.dedup();
    users
}
