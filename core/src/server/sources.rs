//! What the program itself publishes: a path is taken over as by a WHIP publisher, and packets or
//! frames go in by calls.

use std::sync::Arc;
use std::time::Instant;

use crate::ids::SourceId;
use crate::ingest::feed::Feed;
use crate::media::{Codec, CodecName, MediaKind, h264};
use crate::rtp::RtpPacket;
use crate::server::Server;
use crate::server::program::Ended;
use crate::server::sessions::{Peer, Source};
use crate::signal::route::is_path_name;
use crate::stats::EndReason;
use crate::stream::path::Codecs;
use crate::time::ntp_interval;

/// The longest payload that frames are cut into. With RTP header, SRTP tag and RTX header it makes
/// datagrams of 1,200 bytes, as browsers send them: they fit through tunnels. Longer ones save
/// packets, until somebody's path is narrower.
const FRAGMENT_LEN_MAX: usize = 1200 - 12 - 16 - 2;

const _: () = assert!(FRAGMENT_LEN_MAX <= crate::rtp::PAYLOAD_LEN_MAX);

/// Why the program cannot publish. Nothing was changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PublishError {
    /// URLs could not name the path.
    #[error(
        "the path name {0:?} cannot be used: use letters, digits and _ - . ~ in one or more \
         segments that are separated by /"
    )]
    PathName(String),
    /// There is no codec, or more than one for a kind of media.
    #[error("a path has one video track, one audio track, or one of each")]
    Tracks,
    /// Somebody publishes there, and
    /// [`override_publisher`](crate::Config::override_publisher) is off.
    #[error("somebody else publishes on the path, and replacing is not allowed")]
    Conflict,
    /// There are [`sessions_max`](crate::Config::sessions_max) sessions.
    #[error("there are {0} sessions, which is all that may be")]
    TooManySessions(usize),
    /// [`shut_down`](crate::Server::shut_down) was called.
    #[error("the server is shutting down")]
    ShuttingDown,
}

/// Why nothing can be taken from a source.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SourceError {
    /// The source has ended: publish again, if there is more to publish.
    #[error(transparent)]
    Ended(#[from] Ended),
    /// It was published without such a track.
    #[error("the source has no {0} track: name its codec when publishing")]
    NoTrack(MediaKind),
    /// Frames of this codec are not made into packets here: feed packets.
    #[error("frames of {0} are not made into packets here: feed RTP packets")]
    NotPacketized(&'static str),
    /// An H264 access unit does not begin with a start code.
    #[error(
        "the access unit does not begin with a start code (00 00 01): put start codes in the place \
         of lengths (Annex B)"
    )]
    NotAnnexB,
}

impl Server {
    /// Publishes on a path from within the program, one track for each codec: at most one of video
    /// and one of audio.
    ///
    /// All is as with a WHIP publisher that has finished its handshake. Who publishes there is
    /// replaced ([`EndReason::Replaced`]), and viewers go on, if they can play these codecs. The next
    /// publisher replaces this one, [`Event::PublisherLeft`](crate::server::Event) says so, and
    /// [`handle_packet`](Self::handle_packet) from then on. A source that nothing is fed to stays
    /// until it is ended by [`unpublish`](Self::unpublish) or otherwise.
    ///
    /// Video begins with a keyframe: what comes before it is dropped, and the program is asked for
    /// one by [`Event::KeyframeWanted`](crate::server::Event).
    ///
    /// Bounded work, whatever the number of viewers.
    ///
    /// # Errors
    /// A [`PublishError`] says what is in the way.
    pub fn publish(
        &mut self,
        now: Instant,
        path: &str,
        codecs: &[Codec],
    ) -> Result<SourceId, PublishError> {
        if !is_path_name(path) {
            return Err(PublishError::PathName(crate::signal::refusal::shown(path)));
        }
        let codecs = Codecs::from_list(codecs).ok_or(PublishError::Tracks)?;
        if self.shutting_down.is_some() {
            return Err(PublishError::ShuttingDown);
        }
        if !self.may_take_over(path) {
            return Err(PublishError::Conflict);
        }
        let feed = Feed::new(&codecs, [self.rng.u32(), self.rng.u32()]);
        let peer = Peer::Source(Box::new(Source { feed, path: None }));
        let full = PublishError::TooManySessions(self.config.sessions_max);
        let id = self.settle_own(now, path, peer).ok_or(full)?;
        if let Err(reason) = self.take_over(now, id, codecs, "this program") {
            self.retire(now, id, &reason);
            return Err(PublishError::Conflict);
        }
        Ok(SourceId(id))
    }

    /// Takes in an RTP packet of a source, in the track of this kind. As with a WHIP publisher,
    /// packets may come out of order; duplicates, payloads above
    /// [`PAYLOAD_LEN_MAX`](crate::rtp::PAYLOAD_LEN_MAX) and video before the first keyframe are
    /// dropped and counted. Sequence numbers are extended here; a sender that begins anew with other
    /// numbers has to be published anew.
    ///
    /// Timestamps of two tracks are taken to be of one moment when they arrive together, unless
    /// [`handle_sender_report`](Self::handle_sender_report) says better.
    ///
    /// Bounded work: the payload is copied once, whatever the number of viewers.
    ///
    /// # Errors
    /// The source has ended, or has no such track.
    pub fn handle_packet(
        &mut self,
        now: Instant,
        source: SourceId,
        kind: MediaKind,
        packet: &RtpPacket<'_>,
    ) -> Result<(), SourceError> {
        let Some(own) = self.sessions.source_mut(source) else {
            return Err(self.ended(source.0).into());
        };
        let path = own.path;
        if packet.payload.is_empty() && own.feed.codec(kind).is_some() {
            self.counters.dropped_media += 1;
            return Ok(());
        }
        let taken = own.feed.packet(kind, packet);
        let packet = taken.ok_or(SourceError::NoTrack(kind))?;
        if let Some(path) = path {
            self.forward(now, path, kind, packet);
        }
        Ok(())
    }

