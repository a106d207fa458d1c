//! The databases behind a release, from its properties: `database.properties`, `ledger.properties`,
//! `auditor.properties` or `scalardb-cluster-node.properties`. User names and passwords are never asked for.

use std::collections::BTreeMap;

use super::{Database, DatabaseKind, Product, credentials, properties};

/// What the properties tell.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// The databases, each storage of a multi-storage by itself.
    pub databases: Vec<Database>,
    /// What they do not tell, one remark each: the user can name such a database.
    pub unread: Vec<String>,
}

/// The tables of ScalarDL Ledger, by the schema that its loader creates.
const LEDGER: [&str; 9] = [
    "asset",
    "asset_metadata",
    "certificate",
    "contract",
    "contract_class",
    "function",
    "namespace",
    "secret",
    "tx_state",
];
/// The tables of ScalarDL Auditor.
const AUDITOR: [&str; 9] = [
    "asset",
    "asset_lock",
    "certificate",
    "contract",
    "contract_class",
    "lease",
    "namespace",
    "request_proof",
    "secret",
];

/// The databases of the release at this path (`NAMESPACE/NAME`).
///
/// Tables are those that the properties imply: the Coordinator's, a ScalarDL product's own, what is mapped to a storage
/// (`NAMESPACE.*` where a whole namespace is). An application's own tables stand in no properties. On DynamoDB they
/// bear the configured prefix, as the service knows them.
pub fn databases(product: Product, release: &str, text: &str) -> Found {
    let settings = Settings { all: properties::effective(text) };
    let mut found = Found::default();
    let storage = settings.get(None, "storage");
    let storages = match storage {
        "multi-storage" => list(settings.get(None, "multi_storage.storages")).into_iter().map(Some).collect::<Vec<_>>(),
        _ => vec![None],
    };
    if storages.is_empty() {
        found.unread.push(format!("release {release}: no storage is named in scalar.db.multi_storage.storages"));
    }
    let known = settings.tables(product);
    for name in storages {
        match settings.kind(name) {
            Ok(kind) => found.databases.push(Database {
                kind,
                release: release.to_owned(),
                storage: name.unwrap_or_default().to_owned(),
                endpoint: credentials::without(settings.get(name, "contact_points")),
                tables: settings.tables_of(name, kind, &known),
            }),
            Err(why) => found
                .unread
                .push(format!("release {release}: {why}; name its database with --database, else the runbook cannot")),
        }
    }
    found
}

/// Properties without ScalarDB's prefix.
struct Settings {
    all: BTreeMap<String, String>,
}

impl Settings {
    /// A setting of a storage, or where it has none, of all. Nothing here asks for credentials.
    fn get(&self, storage: Option<&str>, key: &str) -> &str {
        let own = storage.and_then(|name| self.all.get(&format!("scalar.db.multi_storage.storages.{name}.{key}")));
        own.or_else(|| self.all.get(&format!("scalar.db.{key}"))).map_or("", |value| value.trim())
    }

    fn kind(&self, storage: Option<&str>) -> Result<DatabaseKind, String> {
        let manager = self.get(None, "transaction_manager");
        if matches!(manager, "cluster" | "grpc") {
            return Err(format!("its transactions are another ScalarDB's (scalar.db.transaction_manager={manager})"));
        }
        let key = storage
            .map_or("scalar.db.storage".to_owned(), |name| format!("scalar.db.multi_storage.storages.{name}.storage"));
        match self.get(storage, "storage") {
            "" => Err(format!("its properties have no {key}")),
            placeholder if placeholder.contains("${") || placeholder.contains("{{") => {
                Err(format!("{key} is filled in when its pods start"))
            }
            text => DatabaseKind::named(text).ok_or_else(|| format!("{key}={text} is of no kind that is known here")),
        }
    }

