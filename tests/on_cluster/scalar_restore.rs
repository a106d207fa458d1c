//! A release of ScalarDB comes back with its database: stopped before it, started after it, with other properties.

use serde_json::Value;

use crate::support::acks::{AckLog, now};
use crate::support::database::{Database, Kind};
use crate::support::leftovers::leases;
use crate::support::plugin::{Plugin, list, outcome_is, run_of, text};
use crate::support::random::Seeded;
use crate::support::scalar::{Product, Release};
use crate::support::scene::Scene;
use crate::support::verdict::{Row, Verdict, Window};
use crate::support::wait::seconds;
use crate::times;

const KEY: &str = "scalar.db.metadata.cache_expiration_time_secs";

/// A busy release of three pods in front of a PostgreSQL, and a backup of both.
struct Ground {
    scene: Scene,
    release: Release,
    acks: AckLog,
    backup: String,
    window: Window,
}

impl Ground {
    fn new(test: &str) -> Self {
        let scene = Scene::new(test, &[Database::new(Kind::Postgres).idle()]);
        let release = Release::new(&scene.kubectl, Product::ScalarDbCluster, "shop", &[]);
        let acks = release.busy();
        let record = scene.plugin(&["quiesce-snapshot", "--release", "shop", "statefulset/postgres", "-o", "json"]);
        let record = record.run().done().json();
        outcome_is(&record, "ApplicationConsistent");
        let window = Window::of(&record);
        acks.serves_after(now(), seconds(30));
        Self { scene, release, acks, backup: run_of(&record), window }
    }

    fn restore(&self, more: &[&str]) -> Plugin {
        self.scene.plugin(&[&["restore-from-snapshot", &self.backup, "--yes", "-o", "json"], more].concat())
    }

    fn rows(&self) -> Vec<Row> {
        let rows = self.scene.kubectl.exec(&Kind::Postgres.pod(), &["sh", "-c", Kind::Postgres.rows()]);
        Row::parse(&rows.done().stdout)
    }

    /// The text of its properties.
    fn properties(&self) -> String {
        let map = self.scene.kubectl.get(&format!("configmap/{}-node-properties", self.release.full_name));
        text(&map, "/data/scalardb-cluster-node.properties").to_owned()
    }

    /// Three pods, ready, and rows are taken through them.
    fn serves(&self) {
        self.release.wait_ready();
        assert_eq!(self.release.pods().len(), 3);
        self.acks.serves_after(now(), seconds(60));
        assert_eq!(leases(&self.scene), Vec::<String>::new());
    }
}

/// What it said of its steps, in their order.
fn order(said: &str, steps: &[&str]) {
    let at = steps.iter().map(|step| said.find(step).unwrap_or_else(|| panic!("no `{step}` in {said}")));
    let at: Vec<usize> = at.collect();
    assert!(at.is_sorted(), "{steps:?} at {at:?} in {said}");
}

#[test]
fn a_release_is_restored_with_its_database_and_with_other_properties() {
    let ground = Ground::new("scalar-restore");
    let before = ground.properties();
    assert!(!before.contains(KEY));
    let began = now();
    let ended = ground.restore(&["--set-property", &format!("{KEY}=77")]).run().done();
    let record = ended.json();
    outcome_is(&record, "Restored");
    let steps = ["stopping: pod/shop-", "stopping: pod/postgres-0", "recovered", "starting what stands in front"];
    order(&ended.stderr, &steps);
    assert_eq!(list(&record, "/status/pods/differences"), &[] as &[Value]);
    assert_eq!(list(&record, "/status/pods/after").len(), 4);
    assert_eq!(ground.properties(), format!("{before}{KEY}=77\n"));
    // In this order: a row that is written meanwhile is not missing.
    ground.serves();
    let (acks, rows) = (ground.acks.all(), ground.rows());
    Verdict::of(&acks, &rows, ground.window, Some(began)).is_right("postgres behind a release");

    let undone = ground.scene.plugin(&["restore-from-snapshot", "--undo", &run_of(&record), "--yes", "-o", "json"]);
    outcome_is(&undone.run().done().json(), "RestoredOldVolumes");
    assert_eq!(ground.properties(), before);
    ground.serves();

    // Of the release there is no copy to start.
    let verified = ground.scene.plugin(&["verify", &ground.backup, "-o", "json"]).run().done().json();
    assert_eq!(list(&verified, "/status/verified/targets").len(), 1, "{verified:#}");
}

#[test]
fn killed_in_the_middle_it_serves_again_on_its_old_data_with_its_old_properties() {
    /// The intent to stop, and what follows when the database has recovered: from there it goes on instead.
    const EVENTS: (u64, u64) = (4, 10);
    let ground = Ground::new("scalar-killed");
    let before = ground.properties();
    let mut random = Seeded::of_run();
    for _ in 0..times(1, 10) {
        let event = u32::try_from(EVENTS.0 + random.below(EVENTS.1 - EVENTS.0)).unwrap();
        println!("killed at event {event}");
        let told = ground.acks.all();
        let died = ground.restore(&["--set-property", &format!("{KEY}=77")]).dies_at(event).run();
        assert_eq!(died.code(), None, "{died}");
        ground.scene.plugin(&["thaw", "--force"]).run().done();
        ground.serves();
        assert_eq!(ground.properties(), before, "after event {event}");
        let rows: Vec<i64> = ground.rows().iter().map(|row| row.number).collect();
        let lost: Vec<i64> = told.iter().map(|ack| ack.number).filter(|number| !rows.contains(number)).collect();
        assert!(lost.is_empty(), "after event {event}: {lost:?} are lost");
    }
}

/// Its databases are somebody else's: nothing of it is copied, and only its properties are set.
#[test]
fn a_release_alone_gets_the_properties_of_what_was_restored_elsewhere() {
    let ground = Ground::new("scalar-set");
    let window = ["quiesce-snapshot", "--release", "shop", "--backend", "window", "--hold", "1s", "-o", "json"];
    let backup = run_of(&ground.scene.plugin(&window).run().done().json());
    let refused = ground.scene.plugin(&["restore-from-snapshot", &backup, "--yes"]).run();
    assert_eq!(refused.code(), Some(5), "{refused}");
    assert!(
        refused.stderr.contains(&format!("describe {backup}")) && refused.stderr.contains("-o runbook"),
        "{refused}"
    );

    let set = format!("shop:{KEY}=78");
    let restore = ["restore-from-snapshot", &backup, "--yes", "--set-property", &set, "-o", "json"];
    let before = ground.release.pods();
    let ended = ground.scene.plugin(&restore).run().done();
    outcome_is(&ended.json(), "Restored");
    assert!(ground.properties().ends_with(&format!("{KEY}=78\n")), "{}", ground.properties());
    ground.serves();
    assert!(ground.release.pods().iter().all(|pod| !before.contains(pod)), "they have not read it");

    let secret = ["restore-from-snapshot", &backup, "--yes", "--set-property", "scalar.db.password=sesame"];
    let refused = ground.scene.plugin(&secret).run();
    assert!(refused.code() == Some(5) && !refused.stderr.contains("sesame"), "{refused}");
}
