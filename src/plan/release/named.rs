//! A database that the user names.

use super::{Database, DatabaseKind, credentials};

impl DatabaseKind {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Dynamo, Self::Cosmos, Self::Cassandra, Self::Jdbc];

    /// As `scalar.db.storage` and `--database` have it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Dynamo => "dynamo",
            Self::Cosmos => "cosmos",
            Self::Cassandra => "cassandra",
            Self::Jdbc => "jdbc",
        }
    }

    /// The kind of this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }

    /// As a title has it.
    pub fn title(self) -> &'static str {
        match self {
            Self::Dynamo => "Amazon DynamoDB",
            Self::Cosmos => "Azure Cosmos DB",
            Self::Cassandra => "Apache Cassandra",
            Self::Jdbc => "Relational database",
        }
    }
}

/// Where the endpoint ends and a table begins.
const TABLE: &str = ",table=";

impl Database {
    /// Reads `KIND[=ENDPOINT][,table=NAMESPACE.TABLE]...`:
    ///
    /// * `dynamo=ap-northeast-1,table=coordinator.state,table=shop.orders`: the region; the tables as DynamoDB names
    ///   them, with a prefix if there is one
    /// * `cosmos=https://ACCOUNT.documents.azure.com:443/`
    /// * `cassandra=node1,node2,node3`: the contact points, which may hold commas
    /// * `jdbc=jdbc:postgresql://HOST:5432/DATABASE`: without user and password
    ///
    /// A table `NAMESPACE.*` stands for all tables of the namespace. Without tables the runbook tells how to list them.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut parts = text.split(TABLE);
        let head = parts.next().unwrap_or_default();
        let (kind, endpoint) = head.split_once('=').unwrap_or((head, ""));
        let kind = DatabaseKind::named(kind).ok_or_else(|| {
            let names = DatabaseKind::ALL.map(DatabaseKind::name).join(", ");
            format!("`{kind}` is no kind of database, known are: {names} (KIND[=ENDPOINT][,table=NAMESPACE.TABLE]...)")
        })?;
        endpoint_is_sound(kind, endpoint)?;
        let mut tables: Vec<String> = Vec::new();
        for table in parts {
            table_is_sound(table)?;
            if tables.iter().any(|known| known == table) {
                return Err(format!("table {table} is named twice"));
            }
            tables.push(table.to_owned());
        }
        Ok(Self { kind, release: String::new(), storage: String::new(), endpoint: endpoint.to_owned(), tables })
    }
}

fn endpoint_is_sound(kind: DatabaseKind, endpoint: &str) -> Result<(), String> {
    if credentials::are_in(endpoint) {
        return Err(
            "the endpoint holds a user or a password, which would stand in the record: leave them out, no restore needs \
             them"
            .into(),
        );
    }
    if endpoint.chars().any(|c| c.is_whitespace() || c.is_control()) {
        return Err(format!("the endpoint `{endpoint}` holds a blank"));
    }
    if let Some(part) = endpoint.split(',').find(|part| part.starts_with("table") && part.contains('=')) {
        return Err(format!("`{part}`: tables are written one by one, as ,table=NAMESPACE.TABLE"));
    }
    match kind {
        DatabaseKind::Dynamo if endpoint.contains(['/', ',', ':', '=']) => {
            Err(format!("`{endpoint}` is no AWS region such as ap-northeast-1"))
        }
        DatabaseKind::Cosmos if !endpoint.is_empty() && !endpoint.starts_with("https://") => {
            Err(format!("`{endpoint}` is no endpoint such as https://ACCOUNT.documents.azure.com:443/"))
        }
        DatabaseKind::Jdbc if !endpoint.is_empty() && !endpoint.starts_with("jdbc:") => {
            Err(format!("`{endpoint}` is no JDBC URL such as jdbc:postgresql://HOST:5432/DATABASE"))
        }
        _ => Ok(()),
    }
}

fn table_is_sound(table: &str) -> Result<(), String> {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    let named = table.split_once('.').is_some_and(|(namespace, table)| {
        !namespace.is_empty()
            && namespace.chars().all(plain)
            && !table.is_empty()
            && (table == "*" || table.chars().all(plain))
    });
    if named {
        Ok(())
    } else {
        Err(format!("`{table}` is no table such as coordinator.state, or shop.* for all of shop"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_database_is_named_as_its_properties_would() {
        let named = Database::parse("dynamo=ap-northeast-1,table=coordinator.state,table=shop.*").unwrap();
        assert_eq!(named.kind, DatabaseKind::Dynamo);
        assert_eq!((named.endpoint.as_str(), named.release.as_str()), ("ap-northeast-1", ""));
        assert_eq!(named.tables, ["coordinator.state", "shop.*"]);
        for (text, endpoint) in [
            ("cassandra=a,b,c,table=x.y", "a,b,c"),
            ("cosmos=https://a.documents.azure.com:443/", "https://a.documents.azure.com:443/"),
            ("jdbc=jdbc:postgresql://db:5432/x?ssl=true", "jdbc:postgresql://db:5432/x?ssl=true"),
            ("dynamo", ""),
            ("jdbc=", ""),
        ] {
            assert_eq!(Database::parse(text).map(|d| d.endpoint).as_deref(), Ok(endpoint), "{text}");
        }
    }

    #[test]
    fn what_is_wrong_is_said_with_what_is_right() {
        for (text, said) in [
            ("", "known are: dynamo, cosmos, cassandra, jdbc"),
            ("mysql=db", "`mysql` is no kind of database"),
            ("dynamo=us-east-1,tables=a.b", "one by one, as ,table=NAMESPACE.TABLE"),
            ("dynamo=us-east-1,table=a.b+c.d", "`a.b+c.d` is no table"),
            ("dynamo=us-east-1,table=", "`` is no table"),
            ("dynamo=us-east-1,table=state", "`state` is no table"),
            ("dynamo=us-east-1,table=a.b,table=a.b", "named twice"),
            ("dynamo=https://dynamodb.us-east-1.amazonaws.com", "no AWS region"),
            ("cosmos=account", "https://ACCOUNT.documents.azure.com"),
            ("jdbc=db:5432", "no JDBC URL"),
            ("jdbc=jdbc:mysql://root:sesame@db/x", "leave them out"),
            ("cassandra=a b", "holds a blank"),
        ] {
            let wrong = Database::parse(text).unwrap_err();
            assert!(wrong.contains(said), "{text}: {wrong}");
            assert!(!wrong.contains("sesame"));
        }
    }

    #[test]
    fn a_kind_has_one_name() {
        for kind in DatabaseKind::ALL {
            assert_eq!(DatabaseKind::named(kind.name()), Some(kind));
            assert_eq!(serde_json::to_value(kind).unwrap(), kind.name(), "in records too");
        }
    }
}
