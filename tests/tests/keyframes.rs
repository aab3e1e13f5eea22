//! What a crowd asks for at once costs the publisher and the server little.

use std::fmt::Write as _;
use std::time::Duration;

use kvill_core::Config;
use kvill_tests::light::BUFFER_LEN;
use kvill_tests::light::crowd::Crowd;
use kvill_tests::peer;
use str0m::media::{KeyframeRequestKind, MediaKind};

const MS: Duration = Duration::from_millis(1);

/// At most one request goes upstream in this time.
const INTERVAL: Duration = Duration::from_millis(500);

const DELAY: Duration = Duration::from_millis(20);

fn crowd(viewers: usize) -> Crowd {
    let mut crowd = Crowd::new(11, Config::default(), DELAY, ());
    crowd.join(viewers);
    crowd.play(Duration::from_secs(2));
    // Requests from the beginning are past, and what they held up.
    crowd.publisher.keyframe_requests.clear();
    crowd
}

/// All of them ask for a keyframe, every other one by FIR.
fn ask(crowd: &mut Crowd) {
    for viewer in 0..crowd.viewers.len() {
        let kind = match viewer % 2 {
            0 => KeyframeRequestKind::Pli,
            _ => KeyframeRequestKind::Fir,
        };
        crowd.request_keyframe(viewer, kind);
    }
}

#[test]
fn fifty_viewers_that_ask_for_a_keyframe_at_once_make_one_request() {
    let mut crowd = crowd(50);
    let (began, before) = (crowd.now(), crowd.traffic.feedback.sent);
    ask(&mut crowd);
    crowd.run(INTERVAL);
    let asked = crowd.traffic.feedback.sent - before;
    assert!(asked >= 50, "{asked} RTCP packets of viewers");
    let [once] = crowd.publisher.keyframe_requests[..] else {
        panic!("{:?}", crowd.publisher.keyframe_requests);
    };
    let waited = once - began;
    assert!(waited <= crowd.rtt(), "asked for after {waited:?}");

    // It is answered, and nobody asks again: that was all.
    crowd.publish_keyframe();
    crowd.play(2 * INTERVAL);
    assert_eq!(crowd.publisher.keyframe_requests.len(), 1);

    // The publisher does not answer, and they go on asking, fifty times in a second.
    crowd.publisher.keyframe_requests.clear();
    let begin = crowd.now();
    let mut rounds = 0;
    while crowd.now() < begin + 10 * INTERVAL {
        ask(&mut crowd);
        crowd.run(20 * MS);
        rounds += 1;
    }
    let requests = &crowd.publisher.keyframe_requests;
    let apart: Vec<_> = requests.windows(2).map(|two| two[1] - two[0]).collect();
    let least = apart.iter().min().expect("several requests").as_millis();
    let mut table = String::new();
    let _ = writeln!(
        table,
        "50 viewers, round trip 40 ms, half by PLI, half by FIR"
    );
    let _ = writeln!(
        table,
        "all ask once and get a keyframe:           1 request upstream, after {} ms",
        waited.as_millis()
    );
    let _ = writeln!(
        table,
        "each asks {rounds} times in 5 s and gets none: {} requests upstream, {least} ms apart",
        requests.len()
    );
    peer::report("keyframes", &table);
    assert!(apart.iter().all(|gap| *gap >= INTERVAL), "{apart:?}");
    assert!((9..=11).contains(&requests.len()), "{}", requests.len());
}

#[test]
fn a_thousand_nacks_for_one_packet_in_ten_milliseconds_are_answered_once() {
    let mut crowd = crowd(1);
    let wanted = crowd.viewers[0].newest(MediaKind::Video).expect("video");
    let wanted = wanted.wrapping_sub(3);
    let counters = crowd.server.stats().counters;
    let (repairs, sent) = (crowd.traffic.repairs, crowd.traffic.feedback);
    let mut buffer = vec![0; BUFFER_LEN];
    for _ in 0..10 {
        for _ in 0..100 {
            let len = crowd.viewers[0].write_nack(MediaKind::Video, wanted, &mut buffer);
            crowd.send(0, &buffer[..len.expect("a connected viewer")]);
        }
        crowd.run(MS);
    }
    crowd.run(10 * crowd.rtt());
    let after = crowd.server.stats().counters;
    let asked = (
        crowd.traffic.feedback.sent - sent.sent,
        crowd.traffic.feedback.bytes - sent.bytes,
    );
    let answered = (
        crowd.traffic.repairs.sent - repairs.sent,
        crowd.traffic.repairs.bytes - repairs.bytes,
    );
    let nacked = after.nacked - counters.nacked;
    let repeated = after.nacked_repeated - counters.nacked_repeated;
    let table = format!(
        "1,000 NACKs for one packet in 10 ms: {} RTCP packets of {} bytes in all\n\
         answered by {} repair of {} bytes; {nacked} counted, {repeated} of them as repeated\n",
        asked.0, asked.1, answered.0, answered.1
    );
    peer::report("nacks", &table);
    assert!(asked.0 >= 1000);
    assert_eq!(answered.0, 1);
    assert!(answered.1 < 1200, "{} bytes", answered.1);
    assert_eq!((nacked, repeated), (1000, 999));
    assert_eq!(after.repairs - counters.repairs, 1);
}
