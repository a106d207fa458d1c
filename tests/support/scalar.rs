//! Releases of ScalarDB and ScalarDL, with the stand-in for a server (`tests/cluster/images/scalar-standin`).

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use consistent_backup::exec;
use consistent_backup::plan::Endpoint;
use consistent_backup::quiescer::Act;
use k8s_openapi::ByteString;
use prost::Message;
use serde_json::Value;
use tokio::runtime::Builder;

use super::acks::AckLog;
use super::cluster;
use super::kubectl::{Kubectl, name, names};
use super::process::{Ended, Running, run};
use super::scene::Scene;
use super::wait::{seconds, until};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Product {
    ScalarDb,
    ScalarDbCluster,
    Ledger,
    Auditor,
}

impl Product {
    /// The value of `app.kubernetes.io/app`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::ScalarDb => "scalardb",
            Self::ScalarDbCluster => "scalardb-cluster",
            Self::Ledger => "ledger",
            Self::Auditor => "auditor",
        }
    }

    /// Where its pods speak the admin protocol.
    pub const fn port(self) -> u16 {
        match self {
            Self::ScalarDb => 60051,
            Self::ScalarDbCluster => 60053,
            Self::Ledger => 50053,
            Self::Auditor => 40053,
        }
    }

    /// How the name of the object with its properties ends, and the key under which they are in it.
    const fn properties(self) -> (&'static str, &'static str) {
        match self {
            Self::ScalarDb => ("database-properties", "database.properties"),
            Self::ScalarDbCluster => ("node-properties", "scalardb-cluster-node.properties"),
            Self::Ledger => ("ledger-properties", "ledger.properties"),
            Self::Auditor => ("auditor-properties", "auditor.properties"),
        }
    }

    /// The name in its certificate, under `--tls`.
    pub const fn authority(self) -> &'static str {
        match self {
            Self::ScalarDb => "",
            Self::ScalarDbCluster => "cluster.scalardb.example.com",
            Self::Ledger => "ledger.scalardl.example.com",
            Self::Auditor => "auditor.scalardl.example.com",
        }
    }
}

/// A release in a namespace with a PostgreSQL. It goes with its namespace.
pub struct Release {
    pub kubectl: Kubectl,
    pub product: Product,
    pub name: String,
    /// What its objects' names begin with.
    pub full_name: String,
    /// The object with its properties, as kubectl is told.
    kept: String,
}

impl Release {
    /// A release, ready. The options are those of `workloads/scalar/release`.
    pub fn new(kubectl: &Kubectl, product: Product, name: &str, options: &[&str]) -> Self {
        apply(kubectl, product, name, options);
        let selector = format!("app.kubernetes.io/instance={name},app.kubernetes.io/app={}", product.name());
        let services = names(&kubectl.list(&["services", "-l", &selector]));
        let full_name = services.iter().find_map(|service| service.strip_suffix("-headless")).unwrap().to_owned();
        let kind = if options.contains(&"--secret") { "secret" } else { "configmap" };
        let kept = format!("{kind}/{full_name}-{}", product.properties().0);
        let release = Self { kubectl: kubectl.clone(), product, name: name.to_owned(), full_name, kept };
        release.wait_ready();
        release
    }

    /// Starts its writer. The rows go on from the highest number that is there.
    pub fn busy(&self) -> AckLog {
        apply(&self.kubectl, self.product, &self.name, &["--writer"]);
        let uid = || match self.kubectl.value(&format!("pod/writer-{}", self.full_name), "/metadata/uid") {
            uid if uid.is_empty() => Err("no pod"),
            uid => Ok(uid),
        };
        let acks = Scene::log_of(&until("the writer", seconds(10), uid));
        acks.serves_after(0, seconds(60));
        acks
    }

    /// As kubectl is told.
    pub fn deployment(&self) -> String {
        let suffix = match self.product {
            Product::ScalarDb => "",
            Product::ScalarDbCluster => "-node",
            Product::Ledger => "-ledger",
            Product::Auditor => "-auditor",
        };
        format!("deployment/{}{suffix}", self.full_name)
    }

    /// The text of its properties.
    #[track_caller]
    pub fn properties(&self) -> String {
        let value = &self.kubectl.get(&self.kept)["data"][self.product.properties().1];
        if self.kept.starts_with("secret/") {
            String::from_utf8(serde_json::from_value::<ByteString>(value.clone()).unwrap().0).unwrap()
        } else {
            value.as_str().unwrap().to_owned()
        }
    }

