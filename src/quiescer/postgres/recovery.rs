//! PostgreSQL, restored from a backup in archive mode: label and settings with which its server goes on from archived WAL.
//!
//! From 12 on: `postgresql.auto.conf` and `recovery.signal`; before: `recovery.conf`. The recovery ends on a new timeline,
//! so nothing that it archives afterwards has a name that the archive knows already.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use k8s_openapi::api::core::v1::Container;

use super::client::{APP, with_client};
use super::{verify, wal};
use crate::quiescer::recovery::{File, PREPARED, Recovered, Recovery, Target, Timeline, Wanted, lsn};
use crate::quiescer::shell::{self, quote, reason};
use crate::quiescer::{Act, Answer, Probe, Reason, RecoveryPoint};

/// How long writing some files may take, on a volume that was made this moment.
const WRITING: Duration = Duration::from_secs(120);

/// The settings that say where a recovery ends. At most one of them may have a value.
const TARGETS: &[&str] =
    &["recovery_target", "recovery_target_name", "recovery_target_time", "recovery_target_xid", "recovery_target_lsn"];

/// All settings that are written. None may stay: a replica that copies them would stop, and promote itself, at an old
/// target.
const SETTINGS: &[&str] = &[
    "restore_command",
    "recovery_target",
    "recovery_target_name",
    "recovery_target_time",
    "recovery_target_xid",
    "recovery_target_lsn",
    "recovery_target_timeline",
    "recovery_target_inclusive",
    "recovery_target_action",
];

/// Whether recovery is a matter of the configuration, and no longer of a file of its own.
fn configured(probe: &Probe) -> bool {
    probe.setting("server_version_num").parse::<u32>().is_ok_and(|version| version >= 120_000)
}

/// What is written before the start, or every reason why not.
pub(super) fn recovery(
    container: &Container,
    probe: &Probe,
    point: &RecoveryPoint,
    wanted: &Wanted,
) -> Result<Recovery, Vec<Reason>> {
    let of = |name: &str| point.0.get(name).map_or("", String::as_str);
    let mut reasons = Vec::new();
    if let Some(manager) = verify::manager(container) {
        reasons.push(reason(
            format!("it is run by {manager}, which decides itself from what its server recovers"),
            "recover it by the means of that program, from copies of the claims (--claims-only --suffix NAME)",
        ));
    }
    let (Ok(label), Some(stop)) = (STANDARD.decode(of("backupLabel")), lsn(of("stopLsn"))) else {
        reasons.push(reason(
            "it was not backed up in archive mode: without a label nobody knows from where the archive is to be read",
            "without --restore-command it is restored to the instant of the backup; for the next backup annotate its pod \
             with consistent-backup/hold: archive",
        ));
        return Err(reasons);
    };
    if let Target::Lsn(target) = wanted.target
        && target < stop
    {
        let why = format!("{} lies before the end of the backup ({})", wanted.target, of("stopLsn"));
        reasons.push(reason(why, "take a position after that, or an earlier backup"));
    }
    let timeline: u32 = of("timeline").parse().unwrap_or(1);
    if let Timeline::Number(number) = wanted.timeline
        && number < timeline
    {
        reasons.push(reason(
            format!("timeline {number} is older than that of the backup ({timeline})"),
            "take a later one, or an earlier backup",
        ));
    }
    if !reasons.is_empty() {
        return Err(reasons);
    }
    let dir = probe.setting("data_directory");
    let file = |name: &str, content: String| File { path: format!("{dir}/{name}"), content };
    let lines = lines(configured(probe), wanted);
    let map = STANDARD.decode(of("tablespaceMap")).unwrap_or_default();
    let mut files = vec![file("backup_label", String::from_utf8_lossy(&label).into_owned())];
    if !map.is_empty() {
        files.push(file("tablespace_map", String::from_utf8_lossy(&map).into_owned()));
    }
    if configured(probe) {
        files.push(file("postgresql.auto.conf", lines.clone()));
        files.push(file("recovery.signal", String::new()));
    } else {
        files.push(file("recovery.conf", lines.clone()));
    }
    let first = wal::segment(of("timeline"), of("startLsn"), probe.setting("wal_segment_size"));
    let script = script(configured(probe), dir, [of("backupLabel"), of("tablespaceMap")], &lines, first.as_deref());
    Ok(Recovery { files, argv: shell::sh(WRITING, &script) })
}

