//! Logs, to standard error.

use std::io::{IsTerminal, stderr};

use tracing_subscriber::EnvFilter;

/// How much is logged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum LogLevel {
    /// Only what stops the server from working.
    Error,
    /// And what an operator should look at.
    Warn,
    /// And comings and goings, and refused requests.
    Info,
    /// And addresses, refusals that are repeated, and the steps of each session.
    Debug,
    /// And every packet.
    Trace,
}

/// Crates that log their inner steps as if they were events of the server.
const CHATTY: [&str; 4] = ["str0m", "is", "dimpl", "str0m_proto"];

/// Starts logging, once per process: a second call changes nothing. Where standard error cannot be
/// written (a full disk, a reader that went away), lines are lost, and nothing else happens.
pub fn start(level: LogLevel) {
    let _ = tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::new(directives(level)))
        .with_writer(stderr)
        .with_ansi(stderr().is_terminal())
        // It would tell of a failed write on standard error, and panic as that fails too.
        .log_internal_errors(false)
        .try_init();
}

/// The level, and one level less for the chatty ones, unless somebody is looking for a fault.
fn directives(level: LogLevel) -> String {
    let (own, chatty) = match level {
        LogLevel::Error => ("error", "error"),
        LogLevel::Warn => ("warn", "error"),
        LogLevel::Info => ("info", "warn"),
        LogLevel::Debug => ("debug", "debug"),
        LogLevel::Trace => ("trace", "trace"),
    };
    let mut directives = own.to_owned();
    for name in CHATTY {
        directives.push_str(&format!(",{name}={chatty}"));
    }
    directives
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libraries_are_one_level_less_chatty_unless_debugging() {
        assert_eq!(
            directives(LogLevel::Info),
            "info,str0m=warn,is=warn,dimpl=warn,str0m_proto=warn"
        );
        assert!(directives(LogLevel::Debug).contains("dimpl=debug"));
        for level in [
            LogLevel::Error,
            LogLevel::Warn,
            LogLevel::Info,
            LogLevel::Debug,
            LogLevel::Trace,
        ] {
            directives(level).parse::<EnvFilter>().unwrap();
        }
    }
}
