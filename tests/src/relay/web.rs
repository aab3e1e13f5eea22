//! The relay's HTTP: a request and its response per connection, passed on nearly as they are.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use super::{Shared, sdp};

/// How long a peer or the server may say nothing. Browsers open connections before they need them.
const PATIENCE: Duration = Duration::from_secs(60);

const HEAD_END: &[u8] = b"\r\n\r\n";

/// Takes connections until the relay is over.
pub(super) fn serve(listener: &TcpListener, shared: &Arc<Shared>) {
    for connection in listener.incoming() {
        if shared.is_over() {
            return;
        }
        let Ok(peer) = connection else { continue };
        let shared = Arc::clone(shared);
        // What becomes of a connection is its peer's concern, who sees it end.
        thread::spawn(move || drop(pass_on(peer, &shared)));
    }
}

fn pass_on(mut peer: TcpStream, shared: &Shared) -> io::Result<()> {
    peer.set_read_timeout(Some(PATIENCE))?;
    let Some(mut request) = Message::read(&mut peer)? else {
        return Ok(());
    };
    let is_offer = request.head.starts_with("POST ") && request.is_description();
    if is_offer && shared.without_repair {
        request.edit(sdp::without_repair);
    }
    let mut server = TcpStream::connect(&shared.server)?;
    server.set_read_timeout(Some(PATIENCE))?;
    server.write_all(&request.bytes())?;
    let Some(mut response) = Message::read(&mut server)? else {
        return Ok(());
    };
    if response.is_description() {
        response.edit(|answer| shared.lead(answer));
    }
    peer.write_all(&response.bytes())?;
    peer.shutdown(Shutdown::Write)
}

/// A request or a response.
struct Message {
    /// With the empty line that ends it.
    head: String,
    body: Vec<u8>,
}

impl Message {
    /// `None` if the other side has nothing to say.
    fn read(from: &mut TcpStream) -> io::Result<Option<Self>> {
        let mut bytes = Vec::new();
        let head_len = loop {
            if let Some(at) = bytes.windows(4).position(|four| four == HEAD_END) {
                break at + HEAD_END.len();
            }
            if !read_more(from, &mut bytes)? {
                return Ok(None);
            }
        };
        let body = bytes.split_off(head_len);
        let head = String::from_utf8_lossy(&bytes).into_owned();
        let mut message = Self { head, body };
        let is_request = !message.head.starts_with("HTTP/");
        let body_len = match message.header("content-length") {
            Some(len) => len.parse().map_err(io::Error::other)?,
            None if is_request => 0,
            // As long as the connection.
            None => usize::MAX,
        };
        while message.body.len() < body_len && read_more(from, &mut message.body)? {}
        Ok(Some(message))
    }

    fn header(&self, name: &str) -> Option<&str> {
        let headers = self.head.lines().filter_map(|line| line.split_once(':'));
        let mut named = headers.filter(|(known, _)| known.eq_ignore_ascii_case(name));
        named.next().map(|(_, value)| value.trim())
    }

    /// Whether its body is SDP, or a fragment of it.
    fn is_description(&self) -> bool {
        let is = |name| matches!(name, "application/sdp" | "application/trickle-ice-sdpfrag");
        self.header("content-type").is_some_and(is)
    }

    fn edit(&mut self, change: impl FnOnce(&str) -> String) {
        self.body = change(&String::from_utf8_lossy(&self.body)).into_bytes();
    }

    /// It as it goes on: the last one of its connection, and as long as it is now.
    fn bytes(&self) -> Vec<u8> {
        let has_len = self.header("content-length").is_some();
        let own = |line: &&str| {
            let name = line.split(':').next().unwrap_or_default();
            !["connection", "content-length"].contains(&name.to_ascii_lowercase().as_str())
        };
        let lines = self.head.trim_end().split("\r\n").filter(own);
        let mut head: String = lines.map(|line| line.to_owned() + "\r\n").collect();
        if has_len {
            head += &format!("Content-Length: {}\r\n", self.body.len());
        }
        head += "Connection: close\r\n\r\n";
        [head.as_bytes(), &self.body].concat()
    }
}

/// Whether there was more.
fn read_more(from: &mut TcpStream, into: &mut Vec<u8>) -> io::Result<bool> {
    let mut buffer = [0; 16_384];
    let len = from.read(&mut buffer)?;
    into.extend_from_slice(&buffer[..len]);
    Ok(len > 0)
}
