//! Releases of ScalarDB and ScalarDL, with the stand-in for a server (`tests/cluster/images/scalar-standin`).

use std::path::Path;
use std::process::Command;

use k8s_openapi::ByteString;
use serde_json::Value;

use super::acks::AckLog;
use super::cluster;
use super::kubectl::{Kubectl, binary, names};
use super::process::{Ended, Running, run, run_with};
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

    /// Waits until all its pods are, ready, and no others.
    pub fn wait_ready(&self) {
        until(&format!("a ready {}", self.full_name), seconds(60), || {
            let deployment = self.kubectl.get(&self.deployment());
            let (wanted, status) = (deployment["spec"]["replicas"].as_u64().unwrap(), &deployment["status"]);
            let ready = status["readyReplicas"].as_u64().unwrap_or(0) == wanted
                && status["observedGeneration"] == deployment["metadata"]["generation"]
                && self.pods().len() as u64 == wanted;
            if ready { Ok(()) } else { Err(status.to_string()) }
        });
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
        self.kubectl.exec(pod, &[&["scalar-standin", "switch"], words].concat()).done();
    }

    /// Flips switches of all its pods.
    #[track_caller]
    pub fn switch_all(&self, words: &[&str]) {
        self.pods().iter().for_each(|pod| self.switch(pod, words));
    }

    /// What a pod's server is at: `paused`, `outstanding`, `held`, `refused`, `puts`, `pauses`, `unpauses`.
    #[track_caller]
    pub fn state(&self, pod: &str) -> Value {
        self.kubectl.exec(pod, &["scalar-standin", "switch", "state"]).done().json()
    }

    /// The same of each pod.
    #[track_caller]
    pub fn states(&self) -> Vec<Value> {
        self.pods().iter().map(|pod| self.state(pod)).collect()
    }

    /// Whether all its pods are paused, or none is.
    #[track_caller]
    pub fn are_paused(&self, paused: bool) {
        let states = self.states();
        assert!(!states.is_empty() && states.iter().all(|state| state["paused"] == paused), "{states:?}");
    }

    /// Ends a pod's server, which the kubelet starts again.
    pub fn restart(&self, pod: &str) {
        let object = format!("pod/{pod}");
        let restarts = || self.kubectl.value(&object, "/status/containerStatuses/0/restartCount");
        let before = restarts();
        // The call ends with the container.
        self.kubectl.exec(pod, &["scalar-standin", "switch", "restart"]);
        until(&format!("a restart of {pod}"), seconds(60), || {
            let ready = self.kubectl.value(&object, "/status/containerStatuses/0/ready");
            if restarts() != before && ready == "true" { Ok(()) } else { Err(format!("ready: {ready}")) }
        });
    }

    /// The certificate of the authority of `--tls`, in PEM.
    pub fn authority_certificate(&self) -> String {
        let path = format!("secret/{}-tls-cert", self.full_name);
        self.kubectl.ok(&["get", &path, "-o", "go-template={{index .data \"ca.crt\" | base64decode}}"])
    }

    /// Scalar's own client at all its pods.
    pub fn scalar_admin(&self, command: &str, options: &[&str]) -> Ended {
        let mut client = Command::new(own("scalar-admin/run"));
        // The first of a machine fetches it.
        Running::start(client.args(["-c", command, "-a", &self.addresses()]).args(options)).end(seconds(300))
    }
}

fn apply(kubectl: &Kubectl, product: Product, name: &str, options: &[&str]) {
    let objects = run(Command::new(own("workloads/scalar/release")).args(options).args([product.name(), name])).done();
    run_with(binary().args(["--namespace", &kubectl.namespace, "apply", "-f", "-"]), &objects.stdout).done();
}

/// A program of `tests/cluster`.
fn own(path: &str) -> std::path::PathBuf {
    let _ = cluster::kubeconfig();
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cluster").join(path)
}
