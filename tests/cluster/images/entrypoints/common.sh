# shellcheck shell=bash
# Sourced by the entry points, which take the variables of the official images.

# file_env NAME [DEFAULT]: NAME, or the content of the file that NAME_FILE names.
file_env() {
  local name=$1 file="$1_FILE"
  if [ -n "${!file:-}" ]; then
    export "$name=$(<"${!file}")"
  else
    export "$name=${!name:-${2:-}}"
  fi
  unset "$file"
}

# The image keeps its server at PID 1, under its own user.
run_as() {
  local user=$1
  shift
  exec setpriv --reuid="$user" --regid="$user" --init-groups -- "$@"
}

die() {
  echo "entrypoint: $*" >&2
  exit 1
}
