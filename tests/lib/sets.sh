# shellcheck shell=bash
# The long sets. CI runs a sample of each; one of them takes an hour at most, so that it can be run in one sitting.

FAULTS=(die lost hang unsent 500 409 429)
SETS=(backups restores outages bank-mixed bank-postgres kills
  "${FAULTS[@]/#/sweep-}" "${FAULTS[@]/#/scalar-}"
  restore-struck undo-struck "${FAULTS[@]/#/restore-}" "${FAULTS[@]/#/undo-}")

# After so many minutes a row of runs stops, and tells where the next sitting goes on.
export CONSISTENT_BACKUP_MINUTES=${CONSISTENT_BACKUP_MINUTES:-55}

# read_set NAME[@N] : TESTS, VARIABLES and PROVES of the set
read_set() {
  local name=${1%@*} kind from=
  kind=${name#*-}
  case $1 in *@*) from=@${1#*@} ;; esac
  VARIABLES=()
  case $name in
    backups)
      TESTS=(consistency:: durability:: two_postgres:: cold:: faults:: scalar:: scalar_faults::)
      PROVES="20 backups under load of all databases, of each alone, of each setting that needs a flush, of releases; every cold one killed" ;;
    restores)
      TESTS=(restore:: workloads:: undo:: scalar_restore::)
      PROVES="20 restores in place under load, taken back at every moment, of every kind of workload and release" ;;
    outages)
      TESTS=(outages::)
      PROVES="every outage of a part of the cluster" ;;
    bank-*)
      TESTS=(bank::) VARIABLES=("CONSISTENT_BACKUP_BANK=$kind")
      PROVES="50 backups of a bank that moves money between databases ($kind): every copy true at one moment" ;;
    kills)
      TESTS=(kills::)
      PROVES="a backup killed, stopped and cut off for a minute after each event of its journal, and killed at 20 random times" ;;
    sweep-*)
      TESTS=(sweep::) VARIABLES=("CONSISTENT_BACKUP_FAULTS=$kind$from")
      PROVES="each request of a backup broken: $kind" ;;
    scalar-*)
      TESTS=(scalar_struck::) VARIABLES=("CONSISTENT_BACKUP_FAULTS=$kind$from")
      PROVES="a window over a release killed after each event, and each request of it broken: $kind" ;;
    restore-struck | undo-struck)
      TESTS=(restore_blows::a_restore_survives_being_killed_and_stopped) VARIABLES=("CONSISTENT_BACKUP_COURSE=${name%%-*}")
      PROVES="a run of ${name%%-*} killed and stopped after each event of its journal" ;;
    restore-* | undo-*)
      TESTS=(restore_blows::a_restore_survives_any_broken_request)
      VARIABLES=("CONSISTENT_BACKUP_COURSE=${name%%-*}" "CONSISTENT_BACKUP_FAULTS=$kind$from")
      PROVES="each request of a run of ${name%%-*} broken: $kind" ;;
  esac
}

known_set() {
  local name
  for name in "${SETS[@]}"; do
    [ "$name" != "${1%@*}" ] || return 0
  done
  echo "tests/run: there is no set \`$1\`; tests/run --full lists them" >&2
  return 1
}

# list_sets : each with what it proves and how long it took last
list_sets() {
  local name
  printf '%-15s %-32s %s\n' SET "LAST RUN HERE" PROVES
  for name in "${SETS[@]}"; do
    read_set "$name"
    printf '%-15s %-32s %s\n' "$name" "$(last_run "$name")" "$PROVES"
  done
}

# last_run NAME : minutes, commit, day and end of its last run on this machine
last_run() {
  local last
  last=$(grep "^$1 " "$CACHE/sets.last" 2>/dev/null | tail -n 1)
  echo "${last:+${last#"$1 "}}"
}

run_set() {
  local begun=$SECONDS end=passed failed=0
  read_set "$1"
  env CONSISTENT_BACKUP_FULL=1 "${VARIABLES[@]}" \
    cargo test --test on_cluster -- --nocapture --test-threads=3 "${TIMED[@]}" "${TESTS[@]}" || failed=$?
  [ $failed = 0 ] || end=failed
  printf '%s %d min, %s, %s, %s\n' "$1" $(((SECONDS - begun + 59) / 60)) "$(git rev-parse --short HEAD)" \
    "$(date +%F)" "$end" >>"$CACHE/sets.last"
  return $failed
}
