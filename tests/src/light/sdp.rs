//! The offer of a light viewer, and what it reads from the answer.

use std::net::SocketAddr;
use std::time::Instant;

use super::ice::Ice;
use super::source::Source;

/// Its own half of the user name (RFC 8445 §7.2.2). All are called the same: a server tells its
/// sessions apart by its own half.
const UFRAG: &str = "light";

/// The payload type of repairs. It stands in the offer below, and whoever answers keeps it.
pub(super) const RTX: u8 = 97;

const VIDEO: [&str; 8] = [
    "m=video 9 UDP/TLS/RTP/SAVPF 96 97",
    "a=mid:0",
    "a=rtpmap:96 VP8/90000",
    "a=rtcp-fb:96 ccm fir",
    "a=rtcp-fb:96 nack",
    "a=rtcp-fb:96 nack pli",
    "a=rtpmap:97 rtx/90000",
    "a=fmtp:97 apt=96",
];

const AUDIO: [&str; 4] = [
    "m=audio 9 UDP/TLS/RTP/SAVPF 111",
    "a=mid:1",
    "a=rtpmap:111 opus/48000/2",
    "a=rtcp-fb:111 nack",
];

/// VP8 with repairs by RTX, and Opus with repairs by NACK alone.
pub(super) fn offer(fingerprint: &str) -> String {
    let mut offer = String::new();
    let mut line = |line: &str| {
        offer.push_str(line);
        offer.push_str("\r\n");
    };
    for text in ["v=0", "o=- 1 1 IN IP4 0.0.0.0", "s=-", "t=0 0"] {
        line(text);
    }
    line("a=group:BUNDLE 0 1");
    for section in [&VIDEO[..], &AUDIO[..]] {
        section.iter().for_each(|text| line(text));
        line("c=IN IP4 0.0.0.0");
        line("a=recvonly");
        line("a=rtcp-mux");
        line("a=rtcp-rsize");
        line("a=setup:actpass");
        line(&format!("a=ice-ufrag:{UFRAG}"));
        line("a=ice-pwd:a-password-that-nobody-asks-for");
        line(&format!("a=fingerprint:sha-256 {fingerprint}"));
    }
    offer
}

/// What an answer says that matters here.
pub(super) struct Answer {
    pub(super) ice: Ice,
    /// Of video, then of audio.
    pub(super) sources: [Option<Source>; 2],
}

impl Answer {
    pub(super) fn parse(now: Instant, answer: &str) -> Result<Self, String> {
        let value = |key: &str| {
            let mut lines = answer.lines();
            lines
                .find_map(|line| line.strip_prefix(key))
                .ok_or_else(|| format!("the answer has no {key}"))
        };
        if value("a=setup:")? != "passive" {
            return Err("the server wants to begin the handshake".to_owned());
        }
        let ufrag = value("a=ice-ufrag:")?;
        let mut candidates = answer.lines().filter_map(candidate);
        let address = candidates
            .next()
            .ok_or("the answer has no candidate by UDP")?;
        let username = format!("{ufrag}:{UFRAG}");
        let password = value("a=ice-pwd:")?.to_owned();
        Ok(Self {
            ice: Ice::new(now, address, username, password),
            sources: ["m=video", "m=audio"].map(|kind| source(answer, kind)),
        })
    }
}

/// The address of a host candidate (RFC 8839 §5.1).
fn candidate(line: &str) -> Option<SocketAddr> {
    let words: Vec<_> = line
        .strip_prefix("a=candidate:")?
        .split_whitespace()
        .collect();
    let [_, "1", transport, _, ip, port, "typ", "host", ..] = words[..] else {
        return None;
    };
    if !transport.eq_ignore_ascii_case("udp") {
        return None;
    }
    Some(SocketAddr::new(ip.parse().ok()?, port.parse().ok()?))
}

/// The sources of the section that begins so.
fn source(answer: &str, begin: &str) -> Option<Source> {
    let mut lines = answer.lines().skip_while(|line| !line.starts_with(begin));
    lines.next()?;
    let section = || lines.clone().take_while(|line| !line.starts_with("m="));
    let number = |word: &str| word.parse::<u32>().ok();
    let group = section().find_map(|line| line.strip_prefix("a=ssrc-group:FID "));
    if let Some((ssrc, rtx)) = group.and_then(|group| group.trim().split_once(' ')) {
        return Some(Source::new(number(ssrc)?, number(rtx)));
    }
    let line = section().find_map(|line| line.strip_prefix("a=ssrc:"))?;
    Some(Source::new(number(line.split(' ').next()?)?, None))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_tells_the_server_and_the_sources() {
        let answer = [
            "v=0",
            "m=video 9 UDP/TLS/RTP/SAVPF 96 97",
            "a=candidate:1 1 tcp 1 192.0.2.1 9 typ host tcptype passive",
            "a=candidate:1 1 udp 2130706431 192.0.2.1 8189 typ host",
            "a=ice-ufrag:theirs",
            "a=ice-pwd:secret",
            "a=setup:passive",
            "a=ssrc-group:FID 11 12",
            "a=ssrc:11 cname:x",
            "m=audio 9 UDP/TLS/RTP/SAVPF 111",
            "a=ssrc:13 cname:x",
        ];
        let answer = Answer::parse(Instant::now(), &answer.join("\r\n")).unwrap();
        assert_eq!(answer.ice.server().to_string(), "192.0.2.1:8189");
        assert_eq!(answer.ice.username(), "theirs:light");
        let sources = answer.sources.map(|source| {
            let source = source.unwrap();
            (source.ssrc(), source.rtx_ssrc())
        });
        assert_eq!(sources, [(11, Some(12)), (13, None)]);
    }

    #[test]
    fn an_answer_that_lacks_something_is_refused() {
        for answer in ["a=setup:passive\r\na=ice-ufrag:x\r\n", "a=setup:active\r\n"] {
            assert!(Answer::parse(Instant::now(), answer).is_err());
        }
    }
}
