//! A Helm release of ScalarDB or ScalarDL: the pods in front of databases that have no hold of their own. What these pods
//! pause is what keeps the databases quiet (document 000).

use serde::{Deserialize, Serialize};

pub mod credentials;
pub mod databases;
pub mod expiry;
mod named;
pub mod pause;
pub mod properties;

/// The label that bears the Helm release's name, on the pods and on the objects around them.
pub const INSTANCE: &str = "app.kubernetes.io/instance";
/// The label that bears the product, on the pods and on the objects around them.
pub const APP: &str = "app.kubernetes.io/app";

/// What a release runs. The charts label the pods with it (scalar-labs/helm-charts, 2026-05).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Product {
    /// ScalarDB Cluster.
    ScalarDbCluster,
    /// ScalarDB Server.
    ScalarDbServer,
    /// ScalarDL Ledger.
    Ledger,
    /// ScalarDL Auditor.
    Auditor,
}

impl Product {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::ScalarDbCluster, Self::ScalarDbServer, Self::Ledger, Self::Auditor];

    /// The value of label `app.kubernetes.io/app`.
    pub fn app(self) -> &'static str {
        match self {
            Self::ScalarDbCluster => "scalardb-cluster",
            Self::ScalarDbServer => "scalardb",
            Self::Ledger => "ledger",
            Self::Auditor => "auditor",
        }
    }

    /// The product with this value of the label.
    pub fn of_app(app: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|product| product.app() == app)
    }

    /// The name of the admin port in the headless Service. The number is the user's to choose.
    pub fn port_name(self) -> &'static str {
        match self {
            Self::ScalarDbCluster => "scalardb-cluster",
            Self::ScalarDbServer => "scalardb",
            Self::Ledger => "scalardl-admin",
            Self::Auditor => "scalardl-auditor-admin",
        }
    }

    /// As its makers call it.
    pub fn title(self) -> &'static str {
        match self {
            Self::ScalarDbCluster => "ScalarDB Cluster",
            Self::ScalarDbServer => "ScalarDB Server",
            Self::Ledger => "ScalarDL Ledger",
            Self::Auditor => "ScalarDL Auditor",
        }
    }
}

/// A release whose pods are paused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Release {
    /// The namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// What it runs.
    pub product: Product,
    /// Chart and its version, as the chart's label says: `scalardl-4.5.1`; empty where no label does.
    pub chart: String,
    /// The version of what it runs; empty where no label says it.
    pub app_version: String,
    /// Its Deployment.
    pub deployment: String,
    /// Its headless Service.
    pub service: String,
    /// Where its properties lie, if they were found.
    pub properties: Option<Properties>,
}

impl Release {
    /// `NAMESPACE/NAME`.
    pub fn path(&self) -> String {
        format!("{}/{}", self.namespace, self.name)
    }

    /// How it is told from the others of its backup: by its name, with the namespace where another has the same.
    pub fn among(&self, all: &[Self]) -> String {
        let alone = all.iter().filter(|r| r.name == self.name).count() == 1;
        if alone { self.name.clone() } else { self.path() }
    }
}

/// The object that holds a release's `database.properties`, `ledger.properties` or `auditor.properties`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Properties {
    /// `ConfigMap` or `Secret`.
    pub kind: String,
    /// Its name, in the release's namespace.
    pub name: String,
    /// The key with the file.
    pub key: String,
}

/// Where the admin port of a target is reached.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Endpoint {
    /// The pod's port.
    pub port: u16,
    /// How it is encrypted, if it is.
    pub tls: Option<Tls>,
}

/// What the server's certificate is judged by. Certificates are public: any process that releases needs them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Tls {
    /// The CA's certificates, PEM.
    pub ca: String,
    /// The name that the certificate is for, where it is not the one that is connected to.
    pub authority: Option<String>,
}

/// A database behind the releases: what is to be restored to an instant of the window.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Database {
    /// What it is.
    pub kind: DatabaseKind,
    /// The release that uses it, `NAMESPACE/NAME`; empty where the user named it.
    #[serde(default)]
    pub release: String,
    /// Its name among several (multi-storage), or empty.
    #[serde(default)]
    pub storage: String,
    /// Contact points, as in the properties: a JDBC URL without credentials, an endpoint, hosts, a region.
    #[serde(default)]
    pub endpoint: String,
    /// Tables as `NAMESPACE.TABLE`, the Coordinator's among them; empty where they are not known.
    #[serde(default)]
    pub tables: Vec<String>,
}

/// The kinds of database that ScalarDB keeps its tables in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DatabaseKind {
    /// Amazon DynamoDB.
    Dynamo,
    /// Azure Cosmos DB.
    Cosmos,
    /// Apache Cassandra.
    Cassandra,
    /// A relational database over JDBC.
    Jdbc,
}
