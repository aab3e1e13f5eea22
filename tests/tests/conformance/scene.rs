//! One binary at work, and what is written down of it.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use kvill_tests::client::{Client, Options};
use kvill_tests::process::Kvill;
use kvill_tests::web::{self, Connection, Reply};
use kvill_tests::wire::{self, Peer};
use str0m::format::Codec;

use crate::transcript::Transcript;

pub(crate) const HERE: Ipv4Addr = Ipv4Addr::LOCALHOST;

/// How long anything may take that takes no time by itself.
pub(crate) const SOON: Duration = Duration::from_secs(5);

/// What makes a client: [`Client::publisher`] or [`Client::viewer`].
pub(crate) type Role = fn(Instant, SocketAddr, &Options) -> Client;

/// See the module.
#[derive(Debug)]
pub(crate) struct Scene {
    pub(crate) kvill: Kvill,
    pub(crate) transcript: Transcript,
}

impl Scene {
    /// Writes a line down.
    pub(crate) fn note(&mut self, line: &str) {
        self.transcript.note(line);
    }

    /// Has a value replaced by what stands for its kind.
    pub(crate) fn learn(&mut self, kind: &str, value: &str) {
        self.transcript.placeholders.learn(kind, value);
    }

    /// A connection for requests.
    pub(crate) fn connect(&self) -> Connection {
        Connection::open(self.kvill.url())
    }

    /// Asks over a connection of its own.
    pub(crate) fn ask(
        &mut self,
        method: &str,
        target: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> Reply {
        let mut connection = self.connect();
        self.note(&format!("{method} {target}{}", shown(headers)));
        connection.send(web::request("kvill.test", method, target, headers, body));
        self.hear(&mut connection, method != "HEAD")
            .expect("a response")
    }

    /// Asks for what needs neither headers nor a body.
    pub(crate) fn read(&mut self, method: &str, target: &str) -> Reply {
        self.ask(method, target, &[], "")
    }

    /// POSTs an offer.
    pub(crate) fn offer(&mut self, endpoint: &str, offer: &str) -> Reply {
        let headers = [("Content-Type", "application/sdp")];
        self.ask("POST", endpoint, &headers, offer)
    }

    /// Writes the next response of a connection down.
    pub(crate) fn hear(&mut self, connection: &mut Connection, has_body: bool) -> Option<Reply> {
        let reply = connection.next(has_body);
        match &reply {
            Some(reply) => self.transcript.reply(reply, has_body),
            None => self.note("    (the connection is closed)"),
        }
        reply
    }

    /// A client whose offer was answered.
    pub(crate) fn join(&mut self, new: Role, endpoint: &str, options: &Options) -> Peer {
        let mut peer = Peer::new(HERE, new, options);
        self.learn("client", &peer.client.local().to_string());
        let offer = peer.client.offer().to_owned();
        let reply = self.offer(endpoint, &offer);
        let answer = reply.body.clone();
        peer.take(&reply, &answer);
        peer
    }

    /// A publisher of VP8 and Opus that is connected and has its path.
    pub(crate) fn publisher(&mut self, path: &str) -> Peer {
        let before = self.told(&format!("{path}: "), " publishes VP8");
        let peer = self.join(Client::publisher, &format!("/{path}/whip"), &usual());
        let mut peers = [peer];
        wire::connect(&mut peers);
        let is_told = wire::run(&mut peers, SOON, |_| {
            self.told(&format!("{path}: "), " publishes VP8") > before
        });
        assert!(is_told, "{}", self.kvill.log());
        let [peer] = peers;
        peer
    }

    /// How many lines of the log have both.
    pub(crate) fn told(&self, one: &str, other: &str) -> usize {
        let log = self.kvill.log();
        let lines = log.lines();
        lines
            .filter(|line| line.contains(one) && line.contains(other))
            .count()
    }
}

/// VP8 and Opus.
pub(crate) fn usual() -> Options {
    Options::new(&[Codec::Vp8, Codec::Opus])
}

fn shown(headers: &[(&str, &str)]) -> String {
    let shown = headers
        .iter()
        .map(|(name, value)| format!(" ({name}: {value})"));
    shown.collect()
}
