//! What kubectl says of the cluster, independently of the plugin. What tests do often goes to the API server directly
//! (`api`), with the same arguments and answers; everything else is a kubectl process.

use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, ExitStatus};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::api::{self, Failure};
use super::cluster;
use super::process::{Ended, run};
use super::wait::{seconds, tried};

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

    /// Runs it; the caller judges how it ended.
    pub fn run(&self, args: &[&str]) -> Ended {
        let begun = Instant::now();
        let Some(answer) = self.answer(args) else { return self.process(args) };
        let (code, stdout, stderr) = match answer {
            Ok(printed) => (0, printed, String::new()),
            Err(failure) => (1, String::new(), failure.to_string()),
        };
        // A wait status has the exit code in its second byte.
        let status = ExitStatus::from_raw(code << 8);
        Ended { shown: format!("kubectl {}", args.join(" ")), status, stdout, stderr, took: begun.elapsed() }
    }

    /// The answer of the API server to what tests run most often. None if it takes a kubectl process.
    fn answer(&self, args: &[&str]) -> Option<Result<String, Failure>> {
        match args {
            ["get", "--raw", path] => Some(api::raw(path).map(|value| value.to_string())),
            ["delete", words, rest @ ..] => {
                let deletion = Deletion::parse(words, rest)?;
                Some(self.delete(&deletion).map(|()| String::new()))
            }
            _ => None,
        }
    }

    fn process(&self, args: &[&str]) -> Ended {
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
        for object in objects {
            done(api::apply(&self.namespace, object));
        }
    }

    /// The objects of a file.
    #[track_caller]
    pub fn read(&self, file: &Path) -> Vec<Value> {
        let text = std::fs::read_to_string(file).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
        let objects = serde_saphyr::from_multiple(&text);
        let mut objects: Vec<Value> = objects.unwrap_or_else(|e| panic!("{}: {e}", file.display()));
        for object in objects.iter_mut().filter(|object| api::is_namespaced(object)) {
            object["metadata"]["namespace"] = json!(self.namespace);
        }
        objects
    }

    /// One object.
    #[track_caller]
    pub fn get(&self, object: &str) -> Value {
        done(api::get(&self.namespace, object))
    }

    /// All objects of a kind, or of several with commas; `what` may end with `-l` and a label selector.
    #[track_caller]
    pub fn list(&self, what: &[&str]) -> Vec<Value> {
        match what {
            [words] => done(api::list(&self.namespace, words, None)),
            [words, "-l", selector] => done(api::list(&self.namespace, words, Some(selector))),
            _ => panic!("unknown arguments of `list`: {what:?}"),
        }
    }

    /// A value out of one object, by a JSON pointer; empty when there is no such object or value.
    pub fn value(&self, object: &str, pointer: &str) -> String {
        match api::get(&self.namespace, object).unwrap_or_default().pointer(pointer) {
            Some(Value::String(text)) => text.clone(),
            Some(Value::Null) | None => String::new(),
            Some(other) => other.to_string(),
        }
    }

    /// A command in the first container of a pod.
    pub fn exec(&self, pod: &str, argv: &[&str]) -> Ended {
        self.run(&[&["exec", pod, "--"], argv].concat())
    }

    /// Deletes all that it can, and gives the first failure.
    fn delete(&self, deletion: &Deletion) -> Result<(), Failure> {
        let mut objects = deletion.objects.clone();
        if deletion.all {
            for word in deletion.words.split(',') {
                let found = api::list(&self.namespace, word, deletion.selector)?;
                objects.extend(names(&found).iter().map(|name| format!("{word}/{name}")));
            }
        }
        let (mut deleted, mut outcome) = (Vec::new(), Ok(()));
        for object in objects {
            match api::delete(&self.namespace, &object, deletion.grace) {
                Ok(uid) => deleted.push((object, uid)),
                Err(failure) if failure.is_not_found() && (deletion.ignore_not_found || deletion.all) => {}
                Err(failure) => outcome = outcome.and(Err(failure)),
            }
        }
        let end = Instant::now() + deletion.timeout;
        for (object, uid) in deleted.iter().filter(|_| deletion.wait) {
            let look = || match api::get(&self.namespace, object) {
                Ok(found) if found["metadata"]["uid"] == *uid.as_str() => Err(Failure::new(object, "is not gone yet")),
                Err(failure) if !failure.is_not_found() => Err(failure),
                _ => Ok(()),
            };
            outcome = outcome.and(tried(end.saturating_duration_since(Instant::now()), look));
        }
        outcome
    }
}

/// The arguments of `kubectl delete`.
struct Deletion<'a> {
    words: &'a str,
    /// `KIND/NAME` each.
    objects: Vec<String>,
    /// All of the kind, or all that the selector finds.
    all: bool,
    selector: Option<&'a str>,
    ignore_not_found: bool,
    wait: bool,
    timeout: Duration,
    grace: Option<u8>,
}

impl<'a> Deletion<'a> {
    /// None if an argument is unknown here.
    fn parse(words: &'a str, args: &[&'a str]) -> Option<Self> {
        let (objects, wait, timeout) = (Vec::new(), true, seconds(60));
        let (all, ignore_not_found, selector, grace) = (false, false, None, None);
        let mut parsed = Self { words, objects, all, selector, ignore_not_found, wait, timeout, grace };
        let mut args = args.iter().copied();
        while let Some(arg) = args.next() {
            match arg {
                "-l" => (parsed.all, parsed.selector) = (true, Some(args.next()?)),
                "--all" => parsed.all = true,
                "--ignore-not-found" => parsed.ignore_not_found = true,
                "--wait" => parsed.wait = true,
                "--wait=false" => parsed.wait = false,
                "--now" => parsed.grace = Some(1),
                "--force" => parsed.grace = Some(0),
                // kubectl takes 1 s without --force.
                "--grace-period=0" => _ = parsed.grace.get_or_insert(1),
                arg => match arg.strip_prefix("--timeout=") {
                    Some(limit) => parsed.timeout = seconds(limit.strip_suffix('s')?.parse().ok()?),
                    None if arg.starts_with('-') || words.contains(['/', ',']) => return None,
                    None => parsed.objects.push(format!("{words}/{arg}")),
                },
            }
        }
        Some(parsed)
    }
}

/// The API server's answer; the test fails if there is none or a refusal.
#[track_caller]
fn done<T>(answer: Result<T, Failure>) -> T {
    match answer {
        Ok(value) => value,
        Err(failure) => panic!("{failure}"),
    }
}

/// kubectl from the PATH: `tests/cluster/up` puts its own there.
pub fn binary() -> Command {
    let mut command = Command::new("kubectl");
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
