//! What the program itself asks for, publishes and watches.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use hyper::rt::{Read, Write};
use kvill_core::ids::{SourceId, WatcherId};
use kvill_core::media::Codec;
use kvill_core::server::{Event, PublishError, WatchError};

use super::{COMMANDS_PER_TURN, Engine};
use crate::http::Watch;
use crate::mailbox::Command;
use crate::publisher::{Publisher, State};
use crate::watcher::{Seat, Watcher};

/// The publishers and watchers of the program.
#[derive(Debug, Default)]
pub(super) struct Own {
    publishers: HashMap<SourceId, Arc<State>>,
    watchers: HashMap<WatcherId, Seat>,
}

impl<S: Read + Write + Unpin + 'static, W: Watch> Engine<S, W> {
    /// Carries out what handles asked for, up to the budget. Returns whether there was anything.
    pub(super) fn obey(&mut self, now: Instant) -> bool {
        let stops = self.mailbox.take_stop();
        if stops {
            self.stop(now);
        }
        let commands = self.mailbox.take(COMMANDS_PER_TURN);
        let any = !commands.is_empty();
        for command in commands {
            self.carry_out(now, command);
        }
        stops || any
    }

    fn carry_out(&mut self, now: Instant, command: Command) {
        match command {
            Command::Stats(answer) => answer.give(self.stats()),
            Command::Sessions(answer) => answer.give(self.server.sessions()),
            Command::Close(session, answer) => answer.give(self.server.close(now, &session)),
            Command::Subscribe(subscriber) => self.subscribers.add(subscriber),
            Command::Publish(path, codecs, answer) => {
                let published = self.publish(now, &path, &codecs);
                answer.give(published);
            }
            Command::Feed(source, fed) => {
                if let Err(error) = fed.into_core(now, &mut self.server, source)
                    && let Some(state) = self.own.publishers.get(&source)
                {
                    state.fail(error);
                }
            }
            Command::Unpublish(source) => {
                self.own.publishers.remove(&source);
                self.server.unpublish(now, source);
            }
            Command::Watch(path, answer) => {
                let watched = self.watch(now, &path);
                answer.give(watched);
            }
            Command::GoOn(watcher) => {
                if let Some(seat) = self.own.watchers.get(&watcher) {
                    seat.on_told();
                }
                self.pass_on(now, watcher);
            }
            Command::RequestKeyframe(watcher) => {
                // One that ended is told so by its packets.
                let _ = self.server.request_keyframe(now, watcher);
            }
            Command::Tracks(watcher, answer) => {
                answer.give(self.server.watched_tracks(now, watcher));
            }
            Command::Unwatch(watcher) => {
                self.own.watchers.remove(&watcher);
                self.server.unwatch(now, watcher);
            }
        }
    }

    fn publish(
        &mut self,
        now: Instant,
        path: &str,
        codecs: &[Codec],
    ) -> Result<Publisher, PublishError> {
        let source = self.server.publish(now, path, codecs)?;
        let state = Arc::<State>::default();
        self.own.publishers.insert(source, Arc::clone(&state));
        let session = self.server.source_session(source).unwrap_or_default();
        let mailbox = Arc::clone(&self.mailbox);
        Ok(Publisher::new(mailbox, source, session.to_owned(), state))
    }

    fn watch(&mut self, now: Instant, path: &str) -> Result<Watcher, WatchError> {
        let id = self.server.watch(now, path)?;
        let session = self.server.watcher_session(id).unwrap_or_default();
        let (seat, watcher) = Seat::new(Arc::clone(&self.mailbox), id, session.to_owned());
        self.own.watchers.insert(id, seat);
        Ok(watcher)
    }

    /// Passes on what the program watches.
    pub(super) fn tell_watchers(&mut self, now: Instant) {
        while let Some(watcher) = self.server.poll_watcher() {
            self.pass_on(now, watcher);
        }
    }

    fn pass_on(&mut self, now: Instant, watcher: WatcherId) {
        if let Some(seat) = self.own.watchers.get(&watcher)
            && !seat.pass_on(now, &mut self.server)
        {
            self.own.watchers.remove(&watcher);
        }
    }

    /// The core logs comings and goings itself.
    pub(super) fn tell_events(&mut self, now: Instant) {
        let mut viewers_left = false;
        while let Some(event) = self.server.poll_event() {
            match &event {
                Event::KeyframeWanted { source, .. } => {
                    if let Some(state) = self.own.publishers.get(source) {
                        state.want_keyframe();
                    }
                }
                Event::ViewerLeft { .. } => viewers_left = true,
                _ => {}
            }
            self.subscribers.tell(&event);
        }
        // Once for all of a turn: it looks at every watcher.
        if viewers_left {
            self.tell_ended_watchers(now);
        }
    }

    /// Those that are gone from the core are told why, whether they have read all or not: the core
    /// does not know it for long.
    fn tell_ended_watchers(&mut self, now: Instant) {
        let server = &mut self.server;
        self.own.watchers.retain(|id, seat| {
            let is_there = server.watcher_session(*id).is_some();
            if !is_there && let Err(end) = server.poll_packet(now, *id) {
                seat.end(end);
            }
            is_there
        });
    }
}