    /// The tables that the properties imply, wherever they lie.
    fn tables(&self, product: Product) -> Vec<(String, String)> {
        let mut tables: Vec<(String, String)> = Vec::new();
        if matches!(self.get(None, "transaction_manager"), "" | "consensus-commit") {
            let namespace = or(self.get(None, "consensus_commit.coordinator.namespace"), "coordinator");
            tables.push((namespace.to_owned(), "state".to_owned()));
        }
        let own = |key: &str, default: &str, tables: &[&str]| -> Vec<(String, String)> {
            let namespace = or(self.all.get(key).map_or("", |value| value.trim()), default).to_owned();
            tables.iter().map(|table| (namespace.clone(), (*table).to_owned())).collect()
        };
        match product {
            Product::Ledger => tables.extend(own("scalar.dl.ledger.namespace", "scalar", &LEDGER)),
            Product::Auditor => tables.extend(own("scalar.dl.auditor.namespace", "auditor", &AUDITOR)),
            Product::ScalarDbCluster | Product::ScalarDbServer => {}
        }
        for (table, _) in pairs(self.get(None, "multi_storage.table_mapping")) {
            let named = table.split_once('.').map(|(namespace, table)| (namespace.to_owned(), table.to_owned()));
            tables.extend(named.filter(|named| !tables.contains(named)));
        }
        for (namespace, _) in pairs(self.get(None, "multi_storage.namespace_mapping")) {
            // Of the Coordinator's and a product's own all tables are named already.
            if !tables.iter().any(|(of, table)| of == namespace && table == "state")
                && !tables.iter().any(|(of, table)| of == namespace && table == "asset")
            {
                tables.push((namespace.to_owned(), "*".to_owned()));
            }
        }
        tables
    }

    /// Those of them that lie in a storage, by the names that the database knows them by.
    fn tables_of(&self, storage: Option<&str>, kind: DatabaseKind, known: &[(String, String)]) -> Vec<String> {
        let prefix = match kind {
            DatabaseKind::Dynamo => self.get(storage, "dynamo.namespace.prefix"),
            _ => "",
        };
        let here = known.iter().filter(|(namespace, table)| self.storage_of(namespace, table) == storage);
        here.map(|(namespace, table)| format!("{prefix}{namespace}.{table}")).collect()
    }

    /// As ScalarDB routes it: by table, by namespace, else to the default.
    fn storage_of(&self, namespace: &str, table: &str) -> Option<&str> {
        if self.get(None, "storage") != "multi-storage" {
            return None;
        }
        let mapped = |key: &str, name: &str| {
            pairs(self.get(None, key)).into_iter().rev().find(|(mapped, _)| *mapped == name).map(|(_, storage)| storage)
        };
        mapped("multi_storage.table_mapping", &format!("{namespace}.{table}"))
            .or_else(|| mapped("multi_storage.namespace_mapping", namespace))
            .or_else(|| Some(self.get(None, "multi_storage.default_storage")))
    }
}

fn or<'a>(value: &'a str, default: &'a str) -> &'a str {
    if value.is_empty() { default } else { value }
}

fn list(text: &str) -> Vec<&str> {
    text.split(',').map(str::trim).filter(|item| !item.is_empty()).collect()
}

