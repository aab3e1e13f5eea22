//! The goroutine style in Rust: a task for each viewer, a channel to each, and each seals and sends
//! every packet by itself.
//!
//! There is nothing else: no ICE, no reports, no repairs. Viewers are addresses, and packets come in
//! the clear.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use kvill_tests::bench::sealing::{OVERHEAD, Viewer};
use kvill_tests::client::media::Packet;
use str0m::media::MediaKind;

use super::pipe;

/// What dimpl prefers.
const KEY_LEN: usize = 32;

/// Packets that wait for a viewer's task.
const WAITING_MAX: usize = 1024;

/// Threads of a runtime: as many as this machine has CPUs, as Go does.
fn workers() -> usize {
    thread::available_parallelism().map_or(2, usize::from)
}

type Item = Arc<(MediaKind, Packet)>;
type Sealer = Viewer<ring::aead::LessSafeKey>;

/// A packet on its way to a server of this kind.
pub(super) fn write(kind: MediaKind, packet: &Packet) -> Vec<u8> {
    let mut datagram = packet.seq.to_be_bytes().to_vec();
    datagram.extend(packet.timestamp.to_be_bytes());
    datagram.push(u8::from(packet.marker));
    datagram.push(u8::from(kind == MediaKind::Audio));
    datagram.extend(&*packet.payload);
    datagram
}

fn read(datagram: &[u8]) -> Option<Item> {
    let (seq, rest) = datagram.split_first_chunk()?;
    let (timestamp, rest) = rest.split_first_chunk()?;
    let ([marker, audio], payload) = rest.split_first_chunk()?;
    let kind = match audio {
        0 => MediaKind::Video,
        _ => MediaKind::Audio,
    };
    let packet = Packet {
        seq: u64::from_be_bytes(*seq),
        timestamp: u32::from_be_bytes(*timestamp),
        marker: *marker != 0,
        payload: payload.into(),
    };
    Some(Arc::new((kind, packet)))
}

fn seal(viewer: &Sealer, item: &Item, buffer: &mut Vec<u8>) -> usize {
    let (kind, packet) = &**item;
    buffer.resize(packet.payload.len() + OVERHEAD, 0);
    viewer.seal(*kind, packet, buffer)
}

/// Answers what is asked, on a thread of its own: where packets are to be sent, and that a viewer is
/// let in.
fn listen(local: SocketAddr, mut admit: impl FnMut(SocketAddr) + Send + 'static) {
    thread::spawn(move || {
        for (what, body) in pipe::questions() {
            if what == "viewer" {
                admit(body.parse().expect("an address"));
            }
            pipe::answer(&local.to_string());
        }
        std::process::exit(0);
    });
}

fn lock<T>(list: &Mutex<Vec<T>>) -> std::sync::MutexGuard<'_, Vec<T>> {
    list.lock().unwrap_or_else(PoisonError::into_inner)
}

fn bind() -> io::Result<std::net::UdpSocket> {
    let socket = std::net::UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
    let options = socket2::SockRef::from(&socket);
    options.set_recv_buffer_size(4 << 20)?;
    options.set_send_buffer_size(4 << 20)?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

/// On tokio's threads.
pub(super) fn by_tokio() -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(workers())
        .enable_all()
        .build()?;
    let handle = runtime.handle().clone();
    runtime.block_on(async {
        let socket = Arc::new(tokio::net::UdpSocket::from_std(bind()?)?);
        let channels = Arc::new(Mutex::new(Vec::new()));
        let (others, out) = (Arc::clone(&channels), Arc::clone(&socket));
        listen(socket.local_addr()?, move |to| {
            let (sender, mut items) = tokio::sync::mpsc::channel::<Item>(WAITING_MAX);
            lock(&others).push(sender);
            let socket = Arc::clone(&out);
            handle.spawn(async move {
                let (viewer, mut buffer) = (Sealer::new(KEY_LEN), Vec::new());
                while let Some(item) = items.recv().await {
                    let len = seal(&viewer, &item, &mut buffer);
                    let _ = socket.send_to(&buffer[..len], to).await;
                }
            });
        });
        // On one of the threads, as a goroutine would be.
        let ingress = tokio::spawn(async move {
            let mut buffer = vec![0; 2048];
            while let Ok(len) = socket.recv(&mut buffer).await {
                if let Some(item) = read(&buffer[..len]) {
                    for channel in lock(&channels).iter() {
                        let _ = channel.try_send(Arc::clone(&item));
                    }
                }
            }
        });
        ingress.await.map_err(io::Error::other)
    })
}

/// On threads that run one executor of smol.
pub(super) fn by_smol() -> io::Result<()> {
    let executor = Arc::new(smol::Executor::new());
    let socket = smol::Async::new(bind()?)?;
    let (local, socket) = (socket.get_ref().local_addr()?, Arc::new(socket));
    let channels = Arc::new(Mutex::new(Vec::new()));
    let (others, out, tasks) = (
        Arc::clone(&channels),
        Arc::clone(&socket),
        Arc::clone(&executor),
    );
    listen(local, move |to| {
        let (sender, items) = smol::channel::bounded::<Item>(WAITING_MAX);
        lock(&others).push(sender);
        let socket = Arc::clone(&out);
        let task = async move {
            let (viewer, mut buffer) = (Sealer::new(KEY_LEN), Vec::new());
            while let Ok(item) = items.recv().await {
                let len = seal(&viewer, &item, &mut buffer);
                let _ = socket.send_to(&buffer[..len], to).await;
            }
        };
        tasks.spawn(task).detach();
    });
    for _ in 1..workers() {
        let executor = Arc::clone(&executor);
        thread::spawn(move || smol::block_on(executor.run(smol::future::pending::<()>())));
    }
    let ingress = executor.spawn(async move {
        let mut buffer = vec![0; 2048];
        while let Ok(len) = socket.recv(&mut buffer).await {
            if let Some(item) = read(&buffer[..len]) {
                for channel in lock(&channels).iter() {
                    let _ = channel.try_send(Arc::clone(&item));
                }
            }
        }
    });
    smol::block_on(executor.run(ingress));
    Ok(())
}
