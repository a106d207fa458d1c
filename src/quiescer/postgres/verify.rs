//! A copy of PostgreSQL: started without archive, primary, subscriptions and jobs; then every page is read and every
//! B-tree compared with its table.

use std::time::Duration;

use k8s_openapi::api::core::v1::Container;

use super::SIGNS;
use super::client::{APP, with_client};
use crate::quiescer::verify::{
    Alone, BY_HAND, Check, Checked, Isolation, LISTENERS, OVER, facts, is_loopback, named, prepared, preparing,
    takes_arguments, within,
};
use crate::quiescer::{Answer, Probe, Reason, shell};

/// Settings of the copy, from this version on. The WAL of the copy has the real one's names: in the real archive it
/// would replace or block the real segments. A subscription would take the real one's slot. A commit would wait for a
/// standby that is not there.
///
/// Whatever `shared_preload_libraries` names registers background workers: pglogical and bdr connect to the real primary,
/// TimescaleDB and pg_cron run jobs, pg_net sends requests. With no slot for workers the server refuses each with a line
/// in its log and starts; crash recovery needs none (seen with 15.18).
const SETTINGS: &[(u32, &str, &str)] = &[
    (0, "archive_mode", "off"),
    (0, "archive_command", "/bin/false"),
    (120_000, "primary_conninfo", ""),
    (120_000, "primary_slot_name", ""),
    (0, "max_worker_processes", "0"),
    (0, "max_logical_replication_workers", "0"),
    (0, "synchronous_standby_names", ""),
    (0, "cron.launch_active_jobs", "off"),
    (0, "autovacuum", "off"),
    // A number: `localhost` is what /etc/hosts says.
    (0, "listen_addresses", "127.0.0.1"),
    // Those for `login` run in every session.
    (170_000, "event_triggers", "off"),
    // The answers are read.
    (0, "lc_messages", "C"),
];

/// Of these what must hold. Of all files `postgresql.auto.conf` counts last, but a command line wins over it.
const HARMFUL: &[&str] =
    &["archive_mode", "max_worker_processes", "max_logical_replication_workers", "listen_addresses"];

/// Programs that make their PostgreSQL a member of a group: the copy would join the real one, with its identity.
const MANAGERS: &[&str] =
    &["patroni", "spilo", "repmgr", "stolon", "stkeeper", "pg_autoctl", "cloudnative-pg", "pgpool"];

fn settings(probe: &Probe) -> impl Iterator<Item = (&'static str, &'static str)> {
    let version = version(probe);
    SETTINGS.iter().filter(move |(from, ..)| version >= *from).map(|(_, name, value)| (*name, *value))
}

fn version(probe: &Probe) -> u32 {
    probe.setting("server_version_num").parse().unwrap_or(0)
}

/// How it is started.
pub(super) fn alone(container: &Container, probe: &Probe) -> Result<Alone, Reason> {
    if let Some(manager) = manager(container) {
        return Err(shell::reason(
            format!("it is run by {manager}, which would make the copy a member of the real cluster"),
            BY_HAND,
        ));
    }
    if !takes_arguments(container, SIGNS.servers)
        && let Some(setting) = named(container, HARMFUL)
    {
        return Err(shell::reason(
            format!(
                "its start program sets {setting} itself and takes no arguments, so a copy could not be kept apart"
            ),
            BY_HAND,
        ));
    }
    let lines: Vec<String> = settings(probe).map(|(name, value)| format!("{name} = '{value}'")).collect();
    let script = format!(
        r"cd {data} || {{ echo 'files|no'; return 1; }}
if [ -s PG_VERSION ] && [ -s global/pg_control ]; then echo 'files|yes'; else echo 'files|no'; fi
rm -f standby.signal recovery.signal recovery.conf || return
printf '\n%s\n' {lines} >>postgresql.auto.conf",
        data = shell::quote(probe.setting("data_directory")),
        lines = shell::quote(&lines.join("\n")),
    );
    Ok(Alone {
        prepare: preparing(&script),
        read: read_files,
        arguments: settings(probe).flat_map(|(name, value)| ["-c".to_owned(), format!("{name}={value}")]).collect(),
        servers: SIGNS.servers,
        env: Vec::new(),
    })
}

