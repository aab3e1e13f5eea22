//! A publisher: a [`Client`] that publishes what its [`Film`] has due, on a thread of its own.

use std::io::{self, ErrorKind};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use mio::net::UdpSocket;
use mio::{Events, Interest, Poll, Token};
use str0m::format::Codec;
use str0m::net::{Protocol, Receive};

use super::film::{Due, Film};
use super::stamp::Clock;
use crate::client::{Client, Options};

/// Packets that are kept for those who ask for them again: three seconds.
const SEND_BUFFER: usize = 1000;

/// A server from which nothing came for so long is gone: it answers a binding request far more often.
const SILENCE: Duration = Duration::from_secs(7);

/// It looks so often whether it is to stop.
const STOP_INTERVAL: Duration = Duration::from_millis(50);

/// What a publisher has done so far.
#[derive(Debug, Default)]
pub(super) struct Published {
    /// ICE and DTLS are done.
    pub(super) connected: AtomicBool,
    /// The session is over.
    pub(super) closed: AtomicBool,
    /// Packets of media.
    pub(super) packets: AtomicU64,
    /// Keyframes that were asked for.
    pub(super) keyframes_asked: AtomicU64,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Publisher {
    client: Client,
    socket: UdpSocket,
    poll: Poll,
    clock: Clock,
    film: Film,
    /// When something came last.
    heard: Instant,
}

impl Publisher {
    /// One at an address from which the server is reached.
    pub(super) fn new(local: IpAddr, clock: Clock, film: Film) -> io::Result<Self> {
        let mut socket = UdpSocket::bind(SocketAddr::new(local, 0))?;
        let poll = Poll::new()?;
        let registry = poll.registry();
        registry.register(&mut socket, Token(0), Interest::READABLE)?;
        let options = Options::new(&[film.codec(), Codec::Opus]).repairing(SEND_BUFFER);
        let client = Client::publisher(Instant::now(), socket.local_addr()?, &options);
        Ok(Self {
            client,
            socket,
            poll,
            clock,
            film,
            heard: Instant::now(),
        })
    }

    /// The SDP offer to POST.
    pub(super) fn offer(&self) -> &str {
        self.client.offer()
    }

    /// Takes the answer, and publishes until `stop`.
    pub(super) fn start(
        mut self,
        answer: &str,
        published: Arc<Published>,
        stop: Arc<AtomicBool>,
    ) -> Result<thread::JoinHandle<()>, String> {
        self.client.accept_answer(Instant::now(), answer)?;
        let thread = thread::Builder::new().name("publisher".to_owned());
        let run = move || {
            if let Err(error) = self.run(&published, &stop) {
                tracing::error!("a publisher stops: {error}");
            }
            published.closed.store(true, Ordering::Relaxed);
        };
        thread.spawn(run).map_err(|error| error.to_string())
    }

    fn run(&mut self, published: &Published, stop: &AtomicBool) -> io::Result<()> {
        let mut buffer = vec![0; 65_536];
        let mut events = Events::with_capacity(8);
        while !stop.load(Ordering::Relaxed) && !self.client.is_closed() {
            let now = Instant::now();
            let mut next = self.client.poll_timeout().min(now + STOP_INTERVAL);
            if self.client.is_connected() {
                next = self.film.next(now).map_or(next, |due| next.min(due));
            }
            let timeout = Some(next.saturating_duration_since(now));
            match self.poll.poll(&mut events, timeout) {
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                result => result?,
            }
            self.turn(&mut buffer);
            if self.client.is_connected() && self.heard.elapsed() >= SILENCE {
                break;
            }
            if self.client.is_connected() {
                published.connected.store(true, Ordering::Relaxed);
                let asked = self.client.keyframe_requests.drain(..).count() as u64;
                if asked > 0 {
                    self.film.request_keyframe();
                    published
                        .keyframes_asked
                        .fetch_add(asked, Ordering::Relaxed);
                }
                self.publish(published);
            }
        }
        Ok(())
    }

    fn turn(&mut self, buffer: &mut [u8]) {
        let now = Instant::now();
        loop {
            match self.socket.recv_from(buffer) {
                Ok((len, from)) => {
                    let contents = &buffer[..len];
                    self.heard = now;
                    // A client takes no nonsense.
                    let local = self.client.local();
                    if Receive::new(Protocol::Udp, from, local, contents).is_ok() {
                        self.client.handle_datagram(now, from, contents);
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                // Nobody listens there any more: the connection's time-outs find out.
                Err(_) => {}
            }
        }
        if self.client.poll_timeout() <= now {
            self.client.handle_timeout(now);
        }
        self.send();
    }

    fn send(&mut self) {
        while let Some(out) = self.client.poll_transmit() {
            // What a full socket refuses is lost, and asked for again.
            let _ = self.socket.send_to(&out.contents, out.destination);
        }
    }

    /// Publishes what is due. Each packet leaves before the next one gets its time.
    fn publish(&mut self, published: &Published) {
        while let Some(due) = self.film.packet(Instant::now()) {
            let Due {
                kind,
                mut packet,
                is_stamped,
            } = due;
            let now = Instant::now();
            if is_stamped {
                let mut payload = packet.payload.to_vec();
                self.clock.write(&mut payload, now);
                packet.payload = payload.into();
            }
            self.client.write(now, kind, [&packet]);
            self.send();
            published.packets.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// The address of this machine from which datagrams to that one leave.
pub(super) fn local_address(server: IpAddr) -> io::Result<IpAddr> {
    let any: SocketAddr = match server {
        IpAddr::V4(_) => ([0; 4], 0).into(),
        IpAddr::V6(_) => ([0; 16], 0).into(),
    };
    let probe = std::net::UdpSocket::bind(any)?;
    // Sends nothing.
    probe.connect((server, 9))?;
    Ok(probe.local_addr()?.ip())
}
