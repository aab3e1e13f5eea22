//! The program itself watches, from any thread.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use async_channel::{Receiver, Sender};
use kvill_core::Server;
use kvill_core::ids::WatcherId;
use kvill_core::rtp::TrackPacket;
use kvill_core::server::{Ended, WatchedTrack};
use kvill_core::stats::EndReason;

use crate::handle::{HandleError, Reply};
use crate::mailbox::{Command, Mailbox};

/// Packets that wait for one watcher, on their way from the loop's thread. What does not fit stays
/// in the path's history: who is further behind than that goes on at a keyframe.
pub const PACKETS_MAX: usize = 256;

/// Watches a path, see [`Handle::watch`](crate::handle::Handle::watch). Dropped, it says goodbye as
/// a viewer would.
#[derive(Debug)]
pub struct Watcher {
    mailbox: Arc<Mailbox>,
    id: WatcherId,
    session: String,
    packets: Receiver<TrackPacket>,
    state: Arc<State>,
}

/// What the loop and a watcher tell each other.
#[derive(Debug, Default)]
struct State {
    /// The loop found no room: it is to be told when there is some.
    full: AtomicBool,
    end: OnceLock<Ended>,
}

/// The loop's end of a watcher.
#[derive(Debug)]
pub(crate) struct Seat {
    id: WatcherId,
    packets: Sender<TrackPacket>,
    state: Arc<State>,
}

impl Watcher {
    /// The session's public id, as events and lists have it.
    #[must_use]
    pub fn session(&self) -> &str {
        &self.session
    }

    /// The next packet, of whichever track, in the order of arrival.
    ///
    /// # Errors
    /// The watcher has ended, and why; there are no more.
    pub async fn recv(&self) -> Result<TrackPacket, Ended> {
        match self.packets.recv().await {
            Ok(packet) => Ok(self.taken(packet)),
            Err(_) => Err(self.end()),
        }
    }

    /// Blocks this thread until the next packet.
    ///
    /// # Errors
    /// As of [`recv`](Self::recv).
    pub fn wait(&self) -> Result<TrackPacket, Ended> {
        match self.packets.recv_blocking() {
            Ok(packet) => Ok(self.taken(packet)),
            Err(_) => Err(self.end()),
        }
    }

    /// The next packet, if it is there.
    ///
    /// # Errors
    /// As of [`recv`](Self::recv).
    pub fn try_recv(&self) -> Result<Option<TrackPacket>, Ended> {
        match self.packets.try_recv() {
            Ok(packet) => Ok(Some(self.taken(packet))),
            Err(async_channel::TryRecvError::Empty) => Ok(None),
            Err(async_channel::TryRecvError::Closed) => Err(self.end()),
        }
    }

    /// The tracks, video first, with what their timestamps mean. See [`Server::watched_tracks`].
    pub fn tracks(&self) -> Reply<Result<Vec<WatchedTrack>, Ended>> {
        Reply::ask(&self.mailbox, |answer| Command::Tracks(self.id, answer))
    }

    /// Asks the publisher for a keyframe. Requests are merged into one in 500 ms at most.
    ///
    /// # Errors
    /// The driver has stopped, or has too much to do.
    pub fn request_keyframe(&self) -> Result<(), HandleError> {
        self.mailbox.post(Command::RequestKeyframe(self.id))
    }

    fn taken(&self, packet: TrackPacket) -> TrackPacket {
        if self.state.full.swap(false, Ordering::SeqCst) {
            self.mailbox.post_last_word(Command::GoOn(self.id));
        }
        packet
    }

    fn end(&self) -> Ended {
        let end = self.state.end.get().cloned();
        end.unwrap_or(Ended {
            reason: Some(EndReason::ShutDown),
        })
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.mailbox.post_last_word(Command::Unwatch(self.id));
    }
}

impl Seat {
    /// Both ends of a watcher.
    pub(crate) fn new(mailbox: Arc<Mailbox>, id: WatcherId, session: String) -> (Self, Watcher) {
        let (sender, receiver) = async_channel::bounded(PACKETS_MAX);
        let state = Arc::new(State::default());
        let watcher = Watcher {
            mailbox,
            id,
            session,
            packets: receiver,
            state: Arc::clone(&state),
        };
        let seat = Self {
            id,
            packets: sender,
            state,
        };
        (seat, watcher)
    }

    /// What the watcher learns when it has read what it was passed on.
    pub(crate) fn end(&self, end: Ended) {
        let _ = self.state.end.set(end);
    }

    /// Passes on what has come, as far as there is room. Returns whether more may come.
    pub(crate) fn pass_on(&self, now: Instant, server: &mut Server) -> bool {
        loop {
            if self.packets.is_full() {
                // Told first, then looked again: who makes room looks for the flag after.
                self.state.full.swap(true, Ordering::SeqCst);
                if self.packets.is_full() || !self.state.full.swap(false, Ordering::SeqCst) {
                    return true;
                }
            }
            match server.poll_packet(now, self.id) {
                Ok(Some(packet)) => {
                    // Nobody else sends, so there is room; unless the watcher is gone.
                    let _ = self.packets.try_send(packet);
                }
                Ok(None) => return true,
                Err(end) => {
                    self.end(end);
                    return false;
                }
            }
        }
    }
}