/// A value of a configuration file: a quote is doubled, and a backslash would begin an escape.
fn value(text: &str) -> String {
    format!("'{}'", text.replace('\\', r"\\").replace('\'', "''"))
}

/// The settings, one a line. The last one of a name counts; a target of another kind that stands in `postgresql.conf`
/// must be emptied before the asked one is set, or the server refuses both.
fn lines(configured: bool, wanted: &Wanted) -> String {
    let target = match &wanted.target {
        Target::Latest => None,
        Target::Immediate => Some(("recovery_target", "immediate".to_owned())),
        Target::Time(at) => Some(("recovery_target_time", at.strftime("%Y-%m-%d %H:%M:%S%.f+00").to_string())),
        Target::Lsn(at) => Some(("recovery_target_lsn", format!("{:X}/{:X}", at >> 32, at & 0xFFFF_FFFF))),
        Target::Name(name) => Some(("recovery_target_name", name.clone())),
        Target::Xid(xid) => Some(("recovery_target_xid", xid.to_string())),
    };
    let mut all: Vec<(&str, String)> = Vec::new();
    if configured {
        let others = TARGETS.iter().filter(|name| target.as_ref().is_none_or(|(asked, _)| asked != *name));
        all.extend(others.map(|name| (*name, String::new())));
    }
    all.push(("restore_command", wanted.command.clone()));
    // Before 12 there is no word for it: it is what happens without one.
    if configured || wanted.timeline != Timeline::Current {
        all.push(("recovery_target_timeline", wanted.timeline.to_string()));
    }
    if let Some((name, text)) = target {
        all.push(("recovery_target_inclusive", "on".into()));
        all.push(("recovery_target_action", "promote".into()));
        all.push((name, text));
    }
    all.into_iter().fold(String::new(), |lines, (name, text)| lines + &format!("{name} = {}\n", value(&text)))
}

/// What writes it all. Each file comes to stand whole under its name, as its server's user; `postmaster.pid`, which every
/// copy of a running server has, goes last: with neither that nor a label a server ran there since, and a label now would
/// lead its next start over what it has written.
///
/// WAL from before the backup's start is of no use to the recovery, but where it was not archived yet at the cut its
/// server would archive it a second time, and a careful `archive_command` fails there for ever.
fn script(configured: bool, dir: &str, [label, map]: [&str; 2], lines: &str, first: Option<&str>) -> String {
    let map = match map {
        "" => "rm -f tablespace_map || exit".to_owned(),
        map => format!("printf %s {} | base64 -d >\"$new\" && put tablespace_map || exit", quote(map)),
    };
    let settings = if configured {
        format!(
            r#"{{ if [ -e postgresql.auto.conf ]; then
    grep -v -i -E '^[[:space:]]*({names})([[:space:]=]|$)' postgresql.auto.conf || [ $? = 1 ]
  fi && printf %s {lines}; }} >"$new" && put postgresql.auto.conf || exit
rm -f standby.signal && : >"$new" && put recovery.signal || exit"#,
            names = SETTINGS.join("|"),
            lines = quote(lines),
        )
    } else {
        format!(r#"printf %s {} >"$new" && put recovery.conf || exit"#, quote(lines))
    };
    let older = first.map_or_else(String::new, |first| {
        format!(
            r#"{{ echo {first}; ls pg_wal; }} | grep -E '^[0-9A-F]{{24}}(\.[0-9A-F]{{8}}\.backup)?$' | LC_ALL=C sort |
  sed -n '/^{first}$/q;p' | while IFS= read -r old; do
    rm -f "pg_wal/$old" "pg_wal/archive_status/$old.ready" "pg_wal/archive_status/$old.done" || exit
  done || exit
"#
        )
    });
    format!(
        r#"cd {dir} || exit
if [ ! -s PG_VERSION ] || [ ! -s global/pg_control ]; then
  echo 'error: the data directory has no PG_VERSION or no pg_control' >&2
  exit 3
fi
if [ ! -e postmaster.pid ] && [ ! -e backup_label ]; then
  echo 'error: a server ran on it since it was restored' >&2
  exit 4
fi
umask 077
own=$(stat -c %u:%g PG_VERSION) || exit
new=consistent-backup.new
put() {{
  if [ "$(id -u)" = 0 ]; then chown "$own" "$new" || return; fi
  mv -f "$new" "$1"
}}
printf %s {label} | base64 -d >"$new" && put backup_label || exit
{map}
{settings}
{older}sync -f . && rm -f postmaster.opts postmaster.pid && sync -f . || exit
echo {PREPARED}
"#,
        dir = quote(dir),
        label = quote(label),
    )
}

