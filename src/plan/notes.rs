//! What the reader of a plan must know or act on, and nothing else.

use std::collections::BTreeSet;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Container, Pod, Probe};

use super::facts::name;
use super::loose::Loose;
use super::targets::Held;
use super::uses::Uses;
use super::{Claim, Facts};
use crate::pods::running_containers;

pub(super) fn notes(
    facts: &Facts,
    held: &[Held],
    uses: &Uses,
    loose: &[Loose],
    claims: &[Claim],
    budget: Duration,
) -> Vec<String> {
    let mut notes = facts.notes.clone();
    for h in held {
        let pod = &h.detected.pod;
        notes.extend(h.probe.notes.iter().map(|note| format!("pod/{pod}: {note}")));
    }
    notes.extend(
        uses.unheld.iter().map(|pod| {
            format!("{pod}: nothing is held, as its annotation asks: the backup is crash-consistent at best")
        }),
    );
    notes.extend(uses.left_out.iter().map(|(claim, why)| {
        format!("persistentvolumeclaim/{claim}: is not cut ({why}), and a restore does not replace it")
    }));
    notes.extend(loose.iter().map(|l| l.note.clone()));
    notes.extend(contents(facts, claims));
    for pod in &facts.pods {
        if held.iter().any(|h| h.probe.stops_commits && h.is_of(pod)) {
            notes.extend(kubelet(pod, budget));
        }
    }
    notes
}

fn contents(facts: &Facts, claims: &[Claim]) -> Vec<String> {
    let mut notes = Vec::new();
    if !facts.contents.read {
        notes.push(
            "volumesnapshotcontents may not be read: cuts are proved by the VolumeSnapshots' own, later times (1 s instead \
             of 0.1 s for one claim, 16 s instead of 6 s for ten)"
                .into(),
        );
    }
    let classes = |policy: &str| -> Vec<&str> {
        let of_it = claims.iter().filter(|c| c.deletion_policy == policy);
        let classes: BTreeSet<&str> = of_it.map(|c| c.class.as_str()).collect();
        classes.into_iter().collect()
    };
    let retain = classes("Retain");
    if facts.contents.change && facts.contents_stay && !retain.is_empty() {
        notes.push(format!(
            "volumesnapshotcontents may not be deleted, and class {} has deletionPolicy Retain: what a failed attempt leaves \
             of them stays until somebody deletes it (`rbac --retain` prints the rule)",
            retain.join(", ")
        ));
    }
    if !facts.contents.change {
        if !classes("Delete").is_empty() {
            notes.push("volumesnapshotcontents may not be changed: the backup dies with its namespace".into());
        }
        if !retain.is_empty() {
            notes.push(format!(
                "volumesnapshotcontents may not be changed, and class {} has deletionPolicy Retain: `delete` will leave the \
                 stored copies behind",
                retain.join(", ")
            ));
        }
    }
    notes
}

/// Probes that a held database may fail: the kubelet would restart it, or take it out of its Services.
fn kubelet(pod: &Pod, budget: Duration) -> Vec<String> {
    let mut notes = Vec::new();
    for container in running_containers(pod) {
        let probes = [("liveness", &container.liveness_probe), ("readiness", &container.readiness_probe)];
        for (kind, probe) in probes {
            let Some(probe) = probe else { continue };
            if fails_within(probe) > budget {
                continue;
            }
            let what = match (kind, effect(probe)) {
                (_, Effect::Harmless) | ("readiness", Effect::Unknown) => continue,
                (_, Effect::Writes) => "writes to the database",
                (_, Effect::Unknown) => "may depend on writes",
            };
            notes.push(note(pod, container, kind, what, fails_within(probe)));
        }
    }
    notes
}

fn note(pod: &Pod, container: &Container, kind: &str, what: &str, after: Duration) -> String {
    let then =
        if kind == "liveness" { "the kubelet restarts the container" } else { "the pod is taken out of its Services" };
    format!(
        "pod/{}: the {kind} probe of container {} {what}: {then} if it is held for {after:?}",
        name(pod),
        container.name
    )
}

/// After how long a hold has failed it at the earliest: its first try may come at once, the last one has its time.
fn fails_within(probe: &Probe) -> Duration {
    let seconds = |value: Option<i32>, default: i32| u64::from(value.unwrap_or(default).max(1).unsigned_abs());
    let (period, threshold) = (seconds(probe.period_seconds, 10), seconds(probe.failure_threshold, 3));
    Duration::from_secs(period * (threshold - 1) + seconds(probe.timeout_seconds, 1))
}

/// What a probe does to a held database. The worst last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Effect {
    /// A port that is open, or a question that a held database answers.
    Harmless,
    Unknown,
    Writes,
}

/// Words that a command which changes data has, by the client that it calls; SQL is told by its own words.
const WRITES: [(&str, &[&str]); 2] = [
    (
        "redis-cli",
        &["set", "setex", "incr", "decr", "append", "del", "hset", "lpush", "rpush", "sadd", "zadd", "expire"],
    ),
    ("", &["insert", "update", "delete", "replace", "create", "truncate", "drop", "merge"]),
];
/// Commands that a held database answers.
const ASKS: [&str; 5] = ["pg_isready", "ping", "select 1", "--connect", "grpc_health_probe"];

fn effect(probe: &Probe) -> Effect {
    // A health service tells of the server, not of what it is asked for.
    if probe.tcp_socket.is_some() || probe.grpc.is_some() {
        return Effect::Harmless;
    }
    let Some(exec) = &probe.exec else {
        return Effect::Unknown;
    };
    let all: Vec<String> = exec.command.iter().flatten().map(|w| w.to_ascii_lowercase()).collect();
    // Each command of a chain on its own: one that only asks says nothing of the one beside it.
    let chain = all.join(" ");
    let parts: Vec<Effect> = chain.split(['&', '|', ';', '\n']).filter_map(part).collect();
    match parts.iter().max() {
        Some(worst) => *worst,
        None => Effect::Unknown,
    }
}

