//! Removes what a verification made: pods first, then their policies and claims, until their volumes are gone; last what
//! claims were made from, which tells of other namespaces. Objects are found by label, so that another process finds what
//! a dead one left, and name and annotation must agree with it.

use std::collections::BTreeSet;
use std::time::Duration;

use futures::future::join_all;
use k8s_openapi::api::core::v1::{ConfigMap, PersistentVolume, PersistentVolumeClaim, Pod};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, Preconditions};
use kube::{Resource, ResourceExt};
use serde_json::json;
use tokio::time::{Instant, sleep, timeout};

use crate::backend::csi::alias;
use crate::cluster::client::{Cluster, explain, is_conflict, is_forbidden, is_not_found};
use crate::labels::VERIFY;
use crate::plan::verify::{is_own, is_own_alias};

/// How long the cluster may take to remove it all.
pub const REMOVAL: Duration = Duration::from_secs(180);
/// How long one request may take.
const REQUEST: Duration = Duration::from_secs(10);
/// Pause between two looks.
const LOOK: Duration = Duration::from_millis(500);
/// How long a claim may wait for a volume that is being made. One whose driver cannot make it never gets it.
const BINDING: Duration = Duration::from_secs(60);
/// On a claim: its driver was told to make its volume.
const PROVISIONED_BY: [&str; 2] =
    ["volume.kubernetes.io/storage-provisioner", "volume.beta.kubernetes.io/storage-provisioner"];
/// By how much a claim's volume may seem older than the claim: API servers have their own clocks.
const SKEW: i64 = 60;
/// What takes no longer than this is not worth a line.
const QUIET: Duration = Duration::from_secs(3);

/// Removes what was made to verify this backup, or `only` these pods and claims of it, and waits until it is gone. The
/// error names what is still there. `tell` is told what is waited for.
pub async fn remove(
    cluster: &Cluster,
    namespaces: &[String],
    run: &str,
    only: Option<&BTreeSet<String>>,
    tell: impl Fn(&str),
) -> Result<(), String> {
    let (until, tell_from) = (Instant::now() + REMOVAL, Instant::now() + QUIET);
    let bound_until = Instant::now() + BINDING;
    let mut volumes = BTreeSet::new();
    let mut told = String::new();
    let mut aliases = only.map(|_| Vec::new());
    loop {
        let mut waiting = None;
        if aliases.is_none() {
            match alias::of_verifications(cluster, run).await {
                Ok(found) => aliases = Some(found.into_iter().filter(|alias| is_own_alias(alias, run)).collect()),
                Err(why) => waiting = Some(why),
            }
        }
        let made_from = aliases.as_deref().unwrap_or_default();
        let elsewhere: BTreeSet<&str> = made_from.iter().map(|alias| alias.namespace.as_str()).collect();
        let all: BTreeSet<&str> = namespaces.iter().map(String::as_str).chain(elsewhere.iter().copied()).collect();
        for namespace in all {
            let maps = elsewhere.contains(namespace);
            let removal = Removal { cluster, namespace, run, only, bound_until, maps };
            let looked = removal.once(&mut volumes).await;
            waiting = waiting.or(looked.unwrap_or_else(Some));
        }
        let waiting = match waiting {
            Some(waiting) => Some(waiting),
            None => left(cluster, &mut volumes).await,
        };
        let Some(waiting) = waiting else { break };
        if Instant::now() >= until {
            return Err(waiting);
        }
        if told != waiting && Instant::now() >= tell_from {
            tell(&waiting);
            told = waiting;
        }
        sleep(LOOK).await;
    }
    let aliases = aliases.unwrap_or_default();
    let removed = join_all(aliases.iter().map(|of| alias::remove(cluster, of))).await;
    let left: Vec<String> = removed.into_iter().filter_map(Result::err).collect();
    if left.is_empty() { Ok(()) } else { Err(left.join("; ")) }
}

/// Sees that the volumes of kept copies go with their claims, so that whoever deletes those leaves nothing behind.
pub async fn keep(cluster: &Cluster, namespaces: &[String], run: &str) -> Result<(), String> {
    for namespace in namespaces {
        let removal = Removal { cluster, namespace, run, only: None, bound_until: Instant::now(), maps: false };
        for claim in removal.listed::<PersistentVolumeClaim>().await? {
            removal.let_go(&claim).await?;
        }
    }
    Ok(())
}

/// A kind of object that a verification makes.
trait Made:
    Resource<Scope = k8s_openapi::NamespaceResourceScope, DynamicType: Default>
    + Clone
    + std::fmt::Debug
    + serde::de::DeserializeOwned
{
}

impl<K> Made for K where
    K: Resource<Scope = k8s_openapi::NamespaceResourceScope, DynamicType: Default>
        + Clone
        + std::fmt::Debug
        + serde::de::DeserializeOwned
{
}

