//! Backups are started alone, from copies, and judged by the engines' own checks: nothing of it touches production,
//! nothing of it stays, and damage is found.

use std::collections::BTreeSet;
use std::process::Command;

use serde_json::{Value, json};

use super::gone::{aliases, secrets};
use crate::support::backup::{consistent, part};
use crate::support::cluster;
use crate::support::database::{Database, Kind};
use crate::support::kubectl::names;
use crate::support::leftovers::{leases, records, state};
use crate::support::plugin::{list, run_of, text};
use crate::support::process::Running;
use crate::support::scene::Scene;
use crate::support::wait::{seconds, until, until_none};

/// Pods, policies, claims and bound volumes of verifications, and what these were made from.
fn copies(scene: &Scene) -> Vec<String> {
    let kinds = "pods,networkpolicies,pvc,configmaps,volumesnapshots";
    let mut found = names(&scene.kubectl.list(&[kinds, "-l", "consistent-backup/verify"]));
    let volumes = scene.kubectl.list(&["pv"]);
    let of_copy = |volume: &&Value| {
        let claim = &volume["spec"]["claimRef"];
        claim["namespace"] == *scene.namespace() && claim["name"].as_str().unwrap_or_default().contains("-verify-")
    };
    found.extend(volumes.iter().filter(of_copy).map(|v| format!("pv/{}", v["metadata"]["name"])));
    found
}

/// Who is behind the Services, by their addresses.
fn served_by(scene: &Scene) -> BTreeSet<String> {
    let slices = scene.kubectl.list(&["endpointslices"]);
    let endpoints = slices.iter().flat_map(|slice| slice["endpoints"].as_array().cloned().unwrap_or_default());
    endpoints.map(|endpoint| endpoint["addresses"].to_string()).collect()
}

/// Fails unless each copy's pod has a policy that selects no other pod, denies both directions, and is not younger.
fn each_copy_has_a_policy_of_its_own(scene: &Scene) {
    let policies = scene.kubectl.list(&["networkpolicies"]);
    let pods = scene.kubectl.list(&["pods"]);
    let copies = scene.kubectl.list(&["pods", "-l", "consistent-backup/verify"]);
    assert_eq!(names(&policies), names(&copies), "{policies:#?}");
    for policy in &policies {
        let wanted = policy["spec"]["podSelector"]["matchLabels"].as_object().unwrap();
        let selected = |pod: &&Value| wanted.iter().all(|(key, value)| pod["metadata"]["labels"][key] == *value);
        let selected: Vec<&Value> = pods.iter().filter(selected).collect();
        assert_eq!(selected.len(), 1, "{policy:#}");
        assert_eq!(selected[0]["metadata"]["name"], policy["metadata"]["name"]);
        let made = |object: &Value| text(object, "/metadata/creationTimestamp").to_owned();
        assert!(made(policy) <= made(selected[0]), "the pod was made first: {policy:#}");
        let spec = &policy["spec"];
        assert_eq!(spec["policyTypes"], json!(["Ingress", "Egress"]));
        assert_eq!([&spec["ingress"], &spec["egress"]], [&Value::Null; 2], "{policy:#}");
    }
}

/// Whether a pod of this engine reaches a server of its kind in that pod. The cluster's network enforces no policies.
fn reaches(scene: &Scene, kind: Kind, pod: &str) -> bool {
    let address = scene.kubectl.value(&format!("pod/{pod}"), "/status/podIP");
    assert!(!address.is_empty(), "pod/{pod} has no address");
    let ask = match kind {
        Kind::Postgres | Kind::SecondPostgres => format!("pg_isready -q -t 3 -h {address}"),
        Kind::Mariadb => format!("mariadb-admin --connect-timeout=3 -h {address} ping"),
        Kind::Redis => format!("redis-cli -h {address} ping | grep PONG"),
    };
    scene.kubectl.exec(&kind.pod(), &["sh", "-c", &ask]).status.success()
}

fn check<'a>(target: &'a Value, name: &str) -> &'a str {
    let found = list(target, "/checks").iter().find(|check| check["name"] == name);
    found.map_or("", |check| text(check, "/outcome"))
}

fn archiving() -> Database {
    Database::new(Kind::Postgres).edit(|set| {
        let container = &mut set["spec"]["template"]["spec"]["containers"][0];
        container["args"] = json!(["-c", "archive_mode=on", "-c", "archive_command=/bin/true"]);
    })
}

