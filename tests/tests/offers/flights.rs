//! DTLS flights of clients, cut into more datagrams or joined into fewer.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::Duration;

use kvill_tests::client::Identity;
use kvill_tests::memory::{ClientId, Crossing, Link, Way, segments};
use str0m::format::Codec;

use crate::scene::Scene;
use crate::{CHROMIUM_PUBLISH, CHROMIUM_VIEW, replaced};

/// Splits the plain handshake messages of clients into as many datagrams, and puts what they say
/// under the cipher as it is. RFC 6347 §4.2.3 lets an implementation do that to itself.
#[derive(Debug, Default)]
struct Splitter {
    pieces: usize,
    /// How many messages were split, for each client.
    split: HashMap<SocketAddr, usize>,
}

const RECORD_HEADER: usize = 13;
const MESSAGE_HEADER: usize = 12;
const HANDSHAKE: u8 = 22;

impl Link for Splitter {
    fn carries(&mut self, _: &Crossing<'_>) -> bool {
        true
    }

    fn changes(&mut self, crossing: &Crossing<'_>) -> Option<Vec<Vec<u8>>> {
        let is_dtls = matches!(crossing.contents, [20..64, ..]);
        if crossing.way == Way::ToClient || !is_dtls {
            return None;
        }
        let mut datagrams = Vec::new();
        let mut rest = crossing.contents;
        while rest.len() > RECORD_HEADER {
            let len = usize::from(u16::from_be_bytes([rest[11], rest[12]]));
            let (record, next) = rest.split_at(RECORD_HEADER + len);
            let is_plain = record[3..5] == [0, 0];
            if record[0] == HANDSHAKE && is_plain {
                *self.split.entry(crossing.client).or_default() += 1;
                datagrams.extend(self.split_message(record));
            } else {
                datagrams.push(record.to_vec());
            }
            rest = next;
        }
        Some(datagrams)
    }
}

impl Splitter {
    fn split_message(&self, record: &[u8]) -> Vec<Vec<u8>> {
        let number = |bytes: &[u8]| {
            bytes
                .iter()
                .fold(0, |sum, byte| sum << 8 | usize::from(*byte))
        };
        let (header, message) = record.split_at(RECORD_HEADER);
        let (head, body) = message.split_at(MESSAGE_HEADER);
        let offset = number(&head[6..9]);
        assert_eq!(number(&head[9..12]), body.len(), "one message in a record");
        let sequence = number(&header[5..11]);
        let piece_len = body.len().div_ceil(self.pieces).max(1);
        // A message may have no body, and is a message nevertheless.
        let pieces = body
            .chunks(piece_len)
            .chain(body.is_empty().then_some(body));
        let pieces = pieces.enumerate();
        let record = |(index, piece): (usize, &[u8])| {
            let three = |value: usize| value.to_be_bytes()[5..].to_vec();
            let six = (sequence * self.pieces + index).to_be_bytes()[2..].to_vec();
            let len = u16::try_from(MESSAGE_HEADER + piece.len())
                .unwrap()
                .to_be_bytes();
            [
                &header[..5],
                &six,
                &len,
                &head[..6],
                &three(offset + index * piece_len),
                &three(piece.len()),
                piece,
            ]
            .concat()
        };
        pieces.map(record).collect()
    }
}

#[test]
fn a_client_hello_over_several_datagrams_is_put_together() {
    for (seed, pieces) in [(1, 2), (2, 3), (3, 7)] {
        let link = Splitter {
            pieces,
            ..Splitter::default()
        };
        let mut scene = Scene::with_link(seed, link);
        let publisher = scene.publish(CHROMIUM_PUBLISH);
        let viewer = scene.view(CHROMIUM_VIEW);
        scene.play(publisher, &[viewer], &[Codec::Vp8, Codec::Opus]);
        for id in [publisher, viewer] {
            let local = scene.world.client(id).local();
            assert!(scene.world.link.split[&local] >= 1, "nothing was split");
        }
        // And the whole flight of peers that are DTLS servers.
        let link = Splitter {
            pieces,
            ..Splitter::default()
        };
        let mut scene = Scene::with_link(seed, link);
        let passive = |text: &str| replaced(text, "a=setup:actpass", "a=setup:passive");
        let publisher = scene.publish(&passive(CHROMIUM_PUBLISH));
        let viewer = scene.view(&passive(CHROMIUM_VIEW));
        scene.play(publisher, &[viewer], &[Codec::Vp8, Codec::Opus]);
    }
}

