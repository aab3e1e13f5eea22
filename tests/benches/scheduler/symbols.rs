//! Which functions are scheduling: waiting for readiness, timers, waking, and choosing who runs.
//!
//! By the function that a sample is in, not by those that called it: what an interrupt or a lock
//! costs in between is left out, on all sides.

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

/// Of Rust programs and their C library, by any part of their names.
const RUST: &[&str] = &[
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
    "kvill_mio::reactor",
    "kvill_smol::reactor",
    "kvill_host::wake",
    "kvill_host::timers",
    "epoll_wait",
    "pthread_cond",
    "pthread_mutex",
];

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
    "lock",
    "unlock",
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
    "usleep",
    "osyield",
    "procyield",
    "gogo",
    "goexit",
    "gosched",
    "goschedImpl",
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
];

/// Where the kernel's addresses begin.
const KERNEL_ADDRESS: &str = "ffff";

/// This program's own names: the loops and tasks that do the work.
const OWN: &str = "scheduler::";

/// The function of a sample, which is an address and a name, if that is one of scheduling.
pub(super) fn scheduling(sample: &str) -> Option<&str> {
    let (address, function) = sample.trim().split_once(' ')?;
    let is_listed = if address.starts_with(KERNEL_ADDRESS) {
        KERNEL.iter().any(|begin| function.starts_with(begin))
    } else if let Some(go) = function.strip_prefix("runtime.") {
        GO.iter().any(|begin| go.starts_with(begin))
    } else {
        !function.starts_with(OWN) && RUST.iter().any(|part| function.contains(part))
    };
    is_listed.then_some(function)
}
