//! The real `kvill` on a machine of several addresses: reached by each, and answering from the one
//! that was asked.
//!
//! Two network namespaces and a cable between them. The server's machine has two addresses of each
//! family in one network, so that whoever leaves the choice to the system answers from the first.

#![cfg(target_os = "linux")]

use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use kvill_tests::client::media::{Follower, Packet, Source};
use kvill_tests::client::{Client, Options};
use kvill_tests::namespace::{CABLE, Pair};
use kvill_tests::peer::{self, report};
use kvill_tests::process::Kvill;
use kvill_tests::web;
use kvill_tests::wire::{self, Peer, candidates, with_only};
use str0m::format::Codec;
use str0m::media::MediaKind;

/// Of the server's machine. The first of each family is the one that the system prefers.
const ADDRESSES: [&str; 4] = ["10.99.0.1", "10.99.0.2", "fd99::1", "fd99::2"];

/// Of the clients' machine.
const CLIENT: [&str; 2] = ["10.99.0.9", "fd99::9"];

/// How long a browser may take to start, play and end.
const BROWSER_TIME: Duration = Duration::from_secs(90);

/// Two machines and a cable, or `None` where nobody may make networks.
fn net() -> Option<Pair> {
    let parse = |address: &&str| address.parse().expect("an address");
    let [server, clients] = [&ADDRESSES[..], &CLIENT[..]].map(|list| list.iter().map(parse));
    let (server, clients): (Vec<_>, Vec<_>) = (server.collect(), clients.collect());
    let net = Pair::if_possible(&server, &clients)?;
    // By its way to the world a browser knows its own address.
    for (family, first) in [("", ADDRESSES[0]), ("-6 ", ADDRESSES[2])] {
        let route = format!("{family}route add default via {first} dev {CABLE}");
        net.clients.ip(&route).expect("a way to a neighbour");
    }
    Some(net)
}

/// Where a server that listens on all addresses is reached by one of them.
fn url(kvill: &Kvill, address: &str) -> String {
    Pair::url(kvill, address.parse().expect("an address"))
}

fn options() -> Options {
    Options::new(&[Codec::Vp8, Codec::Opus])
}

/// A client that knows one address of the server and asks that one, also by HTTP.
fn join(net: &Pair, kvill: &Kvill, address: &str, publishes: bool, strict: bool) -> Peer {
    let server: IpAddr = address.parse().unwrap();
    let local: IpAddr = CLIENT[usize::from(server.is_ipv6())].parse().unwrap();
    let url = url(kvill, address);
    net.clients.run(|| {
        let (new, endpoint) = match publishes {
            true => (Client::publisher as fn(_, _, &Options) -> _, "/live/whip"),
            false => (Client::viewer as fn(_, _, &Options) -> _, "/live/whep"),
        };
        let mut peer = Peer::new(local, new, &options());
        let reply = web::offer(&url, endpoint, peer.client.offer());
        let answer = with_only(&reply.body, server);
        let [told] = candidates(&answer)[..] else {
            panic!("{address} is a candidate, once: {}", reply.body)
        };
        if strict {
            peer.listen_only_to(told);
        }
        peer.take(&reply, &answer);
        peer
    })
}

