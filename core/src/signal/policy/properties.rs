//! What holds of the plan for any offer, and of the answer that is made of it.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;
use crate::signal::answer::{self, Local, Source, Sources};

const LOCAL: Local<'_> = Local {
    session_id: 4_711,
    ufrag: "ourname",
    pwd: "ourpasswordof22bytes",
    fingerprint: &[0xab; 32],
    candidates: "a=candidate:1 1 udp 2130706431 192.0.2.1 8189 typ host\r\n",
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

/// What follows a payload type in its `a=rtpmap`, and its parameters.
const CODECS: [(&str, &str); 14] = [
    ("VP8/90000", ""),
    (
        "H264/90000",
        "level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42e01f",
    ),
    ("H264/90000", "packetization-mode=0;profile-level-id=640c1f"),
    ("H264/90000", ""),
    ("H265/90000", "profile-id=1;level-id=93"),
    ("VP9/90000", "profile-id=2"),
    ("vp9/90000", ""),
    ("AV1/90000", "profile=0;level-idx=5"),
    ("opus/48000/2", "minptime=10;useinbandfec=1"),
    ("PCMU/8000", ""),
    ("G722/8000/1", ""),
    ("theora/90000", ""),
    ("red/48000/2", "111/111"),
    ("ulpfec/90000", ""),
];

/// A payload type with its codec, and whether it has one for repairs.
fn payload() -> impl Strategy<Value = (u8, usize, bool)> {
    (96_u8..=127, 0..CODECS.len(), any::<bool>())
}

/// One section. Its name is its number here, and may be missing.
fn section() -> impl Strategy<Value = String> {
    let kind = prop_oneof![
        4 => Just("video"),
        4 => Just("audio"),
        1 => Just("application"),
        1 => Just("text"),
    ];
    let direction = prop_oneof![
        Just("a=sendonly\r\n"),
        Just("a=recvonly\r\n"),
        Just("a=sendrecv\r\n"),
        Just("a=inactive\r\n"),
        Just(""),
    ];
    let often = || prop::bool::weighted(0.9);
    let flags = (often(), often(), any::<bool>(), any::<bool>(), often());
    (
        kind,
        direction,
        prop::collection::vec(payload(), 0..5),
        flags,
    )
        .prop_map(|(kind, direction, payloads, flags)| {
            let (has_mid, has_mux, is_static, with_sources, has_port) = flags;
            let mut formats = String::new();
            let mut lines = direction.to_owned();
            if is_static {
                formats += " 0 8 13";
            }
            for (payload_type, codec, has_rtx) in payloads {
                let (name, fmtp) = CODECS[codec];
                formats += &format!(" {payload_type}");
                lines += &format!("a=rtpmap:{payload_type} {name}\r\n");
                lines += &format!("a=rtcp-fb:{payload_type} nack pli\r\n");
                if !fmtp.is_empty() {
                    lines += &format!("a=fmtp:{payload_type} {fmtp}\r\n");
                }
                if has_rtx {
                    let rtx = 35 + payload_type % 29;
                    formats += &format!(" {rtx}");
                    lines +=
                        &format!("a=rtpmap:{rtx} rtx/90000\r\na=fmtp:{rtx} apt={payload_type}\r\n");
                }
            }
            if with_sources {
                lines += "a=ssrc-group:FID 7 8\r\na=ssrc:7 cname:x\r\na=ssrc:8 cname:x\r\n";
            }
            if has_mid {
                lines += "a=mid:NAME\r\n";
            }
            if has_mux {
                lines += "a=rtcp-mux\r\n";
            }
            if formats.is_empty() {
                formats += " 13";
            }
            let (port, protocol) = match (has_port, kind) {
                (_, "application") => (9, "UDP/DTLS/SCTP"),
                (true, _) => (9, "UDP/TLS/RTP/SAVPF"),
                (false, _) => (0, "UDP/TLS/RTP/SAVPF"),
            };
            if port == 0 && has_mux {
                lines += "a=bundle-only\r\n";
            }
            format!("m={kind} {port} {protocol}{formats}\r\n{lines}")
        })
}

/// An offer with ICE and DTLS that work, nearly always.
fn any_offer() -> impl Strategy<Value = Offer> {
    let bundles = prop::collection::vec(prop::bool::weighted(0.95), 6);
    let setup = prop_oneof![Just("actpass"), Just("active"), Just("passive")];
    (prop::collection::vec(section(), 1..6), bundles, setup).prop_map(
        |(sections, bundles, setup)| {
            let fingerprint = ["AB"; 32].join(":");
            let mut group = String::new();
            let mut media = String::new();
            for (place, (section, is_bundled)) in sections.iter().zip(bundles).enumerate() {
                if is_bundled {
                    group += &format!(" m{place}");
                }
                media += &section.replace("NAME", &format!("m{place}"));
            }
            let text = format!(
                "v=0\r\na=group:BUNDLE{group}\r\na=ice-ufrag:name\r\na=ice-pwd:secret\r\n\
                 a=setup:{setup}\r\na=fingerprint:sha-256 {fingerprint}\r\n{media}"
            );
            Offer::parse(text.as_bytes()).unwrap()
        },
    )
}

/// A stream that a viewer may wish to see.
fn stream() -> impl Strategy<Value = (Option<Codec>, Option<Codec>)> {
    let codec = |range: std::ops::Range<usize>| {
        prop::option::weighted(0.8, range).prop_map(|which| {
            let (name, fmtp) = CODECS[which?];
            let (name, clock) = name.split_once('/')?;
            let (clock, channels) = clock.split_once('/').unwrap_or((clock, "1"));
            let (clock, channels) = (clock.parse().ok()?, channels.parse().ok()?);
            Codec::from_sdp(name, clock, channels, fmtp)
        })
    };
    (codec(0..8), codec(8..11)).prop_filter("a path has a track", |(video, audio)| {
        video.is_some() || audio.is_some()
    })
}

