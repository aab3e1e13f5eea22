//! What stands before a server where it is reached from outside: it speaks TLS, asks for a token, and
//! knows what was asked.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use rustls::crypto::ring;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

/// What ends the headers.
const HEAD_END: &[u8] = b"\r\n\r\n";

const REFUSAL: &[u8] =
    b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";

/// See the module. It is there until the tests end.
pub(crate) struct Front {
    url: String,
    asked: Arc<Mutex<Vec<String>>>,
}

/// What is behind it, and who may pass.
#[derive(Clone)]
struct Gate {
    server: SocketAddr,
    token: Option<&'static str>,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Front {
    /// Before the server at `url`, by HTTP. Who has not this token is refused.
    pub(crate) fn guarded(url: &str, token: &'static str) -> Self {
        Self::open("http", url, Some(token), Gate::pass)
    }

    /// Before the server at `url`, by HTTPS, with a certificate that it has made itself.
    pub(crate) fn encrypted(url: &str) -> Self {
        let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]);
        let made = made.expect("the crypto library makes certificates");
        let key = PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
        let config = ServerConfig::builder_with_provider(ring::default_provider().into())
            .with_safe_default_protocol_versions()
            .expect("versions of this library")
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], PrivateKeyDer::Pkcs8(key));
        let config = Arc::new(config.expect("a key and its certificate"));
        Self::open("https", url, None, move |gate, client| {
            let tls = ServerConnection::new(Arc::clone(&config)).map_err(io::Error::other)?;
            gate.pass(StreamOwned::new(tls, client))
        })
    }

    fn open(
        scheme: &str,
        url: &str,
        token: Option<&'static str>,
        pass: impl Fn(&Gate, TcpStream) -> io::Result<()> + Clone + Send + 'static,
    ) -> Self {
        let server = url.strip_prefix("http://").map(str::parse);
        let server = server.expect("a URL of HTTP").expect("an address");
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("a socket that is bound");
        let asked = Arc::default();
        let gate = Gate {
            server,
            token,
            asked: Arc::clone(&asked),
        };
        thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let (gate, pass) = (gate.clone(), pass.clone());
                // A client that does not get through says so itself.
                thread::spawn(move || drop(pass(&gate, client)));
            }
        });
        Self {
            url: format!("{scheme}://{address}"),
            asked,
        }
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// How many requests there were that begin so, and were let through.
    pub(crate) fn asked(&self, begin: &str) -> usize {
        let asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        asked.iter().filter(|line| line.starts_with(begin)).count()
    }
}

impl Gate {
    /// One request and its response.
    fn pass(&self, mut client: impl Read + Write) -> io::Result<()> {
        let (head, body) = request(&mut client)?;
        let (line, headers) = head.split_once("\r\n").ok_or(io::ErrorKind::InvalidData)?;
        let is_given = |token: &str| {
            let wanted = format!("authorization: bearer {token}");
            let mut lines = headers.lines();
            lines.any(|line| line.eq_ignore_ascii_case(&wanted))
        };
        if self.token.is_some_and(|token| !is_given(token)) {
            return client.write_all(REFUSAL).and_then(|()| client.flush());
        }
        let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        asked.push(line.to_owned());
        drop(asked);
        let mut server = TcpStream::connect(self.server)?;
        server.write_all(format!("{line}\r\nConnection: close\r\n{headers}").as_bytes())?;
        server.write_all(&body)?;
        let mut response = Vec::new();
        server.read_to_end(&mut response)?;
        client.write_all(&response)?;
        client.flush()
    }
}

/// A request's head, with the empty line behind it, and its body.
fn request(client: &mut impl Read) -> io::Result<(String, Vec<u8>)> {
    let mut bytes = Vec::new();
    let mut part = [0; 4096];
    let mut read = |bytes: &mut Vec<u8>| match client.read(&mut part)? {
        0 => Err(io::Error::from(io::ErrorKind::UnexpectedEof)),
        len => {
            bytes.extend_from_slice(&part[..len]);
            Ok(())
        }
    };
    let end = loop {
        let end = bytes.windows(HEAD_END.len()).position(|it| it == HEAD_END);
        match end {
            Some(end) => break end + HEAD_END.len(),
            None => read(&mut bytes)?,
        }
    };
    let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
    let lower = head.to_ascii_lowercase();
    let mut lens = lower
        .lines()
        .filter_map(|line| line.strip_prefix("content-length:"));
    let len = lens.find_map(|len| len.trim().parse().ok()).unwrap_or(0);
    while bytes.len() < end + len {
        read(&mut bytes)?;
    }
    Ok((head, bytes.split_off(end)))
}
