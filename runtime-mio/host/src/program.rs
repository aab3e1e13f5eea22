//! The program around a driver: reads the command line, says hello, serves, and says how it ended.

use std::io::{self, Write};
use std::process::ExitCode;

use crate::banner::Banner;
use crate::cli::Arguments;
use crate::engine::Ended;
use crate::interfaces::read_interfaces;
use crate::logging;
use crate::reach::short_reach;
use crate::spawn::Drive;

/// Serves as the command line says, until SIGINT or SIGTERM; `name` is the program's. Exits the
/// process where the command line cannot be read.
#[must_use]
pub fn main<D: Drive>(name: &'static str) -> ExitCode {
    let arguments = Arguments::parse_as(name);
    logging::start(arguments.log_level);
    match serve::<D>(name, arguments) {
        Ok(Ended::Stopped) => ExitCode::SUCCESS,
        Ok(Ended::Interrupted { signal }) => ExitCode::from(exit_code(signal)),
        Err(error) => {
            // Not `eprintln!`: it panics where standard error cannot be written.
            let _ = writeln!(io::stderr(), "{name}: {error}");
            ExitCode::FAILURE
        }
    }
}

fn serve<D: Drive>(
    name: &'static str,
    arguments: Arguments,
) -> Result<Ended, Box<dyn std::error::Error>> {
    let settings = arguments.into_settings()?;
    let additional_hosts = settings.config.additional_hosts.clone();
    let mut driver = D::bind(settings)?;
    driver.stop_on_signals()?;
    // Before the banner, whose URLs are to stay in sight.
    let (udp, interfaces) = (driver.udp_addresses(), driver.interfaces());
    if let Some(reach) = short_reach(udp, &additional_hosts, interfaces) {
        tracing::warn!("{reach}");
    }
    say_hello(name, &driver)?;
    Ok(driver.run()?)
}

fn say_hello(name: &'static str, driver: &impl Drive) -> io::Result<()> {
    // All: HTTP is served by those, too, whose addresses are not wanted for media.
    let interfaces = read_interfaces().unwrap_or_default();
    let banner = Banner {
        program: &format!("{name} {}", env!("CARGO_PKG_VERSION")),
        http: driver.http_addresses(),
        udp: driver.udp_addresses(),
        interfaces: &interfaces,
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
