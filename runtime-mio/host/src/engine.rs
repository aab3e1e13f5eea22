//! A whole server but for its sleep.
//!
//! An [`Engine`] has the core, the UDP sockets, HTTP, the interface list and the [`Handle`]'s
//! mailbox. What is left for a driver is what a runtime is about: to sleep until something is ready
//! or due, and to tell of it. One turn after each sleep:
//!
//! 1. [`fall_asleep`](Engine::fall_asleep) says how long, the driver sleeps, and
//!    [`rise`](Engine::rise) reads the clock;
//! 2. what became ready is told to [`transports`](Engine::transports) and [`http`](Engine::http);
//! 3. [`turn`](Engine::turn) does the work, under a budget, and [`ended`](Engine::ended) says
//!    whether it was the last.
//!
//! Idle, it does not wake but for the core's deadlines.

mod own;
mod start;
mod stats;

use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use hyper::rt::{Read, Write};
use kvill_core::Server;
use kvill_core::net::Interface;
use kvill_core::time::Reason;
use tracing::info;

use crate::engine::own::Own;
use crate::handle::Handle;
use crate::http::{Http, News, Watch};
use crate::interfaces::InterfaceProvider;
use crate::mailbox::Mailbox;
use crate::subscribers::Subscribers;
use crate::timers::Timers;
use crate::transport::Transport;
use crate::udp::ReceiveBuffers;
use crate::wake::LoopWaker;
pub use start::StartError;
pub use stats::{LoopCounters, Stats, TransportStats};

/// How long the goodbyes of a stop may take. Longer helps only where the socket is full.
const DRAIN_TIMEOUT: Duration = Duration::from_millis(300);

/// Commands of handles carried out per turn. More lets a program feed faster; fewer lets datagrams
/// in sooner.
const COMMANDS_PER_TURN: usize = 256;

/// How long a change of addresses may go unnoticed while requests come. Longer saves a system call
/// for each of many viewers that join at once; shorter offers a new address sooner to one of them.
const NOTICE_INTERVAL: Duration = Duration::from_millis(10);

/// How a loop ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// In an orderly way: the sessions were told.
    Stopped,
    /// By a second signal, at once.
    Interrupted {
        /// Its number.
        signal: i32,
    },
}

/// How long a loop may sleep.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rest {
    /// Not at all: there is more to do. What is ready is looked at nevertheless.
    None,
    /// Until something becomes ready, or then.
    Until(Instant),
    /// Until something becomes ready.
    Endless,
}

/// All that one thread serves: clients of streams `S`, which are watched by `W`.
#[derive(Debug)]
pub struct Engine<S: Read + Write + Unpin + 'static, W> {
    server: Server,
    transports: Vec<Transport>,
    buffers: ReceiveBuffers,
    http: Http<S, W>,
    http_addresses: Vec<SocketAddr>,
    udp_addresses: Vec<SocketAddr>,
    timers: Timers,
    interfaces: InterfaceProvider,
    /// When notices of the interfaces were looked for.
    looked_for_notices: Option<Instant>,
    waker: Arc<LoopWaker>,
    mailbox: Arc<Mailbox>,
    subscribers: Subscribers,
    own: Own,
    /// The loop is stopping, and will have stopped by then.
    stop_by: Option<Instant>,
    /// A signal that came while the loop was stopping already.
    interrupted_by: Option<i32>,
    /// The loop slept before this turn, or was ready to.
    rested: bool,
    counters: LoopCounters,
}

