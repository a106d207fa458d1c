//! A backup comes back: in place under load, as copies, and not at all where that would lose what is there.

use std::collections::{BTreeMap, HashSet};

use serde_json::{Value, json};

use crate::support::acks::{Ack, now};
use crate::support::backup::{Taken, consistent, part};
use crate::support::cluster;
use crate::support::copies;
use crate::support::database::{Database, Kind};
use crate::support::journal;
use crate::support::kubectl::names;
use crate::support::leftovers::{leases, records, state, unnamed};
use crate::support::plugin::{Plugin, list, outcome_is, run_of, text};
use crate::support::scene::Scene;
use crate::support::verdict::{Row, Verdict};
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
    scene.all_serve(seconds(60));
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
    for round in 0..times(1, 20) {
        let taken = consistent(&scene, &Kind::ALL, &[]);
        if round == 0 {
            part("a restore that fails goes back", || a_restore_that_fails_goes_back(&scene, &taken, &mut given_up));
        }
        part("in place under load", || in_place_under_load(&scene, &taken, &mut given_up));
        scene.plugin(&["delete", &taken.run, "--yes"]).run().done();
        until_none("the backup to be gone", seconds(60), || unnamed(&scene));
    }
    scene.all_serve(seconds(30));
    assert_eq!(records(&scene), Vec::<Value>::new());
    let left = state(&scene).into_iter().filter(|line| !line.contains("PersistentVolumeClaim")).collect::<Vec<_>>();
    assert_eq!(generations_aside(&left), generations_aside(&clean), "something was left behind");
    for (claim, volume) in volumes(&scene, &Kind::ALL) {
        assert_eq!(policy(&scene, &volume), "Delete", "the volume of {claim} has its class's policy");
    }
}

/// The reclaim policy of a volume.
fn policy(scene: &Scene, volume: &str) -> String {
    scene.kubectl.value(&format!("pv/{volume}"), "/spec/persistentVolumeReclaimPolicy")
}

/// Waits until the volumes are deleted with their claims again, as their class has it.
fn until_policies_are_back<'a>(scene: &Scene, volumes: impl Iterator<Item = &'a String>) {
    for volume in volumes {
        until(&format!("the policy of {volume} to be what it was"), seconds(60), || match policy(scene, volume) {
            policy if policy == "Delete" => Ok(()),
            policy => Err(policy),
        });
    }
}

/// Deletes a restore, and waits until the volumes that only it kept are gone.
fn delete_with_volumes(scene: &Scene, run: &str, volumes: &[String]) {
    scene.plugin(&["delete", run, "--yes"]).run().done();
    until_none("the volumes that the restore kept to be gone", seconds(120), || {
        let all = names(&scene.kubectl.list(&["persistentvolumes"]));
        volumes.iter().filter(|volume| all.contains(volume)).cloned().collect()
    });
}

fn in_place_under_load(scene: &Scene, taken: &Taken, given_up: &mut GivenUp) {
    let record = restored(scene, taken, given_up);
    let run = run_of(&record);
    let listed = records(scene);
    assert!(listed.iter().any(|record| run_of(record) == run && record["kind"] == "Restore"), "{listed:#?}");
    let old: Vec<String> = list(&record, "/status/claims").iter().map(|c| text(c, "/oldVolume").to_owned()).collect();
    delete_with_volumes(scene, &run, &old);
}

/// The storage lost the copy, and nobody knows: the new claim is never bound, and the old data comes back.
fn a_restore_that_fails_goes_back(scene: &Scene, taken: &Taken, given_up: &mut GivenUp) {
    let kinds = &taken.kinds;
    let before = volumes(scene, kinds);
    let claims = list(&taken.record, "/status/claims");
    let handle = text(claims.iter().find(|claim| claim["claim"] == Kind::Mariadb.claim()).unwrap(), "/handle");
    let lost = cluster::state().join(format!("csi/snapshots/{handle}.json"));
    std::fs::rename(&lost, lost.with_extension("lost")).unwrap();

    let began = now();
    let restore = restore_of(scene, taken, &["--yes", "--wait", "20s", "-o", "json"]);
    let record = restore.run().exits(1).json();
    outcome_is(&record, "RestoredOldVolumes");
    assert!(!text(&record, "/status/reason").is_empty(), "{record:#}");
    assert_eq!(volumes(scene, kinds), before, "the claims are bound to the volumes from before");
    scene.all_serve(seconds(60));
    for kind in kinds {
        rows_are_there(scene, *kind, began, given_up);
    }
    until_policies_are_back(scene, before.values());
    std::fs::rename(lost.with_extension("lost"), &lost).unwrap();
    scene.plugin(&["delete", &run_of(&record), "--yes"]).run().done();
}

/// `restore-from-snapshot` of this backup.
fn restore_of(scene: &Scene, taken: &Taken, more: &[&str]) -> Plugin {
    scene.plugin(&["restore-from-snapshot", &taken.run]).args(more)
}