    /// Waits until its pods, that of its proxy included, are as many as they are to be, all of them ready. A pod that
    /// ends counts for the plugin and for no number of the Deployment's status, so the pods themselves are looked at.
    pub fn wait_ready(&self) {
        let deployments = [self.deployment(), format!("deployment/{}-envoy", self.full_name)];
        until(&format!("a ready {}", self.full_name), seconds(120), || {
            let mut wanted = 0;
            for deployment in &deployments {
                let object = self.kubectl.get(deployment);
                let (replicas, status) = (object["spec"]["replicas"].as_u64().unwrap(), &object["status"]);
                let numbers = ["replicas", "updatedReplicas", "readyReplicas"];
                let there = numbers.iter().all(|number| status[number].as_u64().unwrap_or(0) == replicas);
                // Without this the status is from before the last change.
                if !there || status["observedGeneration"] != object["metadata"]["generation"] {
                    return Err(format!("{deployment}: {status}"));
                }
                wanted += replicas;
            }
            let pods = self.kubectl.list(&["pods", "-l", &format!("app.kubernetes.io/instance={}", self.name)]);
            let ready = pods.iter().filter(|pod| is_ready(pod)).count();
            if pods.len() as u64 == wanted && ready == pods.len() {
                Ok(())
            } else {
                Err(format!("{ready} of {} pods are ready, {wanted} are wanted", pods.len()))
            }
        });
    }

    /// How many pods it is to have, without envoy's.
    #[track_caller]
    pub fn replicas(&self) -> usize {
        let replicas = self.kubectl.get(&self.deployment())["spec"]["replicas"].as_u64().unwrap();
        usize::try_from(replicas).unwrap()
    }

    /// The names of its pods, without envoy's.
    pub fn pods(&self) -> Vec<String> {
        names(&self.pod_objects())
    }

    fn pod_objects(&self) -> Vec<Value> {
        let app = self.product.name();
        let selector = format!("app.kubernetes.io/instance={},app.kubernetes.io/app={app}", self.name);
        self.kubectl.list(&["pods", "-l", &selector])
    }

    /// `IP:PORT` of each pod, with commas.
    pub fn addresses(&self) -> String {
        let address = |pod: &Value| format!("{}:{}", pod["status"]["podIP"].as_str().unwrap(), self.product.port());
        self.pod_objects().iter().map(address).collect::<Vec<_>>().join(",")
    }

    /// Flips switches of one pod: words as `scalar-standin switch` takes them.
    #[track_caller]
    pub fn switch(&self, pod: &str, words: &[&str]) {
        answer_of(&self.kubectl.get(&format!("pod/{pod}")), &words.join(" ")).unwrap_or_else(|why| panic!("{why}"));
    }

    /// Flips switches of all its pods.
    #[track_caller]
    pub fn switch_all(&self, words: &[&str]) {
        self.pods().iter().for_each(|pod| self.switch(pod, words));
    }

    /// What a pod's server is at: `paused`, `outstanding`, `held`, `refused`, `puts`, `pauses`, `unpauses`.
    #[track_caller]
    pub fn state(&self, pod: &str) -> Value {
        state_of(&self.kubectl.get(&format!("pod/{pod}")))
    }

    /// The same of each pod.
    #[track_caller]
    pub fn states(&self) -> Vec<Value> {
        self.pod_objects().iter().map(state_of).collect()
    }

    /// Pods that are paused now.
    #[track_caller]
    pub fn paused(&self) -> Vec<String> {
        let pods = self.pod_objects();
        pods.iter().filter(|pod| state_of(pod)["paused"] == true).map(|pod| name(pod).to_owned()).collect()
    }

    /// Whether all its pods are paused, or none is.
    #[track_caller]
    pub fn are_paused(&self, paused: bool) {
        let states = self.states();
        assert!(!states.is_empty() && states.iter().all(|state| state["paused"] == paused), "{states:?}");
    }

    /// Ends a pod's server, and waits until the one that the kubelet starts is ready.
    #[track_caller]
    pub fn restart(&self, pod: &str) {
        let object = format!("pod/{pod}");
        let restarts = |pod: &Value| pod["status"]["containerStatuses"][0]["restartCount"].clone();
        let before = self.kubectl.get(&object);
        // It ends without an answer.
        let _ = answer_of(&before, "restart");
        until(&format!("a restart of {pod}"), seconds(120), || {
            let now = self.kubectl.get(&object);
            // Out of one answer: two might be from before and after the restart.
            let again = restarts(&now) != restarts(&before) && is_ready(&now);
            if again { Ok(()) } else { Err(now["status"]["containerStatuses"].to_string()) }
        });
    }

