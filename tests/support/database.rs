//! The databases of `tests/cluster/workloads`, with what a test changes of them.

use serde_json::{Value, json};

use super::cluster;
use super::kubectl::Kubectl;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Postgres,
    Mariadb,
    Redis,
    /// A server of its own beside `Postgres`, from the same manifests.
    SecondPostgres,
}

impl Kind {
    /// One of each engine.
    pub const ALL: [Self; 3] = [Self::Postgres, Self::Mariadb, Self::Redis];

    /// The name of StatefulSet, container, Service and Secret.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Postgres => "postgres",
            Self::Mariadb => "mariadb",
            Self::Redis => "redis",
            Self::SecondPostgres => "postgres-two",
        }
    }

    /// The name of its manifests.
    const fn manifest(self) -> &'static str {
        match self {
            Self::SecondPostgres => Self::Postgres.name(),
            other => other.name(),
        }
    }

    /// As the plugin is told.
    pub fn object(self) -> String {
        format!("statefulset/{}", self.name())
    }

    /// Its first pod.
    pub fn pod(self) -> String {
        format!("{}-0", self.name())
    }

    /// Its first pod's claim.
    pub fn claim(self) -> String {
        format!("data-{}-0", self.name())
    }

    /// Where its container has the claim.
    pub const fn folder(self) -> &'static str {
        match self {
            Self::Postgres | Self::SecondPostgres => "/var/lib/postgresql/data",
            Self::Mariadb => "/var/lib/mysql",
            Self::Redis => "/data",
        }
    }

    /// The name of the server's process.
    pub const fn server(self) -> &'static str {
        match self {
            Self::Postgres | Self::SecondPostgres => "postgres",
            Self::Mariadb => "mariadbd",
            Self::Redis => "redis-server",
        }
    }

    /// Whether the plugin's hold always stops commits. Of PostgreSQL the plan decides: one of a window may go on.
    pub const fn stops_commits(self) -> bool {
        matches!(self, Self::Mariadb | Self::Redis)
    }

    /// A command in its container that prints all of the writer's rows, `NUMBER TIME` each.
    pub const fn rows(self) -> &'static str {
        match self {
            Self::Postgres | Self::SecondPostgres => {
                "psql -X -At -F ' ' -U app -d app -c 'SELECT n, client_time FROM writes'"
            }
            Self::Mariadb => {
                "MYSQL_PWD=$MARIADB_PASSWORD mariadb -u app -h 127.0.0.1 -N -B app \
                 -e 'SELECT n, client_time FROM writes' | tr '\\t' ' '"
            }
            Self::Redis => "redis-cli --raw LRANGE writes 0 -1",
        }
    }

    /// A command in its container that runs a statement as its administrator.
    pub fn statement(self, text: &str) -> String {
        match self {
            Self::Postgres | Self::SecondPostgres => {
                format!("psql -X -q -v ON_ERROR_STOP=1 -U app -d app -c '{text}'")
            }
            Self::Mariadb => format!("MYSQL_PWD=$MARIADB_ROOT_PASSWORD mariadb -u root -h 127.0.0.1 app -e '{text}'"),
            Self::Redis => format!("redis-cli {text}"),
        }
    }

    /// Loses the writer's rows, as an operator at a wrong prompt does.
    pub const fn damage(self) -> &'static str {
        match self {
            Self::Postgres | Self::SecondPostgres | Self::Mariadb => "DROP TABLE writes",
            Self::Redis => "FLUSHALL",
        }
    }
}

type Edit = Box<dyn Fn(&mut Value)>;

/// One database and its writer, as a test wants them.
pub struct Database {
    pub kind: Kind,
    /// Whether a writer keeps it busy.
    pub busy: bool,
    /// How many claims it has.
    pub claims: usize,
    edits: Vec<Edit>,
    more: Vec<Value>,
}

impl Database {
    /// As the manifests have it, under load.
    pub fn new(kind: Kind) -> Self {
        Self { kind, busy: true, claims: 1, edits: Vec::new(), more: Vec::new() }
    }

    /// All three, with four claims, as busy as a long row of runs needs, and without the work of probes.
    pub fn with_four_claims() -> [Self; 3] {
        Kind::ALL.map(|kind| match Self::new(kind).every("40ms").unprobed() {
            database if kind == Kind::Mariadb => database.with_read_only_claim(),
            database => database,
        })
    }

    /// Without a writer.
    pub fn idle(mut self) -> Self {
        self.busy = false;
        self
    }

    /// Changes the StatefulSet.
    pub fn edit(self, edit: impl Fn(&mut Value) + 'static) -> Self {
        self.edit_kind("StatefulSet", edit)
    }

    /// With another object, which is there before its pods.
    pub fn with(mut self, object: Value) -> Self {
        self.more.push(object);
        self
    }

