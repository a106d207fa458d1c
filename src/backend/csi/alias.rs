//! Aliases of stored copies: made, and removed again, without the stored copy ever being at stake.
//!
//! The content comes first and bears the backup's id, so what a process leaves that dies in between is found by it. A
//! content whose deletionPolicy is not Retain is never deleted here.

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, PostParams, Preconditions};
use serde_json::json;
use tokio::time::{Instant, sleep, timeout};

use super::REQUEST;
use super::discard::BEING_DELETED;
use crate::cluster::client::{
    Cluster, Persisted, Unlisted, explain, is_already_exists, is_conflict, is_forbidden, is_not_found, persist,
};
use crate::cluster::snapshots::{
    ContentSource, SnapshotRef, VolumeSnapshot, VolumeSnapshotClass, VolumeSnapshotContent, VolumeSnapshotContentSpec,
    VolumeSnapshotSource, VolumeSnapshotSpec,
};
use crate::labels::{ALIAS_OF, CLAIM, MANAGED_BY, VERIFY};
use crate::plan::restore::{Alias, MODE_CHANGE};

/// How long one request is tried.
const TRIED: Duration = Duration::from_secs(30);
/// How long a removal may take.
const REMOVAL: Duration = Duration::from_secs(60);
const LOOK: Duration = Duration::from_millis(500);

/// Makes the alias, or finds it, and waits until claims can be made from it; `stops` breaks that off between requests.
pub async fn make(
    cluster: &Cluster,
    alias: &Alias,
    until: Instant,
    stops: &(dyn Fn() -> bool + Sync),
) -> Result<(), String> {
    let class = class(cluster, alias).await;
    let contents: Api<VolumeSnapshotContent> = Api::all(cluster.api.clone());
    let snapshots: Api<VolumeSnapshot> = Api::namespaced(cluster.api.clone(), &alias.namespace);
    let (content, snapshot) = (content(alias, class.as_ref()), snapshot(alias, class));
    loop {
        let waiting = round(alias, &contents, &content, &snapshots, &snapshot).await?;
        let Some(waiting) = waiting else { return Ok(()) };
        if Instant::now() >= until || stops() {
            return Err(waiting);
        }
        sleep(LOOK).await;
    }
}

/// One look; says what is still waited for.
async fn round(
    alias: &Alias,
    contents: &Api<VolumeSnapshotContent>,
    content: &VolumeSnapshotContent,
    snapshots: &Api<VolumeSnapshot>,
    snapshot: &VolumeSnapshot,
) -> Result<Option<String>, String> {
    let path = format!("volumesnapshotcontent/{}", alias.content);
    let made = persist(TRIED, async || match contents.create(&PostParams::default(), content).await {
        Err(e) if is_already_exists(&e) => contents.get(&alias.content).await,
        answer => answer,
    });
    let there = known(made.await, &path)?;
    if !is_content(&there, alias) {
        return Err(format!("{path} exists already and is no alias of this copy"));
    }
    if there.metadata.deletion_timestamp.is_some() {
        return Ok(Some(format!("{path} of an earlier call is still being removed")));
    }
    let path = format!("volumesnapshot/{}", alias.snapshot);
    let made = persist(TRIED, async || match snapshots.create(&PostParams::default(), snapshot).await {
        Err(e) if is_already_exists(&e) => snapshots.get(&alias.snapshot).await,
        answer => answer,
    });
    let made = known(made.await, &path)?;
    let of = made.spec.source.volume_snapshot_content_name.as_deref();
    if !has(&made.metadata, ALIAS_OF, &alias.run) || of != Some(&alias.content) {
        return Err(format!("{path} exists already and is no alias of this copy"));
    }
    // The namespace was deleted in between: the content is bound to a VolumeSnapshot that is no more.
    let bound = there.spec.volume_snapshot_ref.uid.as_ref();
    if bound.is_some() && bound != made.metadata.uid.as_ref() {
        remove_content(contents, alias).await?;
        return Ok(Some(format!("volumesnapshotcontent/{} is made anew", alias.content)));
    }
    let status = made.status.unwrap_or_default();
    Ok(match (status.ready_to_use, status.error.and_then(|e| e.message)) {
        _ if made.metadata.deletion_timestamp.is_some() => Some(format!("{path} is still being removed")),
        (Some(true), None) if status.bound_volume_snapshot_content_name.as_deref() == Some(&alias.content) => None,
        (_, Some(error)) => Some(format!("{path}: {error}")),
        _ => Some(format!("{path} is not ready yet")),
    })
}

