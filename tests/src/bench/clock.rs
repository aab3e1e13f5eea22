//! CPU time, and what the scheduler counts, of threads and processes (Linux).

use std::fs;
use std::time::Duration;

use rustix::thread::gettid;
use rustix::time::{ClockId, clock_gettime};

/// CPU time of the thread that asks.
#[must_use]
pub fn own_cpu() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    let nanos = u32::try_from(time.tv_nsec).unwrap_or_default();
    Duration::new(u64::try_from(time.tv_sec).unwrap_or_default(), nanos)
}

/// What asking costs the asker, by the median of many times.
#[must_use]
pub fn own_cpu_cost() -> Duration {
    let mut costs: Vec<_> = std::iter::repeat_with(|| {
        let before = own_cpu();
        own_cpu() - before
    })
    .take(1001)
    .collect();
    costs.sort_unstable();
    costs[costs.len() / 2]
}

/// A thread of this process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Thread {
    id: i32,
}

impl Thread {
    /// The one that asks.
    #[must_use]
    pub fn current() -> Self {
        let id = gettid().as_raw_nonzero().get();
        Self { id }
    }

    /// The threads whose name begins so, which the system cuts at 15 bytes.
    ///
    /// # Panics
    ///
    /// If the system does not tell.
    #[must_use]
    pub fn named(name: &str) -> Vec<Self> {
        let threads = fs::read_dir("/proc/self/task").expect("a process has threads");
        let ids = threads.filter_map(|thread| thread.ok()?.file_name().to_str()?.parse().ok());
        let is_named = |thread: &Self| {
            thread
                .read("comm")
                .is_some_and(|own| own.starts_with(&name[..name.len().min(15)]))
        };
        ids.map(|id| Self { id }).filter(is_named).collect()
    }

    /// As the system counts it.
    #[must_use]
    pub fn id(&self) -> i32 {
        self.id
    }

    /// CPU time so far. That of a thread that runs may be old by a tick of the scheduler.
    #[must_use]
    pub fn cpu(&self) -> Duration {
        let told = self.read("schedstat").unwrap_or_default();
        nanoseconds(&told)
    }

    /// It waits for something.
    #[must_use]
    pub fn is_asleep(&self) -> bool {
        let told = self.read("stat").unwrap_or_default();
        // The name before may have blanks and brackets.
        told.rsplit_once(") ")
            .is_some_and(|(_, rest)| rest.starts_with('S'))
    }

    fn read(&self, file: &str) -> Option<String> {
        fs::read_to_string(format!("/proc/self/task/{}/{file}", self.id)).ok()
    }
}

/// What the scheduler has counted of all threads of a process.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// Time on a CPU.
    pub cpu: Duration,
    /// How often a thread went to sleep, so about how often one was woken.
    pub sleeps: u64,
    /// How often a thread had to make room for another.
    pub preemptions: u64,
}

impl Usage {
    /// Of a process so far. Threads that have ended are not in it.
    ///
    /// # Panics
    ///
    /// If there is no such process.
    #[must_use]
    pub fn of_process(pid: u32) -> Self {
        let threads = fs::read_dir(format!("/proc/{pid}/task")).expect("a process that runs");
        let mut usage = Self::default();
        for thread in threads.filter_map(Result::ok) {
            // A thread may end at any moment.
            let read = |file| fs::read_to_string(thread.path().join(file)).unwrap_or_default();
            usage.cpu += nanoseconds(&read("schedstat"));
            let status = read("status");
            let count = |name: &str| {
                let mut lines = status.lines();
                let line = lines.find_map(|line| line.strip_prefix(name));
                line.and_then(|count| count.trim().parse::<u64>().ok())
            };
            usage.sleeps += count("voluntary_ctxt_switches:").unwrap_or_default();
            usage.preemptions += count("nonvoluntary_ctxt_switches:").unwrap_or_default();
        }
        usage
    }

    /// What came since then.
    #[must_use]
    pub fn since(self, before: Self) -> Self {
        Self {
            cpu: self.cpu.saturating_sub(before.cpu),
            sleeps: self.sleeps.saturating_sub(before.sleeps),
            preemptions: self.preemptions.saturating_sub(before.preemptions),
        }
    }
}

/// Memory of a process that is resident and its own, in bytes.
///
/// # Panics
///
/// If there is no such process.
#[must_use]
pub fn resident(pid: u32) -> u64 {
    1024 * kilobytes(&format!("/proc/{pid}/smaps_rollup"), "Private_Dirty:")
}

/// How many bytes of this process are in pages that `what` touches.
///
/// # Panics
///
/// If the system does not tell.
pub fn touched(what: impl FnOnce()) -> u64 {
    fs::write("/proc/self/clear_refs", "1").expect("a process may forget of itself");
    what();
    1024 * kilobytes("/proc/self/smaps_rollup", "Referenced:")
}

fn kilobytes(file: &str, name: &str) -> u64 {
    let told = fs::read_to_string(file).expect("the system tells of memory");
    let line = told.lines().find_map(|line| line.strip_prefix(name));
    let number = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse().ok());
    number.unwrap_or_else(|| panic!("no {name} in {told}"))
}

/// The first figure of `schedstat`: time on a CPU.
fn nanoseconds(schedstat: &str) -> Duration {
    let first = schedstat.split(' ').next().map(str::parse);
    Duration::from_nanos(first.and_then(Result::ok).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use std::hint::black_box;
    use std::sync::mpsc;
    use std::thread;

    use super::*;

    #[test]
    fn work_shows_in_all_clocks() {
        let own = Thread::current();
        let before = (own_cpu(), Usage::of_process(std::process::id()).cpu);
        while own_cpu() - before.0 < Duration::from_millis(20) {
            black_box(0);
        }
        let enough = Duration::from_millis(10);
        assert!(own.cpu() >= enough);
        assert!(Usage::of_process(std::process::id()).cpu - before.1 >= enough);
    }

    #[test]
    fn a_thread_is_found_by_its_name_and_seen_asleep() {
        let (stop, stopped) = mpsc::channel::<()>();
        let (up, is_up) = mpsc::channel();
        let sleeper = thread::Builder::new().name("a (tired) one".to_owned());
        let sleeper = sleeper.spawn(move || {
            up.send(Thread::current()).expect("somebody waits");
            let _ = stopped.recv();
        });
        let thread = is_up.recv().expect("it started");
        assert_eq!(Thread::named("a (tired) one"), [thread]);
        while !thread.is_asleep() {
            thread::yield_now();
        }
        assert!(!Thread::current().is_asleep());
        drop(stop);
        sleeper.expect("a thread").join().expect("it ends");
    }
}
