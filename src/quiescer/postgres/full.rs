//! PostgreSQL, full: every user table of every database is locked in SHARE mode, so that no transaction which wrote to
//! one can commit and none can begin to.
//!
//! A lock reaches one database only, so each has a session of its own, beside the one of the light hold, which does all
//! that is not the locks. We are the deadlock's victim, not the application: our session looks for one after 100 ms, and
//! waits for 500 ms at most; meanwhile writers queue behind us, so between two attempts they get as long again.

use std::time::Duration;

use super::super::shell::{self, mark, quote};
use super::super::{Act, Answer, Channel, End, Probe, Reason, Script, Token};
use super::client::with_client;
use crate::protocol::Held;

/// The channel of the first database; those of the others follow.
const FIRST: u8 = 2;
/// As many databases are held at most: each has a session, and an exec connection.
pub(super) const DATABASES: usize = 40;
/// The setting with the names of the databases, as a JSON list.
pub(super) const NAMES: &str = "databases";
/// How long one attempt waits for a lock, in milliseconds. Whoever looks for a deadlock earlier may be its victim.
pub(super) const ATTEMPT: u64 = 500;
/// From one attempt to the next.
const EVERY: Duration = Duration::from_secs(1);

/// The user tables. Temporary ones are nobody else's; what is not listed (sequences, large objects) takes no lock.
pub(super) const TABLES: &str = "pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
WHERE c.relkind IN ('r', 'p') AND c.relpersistence <> 't' AND n.nspname <> 'information_schema' AND n.nspname !~ '^pg_'";

/// Whether this session holds the lock on every user table, those that came meanwhile included.
const ALL_LOCKED: &str = "NOT EXISTS (SELECT FROM TABLES AND c.oid NOT IN (SELECT relation FROM pg_locks \
WHERE pid = pg_backend_pid() AND locktype = 'relation' AND mode = 'ShareLock' AND granted))";

/// The whole SQL with its table list.
fn sql(text: &str) -> String {
    text.replace("ALL_LOCKED", ALL_LOCKED).replace("TABLES", TABLES)
}

/// The databases that are locked; none where the hold is light.
pub(super) fn databases(probe: &Probe) -> Vec<String> {
    if probe.stops_commits { serde_json::from_str(probe.setting(NAMES)).unwrap_or_default() } else { Vec::new() }
}

/// Each database with its channel.
fn numbered(probe: &Probe) -> impl Iterator<Item = (u8, String)> {
    (FIRST..).zip(databases(probe))
}

/// A session in each database.
pub(super) fn channels(probe: &Probe, token: &Token, left: Duration) -> Vec<Channel> {
    let channel = |(id, name): (u8, String)| {
        let script = format!("export PGDATABASE={}\nexec $limit \"$@\"\n", quote(&name));
        Channel { id, argv: shell::sh(left, &with_client(probe, &token.to_string(), &script)), end: "\\q\n" }
    };
    numbered(probe).map(channel).collect()
}

fn ask(on: u8, lines: &str, token: &Token, what: &str) -> Act {
    shell::ask(on, lines, |mark| format!("\\echo {mark}"), mark(token, what), shell::ANSWER)
}

