//! What the fan-out costs per packet and viewer, beside a bare loop that seals the same bytes.
//!
//! `cargo bench --workspace --bench fanout [-- --quick]`
//!
//! All sides send a burst of eight packets to every viewer, into one buffer: the core by
//! [`Server::poll_transmit`](kvill_core::Server::poll_transmit), the bare loops by copying and
//! sealing with as many keys in the same order, each by another library. The faster one is the
//! floor. Everything else that a server has to do, system calls first of all, is on no side. They
//! take turns, burst by burst, and so do the numbers of viewers, round by round. Medians of CPU
//! time are compared.

#[cfg(target_os = "linux")]
mod linux {
    use std::net::SocketAddr;
    use std::time::Duration;

    use kvill_core::Config;
    use kvill_core::net::TRANSMIT_BUFFER_LEN;
    use kvill_tests::bench::clock::{own_cpu, own_cpu_cost, touched};
    use kvill_tests::bench::sealing::{Aead, OVERHEAD, Viewer};
    use kvill_tests::bench::{Table, is_quick, median};
    use kvill_tests::client::Options;
    use kvill_tests::client::media::Packet;
    use kvill_tests::memory::{Broadcast, Crossing, Link, TRANSPORT, Way, World};
    use kvill_tests::peer::report;
    use str0m::format::Codec;
    use str0m::media::MediaKind;

    const BURST: usize = 8;
    const PAYLOAD_LEN: usize = 1150;

    /// From burst to burst, by the core's clock: so that a viewer may have all of the next.
    const INTERVAL: Duration = Duration::from_millis(1);

    type Ring = ring::aead::LessSafeKey;
    type AwsLc = aws_lc_rs::aead::LessSafeKey;

    /// Carries everything and reads the SRTP cipher from the servers' ServerHellos.
    #[derive(Debug, Default)]
    struct Cipher(Option<u8>);

    impl Link for Cipher {
        fn carries(&mut self, crossing: &Crossing<'_>) -> bool {
            // `use_srtp` (RFC 5764 §4.1.1) with one profile and no MKI, in a handshake record.
            const USE_SRTP: [u8; 7] = [0, 14, 0, 5, 0, 2, 0];
            if crossing.way == Way::ToClient && crossing.contents.first() == Some(&22) {
                let place = crossing.contents.windows(7).position(|w| w == USE_SRTP);
                let profile = place.and_then(|at| crossing.contents.get(at + 7));
                self.0 = profile.copied().or(self.0);
            }
            true
        }
    }

    impl Cipher {
        /// RFC 7714 §14.2.
        fn key_len(&self) -> usize {
            match self.0 {
                Some(7) => 16,
                Some(8) => 32,
                other => panic!("no AEAD was negotiated, but profile {other:?}"),
            }
        }
    }

    /// The CPU time of one burst.
    #[derive(Clone, Copy)]
    struct Cost {
        core: Duration,
        ring: Duration,
        aws_lc: Duration,
    }

    /// All sides of one number of viewers.
    struct Bench {
        live: Broadcast<Cipher>,
        publisher: SocketAddr,
        ring: Vec<Viewer<Ring>>,
        aws_lc: Vec<Viewer<AwsLc>>,
        buffer: Vec<u8>,
        costs: Vec<Cost>,
    }

    impl Bench {
        fn new(viewers: usize) -> Self {
            let world = World::with_link(7, Config::default(), Cipher::default());
            let options = Options::new(&[Codec::Vp8]);
            let mut live = Broadcast::new(world, Codec::Vp8, viewers, &options);
            live.keyframe(BURST, PAYLOAD_LEN);
            live.world.settle();
            live.check_complete();
            live.video_sent.clear();
            // From here on no deadline falls due, and nobody notices that the clients are gone.
            for viewer in std::mem::take(&mut live.viewers) {
                live.world.vanish(viewer.id);
            }
            let key_len = live.world.link.key_len();
            Self {
                publisher: live.world.client(live.publisher).local(),
                live,
                ring: bare(viewers, key_len),
                aws_lc: bare(viewers, key_len),
                buffer: vec![0; TRANSMIT_BUFFER_LEN],
                costs: Vec::new(),
            }
        }

        fn viewers(&self) -> usize {
            self.ring.len()
        }

        /// The next packets, which are the server's already.
        fn feed(&mut self) -> Vec<Packet> {
            self.live.delta(BURST, PAYLOAD_LEN);
            for (from, contents) in self.live.world.outgoing(self.live.publisher) {
                self.live.world.cross(Way::ToServer, from, &contents);
            }
            std::mem::take(&mut self.live.video_sent)
        }

        /// The core's side. Returns how many bytes there were, but for the reports that the publisher
        /// gets now and then.
        fn drain(&mut self) -> usize {
            let now = self.live.world.now();
            let server = &mut self.live.world.server;
            let mut bytes = 0;
            while let Some(transmit) = server.poll_transmit(now, TRANSPORT, &mut self.buffer) {
                bytes += usize::from(transmit.destination != self.publisher) * transmit.size;
            }
            bytes
        }

