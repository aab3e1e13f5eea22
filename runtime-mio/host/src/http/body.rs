//! Request bodies, read whole.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use hyper::body::{Body, Incoming};
use hyper::rt::Timer;
use kvill_core::signal::MAX_BODY_LEN;

/// How much of a body that is too long is read and thrown away, in bytes, so that its client gets
/// to read the refusal: closing a socket with unread data resets the connection. A longer body
/// takes that chance.
pub const DRAIN_LEN_MAX: usize = 1 << 20;
const _: () = assert!(DRAIN_LEN_MAX > MAX_BODY_LEN);

/// Why there is no body.
pub(super) enum BodyError {
    /// It did not come in time.
    TimedOut,
    /// The client went away, or broke the encoding. The connection is of no more use.
    Broken(hyper::Error),
}

/// Reads a body, cut one byte above [`MAX_BODY_LEN`].
pub(super) async fn read_body(
    mut body: Incoming,
    timer: &dyn Timer,
    timeout: Duration,
) -> Result<Bytes, BodyError> {
    if body.is_end_stream() {
        return Ok(Bytes::new());
    }
    let mut timeout = timer.sleep(timeout);
    let mut kept = BytesMut::new();
    let mut seen_len = 0;
    while seen_len <= DRAIN_LEN_MAX {
        let frame = poll_fn(|cx| match Pin::new(&mut body).poll_frame(cx) {
            Poll::Ready(frame) => Poll::Ready(Ok(frame)),
            Poll::Pending => timeout.as_mut().poll(cx).map(|()| Err(BodyError::TimedOut)),
        })
        .await?;
        let Some(frame) = frame else { break };
        let Ok(data) = frame.map_err(BodyError::Broken)?.into_data() else {
            continue;
        };
        seen_len += data.len();
        let room = MAX_BODY_LEN + 1 - kept.len();
        kept.extend_from_slice(&data[..data.len().min(room)]);
    }
    Ok(kept.freeze())
}
