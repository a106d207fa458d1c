//! Whether one claim can be made from its snapshot: everything that external-provisioner will ask, asked beforehand.

use super::Alias;
use super::facts::{Facts, Found};
use crate::backend::Proof;
use crate::cluster::snapshots::{VolumeSnapshot, VolumeSnapshotContent};
use crate::error::Refusal;
use crate::labels::{CLAIM, NAMESPACE, RECORD_NAMESPACE, RUN};
use crate::plan::{Claim, quantity};
use crate::typed::kubectl;

/// On a content: a claim of another volume mode than the source's may be made from it.
pub const MODE_CHANGE: &str = "snapshot.storage.kubernetes.io/allow-volume-mode-change";

/// What a new claim needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Copy {
    /// The VolumeSnapshot.
    pub(super) snapshot: String,
    /// Its content.
    pub(super) content: String,
    /// The size to ask for.
    pub(super) size: String,
    /// What has to be made first, where the backup's own VolumeSnapshot cannot be used.
    pub(super) alias: Option<Alias>,
}

/// The wanted claim.
pub(super) struct Wanted<'a> {
    /// As the backup recorded it.
    pub(super) claim: &'a Claim,
    /// The storage class.
    pub(super) class: Option<&'a str>,
    /// What the old claim asks for.
    pub(super) request: &'a str,
    /// `Filesystem` or `Block`.
    pub(super) mode: &'a str,
    /// Where the claim is made.
    pub(super) namespace: &'a str,
    /// The backup.
    pub(super) run: &'a str,
    /// Where its record lies.
    pub(super) record: &'a str,
}

/// Checks the snapshot, its content and the class; every reason why not is added to `refusals`.
pub(super) fn check(
    wanted: &Wanted,
    proof: Option<&Proof>,
    facts: &Facts,
    refusals: &mut Vec<Refusal>,
) -> Option<Copy> {
    let claim = wanted.claim;
    let Some(proof) = proof else {
        refusals
            .push(Refusal::new(format!("persistentvolumeclaim/{}", claim.name), "the backup has no proved copy of it"));
        return None;
    };
    let before = refusals.len();
    let key = format!("{}/{}", claim.namespace, proof.snapshot);
    let aliased = needs_alias(wanted.namespace, claim, facts.snapshots.get(&key));
    let snapshot = if aliased { None } else { snapshot(&claim.namespace, proof, facts, refusals) };
    let content = content(&claim.namespace, proof, facts, refusals);
    let alias = if aliased { alias(wanted, proof, facts, refusals) } else { None };
    let driver = content.map_or(claim.driver.as_str(), |c| c.spec.driver.as_str());
    class(wanted, driver, facts, refusals);
    if let Some(content) = content {
        mode(wanted.mode, content, refusals);
    }
    if refusals.len() > before {
        return None;
    }
    let sizes = [
        snapshot.and_then(|s| s.status.as_ref()).and_then(|s| s.restore_size.clone()),
        content.and_then(|c| c.status.as_ref()).and_then(|s| s.restore_size).map(|b| quantity::human(b.into())),
        proof.restore_size.map(|b| quantity::human(b.into())),
    ];
    let size = sizes.iter().flatten().fold(wanted.request, |most, size| quantity::greater(most, size));
    let (snapshot, content) = match &alias {
        Some(alias) => (&alias.snapshot, &alias.content),
        None => (&proof.snapshot, &proof.content),
    };
    Some(Copy { snapshot: snapshot.clone(), content: content.clone(), size: size.to_owned(), alias })
}

/// Whether a claim of this namespace cannot be made from the backup's own VolumeSnapshot: claims name one of their own
/// namespace only.
pub fn needs_alias(namespace: &str, claim: &Claim, snapshot: Option<&Found<VolumeSnapshot>>) -> bool {
    namespace != claim.namespace || matches!(snapshot, Some(Found::No) | None)
}

