//! Offers by HTTP, several at a time: WHIP and WHEP are one POST, and one DELETE at the end.

use std::io;
use std::net::{IpAddr, ToSocketAddrs};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;
use ureq::http::{StatusCode, Uri, header};
use ureq::tls::TlsConfig;
use ureq::{Agent, Error};

/// A stream that has just been published may need so long until it can be watched.
const STREAM_TIME: Duration = Duration::from_secs(5);

/// Between two looks whether it can.
const STREAM_POLL: Duration = Duration::from_millis(100);

/// How long it may take to end a session while others still join.
const DELETE_TIME: Duration = Duration::from_secs(2);

/// How much of a refusal is shown.
const REFUSAL_LEN_MAX: usize = 300;

/// What to do where something else answers.
const ENDPOINT: &str = " (that is no WHIP or WHEP endpoint: is it that path?)";

/// Where somebody publishes or watches.
#[derive(Debug, Clone)]
pub struct Endpoint {
    uri: Uri,
    token: Option<String>,
}

/// A session's URL, if it has one, and the answer.
type Session = (Option<String>, String);

/// What the desk does.
#[derive(Debug)]
enum Task {
    Offer(usize, Endpoint, String),
    Delete(String, Option<String>),
}

/// What came of an offer.
#[derive(Debug)]
pub(super) struct Answered {
    /// Who made it.
    pub(super) who: usize,
    /// When it was sent.
    pub(super) asked: Instant,
    /// Or what went wrong.
    pub(super) result: Result<Session, String>,
}

/// Threads that send offers.
#[derive(Debug)]
pub(super) struct Desk {
    tasks: Sender<Task>,
    answers: Receiver<Answered>,
    threads: Vec<thread::JoinHandle<()>>,
    agent: Agent,
    closing: Closing,
}

/// No offers are sent any more, and sessions are ended until then.
type Closing = Arc<Mutex<Option<Instant>>>;

impl Endpoint {
    /// Reads a URL of `http` or `https`. A token is sent as `Authorization: Bearer`.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(url: &str, token: Option<String>) -> Result<Self, String> {
        let uri = url.parse::<Uri>().ok();
        let is_usable =
            |uri: &Uri| matches!(uri.scheme_str(), Some("http" | "https")) && uri.host().is_some();
        match uri.filter(is_usable) {
            Some(uri) => Ok(Self { uri, token }),
            None => Err(format!(
                "{url} cannot be used: give a whole URL, http://127.0.0.1:8889/live/whep say"
            )),
        }
    }

    /// The server's address.
    ///
    /// # Errors
    /// Its name has none.
    pub(super) fn address(&self) -> Result<IpAddr, String> {
        let host = self.uri.host().unwrap_or_default();
        let host = host.trim_matches(['[', ']']);
        let addresses = (host, 0).to_socket_addrs();
        let addresses = addresses.map_err(|error| {
            let uri = &self.uri;
            format!("{uri}: {host} has no address: is the name right? ({error})")
        })?;
        let first = addresses.map(|address| address.ip()).next();
        first.ok_or_else(|| format!("{}: {host} has no address", self.uri))
    }

    /// Its URL.
    pub(super) fn uri(&self) -> &Uri {
        &self.uri
    }
}

impl Desk {
    /// So many threads; `wake` is called when there is an answer. A response may take `patience`, and
    /// a stream that is not there may still come if it is expected.
    pub(super) fn new(
        threads: usize,
        patience: Duration,
        is_insecure: bool,
        is_expected: bool,
        wake: impl Fn() + Send + Sync + 'static,
    ) -> io::Result<Self> {
        let tls = TlsConfig::builder().disable_verification(is_insecure);
        let agent = Agent::config_builder()
            .timeout_global(Some(patience))
            .http_status_as_error(false)
            .max_idle_connections_per_host(threads)
            .user_agent(concat!("kvill-load/", env!("CARGO_PKG_VERSION")))
            .tls_config(tls.build())
            .build()
            .new_agent();
        let (tasks, queue) = mpsc::channel();
        let (answers_in, answers) = mpsc::channel();
        let (queue, wake) = (Arc::new(Mutex::new(queue)), Arc::new(wake));
        let (mut running, closing) = (Vec::new(), Closing::default());
        for _ in 0..threads {
            let (queue, agent) = (Arc::clone(&queue), agent.clone());
            let (answers, wake) = (answers_in.clone(), Arc::clone(&wake));
            let closing = Arc::clone(&closing);
            let thread = thread::Builder::new().name("offers".to_owned());
            running
                .push(thread.spawn(move || {
                    work(&queue, &agent, is_expected, &closing, &answers, &*wake)
                })?);
        }
        Ok(Self {
            tasks,
            answers,
            threads: running,
            agent,
            closing,
        })
    }