/// `NAME:STORAGE` of a mapping.
fn pairs(text: &str) -> Vec<(&str, &str)> {
    list(text).into_iter().filter_map(|pair| pair.split_once(':')).map(|(a, b)| (a.trim(), b.trim())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(product: Product, text: &str) -> Database {
        let found = databases(product, "demo/scalar", text);
        assert_eq!((found.databases.len(), found.unread), (1, vec![]), "{text}");
        found.databases[0].clone()
    }

    #[test]
    fn a_single_storage_has_the_coordinators_table() {
        let database = one(
            Product::ScalarDbServer,
            "scalar.db.storage=dynamo\nscalar.db.contact_points=ap-northeast-1\nscalar.db.username=AKIA\n\
             scalar.db.password=sesame\nscalar.db.dynamo.namespace.prefix=prod_\n",
        );
        assert_eq!(
            database,
            Database {
                kind: DatabaseKind::Dynamo,
                release: "demo/scalar".into(),
                storage: String::new(),
                endpoint: "ap-northeast-1".into(),
                tables: vec!["prod_coordinator.state".into()],
            }
        );
        let other = one(
            Product::ScalarDbCluster,
            "scalar.db.storage=cassandra\nscalar.db.contact_points=a,b\n\
             scalar.db.consensus_commit.coordinator.namespace=coord\nscalar.db.dynamo.namespace.prefix=prod_",
        );
        assert_eq!((other.endpoint.as_str(), other.tables), ("a,b", vec!["coord.state".to_owned()]));
        let none = one(Product::ScalarDbCluster, "scalar.db.storage=jdbc\nscalar.db.transaction_manager=jdbc");
        assert!(none.tables.is_empty(), "without Consensus Commit there is no Coordinator");
    }

    #[test]
    fn ledger_and_auditor_have_tables_of_their_own() {
        let ledger = one(Product::Ledger, "scalar.db.storage=cosmos\nscalar.db.contact_points=https://a.b/\n");
        assert_eq!(ledger.tables.len(), 10);
        for table in ["coordinator.state", "scalar.asset", "scalar.asset_metadata", "scalar.tx_state", "scalar.secret"]
        {
            assert!(ledger.tables.contains(&table.to_owned()), "{table}");
        }
        let auditor = one(Product::Auditor, "scalar.db.storage=jdbc\nscalar.dl.auditor.namespace=aud");
        for table in ["coordinator.state", "aud.asset_lock", "aud.request_proof", "aud.lease"] {
            assert!(auditor.tables.contains(&table.to_owned()), "{table}");
        }
    }

    #[test]
    fn each_storage_of_several_has_what_is_mapped_to_it() {
        let text = "scalar.db.storage=multi-storage\nscalar.db.multi_storage.storages=nosql, mysql\n\
            scalar.db.multi_storage.storages.nosql.storage=dynamo\n\
            scalar.db.multi_storage.storages.nosql.contact_points=us-east-1\n\
            scalar.db.multi_storage.storages.nosql.dynamo.namespace.prefix=p_\n\
            scalar.db.multi_storage.storages.mysql.storage=jdbc\n\
            scalar.db.multi_storage.storages.mysql.contact_points=jdbc:mysql://root:sesame@db:3306/\n\
            scalar.db.multi_storage.storages.mysql.password=sesame\n\
            scalar.db.multi_storage.table_mapping=user.orders:mysql\n\
            scalar.db.multi_storage.namespace_mapping=user:nosql,coordinator:mysql\n\
            scalar.db.multi_storage.default_storage=nosql\n";
        let found = databases(Product::ScalarDbCluster, "demo/scalar", text);
        let seen: Vec<(&str, &str, Vec<&str>)> = found
            .databases
            .iter()
            .map(|d| (d.storage.as_str(), d.endpoint.as_str(), d.tables.iter().map(String::as_str).collect()))
            .collect();
        assert_eq!(
            seen,
            [
                ("nosql", "us-east-1", vec!["p_user.*"]),
                ("mysql", "jdbc:mysql://db:3306/", vec!["coordinator.state", "user.orders"]),
            ]
        );
        let ledger = databases(Product::Ledger, "demo/scalar", &text.replace("coordinator:mysql", "scalar:mysql"));
        assert!(ledger.databases[0].tables.contains(&"p_coordinator.state".to_owned()), "to the default");
        assert!(ledger.databases[1].tables.contains(&"scalar.asset".to_owned()));
        assert!(!format!("{found:?}{ledger:?}").contains("sesame"));
    }

    #[test]
    fn what_cannot_be_read_is_said() {
        for (text, said) in [
            ("", "its properties have no scalar.db.storage"),
            ("scalar.db.storage=${env:SCALAR_DB_STORAGE:-}", "scalar.db.storage is filled in when its pods start"),
            ("scalar.db.storage={{ default .Env.S \"\" }}", "scalar.db.storage is filled in when its pods start"),
            ("scalar.db.storage=s3", "scalar.db.storage=s3 is of no kind that is known here"),
            ("scalar.db.transaction_manager=cluster\nscalar.db.storage=jdbc", "are another ScalarDB's"),
            (
                "scalar.db.storage=multi-storage\nscalar.db.multi_storage.storages=a",
                "scalar.db.multi_storage.storages.a.storage",
            ),
            ("scalar.db.storage=multi-storage", "no storage is named"),
        ] {
            let found = databases(Product::ScalarDbServer, "demo/scalar", text);
            assert!(found.databases.is_empty(), "{text}");
            assert_eq!(found.unread.len(), 1, "{text}");
            assert!(found.unread[0].contains(said) && found.unread[0].contains("demo/scalar"), "{:?}", found.unread);
        }
    }

    #[test]
    fn a_placeholder_of_an_endpoint_is_kept() {
        let database = one(
            Product::ScalarDbCluster,
            "scalar.db.storage=jdbc\nscalar.db.contact_points=${env:SCALAR_DB_CONTACT_POINTS:-}",
        );
        assert_eq!(database.endpoint, "${env:SCALAR_DB_CONTACT_POINTS}");
    }
}
