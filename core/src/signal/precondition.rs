//! `If-Match` (RFC 9110 §13.1.1): which state of a session a request is meant for.
//!
//! RFC 9725 §4.3.1 wants it of every PATCH: the ETag of the ICE session with candidates, `*` with a
//! restart. Real clients send what they like, so it is honoured where it is sent and missed
//! nowhere.

use http::HeaderMap;
use http::header::IF_MATCH;

/// Tags that are looked at. A client knows one or two.
const TAGS_MAX: usize = 16;

/// What `If-Match` says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Precondition {
    /// Nothing, or `*`. The examples of RFC 9725 put that in quotes, and so do clients.
    Any,
    /// One of these states, strong tags without their quotes.
    OneOf(Vec<String>),
}

impl Precondition {
    /// Reads it from a request. What cannot be read matches nothing, as weak tags never do.
    pub(crate) fn of(headers: &HeaderMap) -> Self {
        let mut tags = Vec::new();
        let mut is_there = false;
        for value in headers.get_all(IF_MATCH) {
            is_there = true;
            let value = value.to_str().unwrap_or_default();
            for tag in members(value).take(TAGS_MAX) {
                let opaque = tag
                    .strip_prefix('"')
                    .and_then(|tag| tag.strip_suffix('"'))
                    .unwrap_or(tag);
                if opaque == "*" {
                    return Self::Any;
                }
                let is_weak = tag.starts_with("W/");
                if !is_weak && tags.len() < TAGS_MAX {
                    tags.push(opaque.to_owned());
                }
            }
        }
        if is_there {
            Self::OneOf(tags)
        } else {
            Self::Any
        }
    }

    /// Whether it lets a state of this tag pass.
    pub(crate) fn holds_for(&self, tag: &str) -> bool {
        match self {
            Self::Any => true,
            Self::OneOf(_) => self.names(tag),
        }
    }

    /// Whether it says this very tag.
    pub(crate) fn names(&self, tag: &str) -> bool {
        matches!(self, Self::OneOf(tags) if tags.iter().any(|own| own == tag))
    }
}

/// The members of a list, separated by commas that are not in quotes.
fn members(list: &str) -> impl Iterator<Item = &str> {
    let mut is_quoted = false;
    list.split(move |character| {
        is_quoted ^= character == '"';
        character == ',' && !is_quoted
    })
    .map(str::trim)
    .filter(|member| !member.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(values: &[&str]) -> Precondition {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(IF_MATCH, value.parse().unwrap());
        }
        Precondition::of(&headers)
    }

    #[test]
    fn a_star_in_quotes_or_not_and_nothing_at_all_let_all_pass() {
        for values in [&[][..], &["*"], &["\"*\""], &["\"a\"", "*"]] {
            let any = of(values);
            assert!(any.holds_for("x"), "{values:?}");
            assert!(!any.names("x"));
        }
    }

    #[test]
    fn a_tag_lets_its_own_state_pass() {
        for values in [
            &["\"x\""][..],
            &["x"],
            &["\"a\", \"x\""],
            &["\"a,b\" ,\"x\"", "\"c\""],
            &["\"a\"", "\"x\""],
        ] {
            let tags = of(values);
            assert!(tags.holds_for("x") && tags.names("x"), "{values:?}");
            assert!(!tags.holds_for("y"));
        }
    }

    #[test]
    fn weak_tags_and_what_is_no_tag_match_nothing() {
        for value in ["W/\"x\"", "", "\"", "\"a,x\"", "\"x", "x\"", ",", "\"xx\""] {
            assert!(!of(&[value]).holds_for("x"), "{value}");
        }
    }

    #[test]
    fn a_long_list_is_not_kept_whole() {
        let list = vec!["\"a\""; 1000].join(",");
        assert!(matches!(of(&[&list, &list]), Precondition::OneOf(tags) if tags.len() == TAGS_MAX));
    }
}