#[test]
fn copies_are_started_alone_and_leave_nothing_and_damage_is_found() {
    let databases = [archiving(), Database::new(Kind::Mariadb), Database::new(Kind::Redis)];
    let scene = Scene::new("verify", &databases.map(|database| database.every("40ms")));
    part("copies are started alone", || copies_are_started_alone_and_leave_nothing(&scene));
    part("damage is found", || damage_is_found(&scene));
}

/// Killed, run again and kept, removed by the command that it prints, interrupted, asked the user's questions: on one
/// backup of three busy databases, of which PostgreSQL archives its WAL.
fn copies_are_started_alone_and_leave_nothing(scene: &Scene) {
    scene.statement(Kind::Postgres, "SELECT pg_switch_wal()");
    let taken = consistent(scene, &Kind::ALL, &[]);
    let services = until("a pod behind each Service", seconds(60), || match served_by(scene) {
        services if services.len() == 3 => Ok(services),
        services => Err(format!("{services:?}")),
    });
    let before = state(scene);
    let verify = |more: &[&str]| scene.plugin(&["verify", &taken.run]).args(more);
    verify(&["--query", "redis-cli DBSIZE"]).run().exits(5).says(&["POD=COMMAND"]);
    scene.plugin(&["verify", "20260101-000000-none"]).run().exits(5).says(&["20260101-000000-none"]);
    assert_eq!(copies(scene), Vec::<String>::new());

    // Its last step takes long: all of what follows comes while it is at work.
    let mut dies = verify(&["--query", "postgres-0=sleep 300"]).start();
    dies.until_says("checking: amcheck", seconds(240));
    assert_eq!(served_by(scene), services, "a Service found a copy");
    verify(&[]).run().exits(5).says(&["another process is verifying"]);
    scene.plugin(&["delete", &taken.run, "--yes"]).run().exits(5).says(&["another process is verifying"]);
    dies.kill_hard();
    dies.end(seconds(10));
    assert!(!copies(scene).is_empty(), "it was killed while its copies were there");
    assert_eq!(records(scene)[0]["status"]["verified"], Value::Null, "no verdict was reached");
    let orphans = scene.plugin(&["list", "--orphans"]).run().done().stdout;
    assert!(orphans.contains("kubectl delete networkpolicy/postgres-0-verify-"), "{orphans}");

    let archived = "postgres-0=psql -U app -Atc \"SELECT current_setting('archive_mode'), \
        archived_count + failed_count FROM pg_stat_archiver\"";
    let ended =
        verify(&["--keep", "-o", "json", "--query", archived, "--query", "redis-0=redis-cli DBSIZE"]).run().done();
    let record = ended.json();
    assert_eq!(run_of(&record), taken.run);
    assert_eq!(record["status"]["verified"]["ok"], true, "{record:#}");
    let targets = list(&record, "/status/verified/targets");
    assert_eq!(targets.len(), 3);
    let of = |pod: String| targets.iter().find(|t| t["pod"] == pod).unwrap();
    for (kind, checks) in [
        (Kind::Postgres, ["isolated", "amcheck", "pg_dump", "identity"]),
        (Kind::Mariadb, ["isolated", "tables", "files", "identity"]),
        (Kind::Redis, ["isolated", "redis-check", "keys", "identity"]),
    ] {
        let target = of(kind.pod());
        assert!(target["seconds"].as_f64().unwrap() > 0.0, "{target:#}");
        for name in checks {
            assert_eq!(check(target, name), "passed", "{name} of {target:#}");
        }
    }
    until("the real one to archive", seconds(60), || {
        let asked = ["psql", "-U", "app", "-Atc", "SELECT archived_count > 0 FROM pg_stat_archiver"];
        let told = scene.kubectl.exec("postgres-0", &asked).done().stdout;
        if told.trim() == "t" { Ok(()) } else { Err(told) }
    });
    let queries = list(&record, "/status/verified/queries");
    assert_eq!(text(&queries[0], "/output"), "off|0", "{queries:#?}");
    assert_eq!(queries[1]["exitCode"], 0, "{queries:#?}");
    assert!(served_by(scene) == services, "a Service found a copy");
    each_copy_has_a_policy_of_its_own(scene);
    for kind in Kind::ALL {
        assert!(reaches(scene, kind, &kind.pod()), "{} is not reached at all", kind.name());
        let copy = format!("{}-verify-{}", kind.pod(), taken.run);
        assert!(!reaches(scene, kind, &copy), "another pod reaches the copy of {}", kind.name());
    }

    let remove = ended.stderr.lines().find_map(|line| line.split_once("remove all of it: ")).unwrap().1.to_owned();
    let mut command = Command::new("sh");
    command.args(["-c", &remove]).env("KUBECONFIG", cluster::kubeconfig());
    // kubectl waits until all of it is gone, and the driver tries again only after a while.
    Running::start(&mut command).end(seconds(240)).done();
    until_none("the kept copies to be gone", seconds(180), || copies(scene));

    // While requests are on their way, then while volumes are being made.
    let interrupted = verify(&[]).start();
    interrupted.until_says("making the copy", seconds(60));
    interrupted.signal("INT");
    interrupted.end(seconds(240)).exits(130).says(&["every copy is removed"]);
    assert_eq!(copies(scene), Vec::<String>::new());
    let interrupted = verify(&[]).start();
    interrupted.until_says("waiting for its volumes", seconds(60));
    interrupted.signal("INT");
    interrupted.end(seconds(240)).exits(130).says(&["every copy is removed"]);
    assert_eq!(copies(scene), Vec::<String>::new());
    assert_eq!(leases(scene), Vec::<String>::new());
    assert_eq!(state(scene), before, "something was left, or changed");
    scene.all_serve(seconds(30));
    let listed = scene.plugin(&["list"]).run().done().stdout;
    assert!(listed.lines().any(|line| line.contains(&taken.run) && line.contains(" yes ")), "{listed}");
    scene.plugin(&["describe", &taken.run]).run().done().stdout.find("Verified:    yes").expect("describe tells it");
    scene.plugin(&["delete", &taken.run, "--yes"]).run().done();
}

