//! Where journals lie: ConfigMaps, found by their labels. Making, reading, claiming and deleting them.

use std::collections::BTreeMap;
use std::marker::PhantomData;
use std::time::Duration;

use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use kube::api::{DeleteParams, ListParams, Patch as Body, PatchParams, PostParams, Preconditions};
use kube::core::ObjectMeta;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::json;
use tokio::sync::{mpsc, watch};

use super::Journal;
use super::ledger::{Ledger, Patch};
use super::stored::{FORMAT, KEY_FORMAT, KEY_PLAN, KEY_WRITER, Kind, Loaded, Stored, key_allowed};
use super::writer::Writer;
use crate::cluster::client::{Cluster, Persisted, explain, is_already_exists, is_conflict, is_not_found, persist};
use crate::cluster::nonce::nonce;
use crate::error::Error;
use crate::labels::{KIND, MANAGED_BY, RUN};

/// How long making, reading, claiming or deleting a journal is tried.
const WITHIN: Duration = Duration::from_secs(20);
/// Journals in one answer of a list; each may be most of a megabyte.
const PAGE: u32 = 20;

/// The ConfigMap of a run.
pub(super) fn name_of(run: &str) -> String {
    format!("consistent-backup-{run}")
}

/// One journal's ConfigMap.
pub(super) struct ConfigMaps {
    api: Api<ConfigMap>,
    namespace: String,
    name: String,
}

impl ConfigMaps {
    fn new(cluster: &Cluster, namespace: &str, run: &str) -> Self {
        // Every lost answer is judged here, so nothing below may repeat a write on its own.
        Self::on(cluster.once.clone(), namespace, run)
    }

    pub(super) fn on(client: kube::Client, namespace: &str, run: &str) -> Self {
        Self { api: Api::namespaced(client, namespace), namespace: namespace.to_owned(), name: name_of(run) }
    }

    pub(super) fn title(&self) -> String {
        format!("configmap/{} in {}", self.name, self.namespace)
    }

    /// Writes keys if the object is still at the patch's version. Only the metadata comes back, not the whole journal.
    pub(super) async fn patch(&self, patch: &Patch) -> Result<String, kube::Error> {
        let body = json!({ "metadata": { "resourceVersion": patch.version }, "data": patch.data });
        let params = PatchParams::default();
        let meta = self.api.patch_metadata(&self.name, &params, &Body::Merge(body)).await?;
        Ok(meta.metadata.resource_version.unwrap_or_default())
    }

    pub(super) async fn read(&self) -> Result<Stored, kube::Error> {
        self.api.get(&self.name).await.map(Stored::new)
    }

    /// Starts the writer, after our first write.
    pub(super) fn open<E>(self, nonce: String, stored: &Stored) -> Journal<E> {
        let (commands, received) = mpsc::unbounded_channel();
        let (taken, seen) = watch::channel(false);
        let name = format!("{}/{}", self.namespace, self.name).into();
        let ledger = Ledger::new(nonce, stored.resource_version.clone(), stored.extent());
        tokio::spawn(Writer::new(self, ledger, received, taken).run());
        Journal { commands, taken: seen, name, events: PhantomData }
    }

    fn error(&self, doing: &str, why: &str) -> Error {
        Error::failed(format!("cannot {doing} {}", self.title())).cause(why)
    }
}

/// What a new journal begins with.
#[derive(Clone, Debug)]
pub struct New {
    /// Where it lies: the first target's namespace.
    pub namespace: String,
    /// The run.
    pub run: String,
    /// What the run does.
    pub kind: Kind,
    /// The plan, as JSON.
    pub plan: String,
    /// Further named keys.
    pub keys: Vec<(String, String)>,
}

impl New {
    fn object(&self, nonce: &str) -> ConfigMap {
        let own =
            [(KEY_FORMAT, FORMAT.to_owned()), (KEY_PLAN, self.plan.clone()), (KEY_WRITER, Ledger::mark(nonce, 0))];
        let own = own.into_iter().map(|(k, v)| (k.to_owned(), v));
        let labels = [MANAGED_BY, (RUN, self.run.as_str()), (KIND, self.kind.as_str())];
        ConfigMap {
            metadata: ObjectMeta {
                name: Some(name_of(&self.run)),
                labels: Some(labels.map(|(k, v)| (k.to_owned(), v.to_owned())).into()),
                ..ObjectMeta::default()
            },
            data: Some(self.keys.iter().cloned().chain(own).collect::<BTreeMap<_, _>>()),
            ..ConfigMap::default()
        }
    }
}

/// Makes a run's journal. That it exists already is success only if it was made by this very call.
pub async fn create<E>(cluster: &Cluster, new: &New) -> Result<Journal<E>, Error>
where
    E: Serialize + DeserializeOwned + Clone + Send,
{
    let maps = ConfigMaps::new(cluster, &new.namespace, &new.run);
    let nonce = nonce();
    let object = new.object(&nonce);
    let made = persist(WITHIN, async || {
        match maps.api.create(&PostParams::default(), &object).await {
            // Our own first try, whose answer was lost? Only the object itself can tell.
            Err(e) if is_already_exists(&e) => maps.read().await,
            made => made.map(Stored::new),
        }
    });
    match made.await {
        Persisted::Final(Ok(stored)) if stored.writer() == Ledger::mark(&nonce, 0) => Ok(maps.open(nonce, &stored)),
        Persisted::Final(Ok(_)) => Err(maps.error("create", "it exists already: the run's id was used before")),
        Persisted::Final(Err(e)) => Err(maps.error("create", &explain(&e))),
        Persisted::Unknown(why) => Err(maps.error("create", &why)),
    }
}

