//! kubectl, which sees the cluster independently of the plugin.

use std::path::Path;
use std::process::Command;

use serde_json::Value;

use super::cluster;
use super::process::{Ended, run, run_with};

/// kubectl in one namespace.
#[derive(Clone, Debug)]
pub struct Kubectl {
    pub namespace: String,
}

impl Kubectl {
    /// For objects of this namespace.
    pub fn new(namespace: impl Into<String>) -> Self {
        Self { namespace: namespace.into() }
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = binary();
        command.args(["--namespace", &self.namespace]).args(args);
        command
    }

    /// Runs it, whatever comes of it.
    pub fn run(&self, args: &[&str]) -> Ended {
        let ended = run(&mut self.command(args));
        // Nothing was sent yet: a machine under this much load may lose a connection's first packet for good.
        if ended.stderr.contains("Unable to connect to the server: dial") {
            run(&mut self.command(args))
        } else {
            ended
        }
    }

    /// Runs it, and gives what it printed; the test fails if it does.
    #[track_caller]
    pub fn ok(&self, args: &[&str]) -> String {
        self.run(args).done().stdout
    }

    /// Creates or changes objects of this namespace.
    #[track_caller]
    pub fn apply(&self, objects: &[Value]) {
        if objects.is_empty() {
            return;
        }
        let list = serde_json::json!({"apiVersion": "v1", "kind": "List", "items": objects}).to_string();
        run_with(&mut self.command(&["apply", "-f", "-"]), &list).done();
    }

    /// The objects of a file, as JSON.
    #[track_caller]
    pub fn read(&self, file: &Path) -> Vec<Value> {
        let text = self.ok(&["create", "--dry-run=client", "-o", "json", "-f", file.to_str().unwrap()]);
        let objects = serde_json::Deserializer::from_str(&text).into_iter::<Value>();
        objects.map(|object| object.unwrap_or_else(|e| panic!("{}: {e}", file.display()))).collect()
    }

    /// One object.
    #[track_caller]
    pub fn get(&self, object: &str) -> Value {
        serde_json::from_str(&self.ok(&["get", object, "-o", "json"])).unwrap()
    }

    /// All objects of a kind; `what` may hold more arguments.
    #[track_caller]
    pub fn list(&self, what: &[&str]) -> Vec<Value> {
        let text = self.ok(&[&["get"], what, &["-o", "json"]].concat());
        let list: Value = serde_json::from_str(&text).unwrap();
        list["items"].as_array().unwrap().clone()
    }

    /// A value out of one object, by a JSON pointer; empty when there is no such object or value.
    pub fn value(&self, object: &str, pointer: &str) -> String {
        let got = self.run(&["get", object, "-o", "json", "--ignore-not-found"]);
        let object: Value = serde_json::from_str(&got.stdout).unwrap_or_default();
        match object.pointer(pointer) {
            Some(Value::String(text)) => text.clone(),
            Some(Value::Null) | None => String::new(),
            Some(other) => other.to_string(),
        }
    }

    /// A command in the first container of a pod.
    pub fn exec(&self, pod: &str, argv: &[&str]) -> Ended {
        self.run(&[&["exec", pod, "--"], argv].concat())
    }
}

/// kubectl of the machine, or the one that the cluster was built with.
pub fn binary() -> Command {
    let on_path = std::env::var_os("PATH")
        .is_some_and(|path| std::env::split_paths(&path).any(|folder| folder.join("kubectl").is_file()));
    let mut command =
        if on_path { Command::new("kubectl") } else { Command::new(cluster::folder().join(".build/bin/kubectl")) };
    command.env("KUBECONFIG", cluster::kubeconfig());
    command
}

/// The name of an object.
pub fn name(object: &Value) -> &str {
    object["metadata"]["name"].as_str().unwrap_or_default()
}

/// The names of objects.
pub fn names(objects: &[Value]) -> Vec<String> {
    objects.iter().map(|object| name(object).to_owned()).collect()
}
