//! Collects from the cluster what the planner of a restore judges by. Changes nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::time::Duration;

use futures::StreamExt;
use futures::future::join_all;
use futures::stream::iter;
use jiff::Timestamp;
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::apps::v1::ReplicaSet;
use k8s_openapi::api::authorization::v1::{ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec};
use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim, Pod, ResourceQuota};
use k8s_openapi::api::storage::v1::{StorageClass, VolumeAttachment};
use kube::Resource;
use kube::api::{Api, ListParams, PostParams};
use serde::de::DeserializeOwned;
use tokio::time::{Instant, sleep, timeout};

use super::admission;
use super::client::{Cluster, explain, is_forbidden, is_not_found};
use super::properties;
use super::snapshots::VolumeSnapshot;
use crate::exec::{self, Place};
use crate::plan::release::Properties;
use crate::plan::restore::access::{Access, aliases, anew, cold, copies, edits, of_restore, verify};
use crate::plan::restore::edits::{Now, asked_of};
use crate::plan::restore::facts::{Facts, Found, WorkloadNow};
use crate::plan::restore::{Place as Where, RestorePlan, Source, needs_alias, pod_of, protected};
use crate::plan::{self, Probed, Target};
use crate::platform::workload;
use crate::quiescer::{Act, by_name};

/// How long one question may take.
const ASK: Duration = Duration::from_secs(20);
/// How long the snapshot-controller is given to let go of a claim whose snapshots are ready.
const PROTECTION: Duration = Duration::from_secs(10);
/// Questions that are under way at once.
const AT_ONCE: usize = 8;

/// What is asked for.
#[derive(Clone, Copy, Debug)]
pub enum Wanted<'a> {
    /// A restore in place.
    InPlace,
    /// Copies of the claims, of which nothing is stopped.
    Copies(&'a Where<'a>),
    /// Workloads with such copies.
    Anew(&'a Where<'a>),
    /// Copies, to start the databases on them.
    Verify(&'a Where<'a>),
}

/// Everything that the planner judges by; what could not be read is marked so, and is the planner's to judge.
pub async fn collect(cluster: &Cluster, source: &Source, wanted: Wanted<'_>, now: Timestamp) -> Facts {
    let plan = &source.plan;
    let mut namespaces: BTreeSet<String> = plan.claims.iter().map(|c| c.namespace.clone()).collect();
    if matches!(wanted, Wanted::InPlace) {
        // A release may be elsewhere than its databases.
        namespaces.extend(plan.workloads.iter().map(|w| w.namespace.clone()));
    }
    let kinds: BTreeSet<String> = plan.workloads.iter().map(|w| w.kind.clone()).collect();
    let mut facts = Facts { now, typed: cluster.typed.clone(), ..Facts::default() };
    let needed = match wanted {
        Wanted::InPlace => {
            let claims = plan.claims.iter().map(|c| c.namespace.clone()).collect();
            of_restore(&claims, &plan.stopped(), &plan.namespace)
        }
        Wanted::Copies(place) => copies(&targets(source, place)),
        Wanted::Anew(place) => anew(&targets(source, place), &kinds),
        Wanted::Verify(place) => verify(&namespaces, place.namespace, &plan.namespace),
    };
    facts.denied = denied(cluster, needed).await;

    let mut names: BTreeSet<(String, String)> =
        plan.claims.iter().map(|c| (c.namespace.clone(), c.name.clone())).collect();
    if let Wanted::Copies(place) | Wanted::Anew(place) | Wanted::Verify(place) = wanted {
        let of_copy = |c| (place.namespace_of(c).to_owned(), place.name_of(plan, c));
        names.extend(plan.claims.iter().map(of_copy));
    } else {
        let of_replica =
            plan.replicas.iter().flat_map(|r| r.claims.iter().map(|name| (r.target.namespace.clone(), name.clone())));
        names.extend(of_replica);
    }
    facts.claims = namespaced::<PersistentVolumeClaim>(cluster, names.clone()).await;
    if matches!(wanted, Wanted::InPlace) {
        facts.snapshots_there = listed::<VolumeSnapshot>(cluster, &namespaces).await;
        // The controller takes its finalizer off a little after the last snapshot became ready: who restores the backup
        // that he has just made need not be refused for that.
        let until = Instant::now() + PROTECTION;
        while lingers(&facts) && Instant::now() < until {
            sleep(Duration::from_secs(1)).await;
            facts.claims = namespaced::<PersistentVolumeClaim>(cluster, names.clone()).await;
            facts.snapshots_there = listed::<VolumeSnapshot>(cluster, &namespaces).await;
        }
    }
    let proofs = plan.claims.iter().zip(&source.proofs).filter_map(|(c, p)| Some((c.namespace.clone(), p.as_ref()?)));
    let proofs: Vec<_> = proofs.collect();
    let names = proofs.iter().map(|(namespace, p)| (namespace.clone(), p.snapshot.clone())).collect();
    facts.snapshots = namespaced::<VolumeSnapshot>(cluster, names).await;
    facts.contents = named(cluster, proofs.iter().map(|(_, p)| p.content.clone()).collect()).await;
    let aliased: BTreeSet<String> = plan
        .claims
        .iter()
        .zip(&source.proofs)
        .filter_map(|(claim, proof)| {
            let namespace = match wanted {
                Wanted::InPlace => &claim.namespace,
                Wanted::Copies(place) | Wanted::Anew(place) | Wanted::Verify(place) => place.namespace_of(claim),
            };
            let snapshot = facts.snapshots.get(&format!("{}/{}", claim.namespace, proof.as_ref()?.snapshot));
            needs_alias(namespace, claim, snapshot).then(|| namespace.to_owned())
        })
        .collect();
    facts.denied.extend(denied(cluster, aliases(&aliased)).await);

    let specs = || facts.claims.values().filter_map(Found::yes).filter_map(|c| c.spec.as_ref());
    let volumes: BTreeSet<String> = specs().filter_map(|s| s.volume_name.clone()).filter(|v| !v.is_empty()).collect();
    let classes = specs().filter_map(|s| s.storage_class_name.clone());
    let classes: BTreeSet<String> = classes.chain(plan.claims.iter().filter_map(|c| c.storage_class.clone())).collect();
    facts.classes = named::<StorageClass>(cluster, classes).await;
    let places = match wanted {
        Wanted::InPlace => namespaces.clone(),
        Wanted::Copies(place) | Wanted::Anew(place) | Wanted::Verify(place) => targets(source, place),
    };
    facts.quotas = listed::<ResourceQuota>(cluster, &places).await;
    if matches!(wanted, Wanted::InPlace) {
        facts.volumes = named::<PersistentVolume>(cluster, volumes).await;
        facts.pods = listed::<Pod>(cluster, &namespaces).await;
        facts.replica_sets = replica_sets(cluster, &namespaces).await;
        let workloads = plan.workloads.iter().map(|of| [&of.namespace, &of.kind, &of.name]);
        facts.workloads = workloads_now(cluster, workloads, &facts.denied).await;
        (facts.autoscalers, facts.budgets) =
            (told(cluster, &namespaces, &mut facts.unread).await, told(cluster, &namespaces, &mut facts.unread).await);
        facts.probes =
            join_all(plan.targets.iter().map(|target| probe(cluster, target, pod_of(target, plan, &facts)))).await;
    }
    facts
}

