//! The rooms of the code and who may know whom, held by reading the code.
//!
//! What decides is pure: it sees no client, no clock, no environment and no terminal, so that tests need none of them.

use std::fs;
use std::path::{Path, PathBuf};

/// A file of `src`, without comments.
struct Source {
    /// Relative to `src`: `quiescer/redis.rs`.
    path: String,
    /// Lines as they are in the file.
    length: usize,
    /// Number and code of each line that is not only a comment.
    code: Vec<(usize, String)>,
}

impl Source {
    fn read(root: &Path, path: &Path) -> Self {
        let text = fs::read_to_string(path).unwrap();
        let code = text.lines().enumerate().map(|(n, line)| (n + 1, without_comment(line).to_owned()));
        Self {
            path: path.strip_prefix(root).unwrap().to_str().unwrap().to_owned(),
            length: text.lines().count(),
            code: code.filter(|(_, line)| !line.trim().is_empty()).collect(),
        }
    }

    /// In the room of that name: `plan.rs` or anything below `plan/`.
    fn is_in(&self, room: &str) -> bool {
        self.path == format!("{room}.rs") || self.path.starts_with(&format!("{room}/"))
    }

    fn is_in_any(&self, rooms: &[&str]) -> bool {
        rooms.iter().any(|room| self.is_in(room))
    }

    /// The lines that name one of these, as `path:line: code`.
    fn naming(&self, names: &[&str]) -> Vec<String> {
        let named = self.code.iter().filter(|(_, line)| names.iter().any(|name| names_it(line, name)));
        named.map(|(n, line)| format!("src/{}:{n}: {}", self.path, line.trim())).collect()
    }
}

/// The line up to a comment; a `//` inside of quotes (an address) is none.
fn without_comment(line: &str) -> &str {
    let mut quoted = false;
    let mut before = ' ';
    for (at, c) in line.char_indices() {
        if c == '"' && before != '\\' {
            quoted = !quoted;
        }
        if !quoted && line[at..].starts_with("//") {
            return &line[..at];
        }
        before = c;
    }
    line
}

