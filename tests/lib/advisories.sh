# shellcheck shell=bash
# Known vulnerabilities of the dependencies. The database comes from the network, which not every machine has: then the
# last one that was fetched is used, or none, and the day of the database is printed.

# check_advisories CARGO-DENY
check_advisories() {
  local deny=$1 fetched=yes database
  # Its exit code alone decides. What it says of a network that is not there would only look like a failure of the run.
  timeout 120 "$deny" --log-level off fetch db >/dev/null 2>&1 || fetched=
  database=$(advisory_database)
  if [ -z "$database" ]; then
    echo "advisories: the database could not be fetched, and there is none from before: nothing was checked"
    return 0
  fi
  local day when="fetched now"
  [ -n "$fetched" ] || when="the last that was fetched: now it could not be"
  day=$(git -C "$database" log -1 --format=%cs)
  echo "advisories: database of $day ($when)"
  "$deny" --log-level error --offline check advisories
}

# advisory_database : the folder of the database, if one was ever fetched whole
advisory_database() {
  local folder
  for folder in "${CARGO_HOME:-$HOME/.cargo}"/advisory-dbs/*/; do
    if [ -e "$folder/.git" ] && git -C "$folder" rev-parse --verify --quiet HEAD >/dev/null 2>&1; then
      echo "$folder"
      return 0
    fi
  done
}
