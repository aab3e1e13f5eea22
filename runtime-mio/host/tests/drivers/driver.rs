//! A driver with the core, over real sockets. Each driver has these as tests of its own.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use kvill_core::media::{Codec, MediaKind};
use kvill_core::server::{Event, WatchError};
use kvill_core::stats::{EndReason, SessionRole};
use kvill_host::engine::Ended;
use kvill_host::handle::HandleError;
use kvill_host::http::{Limits, MAX_BODY_LEN};
use kvill_host::settings::Settings;
use kvill_host::spawn::Running;
use kvill_host::watcher::PACKETS_MAX;

use super::Driver;

pub(super) fn start() -> Running {
    let settings = Settings {
        http_addresses: vec!["127.0.0.1:0".parse().unwrap()],
        udp_addresses: vec!["127.0.0.1:0".parse().unwrap(), "[::]:0".parse().unwrap()],
        ..Settings::default()
    };
    Driver::spawn(settings).unwrap()
}

fn connect(running: &Running) -> TcpStream {
    let stream = TcpStream::connect(running.http_addresses()[0]).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_secs(5)))
        .unwrap();
    stream
}

/// Reads until the stream closes or `count` responses have begun.
fn read_responses(stream: &mut TcpStream, count: usize) -> String {
    let mut got = String::new();
    let mut chunk = [0; 4096];
    while got.matches("HTTP/1.1 ").count() < count {
        let len = stream.read(&mut chunk).expect("an answer within 5 s");
        assert!(len > 0, "closed after: {got}");
        got.push_str(&String::from_utf8_lossy(&chunk[..len]));
    }
    got
}

const OPTIONS: &str = "OPTIONS /live/whep HTTP/1.1\r\nHost: x\r\n\r\n";

#[test]
fn pipelined_requests_are_answered_by_the_core_on_a_kept_connection() {
    let running = start();
    let mut stream = connect(&running);
    for _ in 0..2 {
        stream
            .write_all(format!("{OPTIONS}{OPTIONS}").as_bytes())
            .unwrap();
        let answers = read_responses(&mut stream, 2);
        assert_eq!(answers.matches("HTTP/1.1 204 ").count(), 2, "{answers}");
    }
}

