//! Names of things that the driver and the core tell each other.

/// One UDP socket of the driver: an index into [`Config::transports`](crate::Config::transports).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TransportId(pub u8);

/// One HTTP request that the driver passed in and that awaits its response. Chosen by the driver,
/// unique among the requests under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RequestId(pub u64);
