//! The program publishes and watches by itself: who may, what ids stand for, and what is seen of it.

use super::bench::{KEYFRAME, VIEWER};
use super::*;
use crate::ids::WatcherId;
use crate::media::{Codec, MediaKind};
use crate::rtp::{RtpPacket, TrackPacket};
use crate::stats::SessionRole;

const MS: Duration = Duration::from_millis(1);

impl Bench {
    fn source(&mut self, path: &str) -> SourceId {
        let codecs = [Codec::vp8()];
        self.server.publish(self.now, path, &codecs).unwrap()
    }

    fn watcher(&mut self, path: &str) -> WatcherId {
        self.server.watch(self.now, path).unwrap()
    }

    /// One packet of VP8: a keyframe, or something else.
    fn feed(
        &mut self,
        source: SourceId,
        sequence: u16,
        is_keyframe: bool,
    ) -> Result<(), SourceError> {
        let packet = RtpPacket {
            sequence,
            timestamp: u32::from(sequence) * 3000,
            marker: true,
            payload: if is_keyframe { &KEYFRAME } else { &[0, 1, 9] },
        };
        let video = MediaKind::Video;
        self.server.handle_packet(self.now, source, video, &packet)
    }

    fn read(&mut self, watcher: WatcherId) -> Result<Vec<TrackPacket>, Ended> {
        let mut packets = Vec::new();
        while let Some(packet) = self.server.poll_packet(self.now, watcher)? {
            packets.push(packet);
        }
        Ok(packets)
    }

    fn events(&mut self) -> Vec<Event> {
        std::iter::from_fn(|| self.server.poll_event()).collect()
    }

    fn ended(&self, reason: EndReason) -> Ended {
        Ended {
            reason: Some(reason),
        }
    }
}

#[test]
fn what_cannot_be_published_is_refused_and_changes_nothing() {
    let mut bench = Bench::new(&[HERE]);
    let (vp8, opus) = (Codec::vp8(), Codec::opus());
    let now = bench.now;
    let mut publish = |path: &str, codecs: &[Codec]| bench.server.publish(now, path, codecs);
    for name in ["", "a b", "a//b", "/a", "../a", "ä"] {
        let refused = publish(name, std::slice::from_ref(&vp8)).unwrap_err();
        assert!(matches!(refused, PublishError::PathName(_)), "{name:?}");
    }
    let two = [vp8.clone(), Codec::vp9(0)];
    assert_eq!(publish("a", &[]), Err(PublishError::Tracks));
    assert_eq!(publish("a", &two), Err(PublishError::Tracks));
    assert_eq!(bench.sessions(), 0);
    assert_eq!(bench.events(), []);

    bench.server.config.sessions_max = 1;
    bench.server.publish(now, "a", &[vp8, opus]).unwrap();
    let full = bench.server.publish(now, "b", &[Codec::vp8()]);
    assert_eq!(full, Err(PublishError::TooManySessions(1)));
    let full = bench.server.watch(now, "a");
    assert_eq!(full, Err(WatchError::TooManySessions(1)));
    assert_eq!(bench.sessions(), 1);

    bench.server.shut_down(now);
    let stopping = bench.server.publish(now, "a", &[Codec::vp8()]);
    assert_eq!(stopping, Err(PublishError::ShuttingDown));
    assert_eq!(bench.server.watch(now, "a"), Err(WatchError::ShuttingDown));
    assert_eq!(bench.reasons(), [EndReason::ShutDown]);
}

#[test]
fn who_publishes_first_stays_where_replacing_is_not_allowed() {
    let mut bench = Bench::new(&[HERE]);
    bench.server.config.override_publisher = false;
    bench.connected("/a/whip", PUBLISHER);
    let refused = bench.server.publish(bench.now, "a", &[Codec::vp8()]);
    assert_eq!(refused, Err(PublishError::Conflict));

    // The other way round: before the handshake, and after.
    let mut early = bench.join("/b/whip", "10.0.0.9:3");
    let source = bench.source("b");
    let offer = bench::offer(&certificate(), true, 96, "VP8");
    let response = bench.request("POST", "/b/whip", offer);
    assert_eq!(response.status(), 409);
    bench.connect(&mut early);
    assert_eq!(bench.reasons(), [EndReason::Conflict]);
    bench.feed(source, 1, true).unwrap();
}

