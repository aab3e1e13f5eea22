//! A program that publishes and watches by itself, without WHIP and WHEP: what its viewers get, and
//! what it gets of others.

mod camera;

use std::time::Duration;

use kvill_core::Config;
use kvill_core::ids::{SourceId, WatcherId};
use kvill_core::media::{Codec, MediaKind};
use kvill_core::rtp::{RtpPacket, TrackPacket};
use kvill_core::server::{Ended, Event, PublishError, SourceError, WatchError, WatchedTrack};
use kvill_core::stats::{EndReason, SessionStats};
use kvill_tests::client::Options;
use kvill_tests::client::media::{Follower, Packet, Source};
use kvill_tests::memory::{Broadcast, PATH, World};
use str0m::format::Codec as Offered;
use str0m::rtp::RtpPacket as Got;
use str0m::rtp::rtcp::Rtcp;

use camera::{Camera, ENCODING, FRAME, both, check};

const MS: Duration = Duration::from_millis(1);

#[test]
fn access_units_arrive_whole_and_a_keyframe_first() {
    let mut world = World::new(31, Config::default());
    let mut camera = Camera::publish(&mut world, "cam");
    let viewer = world.view("cam", &both());
    world.connect(&[viewer]);
    camera.play(&mut world, 90);
    assert_eq!(check(&mut world, &camera, viewer), 0);
    let counters = world.server.stats().counters;
    let dropped = (counters.dropped_media, counters.dropped_unrecorded);
    assert_eq!((dropped, counters.oversized), ((0, 0), 0));
    assert_eq!(
        world.server.stats().paths[0].codecs,
        [
            "H264 (profile-level-id 42c01f, packetization-mode 1)",
            "Opus"
        ]
    );
}

#[test]
fn viewers_that_come_late_have_a_keyframe_made_one_for_all() {
    let mut world = World::new(32, Config::default());
    let mut camera = Camera::publish(&mut world, "cam");
    camera.play(&mut world, 60);
    assert!(camera.asked.is_empty(), "nobody is there");
    let viewers = [(); 5].map(|()| world.view("cam", &both()));
    world.connect(&viewers);
    let came = world.now();
    camera.play(&mut world, 60);
    assert_eq!(camera.asked, [came], "at once, and once");
    for viewer in viewers {
        assert_eq!(check(&mut world, &camera, viewer), 60);
    }
    // One whose picture is lost asks by itself.
    let now = world.now();
    world.client(viewers[2]).request_keyframe(now);
    camera.play(&mut world, 10);
    assert_eq!(camera.asked.len(), 2);
}

#[test]
fn lip_sync_follows_the_times_of_capture() {
    let mut world = World::new(33, Config::default());
    let mut camera = Camera::publish(&mut world, "cam");
    let viewer = world.view("cam", &both().observing());
    world.connect(&[viewer]);
    camera.play(&mut world, 150);
    let client = world.client(viewer);
    // When the first frame of a kind was captured, in the clock of its sender reports.
    let told = |packets: &[Got], clock_rate: f64| {
        let header = &packets[0].header;
        let mut reports = client.rtcp.iter().filter_map(|(_, rtcp)| match rtcp {
            Rtcp::SenderReport(r) if r.sender_info.ssrc == header.ssrc => Some(r.sender_info),
            _ => None,
        });
        let report = reports.next_back().expect("a sender report");
        let unix = report.ntp_time.duration_since(std::time::UNIX_EPOCH);
        let [.., t0, t1, t2, t3] = report.rtp_time.numer().to_be_bytes();
        let since = u32::from_be_bytes([t0, t1, t2, t3]).wrapping_sub(header.timestamp);
        unix.expect("after 1970").as_secs_f64() - f64::from(since) / clock_rate
    };
    let shown = told(&client.video, 90_000.0);
    let heard = told(&client.audio, 48_000.0);
    let first = check(&mut world, &camera, viewer);
    let client = world.client(viewer);
    let first_sound = camera.audio.len() - client.audio.len();
    let apart = |n, kind| (camera.captured(kind, n) - (camera.began - ENCODING)).as_secs_f64();
    let captured = apart(first, MediaKind::Video) - apart(first_sound, MediaKind::Audio);
    let error = (shown - heard) - captured;
    assert!(error.abs() < 0.001, "{error} s");
}

