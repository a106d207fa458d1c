//! Each command by a user who has exactly what `rbac` prints for it, and without one of the rules; under the admission
//! policies of the page on rights.

use std::path::PathBuf;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::database::{Database, Kind};
use crate::support::kubectl::binary;
use crate::support::leftovers::state;
use crate::support::plugin::{Plugin, outcome_is, run_of};
use crate::support::process::run;
use crate::support::random::Seeded;
use crate::support::scene::Scene;
use crate::support::user::Colleague;
use crate::support::wait::{seconds, until};

const PAGE: &str = include_str!("../../src/cluster/access/rights.md");

/// What a preflight refuses: the command, and the resource of the rule that is taken away.
const REQUIRED: [(&str, &[&str]); 3] = [
    (
        "quiesce-snapshot",
        &[
            "configmaps",
            "leases",
            "persistentvolumeclaims",
            "persistentvolumes",
            "pods",
            "pods/exec",
            "volumesnapshots",
        ],
    ),
    (
        "restore-from-snapshot",
        &[
            "leases",
            "persistentvolumeclaims",
            "persistentvolumes",
            "pods/exec",
            "volumeattachments",
            "volumesnapshotcontents",
        ],
    ),
    ("verify", &["leases", "persistentvolumeclaims", "persistentvolumes", "pods/exec", "volumesnapshots"]),
];

/// A user with what `rbac --for COMMAND` prints.
fn for_command(scene: &Scene, command: &str) -> Colleague {
    Colleague::with(scene, command, &["--for", command])
}

/// What this user asks for.
fn by(of: &Colleague, scene: &Scene, args: &[&str]) -> Plugin {
    scene.plugin(args).kubeconfig(&of.kubeconfig)
}

#[test]
fn every_command_does_with_the_rights_that_are_printed_for_it() {
    let scene = Scene::new("rights-each", &[Database::new(Kind::Redis).idle().unprobed()]);
    let [backs_up, restores, verifies] = REQUIRED.map(|(command, _)| for_command(&scene, command));
    let policies = Policies::narrowing(&scene, &restores);

    let backup = run_of(&scene.backup(&[]).kubeconfig(&backs_up.kubeconfig).run().done().json());
    by(&for_command(&scene, "list"), &scene, &["list"]).run().done();
    for command in ["describe", "compare"] {
        by(&for_command(&scene, command), &scene, &[command, &backup]).run().done();
    }
    by(&verifies, &scene, &["verify", &backup]).run().done();
    let restore = by(&restores, &scene, &["restore-from-snapshot", &backup, "--yes", "-o", "json"]);
    let restore = restore.run().done().json();
    outcome_is(&restore, "Restored");
    let restore = run_of(&restore);
    by(&restores, &scene, &["restore-from-snapshot", "--undo", &restore, "--yes"]).run().done();
    policies.refuse(&scene);
    drop(policies);

    one_rule_less(&scene, [&backs_up, &restores, &verifies], &backup);

    scene.backup(&[]).dies_at(6).run();
    by(&for_command(&scene, "thaw"), &scene, &["thaw"]).run().done();
    by(&for_command(&scene, "prune"), &scene, &["prune", "--keep-last", "1", "--yes"]).run().done();
    by(&for_command(&scene, "delete"), &scene, &["delete", &restore, &backup, "--yes"]).run().done();
}

/// Three rules drawn by the seed, taken away one by one: each is named, and nothing is touched.
fn one_rule_less(scene: &Scene, users: [&Colleague; 3], backup: &str) {
    let mut seeded = Seeded::of_run();
    let mut rules: Vec<(usize, &str)> =
        REQUIRED.iter().enumerate().flat_map(|(n, (_, of))| of.iter().map(move |resource| (n, *resource))).collect();
    for _ in 0..3 {
        let drawn = seeded.below(rules.len() as u64);
        let (n, resource) = rules.remove(usize::try_from(drawn).unwrap());
        let (command, user) = (REQUIRED[n].0, users[n]);
        println!("{command} without {resource}");
        let redis = Kind::Redis.object();
        let args = match command {
            "quiesce-snapshot" => vec![command, redis.as_str()],
            "verify" => vec![command, backup],
            _ => vec![command, backup, "--yes"],
        };
        user.without(scene, resource, || {
            let before = state(scene);
            by(user, scene, &args).run().exits(5).says(&[resource]);
            assert_eq!(state(scene), before, "refused, but something was touched");
        });
    }
}

/// The policies of the page, for one user and the scene's namespace, until this is dropped.
struct Policies {
    user: String,
    file: PathBuf,
    _folder: TempDir,
}

impl Policies {
    fn narrowing(scene: &Scene, of: &Colleague) -> Self {
        let block = PAGE.split("```yaml\n").nth(1).unwrap().split("```").next().unwrap();
        let named = block
            .replace("'backup-operator'", &format!("'{}'", of.user))
            .replace("'demo'", &format!("'{}'", scene.namespace()))
            .replace("consistent-backup-contents", &format!("contents-{}", scene.namespace()))
            .replace("consistent-backup-volumes", &format!("volumes-{}", scene.namespace()));
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("policies.yaml");
        std::fs::write(&file, named).unwrap();
        let policies = Self { user: of.user.clone(), file, _folder: folder };
        scene.kubectl.ok(&["apply", "-f", policies.file.to_str().unwrap()]);
        for name in ["contents", "volumes"] {
            let name = format!("{name}-{}", scene.namespace());
            until("the API server to have checked a policy", seconds(60), || {
                let printed = scene.kubectl.ok(&["get", "validatingadmissionpolicy", &name, "-o", "json"]);
                let status = serde_json::from_str::<Value>(&printed).unwrap()["status"].take();
                if status["observedGeneration"] != 1 {
                    return Err(status.to_string());
                }
                assert!(status["typeChecking"]["expressionWarnings"].is_null(), "{status:#}");
                Ok(())
            });
        }
        policies
    }

    /// What the role allows and the policies do not; as dry runs, so nothing is changed.
    fn refuse(&self, scene: &Scene) {
        let volume = scene.kubectl.value("pvc/data-redis-0", "/spec/volumeName");
        let moved = json!({"spec": {"claimRef": {"namespace": "elsewhere"}}}).to_string();
        let patch = ["patch", "persistentvolume", &volume, "--type=merge", "-p", &moved, "--dry-run=server"];
        self.refuses(scene, &patch, "the volume may not be given to another claim");
        let content = json!({"apiVersion": "snapshot.storage.k8s.io/v1", "kind": "VolumeSnapshotContent",
            "metadata": {"name": "foreign"}, "spec": {"deletionPolicy": "Retain", "driver": "test",
            "source": {"snapshotHandle": "anything"},
            "volumeSnapshotRef": {"name": "20260101-000000-abcd-1-x", "namespace": scene.namespace()}}});
        let file = self.file.with_file_name("content.json");
        std::fs::write(&file, content.to_string()).unwrap();
        let create = ["create", "-f", file.to_str().unwrap(), "--dry-run=server"];
        self.refuses(scene, &create, "a new content needs deletionPolicy Retain and the labels of a restore");
    }

    fn refuses(&self, scene: &Scene, args: &[&str], message: &str) {
        let args = [args, &["--as", &self.user]].concat();
        until(message, seconds(60), || {
            let ended = scene.kubectl.run(&args);
            if !ended.status.success() && ended.stderr.contains(message) { Ok(()) } else { Err(ended.to_string()) }
        });
    }
}

impl Drop for Policies {
    fn drop(&mut self) {
        run(binary().args(["delete", "--ignore-not-found", "-f"]).arg(&self.file));
    }
}
