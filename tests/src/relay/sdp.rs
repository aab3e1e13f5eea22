//! What a relay changes in descriptions that pass through it, and what it reads there.

use std::collections::HashSet;
use std::net::SocketAddr;

/// An answer whose only candidate is the relay, and the first candidate that it had for UDP on
/// this machine. `None` if it had none.
pub(super) fn led_through(answer: &str, relay: SocketAddr) -> Option<(String, SocketAddr)> {
    let mut server = None;
    let mut led = String::with_capacity(answer.len());
    for line in answer.split_inclusive("\r\n") {
        let Some(candidate) = line.strip_prefix("a=candidate:") else {
            led += line;
            continue;
        };
        let mut words: Vec<_> = candidate.split(' ').map(str::to_owned).collect();
        let Some(address) = udp_address(&words).filter(|to| to.ip() == relay.ip()) else {
            continue;
        };
        // The same one stands in each section.
        if *server.get_or_insert(address) == address {
            words[4] = relay.ip().to_string();
            words[5] = relay.port().to_string();
            led += "a=candidate:";
            led += &words.join(" ");
        }
    }
    Some((led, server?))
}

/// `foundation component transport priority address port …` (RFC 8839).
fn udp_address(words: &[String]) -> Option<SocketAddr> {
    let [_, _, transport, _, address, port, ..] = words else {
        return None;
    };
    if !transport.eq_ignore_ascii_case("udp") {
        return None;
    }
    Some(SocketAddr::new(address.parse().ok()?, port.parse().ok()?))
}

/// The payload types of RTX (RFC 4588).
pub(super) fn rtx_payload_types(sdp: &str) -> HashSet<u8> {
    sdp.lines()
        .filter_map(|line| line.strip_prefix("a=rtpmap:")?.split_once(' '))
        .filter(|(_, encoding)| encoding.to_ascii_lowercase().starts_with("rtx/"))
        .filter_map(|(payload_type, _)| payload_type.parse().ok())
        .collect()
}

/// An offer of somebody who asks for no packet again: without `nack` (but with `nack pli`, which
/// asks for a keyframe) and without RTX.
pub(super) fn without_repair(offer: &str) -> String {
    let rtx = rtx_payload_types(offer);
    let is_rtx = |word: &str| word.parse().is_ok_and(|number| rtx.contains(&number));
    let mut bare = String::with_capacity(offer.len());
    for line in offer.split_inclusive("\r\n") {
        let text = line.trim_end();
        if text.starts_with("m=") {
            let words = text.split(' ').enumerate();
            // m=video PORT PROTOCOL PAYLOAD-TYPE…
            let kept = words.filter(|(at, word)| *at < 3 || !is_rtx(word));
            let kept: Vec<_> = kept.map(|(_, word)| word).collect();
            bare += &(kept.join(" ") + "\r\n");
            continue;
        }
        let about = ["a=rtpmap:", "a=fmtp:", "a=rtcp-fb:"]
            .iter()
            .find_map(|name| text.strip_prefix(name)?.split_once(' '));
        let is_dropped = match about {
            Some((payload_type, _)) if is_rtx(payload_type) => true,
            Some((_, value)) => text.starts_with("a=rtcp-fb:") && value.trim() == "nack",
            None => text.starts_with("a=ssrc-group:FID "),
        };
        if !is_dropped {
            bare += line;
        }
    }
    bare
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_leads_to_the_relay_and_nowhere_else() {
        let answer = "m=audio 9 X 111\r\n\
            a=candidate:1 1 tcp 9 127.0.0.1 80 typ host tcptype passive\r\n\
            a=candidate:2 1 udp 8 127.0.0.1 8189 typ host\r\n\
            a=candidate:3 1 UDP 7 10.0.0.1 8189 typ host\r\n\
            a=end-of-candidates\r\n";
        let address = |port| SocketAddr::from(([127, 0, 0, 1], port));
        let relay = address(5);
        let (led, server) = led_through(answer, relay).expect("it has a candidate");
        assert_eq!(server, address(8189));
        assert_eq!(
            led,
            "m=audio 9 X 111\r\na=candidate:2 1 udp 8 127.0.0.1 5 typ host\r\na=end-of-candidates\r\n"
        );
        assert!(led_through("v=0\r\n", relay).is_none());
    }

    #[test]
    fn an_offer_without_repair_asks_for_keyframes_still() {
        let offer = "m=video 9 UDP/TLS/RTP/SAVPF 96 97\r\n\
            a=rtpmap:96 VP8/90000\r\n\
            a=rtcp-fb:96 nack\r\n\
            a=rtcp-fb:96 nack pli\r\n\
            a=rtpmap:97 rtx/90000\r\n\
            a=fmtp:97 apt=96\r\n\
            a=ssrc:97 cname:97\r\n";
        assert_eq!(rtx_payload_types(offer), HashSet::from([97]));
        assert_eq!(
            without_repair(offer),
            "m=video 9 UDP/TLS/RTP/SAVPF 96\r\n\
            a=rtpmap:96 VP8/90000\r\n\
            a=rtcp-fb:96 nack pli\r\n\
            a=ssrc:97 cname:97\r\n"
        );
    }
}
