//! Requests that are refused: with which status, and in which words.
//!
//! The words are for the person who reads a log or a page, on either side: what was wrong, and
//! what to do. The log line of a refusal is the same sentence as its body.

use http::StatusCode;
use tracing::Level;

use crate::media::{CodecName, MediaKind};
use crate::signal::{MAX_BODY_LEN, Role};
use crate::stats::EndReason;

/// Why a request was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refusal {
    /// The URL names no path that could exist.
    #[error(
        "the path name {0:?} cannot be used: use letters, digits and _ - . ~ in one or more segments that are \
         separated by /, none of them . or .., at most 255 bytes together"
    )]
    PathName(String),
    /// Nothing is served at that URL.
    #[error("nothing is served at {0}: see / for the streams that are live")]
    NotFound(String),
    /// The URL knows other methods only.
    #[error("{method} is not possible at {target}: use {allow}")]
    Method {
        /// What was tried.
        method: String,
        /// Where.
        target: String,
        /// The methods that are possible there.
        allow: &'static str,
    },
    /// The body says to be something else, or nothing.
    #[error("an SDP offer is expected: send it with Content-Type: application/sdp, not {0:?}")]
    ContentType(String),
    /// The body is larger than any offer.
    #[error(
        "the offer is larger than {MAX_BODY_LEN} bytes: offer fewer media sections, codecs or candidates"
    )]
    TooLarge,

    /// The body is not SDP.
    #[error(
        "the body is not an SDP offer ({0}): send the text of RTCPeerConnection.createOffer() as it is"
    )]
    NotSdp(String),
    /// More media sections than anybody needs.
    #[error("the offer has {0} media sections, at most {max} are read: offer one video and one audio section", max = crate::signal::offer::SECTIONS_MAX)]
    TooManySections(usize),
    /// Two sections of one name.
    #[error("two media sections of the offer have the mid {0:?}: give each one of its own")]
    DuplicateMid(String),
    /// ICE cannot work without.
    #[error(
        "the offer has no usable a=ice-ufrag and a=ice-pwd: offer both, the first without colons"
    )]
    NoIceCredentials,
    /// DTLS cannot be trusted without.
    #[error(
        "media is encrypted here with DTLS-SRTP only, and the offer says no fingerprint that can be checked: \
         offer an a=fingerprint of SHA-256"
    )]
    NoFingerprint,
    /// A value of `a=setup` that says neither yes nor no.
    #[error("the offer says a=setup:{0}: offer actpass, active or passive")]
    Setup(String),
    /// Several sections, several ports.
    #[error(
        "the offer has several media sections and no a=group:BUNDLE over them: one transport is used for all here, \
         offer them bundled (RTCPeerConnection does by itself)"
    )]
    NoBundle,
    /// RTCP on a port of its own.
    #[error(
        "the {0} section of the offer has no a=rtcp-mux: RTP and RTCP share one port here, offer a=rtcp-mux"
    )]
    NoRtcpMux(MediaKind),
    /// A publisher who does not send.
    #[error(
        "the offer sends nothing: a publisher needs a video or audio section with a=sendonly or a=sendrecv. To watch, \
         use the whep URL"
    )]
    NothingSent,
    /// A viewer who does not receive.
    #[error(
        "the offer receives nothing: a viewer needs a video or audio section with a=recvonly or a=sendrecv. To publish, \
         use the whip URL"
    )]
    NothingReceived,
    /// A publisher with strange codecs only.
    #[error("none of the offered {kind} codecs can be taken ({offered}): offer {}", list(CodecName::all(*.kind)))]
    NoCodec {
        /// Of which section.
        kind: MediaKind,
        /// Names of what was offered.
        offered: String,
    },
    /// A viewer who cannot decode what there is.
    #[error(
        "the stream's {kind} is {codec}, and the offer cannot receive that ({offered}): use a player that decodes it, or \
         publish with another codec"
    )]
    CannotDecode {
        /// Of which section.
        kind: MediaKind,
        /// What the stream has.
        codec: String,
        /// Names of what was offered.
        offered: String,
    },
    /// A viewer who asks for sound of a silent stream, or for pictures of a radio.
    #[error(
        "the stream has {has} only, and the offer receives {wants} only: offer to receive {has}"
    )]
    OtherKind {
        /// What the stream has.
        has: MediaKind,
        /// What the offer has.
        wants: MediaKind,
    },

    /// Nobody publishes there.
    #[error(
        "nobody publishes {0} yet: start a publisher at /{0}/publish in a browser or with the WHIP URL /{0}/whip, then \
         retry"
    )]
    NoStream(String),
    /// Somebody publishes there already, and the configuration protects them.
    #[error(
        "{0} has a publisher already, and this server does not let another take over: stop that one, or use another path"
    )]
    PublisherExists(String),
    /// A session that is no more, and why.
    #[error(
        "this {role} session of {path} has ended ({reason}): start a new one with a POST to \
         /{path}/{}", role.endpoint()
    )]
    Ended {
        /// Of which kind.
        role: Role,
        /// The path in the URL.
        path: String,
        /// Why.
        reason: EndReason,
    },
    /// A session id that leads nowhere.
    #[error(
        "there is no such {role} session of {path}, it has ended or the URL is not the one of the Location header: \
         send a new offer to the {} URL", .role.endpoint()
    )]
    NoSession {
        /// Of which kind.
        role: Role,
        /// The path in the URL.
        path: String,
    },
    /// The body of a PATCH says to be something else, or nothing.
    #[error(
        "an SDP fragment is expected: send it with Content-Type: application/trickle-ice-sdpfrag, not {0:?}"
    )]
    PatchType(String),
    /// The body of a PATCH is larger than any fragment.
    #[error(
        "the SDP fragment is larger than {MAX_BODY_LEN} bytes: send a=ice-ufrag, a=ice-pwd and the candidates only"
    )]
    PatchTooLarge,
    /// The body of a PATCH is not what it says to be.
    #[error(
        "the body is not an SDP fragment of ICE ({0}): send a=ice-ufrag and a=ice-pwd of your description, and your \
         a=candidate lines"
    )]
    NotFragment(String),
    /// Half of what an ICE restart needs.
    #[error(
        "the fragment has other ICE credentials than the session, and not all of them: send both a=ice-ufrag and \
         a=ice-pwd to restart ICE, or those of the session, or none, to add candidates"
    )]
    HalfRestart,
    /// Credentials of an ICE session that is over.
    #[error(
        "the fragment is of before the last ICE restart: send the a=ice-ufrag and a=ice-pwd of your current description"
    )]
    PastRestart,
    /// `If-Match` names another ICE session.
    #[error(
        "If-Match does not name this session's ICE as it is, since ICE was restarted or the tag is a weak one: send the \
         ETag of the last answer with 201 or 200, or If-Match: * to restart ICE"
    )]
    Precondition,
    /// Full.
    #[error("this server is full ({0} sessions): retry later, or raise its limit")]
    TooManySessions(usize),
    /// About to stop.
    #[error("this server is shutting down: retry in a moment, or use another one")]
    ShuttingDown,
    /// Nothing that a client could be sent to.
    #[error(
        "this server knows no address to offer: give it an interface or an additional host, then retry"
    )]
    NoCandidates,
    /// Something of our own failed.
    #[error("the session could not be made ({0}): this is a fault of the server, please report it")]
    Internal(String),
}