/// A flight in as few datagrams of DTLS as possible, of so many bytes at most: fragments of one
/// message become one record, and records share datagrams.
fn joined(flight: &[Vec<u8>], len_max: usize) -> Vec<Vec<u8>> {
    let mut records: Vec<Vec<u8>> = Vec::new();
    for datagram in flight {
        let mut rest = datagram.as_slice();
        while rest.len() > RECORD_HEADER {
            let len = usize::from(u16::from_be_bytes([rest[11], rest[12]]));
            let (record, next) = rest.split_at(RECORD_HEADER + len);
            let is_plain = record[0] == HANDSHAKE && record[3..5] == [0, 0];
            match records
                .last_mut()
                .filter(|last| is_plain && goes_on(last, record))
            {
                Some(last) => join(last, record),
                None => records.push(record.to_vec()),
            }
            rest = next;
        }
    }
    let mut datagrams: Vec<Vec<u8>> = Vec::new();
    for record in records {
        match datagrams
            .last_mut()
            .filter(|last| last.len() + record.len() <= len_max)
        {
            Some(last) => last.extend(record),
            None => datagrams.push(record),
        }
    }
    datagrams
}

/// Type, length and number of the message that a record has a fragment of.
const MESSAGE: std::ops::Range<usize> = RECORD_HEADER..RECORD_HEADER + 6;
/// The length of the fragment.
const FRAGMENT_LEN: std::ops::Range<usize> = RECORD_HEADER + 9..RECORD_HEADER + 12;

/// Whether a record has the next fragment of the same message.
fn goes_on(last: &[u8], record: &[u8]) -> bool {
    last[0] == HANDSHAKE && last[3..5] == [0, 0] && last[MESSAGE] == record[MESSAGE]
}

fn join(last: &mut Vec<u8>, record: &[u8]) {
    last.extend(&record[RECORD_HEADER + MESSAGE_HEADER..]);
    let fragment_len = last.len() - RECORD_HEADER - MESSAGE_HEADER;
    last[FRAGMENT_LEN].copy_from_slice(&fragment_len.to_be_bytes()[5..]);
    let len = u16::try_from(last.len() - RECORD_HEADER).unwrap();
    last[11..13].copy_from_slice(&len.to_be_bytes());
}

/// Connects a client whose DTLS goes in large datagrams. Gives the length of the longest.
fn connect_largely(scene: &mut Scene, id: ClientId, len_max: usize) -> usize {
    let mut longest = 0;
    for _ in 0..200 {
        if scene.world.client(id).is_connected() {
            scene.world.settle();
            return longest;
        }
        let out = scene.world.outgoing(id);
        let is_dtls = |(_, contents): &&(SocketAddr, Vec<u8>)| matches!(contents[..], [20..64, ..]);
        let flight: Vec<_> = out.iter().filter(is_dtls).map(|(_, c)| c.clone()).collect();
        let others = out.iter().filter(|datagram| !is_dtls(datagram));
        let others: Vec<_> = others.map(|(_, contents)| contents.clone()).collect();
        let local = scene.world.client(id).local();
        for datagram in others.into_iter().chain(joined(&flight, len_max)) {
            if matches!(datagram[..], [20..64, ..]) {
                longest = longest.max(datagram.len());
            }
            scene.world.cross(Way::ToServer, local, &datagram);
        }
        for (transmit, bytes) in scene.world.transmits() {
            for datagram in segments(&transmit, &bytes) {
                scene
                    .world
                    .cross(Way::ToClient, transmit.destination, datagram);
            }
        }
        scene.world.skip(Duration::from_millis(5));
        let now = scene.world.now();
        if scene.world.client(id).poll_timeout() <= now {
            scene.world.client(id).handle_timeout(now);
        }
    }
    panic!("not connected: {:?}", scene.world.client(id).error());
}

#[test]
fn dtls_datagrams_above_1400_bytes_are_read() {
    let mut scene = Scene::new(1);
    // One record of the certificate alone is longer than an Ethernet frame's payload.
    scene.identity = Identity::with_names(20);
    assert!(scene.identity.certificate_len() > 1_500);
    let publisher = scene.offer("/live/whip", CHROMIUM_PUBLISH);
    let longest = connect_largely(&mut scene, publisher, 2_048);
    assert!((1_501..=2_048).contains(&longest), "{longest}");
    let viewer = scene.offer("/live/whep", CHROMIUM_VIEW);
    let longest = connect_largely(&mut scene, viewer, 2_048);
    assert!((1_501..=2_048).contains(&longest), "{longest}");
    scene.play(publisher, &[viewer], &[Codec::Vp8, Codec::Opus]);
}
