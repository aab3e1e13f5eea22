//! The server and its clients in one thread, with a clock that jumps.
//!
//! A [`World`] moves datagrams between a [`Server`] and any number of [`Client`]s until nothing is
//! left to move, then sets its clock to the next deadline or arrival of anyone. Nothing sleeps.
//! Whether a datagram arrives, and when, is up to the [`Link`]; most take no time.
//!
//! The server's randomness is the seed given to [`World::new`], the clients' is fastrand's. The
//! world seeds both. All worlds of a process begin at one instant, so that what is rounded
//! somewhere is rounded the same way in each.
//!
//! The world wakes the server when it asked to be woken, and not a moment later. It holds that
//! this gets the server on, and counts when it was for nothing: see [`Wakes`].

mod broadcast;
mod link;
mod restart;
mod steps;
mod wakes;

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap, HashMap};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::OnceLock;
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use http::{Method, StatusCode, header};
use kvill_core::ids::{RequestId, TransportId};
use kvill_core::net::{Interface, TRANSMIT_BUFFER_LEN};
use kvill_core::signal::{Request, Response};
use kvill_core::{Config, Server};

pub use self::broadcast::{Broadcast, PATH, Viewer};
pub use self::link::{Crossing, Link, Perfect, Way};
use self::steps::Flight;
pub use self::steps::segments;
pub use self::wakes::{Tally, Wakes};
use crate::client::{Client, Options};

/// Where the server is reached.
pub const SERVER: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(198, 51, 100, 1)), 8189);

/// The server's only socket.
pub const TRANSPORT: TransportId = TransportId(0);

/// When all worlds begin.
static BEGINNING: OnceLock<Instant> = OnceLock::new();

/// A server, its clients, and the time.
#[derive(Debug)]
pub struct World<L = Perfect> {
    /// The server. May be called directly; what it then wants to send moves with the next
    /// [`settle`](Self::settle).
    pub server: Server,
    /// What becomes of datagrams under way.
    pub link: L,
    /// How often the server was woken, and what for.
    pub wakes: Wakes,
    now: Instant,
    clients: Vec<Option<Box<Peer>>>,
    addresses: HashMap<SocketAddr, ClientId>,
    /// When each client wants to be woken, the first on top. Entries that are not what the client
    /// is noted with are old.
    agenda: BinaryHeap<Reverse<(Instant, ClientId)>>,
    /// Clients that may have something to send, or want to be woken at another time than noted.
    touched: BTreeSet<ClientId>,
    /// Datagrams under way, the next to arrive on top.
    flights: BinaryHeap<Reverse<Flight>>,
    departures: u64,
    requests: u64,
    buffer: Vec<u8>,
}

/// One client of a [`World`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ClientId(pub usize);

#[derive(Debug)]
struct Peer {
    client: Client,
    /// Where it stands in the agenda.
    noted: Option<Instant>,
    /// The session's URL: what DELETE goes to.
    location: String,
}

impl World {
    /// A world in which everything arrives.
    #[must_use]
    pub fn new(seed: u64, config: Config) -> Self {
        Self::with_link(seed, config, Perfect)
    }
}

