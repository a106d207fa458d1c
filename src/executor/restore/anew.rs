//! Bringing workloads back where they are gone, elsewhere, or as copies. Nothing is destroyed on the way, and each request
//! may be repeated, so there is no fold: the same command goes on where an earlier one ended.

use std::time::Duration;

use futures::future::join_all;
use k8s_openapi::api::core::v1::{Container, Pod};
use kube::api::{Api, ApiResource, DynamicObject, Patch, PatchParams, PostParams};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use super::copies::make_copies;
use super::recover;
use crate::backend::csi::alias;
use crate::cluster::client::{Cluster, Persisted, explain, is_already_exists, persist};
use crate::cluster::manifests::resource;
use crate::error::Error;
use crate::labels::RESTORING;
use crate::manifests::{kind, name};
use crate::output::progress::Progress;
use crate::plan::restore::anew::{Anew, New, is_ours};
use crate::plan::restore::{Alias, Restored, Workload};
use crate::platform::workload;
use crate::quiescer::by_name;

/// How long one request is tried.
const REQUEST: Duration = Duration::from_secs(30);
/// How long an alias may take: its two controllers are throttled.
const ALIASED: Duration = Duration::from_secs(180);
const LOOK: Duration = Duration::from_millis(500);

/// What is said when it ends before its time.
const AGAIN: &str = "nothing was destroyed, and what was made stays: the same command goes on";

/// Makes what is not there, and waits until every database has recovered.
pub async fn bring_back(cluster: &Cluster, anew: &Anew, progress: &Progress) -> Result<(), Error> {
    let failed = |why: String| {
        Error::failed(format!("backup {} is not brought back yet", anew.copies.backup.run)).cause(why).hint(AGAIN)
    };
    make_aliases(cluster, &anew.copies.needed(), progress).await.map_err(failed)?;
    progress.step("making the claims");
    make_copies(cluster, &anew.copies).await?;
    let run = &anew.copies.backup.run;
    for object in anew.empty.iter().chain(&anew.objects) {
        create(cluster, object, run).await.map_err(failed)?;
    }
    let until = Instant::now() + anew.wait;
    let mut workloads = Vec::new();
    for new in &anew.workloads {
        progress.step(&format!("making {}", new.path()));
        workloads.push(made(cluster, new, run).await.map_err(failed)?);
    }
    start(cluster, anew, &workloads, until, progress).await.map_err(failed)?;
    progress.step("waiting until the databases have recovered");
    let recovered =
        join_all(anew.targets.iter().map(|of| recovered(cluster, &workloads[of.workload], of, anew.beside, until)))
            .await;
    let broken: Vec<String> = recovered.into_iter().filter_map(Result::err).collect();
    if !broken.is_empty() {
        return Err(failed(broken.join("; ")));
    }
    for new in &anew.workloads {
        finished(cluster, new).await.map_err(failed)?;
    }
    remove_aliases(cluster, &anew.copies.aliases(), progress).await;
    Ok(())
}

/// Makes what claims are to be made from, all at once.
pub async fn make_aliases(cluster: &Cluster, aliases: &[Alias], progress: &Progress) -> Result<(), String> {
    if aliases.is_empty() {
        return Ok(());
    }
    progress.step(&format!(
        "making {} VolumeSnapshot{} of the stored copies",
        aliases.len(),
        if aliases.len() == 1 { "" } else { "s" }
    ));
    let until = Instant::now() + ALIASED;
    let made = join_all(aliases.iter().map(|of| alias::make(cluster, of, until, &|| false))).await;
    let failed: Vec<String> = made.into_iter().filter_map(Result::err).collect();
    if failed.is_empty() { Ok(()) } else { Err(failed.join("; ")) }
}

/// Removes them once their claims have their data. What stays is said, and `delete` of the backup removes it.
pub async fn remove_aliases(cluster: &Cluster, aliases: &[Alias], progress: &Progress) {
    if !aliases.is_empty() {
        progress.step("removing the VolumeSnapshots that were made for it");
    }
    for left in join_all(aliases.iter().map(|of| alias::remove(cluster, of))).await.into_iter().filter_map(Result::err)
    {
        progress.say(&format!("{left}; `list --orphans` shows what is left of such"));
    }
}

fn api(cluster: &Cluster, object: &Value) -> Result<Api<DynamicObject>, String> {
    use k8s_openapi::api::core::v1::PersistentVolumeClaim;
    let resource = match kind(object) {
        "PersistentVolumeClaim" => ApiResource::erase::<PersistentVolumeClaim>(&()),
        of => resource(of).ok_or_else(|| format!("nobody knows the kind {of}"))?,
    };
    let namespace = object["metadata"]["namespace"].as_str().unwrap_or_default();
    Ok(Api::namespaced_with(cluster.api.clone(), namespace, &resource))
}

