//! What an HTTP request wants, as far as that can be told without knowing who is connected.
//!
//! | URL | |
//! |---|---|
//! | `/` | the list of paths: a page, or JSON for who accepts that |
//! | `/{path}/`, `/{path}/publish` | the pages that play and publish |
//! | `/{path}/reader.js`, `/{path}/publisher.js` | their scripts |
//! | `/{path}/whip`, `/{path}/whep` | the endpoints (RFC 9725, draft-ietf-wish-whep) |
//! | `/{path}/whip/{secret}`, `/{path}/whep/{secret}` | a session: its end, its ICE |

use http::header::{ACCEPT, ACCESS_CONTROL_REQUEST_METHOD, CONTENT_TYPE};
use http::{HeaderMap, Method, StatusCode};

use crate::config::Config;
use crate::signal::fragment::Fragment;
use crate::signal::offer::Offer;
use crate::signal::policy::{self, Plan};
use crate::signal::precondition::Precondition;
use crate::signal::refusal::{Refusal, shown};
use crate::signal::respond::{self, Envelope};
use crate::signal::{MAX_BODY_LEN, Request, Response, Role};

/// The longest path name in bytes.
pub(crate) const PATH_LEN_MAX: usize = 255;

/// What is to be done about a request.
#[derive(Debug)]
pub(crate) struct Routed {
    /// What it wants.
    pub(crate) action: Action,
    /// Every response to it goes through [`Envelope::finish`].
    pub(crate) envelope: Envelope,
}

/// What a request wants.
#[derive(Debug)]
pub(crate) enum Action {
    /// It is answered.
    Respond(Response),
    /// It is refused. To be logged, counted, and answered by [`respond::refused`].
    Refuse(Refusal),
    /// The list of paths as JSON, [`respond::list`].
    List,
    /// To publish. The offer is good, the rest depends on who is there.
    Publish {
        /// The path's name.
        path: String,
        /// The query, without its question mark.
        query: Option<String>,
        /// For the answer.
        offer: Box<Offer>,
        /// What was made of it.
        plan: Box<Plan>,
    },
    /// To watch. What the plan is depends on what there is to see: [`policy::view`].
    View {
        /// The path's name.
        path: String,
        /// The query, without its question mark.
        query: Option<String>,
        /// The offer.
        offer: Box<Offer>,
    },
    /// To end a session.
    Delete {
        /// Of which kind.
        role: Role,
        /// The path's name.
        path: String,
        /// The last part of its URL, as it came: not necessarily one that was ever given out.
        secret: String,
    },
    /// To add candidates to a session, or to restart its ICE.
    Patch {
        /// Of which kind.
        role: Role,
        /// The path's name.
        path: String,
        /// The last part of its URL, as it came.
        secret: String,
        /// What for. A session that is not there is the first thing to be said, so what is wrong
        /// with the request comes along.
        wish: Result<Patch, Refusal>,
    },
}

/// What a PATCH says.
#[derive(Debug)]
pub(crate) struct Patch {
    /// What it tells of the peer's ICE.
    pub(crate) fragment: Fragment,
    /// Which state of the session it is meant for.
    pub(crate) precondition: Precondition,
}

/// Tells what a request wants.
pub(crate) fn route(config: &Config, request: &Request) -> Routed {
    let head = &request.head;
    let envelope = Envelope::new(&config.allow_origins, &head.method, &head.headers);
    let action = if head.method == Method::OPTIONS
        && head.headers.contains_key(ACCESS_CONTROL_REQUEST_METHOD)
    {
        Action::Respond(respond::preflight())
    } else {
        action(config, request).unwrap_or_else(Action::Refuse)
    };
    Routed { action, envelope }
}