/// What holds of every plan.
fn is_sound(offer: &Offer, plan: &Plan) -> Result<(), TestCaseError> {
    prop_assert_eq!(plan.fates.len(), offer.sections.len());
    prop_assert!(plan.tracks().next().is_some());
    let mut mids = BTreeSet::new();
    let mut sources = BTreeSet::new();
    for track in plan.tracks() {
        let section = &offer.sections[track.m_line];
        prop_assert_eq!(plan.fates[track.m_line], Fate::Taken(track.kind));
        prop_assert_eq!(section.kind, Some(track.kind));
        prop_assert!(section.rtcp_mux);
        prop_assert!(mids.insert(&track.mid));
        let is_its = |payload_type: u8| move |p: &&Payload| p.payload_type == payload_type;
        let payload = section.payloads.iter().find(is_its(track.payload_type));
        let codec = payload.and_then(|payload| payload.codec.as_ref());
        prop_assert_eq!(codec, Some(&track.codec));
        prop_assert_eq!(track.codec.kind(), track.kind);
        if let Some(rtx) = track.rtx_payload_type {
            let repairs = section
                .payloads
                .iter()
                .find(is_its(rtx))
                .and_then(|p| p.repairs);
            prop_assert_eq!(repairs, Some(track.payload_type));
        }
        for source in track.ssrc.iter().chain(&track.rtx_ssrc) {
            prop_assert!(sources.insert(*source), "one source twice");
        }
    }
    let taken = plan
        .fates
        .iter()
        .filter(|fate| matches!(fate, Fate::Taken(_)));
    prop_assert_eq!(taken.count(), plan.tracks().count());
    Ok(())
}

/// What holds of every answer: the same sections by the same names, and of those that are taken
/// one codec.
fn answers(text: &str, offer: &Offer, plan: &Plan) -> Result<(), TestCaseError> {
    let answer = Offer::parse(text.as_bytes());
    prop_assert!(answer.is_ok(), "{:?} of {}", answer, text);
    let answer = answer.unwrap();
    prop_assert_eq!(answer.sections.len(), offer.sections.len());
    for (place, (ours, theirs)) in answer.sections.iter().zip(&offer.sections).enumerate() {
        prop_assert_eq!(&ours.mid, &theirs.mid);
        prop_assert_eq!(&ours.media, &theirs.media);
        prop_assert_eq!(&ours.protocol, &theirs.protocol);
        let known: Vec<_> = ours.known().collect();
        let track = plan.tracks().find(|track| track.m_line == place);
        match plan.fates[place] {
            Fate::Rejected => prop_assert_eq!(ours.port, 0),
            Fate::Inactive => prop_assert_eq!(ours.direction, Direction::Inactive),
            Fate::Taken(_) => {
                prop_assert_eq!(known.len(), 1, "{}", text);
                let payload_type = track.map(|track| track.payload_type);
                prop_assert_eq!(Some(known[0].0.payload_type), payload_type);
                let offered = theirs
                    .known()
                    .find(|(p, _)| Some(p.payload_type) == payload_type);
                prop_assert_eq!(offered.map(|(_, codec)| codec.name), Some(known[0].1.name));
                prop_assert!(ours.rtcp_mux && ours.port != 0);
            }
        }
        prop_assert_eq!(track.is_some(), matches!(plan.fates[place], Fate::Taken(_)));
    }
    let stays = |mid: &&String| {
        let place = offer
            .sections
            .iter()
            .position(|section| section.mid.as_ref() == Some(*mid));
        place.is_some_and(|place| plan.fates[place] != Fate::Rejected)
    };
    let bundled: Vec<_> = offer.bundle.iter().filter(stays).collect();
    prop_assert!(answer.bundle.iter().eq(bundled));
    Ok(())
}

proptest! {
    #[test]
    fn a_publisher_s_plan_is_sound_and_so_is_its_answer(offer in any_offer()) {
        match publish(&offer) {
            Ok(plan) => {
                is_sound(&offer, &plan)?;
                for track in plan.tracks() {
                    prop_assert!(offer.sections[track.m_line].direction.sends());
                }
                answers(&answer::publish(&offer, &plan, &LOCAL), &offer, &plan)?;
            }
            Err(refusal) => prop_assert!(matches!(refusal.status().as_u16(), 400 | 406)),
        }
    }

    #[test]
    fn a_viewer_is_answered_with_what_it_can_play(
        offer in any_offer(),
        (video, audio) in stream(),
    ) {
        match view(&offer, video.as_ref(), audio.as_ref()) {
            Ok(plan) => {
                is_sound(&offer, &plan)?;
                for track in plan.tracks() {
                    let section = &offer.sections[track.m_line];
                    prop_assert!(section.direction.receives());
                    let stream = match track.kind {
                        MediaKind::Video => video.as_ref(),
                        MediaKind::Audio => audio.as_ref(),
                    };
                    let fits = |codec: &Codec| stream.map(|stream| stream.fits(codec));
                    let best = section.known().map(|(_, codec)| fits(codec));
                    let has_exact = best.into_iter().any(|fit| fit == Some(Match::Exact));
                    let expected = if has_exact { Match::Exact } else { Match::Compatible };
                    prop_assert_eq!(fits(&track.codec), Some(expected));
                }
                answers(&answer::view(&offer, &plan, &LOCAL, &SOURCES), &offer, &plan)?;
            }
            Err(refusal) => prop_assert!(matches!(refusal.status().as_u16(), 400 | 406)),
        }
    }
}
