//! Relational databases: a managed one is restored to an instant as another instance; any other by its own logs.

use super::Restoring;
use super::page::Page;
use crate::plan::Database;
use crate::typed::quoted;

/// What runs a database, as its host tells.
#[derive(Debug, PartialEq, Eq)]
enum Service<'a> {
    RdsInstance { name: &'a str, region: &'a str },
    RdsCluster { name: &'a str, region: &'a str },
    Azure { name: &'a str, engine: &'static str },
    Other,
}

impl<'a> Service<'a> {
    fn of(host: &'a str) -> Self {
        let labels: Vec<&str> = host.split('.').collect();
        match labels[..] {
            [name, cluster, region, "rds", "amazonaws", "com", ..] if cluster.starts_with("cluster-") => {
                Self::RdsCluster { name, region }
            }
            [name, _, region, "rds", "amazonaws", "com", ..] => Self::RdsInstance { name, region },
            [name, "mysql", "database", "azure", "com"] => Self::Azure { name, engine: "mysql" },
            [name, "postgres", "database", "azure", "com"] => Self::Azure { name, engine: "postgres" },
            _ => Self::Other,
        }
    }
}

/// The part about a database; it leaves the new host in `HOST`.
pub(super) fn part(page: &mut Page, database: &Database, restoring: &Restoring<'_>) {
    match Service::of(host(&database.endpoint).unwrap_or_default()) {
        Service::RdsInstance { name, region } => {
            page.run(&names(name, Some(region), restoring));
            reaches(page, "db-instances", "db-instance", "DBInstances[0].[BackupRetentionPeriod,LatestRestorableTime]");
            page.say(
                "As another instance; subnets, security groups and parameters are given here or are the defaults.",
            );
            page.run(
                "aws rds restore-db-instance-to-point-in-time --region \"$REGION\" --source-db-instance-identifier \"$OLD\" \\\n  \
                 --target-db-instance-identifier \"$NEW\" --restore-time \"$AT\"\n\
                 for try in {1..20}; do\n  \
                 aws rds wait db-instance-available --region \"$REGION\" --db-instance-identifier \"$NEW\" && break\n  \
                 sleep 10\n\
                 done\n\
                 HOST=$(aws rds describe-db-instances --region \"$REGION\" --db-instance-identifier \"$NEW\" \\\n  \
                 --query 'DBInstances[0].Endpoint.Address' --output text)\n\
                 [ \"$HOST\" = None ] && HOST=",
            );
        }
        Service::RdsCluster { name, region } => {
            page.run(&names(name, Some(region), restoring));
            reaches(page, "db-clusters", "db-cluster", "DBClusters[0].[EarliestRestorableTime,LatestRestorableTime]");
            page.say("As another cluster, which has no instance by itself (Aurora), and later its readers.");
            page.run(
                "aws rds restore-db-cluster-to-point-in-time --region \"$REGION\" --source-db-cluster-identifier \"$OLD\" \\\n  \
                 --db-cluster-identifier \"$NEW\" --restore-to-time \"$AT\"\n\
                 for try in {1..20}; do\n  \
                 aws rds wait db-cluster-available --region \"$REGION\" --db-cluster-identifier \"$NEW\" && break\n  \
                 sleep 10\n\
                 done",
            );
            page.template(
                "aws rds create-db-instance --region \"$REGION\" --db-cluster-identifier \"$NEW\" \\\n  \
                 --db-instance-identifier \"$NEW-1\" --engine ENGINE-OF-THE-OLD-ONE --db-instance-class CLASS-OF-THE-OLD-ONE",
            );
            page.run(
                "HOST=$(aws rds describe-db-clusters --region \"$REGION\" --db-cluster-identifier \"$NEW\" \\\n  \
                 --query 'DBClusters[0].Endpoint' --output text)\n\
                 [ \"$HOST\" = None ] && HOST=",
            );
        }
        Service::Azure { name, engine } => {
            page.run(&names(name, None, restoring));
            page.run(&format!(
                "GROUP=$(az {engine} flexible-server list --query \"[?name=='$OLD'].resourceGroup | [0]\" --output tsv)"
            ));
            page.say("The earliest restorable time must be before $AT.");
            page.run(&format!(
                "az {engine} flexible-server show --resource-group \"$GROUP\" --name \"$OLD\" --query backup\n\
                 az {engine} flexible-server restore --resource-group \"$GROUP\" --source-server \"$OLD\" --name \"$NEW\" \\\n  \
                 --restore-time \"$AT\"\n\
                 HOST=$(az {engine} flexible-server show --resource-group \"$GROUP\" --name \"$NEW\" \\\n  \
                 --query fullyQualifiedDomainName --output tsv)"
            ));
        }
        Service::Other => other(page, database, restoring),
    }
}

