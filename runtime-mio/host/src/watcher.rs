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
    /// It was told, and has not heard yet: so the mailbox holds one such command of a watcher at most.
    told: AtomicBool,
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

    /// Blocks this thread until the next packet: not for the thread that runs the loop.
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
        let is_awaited = self.state.full.swap(false, Ordering::SeqCst);
        if is_awaited && !self.state.told.swap(true, Ordering::SeqCst) {
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

    /// The loop has heard that there is room, and looks next.
    pub(crate) fn on_told(&self) {
        self.state.told.store(false, Ordering::SeqCst);
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

#[cfg(test)]
mod tests {
    use std::task::Waker;
    use std::time::SystemTime;

    use kvill_core::Config;
    use kvill_core::media::{Codec, MediaKind};

    use super::*;
    use crate::wake::LoopWaker;

    #[test]
    fn of_room_the_loop_is_told_once_until_it_has_heard() {
        let now = Instant::now();
        let config = Config {
            transports: vec!["127.0.0.1:1".parse().unwrap()],
            ..Config::default()
        };
        let mut server = Server::new(config, [7; 32], now, SystemTime::now()).unwrap();
        let source = server.publish(now, "live", &[Codec::opus()]).unwrap();
        let id = server.watch(now, "live").unwrap();
        let mailbox = Mailbox::new(LoopWaker::new(Waker::noop().clone()));
        let (seat, watcher) = Seat::new(Arc::clone(&mailbox), id, String::new());
        let send = |server: &mut Server| {
            let audio = MediaKind::Audio;
            let sent = server.handle_frame(now, source, audio, now, &[1; 10]);
            sent.unwrap();
        };
        // Sound begins with the newest packet.
        send(&mut server);
        assert!(seat.pass_on(now, &mut server));
        for _ in 0..PACKETS_MAX + 2 {
            send(&mut server);
        }
        for _ in 0..2 {
            assert!(seat.pass_on(now, &mut server));
            assert!(watcher.try_recv().unwrap().is_some());
        }
        assert_eq!(mailbox.take(9).len(), 1);
        seat.on_told();
        assert!(seat.pass_on(now, &mut server));
        assert!(watcher.try_recv().unwrap().is_some());
        assert_eq!(mailbox.take(9).len(), 1);
    }
}
