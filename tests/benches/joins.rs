//! What looking for interface addresses takes of a server's CPU while viewers join as fast as they
//! can, by perf.
//!
//! `cargo build --release --workspace --bins && cargo bench --workspace --bench joins [-- --quick]`
//!
//! Linux alone, as root. The server's machine, a network namespace, has 200 addresses, and one more
//! from the middle of the run on. Viewers ask for a session over HTTP, check their way, shake hands,
//! and leave, in waves; that they leave is not measured. No media flows, which would only make the
//! share smaller.

#[cfg(target_os = "linux")]
mod linux {
    use std::net::{IpAddr, Ipv4Addr, UdpSocket};
    use std::sync::mpsc;
    use std::thread;
    use std::time::{Duration, Instant};

    use kvill_tests::bench::is_quick;
    use kvill_tests::bench::profile::{self, Profile, Stacks};
    use kvill_tests::client::{Client, Options};
    use kvill_tests::light::{BUFFER_LEN, Viewer};
    use kvill_tests::namespace::Pair;
    use kvill_tests::peer::report;
    use kvill_tests::process::{BINARIES, Kvill};
    use kvill_tests::web;
    use kvill_tests::wire::{self, Peer, with_only};
    use str0m::format::Codec;

    const ADDRESSES: u32 = 200;
    const SERVER: Ipv4Addr = Ipv4Addr::new(10, 99, 0, 1);
    const CLIENT: Ipv4Addr = Ipv4Addr::new(10, 99, 255, 9);

    /// What comes in the middle.
    const NEW: &str = "10.99.1.1/16 dev cable";

    /// At once: as many as a process may have sockets for without asking.
    const VIEWERS: usize = 400;

    /// The same where it only has to work.
    const QUICK_VIEWERS: usize = 40;

    /// Of that many requests are under way at once.
    const ASKING: usize = 4;

    /// Between two looks at the sockets.
    const PAUSE: Duration = Duration::from_micros(200);

    const PATIENCE: Duration = Duration::from_secs(30);

    /// A viewer, its socket, and what DELETE goes to.
    struct Seat {
        viewer: Viewer,
        socket: UdpSocket,
        location: String,
    }

    impl Seat {
        fn take(url: &str) -> Self {
            let mut viewer = Viewer::default();
            let socket = UdpSocket::bind((CLIENT, 0)).expect("an address of this machine");
            socket.set_nonblocking(true).expect("a socket that is open");
            let reply = web::offer(url, "/live/whep", &viewer.offer());
            assert_eq!(reply.status, 201, "{reply:?}");
            let accepted = viewer.accept_answer(Instant::now(), &reply.body);
            accepted.expect("an answer that works");
            let location = reply.header("location").expect("201 has a Location");
            Self {
                viewer,
                socket,
                location: location.to_owned(),
            }
        }

        fn turn(&mut self, buffer: &mut [u8]) {
            let now = Instant::now();
            // Whatever is wrong with the socket shows by a viewer that is not connected.
            while let Ok(len) = self.socket.recv(buffer) {
                self.viewer.handle_datagram(now, &buffer[..len]);
            }
            while let Some(len) = self.viewer.poll_transmit(now, buffer) {
                if let Some(server) = self.viewer.server() {
                    let _ = self.socket.send_to(&buffer[..len], server);
                }
            }
        }
    }

    /// So many viewers join, until the last is connected.
    fn join(url: &str, viewers: usize) -> Vec<Seat> {
        let mut seats: Vec<Seat> = Vec::new();
        let mut buffer = vec![0; BUFFER_LEN];
        let deadline = Instant::now() + PATIENCE;
        thread::scope(|scope| {
            let (sender, receiver) = mpsc::channel();
            for _ in 0..ASKING {
                let sender = sender.clone();
                scope.spawn(move || {
                    for _ in 0..viewers / ASKING {
                        let _ = sender.send(Seat::take(url));
                    }
                });
            }
            let is_waiting = |seat: &&mut Seat| !seat.viewer.is_connected();
            while seats.len() < viewers || seats.iter_mut().any(|seat| is_waiting(&seat)) {
                assert!(Instant::now() < deadline, "not connected in {PATIENCE:?}");
                seats.extend(receiver.try_iter());
                for seat in seats.iter_mut().filter(is_waiting) {
                    seat.turn(&mut buffer);
                }
                thread::sleep(PAUSE);
            }
        });
        seats
    }