fn undo_of(scene: &Scene, run: &str, more: &[&str]) -> Plugin {
    scene.plugin(&["restore-from-snapshot", "--undo", run]).args(more)
}

/// Stopping and starting changes a workload's generation, and nothing else of what is compared.
fn generations_aside(lines: &[String]) -> Vec<&str> {
    lines.iter().map(|line| line.rsplit_once(' ').unwrap().0).collect()
}

const TWO: [Kind; 2] = [Kind::Redis, Kind::Postgres];

/// Redis, of which the controller deletes the claims when it is scaled down, and PostgreSQL.
#[test]
fn a_part_comes_back_and_restores_are_taken_back() {
    let deletes = json!({"whenScaled": "Delete", "whenDeleted": "Delete"});
    let redis = Database::new(Kind::Redis)
        .edit(move |set| set["spec"]["persistentVolumeClaimRetentionPolicy"] = deletes.clone());
    let databases = [redis, Database::new(Kind::Postgres)].map(|database| database.every("20ms").unprobed());
    let scene = Scene::new("taken-back", &databases);
    let first = consistent(&scene, &TWO, &[]);
    let taken = consistent(&scene, &TWO, &[]);
    let mut given_up = GivenUp::default();
    part("nothing is restored by accident", || nothing_is_restored_by_accident(&scene, &taken));
    // Killed before the undo's first request, between securing and stopping, and on the way back.
    let moments = if times(0, 1) == 1 { &[None, Some(1), Some(3), Some(6), Some(8)][..] } else { &[None] };
    for &event in moments {
        part(&format!("a restore that succeeded is taken back, killed at {event:?}"), || {
            a_restore_that_succeeded_is_taken_back(&scene, &taken, event, &mut given_up);
        });
    }
    let restored =
        part("a part of a backup comes back", || a_part_of_a_backup_comes_back(&scene, &taken, &mut given_up));
    part("all but the newest backup go", || all_but_the_newest_backup_go(&scene, &first, &taken));
    part("what cannot be taken back is refused", || what_cannot_be_taken_back_is_refused(&scene, &taken, &restored));
}

/// After days on what was restored the user thinks better of it: the old data is back whole, and what was written since
/// is kept until the restore is deleted. Killed on the way it is finished by the same command.
fn a_restore_that_succeeded_is_taken_back(scene: &Scene, taken: &Taken, event: Option<u32>, given_up: &mut GivenUp) {
    let before = volumes(scene, &TWO);
    let began = now();
    let restored = restore_of(scene, taken, &["--yes", "-o", "json"]).run().done().json();
    scene.all_serve(seconds(60));
    let new = volumes(scene, &TWO);
    let run = run_of(&restored);
    let undo = || undo_of(scene, &run, &["--yes", "-o", "json"]);
    if let Some(event) = event {
        // Events are counted from the restore's first one.
        let ended = undo().dies_at(journal::count(scene, &run) + event).run();
        assert!(ended.was_killed(), "{ended}");
        outcome_is(&scene.plugin(&["describe", &run, "-o", "json"]).run().done().json(), "Running");
    }
    let record = undo().run().done().json();
    outcome_is(&record, "RestoredOldVolumes");
    assert_eq!(text(&record, "/status/reason"), "undone");
    assert_eq!(volumes(scene, &TWO), before, "the claims are bound to the volumes from before");
    scene.all_serve(seconds(60));
    for kind in TWO {
        rows_are_there(scene, kind, began, given_up);
    }
    until_policies_are_back(scene, before.values());
    for volume in new.values() {
        assert_eq!(policy(scene, volume), "Retain", "{volume} holds what was written since");
    }
    let again = undo().run().done();
    outcome_is(&again.json(), "RestoredOldVolumes");
    assert_eq!(volumes(scene, &TWO), before, "once is enough");
    delete_with_volumes(scene, &run, &new.into_values().collect::<Vec<_>>());
    until_none("no lease", seconds(30), || leases(scene));
}

/// An undo that cannot work is refused with its reasons before anything is touched. `first` is a restore of Redis;
/// in the end it is taken back.
fn what_cannot_be_taken_back_is_refused(scene: &Scene, taken: &Taken, first: &str) {
    let undo = |run: &str, more: &[&str]| undo_of(scene, run, more).run();
    undo(first, &[]).exits(5).says(&["--yes"]);
    undo(first, &["--dry-run"]).done();
    undo(&taken.run, &[]).exits(5).says(&["is a backup, not a restore"]);
    undo("20260101-000000-none", &[]).exits(5).says(&["20260101-000000-none"]);
    scene.plugin(&["restore-from-snapshot", "--resume", first]).run().done().says(&["nothing is left to do"]);
    restore_of(scene, taken, &["--undo", first]).run().exits(2);
    scene.plugin(&["restore-from-snapshot"]).run().exits(2);
    let second = restore_of(scene, taken, &["--only", "sts/redis", "--yes", "-o", "json"]).run().done().json();
    let second = run_of(&second);
    let before = state(scene);
    undo(first, &["--yes"]).exits(5).says(&["data-redis-0", &second, "undo that one first"]);
    assert_eq!(state(scene), before);
    undo(&second, &["--yes"]).done();
    undo(first, &["--yes"]).done();
    scene.all_serve(seconds(60));
    for run in [&second, first] {
        scene.plugin(&["delete", run, "--yes"]).run().done();
    }
}