/// One command of a chain; nothing of one that only reads what another says.
fn part(command: &str) -> Option<Effect> {
    // What another command says of it is not looked into.
    let nested = command.contains("$(") || command.contains('`');
    let quotes = |c: char| c.is_whitespace() || "'\"`()$".contains(c);
    let words: Vec<&str> = command.split(quotes).filter(|w| !w.is_empty()).collect();
    let has = |wanted: &str| words.contains(&wanted);
    let first =
        words.iter().find(|w| !matches!(**w, "sh" | "bash" | "-c" | "-ec" | "exec" | "/bin/sh" | "/bin/bash"))?;
    if !nested && matches!(*first, "grep" | "exit" | "true" | "false" | "echo" | "test" | "[") {
        return None;
    }
    let client = |client: &str| client.is_empty() || words.iter().any(|w| w.ends_with(client));
    if WRITES.iter().any(|(of, writes)| client(of) && writes.iter().any(|w| has(w))) {
        return Some(Effect::Writes);
    }
    let padded = format!(" {}", words.join(" "));
    let says = |ask: &str| {
        if ask.contains(' ') {
            // A whole statement, which nothing follows.
            padded.ends_with(&format!(" {ask}"))
        } else {
            has(ask) || first.ends_with(&format!("/{ask}"))
        }
    };
    let asks = !nested && ASKS.iter().any(|ask| says(ask));
    Some(if asks { Effect::Harmless } else { Effect::Unknown })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn noted(kind: &str, probe: &serde_json::Value) -> String {
        let pod = serde_json::from_value(json!({
            "metadata": {"name": "db-0"},
            "spec": {"containers": [{"name": "db", kind: probe}]}
        }));
        kubelet(&pod.unwrap(), Duration::from_secs(30)).join("; ")
    }

    #[test]
    fn a_probe_that_a_held_database_answers_is_not_worth_a_word() {
        for command in [
            json!(["pg_isready"]),
            json!(["sh", "-c", "exec pg_isready -h 127.0.0.1"]),
            json!(["mysqladmin", "-uroot", "ping"]),
            json!(["sh", "-c", "redis-cli PING | grep PONG"]),
            json!(["mariadb", "-e", "SELECT 1;"]),
            json!(["healthcheck.sh", "--connect"]),
            json!(["bash", "-ec", "/usr/bin/pg_isready -q || exit 1"]),
        ] {
            assert_eq!(noted("livenessProbe", &json!({"exec": {"command": command}})), "", "{command}");
        }
        assert_eq!(noted("livenessProbe", &json!({"tcpSocket": {"port": 3306}})), "");
        assert_eq!(noted("readinessProbe", &json!({"httpGet": {"port": 80}})), "");
    }

    #[test]
    fn a_probe_that_may_end_the_container_is() {
        assert_eq!(
            noted("livenessProbe", &json!({"httpGet": {"port": 80}, "periodSeconds": 5, "failureThreshold": 2})),
            "pod/db-0: the liveness probe of container db may depend on writes: the kubelet restarts the container if it is \
             held for 6s"
        );
        let writes = json!({"exec": {"command": ["sh", "-c", "psql -c \"INSERT INTO alive VALUES (1)\""]}});
        assert_eq!(
            noted("livenessProbe", &writes),
            "pod/db-0: the liveness probe of container db writes to the database: the kubelet restarts the container if it is \
             held for 21s"
        );
        assert_eq!(
            noted("readinessProbe", &writes),
            "pod/db-0: the readiness probe of container db writes to the database: the pod is taken out of its Services if it \
             is held for 21s"
        );
    }

    #[test]
    fn one_command_of_a_chain_is_enough_to_write() {
        for command in [
            json!(["sh", "-c", "redis-cli ping && redis-cli -h 127.0.0.1 set alive 1"]),
            json!(["redis-cli", "-h", "127.0.0.1", "SET", "alive", "1"]),
            json!(["sh", "-c", "pg_isready; psql -c 'UPDATE alive SET at = now()'"]),
        ] {
            for kind in ["livenessProbe", "readinessProbe"] {
                let said = noted(kind, &json!({"exec": {"command": command}}));
                assert!(said.contains("writes to the database"), "{kind} {command}: {said}");
            }
        }
        for unknown in [
            "redis-cli ping && /check.sh",
            "curl -f http://localhost/ping",
            "echo $(/check.sh); pg_isready",
            "psql -c 'select 1 from touch()'",
        ] {
            let probe = json!({"exec": {"command": ["sh", "-c", unknown]}});
            assert!(noted("livenessProbe", &probe).contains("may depend on writes"), "{unknown}");
        }
    }

    #[test]
    fn the_first_try_may_come_at_once() {
        let probe = |period: i32, threshold: i32, timeout: i32| json!({"httpGet": {"port": 80}, "periodSeconds": period, "failureThreshold": threshold, "timeoutSeconds": timeout});
        for (probe, after) in [(probe(31, 1, 1), "1s"), (probe(10, 3, 5), "25s"), (probe(29, 2, 1), "30s")] {
            let said = noted("livenessProbe", &probe);
            assert!(said.ends_with(&format!("is held for {after}")), "{probe}: {said}");
        }
        assert_eq!(noted("livenessProbe", &probe(30, 2, 1)), "");
    }

    #[test]
    fn a_probe_that_is_slower_than_the_budget_is_not() {
        let slow = json!({"httpGet": {"port": 80}, "periodSeconds": 10, "failureThreshold": 5});
        assert_eq!(noted("livenessProbe", &slow), "");
    }
}
