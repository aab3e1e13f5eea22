//! HTTP in the loop: listeners, connections, and the gateway between them and the core.

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use kvill_core::ids::RequestId;
use kvill_core::signal::{Request, Response};
use kvill_host::http::{Gateway, Limits};
use mio::Registry;
use mio::event::Event;

use crate::connections::Connections;
use crate::driver::StartError;
use crate::listeners::Listeners;
use crate::timers::Timers;
use crate::wake::ReadyQueue;

/// What serves HTTP.
#[derive(Debug)]
pub(crate) struct Http {
    listeners: Listeners,
    connections: Connections,
    gateway: Gateway,
    queue: Arc<ReadyQueue>,
}

/// What a client wants of the core.
#[derive(Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "one at a time, and taken apart at once"
)]
pub(crate) enum News {
    /// An answer.
    Asked(RequestId, Request),
    /// No answer any more.
    Cancelled(RequestId),
}

impl Http {
    /// Watches the listeners. Time-outs come from `timers`, wake-ups go by `waker`.
    pub(crate) fn new(
        mut listeners: Listeners,
        limits: Limits,
        registry: &Registry,
        timers: &Timers,
        waker: Arc<mio::Waker>,
    ) -> Result<Self, StartError> {
        listeners.register(registry)?;
        let queue = ReadyQueue::new(waker);
        let gateway = Gateway::new(Rc::new(timers.clone()), limits);
        let connections =
            Connections::new(gateway.clone(), registry.try_clone()?, Arc::clone(&queue));
        Ok(Self {
            listeners,
            connections,
            gateway,
            queue,
        })
    }

    pub(crate) fn addresses(&self) -> Result<Vec<SocketAddr>, StartError> {
        Ok(self.listeners.addresses()?)
    }

    pub(crate) fn on_listener_event(&mut self, index: usize) {
        self.listeners.on_event(index);
    }

    pub(crate) fn on_connection_event(&mut self, key: usize, event: &Event) {
        self.connections.on_event(key, event);
    }

    /// Lets clients in, and lets those that are ready go on.
    pub(crate) fn serve(&mut self, now: Instant) {
        self.connections.poll();
        self.listeners.accept(now, &mut self.connections);
        self.connections.poll();
    }

    pub(crate) fn poll_news(&mut self) -> Option<News> {
        let asked = self
            .gateway
            .poll_request()
            .map(|(id, request)| News::Asked(id, request));
        asked.or_else(|| self.gateway.poll_cancelled().map(News::Cancelled))
    }

    pub(crate) fn respond(&mut self, id: RequestId, response: Response) {
        self.gateway.respond(id, response);
    }

    /// When to serve although no event came.
    pub(crate) fn next(&self) -> Option<Instant> {
        self.listeners.next()
    }

    /// The loop is about to sleep. Returns whether nothing is left to do, so that it may.
    pub(crate) fn fall_asleep(&self) -> bool {
        self.queue.fall_asleep()
            && !self.gateway.has_news()
            && !self.listeners.has_more(&self.connections)
    }

    /// The loop is up again.
    pub(crate) fn rise(&self) {
        self.queue.rise();
    }

    /// Lets nobody in any more, and lets requests under way have their answers.
    pub(crate) fn shut_down(&mut self) {
        self.connections.shut_down();
    }

    /// Whether no client is left.
    pub(crate) fn is_drained(&self) -> bool {
        self.connections.is_empty()
    }
}

#[cfg(test)]
#[path = "http_tests.rs"]
mod tests;
