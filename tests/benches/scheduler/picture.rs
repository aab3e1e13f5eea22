//! CPU against viewers: what is measured for the picture.

use std::net::Ipv4Addr;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use kvill_tests::bench::clock::own_cpu;
use kvill_tests::bench::sealing::Aead;
use kvill_tests::bench::seats::Seats;
use kvill_tests::bench::sending::{Bare, Item};
use kvill_tests::bench::{Table, is_quick, median, ratio};
use kvill_tests::client::media::Source;
use kvill_tests::peer::report;
use str0m::format::Codec;
use str0m::media::MediaKind;

use super::contestant::{Contestant, INTERVAL, Kind, PACKETS};
use super::plot::{self, Curve};

/// What the picture has, beside the floor.
const DRAWN: [Kind; 3] = [
    Kind::Binary("kvill"),
    Kind::Tasks("tasks-tokio"),
    Kind::Pion,
];

const DRAWN_VIEWERS: [usize; 5] = [10, 50, 100, 200, 400];

/// Trains by one system call of the floor.
const BATCH: usize = 8;

/// CPU against viewers.
pub(super) fn draw(file: &Path) {
    let (sizes, rounds, frames): (&[usize], _, _) = match is_quick() {
        true => (&[5], 1, 4),
        false => (&DRAWN_VIEWERS, 3, 30),
    };
    let mut curves: Vec<_> = DRAWN.map(|kind| (kind, Vec::new())).into();
    let mut floor = Vec::new();
    let mut table = Table::new(&["server", "viewers", "% of a CPU", "arrived"]);
    #[expect(clippy::cast_precision_loss, reason = "small numbers")]
    for viewers in sizes {
        for (kind, points) in &mut curves {
            let Some(mut contestant) = Contestant::new(*kind, *viewers, || {}) else {
                continue;
            };
            let slices: Vec<_> = std::iter::repeat_with(|| {
                contestant.tend();
                contestant.slice(frames)
            })
            .take(rounds)
            .collect();
            let percent =
                median(slices.iter().map(|slice| {
                    100.0 * slice.usage.cpu.as_secs_f64() / slice.lasted.as_secs_f64()
                }));
            let arrived = median(slices.iter().map(|s| ratio(s.arrived, s.expected)));
            table.row([
                kind.name().to_owned(),
                viewers.to_string(),
                format!("{percent:.1}"),
                format!("{:.1} %", 100.0 * arrived),
            ]);
            // What does not keep up is not the same load any more.
            if arrived > 0.95 {
                points.push((*viewers as f64, percent));
            }
        }
        let percent = floor_of::<ring::aead::LessSafeKey>(*viewers, frames).min(floor_of::<
            aws_lc_rs::aead::LessSafeKey,
        >(
            *viewers, frames
        ));
        table.row([
            "floor".to_owned(),
            viewers.to_string(),
            format!("{percent:.1}"),
            "–".to_owned(),
        ]);
        floor.push((*viewers as f64, percent));
    }
    let curves = curves.into_iter().map(|(kind, points)| Curve {
        name: kind.name().to_owned(),
        points,
    });
    let floor = Curve {
        name: "floor: AES-GCM and sendmmsg of trains".to_owned(),
        points: floor,
    };
    let curves: Vec<_> = curves
        .chain([floor])
        .filter(|curve| !curve.points.is_empty())
        .collect();
    let caption = "CPU of one publisher's 2.3 Mbit/s to many viewers";
    plot::draw(file, caption, &curves).expect("a picture that can be written");
    report("scheduler-plot", &table.to_string());
}

/// What sealing and sending alone takes of a CPU, in percent.
fn floor_of<A: Aead>(viewers: usize, frames: u32) -> f64 {
    let local = Ipv4Addr::LOCALHOST.into();
    let seats = Seats::strangers(local, viewers);
    let bare = Bare::<A>::new(local, &seats.addresses(), 1150, 32);
    let mut bare = bare.expect("a system with GSO");
    let mut video = Source::new(Codec::Vp8, 20_000, 1);
    let mut audio = Source::new(Codec::Opus, 30_000, 1);
    let mut due = Instant::now();
    let took = std::iter::repeat_with(|| {
        thread::sleep(due.saturating_duration_since(Instant::now()));
        due += INTERVAL;
        let video = video.delta(PACKETS - 1, 1150).into_iter();
        let audio = audio.delta(1, 100).into_iter();
        let video = video.map(|packet| (MediaKind::Video, packet));
        let audio = audio.map(|packet| (MediaKind::Audio, packet));
        let frame: Vec<Item> = video.chain(audio).collect();
        let before = own_cpu();
        let sent = bare.send(&frame, BATCH);
        sent.expect("a system that sends");
        own_cpu() - before
    });
    let took: Vec<Duration> = took.take(frames as usize).collect();
    100.0 * median(took.iter().map(Duration::as_secs_f64)) / INTERVAL.as_secs_f64()
}
