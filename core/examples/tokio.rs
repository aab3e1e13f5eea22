//! Kvill's core inside a tokio program that has a loop, routes and work of its own.
//!
//! `cargo run -p kvill-core --example tokio` prints a URL to publish at and one to watch at, for
//! browsers on this machine. One task is enough: whatever wakes it, it feeds the core, lets it do
//! what is due, and carries off what it has to say. Ctrl-C says goodbye to everybody.
#![expect(clippy::disallowed_methods, reason = "a driver has a clock")]

use std::collections::BTreeMap;
use std::future::IntoFuture;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::time::{Duration, Instant, SystemTime};

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{ConnectInfo, State};
use axum::http::StatusCode;
use axum::routing::get;
use kvill_core::ids::{RequestId, TransportId};
use kvill_core::net::{Datagram, TRANSMIT_BUFFER_LEN, Transmit};
use kvill_core::server::Event;
use kvill_core::signal::{MAX_BODY_LEN, Request, Response};
use kvill_core::{Config, Server};
use tokio::net::{TcpListener, UdpSocket};
use tokio::sync::{mpsc, oneshot};

/// The one UDP socket.
const TRANSPORT: TransportId = TransportId(0);

/// Datagrams in, and trains out, per turn of the loop: none of them holds up the others for long.
const BUDGET: usize = 64;

/// How long the goodbyes may take.
const GOODBYE_TIME: Duration = Duration::from_millis(300);

/// An HTTP request on its way from axum to the loop, and its client on its way back.
type Asked = (Request, oneshot::Sender<Response>);

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let http = std::env::args().nth(1);
    let listener = TcpListener::bind(http.as_deref().unwrap_or("127.0.0.1:8889")).await?;
    let http = listener.local_addr()?;
    let (asks, mut asked) = mpsc::channel(64);
    let routes = Router::new()
        .route("/health", get(async || "fine\n"))
        .fallback(serve)
        .with_state(asks);
    let routes = routes.into_make_service_with_connect_info::<SocketAddr>();
    tokio::spawn(axum::serve(listener, routes).into_future());

    let mut kvill = Kvill::bind("127.0.0.1:0").await?;
    println!("publish at http://{http}/live/publish, watch at http://{http}/live/");
    let mut own_work = tokio::time::interval(Duration::from_secs(1));
    // Made once: one that is made anew does not know of what was pressed before.
    let mut ctrl_c = pin!(tokio::signal::ctrl_c());
    let mut stop_by = None;
    while stop_by.is_none_or(|at| Instant::now() < at) {
        let due = kvill.server.poll_timeout().map(|deadline| deadline.at);
        let wake = [due, stop_by].into_iter().flatten().min();
        tokio::select! {
            Ok(()) = kvill.udp.readable() => {}
            Ok(()) = kvill.udp.writable(), if kvill.kept.is_some() => {}
            () = tokio::time::sleep_until(wake.unwrap_or_else(Instant::now).into()), if wake.is_some() => {}
            Some((request, client)) = asked.recv() => kvill.ask(Instant::now(), request, client),
            _ = own_work.tick() => kvill.print_news(),
            Ok(()) = &mut ctrl_c, if stop_by.is_none() => {
                let now = Instant::now();
                kvill.server.shut_down(now);
                stop_by.get_or_insert(now + GOODBYE_TIME);
            }
        }
        kvill.turn(Instant::now());
    }
    Ok(())
}

/// What axum has no route for is the core's.
async fn serve(
    State(asks): State<mpsc::Sender<Asked>>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    request: axum::extract::Request,
) -> Result<http::Response<Body>, StatusCode> {
    let (head, body) = request.into_parts();
    let body = to_bytes(body, MAX_BODY_LEN).await;
    let body = body.map_err(|_| StatusCode::PAYLOAD_TOO_LARGE)?;
    let (client, answer) = oneshot::channel();
    let request = Request {
        peer,
        tls: false,
        head,
        body,
    };
    // The loop is gone: the program is about to be.
    let gone = StatusCode::SERVICE_UNAVAILABLE;
    asks.send((request, client)).await.map_err(|_| gone)?;
    let response = answer.await.map_err(|_| gone)?;
    Ok(response.map(Body::from))
}

/// The core, its socket, and who waits for its answers.
struct Kvill {
    server: Server,
    udp: UdpSocket,
    local: SocketAddr,
    next_id: u64,
    clients: BTreeMap<RequestId, oneshot::Sender<Response>>,
    /// Holds the bytes of the train at hand, and of a kept one.
    outgoing: Vec<u8>,
    /// A train that the socket refused, and how many of its datagrams it had taken.
    kept: Option<(Transmit, usize)>,
}

impl Kvill {
    async fn bind(address: &str) -> Result<Self, Box<dyn std::error::Error>> {
        let udp = UdpSocket::bind(address).await?;
        let local = udp.local_addr()?;
        let mut seed = [0; 32];
        getrandom::fill(&mut seed)?;
        let mut config = Config::default();
        config.transports.push(local);
        Ok(Self {
            server: Server::new(config, seed, Instant::now(), SystemTime::now())?,
            udp,
            local,
            next_id: 0,
            clients: BTreeMap::new(),
            outgoing: vec![0; TRANSMIT_BUFFER_LEN],
            kept: None,
        })
    }

    fn ask(&mut self, now: Instant, request: Request, client: oneshot::Sender<Response>) {
        let id = RequestId(self.next_id);
        self.next_id += 1;
        self.clients.insert(id, client);
        self.server.handle_request(now, id, request);
    }

    /// All that there is to do at a time.
    fn turn(&mut self, now: Instant) {
        self.receive(now);
        self.server.handle_timeout(now);
        while let Some((id, response)) = self.server.poll_response() {
            let client = self.clients.remove(&id);
            let is_there = client.is_some_and(|client| client.send(response).is_ok());
            if !is_there {
                self.server.handle_cancelled(now, id);
            }
        }
        self.transmit(now);
    }

    fn receive(&mut self, now: Instant) {
        let mut incoming = [0; 2048];
        for _ in 0..BUDGET {
            // Nothing is there, or a peer is gone that something was sent to.
            let Ok((len, remote)) = self.udp.try_recv_from(&mut incoming) else {
                return;
            };
            let datagram = Datagram {
                transport: TRANSPORT,
                local: self.local,
                remote,
                contents: incoming.get(..len).unwrap_or_default(),
            };
            self.server.handle_datagram(now, datagram);
        }
    }

    fn transmit(&mut self, now: Instant) {
        for _ in 0..BUDGET {
            let next = self.kept.take().or_else(|| {
                let next = self
                    .server
                    .poll_transmit(now, TRANSPORT, &mut self.outgoing);
                next.map(|train| (train, 0))
            });
            let Some((train, sent)) = next else {
                return;
            };
            for (n, datagram) in train.datagrams(&self.outgoing).enumerate().skip(sent) {
                match self.udp.try_send_to(datagram, train.destination) {
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                        self.kept = Some((train, n));
                        return;
                    }
                    // What cannot be sent is lost, as on any network.
                    _ => {}
                }
            }
        }
    }

    /// The program's own work, once a second.
    fn print_news(&mut self) {
        while let Some(event) = self.server.poll_event() {
            match event {
                Event::PublisherJoined { path, .. } => println!("{path} is live"),
                Event::PublisherLeft { path, reason, .. } => println!("{path} is over: {reason}"),
                Event::ViewerJoined { path, .. } => println!("{path} has a viewer more"),
                Event::ViewerLeft { path, .. } => println!("{path} has a viewer less"),
                other => println!("{other:?}"),
            }
        }
    }
}
