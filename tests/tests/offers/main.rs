//! Odd offers, each of which is accepted, connects and plays.
//!
//! Most are offers of real implementations, as they came or changed in one way. The client behind
//! is str0m, which is told what the answer says and never reads the offer.

mod flights;
mod scene;

use str0m::format::Codec;

use crate::scene::Scene;

const CHROMIUM_PUBLISH: &str =
    include_str!("../../../core/src/signal/testdata/chromium-publish.sdp");
const CHROMIUM_VIEW: &str = include_str!("../../../core/src/signal/testdata/chromium-view.sdp");
const CHROMIUM_SIMULCAST: &str =
    include_str!("../../../core/src/signal/testdata/chromium-simulcast.sdp");
const FFMPEG_PUBLISH: &str = include_str!("../../../core/src/signal/testdata/ffmpeg-publish.sdp");
const GSTREAMER_PUBLISH: &str =
    include_str!("../../../core/src/signal/testdata/gstreamer-publish.sdp");
const AIORTC_PUBLISH: &str = include_str!("../../../core/src/signal/testdata/aiortc-publish.sdp");
const AIORTC_VIEW: &str = include_str!("../../../core/src/signal/testdata/aiortc-view.sdp");

/// An offer to publish VP8 and Opus, changed, plays; and so does one to watch.
fn plays_both_ways(seed: u64, change: impl Fn(&str) -> String) {
    publishes(seed, &change(CHROMIUM_PUBLISH), &[Codec::Vp8, Codec::Opus]);
    views(seed, &change(CHROMIUM_VIEW), &[Codec::Vp8, Codec::Opus]);
}

/// Publishes by an offer, and gives the answer.
fn publishes(seed: u64, text: &str, codecs: &[Codec]) -> String {
    let mut scene = Scene::new(seed);
    let publisher = scene.publish(text);
    let video = codecs.iter().copied().find(Codec::is_video);
    let viewer = scene.plain_viewer(video.unwrap_or(Codec::Opus));
    scene.play(publisher, &[viewer], codecs);
    scene.answer(publisher)
}

/// Watches by an offer, and gives the answer.
fn views(seed: u64, text: &str, codecs: &[Codec]) -> String {
    let mut scene = Scene::new(seed);
    let publisher = scene.plain_publisher(codecs[0]);
    let viewer = scene.view(text);
    scene.play(publisher, &[viewer], codecs);
    scene.answer(viewer)
}

/// Changes something that is there.
fn replaced(text: &str, from: &str, to: &str) -> String {
    assert!(text.contains(from), "no {from:?} to be replaced");
    text.replace(from, to)
}

fn without(text: &str, start: &str) -> String {
    assert!(text.contains(start), "no {start:?} to be left out");
    let kept = text
        .split_inclusive('\n')
        .filter(|line| !line.starts_with(start));
    kept.collect()
}

/// Puts lines at the end of each section.
fn with_lines(text: &str, lines: &str) -> String {
    let mut out = text.replace("\nm=", &format!("\n{lines}m="));
    // Before the first section is the session.
    out = out.replacen(lines, "", 1);
    out + lines
}

/// Moves the lines of one attribute from the sections to the session.
fn at_session(text: &str, start: &str) -> String {
    let line = text
        .split_inclusive('\n')
        .find(|line| line.starts_with(start));
    let line = line.expect("something to move");
    without(text, start).replacen("m=", &format!("{line}m="), 1)
}

fn rejected(answer: &str) -> Vec<&str> {
    let is_rejected = |line: &&str| line.starts_with("m=") && line.split(' ').nth(1) == Some("0");
    answer.lines().filter(is_rejected).collect()
}

#[test]
fn real_offers_of_publishers_play() {
    let both = [Codec::Vp8, Codec::Opus];
    publishes(1, CHROMIUM_PUBLISH, &both);
    publishes(2, AIORTC_PUBLISH, &both);
    publishes(3, GSTREAMER_PUBLISH, &both);
    publishes(4, FFMPEG_PUBLISH, &[Codec::H264, Codec::Opus]);
    publishes(5, CHROMIUM_SIMULCAST, &[Codec::Vp8]);
}

#[test]
fn real_offers_of_viewers_play() {
    views(1, CHROMIUM_VIEW, &[Codec::Vp8, Codec::Opus]);
    views(2, CHROMIUM_VIEW, &[Codec::H264, Codec::Opus]);
    views(3, AIORTC_VIEW, &[Codec::Vp8, Codec::Opus]);
    views(4, AIORTC_VIEW, &[Codec::H264, Codec::Opus]);
}

