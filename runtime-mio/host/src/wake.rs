//! What ends the sleep of a loop.
//!
//! Other threads and wakers post something for the loop, then wake it. A wake-up costs a system
//! call only while the loop sleeps: from the loop's own thread it never does.

use std::collections::VecDeque;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Wake, Waker};

/// Wakes a loop, if it sleeps.
#[derive(Debug)]
pub struct LoopWaker {
    asleep: AtomicBool,
    waker: Waker,
}

impl LoopWaker {
    /// For a loop whose sleep `waker` ends.
    #[must_use]
    pub fn new(waker: Waker) -> Arc<Self> {
        Arc::new(Self {
            asleep: AtomicBool::new(false),
            waker,
        })
    }

    /// To be called once what the loop shall find is in its place.
    pub fn wake(&self) {
        if self.asleep.swap(false, Ordering::SeqCst) {
            self.waker.wake_by_ref();
        }
    }

    /// The loop is about to sleep: from now on waking wakes it. What was posted before is to be
    /// looked for after this call.
    pub fn fall_asleep(&self) {
        self.asleep.store(true, Ordering::SeqCst);
    }

    /// The loop is up again.
    pub fn rise(&self) {
        self.asleep.store(false, Ordering::SeqCst);
    }
}

/// The connections that are to be polled.
#[derive(Debug)]
pub(crate) struct ReadyQueue {
    ready: Mutex<VecDeque<Arc<Ticket>>>,
    waker: Arc<LoopWaker>,
}

/// One connection's place in the queue, and what puts it there.
pub(crate) struct Ticket {
    key: usize,
    queued: AtomicBool,
    queue: Arc<ReadyQueue>,
}

impl fmt::Debug for Ticket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ticket")
            .field("key", &self.key)
            .field("queued", &self.queued)
            .finish_non_exhaustive()
    }
}

impl ReadyQueue {
    /// An empty queue of a loop.
    pub(crate) fn new(waker: Arc<LoopWaker>) -> Arc<Self> {
        Arc::new(Self {
            ready: Mutex::default(),
            waker,
        })
    }

    /// What queues the connection `key`.
    pub(crate) fn ticket(self: &Arc<Self>, key: usize) -> Arc<Ticket> {
        Arc::new(Ticket {
            key,
            queued: AtomicBool::new(false),
            queue: Arc::clone(self),
        })
    }

    /// Takes what is queued, at most `count_max` of it: each connection once, the first queued
    /// first.
    pub(crate) fn take(&self, count_max: usize) -> Vec<usize> {
        let mut ready = self.lock();
        let count = ready.len().min(count_max);
        ready
            .drain(..count)
            .map(|ticket| {
                ticket.queued.store(false, Ordering::Release);
                ticket.key
            })
            .collect()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.lock().is_empty()
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Arc<Ticket>>> {
        self.ready.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Ticket {
    /// Whether the connection is about to be polled.
    pub(crate) fn is_queued(&self) -> bool {
        self.queued.load(Ordering::Acquire)
    }
}

impl Wake for Ticket {
    fn wake(self: Arc<Self>) {
        if self.queued.swap(true, Ordering::AcqRel) {
            return;
        }
        let queue = Arc::clone(&self.queue);
        queue.lock().push_back(self);
        queue.waker.wake();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use super::*;

    #[derive(Default)]
    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn queue() -> Arc<ReadyQueue> {
        ReadyQueue::new(LoopWaker::new(Waker::noop().clone()))
    }

    #[test]
    fn a_connection_is_queued_once_however_often_it_is_woken() {
        let queue = queue();
        let (first, second) = (queue.ticket(1), queue.ticket(2));
        first.wake_by_ref();
        second.wake_by_ref();
        first.wake_by_ref();
        assert!(first.is_queued());
        assert_eq!(queue.take(9), [1, 2]);
        assert!(queue.is_empty() && !first.is_queued());
        first.wake_by_ref();
        assert_eq!(queue.take(9), [1]);
    }

    #[test]
    fn what_is_above_the_budget_stays_queued_and_goes_first() {
        let queue = queue();
        let tickets: Vec<_> = (0..3).map(|key| queue.ticket(key)).collect();
        tickets.iter().for_each(Wake::wake_by_ref);
        assert_eq!(queue.take(2), [0, 1]);
        assert!(!queue.is_empty());
        tickets[0].wake_by_ref();
        assert_eq!(queue.take(2), [2, 0]);
    }

    #[test]
    fn only_a_sleeping_loop_is_woken_and_only_once() {
        let count = Arc::new(Count::default());
        let waker = LoopWaker::new(Waker::from(Arc::clone(&count)));
        let ticket = ReadyQueue::new(Arc::clone(&waker)).ticket(1);
        ticket.wake_by_ref();
        assert_eq!(count.0.load(Ordering::Relaxed), 0);
        ticket.queue.take(1);

        waker.fall_asleep();
        ticket.wake_by_ref();
        waker.wake();
        assert_eq!(count.0.load(Ordering::Relaxed), 1);

        waker.rise();
        waker.wake();
        assert_eq!(count.0.load(Ordering::Relaxed), 1);
    }
}
