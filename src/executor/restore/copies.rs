//! `--claims-only`: claims beside the old ones. Each is one request that may be repeated, so there is no fold.

use std::time::Duration;

use futures::stream::{StreamExt, iter};
use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use kube::api::{Api, PostParams};

use crate::cluster::client::{Cluster, Persisted, explain, is_already_exists, persist};
use crate::error::Error;
use crate::plan::restore::{Copies, CopyOf, is_copy};

/// Claims that are made at once.
const AT_ONCE: usize = 8;
/// How long one claim is tried.
const CREATE: Duration = Duration::from_secs(30);

/// Makes what is not there yet. An error names what was made all the same; repeating the command makes the rest.
pub async fn make_copies(cluster: &Cluster, copies: &Copies) -> Result<(), Error> {
    let missing: Vec<&CopyOf> = copies.claims.iter().filter(|copy| !copy.exists).collect();
    let tried = iter(missing.iter().map(|copy| make_copy(cluster, copy, &copies.backup.run)));
    let tried: Vec<Result<(), String>> = tried.buffered(AT_ONCE).collect().await;
    let (mut made, mut failed) = (Vec::new(), Vec::new());
    for (copy, result) in missing.iter().zip(tried) {
        match result {
            Ok(()) => made.push(copy.new_name.clone()),
            Err(why) => failed.push((format!("persistentvolumeclaim/{}", copy.new_name), why)),
        }
    }
    if failed.is_empty() {
        return Ok(());
    }
    let (names, mut reasons): (Vec<_>, Vec<_>) = failed.into_iter().unzip();
    reasons.dedup();
    let error = Error::failed(format!("{} could not be made", names.join(", "))).cause(reasons.join("; "));
    Err(if made.is_empty() {
        error
    } else {
        error.hint(format!("made already: {}; the same command makes the rest", made.join(", ")))
    })
}

/// Makes one, of this backup.
pub async fn make_copy(cluster: &Cluster, copy: &CopyOf, backup: &str) -> Result<(), String> {
    let api: Api<PersistentVolumeClaim> = Api::namespaced(cluster.api.clone(), &copy.namespace);
    let tried = persist(CREATE, async || match api.create(&PostParams::default(), &copy.new).await {
        // An earlier try whose answer was lost, or somebody else's: only the object itself can tell.
        Err(e) if is_already_exists(&e) => api.get(&copy.new_name).await,
        answer => answer,
    });
    match tried.await {
        Persisted::Final(Ok(claim)) if is_copy(&claim, backup, &copy.claim) => Ok(()),
        Persisted::Final(Ok(_)) => Err("a claim of this name was made by somebody else".into()),
        Persisted::Final(Err(e)) => Err(explain(&e)),
        Persisted::Unknown(why) => Err(format!("not known whether it was made: {why}")),
    }
}
