#!/bin/bash
set -euo pipefail
. /usr/local/lib/entrypoint/common.sh

case ${1:-mariadbd} in
-*) set -- mariadbd "$@" ;;
mariadbd) [ $# -gt 0 ] || set -- mariadbd ;;
*) exec "$@" ;;
esac

file_env MARIADB_ROOT_PASSWORD
file_env MARIADB_DATABASE
file_env MARIADB_USER
file_env MARIADB_PASSWORD
datadir=/var/lib/mysql
socket=/run/mysqld/mysqld.sock

mkdir -p "$datadir" /run/mysqld
chown -R mysql:mysql "$datadir" /run/mysqld
cd /

quoted() { printf "'%s'" "${1//\'/\'\'}"; }

accounts() {
  local root
  root=$(quoted "$MARIADB_ROOT_PASSWORD")
  echo "SET @@SESSION.SQL_LOG_BIN=0;"
  # The installer makes more of root than the one at localhost, without passwords.
  echo "DROP USER IF EXISTS 'root'@'127.0.0.1', 'root'@'::1';"
  echo "EXECUTE IMMEDIATE CONCAT('DROP USER IF EXISTS root@''', @@hostname, '''');"
  echo "CREATE USER 'root'@'%' IDENTIFIED BY $root;"
  echo "GRANT ALL ON *.* TO 'root'@'%' WITH GRANT OPTION;"
  if [ -n "$MARIADB_DATABASE" ]; then
    echo "CREATE DATABASE IF NOT EXISTS \`$MARIADB_DATABASE\`;"
  fi
  if [ -n "$MARIADB_USER" ] && [ -n "$MARIADB_PASSWORD" ]; then
    echo "CREATE USER $(quoted "$MARIADB_USER")@'%' IDENTIFIED BY $(quoted "$MARIADB_PASSWORD");"
    if [ -n "$MARIADB_DATABASE" ]; then
      echo "GRANT ALL ON \`$MARIADB_DATABASE\`.* TO $(quoted "$MARIADB_USER")@'%';"
    fi
  fi
  echo "ALTER USER 'root'@'localhost' IDENTIFIED BY $root;"
}

# A server without a network makes the accounts, so that no probe takes it for the real one.
initialize() {
  [ -n "$MARIADB_ROOT_PASSWORD" ] || die "MARIADB_ROOT_PASSWORD is not set"
  mariadb-install-db --user=mysql --datadir="$datadir" --skip-test-db --auth-root-authentication-method=normal \
    --skip-name-resolve >/dev/null
  mariadbd --user=mysql --datadir="$datadir" --skip-networking --skip-log-bin --socket="$socket" &
  local server=$!
  for _ in $(seq 300); do
    mariadb-admin --user=root --socket="$socket" ping >/dev/null 2>&1 && break
    sleep 0.1
  done
  accounts | mariadb --user=root --socket="$socket"
  kill "$server"
  wait "$server"
}

[ -d "$datadir/mysql" ] || initialize
unset MARIADB_ROOT_PASSWORD MARIADB_PASSWORD
run_as mysql "$@"