fn known<T>(made: Persisted<T>, path: &str) -> Result<T, String> {
    match made {
        Persisted::Final(Ok(made)) => Ok(made),
        Persisted::Final(Err(e)) => Err(format!("{path}: {}", explain(&e))),
        Persisted::Unknown(why) => Err(format!("{path}: not known whether it was made: {why}")),
    }
}

/// The class of the copy, if it is there still: with a class that is gone the sidecar refuses the content.
async fn class(cluster: &Cluster, alias: &Alias) -> Option<String> {
    let name = alias.class.clone()?;
    let api: Api<VolumeSnapshotClass> = Api::all(cluster.api.clone());
    let listed = timeout(REQUEST, api.list(&ListParams::default())).await.ok()?.ok()?;
    listed.items.iter().any(|class| class.metadata.name.as_ref() == Some(&name)).then_some(name)
}

fn labels(alias: &Alias) -> BTreeMap<String, String> {
    // Not the label of a run's own snapshots: who removes those must not meet this.
    let verify = alias.verify.then_some((VERIFY, alias.run.as_str()));
    [MANAGED_BY, (ALIAS_OF, &alias.run)].into_iter().chain(verify).map(|(k, v)| (k.to_owned(), v.to_owned())).collect()
}

fn content(alias: &Alias, class: Option<&String>) -> VolumeSnapshotContent {
    let spec = VolumeSnapshotContentSpec {
        volume_snapshot_ref: SnapshotRef {
            name: Some(alias.snapshot.clone()),
            namespace: Some(alias.namespace.clone()),
            uid: None,
        },
        deletion_policy: "Retain".into(),
        driver: alias.driver.clone(),
        volume_snapshot_class_name: class.cloned(),
        source: ContentSource { snapshot_handle: Some(alias.handle.clone()), volume_handle: None },
        source_volume_mode: alias.mode.clone(),
    };
    let mut content = VolumeSnapshotContent::new(&alias.content, spec);
    let mut annotations = BTreeMap::from([(CLAIM.to_owned(), alias.claim.clone())]);
    if alias.mode_change {
        annotations.insert(MODE_CHANGE.to_owned(), "true".to_owned());
    }
    content.metadata.labels = Some(labels(alias));
    content.metadata.annotations = Some(annotations);
    content
}

fn snapshot(alias: &Alias, class: Option<String>) -> VolumeSnapshot {
    let source = VolumeSnapshotSource {
        volume_snapshot_content_name: Some(alias.content.clone()),
        persistent_volume_claim_name: None,
    };
    let spec = VolumeSnapshotSpec { source, volume_snapshot_class_name: class };
    let mut snapshot = VolumeSnapshot::new(&alias.snapshot, spec);
    snapshot.metadata.labels = Some(labels(alias));
    snapshot.metadata.annotations = Some(BTreeMap::from([(CLAIM.to_owned(), alias.claim.clone())]));
    snapshot
}

fn has(meta: &ObjectMeta, key: &str, value: &str) -> bool {
    meta.labels.as_ref().and_then(|labels| labels.get(key)).map(String::as_str) == Some(value)
}

/// Whether this content is the alias, and cannot take the stored copy with it.
fn is_content(found: &VolumeSnapshotContent, alias: &Alias) -> bool {
    let bound = &found.spec.volume_snapshot_ref;
    has(&found.metadata, ALIAS_OF, &alias.run)
        && found.spec.source.snapshot_handle.as_ref() == Some(&alias.handle)
        && found.spec.deletion_policy == "Retain"
        && bound.name.as_ref() == Some(&alias.snapshot)
        && bound.namespace.as_ref() == Some(&alias.namespace)
}

