//! What a join costs a server's CPU, beside the cryptography that it cannot do without, and how soon a
//! crowd that joins at once sees a picture.
//!
//! `cargo build --release --workspace --bins && cargo bench --workspace --bench join [-- --quick]`
//!
//! Linux alone. The bare cost is one ephemeral X25519 key and its agreement (ECDHE), one P-256 signature
//! made and one checked (ECDSA), by aws-lc, which the server does it with. The core's side is in
//! memory: what its calls take from the offer to the last flight. The servers' is all CPU of their
//! processes: HTTP over a connection for each offer, sockets, log. No media flows meanwhile. All take
//! turns, and medians are compared.

#[cfg(target_os = "linux")]
mod linux {
    use std::hint::black_box;
    use std::time::Duration;

    use aws_lc_rs::agreement::{self, EphemeralPrivateKey, X25519, agree_ephemeral};
    use aws_lc_rs::rand::SystemRandom;
    use aws_lc_rs::signature::{
        ECDSA_P256_SHA256_ASN1, ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair,
        UnparsedPublicKey,
    };
    use kvill_core::Config;
    use kvill_tests::bench::clock::{Usage, own_cpu, own_cpu_cost};
    use kvill_tests::bench::{Table, is_quick, median};
    use kvill_tests::light::crowd::{Call, Crowd, Meter};
    use kvill_tests::load::report::{Quantiles, Report};
    use kvill_tests::load::run::{Moment, Plan, run};
    use kvill_tests::peer::report;
    use kvill_tests::process::{BINARIES, Kvill};

    /// Viewers of a round, rounds, and viewers that join at once to see a picture.
    const FULL: (usize, usize, usize) = (400, 9, 1000);
    const QUICK: (usize, usize, usize) = (10, 1, 20);

    /// For how long a list of interfaces is kept, in seconds.
    const KEPT: &str = "30";
    const NOT_KEPT: &str = "0";

    /// CPU time of the core's calls.
    #[derive(Debug)]
    struct Clock {
        used: Duration,
        cost: Duration,
    }

    impl Meter for Clock {
        fn around<R>(&mut self, _: Call, work: impl FnOnce() -> R) -> R {
            let before = own_cpu();
            let result = work();
            self.used += (own_cpu() - before).saturating_sub(self.cost);
            result
        }
    }

    /// The cryptography of one DTLS handshake, at the server's side (RFC 8422).
    struct Bare {
        random: SystemRandom,
        key: EcdsaKeyPair,
        peer: agreement::PublicKey,
    }

    impl Bare {
        fn new() -> Self {
            let random = SystemRandom::new();
            let algorithm = &ECDSA_P256_SHA256_ASN1_SIGNING;
            let der = EcdsaKeyPair::generate_pkcs8(algorithm, &random).expect("randomness");
            let key = EcdsaKeyPair::from_pkcs8(algorithm, der.as_ref()).expect("a key");
            let peer = EphemeralPrivateKey::generate(&X25519, &random).expect("randomness");
            let peer = peer.compute_public_key().expect("a key has two halves");
            Self { random, key, peer }
        }

        fn handshake(&self) {
            let own = EphemeralPrivateKey::generate(&X25519, &self.random).expect("randomness");
            black_box(own.compute_public_key().expect("a key has two halves"));
            let peer = agreement::UnparsedPublicKey::new(&X25519, &self.peer);
            let agreed = agree_ephemeral(own, peer, (), |secret| {
                black_box(secret);
                Ok(())
            });
            agreed.expect("a good key");
            // As long as what a ServerKeyExchange signs.
            let signed = self.key.sign(&self.random, black_box(&[7; 100]));
            let signed = signed.expect("a signature");
            let public = self.key.public_key().as_ref();
            let public = UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, public);
            let checked = public.verify(black_box(&[7; 100]), signed.as_ref());
            checked.expect("our own signature");
        }

