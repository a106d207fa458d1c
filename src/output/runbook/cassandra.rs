//! Apache Cassandra: there is no recovery to an instant, only snapshots of all nodes that were taken inside the window.

use super::Restoring;
use super::page::Page;
use crate::plan::{Backend, Database};

/// The part about a database.
pub(super) fn part(page: &mut Page, database: &Database, restoring: &Restoring<'_>) {
    let window = &restoring.window;
    page.say(&format!(
        "Cassandra has no point-in-time recovery. What can be restored is a snapshot of every node (nodetool snapshot) that \
         was taken between {:.3} and {:.3}, of all keyspaces, so that those of the system are among them. A snapshot from outside \
         the window is not consistent.",
        window.start, window.end
    ));
    match restoring.backend() {
        Backend::Command { argv } => page.say(&format!("Inside the window ran: {}", argv.join(" "))),
        Backend::Window { .. } => page.say(
            "This run copied nothing by itself: only what something else took inside the window can be used. Next time run \
             nodetool snapshot on all nodes inside it, by --backend command.",
        ),
        Backend::Csi => page.say(
            "Where the claims of the nodes were copied by this run (see describe), they come back by restore-from-snapshot below.",
        ),
    }
    page.say(
        "If only some replicas were lost and a quorum still has the data, none of this is needed: replace the node and run \
         nodetool repair.",
    );
    if !database.endpoint.is_empty() {
        page.say(&format!("Contact points: {}. The nodes, all of them:", database.endpoint));
    }
    page.run("nodetool status");
    if !database.tables.is_empty() {
        page.say(&format!("The record names these tables: {}", database.tables.join(", ")));
    }
    page.say("");
    page.say(
        "On EVERY node: stop it, and put the snapshot aside before anything is deleted, for it lies inside the directory that \
         is cleaned. DATA is data_file_directories of its cassandra.yaml; commitlog and hints are commitlog_directory and \
         hints_directory.",
    );
    page.run(
        "nodetool listsnapshots\n\
         TAG=  # the name of the snapshot\n\
         CASSANDRA=/var/lib/cassandra\n\
         nodetool drain && systemctl stop cassandra  # in Kubernetes: scale the StatefulSet to 0, mount its claims elsewhere\n\
         cd \"$CASSANDRA/data\" && TZ=UTC find . -path \"*/snapshots/${TAG:?}\" -type d -printf '%T+ %p\\n' | sort",
    );
    page.say(&format!("Each of these times must lie between {:.3} and {:.3}.", window.start, window.end));
    // Half of a snapshot, or none, must not be all that is left.
    page.run(
        "mkdir \"$CASSANDRA/restore\" && find . -path \"*/snapshots/${TAG:?}\" -type d | while read -r from; do\n  \
         to=\"$CASSANDRA/restore/${from%/snapshots/*}\" && mkdir -p \"$to\" && cp -a \"$from/.\" \"$to/\" || exit 1\n\
         done && [ -n \"$(ls \"$CASSANDRA/restore\")\" ] && touch \"$CASSANDRA/restore.whole\"",
    );
    page.say(
        "Only when every node is stopped and has its snapshot in restore/, and restore.whole beside it: clean the three \
         directories, and put it in its place.",
    );
    page.run(
        "[ -e \"${CASSANDRA:?}/restore.whole\" ] &&\n  \
         find \"$CASSANDRA/data\" \"$CASSANDRA/commitlog\" \"$CASSANDRA/hints\" -mindepth 1 -delete &&\n  \
         cp -a \"$CASSANDRA/restore/.\" \"$CASSANDRA/data/\"",
    );
    page.say("Only when all nodes are that far: start all, one after another, and see all of them UN.");
    page.run("systemctl start cassandra\nnodetool status");
}
