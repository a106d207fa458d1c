//! The test cluster's own parts: where it lies, its storage's files, its processes.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::Instant;

use serde_json::Value;

use super::process::run;
use super::wait::{seconds, until};

const SET_UP: &str = "the tests run on the project's own cluster; set up the shell with\n\
    \x20   eval \"$(tests/cluster/up | tail -1)\"";

/// The kubeconfig of the test cluster. Without one every test of the cluster fails: none is skipped.
pub fn kubeconfig() -> PathBuf {
    let Some(path) = std::env::var_os("KUBECONFIG").map(PathBuf::from) else {
        panic!("no cluster: KUBECONFIG is not set; {SET_UP}");
    };
    assert!(path.is_file(), "no cluster: there is no {}; {SET_UP}", path.display());
    let state = path.parent().unwrap().join("csi/snapshots");
    assert!(
        state.is_dir(),
        "no cluster: {} is not of the test cluster (no {}); {SET_UP}",
        path.display(),
        state.display()
    );
    path
}

/// `tests/cluster` of the cluster that runs.
pub fn folder() -> PathBuf {
    state().parent().unwrap().to_owned()
}

/// The node's address.
pub fn address() -> String {
    let text = fs::read_to_string(kubeconfig()).unwrap();
    let server = text.lines().find_map(|line| line.trim().strip_prefix("server: https://")).expect("a server");
    server.split(':').next().unwrap().to_owned()
}

/// The process that keeps the node's namespaces.
pub fn holder() -> String {
    let text = fs::read_to_string(state().join("holder")).unwrap();
    text.split_whitespace().next().unwrap().to_owned()
}

/// The folder of what the running cluster keeps.
pub fn state() -> PathBuf {
    kubeconfig().parent().unwrap().to_owned()
}

/// The snapshots that the storage itself has: id and the volume that was cut.
pub fn stored_snapshots() -> Vec<(String, String)> {
    let mut all = Vec::new();
    for entry in fs::read_dir(state().join("csi/snapshots")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "json") {
            continue;
        }
        // Deleted between the listing and the reading: not there.
        let Ok(text) = fs::read_to_string(&path) else { continue };
        let stored: Value = serde_json::from_str(&text).unwrap();
        all.push((stored["id"].as_str().unwrap().to_owned(), stored["volume"].as_str().unwrap().to_owned()));
    }
    all
}

/// What the storage says of one of its snapshots.
pub fn stored_snapshot(handle: &str) -> Option<Value> {
    let text = fs::read_to_string(state().join(format!("csi/snapshots/{handle}.json"))).ok()?;
    Some(serde_json::from_str(&text).unwrap())
}

/// The checksum of all bytes of a volume, once no file system of it is mounted.
pub fn checksum(volume_handle: &str) -> String {
    let image = state().join(format!("csi/images/volumes/{volume_handle}.img"));
    let image = image.to_str().unwrap();
    until(&format!("{volume_handle} to be mounted nowhere"), seconds(60), || {
        let attached = run(&mut entering(&["losetup", "--associated", image])).done().stdout;
        if attached.trim().is_empty() { Ok(()) } else { Err(attached) }
    });
    let sum = run(&mut entering(&["sha256sum", image])).done().stdout;
    sum.split(' ').next().unwrap().to_owned()
}

/// A kubeconfig of a user who has only the rights that are bound to this name.
pub fn kubeconfig_of(user: &str, into: &Path) -> PathBuf {
    let printed = run(Command::new(folder().join("kubeconfig")).arg(user)).done();
    let path = into.join(format!("{user}.conf"));
    fs::write(&path, printed.stdout).unwrap();
    path
}

/// A component that is down until this is dropped.
pub struct Down(&'static str);

impl Down {
    /// Ends a component, such as `snapshot-controller`, and keeps it from coming back.
    pub fn take(component: &'static str) -> Self {
        fs::write(state().join("hold").join(component), "").unwrap();
        let down = Self(component);
        let process = pid(component);
        enter(&["kill", "-KILL", &process]);
        until(&format!("the end of {component}"), seconds(10), || {
            if enter(&["kill", "-0", &process]) { Err("still there") } else { Ok(()) }
        });
        down
    }
}

impl Drop for Down {
    fn drop(&mut self) {
        let _ = fs::remove_file(state().join("hold").join(self.0));
    }
}

/// Ends a component, which the cluster starts again by itself.
pub fn restart(component: &str) {
    let before = pid(component);
    enter(&["kill", "-KILL", &before]);
    until(
        &format!("a new {component}"),
        seconds(10),
        || if pid(component) == before { Err("the old") } else { Ok(()) },
    );
}

/// The storage of all volumes, with no space left until this is dropped.
pub struct Full;

impl Full {
    /// Takes all there is, in steps that get smaller.
    pub fn take() -> Self {
        let script = "cd \"$1\" && for size in 1G 100M 10M; do n=0; \
            while [ $n -lt 100 ] && fallocate -l $size filler-$size-$n 2>/dev/null; do n=$((n + 1)); done; \
            rm -f filler-$size-$n; done";
        let images = state().join("csi/images");
        assert!(enter(&["sh", "-c", script, "sh", images.to_str().unwrap()]), "the storage was not filled");
        Self
    }
}

impl Drop for Full {
    fn drop(&mut self) {
        let images = state().join("csi/images");
        enter(&["sh", "-c", "rm -f \"$1\"/filler-*", "sh", images.to_str().unwrap()]);
    }
}

fn pid(component: &str) -> String {
    fs::read_to_string(state().join("pids").join(component)).unwrap().trim().to_owned()
}

fn enter(argv: &[&str]) -> bool {
    run(&mut entering(argv)).status.success()
}

fn entering(argv: &[&str]) -> Command {
    let mut command = Command::new(folder().join("enter"));
    command.args(argv);
    command
}

/// The processes of a pod's containers with this name, as the machine numbers them.
pub fn processes(pod_uid: &str, name: &str) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").unwrap() {
        let path = entry.unwrap().path();
        let read = |file: &str| fs::read_to_string(path.join(file)).unwrap_or_default();
        let of_pod = || read("cgroup").contains(pod_uid) || read("cgroup").contains(&pod_uid.replace('-', "_"));
        if read("comm").trim() == name && of_pod() {
            found.push(path.file_name().unwrap().to_str().unwrap().to_owned());
        }
    }
    found
}

/// Tests share the cluster, but for those that break a part of it for all.
pub struct Turn(#[allow(dead_code, reason = "held until it is dropped")] File);

impl Turn {
    /// Beside others.
    pub fn shared() -> Self {
        Self::take(File::lock_shared)
    }

    /// With nobody else on the cluster.
    pub fn alone() -> Self {
        Self::take(File::lock)
    }

    /// `tests/run` takes what is printed here off the test's own time.
    fn take(lock: impl FnOnce(&File) -> io::Result<()>) -> Self {
        let file = File::create(state().join("turns")).unwrap();
        let begun = Instant::now();
        lock(&file).unwrap();
        let test = thread::current().name().unwrap_or_default().to_owned();
        println!("waited {:.1} s for the cluster: {test}", begun.elapsed().as_secs_f64());
        Self(file)
    }
}