impl Refusal {
    /// The status it is answered with.
    pub(crate) fn status(&self) -> StatusCode {
        match self {
            Self::PathName(_)
            | Self::NotSdp(_)
            | Self::NotFragment(_)
            | Self::HalfRestart
            | Self::TooManySections(_)
            | Self::DuplicateMid(_)
            | Self::NoIceCredentials
            | Self::NoFingerprint
            | Self::Setup(_) => StatusCode::BAD_REQUEST,
            Self::NotFound(_) | Self::NoStream(_) | Self::Ended { .. } | Self::NoSession { .. } => {
                StatusCode::NOT_FOUND
            }
            Self::Method { .. } => StatusCode::METHOD_NOT_ALLOWED,
            Self::NoBundle
            | Self::NoRtcpMux(_)
            | Self::NothingSent
            | Self::NothingReceived
            | Self::NoCodec { .. }
            | Self::CannotDecode { .. }
            | Self::OtherKind { .. } => StatusCode::NOT_ACCEPTABLE,
            Self::PublisherExists(_) | Self::PastRestart => StatusCode::CONFLICT,
            Self::Precondition => StatusCode::PRECONDITION_FAILED,
            Self::TooLarge | Self::PatchTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::ContentType(_) | Self::PatchType(_) => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::TooManySessions(_) | Self::ShuttingDown | Self::NoCandidates => {
                StatusCode::SERVICE_UNAVAILABLE
            }
            Self::Internal(_) => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }
}

impl Refusal {
    /// How loudly it is told to the operator: a client's mistake is news, what only the operator
    /// can mend is a warning.
    pub(crate) fn level(&self) -> Level {
        match self {
            Self::Internal(_) => Level::ERROR,
            Self::TooManySessions(_) | Self::NoCandidates => Level::WARN,
            _ => Level::INFO,
        }
    }
}

/// Words of a peer as they may stand in a log: without control characters, and not long.
pub(crate) fn shown(text: &str) -> String {
    const LEN_MAX: usize = 64;
    text.chars()
        .filter(|character| !character.is_control())
        .take(LEN_MAX)
        .collect()
}

/// `H264, VP8 or VP9`.
fn list(names: &[CodecName]) -> String {
    let names: Vec<_> = names.iter().map(|name| name.as_str()).collect();
    match names.split_last() {
        Some((last, [])) => (*last).to_owned(),
        Some((last, others)) => format!("{} or {last}", others.join(", ")),
        None => String::new(),
    }
}

#[cfg(test)]
mod table;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_says_what_was_wrong_and_what_to_do() {
        let refusal = Refusal::NoCodec {
            kind: MediaKind::Video,
            offered: "H263, theora".to_owned(),
        };
        assert_eq!(
            refusal.to_string(),
            "none of the offered video codecs can be taken (H263, theora): offer H264, H265, VP8, VP9 or AV1"
        );
        let refusal = Refusal::NoStream("live/cam".to_owned());
        assert_eq!(
            refusal.to_string(),
            "nobody publishes live/cam yet: start a publisher at /live/cam/publish in a browser or with the WHIP URL \
             /live/cam/whip, then retry"
        );
        assert_eq!(refusal.status(), 404);
    }
}
