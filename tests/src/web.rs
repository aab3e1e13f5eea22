//! HTTP as a test needs it: one request, one connection, the whole response.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use serde_json::Value;

/// How long a response may take: longer than the server waits for a body.
const PATIENCE: Duration = Duration::from_secs(15);

/// A response.
#[derive(Debug, Clone)]
pub struct Reply {
    /// Its status.
    pub status: u16,
    /// Its headers, names in lower case.
    pub headers: Vec<(String, String)>,
    /// Its body.
    pub body: String,
}

impl Reply {
    /// The first header of a name, which is given in lower case.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        let header = self.headers.iter().find(|(known, _)| known == name);
        header.map(|(_, value)| value.as_str())
    }

    /// The sentence of a refusal, whose body has to be `{"status":"error","error":SENTENCE}`.
    ///
    /// # Panics
    ///
    /// If it is anything else.
    #[must_use]
    pub fn sentence(&self) -> String {
        assert_eq!(
            self.header("content-type"),
            Some("application/json"),
            "{self:?}"
        );
        let body: Value = serde_json::from_str(&self.body)
            .unwrap_or_else(|error| panic!("a refusal is JSON ({error}): {self:?}"));
        assert_eq!(body["status"], "error", "{self:?}");
        let sentence = body["error"].as_str();
        sentence
            .unwrap_or_else(|| panic!("a refusal has a sentence: {self:?}"))
            .to_owned()
    }
}

/// Sends a request to the server at `url`, which is `http://HOST:PORT`, and gives the response.
///
/// # Panics
///
/// If there is none.
#[must_use]
pub fn ask(
    url: &str,
    method: &str,
    target: &str,
    headers: &[(&str, &str)],
    body: impl AsRef<[u8]>,
) -> Reply {
    let (host, body) = (host(url), body.as_ref());
    let mut head = format!("{method} {target} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n");
    for (name, value) in headers {
        head += &format!("{name}: {value}\r\n");
    }
    head += &format!("Content-Length: {}\r\n\r\n", body.len());
    ask_raw(url, &[head.as_bytes(), body].concat())
}

/// POSTs an offer.
///
/// # Panics
///
/// If there is no response.
#[must_use]
pub fn offer(url: &str, endpoint: &str, offer: &str) -> Reply {
    let headers = [("Content-Type", "application/sdp")];
    ask(url, "POST", endpoint, &headers, offer)
}

/// Sends bytes that may be any request, and gives the response.
///
/// # Panics
///
/// If there is none.
#[must_use]
pub fn ask_raw(url: &str, request: &[u8]) -> Reply {
    let mut stream = TcpStream::connect(host(url)).expect("the server listens");
    stream
        .set_read_timeout(Some(PATIENCE))
        .expect("a time-out that is not zero");
    // A server that refuses early need not read all of it.
    let _ = stream.write_all(request);
    let mut response = Vec::new();
    match stream.read_to_end(&mut response) {
        Err(error) if error.kind() != ErrorKind::ConnectionReset || response.is_empty() => {
            panic!("no response from {url}: {error}")
        }
        _ => parse(&String::from_utf8_lossy(&response)),
    }
}

fn host(url: &str) -> &str {
    url.strip_prefix("http://").expect("an http URL")
}

fn parse(response: &str) -> Reply {
    let (head, body) = response
        .split_once("\r\n\r\n")
        .unwrap_or_else(|| panic!("a response has a head: {response:?}"));
    let mut lines = head.lines();
    let status = lines.next().and_then(|line| line.split(' ').nth(1));
    let status = status.and_then(|status| status.parse().ok());
    let headers = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()));
    Reply {
        status: status.unwrap_or_else(|| panic!("a response has a status: {response:?}")),
        headers: headers.collect(),
        body: body.to_owned(),
    }
}
