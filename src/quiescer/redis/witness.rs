//! The witness: a write that changes nothing and waits from the hold to the thaw.
//!
//! `INFO` does not show a pause, and a silent connection may just as well be lost. A client that `CLIENT LIST` shows
//! blocked under the witness's name has been blocked without a break since it was first seen so.

use std::time::Duration;

use crate::quiescer::shell::{SESSION, mark};
use crate::quiescer::{Act, Probe, Token};

/// The witness's own channel.
pub(super) const CHANNEL: u8 = 2;

/// The line that follows the witness's answer.
pub(super) fn answered(token: &Token) -> String {
    mark(token, "answered")
}

/// Sends the witness. In a cluster a key may belong to another node, which is told before any pause: no key there.
pub(super) fn send(probe: &Probe, token: &Token) -> Act {
    let write = if clustered(probe) { "EVAL \"return 0\" 0".into() } else { format!("DEL {token}/witness") };
    Act::Tell { on: CHANNEL, send: format!("{write}\nECHO {}\n", answered(token)) }
}

/// The same write in a shell, behind the client's command.
pub(super) fn in_shell(probe: &Probe) -> &'static str {
    if clustered(probe) { "EVAL 'return 0' 0" } else { "DEL consistent-backup/probe" }
}

fn clustered(probe: &Probe) -> bool {
    probe.setting("cluster_enabled") == "1"
}

/// Lists the clients until the witness waits; the first line says whose witness is looked for. `also` are commands
/// whose answers come behind the list.
pub(super) fn seen(token: &Token, what: &str, also: &str, every: Duration, within: Duration) -> Act {
    let until = mark(token, what);
    let send = format!("ECHO name={token}/witness\nCLIENT LIST\n{also}ECHO {until}\n");
    Act::Poll { on: SESSION, send, until, done: waits, every, within }
}

/// Whether a list of clients was answered at all.
pub(super) fn listed(out: &str) -> bool {
    out.starts_with("name=consistent-backup/") && out.contains("\nid=")
}

/// Whether the client named in the first line is listed as blocked.
pub(super) fn waits(out: &str) -> bool {
    let mut lines = out.lines();
    let Some(name) = lines.next().filter(|line| line.starts_with("name=consistent-backup/")) else {
        return false;
    };
    let blocked = |field: &str| field.strip_prefix("flags=").is_some_and(|flags| flags.contains('b'));
    lines.filter(|line| line.starts_with("id=")).any(|client| {
        let mut fields = client.split(' ');
        fields.clone().any(|field| field == name) && fields.any(blocked)
    })
}
