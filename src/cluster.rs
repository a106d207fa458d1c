//! The client and what it reads: kubeconfig and flags, discovery, access, claims, the snapshots' types.

pub mod access;
pub mod client;
mod controller;
pub mod discovery;
pub mod errors;
mod kubeconfig;
pub(crate) mod nonce;
mod patience;
mod proxy;
pub mod restore_facts;
mod selection;
pub mod snapshots;
mod workloads;
