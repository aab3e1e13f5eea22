//! The loop: sleeps until something is ready or due, tells the engine, and has it make a turn.

use std::io;
use std::net::TcpStream;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Wake, Waker};
use std::time::{Duration, Instant};

use kvill_host::engine::{Ended, Rest, StartError};
use kvill_host::settings::Settings;
use mio::event::Event;
use mio::net::{TcpListener, UdpSocket};
use mio::{Events, Interest, Poll, Registry};
use tracing::debug;

use crate::signals::StopSignals;
use crate::stream::{Readiness, Stream};
use crate::token::Source;

/// Events taken from the system at once. More may be ready: they come with the next turn.
const EVENTS_PER_TURN: usize = 1024;

/// All that is served.
type Engine = kvill_host::engine::Engine<Stream, Rc<Readiness>>;

/// An engine, and how its sockets are watched.
#[derive(Debug)]
pub(crate) struct Reactor {
    poll: Poll,
    events: Events,
    signals: Option<StopSignals>,
    engine: Engine,
    transports: Vec<WatchedTransport>,
    listeners: Vec<TcpListener>,
}

/// A second handle to a transport's socket.
#[derive(Debug)]
struct WatchedTransport {
    socket: UdpSocket,
    /// It is watched for room, too.
    writable: bool,
}

/// Ends the sleep from any thread.
pub(crate) struct Awake(pub(crate) mio::Waker);

impl Wake for Awake {
    fn wake(self: Arc<Self>) {
        // Fails only where the loop is gone already.
        let _ = self.0.wake();
    }
}

impl Reactor {
    pub(crate) fn bind(settings: Settings) -> Result<Self, StartError> {
        let poll = Poll::new()?;
        let registry = poll.registry();
        let waker = Awake(mio::Waker::new(registry, Source::Wake.into())?);
        let mut engine = Engine::bind(settings, Waker::from(Arc::new(waker)))?;
        let transports = watch_transports(&mut engine, registry)?;
        let listeners = watch_listeners(&mut engine, registry)?;
        Ok(Self {
            poll,
            events: Events::with_capacity(EVENTS_PER_TURN),
            signals: None,
            engine,
            transports,
            listeners,
        })
    }

    pub(crate) fn engine(&self) -> &Engine {
        &self.engine
    }

    pub(crate) fn stop_on_signals(&mut self) -> io::Result<()> {
        self.signals = Some(StopSignals::new(self.poll.registry())?);
        Ok(())
    }

    /// Serves until it is stopped.
    pub(crate) fn run(mut self) -> io::Result<Ended> {
        loop {
            self.sleep()?;
            let now = self.engine.rise();
            self.note_events(now);
            let registry = self.poll.registry();
            self.engine
                .turn(now, |key, socket| open(registry, key, socket));
            self.watch_room();
            if cfg!(windows) {
                self.watch_again();
            }
            if let Some(ended) = self.engine.ended(now) {
                self.engine.log_totals();
                return Ok(ended);
            }
        }
    }

