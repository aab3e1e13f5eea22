//! The responses that are given.

use bytes::Bytes;
use http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ALLOW, CACHE_CONTROL, CONTENT_TYPE, ETAG, HeaderName,
    HeaderValue, LINK, LOCATION, ORIGIN, RETRY_AFTER, VARY,
};
use http::{HeaderMap, Method, StatusCode};
use serde_json::json;

use crate::config::IceServer;
use crate::signal::refusal::Refusal;
use crate::signal::{Response, Role, pages};
use crate::stats::{PathStats, Unfinished};

/// What of a request shapes any response to it: its origin and its method. Kept until the response
/// is given, which then goes through [`finish`](Self::finish).
#[derive(Debug, Clone)]
pub(crate) struct Envelope {
    allow_origin: Option<HeaderValue>,
    depends_on_origin: bool,
    is_head: bool,
}

impl Envelope {
    /// Looks at a request. `allow_origins` are origins, `*`, or origins with one `*` in them.
    pub(crate) fn new(allow_origins: &[String], method: &Method, headers: &HeaderMap) -> Self {
        let anyone = allow_origins.iter().any(|allowed| allowed == "*");
        let origin = headers.get(ORIGIN);
        let listed = origin.filter(|origin| {
            let origin = origin.to_str().unwrap_or_default();
            allow_origins
                .iter()
                .any(|allowed| is_allowed(allowed, origin))
        });
        Self {
            allow_origin: if anyone {
                Some(HeaderValue::from_static("*"))
            } else {
                listed.cloned()
            },
            depends_on_origin: !anyone,
            is_head: method == Method::HEAD,
        }
    }

    /// Adds what every response has: whether a page of another origin may see it (CORS), and no
    /// body where none was asked for.
    pub(crate) fn finish(&self, mut response: Response) -> Response {
        let headers = response.headers_mut();
        if let Some(origin) = &self.allow_origin {
            headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
            headers.insert(
                ACCESS_CONTROL_EXPOSE_HEADERS,
                HeaderValue::from_static("ETag, ID, Accept-Patch, Link, Location, Retry-After"),
            );
        }
        if self.depends_on_origin {
            headers.append(VARY, HeaderValue::from_static("Origin"));
        }
        if self.is_head {
            *response.body_mut() = Bytes::new();
        }
        response
    }
}

/// Whether a web origin is one of those that a configured one stands for.
fn is_allowed(allowed: &str, origin: &str) -> bool {
    let Some((before, after)) = allowed.split_once('*') else {
        return allowed.trim_end_matches('/').eq_ignore_ascii_case(origin);
    };
    let origin = origin.to_ascii_lowercase();
    origin
        .strip_prefix(&before.to_ascii_lowercase())
        .and_then(|rest| rest.strip_suffix(&after.to_ascii_lowercase()))
        // The star stands for names, also several, never for the end of one URL and the start of
        // another.
        .is_some_and(|star| {
            !star.is_empty()
                && star
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.'))
        })
}

/// A refusal: its status, and its sentence as JSON.
pub(crate) fn refused(refusal: &Refusal) -> Response {
    let body = json!({ "status": "error", "error": refusal.to_string() });
    let mut response = json(refusal.status(), &body);
    let headers = response.headers_mut();
    match refusal {
        Refusal::Method { allow, .. } => {
            headers.insert(ALLOW, HeaderValue::from_static(allow));
        }
        Refusal::ContentType(_) => {
            headers.insert(ACCEPT_POST, HeaderValue::from_static("application/sdp"));
        }
        Refusal::PatchType(_) => {
            headers.insert(ACCEPT_PATCH, HeaderValue::from_static(FRAGMENT));
        }
        Refusal::TooManySessions(_) | Refusal::ShuttingDown | Refusal::NoCandidates => {
            headers.insert(RETRY_AFTER, HeaderValue::from_static("5"));
        }
        _ => {}
    }
    response
}

