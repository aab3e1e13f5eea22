//! Kvill on mio.