fn action(config: &Config, request: &Request) -> Result<Action, Refusal> {
    let uri = &request.head.uri;
    let path = decoded(uri.path());
    match Target::of(&path)? {
        Target::Asterisk => on_asterisk(request),
        Target::Root if is_read(request) && wants_json(&request.head.headers) => Ok(Action::List),
        Target::Root => file(request, "index.html"),
        Target::Icon if is_read(request) => {
            Ok(Action::Respond(respond::empty(StatusCode::NOT_FOUND)))
        }
        Target::Icon => only(request, READ),
        Target::File { name } => file(request, name),
        Target::Redirect { to } if is_read(request) => {
            let query = uri
                .query()
                .map(|query| format!("?{query}"))
                .unwrap_or_default();
            Ok(Action::Respond(respond::redirect(&format!("{to}{query}"))))
        }
        Target::Redirect { .. } => only(request, READ),
        Target::Endpoint { role, path } => endpoint(config, request, role, path),
        Target::Session { role, path, secret } => match request.head.method {
            Method::DELETE => Ok(Action::Delete {
                role,
                path: path.to_owned(),
                secret: secret.to_owned(),
            }),
            Method::PATCH => Ok(Action::Patch {
                role,
                path: path.to_owned(),
                secret: secret.to_owned(),
                wish: patch(request),
            }),
            Method::OPTIONS => Ok(Action::Respond(respond::session_options(SESSION))),
            _ => only(request, SESSION),
        },
    }
}

/// Methods of what can only be read.
const READ: &str = "OPTIONS, GET, HEAD";

/// Methods of a session.
const SESSION: &str = "OPTIONS, PATCH, DELETE";

/// What a URL names.
#[derive(Debug, PartialEq, Eq)]
enum Target<'a> {
    Asterisk,
    Root,
    Icon,
    File {
        name: &'static str,
    },
    Redirect {
        to: String,
    },
    Endpoint {
        role: Role,
        path: &'a str,
    },
    Session {
        role: Role,
        path: &'a str,
        secret: &'a str,
    },
}

impl<'a> Target<'a> {
    fn of(url_path: &'a str) -> Result<Self, Refusal> {
        let whole = match url_path {
            "*" => return Ok(Self::Asterisk),
            "/" | "" => return Ok(Self::Root),
            "/favicon.ico" => return Ok(Self::Icon),
            other => other.strip_prefix('/').unwrap_or(other),
        };
        let (name, has_slash) = match whole.strip_suffix('/') {
            Some(name) => (name, true),
            None => (whole, false),
        };
        let target = match name.rsplit_once('/') {
            Some((path, "whip")) => Self::Endpoint {
                role: Role::Publish,
                path: checked(path)?,
            },
            Some((path, "whep")) => Self::Endpoint {
                role: Role::View,
                path: checked(path)?,
            },
            Some((path, "publish")) if has_slash => Self::Redirect {
                to: format!("/{}/publish", checked(path)?),
            },
            Some((path, "publish")) => file_of(path, "publish.html")?,
            Some((path, "reader.js")) if !has_slash => file_of(path, "reader.js")?,
            Some((path, "publisher.js")) if !has_slash => file_of(path, "publisher.js")?,
            Some((endpoint, secret)) => match endpoint.rsplit_once('/') {
                Some((path, "whip")) => Self::Session {
                    role: Role::Publish,
                    path: checked(path)?,
                    secret,
                },
                Some((path, "whep")) => Self::Session {
                    role: Role::View,
                    path: checked(path)?,
                    secret,
                },
                _ => Self::page(name, has_slash)?,
            },
            None => Self::page(name, has_slash)?,
        };
        Ok(target)
    }

    fn page(name: &str, has_slash: bool) -> Result<Self, Refusal> {
        if has_slash {
            return file_of(name, "play.html");
        }
        Ok(Self::Redirect {
            to: format!("/{}/", checked(name)?),
        })
    }
}

fn file_of<'a>(path: &str, name: &'static str) -> Result<Target<'a>, Refusal> {
    checked(path)?;
    Ok(Target::File { name })
}

/// Whether it is a path name: letters, digits and `_ - . ~` in segments that are separated by `/`.
pub(crate) fn is_path_name(path: &str) -> bool {
    let is_segment = |segment: &str| {
        !matches!(segment, "" | "." | "..")
            && segment
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"_-.~".contains(&byte))
    };
    path.len() <= PATH_LEN_MAX && path.split('/').all(is_segment)
}

