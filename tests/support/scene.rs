//! A namespace of a test's own, with busy databases, that is gone afterwards whatever happens.

use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;

use serde_json::{Value, json};

use super::acks::{AckLog, now};
use super::api;
use super::cluster::{self, Turn};
use super::database::{Database, Kind};
use super::kubectl::{Kubectl, name};
use super::plugin::Plugin;
use super::process::run;
use super::verdict::Row;
use super::wait::{seconds, until};

/// The scene of one test.
pub struct Scene {
    pub kubectl: Kubectl,
    /// Each with the number of its claims.
    databases: Vec<(Kind, usize)>,
    /// The uid of each writer's pod.
    writers: [OnceLock<String>; 4],
    _turn: Turn,
}

impl Scene {
    /// A namespace with these databases, ready and under load.
    pub fn new(test: &str, databases: &[Database]) -> Self {
        Self::with(Turn::shared(), test, databases)
    }

    /// The same with nobody else on the cluster.
    pub fn alone(test: &str, databases: &[Database]) -> Self {
        Self::with(Turn::alone(), test, databases)
    }

    fn with(turn: Turn, test: &str, databases: &[Database]) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let namespace = format!("test-{test}-{:x}-{number}", std::process::id());
        let kubectl = Kubectl::new(&namespace);
        let databases_of = databases.iter().map(|d| (d.kind, d.claims)).collect();
        let scene = Self { kubectl, databases: databases_of, writers: Default::default(), _turn: turn };
        let object = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}});
        api::create(&namespace, &object).unwrap_or_else(|e| panic!("{e}"));
        until("the namespace's service account", seconds(10), || {
            api::get(&namespace, "serviceaccount/default").map(drop)
        });
        let objects: Vec<Value> = databases.iter().flat_map(|database| database.objects(&scene.kubectl)).collect();
        scene.kubectl.apply(&objects);
        for database in databases {
            scene.wait_ready(database.kind);
        }
        for database in databases.iter().filter(|database| database.busy) {
            scene.acks(database.kind).serves_after(now(), seconds(60));
        }
        scene
    }

    pub fn namespace(&self) -> &str {
        &self.kubectl.namespace
    }

    /// Waits until the StatefulSet has all its pods, ready, and no earlier pod is still ending. The status alone may be
    /// that of a moment ago, and the plugin counts pods that end.
    pub fn wait_ready(&self, kind: Kind) {
        until(&format!("a ready {}", kind.name()), seconds(120), || {
            let set = self.kubectl.get(&kind.object());
            let (wanted, status) = (&set["spec"]["replicas"], &set["status"]);
            let observed = status["observedGeneration"] == set["metadata"]["generation"];
            if !observed || [&status["replicas"], &status["readyReplicas"]] != [wanted; 2] {
                return Err(status.to_string());
            }
            let pods = self.kubectl.list(&["pods"]);
            let owned = |pod: &&Value| pod["metadata"]["ownerReferences"][0]["uid"] == set["metadata"]["uid"];
            let pods: Vec<&Value> = pods.iter().filter(owned).collect();
            let all = Some(pods.len() as u64) == wanted.as_u64();
            if all && pods.iter().all(|pod| is_ready(pod)) { Ok(()) } else { Err(format!("{pods:?}")) }
        });
    }

    /// The plugin, told this namespace.
    pub fn plugin(&self, args: &[&str]) -> Plugin {
        Plugin::on_cluster().args(args).args(["-n", self.namespace()])
    }

    /// `quiesce-snapshot` of all databases of the scene, with the record as JSON.
    pub fn backup(&self, more: &[&str]) -> Plugin {
        self.backup_of(&self.kinds(), more)
    }

    /// The same of some of them.
    pub fn backup_of(&self, kinds: &[Kind], more: &[&str]) -> Plugin {
        let objects: Vec<String> = kinds.iter().map(|kind| kind.object()).collect();
        self.plugin(&["quiesce-snapshot", "-o", "json"]).args(objects).args(more)
    }

    /// Its databases.
    pub fn kinds(&self) -> Vec<Kind> {
        self.databases.iter().map(|(kind, _)| *kind).collect()
    }

    /// How many claims these databases have.
    pub fn claims(&self, kinds: &[Kind]) -> usize {
        self.databases.iter().filter(|(kind, _)| kinds.contains(kind)).map(|(_, claims)| claims).sum()
    }

    /// What this database's writer was told.
    pub fn acks(&self, kind: Kind) -> AckLog {
        // Asked for once: nothing replaces a writer.
        let uid = self.writers[kind as usize].get_or_init(|| self.uid(&format!("pod/writer-{}", kind.name())));
        Self::log_of(uid)
    }

    /// What the pod of this uid logs of what it was told.
    pub fn log_of(uid: &str) -> AckLog {
        let log = format!("kubelet/pods/{uid}/volumes/kubernetes.io~empty-dir/log/acks");
        AckLog::new(cluster::state().join(PathBuf::from(log)))
    }

    pub fn uid(&self, object: &str) -> String {
        let uid = self.kubectl.value(object, "/metadata/uid");
        assert!(!uid.is_empty(), "no {object} in {}", self.namespace());
        uid
    }

    /// The writer's rows as the database of this pod has them.
    #[track_caller]
    pub fn rows_in(&self, kind: Kind, pod: &str) -> Vec<Row> {
        Row::parse(&self.kubectl.exec(pod, &["sh", "-c", kind.rows()]).done().stdout)
    }

    /// Runs a statement as the database's administrator.
    #[track_caller]
    pub fn statement(&self, kind: Kind, text: &str) {
        self.kubectl.exec(&kind.pod(), &["sh", "-c", &kind.statement(text)]).done();
    }

    /// Fails unless every database takes writes, begun from now on.
    pub fn all_serve(&self, within: std::time::Duration) {
        let from = now();
        for (kind, _) in &self.databases {
            self.acks(*kind).serves_after(from, within);
        }
    }

    fn tell(&self) {
        let this = &self.kubectl;
        eprintln!("\n=== what is in {} ===", self.namespace());
        for what in ["pods", "pvc,volumesnapshots,leases,configmaps"] {
            eprintln!("{}", this.run(&["get", what, "-o", "wide"]).stdout);
        }
        eprintln!("{}", this.run(&["get", "events", "--sort-by=.lastTimestamp"]).stdout);
        eprintln!("{}", this.run(&["get", "volumesnapshotcontents"]).stdout);
        eprintln!("{}", self.plugin(&["list", "-o", "yaml"]).run());
    }

    /// Deletes everything, also what was meant to outlive the namespace. Best effort: it runs while a test fails.
    fn clean(&self) {
        let (this, space) = (&self.kubectl, self.namespace());
        let ours = |object: &Value, reference: &str| object["spec"][reference]["namespace"] == *space;
        let forget = |kind: &str, reference: &str, change: Value| -> Vec<String> {
            let objects = api::list(space, kind, None).unwrap_or_default();
            let objects: Vec<String> =
                objects.iter().filter(|o| ours(o, reference)).map(|o| name(o).to_owned()).collect();
            for object in &objects {
                let _ = api::merge(space, &format!("{kind}/{object}"), &change);
            }
            objects
        };
        let contents =
            forget("volumesnapshotcontents", "volumeSnapshotRef", json!({"spec": {"deletionPolicy": "Delete"}}));
        forget("persistentvolumes", "claimRef", json!({"spec": {"persistentVolumeReclaimPolicy": "Delete"}}));
        this.run(&["delete", "volumesnapshots", "--all", "--wait=false"]);
        for content in &contents {
            this.run(&["delete", "volumesnapshotcontent", content, "--wait=false", "--ignore-not-found"]);
            // The sidecar misses a deletion that comes while it cuts, until something else changes.
            let change = json!({"metadata": {"annotations": {"test": "over"}}});
            let _ = api::merge(space, &format!("volumesnapshotcontent/{content}"), &change);
        }
        this.run(&["delete", "pods", "--all", "--grace-period=0", "--force", "--wait=false"]);
        this.run(&["delete", "namespace", space, "--wait=false"]);
        let beside = "volumesnapshotclasses,storageclasses,clusterroles,clusterrolebindings";
        this.run(&["delete", beside, "-l", &format!("test={space}"), "--wait=false"]);
    }
}

/// Whether this pod is ready and stays.
fn is_ready(pod: &Value) -> bool {
    let conditions = pod["status"]["conditions"].as_array();
    let ready = conditions.is_some_and(|all| all.iter().any(|c| c["type"] == "Ready" && c["status"] == "True"));
    ready && pod["metadata"]["deletionTimestamp"].is_null()
}

impl Drop for Scene {
    fn drop(&mut self) {
        if thread::panicking() {
            self.tell();
        }
        if std::env::var_os("KEEP").is_some() {
            eprintln!("kept: namespace {}", self.namespace());
        } else {
            self.clean();
        }
    }
}

/// The servers of a database that stand still until this is dropped.
pub struct Stopped(Vec<String>);

impl Stopped {
    /// Stops all processes of a pod's server, as a machine under pressure or a debugger does.
    pub fn servers(scene: &Scene, kind: Kind) -> Self {
        let processes = cluster::processes(&scene.uid(&format!("pod/{}", kind.pod())), kind.server());
        assert!(!processes.is_empty(), "no process {} of {}", kind.server(), kind.pod());
        run(Command::new("kill").arg("-STOP").args(&processes)).done();
        Self(processes)
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        run(Command::new("kill").arg("-CONT").args(&self.0));
    }
}
