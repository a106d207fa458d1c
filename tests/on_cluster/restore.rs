//! A backup comes back: in place under load, as copies, and not at all where that would lose what is there.

use std::collections::{BTreeMap, HashSet};

use serde_json::{Value, json};

use crate::support::acks::{Ack, now};
use crate::support::backup::{Taken, consistent, holding};
use crate::support::cluster::{self, Full};
use crate::support::database::{Database, Kind};
use crate::support::leftovers::{leases, records, state, unnamed};
use crate::support::plugin::{list, outcome_is, run_of, text};
use crate::support::process::Ended;
use crate::support::scene::Scene;
use crate::support::verdict::{Row, Verdict, Window};
use crate::support::wait::{seconds, until, until_none};
use crate::times;

/// Which volume each database's claim is bound to.
pub(crate) fn volumes(scene: &Scene, kinds: &[Kind]) -> BTreeMap<String, String> {
    let bound = |kind: &Kind| {
        let volume = scene.kubectl.value(&format!("pvc/{}", kind.claim()), "/spec/volumeName");
        (kind.claim(), volume)
    };
    kinds.iter().map(bound).collect()
}

/// Rows that an earlier restore of the same scene took away, as it must: what was written after its backup, or to volumes
/// that were given up. A later backup does not promise them.
#[derive(Default)]
pub(crate) struct GivenUp(HashSet<(&'static str, i64)>);

impl GivenUp {
    /// What the writer was told, but for these.
    fn acks(&self, scene: &Scene, kind: Kind) -> Vec<Ack> {
        let mut acks = scene.acks(kind).all();
        acks.retain(|ack| !self.0.contains(&(kind.name(), ack.number)));
        acks
    }

    /// After a judgement of these: whatever is not there now was rightly taken away.
    fn add(&mut self, kind: Kind, acks: &[Ack], rows: &[Row]) {
        let there: HashSet<i64> = rows.iter().map(|row| row.number).collect();
        self.0.extend(acks.iter().map(|ack| ack.number).filter(|n| !there.contains(n)).map(|n| (kind.name(), n)));
    }
}

/// Fails unless the rows of every database are those of the backup, up to what was written since.
#[track_caller]
pub(crate) fn rows_are_right(scene: &Scene, taken: &Taken, restored_from: i128, given_up: &mut GivenUp) {
    for kind in &taken.kinds {
        // In this order: a row that is written meanwhile is not missing.
        let acks = given_up.acks(scene, *kind);
        let rows = scene.rows_in(*kind, &kind.pod());
        let verdict = Verdict::of(&acks, &rows, taken.window, Some(restored_from));
        verdict.is_right(&format!("{} restored from {}", kind.name(), taken.run));
        given_up.add(*kind, &acks, &rows);
    }
}

fn damage(scene: &Scene, kinds: &[Kind]) {
    for kind in kinds {
        scene.statement(*kind, kind.damage());
    }
}

/// Damages, restores in place, and judges everything that a restore promises; gives its record.
#[track_caller]
fn restored(scene: &Scene, taken: &Taken, given_up: &mut GivenUp) -> Value {
    let kinds = &taken.kinds;
    let before = volumes(scene, kinds);
    damage(scene, kinds);
    let began = now();
    let ended = scene.plugin(&["restore-from-snapshot", &taken.run, "--yes", "-o", "json"]).run().done();
    let record = ended.json();
    assert_eq!(record["kind"], "Restore");
    outcome_is(&record, "Restored");
    scene.all_serve(seconds(30));
    rows_are_right(scene, taken, began, given_up);

    let after = volumes(scene, kinds);
    for claim in list(&record, "/status/claims") {
        let old = text(claim, "/oldVolume");
        let name = text(claim, "/claim");
        assert_eq!(before[name], old, "{claim:#}");
        assert_ne!(after[name], old, "{name} still has the volume from before");
        let kept = scene.kubectl.value(&format!("pv/{old}"), "/spec/persistentVolumeReclaimPolicy");
        assert_eq!(kept, "Retain", "the old volume {old} of {name}");
    }
    assert_eq!(list(&record, "/status/claims").len(), kinds.len());
    assert_eq!(list(&record, "/status/pods/before").len(), kinds.len());
    assert_eq!(list(&record, "/status/pods/after").len(), kinds.len());
    assert_eq!(list(&record, "/status/pods/differences"), &[] as &[Value]);
    assert_eq!(leases(scene), Vec::<String>::new());
    record
}

#[test]
fn in_place_under_load_and_deleted_without_a_trace() {
    let scene = Scene::new("restore", &Kind::ALL.map(Database::new));
    let clean = state(&scene).into_iter().filter(|line| !line.contains("PersistentVolumeClaim")).collect::<Vec<_>>();
    let mut given_up = GivenUp::default();
    for _ in 0..times(1, 20) {
        let taken = consistent(&scene, &Kind::ALL, &[]);
        let record = restored(&scene, &taken, &mut given_up);
        let run = run_of(&record);
        let listed = records(&scene);
        assert!(listed.iter().any(|record| run_of(record) == run && record["kind"] == "Restore"), "{listed:#?}");

        let old: Vec<String> =
            list(&record, "/status/claims").iter().map(|c| text(c, "/oldVolume").to_owned()).collect();
        scene.plugin(&["delete", &run, "--yes"]).run().done();
        until_none("the old volumes to be gone", seconds(60), || {
            let left = |volume: &&String| !scene.kubectl.value(&format!("pv/{volume}"), "/metadata/name").is_empty();
            old.iter().filter(left).cloned().collect()
        });
        scene.plugin(&["delete", &taken.run, "--yes"]).run().done();
        until_none("the backup to be gone", seconds(60), || unnamed(&scene));
    }
    scene.all_serve(seconds(5));
    assert_eq!(records(&scene), Vec::<Value>::new());
    let left = state(&scene).into_iter().filter(|line| !line.contains("PersistentVolumeClaim")).collect::<Vec<_>>();
    assert_eq!(generations_aside(&left), generations_aside(&clean), "something was left behind");
    for (claim, volume) in volumes(&scene, &Kind::ALL) {
        let policy = scene.kubectl.value(&format!("pv/{volume}"), "/spec/persistentVolumeReclaimPolicy");
        assert_eq!(policy, "Delete", "the volume of {claim} has its class's policy");
    }
}

/// Stopping and starting changes a workload's generation, and nothing else of what is compared.
fn generations_aside(lines: &[String]) -> Vec<&str> {
    lines.iter().map(|line| line.rsplit_once(' ').unwrap().0).collect()
}

/// The storage gives out under running databases, which break. What is said of a backup then is true, the damaged ones
/// are no reason to refuse a restore, and it brings back all that was promised before.
#[test]
fn after_the_storage_was_full() {
    let scene = Scene::alone("out-of-space", &Kind::ALL.map(Database::new));
    let good = consistent(&scene, &Kind::ALL, &[]);
    let running = holding(&scene, &["--quiesce-budget", "8s", "--attempts", "1"]);
    let full = Full::take();
    // At the brink: it is a backup or none, and says which.
    let ended = running.end(seconds(120));
    let last = match ended.code() {
        Some(0) => Some(proved_quietly(&scene, &ended)),
        Some(1) => None,
        _ => panic!("{ended}"),
    };
    println!("with no space left: {}", ended.status);
    until("a database that breaks", seconds(120), || {
        let silent = |kind: &Kind| scene.acks(*kind).last().is_none_or(|ack| now() - ack.acked > 5_000_000_000);
        if Kind::ALL.iter().any(silent) { Ok(()) } else { Err("all take writes") }
    });
    drop(full);
    let mut given_up = GivenUp::default();
    for taken in last.iter().chain([&good]) {
        let began = now();
        scene.plugin(&["restore-from-snapshot", &taken.run, "--yes"]).run().done();
        rows_are_right(&scene, taken, began, &mut given_up);
        scene.all_serve(seconds(30));
    }
}

/// The backup that this run took, without asking whether its writers were busy.
fn proved_quietly(scene: &Scene, ended: &Ended) -> Taken {
    let record = ended.json();
    outcome_is(&record, "ApplicationConsistent");
    let window = Window::of(&record);
    Taken { run: run_of(&record), record, window, kinds: scene.kinds() }
}

/// The workload's own controller deletes the claims of a StatefulSet that is scaled to 0. Without care that is the end
/// of the old data.
#[test]
fn where_scaling_down_deletes_the_claims() {
    let deletes = json!({"whenScaled": "Delete", "whenDeleted": "Delete"});
    let wanted = deletes.clone();
    let database = Database::new(Kind::Redis)
        .edit(move |set| set["spec"]["persistentVolumeClaimRetentionPolicy"] = wanted.clone());
    let scene = Scene::new("when-scaled", &[database]);
    let owner = "/metadata/ownerReferences/0/kind";
    until("the claim to belong to the StatefulSet", seconds(20), || {
        let owner = scene.kubectl.value("pvc/data-redis-0", owner);
        if owner.is_empty() { Err("it has no owner") } else { Ok(()) }
    });
    let taken = consistent(&scene, &[Kind::Redis], &[]);
    restored(&scene, &taken, &mut GivenUp::default());
    until("the policy to be what it was", seconds(20), || {
        let policy = scene.kubectl.get("statefulset/redis")["spec"]["persistentVolumeClaimRetentionPolicy"].clone();
        if policy == deletes { Ok(()) } else { Err(policy) }
    });
}

/// The storage lost the copy, and nobody knows: the new claim is never bound, and the old data comes back.
#[test]
fn a_restore_that_fails_goes_back() {
    let scene = Scene::new("goes-back", &[Database::new(Kind::Redis), Database::new(Kind::Mariadb)]);
    let kinds = [Kind::Redis, Kind::Mariadb];
    let taken = consistent(&scene, &kinds, &[]);
    let before = volumes(&scene, &kinds);
    let claims = list(&taken.record, "/status/claims");
    let handle = text(claims.iter().find(|claim| claim["claim"] == Kind::Mariadb.claim()).unwrap(), "/handle");
    let lost = cluster::state().join(format!("csi/snapshots/{handle}.json"));
    std::fs::rename(&lost, lost.with_extension("lost")).unwrap();

    let began = now();
    let ended =
        scene.plugin(&["restore-from-snapshot", &taken.run, "--yes", "--wait", "20s", "-o", "json"]).run().exits(1);
    let record = ended.json();
    outcome_is(&record, "RestoredOldVolumes");
    assert!(!text(&record, "/status/reason").is_empty(), "{record:#}");
    assert_eq!(volumes(&scene, &kinds), before, "the claims are bound to the volumes from before");
    scene.all_serve(seconds(30));
    let mut given_up = GivenUp::default();
    for kind in kinds {
        rows_are_there(&scene, kind, began, &mut given_up);
    }
    for volume in before.values() {
        until(&format!("the policy of {volume} to be what it was"), seconds(20), || {
            let policy = scene.kubectl.value(&format!("pv/{volume}"), "/spec/persistentVolumeReclaimPolicy");
            if policy == "Delete" { Ok(()) } else { Err(policy) }
        });
    }
    std::fs::rename(lost.with_extension("lost"), &lost).unwrap();
    restored(&scene, &taken, &mut given_up);
}

/// After days on what was restored the user thinks better of it: the old data is back whole, and what was written since
/// is kept until the restore is deleted. Killed on the way it is finished by the same command.
#[test]
fn a_restore_that_succeeded_is_taken_back() {
    let deletes = json!({"whenScaled": "Delete", "whenDeleted": "Delete"});
    let redis = Database::new(Kind::Redis)
        .edit(move |set| set["spec"]["persistentVolumeClaimRetentionPolicy"] = deletes.clone());
    let scene = Scene::new("undo", &[redis, Database::new(Kind::Postgres)]);
    let kinds = [Kind::Redis, Kind::Postgres];
    let mut given_up = GivenUp::default();
    // Beside the whole way: before its first request, between securing and stopping, and on the way back.
    let moments = if times(0, 1) == 1 { &[None, Some(1), Some(3), Some(6), Some(8)][..] } else { &[None, Some(6)] };
    for &event in moments {
        let taken = consistent(&scene, &kinds, &[]);
        let before = volumes(&scene, &kinds);
        let began = now();
        let restored = scene.plugin(&["restore-from-snapshot", &taken.run, "--yes", "-o", "json"]).run().done().json();
        scene.all_serve(seconds(30));
        let new = volumes(&scene, &kinds);
        let run = run_of(&restored);
        let undo = || scene.plugin(&["restore-from-snapshot", "--undo", &run, "--yes", "-o", "json"]);
        if let Some(event) = event {
            // Events are counted from the restore's first one.
            let so_far = cluster_events(&scene, &run);
            let ended = undo().dies_at(so_far + event).run();
            assert!(ended.was_killed(), "{ended}");
            outcome_is(&scene.plugin(&["describe", &run, "-o", "json"]).run().done().json(), "Running");
        }
        let record = undo().run().done().json();
        outcome_is(&record, "RestoredOldVolumes");
        assert_eq!(text(&record, "/status/reason"), "undone");
        assert_eq!(volumes(&scene, &kinds), before, "the claims are bound to the volumes from before");
        scene.all_serve(seconds(30));
        for kind in kinds {
            rows_are_there(&scene, kind, began, &mut given_up);
        }
        let policy =
            |volume: &String| scene.kubectl.value(&format!("pv/{volume}"), "/spec/persistentVolumeReclaimPolicy");
        for volume in before.values() {
            until(&format!("the policy of {volume} to be what it was"), seconds(20), || {
                if policy(volume) == "Delete" { Ok(()) } else { Err(policy(volume)) }
            });
        }
        for volume in new.values() {
            assert_eq!(policy(volume), "Retain", "{volume} holds what was written since");
        }
        let again = undo().run().done();
        outcome_is(&again.json(), "RestoredOldVolumes");
        assert_eq!(volumes(&scene, &kinds), before, "once is enough");
        scene.plugin(&["delete", &run, "--yes"]).run().done();
        until_none("the restored volumes to be gone", seconds(60), || {
            let left = |volume: &&String| !scene.kubectl.value(&format!("pv/{volume}"), "/metadata/name").is_empty();
            new.values().filter(left).cloned().collect()
        });
        until_none("no lease", seconds(20), || leases(&scene));
    }
}

/// How many events a run's journal has.
fn cluster_events(scene: &Scene, run: &str) -> u32 {
    let journal = scene.kubectl.get(&format!("configmap/consistent-backup-{run}"));
    let keys = journal["data"].as_object().unwrap().keys();
    let is_entry = |key: &&String| key.strip_prefix('e').is_some_and(|n| n.len() == 4 && n.parse::<u32>().is_ok());
    u32::try_from(keys.filter(is_entry).count()).unwrap()
}

/// What stands in the way of taking a restore back is said before anything is touched.
#[test]
fn what_cannot_be_taken_back_is_refused() {
    let scene = Scene::new("no-undo", &[Database::new(Kind::Redis)]);
    let taken = consistent(&scene, &[Kind::Redis], &[]);
    let first =
        run_of(&scene.plugin(&["restore-from-snapshot", &taken.run, "--yes", "-o", "json"]).run().done().json());
    let undo = |run: &str| scene.plugin(&["restore-from-snapshot", "--undo", run]);
    undo(&first).run().exits(5).says(&["--yes"]);
    undo(&first).args(["--dry-run"]).run().done();
    undo(&taken.run).run().exits(5).says(&["is a backup, not a restore"]);
    undo("20260101-000000-none").run().exits(5).says(&["20260101-000000-none"]);
    scene.plugin(&["restore-from-snapshot", "--resume", &first]).run().done().says(&["nothing is left to do"]);
    scene.plugin(&["restore-from-snapshot", &taken.run, "--undo", &first]).run().exits(2);
    scene.plugin(&["restore-from-snapshot"]).run().exits(2);
    let second =
        run_of(&scene.plugin(&["restore-from-snapshot", &taken.run, "--yes", "-o", "json"]).run().done().json());
    let before = state(&scene);
    undo(&first).args(["--yes"]).run().exits(5).says(&["data-redis-0", &second, "undo that one first"]);
    assert_eq!(state(&scene), before);
    undo(&second).args(["--yes"]).run().done();
    undo(&first).args(["--yes"]).run().done();
    scene.all_serve(seconds(30));
}

/// One database of a backup comes back, and the others are not touched; then all but the newest backup go.
#[test]
fn a_part_of_a_backup_comes_back() {
    let scene = Scene::new("part", &[Database::new(Kind::Redis), Database::new(Kind::Postgres)]);
    let kinds = [Kind::Redis, Kind::Postgres];
    let first = consistent(&scene, &kinds, &[]);
    let taken = consistent(&scene, &kinds, &[]);
    let (volumes_before, uid) = (volumes(&scene, &kinds), scene.uid("pod/postgres-0"));
    let restore = |more: &[&str]| scene.plugin(&["restore-from-snapshot", &taken.run, "--yes"]).args(more);
    restore(&["--only", "sts/none"]).run().exits(5).says(&["statefulset/none", "statefulset/redis"]);
    restore(&["--claim", "none"]).run().exits(5).says(&["data-redis-0"]);
    restore(&["--only", "none"]).run().exits(2);
    damage(&scene, &[Kind::Redis]);
    let began = now();
    restore(&["--only", "sts/redis"]).run().done().says(&["does not share its instant", "postgres-0"]);
    scene.all_serve(seconds(30));
    let of_redis = Taken { kinds: vec![Kind::Redis], ..taken };
    rows_are_right(&scene, &of_redis, began, &mut GivenUp::default());
    let after = volumes(&scene, &kinds);
    assert_eq!(after["data-postgres-0"], volumes_before["data-postgres-0"]);
    assert_ne!(after["data-redis-0"], volumes_before["data-redis-0"]);
    assert_eq!(scene.uid("pod/postgres-0"), uid, "it was never stopped");

    let prune = |more: &[&str]| scene.plugin(&["prune"]).args(more);
    prune(&[]).run().exits(2);
    let before = state(&scene);
    let plan = prune(&["--keep-last", "1", "--dry-run", "-o", "json"]).run().done().json();
    let kept = |run: &str| list(&plan, "/items").iter().find(|item| item["name"] == *run).unwrap()["keep"].clone();
    assert_eq!((kept(&first.run), kept(&of_redis.run)), (json!(false), json!(true)));
    prune(&["--keep-last", "1"]).run().exits(5).says(&["--yes"]);
    assert_eq!(state(&scene), before);
    prune(&["--keep-last", "1", "--yes"]).run().done();
    let left: Vec<String> = records(&scene).iter().filter(|r| r["kind"] == "Backup").map(run_of).collect();
    assert_eq!(left, std::slice::from_ref(&of_redis.run));
    until_none("nothing that no record names", seconds(60), || unnamed(&scene));
}

/// Fails unless the old data is whole: every row that was acknowledged before the restore began. What a database took
/// while it ran on the copies went with them.
#[track_caller]
pub(crate) fn rows_are_there(scene: &Scene, kind: Kind, began: i128, given_up: &mut GivenUp) {
    let acks = given_up.acks(scene, kind);
    let rows = scene.rows_in(kind, &kind.pod());
    let there: HashSet<i64> = rows.iter().map(|row| row.number).collect();
    let promised: Vec<i64> = acks.iter().filter(|ack| ack.acked < began).map(|ack| ack.number).collect();
    let lost: Vec<i64> = promised.iter().filter(|number| !there.contains(number)).copied().collect();
    given_up.add(kind, &acks, &rows);
    assert!(promised.len() > 50, "only {} rows before the restore", promised.len());
    assert!(lost.is_empty(), "{} lost {lost:?}", kind.name());
}

#[test]
fn nothing_is_restored_by_accident() {
    let scene = Scene::new("accident", &[Database::new(Kind::Redis)]);
    let taken = consistent(&scene, &[Kind::Redis], &[]);
    let before = state(&scene);
    let restore = |more: &[&str]| scene.plugin(&["restore-from-snapshot", &taken.run]).args(more);
    restore(&[]).run().exits(5).says(&["--yes"]);
    restore(&["--claims-only"]).run().exits(5).says(&["data-redis-0", "--suffix"]);
    restore(&["--dry-run"]).run().done();
    scene
        .plugin(&["restore-from-snapshot", "20260101-000000-none", "--yes"])
        .run()
        .exits(5)
        .says(&["20260101-000000-none"]);
    scene.plugin(&["delete", &taken.run]).run().exits(5).says(&["--yes"]);
    assert_eq!(state(&scene), before);
    // A claim of that name that is no copy of this backup; the same copy once more is no harm.
    let claim = json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "data-redis-0-taken"},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "64Mi"}}}});
    scene.kubectl.apply(&[claim]);
    restore(&["--claims-only", "--suffix", "taken"]).run().exits(5).says(&["data-redis-0-taken"]);
    let suffix = taken.copied(&scene);
    let uid = scene.uid(&format!("pvc/data-redis-0-{suffix}"));
    assert_eq!(taken.copied(&scene), suffix);
    assert_eq!(scene.uid(&format!("pvc/data-redis-0-{suffix}")), uid);
}
