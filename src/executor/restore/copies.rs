//! `--claims-only`: claims beside the old ones. Each is one request that may be repeated, so there is no fold.

use std::time::Duration;

use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use kube::api::{Api, PostParams};

use crate::cluster::client::{Cluster, Persisted, explain, is_already_exists, persist};
use crate::error::Error;
use crate::plan::restore::{Copies, CopyOf, is_copy};

/// How long one claim is tried.
const CREATE: Duration = Duration::from_secs(30);

/// Makes what is not there yet. An error names what was made all the same; repeating the command makes the rest.
pub async fn make_copies(cluster: &Cluster, copies: &Copies) -> Result<(), Error> {
    let mut made = Vec::new();
    for copy in copies.claims.iter().filter(|copy| !copy.exists) {
        if let Err(why) = make(cluster, copy, &copies.backup.run).await {
            let error = Error::failed(format!("persistentvolumeclaim/{} could not be made", copy.new_name)).cause(why);
            return Err(if made.is_empty() {
                error
            } else {
                error.hint(format!("made already: {}; the same command makes the rest", made.join(", ")))
            });
        }
        made.push(copy.new_name.clone());
    }
    Ok(())
}

async fn make(cluster: &Cluster, copy: &CopyOf, backup: &str) -> Result<(), String> {
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
