//! HTTP as a test needs it: one request, one connection, the whole response. Or several, over a
//! [`Connection`].

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

use serde_json::Value;

/// How long a response may take: longer than the server waits for a body.
const PATIENCE: Duration = Duration::from_secs(15);

/// What ends the headers.
const HEAD_END: &[u8] = b"\r\n\r\n";

/// A response.
#[derive(Debug, Clone)]
pub struct Reply {
    /// Its status.
    pub status: u16,
    /// Its first line and its headers, as they came.
    pub head: String,
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
    let headers = [&[("Connection", "close")], headers].concat();
    ask_raw(url, &request(host(url), method, target, &headers, body))
}

/// The bytes of a request.
#[must_use]
pub fn request(
    host: &str,
    method: &str,
    target: &str,
    headers: &[(&str, &str)],
    body: impl AsRef<[u8]>,
) -> Vec<u8> {
    let body = body.as_ref();
    let mut head = format!("{method} {target} HTTP/1.1\r\nHost: {host}\r\n");
    for (name, value) in headers {
        head += &format!("{name}: {value}\r\n");
    }
    head += &format!("Content-Length: {}\r\n\r\n", body.len());
    [head.as_bytes(), body].concat()
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
    let mut connection = Connection::open(url);
    connection.send(request);
    let mut response = Vec::new();
    match connection.stream.read_to_end(&mut response) {
        Err(error) if error.kind() != ErrorKind::ConnectionReset || response.is_empty() => {
            panic!("no response from {url}: {error}")
        }
        _ => parse(&String::from_utf8_lossy(&response)),
    }
}

/// A connection for one request after the other.
#[derive(Debug)]
pub struct Connection {
    stream: TcpStream,
    /// What came after the last response.
    unread: Vec<u8>,
}

impl Connection {
    /// Connects to the server at `url`, which is `http://HOST:PORT`.
    ///
    /// # Panics
    ///
    /// If nobody listens there.
    #[must_use]
    pub fn open(url: &str) -> Self {
        let stream = TcpStream::connect(host(url)).expect("the server listens");
        stream
            .set_read_timeout(Some(PATIENCE))
            .expect("a time-out that is not zero");
        Self {
            stream,
            unread: Vec::new(),
        }
    }

    /// Sends what may be any part of a request, or several.
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) {
        // A server that refuses early need not read all of it.
        let _ = self.stream.write_all(bytes.as_ref());
    }

    /// Says that nothing more will be sent.
    pub fn finish_sending(&mut self) {
        // A server that has closed need not be told.
        let _ = self.stream.shutdown(Shutdown::Write);
    }

    /// The next response; that to a `HEAD` has no body. `None` if the server closes instead.
    ///
    /// # Panics
    ///
    /// If nothing comes for 15 s, or half a response.
    pub fn next(&mut self, has_body: bool) -> Option<Reply> {
        let head_len = loop {
            if let Some(at) = self.unread.windows(4).position(|four| four == HEAD_END) {
                break at + HEAD_END.len();
            }
            if !self.read_more() {
                let unread = String::from_utf8_lossy(&self.unread);
                assert!(unread.is_empty(), "half a response: {unread}");
                return None;
            }
        };
        let mut reply = parse(&String::from_utf8_lossy(&self.unread[..head_len]));
        self.unread.drain(..head_len);
        let is_without = matches!(reply.status, 100..200 | 204 | 304) || !has_body;
        let len = reply.header("content-length").map(str::parse);
        let len = match len {
            _ if is_without => 0,
            Some(len) => len.expect("a length is a number"),
            // As long as the connection.
            None => usize::MAX,
        };
        while self.unread.len() < len && self.read_more() {}
        let body = self.unread.drain(..len.min(self.unread.len()));
        reply.body = String::from_utf8_lossy(&body.collect::<Vec<_>>()).into_owned();
        Some(reply)
    }

    /// Whether there was more.
    fn read_more(&mut self) -> bool {
        let mut buffer = [0; 16_384];
        match self.stream.read(&mut buffer) {
            Ok(len) => {
                self.unread.extend_from_slice(&buffer[..len]);
                len > 0
            }
            Err(error) if error.kind() == ErrorKind::ConnectionReset => false,
            Err(error) => panic!("nothing came from the server: {error}"),
        }
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
        head: head.to_owned(),
        status: status.unwrap_or_else(|| panic!("a response has a status: {response:?}")),
        headers: headers.collect(),
        body: body.to_owned(),
    }
}