#[test]
fn a_source_and_a_whip_publisher_replace_each_other() {
    let mut bench = Bench::new(&[HERE]);
    let first = bench.source("a");
    let session = bench.server.source_session(first).unwrap().to_owned();
    let watcher = bench.watcher("a");
    bench.feed(first, 1, true).unwrap();
    let mut packets = bench.read(watcher).unwrap();
    bench.events();

    let publisher = bench.connected("/a/whip", PUBLISHER);
    let joined_and_left = bench.events();
    assert!(joined_and_left.contains(&Event::PublisherLeft {
        path: "a".to_owned(),
        session,
        reason: EndReason::Replaced,
    }));
    let refused = bench.feed(first, 2, false).unwrap_err();
    assert_eq!(
        refused,
        SourceError::Ended(bench.ended(EndReason::Replaced))
    );
    assert_eq!(bench.server.source_session(first), None);
    bench.publish(&publisher, 96, 700);
    packets.extend(bench.read(watcher).unwrap());

    let second = bench.source("a");
    assert_eq!(bench.reasons(), [EndReason::Replaced]);
    assert_eq!(bench.sessions(), 2);
    bench.feed(second, 9, true).unwrap();

    // Numbers and timestamps go on, and the watcher stays.
    packets.extend(bench.read(watcher).unwrap());
    let numbers: Vec<_> = packets.iter().map(|p| p.sequence).collect();
    let first = numbers[0];
    assert_eq!(numbers, [first, first + 1, first + 2]);
    assert!(packets.is_sorted_by_key(|p| p.timestamp));
}

#[test]
fn an_id_whose_session_is_gone_stands_for_nothing_that_took_its_place() {
    let mut bench = Bench::new(&[HERE]);
    let old = bench.source("a");
    bench.server.unpublish(bench.now, old);
    let new = bench.source("a");
    assert_eq!(old.0.slot, new.0.slot);
    let ended = bench.ended(EndReason::PeerClosed);
    let refused = bench.feed(old, 1, true).unwrap_err();
    assert_eq!(refused, SourceError::Ended(ended.clone()));
    bench.server.unpublish(bench.now, old);
    assert_eq!(bench.sessions(), 1);

    let gone = bench.watcher("a");
    bench.server.unwatch(bench.now, gone);
    let there = bench.watcher("a");
    assert_eq!(bench.read(gone), Err(ended.clone()));
    assert_eq!(bench.server.watched_tracks(bench.now, gone), Err(ended));
    bench.server.unwatch(bench.now, gone);
    assert_eq!(bench.server.stats().paths[0].viewers, 1);

    // Whatever else has an id of that shape.
    bench.server.unpublish(bench.now, SourceId(there.0));
    bench.server.unwatch(bench.now, WatcherId(new.0));
    assert_eq!(bench.sessions(), 2);
    assert!(bench.feed(SourceId(there.0), 1, true).is_err());
    assert!(bench.read(WatcherId(new.0)).is_err());
    assert!(
        bench
            .server
            .watched_tracks(bench.now, WatcherId(new.0))
            .is_err()
    );
    assert_eq!(bench.server.watcher_session(WatcherId(new.0)), None);
    assert_eq!(bench.server.source_session(SourceId(there.0)), None);
}

#[test]
fn what_cannot_be_forwarded_is_told_or_counted() {
    let mut bench = Bench::new(&[HERE]);
    let source = bench.source("a");
    let (now, video) = (bench.now, MediaKind::Video);
    let packet = |payload| RtpPacket {
        sequence: 5,
        timestamp: 0,
        marker: false,
        payload,
    };
    let server = &mut bench.server;
    let long = vec![0x10; crate::rtp::PAYLOAD_LEN_MAX + 1];
    for payload in [&[][..], &long, &KEYFRAME, &KEYFRAME] {
        let packet = packet(payload);
        server.handle_packet(now, source, video, &packet).unwrap();
    }
    let counters = server.stats().counters;
    assert_eq!(counters.packets_in, 1);
    assert_eq!(counters.dropped_media, 1, "without payload");
    assert_eq!(counters.dropped_unrecorded, 2, "too long, and twice");

    let audio = MediaKind::Audio;
    let refused = server.handle_packet(now, source, audio, &packet(&[1]));
    assert_eq!(refused, Err(SourceError::NoTrack(audio)));
    let refused = server.handle_frame(now, source, audio, now, &[1]);
    assert_eq!(refused, Err(SourceError::NoTrack(audio)));
    let refused = server.handle_frame(now, source, video, now, &[1]);
    assert_eq!(refused, Err(SourceError::NotPacketized("VP8")));

    let codecs = [Codec::h264(0x42_e01f), Codec::opus()];
    let source = server.publish(now, "b", &codecs).unwrap();
    let lengths = [0, 0, 0, 2, 0x65, 1];
    let refused = server.handle_frame(now, source, video, now, &lengths);
    assert_eq!(refused, Err(SourceError::NotAnnexB));
    for (kind, frame) in [(video, &[0, 0, 1][..]), (audio, &[]), (audio, &long)] {
        server.handle_frame(now, source, kind, now, frame).unwrap();
    }
    let after = server.stats().counters;
    assert_eq!(after.dropped_media - counters.dropped_media, 2);
    assert_eq!(after.dropped_unrecorded - counters.dropped_unrecorded, 1);
}

