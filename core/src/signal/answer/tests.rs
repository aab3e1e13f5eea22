//! Answers, as text and as str0m reads them.

use std::time::Instant;

use str0m::Rtc;
use str0m::change::{SdpAnswer, SdpPendingOffer};
use str0m::format::Codec as Str0mCodec;
use str0m::media::{Direction, MediaKind as Str0mKind, Mid};

use super::*;
use crate::signal::policy;

const LOCAL: Local<'_> = Local {
    session_id: 4_711,
    ufrag: "ourname",
    pwd: "our password of 22 bytes",
    fingerprint: &[0xab; 32],
    candidates: "a=candidate:1 1 udp 2130706431 192.0.2.1 8189 typ host\r\na=candidate:2 1 udp 2130706175 2001:db8::1 8189 \
                 typ host\r\n",
};

const SOURCES: Sources<'_> = Sources {
    cname: "stream7",
    video: Source {
        ssrc: 111_111,
        rtx_ssrc: 111_112,
    },
    audio: Source {
        ssrc: 222_222,
        rtx_ssrc: 222_223,
    },
};

fn answer_to_publisher(text: &str) -> String {
    let offer = Offer::parse(text.as_bytes()).unwrap();
    let plan = policy::publish(&offer).unwrap();
    publish(&offer, &plan, &LOCAL)
}

fn answer_to_viewer(text: &str, video: Option<&Codec>, audio: Option<&Codec>) -> String {
    let offer = Offer::parse(text.as_bytes()).unwrap();
    let plan = policy::view(&offer, video, audio).unwrap();
    view(&offer, &plan, &LOCAL, &SOURCES)
}

fn codec(name: &str) -> Codec {
    match name {
        "opus" => Codec::from_sdp(name, 48_000, 2, "").unwrap(),
        _ => Codec::from_sdp(name, 90_000, 1, "").unwrap(),
    }
}

/// The lines of the section at a place; 0 is the session.
fn lines(answer: &str, section: usize) -> Vec<&str> {
    let mut place = 0;
    answer
        .split("\r\n")
        .filter(|line| {
            place += usize::from(line.starts_with("m="));
            place == section && !line.is_empty()
        })
        .collect()
}

#[test]
fn the_answer_to_ffmpeg_reads_like_this() {
    let fingerprint = format!("a=fingerprint:sha-256 {}", ["AB"; 32].join(":"));
    let answer = answer_to_publisher(include_str!("../testdata/ffmpeg-publish.sdp"));
    assert_eq!(
        lines(&answer, 0),
        [
            "v=0",
            "o=- 4711 2 IN IP4 127.0.0.1",
            "s=-",
            "t=0 0",
            "a=group:BUNDLE 0 1",
            "a=msid-semantic: WMS *",
            "a=ice-lite",
        ]
    );
    assert_eq!(
        lines(&answer, 1),
        [
            "m=audio 9 UDP/TLS/RTP/SAVPF 111",
            "c=IN IP4 0.0.0.0",
            "a=candidate:1 1 udp 2130706431 192.0.2.1 8189 typ host",
            "a=candidate:2 1 udp 2130706175 2001:db8::1 8189 typ host",
            "a=end-of-candidates",
            "a=ice-ufrag:ourname",
            "a=ice-pwd:our password of 22 bytes",
            &fingerprint,
            "a=setup:active",
            "a=mid:0",
            "a=recvonly",
            "a=rtcp-mux",
            "a=rtpmap:111 opus/48000/2",
        ]
    );
    assert_eq!(
        lines(&answer, 2),
        [
            "m=video 9 UDP/TLS/RTP/SAVPF 106 105",
            "c=IN IP4 0.0.0.0",
            "a=ice-ufrag:ourname",
            "a=ice-pwd:our password of 22 bytes",
            &fingerprint,
            "a=setup:active",
            "a=mid:1",
            "a=recvonly",
            "a=rtcp-mux",
            "a=rtcp-rsize",
            "a=rtpmap:106 H264/90000",
            "a=fmtp:106 level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42000d",
            "a=rtcp-fb:106 nack",
            "a=rtpmap:105 rtx/90000",
            "a=fmtp:105 apt=106",
        ]
    );
    assert!(answer.ends_with("\r\n") && !answer.contains("\r\n\r\n"));
}

#[test]
fn a_browser_that_publishes_is_told_two_extensions_only() {
    let answer = answer_to_publisher(include_str!("../testdata/chromium-publish.sdp"));
    let extensions: Vec<_> = lines(&answer, 2)
        .into_iter()
        .filter(|line| line.starts_with("a=extmap"))
        .collect();
    assert_eq!(extensions.len(), 2);
    assert!(extensions[0].ends_with(TRANSPORT_CC_URI) && extensions[1].ends_with(MID_URI));
    assert!(lines(&answer, 2).contains(&"a=setup:passive"));
    assert!(lines(&answer, 2).contains(&"a=rtcp-fb:96 transport-cc"));
}

