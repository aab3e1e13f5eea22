//! Ends a loop from outside.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Tells a driver to stop, from any thread.
#[derive(Debug, Clone)]
pub struct Stopper {
    asked: Arc<AtomicBool>,
    waker: Arc<mio::Waker>,
}

impl Stopper {
    pub(crate) fn new(waker: Arc<mio::Waker>) -> Self {
        Self {
            asked: Arc::default(),
            waker,
        }
    }

    /// Ends all sessions in an orderly way and lets [`run`](crate::Driver::run) return, within
    /// a third of a second. A second call changes nothing.
    pub fn stop(&self) {
        self.asked.store(true, Ordering::Release);
        // Fails only where the loop is gone already.
        let _ = self.waker.wake();
    }

    pub(crate) fn is_asked(&self) -> bool {
        self.asked.load(Ordering::Acquire)
    }
}
