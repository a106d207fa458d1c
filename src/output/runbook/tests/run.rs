//! Runbooks as a shell runs them, against programs that stand in for the clouds' and kubectl.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use super::*;

const AWS: &str = include_str!("aws.sh");
const TABLES: [&str; 2] = ["coordinator.state", "shop.orders"];

/// What there is while a runbook runs.
struct World {
    dir: tempfile::TempDir,
}

impl World {
    /// Two tables.
    fn new() -> Self {
        let world = Self { dir: tempfile::tempdir().unwrap() };
        for dir in ["bin", "work", "tables", "backups", "recovers", "fails", "new"] {
            std::fs::create_dir(world.path(dir)).unwrap();
        }
        world.program("aws", AWS);
        world.program("kubectl", "#!/usr/bin/env bash\necho \"kubectl $*\" >> \"$WORLD/calls\"\n");
        world.program("az", "#!/usr/bin/env bash\necho \"az $*\" >> \"$WORLD/calls\"\necho \"https://new:443/\"\n");
        world.program("sleep", "#!/usr/bin/env bash\necho \"sleep $*\" >> \"$WORLD/calls\"\n");
        for table in TABLES {
            world.put(&format!("tables/{table}"), "None");
        }
        world
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.dir.path().join(name)
    }

    fn put(&self, name: &str, text: &str) {
        std::fs::write(self.path(name), text).unwrap();
    }

    fn program(&self, name: &str, text: &str) {
        let path = self.path("bin").join(name);
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    }

    /// An operation on a table ends with this error, always.
    fn fail(&self, operation: &str, table: &str, error: &str) {
        self.put(&format!("fails/{operation}-{table}"), error);
    }

    /// Whether there is such a table, and what it was made from.
    fn table(&self, name: &str) -> Option<String> {
        std::fs::read_to_string(self.path("tables").join(name)).ok().map(|text| text.trim().to_owned())
    }

    /// Runs a runbook, and gives what it said.
    fn run(&self, text: &str) -> String {
        let script = self.path("runbook");
        std::fs::write(&script, text).unwrap();
        let path = format!("{}:{}", self.path("bin").display(), std::env::var("PATH").unwrap());
        let ran = Command::new("bash")
            .arg(&script)
            .current_dir(self.path("work"))
            .envs([("PATH", path.as_str()), ("WORLD", self.dir.path().to_str().unwrap())])
            .stdin(Stdio::null())
            .output()
            .unwrap();
        format!("{}{}", String::from_utf8_lossy(&ran.stdout), String::from_utf8_lossy(&ran.stderr))
    }

    fn calls(&self) -> String {
        read(&self.path("calls"))
    }
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_default()
}

fn tables() -> Backup {
    with(&["dynamo=us-east-1,table=coordinator.state,table=shop.*"])
}

fn copy(table: &str) -> String {
    format!("{table}-{RUN}")
}

#[test]
fn tables_take_both_hops_and_recover_to_an_instant_again() {
    let world = World::new();
    let said = world.run(&text(&tables()));
    for table in TABLES {
        assert_eq!(world.table(table), Some(format!("arn:{}", copy(table))), "{said}");
        assert_eq!(world.table(&copy(table)), None);
        // Both tables were new when they were asked to be backed up and to recover.
        assert!(said.contains(&format!("{table}: AVAILABLE")) && said.contains(&format!("{table}: ENABLED")), "{said}");
        assert!(said.contains(&format!("{table} is restored")), "{said}");
        let kept = read(&world.path("work").join(format!("{table}-{RUN}.table.json")));
        assert!(kept.contains(table), "{kept}");
    }
    assert!(!said.contains("NOT") && !said.contains("FAILED"), "{said}");
    let calls = world.calls();
    assert!(calls.lines().filter(|c| c.starts_with("aws ")).all(|c| c.contains("--region us-east-1")), "{calls}");
}

#[test]
fn run_twice_it_restores_no_table_twice_and_keeps_what_it_kept() {
    let world = World::new();
    let text = text(&tables());
    world.run(&text);
    let kept = world.path("work").join(format!("shop.orders-{RUN}.table.json"));
    std::fs::write(&kept, "the old one's").unwrap();
    let calls = world.calls().len();
    let said = world.run(&text);
    let again = world.calls().split_off(calls);
    for table in TABLES {
        assert!(said.contains(&format!("{table} is restored already")), "{said}");
        assert!(!again.contains(&format!("delete-table --region us-east-1 --table-name {table}\n")), "{again}");
        assert!(world.table(table).is_some());
    }
    assert_eq!(read(&kept), "the old one's");
    assert!(!again.contains(&copy(&copy("shop.orders"))), "a copy is no table of the application: {again}");
}

