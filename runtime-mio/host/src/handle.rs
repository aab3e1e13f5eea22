//! A handle to a running driver, from any thread.
//!
//! What a handle asks for is put into the loop's mailbox, and its waker is woken. Bounded: a mailbox
//! holds [`COMMANDS_MAX`] commands, and refuses more.

use std::collections::VecDeque;
use std::future::{Future, IntoFuture};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_channel::{Receiver, Sender};
use kvill_core::server::Event;

use crate::engine::Stats;
use crate::subscribers::{EVENTS_MAX, Events};
use crate::wake::LoopWaker;

/// Commands that wait for the loop. More rides out longer pauses of the loop; each takes some 100
/// bytes, and what it carries.
pub const COMMANDS_MAX: usize = 4096;

/// Asks a driver for something, from any thread. Cloning is cheap.
#[derive(Debug, Clone)]
pub struct Handle {
    mailbox: Arc<Mailbox>,
}

impl Handle {
    pub(crate) fn new(mailbox: Arc<Mailbox>) -> Self {
        Self { mailbox }
    }

    /// Ends all sessions in an orderly way and the loop with them, within a third of a second.
    /// A second call changes nothing.
    pub fn stop(&self) {
        self.mailbox.stop.store(true, Ordering::SeqCst);
        self.mailbox.waker.wake();
    }

    /// What goes on. Walks all sessions: for an occasional look.
    #[must_use]
    pub fn stats(&self) -> Reply<Stats> {
        self.ask(Command::Stats)
    }

    /// Subscribes to comings and goings from now on.
    #[must_use]
    pub fn events(&self) -> Events {
        let (subscriber, events) = async_channel::bounded(EVENTS_MAX);
        // Where it is not taken, the subscriber is dropped, and the events end at once.
        let _ = self.mailbox.post(Command::Subscribe(subscriber));
        Events::new(events)
    }

    fn ask<T>(&self, command: impl FnOnce(Answer<T>) -> Command) -> Reply<T> {
        let (sender, receiver) = async_channel::bounded(1);
        let refused = self.mailbox.post(command(Answer(sender))).err();
        Reply { receiver, refused }
    }
}

/// Why a handle was not served.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HandleError {
    /// The driver has stopped.
    #[error("the driver has stopped")]
    Stopped,
    /// So many commands wait for the loop that no more are taken.
    #[error("{COMMANDS_MAX} commands wait for the driver already: ask again later")]
    Busy,
}

/// An answer to come: to be awaited, or [waited](Self::wait) for.
#[derive(Debug)]
#[must_use]
pub struct Reply<T> {
    receiver: Receiver<T>,
    refused: Option<HandleError>,
}

impl<T> Reply<T> {
    /// Blocks this thread until the answer is there: not for the thread that runs the loop.
    ///
    /// # Errors
    /// The driver has stopped, or has too much to do.
    pub fn wait(self) -> Result<T, HandleError> {
        self.receiver
            .recv_blocking()
            .map_err(|_| self.refused.unwrap_or(HandleError::Stopped))
    }
}

impl<T: Send + 'static> IntoFuture for Reply<T> {
    type Output = Result<T, HandleError>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            let answer = self.receiver.recv().await;
            answer.map_err(|_| self.refused.unwrap_or(HandleError::Stopped))
        })
    }
}

/// Where an answer goes.
#[derive(Debug)]
pub(crate) struct Answer<T>(Sender<T>);

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
    Subscribe(Sender<Event>),
}

/// What handles want and the loop has not done yet.
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
        let mut commands = self.lock();
        let queue = commands.as_mut().ok_or(HandleError::Stopped)?;
        if queue.len() >= COMMANDS_MAX {
            return Err(HandleError::Busy);
        }
        queue.push_back(command);
        drop(commands);
        self.waker.wake();
        Ok(())
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
