# shellcheck shell=bash
# Images without a registry: a Debian base layer, a layer of our own files, and
# a docker-archive made by hand that containerd imports.

# Empty: the one that debootstrap knows.
DEBIAN_MIRROR=${DEBIAN_MIRROR:-}
BASE_PACKAGES=(postgresql-15 mariadb-server mariadb-client redis-server redis-tools procps util-linux)
# PostgreSQL does without its JIT compiler when the library is missing.
BASE_TRIM=(var/cache/apt var/lib/apt var/log var/lib/mysql var/lib/postgresql/15 usr/share/doc usr/share/man
  usr/share/info usr/share/locale usr/share/i18n etc/mysql/mariadb.conf.d/50-server.cnf
  usr/lib/x86_64-linux-gnu/libLLVM-14.so.1 usr/lib/x86_64-linux-gnu/libz3.so.4
  usr/lib/postgresql/15/lib/llvmjit.so usr/lib/postgresql/15/lib/bitcode
  usr/bin/aria_read_log usr/bin/aria_pack usr/bin/aria_ftdump usr/bin/aria_dump_log usr/bin/myisampack
  usr/bin/myisam_ftdump usr/bin/myisamlog usr/bin/mariadb-slap usr/bin/mariadb-import usr/bin/mariadb-upgrade
  usr/bin/mariadb-plugin usr/bin/mariadb-conv usr/bin/innochecksum usr/bin/perror)

build_base() {
  local root=$OUT/rootfs
  mkdir -p "$BUILD/debs"
  debootstrap --variant=minbase --cache-dir="$BUILD/debs" --include="$(IFS=,; echo "${BASE_PACKAGES[*]}")" \
    bookworm "$root" ${DEBIAN_MIRROR:+"$DEBIAN_MIRROR"} </dev/null
  (cd "$root" && rm -rf "${BASE_TRIM[@]}" && mkdir -p var/log var/lib/mysql var/lib/postgresql data log)
  # debootstrap takes over the machine's own names.
  : >"$root/etc/resolv.conf"
  echo localhost >"$root/etc/hostname"
  tar -C "$root" --numeric-owner --sort=name -cf "$OUT/base.tar" .
  rm -rf "$root"
}

build_images() {
  local work=$OUT/work root=$OUT/work/root
  mkdir -p "$root"/usr/local/{bin,lib/entrypoint} "$root/etc/mysql/mariadb.conf.d" "$work/pause"
  (
    cd "$HERE/images" || exit
    export CGO_ENABLED=0
    go build -trimpath -buildvcs=false -ldflags '-s -w' -o "$root/usr/local/bin/" ./writer ./scalar-standin
    go build -trimpath -buildvcs=false -ldflags '-s -w' -o "$work/pause/" ./pause
  )
  ln -s scalar-standin "$root/usr/local/bin/grpc_health_probe"
  install -m 755 "$HERE"/images/entrypoints/*-entrypoint.sh "$root/usr/local/bin/"
  install -m 644 "$HERE/images/entrypoints/common.sh" "$root/usr/local/lib/entrypoint/"
  install -m 644 "$HERE/images/etc-mariadb.cnf" "$root/etc/mysql/mariadb.conf.d/50-server.cnf"

  layer "$work/files.tar" "$root"
  layer "$work/pause.tar" "$work/pause"
  ln -s "$BASE/base.tar" "$work/base.tar"
  local base
  base=sha256:$(sha256sum "$work/base.tar" | cut -d' ' -f1)

  local manifests=()
  image postgres postgres:15 postgres-entrypoint.sh SIGINT PGDATA=/var/lib/postgresql/data
  image mariadb mariadb:10.11 mariadb-entrypoint.sh SIGTERM
  image redis redis:7 redis-entrypoint.sh SIGTERM
  image writer writer:1 writer SIGTERM
  image scalar-standin scalar-standin:1 scalar-standin SIGTERM
  pause_image
  (IFS=,; echo "[${manifests[*]}]") >"$work/manifest.json"
  tar -C "$work" --dereference -cf "$OUT/images.tar" \
    manifest.json {postgres,mariadb,redis,writer,scalar-standin,pause}.json base.tar files.tar pause.tar
  rm -rf "$work"
}

layer() {
  tar -C "$2" --owner=0 --group=0 --numeric-owner --sort=name --mtime=@0 -cf "$1" .
}

# image NAME TAG ENTRYPOINT STOPSIGNAL [ENV] : its config, and its part of manifests.
image() {
  local name=$1 tag=$2 entrypoint=$3 signal=$4 env=${5:+,\"$5\"} path files
  # Debian's psql in /usr/bin is a slow wrapper.
  path=/usr/lib/postgresql/15/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
  files=sha256:$(sha256sum "$work/files.tar" | cut -d' ' -f1)
  printf '{"architecture":"amd64","os":"linux","config":{"Entrypoint":["%s"],"Env":["PATH=%s","LANG=C.UTF-8"%s],"StopSignal":"%s"},"rootfs":{"type":"layers","diff_ids":["%s","%s"]}}' \
    "/usr/local/bin/$entrypoint" "$path" "$env" "$signal" "$base" "$files" >"$work/$name.json"
  manifests+=("{\"Config\":\"$name.json\",\"RepoTags\":[\"localhost/$tag\"],\"Layers\":[\"base.tar\",\"files.tar\"]}")
}

pause_image() {
  printf '{"architecture":"amd64","os":"linux","config":{"Entrypoint":["/pause"]},"rootfs":{"type":"layers","diff_ids":["sha256:%s"]}}' \
    "$(sha256sum "$work/pause.tar" | cut -d' ' -f1)" >"$work/pause.json"
  manifests+=('{"Config":"pause.json","RepoTags":["localhost/pause:1"],"Layers":["pause.tar"]}')
}
