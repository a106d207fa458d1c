# shellcheck shell=bash
# Builds what is missing or whose inputs changed.

# inputs_of INPUT... : one hash of all inputs
# (files, folders, or words).
inputs_of() {
  local input
  for input in "$@"; do
    if [ -d "$input" ]; then
      (cd "$input" && find . -type f -print0 | sort -z | xargs -0 sha256sum)
    elif [ -f "$input" ]; then
      sha256sum <"$input"
    else
      echo "$input"
    fi
  done | sha256sum | cut -d' ' -f1
}

# once NAME COMMAND INPUT... : runs COMMAND unless NAME's stamp is that of the inputs.
once() {
  local name=$1 command=$2 stamp
  shift 2
  stamp=$(inputs_of "$@")
  [ "$(cat "$BUILD/stamps/$name" 2>/dev/null)" != "$stamp" ] || return 0
  say "building $name"
  rm -f "$BUILD/stamps/$name"
  local begin=$SECONDS
  # Not with ||, after which errexit would not hold inside the command.
  set +e
  (set -e; "$command") 9>&- >&2
  local failed=$?
  set -e
  [ $failed = 0 ] || die "building $name failed"
  echo "$stamp" >"$BUILD/stamps/$name"
  say "built $name in $((SECONDS - begin)) s"
}

build_kubernetes() {
  local flags="-s -w" part major minor
  IFS=. read -r major minor _ <<<"$SERVER_VERSION"
  # Without a version the components refuse each other.
  for part in "gitVersion=v$SERVER_VERSION" "gitMajor=$major" "gitMinor=$minor"; do
    flags+=" -X k8s.io/component-base/version.$part"
  done
  (cd "$HERE/kubernetes" && CGO_ENABLED=0 go build -trimpath -buildvcs=false -ldflags "$flags" -o "$BIN/" \
    "${KUBERNETES[@]/#/k8s.io/kubernetes/cmd/}")
}

build_csi() {
  (
    cd "$HERE/csi" || exit
    export CGO_ENABLED=0
    go build -trimpath -buildvcs=false -ldflags '-s -w' -o "$BIN/" \
      github.com/kubernetes-csi/external-provisioner/v6/cmd/csi-provisioner \
      github.com/kubernetes-csi/external-snapshotter/v8/cmd/{csi-snapshotter,snapshot-controller}
    # The CRDs come along in the module of the snapshot client.
    local client
    client=$(go list -m -f '{{.Dir}}' github.com/kubernetes-csi/external-snapshotter/client/v8)
    rm -rf "$BUILD/crds"
    mkdir -p "$BUILD/crds"
    cp "$client"/config/crd/*.yaml "$BUILD/crds/"
    rm "$BUILD/crds/kustomization.yaml"
  )
}

build_driver() {
  (cd "$HERE/csi" && CGO_ENABLED=0 go build -trimpath -buildvcs=false -ldflags '-s -w' -o "$BIN/csi-driver" ./driver)
}

build_all() {
  mkdir -p "$BUILD/stamps" "$BIN"
  exec 8>"$BUILD/lock"
  flock 8
  KUBERNETES=(kube-apiserver kube-controller-manager kube-proxy kube-scheduler kubelet)
  command -v kubectl >/dev/null || KUBERNETES+=(kubectl)
  once kubernetes build_kubernetes "$HERE"/kubernetes/go.{mod,sum} "$SERVER_VERSION" "${KUBERNETES[*]}"
  once csi build_csi "$HERE"/csi/go.{mod,sum}
  once driver build_driver "$HERE"/csi/go.{mod,sum} "$HERE/csi/driver"
  once base build_base "${BASE_PACKAGES[*]}" "${BASE_TRIM[*]}" "$DEBIAN_MIRROR"
  once images build_images "$BUILD/stamps/base" "$HERE/images" "$HERE/lib/images.sh"
  exec 8>&-
}