struct Removal<'a> {
    cluster: &'a Cluster,
    namespace: &'a str,
    run: &'a str,
    only: Option<&'a BTreeSet<String>>,
    /// Until when a volume that is being made is waited for.
    bound_until: Instant,
    /// Whether ConfigMaps were made here as well.
    maps: bool,
}

impl Removal<'_> {
    /// Looks, and does the next thing. Says what is waited for; the volumes of claims that go are added.
    async fn once(&self, volumes: &mut BTreeSet<String>) -> Result<Option<String>, String> {
        let pods = self.listed::<Pod>().await?;
        for pod in &pods {
            self.delete(pod).await?;
        }
        if let Some(pod) = pods.first() {
            return Ok(Some(format!("pod/{} is ending", pod.name_any())));
        }
        let policies = self.policies().await?;
        for policy in &policies {
            self.delete(policy).await?;
        }
        let claims = self.listed::<PersistentVolumeClaim>().await?;
        // Made for a claim that is gone, a volume would come after all was removed, and stay where its class keeps it.
        let waits = claims.iter().find(|claim| Instant::now() < self.bound_until && is_being_made(claim));
        for claim in claims.iter().filter(|_| waits.is_none()) {
            if let Some(volume) = self.let_go(claim).await? {
                volumes.insert(volume);
            }
            self.delete(claim).await?;
        }
        let waits =
            waits.map(|claim| format!("the volume of persistentvolumeclaim/{} is being made", claim.name_any()));
        let deleted =
            |claim: &PersistentVolumeClaim| format!("persistentvolumeclaim/{} is being deleted", claim.name_any());
        let waits = waits.or(claims.first().map(deleted));
        let waits =
            waits.or(policies.first().map(|policy| format!("networkpolicy/{} is being deleted", policy.name_any())));
        if waits.is_none() && self.maps {
            let maps = self.listed::<ConfigMap>().await?;
            for map in &maps {
                self.delete(map).await?;
            }
            return Ok(maps.first().map(|map| format!("configmap/{} is being deleted", map.name_any())));
        }
        Ok(waits)
    }

    async fn listed<K: Made>(&self) -> Result<Vec<K>, String> {
        self.asked()
            .await?
            .map_err(|e| format!("{} in {}: {}", K::plural(&K::DynamicType::default()), self.namespace, explain(&e)))
    }

    /// The policies. A user who may not list them made none: the rights of an earlier version still delete a backup.
    async fn policies(&self) -> Result<Vec<NetworkPolicy>, String> {
        match self.asked().await? {
            Err(e) if is_forbidden(&e) => Ok(Vec::new()),
            Err(e) => Err(format!("networkpolicies in {}: {}", self.namespace, explain(&e))),
            Ok(found) => Ok(found),
        }
    }

    async fn asked<K: Made>(&self) -> Result<Result<Vec<K>, kube::Error>, String> {
        let api: Api<K> = Api::namespaced(self.cluster.api.clone(), self.namespace);
        let of = ListParams::default().labels(&format!("{VERIFY}={}", self.run));
        let listed = timeout(REQUEST, api.list(&of)).await.map_err(|_| "the API server does not answer".to_owned())?;
        let wanted = |object: &K| {
            is_own(object.meta(), self.run) && self.only.is_none_or(|only| only.contains(&object.name_any()))
        };
        Ok(listed.map(|listed| listed.items.into_iter().filter(wanted).collect()))
    }

    /// Deletes this very object. Whether it is gone is seen at the next look.
    async fn delete<K: Made>(&self, object: &K) -> Result<(), String> {
        if object.meta().deletion_timestamp.is_some() {
            return Ok(());
        }
        let api: Api<K> = Api::namespaced(self.cluster.api.clone(), self.namespace);
        let params = DeleteParams {
            preconditions: Some(Preconditions { uid: object.uid(), resource_version: None }),
            ..DeleteParams::default()
        };
        match timeout(REQUEST, api.delete(&object.name_any(), &params)).await {
            Ok(Err(e)) if !is_not_found(&e) && !is_conflict(&e) => {
                let kind = K::kind(&K::DynamicType::default()).to_lowercase();
                Err(format!("{kind}/{}: {}", object.name_any(), explain(&e)))
            }
            // No answer: the next look tells.
            _ => Ok(()),
        }
    }

    /// Sees that the claim's volume goes with it, as its class may have it stay; the volume's name.
    async fn let_go(&self, claim: &PersistentVolumeClaim) -> Result<Option<String>, String> {
        let Some(name) = claim.spec.as_ref().and_then(|s| s.volume_name.clone()).filter(|v| !v.is_empty()) else {
            return Ok(None);
        };
        let api: Api<PersistentVolume> = Api::all(self.cluster.api.clone());
        let found = match timeout(REQUEST, api.get_opt(&name)).await {
            Ok(Ok(found)) => found,
            // Who may not look may not change it either; a class that keeps volumes is asked about beforehand.
            Ok(Err(e)) if is_forbidden(&e) => return Ok(None),
            Ok(Err(e)) => return Err(format!("persistentvolume/{name}: {}", explain(&e))),
            Err(_) => return Err("the API server does not answer".to_owned()),
        };
        let Some(volume) = found else { return Ok(None) };
        if !is_made_for(&volume, claim) {
            return Ok(None);
        }
        let policy = volume.spec.as_ref().and_then(|spec| spec.persistent_volume_reclaim_policy.as_deref());
        if policy != Some("Delete") {
            let patch = Patch::Merge(json!({
                "metadata": { "uid": volume.uid() },
                "spec": { "persistentVolumeReclaimPolicy": "Delete" },
            }));
            match timeout(REQUEST, api.patch(&name, &PatchParams::default(), &patch)).await {
                Ok(Ok(_)) => {}
                Ok(Err(e)) => return Err(format!("persistentvolume/{name}: {}", explain(&e))),
                Err(_) => return Err("the API server does not answer".to_owned()),
            }
        }
        Ok(Some(name))
    }
}

