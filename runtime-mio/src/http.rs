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

/// Requests that the core gets per turn. More answers a burst of offers sooner; fewer lets media
/// through sooner, since the core makes a session and its answer within the turn.
const REQUESTS_PER_TURN: usize = 4;

/// Connections polled per turn. More reads and answers a burst sooner; fewer lets media through
/// sooner.
const POLLS_PER_TURN: usize = 64;

/// What serves HTTP.
#[derive(Debug)]
pub(crate) struct Http {
    listeners: Listeners,
    connections: Connections,
    gateway: Gateway,
    queue: Arc<ReadyQueue>,
    /// How many requests the core may still get in this turn.
    requests_left: usize,
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
            requests_left: 0,
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

    /// Begins a turn: lets clients in, and lets those that are ready go on, up to the budget.
    pub(crate) fn serve(&mut self, now: Instant) {
        self.requests_left = REQUESTS_PER_TURN;
        let polled = self.connections.poll(POLLS_PER_TURN);
        self.listeners.accept(now, &mut self.connections);
        self.connections.poll(POLLS_PER_TURN - polled);
    }

    /// What the core is to be told next in this turn: all cancellations, and requests up to the
    /// budget.
    pub(crate) fn poll_news(&mut self) -> Option<News> {
        if let Some(id) = self.gateway.poll_cancelled() {
            return Some(News::Cancelled(id));
        }
        self.requests_left = self.requests_left.checked_sub(1)?;
        let (id, request) = self.gateway.poll_request()?;
        Some(News::Asked(id, request))
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

    /// How many requests were refused without asking the core.
    pub(crate) fn refused(&self) -> u64 {
        self.gateway.refused()
    }

    /// Whether no client is left.
    pub(crate) fn is_drained(&self) -> bool {
        self.connections.is_empty()
    }
}

#[cfg(test)]
#[path = "http_tests.rs"]
mod tests;
