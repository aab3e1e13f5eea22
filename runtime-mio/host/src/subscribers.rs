//! Who is told of comings and goings.

use async_channel::{Receiver, Sender};
use kvill_core::server::Event;
use tracing::trace;

/// Events that wait for one subscriber. One that does not keep up loses the oldest.
pub const EVENTS_MAX: usize = 1024;

/// Comings and goings, as [`Handle::events`](crate::handle::Handle::events) gives them. At most
/// [`EVENTS_MAX`] wait here; the oldest are lost first.
#[derive(Debug)]
pub struct Events(Receiver<Event>);

impl Events {
    pub(crate) fn new(receiver: Receiver<Event>) -> Self {
        Self(receiver)
    }

    /// The next one. `None`: the driver has stopped.
    pub async fn recv(&self) -> Option<Event> {
        self.0.recv().await.ok()
    }

    /// Blocks this thread until the next one: not for the thread that runs the loop. `None`: the driver
    /// has stopped.
    #[must_use]
    pub fn wait(&self) -> Option<Event> {
        self.0.recv_blocking().ok()
    }

    /// The next one, if it is there. `None` says no more than that there is none now.
    #[must_use]
    pub fn try_recv(&self) -> Option<Event> {
        self.0.try_recv().ok()
    }
}

/// All subscribers.
#[derive(Debug, Default)]
pub(crate) struct Subscribers {
    list: Vec<Sender<Event>>,
}

impl Subscribers {
    /// Adds one, in the place of those that listen no more: nothing may happen for long that would
    /// show who they are.
    pub(crate) fn add(&mut self, subscriber: Sender<Event>) {
        self.list.retain(|subscriber| !subscriber.is_closed());
        self.list.push(subscriber);
    }

    /// Tells everybody who still listens.
    pub(crate) fn tell(&mut self, event: &Event) {
        trace!(?event);
        if !self.list.is_empty() {
            self.list
                .retain(|subscriber| subscriber.force_send(event.clone()).is_ok());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_listens_no_more_is_forgotten_without_an_event() {
        let mut subscribers = Subscribers::default();
        let (sender, kept) = async_channel::bounded(EVENTS_MAX);
        subscribers.add(sender);
        for _ in 0..100 {
            let (sender, _) = async_channel::bounded(EVENTS_MAX);
            subscribers.add(sender);
        }
        assert_eq!(subscribers.list.len(), 2);
        assert!(!kept.is_closed());
    }
}
