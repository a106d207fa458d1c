//! A bank: writers move money between two databases, half of them in each direction, and Redis counts what they moved.
//! Each step of a transfer causes the next (`tests/cluster/images/writer/bank.go`), so a copy of all three shows whether
//! it is of one moment.

use std::collections::BTreeSet;
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

use super::acks::{Ack, AckLog, now};
use super::backup::{Taken, recorded, written};
use super::copies;
use super::database::{Database, Kind};
use super::scene::Scene;
use super::wait::{seconds, until};

mod books;

pub use books::{Books, Copy, Findings};

/// A bank that is open.
pub struct Bank {
    pub scene: Scene,
    branches: [Kind; 2],
    acks: AckLog,
}

impl Bank {
    /// A scene in which any two databases can be a bank's.
    pub fn scene(test: &str) -> Scene {
        let kinds = [Kind::Postgres, Kind::SecondPostgres, Kind::Mariadb, Kind::Redis];
        Scene::new(test, &kinds.map(|kind| Database::new(kind).idle().unprobed()))
    }

    /// Opens a bank with these two databases, each transfer of a writer so long after the last.
    pub fn open(scene: Scene, branches: [Kind; 2], pause: Duration) -> Self {
        scene.kubectl.apply(&[pod(branches, pause)]);
        let acks = Scene::log_of(&scene.uid("pod/bank"));
        acks.serves_after(now(), seconds(60));
        Self { scene, branches, acks }
    }

    /// Closes it, and empties its databases for another one.
    pub fn close(self) -> Scene {
        self.scene.kubectl.ok(&["delete", "pod", "bank", "--now"]);
        self.branches.iter().for_each(|kind| self.scene.statement(*kind, "DROP TABLE accounts, moves"));
        self.scene.statement(Kind::Redis, "FLUSHALL");
        self.scene
    }

    /// Its three databases.
    pub fn kinds(&self) -> [Kind; 3] {
        [self.branches[0], self.branches[1], Kind::Redis]
    }

    /// The transfers that were acknowledged so far.
    pub fn acks(&self) -> Vec<Ack> {
        self.acks.all()
    }

    /// Waits until money is moved, beginning now.
    pub fn moves(&self) {
        self.acks.serves_after(now(), seconds(60));
    }

    /// One backup under load, judged by copies of all its claims.
    #[track_caller]
    pub fn backed_up(&self) -> (Taken, Findings) {
        written(&self.acks, "the bank");
        let taken = recorded(&self.scene, &self.kinds(), &self.scene.backup_of(&self.kinds(), &[]).run().done());
        let acks = self.acks();
        let before = taken.window.start - 10_000_000_000..taken.window.start;
        let busy = acks.iter().filter(|ack| before.contains(&ack.acked)).count();
        assert!(busy >= 20, "nothing was moved: {busy} transfers in the 10 s before the window");
        let suffix = taken.copied(&self.scene);
        let copy = self.copy(&suffix).unwrap_or_else(|why| panic!("{why}"));
        let findings = Findings::of(&copy, Some((&acks, taken.window)));
        assert!(findings.promised > 50, "only {} transfers before the window", findings.promised);
        (taken, findings)
    }

    /// Cuts all claims by VolumeSnapshots of this class, one after the other, and holds nothing: what a script does.
    pub fn snapshots_in_a_row(&self, name: &str) -> Findings {
        for kind in self.kinds() {
            self.snapshot(kind, name, None);
            self.ready(kind, name);
        }
        self.judged(name)
    }

    /// Cuts all claims at once, each database after a checkpoint, the second one by this class: two light holds.
    pub fn snapshots_at_once(&self, name: &str, second: &str) -> Findings {
        for kind in self.branches {
            self.scene.statement(kind, "CHECKPOINT");
            self.scene.kubectl.exec(&kind.pod(), &["sync", "-f", kind.folder()]).done();
        }
        for (kind, class) in self.kinds().into_iter().zip([None, Some(second), None]) {
            self.snapshot(kind, name, class);
        }
        self.kinds().iter().for_each(|kind| self.ready(*kind, name));
        self.judged(name)
    }

    fn snapshot(&self, kind: Kind, name: &str, class: Option<&str>) {
        self.scene.kubectl.apply(&[json!({
            "apiVersion": "snapshot.storage.k8s.io/v1", "kind": "VolumeSnapshot",
            "metadata": {"name": format!("{}-{name}", kind.name())},
            "spec": {"volumeSnapshotClassName": class.unwrap_or("test"),
                "source": {"persistentVolumeClaimName": kind.claim()}}
        })]);
    }