    /// Has an offer sent.
    pub(super) fn offer(&self, who: usize, endpoint: &Endpoint, offer: String) {
        self.queue(Task::Offer(who, endpoint.clone(), offer));
    }

    /// What came of an offer, if something did.
    pub(super) fn answered(&self) -> Option<Answered> {
        self.answers.try_recv().ok()
    }

    /// Sends an offer, and waits for what comes of it.
    pub(super) fn offer_at_once(
        &self,
        endpoint: &Endpoint,
        offer: &str,
    ) -> Result<Session, String> {
        post(&self.agent, endpoint, offer).map_err(|refused| refused.why)
    }

    /// Has a session ended.
    pub(super) fn delete(&self, session: String, token: Option<String>) {
        self.queue(Task::Delete(session, token));
    }

    /// Waits until all sessions are ended, no longer than until `deadline`.
    pub(super) fn close(self, deadline: Instant) {
        *self.closing.lock().unwrap_or_else(PoisonError::into_inner) = Some(deadline);
        drop(self.tasks);
        // The last thread that ends takes its end of the channel along.
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.answers.recv_timeout(left) {
                Ok(_) => {}
                Err(RecvTimeoutError::Disconnected) => break,
                // A server that does not respond keeps nobody.
                Err(RecvTimeoutError::Timeout) => return,
            }
        }
        for thread in self.threads {
            // One that has panicked has said so.
            let _ = thread.join();
        }
    }

    fn queue(&self, task: Task) {
        // Fails only where all threads have panicked, which is seen there.
        let _ = self.tasks.send(task);
    }
}

fn work(
    queue: &Mutex<Receiver<Task>>,
    agent: &Agent,
    is_expected: bool,
    closing: &Closing,
    answers: &Sender<Answered>,
    wake: &dyn Fn(),
) {
    let next = || queue.lock().unwrap_or_else(PoisonError::into_inner).recv();
    let closing = || *closing.lock().unwrap_or_else(PoisonError::into_inner);
    while let Ok(task) = next() {
        match task {
            Task::Offer(..) if closing().is_some() => {}
            Task::Offer(who, endpoint, offer) => {
                let asked = Instant::now();
                let mut result = post(agent, &endpoint, &offer);
                while is_expected
                    && closing().is_none()
                    && asked.elapsed() < STREAM_TIME
                    && matches!(
                        result,
                        Err(Refused {
                            is_missing: true,
                            ..
                        })
                    )
                {
                    thread::sleep(STREAM_POLL);
                    result = post(agent, &endpoint, &offer);
                }
                let result = result.map_err(|refused| refused.why);
                // Nobody waits any more when the run is over.
                let _ = answers.send(Answered { who, asked, result });
                wake();
            }
            Task::Delete(session, token) => {
                let left = closing().map(|end| end.saturating_duration_since(Instant::now()));
                if left.is_some_and(|left| left.is_zero()) {
                    continue;
                }
                let config = agent.delete(&session).config();
                let mut request = config.timeout_global(left.or(Some(DELETE_TIME))).build();
                if let Some(token) = token {
                    request = request.header("Authorization", format!("Bearer {token}"));
                }
                // A session that is over already is as good.
                let _ = request.call();
            }
        }
    }
}

/// An offer came to nothing.
struct Refused {
    /// There is no such stream.
    is_missing: bool,
    why: String,
}

fn post(agent: &Agent, endpoint: &Endpoint, offer: &str) -> Result<Session, Refused> {
    let uri = &endpoint.uri;
    let mut request = agent.post(uri).header("Content-Type", "application/sdp");
    if let Some(token) = &endpoint.token {
        request = request.header("Authorization", format!("Bearer {token}"));
    }
    let refused = |is_missing, why: String| Refused {
        is_missing,
        why: format!("POST {uri}: {why}"),
    };
    let failed = |error: Error| refused(false, explain(&error));
    let mut response = request.send(offer).map_err(failed)?;
    let status = response.status();
    let location = response.headers().get(header::LOCATION).cloned();
    let body = response.body_mut().read_to_string().map_err(failed)?;
    if status != StatusCode::CREATED {
        let why = format!("{status}{}{}", sentence(&body), advice(status));
        return Err(refused(status == StatusCode::NOT_FOUND, why));
    }
    if !body.starts_with("v=") {
        let why = format!(
            "{status}, and what came is no SDP{}{ENDPOINT}",
            sentence(&body)
        );
        return Err(refused(false, why));
    }
    let location = location.and_then(|location| absolute(uri, location.to_str().ok()?));
    Ok((location, body))
}

