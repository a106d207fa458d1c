//! Which annotations a record keeps. Any of them may hold anything, passwords of monitoring agents among them, so only
//! those are kept that are known to be harmless, or without which pods, Services and claims would not work as before.

use serde_json::{Map, Value};

use super::credentials::{is_in_annotation, is_secret_name};
use super::{kind, name};

/// What becomes of an annotation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It is recorded.
    Kept,
    /// It is about this very object, and would be a lie on the next one.
    OfTheObject,
    /// It may hold a secret: it is not recorded, and the plan names it.
    Unknown,
}

/// Written by this program about one run. What a user writes for it stays.
const OURS: &str = "consistent-backup/";
/// What a user says to this program by annotations.
const SAID: &[&str] = &["consistent-backup/adapter", "consistent-backup/role", "consistent-backup/hold"];
/// Written by controllers, clients and networks about one object: an address, a revision, a digest, a whole manifest with
/// all its secrets. By their beginnings.
const OF_THE_OBJECT: &str = "kubectl.kubernetes.io/last-applied-configuration deployment.kubernetes.io/revision \
    deprecated.daemonset.template.generation endpoints.kubernetes.io/ pv.kubernetes.io/ volume.kubernetes.io/ \
    volume.beta.kubernetes.io/ control-plane.alpha.kubernetes.io/ checksum/ kubernetes.io/config. \
    cni.projectcalico.org/containerID cni.projectcalico.org/podIP k8s.ovn.org/ ovn.kubernetes.io/ \
    k8s.v1.cni.cncf.io/network-status k8s.v1.cni.cncf.io/networks-status";
/// Prefixes of annotations of controllers whose values are switches, names and sizes. A value that looks like a secret is
/// dropped even here.
const KNOWN: &str = "volume.beta.kubernetes.io/storage-class snapshot.storage.kubernetes.io/ resize.topolvm.io/ \
    container.apparmor.security.beta.kubernetes.io/ seccomp.security.alpha.kubernetes.io/ io.kubernetes.cri-o. \
    kubectl.kubernetes.io/restartedAt kubectl.kubernetes.io/default- kubernetes.io/ingress-bandwidth \
    kubernetes.io/egress-bandwidth controller.kubernetes.io/ cluster-autoscaler.kubernetes.io/ karpenter.sh/ \
    descheduler.alpha.kubernetes.io/ scheduler.alpha.kubernetes.io/ apps.kubernetes.io/ pod-security.kubernetes.io/ \
    k8s.v1.cni.cncf.io/networks v1.multus-cni.io/ cni.projectcalico.org/ipv \
    sidecar.istio.io/ traffic.sidecar.istio.io/ proxy.istio.io/ networking.istio.io/ inject.istio.io/ istio.io/ \
    linkerd.io/ config.linkerd.io/ config.alpha.linkerd.io/ consul.hashicorp.com/ kuma.io/ dapr.io/ \
    vault.hashicorp.com/ vault.security.banzaicloud.io/ instrumentation.opentelemetry.io/ \
    sidecar.opentelemetry.io/ iam.amazonaws.com/role eks.amazonaws.com/ iam.gke.io/ azure.workload.identity/ \
    prometheus.io/ fluentbit.io/ reloader.stakater.com/ configmap.reloader.stakater.com/ \
    secret.reloader.stakater.com/ wave.pusher.com/ keel.sh/ meta.helm.sh/ helm.sh/ argocd.argoproj.io/ \
    kustomize.toolkit.fluxcd.io/ helm.toolkit.fluxcd.io/ fluxcd.io/ backup.velero.io/ \
    pre.hook.backup.velero.io/ post.hook.backup.velero.io/ init.hook.restore.velero.io/ \
    post.hook.restore.velero.io/ k8up.io/ k8up.syn.tools/ \
    service.kubernetes.io/ service.beta.kubernetes.io/ service.alpha.kubernetes.io/ cloud.google.com/ \
    networking.gke.io/ metallb.universe.tf/ metallb.io/ external-dns.alpha.kubernetes.io/ lbipam.cilium.io/ \
    io.cilium/ service.cilium.io/ kube-vip.io/ load-balancer.hetzner.cloud/ loadbalancer.openstack.org/ \
    oci.oraclecloud.com/ oci-network-load-balancer.oraclecloud.com/ traefik.ingress.kubernetes.io/ tailscale.com/";

/// What becomes of an annotation of this key and value.
pub fn fate(key: &str, value: &str) -> Fate {
    let begins = |list: &str| list.split_whitespace().any(|known| key.starts_with(known));
    if SAID.iter().any(|said| key.strip_prefix(said).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))) {
        return Fate::Kept;
    }
    let known = begins(KNOWN);
    // A key of the second list may begin like one of the first: networks, and networks-status.
    let of_the_object = begins(OF_THE_OBJECT) && key != "volume.beta.kubernetes.io/storage-class";
    if key.starts_with(OURS) || of_the_object {
        return Fate::OfTheObject;
    }
    let says_nothing = matches!(value, "" | "true" | "false" | "enabled" | "disabled")
        || (value.chars().all(|c| c.is_ascii_digit()) && !is_secret_name(key));
    if says_nothing || (known && !is_in_annotation(value)) { Fate::Kept } else { Fate::Unknown }
}

/// The unknown annotations of an object and of its templates, as `annotation KEY of PLACE`.
pub fn unknown(object: &Value) -> Vec<String> {
    take_out(&mut object.clone())
}

