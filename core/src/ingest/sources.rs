//! Which source a publisher's track comes from, where the offer did not say.

use str0m::rtp::RtpPacket;

use crate::ingest::{Ingest, Progress};
use crate::stream::track::Packet;

impl Ingest {
    /// Takes up the source of an RTP packet that belongs to a track by its payload type.
    pub(super) fn note_source(&mut self, contents: &[u8]) {
        let [_, second, _, _, _, _, _, _, s0, s1, s2, s3, ..] = *contents else {
            return;
        };
        let (payload_type, ssrc) = (second & 0x7f, u32::from_be_bytes([s0, s1, s2, s3]));
        let lane = self.tracks.iter_mut().find(|t| {
            t.ssrc.is_none()
                && t.published.ssrc.is_none()
                && t.published.payload_type == payload_type
        });
        let Some(lane) = lane else { return };
        let mid = lane.mid;
        let mut api = self.rtc.direct_api();
        if api.stream_rx(&ssrc.into()).is_some() {
            return;
        }
        // Whoever can send from the publisher's address can fill this: the oldest goes, and a
        // source that is real comes again with its next packet.
        if self.unproven.is_full() {
            api.remove_stream_rx(self.unproven.remove(0).into());
        }
        api.expect_stream_rx(ssrc.into(), None, mid, None)
            .suppress_nack(true);
        let _ = self.unproven.push(ssrc);
    }

    /// What str0m has made of a datagram.
    pub(super) fn on_packet(&mut self, packet: RtpPacket) -> Option<Progress> {
        let payload_type = *packet.header.payload_type;
        let place = self
            .tracks
            .iter()
            .position(|t| t.published.payload_type == payload_type)?;
        let lane = self.tracks.get_mut(place)?;
        let kind = lane.published.codec.kind();
        let ssrc = *packet.header.ssrc;
        if lane.ssrc.is_none() {
            lane.ssrc = Some(ssrc);
            // Its stream may be of str0m's own making: by the mid that came with the packet.
            if let Some(stream) = self.rtc.direct_api().stream_rx(&ssrc.into()) {
                stream.suppress_nack(true);
            }
        }
        self.note_packet(place, ssrc, *packet.seq_no)?;
        self.unproven.retain(|unproven| *unproven != ssrc);
        Some(Progress::Packet(
            kind,
            Packet {
                sequence: *packet.seq_no,
                timestamp: packet.header.timestamp,
                marker: packet.header.marker,
                payload: packet.payload,
            },
        ))
    }
}