#[test]
fn a_table_without_a_backup_keeps_itself_and_its_copy() {
    let world = World::new();
    world.fail("create-backup", &copy("shop.orders"), "LimitExceededException");
    let said = world.run(&text(&tables()));
    assert_eq!(world.table("shop.orders").as_deref(), Some("None"), "the old one: {said}");
    assert_eq!(world.table(&copy("shop.orders")).as_deref(), Some("None"), "the only copy: {said}");
    assert!(said.contains(&format!("shop.orders is NOT deleted: {} has no backup", copy("shop.orders"))), "{said}");
    assert!(said.contains("shop.orders is NOT restored"), "{said}");
    assert!(
        said.contains("FAILED: aws dynamodb create-backup") && said.contains("LimitExceeded"),
        "not for ever: {said}"
    );
    assert_eq!(world.table("coordinator.state"), Some(format!("arn:{}", copy("coordinator.state"))));
}

#[test]
fn a_table_that_is_protected_from_deletion_is_not_called_restored() {
    let world = World::new();
    world.fail("delete-table", "shop.orders", "ValidationException");
    let said = world.run(&text(&tables()));
    assert_eq!(world.table("shop.orders").as_deref(), Some("None"));
    assert!(world.table(&copy("shop.orders")).is_some(), "{said}");
    assert!(
        said.contains("shop.orders is still there: ACTIVE") && said.contains("shop.orders is NOT restored"),
        "{said}"
    );
    assert!(!said.contains("shop.orders is restored"), "{said}");
    assert!(said.contains("coordinator.state is restored"), "{said}");
}

#[test]
fn a_restore_that_is_refused_ends_and_says_so() {
    let world = World::new();
    world.fail("restore-table-to-point-in-time", &copy("shop.orders"), "LimitExceededException");
    let said = world.run(&text(&tables()));
    assert!(said.contains("FAILED: aws dynamodb restore-table-to-point-in-time"), "{said}");
    assert!(said.contains(&format!("{} is NOT made", copy("shop.orders"))), "{said}");
    assert_eq!(world.table("shop.orders").as_deref(), Some("None"));
    let world = World::new();
    world.fail("restore-table-from-backup", "shop.orders", "LimitExceededException");
    let said = world.run(&text(&tables()));
    assert!(said.contains("shop.orders is NOT restored"), "{said}");
    assert!(world.table(&copy("shop.orders")).is_some() && world.table("shop.orders").is_none(), "{said}");
}

#[test]
fn a_table_whose_settings_were_not_kept_is_not_deleted() {
    let world = World::new();
    world.fail("describe-table", "shop.orders", "AccessDeniedException");
    let said = world.run(&text(&tables()));
    assert!(said.contains("shop.orders is NOT deleted: shop.orders-20261120-101500-x7k2.table.json"), "{said}");
    assert_eq!(world.table("shop.orders").as_deref(), Some("None"));
}

#[test]
fn the_releases_start_once_and_with_the_addresses_of_all_databases() {
    let world = World::new();
    let mut backup = with(&["cosmos=https://a.documents.azure.com/", "cosmos=https://b.documents.azure.com/"]);
    for (n, storage) in ["one", "two"].into_iter().enumerate() {
        backup.status.databases[n].storage = storage.into();
    }
    let said = world.run(&text(&backup));
    let calls: Vec<String> = world.calls().lines().filter(|c| c.starts_with("kubectl")).map(str::to_owned).collect();
    let key = "scalar.db.multi_storage.storages";
    assert_eq!(
        calls,
        [
            "kubectl scale deployment/led-ledger -n demo --replicas=0".to_owned(),
            "kubectl wait pod -n demo -l app.kubernetes.io/instance=led,app.kubernetes.io/app=ledger --for=delete --timeout=10m".to_owned(),
            format!(
                "kubectl consistent-backup restore-from-snapshot {RUN} -n demo --set-property \
                 led:{key}.one.contact_points=https://new:443/ --set-property led:{key}.two.contact_points=https://new:443/"
            ),
        ],
        "{said}"
    );
}

#[test]
fn a_server_of_several_databases_is_restored_once() {
    let world = World::new();
    let rds = |database: &str| format!("jdbc=jdbc:postgresql://shop.c1a2.us-east-1.rds.amazonaws.com:5432/{database}");
    let other = "jdbc=jdbc:postgresql://mart.c1a2.us-east-1.rds.amazonaws.com:5432/y";
    let mut backup = with(&[&rds("x"), other, &rds("z")]);
    for (n, storage) in ["one", "two", "three"].into_iter().enumerate() {
        backup.status.databases[n].storage = storage.into();
    }
    // A host of its own for each restored instance.
    world.program(
        "aws",
        "#!/usr/bin/env bash\necho \"aws $*\" >> \"$WORLD/calls\"\n\
         [ \"$2\" = describe-db-instances ] && echo \"new-$6\"\nexit 0\n",
    );
    let said = world.run(&text(&backup));
    let calls = world.calls();
    assert_eq!(calls.matches("restore-db-instance-to-point-in-time").count(), 2, "{calls}");
    for (storage, old, database) in [("one", "shop", "x"), ("two", "mart", "y"), ("three", "shop", "z")] {
        let set = format!(
            "led:scalar.db.multi_storage.storages.{storage}.contact_points=\
             jdbc:postgresql://new-{old}-{RUN}:5432/{database}"
        );
        assert!(calls.contains(&set), "{set}\n{calls}\n{said}");
    }
}