#[test]
fn a_browser_that_watches_is_told_sources_and_how_to_ask_for_lost_packets() {
    let text = include_str!("../testdata/chromium-view.sdp");
    let answer = answer_to_viewer(text, Some(&codec("VP8")), Some(&codec("opus")));
    assert!(
        lines(&answer, 0).contains(&"a=group:BUNDLE 0 1"),
        "{answer}"
    );
    let video = lines(&answer, 1);
    assert!(video[0].ends_with("RTP/SAVPF 96 97"), "{}", video[0]);
    assert!(!answer.contains("a=extmap") && !answer.contains("transport-cc"));
    for line in [
        "a=sendonly",
        "a=msid:stream7 video",
        "a=ssrc:111111 cname:stream7",
        "a=rtcp-fb:96 ccm fir",
        "a=rtcp-fb:96 nack pli",
        "a=rtcp-fb:96 nack",
        "a=rtpmap:97 rtx/90000",
        "a=fmtp:97 apt=96",
        "a=ssrc-group:FID 111111 111112",
        "a=ssrc:111112 cname:stream7",
        "a=rtcp-rsize",
        "a=rtcp-xr:rcvr-rtt=all",
    ] {
        assert!(video.contains(&line), "{line}");
    }
    // It offers none for audio.
    let audio = lines(&answer, 2);
    assert!(
        !audio
            .iter()
            .any(|line| line.contains("nack") || line.contains("FID"))
    );
    assert!(audio.contains(&"a=fmtp:111 minptime=10;useinbandfec=1"));
    assert!(audio.contains(&"a=ssrc:222222 cname:stream7"));
    let application = lines(&answer, 3);
    assert_eq!(
        application[0],
        "m=application 0 UDP/DTLS/SCTP webrtc-datachannel"
    );
}

#[test]
fn an_inactive_section_stays_in_the_group_and_tells_nothing_to_send() {
    let text = include_str!("../testdata/chromium-view.sdp");
    let answer = answer_to_viewer(text, None, Some(&codec("opus")));
    assert!(lines(&answer, 0).contains(&"a=group:BUNDLE 0 1"));
    let video = lines(&answer, 1);
    assert_eq!(video[0], "m=video 9 UDP/TLS/RTP/SAVPF 96");
    assert!(video.contains(&"a=inactive") && video.contains(&"a=rtcp-mux"));
    assert!(
        !video
            .iter()
            .any(|line| line.starts_with("a=ssrc") || line.starts_with("a=msid"))
    );
}

#[test]
fn what_describes_the_offerer_s_stream_is_not_repeated() {
    assert_eq!(
        answered_parameters(
            CodecName::H264,
            "packetization-mode=1; sprop-parameter-sets=Z0LA,aM4=;profile-level-id=42c01f"
        ),
        "packetization-mode=1;profile-level-id=42c01f"
    );
}

#[test]
fn real_offers_have_as_many_sections_as_their_answers() {
    for text in [
        include_str!("../testdata/chromium-publish.sdp"),
        include_str!("../testdata/chromium-simulcast.sdp"),
        include_str!("../testdata/aiortc-publish.sdp"),
        include_str!("../testdata/gstreamer-publish.sdp"),
    ] {
        let answer = answer_to_publisher(text);
        assert_eq!(answer.matches("m=").count(), text.matches("\nm=").count());
        assert!(!answer.contains("simulcast") && !answer.contains("a=rid"));
        assert!(SdpAnswer::from_sdp_string(&answer).is_ok());
    }
    for name in ["VP8", "H264"] {
        let text = include_str!("../testdata/aiortc-view.sdp");
        let answer = answer_to_viewer(text, Some(&codec(name)), Some(&codec("opus")));
        assert!(SdpAnswer::from_sdp_string(&answer).is_ok());
    }
}

/// A str0m client, and its offer of one video and one audio section.
#[expect(
    clippy::disallowed_methods,
    reason = "a client of its own needs some time to start at"
)]
fn client(direction: Direction) -> (Rtc, String, SdpPendingOffer, [Mid; 2]) {
    let mut client = Rtc::new(Instant::now());
    let mut change = client.sdp_api();
    let video = change.add_media(Str0mKind::Video, direction, None, None, None);
    let audio = change.add_media(Str0mKind::Audio, direction, None, None, None);
    change.add_channel("unused".to_owned());
    let (offer, pending) = change.apply().unwrap();
    (client, offer.to_sdp_string(), pending, [video, audio])
}

#[test]
fn str0m_as_a_publisher_accepts_the_answer() {
    let (mut client, offer, pending, [video, audio]) = client(Direction::SendOnly);
    let answer = SdpAnswer::from_sdp_string(&answer_to_publisher(&offer)).unwrap();
    client.sdp_api().accept_answer(pending, answer).unwrap();
    for mid in [video, audio] {
        let media = client.media(mid).unwrap();
        assert_eq!(media.direction(), Direction::SendOnly);
        assert_eq!(
            media.remote_pts().len(),
            1,
            "the codec, and its RTX is not counted"
        );
    }
}

#[test]
fn str0m_as_a_viewer_accepts_the_answer_and_expects_our_sources() {
    for (name, expected) in [
        ("VP8", Str0mCodec::Vp8),
        ("H264", Str0mCodec::H264),
        ("AV1", Str0mCodec::Av1),
    ] {
        let (mut client, offer, pending, [video, audio]) = client(Direction::RecvOnly);
        let answer = answer_to_viewer(&offer, Some(&codec(name)), Some(&codec("opus")));
        let answer = SdpAnswer::from_sdp_string(&answer).unwrap();
        client.sdp_api().accept_answer(pending, answer).unwrap();
        for mid in [video, audio] {
            assert_eq!(client.media(mid).unwrap().direction(), Direction::RecvOnly);
        }
        let payload_type = *client.media(video).unwrap().remote_pts().first().unwrap();
        let params = client
            .codec_config()
            .iter()
            .find(|params| params.pt() == payload_type);
        assert_eq!(params.unwrap().spec().codec, expected);
        let mut api = client.direct_api();
        let stream = api.stream_rx(&SOURCES.video.ssrc.into());
        let rtx = stream.and_then(|stream| stream.rtx());
        assert_eq!(rtx, Some(SOURCES.video.rtx_ssrc.into()));
        assert!(
            client
                .direct_api()
                .stream_rx(&SOURCES.audio.ssrc.into())
                .is_some()
        );
    }
}
