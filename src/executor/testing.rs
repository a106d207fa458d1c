//! Faults on demand, for the tests on a cluster. In release builds there are none.

/// Once the journal has this many entries and had so many before: ends this process by SIGKILL or stops it, if a test
/// asked for that.
#[cfg(debug_assertions)]
pub(crate) fn entered(before: usize, entries: usize) {
    let number = |name: &str| std::env::var(name).ok().and_then(|n| n.parse::<usize>().ok());
    if number("CONSISTENT_BACKUP_TEST_DIE_AT").is_some_and(|at| entries >= at) {
        signal("-KILL");
    }
    if number("CONSISTENT_BACKUP_TEST_STOP_AT").is_some_and(|at| before < at && at <= entries) {
        signal("-STOP");
    }
}

/// Sends this process a signal.
#[cfg(debug_assertions)]
pub(crate) fn signal(name: &str) {
    // No library call kills a process without any of its clean-up; the shell's does.
    let pid = std::process::id().to_string();
    let _ = std::process::Command::new("kill").args([name, &pid]).status();
}

/// Whether a test takes the flush out, to see that rows are lost then.
#[cfg(debug_assertions)]
pub(crate) fn skip_flush() -> bool {
    std::env::var_os("CONSISTENT_BACKUP_TEST_SKIP_FLUSH").is_some()
}

#[cfg(not(debug_assertions))]
pub(crate) fn entered(_: usize, _: usize) {}

#[cfg(not(debug_assertions))]
pub(crate) fn skip_flush() -> bool {
    false
}
