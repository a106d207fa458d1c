#!/bin/bash
set -euo pipefail
. /usr/local/lib/entrypoint/common.sh

case ${1:-redis-server} in
-*) set -- redis-server "$@" ;;
redis-server) [ $# -gt 0 ] || set -- redis-server ;;
*) exec "$@" ;;
esac

file_env REDIS_PASSWORD
mkdir -p /data
chown -R redis:redis /data
cd /data

set -- "$@" --dir /data --protected-mode no
if [ -n "$REDIS_PASSWORD" ]; then
  # Not on the command line, where ps shows it.
  install -o redis -g redis -m 600 /dev/null /run/redis.conf
  printf 'requirepass "%s"\n' "$REDIS_PASSWORD" >/run/redis.conf
  shift
  set -- redis-server /run/redis.conf "$@"
fi
unset REDIS_PASSWORD
run_as redis "$@"