/// What is restored as what, from where and to when. A host may hold what a shell would run.
fn names(name: &str, region: Option<&str>, restoring: &Restoring<'_>) -> String {
    let region = region.map_or_else(String::new, |region| format!("REGION={}\n", quoted(region)));
    let new = quoted(&format!("{name}-{}", restoring.run()));
    format!("{region}OLD={}\nNEW={new}\nAT={}", quoted(name), restoring.at())
}

fn reaches(page: &mut Page, many: &str, one: &str, query: &str) {
    page.say("Automated backups must reach from before $AT to after it.");
    page.run(&format!(
        "aws rds describe-{many} --region \"$REGION\" --{one}-identifier \"$OLD\" \\\n  --query '{query}'"
    ));
}

fn other(page: &mut Page, database: &Database, restoring: &Restoring<'_>) {
    let at = restoring.at();
    page.say(&format!(
        "By the way that this database is run: as another instance, to {at}, and no later. A managed service: its own \
         point-in-time recovery. By hand, from a base backup that is older than the window and all logs since:"
    ));
    let engine = database.endpoint.strip_prefix("jdbc:").and_then(|url| url.split(':').next()).unwrap_or_default();
    if matches!(engine, "postgresql" | "") {
        page.say("PostgreSQL:");
        page.template(&format!(
            "recovery_target_time = '{}'\nrecovery_target_inclusive = true\nrecovery_target_action = 'promote'",
            at.strip_suffix('Z').map_or_else(|| at.clone(), |at| format!("{}+00", at.replace('T', " ")))
        ));
    }
    if matches!(engine, "mysql" | "mariadb" | "") {
        page.say("MySQL, MariaDB (the time is in the time zone of the client, so that is set):");
        page.template(&format!(
            "TZ=UTC mysqlbinlog --stop-datetime='{}' BINLOGS-SINCE-THE-BASE-BACKUP | mysql",
            at.trim_end_matches('Z').replace('T', " ")
        ));
    }
    page.run("HOST=  # of the restored database");
}

/// Host and port of a JDBC URL.
pub(super) fn server(url: &str) -> Option<&str> {
    let rest = url.split_once("//")?.1;
    host(url).and(rest.split(['/', ';', '?', ',']).next())
}

/// The host of a JDBC URL.
pub(super) fn host(url: &str) -> Option<&str> {
    let rest = url.split_once("//")?.1;
    let host = rest.split(['/', ':', ';', '?', ',']).next()?;
    (!host.is_empty() && !host.contains(['$', '['])).then_some(host)
}

/// The same URL with the host in `$HOST`, as a word of the shell. A host may be a part of the engine's own name.
pub(super) fn elsewhere(url: &str) -> Option<String> {
    let (before, after) = url.split_once(&format!("//{}", host(url)?))?;
    let after = if after.is_empty() { String::new() } else { quoted(after) };
    Some(format!("{}\"${{HOST:?}}\"{after}", quoted(&format!("{before}//"))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_managed_one_is_known_by_its_host() {
        let of = |url| Service::of(host(url).unwrap());
        assert_eq!(
            of("jdbc:postgresql://shop.c1a2b3.ap-northeast-1.rds.amazonaws.com:5432/x"),
            Service::RdsInstance { name: "shop", region: "ap-northeast-1" }
        );
        assert_eq!(
            of("jdbc:mysql://shop.cluster-c1a2b3.us-east-1.rds.amazonaws.com/"),
            Service::RdsCluster { name: "shop", region: "us-east-1" }
        );
        assert_eq!(
            of("jdbc:mysql://shop.mysql.database.azure.com:3306/"),
            Service::Azure { name: "shop", engine: "mysql" }
        );
        assert_eq!(of("jdbc:mysql://mysql.demo.svc:3306/"), Service::Other);
        assert_eq!(host("jdbc:mysql://${env:HOST}:3306/"), None);
        assert_eq!(server("jdbc:mysql://a:3306/x?b=c"), Some("a:3306"));
        assert_eq!(server("jdbc:mysql://${env:HOST}:3306/"), None);
        assert_eq!(host("jdbc:sqlite:/x.db"), None);
        let moved = |url| elsewhere(url).unwrap();
        assert_eq!(moved("jdbc:postgresql://postgres:5432/app"), "jdbc:postgresql://\"${HOST:?}\":5432/app");
        assert_eq!(moved("jdbc:mysql://a"), "jdbc:mysql://\"${HOST:?}\"");
        assert_eq!(moved("jdbc:mysql://a/x?b=`c`&d"), "jdbc:mysql://\"${HOST:?}\"'/x?b=`c`&d'");
    }
}
