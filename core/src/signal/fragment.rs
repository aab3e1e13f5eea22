//! An SDP fragment of trickle ICE (RFC 8840 §9), read into what a session that is ICE-lite needs.
//!
//! The text comes from outside, at most [`MAX_BODY_LEN`](crate::signal::MAX_BODY_LEN) of it, and is
//! read line by line, once. Reading is lenient: bare line feeds pass, mids may be words, credentials
//! stand on the session's level or in a section, and what is not ICE's is passed over. Candidates
//! are counted and not looked at: a lite agent sends no checks (RFC 8445 §2.5), so what cannot be
//! used of them (`.local` names, unknown transports) does no harm.

use crate::signal::offer::{is_ice_credential, is_token};
use crate::signal::refusal::{Refusal, shown};

/// What is in a fragment. See the module.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Fragment {
    /// ICE user name fragment (RFC 8839 §5.4).
    pub(crate) ufrag: Option<String>,
    /// ICE password.
    pub(crate) pwd: Option<String>,
    /// The first section, if there is any.
    pub(crate) section: Option<Section>,
    /// How many candidates it brings.
    pub(crate) candidates: usize,
    /// No more candidates will come.
    pub(crate) ended: bool,
}

/// Which media section of the session a fragment speaks of, as the answer to it names it again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Section {
    /// The first word of the `m=` line.
    pub(crate) media: String,
    /// The section's name (RFC 5888): any token.
    pub(crate) mid: Option<String>,
}

impl Fragment {
    /// Reads a fragment.
    ///
    /// # Errors
    /// [`Refusal`], with status 400, for what has lines of another shape, nothing of ICE, or
    /// credentials that no ICE agent could use.
    pub(crate) fn parse(text: &[u8]) -> Result<Self, Refusal> {
        let text = std::str::from_utf8(text).map_err(|_| not_one("it is not UTF-8"))?;
        let mut fragment = Self::default();
        // What holds where a section does not say its own.
        let mut session = (None, None);
        let mut sections = 0_usize;
        let mut is_ice = false;
        for line in text.split(['\n', '\r']).map(str::trim) {
            let (key, value) = match line.split_once('=') {
                Some((key, value)) if key.len() == 1 => (key, value),
                _ if line.is_empty() => continue,
                _ => return Err(not_one(&format!("{:?} is no line of SDP", shown(line)))),
            };
            match key {
                "m" => {
                    sections += 1;
                    if sections == 1 {
                        session = (fragment.ufrag.take(), fragment.pwd.take());
                        fragment.section = Section::of(value);
                    }
                }
                "a" => is_ice |= fragment.attribute(value, sections)?,
                _ => {}
            }
        }
        if !is_ice {
            return Err(not_one("it has no a= line of ICE"));
        }
        fragment.ufrag = fragment.ufrag.or(session.0);
        fragment.pwd = fragment.pwd.or(session.1);
        Ok(fragment)
    }

    /// Takes in an attribute, which stands behind so many `m=` lines. Returns whether it is one of
    /// ICE. Of several the first counts: all sections of a bundle say the same.
    fn attribute(&mut self, attribute: &str, sections: usize) -> Result<bool, Refusal> {
        let (name, value) = attribute.split_once(':').unwrap_or((attribute, ""));
        let value = value.trim();
        match name {
            "ice-ufrag" => keep(&mut self.ufrag, name, value)?,
            "ice-pwd" => keep(&mut self.pwd, name, value)?,
            "candidate" => self.candidates += 1,
            "end-of-candidates" => self.ended = true,
            "mid" => {
                if let Some(section) = &mut self.section
                    && sections == 1
                    && section.mid.is_none()
                    && is_token(value)
                {
                    section.mid = Some(value.to_owned());
                }
            }
            "ice-options" | "ice-lite" | "ice-pacing" => {}
            _ => return Ok(false),
        }
        Ok(true)
    }
}

/// Our half of an ICE restart, and where we are reached (RFC 9725 §4.3.3). `candidates` are
/// complete lines, all there will ever be; `section` is the one that the peer's half named.
pub(crate) fn write(ufrag: &str, pwd: &str, candidates: &str, section: Option<&Section>) -> String {
    let mut text = "a=ice-lite\r\n".to_owned();
    if let Some(Section { media, mid }) = section {
        text.push_str(&format!("m={media} 9 UDP/TLS/RTP/SAVPF 0\r\n"));
        if let Some(mid) = mid {
            text.push_str(&format!("a=mid:{mid}\r\n"));
        }
    }
    text.push_str(&format!("a=ice-ufrag:{ufrag}\r\na=ice-pwd:{pwd}\r\n"));
    text.push_str(candidates);
    text.push_str("a=end-of-candidates\r\n");
    text
}

