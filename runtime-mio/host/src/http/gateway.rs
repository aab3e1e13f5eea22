//! Between hyper's connections and the core.
//!
//! Requests of one connection are answered one after the other, so there are never more under way
//! than connections.

use std::cell::RefCell;
use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::rt::Timer;
use kvill_core::ids::RequestId;
use kvill_core::signal::{Request, Response, loggable};

use super::Limits;
use super::body::{BodyError, read_body};
use super::refusal::{self, Refusal, Refusals};
use crate::address::canonical;

/// Where requests wait for the core, and connections for its responses. Cloning gives a second
/// handle to the same gateway.
#[derive(Clone)]
pub struct Gateway {
    exchanges: Rc<RefCell<Exchanges>>,
    pub(super) timer: Rc<dyn Timer>,
    pub(super) limits: Limits,
}

/// The requests under way.
#[derive(Default)]
struct Exchanges {
    next_id: u64,
    /// Not passed to the core yet.
    requests: VecDeque<(RequestId, Request)>,
    /// Passed to the core, and given up by their clients.
    cancelled: VecDeque<RequestId>,
    waiting: HashMap<RequestId, Waiting>,
    refusals: Refusals,
}

#[derive(Default)]
struct Waiting {
    response: Option<Response>,
    waker: Option<Waker>,
}

impl fmt::Debug for Gateway {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gateway")
            .field("waiting", &self.exchanges.borrow().waiting.len())
            .field("limits", &self.limits)
            .finish_non_exhaustive()
    }
}

impl Gateway {
    /// A gateway whose time-outs come from the driver's timer.
    pub fn new(timer: Rc<dyn Timer>, limits: Limits) -> Self {
        Self {
            exchanges: Rc::default(),
            timer,
            limits,
        }
    }

    /// The limits it was made with.
    #[must_use]
    pub fn limits(&self) -> Limits {
        self.limits
    }

    /// The next request for the core.
    pub fn poll_request(&self) -> Option<(RequestId, Request)> {
        self.exchanges.borrow_mut().requests.pop_front()
    }

    /// The next request that the core has and nobody waits for any more.
    pub fn poll_cancelled(&self) -> Option<RequestId> {
        self.exchanges.borrow_mut().cancelled.pop_front()
    }

    /// Whether [`poll_request`](Self::poll_request) or [`poll_cancelled`](Self::poll_cancelled) has
    /// something to give.
    #[must_use]
    pub fn has_news(&self) -> bool {
        let exchanges = self.exchanges.borrow();
        !exchanges.requests.is_empty() || !exchanges.cancelled.is_empty()
    }

    /// Whether a request is with the core.
    #[must_use]
    pub fn awaits(&self) -> bool {
        !self.exchanges.borrow().waiting.is_empty()
    }

    /// How many requests were refused without asking the core.
    #[must_use]
    pub fn refused(&self) -> u64 {
        self.exchanges.borrow().refusals.count
    }

