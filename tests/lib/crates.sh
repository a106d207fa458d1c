# shellcheck shell=bash
# Compiled dependencies, for the next clone. The crate itself is compiled in each clone: Cargo tells its files by their
# times alone, so two clones that shared a folder would test each other's code.

crates_folder() {
  echo "$CACHE/crates-$({ rustc -vV; echo "$RUSTFLAGS"; cat Cargo.toml Cargo.lock; } | sha256sum | cut -c1-16)"
}

# take_crates : into a clone in which nothing was compiled yet
take_crates() {
  local kept
  kept=$(crates_folder)
  if [ -d "$kept" ] && [ ! -d "$CARGO_TARGET_DIR/debug" ]; then
    touch "$kept"
    cp -a "$kept/." "$CARGO_TARGET_DIR/"
  fi
}

# keep_crates : once all is compiled
keep_crates() {
  local kept new
  kept=$(crates_folder)
  [ ! -d "$kept" ] || return 0
  new=$kept.$$
  rm -rf "$new"
  mkdir "$new"
  cp -a "$CARGO_TARGET_DIR"/. "$new/"
  CARGO_TARGET_DIR=$new cargo clean --quiet --package kubectl-consistent-backup
  # Another run may have been first.
  mv -T "$new" "$kept" 2>/dev/null || rm -rf "$new"
  find "$CACHE" -maxdepth 1 -name 'crates-*' -mtime +14 -exec rm -rf {} +
}
