//! Answers that the core is not asked for.

use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_TYPE, HOST};
use http::{HeaderValue, StatusCode, Version};
use kvill_core::signal::Response;

/// Whether a request names the host it is for, as one of HTTP/1.1 has to, once (RFC 9112 §3.2).
pub(super) fn has_its_host(head: &http::request::Parts) -> bool {
    match head.headers.get_all(HOST).iter().count() {
        0 => head.version < Version::HTTP_11,
        count => count == 1,
    }
}

/// The answer to a request that does not name its host (RFC 9112 §3.2).
pub(super) fn host_missing() -> Response {
    refusal(
        StatusCode::BAD_REQUEST,
        br#"{"status":"error","error":"an HTTP/1.1 request names its host once: send one Host header"}"#,
    )
}

/// The answer to a body that did not come in time (RFC 9110 §15.5.9).
pub(super) fn request_timeout() -> Response {
    let mut response = refusal(
        StatusCode::REQUEST_TIMEOUT,
        br#"{"status":"error","error":"the request body did not arrive in time: send it at once"}"#,
    );
    let headers = response.headers_mut();
    headers.insert(CONNECTION, HeaderValue::from_static("close"));
    response
}

fn refusal(status: StatusCode, body: &'static [u8]) -> Response {
    let mut response = http::Response::new(Bytes::from_static(body));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}
