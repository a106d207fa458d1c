//! Through kubectl, as people see it: tables on stdout, talk on stderr, and the same facts in every format.

use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::support::backup::part;
use crate::support::cluster;
use crate::support::database::{Database, Kind};
use crate::support::kubectl;
use crate::support::plugin::{BINARY, list, text};
use crate::support::process::{Ended, Running};
use crate::support::scene::Scene;
use crate::support::wait::seconds;

/// A folder on PATH with the binary under its own name: all that an installation is.
struct Installed(tempfile::TempDir);

impl Installed {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let name = Path::new(BINARY).file_name().unwrap();
        std::os::unix::fs::symlink(BINARY, folder.path().join(name)).unwrap();
        Self(folder)
    }

    fn run(&self, scene: &Scene, args: &[&str]) -> Ended {
        let path = std::env::var("PATH").unwrap();
        let mut command: Command = kubectl::binary();
        command.env("PATH", format!("{}:{path}", self.0.path().display()));
        command.env("KUBECONFIG", cluster::kubeconfig()).arg("consistent-backup").args(args);
        command.args(["-n", scene.namespace()]);
        Running::start(&mut command).end(seconds(120))
    }
}

/// The line of a table whose first words are these.
#[track_caller]
fn line<'a>(table: &'a str, words: &str) -> &'a str {
    let found = table.lines().find(|line| line.split_whitespace().collect::<Vec<_>>().join(" ").starts_with(words));
    found.unwrap_or_else(|| panic!("no line `{words}` in\n{table}"))
}

#[test]
fn tables_and_formats_tell_the_same() {
    let scene = Scene::new("tables", &[Kind::Redis, Kind::Postgres].map(|kind| Database::new(kind).idle()));
    let installed = Installed::new();
    let (redis, postgres) = (Kind::Redis.object(), Kind::Postgres.object());

    // The plan, and nothing else, on stdout; nothing is made.
    let plan = installed.run(&scene, &["quiesce-snapshot", &redis, &postgres, "--dry-run"]).done();
    line(&plan.stdout, "NAMESPACE NAME READY STATUS RESTARTS AGE NODE");
    line(&plan.stdout, &format!("{} redis-0 1/1 Running 0", scene.namespace()));
    assert!(installed.run(&scene, &["list", "-o", "name"]).done().stdout.is_empty());

    let taken = installed.run(&scene, &["quiesce-snapshot", &redis, &postgres]).done();
    line(&taken.stderr, &format!("{} redis-0 1/1 Running 0", scene.namespace()));
    line(&taken.stdout, "pods: unchanged (2)");
    line(&taken.stdout, &format!("{}/data-redis-0", scene.namespace()));
    assert!(taken.stdout.contains(": ApplicationConsistent"), "{taken}");
    assert!(!taken.stderr.contains('\u{1b}') && !taken.stdout.contains('\u{1b}'), "no terminal, no colours\n{taken}");

    let name = installed.run(&scene, &["list", "-o", "name"]).done().stdout;
    let run = name.trim().strip_prefix("backup/").unwrap_or_else(|| panic!("`{name}` is no name")).to_owned();
    let table = installed.run(&scene, &["list"]).done().stdout;
    line(&table, "NAME KIND OUTCOME");
    line(&table, &format!("{run} Backup ApplicationConsistent"));
    line(&installed.run(&scene, &["list", "-A"]).done().stdout, &format!("{} {run} Backup", scene.namespace()));

    let json = installed.run(&scene, &["describe", &run, "-o", "json"]).done().json();
    let listed = installed.run(&scene, &["list", "-o", "json"]).done().json();
    assert_eq!(list(&listed, "/items"), std::slice::from_ref(&json), "describe and list tell different things");
    let yaml = installed.run(&scene, &["describe", &run, "-o", "yaml"]).done().stdout;
    let yaml: Value = serde_saphyr::from_str(&yaml).unwrap();
    assert_eq!(yaml, json);

    let described = installed.run(&scene, &["describe", &run]).done().stdout;
    for word in [&run, "redis-0", "data-postgres-0", text(&json, "/status/window/start")] {
        assert!(described.contains(word), "no {word} in\n{described}");
    }
    let compared = installed.run(&scene, &["compare", &run]).done().stdout;
    line(&compared, "NAMESPACE NAME READY STATUS RESTARTS AGE NODE");
    line(&compared, "pods: unchanged (2)");

    part("the pod table is kubectl's", || the_pod_table_is_kubectls(&scene, &json));

    let deleted = installed.run(&scene, &["delete", &run, "--yes"]).done().stdout;
    assert_eq!(deleted.trim(), format!("backup \"{run}\" deleted"));
    installed.run(&scene, &["describe", &run]).exits(5).says(&[&run]);
}

/// What the pod table says is what kubectl says.
fn the_pod_table_is_kubectls(scene: &Scene, record: &Value) {
    let pods = list(record, "/status/pods/before");
    let pod = pods.iter().find(|pod| text(pod, "/name") == "redis-0").unwrap_or_else(|| panic!("{pods:#?}"));
    let shown = scene.kubectl.ok(&["get", "pod", "redis-0", "-o", "wide", "--no-headers"]);
    let columns: Vec<&str> = shown.split_whitespace().collect();
    assert_eq!(text(pod, "/name"), columns[0]);
    assert_eq!(text(pod, "/ready"), columns[1]);
    assert_eq!(text(pod, "/status"), columns[2]);
    assert_eq!(pod["restarts"].to_string(), columns[3]);
    assert_eq!(text(pod, "/node"), columns[6]);
    assert_eq!(text(pod, "/uid"), scene.uid("pod/redis-0"));
    assert_eq!(text(pod, "/phase"), "Running");
    assert_eq!(pod["images"], serde_json::json!(["localhost/redis:7"]));
}