/// What manages this PostgreSQL, if that is more than its image's start script.
pub(super) fn manager(container: &Container) -> Option<&'static str> {
    let image = container.image.iter();
    let words = image.chain(container.command.iter().flatten()).chain(container.args.iter().flatten());
    let names = container.env.iter().flatten().map(|env| &env.name);
    let texts: Vec<String> = words.chain(names).map(|text| text.to_lowercase()).collect();
    MANAGERS.iter().copied().find(|manager| texts.iter().any(|text| text.contains(manager)))
}

fn read_files(text: &str) -> Vec<Checked> {
    let facts = match prepared(text, "files") {
        Ok(facts) => facts,
        Err(checked) => return checked,
    };
    vec![match facts.get("files") {
        "yes" => Checked::passed("files", "PG_VERSION and pg_control are there"),
        _ => Checked::failed("files", "the data directory has no PG_VERSION or no pg_control"),
    }]
}

const SETTINGS_NOW: &str = r#"$limit "$@" <<'END' || exit
SELECT name, setting FROM pg_settings WHERE name IN ('archive_mode', 'max_logical_replication_workers', 'data_checksums',
  'max_worker_processes', 'listen_addresses');
SELECT 'recovery', pg_is_in_recovery();
END
"#;

/// Each index and table is a statement of its own, so that one that is damaged does not hide the others.
///
/// The functions are those of the extension, in the schema that the catalogue names: anybody may have made others of the
/// same names, which say that all is well. Where the extension is new it comes into `pg_catalog`, where nobody else can
/// have made anything. All arguments are given, with the exact types, so that no other function of that schema is
/// chosen.
const AMCHECK: &str = r#"dbs=$($limit "$@" -c 'SELECT datname FROM pg_database WHERE datallowconn AND datconnlimit <> -2 ORDER BY 1') || exit
printf '%s\n' "$dbs" | while IFS= read -r db; do
  export PGDATABASE="$db"
  if ! said=$("$@" -c 'CREATE EXTENSION IF NOT EXISTS amcheck WITH SCHEMA pg_catalog' 2>&1 </dev/null); then
    case $said in
      *'not available'*|*'could not open extension control file'*|*'permission denied'*) why=none;;
      *) why=lost;;
    esac
    printf '%s|%s: %s\n' "$why" "$db" "$(printf '%s\n' "$said" | head -n 1)"
    continue
  fi
  echo "database|$db"
  said=$($limit "$@" -v ON_ERROR_STOP=0 2>&1 <<'END'
SELECT 'expected|' || count(*) FROM pg_class c JOIN pg_am a ON a.oid = c.relam WHERE WANTED;
SELECT 'other|' || count(*) FROM pg_class c JOIN pg_am a ON a.oid = c.relam WHERE c.relkind = 'i' AND a.amname <> 'btree';
SELECT CASE WHEN c.relkind = 'i' THEN format('SELECT ''checked'', %I.bt_index_check(%s::regclassHEAP)', f.nspname, c.oid)
  ELSE format('SELECT CASE WHEN count(*) = 0 THEN ''checked|1'' ELSE %L || count(*) || '' faults, such as: '' || min(msg) END FROM %I.verify_heapam(%s::regclass, false, false, ''none''::text, NULL::bigint, NULL::bigint)',
    'bad|table ' || c.oid::regclass || ': ', f.nspname, c.oid) END
FROM pg_class c JOIN pg_am a ON a.oid = c.relam JOIN
  (SELECT p.proname, min(n.nspname::text) AS nspname FROM pg_extension e
    JOIN pg_depend d ON d.refclassid = 'pg_extension'::regclass AND d.refobjid = e.oid AND d.deptype = 'e' AND d.classid = 'pg_proc'::regclass
    JOIN pg_proc p ON p.oid = d.objid JOIN pg_namespace n ON n.oid = p.pronamespace WHERE e.extname = 'amcheck' GROUP BY p.proname) f
  ON f.proname = CASE WHEN c.relkind = 'i' THEN 'bt_index_check' ELSE 'verify_heapam' END
WHERE WANTED \gexec
END
)
  case $? in 124|143) echo "late|$db";; esac
  printf '%s\n' "$said" | sed -n 's/^checked|.*/checked/p' | wc -l | sed 's/^ */checked|/'
  printf '%s\n' "$said" | sed -n '/^expected|/p; /^other|/p'
  printf '%s\n' "$said" | sed -n 's/^ERROR: */bad|/; s/^FATAL: */bad|/; /^bad|/p' | head -n 20