/// The properties of the releases of which something is to be set, and whether that may be done.
pub async fn collect_properties(cluster: &Cluster, source: &Source, asked: &[String], facts: &mut Facts) {
    let releases = asked_of(&source.plan, asked);
    let of = releases.iter().filter_map(|r| Some((*r, r.properties.as_ref()?)));
    facts.denied.extend(denied(cluster, edits(of.clone().map(|(r, of)| (&r.namespace, of)))).await);
    for (release, of) in of {
        facts.properties.insert(release.path(), properties_now(cluster, &release.namespace, of).await);
    }
}

async fn properties_now(cluster: &Cluster, namespace: &str, of: &Properties) -> Found<Now> {
    match timeout(ASK, properties::read(cluster, namespace, of)).await {
        Ok(Ok(Some(now))) => Found::Yes(Box::new(now)),
        Ok(Ok(None)) => Found::No,
        Ok(Err(why)) => Found::Unknown(why),
        Err(_) => Found::Unknown("the API server did not answer".into()),
    }
}

/// The namespaces in which copies are made.
fn targets(source: &Source, place: &Where) -> BTreeSet<String> {
    source.plan.claims.iter().map(|claim| place.namespace_of(claim).to_owned()).collect()
}

/// What is judged by before a restore is taken back; unfinished runs are not among it.
pub async fn collect_undo(cluster: &Cluster, plan: &RestorePlan, now: Timestamp) -> Facts {
    let mut namespaces: BTreeSet<String> = plan.claims.iter().map(|c| c.namespace.clone()).collect();
    let mut needed = of_restore(&namespaces, &plan.stopped(), &plan.namespace);
    needed.extend(edits(plan.edits.iter().map(|edit| (&edit.namespace, &edit.properties))));
    namespaces.extend(plan.workloads.iter().map(|w| w.namespace.clone()));
    let claims = plan.claims.iter().map(|c| (c.namespace.clone(), c.name.clone())).collect();
    let volumes = plan.old_volumes().map(|v| v.name.clone()).collect();
    let workloads = plan.workloads.iter().map(|of| [&of.namespace, &of.kind, &of.name]);
    let denied = denied(cluster, needed).await;
    let mut properties = BTreeMap::new();
    for edit in &plan.edits {
        properties.insert(edit.of(), properties_now(cluster, &edit.namespace, &edit.properties).await);
    }
    Facts {
        now,
        typed: cluster.typed.clone(),
        properties,
        claims: namespaced(cluster, claims).await,
        volumes: named(cluster, volumes).await,
        workloads: workloads_now(cluster, workloads, &denied).await,
        denied,
        pods: listed(cluster, &namespaces).await,
        replica_sets: replica_sets(cluster, &namespaces).await,
        ..Facts::default()
    }
}

