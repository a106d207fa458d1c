//! What is taken for a database, and what is not.
#![allow(clippy::unwrap_used)]

use super::*;
use crate::quiescer::QUIESCERS;
use k8s_openapi::api::core::v1::{ContainerPort, EnvVar, Pod};

fn detected(container: &Container) -> Vec<&'static str> {
    QUIESCERS.iter().filter(|q| q.detects(&Pod::default(), container)).map(|q| q.name()).collect()
}

fn container(image: &str, command: &[&str], args: &[&str]) -> Container {
    let owned = |words: &[&str]| (!words.is_empty()).then(|| words.iter().map(ToString::to_string).collect());
    Container { image: Some(image.into()), command: owned(command), args: owned(args), ..Container::default() }
}

/// Image ; command ; arguments ; adapter.
const TABLE: &str = "
    postgres ; - ; - ; postgres
    postgres:16-alpine ; - ; - ; postgres
    localhost:5000/library/postgres@sha256:0123 ; - ; -c fsync=on ; postgres
    docker.io/bitnami/postgresql:15.4.0-debian-11-r5 ; - ; - ; postgres
    bitnami/postgresql-repmgr:15 ; - ; - ; postgres
    timescale/timescaledb-ha:pg16 ; - ; - ; postgres
    pgvector/pgvector:pg17 ; - ; - ; postgres
    postgis/postgis:16-3.4 ; - ; - ; postgres
    registry.redhat.io/rhel8/postgresql-13 ; - ; - ; postgres
    acme/db:1 ; postgres ; -D /data ; postgres
    postgres:16 ; docker-entrypoint.sh ; postgres ; postgres
    postgres:16 ; sleep infinity ; - ; none
    postgres:16 ; sh -c pg_dump -h db app | gzip > /b/x ; - ; none
    postgres:16 ; psql ; -c select 1 ; none
    quay.io/prometheuscommunity/postgres-exporter:v0.15 ; - ; - ; none
    prometheuscommunity/postgres_exporter ; - ; - ; none
    edoburu/pgbouncer ; - ; - ; none
    registry.opensource.zalan.do/acid/postgres-operator:v1 ; - ; - ; none
    postgres:16 ; sh -c pg_dump -U postgres -d postgres ; - ; none
    postgres:16 ; gosu postgres pg_basebackup ; - ; none
    acme/db ; gosu postgres postgres -D /data ; - ; postgres
    acme/db ; tini -- postgres ; - ; postgres
    mariadb:10.11 ; - ; - ; mysql
    mysql:8.4 ; - ; --default-authentication-plugin=x ; mysql
    bitnami/mariadb-galera:11 ; - ; - ; mysql
    percona/percona-server:8.0 ; - ; - ; mysql
    percona/percona-distribution-postgresql:16 ; - ; - ; postgres
    percona:8.0 ; - ; - ; mysql
    percona/percona-xtradb-cluster:8.0 ; - ; - ; mysql
    percona/percona-server-mongodb:6 ; - ; - ; none
    rhscl/mysql-57-rhel7 ; - ; - ; mysql
    acme/db ; /usr/sbin/mariadbd ; - ; mysql
    acme/db ; /bin/bash -c exec mysqld --user=mysql ; - ; mysql
    mysql:8 ; sh -c mysqldump --all-databases > /b/x ; - ; none
    prom/mysqld-exporter ; - ; - ; none
    phpmyadmin/phpmyadmin ; - ; - ; none
    mysql/mysql-router:8.0 ; - ; - ; none
    redis:7 ; - ; - ; redis
    redis/redis-stack-server:7.2.0 ; - ; - ; redis
    valkey/valkey:8 ; - ; - ; redis
    redis:7 ; redis-server ; /etc/redis.conf ; redis
    bitnami/redis:7.2 ; /bin/bash ; -c /opt/bitnami/scripts/start-scripts/start-master.sh ; redis
    rhscl/redis-32-rhel7 ; /opt/rh/rh-redis32/root/usr/bin/redis-server ; - ; redis
    redis:7 ; redis-server /etc/s.conf --sentinel ; - ; none
    redis:7 ; redis-sentinel /etc/s.conf ; - ; none
    bitnami/redis-sentinel:7 ; - ; - ; none
    oliver006/redis_exporter ; - ; - ; none
    redis:7 ; redis-cli ; monitor ; none
    redis/redisinsight ; - ; - ; none
    rediscommander/redis-commander ; - ; - ; none
    nginx:1 ; - ; - ; none
    - ; - ; - ; none
";

#[test]
fn by_image_and_command() {
    for row in TABLE.lines().filter(|row| !row.trim().is_empty()) {
        let columns: Vec<&str> = row.split(" ; ").map(str::trim).collect();
        let [image, command, args, expected] = columns[..] else { panic!("{row}") };
        let words = |text: &'static str| text.split(' ').filter(|word| *word != "-").collect::<Vec<_>>();
        let found = detected(&container(image, &words(command), &words(args))).join(",");
        assert_eq!(if found.is_empty() { "none" } else { &found }, expected, "{row}");
    }
}

#[test]
fn a_shells_text_is_read_word_by_word() {
    let run = |text: &str| detected(&container("acme/db", &["/bin/bash", "-ec", text], &[])).join(",");
    assert_eq!(run("sed -i s/a/b/ /etc/my.cnf; exec mysqld --user=mysql"), "mysql");
    assert_eq!(run("redis-cli ping && (redis-server /etc/redis.conf)"), "redis");
    assert_eq!(run("pg_dump -U postgres -d postgres | gzip > /b/x"), "");
}

#[test]
fn a_port_needs_a_name_or_configuration() {
    let with = |port: i32, name: Option<&str>, env: &[&str]| {
        let ports =
            vec![ContainerPort { container_port: port, name: name.map(Into::into), ..ContainerPort::default() }];
        let env = env.iter().map(|name| EnvVar { name: (*name).into(), ..EnvVar::default() }).collect();
        detected(&Container { ports: Some(ports), env: Some(env), ..container("acme/store:1", &[], &[]) }).join(",")
    };
    assert_eq!(with(5432, None, &[]), "");
    assert_eq!(with(5432, Some("postgresql"), &[]), "postgres");
    assert_eq!(with(5432, None, &["PGDATA"]), "postgres");
    assert_eq!(with(3306, Some("mysql"), &[]), "mysql");
    assert_eq!(with(3306, Some("db"), &["MARIADB_DATABASE"]), "mysql");
    assert_eq!(with(6379, Some("tcp-redis"), &["REDIS_PASSWORD"]), "redis");
    // CloudNativePG starts PostgreSQL from a manager of its own.
    let cnpg = Container {
        ports: Some(vec![ContainerPort {
            container_port: 5432,
            name: Some("postgresql".into()),
            ..ContainerPort::default()
        }]),
        ..container("ghcr.io/cloudnative-pg/postgresql:17", &["/controller/manager"], &["instance", "run"])
    };
    assert_eq!(detected(&cnpg), ["postgres"]);
    // An application that talks to a database is none.
    assert_eq!(with(8080, Some("http"), &["POSTGRES_HOST", "REDIS_URL"]), "");
}