    fn edit_kind(mut self, kind: &'static str, edit: impl Fn(&mut Value) + 'static) -> Self {
        self.edits.push(Box::new(move |object| {
            if object["kind"] == kind {
                edit(object);
            }
        }));
        self
    }

    /// Changes an argument of the server: `--name=value`, or `--name value` for Redis.
    pub fn argument(self, name: &'static str, value: &'static str) -> Self {
        self.edit(move |set| {
            let args = set["spec"]["template"]["spec"]["containers"][0]["args"].as_array_mut().unwrap();
            let joined = format!("{name}=");
            if let Some(at) = args.iter().position(|arg| arg.as_str().unwrap().starts_with(&joined)) {
                args[at] = json!(format!("{joined}{value}"));
            } else {
                let at = args.iter().position(|arg| arg == name).unwrap_or_else(|| panic!("no argument {name}"));
                args[at + 1] = json!(value);
            }
        })
    }

    /// The storage engine of the writer's table.
    pub fn engine(self, engine: &'static str) -> Self {
        self.writer("TABLE_ENGINE", engine)
    }

    /// How often its writer writes.
    pub fn every(self, interval: &'static str) -> Self {
        self.writer("WRITE_INTERVAL", interval)
    }

    fn writer(self, name: &'static str, value: &'static str) -> Self {
        self.edit_kind("Pod", move |pod| {
            let variables = pod["spec"]["containers"][0]["env"].as_array_mut().unwrap();
            variables.iter_mut().find(|variable| variable["name"] == name).unwrap()["value"] = json!(value);
        })
    }

    /// With a second claim, which its server can only read.
    pub fn with_read_only_claim(mut self) -> Self {
        self.claims += 1;
        self.edit(|set| {
            let spec = &mut set["spec"];
            let mut template = spec["volumeClaimTemplates"][0].clone();
            template["metadata"]["name"] = json!("files");
            spec["volumeClaimTemplates"].as_array_mut().unwrap().push(template);
            let mounts = &mut spec["template"]["spec"]["containers"][0]["volumeMounts"];
            mounts.as_array_mut().unwrap().push(json!({"name": "files", "mountPath": "/srv/files", "readOnly": true}));
        })
    }

    /// Without probes once it is up: nothing but the plugin notices when it hangs.
    pub fn unprobed(self) -> Self {
        self.edit(|set| {
            let container = set["spec"]["template"]["spec"]["containers"][0].as_object_mut().unwrap();
            for probe in ["readinessProbe", "livenessProbe"] {
                container.remove(probe);
            }
        })
    }

    /// Its objects, to be applied.
    pub fn objects(&self, kubectl: &Kubectl) -> Vec<Value> {
        let folder = cluster::folder().join("workloads");
        let (manifest, name) = (self.kind.manifest(), self.kind.name());
        let mut objects = self.more.clone();
        objects.extend(kubectl.read(&folder.join(format!("{manifest}.yaml"))));
        if self.busy {
            objects.extend(kubectl.read(&folder.join(format!("writer-{manifest}.yaml"))));
        }
        for object in &mut objects {
            if manifest != name {
                rename(object, manifest, name);
                if let Some(env) = object.pointer_mut("/spec/containers/0/env").and_then(Value::as_array_mut) {
                    // The variables of which Service its writer looks for.
                    env.push(json!({"name": "SERVICE", "value": name.to_uppercase().replace('-', "_")}));
                }
            }
            // The namespace is the test's own.
            object["metadata"].as_object_mut().unwrap().remove("namespace");
            self.edits.iter().for_each(|edit| edit(object));
        }
        objects
    }
}

/// Gives an object of a manifest, and everything that it names, the names of another database. What is told to a
/// program (`value`) stays: it is of the same engine.
fn rename(object: &mut Value, from: &str, to: &str) {
    match object {
        Value::String(text) if [from, &format!("{from}-headless"), &format!("writer-{from}")].contains(&&**text) => {
            *text = text.replace(from, to);
        }
        Value::Array(list) => list.iter_mut().for_each(|value| rename(value, from, to)),
        Value::Object(fields) => {
            fields.iter_mut().filter(|(key, _)| *key != "value").for_each(|(_, value)| rename(value, from, to));
        }
        _ => {}
    }
}

#[test]
fn the_second_of_an_engine_shares_no_name_with_the_first() {
    let mut object = json!({"name": "postgres", "image": "localhost/postgres:15", "of": [{"secret": "postgres-headless"},
        {"name": "WRITER", "value": "postgres"}]});
    rename(&mut object, "postgres", Kind::SecondPostgres.name());
    let renamed = json!({"name": "postgres-two", "image": "localhost/postgres:15", "of": [{"secret": "postgres-two-headless"},
        {"name": "WRITER", "value": "postgres"}]});
    assert_eq!(object, renamed);
}
