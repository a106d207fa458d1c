# shellcheck shell=bash
# shellcheck disable=SC2034  # read by the files that source this one
# Where everything lies. All that two clusters on one machine could meet in
# comes from the slot: see slot_network.

HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
# What is built outlives the clone: the next one on this machine finds it.
CACHE=${CONSISTENT_BACKUP_CACHE:-/var/cache/kubectl-consistent-backup}
BUILD=$CACHE/cluster
# A second cluster of the same clone has another one, beside it.
RUN=${CLUSTER_RUN:-$HERE/.run}
PKI=$RUN/pki
LOGS=$RUN/logs
PIDS=$RUN/pids

SLOTS=16
NODE=node1
DRIVER=block.test.consistent-backup.io
SERVER_VERSION=1.34.4

# The names of a slot on the host: its end of the link, its subnet, its cgroup.
slot_network() {
  SLOT=$1
  LINK=kcb$SLOT
  POD_NET=10.244.$SLOT
  SERVICE_NET=10.96.$SLOT
  NODE_IP=$POD_NET.1
  HOST_IP=$POD_NET.254
  CGROUP=consistent-backup-$SLOT
}

# part NAME : the folder of this part of the build, as the last start of the node took it
part() { sed -n "s/^$1 //p" "$RUN/parts" 2>/dev/null; }

say() { echo "cluster: $*" >&2; }

die() {
  say "$*"
  exit 1
}

# cgroup_folders : the slot's folder below each controller of cgroup v1, or the one of v2
cgroup_folders() {
  local controller
  if [ -e /sys/fs/cgroup/cgroup.controllers ]; then
    echo "/sys/fs/cgroup/$CGROUP"
  else
    for controller in /sys/fs/cgroup/*/; do echo "$controller$CGROUP"; done
  fi
}

remove_cgroups() {
  local folder
  for folder in $(cgroup_folders); do
    [ ! -d "$folder" ] || find "$folder" -depth -type d -exec rmdir {} + 2>/dev/null || true
  done
}