        /// CPU time of each of so many.
        fn time(&self, count: usize) -> f64 {
            let before = own_cpu();
            for _ in 0..count {
                self.handshake();
            }
            each(own_cpu() - before, count)
        }
    }

    #[expect(clippy::cast_precision_loss, reason = "small numbers")]
    fn each(used: Duration, count: usize) -> f64 {
        used.as_secs_f64() * 1e6 / count as f64
    }

    /// Microseconds of the core for each of so many joins.
    fn in_memory(crowd: &mut Crowd<Clock>, count: usize) -> f64 {
        let before = crowd.meter.used;
        crowd.join(count);
        each(crowd.meter.used - before, count)
    }

    /// A server, and joins to it: its CPU time for each, and what the load saw.
    fn join(binary: &str, kept: &str, viewers: usize, is_silent: bool) -> (f64, Report) {
        let args = ["--interface-ttl", kept];
        let kvill = Kvill::launch(binary, "127.0.0.1:0", "127.0.0.1:0", &args);
        let (whip, whep) = (
            format!("{}/live/whip", kvill.url()),
            format!("{}/live/whep", kvill.url()),
        );
        let mut plan = Plan::new(&whip, &whep, viewers).expect("two URLs");
        plan.program.is_silent = is_silent;
        plan.duration = Duration::from_secs(if is_silent { 0 } else { 3 });
        let (mut before, mut after) = (None, None);
        let outcome = run(&plan, |moment| match moment {
            Moment::Published => before = Some(Usage::of_process(kvill.id()).cpu),
            Moment::Watching => after = Some(Usage::of_process(kvill.id()).cpu),
            _ => {}
        });
        let outcome = outcome.expect("a load that works");
        assert_eq!(outcome.connected(), viewers, "{:?}", outcome.failures);
        let used = after.zip(before).map(|(after, before)| after - before);
        (each(used.expect("both moments came"), viewers), outcome)
    }

    fn costs((viewers, rounds, _): (usize, usize, usize)) -> String {
        let bare = Bare::new();
        let clock = Clock {
            used: Duration::ZERO,
            cost: own_cpu_cost(),
        };
        let mut crowd = Crowd::new(1, Config::default(), Duration::from_millis(1), clock);
        let servers: Vec<_> = BINARIES
            .iter()
            .flat_map(|binary| [(*binary, KEPT), (*binary, NOT_KEPT)])
            .collect();
        let mut bares = Vec::new();
        let mut cores = Vec::new();
        let mut joins = vec![(Vec::new(), Vec::new()); servers.len()];
        for _ in 0..rounds {
            bares.push(bare.time(viewers));
            cores.push(in_memory(&mut crowd, viewers));
            for ((binary, kept), (costs, rates)) in servers.iter().zip(&mut joins) {
                bares.push(bare.time(viewers));
                let (cost, outcome) = join(binary, kept, viewers, true);
                costs.push(cost);
                rates.push(outcome.joins_per_second());
            }
        }
        let bare = median(bares);
        let mut table = Table::new(&[
            "what",
            "list kept",
            "joins/s",
            "µs of CPU per join",
            "ratio",
        ]);
        let mut row = |what: &str, kept: &str, rate: Option<f64>, cost: f64| {
            table.row([
                what.to_owned(),
                kept.to_owned(),
                rate.map_or_else(String::new, |rate| format!("{rate:.0}")),
                format!("{cost:.0}"),
                format!("{:.2}", cost / bare),
            ]);
        };
        row("bare ECDHE and ECDSA", "", None, bare);
        row("core, in memory", "", None, median(cores));
        for ((binary, kept), (costs, rates)) in servers.iter().zip(joins) {
            row(
                binary,
                &format!("{kept} s"),
                Some(median(rates)),
                median(costs),
            );
        }
        format!("{viewers} joins a round, {rounds} rounds, medians\n{table}")
    }

    fn crowds((.., viewers): (usize, usize, usize)) -> String {
        let mut table = Table::new(&[
            "server",
            "viewers",
            "all connected in",
            "keyframe p50",
            "p99",
            "last",
            "keyframes asked for",
        ]);
        for binary in BINARIES {
            let (_, outcome) = join(binary, KEPT, viewers, false);
            let seen = outcome.time_to(|milestones| milestones.keyframe);
            let seen: Quantiles = seen.expect("somebody saw a keyframe");
            assert_eq!(seen.count, viewers as u64, "all see a keyframe");
            let ms = |time: Duration| format!("{:.0} ms", time.as_secs_f64() * 1e3);
            table.row([
                binary.to_owned(),
                viewers.to_string(),
                ms(outcome.joining),
                ms(seen.p50),
                ms(seen.p99),
                ms(seen.max),
                outcome.keyframes_asked.to_string(),
            ]);
        }
        format!("all at once, while 30 frames a second flow; from the offer\n{table}")
    }

    pub(super) fn main() {
        let size = if is_quick() { QUICK } else { FULL };
        report("join", &format!("{}\n{}", costs(size), crowds(size)));
    }
}

fn main() {
    #[cfg(target_os = "linux")]
    linux::main();
}
