//! What was published, to hold against what is delivered.

use std::collections::BTreeMap;
use std::time::Instant;

use str0m::format::Codec;
use str0m::media::MediaKind;

use crate::client::media::{Name, Packet, payload};

/// All that was ever published, by the number of the source. Of two sources that followed each
/// other on a track, the later has the higher number.
pub type Films = BTreeMap<u32, Film>;

/// One source's frames.
#[derive(Debug)]
pub struct Film {
    /// Which path it was published on.
    pub path: usize,
    /// What it is.
    pub codec: Codec,
    /// The frames, in order.
    pub shots: Vec<Shot>,
    /// The first packet's sequence number.
    pub first_seq: u64,
}

/// One frame.
#[derive(Debug, Clone, Copy)]
pub struct Shot {
    /// When it was published.
    pub at: Instant,
    /// The first packet's [`ordinal`](Name::ordinal).
    pub first: u32,
    /// How many packets.
    pub count: u16,
    /// It needs no other.
    pub key: bool,
    /// RTP timestamp, as published.
    pub timestamp: u32,
    /// Payload bytes of each packet.
    pub len: usize,
}

impl Film {
    /// The film of a source whose first packet will have this sequence number.
    #[must_use]
    pub fn new(path: usize, codec: Codec, first_seq: u64) -> Self {
        Self {
            path,
            codec,
            shots: Vec::new(),
            first_seq,
        }
    }

    /// Notes a frame that is published.
    ///
    /// # Panics
    ///
    /// If it has no packets.
    pub fn note(&mut self, now: Instant, frame: &[Packet]) {
        let first = frame.first().expect("a frame of packets");
        let name = Name::of(&first.payload).expect("a packet with a name");
        self.shots.push(Shot {
            at: now,
            first: u32::try_from(first.seq - self.first_seq).expect("a short film"),
            count: name.count,
            key: name.key,
            timestamp: first.timestamp,
            len: first.payload.len(),
        });
    }

    /// Video or audio.
    #[must_use]
    pub fn kind(&self) -> MediaKind {
        self.codec.kind()
    }

    /// The frame that a packet with this name and payload is of. Says what is wrong with it.
    pub fn shot(&self, name: &Name, bytes: &[u8]) -> Result<&Shot, String> {
        let shot = self.shots.get(name.frame as usize);
        let shot = shot.ok_or_else(|| format!("{name:?} was never published"))?;
        let published = Name {
            ordinal: shot.first + u32::from(name.index),
            count: shot.count,
            key: shot.key,
            ..*name
        };
        if published != *name || name.index >= shot.count {
            return Err(format!("{name:?} was published as {shot:?}"));
        }
        if shot.len != bytes.len() || payload(self.codec, name, shot.len) != bytes {
            return Err(format!("{name:?} has other bytes than were published"));
        }
        Ok(shot)
    }
}
