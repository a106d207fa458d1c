//! The client and what it reads: kubeconfig and flags, discovery, access, claims, the snapshots' types.

pub mod access;
mod admission;
pub mod anew_facts;
pub mod announce;
pub mod client;
mod controller;
mod credential_plugin;
mod credentials;
pub mod discovery;
pub mod errors;
#[cfg(debug_assertions)]
mod faults;
mod guard;
mod kubeconfig;
pub mod manifests;
pub(crate) mod nonce;
mod patience;
pub mod pod_watch;
pub mod policies;
pub mod properties;
mod proxy;
pub mod restore_facts;
mod selection;
pub mod snapshots;
pub mod templates;
pub(crate) mod workloads;
