//! Which functions are scheduling, for all contestants alike by what they do: reading clocks, keeping
//! timers, waiting for readiness, ready queues, waking, parking, and choosing who runs.
//!
//! By the function that a sample is in, not by those that called it. Excepted are helpers which
//! everybody calls, locks and clocks of the kernel and Go's locks above all: they are what their
//! caller is. The kernel's clock takes its samples where interrupts are let in again, so what is done
//! without them falls to such helpers, too. What wraps a system call of a socket is not scheduling.

use kvill_tests::bench::profile::KERNEL_ADDRESS;

/// The kernel's, by how their names begin.
const KERNEL: &[&str] = &[
    // epoll, eventfd, timerfd.
    "ep_",
    "__ep_",
    "do_epoll",
    "__x64_sys_epoll",
    "__do_sys_epoll",
    "eventfd_",
    "timerfd_",
    // Futexes.
    "futex_",
    "__futex_",
    "do_futex",
    "__x64_sys_futex",
    // Who runs next, and waking.
    "schedule",
    "__schedule",
    "pick_next_",
    "pick_task",
    "pick_eevdf",
    "__pick_eevdf",
    "enqueue_task",
    "enqueue_entity",
    "__enqueue_entity",
    "enqueue_hrtimer",
    "dequeue_task",
    "dequeue_entit",
    "__dequeue_entity",
    "try_to_wake_up",
    "ttwu_",
    "select_task_rq",
    "select_idle",
    "update_curr",
    "update_load_avg",
    "__update_load_avg",
    "update_rq_clock",
    "update_se",
    "finish_task_switch",
    "__switch_to",
    "switch_mm",
    "prepare_task_switch",
    "set_next_",
    "put_prev_",
    "reweight_",
    "place_entity",
    "resched_",
    "wake_up",
    "__wake_up",
    "autoremove_wake",
    "default_wake",
    "prepare_to_wait",
    "finish_wait",
    "sched_",
    "psi_",
    "avg_vruntime",
    "wakeup_preempt",
    // Timers of sleepers.
    "hrtimer_",
    "__hrtimer_",
    "timerqueue_",
    "tick_nohz",
    "clockevents_",
];

/// Of the kernel: what their caller is, by how their names begin.
const KERNEL_HELPERS: &[&str] = &[
    "_raw_",
    "__raw_",
    "native_queued_spin",
    "queued_spin",
    "ktime_get",
    "read_tsc",
    "native_sched_clock",
    "sched_clock",
    "kvm_clock",
    "pvclock_",
    "native_write_msr",
    "lapic_next",
    "__rcu_read",
    "rcu_read",
];

/// Of Rust programs and their C library, by a part of their names that begins where a word does.
const RUST: &[&str] = &[
    // Runtimes, and what they are made of.
    "mio::",
    "polling::",
    "async_io::",
    "async_executor::",
    "async_task::",
    "async_channel::",
    "concurrent_queue::",
    "event_listener::",
    "parking::",
    "futures_lite::",
    "smol::",
    "tokio::",
    "std::sys::sync",
    "std::sync::mpsc",
    "std::sync::poison::mutex",
    "std::sync::mutex",
    "epoll_wait",
    "epoll_ctl",
    "epoll::wait",
    "eventfd",
    "pthread_cond",
    "pthread_mutex",
    "__pthread_mutex",
    "___pthread_mutex",
    // Clocks.
    "std::time::",
    "std::sys::time",
    "std::sys::pal::unix::time",
    "clock_gettime",
    "__vdso_clock_gettime",
    "__clock_gettime",
    // This project's: loops, timers, waking, and who is due.
    "kvill_mio::reactor",
    "kvill_smol::reactor",
    "kvill_host::wake",
    "kvill_host::timers",
    "kvill_host::engine::Engine",
    "kvill_core::time::",
    "kvill_core::server::Server::poll_timeout",
    "kvill_core::server::Server>::poll_timeout",
    "kvill_core::stream::audience",
    // The loops of this benchmark.
    "scheduler::loops::",
];

