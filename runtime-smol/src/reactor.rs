//! The loop: sleeps until something is ready or due, tells the engine, and has it make a turn.

use std::future::Future as _;
use std::io;
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Instant;

use async_io::{Async, Timer};
use atomic_waker::AtomicWaker;
use kvill_host::engine::{Ended, Rest, StartError};
use kvill_host::settings::Settings;
use kvill_host::transport::Transport;
use smol::future;

use crate::signals::StopSignals;
use crate::stream::{Hangup, Stream};
use crate::watched::Watched;

/// All that is served.
type Engine = kvill_host::engine::Engine<Stream, Hangup>;

/// An engine, and how its sockets are watched.
#[derive(Debug)]
pub(crate) struct Reactor {
    waker: Arc<Awake>,
    timer: Timer,
    /// What the timer is set to.
    timer_at: Option<Instant>,
    signals: Option<StopSignals>,
    engine: Engine,
    transports: Vec<Watched<UdpSocket>>,
    listeners: Vec<Watched<TcpListener>>,
}

/// Ends the sleep from any thread.
#[derive(Debug, Default)]
pub(crate) struct Awake {
    waker: AtomicWaker,
    called: AtomicBool,
}

impl Awake {
    /// Whoever polls from now on is woken.
    pub(crate) fn register(&self, waker: &Waker) {
        self.waker.register(waker);
    }

    /// Whether anybody has called since the last time.
    pub(crate) fn take(&self) -> bool {
        self.called.swap(false, Ordering::SeqCst)
    }

    pub(crate) fn call(&self) {
        self.called.store(true, Ordering::SeqCst);
        self.waker.wake();
    }
}

impl Wake for Awake {
    fn wake(self: Arc<Self>) {
        self.call();
    }
}

impl Reactor {
    pub(crate) fn bind(settings: Settings) -> Result<Self, StartError> {
        let waker = Arc::new(Awake::default());
        let mut engine = Engine::bind(settings, Waker::from(Arc::clone(&waker)))?;
        let transports = watch_transports(&mut engine, &waker)?;
        let listeners = watch_listeners(&mut engine, &waker)?;
        Ok(Self {
            waker,
            timer: Timer::never(),
            timer_at: None,
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
        self.signals = Some(StopSignals::new()?);
        Ok(())
    }

    /// Serves until it is stopped.
    pub(crate) async fn run(mut self) -> io::Result<Ended> {
        loop {
            self.sleep().await;
            let now = self.engine.rise();
            self.engine.turn(now, open);
            if let Some(ended) = self.engine.ended(now) {
                self.engine.log_totals();
                return Ok(ended);
            }
        }
    }

    /// Waits for an event or the next deadline. Whatever ends the sleep, a turn follows.
    async fn sleep(&mut self) {
        let mut rest = None;
        future::poll_fn(|cx| {
            self.waker.register(cx.waker());
            let is_over = match &rest {
                None => {
                    // Who called before has left something where the engine looks now.
                    self.waker.take();
                    let until = rest.insert(self.engine.fall_asleep());
                    if let Rest::None = until {
                        // Not at once: whoever looks for events has its turn.
                        cx.waker().wake_by_ref();
                        self.note_events(cx);
                        return Poll::Pending;
                    }
                    self.note_events(cx)
                }
                Some(Rest::None) => {
                    self.note_events(cx);
                    true
                }
                Some(_) => self.note_events(cx) | self.waker.take(),
            };
            match rest {
                _ if is_over => Poll::Ready(()),
                Some(Rest::Until(at)) if self.poll_timer(cx, at) => Poll::Ready(()),
                _ => Poll::Pending,
            }
        })
        .await;
    }

    /// Whether this time has come. Deadlines mostly move to later: a timer that is set to an earlier
    /// time stays so, for to set it wakes the reactor, and is set again when that has come.
    fn poll_timer(&mut self, cx: &mut Context<'_>, at: Instant) -> bool {
        loop {
            let set_to = self.timer_at.filter(|set_to| *set_to <= at);
            let set_to = set_to.unwrap_or_else(|| {
                self.timer.set_at(at);
                at
            });
            self.timer_at = Some(set_to);
            if Pin::new(&mut self.timer).poll(cx).is_pending() {
                return false;
            }
            self.timer_at = None;
            if set_to == at {
                return true;
            }
        }
    }

    /// Tells the engine what became ready, and has what it waits for watched. Returns whether
    /// anything did.
    fn note_events(&mut self, cx: &mut Context<'_>) -> bool {
        let mut any = self.note_signals(cx);
        any |= self.note_listeners();
        for (transport, watched) in self
            .engine
            .transports()
            .iter_mut()
            .zip(&mut self.transports)
        {
            if transport.wants_readable() && watched.is_readable() {
                transport.on_readable();
                any = true;
            }
            if transport.wants_writable() && watched.is_writable() {
                transport.on_writable();
                any = true;
            }
        }
        any
    }

    fn note_signals(&mut self, cx: &mut Context<'_>) -> bool {
        let signals: Vec<_> = match &mut self.signals {
            Some(signals) => signals.take(cx).collect(),
            None => return false,
        };
        let any = !signals.is_empty();
        if any {
            self.engine.on_signals(Instant::now(), signals);
        }
        any
    }

    fn note_listeners(&mut self) -> bool {
        let http = self.engine.http();
        let mut any = false;
        for (index, watched) in self.listeners.iter_mut().enumerate() {
            if http.listener_wants_readable(index) && watched.is_readable() {
                http.on_listener_readable(index);
                any = true;
            }
        }
        any
    }
}

fn watch_transports(
    engine: &mut Engine,
    awake: &Arc<Awake>,
) -> io::Result<Vec<Watched<UdpSocket>>> {
    let watch = |transport: &mut Transport| {
        let socket = Async::new_nonblocking(transport.watch_handle()?)?;
        Ok(Watched::new(socket, awake))
    };
    engine.transports().iter_mut().map(watch).collect()
}

fn watch_listeners(
    engine: &mut Engine,
    awake: &Arc<Awake>,
) -> io::Result<Vec<Watched<TcpListener>>> {
    let watch = |socket| Ok(Watched::new(Async::new_nonblocking(socket)?, awake));
    engine.listener_handles()?.into_iter().map(watch).collect()
}

pub(crate) fn open(_key: usize, socket: TcpStream) -> io::Result<(Stream, Hangup)> {
    let socket = Arc::new(Async::new_nonblocking(socket)?);
    Ok((Stream::new(Arc::clone(&socket)), Hangup::new(socket)))
}