fn checked(path: &str) -> Result<&str, Refusal> {
    if is_path_name(path) {
        Ok(path)
    } else {
        Err(Refusal::PathName(shown(path)))
    }
}

/// The path of a URL with its percent codes resolved. What is not UTF-8 then becomes characters
/// that no path name has.
fn decoded(path: &str) -> std::borrow::Cow<'_, str> {
    percent_encoding::percent_decode_str(path).decode_utf8_lossy()
}

/// The path of a URL as it may stand in a log: who knows the last part of a session's URL may end
/// that session, so it is left out.
#[must_use]
pub fn loggable(path: &str) -> String {
    let path = decoded(path);
    let ends = ["/whip/", "/whep/"].map(|endpoint| Some(path.find(endpoint)? + endpoint.len()));
    match ends.into_iter().flatten().min() {
        Some(end) if end < path.len() => {
            format!("{}…", shown(path.get(..end).unwrap_or_default()))
        }
        _ => shown(&path),
    }
}

fn is_read(request: &Request) -> bool {
    matches!(request.head.method, Method::GET | Method::HEAD)
}

/// Browsers name HTML and programs that want JSON name that; `*/*` is for people with curl, who
/// get the page.
fn wants_json(headers: &HeaderMap) -> bool {
    let names = |wanted: &str| {
        headers
            .get_all(ACCEPT)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','))
            .any(|range| media_type(range).eq_ignore_ascii_case(wanted))
    };
    names("application/json") && !names("text/html")
}

/// A media type without its parameters.
fn media_type(value: &str) -> &str {
    value.split(';').next().unwrap_or_default().trim()
}

fn file(request: &Request, name: &'static str) -> Result<Action, Refusal> {
    if !is_read(request) {
        return only(request, READ);
    }
    respond::asset(name)
        .map(Action::Respond)
        .ok_or_else(|| Refusal::NotFound(shown(request.head.uri.path())))
}

fn on_asterisk(request: &Request) -> Result<Action, Refusal> {
    only(request, "OPTIONS, GET, HEAD, POST, PATCH, DELETE")
}

/// `OPTIONS` is told what is possible, any other method is refused.
fn only(request: &Request, allow: &'static str) -> Result<Action, Refusal> {
    if request.head.method == Method::OPTIONS {
        return Ok(Action::Respond(respond::options(allow)));
    }
    Err(Refusal::Method {
        method: shown(request.head.method.as_str()),
        target: loggable(request.head.uri.path()),
        allow,
    })
}

fn content_type(request: &Request) -> &str {
    let value = request.head.headers.get(CONTENT_TYPE);
    value
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default()
}

/// What a PATCH of a session says.
fn patch(request: &Request) -> Result<Patch, Refusal> {
    let content_type = content_type(request);
    if !media_type(content_type).eq_ignore_ascii_case(respond::FRAGMENT) {
        return Err(Refusal::PatchType(shown(content_type)));
    }
    if request.body.len() > MAX_BODY_LEN {
        return Err(Refusal::PatchTooLarge);
    }
    Ok(Patch {
        fragment: Fragment::parse(&request.body)?,
        precondition: Precondition::of(&request.head.headers),
    })
}

