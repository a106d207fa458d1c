//! The client of every session and one-shot command: where it connects, as whom, and with which settings.

use crate::quiescer::Probe;

/// The `application_name` of sessions that hold nothing.
pub(super) const APP: &str = "consistent-backup";

/// Settings of every session, each with the first `server_version_num` that knows it.
///
/// The options of a connection win over ALTER ROLE, ALTER DATABASE and the configuration files (PostgreSQL manual,
/// "Interacting with Configuration Parameters"). So the owner of a database has no say in what our statements mean: a
/// function or operator of his, found by his `search_path`, would run with the rights of a superuser. Nor has he a say in
/// when they end: limits that applications were given must not end a hold. `role`: ALTER DATABASE may set one as well.
const SETTINGS: &[(u32, &str)] = &[
    (0, "search_path=pg_catalog"),
    (0, "role=none"),
    (0, "standard_conforming_strings=on"),
    (0, "client_min_messages=warning"),
    (0, r"default_transaction_isolation=read\ committed"),
    (0, "default_transaction_deferrable=off"),
    (0, "default_transaction_read_only=off"),
    (0, "statement_timeout=0"),
    (0, "lock_timeout=0"),
    (0, "idle_in_transaction_session_timeout=0"),
    (140_000, "idle_session_timeout=0"),
    (170_000, "transaction_timeout=0"),
];

/// Makes the client's command the positional parameters.
/// The administrator's own password comes first: with another user than `postgres`, that one is no superuser there.
/// PGHOST and PGSERVICE may point to another server, which must never be taken for this one: only the local socket
/// or the loopback address is used. `-w`: a prompt would swallow our commands.
const CLIENT: &str = r#"unset PGHOSTADDR PGSERVICE PGSERVICEFILE
export PGAPPNAME="$app" PGCONNECT_TIMEOUT=5 PGCLIENTENCODING=UTF8 PGPORT="${PGPORT:-${POSTGRESQL_PORT_NUMBER:-5432}}"
if value_of POSTGRESQL_POSTGRES_PASSWORD POSTGRESQL_ADMIN_PASSWORD; then
  export PGUSER=postgres PGPASSWORD="$value"
else
  value_of POSTGRES_USER POSTGRESQL_USERNAME PGUSER || value=postgres
  export PGUSER="$value"
  if value_of POSTGRES_PASSWORD POSTGRESQL_PASSWORD PGPASSWORD; then export PGPASSWORD="$value"; fi
fi
export PGDATABASE="${PGDATABASE:-postgres}"
for dir in "${PGHOST-}" /var/run/postgresql /run/postgresql /tmp ''; do
  if [ -S "$dir/.s.PGSQL.$PGPORT" ]; then break; fi
done
export PGHOST="${dir:-127.0.0.1}"
set -- psql -X -q -w -A -t -v ON_ERROR_STOP=1
"#;

/// `PGOPTIONS` for a server of this version (`server_version_num`). An unknown setting would be refused, and the
/// connection with it.
fn options(version: u32) -> String {
    let known = SETTINGS.iter().filter(|(from, _)| version >= *from);
    known.map(|(_, setting)| format!("-c {setting}")).collect::<Vec<_>>().join(" ")
}

/// Shell text that gives a session also the settings that only later versions know, once `$number` has the server's
/// `server_version_num`.
pub(super) fn later_settings() -> String {
    let later = SETTINGS.iter().filter(|(from, _)| *from > 0);
    later.fold(String::new(), |lines, (from, setting)| {
        lines + &format!("if [ \"${{number:-0}}\" -ge {from} ]; then PGOPTIONS=\"$PGOPTIONS -c {setting}\"; fi\n")
    })
}

/// `script` with the client as positional parameters, before the server's version is known.
pub(super) fn with_any_client(script: &str) -> String {
    text(APP, 0, script)
}

/// `script` with the client of this server as positional parameters, under the name `app`.
pub(super) fn with_client(probe: &Probe, app: &str, script: &str) -> String {
    text(app, probe.setting("server_version_num").parse().unwrap_or(0), script)
}

fn text(app: &str, version: u32, script: &str) -> String {
    format!("app={app}\nexport PGOPTIONS='{}'\n{CLIENT}{script}", options(version))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_given_only_settings_that_it_knows() {
        let knows = |version: u32, name: &str| options(version).contains(&format!("-c {name}="));
        for (version, idle, transaction) in [(0, false, false), (130_022, false, false), (140_000, true, false)] {
            assert_eq!(
                (knows(version, "idle_session_timeout"), knows(version, "transaction_timeout")),
                (idle, transaction)
            );
        }
        assert!(knows(170_000, "idle_session_timeout") && knows(170_000, "transaction_timeout"));
        let later = later_settings();
        for (from, name) in [(140_000, "idle_session_timeout"), (170_000, "transaction_timeout")] {
            let line = format!("-ge {from} ]; then PGOPTIONS=\"$PGOPTIONS -c {name}=0\"; fi");
            assert!(later.contains(&line), "{later}");
        }
        assert!(options(0).starts_with("-c search_path=pg_catalog -c role=none "));
        assert!(!options(170_000).contains('\''), "it stands between quotes");
    }
}
