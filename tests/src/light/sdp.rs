//! The offer of a light viewer, and what it reads from the answer.

use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

use str0m::format::Codec;

use super::ice::{Ice, PASSWORD, UFRAG};
use super::source::Source;

/// The payload type of VP8's repairs, which whoever answers keeps.
pub(super) const RTX: u8 = 97;

/// Payload types with their codecs; repairs of each have the next one.
const VIDEO: [(u8, Codec, &str, &str); 5] = [
    (96, Codec::Vp8, "VP8", ""),
    (
        98,
        Codec::H264,
        "H264",
        "level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42e01f",
    ),
    (
        100,
        Codec::H264,
        "H264",
        "level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=640c34",
    ),
    (102, Codec::Vp9, "VP9", "profile-id=0"),
    (104, Codec::Av1, "AV1", ""),
];

const _: () = assert!(VIDEO[0].0 + 1 == RTX);

const AUDIO: [&str; 4] = [
    "m=audio 9 UDP/TLS/RTP/SAVPF 111",
    "a=mid:1",
    "a=rtpmap:111 opus/48000/2",
    "a=rtcp-fb:111 nack",
];

/// These codecs with repairs by RTX, and Opus with repairs by NACK alone. Where the viewer's address is
/// named, a server that is not lite can ask it.
pub(super) fn offer(fingerprint: &str, codecs: &[Codec], address: Option<SocketAddr>) -> String {
    let mut lines: Vec<String> = ["v=0", "o=- 1 1 IN IP4 0.0.0.0", "s=-", "t=0 0"]
        .map(str::to_owned)
        .to_vec();
    lines.push("a=group:BUNDLE 0 1".to_owned());
    for section in [video(codecs), AUDIO.map(str::to_owned).to_vec()] {
        lines.extend(section);
        lines.extend([
            "c=IN IP4 0.0.0.0".to_owned(),
            "a=recvonly".to_owned(),
            "a=rtcp-mux".to_owned(),
            "a=rtcp-rsize".to_owned(),
            "a=setup:actpass".to_owned(),
            format!("a=ice-ufrag:{UFRAG}"),
            format!("a=ice-pwd:{PASSWORD}"),
            format!("a=fingerprint:sha-256 {fingerprint}"),
        ]);
        if let Some(address) = address {
            let (ip, port) = (address.ip(), address.port());
            lines.push(format!(
                "a=candidate:1 1 udp 2113937151 {ip} {port} typ host"
            ));
            lines.push("a=end-of-candidates".to_owned());
        }
    }
    lines.iter().map(|line| format!("{line}\r\n")).collect()
}

fn video(codecs: &[Codec]) -> Vec<String> {
    let offered = || VIDEO.iter().filter(|(_, codec, ..)| codecs.contains(codec));
    let types = offered().map(|(number, ..)| format!(" {number} {}", number + 1));
    let mut lines = vec![
        format!("m=video 9 UDP/TLS/RTP/SAVPF{}", types.collect::<String>()),
        "a=mid:0".to_owned(),
    ];
    for (number, _, name, parameters) in offered() {
        let rtx = number + 1;
        lines.push(format!("a=rtpmap:{number} {name}/90000"));
        if !parameters.is_empty() {
            lines.push(format!("a=fmtp:{number} {parameters}"));
        }
        lines.extend(["ccm fir", "nack", "nack pli"].map(|it| format!("a=rtcp-fb:{number} {it}")));
        lines.push(format!("a=rtpmap:{rtx} rtx/90000"));
        lines.push(format!("a=fmtp:{rtx} apt={number}"));
    }
    lines
}

/// What an answer says that matters here.
pub(super) struct Answer {
    pub(super) ice: Ice,
    /// The server begins the handshake.
    pub(super) is_server_active: bool,
    /// Of video, then of audio.
    pub(super) sources: [Option<Source>; 2],
    /// The same.
    pub(super) formats: [Option<Format>; 2],
}

/// How a stream comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Format {
    /// Of the media itself.
    pub(super) payload_type: u8,
    /// Of its repairs.
    pub(super) rtx: Option<u8>,
    pub(super) codec: Codec,
}

impl Answer {
    /// Of several candidates the one at `near` is tried first.
    pub(super) fn parse(now: Instant, answer: &str, near: Option<IpAddr>) -> Result<Self, String> {
        let value = |key: &str| {
            let mut lines = answer.lines();
            lines
                .find_map(|line| line.strip_prefix(key))
                .map(str::trim)
                .ok_or_else(|| format!("the answer has no {key}"))
        };
        let is_server_active = match value("a=setup:")? {
            "passive" => false,
            "active" => true,
            other => return Err(format!("the answer has a=setup:{other}")),
        };
        let ufrag = value("a=ice-ufrag:")?;
        let password = value("a=ice-pwd:")?.to_owned();
        let mut servers: Vec<_> = answer.lines().filter_map(candidate).collect();
        // Every section may name them.
        let mut seen = Vec::new();
        servers.retain(|server| !seen.contains(server) && (seen.push(*server), true).1);
        servers.sort_by_key(|server| Some(server.ip()) != near);
        let kinds = ["m=video", "m=audio"];
        Ok(Self {
            ice: Ice::new(now, &servers, format!("{ufrag}:{UFRAG}"), password),
            is_server_active,
            sources: kinds.map(|kind| source(answer, kind)),
            formats: kinds.map(|kind| format(answer, kind)),
        })
    }
}

