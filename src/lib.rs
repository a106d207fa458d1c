//! Application-consistent backups of databases on Kubernetes, proved to be consistent, and their restore.
//!
//! The map of this code. Pure rooms know no client, no clock, no environment and no terminal:
//!
//! * [`plan`]: facts from the cluster and a request become a plan, or every reason why not
//! * [`protocol`]: two folds over events, of a backup and of a restore: what to do next, what must be durable before
//! * [`quiescer`]: what one kind of database needs, one file each
//! * [`record`]: the one format that is promised, folded from a run's journal
//! * [`manifests`]: the objects that a workload is made of, as a record keeps them and a copy has them
//! * [`pods`]: the state of a pod as an operator sees it, and differences; [`error`]: refusals and exit codes
//! * [`escape`]: escapes for characters that a terminal would obey
//! * [`labels`] and [`names`]: by what everything that a run makes is found again; [`typed`]: commands to be typed
//!
//! The shell is the only code that touches the world:
//!
//! * [`cluster`]: the client, discovery, access; [`exec`]: commands and sessions in containers; [`clock`]: the server's
//! * [`journal`] and [`lease`]: what a run leaves for other processes, and what keeps them apart
//! * [`executor`]: the loop: next step, durable intents, do it, tell the fold what happened
//! * [`backend`]: ways to copy; [`platform`]: ways to stop and start
//! * [`cli`], [`commands`]: arguments in, request out; [`output`]: all that is printed
//!
//! Direction: `main -> commands -> executor -> protocol`. `tests/offline/architecture.rs` holds these rules.

pub mod backend;
pub mod cli;
pub mod clock;
pub mod cluster;
pub mod commands;
pub mod error;
pub mod escape;
pub mod exec;
pub mod executor;
pub mod journal;
pub mod labels;
pub mod lease;
pub mod manifests;
pub mod names;
pub mod output;
pub mod plan;
pub mod platform;
pub mod pods;
pub mod preflight;
pub mod protocol;
pub mod quiescer;
pub mod record;
pub mod runs;
pub mod typed;