    /// Takes in a frame of a source, and makes RTP packets of it: of H264 an access unit in Annex B
    /// format, of audio one packet's worth, 20 ms of Opus say. Other codecs have to come as packets.
    ///
    /// `captured` is when the frame was captured, or would have been, on one clock for all tracks:
    /// timestamps follow from it, and lip sync. It has to be as regular as the media is: count
    /// samples, do not read a clock for every frame. H264 frames come in decoding order, with the
    /// times at which they are shown.
    ///
    /// H264 goes out as RFC 6184 has it, packetization mode 1, in payloads of at most 1,170 bytes. An
    /// IDR picture needs its parameter sets before it in the same access unit. An access unit has to
    /// fit the [`history`](crate::Config::history) as a whole, or nobody can begin with it.
    ///
    /// A frame without anything in it is dropped and counted.
    ///
    /// Bounded work: proportional to the length of the frame, whatever the number of viewers.
    ///
    /// # Errors
    /// The source has ended, has no such track, or this is nothing that packets are made of here.
    pub fn handle_frame(
        &mut self,
        now: Instant,
        source: SourceId,
        kind: MediaKind,
        captured: Instant,
        frame: &[u8],
    ) -> Result<(), SourceError> {
        let Some(own) = self.sessions.source_mut(source) else {
            return Err(self.ended(source.0).into());
        };
        let codec = own.feed.codec(kind).ok_or(SourceError::NoTrack(kind))?;
        let before = self.counters.packets();
        match (kind, codec.name) {
            (MediaKind::Video, CodecName::H264) => {
                let units = h264::units(frame).ok_or(SourceError::NotAnnexB)?;
                let mut payloads = h264::payloads(units, FRAGMENT_LEN_MAX).peekable();
                let timestamp = own.feed.timestamp(kind, captured);
                while let Some(payload) = payloads.next() {
                    let marker = payloads.peek().is_none();
                    self.feed(now, source, (kind, timestamp, marker), payload);
                }
            }
            (MediaKind::Audio, _) if frame.is_empty() => {}
            (MediaKind::Audio, _) => {
                let timestamp = own.feed.timestamp(kind, captured);
                self.feed(now, source, (kind, timestamp, false), frame.into());
            }
            (MediaKind::Video, name) => return Err(SourceError::NotPacketized(name.as_str())),
        }
        self.counters.dropped_media += u64::from(self.counters.packets() == before);
        self.note_capture(now, source, kind, captured);
        Ok(())
    }

    /// One packet of a frame.
    fn feed(
        &mut self,
        now: Instant,
        source: SourceId,
        (kind, timestamp, marker): (MediaKind, Option<u32>, bool),
        payload: Arc<[u8]>,
    ) {
        let Some((own, timestamp)) = self.sessions.source_mut(source).zip(timestamp) else {
            return;
        };
        let path = own.path;
        let packet = own.feed.next(kind, timestamp, marker, payload);
        if let Some((path, packet)) = path.zip(packet) {
            self.forward(now, path, kind, packet);
        }
    }

    /// What was captured when is as good as a sender report.
    fn note_capture(&mut self, now: Instant, source: SourceId, kind: MediaKind, captured: Instant) {
        let ours = self.clock.ntp(now);
        let ntp = match captured.checked_duration_since(now) {
            Some(ahead) => ours.wrapping_add(ntp_interval(ahead)),
            None => ours.wrapping_sub(ntp_interval(now - captured)),
        };
        let own = self.sessions.source_mut(source);
        if let Some(timestamp) = own.and_then(|own| own.feed.timestamp(kind, captured)) {
            // It may have ended meanwhile.
            let _ = self.handle_sender_report(now, source, kind, ntp, timestamp);
        }
    }

    /// Says which moment a track's timestamps mean, as an RTCP sender report does (RFC 3550 §6.4.1):
    /// the NTP time `ntp` (32.32 fixed point) on any clock that both tracks share, and the RTP
    /// `timestamp` of the same moment in the numbers of the packets that are fed. Viewers are told
    /// from when all tracks have one. Frames bring it along.
    ///
    /// # Errors
    /// The source has ended, or has no such track.
    pub fn handle_sender_report(
        &mut self,
        now: Instant,
        source: SourceId,
        kind: MediaKind,
        ntp: u64,
        timestamp: u32,
    ) -> Result<(), SourceError> {
        let Some(own) = self.sessions.source_mut(source) else {
            return Err(self.ended(source.0).into());
        };
        let path = own.path;
        own.feed.codec(kind).ok_or(SourceError::NoTrack(kind))?;
        let ours = self.clock.ntp(now);
        if let Some(path) = path.and_then(|path| self.paths.get_mut(path)) {
            path.handle_sender_report(kind, now, ours, (ntp, timestamp));
        }
        Ok(())
    }

    /// Ends a source, as when a WHIP publisher says goodbye: its path waits for another publisher for
    /// [`publisher_grace`](crate::Config::publisher_grace). Nothing happens if it has ended.
    pub fn unpublish(&mut self, now: Instant, source: SourceId) {
        if self.sessions.source_mut(source).is_some() {
            self.retire(now, source.0, &EndReason::PeerClosed);
        }
    }

    /// The public id of a source's session, as events and lists have it. `None`: it has ended.
    #[must_use]
    pub fn source_session(&self, source: SourceId) -> Option<&str> {
        let session = self.sessions.get(source.0)?;
        matches!(session.peer, Peer::Source(_)).then_some(&session.uuid)
    }
}
