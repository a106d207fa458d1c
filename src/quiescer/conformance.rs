//! What must be true of every adapter. A new one is in the list, and so is tested here.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::process::{Command, Stdio};
use std::time::Duration;

use super::{Act, Answer, Argv, End, Probe, QUIESCERS, Quiescer, Released, Script, Token, by_name, fixture, shell};
use crate::protocol::Held;

const LEFT: Duration = Duration::from_secs(30);

fn token() -> Token {
    Token { run: "20261120-ab12c".into(), attempt: 1 }
}

/// Each adapter with a captured probe, and with another one for each further hold that it knows.
fn cases() -> Vec<(&'static dyn Quiescer, Probe)> {
    let mut cases = Vec::new();
    for q in QUIESCERS {
        let file = match q.name() {
            "mysql" => "mariadb/probe".to_owned(),
            "postgres" => "postgres/probe-databases".to_owned(),
            name => format!("{name}/probe"),
        };
        let probe = fixture::probe(*q, &file);
        let mut full = probe.clone();
        full.hold_fully();
        let another = full != probe;
        cases.push((*q, probe));
        if another {
            cases.push((*q, full));
        }
    }
    cases
}

/// Those that are held by programs in their containers; the others by calls, which no shell reads.
fn spoken_to() -> Vec<(&'static dyn Quiescer, Probe)> {
    let cases: Vec<_> = cases().into_iter().filter(|(q, p)| !q.channels(p, &token(), LEFT).is_empty()).collect();
    assert!(cases.len() > 3);
    cases
}

/// All scripts over open channels, in the order in which they run.
fn conversation(q: &dyn Quiescer, p: &Probe) -> Script {
    let t = token();
    [q.prepare(p, &t), q.hold(p, &t, LEFT), q.flush(p, &t), q.thaw(p, &t)].concat()
}

fn argv_of(act: &Act) -> Option<&Argv> {
    if let Act::Exec { argv, .. } = act { Some(argv) } else { None }
}

/// Every command that an adapter ever runs with its client.
fn commands(q: &dyn Quiescer, p: &Probe) -> Vec<Argv> {
    let mut all: Vec<Argv> = q.channels(p, &token(), LEFT).into_iter().map(|channel| channel.argv).collect();
    let mut acts = vec![q.probe(), q.recovered(p)];
    acts.extend(q.checks(p, LEFT).into_iter().map(|check| check.act));
    acts.extend(q.recovered_by_log(p));
    acts.extend(q.archived(p, &shell::point([("stopSegment", "000000010000000000000002")])));
    acts.extend(q.release(p, &token()));
    acts.extend(conversation(q, p));
    all.extend(acts.iter().filter_map(argv_of).cloned());
    all
}

/// The channel, what is sent and the line that is waited for.
fn spoken(act: &Act) -> Option<(u8, &str, Option<&str>)> {
    match act {
        Act::Ask { on, send, until, .. } | Act::Poll { on, send, until, .. } => Some((*on, send, Some(until))),
        Act::Tell { on, send } => Some((*on, send, None)),
        Act::Expect { on, until, .. } => Some((*on, "", Some(until))),
        Act::Exec { .. } | Act::Call { .. } | Act::Wait(_) => None,
    }
}

#[test]
fn names_are_unique_and_found() {
    let names: BTreeSet<&str> = QUIESCERS.iter().map(|q| q.name()).collect();
    assert_eq!(names.len(), QUIESCERS.len());
    assert!(QUIESCERS.iter().all(|q| by_name(q.name()).is_some_and(|found| found.name() == q.name())));
    assert!(by_name("oracle").is_none());
}

#[test]
fn commands_run_in_a_plain_shell_and_hold_no_secret() {
    for (q, p) in spoken_to() {
        for argv in commands(q, &p) {
            let [sh, c, script] = &argv[..] else { panic!("{argv:?}") };
            assert_eq!((sh.as_str(), c.as_str()), ("sh", "-c"), "{}", q.name());
            // A secret in an argument of a program stands in the process table; in the environment it does not.
            for line in script.lines().filter(|line| line.contains("$value")) {
                assert!(!line.contains("--password") && !line.contains("-a ") && !line.contains("echo"), "{line}");
            }
            let parsed = Command::new("sh").args(["-n", "-c", script]).stderr(Stdio::piped()).output().unwrap();
            assert!(parsed.status.success(), "{}: {}", q.name(), String::from_utf8_lossy(&parsed.stderr));
        }
    }
}