#[test]
fn a_viewer_goes_on_from_the_program_to_a_publisher_and_back() {
    let mut world = World::new(34, Config::default());
    let mut camera = Camera::publish(&mut world, "cam");
    let viewer = world.view("cam", &both());
    world.connect(&[viewer]);
    camera.play(&mut world, 30);
    check(&mut world, &camera, viewer);

    let publisher = world.publish("cam", &both());
    world.connect(&[publisher]);
    let ended = camera.film(&mut world).unwrap_err();
    let SourceError::Ended(ended) = ended else {
        panic!("{ended}")
    };
    assert_eq!(ended.reason, Some(EndReason::Replaced));
    let mut film = Source::new(Offered::H264, 40_000, 9);
    let now = world.now();
    let keyframe = film.keyframe(4, 900);
    let client = world.client(publisher);
    client.write(now, str0m::media::MediaKind::Video, &keyframe);
    world.run(100 * MS);

    let mut again = Camera::publish(&mut world, "cam");
    world.run(MS);
    assert!(world.client(publisher).is_closed());
    again.play(&mut world, 30);
    let client = world.client(viewer);
    assert!(!client.is_closed());
    let numbers = client.video.windows(2);
    let mut steps = numbers.map(|two| *two[1].seq_no - *two[0].seq_no);
    assert!(steps.all(|step| step == 1), "one stream");
    let all = client.video.len();
    let came = |packets: &[Got]| {
        packets
            .iter()
            .map(|p| p.payload.clone())
            .collect::<Vec<_>>()
    };
    let last = client
        .video
        .iter()
        .rposition(|p| p.payload == keyframe[3].payload);
    let last = last.expect("what the publisher sent");
    let sent: Vec<_> = keyframe.iter().map(|p| p.payload.clone()).collect();
    assert_eq!(came(&client.video[last - 3..=last]), sent);
    client.video.drain(..=last);
    assert!(client.video.len() < all);
    let heard = client.audio.len() - again.audio.len();
    client.audio.drain(..heard);
    assert_eq!(check(&mut world, &again, viewer), 0);
}

#[test]
fn packets_arrive_as_the_program_made_them() {
    let mut world = World::new(35, Config::default());
    let now = world.now();
    let source = world.server.publish(now, "raw", &[Codec::vp8()]);
    let source = source.expect("room");
    let viewer = world.view("raw", &Options::new(&[Offered::Vp8]));
    world.connect(&[viewer]);
    // Over the roll-over of the numbers.
    let mut film = Source::new(Offered::Vp8, 65_500, 7);
    let mut sent = film.keyframe(5, 1100);
    sent.extend((0..30).flat_map(|_| film.delta(3, 900)));
    for packet in &sent {
        let rtp = rtp(packet);
        let packet = RtpPacket::parse(&rtp).expect("RTP");
        let (now, video) = (world.now(), MediaKind::Video);
        let taken = world.server.handle_packet(now, source, video, &packet);
        taken.expect("a source that is there");
        world.run(MS);
    }
    let mut follower = Follower::default();
    for got in world.client(viewer).video.drain(..) {
        follower.follow(&sent, &got).expect("as it was sent");
    }
    assert_eq!(follower.count, sent.len());
}

/// As it comes by UDP, with a CSRC, a header extension and padding.
fn rtp(packet: &Packet) -> Vec<u8> {
    let [.., high, low] = packet.seq.to_be_bytes();
    let mut rtp = vec![0xb1, u8::from(packet.marker) << 7 | 96, high, low];
    rtp.extend(packet.timestamp.to_be_bytes());
    rtp.extend([0, 0, 0, 7, 0, 0, 0, 8, 0xbe, 0xde, 0, 1, 0x10, 1, 0, 0]);
    rtp.extend_from_slice(&packet.payload);
    rtp.extend([0, 0, 3]);
    rtp
}

/// Reads all that has come for watchers.
fn read(world: &mut World, watcher: WatcherId) -> Vec<TrackPacket> {
    let mut packets = Vec::new();
    let now = world.now();
    while let Some(told) = world.server.poll_watcher() {
        assert_eq!(told, watcher);
        while let Some(packet) = world.server.poll_packet(now, told).expect("it is there") {
            packets.push(packet);
        }
    }
    packets
}

/// What was read is what was sent, all of it from a place on. Gives the place.
fn compare(sent: &[Packet], read: &[TrackPacket], kind: MediaKind) -> usize {
    let read: Vec<_> = read.iter().filter(|packet| packet.kind == kind).collect();
    let begin = sent.len() - read.len();
    let (first_sent, first) = (&sent[begin], read[0]);
    for (sent, read) in sent[begin..].iter().zip(read) {
        assert_eq!(
            sent.seq - first_sent.seq,
            read.sequence - first.sequence,
            "the number"
        );
        assert_eq!(
            sent.timestamp.wrapping_sub(first_sent.timestamp),
            read.timestamp.wrapping_sub(first.timestamp)
        );
        assert_eq!((sent.marker, &sent.payload), (read.marker, &read.payload));
    }
    begin
}

