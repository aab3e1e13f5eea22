//! HTTP requests of any kind, to a server with a live path.
//!
//! Each has one answer, of a status that is documented; a refusal says why in JSON; a session that
//! was made can be ended by its `Location`, once.
//!
//! An input is a request as text: method and target, header lines, an empty line, the body. In the
//! target `SECRET` stands for that of the live publisher's session.

use std::cell::Cell;

use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri};
use kvill_core::fuzzing::sections;
use kvill_core::signal::{MAX_BODY_LEN, Response, loggable};

use crate::client::{Client, Live};

struct Scene {
    live: Live,
    /// The last part of its URL.
    secret: String,
}

thread_local! {
    static SCENE: Cell<Option<Scene>> = const { Cell::new(None) };
}

/// Every status there is.
const STATUSES: [u16; 16] = [
    200, 201, 204, 301, 302, 307, 308, 400, 404, 405, 406, 409, 412, 413, 415, 503,
];

/// Longer than any page or script of ours, and than an answer to the largest offer.
const BODY_LEN_MAX: usize = 2 * MAX_BODY_LEN;

/// The target.
pub fn run(data: &[u8]) {
    let mut scene = SCENE.take().unwrap_or_else(Scene::new);
    let Some((head, body)) = request(data, &scene.secret) else {
        SCENE.set(Some(scene));
        return;
    };
    let _ = loggable(head.uri.path());
    let method = head.method.clone();
    let response = scene.live.send(head, body);
    let status = response.status().as_u16();
    assert!(STATUSES.contains(&status), "{status}");
    assert!(response.body().len() <= BODY_LEN_MAX);
    if method == Method::HEAD {
        assert!(response.body().is_empty());
    } else if status >= 400 {
        let is_empty = response.body().is_empty();
        let text = std::str::from_utf8(response.body()).expect("a sentence in UTF-8");
        let is_refusal = text.contains(r#""error":"#) && text.contains(r#""status":"error""#);
        assert!(is_refusal || (is_empty && status == 404), "{text}");
    }
    if status == 201 {
        is_ended_once(&mut scene.live, &response);
    }
    let _ = scene.live.drain();
    let is_whole = scene.live.server.stats().sessions == 1;
    SCENE.set(Some(scene).filter(|_| is_whole));
}

fn is_ended_once(live: &mut Live, response: &Response) {
    assert!(sections(response.body()).is_some(), "an answer is SDP");
    let location = response.headers()["location"].to_str();
    let location = location.expect("a URL in ASCII").to_owned();
    for status in [200, 404] {
        let deleted = live.request(Method::DELETE, &location, "", b"");
        assert_eq!(deleted.status().as_u16(), status);
    }
}

impl Scene {
    fn new() -> Self {
        let mut live = Live::default();
        let remote = ([10, 0, 0, 9], 1).into();
        let mut publisher = Client::join(&mut live, "/a/whip", remote).expect("a session");
        live.connect(&mut publisher);
        let secret = publisher.location.rsplit('/').next().expect("a last part");
        Self {
            live,
            secret: secret.to_owned(),
        }
    }
}

/// `None`: HTTP itself would not let it pass.
fn request<'a>(data: &'a [u8], secret: &str) -> Option<(http::request::Parts, &'a [u8])> {
    let (head, body) = match data.windows(2).position(|two| two == b"\n\n") {
        Some(end) => (&data[..end], &data[end + 2..]),
        None => (data, &[][..]),
    };
    let mut lines = head.split(|byte| *byte == b'\n');
    let first = std::str::from_utf8(lines.next()?).ok()?;
    let (method, target) = first.split_once(' ')?;
    let mut request = http::Request::new(());
    *request.method_mut() = Method::from_bytes(method.as_bytes()).ok()?;
    *request.uri_mut() = target.replace("SECRET", secret).parse::<Uri>().ok()?;
    put_headers(request.headers_mut(), lines)?;
    Some((request.into_parts().0, body))
}

fn put_headers<'a>(headers: &mut HeaderMap, lines: impl Iterator<Item = &'a [u8]>) -> Option<()> {
    for line in lines.filter(|line| !line.is_empty()) {
        let colon = line.iter().position(|byte| *byte == b':')?;
        let name = HeaderName::from_bytes(&line[..colon]).ok()?;
        let value = HeaderValue::from_bytes(line[colon + 1..].trim_ascii()).ok()?;
        headers.append(name, value);
    }
    Some(())
}