/// Users of a database may influence what a statement of ours means, and when it ends; not in a session that begins with
/// these.
fn own_settings(q: &dyn Quiescer, p: &Probe) -> Vec<&'static str> {
    let mut all: Vec<&'static str> = match q.name() {
        "postgres" => vec![
            "-c search_path=pg_catalog ",
            "-c role=none ",
            "-c standard_conforming_strings=on ",
            "-c statement_timeout=0 ",
            "-c lock_timeout=0 ",
            "-c idle_in_transaction_session_timeout=0",
            "-c default_transaction_read_only=off ",
            "PGCLIENTENCODING=UTF8 ",
            "set -- psql -X ",
        ],
        "mysql" => vec!["--init-command=\"SET SESSION sql_mode = '', ", "max_statement_time = 0", "--skip-reconnect"],
        // A user of Redis has no say in what a command means: no settings of a user or database, and names of commands
        // and modules are the server's configuration.
        "redis" => vec![],
        name => panic!("{name}: which settings may its users influence?"),
    };
    if q.name() == "postgres" && p.setting("server_version_num").parse::<u32>().unwrap() >= 140_000 {
        all.push("-c idle_session_timeout=0");
    }
    all
}

#[test]
fn every_session_begins_with_settings_of_our_own() {
    for (q, p) in spoken_to() {
        let mut with_client = 0;
        for argv in commands(q, &p) {
            // The others are plain shells.
            let Some(first) = argv[2].find("\"$@\"") else { continue };
            with_client += 1;
            // Of the probe the version is not known yet.
            let known = own_settings(q, &p).into_iter().filter(|setting| !setting.contains("idle_session_timeout"));
            let probe = argv_of(&q.probe()) == Some(&argv);
            let all: Vec<&str> = if probe { known.collect() } else { own_settings(q, &p) };
            for setting in all {
                assert!(argv[2][..first].contains(setting), "{}: no {setting} before {}", q.name(), argv[2]);
            }
        }
        assert!(with_client > 5, "{}: {with_client}", q.name());
    }
}

#[test]
fn clients_never_go_on_without_the_session() {
    for (q, p) in spoken_to() {
        for argv in commands(q, &p) {
            assert!(!argv[2].contains("--force") && !argv[2].contains(" --reconnect"), "{}", q.name());
        }
    }
}

#[test]
fn every_command_and_channel_is_limited() {
    for (q, p) in spoken_to() {
        for channel in q.channels(&p, &token(), LEFT) {
            assert!(channel.argv[2].contains("timeout 30"), "{}", q.name());
            assert!(channel.argv[2].contains("exec $limit "), "{}", q.name());
            assert!(channel.end.ends_with('\n'), "{}", q.name());
        }
        for argv in commands(q, &p) {
            assert!(argv[2].contains("limit='timeout "), "{}", q.name());
        }
    }
}

#[test]
fn marks_are_unique_and_bear_the_token() {
    for (q, p) in cases() {
        let script = conversation(q, &p);
        let mut seen = BTreeSet::new();
        for (on, _, until) in script.iter().filter_map(spoken) {
            let Some(until) = until else { continue };
            assert!(seen.insert((on, until.to_owned())), "{}: {until} twice", q.name());
            assert!(until.contains(&token().to_string()), "{}: {until}", q.name());
            // Something sent before must print the line.
            let sent: String = script.iter().filter_map(spoken).filter(|s| s.0 == on).map(|s| s.1).collect();
            assert!(sent.contains(until), "{}: nothing prints {until}", q.name());
        }
    }
}

#[test]
fn what_is_sent_is_whole_lines_to_open_channels() {
    for (q, p) in cases() {
        let open: BTreeSet<u8> = q.channels(&p, &token(), LEFT).iter().map(|channel| channel.id).collect();
        for (on, send, _) in conversation(q, &p).iter().filter_map(spoken) {
            assert!(open.contains(&on), "{}", q.name());
            assert!(send.is_empty() || send.ends_with('\n'), "{}: {send:?}", q.name());
        }
    }
}

