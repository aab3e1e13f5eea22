//! SDP offers, answered for a publisher and for viewers of several streams.
//!
//! An answer has the offer's sections in their order, with their names; takes at most one of each
//! kind, with a payload type that was offered there; is bounded; and can be read again.

use kvill_core::fuzzing::{Answered, answer_publisher, answer_viewer, sections};

/// A codec of video with its parameters, and one of audio.
type Stream = (Option<(&'static str, &'static str)>, Option<&'static str>);

/// Streams that viewers ask for.
const STREAMS: [Stream; 6] = [
    (Some(("VP8", "")), Some("opus")),
    (
        Some(("H264", "profile-level-id=42e01f;packetization-mode=1")),
        Some("opus"),
    ),
    (Some(("VP9", "profile-id=0")), None),
    (Some(("AV1", "")), Some("PCMU")),
    (Some(("H265", "profile-id=1")), None),
    (None, Some("opus")),
];

/// What an answer may have beyond what was offered, and per section.
const ANSWER_LEN_MAX: usize = 1024;

/// The target.
pub fn run(data: &[u8]) {
    check(data, answer_publisher(data), "a=recvonly");
    for (video, audio) in STREAMS {
        check(data, answer_viewer(data, video, audio), "a=sendonly");
    }
}

fn check(offer: &[u8], answered: Result<Answered, (u16, String)>, direction: &str) {
    let Answered { answer, taken } = match answered {
        Ok(answered) => answered,
        Err((status, why)) => {
            assert!(matches!(status, 400 | 406), "{status} {why}");
            assert!(why.len() < 2048, "a sentence of {} bytes", why.len());
            return;
        }
    };
    let offered = sections(offer).expect("what was answered can be read");
    let again = sections(answer.as_bytes()).expect("an answer is SDP, too");
    assert_eq!(offered, again, "{answer}");
    let room = offer.len() + ANSWER_LEN_MAX * (2 + offered.len());
    assert!(answer.len() <= room, "{} bytes", answer.len());
    assert!(
        answer
            .lines()
            .all(|line| line.as_bytes().get(1) == Some(&b'='))
    );

    assert!((1..=2).contains(&taken.len()));
    let offer = String::from_utf8_lossy(offer);
    let all = media(&answer);
    for (place, payload_type) in &taken {
        let (head, lines) = &all[*place];
        let is_theirs = |(_, format): (usize, &str)| format.parse() == Ok(*payload_type);
        let first = formats(head).next();
        assert!(first.is_some_and(|format| is_theirs((0, format))), "{head}");
        let offered = media(&offer);
        assert!(formats(offered[*place].0).enumerate().any(is_theirs));
        assert!(lines.contains(&direction), "{answer}");
    }
    let kinds: Vec<_> = taken.iter().map(|(place, _)| &offered[*place].0).collect();
    assert!(kinds.len() < 2 || kinds[0] != kinds[1], "two of a kind");
    let active = all.iter().filter(|(_, lines)| lines.contains(&direction));
    assert_eq!(active.count(), taken.len(), "{answer}");
}

/// The `m=` lines, each with the lines that follow it.
fn media(text: &str) -> Vec<(&str, Vec<&str>)> {
    let mut media: Vec<(&str, Vec<&str>)> = Vec::new();
    for line in text.split(['\n', '\r']) {
        match (line.strip_prefix("m="), media.last_mut()) {
            (Some(head), _) => media.push((head, Vec::new())),
            (None, Some((_, lines))) => lines.push(line),
            (None, None) => {}
        }
    }
    media
}

fn formats(head: &str) -> impl Iterator<Item = &str> {
    head.split(' ').skip(3)
}
