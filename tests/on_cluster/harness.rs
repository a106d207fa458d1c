//! The harness itself, with kubectl alone: before it judges the plugin it has to be right.

use serde_json::json;

use crate::support::acks::now;
use crate::support::backup::written;
use crate::support::copies;
use crate::support::database::Kind;
use crate::support::scene::Scene;
use crate::support::verdict::{Verdict, Window};
use crate::support::wait::{seconds, until};

/// A snapshot that kubectl takes of a busy Redis is opened as a copy, and judged by windows of which the answer is known:
/// a judgement that always says "right" would be worth nothing.
pub(crate) fn the_judgement_finds_rows_that_are_lost_and_rows_too_many(scene: &Scene) {
    written(&scene.acks(Kind::Redis), "redis");
    // From the next row on an answer means that it is on the device, and all before it.
    let fsync = |when: &str| scene.statement(Kind::Redis, &format!("CONFIG SET appendfsync {when}"));
    fsync("always");
    let durable = scene.acks(Kind::Redis).serves_after(now(), seconds(30)).acked;
    fsync("everysec");
    scene.kubectl.apply(&[json!({
        "apiVersion": "snapshot.storage.k8s.io/v1", "kind": "VolumeSnapshot", "metadata": {"name": "careless"},
        "spec": {"source": {"persistentVolumeClaimName": Kind::Redis.claim()}}
    })]);
    until("the snapshot", seconds(60), || match scene.kubectl.value("volumesnapshot/careless", "/status/readyToUse") {
        ready if ready == "true" => Ok(()),
        other => Err(format!("readyToUse is `{other}`")),
    });
    scene.acks(Kind::Redis).serves_after(now(), seconds(30));
    let ended = now();
    copies::of_snapshot(scene, Kind::Redis, "careless", "x");
    let rows = copies::rows(scene, Kind::Redis, "x");
    let acks = scene.acks(Kind::Redis).all();
    let judge = |start, end| Verdict::of(&acks, &rows, Window { start, end }, None);

    assert!(!judge(ended, ended).lost.is_empty(), "what was acknowledged after the cut cannot be in the copy");
    judge(durable, ended).is_right("what was on the device before the cut");
    let middle = acks[acks.iter().filter(|ack| ack.acked < durable).count() / 2].acked;
    assert!(
        !judge(middle, middle).too_many.is_empty(),
        "what was written before the cut is too much for an early window"
    );
    copies::delete(scene, &[Kind::Redis], "x");
    scene.kubectl.ok(&["delete", "volumesnapshot", "careless"]);
}
