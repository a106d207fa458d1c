use std::time::{Duration, Instant};

use consistent_backup::cluster::client::Cluster;
use consistent_backup::journal::{self, Append, Entry, Journal, Kind, New};

use super::fault::{FAULTS, breaking};
use super::{Ground, cluster_through};

const LONG: Duration = Duration::from_secs(20);

fn new(ground: &Ground, run: &str) -> New {
    New {
        namespace: ground.namespace.clone(),
        run: run.into(),
        kind: Kind::Backup,
        plan: "{}".into(),
        keys: vec![("pods.before".into(), "[]".into())],
    }
}

fn entry(event: u32) -> Entry<u32> {
    serde_json::from_value(serde_json::json!({ "at": "2026-01-02T03:04:05Z", "event": event })).unwrap()
}

async fn events(cluster: &Cluster, ground: &Ground, run: &str) -> Vec<u32> {
    let stored = journal::load(cluster, &ground.namespace, run).await.unwrap();
    stored.read::<u32>().unwrap().entries.iter().map(|e| e.event).collect()
}

#[tokio::test]
async fn a_journal_lives_from_its_making_to_its_deletion() {
    let ground = Ground::new("journal").await;
    let cluster = &ground.cluster;
    let first: Journal<u32> = journal::create(cluster, &new(&ground, "r1")).await.unwrap();
    assert!(journal::create::<u32>(cluster, &new(&ground, "r1")).await.is_err());
    let begin = Instant::now();
    for n in 0..20 {
        assert_eq!(first.durable(vec![entry(n)], LONG).await, Append::Written);
    }
    eprintln!("20 durable writes: {:?}", begin.elapsed());
    (20..40).for_each(|n| first.later(&entry(n)));
    first.later_put("pods.after", "[1]".into());
    first.settle(LONG).await.unwrap();
    assert!(events(cluster, &ground, "r1").await.into_iter().eq(0..40));

    // Another process claims it while the first one writes.
    let (stored, loaded, second) = journal::take_over::<u32>(cluster, &ground.namespace, "r1").await.unwrap();
    assert_eq!((stored.kind, loaded.entries.len()), (Some(Kind::Backup), 40));
    assert_eq!(loaded.keys["pods.after"], "[1]");
    assert_eq!(first.durable(vec![entry(99)], LONG).await, Append::TakenOver);
    assert!(first.taken_over());
    assert_eq!(second.durable(vec![entry(40)], LONG).await, Append::Written);
    assert!(events(cluster, &ground, "r1").await.into_iter().eq(0..=40));

    let listed = journal::list(cluster, Some(&ground.namespace)).await.unwrap();
    assert_eq!(listed.iter().map(|s| s.run.as_str()).collect::<Vec<_>>(), ["r1"]);
    journal::delete(cluster, &listed[0]).await.unwrap();
    journal::delete(cluster, &listed[0]).await.unwrap();
    assert!(matches!(second.durable(vec![entry(41)], LONG).await, Append::Failed(why) if why.contains("deleted")));
    assert!(journal::load(cluster, &ground.namespace, "r1").await.is_err());
    ground.end().await;
}

#[tokio::test]
async fn any_broken_request_leaves_a_whole_journal() {
    let ground = Ground::new("broken").await;
    for fault in FAULTS {
        for nth in 0..6 {
            let run = format!("{fault:?}-{nth}").to_lowercase().replace(['(', ')'], "");
            let (around, _) = breaking(nth, fault);
            let broken = cluster_through(Some(around)).await;
            let journal: Journal<u32> = journal::create(&broken, &new(&ground, &run)).await.unwrap();
            for n in 0..4 {
                assert_eq!(journal.durable(vec![entry(n)], LONG).await, Append::Written, "{run}");
            }
            assert_eq!(events(&ground.cluster, &ground, &run).await, [0, 1, 2, 3], "{run}");
            assert!(!journal.taken_over(), "{run}");
        }
    }
    ground.end().await;
}

#[tokio::test]
async fn two_writers_never_both_write() {
    let ground = Ground::new("two").await;
    let first: Journal<u32> = journal::create(&ground.cluster, &new(&ground, "r")).await.unwrap();
    let writing = tokio::spawn(async move {
        for n in 0.. {
            match first.durable(vec![entry(n)], LONG).await {
                // Faster than any run, and not so fast that nobody gets a word in.
                Append::Written => tokio::time::sleep(Duration::from_millis(5)).await,
                end => return (n, end),
            }
        }
        unreachable!()
    });
    tokio::time::sleep(Duration::from_millis(300)).await;
    let (_, loaded, second) = journal::take_over::<u32>(&ground.cluster, &ground.namespace, "r").await.unwrap();
    let (written, end) = writing.await.unwrap();
    assert_eq!(end, Append::TakenOver);
    eprintln!("{written} written before the takeover");
    // What the taker read is everything that the first one was told is written.
    assert_eq!(loaded.entries.len(), written as usize);
    assert_eq!(second.durable(vec![entry(1000)], LONG).await, Append::Written);
    assert!(events(&ground.cluster, &ground, "r").await.into_iter().eq((0..written).chain([1000])));
    ground.end().await;
}
