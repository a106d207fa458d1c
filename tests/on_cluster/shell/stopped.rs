//! A process that is stopped, and one that is killed: this test's binary starts itself again as that process.

use std::process::Stdio;
use std::time::{Duration, Instant};

use consistent_backup::clock::Pulse;
use consistent_backup::exec::{Place, Session};
use consistent_backup::lease::{DURATION, Leases, Left, Take};
use consistent_backup::quiescer::Channel;
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};

use super::{Ground, argv, cluster, lives};

const SOON: Duration = Duration::from_secs(10);

/// Not a test: what the other process does. Takes the pod's Lease, opens a session, and tells what it notices.
#[tokio::test]
async fn holder() {
    let Ok(namespace) = std::env::var("SHELL_TEST_HOLDER") else { return };
    let cluster = cluster().await;
    let pulse = Pulse::start();
    let pods = [(namespace.clone(), "a".to_owned())];
    let leases = Leases::take(&cluster, &pods, "held", Take::IfFree, &|_| {}).await.unwrap();
    let at = Place { namespace, pod: "a".into(), container: "main".into(), endpoint: None };
    let channel = Channel { id: 1, argv: argv(&["sh"]), end: "exit" };
    let mut session = Session::open(&cluster, &at, &channel, SOON).await.unwrap_or_else(|a| panic!("{a:?}"));
    let pid = session.ask("echo $$; echo P\n", "P", SOON).await.out;
    eprintln!("SAYS session {pid}");
    loop {
        tokio::time::sleep(Duration::from_millis(20)).await;
        if let Some(gap) = pulse.gap(DURATION) {
            eprintln!("SAYS gap {} lost {}", gap.as_secs(), leases.lost().is_some());
            let confirmed = leases.confirm(SOON).await;
            eprintln!("SAYS confirmed {}", confirmed.map_or_else(|e| e, |()| "yes".into()));
            return;
        }
    }
}

struct Other {
    child: Child,
    said: Lines<BufReader<tokio::process::ChildStderr>>,
    _out: Option<ChildStdout>,
}

impl Other {
    fn start(ground: &Ground) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["shell::stopped::holder", "--exact", "--nocapture"])
            .env("SHELL_TEST_HOLDER", &ground.namespace)
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let said = BufReader::new(child.stderr.take().unwrap()).lines();
        Self { child, said, _out: None }
    }

    async fn says(&mut self) -> String {
        let line = async {
            while let Some(line) = self.said.next_line().await.unwrap() {
                if let Some(said) = line.strip_prefix("SAYS ") {
                    return said.to_owned();
                }
                eprintln!("{line}");
            }
            panic!("it ended");
        };
        tokio::time::timeout(Duration::from_secs(30), line).await.unwrap()
    }

    async fn signal(&self, signal: &str) {
        let pid = self.child.id().unwrap().to_string();
        assert!(Command::new("kill").args([signal, &pid]).status().await.unwrap().success());
    }
}

#[tokio::test]
async fn a_stopped_process_notices_and_asks_whether_it_was_replaced() {
    let ground = Ground::new("stopped").await;
    ground.pod("a").await;
    for replaced in [false, true] {
        let mut other = Other::start(&ground);
        other.says().await;
        other.signal("-STOP").await;
        let begin = Instant::now();
        let rival = if replaced {
            let pods = [(ground.namespace.clone(), "a".to_owned())];
            Some(Leases::take(&ground.cluster, &pods, "rival", Take::AfterExpiry, &|_| {}).await.unwrap())
        } else {
            tokio::time::sleep(DURATION + Duration::from_secs(2)).await;
            None
        };
        eprintln!("stopped for {:?}", begin.elapsed());
        tokio::time::sleep(Duration::from_secs(1)).await;
        other.signal("-CONT").await;
        let gap = other.says().await;
        let confirmed = other.says().await;
        eprintln!("{gap}; {confirmed}");
        assert!(gap.starts_with("gap 1"), "{gap}");
        assert_eq!(confirmed == "confirmed yes", !replaced, "{confirmed}");
        // What the stopped process took it did not give back.
        let last = if let Some(rival) = rival {
            rival
        } else {
            let pods = [(ground.namespace.clone(), "a".to_owned())];
            Leases::take(&ground.cluster, &pods, "after", Take::Force, &|_| {}).await.unwrap()
        };
        last.release(Left::Nothing).await.unwrap();
    }
    ground.end().await;
}

#[tokio::test]
async fn the_session_of_a_killed_process_ends() {
    let ground = Ground::new("killed").await;
    let at = ground.pod("a").await;
    let mut other = Other::start(&ground);
    let session = other.says().await.replace("session ", "");
    assert!(lives(&ground.cluster, &at, &session).await);
    other.signal("-KILL").await;
    let begin = Instant::now();
    while lives(&ground.cluster, &at, &session).await {
        assert!(begin.elapsed() < Duration::from_secs(15));
    }
    eprintln!("gone after {:?}", begin.elapsed());
    ground.end().await;
}
