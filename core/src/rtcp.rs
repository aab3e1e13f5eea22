//! RTCP (RFC 3550 §6) as far as it matters between a server and its viewers: the reports they
//! send, read through views that neither copy nor panic, the reports we send, and when. What
//! publishers are asked for is in [`ingest`](crate::ingest).

mod read;
pub(crate) mod schedule;
mod write;

pub(crate) use read::{Feedback, Lost, ReceptionReport, feedback};
pub(crate) use write::{Cname, REFERENCES_MAX, ReferenceTime, SenderReport, Shape, compound};

const SENDER_REPORT: u8 = 200;
pub(crate) const RECEIVER_REPORT: u8 = 201;
pub(crate) const SOURCE_DESCRIPTION: u8 = 202;
const GOODBYE: u8 = 203;
pub(crate) const TRANSPORT_FEEDBACK: u8 = 205;
const PAYLOAD_FEEDBACK: u8 = 206;
const EXTENDED_REPORT: u8 = 207;

/// The block of an extended report with which a receiver asks for its round-trip time (RFC 3611
/// §4.4).
const REFERENCE_TIME: u8 = 4;

/// The block that answers it (RFC 3611 §4.5).
const REFERENCE_DELAY: u8 = 5;

/// Whether a datagram that is RTP or RTCP by its first byte is RTCP by its second (RFC 5761 §4).
pub(crate) fn is_rtcp(contents: &[u8]) -> bool {
    contents.get(1).is_some_and(|b| (192..=223).contains(b))
}

/// The middle of a 64-bit NTP time, as reports refer to it (RFC 3550 §4).
#[expect(
    clippy::cast_possible_truncation,
    reason = "the upper bits are meant to go"
)]
pub(crate) fn middle(ntp: u64) -> u32 {
    (ntp >> 16) as u32
}
