//! A client of the API server for the tests' own looks at the cluster. It takes kubectl's words for resources, because
//! a kubectl process for each look takes most of a machine with two cores.

use std::error::Error;
use std::fmt;
use std::sync::{OnceLock, mpsc};
use std::thread::sleep;
use std::time::{Duration, Instant};

use http::{Method, Request};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use serde_json::{Value, json};
use tokio::runtime::{Builder, Runtime};

use super::cluster;

/// How long a request is repeated while the API server does not answer: tests kill it and look meanwhile.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long one attempt may take.
const ATTEMPT: Duration = Duration::from_secs(30);
/// The annotation in which `kubectl apply` keeps what it was given.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// A request that failed.
pub struct Failure {
    /// The method and the path, or the object.
    request: String,
    /// The HTTP status; none if the API server did not answer.
    code: Option<u16>,
    cause: String,
}

impl Failure {
    /// A failure that the API server does not know of.
    pub fn new(request: impl Into<String>, cause: impl Into<String>) -> Self {
        Self { request: request.into(), code: None, cause: cause.into() }
    }

    pub fn is_not_found(&self) -> bool {
        self.code == Some(404)
    }

    /// Whether the API server may do it in a moment: it starts, ends or has too much to do.
    fn passes(&self) -> bool {
        matches!(self.code, None | Some(429 | 503))
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.request, self.cause)
    }
}

/// A resource of the API.
struct Resource {
    /// Group and version.
    api: &'static str,
    kind: &'static str,
    plural: &'static str,
    /// kubectl's short name, or another word for it.
    short: &'static str,
    namespaced: bool,
}

const fn spaced(api: &'static str, kind: &'static str, plural: &'static str, short: &'static str) -> Resource {
    Resource { api, kind, plural, short, namespaced: true }
}

const fn global(api: &'static str, kind: &'static str, plural: &'static str, short: &'static str) -> Resource {
    Resource { api, kind, plural, short, namespaced: false }
}

const RBAC: &str = "rbac.authorization.k8s.io/v1";
const SNAPSHOTS: &str = "snapshot.storage.k8s.io/v1";

/// All resources that the tests name.
const RESOURCES: &[Resource] = &[
    spaced("v1", "ConfigMap", "configmaps", "cm"),
    spaced("v1", "Event", "events", "ev"),
    global("v1", "Namespace", "namespaces", "ns"),
    global("v1", "Node", "nodes", "no"),
    spaced("v1", "PersistentVolumeClaim", "persistentvolumeclaims", "pvc"),
    global("v1", "PersistentVolume", "persistentvolumes", "pv"),
    spaced("v1", "Pod", "pods", "po"),
    spaced("v1", "ResourceQuota", "resourcequotas", "quota"),
    spaced("v1", "Secret", "secrets", "secret"),
    spaced("v1", "ServiceAccount", "serviceaccounts", "sa"),
    spaced("v1", "Service", "services", "svc"),
    global("apiextensions.k8s.io/v1", "CustomResourceDefinition", "customresourcedefinitions", "crd"),
    spaced("apps/v1", "DaemonSet", "daemonsets", "ds"),
    spaced("apps/v1", "Deployment", "deployments", "deploy"),
    spaced("apps/v1", "ReplicaSet", "replicasets", "rs"),
    spaced("apps/v1", "StatefulSet", "statefulsets", "sts"),
    spaced("batch/v1", "CronJob", "cronjobs", "cj"),
    spaced("batch/v1", "Job", "jobs", "job"),
    spaced("coordination.k8s.io/v1", "Lease", "leases", "lease"),
    spaced("discovery.k8s.io/v1", "EndpointSlice", "endpointslices", "endpointslice"),
    spaced("events.k8s.io/v1", "Event", "events", "events.events.k8s.io"),
    spaced("networking.k8s.io/v1", "NetworkPolicy", "networkpolicies", "netpol"),
    spaced("policy/v1", "PodDisruptionBudget", "poddisruptionbudgets", "pdb"),
    global(RBAC, "ClusterRole", "clusterroles", "clusterrole"),
    global(RBAC, "ClusterRoleBinding", "clusterrolebindings", "clusterrolebinding"),
    spaced(RBAC, "Role", "roles", "role"),
    spaced(RBAC, "RoleBinding", "rolebindings", "rolebinding"),
    spaced(SNAPSHOTS, "VolumeSnapshot", "volumesnapshots", "vs"),
    global(SNAPSHOTS, "VolumeSnapshotClass", "volumesnapshotclasses", "vsclass"),
    global(SNAPSHOTS, "VolumeSnapshotContent", "volumesnapshotcontents", "vsc"),
    global("storage.k8s.io/v1", "StorageClass", "storageclasses", "sc"),
    global("storage.k8s.io/v1", "VolumeAttachment", "volumeattachments", "volumeattachment"),
];