/// Whether this volume was made for this claim, from a snapshot: then it goes with the copy. A volume that is older than
/// the claim has somebody's data.
fn is_made_for(volume: &PersistentVolume, claim: &PersistentVolumeClaim) -> bool {
    let source = claim.spec.as_ref().and_then(|spec| spec.data_source.as_ref());
    let bound = volume.spec.as_ref().and_then(|spec| spec.claim_ref.as_ref()).and_then(|of| of.uid.as_ref());
    let at = |time: Option<&Time>| time.map(|time| time.0.as_second());
    let (made, asked) =
        (at(volume.metadata.creation_timestamp.as_ref()), at(claim.metadata.creation_timestamp.as_ref()));
    let is_younger = made.zip(asked).is_some_and(|(made, asked)| made + SKEW >= asked);
    source.is_some_and(|source| source.kind == "VolumeSnapshot")
        && bound.is_some()
        && bound == claim.metadata.uid.as_ref()
        && is_younger
}

/// Whether a driver was told to make this claim's volume, and has not made it yet.
fn is_being_made(claim: &PersistentVolumeClaim) -> bool {
    let bound = claim.spec.as_ref().and_then(|s| s.volume_name.as_ref()).is_some_and(|name| !name.is_empty());
    let asked = PROVISIONED_BY.iter().any(|key| claim.annotations().contains_key(*key));
    asked && !bound && claim.metadata.deletion_timestamp.is_none()
}

/// Which of these volumes is still there; those that are gone are forgotten.
async fn left(cluster: &Cluster, volumes: &mut BTreeSet<String>) -> Option<String> {
    let api: Api<PersistentVolume> = Api::all(cluster.api.clone());
    for name in volumes.clone() {
        match timeout(REQUEST, api.get_opt(&name)).await {
            Ok(Ok(Some(_))) => return Some(format!("persistentvolume/{name} is being deleted by its driver")),
            Ok(Ok(None)) => {}
            Ok(Err(e)) if is_forbidden(&e) => {}
            Ok(Err(e)) => return Some(format!("persistentvolume/{name}: {}", explain(&e))),
            Err(_) => return Some("the API server does not answer".to_owned()),
        }
        volumes.remove(&name);
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A user who may make claims, but not change volumes, gains nothing by a claim that looks like a copy's.
    #[test]
    fn only_a_volume_that_was_made_for_the_copy_is_let_go() {
        let volume = |uid: &str, at: &str| -> PersistentVolume {
            serde_json::from_value(
                json!({"metadata": {"name": "pv", "creationTimestamp": at}, "spec": {"claimRef": {"uid": uid}}}),
            )
            .expect("a volume")
        };
        let claim = |kind: &str| -> PersistentVolumeClaim {
            serde_json::from_value(json!({"metadata": {"uid": "c", "creationTimestamp": "2026-11-20T10:00:00Z"},
                "spec": {"dataSource": {"kind": kind, "name": "s"}, "volumeName": "pv"}}))
            .expect("a claim")
        };
        let snapshot = claim("VolumeSnapshot");
        assert!(is_made_for(&volume("c", "2026-11-20T10:00:03Z"), &snapshot));
        assert!(!is_made_for(&volume("other", "2026-11-20T10:00:03Z"), &snapshot), "bound to another");
        assert!(!is_made_for(&volume("c", "2026-11-01T10:00:00Z"), &snapshot), "it was there before");
        assert!(!is_made_for(&volume("c", "2026-11-20T10:00:03Z"), &claim("PersistentVolumeClaim")));
        assert!(!is_made_for(&volume("c", "2026-11-20T10:00:03Z"), &PersistentVolumeClaim::default()));
    }
}
