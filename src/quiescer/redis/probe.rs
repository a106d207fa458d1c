//! What is asked of Redis before anything is touched, and what of its answers stands in the way.

use super::{rdb, with_client};
use crate::quiescer::shell::{self, reason};
use crate::quiescer::{Act, Answer, LOST_REPLICA, Probe, REPLICA, Reason};

/// Where credentials are looked for; named in refusals.
const LOOKED_AT: &str = "REDIS_PASSWORD, REDIS_MASTER_PASSWORD, VALKEY_PASSWORD, REDISCLI_AUTH (the default user)";

/// Settings in the record: a copy started with others is empty, or is read from the wrong file.
const SETTINGS: &str = "appendonly dir dbfilename appenddirname appendfilename appendfsync save \
    aof_use_rdb_preamble cluster_enabled connected_slaves bind";

/// The witness tried for two seconds: who does not answer it, but answers INFO, is paused already.
const PROBE: &str = r#"info=$($limit "$@" INFO | tr -d '\r') || exit
case $info in *redis_version:*) ;; *) printf '%s\n' "$info" >&2; exit 3;; esac
printf '%s\n' "$info" | sed -n '/^redis_version:/p; /^valkey_version:/p; /^role:/p; /^loading:/p; /^async_loading:/p; /^aof_/p; /^rdb_/p; /^cluster_enabled:/p; /^connected_slaves:/p; /^redis_mode:/p; /^master_replid:/p; /^master_link_status:/p'
for name in appendonly dir dbfilename appenddirname appendfilename appendfsync save aof-use-rdb-preamble bind; do
  printf '%s:%s\n' "$name" "$($limit "$@" CONFIG GET "$name" | sed -n 2p)"
done | sed 's/^aof-use-rdb-preamble:/aof_use_rdb_preamble:/'
dir=$($limit "$@" CONFIG GET dir | sed -n 2p)
if [ -r "$dir" ]; then printf 'dir_real:%s\n' "$(readlink -f "$dir")"; fi
if timeout 5 true 2>/dev/null; then limit='timeout 2'; fi
case $info in *cluster_enabled:1*) set -- "$@" EVAL 'return 0' 0;; *) set -- "$@" DEL consistent-backup/probe;; esac
answer=$($limit "$@"); printf 'witness:%s,%s\n' "$?" "$answer"
"#;

/// The probe.
pub(super) fn act() -> Act {
    shell::once(&with_client(&format!("{PROBE}{}echo end\n", shell::probe_sync(':'))))
}

/// Reads its answer.
pub(super) fn read(answer: &Answer) -> Result<Probe, Vec<Reason>> {
    let facts = shell::facts(answer, ':', LOOKED_AT).map_err(|reason| vec![reason])?;
    if facts.get("role") == "slave" && !facts.get("dir_real").is_empty() {
        return Ok(replica(&facts));
    }
    let reasons = obstacles(&facts);
    if !reasons.is_empty() {
        return Err(reasons);
    }
    let mut notes = Vec::new();
    if facts.get("aof_enabled") == "1" && facts.get("appendfsync") != "always" {
        notes.push(format!("appendfsync is {}; writes are flushed before the cut", facts.get("appendfsync")));
    }
    let took = rdb::last_took(facts.get("rdb_last_bgsave_time_sec"));
    let only_dump = facts.get("aof_enabled") != "1";
    if only_dump {
        notes.push(match took {
            Some(took) => {
                format!("no append-only file: a dump is written while it is held; the last one took {took} s")
            }
            None => "no append-only file: a dump is written while it is held; how long that takes is not known".into(),
        });
    }
    if facts.get("cluster_enabled") == "1" {
        notes.push("cluster mode: this node holds a part of the keys; all masters must be in one group".into());
    }
    if facts.get("aof_rewrite_in_progress") != "0" || facts.get("aof_rewrite_scheduled") != "0" {
        notes.push("the append-only file is being rewritten; its end is waited for".into());
    }
    Ok(Probe {
        version: version(&facts),
        role: "master".into(),
        replication: facts.get("master_replid").to_owned(),
        stops_commits: true,
        data_dirs: vec![facts.get("dir_real").to_owned()],
        settings: facts.settings(SETTINGS),
        // To the whole second, rounded down by the server.
        flush_seconds: if only_dump { took.unwrap_or(0) + 1 } else { 0 },
        notes,
        ..Probe::default()
    })
}

fn version(facts: &shell::Facts) -> String {
    match facts.get("valkey_version") {
        "" => facts.get("redis_version").to_owned(),
        valkey => format!("{valkey}-valkey"),
    }
}

/// It has its master's id as soon as it followed it once.
fn replica(facts: &shell::Facts) -> Probe {
    Probe {
        version: version(facts),
        role: if facts.get("master_link_status") == "down" { LOST_REPLICA } else { REPLICA }.into(),
        replication: facts.get("master_replid").to_owned(),
        data_dirs: vec![facts.get("dir_real").to_owned()],
        settings: facts.settings(SETTINGS),
        ..Probe::default()
    }
}

/// Reasons that lie in the server's version, role and persistence.
fn obstacles(facts: &shell::Facts) -> Vec<Reason> {
    let is = |key: &str, value: &str| facts.get(key) == value;
    let mut reasons = Vec::new();
    let version = facts.get("redis_version");
    let mut numbers = version.split('.').map_while(|n| n.parse::<u32>().ok());
    if (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0)) < (6, 2) {
        reasons.push(reason(format!("Redis {version} has no pause for writes alone"), "use 6.2 or later"));
    }
    if !is("loading", "0") || is("async_loading", "1") {
        reasons.push(reason("the server is loading its data", "try again when it is done").in_data());
    }
    if !is("aof_enabled", "1") {
        if !is("rdb_last_bgsave_status", "ok") {
            reasons.push(
                reason(
                    "the last dump failed, and without an append-only file there is nothing else to copy",
                    "see the server's log; is the volume full?",
                )
                .in_data(),
            );
        }
    } else if !is("aof_last_write_status", "ok") || !is("aof_last_bgrewrite_status", "ok") {
        reasons.push(
            reason(
                "the last write or rewrite of the append-only file failed",
                "see the server's log; is the volume full?",
            )
            .in_data(),
        );
    }
    if facts.get("dir_real").is_empty() {
        reasons.push(reason(
            "the directory of the append-only file is not known, or cannot be read in the container",
            "CONFIG GET must be allowed, and commands must run there as root or as the server's user",
        ));
    }
    match facts.get("witness") {
        _ if !is("role", "master") => {
            reasons.push(reason("the server is a replica", "back up its master instead"));
        }
        "0,0" => {}
        "124," => reasons.push(
            reason(
                "writes are paused already, by somebody else",
                "wait until that pause ends, or end it with CLIENT UNPAUSE",
            )
            .in_data(),
        ),
        other => {
            let answer: String = other.chars().take(100).collect();
            reasons.push(Reason::new(format!("a write that changes nothing is refused: {answer}")).in_data());
        }
    }
    if !is("sync", "yes") {
        reasons.push(shell::no_sync());
    }
    reasons
}
