//! PostgreSQL that archives its WAL on a claim of its own.

use serde_json::{Value, json};

use crate::support::backup::{Taken, consistent, part, written};
use crate::support::database::{Database, Kind};
use crate::support::plugin::{list, outcome_is, run_of, text};
use crate::support::scene::Scene;
use crate::support::verdict::Window;
use crate::support::wait::{seconds, until};

/// Overwrites nothing, as the manual has it; and a server that is killed leaves no part of a segment under its name.
const ARCHIVE: &str = "archive_command=test ! -f /archive/%f && cp %p /archive/part && mv /archive/part /archive/%f";

/// With a claim on which it archives.
pub(crate) fn archiving() -> Database {
    Database::new(Kind::Postgres).every("40ms").edit(|set| {
        let mut template = set["spec"]["volumeClaimTemplates"][0].clone();
        template["metadata"]["name"] = json!("archive");
        set["spec"]["volumeClaimTemplates"].as_array_mut().unwrap().push(template);
        let pod = &mut set["spec"]["template"]["spec"];
        let mount = json!({"name": "archive", "mountPath": "/archive"});
        pod["initContainers"] = json!([{"name": "own", "image": "localhost/postgres:15",
            "command": ["chown", "postgres", "/archive"], "volumeMounts": [mount]}]);
        let container = &mut pod["containers"][0];
        container["volumeMounts"].as_array_mut().unwrap().push(mount);
        container["args"] = json!(["-c", "archive_mode=on", "-c", ARCHIVE]);
    })
}

pub(crate) fn asked(scene: &Scene, question: &str) -> String {
    let psql = ["psql", "-X", "-At", "-U", "app", "-d", "app", "-c", question];
    scene.kubectl.exec(&Kind::Postgres.pod(), &psql).done().stdout.trim().to_owned()
}

pub(crate) fn until_answers(scene: &Scene, question: &str, answer: &str) {
    // A segment that was not archived is tried again after a minute.
    until(&format!("{question} to be {answer}"), seconds(180), || match asked(scene, question) {
        said if said == answer => Ok(()),
        said => Err(said),
    });
}

/// Waits until this segment is archived. A later one may be by then: the writer goes on.
pub(crate) fn until_archived(scene: &Scene, segment: &str) {
    until_answers(scene, &format!("SELECT last_archived_wal >= '{segment}' FROM pg_stat_archiver"), "t");
}

/// The name of a segment of timeline 1 in a text.
fn segment(text: &str) -> &str {
    let at = text.find("00000001").unwrap_or_else(|| panic!("no segment in: {text}"));
    &text[at..at + 24]
}

#[test]
fn backups_and_restores_with_an_archive_of_wal() {
    let scene = Scene::new("archive", &[archiving()]);
    part("a base for recoveries from the archive", || a_base_for_recoveries_from_the_archive(&scene));
    part("an archive that takes nothing", || an_archive_that_takes_nothing(&scene));
    part("what collides with the archive is named", || what_collides_with_the_archive_is_named(&scene));
}

fn what_collides_with_the_archive_is_named(scene: &Scene) {
    let claim = "pvc/archive-postgres-0";
    let archive = scene.uid(claim);
    let taken = consistent(scene, &[Kind::Postgres], &[]);
    let notes = format!("{:?}", list(&taken.record, "/status/notes"));
    assert!(notes.contains("archive-postgres-0") && notes.contains("archives its WAL in /archive"), "{notes}");
    // The old server archives what the restored one will write anew.
    let current = asked(scene, "SELECT pg_walfile_name(pg_switch_wal())");
    until_archived(scene, &current);

    let restore = ["restore-from-snapshot", &taken.run, "--yes", "-o", "json"];
    let planned = scene.plugin(&["restore-from-snapshot", &taken.run, "--dry-run"]).run().done();
    let restored: Value = scene.plugin(&restore).run().done().json();
    let left = list(&restored, "/status/afterwards")[0].as_str().unwrap();
    let named = segment(left);
    assert!(planned.stdout.contains(left), "the plan says it beforehand\n{planned}");
    assert_eq!(scene.uid(claim), archive, "the archive is not replaced");

    // It is the first one at which archiving fails.
    asked(scene, "SELECT pg_switch_wal()");
    until_answers(scene, "SELECT last_failed_wal FROM pg_stat_archiver", named);
    let aside = format!(
        "cd /archive && mkdir aside && for f in *; do case $f in aside) ;; *) \
        if [ ! \"$f\" \\< {named} ]; then mv \"$f\" aside; fi;; esac; done"
    );
    scene.kubectl.exec(&Kind::Postgres.pod(), &["bash", "-c", &aside]).done();
    until_answers(scene, "SELECT last_archived_wal >= last_failed_wal FROM pg_stat_archiver", "t");
}

/// Asked to, the server makes a backup of its own around the cut; its last segment must be in the archive.
fn a_base_for_recoveries_from_the_archive(scene: &Scene) {
    scene.kubectl.ok(&["annotate", "pod", &Kind::Postgres.pod(), "consistent-backup/hold=archive"]);
    written(&scene.acks(Kind::Postgres), "postgres");
    let record = scene.backup(&[]).run().done().json();
    outcome_is(&record, "ApplicationConsistent");
    let window = Window::of(&record);
    let taken = Taken { run: run_of(&record), record, window, kinds: vec![Kind::Postgres] };
    let point = &list(&taken.record, "/status/targets")[0]["recoveryPoint"];
    let stop = point["stopSegment"].as_str().unwrap();
    let archived = scene.kubectl.exec(&Kind::Postgres.pod(), &["ls", "/archive"]).done().stdout;
    assert!(archived.contains(&format!("{stop}\n")), "{stop} is not among {archived}");
    let label = ["sh", "-c", &format!("echo {} | base64 -d", point["backupLabel"].as_str().unwrap())];
    let label = scene.kubectl.exec(&Kind::Postgres.pod(), &label).done().stdout;
    let start = format!("START WAL LOCATION: {} (file ", point["startLsn"].as_str().unwrap());
    assert!(
        label.starts_with(&start) && label.contains(&format!("LABEL: consistent-backup/{}/1\n", taken.run)),
        "{label}"
    );
    // It is a light hold as well: without the archive it recovers to its cut.
    taken.copies_are_right(scene);
}

/// The copies are there, and no base for a recovery. Afterwards it takes everything again.
fn an_archive_that_takes_nothing(scene: &Scene) {
    let in_postgres = |script: &str| scene.kubectl.exec(&Kind::Postgres.pod(), &["sh", "-c", script]).done();
    in_postgres("chown root /archive");
    let without = scene.backup(&["--wait", "10s"]).run().exits(3).json();
    outcome_is(&without, "CrashConsistent");
    assert!(text(&without, "/status/reason").contains("was not seen archived"), "{without:#}");
    in_postgres("chown postgres /archive");
    let missing = asked(scene, "SELECT pg_walfile_name(pg_switch_wal())");
    until_archived(scene, &missing);
    scene.kubectl.ok(&["annotate", "pod", &Kind::Postgres.pod(), "consistent-backup/hold-"]);
}