/// Locks all tables of all databases. The deadline is the server's, counted from the first word to it, and set before
/// the lock: waiting for a lock is a part of the budget.
pub(super) fn hold(probe: &Probe, token: &Token, left: Duration) -> Script {
    let ms = left.as_millis().max(1);
    let begin = format!(
        "SET client_min_messages = error; SET idle_in_transaction_session_timeout = {ms};\n\
         SELECT extract(epoch FROM clock_timestamp()) AS asked \\gset\n"
    );
    let until = mark(token, "locked");
    // An error ends the attempt, not the client: with the client the session would be gone.
    let lock = sql(&format!(
        "\\set ON_ERROR_STOP off\n\
         ROLLBACK;\n\
         BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE; \
         SET LOCAL deadlock_timeout = '100ms'; SET LOCAL statement_timeout = '{ATTEMPT}ms';\n\
         SELECT greatest(1, {ms} - ((extract(epoch FROM clock_timestamp()) - :asked) * 1000)::int) AS left \\gset\n\
         SET idle_in_transaction_session_timeout = :left;\n\
         SELECT 'LOCK TABLE ' || string_agg(format('ONLY %I.%I', n.nspname, c.relname), ', ' ORDER BY c.oid) || \
         ' IN SHARE MODE' FROM TABLES HAVING count(*) > 0 \\gexec\n\
         SET LOCAL statement_timeout = :left;\n\
         SELECT 'locked', ALL_LOCKED;\n\
         \\set ON_ERROR_STOP on\n\
         \\echo {until}\n"
    ));
    let mut script: Script = numbered(probe).map(|(on, _)| ask(on, &begin, token, "begun")).collect();
    script.extend(numbered(probe).map(|(on, _)| Act::Poll {
        on,
        send: lock.clone(),
        until: until.clone(),
        done: |out| shell::after(out, "locked", '|') == Some("t"),
        every: EVERY,
        within: (left / 3).clamp(EVERY, EVERY * 6),
    }));
    script
}

/// Why the tables are not locked, if they are not.
pub(super) fn read_hold(probe: &Probe, answers: &[Answer]) -> Result<(), Reason> {
    let names = databases(probe);
    if probe.stops_commits && names.is_empty() {
        return Err(Reason::new("no database is known whose tables could be locked"));
    }
    for (nth, name) in names.iter().enumerate() {
        let begun = answers.get(nth);
        let locked = answers.get(names.len() + nth);
        let failed =
            |answer| Reason::new(format!("the tables of database {name} could not be locked: {}", shell::told(answer)));
        if !begun.is_some_and(Answer::ok) {
            return Err(failed(begun));
        }
        let all = locked.is_some_and(|answer| answer.ok() && shell::after(&answer.out, "locked", '|') == Some("t"));
        if !all {
            return Err(failed(locked).hint(
                "a transaction that is long, or prepared and not finished, has one of them: see pg_stat_activity and pg_prepared_xacts",
            ));
        }
    }
    Ok(())
}

/// Looks whether all is still locked, and releases it, in one message to each session.
pub(super) fn thaw(probe: &Probe, token: &Token) -> Script {
    let lines = sql("SELECT 'held', ALL_LOCKED;\nROLLBACK;\n");
    numbered(probe).map(|(on, _)| ask(on, &lines, token, "unlocked")).collect()
}

/// Asks for a database that is not locked: it was made after the plan.
pub(super) fn ask_others(probe: &Probe) -> String {
    let names: Vec<String> = databases(probe).iter().map(|name| format!("'{}'", name.replace('\'', "''"))).collect();
    if names.is_empty() {
        return String::new();
    }
    format!(
        "SELECT 'other', min(datname::text) FROM pg_database WHERE datallowconn AND datconnlimit <> -2 AND NOT datistemplate \
         AND datname NOT IN ({}) HAVING count(*) > 0;\n",
        names.join(", ")
    )
}

/// Whether all was locked until the release, and whether every session has released; with the reason if not.
pub(super) fn read_thaw(probe: &Probe, at_hold: &[Answer], answers: &[Answer]) -> (Held, bool, Option<String>) {
    let names = databases(probe);
    // The acts end with the first session that does not answer: the others still hold.
    let released = answers.len() > names.len();
    if let Err(why) = read_hold(probe, at_hold) {
        let held = if at_hold.is_empty() { Held::Unknown } else { Held::No };
        return (held, released, Some(why.message));
    }
    for (nth, name) in names.iter().enumerate() {
        let answer = answers.get(nth);
        let held = answer.filter(|answer| answer.ok()).and_then(|answer| shell::after(&answer.out, "held", '|'));
        let (held, why) = match (answer.map(|answer| &answer.end), held) {
            (Some(End::Answered), Some("t")) => continue,
            (Some(End::Answered), Some("f")) => {
                (Held::No, format!("a table was created in database {name} while the others were locked"))
            }
            (Some(End::Exited(_)), _) => {
                (Held::No, format!("the session that locked database {name} was lost: {}", shell::told(answer)))
            }
            _ => (
                Held::Unknown,
                format!("the session that locked database {name} did not answer: {}", shell::told(answer)),
            ),
        };
        return (held, released, Some(why));
    }
    match answers.get(names.len()).and_then(|answer| shell::after(&answer.out, "other", '|')) {
        Some(other) => (Held::No, released, Some(format!("database {other} was made meanwhile"))),
        None => (Held::Yes, released, None),
    }
}