impl Section {
    fn of(value: &str) -> Option<Self> {
        let media = value.split(' ').next().filter(|media| is_token(media))?;
        Some(Self {
            media: media.to_owned(),
            mid: None,
        })
    }
}

fn keep(kept: &mut Option<String>, name: &str, value: &str) -> Result<(), Refusal> {
    if !is_ice_credential(value) {
        return Err(not_one(&format!("its a={name} cannot be used")));
    }
    kept.get_or_insert_with(|| value.to_owned());
    Ok(())
}

fn not_one(why: &str) -> Refusal {
    Refusal::NotFragment(why.to_owned())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(text: &str) -> Fragment {
        Fragment::parse(text.as_bytes()).unwrap()
    }

    fn refusal(text: &[u8]) -> Refusal {
        Fragment::parse(text).unwrap_err()
    }

    fn credentials(fragment: &Fragment) -> (Option<&str>, Option<&str>) {
        (fragment.ufrag.as_deref(), fragment.pwd.as_deref())
    }

    /// As Chromium's candidates come, by the book.
    const TRICKLE: &str = "a=ice-ufrag:EsAw\r\na=ice-pwd:P2uYro0UCOQ4zxjKXaWCBui1\r\n\
        m=audio 9 RTP/AVP 0\r\na=mid:video0\r\n\
        a=candidate:1387637174 1 udp 2122260223 192.0.2.1 61764 typ host generation 0 ufrag EsAw\r\n\
        a=candidate:3471623853 1 udp 2122194687 0b9b-77.local 61765 typ host\r\n\
        a=candidate:473322822 1 tcp 1518280447 192.0.2.1 9 typ host tcptype active\r\n\
        a=candidate:1 1 carrier-pigeon 1 nowhere 9 typ wing\r\n\
        a=end-of-candidates\r\n";

    #[test]
    fn trickled_candidates_of_any_kind_are_taken() {
        let fragment = read(TRICKLE);
        assert_eq!(
            credentials(&fragment),
            (Some("EsAw"), Some("P2uYro0UCOQ4zxjKXaWCBui1"))
        );
        assert_eq!((fragment.candidates, fragment.ended), (4, true));
        let section = fragment.section.unwrap();
        assert_eq!(
            (section.media.as_str(), section.mid.as_deref()),
            ("audio", Some("video0"))
        );
        let bare = read(&TRICKLE.replace("\r\n", "\n"));
        assert_eq!(bare, read(TRICKLE));
    }

    #[test]
    fn a_section_s_credentials_hold_before_the_session_s() {
        let both = read(
            "a=ice-ufrag:ses\na=ice-pwd:session\nm=video 9 X 0\na=ice-ufrag:med\na=mid:1\n\
             m=audio 9 X 0\na=ice-ufrag:other\na=mid:2",
        );
        assert_eq!(credentials(&both), (Some("med"), Some("session")));
        assert_eq!(both.section.unwrap().mid.as_deref(), Some("1"));
        let none = read("a=end-of-candidates");
        assert_eq!(credentials(&none), (None, None));
        assert!(none.ended && none.section.is_none());
    }

    #[test]
    fn regress_a_section_without_a_name_does_not_get_that_of_the_next() {
        let fragment = read("a=ice-ufrag:us\nm=audio 9 X 0\nm=video 9 X 0\na=mid:v");
        let section = fragment.section.unwrap();
        assert_eq!((section.media.as_str(), section.mid), ("audio", None));
    }

    #[test]
    fn what_is_written_is_read_again() {
        let candidates = "a=candidate:1 1 udp 1 10.0.0.1 5 typ host\r\n";
        for section in [
            None,
            Some(Section {
                media: "video".to_owned(),
                mid: Some("v0".to_owned()),
            }),
        ] {
            let text = write("us", "secret", candidates, section.as_ref());
            let expected = Fragment {
                ufrag: Some("us".to_owned()),
                pwd: Some("secret".to_owned()),
                section,
                candidates: 1,
                ended: true,
            };
            assert_eq!(read(&text), expected);
            assert!(text.starts_with("a=ice-lite\r\n") && text.ends_with("\r\n"));
        }
    }

    #[test]
    fn what_is_no_fragment_is_refused_in_words() {
        for text in [
            &b""[..],
            b"\r\n\r\n",
            b"hello",
            b"v=0\r\na=sendonly\r\n",
            b"{\"candidate\": \"candidate:1 1 udp\"}",
            b"a=ice-ufrag:\xff\xfe",
            b"a=ice-ufrag:\r\n",
            b"a=ice-ufrag:a:b\r\n",
            b"a=ice-pwd:two words\r\n",
        ] {
            let refusal = refusal(text);
            assert_eq!(refusal.status(), 400, "{text:?}");
            assert!(refusal.to_string().contains("send "), "{refusal}");
        }
        let long = format!("a=ice-ufrag:{}", "a".repeat(257));
        assert_eq!(refusal(long.as_bytes()).status(), 400);
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = Fragment::parse(&bytes);
        }

        #[test]
        fn what_is_read_makes_no_lines_of_its_own(
            text in "((a=(ice-ufrag|ice-pwd|mid|candidate|end-of-candidates|x)|m=[a-z]{1,3}|b)[: =\\PC]{0,9}(\r|\n|\r\n|\u{2028})){0,8}",
        ) {
            if let Ok(fragment) = Fragment::parse(text.as_bytes()) {
                let section = fragment.section.into_iter();
                let words = section.flat_map(|s| [Some(s.media), s.mid]);
                for word in words.chain([fragment.ufrag, fragment.pwd]).flatten() {
                    prop_assert!(word.bytes().all(|byte| byte.is_ascii_graphic()), "{word:?}");
                }
            }
        }

        #[test]
        fn any_half_of_a_restart_is_read_as_it_was_written(
            ufrag in "[!-9;-~]{1,32}",
            pwd in "[!-9;-~]{1,64}",
            media in "[a-z]{1,9}",
            mid in proptest::option::of("[a-zA-Z0-9_.-]{1,16}"),
            has_section in any::<bool>(),
            count in 0_usize..5,
        ) {
            let section = has_section.then_some(Section { media, mid });
            let candidates = "a=candidate:1 1 udp 1 10.0.0.1 5 typ host\r\n".repeat(count);
            let text = write(&ufrag, &pwd, &candidates, section.as_ref());
            let expected = Fragment {
                ufrag: Some(ufrag),
                pwd: Some(pwd),
                section,
                candidates: count,
                ended: true,
            };
            prop_assert_eq!(read(&text), expected);
        }

        #[test]
        fn where_the_lines_stand_decides_whose_they_are(
            session in proptest::collection::vec(line(), 0..5),
            sections in proptest::collection::vec(proptest::collection::vec(line(), 0..5), 0..3),
            end in prop_oneof![Just("\n"), Just("\r"), Just("\r\n")],
        ) {
            let mut text = session.join(end);
            for (place, section) in sections.iter().enumerate() {
                text += &format!("{end}m=video{place} 9 X 0{end}{}", section.join(end));
            }
            // All sections together go before the session, and in each of both the first counts.
            let inside = sections.concat();
            let first = |name: &str| {
                let of = |lines: &[String]| {
                    lines.iter().find_map(|line| line.strip_prefix(name).map(str::to_owned))
                };
                of(&inside).or_else(|| of(&session))
            };
            let of_first = sections.first().map(|lines| {
                let mid = lines.iter().find_map(|line| line.strip_prefix("a=mid:"));
                Section {
                    media: "video0".to_owned(),
                    mid: mid.map(str::to_owned),
                }
            });
            let all: Vec<_> = session.iter().chain(&inside).collect();
            let is_ice = all.iter().any(|line| !line.starts_with("b=") && !line.starts_with("a=x"));
            let expected = Fragment {
                ufrag: first("a=ice-ufrag:"),
                pwd: first("a=ice-pwd:"),
                section: of_first,
                candidates: all.iter().filter(|line| line.starts_with("a=candidate:")).count(),
                ended: all.iter().any(|line| *line == "a=end-of-candidates"),
            };
            let read = Fragment::parse(text.as_bytes()).ok();
            prop_assert_eq!(read, is_ice.then_some(expected));
        }
    }

    /// A line that may stand anywhere.
    fn line() -> impl Strategy<Value = String> {
        prop_oneof![
            "a=ice-ufrag:[a-z]{1,4}",
            "a=ice-pwd:[a-z]{1,4}",
            "a=mid:[a-z0-9]{1,4}",
            "a=candidate:[ -~]{0,8}",
            Just("a=end-of-candidates".to_owned()),
            Just("a=x:y".to_owned()),
            Just("b=AS:1".to_owned()),
        ]
    }
}
