# shellcheck shell=bash
# The node is a set of namespaces (mounts, network, processes) of one holder
# process: when that ends, for whatever reason, the kernel ends every process in
# it and takes away the mounts, loop devices, bridge and iptables rules.

# identity PID : names a process also after its number was given to another.
identity() {
  [ -r "/proc/$1/stat" ] || return 1
  # Field 22, the start time; the name in field 2 may hold blanks.
  echo "$1 $(sed 's/.*) //' "/proc/$1/stat" | cut -d' ' -f20) $(cat /proc/sys/kernel/random/boot_id)"
}

# holder : the pid, when the process that the last up started is alive.
holder() {
  local pid
  [ -s "$RUN/holder" ] || return 1
  read -r pid _ <"$RUN/holder"
  [ "$(identity "$pid" 2>/dev/null)" = "$(cat "$RUN/holder")" ] || return 1
  echo "$pid"
}

end_node() {
  local pid
  if pid=$(holder); then
    kill -KILL "$pid" 2>/dev/null || true
    for _ in $(seq 300); do
      holder >/dev/null || break
      sleep 0.1
    done
    ! holder >/dev/null || die "process $pid does not end"
  fi
  rm -f "$RUN/holder" "$RUN/ready"
  # The kernel takes the namespaces apart after the process is gone.
  for _ in $(seq 300); do
    losetup -n -O BACK-FILE 2>/dev/null | grep -qF "$RUN/csi/" || break
    sleep 0.1
  done
  if [ -s "$RUN/slot" ]; then
    slot_network "$(cat "$RUN/slot")"
    # Unless another cluster has the slot by now.
    ip link show "$LINK" >/dev/null 2>&1 || remove_cgroups
  fi
}

# take_slot HOLDER : links the host to the node, under the first free slot's
# name and subnet. Creating the link is what claims the slot: the kernel refuses
# a second one of that name, and drops it with the node.
take_slot() {
  local holder=$1 slot recorded
  recorded=$(cat "$RUN/slot" 2>/dev/null || true)
  for slot in $recorded $(seq 0 $((SLOTS - 1))); do
    slot_network "$slot"
    [ -z "$(ip -4 route show root "$POD_NET.0/24")$(ip -4 route show root "$SERVICE_NET.0/24")" ] || continue
    ip link add "$LINK" type veth peer name host0 netns "$holder" 2>/dev/null || continue
    ip addr add "$HOST_IP/24" dev "$LINK"
    ip link set "$LINK" up
    ip route add "$SERVICE_NET.0/24" via "$NODE_IP"
    [ "$slot" = "$recorded" ] || fresh_state
    echo "$slot" >"$RUN/slot"
    return 0
  done
  die "no free slot among $SLOTS"
}

# Addresses are all over the old state: it is of no use under another slot.
fresh_state() {
  find "$RUN" -mindepth 1 -maxdepth 1 ! -name lock ! -name start ! -name holder ! -name parts ! -name logs \
    ! -name in-memory -exec rm -rf {} +
}

start_node() {
  local pid
  mkdir -p "$RUN"
  rm -rf "$LOGS.old" "$RUN/start" "$PIDS"
  [ ! -e "$LOGS" ] || mv "$LOGS" "$LOGS.old"
  # Objects whose volumes went with the memory of the last boot are of no use.
  if [ -n "$IN_MEMORY" ] && [ ! -e "$RUN/in-memory" ] && [ -d "$RUN/etcd" ]; then
    say "there is a cluster on disk: it stays there (down --purge removes it)"
  elif [ -n "$IN_MEMORY" ]; then
    touch "$RUN/in-memory"
    fresh_state
  elif [ -e "$RUN/in-memory" ]; then
    fresh_state
    rm "$RUN/in-memory"
  fi
  mkdir -p "$LOGS"
  mkfifo "$RUN/start"
  # The child must not hold the lock of up.
  setsid unshare --mount --net --pid --fork --kill-child --mount-proc bash "$HERE/lib/inside.sh" \
    </dev/null >"$LOGS/node.log" 2>&1 9>&- &
  pid=$!
  identity "$pid" >"$RUN/holder"
  wait_for_namespace "$pid"
  take_slot "$pid"
  make_pki
  # Whoever reads it knows that network and certificates are there.
  timeout 10 bash -c 'echo "$1" >"$2"' - "$SLOT" "$RUN/start" || die "the node did not start: see $LOGS/node.log"
}

wait_for_namespace() {
  for _ in $(seq 100); do
    [ "$(readlink "/proc/$1/ns/net")" = "$(readlink /proc/self/ns/net)" ] || return 0
    sleep 0.05
  done
  die "the node did not start: see $LOGS/node.log"
}

wait_ready() {
  local begin=$SECONDS
  while [ ! -e "$RUN/ready" ]; do
    holder >/dev/null || die "the node ended: see $LOGS/node.log"
    [ $((SECONDS - begin)) -lt 180 ] || die "not ready after 180 s: see $LOGS"
    sleep 0.1
  done
}

answers() { "$(kubectl_path)" --kubeconfig "$RUN/admin.conf" --request-timeout=5s get --raw /readyz >/dev/null 2>&1; }

kubectl_path() { command -v kubectl || echo "$(part kubernetes)/kubectl"; }