        /// One burst by each side.
        fn burst(&mut self, clock: Duration, turn: usize) -> Cost {
            self.live.world.skip(INTERVAL);
            let packets = self.feed();
            let bytes = self.viewers() * BURST * (PAYLOAD_LEN + OVERHEAD);
            let mut took = [Duration::ZERO; 3];
            // Who comes first finds other caches than the last.
            for side in 0..3 {
                let side = (turn + side) % 3;
                let (cost, sealed) = timed(clock, || match side {
                    0 => self.drain(),
                    1 => seal(&self.ring, &packets, &mut self.buffer),
                    _ => seal(&self.aws_lc, &packets, &mut self.buffer),
                });
                assert_eq!(sealed, bytes);
                took[side] = cost;
            }
            let [core, ring, aws_lc] = took;
            Cost { core, ring, aws_lc }
        }

        /// The median, in ns per packet and viewer.
        fn cost(&self, of: impl Fn(&Cost) -> Duration) -> f64 {
            let costs = self.costs.iter().map(|cost| of(cost).as_secs_f64());
            median(costs) * 1e9 / per_burst(self.viewers())
        }

        /// A row of the table: the core's figure and the floor's, too.
        fn row(&mut self, table: &mut Table) -> (f64, f64) {
            let [core, ring, aws_lc] = [
                self.cost(|cost| cost.core),
                self.cost(|cost| cost.ring),
                self.cost(|cost| cost.aws_lc),
            ];
            let floor = ring.min(aws_lc);
            let packets = self.feed();
            let by_core = touched(|| {
                self.drain();
            });
            let buffer = &mut self.buffer;
            let by_ring = touched(|| {
                seal(&self.ring, &packets, buffer);
            });
            let viewers = u64::try_from(self.viewers()).expect("few viewers");
            table.row([
                self.viewers().to_string(),
                format!("{core:.0}"),
                format!("{ring:.0}"),
                format!("{aws_lc:.0}"),
                format!("{:.2}", core / floor),
                (by_core / viewers).to_string(),
                (by_ring / viewers).to_string(),
            ]);
            (core, floor)
        }
    }

    fn bare<A: Aead>(viewers: usize, key_len: usize) -> Vec<Viewer<A>> {
        std::iter::repeat_with(|| Viewer::new(key_len))
            .take(viewers)
            .collect()
    }

    fn seal<A: Aead>(viewers: &[Viewer<A>], packets: &[Packet], buffer: &mut [u8]) -> usize {
        let lens = viewers
            .iter()
            .map(|viewer| viewer.seal_all(MediaKind::Video, packets, buffer));
        lens.sum()
    }

    fn timed<T>(clock: Duration, what: impl FnOnce() -> T) -> (Duration, T) {
        let before = own_cpu();
        let result = what();
        ((own_cpu() - before).saturating_sub(clock), result)
    }

    #[expect(clippy::cast_precision_loss, reason = "small numbers")]
    fn per_burst(viewers: usize) -> f64 {
        (viewers * BURST) as f64
    }

    pub(super) fn main() {
        // Each size seals as many packets, but for the largest ones, which have one burst a round.
        let (sizes, rounds, bursts): (&[usize], _, _) = match is_quick() {
            true => (&[1, 10, 100], 5, 100),
            false => (&[1, 10, 100, 1000, 5000], 100, 1000),
        };
        let clock = own_cpu_cost();
        let mut benches: Vec<_> = sizes.iter().map(|viewers| Bench::new(*viewers)).collect();
        for round in 0..=rounds {
            for bench in &mut benches {
                for turn in 0..(bursts / bench.viewers()).max(1) {
                    let cost = bench.burst(clock, round + turn);
                    // The first round warms up.
                    if round > 0 {
                        bench.costs.push(cost);
                    }
                }
            }
        }

        let bits = 8 * benches[0].live.world.link.key_len();
        let mut table = Table::new(&[
            "viewers",
            "core",
            <Ring as Aead>::NAME,
            <AwsLc as Aead>::NAME,
            "core / floor",
            "bytes touched by core",
            "by ring",
        ]);
        let figures: Vec<_> = benches.iter_mut().map(|b| b.row(&mut table)).collect();
        let mut text = format!(
            "ns of CPU per packet and viewer: bursts of {BURST} packets of {PAYLOAD_LEN} B, AES-{bits}-GCM; \
             bytes: pages that a burst touches, by viewer\n{table}"
        );
        let at = |viewers: usize| sizes.iter().position(|size| *size == viewers);
        if let (Some(few), Some(many)) = (at(100), at(5000)) {
            let growth =
                |of: fn(&(f64, f64)) -> f64| 100.0 * (of(&figures[many]) / of(&figures[few]) - 1.0);
            text += &format!(
                "from {} to {} viewers: core {:+.0} %, floor {:+.0} %\n",
                sizes[few],
                sizes[many],
                growth(|figures| figures.0),
                growth(|figures| figures.1),
            );
        }
        report("fanout", &text);
    }
}

fn main() {
    #[cfg(target_os = "linux")]
    linux::main();
}
