//! Releases of ScalarDB and ScalarDL come back with their databases: stopped before them, started after them, with other
//! properties.

use serde_json::{Value, json};

use crate::support::acks::{AckLog, now};
use crate::support::backup::{part, written};
use crate::support::cluster;
use crate::support::database::{Database, Kind};
use crate::support::leftovers::leases;
use crate::support::plugin::{Plugin, list, outcome_is, run_of, text};
use crate::support::random::Seeded;
use crate::support::scalar::{Product, Release};
use crate::support::scene::Scene;
use crate::support::user;
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
        written(&acks, "shop");
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
        rows(&self.scene, Kind::Postgres)
    }

    /// The restore that was begun last.
    fn last(&self) -> Value {
        let listed = self.scene.plugin(&["list", "-o", "json"]).run().done().json();
        let restores = list(&listed, "/items").iter().filter(|item| item["kind"] == "Restore");
        restores.max_by_key(|item| run_of(item)).unwrap().clone()
    }

    /// Three pods, ready, and rows are taken through them.
    fn serves(&self) {
        self.release.wait_ready();
        assert_eq!(self.release.pods().len(), 3);
        self.acks.serves_after(now(), seconds(60));
        assert_eq!(leases(&self.scene), Vec::<String>::new());
    }
}

fn rows(scene: &Scene, of: Kind) -> Vec<Row> {
    Row::parse(&scene.kubectl.exec(&of.pod(), &["sh", "-c", of.rows()]).done().stdout)
}

/// What it said of its steps, in their order.
fn order(said: &str, steps: &[&str]) {
    let at = steps.iter().map(|step| said.find(step).unwrap_or_else(|| panic!("no `{step}` in {said}")));
    let at: Vec<usize> = at.collect();
    assert!(at.is_sorted(), "{steps:?} at {at:?} in {said}");
}

/// Somebody who may do in a namespace with a release what its restore takes, and see and change the one Secret.
fn may_restore_release(apps: &Scene, user: &str, secret: &str) {
    let rule = |group: &str, resource: &str, verbs: &[&str]| json!({"apiGroups": [group], "resources": [resource], "verbs": verbs});
    let mut of_secret = rule("", "secrets", &["get", "patch"]);
    of_secret["resourceNames"] = json!([secret]);
    let rules = json!([
        rule("", "configmaps", &["list"]),
        rule("", "pods", &["get", "list"]),
        rule("apps", "deployments", &["get", "patch"]),
        rule("coordination.k8s.io", "leases", &["create", "delete", "get", "patch"]),
        of_secret,
    ]);
    let (api, named) = ("rbac.authorization.k8s.io", json!({"name": "of-release"}));
    let role = json!({"apiVersion": format!("{api}/v1"), "kind": "Role", "metadata": named, "rules": rules});
    let binding = json!({"apiVersion": format!("{api}/v1"), "kind": "RoleBinding", "metadata": named,
        "roleRef": {"apiGroup": api, "kind": "Role", "name": "of-release"},
        "subjects": [{"apiGroup": api, "kind": "User", "name": user}]});
    apps.kubectl.apply(&[role.clone(), binding]);
    user::until_may(&apps.kubectl, user, &role);
}