    /// Gives a connection the response it waits for. One that nobody waits for is dropped.
    pub fn respond(&self, id: RequestId, response: Response) {
        let waker = match self.exchanges.borrow_mut().waiting.get_mut(&id) {
            Some(waiting) => {
                waiting.response = Some(response);
                waiting.waker.take()
            }
            None => None,
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Reads the request's body, passes it on and waits for the response.
    pub(super) async fn serve(
        self,
        peer: SocketAddr,
        request: http::Request<Incoming>,
    ) -> Result<http::Response<Full<Bytes>>, hyper::Error> {
        let (head, body) = request.into_parts();
        let body = match read_body(body, &*self.timer, self.limits.body_timeout).await {
            Ok(body) => body,
            Err(BodyError::TimedOut) => return Ok(self.refuse(peer, &head, Refusal::Slow)),
            Err(BodyError::Broken(error)) => return Err(error),
        };
        if !refusal::has_its_host(&head) {
            return Ok(self.refuse(peer, &head, Refusal::Host));
        }
        let request = Request {
            peer: canonical(peer),
            tls: false,
            head,
            body,
        };
        Ok(self.begin(request).await.map(Full::new))
    }

    fn refuse(
        &self,
        peer: SocketAddr,
        head: &http::request::Parts,
        refusal: Refusal,
    ) -> http::Response<Full<Bytes>> {
        let request = format!("{} {}", head.method, loggable(head.uri.path()));
        let now = self.timer.now();
        let refusals = &mut self.exchanges.borrow_mut().refusals;
        refusals.note(now, peer, &request, refusal);
        refusal.response().map(Full::new)
    }

    fn begin(self, request: Request) -> Exchange {
        let mut exchanges = self.exchanges.borrow_mut();
        let id = RequestId(exchanges.next_id);
        exchanges.next_id = exchanges.next_id.wrapping_add(1);
        exchanges.requests.push_back((id, request));
        exchanges.waiting.insert(id, Waiting::default());
        drop(exchanges);
        Exchange {
            exchanges: self.exchanges,
            id,
        }
    }
}

/// A request under way: a future of its response. Dropped early, it cancels the request.
struct Exchange {
    exchanges: Rc<RefCell<Exchanges>>,
    id: RequestId,
}

impl Future for Exchange {
    type Output = Response;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Response> {
        let mut exchanges = self.exchanges.borrow_mut();
        let waiting = exchanges.waiting.entry(self.id).or_default();
        if let Some(response) = waiting.response.take() {
            exchanges.waiting.remove(&self.id);
            return Poll::Ready(response);
        }
        waiting.waker = Some(cx.waker().clone());
        Poll::Pending
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        let mut exchanges = self.exchanges.borrow_mut();
        let Some(waiting) = exchanges.waiting.remove(&self.id) else {
            return;
        };
        let queued = exchanges.requests.iter().position(|(id, _)| *id == self.id);
        match queued {
            Some(index) => drop(exchanges.requests.remove(index)),
            None if waiting.response.is_none() => exchanges.cancelled.push_back(self.id),
            None => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::task::Wake;
    use std::time::{Duration, Instant};

    use hyper::rt::Sleep;

    use super::*;

    struct NoTimer;

    impl Timer for NoTimer {
        fn sleep(&self, _: Duration) -> Pin<Box<dyn Sleep>> {
            unreachable!("these tests do not wait")
        }

        fn sleep_until(&self, _: Instant) -> Pin<Box<dyn Sleep>> {
            unreachable!("these tests do not wait")
        }
    }

    struct Ignored;

    impl Wake for Ignored {
        fn wake(self: Arc<Self>) {}
    }

    fn gateway() -> Gateway {
        Gateway::new(Rc::new(NoTimer), Limits::default())
    }

    fn request() -> Request {
        let (head, ()) = http::Request::new(()).into_parts();
        Request {
            peer: "127.0.0.1:1".parse().unwrap(),
            tls: false,
            head,
            body: Bytes::new(),
        }
    }

    fn poll(exchange: &mut Exchange) -> Poll<Response> {
        let waker = Waker::from(Arc::new(Ignored));
        Pin::new(exchange).poll(&mut Context::from_waker(&waker))
    }

    #[test]
    fn a_response_reaches_the_request_it_is_for() {
        let gateway = gateway();
        let mut first = gateway.clone().begin(request());
        let mut second = gateway.clone().begin(request());
        assert!(poll(&mut first).is_pending());
        assert!(poll(&mut second).is_pending());
        let (first_id, _) = gateway.poll_request().unwrap();
        let (second_id, _) = gateway.poll_request().unwrap();
        assert_ne!(first_id, second_id);

        gateway.respond(
            second_id,
            http::Response::new(Bytes::from_static(b"second")),
        );
        assert!(poll(&mut first).is_pending());
        let Poll::Ready(response) = poll(&mut second) else {
            panic!("not woken")
        };
        assert_eq!(response.body(), "second");
        drop(second);
        assert_eq!(gateway.poll_cancelled(), None);
    }

    #[test]
    fn a_client_that_leaves_early_cancels_what_the_core_has() {
        let gateway = gateway();
        let exchange = gateway.clone().begin(request());
        let (id, _) = gateway.poll_request().unwrap();
        drop(exchange);
        assert_eq!(gateway.poll_cancelled(), Some(id));
        assert_eq!(gateway.poll_cancelled(), None);
        gateway.respond(id, http::Response::new(Bytes::new()));
        assert!(gateway.exchanges.borrow().waiting.is_empty());
    }

    #[test]
    fn a_client_that_leaves_before_its_turn_is_never_passed_on() {
        let gateway = gateway();
        drop(gateway.clone().begin(request()));
        assert!(gateway.poll_request().is_none());
        assert_eq!(gateway.poll_cancelled(), None);
    }
}
