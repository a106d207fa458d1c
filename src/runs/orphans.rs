//! What is there of runs and belongs to no record: found by labels, named with the command that removes it.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1::{ConfigMap, PersistentVolumeClaim, Pod};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{Api, ApiResource, DynamicObject, ListParams};
use serde::Serialize;

use super::{BackupJournal, rebuilt};
use crate::backend::csi::alias;
use crate::cluster::client::{Cluster, explain};
use crate::cluster::snapshots::VolumeSnapshotContent;
use crate::journal::{self, parts};
use crate::labels::{NAMESPACE, RUN, VERIFY};
use crate::plan::restore::Alias;
use crate::plan::verify::is_own;
use crate::record::API_VERSION;
use crate::typed::kubectl;

/// One thing, or one backup, that no record names.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Orphan {
    /// Where its record was, or where it is.
    pub namespace: String,
    /// As kubectl names it; `backup/RUN` for a whole backup.
    pub object: String,
    /// The run that it is of.
    pub run: String,
    /// Why it is here.
    pub why: String,
    /// What removes it.
    pub remove: String,
    /// What makes use of it instead, if anything does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub adopt: Option<String>,
}

/// `kind: OrphanList`.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct OrphanList {
    api_version: &'static str,
    kind: &'static str,
    /// In the order of namespaces and names.
    pub items: Vec<Orphan>,
}

impl OrphanList {
    /// A list.
    pub fn new(mut items: Vec<Orphan>) -> Self {
        items.sort();
        Self { api_version: API_VERSION, kind: "OrphanList", items }
    }
}

/// What was found, and what could not be looked at, in words.
pub async fn all(cluster: &Cluster, namespace: Option<&str>) -> (Vec<Orphan>, Vec<String>) {
    let (mut found, mut unseen) = (Vec::new(), Vec::new());
    let here = |of: &str| namespace.is_none_or(|namespace| namespace == of);
    let contents = rebuilt::contents(cluster, None).await.unwrap_or_else(|why| {
        unseen.push(why.to_string());
        Vec::new()
    });
    let (gone, unread) = without_record(cluster, &contents).await;
    found.extend(gone.into_values().filter(|orphan| here(&orphan.namespace)));
    found.extend(unread.into_iter().filter(|orphan| here(&orphan.namespace)));
    match alias::list(cluster, None).await {
        Ok(aliases) => {
            for of in aliases.iter().map(alias::read).filter(|of| here(&of.namespace)) {
                match is_needed(cluster, &of).await {
                    Ok(true) => {}
                    Ok(false) => found.push(of_alias(&of)),
                    Err(why) => unseen.push(why),
                }
            }
        }
        Err(why) => unseen.push(why.to_string()),
    }
    match parts::all(cluster, namespace).await {
        Ok(all) => {
            for ((namespace, run), maps) in all {
                if matches!(journal::find(cluster, &namespace, &run).await, Ok(None)) {
                    found.extend(maps.iter().map(|map| of_part(&namespace, &run, map)));
                }
            }
        }
        Err(e) => unseen.push(format!("configmaps could not be listed: {}", explain(&e))),
    }
    let (of_verifications, unlisted) = verifications(cluster, namespace).await;
    found.extend(of_verifications);
    unseen.extend(unlisted);
    unseen.sort();
    unseen.dedup();
    (found, unseen)
}

