//! Faults on demand, for the tests on a cluster. In release builds there are none.

/// Ends this process by SIGKILL once the journal has this many entries, if a test asked for it.
#[cfg(debug_assertions)]
pub(crate) fn die_at(entries: usize) {
    let at = std::env::var("CONSISTENT_BACKUP_TEST_DIE_AT").ok().and_then(|n| n.parse().ok());
    if at.is_some_and(|at: usize| entries >= at) {
        die();
    }
}

/// Ends this process by SIGKILL.
#[cfg(debug_assertions)]
pub(crate) fn die() {
    // No library call kills a process without any of its clean-up; the shell's does.
    let pid = std::process::id().to_string();
    let _ = std::process::Command::new("kill").args(["-KILL", &pid]).status();
}

/// Whether a test takes the flush out, to see that rows are lost then.
#[cfg(debug_assertions)]
pub(crate) fn skip_flush() -> bool {
    std::env::var_os("CONSISTENT_BACKUP_TEST_SKIP_FLUSH").is_some()
}

#[cfg(not(debug_assertions))]
pub(crate) fn die_at(_: usize) {}

#[cfg(not(debug_assertions))]
pub(crate) fn skip_flush() -> bool {
    false
}
