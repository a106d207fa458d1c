//! Secrets among the words of a command: `--password=x`, `--requirepass x`, `PGPASSWORD=x psql`, `redis-cli -a x`.

use super::names::{is_secret, stands_in};
use super::references::{Place, is_harmless};
use super::{shell, values};

/// How a client is given a secret by an option.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    /// `-px`.
    Attached,
    /// `-a x`.
    Next,
    /// `-p x` and `-px`.
    Both,
    /// `-u user:x` and `-uuser:x`.
    Pair,
}

/// Clients by the beginnings of their names, and the options that no name gives away.
const CLIENTS: &[(&str, &[(&str, Form)])] = &[
    ("mysql mariadb mariabackup xtrabackup innobackupex 7z 7za 7zr", &[("-p", Form::Attached)]),
    ("mydumper myloader pt- cqlsh cypher-shell couchbase-cli sshpass kcadm mongo", &[("-p", Form::Both)]),
    ("redis- valkey- keydb-", &[("-a", Form::Next)]),
    (
        "curl",
        &[
            ("-u", Form::Pair),
            ("--user", Form::Pair),
            ("-U", Form::Pair),
            ("--proxy-user", Form::Pair),
            ("--oauth2-bearer", Form::Next),
            ("-b", Form::Next),
        ],
    ),
    ("etcdctl", &[("--user", Form::Pair)]),
    ("http https xh", &[("-a", Form::Pair)]),
    ("sqlcmd bcp osql tsql", &[("-P", Form::Both)]),
    ("ldap kadmin", &[("-w", Form::Both)]),
    ("influx", &[("-t", Form::Next)]),
    ("zip unzip ipmitool", &[("-P", Form::Next)]),
    ("openssl", &[("-passin", Form::Next), ("-passout", Form::Next), ("-k", Form::Next)]),
];
/// Clients that are given `user/password@service`.
const OF_ORACLE: &str = "sqlplus sqlldr rman exp imp expdp impdp";
/// Words after which, and how many words later, a secret stands: of a client, or of all.
const AFTER: &[(&str, &str, usize)] = &[
    ("", "requirepass", 1),
    ("", "masterauth", 1),
    ("redis- valkey- keydb-", "auth", 1),
    ("", "auth-pass", 2),
    ("rabbitmqctl", "add_user", 2),
    ("rabbitmqctl", "change_password", 2),
    ("rabbitmqctl", "authenticate_user", 2),
    ("neo4j-admin", "set-initial-password", 1),
    ("vault", "login", 1),
    ("mc", "set", 4),
];
/// Clients for which `--password` without a value asks on the terminal.
const ASK: &str = "mysql mariadb psql pg_ createdb dropdb createuser vacuumdb";
/// Scripts inside of scripts: more of them nobody writes.
const DEEPEST: usize = 4;

/// Secrets among the words of a container's command and arguments, with the number of the word.
pub(super) fn find(words: &[&str]) -> Vec<(usize, String)> {
    let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
    judged(&words, Place::Word, 0)
}

/// The first secret of a script.
pub(super) fn in_script(script: &str) -> Option<String> {
    of_script(script, 0)
}

fn of_script(script: &str, depth: usize) -> Option<String> {
    if depth > DEEPEST {
        return None;
    }
    let commands = shell::commands(script);
    let mut found =
        commands.iter().find_map(|words| Some(judged(words, Place::Script, depth + 1).into_iter().next()?.1));
    if found.is_none() && commands.iter().any(|words| words.iter().any(|word| base(word) == "chpasswd")) {
        let is_pair = |word: &String| word.split_once(':').is_some_and(|(_, value)| is_value(value, Place::Script));
        found = commands.iter().flatten().find(|word| is_pair(word)).map(|_| "chpasswd".to_owned());
    }
    // Text that the script writes to a file, or that spans several lines.
    found.or_else(|| values::find(script, Place::Script))
}

/// The secrets of one command.
fn judged(words: &[String], place: Place, depth: usize) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    let mut client = "";
    let mut shell = false;
    for (n, word) in words.iter().enumerate() {
        let before = n.checked_sub(1).map_or("", |n| words[n].as_str());
        let is_script =
            word.contains(|c: char| c.is_whitespace() || ";&|`".contains(c)) || (shell && before.ends_with('c'));
        let what = option(client, before, word, place)
            .or_else(|| attached(client, word, place))
            .or_else(|| positional(client, words, n, place))
            .or_else(|| is_script.then(|| of_script(word, depth + 1)).flatten())
            .or_else(|| values::find(word, if is_script { Place::Script } else { place }));
        found.extend(what.map(|what| (n, what)));
        if client.is_empty() && is_client(word) {
            client = base(word);
        }
        shell |= matches!(base(word), "sh" | "bash" | "ash" | "dash" | "zsh" | "ksh" | "busybox");
    }
    found
}

