//! The core in loops of the benchmark's own: as little as can be around it, and tokio.

use std::collections::BTreeMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;
use std::time::{Instant, SystemTime};

use bytes::Bytes;
use kvill_core::ids::{RequestId, TransportId};
use kvill_core::net::TRANSMIT_BUFFER_LEN;
use kvill_core::signal::Request;
use kvill_core::{Config, Server};
use kvill_host::udp::{ReceiveBuffers, Sent, UdpSocket};
use rustix::event::{EventfdFlags, Timespec, epoll, eventfd};

use super::pipe;

const TRANSPORT: TransportId = TransportId(0);

type Asked = (String, String, Sender<String>);

/// The core, its socket, and who asks.
struct Kvill {
    server: Server,
    udp: UdpSocket,
    buffers: ReceiveBuffers,
    outgoing: Vec<u8>,
    asked: Receiver<Asked>,
    next_id: u64,
    clients: BTreeMap<RequestId, Sender<String>>,
}

impl Kvill {
    fn new(asked: Receiver<Asked>) -> Self {
        let address = SocketAddr::new(Ipv4Addr::LOCALHOST.into(), 0);
        let udp = UdpSocket::bind(address).expect("a free port");
        let mut config = Config::default();
        config.transports.push(udp.local_address());
        let seed = std::array::from_fn(|_| fastrand::u8(..));
        let server = Server::new(config, seed, Instant::now(), SystemTime::now());
        Self {
            server: server.expect("a config that works"),
            udp,
            buffers: ReceiveBuffers::new(),
            outgoing: vec![0; TRANSMIT_BUFFER_LEN],
            asked,
            next_id: 0,
            clients: BTreeMap::new(),
        }
    }

    fn receive(&mut self, now: Instant) -> io::Result<()> {
        loop {
            self.udp.receive(&mut self.buffers)?;
            for datagram in self.buffers.datagrams(TRANSPORT) {
                self.server.handle_datagram(now, datagram);
            }
        }
    }

    /// All that there is to do once everything is received.
    fn turn(&mut self, now: Instant) {
        while let Ok((target, body, client)) = self.asked.try_recv() {
            let request = http::Request::builder()
                .method("POST")
                .uri(&target)
                .header("host", "localhost")
                .header("content-type", "application/sdp");
            let (head, ()) = request.body(()).expect("a request").into_parts();
            let request = Request {
                peer: SocketAddr::new(Ipv4Addr::LOCALHOST.into(), 9),
                tls: false,
                head,
                body: Bytes::from(body),
            };
            self.next_id += 1;
            let id = RequestId(self.next_id);
            self.clients.insert(id, client);
            self.server.handle_request(now, id, request);
        }
        if self.server.poll_timeout().is_some_and(|due| due.at <= now) {
            self.server.handle_timeout(now);
        }
        while let Some((id, response)) = self.server.poll_response() {
            let body = String::from_utf8_lossy(response.body()).into_owned();
            let client = self.clients.remove(&id);
            let _ = client.map(|client| client.send(body));
        }
        while let Some(train) = self
            .server
            .poll_transmit(now, TRANSPORT, &mut self.outgoing)
        {
            // What a full socket refuses is lost, which the witness would notice.
            let (Sent::Done | Sent::Full { .. }) =
                self.udp.send(&train, &self.outgoing[..train.size], 0);
        }
        while self.server.poll_event().is_some() {}
    }

    fn due(&mut self) -> Option<Instant> {
        self.server.poll_timeout().map(|due| due.at)
    }
}

/// Passes what is asked on to a loop, which `wake` wakes.
fn listen(wake: impl Fn() + Send + 'static) -> Receiver<Asked> {
    let (asks, asked) = mpsc::channel();
    thread::spawn(move || {
        for (target, body) in pipe::questions() {
            let (client, answers) = mpsc::channel::<String>();
            if asks.send((target, body, client)).is_err() {
                return;
            }
            wake();
            pipe::answer(&answers.recv().unwrap_or_default());
        }
        std::process::exit(0);
    });
    asked
}

/// A bare loop on epoll.
pub(super) fn by_epoll() -> io::Result<()> {
    let wake = Arc::new(eventfd(0, EventfdFlags::NONBLOCK)?);
    let other = Arc::clone(&wake);
    let mut kvill = Kvill::new(listen(move || {
        let _ = rustix::io::write(&*other, &1_u64.to_ne_bytes());
    }));
    let queue = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    let udp = kvill.udp.watch_handle()?;
    let edge = epoll::EventFlags::IN | epoll::EventFlags::ET;
    epoll::add(&queue, &udp, epoll::EventData::new_u64(0), edge)?;
    epoll::add(&queue, &*wake, epoll::EventData::new_u64(1), edge)?;
    let mut events = Vec::with_capacity(8);
    loop {
        let timeout = kvill.due().map(|at| {
            let left = at.saturating_duration_since(Instant::now());
            Timespec::try_from(left).unwrap_or(Timespec {
                tv_sec: 1,
                tv_nsec: 0,
            })
        });
        epoll::wait(
            &queue,
            rustix::buffer::spare_capacity(&mut events),
            timeout.as_ref(),
        )?;
        let now = Instant::now();
        if events.iter().any(|event| event.data.u64() == 0) {
            // Ends by WouldBlock.
            let _ = kvill.receive(now);
        }
        events.clear();
        kvill.turn(now);
    }
}

/// The same in a tokio task.
pub(super) fn by_tokio() -> io::Result<()> {
    let (waker, mut woken) = tokio::sync::mpsc::unbounded_channel();
    let mut kvill = Kvill::new(listen(move || {
        let _ = waker.send(());
    }));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let udp = tokio::net::UdpSocket::from_std(kvill.udp.watch_handle()?)?;
        loop {
            let due = kvill.due();
            tokio::select! {
                ready = udp.readable() => ready?,
                _ = woken.recv() => {}
                () = tokio::time::sleep_until(due.unwrap_or_else(Instant::now).into()), if due.is_some() => {}
            }
            let now = Instant::now();
            let _ = udp.try_io(tokio::io::Interest::READABLE, || kvill.receive(now));
            kvill.turn(now);
        }
    })
}
