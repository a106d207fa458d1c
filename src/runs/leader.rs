//! Whether a process still leads a run that is not over: `Running` alone does not tell a run from its remains.

use futures::future::join_all;
use jiff::Timestamp;

use crate::clock;
use crate::cluster::client::Cluster;
use crate::lease::{self, DURATION};
use crate::output::age::age;
use crate::plan::leased;
use crate::record::item::Item;

/// What must be said of runs that nobody leads any more, one line each. Without an answer nothing is claimed.
pub async fn abandoned(cluster: &Cluster, items: &[Item]) -> Vec<String> {
    let running: Vec<&Item> = items.iter().filter(|item| item.outcome() == "Running").collect();
    if running.is_empty() {
        return Vec::new();
    }
    let Ok(now) = clock::second(cluster).await else { return Vec::new() };
    join_all(running.into_iter().map(|item| of(cluster, item, now))).await.into_iter().flatten().collect()
}

async fn of(cluster: &Cluster, item: &Item, now: Timestamp) -> Option<String> {
    let (namespace, leased) = match item {
        Item::Backup(backup) => {
            backup.status.targets.first().map(|t| (t.namespace.as_str(), leased(&t.pod, &t.release)))?
        }
        Item::Restore(restore) => restore.status.pods.before.first().map(|p| (p.namespace.as_str(), p.name.clone()))?,
    };
    let run = &item.metadata().name;
    let heard = match lease::last_heard(cluster, namespace, &leased).await.ok()? {
        Some((holder, heard)) if holder == *run => heard,
        _ => None,
    };
    // Both times are the API server's. Leases last a third of this.
    let silent = heard.is_none_or(|heard| now.duration_since(heard).as_secs() > 3 * DURATION.as_secs().cast_signed());
    silent.then(|| {
        let last = heard.map(|heard| format!(" (last heard of {} ago)", age(Some(heard), now))).unwrap_or_default();
        let thaw = cluster.typed.thaw(run, &item.metadata().namespace);
        format!("{run} is not over, and no process leads it any more{last}; finish it with: {thaw}")
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use http::{Request, Response, header::DATE};
    use kube::client::Body;
    use serde_json::json;
    use tower::service_fn;

    use super::*;
    use crate::journal::Stored;

    /// A backup of which the journal has this many entries.
    fn backup(entries: usize) -> Item {
        let mut object: serde_json::Value =
            serde_json::from_str(include_str!("../../tests/fixtures/journals/backup-2.json")).unwrap();
        let data = object["data"].as_object_mut().unwrap();
        data.retain(|key, _| key.strip_prefix("e0").and_then(|n| n.parse().ok()).is_none_or(|n: usize| n < entries));
        crate::runs::item(&Stored::new(serde_json::from_value(object).unwrap())).unwrap()
    }

    /// What is said of it at 12:00 when its Lease is this run's and was written then.
    async fn said(item: &Item, lease: Option<(&str, &str)>) -> Vec<String> {
        let lease = lease.map(|(run, written)| {
            json!({"metadata": {"name": "l", "annotations": {"consistent-backup/run": run},
                "managedFields": [{"manager": "kubectl", "time": "2026-11-21T10:00:00Z"}, {"manager": "m", "time": written}]}})
        });
        let service = service_fn(move |request: Request<Body>| {
            let (code, body) = match (request.uri().path(), lease.clone()) {
                ("/version", _) => (200, json!({})),
                (_, Some(lease)) => (200, lease),
                _ => (404, json!({"kind": "Status", "status": "Failure", "code": 404, "reason": "NotFound"})),
            };
            let answer = Response::builder().status(code).header(DATE, "Sat, 21 Nov 2026 12:00:00 GMT");
            async move { Ok::<_, kube::Error>(answer.body(Body::from(body.to_string().into_bytes())).unwrap()) }
        });
        abandoned(&Cluster::of_client(&kube::Client::new(service, "golden"), "golden"), std::slice::from_ref(item))
            .await
    }

    #[tokio::test]
    async fn a_run_without_a_leader_is_told_from_one_that_goes_on() {
        let item = backup(6);
        assert_eq!(item.outcome(), "Running");
        let run = item.metadata().name.clone();
        assert!(said(&item, Some((&run, "2026-11-21T11:59:45Z"))).await.is_empty(), "renewed a moment ago");
        let quiet = said(&item, Some((&run, "2026-11-21T11:55:00Z"))).await;
        let wanted =
            format!("{run} is not over, and no process leads it any more (last heard of 5m ago); finish it with: ");
        assert!(quiet.len() == 1 && quiet[0].starts_with(&wanted) && quiet[0].contains("thaw"), "{quiet:?}");
        for lease in [None, Some(("another", "2026-11-21T11:59:59Z"))] {
            let gone = said(&item, lease).await;
            assert!(gone.len() == 1 && gone[0].contains("leads it any more; finish it with"), "{gone:?}");
        }
        assert!(said(&backup(100), None).await.is_empty(), "it is over");
    }
}
