//! A copy of Redis: its files are checked before a server loads them, for it would cut a torn end off without a word;
//! then it is started as nobody's replica, and on loopback only.

use std::time::Duration;

use k8s_openapi::api::core::v1::Container;

use super::{SIGNS, with_client};
use crate::quiescer::verify::{
    Alone, BY_HAND, Check, Checked, Isolation, LISTENERS, facts, is_loopback, prepared, preparing, takes_arguments,
    within,
};
use crate::quiescer::{Answer, Probe, Reason, shell};

/// What the copy's server is given behind the workload's own arguments: the last of each counts, before the file.
/// A Redis without a password behind a NetworkPolicy would else be served to every pod that reaches the copy.
const ARGUMENTS: &[&str] =
    &["--replicaof", "no", "one", "--min-replicas-to-write", "0", "--bind", "127.0.0.1", "--protected-mode", "yes"];

/// How it is started, or why a copy of it would not be alone.
pub(super) fn alone(container: &Container, probe: &Probe) -> Result<Alone, Reason> {
    if probe.setting("cluster_enabled") == "1" {
        return Err(shell::reason(
            "it is in cluster mode: a copy would join the real cluster as this very node",
            BY_HAND,
        ));
    }
    let takes_arguments = takes_arguments(container, SIGNS.servers);
    let replicas = !matches!(probe.setting("connected_slaves"), "" | "0");
    if replicas && !takes_arguments {
        return Err(shell::reason(
            "it has replicas, and its start program cannot be told to be nobody's: a copy could follow the real one",
            BY_HAND,
        ));
    }
    // No file of ours is read: where it listens is decided by what its start program does as it did at the backup.
    let bind = probe.setting("bind");
    if !takes_arguments && !is_loopback(bind) {
        let bind = if bind.is_empty() { "not in the backup's record" } else { bind };
        return Err(shell::reason(
            format!("its bind is {bind}, and its start program takes no arguments that would keep a copy on loopback"),
            "name the server in the workload's arguments (args: [redis-server, …]), or make copies of the claims \
             (`restore-from-snapshot RUN --claims-only --suffix NAME`)",
        ));
    }
    let aof = probe.setting("appendonly") == "yes";
    let file = if !aof {
        format!("{}/{}", probe.setting("dir"), probe.setting("dbfilename"))
    } else if probe.setting("appenddirname").is_empty() {
        // One file, before version 7.
        format!("{}/{}", probe.setting("dir"), probe.setting("appendfilename"))
    } else {
        super::aof::manifest(probe)
    };
    let script = format!(
        r#"file={file}
echo "file|$file"
if ! [ -s "$file" ]; then echo 'files|no'; return 0; fi
echo 'files|yes'
for check in redis-check-{kind} valkey-check-{kind}; do
  if command -v $check >/dev/null 2>&1; then
    said=$($check "$file" 2>&1 </dev/null)
    echo "code|$?"
    printf '%s\n' "$said" | tail -n 6 | cut -c 1-300 | sed "s/^/said|/"
    break
  fi
done"#,
        file = shell::quote(&file),
        kind = if aof { "aof" } else { "rdb" },
    );
    Ok(Alone {
        prepare: preparing(&script),
        read: read_files,
        arguments: ARGUMENTS.iter().map(|word| (*word).to_owned()).collect(),
        servers: SIGNS.servers,
        env: Vec::new(),
    })
}

fn read_files(text: &str) -> Vec<Checked> {
    const NAME: &str = "redis-check";
    let facts = match prepared(text, NAME) {
        Ok(facts) => facts,
        Err(checked) => return checked,
    };
    let file = facts.get("file");
    let said = facts.all("said").join("; ");
    vec![match (facts.get("files"), facts.get("code")) {
        ("yes", "0") => {
            Checked::passed(NAME, format!("{file}: {}", facts.all("said").last().map_or("", String::as_str)))
        }
        ("yes", "") => Checked::missing(NAME, "the image has neither redis-check-aof nor redis-check-rdb"),
        ("yes", code) => Checked::failed(NAME, format!("{file}: exit code {code}: {said}")),
        _ => Checked::failed(NAME, format!("{file} is not there: a server would start empty")),
    }]
}

const KEYS: &str = r#"info=$($limit "$@" INFO | tr -d '\r') || exit
printf '%s\n' "$info" | sed -n 's/^role:/role|/p; s/^\(db[0-9]*\):/keys|\1:/p'
size=$($limit "$@" DBSIZE) || exit
echo "size|$size"
bind=$($limit "$@" CONFIG GET bind | sed -n 2p)
echo "bind|$bind"
"#;

/// What is asked once it serves.
pub(super) fn checks(time: Duration) -> Vec<Check> {
    let script = format!("{KEYS}{LISTENERS}echo end\n");
    vec![Check { name: "keys", act: within(&with_client(&script), time), read: read_keys }]
}

fn read_keys(answer: &Answer) -> Vec<Checked> {
    const NAME: &str = "keys";
    let facts = match facts(answer, NAME) {
        Ok(facts) => facts,
        Err(checked) => return checked,
    };
    let mut isolated = Isolation::of(&facts);
    match facts.get("role") {
        "master" => isolated.must(true, "nobody's replica"),
        "" => isolated.unknown("it does not tell its role"),
        role => isolated.must(false, format!("its role is {role}")),
    }
    match facts.get("bind") {
        "" => isolated.unknown("it does not tell where it listens"),
        bind => isolated.must(is_loopback(bind), format!("bind={bind}")),
    }
    let keys = match facts.get("size").parse::<u64>() {
        Ok(0) if facts.all("keys").is_empty() => Checked::passed(NAME, "none"),
        Ok(_) => Checked::passed(NAME, facts.all("keys").join("; ")),
        Err(_) => Checked::failed(NAME, format!("DBSIZE was answered with: {}", facts.get("size"))),
    };
    vec![isolated.checked(), keys]
}

#[cfg(test)]
mod tests;
