//! A driver whose viewers are connected and whose publisher is silent sleeps.

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use kvill_core::media::Codec;
use kvill_host::engine::Stats;
use kvill_host::settings::Settings;
use kvill_host::spawn::{Drive, Running};
use kvill_tests::client::{Client, Options};
use kvill_tests::peer;
use kvill_tests::wire::{self, Peer};

const VIEWERS: usize = 100;

/// How long they are watched.
const WATCHED: Duration = Duration::from_secs(10);

/// Empty wake-ups that may be, per second.
const EMPTY_MAX: u64 = 2;

/// Turns from one sleep to the next, on average: that of the event, and sometimes another.
const TURNS_MAX: u64 = 2;

/// What came in that time.
#[derive(Debug)]
struct Watch {
    datagrams: u64,
    wakeups: u64,
    empty: u64,
    /// Wake-ups, and turns without a sleep before them: more of these, if the loop spins.
    turns: u64,
}

fn idle<D: Drive>() -> Watch {
    let settings = Settings {
        http_addresses: vec!["127.0.0.1:0".parse().unwrap()],
        udp_addresses: vec!["127.0.0.1:0".parse().unwrap()],
        ..Settings::default()
    };
    let running = Running::start::<D>("idle", settings).unwrap();
    let handle = running.handle();
    let codecs = [Codec::vp8(), Codec::opus()];
    let _publisher = handle.publish("live", &codecs).wait().unwrap().unwrap();
    let url = format!("http://{}", running.http_addresses()[0]);
    let options = Options::new(&[str0m::format::Codec::Vp8, str0m::format::Codec::Opus]);
    let mut viewers: Vec<_> = (0..VIEWERS)
        .map(|_| Peer::new(Ipv4Addr::LOCALHOST, Client::viewer, &options))
        .collect();
    for viewer in &mut viewers {
        viewer.join(&url, "/live/whep");
    }
    wire::connect(&mut viewers);
    let stats = || -> Stats { handle.stats().wait().unwrap() };
    // Until the last connection of HTTP has timed out, too.
    wire::run(&mut viewers, Duration::from_secs(11), |_| false);

    let before = stats();
    let end = Instant::now() + WATCHED;
    wire::run(&mut viewers, 2 * WATCHED, |_| Instant::now() >= end);
    let after = stats();
    assert!(viewers.iter().all(|viewer| viewer.client.is_connected()));
    assert_eq!(after.core.paths[0].viewers, VIEWERS);
    let [before, after] = [before, after].map(|stats| {
        let datagrams = stats.core.counters.datagrams;
        let turns = stats.turns;
        [datagrams, turns.wakeups, turns.empty_wakeups, turns.turns]
    });
    Watch {
        datagrams: after[0] - before[0],
        wakeups: after[1] - before[1],
        empty: after[2] - before[2],
        turns: after[3] - before[3],
    }
}

#[test]
fn an_idle_driver_wakes_for_what_there_is_to_do_and_for_nothing_else() {
    let rows = [
        ("kvill-mio", idle::<kvill_mio::Driver>()),
        ("kvill-smol", idle::<kvill_smol::Driver>()),
    ];
    let mut table = format!(
        "{VIEWERS} connected viewers, no media, {} s:\n\n\
         | driver | datagrams in | wake-ups | of these, empty | turns |\n|---|---|---|---|---|\n",
        WATCHED.as_secs()
    );
    for (name, watch) in &rows {
        let Watch {
            datagrams,
            wakeups,
            empty,
            turns,
        } = watch;
        table += &format!("| {name} | {datagrams} | {wakeups} | {empty} | {turns} |\n");
    }
    peer::report("idle", &table);
    for (name, watch) in rows {
        assert!(
            watch.datagrams > 0 && watch.wakeups > 0,
            "{name}: {watch:?}"
        );
        let most = EMPTY_MAX * WATCHED.as_secs();
        assert!(watch.empty <= most, "{name}: {watch:?}");
        assert!(
            watch.turns <= TURNS_MAX * watch.wakeups,
            "{name}: {watch:?}"
        );
    }
}
