//! What sending costs per packet, core, driver and kernel together, beside a bare loop that seals
//! and sends the same bytes by the best system calls.
//!
//! `cargo bench --workspace --bench send [-- --quick]`
//!
//! A driver on a thread of its own has viewers who do not read, and a program that publishes. The
//! bare loop seals as much by as many keys and sends it to the same viewers: a train for each
//! viewer and frame, several trains by one `sendmmsg`. They take turns, frame by frame, and medians
//! of CPU time are compared. What the system does for the receiver is on both sides: on loopback it
//! is done by the sender's thread, and through a cable between two network namespaces (Linux, as
//! root) the trains are cut into packets by software before. What comes about once a second is outside
//! the medians: sender reports, and answers to the checks of viewers.

#[cfg(target_os = "linux")]
mod loads;
#[cfg(target_os = "linux")]
mod net;

#[cfg(target_os = "linux")]
mod linux {
    use std::net::SocketAddr;
    use std::thread;
    use std::time::{Duration, Instant};

    use kvill_core::media::{Codec, MediaKind};
    use kvill_core::rtp::RtpPacket;
    use kvill_host::publisher::Publisher;
    use kvill_host::settings::Settings;
    use kvill_host::spawn::{Drive, Running};
    use kvill_host::udp::Counters;
    use kvill_tests::bench::clock::{Thread, own_cpu};
    use kvill_tests::bench::sealing::OVERHEAD;
    use kvill_tests::bench::seats::{Heard, Seats};
    use kvill_tests::bench::sending::{Bare, Item};
    use kvill_tests::bench::{Table, is_quick, median, ratio};
    use kvill_tests::client::media::Source;
    use kvill_tests::peer::report;
    use kvill_tests::web;
    use str0m::format::Codec as TestCodec;

    use super::loads::{LOADS, Load};
    use super::net::Net;

    const PAYLOAD_LEN: usize = 1150;
    const SOUND_LEN: usize = 100;

    /// What dimpl prefers.
    const KEY_LEN: usize = 32;

    /// How many trains leave by one system call of the bare loop: the cheapest counts.
    const BATCHES: [usize; 3] = [1, 8, 32];

    /// Between two looks at a driver that is at work.
    const PAUSE: Duration = Duration::from_micros(100);

    /// How often viewers show that they are there.
    const KEEP_INTERVAL: Duration = Duration::from_secs(1);

    const PATIENCE: Duration = Duration::from_secs(10);

    type Ring = ring::aead::LessSafeKey;
    type AwsLc = aws_lc_rs::aead::LessSafeKey;

    /// A driver, its viewers, and the bare loops.
    struct Bench {
        running: Running,
        /// The driver's, and its runtime's.
        threads: Vec<Thread>,
        publisher: Publisher,
        video: Source,
        audio: Source,
        seats: Seats,
        kept_at: Instant,
        viewers: usize,
        ring: Bare<Ring>,
        aws_lc: Bare<AwsLc>,
    }

    impl Bench {
        fn new<D: Drive>(net: &Net, viewers: usize) -> Self {
            let [server, clients] = net.addresses();
            let settings = Settings {
                http_addresses: vec![SocketAddr::new(server, 0)],
                udp_addresses: vec![SocketAddr::new(server, 0)],
                ..Settings::default()
            };
            let running = net.at_server(|| Running::start::<D>("bench-driver", settings));
            let running = running.expect("a driver that starts");
            let publisher = running
                .handle()
                .publish("live", &[Codec::vp8(), Codec::opus()]);
            let publisher = publisher.wait().expect("a driver that runs");
            let url = format!("http://{}", running.http_addresses()[0]);
            let seats = net.at_clients(|| {
                Seats::join(clients, viewers, |offer| {
                    let reply = web::offer(&url, "/live/whep", offer);
                    assert_eq!(reply.status, 201, "{reply:?}");
                    reply.body
                })
            });
            assert_eq!(seats.key_len(), Some(KEY_LEN), "the bare loop's keys");
            let addresses = seats.addresses();
            let ring = || Bare::new(server, &addresses, PAYLOAD_LEN, KEY_LEN);
            let aws_lc = || Bare::new(server, &addresses, PAYLOAD_LEN, KEY_LEN);
            let threads = ["bench-driver", "async-io"].map(Thread::named);
            let mut bench = Self {
                threads: threads.concat(),
                publisher: publisher.expect("a path that is free"),
                running,
                video: Source::new(TestCodec::Vp8, 20_000, 1),
                audio: Source::new(TestCodec::Opus, 30_000, 1),
                seats,
                kept_at: Instant::now(),
                viewers,
                ring: net.at_server(ring).expect("a system with GSO"),
                aws_lc: net.at_server(aws_lc).expect("a system with GSO"),
            };
            let keyframe = bench.video.keyframe(1, PAYLOAD_LEN);
            let frame: Vec<Item> = keyframe
                .into_iter()
                .map(|packet| (str0m::media::MediaKind::Video, packet))
                .collect();
            bench.drive(&frame);
            bench
        }

