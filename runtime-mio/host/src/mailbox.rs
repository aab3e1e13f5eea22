//! What handles want of a loop, and the loop has not done yet.
//!
//! Bounded: a mailbox holds [`COMMANDS_MAX`] commands, and refuses more.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_channel::Sender;
use kvill_core::ids::{SourceId, WatcherId};
use kvill_core::media::Codec;
use kvill_core::server::{Ended, Event, PublishError, WatchError, WatchedTrack};
use kvill_core::stats::SessionStats;

use crate::engine::Stats;
use crate::handle::HandleError;
use crate::publisher::{Fed, Publisher};
use crate::wake::LoopWaker;
use crate::watcher::Watcher;

/// Commands that wait for the loop. More rides out longer pauses of the loop; each takes some 100
/// bytes, and what it carries.
pub const COMMANDS_MAX: usize = 4096;

/// Where an answer goes.
#[derive(Debug)]
pub(crate) struct Answer<T>(pub(crate) Sender<T>);

impl<T> Answer<T> {
    /// One that nobody waits for any more is dropped.
    pub(crate) fn give(self, answer: T) {
        let _ = self.0.try_send(answer);
    }
}

/// What a handle wants of the loop.
#[derive(Debug)]
pub(crate) enum Command {
    Stats(Answer<Stats>),
    Sessions(Answer<Vec<SessionStats>>),
    Close(String, Answer<bool>),
    Subscribe(Sender<Event>),
    Publish(String, Vec<Codec>, Answer<Result<Publisher, PublishError>>),
    Feed(SourceId, Fed),
    Unpublish(SourceId),
    Watch(String, Answer<Result<Watcher, WatchError>>),
    /// There is room for a watcher's packets again.
    GoOn(WatcherId),
    RequestKeyframe(WatcherId),
    Tracks(WatcherId, Answer<Result<Vec<WatchedTrack>, Ended>>),
    Unwatch(WatcherId),
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Mailbox {
    /// None once the loop is gone.
    commands: Mutex<Option<VecDeque<Command>>>,
    /// Somebody wants the loop to end. Has no place in the queue, which may be full.
    stop: AtomicBool,
    waker: Arc<LoopWaker>,
}

impl Mailbox {
    pub(crate) fn new(waker: Arc<LoopWaker>) -> Arc<Self> {
        Arc::new(Self {
            commands: Mutex::new(Some(VecDeque::new())),
            stop: AtomicBool::new(false),
            waker,
        })
    }

    /// Puts a command last.
    pub(crate) fn post(&self, command: Command) -> Result<(), HandleError> {
        self.post_below(COMMANDS_MAX, command)
    }

    /// Puts a command last that must not be lost: who posts it does so once.
    pub(crate) fn post_last_word(&self, command: Command) {
        let _ = self.post_below(usize::MAX, command);
    }

    fn post_below(&self, len_max: usize, command: Command) -> Result<(), HandleError> {
        let mut commands = self.lock();
        let queue = commands.as_mut().ok_or(HandleError::Stopped)?;
        if queue.len() >= len_max {
            return Err(HandleError::Busy);
        }
        queue.push_back(command);
        drop(commands);
        self.waker.wake();
        Ok(())
    }

    pub(crate) fn stop(&self) {
        self.stop.store(true, Ordering::SeqCst);
        self.waker.wake();
    }

    /// Whether the loop is to end, once.
    pub(crate) fn take_stop(&self) -> bool {
        self.stop.swap(false, Ordering::SeqCst)
    }

    /// Takes what has waited longest, at most `count_max` of it.
    pub(crate) fn take(&self, count_max: usize) -> Vec<Command> {
        match self.lock().as_mut() {
            Some(queue) => queue.drain(..queue.len().min(count_max)).collect(),
            None => Vec::new(),
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        !self.stop.load(Ordering::SeqCst) && self.lock().as_ref().is_none_or(VecDeque::is_empty)
    }

    /// The loop is gone: whoever waits for an answer gets none.
    pub(crate) fn close(&self) {
        // Dropped outside the lock: that wakes whoever waits.
        let unanswered = self.lock().take();
        drop(unanswered);
    }

    fn lock(&self) -> MutexGuard<'_, Option<VecDeque<Command>>> {
        self.commands.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