/// The address of a candidate by UDP (RFC 8839 §5.1), of whatever type.
fn candidate(line: &str) -> Option<SocketAddr> {
    let words: Vec<_> = line
        .strip_prefix("a=candidate:")?
        .split_whitespace()
        .collect();
    let [_, "1", transport, _, ip, port, "typ", ..] = words[..] else {
        return None;
    };
    if !transport.eq_ignore_ascii_case("udp") {
        return None;
    }
    Some(SocketAddr::new(ip.parse().ok()?, port.parse().ok()?))
}

/// The lines of the section that begins so, its first one included.
fn section<'a>(answer: &'a str, begin: &str) -> impl Iterator<Item = &'a str> + Clone {
    let at = answer.lines().position(|line| line.starts_with(begin));
    let lines = answer.lines().skip(at.unwrap_or(usize::MAX));
    let is_first = |(n, line): &(usize, &str)| *n == 0 || !line.starts_with("m=");
    lines.enumerate().take_while(is_first).map(|(_, line)| line)
}

/// The sources of the section that begins so.
fn source(answer: &str, begin: &str) -> Option<Source> {
    let mut lines = section(answer, begin);
    let number = |word: &str| word.parse::<u32>().ok();
    let group = lines
        .clone()
        .find_map(|line| line.strip_prefix("a=ssrc-group:FID "));
    if let Some((ssrc, rtx)) = group.and_then(|group| group.trim().split_once(' ')) {
        return Some(Source::new(number(ssrc)?, number(rtx)));
    }
    let line = lines.find_map(|line| line.strip_prefix("a=ssrc:"))?;
    Some(Source::new(number(line.split(' ').next()?)?, None))
}

/// What the first payload type of the section stands for.
fn format(answer: &str, begin: &str) -> Option<Format> {
    let mut lines = section(answer, begin);
    let first = lines.clone().next()?;
    let mut words = first.split_whitespace();
    let port = words.nth(1)?;
    let payload_type: u8 = words.nth(1)?.parse().ok().filter(|_| port != "0")?;
    let apt = format!("apt={payload_type}");
    let rtx = lines.clone().find_map(|line| {
        let (rtx, parameters) = line.strip_prefix("a=fmtp:")?.split_once(' ')?;
        let is_its = parameters.split(';').any(|part| part.trim() == apt);
        rtx.parse().ok().filter(|_| is_its)
    });
    let rtpmap = format!("a=rtpmap:{payload_type} ");
    let encoding = lines.find_map(|line| line.strip_prefix(rtpmap.as_str()))?;
    let name = encoding.split('/').next()?;
    let offered = VIDEO
        .iter()
        .find(|(_, _, offered, _)| offered.eq_ignore_ascii_case(name));
    let codec = match offered {
        Some((_, codec, ..)) => *codec,
        None if name.eq_ignore_ascii_case("opus") => Codec::Opus,
        None => return None,
    };
    Some(Format {
        payload_type,
        rtx,
        codec,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANSWER: [&str; 12] = [
        "v=0",
        "m=video 9 UDP/TLS/RTP/SAVPF 98 99",
        "a=rtpmap:98 H264/90000",
        "a=fmtp:99 apt=98",
        "a=candidate:1 1 tcp 1 192.0.2.1 9 typ host tcptype passive",
        "a=candidate:1 1 udp 2130706431 192.0.2.1 8189 typ host",
        "a=ice-ufrag:theirs",
        "a=ice-pwd:secret",
        "a=setup:passive",
        "a=ssrc-group:FID 11 12",
        "a=ssrc:11 cname:x",
        "m=audio 9 UDP/TLS/RTP/SAVPF 111",
    ];

    #[test]
    fn an_answer_tells_the_server_and_the_sources() {
        let text = [&ANSWER[..], &["a=rtpmap:111 OPUS/48000/2", "a=ssrc:13 x"]].concat();
        let answer = Answer::parse(Instant::now(), &text.join("\r\n"), None).unwrap();
        assert_eq!(answer.ice.destination().to_string(), "192.0.2.1:8189");
        assert_eq!(answer.ice.username(), "theirs:light");
        let sources = answer.sources.map(|source| {
            let source = source.unwrap();
            (source.ssrc(), source.rtx_ssrc())
        });
        assert_eq!(sources, [(11, Some(12)), (13, None)]);
        let format = |payload_type, rtx, codec| {
            Some(Format {
                payload_type,
                rtx,
                codec,
            })
        };
        let formats = [
            format(98, Some(99), Codec::H264),
            format(111, None, Codec::Opus),
        ];
        assert_eq!(answer.formats, formats);
    }

    #[test]
    fn the_nearest_of_several_addresses_comes_first() {
        let second = "a=candidate:1 1 udp 2130706431 127.0.0.1 8189 typ host";
        let text = [&ANSWER[..], &[second, second]].concat().join("\r\n");
        let near = Some(IpAddr::from([127, 0, 0, 1]));
        let answer = Answer::parse(Instant::now(), &text, near).unwrap();
        let servers: Vec<_> = answer.ice.servers().map(|s| s.to_string()).collect();
        assert_eq!(servers, ["127.0.0.1:8189", "192.0.2.1:8189"]);
    }

    #[test]
    fn an_answer_that_lacks_something_is_refused() {
        for answer in [
            "a=setup:passive\r\na=ice-ufrag:x\r\n",
            "a=setup:actpass\r\n",
        ] {
            assert!(Answer::parse(Instant::now(), answer, None).is_err());
        }
    }
}