impl<S: Read + Write + Unpin + 'static, W: Watch> Engine<S, W> {
    /// Handles to this loop, from any thread.
    #[must_use]
    pub fn handle(&self) -> Handle {
        Handle::new(Arc::clone(&self.mailbox))
    }

    /// Where HTTP is served, with the ports that the system chose.
    #[must_use]
    pub fn http_addresses(&self) -> &[SocketAddr] {
        &self.http_addresses
    }

    /// Where media is served, with the ports that the system chose.
    #[must_use]
    pub fn udp_addresses(&self) -> &[SocketAddr] {
        &self.udp_addresses
    }

    /// This machine's addresses, as they were read last.
    #[must_use]
    pub fn interfaces(&self) -> &[Interface] {
        self.interfaces.list()
    }

    /// Second handles to the listening sockets, for a runtime to watch their readiness by.
    ///
    /// # Errors
    /// The process has no file descriptor left.
    pub fn listener_handles(&self) -> io::Result<Vec<TcpListener>> {
        self.http.watch_handles()
    }

    /// The UDP sockets: a driver watches them, and tells them what it saw.
    pub fn transports(&mut self) -> &mut [Transport] {
        &mut self.transports
    }

    /// HTTP: a driver watches its sockets, and tells it what it saw.
    pub fn http(&mut self) -> &mut Http<S, W> {
        &mut self.http
    }

    /// SIGINT or SIGTERM arrived: the first stops the loop in an orderly way, the next at once.
    /// Those that arrive together are one: a supervisor may send both.
    pub fn on_signals(&mut self, now: Instant, signals: impl IntoIterator<Item = i32>) {
        let is_stopping = self.stop_by.is_some();
        let last = signals.into_iter().last();
        match last {
            Some(_) if is_stopping => self.interrupted_by = last,
            Some(_) => self.stop(now),
            None => {}
        }
    }

    /// The loop is about to sleep. To be called before what it waits for is watched: from now on,
    /// the waker is woken.
    pub fn fall_asleep(&mut self) -> Rest {
        self.waker.fall_asleep();
        let is_idle = self.http.is_idle()
            && self.mailbox.is_empty()
            && !self.transports.iter().any(Transport::has_more);
        self.rested = is_idle;
        if !is_idle {
            return Rest::None;
        }
        let core = self.server.poll_timeout().map(|deadline| deadline.at);
        let deadlines = [core, self.timers.next(), self.http.next(), self.stop_by];
        match deadlines.into_iter().flatten().min() {
            Some(at) => Rest::Until(at),
            None => Rest::Endless,
        }
    }

    /// The loop is up again: reads the clock, once for the turn.
    pub fn rise(&mut self) -> Instant {
        self.waker.rise();
        let now = Instant::now();
        self.timers.advance(now);
        now
    }

    /// Reads what is ready under a budget, feeds the core, lets timers run, and sends what the core
    /// has. `open` makes the runtime's stream of an accepted socket, for the connection of that
    /// key.
    pub fn turn(&mut self, now: Instant, open: impl FnMut(usize, TcpStream) -> io::Result<(S, W)>) {
        let mut found = self.receive(now);
        found |= self.obey(now);
        found |= self.http.serve(now, open);
        self.pass_news(now);
        found |= self.expire(now);
        self.answer();
        self.tell_watchers(now);
        found |= self.transmit(now);
        self.tell_events(now);
        self.counters.turns += 1;
        self.counters.wakeups += u64::from(self.rested);
        self.counters.empty_wakeups += u64::from(self.rested && !found);
    }

    /// How the loop ended, if this turn was the last.
    #[must_use]
    pub fn ended(&mut self, now: Instant) -> Option<Ended> {
        if let Some(signal) = self.interrupted_by {
            return Some(Ended::Interrupted { signal });
        }
        let stop_by = self.stop_by?;
        // Sessions end some at a time, and those of the program itself leave nothing to send.
        let next = self.server.poll_timeout();
        let is_drained = next.is_none_or(|deadline| deadline.reason != Reason::Ending)
            && self.transports.iter().all(Transport::is_drained)
            && self.http.is_drained();
        (is_drained || now >= stop_by).then_some(Ended::Stopped)
    }

    fn receive(&mut self, now: Instant) -> bool {
        let mut any = false;
        for transport in &mut self.transports {
            any |= transport.receive(&mut self.buffers, |datagram| {
                self.server.handle_datagram(now, datagram);
            });
        }
        any
    }

    fn stop(&mut self, now: Instant) {
        if self.stop_by.is_none() {
            info!("stopping");
            self.stop_by = Some(now + DRAIN_TIMEOUT);
            self.server.shut_down(now);
            self.http.shut_down();
        }
    }

    /// Ends by the budget of a turn.
    fn pass_news(&mut self, now: Instant) {
        while let Some(news) = self.http.poll_news() {
            match news {
                News::Asked(id, request) => {
                    self.refresh_interfaces(now);
                    self.server.handle_request(now, id, request);
                }
                News::Cancelled(id) => self.server.handle_cancelled(now, id),
            }
        }
    }

    fn refresh_interfaces(&mut self, now: Instant) {
        // Looked for where it counts, instead of being watched: a change of network wakes nobody.
        let is_recent = |at: Instant| now.saturating_duration_since(at) < NOTICE_INTERVAL;
        if !self.looked_for_notices.is_some_and(is_recent) {
            self.looked_for_notices = Some(now);
            self.interfaces.handle_notices();
        }
        if let Some(list) = self.interfaces.refresh(now) {
            self.server.handle_interfaces(now, list);
        }
    }

    fn expire(&mut self, now: Instant) -> bool {
        let is_due = |at: Option<Instant>| at.is_some_and(|at| at <= now);
        let core = is_due(self.server.poll_timeout().map(|deadline| deadline.at));
        if core {
            self.server.handle_timeout(now);
        }
        core || is_due(self.stop_by)
    }

    /// Wakes the connections that have an answer. They write it in the next turn, which follows at
    /// once.
    fn answer(&mut self) {
        while let Some((id, response)) = self.server.poll_response() {
            self.http.respond(id, response);
        }
    }

    fn transmit(&mut self, now: Instant) -> bool {
        let mut any = false;
        for transport in &mut self.transports {
            any |= transport.transmit(now, &mut self.server);
            if let Some(address) = transport.take_lost_address() {
                self.interfaces.on_send_failed(address);
            }
        }
        any
    }
}

impl<S: Read + Write + Unpin + 'static, W> Drop for Engine<S, W> {
    /// Nobody is answered any more.
    fn drop(&mut self) {
        self.mailbox.close();
    }
}