/// A POST without the right content type is refused with 415, which is what HTTP has for it
/// (RFC 9110 §15.5.16); RFC 9725 §4.2 leaves the choice.
fn endpoint(config: &Config, request: &Request, role: Role, path: &str) -> Result<Action, Refusal> {
    match request.head.method {
        Method::OPTIONS => {
            return Ok(Action::Respond(respond::endpoint_options(
                &config.ice_servers,
            )));
        }
        Method::POST => {}
        _ => return only(request, "OPTIONS, POST"),
    }
    let content_type = content_type(request);
    if !media_type(content_type).eq_ignore_ascii_case("application/sdp") {
        return Err(Refusal::ContentType(shown(content_type)));
    }
    if request.body.len() > MAX_BODY_LEN {
        return Err(Refusal::TooLarge);
    }
    let offer = Box::new(Offer::parse(&request.body)?);
    let path = path.to_owned();
    let query = request.head.uri.query().map(str::to_owned);
    Ok(match role {
        Role::Publish => {
            let plan = Box::new(policy::publish(&offer)?);
            Action::Publish {
                path,
                query,
                offer,
                plan,
            }
        }
        Role::View => Action::View { path, query, offer },
    })
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use proptest::prelude::*;

    use super::*;

    const OFFER: &str = include_str!("testdata/chromium-publish.sdp");

    fn request(method: &str, target: &str, headers: &[(&str, &str)], body: &[u8]) -> Request {
        let mut builder = http::Request::builder().method(method).uri(target);
        for (name, value) in headers {
            builder = builder.header(*name, *value);
        }
        let (head, ()) = builder.body(()).unwrap().into_parts();
        Request {
            peer: ([127, 0, 0, 1], 5_000).into(),
            tls: false,
            head,
            body: Bytes::copy_from_slice(body),
        }
    }

    fn action_of(method: &str, target: &str, headers: &[(&str, &str)], body: &[u8]) -> Action {
        route(&Config::default(), &request(method, target, headers, body)).action
    }

    /// The response to a request that can be decided at once.
    fn response(method: &str, target: &str, headers: &[(&str, &str)]) -> Response {
        let Routed { action, envelope } =
            route(&Config::default(), &request(method, target, headers, b""));
        match action {
            Action::Respond(response) => envelope.finish(response),
            Action::Refuse(refusal) => envelope.finish(respond::refused(&refusal)),
            other => panic!("not decided: {other:?}"),
        }
    }

    fn header(response: &Response, name: &str) -> String {
        let value = response.headers().get(name);
        value
            .map(|value| value.to_str().unwrap().to_owned())
            .unwrap_or_default()
    }

    fn is_html(response: &Response) -> bool {
        response.status() == 200 && header(response, "content-type").starts_with("text/html")
    }

    #[test]
    fn a_session_s_secret_stays_out_of_the_log() {
        for (path, expected) in [
            ("/live/whep", "/live/whep"),
            ("/live/whep/", "/live/whep/"),
            ("/live/whep/S3cret", "/live/whep/…"),
            ("/a/b/wh%69p/S3cret/", "/a/b/whip/…"),
            ("/", "/"),
            ("*", "*"),
            ("/live/%0aERROR", "/live/ERROR"),
        ] {
            assert_eq!(loggable(path), expected, "{path}");
        }
    }

    #[test]
    fn the_root_is_a_page_for_people_and_json_for_programs() {
        let html = [(
            "accept",
            "text/html,application/xhtml+xml,application/json;q=0.9,*/*;q=0.8",
        )];
        assert!(is_html(&response("GET", "/", &html)));
        assert!(is_html(&response("GET", "/", &[("accept", "*/*")])));
        assert!(is_html(&response("GET", "/", &[])));
        assert!(matches!(
            action_of("GET", "/", &[("accept", "application/json")], b""),
            Action::List
        ));
    }

    #[test]
    fn a_path_has_a_page_to_play_and_one_to_publish() {
        let play = response("GET", "/live/cam/", &[]);
        let publish = response("GET", "/live/cam/publish", &[]);
        assert!(is_html(&play) && is_html(&publish));
        assert_ne!(play.body(), publish.body());
        assert!(response("HEAD", "/cam/", &[]).body().is_empty());
    }

    #[test]
    fn slashes_are_put_right_and_the_query_is_kept() {
        let moved = |target: &str| {
            let response = response("GET", target, &[]);
            assert_eq!(response.status(), 302, "{target}");
            header(&response, "location")
        };
        assert_eq!(moved("/cam"), "/cam/");
        assert_eq!(moved("/live/cam?muted=1"), "/live/cam/?muted=1");
        assert_eq!(moved("/cam/publish/?codec=av1"), "/cam/publish?codec=av1");
        assert_eq!(moved("/publish"), "/publish/");
    }

    #[test]
    fn scripts_are_served_below_every_path() {
        for name in ["reader.js", "publisher.js"] {
            let script = response("GET", &format!("/live/cam/{name}"), &[]);
            assert_eq!(script.status(), 200);
            assert_eq!(header(&script, "cache-control"), "max-age=3600");
        }
    }

    #[test]
    fn there_is_no_icon() {
        assert_eq!(response("GET", "/favicon.ico", &[]).status(), 404);
    }

    #[test]
    fn a_good_offer_to_publish_comes_with_its_plan() {
        for content_type in ["application/sdp", "Application/SDP; charset=utf-8"] {
            let headers = [("content-type", content_type)];
            let action = action_of("POST", "/live/cam/whip?token=1", &headers, OFFER.as_bytes());
            let Action::Publish {
                path, query, plan, ..
            } = action
            else {
                panic!("{action:?}")
            };
            assert_eq!(
                (path.as_str(), query.as_deref()),
                ("live/cam", Some("token=1"))
            );
            assert_eq!(plan.tracks().count(), 2);
        }
    }

    #[test]
    fn a_good_offer_to_watch_awaits_the_stream() {
        let offer = include_bytes!("testdata/chromium-view.sdp");
        let action = action_of(
            "POST",
            "/cam/whep",
            &[("content-type", "application/sdp")],
            offer,
        );
        assert!(matches!(action, Action::View { path, query: None, .. } if path == "cam"));
    }

    #[test]
    fn a_post_that_is_no_offer_is_refused() {
        let refusal = |headers: &[(&str, &str)], body: &[u8]| match action_of(
            "POST",
            "/cam/whip",
            headers,
            body,
        ) {
            Action::Refuse(refusal) => refusal,
            other => panic!("{other:?}"),
        };
        let sdp = [("content-type", "application/sdp")];
        assert_eq!(refusal(&[], OFFER.as_bytes()).status(), 415);
        assert_eq!(
            refusal(&[("content-type", "text/plain")], OFFER.as_bytes()).status(),
            415
        );
        assert_eq!(
            refusal(&sdp, &vec![b' '; MAX_BODY_LEN + 1]),
            Refusal::TooLarge
        );
        assert_eq!(refusal(&sdp, b"hello").status(), 400);
        assert_eq!(
            refusal(&sdp, include_bytes!("testdata/chromium-view.sdp")),
            Refusal::NothingSent
        );
    }

    #[test]
    fn a_session_can_be_ended_and_patched_and_nothing_else() {
        let action = action_of("DELETE", "/live/cam/whep/s3cret", &[], b"");
        assert!(matches!(
            action,
            Action::Delete { role: Role::View, path, secret } if path == "live/cam" && secret == "s3cret"
        ));
        for method in ["GET", "POST", "PUT"] {
            let response = response(method, "/cam/whip/s3cret", &[]);
            assert_eq!(response.status(), 405, "{method}");
            assert_eq!(header(&response, "allow"), "OPTIONS, PATCH, DELETE");
        }
        let response = response("OPTIONS", "/cam/whip/s3cret", &[]);
        assert_eq!(response.status(), 204);
        assert_eq!(
            header(&response, "accept-patch"),
            "application/trickle-ice-sdpfrag"
        );
    }

    #[test]
    fn a_patch_is_a_fragment_or_refused() {
        let wish_of = |content_type: &str, body: &[u8]| {
            let headers = [("content-type", content_type), ("if-match", "\"x\"")];
            match action_of("PATCH", "/live/cam/whep/s3cret", &headers, body) {
                Action::Patch {
                    role: Role::View,
                    path,
                    secret,
                    wish,
                } if path == "live/cam" && secret == "s3cret" => wish,
                other => panic!("{other:?}"),
            }
        };
        let fragment = b"a=ice-ufrag:abcd\r\na=end-of-candidates\r\n";
        for content_type in [
            "application/trickle-ice-sdpfrag",
            "Application/Trickle-ICE-SDPfrag; charset=utf-8",
        ] {
            let patch = wish_of(content_type, fragment).unwrap();
            assert_eq!(patch.fragment.ufrag.as_deref(), Some("abcd"));
            assert!(patch.precondition.names("x"));
        }
        let refusal = |content_type, body: &[u8]| wish_of(content_type, body).unwrap_err();
        for content_type in ["application/sdp", "", "application/json"] {
            let refusal = refusal(content_type, fragment);
            assert_eq!(refusal.status(), 415);
            assert_eq!(
                header(&respond::refused(&refusal), "accept-patch"),
                "application/trickle-ice-sdpfrag"
            );
        }
        let large = vec![b'\n'; MAX_BODY_LEN + 1];
        assert_eq!(
            refusal("application/trickle-ice-sdpfrag", &large).status(),
            413
        );
        assert_eq!(
            refusal("application/trickle-ice-sdpfrag", b"hello").status(),
            400
        );
    }

    #[test]
    fn an_endpoint_takes_posts_only() {
        for method in ["GET", "HEAD", "PUT", "PATCH", "DELETE"] {
            let response = response(method, "/cam/whip", &[]);
            assert_eq!(response.status(), 405, "{method}");
            assert_eq!(header(&response, "allow"), "OPTIONS, POST");
        }
        assert_eq!(response("POST", "/cam/", &[]).status(), 405);
        assert_eq!(
            header(&response("POST", "/", &[]), "allow"),
            "OPTIONS, GET, HEAD"
        );
    }

    #[test]
    fn an_endpoint_tells_what_it_takes() {
        let response = response("OPTIONS", "/cam/whip", &[]);
        assert_eq!(response.status(), 204);
        assert_eq!(header(&response, "accept-post"), "application/sdp");
        assert_eq!(header(&response, "access-control-allow-origin"), "*");
    }

    #[test]
    fn a_preflight_is_answered_wherever_it_goes() {
        for target in ["/cam/whip", "/cam/whep/s3cret", "/"] {
            let asked = [
                ("origin", "https://a.test"),
                ("access-control-request-method", "POST"),
            ];
            let response = response("OPTIONS", target, &asked);
            assert_eq!(response.status(), 204);
            assert_eq!(
                header(&response, "access-control-allow-methods"),
                "OPTIONS, GET, POST, PATCH, DELETE"
            );
            assert_eq!(
                header(&response, "access-control-allow-headers"),
                "Authorization, Content-Type, If-Match"
            );
        }
    }

    #[test]
    fn names_of_paths_are_plain() {
        for target in [
            "//evil.test",
            "/a//b/",
            "/../whip",
            "/a/./b/whep",
            "/%2e%2e/whip",
            "/caf%C3%A9/",
            "/a%20b/",
            "/a%00/",
            "/%ff/",
            "/a:b/whip",
        ] {
            let response = response("GET", target, &[]);
            assert_eq!(response.status(), 400, "{target}");
        }
        assert_eq!(
            response("GET", &format!("/{}/", "a".repeat(PATH_LEN_MAX)), &[]).status(),
            200
        );
        assert_eq!(
            response("GET", &format!("/{}/", "a".repeat(PATH_LEN_MAX + 1)), &[]).status(),
            400
        );
    }

    #[test]
    fn percent_codes_of_plain_letters_are_those_letters() {
        let action = action_of("DELETE", "/%7Eme%2Fcam/whip/s3cret", &[], b"");
        assert!(matches!(action, Action::Delete { path, .. } if path == "~me/cam"));
    }

    proptest! {
        #[test]
        fn no_target_makes_it_panic_or_leave_the_server(
            target in "(/(whip|whep|publish|reader\\.js|\\.|\\.\\.|[a-z%0-9A-F~:@\\\\]{0,4})){0,5}/?(\\?[a-z=&]{0,8})?",
            method in "(GET|HEAD|POST|PATCH|DELETE|OPTIONS|BREW)",
        ) {
            prop_assume!(http::Uri::try_from(&target).is_ok());
            let request = request(&method, &target, &[], b"");
            if let Action::Respond(response) = route(&Config::default(), &request).action {
                let location = header(&response, "location");
                prop_assert!(location.is_empty() || location.starts_with('/') && !location.starts_with("//"));
            }
        }
    }
}
