//! The verdict on the backup's contents, from which its record is rebuilt where that is gone. Best effort: what is not
//! written there is told, and takes nothing of the verdict.

use std::time::Duration;

use futures::future::join_all;
use kube::api::{Api, Patch, PatchParams};
use serde_json::json;

use crate::cluster::client::{Cluster, Persisted, explain, is_not_found, persist};
use crate::cluster::snapshots::VolumeSnapshotContent;
use crate::labels::VERIFIED;
use crate::manifests::packed::pack;
use crate::record::verified::Verified;
use crate::runs::rebuilt;

/// How long one content is tried.
const TRIED: Duration = Duration::from_secs(30);

/// Writes it onto every kept content of the run. How many have it, and why others have not.
pub async fn mark(cluster: &Cluster, run: &str, verdict: &Verified) -> (usize, Vec<String>) {
    let contents = match rebuilt::contents(cluster, Some(run)).await {
        Ok(contents) => contents,
        Err(why) => return (0, vec![why.to_string()]),
    };
    let names = contents.into_iter().filter_map(|content| content.metadata.name);
    let (full, brief) = (pack(verdict), pack(&verdict.brief()));
    let marked = join_all(names.map(|name| {
        let (full, brief) = (&full, &brief);
        async move {
            // An object's annotations have a quarter of a megabyte together, of which the record may take most.
            match one(cluster, &name, full).await {
                Err(_) => one(cluster, &name, brief).await,
                done => done,
            }
        }
    }));
    let (mut there, mut failed) = (0, Vec::new());
    for result in marked.await {
        match result {
            Ok(true) => there += 1,
            Ok(false) => {}
            Err(why) => failed.push(why),
        }
    }
    (there, failed)
}

/// Whether this content has it now; one that is gone needs none.
async fn one(cluster: &Cluster, name: &str, packed: &str) -> Result<bool, String> {
    let api: Api<VolumeSnapshotContent> = Api::all(cluster.api.clone());
    let patch = Patch::Merge(json!({ "metadata": { "annotations": { VERIFIED: packed } } }));
    match persist(TRIED, async || api.patch(name, &PatchParams::default(), &patch).await).await {
        Persisted::Final(Ok(_)) => Ok(true),
        Persisted::Final(Err(e)) if is_not_found(&e) => Ok(false),
        Persisted::Final(Err(e)) => Err(format!("volumesnapshotcontent/{name}: {}", explain(&e))),
        Persisted::Unknown(why) => Err(format!("volumesnapshotcontent/{name}: {why}")),
    }
}
