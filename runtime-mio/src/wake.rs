//! Wakers of connections.
//!
//! Waking puts a connection into a queue, once, and ends the loop's sleep only if it sleeps: from
//! the loop's own thread a wake-up costs no system call.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Wake, Waker};

/// The connections that are to be polled.
#[derive(Debug)]
pub(crate) struct ReadyQueue {
    ready: Mutex<VecDeque<Arc<Ticket>>>,
    asleep: AtomicBool,
    waker: Arc<mio::Waker>,
}

/// One connection's place in the queue.
#[derive(Debug)]
struct Ticket {
    key: usize,
    queued: AtomicBool,
    queue: Arc<ReadyQueue>,
}

impl ReadyQueue {
    /// An empty queue of a loop that `waker` wakes.
    pub(crate) fn new(waker: Arc<mio::Waker>) -> Arc<Self> {
        Arc::new(Self {
            ready: Mutex::default(),
            asleep: AtomicBool::new(false),
            waker,
        })
    }

    /// A waker that queues the connection `key`.
    pub(crate) fn waker(self: &Arc<Self>, key: usize) -> Waker {
        Waker::from(Arc::new(Ticket {
            key,
            queued: AtomicBool::new(false),
            queue: Arc::clone(self),
        }))
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

    /// The loop is about to sleep: from now on waking wakes it. Returns whether nothing is queued,
    /// so that it may.
    pub(crate) fn fall_asleep(&self) -> bool {
        self.asleep.store(true, Ordering::SeqCst);
        self.lock().is_empty()
    }

    /// The loop is up again.
    pub(crate) fn rise(&self) {
        self.asleep.store(false, Ordering::SeqCst);
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Arc<Ticket>>> {
        self.ready.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Wake for Ticket {
    fn wake(self: Arc<Self>) {
        if self.queued.swap(true, Ordering::AcqRel) {
            return;
        }
        let queue = Arc::clone(&self.queue);
        queue.lock().push_back(self);
        if queue.asleep.swap(false, Ordering::SeqCst) {
            // Fails only where the loop is gone already.
            let _ = queue.waker.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use mio::{Events, Poll, Token};

    use super::*;

    #[test]
    fn a_connection_is_queued_once_however_often_it_is_woken() {
        let poll = Poll::new().unwrap();
        let queue = ReadyQueue::new(Arc::new(
            mio::Waker::new(poll.registry(), Token(0)).unwrap(),
        ));
        let (first, second) = (queue.waker(1), queue.waker(2));
        first.wake_by_ref();
        second.wake_by_ref();
        first.wake_by_ref();
        assert_eq!(queue.take(9), [1, 2]);
        assert!(queue.take(9).is_empty());
        first.wake_by_ref();
        assert_eq!(queue.take(9), [1]);
    }

    #[test]
    fn what_is_above_the_budget_stays_queued_and_goes_first() {
        let poll = Poll::new().unwrap();
        let queue = ReadyQueue::new(Arc::new(
            mio::Waker::new(poll.registry(), Token(0)).unwrap(),
        ));
        let wakers: Vec<_> = (0..3).map(|key| queue.waker(key)).collect();
        wakers.iter().for_each(Waker::wake_by_ref);
        assert_eq!(queue.take(2), [0, 1]);
        assert!(!queue.fall_asleep(), "something is queued");
        queue.rise();
        wakers[0].wake_by_ref();
        assert_eq!(queue.take(2), [2, 0]);
    }

    #[test]
    fn only_a_sleeping_loop_is_woken() {
        let mut poll = Poll::new().unwrap();
        let queue = ReadyQueue::new(Arc::new(
            mio::Waker::new(poll.registry(), Token(0)).unwrap(),
        ));
        let waker = queue.waker(1);
        let mut events = Events::with_capacity(4);

        waker.wake_by_ref();
        poll.poll(&mut events, Some(Duration::ZERO)).unwrap();
        assert!(events.is_empty());
        assert!(!queue.fall_asleep(), "something is queued");
        queue.take(1);

        assert!(queue.fall_asleep());
        waker.wake_by_ref();
        poll.poll(&mut events, Some(Duration::from_secs(5)))
            .unwrap();
        assert!(!events.is_empty());
    }
}
