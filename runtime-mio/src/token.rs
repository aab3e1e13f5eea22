//! Whom a readiness event is for.

use mio::Token;

/// A source of events: its kind, and its index among those of its kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Source {
    /// Another thread, or a waker, ended the sleep.
    Wake,
    /// A signal arrived.
    Signal,
    /// An HTTP listener.
    Listener(usize),
    /// A UDP socket.
    Transport(usize),
    /// An HTTP connection.
    Connection(usize),
}

const KIND_BITS: u32 = 3;

impl From<Source> for Token {
    fn from(source: Source) -> Self {
        let (kind, index) = match source {
            Source::Wake => (0, 0),
            Source::Signal => (1, 0),
            Source::Listener(index) => (2, index),
            Source::Transport(index) => (3, index),
            Source::Connection(index) => (4, index),
        };
        Self(index << KIND_BITS | kind)
    }
}

impl From<Token> for Source {
    fn from(Token(token): Token) -> Self {
        let index = token >> KIND_BITS;
        match token & ((1 << KIND_BITS) - 1) {
            1 => Self::Signal,
            2 => Self::Listener(index),
            3 => Self::Transport(index),
            4 => Self::Connection(index),
            _ => Self::Wake,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_names_its_source() {
        for source in [
            Source::Wake,
            Source::Signal,
            Source::Listener(0),
            Source::Listener(9),
            Source::Transport(7),
            Source::Connection(0),
            Source::Connection(12_345),
        ] {
            assert_eq!(Source::from(Token::from(source)), source);
        }
    }
}