/// A session that was made.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Created<'a> {
    /// What it is for.
    pub(crate) role: Role,
    /// The path's name.
    pub(crate) path: &'a str,
    /// The query of the request, without its question mark.
    pub(crate) query: Option<&'a str>,
    /// The last part of the session's URL: who knows it may end the session.
    pub(crate) secret: &'a str,
    /// What people and logs know the session by. No secret.
    pub(crate) id: &'a str,
    /// Our ICE user name fragment: what its ETag is.
    pub(crate) ufrag: &'a str,
}

/// 201 for a session that was made (RFC 9725 §4.2).
pub(crate) fn created(
    session: &Created<'_>,
    answer: String,
    ice_servers: &[IceServer],
) -> Response {
    let mut response = empty(StatusCode::CREATED);
    let endpoint = session.role.endpoint();
    let mut location = format!("/{}/{endpoint}/{}", session.path, session.secret);
    if let Some(query) = session.query {
        location.push('?');
        location.push_str(query);
    }
    let headers = response.headers_mut();
    // These, and what the envelope adds.
    headers.reserve(8);
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/sdp"));
    headers.insert(ACCEPT_PATCH, HeaderValue::from_static(FRAGMENT));
    insert(headers, LOCATION, &location);
    insert(headers, ID, session.id);
    insert(headers, ETAG, &entity_tag(session.ufrag));
    add_links(headers, ice_servers);
    *response.body_mut() = Bytes::from(answer);
    response
}

/// 204 for a fragment whose candidates were taken in (RFC 9725 §4.3.2).
pub(crate) fn trickled() -> Response {
    empty(StatusCode::NO_CONTENT)
}

/// 200 for an ICE restart (RFC 9725 §4.3.3), with our half of it and the tag of the new ICE
/// session.
pub(crate) fn restarted(ufrag: &str, fragment: String) -> Response {
    let mut response = Response::new(Bytes::from(fragment));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(FRAGMENT));
    insert(headers, ETAG, &entity_tag(ufrag));
    response
}

/// 200 for a session that was ended at its client's wish (RFC 9725 §4.2). A client that gave up is
/// told how far its handshake came.
pub(crate) fn deleted(failed: Option<&Unfinished>) -> Response {
    let body = match failed {
        Some(failed) => json!({ "status": "ok", "reason": failed.to_string() }),
        None => json!({ "status": "ok" }),
    };
    json(StatusCode::OK, &body)
}

/// The paths that there are, for programs.
pub(crate) fn list(paths: &[PathStats]) -> Response {
    let items: Vec<_> = paths
        .iter()
        .map(|path| {
            json!({ "name": path.name, "codecs": path.codecs, "viewers": path.viewers, "live": path.live })
        })
        .collect();
    let mut response = json(StatusCode::OK, &json!({ "items": items }));
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(VARY, HeaderValue::from_static("Accept"));
    response
}

/// A page or script.
pub(crate) fn asset(name: &str) -> Option<Response> {
    let (content_type, content) = pages::asset(name)?;
    let mut response = Response::new(Bytes::from_static(content));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    let caching = if name.ends_with(".js") {
        "max-age=3600"
    } else {
        "no-cache"
    };
    headers.insert(CACHE_CONTROL, HeaderValue::from_static(caching));
    if name == "index.html" {
        headers.insert(VARY, HeaderValue::from_static("Accept"));
    }
    Some(response)
}

/// 302 to another URL of this server.
pub(crate) fn redirect(location: &str) -> Response {
    let mut response = empty(StatusCode::FOUND);
    insert(response.headers_mut(), LOCATION, location);
    response
}

/// 204 to a browser that asks whether a page may send a request (CORS preflight).
pub(crate) fn preflight() -> Response {
    let mut response = empty(StatusCode::NO_CONTENT);
    let headers = response.headers_mut();
    headers.insert(
        ACCESS_CONTROL_ALLOW_METHODS,
        HeaderValue::from_static("OPTIONS, GET, POST, PATCH, DELETE"),
    );
    headers.insert(
        ACCESS_CONTROL_ALLOW_HEADERS,
        HeaderValue::from_static("Authorization, Content-Type, If-Match"),
    );
    response
}