/// Reads a run's journal without claiming it.
pub async fn load(cluster: &Cluster, namespace: &str, run: &str) -> Result<Stored, Error> {
    find(cluster, namespace, run).await?.ok_or_else(|| unknown(cluster, namespace, run))
}

/// The same where nobody knows whether there is such a run.
pub async fn find(cluster: &Cluster, namespace: &str, run: &str) -> Result<Option<Stored>, Error> {
    let maps = ConfigMaps::new(cluster, namespace, run);
    match persist(WITHIN, || maps.read()).await {
        Persisted::Final(Ok(stored)) => Ok(Some(stored)),
        Persisted::Final(Err(e)) if is_not_found(&e) => Ok(None),
        Persisted::Final(Err(e)) => Err(maps.error("read", &explain(&e))),
        Persisted::Unknown(why) => Err(maps.error("read", &why)),
    }
}

/// There is no such run.
pub fn unknown(cluster: &Cluster, namespace: &str, run: &str) -> Error {
    Error::failed(format!("run \"{run}\" is not in namespace {namespace}")).hint(cluster.typed.list(namespace))
}

/// Reads a run's journal and claims it: from now on its former writer can write nothing any more.
pub async fn take_over<E>(
    cluster: &Cluster,
    namespace: &str,
    run: &str,
) -> Result<(Stored, Loaded<E>, Journal<E>), Error>
where
    E: Serialize + DeserializeOwned + Clone + Send,
{
    let maps = ConfigMaps::new(cluster, namespace, run);
    let nonce = nonce();
    let claim = Ledger::mark(&nonce, 0);
    // The former writer may be writing still; each of its writes costs us one more look, and it cannot go on for long.
    for _ in 0..100 {
        let mut stored = load(cluster, namespace, run).await?;
        let loaded = stored.read()?;
        if stored.writer() == claim {
            let journal = maps.open(nonce, &stored);
            return Ok((stored, loaded, journal));
        }
        let patch =
            Patch { version: stored.resource_version.clone(), data: [(KEY_WRITER.to_owned(), claim.clone())].into() };
        match persist(WITHIN, || maps.patch(&patch)).await {
            Persisted::Final(Ok(version)) => {
                stored.resource_version = version;
                let journal = maps.open(nonce, &stored);
                return Ok((stored, loaded, journal));
            }
            Persisted::Final(Err(e)) if is_conflict(&e) => {}
            Persisted::Final(Err(e)) => return Err(maps.error("take over", &explain(&e))),
            Persisted::Unknown(why) => return Err(maps.error("take over", &why)),
        }
    }
    Err(maps.error("take over", "another process keeps writing it"))
}

/// All journals, of one namespace or of all, unread: one that is damaged must not hide the others.
pub async fn list(cluster: &Cluster, namespace: Option<&str>) -> Result<Vec<Stored>, Error> {
    listed(cluster, namespace).await.map_err(|e| {
        let place = namespace.map_or("all namespaces".to_owned(), |n| format!("namespace {n}"));
        Error::failed(format!("cannot list the runs of {place}")).cause(explain(&e))
    })
}

/// The same, and what the API server said instead of an error.
pub async fn listed(cluster: &Cluster, namespace: Option<&str>) -> Result<Vec<Stored>, kube::Error> {
    let api: Api<ConfigMap> = match namespace {
        Some(namespace) => Api::namespaced(cluster.api.clone(), namespace),
        None => Api::all(cluster.api.clone()),
    };
    let mut params =
        ListParams::default().labels(&format!("{}={},{RUN},{KIND}", MANAGED_BY.0, MANAGED_BY.1)).limit(PAGE);
    let mut found = Vec::new();
    loop {
        let page = api.list(&params).await?;
        found.extend(page.items.into_iter().map(Stored::new));
        match page.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => params.continue_token = Some(token),
            None => return Ok(found),
        }
    }
}

/// Writes a named key of a run that is over, beside its entries. It may be repeated; whoever else writes meanwhile keeps
/// what he wrote.
pub async fn put(cluster: &Cluster, namespace: &str, run: &str, key: &str, value: &str) -> Result<(), Error> {
    let maps = ConfigMaps::new(cluster, namespace, run);
    if !key_allowed(key) {
        return Err(maps.error("write", &format!("\"{key}\" is no key for a journal")));
    }
    for _ in 0..20 {
        let stored = load(cluster, namespace, run).await?;
        let patch = Patch { version: stored.resource_version, data: [(key.to_owned(), value.to_owned())].into() };
        match persist(WITHIN, || maps.patch(&patch)).await {
            Persisted::Final(Ok(_)) => return Ok(()),
            // Somebody wrote in between, or our own first try did, whose answer was lost.
            Persisted::Final(Err(e)) if is_conflict(&e) => {}
            Persisted::Final(Err(e)) => return Err(maps.error("write", &explain(&e))),
            Persisted::Unknown(why) => return Err(maps.error("write", &why)),
        }
    }
    Err(maps.error("write", "another process keeps writing it"))
}

/// Deletes this very journal: one of the same name that was made later stays.
pub async fn delete(cluster: &Cluster, stored: &Stored) -> Result<(), Error> {
    let maps = ConfigMaps::new(cluster, &stored.namespace, &stored.run);
    let params = DeleteParams {
        preconditions: Some(Preconditions { uid: Some(stored.uid.clone()), resource_version: None }),
        ..DeleteParams::default()
    };
    match persist(WITHIN, || maps.api.delete(&stored.name, &params)).await {
        Persisted::Final(Ok(_)) => Ok(()),
        Persisted::Final(Err(e)) if is_not_found(&e) || is_conflict(&e) => Ok(()),
        Persisted::Final(Err(e)) => Err(maps.error("delete", &explain(&e))),
        Persisted::Unknown(why) => Err(maps.error("delete", &why)),
    }
}