#[test]
fn a_body_above_the_limit_is_refused_with_413() {
    let running = start();
    let mut stream = connect(&running);
    let len = 2 * MAX_BODY_LEN;
    let head = format!(
        "POST /live/whip HTTP/1.1\r\nHost: x\r\nContent-Type: application/sdp\r\nContent-Length: {len}\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).unwrap();
    stream.write_all(&vec![b'a'; len]).unwrap();
    let answer = read_responses(&mut stream, 1);
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
}

#[test]
fn time_outs_may_be_longer_than_a_clock_can_tell() {
    let limits = Limits {
        header_timeout: Duration::MAX,
        body_timeout: Duration::MAX,
        idle_timeout: Duration::MAX,
        half_closed_timeout: Duration::MAX,
        ..Limits::default()
    };
    let running = Driver::spawn(Settings {
        http_addresses: vec!["127.0.0.1:0".parse().unwrap()],
        udp_addresses: vec!["127.0.0.1:0".parse().unwrap()],
        http_limits: limits,
        ..Settings::default()
    })
    .unwrap();
    let mut stream = connect(&running);
    let request = "POST /live/whip HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nv=0";
    let (head, body) = request.split_at(request.len() - 3);
    for part in [head, body] {
        stream.write_all(part.as_bytes()).unwrap();
        // The loop has read it before it answers the next question, or does so in the next turn.
        running.handle().stats().wait().unwrap();
    }
    let answer = read_responses(&mut stream, 1);
    assert!(answer.starts_with("HTTP/1.1 415 "), "{answer}");
}

#[test]
fn a_handle_ends_the_loop_and_closes_idle_connections() {
    let running = start();
    let address = running.http_addresses()[0];
    let mut idle = connect(&running);
    idle.write_all(OPTIONS.as_bytes()).unwrap();
    read_responses(&mut idle, 1);
    let start = Instant::now();
    assert_eq!(running.stop().unwrap(), Ended::Stopped);
    assert!(
        start.elapsed() < Duration::from_secs(1),
        "{:?}",
        start.elapsed()
    );
    assert_eq!(idle.read(&mut [0; 16]).unwrap(), 0);
    assert!(TcpStream::connect(address).is_err(), "still listening");
}

#[test]
fn a_handle_of_a_stopped_driver_says_so() {
    let running = start();
    let handle = running.handle().clone();
    let events = handle.events();
    assert_eq!(handle.stats().wait().unwrap().core.sessions, 0);
    running.stop().unwrap();
    assert!(matches!(handle.stats().wait(), Err(HandleError::Stopped)));
    assert!(events.wait().is_none() && handle.events().wait().is_none());
}

#[test]
fn two_drivers_in_one_process_know_nothing_of_each_other() {
    let (one, other) = (start(), start());
    assert_ne!(one.http_addresses(), other.http_addresses());
    assert_ne!(one.udp_addresses(), other.udp_addresses());
    one.stop().unwrap();
    let mut stream = connect(&other);
    stream.write_all(OPTIONS.as_bytes()).unwrap();
    read_responses(&mut stream, 1);
    let refused = other.handle().stats().wait().unwrap().core.counters.refused;
    assert_eq!(refused, 0);
}

#[test]
fn a_port_in_use_is_told_by_whoever_spawns() {
    let running = start();
    let settings = Settings {
        http_addresses: running.http_addresses().to_vec(),
        udp_addresses: vec!["127.0.0.1:0".parse().unwrap()],
        ..Settings::default()
    };
    let error = Driver::spawn(settings).unwrap_err();
    assert!(error.to_string().contains("in use"), "{error}");
}

/// An access unit in Annex B format: parameter sets and an IDR picture of so many bytes.
fn access_unit(len: usize) -> Vec<u8> {
    let mut unit = vec![0, 0, 0, 1, 0x67, 0x42, 0xe0, 0x1f, 0, 0, 0, 1, 0x68, 0xce];
    unit.extend([0, 0, 0, 1, 0x65]);
    unit.resize(unit.len() + len, 0x80);
    unit
}

fn captured(frames: u32) -> Instant {
    Instant::now() + Duration::from_millis(33) * frames
}

#[test]
fn what_the_program_publishes_it_can_watch() {
    let running = start();
    let handle = running.handle();
    let events = handle.events();
    assert_eq!(
        handle.watch("live").wait().unwrap().unwrap_err(),
        WatchError::NoStream
    );
    let codecs = [Codec::h264(0x42_e01f)];
    let publisher = handle.publish("live", &codecs).wait().unwrap().unwrap();
    let watcher = handle.watch("live").wait().unwrap().unwrap();
    // The loop tells what came of the turn in which it answered.
    handle.stats().wait().unwrap();
    assert!(publisher.takes_keyframe_request() && !publisher.takes_keyframe_request());

    let send = |frame| {
        let unit = access_unit(5_000);
        publisher.send_frame(MediaKind::Video, captured(frame), unit)
    };
    // It begins with the newest keyframe, which is this one.
    send(0).unwrap();
    let mut last = watcher.wait().unwrap();
    // More packets than fit on the way to the watcher, which then goes on by itself.
    let frames = 200;
    for frame in 1..frames {
        send(frame).unwrap();
    }
    let mut markers = 0;
    while markers < frames {
        let packet = watcher.wait().unwrap();
        assert_eq!(packet.sequence, last.sequence + 1);
        markers += u32::from(packet.marker);
        last = packet;
    }
    assert_eq!(watcher.try_recv(), Ok(None));
    let tracks = watcher.tracks().wait().unwrap().unwrap();
    assert_eq!(tracks[0].codec.to_string(), codecs[0].to_string());

    let told: Vec<_> = std::iter::from_fn(|| events.try_recv()).collect();
    assert!(
        matches!(
            &told[..],
            [
                Event::PublisherJoined { .. },
                Event::ViewerJoined { .. },
                Event::KeyframeWanted { .. },
                ..
            ]
        ),
        "{told:?}"
    );
    drop(publisher);
    assert!(matches!(events.wait(), Some(Event::PublisherLeft { .. })));
    drop(watcher);
    assert!(matches!(events.wait(), Some(Event::ViewerLeft { .. })));
    assert!(handle.sessions().wait().unwrap().is_empty());
}

#[test]
fn a_handle_lists_sessions_and_closes_them() {
    let running = start();
    let handle = running.handle();
    let codecs = [Codec::vp8(), Codec::opus()];
    let publisher = handle.publish("live", &codecs).wait().unwrap().unwrap();
    let watcher = handle.watch("live").wait().unwrap().unwrap();
    let mut sessions = handle.sessions().wait().unwrap();
    sessions.sort_by_key(|session| session.role == SessionRole::Viewer);
    let ids: Vec<_> = sessions.iter().map(|one| one.session.as_str()).collect();
    assert_eq!(ids, [publisher.session(), watcher.session()]);

    assert!(handle.close(watcher.session()).wait().unwrap());
    assert!(!handle.close(watcher.session()).wait().unwrap());
    assert_eq!(watcher.wait().unwrap_err().reason, Some(EndReason::Closed));
    assert!(handle.close(publisher.session()).wait().unwrap());
    let send = || {
        let frame = vec![0; 100];
        publisher.send_frame(MediaKind::Audio, captured(0), frame)
    };
    // The loop takes it in before it answers the next question.
    send().unwrap();
    handle.stats().wait().unwrap();
    for _ in 0..2 {
        let error = send().unwrap_err();
        assert!(error.to_string().contains("closed"), "{error}");
    }
}

#[test]
fn a_wrong_frame_is_told_and_loses_nothing_else() {
    let running = start();
    let handle = running.handle();
    let codecs = [Codec::h264(0x42_e01f)];
    let publisher = handle.publish("live", &codecs).wait().unwrap().unwrap();
    let watcher = handle.watch("live").wait().unwrap().unwrap();
    let send = |frame| publisher.send_frame(MediaKind::Video, captured(0), frame);
    send(vec![0, 0, 0, 4, 0x65, 1, 2, 3]).unwrap();
    handle.stats().wait().unwrap();
    // Told instead of sending this one.
    let error = send(access_unit(10)).unwrap_err();
    assert!(error.to_string().contains("Annex B"), "{error}");
    // What came in one turn is passed on before the next one.
    for _ in 0..2 {
        handle.stats().wait().unwrap();
    }
    assert!(matches!(watcher.try_recv(), Ok(Some(_))));
    send(access_unit(10)).unwrap();
    running.stop().unwrap();
    let end = loop {
        match watcher.wait() {
            Ok(_) => {}
            Err(end) => break end,
        }
    };
    assert_eq!(end.reason, Some(EndReason::ShutDown));
}

#[test]
fn regress_a_loop_that_stops_ends_all_sessions_before() {
    let running = start();
    let (handle, events) = (running.handle(), running.handle().events());
    let codecs = [Codec::vp8()];
    let _publisher = handle.publish("live", &codecs).wait().unwrap().unwrap();
    // More than end in one turn, with nobody to say goodbye to.
    let watch = || handle.watch("live").wait().unwrap().unwrap();
    let watchers: Vec<_> = (0..600).map(|_| watch()).collect();
    for _ in 0..=watchers.len() {
        events.wait().unwrap();
    }
    assert_eq!(running.stop().unwrap(), Ended::Stopped);
    let left = std::iter::from_fn(|| events.wait());
    let left = left.filter(|event| {
        matches!(
            event,
            Event::ViewerLeft { .. } | Event::PublisherLeft { .. }
        )
    });
    assert_eq!(left.count(), watchers.len() + 1);
}

#[test]
fn regress_who_reads_late_learns_all_the_same_why_it_ended() {
    let running = start();
    let handle = running.handle();
    let codecs = [Codec::h264(0x42_e01f)];
    let publisher = handle.publish("live", &codecs).wait().unwrap().unwrap();
    let watch = || handle.watch("live").wait().unwrap().unwrap();
    let watcher = watch();
    // More than waits for it.
    let unit = access_unit(2_000 * PACKETS_MAX);
    publisher
        .send_frame(MediaKind::Video, captured(0), unit)
        .unwrap();
    // It is passed on in the turn in which this is answered.
    handle.stats().wait().unwrap();
    assert!(handle.close(watcher.session()).wait().unwrap());
    // More than the core remembers.
    for _ in 0..300 {
        drop(watch());
    }
    assert_eq!(handle.sessions().wait().unwrap().len(), 1);
    let mut read = 0;
    let end = loop {
        match watcher.wait() {
            Ok(_) => read += 1,
            Err(end) => break end,
        }
    };
    assert_eq!(read, PACKETS_MAX);
    assert_eq!(end.reason, Some(EndReason::Closed));
}