/// 204 to a client that asks what an endpoint takes, and which ICE servers it is to use
/// (RFC 9725 §4.6).
pub(crate) fn endpoint_options(ice_servers: &[IceServer]) -> Response {
    let mut response = options("OPTIONS, POST");
    let headers = response.headers_mut();
    headers.insert(ACCEPT_POST, HeaderValue::from_static("application/sdp"));
    add_links(headers, ice_servers);
    response
}

/// 204 to a client that asks what a session takes.
pub(crate) fn session_options(allow: &'static str) -> Response {
    let mut response = options(allow);
    let headers = response.headers_mut();
    headers.insert(ACCEPT_PATCH, HeaderValue::from_static(FRAGMENT));
    response
}

/// 204 with the methods that are possible.
pub(crate) fn options(allow: &'static str) -> Response {
    let mut response = empty(StatusCode::NO_CONTENT);
    response
        .headers_mut()
        .insert(ALLOW, HeaderValue::from_static(allow));
    response
}

/// A response without a body.
pub(crate) fn empty(status: StatusCode) -> Response {
    let mut response = Response::new(Bytes::new());
    *response.status_mut() = status;
    response
}

/// The media type of SDP fragments (RFC 8840 §10).
pub(crate) const FRAGMENT: &str = "application/trickle-ice-sdpfrag";

/// A session's ICE as it is: a strong tag, new with each restart (RFC 9725 §4.3.1).
fn entity_tag(ufrag: &str) -> String {
    format!("\"{ufrag}\"")
}

const ACCEPT_PATCH: HeaderName = HeaderName::from_static("accept-patch");
const ACCEPT_POST: HeaderName = HeaderName::from_static("accept-post");
const ID: HeaderName = HeaderName::from_static("id");

