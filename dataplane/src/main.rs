//! `spillway-dataplane`: the process of one media node.

use std::io::{ErrorKind, Write};

use clap::Command;
use spillway_dataplane::config::{Config, SETTINGS};
use spillway_dataplane::start;
use spillway_settings::Values;

fn main() {
    if let Err(error) = run() {
        print_error(&format!("spillway-dataplane: {error:#}\n"));
        std::process::exit(1);
    }
}

fn run() -> anyhow::Result<()> {
    let about = "Receives, decrypts, forwards, encrypts and sends the media of WebRTC sessions";
    let command = Command::new("spillway-dataplane")
        .version(env!("CARGO_PKG_VERSION"))
        .about(about);
    let matches = spillway_settings::command(command, SETTINGS).get_matches();
    let mut values = Values::gather(&matches, SETTINGS)?;
    let config = Config::check(&values, &start::host()?)?;
    for warning in values.warnings() {
        print_error(&format!("warning: {warning}\n"));
    }
    if spillway_settings::is_check(&matches) {
        config.check_files()?;
        let mut out = std::io::stdout().lock();
        let said = format!("{}the configuration is good\n", values.print_effective());
        return match out.write_all(said.as_bytes()).and_then(|()| out.flush()) {
            Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(error.into()),
            Ok(()) | Err(_) => Ok(()),
        };
    }
    spillway_settings::start_log(&config.log).map_err(anyhow::Error::msg)?;
    let list = |items: &mut dyn Iterator<Item = String>| items.collect::<Vec<_>>().join(",");
    values.set_default("node", &config.node);
    values.set_default("shards", config.cores.len());
    values.set_default(
        "cores",
        list(&mut config.cores.iter().map(ToString::to_string)),
    );
    values.set_default(
        "advertise",
        list(&mut config.advertise.iter().map(ToString::to_string)),
    );
    print_error(&values.print_effective());
    start::run(&config)
}

/// Writes to stderr, which may be closed.
fn print_error(text: &str) {
    // A failed write to stderr cannot be reported anywhere else.
    let _ = std::io::stderr().write_all(text.as_bytes());
}