/// In another namespace, with what the backup remembers; killed there, and once the backup's own namespace is gone with
/// workloads and record: the verdict outlives it. A copy that runs on beside the original archives nothing.
#[test]
fn copies_elsewhere_and_a_verdict_that_outlives_the_record() {
    let elsewhere = Scene::new("verify-there", &[]);
    let postgres = archiving().idle().edit(|set| {
        let from = json!([{"configMapRef": {"name": "conf", "optional": true}}]);
        set["spec"]["template"]["spec"]["containers"][0]["envFrom"] = from;
    });
    let scene = Scene::new("verify-gone", &[postgres, Database::new(Kind::Redis).idle()]);
    scene.kubectl.ok(&["create", "configmap", "conf", "--from-literal=FROM_CONF=remembered"]);
    let run = run_of(&scene.backup(&[]).run().done().json());
    let (space, there) = (scene.namespace().to_owned(), elsewhere.namespace().to_owned());
    let verify = |more: &[&str]| scene.plugin(&["verify", &run]).args(more);
    let missing = ["namespace/no-such-namespace", "secret/postgres", "secret/redis"];
    verify(&["--to-namespace", "no-such-namespace"]).run().exits(5).says(&missing);
    elsewhere.kubectl.apply(&secrets(&scene));
    // Once the record is gone nobody has the data of the ConfigMap: it must be there then.
    elsewhere.kubectl.ok(&["create", "configmap", "conf", "--from-literal=FROM_CONF=remembered"]);
    let before = (state(&scene), state(&elsewhere));
    let planned = verify(&["--to-namespace", &there, "--dry-run"]).run().done().stdout;
    assert!(planned.contains(&format!("in namespace {there}")) && planned.contains("ConfigMaps conf"), "{planned}");

    // Killed; the next one knows where it was, although it works elsewhere itself.
    let mut dies = verify(&["--to-namespace", &there, "--query", "postgres-0=sleep 300"]).start();
    dies.until_says("checking: amcheck", seconds(240));
    dies.kill_hard();
    dies.end(seconds(10));
    assert!(copies(&elsewhere).contains(&format!("conf-verify-{run}")), "{:?}", copies(&elsewhere));
    verify(&["--wait", "1s"]).run().exits(1);
    assert_eq!((copies(&elsewhere), aliases(&run)), (Vec::new(), Vec::new()));
    assert_eq!((state(&scene), state(&elsewhere)), before);

    let beside = ["--only", "sts/postgres", "--suffix", "check"];
    let copied = scene.plugin(&["restore-from-snapshot", &run]).args(beside).run().done();
    assert!(copied.to_string().contains("archives nothing: archive_mode=off"), "{copied}");
    let asked = "SELECT current_setting($$archive_mode$$), archived_count + failed_count FROM pg_stat_archiver";
    let switched =
        scene.kubectl.exec("postgres-check-0", &["psql", "-U", "app", "-Atc", "SELECT pg_switch_wal()", "-c", asked]);
    assert_eq!(switched.done().stdout.lines().last(), Some("off|0"));

    scene.kubectl.ok(&["delete", "namespace", &space, "--wait", "--timeout=240s"]);
    verify(&[]).run().exits(5).says(&[&format!("namespace/{space}")]);
    assert_eq!(records(&scene)[0]["status"]["verified"], Value::Null);
    let query = ["--query", "postgres-0=printenv FROM_CONF", "-o", "json"];
    let record = verify(&["--to-namespace", &there]).args(query).run().done().json();
    assert_eq!((&record["status"]["verified"]["ok"], &record["status"]["rebuilt"]), (&json!(true), &json!(true)));
    assert_eq!(text(&record, "/status/verified/queries/0/output"), "remembered", "{record:#}");
    assert_eq!(records(&scene)[0]["status"]["verified"], record["status"]["verified"]);
    assert_eq!((copies(&elsewhere), aliases(&run)), (Vec::new(), Vec::new()));
    assert_eq!(state(&elsewhere), before.1);
}