fn json(status: StatusCode, body: &serde_json::Value) -> Response {
    let mut response = Response::new(Bytes::from(body.to_string()));
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// One `Link` header for each ICE server (RFC 9725 §4.6).
fn add_links(headers: &mut HeaderMap, ice_servers: &[IceServer]) {
    for server in ice_servers {
        let mut link = format!("<{}>; rel=\"ice-server\"", server.url);
        if let (Some(username), Some(credential)) = (&server.username, &server.credential) {
            let (username, credential) = (quoted(username), quoted(credential));
            link.push_str(&format!(
                "; username={username}; credential={credential}; credential-type=\"password\""
            ));
        }
        if let Some(value) = header_value(&link) {
            headers.append(LINK, value);
        }
    }
}

/// A quoted string (RFC 9110 §5.6.4).
fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

fn insert(headers: &mut HeaderMap, name: HeaderName, value: &str) {
    if let Some(value) = header_value(value) {
        headers.insert(name, value);
    }
}

/// `None` for what no header can hold. Paths and queries that come out of a URL always can, and so
/// can ids; of settings, a line break in a TURN password cannot.
fn header_value(text: &str) -> Option<HeaderValue> {
    HeaderValue::from_bytes(text.as_bytes()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_origin(allow: &[&str], origin: &str) -> Response {
        let allow: Vec<_> = allow.iter().map(|origin| (*origin).to_owned()).collect();
        let mut headers = HeaderMap::new();
        headers.insert(ORIGIN, origin.parse().unwrap());
        Envelope::new(&allow, &Method::GET, &headers).finish(deleted(None))
    }

    fn allowed(allow: &[&str], origin: &str) -> Option<String> {
        let response = with_origin(allow, origin);
        let value = response.headers().get(ACCESS_CONTROL_ALLOW_ORIGIN)?;
        Some(value.to_str().unwrap().to_owned())
    }

    fn text(response: &Response, name: &str) -> String {
        let values: Vec<_> = response
            .headers()
            .get_all(name)
            .iter()
            .map(|value| value.to_str().unwrap())
            .collect();
        values.join(" | ")
    }

    #[test]
    fn a_star_allows_any_origin() {
        let response = with_origin(&["*"], "https://anything.test");
        assert_eq!(text(&response, "access-control-allow-origin"), "*");
        assert_eq!(
            text(&response, "access-control-expose-headers"),
            "ETag, ID, Accept-Patch, Link, Location, Retry-After"
        );
        assert!(!response.headers().contains_key(VARY));
    }

    #[test]
    fn a_listed_origin_is_echoed_and_caches_are_told() {
        let list = ["https://a.example.com", "https://b.example.com/"];
        assert_eq!(
            allowed(&list, "https://b.example.com").as_deref(),
            Some("https://b.example.com")
        );
        assert_eq!(allowed(&list, "https://c.example.com"), None);
        assert_eq!(
            text(&with_origin(&list, "https://c.example.com"), "vary"),
            "Origin"
        );
    }

    #[test]
    fn a_wildcard_stands_for_names_only() {
        let list = ["https://*.example.com"];
        assert!(allowed(&list, "https://a.example.com").is_some());
        assert!(allowed(&list, "https://a.b.example.com").is_some());
        for origin in [
            "https://example.com",
            "https://.evil.test/.example.com",
            "https://evil.test?.example.com",
            "http://a.example.com",
            "https://a.example.com.evil.test",
        ] {
            assert_eq!(allowed(&list, origin), None, "{origin}");
        }
    }

    #[test]
    fn head_gets_the_headers_without_the_body() {
        let envelope = Envelope::new(&[], &Method::HEAD, &HeaderMap::new());
        let response = envelope.finish(asset("index.html").unwrap());
        assert!(response.body().is_empty());
        assert_eq!(text(&response, "content-type"), "text/html; charset=utf-8");
    }

    #[test]
    fn a_created_session_tells_where_it_is() {
        let servers = [
            IceServer {
                url: "stun:stun.example.com:3478".to_owned(),
                username: None,
                credential: None,
            },
            IceServer {
                url: "turn:turn.example.com".to_owned(),
                username: Some("me".to_owned()),
                credential: Some("a \"quoted\" \\ one".to_owned()),
            },
        ];
        let session = Created {
            role: Role::View,
            path: "live/cam",
            query: Some("token=1"),
            secret: "s3cret",
            id: "7-1",
            ufrag: "u/+1",
        };
        let response = created(&session, "v=0\r\n".to_owned(), &servers);
        assert_eq!(response.status(), 201);
        assert_eq!(text(&response, "location"), "/live/cam/whep/s3cret?token=1");
        assert_eq!(text(&response, "content-type"), "application/sdp");
        assert_eq!(
            (text(&response, "id"), text(&response, "etag")),
            ("7-1".to_owned(), "\"u/+1\"".to_owned())
        );
        assert_eq!(
            text(&response, "link"),
            "<stun:stun.example.com:3478>; rel=\"ice-server\" | <turn:turn.example.com>; rel=\"ice-server\"; \
             username=\"me\"; credential=\"a \\\"quoted\\\" \\\\ one\"; credential-type=\"password\""
        );
        assert_eq!(
            text(&response, "accept-patch"),
            "application/trickle-ice-sdpfrag"
        );
        assert_eq!(&response.body()[..], b"v=0\r\n");
    }

    #[test]
    fn a_refusal_is_json_with_its_sentence() {
        let response = refused(&Refusal::TooManySessions(20_000));
        assert_eq!(response.status(), 503);
        assert_eq!(text(&response, "retry-after"), "5");
        let body: serde_json::Value = serde_json::from_slice(response.body()).unwrap();
        assert_eq!(body["status"], "error");
        assert_eq!(body["error"], Refusal::TooManySessions(20_000).to_string());
    }

    #[test]
    fn paths_are_listed_for_programs() {
        let paths = [PathStats {
            name: "cam".to_owned(),
            live: true,
            codecs: vec!["H264".to_owned(), "Opus".to_owned()],
            viewers: 3,
        }];
        let body: serde_json::Value = serde_json::from_slice(list(&paths).body()).unwrap();
        let expected = json!({ "items": [{ "name": "cam", "codecs": ["H264", "Opus"], "viewers": 3, "live": true }] });
        assert_eq!(body, expected);
    }

    #[test]
    fn scripts_are_cached_and_pages_are_not() {
        assert_eq!(
            text(&asset("reader.js").unwrap(), "cache-control"),
            "max-age=3600"
        );
        assert_eq!(
            text(&asset("play.html").unwrap(), "cache-control"),
            "no-cache"
        );
        assert!(asset("../secret").is_none());
    }
}