/// Removes what is not recorded from the annotations of an object and of its templates. Returns the unknown ones.
pub(super) fn take_out(object: &mut Value) -> Vec<String> {
    let of = format!("{}/{}", kind(object).to_lowercase(), name(object));
    let mut unknown = Vec::new();
    let mut places = vec![(String::from("/metadata"), of)];
    let pods = if kind(object) == "Pod" { "/spec" } else { "/spec/template/spec" };
    places.push(("/spec/template/metadata".to_owned(), "its pods".to_owned()));
    let several = |path: &str, inner: &str, what: &str| {
        let count = object.pointer(path).and_then(Value::as_array).map_or(0, Vec::len);
        (0..count).map(|n| (format!("{path}/{n}{inner}/metadata"), what.to_owned())).collect::<Vec<_>>()
    };
    places.extend(several("/spec/volumeClaimTemplates", "", "its claims"));
    places.extend(several(&format!("{pods}/volumes"), "/ephemeral/volumeClaimTemplate", "its claims"));
    for (path, what) in places {
        let Some(metadata) = object.pointer_mut(&path).and_then(Value::as_object_mut) else { continue };
        unknown.extend(of_metadata(metadata).into_iter().map(|key| format!("annotation {key} of {what}")));
    }
    unknown
}

fn of_metadata(metadata: &mut Map<String, Value>) -> Vec<String> {
    let mut unknown = Vec::new();
    if let Some(annotations) = metadata.get_mut("annotations").and_then(Value::as_object_mut) {
        annotations.retain(|key, value| {
            let fate = fate(key, value.as_str().unwrap_or_default());
            if fate == Fate::Unknown {
                unknown.push(key.clone());
            }
            fate == Fate::Kept
        });
        if annotations.is_empty() {
            metadata.remove("annotations");
        }
    }
    unknown
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn only_known_annotations_are_recorded() {
        for (key, value) in [
            ("consistent-backup/adapter", "postgres"),
            ("consistent-backup/adapter.db", "postgres"),
            ("consistent-backup/hold", "archive"),
            ("consistent-backup/role", "none"),
            ("prometheus.io/port", "9187"),
            ("sidecar.istio.io/inject", "false"),
            ("vault.hashicorp.com/agent-inject-secret-db", "database/creds/app"),
            (
                "vault.hashicorp.com/agent-inject-template-db",
                "{{ with secret \"db\" }}postgres://{{ .Data.u }}:{{ .Data.p }}@pg{{ end }}",
            ),
            ("k8s.v1.cni.cncf.io/networks", "storage"),
            ("service.beta.kubernetes.io/aws-load-balancer-internal", "true"),
            ("service.alpha.kubernetes.io/tolerate-unready-endpoints", "true"),
            ("pre.hook.backup.velero.io/command", "[\"/sbin/fsfreeze\", \"--freeze\", \"/data\"]"),
            ("volume.beta.kubernetes.io/storage-class", "fast"),
            ("example.com/enabled", "true"),
            ("example.com/port", "8080"),
            ("iam.amazonaws.com/role", "arn:aws:iam::123456789012:role/backup"),
        ] {
            assert_eq!(fate(key, value), Fate::Kept, "{key}: {value}");
        }
        for (key, value) in [
            ("ad.datadoghq.com/postgres.checks", "{\"postgres\": {\"instances\": [{\"password\": \"geheim\"}]}}"),
            ("ad.datadoghq.com/postgres.instances", "[{\"host\": \"%%host%%\", \"password\": \"geheim\"}]"),
            ("co.elastic.metrics/password", "geheim"),
            ("kubernetes.io/change-cause", "kubectl set env sts/pg PGPASSWORD=geheim --record"),
            ("example.com/note", "geheim"),
            ("example.com/token", "4711"),
            ("pre.hook.backup.velero.io/command", "[\"mysql\", \"-pgeheim\"]"),
            ("pre.hook.backup.velero.io/command", "redis-cli -h x -a geheim save"),
            ("proxy.istio.io/config", "{\"proxyMetadata\": {\"TOKEN\": \"geheim\"}}"),
            ("cni.projectcalico.org/other", "x"),
        ] {
            assert_eq!(fate(key, value), Fate::Unknown, "{key}: {value}");
        }
        for key in [
            "kubectl.kubernetes.io/last-applied-configuration",
            "consistent-backup/restoring",
            "consistent-backup/holding",
            "cni.projectcalico.org/podIP",
            "k8s.v1.cni.cncf.io/networks-status",
            "k8s.v1.cni.cncf.io/network-status",
            "pv.kubernetes.io/bind-completed",
            "checksum/secret",
        ] {
            assert_eq!(fate(key, "geheim"), Fate::OfTheObject, "{key}");
        }
    }

    #[test]
    fn every_place_with_annotations_is_looked_at() {
        let meta = |more: Value| json!({"annotations": {"x.example/secret": "geheim", "prometheus.io/scrape": "true"}, "name": more});
        let mut set = json!({"kind": "StatefulSet", "metadata": meta(json!("pg")), "spec": {
            "template": {"metadata": meta(json!(null)), "spec": {"volumes": [{"name": "a"},
                {"name": "b", "ephemeral": {"volumeClaimTemplate": {"metadata": meta(json!(null))}}}]}},
            "volumeClaimTemplates": [{"metadata": meta(json!("data"))}]}});
        let mut pod = json!({"kind": "Pod", "metadata": meta(json!("pg-0")), "spec": {"volumes": [
            {"name": "b", "ephemeral": {"volumeClaimTemplate": {"metadata": meta(json!(null))}}}]}});
        let of = |what: &str| format!("annotation x.example/secret of {what}");
        assert_eq!(take_out(&mut set), [of("statefulset/pg"), of("its pods"), of("its claims"), of("its claims")]);
        assert_eq!(take_out(&mut pod), [of("pod/pg-0"), of("its claims")]);
        for object in [set, pod] {
            assert!(!object.to_string().contains("geheim") && object.to_string().contains("prometheus.io"), "{object}");
        }
    }
}
