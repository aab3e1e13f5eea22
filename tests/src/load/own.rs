//! What this program itself takes of the machine.

use std::fs;
use std::time::Duration;

/// CPU time of the thread that asks, so far. `None`: the system does not tell.
pub(super) fn thread_cpu() -> Option<Duration> {
    used("/proc/thread-self/schedstat")
}

/// CPU time of all threads that run, so far.
pub(super) fn process_cpu() -> Option<Duration> {
    let threads = fs::read_dir("/proc/self/task").ok()?;
    let paths = threads.filter_map(|thread| Some(thread.ok()?.path().join("schedstat")));
    // A thread may end at any moment.
    Some(paths.filter_map(|path| used(path.to_str()?)).sum())
}

fn used(schedstat: &str) -> Option<Duration> {
    let told = fs::read_to_string(schedstat).ok()?;
    let nanoseconds = told.split(' ').next()?.parse().ok()?;
    Some(Duration::from_nanos(nanoseconds))
}

/// Raises the number of files that this process may have open to what the system lets it, and gives
/// that number. Every viewer has a socket. `None`: the system sets no such limit.
///
/// # Errors
/// What the system says.
#[cfg(unix)]
pub(crate) fn raise_file_limit() -> std::io::Result<Option<u64>> {
    use rustix::process::{Resource, getrlimit, setrlimit};

    let mut limit = getrlimit(Resource::Nofile);
    if limit.current != limit.maximum {
        limit.current = limit.maximum;
        setrlimit(Resource::Nofile, limit)?;
    }
    Ok(limit.current)
}

/// There is no such limit.
#[cfg(not(unix))]
pub(crate) fn raise_file_limit() -> std::io::Result<Option<u64>> {
    Ok(None)
}