/// The aliases of a backup, or of all, by their contents.
pub async fn list(cluster: &Cluster, run: Option<&str>) -> Result<Vec<VolumeSnapshotContent>, Unlisted> {
    let api: Api<VolumeSnapshotContent> = Api::all(cluster.api.clone());
    let run = run.map_or_else(|| ALIAS_OF.to_owned(), |run| format!("{ALIAS_OF}={run}"));
    let params = ListParams::default().labels(&format!("{}={},{run}", MANAGED_BY.0, MANAGED_BY.1));
    match timeout(TRIED, api.list(&params)).await {
        Ok(Ok(listed)) => Ok(listed.items),
        Ok(Err(e)) => Err(Unlisted::of("volumesnapshotcontents", &e)),
        Err(_) => Err(Unlisted::silent("volumesnapshotcontents")),
    }
}

/// Those that verifications of a backup made, whose namespaces are thereby known.
pub async fn of_verifications(cluster: &Cluster, run: &str) -> Result<Vec<Alias>, String> {
    let api: Api<VolumeSnapshotContent> = Api::all(cluster.api.clone());
    let params = ListParams::default().labels(&format!("{ALIAS_OF}={run},{VERIFY}"));
    match timeout(TRIED, api.list(&params)).await {
        Ok(Ok(listed)) => Ok(listed.items.iter().map(read).collect()),
        // Who may not look at contents has made none.
        Ok(Err(e)) if is_forbidden(&e) => Ok(Vec::new()),
        Ok(Err(e)) => Err(format!("volumesnapshotcontents could not be listed: {}", explain(&e))),
        Err(_) => Err("volumesnapshotcontents could not be listed: the API server did not answer".into()),
    }
}

/// The alias that a content is.
pub fn read(content: &VolumeSnapshotContent) -> Alias {
    let bound = content.spec.volume_snapshot_ref.clone();
    let label = content.metadata.labels.as_ref().and_then(|labels| labels.get(ALIAS_OF));
    let note = |key| content.metadata.annotations.as_ref().and_then(|notes| notes.get(key)).cloned();
    Alias {
        run: label.cloned().unwrap_or_default(),
        claim: note(CLAIM).unwrap_or_default(),
        namespace: bound.namespace.unwrap_or_default(),
        snapshot: bound.name.unwrap_or_default(),
        content: content.metadata.name.clone().unwrap_or_default(),
        driver: content.spec.driver.clone(),
        handle: content.spec.source.snapshot_handle.clone().unwrap_or_default(),
        class: content.spec.volume_snapshot_class_name.clone(),
        mode: content.spec.source_volume_mode.clone(),
        mode_change: note(MODE_CHANGE).is_some_and(|value| value == "true"),
        verify: content.metadata.labels.as_ref().is_some_and(|labels| labels.contains_key(VERIFY)),
    }
}

/// Removes the alias and never the stored copy. Safe to repeat; the error says what is left.
pub async fn remove(cluster: &Cluster, alias: &Alias) -> Result<(), String> {
    let contents: Api<VolumeSnapshotContent> = Api::all(cluster.api.clone());
    let snapshots: Api<VolumeSnapshot> = Api::namespaced(cluster.api.clone(), &alias.namespace);
    let until = Instant::now() + REMOVAL;
    loop {
        // The content's policy before its VolumeSnapshot goes: the snapshot-controller deletes both with Delete.
        let waiting = match retained(&contents, alias).await? {
            None => remove_snapshot(&snapshots, alias).await?,
            Some(_) => match remove_snapshot(&snapshots, alias).await? {
                Some(waiting) => Some(waiting),
                None => remove_content(&contents, alias).await?,
            },
        };
        let Some(waiting) = waiting else { return Ok(()) };
        if Instant::now() >= until {
            return Err(waiting);
        }
        sleep(LOOK).await;
    }
}

/// The version of the content at which its policy was Retain; nothing if it is gone.
async fn retained(api: &Api<VolumeSnapshotContent>, alias: &Alias) -> Result<Option<String>, String> {
    let path = format!("volumesnapshotcontent/{}", alias.content);
    let found = match persist(TRIED, async || api.get(&alias.content).await).await {
        Persisted::Final(Err(e)) if is_not_found(&e) => return Ok(None),
        found => known(found, &path)?,
    };
    if !has(&found.metadata, ALIAS_OF, &alias.run) {
        return Err(format!("{path} is no alias"));
    }
    if found.spec.deletion_policy != "Retain" {
        return Err(format!(
            "{path} has deletionPolicy {}: the stored copy would be deleted with it, so it stays",
            found.spec.deletion_policy
        ));
    }
    Ok(Some(found.metadata.resource_version.unwrap_or_default()))
}

