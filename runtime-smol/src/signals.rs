//! SIGINT and SIGTERM as a stream of the loop.
//!
//! Where there are no Unix signals, Ctrl-C ends the process the system's way, without a goodbye to
//! the sessions.

#[cfg(unix)]
mod system {
    use std::io;
    use std::pin::Pin;
    use std::task::{Context, Poll};

    use async_signal::{Signal, Signals};
    use smol::stream::Stream as _;

    /// The signals that stop the server.
    #[derive(Debug)]
    pub(crate) struct StopSignals(Signals);

    impl StopSignals {
        /// Takes the signals over from the system.
        pub(crate) fn new() -> io::Result<Self> {
            Ok(Self(Signals::new([Signal::Int, Signal::Term])?))
        }

        /// The signals that arrived since the last call. The waker is woken at the next one.
        pub(crate) fn take(&mut self, cx: &mut Context<'_>) -> impl Iterator<Item = i32> {
            std::iter::from_fn(move || match Pin::new(&mut self.0).poll_next(cx) {
                Poll::Ready(Some(Ok(signal))) => Some(signal as i32),
                _ => None,
            })
        }
    }
}

#[cfg(not(unix))]
mod system {
    use std::io;
    use std::task::Context;

    /// No signals here.
    #[derive(Debug)]
    pub(crate) struct StopSignals;

    impl StopSignals {
        pub(crate) fn new() -> io::Result<Self> {
            Ok(Self)
        }

        pub(crate) fn take(&mut self, _cx: &mut Context<'_>) -> impl Iterator<Item = i32> {
            std::iter::empty()
        }
    }
}

pub(crate) use system::StopSignals;
