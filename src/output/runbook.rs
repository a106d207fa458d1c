//! `describe -o runbook`: the commands that bring each database behind a backup to one instant of its window. This
//! program knows no cloud: what it can do is fill in names and times, in the right order, and say what is forgotten.
//!
//! It is for bash alone. In zsh a pasted remark is a command, and a pattern that fits no file ends the line it stands in.

use jiff::Timestamp;

use crate::error::Error;
use crate::escape::escape_line;
use crate::plan::release::Product;
use crate::plan::{Backend, Database, DatabaseKind};
use crate::record::backup::{Backup, Window};
use crate::typed::{Typed, quoted};

mod cassandra;
mod cosmos;
mod dynamo;
mod endpoints;
mod instant;
mod jdbc;
mod page;
mod releases;
#[cfg(test)]
mod tests;

use page::Page;

/// What is restored, and to when.
struct Restoring<'a> {
    backup: &'a Backup,
    window: &'a Window,
    instant: Timestamp,
    typed: &'a Typed,
}

impl Restoring<'_> {
    fn run(&self) -> &str {
        &self.backup.metadata.name
    }

    /// The instant, as all tools take it.
    fn at(&self) -> String {
        format!("{:.0}", self.instant)
    }

    fn backend(&self) -> &Backend {
        &self.backup.status.backend
    }

    /// What the release runs that a database belongs to.
    fn product(&self, database: &Database) -> Option<Product> {
        let release = self.backup.status.releases.iter().find(|r| r.path() == database.release);
        release.map(|r| r.product)
    }
}

/// The runbook of a backup: to `target`, or to the middle of its window. Refused is an instant outside the window, and a
/// backup that has none.
pub fn runbook(backup: &Backup, target: Option<Timestamp>, typed: &Typed) -> Result<String, Error> {
    let window = instant::window(backup)?;
    let instant = instant::instant(backup, window, target)?;
    let restoring = Restoring { backup, window, instant, typed };
    let mut page = Page::default();
    head(&mut page, &restoring);
    page.part("Stop whatever writes to the databases");
    releases::stop(&mut page, &restoring);
    let mut addresses = Vec::new();
    for databases in by_server(&backup.status.databases) {
        for (n, database) in databases.into_iter().enumerate() {
            page.part(&title(database));
            if n == 0 {
                part(&mut page, database, &restoring);
            } else {
                page.say(
                    "It lies on the same server as the database before, and has come back with it: what is said there \
                     holds for it as well.",
                );
            }
            if database.kind == DatabaseKind::Cosmos {
                cosmos::schema_loader(&mut page, restoring.product(database));
            }
            addresses.extend(endpoints::part(&mut page, database, &restoring));
        }
    }
    if backup.status.databases.is_empty() {
        page.part("The databases");
        page.say(&format!(
            "The record names none: no properties of a release told them, and none was given with --database. Restore \
             each database behind the application to {}, by its own point-in-time recovery.",
            restoring.at()
        ));
    }
    claims(&mut page, &restoring);
    page.part("Start, and compare the pods");
    releases::start(&mut page, &restoring, &addresses);
    Ok(page.text())
}

fn part(page: &mut Page, database: &Database, restoring: &Restoring<'_>) {
    match database.kind {
        DatabaseKind::Dynamo => dynamo::part(page, database, restoring),
        DatabaseKind::Cosmos => cosmos::part(page, database, restoring),
        DatabaseKind::Cassandra => cassandra::part(page, database, restoring),
        DatabaseKind::Jdbc => jdbc::part(page, database, restoring),
    }
}

/// The databases, those of one server together: it is restored once, whoever else uses it.
fn by_server(databases: &[Database]) -> Vec<Vec<&Database>> {
    let mut all: Vec<Vec<&Database>> = Vec::new();
    for database in databases {
        let its = server(database);
        match all.iter_mut().find(|others| its.is_some() && server(others[0]) == its) {
            Some(others) => others.push(database),
            None => all.push(vec![database]),
        }
    }
    all
}

/// Where a database lies, if that can be told.
fn server(database: &Database) -> Option<(DatabaseKind, &str)> {
    let endpoint = database.endpoint.as_str();
    let server = match database.kind {
        // Restored table by table.
        DatabaseKind::Dynamo => None,
        DatabaseKind::Cosmos => cosmos::account(endpoint),
        DatabaseKind::Cassandra => Some(endpoint).filter(|nodes| !nodes.is_empty()),
        DatabaseKind::Jdbc => jdbc::server(endpoint),
    };
    Some((database.kind, server?))
}

fn head(page: &mut Page, restoring: &Restoring<'_>) {
    let (window, at) = (restoring.window, restoring.instant);
    let apart = |from: Timestamp, to: Timestamp| to.duration_since(from).as_secs_f64();
    page.say(&format!("Restore of the databases behind backup {} to {at:.0}", restoring.run()));
    page.say("");
    page.say(&format!(
        "All of them go back to this one instant. It lies {:.1} s after the beginning of the window and {:.1} s before its \
         end ({:.3} to {:.3} by the clock of the API server, known within {:.3} s), in which no transaction was under \
         way. No other instant may be used, not even for one of them: what it would bring back is not consistent.",
        apart(window.start, at),
        apart(at, window.end),
        window.start,
        window.end,
        window.accuracy_seconds
    ));
    page.say(
        "Point-in-time recovery must have been enabled on each database before the window, and still reach back to it. The \
         clock of a database that is off by more than these seconds makes the instant another one.",
    );
    if restoring.backup.status.outcome != "ApplicationConsistent" {
        let reason = &restoring.backup.status.reason;
        page.say(&format!("WARNING: the backup is {} only: {reason}", restoring.backup.status.outcome));
    }
    page.say(
        "Save this to a file, start bash, and paste part by part into it, looking at each result before the next. No other \
         shell will do: zsh takes remarks for commands.",
    );
    page.run("[ -n \"$BASH_VERSION\" ] || echo 'THIS IS NOT BASH: paste nothing more' >&2");
}

fn title(database: &Database) -> String {
    let mut title = database.kind.title().to_owned();
    for (word, value) in [("at", &database.endpoint), ("of release", &database.release), ("storage", &database.storage)]
    {
        if !value.is_empty() {
            title.push_str(&format!(", {word} {value}"));
        }
    }
    title
}

/// Where there are releases the same command is their start, and the last part's.
fn claims(page: &mut Page, restoring: &Restoring<'_>) {
    let status = &restoring.backup.status;
    if status.claims.is_empty() || !status.releases.is_empty() {
        return;
    }
    page.part("The claims in the cluster");
    page.say("They were copied inside the same window, and come back by:");
    let namespace = &restoring.backup.metadata.namespace;
    page.run(&restoring.typed.command("restore-from-snapshot", restoring.run(), namespace));
}

/// `NAME=value`, or a line to be filled in where the value is not known; a command that needs it would fail.
fn variable(name: &str, value: &str, what: &str) -> String {
    if value.is_empty() {
        format!("{name}=  # {what}: fill it in")
    } else if value.contains("${") {
        let value = escape_line(value);
        format!("{name}=  # {what}: the properties say {value}, filled in from the environment of the pods")
    } else {
        format!("{name}={}", quoted(value))
    }
}
