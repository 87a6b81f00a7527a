//! `spillway-dataplane`: one media node.

use std::io::IsTerminal;

use clap::Command;
use spillway_dataplane::config::{Config, SETTINGS};
use spillway_dataplane::start;
use spillway_settings::Values;
use tracing_subscriber::EnvFilter;

fn main() {
    if let Err(error) = run() {
        eprintln!("spillway-dataplane: {error:#}");
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
    tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::try_new(&config.log)?)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr)
        .init();
    let list = |items: &mut dyn Iterator<Item = String>| items.collect::<Vec<_>>().join(",");
    values.settle("node", &config.node);
    values.settle("shards", config.cores.len());
    values.settle(
        "cores",
        list(&mut config.cores.iter().map(ToString::to_string)),
    );
    values.settle(
        "advertise",
        list(&mut config.advertise.iter().map(ToString::to_string)),
    );
    eprint!("{}", values.print_effective());
    start::run(&config)
}
