//! A bad network between any peer and the server: datagrams come late, or not at all.
//!
//! A [`Relay`] is to a peer what the server is: it has a URL, and passes on what is asked there. The
//! candidates of the answers it changes, so that media goes through it as well. Towards the server
//! it is like a NAT: each address of the peer gets a port of its own.
//!
//! A peer that is to be watched gets a relay of its own: what is counted is counted per relay.

mod road;
mod sdp;
mod web;

use std::collections::HashMap;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use socket2::SockRef;

pub use road::{Counts, Way};
use road::{Exit, Road};

/// How long a thread waits for a datagram before it looks whether the relay is over.
const LOOK: Duration = Duration::from_millis(100);

/// A second's worth of packets and more. The system may grant less.
const RECEIVE_BUFFER_LEN: usize = 2 << 20;

const HOST: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// What is wrong with a network.
#[derive(Debug, Clone, Copy, Default)]
pub struct Network {
    /// On the way from the peer to the server.
    pub to_server: Way,
    /// On the way from the server to the peer.
    pub to_peer: Way,
}

impl Network {
    /// As bad both ways; a packet and its answer take `round_trip` together.
    #[must_use]
    pub fn both(loss: f64, round_trip: Duration) -> Self {
        let way = Way {
            loss,
            delay: round_trip / 2,
            ..Way::default()
        };
        Self {
            to_server: way,
            to_peer: way,
        }
    }
}

/// A running relay; it ends when it is dropped.
pub struct Relay {
    url: String,
    http: SocketAddr,
    shared: Arc<Shared>,
}

/// What the relay's threads have in common.
struct Shared {
    /// Where the server has its HTTP, as `HOST:PORT`.
    server: String,
    /// Where it has its media: known from its first answer on.
    media: Mutex<Option<SocketAddr>>,
    /// Offers lose what lets the peer ask for packets again.
    without_repair: bool,
    to_server: Arc<Road>,
    to_peer: Arc<Road>,
    /// What the peer sends to.
    front: Arc<UdpSocket>,
    /// By the peer's addresses: the sockets towards the server.
    ways: Mutex<HashMap<SocketAddr, Arc<UdpSocket>>>,
    over: Arc<AtomicBool>,
}

impl Relay {
    /// A relay before the server at `url`. What gets lost is drawn from the seed, and differs
    /// nevertheless from run to run as the packets do.
    ///
    /// # Panics
    ///
    /// If no port is free.
    #[must_use]
    pub fn start(url: &str, network: Network, seed: u64) -> Self {
        Self::open(url, network, seed, false)
    }

    /// As [`start`](Self::start), for a peer that is not to ask for packets again: its offers lose
    /// their `nack` and their RTX.
    ///
    /// # Panics
    ///
    /// As [`start`](Self::start).
    #[must_use]
    pub fn without_repair(url: &str, network: Network, seed: u64) -> Self {
        Self::open(url, network, seed, true)
    }

    fn open(url: &str, network: Network, seed: u64, without_repair: bool) -> Self {
        let listener = TcpListener::bind((HOST, 0)).expect("a port is free");
        let http = listener.local_addr().expect("a socket that is bound");
        let over = Arc::new(AtomicBool::new(false));
        let shared = Arc::new(Shared {
            server: url.trim_start_matches("http://").to_owned(),
            media: Mutex::new(None),
            without_repair,
            to_server: Road::open(network.to_server, seed, &over),
            to_peer: Road::open(network.to_peer, !seed, &over),
            front: Arc::new(socket()),
            ways: Mutex::default(),
            over,
        });
        let serving = Arc::clone(&shared);
        thread::spawn(move || web::serve(&listener, &serving));
        let receiving = Arc::clone(&shared);
        thread::spawn(move || receiving.receive_from_peer());
        Self {
            url: format!("http://{http}"),
            http,
            shared,
        }
    }

    /// Where the peer is to find the server, as `http://127.0.0.1:PORT`.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// From now on the network is like this.
    pub fn change(&self, network: Network) {
        self.shared.to_server.change(network.to_server);
        self.shared.to_peer.change(network.to_peer);
    }

    /// What came so far from the peer.
    #[must_use]
    pub fn to_server(&self) -> Counts {
        self.shared.to_server.counts()
    }

    /// What came so far from the server.
    #[must_use]
    pub fn to_peer(&self) -> Counts {
        self.shared.to_peer.counts()
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.shared.over.store(true, Ordering::Relaxed);
        self.shared.to_server.wake();
        self.shared.to_peer.wake();
        // Whoever waits for connections looks at each whether it is over.
        let _ = TcpStream::connect(self.http);
    }
}

impl fmt::Debug for Relay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Relay")
            .field("url", &self.url)
            .field("server", &self.shared.server)
            .finish_non_exhaustive()
    }
}

impl Shared {
    fn is_over(&self) -> bool {
        self.over.load(Ordering::Relaxed)
    }

    /// An answer of the server as the peer is to see it.
    fn lead(&self, answer: &str) -> String {
        let front = self.front.local_addr().expect("a socket that is bound");
        let Some((led, server)) = sdp::led_through(answer, front) else {
            return answer.to_owned();
        };
        *lock(&self.media) = Some(server);
        for payload_type in sdp::rtx_payload_types(answer) {
            self.to_peer.expect_rtx(payload_type);
            self.to_server.expect_rtx(payload_type);
        }
        led
    }

    fn receive_from_peer(self: &Arc<Self>) {
        let mut buffer = vec![0; 65_536];
        while !self.is_over() {
            let Ok((len, peer)) = self.front.recv_from(&mut buffer) else {
                continue;
            };
            // Who has no answer yet cannot know of the relay.
            let Some(server) = *lock(&self.media) else {
                continue;
            };
            let exit = Exit {
                socket: self.way_of(peer),
                to: server,
            };
            self.to_server.take(&buffer[..len], exit);
        }
    }

    /// The socket towards the server that stands for an address of the peer.
    fn way_of(self: &Arc<Self>, peer: SocketAddr) -> Arc<UdpSocket> {
        let mut ways = lock(&self.ways);
        let way = ways.entry(peer).or_insert_with(|| {
            let way = Arc::new(socket());
            let (shared, from) = (Arc::clone(self), Arc::clone(&way));
            thread::spawn(move || shared.receive_from_server(&from, peer));
            way
        });
        Arc::clone(way)
    }

    fn receive_from_server(&self, way: &UdpSocket, peer: SocketAddr) {
        let mut buffer = vec![0; 65_536];
        while !self.is_over() {
            let Ok((len, _)) = way.recv_from(&mut buffer) else {
                continue;
            };
            let exit = Exit {
                socket: Arc::clone(&self.front),
                to: peer,
            };
            self.to_peer.take(&buffer[..len], exit);
        }
    }
}

fn socket() -> UdpSocket {
    let socket = UdpSocket::bind((HOST, 0)).expect("a port is free");
    let buffer = SockRef::from(&socket).set_recv_buffer_size(RECEIVE_BUFFER_LEN);
    buffer.expect("a size that the system cuts to its liking");
    let look = socket.set_read_timeout(Some(LOOK));
    look.expect("a time-out that is not zero");
    socket
}

fn lock<T>(what: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    what.lock().unwrap_or_else(PoisonError::into_inner)
}
