//! What a run's configuration and networks are like.

use std::time::Duration;

use fastrand::Rng;
use kvill_core::Config;
use kvill_core::config::{HistoryLimits, RepairLimits};
use kvill_tests::network::{Loss, Profile, Rate};
use str0m::format::Codec;

pub(crate) fn config(rng: &mut Rng) -> Config {
    Config {
        override_publisher: rng.u32(..8) > 0,
        report_interval: Duration::from_millis(rng.u64(300..2000)),
        publisher_grace: Duration::from_millis(rng.u64(1000..8000)),
        history: match rng.u32(..4) {
            // Nobody can begin with a keyframe that does not fit.
            0 => HistoryLimits {
                packets: rng.usize(32..256),
                bytes: rng.usize(50_000..400_000),
                age: Duration::from_millis(rng.u64(100..2000)),
            },
            _ => HistoryLimits::default(),
        },
        repair: match rng.u32(..4) {
            0 => RepairLimits {
                percent: rng.u32(..20),
                burst: rng.u32(1000..30_000),
            },
            _ => RepairLimits::default(),
        },
        ..Config::default()
    }
}

pub(crate) fn codecs(rng: &mut Rng) -> Vec<Codec> {
    match rng.u32(..8) {
        0 => vec![Codec::Opus],
        1 => vec![Codec::Vp8],
        2 | 3 => vec![Codec::H264, Codec::Opus],
        _ => vec![Codec::Vp8, Codec::Opus],
    }
}

pub(crate) fn profile(rng: &mut Rng) -> Profile {
    let ms = |rng: &mut Rng, max: u64| Duration::from_micros(rng.u64(..max * 1000));
    let mut profile = Profile::delay(ms(rng, 80));
    if rng.bool() {
        profile.loss = match rng.bool() {
            true => Loss::random(rng.f64() * 0.12),
            false => Loss::bursts(rng.f64() * 0.06, rng.u32(2..8)),
        };
    }
    if rng.bool() {
        profile.jitter = ms(rng, 30);
    }
    if rng.u32(..3) == 0 {
        profile.reordering = rng.f64() * 0.05;
        profile.held = ms(rng, 40);
    }
    if rng.u32(..3) == 0 {
        profile.duplication = rng.f64() * 0.1;
    }
    if rng.u32(..6) == 0 {
        profile.rate = Some(Rate {
            bits_per_second: rng.u64(400_000..4_000_000),
            queue: rng.usize(5_000..60_000),
        });
    }
    if rng.u32(..12) == 0 {
        profile.mtu = Some(rng.usize(900..1200));
    }
    profile
}
