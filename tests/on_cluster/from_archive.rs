//! A backup in archive mode is restored and goes on with archived WAL: to the last of it, to a moment, or back where that
//! cannot be.

use serde_json::Value;

use crate::support::database::Kind;
use crate::support::leftovers::records;
use crate::support::plugin::{Plugin, list, outcome_is, run_of, text};
use crate::support::scene::Scene;
use crate::support::user::Colleague;
use crate::support::wait::seconds;
use crate::wal_archive::{archiving, asked, until_archived};

const COMMAND: [&str; 2] = ["--restore-command", "cp /archive/%f %p"];

/// A PostgreSQL that archives, and its backup in archive mode.
struct Ground {
    scene: Scene,
    /// With what `rbac` prints, and nothing else.
    colleague: Colleague,
    backup: String,
    record: Value,
}

impl Ground {
    fn new() -> Self {
        let scene = Scene::new("from-archive", &[archiving()]);
        let colleague = Colleague::of(&scene);
        asked(&scene, "CREATE TABLE marks (name text)");
        scene.kubectl.ok(&["annotate", "pod", &Kind::Postgres.pod(), "consistent-backup/hold=archive"]);
        let record = scene.backup(&[]).run().done().json();
        outcome_is(&record, "ApplicationConsistent");
        Self { backup: run_of(&record), scene, colleague, record }
    }

    fn restore(&self, target: &str) -> Plugin {
        let plugin = self.scene.plugin(&["restore-from-snapshot", &self.backup, "--yes", "-o", "json"]);
        plugin.args(COMMAND).args(["--recovery-target", target]).kubeconfig(&self.colleague.kubeconfig)
    }

    /// Writes a mark that is in the archive afterwards.
    fn mark(&self, name: &str) {
        asked(&self.scene, &format!("INSERT INTO marks VALUES ('{name}')"));
        let written = asked(&self.scene, "SELECT pg_walfile_name(pg_switch_wal())");
        until_archived(&self.scene, &written);
    }

    fn marks(&self) -> String {
        asked(&self.scene, "SELECT string_agg(name, ',' ORDER BY name) FROM marks")
    }

    fn now(&self) -> String {
        asked(&self.scene, "SELECT to_char(clock_timestamp() AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS.US') || '+00'")
    }

    fn timeline(&self) -> u32 {
        let name = asked(&self.scene, "SELECT substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8)");
        u32::from_str_radix(&name, 16).unwrap()
    }

    /// What is left of pods in which copies are prepared.
    fn helpers(&self) -> Vec<String> {
        let names = self.scene.kubectl.ok(&["get", "pods", "-l", "consistent-backup/restored-by", "-o", "name"]);
        names.lines().map(str::to_owned).collect()
    }

    /// A restore to this target, killed while its copy is being prepared; its run.
    fn killed_preparing(&self, target: &str) -> String {
        let mut running = self.restore(target).start();
        running.until_says("from the archive: pod/consistent-backup-", seconds(180));
        running.kill_hard();
        running.end(seconds(10));
        let records = records(&self.scene);
        let is = |r: &&Value| r["kind"] == "Restore" && text(r, "/status/outcome") == "Running";
        run_of(records.iter().find(is).expect("a restore that is not over"))
    }

    /// That the server left nothing of its recovery behind, and archives on its new timeline.
    fn goes_on(&self) {
        let settings = "SELECT count(*) FROM pg_file_settings WHERE name ~ '^recovery_target|^restore_command'";
        assert_eq!(asked(&self.scene, settings), "0", "a replica would copy them");
        let written = asked(&self.scene, "SELECT pg_walfile_name(pg_switch_wal())");
        until_archived(&self.scene, &written);
        assert_eq!(self.helpers(), Vec::<String>::new());
    }
}

#[test]
fn to_the_last_of_the_archive_to_a_moment_and_back() {
    let ground = Ground::new();
    let scene = &ground.scene;
    let archive = scene.uid("pvc/archive-postgres-0");
    ground.mark("first");
    let between = ground.now();
    ground.mark("second");

    // All of it is refused before anything is touched.
    let end = text(&ground.record, "/status/window/start").to_owned();
    ground.restore(&format!("time={end}")).run().exits(5).says(&["lies before the end of backup", &ground.backup]);
    ground.restore("time=2099-01-01 00:00:00+00").run().exits(5).says(&["has not come yet"]);
    ground.restore("lsn=0/28").run().exits(5).says(&["pod/postgres-0: lsn=0/28 lies before the end of the backup"]);
    ground.restore("soon").run().exits(2).says(&["latest, immediate, time="]);
    scene.kubectl.ok(&["annotate", "pod", &Kind::Postgres.pod(), "consistent-backup/hold-"]);
    let light = run_of(&scene.backup(&[]).run().done().json());
    let refused = scene.plugin(&["restore-from-snapshot", &light, "--yes"]).args(COMMAND).run().exits(5);
    refused.says(&["it was not backed up in archive mode", "consistent-backup/hold: archive"]);

    let planned = ground.restore("latest").args(["--dry-run"]).run().done().json();
    let files = list(&planned, "/archive/recovery/files").to_vec();
    let names: Vec<&str> = files.iter().map(|f| text(f, "/path").rsplit('/').next().unwrap()).collect();
    assert_eq!(names, ["backup_label", "postgresql.auto.conf", "recovery.signal"]);

    // The data is destroyed; what was archived since the backup comes back.
    scene.kubectl.exec(&Kind::Postgres.pod(), &["sh", "-c", "rm -rf \"$PGDATA\"/base/*"]).done();
    let record = ground.restore("latest").run().done().json();
    outcome_is(&record, "Restored");
    assert_eq!((ground.marks().as_str(), ground.timeline()), ("first,second", 2));
    assert_eq!(text(&record, "/status/recovery/recoveredTo/timeline"), "2", "{record:#}");
    assert_eq!(list(&record, "/status/afterwards"), &[] as &[Value]);
    ground.goes_on();
    assert_eq!(scene.uid("pvc/archive-postgres-0"), archive, "the archive is not replaced");
    scene.all_serve(seconds(60));

    // Killed while the copy is prepared: back to what was there, or forward.
    let moment = format!("time={between}");
    let undone = ground.killed_preparing(&moment);
    let undo = ["restore-from-snapshot", "--undo", &undone, "--yes", "-o", "json"];
    outcome_is(&scene.plugin(&undo).kubeconfig(&ground.colleague.kubeconfig).run().done().json(), "RestoredOldVolumes");
    assert_eq!((ground.marks().as_str(), ground.timeline()), ("first,second", 2));
    ground.goes_on();

    let resumed = ground.killed_preparing(&moment);
    let resume = ["restore-from-snapshot", "--resume", &resumed, "-o", "json"];
    let record = scene.plugin(&resume).kubeconfig(&ground.colleague.kubeconfig).run().done().json();
    outcome_is(&record, "Restored");
    assert_eq!((ground.marks().as_str(), ground.timeline()), ("first", 3));
    ground.goes_on();
    scene.all_serve(seconds(60));

    // A target that never comes: the server says so, and the old volumes are back.
    let record = ground.restore("name=nowhere").run().exits(1).json();
    outcome_is(&record, "RestoredOldVolumes");
    let reason = text(&record, "/status/reason");
    assert!(reason.contains("recovery ended before configured recovery target was reached"), "{reason}");
    assert_eq!((ground.marks().as_str(), ground.timeline()), ("first", 3));
    ground.goes_on();
    scene.all_serve(seconds(60));
}
