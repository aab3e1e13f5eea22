//! A server on a machine with a cable, and a publisher at the other end.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};

use kvill_tests::client::{Client, Options};
use kvill_tests::light::Viewer;
use kvill_tests::namespace::Pair;
use kvill_tests::process::Kvill;
use kvill_tests::web::{self, Reply};
use kvill_tests::wire::{self, Peer, candidates, with_only};
use str0m::format::Codec;

/// The server's address that stays.
pub(crate) const SERVER: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 99, 0, 1));

pub(crate) const CLIENT: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 99, 255, 9));

/// From there to there.
pub(crate) const WAY: [IpAddr; 2] = [CLIENT, SERVER];

/// See the module.
pub(crate) struct Scene<'a> {
    net: &'a Pair,
    kvill: Kvill,
    url: String,
}

/// Totals of the interface provider.
#[derive(Debug)]
pub(crate) struct Totals {
    pub(crate) asked: usize,
    pub(crate) served: usize,
    pub(crate) ended_by_notice: usize,
}

impl<'a> Scene<'a> {
    /// The binary of that name, at all addresses.
    pub(crate) fn new(net: &'a Pair, binary: &str, extra_args: &[&str]) -> Self {
        let launch = || Kvill::launch(binary, "[::]:0", "[::]:0", extra_args);
        let kvill = net.server.run(launch);
        let url = Pair::url(&kvill, SERVER);
        Self { net, kvill, url }
    }

    pub(crate) fn kvill(&self) -> &Kvill {
        &self.kvill
    }

    /// A client that knows one address of the server.
    pub(crate) fn join(&self, endpoint: &str, [local, server]: [IpAddr; 2]) -> Peer {
        let url = &self.url;
        self.net.clients.run(|| {
            let new = match endpoint {
                "/live/whip" => Client::publisher,
                _ => Client::viewer,
            };
            let mut peer = Peer::new(local, new, &Options::new(&[Codec::Vp8, Codec::Opus]));
            let reply = web::offer(url, endpoint, peer.client.offer());
            let answer = with_only(&reply.body, server);
            peer.take(&reply, &answer);
            peer
        })
    }

    /// One that publishes `live` and is connected.
    pub(crate) fn publisher(&self, way: [IpAddr; 2]) -> Vec<Peer> {
        let mut peers = vec![self.join("/live/whip", way)];
        wire::connect(&mut peers);
        self.kvill.line(&["live: ", " publishes VP8"]);
        peers
    }

    /// So many offers of viewers, one after the other.
    pub(crate) fn offer(&self, count: usize) -> Vec<Reply> {
        let (url, offer) = (&self.url, Viewer::default().offer());
        let ask = || {
            let reply = web::offer(url, "/live/whep", &offer);
            assert_eq!(reply.status, 201, "{reply:?}");
            reply
        };
        let replies = std::iter::repeat_with(ask).take(count);
        self.net.clients.run(|| replies.collect())
    }

    /// Ends the sessions that came of offers.
    pub(crate) fn delete(&self, replies: &[Reply]) {
        let url = &self.url;
        self.net.clients.run(|| {
            for reply in replies {
                let location = reply.header("location").expect("201 has a Location");
                let deleted = web::ask(url, "DELETE", location, &[], "");
                assert_eq!(deleted.status, 200, "{deleted:?}");
            }
        });
    }

    /// What the next offer is answered with.
    pub(crate) fn offered(&self) -> BTreeSet<IpAddr> {
        let replies = self.offer(1);
        self.delete(&replies);
        addresses(&replies[0])
    }

    /// Ends the server, which tells its totals then.
    pub(crate) fn stop(mut self) -> Totals {
        self.kvill.ask_to_end();
        self.kvill.check_end();
        let line = self.kvill.line(&["interface totals"]);
        let total = |name: &str| {
            let words = line.split_whitespace();
            let mut values = words.filter_map(|w| w.strip_prefix(name)?.strip_prefix('='));
            let value = values.next().and_then(|value| value.parse().ok());
            value.unwrap_or_else(|| panic!("no {name} in {line}"))
        };
        Totals {
            asked: total("asked"),
            served: total("served"),
            ended_by_notice: total("ended_by_notice"),
        }
    }
}

pub(crate) fn addresses(reply: &Reply) -> BTreeSet<IpAddr> {
    candidates(&reply.body).iter().map(|a| a.ip()).collect()
}
