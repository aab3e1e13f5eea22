//! One track as it is delivered to one viewer, held against what was published.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use str0m::media::MediaKind;
use str0m::rtp::RtpPacket;

use super::film::Films;
use crate::client::media::Name;

/// See the module.
#[derive(Debug)]
pub struct Reel {
    path: usize,
    kind: MediaKind,
    takes: BTreeMap<u32, Take>,
    /// Packets delivered.
    pub packets: u64,
    /// Their payload bytes.
    pub bytes: u64,
}

/// What arrived of one source.
#[derive(Debug)]
pub struct Take {
    /// The viewer's sequence number is the packet's ordinal plus this.
    pub offset: u64,
    /// The viewer's timestamps are the publisher's plus this, wrapping.
    timestamp: u32,
    /// The lowest sequence number so far, and the highest.
    pub range: (u64, u64),
    /// By ordinal.
    seen: Vec<bool>,
    /// By frame.
    frames: Vec<Frame>,
}

/// What arrived of one frame.
#[derive(Debug, Clone, Copy, Default)]
struct Frame {
    got: u16,
    /// When the last packet came that was missing.
    complete: Option<Instant>,
}

/// A packet as a viewer gets it.
#[derive(Debug, Clone)]
pub struct Delivered {
    /// When it arrived.
    pub at: Instant,
    /// Extended.
    pub seq: u64,
    /// RTP timestamp.
    pub timestamp: u32,
    /// Marker bit.
    pub marker: bool,
    /// RTP payload.
    pub payload: Arc<[u8]>,
}

impl From<RtpPacket> for Delivered {
    fn from(packet: RtpPacket) -> Self {
        Self {
            at: packet.timestamp,
            seq: *packet.seq_no,
            timestamp: packet.header.timestamp,
            marker: packet.header.marker,
            payload: packet.payload,
        }
    }
}

impl Reel {
    /// A track of a path of which nothing has arrived.
    #[must_use]
    pub fn new(path: usize, kind: MediaKind) -> Self {
        Self {
            path,
            kind,
            takes: BTreeMap::new(),
            packets: 0,
            bytes: 0,
        }
    }

    /// What arrived of each source.
    pub fn takes(&self) -> impl Iterator<Item = (u32, &Take)> {
        self.takes.iter().map(|(source, take)| (*source, take))
    }

    /// What arrived of a source.
    #[must_use]
    pub fn take(&self, source: u32) -> Option<&Take> {
        self.takes.get(&source)
    }

    /// Takes in a packet. Gives its frame if that is complete by it. Says what is wrong with it.
    ///
    /// # Errors
    ///
    /// It was not published, or not like this; it came before; its sequence number or its
    /// timestamp do not fit those that came before.
    pub fn deliver(&mut self, films: &Films, packet: &Delivered) -> Result<Option<Name>, String> {
        let name = Name::of(&packet.payload).ok_or("a packet without a name")?;
        let film = films.get(&name.source);
        let film = film.ok_or_else(|| format!("{name:?} is of nobody"))?;
        if (film.path, film.kind()) != (self.path, self.kind) {
            return Err(format!("{name:?} is of path {}", film.path));
        }
        let shot = film.shot(&name, &packet.payload)?;
        let last = name.index + 1 == name.count;
        if packet.marker != (last && self.kind == MediaKind::Video) {
            return Err(format!("{name:?} has marker {}", packet.marker));
        }

        let seq = packet.seq;
        let offset = seq.wrapping_sub(u64::from(name.ordinal));
        let timestamp = packet.timestamp.wrapping_sub(shot.timestamp);
        let take = self.takes.entry(name.source).or_insert_with(|| Take {
            offset,
            timestamp,
            range: (seq, seq),
            seen: Vec::new(),
            frames: Vec::new(),
        });
        if take.offset != offset {
            return Err(format!(
                "{name:?} has sequence number {seq}, {} was due",
                take.offset.wrapping_add(u64::from(name.ordinal))
            ));
        }
        if take.timestamp != timestamp {
            return Err(format!(
                "{name:?} has timestamp {}, {} was due",
                packet.timestamp,
                take.timestamp.wrapping_add(shot.timestamp)
            ));
        }
        if std::mem::replace(at(&mut take.seen, name.ordinal), true) {
            return Err(format!("{name:?} came twice"));
        }
        take.range = (take.range.0.min(seq), take.range.1.max(seq));
        let frame = at(&mut take.frames, name.frame);
        frame.got += 1;
        let complete = frame.got == name.count;
        if complete {
            frame.complete = Some(packet.at);
        }
        self.packets += 1;
        self.bytes += packet.payload.len() as u64;
        self.in_turn(name.source)?;
        Ok(complete.then_some(name))
    }