        fn frame(&mut self, load: Load) -> Vec<Item> {
            let mut video = self.video.delta(load.packets, PAYLOAD_LEN);
            for packet in &mut video[..load.shorter] {
                packet.payload = packet.payload[..PAYLOAD_LEN - 1].into();
            }
            let audio = match load.sound {
                true => self.audio.delta(1, SOUND_LEN),
                false => Vec::new(),
            };
            let video = video
                .into_iter()
                .map(|packet| (str0m::media::MediaKind::Video, packet));
            let audio = audio
                .into_iter()
                .map(|packet| (str0m::media::MediaKind::Audio, packet));
            video.chain(audio).collect()
        }

        fn cpu(&self) -> Duration {
            self.threads.iter().map(Thread::cpu).sum()
        }

        fn counters(&self) -> Counters {
            let stats = self.running.handle().stats().wait();
            stats.expect("a driver that runs").transports[0].counters
        }

        /// Has the driver send a frame. Returns the CPU time that it took.
        fn drive(&mut self, frame: &[Item]) -> Duration {
            let before = self.cpu();
            for (kind, packet) in frame {
                let kind = match kind {
                    str0m::media::MediaKind::Video => MediaKind::Video,
                    str0m::media::MediaKind::Audio => MediaKind::Audio,
                };
                let packet = RtpPacket {
                    sequence: u16::from_be_bytes(low(packet.seq)),
                    timestamp: packet.timestamp,
                    marker: packet.marker,
                    payload: &packet.payload,
                };
                let sent = self.publisher.send_packet(kind, &packet);
                sent.expect("a driver that keeps up");
            }
            self.witness(frame);
            self.cpu() - before
        }

        /// Waits until the witness has a frame, and the driver is at rest.
        fn witness(&mut self, frame: &[Item]) {
            let bytes = frame.iter().map(|(_, packet)| packet.payload.len());
            let expected = Heard {
                packets: frame.len() as u64,
                bytes: bytes.map(|len| (len + OVERHEAD) as u64).sum(),
            };
            let mut heard = Heard::default();
            let deadline = Instant::now() + PATIENCE;
            while heard != expected || !self.threads.iter().all(Thread::is_asleep) {
                assert!(Instant::now() < deadline, "{heard:?} of {expected:?}");
                thread::sleep(PAUSE);
                let more = self.seats.heard();
                heard.packets += more.packets;
                heard.bytes += more.bytes;
            }
        }

        /// Sends the same by a bare loop.
        fn send(&mut self, frame: &[Item], by: Floor) -> Duration {
            let before = own_cpu();
            let sent = match by {
                Floor::Ring(batch) => self.ring.send(frame, batch),
                Floor::AwsLc(batch) => self.aws_lc.send(frame, batch),
            };
            let took = own_cpu() - before;
            sent.expect("a system that sends");
            self.witness(frame);
            took
        }