#[test]
fn nothing_starts_while_an_address_is_not_known() {
    let world = World::new();
    let text = text(&with(&["jdbc=jdbc:postgresql://db.demo:5432/x"]));
    world.run(&text);
    assert!(!world.calls().contains("restore-from-snapshot"), "{}", world.calls());
    world.run(&text.replace("HOST=  #", "HOST=new.demo  #"));
    let set = "--set-property led:scalar.db.contact_points=jdbc:postgresql://new.demo:5432/x";
    assert!(world.calls().contains(set), "{}", world.calls());
}

#[test]
fn a_relational_database_that_does_not_come_is_given_up() {
    let world = World::new();
    world.program("aws", "#!/usr/bin/env bash\necho \"aws $*\" >> \"$WORLD/calls\"\necho None\nexit 254\n");
    world.run(&text(&with(&["jdbc=jdbc:postgresql://shop.c1a2.us-east-1.rds.amazonaws.com:5432/x"])));
    let calls = world.calls();
    assert_eq!(calls.matches("aws rds wait").count(), 20);
    assert!(!calls.contains("restore-from-snapshot"), "{calls}");
}

#[test]
fn what_stands_in_an_address_is_never_run() {
    let world = World::new();
    let endpoints = [
        "jdbc:mysql://a`touch,x`.b.us-east-1.rds.amazonaws.com:3306/x",
        "jdbc:postgresql://a.b.us-east-1.rds.amazonaws.com/`touch${IFS}x`",
        "jdbc:postgresql://a/\";touch\tx;\"'",
    ];
    for endpoint in endpoints {
        let mut backup = with(&["jdbc"]);
        backup.status.databases[0].endpoint = endpoint.to_owned();
        backup.status.databases[0].storage = "a\n`touch x`".to_owned();
        let text = runbook(&backup, None, &Typed::default()).unwrap();
        world.run(&text.replace("HOST=  #", "HOST=h  #"));
        assert_eq!(std::fs::read_dir(world.path("work")).unwrap().count(), 0, "{text}");
    }
}

/// A writer of records must not run commands on the operator's machine.
#[test]
fn no_text_of_a_record_is_run() {
    let world = World::new();
    for hostile in
        ["1; touch x #", "$(touch x)`touch x`", "'\"; touch x; '\"", "a\ntouch x\n", "a\r\u{1b}[201~touch x\r"]
    {
        let mut backup = with(&["dynamo=us-east-1,table=shop.*", "jdbc=jdbc:mysql://a/x"]);
        backup.metadata.name = hostile.into();
        backup.metadata.namespace = hostile.into();
        backup.status.reason = hostile.into();
        backup.status.outcome = hostile.into();
        for release in &mut backup.status.releases {
            for text in [&mut release.namespace, &mut release.name, &mut release.chart, &mut release.deployment] {
                hostile.clone_into(text);
            }
        }
        for database in &mut backup.status.databases {
            database.tables.push(hostile.into());
            database.release = format!("{hostile}/{hostile}");
        }
        for pod in &mut backup.status.pods.before {
            hostile.clone_into(&mut pod.name);
            hostile.clone_into(&mut pod.status);
        }
        let text = runbook(&backup, None, &Typed::default()).unwrap();
        // Pasted raw, a carriage return ends the line and runs what follows.
        assert!(!text.contains(|c| crate::escape::is_obeyed(c) && c != '\n'), "{text:?}");
        world.run(&text.replace("HOST=  #", "HOST=h  #"));
        assert!(!world.path("work").join("x").exists(), "{text}");
        for line in text.lines().filter(|line| line.starts_with("kubectl ")) {
            assert!(line.contains("deployment/") || !line.contains(" scale "), "{line}");
        }
    }
}

#[test]
fn a_node_of_cassandra_is_cleaned_only_when_all_of_its_snapshot_is_beside() {
    let text = text(&with(&["cassandra=node1"]));
    let run = |tag: &str| {
        let world = World::new();
        world.program("nodetool", "#!/bin/sh\n");
        world.program("systemctl", "#!/bin/sh\n");
        for dir in ["data/k/t-1/snapshots/good", "commitlog", "hints"] {
            std::fs::create_dir_all(world.path("cassandra").join(dir)).unwrap();
        }
        world.put("cassandra/data/k/t-1/new-Data.db", "newer");
        world.put("cassandra/data/k/t-1/snapshots/good/old-Data.db", "old");
        let home = world.path("cassandra");
        let filled =
            text.replace("TAG=  #", &format!("TAG={tag}  #")).replace("/var/lib/cassandra", home.to_str().unwrap());
        let said = world.run(&filled);
        let at = |name: &str| read(&home.join("data/k/t-1").join(name));
        (at("new-Data.db"), at("old-Data.db"), said)
    };
    let (new, old, said) = run("good");
    assert_eq!((new.as_str(), old.as_str()), ("", "old"), "{said}");
    let (new, _, said) = run("other");
    assert_eq!(new, "newer", "no snapshot was found: {said}");
}