/// What a cold backup is judged by beside what any backup is: the workloads as they are, and what is attached.
pub async fn collect_cold(cluster: &Cluster, of: &plan::Facts, now: Timestamp) -> Facts {
    let namespaces: BTreeSet<String> = of.workloads.iter().map(|w| w.namespace.clone()).collect();
    let kinds: BTreeSet<String> = of.workloads.iter().map(|w| w.kind.clone()).collect();
    let mut unread = Vec::new();
    let (autoscalers, budgets) =
        (told(cluster, &namespaces, &mut unread).await, told(cluster, &namespaces, &mut unread).await);
    let denied = denied(cluster, cold(&namespaces, &kinds)).await;
    let workloads = of.workloads.iter().map(|w| [&w.namespace, &w.kind, &w.name]);
    Facts {
        now,
        typed: cluster.typed.clone(),
        autoscalers,
        budgets,
        unread,
        pods: of.pods.iter().chain(&of.others).cloned().collect(),
        replica_sets: replica_sets(cluster, &namespaces).await,
        workloads: workloads_now(cluster, workloads, &denied).await,
        denied,
        attached: attached(cluster).await,
        ..Facts::default()
    }
}

/// The volumes that are attached to a node. Without an answer none counts as such: less is claimed then.
async fn attached(cluster: &Cluster) -> BTreeSet<String> {
    let api: Api<VolumeAttachment> = Api::all(cluster.api.clone());
    let listed = timeout(ASK, api.list(&ListParams::default())).await;
    let items = listed.ok().and_then(Result::ok).map(|list| list.items).unwrap_or_default();
    items.into_iter().filter_map(|a| a.spec.source.persistent_volume_name).collect()
}

/// Workloads as they are now, of these namespaces, kinds and names; a pod is asked about that may be made.
async fn workloads_now<'a>(
    cluster: &Cluster,
    wanted: impl Iterator<Item = [&'a String; 3]>,
    denied: &[Access],
) -> BTreeMap<String, Found<WorkloadNow>> {
    let mut all = BTreeMap::new();
    for [namespace, kind, name] in wanted {
        let found = match workload::read(cluster, kind, namespace, name).await {
            Ok(Some(mut now)) => {
                if let Some(pod) = now.pod.as_deref()
                    && denied.is_empty()
                {
                    now.refused = admission::refused(cluster, pod).await;
                }
                Found::Yes(Box::new(now))
            }
            Ok(None) => Found::No,
            Err(why) => Found::Unknown(why),
        };
        all.insert(format!("{namespace}/{kind}/{name}"), found);
    }
    all
}

/// Whether a claim is kept for snapshots of which none is unfinished.
fn lingers(facts: &Facts) -> bool {
    let kept = |claim: &&PersistentVolumeClaim| protected::is_protected(claim);
    let mut kept = facts.claims.values().filter_map(Found::yes).filter(kept);
    kept.any(|claim| protected::unfinished(claim, &facts.snapshots_there).is_empty())
}

/// One object, with "it is not there" and "nobody knows" told apart.
async fn get<K>(api: &Api<K>, name: &str) -> Found<K>
where
    K: Clone + Debug + DeserializeOwned,
{
    match timeout(ASK, api.get(name)).await {
        Ok(Ok(found)) => Found::Yes(Box::new(found)),
        Ok(Err(e)) if is_not_found(&e) => Found::No,
        Ok(Err(e)) => Found::Unknown(explain(&e)),
        Err(_) => Found::Unknown("the API server did not answer".into()),
    }
}

async fn namespaced<K>(cluster: &Cluster, names: BTreeSet<(String, String)>) -> BTreeMap<String, Found<K>>
where
    K: Resource<Scope = NamespaceResourceScope> + Clone + Debug + DeserializeOwned,
    K::DynamicType: Default,
{
    let one = |(namespace, name): (String, String)| async move {
        let api: Api<K> = Api::namespaced(cluster.api.clone(), &namespace);
        (format!("{namespace}/{name}"), get(&api, &name).await)
    };
    iter(names).map(one).buffer_unordered(AT_ONCE).collect().await
}