    fn ready(&self, kind: Kind, name: &str) {
        let snapshot = format!("volumesnapshot/{}-{name}", kind.name());
        until(&snapshot, seconds(60), || match self.scene.kubectl.value(&snapshot, "/status/readyToUse") {
            ready if ready == "true" => Ok(()),
            other => Err(format!("readyToUse is `{other}`")),
        });
    }

    /// Judges copies of the VolumeSnapshots of this name, by themselves: there is no window.
    fn judged(&self, name: &str) -> Findings {
        for kind in self.kinds() {
            copies::of_snapshot(&self.scene, kind, &format!("{}-{name}", kind.name()), name);
        }
        // A database that does not start from its copy: that is wrong, too.
        let unreadable = |why: String| Findings { unreadable: vec![why], ..Findings::default() };
        let findings = self.copy(name).map_or_else(unreadable, |copy| Findings::of(&copy, None));
        for kind in self.kinds() {
            self.scene.kubectl.ok(&["delete", "volumesnapshot", "--wait=false", &format!("{}-{name}", kind.name())]);
        }
        findings
    }

    /// What the claims with this suffix hold, which are deleted then; or why one cannot be read.
    fn copy(&self, suffix: &str) -> Result<Copy, String> {
        let read = |kind: Kind| {
            let said = copies::asked(&self.scene, kind, suffix, books_of(kind));
            said.map_err(|why| format!("the copy of {} cannot be read: {why}", kind.name()))
        };
        let said = thread::scope(|scope| {
            let reading = self.kinds().map(|kind| scope.spawn(move || read(kind)));
            reading.map(|one| one.join().unwrap())
        });
        copies::delete(&self.scene, &self.kinds(), suffix);
        let [first, second, redis] = said;
        let (first, second, redis) = (first?, second?, redis?);
        let mut lines = redis.lines();
        let number = |line: &str| line.parse::<i64>().unwrap_or_else(|e| panic!("`{line}`: {e}"));
        let count = lines.next().map(number).expect("the count");
        let counted: BTreeSet<i64> = lines.map(number).collect();
        Ok(Copy { branches: [Books::parse(&first), Books::parse(&second)], counted, count })
    }
}

/// A command in a database's container that prints what the bank has in it.
fn books_of(kind: Kind) -> &'static str {
    match kind {
        Kind::Postgres | Kind::SecondPostgres => {
            "psql -X -At -F ' ' -U app -d app -c \"SELECT 'account', id, balance, 0 FROM accounts\" \
             -c \"SELECT 'move', transfer, amount, begun FROM moves\""
        }
        Kind::Mariadb => {
            "MYSQL_PWD=$MARIADB_PASSWORD mariadb -u app -h 127.0.0.1 -N -B app \
             -e \"SELECT 'account', id, balance, 0 FROM accounts; SELECT 'move', transfer, amount, begun FROM moves\""
        }
        // It is called ready while it loads its data.
        Kind::Redis => {
            "until redis-cli ping | grep -q PONG; do sleep 0.1; done; \
             redis-cli --raw GET count && redis-cli --raw SMEMBERS counted"
        }
    }
}

/// The writers, in one pod.
fn pod(branches: [Kind; 2], pause: Duration) -> Value {
    let password = |name: String, kind: Kind| {
        let secret = json!({"name": kind.name(), "key": "password"});
        json!({"name": name, "valueFrom": {"secretKeyRef": secret}})
    };
    let mut env = vec![
        json!({"name": "WRITER", "value": "bank"}),
        json!({"name": "WRITE_INTERVAL", "value": format!("{}ms", pause.as_millis())}),
        json!({"name": "DB_USER", "value": "app"}),
        json!({"name": "DB_NAME", "value": "app"}),
        password("REDIS_PASSWORD".into(), Kind::Redis),
    ];
    for (name, kind) in ["A", "B"].into_iter().zip(branches) {
        let engine = if kind == Kind::Mariadb { "mariadb" } else { "postgres" };
        env.push(json!({"name": format!("BRANCH_{name}"), "value": engine}));
        env.push(json!({"name": format!("BRANCH_{name}_SERVICE"), "value": kind.name()}));
        env.push(password(format!("BRANCH_{name}_PASSWORD"), kind));
    }
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "bank", "labels": {"app": "writer"}}, "spec": {
        "dnsPolicy": "Default", "terminationGracePeriodSeconds": 1, "restartPolicy": "Never",
        "containers": [{"name": "bank", "image": "localhost/writer:1", "env": env,
            "volumeMounts": [{"name": "log", "mountPath": "/log"}]}],
        "volumes": [{"name": "log", "emptyDir": {}}]
    }})
}