/// Backups without a record, by run, and contents of ours that tell of none.
async fn without_record(
    cluster: &Cluster,
    contents: &[VolumeSnapshotContent],
) -> (BTreeMap<String, Orphan>, Vec<Orphan>) {
    let mut gone = BTreeMap::new();
    let mut told = BTreeSet::new();
    for stored in rebuilt::rebuild(contents) {
        told.insert(stored.run.clone());
        if !matches!(journal::find(cluster, &stored.namespace, &stored.run).await, Ok(None)) {
            continue;
        }
        let Ok(backup) = BackupJournal::read(&stored) else { continue };
        let of_run = |c: &&VolumeSnapshotContent| label(c, RUN) == Some(&stored.run);
        let there = contents.iter().filter(of_run).count();
        let typed = &cluster.typed;
        let orphan = Orphan {
            namespace: stored.namespace.clone(),
            object: format!("backup/{}", stored.run),
            run: stored.run.clone(),
            why: format!("its record is gone; {there} of its {} copies are there", backup.plan.claims.len()),
            remove: typed.command("delete", &stored.run, &stored.namespace),
            adopt: Some(typed.command("restore-from-snapshot", &stored.run, &stored.namespace)),
        };
        gone.insert(stored.run, orphan);
    }
    let mut unread = Vec::new();
    for content in contents {
        let Some(run) = label(content, RUN).filter(|run| !told.contains(*run)) else { continue };
        let namespace = content.metadata.annotations.as_ref().and_then(|notes| notes.get(NAMESPACE));
        let namespace = namespace.cloned().unwrap_or_default();
        if matches!(journal::find(cluster, &namespace, run).await, Ok(None)) {
            unread.push(of_content(content, run, &namespace));
        }
    }
    (gone, unread)
}

fn label<'a>(content: &'a VolumeSnapshotContent, key: &str) -> Option<&'a String> {
    content.metadata.labels.as_ref()?.get(key)
}