    /// The certificate of the authority of `--tls`, in PEM.
    #[track_caller]
    pub fn authority_certificate(&self) -> String {
        let secret = self.kubectl.get(&format!("secret/{}-tls-cert", self.full_name));
        String::from_utf8(serde_json::from_value::<ByteString>(secret["data"]["ca.crt"].clone()).unwrap().0).unwrap()
    }

    /// Pauses all its pods as somebody else does, each once it has drained, or without waiting for that. Without
    /// Scalar's own client, which takes seconds to start on a busy machine; `standin.rs` has that one.
    #[track_caller]
    pub fn pause_by_others(&self, drain: Option<Duration>) {
        let wait = drain.map(|drain| i64::try_from(drain.as_millis()).unwrap());
        let asked = PauseRequest { wait_outstanding: wait.is_some(), max_pause_wait_time: wait };
        self.admin("/rpc.Admin/Pause", &asked.encode_to_vec(), drain.unwrap_or_default() + seconds(30));
    }

    /// Unpauses all its pods as somebody else does.
    #[track_caller]
    pub fn unpause_by_others(&self) {
        self.admin("/rpc.Admin/Unpause", &[], seconds(30));
    }

    #[track_caller]
    fn admin(&self, method: &'static str, message: &[u8], within: Duration) {
        let endpoint = Endpoint { port: self.product.port(), tls: None };
        let call = Act::Call { method, message: message.to_vec(), within };
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        for pod in self.pod_objects() {
            let ip = pod["status"]["podIP"].as_str().unwrap();
            let answer = runtime.block_on(exec::directly(ip, &endpoint, &call));
            assert!(answer.ok(), "{method} at {}: {answer:?}", name(&pod));
        }
    }

    /// Scalar's own client at all its pods.
    pub fn scalar_admin(&self, command: &str, options: &[&str]) -> Ended {
        let mut client = Command::new(own("scalar-admin/run"));
        // The first of a machine fetches it.
        Running::start(client.args(["-c", command, "-a", &self.addresses()]).args(options)).end(seconds(300))
    }
}

/// `rpc.PauseRequest` of scalar-admin.
#[derive(Clone, PartialEq, Message)]
struct PauseRequest {
    #[prost(bool, tag = "1")]
    wait_outstanding: bool,
    /// Milliseconds.
    #[prost(int64, optional, tag = "2")]
    max_pause_wait_time: Option<i64>,
}

fn apply(kubectl: &Kubectl, product: Product, name: &str, options: &[&str]) {
    let printed = run(Command::new(own("workloads/scalar/release")).args(options).args([product.name(), name])).done();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("release.yaml");
    std::fs::write(&file, printed.stdout).unwrap();
    kubectl.apply(&kubectl.read(&file));
}

/// Whether a pod stays, and its containers are ready.
fn is_ready(pod: &Value) -> bool {
    let conditions = pod["status"]["conditions"].as_array().map_or(&[][..], Vec::as_slice);
    let ready = conditions.iter().any(|condition| condition["type"] == "Ready" && condition["status"] == "True");
    ready && pod["metadata"]["deletionTimestamp"].is_null()
}

#[track_caller]
fn state_of(pod: &Value) -> Value {
    let said = answer_of(pod, "state").unwrap_or_else(|why| panic!("{why}"));
    serde_json::from_str(&said).unwrap_or_else(|e| panic!("{e}: {said}"))
}

/// What the server of a pod answers to these words (`switches.go`). It listens inside its pod's network only, which is
/// entered for that: a `kubectl exec` for each look takes more of the machine than all that is looked at.
fn answer_of(pod: &Value, words: &str) -> Result<String, String> {
    const ASK: &str = "exec 3<>/dev/tcp/127.0.0.1/8001 && printf %s \"$1\" >&3 && cat <&3";
    let (of, uid) = (name(pod), pod["metadata"]["uid"].as_str().unwrap());
    let processes = cluster::processes(uid, "scalar-standin");
    let process = processes.first().ok_or_else(|| format!("{of}: no server runs"))?;
    let request = format!("POST / HTTP/1.0\r\nContent-Length: {}\r\n\r\n{words}", words.len());
    let network = format!("--net=/proc/{process}/ns/net");
    let answer = run(Command::new("nsenter").args([&network, "bash", "-c", ASK, "bash", &request]));
    match answer.stdout.split_once("\r\n\r\n") {
        Some((head, body)) if head.lines().next().is_some_and(|line| line.contains(" 200 ")) => Ok(body.to_owned()),
        _ => Err(format!("{of}: {answer}")),
    }
}

/// A program of `tests/cluster`.
fn own(path: &str) -> std::path::PathBuf {
    let _ = cluster::kubeconfig();
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cluster").join(path)
}
