//! How long a window is worth something: a database's point-in-time recovery reaches back for a while only.

use super::{Database, DatabaseKind};

/// How many days back DynamoDB recovers a table at most.
pub const DYNAMO_DAYS: i64 = 35;

/// The remark that a plan makes where a DynamoDB is among the databases. Who learns of
/// it when the tables are needed learns it late.
pub fn note(databases: &[Database]) -> Option<&'static str> {
    databases.iter().any(|d| d.kind == DatabaseKind::Dynamo).then_some(
        "point-in-time recovery of DynamoDB reaches back 35 days at most: do the first hop of `describe -o runbook` right after \
         the window, which touches no table in use; else its tables cannot be brought back to it later",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_expires_is_said_beforehand() {
        let of = |text: &str| note(&[Database::parse("jdbc").unwrap(), Database::parse(text).unwrap()]);
        let said = of("dynamo=us-east-1").unwrap();
        assert!(said.contains(&format!("{DYNAMO_DAYS} days")) && said.contains("first hop"), "{said}");
        assert_eq!(of("cassandra=a"), None);
    }
}
