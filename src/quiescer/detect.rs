//! Which database a container runs, judged by what its manifest says.
//!
//! The rule, in this order:
//! 1. a server program among command and arguments decides (`redis-server … --sentinel` is no database);
//! 2. an image that serves, watches or operates a database without being one (exporter, pooler, sentinel …) is none;
//! 3. a command that names a client is none: the same image also runs dumps and migrations;
//! 4. a port counts together with its name, or with the variables by which such servers are configured; alone it
//!    proves nothing (poolers listen on 5432 too);
//! 5. a program that is neither a shell nor a start script is none (`sleep`);
//! 6. the last element of the image's name decides.

use k8s_openapi::api::core::v1::Container;

/// What gives one kind of database away.
pub(super) struct Signs {
    /// Words of the image's name.
    pub(super) images: &'static [&'static str],
    /// Whole names of images whose words alone say too little (percona-server and percona-distribution-postgresql).
    pub(super) names: &'static [&'static str],
    /// Server programs.
    pub(super) servers: &'static [&'static str],
    /// Client programs, which no server's command names without naming the server too.
    pub(super) clients: &'static [&'static str],
    /// The port it listens on.
    pub(super) port: i32,
    /// Beginnings of port names.
    pub(super) ports: &'static [&'static str],
    /// Beginnings of variables.
    pub(super) env: &'static [&'static str],
}

/// Words in an image's name that tell of something beside the database.
const BESIDE: &str = "exporter metrics sentinel bouncer pgbouncer pgpool pgcat proxy proxysql maxscale router \
    admin pgadmin phpmyadmin adminer insight redisinsight commander client cli shell tool \
    tools toolbox operator backup backups pgbackrest xtrabackup mariabackup dump mysqldump \
    restore migrate migration migrations init benchmark mongodb mongo";

/// Whether the container runs the database with these signs.
pub(super) fn runs(signs: &Signs, container: &Container) -> bool {
    let command = container.command.as_deref().unwrap_or_default();
    let words: Vec<String> = command
        .iter()
        .chain(container.args.iter().flatten())
        .flat_map(|text| text.split(|c: char| c.is_whitespace() || ";&|()\"'`".contains(c)))
        .filter(|word| !word.is_empty())
        .map(|word| last(word).to_lowercase())
        .collect();
    let started = |programs: &[&str]| {
        words.iter().enumerate().any(|(at, word)| {
            let before = at.checked_sub(1).map_or("", |at| words[at].as_str());
            programs.contains(&word.as_str()) && !takes_a_name(before) && !signs.clients.contains(&before)
        })
    };
    // Sentinel is the same program in another mode: it holds no data.
    if words.iter().any(|w| w == "--sentinel" || w == "redis-sentinel" || w == "valkey-sentinel") {
        return false;
    }
    if started(signs.servers) {
        return true;
    }
    let image = image_words(container.image.as_deref().unwrap_or_default());
    if image.iter().any(|word| BESIDE.split(' ').any(|beside| beside == word)) || started(signs.clients) {
        return false;
    }
    if listens(signs, container) {
        return true;
    }
    if command.first().is_some_and(|program| !starts_others(last(program))) {
        return false;
    }
    image.iter().any(|word| signs.images.contains(&word.as_str())) || signs.names.contains(&image.join("-").as_str())
}

/// Whether the next word is a name, as in `-U postgres` and `gosu postgres`: users and databases are called like the
/// server's program. What follows `-c` (of a shell) or `--` is a program.
fn takes_a_name(word: &str) -> bool {
    let option = word.starts_with('-') && word != "--" && !word.trim_start_matches('-').ends_with('c');
    option || ["su", "gosu", "su-exec", "sudo", "runuser", "chown", "createdb", "dropdb", "dropuser"].contains(&word)
}

/// Whether port and configuration together tell of the database.
fn listens(signs: &Signs, container: &Container) -> bool {
    let begins = |text: &str, with: &[&str]| with.iter().any(|begin| text.starts_with(begin));
    let mut ports = container.ports.iter().flatten().filter(|port| port.container_port == signs.port).peekable();
    let configured = || container.env.iter().flatten().any(|env| begins(&env.name, signs.env));
    ports.peek().is_some()
        && (configured() || ports.any(|port| port.name.as_deref().is_some_and(|name| begins(name, signs.ports))))
}

/// Whether a program may start the server without naming it: a shell or an image's own start script.
fn starts_others(program: &str) -> bool {
    const SHELLS: &[&str] =
        &["sh", "bash", "ash", "dash", "env", "tini", "dumb-init", "gosu", "exec", "su-exec", "s6-svscan"];
    const SCRIPTS: &[&str] = &["entrypoint", "start", "run", "launch", "init", ".sh", "setup"];
    SHELLS.contains(&program) || SCRIPTS.iter().any(|script| program.contains(script))
}

/// The words of an image's last path element, without registry, tag, digest and version digits.
fn image_words(image: &str) -> Vec<String> {
    let name = last(image.split('@').next().unwrap_or_default());
    let name = name.split(':').next().unwrap_or_default().to_lowercase();
    name.split(['-', '_', '.'])
        .map(|word| word.trim_end_matches(|c: char| c.is_ascii_digit()).to_owned())
        .filter(|word| !word.is_empty())
        .collect()
}

/// What stands behind the last slash.
fn last(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or_default()
}

#[cfg(test)]
mod tests;