/// What they do not mean, by any part of the name: what wraps a system call of a socket, and work
/// that has the name of a runtime in its own.
const NOT_RUST: &[&str] = &["::net::udp::", "quinn_udp", "scheduler::tasks::"];

/// Of the Go runtime, by how their names go on after `runtime.`.
const GO: &[&str] = &[
    "schedule",
    "findRunnable",
    "stealWork",
    "runq",
    "globrunq",
    "futex",
    "netpoll",
    "epoll",
    "gopark",
    "goready",
    "ready",
    "mcall",
    "park",
    "execute",
    "casgstatus",
    "casGToPreempt",
    "wakep",
    "startm",
    "stopm",
    "mPark",
    "notesleep",
    "notetsleep",
    "notewakeup",
    "noteclear",
    "selectgo",
    "sellock",
    "selunlock",
    "chan",
    "send",
    "recv",
    "sudog",
    "acquireSudog",
    "releaseSudog",
    "checkTimers",
    "timer",
    "(*timer",
    "gogo",
    "goexit",
    "gosched",
    "newproc",
    "pidle",
    "resetspinning",
    "injectglist",
    "entersyscall",
    "exitsyscall",
    "reentersyscall",
    "handoffp",
    "retake",
    "sema",
    "sysmon",
    "nanotime",
    "asyncPreempt",
    "mstart",
    "walltime",
    "time_now",
    "poll_runtime",
    "vdso",
];

/// Of Go's other packages, by how their names begin.
const GO_PACKAGES: &[&str] = &[
    "sync.(*Mutex)",
    "sync.(*RWMutex)",
    "sync.(*Cond)",
    "sync.(*WaitGroup)",
    "sync.runtime_",
    "internal/sync.(*Mutex)",
    "internal/sync.runtime_",
    "internal/poll.(*fdMutex)",
    "internal/poll.(*pollDesc)",
    "internal/poll.runtime_",
    "time.Now",
    "time.now",
    "time.(*Timer)",
    "time.runtimeNow",
];

/// Of the Go runtime: what their caller is, for its allocator calls them, too. After `runtime.`.
const GO_HELPERS: &[&str] = &[
    "lock",
    "unlock",
    "(*mutex",
    "mutex",
    "osyield",
    "procyield",
    "usleep",
    "systemstack",
];

/// The function that makes a sample one of scheduling, if there is one. A sample is a stack: lines of
/// an address and a name, the innermost first.
pub(super) fn scheduling(sample: &str) -> Option<&str> {
    let lines = sample.lines();
    let mut functions = lines.filter_map(|line| line.trim().split_once(' '));
    let (address, function) =
        functions.find(|(address, function)| !is_helper(address, function))?;
    is_listed(address, function).then_some(function)
}

/// What it is, its caller is.
fn is_helper(address: &str, function: &str) -> bool {
    let (list, name) = match function.strip_prefix("runtime.") {
        _ if address.starts_with(KERNEL_ADDRESS) => (KERNEL_HELPERS, function),
        Some(go) => (GO_HELPERS, go),
        None => return false,
    };
    list.iter().any(|begin| name.starts_with(begin))
}

fn is_listed(address: &str, function: &str) -> bool {
    let begins = |list: &[&str], name: &str| list.iter().any(|begin| name.starts_with(begin));
    if address.starts_with(KERNEL_ADDRESS) {
        return begins(KERNEL, function);
    }
    if let Some(go) = function.strip_prefix("runtime.") {
        return begins(GO, go);
    }
    let is_word = |part: &str| {
        let mut places = function.match_indices(part);
        let is_begin = |at| !function[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_');
        places.any(|(at, _)| is_begin(at))
    };
    let is_excepted = NOT_RUST.iter().any(|part| function.contains(part));
    begins(GO_PACKAGES, function) || !is_excepted && RUST.iter().any(|part| is_word(part))
}