/// Asks on which timeline it is, and takes the settings away again.
pub(super) fn recovered(probe: &Probe) -> Act {
    let reset = SETTINGS.iter().fold(String::new(), |lines, name| lines + &format!("ALTER SYSTEM RESET {name};\n"));
    let reset = if configured(probe) {
        format!(
            "said=$($limit \"$@\" 2>&1 <<'END'\n{reset}END\n) || printf 'left|%s\\n' \"$(printf '%s\\n' \"$said\" | head -n 1)\"\n"
        )
    } else {
        String::new()
    };
    let script = format!(
        "$limit \"$@\" <<'END' || exit\n\
         SELECT 'timeline', ('x' || substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8))::bit(32)::int;\n\
         SELECT 'lsn', pg_current_wal_lsn();\n\
         END\n{reset}echo end\n"
    );
    shell::once(&with_client(probe, APP, &script))
}

/// Whether it did recover from its archive: that alone makes a new timeline.
pub(super) fn read_recovered(point: &RecoveryPoint, answer: &Answer) -> Result<Recovered, String> {
    let facts = shell::facts(answer, '|', "").map_err(|reason| reason.message)?;
    let then: u32 = point.0.get("timeline").and_then(|n| n.parse().ok()).unwrap_or(1);
    let Ok(now) = facts.get("timeline").parse::<u32>() else {
        return Err("its timeline was not understood".into());
    };
    if now <= then {
        return Err(format!("it did not recover from its archive: it is still on timeline {now}"));
    }
    let left = facts.all("left").first().map(|why| {
        format!(
            "the settings of the recovery are still in postgresql.auto.conf, where a new replica would copy them: \
             `ALTER SYSTEM RESET` each of {} ({why})",
            SETTINGS.join(", ")
        )
    });
    Ok(Recovered { point: shell::point([("lsn", facts.get("lsn")), ("timeline", facts.get("timeline"))]), left })
}

/// Words of a server that ends because it cannot recover as it is asked to.
const FATAL: &[&str] = &[
    "recovery ended before configured recovery target was reached",
    "requested recovery stop point is before consistent recovery point",
    "is not a child of this server's history",
    "WAL ends before end of online backup",
    "WAL ends before consistent recovery point",
    "could not locate required checkpoint record",
    "could not locate a valid checkpoint record",
    "could not restore file",
    "has wrong size",
    "multiple recovery targets specified",
    "contains errors",
];

/// What its postmaster says then, whatever the reason was.
const STARTUP: &str = "due to startup process failure";
/// What clients are told that come too early; no reason for anything.
const EARLY: &str = "the database system is ";

/// Such a line of its log.
pub(super) fn failed(log: &str) -> Option<String> {
    let fatal = |line: &&str| (line.contains("FATAL:") || line.contains("PANIC:")) && !line.contains(EARLY);
    let known = |line: &&str| fatal(line) && FATAL.iter().any(|words| line.contains(words));
    let ended = log.rfind(STARTUP).map(|at| &log[..at]);
    let line = log.lines().rev().find(known).or_else(|| ended?.lines().rev().find(fatal))?;
    Some(line.trim().to_owned())
}

#[cfg(test)]
mod tests;