#[test]
fn a_keyframe_is_wanted_of_a_source_at_once_and_then_every_half_second() {
    let mut bench = Bench::new(&[HERE]);
    let source = bench.source("a");
    let wanted = |bench: &mut Bench| {
        let events = bench.events();
        let wanted = Event::KeyframeWanted {
            path: "a".to_owned(),
            source,
        };
        events.iter().filter(|event| **event == wanted).count()
    };
    // It begins with something else.
    bench.feed(source, 1, false).unwrap();
    assert_eq!(wanted(&mut bench), 1);
    bench.feed(source, 2, true).unwrap();
    bench.advance(2000 * MS);
    assert_eq!(wanted(&mut bench), 0);

    let watcher = bench.watcher("a");
    assert_eq!(bench.read(watcher), Ok(vec![]));
    assert_eq!(wanted(&mut bench), 1, "there is no fresh one");
    for _ in 0..20 {
        let another = bench.watcher("a");
        bench.read(another).unwrap();
    }
    assert_eq!(wanted(&mut bench), 0);
    bench.advance(499 * MS);
    assert_eq!(wanted(&mut bench), 0);
    bench.advance(MS);
    assert_eq!(wanted(&mut bench), 1, "no keyframe came");
    bench.feed(source, 3, true).unwrap();
    assert_eq!(bench.read(watcher).unwrap().len(), 1);
    bench.advance(2000 * MS);
    assert_eq!(wanted(&mut bench), 0);
}

#[test]
fn a_watcher_is_told_once_after_news_and_never_without() {
    let mut bench = Bench::new(&[HERE]);
    let (source, elsewhere) = (bench.source("a"), bench.source("b"));
    assert_eq!(bench.server.poll_watcher(), None);
    let watchers = [(); 3].map(|()| bench.watcher("a"));
    let told = |bench: &mut Bench| -> BTreeSet<_> {
        let told: Vec<_> = std::iter::from_fn(|| bench.server.poll_watcher()).collect();
        let set: BTreeSet<_> = told.iter().copied().collect();
        assert_eq!(set.len(), told.len());
        set
    };
    assert_eq!(told(&mut bench), watchers.into());
    assert_eq!(told(&mut bench), [].into());
    bench.feed(elsewhere, 1, true).unwrap();
    assert_eq!(told(&mut bench), [].into());
    assert!(bench.server.watched.is_empty());
    for sequence in 1..100 {
        bench.feed(source, sequence, true).unwrap();
        assert_eq!(bench.server.watched.len(), 1);
    }
    bench.server.unwatch(bench.now, watchers[1]);
    assert_eq!(told(&mut bench), [watchers[0], watchers[2]].into());
    bench.server.unpublish(bench.now, source);
    assert_eq!(told(&mut bench), [].into());
}

#[test]
fn a_watcher_that_comes_too_late_goes_on_at_the_next_keyframe() {
    let mut bench = Bench::new(&[HERE]);
    bench.server.config.history.packets = 16;
    let source = bench.source("a");
    bench.feed(source, 1, true).unwrap();
    let watcher = bench.watcher("a");
    assert_eq!(bench.read(watcher).unwrap().len(), 1);
    for sequence in 2..40 {
        bench.feed(source, sequence, false).unwrap();
    }
    assert_eq!(bench.read(watcher), Ok(vec![]));
    assert_eq!(bench.counters().fell_off, 1);
    assert!(bench.events().contains(&Event::KeyframeWanted {
        path: "a".to_owned(),
        source
    }));
    bench.feed(source, 40, true).unwrap();
    bench.feed(source, 41, false).unwrap();
    let packets = bench.read(watcher).unwrap();
    assert_eq!(packets.len(), 2);
    assert_eq!(packets[0].payload[..], KEYFRAME);
    assert_eq!(bench.counters().packets_watched, 3);
}

