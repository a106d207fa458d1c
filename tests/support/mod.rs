//! What the tests on the cluster share: a namespace with busy databases, the plugin's binary, and the judgement
//! whether a copy holds what it must.

#![allow(dead_code, unreachable_pub, reason = "each test binary and the benchmark use their own part of this")]
#![allow(clippy::unwrap_used, clippy::missing_panics_doc, reason = "a test that cannot go on has failed")]
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "tests and benchmarks talk to whoever runs them")]

pub mod acks;
pub mod api;
pub mod backup;
pub mod bank;
pub mod classes;
pub mod cluster;
pub mod copies;
pub mod database;
pub mod guard;
pub mod journal;
pub mod kubectl;
pub mod leftovers;
pub mod network;
pub mod plugin;
pub mod process;
pub mod random;
pub mod scalar;
pub mod scene;
pub mod strikes;
pub mod user;
pub mod verdict;
pub mod wait;
