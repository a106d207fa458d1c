//! The harness itself, with kubectl alone: before it judges the plugin it has to be right.

use serde_json::json;

use crate::support::acks::now;
use crate::support::copies;
use crate::support::database::{Database, Kind};
use crate::support::scene::Scene;
use crate::support::verdict::{Verdict, Window};
use crate::support::wait::{seconds, until};

/// A snapshot that kubectl takes of a busy database is opened as a copy, and judged by windows of which the answer is
/// known: a judgement that always says "right" would be worth nothing.
#[test]
fn the_judgement_finds_rows_that_are_lost_and_rows_too_many() {
    let scene = Scene::new("harness", &[Database::new(Kind::Redis)]);
    until("4 s of writes", seconds(30), || {
        let acks = scene.acks(Kind::Redis).all();
        let first = acks.first().map_or(now(), |ack| ack.acked);
        if now() - first > 4_000_000_000 { Ok(()) } else { Err(format!("{} rows", acks.len())) }
    });
    let begun = now();
    scene.kubectl.apply(&[json!({
        "apiVersion": "snapshot.storage.k8s.io/v1", "kind": "VolumeSnapshot", "metadata": {"name": "careless"},
        "spec": {"source": {"persistentVolumeClaimName": Kind::Redis.claim()}}
    })]);
    until("the snapshot", seconds(30), || match scene.kubectl.value("volumesnapshot/careless", "/status/readyToUse") {
        ready if ready == "true" => Ok(()),
        other => Err(format!("readyToUse is `{other}`")),
    });
    scene.acks(Kind::Redis).serves_after(now(), seconds(5));
    let ended = now();
    scene.kubectl.apply(&[json!({
        "apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "data-redis-0-x"},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "256Mi"}},
            "dataSource": {"apiGroup": "snapshot.storage.k8s.io", "kind": "VolumeSnapshot", "name": "careless"}}
    })]);
    let rows = copies::rows(&scene, Kind::Redis, "x");
    let acks = scene.acks(Kind::Redis).all();
    let judge = |start, end| Verdict::of(&acks, &rows, Window { start, end }, None);

    assert!(!judge(ended, ended).lost.is_empty(), "what was acknowledged after the cut cannot be in the copy");
    // `everysec` brings to the device what is older than a second, or two.
    judge(begun - 2_500_000_000, ended).is_right("what was acknowledged long before the cut");
    let early = begun - 2_500_000_000;
    assert!(
        !judge(early, early).too_many.is_empty(),
        "what was written before the cut is too much for an early window"
    );
}