done
echo end
"#;

/// The relations that are looked at: valid B-trees, and tables with their TOAST where the server can check a table.
fn wanted(probe: &Probe) -> &'static str {
    if version(probe) >= 140_000 {
        "c.relpersistence = 'p' AND (c.relkind IN ('r', 't', 'm') AND a.amname = 'heap' OR c.relkind = 'i' AND a.amname = 'btree' \
         AND EXISTS (SELECT FROM pg_index i WHERE i.indexrelid = c.oid AND i.indisready AND i.indisvalid))"
    } else {
        "c.relpersistence = 'p' AND c.relkind = 'i' AND a.amname = 'btree' \
         AND EXISTS (SELECT FROM pg_index i WHERE i.indexrelid = c.oid AND i.indisready AND i.indisvalid)"
    }
}

/// Everything is read as an application would read it, which also checks the checksum of each page read.
const DUMP: &str = r#"command -v pg_dump >/dev/null 2>&1 || { echo 'none|the image has no pg_dump'; echo end; exit; }
dbs=$($limit "$@" -c 'SELECT datname FROM pg_database WHERE datallowconn AND datconnlimit <> -2 ORDER BY 1') || exit
printf '%s\n' "$dbs" | while IFS= read -r db; do
  export PGDATABASE="$db"
  said=$($limit pg_dump -w 2>&1 >/dev/null </dev/null)
  case $? in
    0) echo "read|$db";;
    124|143) echo "late|$db";;
    *) printf '%s\n' "$said" | sed -n 's/^pg_dump: *//; s/^error: */bad|/p; s/^detail: */bad|/p' | head -n 5; echo "unread|$db";;
  esac
done
echo end
"#;

const FAILURES: &str = r#"$limit "$@" <<'END' || exit
SELECT 'checksums', current_setting('data_checksums');
SELECT 'failures', coalesce(sum(checksum_failures), 0) FROM pg_stat_database;
END
echo end
"#;

/// What is asked once it serves.
pub(super) fn checks(probe: &Probe, time: Duration) -> Vec<Check> {
    let act = |script: &str| within(&with_client(probe, APP, script), time);
    let heap = if version(probe) >= 110_000 { ", true" } else { "" };
    let amcheck = AMCHECK.replace("WANTED", wanted(probe)).replace("HEAP", heap);
    let mut checks = vec![
        Check { name: "isolated", act: act(&format!("{SETTINGS_NOW}{LISTENERS}echo end\n")), read: read_settings },
        Check { name: "amcheck", act: act(&amcheck), read: read_amcheck },
        Check { name: "pg_dump", act: act(DUMP), read: read_dump },
    ];
    // Before 12 nobody counts them.
    if version(probe) >= 120_000 {
        checks.push(Check { name: "checksum-failures", act: act(FAILURES), read: read_failures });
    }
    checks
}