#[test]
fn with_a_passive_peer_the_server_is_the_dtls_client() {
    let passive = |text: &str| replaced(text, "a=setup:actpass", "a=setup:passive");
    let both = [Codec::Vp8, Codec::Opus];
    let publisher = publishes(1, &passive(CHROMIUM_PUBLISH), &both);
    let viewer = views(1, &passive(CHROMIUM_VIEW), &both);
    for answer in [publisher, viewer] {
        assert!(answer.contains("a=setup:active\r\n"), "{answer}");
        assert!(!answer.contains("a=setup:passive"), "{answer}");
    }
    let active = |text: &str| replaced(text, "a=setup:actpass", "a=setup:active");
    plays_both_ways(2, active);
    plays_both_ways(3, |text| without(text, "a=setup"));
}

#[test]
fn everybody_may_be_passive_at_once() {
    let mut scene = Scene::new(4);
    let passive = |text: &str| replaced(text, "a=setup:actpass", "a=setup:passive");
    let publisher = scene.publish(&passive(CHROMIUM_PUBLISH));
    let viewers: Vec<_> = (0..3)
        .map(|_| scene.view(&passive(CHROMIUM_VIEW)))
        .collect();
    scene.play(publisher, &viewers, &[Codec::Vp8, Codec::Opus]);
}

#[test]
fn sections_that_only_exist_in_the_bundle_play() {
    let bundle_only = |text: &str| {
        let (first, second) = text.rsplit_once("\nm=audio ").map_or_else(
            || text.split_at(text.len()),
            |(first, second)| (first, second),
        );
        let (_port, rest) = second.split_once(' ').expect("a port");
        let second = format!("0 {}", rest.replacen("\na=", "\na=bundle-only\r\na=", 1));
        format!("{first}\nm=audio {second}")
    };
    let text = bundle_only(CHROMIUM_VIEW);
    assert!(text.contains("\nm=audio 0 ") && text.contains("a=bundle-only"));
    let answer = views(1, &text, &[Codec::Vp8, Codec::Opus]);
    assert!(answer.contains("m=audio 9 "), "{answer}");
    // GStreamer's has it as it comes.
    assert!(GSTREAMER_PUBLISH.contains("m=audio 0 ") && GSTREAMER_PUBLISH.contains("bundle-only"));
    let answer = publishes(2, GSTREAMER_PUBLISH, &[Codec::Vp8, Codec::Opus]);
    assert!(answer.contains("m=audio 9 "), "{answer}");
}

/// Gives the two sections other names.
fn with_mids(text: &str, mids: [&str; 2]) -> String {
    let mut text = replaced(
        text,
        "a=group:BUNDLE 0 1",
        &format!("a=group:BUNDLE {} {}", mids[0], mids[1]),
    );
    let name = |number: usize| format!("a=mid:{number}\r\n");
    // By way of names that neither has.
    for (number, _) in mids.iter().enumerate() {
        text = replaced(&text, &name(number), &name(number + 100));
    }
    for (number, mid) in mids.iter().enumerate() {
        text = replaced(&text, &name(number + 100), &format!("a=mid:{mid}\r\n"));
    }
    text
}

#[test]
fn mids_are_words_of_any_length() {
    for mids in [
        ["audio", "video"],
        ["v!#$%&'*+-.^_`{|}~", "a"],
        // str0m has room for sixteen bytes, in which these two are the same.
        [
            "a-camera-in-the-garden-sound",
            "a-camera-in-the-garden-picture",
        ],
        ["1", "0"],
    ] {
        plays_both_ways(1, |text| with_mids(text, mids));
        // Nothing but the payload types and the mids tell whose packets these are.
        let anonymous = without(&with_mids(CHROMIUM_PUBLISH, mids), "a=ssrc");
        publishes(2, &anonymous, &[Codec::Vp8, Codec::Opus]);
    }
}

#[test]
fn one_section_needs_neither_mid_nor_bundle() {
    for (kind, codec) in [("video", Codec::Vp8), ("audio", Codec::Opus)] {
        let other = if kind == "video" { "audio" } else { "video" };
        let alone = |text: &str| {
            let (session, sections) = text.split_once("m=").expect("sections");
            let sections: String = format!("m={sections}")
                .split_inclusive('\n')
                .fold((String::new(), true), |(mut out, mut keep), line| {
                    if line.starts_with("m=") {
                        keep = line.starts_with(&format!("m={kind}"));
                    }
                    if keep && !line.starts_with("a=mid") {
                        out += line;
                    }
                    (out, keep)
                })
                .0;
            assert!(!sections.contains(&format!("m={other}")));
            without(&format!("{session}{sections}"), "a=group")
        };
        publishes(1, &alone(CHROMIUM_PUBLISH), &[codec]);
        let mut scene = Scene::new(2);
        let publisher = scene.plain_publisher(Codec::Vp8);
        let viewer = scene.view(&alone(CHROMIUM_VIEW));
        scene.play(publisher, &[viewer], &[codec]);
    }
}

