//! Comings and goings: who is let in, how sessions end, and what goes on for those who stay.

use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Method, StatusCode};
use kvill_core::Config;
use kvill_tests::client::Options;
use kvill_tests::client::media::Source;
use kvill_tests::memory::{Broadcast, ClientId, Crossing, Link, PATH, World};
use str0m::format::Codec;
use str0m::media::MediaKind;
use str0m::rtp::rtcp::{Rtcp, SenderInfo};

const GRACE: Duration = Duration::from_secs(2);

fn options() -> Options {
    Options::new(&[Codec::Vp8, Codec::Opus]).observing()
}

fn broadcast(seed: u64, viewers: usize) -> Broadcast {
    let config = Config {
        publisher_grace: GRACE,
        ..Config::default()
    };
    Broadcast::new(World::new(seed, config), Codec::Vp8, viewers, &options())
}

/// Lets time pass as a live path has it: 25 frames and 50 packets of sound in a second.
fn play(live: &mut Broadcast, duration: Duration) {
    let end = live.world.now() + duration;
    let mut n = 0;
    while live.world.now() < end {
        if n % 2 == 0 {
            live.video.step = 3600;
            live.delta(2, 700);
        }
        live.sound(90);
        live.world.run(Duration::from_millis(20));
        n += 1;
    }
}

fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

fn sessions(live: &Broadcast) -> usize {
    live.world.server.stats().sessions
}

fn has_goodbye(live: &mut Broadcast, id: ClientId) -> bool {
    let goodbye = |(_, rtcp): &(_, Rtcp)| matches!(rtcp, Rtcp::Goodbye(_));
    live.world.client(id).rtcp.iter().any(goodbye)
}

/// Lets nothing through.
#[derive(Debug)]
struct Broken;

impl Link for Broken {
    fn carries(&mut self, _: &Crossing<'_>) -> bool {
        false
    }
}

#[test]
fn a_handshake_that_never_begins_is_retired_after_ten_seconds() {
    let mut world = World::with_link(1, Config::default(), Broken);
    world.publish(PATH, &options());
    assert_eq!(world.server.stats().sessions, 1);
    world.run(ms(9_900));
    assert_eq!(world.server.stats().sessions, 1);
    world.run(ms(200));
    let stats = world.server.stats();
    assert_eq!((stats.sessions, stats.counters.handshake_timeouts), (0, 1));
    assert!(stats.paths.is_empty(), "{:?}", stats.paths);
    assert_eq!(world.server.poll_timeout(), None);
}

#[test]
fn a_viewer_that_falls_silent_is_retired_after_fifteen_seconds() {
    let mut live = broadcast(2, 2);
    live.keyframe(2, 500);
    live.world.settle();
    let gone = live.viewers.remove(0);
    live.world.vanish(gone.id);
    play(&mut live, ms(11_000));
    assert_eq!(sessions(&live), 3, "retired too early");
    play(&mut live, ms(4_100));
    assert_eq!(sessions(&live), 2);
    assert_eq!(live.world.server.stats().counters.gone, 1);
    live.check_complete();
}

#[test]
fn a_publisher_that_falls_silent_is_retired_and_its_path_ends() {
    let mut live = broadcast(3, 1);
    live.keyframe(2, 500);
    live.world.settle();
    live.world.vanish(live.publisher);
    live.world.run(ms(15_100) + GRACE);
    assert_eq!(sessions(&live), 0);
    assert!(live.world.server.stats().paths.is_empty());
    assert!(live.world.client(live.viewers[0].id).is_closed());
}

#[test]
fn viewers_get_bye_and_dtls_close_when_the_path_has_ended() {
    let mut live = broadcast(4, 3);
    live.keyframe(2, 500);
    live.sound(50);
    live.world.settle();
    live.world.leave(live.publisher);
    live.world.run(GRACE - ms(10));
    assert_eq!(sessions(&live), 3, "viewers wait for the publisher");
    assert!(!live.world.client(live.viewers[0].id).is_closed());
    live.world.run(ms(20));
    assert_eq!(sessions(&live), 0);
    for viewer in live.viewers.clone() {
        assert!(
            has_goodbye(&mut live, viewer.id),
            "{:?} got no BYE",
            viewer.id
        );
        assert!(live.world.client(viewer.id).is_closed());
    }
    assert!(live.world.server.stats().paths.is_empty());
    assert!(live.world.try_view(PATH, &options()).is_err());
}

#[test]
fn a_publisher_that_closes_dtls_has_left() {
    let mut live = broadcast(5, 1);
    let now = live.world.now();
    live.world.client(live.publisher).close(now);
    live.world.run(ms(10));
    let stats = live.world.server.stats();
    assert_eq!(stats.sessions, 1);
    assert!(!stats.paths[0].live);
}

#[test]
fn delete_ends_a_session_and_is_not_found_again() {
    let mut live = broadcast(6, 2);
    let viewer = live.viewers.pop().unwrap();
    let location = live.world.location(viewer.id);
    let from = live.world.client(viewer.id).local();
    live.world.leave(viewer.id);
    assert_eq!(sessions(&live), 2);
    let again = live
        .world
        .request(Method::DELETE, &location, from, Bytes::new());
    assert_eq!(again.status(), StatusCode::NOT_FOUND);
}