/// Files that are damaged before the backup, as a broken disk does it: an index page in the place of another, and a
/// command that was cut short, which Redis forgets when it loads the file.
fn damage_is_found(scene: &Scene) {
    let (pg, redis) = (Kind::Postgres, Kind::Redis);
    // A command that is cut short is forgotten only where nothing comes after it.
    scene.kubectl.ok(&["delete", "pod", "writer-redis", "--now"]);
    scene.statement(pg, "CREATE TABLE d AS SELECT n FROM generate_series(1, 20000) n");
    scene.statement(pg, "CREATE INDEX d_n ON d (n)");
    scene.statement(pg, "CHECKPOINT");
    let path = scene
        .kubectl
        .exec(&pg.pod(), &["psql", "-U", "app", "-Atc", "SELECT pg_relation_filepath('d_n')"])
        .done()
        .stdout;
    let overwrite =
        format!("cd $PGDATA && dd if={0} of={0} bs=8192 skip=4 seek=3 count=1 conv=notrunc,fsync", path.trim());
    scene.kubectl.exec(&pg.pod(), &["sh", "-c", &overwrite]).done();
    scene.statement(redis, "SET a b");
    let torn = "printf '*3\\r\\n$3\\r\\nSET' >>/data/appendonlydir/appendonly.aof.1.incr.aof";
    scene.kubectl.exec(&redis.pod(), &["sh", "-c", torn]).done();

    let ended = scene.backup_of(&[pg, redis], &["--verify"]).run().exits(3);
    let ended = ended.says(&["is not what it should be", "amcheck", "redis-check"]);
    let record = ended.json();
    assert_eq!(text(&record, "/status/outcome"), "ApplicationConsistent", "what the backup is does not change");
    let verified = &record["status"]["verified"];
    assert_eq!(verified["ok"], false, "{verified:#}");
    let targets = list(&record, "/status/verified/targets");
    let of = |pod: String| targets.iter().find(|t| t["pod"] == pod).unwrap();
    assert_eq!(check(of(pg.pod()), "amcheck"), "failed", "{verified:#}");
    assert_eq!(check(of(redis.pod()), "redis-check"), "failed", "{verified:#}");
    assert_eq!(check(of(redis.pod()), "keys"), "passed", "the server itself says nothing of it: {verified:#}");
    assert_eq!(copies(scene), Vec::<String>::new());

    let run = run_of(&record);
    let described = scene.plugin(&["describe", &run]).run().done().stdout;
    assert!(described.contains("IT FAILED") && described.contains("(amcheck)"), "{described}");
    scene.plugin(&["verify", &run]).run().exits(1).says(&["is not what it should be", "--keep"]);
    let plan = scene.plugin(&["prune", "--keep-last", "1", "--dry-run"]).run().done().stdout;
    assert!(plan.contains("its verification failed"), "{plan}");
    scene.plugin(&["delete", &run, "--yes"]).run().done();
}