fn of_content(content: &VolumeSnapshotContent, run: &str, namespace: &str) -> Orphan {
    let object = format!("volumesnapshotcontent/{}", content.metadata.name.as_deref().unwrap_or_default());
    Orphan {
        namespace: namespace.to_owned(),
        run: run.to_owned(),
        why: "its record is gone, and its annotations do not tell of it".into(),
        remove: format!(
            "{} && {}",
            kubectl(&["patch", &object, "--type=merge", "-p", r#"{"spec":{"deletionPolicy":"Delete"}}"#]),
            kubectl(&["delete", &object])
        ),
        adopt: None,
        object,
    }
}

/// Whether a claim is still to be made from it.
async fn is_needed(cluster: &Cluster, of: &Alias) -> Result<bool, String> {
    let api: Api<PersistentVolumeClaim> = Api::namespaced(cluster.api.clone(), &of.namespace);
    let listed = api.list(&ListParams::default()).await;
    let listed = listed.map_err(|e| format!("claims in {} could not be listed: {}", of.namespace, explain(&e)))?;
    Ok(listed.items.iter().any(|claim| waits_for(claim, of)))
}

fn waits_for(claim: &PersistentVolumeClaim, of: &Alias) -> bool {
    let source = claim.spec.as_ref().and_then(|spec| spec.data_source.as_ref());
    let bound = claim.status.as_ref().and_then(|s| s.phase.as_deref()) == Some("Bound");
    !bound && source.is_some_and(|source| source.kind == "VolumeSnapshot" && source.name == of.snapshot)
}

fn of_alias(of: &Alias) -> Orphan {
    Orphan {
        namespace: of.namespace.clone(),
        object: format!("volumesnapshot/{}", of.snapshot),
        run: of.run.clone(),
        why: if of.verify {
            "a verification of this backup left it, or is under way; the stored copy does not depend on it"
        } else {
            "a restore left it, or is making it now; no claim waits for it, and the stored copy does not depend on it"
        }
        .into(),
        // Its deletionPolicy is Retain.
        remove: format!(
            "{} && {}",
            kubectl(
                &["delete", &format!("volumesnapshot/{}", of.snapshot), "-n", &of.namespace, "--ignore-not-found",]
            ),
            kubectl(&["delete", &format!("volumesnapshotcontent/{}", of.content)])
        ),
        adopt: None,
    }
}

fn of_part(namespace: &str, run: &str, map: &str) -> Orphan {
    Orphan {
        namespace: namespace.to_owned(),
        object: format!("configmap/{map}"),
        run: run.to_owned(),
        why: "it has manifests of a backup whose record is gone".into(),
        remove: kubectl(&["delete", &format!("configmap/{map}"), "-n", namespace]),
        adopt: None,
    }
}

/// What verifications left, or are at; and which kinds could not be listed: they must not hide the others.
async fn verifications(cluster: &Cluster, namespace: Option<&str>) -> (Vec<Orphan>, Vec<String>) {
    let of_verify = ListParams::default().labels(VERIFY);
    let all = [
        ApiResource::erase::<Pod>(&()),
        ApiResource::erase::<NetworkPolicy>(&()),
        ApiResource::erase::<PersistentVolumeClaim>(&()),
        ApiResource::erase::<ConfigMap>(&()),
    ];
    let (mut found, mut unlisted) = (Vec::new(), Vec::new());
    for resource in all {
        let api: Api<DynamicObject> = match namespace {
            Some(namespace) => Api::namespaced_with(cluster.api.clone(), namespace, &resource),
            None => Api::all_with(cluster.api.clone(), &resource),
        };
        match api.list_metadata(&of_verify).await {
            Ok(listed) => {
                found.extend(listed.items.into_iter().map(|item| of_verification(&resource.kind, item.metadata)));
            }
            Err(e) => {
                unlisted.push(format!("{} of verifications could not be listed: {}", resource.plural, explain(&e)));
            }
        }
    }
    (found, unlisted)
}

fn of_verification(kind: &str, meta: ObjectMeta) -> Orphan {
    let run = meta.labels.as_ref().and_then(|labels| labels.get(VERIFY)).cloned().unwrap_or_default();
    let why = if is_own(&meta, &run) {
        "a verification of this backup left it, or is under way"
    } else {
        "it has the label of a verification, but not its name and annotation: look at it first, it may be somebody's own"
    };
    let (namespace, name) = (meta.namespace.unwrap_or_default(), meta.name.unwrap_or_default());
    let object = format!("{}/{name}", kind.to_lowercase());
    Orphan {
        remove: kubectl(&["delete", &object, "-n", &namespace]),
        why: why.into(),
        adopt: None,
        object,
        namespace,
        run,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_label_alone_does_not_make_an_object_a_verifications() {
        let of = |name: &str| {
            let meta = json!({"name": name, "namespace": "demo", "labels": {VERIFY: "b1"},
                "annotations": {"consistent-backup/pod": "pg-0"}});
            of_verification("NetworkPolicy", serde_json::from_value(meta).unwrap())
        };
        let own = of("pg-0-verify-b1");
        assert_eq!((own.object.as_str(), own.run.as_str()), ("networkpolicy/pg-0-verify-b1", "b1"));
        assert_eq!(own.remove, "kubectl delete networkpolicy/pg-0-verify-b1 -n demo");
        assert!(own.why.contains("left it") && of("pg-0").why.contains("somebody's own"));
    }

    #[test]
    fn an_alias_is_needed_until_its_claim_is_bound() {
        let of = Alias {
            run: "b1".into(),
            claim: "data".into(),
            namespace: "two".into(),
            snapshot: "b1-alias-data".into(),
            content: "c".into(),
            driver: "d".into(),
            handle: "h".into(),
            class: None,
            mode: None,
            mode_change: false,
            verify: false,
        };
        let waits = |phase: &str, snapshot: &str| {
            let claim = json!({"metadata": {"name": "data"}, "status": {"phase": phase},
                "spec": {"dataSource": {"apiGroup": "snapshot.storage.k8s.io", "kind": "VolumeSnapshot", "name": snapshot}}});
            waits_for(&serde_json::from_value(claim).unwrap(), &of)
        };
        assert!(waits("Pending", "b1-alias-data"));
        assert!(!waits("Bound", "b1-alias-data") && !waits("Pending", "other"));
        assert!(!waits_for(&PersistentVolumeClaim::default(), &of));
        assert_eq!(
            of_alias(&of).remove,
            "kubectl delete volumesnapshot/b1-alias-data -n two --ignore-not-found && kubectl delete volumesnapshotcontent/c"
        );
    }
}