impl<L: Link> World<L> {
    /// A server with one socket at [`SERVER`], and nobody there yet. `config` need not name the
    /// socket.
    ///
    /// # Panics
    ///
    /// If the server refuses the config.
    #[must_use]
    pub fn with_link(seed: u64, mut config: Config, link: L) -> Self {
        fastrand::seed(seed);
        let mut bytes = [0; 32];
        fastrand::fill(&mut bytes);

        config.transports = vec![SERVER];
        let now = *BEGINNING.get_or_init(Instant::now);
        let unix_time = SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000);
        let mut server = Server::new(config, bytes, now, unix_time).expect("a config that works");
        let interface = Interface {
            name: "test0".to_owned(),
            address: SERVER.ip(),
        };
        server.handle_interfaces(now, &[interface]);
        Self {
            server,
            link,
            wakes: Wakes::default(),
            now,
            clients: Vec::with_capacity(4096),
            addresses: HashMap::new(),
            agenda: BinaryHeap::new(),
            touched: BTreeSet::new(),
            flights: BinaryHeap::new(),
            departures: 0,
            requests: 0,
            buffer: vec![0; TRANSMIT_BUFFER_LEN],
        }
    }

    /// The time.
    #[must_use]
    pub fn now(&self) -> Instant {
        self.now
    }

    /// A client.
    ///
    /// # Panics
    ///
    /// If it has left.
    #[must_use]
    pub fn client(&mut self, id: ClientId) -> &mut Client {
        &mut self.peer(id).client
    }

    /// Posts a publisher's offer and takes the answer in. The handshake is still to come.
    ///
    /// # Panics
    ///
    /// If the server refuses it.
    pub fn publish(&mut self, path: &str, options: &Options) -> ClientId {
        self.try_publish(path, options)
            .expect("WHIP is answered with 201")
    }

    /// Like [`publish`](Self::publish), but gives a refusal back.
    pub fn try_publish(
        &mut self,
        path: &str,
        options: &Options,
    ) -> Result<ClientId, Box<Response>> {
        let client = Client::publisher(self.now, self.next_address(), options);
        self.join(client, &format!("/{path}/whip"))
    }

    /// Posts a viewer's offer and takes the answer in. The handshake is still to come.
    ///
    /// # Panics
    ///
    /// If the server refuses it.
    pub fn view(&mut self, path: &str, options: &Options) -> ClientId {
        self.try_view(path, options)
            .expect("WHEP is answered with 201")
    }

    /// Like [`view`](Self::view), but gives a refusal back.
    pub fn try_view(&mut self, path: &str, options: &Options) -> Result<ClientId, Box<Response>> {
        let client = Client::viewer(self.now, self.next_address(), options);
        self.join(client, &format!("/{path}/whep"))
    }

    /// Posts the offer of a client that `make` makes, at the address it is given, and takes the
    /// answer in. Gives a refusal back.
    ///
    /// # Panics
    ///
    /// If the answer does not work.
    pub fn try_join(
        &mut self,
        endpoint: &str,
        make: impl FnOnce(Instant, SocketAddr) -> Client,
    ) -> Result<ClientId, Box<Response>> {
        let client = make(self.now, self.next_address());
        self.join(client, endpoint)
    }

    fn join(&mut self, mut client: Client, endpoint: &str) -> Result<ClientId, Box<Response>> {
        let offer = Bytes::copy_from_slice(client.offer().as_bytes());
        let response = self.request(Method::POST, endpoint, client.local(), offer);
        if response.status() != StatusCode::CREATED {
            return Err(response.into());
        }
        let answer = std::str::from_utf8(response.body()).expect("an answer in UTF-8");
        if let Err(error) = client.accept_answer(self.now, answer) {
            panic!("the answer does not work: {error}\n{answer}");
        }
        let location = response.headers().get(header::LOCATION);
        let location = location.and_then(|l| l.to_str().ok());
        let location = location.expect("201 comes with a Location").to_owned();

        let id = ClientId(self.clients.len());
        self.addresses.insert(client.local(), id);
        self.clients.push(Some(Box::new(Peer {
            client,
            noted: None,
            location,
        })));
        self.touched.insert(id);
        Ok(id)
    }

    /// Ends a session by DELETE and forgets the client at once.
    ///
    /// # Panics
    ///
    /// If the server does not answer 200.
    pub fn leave(&mut self, id: ClientId) {
        let location = self.peer(id).location.clone();
        let from = self.peer(id).client.local();
        self.vanish(id);
        let response = self.request(Method::DELETE, &location, from, Bytes::new());
        assert_eq!(response.status(), StatusCode::OK, "{response:?}");
    }

    /// Takes a client away without a word to the server: a cable is pulled.
    ///
    /// # Panics
    ///
    /// If it has left before.
    pub fn vanish(&mut self, id: ClientId) -> Client {
        let peer = self.clients[id.0].take().expect("a client that is there");
        self.addresses.remove(&peer.client.local());
        peer.client
    }

    /// The URL of a client's session.
    pub fn location(&mut self, id: ClientId) -> String {
        self.peer(id).location.clone()
    }

    /// Puts a request to the server and gives its answer.
    ///
    /// # Panics
    ///
    /// If the answer does not come within ten virtual seconds.
    pub fn request(
        &mut self,
        method: Method,
        target: &str,
        from: SocketAddr,
        body: Bytes,
    ) -> Response {
        let mut request = http::Request::builder().method(method).uri(target);
        if !body.is_empty() {
            request = request.header(header::CONTENT_TYPE, "application/sdp");
        }
        let (head, ()) = request.body(()).expect("a request").into_parts();
        self.send(head, from, body)
    }

    fn send(&mut self, head: http::request::Parts, from: SocketAddr, body: Bytes) -> Response {
        let target = head.uri.to_string();
        let request = Request {
            peer: from,
            tls: false,
            head,
            body,
        };
        self.requests += 1;
        let id = RequestId(self.requests);
        self.server.handle_request(self.now, id, request);

        let end = self.now + Duration::from_secs(10);
        loop {
            if let Some((answered, response)) = self.server.poll_response() {
                assert_eq!(answered, id, "nobody else has asked");
                return response;
            }
            assert!(self.now < end, "{target}: no answer in 10 s");
            self.step(end);
        }
    }

    /// Lets time pass until all these clients are connected.
    ///
    /// # Panics
    ///
    /// If that takes longer than ten virtual seconds.
    pub fn connect(&mut self, ids: &[ClientId]) {
        let end = self.now + Duration::from_secs(10);
        for id in ids {
            while !self.client(*id).is_connected() {
                let error = self.client(*id).error();
                assert!(error.is_none(), "{id:?}: {error:?}");
                assert!(self.now < end, "{id:?} is not connected after 10 s");
                self.step(end);
            }
        }
        self.settle();
    }

    /// Lets time pass.
    pub fn run(&mut self, duration: Duration) {
        let end = self.now + duration;
        while self.now < end {
            self.step(end);
        }
        self.settle();
    }

    /// Sets the clock forward and has nobody do anything: for tests that call the server
    /// themselves.
    pub fn skip(&mut self, duration: Duration) {
        self.now += duration;
    }

    /// Whoever asks for it may change it.
    fn peer(&mut self, id: ClientId) -> &mut Peer {
        self.touched.insert(id);
        let peer = self.clients[id.0].as_mut();
        peer.unwrap_or_else(|| panic!("{id:?} has left"))
    }

    /// Every client has a host of its own.
    fn next_address(&self) -> SocketAddr {
        let [_, b, c, d] = u32::try_from(self.clients.len())
            .expect("few clients")
            .to_be_bytes();
        SocketAddr::new(Ipv4Addr::new(10, b, c, d).into(), 50_000)
    }
}
