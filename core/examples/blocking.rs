//! Kvill's core in a blocking loop on std's UDP socket: no runtime, one thread for all media.
//!
//! `cargo run -p kvill-core --example blocking` prints a URL to publish at and one to watch at, for
//! browsers on this machine. What else a driver has to think of is in `kvill_core::guide`.
#![expect(clippy::disallowed_methods, reason = "a driver has a clock")]
#![expect(clippy::disallowed_types, reason = "a driver has sockets")]

use std::collections::BTreeMap;
use std::io::Read;
use std::net::{SocketAddr, UdpSocket};
use std::sync::mpsc::channel;
use std::time::{Duration, Instant, SystemTime};

use kvill_core::ids::{RequestId, TransportId};
use kvill_core::net::{Datagram, TRANSMIT_BUFFER_LEN};
use kvill_core::signal::{MAX_BODY_LEN, Request, Response};
use kvill_core::{Config, Server};
use oxhttp::model::Body;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let http = std::env::args().nth(1);
    let http: SocketAddr = http.as_deref().unwrap_or("127.0.0.1:8889").parse()?;
    let udp = UdpSocket::bind("127.0.0.1:0")?;
    let (transport, local, mut seed) = (TransportId(0), udp.local_addr()?, [0; 32]);
    getrandom::fill(&mut seed)?;
    let mut config = Config::default();
    config.transports.push(local);
    let mut server = Server::new(config, seed, Instant::now(), SystemTime::now())?;

    // HTTP has its threads. Each passes its request on, wakes the loop, and waits for the answer.
    let ((asks, asked), wake) = (channel(), udp.try_clone()?);
    let serve = move |request: &mut oxhttp::model::Request<Body>| {
        let (head, body) = std::mem::take(request).into_parts();
        // Left there is what tells oxhttp whether another request follows.
        (*request.headers_mut(), *request.version_mut()) = (head.headers.clone(), head.version);
        let (mut read, (client, answer)) = (Vec::new(), channel::<Response>());
        let _ = body.take(MAX_BODY_LEN as u64 + 1).read_to_end(&mut read);
        let request = Request {
            peer: http, // This very machine.
            tls: false,
            head,
            body: read.into(),
        };
        let _ = asks.send((request, client));
        let _ = wake.send_to(&[], local);
        let response = answer.recv().unwrap_or_default();
        response.map(|body| body.to_vec().into())
    };
    oxhttp::Server::new(serve).bind(http).spawn()?;
    println!("publish at http://{http}/live/publish, watch at http://{http}/live/");

    let (mut ids, mut clients) = ((0..).map(RequestId), BTreeMap::new());
    let (mut incoming, mut outgoing) = ([0; 2048], vec![0; TRANSMIT_BUFFER_LEN]);
    loop {
        let next = server.poll_timeout().map(|deadline| deadline.at);
        let due = next.map(|at| at.saturating_duration_since(Instant::now()));
        udp.set_read_timeout(due.map(|due| due.max(Duration::from_micros(1))))?;
        let received = udp.recv_from(&mut incoming);
        let now = Instant::now();
        if let Ok((len, remote)) = received {
            let datagram = Datagram {
                transport,
                local,
                remote,
                contents: incoming.get(..len).unwrap_or_default(),
            };
            server.handle_datagram(now, datagram);
        }
        for (id, (request, client)) in (&mut ids).zip(asked.try_iter()) {
            clients.insert(id, client);
            server.handle_request(now, id, request);
        }
        server.handle_timeout(now);
        while let Some((id, response)) = server.poll_response() {
            let _ = clients.remove(&id).map(|to| to.send(response).ok());
        }
        while let Some(train) = server.poll_transmit(now, transport, &mut outgoing) {
            for datagram in train.datagrams(&outgoing) {
                let _ = udp.send_to(datagram, train.destination);
            }
        }
    }
}
