//! What the program itself publishes, from any thread.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use kvill_core::Server;
use kvill_core::ids::SourceId;
use kvill_core::media::MediaKind;
use kvill_core::rtp::RtpPacket;
use kvill_core::server::SourceError;

use crate::handle::HandleError;
use crate::mailbox::{Command, Mailbox};

/// Publishes on a path, see [`Handle::publish`](crate::handle::Handle::publish). Dropped, it says
/// goodbye as a WHIP publisher would.
///
/// What is sent is put into the loop's mailbox, and taken in within its next turn: an error of the
/// core is told by the next call. What that call itself brings is sent on nevertheless, unless the
/// publisher has ended: then every call says so.
#[derive(Debug)]
pub struct Publisher {
    mailbox: Arc<Mailbox>,
    source: SourceId,
    session: String,
    state: Arc<State>,
}

/// Why nothing more is taken from a [`Publisher`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SendError {
    /// What was sent before was not taken; or the publisher has ended, and nothing will be.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// The driver has stopped, or is far behind: this frame is lost.
    #[error(transparent)]
    Handle(#[from] HandleError),
}

/// What the loop tells a publisher.
#[derive(Debug, Default)]
pub(crate) struct State {
    keyframe_wanted: AtomicBool,
    error: Mutex<Option<SourceError>>,
}

/// What a publisher sends.
#[derive(Debug)]
pub(crate) enum Fed {
    Packet {
        kind: MediaKind,
        sequence: u16,
        timestamp: u32,
        marker: bool,
        payload: Vec<u8>,
    },
    Frame {
        kind: MediaKind,
        captured: Instant,
        frame: Vec<u8>,
    },
    SenderReport {
        kind: MediaKind,
        ntp: u64,
        timestamp: u32,
    },
}

impl Publisher {
    pub(crate) fn new(
        mailbox: Arc<Mailbox>,
        source: SourceId,
        session: String,
        state: Arc<State>,
    ) -> Self {
        Self {
            mailbox,
            source,
            session,
            state,
        }
    }

    /// The session's public id, as events and lists have it.
    #[must_use]
    pub fn session(&self) -> &str {
        &self.session
    }

    /// Sends a frame: of H264 an access unit in Annex B format, of audio one packet's worth.
    /// `captured` is when it was captured, by a count of samples rather than a clock. See
    /// [`Server::handle_frame`].
    ///
    /// # Errors
    /// The publisher has ended (the next one should be [published](crate::handle::Handle::publish)
    /// anew), or the frame before was none, or the driver cannot take it.
    pub fn send_frame(
        &self,
        kind: MediaKind,
        captured: Instant,
        frame: Vec<u8>,
    ) -> Result<(), SendError> {
        self.send(Fed::Frame {
            kind,
            captured,
            frame,
        })
    }

    /// Sends an RTP packet. See [`Server::handle_packet`].
    ///
    /// # Errors
    /// As of [`send_frame`](Self::send_frame).
    pub fn send_packet(&self, kind: MediaKind, packet: &RtpPacket<'_>) -> Result<(), SendError> {
        self.send(Fed::Packet {
            kind,
            sequence: packet.sequence,
            timestamp: packet.timestamp,
            marker: packet.marker,
            payload: packet.payload.to_vec(),
        })
    }

    /// Says which moment the timestamps of packets mean: the NTP time `ntp` (32.32 fixed point) and
    /// the RTP timestamp of one moment. See [`Server::handle_sender_report`].
    ///
    /// # Errors
    /// As of [`send_frame`](Self::send_frame).
    pub fn send_sender_report(
        &self,
        kind: MediaKind,
        ntp: u64,
        timestamp: u32,
    ) -> Result<(), SendError> {
        self.send(Fed::SenderReport {
            kind,
            ntp,
            timestamp,
        })
    }

    /// Whether viewers need a keyframe that was not asked for by an earlier call: to be looked at
    /// before each frame is encoded. All subscribers are told of it too, by
    /// [`Event::KeyframeWanted`](kvill_core::server::Event::KeyframeWanted).
    #[must_use]
    pub fn takes_keyframe_request(&self) -> bool {
        self.state.keyframe_wanted.swap(false, Ordering::AcqRel)
    }

    fn send(&self, fed: Fed) -> Result<(), SendError> {
        let before = self.state.error();
        if let Some(ended @ SourceError::Ended(_)) = before {
            return Err(ended.into());
        }
        self.mailbox.post(Command::Feed(self.source, fed))?;
        before.map_or(Ok(()), |error| Err(error.into()))
    }
}

impl Drop for Publisher {
    fn drop(&mut self) {
        self.mailbox.post_last_word(Command::Unpublish(self.source));
    }
}

impl State {
    pub(crate) fn want_keyframe(&self) {
        self.keyframe_wanted.store(true, Ordering::Release);
    }

    pub(crate) fn fail(&self, error: SourceError) {
        let mut slot = self.lock();
        if slot.is_none() || matches!(error, SourceError::Ended(_)) {
            *slot = Some(error);
        }
    }

    /// What went wrong since this was asked last; an end is for good.
    fn error(&self) -> Option<SourceError> {
        let mut slot = self.lock();
        match &*slot {
            Some(SourceError::Ended(_)) => slot.clone(),
            _ => slot.take(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Option<SourceError>> {
        self.error.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Fed {
    /// Passes it to the core.
    pub(crate) fn into_core(
        self,
        now: Instant,
        server: &mut Server,
        source: SourceId,
    ) -> Result<(), SourceError> {
        match self {
            Self::Packet {
                kind,
                sequence,
                timestamp,
                marker,
                payload,
            } => {
                let packet = RtpPacket {
                    sequence,
                    timestamp,
                    marker,
                    payload: &payload,
                };
                server.handle_packet(now, source, kind, &packet)
            }
            Self::Frame {
                kind,
                captured,
                frame,
            } => server.handle_frame(now, source, kind, captured, &frame),
            Self::SenderReport {
                kind,
                ntp,
                timestamp,
            } => server.handle_sender_report(now, source, kind, ntp, timestamp),
        }
    }
}