#[test]
fn codec_names_are_the_same_in_any_case() {
    plays_both_ways(1, |text| {
        replaced(&replaced(text, " opus/", " OPUS/"), " VP8/", " vp8/")
    });
    let shouting = |text: &str| replaced(&replaced(text, " H264/", " h264/"), " rtx/", " RTX/");
    let text = shouting(FFMPEG_PUBLISH);
    publishes(2, &text, &[Codec::H264, Codec::Opus]);
    views(3, &shouting(CHROMIUM_VIEW), &[Codec::H264, Codec::Opus]);
}

#[test]
fn candidates_are_of_no_account() {
    plays_both_ways(1, |text| without(text, "a=candidate"));
    plays_both_ways(2, |text| {
        let odd = "a=candidate:1 1 udp 2122260223 4f3b6c1e-5a7d-4c52.local 9 typ host\r\n\
                   a=candidate:2 1 udp 1 host.example.com 9 typ srflx raddr 0.0.0.0 rport 9\r\n\
                   a=candidate:nonsense\r\na=candidate:\r\na=end-of-candidates\r\n";
        with_lines(text, odd)
    });
    // aiortc has another port and candidates in each section.
    let ports = |text: &str| -> Vec<String> {
        let sections = text.lines().filter(|line| line.starts_with("m="));
        sections
            .filter_map(|line| line.split(' ').nth(1).map(str::to_owned))
            .collect()
    };
    assert_ne!(ports(AIORTC_VIEW)[0], ports(AIORTC_VIEW)[1]);
    views(3, AIORTC_VIEW, &[Codec::Vp8, Codec::Opus]);
}

#[test]
fn a_data_channel_that_nobody_asked_for_is_refused_alone() {
    assert!(CHROMIUM_VIEW.contains("m=application"));
    let answer = views(1, CHROMIUM_VIEW, &[Codec::Vp8, Codec::Opus]);
    assert_eq!(
        rejected(&answer),
        ["m=application 0 UDP/DTLS/SCTP webrtc-datachannel"]
    );

    // It may come first, and even be the one that names the transport.
    let (session, rest) = CHROMIUM_VIEW.split_once("m=video").unwrap();
    let (media, channel) = rest.split_once("m=application").unwrap();
    let text = format!("{session}m=application{channel}m=video{media}");
    let text = replaced(&text, "a=group:BUNDLE 0 1 2", "a=group:BUNDLE 2 0 1");
    let answer = views(2, &text, &[Codec::Vp8, Codec::Opus]);
    assert_eq!(rejected(&answer).len(), 1, "{answer}");
    assert!(answer.contains("a=group:BUNDLE 0 1\r\n"), "{answer}");
}

/// A second video section before or after the one that is there.
fn with_second_video(text: &str, first: bool, inactive: bool) -> String {
    let at = text.find("m=video").unwrap();
    let end = text[at..]
        .find("\nm=")
        .map_or(text.len(), |end| at + end + 1);
    let own = &text[at..end];
    let mid = own
        .lines()
        .find_map(|line| line.strip_prefix("a=mid:"))
        .unwrap();
    let mut second = own.replace(&format!("a=mid:{mid}"), "a=mid:second");
    second = without(&second, "a=candidate");
    for ssrc in ["3504817295", "4112434247"] {
        second = second.replace(ssrc, &ssrc.replace("4", "5"));
    }
    if inactive {
        second = second
            .replace("a=sendonly", "a=inactive")
            .replace("a=recvonly", "a=inactive");
    }
    let group = text
        .lines()
        .find(|line| line.starts_with("a=group"))
        .unwrap();
    let text = if first {
        text[..at].to_owned() + &second + &text[at..]
    } else {
        text[..end].to_owned() + &second + &text[end..]
    };
    text.replace(group, &format!("{group} second"))
}

#[test]
fn of_several_videos_the_first_that_can_be_used_is_taken() {
    for (seed, (first, inactive)) in [(false, false), (false, true), (true, true)]
        .into_iter()
        .enumerate()
    {
        let seed = seed as u64;
        let change = |text: &str| with_second_video(text, first, inactive);
        let both = [Codec::Vp8, Codec::Opus];
        for answer in [
            publishes(seed, &change(CHROMIUM_PUBLISH), &both),
            views(seed, &change(CHROMIUM_VIEW), &both),
        ] {
            assert_eq!(answer.matches("m=video 9 ").count(), 2, "{answer}");
            assert_eq!(
                answer.matches("a=inactive").count() - rejected(&answer).len(),
                1,
                "{answer}"
            );
        }
    }
    // Ten videos and sounds of which one each is wanted: a browser's long history.
    let mut text = CHROMIUM_VIEW.to_owned();
    for n in 0..9 {
        text = with_second_video(&text, false, true)
            .replace("a=mid:second", &format!("a=mid:old-{n}"))
            .replace(" second", &format!(" old-{n}"));
    }
    views(9, &text, &[Codec::Vp8, Codec::Opus]);
}

