//! What a publisher's packets go missing for is asked for here, and taken here if str0m does not.
//!
//! str0m looks 100 packets back: 46 ms of 20 Mbit/s. What is older it neither asks for nor takes.
//! So its requests are switched off and ours go out instead, and a datagram of which it makes
//! nothing is opened by us, if it may be one of the missing.
//!
//! Requests are sealed under the same keys as str0m's RTCP. Nonces of SRTCP are (sender's SSRC,
//! index), and each of the two counts its own indices: that the SSRCs differ is held whenever str0m
//! sends anything ([`Repairs::permits`]).

use std::time::Instant;

use crate::dtls::Negotiated;
use crate::ingest::nacks::{Came, Entries, Tally, extend};
use crate::ingest::request::request;
use crate::ingest::rtt::Rtt;
use crate::ingest::{Ingest, Lane, Progress};
use crate::net::Kind;
use crate::rtcp::Cname;
use crate::rtp::Header;
use crate::srtp::{self, MediaOpener, Sealer};
use crate::stream::track::Packet;

/// The longest datagram that is opened by us. Nothing longer can be forwarded.
const DATAGRAM_LEN_MAX: usize = 2048;

/// How requests are made.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Asking {
    /// Whose requests they are. Random.
    pub(crate) ssrc: u32,
    pub(crate) cname: Cname,
    /// How many packets back a track's history records.
    pub(crate) window: usize,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Repairs {
    asking: Asking,
    keys: Option<(Sealer, MediaOpener)>,
    /// Something was sealed in the name of `asking.ssrc`.
    has_sealed: bool,
    rtt: Rtt,
    /// What str0m may make nothing of, until it is known.
    held: Option<Held>,
    /// Its bytes.
    buffer: Vec<u8>,
    /// So much of the video is missing that a keyframe is needed.
    too_much_lost: bool,
    /// Requests to send.
    ready: heapless::Vec<Vec<u8>, 2>,
}

/// A datagram that may be one of the missing packets.
#[derive(Debug, Clone, Copy)]
struct Held {
    header: Header,
    /// Its place among the tracks.
    lane: usize,
    source: Source,
}

#[derive(Debug, Clone, Copy)]
enum Source {
    /// The track's own, under this number.
    Main(u64),
    /// That of its repairs (RFC 4588).
    Rtx,
}

/// The source of a track's repairs, and its highest extended number.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rtx {
    ssrc: u32,
    highest: u64,
}

impl Repairs {
    pub(super) fn new(asking: Asking) -> Self {
        Self {
            asking,
            keys: None,
            has_sealed: false,
            rtt: Rtt::default(),
            held: None,
            buffer: Vec::new(),
            too_much_lost: false,
            ready: heapless::Vec::new(),
        }
    }

    pub(super) fn on_negotiated(&mut self, negotiated: &Negotiated) {
        let Negotiated {
            profile,
            material,
            active,
        } = negotiated;
        // A second time would count indices from 0 again, under the same keys perhaps.
        if self.keys.is_none() {
            self.keys = srtp::derive_for_media(*profile, material, *active);
        }
    }

    /// Whether str0m may send this: RTCP in another name than ours. We take another as long as we
    /// have used none.
    pub(super) fn permits(&mut self, datagram: &[u8]) -> bool {
        let is_media = Kind::of(datagram) == Some(Kind::Media);
        let [_, _, _, _, a, b, c, d, ..] = *datagram else {
            return true;
        };
        if !is_media || u32::from_be_bytes([a, b, c, d]) != self.asking.ssrc {
            return true;
        }
        if !self.has_sealed {
            self.asking.ssrc = self.asking.ssrc.wrapping_add(1);
        }
        !self.has_sealed
    }

    pub(super) fn poll_too_much_lost(&mut self) -> Option<Progress> {
        std::mem::take(&mut self.too_much_lost).then_some(Progress::TooMuchLost)
    }

    pub(super) fn poll_request(&mut self) -> Option<Vec<u8>> {
        self.ready.pop()
    }