/// Ledger is elsewhere than its database, and its properties lie in a Secret; Auditor's lie where the chart has them.
#[test]
fn ledger_and_auditor_are_restored_in_one_run_with_other_properties_and_taken_back() {
    let scene =
        Scene::new("scalar-restore", &[Kind::Postgres, Kind::SecondPostgres].map(|kind| Database::new(kind).idle()));
    let apps = Scene::new("scalar-apps", &[]);
    let address = scene.kubectl.value("service/postgres", "/spec/clusterIP");
    // Defined twice, the one in force over two lines: every byte of it comes back.
    let (first, second) = (format!("{KEY}=10"), format!("{KEY} : 1\\\n   00"));
    let indented = second.replace('\n', "\n    ");
    let odd = ["--replicas", "2", "--secret", "--database", &address, "--property", &first, "--property", &indented];
    let ledger = Release::new(&apps.kubectl, Product::Ledger, "ledger", &odd);
    let plain = ["--replicas", "2", "--database", Kind::SecondPostgres.name()];
    let auditor = Release::new(&scene.kubectl, Product::Auditor, "auditor", &plain);
    let acks = [(Kind::Postgres, ledger.busy()), (Kind::SecondPostgres, auditor.busy())];
    let before = (ledger.properties(), auditor.properties());
    assert!(before.0.ends_with(&format!("{second}\n")) && !before.1.contains(KEY), "{before:?}");

    let elsewhere = format!("{}/ledger", apps.namespace());
    for (kind, acks) in &acks {
        written(acks, kind.name());
    }
    let named = ["--release", "auditor", "--release", &elsewhere, "statefulset/postgres", "statefulset/postgres-two"];
    let record = scene.plugin(&["quiesce-snapshot", "-o", "json"]).args(named).run().done().json();
    outcome_is(&record, "ApplicationConsistent");
    let (backup, window) = (run_of(&record), Window::of(&record));
    let take_rows = || {
        for (_, acks) in &acks {
            acks.serves_after(now(), seconds(60));
        }
    };
    take_rows();

    // Copies are of the databases only, and who wants a release in front of them is told their names.
    for secret in ["postgres", "postgres-two"] {
        apps.kubectl.ok(&["create", "secret", "generic", secret, "--from-literal=password=postgres-password"]);
    }
    let copy = ["restore-from-snapshot", &backup, "--to-namespace", apps.namespace(), "--dry-run"];
    let copied = scene.plugin(&copy).run().done().stdout;
    let hosts = format!("name their Services: postgres.{0}, postgres-two.{0}", apps.namespace());
    assert!(copied.contains(&format!("releases {elsewhere}, ")) && copied.contains(&hosts), "{copied}");

    // By somebody who has no other rights than this takes; an autoscaler acts as soon as it may.
    let user = format!("restorer-of-{}", scene.namespace());
    user::give(&scene, &user, &["--platform", "scalar"]);
    may_restore_release(&apps, &user, "ledger-scalardl-ledger-properties");
    let folder = tempfile::tempdir().unwrap();
    let kubeconfig = cluster::kubeconfig_of(&user, folder.path());
    let set = [format!("{elsewhere}:{KEY}=77"), format!("auditor:{KEY}=78")];
    let restore =
        ["restore-from-snapshot", &backup, "--yes", "-o", "json", "--set-property", &set[0], "--set-property", &set[1]];
    let began = now();
    let running = scene.plugin(&restore).kubeconfig(&kubeconfig).start();
    running.until_says("starting: deployment/", seconds(180));
    apps.kubectl.ok(&["scale", &ledger.deployment(), "--replicas=3"]);
    let ended = running.end(seconds(120)).done();
    let record = ended.json();
    outcome_is(&record, "Restored");
    let steps = [
        "stopped before the databases, and started once these serve",
        "stopping: pod/",
        "stopping: pod/postgres",
        "recovered",
        "starting what stands in front",
        "setting properties of release",
    ];
    order(&ended.stderr, &steps);
    assert!(!ended.stderr.contains("postgres-password"), "{ended}");
    let fronts = list(&record, "/status/workloads").iter().filter(|of| of["front"] == true).count();
    assert_eq!((fronts, list(&record, "/status/workloads").len()), (2, 4), "{record:#}");
    let told: Vec<_> =
        list(&record, "/status/properties").iter().map(|p| (&p["release"], &p["before"], &p["value"])).collect();
    let expected = [(json!("auditor"), json!(null), json!("78")), (json!("ledger"), json!("100"), json!("77"))];
    assert!(expected.iter().all(|(r, b, v)| told.contains(&(r, b, v))) && told.len() == 2, "{record:#}");
    assert_eq!(ledger.properties(), before.0.replace(&second, &format!("{KEY} : 77")));
    assert_eq!(auditor.properties(), format!("{}{KEY}=78\n", before.1));
    let serve = |pods: usize| {
        ledger.wait_ready();
        auditor.wait_ready();
        assert_eq!((ledger.pods().len(), auditor.pods().len()), (pods, 2));
        take_rows();
        for scene in [&scene, &apps] {
            assert_eq!(leases(scene), Vec::<String>::new());
        }
    };
    // In this order: a row that is written meanwhile is not missing.
    serve(3);
    for (kind, acks) in &acks {
        let (acks, rows) = (acks.all(), rows(&scene, *kind));
        Verdict::of(&acks, &rows, window, Some(began)).is_right(&format!("{} behind a release", kind.name()));
    }

    // Back, with as many pods as then, and to the byte.
    let undo = ["restore-from-snapshot", "--undo", &run_of(&record), "--yes", "-o", "json"];
    outcome_is(&scene.plugin(&undo).kubeconfig(&kubeconfig).run().done().json(), "RestoredOldVolumes");
    assert_eq!((ledger.properties(), auditor.properties()), before);
    serve(2);
}