        /// Frames by all sides in turn, and a row of the table.
        fn row(&mut self, table: &mut Table, who: [&str; 2], load: Load, frames: usize) {
            let floors: Vec<_> = BATCHES
                .iter()
                .flat_map(|batch| [Floor::Ring(*batch), Floor::AwsLc(*batch)])
                .collect();
            let mut driven = Vec::new();
            let mut bare = vec![Vec::new(); floors.len()];
            let before = self.counters();
            let mut due = Instant::now();
            for n in 0..frames {
                if self.kept_at.elapsed() >= KEEP_INTERVAL {
                    self.seats.keep();
                    self.kept_at = Instant::now();
                    // Answers, and reports that were due meanwhile, are not what is measured.
                    thread::sleep(Duration::from_millis(5));
                }
                if let Some(interval) = load.interval {
                    due += interval;
                    thread::sleep(due.saturating_duration_since(Instant::now()));
                }
                let frame = self.frame(load);
                let filled = filled_up(frame.clone());
                // Who comes first finds other caches than the last. Where frames are paced, there is no
                // time for all floors.
                let sides = floors.len() + 1;
                for k in 0..sides {
                    match (n + k) % sides {
                        0 => driven.push(self.drive(&frame)),
                        k if load.interval.is_none() || k - 1 == n % floors.len() => {
                            bare[k - 1].push(self.send(&filled, floors[k - 1]));
                        }
                        _ => {}
                    }
                }
            }
            let after = self.counters();
            let packets = self.viewers * (load.packets + usize::from(load.sound));
            // The witness is one of many.
            let sent = after.datagrams - before.datagrams;
            assert!(sent >= (packets * frames) as u64, "{before:?} {after:?}");
            #[expect(clippy::cast_precision_loss, reason = "small numbers")]
            let cost = |costs: &[Duration]| {
                median(costs.iter().map(Duration::as_secs_f64)) * 1e9 / packets as f64
            };
            let driver = cost(&driven);
            let floor = bare.iter().map(|costs| cost(costs)).zip(&floors);
            let floor = floor.min_by(|a, b| a.0.total_cmp(&b.0));
            let (floor, by) = floor.expect("there are floors");
            let [driver_name, net] = who;
            table.row([
                format!("{driver_name}, {net}, {}", load.name),
                format!("{driver:.0}"),
                format!("{floor:.0}"),
                format!("{by:?}"),
                format!("{:.2}", driver / floor),
                format!("{:.1}", ratio(sent, after.sends - before.sends)),
            ]);
        }
    }

    /// Its packets of video are of one length.
    fn filled_up(mut frame: Vec<Item>) -> Vec<Item> {
        for (kind, packet) in &mut frame {
            if *kind == str0m::media::MediaKind::Video && packet.payload.len() < PAYLOAD_LEN {
                let mut payload = packet.payload.to_vec();
                payload.resize(PAYLOAD_LEN, 0);
                packet.payload = payload.into();
            }
        }
        frame
    }

    /// A bare loop: whose AES, and trains by a system call.
    #[derive(Debug, Clone, Copy)]
    enum Floor {
        Ring(usize),
        AwsLc(usize),
    }

    fn low(sequence: u64) -> [u8; 2] {
        let [.., high, low] = sequence.to_be_bytes();
        [high, low]
    }

    fn measure<D: Drive>(net: &Net, name: &str, viewers: usize, frames: usize, table: &mut Table) {
        let mut bench = Bench::new::<D>(net, viewers);
        for load in LOADS {
            let frames = match load.interval {
                Some(_) => frames.div_ceil(2),
                None => frames,
            };
            bench.row(table, [name, net.name], load, frames);
        }
    }

    pub(super) fn main() {
        let (viewers, frames) = if is_quick() { (5, 8) } else { (200, 200) };
        let mut table = Table::new(&[
            "driver, network, frame",
            "driver",
            "floor",
            "floor by",
            "ratio",
            "packets per call",
        ]);
        let nets = [Some(Net::loopback()), Net::cable()];
        for net in nets.iter().flatten() {
            measure::<kvill_mio::Driver>(net, "kvill-mio", viewers, frames, &mut table);
            measure::<kvill_smol::Driver>(net, "kvill-smol", viewers, frames, &mut table);
        }
        report(
            "send",
            &format!(
                "ns of CPU per packet to {viewers} viewers who do not read, of {PAYLOAD_LEN} B, sound of \
                 {SOUND_LEN} B; floor by: the library, and the trains of one sendmmsg; calls: the driver's\n\
                 {table}"
            ),
        );
    }
}

fn main() {
    #[cfg(target_os = "linux")]
    linux::main();
}