#[test]
fn a_viewer_that_leaves_takes_nothing_from_the_others() {
    let mut live = broadcast(7, 4);
    live.keyframe(2, 500);
    play(&mut live, ms(200));
    for _ in 0..3 {
        let gone = live.viewers.remove(0);
        live.world.leave(gone.id);
        play(&mut live, ms(200));
        live.check_complete();
    }
}

#[test]
fn a_viewer_that_closes_dtls_has_left() {
    let mut live = broadcast(8, 2);
    let now = live.world.now();
    live.world.client(live.viewers[0].id).close(now);
    live.world.run(ms(10));
    assert_eq!(sessions(&live), 2);
    assert_eq!(live.world.server.stats().paths[0].viewers, 1);
}

/// Has another publisher take the first one's place, with other numbers, and checks that viewers
/// play on as if nothing had happened.
fn second_publisher(live: &mut Broadcast) {
    let (video_before, audio_before) = (live.video_sent.len(), live.audio_sent.len());
    let switched = live.world.now();
    live.video = Source::new(Codec::Vp8, 65_533, 5);
    live.audio = Source::new(Codec::Opus, 3, 4_294_967_000);
    live.keyframe(3, 800);
    play(live, ms(500));

    for viewer in live.viewers.clone() {
        let client = live.world.client(viewer.id);
        let payloads = client.video.iter().map(|p| &p.payload);
        assert!(
            payloads.eq(live.video_sent.iter().map(|p| &p.payload)),
            "{:?}",
            viewer.id
        );
        assert_eq!(client.audio.len(), live.audio_sent.len(), "{:?}", viewer.id);
        for (packets, clock_rate, first_of_second) in [
            (&client.video, 90_000, video_before),
            (&client.audio, 48_000, audio_before),
        ] {
            for pair in packets.windows(2) {
                assert_eq!(*pair[1].seq_no, *pair[0].seq_no + 1, "{:?}", viewer.id);
                assert_eq!(pair[0].header.ssrc, pair[1].header.ssrc);
            }
            let last = packets[first_of_second - 1].header.timestamp;
            let next = packets[first_of_second].header.timestamp;
            let gap = next.wrapping_sub(last);
            let most = clock_rate * 11;
            assert!(
                (1..most).contains(&gap),
                "{gap} ticks between the publishers"
            );
        }
    }
    assert!(live.world.now() > switched);
}

#[test]
fn a_second_publisher_replaces_the_first_and_viewers_play_on() {
    let mut live = broadcast(9, 3);
    live.keyframe(2, 800);
    play(&mut live, ms(500));
    let first = live.publisher;
    live.publisher = live.world.publish(PATH, &options());
    live.world.connect(&[live.publisher]);
    assert!(live.world.client(first).is_closed(), "the first is told");
    live.world.vanish(first);
    assert_eq!(sessions(&live), 4);
    second_publisher(&mut live);
}

#[test]
fn a_publisher_that_comes_back_in_time_finds_its_viewers() {
    let mut live = broadcast(10, 3);
    live.keyframe(2, 800);
    play(&mut live, ms(500));
    live.world.leave(live.publisher);
    live.world.run(GRACE / 2);
    live.publisher = live.world.publish(PATH, &options());
    live.world.connect(&[live.publisher]);
    live.world.run(GRACE);
    assert_eq!(sessions(&live), 4);
    second_publisher(&mut live);
}

#[test]
fn a_second_publisher_is_refused_with_409_where_the_config_says_so() {
    let config = Config {
        override_publisher: false,
        ..Config::default()
    };
    let mut live = Broadcast::new(World::new(11, config), Codec::Vp8, 1, &options());
    let refusal = live.world.try_publish(PATH, &options()).unwrap_err();
    assert_eq!(refusal.status(), StatusCode::CONFLICT);
    let body: serde_json::Value = serde_json::from_slice(refusal.body()).unwrap();
    assert_eq!(body["status"], "error");
    assert!(
        body["error"].as_str().is_some_and(|e| !e.is_empty()),
        "{body}"
    );
    live.keyframe(2, 500);
    live.world.run(ms(100));
    live.check_complete();
}

#[test]
fn nobody_watches_what_nobody_publishes() {
    let mut world = World::new(12, Config::default());
    let refusal = world.try_view("nowhere", &options()).unwrap_err();
    assert_eq!(refusal.status(), StatusCode::NOT_FOUND);
    assert_eq!(world.server.stats().sessions, 0);
}

/// The sender reports that a viewer got of one kind of media, and when.
fn reports(live: &mut Broadcast, id: ClientId, kind: MediaKind) -> Vec<(Instant, SenderInfo)> {
    let client = live.world.client(id);
    let packets = match kind {
        MediaKind::Video => &client.video,
        MediaKind::Audio => &client.audio,
    };
    let ssrc = packets[0].header.ssrc;
    let reports = client.rtcp.iter().filter_map(|(at, rtcp)| match rtcp {
        Rtcp::SenderReport(r) if r.sender_info.ssrc == ssrc => Some((*at, r.sender_info)),
        _ => None,
    });
    reports.collect()
}