/// Whether the line holds `name`, not as the end of a longer word (`eprintln!` does not name `println!`).
fn names_it(line: &str, name: &str) -> bool {
    line.match_indices(name).any(|(at, _)| !line[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_'))
}

fn sources() -> Vec<Source> {
    fn walk(root: &Path, folder: &Path, into: &mut Vec<Source>) {
        let mut entries: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
        entries.sort();
        for path in entries {
            if path.is_dir() {
                walk(root, &path, into);
            } else if path.extension().is_some_and(|e| e == "rs") {
                into.push(Source::read(root, &path));
            }
        }
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut all = Vec::new();
    walk(&root, &root, &mut all);
    assert!(all.len() > 10, "only {} files below {}", all.len(), root.display());
    all
}

/// Fails with every line of `files` that names one of `names`.
fn nobody_names<'a>(rule: &str, files: impl Iterator<Item = &'a Source>, names: &[&str]) {
    let mut seen = 0;
    let lines: Vec<String> = files.inspect(|_| seen += 1).flat_map(|file| file.naming(names)).collect();
    assert!(seen > 0, "{rule}: there is no such file");
    assert!(lines.is_empty(), "{rule}:\n{}", lines.join("\n"));
}

const PURE: &[&str] = &["plan", "protocol", "record", "pods", "quiescer", "manifests", "error"];

#[test]
fn pure_rooms_see_no_client_no_clock_no_environment_and_no_terminal() {
    let all = sources();
    let pure = || all.iter().filter(|file| file.is_in_any(PURE));
    nobody_names("no client", pure(), &["kube::", "hyper::", "http::", "tower::"]);
    nobody_names("no runtime", pure(), &["tokio", "futures::"]);
    nobody_names("no clock", pure(), &["Instant::now", "SystemTime", "Timestamp::now", "Zoned::now"]);
    nobody_names(
        "no environment",
        // Read by tests only: the captured answers.
        pure().filter(|file| !file.path.ends_with("/fixture.rs")),
        &["std::env", "env::var", "std::fs", "std::net", "process::Command", "process::exit"],
    );
    // A compressor writes to memory by the same trait as others to a terminal.
    let packed = |file: &&Source| file.path == "manifests/packed.rs";
    nobody_names("no terminal", pure().filter(|file| !packed(file)), &["std::io"]);
    nobody_names("no terminal", pure(), &["println!", "print!", "eprintln!", "eprint!"]);
}

#[test]
fn pure_rooms_know_nothing_of_the_shell() {
    let all = sources();
    let shell: Vec<String> =
        ["cluster", "exec", "journal", "lease", "clock", "executor", "platform", "output", "commands", "cli"]
            .iter()
            .flat_map(|room| [format!("crate::{room}::"), format!("crate::{room};")])
            .chain(["crate::backend::csi".to_owned()])
            .collect();
    let shell: Vec<&str> = shell.iter().map(String::as_str).collect();
    let mut lines: Vec<String> =
        all.iter().filter(|file| file.is_in_any(PURE)).flat_map(|file| file.naming(&shell)).collect();
    // The snapshots' types are data, as k8s_openapi's are: only their derive knows kube.
    lines.retain(|line| !line.contains("crate::cluster::snapshots::"));
    assert!(lines.is_empty(), "only the shell names the shell:\n{}", lines.join("\n"));
}

#[test]
fn only_the_command_line_names_clap() {
    let all = sources();
    let others = all.iter().filter(|file| !file.is_in_any(&["cli", "commands", "main"]));
    nobody_names("only cli, commands and main name clap", others, &["clap"]);
}

#[test]
fn only_output_draws() {
    let all = sources();
    let others = all.iter().filter(|file| !file.is_in("output"));
    let drawing = ["comfy_table", "indicatif", "println!", "print!", "eprintln!", "eprint!"];
    nobody_names("only output draws", others, &drawing);
}

/// `output` escapes whatever a terminal would obey, so everything printed goes through it.
#[test]
fn only_output_writes_to_the_terminal() {
    let all = sources();
    // It only asks whether they are terminals.
    let asks = |file: &&Source| file.path == "cluster/credential_plugin.rs";
    let others = all.iter().filter(|file| !file.is_in("output") && !asks(file));
    nobody_names("only output writes to the terminal", others, &["io::stdout", "io::stderr", "stdout()", "stderr()"]);
}

/// `typed.rs` quotes the names in printed commands for the shell that they are pasted into.
#[test]
fn only_typed_puts_names_into_commands_of_kubectl() {
    let all = sources();
    let mut lines = Vec::new();
    for file in all.iter().filter(|file| file.path != "typed.rs" && !file.path.contains("tests")) {
        let literal =
            |line: &str| line.split("kubectl ").nth(1).and_then(|rest| rest.split('"').next()).map(str::to_owned);
        let built = |line: &str| literal(line).is_some_and(|rest| rest.contains('{'));
        lines.extend(
            file.code.iter().filter(|(_, line)| built(line)).map(|(n, line)| format!("src/{}:{n}: {line}", file.path)),
        );
    }
    assert!(lines.is_empty(), "unquoted names:\n{}", lines.join("\n"));
}

/// Connection options show paths of the operator's machine, and many users may read Events.
#[test]
fn events_have_no_connection_options() {
    let all = sources();
    let makers = all.iter().filter(|file| file.is_in_any(&["executor/backup", "cluster/announce"]));
    nobody_names("events have no connection options", makers, &["cluster.typed"]);
}

/// What the adapters have in common is no adapter.
const COMMON: &[&str] = &["shell", "detect", "fixture", "conformance", "verify", "recovery"];

/// One database, one backend, one platform is one file, and can be read, added and removed alone.
#[test]
fn adapters_backends_and_platforms_do_not_name_each_other() {
    let all = sources();
    for room in ["quiescer", "backend", "platform"] {
        let members: Vec<String> = all
            .iter()
            .filter_map(|file| file.path.strip_prefix(&format!("{room}/")))
            .map(|rest| rest.split(['/', '.']).next().unwrap().to_owned())
            .filter(|member| !COMMON.contains(&member.as_str()))
            .collect();
        for file in all.iter().filter(|file| file.path.starts_with(&format!("{room}/"))) {
            let own = file.path[room.len() + 1..].split(['/', '.']).next().unwrap();
            for other in members.iter().filter(|member| *member != own) {
                let names = [
                    format!("{room}::{other}::"),
                    format!("{room}::{other};"),
                    format!("super::{other}::"),
                    format!("super::{other};"),
                ];
                let names: Vec<&str> = names.iter().map(String::as_str).collect();
                let lines = file.naming(&names);
                assert!(lines.is_empty(), "{own} of {room} names {other}:\n{}", lines.join("\n"));
            }
        }
    }
}

#[test]
fn no_file_is_too_long_to_read() {
    let long: Vec<String> = sources()
        .iter()
        .filter(|file| file.length > 500)
        .map(|file| format!("{}: {}", file.path, file.length))
        .collect();
    assert!(long.is_empty(), "past 500 lines: {}", long.join(", "));
}

#[test]
fn nothing_is_left_for_later() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    for file in sources() {
        let lines = file.naming(&["todo!", "unimplemented!", "dbg!"]);
        assert!(lines.is_empty(), "left for later:\n{}", lines.join("\n"));
        let text = fs::read_to_string(root.join(&file.path)).unwrap();
        for word in ["FIXME", "XXX", "TODO"] {
            assert!(!text.contains(word), "src/{} says {word}", file.path);
        }
    }
}

/// One voice: hints go on a line with others, as kubectl's own errors do.
#[test]
fn hints_are_lower_case_and_have_no_full_stop() {
    let shouts = |text: &str| {
        let mut chars = text.chars();
        chars.next().is_some_and(char::is_uppercase) && chars.next().is_some_and(|c| c.is_lowercase() || c == ' ')
    };
    let mut wrong = Vec::new();
    for file in sources().iter().filter(|file| !file.path.contains("tests") && !file.path.contains("platform")) {
        // What kubectl says itself when there is nothing to list.
        let code = file.code.iter().filter(|(_, line)| !line.contains("No backups found"));
        for (n, line) in code {
            let texts: Vec<&str> = line.split('"').skip(1).step_by(2).collect();
            let first = line.split(".hint(").nth(1).and_then(|rest| rest.split('"').nth(1));
            let hint = first.or_else(|| texts.last().copied().filter(|_| file.is_in("quiescer")));
            let stops = |text: &str| text.ends_with('.') && text.contains(' ');
            // Versions of databases begin with their names.
            let named = |text: &str| ["PostgreSQL", "Redis", "Galera"].iter().any(|name| text.starts_with(name));
            if hint.is_some_and(|text| text.contains(' ') && !named(text) && (shouts(text) || stops(text))) {
                wrong.push(format!("src/{}:{n}: {}", file.path, line.trim()));
            }
        }
    }
    assert!(wrong.is_empty(), "hints:\n{}", wrong.join("\n"));
}

#[test]
fn the_reader_of_code_reads_as_meant() {
    assert_eq!(without_comment("let a = 1; // kube::Client"), "let a = 1; ");
    assert_eq!(without_comment(r#"let a = "https://x"; // no"#), r#"let a = "https://x"; "#);
    assert_eq!(without_comment(r#"let a = "\"//"; f()"#), r#"let a = "\"//"; f()"#);
    assert!(names_it("    use tokio::time;", "tokio"));
    assert!(names_it("println!(1)", "println!"));
    assert!(!names_it("eprintln!(1)", "println!"));
    assert!(!names_it("my_kube::x", "kube::"));
}