async fn named<K>(cluster: &Cluster, names: BTreeSet<String>) -> BTreeMap<String, Found<K>>
where
    K: Resource + Clone + Debug + DeserializeOwned,
    K::DynamicType: Default,
{
    let api: Api<K> = Api::all(cluster.api.clone());
    let one = |name: String| {
        let api = api.clone();
        async move {
            let found = get(&api, &name).await;
            (name, found)
        }
    };
    iter(names).map(one).buffer_unordered(AT_ONCE).collect().await
}

/// What may not be listed is missing: the access review names it.
async fn listed<K>(cluster: &Cluster, namespaces: &BTreeSet<String>) -> Vec<K>
where
    K: Resource<Scope = NamespaceResourceScope> + Clone + Debug + DeserializeOwned,
    K::DynamicType: Default,
{
    told(cluster, namespaces, &mut Vec::new()).await
}

/// The same of what a restore can do without: what could not be read is told.
async fn told<K>(cluster: &Cluster, namespaces: &BTreeSet<String>, unread: &mut Vec<String>) -> Vec<K>
where
    K: Resource<Scope = NamespaceResourceScope> + Clone + Debug + DeserializeOwned,
    K::DynamicType: Default,
{
    let mut all = Vec::new();
    for namespace in namespaces {
        let api: Api<K> = Api::namespaced(cluster.api.clone(), namespace);
        let why = match timeout(ASK, api.list(&ListParams::default())).await {
            Ok(Ok(found)) => {
                all.extend(found.items);
                continue;
            }
            Ok(Err(e)) => explain(&e),
            Err(_) => "the API server did not answer".into(),
        };
        let what = K::plural(&K::DynamicType::default()).into_owned();
        unread.push(format!(
            "{what} in namespace {namespace} could not be read, so what they do meanwhile is not known: {why}"
        ));
    }
    all
}

/// The ReplicaSets that belong to Deployments.
async fn replica_sets(cluster: &Cluster, namespaces: &BTreeSet<String>) -> BTreeMap<String, String> {
    let owner = |set: &ReplicaSet| {
        let owners = set.metadata.owner_references.as_deref().unwrap_or_default();
        owners.iter().find(|o| o.controller == Some(true) && o.kind == "Deployment").map(|o| o.name.clone())
    };
    let sets = listed::<ReplicaSet>(cluster, namespaces).await;
    let key = |set: &ReplicaSet| {
        let namespace = set.metadata.namespace.as_deref().unwrap_or_default();
        format!("{namespace}/{}", set.metadata.name.as_deref().unwrap_or_default())
    };
    sets.iter().filter_map(|set| Some((key(set), owner(set)?))).collect()
}

/// What the user may not do. A review that gets no answer denies nothing: the request itself will tell.
pub async fn denied(cluster: &Cluster, needed: Vec<Access>) -> Vec<Access> {
    let api: Api<SelfSubjectAccessReview> = Api::all(cluster.api.clone());
    let one = |access: Access| {
        let api = api.clone();
        async move {
            let (resource, subresource) = match access.resource.split_once('/') {
                Some((resource, sub)) => (resource, Some(sub.to_owned())),
                None => (access.resource, None),
            };
            let review = SelfSubjectAccessReview {
                spec: SelfSubjectAccessReviewSpec {
                    resource_attributes: Some(ResourceAttributes {
                        group: Some(access.group.to_owned()),
                        resource: Some(resource.to_owned()),
                        subresource,
                        verb: Some(access.verb.to_owned()),
                        namespace: access.namespace.clone(),
                        name: access.name.clone(),
                        ..ResourceAttributes::default()
                    }),
                    ..SelfSubjectAccessReviewSpec::default()
                },
                ..SelfSubjectAccessReview::default()
            };
            let answer = timeout(ASK, api.create(&PostParams::default(), &review)).await;
            let allowed = match answer {
                Ok(Ok(review)) => review.status.is_none_or(|s| s.allowed),
                Ok(Err(e)) => !is_forbidden(&e),
                Err(_) => true,
            };
            (!allowed).then_some(access)
        }
    };
    let mut denied: Vec<Access> =
        iter(needed).map(one).buffer_unordered(AT_ONCE).filter_map(|d| async { d }).collect().await;
    denied.sort();
    denied
}

/// What a target of the backup says of itself now, if its pod is ready and answers.
async fn probe(cluster: &Cluster, target: &Target, pod: Option<&Pod>) -> Probed {
    let (Some(pod), Some(quiescer)) = (pod, by_name(&target.adapter)) else { return Err(Vec::new()) };
    let Act::Exec { argv, within } = quiescer.probe() else { return Err(Vec::new()) };
    let place = Place { pod: pod.metadata.name.clone().unwrap_or_default(), ..Place::from(target) };
    let answer = exec::run(cluster, &place, &argv, within).await;
    if answer.ok() { quiescer.read_probe(&answer) } else { Err(Vec::new()) }
}