#[test]
fn a_release_gets_its_properties_alone_or_with_its_data_also_when_the_plugin_is_killed() {
    let ground = Ground::new("scalar-restored");
    part("the release alone", || the_release_alone(&ground));
    part("killed in the middle", || killed_in_the_middle(&ground));
}

/// It serves again with the properties of its data.
fn killed_in_the_middle(ground: &Ground) {
    /// From the intent to stop until the policies are put back.
    const EVENTS: (u32, u32) = (4, 15);
    /// All databases have recovered: from there it goes on. Events that are no intents may have been lost.
    const FORWARD: (u32, u32) = (9, 11);
    let all = EVENTS.1 - EVENTS.0 + 1;
    let one = u32::try_from(Seeded::of_run().below(u64::from(all))).unwrap();
    // All of them, or one.
    for event in (0..all).filter(|n| times(1, 2) == 2 || *n == one).map(|n| EVENTS.0 + n) {
        let (before, set) = (ground.release.properties(), format!("{KEY}={event}"));
        let (there, began) = (ground.rows(), now());
        println!("killed at event {event}");
        let died = ground.restore(&["--set-property", &set]).dies_at(event).run();
        assert_eq!(died.code(), None, "{died}");
        ground.scene.plugin(&["thaw", "--force"]).run().done();
        ground.serves();
        let (record, after, rows) = (ground.last(), ground.release.properties(), ground.rows());
        if text(&record, "/status/outcome") == "Restored" {
            assert!(event > FORWARD.0, "forward after event {event}: {record:#}");
            assert!(after.contains(&format!("{set}\n")), "after event {event}: {after}");
            Verdict::of(&ground.acks.all(), &rows, ground.window, Some(began)).is_right("postgres behind a release");
        } else {
            outcome_is(&record, "RestoredOldVolumes");
            assert!(event < FORWARD.1, "back after event {event}: {record:#}");
            assert_eq!(after, before, "after event {event}");
            let lost: Vec<i64> = there.iter().filter(|row| !rows.contains(row)).map(|row| row.number).collect();
            assert!(lost.is_empty(), "after event {event}: {lost:?} are lost");
        }
    }
}

/// Its databases are somebody else's: nothing of it is copied, and only its properties are set.
fn the_release_alone(ground: &Ground) {
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
    let properties = ground.release.properties();
    assert!(properties.ends_with(&format!("{KEY}=78\n")), "{properties}");
    ground.serves();
    assert!(ground.release.pods().iter().all(|pod| !before.contains(pod)), "they have not read it");

    let secret = ["restore-from-snapshot", &backup, "--yes", "--set-property", "scalar.db.password=sesame"];
    let refused = ground.scene.plugin(&secret).run();
    assert!(refused.code() == Some(5) && !refused.stderr.contains("sesame"), "{refused}");

    // Of the release there is no copy to start.
    let verified = ground.scene.plugin(&["verify", &ground.backup, "-o", "json"]).run().done().json();
    assert_eq!(list(&verified, "/status/verified/targets").len(), 1, "{verified:#}");
}