/// Creates an object, or finds the one that an earlier call made.
async fn create(cluster: &Cluster, object: &Value, run: &str) -> Result<Value, String> {
    let path = format!("{}/{}", kind(object).to_lowercase(), name(object));
    let api = api(cluster, object)?;
    let wanted: DynamicObject = serde_json::from_value(object.clone()).map_err(|e| format!("{path}: {e}"))?;
    let made = persist(REQUEST, async || match api.create(&PostParams::default(), &wanted).await {
        Err(e) if is_already_exists(&e) => api.get(name(object)).await,
        answer => answer,
    });
    let made = match made.await {
        Persisted::Final(Ok(made)) => serde_json::to_value(made).map_err(|e| format!("{path}: {e}"))?,
        Persisted::Final(Err(e)) => return Err(format!("{path}: {}", explain(&e))),
        Persisted::Unknown(why) => return Err(format!("{path}: not known whether it was made: {why}")),
    };
    if is_ours(&made, run) { Ok(made) } else { Err(format!("{path} was made by somebody else meanwhile")) }
}

/// The workload, made by this or an earlier call.
async fn made(cluster: &Cluster, new: &New, run: &str) -> Result<Workload, String> {
    let object = create(cluster, &new.object, run).await?;
    let mut of = Workload {
        namespace: new.namespace.clone(),
        kind: new.kind.clone(),
        name: new.name.clone(),
        uid: object["metadata"]["uid"].as_str().unwrap_or_default().to_owned(),
        labels: String::new(),
        replicas: new.replicas,
        start: new.replicas,
        ready: new.replicas,
        retention: None,
        grace: Duration::ZERO,
        pod: None,
        owner: None,
        front: false,
    };
    if new.kind != "Pod" {
        let now = workload::read(cluster, &new.kind, &new.namespace, &new.name).await?;
        of.labels = now.ok_or_else(|| format!("{} is gone", new.path()))?.labels;
    }
    Ok(of)
}

async fn start(
    cluster: &Cluster,
    anew: &Anew,
    all: &[Workload],
    until: Instant,
    progress: &Progress,
) -> Result<(), String> {
    let (pods, scaled): (Vec<&Workload>, Vec<&Workload>) = all.iter().partition(|of| of.kind == "Pod");
    let wanted: Vec<(&Workload, i32, i32)> = scaled.into_iter().map(|of| (of, of.replicas, of.replicas)).collect();
    workload::start(cluster, &wanted, until, |text| progress.step(text)).await?;
    for of in pods {
        let api: Api<Pod> = Api::namespaced(cluster.api.clone(), &of.namespace);
        loop {
            let ready = matches!(api.get(&of.name).await, Ok(pod) if workload::is_ready(&pod));
            if ready {
                break;
            }
            if Instant::now() >= until {
                return Err(format!("pod/{} is not ready within {} s", of.name, anew.wait.as_secs()));
            }
            sleep(LOOK).await;
        }
    }
    Ok(())
}

async fn recovered(
    cluster: &Cluster,
    of: &Workload,
    target: &Restored,
    beside: bool,
    until: Instant,
) -> Result<(), String> {
    let path = target.target.path();
    let served = recover::until_it_serves(cluster, of, target, false, until).await;
    let now = served.map_err(|why| format!("{path}: {}", why.text()))?;
    // Whoever archives can be told not to: what it was told before its start it may have thrown over.
    let archives = |adapter: &str| by_name(adapter).and_then(|of| of.unarchived(&Container::default(), &now)).is_some();
    if beside && archives(&target.target.adapter) {
        return Err(format!("{path}: it archives, although it was told not to: stop {} at once", of.path()));
    }
    Ok(())
}

/// Takes the mark off that says that it is being brought back.
async fn finished(cluster: &Cluster, new: &New) -> Result<(), String> {
    let api = api(cluster, &new.object)?;
    let patch = Patch::Merge(json!({ "metadata": { "annotations": { RESTORING: null } } }));
    match persist(REQUEST, async || api.patch_metadata(&new.name, &PatchParams::default(), &patch).await).await {
        Persisted::Final(Ok(_)) => Ok(()),
        Persisted::Final(Err(e)) => Err(format!("{}: {}", new.path(), explain(&e))),
        Persisted::Unknown(why) => Err(format!("{}: {why}", new.path())),
    }
}
