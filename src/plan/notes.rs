//! What the reader of a plan must know or act on, and nothing else.

use std::collections::BTreeSet;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Container, Pod, Probe};

use super::facts::name;
use super::loose::Loose;
use super::targets::Held;
use super::uses::Uses;
use super::{Claim, Facts, Request};
use crate::pods::running_containers;

pub(super) fn notes(
    facts: &Facts,
    held: &[Held],
    uses: &Uses,
    loose: &[Loose],
    claims: &[Claim],
    request: &Request,
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
            notes.extend(kubelet(pod, request.budget));
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
    if !facts.contents.change {
        let classes = |policy: &str| -> Vec<&str> {
            let of_it = claims.iter().filter(|c| c.deletion_policy == policy);
            let classes: BTreeSet<&str> = of_it.map(|c| c.class.as_str()).collect();
            classes.into_iter().collect()
        };
        if !classes("Delete").is_empty() {
            notes.push("volumesnapshotcontents may not be changed: the backup dies with its namespace".into());
        }
        let retain = classes("Retain");
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

fn fails_within(probe: &Probe) -> Duration {
    let period = probe.period_seconds.unwrap_or(10).max(1);
    let threshold = probe.failure_threshold.unwrap_or(3).max(1);
    Duration::from_secs(u64::from(period.unsigned_abs()) * u64::from(threshold.unsigned_abs()))
}

enum Effect {
    /// A port that is open, or a question that a held database answers.
    Harmless,
    Writes,
    Unknown,
}

fn effect(probe: &Probe) -> Effect {
    const WRITES: [&str; 7] =
        ["insert ", "update ", "delete from", "replace into", "create table", "redis-cli set ", "redis-cli incr "];
    const ASKS: [&str; 5] = ["pg_isready", "ping", "select 1", "select version", "--connect"];
    if probe.tcp_socket.is_some() {
        return Effect::Harmless;
    }
    let Some(exec) = &probe.exec else {
        return Effect::Unknown;
    };
    let words: Vec<String> = exec.command.iter().flatten().map(|w| w.to_ascii_lowercase()).collect();
    let command = format!(" {} ", words.join(" "));
    let quotes = |c: char| c.is_whitespace() || "'\";()".contains(c);
    let command = format!(" {} ", command.split(quotes).filter(|w| !w.is_empty()).collect::<Vec<_>>().join(" "));
    if WRITES.iter().any(|w| command.contains(w)) {
        Effect::Writes
    } else if ASKS.iter().any(|w| command.contains(&format!(" {w} "))) {
        Effect::Harmless
    } else {
        Effect::Unknown
    }
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
             held for 10s"
        );
        let writes = json!({"exec": {"command": ["sh", "-c", "psql -c \"INSERT INTO alive VALUES (1)\""]}});
        assert_eq!(
            noted("livenessProbe", &writes),
            "pod/db-0: the liveness probe of container db writes to the database: the kubelet restarts the container if it is \
             held for 30s"
        );
        assert_eq!(
            noted("readinessProbe", &writes),
            "pod/db-0: the readiness probe of container db writes to the database: the pod is taken out of its Services if it \
             is held for 30s"
        );
    }

    #[test]
    fn a_probe_that_is_slower_than_the_budget_is_not() {
        let slow = json!({"httpGet": {"port": 80}, "periodSeconds": 10, "failureThreshold": 4});
        assert_eq!(noted("livenessProbe", &slow), "");
    }
}
