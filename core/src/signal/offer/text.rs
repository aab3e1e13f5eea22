//! The text of an offer, taken apart into its attributes and the rest.
//!
//! Nearly all lines of an offer are attributes, two hundred of a browser's, of which a few are looked
//! at. They stay where they are, borrowed. sdp-types, which would make two strings of each, reads the
//! other lines, and says what is wrong with the text.

use sdp_types::{Media, ParserError, Session};

/// `a=name` or `a=name:value` (RFC 8866 §5.13).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Attribute<'a> {
    pub(super) name: &'a str,
    pub(super) value: Option<&'a str>,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Text<'a> {
    /// The `m=` lines.
    medias: Vec<Media>,
    /// The session's, then those of each section.
    attributes: Vec<Attribute<'a>>,
    /// Where those of each section begin.
    starts: Vec<usize>,
}

/// No more attributes than this have their room from the beginning: those of a browser's offer.
const ATTRIBUTES_USUAL: usize = 256;

impl<'a> Text<'a> {
    pub(super) fn parse(text: &'a [u8]) -> Result<Self, ParserError> {
        // Attributes have some thirty characters.
        let mut attributes = Vec::with_capacity(ATTRIBUTES_USUAL.min(text.len() / 16));
        let mut starts = Vec::new();
        let mut rest = Vec::with_capacity(1024);
        // Whatever stands before the version is wrong.
        let mut has_version = false;
        for line in text.split_inclusive(|byte| *byte == b'\n') {
            if let Some(attribute) = Attribute::of(line).filter(|_| has_version) {
                attributes.push(attribute);
                // An empty line means nothing, and leaves the others their numbers.
                rest.push(b'\n');
                continue;
            }
            has_version |= line.starts_with(b"v=");
            if line.starts_with(b"m=") {
                starts.push(attributes.len());
            }
            rest.extend_from_slice(line);
        }
        let medias = Session::parse(&rest)?.medias;
        debug_assert_eq!(starts.len(), medias.len());
        Ok(Self {
            medias,
            attributes,
            starts,
        })
    }

    /// The attributes of the session's level.
    pub(super) fn session(&self) -> &[Attribute<'a>] {
        self.attributes_of(0, self.starts.first())
    }

    /// The sections in order, with their attributes.
    pub(super) fn sections(&self) -> impl ExactSizeIterator<Item = (&Media, &[Attribute<'a>])> {
        let sections = self.medias.iter().zip(&self.starts).enumerate();
        sections.map(|(index, (media, start))| {
            (
                media,
                self.attributes_of(*start, self.starts.get(index + 1)),
            )
        })
    }

    /// Those of one level: up to where the next begins, if one does.
    fn attributes_of(&self, start: usize, end: Option<&usize>) -> &[Attribute<'a>] {
        let end = end.copied().unwrap_or(self.attributes.len());
        self.attributes.get(start..end).unwrap_or_default()
    }
}

impl<'a> Attribute<'a> {
    /// That of a line with its end. `None`: it has none, or one that sdp-types has to refuse.
    fn of(line: &'a [u8]) -> Option<Self> {
        let line = line.strip_prefix(b"a=")?;
        let line = match line.strip_suffix(b"\n") {
            Some(line) => line.strip_suffix(b"\r").unwrap_or(line),
            None => line,
        };
        if line.contains(&b'\r') || line.contains(&0) {
            return None;
        }
        let line = std::str::from_utf8(line).ok()?;
        Some(match line.split_once(':') {
            Some((name, value)) => Self {
                name,
                value: Some(value),
            },
            None => Self {
                name: line,
                value: None,
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use proptest::sample::select;

    use super::*;

    /// Names and values of the session's attributes, then of each section's.
    type Levels = Vec<Vec<(String, Option<String>)>>;

    /// What sdp-types reads of the whole.
    fn whole(text: &[u8]) -> Result<Levels, ParserError> {
        let session = Session::parse(text)?;
        let levels = std::iter::once(session.attributes)
            .chain(session.medias.into_iter().map(|media| media.attributes));
        let pair = |attribute: sdp_types::Attribute| (attribute.attribute, attribute.value);
        Ok(levels
            .map(|level| level.into_iter().map(pair).collect())
            .collect())
    }

    fn apart(text: &[u8]) -> Result<Levels, ParserError> {
        let text = Text::parse(text)?;
        let own = |attribute: &Attribute<'_>| {
            let Attribute { name, value } = attribute;
            (str::to_owned(name), value.map(str::to_owned))
        };
        let sections = text.sections().map(|(_, attributes)| attributes);
        Ok(std::iter::once(text.session())
            .chain(sections)
            .map(|level| level.iter().map(own).collect())
            .collect())
    }

    #[test]
    fn an_attribute_has_a_name_and_may_have_a_value() {
        let text = Text::parse(b"v=0\r\na=ice-lite\r\nm=audio 9 RTP/AVP 0\na=mid:a:b\na=").unwrap();
        let (name, value) = ("ice-lite", None);
        assert_eq!(text.session(), [Attribute { name, value }]);
        let sections: Vec<_> = text.sections().collect();
        let [(media, [mid, empty])] = sections.as_slice() else {
            panic!("one section of two attributes")
        };
        assert_eq!(media.fmt, "0");
        assert_eq!((mid.name, mid.value), ("mid", Some("a:b")));
        assert_eq!((empty.name, empty.value), ("", None));
    }

    #[test]
    fn what_is_wrong_has_the_line_s_number() {
        let said = |text: &[u8]| Text::parse(text).unwrap_err().to_string();
        assert_eq!(
            said(b"v=0\r\na=x\r\na=y\r\nt=0\r\nm=audio 9 RTP/AVP 0\r\n"),
            "Missing field Time stop-time in line 4"
        );
        assert_eq!(said(b"a=x\r\nv=0\r\n"), "No version line");
    }

    const STARTS: [&[u8]; 10] = [
        b"",
        b"a=",
        b"m=",
        b"v=0",
        b"t=",
        b"aa=",
        b"a",
        b"x=",
        b"a=rtpmap:",
        b"m=audio 9 RTP/AVP 0",
    ];
    const MIDDLES: [&[u8]; 7] = [b"", b"0 0", b"a:b", b"\0", b"\r", b"\xff", b"="];
    const ENDS: [&[u8]; 4] = [b"\n", b"\r\n", b"\r", b""];

    proptest! {
        #[test]
        fn no_text_is_read_otherwise_than_whole(
            lines in proptest::collection::vec(
                (select(&STARTS), select(&MIDDLES), select(&ENDS)),
                0..8,
            ),
            begins_well in any::<bool>(),
        ) {
            let mut text = if begins_well { b"v=0\r\n".to_vec() } else { Vec::new() };
            for (start, middle, end) in lines {
                text.extend(start);
                text.extend(middle);
                text.extend(end);
            }
            prop_assert_eq!(apart(&text), whole(&text));
        }
    }
}