#[test]
fn a_hold_has_a_deadline_and_a_token() {
    for (q, p) in spoken_to() {
        let hold = q.hold(&p, &token(), Duration::from_secs(17));
        let sent: String = hold.iter().filter_map(spoken).map(|s| s.1).collect();
        assert!(sent.contains("17"), "{}: no deadline in {sent}", q.name());
        let channels = q.channels(&p, &token(), LEFT);
        // Not the mark: that is only printed.
        let unmarked = |(_, send, until): (u8, &str, Option<&str>)| send.replace(until.unwrap_or("\n"), "");
        let before: String = q.prepare(&p, &token()).iter().filter_map(spoken).map(unmarked).collect();
        let known = channels.iter().any(|channel| channel.argv[2].contains(&token().to_string()))
            || before.contains(&token().to_string());
        assert!(known, "{}: a release would not find a hold that is still on its way", q.name());
        assert!(!q.flush(&p, &token()).is_empty(), "{}", q.name());
        // A deadline of 0 would mean none.
        let sent: String =
            q.hold(&p, &token(), Duration::ZERO).iter().filter_map(spoken).map(|s| s.1.to_owned()).collect();
        for none in ["timeout = 0", "PAUSE 0"] {
            assert!(!sent.contains(none), "{}: {sent}", q.name());
        }
    }
}

#[test]
fn a_release_needs_no_channel_and_names_its_token() {
    for (q, p) in spoken_to() {
        let release = q.release(&p, &token());
        assert!(!release.is_empty());
        let last = token().to_string();
        let attempt = last.rsplit('/').next().unwrap();
        for act in &release {
            let script = &argv_of(act).unwrap_or_else(|| panic!("{} talks to a channel", q.name()))[2];
            assert!(script.contains(&token().run) && script.contains(attempt), "{}", q.name());
        }
    }
}

/// What is held by calls is released by calls, each with an end.
#[test]
fn every_call_is_limited() {
    let called: Vec<_> = cases().into_iter().filter(|(q, p)| q.channels(p, &token(), LEFT).is_empty()).collect();
    assert!(!called.is_empty());
    for (q, p) in called {
        let acts = [conversation(q, &p), q.release(&p, &token()), vec![q.probe()]].concat();
        for act in acts {
            let within = match act {
                Act::Call { within, .. } | Act::Wait(within) => within,
                act => panic!("{}: {act:?}", q.name()),
            };
            assert!(within <= LEFT + Duration::from_secs(5), "{}", q.name());
        }
    }
}

#[test]
fn no_answer_is_never_success() {
    let ends = [End::Exited(1), End::Exited(0), End::Refused("no".into()), End::Unknown("lost".into()), End::Answered];
    for (q, p) in cases() {
        for end in &ends {
            for out in ["", "no such thing\n", "\n\n"] {
                let answers = vec![Answer { out: out.into(), err: String::new(), end: end.clone() }; 4];
                let what = format!("{} {end:?} {out:?}", q.name());
                assert!(q.read_probe(&answers[0]).is_err(), "{what}");
                assert!(q.read_hold(&p, &answers).is_err(), "{what}");
                assert!(q.read_flush(&p, &answers).is_err(), "{what}");
                assert_ne!(q.read_thaw(&p, &answers, &answers).held, Held::Yes, "{what}");
                assert_ne!(q.read_release(&answers), Released::Gone, "{what}");
            }
        }
        assert!(q.read_hold(&p, &[]).is_err());
        assert!(q.flush(&p, &token()).is_empty() || q.read_flush(&p, &[]).is_err());
        let thawed = q.read_thaw(&p, &[], &[]);
        assert_eq!((thawed.held, thawed.released), (Held::Unknown, false), "{}", q.name());
        assert!(thawed.why.is_some());
        assert_ne!(q.read_release(&[]), Released::Gone);
    }
}

#[test]
fn a_hostile_run_id_stands_in_no_command() {
    let hostile = Token { run: "x$(touch /tmp/pwned)`'\";\n".into(), attempt: 1 };
    assert_eq!(hostile.to_string(), "consistent-backup/x__touch__tmp_pwned______/1");
}

#[test]
fn only_the_exact_word_is_gone() {
    for (q, _) in spoken_to() {
        let say = |out: &str, end| q.read_release(&[Answer { out: out.into(), err: String::new(), end }]);
        assert_eq!(say("gone\n", End::Exited(0)), Released::Gone);
        assert_ne!(say("gone\n", End::Exited(4)), Released::Gone);
        assert_ne!(say("gone\n", End::Unknown("lost".into())), Released::Gone);
        assert_ne!(say("still there\ngone\n", End::Exited(0)), Released::Gone);
    }
}

#[test]
fn directories_are_absolute() {
    for (q, p) in spoken_to() {
        assert!(!p.data_dirs.is_empty() && p.data_dirs.iter().all(|dir| dir.starts_with('/')), "{}", q.name());
        assert!(!p.version.is_empty() && !p.role.is_empty());
    }
}
