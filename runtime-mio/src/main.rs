//! The server `kvill`.

use std::io::{self, Write};
use std::process::ExitCode;

use clap::Parser;
use kvill_host::banner::Banner;
use kvill_host::cli::Arguments;
use kvill_host::logging;
use kvill_host::reach::short_reach;
use kvill_mio::{Driver, Ended};

const PROGRAM: &str = concat!("kvill ", env!("CARGO_PKG_VERSION"));

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    logging::start(arguments.log_level);
    match serve(arguments) {
        Ok(Ended::Stopped) => ExitCode::SUCCESS,
        Ok(Ended::Interrupted { signal }) => ExitCode::from(exit_code(signal)),
        Err(error) => {
            // Not `eprintln!`: it panics where standard error cannot be written.
            let _ = writeln!(io::stderr(), "kvill: {error}");
            ExitCode::FAILURE
        }
    }
}

fn serve(arguments: Arguments) -> Result<Ended, Box<dyn std::error::Error>> {
    let settings = arguments.into_settings()?;
    let additional_hosts = settings.config.additional_hosts.clone();
    let mut driver = Driver::bind(settings)?;
    driver.stop_on_signals()?;
    // Before the banner, whose URLs are to stay in sight.
    let (udp, interfaces) = (driver.udp_addresses(), driver.interfaces());
    if let Some(reach) = short_reach(udp, &additional_hosts, interfaces) {
        tracing::warn!("{reach}");
    }
    say_hello(&driver)?;
    Ok(driver.run()?)
}

fn say_hello(driver: &Driver) -> io::Result<()> {
    let banner = Banner {
        program: PROGRAM,
        http: driver.http_addresses(),
        udp: driver.udp_addresses(),
        interfaces: driver.interfaces(),
    };
    let mut stdout = io::stdout().lock();
    // A reader that went away is no reason not to serve.
    match write!(stdout, "{banner}").and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error),
        _ => Ok(()),
    }
}

/// What shells expect of a process that a signal ended.
fn exit_code(signal: i32) -> u8 {
    u8::try_from(128 + signal).unwrap_or(1)
}
