//! What needs no cluster: the rules of the code's rooms, the command line, README, and the files of a PostgreSQL recovery.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod support;

#[path = "offline/architecture.rs"]
mod architecture;
#[path = "offline/cli.rs"]
mod cli;
#[path = "offline/connection.rs"]
mod connection;
#[path = "offline/readme.rs"]
mod readme;
#[path = "offline/recovery_files.rs"]
mod recovery_files;
#[path = "offline/rights.rs"]
mod rights;