#[test]
fn of_a_simulcast_one_layer_is_taken() {
    assert!(CHROMIUM_SIMULCAST.contains("a=simulcast:send h;l"));
    let answer = publishes(1, CHROMIUM_SIMULCAST, &[Codec::Vp8]);
    assert!(
        !answer.contains("simulcast") && !answer.contains("a=rid"),
        "{answer}"
    );
    // Layers by sources, as browsers had it before.
    let group = "a=ssrc-group:SIM 3504817295 77 78\r\na=ssrc-group:FID 77 87\r\n\
                 a=ssrc:77 cname:x\r\na=ssrc:78 cname:x\r\n";
    publishes(
        2,
        &(CHROMIUM_PUBLISH.to_owned() + group),
        &[Codec::Vp8, Codec::Opus],
    );
}

#[test]
fn unknown_extensions_codecs_and_attributes_are_passed_over() {
    let odd = "a=extmap:1/sendonly urn:example:known-to-nobody\r\n\
               a=extmap:15 urn:example:with-attributes one two\r\n\
               a=extmap:200 urn:example:long-header\r\n\
               a=extmap:0 urn:example:padding\r\na=extmap:x\r\na=extmap\r\n\
               a=rtpmap:35 FOO/90000\r\na=fmtp:35 a;b=c;;=d\r\na=rtcp-fb:35 foo bar baz\r\n\
               a=rtcp-fb:* nack rpsi\r\na=rtcp-fb:300 nack\r\na=rtpmap:300 BAR/8000\r\n\
               a=rtcp-xr:rcvr-rtt=all:10000\r\na=x-google-flag:conference\r\na=framesize:35 1-1\r\n\
               a=imageattr:* send * recv *\r\nb=AS:5000\r\n";
    plays_both_ways(1, |text| with_lines(text, odd));
    plays_both_ways(2, |text| {
        let text = replaced(text, " 96 97", " 35 19 300 FOO 96 97");
        with_lines(&text, "a=rtpmap:35 FOO/90000\r\n")
    });
}

#[test]
fn what_holds_for_all_sections_may_stand_at_the_session() {
    plays_both_ways(1, |text| {
        ["a=ice-ufrag", "a=ice-pwd", "a=fingerprint", "a=setup"]
            .iter()
            .fold(text.to_owned(), |text, start| at_session(&text, start))
    });
    plays_both_ways(2, |text| {
        at_session(&at_session(text, "a=ice-ufrag"), "a=ice-pwd")
    });
    publishes(
        3,
        &at_session(CHROMIUM_PUBLISH, "a=sendonly"),
        &[Codec::Vp8, Codec::Opus],
    );
    views(
        4,
        &at_session(CHROMIUM_VIEW, "a=recvonly"),
        &[Codec::Vp8, Codec::Opus],
    );
    // Only the section that is tagged says it (RFC 9143 §7.1.3).
    let (first, second) = CHROMIUM_PUBLISH.rsplit_once("m=video").unwrap();
    let bare = ["a=ice-ufrag", "a=ice-pwd", "a=fingerprint", "a=setup"]
        .iter()
        .fold(second.to_owned(), |text, start| without(&text, start));
    publishes(
        5,
        &format!("{first}m=video{bare}"),
        &[Codec::Vp8, Codec::Opus],
    );
}

#[test]
fn line_ends_spaces_and_letters_of_other_habits_are_read() {
    plays_both_ways(1, |text| replaced(text, "\r\n", "\n"));
    plays_both_ways(2, |text| text.trim_end().to_owned());
    plays_both_ways(3, |text| format!("{text}\r\n\r\n"));
    plays_both_ways(4, |text| {
        replaced(text, "a=fingerprint:sha-256", "a=fingerprint:SHA-256")
    });
    plays_both_ways(5, |text| {
        let line = text
            .lines()
            .find(|line| line.starts_with("a=fingerprint"))
            .unwrap();
        let lower = line.to_ascii_lowercase();
        replaced(text, line, &lower)
    });
    plays_both_ways(6, |text| replaced(text, "UDP/TLS/RTP/SAVPF", "RTP/SAVPF"));
    plays_both_ways(7, |text| {
        replaced(text, "a=rtcp-mux\r\n", "a=rtcp-mux-only\r\n")
    });
    plays_both_ways(8, |text| replaced(text, "\r\na=mid", " \r\na=mid"));
    plays_both_ways(9, |text| {
        text.replace("a=sendonly", "a=sendrecv")
            .replace("a=recvonly", "a=sendrecv")
    });
}