/// What went wrong before there was an answer, and what to do.
fn explain(error: &Error) -> String {
    match error {
        Error::Io(io) if io.kind() == io::ErrorKind::ConnectionRefused => {
            "nobody listens there: is the server running, and is it that port?".to_owned()
        }
        Error::Io(io) => match io.get_ref().and_then(|inner| inner.downcast_ref()) {
            Some(tls) => explain_tls(tls),
            None => format!(
                "the connection broke before there was a response ({io}): is it that port, and does it \
                 take http, or https?"
            ),
        },
        Error::Rustls(tls) => explain_tls(tls),
        Error::Timeout(_) => {
            "the server accepts the connection and does not respond in time: look at \
                              its log, or give it longer by --timeout"
                .to_owned()
        }
        Error::HostNotFound => "the server's name has no address: is it right?".to_owned(),
        Error::Protocol(_) => format!(
            "what responds does not speak HTTP ({error}): is it that port, and does it take http, or https?"
        ),
        _ => error.to_string(),
    }
}

fn explain_tls(error: &rustls::Error) -> String {
    match error {
        rustls::Error::InvalidCertificate(_) => {
            format!("{error}: take it all the same by --insecure")
        }
        _ => format!("there is no https ({error}): is it that port, and does it take http?"),
    }
}

/// What a server says of a refusal, as far as that is a sentence: pages are not.
fn sentence(body: &str) -> String {
    let json: Option<Value> = serde_json::from_str(body).ok();
    let error = json.as_ref().and_then(|json| json["error"].as_str());
    let said = error.unwrap_or(body).trim();
    match said.is_empty() || said.starts_with('<') {
        true => String::new(),
        false => {
            let short: String = in_line(said).chars().take(REFUSAL_LEN_MAX).collect();
            format!(": {short}")
        }
    }
}

/// All lines of a text as one.
pub(super) fn in_line(text: &str) -> String {
    let words: Vec<_> = text.split_whitespace().collect();
    words.join(" ")
}

fn advice(status: StatusCode) -> &'static str {
    match status {
        StatusCode::NOT_FOUND => {
            " (is anybody publishing there, and is it that path? MediaMTX and Kvill have …/PATH/whip \
             and …/PATH/whep)"
        }
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => " (give a token that may, by --token)",
        StatusCode::METHOD_NOT_ALLOWED => ENDPOINT,
        status if status.is_success() => ENDPOINT,
        StatusCode::NOT_ACCEPTABLE | StatusCode::UNSUPPORTED_MEDIA_TYPE => {
            " (the server has no use for the codecs of the offer: try another --codec)"
        }
        StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => {
            " (a limit of the server's: fewer --viewers, or a lower --join-rate)"
        }
        _ => "",
    }
}

/// A session's URL, which may be given without its host (RFC 9725 §4.2).
fn absolute(base: &Uri, location: &str) -> Option<String> {
    if location.starts_with("http://") || location.starts_with("https://") {
        return Some(location.to_owned());
    }
    let origin = format!("{}://{}", base.scheme_str()?, base.authority()?);
    if location.starts_with('/') {
        return Some(origin + location);
    }
    let (folder, _) = base.path().rsplit_once('/')?;
    Some(format!("{origin}{folder}/{location}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_may_be_named_without_its_server() {
        let base: Uri = "http://host:1/live/whep?a=b".parse().unwrap();
        for (location, whole) in [
            ("/live/whep/x", "http://host:1/live/whep/x"),
            ("x", "http://host:1/live/x"),
            ("https://other/x", "https://other/x"),
        ] {
            assert_eq!(absolute(&base, location).as_deref(), Some(whole));
        }
    }

    #[test]
    fn of_a_refusal_sentences_are_shown() {
        for (body, shown) in [
            ("", ""),
            ("<html>404</html>", ""),
            ("  no such\r\nstream\n", ": no such stream"),
            (r#"{"status":"error","error":"no stream"}"#, ": no stream"),
        ] {
            assert_eq!(sentence(body), shown);
        }
    }

    #[test]
    fn half_a_url_is_refused_with_an_example() {
        for url in ["127.0.0.1:8889/live/whep", "ftp://host/x", "/live"] {
            let error = Endpoint::parse(url, None).unwrap_err();
            assert!(error.contains(url), "{error}");
        }
    }
}
