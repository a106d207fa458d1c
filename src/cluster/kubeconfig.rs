//! From kubeconfig files and options to kube's configuration, by kubectl's rules.
//!
//! kube's own loader is not used: it fails on a missing file of a `$KUBECONFIG` list, takes no overrides for most
//! flags, obeys debugging variables from the environment, and decides about proxies wrongly.

use std::io::ErrorKind;
use std::path::PathBuf;

use kube::Config;
use kube::config::{AuthInfo, Cluster, Context, Kubeconfig, KubeconfigError};

use super::client::Connection;
use super::credential_plugin::Plugin;
use super::errors::one_line;
use super::proxy::Env;
use crate::error::Error;

mod config;
mod overrides;

use config::{Configured, config, in_cluster};
use overrides::{override_cluster, override_user};

/// Where to connect, and under which name the user knows it.
pub(crate) struct Chosen {
    pub(crate) config: Config,
    /// The user's credential plugin, if the user has no other credentials.
    pub(crate) plugin: Option<Plugin>,
    pub(crate) context: String,
    /// Warnings for the user, one line each.
    pub(crate) warnings: Vec<String>,
}

/// The files kubectl would read, and what they say together.
struct Loaded {
    kubeconfig: Kubeconfig,
    files: Vec<PathBuf>,
}

/// Loads, chooses and overrides. Reads files; sends nothing.
pub(crate) fn choose(connection: &Connection, env: Env) -> Result<Chosen, Error> {
    let loaded = load(connection, env)?;
    let (context, mut cluster, mut user) = select(connection, &loaded)?;
    let namespace = context.1.namespace.filter(|n| !n.is_empty());
    override_cluster(connection, &mut cluster);
    override_user(connection, &mut user);

    let (configured, context) = match cluster.server.clone().filter(|s| !s.is_empty()) {
        Some(server) => (config(&server, cluster, user, env)?, context.0),
        None => match in_cluster(connection, &loaded, user, env) {
            Some(config) => (config?, "in-cluster".to_owned()),
            None => return Err(no_server(&loaded, &context.0)),
        },
    };
    let Configured { mut config, plugin, warnings } = configured;
    if let Some(namespace) = connection.namespace.clone().or(namespace) {
        config.default_namespace = namespace;
    }
    Ok(Chosen { config, plugin, context, warnings })
}

fn load(connection: &Connection, env: Env) -> Result<Loaded, Error> {
    let explicit = connection.kubeconfig.as_ref();
    let listed = env("KUBECONFIG").filter(|v| !v.is_empty());
    let files: Vec<PathBuf> = match (explicit, listed) {
        (Some(file), _) => vec![file.clone()],
        (None, Some(list)) => std::env::split_paths(&list).filter(|p| !p.as_os_str().is_empty()).collect(),
        (None, None) => {
            let home = env("HOME").map(PathBuf::from).or_else(std::env::home_dir);
            home.map(|h| h.join(".kube").join("config")).into_iter().collect()
        }
    };
    let mut kubeconfig = Kubeconfig::default();
    for file in &files {
        let next = match Kubeconfig::read_from(file) {
            // A list may name files that do not exist (yet); a flag may not.
            Err(KubeconfigError::ReadConfig(e, _)) if e.kind() == ErrorKind::NotFound && explicit.is_none() => {
                continue;
            }
            Err(KubeconfigError::ReadConfig(e, _)) => {
                return Err(Error::failed(format!("cannot read kubeconfig {}", file.display())).cause(e));
            }
            Err(e) => return Err(broken(file, &e)),
            // An empty name must not win over the next file's.
            Ok(mut next) => {
                next.current_context = next.current_context.filter(|c| !c.is_empty());
                next
            }
        };
        kubeconfig = kubeconfig.merge(next).map_err(|e| broken(file, &e))?;
    }
    Ok(Loaded { kubeconfig, files })
}

fn broken(file: &std::path::Path, error: &KubeconfigError) -> Error {
    // A parser quotes the lines around the fault, and those may be credentials: only its first line is shown.
    let text = error.to_string();
    Error::failed(format!("cannot understand kubeconfig {}", file.display()))
        .cause(one_line(text.lines().next().unwrap_or_default()))
}

fn select(connection: &Connection, loaded: &Loaded) -> Result<((String, Context), Cluster, AuthInfo), Error> {
    let kubeconfig = &loaded.kubeconfig;
    let context_name = connection.context.clone().or(kubeconfig.current_context.clone());
    let context = match &context_name {
        None => Context::default(),
        Some(name) => kubeconfig
            .contexts
            .iter()
            .find(|c| c.name == *name)
            .and_then(|c| c.context.clone())
            .ok_or_else(|| missing("context", name, kubeconfig.contexts.iter().map(|c| &c.name), loaded))?,
    };
    let cluster_name = connection.cluster.clone().or(Some(context.cluster.clone()).filter(|c| !c.is_empty()));
    let cluster = match &cluster_name {
        None => Cluster::default(),
        Some(name) => kubeconfig
            .clusters
            .iter()
            .find(|c| c.name == *name)
            .and_then(|c| c.cluster.clone())
            .ok_or_else(|| missing("cluster", name, kubeconfig.clusters.iter().map(|c| &c.name), loaded))?,
    };
    let found = |name: &String| {
        let mut users = kubeconfig.auth_infos.iter();
        users.find(|u| u.name == *name).and_then(|u| u.auth_info.clone())
    };
    let user = match (&connection.user, &context.user) {
        (Some(name), _) => {
            found(name).ok_or_else(|| missing("user", name, kubeconfig.auth_infos.iter().map(|u| &u.name), loaded))?
        }
        // Like kubectl: a context that names a missing user is an anonymous one.
        (None, Some(name)) => found(name).unwrap_or_default(),
        (None, None) => AuthInfo::default(),
    };
    Ok(((context_name.unwrap_or_default(), context), cluster, user))
}

fn missing<'a>(kind: &str, name: &str, known: impl Iterator<Item = &'a String>, loaded: &Loaded) -> Error {
    let known: Vec<&str> = known.map(String::as_str).collect();
    let error = Error::failed(format!("{kind} \"{name}\" is not in {}", loaded.named()));
    if known.is_empty() { error } else { error.hint(format!("{kind}s there: {}", known.join(", "))) }
}

impl Loaded {
    fn named(&self) -> String {
        let files: Vec<String> = self.files.iter().map(|f| f.display().to_string()).collect();
        format!("kubeconfig {}", files.join(", "))
    }
}

fn no_server(loaded: &Loaded, context: &str) -> Error {
    if loaded.kubeconfig.clusters.is_empty() {
        Error::failed(format!("no cluster to talk to: {} is missing or empty", loaded.named()))
            .hint("name one with --kubeconfig, $KUBECONFIG or --server")
    } else if context.is_empty() {
        let known: Vec<&str> = loaded.kubeconfig.contexts.iter().map(|c| c.name.as_str()).collect();
        Error::failed(format!("{} has no current context", loaded.named()))
            .hint(format!("choose one with --context: {}", known.join(", ")))
    } else {
        Error::failed(format!("context \"{context}\" in {} has no server", loaded.named()))
    }
}

/// A server's address without user and password, for messages.
pub(super) fn without_userinfo(server: &str) -> String {
    let (scheme, rest) = server.split_once("://").map_or(("", server), |(scheme, rest)| (scheme, rest));
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let host = rest[..end].rsplit('@').next().unwrap_or_default();
    let separator = if scheme.is_empty() { "" } else { "://" };
    format!("{scheme}{separator}{host}{}", &rest[end..])
}

#[cfg(test)]
mod tests;
