//! A handle to a running driver, from any thread.
//!
//! What a handle asks for is put into the loop's mailbox, and its waker is woken.

use std::future::{Future, IntoFuture};
use std::pin::Pin;
use std::sync::Arc;

use async_channel::Receiver;
use kvill_core::media::Codec;
use kvill_core::server::{PublishError, WatchError};
use kvill_core::stats::SessionStats;

use crate::engine::Stats;
pub use crate::mailbox::COMMANDS_MAX;
use crate::mailbox::{Answer, Command, Mailbox};
use crate::publisher::Publisher;
use crate::subscribers::{EVENTS_MAX, Events};
use crate::watcher::Watcher;

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
        self.mailbox.stop();
    }

    /// What goes on. Walks all sessions: for an occasional look.
    pub fn stats(&self) -> Reply<Stats> {
        self.ask(Command::Stats)
    }

    /// All sessions, those that are not connected yet and the program's own among them, in no
    /// particular order. Walks them: for an occasional look.
    pub fn sessions(&self) -> Reply<Vec<SessionStats>> {
        self.ask(Command::Sessions)
    }

    /// Ends the session of this public id. The answer is whether there was one.
    pub fn close(&self, session: &str) -> Reply<bool> {
        self.ask(|answer| Command::Close(session.to_owned(), answer))
    }

    /// Subscribes to comings and goings from now on. Any number may; a subscription ends when it is
    /// dropped.
    #[must_use]
    pub fn events(&self) -> Events {
        let (subscriber, events) = async_channel::bounded(EVENTS_MAX);
        // Where the loop is gone the subscriber is dropped, and the events end at once.
        self.mailbox.post_last_word(Command::Subscribe(subscriber));
        Events::new(events)
    }

    /// Publishes on a path from within the program, one track for each codec: as a WHIP publisher
    /// would, with no socket in between. See [`Server::publish`](kvill_core::Server::publish).
    pub fn publish(&self, path: &str, codecs: &[Codec]) -> Reply<Result<Publisher, PublishError>> {
        self.ask(|answer| Command::Publish(path.to_owned(), codecs.to_vec(), answer))
    }

    /// Watches a path from within the program: RTP packets, as a WHEP viewer would get them. See
    /// [`Server::watch`](kvill_core::Server::watch).
    pub fn watch(&self, path: &str) -> Reply<Result<Watcher, WatchError>> {
        self.ask(|answer| Command::Watch(path.to_owned(), answer))
    }

    fn ask<T>(&self, command: impl FnOnce(Answer<T>) -> Command) -> Reply<T> {
        Reply::ask(&self.mailbox, command)
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

/// An answer to come: to be awaited, or [waited](Self::wait) for. The driver is asked already, and does
/// what it was asked for even if the answer is dropped.
#[derive(Debug)]
#[must_use]
pub struct Reply<T> {
    receiver: Receiver<T>,
    refused: Option<HandleError>,
}

impl<T> Reply<T> {
    pub(crate) fn ask(mailbox: &Mailbox, command: impl FnOnce(Answer<T>) -> Command) -> Self {
        let (sender, receiver) = async_channel::bounded(1);
        let refused = mailbox.post(command(Answer(sender))).err();
        Self { receiver, refused }
    }

    /// Blocks this thread until the answer is there: not for the thread that runs the loop.
    ///
    /// # Errors
    /// The driver has stopped, or has too much to do.
    pub fn wait(self) -> Result<T, HandleError> {
        let refused = self.refused.unwrap_or(HandleError::Stopped);
        self.receiver.recv_blocking().map_err(|_| refused)
    }
}

impl<T: Send + 'static> IntoFuture for Reply<T> {
    type Output = Result<T, HandleError>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            let refused = self.refused.unwrap_or(HandleError::Stopped);
            self.receiver.recv().await.map_err(|_| refused)
        })
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use super::*;
    use crate::wake::LoopWaker;

    #[test]
    fn regress_a_loop_that_has_too_much_to_do_still_takes_subscribers() {
        let mailbox = Mailbox::new(LoopWaker::new(Waker::noop().clone()));
        let handle = Handle::new(Arc::clone(&mailbox));
        let asked: Vec<_> = (0..COMMANDS_MAX).map(|_| handle.stats()).collect();
        assert_eq!(handle.stats().wait().unwrap_err(), HandleError::Busy);
        let _events = handle.events();
        let commands = mailbox.take(usize::MAX);
        assert!(matches!(commands.last(), Some(Command::Subscribe(_))));
        drop(asked);
    }
}
