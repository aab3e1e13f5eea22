//! The loop's timers, as hyper and the gateway want them.
//!
//! One ordered map of deadlines. A sleep that is dropped leaves it. The clock is the loop's: it
//! stands still within a turn.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use hyper::rt::{Sleep, Timer};

/// How long a sleep lasts that is longer than a clock can tell.
const FOREVER: Duration = Duration::from_secs(1 << 30);

/// A handle to the timers of one loop. hyper asks for `Send + Sync`, so the state is behind a lock that
/// nobody contends for.
#[derive(Debug, Clone)]
pub struct Timers(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    now: Instant,
    next_serial: u64,
    /// By deadline, then in the order of their making.
    pending: BTreeMap<(Instant, u64), Waker>,
}

impl Timers {
    /// No timer yet, at this time.
    #[must_use]
    pub fn new(now: Instant) -> Self {
        Self(Arc::new(Mutex::new(State {
            now,
            next_serial: 0,
            pending: BTreeMap::new(),
        })))
    }

    /// Sets the clock and wakes whoever is due.
    pub fn advance(&self, now: Instant) {
        let due = {
            let mut state = self.lock();
            state.now = now;
            let later = state.pending.split_off(&(now, u64::MAX));
            std::mem::replace(&mut state.pending, later)
        };
        for waker in due.into_values() {
            waker.wake();
        }
    }

    /// The next deadline.
    #[must_use]
    pub fn next(&self) -> Option<Instant> {
        self.lock()
            .pending
            .keys()
            .next()
            .map(|(deadline, _)| *deadline)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Timer for Timers {
    fn sleep(&self, duration: Duration) -> Pin<Box<dyn Sleep>> {
        let now = self.now();
        self.sleep_until(now.checked_add(duration).unwrap_or_else(|| now + FOREVER))
    }

    fn sleep_until(&self, deadline: Instant) -> Pin<Box<dyn Sleep>> {
        let serial = {
            let mut state = self.lock();
            state.next_serial += 1;
            state.next_serial
        };
        Box::pin(Alarm {
            timers: self.clone(),
            key: (deadline, serial),
        })
    }

    fn now(&self) -> Instant {
        self.lock().now
    }
}

/// A future that is ready once the loop's clock has reached its deadline.
#[derive(Debug)]
struct Alarm {
    timers: Timers,
    key: (Instant, u64),
}

impl Sleep for Alarm {}

impl Future for Alarm {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let mut state = self.timers.lock();
        if self.key.0 <= state.now {
            return Poll::Ready(());
        }
        state.pending.insert(self.key, cx.waker().clone());
        Poll::Pending
    }
}

impl Drop for Alarm {
    fn drop(&mut self) {
        self.timers.lock().pending.remove(&self.key);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Wake;

    use super::*;

    #[derive(Default)]
    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn a_sleep_ends_at_its_deadline_and_wakes_once() {
        let start = Instant::now();
        let timers = Timers::new(start);
        let count = Arc::new(Count::default());
        let waker = Waker::from(Arc::clone(&count));
        let mut cx = Context::from_waker(&waker);
        let mut sleep = timers.sleep(Duration::from_secs(10));
        assert!(sleep.as_mut().poll(&mut cx).is_pending());
        assert_eq!(timers.next(), Some(start + Duration::from_secs(10)));

        timers.advance(start + Duration::from_millis(9_999));
        assert_eq!(count.0.load(Ordering::Relaxed), 0);
        assert!(sleep.as_mut().poll(&mut cx).is_pending());

        timers.advance(start + Duration::from_secs(10));
        assert_eq!(count.0.load(Ordering::Relaxed), 1);
        assert!(sleep.as_mut().poll(&mut cx).is_ready());
        assert_eq!(timers.next(), None);
    }

    #[test]
    fn a_dropped_sleep_leaves_nothing_behind() {
        let timers = Timers::new(Instant::now());
        let mut cx = Context::from_waker(Waker::noop());
        let mut sleep = timers.sleep(Duration::from_secs(10));
        assert!(sleep.as_mut().poll(&mut cx).is_pending());
        drop(sleep);
        assert_eq!(timers.next(), None);
    }

    #[test]
    fn sleeps_with_one_deadline_are_told_apart() {
        let start = Instant::now();
        let timers = Timers::new(start);
        let mut cx = Context::from_waker(Waker::noop());
        let deadline = start + Duration::from_secs(1);
        let (mut first, mut second) = (timers.sleep_until(deadline), timers.sleep_until(deadline));
        assert!(first.as_mut().poll(&mut cx).is_pending());
        assert!(second.as_mut().poll(&mut cx).is_pending());
        drop(first);
        assert_eq!(timers.next(), Some(deadline));
    }
}
