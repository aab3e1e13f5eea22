//! What the fan-out costs per packet and viewer, beside a bare loop that seals the same bytes.
//!
//! `cargo bench -p kvill-tests --bench fanout [-- --quick]`
//!
//! Both sides send a burst of eight packets to every viewer, into one buffer: the core by
//! [`Server::poll_transmit`](kvill_core::Server::poll_transmit), the bare loop by copying and
//! sealing with as many keys in the same order. Everything else that a server has to do, system
//! calls first of all, is on neither side. They take turns, burst by burst, and the medians are
//! compared: what the machine does beside hits both.

use std::fmt::Write;
use std::time::{Duration, Instant};

use kvill_core::Config;
use kvill_core::net::TRANSMIT_BUFFER_LEN;
use kvill_tests::client::Options;
use kvill_tests::client::media::Packet;
use kvill_tests::memory::{Broadcast, Crossing, Link, TRANSPORT, Way, World};
use kvill_tests::peer::report;
use ring::aead::{AES_128_GCM, AES_256_GCM, Aad, Algorithm, LessSafeKey, Nonce, UnboundKey};
use str0m::format::Codec;

const VIEWERS: [usize; 3] = [1, 100, 1000];
const BURST: usize = 8;
const PAYLOAD_LEN: usize = 1150;
const RTP_HEADER_LEN: usize = 12;

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
    fn algorithm(&self) -> (&'static Algorithm, &'static str) {
        match self.0 {
            Some(7) => (&AES_128_GCM, "AES-128-GCM"),
            Some(8) => (&AES_256_GCM, "AES-256-GCM"),
            other => panic!("no AEAD was negotiated, but profile {other:?}"),
        }
    }
}

/// A viewer of the bare loop.
struct Bare {
    key: LessSafeKey,
    salt: [u8; 12],
    ssrc: [u8; 4],
}

impl Bare {
    fn new(algorithm: &'static Algorithm) -> Self {
        let key: Vec<u8> = std::iter::repeat_with(|| fastrand::u8(..))
            .take(algorithm.key_len())
            .collect();
        Self {
            key: LessSafeKey::new(UnboundKey::new(algorithm, &key).expect("a key of that length")),
            salt: std::array::from_fn(|_| fastrand::u8(..)),
            ssrc: fastrand::u32(..).to_be_bytes(),
        }
    }

    /// Copies the packets behind headers, seals each, and gives the length of all.
    fn seal(&self, packets: &[Packet], buffer: &mut [u8]) -> usize {
        let mut at = 0;
        for packet in packets {
            let sealed = at + RTP_HEADER_LEN;
            let end = sealed + packet.payload.len();
            let index = packet.seq.to_be_bytes();

            let header = &mut buffer[at..sealed];
            header[..2].copy_from_slice(&[0x80, 96 | u8::from(packet.marker) << 7]);
            header[2..4].copy_from_slice(&index[6..]);
            header[4..8].copy_from_slice(&packet.timestamp.to_be_bytes());
            header[8..].copy_from_slice(&self.ssrc);
            let aad = Aad::from(<[u8; RTP_HEADER_LEN]>::try_from(&*header).expect("12 bytes"));

            // RFC 7714 §8.1.
            let mut nonce = self.salt;
            for (byte, with) in nonce[2..]
                .iter_mut()
                .zip(self.ssrc.iter().chain(&index[2..]))
            {
                *byte ^= with;
            }
            buffer[sealed..end].copy_from_slice(&packet.payload);
            let nonce = Nonce::assume_unique_for_key(nonce);
            let payload = &mut buffer[sealed..end];
            let tag = self
                .key
                .seal_in_place_separate_tag(nonce, aad, payload)
                .expect("it fits");
            at = end + tag.as_ref().len();
            buffer[end..at].copy_from_slice(tag.as_ref());
        }
        at
    }
}

/// The two sides of one number of viewers.
struct Bench {
    live: Broadcast<Cipher>,
    bare: Vec<Bare>,
    buffer: Vec<u8>,
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
        // From here on the clock stands still, and nobody notices that the clients are gone.
        for viewer in std::mem::take(&mut live.viewers) {
            live.world.vanish(viewer.id);
        }
        let (algorithm, _) = live.world.link.algorithm();
        Self {
            live,
            bare: std::iter::repeat_with(|| Bare::new(algorithm))
                .take(viewers)
                .collect(),
            buffer: vec![0; TRANSMIT_BUFFER_LEN],
        }
    }

    /// One burst by either side: what each took.
    fn burst(&mut self) -> [Duration; 2] {
        self.live.delta(BURST, PAYLOAD_LEN);
        let packets = std::mem::take(&mut self.live.video_sent);
        for (from, contents) in self.live.world.outgoing(self.live.publisher) {
            self.live.world.cross(Way::ToServer, from, &contents);
        }

        let now = self.live.world.now();
        let server = &mut self.live.world.server;
        let mut bytes = [0, 0];
        let started = Instant::now();
        while let Some(transmit) = server.poll_transmit(now, TRANSPORT, &mut self.buffer) {
            bytes[0] += transmit.size;
        }
        let core = started.elapsed();

        let started = Instant::now();
        for viewer in &self.bare {
            bytes[1] += viewer.seal(&packets, &mut self.buffer);
        }
        let bare = started.elapsed();

        let overhead = RTP_HEADER_LEN + 16;
        assert_eq!(
            bytes,
            [self.bare.len() * BURST * (PAYLOAD_LEN + overhead); 2]
        );
        [core, bare]
    }
}

/// The median, in ns per packet.
fn median(mut bursts: Vec<Duration>, packets: usize) -> f64 {
    bursts.sort_unstable();
    #[expect(clippy::cast_precision_loss, reason = "small numbers")]
    let packets = packets as f64;
    bursts[bursts.len() / 2].as_secs_f64() * 1e9 / packets
}

fn main() {
    let quick = std::env::args().any(|a| a == "--quick");
    // So many packets are sealed by each side, for each number of viewers.
    let packets = if quick { 200_000 } else { 4_000_000 };

    let mut table = String::new();
    for viewers in VIEWERS {
        let mut bench = Bench::new(viewers);
        if table.is_empty() {
            let (_, cipher) = bench.live.world.link.algorithm();
            writeln!(
                table,
                "ns per packet and viewer: {BURST} packets of {PAYLOAD_LEN} B at once, {cipher}\n\
                 viewers    core    bare   ratio"
            )
            .expect("a string");
        }
        let rounds = packets / BURST / viewers;
        for _ in 0..rounds / 10 {
            bench.burst();
        }
        let bursts: Vec<_> = std::iter::repeat_with(|| bench.burst())
            .take(rounds)
            .collect();
        let each = viewers * BURST;
        let core = median(bursts.iter().map(|b| b[0]).collect(), each);
        let bare = median(bursts.iter().map(|b| b[1]).collect(), each);
        writeln!(
            table,
            "{viewers:7}  {core:6.0}  {bare:6.0}  {:6.2}",
            core / bare
        )
        .expect("a string");
    }
    report("fanout", &table);
}