    /// A packet of a track came, one way or the other.
    fn note(&mut self, now: Instant, lane: &mut Lane, sequence: u64, resent: bool) {
        match lane.nacks.receive(now, sequence) {
            Came::Unasked => {}
            Came::AfterTooMany => self.too_much_lost |= lane.is_video(),
            // Who has no source for repairs sends the packet as it was.
            Came::Asked { .. } if !resent && lane.published.rtx_payload_type.is_some() => {}
            Came::Asked { last, tries: 1 } => {
                self.rtt.on_answer(now.saturating_duration_since(last));
            }
            Came::Asked { .. } => self.rtt.on_ambiguous_answer(),
        }
    }

    /// Seals a request for packets of `media`: alone if it may be, which ffmpeg insists on.
    fn seal(&mut self, media: u32, reduced_size: bool, entries: &Entries) -> Option<Vec<u8>> {
        let (sealer, _) = self.keys.as_mut()?;
        let cname = (!reduced_size).then_some(&self.asking.cname);
        let room = sealer.rtcp_overhead();
        let mut packet = request(self.asking.ssrc, media, entries, cname, room);
        sealer.seal_rtcp(&mut packet)?;
        self.has_sealed = true;
        Some(packet)
    }
}

impl Ingest {
    /// Keeps a datagram until it is known whether str0m makes anything of it, if it may be one of
    /// the missing.
    pub(super) fn hold(&mut self, contents: &[u8]) {
        self.repairs.held = self.find_missing(contents);
        if self.repairs.held.is_some() {
            self.repairs.buffer.clear();
            self.repairs.buffer.extend_from_slice(contents);
        }
    }

    fn find_missing(&self, contents: &[u8]) -> Option<Held> {
        if contents.len() > DATAGRAM_LEN_MAX {
            return None;
        }
        let header = Header::parse(contents)?;
        for (place, lane) in self.tracks.iter().enumerate() {
            let Some(main) = lane.ssrc else { continue };
            let held = |source| Held {
                header,
                lane: place,
                source,
            };
            if header.ssrc == main {
                let sequence = lane.nacks.extend(header.number);
                let is_missing = header.payload_type == lane.published.payload_type
                    && lane.nacks.misses(sequence);
                return is_missing.then(|| held(Source::Main(sequence)));
            }
            let is_rtx = lane.published.rtx_payload_type == Some(header.payload_type)
                || lane.rtx.is_some_and(|rtx| rtx.ssrc == header.ssrc);
            if is_rtx {
                return Some(held(Source::Rtx));
            }
        }
        None
    }

    /// str0m has made a packet of the datagram that came last. `None`: of another source than the
    /// track's. One a track: a second one, of a simulcast say, would mix two numberings.
    pub(super) fn note_packet(&mut self, place: usize, ssrc: u32, sequence: u64) -> Option<()> {
        let held = self.repairs.held.take();
        let lane = self
            .tracks
            .get_mut(place)
            .filter(|t| t.ssrc == Some(ssrc))?;
        let rtx = held.filter(|held| matches!(held.source, Source::Rtx));
        if let Some(Held { header, .. }) = rtx {
            lane.note_rtx(header.ssrc, lane.extend_rtx(&header));
        }
        self.repairs.note(self.now, lane, sequence, rtx.is_some());
        Some(())
    }

    /// A packet of the datagram that came last, of which str0m has made none.
    pub(super) fn rescue(&mut self) -> Option<Progress> {
        let held = self.repairs.held.take()?;
        let mut buffer = std::mem::take(&mut self.repairs.buffer);
        let progress = self.open(held, &mut buffer);
        self.repairs.buffer = buffer;
        progress
    }