#[test]
fn a_watcher_ends_with_its_path_and_when_the_codec_changes() {
    let mut bench = Bench::new(&[HERE]);
    assert_eq!(
        bench.server.watch(bench.now, "a"),
        Err(WatchError::NoStream)
    );
    let source = bench.source("a");
    let watcher = bench.watcher("a");
    bench.server.unpublish(bench.now, source);
    assert_eq!(
        bench.server.watch(bench.now, "a"),
        Err(WatchError::NoStream)
    );
    bench.advance(4000 * MS);
    assert_eq!(bench.read(watcher), Ok(vec![]), "the path waits");
    let source = bench.source("a");
    bench.advance(4000 * MS);
    assert_eq!(bench.read(watcher), Ok(vec![]), "it went on");
    bench.server.unpublish(bench.now, source);
    bench.events();
    bench.advance(5000 * MS);
    assert_eq!(bench.reasons(), [EndReason::PathEnded]);
    assert_eq!(bench.read(watcher), Err(bench.ended(EndReason::PathEnded)));
    assert_eq!(bench.server.stats().paths.len(), 0);

    bench.source("a");
    let watcher = bench.watcher("a");
    let codecs = [Codec::vp9(0)];
    bench.server.publish(bench.now, "a", &codecs).unwrap();
    bench.advance(MS);
    assert_eq!(
        bench.read(watcher),
        Err(bench.ended(EndReason::CodecChanged))
    );
    let watcher = bench.watcher("a");
    let tracks = bench.server.watched_tracks(bench.now, watcher).unwrap();
    assert_eq!(tracks.len(), 1);
    assert_eq!(tracks[0].codec.to_string(), "VP9 (profile-id 0)");
    assert_eq!(tracks[0].moment, None);
}

#[test]
fn all_sessions_are_listed_and_each_can_be_closed() {
    let mut bench = Bench::new(&[HERE]);
    let (_publisher, _viewer) = bench.pair();
    bench.join("/a/whep", "10.0.0.9:3");
    bench.advance(10 * MS);
    let source = bench.source("b");
    let watcher = bench.watcher("b");
    let own = [
        bench.server.source_session(source),
        bench.server.watcher_session(watcher),
    ]
    .map(|session| session.unwrap().to_owned());
    bench.events();
    bench.drain();

    let sessions = bench.server.sessions();
    let shape = |in_process| {
        let of = sessions.iter().filter(|s| s.in_process == in_process);
        of.map(|s| (s.path.as_str(), s.role, s.connected, s.remote))
            .collect::<Vec<_>>()
    };
    use SessionRole::{Publisher, Viewer};
    assert_eq!(
        shape(false),
        [
            ("a", Publisher, true, Some(address(PUBLISHER))),
            ("a", Viewer, true, Some(address(VIEWER))),
            ("a", Viewer, false, None),
        ]
    );
    assert_eq!(
        shape(true),
        [("b", Publisher, true, None), ("b", Viewer, true, None)]
    );
    assert_eq!(sessions[0].since + 10 * MS, bench.now);
    assert_eq!(sessions[4].since, bench.now);
    assert_eq!([&sessions[3].session, &sessions[4].session], own.each_ref());

    assert!(!bench.server.close(bench.now, "no such session"));
    // The viewers first: a path that nobody has ends at once.
    for at in [1, 2, 0, 4, 3] {
        let session = &sessions[at].session;
        assert!(bench.server.close(bench.now, session));
        assert!(!bench.server.close(bench.now, session));
        assert_eq!(bench.reasons(), [EndReason::Closed]);
        let connected_peer = at < 2;
        let said: Vec<_> = bench.drain().iter().map(|(_, to, _)| *to).collect();
        assert_eq!(
            said.contains(&sessions[at].remote.unwrap_or(address(HERE))),
            connected_peer
        );
    }
    assert_eq!(bench.sessions(), 0);
    assert_eq!(bench.server.stats().paths.len(), 0);
    let closed = bench.ended(EndReason::Closed);
    assert_eq!(bench.feed(source, 1, true), Err(closed.clone().into()));
    assert_eq!(bench.read(watcher), Err(closed));
}

#[test]
fn regress_a_path_that_nobody_watched_leaves_no_deadline_behind() {
    let mut bench = Bench::new(&[HERE]);
    bench.source("a");
    let codecs = [Codec::h264(0x42_e01f)];
    bench.server.publish(bench.now, "a", &codecs).unwrap();
    bench.server.shut_down(bench.now);
    bench.server.handle_timeout(bench.now);
    assert_eq!(bench.sessions(), 0);
    assert_eq!(bench.server.poll_timeout(), None);
}
