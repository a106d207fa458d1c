# shellcheck shell=bash
# shellcheck disable=SC2154
# The components in the order of their start, and their configuration.

configure() {
  local file
  mkdir -p "$RUN/config/cni"
  : >"$RUN/config/resolv.conf"
  for file in "$HERE"/config/*; do
    sed -e "s|@RUN@|$RUN|g" -e "s|@PKI@|$PKI|g" -e "s|@NODE_IP@|$NODE_IP|g" -e "s|@POD_NET@|$POD_NET|g" \
      -e "s|@CGROUP@|$CGROUP|g" "$file" >"$RUN/config/$(basename "$file")"
  done
  mv "$RUN/config/pods.conflist" "$RUN/config/cni/"
}

boot() {
  keep etcd etcd --data-dir "$RUN/etcd" --unsafe-no-fsync --log-level error \
    --listen-client-urls http://127.0.0.1:2379 --advertise-client-urls http://127.0.0.1:2379 \
    --listen-peer-urls http://127.0.0.1:2380
  keep containerd containerd --config "$RUN/config/containerd.toml"
  import_images &
  local images=$!
  api_server
  until_true 60 kubectl get --raw /readyz
  keep controller-manager kube-controller-manager --kubeconfig="$KUBECONFIG" --leader-elect=false \
    --service-account-private-key-file="$PKI/service-account.key" --root-ca-file="$PKI/ca.crt"
  keep scheduler kube-scheduler --kubeconfig="$KUBECONFIG" --leader-elect=false
  keep kubelet kubelet --config="$RUN/config/kubelet.yaml" --kubeconfig="$KUBECONFIG" --root-dir=/var/lib/kubelet \
    --node-ip="$NODE_IP" --hostname-override="$NODE" --v=2
  keep proxy kube-proxy --kubeconfig="$KUBECONFIG" --proxy-mode=iptables --hostname-override="$NODE" \
    --cluster-cidr="$POD_NET.0/24" --conntrack-max-per-core=0
  storage
  wait "$images"
  until_true 60 node_ready
}

api_server() {
  keep apiserver kube-apiserver --etcd-servers=http://127.0.0.1:2379 \
    --bind-address=0.0.0.0 --advertise-address="$NODE_IP" --secure-port=6443 \
    --tls-cert-file="$PKI/server.crt" --tls-private-key-file="$PKI/server.key" --client-ca-file="$PKI/ca.crt" \
    --kubelet-client-certificate="$PKI/kubelet-client.crt" --kubelet-client-key="$PKI/kubelet-client.key" \
    --kubelet-preferred-address-types=InternalIP --authorization-mode=RBAC --allow-privileged=true \
    --service-account-issuer=https://kubernetes.default.svc \
    --service-account-key-file="$PKI/service-account.key" \
    --service-account-signing-key-file="$PKI/service-account.key" \
    --service-cluster-ip-range="$SERVICE_NET.0/24"
}

storage() {
  local socket=/var/lib/kubelet/plugins/$DRIVER/csi.sock
  keep driver csi-driver --name="$DRIVER" --node="$NODE" --endpoint="$socket" \
    --registration="/var/lib/kubelet/plugins_registry/$DRIVER-reg.sock" --state="$RUN/csi" --images="$RUN/csi/images"
  apply_manifests
  until_true 30 test -S "$socket"
  keep snapshot-controller snapshot-controller --kubeconfig="$KUBECONFIG" --leader-election=false \
    --feature-gates=CSIVolumeGroupSnapshot=true --v=2
  # A driver that never answers is given up after 20 s instead of a minute.
  keep snapshotter csi-snapshotter --kubeconfig="$KUBECONFIG" --csi-address="$socket" --leader-election=false \
    --timeout=20s --feature-gates=CSIVolumeGroupSnapshot=true --v=3
  keep provisioner csi-provisioner --kubeconfig="$KUBECONFIG" --csi-address="$socket" --leader-election=false \
    --feature-gates=Topology=false --v=3
}

apply_manifests() {
  local stamp crds
  crds=$(part csi)/crds
  stamp=$(cat "$crds"/* "$HERE"/manifests/* | sha256sum)
  [ "$(cat "$RUN/manifests" 2>/dev/null)" != "$stamp" ] || return 0
  kubectl apply -f "$crds" -f "$HERE/manifests/driver.yaml"
  until_true 30 kubectl wait --for=condition=Established --timeout=10s crd/volumesnapshotclasses.snapshot.storage.k8s.io
  until_true 30 kubectl apply -f "$HERE/manifests/classes.yaml"
  echo "$stamp" >"$RUN/manifests"
}

import_images() {
  local images
  images=$(part images)
  until_true 30 ctr version
  [ "$(cat "$RUN/images" 2>/dev/null)" != "$images" ] || return 0
  ctr -n k8s.io images import "$images/images.tar"
  echo "$images" >"$RUN/images"
}

# After a restart the API still holds the old state of the node: ask the kubelet
# itself, and see that the driver has registered with it in this life.
node_ready() {
  kubectl get --raw "/api/v1/nodes/$NODE/proxy/healthz" &&
    grep -q 'kubelet: registered=true' "$LOGS/driver.log" &&
    kubectl wait --for=condition=Ready --timeout=1s "node/$NODE" &&
    kubectl get csinode "$NODE" -o 'jsonpath={.spec.drivers[*].name}' | grep -qw "$DRIVER" &&
    kubectl -n default get serviceaccount default
}