/// One database of a backup comes back, and the others are not touched; the restore.
fn a_part_of_a_backup_comes_back(scene: &Scene, taken: &Taken, given_up: &mut GivenUp) -> String {
    let (volumes_before, uid) = (volumes(scene, &TWO), scene.uid("pod/postgres-0"));
    let restore = |more: &[&str]| restore_of(scene, taken, &[&["--yes"], more].concat()).run();
    restore(&["--only", "sts/none"]).exits(5).says(&["statefulset/none", "statefulset/redis"]);
    restore(&["--claim", "none"]).exits(5).says(&["data-redis-0"]);
    restore(&["--only", "none"]).exits(2);
    damage(scene, &[Kind::Redis]);
    let began = now();
    restore(&["--only", "sts/redis"]).done().says(&["does not share its instant", "postgres-0"]);
    scene.all_serve(seconds(60));
    let of_redis = Taken { run: taken.run.clone(), record: taken.record.clone(), kinds: vec![Kind::Redis], ..*taken };
    rows_are_right(scene, &of_redis, began, given_up);
    let after = volumes(scene, &TWO);
    assert_eq!(after["data-postgres-0"], volumes_before["data-postgres-0"]);
    assert_ne!(after["data-redis-0"], volumes_before["data-redis-0"]);
    assert_eq!(scene.uid("pod/postgres-0"), uid, "it was never stopped");
    let restores: Vec<Value> = records(scene).into_iter().filter(|record| record["kind"] == "Restore").collect();
    assert_eq!(restores.len(), 1, "{restores:#?}");
    run_of(&restores[0])
}

fn all_but_the_newest_backup_go(scene: &Scene, first: &Taken, taken: &Taken) {
    let prune = |more: &[&str]| scene.plugin(&["prune"]).args(more).run();
    prune(&[]).exits(2);
    let before = state(scene);
    let plan = prune(&["--keep-last", "1", "--dry-run", "-o", "json"]).done().json();
    let kept = |run: &str| list(&plan, "/items").iter().find(|item| item["name"] == *run).unwrap()["keep"].clone();
    assert_eq!((kept(&first.run), kept(&taken.run)), (json!(false), json!(true)));
    prune(&["--keep-last", "1"]).exits(5).says(&["--yes"]);
    assert_eq!(state(scene), before);
    prune(&["--keep-last", "1", "--yes"]).done();
    let left: Vec<String> = records(scene).iter().filter(|r| r["kind"] == "Backup").map(run_of).collect();
    assert_eq!(left, std::slice::from_ref(&taken.run));
    until_none("nothing that no record names", seconds(60), || unnamed(scene));
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

fn nothing_is_restored_by_accident(scene: &Scene, taken: &Taken) {
    let before = state(scene);
    let restore = |more: &[&str]| restore_of(scene, taken, more).run();
    restore(&[]).exits(5).says(&["--yes"]);
    restore(&["--claims-only"]).exits(5).says(&["data-redis-0", "--suffix"]);
    restore(&["--dry-run"]).done();
    scene
        .plugin(&["restore-from-snapshot", "20260101-000000-none", "--yes"])
        .run()
        .exits(5)
        .says(&["20260101-000000-none"]);
    scene.plugin(&["delete", &taken.run]).run().exits(5).says(&["--yes"]);
    assert_eq!(state(scene), before);
    // A claim of that name that is no copy of this backup; the same copy once more is no harm.
    let claim = json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "data-redis-0-taken"},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "64Mi"}}}});
    scene.kubectl.apply(&[claim]);
    restore(&["--claims-only", "--suffix", "taken"]).exits(5).says(&["data-redis-0-taken"]);
    let suffix = taken.copied(scene);
    let uids = || TWO.map(|kind| scene.uid(&format!("pvc/{}-{suffix}", kind.claim())));
    let made = uids();
    assert_eq!(taken.copied(scene), suffix);
    assert_eq!(uids(), made);
    scene.kubectl.ok(&["delete", "pvc", "data-redis-0-taken"]);
    copies::delete(scene, &TWO, &suffix);
    until_none("the copies to be gone", seconds(60), || {
        names(&scene.kubectl.list(&["pvc"])).into_iter().filter(|claim| claim.ends_with(&suffix)).collect()
    });
}