    /// Waits for an event or the next deadline.
    fn sleep(&mut self) -> io::Result<()> {
        let timeout = match self.engine.fall_asleep() {
            Rest::None => Some(Duration::ZERO),
            Rest::Until(at) => Some(at.saturating_duration_since(Instant::now())),
            Rest::Endless => None,
        };
        match self.poll.poll(&mut self.events, timeout) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {
                self.events.clear();
                Ok(())
            }
            result => result,
        }
    }

    /// Tells the engine what became ready.
    fn note_events(&mut self, now: Instant) {
        for event in &self.events {
            match Source::from(event.token()) {
                Source::Wake => {}
                Source::Signal => {
                    let signals = self.signals.iter_mut().flat_map(StopSignals::take);
                    self.engine.on_signals(now, signals);
                }
                Source::Listener(index) => self.engine.http().on_listener_readable(index),
                Source::Connection(key) => note_connection(&mut self.engine, key, event),
                Source::Transport(index) => note_transport(&mut self.engine, index, event),
            }
        }
    }

    /// Has a socket that is full tell when it has room, and only then: it tells after every packet
    /// that left.
    fn watch_room(&mut self) {
        let transports = self.engine.transports().iter().zip(&mut self.transports);
        for (index, (transport, watched)) in transports.enumerate() {
            if transport.wants_writable() == watched.writable {
                continue;
            }
            let interest = match transport.wants_writable() {
                true => Interest::READABLE | Interest::WRITABLE,
                false => Interest::READABLE,
            };
            let token = Source::Transport(index).into();
            let registry = self.poll.registry();
            match registry.reregister(&mut watched.socket, token, interest) {
                Ok(()) => watched.writable = transport.wants_writable(),
                Err(error) => debug!(%error, "a UDP socket could not be watched"),
            }
        }
    }

    /// Windows tells of readiness once, and mio asks it to tell again when a call through mio would
    /// block. The engine's calls are made past mio. Costs a system call only where something was told.
    fn watch_again(&mut self) {
        let transports = self.engine.transports().iter().zip(&self.transports);
        for (transport, watched) in transports {
            if transport.wants_readable() || transport.wants_writable() {
                let blocks = || io::Result::<()>::Err(io::ErrorKind::WouldBlock.into());
                let _ = watched.socket.try_io(blocks);
            }
        }
        let http = self.engine.http();
        for (index, socket) in self.listeners.iter_mut().enumerate() {
            if http.listener_wants_readable(index) {
                let token = Source::Listener(index).into();
                let registry = self.poll.registry();
                if let Err(error) = registry.reregister(socket, token, Interest::READABLE) {
                    debug!(%error, "an HTTP listener could not be watched");
                }
            }
        }
    }
}

fn watch_transports(engine: &mut Engine, registry: &Registry) -> io::Result<Vec<WatchedTransport>> {
    let watch = |(index, transport): (usize, &mut kvill_host::transport::Transport)| {
        let mut socket = UdpSocket::from_std(transport.watch_handle()?);
        registry.register(
            &mut socket,
            Source::Transport(index).into(),
            Interest::READABLE,
        )?;
        Ok(WatchedTransport {
            socket,
            writable: false,
        })
    };
    engine
        .transports()
        .iter_mut()
        .enumerate()
        .map(watch)
        .collect()
}

fn watch_listeners(engine: &mut Engine, registry: &Registry) -> io::Result<Vec<TcpListener>> {
    let watch = |(index, socket)| {
        let mut socket = TcpListener::from_std(socket);
        registry.register(
            &mut socket,
            Source::Listener(index).into(),
            Interest::READABLE,
        )?;
        Ok(socket)
    };
    let sockets = engine.listener_handles()?;
    sockets.into_iter().enumerate().map(watch).collect()
}

pub(crate) fn open(
    registry: &Registry,
    key: usize,
    socket: TcpStream,
) -> io::Result<(Stream, Rc<Readiness>)> {
    let mut socket = mio::net::TcpStream::from_std(socket);
    let interest = Interest::READABLE | Interest::WRITABLE;
    registry.register(&mut socket, Source::Connection(key).into(), interest)?;
    let readiness = Readiness::new();
    Ok((Stream::new(socket, Rc::clone(&readiness)), readiness))
}

/// One of a connection that is gone means nothing.
fn note_connection(engine: &mut Engine, key: usize, event: &Event) {
    if let Some((readiness, waker)) = engine.http().watch(key) {
        readiness.on_event(event);
        waker.wake_by_ref();
    }
}

fn note_transport(engine: &mut Engine, index: usize, event: &Event) {
    let Some(transport) = engine.transports().get_mut(index) else {
        return;
    };
    if event.is_readable() || event.is_error() {
        transport.on_readable();
    }
    if event.is_writable() {
        transport.on_writable();
    }
}
