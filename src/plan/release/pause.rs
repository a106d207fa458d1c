//! Whether a pause is needed at all: a single relational database has transactions of its own, and its own backups are
//! consistent while everything runs on.

use super::{Database, DatabaseKind, Release};

/// Whether releases have to be paused for a consistent backup of what is behind them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pause {
    /// One database, and its transactions span all: any instant is consistent.
    NotNeeded,
    /// A database without transactions over all its tables.
    NoTransactions,
    /// More than one database: no instant is the same in all of them unless all are quiet.
    Several,
    /// There is no release, not every release's databases are known, or whether two of them are the same one.
    Unknown,
}

impl Pause {
    /// What the databases behind these releases ask for.
    pub fn of(releases: &[Release], databases: &[Database]) -> Self {
        if databases.iter().any(|d| d.kind != DatabaseKind::Jdbc) {
            return Self::NoTransactions;
        }
        // What the user named stands for all releases.
        let known = |release: &Release| databases.iter().any(|d| d.release.is_empty() || d.release == release.path());
        let Some(first) = databases.first() else { return Self::Unknown };
        let apart = |d: &&Database| filled(d) && filled(first) && d.endpoint != first.endpoint;
        if databases.iter().any(|d| apart(&d)) || storages(databases) {
            return Self::Several;
        }
        let one = databases.len() == 1 || databases.iter().all(|d| filled(d) && d.endpoint == first.endpoint);
        if one && !releases.is_empty() && releases.iter().all(known) { Self::NotNeeded } else { Self::Unknown }
    }

    /// The remark that a plan makes; nothing where a pause is needed, or where that is not known.
    pub fn note(self) -> Option<&'static str> {
        (self == Self::NotNeeded).then_some(
            "no pause is needed: behind the releases is one relational database, whose own transactions keep any instant \
             consistent; its point-in-time recovery, a dump in one transaction (mysqldump --single-transaction, pg_dump, \
             SQLite's .backup) or a backup of the database itself by this command does it while all serve",
        )
    }
}

/// Whether the endpoint says which database it is.
fn filled(database: &Database) -> bool {
    // A placeholder is filled in by each release's own environment; `jdbc:mysql:` alone is what was left of a URL.
    !database.endpoint.is_empty() && !database.endpoint.contains("${") && !database.endpoint.ends_with(':')
}

/// Whether one release has several storages, which nobody needs for one database.
fn storages(databases: &[Database]) -> bool {
    databases
        .iter()
        .any(|a| databases.iter().any(|b| a.release == b.release && a.storage != b.storage && a.endpoint != b.endpoint))
}

#[cfg(test)]
mod tests {
    use super::super::Product;
    use super::*;

    fn release(name: &str) -> Release {
        Release {
            namespace: "demo".into(),
            name: name.into(),
            product: Product::Ledger,
            chart: String::new(),
            app_version: String::new(),
            deployment: name.into(),
            service: name.into(),
            properties: None,
        }
    }

    fn database(release: &str, kind: &str, endpoint: &str) -> Database {
        let release = if release.is_empty() { String::new() } else { format!("demo/{release}") };
        Database { release, ..Database::parse(&format!("{kind}={endpoint}")).unwrap() }
    }

    const A: &str = "jdbc:postgresql://a/ledger";
    const B: &str = "jdbc:postgresql://b/auditor";

    #[test]
    fn one_relational_database_needs_none_and_the_cheaper_way_is_named() {
        let pause = Pause::of(&[release("l")], &[database("l", "jdbc", A)]);
        assert_eq!(pause, Pause::NotNeeded);
        let note = pause.note().unwrap();
        assert!(note.contains("no pause is needed") && note.contains("pg_dump") && !note.contains('\n'), "{note}");
        let both = [release("l"), release("a")];
        assert_eq!(Pause::of(&both, &[database("l", "jdbc", A), database("a", "jdbc", A)]), Pause::NotNeeded);
        assert_eq!(Pause::of(&both, &[database("", "jdbc", A)]), Pause::NotNeeded, "named by the user");
        assert_eq!(Pause::of(&[release("l")], &[database("l", "jdbc", "jdbc:x://${env:H}/")]), Pause::NotNeeded);
    }

    #[test]
    fn without_transactions_or_with_two_databases_one_is_needed() {
        let both = [release("l"), release("a")];
        for kind in ["dynamo", "cosmos", "cassandra"] {
            assert_eq!(Pause::of(&both[..1], &[database("l", kind, "")]), Pause::NoTransactions);
        }
        let pair = [database("l", "jdbc", A), database("a", "jdbc", B)];
        assert_eq!(Pause::of(&both, &pair), Pause::Several, "Ledger and Auditor");
        let mut storages = [database("l", "jdbc", "jdbc:x://${env:A}/"), database("l", "jdbc", "jdbc:x://${env:B}/")];
        storages[0].storage = "one".into();
        storages[1].storage = "two".into();
        assert_eq!(Pause::of(&both[..1], &storages), Pause::Several);
        assert!(Pause::Several.note().is_none() && Pause::NoTransactions.note().is_none());
    }

    #[test]
    fn what_is_not_known_is_not_claimed() {
        let both = [release("l"), release("a")];
        assert_eq!(Pause::of(&both, &[]), Pause::Unknown);
        assert_eq!(Pause::of(&[], &[database("", "jdbc", A)]), Pause::Unknown, "there is nothing to pause");
        assert_eq!(Pause::of(&both, &[database("l", "jdbc", A)]), Pause::Unknown, "of one nothing is known");
        let same = "jdbc:x://${env:H}/";
        let placeholders = [database("l", "jdbc", same), database("a", "jdbc", same)];
        assert_eq!(Pause::of(&both, &placeholders), Pause::Unknown, "each pod fills in its own");
        assert!(Pause::Unknown.note().is_none());
    }
}
