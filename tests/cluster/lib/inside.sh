#!/bin/bash
# Process 1 of the node: lays out its network and mounts, starts the components,
# starts them again when they end.
set -euo pipefail
. "$(dirname "$0")/paths.sh"
. "$HERE/lib/components.sh"
PATH=$(part kubernetes):$(part csi)/bin:$(part driver):$PATH

read -r slot <"$RUN/start"
slot_network "$slot"
mkdir -p "$PIDS" "$RUN/hold" "$LOGS/pods"
export KUBECONFIG=$RUN/admin.conf
# The components collect their garbage less often: the machine has more memory than cores.
export GOGC=400

network() {
  ip link set lo up
  # With an address of its own: otherwise a bridge takes its ports' lowest one, which changes as pods come and go, and
  # the host goes on sending to the old one for up to a minute.
  ip link add pods0 address 0a:58:0a:f4:00:01 type bridge
  ip addr add "$NODE_IP/24" dev pods0
  ip link set host0 master pods0 up
  ip link set pods0 up
  # No default route: nothing leaves the machine.
  sysctl -qw net.ipv4.ip_forward=1
  # Traffic of one pod to another by way of a service passes the bridge twice.
  sysctl -qw net.bridge.bridge-nf-call-iptables=1 2>/dev/null || true
}

mounts() {
  mount --make-rshared /
  # Sockets and state of the usual paths, but this node's own.
  mount -t tmpfs -o mode=755 run /run
  mkdir -p /run/lock /run/netns "$RUN"/{kubelet,etcd,containerd,csi/images} \
    /var/lib/kubelet /var/lib/cni /var/log/pods /var/log/containers
  rm -rf "$RUN"/kubelet/plugins{,_registry}
  mount --bind "$RUN/kubelet" /var/lib/kubelet
  mount --bind "$LOGS/pods" /var/log/pods
  mount -t tmpfs tmpfs /var/log/containers
  mount -t tmpfs tmpfs /var/lib/cni

  if [ -e "$RUN/in-memory" ]; then
    mkdir -p "$RUN/csi/memory"
    mount -t tmpfs tmpfs "$RUN/csi/memory"
    # Every commit of a database is a flush of this file system: on btrfs it costs four times as much.
    images_on "$RUN/csi/memory" mkfs.xfs noatime,discard
  else
    # No barrier: its flushes would cost every commit of a database a flush of the
    # machine's disk, and only guard against the machine's own loss of power.
    images_on "$RUN/csi" mkfs.btrfs noatime,nobarrier,nodatasum,discard=async
  fi
}

# images_on FOLDER MKFS OPTIONS : mounts the file system of all volumes, which lies in a file of that folder
images_on() {
  local image=$1/images.img
  if [ ! -e "$image" ]; then
    truncate -s 64G "$image.new"
    "$2" -q "$image.new"
    mv "$image.new" "$image"
  fi
  mount -o "loop,$3" "$image" "$RUN/csi/images"
}

# Two kubelets below one root would end each other's pods.
cgroups() {
  local folder
  remove_cgroups
  for folder in $(cgroup_folders); do mkdir -p "$folder" 2>/dev/null || true; done
}

# keep NAME COMMAND... : a file of that name in the folder `hold` keeps it down.
keep() {
  local name=$1
  shift
  (
    while :; do
      while [ -e "$RUN/hold/$name" ]; do sleep 0.1; done
      "$@" </dev/null >>"$LOGS/$name.log" 2>&1 &
      echo $! >"$PIDS/$name"
      wait $! || true
      echo "--- $name ended" >>"$LOGS/$name.log"
      sleep 0.5
    done
  ) &
}

# until_true SECONDS COMMAND...
until_true() {
  local end=$((SECONDS + $1))
  shift
  until "$@" >/dev/null 2>&1; do
    [ "$SECONDS" -lt "$end" ] || { echo "gave up: $*"; return 1; }
    sleep 0.1
  done
}

rm -f "$RUN"/hold/*
network
mounts
cgroups
configure
boot
date +%s.%N >"$RUN/ready.new"
mv "$RUN/ready.new" "$RUN/ready"
echo "ready after $SECONDS s"

# Bash reaps whatever is left to process 1.
while :; do wait || true; sleep 1; done