    fn leave(url: &str, seats: Vec<Seat>) {
        for seat in seats {
            let deleted = web::ask(url, "DELETE", &seat.location, &[], "");
            assert_eq!(deleted.status, 200, "{deleted:?}");
        }
    }

    /// Joins to one server, and a row of the table.
    fn row(net: &Pair, binary: &str, ttl: &str, (waves, viewers): (usize, usize)) -> String {
        let args = ["--interface-ttl", ttl];
        let mut kvill = net
            .server
            .run(|| Kvill::launch(binary, "[::]:0", "[::]:0", &args));
        let url = Pair::url(&kvill, SERVER.into());
        let mut publisher = vec![net.clients.run(|| {
            let options = Options::new(&[Codec::Vp8, Codec::Opus]);
            let mut peer = Peer::new(CLIENT, Client::publisher, &options);
            let reply = web::offer(&url, "/live/whip", peer.client.offer());
            peer.take(&reply, &with_only(&reply.body, SERVER.into()));
            peer
        })];
        wire::connect(&mut publisher);

        let mut profile = Profile::new(kvill.id(), Stacks::Copied);
        let (mut seconds, mut took) = (Duration::ZERO, Duration::ZERO);
        for n in 0..waves {
            if n == waves / 2 {
                let added = net.server.ip(&format!("addr add {NEW}"));
                added.expect("a right to change addresses");
            }
            profile.start();
            let (started, before) = (Instant::now(), kvill.cpu());
            let seats = net.clients.run(|| join(&url, viewers));
            took += kvill.cpu() - before;
            seconds += started.elapsed();
            profile.stop();
            net.clients.run(|| leave(&url, seats));
            wire::run(&mut publisher, Duration::from_millis(10), |_| false);
        }
        let (mut all, mut lookups, mut notices) = (0, 0, 0);
        profile.finish(|stack| {
            all += 1;
            lookups += usize::from(stack.contains("InterfaceCache::refresh"));
            notices += usize::from(stack.contains("InterfaceProvider::handle_notices"));
        });
        let gone = net.server.ip(&format!("addr del {NEW}"));
        gone.expect("it was added");
        kvill.ask_to_end();
        kvill.check_end();
        let totals = kvill.line(&["interface totals"]);
        let mut words = totals.split_whitespace();
        let asked = words.find_map(|word| word.strip_prefix("asked="));

        #[expect(clippy::cast_precision_loss, reason = "for the reader")]
        let share = |part: usize| format!("{:.3} %", 100.0 * part as f64 / all.max(1) as f64);
        let joins = waves * viewers;
        let each = took / u32::try_from(joins).expect("few joins");
        format!(
            "| {binary} | {ttl} s | {joins} in {:.1} s | {} µs | {all} | {} | {} | {} | {} |\n",
            seconds.as_secs_f64(),
            each.as_micros(),
            asked.unwrap_or("?"),
            share(lookups),
            share(notices),
            share(lookups + notices),
        )
    }

    pub(super) fn main() {
        let (waves, viewers): (usize, _) = match is_quick() {
            true => (2, QUICK_VIEWERS),
            false => (20, VIEWERS),
        };
        if !profile::is_possible() {
            return;
        }
        let addresses = (SERVER.to_bits()..).take(ADDRESSES as usize);
        let addresses: Vec<IpAddr> = addresses.map(|b| Ipv4Addr::from_bits(b).into()).collect();
        let Some(net) = Pair::if_possible(&addresses, &[CLIENT.into()]) else {
            return;
        };
        let mut table = format!(
            "joins to a server of {ADDRESSES} addresses, and one more from the middle on; shares of its \
             samples; lookups: that of the start too, and if no list is kept those of DELETE; CPU: what \
             perf takes included\n\
             | server | list kept | joins | CPU per join | samples | lookups | share | share of asking \
             for notices | both |\n|---|---|---|---|---|---|---|---|---|\n"
        );
        for binary in BINARIES {
            // Where each request costs a lookup, few say as much.
            for (ttl, waves) in [("30", waves), ("0", waves.div_ceil(5))] {
                table += &row(&net, binary, ttl, (waves, viewers));
            }
        }
        report("joins", &table);
    }
}

fn main() {
    #[cfg(target_os = "linux")]
    linux::main();
}