impl Resource {
    /// The resource that kubectl knows by this word.
    #[track_caller]
    fn by_word(word: &str) -> &'static Self {
        let found = RESOURCES.iter().find(|r| [r.plural, r.short].contains(&word) || r.kind.to_lowercase() == word);
        let Some(resource) = found else {
            panic!("tests/support/api.rs does not know the resource `{word}`: add it to RESOURCES")
        };
        resource
    }

    /// The resource of which this is an object.
    #[track_caller]
    fn by_object(object: &Value) -> &'static Self {
        let found = RESOURCES.iter().find(|r| object["apiVersion"] == r.api && object["kind"] == r.kind);
        let Some(resource) = found else {
            panic!("tests/support/api.rs does not know the kind of this object: add it to RESOURCES\n{object:#}")
        };
        resource
    }

    /// The path of all its objects, of one namespace if they have one.
    fn path(&self, namespace: &str) -> String {
        let root = if self.api.contains('/') { "apis" } else { "api" };
        let space = if self.namespaced { format!("/namespaces/{namespace}") } else { String::new() };
        format!("/{root}/{}{space}/{}", self.api, self.plural)
    }
}

/// The path of an object that kubectl knows as `pod/x`.
#[track_caller]
fn path_of(namespace: &str, object: &str) -> String {
    let Some((word, name)) = object.split_once('/') else { panic!("`{object}` is not KIND/NAME") };
    format!("{}/{name}", Resource::by_word(word).path(namespace))
}

/// Whether the objects of this kind are in a namespace.
#[track_caller]
pub fn is_namespaced(object: &Value) -> bool {
    Resource::by_object(object).namespaced
}

/// Reads the object at this path.
pub fn raw(path: &str) -> Result<Value, Failure> {
    call(&Method::GET, path, "application/json", None)
}

/// The object `KIND/NAME`.
#[track_caller]
pub fn get(namespace: &str, object: &str) -> Result<Value, Failure> {
    raw(&path_of(namespace, object)).map(shown)
}

/// The objects of these resources (`pods,pvc`), all or those that a label selector finds.
#[track_caller]
pub fn list(namespace: &str, words: &str, selector: Option<&str>) -> Result<Vec<Value>, Failure> {
    let query = selector.map(|selector| format!("?labelSelector={}", encoded(selector))).unwrap_or_default();
    let mut all = Vec::new();
    for resource in words.split(',').map(Resource::by_word) {
        let mut list = raw(&format!("{}{query}", resource.path(namespace)))?;
        let items = list["items"].as_array_mut().map(std::mem::take).unwrap_or_default();
        all.extend(items.into_iter().map(|mut item| {
            // The API server names both for the whole list only.
            item["apiVersion"] = json!(resource.api);
            item["kind"] = json!(resource.kind);
            shown(item)
        }));
    }
    Ok(all)
}

/// Creates an object. It fails if the object exists.
#[track_caller]
pub fn create(namespace: &str, object: &Value) -> Result<Value, Failure> {
    let path = Resource::by_object(object).path(namespace);
    call(&Method::POST, &path, "application/json", Some(object))
}

/// Creates or changes an object by server-side apply. One without a namespace gets this one.
#[track_caller]
pub fn apply(namespace: &str, object: &Value) -> Result<Value, Failure> {
    let mut object = object.clone();
    let namespace = object["metadata"]["namespace"].as_str().unwrap_or(namespace).to_owned();
    let path = Resource::by_object(&object).path(&namespace);
    let name = object["metadata"]["name"].as_str().unwrap_or_default().to_owned();
    if let Some(annotations) = object.pointer_mut("/metadata/annotations").and_then(Value::as_object_mut) {
        annotations.remove(LAST_APPLIED);
    }
    // Objects that people made by kubectl have it, with everything secret in their manifests.
    object["metadata"]["annotations"][LAST_APPLIED] = json!(object.to_string());
    let query = "fieldManager=tests&force=true&fieldValidation=Strict";
    call(&Method::PATCH, &format!("{path}/{name}?{query}"), "application/apply-patch+yaml", Some(&object))
}

/// Changes the object `KIND/NAME` by a merge patch.
#[track_caller]
pub fn merge(namespace: &str, object: &str, change: &Value) -> Result<Value, Failure> {
    call(&Method::PATCH, &path_of(namespace, object), "application/merge-patch+json", Some(change))
}

