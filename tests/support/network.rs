//! A network of the plugin's own, that is lost without a word: nothing is closed, nothing is refused.

use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU8, Ordering};

use super::cluster;
use super::process::run;
use super::wait::{seconds, until};

/// A network namespace with one link, to the bridge of the cluster's pods.
pub struct Lost {
    /// Keeps the namespace.
    keeper: Child,
    link: String,
}

impl Lost {
    /// A network that works.
    pub fn new() -> Self {
        static NUMBER: AtomicU8 = AtomicU8::new(0);
        let number = NUMBER.fetch_add(1, Ordering::SeqCst);
        let keeper = Command::new("unshare")
            .args(["--net", "sleep", "infinity"])
            .stdin(Stdio::null())
            .spawn()
            .unwrap_or_else(|e| panic!("unshare: {e}"));
        let network = Self { keeper, link: format!("lost{number}") };
        let pid = network.keeper.id().to_string();
        until("a network namespace", seconds(30), || {
            let of = |pid: &str| std::fs::read_link(format!("/proc/{pid}/ns/net")).ok();
            if of(&pid).is_some() && of(&pid) != of("self") { Ok(()) } else { Err("not yet") }
        });
        let node = cluster::address();
        // The pods' addresses are given from below; the host has .254.
        let ours = format!("{}.{}/24", node.rsplit_once('.').unwrap().0, 253 - number);
        Self::node(&["link", "add", &network.link, "type", "veth", "peer", "name", "eth0", "netns", &pid]);
        Self::node(&["link", "set", &network.link, "master", "pods0", "up"]);
        network.inside(&["addr", "add", &ours, "dev", "eth0"]);
        network.inside(&["link", "set", "eth0", "up"]);
        network
    }

    /// From now on nothing gets through.
    pub fn down(&self) {
        Self::node(&["link", "set", &self.link, "down"]);
    }

    /// From now on everything does again.
    pub fn up(&self) {
        Self::node(&["link", "set", &self.link, "up"]);
    }

    /// The namespace's file.
    pub fn file(&self) -> String {
        format!("/proc/{}/ns/net", self.keeper.id())
    }

    fn node(argv: &[&str]) {
        run(Command::new("nsenter").arg(format!("--net=/proc/{}/ns/net", cluster::holder())).arg("ip").args(argv))
            .done();
    }

    fn inside(&self, argv: &[&str]) {
        run(Command::new("nsenter").arg(format!("--net={}", self.file())).arg("ip").args(argv)).done();
    }
}

impl Drop for Lost {
    /// The namespace ends with its last process, and the link with it.
    fn drop(&mut self) {
        let _ = self.keeper.kill();
        let _ = self.keeper.wait();
    }
}
