//! What lies beside a journal because it is too large for it: the manifests, in numbered ConfigMaps of the run.
//!
//! They are written after the journal and deleted before it, so that a journal names them as long as they are there. Who
//! looks for journals does not find them: they have no kind.

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use kube::api::{DeleteParams, ListParams, PostParams};
use kube::core::ObjectMeta;

use super::store::name_of;
use crate::cluster::client::{Cluster, Persisted, explain, is_already_exists, is_not_found, persist};
use crate::labels::{MANAGED_BY, PART, RUN};
use crate::manifests::Manifests;
use crate::manifests::packed::{joined, pack, parts, unpack};

/// The label's value.
const WHAT: &str = "manifests";
/// The key of a part, and those of its number and of how many there are.
const KEYS: [&str; 3] = ["manifests", "number", "count"];
/// An object of the API server may have 1 MiB, all told.
const MOST: usize = 900 << 10;
/// As many parts of one run at most: whoever can write ConfigMaps must not fill our memory.
const PARTS: usize = 20;
/// How long one request is tried.
const WITHIN: Duration = Duration::from_secs(20);

fn object(run: &str, number: usize, count: usize, text: String) -> ConfigMap {
    let labels = [MANAGED_BY, (RUN, run), (PART, WHAT)];
    let values = [text, number.to_string(), count.to_string()];
    ConfigMap {
        metadata: ObjectMeta {
            name: Some(format!("{}-{WHAT}-{}", name_of(run), number + 1)),
            labels: Some(labels.map(|(k, v)| (k.to_owned(), v.to_owned())).into()),
            ..ObjectMeta::default()
        },
        data: Some(KEYS.map(str::to_owned).into_iter().zip(values).collect()),
        ..ConfigMap::default()
    }
}

fn read_part(map: &ConfigMap) -> Option<(usize, usize, String)> {
    let data = map.data.as_ref()?;
    let [text, number, count] = KEYS.map(|key| data.get(key));
    Some((number?.parse().ok()?, count?.parse().ok()?, text?.clone()))
}

fn api(cluster: &Cluster, namespace: &str) -> Api<ConfigMap> {
    Api::namespaced(cluster.api.clone(), namespace)
}

fn selector(run: Option<&str>) -> ListParams {
    let run = run.map_or_else(|| RUN.to_owned(), |run| format!("{RUN}={run}"));
    ListParams::default().labels(&format!("{}={},{run},{PART}={WHAT}", MANAGED_BY.0, MANAGED_BY.1))
}

/// Writes the manifests of a run whose journal is there. Safe to repeat.
pub async fn write(cluster: &Cluster, namespace: &str, run: &str, manifests: &Manifests) -> Result<(), String> {
    let all = parts(&pack(manifests), MOST);
    let count = all.len();
    let api = api(cluster, namespace);
    for (number, text) in all.into_iter().enumerate() {
        let map = object(run, number, count, text);
        let made = persist(WITHIN, async || match api.create(&PostParams::default(), &map).await {
            // The run's id is in the name, and its journal is ours: an earlier try.
            Err(e) if is_already_exists(&e) => Ok(()),
            answer => answer.map(drop),
        });
        let name = map.metadata.name.as_deref().unwrap_or_default();
        match made.await {
            Persisted::Final(Ok(())) => {}
            Persisted::Final(Err(e)) => return Err(format!("configmap/{name}: {}", explain(&e))),
            Persisted::Unknown(why) => return Err(format!("configmap/{name}: {why}")),
        }
    }
    Ok(())
}

fn is_part(map: &ConfigMap, run: &str) -> bool {
    let labels = map.metadata.labels.as_ref();
    let label = |key| labels.and_then(|labels| labels.get(key)).map(String::as_str);
    label(PART) == Some(WHAT) && label(RUN) == Some(run)
}

async fn listed(cluster: &Cluster, namespace: &str, run: &str) -> Result<Vec<ConfigMap>, String> {
    let (api, params) = (api(cluster, namespace), selector(Some(run)));
    match persist(WITHIN, async || api.list(&params).await).await {
        // Seen again: what is listed here may be deleted, and a journal must not.
        Persisted::Final(Ok(listed)) => Ok(listed.items.into_iter().filter(|map| is_part(map, run)).collect()),
        Persisted::Final(Err(e)) => Err(format!("the manifests of run {run} could not be listed: {}", explain(&e))),
        Persisted::Unknown(why) => Err(format!("the manifests of run {run} could not be listed: {why}")),
    }
}

/// The manifests of a run; nothing where none were written.
pub async fn read(cluster: &Cluster, namespace: &str, run: &str) -> Result<Option<Manifests>, String> {
    let listed = listed(cluster, namespace, run).await?;
    if listed.is_empty() {
        return Ok(None);
    }
    if listed.len() > PARTS {
        return Err(format!("the manifests of run {run} have {} parts, and {PARTS} are read at most", listed.len()));
    }
    let parts: Vec<_> = listed.iter().filter_map(read_part).collect();
    joined(parts).and_then(|text| unpack(&text)).map(Some).map_err(|why| format!("the manifests of run {run}: {why}"))
}

/// Deletes them.
pub async fn delete(cluster: &Cluster, namespace: &str, run: &str) -> Result<(), String> {
    let api = api(cluster, namespace);
    let params = DeleteParams::default();
    for name in listed(cluster, namespace, run).await?.into_iter().filter_map(|map| map.metadata.name) {
        match persist(WITHIN, async || api.delete(&name, &params).await).await {
            Persisted::Final(Ok(_)) => {}
            Persisted::Final(Err(e)) if is_not_found(&e) => {}
            Persisted::Final(Err(e)) => return Err(format!("configmap/{name}: {}", explain(&e))),
            Persisted::Unknown(why) => return Err(format!("configmap/{name}: {why}")),
        }
    }
    Ok(())
}

/// Which runs have manifests, by namespace and run, with the names of their ConfigMaps.
pub async fn all(
    cluster: &Cluster,
    namespace: Option<&str>,
) -> Result<BTreeMap<(String, String), Vec<String>>, kube::Error> {
    let api = namespace.map_or_else(|| Api::all(cluster.api.clone()), |namespace| api(cluster, namespace));
    let mut found: BTreeMap<(String, String), Vec<String>> = BTreeMap::new();
    // Only their names: all of them together may be large.
    for map in api.list_metadata(&selector(None)).await?.items {
        let run = map.metadata.labels.as_ref().and_then(|labels| labels.get(RUN)).cloned().unwrap_or_default();
        let key = (map.metadata.namespace.unwrap_or_default(), run);
        found.entry(key).or_default().push(map.metadata.name.unwrap_or_default());
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::labels::KIND;

    #[test]
    fn a_part_is_no_journal_and_comes_back() {
        let part = object("b1", 1, 3, "text".into());
        assert_eq!(part.metadata.name.as_deref(), Some("consistent-backup-b1-manifests-2"));
        let labels = part.metadata.labels.clone().unwrap();
        assert_eq!((labels.get(RUN).map(String::as_str), labels.get(KIND)), (Some("b1"), None));
        assert!(is_part(&part, "b1") && !is_part(&part, "b2") && !is_part(&ConfigMap::default(), "b1"));
        assert_eq!(read_part(&part), Some((1, 3, "text".into())));
        assert_eq!(read_part(&ConfigMap::default()), None);
    }
}
