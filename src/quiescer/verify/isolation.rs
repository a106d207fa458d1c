//! The check `isolated`, as far as all adapters share it: the server's word on its settings, and the kernel's on the pod's
//! open ports.
//!
//! A NetworkPolicy is never counted: only a network that enforces policies heeds it, and nothing in the pod shows that.

use super::{Checked, ISOLATED};
use crate::quiescer::shell::Facts;

/// Shell text that prints every TCP socket of the pod that waits for connections. A plugin or sidecar may have opened a
/// port that no setting of the server tells of; the kernel's tables have it (proc_pid_net(5): 0A is `TCP_LISTEN`).
pub(in crate::quiescer) const LISTENERS: &str = r#"for table in /proc/net/tcp /proc/net/tcp6; do
  [ -r "$table" ] || continue
  echo 'ports|seen'
  while read -r _ address _ state _; do
    if [ "$state" = 0A ]; then echo "listens|$address"; fi
  done <"$table"
done
"#;

/// 127.0.0.1, ::1 and ::ffff:127.0.0.1 as these tables have them: words of 32 bits, in the machine's order of bytes.
const LOOPBACK: [&str; 6] = [
    "0100007F",
    "7F000001",
    "00000000000000000000000001000000",
    "00000000000000000000000000000001",
    "0000000000000000FFFF00000100007F",
    "00000000000000000000FFFF7F000001",
];

/// What is known of a copy's isolation.
#[derive(Debug)]
pub(in crate::quiescer) struct Isolation {
    well: Vec<String>,
    unknown: Vec<String>,
    bad: Vec<String>,
}

impl Isolation {
    /// Begins with the ports that [`LISTENERS`] printed.
    pub(in crate::quiescer) fn of(facts: &Facts) -> Self {
        let mut isolation = Self { well: Vec::new(), unknown: Vec::new(), bad: Vec::new() };
        let outside: Vec<String> = facts.all("listens").iter().filter_map(|socket| outside(socket)).collect();
        if facts.get("ports") != "seen" {
            isolation.unknown("the pod's ports cannot be read from /proc/net/tcp");
        } else if outside.is_empty() {
            isolation.well.push("listens on loopback only".to_owned());
        } else {
            isolation.bad.push(format!("other pods can reach {}", outside.join(", ")));
        }
        isolation
    }

    /// Adds a fact that must hold; `told` says what was found either way.
    pub(in crate::quiescer) fn must(&mut self, holds: bool, told: impl Into<String>) {
        let found = if holds { &mut self.well } else { &mut self.bad };
        found.push(told.into());
    }

    /// Adds something that the server did not tell.
    pub(in crate::quiescer) fn unknown(&mut self, why: impl Into<String>) {
        self.unknown.push(why.into());
    }

    /// The result. An unknown fact is no success.
    pub(in crate::quiescer) fn checked(self) -> Checked {
        if !self.bad.is_empty() {
            Checked::failed(ISOLATED, self.bad.join(", "))
        } else if !self.unknown.is_empty() {
            Checked::unknown(ISOLATED, self.unknown.join(", "))
        } else {
            Checked::passed(ISOLATED, self.well.join(", "))
        }
    }
}

/// The port of a socket that is reachable from outside of the pod.
fn outside(socket: &str) -> Option<String> {
    let (address, port) = socket.split_once(':').unwrap_or((socket, ""));
    if LOOPBACK.contains(&address) {
        return None;
    }
    // An address that cannot be read is not known to be loopback.
    let port = u16::from_str_radix(port, 16).map_or_else(|_| socket.to_owned(), |port| port.to_string());
    Some(format!("port {port}"))
}

/// Whether a server that binds these addresses (apart by commas or blanks) is reached from its own pod only. An empty
/// list means every address in some servers and none in others: it is not called loopback.
pub(in crate::quiescer) fn is_loopback(addresses: &str) -> bool {
    let mut all = addresses.split([',', ' ']).filter(|address| !address.is_empty()).peekable();
    // Redis: an address with a dash in front may be missing.
    all.peek().is_some() && all.all(|a| matches!(a.trim_start_matches('-'), "127.0.0.1" | "::1" | "localhost"))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::quiescer::verify::Outcome;
    use crate::quiescer::{Act, Probe, QUIESCERS};

    /// A new adapter is in the list, and so is held to it.
    #[test]
    fn every_adapter_asks_for_the_open_ports_before_anything_else() {
        let mut asked = 0;
        for adapter in QUIESCERS {
            // An application without data of its own has no copy either.
            let Some(first) = adapter.checks(&Probe::default(), Duration::from_secs(60)).into_iter().next() else {
                continue;
            };
            let Act::Exec { argv, .. } = first.act else { panic!("{}: {:?}", adapter.name(), first.act) };
            assert!(argv.iter().any(|word| word.contains(LISTENERS)), "{}", adapter.name());
            asked += 1;
        }
        assert!(asked >= 3);
    }

    fn of(listens: &[&str]) -> Checked {
        let sockets: Vec<String> = listens.iter().map(|socket| format!("listens|{socket}")).collect();
        let facts = Facts::read(&format!("ports|seen\n{}\nend\n", sockets.join("\n")), '|').expect("whole");
        Isolation::of(&facts).checked()
    }

    /// The lines are those of Linux 6.1 on a little-endian machine.
    #[test]
    fn a_port_beyond_loopback_is_found_whatever_opened_it() {
        assert_eq!(of(&[]).outcome, Outcome::Passed);
        assert_eq!(of(&["0100007F:1538", "00000000000000000000000001000000:18EB"]).outcome, Outcome::Passed);
        let open = of(&["0100007F:1538", "00000000:18EB", "00000000000000000000000000000000:8124"]);
        assert_eq!(
            (open.outcome, open.output.as_str()),
            (Outcome::Failed, "other pods can reach port 6379, port 33060")
        );
        assert_eq!(of(&["0A01F40A:18EB"]).outcome, Outcome::Failed, "the pod's own address");
        assert_eq!(of(&["nonsense"]).outcome, Outcome::Failed);
    }

    #[test]
    fn ports_that_cannot_be_read_are_unknown() {
        let facts = Facts::read("end\n", '|').expect("whole");
        assert_eq!(Isolation::of(&facts).checked().outcome, Outcome::Unknown);
    }

    #[test]
    fn a_failure_outweighs_an_unknown() {
        let mut isolation = Isolation::of(&Facts::read("end\n", '|').expect("whole"));
        isolation.must(true, "a=off");
        isolation.must(false, "b=on");
        let checked = isolation.checked();
        assert_eq!((checked.outcome, checked.output.as_str()), (Outcome::Failed, "b=on"));
    }

    #[test]
    fn only_loopback_addresses_are_loopback() {
        for loopback in ["127.0.0.1", "127.0.0.1 -::1", "localhost", "127.0.0.1,::1"] {
            assert!(is_loopback(loopback), "{loopback}");
        }
        for open in ["", " ", "*", "0.0.0.0", "* -::*", "127.0.0.1,10.0.0.7", "::", "127.0.0.1 -::*"] {
            assert!(!is_loopback(open), "{open}");
        }
    }
}
