//! A copy of Redis: its files are checked before a server loads them, for it would cut a torn end off without a word;
//! then it is started as nobody's replica.

use std::time::Duration;

use k8s_openapi::api::core::v1::Container;

use super::{SIGNS, with_client};
use crate::quiescer::verify::{Alone, Check, Checked, facts, prepared, preparing, takes_arguments, within};
use crate::quiescer::{Answer, Probe, Reason, shell};

/// How it is started, or why a copy of it would not be alone.
pub(super) fn alone(container: &Container, probe: &Probe) -> Result<Alone, Reason> {
    const BY_HAND: &str = "make copies of the claims (`restore-from-snapshot RUN --claims-only --suffix NAME`) and check them in a namespace of their own";
    if probe.setting("cluster_enabled") == "1" {
        return Err(shell::reason(
            "it is in cluster mode: a copy would join the real cluster as this very node",
            BY_HAND,
        ));
    }
    let replicas = !matches!(probe.setting("connected_slaves"), "" | "0");
    if replicas && !takes_arguments(container, SIGNS.servers) {
        return Err(shell::reason(
            "it has replicas, and its start program cannot be told to be nobody's: a copy could follow the real one",
            BY_HAND,
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
    let arguments = ["--replicaof", "no", "one", "--min-replicas-to-write", "0"].map(str::to_owned);
    Ok(Alone {
        prepare: preparing(&script),
        read: read_files,
        arguments: arguments.into(),
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
echo end
"#;

/// What is asked once it serves.
pub(super) fn checks(time: Duration) -> Vec<Check> {
    vec![Check { name: "keys", act: within(&with_client(KEYS), time), read: read_keys }]
}

fn read_keys(answer: &Answer) -> Vec<Checked> {
    const NAME: &str = "keys";
    let facts = match facts(answer, NAME) {
        Ok(facts) => facts,
        Err(checked) => return checked,
    };
    let isolated = match facts.get("role") {
        "master" => Checked::passed("isolated", "it is nobody's replica"),
        "" => Checked::unknown("isolated", "it does not tell its role"),
        role => Checked::failed("isolated", format!("its role is {role}")),
    };
    let keys = match facts.get("size").parse::<u64>() {
        Ok(0) if facts.all("keys").is_empty() => Checked::passed(NAME, "none"),
        Ok(_) => Checked::passed(NAME, facts.all("keys").join("; ")),
        Err(_) => Checked::failed(NAME, format!("DBSIZE was answered with: {}", facts.get("size"))),
    };
    vec![isolated, keys]
}

#[cfg(test)]
mod tests;
