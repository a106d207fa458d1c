# shellcheck shell=bash
# How long the stages of a run and its tests took.

STAGES=()
STAGE=
STAGE_BEGAN=0

# stage NAME : ends the one before
stage() {
  end_stage
  STAGE=$1
  STAGE_BEGAN=$SECONDS
  printf '\n== %s (after %d s)\n' "$1" "$SECONDS"
}

end_stage() {
  [ -z "$STAGE" ] || STAGES+=("$((SECONDS - STAGE_BEGAN)) $STAGE")
  STAGE=
}

print_stages() {
  local line
  printf '\n== time of each stage\n'
  for line in "${STAGES[@]}"; do
    printf '%6d s  %s\n' "${line%% *}" "${line#* }"
  done
  printf '%6d s  in all\n' "$SECONDS"
}

# slowest_tests LOG : the 20 slowest. A test on the cluster may wait while another has it to itself: that is the other's
# time.
slowest_tests() {
  printf '\n== the 20 slowest tests\n'
  awk '
    match($0, /^waited [0-9.]+ s for the cluster: /) { waited[substr($0, RLENGTH + 1)] += $2 }
    match($0, /^test .* <[0-9.]+s>$/) { took[$2] = substr($NF, 2) + 0 }
    END { for (test in took) printf "%8.1f s  %s\n", took[test] - waited[test], test }
  ' "$1" | sort -rn | sed -n 1,20p
}