fn read_settings(answer: &Answer) -> Vec<Checked> {
    let facts = match facts(answer, "isolated") {
        Ok(facts) => facts,
        Err(checked) => return checked,
    };
    let mut isolated = Isolation::of(&facts);
    for (name, wanted) in
        [("archive_mode", "off"), ("max_worker_processes", "0"), ("max_logical_replication_workers", "0")]
    {
        let now = facts.get(name);
        isolated.must(now == wanted, format!("{name}={now}"));
    }
    let addresses = facts.get("listen_addresses");
    // Empty: it has a Unix socket only.
    let listens_inside = facts.all("listen_addresses") == [""] || is_loopback(addresses);
    isolated.must(listens_inside, format!("listen_addresses={addresses}"));
    isolated.must(facts.get("recovery") == "f", format!("in recovery: {}", facts.get("recovery")));
    let checksums = match facts.get("data_checksums") {
        "on" => Checked::passed("data-checksums", "on"),
        _ => Checked::missing("data-checksums", "off: the server itself would not notice a damaged page"),
    };
    vec![isolated.checked(), checksums]
}

fn read_amcheck(answer: &Answer) -> Vec<Checked> {
    const NAME: &str = "amcheck";
    let facts = match facts(answer, NAME) {
        Ok(facts) => facts,
        Err(checked) => return checked,
    };
    let sum = |key: &str| facts.all(key).iter().map(|n| n.parse::<u64>().unwrap_or(0)).sum::<u64>();
    let (databases, expected, checked, other) =
        (facts.all("database").len(), sum("expected"), sum("checked"), sum("other"));
    let bad = facts.all("bad");
    let mut told = format!("{checked} tables and B-trees of {databases} databases");
    if other > 0 {
        told.push_str(&format!("; {other} indexes of other kinds are not looked at"));
    }
    vec![if !bad.is_empty() {
        Checked::failed(NAME, bad.join("; "))
    } else if let Some(late) = facts.all("late").first() {
        Checked::unknown(NAME, format!("{OVER} with database {late}; {told}"))
    } else if let Some(lost) = facts.all("lost").first() {
        // As it does when it stumbles over what it reads: what is asked next finds it in recovery.
        Checked::failed(NAME, format!("the server could not be asked: {lost}; {told}"))
    } else if expected == 0 && databases > 0 || facts.all("expected").len() != databases || checked != expected {
        Checked::failed(NAME, format!("only {checked} of {expected} could be looked at"))
    } else if let Some(none) = facts.all("none").first() {
        Checked::missing(NAME, format!("{none}; {told}"))
    } else if databases == 0 {
        Checked::unknown(NAME, "no database was looked at")
    } else {
        Checked::passed(NAME, told)
    }]
}

fn read_dump(answer: &Answer) -> Vec<Checked> {
    const NAME: &str = "pg_dump";
    let facts = match facts(answer, NAME) {
        Ok(facts) => facts,
        Err(checked) => return checked,
    };
    let (read, unread) = (facts.all("read"), facts.all("unread"));
    vec![match (facts.all("none").first(), unread, read) {
        (Some(none), ..) => Checked::missing(NAME, none.clone()),
        (None, [], _) if !facts.all("late").is_empty() => {
            Checked::unknown(NAME, format!("{OVER} with database {}", facts.all("late").join(", ")))
        }
        (None, [], []) => Checked::unknown(NAME, "no database was read"),
        (None, [], read) => Checked::passed(NAME, format!("{} read", read.join(", "))),
        (None, unread, _) => {
            Checked::failed(NAME, format!("{} cannot be read: {}", unread.join(", "), facts.all("bad").join("; ")))
        }
    }]
}

fn read_failures(answer: &Answer) -> Vec<Checked> {
    const NAME: &str = "checksum-failures";
    let facts = match facts(answer, NAME) {
        Ok(facts) => facts,
        Err(checked) => return checked,
    };
    vec![match (facts.get("checksums"), facts.get("failures")) {
        ("on", "0") => Checked::passed(NAME, "0"),
        ("on", "") => Checked::unknown(NAME, "not counted"),
        ("on", failures) => Checked::failed(NAME, format!("{failures} pages have another checksum than their content")),
        _ => Checked::missing(NAME, "data_checksums is off"),
    }]
}

#[cfg(test)]
mod tests;