/// A second VolumeSnapshot of the same stored copy, if its content is there and tells of it.
fn alias(wanted: &Wanted, proof: &Proof, facts: &Facts, refusals: &mut Vec<Refusal>) -> Option<Alias> {
    let object = format!("volumesnapshotcontent/{}", proof.content);
    let content = match facts.contents.get(&proof.content) {
        Some(Found::Yes(content)) => content,
        Some(Found::Unknown(why)) => {
            refusals.push(Refusal::new(object, format!("it could not be read: {why}")));
            return None;
        }
        // Refused already.
        Some(Found::No) | None => return None,
    };
    if !is_of(content, wanted) {
        refusals.push(Refusal::new(
            object,
            format!(
                "it does not say that it is the copy of claim {} in namespace {} by backup {}, whose record lies in \
                 namespace {}",
                wanted.claim.name, wanted.claim.namespace, wanted.run, wanted.record
            ),
        ));
        return None;
    }
    let status = content.status.clone().unwrap_or_default();
    if let Some(error) = status.error {
        refusals.push(Refusal::new(object, format!("an error stands on it: {}", error.message.unwrap_or_default())));
        return None;
    }
    if status.ready_to_use != Some(true) {
        refusals.push(Refusal::new(object, "it is not ready to be restored from (readyToUse)"));
        return None;
    }
    // Else the snapshot-controller may delete the stored copy as soon as somebody deletes a VolumeSnapshot.
    if content.spec.deletion_policy != "Retain" {
        refusals.push(
            Refusal::new(object.clone(), format!("its deletionPolicy is {}, not Retain", content.spec.deletion_policy))
                .hint(kubectl(&["patch", &object, "--type=merge", "-p", r#"{"spec":{"deletionPolicy":"Retain"}}"#])),
        );
        return None;
    }
    let handle = status.snapshot_handle?;
    Some(Alias::new(wanted.run, wanted.claim, wanted.namespace, content, &handle))
}

/// Whether the content itself says whose copy it is: whoever may write a record may name any content there, and a second
/// VolumeSnapshot of it would show one tenant another's data. Older versions did not say where the record lies: it is
/// believed in the claim's own namespace, where its writer has the data anyway.
fn is_of(content: &VolumeSnapshotContent, wanted: &Wanted) -> bool {
    let of = &content.metadata;
    let note = |key: &str| of.annotations.as_ref().and_then(|notes| notes.get(key)).map(String::as_str);
    let run = of.labels.as_ref().and_then(|labels| labels.get(RUN)).map(String::as_str);
    let says = |said: Option<&str>, is: &str| said.is_none_or(|said| said == is);
    let claim = wanted.claim;
    note(RECORD_NAMESPACE).unwrap_or(&claim.namespace) == wanted.record
        && says(run, wanted.run)
        && says(note(CLAIM), &claim.name)
        && says(note(NAMESPACE), &claim.namespace)
}

fn snapshot<'a>(
    namespace: &str,
    proof: &Proof,
    facts: &'a Facts,
    refusals: &mut Vec<Refusal>,
) -> Option<&'a VolumeSnapshot> {
    let object = format!("volumesnapshot/{}", proof.snapshot);
    let found = match facts.snapshots.get(&format!("{namespace}/{}", proof.snapshot)) {
        Some(Found::Yes(found)) => found,
        Some(Found::Unknown(why)) => {
            refusals.push(Refusal::new(object, format!("it could not be read: {why}")));
            return None;
        }
        Some(Found::No) | None => {
            refusals.push(Refusal::new(object, "it is gone"));
            return None;
        }
    };
    let status = found.status.clone().unwrap_or_default();
    let why = if found.metadata.uid.as_deref() != Some(&proof.uid) {
        Some("it is another one of the same name, not the backup's".to_owned())
    } else if found.metadata.deletion_timestamp.is_some() {
        Some("it is being deleted".to_owned())
    } else if let Some(error) = status.error {
        Some(format!("an error stands on it: {}", error.message.unwrap_or_default()))
    } else if status.ready_to_use != Some(true) {
        Some("it is not ready to be restored from (readyToUse)".to_owned())
    } else if status.bound_volume_snapshot_content_name.as_deref() != Some(&proof.content) {
        Some(format!("it is not bound to volumesnapshotcontent/{}, which the backup proved", proof.content))
    } else {
        None
    };
    refusals.extend(why.map(|why| Refusal::new(object, why)));
    Some(found)
}

/// A content that may not be read is not checked: only copies of claims get so far, and they change nothing.
fn content<'a>(
    namespace: &str,
    proof: &Proof,
    facts: &'a Facts,
    refusals: &mut Vec<Refusal>,
) -> Option<&'a VolumeSnapshotContent> {
    let object = format!("volumesnapshotcontent/{}", proof.content);
    let found = match facts.contents.get(&proof.content) {
        Some(Found::Yes(found)) => found,
        Some(Found::Unknown(_)) => return None,
        Some(Found::No) | None => {
            refusals.push(Refusal::new(object, "it is gone"));
            return None;
        }
    };
    let bound = &found.spec.volume_snapshot_ref;
    let handle = found.status.as_ref().and_then(|s| s.snapshot_handle.clone());
    let why = if found.metadata.deletion_timestamp.is_some() {
        Some("it is being deleted".to_owned())
    } else if bound.uid.as_deref() != Some(&proof.uid)
        || bound.name.as_deref() != Some(&proof.snapshot)
        || bound.namespace.as_deref() != Some(namespace)
    {
        Some(format!("it is not bound to volumesnapshot/{} of the backup", proof.snapshot))
    } else if handle.is_none() {
        Some("it has no snapshot handle".to_owned())
    } else if !proof.handle.is_empty() && handle.as_deref() != Some(&proof.handle) {
        Some(format!("it is another copy than the proved one ({})", proof.handle))
    } else {
        None
    };
    refusals.extend(why.map(|why| Refusal::new(object, why)));
    Some(found)
}

fn class(wanted: &Wanted, driver: &str, facts: &Facts, refusals: &mut Vec<Refusal>) {
    let Some(name) = wanted.class else {
        let object = format!("persistentvolumeclaim/{}", wanted.claim.name);
        refusals.push(Refusal::new(object, "it has no storage class, so nothing would provision a new volume"));
        return;
    };
    let object = format!("storageclass/{name}");
    match facts.classes.get(name) {
        Some(Found::Yes(class)) if class.provisioner != driver => refusals.push(Refusal::new(
            object,
            format!("its provisioner is {}, but the copy was made by {driver}", class.provisioner),
        )),
        Some(Found::No) => refusals
            .push(Refusal::new(object, "it is gone").hint("create a class of this name with the same provisioner")),
        // Not everybody may read classes; copies of claims get so far without, and the provisioner checks it all again.
        Some(Found::Yes(_) | Found::Unknown(_)) | None => {}
    }
}

fn mode(wanted: &str, content: &VolumeSnapshotContent, refusals: &mut Vec<Refusal>) {
    let allowed = content.metadata.annotations.as_ref().and_then(|a| a.get(MODE_CHANGE)).is_some_and(|v| v == "true");
    if let Some(source) = &content.spec.source_volume_mode
        && source != wanted
        && !allowed
    {
        let object = format!("volumesnapshotcontent/{}", content.metadata.name.as_deref().unwrap_or_default());
        refusals.push(
            Refusal::new(
                object.clone(),
                format!("it was cut from a {source} volume, but the claim's mode is {wanted}"),
            )
            .hint(format!("`{}` allows it", kubectl(&["annotate", &object, &format!("{MODE_CHANGE}=true")]))),
        );
    }
}
