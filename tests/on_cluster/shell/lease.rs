use std::sync::Mutex;
use std::time::{Duration, Instant};

use consistent_backup::cluster::client::Cluster;
use consistent_backup::error::Refusal;
use consistent_backup::lease::{DURATION, Leases, Left, RENEWAL, Take, Waiting};
use k8s_openapi::api::coordination::v1::Lease;
use kube::Api;

use super::fault::{FAULTS, breaking};
use super::{Ground, cluster_through};

async fn take(cluster: &Cluster, ground: &Ground, pod: &str, run: &str, how: Take) -> Result<Leases, Vec<Refusal>> {
    let pods = [(ground.namespace.clone(), pod.to_owned())];
    Leases::take(cluster, &pods, run, how, &|_| {}).await
}

async fn holders(ground: &Ground) -> Vec<String> {
    let api: Api<Lease> = Api::namespaced(ground.cluster.api.clone(), &ground.namespace);
    let leases = api.list(&kube::api::ListParams::default()).await.unwrap();
    leases.items.into_iter().filter_map(|l| l.spec?.holder_identity).collect()
}

#[tokio::test]
async fn a_lease_is_taken_refused_expired_forced_and_given_back() {
    let ground = Ground::new("lease").await;
    let cluster = &ground.cluster;
    let first = take(cluster, &ground, "a", "r1", Take::IfFree).await.unwrap();
    let begin = Instant::now();
    let refusals = take(cluster, &ground, "a", "r2", Take::IfFree).await.err().unwrap();
    eprintln!("refused after {:?}: {refusals:?}", begin.elapsed());
    assert!(refusals[0].message.contains("r1") && begin.elapsed() < DURATION);
    tokio::time::sleep(DURATION + RENEWAL).await;
    assert_eq!(first.lost(), None);
    first.confirm(Duration::from_secs(5)).await.unwrap();

    // A dead one: nothing renews it any more.
    drop(first);
    let said = Mutex::new(Vec::new());
    let pods = [(ground.namespace.clone(), "a".to_owned())];
    let say = |waiting: &Waiting| said.lock().unwrap().push(waiting.run.clone());
    let begin = Instant::now();
    let second = Leases::take(cluster, &pods, "r2", Take::AfterExpiry, &say).await.unwrap();
    eprintln!("taken after {:?}", begin.elapsed());
    assert!((DURATION..2 * DURATION).contains(&begin.elapsed()));
    assert_eq!(*said.lock().unwrap(), ["r1"]);

    let third = take(cluster, &ground, "a", "r3", Take::Force).await.unwrap();
    let begin = Instant::now();
    let why = second.until_lost().await;
    eprintln!("noticed after {:?}: {why}", begin.elapsed());
    assert!(why.contains("r3") && begin.elapsed() < DURATION);
    second.release(Left::Nothing).await.unwrap();
    assert_eq!(holders(&ground).await.len(), 1);
    third.release(Left::Nothing).await.unwrap();
    assert!(holders(&ground).await.is_empty());
    ground.end().await;
}

#[tokio::test]
async fn any_broken_request_is_made_good() {
    let ground = Ground::new("renew").await;
    // At once, each with a client of its own: a renewal is every three seconds.
    let cases = FAULTS.into_iter().flat_map(|fault| (0..5).map(move |nth| (fault, nth)));
    let all = cases.enumerate().map(|(n, (fault, nth))| {
        let ground = &ground;
        async move {
            let (around, _) = breaking(nth, fault);
            let broken = cluster_through(Some(around)).await;
            let leases = take(&broken, ground, &format!("p{n}"), "r", Take::IfFree).await.unwrap();
            for _ in 0..20 {
                tokio::time::sleep(Duration::from_millis(500)).await;
                assert_eq!(leases.lost(), None, "{fault:?} {nth}");
            }
            leases.release(Left::Nothing).await.unwrap();
        }
    });
    futures::future::join_all(all).await;
    assert!(holders(&ground).await.is_empty());
    ground.end().await;
}
