//! After the cut: waiting until copies can be restored from, and making them outlive their namespace.

use std::time::Duration;

use kube::api::{Patch, PatchParams};
use serde_json::json;
use tokio::time::timeout;

use super::{Csi, REQUEST};
use crate::backend::Proof;
use crate::cluster::client::{explain, is_not_found};
use crate::cluster::snapshots::VolumeSnapshotContent;
use crate::labels::{CLAIM, MANAGED_BY, NAMESPACE, RECORD_NAMESPACE, RUN};
use crate::plan::Claim;

/// What is known of a copy that is being made ready.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ready {
    /// It can be restored from; the smallest claim that can take it.
    Yes {
        /// As a Quantity.
        restore_size: Option<String>,
    },
    /// Not yet, with the error that stands on it, if any.
    NotYet(Option<String>),
    /// It is gone, or another one: this backup can never be restored from.
    Lost(String),
}

impl Csi<'_> {
    /// Whether this claim's copy can be restored from: the snapshot says so and is still bound to the proved content.
    pub async fn ready(&self, claim: usize, proof: &Proof) -> Ready {
        let api = self.snapshots(&self.claim(claim).namespace);
        let found = match timeout(REQUEST, api.get(&proof.snapshot)).await {
            Ok(Ok(found)) => found,
            Ok(Err(e)) if is_not_found(&e) => {
                return Ready::Lost(format!("volumesnapshot/{} is gone", proof.snapshot));
            }
            Ok(Err(e)) => return Ready::NotYet(Some(explain(&e))),
            Err(_) => return Ready::NotYet(Some("the API server did not answer".into())),
        };
        if found.metadata.uid.as_deref() != Some(&proof.uid) {
            return Ready::Lost(format!("volumesnapshot/{} is another one now", proof.snapshot));
        }
        let status = found.status.unwrap_or_default();
        match (status.ready_to_use, status.error) {
            (Some(true), None) => Ready::Yes { restore_size: status.restore_size },
            (_, error) => Ready::NotYet(error.and_then(|e| e.message)),
        }
    }

    /// Whether this content is bound to the VolumeSnapshot of this claim by this run, and no other run has marked it.
    fn is_copy(&self, content: &VolumeSnapshotContent, claim: &Claim, proof: &Proof) -> bool {
        let bound = &content.spec.volume_snapshot_ref;
        let run = content.metadata.labels.as_ref().and_then(|labels| labels.get(RUN));
        let named = self.claim_named(&claim.namespace, &proof.snapshot, None);
        named.is_some_and(|named| named.name == claim.name)
            && bound.namespace.as_ref() == Some(&claim.namespace)
            && bound.name.as_ref() == Some(&proof.snapshot)
            && bound.uid.as_ref() == Some(&proof.uid)
            && run.is_none_or(|run| *run == self.plan.run)
    }

    /// Makes the copy outlive its namespace: deletionPolicy Retain on the content, with enough annotations to rebuild
    /// the record from. Reads the answer: a patch that was not taken is an error. Safe to repeat.
    pub async fn keep(&self, claim: usize, proof: &Proof, marks: &[(String, String)]) -> Result<(), String> {
        let of = self.claim(claim);
        let mut annotations: serde_json::Map<String, serde_json::Value> =
            marks.iter().map(|(k, v)| (k.clone(), json!(v))).collect();
        annotations.insert(CLAIM.into(), json!(of.name));
        annotations.insert(NAMESPACE.into(), json!(of.namespace));
        annotations.insert(RECORD_NAMESPACE.into(), json!(self.plan.namespace));
        let patch = json!({
            "metadata": {
                "labels": { MANAGED_BY.0: MANAGED_BY.1, RUN: self.plan.run },
                "annotations": annotations,
            },
            "spec": { "deletionPolicy": "Retain" },
        });
        let api = self.contents();
        let mut last = String::new();
        for pause in [0, 200, 500, 1000, 2000] {
            tokio::time::sleep(Duration::from_millis(pause)).await;
            // What a record calls its copy may be anybody's: marked, it would be called the record's from now on.
            match timeout(REQUEST, api.get(&proof.content)).await {
                Ok(Ok(content)) if self.is_copy(&content, of, proof) => {}
                Ok(Ok(_)) => {
                    return Err(format!(
                        "volumesnapshotcontent/{} is not bound to volumesnapshot/{} of this run",
                        proof.content, proof.snapshot
                    ));
                }
                Ok(Err(e)) if is_not_found(&e) => {
                    return Err(format!("volumesnapshotcontent/{} is gone", proof.content));
                }
                Ok(Err(e)) => {
                    last = explain(&e);
                    continue;
                }
                Err(_) => {
                    last = "the API server did not answer".into();
                    continue;
                }
            }
            match timeout(REQUEST, api.patch(&proof.content, &PatchParams::default(), &Patch::Merge(&patch))).await {
                Ok(Ok(content)) if content.spec.deletion_policy == "Retain" => return Ok(()),
                Ok(Ok(_)) => last = "deletionPolicy is still not Retain".into(),
                Ok(Err(e)) if is_not_found(&e) => {
                    return Err(format!("volumesnapshotcontent/{} is gone", proof.content));
                }
                Ok(Err(e)) => last = explain(&e),
                Err(_) => last = "the API server did not answer".into(),
            }
        }
        Err(format!("volumesnapshotcontent/{} could not be kept: {last}", proof.content))
    }
}