/// Publishes by the first, and compares what the others get.
fn play(peers: &mut [Peer]) {
    let (mut pictures, mut sounds) = (
        Source::new(Codec::Vp8, 65_500, 7),
        Source::new(Codec::Opus, 100, 8),
    );
    let (mut video, mut audio): (Vec<Packet>, Vec<Packet>) = Default::default();
    for n in 0..50 {
        let (kind, packets, sent) = match n {
            0 => (MediaKind::Video, pictures.keyframe(4, 1_100), &mut video),
            _ if n % 2 == 0 => (MediaKind::Video, pictures.delta(2, 1_100), &mut video),
            _ => (MediaKind::Audio, sounds.delta(1, 120), &mut audio),
        };
        let now = std::time::Instant::now();
        peers[0].client.write(now, kind, &packets);
        sent.extend(packets);
        wire::run(peers, Duration::from_millis(5), |_| false);
    }
    let all = (video.len(), audio.len());
    let has_all = |peer: &Peer| (peer.client.video.len(), peer.client.audio.len()) == all;
    let everybody = |peers: &mut [Peer]| peers[1..].iter().all(has_all);
    wire::run(peers, Duration::from_secs(5), everybody);
    for peer in &peers[1..] {
        let local = peer.client.local();
        for (got, sent) in [(&peer.client.video, &video), (&peer.client.audio, &audio)] {
            let mut follower = Follower::default();
            for packet in got {
                let followed = follower.follow(sent, packet);
                followed.unwrap_or_else(|wrong| panic!("{local}: {wrong}"));
            }
            assert_eq!(follower.count, sent.len(), "{local} got too little");
        }
    }
}

#[test]
fn answers_leave_from_the_address_that_was_asked() {
    let Some(net) = net() else {
        return;
    };
    fastrand::seed(5);
    for publisher in ADDRESSES {
        let kvill = net.server.run(|| Kvill::listening("[::]:0", "[::]:0", &[]));
        let mut peers = vec![join(&net, &kvill, publisher, true, true)];
        wire::connect(&mut peers);
        let mut asked = vec![publisher];
        for address in ADDRESSES {
            // One that the system guards, and one that sees whatever comes.
            for strict in [true, false] {
                peers.push(join(&net, &kvill, address, false, strict));
                asked.push(address);
            }
        }
        wire::connect(&mut peers);
        play(&mut peers);
        for (peer, address) in peers.iter().zip(asked) {
            let sources: Vec<_> = peer.sources.iter().map(SocketAddr::ip).collect();
            let asked: IpAddr = address.parse().unwrap();
            assert_eq!(sources, [asked], "of {}", peer.client.local());
        }
        kvill.stop();
    }
}

#[test]
fn every_address_is_offered_and_one_that_works_is_enough() {
    let Some(net) = net() else {
        return;
    };
    fastrand::seed(6);
    let kvill = net.server.run(|| Kvill::listening("[::]:0", "[::]:0", &[]));
    let words = "media is offered at 10.99.0.1, 10.99.0.2, fd99::1 and 1 more only";
    kvill.line(&[" WARN ", words]);
    let mut peers = vec![join(&net, &kvill, ADDRESSES[1], true, false)];
    wire::connect(&mut peers);
    let url = url(&kvill, ADDRESSES[0]);
    for local in CLIENT {
        let local: IpAddr = local.parse().unwrap();
        let (mut peer, reply) = net.clients.run(|| {
            let peer = Peer::new(local, Client::viewer, &options());
            let reply = web::offer(&url, "/live/whep", peer.client.offer());
            (peer, reply)
        });
        let told: BTreeSet<_> = candidates(&reply.body).iter().map(SocketAddr::ip).collect();
        let all: BTreeSet<IpAddr> = ADDRESSES.iter().map(|a| a.parse().unwrap()).collect();
        assert_eq!(told, all, "no loopback for a client from elsewhere");
        let answer = reply.body.clone();
        peer.take(&reply, &answer);
        peers.push(peer);
    }
    wire::connect(&mut peers);
    play(&mut peers);
    for peer in &peers[1..] {
        let mine = peer.client.local().is_ipv4();
        assert!(peer.sources.iter().all(|source| source.is_ipv4() == mine));
    }
    kvill.stop();
}

/// A publisher on the server's machine: a page gets a camera from 127.0.0.1 only.
fn neighbour(net: &Pair, kvill: &Kvill, chromium: &peer::Peer) -> peer::Background {
    let args = ["--base", kvill.url(), "--codec", "VP8", "--seconds", "300"];
    let mut publisher = net
        .server
        .run(|| chromium.spawn("chromium/publish.mjs", &args));
    assert_eq!(publisher.next(BROWSER_TIME)["event"], "publishing");
    publisher
}

