# shellcheck shell=bash
# What the machine itself must offer.

PACKAGES=(btrfs-progs ca-certificates conntrack containerd containernetworking-plugins curl debootstrap
  default-jre-headless e2fsprogs ethtool etcd-server faketime iproute2 iptables kmod maven openssl procps runc socat
  util-linux xfsprogs)
COMMANDS=(btrfs conntrack containerd ctr curl debootstrap mkfs.btrfs mkfs.ext4 mkfs.xfs resize2fs e2fsck
  ethtool etcd faketime ip iptables-restore java mvn openssl ps runc socat nsenter unshare losetup)

missing_commands() {
  local command
  for command in "${COMMANDS[@]}"; do
    command -v "$command" >/dev/null || echo "$command"
  done
  [ -x /usr/lib/cni/bridge ] || echo /usr/lib/cni/bridge
}

need_packages() {
  [ "$(id -u)" = 0 ] || die "needs root: it mounts, and starts containers"
  command -v go >/dev/null || die "needs Go 1.26 or later: https://go.dev/dl"
  local missing
  missing=$(missing_commands)
  [ -n "$missing" ] || return 0
  if command -v apt-get >/dev/null; then
    say "installing Debian packages, for want of: ${missing//$'\n'/ }"
    # Without the folder Java's package fails on a machine without manuals.
    mkdir -p /usr/share/man/man1
    { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
      "${PACKAGES[@]}"; } </dev/null >&2 9>&- || true
    missing=$(missing_commands)
  fi
  [ -z "$missing" ] || die "missing: ${missing//$'\n'/ } - install (names of Debian): ${PACKAGES[*]}"
}