/// The value of the option before it.
fn option(client: &str, before: &str, word: &str, place: Place) -> Option<String> {
    if word.starts_with('-') {
        return None;
    }
    let own = options(client).find(|(option, form)| *option == before && *form != Form::Attached);
    let is_secret_value = match own {
        Some((_, Form::Pair)) => is_pair(word, place),
        Some(_) => is_value(word, place),
        None => {
            let option = before.strip_prefix('-')?.trim_start_matches('-');
            let plain = option.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c));
            let asks = option == "password" && starts_one_of(ASK, client);
            plain && !asks && is_secret(option) && !is_harmless(option, word, place)
        }
    };
    is_secret_value.then(|| before.to_owned())
}

/// `-px`.
fn attached(client: &str, word: &str, place: Place) -> Option<String> {
    let (option, _) = options(client).filter(|(option, _)| option.len() == 2).find(|(option, form)| {
        let value = word.strip_prefix(option).filter(|value| !value.is_empty());
        match form {
            Form::Next => false,
            Form::Attached | Form::Both => value.is_some_and(|value| is_value(value, place)),
            Form::Pair => value.is_some_and(|value| is_pair(value, place)),
        }
    })?;
    Some(option.to_owned())
}

/// A secret that stands at its place.
fn positional(client: &str, words: &[String], n: usize, place: Place) -> Option<String> {
    let word = &words[n];
    let after = AFTER.iter().find(|(of, verb, later)| {
        let is_verb = |n: usize| words[n].eq_ignore_ascii_case(verb);
        (of.is_empty() || starts_one_of(of, client)) && n.checked_sub(*later).is_some_and(is_verb)
    });
    if let Some((_, verb, _)) = after
        && !word.starts_with('-')
        && !is_harmless(verb, word, place)
    {
        return Some((*verb).to_owned());
    }
    // Sent to the server by something else: `echo AUTH x | nc`.
    if n > 0 && words[n - 1] == "AUTH" && n + 1 == words.len() && is_value(word, place) {
        return Some("AUTH".to_owned());
    }
    // Redis' rules: `user app on >x`, `ACL SETUSER app on >x`.
    let rules = words[..n].iter().any(|w| w == "--user" || w == "user" || w.eq_ignore_ascii_case("setuser"));
    if rules && word.strip_prefix('>').is_some_and(|value| is_value(value, place)) {
        return Some("a user's password".to_owned());
    }
    let of_oracle = stands_in(OF_ORACLE, client) && !word.starts_with(['/', '-', '@']) && !word.contains('=');
    let password =
        word.split_once('/').filter(|_| of_oracle).map(|(_, rest)| rest.split('@').next().unwrap_or_default());
    password.is_some_and(|password| is_value(password, place)).then(|| values::ADDRESS.to_owned())
}

fn is_value(value: &str, place: Place) -> bool {
    !value.is_empty() && !is_harmless("", value, place)
}

fn is_pair(value: &str, place: Place) -> bool {
    value.split_once(':').is_some_and(|(_, password)| is_value(password, place))
}

fn options(client: &str) -> impl Iterator<Item = (&'static str, Form)> {
    let of = CLIENTS.iter().filter(move |(names, _)| !client.is_empty() && starts_one_of(names, client));
    of.flat_map(|(_, options)| options.iter().copied())
}

fn is_client(word: &str) -> bool {
    let base = base(word);
    let known = CLIENTS.iter().any(|(names, _)| starts_one_of(names, base)) || starts_one_of(ASK, base);
    !word.starts_with('-')
        && !word.contains('=')
        && (known || stands_in(OF_ORACLE, base) || AFTER.iter().any(|(of, _, _)| starts_one_of(of, base)))
}

fn starts_one_of(names: &str, client: &str) -> bool {
    names.split_whitespace().any(|name| client.starts_with(name))
}

/// The name of a program without its folder.
fn base(word: &str) -> &str {
    word.rsplit('/').next().unwrap_or(word)
}
