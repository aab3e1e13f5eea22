//! Arguments that are fine one by one, and cannot work.

use super::HostError;

/// What was asked for cannot be done.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ArgumentsError {
    /// A host of `--additional-hosts` is of no use.
    #[error(transparent)]
    Host(#[from] HostError),
    /// Neither interfaces, nor further hosts, nor a UDP socket of one address.
    #[error(
        "`--ips-from-interfaces false` leaves no address to offer to clients. Name the one they reach \
         this machine by with `--additional-hosts ADDRESS`, or leave the flag out"
    )]
    NothingToOffer,
}