#[cfg(test)]
mod tests {
    use super::super::Postgres;
    use super::*;
    use crate::quiescer::fixture::{answer, probe, with};
    use crate::quiescer::{Quiescer, Thawed};

    /// Of a server with three databases that are locked: template1 has no table.
    fn held() -> Probe {
        let mut probe = probe(&Postgres, "postgres/probe-databases");
        probe.hold_fully();
        probe
    }

    fn refused(answer: &Answer) -> Vec<String> {
        let full = Postgres.read_probe(answer).unwrap().full.unwrap();
        full.refused.into_iter().map(|reason| reason.message).collect()
    }

    /// The answers to a hold or thaw whose last database answers so.
    fn answers(each: &str, last: &str, own: &str) -> Vec<Answer> {
        ["postgres/flush", "postgres/flush", "postgres/flush", each, each, last, own].map(answer).to_vec()
    }

    fn thaw(each: &str, last: &str) -> Thawed {
        let at_hold = answers("postgres/full-locked", "postgres/full-locked", "postgres/hold");
        Postgres.read_thaw(&held(), &at_hold, &answers(each, last, "postgres/thaw")[3..])
    }

    #[test]
    fn only_where_the_plan_wants_it() {
        let probe = probe(&Postgres, "postgres/probe-databases");
        let token = Token { run: "r".into(), attempt: 1 };
        assert!(!probe.stops_commits && Postgres.channels(&probe, &token, EVERY).len() == 2);
        assert!(!format!("{:?}", Postgres.hold(&probe, &token, EVERY)).contains("LOCK"));
        let held = held();
        assert!(held.stops_commits);
        assert_eq!(databases(&held), ["app", "postgres", "we ird|\" 'x"]);
        assert!(held.notes.iter().any(|note| note.contains("its tables (4 in 3 databases)")), "{:?}", held.notes);
        let channels = Postgres.channels(&held, &token, EVERY);
        assert_eq!(channels.len(), 5);
        assert!(channels[4].argv[2].contains("export PGDATABASE='we ird|\" '\\''x'\n"));
        // The locks come before the position, and every session has its deadline before it locks.
        let hold = Postgres.hold(&held, &token, Duration::from_secs(9));
        assert!(matches!(&hold[6], Act::Ask { on: 0, .. }) && hold.len() == 7);
        for act in &hold[..3] {
            assert!(
                matches!(act, Act::Ask { send, .. } if send.contains("idle_in_transaction_session_timeout = 9000"))
            );
        }
    }

    #[test]
    fn what_stands_in_its_way_is_told() {
        assert!(refused(&answer("postgres/probe-databases")).is_empty());
        let denied = refused(&answer("postgres/probe-databases-unprivileged")).join("; ");
        assert!(denied.contains("may not lock 4 of 4 tables of database app"), "{denied}");
        assert!(denied.contains("may not set deadlock_timeout in database postgres"), "{denied}");
        let lost = refused(&with("postgres/probe-databases", "tables|0|0|postgres\n", ""));
        assert_eq!(lost, ["the user may not connect to database postgres"]);
        let many = refused(&with("postgres/probe-databases", "tables|4|0|app", "tables|3201|0|app"));
        assert!(many[0].contains("3201 tables"), "{many:?}");
        let named = refused(&with("postgres/probe-databases", "database|f|postgres", "unnamed|f|a"));
        assert!(named[0].contains("control character"), "{named:?}");
        let full =
            |free| refused(&with("postgres/probe-databases", "locks|6400", &format!("locks|6400\nconnections|{free}")));
        assert_eq!(full(4), ["5 sessions would hold it, and 4 of its connections are free"]);
        assert!(full(5).is_empty());
        assert!(!refused(&answer("postgres/probe")).is_empty(), "without its databases nothing is known");
    }