#[test]
fn sender_reports_come_every_second_and_map_time_rightly() {
    let mut live = broadcast(13, 5);
    live.keyframe(2, 500);
    play(&mut live, ms(10_000));
    for viewer in live.viewers.clone() {
        for (kind, clock_rate) in [(MediaKind::Video, 90_000.0), (MediaKind::Audio, 48_000.0)] {
            let reports = reports(&mut live, viewer.id, kind);
            assert!(
                (8..=13).contains(&reports.len()),
                "{} reports in 10 s",
                reports.len()
            );
            for pair in reports.windows(2) {
                let apart = pair[1].0 - pair[0].0;
                assert!(
                    (ms(450)..ms(1600)).contains(&apart),
                    "{apart:?} between reports"
                );
            }
            // The first may be from before the publisher's own reports: then time is mapped by
            // arrival in the server's clock, and from then on in the publisher's.
            for pair in reports[2..].windows(2) {
                let [(_, earlier), (_, later)] = [pair[0], pair[1]];
                let ntp = later
                    .ntp_time
                    .duration_since(earlier.ntp_time)
                    .unwrap()
                    .as_secs_f64();
                assert!((ntp - (pair[1].0 - pair[0].0).as_secs_f64()).abs() < 0.001);
                let ticks = later
                    .rtp_time
                    .numer()
                    .wrapping_sub(earlier.rtp_time.numer());
                #[expect(clippy::cast_precision_loss, reason = "a second has few ticks")]
                let rtp = (ticks & 0xffff_ffff) as f64 / clock_rate;
                assert!(
                    (rtp - ntp).abs() < 0.001,
                    "{kind}: {rtp} s in RTP, {ntp} s in NTP"
                );
                assert!(later.sender_packet_count > earlier.sender_packet_count);
                assert!(later.sender_octet_count > earlier.sender_octet_count);
            }
        }
    }
}

#[test]
fn keyframe_requests_of_fifty_viewers_are_one_upstream() {
    let mut live = broadcast(14, 50);
    live.keyframe(2, 500);
    play(&mut live, ms(1000));
    live.world.client(live.publisher).keyframe_requests.clear();

    let asked = live.world.now();
    for viewer in live.viewers.clone() {
        let now = live.world.now();
        live.world.client(viewer.id).request_keyframe(now);
        live.world.run(ms(5));
    }
    live.world.run(ms(150));
    let requests = &live.world.client(live.publisher).keyframe_requests;
    assert_eq!(requests.len(), 1, "within 400 ms of {asked:?}");
    // No keyframe came: it is asked for again, once.
    live.world.run(ms(900));
    let requests = &live.world.client(live.publisher).keyframe_requests;
    assert!(requests.len() <= 3, "{} requests in 1.3 s", requests.len());
    for pair in requests.windows(2) {
        assert!(
            pair[1] - pair[0] >= ms(500),
            "{:?} apart",
            pair[1] - pair[0]
        );
    }
}

#[test]
fn a_late_viewer_starts_at_the_first_packet_of_a_keyframe() {
    for codec in [Codec::Vp8, Codec::H264] {
        let options = Options::new(&[codec, Codec::Opus]);
        let world = World::new(15, Config::default());
        let mut live = Broadcast::new(world, codec, 1, &options);
        live.keyframe(6, 500);
        play(&mut live, ms(2000));
        live.world.client(live.publisher).keyframe_requests.clear();

        let late = live.world.view(PATH, &options);
        live.world.connect(&[late]);
        play(&mut live, ms(300));
        let requests = &live.world.client(live.publisher).keyframe_requests;
        assert_eq!(
            requests.len(),
            1,
            "a keyframe is asked for when somebody joins"
        );
        assert!(
            live.world.client(late).video.is_empty(),
            "there was no keyframe yet"
        );
        assert!(
            !live.world.client(late).audio.is_empty(),
            "sound needs none"
        );

        let begin = live.video_sent.len();
        live.keyframe(6, 500);
        play(&mut live, ms(300));
        let got = live.world.client(late).video.iter().map(|p| &p.payload);
        let want = live.video_sent[begin..].iter().map(|p| &p.payload);
        assert!(got.eq(want), "{codec}");

        // A keyframe that is fresh serves whoever comes a moment later, from its first packet.
        live.keyframe(6, 500);
        let begin = live.video_sent.len() - 6;
        play(&mut live, ms(100));
        let later = live.world.view(PATH, &options);
        live.world.connect(&[later]);
        play(&mut live, ms(100));
        let got = live.world.client(later).video.iter().map(|p| &p.payload);
        let want = live.video_sent[begin..].iter().map(|p| &p.payload);
        assert!(got.eq(want), "{codec}: a fresh keyframe");
    }
}