/// Asks for the deletion of the object `KIND/NAME`, at once with a grace of 0 s; its uid.
#[track_caller]
pub fn delete(namespace: &str, object: &str, grace: Option<u8>) -> Result<String, Failure> {
    let options = json!({"propagationPolicy": "Background", "gracePeriodSeconds": grace});
    let deleted = call(&Method::DELETE, &path_of(namespace, object), "application/json", Some(&options))?;
    // The object while something keeps it, a Status once it is gone.
    let uid = deleted.pointer("/metadata/uid").or(deleted.pointer("/details/uid"));
    Ok(uid.and_then(Value::as_str).unwrap_or_default().to_owned())
}

/// An object as kubectl prints it.
fn shown(mut object: Value) -> Value {
    if let Some(meta) = object["metadata"].as_object_mut() {
        meta.remove("managedFields");
    }
    object
}

/// A text as a value of a query.
fn encoded(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    text.bytes().map(|b| if plain(b) { char::from(b).to_string() } else { format!("%{b:02X}") }).collect()
}

/// Asks the API server. A failure that passes is waited for: every request here can be repeated.
fn call(method: &Method, path: &str, content_type: &str, body: Option<&Value>) -> Result<Value, Failure> {
    let end = Instant::now() + PATIENCE;
    loop {
        match attempt(method, path, content_type, body) {
            Err(failure) if failure.passes() && Instant::now() < end => sleep(Duration::from_millis(100)),
            answer => return answer,
        }
    }
}

fn attempt(method: &Method, path: &str, content_type: &str, body: Option<&Value>) -> Result<Value, Failure> {
    let failure = |code, cause| Failure { request: format!("{method} {path}"), code, cause };
    let body = body.map(|body| body.to_string().into_bytes()).unwrap_or_default();
    let request = Request::builder().method(method).uri(path).header("Content-Type", content_type).body(body).unwrap();
    let (client, (send, answer)) = (client(), mpsc::channel());
    // Not by `block_on`, which panics in a test that has a runtime of its own.
    runtime().spawn(async move {
        let _ = send.send(tokio::time::timeout(ATTEMPT, client.request::<Value>(request)).await);
    });
    match answer.recv().unwrap() {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(kube::Error::Api(status))) => {
            Err(failure(Some(status.code), format!("{} {}: {}", status.code, status.reason, status.message)))
        }
        Ok(Err(error)) => Err(failure(None, with_causes(&error))),
        Err(_) => Err(failure(None, format!("no answer within {} s", ATTEMPT.as_secs()))),
    }
}

/// An error with all its causes: kube's own text ends with the first.
fn with_causes(error: &kube::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source().and_then(Error::source);
    while let Some(error) = cause {
        text.push_str(&format!(": {error}"));
        cause = error.source();
    }
    text
}

fn runtime() -> &'static Runtime {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    RUNTIME.get_or_init(|| Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap())
}

/// The administrator's client, one for all tests of a process: they share its connections.
fn client() -> Client {
    static CLIENT: OnceLock<Client> = OnceLock::new();
    let connected = || {
        let (send, config) = mpsc::channel();
        let kubeconfig = Kubeconfig::read_from(cluster::kubeconfig()).unwrap();
        runtime().spawn(async move {
            let options = KubeConfigOptions::default();
            let _ = send.send(Config::from_custom_kubeconfig(kubeconfig, &options).await);
        });
        let mut config = config.recv().unwrap().unwrap();
        // The cluster is on this machine.
        config.proxy_url = None;
        config.connect_timeout = Some(PATIENCE);
        let _inside = runtime().enter();
        Client::try_from(config).unwrap()
    };
    CLIENT.get_or_init(connected).clone()
}

#[test]
fn a_selector_is_encoded_for_a_query() {
    assert_eq!(encoded("app=redis,n in (a, b)"), "app%3Dredis%2Cn%20in%20%28a%2C%20b%29");
}

#[test]
fn resources_are_found_by_kubectls_words() {
    let path = |word: &str| Resource::by_word(word).path("demo");
    assert_eq!(path("pvc"), "/api/v1/namespaces/demo/persistentvolumeclaims");
    assert_eq!(path("statefulset"), path("sts"));
    assert_eq!(path("volumesnapshotclasses"), "/apis/snapshot.storage.k8s.io/v1/volumesnapshotclasses");
    assert_eq!(path("events.events.k8s.io"), "/apis/events.k8s.io/v1/namespaces/demo/events");
    assert_eq!(path_of("demo", "crd/volumesnapshots.snapshot.storage.k8s.io").matches('/').count(), 5);
}
