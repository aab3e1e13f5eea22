//! The examples of how to embed Kvill, each as a process of its own: somebody publishes through it,
//! and somebody watches.

mod own;

use std::net::Ipv4Addr;
use std::path::Path;
use std::time::{Duration, Instant};

use kvill_tests::client::media::{Follower, Source};
use kvill_tests::client::{Client, Options};
use kvill_tests::peer::{self, list, number};
use kvill_tests::process::Kvill;
use kvill_tests::web;
use kvill_tests::wire::{self, Peer};
use str0m::format::Codec;
use str0m::media::MediaKind;

const HERE: Ipv4Addr = Ipv4Addr::LOCALHOST;

/// Between two packets.
const PERIOD: Duration = Duration::from_millis(20);

const PACKETS: usize = 50;

/// How long anything may take that takes no time by itself.
const SOON: Duration = Duration::from_secs(5);

/// The lines of a file in this work tree.
fn lines(file: &str) -> Vec<String> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(file);
    let text = std::fs::read_to_string(&file);
    let text = text.unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    text.lines().map(str::to_owned).collect()
}

#[test]
fn the_shortest_example_is_shown_whole_and_has_less_than_80_lines() {
    let example = lines("core/examples/blocking.rs");
    let code = example.iter().skip_while(|line| line.starts_with("//!"));
    let code: Vec<_> = code.collect();
    assert!(code.len() < 80, "{} lines", code.len());
    let readme = lines("README.md");
    let is_shown = readme
        .windows(code.len())
        .any(|part| part.iter().eq(code.iter().copied()));
    assert!(
        is_shown,
        "core/examples/blocking.rs is not what the README shows"
    );
}

/// Publishes, and watches until every packet has arrived.
fn publish_and_watch(example: &Kvill) -> Vec<Peer> {
    let name = example.name();
    let options = Options::new(&[Codec::Vp8]);
    let join = |new: fn(_, _, &Options) -> Client, endpoint| {
        let mut peer = Peer::new(HERE, new, &options);
        peer.join(example.url(), endpoint);
        peer
    };
    let mut peers = vec![join(Client::publisher, "/live/whip")];
    wire::connect(&mut peers);
    // The server hears of the end of a handshake after its peer.
    let lists = |what: &str| {
        let headers = [("Accept", "application/json")];
        let list = web::ask(example.url(), "GET", "/", &headers, "");
        list.body.contains(what)
    };
    assert!(
        wire::run(&mut peers, SOON, |_| lists("\"live\":true")),
        "{name}"
    );
    peers.push(join(Client::viewer, "/live/whep"));
    wire::connect(&mut peers);
    assert!(
        wire::run(&mut peers, SOON, |_| lists("\"viewers\":1")),
        "{name}"
    );

    let mut source = Source::new(Codec::Vp8, 65_500, 7);
    let (mut sent, mut follower) = (Vec::new(), Follower::default());
    let started = Instant::now();
    for n in 0..PACKETS {
        let packets = match n {
            0 => source.keyframe(1, 1100),
            _ => source.delta(1, 1100),
        };
        peers[0]
            .client
            .write(Instant::now(), MediaKind::Video, &packets);
        sent.extend(packets);
        let next = started + PERIOD * u32::try_from(n + 1).expect("a short test");
        wire::run(&mut peers, SOON, |_| Instant::now() >= next);
    }
    let has_all = wire::run(&mut peers, SOON, |peers| {
        for packet in peers[1].client.video.drain(..) {
            follower
                .follow(&sent, &packet)
                .expect("it is what was sent");
        }
        follower.count == sent.len()
    });
    assert!(has_all, "{name}: {} of {}", follower.count, sent.len());
    peers
}

/// The sessions are deleted, and are told so.
fn leave(example: &Kvill, mut peers: Vec<Peer>) {
    let name = example.name();
    for peer in peers.iter().rev() {
        let reply = web::ask(example.url(), "DELETE", &peer.location, &[], "");
        assert_eq!(reply.status, 200, "{name}: {reply:?}");
    }
    let all_closed = |peers: &mut [Peer]| peers.iter().all(|peer| peer.client.is_closed());
    assert!(wire::run(&mut peers, SOON, all_closed), "{name}");
}

#[test]
fn a_blocking_loop_serves_a_publisher_and_a_viewer() {
    let example = Kvill::example("blocking");
    let peers = publish_and_watch(&example);
    leave(&example, peers);
}

#[test]
fn a_tokio_program_serves_beside_its_own_routes_and_work() {
    let mut example = Kvill::example("tokio");
    let own = web::ask(example.url(), "GET", "/health", &[], "");
    assert_eq!((own.status, own.body.as_str()), (200, "fine\n"));
    let peers = publish_and_watch(&example);
    leave(&example, peers);
    for news in [
        "live is live",
        "live has a viewer more",
        "live is over: ended by DELETE",
    ] {
        example.line(&[news]);
    }

    let mut peers = publish_and_watch(&example);
    example.interrupt();
    let all_closed = |peers: &mut [Peer]| peers.iter().all(|peer| peer.client.is_closed());
    assert!(
        wire::run(&mut peers, SOON, all_closed),
        "Ctrl-C says goodbye"
    );
    let status = example.wait(SOON);
    assert!(status.is_some_and(|status| status.success()), "{status:?}");
}

#[test]
fn a_blocking_loop_serves_browsers() {
    let _alone = peer::alone();
    let Some(chromium) = peer::chromium() else {
        return;
    };
    let example = Kvill::example("blocking");
    let args = ["--base", example.url(), "--codecs", "VP8", "--seconds", "3"];
    let result = chromium.run("chromium/publish_play.mjs", &args, Duration::from_secs(100));
    assert!(list(&result, "failed").is_empty(), "{}", result["failed"]);
    let [run] = list(&result, "runs") else {
        panic!("one codec was asked for: {result}");
    };
    assert!(number(run, "ratio") >= 0.95, "{run}");
    assert_eq!(run["packetsLost"], 0, "{run}");
}