    fn open(&mut self, held: Held, contents: &mut [u8]) -> Option<Progress> {
        let header = held.header;
        let lane = self.tracks.get_mut(held.lane)?;
        let (_, opener) = self.repairs.keys.as_ref()?;
        let index = match held.source {
            Source::Main(sequence) => sequence,
            Source::Rtx => {
                // One payload type may be that of several sources' repairs: str0m knows whose
                // these are, by the offer or by the mid that came with them. Where neither says
                // anything the payload type has to do, as it does for the track's own source.
                let mut api = self.rtc.direct_api();
                match api.stream_rx(&lane.ssrc?.into())?.rtx() {
                    Some(rtx) if *rtx == header.ssrc => {}
                    None if self.takes_unannounced => {}
                    _ => return None,
                }
                lane.extend_rtx(&header)
            }
        };
        let payload = opener.open_rtp(header.len, header.ssrc, index, contents)?;
        let payload = header.unpadded(payload)?;
        let (sequence, payload) = match held.source {
            Source::Main(sequence) => (sequence, payload),
            Source::Rtx => {
                lane.note_rtx(header.ssrc, index);
                // The next one is for str0m again.
                let (main, rtx) = (lane.ssrc?.into(), header.ssrc.into());
                let mut api = self.rtc.direct_api();
                api.expect_stream_rx(main, Some(rtx), lane.mid, None);
                let (number, payload) = payload.split_first_chunk()?;
                (lane.nacks.extend(u16::from_be_bytes(*number)), payload)
            }
        };
        if !lane.nacks.misses(sequence) {
            return None;
        }
        let resent = matches!(held.source, Source::Rtx);
        self.repairs.note(self.now, lane, sequence, resent);
        Some(Progress::Packet(
            lane.published.codec.kind(),
            Packet {
                sequence,
                timestamp: header.timestamp,
                marker: header.marker,
                payload: payload.into(),
            },
        ))
    }

    /// Asks for what is due.
    pub(super) fn ask(&mut self, now: Instant) {
        let wait = self.repairs.rtt.wait();
        for lane in &mut self.tracks {
            let entries = lane.nacks.take_due(now, wait);
            let Some(media) = lane.ssrc.filter(|_| !entries.is_empty()) else {
                continue;
            };
            let reduced_size = lane.published.reduced_size;
            if let Some(request) = self.repairs.seal(media, reduced_size, &entries) {
                let _ = self.repairs.ready.push(request);
            }
        }
    }

    /// What became of requests since the last time.
    pub(crate) fn take_tally(&mut self) -> Tally {
        let tallies = self.tracks.iter_mut().map(|lane| lane.nacks.take_tally());
        tallies.fold(Tally::default(), |sum, one| Tally {
            asked: sum.asked + one.asked,
            repaired: sum.repaired + one.repaired,
            given_up: sum.given_up + one.given_up,
        })
    }
}

impl Lane {
    fn extend_rtx(&self, header: &Header) -> u64 {
        let known = self.rtx.filter(|rtx| rtx.ssrc == header.ssrc);
        extend(known.map(|rtx| rtx.highest), header.number)
    }

    /// A genuine packet of the source of repairs came.
    fn note_rtx(&mut self, ssrc: u32, number: u64) {
        let known = self.rtx.filter(|rtx| rtx.ssrc == ssrc);
        let highest = known.map_or(number, |rtx| rtx.highest.max(number));
        self.rtx = Some(Rtx { ssrc, highest });
    }
}

#[cfg(test)]
mod tests {
    use dimpl::SrtpProfile;

    use super::*;

    fn repairs() -> Repairs {
        Repairs::new(Asking {
            ssrc: 7,
            cname: *b"0123456789abcdef",
            window: 4096,
        })
    }

    #[test]
    fn str0m_and_we_never_send_in_one_name() {
        let ours = [0x81, 205, 0, 3, 0, 0, 0, 7, 0, 0, 0, 1];
        let mut repairs = repairs();
        assert!(repairs.permits(&ours), "we give way");
        assert_eq!(repairs.asking.ssrc, 8);
        assert!(repairs.permits(&ours), "and have another name");

        let material = vec![1; SrtpProfile::AEAD_AES_128_GCM.keying_material_len()];
        let negotiated = Negotiated {
            profile: SrtpProfile::AEAD_AES_128_GCM,
            material: dimpl::KeyingMaterial::new(&material),
            active: false,
        };
        repairs.on_negotiated(&negotiated);
        let entries = [(1, 0)].into_iter().collect();
        let request = repairs.seal(1, true, &entries).unwrap();
        assert!(!repairs.permits(&request), "unless we have used it");
        assert!(repairs.permits(&ours));
    }

    #[test]
    fn what_is_no_rtcp_is_none_of_our_business() {
        let mut repairs = repairs();
        for datagram in [&[][..], &[0x80, 205, 0], &[22, 254, 253, 0, 0, 0, 0, 7]] {
            assert!(repairs.permits(datagram));
        }
        assert_eq!(repairs.asking.ssrc, 7);
    }
}
