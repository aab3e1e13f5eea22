//! Values of `--ice-servers` and `--allow-origins`: both end up in header fields of responses.

use kvill_core::config::IceServer;

/// Reads `stun:HOST:PORT` (RFC 7064) or `turn:HOST:PORT,USER,PASSWORD` (RFC 7065).
pub(super) fn parse_ice_server(text: &str) -> Result<IceServer, String> {
    refuse_unprintable(text)?;
    let (url, credentials) = match text.split_once(',') {
        Some((url, credentials)) => (url, Some(credentials)),
        None => (text, None),
    };
    let Some((scheme @ ("stun" | "stuns" | "turn" | "turns"), host)) = url.split_once(':') else {
        return Err(
            "it has to begin with stun:, stuns:, turn: or turns:, `stun:stun.example.com:3478` say"
                .into(),
        );
    };
    if host.is_empty() || host.starts_with("//") || host.contains(['"', '<', '>']) {
        return Err(format!(
            "a host follows the colon at once, `{scheme}:{scheme}.example.com:3478` say"
        ));
    }
    let is_turn = scheme.starts_with("turn");
    let (username, credential) = match credentials.map(|credentials| credentials.split_once(',')) {
        Some(Some((user, password))) if is_turn && !user.is_empty() => {
            (Some(user.to_owned()), Some(password.to_owned()))
        }
        None if !is_turn => (None, None),
        _ if is_turn => {
            return Err(format!(
                "a TURN server needs a user and a password: `{url},USER,PASSWORD`"
            ));
        }
        _ => return Err(format!("a STUN server takes no user: `{url}`")),
    };
    Ok(IceServer {
        url: url.to_owned(),
        username,
        credential,
    })
}

/// Reads a web origin (RFC 6454) or `*`.
pub(super) fn parse_origin(text: &str) -> Result<String, String> {
    refuse_unprintable(text)?;
    if text == "*" {
        return Ok(text.to_owned());
    }
    let good = "`https://example.com` say, or `*` for any";
    match text.split_once("://") {
        Some(("http" | "https", host)) if host.contains('/') => Err(format!(
            "an origin has no path, and no slash at its end: {good}"
        )),
        Some(("http" | "https", host)) if !host.is_empty() => Ok(text.to_owned()),
        _ => Err(format!("an origin is a scheme and a host: {good}")),
    }
}

/// A header field could not carry them, or would be read as several.
fn refuse_unprintable(text: &str) -> Result<(), String> {
    match text
        .chars()
        .find(|character| character.is_control() || character.is_whitespace())
    {
        None => Ok(()),
        Some(found) => Err(format!(
            "it may have no blanks and no control characters, and {found:?} is one: remove it, and \
             give the flag once for each value"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ice_servers_are_checked() {
        let server = parse_ice_server("turn:turn.example.com:3478?transport=tcp,me,a,b").unwrap();
        assert_eq!(server.url, "turn:turn.example.com:3478?transport=tcp");
        assert_eq!(
            (server.username.as_deref(), server.credential.as_deref()),
            (Some("me"), Some("a,b"))
        );
        assert!(parse_ice_server("stun:stun.example.com:3478").is_ok());
        for bad in [
            "example.com",
            "http://x",
            "stun://x",
            "stun:",
            "turn:x",
            "turn:x,me",
            "stun:x,me,pw",
        ] {
            assert!(parse_ice_server(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn origins_are_checked() {
        assert!(parse_origin("https://example.com:8443").is_ok());
        assert!(parse_origin("http://*.example.com").is_ok());
        for bad in [
            "example.com",
            "https://example.com/",
            "https://",
            "ftp://x",
            "",
        ] {
            assert!(parse_origin(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn blanks_and_control_characters_are_refused() {
        for bad in [
            "https://a.example https://b.example",
            " *",
            "https://example.com\r\nX-Evil: 1",
            "https://example.com\u{7f}",
        ] {
            let error = parse_origin(bad).unwrap_err();
            assert!(error.contains("no control characters"), "{bad:?}: {error}");
        }
        for bad in [
            "stun:stun.example.com\n",
            "turn:turn.example.com,me,pass word",
            "turn:turn.example.com,me,\0",
        ] {
            let error = parse_ice_server(bad).unwrap_err();
            assert!(error.contains("no control characters"), "{bad:?}: {error}");
        }
    }
}
