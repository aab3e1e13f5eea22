//! SIGINT and SIGTERM as readiness events.
//!
//! Where there are no Unix signals, Ctrl-C ends the process the system's way, without a goodbye to
//! the sessions.

#[cfg(unix)]
mod system {
    use std::{fmt, io};

    use mio::{Interest, Registry};
    use signal_hook::consts::{SIGINT, SIGTERM};
    use signal_hook_mio::v1_0::Signals;

    use crate::token::Source;

    /// The signals that stop the server.
    pub(crate) struct StopSignals(Signals);

    impl fmt::Debug for StopSignals {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("StopSignals")
        }
    }

    impl StopSignals {
        /// Takes the signals over from the system, and registers.
        pub(crate) fn new(registry: &Registry) -> io::Result<Self> {
            let mut signals = Signals::new([SIGINT, SIGTERM])?;
            registry.register(&mut signals, Source::Signal.into(), Interest::READABLE)?;
            Ok(Self(signals))
        }

        /// The signals that arrived since the last call.
        pub(crate) fn take(&mut self) -> impl Iterator<Item = i32> {
            self.0.pending()
        }
    }
}

#[cfg(not(unix))]
mod system {
    use std::io;

    /// No signals here.
    #[derive(Debug)]
    pub(crate) struct StopSignals;

    impl StopSignals {
        pub(crate) fn new(_registry: &mio::Registry) -> io::Result<Self> {
            Ok(Self)
        }

        pub(crate) fn take(&mut self) -> impl Iterator<Item = i32> {
            std::iter::empty()
        }
    }
}

pub(crate) use system::StopSignals;