    #[test]
    fn who_looks_for_deadlocks_earlier_is_told_of() {
        let notes = |ms: u64| {
            let answer = with("postgres/probe-databases", "locks|6400", &format!("locks|6400\ndeadlock_timeout|{ms}"));
            Postgres.read_probe(&answer).unwrap().full.unwrap().notes.join("; ")
        };
        assert!(notes(499).contains("deadlock_timeout is 499 ms"));
        assert!(!notes(1000).contains("deadlock_timeout"));
    }

    #[test]
    fn held_is_every_lock_of_every_database() {
        let hold = |last| {
            Postgres
                .read_hold(&held(), &answers("postgres/full-locked", last, "postgres/hold"))
                .map_err(|why| why.message)
        };
        assert!(hold("postgres/full-locked").is_ok());
        let busy = hold("postgres/full-busy").unwrap_err();
        assert!(
            busy.contains("'x could not be locked: ERROR:  canceling statement due to statement timeout"),
            "{busy}"
        );
        assert!(hold("postgres/full-thaw").is_err());
        let yes = thaw("postgres/full-thaw", "postgres/full-thaw");
        assert_eq!((yes.held, yes.released, yes.why), (Held::Yes, true, None));
        let new = thaw("postgres/full-thaw", "postgres/full-thaw-new-table");
        assert_eq!((new.held, new.released), (Held::No, true));
        assert!(new.why.unwrap().contains("a table was created"));
    }

    #[test]
    fn one_session_that_is_gone_says_nothing_of_the_others() {
        let at_hold = answers("postgres/full-locked", "postgres/full-locked", "postgres/hold");
        // The acts end with the one that did not answer.
        let said = ["postgres/full-thaw", "postgres/full-thaw-terminated"].map(answer);
        let thawed = Postgres.read_thaw(&held(), &at_hold, &said);
        assert_eq!((thawed.held, thawed.released), (Held::No, false));
        assert!(thawed.why.unwrap().contains("terminating connection"));
        let silent = Answer { end: End::Unknown("lost".into()), ..Answer::default() };
        let thawed = Postgres.read_thaw(&held(), &at_hold, &[answer("postgres/full-thaw"), silent]);
        assert_eq!((thawed.held, thawed.released), (Held::Unknown, false));
        // What was never locked was not held, whatever is said now.
        let never = answers("postgres/full-locked", "postgres/full-busy", "postgres/hold");
        let said = answers("postgres/full-thaw", "postgres/full-thaw", "postgres/thaw");
        let thawed = Postgres.read_thaw(&held(), &never[..6], &said[3..]);
        assert_eq!((thawed.held, thawed.released), (Held::No, true));
        assert!(thawed.why.unwrap().contains("could not be locked"));
    }

    #[test]
    fn a_database_that_was_made_meanwhile_is_not_held() {
        let token = Token { run: "r".into(), attempt: 1 };
        let sent = format!("{:?}", Postgres.thaw(&held(), &token));
        assert!(sent.contains(r#"NOT IN ('app', 'postgres', 'we ird|\" ''x')"#), "{sent}");
        let at_hold = answers("postgres/full-locked", "postgres/full-locked", "postgres/hold");
        let mut said = answers("postgres/full-thaw", "postgres/full-thaw", "postgres/thaw");
        said[6].out.push_str("other|fresh\n");
        let thawed = Postgres.read_thaw(&held(), &at_hold, &said[3..]);
        assert_eq!((thawed.held, thawed.why.as_deref()), (Held::No, Some("database fresh was made meanwhile")));
    }
}
