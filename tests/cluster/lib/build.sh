# shellcheck shell=bash
# Builds what is missing. Each part lies in a folder that is named after its inputs and never changes, so clones with
# other inputs, and a cluster that still runs, do not disturb each other.

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

# build NAME INPUT... : has build_NAME fill $OUT, unless a folder of these inputs is there. The recipe is an input, too.
build() {
  local name=$1 stamp folder begin=$SECONDS failed
  shift
  stamp=$(inputs_of "$@" "$(declare -f "build_$name")")
  folder=$BUILD/$name-${stamp:0:16}
  PARTS+=("$name $folder")
  if [ -d "$folder" ]; then
    touch "$folder"
    return 0
  fi
  say "building $name"
  rm -rf "$folder.new"
  mkdir "$folder.new"
  # Not with ||, after which errexit would not hold inside the command.
  set +e
  (set -e; OUT=$folder.new "build_$name") 9>&- >&2
  failed=$?
  set -e
  [ $failed = 0 ] || die "building $name failed"
  mv "$folder.new" "$folder"
  say "built $name in $((SECONDS - begin)) s"
  # Parts that nobody has asked for in two weeks would fill the disk.
  find "$BUILD" -maxdepth 1 -name "$name-*" -mtime +14 -exec rm -rf {} +
}

build_kubernetes() {
  local flags="-s -w" part major minor
  IFS=. read -r major minor _ <<<"$SERVER_VERSION"
  # Without a version the components refuse each other.
  for part in "gitVersion=v$SERVER_VERSION" "gitMajor=$major" "gitMinor=$minor"; do
    flags+=" -X k8s.io/component-base/version.$part"
  done
  (cd "$HERE/kubernetes" && CGO_ENABLED=0 go build -trimpath -buildvcs=false -ldflags "$flags" -o "$OUT/" \
    "${KUBERNETES[@]/#/k8s.io/kubernetes/cmd/}")
}

build_csi() {
  (
    cd "$HERE/csi" || exit
    export CGO_ENABLED=0
    go build -trimpath -buildvcs=false -ldflags '-s -w' -o "$OUT/bin/" \
      github.com/kubernetes-csi/external-provisioner/v6/cmd/csi-provisioner \
      github.com/kubernetes-csi/external-snapshotter/v8/cmd/{csi-snapshotter,snapshot-controller}
    # The CRDs come along in the module of the snapshot client.
    local client
    client=$(go list -m -f '{{.Dir}}' github.com/kubernetes-csi/external-snapshotter/client/v8)
    mkdir "$OUT/crds"
    cp "$client"/config/crd/*.yaml "$OUT/crds/"
    rm "$OUT/crds/kustomization.yaml"
  )
}

build_driver() {
  (cd "$HERE/csi" && CGO_ENABLED=0 go build -trimpath -buildvcs=false -ldflags '-s -w' -o "$OUT/csi-driver" ./driver)
}

# build_all : the parts and their folders, in PARTS
build_all() {
  mkdir -p "$BUILD" || die "cannot write to $CACHE: name another folder by CONSISTENT_BACKUP_CACHE"
  exec 8>"$BUILD/lock"
  flock 8
  PARTS=()
  KUBERNETES=(kube-apiserver kube-controller-manager kube-proxy kube-scheduler kubelet)
  command -v kubectl >/dev/null || KUBERNETES+=(kubectl)
  build kubernetes "$HERE"/kubernetes/go.{mod,sum} "$SERVER_VERSION" "${KUBERNETES[*]}"
  build csi "$HERE"/csi/go.{mod,sum}
  build driver "$HERE"/csi/go.{mod,sum} "$HERE/csi/driver"
  build base "${BASE_PACKAGES[*]}" "${BASE_TRIM[*]}" "$DEBIAN_MIRROR"
  BASE=${PARTS[-1]#base }
  build images "${BASE##*/}" "$HERE/images" "$HERE/lib/images.sh"
  exec 8>&-
}