#[test]
fn a_browser_plays_by_every_address() {
    let Some(net) = net() else {
        return;
    };
    let Some(chromium) = peer::chromium() else {
        return;
    };
    let kvill = net.server.run(|| Kvill::listening("[::]:0", "[::]:0", &[]));
    let publisher = neighbour(&net, &kvill, &chromium);

    let mut table = "a Chromium on another machine plays by one address, 3 s each\n\
                     | asked | answered from | frames decoded | packets lost |\n|---|---|---|---|\n"
        .to_owned();
    for address in ADDRESSES {
        let url = url(&kvill, address);
        let args = ["--base", &url, "--seconds", "3", "--only", address];
        let played = net
            .clients
            .run(|| chromium.run("chromium/play.mjs", &args, BROWSER_TIME));
        let frames = played["frames"].as_u64().expect("frames are counted");
        assert!(frames >= 60, "{address}: {played}");
        assert_eq!(played["server_address"], address, "{played}");
        table += &format!(
            "| {address} | {} | {frames} | {} |\n",
            played["server_address"].as_str().unwrap_or("?"),
            played["packets_lost"],
        );
    }
    report("addresses", &table);
    let published = publisher.stop(BROWSER_TIME);
    assert_eq!(published["delete_status"], 200, "{published}");
    kvill.stop();
}

/// A second network between the two machines, as Wi-Fi beside a cable. The server's first address is
/// reached by it too, where there is no better way.
fn add_network(net: &Pair) -> io::Result<()> {
    net.server.connect(&net.clients, "wifi")?;
    net.server.ip("addr add 10.98.0.1/24 dev wifi")?;
    net.clients.ip("addr add 10.98.0.9/24 dev wifi")?;
    for machine in [&net.server, &net.clients] {
        machine.ip("link set wifi up")?;
    }
    let way = "via 10.98.0.1 dev wifi metric 1000";
    net.clients
        .ip(&format!("route add {}/32 {way}", ADDRESSES[0]))?;
    net.clients.ip(&format!("route add default {way}"))
}

#[test]
fn a_browser_whose_network_goes_away_watches_on_by_another() {
    let Some(net) = net() else {
        return;
    };
    let Some(chromium) = peer::chromium() else {
        return;
    };
    add_network(&net).expect("a second network, where there is a first");
    let kvill = net.server.run(|| Kvill::listening("[::]:0", "[::]:0", &[]));
    let publisher = neighbour(&net, &kvill, &chromium);

    let url = url(&kvill, ADDRESSES[0]);
    let args = ["--base", &url, "--seconds", "14"];
    let mut player = net
        .clients
        .run(|| chromium.spawn("chromium/roam.mjs", &args));
    assert_eq!(player.next(BROWSER_TIME)["event"], "playing");
    net.clients
        .ip(&format!("link set {CABLE} down"))
        .expect("an interface that is up");
    let played = player.finish(BROWSER_TIME);
    report(
        "roaming",
        &format!(
            "a Chromium plays on by its second network when the first goes away\n\
             | longest gap | pictures in the last 3 s | requests |\n|---|---|---|\n\
             | {:.1} s | {} | {} |\n",
            played["gap"].as_f64().unwrap_or(f64::NAN) / 1000.0,
            played["last"],
            played["requests"],
        ),
    );
    assert!(played["last"].as_u64() >= Some(60), "{played}");
    assert!(played["gap"].as_f64() <= Some(8000.0), "{played}");
    // The session went on: nothing was asked for anew.
    let requests = played["requests"].to_string();
    assert!(!requests.contains("POST"), "{played}");
    let _ = publisher.stop(BROWSER_TIME);
    kvill.stop();
}