    /// The sequence numbers of one source lie after those of the one before, and before those of
    /// the next.
    fn in_turn(&self, source: u32) -> Result<(), String> {
        let range = self.takes[&source].range;
        let before = self.takes.range(..source).next_back();
        let after = self.takes.range(source + 1..).next();
        for (earlier, later) in [
            (before.map(|b| b.1.range), Some(range)),
            (Some(range), after.map(|a| a.1.range)),
        ] {
            if let (Some(earlier), Some(later)) = (earlier, later)
                && earlier.1 >= later.0
            {
                return Err(format!(
                    "the sequence numbers {earlier:?} of one source and {later:?} of the next"
                ));
            }
        }
        Ok(())
    }
}

impl Take {
    /// When a frame was complete.
    #[must_use]
    pub fn complete(&self, frame: u32) -> Option<Instant> {
        self.frames.get(frame as usize)?.complete
    }

    /// Whether a packet arrived.
    #[must_use]
    pub fn has(&self, ordinal: u32) -> bool {
        self.seen.get(ordinal as usize).copied().unwrap_or(false)
    }

    /// The latest frame of which anything arrived.
    #[must_use]
    pub fn latest(&self) -> u32 {
        u32::try_from(self.frames.len().saturating_sub(1)).expect("a short film")
    }
}

/// The place of a number, made if it is not there.
fn at<T: Clone + Default>(all: &mut Vec<T>, number: u32) -> &mut T {
    let number = number as usize;
    if all.len() <= number {
        all.resize(number + 1, T::default());
    }
    &mut all[number]
}

#[cfg(test)]
pub(super) mod tests {
    use str0m::format::Codec;

    use super::*;
    use crate::client::media::{Packet, Source};
    use crate::stage::film::Film;

    /// A packet as a viewer gets it whose numbers are the publisher's.
    pub(in crate::stage) fn received(packet: &Packet, at: Instant) -> Delivered {
        Delivered {
            at,
            seq: packet.seq,
            timestamp: packet.timestamp,
            marker: packet.marker,
            payload: packet.payload.clone(),
        }
    }

    /// Two frames of three packets on path 0, and who watches that.
    fn published() -> (Films, Vec<Delivered>, Reel) {
        let now = Instant::now();
        let mut source = Source::numbered(1, Codec::H264, 7, 90);
        let mut film = Film::new(0, Codec::H264, 7);
        let mut packets = source.keyframe(3, 100);
        film.note(now, &packets);
        let delta = source.delta(3, 100);
        film.note(now, &delta);
        packets.extend(delta);
        let packets = packets.iter().map(|p| received(p, now)).collect();
        let reel = Reel::new(0, MediaKind::Video);
        (Films::from([(1, film)]), packets, reel)
    }

    #[test]
    fn frames_are_complete_with_their_last_packet_in_whatever_order() {
        let (films, packets, mut reel) = published();
        for (at, complete) in [(2, false), (5, false), (0, false), (1, true), (4, false)] {
            let delivered = reel.deliver(&films, &packets[at]).unwrap();
            assert_eq!(delivered.is_some(), complete, "packet {at}");
        }
        let take = reel.take(1).unwrap();
        assert!(take.complete(0).is_some() && take.complete(1).is_none());
        assert!(take.has(5) && !take.has(3));
    }

    #[test]
    fn what_is_not_as_it_was_published_is_told() {
        let wrong = |change: fn(&mut Delivered), why: &str| {
            let (films, mut packets, mut reel) = published();
            reel.deliver(&films, &packets[0]).unwrap();
            change(&mut packets[1]);
            let error = reel.deliver(&films, &packets[1]).unwrap_err();
            assert!(error.contains(why), "{error}");
        };
        wrong(|p| p.seq = 20, "sequence number 20, 8 was due");
        wrong(|p| p.timestamp += 1, "timestamp 91, 90 was due");
        wrong(|p| p.marker = true, "marker true");
        wrong(|p| p.payload = p.payload[..99].into(), "");
        wrong(
            |p| {
                let mut payload = p.payload.to_vec();
                payload[30] ^= 1;
                p.payload = payload.into();
            },
            "other bytes",
        );
    }

    #[test]
    fn what_comes_twice_or_from_another_path_is_told() {
        let (films, packets, mut reel) = published();
        reel.deliver(&films, &packets[0]).unwrap();
        let error = reel.deliver(&films, &packets[0]).unwrap_err();
        assert!(error.contains("twice"), "{error}");
        let mut elsewhere = Reel::new(1, MediaKind::Video);
        let error = elsewhere.deliver(&films, &packets[0]).unwrap_err();
        assert!(error.contains("path 0"), "{error}");
    }
}
