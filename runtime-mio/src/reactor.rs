//! The loop.
//!
//! A turn reads what is ready under a budget, feeds the core, lets timers run, and sends what the
//! core has. Then the loop sleeps until an event or the next deadline: idle, it does not wake.

use std::io;
use std::time::{Duration, Instant};

use kvill_core::Server;
use kvill_core::net::Interface;
use kvill_host::interfaces::{InterfaceCache, read_interfaces};
use kvill_host::udp::ReceiveBuffers;
use mio::{Events, Poll};
use tracing::{info, trace};

use crate::http::{Http, News};
use crate::signals::StopSignals;
use crate::stopper::Stopper;
use crate::timers::Timers;
use crate::token::Source;
use crate::transport::Transport;

/// How long the goodbyes of a stop may take. Longer helps only where the socket is full.
const DRAIN_TIMEOUT: Duration = Duration::from_millis(300);

/// Events taken from the system at once. More may be ready: they come with the next turn.
const EVENTS_PER_TURN: usize = 1024;

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

/// All that one thread serves.
#[derive(Debug)]
pub(crate) struct Reactor {
    poll: Poll,
    events: Events,
    timers: Timers,
    stopper: Stopper,
    signals: Option<StopSignals>,
    /// A signal that came while the loop was stopping already.
    interrupted_by: Option<i32>,
    /// The loop is stopping, and will have stopped by then.
    stop_by: Option<Instant>,
    http: Http,
    transports: Vec<Transport>,
    buffers: ReceiveBuffers,
    interfaces: InterfaceCache,
    server: Server,
}

impl Reactor {
    pub(crate) fn new(
        poll: Poll,
        timers: Timers,
        stopper: Stopper,
        http: Http,
        transports: Vec<Transport>,
        server: Server,
    ) -> Self {
        let mut reactor = Self {
            poll,
            events: Events::with_capacity(EVENTS_PER_TURN),
            timers,
            stopper,
            signals: None,
            interrupted_by: None,
            stop_by: None,
            http,
            transports,
            buffers: ReceiveBuffers::new(),
            interfaces: InterfaceCache::new(),
            server,
        };
        reactor.refresh_interfaces(Instant::now());
        reactor
    }

    pub(crate) fn interfaces(&self) -> &[Interface] {
        self.interfaces.list()
    }

    pub(crate) fn stop_on_signals(&mut self) -> io::Result<()> {
        self.signals = Some(StopSignals::new(self.poll.registry())?);
        Ok(())
    }

    /// Serves until it is stopped.
    pub(crate) fn run(mut self) -> io::Result<Ended> {
        loop {
            let now = self.sleep()?;
            self.note_events();
            self.receive(now);
            self.serve_http(now);
            self.expire(now);
            self.answer();
            self.stop_if_asked(now);
            self.transmit(now);
            self.drain_events();
            if let Some(ended) = self.ended(now) {
                self.transports.iter().for_each(Transport::log_totals);
                let refused = self.server.stats().counters.refused + self.http.refused();
                info!(refused, "HTTP totals");
                return Ok(ended);
            }
        }
    }

    /// Waits for an event or the next deadline, and reads the clock for the turn.
    fn sleep(&mut self) -> io::Result<Instant> {
        let has_nothing_to_do =
            self.http.fall_asleep() && !self.transports.iter().any(Transport::has_more);
        let timeout = if has_nothing_to_do {
            self.until_next_deadline()
        } else {
            Some(Duration::ZERO)
        };
        let result = self.poll.poll(&mut self.events, timeout);
        self.http.rise();
        match result {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => self.events.clear(),
            result => result?,
        }
        let now = Instant::now();
        self.timers.advance(now);
        Ok(now)
    }

    fn until_next_deadline(&mut self) -> Option<Duration> {
        let core = self.server.poll_timeout().map(|deadline| deadline.at);
        let deadlines = [core, self.timers.next(), self.http.next(), self.stop_by];
        let next = deadlines.into_iter().flatten().min()?;
        Some(next.saturating_duration_since(Instant::now()))
    }

    fn note_events(&mut self) {
        for event in &self.events {
            match Source::from(event.token()) {
                // Whatever it was, it is looked at in every turn.
                Source::Wake | Source::Signal => {}
                Source::Listener(index) => self.http.on_listener_event(index),
                Source::Connection(key) => self.http.on_connection_event(key, event),
                Source::Transport(index) => {
                    if let Some(transport) = self.transports.get_mut(index) {
                        transport.on_event(event);
                    }
                }
            }
        }
    }

    fn receive(&mut self, now: Instant) {
        for transport in &mut self.transports {
            transport.receive(&mut self.buffers, |datagram| {
                self.server.handle_datagram(now, datagram)
            });
        }
    }

    fn serve_http(&mut self, now: Instant) {
        self.http.serve(now);
        // Ends by the budget of a turn.
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
        if let Some(list) = self.interfaces.refresh(now, read_interfaces) {
            self.server.handle_interfaces(now, list);
        }
    }

    fn expire(&mut self, now: Instant) {
        if self
            .server
            .poll_timeout()
            .is_some_and(|deadline| deadline.at <= now)
        {
            self.server.handle_timeout(now);
        }
    }

    /// Wakes the connections that have an answer. They write it in the next turn, which follows at
    /// once.
    fn answer(&mut self) {
        while let Some((id, response)) = self.server.poll_response() {
            self.http.respond(id, response);
        }
    }

    fn transmit(&mut self, now: Instant) {
        for transport in &mut self.transports {
            transport.transmit(now, &mut self.server, self.poll.registry());
        }
    }

    /// The core logs comings and goings itself.
    fn drain_events(&mut self) {
        while let Some(event) = self.server.poll_event() {
            trace!(?event);
        }
    }

    fn stop_if_asked(&mut self, now: Instant) {
        // Two signals that arrive in one turn ask for one thing: a supervisor may send both.
        let is_stopping = self.stop_by.is_some();
        let mut asked = self.stopper.is_asked();
        for signal in self.signals.iter_mut().flat_map(StopSignals::take) {
            asked = true;
            if is_stopping {
                self.interrupted_by = Some(signal);
            }
        }
        if asked && !is_stopping {
            info!("stopping");
            self.stop_by = Some(now + DRAIN_TIMEOUT);
            self.server.shut_down(now);
            self.http.shut_down();
        }
    }

    fn ended(&self, now: Instant) -> Option<Ended> {
        if let Some(signal) = self.interrupted_by {
            return Some(Ended::Interrupted { signal });
        }
        let stop_by = self.stop_by?;
        let is_drained =
            self.transports.iter().all(Transport::is_drained) && self.http.is_drained();
        (is_drained || now >= stop_by).then_some(Ended::Stopped)
    }
}