#[test]
fn a_watcher_gets_what_a_publisher_sends_from_a_keyframe_on() {
    let world = World::new(36, Config::default());
    let options = Options::new(&[Offered::Vp8, Offered::Opus]);
    let mut live = Broadcast::new(world, Offered::Vp8, 1, &options);
    live.keyframe(4, 1000);
    for _ in 0..30 {
        live.delta(2, 800);
        live.sound(100);
        live.world.run(FRAME);
    }
    live.world.client(live.publisher).keyframe_requests.clear();
    let now = live.world.now();
    let watcher = live.world.server.watch(now, PATH).expect("a stream");
    let mut packets = read(&mut live.world, watcher);
    let sounds = packets.iter().all(|p| p.kind == MediaKind::Audio);
    assert!(sounds, "no picture without a keyframe");
    live.delta(2, 800);
    live.world.run(FRAME);
    let requests = &live.world.client(live.publisher).keyframe_requests;
    assert_eq!(requests.len(), 1);

    let key = live.video_sent.len();
    live.keyframe(4, 1000);
    for _ in 0..30 {
        live.delta(2, 800);
        live.sound(100);
        live.world.run(FRAME);
        packets.extend(read(&mut live.world, watcher));
    }
    assert_eq!(compare(&live.video_sent, &packets, MediaKind::Video), key);
    compare(&live.audio_sent, &packets, MediaKind::Audio);
    let arrived = packets
        .windows(2)
        .all(|two| two[0].arrived <= two[1].arrived);
    assert!(arrived, "in the order in which it came");
    live.check_complete();
    assert_eq!(live.world.server.stats().paths[0].viewers, 2);

    // Another publisher: numbers and timestamps go on.
    let last = packets.iter().rfind(|p| p.kind == MediaKind::Video);
    let last = last.expect("video").clone();
    let second = live.world.publish(PATH, &options);
    live.world.connect(&[second]);
    let keyframe = Source::new(Offered::Vp8, 3, 3).keyframe(3, 500);
    let now = live.world.now();
    let client = live.world.client(second);
    client.write(now, str0m::media::MediaKind::Video, &keyframe);
    live.world.run(FRAME);
    let packets = read(&mut live.world, watcher);
    assert_eq!(compare(&keyframe, &packets, MediaKind::Video), 0);
    assert_eq!(packets[0].sequence, last.sequence + 1);
    assert!(packets[0].timestamp.wrapping_sub(last.timestamp) < 90_000);

    // Nobody comes any more.
    live.world.leave(second);
    live.world.run(Config::default().publisher_grace + MS);
    let now = live.world.now();
    let ended = live.world.server.poll_packet(now, watcher).unwrap_err();
    assert_eq!(ended.reason, Some(EndReason::PathEnded));
    assert_eq!(live.world.server.poll_watcher(), None);
    let told = std::iter::from_fn(|| live.world.server.poll_event()).filter(|event| {
        let reason = EndReason::PathEnded;
        matches!(event, Event::ViewerLeft { reason: r, .. } if *r == reason)
    });
    assert_eq!(told.count(), 2, "the viewer and the watcher");
}

#[test]
fn a_path_can_be_passed_on_to_another() {
    let world = World::new(37, Config::default());
    let options = Options::new(&[Offered::Vp8, Offered::Opus]);
    let mut live = Broadcast::new(world, Offered::Vp8, 0, &options);
    let now = live.world.now();
    let watcher = live.world.server.watch(now, PATH).expect("a stream");
    let tracks = live.world.server.watched_tracks(now, watcher);
    let codecs: Vec<_> = tracks
        .expect("it is there")
        .into_iter()
        .map(|t| t.codec)
        .collect();
    let copy = live
        .world
        .server
        .publish(now, "copy", &codecs)
        .expect("room");
    live.keyframe(4, 1000);
    let mut viewer = None;
    let mut key = 0;
    let mut rtp = Vec::new();
    for frame in 0..120 {
        match frame {
            60 => {
                let id = live.world.view("copy", &options);
                live.world.connect(&[id]);
                viewer = Some(id);
            }
            _ if !live
                .world
                .client(live.publisher)
                .keyframe_requests
                .is_empty() =>
            {
                live.world.client(live.publisher).keyframe_requests.clear();
                key = live.video_sent.len();
                live.keyframe(4, 1000);
            }
            _ => live.delta(2, 800),
        }
        live.sound(100);
        live.world.run(FRAME);
        let now = live.world.now();
        for packet in read(&mut live.world, watcher) {
            rtp.clear();
            packet.write_rtp(96, 5, &mut rtp);
            let parsed = RtpPacket::parse(&rtp).expect("RTP");
            let passed_on = live
                .world
                .server
                .handle_packet(now, copy, packet.kind, &parsed);
            passed_on.expect("the copy is there");
        }
        while let Some(event) = live.world.server.poll_event() {
            if matches!(event, Event::KeyframeWanted { .. }) {
                let asked = live.world.server.request_keyframe(now, watcher);
                asked.expect("it is there");
            }
        }
        live.world.settle();
    }
    assert!(key > 60, "a keyframe for the viewer that came late");
    let mut follower = Follower::starting_at(key);
    let viewer = viewer.expect("a viewer");
    for got in live.world.client(viewer).video.drain(..) {
        follower
            .follow(&live.video_sent, &got)
            .expect("as it was sent");
    }
    assert_eq!(follower.count, live.video_sent.len());
}

/// What a driver's handle passes between threads can be.
const _: () = {
    const fn is_send<T: Send + 'static>() {}
    is_send::<(SourceId, WatcherId, TrackPacket, Codec)>();
    is_send::<(PublishError, SourceError, WatchError, Ended)>();
    is_send::<(SessionStats, Vec<WatchedTrack>, Event)>();
};