async fn remove_snapshot(api: &Api<VolumeSnapshot>, alias: &Alias) -> Result<Option<String>, String> {
    let path = format!("volumesnapshot/{}", alias.snapshot);
    let found = match persist(TRIED, async || api.get(&alias.snapshot).await).await {
        Persisted::Final(Err(e)) if is_not_found(&e) => return Ok(None),
        found => known(found, &path)?,
    };
    // Another one of the same name: not ours to delete.
    if !has(&found.metadata, ALIAS_OF, &alias.run) {
        return Ok(None);
    }
    if found.metadata.deletion_timestamp.is_none() {
        let params = DeleteParams {
            preconditions: Some(Preconditions { uid: found.metadata.uid.clone(), resource_version: None }),
            ..DeleteParams::default()
        };
        let _ = timeout(REQUEST, api.delete(&alias.snapshot, &params)).await;
    }
    let finalizers = found.metadata.finalizers.unwrap_or_default().join(", ");
    Ok(Some(format!("{path} is still being removed (finalizers: {finalizers})")))
}

/// Deletes the content in the very version in which its policy was seen to be Retain.
async fn remove_content(api: &Api<VolumeSnapshotContent>, alias: &Alias) -> Result<Option<String>, String> {
    // If the snapshot-controller did not see the VolumeSnapshot go, the sidecar waits for this word.
    let word = json!({ "metadata": { "annotations": { BEING_DELETED: "yes" } } });
    let _ = timeout(REQUEST, api.patch(&alias.content, &PatchParams::default(), &Patch::Merge(&word))).await;
    let Some(version) = retained(api, alias).await? else { return Ok(None) };
    let params = DeleteParams {
        preconditions: Some(Preconditions { uid: None, resource_version: Some(version) }),
        ..DeleteParams::default()
    };
    match timeout(REQUEST, api.delete(&alias.content, &params)).await {
        Ok(Err(e)) if is_not_found(&e) => return Ok(None),
        Ok(Err(e)) if !is_conflict(&e) => {
            return Err(format!("volumesnapshotcontent/{}: {}", alias.content, explain(&e)));
        }
        _ => {}
    }
    Ok(Some(format!("volumesnapshotcontent/{} is still being removed", alias.content)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn alias() -> Alias {
        Alias {
            run: "b1".into(),
            claim: "data".into(),
            namespace: "other".into(),
            snapshot: "b1-alias-data".into(),
            content: "consistent-backup-b1-1".into(),
            driver: "d".into(),
            handle: "h".into(),
            class: Some("fast".into()),
            mode: Some("Block".into()),
            mode_change: true,
            verify: false,
        }
    }

    #[test]
    fn an_alias_is_read_from_what_was_made_of_it() {
        let made = content(&alias(), alias().class.as_ref());
        assert_eq!(read(&made), alias());
        assert_eq!(made.spec.deletion_policy, "Retain");
        assert!(made.metadata.labels.as_ref().is_some_and(|labels| !labels.contains_key(crate::labels::RUN)));
        assert!(is_content(&made, &alias()));
        let other = alias().for_verification();
        assert_eq!(read(&content(&other, other.class.as_ref())), other);
        assert!(other.verify && other.content != alias().content && other.snapshot != alias().snapshot);
        assert!(!is_content(&made, &other), "a restore's is not a verification's to remove");
    }

    #[test]
    fn what_could_take_the_stored_copy_with_it_is_no_alias() {
        let changed = |change: fn(&mut VolumeSnapshotContent)| {
            let mut made = content(&alias(), None);
            change(&mut made);
            is_content(&made, &alias())
        };
        assert!(!changed(|content| content.spec.deletion_policy = "Delete".into()));
        assert!(!changed(|content| content.spec.source.snapshot_handle = Some("other".into())));
        assert!(!changed(|content| content.spec.volume_snapshot_ref.namespace = Some("demo".into())));
        assert!(!changed(|content| content.metadata.labels = None));
    }
}
